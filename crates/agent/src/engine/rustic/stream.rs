//! Stores a stream as the only file of a snapshot, and writes such a file back to a disk image or a block device.
//!
//! rustic_core would leave out a file that cannot be read and write the snapshot all the same. Here the storage keeps
//! snapshots back until the whole stream has arrived; only then it is written, by us.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Instant, SystemTime},
};

use domain::{backup::Root, policy::settings::When};
use nix::libc;
use rustic_core::{
    BackupOptions, BlobId, IndexedFull, IndexedTree, OpenStatus, ParentOptions, ReadSource, ReadSourceEntry,
    Repository, RusticResult,
    jiff::Timestamp,
    repofile::{BlobType, Metadata, Node, NodeType, SnapshotFile, SnapshotId, SnapshotSummary},
    vfs::OpenFile,
};

use super::{
    Grid, Opened, RusticEngine, all_snapshots, backend::Meter, commands_of, full, map_error, millis_since,
    new_snapshot, node, parent_of, snapshot_of_task, write::write_around_holes,
};
use crate::engine::{
    BackupJob, BackupSummary, EngineError, ErrorCode, Image, RawPath, Reporter, RestoreJob, RestoreSummary, Step,
    priority,
    stream::{Fate, Stream, StreamReader, Whole},
};

/// What the pieces of streams are. Disks change in place, so a fixed grid finds again whatever did not change, and does so
/// without a rolling checksum. Smaller pieces would find more, and make lists and indexes of large disks longer.
pub(super) const PIECE: &str = "512 KiB";

/// Before the `=` in the tag with the digest of a stream.
const DIGEST_TAG: &str = "backstay-sha256";

/// The permissions of the file in the snapshot: what is on a disk is nobody's business but the owner's.
const MODE: u32 = libc::S_IFREG | 0o600;

/// More threads would only wait for the disk, and each holds a piece.
const MAX_THREADS: usize = 4;

/// What stands before the name of an image that is not complete yet.
const PARTIAL: &str = ".backstay-partial-";

impl RusticEngine {
    /// Write a snapshot of what `open` gives, with the words and settings of `job`: everything in it but the paths, which
    /// only say which snapshots are of the same series. If there is a snapshot of the task already, nothing is opened.
    ///
    /// # Errors
    /// As of a backup; whatever breaks the stream. There is no snapshot then.
    pub fn store_stream(
        &self,
        job: &BackupJob,
        open: impl FnOnce() -> Result<Stream, EngineError>,
        reporter: &Reporter,
    ) -> Result<BackupSummary, EngineError> {
        let start = Instant::now();
        if job.background {
            priority::step_back();
        }
        let Opened { repository, meter } = self.open_for(job, Grid::Fixed, reporter)?;
        let before = all_snapshots(&repository)?;
        let paths = job.paths.iter().map(|path| path.as_path().to_string_lossy().into_owned()).collect();
        if let Some(done) = snapshot_of_task(&before, job.task) {
            // The series as it was before that attempt.
            let others: Vec<_> = before.iter().filter(|other| other.id != done.id).cloned().collect();
            let incremental = !job.full && parent_of(&others, job, &done.hostname, &paths).is_some();
            return Ok(BackupSummary { already_done: true, incremental, ..summary_of(done) });
        }
        let snapshot = new_snapshot(job)?;
        let earlier = if job.full { None } else { parent_of(&before, job, &snapshot.hostname, &paths) };
        drop(before);

        commands_of(job, When::PreData, reporter)?;
        let stored =
            open().and_then(|stream| store(repository, &meter, snapshot, earlier.as_deref(), stream, reporter));
        let after = commands_of(job, When::PostData, reporter);
        Ok(BackupSummary {
            duration_ms: millis_since(start),
            incremental: earlier.is_some(),
            failed_command: after.err(),
            ..stored?
        })
    }

    /// Fetch an image and store it as a stream.
    pub(super) fn import(
        &self,
        job: &BackupJob,
        image: &Image,
        reporter: &Reporter,
    ) -> Result<BackupSummary, EngineError> {
        let [path] = job.paths.as_slice() else {
            return Err(EngineError::new(ErrorCode::InvalidJob, "an image is stored as one file"));
        };
        self.store_stream(job, || image.open(path.as_path().to_path_buf()), reporter)
    }

