//! The projection against the contract's sections 7, 8 and 10.5.

mod context;

use domain::Moment;
use domain::activity::{Activity, ActivityEvent, ActivityId, ActivitySpec};
use domain::agent::AGENT_QUEUE;
use domain::task::{
    Affinity, Blocker, Bottleneck, Entity, Event, Executor, Issuer, Message, Named, Outcome, OutcomeCode, Progress,
    Rules, Task, TaskId, TaskSpec,
};
use domain::tenant::Tenant;
use serde::Serialize;

use super::*;

const POLICY: &str = "7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d";
const MACHINE: &str = "1f2e3d4c-5b6a-4789-90ab-cdef01234567";
const AGENT: &str = "6f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9";
const LEASE: &str = "lease-1";

fn at(text: &str) -> Timestamp {
    text.parse().expect("the test's times are times")
}

fn uuid(text: &str) -> Uuid {
    Uuid::parse_str(text).expect("the test's uuids are uuids")
}

fn up_since() -> Timestamp {
    at("2026-11-20T00:00:00Z")
}

fn json(shown: impl Serialize) -> Value {
    serde_json::to_value(shown).expect("what is shown is JSON")
}

fn show(task: &Task, lod: Lod) -> Value {
    json(super::task(task, &customer(), lod, up_since()))
}

fn show_activity(view: &ActivityView, lod: Lod) -> Value {
    json(activity(view, &customer(), lod, up_since()))
}

fn customer() -> Tenant {
    Tenant {
        id: uuid("5d0c9c1a-2f4e-4b7e-8a53-0d3c1b7f6e21"),
        number: 67,
        locator: "/1/66/67/".into(),
        ..Tenant::root("Customer A", "UTC", up_since())
    }
}

/// The wish for the backup of the contract's example (8.2).
fn backup() -> TaskSpec {
    let mut spec = TaskSpec::new(uuid("019a1c5e-7d0a-7c3e-9b1f-5a2f6c1d8e90"), "backup", AGENT_QUEUE, customer().id);
    spec.started_by = Some("operator".into());
    spec.policy = Some(Named { id: POLICY.into(), kind: "backup".into(), name: "Nightly".into() });
    spec.resource = Some(Named { id: MACHINE.into(), kind: "bare_metal".into(), name: "srv-01".into() });
    spec.context = json!({ "run_mode": "manual" }).into();
    spec.rules = Rules {
        cancellable: true,
        heartbeat_interval: Some(SignedDuration::from_secs(10)),
        max_assign_count: 3,
        ..Rules::default()
    };
    spec
}

fn enqueued(spec: TaskSpec) -> Task {
    Task::create(TaskId(48214), spec.into(), at("2026-11-21T01:00:00Z")).expect("the test's wishes are allowed")
}

fn then(task: &Task, when: &str, event: Event) -> Task {
    let moment = Moment { now: at(when), up_since: up_since() };
    task.apply(event, moment).expect("the test's events are allowed").task
}

fn lease() -> LeaseToken {
    LeaseToken(LEASE.into())
}

fn assigned_task(spec: TaskSpec) -> Task {
    let executor = Executor { id: AGENT.into(), ..Executor::default() };
    then(&enqueued(spec), "2026-11-21T01:00:00.2Z", Event::Claim { executor, lease: lease() })
}

fn running(spec: TaskSpec) -> Task {
    then(&assigned_task(spec), "2026-11-21T01:00:00.45Z", Event::Start { lease: lease() })
}

fn progress_of(current: i64, total: i64) -> Progress {
    Progress { current, total, bytes_processed: 7_340_032, bytes_saved: 1_048_576, ..Progress::default() }
}

fn completed(task: &Task, outcome: Outcome, progress: Option<Progress>) -> Task {
    then(task, "2026-11-21T01:07:12.000000016Z", Event::Complete { lease: lease(), outcome, progress })
}

fn failed(error: TaskError) -> Outcome {
    Outcome { error: Some(error), ..Outcome::of(OutcomeCode::Error) }
}

