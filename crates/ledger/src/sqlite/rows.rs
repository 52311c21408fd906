//! Tasks, activities and records as rows, and back. The lists of columns stand beside the code that writes and reads
//! them, in the same order.

use std::sync::Arc;

use domain::activity::{Activity, ActivityId, ActivitySpec, ActivityStatus, ActivityView, Body, Step};
use domain::query::{self, Field, RecordField};
use domain::record::{Record, RecordKind};
use domain::task::{
    Affinity, Assignment, Completion, Executor, Issuer, LeaseToken, Named, Phase, Priority, Rules, Run, State, Status,
    Task, TaskId, TaskResult, TaskSpec,
};
use domain::{Code, Error, Result, SignedDuration, Timestamp, Uuid};
use rusqlite::types::{FromSql, Type, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Rev, Stored};

/// The columns of `tasks`.
pub(super) const TASK: &[&str] = &[
    "id",
    "uuid",
    "type",
    "seeding",
    "queue",
    "priority",
    "argument",
    "context",
    "tags",
    "workflow_id",
    "tenant",
    "issuer_id",
    "issuer_cluster_id",
    "started_by",
    "policy_id",
    "policy_type",
    "policy_name",
    "resource_id",
    "resource_type",
    "resource_name",
    "parent_entity",
    "affinity_agent",
    "affinity_cluster",
    "cancellable",
    "sustainable",
    "max_assign_count",
    "heartbeat_interval",
    "ack_timeout",
    "queue_timeout",
    "exec_timeout",
    "life_time",
    "created_at",
];

/// The columns of `task_status` that a task is read from.
pub(super) const STATUS: &[&str] = &[
    "state",
    "assign_count",
    "cancel_requested",
    "executor_id",
    "executor_cluster_id",
    "lease",
    "last_report_at",
    "enqueued_at",
    "assigned_at",
    "started_at",
    "updated_at",
    "completed_at",
    "deleted_at",
    "progress",
    "blockers",
    "result_code",
    "result",
];

/// The columns of `activities`.
pub(super) const ACTIVITY: &[&str] = &[
    "id",
    "uuid",
    "task",
    "root",
    "created_at",
    "type",
    "parent",
    "sustainable",
    "tags",
    "context",
    "state",
    "executor_id",
    "executor_cluster_id",
    "progress",
    "started_at",
    "completed_at",
    "result_code",
    "result",
    "updated_at",
];

/// A row of `tasks`.
pub(super) fn task_row(task: &Task) -> Result<Vec<Value>> {
    let spec = &*task.spec;
    let rules = &spec.rules;
    let duration = |d: Option<SignedDuration>| d.map_or(Value::Null, |d| Value::Text(format!("{d:#}")));
    let part = |named: &Option<Named>, get: fn(&Named) -> &str| named.as_ref().map_or(Value::Null, |n| text(get(n)));
    Ok(vec![
        Value::Integer(task.id.0),
        uuid(spec.uuid),
        text(&spec.kind),
        flag(spec.seeding),
        text(&spec.queue),
        Value::Integer(spec.priority.ordinal()),
        json_value(&spec.argument)?,
        json_value(&spec.context)?,
        json_list(&spec.tags)?,
        spec.workflow_id.map_or(Value::Null, Value::Integer),
        uuid(spec.tenant),
        text(&spec.issuer.id),
        text(&spec.issuer.cluster_id),
        opt_text(spec.started_by.as_deref()),
        part(&spec.policy, |n| &n.id),
        part(&spec.policy, |n| &n.kind),
        part(&spec.policy, |n| &n.name),
        part(&spec.resource, |n| &n.id),
        part(&spec.resource, |n| &n.kind),
        part(&spec.resource, |n| &n.name),
        opt_json(spec.parent_entity.as_ref())?,
        opt_text(spec.affinity.agent.as_deref()),
        opt_text(spec.affinity.cluster.as_deref()),
        flag(rules.cancellable),
        flag(rules.sustainable),
        Value::Integer(i64::from(rules.max_assign_count)),
        duration(rules.heartbeat_interval),
        duration(Some(rules.ack_timeout)),
        duration(rules.queue_timeout),
        duration(rules.exec_timeout),
        duration(rules.life_time),
        time(task.created_at),
    ])
}

