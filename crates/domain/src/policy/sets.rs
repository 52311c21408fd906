//! Schedules of several sets of runs, each by the calendar or after the end of the last run; and what kind of run comes.
//! The rules are those of the contract for Yandex clients, section 14.

use std::collections::BTreeSet;

use jiff::Span;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::calendar::{Interval, Unit, Weekday, date_of, instant};
use super::is_default;
use super::timetable::{Frame, Timetable};
use crate::error::{Error, Result};
use crate::{SignedDuration, Timestamp, Uuid, named_enum};

/// The most sets of one schedule.
pub const MOST_SETS: usize = 100;
/// What to name as the zone when runs follow the clock of the machine that is backed up.
pub const AGENT_ZONE: &str = "agent";

const SHORTEST_DELAY: Interval = Interval::of(60, Unit::Seconds);

named_enum! {
    /// What kinds of runs a schedule makes.
    #[derive(Default)]
    Scheme {
        /// Each set says it for its own runs.
        #[default]
        Custom = "custom",
        /// All are full.
        AlwaysFull = "always_full",
        /// All are incremental.
        AlwaysIncremental = "always_incremental",
        /// All are incremental; the name of a vendor's scheme with one run a week.
        WeeklyIncremental = "weekly_incremental",
        /// The first run on the day on which weeks begin is full, the others are incremental.
        WeeklyFull = "weekly_full",
        /// All are incremental; the name of a vendor's scheme for small storages.
        Simple = "simple",
    }
}

named_enum! {
    /// What a set of runs is for, where the scheme leaves it to the set.
    #[derive(Default)]
    RunKind {
        /// As it is best: incremental.
        #[default]
        Auto = "auto",
        /// Everything is read.
        Full = "full",
        /// What did not change is taken from the run before.
        Incremental = "incremental",
        /// What did not change since the last full run; carried out as incremental, because every backup restores alone.
        Differential = "differential",
    }
}

/// When the runs of a set come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// This long after the end of the last run, however it ended; at once where there was none. At least a minute.
    AfterLast(Interval),
    /// By the calendar.
    Times(Timetable),
    /// Once, as soon as the policy is applied.
    AtOnce {},
    /// Again and again after this long, counted from when the policy was applied, however long runs take. At least a
    /// minute.
    Every(Interval),
}

/// The part of each day in which runs go on: what has not ended by its end is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The local time of day at which it opens.
    pub from: Time,
    /// The local time of day at which it closes; not after `from`: of the following day.
    pub to: Time,
}

/// Runs that come by one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSet {
    /// What they are for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: RunKind,
    /// When they come.
    pub when: When,
    /// Whether a run that was missed is made up for, and one that waits for its machine waits without limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub run_later: bool,
}

/// More runs after one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Again {
    /// How long after the end of the failed one.
    pub interval: Interval,
    /// How many at most.
    pub attempts: u32,
}

/// A schedule of several sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSets {
    /// The sets; what they say together happens, and what several say for one moment happens once.
    pub sets: Vec<RunSet>,
    /// Whether they run by themselves.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What kinds of runs come.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scheme: Scheme,
    /// The day on which weeks begin.
    #[serde(default, skip_serializing_if = "is_default")]
    pub week_starts_on: Weekday,
    /// Runs begin up to this long after their moment, each resource at its own time; never more than half the way to the
    /// next moment or to the end of the window.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_delay: Option<Interval>,
    /// How many runs of the policy may be under way at one time, over all resources; 0 = no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_parallel: u32,
    /// What follows when a scheduled run fails; nothing by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub again: Option<Again>,
    /// Where clocks show its times: an IANA time zone name, or `agent` for the zone that the machine is set to. As the
    /// tenant's setting says where it is absent, and UTC where that says nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub time_zone: Option<String>,
    /// When runs that were made for a moment within it have to be over; none = they may go on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub window: Option<Window>,
}

fn yes() -> bool {
    true
}

/// A moment at which a run is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The moment itself, before any delay.
    pub at: Timestamp,
    /// Whether a set that makes full runs names it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub full: bool,
    /// Whether it is made up for when it was missed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub run_later: bool,
}

/// What the moments of runs depend on beside the schedule: one resource's past.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// Where clocks show its times.
    pub zone: &'a TimeZone,
    /// When the policy was made: days are counted from here where only every so many count.
    pub since: Timestamp,
    /// When the policy was applied: runs that follow others begin here.
    pub applied: Timestamp,
    /// When the last run ended, if there was one.
    pub ended: Option<Timestamp>,
    /// Whether a run is under way or waits: what follows its end cannot be known yet.
    pub open: bool,
}

