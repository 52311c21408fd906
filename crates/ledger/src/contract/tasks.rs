//! Tasks: made once, changed only by what happens to them, and gone only after they were deleted.

use domain::query::Page;
use domain::task::{
    Affinity, Blocker, Bottleneck, Effect, Entity, Event, Issuer, Message, Named, Outcome, OutcomeCode, Priority,
    Progress, ResultCode, Rules, State, TaskError, TaskId, TaskRef, TaskResult,
};
use domain::{Code, Result, SignedDuration};
use serde_json::json;

use super::world::{World, all, everything, refusal, seconds};
use crate::{Write, Written};

pub(super) async fn creating_again_gives_the_task_that_exists(w: &mut World) -> Result<()> {
    let spec = w.spec("backup");
    let first = w.commit(vec![Write::CreateTask(Box::new(spec.clone()))]).await?;
    w.pass(seconds(5));
    let again = w.commit(vec![Write::CreateTask(Box::new(spec.clone()))]).await?;
    assert_eq!(again.task(), first.task());
    assert!(matches!(again.written[0], Written::Task { changed: false, .. }));
    assert_eq!(again.rev, first.rev, "nothing was written");

    let mut different = spec.clone();
    different.priority = Priority::High;
    assert_eq!(refusal(w.create(different).await), Code::AlreadyExists);
    let mut wrong = w.spec("");
    wrong.tags = vec!["x".into()];
    assert_eq!(refusal(w.create(wrong).await), Code::InvalidField);
    let mut homeless = w.spec("backup");
    homeless.tenant = w.id();
    assert_eq!(refusal(w.create(homeless).await), Code::NotFound);
    assert_eq!(w.ledger.tasks(&everything(), &all()).await?.total, Some(1));
    Ok(())
}

pub(super) async fn a_wish_is_kept_to_the_last_field(w: &mut World) -> Result<()> {
    let mut spec = w.spec("Sicherung Ä");
    spec.seeding = true;
    spec.priority = Priority::AboveNormal;
    spec.argument = json!({"deep": [[[{"n": 0.1, "u": u64::MAX, "e": 1e-300, "f": 1.0, "t": "\u{0}é\"\\"}]]]}).into();
    spec.context = json!("only text").into();
    spec.tags = vec!["a".into(), "B c".into(), "\u{0}\n\"'".into()];
    spec.workflow_id = Some(i64::MIN);
    spec.issuer = Issuer { id: "client".into(), cluster_id: "group".into() };
    spec.started_by = Some("Jo O'Neill".into());
    spec.policy = Some(Named { id: "p".into(), kind: "plan".into(), name: "Daily".into() });
    spec.resource = Some(Named { id: "r".into(), kind: "".into(), name: "".into() });
    spec.parent_entity = Some(Entity { id: "".into(), kind: "".into(), value: "".into() });
    spec.affinity = Affinity { agent: Some("a1".into()), cluster: None };
    spec.rules = Rules {
        cancellable: true,
        sustainable: true,
        max_assign_count: 7,
        heartbeat_interval: Some(SignedDuration::from_nanos(1_500_000_001)),
        ack_timeout: SignedDuration::MAX,
        queue_timeout: Some(SignedDuration::from_hours(24 * 365)),
        exec_timeout: Some(SignedDuration::from_millis(90_061_001)),
        life_time: Some(SignedDuration::new(1, 1)),
    };
    let made = w.create(spec.clone()).await?;
    assert_eq!(*made.spec, spec);
    assert_eq!(w.task(made.id).await?, made);
    assert_eq!(w.ledger.task(&everything(), TaskRef::Uuid(spec.uuid)).await?, made);
    assert_eq!(w.create(spec).await?, made, "what is read back is equal to the wish");
    Ok(())
}

