//! Tasks that lose their executor, by its will or by its silence, and whose time is over (contract, 10.3 and 10.4, D58 to
//! D63, D73).

use domain::task::{Event, NotRun, TaskId, TaskRef};
use domain::{Moment, SignedDuration, Timestamp};
use ledger::Write;
use serde_json::{Value, json};

use crate::consuming::{plain, read_step, step, with};
use crate::shape::{API, as_refusal, refused};
use crate::writing::Desk;

/// A task with three open steps: a sustainable one in work, one that waits, and another that is not sustainable.
async fn with_steps(desk: &Desk, more: Value) -> (Value, Value, [Value; 3]) {
    let (id, lease) = desk.begun(with(plain(), &more)).await;
    let make = |sustainable: bool, state: &str| json!({ "taskId": id, "type": "copy", "sustainable": sustainable, "state": state });
    let steps = [
        step(desk, &lease, make(true, "started")).await,
        step(desk, &lease, make(true, "enqueued")).await,
        step(desk, &lease, make(false, "started")).await,
    ];
    desk.reported(&lease, &format!("tasks/{id}/progress"), json!({ "total": 10, "current": 4 })).await;
    (id, lease, steps)
}

async fn states(desk: &Desk, steps: &[Value; 3]) -> [String; 3] {
    let mut states = [const { String::new() }; 3];
    for (i, step) in steps.iter().enumerate() {
        let step = read_step(desk, step).await;
        states[i] = format!(
            "{} {}",
            step["state"].as_str().unwrap_or_default(),
            step["result"]["code"].as_str().unwrap_or_default()
        );
    }
    states
}

#[tokio::test]
async fn a_task_that_is_given_back_waits_again_while_attempts_are_left() {
    // D61, D62
    let desk = Desk::new().await;
    let (id, lease, steps) = with_steps(&desk, json!({ "maxAssignCount": 2, "priority": "high" })).await;
    let before = desk.task(&id).await;
    desk.create(with(plain(), &json!({ "priority": "high" }))).await;
    let shown = desk.reported(&lease, &format!("tasks/{id}/abandoned"), json!({ "reason": "the disk is gone" })).await;
    assert_eq!((&shown["state"], &shown["assignCount"]), (&json!("enqueued"), &json!(1)));
    let task = desk.task(&id).await;
    for gone in ["executor", "assignedAt", "startedAt", "completedAt", "result"] {
        assert_eq!(task.get(gone), None, "{gone}");
    }
    // Kept until the next report; the time in the queue begins anew.
    assert_eq!(task["progress"], before["progress"]);
    assert_eq!(task["enqueuedAt"], task["updatedAt"]);
    assert_ne!(task["enqueuedAt"], before["enqueuedAt"]);
    // Without the task's flag that of its steps has no effect.
    assert_eq!(states(&desk, &steps).await, ["completed abandoned"; 3]);
    let answer = desk.report(&lease, &format!("tasks/{id}/heartbeat"), Value::Null).await;
    assert_eq!(refused(&answer, "the old lease"), as_refusal(409, "leaseLost"));
    // Its id keeps its place in dispatch.
    let taken = desk.take_one("q").await;
    assert_eq!((&taken["id"], &taken["assignCount"]), (&id, &json!(2)));
    assert_ne!(taken["lease"], lease);
    let answer = desk.report(&lease, &format!("tasks/{id}/started"), Value::Null).await;
    assert_eq!(refused(&answer, "the old lease"), as_refusal(409, "leaseLost"));
    // The last attempt: from `assigned`, without a word.
    let shown = desk.reported(&taken["lease"], &format!("tasks/{id}/abandoned"), Value::Null).await;
    assert_eq!((&shown["state"], &shown["assignCount"]), (&json!("completed"), &json!(2)));
    let task = desk.task(&id).await;
    assert_eq!(task["result"]["code"], "abandoned");
    let error = &task["result"]["error"];
    // D58: who, what and when.
    assert_eq!((&error["domain"], &error["code"]), (&json!("TaskManager"), &json!("abandonedByExecutor")));
    assert!(error["message"].as_str().is_some_and(|m| m.contains("'e-1'") && m.contains("attempt 2 of 2")), "{error}");
    // One that was to be cancelled is.
    let wish = json!({ "maxAssignCount": 5, "cancellable": true, "heartBeatInterval": "1h" });
    desk.take_one("q").await;
    let (id, lease, steps) = with_steps(&desk, wish).await;
    desk.decide(&id, "cancel", Value::Null).await;
    let shown = desk.reported(&lease, &format!("tasks/{id}/abandoned"), Value::Null).await;
    assert_eq!(shown["state"], "completed");
    let result = &desk.task(&id).await["result"];
    assert_eq!((&result["code"], &result["error"]["code"]), (&json!("cancelled"), &json!("cancelRequested")));
    assert_eq!(states(&desk, &steps).await, ["completed abandoned"; 3]);
}

