//! What was wished: the part of a task that is written once.

use serde::{Deserialize, Serialize};
use smol_str::ToSmolStr;

use crate::error::{Error, Result};
use crate::tenant::MAX_NAME;
use crate::{Document, SignedDuration, Text, Uuid, named_enum};

/// The task types that Backstay's own agents carry out. The set of types is open; others are carried out by others.
pub mod kind {
    /// Read a resource and store a recovery point.
    pub const BACKUP: &str = "backup";
    /// Write a whole recovery point back.
    pub const RECOVERY: &str = "recovery";
    /// Write chosen files of a recovery point back.
    pub const FILE_RECOVERY: &str = "file_recovery";
    /// Read all data of a recovery point.
    pub const VERIFICATION: &str = "verification";
    /// Find out which file systems and files there are in a recovery point of a volume.
    pub const INDEXING: &str = "indexing";
    /// Remove the recovery points that the rules of a policy let go.
    pub const RETENTION: &str = "retention";
    /// Remove one recovery point.
    pub const BACKUP_DELETION: &str = "backup_deletion";
    /// Remove all recovery points of an archive.
    pub const ARCHIVE_DELETION: &str = "archive_deletion";
    /// Fetch an image and store it as a recovery point.
    pub const IMPORT: &str = "import";
    /// Give back the space of what was removed from a repository.
    pub const PRUNE: &str = "prune";

    /// A policy is applied to a resource; the server does it.
    pub const APPLY_POLICY: &str = "apply_policy";
    /// A policy is taken from a resource; the server does it.
    pub const REVOKE_POLICY: &str = "revoke_policy";
    /// A policy is changed; the server does it.
    pub const POLICY_UPDATE: &str = "policy_update";
    /// A policy is deleted, and taken from whatever it is applied to; the server does it.
    pub const POLICY_DELETE: &str = "policy_delete";
    /// A tenant is made together with what moves into it; the server does it.
    pub const ORGANIZATIONAL_UNIT_CREATE: &str = "organizational_unit_create";
    /// A tenant is changed, and resources move; the server does it.
    pub const ORGANIZATIONAL_UNIT_UPDATE: &str = "organizational_unit_update";
    /// A tenant is deleted; the server does it.
    pub const ORGANIZATIONAL_UNIT_DELETE: &str = "organizational_unit_delete";
    /// Those of agents.
    pub const ALL: &[&str] = &[
        BACKUP,
        RECOVERY,
        FILE_RECOVERY,
        VERIFICATION,
        INDEXING,
        RETENTION,
        BACKUP_DELETION,
        ARCHIVE_DELETION,
        IMPORT,
        PRUNE,
    ];
}

named_enum! {
    /// How urgent a task is; higher ones are handed out first.
    Priority {
        /// After everything else.
        Low = "low",
        /// Below the usual.
        BelowNormal = "below_normal",
        /// The usual.
        Normal = "normal",
        /// Above the usual.
        AboveNormal = "above_normal",
        /// Before everything else.
        High = "high",
    }
}

/// Who created a task: an API client, or nobody (empty) for the server itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuer {
    /// The client's id.
    pub id: Text,
    /// The client's group.
    #[serde(default)]
    pub cluster_id: Text,
}

/// Who carries a task out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executor {
    /// The agent's id.
    pub id: Text,
    /// The agent's group.
    #[serde(default)]
    pub cluster_id: Text,
}

/// Who may take a task; an absent part is no restriction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// Only this agent.
    pub agent: Option<Text>,
    /// Only agents of this group.
    pub cluster: Option<Text>,
}

impl Affinity {
    /// To this agent of ours, if there is one; to anybody otherwise.
    #[must_use]
    pub fn to(agent: Option<Uuid>) -> Affinity {
        Affinity { agent: agent.map(|a| a.to_smolstr()), cluster: None }
    }

    /// Whether this executor may take the task.
    #[must_use]
    pub fn admits(&self, executor: &Executor) -> bool {
        self.agent.as_ref().is_none_or(|a| *a == executor.id)
            && self.cluster.as_ref().is_none_or(|c| *c == executor.cluster_id)
    }
}

