//! Retention: which recovery points of an archive stay, and why. The rules are those of the contract for Yandex clients,
//! section 15: a point goes only when every rule that governs it lets it go.

use std::cmp::Reverse;
use std::collections::HashSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::calendar::{Interval, Unit, Weekday, date_of};
use super::is_default;
use super::timetable::Period;
use crate::error::{Error, Result};
use crate::{Timestamp, Uuid};

/// The most rules of one policy.
pub const MOST_RULES: usize = 100;

/// What a rule lets stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// What is not older than this.
    MaxAge(Interval),
    /// So many of the newest.
    MaxCount(u64),
}

/// A rule, and what it governs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What stays.
    pub keep: Keep,
    /// Only recovery points of these classes; empty = all. The first of a calendar month is monthly, else the first of a
    /// week weekly, else the first of a day daily, else it is hourly.
    #[serde(default, skip_serializing_if = "is_default")]
    pub periods: Vec<Period>,
    /// Only the first recovery point of each such span: of so many hours, days, weeks or months of the calendar. None = all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_of: Option<Interval>,
}

/// Which recovery points of each archive stay.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// The rules; without any, everything stays.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Whether they act before a backup is made; else after it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub before_backup: bool,
}

/// A recovery point to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub id: Uuid,
    /// When its data was read.
    pub created_at: Timestamp,
}

/// Where and when recovery points are judged.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Where months, weeks and days begin.
    pub zone: &'a TimeZone,
    /// The day on which weeks begin.
    pub week: Weekday,
    /// Now.
    pub now: Timestamp,
}

/// What becomes of a recovery point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub id: Uuid,
    /// Why it stays, in words; empty when it goes.
    pub because: Vec<String>,
    /// What lets it go, in words: each rule that governs it and does not keep it. It stays all the same while there is any
    /// reason for it.
    pub against: Vec<String>,
}

impl Verdict {
    /// Whether it stays.
    #[must_use]
    pub fn stays(&self) -> bool {
        !self.because.is_empty()
    }
}

impl Retention {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// `invalid_field`, naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.rules.len() > MOST_RULES {
            return Err(Error::invalid("retention.rules", format!("there are more than {MOST_RULES} rules")));
        }
        for (i, rule) in self.rules.iter().enumerate() {
            let field = |member: &str| format!("retention.rules[{i}].{member}");
            if rule.periods.len() > Period::ALL.len() {
                return Err(Error::invalid(field("periods"), "a period is named more than once"));
            }
            rule.first_of.map_or(Ok(()), |span| span.check(&field("first_of")))?;
            match rule.keep {
                Keep::MaxAge(age) => age.check(&field("keep.max_age"))?,
                Keep::MaxCount(0) => {
                    let message = "at least one recovery point must stay";
                    return Err(Error::invalid(field("keep.max_count"), message));
                }
                Keep::MaxCount(_) => {}
            }
        }
        Ok(())
    }

    /// When a recovery point goes, where the rules fix a time: each of them is about the age of all points. The newest
    /// point stays all the same, until there is a newer one.
    #[must_use]
    pub fn end_of(&self, created_at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let ends = self.rules.iter().map(|rule| match rule.keep {
            Keep::MaxAge(age) if rule.periods.is_empty() && rule.first_of.is_none() => age.after(created_at, zone),
            _ => None,
        });
        // One that fixes no time leaves it open.
        ends.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Judges the recovery points of one archive; the verdicts are in the order of what was given. The newest always
    /// stays.
    #[must_use]
    pub fn judge(&self, points: &[Candidate], frame: Frame<'_>) -> Vec<Verdict> {
        let classes = classes(points, frame);
        let mut reasons: Vec<Vec<String>> = vec![Vec::new(); points.len()];
        let mut against: Vec<Vec<String>> = vec![Vec::new(); points.len()];
        let mut governed = vec![false; points.len()];
        let mut newest: Vec<usize> = (0..points.len()).collect();
        newest.sort_by_key(|i| Reverse((points[*i].created_at, points[*i].id)));
        if let Some(first) = newest.first() {
            reasons[*first].push("it is the newest".to_owned());
        }
        for rule in &self.rules {
            let firsts = rule.first_of.map(|span| firsts(points, &newest, span, frame));
            let governs = |i: &&usize| {
                let of_class = rule.periods.is_empty() || rule.periods.contains(&classes[**i]);
                of_class && firsts.as_ref().is_none_or(|firsts| firsts.contains(*i))
            };
            for (place, i) in newest.iter().filter(governs).enumerate() {
                governed[*i] = true;
                match rule.keep.holds(points[*i], place, frame) {
                    true => reasons[*i].push(rule.reason()),
                    false => against[*i].push(rule.objection()),
                }
            }
        }
        let verdict = |(i, point): (usize, &Candidate)| {
            let mut because = std::mem::take(&mut reasons[i]);
            if !governed[i] {
                because.push("no rule governs it".to_owned());
            }
            Verdict { id: point.id, because, against: std::mem::take(&mut against[i]) }
        };
        points.iter().enumerate().map(verdict).collect()
    }
}