fn failed_backup() -> Task {
    let error = TaskError {
        domain: "Storage".into(),
        code: "quotaExceeded".into(),
        message: "The repository 'main' is full: its quota of 2 TiB is used up.".into(),
        ..TaskError::default()
    };
    let mut task = completed(&running(backup()), failed(error), Some(progress_of(41, 100)));
    task.status.updated_at = at("2026-11-21T01:07:12.000000017Z");
    task
}

fn root_of(task: &Task) -> ActivityView {
    let activity = Activity::root(ActivityId(900), task, at("2026-11-21T01:00:00.45Z"));
    ActivityView { activity, task: task.clone() }
}

/// A step of a running backup, made one second after its start.
fn step_of(task: &Task, spec: ActivitySpec) -> ActivityView {
    let spec = ActivitySpec { parent: Some(ActivityId(900)), ..spec };
    let activity = Activity::create(ActivityId(901), task, spec, at("2026-11-21T01:00:01.45Z"));
    ActivityView { activity: activity.expect("the test's steps are allowed"), task: task.clone() }
}

fn step() -> ActivitySpec {
    ActivitySpec::new(uuid("019a1c5e-7d0b-7c3e-9b1f-5a2f6c1d8e91"), "read_files")
}

fn report(view: &ActivityView, event: ActivityEvent) -> ActivityView {
    let activity = view.activity.apply(&view.task, event, at("2026-11-21T01:00:02Z"));
    ActivityView { activity: activity.expect("the test's reports are allowed"), task: view.task.clone() }
}

/// What each level adds to the one before, as text.
fn levels(show: impl Fn(Lod) -> Value) -> String {
    let mut before = Value::Null;
    let mut text = String::new();
    for lod in Lod::ALL {
        let now = show(lod);
        let members = now.as_object().expect("an object is shown");
        for (name, old) in before.as_object().into_iter().flatten() {
            // D38: nothing is taken away, and only the result grows.
            assert!(members.contains_key(name), "{name} is gone at {}", lod.name());
            assert!(name == "result" || members[name] == *old, "{name} differs at {}", lod.name());
        }
        let new: Map<_, _> = members
            .iter()
            .filter(|(k, v)| before.get(k.as_str()) != Some(v))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        text += &format!("{}: {:#}\n", lod.name(), Value::Object(new));
        before = now;
    }
    text
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect()
}

fn sorted(names: &str) -> Vec<&str> {
    let mut names: Vec<_> = names.split_whitespace().collect();
    names.sort_unstable();
    names
}

#[test]
fn a_failed_backup_is_the_example_of_the_contract() {
    // 8.2
    let example = json!({
        "id": 48214, "idString": "48214", "uuid": "019a1c5e-7d0a-7c3e-9b1f-5a2f6c1d8e90", "type": "backup",
        "queue": "agents", "priority": "normal", "state": "completed",
        "tenant": {"id": "67", "uuid": "5d0c9c1a-2f4e-4b7e-8a53-0d3c1b7f6e21", "name": "Customer A", "locator": "/1/66/67/"},
        "issuer": {"id": "", "clusterId": ""},
        "executor": {"id": "6f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9", "clusterId": ""}, "startedByUser": "operator",
        "policy": {"id": "7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d", "type": "backup", "name": "Nightly"},
        "cancellable": true, "cancelRequested": false,
        "resource": {"id": "1f2e3d4c-5b6a-4789-90ab-cdef01234567", "type": "machine", "name": "srv-01"}, "assignCount": 1,
        "progress": {"current": 41, "total": 100, "bytesProcessed": 7340032, "bytesSaved": 1048576},
        "enqueuedAt": "2026-11-21T01:00:00Z", "assignedAt": "2026-11-21T01:00:00.2Z",
        "startedAt": "2026-11-21T01:00:00.45Z", "completedAt": "2026-11-21T01:07:12.000000016Z",
        "updatedAt": "2026-11-21T01:07:12.000000017Z",
        "context": {"title": "Running backup of 'srv-01' by plan 'Nightly'", "IsProcessRoot": true, "runMode": "manual",
            "MachineName": "srv-01", "PlanName": "Nightly", "BackupPlanName": "Nightly"},
        "result": {"code": "error", "error": {"domain": "Storage", "code": "quotaExceeded", "reason": "quotaExceeded",
            "message": "The repository 'main' is full: its quota of 2 TiB is used up."}},
    });
    let shown = show(&failed_backup(), Lod::Long);
    for (name, value) in example.as_object().expect("the example is an object") {
        if name == "context" {
            // The example leaves out what D55 adds beside these.
            value.as_object().into_iter().flatten().for_each(|(k, v)| assert_eq!(shown["context"][k], *v, "{k}"));
        } else {
            assert_eq!(shown[name], *value, "{name}");
        }
    }
    assert_eq!(keys(&shown), keys(&example));
    insta::assert_snapshot!("failed_backup", levels(|lod| show(&failed_backup(), lod)));
}

