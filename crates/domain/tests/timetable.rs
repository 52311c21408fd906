//! Timetables: the table of the contract for Yandex clients, Y95, row by row; month ends, windows over midnight, clocks that
//! change; and against a plain definition that asks every minute.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use domain::policy::calendar::{Interval, Unit, Weekday, instant};
use domain::policy::timetable::{Frame, Period, Timetable};
use domain::{SignedDuration, Timestamp};
use jiff::civil::{Date, DateTime, Time, date, time};
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn t(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn berlin() -> TimeZone {
    // As a rule and not by name, so that the test needs no zone files.
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

static UTC: TimeZone = TimeZone::UTC;

fn frame(zone: &TimeZone) -> Frame<'_> {
    Frame { zone, week: Weekday::Monday, since: t("2026-01-01T12:00:00Z") }
}

fn of(period: Period, set: impl FnOnce(&mut Timetable)) -> Timetable {
    let mut times = Timetable::every(period);
    set(&mut times);
    times
}

/// The first times after this one, in this zone, as `MM-DDTHH:MM` in UTC.
fn times_in(zone: &TimeZone, times: &Timetable, after: &str, n: usize) -> Vec<String> {
    let next = |at: &Timestamp| times.next_after(*at, frame(zone));
    let found = std::iter::successors(next(&t(after)), next).take(n);
    found.map(|t| t.to_string()[5..16].to_owned()).collect()
}

fn times(times: &Timetable, after: &str, n: usize) -> Vec<String> {
    times_in(&UTC, times, after, n)
}

const NEW_YEAR: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2025-12-31T23:59:59Z";

fn at(hour: i8, minute: i8) -> Time {
    time(hour, minute, 0, 0)
}

#[test]
fn hourly_and_daily_take_every_day_or_only_some_weekdays() {
    let daily = of(Period::Daily, |_| {});
    assert_eq!(times(&daily, LATE, 3), ["01-01T00:00", "01-02T00:00", "01-03T00:00"]);
    // January 1st 2026 is a Thursday.
    let weekend = of(Period::Daily, |t| t.weekdays = vec![Weekday::Sunday, Weekday::Saturday]);
    assert_eq!(times(&weekend, LATE, 3), ["01-03T00:00", "01-04T00:00", "01-10T00:00"]);
    let hourly = of(Period::Hourly, |t| t.weekdays = vec![Weekday::Friday]);
    assert_eq!(times(&hourly, LATE, 2), ["01-02T00:00", "01-02T01:00"]);
    assert_eq!(times(&hourly, "2026-01-02T23:00:00Z", 1), ["01-09T00:00"]);
}

#[test]
fn weekly_takes_its_weekdays_or_the_day_on_which_weeks_begin() {
    let named = of(Period::Weekly, |t| t.weekdays = vec![Weekday::Wednesday, Weekday::Friday]);
    assert_eq!(times(&named, LATE, 3), ["01-02T00:00", "01-07T00:00", "01-09T00:00"]);
    let unnamed = of(Period::Weekly, |_| {});
    assert_eq!(times(&unnamed, LATE, 2), ["01-05T00:00", "01-12T00:00"]);
    let sunday = Frame { week: Weekday::Sunday, ..frame(&UTC) };
    assert_eq!(unnamed.next_after(t(LATE), sunday), Some(t("2026-01-04T00:00:00Z")));
}

#[test]
fn monthly_takes_days_of_months_and_leaves_out_what_a_month_lacks() {
    let plain = of(Period::Monthly, |_| {});
    assert_eq!(times(&plain, NEW_YEAR, 2), ["02-01T00:00", "03-01T00:00"]);
    let late = of(Period::Monthly, |t| t.monthdays = vec![31, 30]);
    assert_eq!(times(&late, "2026-01-31T00:00:00Z", 4), ["03-30T00:00", "03-31T00:00", "04-30T00:00", "05-30T00:00"]);
    let last = of(Period::Monthly, |t| t.last_day = true);
    assert_eq!(times(&last, NEW_YEAR, 3), ["01-31T00:00", "02-28T00:00", "03-31T00:00"]);
    let both = of(Period::Monthly, |t| (t.last_day, t.monthdays) = (true, vec![28]));
    assert_eq!(times(&both, NEW_YEAR, 4), ["01-28T00:00", "01-31T00:00", "02-28T00:00", "03-28T00:00"], "once each");
    let some = of(Period::Monthly, |t| (t.months, t.monthdays) = (vec![7, 1], vec![1]));
    assert_eq!(times(&some, NEW_YEAR, 2), ["07-01T00:00", "01-01T00:00"]);
    let leap = of(Period::Monthly, |t| (t.months, t.monthdays) = (vec![2], vec![29]));
    assert_eq!(leap.next_after(t("2096-03-01T00:00:00Z"), frame(&UTC)), Some(t("2104-02-29T00:00:00Z")));
    let never = of(Period::Monthly, |t| (t.months, t.monthdays) = (vec![2], vec![30]));
    assert_eq!(never.next_after(t(LATE), frame(&UTC)), None);
    // Days of the week say nothing here, days of the month nothing elsewhere.
    let odd = of(Period::Monthly, |t| t.weekdays = vec![Weekday::Tuesday]);
    assert_eq!(times(&odd, NEW_YEAR, 1), ["02-01T00:00"]);
    let odd = of(Period::Daily, |t| t.monthdays = vec![31]);
    assert_eq!(times(&odd, LATE, 1), ["01-01T00:00"]);
}

#[test]
fn named_times_are_exactly_these() {
    let named = of(Period::Daily, |t| {
        t.at = vec![at(13, 30), at(0, 15), at(13, 30)];
        t.step = Some(Interval::of(5, Unit::Minutes));
        (t.from, t.to) = (Some(at(20, 0)), Some(at(21, 0)));
    });
    assert_eq!(times(&named, LATE, 3), ["01-01T00:15", "01-01T13:30", "01-02T00:15"]);
    let rare = of(Period::Weekly, |t| (t.at, t.step) = (vec![at(1, 0)], Some(Interval::of(3, Unit::Days))));
    assert_eq!(times(&rare, LATE, 2), ["01-05T01:00", "01-12T01:00"], "the step is ignored, also a long one");
}

#[test]
fn short_steps_fill_the_window_with_both_its_ends() {
    let steps = |period, from: Option<Time>, to: Option<Time>, step| {
        of(period, |t| (t.from, t.to, t.step) = (from, to, Some(step)))
    };
    let office = steps(Period::Daily, Some(at(9, 0)), Some(at(10, 0)), Interval::of(30, Unit::Minutes));
    assert_eq!(times(&office, LATE, 4), ["01-01T09:00", "01-01T09:30", "01-01T10:00", "01-02T09:00"]);
    let day = steps(Period::Weekly, None, None, Interval::of(7, Unit::Hours));
    assert_eq!(times(&day, LATE, 5), ["01-05T00:00", "01-05T07:00", "01-05T14:00", "01-05T21:00", "01-12T00:00"]);
    let point = steps(Period::Daily, Some(at(9, 0)), Some(at(9, 0)), Interval::of(1, Unit::Hours));
    assert_eq!(times(&point, LATE, 2), ["01-01T09:00", "01-02T09:00"]);
    let fast = steps(Period::Daily, Some(at(23, 58)), None, Interval::of(1, Unit::Seconds));
    assert_eq!(times(&fast, LATE, 3), ["01-01T23:58", "01-01T23:59", "01-02T23:58"], "a minute is the least");
    // Hourly, a step comes before named times.
    let hourly = of(Period::Hourly, |t| (t.at, t.step) = (vec![at(0, 30)], Some(Interval::of(12, Unit::Hours))));
    assert_eq!(times(&hourly, LATE, 3), ["01-01T00:00", "01-01T12:00", "01-02T00:00"]);
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_it_began() {
    let night = of(Period::Weekly, |t| {
        t.weekdays = vec![Weekday::Friday];
        (t.from, t.to, t.step) = (Some(at(22, 0)), Some(at(2, 0)), Some(Interval::of(2, Unit::Hours)));
    });
    assert_eq!(times(&night, LATE, 4), ["01-02T22:00", "01-03T00:00", "01-03T02:00", "01-09T22:00"]);
    assert_eq!(times(&night, "2026-01-03T00:30:00Z", 1), ["01-03T02:00"], "asked from within");
    let hourly = of(Period::Hourly, |t| {
        t.weekdays = vec![Weekday::Friday];
        (t.from, t.to, t.at) = (Some(at(22, 20)), Some(at(0, 15)), vec![at(5, 45), at(9, 15)]);
    });
    assert_eq!(times(&hourly, LATE, 5), ["01-02T22:45", "01-02T23:15", "01-02T23:45", "01-03T00:15", "01-09T22:45"]);
}

#[test]
fn long_steps_take_every_nth_eligible_day_since_the_beginning() {
    let n = |period, step| of(period, |t| (t.step, t.from) = (Some(step), Some(at(3, 0))));
    let third = n(Period::Daily, Interval::of(3, Unit::Days));
    assert_eq!(times(&third, LATE, 3), ["01-01T03:00", "01-04T03:00", "01-07T03:00"]);
    assert_eq!(times(&third, "2026-12-24T00:00:00Z", 2), ["12-24T03:00", "12-27T03:00"], "counted from the beginning");
    assert_eq!(times(&third, "2025-06-01T00:00:00Z", 1), ["01-01T03:00"], "and not before it");
    let half = n(Period::Daily, Interval::of(36, Unit::Hours));
    assert_eq!(times(&half, LATE, 2), ["01-01T03:00", "01-02T03:00"], "whole days count");
    let other = n(Period::Weekly, Interval::of(2, Unit::Days));
    assert_eq!(times(&other, LATE, 3), ["01-05T03:00", "01-19T03:00", "02-02T03:00"], "every second Monday");
    let month = n(Period::Hourly, Interval::of(1, Unit::Months));
    assert_eq!(times(&month, LATE, 2), ["01-01T03:00", "01-31T03:00"], "a month is 30 days here");
    let named = of(Period::Hourly, |t| (t.step, t.at) = (Some(Interval::of(2, Unit::Days)), vec![at(0, 30)]));
    assert_eq!(times(&named, LATE, 2), ["01-01T00:00", "01-03T00:00"], "hourly, a long step comes before named times");
}

#[test]
fn hourly_with_named_times_takes_their_minutes() {
    let quarter = of(Period::Hourly, |t| t.at = vec![at(7, 45), at(23, 15), at(1, 15)]);
    assert_eq!(times(&quarter, LATE, 3), ["01-01T00:15", "01-01T00:45", "01-01T01:15"]);
    let window = of(Period::Hourly, |t| {
        t.at = vec![at(0, 0), at(0, 50)];
        (t.from, t.to) = (Some(at(8, 30)), Some(at(10, 0)));
    });
    assert_eq!(times(&window, LATE, 5), ["01-01T08:50", "01-01T09:00", "01-01T09:50", "01-01T10:00", "01-02T08:50"]);
    let bare = of(Period::Hourly, |t| (t.from, t.to) = (Some(at(8, 30)), Some(at(10, 0))));
    assert_eq!(times(&bare, LATE, 3), ["01-01T08:30", "01-01T09:30", "01-02T08:30"]);
}

#[test]
fn a_local_time_that_is_left_out_is_the_end_of_the_gap_and_one_that_comes_twice_is_the_first() {
    // On 2026-03-29 the hour from 2 to 3 does not exist; on 2026-10-25 it comes twice.
    let early = of(Period::Daily, |t| t.at = vec![at(2, 30)]);
    assert_eq!(times_in(&berlin(), &early, "2026-03-28T12:00:00Z", 2), ["03-29T01:00", "03-30T00:30"]);
    assert_eq!(times_in(&berlin(), &early, "2026-10-24T12:00:00Z", 2), ["10-25T00:30", "10-26T01:30"]);
    let steps = of(Period::Daily, |t| {
        (t.from, t.to, t.step) = (Some(at(1, 30)), Some(at(3, 30)), Some(Interval::of(30, Unit::Minutes)));
    });
    assert_eq!(
        times_in(&berlin(), &steps, "2026-03-28T12:00:00Z", 4),
        ["03-29T00:30", "03-29T01:00", "03-29T01:30", "03-29T23:30"]
    );
    assert_eq!(
        times_in(&berlin(), &steps, "2026-10-24T12:00:00Z", 5),
        ["10-24T23:30", "10-25T00:00", "10-25T00:30", "10-25T02:00", "10-25T02:30"]
    );
    // Half an hour is left out on Lord Howe Island.
    let lord_howe = TimeZone::posix("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0").unwrap();
    assert_eq!(instant(date(2026, 10, 4).at(2, 10, 0, 0), &lord_howe), Some(t("2026-10-03T15:30:00Z")));
}

#[test]
fn nonsense_is_refused_and_nothing_else() {
    let refused = |set: &dyn Fn(&mut Timetable)| of(Period::Monthly, set).validate("when").unwrap_err().field.unwrap();
    assert_eq!(refused(&|t| t.monthdays = vec![1, 32]), "when.monthdays");
    assert_eq!(refused(&|t| t.months = vec![0]), "when.months");
    assert_eq!(refused(&|t| t.step = Some(Interval::of(0, Unit::Days))), "when.step");
    assert_eq!(refused(&|t| t.step = Some(Interval::of(334, Unit::Months))), "when.step");
    let odd = of(Period::Monthly, |t| (t.step, t.at) = (Some(Interval::of(333, Unit::Months)), vec![at(0, 0)]));
    assert_eq!(odd.validate("when"), Ok(()));
    let json = serde_json::json!({"every": "daily", "at": ["02:30:00"], "step": {"count": 2, "unit": "weeks"}});
    let read: Timetable = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), json);
    assert!(serde_json::from_value::<Timetable>(serde_json::json!({"every": "daily", "att": []})).is_err());
}

