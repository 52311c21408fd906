//! The ledger in memory: for tests and simulation, and the oracle for every other store. It is the plainest reading of
//! the definitions, so it has no index: every question is a scan.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::activity::{Activity, ActivityId, ActivityRef, ActivityView};
use domain::agent::is_agent_queue;
use domain::query::{ActivityField, Field, Filter, Group, Page, Query, RecordField, Slice, TaskField, Value};
use domain::record::{Record, RecordKind};
use domain::task::{Executor, State as TaskState, Task, TaskId, TaskRef};
use domain::{Error, Moment, Result, Scope, Timestamp, Uuid};
use tokio::sync::watch;

use crate::commit::{Clock, Counters, Lane, Place, Tx, commit};
use crate::{
    Changes, Claim, Committed, Head, Ledger, Rev, Stored, Write, activity_not_found, check_groups, check_query,
    counted_groups, dump, task_not_found,
};

/// A ledger that lives as long as the value.
#[derive(Debug)]
pub struct MemoryLedger {
    state: Mutex<State>,
    head: watch::Sender<Head>,
}

#[derive(Debug, Default)]
struct State {
    counters: Counters,
    tasks: BTreeMap<TaskId, (Rev, Task)>,
    activities: BTreeMap<ActivityId, Activity>,
    records: BTreeMap<(RecordKind, Uuid), Stored<Record>>,
    /// How far each lane has come.
    lanes: BTreeMap<Lane, Clock>,
    /// The place of each task that waits, in its lane.
    places: BTreeMap<TaskId, Place>,
}

