//! Policies as this API shows them (section 14): operations as they were sent, or made up from what a policy of another API
//! means (D36).

mod elsewhere;
mod read;
#[cfg(test)]
mod tests;

use domain::Timestamp;
use domain::policy::{Policy, Retention, Schedule};
use domain::resource::{Resource, ResourceKind};
use serde_json::{Map, Value, json};

use super::body::Body;
use super::call::{get, link};
use crate::service::{PolicyLock, PolicyView};

pub(super) use read::{Meaning, read};

/// The operation that backs volumes up, and machines as volumes.
const VOLUME_BACKUP: &str = "aws_ebs_volume_backup";
/// The types of operations that are carried out here.
pub(super) const TYPES: [&str; 5] =
    [VOLUME_BACKUP, "aws_ec2_instance_backup", "microsoft365_mailbox_backup", "machine_backup", "image_backup"];
/// The first backup at once.
const IMMEDIATE: &str = "immediate";
/// Backups in the window.
const WINDOW: &str = "window";

/// The members of an operation that may be absent in a request, and are null then.
const OPTIONAL: [&str; 6] =
    ["advanced_settings", "backup_aws_region", "backup_window", "backup_window_tz", "slas", "timezone"];

/// The words of a request that are kept to be given back (R11).
pub(super) fn as_written(body: &Map<String, Value>) -> String {
    let written = |name: &str| body.get(name).cloned().unwrap_or_default();
    json!({ "operations": written("operations"), "timezone": written("timezone") }).to_string()
}

/// The operations and the time zone of a policy as they were sent, unless they mean something else by now.
fn written(policy: &Policy) -> Option<(Vec<Value>, Option<String>)> {
    let written = policy.as_written.as_ref()?;
    if policy.schedule != written.schedule || policy.retention != written.retention {
        return None;
    }
    let sent: Value = serde_json::from_str(&written.text).ok()?;
    let operations = sent.get("operations")?.as_array()?.clone();
    let zone = sent["timezone"].as_str().filter(|zone| !zone.is_empty());
    Some((operations, zone.map(str::to_owned)))
}

/// The types of a policy's operations, as they are shown.
pub(super) fn types(view: &PolicyView) -> Vec<String> {
    let operations = operations(view);
    operations.iter().filter_map(|operation| operation["type"].as_str().map(str::to_owned)).collect()
}

/// The same where no more is known than the policy.
pub(super) fn types_of(policy: &Policy) -> Vec<String> {
    match written(policy) {
        Some((sent, _)) => sent.iter().filter_map(|o| o["type"].as_str().map(str::to_owned)).collect(),
        // One that was made elsewhere protects whatever it is applied to.
        None => TYPES.iter().map(|t| (*t).to_owned()).collect(),
    }
}

/// The types of the operations that a policy has for a volume, where no more is known than the policy.
pub(super) fn types_on_volume(policy: &Policy) -> Vec<String> {
    match written(policy) {
        Some(_) => types_of(policy),
        None => vec![VOLUME_BACKUP.to_owned()],
    }
}

/// Whether a schedule and a retention are what the operations of a policy say as they are shown, which is of another API's
/// policies less than they mean.
pub(super) fn is_what_is_shown(view: &PolicyView, schedule: &Schedule, retention: &Retention) -> bool {
    if written(&view.policy).is_some() {
        return false;
    }
    let shown = policy(view).to_string();
    let Ok(body) = Body::parse(shown.as_bytes()) else { return false };
    let meaning = read(&body.members());
    body.checked().is_ok() && meaning.schedule == *schedule && meaning.retention == *retention
}

fn operations(view: &PolicyView) -> Vec<Value> {
    match written(&view.policy) {
        Some((sent, _)) => sent.into_iter().map(whole).collect(),
        None => vec![elsewhere::operation(view)],
    }
}

