//! Progress over a ledger in memory, with a clock that is moved by hand. A commit is a revision, so revisions tell how
//! often something was written.

use domain::activity::ActivitySpec;
use domain::task::{Executor, Rules, State, TaskSpec};
use domain::tenant::Tenant;
use domain::{Caller, Code, Uuid};
use ledger::{Claim, Expect, Ledger, MemoryLedger};

use super::*;
use crate::secrets::Sealer;

struct World {
    service: Service,
    ledger: Arc<MemoryLedger>,
    moment: Moment,
    task: TaskId,
    lease: LeaseToken,
}

impl World {
    /// A task that somebody has begun.
    async fn new(rules: Rules) -> World {
        let ledger = Arc::new(MemoryLedger::new());
        let service = Service::new(ledger.clone(), Sealer::new(&[7; 32]).expect("32 bytes"));
        let moment = service.moment();
        let spec = TaskSpec { rules, ..TaskSpec::new(Uuid::from_u128(1), "work", "q", Uuid::nil()) };
        let lease = LeaseToken("lease".into());
        let claim = Claim {
            queues: vec!["q".into()],
            types: Vec::new(),
            executor: Executor { id: "w".into(), ..Executor::default() },
            leases: vec![lease.clone()],
        };
        let writes = vec![
            Write::Put(Box::new(Tenant::root("root", "UTC", moment.now).into()), Expect::New),
            Write::CreateTask(Box::new(spec)),
            Write::Claim(claim),
        ];
        let done = ledger.commit(&Scope::everything(), moment, writes).await.expect("a new task");
        let task = done.task().expect("the task").id;
        let world = World { service, ledger, moment, task, lease };
        world.say(Event::Start { lease: world.lease.clone() }).await.expect("it begins");
        world
    }

    async fn plain() -> World {
        let rules = Rules { cancellable: true, heartbeat_interval: Some(seconds(60)), ..Rules::default() };
        World::new(Rules { max_assign_count: 2, ..rules }).await
    }

    fn pass(&mut self, milliseconds: i64) {
        self.moment.now += SignedDuration::from_millis(milliseconds);
    }

    async fn hear(&self, write: Write) -> Result<Committed> {
        self.service.hear(&Scope::everything(), self.moment, vec![write]).await
    }

    async fn say(&self, event: Event) -> Result<Task> {
        let done = self.hear(Write::Task(TaskRef::Id(self.task), event)).await?;
        assert_eq!(done.written.len(), 1, "one answer to one word");
        Ok(done.task().expect("it was about the task").clone())
    }

    async fn report(&self, current: i64) -> Task {
        let event = Event::Report { lease: self.lease.clone(), progress: progress(current) };
        self.say(event).await.expect("progress")
    }

    async fn beat(&self) -> Result<Task> {
        self.say(Event::Heartbeat { lease: self.lease.clone() }).await
    }

    async fn step(&self) -> ActivityView {
        let spec = Box::new(ActivitySpec::new(Uuid::from_u128(2), "read"));
        let (task, lease) = (TaskRef::Id(self.task), self.lease.clone());
        let done = self.hear(Write::CreateActivity { task, lease, spec, start: true }).await.expect("a step");
        view(done)
    }

    async fn report_step(&self, id: ActivityId, current: i64) -> Result<ActivityView> {
        let (lease, event) = (self.lease.clone(), ActivityEvent::Report(progress(current)));
        Ok(view(self.hear(Write::Activity { activity: ActivityRef::Id(id), lease, event }).await?))
    }

    async fn look(&self) {
        self.service.write_progress(self.moment, false).await;
    }

    /// How often something was written so far.
    fn writes(&self) -> i64 {
        self.ledger.head().borrow().rev.0
    }

    async fn stored(&self) -> Task {
        self.ledger.task(&Scope::everything(), TaskRef::Id(self.task)).await.expect("the task")
    }

    /// What a caller sees of the task.
    async fn shown(&self) -> Task {
        self.service.task(&Caller::server(), TaskRef::Id(self.task), false).await.expect("the task")
    }
}

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

fn progress(current: i64) -> Progress {
    Progress { current, total: 100, ..Progress::default() }
}

fn current(task: &Task) -> Option<i64> {
    task.status.progress.as_ref().map(|p| p.current)
}

fn view(done: Committed) -> ActivityView {
    match done.written.into_iter().next() {
        Some(Written::Activity(view)) => *view,
        other => panic!("a step gave {other:?}"),
    }
}

#[tokio::test]
async fn a_task_costs_one_write_a_second() {
    let mut w = World::plain().await;
    let before = w.writes();
    let first = w.report(1).await;
    assert_eq!((w.writes(), current(&w.stored().await)), (before + 1, Some(1)), "the first is written at once");
    for n in 2..30 {
        w.pass(30);
        let answer = w.report(n).await;
        assert_eq!((current(&answer), answer.status.updated_at), (Some(n), first.status.updated_at));
        assert_eq!(current(&w.beat().await.expect("alive")), Some(n));
        let shown = w.shown().await;
        assert_eq!(current(&shown), Some(n), "who asks is told");
        assert_eq!(shown.status.phase.assignment().map(|a| a.last_report_at), Some(w.moment.now));
        w.look().await;
    }
    assert_eq!((w.writes(), current(&w.stored().await)), (before + 1, Some(1)));

    w.pass(200);
    w.look().await;
    assert_eq!((w.writes(), current(&w.stored().await)), (before + 2, Some(29)), "its second is over");
    w.pass(500);
    w.report(30).await;
    w.beat().await.expect("alive");
    w.pass(600);
    w.report(31).await;
    assert_eq!((w.writes(), current(&w.stored().await)), (before + 3, Some(31)), "what it supersedes is not written");

    w.pass(5000);
    w.look().await;
    assert_eq!(w.writes(), before + 3, "nothing was said");
    assert!(w.service.progress.lock().is_empty(), "and nothing is remembered");
}

