//! Restored files: what was taken out of a backup and lies on the server for a while, to be fetched.

use serde::{Deserialize, Serialize};

use crate::{SignedDuration, Timestamp, Uuid};

/// How long one is kept (contract for Clumio clients, D34).
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// What was taken out of a backup, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredFile {
    /// Identity; also the name under which the server keeps the bytes.
    pub id: Uuid,
    /// The owner: that of the task.
    pub tenant: Uuid,
    /// What the backup is of.
    pub resource: Uuid,
    /// The backup.
    pub backup: Uuid,
    /// When its data was read.
    pub backup_created_at: Timestamp,
    /// The task that fetches it; known before the task has its number, so both are stored in one commit.
    pub task: Uuid,
    /// The number of the task; none until it has ended well.
    pub task_number: Option<i64>,
    /// The name of the file.
    pub name: String,
    /// Its bytes; 0 until it is there.
    pub size: u64,
    /// Who asked for it, as shown.
    pub asked_by: String,
    /// Until when it is kept; none until it is there.
    pub expires_at: Option<Timestamp>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}