#[test]
fn a_running_task_shows_what_it_has_at_each_level() {
    // D38
    let mut spec = backup();
    spec.queue = "q1".into();
    spec.argument = json!({"depth": 2}).into();
    spec.tags = vec!["a".into()];
    spec.workflow_id = Some(7);
    spec.issuer = Issuer { id: "client-1".into(), cluster_id: "c".into() };
    spec.affinity = Affinity { agent: Some(AGENT.into()), cluster: None };
    spec.parent_entity = Some(Entity { id: "e".into(), kind: "group".into(), value: "".into() });
    spec.seeding = true;
    spec.rules.exec_timeout = Some(SignedDuration::from_secs(5143));
    spec.rules.life_time = Some(SignedDuration::from_hours(48));
    let progress = Progress {
        speed: Some(1_048_576.0),
        left: Some(SignedDuration::from_secs(90)),
        bottleneck: Some(Bottleneck { source: 70, destination: 20, processing: 10 }),
        ..progress_of(41, 100)
    };
    let task = then(&running(spec), "2026-11-21T01:01:00Z", Event::Report { lease: lease(), progress });
    let blocker = Blocker {
        id: uuid("019a1c5e-7d0c-7c3e-9b1f-5a2f6c1d8e92"),
        activity: Some(901),
        issue: Message { key: "diskMissing".into(), context: json!({"disk": 2}) },
        possible_solutions: vec![
            Message { key: "retry".into(), context: Value::Null },
            Message { key: "skip".into(), context: Value::Null },
        ],
        solution: Some(Message { key: "retry".into(), context: Value::Null }),
    };
    let task = then(&task, "2026-11-21T01:02:00Z", Event::Pause { lease: lease(), blockers: vec![blocker] });
    insta::assert_snapshot!("running_task", levels(|lod| show(&task, lod)));
}

#[test]
fn the_levels_of_a_task_are_those_of_the_contract() {
    // D38; a task that has every member is not possible, so unset ones are left out here.
    let task = failed_backup();
    let mut expected = "id idString uuid type state updatedAt result".to_owned();
    let added = [
        "",
        " tenant executor policy resource startedByUser startedAt completedAt progress queue priority issuer cancellable \
          cancelRequested assignCount enqueuedAt assignedAt",
        " context",
        " sustainable maxAssignCount heartBeatInterval ackTimeout",
        " debug",
    ];
    for (lod, added) in Lod::ALL.into_iter().zip(added) {
        expected += added;
        assert_eq!(keys(&show(&task, lod)), sorted(&expected), "{}", lod.name());
    }
}

#[test]
fn the_levels_of_an_activity_are_those_of_the_contract() {
    // D38 and the list of what activities do not have (8.3)
    let mut spec = step();
    (spec.context, spec.tags) = (json!({"path": "/home"}).into(), vec!["a".into()]);
    let mut task = running(TaskSpec { workflow_id: Some(7), ..backup() });
    task.status.deleted_at = Some(at("2026-11-21T02:00:00Z"));
    let view =
        report(&step_of(&task, spec), ActivityEvent::Complete(Outcome::of(OutcomeCode::Ok), Some(progress_of(1, 1))));
    let mut expected = "id idString uuid type state updatedAt result taskId taskIdString".to_owned();
    let added = [
        "",
        " tenant executor policy resource startedByUser startedAt completedAt progress deletedAt createdAt \
          parentActivityId parentActivityIdString",
        " context tags workflowId",
        " sustainable",
        " debug",
    ];
    for (lod, added) in Lod::ALL.into_iter().zip(added) {
        expected += added;
        assert_eq!(keys(&show_activity(&view, lod)), sorted(&expected), "{}", lod.name());
    }
}

