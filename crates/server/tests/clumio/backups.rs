//! Recovery points, backups that are asked for, and restores (sections 11 and 12).

use axum::http::Method;
use domain::Uuid;
use domain::resource::ResourceKind;
use serde_json::{Value, json};
use server::service::{BackupWish, environment_id};

use crate::estate::{Estate, ROOTS, items};
use crate::world::request;

const BACKUPS: &str = "/backups/aws/ebs-volumes";
const RESTORES: &str = "/restores/aws/ebs-volumes";

#[tokio::test]
async fn a_backup_is_asked_for_made_and_shown() {
    let estate = Estate::new().await;
    let body = json!({
        "volume_id": estate.machine, "type": null,
        "settings": {
            "retention_duration": {"unit": "days", "value": 3}, "backup_aws_region": "",
            "advanced_settings": {"aws_ebs_volume_backup": {"backup_tier": "standard", "ransomware_analysis": null}},
        },
    });
    let asked = estate.post(BACKUPS, body.clone()).await;
    assert_eq!(asked.status, 202);
    assert_eq!(asked.header("content-type"), "application/api.clumio.backup-aws-ebs-volumes=v2+json");
    let asked = asked.ok();
    let task = asked["task_id"].as_str().expect("text").to_owned();
    let read = json!({"href": format!("/tasks/{task}"), "templated": false, "type": "get"});
    assert_eq!(asked["_links"]["read-task"], read);
    assert_eq!(asked["_links"]["_self"], json!({"href": BACKUPS, "templated": false, "type": "post"}));
    assert_eq!(asked["_embedded"], Value::Null);
    let job = estate.next_job().await;
    let spec = &job.assigned.task.spec;
    assert_eq!((spec.issuer.id.as_str(), spec.seeding, spec.tenant), ("clumio", true, estate.world.acme));
    assert_eq!((&spec.argument["request"], &spec.argument["repository"]), (&body, &json!(estate.local)));
    estate.failed(&job, "disk on fire").await;

    estate.post(BACKUPS, body).await.ok();
    let id = estate.make_backup("2026-01-31T08:00:00.5Z").await;
    let path = format!("{BACKUPS}/{id}");
    let shown = estate.get(&path).await;
    let expected = json!({
        "id": id, "volume_id": estate.machine, "volume_native_id": "db01",
        "start_timestamp": "2026-01-31T08:00:00Z", "account_native_id": estate.agent.agent.id(),
        "aws_region": "local", "aws_az": "attic", "type": "clumio_backup", "volume_type": "standard", "iops": null,
        "backup_tier": "standard", "is_encrypted": true, "kms_key_native_id": format!("repository:{}", estate.local),
        "size": 2, "utilized_size_in_bytes": (1u64 << 30) + 1,
        "tags": [{"key": "Name", "value": "db01 data"}, {"key": "env", "value": "prod"}],
        "expiration_timestamp": "2026-02-03T08:00:00Z", "migration_timestamp": null, "is_browsable": true,
        "browsing_failed_reason": null,
        "_links": {
            "_self": {"href": path, "templated": false, "type": "get"},
            "restore-aws-ebs-volume": {"href": RESTORES, "templated": false, "type": "post"},
        },
    });
    assert_eq!(shown, expected);
    let first = request(Method::GET, &path, &estate.token)
        .header("accept", "application/api.clumio.backup-aws-ebs-volumes=v1+json");
    let first = estate.world.send(first.body(axum::body::Body::empty()).expect("a request")).await;
    assert_eq!(first.header("content-type"), "application/api.clumio.backup-aws-ebs-volumes=v1+json");
    let mut old = expected;
    let members = old.as_object_mut().expect("an object");
    for absent in ["backup_tier", "iops", "migration_timestamp", "utilized_size_in_bytes", "volume_type"] {
        members.remove(absent);
    }
    members.insert("type".into(), "standard".into());
    assert_eq!(first.ok(), old);
}

