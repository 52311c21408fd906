//! Snapshots: which one a backup builds on, which one is meant, and what is told of them.

use std::collections::BTreeSet;

use rustic_core::{
    OpenStatus, Repository, SnapshotOptions,
    repofile::{SnapshotFile, SnapshotId},
};
use uuid::Uuid;

use super::{full, map_error};
use crate::engine::{BackupJob, BackupSummary, EngineError, ErrorCode, SnapshotInfo};

/// Before the `=` in the tag that ties a snapshot to its task.
const TASK_TAG: &str = "backstay-task";

/// What snapshots say about the program that wrote them.
const PROGRAM: &str = concat!("backstay ", env!("CARGO_PKG_VERSION"));

/// The snapshot that a backup builds on: the latest of its series, or of the same host and paths where the series has none.
pub(super) fn parent_of(
    before: &[SnapshotFile],
    job: &BackupJob,
    host: &str,
    paths: &BTreeSet<String>,
) -> Option<String> {
    let latest = |fits: &dyn Fn(&SnapshotFile) -> bool| {
        before
            .iter()
            .filter(|other| fits(other))
            .max_by_key(|other| other.time.timestamp())
            .map(|other| full(&other.id))
    };
    let same_series = |other: &SnapshotFile| job.label.as_ref().is_some_and(|label| *label == other.label);
    let same_source = |other: &SnapshotFile| other.hostname == host && paths_of(other) == *paths;
    latest(&same_series).or_else(|| latest(&same_source))
}

pub(super) fn paths_of(snapshot: &SnapshotFile) -> BTreeSet<String> {
    snapshot.paths.iter().cloned().collect()
}

pub(super) fn all_snapshots(repository: &Repository<OpenStatus>) -> Result<Vec<SnapshotFile>, EngineError> {
    repository.get_all_snapshots().map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))
}

pub(super) fn snapshot_of_task(snapshots: &[SnapshotFile], task: Uuid) -> Option<&SnapshotFile> {
    if task.is_nil() {
        return None;
    }
    let tag = task_tag(task);
    snapshots.iter().find(|snapshot| snapshot.tags.contains(&tag))
}

pub(super) fn find_snapshot(repository: &Repository<OpenStatus>, id: &str) -> Result<SnapshotFile, EngineError> {
    let not_found = || EngineError::new(ErrorCode::SnapshotNotFound, "there is no such snapshot").with("snapshot", id);
    if id.is_empty() {
        return Err(not_found());
    }
    let ids = repository.list::<SnapshotId>().map_err(|error| map_error(&error, ErrorCode::Io))?;
    let mut matching = ids.filter(|known| full(known).starts_with(id));
    let found = matching.next().ok_or_else(not_found)?;
    if matching.next().is_some() {
        return Err(
            EngineError::new(ErrorCode::InvalidJob, "several snapshots begin with this id").with("snapshot", id)
        );
    }
    let mut snapshot: SnapshotFile =
        repository.get_file(&found).map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
    snapshot.id = found;
    Ok(snapshot)
}

fn task_tag(task: Uuid) -> String {
    format!("{TASK_TAG}={task}")
}

pub(super) fn new_snapshot(job: &BackupJob) -> Result<SnapshotFile, EngineError> {
    let mut options = SnapshotOptions::default()
        .host(job.host.clone())
        .label(job.label.clone())
        .command("backstay backup".to_owned());
    let task = (!job.task.is_nil()).then(|| task_tag(job.task));
    for tag in job.tags.iter().chain(&task) {
        if tag.is_empty() || tag.contains(',') {
            return Err(
                EngineError::new(ErrorCode::InvalidJob, "tags must not be empty or contain commas").with("tag", tag)
            );
        }
        options = options.add_tags(tag).map_err(|error| map_error(&error, ErrorCode::InvalidJob))?;
    }
    let mut snapshot = options.to_snapshot().map_err(|error| map_error(&error, ErrorCode::InvalidJob))?;
    snapshot.program_version = PROGRAM.to_owned();
    Ok(snapshot)
}

pub(super) fn summary(snapshot: &SnapshotFile) -> BackupSummary {
    let numbers = snapshot.summary.clone().unwrap_or_default();
    BackupSummary {
        snapshot: full(&snapshot.id),
        tree: full(&snapshot.tree),
        parent: snapshot.parent.map(|parent| full(&parent)),
        already_done: false,
        files_new: numbers.files_new,
        files_changed: numbers.files_changed,
        files_unmodified: numbers.files_unmodified,
        files: numbers.total_files_processed,
        directories: numbers.total_dirs_processed,
        bytes: numbers.total_bytes_processed,
        bytes_added: numbers.data_added,
        bytes_added_packed: numbers.data_added_packed,
        bytes_added_files: numbers.data_added_files,
        bytes_read: 0,
        incremental: false,
        roots: Vec::new(),
        sha256: None,
        failed_command: None,
        duration_ms: std::time::Duration::try_from_secs_f64(numbers.total_duration)
            .map_or(0, |duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
    }
}

pub(super) fn info(snapshot: &SnapshotFile) -> SnapshotInfo {
    let tags: BTreeSet<String> = snapshot.tags.iter().cloned().collect();
    let task = tags.iter().find_map(|tag| tag.strip_prefix(TASK_TAG)?.strip_prefix('=')?.parse().ok());
    let numbers = snapshot.summary.as_ref();
    SnapshotInfo {
        id: full(&snapshot.id),
        tree: full(&snapshot.tree),
        parent: snapshot.parent.map(|parent| full(&parent)),
        time_ns: i64::try_from(snapshot.time.timestamp().as_nanosecond()).unwrap_or(i64::MAX),
        host: snapshot.hostname.clone(),
        paths: paths_of(snapshot).into_iter().collect(),
        tags: tags.into_iter().collect(),
        label: (!snapshot.label.is_empty()).then(|| snapshot.label.clone()),
        task,
        files: numbers.map(|numbers| numbers.total_files_processed),
        bytes: numbers.map(|numbers| numbers.total_bytes_processed),
        bytes_added_packed: numbers.map(|numbers| numbers.data_added_packed),
    }
}
