//! Writes the content of restored files: blobs are fetched and written by a few threads, each to its own
//! place in its file. At most a handful of blobs are in memory at any time. Blocks of zeros are not
//! written, so that holes stay holes.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use rustic_core::{
    BlobId, DataId, IndexedFull, Repository,
    repofile::{BlobType, Node},
};

use super::{
    attributes::{Attributes, Place},
    map_error,
};
use crate::engine::{EngineError, ErrorCode, Reporter};

/// The smallest hole: what file systems usually have as a block.
const BLOCK: usize = 4096;
const ZEROS: [u8; BLOCK] = [0; BLOCK];

/// More threads would only wait for the disk, and each holds a blob.
const MAX_THREADS: usize = 4;

/// A file being written.
pub(super) struct NewFile {
    pub(super) file: File,
    /// Where it ends up.
    pub(super) path: PathBuf,
    /// Where it is until it is complete, if it replaces another.
    pub(super) temporary: Option<PathBuf>,
    pub(super) node: Node,
    /// Blobs that are not written yet.
    pub(super) blobs_left: AtomicUsize,
    pub(super) failed: AtomicBool,
}

impl NewFile {
    fn path_now(&self) -> &Path {
        self.temporary.as_ref().unwrap_or(&self.path)
    }
}

/// What was restored so far, counted by all threads.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) files: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) failed: AtomicU64,
    first_failure: Mutex<Option<EngineError>>,
    /// Why the restore cannot go on.
    fatal: Mutex<Option<EngineError>>,
}

impl Tally {
    /// One entry is lost; the restore goes on, unless there is no more space for anything.
    pub(super) fn fail(&self, reporter: &Reporter, path: &Path, error: EngineError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if error.code == ErrorCode::NoSpace {
            lock(&self.fatal).get_or_insert(error);
            return;
        }
        reporter.warn(Some(path), error.message.clone());
        lock(&self.first_failure).get_or_insert_with(|| error.with("path", crate::engine::RawPath::from(path)));
    }

    /// An error if the restore cannot go on.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        lock(&self.fatal).clone().map_or(Ok(()), Err)
    }

    /// The first entry's error.
    pub(super) fn first_failure(&self) -> Option<EngineError> {
        lock(&self.first_failure).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One blob for one place.
struct Piece {
    file: Arc<NewFile>,
    offset: u64,
    blob: DataId,
}

/// Takes files and has them written.
pub(super) struct Writer<'a, S> {
    repository: &'a Repository<S>,
    attributes: &'a Attributes,
    tally: &'a Tally,
    reporter: &'a Reporter,
}

/// To hand pieces to the threads of a [`Writer`].
pub(super) struct Queue(SyncSender<Piece>);

impl<'a, S: IndexedFull + Sync> Writer<'a, S> {
    pub(super) fn new(
        repository: &'a Repository<S>,
        attributes: &'a Attributes,
        tally: &'a Tally,
        reporter: &'a Reporter,
    ) -> Self {
        Self { repository, attributes, tally, reporter }
    }

