//! Records: everything the ledger keeps beside tasks and activities. They are read and replaced whole, under a check of
//! their revision; what can be asked for is in `query::RecordField`.

use serde::{Deserialize, Serialize};

use crate::agent::Agent;
use crate::archive::Archive;
use crate::audit::AuditEntry;
use crate::backup::Backup;
use crate::channel::Channel;
use crate::identity::{ApiClient, ClientKey, Revocation, SigningKey, User};
use crate::operation::Operation;
use crate::policy::{Application, Policy};
use crate::repository::Repository;
use crate::resource::Resource;
use crate::restored_file::RestoredFile;
use crate::tenant::Tenant;
use crate::token::Token;
use crate::{Timestamp, Uuid, named_enum};

named_enum! {
    /// What sort of record it is.
    RecordKind {
        /// An owner.
        Tenant = "tenant",
        /// Something protected.
        Resource = "resource",
        /// Schedule and settings.
        Policy = "policy",
        /// A policy applied to a resource.
        Application = "application",
        /// A process that moves data.
        Agent = "agent",
        /// A place for backups.
        Repository = "repository",
        /// A recovery point.
        Backup = "backup",
        /// The backups of one resource under one policy.
        Archive = "archive",
        /// What was taken out of a backup, to be fetched.
        RestoredFile = "restored_file",
        /// Who is told when something fails.
        Channel = "channel",
        /// The handle of a call that changed something.
        Operation = "operation",
        /// A credential that lives until it is revoked.
        Token = "token",
        /// A person.
        User = "user",
        /// A program with a secret.
        ApiClient = "client",
        /// A key under which a program signs.
        ClientKey = "client_key",
        /// That a token is no longer accepted.
        Revocation = "revocation",
        /// A key that signs access tokens.
        SigningKey = "signing_key",
        /// Who did what.
        AuditEntry = "audit",
    }
}

/// A record of any kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "each variant is the type of its name")]
#[expect(clippy::large_enum_variant, reason = "they pass by one at a time, and are boxed in a commit")]
pub enum Record {
    Tenant(Tenant),
    Resource(Resource),
    Policy(Policy),
    Application(Application),
    Agent(Agent),
    Repository(Repository),
    Backup(Backup),
    Archive(Archive),
    RestoredFile(RestoredFile),
    Channel(Channel),
    Operation(Operation),
    Token(Token),
    User(User),
    ApiClient(ApiClient),
    ClientKey(ClientKey),
    Revocation(Revocation),
    SigningKey(SigningKey),
    AuditEntry(AuditEntry),
}

/// A type that is kept as a record.
pub trait Entity: Into<Record> + Clone + Send + Sync + 'static {
    /// Its kind.
    const KIND: RecordKind;
    /// The value, if the record is of this kind.
    fn from_record(record: Record) -> Option<Self>;
}

macro_rules! entities {
    ($($name:ident),+) => {
        $(
            impl From<$name> for Record {
                fn from(value: $name) -> Record {
                    Record::$name(value)
                }
            }
            impl Entity for $name {
                const KIND: RecordKind = RecordKind::$name;
                fn from_record(record: Record) -> Option<Self> {
                    match record { Record::$name(value) => Some(value), _ => None }
                }
            }
        )+

        impl Record {
            /// What sort of record it is.
            #[must_use]
            pub fn kind(&self) -> RecordKind {
                match self { $(Record::$name(_) => RecordKind::$name),+ }
            }

            /// Identity.
            #[must_use]
            pub fn id(&self) -> Uuid {
                match self { $(Record::$name(v) => v.id),+ }
            }

            /// When it was made.
            #[must_use]
            pub fn created_at(&self) -> Timestamp {
                match self { $(Record::$name(v) => v.created_at),+ }
            }

            /// The last change.
            #[must_use]
            pub fn updated_at(&self) -> Timestamp {
                match self { $(Record::$name(v) => v.updated_at),+ }
            }

            /// Stamps a change.
            pub fn touch(&mut self, now: Timestamp) {
                match self { $(Record::$name(v) => v.updated_at = now),+ }
            }

            /// Reads a record of this kind from the JSON that `to_json` makes.
            ///
            /// # Errors
            /// When the text is no such record.
            pub fn from_json(kind: RecordKind, text: &str) -> serde_json::Result<Record> {
                match kind { $(RecordKind::$name => serde_json::from_str::<$name>(text).map(Record::$name)),+ }
            }
        }
    };
}

entities!(
    Tenant,
    Resource,
    Policy,
    Application,
    Agent,
    Repository,
    Backup,
    Archive,
    RestoredFile,
    Channel,
    Operation,
    Token,
    User,
    ApiClient,
    ClientKey,
    Revocation,
    SigningKey,
    AuditEntry
);

impl Record {
    /// The owner; a tenant owns itself, so that it is seen from within.
    #[must_use]
    pub fn tenant(&self) -> Uuid {
        match self {
            Record::Tenant(v) => v.id,
            Record::Resource(v) => v.tenant,
            Record::Policy(v) => v.tenant,
            Record::Application(v) => v.tenant,
            Record::Agent(v) => v.tenant,
            Record::Repository(v) => v.tenant,
            Record::Backup(v) => v.tenant,
            Record::Archive(v) => v.tenant,
            Record::RestoredFile(v) => v.tenant,
            Record::Channel(v) => v.tenant,
            Record::Operation(v) => v.tenant,
            Record::Token(v) => v.tenant,
            Record::User(v) => v.tenant,
            Record::ApiClient(v) => v.tenant,
            Record::ClientKey(v) => v.tenant,
            Record::Revocation(v) => v.tenant,
            Record::SigningKey(v) => v.tenant,
            Record::AuditEntry(v) => v.tenant,
        }
    }

    /// What must be unique among records of its kind, beside the id.
    #[must_use]
    pub fn key(&self) -> Option<String> {
        match self {
            Record::Tenant(v) => Some(v.number.to_string()),
            Record::Resource(v) => Some(v.instance_id.clone()),
            Record::Policy(_) => None,
            Record::Application(v) => Some(format!("{}/{}", v.policy, v.resource)),
            Record::Agent(v) => Some(v.token.to_string()),
            Record::Repository(v) => Some(v.name.clone()),
            Record::Backup(v) => Some(format!("task {}", v.task)),
            // The next one of the pair takes its place.
            Record::Archive(v) => v.deleted_at.is_none().then(|| v.key()),
            Record::RestoredFile(v) => Some(v.task.to_string()),
            Record::Channel(v) => Some(format!("{}/{}", v.tenant, v.name)),
            Record::Operation(v) => v.idempotency.as_ref().map(|i| i.key.clone()),
            Record::Token(v) => Some(v.hash.clone()),
            Record::User(v) => Some(User::login_key(&v.login)),
            Record::ApiClient(_)
            | Record::ClientKey(_)
            | Record::Revocation(_)
            | Record::SigningKey(_)
            | Record::AuditEntry(_) => None,
        }
    }

    /// The record as JSON, as it is stored.
    ///
    /// # Errors
    /// Never for the types that exist: none of them has a map with keys that are not text.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}