impl Default for MemoryLedger {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> MemoryLedger {
        MemoryLedger { state: Mutex::default(), head: watch::Sender::new(Counters::default().head()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn commit(&self, scope: &Scope, moment: Moment, writes: Vec<Write>) -> Result<Committed> {
        let mut state = self.state();
        let before = state.counters;
        let mut tx = MemoryTx { state: &mut state, undo: Vec::new() };
        let result = commit(&mut tx, scope, moment, writes);
        if result.is_err() {
            let undo = tx.undo;
            state.roll_back(before, undo);
        }
        // Sent while the state is locked, so that revisions are never announced out of order.
        let head = state.counters.head();
        self.head.send_if_modified(|newest| std::mem::replace(newest, head) != head);
        result
    }

    async fn task(&self, scope: &Scope, task: TaskRef) -> Result<Task> {
        self.state().tasks(scope).find(|(_, t)| is_task(t, task)).map(|(_, t)| t).ok_or_else(|| task_not_found(task))
    }

    async fn tasks(&self, scope: &Scope, query: &Query<TaskField>) -> Result<Slice<Task>> {
        answer(query, self.state().tasks(scope).map(|(_, t)| t).collect(), |t| t)
    }

    async fn task_counts(&self, scope: &Scope, filter: &Filter<TaskField>, by: &[TaskField]) -> Result<Vec<Group>> {
        counted(filter, by, self.state().tasks(scope).map(|(_, t)| t))
    }

    async fn activity(&self, scope: &Scope, activity: ActivityRef) -> Result<ActivityView> {
        self.state()
            .views(scope)
            .into_iter()
            .find(|v| is_activity(&v.activity, activity))
            .ok_or_else(|| activity_not_found(activity))
    }

    async fn activities(&self, scope: &Scope, query: &Query<ActivityField>) -> Result<Slice<ActivityView>> {
        answer(query, self.state().views(scope), |v| v)
    }

    async fn activity_counts(
        &self,
        scope: &Scope,
        filter: &Filter<ActivityField>,
        by: &[ActivityField],
    ) -> Result<Vec<Group>> {
        counted(filter, by, self.state().views(scope).into_iter())
    }

    async fn record(&self, scope: &Scope, kind: RecordKind, id: Uuid) -> Result<Stored<Record>> {
        let found = self.state().records(scope).find(|r| r.value.kind() == kind && r.value.id() == id);
        found.ok_or_else(|| Error::not_found(kind.name(), id))
    }

    async fn record_by_key(&self, scope: &Scope, kind: RecordKind, key: &str) -> Result<Option<Stored<Record>>> {
        Ok(self.state().records(scope).find(|r| r.value.kind() == kind && r.value.key().as_deref() == Some(key)))
    }

    async fn records(
        &self,
        scope: &Scope,
        kind: RecordKind,
        query: &Query<RecordField>,
    ) -> Result<Slice<Stored<Record>>> {
        answer(query, self.state().records(scope).filter(|r| r.value.kind() == kind).collect(), |r| &r.value)
    }

    async fn changes(&self, scope: &Scope, since: Rev, limit: u32) -> Result<Changes> {
        let state = self.state();
        let mut tasks: Vec<_> = state.tasks(scope).filter(|(rev, _)| *rev > since).collect();
        tasks.sort_by_key(|(rev, t)| (*rev, t.status.updated_at));
        let until = match tasks.get((limit.max(1) - 1) as usize) {
            Some((rev, _)) => *rev,
            None => state.counters.rev.max(since),
        };
        tasks.retain(|(rev, _)| *rev <= until);
        Ok(Changes { tasks, until })
    }

    async fn due(&self, scope: &Scope, by: Timestamp) -> Result<Vec<TaskId>> {
        let state = self.state();
        let mut due: Vec<_> = state
            .tasks(scope)
            .filter_map(|(_, t)| Some((t.next_deadline(Timestamp::MIN)?, t.id)))
            .filter(|(deadline, _)| *deadline <= by)
            .collect();
        due.sort();
        Ok(due.into_iter().map(|(_, id)| id).collect())
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    async fn check(&self, scope: &Scope) -> Result<Vec<String>> {
        Ok(self.state().check(scope))
    }

    async fn dump(&self, scope: &Scope) -> Result<String> {
        let state = self.state();
        dump::render(dump::State {
            counters: scope.is_everything().then_some(state.counters),
            records: state.records(scope).collect(),
            tasks: state.tasks(scope).collect(),
            activities: state.views(scope).into_iter().map(|v| v.activity).collect(),
        })
    }
}

/// What a query means, in one place.
fn answer<F: Field, T>(query: &Query<F>, rows: Vec<T>, row: impl Fn(&T) -> &F::Row) -> Result<Slice<T>> {
    check_query(query)?;
    let Query { filter, order, page, total } = query;
    let mut rows: Vec<T> = rows.into_iter().filter(|r| filter.matches(row(r))).collect();
    let total = (*total || matches!(page, Page::Number { .. })).then_some(rows.len() as u64);
    rows.sort_by(|a, b| order.compare(row(a), row(b)));
    if let Page::After { key: Some(key), .. } = page {
        rows.retain(|r| order.compare_to_key(row(r), key) == Ordering::Greater);
    }
    let mut rows = rows.into_iter().skip(usize::try_from(page.offset()).unwrap_or(usize::MAX));
    let items: Vec<T> = rows.by_ref().take(page.limit() as usize).collect();
    let next = rows.next().and_then(|_| items.last()).map(|last| order.key(row(last)));
    Ok(Slice { items, next, total })
}

/// What counts mean, in one place.
fn counted<F: Field>(filter: &Filter<F>, by: &[F], rows: impl Iterator<Item = F::Row>) -> Result<Vec<Group>> {
    check_groups(filter, by)?;
    let mut counts: HashMap<Vec<Option<Value>>, u64> = HashMap::new();
    if by.is_empty() {
        counts.insert(Vec::new(), 0);
    }
    for row in rows.filter(|r| filter.matches(r)) {
        let values = by.iter().map(|f| f.read(&row).single().map(|c| c.to_value())).collect();
        *counts.entry(values).or_default() += 1;
    }
    Ok(counted_groups(counts.into_iter().map(|(values, count)| Group { values, count }).collect()))
}

fn is_task(task: &Task, wanted: TaskRef) -> bool {
    match wanted {
        TaskRef::Id(id) => task.id == id,
        TaskRef::Uuid(uuid) => task.spec.uuid == uuid,
    }
}

fn is_activity(activity: &Activity, wanted: ActivityRef) -> bool {
    match wanted {
        ActivityRef::Id(id) => activity.id == id,
        ActivityRef::Uuid(uuid) => activity.uuid == uuid,
    }
}

impl State {
    fn tenant(&self, id: Uuid) -> Option<&domain::tenant::Tenant> {
        match &self.records.get(&(RecordKind::Tenant, id))?.value {
            Record::Tenant(tenant) => Some(tenant),
            _ => None,
        }
    }

    fn sees(&self, scope: &Scope, tenant: Uuid) -> bool {
        scope.is_everything() || self.tenant(tenant).is_some_and(|t| scope.contains(&t.locator))
    }

    fn tasks<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = (Rev, Task)> + 'a {
        self.tasks.values().filter(|(_, t)| self.sees(scope, t.spec.tenant)).cloned()
    }

    fn views(&self, scope: &Scope) -> Vec<ActivityView> {
        let view = |a: &Activity| Some(ActivityView { activity: a.clone(), task: self.tasks.get(&a.task)?.1.clone() });
        self.activities.values().filter_map(view).filter(|v| self.sees(scope, v.task.spec.tenant)).collect()
    }

    fn records<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = Stored<Record>> + 'a {
        self.records.values().filter(|r| self.sees(scope, r.value.tenant())).cloned()
    }

    fn roll_back(&mut self, counters: Counters, undo: Vec<Undo>) {
        self.counters = counters;
        for step in undo.into_iter().rev() {
            match step {
                Undo::Task(id, before) => drop(set(&mut self.tasks, id, before)),
                Undo::Activity(id, before) => drop(set(&mut self.activities, id, *before)),
                Undo::Record(id, before) => drop(set(&mut self.records, id, *before)),
                Undo::Lane(lane, before) => drop(set(&mut self.lanes, lane, before)),
                Undo::Place(id, before) => drop(set(&mut self.places, id, before)),
            }
        }
    }

    fn check(&self, scope: &Scope) -> Vec<String> {
        let mut found = Vec::new();
        for (rev, task) in self.tasks(scope) {
            let id = task.id;
            if self.tenant(task.spec.tenant).is_none() {
                found.push(format!("task {id} belongs to a tenant that does not exist"));
            }
            if rev > self.counters.rev || task.status.updated_at > self.counters.stamp || id > self.counters.task {
                found.push(format!("task {id} is newer than the ledger"));
            }
            let roots = self.activities.values().filter(|a| a.task == id && a.is_root()).count();
            if roots > 1 || (roots == 0 && task.state() == TaskState::Completed) {
                found.push(format!("task {id} is {} and has {roots} root activities", task.state()));
            }
        }
        for view in self.views(scope) {
            let ActivityView { activity, task } = view;
            if activity.is_open() && task.state() == TaskState::Completed {
                found.push(format!("activity {} is open, but its task {} is completed", activity.id, task.id));
            }
        }
        for stored in self.records(scope) {
            let record = stored.value;
            if self.tenant(record.tenant()).is_none() {
                found.push(format!("the {} {} belongs to a tenant that does not exist", record.kind(), record.id()));
            }
            if stored.rev > self.counters.rev {
                found.push(format!("the {} {} is newer than the ledger", record.kind(), record.id()));
            }
        }
        found
    }
}

/// What was there before a step of a transaction.
enum Undo {
    Task(TaskId, Option<(Rev, Task)>),
    Activity(ActivityId, Box<Option<Activity>>),
    Record((RecordKind, Uuid), Box<Option<Stored<Record>>>),
    Lane(Lane, Option<Clock>),
    Place(TaskId, Option<Place>),
}

/// Puts a value in or takes it away, and gives what was there before.
fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

struct MemoryTx<'a> {
    state: &'a mut State,
    undo: Vec<Undo>,
}

impl MemoryTx<'_> {
    fn set_task(&mut self, id: TaskId, task: Option<(Rev, Task)>) {
        let before = set(&mut self.state.tasks, id, task);
        self.undo.push(Undo::Task(id, before));
    }

