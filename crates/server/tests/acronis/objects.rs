//! Tasks and activities as they are shown: levels of detail, single objects, roots (contract, sections 7 and 8).

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use domain::{Role, Timestamp, Uuid};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::history::History;
use crate::reading::list;
use crate::shape::{API, as_refusal, refused};
use crate::world::request;

/// Where a value may be whatever somebody sent.
const FREE: [&str; 6] = ["context", "argument", "payload", "kbLink", "debug", "possibleSolutions"];

/// What is true of every object (8.1): nothing is null or empty but where the vendor has it so, times are times, and
/// numbers have their twins.
fn sound(value: &Value, name: &str, what: &str) {
    match value {
        Value::Null => panic!("{what}: '{name}' is null"),
        Value::String(text) => {
            assert!(!text.is_empty(), "{what}: '{name}' is empty");
            if name.ends_with("At") {
                assert!(text.ends_with('Z') && text.parse::<Timestamp>().is_ok(), "{what}: '{name}' is {text}");
                // Go's RFC3339Nano
                let fraction = text.split_once('.').map(|(_, fraction)| fraction);
                assert!(fraction.is_none_or(|f| f != "Z" && !f.ends_with("0Z")), "{what}: '{name}' is {text}");
            }
        }
        Value::Object(members) => {
            for (key, value) in members {
                let party = key == "issuer" || key == "executor";
                if FREE.contains(&key.as_str()) {
                    continue;
                }
                if party {
                    let texts: BTreeSet<_> = value.as_object().expect("a party").keys().map(String::as_str).collect();
                    assert_eq!(texts, BTreeSet::from(["clusterId", "id"]), "{what}: {key}");
                    continue;
                }
                if let (Some(number), Some(twin)) = (value.as_i64(), members.get(&format!("{key}String"))) {
                    assert_eq!(twin, &json!(number.to_string()), "{what}: {key}");
                }
                sound(value, key, what);
            }
        }
        Value::Array(items) => {
            assert!(!items.is_empty() || name == "warnings", "{what}: '{name}' is empty");
            items.iter().for_each(|item| sound(item, name, what));
        }
        Value::Bool(_) | Value::Number(_) => {}
    }
}

#[tokio::test]
async fn each_level_of_detail_adds_to_the_one_before() {
    // D38
    let history = History::new().await;
    let world = &history.world;
    let auth = world.bearer(Uuid::nil(), Role::Viewer).await;
    let always: [(&str, &[&str], &[&str]); 5] = [
        ("tiny", &["id", "idString", "uuid", "type", "state", "updatedAt"], &["taskId", "taskIdString"]),
        ("short", &["tenant"], &["executor", "createdAt"]),
        ("long", &[], &[]),
        ("full", &["sustainable"], &[]),
        ("debug", &["debug"], &[]),
    ];
    let task_only: [&[&str]; 5] = [
        &[],
        &["queue", "priority", "issuer", "cancellable", "cancelRequested", "assignCount", "enqueuedAt"],
        &["context"],
        &["maxAssignCount", "ackTimeout"],
        &[],
    ];
    let never_on_activities = [
        "queue",
        "priority",
        "issuer",
        "cancellable",
        "cancelRequested",
        "affinity",
        "argument",
        "assignCount",
        "blockers",
        "enqueuedAt",
        "assignedAt",
        "ackTimeout",
        "queueTimeout",
        "execTimeout",
        "lifeTime",
        "heartBeatInterval",
        "maxAssignCount",
    ];
    for path in ["/tasks", "/activities"] {
        let mut before: Vec<Value> = Vec::new();
        let mut needed: BTreeSet<&str> = BTreeSet::new();
        for (level, (lod, both, activity_only)) in always.into_iter().enumerate() {
            needed.extend(both);
            needed.extend(if path == "/tasks" { task_only[level] } else { activity_only });
            let body = list(world, &auth, &format!("{path}?allow_deleted=1&lod={lod}")).await;
            let items = body["items"].as_array().expect("a list").clone();
            for (i, item) in items.iter().enumerate() {
                let what = format!("{path} {} at {lod}", item["id"]);
                sound(item, "", &what);
                let members = item.as_object().expect("an item");
                for name in &needed {
                    assert!(members.contains_key(*name), "{what} has no '{name}': {item}");
                }
                for name in ["error", "tenant_id", "task_id", "created_at"] {
                    assert!(!members.contains_key(name), "{what} has '{name}'");
                }
                if path == "/activities" {
                    assert!(never_on_activities.iter().all(|n| !members.contains_key(*n)), "{what}: {item}");
                }
                if lod == "tiny" {
                    let most = needed.iter().copied().chain(["result"]).collect::<BTreeSet<_>>();
                    assert!(members.keys().all(|k| most.contains(k.as_str())), "{what}: {item}");
                    assert!(item["result"].as_object().is_none_or(|r| r.keys().eq(["code"])), "{what}: {item}");
                }
                if let Some(less) = before.get(i).and_then(Value::as_object) {
                    let kept = |key: &String| key == "result" || less[key] == members[key];
                    assert!(less.keys().all(kept), "{what} lost something of {less:?}");
                }
            }
            before = items;
        }
        // The defaults: `long` on lists, `full` on one object.
        let long = list(world, &auth, &format!("{path}?lod=long")).await;
        assert_eq!(list(world, &auth, path).await["items"], long["items"]);
        let full = list(world, &auth, &format!("{path}?lod=full")).await;
        for item in full["items"].as_array().expect("a list") {
            let (_, _, one) = world.get(&format!("{API}{path}/{}", item["id"]), &auth).await;
            assert_eq!(&one, item);
        }
    }
}

