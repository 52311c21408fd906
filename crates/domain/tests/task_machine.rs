//! The rules of the task machine, each as a short story.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::sync::Arc;

use domain::task::*;
use domain::{Code, Moment, SignedDuration, Timestamp, Uuid};

const S: SignedDuration = SignedDuration::from_secs(1);

fn at(seconds: i64) -> Moment {
    let t = |s| Timestamp::from_second(s).unwrap();
    Moment { now: t(1000 + seconds), up_since: t(0) }
}

fn task(rules: Rules) -> Task {
    let mut spec = TaskSpec::new(Uuid::from_u128(7), "backup", "agents", Uuid::nil());
    spec.rules = rules;
    Task::create(TaskId(1), Arc::new(spec), at(0).now).unwrap()
}

fn lease(n: u8) -> LeaseToken {
    LeaseToken(format!("lease {n}"))
}

fn claim(n: u8) -> Event {
    Event::Claim { executor: Executor { id: format!("agent {n}").into(), cluster_id: "".into() }, lease: lease(n) }
}

fn done(n: u8) -> Event {
    Event::Complete { lease: lease(n), outcome: Outcome::of(OutcomeCode::Ok), progress: None }
}

/// Lets the events happen one second after the other.
fn after(task: Task, events: impl IntoIterator<Item = Event>) -> Task {
    events.into_iter().zip(1..).fold(task, |t, (e, s)| t.apply(e, at(s)).unwrap().task)
}

fn reason(task: &Task) -> (ResultCode, String) {
    let result = task.result().unwrap();
    (result.code, result.error.as_ref().map(|e| e.code.clone()).unwrap_or_default())
}

fn message(task: &Task) -> &str {
    &task.result().unwrap().error.as_ref().unwrap().message
}

#[test]
fn a_task_runs_from_wish_to_result() {
    let t = after(task(Rules::default()), [claim(1), Event::Start { lease: lease(1) }, done(1)]);
    assert_eq!(t.state(), State::Completed);
    assert_eq!(t.executor().unwrap().id, "agent 1");
    assert_eq!(t.assigned_at(), Some(at(1).now));
    assert_eq!(t.started_at(), Some(at(2).now));
    assert_eq!(t.completed_at(), Some(at(3).now));
    assert_eq!(t.status.updated_at, at(3).now);
}

#[test]
fn a_task_completed_without_acknowledgement_has_started_then() {
    let t = after(task(Rules::default()), [claim(1), done(1)]);
    assert_eq!(t.started_at(), Some(at(2).now));
}

#[test]
fn the_root_activity_opens_on_the_first_start_or_at_the_end() {
    let t = after(task(Rules::default()), [claim(1)]);
    assert_eq!(t.apply(Event::Start { lease: lease(1) }, at(2)).unwrap().effects, [Effect::OpenRoot]);
    for (why, ends) in [(NotRun::Skipped, ResultCode::Cancelled), (NotRun::Missed, ResultCode::TimedOut)] {
        let skip = Event::Skip { why, reason: "busy".into(), context: serde_json::Value::Null };
        let skipped = task(Rules::default()).apply(skip, at(1)).unwrap();
        assert!(skipped.effects.contains(&Effect::OpenRoot));
        assert_eq!(reason(&skipped.task), (ends, why.name().into()));
    }
}

#[test]
fn a_report_under_an_old_lease_is_refused_whatever_it_says() {
    let rules = Rules { max_assign_count: 2, ..Rules::default() };
    let t = after(task(rules), [claim(1), Event::Abandon { lease: lease(1), reason: "restart".into() }]);
    assert_eq!(t.apply(done(1), at(9)).unwrap_err().code, Code::LeaseLost, "nobody has it");
    let t = after(t, [claim(2), Event::Start { lease: lease(2) }]);
    for stale in [
        done(1),
        Event::Start { lease: lease(1) },
        Event::Heartbeat { lease: lease(1) },
        Event::Report { lease: lease(1), progress: Progress::default() },
        Event::Pause { lease: lease(1), blockers: vec![] },
        Event::Abandon { lease: lease(1), reason: String::new() },
    ] {
        assert_eq!(t.apply(stale, at(9)).unwrap_err().code, Code::LeaseLost);
    }
}

