//! Tasks: list, read with waiting, abort (section 7).

use std::time::Duration;

use domain::query::{self, MAX_LIMIT, Order, Page, Pattern, Query, RecordField, TaskField, Test};
use domain::task::{Task, TaskId, TaskRef};
use domain::{Code, SignedDuration, Timestamp, Uuid};
use jiff::tz::TimeZone;
use tokio::time::Instant;

use super::Handlers;
use super::call::{Call, Reply, etag};
use super::failure::{Cause, Failure};
use super::filter::{Condition, Fields, Filter, Kind, Shown};
use super::listing::{Listing, Pages};
use super::task_entities::{self, Member};
use super::task_shown::{ShownTask, is_abortable};
use super::task_types;
use crate::service::View;

/// How many days of history are listed when no time is asked for (D27).
const HORIZON_DAYS: i64 = 183;
/// The longest that an answer is held (D28), in seconds.
const MAX_WAIT: i64 = 60;
/// How long a task is left alone after something happened: others' commits come many at a time.
const PAUSE: Duration = Duration::from_millis(50);

/// What tasks can be asked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Id,
    Type,
    Category,
    Genre,
    Status,
    Primary(Member),
    Parent(Member),
    Created,
    Started,
    Ended,
    Unit,
}

const FIELDS: &Fields<Key> = &[
    ("id", Kind::Id, Key::Id),
    ("type", Kind::Enumeration, Key::Type),
    ("category", Kind::Enumeration, Key::Category),
    ("genre", Kind::Enumeration, Key::Genre),
    ("status", Kind::Enumeration, Key::Status),
    ("primary_entity.id", Kind::Id, Key::Primary(Member::Id)),
    ("primary_entity.value", Kind::Text, Key::Primary(Member::Value)),
    ("primary_entity.type", Kind::Enumeration, Key::Primary(Member::Type)),
    ("parent_entity.id", Kind::Id, Key::Parent(Member::Id)),
    ("parent_entity.value", Kind::Text, Key::Parent(Member::Value)),
    ("parent_entity.type", Kind::Enumeration, Key::Parent(Member::Type)),
    ("created_timestamp", Kind::Time, Key::Created),
    ("start_timestamp", Kind::Time, Key::Started),
    ("end_timestamp", Kind::Time, Key::Ended),
    ("organizational_unit_id", Kind::Id, Key::Unit),
];

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("list-tasks", list_tasks);
    handlers.on("read-task", read_task);
    handlers.on("update-task", update_task);
}

async fn list_tasks(call: Call) -> Result<Reply, Failure> {
    let paging = call.params.paging(MAX_LIMIT)?;
    let mut filter = Filter::read(call.params.filter()?, FIELDS)?;
    if !filter.names(Key::Id) && !filter.names(Key::Created) {
        filter.add_since(Key::Created, "created_timestamp", horizon(call.service().moment().now));
    }
    let query =
        Query { filter: asked(&call, &filter).await?, order: Order::newest(), page: paging.page(), total: true };
    let slice = call.service().tasks(&call.caller, &query, View::default()).await;
    let slice = slice.map_err(|e| match e.code.kind() {
        domain::error::Kind::Invalid => Failure::caused(Cause::Filter, &e),
        _ => e.into(),
    })?;
    let total = slice.total.unwrap_or_default();
    let items = slice.items.iter().map(ShownTask::of).collect();
    Ok(call.list(Pages::Numbered, Listing { paging, items, total, filter_applied: Some(filter.applied()) }))
}

/// Midnight so many days ago.
fn horizon(now: Timestamp) -> Timestamp {
    let ago = now.checked_sub(SignedDuration::from_hours(24 * HORIZON_DAYS)).unwrap_or(Timestamp::UNIX_EPOCH);
    let midnight = ago.to_zoned(TimeZone::UTC).start_of_day();
    midnight.map_or(ago, |z| z.timestamp())
}

/// The filter as the ledger is asked.
async fn asked(call: &Call, filter: &Filter<Key>) -> Result<query::Filter<TaskField>, Failure> {
    let mut asked = query::Filter::all();
    for condition in filter.conditions() {
        asked = match condition.field {
            Key::Id => condition.narrow(asked, TaskField::Id)?,
            Key::Created => condition.narrow(asked, TaskField::CreatedAt)?,
            Key::Started => condition.narrow(asked, TaskField::StartedAt)?,
            Key::Ended => condition.narrow(asked, TaskField::CompletedAt)?,
            Key::Type => condition.narrow_to(asked, task_types::of_type(condition)?),
            Key::Category => condition.narrow_to(asked, task_types::of_category(condition, |c| c)?),
            Key::Genre => condition.narrow_to(asked, task_types::of_category(condition, task_types::genre)?),
            Key::Status => condition.narrow_to(asked, task_types::of_status(condition)?),
            Key::Primary(member) => condition.narrow_to(asked, task_entities::of_primary(condition, member)?),
            Key::Parent(member) => condition.narrow_to(asked, task_entities::of_parent(condition, member)?),
            Key::Unit => match condition.test {
                super::filter::Test::AnyOf(_) => condition.narrow(asked, TaskField::Tenant)?,
                _ => of_units(call, asked, condition).await?,
            },
        };
    }
    Ok(asked)
}

