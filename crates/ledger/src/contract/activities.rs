//! Activities: one root that shows its task, and steps that live and end with it.

use domain::activity::{ActivityEvent, ActivityRef, ActivitySpec, Body};
use domain::task::{Event, Outcome, OutcomeCode, Progress, ResultCode, State, TaskRef};
use domain::{Code, Result};
use serde_json::json;

use super::world::{World, everything, refusal, seconds};
use crate::Write;

pub(super) async fn one_root_for_ever(w: &mut World) -> Result<()> {
    let mut spec = w.spec("backup");
    spec.rules.max_assign_count = 3;
    spec.tags = vec!["night".into()];
    let task = w.create(spec).await?;
    assert!(w.steps(task.id).await?.is_empty(), "nobody has begun");
    for _ in 0..2 {
        let (task, lease) = w.start("a1").await?;
        w.event(task.id, Event::Abandon { lease, reason: "tired".into() }).await?;
    }
    let (task, lease) = w.start("a1").await?;
    let done = w.complete(task.id, &lease).await?;
    let steps = w.steps(task.id).await?;
    assert_eq!(steps.len(), 1);
    let root = &steps[0];
    assert_eq!((&root.activity.body, &root.task), (&Body::Root, &done));
    assert_eq!((root.kind(), root.state(), root.tags()), ("backup", State::Completed, &*done.spec.tags));
    let by_uuid = w.ledger.activity(&everything(), ActivityRef::Uuid(root.activity.uuid)).await?;
    assert_eq!(by_uuid, *root);
    let event = ActivityEvent::Pause;
    let write = Write::Activity { activity: ActivityRef::Id(root.activity.id), lease, event };
    assert_eq!(refusal(w.commit(vec![write]).await), Code::AlreadyCompleted);

    let never_begun = w.plain().await?;
    w.event(never_begun.id, Event::Cancel { by: "Jo".into() }).await?;
    assert_eq!(w.steps(never_begun.id).await?.len(), 1, "whatever is over has one, too");
    Ok(())
}

pub(super) async fn reports_on_steps(w: &mut World) -> Result<()> {
    w.plain().await?;
    let (task, lease) = w.start("a1").await?;
    let root = w.steps(task.id).await?.remove(0);
    let mut spec = ActivitySpec::new(w.id(), "read");
    spec.tags = vec!["x".into(), "y".into()];
    spec.context = json!({"path": "/home"}).into();
    let step = w.step(task.id, &lease, spec.clone()).await?;
    assert_eq!((step.state(), step.parent()), (State::Started, Some(root.activity.id)));
    let again = w.step(task.id, &lease, spec.clone()).await?;
    assert_eq!(again.activity, step.activity, "the same report again");
    let child = ActivitySpec { uuid: w.id(), parent: Some(step.activity.id), ..spec };
    let child = w.step(task.id, &lease, child).await?;
    assert_eq!(child.parent(), Some(step.activity.id));

    w.pass(seconds(1));
    let progress = Progress { current: 5, speed: Some(1.5), ..Default::default() };
    w.report(&step, &lease, ActivityEvent::Report(progress.clone())).await?;
    let paused = w.report(&step, &lease, ActivityEvent::Pause).await?;
    assert_eq!((paused.state(), paused.progress()), (State::Paused, Some(&progress)));
    w.report(&step, &lease, ActivityEvent::Resume).await?;
    let outcome = Outcome { payload: json!([1]), ..Outcome::of(OutcomeCode::Warning) };
    let done = w.report(&step, &lease, ActivityEvent::Complete(outcome.clone(), None)).await?;
    assert_eq!(done.result().map(|r| r.code), Some(ResultCode::Warning));
    let stored = w.ledger.activity(&everything(), ActivityRef::Id(step.activity.id)).await?;
    assert_eq!(stored, done);
    assert_eq!(w.report(&step, &lease, ActivityEvent::Complete(outcome, None)).await?.activity, done.activity);
    assert_eq!(refusal(w.report(&step, &lease, ActivityEvent::Pause).await), Code::AlreadyCompleted);
    assert_eq!(refusal(w.report(&root, &lease, ActivityEvent::Pause).await), Code::Forbidden);
    Ok(())
}

