//! Agents and repositories on the wire.

use domain::resource::ResourceKind;
use domain::{Timestamp, Uuid, agent};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::ResourceKindName;

/// A process on a host that takes tasks and moves data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Identity; also the `executor.id` of its tasks.
    pub id: Uuid,
    /// The tenant whose tasks it takes.
    pub tenant: Uuid,
    /// The group it belongs to, where several agents can reach the same data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The host's name.
    pub name: String,
    /// Operating system and architecture.
    pub os: String,
    /// The agent's own version.
    pub version: String,
    /// The queues it takes tasks from.
    pub queues: Vec<String>,
    /// Whether it is connected now.
    pub online: bool,
    /// When it was last connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Timestamp>,
    /// How long the certificate is valid with which it connects; none if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateDates>,
    /// When it was revoked: it is let in no longer, until its machine joins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
}

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateDates {
    /// From when on.
    pub issued_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

impl From<agent::CertificateDates> for CertificateDates {
    fn from(dates: agent::CertificateDates) -> CertificateDates {
        CertificateDates { issued_at: dates.issued_at, expires_at: dates.expires_at }
    }
}

impl From<(&agent::Agent, bool)> for Agent {
    fn from((a, online): (&agent::Agent, bool)) -> Agent {
        Agent {
            id: a.id,
            tenant: a.tenant,
            cluster_id: (!a.cluster_id.is_empty()).then(|| a.cluster_id.clone()),
            name: a.name.clone(),
            os: a.os.clone(),
            version: a.version.clone(),
            queues: a.queues.clone(),
            online,
            last_seen_at: a.last_seen_at,
            certificate: a.certificate.map(Into::into),
            revoked_at: a.revoked_at,
            created_at: a.created_at,
            updated_at: a.updated_at,
        }
    }
}

/// A machine that asks to join, and the registration token that lets it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The registration token.
    pub registration_token: String,
    /// The host's name.
    pub name: String,
    /// Operating system and architecture, in people's words.
    pub os: String,
    /// The family of its operating system: `linux`, `windows`, `macos`.
    pub system: String,
    /// The agent's version.
    pub version: String,
    /// The id by which the machine wishes to be known: that of its cloud, or the one that it had before. It is given
    /// another one where that is not free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Whether the machine is a virtual one.
    #[serde(default)]
    pub virtual_machine: bool,
    /// A request for a certificate (PKCS #10, as PEM): the machine's agent will be let in only with the certificate in the
    /// answer. Without one, the token alone is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the token.
        f.debug_struct("Join").field("name", &self.name).field("instance_id", &self.instance_id).finish_non_exhaustive()
    }
}

/// A machine that joined.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// The resource that it is.
    pub resource: Uuid,
    /// The id by which it is known from now on.
    pub instance_id: String,
    /// The token with which its agent connects; it is in this answer and nowhere else.
    pub agent_token: String,
    /// The certificate that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Certificate>,
}

/// A certificate of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// As PEM.
    pub pem: String,
    /// From when on it is valid.
    pub issued_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the token.
        f.debug_struct("Joined").field("instance_id", &self.instance_id).finish_non_exhaustive()
    }
}

/// What machines become that join with the command asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEnrolment {
    /// The tenant that they join; the caller's own if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Uuid>,
    /// What sort of thing they are; what the agent finds if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ResourceKindName>)]
    pub kind: Option<ResourceKind>,
    /// The policies that are applied to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Uuid>,
}

/// How machines join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolment {
    /// One line for a shell on the machine: it fetches the agent, installs it, and lets it join. It holds a registration
    /// token, which is good for a day and any number of machines.
    pub command: String,
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the token.
        f.debug_struct("Enrolment").finish_non_exhaustive()
    }
}
