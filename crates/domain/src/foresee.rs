//! What a policy will do for a resource, found out by letting the scheduler's own plan run ahead of the clock.

use crate::plan::{Around, Decision, Plan, begin, end, past, plan};
use crate::policy::sets::Due;
use crate::policy::{Application, Policy, Schedule};
use crate::task::ResultCode;
use crate::{Timestamp, Uuid};

/// A run to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreseen {
    /// The moment that the schedule names.
    pub at: Timestamp,
    /// When it begins: the moment with its delay.
    pub starts_at: Timestamp,
    /// When it begins at the latest, whatever its delay.
    pub latest_start: Timestamp,
    /// When it is stopped if it is not over by then: its window closes.
    pub until: Option<Timestamp>,
    /// Whether the schedule wants everything read.
    pub full: bool,
    /// Whether it repeats one that failed.
    pub repeats: bool,
}

/// The next runs of an application, at most so many, as if nothing changed and each run were over as soon as it begins: what
/// follows the end of another run comes later by as long as that one takes.
#[must_use]
pub fn foresee(app: &Application, policy: &Policy, around: &Around<'_>, count: usize) -> Vec<Foreseen> {
    let mut app = app.clone();
    let mut around = Around { open: false, up_since: app.created_at.min(around.up_since), ..*around };
    // What is under way is over at once.
    for run in app.agenda.open.clone() {
        end(&mut app, policy, run.task, ResultCode::Ok, around.now, &around);
    }
    let mut runs = Vec::new();
    // Moments for which no run is made do not count, and there may be nothing else.
    for _ in 0..count.saturating_mul(10).saturating_add(100) {
        if runs.len() == count {
            break;
        }
        let Some(next) = app.next_run_at else { break };
        around.now = around.now.max(next);
        let Plan { decision, app: planned, .. } = plan(&app, policy, &around);
        // A plan that does not go on would be asked for ever.
        if planned == app {
            break;
        }
        let before = std::mem::replace(&mut app, planned);
        let Decision::Run(run) = decision else { continue };
        let delay = match &policy.schedule {
            Schedule::Sets(sets) if run.repeats.is_none() => {
                let due = Due { at: run.at, full: run.full, run_later: run.run_later };
                sets.longest_delay(due, &past(&before, policy, &around))
            }
            _ => crate::SignedDuration::ZERO,
        };
        runs.push(Foreseen {
            at: run.at,
            starts_at: around.now,
            latest_start: run.at.checked_add(delay).unwrap_or(run.at).max(around.now),
            until: run.until,
            full: run.full,
            repeats: run.repeats.is_some(),
        });
        let task = Uuid::from_u128(runs.len() as u128);
        begin(&mut app, policy, &run, task, true, &around);
        end(&mut app, policy, task, ResultCode::Ok, around.now, &around);
    }
    runs
}

/// Why nothing is to come, where nothing is.
#[must_use]
pub fn why_nothing_comes(policy: &Policy, around: &Around<'_>) -> &'static str {
    match &policy.schedule {
        _ if !policy.enabled => "the policy is disabled",
        _ if !around.active => "the resource is disabled or not registered",
        Schedule::Manual {} => "the policy runs only when somebody asks",
        Schedule::Sets(sets) if !sets.enabled => "the schedule is switched off",
        _ => "the schedule names no time to come",
    }
}