/// A row of `task_status`, without what is copied from `tasks`.
pub(super) fn status_row(task: &Task) -> Result<Vec<Value>> {
    let status = &task.status;
    let assignment = status.phase.assignment();
    let lease = match &status.phase {
        Phase::Completed(done) => done.lease.as_ref(),
        _ => task.lease(),
    };
    Ok(vec![
        Value::Integer(task.state().ordinal()),
        Value::Integer(i64::from(status.assign_count)),
        flag(status.cancel_requested),
        text(task.executor().map_or("", |e| &e.id)),
        text(task.executor().map_or("", |e| &e.cluster_id)),
        lease.map_or(Value::Null, |l| Value::Text(l.0.clone())),
        opt_time(assignment.map(|a| a.last_report_at)),
        time(status.enqueued_at),
        opt_time(task.assigned_at()),
        opt_time(task.started_at()),
        time(status.updated_at),
        opt_time(task.completed_at()),
        opt_time(status.deleted_at),
        opt_json(status.progress.as_ref())?,
        json_list(&status.blockers)?,
        task.result().map_or(Value::Null, |r| Value::Integer(r.code.ordinal())),
        opt_json(task.result())?,
    ])
}

/// When the next timer of a task runs out. A restart may move it later, never earlier.
pub(super) fn deadline(task: &Task) -> Value {
    opt_time(task.next_deadline(Timestamp::MIN))
}

/// A row of `activities`.
pub(super) fn activity_row(activity: &Activity) -> Result<Vec<Value>> {
    let mut row = vec![
        Value::Integer(activity.id.0),
        uuid(activity.uuid),
        Value::Integer(activity.task.0),
        flag(activity.is_root()),
        time(activity.created_at),
    ];
    match &activity.body {
        Body::Root => row.resize(ACTIVITY.len(), Value::Null),
        Body::Step(spec, status) => {
            let (completed_at, result) = match &status.step {
                Step::Completed { completed_at, result, .. } => (Some(*completed_at), Some(&**result)),
                _ => (None, None),
            };
            row.extend([
                text(&spec.kind),
                spec.parent.map_or(Value::Null, |p| Value::Integer(p.0)),
                flag(spec.sustainable),
                json_list(&spec.tags)?,
                json_value(&spec.context)?,
                Value::Integer(status.state().ordinal()),
                text(&status.executor.id),
                text(&status.executor.cluster_id),
                opt_json(status.progress.as_ref())?,
                opt_time(status.started_at()),
                opt_time(completed_at),
                result.map_or(Value::Null, |r| Value::Integer(r.code.ordinal())),
                opt_json(result)?,
                time(status.updated_at),
            ]);
        }
    }
    Ok(row)
}

/// The table of a kind of records.
pub(super) fn table(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Tenant => "tenants",
        RecordKind::Resource => "resources",
        RecordKind::Policy => "policies",
        RecordKind::Application => "applications",
        RecordKind::Agent => "agents",
        RecordKind::Repository => "repositories",
        RecordKind::Backup => "backups",
        RecordKind::Token => "tokens",
        RecordKind::User => "users",
        RecordKind::ApiClient => "clients",
        RecordKind::SigningKey => "signing_keys",
        RecordKind::AuditEntry => "audit",
    }
}

