//! The ledger: the durable record of tasks, activities and everything beside them, behind one narrow trait.
//!
//! What a write means is written once, in `commit.rs`, over a few primitives that each store implements; every store
//! passes the same contract suite. SQL stands nowhere else in the project.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use domain::activity::{ActivityEvent, ActivityId, ActivityRef, ActivitySpec, ActivityView};
use domain::query::{
    ActivityField, Direction, Field, Filter, Group, Order, Page, Pattern, Query, RecordField, Slice, TaskField, Test,
    Value,
};
use domain::record::{Entity, Record, RecordKind};
use domain::task::{Effect, Event, Executor, LeaseToken, Task, TaskId, TaskRef, TaskSpec};
use domain::{Code, Error, Moment, Result, Scope, Timestamp, Uuid};
use tokio::sync::watch;

mod commit;
#[cfg(test)]
mod contract;
mod dump;
mod index;
pub mod memory;
pub mod sqlite;

pub use index::{Progress as IndexProgress, Report as IndexReport};
pub use memory::MemoryLedger;
pub use sqlite::SqliteLedger;

/// A revision: the number of a commit. Every changed row carries the one that changed it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rev(pub i64);

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far the ledger has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The newest revision.
    pub rev: Rev,
    /// Every change stamped (`updated_at`) at or before this time can be seen; later ones are stamped later.
    pub horizon: Timestamp,
}

/// A record with the revision that last changed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<R> {
    /// The revision; give it back in [`Expect::Rev`] to change the record.
    pub rev: Rev,
    /// The record.
    pub value: R,
}

/// What must be true of a record for a `Put` to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is none with this id or key.
    New,
    /// It is as it was at this revision.
    Rev(Rev),
}

/// One part of a commit.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Creates a task. The same uuid with an equal wish again gives the task that exists.
    CreateTask(Box<TaskSpec>),
    /// Lets an event happen to a task.
    Task(TaskRef, Event),
    /// Hands out up to `leases.len()` tasks; see [`Claim`].
    Claim(Claim),
    /// Fires the timer of a task that has run out, if one has.
    Settle(TaskId),
    /// Creates a step of a task; it begins at once if `start`.
    CreateActivity {
        /// The task.
        task: TaskRef,
        /// The reporter's lease on it.
        lease: LeaseToken,
        /// The step.
        spec: Box<ActivitySpec>,
        /// Whether it begins at once.
        start: bool,
    },
    /// Lets an event happen to a step.
    Activity {
        /// The step.
        activity: ActivityRef,
        /// The reporter's lease on its task.
        lease: LeaseToken,
        /// What happens.
        event: ActivityEvent,
    },
    /// Writes a record whole. `updated_at` is stamped by the ledger.
    Put(Box<Record>, Expect),
    /// Removes a record; removing one that is not there is no error. A tenant is deleted by a mark, and never removed.
    Remove(RecordKind, Uuid),
    /// Removes tasks, with their activities, that were deleted before this time.
    Purge(Timestamp),
}

/// A wish to take tasks from queues: by priority, then fairly between tenants, then by age.
///
/// Tenants whose tasks wait in one queue with the same priority take turns, each with its oldest task; who comes anew is
/// next when everybody had a turn. Several queues take turns as well, and what is bound to the executor with what is not.
/// A task that comes back to its queue is its tenant's next. A claim costs what it takes, however long the queues are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// From these queues.
    pub queues: Vec<String>,
    /// Of these types; empty = any.
    pub types: Vec<String>,
    /// For this executor; tasks whose affinity does not admit it are left.
    pub executor: Executor,
    /// One new lease for each task that may be taken.
    pub leases: Vec<LeaseToken>,
}

/// What a write did.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// The task as it is now. `changed` is false when it existed already or nothing visible changed.
    Task {
        /// The task.
        task: Task,
        /// Whether anybody can see a difference.
        changed: bool,
    },
    /// The tasks that were handed out.
    Claimed(Vec<Task>),
    /// The step as it is now.
    Activity(Box<ActivityView>),
    /// The record as it is now.
    Record(Box<Stored<Record>>),
    /// How many records or tasks are gone.
    Removed(u64),
}

/// A commit that is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its revision; the newest one there is when the writes changed nothing.
    pub rev: Rev,
    /// What each write did, in their order.
    pub written: Vec<Written>,
    /// What must happen elsewhere; the ledger has carried out those on activities itself.
    pub effects: Vec<(TaskId, Effect)>,
    /// The tasks that it ended, whatever was asked for: a claim also ends what has waited too long.
    pub ended: Vec<Task>,
}

/// Tasks that changed after a revision, each in its latest state, in the order of their changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// The tasks with the revisions that changed them last.
    pub tasks: Vec<(Rev, Task)>,
    /// Everything up to here is included; go on from it.
    pub until: Rev,
}

