//! Repositories that are not a folder of this machine. A [`Store`] keeps files under names and is all that differs between
//! the kinds; everything above it - what the files are called, what is tried again, who may use the repository - is
//! written once. docs/decisions/remote-repositories.md says why these clients are our own.

pub(super) mod locks;
mod pace;
mod rclone;
mod rest;
mod s3;
mod sftp;

use std::error::Error as StdError;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::SignedDuration;
use domain::policy::settings::Retry;
use domain::repository::Location;
use reqwest::blocking::Client;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use self::pace::Paces;
use crate::engine::tries::try_again;
use crate::engine::{EngineError, ErrorCode, RepositorySpec};

/// The network has hiccups: what may pass is tried this often more before anybody hears of it.
const HICCUPS: Retry = Retry { attempts: 3, interval: SignedDuration::from_secs(2) };
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one file may take: packs are large, and lines slow.
const FILE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// A place that keeps files under names. A failure says in one sentence what it means; its kind says what can be done:
/// [`may_pass`] kinds are tried again.
pub(super) trait Store: Debug + Send + Sync {
    /// The place, for people, without secrets.
    fn place(&self) -> &str;
    /// Makes the place ready for a new repository.
    fn prepare(&self) -> io::Result<()>;
    /// The names and sizes of the files in a folder; nothing where there is no such folder. Names hold no slash.
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>>;
    /// The size of a file, if it is there.
    fn size(&self, name: &str) -> io::Result<Option<u64>>;
    /// A file, or `length` bytes of it from `offset` on.
    fn read(&self, name: &str, part: Option<(u32, u32)>) -> io::Result<Bytes>;
    /// Makes a file: it appears whole or not at all, and where it is there already that is `AlreadyExists`, as far as the
    /// place can tell.
    fn create(&self, name: &str, content: Bytes) -> io::Result<()>;
    /// Removes a file; one that is not there is as good as removed.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Whether data lies in folders named after the first two digits, as it does wherever nobody does that by himself.
    fn spreads_data(&self) -> bool {
        true
    }
}

/// The store at a place; nothing for a folder of this machine.
pub(super) fn store(spec: &RepositorySpec, location: Location) -> Result<Option<Arc<dyn Store>>, EngineError> {
    let place = spec.url.clone();
    let paces = Paces::new(spec.limits);
    Ok(Some(match location {
        Location::Local(_) => return Ok(None),
        Location::S3 { endpoint, bucket, prefix } => {
            Arc::new(s3::S3::new(place, &endpoint, bucket, &prefix, &spec.secrets, paces)?)
        }
        Location::Rest(url) => Arc::new(rest::Rest::new(place, &url, &spec.secrets, paces)?),
        Location::Rclone { remote, path } => {
            Arc::new(rclone::Rclone::start(place, &remote, &path, &spec.secrets, paces)?)
        }
        Location::Sftp { host, port, path } => Arc::new(sftp::Sftp::new(place, host, port, path, paces)),
    }))
}

/// Whether a failure may be gone a moment later.
pub(super) fn may_pass(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::TimedOut
            | K::NotConnected
            | K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::BrokenPipe
            | K::UnexpectedEof
    )
}

/// Does something with a store, again if it may go better.
pub(super) fn steadily<T>(operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    try_again(Some(HICCUPS), operation, may_pass)
}

/// A store as rustic_core wants it.
#[derive(Debug)]
pub(super) struct Remote(pub(super) Arc<dyn Store>);

impl Remote {
    fn failed(&self, what: &str, error: io::Error) -> Box<RusticError> {
        RusticError::with_source(ErrorKind::Backend, format!("cannot {what} in {}", self.0.place()), error)
    }

    fn name(&self, file_type: FileType, id: &Id) -> String {
        let folder = folder(file_type);
        let id = id.to_hex();
        match file_type {
            FileType::Config => "config".to_owned(),
            FileType::Pack if self.0.spreads_data() => format!("{folder}/{}/{}", &id[..2], id.as_str()),
            _ => format!("{folder}/{}", id.as_str()),
        }
    }
}

fn folder(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Config => "config",
        FileType::Index => "index",
        FileType::Key => "keys",
        FileType::Snapshot => "snapshots",
        FileType::Pack => "data",
    }
}