    /// Back up a block device or a disk image as a stream.
    pub(super) fn backup_volume(&self, job: &BackupJob, reporter: &Reporter) -> Result<BackupSummary, EngineError> {
        let [path] = job.paths.as_slice() else {
            return Err(EngineError::new(ErrorCode::InvalidJob, "a volume is one block device or one disk image"));
        };
        let absolute = path.as_path().is_absolute();
        if !absolute || path.as_path().components().any(|part| part == Component::ParentDir) {
            let message = "the path of a volume must be absolute and without `..`";
            return Err(EngineError::new(ErrorCode::InvalidJob, message).with("path", path));
        }
        let summary = self.store_stream(job, || Stream::open(path.as_path()), reporter)?;
        let root = Root { path: path.to_string(), size: summary.bytes, ..Root::default() };
        Ok(BackupSummary { roots: vec![root], ..summary })
    }
}

/// Write a snapshot of `stream`.
fn store(
    repository: Repository<OpenStatus>,
    meter: &Arc<Meter>,
    mut snapshot: SnapshotFile,
    earlier: Option<&str>,
    stream: Stream,
    reporter: &Reporter,
) -> Result<BackupSummary, EngineError> {
    let (path, modified) = (stream.path.clone(), stream.modified);
    let size_is_known = stream.size.is_some();
    reporter.step(Step::Backup);
    reporter.progress(|progress| (progress.files_total, progress.bytes_total) = (Some(1), stream.size));
    let repository = repository.to_indexed_ids().map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
    snapshot.parent = match earlier {
        Some(id) => Some(id.parse::<SnapshotId>().map_err(|error| map_error(&error, ErrorCode::Internal))?),
        None => None,
    };
    meter.hold_snapshots(true);
    let (mut stored, whole) = archive(&repository, meter, snapshot.clone(), stream)?;
    if !size_is_known {
        // The file has been described before its size was known. Everything is there by now, so the second time nothing
        // is added but the right description.
        let first = stored.summary.take();
        let repository = Arc::new(
            repository.drop_index().to_indexed().map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?,
        );
        let file = only_file(&*repository, &stored)?;
        let reader = StoredFile::open(Arc::clone(&repository), &file.node)?;
        let again = Stream { path, size: Some(whole.bytes), modified, reader: Box::new(reader) };
        let (described, same) = archive(&*repository, meter, snapshot, again)?;
        if same != whole {
            let message = "the stream reads differently from the repository than it was written";
            return Err(EngineError::new(ErrorCode::RepositoryDamaged, message));
        }
        stored = described;
        stored.summary = stored.summary.zip(first).map(|(second, first)| together(second, &first));
        return finish(&repository, meter, stored, &whole, earlier, reporter);
    }
    finish(&repository, meter, stored, &whole, earlier, reporter)
}

/// Reads the stream and stores what it consists of. The snapshot is not written.
fn archive<S: rustic_core::IndexedIds>(
    repository: &Repository<S>,
    meter: &Arc<Meter>,
    snapshot: SnapshotFile,
    stream: Stream,
) -> Result<(SnapshotFile, Whole), EngineError> {
    // It is read whole, whatever it looks like.
    let options = BackupOptions::default().no_scan(true).parent_opts(ParentOptions::default().force(true));
    let paths = [PathBuf::from(stream.path.to_string_lossy().into_owned())];
    let fate = Arc::new(Fate::default());
    let source = OneFile { node: described(&stream)?, path: stream.path.clone(), reader: Mutex::default() };
    let ended = {
        let meter = Arc::clone(meter);
        move || meter.source_was_read()
    };
    let given_up = {
        let meter = Arc::clone(meter);
        move || meter.has_failed()
    };
    let reader = StreamReader::new(stream, Arc::clone(&fate), ended, given_up);
    *source.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader);
    let stored = repository.archive(&options, &source, snapshot, &paths);
    if let Some(failure) = meter.take_failure() {
        return Err(failure);
    }
    let whole = fate.end();
    // What broke the stream is the cause; what rustic_core says may be its consequence.
    let stored = match (stored, &whole) {
        (Err(_), Err(cause)) if cause.code != ErrorCode::Internal => return Err(cause.clone()),
        (stored, _) => stored.map_err(|error| map_error(&error, ErrorCode::Internal))?,
    };
    Ok((stored, whole?))
}

