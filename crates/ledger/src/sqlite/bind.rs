//! Tasks, their status and steps on their way into the file: values are bound one after the other, in the order in which
//! the statement beside them names its columns.

use domain::activity::{Activity, ActivitySpec, ActivityStatus, Step};
use domain::query::nanos;
use domain::task::{Entity, Named, Phase, Task, TaskResult};
use domain::{Code, Error, Result, Text, Timestamp, Uuid};
use rusqlite::types::{ToSql, Value};

use super::error::Sql;
use super::names::Numbers;
use super::pack;
use super::rows::{self, Detail, Limits, Report, Wish};
use crate::Rev;

/// A statement whose values are bound one after the other, without copying what they are.
pub(super) struct Bind<'s, 'c> {
    statement: &'s mut rusqlite::Statement<'c>,
    next: usize,
}

impl<'s, 'c> Bind<'s, 'c> {
    /// From the first value on.
    pub(super) fn of(statement: &'s mut rusqlite::Statement<'c>) -> Bind<'s, 'c> {
        Bind { statement, next: 1 }
    }

    /// The next value.
    pub(super) fn put(&mut self, value: impl ToSql) -> Result<()> {
        self.statement.raw_bind_parameter(self.next, value).sql()?;
        self.next += 1;
        Ok(())
    }

    /// Carries it out; how many rows changed.
    pub(super) fn run(self) -> Result<usize> {
        self.statement.raw_execute().sql()
    }

    fn time(&mut self, t: Option<Timestamp>) -> Result<()> {
        self.put(t.map(nanos))
    }
}

/// Stores what was wished.
pub(super) const INSERT_TASK: &str = "INSERT INTO tasks (id, uuid, type, seeding, queue, priority, tenant, tags, workflow_id, issuer_id, issuer_cluster_id,
     started_by, policy, resource, affinity_agent, affinity_cluster, rules, created_at, parent, wish)
     VALUES (?, ?, ?, ?, ?, ?, (SELECT number FROM tenants WHERE id = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Stores where a new task is.
pub(super) const INSERT_STATUS: &str =
    "INSERT INTO task_status (id, rev, deadline, state, assign_count, cancel_requested, executor_id,
     executor_cluster_id, lease, last_report_at, enqueued_at, assigned_at, started_at, updated_at, completed_at,
     deleted_at, result_code, report)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Stores where a task is now.
pub(super) const UPDATE_STATUS: &str =
    "UPDATE task_status SET rev = ?, deadline = ?, state = ?, assign_count = ?, cancel_requested = ?, executor_id = ?,
     executor_cluster_id = ?, lease = ?, last_report_at = ?, enqueued_at = ?, assigned_at = ?, started_at = ?,
     updated_at = ?, completed_at = ?, deleted_at = ?, result_code = ?, report = ? WHERE id = ?";

/// Binds the values of [`INSERT_TASK`].
pub(super) fn task(bind: &mut Bind<'_, '_>, task: &Task, numbers: Numbers<'_>) -> Result<()> {
    let spec = &*task.spec;
    let missing = |what: &str| Error::new(Code::Internal, format!("a task without a {what} cannot be stored"));
    bind.put(task.id.0)?;
    bind.put(spec.uuid.as_bytes())?;
    bind.put(numbers.word(&spec.kind)?.ok_or_else(|| missing("type"))?)?;
    bind.put(spec.seeding)?;
    bind.put(numbers.word(&spec.queue)?.ok_or_else(|| missing("queue"))?)?;
    bind.put(spec.priority.ordinal())?;
    bind.put(&*spec.tenant.hyphenated().encode_lower(&mut Uuid::encode_buffer()))?;
    bind.put(tags(&spec.tags, numbers)?)?;
    bind.put(spec.workflow_id)?;
    bind.put(numbers.word(&spec.issuer.id)?)?;
    bind.put(numbers.word(&spec.issuer.cluster_id)?)?;
    bind.put(numbers.word(spec.started_by.as_deref().unwrap_or(""))?)?;
    bind.put(spec.policy.as_ref().map(|p| numbers.named(p)).transpose()?)?;
    bind.put(spec.resource.as_ref().map(|r| numbers.named(r)).transpose()?)?;
    bind.put(numbers.word(spec.affinity.agent.as_deref().unwrap_or(""))?)?;
    bind.put(numbers.word(spec.affinity.cluster.as_deref().unwrap_or(""))?)?;
    bind.put(numbers.word(&serde_json::to_string(&Limits::of(&spec.rules)).map_err(rows::unprintable)?)?)?;
    bind.put(nanos(task.created_at))?;
    let (argument, context) = (present(&spec.argument), present(&spec.context));
    let parent_entity = spec.parent_entity.as_ref();
    bind.put(parent_entity.map(|e| numbers.named(&parent(e))).transpose()?)?;
    let is_empty = argument.is_none() && context.is_none() && parent_entity.is_none();
    bind.put(if is_empty { Value::Null } else { pack::packed(&Wish { argument, context, parent_entity })? })
}

/// What a task hangs below, as it is named.
fn parent(entity: &Entity) -> Named {
    Named { id: entity.id.clone(), kind: entity.kind.clone(), name: entity.value.clone() }
}

/// Binds the values of a status from `rev` on, as [`INSERT_STATUS`] and [`UPDATE_STATUS`] name them.
pub(super) fn status(bind: &mut Bind<'_, '_>, task: &Task, rev: Rev, numbers: Numbers<'_>) -> Result<()> {
    let status = &task.status;
    let assignment = status.phase.assignment();
    let lease = match &status.phase {
        Phase::Completed(done) => done.lease.as_ref(),
        _ => task.lease(),
    };
    let result = task.result();
    bind.put(rev.0)?;
    bind.put(deadline(task))?;
    bind.put(task.state().ordinal())?;
    bind.put(status.assign_count)?;
    bind.put(status.cancel_requested)?;
    bind.put(numbers.word(task.executor().map_or("", |e| &e.id))?)?;
    bind.put(numbers.word(task.executor().map_or("", |e| &e.cluster_id))?)?;
    bind.put(lease.map_or(Value::Null, pack::lease))?;
    bind.time(assignment.map(|a| a.last_report_at))?;
    bind.put(nanos(status.enqueued_at))?;
    bind.time(task.assigned_at())?;
    bind.time(task.started_at())?;
    bind.put(nanos(status.updated_at))?;
    bind.time(task.completed_at())?;
    bind.time(status.deleted_at)?;
    bind.put(result.map(|r| r.code.ordinal()))?;
    let blockers = (!status.blockers.is_empty()).then_some(&status.blockers);
    let cancelled_by = status.cancelled_by.as_ref();
    let report = Report { progress: status.progress.as_ref(), blockers, result, cancelled_by };
    bind.put(match report {
        Report { progress: None, blockers: None, result: None, cancelled_by: None } => Value::Null,
        // Why something failed is what people look for.
        Report { result: Some(TaskResult { error: Some(_), .. }), .. } => pack::plain(&report)?,
        _ => pack::packed(&report)?,
    })
}

/// When the next timer of a task runs out. A restart may move it later, never earlier.
pub(super) fn deadline(task: &Task) -> Option<i64> {
    task.next_deadline(Timestamp::MIN).map(nanos)
}

/// Stores a step.
pub(super) const INSERT_STEP: &str =
    "INSERT INTO steps (uuid, task, created_at, type, parent, sustainable, tags, state, executor_id,
     executor_cluster_id, started_at, completed_at, updated_at, result_code, detail, id)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Stores a step that is there.
