//! Tenants, and the tokens that open them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use domain::query::Filter;

use super::auth::Asking;
use super::error::Failure;
use super::extract::{Body, Params, PathId};
use super::lists::{TENANTS, TOKENS};
use super::{Answer, ApiState, created, map};
use crate::service::{NewTenant, NewToken, TenantChange};

/// Tenants that match.
#[utoipa::path(
    get,
    path = "/tenants",
    tag = "tenants",
    responses((status = 200, description = "A part of the list", body = api::List<api::Tenant>))
)]
pub(super) async fn tenants(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::Tenant>> {
    let query = TENANTS.query(params, Filter::all())?;
    let slice = state.service.tenants(&caller, &query).await?;
    map::list(&TENANTS, &query, slice, |t| t.into())
}

/// One tenant.
#[utoipa::path(
    get,
    path = "/tenants/{id}",
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The tenant", body = api::Tenant))
)]
pub(super) async fn tenant(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::Tenant> {
    Ok(Json((&state.service.tenant(&caller, id).await?).into()))
}

/// Makes a tenant below the caller's or another one that the caller sees.
#[utoipa::path(
    post,
    path = "/tenants",
    tag = "tenants",
    request_body = api::NewTenant,
    responses((status = 201, description = "The tenant, with its place in `Location`", body = api::Tenant))
)]
pub(super) async fn create_tenant(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    Body(body): Body<api::NewTenant>,
) -> Result<Response, Failure> {
    let new = NewTenant { parent: body.parent, name: body.name, description: body.description };
    let tenant = api::Tenant::from(&state.service.create_tenant(&caller, new).await?);
    Ok(created("tenants", tenant.id, tenant))
}

/// Changes a tenant.
#[utoipa::path(
    patch,
    path = "/tenants/{id}",
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The id")),
    request_body = api::TenantChange,
    responses((status = 200, description = "The tenant as it is now", body = api::Tenant))
)]
pub(super) async fn change_tenant(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    Body(body): Body<api::TenantChange>,
) -> Answer<api::Tenant> {
    let api::TenantChange { name, description, schedule_time_zone } = body;
    let change = TenantChange { name, description, schedule_time_zone };
    Ok(Json((&state.service.change_tenant(&caller, id, change).await?).into()))
}

/// Deletes a tenant that has nothing below it, no resources and no policies.
///
/// What happened in it stays known to the tenants above. Its tokens, users and clients are let in no longer.
#[utoipa::path(
    delete,
    path = "/tenants/{id}",
    tag = "tenants",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 204, description = "It is gone"))
)]
pub(super) async fn delete_tenant(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Result<StatusCode, Failure> {
    state.service.delete_tenant(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// API tokens that match.
#[utoipa::path(
    get,
    path = "/tokens",
    tag = "tokens",
    responses((status = 200, description = "A part of the list", body = api::List<api::Token>))
)]
pub(super) async fn tokens(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::Token>> {
    let query = TOKENS.query(params, Filter::all())?;
    let slice = state.service.tokens(&caller, &query).await?;
    map::list(&TOKENS, &query, slice, |t| t.into())
}

/// Makes an API token.
///
/// The secret is in this answer and nowhere else.
#[utoipa::path(
    post,
    path = "/tokens",
    tag = "tokens",
    request_body = api::NewToken,
    responses((status = 201, description = "The token with its secret", body = api::TokenCreated))
)]
pub(super) async fn create_token(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    Body(body): Body<api::NewToken>,
) -> Result<Response, Failure> {
    let new = NewToken { name: body.name, role: body.role, tenant: body.tenant, expires_at: body.expires_at };
    let (token, secret) = state.service.create_token(&caller, new).await?;
    let body = api::TokenCreated { token: (&token).into(), secret };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// Revokes an API token: from now on it is not accepted.
#[utoipa::path(
    delete,
    path = "/tokens/{id}",
    tag = "tokens",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The token as it is now", body = api::Token))
)]
pub(super) async fn revoke_token(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::Token> {
    Ok(Json((&state.service.revoke_token(&caller, id).await?).into()))
}
