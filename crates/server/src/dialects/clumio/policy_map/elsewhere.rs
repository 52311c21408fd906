//! Policies that were made through another API, or changed there: one operation that says the same as far as there are words
//! for it.

use domain::policy::calendar::{Interval, Unit, Weekday};
use domain::policy::retention::Keep;
use domain::policy::schedule::Zone;
use domain::policy::sets::{AGENT_ZONE, When};
use domain::policy::timetable::{Period, Timetable};
use domain::policy::{Policy, Retention, Schedule};
use domain::resource::ResourceKind;
use jiff::civil::Time;
use serde_json::{Value, json};

use super::{IMMEDIATE, VOLUME_BACKUP, WINDOW};
use crate::service::PolicyView;

/// The units, the largest first.
const UNITS: [(&str, i64); 4] = [("weeks", 7 * 24 * 60), ("days", 24 * 60), ("hours", 60), ("minutes", 1)];

/// The operation.
pub(super) fn operation(view: &PolicyView) -> Value {
    let policy = &view.policy;
    let window = window(&policy.schedule);
    let action = if window.is_some() { WINDOW } else { IMMEDIATE };
    let clock = |time: Option<Time>| time.map_or_else(String::new, |t| format!("{:02}:{:02}", t.hour(), t.minute()));
    json!({
        "type": kind(view),
        "action_setting": action,
        "slas": [{ "retention_duration": days_kept(&policy.retention), "rpo_frequency": frequency(&policy.schedule) }],
        "backup_window_tz": window.map(|(opens, closes)| json!({
            "start_time": clock(Some(opens)),
            // One that is open the whole day never closes.
            "end_time": clock(closes.filter(|closes| clock(Some(*closes)) != clock(Some(opens)))),
        })),
        "backup_window": null,
        "timezone": zone(policy),
        "backup_aws_region": view.repository,
        "advanced_settings": null,
    })
}

/// By what it is applied to.
fn kind(view: &PolicyView) -> &'static str {
    let mut kinds = view.kinds.iter();
    match (kinds.next(), kinds.next()) {
        (Some(ResourceKind::ComputeVm), None) => "aws_ec2_instance_backup",
        (Some(ResourceKind::BareMetal), None) => "machine_backup",
        (Some(ResourceKind::Mailbox), None) => "microsoft365_mailbox_backup",
        (Some(ResourceKind::Image), None) => "image_backup",
        _ => VOLUME_BACKUP,
    }
}

/// The zone that a schedule names.
pub(super) fn zone(policy: &Policy) -> Option<String> {
    match (&policy.schedule, policy.schedule.zone()) {
        (Schedule::Daily { .. } | Schedule::Sets(_), Zone::Named(name)) if name != AGENT_ZONE => Some(name.to_owned()),
        _ => None,
    }
}

/// The local times between which it runs, where it keeps to any.
fn window(schedule: &Schedule) -> Option<(Time, Option<Time>)> {
    match schedule {
        Schedule::Daily { at, .. } => Some((*at, None)),
        Schedule::Interval { .. } | Schedule::Manual {} => None,
        Schedule::Sets(sets) => {
            if let Some(window) = sets.window {
                return Some((window.from, Some(window.to)));
            }
            let times = sets.sets.iter().find_map(|set| match &set.when {
                When::Times(times) => Some(times),
                _ => None,
            })?;
            let first = times.at.iter().min().copied().filter(|_| times.every != Period::Hourly);
            Some((first.or(times.from).unwrap_or(Time::midnight()), None))
        }
    }
}

/// How long backups stay, where ages alone say it.
fn days_kept(retention: &Retention) -> Value {
    let days = retention.rules.iter().map(|rule| match rule.keep {
        Keep::MaxAge(age) => Some(age.whole_days()),
        Keep::MaxCount(_) => None,
    });
    match days.collect::<Option<Vec<_>>>().and_then(|days| days.into_iter().max()) {
        Some(days) => json!({ "unit": "days", "value": days.max(1) }),
        None => Value::Null,
    }
}