#[test]
fn the_same_completion_again_succeeds_and_another_does_not() {
    let t = after(task(Rules::default()), [claim(1), done(1)]);
    let again = t.apply(done(1), at(5)).unwrap();
    assert!(!again.changed && again.task == t);
    let other = Event::Complete { lease: lease(1), outcome: Outcome::of(OutcomeCode::Error), progress: None };
    assert_eq!(t.apply(other, at(5)).unwrap_err().code, Code::AlreadyCompleted);
}

#[test]
fn a_heartbeat_moves_the_deadline_and_nothing_that_is_seen() {
    let rules = Rules { heartbeat_interval: Some(S * 10), ..Rules::default() };
    let t = after(task(rules), [claim(1), Event::Start { lease: lease(1) }]);
    let beat = t.apply(Event::Heartbeat { lease: lease(1) }, at(20)).unwrap();
    assert!(!beat.changed);
    assert_eq!(beat.task.status.updated_at, t.status.updated_at);
    assert_eq!(beat.task.next_deadline(at(0).up_since), Some(at(50).now), "three intervals after the report");
    assert_eq!(beat.task.expired(at(49)), None);
    assert_eq!(beat.task.expired(at(50)), Some(Timer::Heartbeat));
}

#[test]
fn a_lost_executor_means_another_attempt_then_abandonment() {
    let rules = Rules { max_assign_count: 2, heartbeat_interval: Some(S), ..Rules::default() };
    let t = after(task(rules), [claim(1), Event::Start { lease: lease(1) }]);
    let back = t.settle(at(10)).unwrap();
    assert_eq!(back.task.state(), State::Enqueued);
    assert_eq!((back.task.executor(), back.task.assigned_at(), back.task.started_at()), (None, None, None));
    assert_eq!(back.task.status.enqueued_at, at(10).now);
    assert_eq!(back.task.status.assign_count, 1);
    assert_eq!(back.effects, [Effect::LeaseVoid(lease(1)), Effect::ReturnActivities { sustainable: false }]);

    let t = back.task.apply(claim(2), at(11)).unwrap().task;
    let end = t.settle(at(17)).unwrap().task;
    assert_eq!(reason(&end), (ResultCode::Abandoned, "ackTimeout".into()));
    assert_eq!(end.executor().unwrap().id, "agent 2");
}

#[test]
fn an_abandoned_task_that_was_to_be_cancelled_is_cancelled() {
    let rules = Rules { cancellable: true, heartbeat_interval: Some(S), max_assign_count: 9, ..Rules::default() };
    let t = after(task(rules), [claim(1), Event::Start { lease: lease(1) }, Event::Cancel { by: "operator".into() }]);
    assert!(t.status.cancel_requested);
    let lost = t.settle(at(60)).unwrap().task;
    assert_eq!(reason(&lost), (ResultCode::Cancelled, "cancelRequested".into()));
    assert_eq!(message(&lost), "Cancelled by operator. Executor 'agent 1' stopped reporting.");
}

