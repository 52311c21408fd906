//! The bodies of the write side against the contract's section 11.

use domain::task::{Affinity, ResultCode, Task};
use domain::tenant::Tenant;
use domain::{Document, Timestamp, task};
use serde_json::json;

use super::super::map;
use super::super::names::Lod;
use super::*;

/// The code and the member of a refusal, as they stand in the answer.
fn refused<T: std::fmt::Debug>(read: Result<T, Failure>) -> (String, String) {
    let body = read.expect_err("the body is refused").body();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&body["code"]), text(&body["context"]["parameter"]))
}

fn refusal(code: &str, member: &str) -> (String, String) {
    (code.to_owned(), member.to_owned())
}

fn message<T: std::fmt::Debug>(read: Result<T, Failure>) -> String {
    read.expect_err("the body is refused").body()["message"].as_str().unwrap_or_default().to_owned()
}

/// The smallest task, with these members too.
fn task_with(members: Value) -> Result<NewTask, Failure> {
    let mut body = json!({"type": "sync", "queue": "q1"});
    let all = body.as_object_mut().expect("it is an object");
    all.extend(members.as_object().cloned().unwrap_or_default());
    NewTask::parse(body)
}

fn spec_with(members: Value) -> TaskSpec {
    task_with(members).expect("the body is right").spec(Uuid::nil(), Uuid::nil())
}

fn activity_with(members: Value) -> Result<NewActivity, Failure> {
    let mut body = json!({"taskId": 1, "type": "scan"});
    let all = body.as_object_mut().expect("it is an object");
    all.extend(members.as_object().cloned().unwrap_or_default());
    NewActivity::parse(body)
}

fn result_with(members: Value) -> Result<(Outcome, Option<Progress>), Failure> {
    completed(json!({"result": members}))
}

fn error_with(members: Value) -> Result<TaskError, Failure> {
    let mut error = json!({"domain": "Storage", "code": "full"});
    let all = error.as_object_mut().expect("it is an object");
    all.extend(members.as_object().cloned().unwrap_or_default());
    let (outcome, _) = result_with(json!({"code": "error", "error": error}))?;
    Ok(outcome.error.expect("an error was sent"))
}

#[test]
fn what_an_issuer_writes_is_what_everybody_reads() {
    // D67: all members marked W in 8.2
    let body = json!({
        "uuid": "019a1c5e-7d0a-7c3e-9b1f-5a2f6c1d8e90", "type": "policy.apply", "queue": "q1", "priority": "aboveNormal",
        "tenant": {"id": "1", "uuid": "00000000-0000-0000-0000-000000000000", "name": "root", "locator": "/1/"},
        "affinity": {"agentId": "a", "clusterId": "c"},
        "policy": {"id": "p", "type": "policy.protection.total", "name": "Nightly"},
        "resource": {"id": "r", "type": "machine", "name": "srv-01"}, "startedByUser": "operator", "workflowId": 7,
        "tags": ["a", "b"], "argument": [1, {"x": null}], "cancellable": true, "sustainable": true, "maxAssignCount": 3,
        "context": {"title": "Applying", "IsProcessRoot": true, "runMode": "manual", "MachineName": "m", "PlanName": "p"},
        "heartBeatInterval": "10s", "ackTimeout": "1m", "queueTimeout": "1h25m43s", "execTimeout": "2h", "lifeTime": "48h",
    });
    let mut sent = body.clone();
    // Two of the four name a tenant; one is enough, and the others are the server's.
    sent["tenant"] = json!({"id": "1"});
    let new = NewTask::parse(sent).expect("the body is right");
    assert_eq!(new.tenant, Some(TenantRef::Number(1)));
    let now = Timestamp::UNIX_EPOCH;
    let task = Task::create(TaskId(1), new.spec(Uuid::nil(), Uuid::max()).into(), now).expect("the wish is allowed");
    let tenant = Tenant::root("root", "UTC", now);
    let shown = serde_json::to_value(map::task(&task, &tenant, Lod::Full, now)).expect("it is JSON");
    for (name, value) in body.as_object().expect("it is an object") {
        assert_eq!(shown[name], *value, "{name}");
    }
    let made = NewTask::SHAPE.made;
    let others: Vec<_> = shown.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
    assert!(others.iter().all(|name| body.get(name).is_some() || made.contains(name)), "{others:?}");
}

