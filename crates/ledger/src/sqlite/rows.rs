//! Tasks, activities and records as rows, and back. The lists of columns stand beside the code that writes and reads
//! them, in the same order.

use std::sync::Arc;

use domain::activity::{Activity, ActivityId, ActivitySpec, ActivityStatus, ActivityView, Body, Step};
use domain::query::{self, Field, RecordField, nanos};
use domain::record::{Record, RecordKind};
use domain::task::{
    Affinity, Assignment, Blocker, Completion, Entity, Executor, Issuer, LeaseToken, Phase, Priority, Progress, Rules,
    Run, State, Status, Task, TaskId, TaskResult, TaskSpec,
};
use domain::{Code, Document, Error, Result, Shared, SignedDuration, Text, Timestamp, Uuid};
use rusqlite::Row;
use rusqlite::types::{FromSql, Type, Value, ValueRef};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::pack;
use super::words::Db;
use crate::{Rev, Stored};

/// The columns of a task, from `tasks t` and `task_status s`, as [`Columns::task`] reads them.
pub(super) const TASK_COLUMNS: &str = "t.id, t.uuid, t.type, t.seeding, t.queue, t.priority,
     t.tenant, t.tags, t.workflow_id, t.issuer_id, t.issuer_cluster_id,
     t.started_by, t.policy, t.resource, t.affinity_agent, t.affinity_cluster, t.rules, t.created_at, t.wish,
     s.state, s.assign_count, s.cancel_requested, s.executor_id, s.executor_cluster_id, s.lease, s.last_report_at,
     s.enqueued_at, s.assigned_at, s.started_at, s.updated_at, s.completed_at, s.deleted_at, s.report";

/// The columns of an activity, from `a` of `filter::activities`, as [`Columns::activity`] reads them.
pub(super) const ACTIVITY_COLUMNS: &str = "a.id, a.uuid, a.task, a.root, a.created_at, a.type, a.parent, a.sustainable,
     a.tags, a.state, a.executor_id, a.executor_cluster_id, a.started_at, a.completed_at, a.updated_at, a.detail";
/// How many of them stand behind `created_at`.
const OF_STEPS: usize = 11;

/// The document `wish` of a task.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish<V, E> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) argument: Option<V>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<V>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_entity: Option<E>,
}

/// The document `report` of a task's status.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Report<P, B, R, W> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) progress: Option<P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) blockers: Option<B>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<R>,
    /// Who wants it cancelled; absent in what was written before it was kept.
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    pub(super) cancelled_by: Option<W>,
}

/// The document `detail` of a step.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Detail<V, P, R> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<V>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) progress: Option<P>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<R>,
}

/// The word that stands for a task's rules; durations are as people write them: 1h 30m.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cancellable: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sustainable: bool,
    max_assign_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heartbeat_interval: Option<String>,
    ack_timeout: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queue_timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exec_timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    life_time: Option<String>,
}

impl Limits {
    /// Those of these rules.
    pub(super) fn of(rules: &Rules) -> Limits {
        let text = |d: SignedDuration| format!("{d:#}");
        Limits {
            cancellable: rules.cancellable,
            sustainable: rules.sustainable,
            max_assign_count: rules.max_assign_count,
            heartbeat_interval: rules.heartbeat_interval.map(text),
            ack_timeout: text(rules.ack_timeout),
            queue_timeout: rules.queue_timeout.map(text),
            exec_timeout: rules.exec_timeout.map(text),
            life_time: rules.life_time.map(text),
        }
    }

    fn rules(&self) -> std::result::Result<Rules, jiff::Error> {
        let duration = |text: &Option<String>| text.as_deref().map(str::parse).transpose();
        Ok(Rules {
            cancellable: self.cancellable,
            sustainable: self.sustainable,
            max_assign_count: self.max_assign_count,
            heartbeat_interval: duration(&self.heartbeat_interval)?,
            ack_timeout: self.ack_timeout.parse()?,
            queue_timeout: duration(&self.queue_timeout)?,
            exec_timeout: duration(&self.exec_timeout)?,
            life_time: duration(&self.life_time)?,
        })
    }
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
        RecordKind::Archive => "archives",
        RecordKind::RestoredFile => "restored_files",
        RecordKind::Channel => "channels",
        RecordKind::Operation => "operations",
        RecordKind::Token => "tokens",
        RecordKind::User => "users",
        RecordKind::ApiClient => "clients",
        RecordKind::ClientKey => "client_keys",
        RecordKind::Revocation => "revocations",
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
        query::Value::Time(t) => Value::Integer(nanos(*t)),
        query::Value::Bool(b) => Value::Integer(i64::from(*b)),
    }
}