/// The columns and values of a record.
pub(super) fn record_row(record: &Record, rev: Rev) -> Result<Vec<(&'static str, Value)>> {
    use RecordField as F;
    let common = [F::Id, F::Tenant, F::CreatedAt, F::UpdatedAt];
    let fields = common.iter().chain(record.kind().own_fields());
    let mut row: Vec<(&'static str, Value)> =
        fields.map(|f| (f.name(), f.read(record).single().map_or(Value::Null, |c| value(&c.to_value())))).collect();
    row.push(("\"key\"", record.key().map_or(Value::Null, Value::Text)));
    row.push(("rev", Value::Integer(rev.0)));
    row.push(("body", Value::Text(record.to_json().map_err(unprintable)?)));
    if let Record::Tenant(tenant) = record {
        row.push(("locator", Value::Text(tenant.locator.clone())));
    }
    Ok(row)
}

/// A value of a question as it is compared with columns.
pub(super) fn value(value: &query::Value) -> Value {
    match value {
        query::Value::Int(n) | query::Value::Enum(n) => Value::Integer(*n),
        query::Value::Text(s) => Value::Text(s.clone()),
        query::Value::Uuid(u) => uuid(*u),
        query::Value::Time(t) => time(*t),
        query::Value::Bool(b) => flag(*b),
    }
}

pub(super) fn uuid(id: Uuid) -> Value {
    Value::Text(id.to_string())
}

pub(super) fn time(t: Timestamp) -> Value {
    Value::Integer(query::nanos(t))
}

fn opt_time(t: Option<Timestamp>) -> Value {
    t.map_or(Value::Null, time)
}

fn flag(b: bool) -> Value {
    Value::Integer(i64::from(b))
}

/// Empty text counts as absent.
fn text(s: &str) -> Value {
    if s.is_empty() { Value::Null } else { Value::Text(s.to_owned()) }
}

fn opt_text(s: Option<&str>) -> Value {
    text(s.unwrap_or(""))
}

fn opt_json(v: Option<&impl Serialize>) -> Result<Value> {
    v.map_or(Ok(Value::Null), |v| serde_json::to_string(v).map(Value::Text).map_err(unprintable))
}

fn json_value(v: &serde_json::Value) -> Result<Value> {
    opt_json((!v.is_null()).then_some(v))
}

fn json_list(v: &[impl Serialize]) -> Result<Value> {
    opt_json((!v.is_empty()).then_some(&v))
}

fn unprintable(e: serde_json::Error) -> Error {
    Error::new(Code::Internal, format!("a value cannot be stored: {e}"))
}

/// A row that is read column by column.
pub(super) struct Columns<'r> {
    row: &'r rusqlite::Row<'r>,
    next: usize,
}