#[test]
fn who_wanted_a_running_task_cancelled_is_told_when_it_has_stopped() {
    let rules = Rules { cancellable: true, heartbeat_interval: Some(S * 10), ..Rules::default() };
    let wish = |by: &str| Event::Cancel { by: by.into() };
    let asked = after(task(rules), [claim(1), Event::Start { lease: lease(1) }, wish("Jo"), wish("Al")]);
    assert_eq!(asked.status.cancelled_by.as_deref(), Some("Jo"), "the first one");
    let report = |error: Option<&str>| {
        let error = error.map(|message| TaskError { message: message.into(), ..TaskError::default() });
        let outcome = Outcome { error, ..Outcome::of(OutcomeCode::Cancelled) };
        Event::Complete { lease: lease(1), outcome, progress: None }
    };
    let stopped = asked.apply(report(None), at(5)).unwrap().task;
    assert_eq!(reason(&stopped), (ResultCode::Cancelled, "cancelRequested".into()));
    assert_eq!(message(&stopped), "Cancelled by Jo while it ran.");
    assert!(!stopped.apply(report(None), at(6)).unwrap().changed, "the same report again");
    // What the executor says itself stays as it said it.
    let told = asked.apply(report(Some("Stopped at the third file.")), at(5)).unwrap().task;
    assert_eq!(message(&told), "Stopped at the third file.");
    // One that stops without having been asked to.
    let rules = Rules { heartbeat_interval: Some(S * 10), ..Rules::default() };
    let running = after(task(rules), [claim(1), Event::Start { lease: lease(1) }]);
    assert_eq!(running.apply(report(None), at(5)).unwrap().task.result().unwrap().error, None);
}

#[test]
fn a_sustainable_task_given_back_uses_no_attempt_but_a_silent_executor_does() {
    let rules = Rules { sustainable: true, heartbeat_interval: Some(S), ..Rules::default() };
    let t = after(task(rules), [claim(1), Event::Start { lease: lease(1) }]);
    let back = t.apply(Event::Abandon { lease: lease(1), reason: "reboot".into() }, at(3)).unwrap();
    assert_eq!((back.task.state(), back.task.status.assign_count), (State::Enqueued, 0));
    assert!(back.effects.contains(&Effect::ReturnActivities { sustainable: true }));
    assert_eq!(t.settle(at(60)).unwrap().task.state(), State::Completed, "its only attempt is used");
}

#[test]
fn cancelling_ends_a_waiting_task_and_asks_a_running_one() {
    let waiting = task(Rules::default()).apply(Event::Cancel { by: "operator".into() }, at(1)).unwrap().task;
    assert_eq!(reason(&waiting), (ResultCode::Cancelled, "cancelRequested".into()));

    let fixed = after(task(Rules::default()), [claim(1)]);
    assert_eq!(fixed.apply(Event::Cancel { by: "operator".into() }, at(2)).unwrap_err().code, Code::NotCancellable);

    let rules = Rules { cancellable: true, heartbeat_interval: Some(S * 10), ..Rules::default() };
    let given = after(task(rules.clone()), [claim(1)]);
    let ended = given.apply(Event::Cancel { by: "operator".into() }, at(2)).unwrap();
    assert_eq!(reason(&ended.task), (ResultCode::Cancelled, "cancelRequested".into()));
    assert!(ended.effects.contains(&Effect::LeaseVoid(lease(1))), "it has not begun, and must not");

    let running = after(task(rules), [claim(1), Event::Start { lease: lease(1) }]);
    let asked = running.apply(Event::Cancel { by: "operator".into() }, at(3)).unwrap();
    assert_eq!(asked.effects, [Effect::StopRequested(lease(1))]);
    assert!(!asked.task.apply(Event::Cancel { by: "somebody else".into() }, at(4)).unwrap().changed, "once is enough");
    let late = asked.task.apply(done(1), at(5)).unwrap().task;
    assert_eq!(reason(&late).0, ResultCode::Ok, "what really happened counts");
}

#[test]
fn timers_end_a_task_with_the_reason() {
    let queue = task(Rules { queue_timeout: Some(S * 5), ..Rules::default() });
    assert_eq!(queue.expired(at(4)), None);
    assert_eq!(reason(&queue.settle(at(5)).unwrap().task), (ResultCode::TimedOut, "queueTimeout".into()));

    let exec = Rules { exec_timeout: Some(S * 5), max_assign_count: 9, ..Rules::default() };
    let exec = after(
        task(exec),
        [claim(1), Event::Start { lease: lease(1) }, Event::Pause { lease: lease(1), blockers: vec![] }],
    );
    let end = exec.settle(at(7)).unwrap();
    assert_eq!(
        reason(&end.task),
        (ResultCode::TimedOut, "execTimeout".into()),
        "pauses count, and it is not tried again"
    );
    assert!(end.effects.contains(&Effect::LeaseVoid(lease(1))));

    let life = after(task(Rules { life_time: Some(S * 9), ..Rules::default() }), [claim(1)]);
    assert_eq!(life.expired(at(8)), Some(Timer::Ack), "the one that ran out first");
    let early = life.apply(Event::Expire { timer: Timer::Life }, at(8));
    assert_eq!(early.unwrap_err().code, Code::StateConflict);
}