/// A policy or resource as it was named when the task was created: history does not change on a renaming.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its id; a uuid for our own objects, free text for others'.
    pub id: Text,
    /// Its type; empty when unknown.
    #[serde(rename = "type", default)]
    pub kind: Text,
    /// Its name at that time; empty when unknown.
    #[serde(default)]
    pub name: Text,
}

impl Named {
    /// A policy or resource of ours.
    #[must_use]
    pub fn ours(id: Uuid, kind: &str, name: &str) -> Named {
        Named { id: id.to_smolstr(), kind: kind.into(), name: name.into() }
    }
}

/// The thing a task hangs below in a vendor's model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Its id.
    pub id: Text,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Text,
    /// A value that goes with it.
    #[serde(default)]
    pub value: Text,
}

impl Entity {
    /// A thing of ours.
    #[must_use]
    pub fn ours(id: Uuid, kind: &str, value: &str) -> Entity {
        Entity { id: id.to_smolstr(), kind: kind.into(), value: value.into() }
    }
}

/// Types of parent entities that a task is about though they are neither its resource nor its policy, by the names that
/// Clumio's clients know (contract for Clumio, 7.2).
pub mod entity {
    /// A file that was taken out of a backup.
    pub const RESTORED_FILE: &str = "restored_file";
    /// A tenant.
    pub const ORGANIZATIONAL_UNIT: &str = "organizational_unit";
    /// A repository.
    pub const REPOSITORY: &str = "repository";
    /// An agent with a repository.
    pub const ENVIRONMENT: &str = "aws_environment";
    /// All of them.
    pub const ALL: [&str; 4] = [RESTORED_FILE, ORGANIZATIONAL_UNIT, REPOSITORY, ENVIRONMENT];
}

/// What limits a task's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether it can be cancelled while it runs; needs a heartbeat.
    pub cancellable: bool,
    /// Whether its sustainable activities survive a return to the queue.
    pub sustainable: bool,
    /// How often it may be handed out.
    pub max_assign_count: u32,
    /// Between two reports of its executor; three missed ones lose the lease. None = for ever.
    pub heartbeat_interval: Option<SignedDuration>,
    /// From hand-out to acknowledgement.
    pub ack_timeout: SignedDuration,
    /// How long it may wait in the queue. None = for ever.
    pub queue_timeout: Option<SignedDuration>,
    /// How long it may run, pauses included. None = for ever.
    pub exec_timeout: Option<SignedDuration>,
    /// How long it may be open at all. None = for ever.
    pub life_time: Option<SignedDuration>,
}

impl Rules {
    /// The acknowledgement timeout of a task that names none (Acronis: 5 s).
    pub const DEFAULT_ACK: SignedDuration = SignedDuration::from_secs(5);
    /// The most attempts that are accepted.
    pub const MAX_ATTEMPTS: u32 = 1000;
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            cancellable: false,
            sustainable: false,
            max_assign_count: 1,
            heartbeat_interval: None,
            ack_timeout: Self::DEFAULT_ACK,
            queue_timeout: None,
            exec_timeout: None,
            life_time: None,
        }
    }
}

/// What was wished.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSpec {
    /// Identity across systems; v7 when the server makes it.
    pub uuid: Uuid,
    /// The task type; open, see [`kind`].
    pub kind: Text,
    /// Whether it is the first, full backup of its archive.
    pub seeding: bool,
    /// The queue it waits in.
    pub queue: Text,
    /// How urgent it is.
    pub priority: Priority,
    /// What the executor needs to know; null = nothing.
    pub argument: Document,
    /// What people and dashboards want to know; null = nothing.
    pub context: Document,
    /// Free labels.
    pub tags: Vec<Text>,
    /// The workflow it belongs to.
    pub workflow_id: Option<i64>,
    /// The owner.
    pub tenant: Uuid,
    /// Who created it.
    pub issuer: Issuer,
    /// The person or program behind it, as shown.
    pub started_by: Option<Text>,
    /// The policy it belongs to.
    pub policy: Option<Named>,
    /// The resource it is about.
    pub resource: Option<Named>,
    /// The thing it hangs below in a vendor's model.
    pub parent_entity: Option<Entity>,
    /// Who may take it.
    pub affinity: Affinity,
    /// What limits its life.
    pub rules: Rules,
}

