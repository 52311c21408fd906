//! What operations mean (D36): when backups are made, which of them stay, and where they go.

use domain::policy::calendar::{Interval, Unit, Weekday};
use domain::policy::retention::{Keep, Rule};
use domain::policy::sets::{RunKind, RunSet, RunSets, Scheme, When, Window};
use domain::policy::timetable::{Period, Timetable};
use domain::policy::{Retention, Schedule};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};
use serde_json::Value;

use super::super::body::Members;
use super::super::disk::check_advanced;
use super::{IMMEDIATE, TYPES, WINDOW};

/// The units of how long backups stay.
const RETENTION_UNITS: [&str; 4] = ["days", "weeks", "months", "years"];
/// The units of how often backups are made.
const RPO_UNITS: [&str; 8] = ["minutes", "hours", "days", "weeks", "weekly", "months", "years", ON_DEMAND];
/// The unit of backups that are made only when somebody asks.
const ON_DEMAND: &str = "on_demand";
/// The days that offsets count, from 0.
const DAYS: [Weekday; 7] = [
    Weekday::Sunday,
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
];
/// So many of the newest are all.
const ALL: u64 = u32::MAX as u64;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// What the operations of a policy mean together.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Meaning {
    pub(in super::super) schedule: Schedule,
    pub(in super::super) retention: Retention,
    /// The name of the repository; none = the usual one.
    pub(in super::super) repository: Option<String>,
}

/// One service level: how often, and for how long.
#[derive(Debug, Clone, PartialEq)]
struct Sla {
    /// None = for ever.
    keep: Option<Interval>,
    /// None = only on demand.
    every: Option<Every>,
}

/// How often.
#[derive(Debug, Clone, PartialEq)]
struct Every {
    interval: Interval,
    /// In calendar years; the interval says it in months.
    yearly: bool,
    /// On which days of the week.
    days: Vec<Weekday>,
}

/// Reads the operations of a body; what is wrong is noted there.
pub(in super::super) fn read(body: &Members<'_>) -> Meaning {
    let none = Meaning { schedule: Schedule::Manual {}, retention: Retention::default(), repository: None };
    if body.value("operations").is_none() {
        body.fault("operations", "it is missing; a list is expected, which may be empty");
    }
    let zone = zone(body).unwrap_or("UTC");
    let mut meanings: Vec<Meaning> = Vec::new();
    let mut types = Vec::new();
    for operation in body.objects("operations").unwrap_or_default() {
        let kind = operation.required_text("type");
        if !kind.is_empty() && !TYPES.contains(&kind) {
            operation.fault("type", format!("'{kind}' is none of: {}", TYPES.join(", ")));
        } else if types.contains(&kind) {
            operation.fault("type", format!("'{kind}' is there twice"));
        }
        types.push(kind);
        let meaning = read_one(&operation, zone);
        if meanings.first().is_some_and(|first| *first != meaning) {
            // Each policy has one schedule here.
            operation.refuse("slas", "operations of one policy with different slas, windows or regions are not possible here; make a policy for each");
        }
        meanings.push(meaning);
    }
    meanings.into_iter().next().unwrap_or(none)
}

/// The time zone that an object names, if there is such a one.
fn zone<'b>(object: &Members<'b>) -> Option<&'b str> {
    let name = object.text("timezone")?;
    if TimeZone::get(name).is_err() {
        object.fault("timezone", format!("there is no time zone '{name}'; an IANA name, like Europe/Berlin"));
        return None;
    }
    Some(name)
}

fn read_one(operation: &Members<'_>, zone_of_policy: &str) -> Meaning {
    operation.required_text("action_setting");
    let action = operation.one_of("action_setting", &[IMMEDIATE, WINDOW]);
    let at_once = action == Some(IMMEDIATE);
    let window = match operation.value("backup_window_tz") {
        Some(_) => operation.object("backup_window_tz"),
        None => operation.object("backup_window"),
    };
    if action == Some(WINDOW) && window.as_ref().is_none_or(is_blank) {
        let message = "'window' needs one, like {\"start_time\": \"22:00\", \"end_time\": \"06:00\"}";
        // Whoever gave another type was told so.
        if operation.value("backup_window_tz").is_none_or(Value::is_object) {
            operation.fault("backup_window_tz", message);
        }
    }
    let window = window.and_then(|window| read_window(&window));
    let zone = zone(operation).unwrap_or(zone_of_policy);
    if let Some(advanced) = operation.object("advanced_settings") {
        check_advanced(&advanced);
    }
    let slas: Vec<Sla> = operation.objects("slas").unwrap_or_default().iter().filter_map(read_sla).collect();
    Meaning {
        schedule: schedule(&slas, at_once, window, zone),
        retention: retention(&slas),
        repository: operation.text("backup_aws_region").map(str::to_owned),
    }
}

