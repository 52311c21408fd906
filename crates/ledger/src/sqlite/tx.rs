//! The primitives of a commit over one open transaction.

use std::sync::LazyLock;

use domain::activity::{Activity, ActivityId, ActivityRef};
use domain::query::nanos;
use domain::record::{Record, RecordKind};
use domain::task::{Task, TaskId, TaskRef};
use domain::{Result, Scope, Timestamp, Uuid};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params, params_from_iter};

use super::error::Sql;
use super::filter::locators;
use super::read;
use super::rows::{self, ACTIVITY, Columns, STATUS, TASK};
use crate::commit::{Counters, Place, Tx};
use crate::{Claim, Rev, Stored};

/// A transaction that is open on the writer's connection. The counters live beside it, and are stored at its end.
pub(super) struct SqlTx<'a> {
    pub(super) conn: &'a Connection,
    pub(super) counters: Counters,
}

impl SqlTx<'_> {
    fn run(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.conn.prepare_cached(sql).and_then(|mut s| s.execute(params)).sql()
    }

    fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        f: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.conn.prepare_cached(sql).and_then(|mut s| s.query_row(params, f).optional()).sql()
    }
}

fn marks(n: usize) -> String {
    vec!["?"; n].join(", ")
}

static INSERT_TASK: LazyLock<String> =
    LazyLock::new(|| format!("INSERT INTO tasks ({}) VALUES ({})", TASK.join(", "), marks(TASK.len())));
static INSERT_STATUS: LazyLock<String> = LazyLock::new(|| {
    let (columns, marks) = (STATUS.join(", "), marks(STATUS.len()));
    format!(
        "INSERT INTO task_status (id, rev, queue, priority, affinity_agent, deadline, {columns})
         VALUES (?, ?, ?, ?, ?, ?, {marks})"
    )
});
static UPDATE_STATUS: LazyLock<String> = LazyLock::new(|| {
    let (columns, marks) = (STATUS.join(", "), marks(STATUS.len()));
    format!("UPDATE task_status SET (rev, deadline, {columns}) = (?, ?, {marks}) WHERE id = ?")
});
static INSERT_ACTIVITY: LazyLock<String> =
    LazyLock::new(|| format!("INSERT INTO activities ({}) VALUES ({})", ACTIVITY.join(", "), marks(ACTIVITY.len())));
static UPDATE_ACTIVITY: LazyLock<String> = LazyLock::new(|| {
    format!("UPDATE activities SET ({}) = ({}) WHERE id = ?", ACTIVITY.join(", "), marks(ACTIVITY.len()))
});

/// Tasks that wait in one queue, for anybody or for one agent, behind a place. The index gives them in this order, so
/// that a claim reads no more of a long queue than it takes.
pub(super) static QUEUED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM task_status s JOIN tasks t ON t.id = s.id
         WHERE s.state = 0 AND s.queue = ?1 AND s.affinity_agent IS ?2
           AND (?3 IS NULL OR s.priority < ?3 OR (s.priority = ?3 AND s.id > ?4))
           AND (t.affinity_cluster IS NULL OR t.affinity_cluster = ?5)
           AND (?6 = '[]' OR t.type IN (SELECT value FROM json_each(?6)))
           AND (?7 IS NULL OR t.tenant IN (SELECT id FROM tenants WHERE locator >= ?7 AND locator < ?8))
         ORDER BY s.priority DESC, s.id LIMIT ?9",
        read::task_columns()
    )
});

