//! Policies (section 12.3): what is backed up when, applied to machines and run on them.

use domain::policy::Policy;
use domain::query::{Filter, RecordField, Value};
use domain::{Code, Error, Uuid};
use proto::yandex::cloud::backup::v1::policy_service_server::SERVICE_NAME;
use proto::yandex::cloud::backup::v1::{
    self as wire, ApplyPolicyRequest, CreatePolicyRequest, DeletePolicyRequest, ExecuteRequest, GetPolicyRequest,
    ListApplicationsRequest, ListApplicationsResponse, ListPoliciesRequest, ListPoliciesResponse, RevokeRequest,
    UpdatePolicyRequest, list_applications_request,
};
use proto::yandex::cloud::operation::Operation;

use super::call::Call;
use super::dispatch::Handlers;
use super::failure::Failure;
use super::operations::operation_message;
use super::{pages, policy_map, settings_map};
use crate::service::{NewPolicy, PolicyChange};

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on(SERVICE_NAME, "List", list);
    handlers.on(SERVICE_NAME, "Create", create);
    handlers.on(SERVICE_NAME, "Get", get);
    handlers.on(SERVICE_NAME, "Update", update);
    handlers.on(SERVICE_NAME, "Delete", delete);
    handlers.on(SERVICE_NAME, "Apply", apply);
    handlers.on(SERVICE_NAME, "ListApplications", list_applications);
    handlers.on(SERVICE_NAME, "Execute", execute);
    handlers.on(SERVICE_NAME, "Revoke", revoke);
}

/// By folder, by machine, or those of the folder that are applied to the machine (Y77).
async fn list(call: Call, request: ListPoliciesRequest) -> Result<ListPoliciesResponse, Failure> {
    let folder = match request.folder_id.as_str() {
        "" => None,
        id => Some(call.folder(id).await?.id),
    };
    let mut found = match request.compute_instance_id.as_str() {
        "" => {
            let tenant = folder.ok_or_else(|| Failure::field("folder_id", "Field is required"))?;
            let filter = Filter::all().is(RecordField::Tenant, Value::Uuid(tenant))?;
            call.service().all_policies(call.caller()?, filter).await?
        }
        id => {
            let resource = call.service().known_instance(call.caller()?, id).await?;
            call.service().policies_of(call.caller()?, resource.id).await?
        }
    };
    found.retain(|policy| folder.is_none_or(|folder| policy.tenant == folder));
    found.sort_by_key(|policy| (policy.created_at, policy.id));
    let policies = found.iter().map(policy_map::policy).collect();
    pages::whole(ListPoliciesResponse { policies }, "ask by machine, with compute_instance_id")
}

async fn create(call: Call, request: CreatePolicyRequest) -> Result<Operation, Failure> {
    let folder = call.folder(&request.folder_id).await?;
    let meaning = settings_map::read(&request.settings.unwrap_or_default());
    let new = NewPolicy {
        tenant: Some(folder.id),
        name: request.name,
        schedule: meaning.schedule,
        settings: meaning.settings,
        retention: meaning.retention,
        as_written: Some(meaning.as_written),
        repository: None,
        enabled: true,
    };
    let done = call.service().create_policy_operation(call.caller()?, new, call.idempotency.clone()).await?;
    Ok(operation_message(&call, &done))
}

async fn get(call: Call, request: GetPolicyRequest) -> Result<wire::Policy, Failure> {
    Ok(policy_map::policy(&known(&call, &request.policy_id).await?))
}

/// Replaces the settings as a whole (Y78).
async fn update(call: Call, request: UpdatePolicyRequest) -> Result<Operation, Failure> {
    let policy = known(&call, &request.policy_id).await?;
    call.check_level()?;
    let meaning = settings_map::read(&request.settings.unwrap_or_default());
    let change = PolicyChange {
        schedule: Some(meaning.schedule),
        settings: Some(meaning.settings),
        retention: Some(meaning.retention),
        as_written: Some(meaning.as_written),
        ..PolicyChange::default()
    };
    let key = call.idempotency.clone();
    let done = call.service().change_policy_operation(call.caller()?, policy.id, change, key).await?;
    Ok(operation_message(&call, &done))
}

