//! The scheduler: reconcilers that look at the ledger and put right what must be. They take no input, so the way after a
//! crash is the way of every day; a nudge only makes them look sooner.

pub mod notify;

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::query::{Filter, Query, TaskField, Test, Value};
use domain::task::{Event, TaskRef};
use domain::{Code, Result, Scope, SignedDuration, Timestamp};
use ledger::Write;
use tokio_util::sync::CancellationToken;

use crate::service::Service;
use crate::telemetry::Telemetry;

/// How often it looks when nobody nudges. Timers must fire within a second (contract for Acronis clients, D60).
const TURN: Duration = Duration::from_millis(500);
/// How many turns lie between two looks for history that is too old.
const TURNS_PER_CLEANING: u32 = 1200;

/// How many turns lie between two looks for what waits at the gate and may have become free by a change of a policy.
const TURNS_PER_WAKING: u32 = 20;
/// How many turns lie between two looks for ends of runs that nobody heard of.
const TURNS_PER_LOOK: u32 = 600;

/// How long history stays.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// Completed tasks are hidden after this long (contract for Acronis clients, D66: 90 days).
    pub shown: SignedDuration,
    /// Hidden tasks are removed after this long.
    pub kept: SignedDuration,
}

impl Default for History {
    fn default() -> Self {
        History { shown: SignedDuration::from_hours(90 * 24), kept: SignedDuration::from_hours(30 * 24) }
    }
}

/// Runs until the token is cancelled. An error is logged, and the next turn tries again.
pub async fn run(service: Arc<Service>, history: History, shutdown: CancellationToken) {
    for number in 0u32.. {
        turn(&service, history, number).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = service.nudged() => {}
            () = tokio::time::sleep(TURN) => {}
        }
    }
}

/// One look at everything that is looked at in the turn of this number; in the first at all there is.
pub async fn turn(service: &Service, history: History, number: u32) {
    let (telemetry, began) = (service.telemetry(), Instant::now());
    let log = |what, result| log(telemetry, what, result);
    log("follow the clock", service.follow_clock().await);
    log("expire timers", service.settle_due().await);
    log("note the ends of runs", service.note_ends().await);
    log("close backup windows", service.close_windows().await);
    log("run due policies", service.run_due_policies().await);
    if number.is_multiple_of(TURNS_PER_WAKING) {
        log("wake agents for what waits at the gate", service.wake_for_the_gate().await);
        log("remove files that were fetched or expired", service.clean_downloads().await);
    }
    if number.is_multiple_of(TURNS_PER_LOOK) {
        log("look for ends of runs", service.look_for_ends().await);
        log("look for ends of deletions", service.look_for_deletions().await);
        log("give back space", service.prune_due().await);
    }
    if number.is_multiple_of(TURNS_PER_CLEANING) {
        log("remove backups whose own time is over", service.expire_backups().await);
        log("clean up history", service.clean_history(history).await);
        log("forget revoked tokens that have expired", service.forget_revocations().await);
    }
    telemetry.turned(began.elapsed(), service.moment().now);
}

fn log(telemetry: &Telemetry, what: &'static str, result: Result<()>) {
    if let Err(error) = result {
        telemetry.step_failed(what);
        tracing::error!(error = %error, code = error.code.name(), "could not {what}");
    }
}

impl Service {
    /// Fires every timer that has run out: lost leases, queue, execution and life time.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn settle_due(&self) -> Result<()> {
        let everything = Scope::everything();
        for id in self.ledger().due(&everything, self.moment().now).await? {
            match self.ledger().commit(&everything, self.moment(), vec![Write::Settle(id)]).await {
                Ok(committed) => self.deliver(&committed),
                // Purged between the look and the write.
                Err(e) if e.code == Code::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Hides tasks that ended long ago, and removes those that were hidden long ago.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn clean_history(&self, history: History) -> Result<()> {
        let everything = Scope::everything();
        let moment = self.moment();
        let before = |age: SignedDuration| moment.now.checked_sub(age).unwrap_or(Timestamp::MIN);
        let ended = Test::Range {
            from: std::ops::Bound::Unbounded,
            to: std::ops::Bound::Excluded(Value::Time(before(history.shown))),
        };
        let old = Filter::all().and(TaskField::CompletedAt, ended)?.and(TaskField::DeletedAt, Test::Absent)?;
        let query = Query::newest(old, domain::query::MAX_LIMIT);
        loop {
            // Each round hides what it found, so the first page is always the next one.
            let tasks = self.ledger().tasks(&everything, &query).await?.items;
            if tasks.is_empty() {
                break;
            }
            let writes = tasks.iter().map(|t| Write::Task(TaskRef::Id(t.id), Event::Delete)).collect();
            self.ledger().commit(&everything, moment, writes).await?;
        }
        self.ledger().commit(&everything, moment, vec![Write::Purge(before(history.kept))]).await?;
        self.clean_operations(before(domain::operation::KEPT_FOR)).await
    }
}
