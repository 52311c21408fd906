//! Retention: which recovery points stay, and why; against a plain definition as well.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use domain::policy::Retention;
use domain::policy::calendar::{Interval, Unit, Weekday};
use domain::policy::retention::{Candidate, Frame, Keep, Rule};
use domain::policy::timetable::Period;
use domain::{Timestamp, Uuid};
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn t(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn points(times: &[&str]) -> Vec<Candidate> {
    times.iter().zip(1..).map(|(at, id)| Candidate { id: Uuid::from_u128(id), created_at: t(at) }).collect()
}

fn rule(keep: Keep, periods: &[Period]) -> Rule {
    Rule { keep, periods: periods.to_vec(), first_of: None }
}

fn utc(now: &str) -> Frame<'static> {
    static UTC: TimeZone = TimeZone::UTC;
    Frame { zone: &UTC, week: Weekday::Monday, now: t(now) }
}

/// Why each point stays; a dash for those that go.
fn judged(rules: Vec<Rule>, times: &[&str], frame: Frame<'_>) -> Vec<String> {
    let retention = Retention { rules, before_backup: false };
    let verdicts = retention.judge(&points(times), frame);
    verdicts.iter().map(|v| if v.stays() { v.because.join("; ") } else { "-".to_owned() }).collect()
}

#[test]
fn without_rules_everything_stays() {
    let times = ["2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z"];
    assert_eq!(
        judged(vec![], &times, utc("2026-06-01T00:00:00Z")),
        ["no rule governs it", "it is the newest; no rule governs it"]
    );
}

#[test]
fn a_count_keeps_the_newest_whatever_their_order() {
    let times = ["2026-01-03T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z", "2026-01-02T00:00:00Z"];
    assert_eq!(
        judged(vec![rule(Keep::MaxCount(2), &[])], &times, utc("2026-01-05T00:00:00Z")),
        ["it is one of the newest 2 ones", "-", "it is the newest; it is one of the newest 2 ones", "-"]
    );
}

#[test]
fn an_age_counts_months_by_the_calendar_and_the_newest_always_stays() {
    let month = || vec![rule(Keep::MaxAge(Interval::of(1, Unit::Months)), &[])];
    let times = ["2026-02-27T23:59:59Z", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z"];
    assert_eq!(
        judged(month(), &times, utc("2026-03-31T00:00:00Z")),
        ["-", "it is not older than 1 month", "it is the newest; it is not older than 1 month"]
    );
    assert_eq!(judged(month(), &times, utc("2030-01-01T00:00:00Z")), ["-", "-", "it is the newest"]);
    let days = vec![rule(Keep::MaxAge(Interval::of(30, Unit::Days)), &[])];
    assert_eq!(judged(days, &times, utc("2026-03-31T00:00:00Z"))[1], "-");
}

#[test]
fn a_point_goes_only_when_every_rule_that_governs_it_lets_it_go() {
    let rules = vec![
        rule(Keep::MaxCount(1), &[]),
        rule(Keep::MaxAge(Interval::of(7, Unit::Days)), &[Period::Monthly, Period::Weekly]),
    ];
    // The first is monthly, the second daily, the third weekly (a Monday), the last hourly.
    let times = ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-05T00:00:00Z", "2026-01-05T01:00:00Z"];
    assert_eq!(
        judged(rules.clone(), &times, utc("2026-01-08T00:00:00Z")),
        [
            "it is weekly or monthly and not older than 7 days",
            "-",
            "it is weekly or monthly and not older than 7 days",
            "it is the newest; it is the newest one"
        ]
    );
    let only = vec![rules[1].clone()];
    assert_eq!(
        judged(only, &times, utc("2026-02-08T00:00:00Z")),
        ["-", "no rule governs it", "-", "it is the newest; no rule governs it"]
    );
}

#[test]
fn each_point_has_one_class_by_the_calendar_of_the_zone() {
    let only = |period, frame| {
        let times = [
            "2025-12-31T22:30:00Z",
            "2025-12-31T23:30:00Z",
            "2026-01-03T12:00:00Z",
            "2026-01-04T12:00:00Z",
            "2026-01-05T12:00:00Z",
            "2026-01-05T13:00:00Z",
        ];
        let kept = judged(vec![rule(Keep::MaxCount(9), &[period])], &times, frame);
        (0..6).filter(|i| kept[*i].contains("newest 9")).collect::<Vec<_>>()
    };
    let of = |frame: Frame<'static>| {
        [Period::Monthly, Period::Weekly, Period::Daily, Period::Hourly].map(|p| only(p, frame))
    };
    // December 31st was a Wednesday, January 5th is a Monday.
    assert_eq!(of(utc("2026-02-01T00:00:00Z")), [vec![0, 2], vec![4], vec![3], vec![1, 5]]);
    let sunday = Frame { week: Weekday::Sunday, ..utc("2026-02-01T00:00:00Z") };
    assert_eq!(of(sunday), [vec![0, 2], vec![3], vec![4], vec![1, 5]]);
    static EAST: std::sync::LazyLock<TimeZone> = std::sync::LazyLock::new(|| TimeZone::posix("<+01>-1").unwrap());
    // There it was January 1st already at 23:30 UTC.
    let east = Frame { zone: &EAST, ..utc("2026-02-01T00:00:00Z") };
    assert_eq!(of(east), [vec![0, 1], vec![4], vec![2, 3], vec![5]]);
}

