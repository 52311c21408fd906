//! What a commit means, once for every store: the rules run here, over the primitives of [`Tx`].

mod turns;

use std::sync::Arc;

use domain::activity::{Activity, ActivityEvent, ActivityId, ActivityRef, ActivitySpec, ActivityView};
use domain::operation::Ended;
use domain::record::{Record, RecordKind};
use domain::task::{Applied, Effect, Event, LeaseToken, Priority, State, Task, TaskId, TaskRef, TaskSpec};
use domain::tenant::{ROOT_LOCATOR, Tenant};
use domain::work::Work;
use domain::{Code, Error, Moment, Result, Scope, SignedDuration, Timestamp, Uuid};

pub(crate) use self::turns::{Clock, Lane, Place, come_in};

use self::turns::{Open, come_back};
use crate::{Claim, Committed, Expect, Head, Rev, Stored, Write, Written, activity_not_found, task_not_found};

/// What the ledger has given out so far; none of it is ever given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    /// The newest revision.
    pub(crate) rev: Rev,
    /// The largest time stamp of a change.
    pub(crate) stamp: Timestamp,
    /// The newest task's number.
    pub(crate) task: TaskId,
    /// The newest activity's number.
    pub(crate) activity: ActivityId,
}

impl Default for Counters {
    fn default() -> Self {
        Counters { rev: Rev(0), stamp: Timestamp::UNIX_EPOCH, task: TaskId(0), activity: ActivityId(0) }
    }
}

impl Counters {
    /// How far the ledger has come.
    pub(crate) fn head(&self) -> Head {
        Head { rev: self.rev, horizon: self.stamp }
    }
}

/// What a store must be able to do inside one transaction. Everything here is plain storage: no rule, no scope but where
/// it is named.
pub(crate) trait Tx {
    /// The counters, to be changed in place; they are rolled back with everything else.
    fn counters(&mut self) -> &mut Counters;

    fn task(&mut self, task: TaskRef) -> Result<Option<Task>>;
    fn insert_task(&mut self, task: &Task, rev: Rev) -> Result<()>;
    /// Writes the part of a task that changes. `rev` is absent when no visible change happened: the row keeps its own.
    fn update_task(&mut self, task: &Task, rev: Option<Rev>) -> Result<()>;
    /// The lanes of these queues that admit the executor, each once.
    fn lanes(&mut self, claim: &Claim) -> Result<Vec<(Lane, Clock)>>;
    /// How far a lane has come; the beginning for one that is not known.
    fn clock(&mut self, lane: &Lane) -> Result<Clock>;
    /// Notes how far a lane has come that is known.
    fn set_clock(&mut self, lane: &Lane, clock: Clock) -> Result<()>;
    /// Forgets how far the lanes have come in which nothing waits.
    fn forget_lanes(&mut self) -> Result<()>;
    /// Gives a task a place in its lane, which is known from then on.
    fn enqueue(&mut self, lane: &Lane, task: &Task, place: Place) -> Result<()>;
    /// Takes a task out of its lane.
    fn dequeue(&mut self, task: &Task) -> Result<()>;
    /// The first `limit` places of a lane, of tasks of these types (none = any) within the scope.
    fn waiting(&mut self, lane: &Lane, types: &[String], scope: &Scope, limit: usize) -> Result<Vec<Place>>;
    /// The place of the tenant's task in the lane that has the largest number.
    fn youngest(&mut self, lane: &Lane, tenant: Uuid) -> Result<Option<Place>>;
    /// The place of the tenant's task in the lane that has the next larger number than this one.
    fn next_younger(&mut self, lane: &Lane, tenant: Uuid, task: TaskId) -> Result<Option<Place>>;

    /// Removes tasks of the scope deleted before this time, with their activities.
    fn purge(&mut self, scope: &Scope, deleted_before: Timestamp) -> Result<u64>;

    fn activity(&mut self, activity: ActivityRef) -> Result<Option<Activity>>;
    fn root_of(&mut self, task: TaskId) -> Result<Option<Activity>>;
    /// The steps of a task, by id.
    fn steps(&mut self, task: TaskId) -> Result<Vec<Activity>>;
    fn insert_activity(&mut self, activity: &Activity) -> Result<()>;
    fn update_activity(&mut self, activity: &Activity) -> Result<()>;