#[tokio::test]
async fn what_cannot_be_promised_is_refused() {
    let estate = Estate::new().await;
    let mailbox = estate.resource("mail", "mail", ResourceKind::Mailbox, Value::Null).await;
    let disabled = estate.resource("off", "off", ResourceKind::Volume, Value::Null).await;
    let change = server::service::ResourceChange { enabled: Some(false), ..Default::default() };
    estate.world.service.change_resource(&estate.world.root, disabled, change).await.expect("disabled");
    let deleted = estate.resource("old", "old", ResourceKind::Volume, Value::Null).await;
    estate.world.service.delete_resource(&estate.world.root, deleted).await.expect("removed");
    let volume = estate.machine;
    let advanced =
        |of: Value| json!({"volume_id": volume, "settings": {"advanced_settings": {"aws_ebs_volume_backup": of}}});
    let instance =
        |of: Value| json!({"volume_id": volume, "settings": {"advanced_settings": {"aws_ec2_instance_backup": of}}});
    let lasting = |unit: &str, value: i64| json!({"volume_id": volume, "settings": {"retention_duration": {"unit": unit, "value": value}}});
    for (body, refused) in [
        (json!({}), (400, vec![4003])),
        (json!({"volume_id": "x"}), (400, vec![4003])),
        (json!({"volume_id": Uuid::now_v7()}), (400, vec![4003])),
        (json!({"volume_id": mailbox}), (400, vec![4003])),
        (json!({"volume_id": disabled}), (412, vec![4124])),
        (json!({"volume_id": deleted}), (412, vec![4124])),
        (json!({"volume_id": volume, "type": "aws_snapshot"}), (400, vec![4005])),
        (json!({"volume_id": volume, "type": "tape"}), (400, vec![4003])),
        (json!({"volume_id": volume, "settings": {"backup_aws_region": "mars"}}), (400, vec![4003])),
        (lasting("hours", 3), (400, vec![4003])),
        (lasting("days", 0), (400, vec![4003])),
        (json!({"volume_id": volume, "settings": {"retention_duration": {}}}), (400, vec![4003])),
        (advanced(json!({"backup_tier": "gold"})), (400, vec![4003])),
        (advanced(json!({"ransomware_analysis": true})), (400, vec![4005])),
        (instance(json!({"backup_tier": "cold"})), (400, vec![4003])),
        (instance(json!({"ransomware_analysis": true})), (400, vec![4005])),
        (lasting("days", 99_999_999), (400, vec![4003])),
    ] {
        assert_eq!(estate.post(BACKUPS, body.clone()).await.refused(), refused, "{body}");
    }
    // In the words of this API.
    let told = estate.post(BACKUPS, json!({"volume_id": disabled})).await.messages();
    assert_eq!(told, "volume_id: 'off' cannot be backed up: it is disabled");
    let told = estate.post(BACKUPS, lasting("days", 99_999_999)).await.messages();
    assert!(told.starts_with("settings.retention_duration.value: ") && !told.contains('{'), "{told}");
    for body in [
        json!({"volume_id": volume, "type": "clumio_backup", "settings": null}),
        instance(json!({"backup_tier": "lite"})),
        advanced(json!({"backup_tier": "lite", "ransomware_analysis": false})),
        lasting("years", 2),
        lasting("months", 1),
    ] {
        assert_eq!(estate.post(BACKUPS, body.clone()).await.status, 202, "{body}");
    }
}

