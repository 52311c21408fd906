//! Reads all data of one snapshot and says what cannot be restored. Every piece of data is authenticated when it is read, so
//! what reads is what was written.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use domain::work::Unread;
use rustic_core::{
    BlobId, DataId, IndexedFull, Repository,
    repofile::{BlobType, Node, SnapshotFile, Tree},
};

use super::{
    map_error,
    selection::Selection,
    walk::{Visitor, walk},
};
use crate::engine::{EngineError, ErrorCode, RawPath, Reporter, Step, VerifySummary};

/// More threads would only wait for the storage, and each holds a piece of data.
const MAX_THREADS: usize = 4;

/// Read all data of `snapshot`.
pub(super) fn verify<S: IndexedFull + Sync>(
    repository: &Repository<S>,
    snapshot: &SnapshotFile,
    reporter: &Reporter,
) -> Result<VerifySummary, EngineError> {
    reporter.step(Step::Verify);
    let numbers = snapshot.summary.as_ref();
    reporter.progress(|progress| {
        progress.files_total = numbers.map(|numbers| numbers.total_files_processed);
        progress.bytes_total = numbers.map(|numbers| numbers.total_bytes_processed);
    });
    let findings = Findings { reporter: reporter.clone(), bytes: AtomicU64::default(), damaged: Mutex::default() };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    let (sender, receiver) = sync_channel(threads * 4);
    let receiver = Mutex::new(receiver);
    let files = thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(repository, &receiver, &findings));
        }
        let mut visitor = Reading { queue: sender, known: HashSet::new(), files: 0, findings: &findings };
        walk(repository, snapshot.tree, &Selection::whole(), &mut visitor).map(|()| visitor.files)
    })?;
    let (damaged, damaged_total) = findings.damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(VerifySummary { files, bytes: findings.bytes.into_inner(), damaged, damaged_total, sampled: None })
}

/// A piece of data, and a file that it is in.
struct Piece {
    blob: DataId,
    path: Arc<RawPath>,
}

struct Findings {
    reporter: Reporter,
    bytes: AtomicU64,
    damaged: Mutex<(Vec<Unread>, u64)>,
}

impl Findings {
    fn add(&self, path: &RawPath, message: String) {
        let mut found = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        found.1 += 1;
        Unread { path: path.to_string(), message }.note(&mut found.0);
    }
}

fn work<S: IndexedFull>(repository: &Repository<S>, pieces: &Mutex<Receiver<Piece>>, findings: &Findings) {
    loop {
        let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Piece { blob, path }) = next else { return };
        match repository.get_blob_cached(&BlobId::from(blob), BlobType::Data) {
            Ok(data) => {
                let read = data.len() as u64;
                findings.bytes.fetch_add(read, Ordering::Relaxed);
                findings.reporter.progress(|progress| progress.bytes_done += read);
            }
            Err(error) => findings.add(&path, map_error(&error, ErrorCode::RepositoryDamaged).message),
        }
    }
}

/// Queues what files consist of, each piece once.
struct Reading<'a> {
    queue: SyncSender<Piece>,
    known: HashSet<DataId>,
    files: u64,
    findings: &'a Findings,
}

impl Visitor for Reading<'_> {
    fn enter(&mut self, _path: &Path, _node: &Node, _whole: bool) -> Result<bool, EngineError> {
        Ok(true)
    }

    fn entry(&mut self, path: &Path, node: &Node) -> Result<(), EngineError> {
        self.files += 1;
        self.findings.reporter.progress(|progress| progress.files_done += 1);
        let path = Arc::new(RawPath::from(Path::new("/").join(path)));
        for blob in node.content.iter().flatten() {
            if self.known.insert(*blob) {
                let piece = Piece { blob: *blob, path: Arc::clone(&path) };
                // The threads outlive the queue; they only end early by a panic, which ends everything.
                if self.queue.send(piece).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    fn leave(&mut self, _path: &Path, _node: &Node, _tree: &Tree, _whole: bool) -> Result<(), EngineError> {
        Ok(())
    }

    fn broken(&mut self, path: &Path, error: EngineError) -> Result<(), EngineError> {
        self.findings.add(&RawPath::from(Path::new("/").join(path)), error.message);
        Ok(())
    }
}
