//! Environments, tags and volumes (sections 9 and 10).

use domain::Role;
use domain::resource::ResourceKind;
use serde_json::{Value, json};
use server::service::NewPolicy;

use crate::estate::{Estate, ROOTS, items};

const ENVIRONMENTS: &str = "/datasources/aws/environments";
const VOLUMES: &str = "/datasources/aws/ebs-volumes";

#[tokio::test]
async fn an_environment_is_an_agent_with_a_repository() {
    let estate = Estate::new().await;
    let agent = estate.agent.agent.id();
    let list = estate.get(ENVIRONMENTS).await;
    let [environment] = &items(&list)[..] else { panic!("one: {list}") };
    let id = server::service::environment_id(agent, estate.local);
    let own = format!("{ENVIRONMENTS}/{id}");
    assert_eq!(
        environment,
        &json!({
            "id": id, "account_native_id": agent, "account_name": "srv-01", "aws_region": "local",
            "aws_az": ["default", ROOTS[1]], "connection_status": "connected", "connection_id": agent,
            "description": "linux x86_64, 0.1.0", "organizational_unit_id": estate.world.acme,
            "services_enabled": ["ebs"], "template_version": 1, "config": null, "connection_group_id": null,
            "connection_management_status": null, "template_permission_set": null, "_embedded": null,
            "_links": {
                "_self": {"href": own, "templated": false, "type": "get"},
                "read-organizational-unit": {
                    "href": format!("/organizational-units/{}", estate.world.acme), "templated": false, "type": "get"
                },
            },
        })
    );
    assert_eq!((&list["current_count"], list.get("total_count")), (&json!(1), None), "a list by tokens");
    assert_eq!(estate.get(&own).await, *environment);

    // R16: the pair is one item.
    let filter = json!({
        "account_native_id": {"$eq": agent}, "aws_region": {"$eq": "local"}, "connection_status": {"$eq": "connected"}
    });
    assert_eq!(estate.shown(ENVIRONMENTS, &filter, "id").await, [json!(id)]);
    for (filter, found) in [
        (json!({"connection_status": "installed"}), 1),
        (json!({"connection_status": "INSTALLED"}), 1),
        (json!({"connection_status": {"$neq": "installed"}}), 0),
        (json!({"connection_status": {"$in": ["installed", "disconnected"]}}), 1),
        (json!({"connection_status": {"$not_in": ["installed"]}}), 0),
        (json!({"connection_status": "disconnected"}), 0),
        (json!({"services_enabled": {"$contains": "ebs"}}), 1),
        (json!({"account_native_id": {"$begins_with": &agent.to_string()[..8]}}), 1),
        (json!({"account_native_id": "123456789012"}), 0),
        (json!({"account_name": {"$contains": "SRV"}}), 1),
        (json!({"organizational_unit_id": estate.world.globex}), 0),
        (json!({"aws_region": "remote"}), 0),
    ] {
        assert_eq!(estate.shown(ENVIRONMENTS, &filter, "id").await.len(), found, "{filter}");
    }

    // A repository that holds an archive of what the agent reaches is another one.
    estate.backup(estate.machine, Some("remote"), "2026-01-31T08:00:00Z").await;
    assert_eq!(estate.shown(ENVIRONMENTS, &json!({}), "aws_region").await, [json!("local"), json!("remote")]);
    let of_agent = json!({ "account_native_id": agent });
    assert_eq!(estate.shown(ENVIRONMENTS, &of_agent, "aws_region").await, [json!("local"), json!("remote")]);
    let volume = estate.get(&format!("{VOLUMES}/{}", estate.machine)).await;
    assert_eq!(volume["environment_id"], json!(server::service::environment_id(agent, estate.remote)));

    let other = estate.world.token(estate.world.globex, Role::Admin).await;
    assert_eq!(items(&estate.world.get(ENVIRONMENTS, &other).await.ok()), Vec::<Value>::new());
    assert_eq!(estate.world.get(&own, &other).await.refused(), (404, vec![4041]));
}