#[test]
fn a_task_needs_a_type_and_a_queue_and_the_rest_has_defaults() {
    // D67, D42
    assert_eq!(refused(NewTask::parse(json!({"queue": "q1"}))), refusal("invalidBody", "type"));
    assert_eq!(refused(NewTask::parse(json!({"type": "sync"}))), refusal("invalidBody", "queue"));
    assert_eq!(refused(task_with(json!({"type": ""}))), refusal("invalidParameter", "type"));
    let new = task_with(json!({})).expect("the body is right");
    assert_eq!((new.tenant, new.uuid), (None, None));
    let (tenant, uuid) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(new.spec(tenant, uuid), TaskSpec::new(uuid, "sync", "q1", tenant));
    let chosen = task_with(json!({"uuid": "019A1C5E-7D0A-7C3E-9B1F-5A2F6C1D8E90"})).expect("the body is right");
    let own = chosen.uuid;
    assert_eq!(Some(chosen.spec(tenant, uuid).uuid), own);
}

#[test]
fn what_is_left_out_may_be_null_or_empty() {
    // 8.1: an unset field is never told from an empty one
    let spec =
        spec_with(json!({"policy": null, "resource": {"id": "r", "type": "", "name": null}, "startedByUser": "",
        "affinity": {"agentId": "", "clusterId": null}, "context": null, "tags": [], "heartBeatInterval": "0s"}));
    assert_eq!((spec.policy, spec.started_by, spec.affinity), (None, None, Affinity::default()));
    assert_eq!(spec.resource, Some(Named { id: "r".into(), ..Named::default() }));
    assert_eq!((spec.context, spec.rules.heartbeat_interval), (Document::default(), None));
}

#[test]
fn an_unknown_member_is_refused_with_the_nearest_known() {
    // Section 11
    let failure = task_with(json!({"heartbeatinterval": "1s"})).expect_err("it is unknown");
    let body = failure.body();
    assert_eq!((&body["code"], &body["context"]["parameter"]), (&json!("invalidBody"), &json!("heartbeatinterval")));
    assert_eq!(body["context"]["suggestion"], "heartBeatInterval");
    assert_eq!(refused(task_with(json!({"policy": {"id": "p", "nmae": "x"}}))), refusal("invalidBody", "policy.nmae"));
    let long = refused(task_with(json!({"x".repeat(500): 1}))).1;
    assert!(long.chars().count() < 200, "{long}");
    assert_eq!(refused(nothing(json!({"force": true}))), refusal("invalidBody", "force"));
}

#[test]
fn what_the_server_makes_is_read_only() {
    // Section 11: every member of 8.2 without a W
    for name in "id idString state issuer executor progress result blockers cancelRequested assignCount enqueuedAt \
                 assignedAt startedAt completedAt updatedAt deletedAt"
        .split_whitespace()
    {
        assert_eq!(refused(task_with(json!({name: null}))), refusal("readOnlyField", name));
    }
    let foreign = task_with(json!({"tenant": {"id": "1", "name": "root"}}));
    assert_eq!(refused(foreign), refusal("readOnlyField", "tenant.name"));
    for name in
        "id idString taskIdString executor tenant policy resource startedByUser workflowId progress result createdAt \
                 startedAt updatedAt completedAt deletedAt"
            .split_whitespace()
    {
        assert_eq!(refused(activity_with(json!({name: 1}))), refusal("readOnlyField", name));
    }
}

