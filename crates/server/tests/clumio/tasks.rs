//! Tasks as clients list, read, wait for and abort them (section 7), with what those demand (section 16).

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use domain::task::{Event, Named, OutcomeCode, TaskRef};
use domain::{Role, SignedDuration, Uuid};
use ledger::Write;
use serde_json::{Value, json};

use crate::history::{self, Fate, make, wish};
use crate::world::{Answer, World, request};

/// A volume's backup in the queue of this name.
fn backup(world: &World, queue: &str) -> domain::task::TaskSpec {
    let mut spec = wish(world.acme, "backup", queue);
    let id = Uuid::from_u128(7).to_string();
    spec.resource = Some(Named { id: id.into(), kind: "volume".into(), name: "db01 data".into() });
    spec
}

async fn abort(world: &World, token: &str, id: i64) -> Answer {
    world.call(Method::PATCH, &format!("/tasks/{id}"), token, json!({"status": "aborting"})).await
}

#[tokio::test]
async fn a_task_is_shown_as_the_vendor_shows_it() {
    let (world, _) = World::since("2026-01-31T07:00:00Z".parse().expect("a time")).await;
    let now = "2026-01-31T08:00:00.9Z".parse().expect("a time");
    let id = make(&world, now, backup(&world, "q"), Fate::Ends(OutcomeCode::Error)).await;
    let token = world.token(world.acme, Role::Viewer).await;
    let answer = world.get(&format!("//clumio//api/tasks/{id}/"), &token).await;
    assert_eq!(answer.header("content-type"), "application/api.clumio.tasks=v1+json");
    let etag = answer.header("etag").to_owned();
    let mut task = answer.ok();
    assert_eq!(etag, format!("\"{}\"", task["_etag"].as_str().expect("text")));
    let (etag, uuid) = (task["_etag"].take(), task["_backstay"]["uuid"].take());
    assert!(etag.as_str().is_some_and(|e| e.bytes().all(|b| b.is_ascii_hexdigit())) && uuid.is_string());
    let get = |href: String| json!({"href": href, "templated": false, "type": "get"});
    let expected = json!({
        "_backstay": {
            "agent_id": "agent-1", "bytes_processed": 4000, "bytes_saved": 0, "policy_id": null, "result_code": "error",
            "state": "completed", "type": "backup", "uuid": null, "warnings": [],
        },
        "_etag": null,
        "_links": {"_self": get(format!("/tasks/{id}")),
            "read-organizational-unit": get(format!("/organizational-units/{}", world.acme))},
        "category": "backup", "created_timestamp": "2026-01-31T08:00:00Z", "end_timestamp": "2026-01-31T08:00:06Z",
        "failed_reason": "The repository is locked.", "genre": "operational", "id": id.to_string(),
        "is_abortable": false, "parent_entity": null,
        "primary_entity": {"id": Uuid::from_u128(7), "type": "aws_ebs_volume", "value": "db01 data"},
        "progress_percentage": 40, "start_timestamp": "2026-01-31T08:00:03Z", "status": "failed",
        "type": "aws_ebs_volume_incremental_backup",
    });
    assert_eq!(task, expected);
}

