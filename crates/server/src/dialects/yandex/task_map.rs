//! Tasks as this API shows them (section 11.3).

use domain::query::{Key, Value};
use domain::task::{ResultCode, State, Task, TaskResult, kind};
use proto::yandex::cloud::backup::v1::task::{Code, Status, Type};
use proto::yandex::cloud::backup::v1::{self as wire, Progress};

use super::machine_map::stamp;

/// The largest number that all clients read: those in JavaScript have no larger ones.
const LARGEST: i64 = (1 << 53) - 1;

/// A task of the machine with this id.
pub(super) fn task(task: &Task, instance_id: &str) -> wire::Task {
    wire::Task {
        id: task.id.0,
        cancellable: cancellable(task),
        policy_id: task.spec.policy.as_ref().map(|p| p.id.clone()).unwrap_or_default().into(),
        r#type: kind_of(&task.spec.kind) as i32,
        progress: task
            .status
            .progress
            .as_ref()
            .filter(|p| p.total > 0)
            .map(|p| Progress { current: number(p.current), total: number(p.total) }),
        status: status(task.state()) as i32,
        enqueued_at: Some(stamp(task.status.enqueued_at)),
        started_at: task.started_at().map(stamp),
        updated_at: Some(stamp(task.status.updated_at)),
        completed_at: task.completed_at().map(stamp),
        compute_instance_id: instance_id.to_owned(),
        result_code: task.result().map_or(Code::Unspecified, |r| code(r.code)) as i32,
        error: task.result().map(error).unwrap_or_default(),
    }
}

/// Where a task stands in lists: the newest first (Y45).
pub(super) fn place(task: &Task) -> Key {
    Key(vec![Some(Value::Int(task.id.0))])
}

/// Whether cancelling it would work.
fn cancellable(task: &Task) -> bool {
    match task.state() {
        State::Completed => false,
        _ if task.status.cancel_requested => false,
        State::Enqueued => true,
        State::Assigned | State::Started | State::Paused => task.spec.rules.cancellable,
    }
}

fn number(n: i64) -> i64 {
    n.clamp(0, LARGEST)
}

fn kind_of(kind: &str) -> Type {
    match kind {
        kind::BACKUP => Type::Backup,
        kind::RETENTION => Type::Retention,
        kind::RECOVERY | kind::FILE_RECOVERY => Type::Recovery,
        "apply_policy" => Type::ApplyPolicy,
        "revoke_policy" => Type::RevokePolicy,
        _ => Type::Unspecified,
    }
}

fn status(state: State) -> Status {
    match state {
        State::Enqueued => Status::Enqueued,
        State::Assigned => Status::Assigned,
        State::Started => Status::Started,
        State::Paused => Status::Paused,
        State::Completed => Status::Completed,
    }
}

fn code(code: ResultCode) -> Code {
    match code {
        ResultCode::Ok => Code::Ok,
        ResultCode::Error => Code::Error,
        ResultCode::Warning => Code::Warning,
        ResultCode::Cancelled => Code::Cancelled,
        ResultCode::Abandoned => Code::Abandoned,
        ResultCode::TimedOut => Code::Timedout,
    }
}

/// What there is to say of an end: nothing of a good one.
pub(super) fn error(result: &TaskResult) -> String {
    let said = match result.code {
        ResultCode::Ok => return String::new(),
        ResultCode::Warning => {
            let warnings = result.warnings.iter().map(|w| w.message.as_str()).filter(|m| !m.is_empty());
            warnings.collect::<Vec<_>>().join("; ")
        }
        _ => result.error.as_ref().map(|e| e.message.clone()).unwrap_or_default(),
    };
    if said.is_empty() { format!("the task ended with the result '{}'", result.code.name()) } else { said }
}

#[cfg(test)]
mod tests {
    use domain::task::TaskError;

    use super::*;

    fn result(code: ResultCode, error: &str, warnings: &[&str]) -> TaskResult {
        TaskResult {
            code,
            error: (!error.is_empty()).then(|| TaskError::server("x", error)),
            warnings: warnings.iter().map(|w| TaskError::server("x", *w)).collect(),
            payload: serde_json::Value::Null.into(),
        }
    }

    #[test]
    fn what_is_said_of_an_end() {
        assert_eq!(error(&result(ResultCode::Ok, "", &["odd"])), "");
        assert_eq!(error(&result(ResultCode::Warning, "", &["one", "two"])), "one; two");
        assert_eq!(error(&result(ResultCode::Error, "no disk", &["one"])), "no disk");
        assert_eq!(error(&result(ResultCode::TimedOut, "", &[])), "the task ended with the result 'timedout'");
    }

    #[test]
    fn types_without_a_name_here_are_unspecified() {
        assert_eq!(kind_of("file_recovery"), Type::Recovery);
        assert_eq!(kind_of("apply_policy"), Type::ApplyPolicy);
        for other in ["verification", "backup_deletion", "import", ""] {
            assert_eq!(kind_of(other), Type::Unspecified);
        }
    }

    #[test]
    fn numbers_stay_below_what_clients_read() {
        assert_eq!(number(i64::MAX), 9_007_199_254_740_991);
    }
}
