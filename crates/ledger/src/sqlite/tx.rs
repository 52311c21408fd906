//! The primitives of a commit over one open transaction.

use domain::activity::{Activity, ActivityId, ActivityRef, ActivitySpec, ActivityStatus, Body};
use domain::agent::{AGENT_QUEUE, GATED_QUEUE, is_agent_queue};
use domain::query::nanos;
use domain::record::{Record, RecordKind};
use domain::task::{Task, TaskId, TaskRef};
use domain::{Result, Scope, Timestamp, Uuid};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params, params_from_iter};

use super::bind::{self, Bind};
use super::credentials::Credentials;
use super::error::Sql;
use super::filter::locators;
use super::names::Numbers;
use super::remembered::Remembered;
use super::rows;
use super::words::Db;
use super::{queue, read, steps};
use crate::commit::{Clock, Counters, Lane, Place, Tx};
use crate::index::Change;
use crate::{Claim, Rev, Stored};

/// A transaction that is open on the writer's connection. The counters live beside it, and are stored at its end.
pub(super) struct SqlTx<'a> {
    pub(super) conn: &'a Connection,
    pub(super) counters: Counters,
    remembered: &'a Remembered,
    /// What the index must learn when this is durable, in the order in which it happened.
    pub(super) changes: Vec<Change>,
    /// Whether a record may be another of those that [`Credentials`] keeps.
    pub(super) credentials: bool,
}

