//! Settings of policies: what of them means something here (section 13), and how they are given back. The message itself is
//! kept with the policy, as it came (Y87).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::SignedDuration;
use domain::policy::calendar::{Interval, Unit, Weekday};
use domain::policy::retention::{Keep, Rule};
use domain::policy::sets::{Again, RunKind, RunSet, RunSets, Scheme, When};
use domain::policy::settings::{Command, Compression, Masks, Retry, When as At};
use domain::policy::timetable::{Period, Timetable};
use domain::policy::{Policy, Retention, Schedule, Settings};
use jiff::civil::Time;
use prost::Message;
use proto::yandex::cloud::backup::v1 as wire;
use wire::PolicySettings;
use wire::policy_settings as p;
use wire::policy_settings::scheduling::backup_set as set;

/// What settings mean here.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Meaning {
    /// How it runs.
    pub(super) settings: Settings,
    /// When it runs.
    pub(super) schedule: Schedule,
    /// What stays.
    pub(super) retention: Retention,
    /// The message, to be given back.
    pub(super) as_written: String,
}

/// What settings mean that were validated.
pub(super) fn read(wire: &PolicySettings) -> Meaning {
    Meaning {
        settings: settings(wire),
        schedule: wire.scheduling.as_ref().map_or(Schedule::Manual {}, schedule),
        retention: wire.retention.as_ref().map(retention).unwrap_or_default(),
        as_written: STANDARD.encode(wire.encode_to_vec()),
    }
}

/// The settings of a policy: as they came, but for a schedule or retention that somebody changed since (Y62); those of
/// policies that were made elsewhere are built from ours (Y61).
pub(super) fn print(policy: &Policy) -> PolicySettings {
    let written = policy.as_written.as_ref().and_then(|w| {
        let message = PolicySettings::decode(&*STANDARD.decode(&w.text).ok()?).ok()?;
        Some((message, w))
    });
    match written {
        Some((message, written)) => {
            let same_schedule = policy.schedule == written.schedule;
            let same_retention = policy.retention == written.retention;
            PolicySettings {
                scheduling: if same_schedule { message.scheduling } else { Some(print_schedule(&policy.schedule)) },
                retention: if same_retention { message.retention } else { Some(print_retention(&policy.retention)) },
                ..message
            }
        }
        None => PolicySettings {
            scheduling: Some(print_schedule(&policy.schedule)),
            retention: Some(print_retention(&policy.retention)),
            ..default()
        },
    }
}

