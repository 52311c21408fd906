//! The audit record: who did what. An entry is written in the commit of the change it tells of, and never changes.

use serde::{Deserialize, Serialize};

use crate::caller::ActorKind;
use crate::{Timestamp, Uuid};

/// Something that somebody did.
///
/// Tasks are not told of here when they are created or worked on: a task itself says by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Identity.
    pub id: Uuid,
    /// The tenant of what was acted on; whoever sees that tenant sees the entry.
    pub tenant: Uuid,
    /// What sort of credential was behind it.
    pub actor_kind: ActorKind,
    /// The credential's record.
    pub actor: Uuid,
    /// The credential's name at that time.
    pub actor_name: String,
    /// What was done: an object and a verb, like `token.create`.
    pub action: String,
    /// The id of what was acted on.
    pub object: String,
    /// Its name at that time; empty when it has none.
    pub object_name: String,
    /// What it was before and is after, where that is kept; null = nothing is said.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
    /// When.
    pub created_at: Timestamp,
    /// As `created_at`.
    pub updated_at: Timestamp,
}