/// The durable record. Answers come after the commit is durable, and everyone reads their own writes.
///
/// Errors: those of the domain (`not_found`, `state_conflict`, ...), `storage_full` when there is no room (reads go on),
/// `ledger_damaged` when stored data cannot be read, `unavailable` when the ledger is closed.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Carries out all writes or none. Things outside the scope do not exist for it.
    async fn commit(&self, scope: &Scope, moment: Moment, writes: Vec<Write>) -> Result<Committed>;

    /// One task.
    async fn task(&self, scope: &Scope, task: TaskRef) -> Result<Task>;
    /// Tasks that match.
    async fn tasks(&self, scope: &Scope, query: &Query<TaskField>) -> Result<Slice<Task>>;
    /// Of each of these resources, the task with the highest id that matches; the newest first. Nothing for a resource
    /// that has none.
    async fn newest_of_each(&self, scope: &Scope, resources: &[Uuid], filter: &Filter<TaskField>) -> Result<Vec<Task>> {
        newest_one_by_one(self, scope, resources, filter).await
    }
    /// How many tasks match, grouped by one or two fields (none = one group for all), largest first, then by value.
    async fn task_counts(&self, scope: &Scope, filter: &Filter<TaskField>, by: &[TaskField]) -> Result<Vec<Group>>;
    /// One activity.
    async fn activity(&self, scope: &Scope, activity: ActivityRef) -> Result<ActivityView>;
    /// Activities that match.
    async fn activities(&self, scope: &Scope, query: &Query<ActivityField>) -> Result<Slice<ActivityView>>;
    /// How many activities match, grouped as tasks are.
    async fn activity_counts(
        &self,
        scope: &Scope,
        filter: &Filter<ActivityField>,
        by: &[ActivityField],
    ) -> Result<Vec<Group>>;

    /// One record.
    async fn record(&self, scope: &Scope, kind: RecordKind, id: Uuid) -> Result<Stored<Record>>;
    /// The record with this key ([`Record::key`]), if there is one.
    async fn record_by_key(&self, scope: &Scope, kind: RecordKind, key: &str) -> Result<Option<Stored<Record>>>;
    /// Records that match.
    async fn records(
        &self,
        scope: &Scope,
        kind: RecordKind,
        query: &Query<RecordField>,
    ) -> Result<Slice<Stored<Record>>>;

    /// At least `limit` tasks that changed after a revision, or all there are; a revision is never cut in two.
    async fn changes(&self, scope: &Scope, since: Rev, limit: u32) -> Result<Changes>;
    /// Open tasks one of whose timers may have run out by then; after a restart some may not have (see `Moment`).
    async fn due(&self, scope: &Scope, by: Timestamp) -> Result<Vec<TaskId>>;
    /// How far the ledger has come, as it goes on.
    fn head(&self) -> watch::Receiver<Head>;

    /// How far the index is that lists of tasks are answered from; always ready where there is none.
    fn index_progress(&self) -> IndexProgress {
        IndexProgress::Ready
    }
    /// What that index takes; none where there is none.
    fn index_report(&self) -> Option<IndexReport> {
        None
    }

    /// Looks for damage; one sentence for each finding.
    async fn check(&self, scope: &Scope) -> Result<Vec<String>>;
    /// The whole state as text, one line a row, for people and for snapshot tests.
    async fn dump(&self, scope: &Scope) -> Result<String>;
}

/// What [`Ledger::newest_of_each`] means, asked of a ledger resource by resource.
async fn newest_one_by_one<L: Ledger + ?Sized>(
    ledger: &L,
    scope: &Scope,
    resources: &[Uuid],
    filter: &Filter<TaskField>,
) -> Result<Vec<Task>> {
    let order = Order::by(vec![(TaskField::Id, Direction::Desc)])?;
    let mut newest = BTreeMap::new();
    for resource in resources {
        let filter = filter.clone().and(TaskField::ResourceId, Test::AnyOf(vec![Pattern::IsUuid(*resource)]))?;
        let query = Query { filter, order: order.clone(), page: Page::first(1), total: false };
        newest.extend(ledger.tasks(scope, &query).await?.items.into_iter().map(|task| (task.id, task)));
    }
    Ok(newest.into_values().rev().collect())
}