/// The settings of a policy of which nothing is said (Y93); without schedule and retention.
pub(super) fn default() -> PolicySettings {
    let retries = |unit: p::interval::Type, count, max_attempts| p::RetriesConfiguration {
        enabled: true,
        interval: Some(p::Interval { r#type: unit as i32, count }),
        max_attempts,
    };
    PolicySettings {
        compression: p::Compression::Normal as i32,
        format: wire::Format::Auto as i32,
        reattempts: Some(retries(p::interval::Type::Seconds, 30, 30)),
        silent_mode_enabled: true,
        splitting: Some(p::Splitting { size: 1_099_511_627_776 }),
        vm_snapshot_reattempts: Some(retries(p::interval::Type::Minutes, 5, 3)),
        vss: Some(p::VolumeShadowCopyServiceSettings {
            enabled: true,
            provider: p::volume_shadow_copy_service_settings::VssProvider::TargetSystemDefined as i32,
        }),
        archive: Some(p::ArchiveProperties { name: domain::archive::DEFAULT_NAME.to_owned() }),
        performance_window: Some(p::PerformanceWindow { enabled: false }),
        cbt: p::ChangedBlockTracking::DoNotUse as i32,
        fast_backup_enabled: true,
        ..PolicySettings::default()
    }
}

fn settings(wire: &PolicySettings) -> Settings {
    let filters = wire.file_filters.clone().unwrap_or_default();
    let trimmed = |masks: Vec<String>| masks.into_iter().map(|m| m.trim().to_owned()).collect();
    Settings {
        masks: Masks { exclude: trimmed(filters.exclusion_masks), include: trimmed(filters.inclusion_masks) },
        compression: match wire.compression() {
            p::Compression::Unspecified | p::Compression::Normal => Compression::Auto,
            p::Compression::High => Compression::Better,
            p::Compression::Max => Compression::Max,
            p::Compression::Off => Compression::Off,
        },
        retries: wire.reattempts.as_ref().and_then(retry),
        snapshot_retries: wire.vm_snapshot_reattempts.as_ref().and_then(retry),
        background: wire.performance_window.is_some_and(|w| w.enabled),
        read_all: !wire.fast_backup_enabled,
        verify: wire.validation_enabled,
        freeze: wire.lvm_snapshotting_enabled,
        archive_name: wire.archive.as_ref().map(|a| a.name.clone()).unwrap_or_default(),
        sector_by_sector: wire.sector_by_sector,
        commands: wire.pre_post_commands.iter().filter_map(command).collect(),
        ..Settings::default()
    }
}

fn retry(wire: &p::RetriesConfiguration) -> Option<Retry> {
    let interval = wire.interval.as_ref().map_or(SignedDuration::ZERO, |i| interval(i).length());
    wire.enabled.then(|| Retry { attempts: u32::try_from(wire.max_attempts).unwrap_or(u32::MAX), interval })
}

fn command(wire: &p::PrePostCommand) -> Option<Command> {
    let when = match wire.r#type() {
        p::CommandType::Unspecified => return None,
        p::CommandType::PreCommand => At::Pre,
        p::CommandType::PostCommand => At::Post,
        p::CommandType::PreDataCommand => At::PreData,
        p::CommandType::PostDataCommand => At::PostData,
    };
    Some(Command {
        when,
        cmd: wire.cmd.clone(),
        args: wire.args.clone(),
        workdir: wire.workdir.clone(),
        enabled: wire.enabled,
        stop_on_error: wire.stop_on_error,
        wait: wire.wait,
    })
}

const UNITS: [(p::interval::Type, Unit); 6] = [
    (p::interval::Type::Seconds, Unit::Seconds),
    (p::interval::Type::Minutes, Unit::Minutes),
    (p::interval::Type::Hours, Unit::Hours),
    (p::interval::Type::Days, Unit::Days),
    (p::interval::Type::Weeks, Unit::Weeks),
    (p::interval::Type::Months, Unit::Months),
];

fn interval(wire: &p::Interval) -> Interval {
    let unit = UNITS.iter().find(|(theirs, _)| *theirs == wire.r#type()).map_or(Unit::Seconds, |(_, ours)| *ours);
    Interval { count: u64::try_from(wire.count).unwrap_or(0), unit }
}

/// A number of ours, as far as clients of JavaScript can count.
fn number(count: u64) -> i64 {
    const LARGEST: u64 = (1 << 53) - 1;
    count.min(LARGEST) as i64
}

fn print_interval(interval: Interval) -> p::Interval {
    let unit = UNITS.iter().find(|(_, ours)| *ours == interval.unit).map_or(p::interval::Type::Seconds, |(t, _)| *t);
    p::Interval { r#type: unit as i32, count: number(interval.count) }
}

const SCHEMES: [(p::scheduling::Scheme, Scheme); 6] = [
    (p::scheduling::Scheme::Simple, Scheme::Simple),
    (p::scheduling::Scheme::AlwaysFull, Scheme::AlwaysFull),
    (p::scheduling::Scheme::AlwaysIncremental, Scheme::AlwaysIncremental),
    (p::scheduling::Scheme::WeeklyIncremental, Scheme::WeeklyIncremental),
    (p::scheduling::Scheme::WeeklyFullDailyIncremental, Scheme::WeeklyFull),
    (p::scheduling::Scheme::Custom, Scheme::Custom),
];

const DAYS: [(p::Day, Weekday); 7] = [
    (p::Day::Monday, Weekday::Monday),
    (p::Day::Tuesday, Weekday::Tuesday),
    (p::Day::Wednesday, Weekday::Wednesday),
    (p::Day::Thursday, Weekday::Thursday),
    (p::Day::Friday, Weekday::Friday),
    (p::Day::Saturday, Weekday::Saturday),
    (p::Day::Sunday, Weekday::Sunday),
];

const KINDS: [(set::Type, RunKind); 4] = [
    (set::Type::Auto, RunKind::Auto),
    (set::Type::Full, RunKind::Full),
    (set::Type::Incremental, RunKind::Incremental),
    (set::Type::Differential, RunKind::Differential),
];

const PERIODS: [(p::RepeatePeriod, Period); 4] = [
    (p::RepeatePeriod::Hourly, Period::Hourly),
    (p::RepeatePeriod::Daily, Period::Daily),
    (p::RepeatePeriod::Weekly, Period::Weekly),
    (p::RepeatePeriod::Monthly, Period::Monthly),
];

fn ours<T: PartialEq, U: Copy>(table: &[(T, U)], theirs: &T) -> Option<U> {
    table.iter().find(|(t, _)| t == theirs).map(|(_, u)| *u)
}

fn theirs<T: Copy, U: PartialEq>(table: &[(T, U)], ours: &U) -> Option<T> {
    table.iter().find(|(_, u)| u == ours).map(|(t, _)| *t)
}

fn day(number: i32) -> Option<Weekday> {
    ours(&DAYS, &p::Day::try_from(number).ok()?)
}

fn period(number: i32) -> Option<Period> {
    ours(&PERIODS, &p::RepeatePeriod::try_from(number).ok()?)
}

fn schedule(wire: &p::Scheduling) -> Schedule {
    let sets = wire.backup_sets.iter().filter_map(run_set).collect();
    Schedule::Sets(RunSets {
        enabled: wire.enabled,
        scheme: ours(&SCHEMES, &wire.scheme()).unwrap_or_default(),
        week_starts_on: day(wire.weekly_backup_day).unwrap_or_default(),
        max_delay: wire.rand_max_delay.as_ref().map(interval),
        // None and less is no limit.
        max_parallel: u32::try_from(wire.max_parallel_backups.max(0)).unwrap_or(u32::MAX),
        again: wire.task_failure.as_ref().filter(|t| t.enabled).and_then(|t| {
            let attempts = u32::try_from(t.max_attempts).unwrap_or(u32::MAX);
            Some(Again { interval: interval(t.interval.as_ref()?), attempts })
        }),
        ..RunSets::of(sets)
    })
}

fn run_set(wire: &p::scheduling::BackupSet) -> Option<RunSet> {
    let kind = ours(&KINDS, &wire.r#type()).unwrap_or_default();
    Some(match wire.setting.as_ref()? {
        p::scheduling::backup_set::Setting::SinceLastExecTime(since) => {
            RunSet { kind, when: When::AfterLast(interval(since.delay.as_ref()?)), run_later: false }
        }
        p::scheduling::backup_set::Setting::Time(time) => {
            let numbers = |list: &[i64]| list.iter().filter_map(|n| i8::try_from(*n).ok()).collect();
            let times = Timetable {
                weekdays: time.weekdays.iter().filter_map(|n| day(*n)).collect(),
                at: time.repeat_at.iter().filter_map(time_of_day).collect(),
                step: time.repeat_every.as_ref().map(interval),
                from: time.time_from.as_ref().and_then(time_of_day),
                to: time.time_to.as_ref().and_then(time_of_day),
                monthdays: numbers(&time.monthdays),
                last_day: time.include_last_day_of_month,
                months: numbers(&time.months),
                ..Timetable::every(period(time.r#type)?)
            };
            RunSet { kind, when: When::Times(times), run_later: time.run_later }
        }
    })
}

fn time_of_day(wire: &p::TimeOfDay) -> Option<Time> {
    Time::new(i8::try_from(wire.hour).ok()?, i8::try_from(wire.minute).ok()?, 0, 0).ok()
}

fn retention(wire: &p::Retention) -> Retention {
    let rules = wire.rules.iter().filter_map(|rule| {
        let keep = match rule.condition.as_ref()? {
            p::retention::retention_rule::Condition::MaxAge(age) => Keep::MaxAge(interval(age)),
            p::retention::retention_rule::Condition::MaxCount(count) => {
                Keep::MaxCount(u64::try_from(*count).unwrap_or(0))
            }
        };
        let mut periods = Vec::new();
        for period in rule.backup_set.iter().filter_map(|n| period(*n)) {
            if !periods.contains(&period) {
                periods.push(period);
            }
        }
        Some(Rule { keep, periods, first_of: None })
    });
    Retention { rules: rules.collect(), before_backup: wire.before_backup }
}

fn print_retention(retention: &Retention) -> p::Retention {
    let rules = retention.rules.iter().map(|rule| p::retention::RetentionRule {
        backup_set: rule.periods.iter().filter_map(|n| theirs(&PERIODS, n)).map(|n| n as i32).collect(),
        condition: Some(match rule.keep {
            Keep::MaxAge(age) => p::retention::retention_rule::Condition::MaxAge(print_interval(age)),
            Keep::MaxCount(count) => p::retention::retention_rule::Condition::MaxCount(number(count)),
        }),
    });
    p::Retention { rules: rules.collect(), before_backup: retention.before_backup }
}

/// A schedule as its sets. What they cannot say becomes one set with the smallest gap of it, and what never runs by itself
/// is switched off (Y61).
fn print_schedule(schedule: &Schedule) -> p::Scheduling {
    let sets = match schedule {
        Schedule::Sets(sets) => return print_sets(sets),
        Schedule::Manual {} => return never(),
        Schedule::Interval { every } => vec![after_last(every.as_secs())],
        Schedule::Daily { at, time_zone } if at.second() == 0 && is_utc(time_zone) => {
            let times = When::Times(Timetable { at: vec![*at], ..Timetable::every(Period::Daily) });
            print_set(&RunSet { kind: RunKind::Auto, when: times, run_later: true }).into_iter().collect()
        }
        Schedule::Daily { time_zone, .. } if is_utc(time_zone) => vec![after_last(24 * 60 * 60)],
        // The day on which clocks are put forward has 23 hours.
        Schedule::Daily { .. } => vec![after_last(23 * 60 * 60)],
    };
    plain(sets)
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Etc/UTC")
}

fn after_last(seconds: i64) -> p::scheduling::BackupSet {
    let delay = Interval::of(seconds.max(1).unsigned_abs(), Unit::Seconds);
    p::scheduling::BackupSet { r#type: set::Type::Auto as i32, setting: Some(since_last(delay)) }
}

fn since_last(delay: Interval) -> p::scheduling::backup_set::Setting {
    let delay = Some(print_interval(delay));
    p::scheduling::backup_set::Setting::SinceLastExecTime(set::SinceLastExecTime { delay })
}

fn never() -> p::Scheduling {
    p::Scheduling { enabled: false, ..plain(vec![after_last(86_400)]) }
}

fn plain(backup_sets: Vec<p::scheduling::BackupSet>) -> p::Scheduling {
    p::Scheduling {
        backup_sets,
        enabled: true,
        max_parallel_backups: 0,
        rand_max_delay: Some(p::Interval { r#type: p::interval::Type::Minutes as i32, count: 30 }),
        scheme: p::scheduling::Scheme::AlwaysIncremental as i32,
        weekly_backup_day: p::Day::Monday as i32,
        task_failure: None,
    }
}

fn print_sets(sets: &RunSets) -> p::Scheduling {
    let printed: Vec<_> = sets.sets.iter().filter_map(print_set).collect();
    if printed.is_empty() {
        return never();
    }
    p::Scheduling {
        enabled: sets.enabled,
        max_parallel_backups: i64::from(sets.max_parallel),
        // It must be there; clients take this for none.
        rand_max_delay: Some(print_interval(sets.max_delay.unwrap_or(Interval::of(1, Unit::Seconds)))),
        scheme: theirs(&SCHEMES, &sets.scheme).map_or(0, |s| s as i32),
        weekly_backup_day: theirs(&DAYS, &sets.week_starts_on).map_or(0, |d| d as i32),
        task_failure: sets.again.map(|again| p::RetriesConfiguration {
            enabled: true,
            interval: Some(print_interval(again.interval)),
            max_attempts: i64::from(again.attempts),
        }),
        ..plain(printed)
    }
}

/// A set; none for one that this API has no words for, because it runs only once.
fn print_set(run: &RunSet) -> Option<p::scheduling::BackupSet> {
    let setting = match &run.when {
        When::AtOnce {} => return None,
        When::AfterLast(delay) | When::Every(delay) => since_last(*delay),
        When::Times(times) => {
            let numbers = |list: &[i8]| list.iter().map(|n| i64::from(*n)).collect();
            p::scheduling::backup_set::Setting::Time(set::Time {
                weekdays: times.weekdays.iter().filter_map(|d| theirs(&DAYS, d)).map(|d| d as i32).collect(),
                repeat_at: times.at.iter().map(print_time).collect(),
                repeat_every: times.step.map(print_interval),
                time_from: times.from.as_ref().map(print_time),
                time_to: times.to.as_ref().map(print_time),
                monthdays: numbers(&times.monthdays),
                include_last_day_of_month: times.last_day,
                months: numbers(&times.months),
                r#type: theirs(&PERIODS, &times.every).map_or(0, |p| p as i32),
                run_later: run.run_later,
            })
        }
    };
    let kind = theirs(&KINDS, &run.kind).map_or(0, |k| k as i32);
    Some(p::scheduling::BackupSet { r#type: kind, setting: Some(setting) })
}

fn print_time(time: &Time) -> p::TimeOfDay {
    p::TimeOfDay { hour: i64::from(time.hour()), minute: i64::from(time.minute()) }
}
