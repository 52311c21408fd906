//! Volumes and environments as this API shows them (sections 9 and 10).

use domain::resource::{Registration, Resource};
use serde_json::{Value, json};

use super::call::{Seconds, get};
use super::tags;
use crate::service::{Environment, VolumeView, Went};

/// Where things are that nobody said a place of (D4).
pub(super) const DEFAULT_PLACE: &str = "default";

/// How volumes are stored on disks, in the vendor's words (D6): ours have one way.
pub(super) const DISK: &str = "standard";

/// An environment.
pub(super) fn environment(e: &Environment) -> Value {
    let further = e.agent.restore_roots.iter().skip(1).map(String::as_str);
    let places: Vec<&str> = [DEFAULT_PLACE].into_iter().chain(further).collect();
    let about = [e.agent.os.as_str(), e.agent.version.as_str()];
    let about: Vec<&str> = about.into_iter().filter(|part| !part.is_empty()).collect();
    json!({
        "id": e.id,
        "account_native_id": e.agent.id,
        "account_name": e.agent.name,
        "aws_region": e.repository_name,
        "aws_az": places,
        "connection_status": connection_status(e),
        "connection_id": e.agent.id,
        "description": about.join(", "),
        "organizational_unit_id": e.agent.tenant,
        "services_enabled": [SERVICE],
        "template_version": 1,
        "config": null,
        "connection_group_id": null,
        "connection_management_status": null,
        "template_permission_set": null,
        "_embedded": null,
        "_links": {
            "_self": get(&format!("/datasources/aws/environments/{}", e.id)),
            "read-organizational-unit": get(&format!("/organizational-units/{}", e.agent.tenant)),
        },
    })
}

/// What is enabled in every environment.
pub(super) const SERVICE: &str = "ebs";

/// What an environment is that can be reached now.
pub(super) const CONNECTED: &str = "connected";

/// Whether an environment can be reached now.
pub(super) fn connection_status(e: &Environment) -> &'static str {
    if e.online { CONNECTED } else { "disconnected" }
}

/// Why nothing can be done with a resource, if so.
pub(super) fn unsupported_reason(resource: &Resource) -> Option<&'static str> {
    match resource {
        r if r.agent.is_none() => Some("no_agent"),
        r if !r.enabled => Some("disabled"),
        _ => None,
    }
}

/// Whether a resource was deleted.
pub(super) fn is_deleted(resource: &Resource) -> bool {
    resource.registration == Registration::Deleted || resource.deleted_at.is_some()
}

/// How a volume is protected; none if it is deleted.
pub(super) fn protection_status(view: &VolumeView) -> Option<&'static str> {
    if is_deleted(&view.resource) {
        return None;
    }
    Some(match &view.policy {
        _ if unsupported_reason(&view.resource).is_some() => "unsupported",
        None => "unprotected",
        Some(policy) if policy.enabled => "protected",
        Some(_) => "deactivated",
    })
}

/// How the newest backup went.
pub(super) fn backup_status(went: Option<Went>) -> &'static str {
    match went {
        None => "unknown",
        Some(Went::Nowhere) => "no_backup",
        Some(Went::Well) => "success",
        Some(Went::Partly) => "partial_success",
        Some(Went::Wrong) => "failure",
    }
}

/// A volume; `operations` are the types of those of its policy, which can be read if `linked`; `embedded` is what is put into
/// it.
pub(super) fn volume(view: &VolumeView, operations: &[String], linked: bool, embedded: Value) -> Value {
    let resource = &view.resource;
    let stored_in = view.stored_in.as_ref();
    let policy = view.policy.as_ref();
    let unsupported = unsupported_reason(resource);
    let deleted = is_deleted(resource);
    let size = view.newest.as_ref().map(|b| b.size).or_else(|| resource.metadata.get("size").and_then(Value::as_u64));
    let runs = json!({
        "backup_status": backup_status(view.went),
        "last_successful_policy_start_timestamp": view.last_good.map(Seconds),
        "last_failed_policy_start_timestamp": view.last_bad.map(Seconds),
    });
    let of_operation = |operation: &String| {
        let mut info = runs.clone();
        info["operation"] = operation.as_str().into();
        info
    };
    let mut about_runs = runs.clone();
    about_runs["operation_info_list"] = operations.iter().map(of_operation).collect();
    let mut links = json!({ "_self": get(&format!("/datasources/aws/ebs-volumes/{}", resource.id)) });
    if let Some(policy) = policy.filter(|_| linked) {
        links["read-policy-definition"] = get(&format!("/policies/definitions/{}", policy.id));
    }
    json!({
        "id": resource.id,
        "volume_native_id": resource.instance_id,
        "name": resource.name,
        "organizational_unit_id": resource.tenant,
        "environment_id": stored_in.map(|s| s.environment),
        "account_native_id": stored_in.and(resource.agent),
        "aws_region": stored_in.map(|s| s.repository_name.as_str()),
        "aws_az": resource.location().unwrap_or(DEFAULT_PLACE),
        "type": DISK,
        "iops": null,
        "is_encrypted": resource.metadata.get("encrypted").and_then(Value::as_bool).unwrap_or(false),
        "kms_key_native_id": null,
        "size": size,
        "tags": tags::with_ids(&resource.tags()),
        "is_supported": unsupported.is_none(),
        "unsupported_reason": unsupported,
        "is_deleted": deleted,
        "deletion_timestamp": deleted.then_some(Seconds(resource.updated_at)),
        "last_backup_timestamp": resource.last_backup_at.map(Seconds),
        "last_snapshot_timestamp": null,
        "has_direct_assignment": policy.is_some(),
        "direct_assignment_policy_id": policy.map(|p| p.id),
        "protection_info": policy.map(|policy| json!({
            "policy_id": policy.id,
            "inheriting_entity_id": null,
            "inheriting_entity_type": null,
        })),
        "protection_status": protection_status(view),
        "backup_status_info": about_runs,
        "_links": links,
        "_embedded": embedded,
    })
}
