//! Timetables: on which days and at which local times something happens. The rules are those of the contract for Yandex
//! clients, Y95; combinations that look odd have a meaning too.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span};
use serde::{Deserialize, Serialize};

use super::calendar::{Interval, Weekday, date_of, instant};
use super::is_default;
use crate::error::{Error, Result};
use crate::{Timestamp, named_enum};

/// The shortest step between two times of a day.
pub const SHORTEST_STEP: SignedDuration = SignedDuration::from_secs(60);
/// The most entries that any list of a timetable has.
pub const MOST_ENTRIES: usize = 1440;

const DAY: SignedDuration = SignedDuration::from_hours(24);
/// How far ahead a day is looked for: February 29th is up to eight years away.
const HORIZON: i32 = 9 * 366;
/// The same when only every so many days count.
const FAR_HORIZON: i32 = 100 * 366;

named_enum! {
    /// How often something comes around; also how recovery points are classed.
    Period {
        /// Every hour.
        Hourly = "hourly",
        /// Every day.
        Daily = "daily",
        /// Every week.
        Weekly = "weekly",
        /// Every month.
        Monthly = "monthly",
    }
}

/// Local times on days of the calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timetable {
    /// What the days are taken from: all of them (`hourly`, `daily`), those of a week, or those of a month.
    pub every: Period,
    /// Hourly, daily and weekly: only these days. Empty = all, and weekly the day on which weeks begin.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weekdays: Vec<Weekday>,
    /// Exactly at these times of a day; hourly, at their minutes in every hour.
    #[serde(default, skip_serializing_if = "is_default")]
    pub at: Vec<Time>,
    /// Again and again after this long; 24 hours and more: only every so many of the days.
    #[serde(default, skip_serializing_if = "is_default")]
    pub step: Option<Interval>,
    /// Where the times of a day begin; midnight by default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: Option<Time>,
    /// The last time of a day that counts; the day's end by default. Before `from`: it is of the following day.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to: Option<Time>,
    /// Monthly: on these days, from 1 to 31; a day that a month lacks is left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub monthdays: Vec<i8>,
    /// Monthly: on the last day too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_day: bool,
    /// Monthly: only in these months, from 1 to 12. Empty = all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub months: Vec<i8>,
}

/// What the times of a timetable depend on beside itself.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Where clocks show its times.
    pub zone: &'a TimeZone,
    /// The day on which weeks begin.
    pub week: Weekday,
    /// From when days are counted where only every so many count.
    pub since: Timestamp,
}

impl Timetable {
    /// A timetable of which nothing is said but what its days are taken from.
    #[must_use]
    pub fn every(period: Period) -> Timetable {
        Timetable {
            every: period,
            weekdays: Vec::new(),
            at: Vec::new(),
            step: None,
            from: None,
            to: None,
            monthdays: Vec::new(),
            last_day: false,
            months: Vec::new(),
        }
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// `invalid_field`, naming the field below `field`.
    pub fn validate(&self, field: &str) -> Result<()> {
        let name = |member: &str| format!("{field}.{member}");
        let within = |member: &str, values: &[i8], last: i8| match values.iter().all(|v| (1..=last).contains(v)) {
            true => Ok(()),
            false => Err(Error::invalid(name(member), format!("the numbers must be from 1 to {last}"))),
        };
        within("monthdays", &self.monthdays, 31)?;
        within("months", &self.months, 12)?;
        let lists = [self.weekdays.len(), self.at.len(), self.monthdays.len(), self.months.len()];
        if lists.iter().any(|n| *n > MOST_ENTRIES) {
            return Err(Error::invalid(field, format!("a list has more than {MOST_ENTRIES} entries")));
        }
        self.step.map_or(Ok(()), |step| step.check(&name("step")))
    }

    /// The first time after `after`; none when there is none for many years.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, frame: Frame<'_>) -> Option<Timestamp> {
        // What begins on one day may reach into the next.
        let start = offset(date_of(after, frame.zone), -1)?;
        let mut counted = self.counted_before(start, frame);
        let horizon = if self.nth().is_some() { FAR_HORIZON } else { HORIZON };
        for days in 0..=horizon {
            let day = offset(start, days)?;
            if self.takes(day, frame, &mut counted)
                && let Some(found) = self.times(day, frame.zone).into_iter().find(|t| *t > after)
            {
                return Some(found);
            }
        }
        None
    }

    /// The last time after `after` and not after `until`.
    #[must_use]
    pub fn last_within(&self, after: Timestamp, until: Timestamp, frame: Frame<'_>) -> Option<Timestamp> {
        let first = offset(date_of(after, frame.zone), -1)?;
        let last = date_of(until, frame.zone);
        let mut counted = self.counted_before(first, frame);
        let mut days = Vec::new();
        let mut day = first;
        while day <= last {
            if self.takes(day, frame, &mut counted) {
                days.push(day);
            }
            day = offset(day, 1)?;
        }
        let times = |day: &Date| self.times(*day, frame.zone).into_iter().rev().find(|t| *t <= until);
        days.iter().rev().find_map(times).filter(|t| *t > after)
    }