#[test]
fn a_wrong_type_names_the_member_and_what_would_be_right() {
    // Section 11
    let of = |members| task_with(members);
    assert_eq!(message(of(json!({"tags": "a"}))), "'tags' must be an array of strings, not a string.");
    assert_eq!(message(of(json!({"tags": ["a", 1]}))), "'tags[1]' must be a string, not a number.");
    assert_eq!(message(of(json!({"policy": "p"}))), "'policy' must be an object, not a string.");
    assert_eq!(message(of(json!({"policy": {"id": 1}}))), "'policy.id' must be a string, not a number.");
    assert_eq!(message(of(json!({"cancellable": "yes"}))), "'cancellable' must be true or false, not a string.");
    assert_eq!(message(of(json!({"maxAssignCount": 1.5}))), "'maxAssignCount' must be a whole number, not a fraction.");
    assert_eq!(refused(of(json!({"lifeTime": 5}))), refusal("invalidBody", "lifeTime"));
    assert_eq!(message(NewTask::parse(json!("text"))), "The body must be a JSON object, not a string.");
    assert_eq!(refused(NewTask::parse(Value::Null)), refusal("invalidBody", ""));
}

#[test]
fn lengths_and_bounds_are_those_of_the_contract() {
    // 8.2, D45, D70
    let refused = |members| refused(task_with(members));
    let bad = |name| refusal("invalidParameter", name);
    let (w65, n257) = ("w".repeat(65), "é".repeat(257));
    assert_eq!(refused(json!({"type": w65})), bad("type"));
    assert_eq!(refused(json!({"queue": w65})), bad("queue"));
    assert_eq!(refused(json!({"policy": {"id": w65}})), bad("policy.id"));
    assert_eq!(refused(json!({"policy": {"id": ""}})), bad("policy.id"));
    assert_eq!(refused(json!({"policy": {"id": "p", "type": w65}})), bad("policy.type"));
    assert_eq!(refused(json!({"resource": {"id": "r", "name": n257}})), bad("resource.name"));
    assert_eq!(refused(json!({"startedByUser": n257})), bad("startedByUser"));
    assert_eq!(refused(json!({"affinity": {"agentId": w65}})), bad("affinity.agentId"));
    assert_eq!(refused(json!({"affinity": {"clusterId": w65}})), bad("affinity.clusterId"));
    assert_eq!(refused(json!({"tags": vec!["t"; 33]})), bad("tags"));
    assert_eq!(refused(json!({"tags": [w65]})), bad("tags"));
    assert_eq!(refused(json!({"context": "x".repeat(256 * 1024)})), bad("context"));
    assert_eq!(refused(json!({"argument": "x".repeat(256 * 1024)})), bad("argument"));
    assert_eq!(refused(json!({"maxAssignCount": 0})), bad("maxAssignCount"));
    assert_eq!(refused(json!({"maxAssignCount": 1001})), bad("maxAssignCount"));
    assert_eq!(refused(json!({"priority": "urgent"})), bad("priority"));
    let longest = json!({"type": "w".repeat(64), "tags": vec!["t"; 32], "startedByUser": "é".repeat(256),
        "context": "x".repeat(256 * 1024 - 2), "maxAssignCount": 1000});
    assert_eq!(spec_with(longest).rules.max_assign_count, 1000);
}

#[test]
fn a_cancellable_task_has_a_heartbeat() {
    // D70
    let failure = task_with(json!({"cancellable": true, "heartBeatInterval": "0s"})).expect_err("it has none");
    assert_eq!(failure.body()["context"]["parameter"], "cancellable");
    assert_eq!(failure.body()["message"], "A cancellable task needs a heartBeatInterval.");
    assert!(spec_with(json!({"cancellable": true, "heartBeatInterval": "5s"})).rules.cancellable);
}

