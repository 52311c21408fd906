//! Repositories: where backups lie, in restic's format.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, Uuid};

/// Space that is to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruning {
    /// When.
    pub at: Timestamp,
    /// The agent that removed something last, so it reaches the repository.
    pub agent: Uuid,
}

/// A place for backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Identity.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant: Uuid,
    /// The name, unique on the server.
    pub name: String,
    /// Where it is, as restic writes it: a local path for now.
    pub url: String,
    /// The repository password, encrypted under the server's key file (base64). Never leaves the server in the clear but
    /// over the agent link to the agent that runs a task.
    pub sealed_password: String,
    /// Whether agents may only add to it.
    pub append_only: bool,
    /// When space is given back next; nothing was removed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruning: Option<Pruning>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}