/// What a timetable means, said as slowly and plainly as possible.
mod plain {
    use super::*;

    pub(super) fn is_time(t: &Timetable, local: DateTime, since: Date, week: Weekday) -> bool {
        // It belongs to its own day, or to a window that began the day before.
        [(local.date(), 0_i64), (local.date().yesterday().unwrap(), 24 * 60)].into_iter().any(|(day, before)| {
            let minute = i64::from(local.hour()) * 60 + i64::from(local.minute()) + before;
            counts(t, day, since, week) && in_day(t, minute, before > 0)
        })
    }

    fn minutes(t: Time) -> i64 {
        i64::from(t.hour()) * 60 + i64::from(t.minute())
    }

    fn in_day(t: &Timetable, minute: i64, next_day: bool) -> bool {
        let (from, to) = (t.from.map_or(0, minutes), t.to.map(minutes));
        let last = to.map_or(24 * 60 - 1, |to| if to < from { to + 24 * 60 } else { to });
        let within = minute >= from && minute <= last;
        let step = t.step.map(|s| s.length().as_secs() / 60);
        match (t.every, &t.at[..], step) {
            (Period::Daily | Period::Weekly | Period::Monthly, at @ [_, ..], _) => {
                !next_day && at.iter().any(|a| minutes(*a) == minute)
            }
            (_, _, Some(step)) if step < 24 * 60 => within && (minute - from) % step.max(1) == 0,
            (_, _, Some(_)) => minute == from,
            (Period::Hourly, at @ [_, ..], None) => within && at.iter().any(|a| i64::from(a.minute()) == minute % 60),
            (Period::Hourly, [], None) => within && (minute - from) % 60 == 0,
            (_, _, None) => minute == from,
        }
    }