#[test]
fn durations_are_those_of_the_vendor() {
    // D41; no time to acknowledge means 5 s, not for ever
    let rules = spec_with(json!({"heartBeatInterval": "1h25m43s", "ackTimeout": "0", "queueTimeout": "0s"})).rules;
    assert_eq!(rules.heartbeat_interval, Some(SignedDuration::from_secs(5143)));
    assert_eq!((rules.ack_timeout, rules.queue_timeout), (SignedDuration::from_secs(5), None));
    assert_eq!(refused(task_with(json!({"execTimeout": "-1s"}))), refusal("invalidParameter", "execTimeout"));
    assert_eq!(refused(task_with(json!({"execTimeout": "soon"}))), refusal("invalidParameter", "execTimeout"));
}

#[test]
fn ids_are_integers_or_decimal_strings() {
    // Section 11
    assert_eq!(spec_with(json!({"workflowId": "7"})).workflow_id, spec_with(json!({"workflowId": 7})).workflow_id);
    let activity = activity_with(json!({"taskId": "12", "parentActivityId": "900"})).expect("the body is right");
    assert_eq!((activity.task, activity.spec.parent), (TaskId(12), Some(ActivityId(900))));
    for wrong in [json!("+7"), json!("7a"), json!(""), json!(7.5), json!(true)] {
        assert_eq!(refused(task_with(json!({"workflowId": wrong}))), refusal("invalidBody", "workflowId"));
    }
}

#[test]
fn a_tenant_is_named_by_uuid_or_number() {
    // D67
    let tenant = |value| task_with(json!({"tenant": value})).map(|new| new.tenant);
    let uuid = "5d0c9c1a-2f4e-4b7e-8a53-0d3c1b7f6e21";
    assert_eq!(tenant(json!({"uuid": uuid.to_uppercase()})).ok(), Some(Uuid::parse_str(uuid).ok().map(TenantRef::Id)));
    assert_eq!(tenant(json!({"id": "67"})).ok(), Some(Some(TenantRef::Number(67))));
    assert_eq!(tenant(json!({"id": 67})).ok(), Some(Some(TenantRef::Number(67))));
    assert_eq!(refused(tenant(json!({"uuid": "67"}))), refusal("invalidParameter", "tenant.uuid"));
    assert_eq!(refused(tenant(json!({"uuid": uuid, "id": "67"}))), refusal("invalidParameter", "tenant"));
    assert_eq!(refused(tenant(json!({}))), refusal("invalidParameter", "tenant"));
}

#[test]
fn both_names_of_a_policy_task_are_taken() {
    // D52
    for name in ["policy.revoke", "revoke_policy"] {
        assert_eq!(spec_with(json!({"type": name})).kind, "revoke_policy");
    }
    let assign = json!({"queues": ["q1"], "consumer": {"id": "a"}, "types": ["policy.apply", "backup"]});
    assert_eq!(Assign::parse(assign).map(|a| a.types).ok(), Some(vec!["apply_policy".into(), "backup".into()]));
}

