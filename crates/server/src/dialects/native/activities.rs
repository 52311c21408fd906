//! Activities: the steps inside tasks.

use axum::Json;
use axum::extract::State;
use domain::query::{ActivityField, Filter, Value};

use super::auth::Asking;
use super::extract::{Params, PathActivity, PathTask};
use super::lists::ACTIVITIES;
use super::{Answer, ApiState, map};
use crate::service::View;

/// Activities that match.
#[utoipa::path(
    get,
    path = "/activities",
    tag = "activities",
    responses((status = 200, description = "A part of the list", body = api::List<api::Activity>))
)]
pub(super) async fn activities(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::Activity>> {
    let query = ACTIVITIES.query(params, Filter::all())?;
    let slice = state.service.activities(&caller, &query, View::default()).await?;
    map::list(&ACTIVITIES, &query, slice, |a| a.into())
}

/// One activity, by its number or uuid.
#[utoipa::path(
    get,
    path = "/activities/{id}",
    tag = "activities",
    params(("id" = String, Path, description = "The number or uuid")),
    responses((status = 200, description = "The activity", body = api::Activity))
)]
pub(super) async fn activity(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathActivity(id): PathActivity,
) -> Answer<api::Activity> {
    Ok(Json((&state.service.activity(&caller, id, true).await?).into()))
}

/// The activities of one task.
#[utoipa::path(
    get,
    path = "/tasks/{id}/activities",
    tag = "activities",
    params(("id" = String, Path, description = "The number or uuid")),
    responses((status = 200, description = "A part of the list", body = api::List<api::Activity>))
)]
pub(super) async fn task_activities(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathTask(id): PathTask,
    params: Params,
) -> Answer<api::List<api::Activity>> {
    // The task is read first: one that is not there is an error, not an empty list.
    let task = state.service.task(&caller, id, true).await?;
    let query = ACTIVITIES.query(params, Filter::all().is(ActivityField::TaskId, Value::Int(task.id.0))?)?;
    let slice = state.service.activities(&caller, &query, View::default()).await?;
    map::list(&ACTIVITIES, &query, slice, |a| a.into())
}