impl Tx for SqlTx<'_> {
    fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    fn task(&mut self, task: TaskRef) -> Result<Option<Task>> {
        read::task(self.conn, task)
    }

    fn insert_task(&mut self, task: &Task, rev: Rev) -> Result<()> {
        self.run(&INSERT_TASK, params_from_iter(rows::task_row(task)?))?;
        let head = [
            Value::Integer(task.id.0),
            Value::Integer(rev.0),
            Value::Text(task.spec.queue.clone()),
            Value::Integer(task.spec.priority.ordinal()),
            task.spec.affinity.agent.clone().map_or(Value::Null, Value::Text),
            rows::deadline(task),
        ];
        self.run(&INSERT_STATUS, params_from_iter(head.into_iter().chain(rows::status_row(task)?)))?;
        Ok(())
    }

    fn update_task(&mut self, task: &Task, rev: Option<Rev>) -> Result<()> {
        let deadline = rows::deadline(task);
        match rev {
            Some(rev) => {
                let head = [Value::Integer(rev.0), deadline];
                let row = head.into_iter().chain(rows::status_row(task)?).chain([Value::Integer(task.id.0)]);
                self.run(&UPDATE_STATUS, params_from_iter(row))?;
            }
            None => {
                // A report without a visible change: the most frequent write, and the smallest.
                let reported = task.status.phase.assignment().map(|a| nanos(a.last_report_at));
                self.run(
                    "UPDATE task_status SET last_report_at = ?, deadline = ? WHERE id = ?",
                    params![reported, deadline, task.id.0],
                )?;
            }
        }
        Ok(())
    }

    fn queued(&mut self, scope: &Scope, claim: &Claim, after: Option<Place>, limit: usize) -> Result<Vec<Task>> {
        let types = serde_json::Value::from(claim.types.clone()).to_string();
        let (from, to) = if scope.is_everything() { (None, None) } else { Some(locators(scope)).unzip() };
        let (priority, id) = after.map(|(p, id)| (p.ordinal(), id.0)).unzip();
        let mut found = Vec::new();
        let mut queues: Vec<_> = claim.queues.iter().collect();
        queues.sort();
        queues.dedup();
        for queue in queues {
            for agent in [None, Some(&claim.executor.id)] {
                let mut statement = self.conn.prepare_cached(&QUEUED).sql()?;
                let cluster = &claim.executor.cluster_id;
                let tasks = statement
                    .query_map(params![queue, agent, priority, id, cluster, types, from, to, limit as i64], |r| {
                        Columns::of(r).task()
                    })
                    .sql()?;
                for task in tasks {
                    found.push(task.sql()?);
                }
            }
        }
        found.sort_by_key(|t| (std::cmp::Reverse(t.spec.priority), t.id));
        found.truncate(limit);
        Ok(found)
    }

    fn purge(&mut self, scope: &Scope, deleted_before: Timestamp) -> Result<u64> {
        let (from, to) = if scope.is_everything() { (None, None) } else { Some(locators(scope)).unzip() };
        // Status and activities go with the task.
        let gone = self.run(
            "DELETE FROM tasks WHERE id IN (SELECT id FROM task_status WHERE deleted_at < ?1)
               AND (?2 IS NULL OR tenant IN (SELECT id FROM tenants WHERE locator >= ?2 AND locator < ?3))",
            params![nanos(deleted_before), from, to],
        )?;
        Ok(gone as u64)
    }

    fn activity(&mut self, activity: ActivityRef) -> Result<Option<Activity>> {
        let columns = ACTIVITY.join(", ");
        let decode = |r: &Row<'_>| Columns::of(r).activity();
        match activity {
            ActivityRef::Id(ActivityId(id)) => {
                self.one(&format!("SELECT {columns} FROM activities WHERE id = ?"), [id], decode)
            }
            ActivityRef::Uuid(uuid) => {
                self.one(&format!("SELECT {columns} FROM activities WHERE uuid = ?"), [rows::uuid(uuid)], decode)
            }
        }
    }

    fn root_of(&mut self, task: TaskId) -> Result<Option<Activity>> {
        let sql = format!("SELECT {} FROM activities WHERE task = ? AND root = 1", ACTIVITY.join(", "));
        self.one(&sql, [task.0], |r| Columns::of(r).activity())
    }

    fn steps(&mut self, task: TaskId) -> Result<Vec<Activity>> {
        let sql = format!("SELECT {} FROM activities WHERE task = ? AND root = 0 ORDER BY id", ACTIVITY.join(", "));
        let mut statement = self.conn.prepare_cached(&sql).sql()?;
        let found = statement.query_map([task.0], |r| Columns::of(r).activity()).sql()?;
        found.collect::<rusqlite::Result<_>>().sql()
    }

    fn insert_activity(&mut self, activity: &Activity) -> Result<()> {
        self.run(&INSERT_ACTIVITY, params_from_iter(rows::activity_row(activity)?)).map(drop)
    }

    fn update_activity(&mut self, activity: &Activity) -> Result<()> {
        let row = rows::activity_row(activity)?.into_iter().chain([Value::Integer(activity.id.0)]);
        self.run(&UPDATE_ACTIVITY, params_from_iter(row)).map(drop)
    }

    fn record(&mut self, kind: RecordKind, id: Uuid) -> Result<Option<Stored<Record>>> {
        read::record(self.conn, kind, "id", &rows::uuid(id))
    }

    fn record_by_key(&mut self, kind: RecordKind, key: &str) -> Result<Option<Stored<Record>>> {
        read::record(self.conn, kind, "\"key\"", &Value::Text(key.to_owned()))
    }

    fn put_record(&mut self, record: &Record, rev: Rev) -> Result<()> {
        let (columns, values): (Vec<_>, Vec<_>) = rows::record_row(record, rev)?.into_iter().unzip();
        let updates: Vec<_> = columns.iter().map(|c| format!("{c} = excluded.{c}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}",
            rows::table(record.kind()),
            columns.join(", "),
            marks(columns.len()),
            updates.join(", ")
        );
        self.run(&sql, params_from_iter(values)).map(drop)
    }

    fn remove_record(&mut self, kind: RecordKind, id: Uuid) -> Result<()> {
        self.run(&format!("DELETE FROM {} WHERE id = ?", rows::table(kind)), [rows::uuid(id)]).map(drop)
    }

    fn locator(&mut self, tenant: Uuid) -> Result<Option<String>> {
        self.one("SELECT locator FROM tenants WHERE id = ?", [rows::uuid(tenant)], |r| r.get(0))
    }

    fn tenant_in_use(&mut self, tenant: Uuid) -> Result<bool> {
        let mut ways = vec![
            "EXISTS (SELECT 1 FROM tenants WHERE parent = ?1)".to_owned(),
            "EXISTS (SELECT 1 FROM tasks WHERE tenant = ?1)".to_owned(),
        ];
        for kind in RecordKind::ALL.iter().filter(|k| **k != RecordKind::Tenant) {
            ways.push(format!("EXISTS (SELECT 1 FROM {} WHERE tenant = ?1)", rows::table(*kind)));
        }
        let sql = format!("SELECT {}", ways.join(" OR "));
        Ok(self.one(&sql, [rows::uuid(tenant)], |r| r.get(0))?.unwrap_or_default())
    }
}

/// What the ledger has given out so far.
pub(super) fn counters(conn: &Connection) -> Result<Counters> {
    let sql = "SELECT rev, stamp, last_task, last_activity FROM counters";
    let (rev, stamp, task, activity) = conn
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)?, r.get(2)?, r.get(3)?))))
        .sql()?;
    let stamp = Timestamp::from_nanosecond(stamp.into()).map_err(super::error::damaged)?;
    Ok(Counters { rev: Rev(rev), stamp, task: TaskId(task), activity: ActivityId(activity) })
}

/// Stores what the ledger has given out.
pub(super) fn set_counters(conn: &Connection, counters: &Counters) -> Result<()> {
    let Counters { rev, stamp, task, activity } = counters;
    conn.prepare_cached("UPDATE counters SET rev = ?, stamp = ?, last_task = ?, last_activity = ?")
        .and_then(|mut s| s.execute(params![rev.0, nanos(*stamp), task.0, activity.0]))
        .sql()?;
    Ok(())
}
