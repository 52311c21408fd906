//! Backups: list them, look into them, restore them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::query::{Filter, Page};

use super::auth::Asking;
use super::error::Failure;
use super::extract::{Body, OptionalBody, Params, PathId};
use super::filter::DEFAULT_LIMIT;
use super::lists::BACKUPS;
use super::{Answer, ApiState, map};
use crate::service::{RestoreRequest, VerificationWish};

/// Backups that match.
#[utoipa::path(
    get,
    path = "/backups",
    tag = "backups",
    responses((status = 200, description = "A part of the list", body = api::List<api::Backup>))
)]
pub(super) async fn backups(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::Backup>> {
    let query = BACKUPS.query(params, Filter::all())?;
    let slice = state.service.backups(&caller, &query).await?;
    map::list(&BACKUPS, &query, slice, |b| b.into())
}

/// One backup.
#[utoipa::path(
    get,
    path = "/backups/{id}",
    tag = "backups",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The backup", body = api::Backup))
)]
pub(super) async fn backup(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::Backup> {
    Ok(Json((&state.service.backup(&caller, id).await?).into()))
}

/// The entries of a folder in a backup.
///
/// The agent that reaches the repository reads them, so it must be connected.
#[utoipa::path(get, path = "/backups/{id}/files", tag = "backups", params(
    ("id" = Uuid, Path, description = "The id"),
    ("path" = Option<String>, Query, description = "The folder; the top where it is left out"),
    ("after" = Option<String>, Query, description = "Go on after the entry of this name: `next` of the former answer"),
    ("limit" = Option<u32>, Query, description = "At most so many entries, from 1 to 1000; 100 where it is left out")
), responses((status = 200, description = "A part of the folder", body = api::FileList)))]
pub(super) async fn backup_files(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    mut params: Params,
) -> Answer<api::FileList> {
    let path = params.take("path")?.unwrap_or_else(|| "/".to_owned());
    let after = params.take("after")?;
    let limit = Page::check_limit("limit", params.take_number("limit")?.unwrap_or(DEFAULT_LIMIT))?;
    params.no_more(&["path", "after", "limit"])?;
    Ok(Json(map::files(state.service.backup_files(&caller, id, &path, after, limit).await?)))
}

/// Restores a backup, or some paths of it.
///
/// Answers with the task that does it.
#[utoipa::path(
    post,
    path = "/backups/{id}/restore",
    tag = "backups",
    params(("id" = Uuid, Path, description = "The id")),
    request_body = api::Restore,
    responses((status = 202, description = "The task", body = api::Task))
)]
pub(super) async fn restore(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(backup): PathId,
    Body(body): Body<api::Restore>,
) -> Result<(StatusCode, Json<api::Task>), Failure> {
    let request = RestoreRequest {
        backup,
        to: body.to,
        overwrite_device: body.overwrite_device,
        paths: body.paths,
        resource: body.resource,
    };
    let task = state.service.restore(&caller, request).await?;
    Ok((StatusCode::ACCEPTED, Json((&task).into())))
}

/// Verifies a backup: reads all of its data, or restores some files of it as a test.
///
/// Answers with the task that does it. A sample also sees that the list of every folder can be read and that every piece of
/// each file is there; each picked file is compared by hash with what was stored, and with the one on the machine where size
/// and time are unchanged.
#[utoipa::path(
    post,
    path = "/backups/{id}/verify",
    tag = "backups",
    params(("id" = Uuid, Path, description = "The id")),
    request_body = Option<api::Verify>,
    responses((status = 202, description = "The task", body = api::Task))
)]
pub(super) async fn verify_backup(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(backup): PathId,
    OptionalBody(body): OptionalBody<api::Verify>,
) -> Result<(StatusCode, Json<api::Task>), Failure> {
    let wish = VerificationWish { files: body.files, seed: body.seed };
    let task = state.service.verify_backup(&caller, backup, wish).await?;
    Ok((StatusCode::ACCEPTED, Json((&task).into())))
}