pub(super) async fn all_writes_or_none(w: &mut World) -> Result<()> {
    let existing = w.plain().await?;
    let before = w.dump().await;
    let (spec, other) = (w.spec("backup"), w.spec("backup"));
    let writes = vec![
        Write::CreateTask(Box::new(spec)),
        Write::Task(TaskRef::Id(existing.id), Event::Cancel { by: "Jo".into() }),
        Write::Claim(w.claim("a1", 5)),
        Write::CreateTask(Box::new(other)),
        Write::Task(TaskRef::Id(TaskId(999)), Event::Delete),
    ];
    assert_eq!(refusal(w.commit(writes).await), Code::NotFound);
    assert_eq!(w.dump().await, before);
    Ok(())
}

pub(super) async fn numbers_are_dense_and_never_used_again(w: &mut World) -> Result<()> {
    let first = w.plain().await?;
    let mut wrong = w.spec("backup");
    wrong.rules.max_assign_count = 0;
    refusal(w.create(wrong).await);
    let second = w.plain().await?;
    assert_eq!((first.id, second.id), (TaskId(1), TaskId(2)));
    w.event(second.id, Event::Cancel { by: "Jo".into() }).await?;
    w.event(second.id, Event::Delete).await?;
    w.pass(seconds(1));
    w.commit(vec![Write::Purge(w.moment.now)]).await?;
    assert_eq!(w.plain().await?.id, TaskId(3), "a purged number stays gone");
    Ok(())
}

pub(super) async fn stamps_only_grow(w: &mut World) -> Result<()> {
    let mut stamps = Vec::new();
    for shift in [0, 0, -3600, 1, -7200] {
        w.pass(seconds(shift));
        let (a, b) = (w.spec("backup"), w.spec("backup"));
        let done = w.commit(vec![Write::CreateTask(Box::new(a)), Write::CreateTask(Box::new(b))]).await?;
        for written in done.written {
            let Written::Task { task, .. } = written else { panic!("a task was made") };
            stamps.push(task.status.updated_at);
        }
    }
    for pair in stamps.windows(2) {
        assert!(pair[0] < pair[1], "{stamps:?}");
    }
    Ok(())
}

pub(super) async fn a_task_in_its_executors_hands(w: &mut World) -> Result<()> {
    let mut spec = w.spec("backup");
    spec.rules.heartbeat_interval = Some(seconds(30));
    w.create(spec).await?;
    let (task, lease) = w.hand_out("a1").await?;
    assert_eq!((task.state(), task.status.assign_count), (State::Assigned, 1));
    assert_eq!(w.task(task.id).await?, task);

    let begun = w.event(task.id, Event::Start { lease: lease.clone() }).await?;
    assert_eq!(begun.state(), State::Started);
    let progress = Progress {
        current: 3,
        total: 100,
        bytes_processed: 1 << 40,
        speed: Some(0.1),
        left: Some(SignedDuration::new(61, 5)),
        bottleneck: Some(Bottleneck { source: 50, destination: 30, processing: 20 }),
        ..Default::default()
    };
    w.event(task.id, Event::Report { lease: lease.clone(), progress: progress.clone() }).await?;
    let blocker = Blocker {
        id: w.id(),
        activity: Some(1),
        issue: Message { key: "full".into(), context: json!({"disk": "/"}) },
        possible_solutions: vec![Message { key: "retry".into(), context: json!(null) }],
        solution: None,
    };
    let paused = w.event(task.id, Event::Pause { lease: lease.clone(), blockers: vec![blocker.clone()] }).await?;
    assert_eq!((paused.state(), w.task(task.id).await?), (State::Paused, paused.clone()));
    let solution = Message { key: "retry".into(), context: json!(null) };
    w.event(task.id, Event::Solve { blocker: blocker.id, solution: solution.clone() }).await?;
    w.event(task.id, Event::Resume { lease: lease.clone() }).await?;

    let error = |code: &str, cause| TaskError {
        domain: "Agent".into(),
        code: code.into(),
        message: "It failed.".into(),
        context: json!({"path": "/x"}),
        cause,
        extra: json!({"debug": {"msg": "x"}}).as_object().cloned().unwrap_or_default(),
    };
    let outcome = Outcome {
        code: OutcomeCode::Error,
        error: Some(error("read", Some(Box::new(error("io", None))))),
        warnings: vec![error("skipped", None)],
        payload: json!({"files": 3}),
    };
    let event = Event::Complete { lease: lease.clone(), outcome: outcome.clone(), progress: None };
    let done = w.event(task.id, event).await?;
    let stored = w.task(task.id).await?;
    assert_eq!(stored, done);
    assert_eq!(stored.result(), Some(&TaskResult { code: ResultCode::Error, ..outcome.into_result() }));
    assert_eq!(stored.status.progress, Some(progress));
    assert_eq!(stored.status.blockers, vec![Blocker { solution: Some(solution), ..blocker }]);
    assert_eq!(stored.executor().map(|e| e.id.as_str()), Some("a1"));
    Ok(())
}

