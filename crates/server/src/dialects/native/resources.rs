//! Resources: what is protected.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::query::Filter;

use super::auth::Asking;
use super::error::Failure;
use super::extract::{Body, Params, PathId};
use super::lists::RESOURCES;
use super::{Answer, ApiState, created, map};
use crate::service::{NewResource, ResourceChange};

/// Resources that match.
#[utoipa::path(
    get,
    path = "/resources",
    tag = "resources",
    responses((status = 200, description = "A part of the list", body = api::List<api::Resource>))
)]
pub(super) async fn resources(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::Resource>> {
    let query = RESOURCES.query(params, Filter::all())?;
    let slice = state.service.resources(&caller, &query).await?;
    map::list(&RESOURCES, &query, slice, map::resource)
}

/// One resource.
#[utoipa::path(
    get,
    path = "/resources/{id}",
    tag = "resources",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The resource", body = api::Resource))
)]
pub(super) async fn resource(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::Resource> {
    Ok(Json(map::resource(&state.service.resource(&caller, id).await?)))
}

/// Registers a resource.
#[utoipa::path(
    post,
    path = "/resources",
    tag = "resources",
    request_body = api::NewResource,
    responses((status = 201, description = "The resource, with its place in `Location`", body = api::Resource))
)]
pub(super) async fn add_resource(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    Body(body): Body<api::NewResource>,
) -> Result<Response, Failure> {
    let new = NewResource {
        tenant: body.tenant,
        instance_id: body.instance_id,
        kind: body.kind,
        name: body.name,
        agent: body.agent,
        sources: body.sources.into(),
        metadata: body.metadata,
    };
    let resource = map::resource(&state.service.add_resource(&caller, new).await?);
    Ok(created("resources", resource.id, resource))
}

/// Changes a resource.
#[utoipa::path(
    patch,
    path = "/resources/{id}",
    tag = "resources",
    params(("id" = Uuid, Path, description = "The id")),
    request_body = api::ResourceChange,
    responses((status = 200, description = "The resource as it is now", body = api::Resource))
)]
pub(super) async fn change_resource(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    Body(body): Body<api::ResourceChange>,
) -> Answer<api::Resource> {
    let change = ResourceChange {
        name: body.name,
        enabled: body.enabled,
        sources: body.sources.map(Into::into),
        metadata: body.metadata,
        live_recovery: body.live_recovery,
    };
    Ok(Json(map::resource(&state.service.change_resource(&caller, id, change).await?)))
}

/// Deletes a resource.
///
/// What policies do for it ends; its backups stay.
#[utoipa::path(
    delete,
    path = "/resources/{id}",
    tag = "resources",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 204, description = "It is gone"))
)]
pub(super) async fn delete_resource(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Result<StatusCode, Failure> {
    state.service.delete_resource(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
