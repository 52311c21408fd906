//! Resources: what is protected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::{Timestamp, Uuid, named_enum};

named_enum! {
    /// What sort of thing is protected.
    ResourceKind {
        /// A virtual machine.
        ComputeVm = "compute_vm",
        /// A physical machine.
        BareMetal = "bare_metal",
        /// A block device or disk image.
        Volume = "volume",
        /// A mailbox.
        Mailbox = "mailbox",
        /// A disk image that was imported.
        Image = "image",
    }
}

named_enum! {
    /// What is going on with a resource: derived from its live tasks, never set by hand.
    ResourceStatus {
        /// Nothing runs, and the last run did not fail.
        Idle = "idle",
        /// A backup is queued or runs.
        BackingUp = "backing_up",
        /// A recovery is queued or runs.
        Recovering = "recovering",
        /// Nothing runs, and the last backup failed.
        Failed = "failed",
        /// Some other task runs.
        Other = "other",
    }
}

named_enum! {
    /// Where the registration of a resource is.
    Registration {
        /// Asked for, not yet confirmed by an agent.
        Registering = "registering",
        /// Known and usable.
        Registered = "registered",
        /// Could not be registered.
        Failed = "failed",
        /// Deleted; its backups stay.
        Deleted = "deleted",
    }
}

/// What is read from a resource.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    /// Absolute paths on the machine. Names that are not UTF-8 are found by backing up a folder above them.
    pub paths: Vec<String>,
    /// Globs of what to leave out, beside those of the policy.
    #[serde(default)]
    pub excludes: Vec<String>,
}

impl Sources {
    /// Checks that a resource of this kind can be read from here. A single path of a volume is the device or image itself;
    /// several are folders of it, whose files are read, and without any it goes by what is set on the agent.
    ///
    /// # Errors
    /// `invalid_field` for a path that is not absolute, and for a volume's that cannot be a device or image.
    pub fn check(&self, kind: ResourceKind) -> Result<()> {
        if let Some(path) = self.paths.iter().find(|path| !path.starts_with('/')) {
            return Err(Error::invalid("sources.paths", format!("'{path}' is no absolute path"))
                .hint("write the path from the top, like /home"));
        }
        let ([path], ResourceKind::Volume) = (self.paths.as_slice(), kind) else { return Ok(()) };
        if path.split('/').any(|part| part == "..") || path.ends_with('/') {
            return Err(Error::invalid("sources.paths", format!("'{path}' cannot be a block device or a disk image"))
                .hint("write the path from the top, without `..` and without a slash at the end"));
        }
        if self.excludes.is_empty() {
            return Ok(());
        }
        Err(Error::invalid("sources.excludes", "nothing can be left out of a volume")
            .hint("back up its files as a machine's, or leave the excludes away"))
    }
}

/// What is protected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Identity.
    pub id: Uuid,
    /// The owner.
    pub tenant: Uuid,
    /// The name that the machine or cloud gives it; unique on the server, at most 50 characters.
    pub instance_id: String,
    /// What sort of thing it is.
    pub kind: ResourceKind,
    /// The name people know.
    pub name: String,
    /// The agent that reaches it.
    pub agent: Option<Uuid>,
    /// What is read from it.
    pub sources: Sources,
    /// Whether policies run for it.
    pub enabled: bool,
    /// Whether it takes part: false once another agent took it over, or its registration was deleted.
    #[serde(default = "yes")]
    pub active: bool,
    /// Whether it joined from outside, with a registration token for such machines.
    #[serde(default)]
    pub external: bool,
    /// Whether a whole recovery point may be written over the system that runs on it.
    #[serde(default)]
    pub live_recovery: bool,
    /// Where its registration is.
    pub registration: Registration,
    /// What there is to say of a registration that goes on or failed: `reason`, `agent_version`, `os`, `step`.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub registration_details: serde_json::Value,
    /// When the last good backup was made.
    pub last_backup_at: Option<Timestamp>,
    /// Free-form facts; `tags`, `location`, `size` and `encrypted` are known keys.
    #[serde(default)]
    pub metadata: serde_json::Value,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// When its registration was deleted. Its backups stay, and registering it again goes on where it was.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
}

