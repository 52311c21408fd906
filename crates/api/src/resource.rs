//! Resources on the wire: what is protected.

use domain::resource::{self, Registration, ResourceKind, ResourceStatus};
use domain::{Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::names::{RegistrationName, ResourceKindName, ResourceStatusName};

/// What is protected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Resource {
    /// Identity.
    pub id: Uuid,
    /// The owner.
    pub tenant: Uuid,
    /// The name that the machine or cloud gives it; unique on the server.
    pub instance_id: String,
    /// What sort of thing it is.
    #[schema(value_type = ResourceKindName)]
    pub kind: ResourceKind,
    /// The name people know.
    pub name: String,
    /// The agent that reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Uuid>,
    /// Whether that agent is connected now.
    pub online: bool,
    /// What is read from it.
    pub sources: Sources,
    /// Whether policies run for it.
    pub enabled: bool,
    /// Whether a whole recovery point may be written over the system that runs on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub live_recovery: bool,
    /// Where its registration is.
    #[schema(value_type = RegistrationName)]
    pub registration: Registration,
    /// What is going on with it: derived from its tasks.
    #[schema(value_type = ResourceStatusName)]
    pub status: ResourceStatus,
    /// How far that is, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_progress: Option<u8>,
    /// When the last good backup was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup_at: Option<Timestamp>,
    /// When a policy runs for it next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_backup_at: Option<Timestamp>,
    /// Free-form facts; `tags`, `location`, `size` and `encrypted` are known keys.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
    /// When it was registered.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
}

/// What is known of a resource beside its record: derived from its tasks, policies and agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLive {
    /// What is going on with it.
    pub status: ResourceStatus,
    /// How far that is, in percent.
    pub status_progress: Option<u8>,
    /// When a policy runs for it next.
    pub next_backup_at: Option<Timestamp>,
    /// Whether its agent is connected.
    pub online: bool,
}

impl From<(&resource::Resource, ResourceLive)> for Resource {
    fn from((r, live): (&resource::Resource, ResourceLive)) -> Resource {
        Resource {
            id: r.id,
            tenant: r.tenant,
            instance_id: r.instance_id.clone(),
            kind: r.kind,
            name: r.name.clone(),
            agent: r.agent,
            online: live.online,
            sources: Sources::from(&r.sources),
            enabled: r.enabled,
            live_recovery: r.live_recovery,
            registration: r.registration,
            status: live.status,
            status_progress: live.status_progress,
            last_backup_at: r.last_backup_at,
            next_backup_at: live.next_backup_at,
            metadata: r.metadata.clone(),
            created_at: r.created_at,
            updated_at: r.updated_at,
        }
    }
}

/// What is read from a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    /// Absolute paths on the machine.
    pub paths: Vec<String>,
    /// Globs of what to leave out, beside those of the policy.
    #[serde(default)]
    pub excludes: Vec<String>,
}

impl From<&resource::Sources> for Sources {
    fn from(s: &resource::Sources) -> Sources {
        Sources { paths: s.paths.clone(), excludes: s.excludes.clone() }
    }
}

impl From<Sources> for resource::Sources {
    fn from(s: Sources) -> resource::Sources {
        resource::Sources { paths: s.paths, excludes: s.excludes }
    }
}

/// A resource to register.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewResource {
    /// The name people know.
    pub name: String,
    /// What sort of thing it is.
    #[schema(value_type = ResourceKindName)]
    pub kind: ResourceKind,
    /// The owner; the caller's own tenant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Uuid>,
    /// The name that the machine or cloud gives it; made up where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The agent that reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Uuid>,
    /// What is read from it.
    #[serde(default)]
    pub sources: Sources,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
}

/// What to change of a resource; an absent field stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceChange {
    /// The name people know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether policies run for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// What is read from it; replaced whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Sources>,
    /// Free-form facts; replaced whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Whether a whole recovery point may be written over the system that runs on it; for administrators to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_recovery: Option<bool>,
}
