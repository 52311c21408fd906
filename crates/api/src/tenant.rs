//! Tenants and API tokens on the wire.

use domain::token::{self, TokenKind};
use domain::{Role, Timestamp, Uuid, tenant};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{RoleName, TokenKindName};

/// An owner of things, in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// Identity; the nil uuid for the root.
    pub id: Uuid,
    /// A short number for people; 1 for the root.
    pub number: i64,
    /// The tenant above; absent on the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Uuid>,
    /// The path of numbers from the root down to this tenant, like `/1/66/`.
    pub locator: String,
    /// The name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// IANA time zone for schedules that name none.
    pub time_zone: String,
    /// The zone of schedules that came through another API without one: an IANA name, or `agent` for the machine's own;
    /// absent = UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_time_zone: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
}

impl From<&tenant::Tenant> for Tenant {
    fn from(t: &tenant::Tenant) -> Tenant {
        Tenant {
            id: t.id,
            number: t.number,
            parent: t.parent,
            locator: t.locator.clone(),
            name: t.name.clone(),
            description: t.description.clone(),
            time_zone: t.time_zone.clone(),
            schedule_time_zone: t.schedule_time_zone.clone(),
            created_at: t.created_at,
            updated_at: t.updated_at,
        }
    }
}

/// A tenant to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTenant {
    /// The name.
    pub name: String,
    /// The tenant above; the caller's own where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Uuid>,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

/// What to change of a tenant; an absent field stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantChange {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The zone of schedules that came through another API without one: an IANA name, `agent` for the machine's own, or
    /// empty for UTC. Runs are planned anew with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_time_zone: Option<String>,
}

/// An API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Identity; safe to show.
    pub id: Uuid,
    /// The tenant whose subtree it opens.
    pub tenant: Uuid,
    /// Whom it stands for.
    #[schema(value_type = TokenKindName)]
    pub kind: TokenKind,
    /// What it is for.
    pub name: String,
    /// What it allows.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// From when on it is no longer accepted; absent = until revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl From<&token::Token> for Token {
    fn from(t: &token::Token) -> Token {
        Token {
            id: t.id,
            tenant: t.tenant,
            kind: t.kind,
            name: t.name.clone(),
            role: t.role,
            created_at: t.created_at,
            updated_at: t.updated_at,
            expires_at: t.expires_at,
            revoked_at: t.revoked_at,
        }
    }
}

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for; shown as "started by".
    pub name: String,
    /// What it allows.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// The tenant whose subtree it opens; the caller's own where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Uuid>,
    /// From when on it is no longer accepted; absent = until revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A token that was just made. Its secret is shown this once and kept nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// The token.
    pub token: Token,
    /// What to send as `Authorization: Bearer`.
    pub secret: String,
}

impl std::fmt::Debug for TokenCreated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCreated").field("token", &self.token).finish_non_exhaustive()
    }
}