#[tokio::test]
async fn half_a_year_is_listed_unless_a_time_or_an_id_is_asked_for() {
    let (world, _) = World::since(history::begin()).await;
    let now = world.service.moment().now;
    let old = make(&world, now - SignedDuration::from_hours(24 * 200), backup(&world, "old"), Fate::Waits).await;
    let new = make(&world, now - SignedDuration::from_hours(24 * 100), backup(&world, "new"), Fate::Waits).await;
    let token = world.token(world.acme, Role::Viewer).await;
    let listed = async |query: &str| {
        let body = world.get(&format!("/tasks{query}"), &token).await.ok();
        let items = body["_embedded"]["items"].as_array().expect("items").clone();
        let ids: Vec<i64> = items.iter().map(|t| t["id"].as_str().expect("text").parse().expect("a number")).collect();
        (ids, body["filter_applied"].as_str().expect("text").to_owned())
    };
    // R3: what unfiltered lists of the SDKs look like.
    for query in ["", "?filter=&limit=0&start=", "?filter=null", "?filter=%7B%7D", "?filter=%7B+%7D&other=1"] {
        let (ids, applied) = listed(query).await;
        assert_eq!(ids, [new], "{query}");
        assert!(
            applied.starts_with(r#"{"created_timestamp":{"$gte":"#) && applied.ends_with(r#"T00:00:00Z"}}"#),
            "{applied}"
        );
    }
    let (ids, applied) = listed("?filter=%7B%22created_timestamp%22:%7B%22$gte%22:%222001-01-01%22%7D%7D").await;
    assert_eq!((ids, applied.as_str()), (vec![new, old], r#"{"created_timestamp":{"$gte":"2001-01-01"}}"#));
    let (ids, _) = listed(&format!("?filter=%7B%22id%22:%7B%22in%22:[%22{old}%22]%7D%7D")).await;
    assert_eq!(ids, [old]);
    assert_eq!(world.get(&format!("/tasks/{old}"), &token).await.status, 200);
}

#[tokio::test]
async fn wrong_queries_are_told_apart() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let cases = [
        ("limit=-1", 4000),
        ("limit=many", 4000),
        ("start=-2", 4000),
        ("start=next", 4000),
        ("filter=%7B%22status%22:%7D", 4001),
        ("filter=%5B%5D", 4001),
        ("filter=%7B%22colour%22:1%7D", 4001),
        ("filter=%ff", 4001),
        ("limit=%ff", 4000),
    ];
    for (query, code) in cases {
        assert_eq!(world.get(&format!("/tasks?{query}"), &token).await.refused(), (400, vec![code]), "{query}");
    }
    let broken = world.get("/tasks?filter=%7B%22id%22:%20%22a%22b%22%7D", &token).await;
    assert!(broken.messages().contains("column 11"), "{}", broken.messages());
    let unfit = world.get("/tasks?filter=%7B%22status%22:%7B%22$gt%22:1%7D%7D", &token).await;
    assert!(unfit.messages().ends_with("those that do are $eq, $neq, $in, $not_in"), "{}", unfit.messages());
    assert!(world.get("/tasks?start=x", &token).await.messages().ends_with("a whole number from 1"));
    // What is not known is not looked at.
    assert_eq!(world.get("/tasks?x=%ff&%ff=1", &token).await.status, 200);
    let empty = world.get("/tasks", &token).await.ok();
    assert_eq!(
        (&empty["total_count"], &empty["total_pages_count"], &empty["start"]),
        (&json!(0), &json!(0), &json!("1"))
    );
    assert!(empty["_links"]["_last"]["href"] == empty["_links"]["_first"]["href"], "R4");
    let beyond = world.get("/tasks?start=99", &token).await.ok();
    assert_eq!(beyond["_links"]["_prev"], beyond["_links"]["_last"], "where there is something");
    let ended = make(&world, world.service.moment().now, backup(&world, "q"), Fate::Skipped).await;
    assert_eq!(world.get(&format!("/tasks/{ended}?wait=1000000000"), &token).await.status, 200, "cut, not refused");
}

#[tokio::test]
async fn tasks_of_others_are_not_there() {
    let world = World::new().await;
    let below = world.tenant_below(world.acme, "below").await;
    let now = world.service.moment().now;
    let id = make(&world, now, backup(&world, "q"), Fate::Waits).await;
    let other = world.token(world.globex, Role::Admin).await;
    assert_eq!(world.get(&format!("/tasks/{id}"), &other).await.refused(), (404, vec![4041]));
    assert_eq!(abort(&world, &other, id).await.refused(), (404, vec![4041]));
    assert_eq!(world.get("/tasks", &other).await.ok()["total_count"], 0);
    // The effective unit hides what lies above it (D16).
    let own = world.token(world.acme, Role::Admin).await;
    let within = request(Method::GET, &format!("/tasks/{id}"), &own)
        .header("x-clumio-organizationalunit-context", below.to_string());
    let answer = world.send(within.body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.refused(), (404, vec![4041]));
    for odd in ["0", "-1", "01", "x", "99999999999999999999"] {
        assert_eq!(world.get(&format!("/tasks/{odd}"), &own).await.refused(), (404, vec![4041]), "{odd}");
    }
}

#[tokio::test]
async fn a_waiting_task_is_aborted_at_once_and_a_running_one_when_its_agent_stops() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Operator).await;
    let now = world.service.moment().now - SignedDuration::from_mins(1);
    let waiting = make(&world, now, backup(&world, "waiting"), Fate::Waits).await;
    let shown = world.get(&format!("/tasks/{waiting}"), &token).await.ok();
    assert_eq!(
        shown["_links"]["update-task"],
        json!({"href": format!("/tasks/{waiting}"), "templated": false, "type": "patch"})
    );
    let aborted = abort(&world, &token, waiting).await.ok();
    assert_eq!((&aborted["status"], &aborted["start_timestamp"]), (&json!("aborted"), &Value::Null));
    assert!(aborted["failed_reason"].as_str().is_some_and(|r| r.contains("operator of acme")), "{aborted}");
    assert!(aborted["_links"].get("update-task").is_none());

    let running = make(&world, now, backup(&world, "running"), Fate::Runs).await;
    let aborting = abort(&world, &token, running).await.ok();
    assert_eq!((&aborting["status"], &aborting["is_abortable"]), (&json!("aborting"), &json!(false)));
    // D29: a repeat after a lost answer changes nothing.
    assert_eq!(abort(&world, &token, running).await.ok(), aborting);
    let lease = domain::task::LeaseToken("the lease of running".into());
    let outcome = domain::task::Outcome::of(OutcomeCode::Cancelled);
    let done = Event::Complete { lease, outcome, progress: None };
    world.commit(vec![Write::Task(TaskRef::Id(domain::task::TaskId(running)), done)]).await;
    let ended = world.get(&format!("/tasks/{running}"), &token).await.ok();
    assert_eq!((&ended["status"], &ended["progress_percentage"]), (&json!("aborted"), &json!(40)));
    assert_eq!(ended["failed_reason"], "Cancelled by operator of acme while it ran.");
    // What the agent says of it does not hide who asked.
    let busy = make(&world, now, backup(&world, "busy"), Fate::Runs).await;
    abort(&world, &token, busy).await.ok();
    let lease = domain::task::LeaseToken("the lease of busy".into());
    let error = domain::task::TaskError { message: "Three files were left.".into(), ..Default::default() };
    let outcome = domain::task::Outcome { error: Some(error), ..domain::task::Outcome::of(OutcomeCode::Cancelled) };
    let done = Event::Complete { lease, outcome, progress: None };
    world.commit(vec![Write::Task(TaskRef::Id(domain::task::TaskId(busy)), done)]).await;
    let ended = world.get(&format!("/tasks/{busy}"), &token).await.ok();
    assert_eq!(ended["failed_reason"], "Cancelled by operator of acme: Three files were left.");
}

