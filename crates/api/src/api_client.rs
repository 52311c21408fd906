//! Programs that ask for access tokens with an id and a secret, on the wire.

use std::fmt;

use domain::{Role, Timestamp, Uuid, identity};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::RoleName;

/// A program, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiClient {
    /// Identity, the `client_id`.
    pub id: Uuid,
    /// The tenant whose subtree is open to the program.
    pub tenant: Uuid,
    /// What it is for.
    pub name: String,
    /// What it may do.
    #[schema(value_type = Vec<RoleName>)]
    pub roles: Vec<Role>,
    /// The only executor it may act for when it takes tasks; absent = any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// From when on it is no longer let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl From<&identity::ApiClient> for ApiClient {
    fn from(c: &identity::ApiClient) -> ApiClient {
        ApiClient {
            id: c.id,
            tenant: c.tenant,
            name: c.name.clone(),
            roles: c.roles.clone(),
            executor: c.executor.clone(),
            created_at: c.created_at,
            updated_at: c.updated_at,
            revoked_at: c.revoked_at,
        }
    }
}

/// A program to let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiClient {
    /// What it is for; shown as "started by".
    pub name: String,
    /// What it may do: at least one role.
    #[schema(value_type = Vec<RoleName>)]
    pub roles: Vec<Role>,
    /// The tenant whose subtree is open to the program; the caller's own where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Uuid>,
    /// The only executor it may act for when it takes tasks; absent = any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<String>,
}

/// A program whose secret was just made. The secret is shown this once and kept nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiClientWithSecret {
    /// The program; its id is the `client_id`.
    pub client: ApiClient,
    /// The `client_secret`.
    pub secret: String,
}

/// A key under which a program signs to show who it is, without its private half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClientKey {
    /// Identity, the `kid` of what is signed under it.
    pub id: Uuid,
    /// The program.
    pub client: Uuid,
    /// The public key (X.509 SubjectPublicKeyInfo), as PEM.
    pub public_key: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// From when on nothing that was signed under it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl From<&identity::ClientKey> for ClientKey {
    fn from(k: &identity::ClientKey) -> ClientKey {
        ClientKey {
            id: k.id,
            client: k.client,
            public_key: k.public_key.clone(),
            created_at: k.created_at,
            updated_at: k.updated_at,
            revoked_at: k.revoked_at,
        }
    }
}

/// A key that was just made, as the file that clients of clouds read. The private key is shown this once and kept nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClientKeyFile {
    /// The key, the `kid` of what is signed under it.
    pub id: Uuid,
    /// The program.
    pub service_account_id: Uuid,
    /// When it was made.
    pub created_at: Timestamp,
    /// What sort of key it is.
    #[schema(example = "RSA_2048")]
    pub key_algorithm: String,
    /// The public key (X.509 SubjectPublicKeyInfo), as PEM.
    pub public_key: String,
    /// The private key (PKCS#8), as PEM.
    pub private_key: String,
}

impl ClientKeyFile {
    /// The file of a key.
    #[must_use]
    pub fn new(key: &identity::ClientKey, private_key: String) -> ClientKeyFile {
        ClientKeyFile {
            id: key.id,
            service_account_id: key.client,
            created_at: key.created_at,
            key_algorithm: "RSA_2048".to_owned(),
            public_key: key.public_key.clone(),
            private_key,
        }
    }
}

impl fmt::Debug for ClientKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ClientKeyFile");
        debug.field("id", &self.id).field("service_account_id", &self.service_account_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for ApiClientWithSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClientWithSecret").field("client", &self.client).finish_non_exhaustive()
    }
}