#[test]
fn nonsense_is_refused() {
    let refused = |keep| Retention { rules: vec![rule(keep, &[])], before_backup: true }.validate().unwrap_err().field;
    assert_eq!(refused(Keep::MaxCount(0)).unwrap(), "retention.rules[0].keep.max_count");
    assert_eq!(refused(Keep::MaxAge(Interval::of(0, Unit::Days))).unwrap(), "retention.rules[0].keep.max_age");
    let json = serde_json::json!({
        "rules": [{"keep": {"max_age": {"count": 30, "unit": "days"}}}, {"keep": {"max_count": 12}, "periods": ["monthly"]}]
    });
    let read: Retention = serde_json::from_value(json.clone()).unwrap();
    assert_eq!((read.validate(), serde_json::to_value(&read).unwrap()), (Ok(()), json));
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let keep = prop_oneof![
        (1..20_u64).prop_map(Keep::MaxCount),
        (1..90_u64).prop_map(|n| Keep::MaxAge(Interval::of(n, Unit::Days))),
        (1..4_u64).prop_map(|n| Keep::MaxAge(Interval::of(n, Unit::Months))),
    ];
    (keep, prop::collection::vec(prop::sample::select(Period::ALL.to_vec()), 0..3)).prop_map(|(keep, periods)| Rule {
        keep,
        periods,
        first_of: None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_stays_is_what_the_plain_definition_says(
        rules in prop::collection::vec(some_rule(), 0..4),
        hours in prop::collection::vec(0..2400_i64, 0..40),
    ) {
        let begin = t("2026-01-01T00:00:00Z");
        let points: Vec<Candidate> = hours.iter().zip(1..).map(|(h, id)| Candidate {
            id: Uuid::from_u128(id),
            created_at: begin + domain::SignedDuration::from_hours(*h),
        }).collect();
        let frame = utc("2026-04-12T00:00:00Z");
        let older = |a: &Candidate, b: &Candidate| (a.created_at, a.id) < (b.created_at, b.id);
        let class = |p: &Candidate| {
            let day = |c: &Candidate| TimeZone::UTC.to_datetime(c.created_at).date();
            let first = |same: &dyn Fn(&Candidate) -> bool| !points.iter().any(|o| older(o, p) && same(o));
            if first(&|o| day(o).first_of_month() == day(p).first_of_month()) {
                Period::Monthly
            } else if first(&|o| day(o).iso_week_date().week() == day(p).iso_week_date().week()) {
                Period::Weekly
            } else if first(&|o| day(o) == day(p)) {
                Period::Daily
            } else {
                Period::Hourly
            }
        };
        let plain = |p: &Candidate| {
            let governing: Vec<&Rule> =
                rules.iter().filter(|r| r.periods.is_empty() || r.periods.contains(&class(p))).collect();
            let goes = |r: &Rule| match r.keep {
                Keep::MaxCount(n) => {
                    let newer = points.iter().filter(|o| older(p, o) && (r.periods.is_empty() || r.periods.contains(&class(o))));
                    newer.count() as u64 >= n
                }
                Keep::MaxAge(age) => p.created_at < age.before(frame.now, frame.zone).unwrap(),
            };
            let newest = !points.iter().any(|o| older(p, o));
            newest || governing.is_empty() || !governing.iter().all(|r| goes(r))
        };
        let verdicts = Retention { rules: rules.clone(), before_backup: false }.judge(&points, frame);
        let found: Vec<bool> = verdicts.iter().map(domain::policy::retention::Verdict::stays).collect();
        prop_assert_eq!(found, points.iter().map(plain).collect::<Vec<_>>());
    }
}

#[test]
fn generations_keep_the_first_of_each_span() {
    let age = |count, unit| Keep::MaxAge(Interval::of(count, unit));
    let generation = |keep, count, unit| Rule { first_of: Some(Interval::of(count, unit)), ..rule(keep, &[]) };
    let rules = vec![
        rule(age(7, Unit::Days), &[]),
        generation(age(8, Unit::Weeks), 1, Unit::Weeks),
        generation(age(1, Unit::Months), 12, Unit::Months),
    ];
    // Two on a Monday, the next day, and the Monday after that.
    let times = ["2026-02-02T01:00:00Z", "2026-02-02T13:00:00Z", "2026-02-03T01:00:00Z", "2026-02-09T01:00:00Z"];
    let judged = judged(rules, &times, utc("2026-03-01T00:00:00Z"));
    assert_eq!(
        judged,
        [
            "it is the first of 1 week and not older than 8 weeks; it is the first of 12 months and not older than 1 month",
            "-",
            "-",
            "it is the newest; it is the first of 1 week and not older than 8 weeks"
        ]
    );
}

#[test]
fn what_goes_is_told_why_and_what_stays_only_why_it_stays() {
    let rules = vec![
        rule(Keep::MaxCount(1), &[]),
        rule(Keep::MaxAge(Interval::of(3, Unit::Days)), &[Period::Daily, Period::Monthly]),
    ];
    let frame = utc("2026-01-10T00:00:00Z");
    let candidate = |n: u128, at: &str| Candidate { id: Uuid::from_u128(n), created_at: at.parse().unwrap() };
    let points = [candidate(1, "2026-01-02T00:00:00Z"), candidate(2, "2026-01-09T00:00:00Z")];
    let verdicts = Retention { rules, before_backup: false }.judge(&points, frame);
    assert!(!verdicts[0].stays() && verdicts[1].stays());
    let objections = ["it is not the newest one", "it is daily or monthly and older than 3 days"];
    assert_eq!(verdicts[0].against, objections);
    assert!(verdicts[1].against.is_empty(), "{:?}", verdicts[1]);
}
