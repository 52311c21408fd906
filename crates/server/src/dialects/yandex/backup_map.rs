//! Archives, recovery points and the files in them as this API shows them (section 11.4).

use std::collections::HashMap;

use domain::archive::Archive;
use domain::backup::{Backup, BackupKind, Root};
use domain::resource::Resource;
use domain::{Timestamp, Uuid};
use proto::yandex::cloud::backup::v1 as wire;
use wire::archive::{ArchiveAttributes, EncryptionAlgorithm};
use wire::backup::BackupAttributes;
use wire::{BackupFile, Disk, Format, Volume, backup_file};

use super::file_id;
use super::machine_map::{instance_id, stamp};
use crate::service::{ArchiveView, FileEntry};

/// What backups and archives are shown with: the machines they are of, and where they lie.
pub(super) struct Around {
    /// The machines, by their ids.
    pub(super) resources: HashMap<Uuid, Resource>,
    /// Where repositories are.
    pub(super) locations: HashMap<Uuid, String>,
    /// The archives that backups are in.
    pub(super) archives: HashMap<Uuid, Archive>,
}

impl Around {
    /// The id by which the machine of a backup is named; its own where it is not known any more.
    fn instance_of(&self, resource: Uuid) -> String {
        self.resources.get(&resource).map_or_else(|| resource.to_string(), instance_id)
    }

    /// When the repository was last reached for the archive of a backup; one without an archive was seen when it was made.
    fn seen_at(&self, backup: &Backup) -> Timestamp {
        self.archives.get(&backup.archive).map_or(backup.created_at, |archive| archive.last_seen_at)
    }

    fn uri(&self, repository: Uuid, archive: Uuid) -> String {
        format!("{}#{archive}", self.locations.get(&repository).map_or("", String::as_str))
    }
}

/// An archive.
pub(super) fn archive(view: &ArchiveView, around: &Around) -> wire::Archive {
    let archive = &view.archive;
    wire::Archive {
        id: archive.id.to_string(),
        name: archive.name.clone(),
        vault_id: archive.repository.to_string(),
        attributes: Some(ArchiveAttributes { aaib: "0".to_owned(), uri: around.uri(archive.repository, archive.id) }),
        size: bytes(view.added),
        compressed_data_size: bytes(view.added),
        data_size: bytes(view.added_raw),
        original_data_size: bytes(view.size),
        logical_size: bytes(view.newest.size),
        format: Format::Version12 as i32,
        created_at: Some(stamp(archive.created_at)),
        updated_at: Some(stamp(archive.updated_at)),
        last_backup_created_at: Some(stamp(view.newest.created_at)),
        last_seen_at: Some(stamp(archive.last_seen_at)),
        // A repository of restic's format is always encrypted.
        protected_by_password: true,
        encryption_algorithm: EncryptionAlgorithm::Aes256 as i32,
        actions: Vec::new(),
        backup_plan_id: archive.policy.to_string(),
        backup_plan_name: archive.policy_name.clone(),
        description: String::new(),
        display_name: format!("{} - {}", archive.resource_name, archive.policy_name),
        compute_instance_id: around.instance_of(archive.resource),
        consistent: !archive.damaged,
        deleted: false,
        resource_id: archive.resource.to_string(),
    }
}

/// A recovery point.
pub(super) fn backup(backup: &Backup, around: &Around) -> wire::Backup {
    let kind = match backup.kind {
        BackupKind::Full => wire::backup::Type::Full,
        BackupKind::Incremental => wire::backup::Type::Incremental,
    };
    wire::Backup {
        id: backup.id.to_string(),
        vault_id: backup.repository.to_string(),
        archive_id: backup.archive.to_string(),
        created_at: Some(stamp(backup.created_at)),
        last_seen_at: Some(stamp(around.seen_at(backup))),
        size: bytes(backup.added),
        deduplicated_size: bytes(backup.added_raw),
        backed_up_data_size: bytes(backup.changed),
        original_data_size: bytes(backup.size),
        attributes: Some(BackupAttributes {
            stream_name: backup.snapshot.clone(),
            uri: around.uri(backup.repository, backup.archive),
        }),
        compute_instance_id: around.instance_of(backup.resource),
        disks: roots(backup).iter().map(disk).collect(),
        r#type: kind as i32,
        deleted: false,
        policy_id: backup.policy.map(|p| p.to_string()).unwrap_or_default(),
        resource_id: backup.resource.to_string(),
    }
}

/// What a recovery point was read from; of older ones only the paths are known.
pub(super) fn roots(backup: &Backup) -> Vec<Root> {
    if !backup.roots.is_empty() {
        return backup.roots.clone();
    }
    backup.paths.iter().map(|path| Root { path: path.clone(), ..Root::default() }).collect()
}

/// Where browsing a recovery point begins: at what was backed up, or at the file systems of a volume.
pub(super) fn tops(backup: &Backup) -> Vec<Root> {
    if backup.filesystems.is_empty() {
        return if backup.browsable { roots(backup) } else { Vec::new() };
    }
    let readable = backup.filesystems.iter().filter(|found| found.files.is_some());
    readable
        .map(|found| Root {
            path: found.path.clone(),
            size: found.size,
            free: found.available.unwrap_or_default(),
            ..Root::default()
        })
        .collect()
}

fn disk(root: &Root) -> Disk {
    let name = domain::path::shown(&domain::path::bytes_of(&root.path));
    let volume = Volume {
        free_space: bytes(root.free),
        is_bootable: false,
        is_system: root.system,
        name: name.clone(),
        size: bytes(root.size),
        mount_strid: name.clone(),
    };
    Disk { device_model: String::new(), name, size: bytes(root.size), volumes: vec![volume] }
}

/// A root of a recovery point: what was named to be backed up.
pub(super) fn root(backup: &Backup, root: &Root) -> BackupFile {
    let path = domain::path::bytes_of(&root.path);
    BackupFile {
        id: file_id::encode(&path),
        parent_id: None,
        r#type: if root.file { backup_file::Type::File } else { backup_file::Type::Dir } as i32,
        full_path: domain::path::shown(&path),
        name: domain::path::shown(&path),
        size: 0,
        actions: Some(backup_file::Actions { restore_to_disk: true, go_to_location: !root.file }),
        // It must be there; agents of before did not say it.
        modified_at: Some(stamp(root.modified_at.unwrap_or(backup.created_at))),
    }
}

/// An entry of the directory with the id `parent`.
pub(super) fn file(entry: &FileEntry, parent: &str) -> BackupFile {
    let path = domain::path::bytes_of(&entry.path);
    let directory = entry.kind == "dir";
    BackupFile {
        id: file_id::encode(&path),
        parent_id: Some(parent.to_owned()),
        r#type: if directory { backup_file::Type::Dir } else { backup_file::Type::File } as i32,
        full_path: domain::path::shown(&path),
        name: domain::path::shown(&domain::path::bytes_of(&entry.name)),
        size: if entry.kind == "file" { bytes(entry.size) } else { 0 },
        actions: Some(backup_file::Actions { restore_to_disk: true, go_to_location: directory }),
        modified_at: entry.modified_at.map(stamp),
    }
}

/// Bytes as clients of JavaScript can count them.
fn bytes(n: u64) -> i64 {
    const LARGEST: u64 = (1 << 53) - 1;
    n.min(LARGEST) as i64
}
