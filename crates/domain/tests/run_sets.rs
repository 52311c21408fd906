//! Schedules of several sets, planned at explicit moments: the contract for Yandex clients, Y96 to Y103.

// long: one application and its clock, set by hand, for all of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use domain::foresee::{foresee, why_nothing_comes};
use domain::plan::{Around, Decision, LeftOut, Run, Why, asked, begin, end, is_astray, plan, reschedule, set_back};
use domain::policy::calendar::{Interval, Unit, Weekday};
use domain::policy::sets::{Again, Due, Past, RunKind, RunSet, RunSets, Scheme, When, Window};
use domain::policy::timetable::{Period, Timetable};
use domain::policy::{Agenda, Application, Policy, Retention, Schedule, Settings};
use domain::task::ResultCode;
use domain::{SignedDuration, Timestamp, Uuid};
use jiff::civil::time;
use jiff::tz::TimeZone;
use proptest::prelude::*;

static UTC: TimeZone = TimeZone::UTC;

fn t(text: &str) -> Timestamp {
    format!("2026-{text}:00Z").parse().unwrap()
}

fn minutes(n: u64) -> Interval {
    Interval::of(n, Unit::Minutes)
}

fn daily(hour: i8) -> RunSet {
    let times = Timetable { at: vec![time(hour, 0, 0, 0)], ..Timetable::every(Period::Daily) };
    RunSet { kind: RunKind::Auto, when: When::Times(times), run_later: false }
}

fn after_last(delay: Interval) -> RunSet {
    RunSet { kind: RunKind::Auto, when: When::AfterLast(delay), run_later: false }
}

/// An application, its policy and the server, at a moment that is set by hand.
struct World {
    app: Application,
    policy: Policy,
    now: Timestamp,
    up_since: Timestamp,
    tasks: u128,
    /// What the last plan left out.
    left_out: Option<LeftOut>,
    /// Whether the machine is there.
    reachable: bool,
}

impl World {
    /// Applied on January 1st 2026, a Thursday, at noon.
    fn new(sets: RunSets) -> World {
        let (id, applied) = (Uuid::from_u128(7), t("01-01T12:00"));
        let app = Application {
            id,
            tenant: id,
            policy: id,
            resource: id,
            next_run_at: None,
            last_run_at: None,
            last_task: None,
            archive: None,
            agenda: Agenda::default(),
            created_at: applied,
            updated_at: applied,
        };
        let policy = Policy {
            id,
            tenant: id,
            name: "Nightly".into(),
            kind: "backup".into(),
            enabled: true,
            schedule: Schedule::Sets(sets),
            settings: Settings::default(),
            as_written: None,
            retention: Retention::default(),
            repository: id,
            created_at: applied,
            updated_at: applied,
        };
        let mut world =
            World { app, policy, now: applied, up_since: applied, tasks: 0, left_out: None, reachable: false };
        world.reschedule(true);
        world
    }

    fn around(&self) -> Around<'static> {
        let (now, up_since) = (self.now, self.up_since);
        Around {
            now,
            up_since,
            zone: &UTC,
            active: true,
            open: !self.app.agenda.open.is_empty(),
            reachable: self.reachable,
        }
    }

    fn sets(&mut self) -> &mut RunSets {
        match &mut self.policy.schedule {
            Schedule::Sets(sets) => sets,
            other => panic!("{other:?}"),
        }
    }

    fn reschedule(&mut self, active: bool) {
        let around = Around { active, ..self.around() };
        reschedule(&mut self.app, &self.policy, &around);
    }

    /// Plans at this moment and carries it out: the run, if one is due.
    fn at(&mut self, now: &str) -> Result<Run, Decision> {
        self.now = t(now);
        let planned = plan(&self.app, &self.policy, &self.around());
        self.app = planned.app;
        self.left_out = planned.left_out;
        match planned.decision {
            Decision::Run(run) => {
                self.begin(&run, true);
                Ok(run)
            }
            other => Err(other),
        }
    }

    fn begin(&mut self, run: &Run, scheduled: bool) {
        self.tasks += 1;
        let around = self.around();
        begin(&mut self.app, &self.policy, run, Uuid::from_u128(self.tasks), scheduled, &around);
    }

    fn by_hand(&mut self, now: &str) -> Run {
        self.now = t(now);
        let run = asked(&self.app, &self.policy, &self.around());
        self.begin(&run, false);
        run
    }

    /// The last task ends.
    fn end(&mut self, now: &str, code: ResultCode) {
        self.now = t(now);
        let around = Around { open: self.app.agenda.open.len() > 1, ..self.around() };
        end(&mut self.app, &self.policy, Uuid::from_u128(self.tasks), code, self.now, &around);
    }

    fn next(&self) -> Option<String> {
        self.app.next_run_at.map(|t| t.to_string()[5..16].to_owned())
    }
}

