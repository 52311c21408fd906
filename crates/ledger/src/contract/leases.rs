//! Leases and timers: who lost a task can do nothing to it, and a deadline holds whether or not somebody looked.

use domain::task::{Effect, Event, ResultCode, Rules, State, TaskId, TaskRef};
use domain::{Code, Moment, Result, Timestamp};

use super::world::{World, everything, refusal, seconds};
use crate::{Write, Written};

pub(super) async fn an_old_lease_is_refused(w: &mut World) -> Result<()> {
    let mut spec = w.spec("backup");
    spec.rules.max_assign_count = 2;
    w.create(spec).await?;
    let (task, old) = w.hand_out("a1").await?;
    w.pass(seconds(6));
    let done = w.commit(vec![Write::Settle(task.id)]).await?;
    assert!(done.effects.contains(&(task.id, Effect::LeaseVoid(old.clone()))));
    assert_eq!(refusal(w.event(task.id, Event::Start { lease: old.clone() }).await), Code::LeaseLost);
    let (task, new) = w.start("a2").await?;
    assert_eq!(task.status.assign_count, 2);
    for event in [
        Event::Heartbeat { lease: old.clone() },
        Event::Start { lease: old.clone() },
        Event::Abandon { lease: old.clone(), reason: "late".into() },
    ] {
        assert_eq!(refusal(w.event(task.id, event).await), Code::LeaseLost);
    }
    assert_eq!(refusal(w.complete(task.id, &old).await), Code::LeaseLost);
    assert_eq!(w.task(task.id).await?, task);
    assert_eq!(w.complete(task.id, &new).await?.state(), State::Completed);
    Ok(())
}

pub(super) async fn a_report_after_the_deadline_meets_what_it_brought(w: &mut World) -> Result<()> {
    let task = w.plain().await?;
    let (_, lease) = w.hand_out("a1").await?;
    w.pass(seconds(6));
    let refused = w.event(task.id, Event::Start { lease: lease.clone() }).await;
    assert_eq!(refusal(refused), Code::AlreadyCompleted);
    assert_eq!(w.task(task.id).await?.state(), State::Assigned, "a refused commit leaves nothing behind");

    // An event that the state after the deadline admits carries the deadline's change with it.
    let done = w.commit(vec![Write::Task(TaskRef::Id(task.id), Event::Delete)]).await?;
    assert!(matches!(done.written[0], Written::Task { changed: true, .. }));
    let stored = w.task(task.id).await?;
    assert_eq!(stored.result().map(|r| r.code), Some(ResultCode::Abandoned));
    assert!(stored.status.deleted_at.is_some());
    Ok(())
}

pub(super) async fn every_timer_runs_out(w: &mut World) -> Result<()> {
    let rules = |change: fn(&mut Rules)| {
        let mut rules = Rules { ack_timeout: seconds(1000), ..Rules::default() };
        change(&mut rules);
        rules
    };
    let long = Some(seconds(1000));
    // What is done with the task, its rules, and when which result is due.
    let cases = [
        (0, rules(|r| r.queue_timeout = Some(seconds(50))), 50, ResultCode::TimedOut),
        (0, rules(|r| r.life_time = Some(seconds(50))), 50, ResultCode::TimedOut),
        (1, rules(|r| r.ack_timeout = seconds(50)), 50, ResultCode::Abandoned),
        (2, rules(|r| r.exec_timeout = Some(seconds(50))), 50, ResultCode::TimedOut),
        (2, rules(|r| r.heartbeat_interval = Some(seconds(50))), 150, ResultCode::Abandoned),
        (2, rules(|r| r.life_time = Some(seconds(50))), 50, ResultCode::TimedOut),
    ];
    for (steps, rules, after, code) in cases {
        let mut spec = w.spec("backup");
        spec.rules = Rules { queue_timeout: rules.queue_timeout.or(long), ..rules };
        let task = w.create(spec).await?;
        match steps {
            1 => drop(w.hand_out("a1").await?),
            2 => drop(w.start("a1").await?),
            _ => {}
        }
        let due = w.moment.now + seconds(after) + seconds(1);
        assert!(w.ledger.due(&everything(), due - seconds(2)).await?.is_empty(), "{code} is due too early");
        assert_eq!(w.ledger.due(&everything(), due).await?, vec![task.id]);
        let foreign = domain::Scope::subtree(&w.other.clone());
        assert!(w.ledger.due(&foreign, due).await?.is_empty());
        w.pass(seconds(after - 1));
        assert_ne!(w.settle(task.id).await?.state(), State::Completed, "nothing has run out yet");
        w.pass(seconds(2));
        let over = w.settle(task.id).await?;
        assert_eq!(over.result().map(|r| r.code), Some(code));
        assert!(w.ledger.due(&everything(), Timestamp::MAX).await?.is_empty());
        assert_eq!(w.settle(task.id).await?, over, "settling again changes nothing");
    }
    Ok(())
}