#[tokio::test]
async fn a_sign_of_life_is_written_within_the_second() {
    let mut w = World::plain().await;
    w.report(1).await;
    w.pass(900);
    w.beat().await.expect("alive");
    w.pass(200);
    let (before, now) = (w.writes(), w.moment.now);
    w.look().await;
    assert_eq!(w.writes(), before + 1);
    assert_eq!(w.stored().await.status.phase.assignment().map(|a| a.last_report_at), Some(now));
    assert_eq!(current(&w.stored().await), Some(1));
}

#[tokio::test]
async fn every_other_word_is_written_at_once_with_the_progress_before_it() {
    let mut w = World::plain().await;
    w.report(1).await;
    w.report(2).await;
    let before = w.writes();
    let paused = w.say(Event::Pause { lease: w.lease.clone(), blockers: vec![] }).await.expect("paused");
    assert_eq!((paused.state(), current(&paused), w.writes()), (State::Paused, Some(2), before + 1));
    assert_eq!(w.stored().await, paused);

    w.report(3).await;
    assert_eq!(w.writes(), before + 2, "then progress is news again");
    w.report(4).await;
    w.pass(10);
    let back = w.say(Event::Abandon { lease: w.lease.clone(), reason: "tired".into() }).await.expect("given back");
    assert_eq!((back.state(), current(&back)), (State::Enqueued, Some(4)), "the next attempt goes on from there");
    assert_eq!(w.beat().await.expect_err("it is not its any more").code, Code::LeaseLost);
    w.pass(5000);
    w.look().await;
    assert_eq!(w.stored().await, back);
}

#[tokio::test]
async fn who_may_not_report_is_told_at_once_and_who_should_stop_as_well() {
    let mut w = World::plain().await;
    w.report(1).await;
    let wrong = Event::Report { lease: LeaseToken("another".into()), progress: progress(2) };
    for _ in 0..2 {
        assert_eq!(w.say(wrong.clone()).await.expect_err("another's").code, Code::LeaseLost);
    }
    let nonsense = Event::Report { lease: w.lease.clone(), progress: progress(101) };
    assert_eq!(w.say(nonsense).await.expect_err("more than all").code, Code::InvalidField);
    assert!(!w.report(2).await.status.cancel_requested);

    w.service.cancel_task(&Caller::server(), TaskRef::Id(w.task)).await.expect("it is cancellable");
    let (before, told) = (w.writes(), w.report(3).await);
    assert!(told.status.cancel_requested && w.writes() == before);

    // Somebody else lets time run: what is held back of a lost task is of no use, and in nobody's way.
    w.pass(600_000);
    let moment = w.moment;
    w.ledger.commit(&Scope::everything(), moment, vec![Write::Settle(w.task)]).await.expect("settled");
    let over = w.stored().await;
    assert_eq!(over.state(), State::Completed);
    w.look().await;
    assert_eq!(w.stored().await, over);
    assert_eq!(w.beat().await.expect_err("it is over").code, Code::AlreadyCompleted);
}

#[tokio::test]
async fn steps_share_the_second_of_their_task() {
    let mut w = World::plain().await;
    let step = w.step().await.activity.id;
    w.report(1).await;
    let before = w.writes();
    for n in 1..10 {
        let view = w.report_step(step, n).await.expect("a step's progress");
        assert_eq!(view.progress().map(|p| p.current), Some(n));
    }
    w.report(7).await;
    assert_eq!(w.writes(), before);
    let shown = w.service.activity(&Caller::server(), ActivityRef::Id(step), false).await.expect("the step");
    assert_eq!((shown.progress().map(|p| p.current), current(&shown.task)), (Some(9), Some(7)));
    let stored = w.ledger.activity(&Scope::everything(), ActivityRef::Id(step)).await.expect("the step");
    assert_eq!(stored.progress(), None);

    w.pass(1000);
    w.look().await;
    assert_eq!(w.writes(), before + 1);
    let stored = w.ledger.activity(&Scope::everything(), ActivityRef::Id(step)).await.expect("the step");
    assert_eq!((stored.progress().map(|p| p.current), current(&stored.task)), (Some(9), Some(7)));
    let missing = w.report_step(ActivityId(99), 1).await.expect_err("there is none");
    assert_eq!(missing.code, Code::NotFound);
}

#[tokio::test]
async fn nothing_is_held_back_when_a_timer_is_near() {
    let w = World::new(Rules { heartbeat_interval: Some(SignedDuration::from_millis(500)), ..Rules::default() }).await;
    let before = w.writes();
    for n in 1..4 {
        w.report(n).await;
        w.beat().await.expect("alive");
    }
    assert_eq!(w.writes(), before + 6);
}

#[tokio::test]
async fn an_orderly_end_loses_nothing() {
    let w = World::plain().await;
    w.report(1).await;
    w.report(2).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let World { service, ledger, task, .. } = w;
    run(Arc::new(service), stop).await;
    let stored = ledger.task(&Scope::everything(), TaskRef::Id(task)).await.expect("the task");
    assert_eq!(current(&stored), Some(2));
}
