//! Tasks: list, read, count, cancel.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use domain::Error;
use domain::query::{Field, Filter, TaskField};

use super::auth::Asking;
use super::error::Failure;
use super::extract::{Params, PathTask};
use super::filter::unknown;
use super::lists::TASKS;
use super::{Answer, ApiState, map, written};
use crate::service::View;

/// Tasks that match.
///
/// Deleted tasks are there only where a `deleted_at` parameter asks for them.
#[utoipa::path(
    get,
    path = "/tasks",
    tag = "tasks",
    responses((status = 200, description = "A part of the list", body = api::List<api::Task>))
)]
pub(super) async fn tasks(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Result<Response, Failure> {
    let query = TASKS.query(params, Filter::all())?;
    let slice = state.service.tasks(&caller, &query, View::default()).await?;
    let Json(list) = map::list(&TASKS, &query, slice, |task| state.written.json(task))?;
    Ok(written::answer(&list))
}

/// One task, by its number or uuid.
#[utoipa::path(
    get,
    path = "/tasks/{id}",
    tag = "tasks",
    params(("id" = String, Path, description = "The number or uuid")),
    responses((status = 200, description = "The task", body = api::Task))
)]
pub(super) async fn task(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathTask(id): PathTask,
) -> Answer<api::Task> {
    Ok(Json((&state.service.task(&caller, id, true).await?).into()))
}

/// Cancels a task.
///
/// One that waits is over at once; of one that runs the executor is asked to stop, and `cancel_requested` shows it.
#[utoipa::path(
    post,
    path = "/tasks/{id}/cancel",
    tag = "tasks",
    params(("id" = String, Path, description = "The number or uuid")),
    responses((status = 200, description = "The task as it is now", body = api::Task))
)]
pub(super) async fn cancel_task(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathTask(id): PathTask,
) -> Answer<api::Task> {
    Ok(Json((&state.service.cancel_task(&caller, id).await?).into()))
}

/// How many tasks match, by the values of up to two fields.
///
/// Takes the filter of the list; without `by` there is one group with all.
#[utoipa::path(
    get,
    path = "/tasks/counts",
    tag = "tasks",
    params(("by" = Option<String>, Query, description = "Up to two fields, like `state,result`")),
    responses((status = 200, description = "The counts", body = api::TaskCounts))
)]
pub(super) async fn task_counts(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    mut params: Params,
) -> Answer<api::TaskCounts> {
    let by = params.take_all("by");
    let by = by.iter().flat_map(|text| text.split(',')).map(|name| {
        let field = TaskField::ALL.iter().copied().find(|f| f.name() == name);
        field.ok_or_else(|| {
            let mut error = unknown(name, TaskField::ALL.iter().map(|f| f.name())).field("by");
            error.message = format!("there is no field '{name}' to count by");
            error
        })
    });
    let by = by.collect::<Result<Vec<_>, Error>>()?;
    let filter = TASKS.filter(params, &["by"])?;
    let groups = state.service.task_counts(&caller, &filter, &by, View::default()).await?;
    Ok(Json(map::counts(&by, groups)))
}