fn next(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn what_several_sets_say_for_one_moment_happens_once_and_full_wins() {
    let full = RunSet { kind: RunKind::Full, run_later: true, ..daily(1) };
    let mut world = World::new(RunSets::of(vec![daily(1), full, daily(5)]));
    assert_eq!(world.next(), next("01-02T01:00"));
    assert_eq!(world.at("01-02T00:59"), Err(Decision::Wait));
    let run = world.at("01-02T01:00").unwrap();
    assert_eq!((run.full, run.run_later, run.queue_timeout), (true, true, None));
    assert_eq!(world.next(), next("01-02T05:00"));
    assert_eq!(world.at("01-02T01:00"), Err(Decision::Wait), "once");
}

#[test]
fn the_kind_follows_from_the_scheme() {
    let full_set = || RunSet { kind: RunKind::Full, ..daily(1) };
    let kind = |scheme, set: RunSet| {
        let mut world = World::new(RunSets { scheme, ..RunSets::of(vec![set]) });
        world.at("01-02T01:00").unwrap().full
    };
    assert!(kind(Scheme::AlwaysFull, daily(1)));
    for scheme in [Scheme::AlwaysIncremental, Scheme::WeeklyIncremental, Scheme::Simple] {
        assert!(!kind(scheme, full_set()), "{scheme}: outside of custom the set has no say");
    }
    assert!(kind(Scheme::Custom, full_set()));
    for set in [RunKind::Auto, RunKind::Incremental, RunKind::Differential] {
        assert!(!kind(Scheme::Custom, RunSet { kind: set, ..daily(1) }));
    }
}

#[test]
fn the_first_run_on_the_day_on_which_weeks_begin_is_full() {
    let mut sets = RunSets { scheme: Scheme::WeeklyFull, ..RunSets::of(vec![daily(1), daily(5)]) };
    sets.week_starts_on = Weekday::Saturday;
    let mut world = World::new(sets);
    let mut kind = |at: &str| {
        let run = world.at(at).unwrap();
        world.end(at, ResultCode::Ok);
        run.full
    };
    assert_eq!(
        ["01-02T01:00", "01-03T01:00", "01-03T05:00", "01-04T01:00"].map(&mut kind),
        [false, true, false, false]
    );
    // A run by hand is of the kind that would be due; it is the first of its day then.
    assert!(world.by_hand("01-10T00:30").full);
    world.end("01-10T00:45", ResultCode::Ok);
    assert!(!world.at("01-10T01:00").unwrap().full);
}

#[test]
fn by_hand_the_first_set_says_the_kind() {
    let mut world = World::new(RunSets::of(vec![RunSet { kind: RunKind::Full, ..daily(1) }, daily(2)]));
    let run = world.by_hand("01-01T13:00");
    assert_eq!((run.full, run.run_later, run.queue_timeout), (true, true, None));
    assert_eq!(world.next(), next("01-02T01:00"), "the schedule goes on");
}

#[test]
fn a_run_after_the_last_one_comes_at_once_and_then_after_each_end() {
    let mut world = World::new(RunSets::of(vec![after_last(Interval::of(1, Unit::Months))]));
    assert_eq!(world.next(), next("01-01T12:00"), "at once");
    let run = world.at("01-01T12:00").unwrap();
    assert_eq!((run.run_later, run.queue_timeout), (true, None), "as with run_later");
    assert_eq!(world.next(), None, "not known before it ends");
    world.end("01-31T08:00", ResultCode::Error);
    assert_eq!(world.next(), next("02-28T08:00"), "months by the calendar, whatever the result");
    // A run by hand counts too.
    world.by_hand("02-10T00:00");
    assert_eq!(world.next(), None);
    world.end("02-10T01:00", ResultCode::Cancelled);
    assert_eq!(world.next(), next("03-10T01:00"));
    // However long the server was down, it runs.
    (world.now, world.up_since) = (t("06-01T00:00"), t("06-01T00:00"));
    assert!(world.at("06-01T00:00").is_ok());
}

#[test]
fn a_clock_that_was_set_back_makes_no_run_twice_and_keeps_nothing_waiting_for_long() {
    let run = |schedule: Option<Schedule>, sets: RunSets| {
        let mut world = World::new(sets);
        if let Some(schedule) = schedule {
            world.policy.schedule = schedule;
            world.reschedule(true);
        }
        world.at("01-20T13:00").unwrap();
        world.end("01-20T13:05", ResultCode::Ok);
        world
    };
    // Whether it is planned anew after the clock was set back, and when the next run is.
    let back = |mut world: World, to: &str| {
        world.now = t(to);
        let astray = is_astray(&world.app, &world.policy, world.now);
        if astray {
            let around = world.around();
            set_back(&mut world.app, &world.policy, &around);
        }
        (astray, world.next().unwrap())
    };
    let at_noon = || Some(Schedule::Daily { at: time(12, 0, 0, 0), time_zone: "UTC".into() });
    let hourly = || Some(Schedule::Interval { every: SignedDuration::from_hours(1) });
    let set = || RunSets::of(vec![RunSet { run_later: true, ..daily(12) }]);
    let after = || RunSets::of(vec![after_last(minutes(60))]);
    let cases = [
        (at_noon(), set(), "01-20T11:00", (false, "01-21T12:00")),
        (at_noon(), set(), "01-14T11:00", (false, "01-21T12:00")),
        (at_noon(), set(), "01-12T11:00", (true, "01-12T12:00")),
        (None, set(), "01-20T13:05", (false, "01-21T12:00")),
        (None, set(), "01-20T11:00", (true, "01-21T12:00")),
        (None, set(), "01-12T11:00", (true, "01-12T12:00")),
        (hourly(), set(), "01-20T13:05", (false, "01-20T14:00")),
        (hourly(), set(), "01-20T12:30", (true, "01-20T13:30")),
        (None, after(), "01-20T13:05", (false, "01-20T14:05")),
        (None, after(), "01-20T12:30", (true, "01-20T13:30")),
    ];
    for (schedule, sets, to, (astray, next)) in cases {
        let about = format!("{schedule:?} {sets:?} back to {to}");
        assert_eq!(back(run(schedule, sets), to), (astray, next.to_owned()), "{about}");
    }
}

#[test]
fn a_delay_below_a_minute_is_a_minute() {
    let mut world = World::new(RunSets::of(vec![after_last(Interval::of(1, Unit::Seconds))]));
    world.at("01-01T12:00").unwrap();
    world.end("01-01T12:10", ResultCode::Ok);
    assert_eq!(world.next(), next("01-01T12:11"));
}

#[test]
fn a_run_over_a_first_is_left_out_and_counted() {
    let mut world = World::new(RunSets::of(vec![daily(1)]));
    world.at("01-02T01:00").unwrap();
    assert_eq!(world.at("01-03T01:00"), Err(Decision::Pass));
    assert_eq!((world.app.agenda.skipped, world.next()), (1, next("01-04T01:00")));
    let at = t("01-03T01:00");
    assert_eq!(world.left_out, Some(LeftOut { why: Why::Busy, count: 1, first: at, last: at }));
    world.end("01-03T08:00", ResultCode::Ok);
    assert!(world.at("01-04T01:00").is_ok());
}

#[test]
fn what_passes_while_a_run_is_open_is_that_runs_doing_whatever_else_was_wrong() {
    let window = Some(Window { from: time(1, 0, 0, 0), to: time(5, 0, 0, 0) });
    let mut world = World::new(RunSets { window, ..RunSets::of(vec![daily(1)]) });
    world.at("01-02T01:00").unwrap();
    // The server was down for days, and whoever has the run still works on it.
    world.up_since = t("01-05T06:00");
    assert_eq!(world.at("01-05T06:00"), Err(Decision::Pass));
    let busy = LeftOut { why: Why::Busy, count: 3, first: t("01-03T01:00"), last: t("01-05T01:00") };
    assert_eq!(world.left_out, Some(busy));
    // One that came while the server was down, and whose window has closed.
    world.up_since = t("01-06T06:00");
    assert_eq!(world.at("01-06T06:00"), Err(Decision::Pass));
    assert_eq!(world.left_out.map(|l| (l.why, l.count)), Some((Why::Busy, 1)));
}

#[test]
fn a_moment_that_came_just_before_an_end_was_noted_is_not_lost() {
    let mut world = World::new(RunSets::of(vec![daily(1), daily(2)]));
    world.at("01-02T01:00").unwrap();
    world.end("01-02T02:00", ResultCode::Ok);
    assert_eq!(world.next(), next("01-02T02:00"));
    assert!(world.at("01-02T02:00").is_ok());
    assert_eq!(world.next(), next("01-03T01:00"));
}

#[test]
fn a_run_waits_for_its_machine_an_hour_or_until_the_next() {
    let every = |step: u64| {
        let times = Timetable { step: Some(minutes(step)), ..Timetable::every(Period::Daily) };
        RunSet { kind: RunKind::Auto, when: When::Times(times), run_later: false }
    };
    let wait = |sets| World::new(sets).at("01-01T18:00").unwrap().queue_timeout.map(|d| d.as_secs() / 60);
    assert_eq!(wait(RunSets::of(vec![every(180)])), Some(60));
    assert_eq!(wait(RunSets::of(vec![every(20)])), Some(20));
    assert_eq!(wait(RunSets::of(vec![RunSet { run_later: true, ..every(20) }])), None);
    let limited = RunSets { max_parallel: 2, ..RunSets::of(vec![every(180)]) };
    assert_eq!(wait(limited.clone()), Some(60), "its machine is away");
    let mut there = World::new(limited);
    there.reachable = true;
    let patience = there.at("01-01T18:00").unwrap().queue_timeout;
    assert_eq!(patience, Some(SignedDuration::from_hours(3)), "waiting for a place is no miss");
}

#[test]
fn of_what_was_missed_while_the_server_was_down_the_last_is_made_up_for_with_run_later_only() {
    let down = |run_later| {
        let mut world = World::new(RunSets::of(vec![RunSet { run_later, ..daily(1) }, daily(2)]));
        world.up_since = t("01-09T01:30");
        (world.at("01-09T01:30"), world)
    };
    let (late, mut world) = down(true);
    assert_eq!(late.unwrap().at, t("01-09T01:00"), "one, and the last");
    let missed = LeftOut { why: Why::Late, count: 14, first: t("01-02T01:00"), last: t("01-08T02:00") };
    assert_eq!(world.left_out, Some(missed), "the one that is made up for is not missed");
    world.end("01-09T01:45", ResultCode::Ok);
    assert!(world.at("01-09T02:00").is_ok(), "what comes after the start is not missed");
    let (missed, mut world) = down(false);
    assert_eq!(missed, Err(Decision::Pass));
    assert_eq!((world.next(), world.app.agenda.skipped), (next("01-09T02:00"), 15));
    assert_eq!(world.left_out, Some(LeftOut { count: 15, last: t("01-09T01:00"), ..missed_since("01-02T01:00") }));
    assert!(world.at("01-09T02:00").is_ok());
    assert_eq!(world.left_out, None, "each is told once");
}

fn missed_since(first: &str) -> LeftOut {
    LeftOut { why: Why::Late, count: 0, first: t(first), last: t(first) }
}

#[test]
fn a_plain_schedule_makes_up_for_the_last_run_and_tells_of_the_others() {
    let mut world = World::new(RunSets::of(vec![daily(1)]));
    world.policy.schedule = Schedule::Interval { every: SignedDuration::from_hours(1) };
    world.reschedule(true);
    // A week without the server: 168 moments, of which the last is made up for.
    world.up_since = t("01-08T12:00");
    assert_eq!(world.at("01-08T12:00").unwrap().at, t("01-08T12:00"));
    let missed = LeftOut { why: Why::Late, count: 167, first: t("01-01T13:00"), last: t("01-08T11:00") };
    assert_eq!(world.left_out, Some(missed));
    // While that one is not done, the next ones are skipped, however many have come when somebody looks.
    assert_eq!(world.at("01-08T13:00"), Err(Decision::Pass));
    let at = t("01-08T13:00");
    assert_eq!(world.left_out, Some(LeftOut { why: Why::Busy, count: 1, first: at, last: at }));
    assert_eq!(world.at("01-08T15:30"), Err(Decision::Pass));
    assert_eq!(world.left_out.map(|l| (l.why, l.count)), Some((Why::Busy, 2)));
    assert_eq!((world.next(), world.app.agenda.skipped), (next("01-08T16:30"), 170));
    world.end("01-08T15:40", ResultCode::Ok);
    assert!(world.at("01-08T16:30").is_ok() && world.left_out.is_none());
}

#[test]
fn moments_are_counted_as_far_as_is_sensible_and_the_last_is_always_among_them() {
    let times = Timetable { step: Some(minutes(1)), ..Timetable::every(Period::Daily) };
    let sets = RunSets::of(vec![at_once(When::Times(times)).sets.remove(1), after_last(minutes(5)), daily(1)]);
    let past = Past { zone: &UTC, since: t("01-01T00:00"), applied: t("01-01T00:00"), ended: None, open: true };
    let found = sets.moments(t("01-02T00:30"), t("01-02T01:30"), &past, 1000);
    assert_eq!((found.len(), found[0], found[60]), (61, t("01-02T00:30"), t("01-02T01:30")), "each once, in order");
    let found = sets.moments(t("01-02T00:30"), t("01-02T01:30"), &past, 10);
    assert_eq!((found.len(), found[0], found[9]), (10, t("01-02T00:30"), t("01-02T01:30")));
}

#[test]
fn what_was_due_while_the_server_was_up_runs_also_when_it_is_late() {
    let mut world = World::new(RunSets::of(vec![daily(1)]));
    assert_eq!(world.at("01-05T03:00").unwrap().at, t("01-05T01:00"));
}

#[test]
fn a_failed_run_is_repeated_as_often_as_is_said() {
    let again = Some(Again { interval: minutes(10), attempts: 2 });
    let full = RunSet { kind: RunKind::Full, run_later: true, ..daily(1) };
    let mut world = World::new(RunSets { again, ..RunSets::of(vec![full]) });
    world.at("01-02T01:00").unwrap();
    world.end("01-02T01:30", ResultCode::Error);
    assert_eq!(world.next(), next("01-02T01:40"));
    let second = world.at("01-02T01:40").unwrap();
    let attempt = second.repeats.unwrap();
    assert_eq!((attempt.first, attempt.number), (Uuid::from_u128(1), 2));
    assert_eq!((second.full, second.run_later), (true, true), "of the same kind");
    world.end("01-02T02:00", ResultCode::TimedOut);
    let third = world.at("01-02T02:10").unwrap().repeats.unwrap();
    assert_eq!((third.first, third.number), (Uuid::from_u128(1), 3));
    world.end("01-02T02:20", ResultCode::Abandoned);
    assert_eq!(world.next(), next("01-03T01:00"), "two more attempts at most");
}

#[test]
fn a_run_is_not_repeated_after_success_or_cancellation_or_when_it_was_by_hand_or_the_next_comes() {
    let again = Some(Again { interval: minutes(90), attempts: 9 });
    let repeated = |code, ends: &str| {
        let mut world = World::new(RunSets { again, ..RunSets::of(vec![daily(1), daily(5)]) });
        world.at("01-02T01:00").unwrap();
        world.end(ends, code);
        world.next()
    };
    assert_eq!(repeated(ResultCode::Error, "01-02T02:00"), next("01-02T03:30"));
    for code in [ResultCode::Ok, ResultCode::Warning, ResultCode::Cancelled] {
        assert_eq!(repeated(code, "01-02T02:00"), next("01-02T05:00"));
    }
    assert_eq!(repeated(ResultCode::Error, "01-02T03:30"), next("01-02T05:00"), "the next comes before");
    let mut world = World::new(RunSets { again, ..RunSets::of(vec![daily(1)]) });
    world.by_hand("01-01T13:00");
    world.end("01-01T13:10", ResultCode::Error);
    assert_eq!(world.next(), next("01-02T01:00"), "by hand");
    // A repetition that is due while the server is down gives way to the next moment.
    let mut world = World::new(RunSets { again, ..RunSets::of(vec![daily(1), daily(5)]) });
    world.at("01-02T01:00").unwrap();
    world.end("01-02T02:00", ResultCode::Error);
    world.up_since = t("01-02T06:00");
    assert_eq!(world.at("01-02T06:00"), Err(Decision::Pass));
    assert_eq!(world.next(), next("01-03T01:00"));
}

#[test]
fn nothing_is_due_while_anything_is_switched_off_and_a_change_counts_at_once() {
    let mut world = World::new(RunSets::of(vec![daily(1)]));
    world.reschedule(false);
    assert_eq!(world.next(), None);
    world.sets().enabled = false;
    world.reschedule(true);
    assert_eq!(world.next(), None);
    world.sets().enabled = true;
    world.policy.enabled = false;
    world.reschedule(true);
    assert_eq!(world.next(), None);
    world.policy.enabled = true;
    world.sets().sets = vec![daily(3)];
    world.reschedule(true);
    assert_eq!(world.next(), next("01-02T03:00"));
    world.policy.schedule = Schedule::Manual {};
    world.reschedule(true);
    assert_eq!(world.next(), None);
}

#[test]
fn a_run_whose_delayed_start_is_still_to_come_survives_a_new_plan() {
    let max_delay = Some(Interval::of(4, Unit::Hours));
    let mut world = World::new(RunSets { max_delay, ..RunSets::of(vec![daily(1)]) });
    let planned = world.app.next_run_at.unwrap();
    let point = t("01-02T01:00");
    assert!(planned > point && planned < point + SignedDuration::from_hours(4), "{planned}");
    world.now = point + SignedDuration::from_secs(1);
    world.reschedule(true);
    assert_eq!(world.app.next_run_at, Some(planned));
    world.now = planned;
    let found = plan(&world.app, &world.policy, &world.around());
    let Decision::Run(run) = found.decision else { panic!("{:?}", found.decision) };
    assert_eq!(run.at, point);
    world.app = found.app;
    world.begin(&run, true);
    world.reschedule(true);
    let next = world.app.agenda.due.unwrap().at;
    assert_eq!(next, t("01-03T01:00"), "a moment that was dealt with does not come again");
}

#[test]
fn schedules_of_sets_are_stored_as_they_are_and_checked() {
    let json = serde_json::json!({
        "kind": "sets",
        "sets": [
            {"kind": "full", "when": {"times": {"every": "monthly", "last_day": true}}, "run_later": true},
            {"when": {"after_last": {"count": 6, "unit": "hours"}}},
        ],
        "enabled": true,
        "scheme": "weekly_full",
        "week_starts_on": "sunday",
        "max_delay": {"count": 30, "unit": "minutes"},
        "max_parallel": 4,
        "again": {"interval": {"count": 10, "unit": "minutes"}, "attempts": 2},
        "time_zone": "agent",
    });
    let schedule: Schedule = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&schedule).unwrap(), json);
    assert_eq!(schedule.validate(), Ok(()));
    let unknown = serde_json::json!({"kind": "sets", "sets": [], "jitter": 1});
    assert!(serde_json::from_value::<Schedule>(unknown).is_err(), "unknown members are not dropped");
    let field = |sets: RunSets| Schedule::Sets(sets).validate().unwrap_err().field.unwrap();
    assert_eq!(field(RunSets::of(vec![])), "schedule.sets");
    assert_eq!(field(RunSets::of(vec![after_last(minutes(0))])), "schedule.sets[0].when.after_last");
    let again = Some(Again { interval: Interval::of(10_000, Unit::Days), attempts: 1 });
    assert_eq!(field(RunSets { again, ..RunSets::of(vec![daily(1)]) }), "schedule.again.interval");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_delay_is_stable_and_at_most_half_the_way_to_the_next(
        id in any::<u128>(),
        step in 1..3000_u64,
        most in 1..5000_u64,
        hours in 0..5000_i64,
    ) {
        let times = Timetable { step: Some(minutes(step)), ..Timetable::every(Period::Daily) };
        let set = RunSet { kind: RunKind::Auto, when: When::Times(times), run_later: false };
        let sets = RunSets { max_delay: Some(minutes(most)), ..RunSets::of(vec![set]) };
        let begin = t("01-01T00:00");
        let past = Past { zone: &UTC, since: begin, applied: begin, ended: None, open: false };
        let due = sets.next_after(begin + SignedDuration::from_hours(hours), &past).unwrap();
        let gap = sets.next_after(due.at, &past).unwrap().at.duration_since(due.at);
        let start = sets.start(due, Uuid::from_u128(id), &past);
        let delay = start.duration_since(due.at);
        prop_assert!(delay >= SignedDuration::ZERO && delay <= gap / 2 && delay <= minutes(most).length());
        prop_assert_eq!(sets.start(Due { full: true, ..due }, Uuid::from_u128(id), &past), start);
    }
}

