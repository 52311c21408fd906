//! `backstay bench backup`: backups and restores of a tree that is made up for it, by the bare engine and by `restic` in
//! turn, and by a whole `backstay up`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use crate::ledger::figures::processor;
use crate::process::{Taken, Up, outcome, run};
use crate::tree::SourceTree;

/// What opens repositories that hold nothing of anybody's.
const PASSWORD: &str = "backstay bench";

/// What is measured.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// The `backstay` to run.
    pub program: PathBuf,
    /// The `restic` to run.
    pub restic: PathBuf,
    /// The bytes of the tree.
    pub bytes: u64,
    /// What the tree is made up from.
    pub seed: u64,
    /// How often everything is done.
    pub rounds: usize,
    /// Where the tree and the repositories lie meanwhile: about four times the tree. Otherwise where temporary files do.
    pub folder: Option<PathBuf>,
}

/// What is done to the tree in a round, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BackupStep {
    /// Into an empty repository.
    First,
    /// Again, with nothing changed.
    Unchanged,
    /// Again, with about one percent changed.
    Changed,
    /// The last one, into an empty folder.
    Restore,
}

impl BackupStep {
    /// All, in their order.
    pub const ALL: [BackupStep; 4] =
        [BackupStep::First, BackupStep::Unchanged, BackupStep::Changed, BackupStep::Restore];

    /// How it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BackupStep::First => "first backup",
            BackupStep::Unchanged => "nothing changed",
            BackupStep::Changed => "1 % changed",
            BackupStep::Restore => "restore",
        }
    }
}

/// What a step took, in every round.
#[derive(Debug, Clone, Serialize)]
pub struct BackupLine {
    /// The step.
    pub step: BackupStep,
    /// The bare engine: a child process as the agent starts it for a task.
    pub engine: Vec<Taken>,
    /// `restic`.
    pub restic: Vec<Taken>,
    /// The same backup as a task of `backstay up`: its processes together; memory is not known.
    pub service: Vec<Taken>,
    /// Of that, seconds of the processors for server and agent themselves.
    pub service_own_cpu: Vec<f64>,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct BackupReport {
    /// The program's version.
    pub version: String,
    /// Whether it was built for speed.
    pub optimised: bool,
    /// What `restic version` says.
    pub restic: String,
    /// Processors that the program may use.
    pub processors: usize,
    /// What they are.
    pub processor: Option<String>,
    /// The tree.
    pub tree: SourceTree,
    /// The steps.
    pub lines: Vec<BackupLine>,
}

/// Who does a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Engine,
    Restic,
}

/// The folders of one round.
struct Round<'a> {
    options: &'a BackupOptions,
    source: &'a Path,
    place: &'a Path,
    /// What the engine wrote last.
    snapshot: String,
}

/// Measures, and says what it is doing.
///
/// # Errors
/// When a program cannot be run or fails, or does not restore everything.
pub fn run_backup(options: &BackupOptions, say: impl Fn(String)) -> Result<BackupReport> {
    let mut version = Command::new(&options.restic);
    let (_, restic) = run(version.arg("version"), "").context("`restic` is what backups are compared with")?;
    let below = options.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::Builder::new().prefix("backstay-bench-").tempdir_in(&below);
    let folder = folder.with_context(|| format!("cannot write in {}", below.display()))?;
    let source = folder.path().join("tree");
    say(format!("making a tree of {} MB", options.bytes / 1_000_000));
    let mut tree = SourceTree::make(&source, options.bytes, options.seed)?;
    let line = |step| BackupLine {
        step,
        engine: Vec::new(),
        restic: Vec::new(),
        service: Vec::new(),
        service_own_cpu: Vec::new(),
    };
    let mut lines: Vec<_> = BackupStep::ALL.into_iter().map(line).collect();
    for n in 0..options.rounds {
        // Whoever is second may find things warm, or the disk busy: each is so as often.
        let turns = if n.is_multiple_of(2) { [Who::Engine, Who::Restic] } else { [Who::Restic, Who::Engine] };
        let place = folder.path().join("round");
        let mut round = Round { options, source: &source, place: &place, snapshot: String::new() };
        fs::create_dir(&place)?;
        round.init()?;
        for line in &mut lines {
            if line.step == BackupStep::Changed {
                tree.change()?;
            }
            for who in turns {
                say(format!("round {} of {}: {}, {who:?}", n + 1, options.rounds, line.step.name()));
                // What the one before left to be written is not for this one to wait for.
                rustix::fs::sync();
                let (taken, to) = match who {
                    Who::Engine => (round.engine(line.step)?, &mut line.engine),
                    Who::Restic => (round.restic(line.step)?, &mut line.restic),
                };
                to.push(taken);
                if line.step == BackupStep::Restore {
                    let target = round.target();
                    let restored = bytes_in(&target)?;
                    ensure!(restored == tree.bytes, "{who:?} restored {restored} of {} bytes", tree.bytes);
                    fs::remove_dir_all(&target)?;
                }
            }
        }
        fs::remove_dir_all(&place)?;
        say(format!("round {} of {}: `backstay up`", n + 1, options.rounds));
        serve(options, &source, &place, &mut lines)?;
        fs::remove_dir_all(&place)?;
    }
    folder.close()?;
    Ok(BackupReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        optimised: !cfg!(debug_assertions),
        restic: restic.trim().to_owned(),
        processors: std::thread::available_parallelism().map_or(0, Into::into),
        processor: processor(),
        tree,
        lines,
    })
}

