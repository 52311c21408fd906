//! Task queues on PostgreSQL that people would use instead, under the same load: graphile-worker and pg-boss, driven by a
//! small program for Node.js of our own.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::writes::Load;

/// The rivals by name, as the program knows them.
const RIVALS: [&str; 3] = ["graphile-worker", "graphile-worker, batches", "pg-boss"];
const FILES: [(&str, &str); 3] = [
    ("driver.mjs", include_str!("../../rivals/driver.mjs")),
    ("package.json", include_str!("../../rivals/package.json")),
    ("package-lock.json", include_str!("../../rivals/package-lock.json")),
];

/// How one of them did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rival {
    /// Its name.
    pub rival: String,
    /// Its version.
    pub version: String,
    /// Tasks that were enqueued, taken and completed.
    pub tasks: u64,
    /// How long that took.
    pub seconds: f64,
    /// Times of single steps, where it has them.
    pub steps: Value,
    /// The server's `synchronous_commit`.
    pub commit: String,
    /// The server's `fsync`.
    pub fsync: String,
    /// The server's version.
    pub server: String,
    /// Tasks a second.
    #[serde(default)]
    pub tasks_per_second: f64,
    /// Our tasks a second divided by theirs.
    #[serde(default)]
    pub ratio: f64,
}

/// Runs all of them in a folder below this one, on this PostgreSQL; `ours` are our tasks a second.
pub(crate) fn run(
    below: &Path,
    url: &str,
    load: Load,
    bytes: usize,
    ours: f64,
    say: &dyn Fn(String),
) -> Result<Vec<Rival>> {
    let folder = tempfile::Builder::new().prefix("backstay-bench-rivals-").tempdir_in(below)?;
    for (name, text) in FILES {
        fs::write(folder.path().join(name), text)?;
    }
    let node = "Node.js with npm is needed for the rivals (Debian: apt install nodejs npm)";
    let installed = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .context(node)?;
    if !installed.status.success() {
        bail!("npm cannot install the rivals: {}", String::from_utf8_lossy(&installed.stderr).trim());
    }
    let mut rivals = Vec::new();
    for rival in RIVALS {
        say(format!("{rival}: {} callers", load.callers));
        let order = json!({
            "rival": rival,
            "url": url,
            "callers": load.callers,
            "tasks": load.tasks,
            "seconds": load.time.as_secs(),
            "bytes": bytes,
        });
        let output = Command::new("node")
            .arg("driver.mjs")
            .arg(order.to_string())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .context(node)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        let Ok(mut outcome) = serde_json::from_str::<Rival>(last) else {
            bail!("{rival} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        };
        outcome.tasks_per_second = outcome.tasks as f64 / outcome.seconds.max(1e-9);
        outcome.ratio = ours / outcome.tasks_per_second.max(1e-9);
        rivals.push(outcome);
    }
    Ok(rivals)
}