impl RunSets {
    /// A schedule of these sets, of which nothing else is said.
    #[must_use]
    pub fn of(sets: Vec<RunSet>) -> RunSets {
        RunSets {
            sets,
            enabled: true,
            scheme: Scheme::Custom,
            week_starts_on: Weekday::Monday,
            max_delay: None,
            max_parallel: 0,
            again: None,
            time_zone: None,
            window: None,
        }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// `invalid_field`. That a zone exists is checked where zones are looked up.
    pub fn validate(&self) -> Result<()> {
        if self.sets.is_empty() || self.sets.len() > MOST_SETS {
            return Err(Error::invalid("schedule.sets", format!("a schedule has from 1 to {MOST_SETS} sets")));
        }
        for (i, set) in self.sets.iter().enumerate() {
            let field = format!("schedule.sets[{i}].when");
            match &set.when {
                When::AfterLast(delay) => delay.check(&format!("{field}.after_last"))?,
                When::Times(times) => times.validate(&format!("{field}.times"))?,
                When::AtOnce {} => {}
                When::Every(step) => step.check(&format!("{field}.every"))?,
            }
        }
        if let Some(delay) = self.max_delay {
            delay.check("schedule.max_delay")?;
        }
        self.again.map_or(Ok(()), |again| again.interval.check("schedule.again.interval"))
    }

    fn frame<'a>(&self, past: &Past<'a>) -> Frame<'a> {
        Frame { zone: past.zone, week: self.week_starts_on, since: past.since }
    }

    /// The first moment after `after`; that of a set that follows the last run may also lie before it, and is due then.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, past: &Past<'_>) -> Option<Due> {
        let frame = self.frame(past);
        let due = self.sets.iter().filter_map(|set| {
            let (at, run_later) = match &set.when {
                When::Times(times) => (times.next_after(after, frame)?, set.run_later),
                When::AfterLast(delay) => (follows(*delay, past)?, true),
                When::AtOnce {} => (first(past)?, true),
                When::Every(step) => (steps_on(*step, after, past)?, true),
            };
            Some(Due { at, full: set.kind == RunKind::Full, run_later })
        });
        joined(due)
    }

    /// The last moment after `after` and not after `until`.
    #[must_use]
    pub fn last_within(&self, after: Timestamp, until: Timestamp, past: &Past<'_>) -> Option<Due> {
        let frame = self.frame(past);
        let found = |set: &RunSet| match &set.when {
            When::Times(times) => times.last_within(after, until, frame),
            When::AfterLast(delay) => follows(*delay, past).filter(|at| *at > after && *at <= until),
            When::AtOnce {} => first(past).filter(|at| *at > after && *at <= until),
            When::Every(step) => last_step(*step, until, past).filter(|at| *at > after),
        };
        let last = self.sets.iter().filter_map(found).max()?;
        let at_last = self.sets.iter().filter(|set| found(set) == Some(last));
        joined(at_last.map(|set| Due {
            at: last,
            full: set.kind == RunKind::Full,
            run_later: set.run_later || !matches!(set.when, When::Times(_)),
        }))
    }

    /// The moments from one to another, both included, in their order; where there are more than `most`, the first of them and
    /// the last.
    #[must_use]
    pub fn moments(&self, from: Timestamp, to: Timestamp, past: &Past<'_>, most: usize) -> Vec<Timestamp> {
        let frame = self.frame(past);
        let before = from.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(Timestamp::MIN);
        let mut found = BTreeSet::from([from]);
        for set in &self.sets {
            match &set.when {
                When::Times(times) => found.extend(times.within(before, to, frame).take(most)),
                When::AfterLast(delay) => found.extend(follows(*delay, past).filter(|at| *at > before && *at <= to)),
                When::AtOnce {} => found.extend(first(past).filter(|at| *at > before && *at <= to)),
                When::Every(step) => {
                    let steps = (steps_before(*step, before, past).max(1)..).map_while(|n| self::step(*step, n, past));
                    found.extend(steps.skip_while(|at| *at <= before).take_while(|at| *at <= to).take(most));
                }
            }
        }
        found.remove(&to);
        found.into_iter().take(most.saturating_sub(1)).chain([to]).collect()
    }

    /// When a run has to be over that is made for a moment in the window of runs; none where nothing stops it. What comes at
    /// once with the policy is not held to the window, wherever its moment lies.
    #[must_use]
    pub fn until(&self, moment: Timestamp, past: &Past<'_>) -> Option<Timestamp> {
        let Window { from, to } = self.window.filter(|_| moment != past.applied)?;
        let next = |day: Date, days: i32| day.checked_add(Span::new().days(days)).ok();
        let today = date_of(moment, past.zone);
        // The window that opened yesterday may still be open.
        [next(today, -1)?, today].into_iter().find_map(|day| {
            let opens = instant(day.to_datetime(from), past.zone)?;
            let closing = if to > from { day } else { next(day, 1)? };
            let closes = instant(closing.to_datetime(to), past.zone)?;
            (opens <= moment && moment < closes).then_some(closes)
        })
    }

    /// When the run of a moment begins: after a delay that is the same whenever it is asked for, and different for each
    /// application of the policy (contract for Yandex clients, Y99).
    #[must_use]
    pub fn start(&self, due: Due, application: Uuid, past: &Past<'_>) -> Timestamp {
        let most = self.longest_delay(due, past).as_secs().unsigned_abs();
        let share = u128::from(scatter(application, due.at)) * (u128::from(most) + 1);
        let seconds = i64::try_from(share >> 64).unwrap_or(0);
        due.at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(due.at)
    }

    /// How long after its moment a run begins at the latest.
    #[must_use]
    pub fn longest_delay(&self, due: Due, past: &Past<'_>) -> SignedDuration {
        let Some(most) = self.max_delay else { return SignedDuration::ZERO };
        // What began after its window would never run, and what begins at its end would be stopped at once.
        let left = self.until(due.at, past).map_or(SignedDuration::MAX, |closes| closes.duration_since(due.at));
        most.length().min(self.gap(due, past).min(left) / 2)
    }

    /// How long after a moment the next one is.
    fn gap(&self, due: Due, past: &Past<'_>) -> SignedDuration {
        let frame = self.frame(past);
        let gaps = self.sets.iter().filter_map(|set| match &set.when {
            When::Times(times) => Some(times.next_after(due.at, frame)?.duration_since(due.at)),
            When::AfterLast(step) | When::Every(step) => Some(step.length().max(SHORTEST_DELAY.length())),
            When::AtOnce {} => None,
        });
        gaps.min().unwrap_or(SignedDuration::MAX)
    }

    /// Whether a run reads everything: one that is due at this moment, or one that somebody asks for now. `last` is the
    /// moment of the run before.
    #[must_use]
    pub fn is_full(&self, full_set: bool, at: Timestamp, last: Option<Timestamp>, zone: &TimeZone) -> bool {
        match self.scheme {
            Scheme::AlwaysFull => true,
            Scheme::AlwaysIncremental | Scheme::WeeklyIncremental | Scheme::Simple => false,
            Scheme::WeeklyFull => {
                let day = date_of(at, zone);
                Weekday::of(day) == self.week_starts_on && last.is_none_or(|last| date_of(last, zone) != day)
            }
            Scheme::Custom => full_set,
        }
    }

    /// Whether a run that somebody asks for counts as one of a set that makes full runs: what the first set says.
    #[must_use]
    pub fn asked_full(&self) -> bool {
        self.sets.first().is_some_and(|set| set.kind == RunKind::Full)
    }
}

