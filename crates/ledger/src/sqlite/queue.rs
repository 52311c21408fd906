//! Tasks that wait, in the order of their hand-out: primitives over the tables `lanes` and `waiting`. The order itself is
//! made in `commit/turns.rs`.

use std::cmp::Reverse;

use domain::query::nanos;
use domain::task::{Priority, Task, TaskId};
use domain::{Result, Scope, Text, Timestamp, Uuid};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::error::{Sql, damaged};
use super::filter::locators;
use super::rows;
use super::words::text;
use crate::Claim;
use crate::commit::{Clock, Lane, Place};

/// So many tenants of a scope are asked one by one before anybody else's tasks are passed over.
const FEW_TENANTS: usize = 32;
/// So many tasks of other tenants are passed over before those of the scope are asked one by one.
const MOST_PASSED: usize = 1000;

const LANE: &str =
    "SELECT id, round, served FROM lanes WHERE queue = ?1 AND agent = ?2 AND cluster = ?3 AND priority = ?4";
/// In four parts: a list of two values would make a table of them each time.
const LANES: &str = "SELECT id, round, served, agent, cluster, priority FROM lanes
     WHERE queue = ?1 AND agent = '' AND cluster = ''
     UNION ALL SELECT id, round, served, agent, cluster, priority FROM lanes
     WHERE queue = ?1 AND agent = ?2 AND ?2 <> '' AND cluster = ''
     UNION ALL SELECT id, round, served, agent, cluster, priority FROM lanes
     WHERE queue = ?1 AND agent = '' AND cluster = ?3 AND ?3 <> ''
     UNION ALL SELECT id, round, served, agent, cluster, priority FROM lanes
     WHERE queue = ?1 AND agent = ?2 AND ?2 <> '' AND cluster = ?3 AND ?3 <> ''";
const NEXT_TYPE: &str = "SELECT min(type) FROM waiting WHERE lane = ?1 AND type > ?2";
pub(super) const IN_ORDER: &str = "SELECT round, joined, id, tenant FROM waiting
                                   WHERE lane = ?1 AND type = ?2 ORDER BY round, joined DESC, id";
pub(super) const OF_TENANT: &str =
    "SELECT round, joined, id, type FROM waiting WHERE lane = ?1 AND tenant = ?2 ORDER BY id";
const YOUNGEST: &str = "SELECT round, joined, id FROM waiting WHERE lane = ?1 AND tenant = ?2 ORDER BY id DESC LIMIT 1";
const NEXT_YOUNGER: &str =
    "SELECT round, joined, id FROM waiting WHERE lane = ?1 AND tenant = ?2 AND id > ?3 ORDER BY id LIMIT 1";
pub(super) const PLACE: &str = "SELECT round, joined, id FROM waiting WHERE lane = ?1 AND tenant = ?2 AND id = ?3";
const OUT: &str = "DELETE FROM waiting WHERE lane = ?1 AND type = ?2 AND round = ?3 AND joined = ?4 AND id = ?5";

/// What is asked with every task that comes in or is handed out.
#[cfg(test)]
pub(super) const EVERY_TIME: &[&str] = &[LANE, LANES, NEXT_TYPE, IN_ORDER, YOUNGEST, NEXT_YOUNGER, PLACE, OUT];

/// The lanes of a claim; see [`crate::commit::Tx::lanes`].
pub(super) fn lanes(conn: &Connection, claim: &Claim) -> Result<Vec<(Lane, Clock)>> {
    let mut queues: Vec<_> = claim.queues.iter().collect();
    queues.sort();
    queues.dedup();
    let mut found = Vec::new();
    for queue in queues {
        let mut statement = conn.prepare_cached(LANES).sql()?;
        let executor = &claim.executor;
        let mut rows = statement.query(params![queue, &*executor.id, &*executor.cluster_id]).sql()?;
        while let Some(row) = rows.next().sql()? {
            let bound = |column| text(row, column).map(|text| (!text.is_empty()).then_some(text)).sql();
            let priority: i64 = row.get(5).sql()?;
            let priority = Priority::from_ordinal(priority)
                .ok_or_else(|| damaged(format!("a queue has the priority {priority}, which is not known")))?;
            let lane = Lane { queue: queue.as_str().into(), agent: bound(3)?, cluster: bound(4)?, priority };
            found.push((lane, known(row)?.1));
        }
    }
    Ok(found)
}