    /// The times after `after` and not after `until`, day by day.
    pub fn within<'a>(
        &'a self,
        after: Timestamp,
        until: Timestamp,
        frame: Frame<'a>,
    ) -> impl Iterator<Item = Timestamp> + 'a {
        let start = offset(date_of(after, frame.zone), -1);
        let last = date_of(until, frame.zone);
        let mut counted = start.map_or(0, |start| self.counted_before(start, frame));
        let days = std::iter::successors(start, |day| offset(*day, 1)).take_while(move |day| *day <= last);
        let days = days.filter(move |day| self.takes(*day, frame, &mut counted));
        let times = days.flat_map(move |day| self.times(day, frame.zone));
        times.filter(move |t| *t > after && *t <= until)
    }

    /// Whether a time is one of its times.
    #[must_use]
    pub fn holds(&self, time: Timestamp, frame: Frame<'_>) -> bool {
        let before = time.checked_sub(SignedDuration::from_nanos(1)).ok();
        before.and_then(|before| self.next_after(before, frame)) == Some(time)
    }

    /// Of how many eligible days one counts, if not every one.
    fn nth(&self) -> Option<i64> {
        let exact = self.every != Period::Hourly && !self.at.is_empty();
        self.step.filter(|step| !exact && step.length() >= DAY).map(Interval::whole_days)
    }

    /// How many eligible days there are from the first that counts up to this one, without it.
    fn counted_before(&self, day: Date, frame: Frame<'_>) -> i64 {
        if self.nth().is_none() {
            return 0;
        }
        let mut counted = 0;
        let mut at = date_of(frame.since, frame.zone);
        while at < day {
            counted += i64::from(self.eligible(at, frame.week));
            let Some(next) = offset(at, 1) else { break };
            at = next;
        }
        counted
    }

    /// Whether anything happens on this day. Days are to be asked in their order, because eligible ones are counted.
    fn takes(&self, day: Date, frame: Frame<'_>, counted: &mut i64) -> bool {
        if !self.eligible(day, frame.week) {
            return false;
        }
        let Some(n) = self.nth() else { return true };
        if day < date_of(frame.since, frame.zone) {
            return false;
        }
        *counted += 1;
        (*counted - 1) % n == 0
    }

    fn eligible(&self, day: Date, week: Weekday) -> bool {
        let weekday = Weekday::of(day);
        match self.every {
            Period::Hourly | Period::Daily => self.weekdays.is_empty() || self.weekdays.contains(&weekday),
            Period::Weekly if self.weekdays.is_empty() => weekday == week,
            Period::Weekly => self.weekdays.contains(&weekday),
            Period::Monthly => {
                let named = match (self.monthdays.as_slice(), self.last_day) {
                    ([], false) => day.day() == 1,
                    (days, _) => days.contains(&day.day()),
                };
                let last = self.last_day && day == day.last_of_month();
                (named || last) && (self.months.is_empty() || self.months.contains(&day.month()))
            }
        }
    }

    /// The times that belong to a day, in order, each once.
    fn times(&self, day: Date, zone: &TimeZone) -> Vec<Timestamp> {
        let times: BTreeSet<_> = self.local_times(day).into_iter().filter_map(|t| instant(t, zone)).collect();
        times.into_iter().collect()
    }

    /// The same as clocks show them, in any order.
    fn local_times(&self, day: Date) -> Vec<DateTime> {
        if self.every != Period::Hourly && !self.at.is_empty() {
            return self.at.iter().map(|at| day.to_datetime(*at)).collect();
        }
        let from = day.to_datetime(self.from.unwrap_or(Time::midnight()));
        match self.step.map(Interval::length) {
            Some(step) if step >= DAY => vec![from],
            Some(step) => self.steps(from, step.max(SHORTEST_STEP)),
            None if self.every == Period::Hourly && !self.at.is_empty() => {
                let hours = self.steps(from.date().at(from.hour(), 0, 0, 0), SignedDuration::from_hours(1));
                let at = |hour: &DateTime| {
                    let at = self.at.iter().map(|t| hour.date().at(hour.hour(), t.minute(), t.second(), 0));
                    at.collect::<Vec<_>>()
                };
                let within = |t: &DateTime| *t >= from && self.reaches(day, *t);
                hours.iter().flat_map(at).filter(within).collect()
            }
            None if self.every == Period::Hourly => self.steps(from, SignedDuration::from_hours(1)),
            None => vec![from],
        }
    }

    /// From here on in steps, as far as the window of the day goes.
    fn steps(&self, from: DateTime, step: SignedDuration) -> Vec<DateTime> {
        let day = from.date();
        let next = |t: &DateTime| t.checked_add(step).ok();
        std::iter::successors(Some(from), next).take_while(|t| self.reaches(day, *t)).collect()
    }

    /// Whether the window that begins on this day has not ended before a local time.
    fn reaches(&self, day: Date, time: DateTime) -> bool {
        match (self.from.unwrap_or(Time::midnight()), self.to) {
            (from, Some(to)) if to < from => offset(day, 1).is_some_and(|next| time <= next.to_datetime(to)),
            (_, Some(to)) => time <= day.to_datetime(to),
            (_, None) => time.date() == day,
        }
    }
}

fn offset(day: Date, days: i32) -> Option<Date> {
    day.checked_add(Span::new().days(days)).ok()
}
