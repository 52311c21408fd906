//! The repository's storage, watched: counts what is written, notices when the index is written, tries again what
//! failed, and keeps the first failure, whose cause rustic_core loses between its threads.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use domain::policy::settings::Retry;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};

use super::lock::Held;
use super::map_error;
use crate::engine::{EngineError, ErrorCode, Reporter, Step, tries::try_again};

/// What the storage saw, shared with the one who uses it.
#[derive(Debug)]
pub(super) struct Meter {
    reporter: Reporter,
    source_read: AtomicBool,
    failure: Mutex<Option<EngineError>>,
    /// Snapshots are not written: whether they are whole is not known yet.
    hold_snapshots: AtomicBool,
    last_snapshot: Mutex<Option<Id>>,
    held: OnceLock<Held>,
    /// More tries after errors, from when the repository is open: until then, whoever opens it tries again.
    retries: OnceLock<Retry>,
}

impl Meter {
    pub(super) fn new(reporter: Reporter) -> Self {
        Self {
            reporter,
            source_read: AtomicBool::new(false),
            failure: Mutex::new(None),
            hold_snapshots: AtomicBool::new(false),
            last_snapshot: Mutex::new(None),
            held: OnceLock::new(),
            retries: OnceLock::new(),
        }
    }

    /// Keeps a lock for as long as the storage is in use.
    pub(super) fn hold(&self, held: Option<Held>) {
        if let Some(held) = held {
            // One that is held already is held as long.
            let _ = self.held.set(held);
        }
    }

    /// From now on, what failed is tried this often more.
    pub(super) fn try_again(&self, retries: Option<Retry>) {
        if let Some(retries) = retries {
            // Said once, when the repository is open.
            let _ = self.retries.set(retries);
        }
    }

    /// All of the source was read: from now on, writing the index is the backup's last step.
    pub(super) fn source_was_read(&self) {
        self.source_read.store(true, Ordering::Release);
    }

    /// Nothing can be written any more.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Why writing failed.
    pub(super) fn take_failure(&self) -> Option<EngineError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// From now on, drop snapshots instead of writing them, or no longer.
    pub(super) fn hold_snapshots(&self, hold: bool) {
        self.hold_snapshots.store(hold, Ordering::Release);
    }

    /// The id of the snapshot that was written last.
    pub(super) fn last_snapshot(&self) -> Option<Id> {
        *self.last_snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drops(&self, file_type: FileType) -> bool {
        file_type == FileType::Snapshot && self.hold_snapshots.load(Ordering::Acquire)
    }

    fn before_write(&self, file_type: FileType) {
        let closing = matches!(file_type, FileType::Index | FileType::Snapshot);
        if closing && self.source_read.load(Ordering::Acquire) && self.reporter.current_step() == Some(Step::Backup) {
            self.reporter.step(Step::Index);
        }
    }

    fn after_write(&self, file_type: FileType, id: &Id, size: usize) {
        if file_type == FileType::Snapshot {
            *self.last_snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Some(*id);
        }
        self.reporter.progress(|progress| progress.bytes_added += size as u64);
    }

    fn failed(&self, error: EngineError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// A repository's storage with a [`Meter`].
#[derive(Clone)]
pub(super) struct MeteredBackend {
    inner: Arc<dyn WriteBackend>,
    /// Whether it tells by itself what is wrong with a place that is no folder.
    remote: bool,
    meter: Arc<Meter>,
    /// A config that goes for this run alone. The one in the repository is everybody's.
    config: Arc<Mutex<Config>>,
}

/// What to do with the repository's config.
#[derive(Debug, Default)]
enum Config {
    /// It is read and written as it is.
    #[default]
    Shared,
    /// The next one that is written is kept here.
    Wanted,
    /// This is read instead.
    Own(bytes::Bytes),
}

impl MeteredBackend {
    pub(super) fn new(inner: Arc<dyn WriteBackend>, remote: bool, meter: Arc<Meter>) -> Self {
        Self { inner, remote, meter, config: Arc::default() }
    }

    /// From here on, the config that is written is for this run alone.
    pub(super) fn keep_config(&self) {
        *self.config() = Config::Wanted;
    }

    fn config(&self) -> std::sync::MutexGuard<'_, Config> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_hard<T>(&self, operation: impl FnMut() -> RusticResult<T>) -> RusticResult<T> {
        let retries = self.meter.retries.get().copied();
        try_again(retries, operation, |error| map_error(error, ErrorCode::Io).code != ErrorCode::PermissionDenied)
    }

    /// Refuses to write when somebody else may hold the repository.
    fn check_lock(&self) -> RusticResult<()> {
        if !self.meter.held.get().is_some_and(Held::is_lost) {
            return Ok(());
        }
        let message = format!(
            "the lock in {} could not be kept, so somebody else may be changing the repository; run it again",
            self.inner.location()
        );
        self.meter.failed(EngineError::new(ErrorCode::Io, message.clone()));
        Err(RusticError::new(ErrorKind::Backend, message))
    }

    /// The failure in words that say what to do; rustic_core's own, which name a temporary file, go into the context.
    fn write_failed(&self, error: EngineError) -> EngineError {
        let place = self.inner.location();
        let message = match error.code {
            _ if self.remote => return error,
            ErrorCode::NoSpace => {
                format!("the disk of the repository {place} is full; make room there and run it again")
            }
            ErrorCode::PermissionDenied => format!("the repository {place} cannot be written to by this agent"),
            _ => return error,
        };
        EngineError { message, ..error.clone() }.with("cause", error.message)
    }
}

impl ReadBackend for MeteredBackend {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn list_with_size(&self, file_type: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.try_hard(|| self.inner.list_with_size(file_type))
    }

    fn list(&self, file_type: FileType) -> RusticResult<Vec<Id>> {
        self.try_hard(|| self.inner.list(file_type))
    }

    fn read_full(&self, file_type: FileType, id: &Id) -> RusticResult<bytes::Bytes> {
        if file_type == FileType::Config
            && let Config::Own(config) = &*self.config()
        {
            return Ok(config.clone());
        }
        self.try_hard(|| self.inner.read_full(file_type, id))
    }

    fn read_partial(
        &self,
        file_type: FileType,
        id: &Id,
        cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<bytes::Bytes> {
        self.try_hard(|| self.inner.read_partial(file_type, id, cacheable, offset, length))
    }

    fn warmup_path(&self, file_type: FileType, id: &Id) -> String {
        self.inner.warmup_path(file_type, id)
    }
}

impl WriteBackend for MeteredBackend {
    fn create(&self) -> RusticResult<()> {
        self.inner.create()
    }

    fn write_bytes(&self, file_type: FileType, id: &Id, cacheable: bool, content: BytesList) -> RusticResult<()> {
        let size = content.size();
        if file_type == FileType::Config {
            let mut config = self.config();
            if !matches!(*config, Config::Shared) {
                *config = Config::Own(content.slice().concat().into());
                return Ok(());
            }
        }
        if self.meter.drops(file_type) {
            return Ok(());
        }
        self.check_lock()?;
        self.meter.before_write(file_type);
        match self.try_hard(|| self.inner.write_bytes(file_type, id, cacheable, content.clone())) {
            Ok(()) => {
                self.meter.after_write(file_type, id, size);
                Ok(())
            }
            Err(error) => {
                self.meter.failed(self.write_failed(map_error(&error, ErrorCode::Io)));
                Err(error)
            }
        }
    }

    fn remove(&self, file_type: FileType, id: &Id, cacheable: bool) -> RusticResult<()> {
        self.check_lock()?;
        self.try_hard(|| self.inner.remove(file_type, id, cacheable))
    }
}