#[test]
fn delays_are_spread_over_machines_and_moments() {
    let sets = RunSets { max_delay: Some(minutes(30)), ..RunSets::of(vec![daily(1)]) };
    let begin = t("01-01T00:00");
    let past = Past { zone: &UTC, since: begin, applied: begin, ended: None, open: false };
    let due =
        |day: i64| Due { at: t("01-02T01:00") + SignedDuration::from_hours(24 * day), full: false, run_later: false };
    let share = |starts: Vec<SignedDuration>| {
        let early = starts.iter().filter(|d| d.as_secs() < 15 * 60).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the first half");
        assert!(starts.iter().any(|d| d.as_secs() < 60) && starts.iter().any(|d| d.as_secs() > 29 * 60));
    };
    let delay = |id, due: Due| sets.start(due, Uuid::from_u128(id), &past).duration_since(due.at);
    share((0..1000).map(|id| delay(id, due(0))).collect());
    share((0..1000).map(|day| delay(1, due(day))).collect());
}

fn at_once(then: When) -> RunSets {
    let set = |when| RunSet { kind: RunKind::Auto, when, run_later: true };
    RunSets::of(vec![set(When::AtOnce {}), set(then)])
}

#[test]
fn what_runs_at_once_runs_when_it_is_applied_and_then_in_steps_from_there() {
    let mut world = World::new(at_once(When::Every(Interval::of(6, Unit::Hours))));
    assert_eq!(world.next(), next("01-01T12:00"));
    assert!(world.at("01-01T12:00").is_ok());
    assert_eq!(world.next(), next("01-01T18:00"));
    world.end("01-01T15:30", ResultCode::Ok);
    assert_eq!(world.next(), next("01-01T18:00"), "however long it took");
    // Of what was missed, one run is made up for, and the steps stay where they were.
    assert!(world.at("01-02T07:00").is_ok());
    assert_eq!(world.next(), next("01-02T12:00"));
}

