//! Answers the server's questions about the machine as it is now: what is in a folder, and make one. Nothing here touches a
//! repository, so no child process is needed; a folder on a file system that hangs holds up one thread and nobody else.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Component, Path};

use proto::agent::v1::{self, directory_entry::Kind, reply};

use crate::engine::{RawPath, mounts};

/// The most entries that are listed: about what fits into one message. Nothing is cut silently.
const MAX_ENTRIES: usize = 50_000;

/// Why there is no answer.
struct Refusal {
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }

    /// What the system said about `path`.
    fn io(path: &RawPath, error: &io::Error) -> Refusal {
        match error.kind() {
            io::ErrorKind::NotFound => Refusal::new("pathNotFound", format!("there is no '{path}' on the machine")),
            io::ErrorKind::NotADirectory => Refusal::new("notADirectory", format!("'{path}' is no folder")),
            _ => Refusal::new("pathUnusable", format!("'{path}' cannot be used: {error}")),
        }
    }
}

/// The answer to what is in a folder.
pub(crate) async fn list(question: v1::ListDirectory) -> v1::Reply {
    let v1::ListDirectory { request_id, path } = question;
    let listed = blocking(move || listed(&path)).await;
    answer(request_id, listed.map(|entries| reply::Answer::Directory(v1::Directory { entries })))
}

/// The answer to a folder that is to be made.
pub(crate) async fn create(question: v1::CreateDirectory) -> v1::Reply {
    let v1::CreateDirectory { request_id, path } = question;
    let made = blocking(move || made(&path)).await;
    answer(request_id, made.map(|()| reply::Answer::Made(v1::DirectoryMade {})))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Refusal::new("internal", "the agent failed while it looked at its machine")))
}

fn answer(request_id: u64, answer: Result<reply::Answer, Refusal>) -> v1::Reply {
    let answer = answer.unwrap_or_else(|Refusal { code, message }| {
        reply::Answer::Error(v1::TaskError {
            domain: "agent".to_owned(),
            code: code.to_owned(),
            message,
            ..Default::default()
        })
    });
    v1::Reply { request_id, answer: Some(answer) }
}

fn listed(path: &str) -> Result<Vec<v1::DirectoryEntry>, Refusal> {
    if path.is_empty() {
        return Ok(volumes());
    }
    let path = absolute(path)?;
    let mut entries = Vec::new();
    for entry in fs::read_dir(&path).map_err(|e| Refusal::io(&path, &e))? {
        if entries.len() == MAX_ENTRIES {
            let message = format!("'{path}' holds more than {MAX_ENTRIES} entries; name a folder below it");
            return Err(Refusal::new("tooManyEntries", message));
        }
        entries.push(shown(&entry.map_err(|e| Refusal::io(&path, &e))?));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn volumes() -> Vec<v1::DirectoryEntry> {
    let local = mounts::local().into_iter().map(|path| {
        let path = RawPath::from(path).to_string();
        v1::DirectoryEntry { name: path.clone(), path, kind: Kind::Volume.into(), size: 0 }
    });
    local.collect()
}

fn shown(entry: &DirEntry) -> v1::DirectoryEntry {
    let path = entry.path();
    // A link that leads nowhere is shown for what it is: no folder.
    let (kind, size) = match fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => (Kind::Directory, 0),
        Ok(meta) if meta.is_file() => (Kind::File, meta.len()),
        Ok(_) | Err(_) => (Kind::File, 0),
    };
    let name = RawPath::from(entry.file_name().as_os_str()).to_string();
    v1::DirectoryEntry { name, path: RawPath::from(path).to_string(), kind: kind.into(), size }
}

fn made(path: &str) -> Result<(), Refusal> {
    let path = absolute(path)?;
    match fs::create_dir(&path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => Ok(()),
            _ => Err(Refusal::new("pathTaken", format!("'{path}' is there and is no folder"))),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = RawPath::from(path.as_path().parent().unwrap_or(path.as_path()));
            Err(Refusal::new("pathNotFound", format!("there is no '{parent}' on the machine")))
        }
        Err(e) => Err(Refusal::io(&path, &e)),
    }
}

fn absolute(text: &str) -> Result<RawPath, Refusal> {
    let path = RawPath::from(text);
    let climbs = path.as_path().components().any(|part| part == Component::ParentDir);
    if !Path::is_absolute(path.as_path()) || climbs {
        return Err(Refusal::new("invalidPath", format!("'{path}' is no absolute path without `..`")));
    }
    Ok(path)
}