    fn record(&mut self, kind: RecordKind, id: Uuid) -> Result<Option<Stored<Record>>>;
    fn record_by_key(&mut self, kind: RecordKind, key: &str) -> Result<Option<Stored<Record>>>;
    /// Inserts or replaces.
    fn put_record(&mut self, record: &Record, rev: Rev) -> Result<()>;
    fn remove_record(&mut self, kind: RecordKind, id: Uuid) -> Result<()>;
    /// The locator of a tenant, if it exists.
    fn locator(&mut self, tenant: Uuid) -> Result<Option<String>>;
    /// Whether a tenant, resource or policy that was not deleted belongs to the tenant.
    fn tenant_holds(&mut self, tenant: Uuid) -> Result<bool>;
    /// Whether a policy stores in the repository, or a recovery point lies in it, also one that is being deleted.
    fn repository_in_use(&mut self, repository: Uuid) -> Result<bool>;
    /// The tasks for Backstay's own agents that are not completed, by number.
    fn open_work(&mut self) -> Result<Vec<Task>>;
    /// Whether a tenant of this name that was not deleted is a child of this one, other than the one with this id.
    fn sibling_named(&mut self, parent: Uuid, name: &str, but: Uuid) -> Result<bool>;
}

/// Carries out the writes; the store rolls back when it fails. A commit that changes nothing takes no revision.
pub(crate) fn commit(tx: &mut dyn Tx, scope: &Scope, moment: Moment, writes: Vec<Write>) -> Result<Committed> {
    let last = tx.counters().rev;
    let mut commit =
        Commit { tx, scope, moment, rev: Rev(last.0 + 1), touched: false, effects: Vec::new(), ended: Vec::new() };
    let written = writes.into_iter().map(|w| commit.write(w)).collect::<Result<_>>()?;
    let rev = if commit.touched { commit.rev } else { last };
    commit.tx.counters().rev = rev;
    Ok(Committed { rev, written, effects: commit.effects, ended: commit.ended })
}

struct Commit<'a> {
    tx: &'a mut dyn Tx,
    scope: &'a Scope,
    moment: Moment,
    rev: Rev,
    /// Whether anything was stored.
    touched: bool,
    effects: Vec<(TaskId, Effect)>,
    ended: Vec<Task>,
}

