//! The clock that the services go by: the machine's, which people and time servers set, and machines that slept find ahead. A
//! clock that was set is like a server that was just started: what was counted from times before says nothing any more.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use domain::plan;
use domain::policy::{Application, Policy};
use domain::query::{Filter, MAX_LIMIT, Order, Page, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::resource::Resource;
use domain::task::{Assignment, Event, State, Task, TaskRef};
use domain::{Code, Moment, Result, Scope, SignedDuration, Timestamp, if_found};
use ledger::{Expect, Stored, Write};
use tokio::sync::watch;

use super::Service;

/// By so much a clock is off before it counts as set; time servers that put it right little by little stay below.
const STEP: SignedDuration = SignedDuration::from_secs(5);

/// A clock that notices when it is set.
pub(super) struct Clock {
    wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// What was read last; none = the clock is moved by hand, and however it goes, it goes right.
    last: Option<Mutex<Reading>>,
    since: watch::Sender<Since>,
}

/// Since when times can be compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since {
    /// When the server started or its clock was set, whichever was later, by the clock as it is now.
    pub(crate) at: Timestamp,
    /// Whether it was set.
    pub(crate) was_set: bool,
}

/// The machine's clock beside one that nobody sets, at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    steady: Instant,
}

impl Reading {
    /// By how much the clock was set between a reading and this one; none if it went on.
    fn set_by(&self, last: &Reading) -> Option<SignedDuration> {
        let passed = SignedDuration::try_from(self.steady.saturating_duration_since(last.steady)).ok()?;
        let by = last.wall.duration_until(self.wall).checked_sub(passed)?;
        (by.abs() >= STEP).then_some(by)
    }
}

impl Clock {
    /// The machine's.
    pub(super) fn of_the_machine() -> Clock {
        let last = Reading { wall: Timestamp::now(), steady: Instant::now() };
        let since = watch::Sender::new(Since { at: last.wall, was_set: false });
        Clock { wall: Box::new(Timestamp::now), last: Some(Mutex::new(last)), since }
    }

    /// One that is moved by hand.
    pub(super) fn by_hand(wall: impl Fn() -> Timestamp + Send + Sync + 'static) -> Clock {
        let since = watch::Sender::new(Since { at: wall(), was_set: false });
        Clock { wall: Box::new(wall), last: None, since }
    }

    pub(super) fn moment(&self) -> Moment {
        let now = match &self.last {
            None => (self.wall)(),
            Some(last) => {
                // Held until it is known whether the clock was set: nobody acts on a new time with what is known of the old.
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                let reading = Reading { wall: (self.wall)(), steady: Instant::now() };
                if let Some(by) = reading.set_by(&last) {
                    let seconds = format!("{:+.0}", by.as_secs_f64());
                    tracing::warn!(seconds, "this machine's clock was set, or it slept");
                    self.since.send_replace(Since { at: reading.wall, was_set: true });
                }
                *last = reading;
                reading.wall
            }
        };
        Moment { now, up_since: self.since.borrow().at }
    }

    pub(super) fn since(&self) -> Since {
        *self.since.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Since> {
        self.since.subscribe()
    }
}

impl Service {
    /// Tells when the clock was set.
    pub(crate) fn clock(&self) -> watch::Receiver<Since> {
        self.clock.watch()
    }

    /// Puts right what was written down by a clock that was ahead of the one that there is: once after each start and each time
    /// that the clock was set.
    ///
    /// # Errors
    /// Those of the ledger; all is looked at again the next time.
    pub async fn follow_clock(&self) -> Result<()> {
        let moment = self.moment();
        let followed = || self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if *followed() == Some(moment.up_since) {
            return Ok(());
        }
        self.count_reports_from_now(moment).await?;
        self.bring_runs_near(moment).await?;
        *followed() = Some(moment.up_since);
        Ok(())
    }

    /// Whoever reported at a time that has not come yet has a report's time from now on: else nobody would notice for as long
    /// that nothing is heard of it.
    async fn count_reports_from_now(&self, moment: Moment) -> Result<()> {
        let everything = Scope::everything();
        for task in self.held_tasks().await? {
            let ahead = task.status.phase.assignment().filter(|held| held.last_report_at > moment.now);
            let Some(Assignment { lease, .. }) = ahead else { continue };
            let event = Event::Heartbeat { lease: lease.clone() };
            match self.ledger.commit(&everything, moment, vec![Write::Task(TaskRef::Id(task.id), event)]).await {
                // It ended or was handed out anew meanwhile.
                Err(e) if matches!(e.code, Code::NotFound | Code::LeaseLost | Code::AlreadyCompleted) => {}
                Err(e) => return Err(e),
                Ok(committed) => self.deliver(&committed),
            }
        }
        Ok(())
    }

    /// Every task that somebody holds.
    async fn held_tasks(&self) -> Result<Vec<Task>> {
        let held = [State::Assigned, State::Started, State::Paused].map(|s| Pattern::Is(Value::Enum(s.ordinal())));
        let held = Filter::all().and(TaskField::State, Test::AnyOf(held.into()))?;
        let mut query = Query { order: Order::oldest(), ..Query::newest(held, MAX_LIMIT) };
        let mut tasks = Vec::new();
        loop {
            let slice = self.ledger.tasks(&Scope::everything(), &query).await?;
            tasks.extend(slice.items);
            match slice.next {
                Some(key) => query.page = Page::After { key: Some(key), limit: MAX_LIMIT },
                None => return Ok(tasks),
            }
        }
    }

    /// Plans anew what would run too late by the clock as it is ([`plan::is_astray`]).
    async fn bring_runs_near(&self, moment: Moment) -> Result<()> {
        let everything = Scope::everything();
        let ahead =
            Test::Range { from: std::ops::Bound::Excluded(Value::Time(moment.now)), to: std::ops::Bound::Unbounded };
        let ahead = Filter::all().and(RecordField::NextRunAt, ahead)?;
        for Stored { rev, value: mut app } in self.ledger.all::<Application>(&everything, ahead).await? {
            let Some(policy) = if_found(self.ledger.get::<Policy>(&everything, app.policy).await)? else { continue };
            if !plan::is_astray(&app, &policy.value, moment.now) {
                continue;
            }
            let resource = if_found(self.ledger.get::<Resource>(&everything, app.resource).await)?;
            let Some(resource) = resource else { continue };
            let planning = self.planning(&app, &policy.value, &resource.value, moment).await?;
            plan::set_back(&mut app, &policy.value, &planning.around());
            match self
                .ledger
                .commit(&everything, moment, vec![Write::Put(Box::new(app.into()), Expect::Rev(rev))])
                .await
            {
                // Whoever changed it has planned it by the clock as it is.
                Err(e) if matches!(e.code, Code::NotFound | Code::RevisionConflict) => {}
                other => drop(other?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_goes_on_was_not_set_and_one_that_leaps_was() {
        let first = Reading { wall: Timestamp::UNIX_EPOCH, steady: Instant::now() };
        let after = |steady: u64, wall: i64| {
            let wall = first.wall + SignedDuration::from_secs(wall);
            Reading { wall, steady: first.steady + Duration::from_secs(steady) }.set_by(&first).map(|by| by.as_secs())
        };
        assert_eq!([after(0, 0), after(3600, 3600), after(3600, 3596), after(1, 5)], [None; 4]);
        assert_eq!(after(10, 7210), Some(7200), "forward");
        assert_eq!(after(10, -3590), Some(-3600), "back");
        assert_eq!(after(100, 95), Some(-5));
    }
}
