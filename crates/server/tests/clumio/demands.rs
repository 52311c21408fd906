//! What existing clients demand of every list and every task they poll (section 16), where no other file shows it.

use std::sync::Arc;

use axum::http::Method;
use domain::repository::Repository;
use domain::resource::ResourceKind;
use domain::task::TaskId;
use domain::{Role, Scope, SignedDuration};
use ledger::{Expect, SqliteLedger, Write};
use serde_json::{Value, json};
use server::service::Rate;

use crate::estate::{Estate, items};
use crate::governance::Place;
use crate::history::{self, Fate, make, wish};
use crate::world::World;

const VOLUMES: &str = "/datasources/aws/ebs-volumes";
const BACKUPS: &str = "/backups/aws/ebs-volumes";
const ENVIRONMENTS: &str = "/datasources/aws/environments";

/// Checks that no number anywhere has a fraction.
fn whole_numbers(value: &Value) {
    match value {
        Value::Number(n) => assert!(n.is_i64() || n.is_u64(), "{n} has a fraction"),
        Value::Array(values) => values.iter().for_each(whole_numbers),
        Value::Object(members) => members.values().for_each(whole_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// An estate with two of everything, and the paths of its lists.
async fn lists() -> (Estate, Vec<String>) {
    let estate = Estate::new().await;
    let web = estate.resource("web", "web", ResourceKind::Volume, Value::Null).await;
    let backup = estate.backup(estate.machine, None, "2026-01-31T08:00:00Z").await;
    estate.backup(web, Some("remote"), "2026-01-31T09:00:00Z").await;
    estate.world.tenant_below(estate.world.acme, "below").await;
    for name in ["gold", "silver"] {
        let body = json!({ "name": name, "operations": [crate::governance::operation("aws_ebs_volume_backup")] });
        estate.post("/policies/definitions", body).await.ok();
    }
    let environment = server::service::environment_id(estate.agent.agent.id(), estate.local);
    let paths = [
        "/tasks",
        ENVIRONMENTS,
        &format!("{ENVIRONMENTS}/{environment}/tags"),
        VOLUMES,
        BACKUPS,
        &format!("/backups/{backup}/filesystems"),
        "/policies/definitions",
        "/organizational-units",
    ];
    let paths = paths.map(str::to_owned).to_vec();
    (estate, paths)
}

#[tokio::test]
async fn every_list_is_unfiltered_in_all_ways_in_which_clients_say_so() {
    let (estate, paths) = lists().await;
    for path in paths {
        let all = items(&estate.get(&path).await);
        assert!(all.len() >= 2, "{path}: {all:?}");
        for query in ["filter=null", "filter=&limit=0&start=", "filter=%7B%7D", "filter=%7B+%7D", "filter=+null+&x=%ff"]
        {
            assert_eq!(items(&estate.get(&format!("{path}?{query}")).await), all, "R3: {path}?{query}");
        }
    }
}

#[tokio::test]
async fn every_list_has_whole_numbers_texts_and_links_that_can_be_followed() {
    let (estate, paths) = lists().await;
    for path in paths {
        let all = estate.get(&path).await;
        let (mut next, mut seen) = (Some(format!("{path}?limit=1")), Vec::new());
        while let Some(href) = next {
            let list = estate.get(&href).await;
            whole_numbers(&list);
            for number in ["current_count", "limit"] {
                assert!(list[number].is_u64(), "R9: {href}: {number}");
            }
            for number in ["total_count", "total_pages_count"] {
                assert!(list.get(number).is_none_or(Value::is_u64), "R10: {href}: {number}");
            }
            assert!(list["start"].is_string(), "R9: {href}");
            assert!(list["_links"]["_self"]["href"].is_string(), "R4: {href}");
            seen.extend(items(&list));
            let to = list["_links"].get("_next").map(|link| link["href"].as_str().expect("R5: never null").to_owned());
            if let Some(to) = &to {
                let start = to.split_once("?start=").expect("R5: the first parameter").1.split('&').next();
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                assert!(start.is_some_and(|s| !s.is_empty() && s.chars().all(plain)), "R6: {to}");
            }
            next = to;
        }
        assert_eq!(seen, items(&all), "{path}");
    }
}

#[tokio::test]
async fn what_has_no_tags_has_its_name() {
    let estate = Estate::new().await;
    let bare = estate.resource("bare", "no tags", ResourceKind::Volume, Value::Null).await;
    let backup = estate.backup(bare, None, "2026-01-31T08:00:00Z").await;
    let name = json!([{ "key": "Name", "value": "no tags" }]);
    assert_eq!(estate.get(&format!("{BACKUPS}/{backup}")).await["tags"], name, "R17");
    let volume = estate.get(&format!("{VOLUMES}/{bare}")).await;
    assert_eq!((&volume["tags"][0]["key"], &volume["tags"][0]["value"]), (&json!("Name"), &json!("no tags")), "R17");
    // R18: sent back as they are.
    let environment = server::service::environment_id(estate.agent.agent.id(), estate.local);
    let target = json!({ "environment_id": environment, "tags": name, "type": "standard", "iops": 0 });
    let body = json!({ "source": { "backup_id": backup }, "target": target });
    assert_eq!(estate.post("/restores/aws/ebs-volumes", body).await.status, 202, "R18");
    let job = estate.next_job().await;
    assert_eq!(job.assigned.argument["place"]["name"], "no tags");
}

#[tokio::test]
async fn an_abort_ends_though_the_agent_is_gone() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Operator).await;
    let now = world.service.moment().now;
    let id = make(&world, now, wish(world.acme, "backup", "q"), Fate::Runs).await;
    let path = format!("/tasks/{id}");
    let aborting = world.call(Method::PATCH, &path, &token, json!({ "status": "aborting" })).await.ok();
    assert_eq!(aborting["status"], "aborting");
    // Nothing is heard of the agent for so long that its lease runs out.
    let later = now + SignedDuration::from_hours(9);
    history::at(&world, later, vec![Write::Settle(TaskId(id))]).await;
    let aborted = world.get(&path, &token).await.ok();
    assert_eq!(aborted["status"], "aborted", "R14");
    let reason = aborted["failed_reason"].as_str().expect("a sentence");
    assert_eq!(reason, "Cancelled by operator of acme. Executor 'agent-1' stopped reporting.");
}

#[tokio::test]
async fn a_known_task_can_be_polled_whatever_else_is_asked() {
    let world = World::with(|service| service.limiting(Some(Rate { per_second: 0.01, burst: 3.0 }))).await;
    let token = world.token(world.acme, Role::Operator).await;
    let id = make(&world, world.service.moment().now, wish(world.acme, "backup", "q"), Fate::Runs).await;
    while world.get(VOLUMES, &token).await.status == 200 {}
    assert_eq!(world.get(VOLUMES, &token).await.refused(), (429, vec![4290]));
    for _ in 0..3 {
        assert_eq!(world.get(&format!("/tasks/{id}"), &token).await.ok()["status"], "in_progress", "R15");
    }
    // As often as the vendor documents it.
    let world = World::with(|service| service.limiting(Some(Rate::default()))).await;
    let token = world.token(world.acme, Role::Operator).await;
    let id = make(&world, world.service.moment().now, wish(world.acme, "backup", "q"), Fate::Runs).await;
    for _ in 0..100 {
        assert_eq!(world.get(&format!("/tasks/{id}"), &token).await.status, 200, "R15");
    }
}

#[tokio::test]
async fn a_known_task_can_be_polled_when_what_it_is_about_has_moved_or_gone() {
    let place = Place::new().await;
    let acme = place.world.acme;
    let volume = place.resource(acme, ResourceKind::Volume, "vol-1").await;
    let policy = place.policy("gold", "aws_ebs_volume_backup").await;
    let assigned = place.assign(&policy, &volume, "aws_ebs_volume").await.ok();
    let entity = json!({ "primary_entity": { "id": volume.id, "type": "aws_ebs_volume" } });
    let unit = place.post("/organizational-units", json!({ "name": "sales", "entities": [entity] })).await.ok();
    let own = format!("/organizational-units/{}", unit["id"].as_str().expect("an id"));
    let seen = async |answer: &Value| {
        let task = place.task(answer).await;
        assert_eq!(task["id"], answer["task_id"], "R15");
    };
    seen(&assigned).await;
    seen(&unit).await;
    let back = place.ask(Method::PATCH, &own, json!({ "entities": { "remove": [entity] } })).await.ok();
    let gone = place.ask(Method::DELETE, &own, Value::Null).await.ok();
    place.world.service.delete_resource(&place.world.root, volume.id).await.expect("removed");
    let policy = place.ask(Method::DELETE, &format!("/policies/definitions/{policy}"), Value::Null).await.ok();
    for answer in [&assigned, &unit, &back, &gone, &policy] {
        seen(answer).await;
    }
}

#[tokio::test]
async fn a_defect_and_a_closed_store_are_told_as_json() {
    let estate = Estate::new().await;
    let backup = estate.backup(estate.machine, None, "2026-01-31T08:00:00Z").await;
    let ledger = &estate.world.ledger;
    let stored = ledger.get::<Repository>(&Scope::everything(), estate.local).await.expect("it is there");
    let broken = Repository { sealed_password: "damaged".into(), ..stored.value };
    estate.world.commit(vec![Write::Put(Box::new(broken.into()), Expect::Rev(stored.rev))]).await;
    let path = format!("/backups/{backup}/filesystems/1/directories/root/browse");
    let answer = estate.world.get(&path, &estate.token).await;
    assert_eq!(answer.refused(), (500, vec![5000]), "R7");
    let id = answer.header("x-request-id");
    assert!(answer.messages().contains(id) && !answer.messages().contains("secret"), "D19: {}", answer.messages());

    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Arc::new(SqliteLedger::open(&folder.path().join("ledger.db")).expect("a ledger"));
    let world = World::over(ledger.clone()).await;
    let token = world.token(world.acme, Role::Admin).await;
    assert_eq!(world.get("/tasks", &token).await.status, 200);
    ledger.close().await.expect("closed");
    for (method, path) in
        [(Method::GET, "/tasks"), (Method::GET, "/tasks/1"), (Method::GET, VOLUMES), (Method::POST, BACKUPS)]
    {
        let answer = world.call(method, path, &token, json!({})).await;
        assert_eq!(answer.refused(), (503, vec![5030]), "R7: {path}");
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 0), "{path}");
    }
}