/// A uuid as records have it.
pub(super) fn uuid(id: Uuid) -> Value {
    Value::Text(id.to_string())
}

/// A uuid as tasks and activities have it.
pub(super) fn uuid_bytes(id: Uuid) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}

pub(super) fn unprintable(e: serde_json::Error) -> Error {
    Error::new(Code::Internal, format!("a value cannot be stored: {e}"))
}

/// A row that is read column by column.
pub(super) struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl<'r> Columns<'r> {
    /// The row from its first column on.
    pub(super) fn of(row: &'r Row<'r>) -> Columns<'r> {
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

    /// What the number in the next column stands for, if there is one.
    fn known<T>(&mut self, read: impl FnOnce(i64) -> rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
        let id: Option<i64> = self.get()?;
        id.map(|id| read(id).map_err(|e| self.wrong(format!("{id} stands for nothing: {e}")))).transpose()
    }

    fn word(&mut self, db: Db<'_>) -> rusqlite::Result<Option<Text>> {
        self.known(|id| db.text(id))
    }

    fn tags(&mut self, db: Db<'_>) -> rusqlite::Result<Vec<Text>> {
        Ok(self.known(|id| db.tags(id, |json| from_json(json).map_err(unread)))?.unwrap_or_default())
    }

    fn rules(&mut self, db: Db<'_>) -> rusqlite::Result<Rules> {
        let read = |json: &str| from_json::<Limits>(json).map_err(unread)?.rules().map_err(unread);
        self.known(|id| db.rules(id, read))?.ok_or_else(|| self.wrong("it is missing"))
    }

    fn executor(&mut self, db: Db<'_>) -> rusqlite::Result<Executor> {
        Ok(Executor { id: self.word(db)?.unwrap_or_default(), cluster_id: self.word(db)?.unwrap_or_default() })
    }

    fn time(&mut self) -> rusqlite::Result<Timestamp> {
        self.opt_time()?.ok_or_else(|| self.wrong("a time is missing"))
    }

    fn opt_time(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        let nanos: Option<i64> = self.get()?;
        nanos.map(|n| Timestamp::from_nanosecond(n.into()).map_err(|e| self.wrong(e))).transpose()
    }

    /// A uuid, as bytes or as text.
    pub(super) fn uuid(&mut self) -> rusqlite::Result<Uuid> {
        match self.value()? {
            ValueRef::Blob(bytes) => Uuid::from_slice(bytes).map_err(|e| self.wrong(e)),
            ValueRef::Text(text) => Uuid::try_parse_ascii(text).map_err(|e| self.wrong(e)),
            other => Err(self.wrong(format!("{:?} is no uuid", other.data_type()))),
        }
    }

    fn value(&mut self) -> rusqlite::Result<ValueRef<'r>> {
        self.next += 1;
        self.row.get_ref(self.next - 1)
    }

    /// A packed document.
    fn document<T: DeserializeOwned>(&mut self) -> rusqlite::Result<Option<T>> {
        let stored = self.value()?;
        pack::unpack(stored, |json| from_json(json).map_err(|e| e.to_string())).map_err(|e| self.wrong(e))
    }

    fn ordinal<T>(&mut self, from: fn(i64) -> Option<T>) -> rusqlite::Result<T> {
        let n: i64 = self.get()?;
        from(n).ok_or_else(|| self.wrong(format!("{n} is not known")))
    }

    /// A task, from [`TASK_COLUMNS`].
    pub(super) fn task(&mut self, db: Db<'_>) -> rusqlite::Result<Task> {
        let id = TaskId(self.get()?);
        let mut spec = TaskSpec {
            uuid: self.uuid()?,
            kind: self.word(db)?.ok_or_else(|| self.wrong("it is missing"))?,
            seeding: self.get()?,
            queue: self.word(db)?.ok_or_else(|| self.wrong("it is missing"))?,
            priority: self.ordinal(Priority::from_ordinal)?,
            argument: Document::default(),
            context: Document::default(),
            tenant: self.known(|number| db.tenant(number))?.ok_or_else(|| self.wrong("it is missing"))?,
            tags: self.tags(db)?,
            workflow_id: self.get()?,
            issuer: Issuer { id: self.word(db)?.unwrap_or_default(), cluster_id: self.word(db)?.unwrap_or_default() },
            started_by: self.word(db)?,
            policy: self.known(|id| db.named(id))?,
            resource: self.known(|id| db.named(id))?,
            parent_entity: None,
            affinity: Affinity { agent: self.word(db)?, cluster: self.word(db)? },
            rules: self.rules(db)?,
        };
        let created_at = self.time()?;
        if let Some(Wish { argument, context, parent_entity }) = self.document::<Wish<Box<RawValue>, Entity>>()? {
            spec.argument = argument.map(Document::written).unwrap_or_default();
            spec.context = context.map(Document::written).unwrap_or_default();
            spec.parent_entity = parent_entity;
        }
        Ok(Task { id, spec: Arc::new(spec), created_at, status: Shared::new(self.status(db)?) })
    }

    fn status(&mut self, db: Db<'_>) -> rusqlite::Result<Status> {
        let state = self.ordinal(State::from_ordinal)?;
        let (assign_count, cancel_requested) = (self.get()?, self.get()?);
        let executor = self.executor(db)?;
        let lease = self.value()?;
        let lease = pack::token(lease).map_err(|e| self.wrong(e))?;
        let last_report_at = self.opt_time()?;
        let enqueued_at = self.time()?;
        let (assigned_at, started_at) = (self.opt_time()?, self.opt_time()?);
        let updated_at = self.time()?;
        let (completed_at, deleted_at) = (self.opt_time()?, self.opt_time()?);
        let report = self.document::<Report<Progress, Vec<Blocker>, TaskResult, String>>()?;
        let nothing = Report { progress: None, blockers: None, result: None, cancelled_by: None };
        let Report { progress, blockers, result, cancelled_by } = report.unwrap_or(nothing);
        let blockers = blockers.unwrap_or_default();

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
        Ok(Status {
            phase,
            assign_count,
            cancel_requested,
            cancelled_by,
            blockers,
            progress,
            enqueued_at,
            updated_at,
            deleted_at,
        })
    }

    /// An activity, from [`ACTIVITY_COLUMNS`].
    pub(super) fn activity(&mut self, db: Db<'_>) -> rusqlite::Result<Activity> {
        let id = ActivityId(self.get()?);
        let uuid = self.uuid()?;
        let task = TaskId(self.get()?);
        let root: bool = self.get()?;
        let created_at = self.time()?;
        if root {
            self.next += OF_STEPS;
            return Ok(Activity { id, uuid, task, created_at, body: Body::Root });
        }
        let kind = self.word(db)?.ok_or_else(|| self.wrong("it is missing"))?;
        let parent: Option<i64> = self.get()?;
        let mut spec = ActivitySpec {
            uuid,
            kind,
            parent: parent.map(ActivityId),
            sustainable: self.get()?,
            tags: self.tags(db)?,
            context: Document::default(),
        };
        let state = self.ordinal(State::from_ordinal)?;
        let executor = self.executor(db)?;
        let (started_at, completed_at) = (self.opt_time()?, self.opt_time()?);
        let updated_at = self.time()?;
        let detail = self.document::<Detail<Box<RawValue>, Progress, TaskResult>>()?;
        let (context, progress, result) = detail.map_or((None, None, None), |d| (d.context, d.progress, d.result));
        spec.context = context.map(Document::written).unwrap_or_default();
        let step = match (state, started_at, completed_at, result) {
            (State::Enqueued, _, None, None) => Step::Enqueued,
            (State::Started, Some(started_at), None, None) => Step::Started { started_at },
            (State::Paused, Some(started_at), None, None) => Step::Paused { started_at },
            (State::Completed, started_at, Some(completed_at), Some(result)) => {
                Step::Completed { started_at, completed_at, result: Box::new(result) }
            }
            _ => return Err(self.wrong(format!("an activity cannot be {state} like this"))),
        };
        let status = ActivityStatus { step, executor, progress, updated_at };
        Ok(Activity { id, uuid, task, created_at, body: Body::Step(spec, status) })
    }

    /// An activity with its task, from [`ACTIVITY_COLUMNS`] and [`TASK_COLUMNS`].
    pub(super) fn view(&mut self, db: Db<'_>) -> rusqlite::Result<ActivityView> {
        Ok(ActivityView { activity: self.activity(db)?, task: self.task(db)? })
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
            (K::Uuid, Value::Blob(b)) => query::Value::Uuid(Uuid::from_slice(&b).map_err(|e| self.wrong(e))?),
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

fn unread(e: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, e.into())
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