fn yes() -> bool {
    true
}

/// The tag that every resource has: its name, unless it was given another one.
pub const NAME_TAG: &str = "Name";

impl Resource {
    /// Whether it is one block device or disk image, whose bytes are backed up.
    #[must_use]
    pub fn is_volume(&self) -> bool {
        self.kind == ResourceKind::Volume && self.sources.paths.len() == 1
    }

    /// Its tags: the texts in `metadata.tags`, and its name.
    #[must_use]
    pub fn tags(&self) -> BTreeMap<String, String> {
        let given = self.metadata.get("tags").and_then(serde_json::Value::as_object);
        let texts =
            given.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let mut tags: BTreeMap<String, String> = texts.collect();
        tags.entry(NAME_TAG.to_owned()).or_insert_with(|| self.name.clone());
        tags
    }

    /// Where it is, in words, as far as somebody said.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        self.metadata.get("location").and_then(serde_json::Value::as_str).filter(|place| !place.is_empty())
    }

    /// The same resource, registered in place of a former one of the same `instance_id`: its identity and its history go
    /// on.
    #[must_use]
    pub fn in_place_of(self, former: &Resource) -> Resource {
        Resource { id: former.id, created_at: former.created_at, last_backup_at: former.last_backup_at, ..self }
    }

    /// The same resource after its registration was deleted: nobody reaches it and nothing is done with it.
    #[must_use]
    pub fn unregistered(self, now: Timestamp) -> Resource {
        Resource {
            agent: None,
            enabled: false,
            active: false,
            registration: Registration::Deleted,
            registration_details: serde_json::Value::Null,
            deleted_at: Some(now),
            ..self
        }
    }
}

/// The longest `instance_id`, in characters (Yandex Cloud Backup: `<=50`).
pub const MAX_INSTANCE_ID: usize = 50;

/// Checks the name that a machine or cloud gives a resource: vendors write it into paths and into ids of their own.
///
/// # Errors
/// `invalid_field` when it is empty, too long, or holds anything but ASCII letters, digits, `.`, `_` and `-`.
pub fn check_instance_id(id: &str) -> Result<()> {
    let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if plain && (1..=MAX_INSTANCE_ID).contains(&id.len()) {
        return Ok(());
    }
    Err(Error::invalid("instance_id", format!("'{}' is no id of an instance", id.escape_debug()))
        .hint(format!("1 to {MAX_INSTANCE_ID} characters of A-Z, a-z, 0-9, '.', '_' and '-'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_read_from_one_place() {
        let sources = |paths: &[&str], excludes: &[&str]| Sources {
            paths: paths.iter().map(|p| (*p).to_owned()).collect(),
            excludes: excludes.iter().map(|e| (*e).to_owned()).collect(),
        };
        for good in ["/dev/vdb", "/var/lib/images/db.qcow2"] {
            assert_eq!(sources(&[good], &[]).check(ResourceKind::Volume), Ok(()), "{good}");
        }
        for bad in [&["vdb"][..], &["/dev/"], &["/images/../etc/shadow"]] {
            assert!(sources(bad, &[]).check(ResourceKind::Volume).is_err(), "{bad:?}");
        }
        assert_eq!(sources(&["/srv", "/home"], &["*.tmp"]).check(ResourceKind::Volume), Ok(()));
        assert!(sources(&["/dev/vdb"], &["*.tmp"]).check(ResourceKind::Volume).is_err());
        assert_eq!(sources(&["/a/../b", "/c/"], &["*.tmp"]).check(ResourceKind::BareMetal), Ok(()));
    }

    #[test]
    fn ids_of_instances() {
        for id in ["a", "db-1.example_2", "bst0123456789abcdefg", &"x".repeat(50)] {
            assert_eq!(check_instance_id(id), Ok(()), "{id}");
        }
        for id in ["", " ", "a b", "a:b", "a/b", "ü", &"x".repeat(51)] {
            assert!(check_instance_id(id).is_err(), "{id}");
        }
    }
}
