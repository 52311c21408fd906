//! Policies and their application to resources, on the wire.

use domain::policy::{self, Retention, Schedule};
use domain::{Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run_sets::{IntervalBody, RunSetsBody};

/// Schedule and settings, to be applied to resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Identity.
    pub id: Uuid,
    /// The owner; it can be applied to resources of this tenant and below.
    pub tenant: Uuid,
    /// The name people know.
    pub name: String,
    /// The kind of work: the type of the tasks it creates.
    pub kind: String,
    /// Whether it runs by itself. A disabled policy can still be run by hand.
    pub enabled: bool,
    /// When it runs.
    #[schema(value_type = ScheduleBody)]
    pub schedule: Schedule,
    /// How it runs.
    pub settings: Settings,
    /// Which of its backups stay; absent = all.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schema(value_type = RetentionBody)]
    pub retention: Retention,
    /// Where backups go.
    pub repository: Uuid,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
}

impl From<&policy::Policy> for Policy {
    fn from(p: &policy::Policy) -> Policy {
        Policy {
            id: p.id,
            tenant: p.tenant,
            name: p.name.clone(),
            kind: p.kind.clone(),
            enabled: p.enabled,
            schedule: p.schedule.clone(),
            settings: p.settings.clone().into(),
            retention: p.retention.clone(),
            repository: p.repository,
            created_at: p.created_at,
            updated_at: p.updated_at,
        }
    }
}

// Stands for the domain's schedule in the OpenAPI document; the two are compared by a test below.
/// When a policy runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = Schedule)]
pub enum ScheduleBody {
    /// Once a day at this time in this zone.
    Daily {
        /// Local time of day, `HH:MM` or `HH:MM:SS`.
        #[schema(example = "02:30")]
        at: String,
        /// IANA time zone name.
        #[schema(example = "Europe/Berlin")]
        time_zone: String,
    },
    /// Again and again, this long after the former run was due.
    Interval {
        /// The time between two runs, from one minute to ten years.
        #[schema(example = "6h")]
        every: String,
    },
    /// Only when somebody asks.
    Manual {},
    /// As several sets say together.
    Sets(RunSetsBody),
}

/// What a backup does besides reading everything below the sources. What is left out is as usual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Globs: only what matches is kept. Empty = everything.
    pub includes: Vec<String>,
    /// Globs of what to leave out.
    pub excludes: Vec<String>,
    /// Masks, beside the globs: what either leaves out is left out.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(value_type = MasksBody)]
    pub masks: policy::settings::Masks,
    /// How hard new data is compressed: `auto`, `better`, `max` or `off`.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(value_type = String, example = "better")]
    pub compression: policy::settings::Compression,
    /// More tries after errors of the storage or the connection to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RetryBody>)]
    pub retries: Option<policy::settings::Retry>,
    /// More tries of freezing a volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RetryBody>)]
    pub snapshot_retries: Option<policy::settings::Retry>,
    /// Whether to run with the lowest priority for processor and disk.
    #[serde(skip_serializing_if = "is_default")]
    pub background: bool,
    /// Whether to read every file; otherwise those whose size and times are as before are not read again.
    #[serde(skip_serializing_if = "is_default")]
    pub read_all: bool,
    /// Whether other file systems below the paths are left out; the folder on which one is mounted is kept, empty.
    #[serde(skip_serializing_if = "is_default")]
    pub one_file_system: bool,
    /// Whether each good backup is verified afterwards by reading all of its data.
    #[serde(skip_serializing_if = "is_default")]
    pub verify: bool,
    /// Where that is wished: only so many files, picked at random, are restored as a test and compared with what was stored
    /// and with the machine; at most 1000, 0 = all data is read.
    #[serde(skip_serializing_if = "is_default")]
    pub verify_files: u32,
    /// Whether all data of a backup is read after it now and then, in place of what follows anyway: when that was last done so
    /// long ago, or never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<IntervalBody>)]
    pub verify_all_every: Option<policy::calendar::Interval>,
    /// Whether to read from frozen copies of the volumes where the system can make them (LVM).
    #[serde(skip_serializing_if = "is_default")]
    pub freeze: bool,
    /// The template of the names of archives; empty = the usual one.
    #[serde(skip_serializing_if = "is_default")]
    pub archive_name: String,
    /// Whether a raw copy of the disks was wished. There is none: each such run says so in a warning.
    #[serde(skip_serializing_if = "is_default")]
    pub sector_by_sector: bool,
    /// What to run around the backup, in this order.
    #[serde(skip_serializing_if = "is_default")]
    #[schema(value_type = Vec<CommandBody>)]
    pub commands: Vec<policy::settings::Command>,
}

