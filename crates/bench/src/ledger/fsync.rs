//! What the disk itself takes to keep something: small writes to a file beside the ledger, each made durable. No write to
//! a ledger can be quicker, so its times are shown as multiples of this.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Bytes of a write.
const BLOCK: usize = 4096;

/// Writes for so long at most, and so often at most.
pub(crate) fn measure(folder: &Path, most: usize, time: Duration) -> Result<Vec<Duration>> {
    let path = folder.join("fsync.bench");
    let times = write(&path, most, time).with_context(|| format!("cannot write {}", path.display()));
    // It is in nobody's way, but it is nothing that should stay.
    let removed = fs::remove_file(&path);
    let times = times?;
    removed.with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(times)
}

fn write(path: &Path, most: usize, time: Duration) -> std::io::Result<Vec<Duration>> {
    let mut file = File::create(path)?;
    let block = [0x5a; BLOCK];
    let mut times = Vec::new();
    let all = Instant::now();
    // At least one, however slow it is.
    while times.is_empty() || (times.len() < most && all.elapsed() < time) {
        let clock = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(clock.elapsed());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_gone_afterwards() {
        let folder = tempfile::tempdir().expect("a folder");
        let times = measure(folder.path(), 3, Duration::from_secs(60)).expect("measured");
        assert_eq!(times.len(), 3);
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 0);
        assert!(measure(&folder.path().join("none"), 1, Duration::ZERO).is_err());
    }
}