impl<'r> Columns<'r> {
    /// The row from its first column on.
    pub(super) fn of(row: &'r rusqlite::Row<'r>) -> Columns<'r> {
        Columns { row, next: 0 }
    }

    pub(super) fn get<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    fn wrong(&self, what: impl std::fmt::Display) -> rusqlite::Error {
        let column = self.next.saturating_sub(1);
        let name = self.row.as_ref().column_name(column).unwrap_or("?").to_owned();
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, format!("column '{name}': {what}").into())
    }

    fn text(&mut self) -> rusqlite::Result<String> {
        Ok(self.get::<Option<String>>()?.unwrap_or_default())
    }

    fn time(&mut self) -> rusqlite::Result<Timestamp> {
        self.opt_time()?.ok_or_else(|| self.wrong("a time is missing"))
    }

    fn opt_time(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        let nanos: Option<i64> = self.get()?;
        nanos.map(|n| Timestamp::from_nanosecond(n.into()).map_err(|e| self.wrong(e))).transpose()
    }

    fn uuid(&mut self) -> rusqlite::Result<Uuid> {
        let text: String = self.get()?;
        Uuid::parse_str(&text).map_err(|e| self.wrong(e))
    }

    fn ordinal<T>(&mut self, from: fn(i64) -> Option<T>) -> rusqlite::Result<T> {
        let n: i64 = self.get()?;
        from(n).ok_or_else(|| self.wrong(format!("{n} is not known")))
    }

    fn json<T: DeserializeOwned>(&mut self) -> rusqlite::Result<Option<T>> {
        let text: Option<String> = self.get()?;
        text.map(|t| from_json(&t).map_err(|e| self.wrong(e))).transpose()
    }

    fn duration(&mut self) -> rusqlite::Result<Option<SignedDuration>> {
        let text: Option<String> = self.get()?;
        text.map(|t| t.parse().map_err(|e| self.wrong(e))).transpose()
    }

    fn named(&mut self) -> rusqlite::Result<Option<Named>> {
        let (id, kind, name): (Option<String>, _, _) = (self.get()?, self.text()?, self.text()?);
        Ok(id.map(|id| Named { id, kind, name }))
    }

    /// A task, from the columns [`TASK`] and [`STATUS`].
    pub(super) fn task(&mut self) -> rusqlite::Result<Task> {
        let id = TaskId(self.get()?);
        let spec = TaskSpec {
            uuid: self.uuid()?,
            kind: self.get()?,
            seeding: self.get()?,
            queue: self.get()?,
            priority: self.ordinal(Priority::from_ordinal)?,
            argument: self.json()?.unwrap_or_default(),
            context: self.json()?.unwrap_or_default(),
            tags: self.json()?.unwrap_or_default(),
            workflow_id: self.get()?,
            tenant: self.uuid()?,
            issuer: Issuer { id: self.text()?, cluster_id: self.text()? },
            started_by: self.get()?,
            policy: self.named()?,
            resource: self.named()?,
            parent_entity: self.json()?,
            affinity: Affinity { agent: self.get()?, cluster: self.get()? },
            rules: Rules {
                cancellable: self.get()?,
                sustainable: self.get()?,
                max_assign_count: self.get()?,
                heartbeat_interval: self.duration()?,
                ack_timeout: self.duration()?.ok_or_else(|| self.wrong("it is missing"))?,
                queue_timeout: self.duration()?,
                exec_timeout: self.duration()?,
                life_time: self.duration()?,
            },
        };
        let created_at = self.time()?;
        Ok(Task { id, spec: Arc::new(spec), created_at, status: self.status()? })
    }

    fn status(&mut self) -> rusqlite::Result<Status> {
        let state = self.ordinal(State::from_ordinal)?;
        let (assign_count, cancel_requested) = (self.get()?, self.get()?);
        let executor = Executor { id: self.text()?, cluster_id: self.text()? };
        let lease: Option<String> = self.get()?;
        let lease = lease.map(LeaseToken);
        let last_report_at = self.opt_time()?;
        let enqueued_at = self.time()?;
        let (assigned_at, started_at) = (self.opt_time()?, self.opt_time()?);
        let updated_at = self.time()?;
        let (completed_at, deleted_at) = (self.opt_time()?, self.opt_time()?);
        let (progress, blockers) = (self.json()?, self.json()?.unwrap_or_default());
        let _: Option<i64> = self.get()?; // The code stands in the result, too.
        let result = self.json()?;

        let missing = |what: &str| self.wrong(format!("the task is {state} and has no {what}"));
        let run = || -> rusqlite::Result<Run> {
            Ok(Run {
                assignment: assignment(&executor, lease.clone(), assigned_at, last_report_at)
                    .ok_or_else(|| missing("assignment"))?,
                started_at: started_at.ok_or_else(|| missing("start"))?,
            })
        };
        let phase = match state {
            State::Enqueued => Phase::Enqueued,
            State::Assigned => Phase::Assigned(
                assignment(&executor, lease, assigned_at, last_report_at).ok_or_else(|| missing("assignment"))?,
            ),
            State::Started => Phase::Started(run()?),
            State::Paused => Phase::Paused(run()?),
            State::Completed => Phase::Completed(Box::new(Completion {
                // Whoever had it, had it from some time on.
                executor: assigned_at.map(|_| executor),
                assigned_at,
                started_at,
                lease,
                completed_at: completed_at.ok_or_else(|| missing("end"))?,
                result: result.ok_or_else(|| missing("result"))?,
            })),
        };
        Ok(Status { phase, assign_count, cancel_requested, blockers, progress, enqueued_at, updated_at, deleted_at })
    }

    /// An activity, from the columns [`ACTIVITY`].
    pub(super) fn activity(&mut self) -> rusqlite::Result<Activity> {
        let id = ActivityId(self.get()?);
        let uuid = self.uuid()?;
        let task = TaskId(self.get()?);
        let root: bool = self.get()?;
        let created_at = self.time()?;
        if root {
            self.next += ACTIVITY.len() - 5;
            return Ok(Activity { id, uuid, task, created_at, body: Body::Root });
        }
        let kind = self.get()?;
        let parent: Option<i64> = self.get()?;
        let spec = ActivitySpec {
            uuid,
            kind,
            parent: parent.map(ActivityId),
            sustainable: self.get()?,
            tags: self.json()?.unwrap_or_default(),
            context: self.json()?.unwrap_or_default(),
        };
        let state = self.ordinal(State::from_ordinal)?;
        let executor = Executor { id: self.text()?, cluster_id: self.text()? };
        let progress = self.json()?;
        let (started_at, completed_at) = (self.opt_time()?, self.opt_time()?);
        let _: Option<i64> = self.get()?; // The code stands in the result, too.
        let result: Option<TaskResult> = self.json()?;
        let step = match (state, started_at, completed_at, result) {
            (State::Enqueued, _, None, None) => Step::Enqueued,
            (State::Started, Some(started_at), None, None) => Step::Started { started_at },
            (State::Paused, Some(started_at), None, None) => Step::Paused { started_at },
            (State::Completed, started_at, Some(completed_at), Some(result)) => {
                Step::Completed { started_at, completed_at, result: Box::new(result) }
            }
            _ => return Err(self.wrong(format!("an activity cannot be {state} like this"))),
        };
        let status = ActivityStatus { step, executor, progress, updated_at: self.time()? };
        Ok(Activity { id, uuid, task, created_at, body: Body::Step(spec, status) })
    }

    /// An activity with its task, from the columns [`ACTIVITY`], [`TASK`] and [`STATUS`].
    pub(super) fn view(&mut self) -> rusqlite::Result<ActivityView> {
        Ok(ActivityView { activity: self.activity()?, task: self.task()? })
    }

    /// A record, from the columns `rev` and `body`.
    pub(super) fn record(&mut self, kind: RecordKind) -> rusqlite::Result<Stored<Record>> {
        let rev = Rev(self.get()?);
        let body: String = self.get()?;
        let value = Record::from_json(kind, &body).map_err(|e| self.wrong(e))?;
        Ok(Stored { rev, value })
    }

    /// A value of a field, as it is grouped by.
    pub(super) fn field(&mut self, kind: query::FieldKind) -> rusqlite::Result<Option<query::Value>> {
        use domain::query::FieldKind as K;
        let value: Value = self.get()?;
        Ok(Some(match (kind, value) {
            (_, Value::Null) => return Ok(None),
            (K::Int, Value::Integer(n)) => query::Value::Int(n),
            (K::Enum(_), Value::Integer(n)) => query::Value::Enum(n),
            (K::Bool, Value::Integer(n)) => query::Value::Bool(n != 0),
            (K::Time, Value::Integer(n)) => {
                query::Value::Time(Timestamp::from_nanosecond(n.into()).map_err(|e| self.wrong(e))?)
            }
            (K::Text | K::Texts, Value::Text(s)) => query::Value::Text(s),
            (K::Uuid, Value::Text(s)) => query::Value::Uuid(Uuid::parse_str(&s).map_err(|e| self.wrong(e))?),
            (_, other) => return Err(self.wrong(format!("{:?} is of another type", other.data_type()))),
        }))
    }
}

fn assignment(
    executor: &Executor,
    lease: Option<LeaseToken>,
    assigned_at: Option<Timestamp>,
    last_report_at: Option<Timestamp>,
) -> Option<Assignment> {
    Some(Assignment {
        executor: executor.clone(),
        lease: lease?,
        assigned_at: assigned_at?,
        last_report_at: last_report_at?,
    })
}

/// Reads JSON that we wrote. What came in nested as deep as a parser allows lies one or two levels deeper here, so the
/// usual limit must not apply.
fn from_json<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    let mut json = serde_json::Deserializer::from_str(text);
    json.disable_recursion_limit();
    let value = T::deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}