/// The moment of a set that follows the last run.
fn follows(delay: Interval, past: &Past<'_>) -> Option<Timestamp> {
    let delay = if delay.length() < SHORTEST_DELAY.length() { SHORTEST_DELAY } else { delay };
    match past.ended {
        _ if past.open => None,
        Some(ended) => delay.after(ended, past.zone),
        None => Some(past.applied),
    }
}

/// The moment of a set that runs once: none after the first run of all.
fn first(past: &Past<'_>) -> Option<Timestamp> {
    (past.ended.is_none() && !past.open).then_some(past.applied)
}

/// So many steps after the policy was applied.
fn step(step: Interval, count: u64, past: &Past<'_>) -> Option<Timestamp> {
    let step = if step.length() < SHORTEST_DELAY.length() { SHORTEST_DELAY } else { step };
    Interval { count: step.count.checked_mul(count)?, unit: step.unit }.after(past.applied, past.zone)
}

/// How many steps certainly fit between when the policy was applied and a time.
fn steps_before(every: Interval, time: Timestamp, past: &Past<'_>) -> u64 {
    // A month is at most 31 days long, and calendars shift by less than a day.
    let longest = if every.unit == Unit::Months { SignedDuration::from_hours(31 * 24) } else { SignedDuration::ZERO };
    let length =
        every.length().max(SHORTEST_DELAY.length()).max(longest.saturating_mul(every.count.try_into().unwrap_or(1)));
    let since = time.duration_since(past.applied).as_secs();
    u64::try_from(since / length.as_secs().max(1)).unwrap_or(0).saturating_sub(1)
}

/// The first step after a time.
fn steps_on(every: Interval, after: Timestamp, past: &Past<'_>) -> Option<Timestamp> {
    let from = steps_before(every, after, past).max(1);
    (from..).map_while(|n| step(every, n, past)).find(|at| *at > after)
}

/// The last step not after a time.
fn last_step(every: Interval, until: Timestamp, past: &Past<'_>) -> Option<Timestamp> {
    let from = steps_before(every, until, past).max(1);
    (from..).map_while(|n| step(every, n, past)).take_while(|at| *at <= until).last()
}

/// The first of several; equal ones are one, full before incremental.
fn joined(due: impl Iterator<Item = Due>) -> Option<Due> {
    due.reduce(|a, b| match a.at.cmp(&b.at) {
        std::cmp::Ordering::Less => a,
        std::cmp::Ordering::Greater => b,
        std::cmp::Ordering::Equal => Due { at: a.at, full: a.full || b.full, run_later: a.run_later || b.run_later },
    })
}

/// A number that follows from an application and a moment and from nothing else: FNV-1a, finished as in `splitmix64`, so
/// that near moments give numbers far from each other.
fn scatter(application: Uuid, at: Timestamp) -> u64 {
    let nanos = at.as_nanosecond().to_be_bytes();
    let bytes = application.as_bytes().iter().chain(&nanos);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
