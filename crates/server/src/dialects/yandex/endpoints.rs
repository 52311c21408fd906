//! Discovery: under which address each service is found (Y17). Everything is at the one that the server is configured with.

use proto::yandex::cloud::endpoint::api_endpoint_service_server::SERVICE_NAME;
use proto::yandex::cloud::endpoint::{
    ApiEndpoint, GetApiEndpointRequest, ListApiEndpointsRequest, ListApiEndpointsResponse,
};

use super::call::Call;
use super::dispatch::Handlers;
use super::failure::Failure;

/// The ids of what is served; the first three are those that the vendor gives to this service.
const IDS: [&str; 6] = ["backup", "baas", "cloudbackup", "iam", "operation", "endpoint"];

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on(SERVICE_NAME, "Get", get);
    handlers.on(SERVICE_NAME, "List", list);
}

async fn get(call: Call, request: GetApiEndpointRequest) -> Result<ApiEndpoint, Failure> {
    let id = IDS.into_iter().find(|id| *id == request.api_endpoint_id);
    let id = id.ok_or_else(|| Failure::not_found("endpoint", &request.api_endpoint_id))?;
    Ok(endpoint(&call, id))
}

/// All in one answer, whatever size of page is asked for: no client follows the token.
async fn list(call: Call, _: ListApiEndpointsRequest) -> Result<ListApiEndpointsResponse, Failure> {
    let endpoints = IDS.into_iter().map(|id| endpoint(&call, id)).collect();
    Ok(ListApiEndpointsResponse { endpoints, next_page_token: String::new() })
}

fn endpoint(call: &Call, id: &str) -> ApiEndpoint {
    ApiEndpoint { id: id.to_owned(), address: call.service().public().to_owned() }
}