impl Keep {
    /// Whether it lets a point stay that is this far from the newest.
    fn holds(self, point: Candidate, place: usize, frame: Frame<'_>) -> bool {
        match self {
            // An age that reaches behind the beginning of time keeps everything.
            Keep::MaxAge(age) => age.before(frame.now, frame.zone).is_none_or(|oldest| point.created_at >= oldest),
            Keep::MaxCount(count) => u64::try_from(place).is_ok_and(|place| place < count),
        }
    }
}

impl Rule {
    /// What it is about, as a part of a sentence; empty where it is about all.
    fn what(&self) -> String {
        let periods: Vec<_> = Period::ALL.iter().filter(|p| self.periods.contains(p)).map(|p| p.name()).collect();
        match (self.first_of, periods.is_empty()) {
            (None, true) => String::new(),
            (None, false) => format!("{} ", periods.join(" or ")),
            (Some(span), true) => format!("the first of {span} "),
            (Some(span), false) => format!("the first of {span}, {} ", periods.join(" or ")),
        }
    }

    /// Why a recovery point stays by it.
    fn reason(&self) -> String {
        let what = self.what();
        match self.keep {
            Keep::MaxAge(age) if what.is_empty() => format!("it is not older than {age}"),
            Keep::MaxAge(age) => format!("it is {what}and not older than {age}"),
            Keep::MaxCount(1) => format!("it is the newest {what}one"),
            Keep::MaxCount(count) => format!("it is one of the newest {count} {what}ones"),
        }
    }

    /// Why a recovery point does not stay by it.
    fn objection(&self) -> String {
        let what = self.what();
        match self.keep {
            Keep::MaxAge(age) if what.is_empty() => format!("it is older than {age}"),
            Keep::MaxAge(age) => format!("it is {what}and older than {age}"),
            Keep::MaxCount(1) => format!("it is not the newest {what}one"),
            Keep::MaxCount(count) => format!("it is not one of the newest {count} {what}ones"),
        }
    }
}

/// The oldest point of each span of the calendar that has one.
fn firsts(points: &[Candidate], newest: &[usize], span: Interval, frame: Frame<'_>) -> HashSet<usize> {
    let mut spans = HashSet::new();
    newest.iter().rev().copied().filter(|i| spans.insert(span_of(points[*i].created_at, span, frame))).collect()
}

/// The number of the span of the calendar that a time lies in.
fn span_of(time: Timestamp, span: Interval, frame: Frame<'_>) -> i64 {
    let day = date_of(time, frame.zone);
    let days =
        |day: Date| i64::from(day.since((jiff::Unit::Day, Date::constant(1970, 1, 1))).map_or(0, |s| s.get_days()));
    let number = match span.unit {
        Unit::Seconds | Unit::Minutes | Unit::Hours => {
            let length = Interval::of(1, span.unit).length().as_secs();
            time.as_second().div_euclid(length)
        }
        Unit::Days => days(day),
        Unit::Weeks => days(frame.week.week_of(day)).div_euclid(7),
        Unit::Months => i64::from(day.year()) * 12 + i64::from(day.month()) - 1,
    };
    number.div_euclid(i64::try_from(span.count).unwrap_or(i64::MAX).max(1))
}

/// The class of each point: one each.
fn classes(points: &[Candidate], frame: Frame<'_>) -> Vec<Period> {
    let mut oldest: Vec<usize> = (0..points.len()).collect();
    oldest.sort_by_key(|i| (points[*i].created_at, points[*i].id));
    let (mut months, mut weeks, mut days) = (HashSet::new(), HashSet::new(), HashSet::new());
    let mut classes = vec![Period::Hourly; points.len()];
    for i in oldest {
        let day = date_of(points[i].created_at, frame.zone);
        // Each is counted, whatever class it gets: only the very first of a week is weekly, if it is not monthly.
        let first = (months.insert(day.first_of_month()), weeks.insert(frame.week.week_of(day)), days.insert(day));
        classes[i] = match first {
            (true, _, _) => Period::Monthly,
            (_, true, _) => Period::Weekly,
            (_, _, true) => Period::Daily,
            _ => Period::Hourly,
        };
    }
    classes
}