/// An operation as it was sent, with null for what was not.
fn whole(mut operation: Value) -> Value {
    let null = |object: &mut Value, names: &[&str]| {
        if let Value::Object(map) = object {
            for name in names {
                map.entry(*name).or_insert(Value::Null);
            }
        }
    };
    null(&mut operation, &OPTIONAL);
    for window in ["backup_window", "backup_window_tz"] {
        null(&mut operation[window], &["start_time", "end_time"]);
    }
    for sla in operation["slas"].as_array_mut().into_iter().flatten() {
        null(sla, &["retention_duration", "rpo_frequency"]);
        null(&mut sla["retention_duration"], &["unit", "value"]);
        null(&mut sla["rpo_frequency"], &["unit", "value", "offsets"]);
    }
    operation
}

/// The name under which a policy can be asked to run by itself or not.
pub(super) fn activation(policy: &Policy) -> &'static str {
    if policy.enabled { "activated" } else { "deactivated" }
}

/// A policy; `own` is the link to what was called.
pub(super) fn policy(view: &PolicyView) -> Value {
    let PolicyView { policy, lock, .. } = view;
    let zone = written(policy).and_then(|(_, zone)| zone).or_else(|| elsewhere::zone(policy));
    let seconds = |time: Option<Timestamp>| time.map(Timestamp::as_second);
    let mut operations = operations(view);
    for operation in &mut operations {
        operation["next_start_time"] = json!(seconds(view.next_run_at));
        operation["previous_start_time"] = json!(seconds(view.last_run_at));
    }
    let path = format!("/policies/definitions/{}", policy.id);
    let mut links = json!({ "_self": get(&path) });
    if lock.is_none() {
        links["update-policy-definition"] = link(&path, "put");
        links["delete-policy-definition"] = link(&path, "delete");
    }
    json!({
        "id": policy.id,
        "name": policy.name,
        "activation_status": activation(policy),
        "operations": operations,
        "organizational_unit_id": policy.tenant,
        "timezone": zone.unwrap_or_else(|| "UTC".to_owned()),
        "lock_status": match lock {
            None => "unlocked",
            Some(PolicyLock::Updating) => "updating",
            Some(PolicyLock::Deleting) => "deleting",
        },
        "created_time": policy.created_at.as_second(),
        "updated_time": policy.updated_at.as_second(),
        "_embedded": null,
        "_links": links,
    })
}

/// The entity that a request names for a kind of resources, and the operations that protect such a one.
pub(super) fn fits(entity: &str, kind: ResourceKind) -> Option<&'static [&'static str]> {
    use ResourceKind::{BareMetal, ComputeVm, Image, Mailbox, Volume};
    match (entity, kind) {
        ("aws_ebs_volume", Volume | ComputeVm | BareMetal) => Some(&[VOLUME_BACKUP]),
        ("aws_ec2_instance", ComputeVm) => Some(&["aws_ec2_instance_backup", VOLUME_BACKUP]),
        ("machine", BareMetal) => Some(&["machine_backup", VOLUME_BACKUP]),
        ("microsoft365_mailbox", Mailbox) => Some(&["microsoft365_mailbox_backup"]),
        ("image", Image) => Some(&["image_backup"]),
        _ => None,
    }
}

/// The types by which a kind of resources can be named.
pub(super) fn entities_of(kind: ResourceKind) -> Vec<&'static str> {
    ENTITIES.into_iter().filter(|entity| fits(entity, kind).is_some()).collect()
}

/// What is said of something that was named by another type than its own.
pub(super) fn misnamed(resource: &Resource, entity: &str) -> String {
    let own = entities_of(resource.kind).iter().map(|own| format!("'{own}'")).collect::<Vec<_>>().join(" or ");
    format!("'{}' is no {entity}; its type is {own}", resource.name)
}

/// The types of entities that can be named.
pub(super) const ENTITIES: [&str; 5] =
    ["aws_ebs_volume", "aws_ec2_instance", "microsoft365_mailbox", "machine", "image"];
