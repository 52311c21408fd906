//! Agents, and the repositories they write to.

use axum::Json;
use axum::extract::State;
use domain::query::Filter;

use super::auth::Asking;
use super::extract::{Params, PathId};
use super::lists::{AGENTS, REPOSITORIES};
use super::{Answer, ApiState, map};

/// Agents that match.
#[utoipa::path(
    get,
    path = "/agents",
    tag = "agents",
    responses((status = 200, description = "A part of the list", body = api::List<api::Agent>))
)]
pub(super) async fn agents(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::Agent>> {
    let query = AGENTS.query(params, Filter::all())?;
    let slice = state.service.agents(&caller, &query).await?;
    map::list(&AGENTS, &query, slice, map::agent)
}

/// Repositories that match.
#[utoipa::path(
    get,
    path = "/repositories",
    tag = "repositories",
    responses((status = 200, description = "A part of the list", body = api::List<api::Repository>))
)]
pub(super) async fn repositories(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::Repository>> {
    let query = REPOSITORIES.query(params, Filter::all())?;
    let slice = state.service.repositories(&caller, &query).await?;
    map::list(&REPOSITORIES, &query, slice, |r| r.into())
}

/// One repository.
#[utoipa::path(
    get,
    path = "/repositories/{id}",
    tag = "repositories",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The repository", body = api::Repository))
)]
pub(super) async fn repository(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::Repository> {
    Ok(Json((&state.service.repository(&caller, id).await?).into()))
}
