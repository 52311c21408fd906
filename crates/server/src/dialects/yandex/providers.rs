//! Providers (section 12.4): every folder is active, and whatever name clients activate is remembered.

use domain::Caller;
use domain::tenant::Tenant;
use proto::yandex::cloud::backup::v1::provider_service_server::SERVICE_NAME;
use proto::yandex::cloud::backup::v1::{
    ActivateProviderRequest, ListActivatedProvidersRequest, ListActivatedProvidersResponse,
};
use proto::yandex::cloud::operation::Operation;

use super::call::Call;
use super::dispatch::Handlers;
use super::failure::Failure;
use super::operations::operation_message;

/// The name that every folder has.
const OURS: &str = "backstay";

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on(SERVICE_NAME, "Activate", activate);
    handlers.on(SERVICE_NAME, "ListActivated", list_activated);
}

async fn activate(call: Call, request: ActivateProviderRequest) -> Result<Operation, Failure> {
    let (caller, folder) = asking(&call, &request.folder_id, &request.instance_registration_id).await?;
    let (key, skip) = (call.idempotency.clone(), request.skip_default_policy);
    let done = call.service().activate_provider(&caller, folder.id, &request.name, skip, key).await?;
    Ok(operation_message(&call, &done))
}

async fn list_activated(
    call: Call,
    request: ListActivatedProvidersRequest,
) -> Result<ListActivatedProvidersResponse, Failure> {
    let (_, folder) = asking(&call, &request.folder_id, &request.instance_registration_id).await?;
    let others = folder.providers.into_iter().filter(|name| name != OURS);
    let names = std::iter::once(OURS.to_owned()).chain(others).collect();
    Ok(ListActivatedProvidersResponse { folder_id: request.folder_id, names })
}

/// Who asks for which folder: somebody with a token, or a machine that joins this very folder (Y26).
async fn asking(call: &Call, folder: &str, registration: &str) -> Result<(Caller, Tenant), Failure> {
    if let Ok(caller) = call.caller() {
        return Ok((caller.clone(), call.folder(folder).await?));
    }
    let caller = call.service().registrar(registration).await?;
    let tenant = call.service().tenant(&caller, caller.tenant()).await?;
    if domain::Uuid::try_parse(folder) != Ok(tenant.id) {
        return Err(Failure::unauthenticated("the registration token is not one of this folder"));
    }
    Ok((caller, tenant))
}