#[test]
fn a_task_with_only_what_must_be_there_has_no_null_and_no_empty_text() {
    // 8.1
    let task = enqueued(TaskSpec::new(Uuid::nil(), "sync", "q1", customer().id));
    let shown = show(&task, Lod::Debug);
    let expected = "id idString uuid type state updatedAt tenant queue priority issuer cancellable cancelRequested \
                    assignCount enqueuedAt context sustainable maxAssignCount ackTimeout debug";
    assert_eq!(keys(&shown), sorted(expected));
    assert_eq!(shown["issuer"], json!({"id": "", "clusterId": ""}));
    // The acknowledgement timeout is never infinite, so it is always there.
    assert_eq!((&shown["ackTimeout"], &shown["maxAssignCount"]), (&json!("5s"), &json!(1)));
    assert_eq!(shown["debug"], json!({"createdAt": "2026-11-21T01:00:00Z", "seeding": false}));
    let text = show(&running(TaskSpec::new(Uuid::nil(), "sync", "q1", customer().id)), Lod::Debug).to_string();
    assert!(!text.contains("null"), "{text}");
}

#[test]
fn an_executor_is_shown_on_assigned_tasks_and_always_on_activities() {
    // D40
    assert_eq!(show(&enqueued(backup()), Lod::Full).get("executor"), None);
    let cancelled = then(&enqueued(backup()), "2026-11-21T01:01:00Z", Event::Cancel { by: "operator".into() });
    assert_eq!(show(&cancelled, Lod::Full).get("executor"), None);
    assert_eq!(show_activity(&root_of(&cancelled), Lod::Short)["executor"], json!({"id": "", "clusterId": ""}));
    let executor = json!({"id": AGENT, "clusterId": ""});
    assert_eq!(show(&assigned_task(backup()), Lod::Short)["executor"], executor);
    assert_eq!(show_activity(&step_of(&running(backup()), step()), Lod::Short)["executor"], executor);
}

#[test]
fn a_requeued_task_has_lost_its_executor_and_times() {
    // D46, 10.4
    let event = Event::Abandon { lease: lease(), reason: "Out of memory.".into() };
    let shown = show(&then(&running(backup()), "2026-11-21T01:05:00Z", event), Lod::Full);
    assert_eq!((&shown["state"], &shown["enqueuedAt"]), (&json!("enqueued"), &json!("2026-11-21T01:05:00Z")));
    assert!(["executor", "assignedAt", "startedAt"].iter().all(|name| shown.get(name).is_none()), "{shown}");
}

#[test]
fn the_root_activity_is_its_task_and_a_step_is_itself() {
    // D47, D48
    let task = failed_backup();
    let (root, shown) = (show_activity(&root_of(&task), Lod::Full), show(&task, Lod::Full));
    for copied in ["type", "state", "progress", "executor", "result", "context", "tenant", "policy", "resource"] {
        assert_eq!(root[copied], shown[copied], "{copied}");
    }
    assert_eq!((&root["taskId"], &root["taskIdString"]), (&json!(48214), &json!("48214")));
    assert_eq!(root["createdAt"], "2026-11-21T01:00:00.45Z");
    assert!(root.get("parentActivityId").is_none() && root.get("parentActivityIdString").is_none());
    assert_ne!((&root["id"], &root["uuid"]), (&shown["id"], &shown["uuid"]));

    let running = running(TaskSpec { workflow_id: Some(7), ..backup() });
    let step = show_activity(&step_of(&running, step()), Lod::Full);
    assert_eq!((&step["parentActivityId"], &step["parentActivityIdString"]), (&json!(900), &json!("900")));
    assert_eq!(
        (&step["type"], &step["state"], &step["workflowId"]),
        (&json!("read_files"), &json!("enqueued"), &json!(7))
    );
    assert_eq!(step["policy"]["name"], "Nightly");
    assert_eq!(step.get("context"), None);
}

