//! What the scheduler does about an application of a policy: decided here, purely; carried out by the server.

use jiff::tz::TimeZone;

use crate::Timestamp;
use crate::policy::{Application, Policy};

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is due.
    Wait,
    /// A run is due: make a task.
    Run,
    /// A run is due, but the former one is not done: record that it was skipped.
    Skip,
}

/// What is due for an application, and when it runs next.
///
/// However many runs were missed while the server was down, one is made up for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to do now.
    pub decision: Decision,
    /// When it is due after that; none = never by itself.
    pub next_run_at: Option<Timestamp>,
}

/// Plans an application. `former_open` says whether the last task it made is still open.
#[must_use]
pub fn plan(app: &Application, policy: &Policy, former_open: bool, now: Timestamp, zone: &TimeZone) -> Plan {
    let next = if policy.enabled { policy.schedule.next_after(now, zone) } else { None };
    match app.next_run_at {
        Some(due) if policy.enabled && due <= now => {
            let decision = if former_open { Decision::Skip } else { Decision::Run };
            Plan { decision, next_run_at: next }
        }
        // Not due yet: keep the time, unless the policy no longer runs by itself.
        Some(due) if next.is_some() => Plan { decision: Decision::Wait, next_run_at: Some(due) },
        _ => Plan { decision: Decision::Wait, next_run_at: next },
    }
}
