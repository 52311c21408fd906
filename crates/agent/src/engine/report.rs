//! What a running job tells: steps, progress a few times a second, warnings up to a limit, and the end.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Outcome, RawPath};

/// Warnings beyond this many are only counted: a tree of a million unreadable files must not drown the
/// one who reads the report.
pub const MAX_WARNINGS: u64 = 1000;

/// The time between two progress events.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// One line of what a job tells. [`Event::Ended`] is always the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Event {
    /// A step began; steps follow one another.
    StepStarted {
        /// Which.
        step: Step,
    },
    /// A step ended well. A step that fails has no end of its own.
    StepFinished {
        /// Which.
        step: Step,
        /// How far it got.
        progress: Progress,
    },
    /// How far the running step is.
    Progress(Progress),
    /// Something was left out or is not quite as it was; the job goes on.
    Warning(Warning),
    /// The job was done in another way than was wished; nothing of the data is missing.
    Notice {
        /// A stable word for it.
        code: String,
        /// What happened: lower case, no full stop.
        message: String,
    },
    /// The job is over.
    Ended {
        /// How many warnings there were, also those beyond [`MAX_WARNINGS`].
        warnings: u64,
        /// What came of it.
        outcome: Box<Outcome>,
    },
}

/// A part of a job that is worth showing by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Backup: count what there is.
    Scan,
    /// Backup: read files and write data.
    Backup,
    /// Backup: write the index and the snapshot.
    Index,
    /// Restore: find out what to restore.
    Plan,
    /// Restore: write files.
    Restore,
    /// Restore: make hard links, and give directories their owners and times.
    Metadata,
    /// Check: verify the repository.
    Check,
    /// Wait for the repository, before another try to reach it.
    Wait,
    /// Run the commands that come before anything else.
    PreCommands,
    /// Run the commands that come at the end.
    PostCommands,
    /// Backup: run the commands that come before the data is frozen or read.
    PreDataCommands,
    /// Backup: run the commands that come after the data is frozen or read.
    PostDataCommands,
    /// Backup: make frozen copies of volumes.
    Freeze,
    /// Read the data of a snapshot.
    Verify,
    /// Look for file systems and files on a volume.
    Survey,
    /// Remove snapshots.
    Forget,
    /// Give back the space of what no snapshot needs.
    Prune,
    /// Put files of a snapshot into one file.
    Pack,
    /// Bring that file to the server.
    HandOver,
}

impl Step {
    /// The stable text form, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Backup => "backup",
            Self::Index => "index",
            Self::Plan => "plan",
            Self::Restore => "restore",
            Self::Metadata => "metadata",
            Self::Check => "check",
            Self::Wait => "wait",
            Self::PreCommands => "preCommands",
            Self::PostCommands => "postCommands",
            Self::PreDataCommands => "preDataCommands",
            Self::PostDataCommands => "postDataCommands",
            Self::Freeze => "freeze",
            Self::Verify => "verify",
            Self::Survey => "survey",
            Self::Forget => "forget",
            Self::Prune => "prune",
            Self::Pack => "pack",
            Self::HandOver => "handOver",
        }
    }
}

/// How far a step is. Totals are known once they were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The step this is about.
    pub step: Option<Step>,
    /// Bytes dealt with.
    pub bytes_done: u64,
    /// Bytes there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_total: Option<u64>,
    /// Files dealt with.
    pub files_done: u64,
    /// Files there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_total: Option<u64>,
    /// Bytes written to the repository so far.
    #[serde(default)]
    pub bytes_added: u64,
}

/// Something that was left out or is not quite as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// The file, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<RawPath>,
    /// What happened: lower case, no full stop.
    pub message: String,
}

/// Through which an engine tells how it goes. Clones tell the same listener; any thread may.
#[derive(Clone)]
pub struct Reporter(Arc<Inner>);

struct Inner {
    listener: Box<dyn Fn(Event) + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    progress: Progress,
    last_told: Option<Instant>,
    warnings: u64,
}

impl Reporter {
    /// Tell everything to `listener`, one event at a time.
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { listener: Box::new(listener), state: Mutex::default() }))
    }

    /// Tell nobody.
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// End the running step, if any, and begin the next. What was counted starts again from zero.
    pub fn step(&self, step: Step) {
        let mut state = self.state();
        self.finish_step_of(&mut state);
        state.progress = Progress { step: Some(step), bytes_added: state.progress.bytes_added, ..Progress::default() };
        self.tell(Event::StepStarted { step });
        state.last_told = None;
    }

    /// End the running step.
    pub fn finish_step(&self) {
        self.finish_step_of(&mut self.state());
    }

    /// The step that is running.
    pub fn current_step(&self) -> Option<Step> {
        self.state().progress.step
    }

    /// Change the numbers of the running step. Whether that is told now or later is decided here.
    pub fn progress(&self, change: impl FnOnce(&mut Progress)) {
        let mut state = self.state();
        change(&mut state.progress);
        if state.progress.step.is_none() {
            return;
        }
        // Files may grow while they are read; more than everything would only confuse.
        if let Some(total) = state.progress.bytes_total {
            state.progress.bytes_done = state.progress.bytes_done.min(total);
        }
        if let Some(total) = state.progress.files_total {
            state.progress.files_done = state.progress.files_done.min(total);
        }
        let now = Instant::now();
        if state.last_told.is_none_or(|last| now.duration_since(last) >= PROGRESS_INTERVAL) {
            state.last_told = Some(now);
            self.tell(Event::Progress(state.progress));
        }
    }

    /// Report something that the job goes on in spite of.
    pub fn warn(&self, path: Option<&std::path::Path>, message: impl Into<String>) {
        let mut state = self.state();
        state.warnings += 1;
        if state.warnings <= MAX_WARNINGS {
            self.tell(Event::Warning(Warning { path: path.map(RawPath::from), message: message.into() }));
        }
    }

    /// Report that the job goes on in another way than was wished.
    pub fn notice(&self, code: &str, message: impl Into<String>) {
        let _in_order = self.state();
        self.tell(Event::Notice { code: code.to_owned(), message: message.into() });
    }

    /// The last word.
    pub fn end(&self, outcome: Outcome) {
        let mut state = self.state();
        if outcome.is_ok() {
            self.finish_step_of(&mut state);
        }
        self.tell(Event::Ended { warnings: state.warnings, outcome: Box::new(outcome) });
    }

    fn finish_step_of(&self, state: &mut State) {
        if let Some(step) = state.progress.step.take() {
            let progress = Progress { step: Some(step), ..state.progress };
            self.tell(Event::StepFinished { step, progress });
        }
    }

    /// Callers hold the state: events leave in the order in which they happened.
    fn tell(&self, event: Event) {
        (self.0.listener)(event);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_capped_but_all_are_counted() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let reporter = Reporter::new({
            let told = Arc::clone(&told);
            move |event| told.lock().expect("no other user").push(event)
        });
        for _ in 0..MAX_WARNINGS + 5 {
            reporter.warn(None, "unreadable");
        }
        reporter.end(Err(super::super::EngineError::new(super::super::ErrorCode::Io, "gave up")));

        let told = told.lock().expect("no other user");
        assert_eq!(told.len() as u64, MAX_WARNINGS + 1);
        assert!(matches!(told.last(), Some(Event::Ended { warnings, .. }) if *warnings == MAX_WARNINGS + 5));
    }
}
