//! Machines as this API shows them (section 11.2).

use domain::Timestamp;
use domain::query::{Key, Value};
use domain::resource::{Registration, Resource, ResourceKind, ResourceStatus};
use prost_types::Timestamp as Stamp;
use proto::yandex::cloud::backup::v1::resource::{InitStatus, Status};
use proto::yandex::cloud::backup::v1::{self as wire, AgentInfo, ResourceType, TenantInfo};

use crate::service::ResourceView;

/// What a machine without policies has for its status (Y52).
const NO_POLICIES: &str = "no_policies_applied";

/// A machine.
pub(super) fn resource(view: &ResourceView, include_tenant_info: bool) -> wire::Resource {
    let resource = &view.resource;
    let (status, status_details) = status(view);
    let progress = view.status_progress.filter(|_| matches!(status, Status::Backuping | Status::Recovering));
    let tenant = resource.tenant.to_string();
    wire::Resource {
        compute_instance_id: instance_id(resource),
        created_at: Some(stamp(resource.created_at)),
        updated_at: Some(stamp(resource.updated_at)),
        online: view.online,
        enabled: resource.enabled,
        status: status as i32,
        status_details,
        status_progress: progress.map_or(0, |p| i64::from(p.min(100))),
        last_backup_time: resource.last_backup_at.map(stamp),
        next_backup_time: view.next_backup_at.map(stamp),
        resource_id: resource.id.to_string(),
        is_active: resource.active,
        init_status: init_status(resource.registration) as i32,
        metadata: metadata(resource),
        r#type: kind(resource) as i32,
        tenant_info: include_tenant_info.then(|| TenantInfo {
            folder_id: tenant.clone(),
            personal_tenant_id: tenant.clone(),
            user_id: String::new(),
        }),
        agent_info: view.agent.as_ref().map(|agent| AgentInfo {
            current_version: agent.version.clone(),
            // This server hands out its own program, for its own system only.
            latest_version: if agent.system == std::env::consts::OS {
                env!("CARGO_PKG_VERSION").to_owned()
            } else {
                agent.version.clone()
            },
            // No agent replaces its own program.
            can_update: false,
        }),
    }
}

/// The id by which an instance is named (11.1).
pub(super) fn instance_id(resource: &Resource) -> String {
    match resource.instance_id.as_str() {
        "" => resource.id.to_string(),
        id => id.to_owned(),
    }
}

