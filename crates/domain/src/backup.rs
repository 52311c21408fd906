//! Backups: recovery points, each a snapshot in a repository.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, Uuid, named_enum};

named_enum! {
    /// What a vendor would call a backup. The store is always incremental, and every backup restores alone.
    BackupKind {
        /// The first of its archive.
        Full = "full",
        /// One that builds on an earlier one.
        Incremental = "incremental",
    }
}

/// One recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Identity.
    pub id: Uuid,
    /// The owner: the tenant of the resource when it was backed up.
    pub tenant: Uuid,
    /// What was backed up; kept when the resource is deleted.
    pub resource: Uuid,
    /// The resource's name when it was backed up.
    pub resource_name: String,
    /// The policy it was made under, if any.
    pub policy: Option<Uuid>,
    /// The backups of one resource under one policy: the id of that series.
    pub archive: Uuid,
    /// Where it lies.
    pub repository: Uuid,
    /// The restic snapshot id (64 hexadecimal digits).
    pub snapshot: String,
    /// Full or incremental.
    pub kind: BackupKind,
    /// The task that made it.
    pub task: i64,
    /// What was backed up: paths on the machine.
    pub paths: Vec<String>,
    /// Bytes of all files in it.
    pub size: u64,
    /// Bytes it added to the repository.
    pub added: u64,
    /// Files in it.
    pub files: u64,
    /// Why retention keeps it; empty until retention has looked at it.
    pub kept_because: Vec<String>,
    /// Whether its files can be listed.
    pub browsable: bool,
    /// When the data was read.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}
