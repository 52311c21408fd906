//! Backups: recovery points, each a snapshot in a repository.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::settings::is_default;
use crate::resource::ResourceKind;
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
    /// What sort of thing it is; none = unknown.
    #[serde(default)]
    pub resource_kind: Option<ResourceKind>,
    /// Whether it is a machine that joined from outside.
    #[serde(default)]
    pub external: bool,
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
    /// Bytes it added to the repository, deduplicated and compressed.
    pub added: u64,
    /// Bytes it added, deduplicated, before compression; 0 = unknown.
    #[serde(default)]
    pub added_raw: u64,
    /// Bytes of its new and changed files; 0 = unknown.
    #[serde(default)]
    pub changed: u64,
    /// The file systems that its paths lie on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<Root>,
    /// The family of operating systems it is of, like `linux`; empty = unknown.
    #[serde(default)]
    pub system: String,
    /// Files in it.
    pub files: u64,
    /// Why retention keeps it; empty until retention has looked at it.
    pub kept_because: Vec<String>,
    /// Whether its files can be listed.
    pub browsable: bool,
    /// Why they cannot, in a sentence; empty where they can, or where nobody looked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub browsing_failed: String,
    /// Of a volume, the file systems on it, once it was indexed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filesystems: Vec<Filesystem>,
    /// When the data was read.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// Since when it is being deleted; it is no longer shown. None again when that fails for good.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
    /// The agent that made it; none = unknown.
    #[serde(default)]
    pub agent: Option<Uuid>,
    /// The resource's tags when it was backed up; empty = unknown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Where the resource was when it was backed up, in words; empty = unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub location: String,
    /// When it goes, where it was made with an end of its own; then no policy's retention governs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// What was backed up from: a path, and the file system that it lies on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// The path.
    pub path: String,
    /// The capacity of its file system in bytes; 0 = unknown.
    pub size: u64,
    /// Of them free.
    pub free: u64,
    /// Whether the system lies on it: `/`, or the system drive.
    pub system: bool,
    /// Whether it is no directory.
    #[serde(default, skip_serializing_if = "is_default")]
    pub file: bool,
    /// When it was last changed; none = unknown.
    #[serde(default, skip_serializing_if = "is_default")]
    pub modified_at: Option<Timestamp>,
}

/// A file system on a volume, as its indexing found it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// Under which path its files are found in the recovery point: `/` where it fills the volume, else `/p` and the number
    /// of its partition.
    pub path: String,
    /// Its type, like `ext4`, `vfat` or `xfs`; `unknown` where nobody knows it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The id it has itself: a uuid, or the serial number of a FAT; empty = unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub native_id: String,
    /// The name it has itself; empty = none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Where it was mounted last, as far as it says so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mounted_at: String,
    /// The byte of the volume at which it begins.
    pub offset: u64,
    /// Its capacity in bytes.
    pub size: u64,
    /// Of them used; none = unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// Of them free; none = unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// How many files and folders were found; none = it cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Why it cannot be read, or not whole; empty = it can.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure: String,
}

impl Backup {
    /// Whether it holds the bytes of a disk, of a volume or of an imported image, and not the files of a machine.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.resource_kind, Some(ResourceKind::Volume | ResourceKind::Image))
    }

    /// Keeps what an indexing found. It can be browsed as soon as there is one file system that can be read.
    pub fn index(&mut self, filesystems: Vec<Filesystem>) {
        self.browsable = filesystems.iter().any(|found| found.files.is_some());
        self.browsing_failed = match (self.browsable, filesystems.as_slice()) {
            (true, _) => String::new(),
            (false, []) => "there is no file system on the volume".to_owned(),
            (false, [one]) => one.failure.clone(),
            (false, several) => {
                let kinds: Vec<&str> = several.iter().map(|found| found.kind.as_str()).collect();
                format!("none of the file systems on the volume can be read here: {}", kinds.join(", "))
            }
        };
        self.filesystems = filesystems;
    }
}