/// The tenants whose ids pass are looked up: the ledger does not search in them.
async fn of_units(
    call: &Call,
    asked: query::Filter<TaskField>,
    condition: &Condition<Key>,
) -> Result<query::Filter<TaskField>, Failure> {
    let mut units: Vec<Uuid> = Vec::new();
    let mut page = Page::first(MAX_LIMIT);
    loop {
        let query: Query<RecordField> =
            Query { filter: query::Filter::all(), order: Order::oldest(), page, total: false };
        let found = call.service().tenants(&call.caller, &query).await?;
        let passes = |id: &Uuid| condition.admits(&Shown::owned(id.to_string()));
        units.extend(found.items.iter().map(|t| t.id).filter(passes));
        match found.next {
            Some(key) => page = Page::After { key: Some(key), limit: MAX_LIMIT },
            None => break,
        }
    }
    let way = |units: &[Uuid]| {
        let units = units.iter().map(|id| Pattern::Is(query::Value::Uuid(*id))).collect();
        Ok::<_, domain::Error>(vec![query::Clause::new(TaskField::Tenant, Test::AnyOf(units))?])
    };
    let ways = units.chunks(query::MAX_VALUES).map(way).collect::<Result<_, _>>()?;
    Ok(asked.and_one_of(ways))
}

async fn read_task(call: Call) -> Result<Reply, Failure> {
    let task = task_ref(&call)?;
    let wait = match call.params.number("wait")? {
        Some(n) if n < 0 => return Err(Failure::new(Cause::Query, format!("wait: {n} is negative"))),
        Some(n) => Duration::from_secs(n.min(MAX_WAIT).unsigned_abs()),
        None => Duration::ZERO,
    };
    let until = Instant::now() + wait;
    // Looked at first, so that nothing is missed that happens while the task is read.
    let mut head = call.service().head();
    loop {
        head.mark_unchanged();
        let found = call.service().task(&call.caller, task, false).await?;
        let rest = until.saturating_duration_since(Instant::now());
        if found.result().is_some() || rest.is_zero() || call.shutdown().is_cancelled() {
            return Ok(answer(&call, &found));
        }
        tokio::select! {
            () = call.shutdown().cancelled() => {}
            _ = tokio::time::timeout(rest, head.changed()) => tokio::time::sleep(PAUSE.min(rest)).await,
        }
    }
}

async fn update_task(call: Call) -> Result<Reply, Failure> {
    let body = call.body()?;
    let members = body.members();
    let wanted = members.required_text("status");
    if !wanted.is_empty() && wanted != "aborting" {
        members.fault("status", "the only value is 'aborting'");
    }
    body.checked()?;
    let task = task_ref(&call)?;
    // Whoever may do no more than create and cancel tasks sees those that he cancels.
    let found = call.service().task_to_cancel(&call.caller, task).await?;
    call.if_match(&etag(found.status.updated_at))?;
    match task_types::status_of(&found) {
        // A repeat after an answer that was lost (D29).
        "aborting" => return Ok(answer(&call, &found)),
        _ if is_abortable(&found) => {}
        _ => return Err(not_abortable(&found)),
    }
    let cancelled = call.service().cancel_task(&call.caller, task).await;
    let found = match cancelled {
        Err(e) if matches!(e.code, Code::AlreadyCompleted | Code::NotCancellable) => {
            // It ended between the two.
            let now = call.service().task_to_cancel(&call.caller, task).await?;
            return Err(not_abortable(&now));
        }
        other => other?,
    };
    Ok(answer(&call, &found))
}

fn not_abortable(task: &Task) -> Failure {
    let status = task_types::status_of(task);
    let why = match status {
        "queued" | "in_progress" => format!("tasks of its type ('{}') cannot be aborted", task_types::type_of(task)),
        _ => "it has ended".to_owned(),
    };
    Failure::new(Cause::NotAbortable, format!("status: the task {} is '{status}'; {why}", task.id))
}

/// The task in the path; what is no number does not exist.
fn task_ref(call: &Call) -> Result<TaskRef, Failure> {
    let text = call.variable("task_id");
    let id = text.parse().ok().filter(|n: &i64| n.to_string() == text);
    id.map(|n| TaskRef::Id(TaskId(n))).ok_or_else(|| Failure::no_such("task", text))
}

fn answer(call: &Call, task: &Task) -> Reply {
    call.ok(ShownTask::of(task)).etag(&etag(task.status.updated_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_year_ends_at_midnight() {
        let now = "2026-01-31T08:00:00.5Z".parse().expect("a time");
        assert_eq!(horizon(now).to_string(), "2025-08-01T00:00:00Z");
    }
}
