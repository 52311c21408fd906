//! Policies: every member, the filters of their list, tasks that change them, and a life as Terraform leads it.

use axum::http::Method;
use domain::policy::Schedule;
use domain::resource::ResourceKind;
use domain::task::{Named, TaskSpec, kind};
use domain::{Role, Uuid};
use ledger::Write;
use serde_json::{Value, json};
use server::service::NewPolicy;

use crate::governance::{Place, operation, repository};

const POLICIES: &str = "/policies/definitions";

/// An operation with the members that answers alone have.
fn answered(mut operation: Value) -> Value {
    operation["next_start_time"] = Value::Null;
    operation["previous_start_time"] = Value::Null;
    operation
}

#[tokio::test]
async fn a_policy_shows_all_its_members() {
    let place = Place::new().await;
    let body = json!({ "name": "gold", "operations": [operation("aws_ebs_volume_backup")],
        "activation_status": "", "organizational_unit_id": "", "timezone": "" });
    let made = place.post(POLICIES, body).await;
    assert_eq!(made.status, 200);
    assert_eq!(made.header("content-type"), "application/api.clumio.policy-definitions=v1+json");
    let made = made.ok();
    let id = made["id"].as_str().expect("an id");
    let path = format!("{POLICIES}/{id}");
    let link = |href: &str, method: &str| json!({ "href": href, "templated": false, "type": method });
    let times = (made["created_time"].clone(), made["updated_time"].clone());
    assert!(times.0.is_i64() && times.1.is_i64(), "{times:?}");
    let mut shown = json!({
        "id": id, "name": "gold", "activation_status": "activated", "timezone": "UTC", "lock_status": "unlocked",
        "operations": [answered(operation("aws_ebs_volume_backup"))], "organizational_unit_id": place.world.acme,
        "created_time": times.0, "updated_time": times.1, "_embedded": null,
        "_links": { "_self": link(POLICIES, "post"), "update-policy-definition": link(&path, "put"),
            "delete-policy-definition": link(&path, "delete") },
    });
    assert_eq!(made, shown);
    shown["_links"]["_self"] = link(&path, "get");
    assert_eq!(place.get(&path).await.ok(), shown, "R12");
    let list = place.get(POLICIES).await.ok();
    assert_eq!(
        list,
        json!({ "_embedded": { "items": [shown] }, "current_count": 1, "limit": 1, "start": "", "filter_applied": "{}",
            "_links": { "_self": link(POLICIES, "get"), "_first": link(POLICIES, "get"),
                "create-policy-definition": link(POLICIES, "post") } })
    );
    let policy = place.world.service.policy(&place.world.root, id.parse().expect("a uuid")).await.expect("it is there");
    assert!(matches!(policy.schedule, Schedule::Sets(_)), "{policy:?}");
}