#[tokio::test]
async fn sustainable_work_is_gone_on_with() {
    // 10.4
    let desk = Desk::new().await;
    let (id, mut lease, steps) = with_steps(&desk, json!({ "sustainable": true })).await;
    // A manual abandon uses no attempt, so it is given back as often as one likes.
    for _ in 0..3 {
        let shown = desk.reported(&lease, &format!("tasks/{id}/abandoned"), Value::Null).await;
        assert_eq!((&shown["state"], &shown["assignCount"]), (&json!("enqueued"), &json!(0)));
        assert_eq!(states(&desk, &steps).await, ["enqueued ", "enqueued ", "completed abandoned"]);
        let step = read_step(&desk, &steps[0]).await;
        assert_eq!(step.get("startedAt"), None);
        let taken = desk.take_one("q").await;
        assert_eq!((&taken["id"], &taken["assignCount"]), (&id, &json!(1)));
        lease = taken["lease"].clone();
        desk.reported(&lease, &format!("tasks/{id}/started"), Value::Null).await;
    }
    // What is gone on with is said; the rest is abandoned in the end.
    let shown = desk.reported(&lease, &format!("activities/{}/started", steps[0]["id"]), Value::Null).await;
    assert_eq!((&shown["state"], &shown["id"]), (&json!("started"), &steps[0]["id"]));
    let done = json!({ "result": { "code": "ok" } });
    desk.reported(&lease, &format!("activities/{}/completed", steps[0]["id"]), done.clone()).await;
    desk.reported(&lease, &format!("tasks/{id}/completed"), done).await;
    assert_eq!(states(&desk, &steps).await, ["completed ok", "completed abandoned", "completed abandoned"]);
    // D48: one root, through all of that.
    let (_, _, all) =
        desk.world.get(&format!("{API}/activities?taskId={id}&parentActivityId=isnull()"), &desk.viewer).await;
    assert_eq!(all["size"], 1);
}

/// Lets a time come for a task, as the scheduler would; none if nothing happens then.
async fn settle(desk: &Desk, id: &Value, moment: Moment) -> Value {
    let id = TaskId(id.as_i64().expect("a number"));
    desk.world.commit_at(moment, vec![Write::Settle(id)]).await;
    desk.task(&json!(id.0)).await
}

