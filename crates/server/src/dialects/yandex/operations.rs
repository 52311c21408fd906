//! Operations (section 8): the handles that changing calls answer with, and every task under a handle of its own. Get and
//! Cancel.

use domain::operation::{About, Ended, Operation, OperationKind};
use domain::resource::Resource;
use domain::task::{ResultCode, State, Task, TaskId, TaskRef, kind};
use domain::work::Work;
use domain::{Code, Right, Timestamp, Uuid};
use prost_types::Any;
use proto::google::rpc;
use proto::yandex::cloud::backup::v1 as wire;
use proto::yandex::cloud::operation::operation_service_server::SERVICE_NAME;
use proto::yandex::cloud::operation::{
    self as op, CancelOperationRequest, GetOperationRequest, operation::Result as Outcome,
};
use tonic::Code as Grpc;

use super::call::Call;
use super::dispatch::Handlers;
use super::failure::{Failure, any};
use super::machine_map::{instance_id, stamp};
use super::{file_id, policy_map};
use crate::service::{OperationView, right_of};

/// Before the number of a task that is asked for as an operation (Y32).
const TASK: &str = "task-";
/// The longest description, in characters.
const LONGEST: usize = 256;

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on(SERVICE_NAME, "Get", get);
    handlers.on(SERVICE_NAME, "Cancel", cancel);
}

async fn get(call: Call, request: GetOperationRequest) -> Result<op::Operation, Failure> {
    let id = &request.operation_id;
    match task_id(id) {
        Some(task) => {
            let task =
                call.service().task(call.caller()?, TaskRef::Id(task), false).await.map_err(|e| unknown(e, id))?;
            handle(&call, &task).await
        }
        None => {
            let found = call.service().operation(call.caller()?, parse(id)?).await.map_err(|e| unknown(e, id))?;
            Ok(operation_message(&call, &found))
        }
    }
}

/// Cancels what an operation does, with the right that starting it needed (Y25, Y38).
async fn cancel(call: Call, request: CancelOperationRequest) -> Result<op::Operation, Failure> {
    let (caller, id) = (call.caller()?, &request.operation_id);
    let about = |e: domain::Error| Failure::from(e).about(id.as_str());
    let Some(task) = task_id(id) else {
        let found = call.service().operation(caller, parse(id)?).await.map_err(|e| unknown(e, id))?;
        caller.may(right_of(found.operation.kind))?;
        let found = call.service().cancel_operation(caller, found.operation.id).await.map_err(about)?;
        return Ok(operation_message(&call, &found));
    };
    let found = call.service().task(caller, TaskRef::Id(task), false).await.map_err(|e| unknown(e, id))?;
    caller.may(Right::Edit)?;
    if found.state() == State::Completed {
        return handle(&call, &found).await;
    }
    let found = match call.service().cancel_task(caller, TaskRef::Id(task)).await {
        // It ended just now.
        Err(e) if e.code == Code::AlreadyCompleted => call.service().task(caller, TaskRef::Id(task), false).await?,
        other => other.map_err(about)?,
    };
    handle(&call, &found).await
}

fn unknown(error: domain::Error, id: &str) -> Failure {
    if error.code == Code::NotFound { Failure::not_found("operation", id) } else { error.into() }
}

fn parse(id: &str) -> Result<Uuid, Failure> {
    Uuid::try_parse(id).map_err(|_| Failure::not_found("operation", id))
}

/// The task behind `task-<number>`.
fn task_id(id: &str) -> Option<TaskId> {
    let digits = id.strip_prefix(TASK).filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))?;
    // A number that is none of ours is that of no task.
    Some(TaskId(digits.parse().unwrap_or(i64::MAX)))
}

/// An operation as it is answered.
pub(super) fn operation_message(_: &Call, view: &OperationView) -> op::Operation {
    message(view)
}

