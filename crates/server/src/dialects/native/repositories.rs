//! Repositories, where backups lie.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::query::Filter;
use domain::repository::Limits;

use super::auth::Asking;
use super::error::Failure;
use super::extract::{Body, OptionalBody, Params, PathId};
use super::identity::unstored;
use super::lists::REPOSITORIES;
use super::{Answer, ApiState, created, map};
use crate::service::{NewRepository, RepositoryChange};

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

/// Adds a repository.
///
/// The server does not look for it: `POST /repositories/{id}/test` has an agent do so, and the first backup that goes there
/// makes it.
#[utoipa::path(
    post,
    path = "/repositories",
    tag = "repositories",
    request_body = api::NewRepository,
    responses((status = 201, description = "The repository, with its place in `Location`", body = api::Repository))
)]
pub(super) async fn add_repository(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    Body(body): Body<api::NewRepository>,
) -> Result<Response, Failure> {
    let api::NewRepository { name, url, tenant, secrets, password, upload_limit, download_limit } = body;
    let limits = Limits { upload: upload_limit, download: download_limit };
    let new = NewRepository { tenant, name, url, password, secrets, limits };
    let repository = api::Repository::from(&state.service.add_repository(&caller, new).await?);
    Ok(created("repositories", repository.id, repository))
}

/// Changes a repository.
///
/// What lies in it is not moved: another address is another way to the same repository.
#[utoipa::path(
    patch,
    path = "/repositories/{id}",
    tag = "repositories",
    params(("id" = Uuid, Path, description = "The id")),
    request_body = api::RepositoryChange,
    responses((status = 200, description = "The repository as it is now", body = api::Repository))
)]
pub(super) async fn change_repository(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    Body(body): Body<api::RepositoryChange>,
) -> Answer<api::Repository> {
    let api::RepositoryChange { name, url, secrets, upload_limit, download_limit } = body;
    let change = RepositoryChange { name, url, secrets, upload_limit, download_limit };
    Ok(Json((&state.service.change_repository(&caller, id, change).await?).into()))
}

/// Has an agent find out whether a backup would find its way to a repository.
///
/// Nothing is made, locked or changed there; whether a place that is no folder lets itself be written to stays open. Without
/// an agent, any that may store there and is connected does it.
#[utoipa::path(
    post,
    path = "/repositories/{id}/test",
    tag = "repositories",
    params(("id" = Uuid, Path, description = "The id")),
    request_body = Option<api::TestRepository>,
    responses((status = 200, description = "What the agent found", body = api::RepositoryTest))
)]
pub(super) async fn test_repository(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    OptionalBody(body): OptionalBody<api::TestRepository>,
) -> Answer<api::RepositoryTest> {
    let (agent, test) = state.service.test_repository(&caller, id, body.agent).await?;
    let error = test.error.as_ref().map(Into::into);
    Ok(Json(api::RepositoryTest { agent: agent.id, agent_name: agent.name, found: test.found, error }))
}

/// Forgets a repository that no policy and no backup uses.
///
/// What is at its place stays there. Its password is gone with it, unless it was exported.
#[utoipa::path(
    delete,
    path = "/repositories/{id}",
    tag = "repositories",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 204, description = "It is gone"))
)]
pub(super) async fn remove_repository(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Result<StatusCode, Failure> {
    state.service.remove_repository(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives out what opens a repository without Backstay.
///
/// The answer holds its password and secrets in the clear. Who asked is in the audit log.
#[utoipa::path(
    post,
    path = "/repositories/{id}/key",
    tag = "repositories",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The key", body = api::RepositoryKey))
)]
pub(super) async fn export_repository_key(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Result<Response, Failure> {
    let key = state.service.export_repository_key(&caller, id).await?;
    let body = api::RepositoryKey {
        id: key.repository.id,
        name: key.repository.name,
        url: key.access.url,
        password: key.access.password,
        secrets: key.access.secrets,
    };
    Ok(unstored(Json(body).into_response()))
}
