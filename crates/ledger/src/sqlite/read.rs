//! Questions to the ledger, each inside one snapshot of it.

use std::ops::Bound;
use std::sync::LazyLock;

use domain::activity::{ActivityRef, ActivityView};
use domain::query::{
    ActivityField, Clause, Field, Filter, Group, MAX_LIMIT, Page, Query, RecordField, Slice, TaskField, Test, nanos,
};
use domain::record::{Record, RecordKind};
use domain::task::{Task, TaskId, TaskRef};
use domain::{Result, Scope, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::error::Sql;
use super::filter::{self, Builder, Reach, Source};
use super::rows::{self, ACTIVITY_COLUMNS, Columns, TASK_COLUMNS};
use super::words::Db;
use super::{steps, tx};
use crate::{Changes, Rev, Stored, check_groups, check_query, dump};

/// One task by its id, with the revision that changed it last.
pub(super) static TASK_WITH_REV: LazyLock<String> = LazyLock::new(|| one_task(&format!("s.rev, {TASK_COLUMNS}"), "id"));

fn one_task(columns: &str, by: &str) -> String {
    format!("SELECT {columns} FROM tasks t JOIN task_status s ON s.id = t.id WHERE t.{by} = ?")
}

/// A task, wherever it is in the tree.
pub(super) fn task(db: Db<'_>, task: TaskRef) -> Result<Option<Task>> {
    static BY_ID: LazyLock<String> = LazyLock::new(|| one_task(TASK_COLUMNS, "id"));
    static BY_UUID: LazyLock<String> = LazyLock::new(|| one_task(TASK_COLUMNS, "uuid"));
    let (sql, value) = match task {
        TaskRef::Id(TaskId(id)) => (&*BY_ID, Value::Integer(id)),
        TaskRef::Uuid(uuid) => (&*BY_UUID, rows::uuid_bytes(uuid)),
    };
    db.prepare_cached(sql).and_then(|mut s| s.query_row([value], |r| Columns::of(r).task(db)).optional()).sql()
}

/// A record, wherever it is in the tree.
pub(super) fn record(
    conn: &Connection,
    kind: RecordKind,
    column: &str,
    value: &Value,
) -> Result<Option<Stored<Record>>> {
    let sql = format!("SELECT rev, body FROM {} WHERE {column} = ?", rows::table(kind));
    conn.prepare_cached(&sql).and_then(|mut s| s.query_row([value], |r| Columns::of(r).record(kind)).optional()).sql()
}

/// Whether the tenant lies within the scope.
pub(super) fn sees(conn: &Connection, scope: &Scope, tenant: domain::Uuid) -> Result<bool> {
    if scope.is_everything() {
        return Ok(true);
    }
    let locator: Option<String> = conn
        .prepare_cached("SELECT locator FROM tenants WHERE id = ?")
        .and_then(|mut s| s.query_row([rows::uuid(tenant)], |r| r.get(0)).optional())
        .sql()?;
    Ok(locator.is_some_and(|l| scope.contains(&l)))
}

/// An activity with its task, wherever it is in the tree.
pub(super) fn activity(db: Db<'_>, activity: ActivityRef) -> Result<Option<ActivityView>> {
    let Some(activity) = steps::activity(db, activity)? else { return Ok(None) };
    Ok(task(db, TaskRef::Id(activity.task))?.map(|task| ActivityView { activity, task }))
}

pub(super) fn tasks(db: Db<'_>, scope: &Scope, query: &Query<TaskField>) -> Result<Slice<Task>> {
    slice(&db, scope, query, filter::tasks(), TASK_COLUMNS, |c| c.task(db), |t| t)
}

pub(super) fn activities(db: Db<'_>, scope: &Scope, query: &Query<ActivityField>) -> Result<Slice<ActivityView>> {
    let columns = format!("{ACTIVITY_COLUMNS}, {TASK_COLUMNS}");
    slice(&db, scope, query, filter::activities(), &columns, |c| c.view(db), |v| v)
}

pub(super) fn records(
    conn: &Connection,
    scope: &Scope,
    kind: RecordKind,
    query: &Query<RecordField>,
) -> Result<Slice<Stored<Record>>> {
    slice(conn, scope, query, filter::records(kind), "r.rev, r.body", |c| c.record(kind), |r| &r.value)
}

fn slice<F: Field, T>(
    conn: &Connection,
    scope: &Scope,
    query: &Query<F>,
    source: Source<F>,
    columns: &str,
    decode: impl Fn(&mut Columns<'_>) -> rusqlite::Result<T>,
    row: impl Fn(&T) -> &F::Row,
) -> Result<Slice<T>> {
    check_query(query)?;
    let Query { filter, order, page, total } = query;
    let mut builder = matching(conn, scope, source, filter, page.limit())?;
    let total = if *total || matches!(page, Page::Number { .. }) { Some(count(conn, &builder)?) } else { None };
    if let Page::After { key: Some(key), .. } = page {
        builder = builder.behind(order, key);
    }
    // One more than wanted tells whether there are more.
    let limit = builder.bind(Value::Integer(i64::from(page.limit()) + 1));
    let offset = builder.bind(Value::Integer(i64::try_from(page.offset()).unwrap_or(i64::MAX)));
    let sql = format!("SELECT {columns} {} {} LIMIT {limit} OFFSET {offset}", builder.rows(), builder.sorted(order));
    let mut statement = conn.prepare_cached(&sql).sql()?;
    let found = statement.query_map(params_from_iter(builder.params()), |r| decode(&mut Columns::of(r))).sql()?;
    let mut items: Vec<T> = found.collect::<rusqlite::Result<_>>().sql()?;
    let more = items.len() > page.limit() as usize;
    items.truncate(page.limit() as usize);
    let next = items.last().filter(|_| more).map(|last| order.key(row(last)));
    Ok(Slice { items, next, total })
}

/// All rows within the scope that match; some `wanted` of them are read.
fn matching<F: Field>(
    conn: &Connection,
    scope: &Scope,
    source: Source<F>,
    filter: &Filter<F>,
    wanted: u32,
) -> Result<Builder<F>> {
    if scope.is_everything() {
        return Ok(Builder::within(scope, source).matching(filter));
    }
    let (from, to) = filter::locators(scope);
    let mut statement =
        conn.prepare_cached("SELECT id FROM tenants WHERE locator >= ? AND locator < ? LIMIT 2").sql()?;
    let found = statement.query_map([from, to], |r| r.get(0)).sql()?;
    let mut tenants: Vec<Value> = found.collect::<rusqlite::Result<_>>().sql()?;
    let reach = match (tenants.pop(), tenants.is_empty()) {
        (Some(only), true) => Reach::One(only),
        _ if may_pass(filter) && has_many(conn, scope, wanted)? => Reach::Passed(scope),
        _ => Reach::Gathered(scope),
    };
    Ok(Builder::by(reach, source).matching(filter))
}

/// Whether what matches is found soon while others are passed over: when all match, or a time is asked for that has an
/// index.
fn may_pass<F: Field>(filter: &Filter<F>) -> bool {
    let of_tasks = F::ALL.iter().any(|f| f.name() == TaskField::CompletedAt.name());
    let timed = [TaskField::UpdatedAt.name(), TaskField::CompletedAt.name()];
    let since = |c: &Clause<F>| {
        matches!(c.test(), Test::Range { from, .. } if *from != Bound::Unbounded) && timed.contains(&c.field().name())
    };
    let clauses = filter.clauses();
    let all_match = filter.choices().is_empty() && clauses.iter().all(|c| *c.test() == Test::Absent);
    of_tasks && (clauses.iter().any(since) || all_match)
}

/// Whether the scope has so many tasks that gathering them takes longer than passing over others until `wanted` are
/// found. With `n` tasks in all and `m` in the scope it is `m` against `wanted * n / m`.
fn has_many(conn: &Connection, scope: &Scope, wanted: u32) -> Result<bool> {
    let enough = tx::counters(conn)?.task.0.saturating_mul(i64::from(wanted)).isqrt();
    let (from, to) = filter::locators(scope);
    let sql = "SELECT count(*) FROM (SELECT 1 FROM tasks
               WHERE tenant IN (SELECT number FROM tenants WHERE locator >= ? AND locator < ?) LIMIT ?)";
    let mut statement = conn.prepare_cached(sql).sql()?;
    let counted: i64 = statement.query_row(params![from, to, enough], |r| r.get(0)).sql()?;
    Ok(counted >= enough)
}

fn count<F: Field>(conn: &Connection, builder: &Builder<F>) -> Result<u64> {
    let mut statement = conn.prepare_cached(&format!("SELECT count(*) {}", builder.rows())).sql()?;
    let n: i64 = statement.query_row(params_from_iter(builder.params()), |r| r.get(0)).sql()?;
    Ok(n.unsigned_abs())
}

pub(super) fn counts<F: Field>(
    conn: &Connection,
    scope: &Scope,
    filter: &Filter<F>,
    by: &[F],
    source: Source<F>,
) -> Result<Vec<Group>> {
    check_groups(filter, by)?;
    let builder = matching(conn, scope, source, filter, MAX_LIMIT)?;
    if by.is_empty() {
        return Ok(vec![Group { values: Vec::new(), count: count(conn, &builder)? }]);
    }
    let columns: Vec<_> = by.iter().map(|f| builder.column(*f)).collect();
    let order: Vec<_> = columns.iter().map(|c| format!("{c} ASC NULLS LAST")).collect();
    let (columns, order) = (columns.join(", "), order.join(", "));
    let sql =
        format!("SELECT count(*), {columns} {} GROUP BY {columns} ORDER BY count(*) DESC, {order}", builder.rows());
    let mut statement = conn.prepare_cached(&sql).sql()?;
    let groups = statement
        .query_map(params_from_iter(builder.params()), |r| {
            let mut row = Columns::of(r);
            let count = row.get::<i64>()?.unsigned_abs();
            let values = by.iter().map(|f| row.field(f.kind())).collect::<rusqlite::Result<_>>()?;
            Ok(Group { values, count })
        })
        .sql()?;
    groups.collect::<rusqlite::Result<_>>().sql()
}

pub(super) fn changes(db: Db<'_>, scope: &Scope, since: Rev, limit: u32) -> Result<Changes> {
    let mut builder = Builder::within(scope, filter::tasks());
    let (after, skip) =
        (builder.bind(Value::Integer(since.0)), builder.bind(Value::Integer(i64::from(limit.max(1)) - 1)));
    let rows = builder.rows();
    let sql = format!("SELECT s.rev {rows} AND s.rev > {after} ORDER BY s.rev LIMIT 1 OFFSET {skip}");
    let mut statement = db.prepare_cached(&sql).sql()?;
    let last: Option<i64> = statement.query_row(params_from_iter(builder.params()), |r| r.get(0)).optional().sql()?;
    let until = last.map_or_else(|| Ok(tx::counters(&db)?.rev.max(since)), |rev| Ok(Rev(rev)))?;

    let mut builder = Builder::within(scope, filter::tasks());
    let (after, last) = (builder.bind(Value::Integer(since.0)), builder.bind(Value::Integer(until.0)));
    let rows = builder.rows();
    // Those of one revision are put in order here: sorting them there would copy whole rows.
    let sql = format!("SELECT s.rev, {TASK_COLUMNS} {rows} AND s.rev > {after} AND s.rev <= {last} ORDER BY s.rev");
    let mut statement = db.prepare_cached(&sql).sql()?;
    let tasks = statement.query_map(params_from_iter(builder.params()), |r| revised_task(r, db)).sql()?;
    let mut tasks: Vec<(Rev, Task)> = tasks.collect::<rusqlite::Result<_>>().sql()?;
    tasks.sort_by_key(|(rev, task)| (*rev, task.status.updated_at));
    Ok(Changes { tasks, until })
}

fn revised_task(row: &rusqlite::Row<'_>, db: Db<'_>) -> rusqlite::Result<(Rev, Task)> {
    let mut row = Columns::of(row);
    Ok((Rev(row.get()?), row.task(db)?))
}

pub(super) fn due(conn: &Connection, scope: &Scope, by: Timestamp) -> Result<Vec<TaskId>> {
    let mut builder = Builder::within(scope, filter::tasks());
    let by = builder.bind(Value::Integer(nanos(by)));
    let sql = format!("SELECT t.id {} AND s.deadline <= {by} ORDER BY s.deadline, t.id", builder.rows());
    let mut statement = conn.prepare_cached(&sql).sql()?;
    let found = statement.query_map(params_from_iter(builder.params()), |r| r.get(0).map(TaskId)).sql()?;
    found.collect::<rusqlite::Result<_>>().sql()
}

pub(super) fn dump(db: Db<'_>, scope: &Scope) -> Result<String> {
    let mut records = Vec::new();
    for kind in RecordKind::ALL {
        let builder = Builder::within(scope, filter::records(*kind));
        let mut statement = db.prepare(&format!("SELECT r.rev, r.body {}", builder.rows())).sql()?;
        let found = statement.query_map(params_from_iter(builder.params()), |r| Columns::of(r).record(*kind)).sql()?;
        records.extend(found.collect::<rusqlite::Result<Vec<_>>>().sql()?);
    }
    let builder = Builder::within(scope, filter::tasks());
    let mut statement = db.prepare(&format!("SELECT s.rev, {} {}", TASK_COLUMNS, builder.rows())).sql()?;
    let tasks = statement.query_map(params_from_iter(builder.params()), |r| revised_task(r, db)).sql()?;
    let tasks = tasks.collect::<rusqlite::Result<_>>().sql()?;
    let builder = Builder::within(scope, filter::activities());
    let mut statement = db.prepare(&format!("SELECT {} {}", ACTIVITY_COLUMNS, builder.rows())).sql()?;
    let activities = statement.query_map(params_from_iter(builder.params()), |r| Columns::of(r).activity(db)).sql()?;
    let activities = activities.collect::<rusqlite::Result<_>>().sql()?;
    let counters = if scope.is_everything() { Some(tx::counters(&db)?) } else { None };
    dump::render(dump::State { counters, records, tasks, activities })
}
