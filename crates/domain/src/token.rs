//! API tokens: what a program or a person shows to become a `Caller`. Only a hash is kept.

use serde::{Deserialize, Serialize};

use crate::resource::ResourceKind;
use crate::{Role, Timestamp, Uuid, named_enum};

named_enum! {
    /// Whom a token stands for.
    TokenKind {
        /// A person or a program that uses an API.
        Api = "api",
        /// Machines that join: it is exchanged for an agent's token, and opens nothing else.
        Registration = "registration",
        /// An agent that connects over the agent link; it cannot use the APIs.
        Agent = "agent",
    }
}

/// A bearer token as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Identity; safe to show.
    pub id: Uuid,
    /// The tenant whose subtree it opens.
    pub tenant: Uuid,
    /// Whom it stands for.
    pub kind: TokenKind,
    /// What it is for, in people's words.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// SHA-256 of the secret, in hexadecimal. The secret has 256 random bits, so a fast hash is enough.
    pub hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// From when on it is no longer accepted; none = until revoked.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// What machines become that join with it; of an agent's token that one was exchanged for, what its machine becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<Joins>,
    /// The resource whose machine joined and was given it: an agent's token that ends with that registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Uuid>,
    /// The agent whose certificate must come with it; none = it is accepted by itself, which holds for an agent's token until
    /// its agent has shown a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified: Option<Uuid>,
}

/// What machines become that join with a registration token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joins {
    /// What sort of thing they are; none = what the agent finds.
    pub kind: Option<ResourceKind>,
    /// Whether they come from outside.
    pub external: bool,
    /// The policies that are applied to them.
    pub policies: Vec<Uuid>,
}

impl Token {
    /// Whether it is accepted at this time.
    #[must_use]
    pub fn valid_at(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|t| now < t)
    }
}
