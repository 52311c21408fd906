//! The native API of Backstay as types: every body on the wire, and with the feature `client` a client for it.
//!
//! Times are RFC 3339 in UTC with up to nanoseconds; a field that is not set is absent, never null; durations are
//! written like `1h 30m`. Everything is additive: readers must ignore fields they do not know.

mod activity;
mod agent;
mod api_client;
mod audit;
mod backup;
mod channel;
#[cfg(feature = "client")]
pub mod client;
mod common;
mod names;
mod policy;
mod preview;
mod repository;
mod resource;
mod run_sets;
mod signing_key;
mod task;
mod tenant;
mod user;

pub use activity::Activity;
pub use agent::{Agent, Certificate, CertificateDates, Enrolment, Join, Joined, NewEnrolment};
pub use api_client::{ApiClient, ApiClientWithSecret, ClientKey, ClientKeyFile, NewApiClient};
pub use audit::AuditEntry;
pub use backup::{Backup, File, FileList, Filesystem, Restore, Verify};
pub use channel::{
    ChannelStatus, NewNotificationChannel, NotificationChannel, NotificationChannelChange, NotificationChannelCreated,
    NotificationTarget, NotificationTest,
};
pub use common::{ErrorBody, ErrorDetail, Health, List, Me, Version};
pub use names::{
    ActivityState, ActorKindName, BackupKindName, NotificationEventName, PriorityName, RegistrationName,
    ResourceKindName, ResourceStatusName, ResultName, RoleName, TaskState, TokenKindName,
};
pub use policy::{Application, NewPolicy, Policy, PolicyChange, PolicyRun, ScheduleBody, Settings};
pub use preview::{ApplicationPreview, BackupPreview, PolicyPreview, RunPreview};
pub use repository::{NewRepository, Repository, RepositoryChange, RepositoryKey, RepositoryTest, TestRepository};
pub use resource::{NewResource, Resource, ResourceChange, ResourceLive, Sources};
pub use run_sets::{AgainBody, IntervalBody, RunSetBody, RunSetsBody, TimetableBody, WhenBody, WindowBody};
pub use signing_key::{KeySet, PublicKey, SigningKey};
pub use task::{
    Affinity, Blocker, BlockerMessage, Bottleneck, Executor, Named, ParentEntity, Progress, Rules, Task, TaskCount,
    TaskCounts, TaskError, TaskEvent, TaskResult,
};
pub use tenant::{NewTenant, NewToken, Tenant, TenantChange, Token, TokenCreated};
pub use user::{NewPassword, NewUser, User, UserWithPassword};

/// The path below which the API lives.
pub const BASE_PATH: &str = "/api/v1";

/// Where the public keys are, for whoever checks access tokens without asking this server; outside [`BASE_PATH`].
pub const KEYS_PATH: &str = "/.well-known/jwks.json";

/// Where the certificate of the server's authority is, for whoever knows its digest; outside [`BASE_PATH`].
pub const CA_PATH: &str = "/install/ca.pem";
