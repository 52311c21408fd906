//! Backups on the wire: recovery points, the files in them, and how to restore.

use domain::backup::{self, BackupKind};
use domain::{Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::BackupKindName;

/// One recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// Identity.
    pub id: Uuid,
    /// The owner: the tenant of the resource when it was backed up.
    pub tenant: Uuid,
    /// What was backed up.
    pub resource: Uuid,
    /// The resource's name when it was backed up.
    pub resource_name: String,
    /// The policy it was made under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Uuid>,
    /// The series it belongs to: the backups of one resource under one policy.
    pub archive: Uuid,
    /// Where it lies.
    pub repository: Uuid,
    /// The restic snapshot id.
    pub snapshot: String,
    /// Whether it is the first of its archive.
    #[schema(value_type = BackupKindName)]
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
    /// Why they cannot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub browsing_failed: String,
    /// Of a volume, the file systems on it, once it was indexed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filesystems: Vec<Filesystem>,
    /// When the data was read.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
}

impl From<&backup::Backup> for Backup {
    fn from(b: &backup::Backup) -> Backup {
        Backup {
            id: b.id,
            tenant: b.tenant,
            resource: b.resource,
            resource_name: b.resource_name.clone(),
            policy: b.policy,
            archive: b.archive,
            repository: b.repository,
            snapshot: b.snapshot.clone(),
            kind: b.kind,
            task: b.task,
            paths: b.paths.clone(),
            size: b.size,
            added: b.added,
            files: b.files,
            kept_because: b.kept_because.clone(),
            browsable: b.browsable,
            browsing_failed: b.browsing_failed.clone(),
            filesystems: b.filesystems.iter().map(Filesystem::from).collect(),
            created_at: b.created_at,
            updated_at: b.updated_at,
        }
    }
}

/// A file system on a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Filesystem {
    /// Under which path its files are found in the backup.
    #[schema(example = "/p1")]
    pub path: String,
    /// Its type, like `ext4`, `vfat` or `xfs`; `unknown` where nobody knows it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The id it has itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub native_id: String,
    /// The name it has itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Where it was mounted last, as far as it says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mounted_at: String,
    /// The byte of the volume at which it begins.
    pub offset: u64,
    /// Its capacity in bytes.
    pub size: u64,
    /// Of them used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Of them free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// How many files and folders were found; absent where it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Why it cannot be read, or not whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure: String,
}

impl From<&backup::Filesystem> for Filesystem {
    fn from(f: &backup::Filesystem) -> Filesystem {
        Filesystem {
            path: f.path.clone(),
            kind: f.kind.clone(),
            native_id: f.native_id.clone(),
            label: f.label.clone(),
            mounted_at: f.mounted_at.clone(),
            offset: f.offset,
            size: f.size,
            used: f.used,
            available: f.available,
            files: f.files,
            failure: f.failure.clone(),
        }
    }
}

/// Entries of a folder in a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileList {
    /// In the order of their names.
    pub items: Vec<File>,
    /// Give it as `after` for the entries that follow; absent when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A file, folder or other entry in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct File {
    /// Its name; bytes that are not UTF-8 are escaped.
    pub name: String,
    /// Its whole path; what `path` and the `paths` of a restore take.
    pub path: String,
    /// `file`, `dir`, `symlink`, `fifo`, `socket`, `chardev` or `dev`.
    pub kind: String,
    /// Bytes of a file.
    pub size: u64,
    /// The last modification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_at: Option<Timestamp>,
    /// Permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// The owner's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Where a symbolic link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_target: Option<String>,
}

/// What to restore of a backup, and where to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The folder to write to, on the agent's machine.
    #[schema(example = "/var/restore")]
    pub to: String,
    /// Of a volume: `to` is a block device that nobody uses, and is written over. Otherwise the image comes to lie in the
    /// folder `to`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overwrite_device: bool,
    /// Only these paths of the backup; empty = everything.
    #[serde(default)]
    pub paths: Vec<String>,
    /// The resource whose machine it is written to; the backed-up one where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Uuid>,
}

/// How to verify a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Verify {
    /// Only so many files, picked at random and restored as a test; at most 1000, 0 = all data is read.
    pub files: u32,
    /// What they are picked by: the seed of a former task picks its files again. Something new where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}