pub(super) async fn steps_end_with_their_task(w: &mut World) -> Result<()> {
    w.plain().await?;
    let (task, lease) = w.start("a1").await?;
    let spec = ActivitySpec::new(w.id(), "read");
    let step = w.step(task.id, &lease, spec).await?;
    w.complete(task.id, &lease).await?;
    let step = w.ledger.activity(&everything(), ActivityRef::Id(step.activity.id)).await?;
    assert_eq!(step.result().map(|r| r.code), Some(ResultCode::Abandoned));
    assert_eq!(refusal(w.report(&step, &lease, ActivityEvent::Resume).await), Code::AlreadyCompleted);
    Ok(())
}

pub(super) async fn steps_of_a_task_that_returns(w: &mut World) -> Result<()> {
    let mut spec = w.spec("backup");
    spec.rules.sustainable = true;
    w.create(spec).await?;
    let (task, lease) = w.start("a1").await?;
    let (lasting, passing) = (ActivitySpec::new(w.id(), "upload"), ActivitySpec::new(w.id(), "scan"));
    let lasting = w.step(task.id, &lease, ActivitySpec { sustainable: true, ..lasting }).await?;
    let passing = w.step(task.id, &lease, passing).await?;
    let back = w.event(task.id, Event::Abandon { lease, reason: "moving".into() }).await?;
    assert_eq!((back.state(), back.status.assign_count), (State::Enqueued, 0), "given back, so no attempt was used");

    let lasting = w.ledger.activity(&everything(), ActivityRef::Id(lasting.activity.id)).await?;
    let passing = w.ledger.activity(&everything(), ActivityRef::Id(passing.activity.id)).await?;
    assert_eq!(lasting.state(), State::Enqueued);
    assert_eq!(passing.result().map(|r| r.code), Some(ResultCode::Abandoned));
    let (_, lease) = w.start("a2").await?;
    let begun = w.report(&lasting, &lease, ActivityEvent::Start).await?;
    assert_eq!(begun.executor().map(|e| e.id.as_str()), Some("a2"));
    Ok(())
}

pub(super) async fn steps_are_fenced(w: &mut World) -> Result<()> {
    let mut spec = w.spec("backup");
    spec.rules.max_assign_count = 2;
    w.create(spec).await?;
    let (task, assigned) = w.hand_out("a1").await?;
    let step = ActivitySpec::new(w.id(), "read");
    assert_eq!(refusal(w.step(task.id, &assigned, step.clone()).await), Code::StateConflict, "not begun yet");
    w.event(task.id, Event::Start { lease: assigned.clone() }).await?;
    let view = w.step(task.id, &assigned, step.clone()).await?;
    let wrong = w.lease();
    assert_eq!(refusal(w.report(&view, &wrong, ActivityEvent::Pause).await), Code::LeaseLost);
    let new = ActivitySpec::new(w.id(), "read");
    assert_eq!(refusal(w.step(task.id, &wrong, new.clone()).await), Code::LeaseLost);

    w.plain().await?;
    let (second, lease) = w.start("a1").await?;
    let below = ActivitySpec { parent: Some(view.activity.id), ..new };
    assert_eq!(refusal(w.step(second.id, &lease, below).await), Code::NotFound, "a parent of another task");
    assert_eq!(refusal(w.step(second.id, &lease, step).await), Code::AlreadyExists, "a uuid of another task");
    let missing = Write::CreateActivity {
        task: TaskRef::Uuid(w.id()),
        lease,
        spec: Box::new(ActivitySpec::new(w.id(), "read")),
        start: false,
    };
    assert_eq!(refusal(w.commit(vec![missing]).await), Code::NotFound);
    Ok(())
}

pub(super) async fn steps_are_deleted_with_their_task(w: &mut World) -> Result<()> {
    w.plain().await?;
    let (task, lease) = w.start("a1").await?;
    let spec = ActivitySpec::new(w.id(), "read");
    w.step(task.id, &lease, spec).await?;
    w.complete(task.id, &lease).await?;
    let before = w.steps(task.id).await?;
    let deleted = w.event(task.id, Event::Delete).await?;
    let after = w.steps(task.id).await?;
    assert_eq!((before.len(), after.len()), (2, 2));
    for (before, after) in before.iter().zip(&after) {
        assert!(after.updated_at() > before.updated_at(), "who mirrors activities learns of it, too");
        assert_eq!((after.task.status.deleted_at, after.state()), (deleted.status.deleted_at, before.state()));
    }
    let stamps: Vec<_> = after.iter().map(domain::activity::ActivityView::updated_at).collect();
    assert_ne!(stamps[0], stamps[1], "each change has a stamp of its own");
    Ok(())
}