#[test]
fn a_consumer_says_who_it_is_and_what_it_takes() {
    // D68
    let with = |members: Value| {
        let mut body = json!({"queues": ["q1", "q2"], "consumer": {"id": "a"}});
        body.as_object_mut().expect("it is an object").extend(members.as_object().cloned().unwrap_or_default());
        Assign::parse(body)
    };
    let least = Assign {
        queues: vec!["q1".into(), "q2".into()],
        consumer: Executor { id: "a".into(), ..Executor::default() },
        types: vec![],
        max: 1,
        wait: SignedDuration::ZERO,
    };
    assert_eq!(with(json!({})).ok(), Some(least.clone()));
    let most = with(json!({"consumer": {"id": "a", "clusterId": "c"}, "types": ["t"], "max": 100, "wait": "60s"}));
    let consumer = Executor { id: "a".into(), cluster_id: "c".into() };
    let wait = SignedDuration::from_secs(60);
    assert_eq!(most.ok(), Some(Assign { consumer, types: vec!["t".into()], max: 100, wait, ..least }));
    for (members, name) in [
        (json!({"max": 0}), "max"),
        (json!({"max": 101}), "max"),
        (json!({"wait": "61s"}), "wait"),
        (json!({"queues": []}), "queues"),
        (json!({"queues": [""]}), "queues[0]"),
        (json!({"types": []}), "types"),
        (json!({"queues": vec!["q"; 201]}), "queues"),
        (json!({"consumer": {"id": "a".repeat(65)}}), "consumer.id"),
        (json!({"consumer": {"id": "a", "clusterId": "a".repeat(65)}}), "consumer.clusterId"),
    ] {
        assert_eq!(refused(with(members)), refusal("invalidParameter", name));
    }
    for (members, name) in [
        (json!({"queues": null}), "queues"),
        (json!({"consumer": null}), "consumer"),
        (json!({"consumer": {}}), "consumer.id"),
    ] {
        assert_eq!(refused(with(members)), refusal("invalidBody", name));
    }
}

#[test]
fn progress_is_read_whole() {
    // 8.4, D70
    let body = json!({"total": 100, "current": 41, "bytesProcessed": 7_340_032, "bytesSaved": 1_048_576,
        "processingSpeed": 1.5, "leftTime": "1m30s", "bottleneck": {"source": 70, "destination": 20, "processing": 10}});
    let expected = Progress {
        current: 41,
        total: 100,
        bytes_processed: 7_340_032,
        bytes_saved: 1_048_576,
        speed: Some(1.5),
        left: Some(SignedDuration::from_secs(90)),
        bottleneck: Some(Bottleneck { source: 70, destination: 20, processing: 10 }),
        ..Progress::default()
    };
    assert_eq!(progress(body.clone()).ok(), Some(expected.clone()));
    let (_, last) = completed(json!({"result": {"code": "ok"}, "progress": body})).expect("the body is right");
    assert_eq!(last, Some(expected));
    // 0 is unknown, and then anything was done.
    assert_eq!(progress(json!({"total": 0, "current": 5})).map(|p| p.current).ok(), Some(5));
}

#[test]
fn progress_that_cannot_be_is_refused() {
    // D70
    let with = |members: Value| {
        let mut body = json!({"total": 10});
        body.as_object_mut().expect("it is an object").extend(members.as_object().cloned().unwrap_or_default());
        body
    };
    for (members, name) in [
        (json!({"current": 11}), "current"),
        (json!({"current": -1}), "current"),
        (json!({"total": -1}), "total"),
        (json!({"bytesSaved": -1}), "bytesSaved"),
        (json!({"processingSpeed": -0.5}), "processingSpeed"),
        (json!({"leftTime": "-1s"}), "leftTime"),
        (json!({"bottleneck": {"source": 50, "destination": 50, "processing": 1}}), "bottleneck"),
        (json!({"bottleneck": {"source": 101, "destination": 0, "processing": 0}}), "bottleneck.source"),
    ] {
        assert_eq!(refused(progress(with(members.clone()))), refusal("invalidParameter", name));
        let whole = completed(json!({"result": {"code": "ok"}, "progress": with(members)}));
        assert_eq!(refused(whole), refusal("invalidParameter", &format!("progress.{name}")));
    }
    assert_eq!(refused(progress(json!({"current": 1}))), refusal("invalidBody", "total"));
    assert_eq!(
        refused(progress(with(json!({"bottleneck": {"source": 100}})))),
        refusal("invalidBody", "bottleneck.destination")
    );
    assert_eq!(refused(progress(Value::Null)), refusal("invalidBody", ""));
}

