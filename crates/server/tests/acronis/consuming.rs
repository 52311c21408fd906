//! What consumers report on tasks and their steps, and what comes of it (contract, 10.2 and section 11, D48, D51, D63, D69,
//! D70).

use axum::http::StatusCode;
use domain::{SignedDuration, Timestamp, Uuid};
use serde_json::{Value, json};

use crate::shape::{API, as_refusal, refused};
use crate::writing::Desk;

/// A wish for a task whose executor may take its time: no test depends on how fast the machine is.
pub(crate) fn plain() -> Value {
    json!({ "type": "index", "queue": "q", "ackTimeout": "1h" })
}

/// A wish with more in it.
pub(crate) fn with(mut wish: Value, more: &Value) -> Value {
    wish.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    wish
}

/// Every call on a task, with a body that is right.
fn calls() -> [(&'static str, Value); 7] {
    [
        ("started", Value::Null),
        ("heartbeat", Value::Null),
        ("progress", json!({ "total": 10, "current": 1 })),
        ("paused", Value::Null),
        ("resumed", Value::Null),
        ("completed", json!({ "result": { "code": "ok" } })),
        ("abandoned", Value::Null),
    ]
}

/// A task in a state, under its lease; a waiting one has had it.
async fn in_state(desk: &Desk, state: &str) -> (Value, Value) {
    let wish = with(plain(), &json!({ "maxAssignCount": 2 }));
    if state == "assigned" {
        desk.create(wish).await;
        let taken = desk.take_one("q").await;
        return (taken["id"].clone(), taken["lease"].clone());
    }
    let (id, lease) = desk.begun(wish).await;
    let call = match state {
        "paused" => "paused",
        "completed" => "completed",
        "enqueued" => "abandoned",
        _ => return (id, lease),
    };
    let body = calls().into_iter().find(|(name, _)| *name == call).expect("a call").1;
    desk.reported(&lease, &format!("tasks/{id}/{call}"), body).await;
    (id, lease)
}

#[tokio::test]
async fn each_report_leads_where_it_must_or_is_refused() {
    // 10.2
    let desk = Desk::new().await;
    let conflict = "stateConflict";
    // From each state: what comes of the calls above, a state or a refusal.
    for (state, results) in [
        ("enqueued", ["leaseLost"; 7]),
        ("assigned", ["started", "assigned", "assigned", conflict, conflict, "completed", "enqueued"]),
        ("started", ["started", "started", "started", "paused", "started", "completed", "enqueued"]),
        ("paused", [conflict, "paused", "paused", "paused", "started", "completed", "enqueued"]),
        (
            "completed",
            [
                "alreadyCompleted",
                "alreadyCompleted",
                "alreadyCompleted",
                "alreadyCompleted",
                "alreadyCompleted",
                // The identical completion again.
                "completed",
                "alreadyCompleted",
            ],
        ),
    ] {
        for ((call, body), result) in calls().into_iter().zip(results) {
            let what = format!("{call} when {state}");
            let (id, lease) = in_state(&desk, state).await;
            let before = desk.task(&id).await;
            assert_eq!(before["state"], state, "{what}");
            let answer = desk.report(&lease, &format!("tasks/{id}/{call}"), body.clone()).await;
            let after = desk.task(&id).await;
            if !["enqueued", "assigned", "started", "paused", "completed"].contains(&result) {
                assert_eq!(refused(&answer, &what), as_refusal(409, result), "{what}");
                assert_eq!(after, before, "{what}: refused, and nothing else");
            } else {
                assert_eq!(answer.0, StatusCode::OK, "{what}: {}", answer.2);
                assert_eq!((&answer.2["state"], &after["state"]), (&json!(result), &json!(result)), "{what}");
                let members: Vec<_> = answer.2.as_object().expect("an object").keys().map(String::as_str).collect();
                let wanted = ["assignCount", "blockers", "cancelRequested", "id", "idString", "state", "updatedAt"];
                assert_eq!(members, wanted, "{what}");
                assert_eq!(answer.2["updatedAt"], after["updatedAt"], "{what}");
            }
            // D69: its answer may have been lost. What gave the task away cannot be said under a lease that is void.
            if answer.0 == StatusCode::OK && call != "abandoned" {
                let again = desk.report(&lease, &format!("tasks/{id}/{call}"), body).await;
                assert_eq!((again.0, &again.2["state"]), (StatusCode::OK, &json!(result)), "{what}, again");
            }
            // Nothing of this task for the next one.
            if after["state"] == "enqueued" {
                desk.decide(&id, "cancel", Value::Null).await;
            }
        }
    }
}

#[tokio::test]
async fn times_and_members_follow_the_states() {
    // 8.2, 10.2, D40
    let desk = Desk::new().await;
    let wish = with(plain(), &json!({ "maxAssignCount": 2, "heartBeatInterval": "1h" }));
    let task = desk.create(wish.clone()).await;
    let id = task["id"].clone();
    let at = |task: &Value, name: &str| task[name].as_str().map(|t| t.parse::<Timestamp>().expect("a time"));
    assert_eq!(["executor", "assignedAt", "startedAt", "completedAt"].map(|n| task.get(n).is_some()), [false; 4]);
    let lease = desk.take_one("q").await["lease"].clone();
    let task = desk.task(&id).await;
    assert!(at(&task, "assignedAt") > at(&task, "enqueuedAt"));
    assert_eq!(
        ["executor", "assignedAt", "startedAt", "completedAt"].map(|n| task.get(n).is_some()),
        [true, true, false, false]
    );
    // D69: a heartbeat leaves `updatedAt` alone; everything that can be seen moves it.
    let beat = desk.reported(&lease, &format!("tasks/{id}/heartbeat"), Value::Null).await;
    assert_eq!(beat["updatedAt"], task["updatedAt"]);
    let started = desk.reported(&lease, &format!("tasks/{id}/started"), Value::Null).await;
    let task = desk.task(&id).await;
    assert_eq!(task["startedAt"], started["updatedAt"]);
    let progress = json!({
        "total": 100, "current": 40, "bytesProcessed": 7_340_032, "bytesSaved": 1_048_576, "processingSpeed": 12.5,
        "leftTime": "90s", "bottleneck": { "source": 10, "destination": 20, "processing": 70 },
    });
    let moved = desk.reported(&lease, &format!("tasks/{id}/progress"), progress.clone()).await;
    assert!(at(&moved, "updatedAt") > at(&started, "updatedAt"));
    let task = desk.task(&id).await;
    assert_eq!(task["progress"], with(progress.clone(), &json!({ "leftTime": "1m30s" })));
    let same = desk.reported(&lease, &format!("tasks/{id}/progress"), progress).await;
    assert_eq!(same["updatedAt"], moved["updatedAt"], "nothing can be seen of it");
    // The heartbeat is seen where deadlines are (D38).
    let (_, _, debug) = desk.world.get(&format!("{API}/tasks/{id}?lod=debug"), &desk.viewer).await;
    let deadline = at(&debug["debug"]["deadlines"], "heartBeatInterval").expect("it runs");
    let last = at(&debug["debug"], "lastReportAt").expect("it reported");
    // D59
    assert_eq!(deadline, last.checked_add(SignedDuration::from_hours(3)).expect("soon"));
    let done =
        json!({ "result": { "code": "ok", "payload": { "files": 3 } }, "progress": { "total": 100, "current": 100 } });
    desk.reported(&lease, &format!("tasks/{id}/completed"), done.clone()).await;
    let task = desk.task(&id).await;
    assert_eq!(task["completedAt"], task["updatedAt"]);
    assert_eq!(task["executor"]["id"], "e-1");
    assert_eq!(task["result"], json!({ "code": "ok", "payload": { "files": 3 } }));
    assert_eq!(task["progress"], json!({ "total": 100, "current": 100 }));
    // Another completion is not the identical one.
    for other in
        [json!({ "result": { "code": "ok" } }), json!({ "result": { "code": "warning", "payload": { "files": 3 } } })]
    {
        let answer = desk.report(&lease, &format!("tasks/{id}/completed"), other).await;
        assert_eq!(refused(&answer, "another result"), as_refusal(409, "alreadyCompleted"));
    }
    desk.reported(&lease, &format!("tasks/{id}/completed"), done).await;
    // A task that is done when it was only handed out has begun, too.
    desk.create(wish).await;
    let taken = desk.take_one("q").await;
    let (id, lease) = (&taken["id"], &taken["lease"]);
    desk.reported(lease, &format!("tasks/{id}/completed"), json!({ "result": { "code": "warning" } })).await;
    let task = desk.task(id).await;
    assert_eq!(task["startedAt"], task["completedAt"]);
}

#[tokio::test]
async fn a_result_is_what_an_executor_can_know() {
    // D51, D58, D70
    let desk = Desk::new().await;
    let (id, lease) = desk.begun(plain()).await;
    let error = json!({ "domain": "Storage", "code": "quotaExceeded" });
    for (body, code, parameter) in [
        (json!({}), "invalidBody", "result"),
        (json!({ "result": {} }), "invalidBody", "result.code"),
        (json!({ "result": { "code": "abandoned" } }), "invalidParameter", "result.code"),
        (json!({ "result": { "code": "timedout" } }), "invalidParameter", "result.code"),
        (json!({ "result": { "code": "done" } }), "invalidParameter", "result.code"),
        (json!({ "result": { "code": "ok", "payload": 7 } }), "invalidBody", "result.payload"),
        (json!({ "result": { "code": "error", "error": {} } }), "invalidBody", "result.error.domain"),
        (
            json!({ "result": { "code": "error", "error": with(error.clone(), &json!({ "reason": "full" })) } }),
            "invalidParameter",
            "result.error.reason",
        ),
        (
            json!({ "result": { "code": "error", "error": with(error.clone(), &json!({ "message": "x".repeat(501) })) } }),
            "invalidParameter",
            "result.error.message",
        ),
        (
            json!({ "result": { "code": "warning", "warnings": [error, { "domain": "d" }] } }),
            "invalidBody",
            "result.warnings[1].code",
        ),
        (json!({ "result": { "code": "ok" }, "progress": {} }), "invalidBody", "progress.total"),
    ] {
        let what = body.to_string();
        let answer = desk.report(&lease, &format!("tasks/{id}/completed"), body).await;
        assert_eq!(refused(&answer, &what), as_refusal(400, code), "{what}");
        assert_eq!(answer.2["context"]["parameter"], parameter, "{what}: {}", answer.2);
    }
    for (body, parameter) in [
        (json!({ "total": -1 }), "total"),
        (json!({ "total": 10, "current": 11 }), "current"),
        (json!({ "total": 1, "processingSpeed": -1 }), "processingSpeed"),
        (json!({ "total": 1, "leftTime": "-1s" }), "leftTime"),
        (json!({ "total": 1, "bottleneck": { "source": 10, "destination": 20, "processing": 71 } }), "bottleneck"),
        (
            json!({ "total": 1, "bottleneck": { "source": 101, "destination": 0, "processing": 0 } }),
            "bottleneck.source",
        ),
    ] {
        let what = body.to_string();
        let answer = desk.report(&lease, &format!("tasks/{id}/progress"), body).await;
        assert_eq!(refused(&answer, &what), as_refusal(400, "invalidParameter"), "{what}");
        assert_eq!(answer.2["context"]["parameter"], parameter, "{what}: {}", answer.2);
    }
    assert_eq!(desk.task(&id).await["state"], "started");
    // A failure without a reason gets one; a reason without a sentence, too.
    let link = json!({
        "lineTag": "l", "serCode": "s", "version": "1", "build": 7, "product": "p", "os": "linux",
    });
    for (error, wanted) in [
        (
            Value::Null,
            json!({
                "domain": "TaskManager", "code": "unspecified", "reason": "unspecified",
                "message": "The executor reported a failure and gave no reason.",
            }),
        ),
        (
            json!({ "domain": "D", "code": "c", "reason": "c", "message": "It is full.", "kbLink": link }),
            json!({ "domain": "D", "code": "c", "reason": "c", "message": "It is full.", "kbLink": link }),
        ),
        (
            json!({ "domain": "D", "code": "c", "context": { "cause_str": "No tape", "effect_str": "Nothing was saved." } }),
            json!({
                "domain": "D", "code": "c", "reason": "c", "message": "No tape. Nothing was saved.",
                "context": { "cause_str": "No tape", "effect_str": "Nothing was saved." },
            }),
        ),
        (
            json!({ "domain": "D", "code": "c", "debug": { "msg": "at line 7" } }),
            json!({ "domain": "D", "code": "c", "reason": "c", "message": "at line 7.", "debug": { "msg": "at line 7" } }),
        ),
        (json!({ "domain": "D", "code": "c" }), json!({ "domain": "D", "code": "c", "reason": "c", "message": "D/c" })),
    ] {
        let (id, lease) = desk.begun(plain()).await;
        let body = json!({ "result": { "code": "error", "error": error } });
        desk.reported(&lease, &format!("tasks/{id}/completed"), body).await;
        assert_eq!(desk.task(&id).await["result"], json!({ "code": "error", "error": wanted }));
    }
}

/// A step of a task.
pub(crate) async fn step(desk: &Desk, lease: &Value, body: Value) -> Value {
    desk.reported(lease, "activities", body).await
}

pub(crate) async fn read_step(desk: &Desk, step: &Value) -> Value {
    let (status, _, body) = desk.world.get(&format!("{API}/activities/{}", step["id"]), &desk.viewer).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

#[tokio::test]
async fn steps_are_made_and_reported_on_while_their_task_is_in_work() {
    // Section 11, D48
    let desk = Desk::new().await;
    let (id, lease) = desk.begun(plain()).await;
    let uuid = Uuid::now_v7();
    let wish = json!({
        "taskId": id, "type": "scan", "uuid": uuid.to_string().to_uppercase(), "state": "enqueued",
        "sustainable": true, "tags": ["t"], "context": { "title": "scanning" },
    });
    let (status, headers, made) = desk.report(&lease, "activities", wish.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let place = headers["location"].to_str().expect("text").to_owned();
    assert_eq!(place, format!("{API}/activities/{}", made["id"]));
    let (_, _, read) = desk.world.get(&place, &desk.viewer).await;
    assert_eq!(read, made);
    for (name, value) in [
        ("type", json!("scan")),
        ("uuid", json!(uuid)),
        ("state", json!("enqueued")),
        ("sustainable", json!(true)),
        ("tags", json!(["t"])),
        ("context", json!({ "title": "scanning" })),
        ("taskId", id.clone()),
        ("executor", json!({ "id": "e-1", "clusterId": "" })),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    // Below the root where nothing else is said.
    let (_, _, root) = desk.world.get(&format!("{API}/activities/{}", made["parentActivityId"]), &desk.viewer).await;
    assert_eq!((root.get("parentActivityId"), &root["taskId"]), (None, &id));
    // The same again is the same one.
    let again = step(&desk, &lease, wish).await;
    assert_eq!(again["id"], made["id"]);
    let child = step(
        &desk,
        &lease,
        json!({ "taskId": id.to_string(), "type": "copy", "parentActivityId": made["idString"], "state": "started" }),
    )
    .await;
    assert_eq!((&child["parentActivityId"], &child["state"]), (&made["id"], &json!("started")));
    // What cannot be.
    let (other, other_lease) = desk.begun(plain()).await;
    for (lease, body, status, code, parameter) in [
        (&lease, json!({ "type": "scan" }), 400, "invalidBody", Some("taskId")),
        (&lease, json!({ "taskId": id }), 400, "invalidBody", Some("type")),
        (&lease, json!({ "taskId": id, "type": "x".repeat(65) }), 400, "invalidParameter", Some("type")),
        (&lease, json!({ "taskId": id, "type": "s", "state": "assigned" }), 400, "invalidParameter", Some("state")),
        (&lease, json!({ "taskId": id, "type": "s", "progress": {} }), 400, "readOnlyField", Some("progress")),
        (&lease, json!({ "taskId": 4711, "type": "s" }), 404, "notFound", None),
        (&lease, json!({ "taskId": other, "type": "s" }), 409, "leaseLost", None),
        (
            &other_lease,
            json!({ "taskId": other, "type": "s", "parentActivityId": made["id"] }),
            404,
            "notFound",
            Some("parentActivityId"),
        ),
        (&other_lease, json!({ "taskId": other, "type": "s", "uuid": uuid }), 409, "alreadyExists", Some("uuid")),
    ] {
        let what = body.to_string();
        let answer = desk.report(lease, "activities", body).await;
        assert_eq!(refused(&answer, &what), as_refusal(status, code), "{what}");
        assert_eq!(answer.2["context"]["parameter"].as_str(), parameter, "{what}");
    }
    // From each state of a step.
    let progress = json!({ "total": 10, "current": 3, "bytesProcessed": 7 });
    let completed = json!({ "result": { "code": "warning" }, "progress": { "total": 10, "current": 10 } });
    for (call, body, result) in [
        ("progress", progress.clone(), Err("stateConflict")),
        ("paused", Value::Null, Err("stateConflict")),
        ("resumed", Value::Null, Err("stateConflict")),
        ("started", Value::Null, Ok("started")),
        ("started", Value::Null, Ok("started")),
        ("progress", progress.clone(), Ok("started")),
        ("paused", json!({}), Ok("paused")),
        ("paused", json!({}), Ok("paused")),
        ("started", Value::Null, Err("stateConflict")),
        ("progress", progress.clone(), Ok("paused")),
        ("resumed", Value::Null, Ok("started")),
        ("resumed", Value::Null, Ok("started")),
        ("completed", completed.clone(), Ok("completed")),
        ("completed", completed, Ok("completed")),
        ("completed", json!({ "result": { "code": "ok" } }), Err("alreadyCompleted")),
        ("progress", progress, Err("alreadyCompleted")),
        ("started", Value::Null, Err("alreadyCompleted")),
    ] {
        let before = read_step(&desk, &made).await;
        let what = format!("{call} when {}", before["state"]);
        let answer = desk.report(&lease, &format!("activities/{}/{call}", made["id"]), body).await;
        match result {
            Ok(state) => {
                assert_eq!((answer.0, &answer.2["state"]), (StatusCode::OK, &json!(state)), "{what}: {}", answer.2);
                assert_eq!((&answer.2["id"], &answer.2["taskId"]), (&made["id"], &id), "{what}");
                let after = read_step(&desk, &made).await;
                assert_eq!((&after["state"], &after["updatedAt"]), (&json!(state), &answer.2["updatedAt"]), "{what}");
                // A step does not stamp its task (D72), and holds no byte counts (D49).
                assert!(after["progress"].get("bytesProcessed").is_none(), "{what}");
            }
            Err(code) => {
                assert_eq!(refused(&answer, &what), as_refusal(409, code), "{what}");
                assert_eq!(read_step(&desk, &made).await, before, "{what}");
            }
        }
    }
    let done = read_step(&desk, &made).await;
    assert_eq!((&done["result"]["code"], &done["completedAt"]), (&json!("warning"), &done["updatedAt"]));
    // While the task is paused, too.
    desk.reported(&lease, &format!("tasks/{id}/paused"), Value::Null).await;
    step(&desk, &lease, json!({ "taskId": id, "type": "late" })).await;
    // Neither before it is started nor when it is over.
    desk.create(plain()).await;
    let taken = desk.take_one("q").await;
    let answer = desk.report(&taken["lease"], "activities", json!({ "taskId": taken["id"], "type": "s" })).await;
    assert_eq!(refused(&answer, "too early"), as_refusal(409, "stateConflict"));
    desk.reported(&lease, &format!("tasks/{id}/completed"), json!({ "result": { "code": "ok" } })).await;
    for (place, body) in [
        ("activities".to_owned(), json!({ "taskId": id, "type": "s" })),
        (format!("activities/{}/started", child["id"]), Value::Null),
    ] {
        let answer = desk.report(&lease, &place, body).await;
        assert_eq!(refused(&answer, "too late"), as_refusal(409, "alreadyCompleted"), "{place}");
    }
    // D63: what was open is abandoned, whatever the task's result.
    let child = read_step(&desk, &child).await;
    assert_eq!((&child["state"], &child["result"]["code"]), (&json!("completed"), &json!("abandoned")));
    assert_eq!(child["result"]["error"]["domain"], "TaskManager");
    assert_eq!(read_step(&desk, &made).await, done, "what was done stays");
}
