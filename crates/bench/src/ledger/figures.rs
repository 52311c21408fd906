//! What the ledger takes: on disk, in memory, and to be there again after a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use domain::Scope;
use domain::query::{Filter, Query};
use ledger::{Ledger, SqliteLedger};
use serde::Serialize;

use super::clock::{Clock, Cost};
use super::queries::PAGE;

/// Sizes and times of the ledger as a whole.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figures {
    /// How many tasks there were.
    pub tasks: u64,
    /// The size of its file in bytes.
    pub file_bytes: u64,
    /// That divided by the tasks.
    pub file_bytes_per_task: f64,
    /// Memory of this process before the ledger was opened, in bytes, where the system says it.
    pub resident_before: Option<u64>,
    /// The same when all questions were answered.
    pub resident_after: Option<u64>,
    /// What the index says that it takes, in bytes.
    pub index_bytes: Option<u64>,
    /// That, or the growth of the process's memory where the index says nothing, divided by the tasks.
    pub index_bytes_per_task: Option<f64>,
    /// From opening to the first list, in seconds, after an orderly end.
    pub restart_seconds: Option<f64>,
    /// The same when the checkpoint is missing and is made again from the record; none where there is no checkpoint.
    pub rebuild_seconds: Option<f64>,
    /// The size of the checkpoint in bytes.
    pub checkpoint_bytes: Option<u64>,
}

/// A ledger that was opened, and how long that took until the first list was there.
pub(crate) async fn open(path: &Path) -> Result<(SqliteLedger, Cost)> {
    let clock = Clock::start();
    let file = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || SqliteLedger::open(&file)).await?;
    let ledger = opened.map_err(|e| anyhow::anyhow!(e.message))?;
    // Lists are answered from an index that may have to be built first.
    ledger.progress().wait_for(ledger::IndexProgress::is_settled).await.context("the index of tasks was not built")?;
    let mut query = Query::newest(Filter::all(), PAGE);
    query.total = true;
    ledger.tasks(&Scope::everything(), &query).await.map_err(|e| anyhow::anyhow!(e.message))?;
    Ok((ledger, clock.stop()))
}

/// Closes the ledger and opens it again, first as it was left and then without its checkpoint.
pub(crate) async fn restart(ledger: SqliteLedger, path: &Path, figures: &mut Figures) -> Result<SqliteLedger> {
    close(&ledger).await?;
    drop(ledger);
    let (ledger, cost) = open(path).await?;
    figures.restart_seconds = Some(cost.wall.as_secs_f64());
    close(&ledger).await?;
    drop(ledger);
    let checkpoints = checkpoints(path)?;
    if checkpoints.is_empty() {
        return Ok(open(path).await?.0);
    }
    let mut bytes = 0;
    for checkpoint in &checkpoints {
        bytes += fs::metadata(checkpoint)?.len();
        fs::remove_file(checkpoint).with_context(|| format!("cannot remove {}", checkpoint.display()))?;
    }
    figures.checkpoint_bytes = Some(bytes);
    let (ledger, cost) = open(path).await?;
    figures.rebuild_seconds = Some(cost.wall.as_secs_f64());
    Ok(ledger)
}

async fn close(ledger: &SqliteLedger) -> Result<()> {
    ledger.close().await.map_err(|e| anyhow::anyhow!(e.message))
}

/// The files beside the ledger that are made from it: of its name, and not the record itself or its log.
fn checkpoints(path: &Path) -> Result<Vec<PathBuf>> {
    let folder = path.parent().context("the ledger is in no folder")?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(&format!("{stem}.")) && !name.starts_with(&format!("{stem}.db")) && path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

impl Figures {
    /// The sizes, when all questions were answered.
    pub(crate) async fn sizes(&mut self, ledger: &SqliteLedger, path: &Path) -> Result<()> {
        let everything = Scope::everything();
        let counted = ledger.task_counts(&everything, &Filter::all(), &[]).await;
        self.tasks = counted.map_err(|e| anyhow::anyhow!(e.message))?.first().map_or(0, |g| g.count);
        self.file_bytes = fs::metadata(path)?.len();
        self.file_bytes_per_task = self.file_bytes as f64 / self.tasks.max(1) as f64;
        self.resident_after = resident_bytes();
        self.index_bytes = index_bytes(ledger);
        let grown = self.resident_before.zip(self.resident_after).map(|(a, b)| b.saturating_sub(a));
        self.index_bytes_per_task = self.index_bytes.or(grown).map(|b| b as f64 / self.tasks.max(1) as f64);
        Ok(())
    }
}

/// What the index says that it takes.
fn index_bytes(ledger: &SqliteLedger) -> Option<u64> {
    ledger.index_report().map(|report| report.bytes)
}

/// What this process has in memory.
pub(crate) fn resident_bytes() -> Option<u64> {
    from_proc("/proc/self/status", "VmRSS:")
}

/// What the machine has.
pub(crate) fn memory_bytes() -> Option<u64> {
    from_proc("/proc/meminfo", "MemTotal:")
}

fn from_proc(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    let kb: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kb * 1024)
}

/// The processor by its name.
pub(crate) fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("model name"))?;
    Some(line.split(':').nth(1)?.trim().to_owned())
}

/// Waits until nothing happens for a moment: work that was put off belongs to what came before.
pub(crate) async fn settle(most: std::time::Duration) {
    let clock = Instant::now();
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
    ticks.tick().await;
    loop {
        let before = super::clock::cpu();
        ticks.tick().await;
        let busy = super::clock::cpu().saturating_sub(before);
        if busy < std::time::Duration::from_millis(10) || clock.elapsed() > most {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_from_the_record_is_told_from_it() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.index", "bench.json"] {
            fs::write(folder.path().join(name), "").expect("written");
        }
        let found = checkpoints(&folder.path().join("ledger.db")).expect("readable");
        assert_eq!(found, [folder.path().join("ledger.index")]);
    }

    #[test]
    fn this_process_takes_memory() {
        assert!(resident_bytes().is_none_or(|b| b > 1 << 20));
        assert!(memory_bytes() >= resident_bytes());
    }
}
