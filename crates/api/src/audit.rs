//! The audit record on the wire: who did what.

use domain::{ActorKind, Timestamp, Uuid, audit};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::ActorKindName;

/// Something that somebody did. It was written in the commit of the change it tells of, and never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Identity.
    pub id: Uuid,
    /// The tenant of what was acted on.
    pub tenant: Uuid,
    /// What sort of credential was behind it.
    #[schema(value_type = ActorKindName)]
    pub actor_kind: ActorKind,
    /// The id of the credential; the nil uuid for the server.
    pub actor: Uuid,
    /// The name of the credential at that time.
    pub actor_name: String,
    /// What was done: an object and a verb.
    #[schema(example = "token.create")]
    pub action: String,
    /// The id of what was acted on; the number of a task.
    pub object: String,
    /// Its name at that time; empty when it has none.
    pub object_name: String,
    /// What it was before and is after, where that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
    /// When.
    pub created_at: Timestamp,
}

impl From<&audit::AuditEntry> for AuditEntry {
    fn from(e: &audit::AuditEntry) -> AuditEntry {
        AuditEntry {
            id: e.id,
            tenant: e.tenant,
            actor_kind: e.actor_kind,
            actor: e.actor,
            actor_name: e.actor_name.clone(),
            action: e.action.clone(),
            object: e.object.clone(),
            object_name: e.object_name.clone(),
            detail: Some(e.detail.clone()).filter(|d| !d.is_null()),
            created_at: e.created_at,
        }
    }
}