pub(super) async fn cancelling(w: &mut World) -> Result<()> {
    let waiting = w.plain().await?;
    let gone = w.event(waiting.id, Event::Cancel { by: "Jo".into() }).await?;
    assert_eq!((gone.state(), gone.result().map(|r| r.code)), (State::Completed, Some(ResultCode::Cancelled)));

    w.plain().await?;
    let (rigid, _) = w.start("a1").await?;
    assert_eq!(refusal(w.event(rigid.id, Event::Cancel { by: "Jo".into() }).await), Code::NotCancellable);

    let mut spec = w.spec("backup");
    spec.rules.cancellable = true;
    spec.rules.heartbeat_interval = Some(seconds(30));
    w.create(spec).await?;
    let (task, lease) = w.start("a1").await?;
    let wish = Event::Cancel { by: "Jo".into() };
    let done = w.commit(vec![Write::Task(TaskRef::Id(task.id), wish)]).await?;
    assert_eq!(done.effects, vec![(task.id, Effect::StopRequested(lease.clone()))]);
    let stored = w.task(task.id).await?;
    assert!(stored.status.cancel_requested && stored.state() == State::Started);
    assert_eq!(stored.status.cancelled_by.as_deref(), Some("Jo"));
    let outcome = Outcome::of(OutcomeCode::Cancelled);
    let stopped = w.event(task.id, Event::Complete { lease, outcome, progress: None }).await?;
    assert_eq!(stopped.result().map(|r| r.code), Some(ResultCode::Cancelled));
    let stored = w.task(task.id).await?;
    let message = stored.result().and_then(|r| r.error.as_ref()).map(|e| e.message.as_str());
    assert_eq!(message, Some("Cancelled by Jo while it ran."));
    Ok(())
}

pub(super) async fn deleting_and_purging(w: &mut World) -> Result<()> {
    let (old, young, kept) = (w.plain().await?, w.plain().await?, w.plain().await?);
    assert_eq!(refusal(w.event(old.id, Event::Delete).await), Code::StateConflict);
    for task in [&old, &young, &kept] {
        w.event(task.id, Event::Cancel { by: "Jo".into() }).await?;
    }
    w.event(old.id, Event::Delete).await?;
    w.pass(seconds(60));
    let limit = w.moment.now;
    let hidden = w.event(young.id, Event::Delete).await?;
    assert!(hidden.status.deleted_at >= Some(limit));

    let foreign = domain::Scope::subtree(&w.other.clone());
    let nothing = w.ledger.commit(&foreign, w.moment, vec![Write::Purge(limit)]).await?;
    assert_eq!(nothing.written, vec![Written::Removed(0)]);
    let done = w.commit(vec![Write::Purge(limit)]).await?;
    assert_eq!(done.written, vec![Written::Removed(1)]);
    assert_eq!(refusal(w.task(old.id).await), Code::NotFound);
    assert!(w.steps(old.id).await?.is_empty(), "its activities are gone with it");
    assert_eq!(w.task(young.id).await?, hidden);
    let mut query = all();
    query.page = Page::Number { number: 1, size: 10 };
    assert_eq!(w.ledger.tasks(&everything(), &query).await?.total, Some(2));
    Ok(())
}
