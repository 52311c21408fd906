//! An engine that plays a script: the same events and the same end every time, and misbehaviour on
//! demand, for simulation and for tests of everything around the real engine.

use std::{process, thread};

use serde::{Deserialize, Serialize};

use super::{
    BackupJob, BackupSummary, CheckJob, CheckSummary, Engine, EngineError, ErrorCode, FileList, ForgetJob,
    ForgetSummary, InitSummary, Job, ListFilesJob, Outcome, Output, PackJob, PackSummary, Progress, PruneSummary,
    ReachSummary, Reporter, RestoreJob, RestoreSummary, SnapshotList, Step, SurveyJob, SurveySummary, VerifyJob,
    VerifySummary,
};

/// What a fake job does, in order, and what it ends with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Script {
    /// What it does first.
    #[serde(default)]
    pub acts: Vec<Act>,
    /// What it ends with, whatever the job was.
    pub outcome: Outcome,
}

/// One act of a script.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "camelCase")]
pub enum Act {
    /// Begin a step.
    Step {
        /// Which.
        step: Step,
    },
    /// Set the numbers of the running step.
    Progress(Progress),
    /// Warn.
    Warn {
        /// What about.
        message: String,
    },
    /// Write a line to standard error.
    Complain {
        /// The line.
        line: String,
    },
    /// Never come back.
    Hang,
    /// End the process with this status, without a word.
    Exit {
        /// The status.
        status: i32,
    },
    /// End the process the way a crash does.
    Abort,
    /// Panic.
    Panic,
}

/// Plays a [`Script`].
#[derive(Clone, Debug)]
pub struct FakeEngine {
    script: Script,
}

impl FakeEngine {
    /// An engine that plays `script` for every job.
    pub fn new(script: Script) -> Self {
        Self { script }
    }

    fn play(&self, reporter: &Reporter) -> Outcome {
        for act in &self.script.acts {
            match act {
                Act::Step { step } => reporter.step(*step),
                Act::Progress(progress) => reporter.progress(|now| {
                    *now = Progress { step: now.step, ..*progress };
                }),
                Act::Warn { message } => reporter.warn(None, message),
                Act::Complain { line } => eprintln!("{line}"),
                Act::Hang => loop {
                    thread::park();
                },
                Act::Exit { status } => process::exit(*status),
                Act::Abort => process::abort(),
                Act::Panic => panic!("the script says so"),
            }
        }
        self.script.outcome.clone()
    }

    fn play_for<T>(&self, reporter: &Reporter, pick: impl FnOnce(Output) -> Option<T>) -> Result<T, EngineError> {
        pick(self.play(reporter)?)
            .ok_or_else(|| EngineError::new(ErrorCode::Internal, "the script's outcome answers another job"))
    }
}

impl Engine for FakeEngine {
    fn init(&self, reporter: &Reporter) -> Result<InitSummary, EngineError> {
        self.play_for(reporter, |output| match output {
            Output::Init(summary) => Some(summary),
            _ => None,
        })
    }

    fn reach(&self, reporter: &Reporter) -> Result<ReachSummary, EngineError> {
        self.play_for(reporter, |output| match output {
            Output::Reach(summary) => Some(summary),
            _ => None,
        })
    }

    fn backup(&self, _job: &BackupJob, reporter: &Reporter) -> Result<BackupSummary, EngineError> {
        self.play_for(reporter, |output| match output {
            Output::Backup(summary) => Some(summary),
            _ => None,
        })
    }

    fn restore(&self, _job: &RestoreJob, reporter: &Reporter) -> Result<RestoreSummary, EngineError> {
        self.play_for(reporter, |output| match output {
            Output::Restore(summary) => Some(summary),
            _ => None,
        })
    }

    fn pack(&self, _job: &PackJob, reporter: &Reporter) -> Result<PackSummary, EngineError> {
        self.play_for(reporter, |output| match output {
            Output::Pack(summary) => Some(summary),
            _ => None,
        })
    }

    fn list_files(&self, _job: &ListFilesJob) -> Result<FileList, EngineError> {
        self.play_for(&Reporter::silent(), |output| match output {
            Output::Files(files) => Some(files),
            _ => None,
        })
    }

    fn list_snapshots(&self) -> Result<SnapshotList, EngineError> {
        self.play_for(&Reporter::silent(), |output| match output {
            Output::Snapshots(snapshots) => Some(snapshots),
            _ => None,
        })
    }

    fn check(&self, _job: &CheckJob, reporter: &Reporter) -> Result<CheckSummary, EngineError> {
        self.play_for(reporter, |output| match output {
            Output::Check(summary) => Some(summary),
            _ => None,
        })
    }

    fn verify(&self, _job: &VerifyJob, reporter: &Reporter) -> Result<VerifySummary, EngineError> {
        self.play_for(reporter, |output| match output {
            Output::Verify(summary) => Some(summary),
            _ => None,
        })
    }

    fn survey(&self, _job: &SurveyJob, reporter: &Reporter) -> Result<SurveySummary, EngineError> {
        self.play_for(reporter, |output| match output {
            Output::Survey(summary) => Some(summary),
            _ => None,
        })
    }

    fn forget(&self, _job: &ForgetJob, reporter: &Reporter) -> Result<ForgetSummary, EngineError> {
        self.play_for(reporter, |output| match output {
            Output::Forget(summary) => Some(summary),
            _ => None,
        })
    }

    fn prune(&self, reporter: &Reporter) -> Result<PruneSummary, EngineError> {
        self.play_for(reporter, |output| match output {
            Output::Prune(summary) => Some(summary),
            _ => None,
        })
    }

    fn run(&self, _job: &Job, reporter: &Reporter) -> Outcome {
        self.play(reporter)
    }
}