/// Which recovery points of each archive stay: what a rule lets stay, and what no rule is about. The newest always stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Retention)]
pub(crate) struct RetentionBody {
    /// The rules; without any, everything stays.
    pub rules: Vec<RuleBody>,
    /// Whether they act before a backup is made; else after it.
    #[schema(required = false)]
    pub before_backup: bool,
}

/// What one rule lets stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RetentionRule)]
pub(crate) struct RuleBody {
    /// `{"max_age": {"count": 30, "unit": "days"}}` or `{"max_count": 12}`. Units: `seconds`, `minutes`, `hours`, `days`,
    /// `weeks`, `months`.
    #[schema(value_type = Object)]
    pub keep: serde_json::Value,
    /// Only recovery points of these classes: `hourly`, `daily`, `weekly`, `monthly`. Empty = all.
    #[schema(required = false)]
    pub periods: Vec<String>,
    /// Only the first recovery point of each such span of the calendar, like `{"count": 1, "unit": "weeks"}`. Absent = all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = Option<Object>)]
    pub first_of: Option<serde_json::Value>,
}

// These stand for the domain's types in the OpenAPI document; they are compared by a test below.
/// Names to leave out and names to take, with `*`, `**` and `?`, whatever the case. A mask without a separator is about the
/// last element of a path, one with a separator about the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Masks)]
pub(crate) struct MasksBody {
    /// What to leave out.
    #[schema(required = false)]
    pub exclude: Vec<String>,
    /// What to take and nothing else; empty = everything.
    #[schema(required = false)]
    pub include: Vec<String>,
}

/// More tries of what failed and may go well later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Retry)]
pub(crate) struct RetryBody {
    /// How many more tries.
    pub attempts: u32,
    /// The time between two tries.
    #[schema(example = "30s")]
    pub interval: String,
}

/// A program to run around a backup. It is started as it is, without a shell, with the rights of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Command)]
pub(crate) struct CommandBody {
    /// When: `pre`, `post`, `pre_data` or `post_data`.
    #[schema(example = "pre_data")]
    pub when: String,
    /// The program.
    pub cmd: String,
    /// Its arguments in one line, split by the quoting rules of a shell.
    #[schema(required = false)]
    pub args: String,
    /// The folder to run it in; empty = the agent's own.
    #[schema(required = false)]
    pub workdir: String,
    /// Whether it is run at all; yes where it is not said.
    #[schema(required = false, default = true)]
    pub enabled: bool,
    /// Whether its failure ends the run as an error; otherwise as a warning.
    #[schema(required = false)]
    pub stop_on_error: bool,
    /// Whether to wait for its end; yes where it is not said.
    #[schema(required = false, default = true)]
    pub wait: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Both types have the same settings: each field is named, so that none is forgotten.
macro_rules! same_settings {
    ($one:path = $other:path { $($field:ident),+ $(,)? }) => {
        same_settings!(@from $one => $other { $($field),+ });
        same_settings!(@from $other => $one { $($field),+ });
    };
    (@from $from:path => $to:path { $($field:ident),+ }) => {
        impl From<$from> for $to {
            fn from(settings: $from) -> $to {
                let $from { $($field),+ } = settings;
                $to { $($field),+ }
            }
        }
    };
}

same_settings!(
    Settings = policy::Settings {
        includes,
        excludes,
        masks,
        compression,
        retries,
        snapshot_retries,
        background,
        read_all,
        one_file_system,
        verify,
        verify_files,
        verify_all_every,
        freeze,
        archive_name,
        sector_by_sector,
        commands,
    }
);

/// A policy to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPolicy {
    /// The name people know.
    pub name: String,
    /// When it runs.
    #[schema(value_type = ScheduleBody)]
    pub schedule: Schedule,
    /// The owner; the caller's own tenant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Uuid>,
    /// How it runs.
    #[serde(default)]
    pub settings: Settings,
    /// Which of its backups stay; all where nothing is said.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schema(value_type = RetentionBody)]
    pub retention: Retention,
    /// Where backups go; by default the oldest repository of the nearest tenant that has one, the owner or above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Uuid>,
    /// Whether it runs by itself; yes where it is not said.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

/// What to change of a policy; an absent field stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    /// The name people know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it runs by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// When it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ScheduleBody>)]
    pub schedule: Option<Schedule>,
    /// Which of its backups stay; replaced whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RetentionBody>)]
    pub retention: Option<Retention>,
    /// How it runs; replaced whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// Where backups go from now on; those that were made stay where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Uuid>,
}