#[test]
fn steps_of_months_follow_the_calendar() {
    let mut world = World::new(at_once(When::Every(Interval::of(1, Unit::Months))));
    world.app.created_at = t("01-31T12:00");
    assert!(world.at("01-31T12:00").is_ok());
    world.end("01-31T13:00", ResultCode::Error);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let due = world.app.next_run_at.unwrap();
        seen.push(due.to_string()[5..10].to_owned());
        world.now = due;
        world.at(&seen.last().map(|day| format!("{day}T12:00")).unwrap()).unwrap();
        world.end(&format!("{}T12:30", seen.last().unwrap()), ResultCode::Ok);
    }
    assert_eq!(seen, ["02-28", "03-31", "04-30"]);
}

#[test]
fn a_window_says_when_the_runs_within_it_have_to_be_over() {
    let night = Some(Window { from: time(22, 0, 0, 0), to: time(6, 0, 0, 0) });
    let times = Timetable { from: Some(time(22, 0, 0, 0)), ..Timetable::every(Period::Daily) };
    let mut world = World::new(RunSets { window: night, ..at_once(When::Times(times)) });
    // Applied outside the window, and the first backup comes at once all the same.
    assert_eq!(world.at("01-01T12:00").map(|run| run.until), Ok(None));
    world.end("01-01T13:00", ResultCode::Ok);
    assert_eq!(world.at("01-01T22:00").map(|run| run.until), Ok(Some(t("01-02T06:00"))));
    assert_eq!(world.app.agenda.open[0].until, Some(t("01-02T06:00")));
    world.end("01-02T06:00", ResultCode::Cancelled);
    // A night that was missed is not made up for by day, and a part of one that is left is used.
    assert_eq!(world.at("01-03T07:00"), Err(Decision::Pass));
    assert_eq!(world.left_out.map(|l| (l.why, l.last)), Some((Why::Closed, t("01-02T22:00"))));
    assert_eq!(world.next(), next("01-03T22:00"));
    assert_eq!(world.at("01-04T05:00").map(|run| run.until), Ok(Some(t("01-04T06:00"))));
    assert_eq!(world.by_hand("01-04T12:00").until, None);
}

