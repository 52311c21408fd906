//! Answers what the server asks about a repository while somebody waits: what is in a folder of a backup, and whether a backup
//! would find its way there. Each answer is a process.

use std::time::Duration;

use proto::agent::v1::{self, reply};
use tokio::time::timeout;

use crate::child::{Child, Program};
use crate::engine::{
    EngineError, ErrorCode, FileEntry, FileKind, Job, ListFilesJob, Output, RawPath, RepositorySpec, Request,
};

/// After this long nobody waits for the answer any more.
const LIMIT: Duration = Duration::from_secs(60);

/// What is in a folder of a backup.
pub(crate) async fn list(program: &Program, question: v1::ListFiles) -> v1::Reply {
    let job = ListFilesJob {
        snapshot: question.snapshot,
        path: RawPath::from(question.path.as_str()),
        after: question.after.as_deref().map(RawPath::from),
        limit: Some(question.limit as usize),
    };
    answer(program, question.request_id, question.repository, Job::ListFiles(job)).await
}

/// Whether a backup would find its way to a repository.
pub(crate) async fn test(program: &Program, question: v1::TestRepository) -> v1::Reply {
    answer(program, question.request_id, question.repository, Job::Reach).await
}

async fn answer(program: &Program, request_id: u64, repository: Option<v1::Repository>, job: Job) -> v1::Reply {
    let request = Request::new(RepositorySpec::from(repository.unwrap_or_default()), job);
    let done = timeout(LIMIT, ask(program, &request)).await.unwrap_or_else(|_| {
        let message = format!("the repository did not answer within {} s", LIMIT.as_secs());
        Err(EngineError::new(ErrorCode::Stopped, message))
    });
    let answer = done.unwrap_or_else(|error| {
        reply::Answer::Error(v1::TaskError {
            domain: error.domain,
            code: error.code.as_str().to_owned(),
            message: error.message,
            ..Default::default()
        })
    });
    v1::Reply { request_id, answer: Some(answer) }
}

async fn ask(program: &Program, request: &Request) -> Result<reply::Answer, EngineError> {
    let mut child =
        Child::spawn(program, request).await.map_err(|e| EngineError::io("cannot start the engine process", &e))?;
    match child.outcome().await? {
        Output::Files(list) => {
            let entries = list.entries.into_iter().map(entry).collect();
            Ok(reply::Answer::Files(v1::FileList { entries, more: list.more }))
        }
        Output::Reach(reached) => Ok(reply::Answer::Tested(v1::RepositoryTested { found: reached.found })),
        _ => Err(EngineError::new(ErrorCode::Internal, "the engine answered with the result of another job")),
    }
}

fn entry(file: FileEntry) -> v1::FileEntry {
    let kind = match file.kind {
        FileKind::File => "file",
        FileKind::Directory => "dir",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::BlockDevice => "dev",
        FileKind::CharDevice => "chardev",
    };
    v1::FileEntry {
        name: file.name.to_string(),
        path: file.path.to_string(),
        kind: kind.to_owned(),
        size: file.size,
        modified_at_ns: file.mtime_ns,
        mode: file.mode,
        uid: file.uid,
        gid: file.gid,
        link_target: file.link_target.map(|t| t.to_string()),
    }
}