impl ReadBackend for Remote {
    fn location(&self) -> String {
        self.0.place().to_owned()
    }

    fn list_with_size(&self, file_type: FileType) -> RusticResult<Vec<(Id, u32)>> {
        if file_type == FileType::Config {
            let found = steadily(|| self.0.size("config")).map_err(|e| self.failed("look for the repository", e))?;
            let size = |size| u32::try_from(size).unwrap_or(u32::MAX);
            return Ok(found.map(|found| (Id::default(), size(found))).into_iter().collect());
        }
        let folder = folder(file_type);
        let listed =
            steadily(|| self.0.list(folder)).map_err(|error| self.failed(&format!("list '{folder}'"), error))?;
        let known = |(name, size): (String, u64)| Some((name.parse::<Id>().ok()?, u32::try_from(size).ok()?));
        Ok(listed.into_iter().filter_map(known).collect())
    }

    fn read_full(&self, file_type: FileType, id: &Id) -> RusticResult<Bytes> {
        let name = self.name(file_type, id);
        steadily(|| self.0.read(&name, None)).map_err(|error| self.failed(&format!("read '{name}'"), error))
    }

    fn read_partial(&self, file_type: FileType, id: &Id, _: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        let name = self.name(file_type, id);
        let read = steadily(|| {
            let read = self.0.read(&name, Some((offset, length)))?;
            match read.len() == length as usize {
                true => Ok(read),
                false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than the index says")),
            }
        });
        read.map_err(|error| self.failed(&format!("read '{name}'"), error))
    }

    fn warmup_path(&self, file_type: FileType, id: &Id) -> String {
        self.name(file_type, id)
    }
}

impl WriteBackend for Remote {
    fn create(&self) -> RusticResult<()> {
        steadily(|| self.0.prepare()).map_err(|error| self.failed("make a repository", error))
    }

    fn write_bytes(&self, file_type: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        let name = self.name(file_type, id);
        let content = Bytes::from(content.slice().concat());
        match steadily(|| self.0.create(&name, content.clone())) {
            // A name says what is in the file, so this is what an earlier try left. Only the config may be somebody else's.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && file_type != FileType::Config => Ok(()),
            other => other.map_err(|error| self.failed(&format!("write '{name}'"), error)),
        }
    }

    fn remove(&self, file_type: FileType, id: &Id, _: bool) -> RusticResult<()> {
        let name = self.name(file_type, id);
        steadily(|| self.0.remove(&name)).map_err(|error| self.failed(&format!("remove '{name}'"), error))
    }
}

/// What asks over HTTP. It follows nobody elsewhere: secrets are for the place that was named.
fn http_client(paces: &Paces) -> Result<Client, EngineError> {
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(FILE_TIMEOUT + paces.patience())
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("backstay/", env!("CARGO_PKG_VERSION")))
        .build();
    client.map_err(|error| EngineError::new(ErrorCode::Internal, format!("cannot make a client: {}", deepest(&error))))
}

/// A failure to ask, without the address, which may hold a signature.
fn unreachable(error: reqwest::Error) -> io::Error {
    let kind = if error.is_timeout() { io::ErrorKind::TimedOut } else { io::ErrorKind::NotConnected };
    let told = if error.is_connect() { "cannot connect" } else { "the connection broke" };
    io::Error::new(kind, format!("{told}: {}", deepest(&error.without_url())))
}

/// The cause at the end of a chain.
fn deepest(error: &dyn StdError) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

/// What an HTTP status means that is no success, in `words` of whoever answered.
fn refusal(status: reqwest::StatusCode, words: &str) -> io::Error {
    let kind = match status.as_u16() {
        401 | 403 => io::ErrorKind::PermissionDenied,
        404 => io::ErrorKind::NotFound,
        412 => io::ErrorKind::AlreadyExists,
        413 | 507 => io::ErrorKind::StorageFull,
        // A conflict is somebody else at the same moment: what came of it is to be seen by trying again.
        408 | 409 | 429 | 500..=599 => io::ErrorKind::ConnectionAborted,
        _ => io::ErrorKind::Other,
    };
    let words: String = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
    let colon = if words.is_empty() { "" } else { ": " };
    io::Error::new(kind, format!("the server answered {}{colon}{words}", status.as_u16()))
}