    fn counts(t: &Timetable, day: Date, since: Date, week: Weekday) -> bool {
        let exact = t.every != Period::Hourly && !t.at.is_empty();
        let n = t.step.map_or(0, Interval::whole_days);
        if !eligible(t, day, week) || exact || n == 0 {
            return eligible(t, day, week);
        }
        let before = since.series(jiff::Span::new().days(1)).take_while(|d| *d < day).filter(|d| eligible(t, *d, week));
        day >= since && i64::try_from(before.count()).unwrap() % n == 0
    }

    fn eligible(t: &Timetable, day: Date, week: Weekday) -> bool {
        let weekday = Weekday::of(day);
        let last = day.day() == day.days_in_month();
        match t.every {
            Period::Hourly | Period::Daily => t.weekdays.is_empty() || t.weekdays.contains(&weekday),
            Period::Weekly => t.weekdays.contains(&weekday) || t.weekdays.is_empty() && weekday == week,
            Period::Monthly => {
                let month = t.months.is_empty() || t.months.contains(&day.month());
                let first = t.monthdays.is_empty() && !t.last_day && day.day() == 1;
                month && (t.monthdays.contains(&day.day()) || t.last_day && last || first)
            }
        }
    }
}

fn some_time() -> impl Strategy<Value = Time> {
    (0..24_i8, prop_oneof![Just(0_i8), Just(30), 0..60_i8]).prop_map(|(h, m)| at(h, m))
}

