//! Policies and their applications as this API shows them (section 11.5).

use domain::policy::Policy;
use domain::resource::Registration;
use proto::yandex::cloud::backup::v1 as wire;
use wire::policy_application::Status;

use super::machine_map::{instance_id, stamp};
use super::settings_map;
use crate::service::ApplicationView;

/// A policy.
pub(super) fn policy(policy: &Policy) -> wire::Policy {
    wire::Policy {
        id: policy.id.to_string(),
        name: policy.name.clone(),
        created_at: Some(stamp(policy.created_at)),
        updated_at: Some(stamp(policy.updated_at)),
        enabled: policy.enabled,
        settings: Some(settings_map::print(policy)),
        folder_id: policy.tenant.to_string(),
    }
}

/// A policy's application to a machine.
pub(super) fn application(view: &ApplicationView) -> wire::PolicyApplication {
    let enabled = view.policy.enabled && view.resource.enabled;
    let status = match (enabled, view.running) {
        (false, _) => Status::Disabled,
        (true, true) => Status::Running,
        (true, false) => Status::Ok,
    };
    wire::PolicyApplication {
        policy_id: view.application.policy.to_string(),
        compute_instance_id: instance_id(&view.resource),
        // An application has no switch of its own.
        enabled: true,
        status: status as i32,
        created_at: Some(stamp(view.application.created_at)),
        is_processing: processing(view),
    }
}

/// Whether a policy is still being applied: its machine registers.
pub(super) fn processing(view: &ApplicationView) -> bool {
    view.resource.registration == Registration::Registering
}
