//! Agents: processes on hosts that move the data.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, Uuid};

/// A process on a host that takes tasks and moves data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Identity; also the `executor.id` of its tasks.
    pub id: Uuid,
    /// The tenant whose tasks it takes.
    pub tenant: Uuid,
    /// The group it belongs to, where several agents can reach the same data.
    pub cluster_id: String,
    /// The host's name.
    pub name: String,
    /// Operating system and architecture, as the agent reports it.
    pub os: String,
    /// The family of its operating system: `linux`, `windows`, `macos`; empty while it has not said so.
    #[serde(default)]
    pub system: String,
    /// The IANA name of the time zone its machine is set to, as far as it knows.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Whether it was started from rescue media: what it writes to the original place goes to the mounted system, and
    /// not to the one it runs on.
    #[serde(default)]
    pub rescue: bool,
    /// The agent's own version.
    pub version: String,
    /// The folders below which it writes what is restored to a place of its own choosing, in its text form: first the one
    /// that it uses where none is named. Empty = it has said of none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restore_roots: Vec<String>,
    /// The queues it takes tasks from.
    pub queues: Vec<String>,
    /// When it was last connected.
    pub last_seen_at: Option<Timestamp>,
    /// The token it connects with.
    pub token: Uuid,
    /// The certificate that it showed last or was given since; none = it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateDates>,
    /// When it was revoked: it is let in no longer, until its machine joins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// From when until when an agent's certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateDates {
    /// From when on.
    pub issued_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

/// The queue from which agents take the work of Backstay itself.
pub const AGENT_QUEUE: &str = "agents";

/// The queue of backups that wait for more than an agent: for a place under the limit of their policy, for the backup
/// before them, or for a retention. The server itself picks from it what an agent may take.
pub const GATED_QUEUE: &str = "agents.gated";

/// Whether the tasks of a queue are for Backstay's own agents.
#[must_use]
pub fn is_agent_queue(queue: &str) -> bool {
    queue == AGENT_QUEUE || queue == GATED_QUEUE
}