fn some_timetable() -> impl Strategy<Value = Timetable> {
    let few = |last: i8| prop::collection::vec(1..=last, 0..3);
    let weekday = prop::sample::select(Weekday::ALL.to_vec());
    let step = prop::option::of(prop_oneof![
        (1..2000_u64).prop_map(|n| Interval::of(n, Unit::Minutes)),
        (1..90_u64).prop_map(|n| Interval::of(n, Unit::Hours)),
    ]);
    (
        prop::sample::select(Period::ALL.to_vec()),
        prop::collection::vec(weekday, 0..3),
        prop::collection::vec(some_time(), 0..3),
        step,
        prop::option::of(some_time()),
        prop::option::of(some_time()),
        (few(31), any::<bool>(), few(12)),
    )
        .prop_map(|(every, weekdays, at, step, from, to, (monthdays, last_day, months))| Timetable {
            every,
            weekdays,
            at,
            step,
            from,
            to,
            monthdays,
            last_day,
            months,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn times_are_those_of_the_plain_definition(
        times in some_timetable(),
        begin in 0..500_i64,
        week in prop::sample::select(Weekday::ALL.to_vec()),
    ) {
        let zone = TimeZone::UTC;
        let since = t("2026-01-10T08:00:00Z");
        let frame = Frame { zone: &zone, week, since };
        let after = t("2026-01-01T00:00:30Z") + SignedDuration::from_hours(begin * 24);
        let until = after + SignedDuration::from_hours(4 * 24);
        let first_day = date(2026, 1, 10);
        let every_minute = std::iter::successors(Some(after + SignedDuration::from_secs(30)), |t| {
            Some(*t + SignedDuration::from_secs(60)).filter(|t| *t <= until)
        });
        let plain: Vec<Timestamp> =
            every_minute.filter(|m| plain::is_time(&times, zone.to_datetime(*m), first_day, week)).collect();
        let next = |at: &Timestamp| times.next_after(*at, frame).filter(|t| *t <= until);
        let found: Vec<Timestamp> = std::iter::successors(next(&after), next).collect();
        prop_assert_eq!(&found, &plain);
        prop_assert_eq!(times.last_within(after, until, frame), plain.last().copied());
        if let [.., before, _] = plain[..] {
            let last = *plain.last().unwrap();
            let until = last - SignedDuration::from_nanos(1);
            prop_assert_eq!(times.last_within(after, until, frame), Some(before));
            prop_assert!(times.holds(last, frame) && !times.holds(until, frame));
        }
    }

    #[test]
    fn in_a_zone_with_daylight_saving_each_local_time_comes_once(times in some_timetable(), summer in any::<bool>()) {
        let zone = berlin();
        let after = t(if summer { "2026-03-26T12:00:00Z" } else { "2026-10-22T12:00:00Z" });
        let until = after + SignedDuration::from_hours(5 * 24);
        let (here, there) = (frame(&zone), frame(&UTC));
        let next = |at: &Timestamp| times.next_after(*at, here).filter(|t| *t <= until);
        let found: Vec<Timestamp> = std::iter::successors(next(&after), next).collect();
        // What the clocks of a zone without changes show, moved to where this zone's clocks show it.
        let wide = SignedDuration::from_hours(36);
        let next = |at: &Timestamp| times.next_after(*at, there).filter(|t| *t <= until + wide);
        let moved = std::iter::successors(next(&(after - wide)), next)
            .filter_map(|t| instant(TimeZone::UTC.to_datetime(t), &zone))
            .filter(|t| *t > after && *t <= until);
        let mut moved: Vec<Timestamp> = moved.collect();
        moved.dedup();
        prop_assert_eq!(found, moved);
    }
}
