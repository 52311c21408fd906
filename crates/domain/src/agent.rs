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
    /// The agent's own version.
    pub version: String,
    /// The queues it takes tasks from.
    pub queues: Vec<String>,
    /// When it was last connected.
    pub last_seen_at: Option<Timestamp>,
    /// The token it connects with.
    pub token: Uuid,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// The queue from which agents take the work of Backstay itself.
pub const AGENT_QUEUE: &str = "agents";
