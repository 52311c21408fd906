//! What can go wrong in the engine, as codes a person or a program can act on.

use std::{collections::BTreeMap, error::Error as StdError, fmt, io};

use serde::{Deserialize, Serialize};

/// The `domain` of every [`EngineError`].
pub const DOMAIN: &str = "engine";

/// What to do about a repository that is damaged.
const REPAIR: &str = "the repository is damaged: docs/guides/repositories.md says how to mend it";

/// Why a job failed. The text form (camelCase) is stable: it is stored with tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorCode {
    /// The job itself makes no sense: a relative path, a broken glob, an ambiguous snapshot id.
    InvalidJob,
    /// None of the paths to back up exists.
    SourceMissing,
    /// What was fetched is not what was expected: it has another size or digest.
    SourceMismatch,
    /// There is no repository at the given place.
    RepositoryMissing,
    /// The address is of a kind that this agent cannot reach.
    RepositoryUnsupported,
    /// The repository is there but its content is broken or incomplete.
    RepositoryDamaged,
    /// No key of the repository opens with the given password.
    WrongPassword,
    /// The disk or quota of the repository or of the restore target is full.
    NoSpace,
    /// The agent may not read or write there.
    PermissionDenied,
    /// No snapshot has the given id.
    SnapshotNotFound,
    /// The snapshot does not contain the given path.
    PathNotInBackup,
    /// A listing was asked for something that is not a directory.
    NotADirectory,
    /// Something stands where a disk image is to be restored.
    PathTaken,
    /// The device to restore to is mounted or otherwise in use.
    DeviceInUse,
    /// A program is needed that is not installed.
    ToolMissing,
    /// A command of the policy failed that the run depends on.
    CommandFailed,
    /// Reading or writing failed for another reason the system gave.
    Io,
    /// The job was stopped on request.
    Stopped,
    /// The child process ended without a result.
    EngineCrashed,
    /// A fault of the engine itself.
    Internal,
}

impl ErrorCode {
    /// The stable text form, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidJob => "invalidJob",
            Self::SourceMissing => "sourceMissing",
            Self::SourceMismatch => "sourceMismatch",
            Self::RepositoryMissing => "repositoryMissing",
            Self::RepositoryUnsupported => "repositoryUnsupported",
            Self::RepositoryDamaged => "repositoryDamaged",
            Self::WrongPassword => "wrongPassword",
            Self::NoSpace => "noSpace",
            Self::PermissionDenied => "permissionDenied",
            Self::SnapshotNotFound => "snapshotNotFound",
            Self::PathNotInBackup => "pathNotInBackup",
            Self::NotADirectory => "notADirectory",
            Self::PathTaken => "pathTaken",
            Self::DeviceInUse => "deviceInUse",
            Self::ToolMissing => "toolMissing",
            Self::CommandFailed => "commandFailed",
            Self::Io => "io",
            Self::Stopped => "stopped",
            Self::EngineCrashed => "engineCrashed",
            Self::Internal => "internal",
        }
    }

    /// What an input/output error means to the person who has to act on it.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::PermissionDenied,
            _ => Self::Io,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EngineError {
    /// Always [`DOMAIN`].
    pub domain: String,
    /// The code to act on.
    pub code: ErrorCode,
    /// One sentence for people: lower case, no full stop.
    pub message: String,
    /// The facts behind the message, such as `path` or `snapshot`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
}

impl EngineError {
    /// An error without context.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { domain: DOMAIN.to_owned(), code, message: message.into(), context: BTreeMap::new() }
    }

    /// With where it is said what to do, if a repository is damaged.
    pub(crate) fn with_repair(self) -> Self {
        match self.code {
            ErrorCode::RepositoryDamaged => Self { message: format!("{}; {REPAIR}", self.message), ..self },
            _ => self,
        }
    }

    /// The same error with one more fact.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.context.insert(key.to_owned(), value.to_string());
        self
    }

    /// An input/output error while doing `what`.
    pub fn io(what: &str, error: &io::Error) -> Self {
        Self::new(ErrorCode::of_io(error), format!("{what}: {error}"))
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for EngineError {}

/// The first input/output error among `error` and its causes.
pub(super) fn io_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return Some(io);
        }
        next = error.source();
    }
    None
}