#[test]
fn a_delay_leaves_time_in_the_window() {
    let window = Some(Window { from: time(1, 0, 0, 0), to: time(5, 0, 0, 0) });
    let sets = RunSets { window, max_delay: Some(minutes(600)), ..RunSets::of(vec![daily(1), daily(6)]) };
    let past = Past { zone: &UTC, since: t("01-01T00:00"), applied: t("01-01T00:00"), ended: None, open: false };
    let due = |at: &str| Due { at: t(at), full: false, run_later: false };
    for application in (0..50).map(Uuid::from_u128) {
        assert!(sets.start(due("01-05T01:00"), application, &past) <= t("01-05T03:00"), "half of it is left");
    }
    // What lies beside the window is not held to it.
    assert_eq!(sets.longest_delay(due("01-05T06:00"), &past), SignedDuration::from_mins(570));
    // So every day on which nothing is wrong has its two runs.
    let world = World::new(sets);
    let last = *foresee(&world.app, &world.policy, &world.around(), 40).last().unwrap();
    assert_eq!(last.at, t("01-21T06:00"));
    comes_true(world, 40);
}

#[test]
fn a_window_by_day_ends_on_the_same_day_and_holds_no_moment_beside_it() {
    let window = Some(Window { from: time(9, 0, 0, 0), to: time(17, 0, 0, 0) });
    let sets = RunSets { window, ..RunSets::of(vec![daily(10)]) };
    let past = Past { zone: &UTC, since: t("01-01T00:00"), applied: t("01-01T00:00"), ended: None, open: false };
    assert_eq!(sets.until(t("01-05T10:00"), &past), Some(t("01-05T17:00")));
    assert_eq!(sets.until(t("01-05T17:00"), &past), None);
    assert_eq!(sets.until(t("01-05T08:59"), &past), None);
}