#[tokio::test]
async fn one_object_is_found_by_number_and_by_uuid_in_any_case() {
    // D14
    let history = History::new().await;
    let world = &history.world;
    let auth = world.bearer(world.acme, Role::Viewer).await;
    let task_ids = history.tasks.iter().map(|t| ("tasks", t.id.0, t.spec.uuid, &t.spec, t.status.deleted_at));
    let step_ids = history
        .activities
        .iter()
        .map(|a| ("activities", a.activity.id.0, a.activity.uuid, &a.task.spec, a.task.status.deleted_at));
    for (path, id, uuid, spec, deleted) in task_ids.chain(step_ids) {
        let visible = history.below(spec.tenant, world.acme);
        let names = [id.to_string(), uuid.to_string(), uuid.to_string().to_uppercase()];
        let asked = [
            (&names[0], "", visible && deleted.is_none()),
            (&names[1], "?allow_deleted=False", visible && deleted.is_none()),
            (&names[2], "", visible && deleted.is_none()),
            (&names[0], "?allow_deleted=true", visible),
            (&names[2], "?allow_deleted=1&lod=tiny", visible),
        ];
        for (name, query, shown) in asked {
            let what = format!("{API}/{path}/{name}{query}");
            let answer = world.get(&what, &auth).await;
            if !shown {
                assert_eq!(refused(&answer, &what), as_refusal(404, "notFound"), "{what}");
                continue;
            }
            assert_eq!(answer.0, StatusCode::OK, "{what}");
            assert_eq!((&answer.2["id"], &answer.2["uuid"]), (&json!(id), &json!(uuid)), "{what}");
            if !query.ends_with("tiny") {
                assert_eq!(answer.2["deletedAt"].is_string(), deleted.is_some(), "{what}");
            }
        }
    }
    // A task and an activity may carry the same number, and are not mixed up.
    let (_, _, task) = world.get(&format!("{API}/tasks/{}?lod=tiny", history.tasks[0].id), &auth).await;
    let (_, _, step) = world.get(&format!("{API}/activities/{}?lod=tiny", history.tasks[0].id), &auth).await;
    assert_ne!(task["uuid"], step["uuid"]);
}

#[tokio::test]
async fn every_task_that_was_begun_has_one_root_that_shows_it() {
    // D48
    let history = History::new().await;
    let world = &history.world;
    let auth = world.bearer(Uuid::nil(), Role::Viewer).await;
    let of = |body: Value| body["items"].as_array().expect("a list").clone();
    let tasks = of(list(world, &auth, "/tasks?lod=full&allow_deleted=1").await);
    let steps = of(list(world, &auth, "/activities?lod=full&allow_deleted=1").await);
    let same = [
        "type",
        "state",
        "tenant",
        "executor",
        "policy",
        "resource",
        "startedByUser",
        "progress",
        "startedAt",
        "completedAt",
        "updatedAt",
        "deletedAt",
        "context",
        "tags",
        "workflowId",
        "result",
        "sustainable",
    ];
    for task in &tasks {
        let own = steps.iter().filter(|a| a["taskId"] == task["id"]);
        let (roots, others): (Vec<&Value>, Vec<&Value>) = own.partition(|a| a.get("parentActivityId").is_none());
        let waits = ["enqueued", "assigned"].contains(&task["state"].as_str().expect("a state"));
        // One that was given back keeps what it had; one that nobody began has nothing.
        if waits && task.get("progress").is_none() {
            assert!(roots.is_empty(), "{task}");
            continue;
        }
        let [root] = roots[..] else { panic!("{} roots of {task}", roots.len()) };
        for name in same {
            let (mut shown, of_task) = (root[name].clone(), task[name].clone());
            if name == "executor" && of_task.is_null() {
                assert_eq!(shown, json!({ "id": "", "clusterId": "" }));
                shown = Value::Null;
            }
            assert_eq!(shown, of_task, "{name} of {root}");
        }
        assert_ne!(root["uuid"], task["uuid"]);
        assert_eq!(root["context"]["IsProcessRoot"], true);
        for step in others {
            assert!(step["context"].get("IsProcessRoot").is_none(), "{step}");
            // D47, D49
            for name in ["tenant", "policy", "resource", "startedByUser", "workflowId"] {
                assert_eq!(step[name], task[name], "{name} of {step}");
            }
            assert!(step["progress"].get("bytesProcessed").is_none(), "{step}");
            assert_ne!(step["state"], "assigned");
        }
    }
}

#[tokio::test]
async fn answers_are_packed_for_those_who_can_unpack_them() {
    // D3
    let history = History::new().await;
    let world = &history.world;
    let auth = world.bearer(Uuid::nil(), Role::Viewer).await;
    for base in ["", "/bc"] {
        for (accepted, packed) in
            [("gzip, deflate, br, zstd", true), ("gzip", true), ("identity", false), ("br", false)]
        {
            let asked = request(Method::GET, &format!("{base}{API}/tasks"), &auth).header("accept-encoding", accepted);
            let asked = asked.body(Body::empty()).expect("a request");
            let response = world.router.clone().oneshot(asked).await.expect("the router always answers");
            let (parts, body) = response.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
            assert_eq!(parts.headers["cache-control"], "no-store");
            assert_eq!(parts.headers["content-type"], "application/json");
            assert_eq!(parts.headers.get("content-encoding").is_some_and(|e| e == "gzip"), packed, "{accepted}");
            // How such a file begins (RFC 1952).
            assert_eq!(bytes.starts_with(&[0x1f, 0x8b, 8]), packed, "{accepted}");
        }
        let head = request(Method::HEAD, &format!("{base}{API}/tasks"), &auth).body(Body::empty()).expect("a request");
        let (status, _, body) = world.send(head).await;
        assert_eq!((status, body), (StatusCode::OK, Value::Null));
    }
}