pub(super) const UPDATE_STEP: &str =
    "UPDATE steps SET uuid = ?, task = ?, created_at = ?, type = ?, parent = ?, sustainable = ?, tags = ?, state = ?,
     executor_id = ?, executor_cluster_id = ?, started_at = ?, completed_at = ?, updated_at = ?, result_code = ?,
     detail = ? WHERE id = ?";

/// Binds the values of [`INSERT_STEP`] and [`UPDATE_STEP`].
pub(super) fn step(
    bind: &mut Bind<'_, '_>,
    activity: &Activity,
    (spec, status): (&ActivitySpec, &ActivityStatus),
    numbers: Numbers<'_>,
) -> Result<()> {
    let (completed_at, result) = match &status.step {
        Step::Completed { completed_at, result, .. } => (Some(*completed_at), Some(&**result)),
        _ => (None, None),
    };
    bind.put(activity.uuid.as_bytes())?;
    bind.put(activity.task.0)?;
    bind.put(nanos(activity.created_at))?;
    bind.put(numbers.word(&spec.kind)?)?;
    bind.put(spec.parent.map(|p| p.0))?;
    bind.put(spec.sustainable)?;
    bind.put(tags(&spec.tags, numbers)?)?;
    bind.put(status.state().ordinal())?;
    bind.put(numbers.word(&status.executor.id)?)?;
    bind.put(numbers.word(&status.executor.cluster_id)?)?;
    bind.time(status.started_at())?;
    bind.time(completed_at)?;
    bind.put(nanos(status.updated_at))?;
    bind.put(result.map(|r| r.code.ordinal()))?;
    let detail = Detail { context: present(&spec.context), progress: status.progress.as_ref(), result };
    bind.put(match detail {
        Detail { context: None, progress: None, result: None } => Value::Null,
        _ => pack::packed(&detail)?,
    })?;
    bind.put(activity.id.0)
}

fn tags(tags: &[Text], numbers: Numbers<'_>) -> Result<Option<i64>> {
    if tags.is_empty() {
        return Ok(None);
    }
    numbers.word(&serde_json::to_string(tags).map_err(rows::unprintable)?)
}

fn present(v: &serde_json::Value) -> Option<&serde_json::Value> {
    (!v.is_null()).then_some(v)
}