/// For which resources to run a policy now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRun {
    /// Only for this resource; absent = for all it is applied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Uuid>,
}

/// A policy applied to a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Application {
    /// Identity; also the archive of the backups it makes.
    pub id: Uuid,
    /// The owner: the resource's tenant.
    pub tenant: Uuid,
    /// Which policy.
    pub policy: Uuid,
    /// To which resource.
    pub resource: Uuid,
    /// When it runs next; absent when it does not run by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<Timestamp>,
    /// When it last made a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_at: Option<Timestamp>,
    /// The uuid of the last task it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_task: Option<Uuid>,
    /// When it was applied.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
}

impl From<&policy::Application> for Application {
    fn from(a: &policy::Application) -> Application {
        Application {
            id: a.id,
            tenant: a.tenant,
            policy: a.policy,
            resource: a.resource,
            next_run_at: a.next_run_at,
            last_run_at: a.last_run_at,
            last_task: a.last_task,
            created_at: a.created_at,
            updated_at: a.updated_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_schedule_is_the_domains() {
        let documented = [
            ScheduleBody::Daily { at: "02:30:00".into(), time_zone: "Europe/Berlin".into() },
            ScheduleBody::Interval { every: "6h".into() },
            ScheduleBody::Manual {},
        ];
        for body in documented {
            let json = serde_json::to_value(&body).expect("serialises");
            let schedule: Schedule = serde_json::from_value(json.clone()).expect("the domain reads it");
            // A new variant in the domain must be added here and to the document; sets have tests of their own.
            match &schedule {
                Schedule::Daily { .. } | Schedule::Interval { .. } | Schedule::Manual {} | Schedule::Sets(_) => {}
            }
            assert_eq!(serde_json::to_value(&schedule).expect("serialises"), json);
        }
    }

    #[test]
    fn the_documented_retention_is_the_domains() {
        let rule = |keep, periods: &[&str]| RuleBody {
            keep,
            periods: periods.iter().map(|p| (*p).to_owned()).collect(),
            first_of: None,
        };
        let week = serde_json::json!({ "count": 1, "unit": "weeks" });
        let month = serde_json::json!({ "max_age": { "count": 1, "unit": "months" } });
        let body = RetentionBody {
            rules: vec![
                rule(month.clone(), &["daily", "weekly"]),
                rule(serde_json::json!({ "max_count": 12 }), &["monthly"]),
                RuleBody { keep: month, periods: vec!["daily".into()], first_of: Some(week) },
            ],
            before_backup: true,
        };
        let json = serde_json::to_value(&body).expect("serialises");
        let retention: Retention = serde_json::from_value(json.clone()).expect("the domain reads it");
        assert_eq!(serde_json::to_value(&retention).expect("serialises"), json);
    }

    #[test]
    fn the_documented_settings_are_the_domains() {
        let masks = MasksBody { exclude: vec!["*.tmp".into()], include: vec!["/home/**".into()] };
        let retry = RetryBody { attempts: 3, interval: "30s".into() };
        let command = CommandBody {
            when: "pre_data".into(),
            cmd: "sync".into(),
            args: "--all".into(),
            workdir: "/".into(),
            enabled: true,
            stop_on_error: true,
            wait: true,
        };
        let json = serde_json::json!({
            "includes": ["a"], "excludes": ["b"], "masks": masks, "compression": "max", "retries": retry,
            "snapshot_retries": retry, "background": true, "read_all": true, "one_file_system": true, "verify": true,
            "verify_files": 10, "verify_all_every": { "count": 1, "unit": "months" }, "freeze": true,
            "archive_name": "[Plan Name]", "sector_by_sector": true, "commands": [command],
        });
        let settings: Settings = serde_json::from_value(json.clone()).expect("readable");
        assert_eq!(serde_json::to_value(&settings).expect("serialises"), json);
        assert_eq!(Settings::from(policy::Settings::from(settings.clone())), settings);
        for (member, value) in [("masks", "exlude"), ("retries", "attemps"), ("commands", "comand")] {
            let mut wrong = json.clone();
            let place = if member == "commands" { &mut wrong[member][0] } else { &mut wrong[member] };
            place[value] = serde_json::json!(1);
            assert!(serde_json::from_value::<Settings>(wrong).is_err(), "{value} is not known");
        }
    }
}
