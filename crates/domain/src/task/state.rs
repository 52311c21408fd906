//! The states of a task, with the data that exists only in them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Assignment, Executor, LeaseToken, Progress, ResultCode, TaskResult};
use crate::{Timestamp, Uuid, named_enum};

named_enum! {
    /// Where a task is, in a word. Each says how one gets in, out, and who repairs it.
    State {
        /// Waits in its queue. In: created, or returned by a lost executor. Out: claimed, cancelled, skipped,
        /// `queue_timeout`, `life_time`. Repaired by: any executor of the queue.
        Enqueued = "enqueued",
        /// Handed to an executor that has not said so yet. In: claimed. Out: started, completed, abandoned,
        /// `ack_timeout`, `life_time`. Repaired by: the scheduler, after `ack_timeout`.
        Assigned = "assigned",
        /// In work. In: started, resumed. Out: paused, completed, abandoned, heartbeat lost, `exec_timeout`,
        /// `life_time`. Repaired by: the scheduler, after three missed heartbeats.
        Started = "started",
        /// In an executor's hands, waiting for a person. In: paused. Out: as started, and resumed.
        Paused = "paused",
        /// Over, for ever.
        Completed = "completed",
    }
}

named_enum! {
    /// State and result in one word, in the order of the words: some vendors know no other states, and order by them.
    Standing {
        /// Over, and not done.
        Failure = "failure",
        /// Nobody works on it yet.
        Pending = "pending",
        /// Somebody works on it.
        Processing = "processing",
        /// Done, if with warnings.
        Success = "success",
    }
}

impl Standing {
    /// What follows from a state, and the result there.
    #[must_use]
    pub fn of(state: State, result: Option<ResultCode>) -> Standing {
        match (state, result) {
            (State::Enqueued | State::Assigned, _) => Standing::Pending,
            (State::Started | State::Paused, _) => Standing::Processing,
            (State::Completed, Some(ResultCode::Ok | ResultCode::Warning)) => Standing::Success,
            (State::Completed, _) => Standing::Failure,
        }
    }
}

/// A word for programs with details, as used in blockers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The word.
    pub key: String,
    /// The details; null = none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub context: Value,
}

/// A reason why a task cannot go on without a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blocker {
    /// Identity.
    pub id: Uuid,
    /// The activity that is held up, if it is not the whole task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<i64>,
    /// What is wrong.
    pub issue: Message,
    /// What a person may answer; empty = anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub possible_solutions: Vec<Message>,
    /// What a person answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution: Option<Message>,
}

/// A task in work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// In whose hands.
    pub assignment: Assignment,
    /// Since when.
    pub started_at: Timestamp,
}

/// A task that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Who had it last, if somebody had it at the end.
    pub executor: Option<Executor>,
    /// When it was handed to that executor.
    pub assigned_at: Option<Timestamp>,
    /// When that executor started.
    pub started_at: Option<Timestamp>,
    /// The lease under which the executor itself completed it: the same report sent again is answered with success.
    pub lease: Option<LeaseToken>,
    /// When it ended.
    pub completed_at: Timestamp,
    /// How it ended.
    pub result: TaskResult,
}

/// A state with what exists only in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// Waits in its queue.
    Enqueued,
    /// Handed out.
    Assigned(Assignment),
    /// In work.
    Started(Run),
    /// In work, waiting for a person.
    Paused(Run),
    /// Over.
    Completed(Box<Completion>),
}

impl Phase {
    /// The state's name.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Phase::Enqueued => State::Enqueued,
            Phase::Assigned(_) => State::Assigned,
            Phase::Started(_) => State::Started,
            Phase::Paused(_) => State::Paused,
            Phase::Completed(_) => State::Completed,
        }
    }

    /// In whose hands it is now.
    #[must_use]
    pub fn assignment(&self) -> Option<&Assignment> {
        match self {
            Phase::Assigned(a) => Some(a),
            Phase::Started(r) | Phase::Paused(r) => Some(&r.assignment),
            Phase::Enqueued | Phase::Completed(_) => None,
        }
    }

    pub(super) fn assignment_mut(&mut self) -> Option<&mut Assignment> {
        match self {
            Phase::Assigned(a) => Some(a),
            Phase::Started(r) | Phase::Paused(r) => Some(&mut r.assignment),
            Phase::Enqueued | Phase::Completed(_) => None,
        }
    }
}

/// The part of a task that changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Where it is.
    pub phase: Phase,
    /// How often it was handed out.
    pub assign_count: u32,
    /// Whether somebody wants it cancelled: a fact beside the state.
    pub cancel_requested: bool,
    /// Who wants that, as shown; kept to be told when it has stopped. None if nobody does, or if it was written down by a
    /// version that did not keep it.
    pub cancelled_by: Option<String>,
    /// Why it cannot go on without a person.
    pub blockers: Vec<Blocker>,
    /// How far it is; none before the first report.
    pub progress: Option<Progress>,
    /// When it last entered the queue.
    pub enqueued_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// When it was deleted; it is then shown only to those who ask for deleted ones.
    pub deleted_at: Option<Timestamp>,
}

impl Status {
    pub(super) fn enqueued(now: Timestamp) -> Status {
        Status {
            phase: Phase::Enqueued,
            assign_count: 0,
            cancel_requested: false,
            cancelled_by: None,
            blockers: Vec::new(),
            progress: None,
            enqueued_at: now,
            updated_at: now,
            deleted_at: None,
        }
    }
}
