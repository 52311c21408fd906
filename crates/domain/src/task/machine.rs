//! The task machine: the one place where a task's state changes. Rules of return, cancel and completion follow the
//! contract for Acronis clients (sections 10.1 to 10.5), which are the rules for all.

use super::state::{Completion, Run};
use super::{
    Assignment, Effect, Event, EventKind, LeaseToken, Outcome, Phase, ResultCode, State, Task, TaskError, TaskResult,
    Timer,
};
use crate::error::{Code, Error, Result};
use crate::{Moment, Timestamp};

/// A task after an event, and what must happen elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The task as it is now.
    pub task: Task,
    /// Whether anybody can see a difference. A heartbeat only moves the time of the last report, which is stored but is
    /// no change: it leaves `updated_at` and the revision alone.
    pub changed: bool,
    /// What must happen elsewhere.
    pub effects: Vec<Effect>,
}

impl Task {
    /// Lets an event happen to the task.
    ///
    /// Timers are checked first by the ledger ([`Task::settle`]), so that a report that comes after the deadline meets
    /// the state that the deadline brought.
    ///
    /// # Errors
    /// `already_completed`, `state_conflict`, `lease_lost`, `not_cancellable` or `invalid_field`; each names the state and
    /// the event, and the task stays as it was.
    pub fn apply(&self, event: Event, moment: Moment) -> Result<Applied> {
        let now = moment.now;
        self.check_lease(&event)?;
        let mut next = self.clone();
        if let (Some(_), Some(a)) = (event.lease(), next.status.phase.assignment_mut()) {
            // Every call under the lease is a report.
            a.last_report_at = now;
        }
        let kind = event.kind();
        match (next.status.phase.clone(), event) {
            (Phase::Enqueued, Event::Claim { executor, lease }) => {
                if !self.spec.affinity.admits(&executor) {
                    return Err(Error::new(Code::StateConflict, "the task's affinity does not admit this executor"));
                }
                next.status.assign_count += 1;
                next.status.phase =
                    Phase::Assigned(Assignment { executor, lease, assigned_at: now, last_report_at: now });
                Ok(next.changed(now, vec![]))
            }
            (Phase::Assigned(_), Event::Start { .. }) => {
                next.start(now);
                Ok(next.changed(now, vec![Effect::OpenRoot]))
            }
            // The acknowledgement was repeated because its answer was lost.
            (Phase::Started(_), Event::Start { .. } | Event::Resume { .. }) => Ok(next.reported()),
            (Phase::Assigned(_) | Phase::Started(_) | Phase::Paused(_), Event::Heartbeat { .. }) => Ok(next.reported()),
            (Phase::Assigned(_) | Phase::Started(_) | Phase::Paused(_), Event::Report { progress, .. }) => {
                progress.validate()?;
                if next.status.progress.as_ref() == Some(&progress) {
                    return Ok(next.reported());
                }
                next.status.progress = Some(progress);
                Ok(next.changed(now, vec![]))
            }
            (Phase::Started(run) | Phase::Paused(run), Event::Pause { blockers, .. }) => {
                for blocker in blockers {
                    if next.status.blockers.iter().all(|b| b.id != blocker.id) {
                        next.status.blockers.push(blocker);
                    }
                }
                next.status.phase = Phase::Paused(Run { assignment: reported_at(run.assignment, now), ..run });
                Ok(next.changed(now, vec![]))
            }
            (Phase::Paused(run), Event::Resume { .. }) => {
                next.status.phase = Phase::Started(Run { assignment: reported_at(run.assignment, now), ..run });
                Ok(next.changed(now, vec![]))
            }
            (
                Phase::Assigned(_) | Phase::Started(_) | Phase::Paused(_),
                Event::Complete { lease, outcome, progress },
            ) => {
                if let Some(progress) = progress {
                    progress.validate()?;
                    next.status.progress = Some(progress);
                }
                if self.state() == State::Assigned {
                    next.start(now);
                }
                let result = next.told(outcome);
                Ok(next.complete(result, Some(lease), now))
            }
            (Phase::Assigned(_) | Phase::Started(_) | Phase::Paused(_), Event::Abandon { reason, .. }) => {
                Ok(next.lose_executor(Loss::Abandoned(reason), now))
            }
            (Phase::Completed(done), Event::Complete { lease, outcome, .. })
                if done.lease.as_ref() == Some(&lease) && done.result == self.told(outcome.clone()) =>
            {
                Ok(next.reported())
            }
            (Phase::Enqueued, Event::Cancel { by }) => Ok(next.cancelled(by, "before it was handed out", now)),
            // It has not begun: whoever was given it finds the lease void.
            (Phase::Assigned(_), Event::Cancel { by }) if self.spec.rules.cancellable => {
                Ok(next.cancelled(by, "before it began", now))
            }
            (
                Phase::Assigned(a)
                | Phase::Started(Run { assignment: a, .. })
                | Phase::Paused(Run { assignment: a, .. }),
                Event::Cancel { by },
            ) => {
                if !self.spec.rules.cancellable {
                    return Err(Error::new(
                        Code::NotCancellable,
                        "the task is running and does not allow to be cancelled",
                    )
                    .hint("only tasks created as cancellable can be cancelled while they run"));
                }
                if self.status.cancel_requested {
                    return Ok(next.reported());
                }
                next.status.cancel_requested = true;
                next.status.cancelled_by = Some(by);
                Ok(next.changed(now, vec![Effect::StopRequested(a.lease)]))
            }
            (Phase::Started(_) | Phase::Paused(_), Event::Solve { blocker, solution }) => {
                next.solve(blocker, solution, now)
            }
            (Phase::Enqueued, Event::Skip { why, reason, context }) => {
                Ok(next.complete(TaskResult::not_run(why, reason, context), None, now))
            }
            (phase, Event::Expire { timer }) if phase.state() != State::Completed => {
                if self.expired(moment) != Some(timer) {
                    return Err(Error::new(Code::StateConflict, format!("the timer '{timer}' has not run out")));
                }
                Ok(next.expire(timer, now))
            }
            (Phase::Completed(_), Event::Delete) => {
                if next.status.deleted_at.is_some() {
                    return Ok(next.reported());
                }
                next.status.deleted_at = Some(now);
                Ok(next.changed(now, vec![Effect::StampActivities]))
            }
            (phase, _) => Err(refusal(self, phase.state(), kind)),
        }
    }

