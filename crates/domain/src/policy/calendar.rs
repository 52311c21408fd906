//! Calendars: spans of time as people give them, days of the week, and local times in zones whose clocks change. Pure: the
//! zone is an argument, because looking one up reads files.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Span, Zoned};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::{Timestamp, named_enum};

/// The longest interval that is accepted: 9999 days (contract for Yandex clients, Y7).
pub const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 9999);

const DAY: i64 = 24 * 60 * 60;

named_enum! {
    /// What an interval is counted in. All but months have a fixed length.
    Unit {
        /// Seconds.
        Seconds = "seconds",
        /// 60 seconds.
        Minutes = "minutes",
        /// 60 minutes.
        Hours = "hours",
        /// 24 hours.
        Days = "days",
        /// 7 days.
        Weeks = "weeks",
        /// From a day of a month to the same day of another.
        Months = "months",
    }
}

/// A span of time as people give it. The unit is kept, because a month is not 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// How many.
    pub count: u64,
    /// Of what.
    pub unit: Unit,
}

impl Interval {
    /// So many of a unit.
    #[must_use]
    pub const fn of(count: u64, unit: Unit) -> Interval {
        Interval { count, unit }
    }

    /// Its length, a month counted as 30 days; the longest there is where it is longer.
    #[must_use]
    pub fn length(self) -> SignedDuration {
        let unit = match self.unit {
            Unit::Seconds => 1,
            Unit::Minutes => 60,
            Unit::Hours => 60 * 60,
            Unit::Days => DAY,
            Unit::Weeks => 7 * DAY,
            Unit::Months => 30 * DAY,
        };
        let count = i64::try_from(self.count).unwrap_or(i64::MAX);
        SignedDuration::from_secs(count.saturating_mul(unit))
    }

    /// How many whole days it holds, a month counted as 30 days.
    #[must_use]
    pub fn whole_days(self) -> i64 {
        self.length().as_secs() / DAY
    }

    /// This long after a time, months by the calendar; none beyond the end of time.
    #[must_use]
    pub fn after(self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self.months() {
            Some(months) => Some(Zoned::new(time, zone.clone()).checked_add(months?).ok()?.timestamp()),
            None => time.checked_add(self.length()).ok(),
        }
    }

    /// This long before a time, months by the calendar; none before the beginning of time.
    #[must_use]
    pub fn before(self, time: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self.months() {
            Some(months) => Some(Zoned::new(time, zone.clone()).checked_sub(months?).ok()?.timestamp()),
            None => time.checked_sub(self.length()).ok(),
        }
    }

    /// The months, if it is counted in them; inside, none when they are too many for any calendar.
    fn months(self) -> Option<Option<Span>> {
        let count = || i64::try_from(self.count).ok().and_then(|n| Span::new().try_months(n).ok());
        (self.unit == Unit::Months).then(count)
    }

    /// Checks that it is longer than nothing and not longer than [`LONGEST`].
    ///
    /// # Errors
    /// `invalid_field` on this field.
    pub fn check(self, field: &str) -> Result<()> {
        if self.count == 0 || self.length() > LONGEST {
            return Err(Error::invalid(field, "an interval must be longer than nothing and at most 9999 days long")
                .hint("for example: {\"count\": 30, \"unit\": \"minutes\"}"));
        }
        Ok(())
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = self.unit.name();
        match self.count {
            1 => write!(f, "1 {}", unit.trim_end_matches('s')),
            n => write!(f, "{n} {unit}"),
        }
    }
}

named_enum! {
    /// A day of the week.
    #[derive(Default)]
    Weekday {
        /// Monday.
        #[default]
        Monday = "monday",
        /// Tuesday.
        Tuesday = "tuesday",
        /// Wednesday.
        Wednesday = "wednesday",
        /// Thursday.
        Thursday = "thursday",
        /// Friday.
        Friday = "friday",
        /// Saturday.
        Saturday = "saturday",
        /// Sunday.
        Sunday = "sunday",
    }
}

impl Weekday {
    /// Which day of the week a date is.
    #[must_use]
    pub fn of(date: Date) -> Weekday {
        Weekday::ALL[date.weekday().to_monday_zero_offset() as usize]
    }

    /// The first day of the week that a date lies in, when weeks begin on this day.
    #[must_use]
    pub fn week_of(self, date: Date) -> Date {
        let since = (Weekday::of(date).ordinal() - self.ordinal()).rem_euclid(7);
        date.checked_sub(Span::new().days(since)).unwrap_or(Date::MIN)
    }
}

/// The date of a time in a zone.
#[must_use]
pub fn date_of(time: Timestamp, zone: &TimeZone) -> Date {
    zone.to_datetime(time).date()
}

/// The time at which a zone's clocks show this: the first time where they show it twice, and the end of the gap where they
/// leave it out (contract for Yandex clients, Y94). None beyond the end of time.
#[must_use]
pub fn instant(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    if let AmbiguousOffset::Gap { after, .. } = ambiguous.offset() {
        // The gap ends where the new offset begins to count.
        let before = ambiguous.earlier().ok()?;
        let end = zone.following(before).find(|t| t.offset() == after).map(|t| t.timestamp());
        return end.or_else(|| ambiguous.later().ok());
    }
    ambiguous.compatible().ok()
}
