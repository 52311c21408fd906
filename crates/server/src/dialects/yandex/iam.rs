//! Tokens: what clients get for an API key or for what a service account signed, and how they end it (section 7.2). Service
//! accounts are the API clients of the product.

use domain::Uuid;
use prost_types::Timestamp;
use proto::yandex::cloud::iam::v1::create_iam_token_request::Identity;
use proto::yandex::cloud::iam::v1::iam_token_service_server::SERVICE_NAME;
use proto::yandex::cloud::iam::v1::{
    CreateIamTokenForServiceAccountRequest, CreateIamTokenRequest, CreateIamTokenResponse, RevokeIamTokenRequest,
    RevokeIamTokenResponse,
};

use super::call::Call;
use super::dispatch::Handlers;
use super::failure::Failure;
use crate::service::IamToken;

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on(SERVICE_NAME, "Create", create);
    handlers.on(SERVICE_NAME, "CreateForServiceAccount", create_for_service_account);
    handlers.on(SERVICE_NAME, "Revoke", revoke);
}

async fn create(call: Call, request: CreateIamTokenRequest) -> Result<CreateIamTokenResponse, Failure> {
    let token = match request.identity {
        Some(Identity::YandexPassportOauthToken(key)) => call.service().iam_for_key(&key).await?,
        Some(Identity::Jwt(jwt)) => call.service().iam_for_assertion(&jwt).await?,
        None => return Err(Failure::field("identity", "Field is required")),
    };
    Ok(response(token))
}

async fn create_for_service_account(
    call: Call,
    request: CreateIamTokenForServiceAccountRequest,
) -> Result<CreateIamTokenResponse, Failure> {
    let id = &request.service_account_id;
    let client = Uuid::try_parse(id).map_err(|_| Failure::not_found("service account", id))?;
    Ok(response(call.service().iam_for_client(call.caller()?, client).await?))
}

async fn revoke(call: Call, request: RevokeIamTokenRequest) -> Result<RevokeIamTokenResponse, Failure> {
    let subject = call.service().revoke_iam(call.caller()?, &request.iam_token).await?;
    Ok(RevokeIamTokenResponse { subject_id: subject.to_string() })
}

fn response(token: IamToken) -> CreateIamTokenResponse {
    let expires_at = Timestamp { seconds: token.expires_at.as_second(), nanos: 0 };
    CreateIamTokenResponse { iam_token: token.token, expires_at: Some(expires_at) }
}