pub(super) fn clock(conn: &Connection, lane: &Lane) -> Result<Clock> {
    Ok(find(conn, lane)?.map_or_else(Clock::default, |(_, clock)| clock))
}

pub(super) fn set_clock(conn: &Connection, lane: &Lane, clock: Clock) -> Result<()> {
    let Some((id, _)) = find(conn, lane)? else { return Ok(()) };
    let served = clock.served.map(nanos);
    run(conn, "UPDATE lanes SET round = ?, served = ? WHERE id = ?", params![clock.round, served, id])
}

pub(super) fn forget_lanes(conn: &Connection) -> Result<()> {
    run(conn, "DELETE FROM lanes WHERE NOT EXISTS (SELECT 1 FROM waiting WHERE lane = lanes.id)", [])
}

pub(super) fn enqueue(conn: &Connection, lane: &Lane, task: &Task, place: Place) -> Result<()> {
    let id = match find(conn, lane)? {
        Some((id, _)) => id,
        None => {
            let (agent, cluster) = (bound(&lane.agent), bound(&lane.cluster));
            let new = params![&*lane.queue, agent, cluster, lane.priority.ordinal()];
            run(conn, "INSERT INTO lanes (queue, agent, cluster, priority, round) VALUES (?, ?, ?, ?, 0)", new)?;
            conn.last_insert_rowid()
        }
    };
    let (kind, tenant) = (&*task.spec.kind, rows::uuid(task.spec.tenant));
    run(
        conn,
        "INSERT INTO waiting (lane, type, round, joined, id, tenant) VALUES (?, ?, ?, ?, ?, ?)",
        params![id, kind, place.round, place.joined.0, place.task.0, tenant],
    )
}

pub(super) fn dequeue(conn: &Connection, task: &Task) -> Result<()> {
    let Some((lane, _)) = find(conn, &Lane::of(&task.spec))? else { return Ok(()) };
    let Some(place) = one(conn, PLACE, params![lane, rows::uuid(task.spec.tenant), task.id.0], place)? else {
        return Ok(());
    };
    run(conn, OUT, params![lane, &*task.spec.kind, place.round, place.joined.0, place.task.0])
}

pub(super) fn youngest(conn: &Connection, lane: &Lane, tenant: Uuid) -> Result<Option<Place>> {
    let Some((lane, _)) = find(conn, lane)? else { return Ok(None) };
    one(conn, YOUNGEST, params![lane, rows::uuid(tenant)], place)
}

pub(super) fn next_younger(conn: &Connection, lane: &Lane, tenant: Uuid, task: TaskId) -> Result<Option<Place>> {
    let Some((lane, _)) = find(conn, lane)? else { return Ok(None) };
    one(conn, NEXT_YOUNGER, params![lane, rows::uuid(tenant), task.0], place)
}

/// The first places of a lane; see [`crate::commit::Tx::waiting`].
///
/// Types cost a step each, and what is taken as much again: other types are not looked at. For a scope of few tenants it
/// is the same with tenants, and other tenants are not looked at; but of the scope's own tasks, other types are passed over.
/// For a larger scope the tasks of others are passed over as long as that leads somewhere soon, and else each of its
/// tenants is asked.
pub(super) fn waiting(
    conn: &Connection,
    lane: &Lane,
    types: &[String],
    scope: &Scope,
    limit: usize,
) -> Result<Vec<Place>> {
    let Some((lane, _)) = find(conn, lane)? else { return Ok(Vec::new()) };
    let few = if scope.is_everything() { None } else { tenants(conn, scope, FEW_TENANTS)? };
    let mut found = match few {
        Some(few) => of_tenants(conn, lane, types, &few, limit)?,
        None => match in_order(conn, lane, types, scope, limit)? {
            Some(found) => found,
            None => of_tenants(conn, lane, types, &tenants(conn, scope, usize::MAX)?.unwrap_or_default(), limit)?,
        },
    };
    found.sort();
    found.truncate(limit);
    Ok(found)
}

