//! Activities one by one: steps have rows of their own, and a root is two numbers in the row of its task's status.

use domain::activity::{Activity, ActivityId, ActivityRef, Body};
use domain::query::nanos;
use domain::task::TaskId;
use domain::{Code, Error, Result, Uuid};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::error::Sql;
use super::filter::STEPS;
use super::rows::{self, Columns};
use super::words::Db;

/// The columns of a root, as an activity's first columns stand in [`rows::ACTIVITY_COLUMNS`].
const ROOT: &str =
    "SELECT s.root_id, root_uuid(t.uuid), s.id, 1, s.root_at FROM task_status s JOIN tasks t ON t.id = s.id";

/// An activity, wherever it is in the tree.
pub(super) fn activity(db: Db<'_>, activity: ActivityRef) -> Result<Option<Activity>> {
    let (column, value) = match activity {
        ActivityRef::Id(ActivityId(id)) => ("id", Value::Integer(id)),
        ActivityRef::Uuid(uuid) => ("uuid", rows::uuid_bytes(uuid)),
    };
    let step = format!("SELECT {} FROM {STEPS} WHERE a.{column} = ?", rows::ACTIVITY_COLUMNS);
    if let Some(found) = one(db, &step, value)? {
        return Ok(Some(found));
    }
    match activity {
        ActivityRef::Id(ActivityId(id)) => one(db, &format!("{ROOT} WHERE s.root_id = ?"), Value::Integer(id)),
        ActivityRef::Uuid(uuid) => {
            let of_task = format!("{ROOT} WHERE t.uuid = ? AND s.root_id IS NOT NULL");
            for task in tasks_of(uuid) {
                if let Some(found) = one(db, &of_task, rows::uuid_bytes(task))? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        }
    }
}

/// The uuids of all tasks whose root would have this uuid, the usual one first.
fn tasks_of(root: Uuid) -> impl Iterator<Item = Uuid> {
    // What is laid over the task's comes off in the same way; the bits of version and variant may have been any.
    let bytes = Activity::root_uuid(root).into_bytes();
    let versions = [7, 4].into_iter().chain((0..16).filter(|v| ![7, 4].contains(v)));
    let all = versions.flat_map(|version| [0b10, 0b00, 0b01, 0b11].map(|variant| (version, variant)));
    all.map(move |(version, variant)| {
        let mut bytes = bytes;
        bytes[6] = bytes[6] & 0x0f | version << 4;
        bytes[8] = bytes[8] & 0x3f | variant << 6;
        Uuid::from_bytes(bytes)
    })
    .filter(move |task| Activity::root_uuid(*task) == root)
}

/// The root activity of a task, if it has one yet.
pub(super) fn root_of(db: Db<'_>, task: TaskId) -> Result<Option<Activity>> {
    one(db, &format!("{ROOT} WHERE s.id = ? AND s.root_id IS NOT NULL"), Value::Integer(task.0))
}

fn one(db: Db<'_>, sql: &str, value: Value) -> Result<Option<Activity>> {
    let mut statement = db.prepare_cached(sql).sql()?;
    statement.query_row([value], |r| Columns::of(r).activity(db)).optional().sql()
}

/// The steps of a task, by id.
pub(super) fn of_task(db: Db<'_>, task: TaskId) -> Result<Vec<Activity>> {
    let sql = format!("SELECT {} FROM {STEPS} WHERE a.task = ? ORDER BY a.id", rows::ACTIVITY_COLUMNS);
    let mut statement = db.prepare_cached(&sql).sql()?;
    let found = statement.query_map([task.0], |r| Columns::of(r).activity(db)).sql()?;
    found.collect::<rusqlite::Result<_>>().sql()
}

/// Stores the root activity of a task that has none.
pub(super) fn insert_root(conn: &Connection, activity: &Activity) -> Result<()> {
    debug_assert_eq!(activity.body, Body::Root);
    let sql = "UPDATE task_status SET root_id = ?1, root_at = ?2 WHERE id = ?3 AND root_id IS NULL
                 AND (SELECT root_uuid(uuid) FROM tasks WHERE id = ?3) = ?4";
    let (id, at, task) = (activity.id.0, nanos(activity.created_at), activity.task.0);
    let mut statement = conn.prepare_cached(sql).sql()?;
    match statement.execute(params![id, at, task, activity.uuid.as_bytes()]).sql()? {
        1 => Ok(()),
        _ => Err(Error::new(Code::Internal, format!("the task {task} cannot have this root activity"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_of_a_root_is_among_those_that_it_could_have() {
        for task in [Uuid::now_v7(), Uuid::new_v4(), Uuid::nil(), Uuid::max(), Uuid::from_u128(1 << 77 | 12345)] {
            let all: Vec<_> = tasks_of(Activity::root_uuid(task)).collect();
            assert!(all.contains(&task) && all.len() == 64, "{task}: {all:?}");
        }
        // What is no root's.
        assert_eq!(tasks_of(Uuid::now_v7()).count(), 0);
    }
}