    fn set_activity(&mut self, id: ActivityId, activity: Option<Activity>) {
        let before = set(&mut self.state.activities, id, activity);
        self.undo.push(Undo::Activity(id, Box::new(before)));
    }

    fn set_record(&mut self, id: (RecordKind, Uuid), record: Option<Stored<Record>>) {
        let before = set(&mut self.state.records, id, record);
        self.undo.push(Undo::Record(id, Box::new(before)));
    }

    fn put_clock(&mut self, lane: &Lane, clock: Option<Clock>) {
        let before = set(&mut self.state.lanes, lane.clone(), clock);
        self.undo.push(Undo::Lane(lane.clone(), before));
    }

    fn put_place(&mut self, id: TaskId, place: Option<Place>) {
        let before = set(&mut self.state.places, id, place);
        self.undo.push(Undo::Place(id, before));
    }

    /// The tasks that wait in a lane, by number.
    fn in_lane<'a>(&'a self, lane: &'a Lane) -> impl Iterator<Item = (&'a Task, Place)> {
        let waits = |(id, place): (&TaskId, &Place)| Some((&self.state.tasks.get(id)?.1, *place));
        self.state.places.iter().filter_map(waits).filter(|(task, _)| lane.holds(&task.spec))
    }
}

impl Tx for MemoryTx<'_> {
    fn counters(&mut self) -> &mut Counters {
        &mut self.state.counters
    }

    fn task(&mut self, task: TaskRef) -> Result<Option<Task>> {
        Ok(self.state.tasks.values().find(|(_, t)| is_task(t, task)).map(|(_, t)| t.clone()))
    }

    fn insert_task(&mut self, task: &Task, rev: Rev) -> Result<()> {
        self.set_task(task.id, Some((rev, task.clone())));
        Ok(())
    }

    fn update_task(&mut self, task: &Task, rev: Option<Rev>) -> Result<()> {
        let rev = rev.or(self.state.tasks.get(&task.id).map(|(rev, _)| *rev)).unwrap_or_default();
        self.set_task(task.id, Some((rev, task.clone())));
        Ok(())
    }

    fn lanes(&mut self, claim: &Claim) -> Result<Vec<(Lane, Clock)>> {
        let Executor { id, cluster_id } = &claim.executor;
        let open = |lane: &Lane| {
            claim.queues.iter().any(|queue| *queue == lane.queue)
                && lane.agent.as_ref().is_none_or(|a| a == id)
                && lane.cluster.as_ref().is_none_or(|c| c == cluster_id)
        };
        Ok(self.state.lanes.iter().filter(|(lane, _)| open(lane)).map(|(lane, clock)| (lane.clone(), *clock)).collect())
    }

    fn clock(&mut self, lane: &Lane) -> Result<Clock> {
        Ok(self.state.lanes.get(lane).copied().unwrap_or_default())
    }

    fn set_clock(&mut self, lane: &Lane, clock: Clock) -> Result<()> {
        self.put_clock(lane, Some(clock));
        Ok(())
    }

    fn forget_lanes(&mut self) -> Result<()> {
        let empty: Vec<_> = self.state.lanes.keys().filter(|l| self.in_lane(l).next().is_none()).cloned().collect();
        empty.iter().for_each(|lane| self.put_clock(lane, None));
        Ok(())
    }

    fn enqueue(&mut self, lane: &Lane, task: &Task, place: Place) -> Result<()> {
        let clock = self.clock(lane)?;
        self.put_clock(lane, Some(clock));
        self.put_place(task.id, Some(place));
        Ok(())
    }

    fn dequeue(&mut self, task: &Task) -> Result<()> {
        self.put_place(task.id, None);
        Ok(())
    }

    fn waiting(&mut self, lane: &Lane, types: &[String], scope: &Scope, limit: usize) -> Result<Vec<Place>> {
        let wanted = |task: &Task| {
            (types.is_empty() || types.iter().any(|t| *t == task.spec.kind)) && self.state.sees(scope, task.spec.tenant)
        };
        let mut found: Vec<_> = self.in_lane(lane).filter(|(task, _)| wanted(task)).map(|(_, place)| place).collect();
        found.sort();
        found.truncate(limit);
        Ok(found)
    }

    fn youngest(&mut self, lane: &Lane, tenant: Uuid) -> Result<Option<Place>> {
        Ok(self.in_lane(lane).filter(|(task, _)| task.spec.tenant == tenant).map(|(_, place)| place).last())
    }

    fn next_younger(&mut self, lane: &Lane, tenant: Uuid, after: TaskId) -> Result<Option<Place>> {
        let mut of_tenant = self.in_lane(lane).filter(|(task, _)| task.spec.tenant == tenant);
        Ok(of_tenant.find(|(task, _)| task.id > after).map(|(_, place)| place))
    }

    fn purge(&mut self, scope: &Scope, deleted_before: Timestamp) -> Result<u64> {
        let gone: Vec<TaskId> = self
            .state
            .tasks(scope)
            .filter(|(_, t)| t.status.deleted_at.is_some_and(|d| d < deleted_before))
            .map(|(_, t)| t.id)
            .collect();
        let steps: Vec<ActivityId> =
            self.state.activities.values().filter(|a| gone.contains(&a.task)).map(|a| a.id).collect();
        steps.into_iter().for_each(|id| self.set_activity(id, None));
        gone.iter().for_each(|id| self.set_task(*id, None));
        Ok(gone.len() as u64)
    }

    fn activity(&mut self, activity: ActivityRef) -> Result<Option<Activity>> {
        Ok(self.state.activities.values().find(|a| is_activity(a, activity)).cloned())
    }

    fn root_of(&mut self, task: TaskId) -> Result<Option<Activity>> {
        Ok(self.state.activities.values().find(|a| a.task == task && a.is_root()).cloned())
    }

    fn steps(&mut self, task: TaskId) -> Result<Vec<Activity>> {
        Ok(self.state.activities.values().filter(|a| a.task == task && !a.is_root()).cloned().collect())
    }

    fn insert_activity(&mut self, activity: &Activity) -> Result<()> {
        self.set_activity(activity.id, Some(activity.clone()));
        Ok(())
    }

    fn update_activity(&mut self, activity: &Activity) -> Result<()> {
        self.insert_activity(activity)
    }

    fn record(&mut self, kind: RecordKind, id: Uuid) -> Result<Option<Stored<Record>>> {
        Ok(self.state.records.get(&(kind, id)).cloned())
    }

    fn record_by_key(&mut self, kind: RecordKind, key: &str) -> Result<Option<Stored<Record>>> {
        let mut records = self.state.records.values();
        Ok(records.find(|r| r.value.kind() == kind && r.value.key().as_deref() == Some(key)).cloned())
    }

    fn put_record(&mut self, record: &Record, rev: Rev) -> Result<()> {
        self.set_record((record.kind(), record.id()), Some(Stored { rev, value: record.clone() }));
        Ok(())
    }

    fn remove_record(&mut self, kind: RecordKind, id: Uuid) -> Result<()> {
        self.set_record((kind, id), None);
        Ok(())
    }

    fn locator(&mut self, tenant: Uuid) -> Result<Option<String>> {
        Ok(self.state.tenant(tenant).map(|t| t.locator.clone()))
    }

    fn tenant_holds(&mut self, tenant: Uuid) -> Result<bool> {
        let holds = |record: &Record| match record {
            Record::Tenant(t) => t.parent == Some(tenant) && t.deleted_at.is_none(),
            Record::Resource(r) => r.tenant == tenant && r.deleted_at.is_none(),
            Record::Policy(p) => p.tenant == tenant,
            _ => false,
        };
        Ok(self.state.records.values().any(|r| holds(&r.value)))
    }

    fn repository_in_use(&mut self, repository: Uuid) -> Result<bool> {
        let uses = |record: &Record| match record {
            Record::Policy(p) => p.repository == repository,
            Record::Backup(b) => b.repository == repository,
            _ => false,
        };
        Ok(self.state.records.values().any(|r| uses(&r.value)))
    }

    fn open_work(&mut self) -> Result<Vec<Task>> {
        let open = |task: &&Task| is_agent_queue(&task.spec.queue) && task.state() != TaskState::Completed;
        Ok(self.state.tasks.values().map(|(_, task)| task).filter(open).cloned().collect())
    }

    fn sibling_named(&mut self, parent: Uuid, name: &str, but: Uuid) -> Result<bool> {
        let named = |record: &Record| match record {
            Record::Tenant(t) => t.parent == Some(parent) && t.name == name && t.deleted_at.is_none() && t.id != but,
            _ => false,
        };
        Ok(self.state.records.values().any(|r| named(&r.value)))
    }
}