/// The first places of each type, or nothing when too many of other tenants had to be passed over.
fn in_order(conn: &Connection, lane: i64, types: &[String], scope: &Scope, limit: usize) -> Result<Option<Vec<Place>>> {
    let types = if types.is_empty() { types_of(conn, lane)? } else { distinct(types) };
    let (from, to) = locators(scope);
    let sees = "SELECT 1 FROM tenants WHERE id = ?1 AND locator >= ?2 AND locator < ?3";
    let mut found = Vec::new();
    let mut passed = 0;
    for kind in types {
        let mut statement = conn.prepare_cached(IN_ORDER).sql()?;
        let mut rows = statement.query(params![lane, kind]).sql()?;
        let enough = found.len() + limit;
        while found.len() < enough
            && let Some(row) = rows.next().sql()?
        {
            let tenant: rusqlite::types::Value = row.get(3).sql()?;
            if scope.is_everything() || one(conn, sees, params![tenant, from, to], |_| Ok(()))?.is_some() {
                found.push(place(row).sql()?);
                continue;
            }
            passed += 1;
            if passed > MOST_PASSED {
                return Ok(None);
            }
        }
    }
    Ok(Some(found))
}

/// The first places of each of these tenants.
fn of_tenants(
    conn: &Connection,
    lane: i64,
    types: &[String],
    tenants: &[rusqlite::types::Value],
    limit: usize,
) -> Result<Vec<Place>> {
    let mut found = Vec::new();
    for tenant in tenants {
        let mut statement = conn.prepare_cached(OF_TENANT).sql()?;
        let mut rows = statement.query(params![lane, tenant]).sql()?;
        let enough = found.len() + limit;
        while found.len() < enough
            && let Some(row) = rows.next().sql()?
        {
            if types.is_empty() || types.contains(&row.get(3).sql()?) {
                found.push(place(row).sql()?);
            }
        }
    }
    Ok(found)
}

/// The tenants of a scope, or nothing when there are more than so many.
fn tenants(conn: &Connection, scope: &Scope, most: usize) -> Result<Option<Vec<rusqlite::types::Value>>> {
    let (from, to) = locators(scope);
    let limit = i64::try_from(most.saturating_add(1)).unwrap_or(i64::MAX);
    let sql = "SELECT id FROM tenants WHERE locator >= ? AND locator < ? LIMIT ?";
    let mut statement = conn.prepare_cached(sql).sql()?;
    let found = statement.query_map(params![from, to, limit], |r| r.get(0)).sql()?;
    let found: Vec<_> = found.collect::<rusqlite::Result<_>>().sql()?;
    Ok((found.len() <= most).then_some(found))
}

/// The types that wait in a lane: a step through the index for each.
fn types_of(conn: &Connection, lane: i64) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    loop {
        let last = found.last().map_or("", String::as_str);
        match one(conn, NEXT_TYPE, params![lane, last], |r| r.get(0))?.flatten() {
            Some(next) => found.push(next),
            None => return Ok(found),
        }
    }
}

fn distinct(types: &[String]) -> Vec<String> {
    let mut types = types.to_vec();
    types.sort();
    types.dedup();
    types
}

/// A lane's number, and how far it has come.
fn find(conn: &Connection, lane: &Lane) -> Result<Option<(i64, Clock)>> {
    let key = params![&*lane.queue, bound(&lane.agent), bound(&lane.cluster), lane.priority.ordinal()];
    conn.prepare_cached(LANE).and_then(|mut s| s.query_row(key, |row| Ok(known(row))).optional()).sql()?.transpose()
}

/// From the columns `id`, `round` and `served`.
fn known(row: &Row<'_>) -> Result<(i64, Clock)> {
    let served: Option<i64> = row.get(2).sql()?;
    let served = served.map(|n| Timestamp::from_nanosecond(n.into()).map_err(damaged)).transpose()?;
    Ok((row.get(0).sql()?, Clock { round: row.get(1).sql()?, served }))
}

/// From the columns `round`, `joined` and `id`.
fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok(Place { round: row.get(0)?, joined: Reverse(row.get(1)?), task: TaskId(row.get(2)?) })
}

/// Bound to whom; empty for nobody.
fn bound(to: &Option<Text>) -> &str {
    to.as_deref().unwrap_or_default()
}

fn one<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    f: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    conn.prepare_cached(sql).and_then(|mut s| s.query_row(params, f).optional()).sql()
}

fn run(conn: &Connection, sql: &str, params: impl Params) -> Result<()> {
    conn.prepare_cached(sql).and_then(|mut s| s.execute(params)).sql().map(drop)
}
