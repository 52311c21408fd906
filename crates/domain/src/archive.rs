//! Archives: the backups of one resource under one policy.

use serde::{Deserialize, Serialize};

use crate::{Timestamp, Uuid};

/// The backups of one resource under one policy. It comes with the first of them and goes with the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Identity.
    pub id: Uuid,
    /// The owner: the tenant of the resource.
    pub tenant: Uuid,
    /// The name, made from the policy's template with the first backup and fixed since.
    pub name: String,
    /// What is backed up; kept when the resource is deleted.
    pub resource: Uuid,
    /// The resource's name when the archive was made.
    pub resource_name: String,
    /// The policy that the backups are made under; kept when it is deleted. Nil = they are made by hand.
    pub policy: Uuid,
    /// The policy's name when the archive was made.
    pub policy_name: String,
    /// Where the backups lie.
    pub repository: Uuid,
    /// Whether the last verification found damage.
    #[serde(default)]
    pub damaged: bool,
    /// The time of the newest of its backups of which a verification has read all data, be it whole or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_verified: Option<Timestamp>,
    /// When the repository was last read or written for it.
    pub last_seen_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// Since when it is being deleted, or is gone. The next backup of the pair begins a new archive.
    pub deleted_at: Option<Timestamp>,
}

impl Archive {
    /// The key of the archive that backups of this policy and resource go to.
    #[must_use]
    pub fn key_of(policy: Uuid, resource: Uuid) -> String {
        format!("{policy}/{resource}")
    }

    /// The key of the archive that backups without a policy go to: each repository has its own.
    #[must_use]
    pub fn key_by_hand(repository: Uuid, resource: Uuid) -> String {
        format!("by hand {repository}/{resource}")
    }

    /// What no other archive has as long as this one is not deleted.
    #[must_use]
    pub fn key(&self) -> String {
        if self.policy.is_nil() {
            Archive::key_by_hand(self.repository, self.resource)
        } else {
            Archive::key_of(self.policy, self.resource)
        }
    }
}

/// The name of an archive whose policy says nothing of it (Yandex Cloud Backup).
pub const DEFAULT_NAME: &str = "[Machine Name]-[Plan ID]-[Unique ID]A";

/// The name that a template gives an archive. What stands in brackets and is not known stays (Yandex Cloud Backup, Y89).
#[must_use]
pub fn expand_name(template: &str, archive: Uuid, resource_name: &str, policy: Uuid, policy_name: &str) -> String {
    let template = if template.is_empty() { DEFAULT_NAME } else { template };
    let mut name = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find('[') {
        name.push_str(&rest[..open]);
        rest = &rest[open..];
        let known = rest.find(']').and_then(|close| match &rest[..=close] {
            "[Machine Name]" => Some((close, resource_name.to_owned())),
            "[Plan ID]" => Some((close, policy.to_string())),
            "[Plan Name]" => Some((close, policy_name.to_owned())),
            "[Unique ID]" => Some((close, archive.to_string())),
            "[Virtualization Server Type]" => Some((close, String::new())),
            _ => None,
        });
        match known {
            Some((close, value)) => {
                name.push_str(&value);
                rest = &rest[close + 1..];
            }
            None => {
                name.push('[');
                rest = &rest[1..];
            }
        }
    }
    name + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_knows_its_words_and_leaves_others() {
        let (archive, policy) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let name = |template| expand_name(template, archive, "srv [1]", policy, "Daily");
        assert_eq!(name(""), format!("srv [1]-{policy}-{archive}A"));
        assert_eq!(name("[Plan Name]/[Machine Name]"), "Daily/srv [1]");
        assert_eq!(name("[[Plan Name]] [plan name] [Virtualization Server Type]["), "[Daily] [plan name] [");
        assert_eq!(name("ends open [Plan Name"), "ends open [Plan Name");
    }
}
