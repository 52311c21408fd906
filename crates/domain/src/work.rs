//! What the tasks of Backstay's own agents carry as their argument, and what they leave as their payload.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::task::{TaskSpec, kind};
use crate::{Timestamp, Uuid};

/// The argument of a `backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupWork {
    /// The series it belongs to.
    pub archive: Uuid,
    /// Where it goes.
    pub repository: Uuid,
    /// What to read.
    pub paths: Vec<String>,
    /// Globs: only what matches is kept. Empty = everything.
    #[serde(default)]
    pub includes: Vec<String>,
    /// Globs of what to leave out.
    #[serde(default)]
    pub excludes: Vec<String>,
}

/// The argument of a `recovery` or `file_recovery`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryWork {
    /// The recovery point.
    pub backup: Uuid,
    /// Where it lies.
    pub repository: Uuid,
    /// Its restic snapshot id.
    pub snapshot: String,
    /// The folder to write to, on the agent's machine.
    pub to: String,
    /// Only these paths of the backup; empty = everything.
    #[serde(default)]
    pub paths: Vec<String>,
}

/// Work that our agents can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Read and store.
    Backup(BackupWork),
    /// Write back.
    Recovery(RecoveryWork),
}

impl Work {
    /// The work a task asks for.
    ///
    /// # Errors
    /// `invalid_field` when the type is not one of ours or the argument does not fit it.
    pub fn of(spec: &TaskSpec) -> Result<Work> {
        match spec.kind.as_str() {
            kind::BACKUP => argument(&spec.argument).map(Work::Backup),
            kind::RECOVERY | kind::FILE_RECOVERY => argument(&spec.argument).map(Work::Recovery),
            other => {
                Err(Error::invalid("type", format!("agents of Backstay do not carry out tasks of type '{other}'")))
            }
        }
    }

    /// The repository it needs.
    #[must_use]
    pub fn repository(&self) -> Uuid {
        match self {
            Work::Backup(w) => w.repository,
            Work::Recovery(w) => w.repository,
        }
    }
}

fn argument<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    serde_json::from_value(value.clone()).map_err(|e| Error::invalid("argument", e.to_string()))
}

/// What a finished `backup` says of the recovery point it made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDone {
    /// The restic snapshot id.
    pub snapshot: String,
    /// When the data was read.
    pub created_at: Timestamp,
    /// Whether there was an earlier one to build on.
    pub incremental: bool,
    /// Bytes of all files.
    pub size: u64,
    /// Bytes newly stored.
    pub added: u64,
    /// Files in all.
    pub files: u64,
    /// Of them, not there before.
    pub files_new: u64,
    /// Of them, changed since the last time.
    pub files_changed: u64,
    /// What could not be read, capped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unread>,
    /// How many could not be read in all.
    #[serde(default)]
    pub unreadable_total: u64,
}

/// A path that could not be read, or not be written back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Which; empty where it is not about one path.
    pub path: String,
    /// Why.
    pub message: String,
}

/// What a finished recovery says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryDone {
    /// Files written back.
    pub files: u64,
    /// Bytes written back.
    pub bytes: u64,
    /// What could not be written back as it was, capped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwritten: Vec<Unread>,
    /// How many in all.
    #[serde(default)]
    pub unwritten_total: u64,
}

/// How many paths a payload lists; the total says how many there were.
pub const MAX_LISTED: usize = 1000;
