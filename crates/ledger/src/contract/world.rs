//! A ledger with a few tenants and a clock that a story moves by hand.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use domain::activity::{ActivityEvent, ActivityRef, ActivitySpec, ActivityView};
use domain::query::{Field, Query};
use domain::record::{Entity, Record};
use domain::task::{Event, Executor, LeaseToken, Outcome, OutcomeCode, Task, TaskId, TaskRef, TaskSpec};
use domain::tenant::Tenant;
use domain::{Code, Moment, Result, Scope, SignedDuration, Timestamp, Uuid};

use crate::{Claim, Committed, Expect, Ledger, MemoryLedger, SqliteLedger, Stored, Write, Written, typed};

/// Where a story takes place: root, with `acme` (66) and `other` (6) below it, and `eu` (7) below `acme`.
pub(crate) struct World {
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) moment: Moment,
    pub(crate) root: Tenant,
    pub(crate) acme: Tenant,
    pub(crate) eu: Tenant,
    pub(crate) other: Tenant,
    ids: Cell<u128>,
}

/// The queue that stories use.
pub(crate) const QUEUE: &str = "agents";

pub(crate) fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

pub(crate) fn everything() -> Scope {
    Scope::everything()
}

/// The error's code, for what must be refused.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.expect_err("it must be refused").code
}

impl World {
    pub(crate) async fn in_memory() -> World {
        World::over(Arc::new(MemoryLedger::new())).await
    }

    pub(crate) async fn in_file(path: &Path) -> World {
        World::over(Arc::new(SqliteLedger::open(path).expect("the ledger opens"))).await
    }

    /// In a file that is asked without the index.
    pub(crate) async fn in_record(path: &Path) -> World {
        World::over(Arc::new(SqliteLedger::open_without_index(path).expect("the ledger opens"))).await
    }

    pub(crate) async fn over(ledger: Arc<dyn Ledger>) -> World {
        let now: Timestamp = "2026-11-21T09:00:00Z".parse().expect("it is a time");
        let child = |parent: &Tenant, id: u128, number, name: &str| {
            parent.child(Uuid::from_u128(id), number, name, now).expect("the tenant is allowed")
        };
        let root = Tenant::root("root", "UTC", now);
        let acme = child(&root, 0xacae, 66, "Acme");
        let other = child(&root, 0x07e6, 6, "Other");
        let eu = child(&acme, 0xe0, 7, "Acme Europe");
        let mut w = World {
            ledger,
            moment: Moment { now, up_since: now },
            root: root.clone(),
            acme: acme.clone(),
            eu: eu.clone(),
            other: other.clone(),
            ids: Cell::new(0),
        };
        let tenants = [root, acme, other, eu].map(|t| Write::Put(Box::new(t.into()), Expect::New));
        w.commit(tenants.into()).await.expect("the tenants are made");
        w.pass(seconds(60));
        w
    }

    /// Every story ends with a sound ledger.
    pub(crate) async fn finish(&self) {
        let found = self.ledger.check(&everything()).await.expect("the ledger can be checked");
        assert_eq!(found, Vec::<String>::new());
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, time: SignedDuration) {
        self.moment.now += time;
    }

