//! What the disk itself takes to keep something: small writes to a file beside the ledger, each made durable. No write to
//! a ledger can be quicker, so its times are shown as multiples of this.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Bytes of a write.
const BLOCK: usize = 4096;
/// So many writes one after the other.
const MOST: usize = 400;
/// For so long at most.
const TIME: Duration = Duration::from_secs(3);

/// A file beside the ledger. It is in nobody's way, but it is nothing that should stay: it goes with this.
pub(crate) struct Disk {
    file: File,
    path: PathBuf,
}

impl Disk {
    pub(crate) fn beside(folder: &Path) -> Result<Disk> {
        let path = folder.join("fsync.bench");
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Disk { file, path })
    }

    /// How long a write takes, one after the other.
    pub(crate) fn writes(&mut self) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        let all = Instant::now();
        // At least one, however slow it is.
        while times.is_empty() || (times.len() < MOST && all.elapsed() < TIME) {
            times.push(self.write()?);
        }
        Ok(times)
    }

    /// How long one write takes.
    pub(crate) fn write(&mut self) -> Result<Duration> {
        let clock = Instant::now();
        let written = self.file.write_all(&[0x5a; BLOCK]).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(clock.elapsed())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_gone_afterwards() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let mut disk = Disk::beside(folder.path())?;
        assert!(!disk.writes()?.is_empty());
        drop(disk);
        assert_eq!(fs::read_dir(folder.path())?.count(), 0);
        assert!(Disk::beside(&folder.path().join("none")).is_err());
        Ok(())
    }
}