/// Writes the snapshot.
fn finish<S: IndexedTree>(
    repository: &Repository<S>,
    meter: &Arc<Meter>,
    mut snapshot: SnapshotFile,
    whole: &Whole,
    earlier: Option<&str>,
    reporter: &Reporter,
) -> Result<BackupSummary, EngineError> {
    meter.hold_snapshots(false);
    snapshot.tags.add(format!("{DIGEST_TAG}={}", whole.sha256));
    let summary = snapshot.summary.get_or_insert_default();
    // Nothing of it was looked up in a parent, so rustic_core takes every stream for a new file.
    let changed = u64::from(summary.data_added_files > 0);
    let numbers = if earlier.is_some() { (0, changed, 1 - changed) } else { (1, 0, 0) };
    (summary.files_new, summary.files_changed, summary.files_unmodified) = numbers;
    let saved = repository.save_snapshots(vec![snapshot.clone()]);
    if let Some(failure) = meter.take_failure() {
        return Err(failure);
    }
    saved.map_err(|error| map_error(&error, ErrorCode::Io))?;
    let id = meter.last_snapshot().ok_or_else(|| EngineError::new(ErrorCode::Internal, "no snapshot was written"))?;
    snapshot.id = SnapshotId::from(id);
    reporter.progress(|progress| progress.files_done = 1);
    Ok(BackupSummary { bytes_read: whole.bytes, ..summary_of(&snapshot) })
}

/// What a snapshot of a stream says about itself.
pub(super) fn summary_of(snapshot: &SnapshotFile) -> BackupSummary {
    BackupSummary { sha256: digest_of(snapshot), ..super::summary(snapshot) }
}

/// Whether a snapshot is of a stream.
pub(super) fn is_stream(snapshot: &SnapshotFile) -> bool {
    digest_of(snapshot).is_some()
}

/// The digest of the stream in a snapshot.
fn digest_of(snapshot: &SnapshotFile) -> Option<String> {
    snapshot.tags.iter().find_map(|tag| Some(tag.strip_prefix(DIGEST_TAG)?.strip_prefix('=')?.to_owned()))
}

/// The numbers of a stream that was stored in two turns.
fn together(mut second: SnapshotSummary, first: &SnapshotSummary) -> SnapshotSummary {
    second.backup_start = first.backup_start.clone();
    second.total_duration += first.total_duration;
    second.data_blobs += first.data_blobs;
    second.tree_blobs += first.tree_blobs;
    second.data_added += first.data_added;
    second.data_added_packed += first.data_added_packed;
    second.data_added_files += first.data_added_files;
    second.data_added_files_packed += first.data_added_files_packed;
    second.data_added_trees += first.data_added_trees;
    second.data_added_trees_packed += first.data_added_trees_packed;
    second
}

fn described(stream: &Stream) -> Result<Node, EngineError> {
    let Some(name) = stream.path.file_name().filter(|_| stream.path.is_absolute()) else {
        return Err(EngineError::new(ErrorCode::InvalidJob, "a stream is stored under an absolute path")
            .with("path", RawPath::from(stream.path.as_path())));
    };
    let modified = Timestamp::try_from(stream.modified.unwrap_or_else(SystemTime::now)).ok();
    let details = Metadata {
        mode: Some(node::mode_to_go(MODE)),
        mtime: modified,
        atime: modified,
        ctime: modified,
        uid: Some(0),
        gid: Some(0),
        size: stream.size.unwrap_or_default(),
        links: 1,
        ..Metadata::default()
    };
    Ok(Node::new_node(name, NodeType::File, details))
}

/// A stream in the form rustic_core takes.
struct OneFile {
    path: PathBuf,
    node: Node,
    reader: Mutex<Option<StreamReader>>,
}

impl ReadSource for OneFile {
    type Open = StreamReader;
    type Iter = std::iter::Once<RusticResult<ReadSourceEntry<StreamReader>>>;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Self::Iter {
        let open = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::iter::once(Ok(ReadSourceEntry { path: self.path.clone(), node: self.node.clone(), open }))
    }
}

/// The file of a snapshot that has only one.
#[derive(Debug)]
pub(super) struct OnlyFile {
    pub(super) path: PathBuf,
    pub(super) node: Node,
}

/// Find the file of a snapshot of a stream.
pub(super) fn only_file<S: IndexedTree>(
    repository: &Repository<S>,
    snapshot: &SnapshotFile,
) -> Result<OnlyFile, EngineError> {
    let other = || {
        EngineError::new(ErrorCode::InvalidJob, "this snapshot is not of a volume").with("snapshot", full(&snapshot.id))
    };
    let (mut path, mut id) = (PathBuf::from("/"), snapshot.tree);
    loop {
        let tree = repository.get_tree(&id).map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        let [node] = tree.nodes.as_slice() else { return Err(other()) };
        path.push(node::safe_name(node).ok_or_else(other)?);
        match (node.is_file(), node.subtree) {
            (true, _) => return Ok(OnlyFile { path, node: node.clone() }),
            (false, Some(below)) => id = below,
            (false, None) => return Err(other()),
        }
    }
}