pub(super) async fn a_restart_gives_time(w: &mut World) -> Result<()> {
    let mut spec = w.spec("backup");
    spec.rules.heartbeat_interval = Some(seconds(10));
    w.create(spec).await?;
    let (task, lease) = w.start("a1").await?;
    w.pass(seconds(3600));
    w.moment = Moment { up_since: w.moment.now, ..w.moment };
    w.pass(seconds(5));
    assert_eq!(w.ledger.due(&everything(), w.moment.now).await?, vec![task.id], "it may have run out");
    assert_eq!(w.settle(task.id).await?.state(), State::Started, "but the server was down");
    w.event(task.id, Event::Heartbeat { lease }).await?;
    assert!(w.ledger.due(&everything(), w.moment.now).await?.is_empty());
    Ok(())
}

/// Stamps do not go back with the clock, and silence is noticed all the same.
pub(super) async fn a_lease_is_lost_in_time_by_a_clock_that_was_set_back(w: &mut World) -> Result<()> {
    let mut spec = w.spec("backup");
    spec.rules = Rules { heartbeat_interval: Some(seconds(10)), max_assign_count: 2, ..spec.rules };
    w.create(spec).await?;
    let (task, lease) = w.start("a1").await?;
    w.pass(seconds(-3600));
    w.moment = Moment { up_since: w.moment.now, ..w.moment };
    w.event(task.id, Event::Heartbeat { lease }).await?;
    w.pass(seconds(29));
    assert!(w.ledger.due(&everything(), w.moment.now).await?.is_empty());
    w.pass(seconds(2));
    assert_eq!(w.ledger.due(&everything(), w.moment.now).await?, vec![task.id]);
    assert_eq!(w.settle(task.id).await?.state(), State::Enqueued);
    // Nor does anything that is handed out now wait for the time to come once more.
    w.hand_out("a1").await?;
    w.pass(seconds(6));
    assert_eq!(w.ledger.due(&everything(), w.moment.now).await?, vec![task.id]);
    assert_eq!(w.settle(task.id).await?.result().map(|r| r.code), Some(ResultCode::Abandoned));
    Ok(())
}

pub(super) async fn a_heartbeat_is_no_change(w: &mut World) -> Result<()> {
    let mut spec = w.spec("backup");
    spec.rules.heartbeat_interval = Some(seconds(10));
    w.create(spec).await?;
    let (task, lease) = w.start("a1").await?;
    let before = w.ledger.changes(&everything(), crate::Rev(0), 100).await?;
    w.pass(seconds(20));
    let done = w.commit(vec![Write::Task(TaskRef::Id(task.id), Event::Heartbeat { lease })]).await?;
    assert!(matches!(&done.written[0], Written::Task { changed: false, .. }));
    let after = w.task(task.id).await?;
    assert_eq!(after.status.updated_at, task.status.updated_at);
    assert_eq!(after.status.phase.assignment().map(|a| a.last_report_at), Some(w.moment.now));
    assert!(w.ledger.due(&everything(), w.moment.now + seconds(29)).await?.is_empty(), "its deadline moved");
    let changes = w.ledger.changes(&everything(), before.until, 100).await?;
    assert!(changes.tasks.is_empty(), "the feed does not show it");
    Ok(())
}

pub(super) async fn completing_twice_is_once(w: &mut World) -> Result<()> {
    w.plain().await?;
    let (task, lease) = w.start("a1").await?;
    let done = w.complete(task.id, &lease).await?;
    w.pass(seconds(5));
    assert_eq!(w.complete(task.id, &lease).await?, done, "its answer was lost");
    assert_eq!(w.task(TaskId(1)).await?, done);
    let other = w.lease();
    assert_eq!(refusal(w.complete(task.id, &other).await), Code::AlreadyCompleted);
    Ok(())
}
