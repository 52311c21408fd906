//! Tasks of a machine (section 11.3): whoever made them, the newest first, in pages.

use axum::http::StatusCode;
use domain::Role;
use domain::task::{Named, Task, TaskRef, TaskSpec};
use domain::{Scope, Uuid};
use ledger::Write;
use serde_json::{Value, json};

use super::world::World;

impl World {
    async fn task_for(&self, resource: Uuid, kind: &str) -> Task {
        self.tagged_task(resource, kind, &[]).await
    }

    async fn tagged_task(&self, resource: Uuid, kind: &str, tags: &[&str]) -> Task {
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind, "elsewhere", self.acme);
        spec.tags = tags.iter().map(|tag| (*tag).into()).collect();
        spec.resource = Some(Named::ours(resource, "compute_vm", "db"));
        let write = Write::CreateTask(Box::new(spec));
        let committed = self.ledger.commit(&Scope::everything(), self.service.moment(), vec![write]).await;
        committed.expect("a commit").task().expect("a task").clone()
    }
}

fn numbers(body: &Value) -> Vec<i64> {
    let tasks = body["tasks"].as_array().cloned().unwrap_or_default();
    tasks.iter().map(|t| t["id"].as_str().expect("a number in quotes").parse().expect("a number")).collect()
}

#[tokio::test]
async fn every_task_of_a_machine_is_listed_the_newest_first() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let (joined, _connected) = world.machine("db-1").await;
    let id = joined.resource.id;
    let mut made = Vec::new();
    for kind in ["backup", "retention", "file_recovery", "import", "backup"] {
        made.push(world.task_for(id, kind).await.id.0);
    }
    made.push(world.tagged_task(id, "backup", &["nightly"]).await.id.0);
    world.tagged_task(id, "browse", &["nightly", "internal"]).await;
    world.task_for(Uuid::now_v7(), "backup").await;
    let path = "/backup/v1/resources/db-1/tasks";
    let (status, body) = world.get(path, &token).await;
    made.reverse();
    assert_eq!((status, numbers(&body)), (StatusCode::OK, made.clone()));
    let types: Vec<_> = body["tasks"].as_array().expect("tasks").iter().map(|t| t["type"].clone()).collect();
    assert_eq!(
        json!(types),
        json!(["BACKUP", "BACKUP", null, "RECOVERY", "RETENTION", "BACKUP"]),
        "one has no name here"
    );
    let first = &body["tasks"][0];
    assert_eq!((&first["status"], &first["cancellable"]), (&json!("ENQUEUED"), &json!(true)));
    assert_eq!((&first["computeInstanceId"], first.get("resultCode")), (&json!("db-1"), None));
    assert_eq!(first.get("progress"), None, "nothing is known of it yet");

    let (mut seen, mut page, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let size = if pages == 1 { 1 } else { 2 };
        let (_, body) = world.get(&format!("{path}?pageSize={size}&pageToken={page}"), &token).await;
        pages += 1;
        seen.extend(numbers(&body));
        // The newest stand before what was shown already.
        world.task_for(id, "backup").await;
        page = body["nextPageToken"].as_str().unwrap_or_default().to_owned();
        if page.is_empty() {
            break;
        }
    }
    assert_eq!((seen, pages), (made, 4));
}

#[tokio::test]
async fn a_token_of_another_machine_is_refused() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let (one, _connected) = world.machine("db-1").await;
    let (_, _other) = world.machine("db-2").await;
    for _ in 0..3 {
        world.task_for(one.resource.id, "backup").await;
    }
    let (_, body) = world.get("/backup/v1/resources/db-1/tasks?pageSize=2", &token).await;
    let page = body["nextPageToken"].as_str().expect("there is more");
    let (status, body) = world.get(&format!("/backup/v1/resources/db-2/tasks?pageToken={page}"), &token).await;
    assert_eq!((status, &body["code"]), (StatusCode::BAD_REQUEST, &json!(3)));
    assert_eq!(super::world::fields(&body), ["page_token"]);
}

#[tokio::test]
async fn how_a_task_ended_is_said() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Admin).await;
    let (joined, _connected) = world.machine("db-1").await;
    let task = world.task_for(joined.resource.id, "backup").await;
    world.service.cancel_task(&world.root, TaskRef::Id(task.id)).await.expect("it waits");
    let (_, body) = world.get("/backup/v1/resources/db-1/tasks", &token).await;
    let shown = &body["tasks"][0];
    assert_eq!((&shown["status"], &shown["resultCode"]), (&json!("COMPLETED"), &json!("CANCELLED")));
    assert_eq!(shown.get("cancellable"), None);
    assert!(shown["error"].as_str().is_some_and(|e| e.contains("Cancelled")), "{shown}");
}
