//! What can happen to a task, and what must happen elsewhere because of it.

use super::{Blocker, Executor, LeaseToken, Message, NotRun, Outcome, Progress, Timer};
use crate::{Uuid, named_enum};

/// Something that happens to a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An executor takes it from the queue.
    Claim {
        /// Who takes it.
        executor: Executor,
        /// The new lease.
        lease: LeaseToken,
    },
    /// The executor has begun.
    Start {
        /// The executor's lease.
        lease: LeaseToken,
    },
    /// The executor is alive.
    Heartbeat {
        /// The executor's lease.
        lease: LeaseToken,
    },
    /// The executor says how far it is.
    Report {
        /// The executor's lease.
        lease: LeaseToken,
        /// How far.
        progress: Progress,
    },
    /// The executor waits for a person.
    Pause {
        /// The executor's lease.
        lease: LeaseToken,
        /// New reasons; those already listed stay.
        blockers: Vec<Blocker>,
    },
    /// The executor goes on.
    Resume {
        /// The executor's lease.
        lease: LeaseToken,
    },
    /// The executor is done.
    Complete {
        /// The executor's lease.
        lease: LeaseToken,
        /// How it ended.
        outcome: Outcome,
        /// The last word on how far it came.
        progress: Option<Progress>,
    },
    /// The executor gives up, for a reason that is not the task's.
    Abandon {
        /// The executor's lease.
        lease: LeaseToken,
        /// Why, in a sentence.
        reason: String,
    },
    /// A person wants it cancelled.
    Cancel {
        /// Who, as shown.
        by: String,
    },
    /// A person answers a blocker.
    Solve {
        /// Which.
        blocker: Uuid,
        /// The answer.
        solution: Message,
    },
    /// The scheduler does not run it, and says why.
    Skip {
        /// Why, in a word.
        why: NotRun,
        /// Why, in a sentence.
        reason: String,
        /// Details for programs; null = none.
        context: serde_json::Value,
    },
    /// A timer ran out.
    Expire {
        /// Which.
        timer: Timer,
    },
    /// Retention hides it; it is purged later.
    Delete,
}

named_enum! {
    /// The events by name, for tables and messages.
    EventKind {
        /// See [`Event::Claim`].
        Claim = "claim",
        /// See [`Event::Start`].
        Start = "start",
        /// See [`Event::Heartbeat`].
        Heartbeat = "heartbeat",
        /// See [`Event::Report`].
        Report = "report",
        /// See [`Event::Pause`].
        Pause = "pause",
        /// See [`Event::Resume`].
        Resume = "resume",
        /// See [`Event::Complete`].
        Complete = "complete",
        /// See [`Event::Abandon`].
        Abandon = "abandon",
        /// See [`Event::Cancel`].
        Cancel = "cancel",
        /// See [`Event::Solve`].
        Solve = "solve",
        /// See [`Event::Skip`].
        Skip = "skip",
        /// See [`Event::Expire`].
        Expire = "expire",
        /// See [`Event::Delete`].
        Delete = "delete",
    }
}

impl Event {
    /// The event's name.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Event::Claim { .. } => EventKind::Claim,
            Event::Start { .. } => EventKind::Start,
            Event::Heartbeat { .. } => EventKind::Heartbeat,
            Event::Report { .. } => EventKind::Report,
            Event::Pause { .. } => EventKind::Pause,
            Event::Resume { .. } => EventKind::Resume,
            Event::Complete { .. } => EventKind::Complete,
            Event::Abandon { .. } => EventKind::Abandon,
            Event::Cancel { .. } => EventKind::Cancel,
            Event::Solve { .. } => EventKind::Solve,
            Event::Skip { .. } => EventKind::Skip,
            Event::Expire { .. } => EventKind::Expire,
            Event::Delete => EventKind::Delete,
        }
    }

    /// The lease it carries, if it is an executor's report.
    #[must_use]
    pub fn lease(&self) -> Option<&LeaseToken> {
        match self {
            Event::Start { lease }
            | Event::Heartbeat { lease }
            | Event::Report { lease, .. }
            | Event::Pause { lease, .. }
            | Event::Resume { lease }
            | Event::Complete { lease, .. }
            | Event::Abandon { lease, .. } => Some(lease),
            _ => None,
        }
    }
}

/// What must happen elsewhere because a task changed. The ledger carries out those on activities in the same commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The root activity is made, if it is not there yet.
    OpenRoot,
    /// The task is back in the queue: open activities that are sustainable return too if `sustainable`, the others
    /// complete as abandoned.
    ReturnActivities {
        /// Whether the task keeps its sustainable activities.
        sustainable: bool,
    },
    /// The task is over: every open activity completes as abandoned.
    CloseActivities,
    /// The task is deleted, and its activities with it: they are stamped, so that mirrors learn of it.
    StampActivities,
    /// The executor under this lease should stop: somebody wants the task cancelled.
    StopRequested(LeaseToken),
    /// The lease is void: its executor must stop at once.
    LeaseVoid(LeaseToken),
}