    /// Run `feed`, which queues files, until all of them are written.
    pub(super) fn run<T>(&self, feed: impl FnOnce(&Queue) -> T) -> T {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        // Waiting pieces keep their files open: a short queue keeps that in bounds.
        let (sender, receiver) = sync_channel(threads * 2);
        let receiver = Mutex::new(receiver);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.work(&receiver));
            }
            feed(&Queue(sender))
        })
    }

    /// Have `file` filled with the blobs of its node; `offsets` are where they begin.
    pub(super) fn write(&self, queue: &Queue, file: NewFile, offsets: &[u64]) {
        let file = Arc::new(file);
        if offsets.is_empty() {
            self.finish(&file);
            return;
        }
        for (blob, offset) in file.node.content.iter().flatten().zip(offsets) {
            let piece = Piece { file: Arc::clone(&file), offset: *offset, blob: *blob };
            // The threads outlive the queue; they only end early by a panic, which ends everything.
            if queue.0.send(piece).is_err() {
                return;
            }
        }
    }

    fn work(&self, pieces: &Mutex<Receiver<Piece>>) {
        loop {
            let Ok(piece) = lock(pieces).recv() else { return };
            let file = &piece.file;
            if !file.failed.load(Ordering::Acquire)
                && self.tally.check().is_ok()
                && let Err(error) = self.write_piece(&piece)
                && !file.failed.swap(true, Ordering::AcqRel)
            {
                self.tally.fail(self.reporter, &file.path, error);
            }
            if file.blobs_left.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.finish(file);
            }
        }
    }

    fn write_piece(&self, piece: &Piece) -> Result<(), EngineError> {
        let data = self
            .repository
            .get_blob_cached(&BlobId::from(piece.blob), BlobType::Data)
            .map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        write_around_holes(&piece.file.file, piece.offset, &data)
            .map_err(|error| EngineError::io("cannot be written", &error))?;
        let written = data.len() as u64;
        self.tally.bytes.fetch_add(written, Ordering::Relaxed);
        self.reporter.progress(|progress| progress.bytes_done += written);
        Ok(())
    }

    /// The last blob is written, or was given up.
    fn finish(&self, file: &NewFile) {
        if file.failed.load(Ordering::Acquire) || self.tally.check().is_err() {
            // Half a file would pass for a whole one.
            let _ = fs::remove_file(file.path_now());
            return;
        }
        self.attributes.apply(Place::Open(&file.file), &file.node, &file.path);
        if let Some(temporary) = &file.temporary
            && let Err(error) = fs::rename(temporary, &file.path)
        {
            let _ = fs::remove_file(temporary);
            self.tally.fail(self.reporter, &file.path, EngineError::io("cannot be replaced", &error));
            return;
        }
        self.tally.files.fetch_add(1, Ordering::Relaxed);
        self.reporter.progress(|progress| progress.files_done += 1);
    }
}

/// Write `data` at `offset`, leaving out whole blocks of zeros. The file must read as zeros there.
pub(super) fn write_around_holes(file: &File, offset: u64, data: &[u8]) -> io::Result<()> {
    let mut position = 0;
    let mut run_start = 0;
    while position < data.len() {
        // Blocks are counted from the start of the file: only those can be holes.
        let into_block = usize::try_from((offset + position as u64) % BLOCK as u64).unwrap_or(0);
        let end = (position + BLOCK - into_block).min(data.len());
        let block = &data[position..end];
        if block == &ZEROS[..block.len()] {
            file.write_all_at(&data[run_start..position], offset + run_start as u64)?;
            run_start = end;
        }
        position = end;
    }
    file.write_all_at(&data[run_start..], offset + run_start as u64)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_become_holes_wherever_blobs_are_cut() {
        let mut data = vec![0u8; 40 * BLOCK];
        data[0] = 1;
        data[20 * BLOCK - 1] = 2;
        data[20 * BLOCK] = 3;
        data[33 * BLOCK + 7] = 4;
        for cut in [1, BLOCK - 1, BLOCK, 3 * BLOCK + 5, 39 * BLOCK, data.len()] {
            let file = tempfile::tempfile().expect("a temporary file");
            file.set_len(data.len() as u64).expect("a length");
            for (index, piece) in data.chunks(cut).enumerate() {
                write_around_holes(&file, (index * cut) as u64, piece).expect("written");
            }
            let mut back = vec![9; data.len()];
            file.read_exact_at(&mut back, 0).expect("read");
            assert!(back == data, "content, cut at {cut}");
            // The blocks with something in them; without holes it would be forty.
            let allocated = file.metadata().expect("metadata").blocks() * 512;
            assert!(allocated <= 8 * BLOCK as u64, "{allocated} bytes allocated, cut at {cut}");
        }
    }
}
