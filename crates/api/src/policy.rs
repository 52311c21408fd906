//! Policies and their application to resources, on the wire.

use domain::policy::{self, Schedule};
use domain::{Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
            settings: Settings::from(&p.settings),
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
}

/// What a backup does besides reading everything below the sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Globs: only what matches is kept. Empty = everything.
    pub includes: Vec<String>,
    /// Globs of what to leave out.
    pub excludes: Vec<String>,
}

impl From<&policy::Settings> for Settings {
    fn from(s: &policy::Settings) -> Settings {
        Settings { includes: s.includes.clone(), excludes: s.excludes.clone() }
    }
}

impl From<Settings> for policy::Settings {
    fn from(s: Settings) -> policy::Settings {
        policy::Settings { includes: s.includes, excludes: s.excludes, ..policy::Settings::default() }
    }
}

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
    /// Where backups go; may be left out where there is only one repository.
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
    /// How it runs; replaced whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
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
            // A new variant in the domain must be added here and to the document.
            match &schedule {
                Schedule::Daily { .. } | Schedule::Interval { .. } | Schedule::Manual {} | Schedule::Sets(_) => {}
            }
            assert_eq!(serde_json::to_value(&schedule).expect("serialises"), json);
        }
    }
}