/// A file in a repository, read at any place.
pub(super) struct StoredFile<S> {
    repository: Arc<Repository<S>>,
    file: OpenFile,
    size: u64,
    position: u64,
}

impl<S: IndexedFull> StoredFile<S> {
    pub(super) fn open(repository: Arc<Repository<S>>, node: &Node) -> Result<Self, EngineError> {
        let (_, size) = layout(&repository, node)?;
        let file = repository.open_file(node).map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        Ok(Self { repository, file, size, position: 0 })
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        self.size
    }

    /// What lies at `offset`: as much as fits and is there.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX));
        let place = usize::try_from(offset).map_err(io::Error::other)?;
        let data = self.repository.read_file_at(&self.file, place, wanted);
        let data = data.map_err(|error| io::Error::other(map_error(&error, ErrorCode::RepositoryDamaged)))?;
        let read = data.len().min(buffer.len());
        buffer[..read].copy_from_slice(&data[..read]);
        Ok(read)
    }
}

impl<S: IndexedFull> Read for StoredFile<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// Where the pieces of a file begin, and where the last ends.
pub(super) fn layout<S: IndexedFull>(repository: &Repository<S>, node: &Node) -> Result<(Vec<u64>, u64), EngineError> {
    let mut end = 0;
    let mut offsets = Vec::with_capacity(node.content.as_ref().map_or(0, Vec::len));
    for blob in node.content.iter().flatten() {
        let entry = repository
            .get_index_entry(blob)
            .map_err(|_| EngineError::new(ErrorCode::RepositoryDamaged, "content is missing in the repository"))?;
        offsets.push(end);
        end += u64::from(entry.data_length());
    }
    Ok((offsets, end))
}

/// Restore what `job` asks for from the snapshot of a stream.
pub(super) fn restore<S: IndexedFull + Sync>(
    repository: &Repository<S>,
    snapshot: &SnapshotFile,
    job: &RestoreJob,
    reporter: &Reporter,
) -> Result<RestoreSummary, EngineError> {
    let file = only_file(repository, snapshot)?;
    if let Some(device) = &job.device {
        return restore_device(repository, &file, device.as_path(), reporter);
    }
    check_target(job)?;
    let name = file.path.file_name().unwrap_or_default();
    restore_image(repository, &file, &job.target.as_path().join(name), reporter)
}

/// Refuse what is meant for where it was: its own place may be a device, or is on a disk that only the volume's own system
/// mounts.
pub(super) fn check_target(job: &RestoreJob) -> Result<(), EngineError> {
    if job.target.as_path().parent().is_some() {
        return Ok(());
    }
    let message = "a volume is restored into a folder or over a device that is named, not to where it was";
    Err(EngineError::new(ErrorCode::InvalidJob, message))
}

/// Write the file of a snapshot to a disk image at `place`, where nothing may be. It appears there when it is complete; what
/// a former try left half-done is begun anew, and what it completed is found again by its size and time.
fn restore_image<S: IndexedFull + Sync>(
    repository: &Repository<S>,
    file: &OnlyFile,
    place: &Path,
    reporter: &Reporter,
) -> Result<RestoreSummary, EngineError> {
    reporter.step(Step::Plan);
    let named = |error: EngineError| error.with("path", RawPath::from(place));
    let failed = |what: &str, error: &io::Error| named(EngineError::io(what, error));
    let (offsets, size) = layout(repository, &file.node)?;
    let folder = place.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(folder).map_err(|error| failed("cannot restore into this directory", &error))?;
    match fs::symlink_metadata(place) {
        Ok(there) if is_restored(&there, &file.node, size) => {
            return Ok(RestoreSummary { files_unchanged: 1, ..RestoreSummary::default() });
        }
        Ok(_) => return Err(named(taken())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("cannot restore to this place", &error)),
    }
    let name = place.file_name().ok_or_else(|| named(taken()))?;
    let partial = folder.join(Path::new(&std::ffi::OsString::from_iter([PARTIAL.as_ref(), name])));
    // Truncated only when the lock is held.
    let image = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&partial)
        .map_err(|error| failed("cannot be written", &error))?;
    // Another restore to the same place would write into the same file.
    if image.try_lock().is_err() {
        return Err(named(EngineError::new(ErrorCode::Io, "another restore is writing to this place")));
    }
    let written = (|| {
        image.set_len(0)?;
        image.set_len(size)
    })();
    written.map_err(|error| failed("cannot be written", &error))?;

    fill(repository, &file.node, &offsets, size, reporter, |data, offset| write_around_holes(&image, offset, data))
        .inspect_err(|_| drop(fs::remove_file(&partial)))?;

    reporter.step(Step::Metadata);
    let done = (|| {
        let modified = file.node.meta.mtime.map(SystemTime::from);
        if let Some(time) = modified {
            image.set_modified(time)?;
        }
        image.sync_all()?;
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        renameat_with(CWD, &partial, CWD, place, RenameFlags::NOREPLACE)?;
        File::open(folder)?.sync_all()
    })();
    match done {
        Ok(()) => Ok(RestoreSummary { files: 1, bytes: size, ..RestoreSummary::default() }),
        Err(error) => {
            let _ = fs::remove_file(&partial);
            let exists = error.kind() == io::ErrorKind::AlreadyExists;
            Err(if exists { named(taken()) } else { failed("cannot be written", &error) })
        }
    }
}

