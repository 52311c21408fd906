//! The keys under which access tokens are signed, on the wire: never their private half.

use domain::{Timestamp, Uuid, identity};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A key under which access tokens are signed. The newest one that is not revoked signs, for a month at
/// most; the others are still accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SigningKey {
    /// Identity, the `kid` of the tokens.
    pub id: Uuid,
    /// How it signs.
    #[schema(example = "ES256")]
    pub algorithm: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// From when on nothing that was signed under it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl From<&identity::SigningKey> for SigningKey {
    fn from(k: &identity::SigningKey) -> SigningKey {
        SigningKey {
            id: k.id,
            // The domain knows no other; it keeps the coordinates of a point on P-256.
            algorithm: "ES256".to_owned(),
            created_at: k.created_at,
            updated_at: k.updated_at,
            revoked_at: k.revoked_at,
        }
    }
}

/// The public keys with which access tokens can be checked (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeySet {
    /// Those under which access tokens may have been signed that are still valid.
    pub keys: Vec<PublicKey>,
}

/// A public key (RFC 7517, RFC 7518).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicKey {
    /// The sort of key.
    #[schema(example = "EC")]
    pub kty: String,
    /// The curve.
    #[schema(example = "P-256")]
    pub crv: String,
    /// The first coordinate, base64url.
    pub x: String,
    /// The second coordinate, base64url.
    pub y: String,
    /// The id of the key, as it stands in the head of a token.
    pub kid: Uuid,
    /// How it signs.
    #[schema(example = "ES256")]
    pub alg: String,
    /// What it is for.
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    pub used_for: String,
}