    /// The task after the timers that have run out, or nothing when none has.
    #[must_use]
    pub fn settle(&self, moment: Moment) -> Option<Applied> {
        let timer = self.expired(moment)?;
        // It cannot be refused: the timer was just found to have run out.
        self.apply(Event::Expire { timer }, moment).ok()
    }

    fn check_lease(&self, event: &Event) -> Result<()> {
        let (Some(given), Some(current)) = (event.lease(), self.lease()) else {
            // A report on a task that nobody has: lost, unless the task is over, which the machine says itself.
            return match (event.lease(), self.state()) {
                (Some(_), State::Enqueued) => Err(lease_lost(self)),
                _ => Ok(()),
            };
        };
        if given == current { Ok(()) } else { Err(lease_lost(self)) }
    }

    fn start(&mut self, now: Timestamp) {
        if let Phase::Assigned(assignment) = self.status.phase.clone() {
            self.status.phase = Phase::Started(Run { assignment: reported_at(assignment, now), started_at: now });
        }
    }

    fn solve(mut self, blocker: crate::Uuid, solution: super::Message, now: Timestamp) -> Result<Applied> {
        let Some(found) = self.status.blockers.iter_mut().find(|b| b.id == blocker) else {
            return Err(Error::not_found("blocker", blocker));
        };
        match &found.solution {
            Some(given) if *given == solution => return Ok(self.reported()),
            Some(_) => return Err(Error::new(Code::StateConflict, "the blocker has another answer already")),
            None => {}
        }
        let allowed: Vec<_> = found.possible_solutions.iter().map(|m| m.key.as_str()).collect();
        if !allowed.is_empty() && !allowed.contains(&solution.key.as_str()) {
            return Err(Error::invalid("key", format!("'{}' is no answer to this blocker", solution.key))
                .hint(format!("one of: {}", allowed.join(", "))));
        }
        found.solution = Some(solution);
        Ok(self.changed(now, vec![]))
    }

    fn expire(self, timer: Timer, now: Timestamp) -> Applied {
        let who = self.executor().map_or_else(|| "nobody".to_owned(), |e| format!("executor '{}'", e.id));
        match timer {
            Timer::Ack | Timer::Heartbeat => self.lose_executor(Loss::Silent(timer), now),
            Timer::Queue => self.time_out("queueTimeout", "No executor took it from the queue in time.".into(), now),
            Timer::Exec => self.time_out(
                "execTimeout",
                format!("It ran longer than its execution timeout allows; {who} had it."),
                now,
            ),
            Timer::Life => {
                self.time_out("lifeTime", format!("It was open longer than its life time; {who} had it."), now)
            }
        }
    }

    /// The task ends because somebody wished it, and nobody has to stop for that.
    fn cancelled(mut self, by: String, when: &str, now: Timestamp) -> Applied {
        let message = format!("Cancelled by {by} {when}.");
        self.status.cancel_requested = true;
        self.status.cancelled_by = Some(by);
        self.complete(TaskResult::server(ResultCode::Cancelled, "cancelRequested", message), None, now)
    }

