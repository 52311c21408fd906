//! One task with everything, schemas, versions, and images.

use axum::http::{Method, StatusCode};
use domain::Role;
use domain::task::{Event, Outcome, OutcomeCode, Progress, TaskError, TaskRef};
use ledger::Write;
use serde_json::{Value, json};

use crate::world::{World, request};

fn error(message: &str) -> TaskError {
    TaskError { domain: "agent".into(), code: "broken".into(), message: message.into(), ..TaskError::default() }
}

#[tokio::test]
async fn a_task_says_how_it_ended() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let show = async |id: String| world.get(&format!("/v2/tasks/{id}"), &token).await.expect(200);
    let waiting = world.waiting(world.acme, "verification").await;
    let shown = show(waiting.spec.uuid.to_string().to_uppercase()).await;
    assert_eq!(shown["id"], json!(waiting.spec.uuid.to_string()));
    assert_eq!((&shown["status"], &shown["message"]), (&json!("pending"), &json!("")));
    assert_eq!((&shown["input"], &shown["result"], shown.get("expires_at")), (&Value::Null, &Value::Null, None));
    assert_eq!(show(waiting.spec.uuid.simple().to_string()).await, shown);

    let mut outcome = Outcome::of(OutcomeCode::Error);
    let cause = Some(Box::new(error("the disk is full")));
    outcome.error = Some(TaskError { cause, ..error("the backup failed.") });
    let failed = world.ended(world.acme, "backup", outcome).await;
    let shown = show(failed.spec.uuid.to_string()).await;
    assert_eq!(shown["message"], json!("The backup failed. The disk is full."));
    assert_eq!((&shown["status"], &shown["result"]), (&json!("failure"), &Value::Null));
    let kept = failed.completed_at().expect("over") + domain::SignedDuration::from_hours(90 * 24);
    assert_eq!(shown["expires_at"], json!(kept.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));

    let mut outcome = Outcome::of(OutcomeCode::Warning);
    outcome.payload = json!({ "files": 3 });
    outcome.warnings = vec![error("one file was left out")];
    let warned = world.ended(world.acme, "backup", outcome).await;
    let shown = show(warned.spec.uuid.to_string()).await;
    assert_eq!(shown["result"], json!({ "files": 3, "warnings": ["One file was left out."] }));
    assert_eq!((&shown["status"], &shown["message"]), (&json!("success"), &json!("One file was left out.")));
}

#[tokio::test]
async fn a_task_says_why_it_ended_though_nobody_said_so() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let ended = world.ended(world.acme, "import", Outcome::of(OutcomeCode::Cancelled)).await;
    let shown = world.get(&format!("/v2/tasks/{}", ended.spec.uuid), &token).await.expect(200);
    assert_eq!(
        (&shown["status"], &shown["message"]),
        (&json!("failure"), &json!("The task was cancelled while it ran."))
    );
}

#[tokio::test]
async fn a_task_in_work_says_how_far_it_is() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let task = world.started(world.acme, "import").await;
    let show = async || world.get(&format!("/v2/tasks/{}", task.spec.uuid), &token).await.expect(200);
    assert_eq!(show().await["result"], Value::Null);
    let lease = task.lease().expect("a lease").clone();
    let progress = Progress { current: 3, total: 8, ..Progress::default() };
    let event = Event::Report { lease, progress };
    world.commit(vec![Write::Task(TaskRef::Id(task.id), event)]).await;
    let shown = show().await;
    assert_eq!(
        (&shown["status"], &shown["result"]),
        (&json!("processing"), &json!({ "progress": { "current": 3, "total": 8 } }))
    );
}

#[tokio::test]
async fn versions_are_for_everybody() {
    let world = World::new().await;
    for (path, status, prefix) in [
        ("/image", 300, "/image"),
        ("/image/", 300, "/image"),
        ("/image/versions", 200, "/image"),
        ("/versions", 200, ""),
        ("/image/v7/tasks", 300, "/image"),
        ("/image/v2.18/tasks", 300, "/image"),
        ("/v2.18/tasks", 300, ""),
        ("/v2.99", 300, ""),
    ] {
        let list = world.get(path, "").await.expect(status);
        let first = &list["versions"][0];
        assert_eq!((&first["id"], &first["status"]), (&json!("v2.17"), &json!("CURRENT")), "{path}");
        let href = format!("http://cloud.example.com:8774{prefix}/v2/");
        assert_eq!(first["links"], json!([{ "rel": "self", "href": href }]), "{path}");
    }
    let token = world.token(world.acme, Role::Viewer).await;
    // Also without a token: whoever is refused one here asks again for ever.
    for token in [token.as_str(), ""] {
        let moved = world.get("/image/v2", token).await;
        assert_eq!(moved.status, StatusCode::FOUND);
        assert_eq!(moved.header("location"), "http://cloud.example.com:8774/image/v2/");
        assert_eq!(world.get("/v2.0", token).await.status, StatusCode::FOUND);
        world.get("/v2/", token).await.refused(404);
    }
    for path in ["/v2/", "/v2/tasks/", "/v2/schemas", "/v2/nothing"] {
        world.get(path, &token).await.refused(404);
    }
}

#[tokio::test]
async fn schemas_are_for_whoever_has_a_token() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Consumer).await;
    let task = world.get("/v2/schemas/task", &token).await.expect(200);
    assert_eq!(task["name"], json!("task"));
    let members = task["properties"].as_object().expect("members");
    assert_eq!(members["type"].get("enum"), None, "any type");
    assert_eq!(members["input"]["type"], json!(["null", "object"]));
    assert_eq!(members["status"]["enum"], json!(["failure", "pending", "processing", "success"]));
    let descriptions = members.values().map(|m| m["description"].as_str().expect("a description"));
    let descriptions = descriptions.collect::<std::collections::HashSet<_>>();
    assert_eq!(descriptions.len(), members.len(), "each says its own");
    let tasks = world.get("/image/v2/schemas/tasks", &token).await.expect(200);
    let row = tasks["properties"]["tasks"]["items"]["properties"].as_object().expect("members");
    assert!(!row.contains_key("input") && !row.contains_key("result") && !row.contains_key("message"));
    assert_eq!(tasks["links"], json!([{ "rel": "describedby", "href": "{schema}" }]));
    for name in ["image", "images", "metadefs/namespace", "metadefs/resource_type"] {
        world.get(&format!("/v2/schemas/{name}"), &token).await.expect(200);
    }
}

#[tokio::test]
async fn every_answer_has_an_id() {
    let world = World::new().await;
    for (path, token) in [("/versions", ""), ("/v2/tasks", ""), ("/v3", ""), ("/v3/nothing", "")] {
        let answer = world.get(path, token).await;
        let id = answer.header("x-openstack-request-id").strip_prefix("req-").map(domain::Uuid::parse_str);
        assert!(id.is_some_and(|id| id.is_ok()), "{path}");
    }
    let own = domain::Uuid::from_u128(9).to_string();
    let with = |id: &str| request(Method::GET, "/versions", "").header("x-request-id", id.to_owned());
    let answer = world.send(with(&own).body(axum::body::Body::empty()).expect("a request")).await;
    assert_eq!(answer.header("x-openstack-request-id"), format!("req-{own}"));
}
