//! Messages of the agent link to and from what the service knows.

use domain::activity::ActivitySpec;
use domain::error::Kind;
use domain::task::{LeaseToken, TaskId};
use domain::{Code, Error};
use proto::agent::v1::{self, ack, reply, report, stop, to_agent};
use proto::agent::{Malformed, json_of, json_text, nanoseconds_of, time_of, uuid_of};
use tonic::Status;

use crate::authority::Signed;
use crate::service::{
    AgentHello, Assigned, DirectoryEntry, DirectoryKind, FileEntry, FileList, Held, ListFiles, Report, ReportEvent,
    Reported, RepositoryAccess, RepositoryTest,
};

pub(super) fn hello(hello: v1::Hello) -> AgentHello {
    let running =
        hello.running.into_iter().map(|h| Held { task: TaskId(h.task), lease: LeaseToken(h.lease) }).collect();
    let given = |text: String| Some(text).filter(|t| !t.is_empty());
    AgentHello {
        name: hello.name,
        os: hello.os,
        version: hello.version,
        system: hello.system,
        time_zone: given(hello.time_zone),
        rescue: hello.rescue,
        instance_id: given(hello.instance_id),
        virtual_machine: hello.virtual_machine,
        restore_roots: hello.restore_roots,
        running,
        certificate: None,
    }
}

pub(super) fn assign(assigned: &Assigned) -> v1::ToAgent {
    let Assigned { task, lease, argument, repository: access, create_repository } = assigned;
    let spec = &task.spec;
    let interval = spec.rules.heartbeat_interval.map_or(0, |i| u64::try_from(i.as_millis()).unwrap_or(0));
    to_agent::Message::Assign(v1::Assign {
        task: task.id.0,
        uuid: spec.uuid.to_string(),
        lease: lease.0.clone(),
        r#type: spec.kind.to_string(),
        heartbeat_interval_ms: interval,
        seeding: spec.seeding,
        host: spec.resource.as_ref().map(|r| r.name.clone()).unwrap_or_default().into(),
        work_json: json_text(argument),
        repository: Some(repository(access)),
        create_repository: *create_repository,
    })
    .into()
}

pub(super) fn stop(task: TaskId, lease: &LeaseToken, reason: stop::Reason) -> v1::ToAgent {
    to_agent::Message::Stop(v1::Stop { task: task.0, lease: lease.0.clone(), reason: reason.into() }).into()
}

pub(super) fn list_files(request_id: u64, request: ListFiles) -> v1::ToAgent {
    let ListFiles { repository: access, snapshot, path, after, limit } = request;
    let repository = Some(repository(&access));
    to_agent::Message::ListFiles(v1::ListFiles { request_id, repository, snapshot, path, after, limit }).into()
}

pub(super) fn test_repository(request_id: u64, access: &RepositoryAccess) -> v1::ToAgent {
    to_agent::Message::TestRepository(v1::TestRepository { request_id, repository: Some(repository(access)) }).into()
}

pub(super) fn list_directory(request_id: u64, path: String) -> v1::ToAgent {
    to_agent::Message::ListDirectory(v1::ListDirectory { request_id, path }).into()
}

pub(super) fn create_directory(request_id: u64, path: String) -> v1::ToAgent {
    to_agent::Message::CreateDirectory(v1::CreateDirectory { request_id, path }).into()
}

fn repository(access: &RepositoryAccess) -> v1::Repository {
    let secrets = access.secrets.clone().into_iter().collect();
    v1::Repository {
        url: access.url.clone(),
        password: access.password.clone(),
        secrets,
        upload_limit: access.limits.upload,
        download_limit: access.limits.download,
    }
}

