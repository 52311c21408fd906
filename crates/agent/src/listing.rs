//! Answers the server's question what is in a folder of a backup.

use std::time::Duration;

use proto::agent::v1::{self, reply};
use tokio::time::timeout;

use crate::child::{Child, Program};
use crate::engine::{
    EngineError, ErrorCode, FileEntry, FileKind, Job, ListFilesJob, Output, RawPath, RepositorySpec, Request,
};

/// After this long nobody waits for the answer any more.
const LIMIT: Duration = Duration::from_secs(60);

/// The answer to a question.
pub(crate) async fn answer(program: &Program, question: v1::ListFiles) -> v1::Reply {
    let request_id = question.request_id;
    let listed = timeout(LIMIT, list(program, question)).await.unwrap_or_else(|_| {
        Err(EngineError::new(
            ErrorCode::Stopped,
            format!("the folder could not be listed within {} s", LIMIT.as_secs()),
        ))
    });
    let answer = match listed {
        Ok(files) => reply::Answer::Files(files),
        Err(error) => reply::Answer::Error(v1::TaskError {
            domain: error.domain,
            code: error.code.as_str().to_owned(),
            message: error.message,
            ..Default::default()
        }),
    };
    v1::Reply { request_id, answer: Some(answer) }
}

async fn list(program: &Program, question: v1::ListFiles) -> Result<v1::FileList, EngineError> {
    let repository = RepositorySpec::from(question.repository.unwrap_or_default());
    let job = ListFilesJob {
        snapshot: question.snapshot,
        path: RawPath::from(question.path.as_str()),
        after: question.after.as_deref().map(RawPath::from),
        limit: Some(question.limit as usize),
    };
    let request = Request::new(repository, Job::ListFiles(job));
    let mut child =
        Child::spawn(program, &request).await.map_err(|e| EngineError::io("cannot start the engine process", &e))?;
    match child.outcome().await? {
        Output::Files(list) => {
            Ok(v1::FileList { entries: list.entries.into_iter().map(entry).collect(), more: list.more })
        }
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