fn taken() -> EngineError {
    EngineError::new(ErrorCode::PathTaken, "there is something already, and a restored image replaces nothing")
}

/// Whether what is there was restored by a former try of the same work.
fn is_restored(there: &fs::Metadata, node: &Node, size: u64) -> bool {
    let modified = i128::from(there.mtime()) * 1_000_000_000 + i128::from(there.mtime_nsec());
    there.is_file() && there.len() == size && node.meta.mtime.is_some_and(|time| time.as_nanosecond() == modified)
}

/// Write the file of a snapshot over a block device.
fn restore_device<S: IndexedFull + Sync>(
    repository: &Repository<S>,
    file: &OnlyFile,
    device: &Path,
    reporter: &Reporter,
) -> Result<RestoreSummary, EngineError> {
    reporter.step(Step::Plan);
    let named = |error: EngineError| error.with("device", RawPath::from(device));
    let (offsets, size) = layout(repository, &file.node)?;
    let target = open_device(device, size).map_err(named)?;
    fill(repository, &file.node, &offsets, size, reporter, |data, offset| target.write_all_at(data, offset))
        .map_err(named)?;
    reporter.step(Step::Metadata);
    target.sync_all().map_err(|error| named(EngineError::io("cannot be written", &error)))?;
    Ok(RestoreSummary { files: 1, bytes: size, ..RestoreSummary::default() })
}

/// Open a device that nobody uses and that is large enough.
fn open_device(path: &Path, size: u64) -> Result<File, EngineError> {
    use std::{io::Seek, os::unix::fs::FileTypeExt};
    let unusable = |error: io::Error| EngineError::io("cannot write to the device", &error);
    let meta = fs::metadata(path).map_err(unusable)?;
    if !meta.file_type().is_block_device() {
        let message = "this is no block device; a disk image is restored into a folder";
        return Err(EngineError::new(ErrorCode::InvalidJob, message));
    }
    // To the kernel this means: only if it is not mounted, not swapped to, and not a part of something else.
    let device = OpenOptions::new().write(true).custom_flags(libc::O_EXCL).open(path);
    let mut device = device.map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => {
            let message = "the device or a part of it is mounted or otherwise in use; nothing was written";
            EngineError::new(ErrorCode::DeviceInUse, message)
        }
        _ => unusable(error),
    })?;
    let room = device.seek(io::SeekFrom::End(0)).map_err(unusable)?;
    if room < size {
        let message = format!("the device has {room} bytes, and the volume {size}; nothing was written");
        return Err(EngineError::new(ErrorCode::NoSpace, message));
    }
    Ok(device)
}

/// Fetch all pieces of a file and have each written to its place, by a few threads.
fn fill<S: IndexedFull + Sync>(
    repository: &Repository<S>,
    node: &Node,
    offsets: &[u64],
    size: u64,
    reporter: &Reporter,
    write: impl Fn(&[u8], u64) -> io::Result<()> + Sync,
) -> Result<(), EngineError> {
    reporter.step(Step::Restore);
    reporter.progress(|progress| (progress.files_total, progress.bytes_total) = (Some(1), Some(size)));
    let blobs = node.content.as_deref().unwrap_or_default();
    let next = AtomicUsize::new(0);
    let failure = Mutex::new(None::<EngineError>);
    let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while failed().is_none() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(blob), Some(offset)) = (blobs.get(index), offsets.get(index)) else { return };
            let written = repository
                .get_blob_cached(&BlobId::from(*blob), BlobType::Data)
                .map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))
                .and_then(|data| {
                    write(&data, *offset).map_err(|error| EngineError::io("cannot be written", &error))?;
                    Ok(data.len() as u64)
                });
            match written {
                Ok(bytes) => reporter.progress(|progress| progress.bytes_done += bytes),
                Err(error) => drop(failed().get_or_insert(error)),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    reporter.progress(|progress| progress.files_done = 1);
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
