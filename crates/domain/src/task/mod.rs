//! Tasks: one piece of work each, durable from wish to result.
//!
//! A task has a wide part that is written once ([`TaskSpec`]) and a small part that changes ([`Status`]); it changes
//! only by [`Task::apply`], in `machine.rs`.

mod event;
mod lease;
mod machine;
mod machine_table;
mod progress;
mod result;
mod spec;
mod state;
mod timer;

pub use event::{Effect, Event, EventKind};
pub use lease::{Assignment, LeaseToken};
pub use machine::Applied;
pub use machine_table::{Row, transition_table};
pub use progress::{Bottleneck, Progress};
pub use result::{NotRun, Outcome, OutcomeCode, ResultCode, SCHEDULER_DOMAIN, SERVER_DOMAIN, TaskError, TaskResult};
pub use spec::{Affinity, Entity, Executor, Issuer, Named, Priority, Rules, TaskSpec, entity, kind, limits};
pub use state::{Blocker, Completion, Message, Phase, Run, Standing, State, Status};
pub use timer::Timer;

use std::sync::Arc;

use crate::{Shared, Timestamp, Uuid};

/// The integer identity of a task: dense, in order of creation, at most 2^53 - 1 so that JavaScript keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub i64);

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How a caller names a task: by number or by uuid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskRef {
    /// The integer id.
    Id(TaskId),
    /// The uuid.
    Uuid(Uuid),
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The integer identity.
    pub id: TaskId,
    /// What was wished; never changes.
    pub spec: Arc<TaskSpec>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where it is.
    pub status: Shared<Status>,
}

impl Task {
    /// A new task, enqueued.
    ///
    /// # Errors
    /// `invalid_field` when the wish is not allowed; see [`TaskSpec::validate`].
    pub fn create(id: TaskId, spec: Arc<TaskSpec>, now: Timestamp) -> crate::Result<Task> {
        spec.validate()?;
        Ok(Task { id, spec, created_at: now, status: Shared::new(Status::enqueued(now)) })
    }

    /// The state's name.
    #[must_use]
    pub fn state(&self) -> State {
        self.status.phase.state()
    }

    /// Who has it or had it last.
    #[must_use]
    pub fn executor(&self) -> Option<&Executor> {
        match &self.status.phase {
            Phase::Enqueued => None,
            Phase::Assigned(a) => Some(&a.executor),
            Phase::Started(r) | Phase::Paused(r) => Some(&r.assignment.executor),
            Phase::Completed(c) => c.executor.as_ref(),
        }
    }

    /// The current lease, if somebody has the task.
    #[must_use]
    pub fn lease(&self) -> Option<&LeaseToken> {
        self.status.phase.assignment().map(|a| &a.lease)
    }

    /// Says that its executor was heard of at this time at the latest. Other times of a task may be ahead of a clock that was set
    /// back, because they never go back; by this one it is noticed that nothing is heard any more.
    pub fn heard_by(&mut self, now: Timestamp) {
        if let Some(assignment) = self.status.phase.assignment_mut() {
            assignment.last_report_at = assignment.last_report_at.min(now);
        }
    }

    /// When it was given to its present or last executor.
    #[must_use]
    pub fn assigned_at(&self) -> Option<Timestamp> {
        match &self.status.phase {
            Phase::Completed(c) => c.assigned_at,
            other => other.assignment().map(|a| a.assigned_at),
        }
    }

    /// When its executor started it.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        match &self.status.phase {
            Phase::Enqueued | Phase::Assigned(_) => None,
            Phase::Started(r) | Phase::Paused(r) => Some(r.started_at),
            Phase::Completed(c) => c.started_at,
        }
    }

    /// When it ended.
    #[must_use]
    pub fn completed_at(&self) -> Option<Timestamp> {
        self.completion().map(|c| c.completed_at)
    }

    /// How it ended.
    #[must_use]
    pub fn result(&self) -> Option<&TaskResult> {
        self.completion().map(|c| &c.result)
    }

    /// How it stands, for whoever only wants to know whether to wait.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing::of(self.state(), self.result().map(|r| r.code))
    }

    fn completion(&self) -> Option<&Completion> {
        match &self.status.phase {
            Phase::Completed(c) => Some(c),
            _ => None,
        }
    }
}