impl Round<'_> {
    fn target(&self) -> PathBuf {
        self.place.join("restored")
    }

    fn init(&self) -> Result<()> {
        self.job(&json!({"type": "init"}))?;
        self.run_restic(&["init"]).map(drop)
    }

    fn engine(&mut self, step: BackupStep) -> Result<Taken> {
        let job = match step {
            BackupStep::Restore => json!({"type": "restore", "snapshot": self.snapshot, "target": self.target()}),
            _ => json!({"type": "backup", "task": uuid::Uuid::new_v4(), "host": "bench", "paths": [self.source]}),
        };
        let (taken, output) = self.job(&job)?;
        if let Some(snapshot) = output["snapshot"].as_str() {
            self.snapshot = snapshot.to_owned();
        }
        Ok(taken)
    }

    /// Runs the child process of the agent.
    fn job(&self, job: &Value) -> Result<(Taken, Value)> {
        let repository = json!({"url": self.place.join("engine"), "password": PASSWORD});
        let request = json!({"repository": repository, "job": job});
        let (taken, told) = run(Command::new(&self.options.program).arg("run-job"), &format!("{request}\n"))?;
        Ok((taken, outcome(&told)?))
    }

    fn restic(&self, step: BackupStep) -> Result<Taken> {
        let (source, target) = (self.source.to_string_lossy(), self.target());
        match step {
            BackupStep::Restore => self.run_restic(&["restore", "latest", "--target", &target.to_string_lossy()]),
            _ => self.run_restic(&["backup", "--host", "bench", &source]),
        }
    }

    fn run_restic(&self, args: &[&str]) -> Result<Taken> {
        let mut command = Command::new(&self.options.restic);
        command.arg("--repo").arg(self.place.join("restic")).arg("--cache-dir").arg(self.place.join("cache"));
        Ok(run(command.arg("--quiet").args(args).env("RESTIC_PASSWORD", PASSWORD), "")?.0)
    }
}

/// The first two backups as tasks of a whole service.
fn serve(options: &BackupOptions, source: &Path, place: &Path, lines: &mut [BackupLine]) -> Result<()> {
    fs::create_dir(place)?;
    let (data, little) = (place.join("data"), place.join("little"));
    fs::create_dir(&little)?;
    let up = Up::start(&options.program, &data)?;
    up.cli(&["policy", "create", "measured", "--manual"])?;
    // The first backup of all makes the repository, which is not measured elsewhere either.
    for (name, path) in [("little", &little.to_string_lossy()), ("tree", &source.to_string_lossy())] {
        up.cli(&["resource", "add", name, "--path", path])?;
        up.cli(&["policy", "apply", "measured", name])?;
    }
    let backup = |name| up.cli(&["policy", "run", "measured", "--resource", name]);
    backup("little")?;
    for line in lines.iter_mut().filter(|l| matches!(l.step, BackupStep::First | BackupStep::Unchanged)) {
        rustix::fs::sync();
        let (own, jobs) = up.cpu()?;
        let wall = backup("tree")?;
        let (own_after, jobs_after) = up.cpu()?;
        let own = own_after - own;
        let cpu_seconds = own + jobs_after - jobs;
        line.service.push(Taken { wall_seconds: wall.as_secs_f64(), cpu_seconds, resident_bytes: 0 });
        line.service_own_cpu.push(own);
    }
    Ok(())
}

/// What the files below take.
fn bytes_in(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { bytes_in(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

/// That one which half of them do not exceed.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// Each round's quotient, and of those the median: what disturbs a round disturbs both.
fn ratio(ours: &[Taken], theirs: &[Taken], of: impl Fn(&Taken) -> f64) -> f64 {
    median(ours.iter().zip(theirs).map(|(a, b)| of(a) / of(b)))
}

impl BackupReport {
    /// Two tables in Markdown: the bare engine beside `restic`, and a service beside the bare engine. Figures are medians of
    /// the rounds, ratios medians of the rounds' ratios.
    #[must_use]
    pub fn markdown(&self) -> String {
        let wall = |t: &Taken| t.wall_seconds;
        let cpu = |t: &Taken| t.cpu_seconds;
        let memory = |t: &Taken| t.resident_bytes as f64 / 1e6;
        let mut text = String::from(
            "| | wall s | restic | ratio | CPU s | restic | ratio | MB resident | restic |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for line in &self.lines {
            let (ours, theirs) = (&line.engine, &line.restic);
            let mut cells = vec![line.step.name().to_owned()];
            for of in [&wall as &dyn Fn(&Taken) -> f64, &cpu] {
                cells.extend([ours, theirs].map(|t| format!("{:.2}", median(t.iter().map(of)))));
                cells.push(format!("{:.2}", ratio(ours, theirs, of)));
            }
            cells.extend([ours, theirs].map(|t| format!("{:.0}", median(t.iter().map(memory)))));
            row(&mut text, &cells);
        }
        text.push_str(
            "\n| `backstay up` | wall s | to the engine | CPU s | to the engine | server and agent CPU s | to its jobs |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for line in self.lines.iter().filter(|l| !l.service.is_empty()) {
            let own = &line.service_own_cpu;
            let shares = own.iter().zip(&line.service).map(|(own, all)| own / (all.cpu_seconds - own));
            row(
                &mut text,
                &[
                    line.step.name().to_owned(),
                    format!("{:.2}", median(line.service.iter().map(wall))),
                    format!("{:.3}", ratio(&line.service, &line.engine, wall)),
                    format!("{:.2}", median(line.service.iter().map(cpu))),
                    format!("{:.3}", ratio(&line.service, &line.engine, cpu)),
                    format!("{:.2}", median(own.iter().copied())),
                    format!("{:.2} %", median(shares) * 100.0),
                ],
            );
        }
        text
    }
}

fn row(text: &mut String, cells: &[String]) {
    // Writing to a text never fails.
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}