#[tokio::test]
async fn backups_are_listed_in_order_and_found_by_every_field() {
    let estate = Estate::new().await;
    let web = estate.resource("web", "web", ResourceKind::Volume, Value::Null).await;
    let first = estate.backup(estate.machine, None, "2026-01-31T08:00:00Z").await;
    let second = estate.backup(web, Some("remote"), "2026-01-31T09:00:00Z").await;
    let third = estate.backup(estate.machine, None, "2026-01-31T10:00:00Z").await;
    estate.world.service.delete_resource(&estate.world.root, web).await.expect("removed");
    let (first, second, third) = (json!(first), json!(second), json!(third));
    let agent = estate.agent.agent.id();
    let all = vec![third.clone(), second.clone(), first.clone()];
    for (filter, found) in [
        (json!({}), all.clone()),
        (json!({"volume_id": {"$eq": estate.machine}}), vec![third.clone(), first.clone()]),
        (json!({"volume_id": web}), vec![second.clone()]),
        (json!({"id": {"$in": [first]}}), vec![first.clone()]),
        (json!({"id": {"$neq": first}}), vec![third.clone(), second.clone()]),
        (json!({"aws_region": "remote"}), vec![second.clone()]),
        (json!({"aws_region": {"$not_in": ["remote"]}}), vec![third.clone(), first.clone()]),
        (json!({"aws_region": "mars"}), vec![]),
        (json!({"account_native_id": agent}), all.clone()),
        (json!({"account_native_id": {"$begins_with": &agent.to_string()[..9]}}), all.clone()),
        (
            json!({"start_timestamp": {"$lte": "2026-01-31T09:00:00Z", "$gt": "2026-01-31T08:00:00Z"}}),
            vec![second.clone()],
        ),
    ] {
        assert_eq!(estate.shown(BACKUPS, &filter, "id").await, found, "{filter}");
    }
    let ids = |list: &Value| items(list).iter().map(|i| i["id"].clone()).collect::<Vec<_>>();
    let ascending = estate.get(&format!("{BACKUPS}?sort=start_timestamp&limit=2")).await;
    assert_eq!(ids(&ascending), [first.clone(), second.clone()]);
    assert_eq!((&ascending["total_count"], &ascending["filter_applied"]), (&json!(3), &json!("{}")));
    let rest = estate.get(&format!("{BACKUPS}?sort=start_timestamp&limit=2&start=2")).await;
    assert_eq!(ids(&rest), [third]);
    assert_eq!(ids(&estate.get(&format!("{BACKUPS}?sort=-start_timestamp")).await), all);
    assert_eq!(estate.refused(&format!("{BACKUPS}?sort=size")).await, (400, vec![4000]));
    // What was deleted has its backups still.
    assert_eq!(items(&estate.list(BACKUPS, &json!({"volume_id": web})).await)[0]["volume_native_id"], "web");
}

#[tokio::test]
async fn a_backup_with_an_end_goes_when_it_has_come() {
    let estate = Estate::new().await;
    let keep = domain::policy::calendar::Interval::of(1, domain::policy::calendar::Unit::Days);
    let wish = BackupWish { resource: estate.machine, repository: None, keep: Some(keep) };
    let service = &estate.world.service;
    service.back_up(&estate.world.root, wish, Default::default()).await.expect("asked for");
    let over = estate.make_backup("2020-01-01T00:00:00Z").await;
    let stays = estate.backup(estate.machine, None, "2020-01-01T00:00:00Z").await;
    service.expire_backups().await.expect("looked at");
    // Once is enough.
    service.expire_backups().await.expect("looked at");
    let job = estate.next_job().await;
    assert_eq!(job.assigned.task.spec.kind, "retention");
    assert_eq!(job.assigned.argument["points"].as_array().map(Vec::len), Some(1));
    estate.done(&job, json!({ "removed": 1, "missing": 0 })).await;
    assert!(service.claim(&estate.agent.agent, 1).await.expect("a claim").is_empty());
    assert_eq!(estate.refused(&format!("{BACKUPS}/{over}")).await, (404, vec![4041]));
    assert_eq!(estate.get(&format!("{BACKUPS}/{stays}")).await["expiration_timestamp"], Value::Null);
}

#[tokio::test]
async fn only_the_first_backup_of_a_volume_seeds_whoever_asks_for_it() {
    let estate = Estate::new().await;
    estate.backup(estate.machine, None, "2026-01-31T08:00:00Z").await;
    let mut operation = crate::governance::operation("machine_backup");
    operation["action_setting"] = "immediate".into();
    operation["backup_window_tz"] = Value::Null;
    let body = json!({ "name": "now", "operations": [operation] });
    let policy = estate.post("/policies/definitions", body).await.ok()["id"].clone();
    let entity = json!({ "id": estate.machine, "type": "machine" });
    let item = json!({ "action": "assign", "entity": entity, "policy_id": policy });
    estate.post("/policies/assignments", json!({ "items": [item] })).await.ok();
    estate.world.service.run_due_policies().await.expect("run");
    let seeding = estate.list("/tasks", &json!({ "type": "machine_backup_seeding" })).await;
    let later = estate.list("/tasks", &json!({ "type": "machine_incremental_backup" })).await;
    assert_eq!((&seeding["total_count"], &later["total_count"]), (&json!(1), &json!(1)), "the first one seeded");
    // The policy's own archive begins with a whole one all the same.
    let id = items(&later)[0]["id"].as_str().expect("an id").parse().expect("a number");
    let task = domain::task::TaskRef::Id(domain::task::TaskId(id));
    let run = estate.world.service.task(&estate.world.root, task, false).await.expect("it is there");
    assert_eq!(run.spec.argument["full"], true);
}

