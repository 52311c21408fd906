//! A task as this API shows it (7.2). Lists of tasks are what clients ask for most, so what they show is written as it is
//! read, without a tree of values between.

use domain::Uuid;
use domain::task::{ResultCode, SERVER_DOMAIN, Task, TaskError};
use serde::Serialize;

use super::call::{Link, Plain, Seconds, etag};
use super::task_entities::{self, ShownEntity};
use super::task_types;

/// A task on its way out.
#[derive(Serialize)]
pub(super) struct ShownTask<'t> {
    id: Plain<i64>,
    #[serde(rename = "type")]
    kind: String,
    category: &'static str,
    genre: &'static str,
    status: &'static str,
    is_abortable: bool,
    created_timestamp: Seconds,
    start_timestamp: Option<Seconds>,
    end_timestamp: Option<Seconds>,
    progress_percentage: i64,
    primary_entity: Option<ShownEntity<'t>>,
    parent_entity: Option<ShownEntity<'t>>,
    failed_reason: Option<String>,
    _etag: String,
    _links: Links,
    _backstay: Own<'t>,
}

#[derive(Serialize)]
struct Links {
    _self: Link,
    #[serde(rename = "read-organizational-unit")]
    unit: Link,
    #[serde(rename = "update-task", skip_serializing_if = "Option::is_none")]
    update: Option<Link>,
}

/// What is more than there (D12).
#[derive(Serialize)]
struct Own<'t> {
    uuid: Uuid,
    #[serde(rename = "type")]
    kind: &'t str,
    state: &'static str,
    result_code: Option<&'static str>,
    warnings: Vec<String>,
    bytes_processed: u64,
    bytes_saved: u64,
    policy_id: Option<&'t str>,
    agent_id: Option<&'t str>,
}

impl<'t> ShownTask<'t> {
    pub(super) fn of(task: &'t Task) -> ShownTask<'t> {
        let (spec, result, status) = (&task.spec, task.result(), task_types::status_of(task));
        let (category, is_abortable) = (task_types::category_of(task), is_abortable(task));
        let done = task.status.progress.as_ref().map_or((0, 0, 0, 0), |progress| {
            (progress.current, progress.total, progress.bytes_processed, progress.bytes_saved)
        });
        let (current, total, bytes_processed, bytes_saved) = done;
        let href = format!("/tasks/{}", task.id);
        ShownTask {
            id: Plain(task.id.0),
            kind: task_types::type_of(task),
            category,
            genre: task_types::genre(category),
            status,
            is_abortable,
            created_timestamp: Seconds(task.created_at),
            start_timestamp: task.started_at().map(Seconds),
            end_timestamp: task.completed_at().map(Seconds),
            progress_percentage: percentage(status, current, total),
            primary_entity: task_entities::primary(task),
            parent_entity: task_entities::parent(task),
            failed_reason: failed_reason(task),
            _etag: etag(task.status.updated_at),
            _links: Links {
                update: is_abortable.then(|| Link::new(href.clone(), "patch")),
                _self: Link::new(href, "get"),
                unit: Link::new(format!("/organizational-units/{}", spec.tenant), "get"),
            },
            _backstay: Own {
                uuid: spec.uuid,
                kind: &spec.kind,
                state: task.state().name(),
                result_code: result.map(|r| r.code.name()),
                warnings: result.map(|r| r.warnings.iter().map(reason).collect()).unwrap_or_default(),
                bytes_processed,
                bytes_saved,
                policy_id: spec.policy.as_ref().map(|p| p.id.as_str()),
                agent_id: task.executor().map(|e| e.id.as_str()),
            },
        }
    }
}

/// Whether it can be aborted now.
pub(super) fn is_abortable(task: &Task) -> bool {
    let open = matches!(task_types::status_of(task), "queued" | "in_progress");
    open && task.spec.rules.cancellable && task_types::is_abortable_type(task)
}

fn percentage(status: &str, current: i64, total: i64) -> i64 {
    if status == "completed" {
        return 100;
    }
    if total <= 0 {
        return 0;
    }
    let share = i128::from(current.max(0)) * 100 / i128::from(total);
    i64::try_from(share).unwrap_or(99).min(99)
}

fn reason(error: &TaskError) -> String {
    if error.message.is_empty() { format!("{}: {}", error.domain, error.code) } else { error.message.clone() }
}

/// Why it did not end well; a sentence in any case.
fn failed_reason(task: &Task) -> Option<String> {
    let result = task.result()?;
    let told = || match (&result.error, &task.status.cancelled_by) {
        // An executor tells what it did, and does not know who asked for it.
        (Some(error), Some(by)) if result.code == ResultCode::Cancelled && error.domain != SERVER_DOMAIN => {
            Some(format!("Cancelled by {by}: {}", reason(error)))
        }
        (error, _) => error.as_ref().map(reason),
    };
    let else_said = match result.code {
        ResultCode::Ok | ResultCode::Warning => return None,
        ResultCode::Error => "The work failed and no reason was given.",
        ResultCode::TimedOut => "It took longer than it may.",
        ResultCode::Abandoned => "The agent was lost, and no attempt is left.",
        ResultCode::Cancelled => "It was aborted as asked.",
    };
    Some(told().unwrap_or_else(|| else_said.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_stay_below_a_hundred_until_the_end() {
        let cases =
            [("completed", 0, 0, 100), ("in_progress", 100, 100, 99), ("failed", 40, 100, 40), ("queued", 0, 0, 0)];
        for (status, current, total, shown) in cases {
            assert_eq!(percentage(status, current, total), shown);
        }
        assert_eq!(percentage("in_progress", i64::MAX, i64::MAX), 99);
    }
}
