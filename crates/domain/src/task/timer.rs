//! The timers of a task: when its state must change though nobody says a word.

use super::{Phase, Task};
use crate::{Moment, SignedDuration, Timestamp, named_enum};

named_enum! {
    /// A timer of a task.
    Timer {
        /// Handed out, and not acknowledged.
        Ack = "ack_timeout",
        /// Three heartbeat intervals without a report.
        Heartbeat = "heartbeat",
        /// Too long in the queue.
        Queue = "queue_timeout",
        /// Too long in work, pauses included.
        Exec = "exec_timeout",
        /// Too long open.
        Life = "life_time",
    }
}

/// How many heartbeat intervals may pass without a report before the lease is lost.
pub(super) const MISSED_HEARTBEATS: i32 = 3;

impl Task {
    /// The timers that run now, each with the time at which it runs out.
    ///
    /// After a restart, and after the clock was set, acknowledgement and heartbeat count from `up_since`.
    pub fn deadlines(&self, up_since: Timestamp) -> impl Iterator<Item = (Timer, Timestamp)> {
        let rules = &self.spec.rules;
        let at = |timer: Timer, from: Timestamp, after: Option<SignedDuration>| {
            after.map(|d| (timer, from.checked_add(d).unwrap_or(Timestamp::MAX)))
        };
        let alive = rules.heartbeat_interval.map(|i| i.saturating_mul(MISSED_HEARTBEATS));
        let running = match &self.status.phase {
            Phase::Enqueued => [at(Timer::Queue, self.status.enqueued_at, rules.queue_timeout), None],
            Phase::Assigned(a) => {
                // A last report before the assignment was written down when the clock was set back.
                let from = a.assigned_at.min(a.last_report_at).max(up_since);
                [at(Timer::Ack, from, Some(rules.ack_timeout)), None]
            }
            Phase::Started(r) | Phase::Paused(r) => [
                at(Timer::Heartbeat, r.assignment.last_report_at.max(up_since), alive),
                at(Timer::Exec, r.started_at, rules.exec_timeout),
            ],
            Phase::Completed(_) => [None, None],
        };
        let life = match self.status.phase {
            Phase::Completed(_) => None,
            _ => at(Timer::Life, self.created_at, rules.life_time),
        };
        running.into_iter().chain([life]).flatten()
    }

    /// The next time at which a timer runs out, if any runs.
    #[must_use]
    pub fn next_deadline(&self, up_since: Timestamp) -> Option<Timestamp> {
        self.deadlines(up_since).map(|(_, t)| t).min()
    }

    /// The timer that ran out first, if one has.
    #[must_use]
    pub fn expired(&self, moment: Moment) -> Option<Timer> {
        self.deadlines(moment.up_since)
            .filter(|(_, t)| *t <= moment.now)
            .min_by_key(|(_, t)| *t)
            .map(|(timer, _)| timer)
    }
}