#[test]
fn a_restart_of_the_server_gives_executors_time_to_report() {
    let rules = Rules { heartbeat_interval: Some(S * 10), ..Rules::default() };
    let t = after(task(rules), [claim(1), Event::Start { lease: lease(1) }]);
    let restarted = |now: i64| Moment { now: at(now).now, up_since: at(500).now };
    assert_eq!(t.expired(restarted(510)), None);
    assert_eq!(t.expired(restarted(530)), Some(Timer::Heartbeat));
}

#[test]
fn blockers_are_answered_once_and_stay_listed() {
    let message = |key: &str| Message { key: key.into(), context: serde_json::Value::Null };
    let blocker = Blocker {
        id: Uuid::from_u128(1),
        activity: None,
        issue: message("tape"),
        possible_solutions: vec![message("inserted"), message("skip")],
        solution: None,
    };
    let pause = Event::Pause { lease: lease(1), blockers: vec![blocker.clone()] };
    let t = after(task(Rules::default()), [claim(1), Event::Start { lease: lease(1) }, pause]);
    assert_eq!(t.state(), State::Paused);
    let solve = |key: &str| Event::Solve { blocker: blocker.id, solution: message(key) };
    assert_eq!(t.apply(solve("burn"), at(5)).unwrap_err().code, Code::InvalidField);
    let t = t.apply(solve("inserted"), at(5)).unwrap().task;
    assert!(!t.apply(solve("inserted"), at(6)).unwrap().changed);
    assert_eq!(t.apply(solve("skip"), at(6)).unwrap_err().code, Code::StateConflict);
    let t = t.apply(Event::Resume { lease: lease(1) }, at(7)).unwrap().task;
    assert_eq!(t.status.blockers[0].solution, Some(message("inserted")));
}

#[test]
fn wishes_that_make_no_sense_are_refused_by_field() {
    let spec = TaskSpec::new(Uuid::nil(), "backup", "agents", Uuid::nil());
    let field = |change: fn(&mut TaskSpec)| {
        let mut spec = spec.clone();
        change(&mut spec);
        spec.validate().unwrap_err().field.unwrap()
    };
    assert_eq!(field(|s| s.kind = "".into()), "type");
    assert_eq!(field(|s| s.queue = "q".repeat(65).into()), "queue");
    assert_eq!(field(|s| s.tags = vec!["t".into(); 33]), "tags");
    assert_eq!(field(|s| s.rules.cancellable = true), "cancellable");
    assert_eq!(field(|s| s.rules.max_assign_count = 0), "max_assign_count");
    assert_eq!(field(|s| s.rules.ack_timeout = SignedDuration::ZERO), "ack_timeout");
    assert_eq!(field(|s| s.context = serde_json::json!("x".repeat(300_000)).into()), "context");
}

/// Every state with every event: what it leads to stands in docs/concepts/states.md; here only what must never change.
#[test]
fn the_table_keeps_its_promises() {
    for row in transition_table() {
        if row.from == State::Completed {
            let harmless = [EventKind::Complete, EventKind::Delete];
            assert!(row.to.is_empty() || harmless.contains(&row.event), "{row:?}: completed is final");
            assert!(row.to.iter().all(|s| *s == State::Completed));
        }
        if row.event == EventKind::Claim {
            assert_eq!(!row.to.is_empty(), row.from == State::Enqueued, "{row:?}: only a waiting task can be taken");
        }
        assert!(!row.to.is_empty() || !row.refused.is_empty(), "{row:?}: every cell says something");
    }
}
