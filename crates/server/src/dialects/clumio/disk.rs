//! What requests say of disks, tiers and keys, which change nothing here (D6, D7, D11): known words are taken and kept with
//! the task, others refused.

use std::collections::HashMap;

use domain::Uuid;
use serde_json::Value;

use super::backup_map::KEY;
use super::body::Members;

/// The kinds of disks that may be named.
const DISKS: [&str; 7] = ["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"];

/// The tiers that may be named.
const TIERS: [&str; 2] = ["standard", "lite"];

/// The settings that name a tier.
const TIERED: [&str; 2] = ["aws_ebs_volume_backup", "aws_ec2_instance_backup"];

/// The properties of a disk to restore to; `repositories` are those whose keys are known.
pub(super) fn check_disk(target: &Members<'_>, repositories: &HashMap<Uuid, String>) {
    target.one_of("type", &DISKS);
    target.integer("iops");
    target.integer("volume_initialization_rate");
    if let Some(key) = target.text("kms_key_native_id") {
        let named = key.strip_prefix(KEY).and_then(|id| Uuid::parse_str(id).ok());
        let known = named.is_some_and(|id| repositories.contains_key(&id));
        if !known {
            target.refuse(
                "kms_key_native_id",
                "there is no such key here; leave it out, or give the one that the backup says",
            );
        }
    }
}

/// The settings of backups beyond when they are made, where they go and how long they are kept.
pub(super) fn check_advanced(advanced: &Members<'_>) {
    for name in advanced.names() {
        let tiered = TIERED.contains(&name);
        // What is not known is not looked at, but for promises that nobody keeps.
        if !tiered && !advanced.value(name).is_some_and(Value::is_object) {
            continue;
        }
        let Some(one) = advanced.object(name) else { continue };
        if tiered {
            one.one_of("backup_tier", &TIERS);
        }
        if one.flag("ransomware_analysis") == Some(true) {
            one.refuse("ransomware_analysis", "backups are not searched for ransomware here; leave it out");
        }
    }
}