#[tokio::test]
async fn the_list_is_filtered() {
    let place = Place::new().await;
    let gold = place.policy("Gold", "aws_ebs_volume_backup").await;
    let golden = place.policy("golden", "image_backup").await;
    let off = json!({ "name": "silver", "operations": [], "activation_status": "deactivated" });
    let silver = place.post(POLICIES, off).await.ok()["id"].as_str().expect("an id").to_owned();
    let found = async |filter: Value| {
        let path = format!("{POLICIES}?filter={}", encoded(&filter.to_string()));
        let answer = place.get(&path).await.ok();
        let items = answer["_embedded"]["items"].as_array().expect("items").clone();
        items.iter().map(|i| i["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(json!({})).await, [gold.clone(), golden.clone(), silver.clone()], "by name");
    let filtered = format!("{POLICIES}?filter={}", "%7B%22name%22%3A%22Gold%22%7D");
    let links = place.get(&filtered).await.ok()["_links"].clone();
    assert_eq!((&links["_self"]["href"], &links["_first"]["href"]), (&json!(filtered), &json!(filtered)));
    assert_eq!(found(json!({ "name": { "$eq": "Gold" } })).await, std::slice::from_ref(&gold));
    assert_eq!(found(json!({ "name": { "$begins_with": "gold" } })).await, [gold.clone(), golden.clone()]);
    let types = json!({ "operations.type": { "$in": ["image_backup", "machine_backup"] } });
    assert_eq!(found(types).await, std::slice::from_ref(&golden));
    let status = json!({ "activation_status": { "$eq": "deactivated" } });
    assert_eq!(found(status).await, std::slice::from_ref(&silver));
    assert_eq!(found(json!({ "id": { "$in": [silver] } })).await.len(), 1);
    let unit = json!({ "organizational_unit_id": { "$eq": place.world.globex } });
    assert!(found(unit).await.is_empty());
    let wrong = place.get(&format!("{POLICIES}?filter={}", encoded(r#"{"nam": {"$eq": "x"}}"#))).await;
    assert_eq!(wrong.refused(), (400, vec![4001]));
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

/// Apply, plan without a change, change, destroy: what the provider reads after each step is what it expects (R8 to R13).
#[tokio::test]
async fn a_life_as_terraform_leads_it() {
    let place = Place::new().await;
    let mut body = json!({ "activation_status": "activated", "name": "tf", "organizational_unit_id": "",
        "timezone": "", "operations": [operation("aws_ebs_volume_backup")] });
    let made = place.post(POLICIES, body.clone()).await.ok();
    let path = format!("{POLICIES}/{}", made["id"].as_str().expect("an id"));
    let planned = |shown: &Value, body: &Value| {
        for (operation, sent) in std::iter::zip(
            shown["operations"].as_array().expect("operations"),
            body["operations"].as_array().expect("operations"),
        ) {
            for (member, value) in sent.as_object().expect("an object") {
                assert_eq!(&operation[member], value, "R11: {member}");
            }
        }
        assert_eq!(shown["name"], body["name"]);
        assert_eq!(shown["activation_status"], "activated");
    };
    planned(&made, &body);
    planned(&place.get(&path).await.ok(), &body);
    body["name"] = "tf two".into();
    body["activation_status"] = "".into();
    body["operations"][0]["slas"][0]["retention_duration"]["value"] = 30.into();
    let changed = place.ask(Method::PUT, &format!("{path}?embed=read-task"), body.clone()).await;
    assert_eq!(changed.status, 202);
    let changed = changed.ok();
    planned(&changed, &body);
    assert_eq!(changed["_embedded"]["read-task"]["id"], changed["task_id"]);
    assert_eq!(changed["_links"]["_self"], json!({ "href": path, "templated": false, "type": "put" }));
    let task = place.task(&changed).await;
    assert_eq!(
        (&task["type"], &task["category"], &task["genre"]),
        (&json!("policy_update"), &json!("management"), &json!("administrative"))
    );
    assert_eq!(task["primary_entity"], json!({ "id": made["id"], "type": "policy", "value": "tf two" }));
    let now = place.get(&path).await.ok();
    planned(&now, &body);
    assert_eq!(now["lock_status"], "unlocked");
    let gone = place.ask(Method::DELETE, &path, Value::Null).await;
    assert_eq!(gone.status, 202);
    let gone = gone.ok();
    assert_eq!(place.task(&gone).await["type"], "policy_delete");
    assert_eq!(place.get(&path).await.refused(), (404, vec![4041]));
    assert_eq!(place.ask(Method::DELETE, &path, Value::Null).await.refused(), (404, vec![4041]));
}

#[tokio::test]
async fn a_deleted_policy_protects_nothing_any_more() {
    let place = Place::new().await;
    let volume = place.resource(place.world.acme, ResourceKind::Volume, "vol-1").await;
    let policy = place.policy("gold", "aws_ebs_volume_backup").await;
    place.assign(&policy, &volume, "aws_ebs_volume").await.ok();
    let shown = place.get(&format!("{POLICIES}/{policy}")).await.ok();
    assert!(shown["operations"][0]["next_start_time"].is_i64(), "{shown}");
    let gone = place.ask(Method::DELETE, &format!("{POLICIES}/{policy}"), Value::Null).await.ok();
    place.task(&gone).await;
    assert!(place.applied(&volume).await.is_empty());
}

#[tokio::test]
async fn while_a_task_is_about_a_policy_it_is_locked() {
    let place = Place::new().await;
    let policy = place.policy("gold", "aws_ebs_volume_backup").await;
    let path = format!("{POLICIES}/{policy}");
    let mut spec = TaskSpec::new(Uuid::now_v7(), kind::POLICY_UPDATE, "server", place.world.acme);
    spec.policy = Some(Named { id: policy.as_str().into(), ..Named::default() });
    place.world.commit(vec![Write::CreateTask(Box::new(spec))]).await;
    let shown = place.get(&path).await.ok();
    assert_eq!(shown["lock_status"], "updating");
    assert_eq!(shown["_links"].as_object().expect("links").len(), 1, "{shown}");
    let body = json!({ "name": "x", "operations": [] });
    assert_eq!(place.ask(Method::PUT, &path, body).await.refused(), (412, vec![4121]));
    assert_eq!(place.ask(Method::DELETE, &path, Value::Null).await.refused(), (412, vec![4121]));
}

#[tokio::test]
async fn what_a_policy_cannot_be_is_refused_with_each_fault() {
    let place = Place::new().await;
    let (nothing, mut both) = (json!({}), operation("aws_rds_backup"));
    both["timezone"] = "Mars/Base".into();
    assert_eq!(place.post(POLICIES, nothing).await.refused(), (400, vec![4003, 4003]));
    let wrong = place.post(POLICIES, json!({ "name": "x".repeat(256), "operations": [both] })).await;
    assert_eq!(wrong.refused(), (400, vec![4003, 4003, 4003]));
    let told = wrong.messages();
    assert!(told.contains("operations[0].type") && told.contains("image_backup"), "{told}");
    let elsewhere = json!({ "name": "x", "operations": [], "organizational_unit_id": place.world.globex });
    let refused = place.post(POLICIES, elsewhere).await;
    assert_eq!(refused.refused(), (400, vec![4003]));
    assert_eq!(refused.messages(), "organizational_unit_id: no such organizational unit");
    let mut unknown = operation("machine_backup");
    unknown["backup_aws_region"] = "nowhere".into();
    let wrong = place.post(POLICIES, json!({ "name": "", "operations": [unknown] })).await;
    assert_eq!(wrong.refused(), (400, vec![4003, 4003]), "with the other faults");
    assert!(wrong.messages().contains("operations[0].backup_aws_region: there is no"), "{}", wrong.messages());
    let mut analysis = operation("machine_backup");
    analysis["advanced_settings"] = json!({ "aws_ebs_volume_backup": { "ransomware_analysis": true } });
    let refused = place.post(POLICIES, json!({ "name": "x", "operations": [analysis] })).await;
    assert_eq!(refused.refused(), (400, vec![4005]));
    let policy = place.policy("gold", "aws_ebs_volume_backup").await;
    let body = json!({ "name": "x", "operations": [], "organizational_unit_id": place.world.globex });
    let moved = place.ask(Method::PUT, &format!("{POLICIES}/{policy}"), body).await;
    assert_eq!(moved.refused(), (400, vec![4003]));
}

#[tokio::test]
async fn policies_go_where_their_region_says_and_two_may_have_one_name() {
    let place = Place::new().await;
    let far = repository(&place.world, Uuid::nil(), "far").await;
    let mut there = operation("machine_backup");
    there["backup_aws_region"] = "far".into();
    let mut made = Vec::new();
    for operation in [there, operation("machine_backup")] {
        let answer = place.post(POLICIES, json!({ "name": "same", "operations": [operation] })).await.ok();
        let id = answer["id"].as_str().expect("an id").parse().expect("a uuid");
        made.push(place.world.service.policy(&place.world.root, id).await.expect("a policy").repository);
    }
    assert_eq!(made[0], far);
    assert_ne!(made[1], far, "the oldest one is the usual one");
}

#[tokio::test]
async fn what_others_made_is_shown_and_what_others_own_is_not() {
    let place = Place::new().await;
    let new = |tenant| NewPolicy {
        tenant: Some(tenant),
        name: "native".into(),
        schedule: serde_json::from_value(json!({ "kind": "interval", "every": "6h" })).expect("a schedule"),
        settings: domain::policy::Settings::default(),
        retention: domain::policy::Retention::default(),
        as_written: None,
        repository: None,
        enabled: true,
    };
    let (service, root) = (&place.world.service, &place.world.root);
    let ours = service.create_policy(root, new(place.world.acme)).await.expect("a policy").id;
    let theirs = service.create_policy(root, new(place.world.globex)).await.expect("a policy").id;
    let shown = place.get(&format!("{POLICIES}/{ours}")).await.ok();
    assert_eq!(
        shown["operations"],
        json!([{ "type": "aws_ebs_volume_backup", "action_setting": "immediate", "backup_aws_region": "local",
            "slas": [{ "retention_duration": null,
                "rpo_frequency": { "unit": "hours", "value": 6, "offsets": null } }],
            "advanced_settings": null, "backup_window": null, "backup_window_tz": null, "timezone": null,
            "next_start_time": null, "previous_start_time": null }])
    );
    // What is shown comes back as it is, and changes nothing but the name.
    let before = service.policy(root, ours).await.expect("it is there");
    let mut body = shown.clone();
    body["name"] = "renamed".into();
    let answer = place.ask(Method::PUT, &format!("{POLICIES}/{ours}"), body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let after = service.policy(root, ours).await.expect("it is there");
    assert_eq!((&after.schedule, &after.retention), (&before.schedule, &before.retention));
    let again = place.get(&format!("{POLICIES}/{ours}")).await.ok();
    assert_eq!((&again["name"], &again["operations"]), (&json!("renamed"), &shown["operations"]));
    // And made anew, it keeps everything for ever.
    let made = place.post(POLICIES, json!({ "name": "twin", "operations": shown["operations"] })).await.ok();
    let made = service.policy(root, made["id"].as_str().expect("an id").parse().expect("a uuid")).await;
    let made = made.expect("it is there");
    assert_eq!(made.retention, domain::policy::Retention::default());
    service.delete_policy(root, made.id).await.expect("removed");
    assert_eq!(place.get(&format!("{POLICIES}/{theirs}")).await.refused(), (404, vec![4041]));
    assert_eq!(place.all(POLICIES).await, [ours.to_string()]);
    let viewer = place.world.token(place.world.acme, Role::Viewer).await;
    let refused = place.world.call(Method::POST, POLICIES, &viewer, json!({ "name": "x", "operations": [] })).await;
    assert_eq!(refused.refused(), (403, vec![4030]));
}