#[test]
fn blockers_come_with_a_pause_or_not_at_all() {
    // D64, 10.2
    let fresh = || Uuid::from_u128(9);
    for empty in [Value::Null, json!({}), json!({"blockers": []})] {
        assert_eq!(paused(empty, fresh).ok(), Some(vec![]));
    }
    let body = json!({"blockers": [
        {"uuid": "00000000-0000-0000-0000-000000000001", "activityId": "901", "issue": {"key": "k", "context": [1]},
            "possibleSolutions": [{"key": "retry"}]},
        {"issue": {"key": "l"}},
    ]});
    let word = |key: &str, context| Message { key: key.into(), context };
    let first = Blocker {
        id: Uuid::from_u128(1),
        activity: Some(901),
        issue: word("k", json!([1])),
        possible_solutions: vec![word("retry", Value::Null)],
        solution: None,
    };
    let second = Blocker {
        id: Uuid::from_u128(9),
        activity: None,
        issue: word("l", Value::Null),
        possible_solutions: vec![],
        solution: None,
    };
    assert_eq!(paused(body, fresh).ok(), Some(vec![first, second]));
    let refused = |blocker: Value| refused(paused(json!({"blockers": [blocker]}), fresh));
    assert_eq!(refused(json!({})), refusal("invalidBody", "blockers[0].issue"));
    assert_eq!(refused(json!({"issue": {"key": ""}})), refusal("invalidParameter", "blockers[0].issue.key"));
    let solved = json!({"issue": {"key": "k"}, "solution": {"key": "retry"}});
    assert_eq!(refused(solved), refusal("readOnlyField", "blockers[0].solution"));
    let nameless = json!({"issue": {"key": "k"}, "possibleSolutions": [{"context": 1}]});
    assert_eq!(refused(nameless), refusal("invalidBody", "blockers[0].possibleSolutions[0].key"));
}

#[test]
fn an_answer_has_a_key() {
    // D64
    let read = solution(json!({"key": "retry", "context": {"times": 2}}));
    assert_eq!(read.ok(), Some(Message { key: "retry".into(), context: json!({"times": 2}) }));
    assert_eq!(refused(solution(json!({"context": 1}))), refusal("invalidBody", "key"));
}

#[test]
fn an_executor_reports_four_results_and_no_other() {
    // D58
    for code in OutcomeCode::ALL {
        let read = result_with(json!({"code": code.name(), "payload": {"x": 1}}));
        assert_eq!(read.map(|(o, p)| (o.code, o.payload, p)).ok(), Some((*code, json!({"x": 1}), None)));
    }
    for code in [ResultCode::Abandoned.name(), ResultCode::TimedOut.name(), "fine"] {
        assert_eq!(refused(result_with(json!({"code": code}))), refusal("invalidParameter", "result.code"));
    }
    assert_eq!(refused(result_with(json!({}))), refusal("invalidBody", "result.code"));
    assert_eq!(refused(completed(json!({}))), refusal("invalidBody", "result"));
    assert_eq!(refused(result_with(json!({"code": "ok", "payload": 5}))), refusal("invalidBody", "result.payload"));
}

#[test]
fn an_error_without_a_reason_is_unspecified() {
    // D70
    let (outcome, _) = result_with(json!({"code": "error"})).expect("the body is right");
    let error = outcome.into_result().error.expect("a failure has an error");
    assert_eq!((error.domain.as_str(), error.code.as_str()), (task::SERVER_DOMAIN, "unspecified"));
}

#[test]
fn an_error_object_is_kept_as_sent() {
    // D51
    let link = json!({"lineTag": "t", "serCode": "s", "version": "1", "build": 2, "product": "p", "os": ""});
    let sent = json!({"reason": "full", "message": "It is full.", "context": {"_src": {"x": null}}, "kbLink": link,
        "debug": {"msg": "m", "n": null}});
    let error = error_with(sent.clone()).expect("the body is right");
    assert_eq!(
        (error.domain.as_str(), error.code.as_str(), error.message.as_str()),
        ("Storage", "full", "It is full.")
    );
    assert_eq!(
        (&error.context, &error.extra["kbLink"], &error.extra["debug"]),
        (&sent["context"], &link, &sent["debug"])
    );
    let warnings = json!({"code": "warning", "warnings": [{"domain": "d", "code": "c"}]});
    assert_eq!(result_with(warnings).map(|(o, _)| o.warnings.len()).ok(), Some(1));
}

