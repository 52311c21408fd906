//! Resources: what is protected.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, Uuid, named_enum};

named_enum! {
    /// What sort of thing is protected.
    ResourceKind {
        /// A virtual machine.
        ComputeVm = "compute_vm",
        /// A physical machine.
        BareMetal = "bare_metal",
        /// A block device or disk image.
        Volume = "volume",
        /// A mailbox.
        Mailbox = "mailbox",
        /// A disk image that was imported.
        Image = "image",
    }
}

named_enum! {
    /// What is going on with a resource: derived from its live tasks, never set by hand.
    ResourceStatus {
        /// Nothing runs, and the last run did not fail.
        Idle = "idle",
        /// A backup is queued or runs.
        BackingUp = "backing_up",
        /// A recovery is queued or runs.
        Recovering = "recovering",
        /// Nothing runs, and the last backup failed.
        Failed = "failed",
        /// Some other task runs.
        Other = "other",
    }
}

named_enum! {
    /// Where the registration of a resource is.
    Registration {
        /// Asked for, not yet confirmed by an agent.
        Registering = "registering",
        /// Known and usable.
        Registered = "registered",
        /// Could not be registered.
        Failed = "failed",
        /// Deleted; its backups stay.
        Deleted = "deleted",
    }
}

/// What is read from a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Absolute paths on the machine. Names that are not UTF-8 are found by backing up a folder above them.
    pub paths: Vec<String>,
    /// Globs of what to leave out, beside those of the policy.
    #[serde(default)]
    pub excludes: Vec<String>,
}

/// What is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Identity.
    pub id: Uuid,
    /// The owner.
    pub tenant: Uuid,
    /// The name that the machine or cloud gives it; unique on the server, at most 50 characters.
    pub instance_id: String,
    /// What sort of thing it is.
    pub kind: ResourceKind,
    /// The name people know.
    pub name: String,
    /// The agent that reaches it.
    pub agent: Option<Uuid>,
    /// What is read from it.
    pub sources: Sources,
    /// Whether policies run for it.
    pub enabled: bool,
    /// Whether it takes part: false once another agent took it over, or its registration was deleted.
    #[serde(default = "yes")]
    pub active: bool,
    /// Whether it joined from outside, with a registration token for such machines.
    #[serde(default)]
    pub external: bool,
    /// Whether a whole recovery point may be written over the system that runs on it.
    #[serde(default)]
    pub live_recovery: bool,
    /// Where its registration is.
    pub registration: Registration,
    /// What there is to say of a registration that goes on or failed: `reason`, `agent_version`, `os`, `step`.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub registration_details: serde_json::Value,
    /// When the last good backup was made.
    pub last_backup_at: Option<Timestamp>,
    /// Free-form facts; `tags`, `location`, `size` and `encrypted` are known keys.
    #[serde(default)]
    pub metadata: serde_json::Value,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// When its registration was deleted. Its backups stay, and registering it again goes on where it was.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
}

fn yes() -> bool {
    true
}

/// The longest `instance_id`, in characters (Yandex Cloud Backup: `<=50`).
pub const MAX_INSTANCE_ID: usize = 50;
