//! Lists and counts of tasks through the index: it says which, the record says what is in them, and both speak of the
//! same state.

use domain::query::{Filter, Group, Query, Slice, TaskField};
use domain::task::Task;
use domain::{Code, Error, Result, Scope, Uuid};
use rusqlite::OptionalExtension;

use super::error::Sql;
use super::rows::{self, Columns};
use super::scan::Scanner;
use super::words::Db;
use super::{Readers, filter, read, tx};
use crate::index::{Follower, Found, Index};
use crate::{Rev, check_filter, check_groups, check_query};

/// How often a page is looked for again because one of its rows changed in between, before commits are held up for it.
const TRIES: usize = 3;

pub(super) fn tasks(
    readers: &Readers,
    index: &Follower,
    scope: &Scope,
    query: &Query<TaskField>,
) -> Result<Slice<Task>> {
    check_query(query)?;
    let find = |rows: &Rows| rows.find(scope, query, &|id| by_uuid(readers, id));
    match shown(readers, index, find)? {
        Some((found, tasks)) => {
            let next = tasks.last().filter(|_| found.more).map(|last| query.order.key(last));
            Ok(Slice { items: tasks, next, total: found.total })
        }
        None => readers.read(|db| read::tasks(db, scope, query)),
    }
}

/// Of each of these resources the newest task that matches; none if only the record can tell.
pub(super) fn newest_of_each(
    readers: &Readers,
    index: &Follower,
    scope: &Scope,
    resources: &[Uuid],
    filter: &Filter<TaskField>,
) -> Result<Option<Vec<Task>>> {
    check_filter(filter)?;
    let by_uuid = |id| by_uuid(readers, id);
    let find = |rows: &Rows| rows.last_of_each(scope, filter, (TaskField::ResourceId, resources), &by_uuid);
    Ok(shown(readers, index, find)?.map(|(_, tasks)| tasks))
}

type Rows = Index<TaskField>;

/// What the index finds, with the tasks that it names, both of the same state; none if only the record can tell.
fn shown(
    readers: &Readers,
    index: &Follower,
    find: impl Fn(&Rows) -> Result<Option<Found>>,
) -> Result<Option<(Found, Vec<Task>)>> {
    let find = || {
        index.ask(|rows| {
            Ok(find(rows)?.map(|found| {
                let at_hand = index.at_hand(rows, &found.ids);
                (found, at_hand, rows.rev())
            }))
        })
    };
    for _ in 0..TRIES {
        let Some((found, mut at_hand, rev)) = find()? else { return Ok(None) };
        let missing = at_hand.iter().zip(&found.ids).filter(|(task, _)| task.is_none()).map(|(_, id)| *id);
        let missing: Vec<i64> = missing.collect();
        if !missing.is_empty() {
            // The record is as new as the index or newer: a row that changed in between says so.
            let Some(fetched) = readers.read(|db| fetch(db, &missing, rev))? else { continue };
            index.keep_at_hand(rev, &fetched);
            let mut fetched = fetched.into_iter();
            at_hand.iter_mut().filter(|task| task.is_none()).for_each(|task| *task = fetched.next());
        }
        return Ok(Some((found, at_hand.into_iter().flatten().collect())));
    }
    let gate = index.gate();
    let found = find()?;
    readers.read(|db| {
        // With the first read the record stands still for this reader.
        tx::counters(&db)?;
        drop(gate);
        let Some((found, ..)) = found else { return Ok(None) };
        let Some(tasks) = fetch(db, &found.ids, Rev(i64::MAX))? else {
            index.distrust();
            return Err(Error::new(Code::Unavailable, "the index of tasks named one that is not in the ledger")
                .hint("it is being built anew; ask again in a moment"));
        };
        Ok(Some((found, tasks)))
    })
}

pub(super) fn counts(
    readers: &Readers,
    index: &Follower,
    scope: &Scope,
    filter: &Filter<TaskField>,
    by: &[TaskField],
) -> Result<Vec<Group>> {
    check_groups(filter, by)?;
    match index.ask(|index| index.counts(scope, filter, by, &|id| by_uuid(readers, id)))? {
        Some(groups) => Ok(groups),
        None => readers.read(|db| read::counts(&db, scope, filter, by, filter::tasks())),
    }
}

/// How many tasks are compared while commits are held up.
const COMPARED: usize = 2000;
/// How many differences are told.
const TOLD: usize = 100;

/// What the index shows otherwise than the record, a sentence for each task.
pub(super) fn differences(readers: &Readers, index: &Follower) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut after = 0;
    let mut scanner = Scanner::default();
    while found.len() < TOLD {
        // So that both stand still.
        let _gate = index.gate();
        let last = index.ask(|index| {
            readers.read(|db| {
                let mut there = Vec::new();
                let last = scanner.scan(db, after, COMPARED, &mut |id, _, shown| {
                    there.push(id);
                    if let Some(field) = index.difference(id, shown) {
                        found.push(format!("the index shows another '{field}' of task {id} than the record"));
                    }
                })?;
                let more = index.between(after, last.unwrap_or(i64::MAX));
                for id in more.into_iter().filter(|id| there.binary_search(id).is_err()) {
                    found.push(format!("the index shows a task {id} that the record does not have"));
                }
                Ok(last)
            })
        })?;
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    found.truncate(TOLD);
    Ok(found)
}

fn by_uuid(readers: &Readers, id: Uuid) -> Result<Option<i64>> {
    let sql = "SELECT id FROM tasks WHERE uuid = ?";
    let row = |r: &rusqlite::Row<'_>| r.get(0);
    readers
        .read(|db| db.prepare_cached(sql).and_then(|mut s| s.query_row([rows::uuid_bytes(id)], row).optional()).sql())
}

/// These tasks; none if one of them has changed since a revision.
fn fetch(db: Db<'_>, ids: &[i64], since: Rev) -> Result<Option<Vec<Task>>> {
    let mut statement = db.prepare_cached(&read::TASK_WITH_REV).sql()?;
    let mut tasks = Vec::with_capacity(ids.len());
    for id in ids {
        let row = |r: &rusqlite::Row<'_>| {
            let mut columns = Columns::of(r);
            Ok((Rev(columns.get()?), columns.task(db)?))
        };
        match statement.query_row([id], row).optional().sql()? {
            Some((rev, task)) if rev <= since => tasks.push(task),
            _ => return Ok(None),
        }
    }
    Ok(Some(tasks))
}
