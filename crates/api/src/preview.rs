//! What a policy will do, on the wire.

use domain::{Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a policy will do, as far as it can be known now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyPreview {
    /// Which policy.
    pub policy: Uuid,
    /// Its name.
    pub name: String,
    /// For each resource that it is applied to.
    pub applications: Vec<ApplicationPreview>,
}

/// What a policy will do for one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplicationPreview {
    /// Which resource.
    pub resource: Uuid,
    /// Its name.
    pub resource_name: String,
    /// Where clocks show the times of the schedule: an IANA time zone name.
    pub time_zone: String,
    /// Whether a run is under way or waits; the times are as if it were over now.
    pub running: bool,
    /// The next runs, as if each were over as soon as it begins.
    pub runs: Vec<RunPreview>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nothing_because: Option<String>,
    /// All data of the first backup of this time or later is verified because it is time again; absent where the settings do not
    /// wish that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifies_all_from: Option<Timestamp>,
    /// Its backups by this policy and what retention says of them now, the newest first. They are removed with the next
    /// retention, not before.
    pub backups: Vec<BackupPreview>,
}

/// A run to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunPreview {
    /// The moment that the schedule names.
    pub at: Timestamp,
    /// The same as clocks show it in the schedule's zone, with the offset from UTC.
    #[schema(example = "2026-03-29T03:00:00+02:00")]
    pub local: String,
    /// When it begins: each resource at its own time after the moment, where the schedule spreads runs.
    pub starts_at: Timestamp,
    /// When it begins at the latest, whatever the resource.
    pub latest_start: Timestamp,
    /// When it is stopped if it is not over by then: its window closes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Whether the schedule wants everything read.
    pub full: bool,
    /// Whether it repeats one that failed.
    pub repeats: bool,
}

/// What retention says of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupPreview {
    /// Which backup.
    pub backup: Uuid,
    /// When its data was read.
    pub created_at: Timestamp,
    /// Whether it stays.
    pub stays: bool,
    /// Why it stays, or why it goes: one rule in each sentence.
    pub because: Vec<String>,
}