#[tokio::test]
async fn a_restore_goes_to_a_folder_of_its_own() {
    let estate = Estate::new().await;
    let backup = estate.backup(estate.machine, Some("remote"), "2026-01-31T08:00:00Z").await;
    let shown = estate.get(&format!("{BACKUPS}/{backup}")).await;
    let environment = environment_id(estate.agent.agent.id(), estate.local);
    let wish = |target: Value| {
        let mut all = json!({ "environment_id": environment });
        all.as_object_mut().expect("an object").extend(target.as_object().expect("an object").clone());
        json!({ "source": { "backup_id": backup }, "target": all })
    };
    let deep = format!("{}/deep/./x/..", ROOTS[1]);
    for (target, place) in [
        (json!({}), json!({"root": "", "name": "db01 data-restored", "numbered": true})),
        (
            json!({"aws_az": "us-west-2a", "tags": []}),
            json!({"root": "", "name": "db01 data-restored", "numbered": true}),
        ),
        (json!({"tags": [{"key": "Name", "value": "db01 copy"}]}), json!({"root": "", "name": "db01 copy"})),
        (json!({"tags": [{"key": "Name", "value": "../x"}]}), json!({"root": "", "name": ".._x"})),
        (
            json!({"aws_az": deep}),
            json!({"root": "/srv/restores/deep", "name": "db01 data-restored", "numbered": true}),
        ),
        // R18: what a backup says of itself.
        (
            json!({
                "aws_az": shown["aws_az"], "type": shown["volume_type"], "iops": shown["iops"],
                "kms_key_native_id": shown["kms_key_native_id"], "tags": shown["tags"],
            }),
            json!({"root": "", "name": "db01 data"}),
        ),
        (
            json!({"type": "gp3", "iops": 3000, "volume_initialization_rate": 100, "kms_key_native_id": ""}),
            json!({"root": "", "name": "db01 data-restored", "numbered": true}),
        ),
    ] {
        let answer = estate.post(RESTORES, wish(target.clone())).await;
        assert_eq!(answer.status, 202, "{target}: {answer:?}");
        let task = answer.ok()["task_id"].clone();
        let job = estate.next_job().await;
        let spec = &job.assigned.task.spec;
        assert_eq!((json!(job.assigned.task.id.to_string()), spec.kind.as_str()), (task, "recovery"));
        assert_eq!(job.assigned.argument["place"], place, "{target}");
        assert_eq!(job.assigned.argument["request"], wish(target));
        assert_eq!(spec.resource.as_ref().map(|r| r.id.clone()), Some(estate.machine.to_string().into()));
        assert_eq!(job.assigned.repository.url, "/remote", "read from where the backup is");
        estate.done(&job, json!({ "files": 1, "bytes": 1 })).await;
    }
    for (target, codes) in [
        (json!({"aws_az": "/etc"}), vec![4003]),
        (json!({"aws_az": format!("{}/../../etc", ROOTS[1])}), vec![4003]),
        (json!({"aws_az": "/srv/restores-of-others"}), vec![4003]),
        (json!({"environment_id": Uuid::now_v7()}), vec![4003]),
        (json!({"environment_id": null}), vec![4003]),
        (json!({"type": "floppy"}), vec![4003]),
        (json!({"iops": "many"}), vec![4003]),
        (json!({"kms_key_native_id": "arn:aws:kms:1"}), vec![4005]),
        (json!({"kms_key_native_id": format!("repository:{}", estate.world.acme)}), vec![4005]),
        (json!({"tags": [{"value": "x"}]}), vec![4003]),
    ] {
        assert_eq!(estate.post(RESTORES, wish(target.clone())).await.refused(), (400, codes), "{target}");
    }
    let unknown = json!({ "source": {"backup_id": Uuid::now_v7()}, "target": {"environment_id": environment} });
    assert_eq!(estate.post(RESTORES, unknown).await.refused(), (400, vec![4003]));
    assert_eq!(estate.post(RESTORES, json!({})).await.refused(), (400, vec![4003, 4003]));

    let first = request(Method::POST, RESTORES, &estate.token).header("accept", "application/api.clumio.*=v1+json");
    let first = first.body(axum::body::Body::from(wish(json!({})).to_string())).expect("a request");
    assert_eq!(estate.world.send(first).await.status, 200, "the first version");
}