    /// The result of what an executor reports. One that stopped because it was asked to seldom says by whom, which it does
    /// not know.
    fn told(&self, outcome: Outcome) -> TaskResult {
        let mut result = outcome.into_result();
        if let (ResultCode::Cancelled, None, Some(by)) = (result.code, &result.error, &self.status.cancelled_by) {
            result.error = Some(TaskError::server("cancelRequested", format!("Cancelled by {by} while it ran.")));
        }
        result
    }

    fn time_out(self, reason: &str, message: String, now: Timestamp) -> Applied {
        self.complete(TaskResult::server(ResultCode::TimedOut, reason, message), None, now)
    }

    /// The task loses its executor: it is cancelled if that was wished, tried again if attempts are left, and is
    /// abandoned otherwise.
    fn lose_executor(mut self, loss: Loss, now: Timestamp) -> Applied {
        let who = self.executor().map(|e| e.id.clone()).unwrap_or_default();
        let given_back = self.spec.rules.sustainable && matches!(loss, Loss::Abandoned(_));
        if given_back {
            // A sustainable task that is given back on purpose has used no attempt.
            self.status.assign_count -= 1;
        }
        let (reason, message) = loss.explain(&who);
        if self.status.cancel_requested {
            let message = match &self.status.cancelled_by {
                Some(by) => format!("Cancelled by {by}. {message}"),
                None => format!("Cancelled as asked. {message}"),
            };
            return self.complete(TaskResult::server(ResultCode::Cancelled, "cancelRequested", message), None, now);
        }
        if !given_back && self.status.assign_count >= self.spec.rules.max_assign_count {
            let n = self.status.assign_count;
            let message = format!("{message} It was attempt {n} of {n}.");
            return self.complete(TaskResult::server(ResultCode::Abandoned, reason, message), None, now);
        }
        let effects = [
            self.lease().cloned().map(Effect::LeaseVoid),
            Some(Effect::ReturnActivities { sustainable: self.spec.rules.sustainable }),
        ];
        self.status.phase = Phase::Enqueued;
        self.status.enqueued_at = now;
        self.changed(now, effects.into_iter().flatten().collect())
    }

    /// Ends the task. `reported_under` is the lease of the executor that said so itself.
    fn complete(mut self, result: TaskResult, reported_under: Option<LeaseToken>, now: Timestamp) -> Applied {
        let void = match &reported_under {
            Some(_) => None,
            None => self.lease().cloned().map(Effect::LeaseVoid),
        };
        let effects = [void, Some(Effect::OpenRoot), Some(Effect::CloseActivities)];
        self.status.phase = Phase::Completed(Box::new(Completion {
            executor: self.executor().cloned(),
            assigned_at: self.assigned_at(),
            started_at: self.started_at(),
            lease: reported_under,
            completed_at: now,
            result,
        }));
        self.changed(now, effects.into_iter().flatten().collect())
    }

    fn changed(mut self, now: Timestamp, effects: Vec<Effect>) -> Applied {
        self.status.updated_at = now;
        Applied { task: self, changed: true, effects }
    }

    /// A report that changes nothing anybody sees: `updated_at` stays.
    fn reported(self) -> Applied {
        Applied { task: self, changed: false, effects: vec![] }
    }
}

/// How an executor was lost.
enum Loss {
    Abandoned(String),
    Silent(Timer),
}

impl Loss {
    fn explain(&self, who: &str) -> (&'static str, String) {
        match self {
            Loss::Abandoned(reason) => ("abandonedByExecutor", format!("Executor '{who}' gave it up: {reason}")),
            Loss::Silent(Timer::Ack) => ("ackTimeout", format!("Executor '{who}' did not acknowledge it in time.")),
            Loss::Silent(_) => ("heartbeatLost", format!("Executor '{who}' stopped reporting.")),
        }
    }
}

fn reported_at(assignment: Assignment, now: Timestamp) -> Assignment {
    Assignment { last_report_at: now, ..assignment }
}

fn lease_lost(task: &Task) -> Error {
    Error::new(Code::LeaseLost, format!("the lease is not the current one of task {}", task.id))
        .hint("stop the work: the task was given to somebody else, returned to the queue, or ended")
}

fn refusal(task: &Task, state: State, event: EventKind) -> Error {
    let message = format!("task {} is {state}; '{event}' is not possible", task.id);
    match state {
        State::Completed => Error::new(Code::AlreadyCompleted, message),
        _ => Error::new(Code::StateConflict, message),
    }
}
