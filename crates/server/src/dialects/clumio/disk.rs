//! What requests say of disks, tiers and keys, which change nothing here (D6, D7, D11): known words are taken and kept with
//! the task, others refused.

use domain::Uuid;

use super::backup_map::KEY;
use super::body::Members;

/// The kinds of disks that may be named.
const DISKS: [&str; 7] = ["gp2", "gp3", "io1", "io2", "sc1", "st1", "standard"];

/// The tiers that may be named.
const TIERS: [&str; 2] = ["standard", "lite"];

/// The properties of a disk to restore to.
pub(super) fn check_disk(target: &Members<'_>) {
    target.one_of("type", &DISKS);
    target.integer("iops");
    target.integer("volume_initialization_rate");
    if let Some(key) = target.text("kms_key_native_id") {
        let known = key.strip_prefix(KEY).is_some_and(|id| Uuid::parse_str(id).is_ok());
        if !known {
            target.refuse("kms_key_native_id", "keys of others are not served; leave it out, or give a backup's own");
        }
    }
}

/// The settings of a backup beyond where and how long it is kept.
pub(super) fn check_advanced(advanced: &Members<'_>) {
    let Some(volume) = advanced.object("aws_ebs_volume_backup") else { return };
    volume.one_of("backup_tier", &TIERS);
    if volume.flag("ransomware_analysis") == Some(true) {
        volume.refuse("ransomware_analysis", "backups are not searched for ransomware here");
    }
}