#[tokio::test]
async fn timers_run_from_when_they_must_and_no_earlier() {
    // 10.3, D58, D59, D61
    let desk = Desk::new().await;
    let started = desk.world.service.moment().up_since;
    let at = |task: &Value, name: &str| task[name].as_str().and_then(|t| t.parse::<Timestamp>().ok()).expect("a time");
    let heard = async |id: Value| {
        let (_, _, task) = desk.world.get(&format!("{API}/tasks/{id}?lod=debug"), &desk.viewer).await;
        at(&task["debug"], "lastReportAt")
    };
    let minutes = SignedDuration::from_mins;
    let later = |from: Timestamp, after: SignedDuration| Moment {
        now: from.checked_add(after).expect("far from the end of time"),
        up_since: started,
    };
    let nothing = SignedDuration::from_nanos(-1);
    let ended =
        |task: &Value| (task["state"].as_str().unwrap_or_default().to_owned(), task["result"]["error"]["code"].clone());
    let waits = |state: &str| (state.to_owned(), Value::Null);
    let over = |code: &str| ("completed".to_owned(), json!(code));
    // In the queue.
    let task = desk.create(with(plain(), &json!({ "queueTimeout": "10m" }))).await;
    let from = at(&task, "enqueuedAt");
    assert_eq!(ended(&settle(&desk, &task["id"], later(from, minutes(10) + nothing)).await), waits("enqueued"));
    let task = settle(&desk, &task["id"], later(from, minutes(10))).await;
    assert_eq!(ended(&task), over("queueTimeout"));
    assert_eq!((&task["result"]["code"], task.get("assignedAt")), (&json!("timedout"), None));
    // Open at all; also one that is waiting for its second attempt.
    let task = desk.create(with(plain(), &json!({ "lifeTime": "1h" }))).await;
    let from = at(&task, "enqueuedAt");
    assert_eq!(ended(&settle(&desk, &task["id"], later(from, minutes(60) + nothing)).await), waits("enqueued"));
    assert_eq!(ended(&settle(&desk, &task["id"], later(from, minutes(60))).await), over("lifeTime"));
    // Not acknowledged: an attempt is used.
    let wish = with(plain(), &json!({ "ackTimeout": "1m", "maxAssignCount": 2, "sustainable": true }));
    let id = desk.create(wish).await["id"].clone();
    for (attempt, end) in [(1, waits("enqueued")), (2, over("ackTimeout"))] {
        let task = desk.take_one("q").await;
        assert_eq!((&task["id"], &task["assignCount"]), (&id, &json!(attempt)));
        // The stamps are ahead of the clock here, as after it was set back; this is not.
        let (from, lease) = (heard(id.clone()).await, task["lease"].clone());
        assert_eq!(ended(&settle(&desk, &id, later(from, minutes(1) + nothing)).await), waits("assigned"));
        let task = settle(&desk, &id, later(from, minutes(1))).await;
        assert_eq!((ended(&task), &task["assignCount"]), (end, &json!(attempt)));
        let answer = desk.report(&lease, &format!("tasks/{id}/started"), Value::Null).await;
        let code = if attempt == 1 { "leaseLost" } else { "alreadyCompleted" };
        assert_eq!(refused(&answer, "too late"), as_refusal(409, code));
    }
    assert_eq!(desk.task(&id).await["result"]["code"], "abandoned");
    // Three intervals without a report (D59); every call under the lease is one.
    let (id, lease) = desk.begun(with(plain(), &json!({ "heartBeatInterval": "5m" }))).await;
    let beats = async || heard(id.clone()).await;
    let mut last = beats().await;
    let step = json!({ "taskId": id, "type": "s", "state": "started" });
    let made = desk.reported(&lease, "activities", step).await;
    for (place, body) in [
        (format!("tasks/{id}/heartbeat"), Value::Null),
        (format!("tasks/{id}/progress"), json!({ "total": 1 })),
        (format!("tasks/{id}/paused"), Value::Null),
        (format!("tasks/{id}/resumed"), Value::Null),
        (format!("activities/{}/progress", made["id"]), json!({ "total": 1 })),
        (format!("activities/{}/completed", made["id"]), json!({ "result": { "code": "ok" } })),
    ] {
        desk.reported(&lease, &place, body).await;
        let now = beats().await;
        assert!(now > last, "{place}");
        last = now;
    }
    assert_eq!(ended(&settle(&desk, &id, later(last, minutes(15) + nothing)).await), waits("started"));
    assert_eq!(ended(&settle(&desk, &id, later(last, minutes(15))).await), over("heartbeatLost"));
    // That uses an attempt also of a sustainable task.
    let wish = json!({ "heartBeatInterval": "5m", "sustainable": true, "maxAssignCount": 2 });
    let (id, _) = desk.begun(with(plain(), &wish)).await;
    let from = at(&desk.task(&id).await, "startedAt");
    let task = settle(&desk, &id, later(from, minutes(15))).await;
    assert_eq!((ended(&task), &task["assignCount"]), (waits("enqueued"), &json!(1)));
    desk.decide(&id, "cancel", Value::Null).await;
    // In work, pauses included.
    let (id, lease) = desk.begun(with(plain(), &json!({ "execTimeout": "20m", "maxAssignCount": 5 }))).await;
    let from = at(&desk.task(&id).await, "startedAt");
    desk.reported(&lease, &format!("tasks/{id}/paused"), Value::Null).await;
    assert_eq!(ended(&settle(&desk, &id, later(from, minutes(20) + nothing)).await), waits("paused"));
    let task = settle(&desk, &id, later(from, minutes(20))).await;
    // It is never tried again.
    assert_eq!((ended(&task), &task["result"]["code"]), (over("execTimeout"), &json!("timedout")));
    let message = task["result"]["error"]["message"].as_str().expect("a sentence");
    assert!(message.contains("'e-1'") && message.ends_with('.'), "{message}");
}

