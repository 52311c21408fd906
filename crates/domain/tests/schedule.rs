//! Schedules, across the days on which clocks change.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use domain::plan::{Around, Decision, Plan, plan};
use domain::policy::{Agenda, Application, Policy, Retention, Schedule, Settings};
use domain::{Timestamp, Uuid};
use jiff::tz::TimeZone;

fn t(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn daily(at: &str) -> Schedule {
    serde_json::from_value(serde_json::json!({"kind": "daily", "at": at, "time_zone": "Europe/Berlin"})).unwrap()
}

fn berlin() -> TimeZone {
    // As a rule and not by name, so that the test needs no zone files.
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

#[test]
fn daily_runs_once_a_day_when_clocks_go_forward_and_back() {
    let runs = |schedule: Schedule, from: &str, n: usize| {
        let mut now = t(from);
        let next = std::iter::from_fn(|| {
            now = schedule.next_after(now, &berlin())?;
            Some(now.to_string())
        });
        next.take(n).collect::<Vec<_>>()
    };
    // On 2026-03-29 the hour from 2 to 3 does not exist; on 2026-10-25 it comes twice.
    assert_eq!(
        runs(daily("02:30"), "2026-03-28T00:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        runs(daily("02:30"), "2026-10-24T00:00:00Z", 3),
        ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
}

#[test]
fn a_run_is_strictly_later_than_now() {
    let due = t("2026-06-01T22:00:00Z");
    assert_eq!(daily("00:00").next_after(due, &berlin()), Some(t("2026-06-02T22:00:00Z")));
}

#[test]
fn bad_schedules_are_refused() {
    let parse = |v| serde_json::from_value::<Schedule>(v);
    assert!(parse(serde_json::json!({"kind": "daily", "at": "25:00", "time_zone": "UTC"})).is_err());
    assert!(parse(serde_json::json!({"kind": "manual", "at": "10:00"})).is_err(), "unknown members are not dropped");
    let short = parse(serde_json::json!({"kind": "interval", "every": "5s"})).unwrap();
    assert_eq!(short.validate().unwrap_err().field.unwrap(), "schedule.every");
    let hours = parse(serde_json::json!({"kind": "interval", "every": "6h"})).unwrap();
    assert_eq!(serde_json::to_value(&hours).unwrap(), serde_json::json!({"kind": "interval", "every": "6h"}));
}

#[test]
fn missed_runs_are_made_up_for_once_and_a_busy_resource_is_skipped() {
    let id = Uuid::nil();
    let now = t("2026-06-10T12:00:00Z");
    let app = |next: Option<&str>| Application {
        id,
        tenant: id,
        policy: id,
        resource: id,
        next_run_at: next.map(t),
        last_run_at: None,
        last_task: None,
        archive: None,
        agenda: Agenda::default(),
        created_at: now,
        updated_at: now,
    };
    let policy = |enabled| Policy {
        id,
        tenant: id,
        name: "Nightly".into(),
        kind: "backup".into(),
        enabled,
        schedule: daily("02:00"),
        settings: Settings::default(),
        as_written: None,
        retention: Retention::default(),
        repository: id,
        created_at: now,
        updated_at: now,
    };
    let planned = |next: Option<&str>, enabled, open| {
        let zone = berlin();
        let around = Around { now, up_since: now, zone: &zone, active: true, open, reachable: true };
        let Plan { decision, app, left_out } = plan(&app(next), &policy(enabled), &around);
        let decision = match decision {
            Decision::Run(run) => format!("run for {}, wait {:?}", run.at, run.queue_timeout),
            other => format!("{other:?}"),
        };
        let left_out = left_out.map_or(0, |l| l.count);
        (decision, left_out, app.next_run_at.map(|t| t.to_string()))
    };
    let next = Some("2026-06-11T00:00:00Z".to_owned());
    let missed = planned(Some("2026-06-01T00:00:00Z"), true, false);
    assert_eq!(missed, ("run for 2026-06-10T00:00:00Z, wait None".to_owned(), 9, next.clone()));
    let busy = planned(Some("2026-06-01T00:00:00Z"), true, true);
    assert_eq!(busy, ("Pass".to_owned(), 10, next));
    let early = planned(Some("2026-06-10T18:00:00Z"), true, false);
    assert_eq!(early, ("Wait".to_owned(), 0, Some("2026-06-10T18:00:00Z".to_owned())));
    let off = planned(Some("2026-06-01T00:00:00Z"), false, false);
    assert_eq!(off, ("Wait".to_owned(), 0, None));
}
