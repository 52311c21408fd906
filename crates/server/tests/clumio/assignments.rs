//! Assignments: many at once, all or none; one policy for each resource.

use domain::Uuid;
use domain::resource::ResourceKind;
use serde_json::json;

use crate::governance::Place;

const ASSIGNMENTS: &str = "/policies/assignments";

#[tokio::test]
async fn assigning_takes_other_policies_away_and_unassigning_takes_all() {
    let place = Place::new().await;
    let volume = place.resource(place.world.acme, ResourceKind::Volume, "vol-1").await;
    let gold = place.policy("gold", "aws_ebs_volume_backup").await;
    let silver = place.policy("silver", "aws_ebs_volume_backup").await;
    let answer = place.assign(&gold, &volume, "aws_ebs_volume").await;
    assert_eq!(answer.status, 202);
    let answer = answer.ok();
    let task = place.task(&answer).await;
    assert_eq!((&task["type"], &task["category"]), (&json!("policy_assign"), &json!("management")));
    assert_eq!(task["primary_entity"], json!({ "id": volume.id, "type": "aws_ebs_volume", "value": "vol-1" }));
    assert_eq!(task["parent_entity"], json!({ "id": gold, "type": "policy", "value": "gold" }));
    let links = json!({ "_self": { "href": ASSIGNMENTS, "templated": false, "type": "post" },
        "read-task": { "href": format!("/tasks/{}", answer["task_id"].as_str().expect("an id")), "templated": false,
            "type": "get" } });
    assert_eq!(answer, json!({ "task_id": answer["task_id"], "_links": links }));
    assert_eq!(place.applied(&volume).await, std::slice::from_ref(&gold));
    place.assign(&gold, &volume, "aws_ebs_volume").await.ok();
    place.assign(&silver, &volume, "aws_ebs_volume").await.ok();
    assert_eq!(place.applied(&volume).await, [silver], "D9");
    let entity = json!({ "id": volume.id, "type": "aws_ebs_volume" });
    for _ in 0..2 {
        let item = json!({ "action": "unassign", "entity": entity, "policy_id": "" });
        let answer = place.post(ASSIGNMENTS, json!({ "items": [item] })).await.ok();
        assert_eq!(place.task(&answer).await["type"], "policy_unassign");
        assert!(place.applied(&volume).await.is_empty());
    }
}

#[tokio::test]
async fn machines_are_volumes_too_and_many_are_done_by_one_task() {
    let place = Place::new().await;
    let acme = place.world.acme;
    let policy = place.policy("gold", "aws_ebs_volume_backup").await;
    let entities = [
        (ResourceKind::Volume, "aws_ebs_volume"),
        (ResourceKind::ComputeVm, "aws_ebs_volume"),
        (ResourceKind::ComputeVm, "aws_ec2_instance"),
        (ResourceKind::BareMetal, "machine"),
    ];
    let (mut items, mut made) = (Vec::new(), Vec::new());
    for (n, (kind, entity)) in entities.into_iter().enumerate() {
        let resource = place.resource(acme, kind, &format!("r-{n}")).await;
        let entity = json!({ "id": resource.id, "type": entity });
        items.push(json!({ "action": "assign", "entity": entity, "policy_id": policy }));
        made.push(resource);
    }
    let answer = place.post(ASSIGNMENTS, json!({ "items": items })).await.ok();
    let task = place.task(&answer).await;
    assert_eq!(task["primary_entity"], json!({ "id": policy, "type": "policy", "value": "gold" }));
    for resource in &made {
        assert_eq!(place.applied(resource).await, std::slice::from_ref(&policy));
    }
}

#[tokio::test]
async fn everything_is_checked_before_anything_is_done() {
    let place = Place::new().await;
    let (acme, globex) = (place.world.acme, place.world.globex);
    let good = place.resource(acme, ResourceKind::Volume, "good").await;
    let mailbox = place.resource(acme, ResourceKind::Mailbox, "mail").await;
    let image = place.resource(acme, ResourceKind::Image, "image").await;
    let foreign = place.resource(globex, ResourceKind::Volume, "foreign").await;
    let policy = place.policy("gold", "aws_ebs_volume_backup").await;
    let assign = |id: Uuid, entity: &str, policy: &str| json!({ "action": "assign", "entity": { "id": id, "type": entity }, "policy_id": policy });
    let nobody = Uuid::from_u128(7);
    let items = json!([
        assign(good.id, "aws_ebs_volume", &policy),
        assign(nobody, "aws_ebs_volume", &policy),
        assign(foreign.id, "aws_ebs_volume", &policy),
        assign(mailbox.id, "aws_ebs_volume", &policy),
        assign(image.id, "image", &policy),
        assign(good.id, "aws_ebs_volume", &policy),
    ]);
    let answer = place.post(ASSIGNMENTS, json!({ "items": items })).await;
    assert_eq!(answer.refused(), (400, vec![4003; 5]));
    let told = answer.messages();
    for (n, what) in [(1, "entity.id"), (2, "entity.id"), (3, "entity.type"), (4, "policy_id"), (5, "entity.id")] {
        assert!(told.contains(&format!("items[{n}].{what}")), "{told}");
    }
    assert!(told.contains("'mail' is no aws_ebs_volume; its type is 'microsoft365_mailbox'"), "{told}");
    assert!(place.applied(&good).await.is_empty(), "all or nothing");
    let unknown = place.post(ASSIGNMENTS, json!({ "items": [assign(good.id, "aws_ebs_volume", &nobody.to_string())] }));
    let unknown = unknown.await;
    assert_eq!(unknown.refused(), (400, vec![4003]));
    assert!(unknown.messages().contains("items[0].policy_id"), "{}", unknown.messages());
    let many: Vec<_> = (0..101).map(|_| assign(good.id, "aws_ebs_volume", &policy)).collect();
    for items in [json!([]), json!(many)] {
        assert_eq!(place.post(ASSIGNMENTS, json!({ "items": items })).await.refused(), (400, vec![4003]));
    }
    let odd = json!([{ "action": "forget", "entity": { "id": "x", "type": "protection_group" } }]);
    assert_eq!(place.post(ASSIGNMENTS, json!({ "items": odd })).await.refused(), (400, vec![4003; 3]));
}

#[tokio::test]
async fn with_immediate_the_first_backup_is_due_at_once() {
    let place = Place::new().await;
    let volume = place.resource(place.world.acme, ResourceKind::Volume, "vol-1").await;
    let mut operation = crate::governance::operation("aws_ebs_volume_backup");
    operation["action_setting"] = "immediate".into();
    operation["backup_window_tz"] = serde_json::Value::Null;
    let made = place.post("/policies/definitions", json!({ "name": "now", "operations": [operation] })).await.ok();
    let policy = made["id"].as_str().expect("an id");
    place.assign(policy, &volume, "aws_ebs_volume").await.ok();
    place.world.service.run_due_policies().await.expect("run");
    let tasks = place.get("/tasks?filter=%7B%22category%22%3A%22backup%22%7D").await.ok();
    let task = &tasks["_embedded"]["items"][0];
    assert_eq!(tasks["total_count"], 1, "{tasks}");
    assert_eq!((&task["type"], &task["status"]), (&json!("aws_ebs_volume_backup_seeding"), &json!("queued")));
    let shown = place.get(&format!("/policies/definitions/{policy}")).await.ok();
    let operation = &shown["operations"][0];
    assert!(operation["previous_start_time"].is_i64() && operation["next_start_time"].is_i64(), "{operation}");
}