/// Typed ways to read and write over any ledger.
impl dyn Ledger + '_ {
    /// One record of a type.
    ///
    /// # Errors
    /// `not_found`, and those of the ledger.
    pub async fn get<E: Entity>(&self, scope: &Scope, id: Uuid) -> Result<Stored<E>> {
        typed(self.record(scope, E::KIND, id).await?)
    }

    /// The record of a type with this key, if there is one.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn find<E: Entity>(&self, scope: &Scope, key: &str) -> Result<Option<Stored<E>>> {
        self.record_by_key(scope, E::KIND, key).await?.map(typed).transpose()
    }

    /// Records of a type.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn list<E: Entity>(&self, scope: &Scope, query: &Query<RecordField>) -> Result<Slice<Stored<E>>> {
        let slice = self.records(scope, E::KIND, query).await?;
        let (next, total) = (slice.next, slice.total);
        let items = slice.items.into_iter().map(typed).collect::<Result<_>>()?;
        Ok(Slice { items, next, total })
    }

    /// Every record of a type that matches, oldest first. For sets that are small by nature.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn all<E: Entity>(&self, scope: &Scope, filter: Filter<RecordField>) -> Result<Vec<Stored<E>>> {
        use domain::query::MAX_LIMIT;
        let mut query = Query { filter, order: Order::oldest(), page: Page::first(MAX_LIMIT), total: false };
        let mut found = Vec::new();
        loop {
            let slice = self.list::<E>(scope, &query).await?;
            found.extend(slice.items);
            match slice.next {
                Some(key) => query.page = Page::After { key: Some(key), limit: MAX_LIMIT },
                None => return Ok(found),
            }
        }
    }
}

impl Committed {
    /// The task of the first write that was about one.
    #[must_use]
    pub fn task(&self) -> Option<&Task> {
        self.written.iter().find_map(|w| match w {
            Written::Task { task, .. } => Some(task),
            _ => None,
        })
    }
}

/// A record as the type it is.
///
/// # Errors
/// `internal` when it is of another kind, which a store that passes the contract never gives.
pub fn typed<E: Entity>(stored: Stored<Record>) -> Result<Stored<E>> {
    let rev = stored.rev;
    E::from_record(stored.value)
        .map(|value| Stored { rev, value })
        .ok_or_else(|| Error::new(Code::Internal, format!("a record is no {}", E::KIND)))
}

/// The most values in all clauses of a filter together.
const MAX_FILTER_VALUES: usize = 10_000;

/// Refuses what no store should have to carry out.
pub(crate) fn check_filter<F: Field>(filter: &Filter<F>) -> Result<()> {
    let values = filter.all_clauses().map(|c| match c.test() {
        Test::AnyOf(patterns) | Test::NoneOf(patterns) => patterns.len(),
        Test::Range { .. } => 2,
        Test::Present | Test::Absent => 1,
    });
    if values.sum::<usize>() > MAX_FILTER_VALUES {
        return Err(Error::invalid("filter", format!("the filter has more than {MAX_FILTER_VALUES} values")));
    }
    Ok(())
}

/// Refuses questions that cannot be answered: too long, or with a place that belongs to another order.
pub(crate) fn check_query<F: Field>(query: &Query<F>) -> Result<()> {
    check_filter(&query.filter)?;
    match &query.page {
        Page::After { key: Some(key), .. } if !query.order.admits(key) => {
            Err(Error::new(Code::InvalidCursor, "the cursor belongs to another query"))
        }
        _ => Ok(()),
    }
}

/// Refuses to count by fields that have several values in a row.
pub(crate) fn check_groups<F: Field>(filter: &Filter<F>, by: &[F]) -> Result<()> {
    check_filter(filter)?;
    match by.iter().find(|f| !f.sortable()) {
        Some(f) => {
            Err(Error::invalid("by", format!("'{}' has several values; rows cannot be counted by it", f.name())))
        }
        None => Ok(()),
    }
}

/// Groups as answers show them: the largest first, then by value.
pub(crate) fn counted_groups(mut groups: Vec<Group>) -> Vec<Group> {
    let one = |(a, b): (&Option<Value>, &Option<Value>)| match (a, b) {
        (Some(a), Some(b)) => a.cell().cmp(&b.cell()),
        // Absent values come last.
        (a, b) => a.is_none().cmp(&b.is_none()),
    };
    let by_values =
        |a: &Group, b: &Group| a.values.iter().zip(&b.values).map(one).find(|o| o.is_ne()).unwrap_or(Ordering::Equal);
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| by_values(a, b)));
    groups
}

pub(crate) fn activity_not_found(activity: ActivityRef) -> Error {
    match activity {
        ActivityRef::Id(ActivityId(id)) => Error::not_found("activity", id),
        ActivityRef::Uuid(uuid) => Error::not_found("activity", uuid),
    }
}

pub(crate) fn task_not_found(task: TaskRef) -> Error {
    match task {
        TaskRef::Id(id) => Error::not_found("task", id),
        TaskRef::Uuid(uuid) => Error::not_found("task", uuid),
    }
}