impl Commit<'_> {
    fn write(&mut self, write: Write) -> Result<Written> {
        match write {
            Write::CreateTask(spec) => self.create_task(*spec),
            Write::Task(task, event) => self.task_event(task, event),
            Write::Claim(claim) => self.claim(&claim),
            Write::Settle(id) => {
                let task = self.task(TaskRef::Id(id))?;
                let (task, changed) = self.settled(task)?;
                Ok(Written::Task { task, changed })
            }
            Write::CreateActivity { task, lease, spec, start } => self.create_activity(task, lease, *spec, start),
            Write::Activity { activity, lease, event } => self.activity_event(activity, lease, event),
            Write::Put(record, expect) => self.put(*record, expect),
            Write::Remove(kind, id) => self.remove(kind, id),
            Write::Purge(before) => {
                let gone = self.tx.purge(self.scope, before)?;
                if gone > 0 {
                    self.tx.forget_lanes()?;
                    self.touched = true;
                }
                Ok(Written::Removed(gone))
            }
        }
    }

    /// The time of a change: the clock, but always later than every stamp before, so that a reader who remembers the
    /// largest one it saw misses nothing.
    fn stamp(&mut self) -> Result<Moment> {
        self.touched = true;
        let stamp = &mut self.tx.counters().stamp;
        *stamp = match stamp.checked_add(SignedDuration::from_nanos(1)) {
            Ok(next) => self.moment.now.max(next),
            Err(_) => return Err(Error::new(Code::Internal, "the clock has reached the end of time")),
        };
        Ok(self.moment.at(*stamp))
    }

    fn next_task_id(&mut self) -> TaskId {
        let last = &mut self.tx.counters().task;
        last.0 += 1;
        *last
    }

    fn next_activity_id(&mut self) -> ActivityId {
        let last = &mut self.tx.counters().activity;
        last.0 += 1;
        *last
    }

    fn owns(&mut self, tenant: Uuid) -> Result<bool> {
        Ok(self.tx.locator(tenant)?.is_some_and(|l| self.scope.contains(&l)))
    }

    /// A tenant named in something new must exist within the scope.
    fn require_tenant(&mut self, tenant: Uuid) -> Result<()> {
        if self.owns(tenant)? {
            return Ok(());
        }
        Err(Error::not_found("tenant", tenant).field("tenant"))
    }

    fn task(&mut self, task: TaskRef) -> Result<Task> {
        match self.tx.task(task)? {
            Some(found) if self.owns(found.spec.tenant)? => Ok(found),
            _ => Err(task_not_found(task)),
        }
    }

    fn create_task(&mut self, spec: TaskSpec) -> Result<Written> {
        self.require_tenant(spec.tenant)?;
        if let Some(existing) = self.tx.task(TaskRef::Uuid(spec.uuid))? {
            if *existing.spec == spec && self.owns(existing.spec.tenant)? {
                return Ok(Written::Task { task: existing, changed: false });
            }
            return Err(Error::new(
                Code::AlreadyExists,
                format!("a task with the uuid {} exists and differs", spec.uuid),
            )
            .field("uuid"));
        }
        let now = self.stamp()?.now;
        let task = Task::create(self.next_task_id(), Arc::new(spec), now)?;
        self.tx.insert_task(&task, self.rev)?;
        come_in(self.tx, &task)?;
        Ok(Written::Task { task, changed: true })
    }

    fn task_event(&mut self, task: TaskRef, event: Event) -> Result<Written> {
        let task = self.task(task)?;
        let (task, settled) = self.settled(task)?;
        let moment = self.stamp()?;
        let applied = task.apply(event, moment)?;
        let changed = applied.changed || settled;
        let task = self.store(&task, applied)?;
        Ok(Written::Task { task, changed })
    }

    /// The task after its timers: a report that comes after a deadline meets the state that the deadline brought.
    fn settled(&mut self, mut task: Task) -> Result<(Task, bool)> {
        let mut changed = false;
        while task.expired(self.moment).is_some() {
            let moment = self.stamp()?;
            let Some(applied) = task.settle(moment) else { break };
            task = self.store(&task, applied)?;
            changed = true;
        }
        Ok((task, changed))
    }

    fn claim(&mut self, claim: &Claim) -> Result<Written> {
        let mut claimed = Vec::new();
        let mut lanes: Vec<_> = self.tx.lanes(claim)?.into_iter().map(Open::new).collect();
        for priority in Priority::ALL.iter().rev() {
            let mut equal: Vec<_> = lanes.extract_if(.., |open| open.lane.priority == *priority).collect();
            self.claim_from(&mut equal, claim, &mut claimed)?;
            for open in equal.iter().filter(|open| open.taken) {
                self.tx.set_clock(&open.lane, open.clock)?;
            }
        }
        Ok(Written::Claimed(claimed))
    }

    /// Hands out from lanes that are equally urgent until a task is claimed for each lease, or nothing waits any more.
    fn claim_from(&mut self, lanes: &mut [Open], claim: &Claim, claimed: &mut Vec<Task>) -> Result<()> {
        while let Some(lease) = claim.leases.get(claimed.len()) {
            let wanted = claim.leases.len() - claimed.len();
            let read = |lane: &Lane| self.tx.waiting(lane, &claim.types, self.scope, wanted);
            let Some((open, place)) = Open::next(lanes, wanted, read)? else { break };
            let task = self.tx.task(TaskRef::Id(place.task))?.filter(|t| t.state() == State::Enqueued);
            // Else it would come up again for ever.
            let task = task.ok_or_else(|| {
                let what = format!("task {} has a place in a queue where it does not wait", place.task);
                Error::new(Code::LedgerDamaged, format!("the ledger is damaged: {what}")).hint(
                    "`backstay ledger check` lists what is damaged; stop the server and restore the file from a copy",
                )
            })?;
            let (task, _) = self.settled(task)?;
            if task.state() != State::Enqueued {
                // Its time in the queue was over, and it has left it now.
                continue;
            }
            let moment = self.stamp()?;
            let event = Event::Claim { executor: claim.executor.clone(), lease: lease.clone() };
            let applied = task.apply(event, moment)?;
            claimed.push(self.store(&task, applied)?);
            open.served(place, moment.now);
        }
        Ok(())
    }

    /// Stores a task after an event and carries out the effects on its activities.
    fn store(&mut self, before: &Task, applied: Applied) -> Result<Task> {
        let Applied { mut task, changed, effects } = applied;
        task.heard_by(self.moment.now);
        if task != *before {
            self.tx.update_task(&task, changed.then_some(self.rev))?;
        }
        match (before.state(), task.state()) {
            (State::Enqueued, State::Enqueued) => {}
            (State::Enqueued, _) => self.tx.dequeue(&task)?,
            (_, State::Enqueued) => come_back(self.tx, &task)?,
            _ => {}
        }
        if before.state() != State::Completed && task.state() == State::Completed {
            self.ended.push(task.clone());
        }
        for effect in effects {
            match &effect {
                Effect::OpenRoot => self.open_root(&task)?,
                Effect::ReturnActivities { sustainable } => {
                    let sustainable = *sustainable;
                    self.change_steps(task.id, |a, now| a.after_return(sustainable, now))?;
                }
                Effect::CloseActivities => {
                    self.change_steps(task.id, |a, now| a.abandoned("Its task ended before it did.", now))?;
                }
                Effect::StampActivities => self.change_steps(task.id, Activity::stamped)?,
                Effect::StopRequested(_) | Effect::LeaseVoid(_) => {}
            }
            self.effects.push((task.id, effect));
        }
        Ok(task)
    }

    fn open_root(&mut self, task: &Task) -> Result<()> {
        if self.tx.root_of(task.id)?.is_some() {
            return Ok(());
        }
        let id = self.next_activity_id();
        self.tx.insert_activity(&Activity::root(id, task, task.status.updated_at))
    }

    fn change_steps(&mut self, task: TaskId, f: impl Fn(&Activity, Timestamp) -> Option<Activity>) -> Result<()> {
        for activity in self.tx.steps(task)? {
            let now = self.stamp()?.now;
            if let Some(next) = f(&activity, now) {
                self.tx.update_activity(&next)?;
            }
        }
        Ok(())
    }

    /// Checks the reporter's lease and counts the report, without a visible change of the task.
    fn report(&mut self, task: TaskRef, lease: LeaseToken) -> Result<Task> {
        match self.task_event(task, Event::Heartbeat { lease })? {
            Written::Task { task, .. } => Ok(task),
            _ => Err(Error::new(Code::Internal, "a task event answered with something else")),
        }
    }

    fn create_activity(
        &mut self,
        task: TaskRef,
        lease: LeaseToken,
        spec: ActivitySpec,
        start: bool,
    ) -> Result<Written> {
        let task = self.report(task, lease)?;
        if let Some(existing) = self.tx.activity(ActivityRef::Uuid(spec.uuid))? {
            // The same report again, because its answer was lost.
            if existing.task == task.id {
                return Ok(Written::Activity(Box::new(ActivityView { activity: existing, task })));
            }
            return Err(Error::new(Code::AlreadyExists, format!("an activity with the uuid {} exists", spec.uuid))
                .field("uuid"));
        }
        let root = self.tx.root_of(task.id)?;
        let parent = match (spec.parent, &root) {
            (None, root) => root.as_ref().map(|r| r.id),
            (Some(id), _) => match self.tx.activity(ActivityRef::Id(id))? {
                Some(parent) if parent.task == task.id => Some(id),
                _ => return Err(Error::not_found("activity", id).field("parent")),
            },
        };
        let now = self.stamp()?.now;
        let mut activity = Activity::create(self.next_activity_id(), &task, ActivitySpec { parent, ..spec }, now)?;
        if start {
            activity = activity.apply(&task, ActivityEvent::Start, now)?;
        }
        self.tx.insert_activity(&activity)?;
        Ok(Written::Activity(Box::new(ActivityView { activity, task })))
    }

    fn activity_event(&mut self, activity: ActivityRef, lease: LeaseToken, event: ActivityEvent) -> Result<Written> {
        let Some(found) = self.tx.activity(activity)? else { return Err(activity_not_found(activity)) };
        // Of a task outside the scope nothing exists, not even its activities.
        let task = self.task(TaskRef::Id(found.task)).map_err(|_| activity_not_found(activity))?;
        let task = self.report(TaskRef::Id(task.id), lease)?;
        let now = self.stamp()?.now;
        let next = found.apply(&task, event, now)?;
        if next != found {
            self.tx.update_activity(&next)?;
        }
        Ok(Written::Activity(Box::new(ActivityView { activity: next, task })))
    }

    fn put(&mut self, mut record: Record, expect: Expect) -> Result<Written> {
        let kind = record.kind();
        let current = self.tx.record(kind, record.id())?;
        match (&current, expect) {
            (None, Expect::New) => {}
            (Some(_), Expect::New) => return Err(exists(kind, &record.id().to_string())),
            (Some(c), Expect::Rev(rev)) if c.rev == rev => {}
            (Some(c), Expect::Rev(_)) if self.owns(c.value.tenant())? => {
                return Err(Error::new(
                    Code::RevisionConflict,
                    format!("the {kind} was changed by somebody else meanwhile"),
                )
                .hint("read it again and repeat the change"));
            }
            (_, Expect::Rev(_)) => return Err(Error::not_found(kind.name(), record.id())),
        }
        if let Some(c) = &current
            && !self.owns(c.value.tenant())?
        {
            return Err(Error::not_found(kind.name(), record.id()));
        }
        // A new tenant is judged by its parent; only the root has none, and it is made once, by the server itself. One that is
        // there may be changed from within, for it keeps its place.
        let owner = match &record {
            Record::Tenant(t) if current.is_none() => t.parent,
            other => Some(other.tenant()),
        };
        if let Some(owner) = owner {
            self.require_tenant(owner)?;
        } else if !self.scope.is_everything() {
            return Err(Error::new(Code::Forbidden, "only the server makes the root tenant"));
        }
        match (&record, owner) {
            (Record::Tenant(tenant), _) => self.check_place(tenant, current.as_ref().map(|c| &c.value))?,
            (Record::Resource(_) | Record::Policy(_), Some(owner))
                if current.as_ref().is_none_or(|c| c.value.tenant() != owner) =>
            {
                self.require_open(owner)?;
            }
            _ => {}
        }
        if let Record::Policy(policy) = &record {
            let before = match current.as_ref().map(|c| &c.value) {
                Some(Record::Policy(before)) => Some(before.repository),
                _ => None,
            };
            if before != Some(policy.repository) {
                self.require_repository(policy.repository)?;
            }
        }
        if let Some(key) = record.key()
            && self.tx.record_by_key(kind, &key)?.is_some_and(|other| other.value.id() != record.id())
        {
            return Err(exists(kind, &key));
        }
        if let Record::Operation(operation) = &mut record
            && let Some(Ended::Policy(policy)) = &mut operation.ended
            && let Some(Stored { rev, value: Record::Policy(stored) }) =
                self.tx.record(RecordKind::Policy, policy.id)?
            && rev == self.rev
        {
            // The answer of a call is the policy as this very commit leaves it.
            policy.updated_at = stored.updated_at;
        }
        record.touch(self.stamp()?.now);
        self.tx.put_record(&record, self.rev)?;
        Ok(Written::Record(Box::new(Stored { rev: self.rev, value: record })))
    }

    /// Scopes are judged by locators alone, so a locator must say truly where in the tree its tenant stands, and stay.
    fn check_place(&mut self, tenant: &Tenant, current: Option<&Record>) -> Result<()> {
        let right = match tenant.parent {
            None if tenant.id.is_nil() => ROOT_LOCATOR.to_owned(),
            None => return Err(Error::missing("parent")),
            Some(parent) => format!("{}{}/", self.tx.locator(parent)?.unwrap_or_default(), tenant.number),
        };
        if tenant.locator != right {
            return Err(Error::invalid("locator", format!("the tenant's place in the tree is '{right}'")));
        }
        let before = match current {
            Some(Record::Tenant(before)) => Some(before),
            _ => None,
        };
        if before.is_some_and(|before| before.locator != tenant.locator) {
            return Err(Error::invalid("parent", "a tenant cannot be moved to another place in the tree"));
        }
        if tenant.deleted_at.is_some() {
            return self.check_empty(tenant);
        }
        let Some(parent) = tenant.parent else { return Ok(()) };
        if before.is_none() {
            self.require_open(parent).map_err(|e| e.field("parent"))?;
        }
        // Names of before are left alone until they are changed.
        if before.is_none_or(|before| before.name != tenant.name)
            && self.tx.sibling_named(parent, &tenant.name, tenant.id)?
        {
            let message = format!("there is a tenant '{}' already below the same one", tenant.name);
            return Err(Error::new(Code::AlreadyExists, message).field("name").hint("give another name"));
        }
        Ok(())
    }

    /// Refuses to delete a tenant that something would be left without: its history stays, and what it owns may not be lost.
    fn check_empty(&mut self, tenant: &Tenant) -> Result<()> {
        if tenant.parent.is_none() {
            return Err(Error::new(Code::InUse, "the tenant at the top cannot be deleted"));
        }
        if self.tx.tenant_holds(tenant.id)? {
            let message = format!("the tenant '{}' still has tenants below it, resources or policies", tenant.name);
            return Err(Error::new(Code::InUse, message).hint("move or delete them first"));
        }
        Ok(())
    }

    /// What is new, or moved, needs an owner that was not deleted.
    fn require_open(&mut self, tenant: Uuid) -> Result<()> {
        match self.tx.record(RecordKind::Tenant, tenant)?.map(|t| t.value) {
            Some(Record::Tenant(found)) if found.deleted_at.is_some() => {
                Err(Error::not_found("tenant", tenant).field("tenant"))
            }
            _ => Ok(()),
        }
    }

    /// A repository in which a policy begins to store must be there: it may be removed between the look at it and the commit.
    fn require_repository(&mut self, repository: Uuid) -> Result<()> {
        match self.tx.record(RecordKind::Repository, repository)? {
            Some(_) => Ok(()),
            None => Err(Error::not_found("repository", repository).field("repository")),
        }
    }

    /// Refuses to forget a repository that holds something, or is about to: without its password nobody reads that again.
    fn check_unused(&mut self, repository: Uuid) -> Result<()> {
        if self.tx.repository_in_use(repository)? {
            let message = "a policy stores in the repository, or recovery points lie in it";
            return Err(Error::new(Code::InUse, message)
                .hint("let the policies store elsewhere and delete the recovery points first"));
        }
        let needs = |task: &Task| Work::of(&task.spec).is_ok_and(|work| work.repository() == repository);
        match self.tx.open_work()?.into_iter().find(needs) {
            Some(task) => {
                let message = format!("task {} needs the repository and is not done", task.id);
                Err(Error::new(Code::InUse, message).hint("wait for it or cancel it first"))
            }
            None => Ok(()),
        }
    }

    fn remove(&mut self, kind: RecordKind, id: Uuid) -> Result<Written> {
        if kind == RecordKind::Tenant {
            // Rows of tasks have its number, which may never come to stand for another.
            return Err(Error::invalid("kind", "a tenant stays known when it is deleted: write it with 'deleted_at'"));
        }
        match self.tx.record(kind, id)? {
            Some(stored) if self.owns(stored.value.tenant())? => {
                if kind == RecordKind::Repository {
                    self.check_unused(id)?;
                }
                self.tx.remove_record(kind, id)?;
                self.touched = true;
                Ok(Written::Removed(1))
            }
            _ => Ok(Written::Removed(0)),
        }
    }
}

fn exists(kind: RecordKind, what: &str) -> Error {
    Error::new(Code::AlreadyExists, format!("there is a {kind} '{what}' already"))
}