/// Limits of a task's fields (Acronis: lengths of 8.2; 256 KiB each for argument and context are ours).
pub mod limits {
    /// Characters of a type, queue, tag, or id.
    pub const WORD: usize = 64;
    /// Tags.
    pub const TAGS: usize = 32;
    /// Bytes of an argument or context as JSON.
    pub const JSON: usize = 256 * 1024;
}

impl TaskSpec {
    /// A wish with only what must be there.
    #[must_use]
    pub fn new(uuid: Uuid, kind: &str, queue: &str, tenant: Uuid) -> TaskSpec {
        TaskSpec {
            uuid,
            kind: kind.into(),
            seeding: false,
            queue: queue.into(),
            priority: Priority::Normal,
            argument: Document::default(),
            context: Document::default(),
            tags: Vec::new(),
            workflow_id: None,
            tenant,
            issuer: Issuer::default(),
            started_by: None,
            policy: None,
            resource: None,
            parent_entity: None,
            affinity: Affinity::default(),
            rules: Rules::default(),
        }
    }

    /// Checks everything the types cannot.
    ///
    /// # Errors
    /// `invalid_field`, naming the field.
    pub fn validate(&self) -> Result<()> {
        required("type", &self.kind, limits::WORD)?;
        required("queue", &self.queue, limits::WORD)?;
        if self.tags.len() > limits::TAGS {
            return Err(Error::invalid("tags", format!("a task has at most {} tags", limits::TAGS)));
        }
        for tag in &self.tags {
            required("tags", tag, limits::WORD)?;
        }
        json("argument", &self.argument)?;
        json("context", &self.context)?;
        at_most("issuer.id", &self.issuer.id, limits::WORD)?;
        at_most("issuer.cluster_id", &self.issuer.cluster_id, limits::WORD)?;
        if let Some(name) = &self.started_by {
            required("started_by", name, MAX_NAME)?;
        }
        named("policy", self.policy.as_ref())?;
        named("resource", self.resource.as_ref())?;
        for (field, value) in [("affinity.agent", &self.affinity.agent), ("affinity.cluster", &self.affinity.cluster)] {
            if let Some(value) = value {
                required(field, value, limits::WORD)?;
            }
        }
        self.rules.validate()
    }
}

impl Rules {
    fn validate(&self) -> Result<()> {
        if !(1..=Self::MAX_ATTEMPTS).contains(&self.max_assign_count) {
            return Err(Error::invalid(
                "max_assign_count",
                format!("max_assign_count must be from 1 to {}", Self::MAX_ATTEMPTS),
            ));
        }
        if self.cancellable && self.heartbeat_interval.is_none() {
            return Err(Error::invalid("cancellable", "a cancellable task needs a heartbeat_interval")
                .hint("the executor learns of the cancellation in the answer to its heartbeat"));
        }
        let timers = [
            ("heartbeat_interval", self.heartbeat_interval),
            ("ack_timeout", Some(self.ack_timeout)),
            ("queue_timeout", self.queue_timeout),
            ("exec_timeout", self.exec_timeout),
            ("life_time", self.life_time),
        ];
        for (field, value) in timers {
            if value.is_some_and(|d| d <= SignedDuration::ZERO) {
                return Err(Error::invalid(field, format!("{field} must be longer than zero")));
            }
        }
        Ok(())
    }
}

fn named(field: &str, named: Option<&Named>) -> Result<()> {
    let Some(n) = named else { return Ok(()) };
    required(&format!("{field}.id"), &n.id, limits::WORD)?;
    at_most(&format!("{field}.type"), &n.kind, limits::WORD)?;
    at_most(&format!("{field}.name"), &n.name, MAX_NAME)
}

fn required(field: &str, value: &str, max: usize) -> Result<()> {
    if value.is_empty() {
        return Err(Error::invalid(field, format!("'{field}' is empty")));
    }
    at_most(field, value, max)
}

fn at_most(field: &str, value: &str, max: usize) -> Result<()> {
    if value.chars().count() > max {
        return Err(Error::invalid(field, format!("'{field}' is longer than {max} characters")));
    }
    Ok(())
}

fn json(field: &str, value: &serde_json::Value) -> Result<()> {
    if !value.is_null() && value.to_string().len() > limits::JSON {
        return Err(Error::invalid(field, format!("'{field}' is larger than {} KiB", limits::JSON / 1024)));
    }
    Ok(())
}