    pub(crate) fn id(&self) -> Uuid {
        Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + self.number())
    }

    pub(crate) fn lease(&self) -> LeaseToken {
        LeaseToken(format!("lease-{}", self.number()))
    }

    /// A number that nobody else has in this world.
    fn number(&self) -> u128 {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }

    /// A wish of `acme`.
    pub(crate) fn spec(&self, kind: &str) -> TaskSpec {
        TaskSpec::new(self.id(), kind, QUEUE, self.acme.id)
    }

    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Result<Committed> {
        self.ledger.commit(&everything(), self.moment, writes).await
    }

    pub(crate) async fn create(&self, spec: TaskSpec) -> Result<Task> {
        Ok(task_of(self.commit(vec![Write::CreateTask(Box::new(spec))]).await?))
    }

    /// A task with only what must be there.
    pub(crate) async fn plain(&self) -> Result<Task> {
        let spec = self.spec("backup");
        self.create(spec).await
    }

    pub(crate) async fn event(&self, id: TaskId, event: Event) -> Result<Task> {
        Ok(task_of(self.commit(vec![Write::Task(TaskRef::Id(id), event)]).await?))
    }

    pub(crate) async fn settle(&self, id: TaskId) -> Result<Task> {
        Ok(task_of(self.commit(vec![Write::Settle(id)]).await?))
    }

    /// A wish to take `n` tasks of the usual queue as this executor.
    pub(crate) fn claim(&self, executor: &str, n: usize) -> Claim {
        Claim {
            queues: vec![QUEUE.to_owned()],
            types: Vec::new(),
            executor: Executor { id: executor.into(), ..Executor::default() },
            leases: (0..n).map(|_| self.lease()).collect(),
        }
    }

    pub(crate) async fn claimed(&self, claim: Claim) -> Result<Vec<Task>> {
        let done = self.commit(vec![Write::Claim(claim)]).await?;
        match done.written.into_iter().next() {
            Some(Written::Claimed(tasks)) => Ok(tasks),
            other => panic!("a claim gave {other:?}"),
        }
    }

    /// The next task, handed to an executor, and the lease.
    pub(crate) async fn hand_out(&self, executor: &str) -> Result<(Task, LeaseToken)> {
        let claim = self.claim(executor, 1);
        let task = self.claimed(claim).await?.into_iter().next().expect("a task waits");
        let lease = task.lease().expect("it was handed out").clone();
        Ok((task, lease))
    }

    /// The next task, handed to an executor that has begun.
    pub(crate) async fn start(&self, executor: &str) -> Result<(Task, LeaseToken)> {
        let (task, lease) = self.hand_out(executor).await?;
        Ok((self.event(task.id, Event::Start { lease: lease.clone() }).await?, lease))
    }

    pub(crate) async fn complete(&self, id: TaskId, lease: &LeaseToken) -> Result<Task> {
        let outcome = Outcome::of(OutcomeCode::Ok);
        self.event(id, Event::Complete { lease: lease.clone(), outcome, progress: None }).await
    }

    pub(crate) async fn step(&self, task: TaskId, lease: &LeaseToken, spec: ActivitySpec) -> Result<ActivityView> {
        let spec = Box::new(spec);
        let write = Write::CreateActivity { task: TaskRef::Id(task), lease: lease.clone(), spec, start: true };
        Ok(activity_of(self.commit(vec![write]).await?))
    }

    pub(crate) async fn report(
        &self,
        step: &ActivityView,
        lease: &LeaseToken,
        event: ActivityEvent,
    ) -> Result<ActivityView> {
        let activity = ActivityRef::Id(step.activity.id);
        let write = Write::Activity { activity, lease: lease.clone(), event };
        Ok(activity_of(self.commit(vec![write]).await?))
    }

    pub(crate) async fn put<E: Entity>(&self, value: E, expect: Expect) -> Result<Stored<E>> {
        let record: Record = value.into();
        let done = self.commit(vec![Write::Put(Box::new(record), expect)]).await?;
        match done.written.into_iter().next() {
            Some(Written::Record(stored)) => typed(*stored),
            other => panic!("a put gave {other:?}"),
        }
    }

    /// The task as it is stored.
    pub(crate) async fn task(&self, id: TaskId) -> Result<Task> {
        self.ledger.task(&everything(), TaskRef::Id(id)).await
    }

    /// The activities of a task, oldest first.
    pub(crate) async fn steps(&self, task: TaskId) -> Result<Vec<ActivityView>> {
        use domain::query::{ActivityField, Filter, Order, Page, Value};
        let filter = Filter::all().is(ActivityField::TaskId, Value::Int(task.0))?;
        let query = Query { filter, order: Order::oldest(), page: Page::first(1000), total: false };
        Ok(self.ledger.activities(&everything(), &query).await?.items)
    }

    pub(crate) async fn dump(&self) -> String {
        self.ledger.dump(&everything()).await.expect("the ledger can be printed")
    }
}

/// The task of a commit that was about one.
pub(crate) fn task_of(done: Committed) -> Task {
    done.task().cloned().expect("the write was about a task")
}

pub(crate) fn activity_of(done: Committed) -> ActivityView {
    match done.written.into_iter().next() {
        Some(Written::Activity(view)) => *view,
        other => panic!("a step gave {other:?}"),
    }
}

/// All rows, oldest first.
pub(crate) fn all<F: Field>() -> Query<F> {
    use domain::query::{Filter, Order, Page};
    Query { filter: Filter::all(), order: Order::oldest(), page: Page::first(1000), total: true }
}