impl<'a> SqlTx<'a> {
    /// The transaction that was begun on the connection just now.
    pub(super) fn new(conn: &'a Connection, counters: Counters, remembered: &'a Remembered) -> SqlTx<'a> {
        SqlTx { conn, counters, remembered, changes: Vec::new(), credentials: false }
    }

    fn db(&self) -> Db<'a> {
        self.remembered.db(self.conn)
    }

    fn numbers(&self) -> Numbers<'a> {
        self.remembered.numbers(self.conn)
    }

    /// A task was stored.
    fn changed(&mut self, task: &Task) {
        self.remembered.keep(task.clone());
        self.changes.push(Change::Task(task.clone()));
    }

    fn run(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.conn.prepare_cached(sql).and_then(|mut s| s.execute(params)).sql()
    }

    fn put_step(&mut self, sql: &str, activity: &Activity, step: (&ActivitySpec, &ActivityStatus)) -> Result<()> {
        let mut statement = self.conn.prepare_cached(sql).sql()?;
        let mut values = Bind::of(&mut statement);
        bind::step(&mut values, activity, step, self.numbers())?;
        values.run().map(drop)
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

impl Tx for SqlTx<'_> {
    fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    fn task(&mut self, task: TaskRef) -> Result<Option<Task>> {
        let id = match task {
            TaskRef::Id(id) => id,
            TaskRef::Uuid(uuid) => {
                let found =
                    self.one("SELECT id FROM tasks WHERE uuid = ?", [rows::uuid_bytes(uuid)], |r| r.get(0).map(TaskId));
                let Some(id) = found? else { return Ok(None) };
                id
            }
        };
        if let Some(task) = self.remembered.task(id) {
            return Ok(Some(task));
        }
        let found = read::task(self.db(), TaskRef::Id(id))?;
        if let Some(task) = &found {
            self.remembered.keep(task.clone());
        }
        Ok(found)
    }

    fn insert_task(&mut self, task: &Task, rev: Rev) -> Result<()> {
        let mut statement = self.conn.prepare_cached(bind::INSERT_TASK).sql()?;
        let mut values = Bind::of(&mut statement);
        bind::task(&mut values, task, self.numbers())?;
        values.run()?;
        let mut statement = self.conn.prepare_cached(bind::INSERT_STATUS).sql()?;
        let mut values = Bind::of(&mut statement);
        values.put(task.id.0)?;
        bind::status(&mut values, task, rev, self.numbers())?;
        values.run()?;
        self.changed(task);
        Ok(())
    }

    fn update_task(&mut self, task: &Task, rev: Option<Rev>) -> Result<()> {
        match rev {
            Some(rev) => {
                let mut statement = self.conn.prepare_cached(bind::UPDATE_STATUS).sql()?;
                let mut values = Bind::of(&mut statement);
                bind::status(&mut values, task, rev, self.numbers())?;
                values.put(task.id.0)?;
                values.run()?;
                self.changed(task);
            }
            None => {
                // A report without a visible change: the most frequent write, and the smallest.
                let reported = task.status.phase.assignment().map(|a| nanos(a.last_report_at));
                self.run(
                    "UPDATE task_status SET last_report_at = ?, deadline = ? WHERE id = ?",
                    params![reported, bind::deadline(task), task.id.0],
                )?;
                self.remembered.keep(task.clone());
                self.changes.push(Change::Reported(task.id));
            }
        }
        Ok(())
    }

    fn lanes(&mut self, claim: &Claim) -> Result<Vec<(Lane, Clock)>> {
        queue::lanes(self.conn, claim)
    }

    fn clock(&mut self, lane: &Lane) -> Result<Clock> {
        queue::clock(self.conn, lane)
    }

    fn set_clock(&mut self, lane: &Lane, clock: Clock) -> Result<()> {
        queue::set_clock(self.conn, lane, clock)
    }

    fn forget_lanes(&mut self) -> Result<()> {
        queue::forget_lanes(self.conn)
    }

    fn enqueue(&mut self, lane: &Lane, task: &Task, place: Place) -> Result<()> {
        queue::enqueue(self.conn, lane, task, place)
    }

    fn dequeue(&mut self, task: &Task) -> Result<()> {
        queue::dequeue(self.conn, task)
    }

    fn waiting(&mut self, lane: &Lane, types: &[String], scope: &Scope, limit: usize) -> Result<Vec<Place>> {
        queue::waiting(self.conn, lane, types, scope, limit)
    }

    fn youngest(&mut self, lane: &Lane, tenant: Uuid) -> Result<Option<Place>> {
        queue::youngest(self.conn, lane, tenant)
    }

    fn next_younger(&mut self, lane: &Lane, tenant: Uuid, task: TaskId) -> Result<Option<Place>> {
        queue::next_younger(self.conn, lane, tenant, task)
    }

    fn purge(&mut self, scope: &Scope, deleted_before: Timestamp) -> Result<u64> {
        let (from, to) = if scope.is_everything() { (None, None) } else { Some(locators(scope)).unzip() };
        // Status and activities go with the task.
        let sql = "DELETE FROM tasks WHERE id IN (SELECT id FROM task_status WHERE deleted_at < ?1)
                     AND (?2 IS NULL OR tenant IN (SELECT number FROM tenants WHERE locator >= ?2 AND locator < ?3))
                   RETURNING id";
        let mut statement = self.conn.prepare_cached(sql).sql()?;
        let gone = statement.query_map(params![nanos(deleted_before), from, to], |r| r.get(0)).sql()?;
        let gone: Vec<i64> = gone.collect::<rusqlite::Result<_>>().sql()?;
        // The revision of this commit, which the counters have when it is over.
        let rev = self.counters.rev.0 + 1;
        for id in &gone {
            self.run("INSERT INTO purged (rev, id) VALUES (?, ?)", [rev, *id])?;
            self.remembered.forget(TaskId(*id));
            self.changes.push(Change::Gone(TaskId(*id)));
        }
        Ok(gone.len() as u64)
    }

    fn activity(&mut self, activity: ActivityRef) -> Result<Option<Activity>> {
        steps::activity(self.db(), activity)
    }

    fn root_of(&mut self, task: TaskId) -> Result<Option<Activity>> {
        steps::root_of(self.db(), task)
    }

    fn steps(&mut self, task: TaskId) -> Result<Vec<Activity>> {
        steps::of_task(self.db(), task)
    }

    fn insert_activity(&mut self, activity: &Activity) -> Result<()> {
        match &activity.body {
            Body::Root => steps::insert_root(self.conn, activity),
            Body::Step(spec, status) => self.put_step(bind::INSERT_STEP, activity, (spec, status)),
        }
    }

    fn update_activity(&mut self, activity: &Activity) -> Result<()> {
        match &activity.body {
            // It shows its task, and changes with it.
            Body::Root => Ok(()),
            Body::Step(spec, status) => self.put_step(bind::UPDATE_STEP, activity, (spec, status)),
        }
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
        self.credentials |= Credentials::keep(record.kind());
        self.run(&sql, params_from_iter(values))?;
        if let Record::Tenant(tenant) = record {
            self.changes.push(Change::Tenant(tenant.id, tenant.locator.clone()));
        }
        Ok(())
    }

    fn remove_record(&mut self, kind: RecordKind, id: Uuid) -> Result<()> {
        self.credentials |= Credentials::keep(kind);
        self.run(&format!("DELETE FROM {} WHERE id = ?", rows::table(kind)), [rows::uuid(id)]).map(drop)
    }

    fn locator(&mut self, tenant: Uuid) -> Result<Option<String>> {
        self.one("SELECT locator FROM tenants WHERE id = ?", [rows::uuid(tenant)], |r| r.get(0))
    }

    fn tenant_holds(&mut self, tenant: Uuid) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM tenants WHERE parent = ?1 AND ended_at IS NULL)
                       OR EXISTS (SELECT 1 FROM resources WHERE tenant = ?1 AND ended_at IS NULL)
                       OR EXISTS (SELECT 1 FROM policies WHERE tenant = ?1)";
        Ok(self.one(sql, [rows::uuid(tenant)], |r| r.get(0))?.unwrap_or_default())
    }

    fn repository_in_use(&mut self, repository: Uuid) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM policies WHERE repository = ?1)
                       OR EXISTS (SELECT 1 FROM backups WHERE repository = ?1)";
        Ok(self.one(sql, [rows::uuid(repository)], |r| r.get(0))?.unwrap_or_default())
    }

    fn open_work(&mut self) -> Result<Vec<Task>> {
        // Whoever has a task in hand must report, so a timer runs.
        let sql = "SELECT id FROM waiting WHERE lane IN (SELECT id FROM lanes WHERE queue IN (?1, ?2))
                   UNION SELECT id FROM task_status WHERE deadline IS NOT NULL ORDER BY id";
        let mut statement = self.conn.prepare_cached(sql).sql()?;
        let open = statement.query_map([AGENT_QUEUE, GATED_QUEUE], |r| r.get(0).map(TaskId)).sql()?;
        let open: Vec<TaskId> = open.collect::<rusqlite::Result<_>>().sql()?;
        let mut tasks = Vec::new();
        for id in open {
            tasks.extend(self.task(TaskRef::Id(id))?.filter(|task| is_agent_queue(&task.spec.queue)));
        }
        Ok(tasks)
    }

    fn sibling_named(&mut self, parent: Uuid, name: &str, but: Uuid) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM tenants
                   WHERE parent = ?1 AND name = ?2 AND ended_at IS NULL AND id <> ?3)";
        let values = params![rows::uuid(parent), name, rows::uuid(but)];
        Ok(self.one(sql, values, |r| r.get(0))?.unwrap_or_default())
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
