//! Recovery points as this API shows them (section 11).

use std::collections::{BTreeMap, HashMap};

use domain::backup::Backup;
use domain::resource::{NAME_TAG, Resource};
use domain::{Timestamp, Uuid};
use serde_json::{Value, json};

use super::call::{Seconds, get, link};
use super::tags;
use super::volume_map::{DEFAULT_PLACE, DISK};

/// The unit of a backup's `size`.
const GB: u64 = 1 << 30;

/// What is known beside recovery points.
pub(super) struct Around {
    pub(super) resources: HashMap<Uuid, Resource>,
    pub(super) repositories: HashMap<Uuid, String>,
    pub(super) ends: HashMap<Uuid, Timestamp>,
}

/// The name of the key under which a repository is encrypted (D7).
pub(super) fn key_of(repository: Uuid) -> String {
    format!("{KEY}{repository}")
}

/// What the names of keys begin with.
pub(super) const KEY: &str = "repository:";

/// A recovery point in a version of the API.
pub(super) fn backup(backup: &Backup, around: &Around, version: u32) -> Value {
    let resource = around.resources.get(&backup.resource);
    let place = if backup.location.is_empty() { DEFAULT_PLACE } else { &backup.location };
    let native = resource.map_or_else(|| backup.resource.to_string(), |r| r.instance_id.clone());
    let mut shown = json!({
        "id": backup.id,
        "volume_id": backup.resource,
        "volume_native_id": native,
        "start_timestamp": Seconds(backup.created_at),
        "account_native_id": backup.agent.unwrap_or_default(),
        "aws_region": around.repositories.get(&backup.repository).map_or("", String::as_str),
        "aws_az": place,
        "type": DISK,
        "is_encrypted": true,
        "kms_key_native_id": key_of(backup.repository),
        "size": backup.size.div_ceil(GB),
        "tags": tags::plain(&tags_of(backup)),
        "expiration_timestamp": around.ends.get(&backup.id).copied().map(Seconds),
        "is_browsable": backup.browsable,
        "browsing_failed_reason": (!backup.browsable).then_some("browsing_unavailable"),
        "_links": {
            "_self": get(&format!("/backups/aws/ebs-volumes/{}", backup.id)),
            "restore-aws-ebs-volume": link("/restores/aws/ebs-volumes", "post"),
        },
    });
    if version > 1 {
        shown["type"] = TYPE.into();
        shown["volume_type"] = DISK.into();
        shown["backup_tier"] = DISK.into();
        shown["iops"] = Value::Null;
        shown["migration_timestamp"] = Value::Null;
        shown["utilized_size_in_bytes"] = backup.size.into();
    }
    shown
}

/// The only type of backups there is.
pub(super) const TYPE: &str = "clumio_backup";

/// The tags of the resource when it was backed up; never none (R17).
fn tags_of(backup: &Backup) -> BTreeMap<String, String> {
    if backup.tags.is_empty() {
        return BTreeMap::from([(NAME_TAG.to_owned(), backup.resource_name.clone())]);
    }
    backup.tags.clone()
}
