//! Policies: what to do, when, and with which settings; and their application to resources.

pub mod agenda;
pub mod calendar;
pub mod retention;
pub mod schedule;
pub mod sets;
pub mod settings;
pub mod timetable;

use serde::{Deserialize, Serialize};

pub use agenda::Agenda;
pub use retention::Retention;
pub use schedule::Schedule;
pub use settings::Settings;

use settings::is_default;

use crate::{Timestamp, Uuid};

/// Schedule and settings, to be applied to resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Identity.
    pub id: Uuid,
    /// The owner; it can be applied to resources of this tenant and below.
    pub tenant: Uuid,
    /// The name people know.
    pub name: String,
    /// The kind of work; the task type it creates, `backup` for now.
    pub kind: String,
    /// Whether it runs by itself. A disabled policy can still be run by hand.
    pub enabled: bool,
    /// When it runs.
    pub schedule: Schedule,
    /// How it runs.
    #[serde(default)]
    pub settings: Settings,
    /// Which of its backups stay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retention: Retention,
    /// What it was made from, where an API says more of policies than is known here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub as_written: Option<AsWritten>,
    /// Where backups go.
    pub repository: Uuid,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// The settings of a policy as an API was given them, to be given back as they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsWritten {
    /// The API's own words, readable by it alone.
    pub text: String,
    /// The schedule that followed from them. Where the policy has another one now, somebody changed it since.
    pub schedule: Schedule,
    /// The retention that followed from them, likewise.
    pub retention: Retention,
}

/// A policy applied to a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Identity.
    pub id: Uuid,
    /// The owner: the resource's tenant.
    pub tenant: Uuid,
    /// Which policy.
    pub policy: Uuid,
    /// To which resource.
    pub resource: Uuid,
    /// The archive that its backups go to; none = the one with the application's own id.
    #[serde(default, skip_serializing_if = "is_default")]
    pub archive: Option<Uuid>,
    /// When it runs next; none for a manual or disabled policy.
    pub next_run_at: Option<Timestamp>,
    /// When it last made a task.
    pub last_run_at: Option<Timestamp>,
    /// The uuid of the last task it made; known before the task has its number, so both are stored in one commit.
    pub last_task: Option<Uuid>,
    /// What the schedule remembers of its runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub agenda: Agenda,
    /// When it was applied.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

impl Application {
    /// The archive that its backups go to.
    #[must_use]
    pub fn archive_id(&self) -> Uuid {
        self.archive.unwrap_or(self.id)
    }
}