/// Whether a window says nothing.
fn is_blank(window: &Members<'_>) -> bool {
    let nothing = |name: &str| window.value(name).is_none_or(|value| value.as_str() == Some(""));
    nothing("start_time") && nothing("end_time")
}

/// When a window opens and closes; none where nothing is said.
fn read_window(window: &Members<'_>) -> Option<(Time, Option<Time>)> {
    let time = |name: &str| {
        let text = window.text(name)?;
        let read = text.split_once(':').and_then(|(hour, minute)| {
            let number = |t: &str| if t.len() == 2 { t.parse::<i8>().ok() } else { None };
            Time::new(number(hour)?, number(minute)?, 0, 0).ok()
        });
        if read.is_none() {
            window.fault(name, format!("'{text}' is no time of day like 22:30"));
        }
        read
    };
    let (opens, closes) = (time("start_time"), time("end_time"));
    if opens.is_some() && opens == closes {
        window.fault("end_time", "the window closes when it opens; leave it empty for one that never closes");
    }
    if opens.is_none() && closes.is_some() && window.text("start_time").is_none() {
        window.fault("start_time", "it is missing");
    }
    Some((opens?, closes))
}

fn read_sla(sla: &Members<'_>) -> Option<Sla> {
    // Null is what is shown of policies that keep everything.
    let keep = match sla.value("retention_duration") {
        None => Some(None),
        Some(_) => sla.object("retention_duration").and_then(|keep| {
            keep.required_text("unit");
            let unit = keep.one_of("unit", &RETENTION_UNITS);
            let value = positive(&keep, true);
            checked(&keep, interval(unit?, value?)).map(Some)
        }),
    };
    let every = sla.required_object("rpo_frequency");
    let every = every.and_then(|every| {
        every.required_text("unit");
        let unit = every.one_of("unit", &RPO_UNITS)?;
        let days = offsets(&every);
        if unit == ON_DEMAND {
            return Some(None);
        }
        let value = positive(&every, unit != "weekly");
        let interval = checked(&every, interval(unit, value?))?;
        Some(Some(Every { interval, yearly: unit == "years", days }))
    });
    Some(Sla { keep: keep?, every: every? })
}

/// A value from 1; 1 where it need not be there.
fn positive(object: &Members<'_>, required: bool) -> Option<u64> {
    let value = object.integer("value");
    match value {
        Some(value) if value < 1 => object.fault("value", format!("{value} is less than 1")),
        None if object.value("value").is_none() && required => object.fault("value", "it is missing"),
        _ => {}
    }
    match value {
        Some(value) => u64::try_from(value).ok().filter(|v| *v > 0),
        None => (!required).then_some(1),
    }
}

fn offsets(every: &Members<'_>) -> Vec<Weekday> {
    let mut days = Vec::new();
    for offset in every.list("offsets").unwrap_or_default() {
        match offset.as_u64().and_then(|n| DAYS.get(usize::try_from(n).ok()?)) {
            Some(day) => days.push(*day),
            None => every.fault("offsets", format!("{offset} is no day of the week from 0 (Sunday) to 6")),
        }
    }
    days.sort_by_key(|day| DAYS.iter().position(|d| d == day));
    days.dedup();
    days
}

fn interval(unit: &str, value: u64) -> Interval {
    let unit = match unit {
        "minutes" => Unit::Minutes,
        "hours" => Unit::Hours,
        "days" => Unit::Days,
        "weeks" | "weekly" => Unit::Weeks,
        "months" => Unit::Months,
        _ => return Interval::of(value.saturating_mul(12), Unit::Months),
    };
    Interval::of(value, unit)
}