#[test]
fn an_error_object_is_checked() {
    // 8.4, D51
    let at = |name: &str| format!("result.error.{name}");
    let long = error_with(json!({"message": "é".repeat(501)}));
    assert_eq!(refused(long), refusal("invalidParameter", &at("message")));
    assert!(error_with(json!({"message": "é".repeat(500)})).is_ok());
    assert_eq!(refused(error_with(json!({"domain": null}))), refusal("invalidBody", &at("domain")));
    assert_eq!(refused(error_with(json!({"reason": "other"}))), refusal("invalidParameter", &at("reason")));
    assert_eq!(refused(error_with(json!({"context": "text"}))), refusal("invalidBody", &at("context")));
    assert_eq!(refused(error_with(json!({"cause": {}}))), refusal("invalidBody", &at("cause")));
    let link = json!({"lineTag": "t", "serCode": "s", "version": "1", "build": "2", "product": "p", "os": "o"});
    assert_eq!(refused(error_with(json!({"kbLink": link}))), refusal("invalidBody", &at("kbLink.build")));
    assert_eq!(refused(error_with(json!({"kbLink": {"build": 2}}))), refusal("invalidBody", &at("kbLink.lineTag")));
    let warning = json!({"code": "warning", "warnings": [{"domain": "d", "code": "c"}, {"domain": "d"}]});
    assert_eq!(refused(result_with(warning)), refusal("invalidBody", "result.warnings[1].code"));
}

#[test]
fn a_reason_for_giving_up_is_a_sentence() {
    // Section 11
    assert_eq!(abandoned(json!({"reason": "out of memory"})).ok().as_deref(), Some("out of memory."));
    assert_eq!(abandoned(json!({"reason": "Why not?"})).ok().as_deref(), Some("Why not?"));
    assert_eq!(abandoned(Value::Null).ok().as_deref(), Some("no reason was given."));
    assert_eq!(refused(abandoned(json!({"reason": "é".repeat(501)}))), refusal("invalidParameter", "reason"));
}

#[test]
fn an_activity_waits_or_begins_at_once() {
    // Section 11
    let least = activity_with(json!({})).expect("the body is right");
    assert_eq!((least.task, least.start), (TaskId(1), false));
    assert_eq!(least.spec(Uuid::max()), ActivitySpec::new(Uuid::max(), "scan"));
    let all = json!({"uuid": "00000000-0000-0000-0000-000000000001", "parentActivityId": 900, "state": "started",
        "sustainable": true, "tags": ["a"], "context": "text"});
    let all = activity_with(all).expect("the body is right");
    assert!(all.start);
    let expected = ActivitySpec {
        parent: Some(ActivityId(900)),
        sustainable: true,
        tags: vec!["a".into()],
        context: json!("text").into(),
        ..ActivitySpec::new(Uuid::from_u128(1), "scan")
    };
    assert_eq!(all.spec(Uuid::max()), expected);
    assert_eq!(refused(activity_with(json!({"taskId": null}))), refusal("invalidBody", "taskId"));
    assert_eq!(refused(activity_with(json!({"state": "completed"}))), refusal("invalidParameter", "state"));
    assert_eq!(refused(activity_with(json!({"type": "w".repeat(65)}))), refusal("invalidParameter", "type"));
}

#[test]
fn a_call_without_a_body_takes_an_empty_one() {
    // The `-` in the table of section 11
    assert!(nothing(Value::Null).is_ok() && nothing(json!({})).is_ok());
    assert_eq!(refused(nothing(json!("x"))), refusal("invalidBody", ""));
}
