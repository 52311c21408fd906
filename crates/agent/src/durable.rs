//! Small files that must not be lost: whole or not at all, readable for their owner alone, and, where that is wanted, on disk
//! afterwards.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// When a file must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// When the call returns.
    Now,
    /// When the system comes to it: a crash of the process does no harm, one of the machine may.
    Later,
}

/// Writes a file in place of what it was.
///
/// # Errors
/// When it cannot be written; what it was is still there then.
pub(crate) fn write(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let new = path.with_extension("new");
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        if sync == Sync::Later {
            return fs::rename(&new, path);
        }
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_folder(path)
    };
    written().inspect_err(|_| {
        // Half of it may fill a disk that is full.
        let _ = fs::remove_file(&new);
    })
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