/// How often it runs: its shortest interval.
fn frequency(schedule: &Schedule) -> Value {
    match schedule {
        Schedule::Manual {} => told("on_demand", None, &[]),
        Schedule::Daily { .. } => told("days", Some(1), &[]),
        Schedule::Interval { every } => in_minutes(every.as_secs() / 60, &[]),
        Schedule::Sets(sets) => {
            let all = sets.sets.iter().filter_map(|set| match &set.when {
                When::AtOnce {} => None,
                When::AfterLast(step) | When::Every(step) => Some((minutes(*step), of_interval(*step))),
                When::Times(times) => Some(of_times(times, sets.week_starts_on)),
            });
            let shortest = all.min_by_key(|(length, _)| *length).filter(|_| sets.enabled);
            shortest.map_or_else(|| told("on_demand", None, &[]), |(_, told)| told)
        }
    }
}

fn minutes(step: Interval) -> i64 {
    (step.length().as_secs() / 60).max(1)
}

fn of_interval(step: Interval) -> Value {
    match step.unit {
        Unit::Months => months(step.count),
        _ => in_minutes(minutes(step), &[]),
    }
}

fn months(count: u64) -> Value {
    if count > 0 && count.is_multiple_of(12) {
        told("years", Some(count / 12), &[])
    } else {
        told("months", Some(count), &[])
    }
}

/// A timetable's shortest interval with its length in minutes.
fn of_times(times: &Timetable, week: Weekday) -> (i64, Value) {
    let step = times.step.map(minutes);
    let nth = step.filter(|step| *step >= 24 * 60).map_or(1, |step| step / (24 * 60));
    let count = nth.unsigned_abs();
    let offset = |day: &Weekday| (*day as i64 + 1) % 7;
    let mut days: Vec<i64> = times.weekdays.iter().map(offset).collect();
    days.sort_unstable();
    let several = shortest_gap(&times.at).filter(|_| times.every != Period::Hourly);
    let within = several.or(step.filter(|step| *step < 24 * 60 && times.at.is_empty()));
    match (within, times.every) {
        (Some(gap), _) => (gap, in_minutes(gap, &days)),
        (None, Period::Hourly) if nth == 1 => (60, in_minutes(60, &days)),
        (None, Period::Hourly | Period::Daily) => (nth * 24 * 60, in_minutes(nth * 24 * 60, &days)),
        (None, Period::Weekly) => {
            let days = if days.is_empty() { vec![offset(&week)] } else { days };
            (nth * 7 * 24 * 60, told("weeks", Some(count), &days))
        }
        (None, Period::Monthly) if times.months.len() == 1 => (nth * 365 * 24 * 60, told("years", Some(count), &[])),
        (None, Period::Monthly) => (nth * 30 * 24 * 60, months(count)),
    }
}

/// The minutes between the two times of a day that are nearest to each other.
fn shortest_gap(at: &[Time]) -> Option<i64> {
    let mut minutes: Vec<i64> = at.iter().map(|t| i64::from(t.hour()) * 60 + i64::from(t.minute())).collect();
    minutes.sort_unstable();
    minutes.dedup();
    minutes.windows(2).map(|pair| pair[1] - pair[0]).min()
}

/// So many minutes in the largest unit that fits.
fn in_minutes(minutes: i64, days: &[i64]) -> Value {
    let minutes = minutes.max(1);
    let (unit, length) = UNITS.iter().find(|(_, length)| minutes % length == 0).copied().unwrap_or(("minutes", 1));
    told(unit, Some((minutes / length).unsigned_abs()), days)
}

fn told(unit: &str, value: Option<u64>, days: &[i64]) -> Value {
    let offsets = if days.is_empty() { Value::Null } else { json!(days) };
    json!({ "unit": unit, "value": value, "offsets": offsets })
}
