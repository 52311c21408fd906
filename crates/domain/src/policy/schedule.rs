//! When a policy runs. Pure: the time zone is an argument, because looking one up reads files.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan, Zoned};
use serde::{Deserialize, Serialize};

use super::calendar::Weekday;
use super::sets::{AGENT_ZONE, RunSets, When};
use crate::Timestamp;
use crate::error::{Error, Result};

/// The shortest interval that is accepted.
pub const MIN_INTERVAL: SignedDuration = SignedDuration::from_secs(60);
/// The longest interval that is accepted: ten years.
pub const MAX_INTERVAL: SignedDuration = SignedDuration::from_hours(24 * 3660);

/// When a policy runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Once a day at this time in this zone.
    Daily {
        /// Local time of day, `HH:MM` or `HH:MM:SS`.
        at: Time,
        /// IANA time zone name.
        time_zone: String,
    },
    /// Again and again, this long after the former run was due.
    Interval {
        /// The time between two runs.
        #[serde(serialize_with = "crate::friendly_duration")]
        every: SignedDuration,
    },
    /// Only when somebody asks.
    Manual {},
    /// As several sets say together.
    Sets(RunSets),
}

/// Where clocks show the times of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone<'a> {
    /// In the zone of this name.
    Named(&'a str),
    /// Where the machine is that is backed up.
    Agent,
    /// As the tenant's setting says.
    Tenant,
}

impl Schedule {
    /// Checks what the type cannot.
    ///
    /// # Errors
    /// `invalid_field` for an interval outside the limits. That a zone exists is checked where zones are looked up.
    pub fn validate(&self) -> Result<()> {
        match self {
            Schedule::Interval { every } if *every < MIN_INTERVAL || *every > MAX_INTERVAL => {
                Err(Error::invalid("schedule.every", "the interval must be from 1 minute to 10 years")
                    .hint("for example: 6h, 30m"))
            }
            Schedule::Sets(sets) => sets.validate(),
            _ => Ok(()),
        }
    }

    /// The time zone that must be looked up before anything is planned.
    #[must_use]
    pub fn zone(&self) -> Zone<'_> {
        match self {
            Schedule::Daily { time_zone, .. } => Zone::Named(time_zone),
            Schedule::Interval { .. } | Schedule::Manual {} => Zone::Named("UTC"),
            Schedule::Sets(sets) => match sets.time_zone.as_deref() {
                None => Zone::Tenant,
                Some(AGENT_ZONE) => Zone::Agent,
                Some(name) => Zone::Named(name),
            },
        }
    }

    /// The day on which weeks begin.
    #[must_use]
    pub fn week_starts_on(&self) -> Weekday {
        match self {
            Schedule::Sets(sets) => sets.week_starts_on,
            _ => Weekday::Monday,
        }
    }

    /// How many runs may be under way at one time, over all resources; 0 = no limit.
    #[must_use]
    pub fn max_parallel(&self) -> u32 {
        match self {
            Schedule::Sets(sets) => sets.max_parallel,
            _ => 0,
        }
    }

    /// Whether it makes runs again and again by itself.
    #[must_use]
    pub fn recurs(&self) -> bool {
        match self {
            Schedule::Manual {} => false,
            Schedule::Daily { .. } | Schedule::Interval { .. } => true,
            Schedule::Sets(sets) => sets.enabled && sets.sets.iter().any(|set| !matches!(set.when, When::AtOnce {})),
        }
    }

    /// The first time after `after` at which it runs; none when it never runs by itself. What several sets say depends on
    /// more than the clock, and is planned in `plan.rs`.
    ///
    /// A local time that daylight saving leaves out is taken as far after the gap as it lay behind its start, and a
    /// local time that occurs twice runs at its first occurrence: exactly one run a day.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Schedule::Manual {} | Schedule::Sets(_) => None,
            Schedule::Interval { every } => after.checked_add(*every).ok(),
            Schedule::Daily { at, .. } => {
                let today = Zoned::new(after, zone.clone()).date();
                // Two days are enough: the run of today or of tomorrow is later than now.
                (0..=2)
                    .filter_map(|days| today.checked_add(days.days()).ok())
                    .filter_map(|date| zone.to_ambiguous_timestamp(date.to_datetime(*at)).compatible().ok())
                    .find(|t| *t > after)
            }
        }
    }
}