/// A time, to the nanosecond.
pub(super) fn stamp(time: Timestamp) -> Stamp {
    // Before 1970 the parts are negative here and mixed there; nothing in a ledger is that old.
    Stamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// Where a machine stands in lists: by its creation (Y45).
pub(super) fn place(resource: &Resource) -> Key {
    Key(vec![Some(Value::Time(resource.created_at)), Some(Value::Uuid(resource.id))])
}

fn status(view: &ResourceView) -> (Status, String) {
    let details = || view.status_details.clone().unwrap_or_default();
    match view.status {
        ResourceStatus::Idle if view.resource.registration == Registration::Registered && !view.applied => {
            (Status::Other, NO_POLICIES.to_owned())
        }
        ResourceStatus::Idle => (Status::Idle, String::new()),
        ResourceStatus::BackingUp => (Status::Backuping, String::new()),
        ResourceStatus::Recovering => (Status::Recovering, String::new()),
        ResourceStatus::Failed => (Status::Failed, details()),
        ResourceStatus::Other => (Status::Other, details()),
    }
}

fn init_status(registration: Registration) -> InitStatus {
    match registration {
        Registration::Registering => InitStatus::Registering,
        Registration::Registered => InitStatus::Registred,
        Registration::Failed => InitStatus::FailedRegistration,
        Registration::Deleted => InitStatus::Deleted,
    }
}

/// JSON text: what there is to say of a registration that goes on or failed, else `null` (Y54).
fn metadata(resource: &Resource) -> String {
    match resource.registration {
        Registration::Registering | Registration::Failed => resource.registration_details.to_string(),
        Registration::Registered | Registration::Deleted => "null".to_owned(),
    }
}

/// What sort of machine it is (Y55).
fn kind(resource: &Resource) -> ResourceType {
    match (resource.kind, resource.external) {
        (ResourceKind::ComputeVm, false) => ResourceType::Compute,
        (ResourceKind::BareMetal, false) => ResourceType::Bms,
        (ResourceKind::ComputeVm, true) => ResourceType::ExternalVm,
        (ResourceKind::BareMetal, true) => ResourceType::ExternalServer,
        (ResourceKind::Volume | ResourceKind::Mailbox | ResourceKind::Image, _) => ResourceType::Unspecified,
    }
}

/// What machines of a type are, and whether they come from outside; none for no type.
pub(super) fn of_type(kind: ResourceType) -> Option<(ResourceKind, bool)> {
    match kind {
        ResourceType::Unspecified => None,
        ResourceType::Compute => Some((ResourceKind::ComputeVm, false)),
        ResourceType::Bms => Some((ResourceKind::BareMetal, false)),
        ResourceType::ExternalVm => Some((ResourceKind::ComputeVm, true)),
        ResourceType::ExternalServer => Some((ResourceKind::BareMetal, true)),
    }
}

#[cfg(test)]
mod tests {
    use domain::Uuid;
    use domain::resource::Sources;
    use serde_json::json;

    use super::*;

    fn view() -> ResourceView {
        let at = Timestamp::new(1_800_000_000, 125).expect("a time");
        let resource = Resource {
            id: Uuid::from_u128(7),
            tenant: Uuid::from_u128(3),
            instance_id: "db-1".into(),
            kind: ResourceKind::ComputeVm,
            name: "db".into(),
            agent: None,
            sources: Sources::default(),
            enabled: true,
            active: true,
            external: false,
            live_recovery: false,
            registration: Registration::Registered,
            registration_details: serde_json::Value::Null,
            last_backup_at: None,
            metadata: serde_json::Value::Null,
            created_at: at,
            updated_at: at,
            deleted_at: None,
        };
        ResourceView {
            resource,
            status: ResourceStatus::Idle,
            status_details: None,
            status_progress: None,
            next_backup_at: None,
            applied: true,
            online: false,
            agent: None,
        }
    }

    #[test]
    fn a_machine_without_policies_says_so_when_nothing_else_is_to_be_said() {
        let mut view = view();
        assert_eq!((resource(&view, false).status(), &*resource(&view, false).status_details), (Status::Idle, ""));
        view.applied = false;
        let shown = resource(&view, false);
        assert_eq!((shown.status(), &*shown.status_details), (Status::Other, "no_policies_applied"));
        view.status = ResourceStatus::BackingUp;
        view.status_progress = Some(40);
        let shown = resource(&view, false);
        assert_eq!((shown.status(), &*shown.status_details, shown.status_progress), (Status::Backuping, "", 40));
        view.status = ResourceStatus::Other;
        assert_eq!(resource(&view, false).status_progress, 0, "only of backups and recoveries");
    }

    #[test]
    fn the_details_of_a_registration_are_json_or_the_word_null() {
        let mut view = view();
        assert_eq!(
            (resource(&view, false).metadata.as_str(), resource(&view, false).init_status()),
            ("null", InitStatus::Registred)
        );
        view.resource.registration = Registration::Failed;
        view.resource.registration_details = json!({ "reason": "too old" });
        let shown = resource(&view, false);
        assert_eq!(
            (&*shown.metadata, shown.init_status()),
            (r#"{"reason":"too old"}"#, InitStatus::FailedRegistration)
        );
    }

    #[test]
    fn types_follow_from_the_kind_and_where_it_came_from() {
        let mut view = view();
        for wanted in [ResourceType::Compute, ResourceType::Bms, ResourceType::ExternalVm, ResourceType::ExternalServer]
        {
            (view.resource.kind, view.resource.external) = of_type(wanted).expect("a type of machines");
            assert_eq!(resource(&view, false).r#type(), wanted);
        }
        view.resource.kind = ResourceKind::Mailbox;
        assert_eq!(resource(&view, false).r#type(), ResourceType::Unspecified);
    }

    #[test]
    fn the_owner_is_shown_to_whoever_asks_for_it() {
        assert_eq!(resource(&view(), false).tenant_info, None);
        let shown = resource(&view(), true).tenant_info.expect("asked for");
        assert_eq!((shown.folder_id.as_str(), &*shown.user_id), ("00000000-0000-0000-0000-000000000003", ""));
        assert_eq!(shown.personal_tenant_id, shown.folder_id);
    }
}