async fn delete(call: Call, request: DeletePolicyRequest) -> Result<Operation, Failure> {
    let policy = known(&call, &request.policy_id).await?;
    call.check_level()?;
    let done = call.service().delete_policy_operation(call.caller()?, policy.id, call.idempotency.clone()).await?;
    Ok(operation_message(&call, &done))
}

async fn apply(call: Call, request: ApplyPolicyRequest) -> Result<Operation, Failure> {
    let (policy, resource) = pair(&call, &request.policy_id, &request.compute_instance_id).await?;
    let key = call.idempotency.clone();
    let done = call.service().apply_policy_operation(call.caller()?, policy, resource, key).await;
    let done = done.map_err(|e| about(e, &request.policy_id, &request.compute_instance_id))?;
    Ok(operation_message(&call, &done))
}

/// What is still being applied is shown only if it is asked for.
async fn list_applications(call: Call, request: ListApplicationsRequest) -> Result<ListApplicationsResponse, Failure> {
    use list_applications_request::Id;
    let (field, id) = match request.id.ok_or_else(|| Failure::field("id", "Field is required"))? {
        Id::FolderId(id) => (RecordField::Tenant, call.folder(&id).await?.id),
        Id::PolicyId(id) => (RecordField::Policy, known(&call, &id).await?.id),
        Id::ComputeInstanceId(id) => {
            (RecordField::Resource, call.service().known_instance(call.caller()?, &id).await?.id)
        }
    };
    let filter = Filter::all().is(field, Value::Uuid(id))?;
    let found = call.service().application_views(call.caller()?, filter).await?;
    let shown = found.iter().filter(|view| request.show_processing || !policy_map::processing(view));
    let applications = shown.map(policy_map::application).collect();
    pages::whole(ListApplicationsResponse { applications }, "ask by machine, with compute_instance_id")
}

async fn execute(call: Call, request: ExecuteRequest) -> Result<Operation, Failure> {
    let (policy, resource) = pair(&call, &request.policy_id, &request.compute_instance_id).await?;
    let key = call.idempotency.clone();
    let done = call.service().execute_policy_operation(call.caller()?, policy, resource, key).await;
    let done = done.map_err(|e| about(e, &request.policy_id, &request.compute_instance_id))?;
    Ok(operation_message(&call, &done))
}

async fn revoke(call: Call, request: RevokeRequest) -> Result<Operation, Failure> {
    let (policy, resource) = pair(&call, &request.policy_id, &request.compute_instance_id).await?;
    let key = call.idempotency.clone();
    let done = call.service().revoke_policy_operation(call.caller()?, policy, resource, key).await;
    let done = done.map_err(|e| about(e, &request.policy_id, &request.compute_instance_id))?;
    Ok(operation_message(&call, &done))
}

/// A policy that the caller can see.
async fn known(call: &Call, id: &str) -> Result<Policy, Failure> {
    let uuid = Uuid::try_parse(id).map_err(|_| Failure::not_found("policy", id))?;
    Ok(call.service().visible_policy(call.caller()?, uuid).await?)
}

/// A policy and a machine that takes part, and the right to do something with them.
async fn pair(call: &Call, policy: &str, instance: &str) -> Result<(Uuid, Uuid), Failure> {
    let policy = known(call, policy).await?;
    let resource = call.service().instance(call.caller()?, instance).await?;
    call.check_level()?;
    Ok((policy.id, resource.id))
}

/// The failure of what was asked of a policy and a machine, about the one that stands in the way.
fn about(error: Error, policy: &str, instance: &str) -> Failure {
    let of_policy = error.code == Code::ForeignPolicy || error.field.as_deref() == Some("policy");
    let subject = if of_policy { policy } else { instance };
    Failure::from(error).about(subject)
}
