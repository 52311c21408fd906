//! Local times around the days on which clocks change, in zones of all kinds, against a definition that only looks at clocks.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(clippy::disallowed_methods, reason = "the zones of the system are what is looked at")]

use domain::policy::Schedule;
use domain::policy::calendar::Weekday;
use domain::policy::timetable::{Frame, Period, Timetable};
use domain::{SignedDuration, Timestamp};
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use proptest::prelude::*;

/// An hour at night, half an hour, two hours, at midnight, in the south, and a day that was left out.
const ZONES: [&str; 9] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "America/Santiago",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Pacific/Apia",
    "UTC",
];

/// The first minute at which the clocks of a zone show this local time or a later one.
fn first_shown(local: DateTime, zone: &TimeZone) -> Timestamp {
    // No zone is further than this from Greenwich.
    let mut at = local.to_zoned(TimeZone::UTC).unwrap().timestamp() - SignedDuration::from_hours(40);
    while zone.to_datetime(at) < local {
        at += SignedDuration::from_mins(1);
    }
    at
}

/// A zone, and a day around one of the changes of its clocks between 2007 and 2037; any day where they never change.
fn day_of_change() -> impl Strategy<Value = (TimeZone, Date)> {
    (prop::sample::select(&ZONES[..]), 0i64..10_000, -1i64..=1).prop_map(|(zone, start, days)| {
        let zone = TimeZone::get(zone).unwrap();
        let start: Timestamp =
            "2007-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * start);
        let change = zone.following(start).next().map_or(start, |change| change.timestamp());
        let date = Zoned::new(change, zone.clone()).date();
        (zone, date.checked_add(days.days()).unwrap())
    })
}

fn time_of_day() -> impl Strategy<Value = Time> {
    (0i8..24, 0i8..60).prop_map(|(hour, minute)| Time::constant(hour, minute, 0, 0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_time_of_a_timetable_comes_once_a_day_when_clocks_first_show_it((zone, day) in day_of_change(), at in time_of_day()) {
        let times = Timetable { at: vec![at], ..Timetable::every(Period::Daily) };
        let since = "2000-01-01T00:00:00Z".parse().unwrap();
        let frame = Frame { zone: &zone, week: Weekday::Monday, since };
        let shown = |days: i64| first_shown(day.checked_add(days.days()).unwrap().to_datetime(at), &zone);
        // A time of a day that was left out altogether comes with the next day, and there may be one of its own.
        let mut expected: Vec<Timestamp> = (-1..=2).map(shown).collect();
        expected.dedup();
        let before = expected[0] - SignedDuration::from_nanos(1);
        let mut found = Vec::new();
        let mut after = before;
        while found.len() < expected.len() {
            after = times.next_after(after, frame).unwrap();
            found.push(after);
        }
        prop_assert_eq!(&found, &expected);
        let last = *expected.last().unwrap();
        prop_assert_eq!(times.within(before, last, frame).collect::<std::collections::BTreeSet<_>>(), expected.iter().copied().collect());
        prop_assert_eq!(times.last_within(before, last, frame), Some(last));
    }

    #[test]
    fn the_last_day_of_a_month_is_that_of_the_calendar((zone, day) in day_of_change(), at in time_of_day()) {
        let times = Timetable { at: vec![at], last_day: true, ..Timetable::every(Period::Monthly) };
        let since = "2000-01-01T00:00:00Z".parse().unwrap();
        let frame = Frame { zone: &zone, week: Weekday::Monday, since };
        let expected = first_shown(day.last_of_month().to_datetime(at), &zone);
        let first = first_shown(day.first_of_month().to_datetime(Time::midnight()), &zone);
        // On the last evening of a month that clocks leave out, and on the first day itself, there is nothing between.
        prop_assume!(day.last_of_month() != day.first_of_month());
        prop_assert_eq!(times.next_after(first, frame), Some(expected));
    }

    #[test]
    fn a_plain_daily_schedule_runs_once_a_day((zone, day) in day_of_change(), at in time_of_day()) {
        let name = zone.iana_name().unwrap().to_owned();
        let schedule = Schedule::Daily { at, time_zone: name };
        let shown = |days: i64| first_shown(day.checked_add(days.days()).unwrap().to_datetime(at), &zone);
        // Nothing of the two days on which a whole day was left out.
        prop_assume!(shown(-1) < shown(0) && shown(0) < shown(1));
        let run = schedule.next_after(shown(-1) + SignedDuration::from_hours(4), &zone).unwrap();
        let late = run.duration_since(shown(0));
        // In a gap it is taken as far behind its end as it lay behind its start.
        let gap = zone.to_datetime(shown(0)) != day.to_datetime(at);
        prop_assert!(late == SignedDuration::ZERO || (gap && late <= SignedDuration::from_hours(2) && late > SignedDuration::ZERO));
        let next = schedule.next_after(run, &zone).unwrap();
        prop_assert!(next >= shown(1));
    }
}