#[test]
fn a_run_that_its_window_ended_is_not_repeated_outside_of_it() {
    let window = Some(Window { from: time(1, 0, 0, 0), to: time(5, 0, 0, 0) });
    let again = Some(Again { interval: minutes(30), attempts: 3 });
    let mut world = World::new(RunSets { window, again, ..RunSets::of(vec![daily(1)]) });
    assert!(world.at("01-02T01:00").is_ok());
    world.end("01-02T05:00", ResultCode::TimedOut);
    assert_eq!(world.next(), next("01-03T01:00"));
    assert!(world.at("01-03T01:00").is_ok());
    world.end("01-03T02:00", ResultCode::Error);
    assert_eq!(world.next(), next("01-03T02:30"), "there is time left");
}

/// What is foreseen is what the scheduler does when the time has come, each run over at once.
fn comes_true(mut world: World, count: usize) {
    let foreseen = foresee(&world.app, &world.policy, &world.around(), count);
    for expected in foreseen {
        assert_eq!(world.app.next_run_at, Some(expected.starts_at));
        world.now = expected.starts_at;
        let planned = plan(&world.app, &world.policy, &world.around());
        world.app = planned.app;
        let Decision::Run(run) = planned.decision else { panic!("{expected:?} does not come") };
        assert_eq!((run.at, run.full, run.until), (expected.at, expected.full, expected.until));
        assert!(expected.at <= expected.starts_at && expected.starts_at <= expected.latest_start);
        world.begin(&run, true);
        let (task, around) = (Uuid::from_u128(world.tasks), Around { open: false, ..world.around() });
        end(&mut world.app, &world.policy, task, ResultCode::Ok, expected.starts_at, &around);
    }
}