#[tokio::test]
async fn a_report_that_comes_after_a_deadline_meets_what_the_deadline_brought() {
    // D60
    let desk = Desk::new().await;
    for (more, code) in [
        (json!({ "heartBeatInterval": "1ns" }), "alreadyCompleted"),
        (json!({ "heartBeatInterval": "1ns", "maxAssignCount": 2 }), "leaseLost"),
        (json!({ "execTimeout": "1ns" }), "alreadyCompleted"),
    ] {
        let wish = with(json!({ "type": "index", "queue": "late" }), &more);
        let (id, lease) = desk.begun(wish).await;
        let answer = desk.report(&lease, &format!("tasks/{id}/heartbeat"), Value::Null).await;
        assert_eq!(refused(&answer, code), as_refusal(409, code), "{more}");
        desk.decide(&id, "cancel", Value::Null).await;
    }
    // What has waited too long is not handed out, though nobody looked at it before.
    let id = desk.create(with(plain(), &json!({ "queueTimeout": "1ns" }))).await["id"].clone();
    assert!(desk.take(json!({ "queues": ["q"], "consumer": { "id": "e" } })).await.is_empty());
    assert_eq!(desk.task(&id).await["result"]["error"]["code"], "queueTimeout");
}

#[tokio::test]
async fn a_restart_takes_nobodys_work() {
    // D60
    let desk = Desk::new().await;
    let wish = with(plain(), &json!({ "heartBeatInterval": "1m", "maxAssignCount": 2 }));
    let (id, _) = desk.begun(wish.clone()).await;
    desk.create(with(wish, &json!({ "ackTimeout": "1m" }))).await;
    let assigned = desk.take_one("q").await;
    let from: Timestamp = assigned["assignedAt"].as_str().and_then(|t| t.parse().ok()).expect("a time");
    let after = |duration| from.checked_add(duration).expect("far from the end of time");
    // The server was away for a day.
    let back = after(SignedDuration::from_hours(24));
    let moment = |later: SignedDuration| Moment { now: back.checked_add(later).expect("soon"), up_since: back };
    let nearly = SignedDuration::from_secs(59);
    assert_eq!(settle(&desk, &id, moment(nearly)).await["state"], "started");
    assert_eq!(settle(&desk, &assigned["id"], moment(nearly)).await["state"], "assigned");
    assert_eq!(settle(&desk, &assigned["id"], moment(SignedDuration::from_mins(1))).await["state"], "enqueued");
    assert_eq!(settle(&desk, &id, moment(SignedDuration::from_secs(179))).await["state"], "started");
    assert_eq!(settle(&desk, &id, moment(SignedDuration::from_mins(3))).await["state"], "enqueued");
}

#[tokio::test]
async fn a_run_that_is_skipped_leaves_a_trace() {
    // D73
    let desk = Desk::new().await;
    let id = desk.create(plain()).await["id"].clone();
    let task = TaskRef::Id(TaskId(id.as_i64().expect("a number")));
    let reason = "The run was due, but the former run was not done.";
    let skip = Event::Skip { why: NotRun::Skipped, reason: reason.into(), context: Value::Null };
    desk.world.commit(vec![Write::Task(task, skip)]).await;
    let task = desk.task(&id).await;
    let error = json!({ "domain": "TaskManager", "code": "runSkipped", "reason": "runSkipped", "message": reason });
    assert_eq!(task["result"], json!({ "code": "cancelled", "error": error }));
    let answer = desk.decide(&id, "cancel", Value::Null).await;
    assert_eq!(refused(&answer, "nobody cancelled it"), as_refusal(409, "alreadyCompleted"));
    let answer =
        desk.report(&json!("a lease"), &format!("tasks/{id}/completed"), json!({ "result": { "code": "ok" } })).await;
    assert_eq!(refused(&answer, "it is over"), as_refusal(409, "alreadyCompleted"));
}
