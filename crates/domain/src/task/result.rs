//! How a task or activity ended.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Document, named_enum};

named_enum! {
    /// How it ended. The order is the one in which vendors compare them (Acronis 4.2).
    ResultCode {
        /// Done.
        Ok = "ok",
        /// The executor reported failure.
        Error = "error",
        /// Done, with something to look at.
        Warning = "warning",
        /// Cancelled by a person, or a scheduled run that was skipped because the one before was not done.
        Cancelled = "cancelled",
        /// The executor was lost or gave up, and the attempts are used up.
        Abandoned = "abandoned",
        /// Queue, execution or life time is over, or the time of a scheduled run passed without it.
        TimedOut = "timedout",
    }
}

named_enum! {
    /// What an executor may report; the other results are the server's to set.
    OutcomeCode {
        /// Done.
        Ok = "ok",
        /// Failed.
        Error = "error",
        /// Done, with something to look at.
        Warning = "warning",
        /// Stopped as asked.
        Cancelled = "cancelled",
    }
}

impl OutcomeCode {
    /// The result it makes.
    #[must_use]
    pub fn result(self) -> ResultCode {
        match self {
            OutcomeCode::Ok => ResultCode::Ok,
            OutcomeCode::Error => ResultCode::Error,
            OutcomeCode::Warning => ResultCode::Warning,
            OutcomeCode::Cancelled => ResultCode::Cancelled,
        }
    }
}

/// The domain of errors that the server itself makes (the name that Acronis clients know).
pub const SERVER_DOMAIN: &str = "TaskManager";

/// The domain of what the scheduler says of runs that it did not begin.
pub const SCHEDULER_DOMAIN: &str = "Scheduler";

named_enum! {
    /// Why a run of a policy did not begin; the name is the code of its error.
    NotRun {
        /// The run before it was not done. It ends as cancelled, because a run was under way.
        Skipped = "runSkipped",
        /// Its time passed: nothing looked then, or its window closed. It ends as timed out, which counts as failed.
        Missed = "runMissed",
    }
}

/// Why something failed, so that a person can act on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskError {
    /// The part of the system it comes from.
    pub domain: String,
    /// A stable word within the domain.
    pub code: String,
    /// One plain sentence.
    #[serde(default)]
    pub message: String,
    /// Details for programs; null = none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub context: Value,
    /// What led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Box<TaskError>>,
    /// What else the executor sent with it, kept as sent (Acronis D51: `kbLink`, `debug`).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl TaskError {
    /// An error of the server's own.
    pub fn server(code: &str, message: impl Into<String>) -> TaskError {
        TaskError {
            domain: SERVER_DOMAIN.to_owned(),
            code: code.to_owned(),
            message: message.into(),
            ..Default::default()
        }
    }
}

/// How it ended, with reasons.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// In a word.
    pub code: ResultCode,
    /// Why, where it did not go well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// What to look at though it went on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<TaskError>,
    /// What the work produced; null = nothing.
    #[serde(default, deserialize_with = "Document::as_written", skip_serializing_if = "Document::is_null")]
    pub payload: Document,
}

impl TaskResult {
    /// The result of a run that did not begin.
    pub(crate) fn not_run(why: NotRun, message: String, context: Value) -> TaskResult {
        let code = match why {
            NotRun::Skipped => ResultCode::Cancelled,
            NotRun::Missed => ResultCode::TimedOut,
        };
        let (domain, reason) = (SCHEDULER_DOMAIN.to_owned(), why.name().to_owned());
        let error = TaskError { domain, code: reason, message, context, ..TaskError::default() };
        TaskResult { code, error: Some(error), warnings: Vec::new(), payload: Document::default() }
    }

    /// A result the server sets.
    pub(crate) fn server(code: ResultCode, reason: &str, message: String) -> TaskResult {
        TaskResult {
            code,
            error: Some(TaskError::server(reason, message)),
            warnings: Vec::new(),
            payload: Document::default(),
        }
    }
}

/// What an executor reports at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// In a word.
    pub code: OutcomeCode,
    /// Why it failed.
    pub error: Option<TaskError>,
    /// What to look at though it went on.
    pub warnings: Vec<TaskError>,
    /// What the work produced; null = nothing.
    pub payload: Value,
}

impl Outcome {
    /// A plain outcome without details.
    #[must_use]
    pub fn of(code: OutcomeCode) -> Outcome {
        Outcome { code, error: None, warnings: Vec::new(), payload: Value::Null }
    }

    /// The result it makes. A failure without a reason gets one, so that nobody stares at an empty error.
    #[must_use]
    pub fn into_result(self) -> TaskResult {
        let error = match (self.code, self.error) {
            (OutcomeCode::Error, None) => {
                Some(TaskError::server("unspecified", "The executor reported a failure and gave no reason."))
            }
            (_, error) => error,
        };
        TaskResult { code: self.code.result(), error, warnings: self.warnings, payload: self.payload.into() }
    }
}