#[test]
fn what_is_foreseen_says_when_it_begins_and_when_it_is_stopped() {
    let window = Some(Window { from: time(1, 0, 0, 0), to: time(5, 0, 0, 0) });
    let delayed = RunSets { max_delay: Some(minutes(30)), window, ..RunSets::of(vec![daily(1)]) };
    let world = World::new(delayed);
    let runs = foresee(&world.app, &world.policy, &world.around(), 3);
    assert_eq!(runs.iter().map(|r| r.at).collect::<Vec<_>>(), [t("01-02T01:00"), t("01-03T01:00"), t("01-04T01:00")]);
    assert_eq!((runs[0].latest_start, runs[0].until), (t("01-02T01:30"), Some(t("01-02T05:00"))));
    comes_true(world, 10);
    let mut off = World::new(RunSets::of(vec![daily(1)]));
    off.policy.enabled = false;
    off.reschedule(true);
    assert_eq!(foresee(&off.app, &off.policy, &off.around(), 3), []);
    assert_eq!(why_nothing_comes(&off.policy, &off.around()), "the policy is disabled");
}

#[test]
fn what_follows_a_run_is_foreseen_while_one_is_under_way() {
    let mut world = World::new(RunSets::of(vec![after_last(Interval::of(6, Unit::Hours))]));
    world.at("01-01T12:00").unwrap();
    assert_eq!(world.next(), None, "it is not known when that one ends");
    let runs = foresee(&world.app, &world.policy, &world.around(), 2);
    assert_eq!(runs.iter().map(|r| r.at).collect::<Vec<_>>(), [t("01-01T18:00"), t("01-02T00:00")]);
}

proptest! {
    #[test]
    fn what_is_foreseen_comes_true(
        hours in prop::collection::vec(0i8..24, 1..3),
        delay in 0u64..200,
        every in prop::option::of(61u64..5000),
        after in prop::option::of(2u64..3000),
        weekly_full in any::<bool>(),
    ) {
        let mut sets: Vec<RunSet> = hours.into_iter().map(daily).collect();
        sets.extend(every.map(|n| RunSet { kind: RunKind::Full, when: When::Every(minutes(n)), run_later: true }));
        sets.extend(after.map(|n| after_last(minutes(n))));
        let scheme = if weekly_full { Scheme::WeeklyFull } else { Scheme::Custom };
        let max_delay = (delay > 0).then(|| minutes(delay));
        comes_true(World::new(RunSets { max_delay, scheme, ..RunSets::of(sets) }), 20);
    }
}