#[tokio::test]
async fn tags_are_those_of_the_volumes_of_an_environment() {
    let estate = Estate::new().await;
    estate.resource("web01", "web", ResourceKind::Volume, json!({ "tags": { "env": "prod" } })).await;
    let environment = estate.shown(ENVIRONMENTS, &json!({}), "id").await.remove(0);
    let path = format!("{ENVIRONMENTS}/{}/tags", environment.as_str().expect("an id"));
    let list = estate.get(&path).await;
    let pairs: Vec<_> = items(&list).iter().map(|t| (t["key"].clone(), t["value"].clone())).collect();
    assert_eq!(pairs.len(), 3, "{list}");
    for pair in [("Name", "db01 data"), ("Name", "web"), ("env", "prod")] {
        assert!(pairs.contains(&(json!(pair.0), json!(pair.1))), "{pair:?}");
    }
    assert_eq!((&list["total_count"], &list["filter_applied"]), (&json!(3), &json!("{}")));
    let env = items(&list).into_iter().find(|t| t["key"] == "env").expect("it is there");
    assert_eq!(env["id"], json!(server::service::named_id(domain::Uuid::nil(), b"tag\0env\0prod")));
    assert_eq!(env["key_id"], json!(server::service::named_id(domain::Uuid::nil(), b"tag-key\0env")));
    assert_eq!((&env["protection_status"], &env["protection_info"]), (&json!("unprotected"), &Value::Null));
    assert_eq!(env["organizational_unit_id"], json!(estate.world.acme));
    assert_eq!(estate.get(&format!("{path}/{}", env["id"].as_str().expect("an id"))).await, env);
    let filter = json!({ "key_id": env["key_id"], "value": {"$contains": "PRO"}, "id": {"$in": [env["id"]]} });
    assert_eq!(estate.shown(&path, &filter, "id").await, [env["id"].clone()]);
    assert_eq!(estate.shown(&path, &json!({"protection_info.policy_id": "x"}), "id").await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_volume_says_all_that_the_contract_says() {
    let estate = Estate::new().await;
    let path = format!("{VOLUMES}/{}", estate.machine);
    let fresh = estate.get(&path).await;
    let agent = estate.agent.agent.id();
    let tags: Vec<_> = items(&json!({"_embedded": {"items": fresh["tags"]}}))
        .iter()
        .map(|t| (t["key"].as_str().expect("a key").to_owned(), t["value"].as_str().expect("a value").to_owned()))
        .collect();
    assert_eq!(tags, [("Name".into(), "db01 data".into()), ("env".into(), "prod".into())], "only texts are tags");
    let mut expected = json!({
        "id": estate.machine, "volume_native_id": "db01", "name": "db01 data",
        "organizational_unit_id": estate.world.acme,
        "environment_id": server::service::environment_id(agent, estate.local), "account_native_id": agent,
        "aws_region": "local", "aws_az": "attic", "type": "standard", "iops": null, "is_encrypted": true,
        "kms_key_native_id": null, "size": null, "tags": fresh["tags"], "is_supported": true,
        "unsupported_reason": null, "is_deleted": false, "deletion_timestamp": null, "last_backup_timestamp": null,
        "last_snapshot_timestamp": null, "has_direct_assignment": false, "direct_assignment_policy_id": null,
        "protection_info": null, "protection_status": "unprotected",
        "backup_status_info": {
            "backup_status": "unknown", "last_successful_policy_start_timestamp": null,
            "last_failed_policy_start_timestamp": null, "operation_info_list": [],
        },
        "_links": {"_self": {"href": path, "templated": false, "type": "get"}}, "_embedded": null,
    });
    assert_eq!(fresh, expected);
    estate.backup(estate.machine, None, "2026-01-31T08:00:00.9Z").await;
    expected["size"] = ((1u64 << 30) + 1).into();
    expected["last_backup_timestamp"] = "2026-01-31T08:00:00Z".into();
    assert_eq!(estate.get(&path).await, expected);
    let status = |days: &str| {
        let path = format!("{path}?lookback_days={days}");
        let estate = &estate;
        async move { estate.get(&path).await["backup_status_info"]["backup_status"].clone() }
    };
    assert_eq!(
        (status("1").await, status("0").await, status("99").await),
        (json!("success"), json!("success"), json!("success"))
    );
    assert_eq!(estate.refused(&format!("{path}?lookback_days=x")).await, (400, vec![4000]));

    let token = estate.world.token(estate.world.globex, Role::Admin).await;
    assert_eq!(estate.world.get(&path, &token).await.refused(), (404, vec![4041]));
    let mailbox = estate.resource("mail", "mail", ResourceKind::Mailbox, Value::Null).await;
    assert_eq!(estate.refused(&format!("{VOLUMES}/{mailbox}")).await, (404, vec![4041]), "no volume");
    let unknown = domain::Uuid::now_v7();
    for nothing in [mailbox, unknown] {
        let answer = estate.world.get(&format!("{VOLUMES}/{nothing}"), &estate.token).await;
        assert_eq!(answer.messages(), format!("there is no volume '{nothing}'"));
    }
}

#[tokio::test]
async fn a_volume_tells_of_its_policy_as_the_policy_does_and_links_to_it_where_it_can_be_read() {
    let estate = Estate::new().await;
    let (world, root) = (&estate.world, &estate.world.root);
    let new = NewPolicy {
        tenant: Some(world.acme),
        name: "native".into(),
        schedule: domain::policy::Schedule::Manual {},
        settings: domain::policy::Settings::default(),
        retention: domain::policy::Retention::default(),
        as_written: None,
        repository: Some(estate.local),
        enabled: true,
    };
    let policy = world.service.create_policy(root, new).await.expect("a policy").id;
    world.service.apply_policy(root, policy, estate.machine).await.expect("applied");
    let path = format!("{VOLUMES}/{}?embed=read-policy-definition", estate.machine);
    let volume = estate.get(&path).await;
    let embedded = &volume["_embedded"]["read-policy-definition"];
    assert_eq!(embedded["operations"][0]["type"], "machine_backup");
    assert_eq!(volume["backup_status_info"]["operation_info_list"][0]["operation"], "machine_backup");
    let link = volume["_links"]["read-policy-definition"]["href"].as_str().expect("a link");
    assert_eq!(estate.get(link).await["id"], json!(policy));
    assert_eq!(items(&estate.get(&format!("{VOLUMES}?embed=read-policy-definition")).await)[0], volume);
    // One of a unit above protects what is below, and is not shown there.
    let below = world.tenant_below(world.acme, "below").await;
    let moved = json!({ "entities": { "add": [{ "primary_entity": { "id": estate.machine, "type": "machine" } }] } });
    let unit = format!("/organizational-units/{below}");
    let answer = world.call(axum::http::Method::PATCH, &unit, &estate.token, moved).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let token = world.token(below, Role::Viewer).await;
    let volume = world.get(&path, &token).await.ok();
    assert_eq!((&volume["protection_status"], &volume["_embedded"]), (&json!("protected"), &Value::Null));
    assert_eq!(volume["_links"].get("read-policy-definition"), None, "a link that leads nowhere");
}

#[tokio::test]
async fn volumes_are_found_by_every_field() {
    let estate = Estate::new().await;
    let web = estate.resource("web01", "Web 50%", ResourceKind::Volume, json!({ "tags": { "env": "test" } })).await;
    let image = estate.resource("img", "image", ResourceKind::Image, Value::Null).await;
    let gone = estate.resource("old01", "old", ResourceKind::ComputeVm, Value::Null).await;
    estate.world.service.delete_resource(&estate.world.root, gone).await.expect("removed");
    estate.backup(web, Some("remote"), "2026-01-31T08:00:00Z").await;
    let body = json!({ "volume_id": estate.machine });
    assert_eq!(estate.post("/backups/aws/ebs-volumes", body).await.status, 202);
    let job = estate.next_job().await;
    estate.failed(&job, "disk on fire").await;
    let (db, web, gone) = (json!(estate.machine), json!(web), json!(gone));
    let (agent, acme) = (estate.agent.agent.id(), estate.world.acme);
    let environment = server::service::environment_id(agent, estate.remote);
    let tag = server::service::named_id(domain::Uuid::nil(), b"tag\0env\0prod");
    // By name: capital letters come first.
    let both = vec![web.clone(), db.clone()];
    for (filter, found) in [
        (json!(null), both.clone()),
        (json!({}), both.clone()),
        (json!({"is_deleted": "false"}), both.clone()),
        (json!({"is_deleted": {"$eq": "true"}}), vec![gone.clone()]),
        (json!({"is_deleted": {"$in": ["true", "false"]}}), vec![web.clone(), db.clone(), gone.clone()]),
        (json!({"id": db}), vec![db.clone()]),
        (json!({"id": {"$contains": &estate.machine.to_string()[20..]}}), vec![db.clone()]),
        (json!({"id": image}), vec![]),
        (json!({"name": "db01 data"}), vec![db.clone()]),
        (json!({"name": {"$eq": "DB01 data"}}), vec![]),
        (json!({"name": {"$contains": "50%"}}), vec![web.clone()]),
        (json!({"name": {"$not_contains": "WEB"}}), vec![db.clone()]),
        (json!({"volume_native_id": {"$contains": "01"}}), both.clone()),
        (json!({"volume_native_id": "web01"}), vec![web.clone()]),
        (json!({"organizational_unit_id": acme}), both.clone()),
        (json!({"account_native_id": agent}), both.clone()),
        (json!({"account_native_id": "123456789012"}), vec![]),
        (json!({"environment_id": environment}), vec![web.clone()]),
        (json!({"environment_id": {"$neq": environment}}), vec![db.clone()]),
        (json!({"aws_region": "remote"}), vec![web.clone()]),
        (json!({"aws_region": "local"}), vec![db.clone()]),
        (json!({"tags.id": {"$all": [tag]}}), vec![db.clone()]),
        (json!({"tags": {"id": {"$all": [tag, acme]}}}), vec![]),
        (json!({"protection_status": {"$in": ["unprotected"]}}), both.clone()),
        (json!({"protection_status": "protected"}), vec![]),
        (json!({"deactivated": false}), both.clone()),
        (json!({"protection_info.policy_id": acme}), vec![]),
        (json!({"backup_status": {"$in": ["success"]}}), vec![web.clone()]),
        (json!({"backup_status": {"$in": ["failure", "no_backup"]}}), vec![db.clone()]),
        (json!({"backup_status": "success", "aws_region": "local"}), vec![]),
    ] {
        assert_eq!(estate.shown(VOLUMES, &filter, "id").await, found, "{filter}");
    }
    // What is shown is what was asked for, though nobody said how far to look back.
    for wanted in ["success", "failure"] {
        let list = estate.list(VOLUMES, &json!({"backup_status": {"$in": [wanted]}})).await;
        assert_eq!(items(&list)[0]["backup_status_info"]["backup_status"], wanted, "{list}");
    }
    let deleted = estate.list(VOLUMES, &json!({"is_deleted": true})).await;
    let [deleted] = &items(&deleted)[..] else { panic!("{deleted}") };
    assert_eq!((&deleted["protection_status"], &deleted["environment_id"]), (&Value::Null, &Value::Null));
    assert!(deleted["deletion_timestamp"].is_string());
    for filter in ["{\"size\":1}", "{\"is_deleted\":\"perhaps\"}", "{"] {
        let path = format!("{VOLUMES}?filter={}", crate::estate::encoded(filter));
        assert_eq!(estate.refused(&path).await, (400, vec![4001]), "{filter}");
    }
}

#[tokio::test]
async fn pages_of_volumes_are_disjoint_and_complete() {
    let estate = Estate::new().await;
    for n in 0..6 {
        estate.resource(&format!("v{n}"), "same name", ResourceKind::Volume, Value::Null).await;
    }
    // Answered by the ledger, and looked at here.
    for filter in ["", "&filter=%7B%22protection_status%22%3A%22unprotected%22%7D"] {
        let mut seen = Vec::new();
        for page in 1..=3 {
            let list = estate.get(&format!("{VOLUMES}?limit=3&start={page}{filter}")).await;
            assert_eq!((&list["total_count"], &list["total_pages_count"]), (&json!(7), &json!(3)));
            assert_eq!((&list["limit"], &list["start"]), (&json!(3), &json!(page.to_string())));
            assert_eq!(list["_links"].get("_next").is_some(), page < 3);
            seen.extend(items(&list).iter().map(|item| item["id"].to_string()));
        }
        assert_eq!(seen.len(), 7);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 7, "{filter}");
        let behind = estate.get(&format!("{VOLUMES}?limit=3&start=9{filter}")).await;
        assert_eq!((items(&behind), &behind["total_count"]), (Vec::new(), &json!(7)));
    }
}
