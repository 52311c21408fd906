//! What is remembered of the runs of a policy for one resource, so that the next ones can be planned.

use serde::{Deserialize, Serialize};

use super::is_default;
use super::sets::Due;
use crate::{Timestamp, Uuid};

/// What an application remembers of its runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agenda {
    /// The moment behind the next run; its start may be delayed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub due: Option<Due>,
    /// Moments up to here were dealt with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seen_until: Option<Timestamp>,
    /// A run that failed and is to be repeated.
    #[serde(default, skip_serializing_if = "is_default")]
    pub repeat: Option<Repeat>,
    /// Runs whose end was not noted yet.
    #[serde(default, skip_serializing_if = "is_default")]
    pub open: Vec<OpenRun>,
    /// The moment of the last run that was made.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_due_at: Option<Timestamp>,
    /// When the last run ended, however it did.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ended_at: Option<Timestamp>,
    /// How many runs were left out: they were missed, or the one before was not done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skipped: u64,
}

/// A task that was made, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRun {
    /// The task.
    pub task: Uuid,
    /// Whether the schedule made it, and not a person.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scheduled: bool,
    /// When it is stopped if it is not over by then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub until: Option<Timestamp>,
    /// What it is repeated with if it fails.
    #[serde(flatten)]
    pub attempt: Attempt,
}

/// One of several tasks for one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which task was the first.
    pub first: Uuid,
    /// Which attempt it is, from 1.
    pub number: u32,
    /// Whether everything is read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub full: bool,
    /// Whether it waits for its machine without limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub run_later: bool,
}

/// A run that is to be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeat {
    /// When.
    pub at: Timestamp,
    /// As which attempt.
    #[serde(flatten)]
    pub attempt: Attempt,
}