#[test]
fn activities_show_what_they_have_at_each_level() {
    // D38, D48
    let task = failed_backup();
    insta::assert_snapshot!("root_activity", levels(|lod| show_activity(&root_of(&task), lod)));
    let mut spec = step();
    (spec.context, spec.tags, spec.sustainable) = (json!({"path": "/home"}).into(), vec!["a".into()], true);
    let view = report(&step_of(&running(backup()), spec), ActivityEvent::Start);
    let view = report(&view, ActivityEvent::Report(progress_of(3, 0)));
    insta::assert_snapshot!("child_activity", levels(|lod| show_activity(&view, lod)));
}

#[test]
fn byte_counts_stand_on_the_task_and_its_root_alone() {
    // D49
    let task = failed_backup();
    assert_eq!(show(&task, Lod::Short)["progress"]["bytesSaved"], 1_048_576);
    assert_eq!(show_activity(&root_of(&task), Lod::Short)["progress"]["bytesSaved"], 1_048_576);
    let view = report(&step_of(&running(backup()), step()), ActivityEvent::Start);
    let view = report(&view, ActivityEvent::Report(progress_of(1, 2)));
    assert_eq!(show_activity(&view, Lod::Short)["progress"], json!({"current": 1, "total": 2}));
}

#[test]
fn progress_has_its_total_always_and_the_rest_where_it_was_reported() {
    // 8.4
    let of = |p: &Progress| json(progress(p, bytes(p)));
    assert_eq!(of(&Progress::default()), json!({"current": 0, "total": 0}));
    let nothing_new = Progress { bytes_processed: 5, speed: Some(0.5), ..Progress::default() };
    let shown = json!({"current": 0, "total": 0, "bytesProcessed": 5, "bytesSaved": 0, "processingSpeed": 0.5});
    assert_eq!(of(&nothing_new), shown);
    let ready = Progress { left: Some(SignedDuration::ZERO), speed: Some(3.0), ..Progress::default() };
    assert_eq!(of(&ready).to_string(), r#"{"current":0,"processingSpeed":3,"total":0}"#);
}

#[test]
fn our_agents_show_no_payload_and_others_do() {
    // D50
    let outcome = Outcome { payload: json!({"items": 3}), ..Outcome::of(OutcomeCode::Ok) };
    let shown = |queue: &str, lod| {
        let task = running(TaskSpec { queue: queue.into(), ..backup() });
        show(&completed(&task, outcome.clone(), None), lod)["result"].clone()
    };
    assert_eq!(shown("agents", Lod::Full), json!({"code": "ok"}));
    assert_eq!(shown("q1", Lod::Full), json!({"code": "ok", "payload": {"items": 3}}));
    assert_eq!(shown("q1", Lod::Short), json!({"code": "ok"}));
}

#[test]
fn a_result_grows_with_the_level() {
    // D38
    let error = TaskError {
        context: json!({"disk": 2}),
        extra: Map::from_iter([("debug".to_owned(), json!({"msg": "x"}))]),
        ..TaskError::server("broken", "It broke.")
    };
    let warning = TaskError::server("odd", "It was odd.");
    let outcome = Outcome { warnings: vec![warning], ..failed(error) };
    let task = completed(&running(backup()), outcome, None);
    let short = json!({"domain": "TaskManager", "code": "broken", "reason": "broken", "message": "It broke."});
    assert_eq!(show(&task, Lod::Tiny)["result"], json!({"code": "error"}));
    assert_eq!(show(&task, Lod::Short)["result"], json!({"code": "error", "error": short}));
    let long = show(&task, Lod::Long)["result"].clone();
    assert_eq!((&long["error"]["context"], &long["error"]["debug"]), (&json!({"disk": 2}), &json!({"msg": "x"})));
    assert_eq!(long["warnings"][0]["message"], "It was odd.");
}

#[test]
fn an_error_always_has_a_message() {
    // D51
    let message = |context: Value, debug: Value, message: &str| {
        let extra = Map::from_iter([("debug".to_owned(), debug)]);
        let error = TaskError { context, extra, message: message.into(), ..TaskError::server("gone", "") };
        json(error_object(&error, true))["message"].as_str().unwrap_or_default().to_owned()
    };
    let both = json!({"cause_str": "The disk is full", "effect_str": "The backup failed."});
    assert_eq!(message(both.clone(), Value::Null, "As sent."), "As sent.");
    assert_eq!(message(both, json!({"msg": "m"}), ""), "The disk is full. The backup failed.");
    assert_eq!(message(json!({"effect_str": "Failed", "cause_str": ""}), json!({"msg": "m"}), " "), "Failed.");
    assert_eq!(message(Value::Null, json!({"msg": "code 5"}), ""), "code 5.");
    assert_eq!(message(json!("text"), json!({"msg": 5}), ""), "TaskManager/gone");
    let long = message(Value::Null, Value::Null, &"é".repeat(501));
    assert_eq!((long.chars().count(), long.ends_with("é…")), (500, true));
    assert_eq!(message(Value::Null, Value::Null, &"é".repeat(500)), "é".repeat(500));
}

#[test]
fn an_error_keeps_what_was_sent_and_names_its_cause() {
    // D51, 8.4
    let link = json!({"lineTag": "t", "serCode": "s", "version": "1", "build": 2, "product": "p", "os": "o"});
    let cause = TaskError { context: json!({"errno": 28}), ..TaskError::server("noSpace", "No space is left.") };
    let error = TaskError {
        context: json!({"_src": {"code": 1}}),
        cause: Some(Box::new(cause)),
        extra: Map::from_iter([("kbLink".to_owned(), link.clone())]),
        ..TaskError::server("broken", "It broke.")
    };
    let shown = json(error_object(&error, true));
    assert_eq!((&shown["kbLink"], &shown["context"]["_src"]), (&link, &json!({"code": 1})));
    let cause = json!({"domain": "TaskManager", "code": "noSpace", "reason": "noSpace", "message": "No space is left.",
        "context": {"errno": 28}});
    assert_eq!(shown["context"]["cause"], cause);
    assert_eq!((&shown["reason"], shown.get("cause")), (&shown["code"], None));
    // The executor's own key stays.
    let own = TaskError { context: json!({"cause": "mine"}), ..error };
    assert_eq!(json(error_object(&own, true))["context"], json!({"cause": "mine"}));
    // Clients read members of the context, so it is an object whatever was sent.
    let text = TaskError { context: json!("text"), cause: None, ..own };
    assert_eq!(json(error_object(&text, true))["context"], json!({"value": "text"}));
}

#[test]
fn names_are_the_vendors() {
    // D52, D54, 4.2
    let mut spec = backup();
    spec.kind = "apply_policy".into();
    spec.priority = domain::task::Priority::BelowNormal;
    let shown = show(&enqueued(spec), Lod::Short);
    assert_eq!((&shown["type"], &shown["priority"]), (&json!("policy.apply"), &json!("belowNormal")));
    assert_eq!(shown["resource"]["type"], "machine");
    let activity = ActivitySpec::new(Uuid::nil(), "revoke_policy");
    assert_eq!(show_activity(&step_of(&running(backup()), activity), Lod::Tiny)["type"], "policy.revoke");
}

fn paused(spec: TaskSpec) -> Task {
    let issue = Message { key: "diskMissing".into(), context: Value::Null };
    let blocker = |n: u128| Blocker {
        id: Uuid::from_u128(n),
        activity: None,
        issue: issue.clone(),
        possible_solutions: vec![],
        solution: None,
    };
    let event = Event::Pause { lease: lease(), blockers: vec![blocker(1), blocker(2)] };
    then(&running(spec), "2026-11-21T01:02:00Z", event)
}

#[test]
fn blockers_are_counted_from_one_and_listed_until_completion() {
    // D64
    let shown = show(&paused(backup()), Lod::Full);
    let expected = json!({"id": 2, "uuid": "00000000-0000-0000-0000-000000000002", "taskId": 48214,
        "tenant": shown["tenant"], "issue": {"key": "diskMissing"}});
    assert_eq!((shown["blockers"].as_array().map(Vec::len), &shown["blockers"][1]), (Some(2), &expected));
    let done = completed(&paused(backup()), Outcome::of(OutcomeCode::Ok), None);
    assert_eq!(show(&done, Lod::Full).get("blockers"), None);
    assert_eq!(json(status(&done, &customer()))["blockers"], json!([]));
}

#[test]
fn a_report_is_answered_with_the_status() {
    // D69
    let task = then(&paused(backup()), "2026-11-21T01:03:00Z", Event::Cancel { by: "operator".into() });
    let shown = json(status(&task, &customer()));
    let expected = "id idString state cancelRequested assignCount updatedAt blockers";
    assert_eq!(keys(&shown), sorted(expected));
    assert_eq!((&shown["state"], &shown["cancelRequested"]), (&json!("paused"), &json!(true)));
    assert_eq!((&shown["assignCount"], &shown["updatedAt"]), (&json!(1), &json!("2026-11-21T01:03:00Z")));
    let of_step = json(activity_status(&step_of(&task, step()), &customer()));
    assert_eq!(keys(&of_step), sorted(&format!("{expected} taskId taskIdString")));
    assert_eq!((&of_step["id"], &of_step["state"]), (&json!(901), &json!("enqueued")));
    assert_eq!((&of_step["cancelRequested"], &of_step["blockers"]), (&json!(true), &shown["blockers"]));
}

#[test]
fn a_task_that_is_handed_out_is_full_and_has_its_lease() {
    // D68
    let task = assigned_task(backup());
    let mut shown = json(assigned(&task, &customer(), &lease()));
    assert_eq!(shown.as_object_mut().and_then(|o| o.remove("lease")), Some(json!(LEASE)));
    assert_eq!(shown, show(&task, Lod::Full));
}

#[test]
fn deadlines_count_from_the_start_of_the_server() {
    // D38, D60
    let mut spec = backup();
    spec.rules.life_time = Some(SignedDuration::from_hours(1));
    let task = running(spec);
    let debug = |up_since: &str| json(super::task(&task, &customer(), Lod::Debug, at(up_since)))["debug"].clone();
    let before = debug("2026-11-20T00:00:00Z");
    assert_eq!(
        before["deadlines"],
        json!({"heartBeatInterval": "2026-11-21T01:00:30.45Z", "lifeTime": "2026-11-21T02:00:00Z"})
    );
    assert_eq!(before["lastReportAt"], "2026-11-21T01:00:00.45Z");
    assert_eq!(debug("2026-11-21T01:10:00Z")["deadlines"]["heartBeatInterval"], "2026-11-21T01:10:30Z");
}

#[test]
fn counts_have_a_member_for_each_key_that_is_there() {
    // D39
    let tenants = HashMap::from([(customer().id, customer())]);
    let group = |values: Vec<Option<Asked>>, count| Group { values, count };
    let found = [
        group(vec![Some(Asked::Uuid(customer().id)), Some(Asked::Enum(ResultCode::Error.ordinal()))], 3),
        group(vec![Some(Asked::Uuid(customer().id)), None], 2),
    ];
    let shown = groups(&[GroupKey::Tenant, GroupKey::ResultCode], &found, &tenants);
    let tenant = show(&enqueued(backup()), Lod::Short)["tenant"].clone();
    assert_eq!(
        json!(shown),
        json!([{"tenant": tenant, "resultCode": "error", "count": 3}, {"tenant": tenant, "count": 2}])
    );
    let by = |key, value| json!(groups(&[key], &[group(vec![Some(value)], 1)], &tenants)[0]);
    assert_eq!(by(GroupKey::State, Asked::Enum(1)), json!({"state": "assigned", "count": 1}));
    assert_eq!(by(GroupKey::Type, Asked::Text("apply_policy".into())), json!({"type": "policy.apply", "count": 1}));
    assert_eq!(by(GroupKey::PolicyId, Asked::Text("p".into())), json!({"policyId": "p", "count": 1}));
    assert_eq!(by(GroupKey::ResourceId, Asked::Text("r".into())), json!({"resourceId": "r", "count": 1}));
}