pub(super) fn report(report: v1::Report) -> Result<Report, Malformed> {
    let event = match report.event.ok_or_else(|| Malformed::missing("event"))? {
        report::Event::Started(v1::Started {}) => ReportEvent::Started,
        report::Event::Heartbeat(v1::Heartbeat {}) => ReportEvent::Heartbeat,
        report::Event::Progress(progress) => ReportEvent::Progress(progress.into()),
        report::Event::Completed(v1::Completed { outcome, progress }) => {
            ReportEvent::Completed { outcome: outcome_of(outcome)?, progress: progress.map(Into::into) }
        }
        report::Event::Abandoned(v1::Abandoned { reason }) => ReportEvent::Abandoned { reason },
        report::Event::ActivityCreated(v1::ActivityCreated { uuid, r#type, context_json }) => {
            let spec = ActivitySpec::new(uuid_of("uuid", &uuid)?, &r#type);
            ReportEvent::ActivityCreated(ActivitySpec { context: json_of("context", &context_json)?.into(), ..spec })
        }
        report::Event::ActivityProgress(v1::ActivityProgress { uuid, progress }) => ReportEvent::ActivityProgress {
            activity: uuid_of("uuid", &uuid)?,
            progress: progress.ok_or_else(|| Malformed::missing("progress"))?.into(),
        },
        report::Event::ActivityCompleted(v1::ActivityCompleted { uuid, outcome, progress }) => {
            ReportEvent::ActivityCompleted {
                activity: uuid_of("uuid", &uuid)?,
                outcome: outcome_of(outcome)?,
                progress: progress.map(Into::into),
            }
        }
    };
    Ok(Report { task: TaskId(report.task), lease: LeaseToken(report.lease), event })
}

fn outcome_of(outcome: Option<v1::Outcome>) -> Result<domain::task::Outcome, Malformed> {
    outcome.ok_or_else(|| Malformed::missing("outcome"))?.try_into()
}

pub(super) fn acked(seq: u64, reported: Reported) -> v1::ToAgent {
    let (status, cancel_requested) = match reported {
        Reported::Durable { cancel_requested } => (ack::Status::Ok, cancel_requested),
        Reported::Void => (ack::Status::LeaseLost, false),
    };
    to_agent::Message::Ack(v1::Ack { seq, status: status.into(), cancel_requested, ..Default::default() }).into()
}

pub(super) fn refused(seq: u64, code: Code, message: String) -> v1::ToAgent {
    let status = ack::Status::Refused.into();
    let code = code.name().to_owned();
    to_agent::Message::Ack(v1::Ack { seq, status, cancel_requested: false, code, message }).into()
}

/// A certificate that was asked for, or why it was refused.
pub(super) fn certificate(signed: Result<Signed, Error>) -> v1::ToAgent {
    let certificate = match signed {
        Ok(Signed { pem, dates }) => v1::Certificate {
            pem,
            issued_at_ns: nanoseconds_of(dates.issued_at),
            expires_at_ns: nanoseconds_of(dates.expires_at),
            refusal: String::new(),
        },
        Err(error) => v1::Certificate { refusal: error.message, ..Default::default() },
    };
    to_agent::Message::Certificate(certificate).into()
}

/// What an agent answers about a folder.
pub(super) fn files(answer: Option<reply::Answer>) -> Result<FileList, Error> {
    match answer {
        Some(reply::Answer::Files(list)) => {
            Ok(FileList { entries: list.entries.into_iter().map(file).collect(), more: list.more })
        }
        Some(reply::Answer::Error(error)) => {
            // The words of the engine, as far as they are the asker's doing.
            let code = match error.code.as_str() {
                "snapshotNotFound" | "pathNotInBackup" => Code::NotFound,
                "notADirectory" | "invalidJob" => Code::InvalidField,
                _ => Code::Unavailable,
            };
            Err(Error::new(code, error.message))
        }
        other => Err(senseless(other.as_ref())),
    }
}

/// What an agent answers about the place of a repository.
pub(super) fn tested(answer: Option<reply::Answer>) -> Result<RepositoryTest, Error> {
    match answer {
        Some(reply::Answer::Tested(v1::RepositoryTested { found })) => Ok(RepositoryTest { found, error: None }),
        Some(reply::Answer::Error(error)) => {
            let error = error.try_into().map_err(|e: Malformed| Error::new(Code::Internal, e.to_string()))?;
            Ok(RepositoryTest { found: false, error: Some(error) })
        }
        other => Err(senseless(other.as_ref())),
    }
}

/// What an agent answers about a folder of its machine.
pub(super) fn directory(answer: Option<reply::Answer>) -> Result<Vec<DirectoryEntry>, Error> {
    match answer {
        Some(reply::Answer::Directory(list)) => Ok(list.entries.into_iter().map(directory_entry).collect()),
        Some(reply::Answer::Error(error)) => Err(about_the_machine(error)),
        other => Err(senseless(other.as_ref())),
    }
}

/// What an agent answers about a folder it was to make.
pub(super) fn made(answer: Option<reply::Answer>) -> Result<(), Error> {
    match answer {
        Some(reply::Answer::Made(v1::DirectoryMade {})) => Ok(()),
        Some(reply::Answer::Error(error)) => Err(about_the_machine(error)),
        other => Err(senseless(other.as_ref())),
    }
}

/// An agent's words about its machine.
fn about_the_machine(error: v1::TaskError) -> Error {
    let code = match error.code.as_str() {
        "pathNotFound" => Code::NotFound,
        "invalidPath" => Code::InvalidField,
        "tooManyEntries" => Code::BodyTooLarge,
        _ => Code::PathUnusable,
    };
    Error::new(code, error.message)
}

fn senseless(answer: Option<&reply::Answer>) -> Error {
    let message = match answer {
        None => "the agent gave an answer without content",
        Some(_) => "the agent answered another question",
    };
    Error::new(Code::Internal, message)
}

fn directory_entry(entry: v1::DirectoryEntry) -> DirectoryEntry {
    let kind = match entry.kind() {
        v1::directory_entry::Kind::Volume => DirectoryKind::Volume,
        v1::directory_entry::Kind::Directory => DirectoryKind::Directory,
        v1::directory_entry::Kind::File | v1::directory_entry::Kind::Unspecified => DirectoryKind::File,
    };
    DirectoryEntry { name: entry.name, path: entry.path, kind, size: entry.size }
}

fn file(entry: v1::FileEntry) -> FileEntry {
    FileEntry {
        name: entry.name,
        path: entry.path,
        kind: entry.kind,
        size: entry.size,
        modified_at: entry.modified_at_ns.map(time_of),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        link_target: entry.link_target,
    }
}

/// An error that ends a session.
pub(super) fn status(error: &Error) -> Status {
    let message = match &error.hint {
        Some(hint) => format!("{}; {hint}", error.message),
        None => error.message.clone(),
    };
    match error.code.kind() {
        Kind::Unauthenticated => Status::unauthenticated(message),
        Kind::Forbidden => Status::permission_denied(message),
        Kind::Invalid => Status::invalid_argument(message),
        // Everything else may be over when the agent comes back.
        _ => Status::unavailable(message),
    }
}