/// An operation as it is answered.
pub(super) fn message(view: &OperationView) -> op::Operation {
    let OperationView { operation, task, percent } = view;
    let result = match (&operation.ended, task) {
        (Some(ended), _) => Some(ended_as(ended)),
        (None, Some(task)) => outcome(task),
        // The task is no longer kept; nobody knows how it ended, and it did.
        (None, None) => Some(Outcome::Response(empty())),
    };
    op::Operation {
        id: operation.id.to_string(),
        description: description(operation.kind).to_owned(),
        created_at: Some(stamp(operation.created_at)),
        created_by: operation.created_by.clone(),
        modified_at: Some(stamp(modified_at(operation, task.as_ref()))),
        done: result.is_some(),
        metadata: Some(metadata(operation, *percent)),
        result,
    }
}

fn modified_at(operation: &Operation, task: Option<&Task>) -> Timestamp {
    let task = task.map(|t| t.completed_at().unwrap_or(t.status.updated_at));
    task.map_or(operation.created_at, |t| t.max(operation.created_at))
}

fn description(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::CreatePolicy => "create policy",
        OperationKind::UpdatePolicy => "update policy",
        OperationKind::DeletePolicy => "delete policy",
        OperationKind::ApplyPolicy => "apply policy",
        OperationKind::RevokePolicy => "revoke policy",
        OperationKind::ExecutePolicy => "execute policy",
        OperationKind::StartRecovery => "start recovery",
        OperationKind::StartFilesRecovery => "start files recovery",
        OperationKind::DeleteBackup => "delete backup",
        OperationKind::DeleteArchive => "delete archive",
        OperationKind::DeleteResource => "delete resource",
        OperationKind::CreateDirectory => "create directory",
        OperationKind::ActivateProvider => "activate provider",
    }
}

fn metadata(operation: &Operation, percent: f64) -> Any {
    let about = &operation.about;
    let policy_id = text(about.policy);
    let compute_instance_id = about.instance_id.clone();
    match operation.kind {
        OperationKind::CreatePolicy => any(&wire::CreatePolicyMetadata { policy_id }),
        OperationKind::UpdatePolicy => any(&wire::UpdatePolicyMetadata { policy_id }),
        OperationKind::DeletePolicy => any(&wire::DeletePolicyMetadata { policy_id }),
        OperationKind::ApplyPolicy => any(&wire::ApplyPolicyMetadata { policy_id, compute_instance_id }),
        OperationKind::RevokePolicy => any(&wire::RevokeMetadata { policy_id, compute_instance_id }),
        OperationKind::ExecutePolicy => {
            any(&wire::ExecuteMetadata { policy_id, compute_instance_id, progress_percentage: percent })
        }
        OperationKind::StartRecovery => any(&recovery_metadata(about, percent)),
        OperationKind::StartFilesRecovery => any(&files_metadata(about, percent)),
        OperationKind::DeleteBackup => {
            any(&wire::DeleteBackupMetadata { compute_instance_id, backup_id: text(about.backup) })
        }
        OperationKind::DeleteArchive => any(&wire::DeleteArchiveMetadata {
            archive_id: text(about.archive),
            folder_id: operation.tenant.to_string(),
        }),
        OperationKind::DeleteResource => any(&wire::DeleteResourceMetadata { compute_instance_id }),
        OperationKind::CreateDirectory => {
            any(&wire::CreateDirectoryMetadata { compute_instance_id, path: about.path.clone() })
        }
        OperationKind::ActivateProvider => {
            any(&wire::ActivateProviderMetadata { folder_id: operation.tenant.to_string() })
        }
    }
}

fn recovery_metadata(about: &About, percent: f64) -> wire::StartRecoveryMetadata {
    wire::StartRecoveryMetadata {
        progress_percentage: percent,
        src_backup_id: text(about.backup),
        dst_compute_instance_id: about.instance_id.clone(),
    }
}

fn files_metadata(about: &About, percent: f64) -> wire::StartFilesRecoveryMetadata {
    wire::StartFilesRecoveryMetadata {
        progress_percentage: percent,
        compute_instance_id: about.instance_id.clone(),
        backup_id: text(about.backup),
        source_ids: about.items.clone(),
    }
}

