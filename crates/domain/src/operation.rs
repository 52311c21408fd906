//! Operations: the handle that a call which changes something answers with. It is done at once, or points at a task.

use serde::{Deserialize, Serialize};

use crate::error::Code;
use crate::policy::Policy;
use crate::{SignedDuration, Timestamp, Uuid, named_enum};

named_enum! {
    /// What was asked for.
    OperationKind {
        /// A policy was made.
        CreatePolicy = "create_policy",
        /// A policy was changed.
        UpdatePolicy = "update_policy",
        /// A policy was deleted.
        DeletePolicy = "delete_policy",
        /// A policy was applied to a resource.
        ApplyPolicy = "apply_policy",
        /// A policy was taken from a resource.
        RevokePolicy = "revoke_policy",
        /// A backup was started.
        ExecutePolicy = "execute_policy",
        /// A whole recovery point is written back.
        StartRecovery = "start_recovery",
        /// Chosen files of a recovery point are written back.
        StartFilesRecovery = "start_files_recovery",
        /// A recovery point is deleted.
        DeleteBackup = "delete_backup",
        /// An archive is deleted.
        DeleteArchive = "delete_archive",
        /// A resource was taken out.
        DeleteResource = "delete_resource",
        /// A directory was made on a machine.
        CreateDirectory = "create_directory",
        /// A tenant begins to use a provider.
        ActivateProvider = "activate_provider",
    }
}

impl OperationKind {
    /// What the audit calls it (contract for Yandex clients, 11.6).
    #[must_use]
    pub fn event(self) -> &'static str {
        match self {
            OperationKind::CreatePolicy => "CreatePolicy",
            OperationKind::UpdatePolicy => "UpdatePolicy",
            OperationKind::DeletePolicy => "DeletePolicy",
            OperationKind::ApplyPolicy => "ApplyPolicy",
            OperationKind::RevokePolicy => "RevokePolicy",
            OperationKind::ExecutePolicy => "ExecutePolicy",
            OperationKind::StartRecovery => "StartRecoverBackup",
            OperationKind::StartFilesRecovery => "StartFilesRecovery",
            OperationKind::DeleteBackup => "DeleteBackup",
            OperationKind::DeleteArchive => "DeleteArchive",
            OperationKind::DeleteResource => "DeleteResource",
            OperationKind::CreateDirectory => "CreateDirectory",
            OperationKind::ActivateProvider => "ActivateProvider",
        }
    }
}

/// What an operation is about; what does not apply is absent. Fixed when it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The policy.
    pub policy: Option<Uuid>,
    /// The machine that is acted on, or written to.
    pub resource: Option<Uuid>,
    /// The name that the machine or cloud gives it.
    pub instance_id: String,
    /// The recovery point.
    pub backup: Option<Uuid>,
    /// The archive.
    pub archive: Option<Uuid>,
    /// The directory.
    pub path: String,
    /// The chosen files, as the caller named them.
    pub items: Vec<String>,
}

/// How an operation ended that was done in the call, or that has no task any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Done, with nothing to show.
    Done,
    /// Done: the policy as the call left it.
    Policy(Box<Policy>),
    /// Not done, and why.
    Failed {
        /// In a word.
        #[serde(with = "code_by_name")]
        code: Code,
        /// In a sentence.
        message: String,
    },
}

/// What makes a repeated call the same call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The caller, the call and the key that the caller gave, as one text; unique on the server while it counts.
    pub key: String,
    /// SHA-256 of the request, in hexadecimal: the same key with another request is a mistake.
    pub request: String,
}

/// How long a repeated call with the same key finds the operation of the first.
pub const IDEMPOTENT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// How long an operation is kept after it is done, and longer while its task is in the ledger.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The handle of a call that changes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Identity.
    pub id: Uuid,
    /// The owner of what it is about.
    pub tenant: Uuid,
    /// What was asked for.
    pub kind: OperationKind,
    /// The id of the credential that asked.
    pub created_by: String,
    /// What it is about.
    pub about: About,
    /// The task that does it; its end is the operation's.
    pub task: Option<Uuid>,
    /// How it ended; none = as its task does.
    pub ended: Option<Ended>,
    /// What makes a repeated call the same call; none = every call is a new one.
    pub idempotency: Option<Idempotency>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// Codes of errors by their stable names, as they are stored.
mod code_by_name {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::error::Code;

    pub(super) fn serialize<S: Serializer>(code: &Code, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(code.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Code, D::Error> {
        let name = String::deserialize(d)?;
        Code::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("there is no error code '{name}'")))
    }
}
