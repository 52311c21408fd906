//! Repositories as the API shows them.

use std::collections::BTreeMap;
use std::fmt;

use domain::{Timestamp, Uuid, repository};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::TaskError;

/// A place for backups. Its password and secrets are not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Repository {
    /// Identity.
    pub id: Uuid,
    /// The tenant it belongs to. Policies of that tenant and of those below it may store there.
    pub tenant: Uuid,
    /// The name, unique on the server.
    pub name: String,
    /// Where it is, as restic writes it; a name and password in it are left out, but for the user of an `sftp:` address.
    pub url: String,
    /// The names of the secrets that agents get for it.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Whether agents may only add to it.
    pub append_only: bool,
    /// The most bytes a second that each job sends there; 0 = no limit.
    #[serde(default)]
    pub upload_limit: u64,
    /// The most bytes a second that each job fetches from there; 0 = no limit.
    #[serde(default)]
    pub download_limit: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
}

impl From<&repository::Repository> for Repository {
    fn from(r: &repository::Repository) -> Repository {
        Repository {
            id: r.id,
            tenant: r.tenant,
            name: r.name.clone(),
            url: r.shown_url(),
            secrets: r.sealed_secrets.keys().cloned().collect(),
            append_only: r.append_only,
            upload_limit: r.limits.upload,
            download_limit: r.limits.download,
            created_at: r.created_at,
            updated_at: r.updated_at,
        }
    }
}

/// A repository to be added. It is made by the first backup that goes there, unless it is there already.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRepository {
    /// The name, unique on the server.
    pub name: String,
    /// Where it is, as restic writes it: a path on the agent's machine like `/srv/backup`, `s3:https://host/bucket/folder`,
    /// `rest:https://host:8000/folder`, `sftp:user@host:/folder`, or `rclone:remote:folder`.
    pub url: String,
    /// The owner; the caller's own tenant by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Uuid>,
    /// What opens the way there, under the names that restic reads from its environment. `s3:` takes `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` and `AWS_DEFAULT_REGION`; `rest:` `RESTIC_REST_USERNAME` and
    /// `RESTIC_REST_PASSWORD`; `rclone:` `RCLONE_CONFIG_PASS`. They are kept sealed and never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// The password of a repository that is there already. Without it a random one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The most bytes a second that each job sends there; 0 = no limit. Not for folders.
    #[serde(default)]
    pub upload_limit: u64,
    /// The most bytes a second that each job fetches from there; 0 = no limit. Not for folders.
    #[serde(default)]
    pub download_limit: u64,
}

/// A change of a repository; what is absent stays.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoryChange {
    /// The name, unique on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is reached now, with everything that lies in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Secrets that change; null takes one away.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Option<String>>,
    /// The most bytes a second that each job sends there; 0 takes the limit away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_limit: Option<u64>,
    /// The most bytes a second that each job fetches from there; 0 takes the limit away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download_limit: Option<u64>,
}

/// Who shall look at a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRepository {
    /// The agent; any that may store there and is connected where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Uuid>,
}

/// What an agent found at the place of a repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryTest {
    /// The agent that looked.
    pub agent: Uuid,
    /// Its name.
    pub agent_name: String,
    /// Whether there is a repository, which opens. If not, and nothing failed, the first backup makes it.
    pub found: bool,
    /// Why a backup there would fail; absent where nothing speaks against one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
}

/// What opens a repository without Backstay: keep it where copies of keys are kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryKey {
    /// Identity.
    pub id: Uuid,
    /// The name.
    pub name: String,
    /// Where it is, as restic takes it.
    pub url: String,
    /// The password of the repository.
    pub password: String,
    /// What else opens the way there, under the names that restic reads from its environment.
    pub secrets: BTreeMap<String, String>,
}

impl fmt::Debug for NewRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewRepository").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for RepositoryChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryChange").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for RepositoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositoryKey").field("name", &self.name).finish_non_exhaustive()
    }
}