fn checked(object: &Members<'_>, interval: Interval) -> Option<Interval> {
    if let Err(error) = interval.check("value") {
        object.fault("value", error.message);
        return None;
    }
    Some(interval)
}

fn schedule(slas: &[Sla], at_once: bool, window: Option<(Time, Option<Time>)>, zone: &str) -> Schedule {
    let set = |when| RunSet { kind: RunKind::Auto, when, run_later: true };
    let mut whens: Vec<When> = Vec::new();
    for every in slas.iter().filter_map(|sla| sla.every.as_ref()) {
        // Without a window, the first backup says from when on the others are counted.
        let more = match window {
            None if at_once && every.days.is_empty() => vec![When::Every(every.interval)],
            _ => {
                let (opens, closes) = window.unwrap_or((Time::midnight(), None));
                times(every, opens, closes).into_iter().map(When::Times).collect()
            }
        };
        whens.extend(more);
    }
    whens.dedup();
    if at_once {
        whens.insert(0, When::AtOnce {});
    }
    if whens.is_empty() {
        return Schedule::Manual {};
    }
    Schedule::Sets(RunSets {
        scheme: Scheme::AlwaysIncremental,
        week_starts_on: Weekday::Sunday,
        time_zone: Some(zone.to_owned()),
        window: window.and_then(|(from, to)| Some(Window { from, to: to? })),
        ..RunSets::of(whens.into_iter().map(set).collect())
    })
}

/// The timetables of backups in a window: in steps as long as it is open, or when it opens on some days.
fn times(every: &Every, opens: Time, closes: Option<Time>) -> Vec<Timetable> {
    let on = |period| Timetable { from: Some(opens), ..Timetable::every(period) };
    // So many of the days that count otherwise.
    let nth = |count: u64| (count > 1).then(|| Interval::of(count, Unit::Days));
    let Interval { count, unit } = every.interval;
    match unit {
        Unit::Weeks if count > 1 => {
            let days = if every.days.is_empty() { vec![Weekday::Sunday] } else { every.days.clone() };
            days.into_iter()
                .map(|day| Timetable { weekdays: vec![day], step: nth(count), ..on(Period::Weekly) })
                .collect()
        }
        Unit::Weeks => vec![Timetable { weekdays: every.days.clone(), ..on(Period::Weekly) }],
        Unit::Months if every.yearly => {
            vec![Timetable { months: vec![1], step: nth(count / 12), ..on(Period::Monthly) }]
        }
        Unit::Months => vec![Timetable { step: nth(count), ..on(Period::Monthly) }],
        _ if every.interval.length() >= DAY => {
            let days = u64::try_from(every.interval.whole_days()).unwrap_or(1);
            vec![Timetable { weekdays: every.days.clone(), step: nth(days), ..on(Period::Daily) }]
        }
        // A run does not begin when the window closes; one that never closes is open the whole day.
        _ => {
            let last = closes.unwrap_or(opens).wrapping_sub(1.minute());
            let weekdays = every.days.clone();
            vec![Timetable { weekdays, step: Some(every.interval), to: Some(last), ..on(Period::Daily) }]
        }
    }
}

/// The finest service level keeps all backups for its time, each other one the first of its spans.
fn retention(slas: &[Sla]) -> Retention {
    let finest = slas.iter().filter_map(|sla| sla.every.as_ref()).map(|every| every.interval.length()).min();
    let rule = |sla: &Sla| {
        let coarser = sla.every.as_ref().filter(|every| Some(every.interval.length()) != finest);
        let keep = sla.keep.map_or(Keep::MaxCount(ALL), Keep::MaxAge);
        Rule { keep, periods: Vec::new(), first_of: coarser.map(|every| every.interval) }
    };
    let rules: Vec<Rule> = slas.iter().map(rule).collect();
    if rules.iter().any(|rule| rule.keep == Keep::MaxCount(ALL) && rule.first_of.is_none()) {
        // One that keeps all for ever leaves nothing to the others.
        return Retention::default();
    }
    Retention { rules, before_backup: false }
}