fn text(id: Option<Uuid>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

/// A task as an operation, whoever started it (Y32).
async fn handle(call: &Call, task: &Task) -> Result<op::Operation, Failure> {
    let resource = task.spec.resource.as_ref();
    let known = match resource.and_then(|r| Uuid::try_parse(&r.id).ok()) {
        Some(id) => call.service().resources_by_id(call.caller()?, [id]).await?.remove(&id),
        None => None,
    };
    let result = outcome(task);
    let description: String = format!("{} task", task.spec.kind).chars().take(LONGEST).collect();
    let created = task.status.enqueued_at;
    Ok(op::Operation {
        id: format!("{TASK}{}", task.id.0),
        description,
        created_at: Some(stamp(created)),
        created_by: began(task),
        modified_at: Some(stamp(task.completed_at().unwrap_or(task.status.updated_at).max(created))),
        done: result.is_some(),
        metadata: Some(task_metadata(call, task, known.as_ref())),
        result,
    })
}

/// Who began a task: the program that issued it, or else a person or credential, known by name; else the scheduler.
fn began(task: &Task) -> String {
    let issuer = Some(&task.spec.issuer.id).filter(|id| !id.is_empty());
    issuer.or(task.spec.started_by.as_ref()).map_or("scheduler", |who| who.as_str()).to_owned()
}

fn task_metadata(call: &Call, task: &Task, resource: Option<&Resource>) -> Any {
    let named = task.spec.resource.as_ref().map(|r| r.id.to_string()).unwrap_or_default();
    let compute_instance_id = resource.map_or(named, instance_id);
    let policy_id = task.spec.policy.as_ref().map(|p| p.id.to_string()).unwrap_or_default();
    let percent = call.service().percent_of(task);
    let mut about = About { instance_id: compute_instance_id.clone(), ..About::default() };
    if let Ok(Work::Recovery(work)) = Work::of(&task.spec) {
        about.backup = Some(work.backup);
        about.items = work.paths.iter().map(|p| file_id::encode(&domain::path::bytes_of(p))).collect();
    }
    match task.spec.kind.as_str() {
        kind::BACKUP => any(&wire::ExecuteMetadata { policy_id, compute_instance_id, progress_percentage: percent }),
        kind::RECOVERY => any(&recovery_metadata(&about, percent)),
        kind::FILE_RECOVERY => any(&files_metadata(&about, percent)),
        kind::APPLY_POLICY => any(&wire::ApplyPolicyMetadata { policy_id, compute_instance_id }),
        kind::REVOKE_POLICY => any(&wire::RevokeMetadata { policy_id, compute_instance_id }),
        _ => empty(),
    }
}

fn empty() -> Any {
    any(&())
}

fn ended_as(ended: &Ended) -> Outcome {
    match ended {
        Ended::Done => Outcome::Response(empty()),
        Ended::Policy(policy) => Outcome::Response(any(&policy_map::policy(policy))),
        Ended::Failed { code, message } => {
            let code = Failure::from(domain::Error::new(*code, message.clone())).code();
            Outcome::Error(rpc::Status { code: code as i32, message: message.clone(), details: Vec::new() })
        }
    }
}

/// How a task ended, if it did: an error never stands beside one that goes on (Y34, Y35).
fn outcome(task: &Task) -> Option<Outcome> {
    let result = task.result()?;
    let said = result.error.as_ref().map(|e| e.message.clone());
    let (code, phrase) = match result.code {
        ResultCode::Ok | ResultCode::Warning => return Some(Outcome::Response(empty())),
        ResultCode::Cancelled => (Grpc::Cancelled, "The operation was cancelled."),
        ResultCode::TimedOut => (Grpc::DeadlineExceeded, "The operation ran out of time."),
        ResultCode::Abandoned => (Grpc::Aborted, "The operation was given up."),
        ResultCode::Error => {
            let code = result.error.as_ref().and_then(|e| attached(&e.code));
            (code.filter(|code| ATTACHED.contains(code)).unwrap_or(Grpc::Internal), "The operation failed.")
        }
    };
    let message = said.filter(|m| !m.is_empty()).unwrap_or_else(|| phrase.to_owned());
    Some(Outcome::Error(rpc::Status { code: code as i32, message, details: Vec::new() }))
}

/// The code of an error that the server wrote into a task, or the agent that carried it out.
fn attached(code: &str) -> Option<Grpc> {
    if let Some(code) = Code::parse(code) {
        return Some(Failure::from(domain::Error::new(code, "")).code());
    }
    Some(match code {
        "invalidJob" | "notADirectory" => Grpc::InvalidArgument,
        "pathNotInBackup" | "snapshotNotFound" => Grpc::NotFound,
        "permissionDenied" => Grpc::PermissionDenied,
        "noSpace" => Grpc::ResourceExhausted,
        "sourceMissing" | "repositoryUnsupported" | "wrongPassword" | "pathTaken" | "deviceInUse" | "commandFailed" => {
            Grpc::FailedPrecondition
        }
        // A disk that is not mounted and a connection that broke may come back.
        "repositoryMissing" | "io" => Grpc::Unavailable,
        _ => return None,
    })
}

/// The codes that an executor's error may bring with it; every other one is the server's own (Y35).
const ATTACHED: [Grpc; 6] = [
    Grpc::InvalidArgument,
    Grpc::NotFound,
    Grpc::PermissionDenied,
    Grpc::ResourceExhausted,
    Grpc::FailedPrecondition,
    Grpc::Unavailable,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_tasks_are_told_from_operations() {
        assert_eq!(task_id("task-4711"), Some(TaskId(4711)));
        for id in ["task-", "task-x", "task-1x", "4711", "task--1", "task-+1", "0192f0d1-7c7e-7b1a-8a43-2f0c9d5b6e10"] {
            assert_eq!(task_id(id), None, "{id}");
        }
    }

    #[test]
    fn every_kind_has_metadata_of_the_type_of_its_rpc() {
        use super::super::methods;
        let of = |kind| match kind {
            OperationKind::CreatePolicy => "PolicyService.Create",
            OperationKind::UpdatePolicy => "PolicyService.Update",
            OperationKind::DeletePolicy => "PolicyService.Delete",
            OperationKind::ApplyPolicy => "PolicyService.Apply",
            OperationKind::RevokePolicy => "PolicyService.Revoke",
            OperationKind::ExecutePolicy => "PolicyService.Execute",
            OperationKind::StartRecovery => "BackupService.StartRecovery",
            OperationKind::StartFilesRecovery => "BackupService.StartFilesRecovery",
            OperationKind::DeleteBackup => "BackupService.Delete",
            OperationKind::DeleteArchive => "BackupService.DeleteArchive",
            OperationKind::DeleteResource => "ResourceService.Delete",
            OperationKind::CreateDirectory => "ResourceService.CreateDirectory",
            OperationKind::ActivateProvider => "ProviderService.Activate",
        };
        for kind in OperationKind::ALL {
            let operation = Operation {
                id: Uuid::nil(),
                tenant: Uuid::nil(),
                kind: *kind,
                created_by: String::new(),
                about: About::default(),
                task: None,
                ended: Some(Ended::Done),
                idempotency: None,
                created_at: Timestamp::UNIX_EPOCH,
                updated_at: Timestamp::UNIX_EPOCH,
            };
            let name = format!("yandex.cloud.backup.v1.{}", of(*kind));
            let method = methods::all().iter().find(|m| m.name == name).expect("a method");
            let wanted = method.operation.as_ref().expect("it answers an operation");
            let metadata = metadata(&operation, 0.0);
            assert_eq!(metadata.type_url, format!("type.googleapis.com/{}", wanted.metadata), "{kind}");
        }
    }
}