#[tokio::test]
async fn whoever_may_only_create_and_cancel_tasks_aborts_them() {
    let world = World::new().await;
    let issuer = world.token(world.acme, Role::Issuer).await;
    let now = world.service.moment().now;
    let id = make(&world, now, backup(&world, "q"), Fate::Runs).await;
    assert_eq!(world.get(&format!("/tasks/{id}"), &issuer).await.refused(), (403, vec![4030]));
    assert_eq!(abort(&world, &issuer, id).await.ok()["status"], "aborting");
    assert_eq!(abort(&world, &issuer, id).await.ok()["status"], "aborting", "a repeat");
    let other = make(&world, now, wish(world.globex, "backup", "r"), Fate::Runs).await;
    assert_eq!(abort(&world, &issuer, other).await.refused(), (404, vec![4041]));
}

#[tokio::test]
async fn what_cannot_be_aborted_says_so() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Operator).await;
    let now = world.service.moment().now - SignedDuration::from_mins(1);
    for (n, fate) in history::FATES.iter().enumerate() {
        let id = make(&world, now, backup(&world, &format!("q{n}")), *fate).await;
        let answer = abort(&world, &token, id).await;
        match fate {
            Fate::Waits | Fate::Assigned | Fate::Runs | Fate::Paused | Fate::Stopping => {
                assert_eq!(answer.status, 200, "{fate:?}");
            }
            Fate::Skipped | Fate::Ends(_) | Fate::Lost => {
                let status = world.get(&format!("/tasks/{id}"), &token).await.ok()["status"].clone();
                assert_eq!(answer.refused(), (412, vec![4120]), "{fate:?}");
                assert!(answer.messages().contains(status.as_str().expect("text")), "{}", answer.messages());
            }
        }
    }
    let mut fixed = backup(&world, "fixed");
    fixed.rules.cancellable = false;
    let mut indexing = wish(world.acme, "indexing", "indexing");
    indexing.resource = fixed.resource.clone();
    for spec in [fixed, indexing] {
        let id = make(&world, now, spec, Fate::Waits).await;
        assert_eq!(abort(&world, &token, id).await.refused(), (412, vec![4120]));
        assert_eq!(world.get(&format!("/tasks/{id}"), &token).await.ok()["is_abortable"], false);
    }
}

