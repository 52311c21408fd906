//! Who uses a repository at the same time. Whoever relies on what lies in it holds it together with others; whoever gives
//! space back holds it alone. For a folder the kernel keeps these locks and lets go of them when a process ends, however it
//! ends; they are about agents of Backstay on one machine, or on several with a file system that carries locks between
//! them. Elsewhere they are files as restic has them.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::engine::{EngineError, Reporter, Step};

/// Holds a repository until it is dropped.
#[derive(Debug)]
pub(super) enum Held {
    /// A folder, by a lock of the kernel on its config.
    Folder { _file: File },
    /// Another place, by a file there.
    Remote(super::remote::locks::Held),
}

impl Held {
    /// Whether it could not be kept, so that somebody else may hold the repository by now.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, Held::Remote(lock) if lock.is_lost())
    }
}

/// Hold the repository together with others; wait while somebody holds it alone. Nothing where its file system knows no
/// locks, for there nobody can hold it alone.
pub(super) fn together(repository: &str, reporter: &Reporter) -> Result<Option<Held>, EngineError> {
    let file =
        File::open(file_of(repository)).map_err(|error| EngineError::io("cannot read the repository", &error))?;
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            reporter.step(Step::Wait);
            file.lock_shared().map_err(|error| EngineError::io("cannot wait for the repository", &error))?;
        }
        Err(TryLockError::Error(_)) => return Ok(None),
    }
    Ok(Some(Held::Folder { _file: file }))
}

/// Hold the repository alone; nothing if somebody else uses it, be it restic itself.
pub(super) fn alone(repository: &str) -> Result<Option<Held>, EngineError> {
    let failed = |error| EngineError::io("cannot lock the repository, so its space is not given back", &error);
    let path = file_of(repository);
    // Over a network, a lock like this wants a file that may be written to; restic makes files that may not.
    let file = OpenOptions::new().read(true).write(true).open(&path).or_else(|_| File::open(&path)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let of_restic = std::fs::read_dir(Path::new(repository).join("locks"));
    let used = of_restic.is_ok_and(|mut locks| locks.next().is_some());
    Ok((!used).then_some(Held::Folder { _file: file }))
}

/// Be the only one who makes a repository in this directory, which is made if it is not there; wait while somebody else does.
/// Nothing where the directory's file system knows no locks.
pub(super) fn making(repository: &str) -> Result<Option<Held>, EngineError> {
    let failed = |error| EngineError::io("cannot make the repository", &error).with("repository", repository);
    std::fs::create_dir_all(repository).map_err(failed)?;
    let directory = File::open(repository).map_err(failed)?;
    Ok(directory.lock().is_ok().then_some(Held::Folder { _file: directory }))
}

/// What is locked: it is in every repository and never replaced.
fn file_of(repository: &str) -> std::path::PathBuf {
    Path::new(repository).join("config")
}