#[tokio::test]
async fn bodies_of_aborts_say_aborting_and_nothing_else() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Operator).await;
    let id = make(&world, world.service.moment().now, backup(&world, "q"), Fate::Runs).await;
    let path = format!("/tasks/{id}");
    for (body, code) in [
        ("", 4002),
        ("aborting", 4002),
        ("[]", 4002),
        ("{}", 4003),
        (r#"{"status": null}"#, 4003),
        (r#"{"status": "completed"}"#, 4003),
        (r#"{"status": 7}"#, 4003),
        (r#"{"status": ""}"#, 4003),
    ] {
        let asked = request(Method::PATCH, &path, &token).body(Body::from(body)).expect("a request");
        assert_eq!(world.send(asked).await.refused(), (400, vec![code]), "{body}");
    }
    // R1: GO and TF call their JSON plain text, others nothing; some send a byte-order mark.
    let asked = request(Method::PATCH, &path, &token).header("content-type", "text/plain; charset=utf-8");
    let answer =
        world.send(asked.body(Body::from("\u{feff}{\"status\":\"aborting\",\"x\":null}")).expect("a request")).await;
    assert_eq!(answer.ok()["status"], "aborting");
    let viewer = world.token(world.acme, Role::Viewer).await;
    assert_eq!(abort(&world, &viewer, id).await.refused(), (403, vec![4030]));
}

#[tokio::test]
async fn if_match_is_honoured() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Operator).await;
    let id = make(&world, world.service.moment().now, backup(&world, "q"), Fate::Runs).await;
    let with = async |etag: &str| {
        let asked = request(Method::PATCH, &format!("/tasks/{id}"), &token).header("if-match", etag);
        world.send(asked.body(Body::from(r#"{"status":"aborting"}"#)).expect("a request")).await
    };
    assert_eq!(with("\"0\"").await.refused(), (412, vec![4123]));
    let etag = world.get(&format!("/tasks/{id}"), &token).await.header("etag").to_owned();
    assert_eq!(with(&etag).await.ok()["status"], "aborting");
    assert_eq!(with("*").await.status, 200);
}

#[tokio::test]
async fn an_answer_is_held_until_the_task_has_ended() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Operator).await;
    let id = make(&world, world.service.moment().now, backup(&world, "q"), Fate::Waits).await;
    let path = format!("/tasks/{id}?wait=60");
    let held = world.get(&path, &token);
    let aborted = async {
        tokio::task::yield_now().await;
        abort(&world, &token, id).await
    };
    let (held, aborted) = tokio::join!(held, tokio::time::timeout(Duration::from_secs(60), aborted));
    assert_eq!(aborted.expect("in time").status, 200);
    assert_eq!(held.ok()["status"], "aborted");
    // Without it, and when the time is up, it is what it is.
    let other = make(&world, world.service.moment().now, backup(&world, "r"), Fate::Runs).await;
    for wait in ["", "?wait=0", "?wait="] {
        assert_eq!(world.get(&format!("/tasks/{other}{wait}"), &token).await.ok()["status"], "in_progress");
    }
    for wait in ["-1", "soon", "1.5"] {
        let answer = world.get(&format!("/tasks/{other}?wait={wait}"), &token).await;
        assert_eq!(answer.refused(), (400, vec![4000]), "{wait}");
    }
    // A server that stops keeps nobody.
    world.shutdown.cancel();
    assert_eq!(world.get(&format!("/tasks/{other}?wait=60"), &token).await.ok()["status"], "in_progress");
}
