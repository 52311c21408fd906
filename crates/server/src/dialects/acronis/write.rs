//! The write side: issuers create and cancel tasks and answer blockers, consumers take tasks and report on them
//! (contract, section 11, D64 to D71).

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::activity::{ActivityEvent, ActivityRef, ActivityView};
use domain::task::{Event, LeaseToken, Task, TaskRef};
use domain::tenant::Tenant;
use domain::{Caller, Code, Error, Uuid};
use serde::Serialize;

use super::error::Failure;
use super::extract::{ActivityPath, BlockerPath, Body, Lease, TaskPath};
use super::names::Lod;
use super::{AcronisState, Asking, BASES, bodies, map};
use crate::service::Take;

/// `POST /tasks` (D67).
pub(super) async fn create_task(
    State(state): State<AcronisState>,
    Extension(caller): Asking,
    Body(body): Body,
) -> Result<Response, Failure> {
    let new = bodies::NewTask::parse(body)?;
    let tenant = new.tenant;
    let spec = new.spec(caller.tenant(), Uuid::now_v7());
    let (task, is_new) = state.service.create_task(&caller, tenant, spec).await.map_err(bodies::in_dialect)?;
    let tenant = tenant_of(&state, &caller, task.spec.tenant).await?;
    let shown = map::task(&task, &tenant, Lod::Full, state.service.moment().up_since);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, Json(shown)).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("{}/tasks/{}", BASES[0], task.id)) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

/// Tasks that were handed out.
#[derive(Serialize)]
struct HandedOut<'a> {
    items: Vec<map::Assigned<'a>>,
    size: usize,
}

/// `POST /tasks/assign` (D68).
pub(super) async fn assign(
    State(state): State<AcronisState>,
    Extension(caller): Asking,
    Body(body): Body,
) -> Result<Response, Failure> {
    let wish = bodies::Assign::parse(body)?;
    let take = Take {
        queues: wish.queues,
        types: wish.types,
        executor: wish.consumer,
        max: wish.max as usize,
        // It was found to be from 0 to 60 s.
        wait: wish.wait.try_into().unwrap_or_default(),
    };
    // Who waits is let go when the server stops.
    let taken = state.service.take(&caller, take, &state.shutdown).await?;
    let tenants = state.service.tenants_by_id(&caller, taken.iter().map(|t| t.spec.tenant)).await?;
    let items: Vec<_> =
        taken.iter().filter_map(|t| Some(map::assigned(t, tenants.get(&t.spec.tenant)?, t.lease()?))).collect();
    let size = items.len();
    Ok(Json(HandedOut { items, size }).into_response())
}

/// `PUT /tasks/{id}/cancel` (D65).
pub(super) async fn cancel(
    State(state): State<AcronisState>,
    Extension(caller): Asking,
    TaskPath(id): TaskPath,
    Body(body): Body,
) -> Result<Response, Failure> {
    bodies::nothing(body)?;
    let task = state.service.cancel_task(&caller, id).await?;
    status(&state, &caller, &task).await
}

/// `PUT /tasks/{id}/blockers/{blocker}/solution` (D64).
pub(super) async fn solution(
    State(state): State<AcronisState>,
    Extension(caller): Asking,
    BlockerPath(id, blocker): BlockerPath,
    Body(body): Body,
) -> Result<Response, Failure> {
    let solution = bodies::solution(body)?;
    let task = state.service.solve(&caller, id, blocker, solution).await?;
    status(&state, &caller, &task).await
}

/// Declares the calls of a consumer on its task or activity, each with what its body says as an event.
macro_rules! reports {
    ($($(#[$meta:meta])* $name:ident($path:ident) = |$body:ident, $lease:ident| $event:expr, $report:ident;)+) => {$(
        $(#[$meta])*
        pub(super) async fn $name(
            State(state): State<AcronisState>,
            Extension(caller): Asking,
            $path(id): $path,
            Lease($lease): Lease,
            Body($body): Body,
        ) -> Result<Response, Failure> {
            let event = $event;
            $report(&state, &caller, id, event).await
        }
    )+};
}

reports! {
    /// `PUT /tasks/{id}/started`.
    started(TaskPath) = |body, lease| { bodies::nothing(body)?; Event::Start { lease } }, report;
    /// `PUT /tasks/{id}/heartbeat`: a report that leaves `updatedAt` alone.
    heartbeat(TaskPath) = |body, lease| { bodies::nothing(body)?; Event::Heartbeat { lease } }, report;
    /// `PUT /tasks/{id}/progress`.
    progress(TaskPath) = |body, lease| Event::Report { lease, progress: bodies::progress(body)? }, report;
    /// `PUT /tasks/{id}/paused`.
    paused(TaskPath) = |body, lease| Event::Pause { lease, blockers: bodies::paused(body, Uuid::now_v7)? }, report;
    /// `PUT /tasks/{id}/resumed`.
    resumed(TaskPath) = |body, lease| { bodies::nothing(body)?; Event::Resume { lease } }, report;
    /// `PUT /tasks/{id}/completed`.
    completed(TaskPath) = |body, lease| {
        let (outcome, progress) = bodies::completed(body)?;
        Event::Complete { lease, outcome, progress }
    }, report;
    /// `PUT /tasks/{id}/abandoned`.
    abandoned(TaskPath) = |body, lease| Event::Abandon { lease, reason: bodies::abandoned(body)? }, report;
    /// `PUT /activities/{id}/started`, the one write call whose name is public.
    activity_started(ActivityPath) = |body, lease| { bodies::nothing(body)?; (lease, ActivityEvent::Start) }, report_step;
    /// `PUT /activities/{id}/progress`.
    activity_progress(ActivityPath) = |body, lease| (lease, ActivityEvent::Report(bodies::progress(body)?)), report_step;
    /// `PUT /activities/{id}/paused`.
    activity_paused(ActivityPath) = |body, lease| { bodies::nothing(body)?; (lease, ActivityEvent::Pause) }, report_step;
    /// `PUT /activities/{id}/resumed`.
    activity_resumed(ActivityPath) = |body, lease| { bodies::nothing(body)?; (lease, ActivityEvent::Resume) }, report_step;
    /// `PUT /activities/{id}/completed`.
    activity_completed(ActivityPath) = |body, lease| {
        let (outcome, progress) = bodies::completed(body)?;
        (lease, ActivityEvent::Complete(outcome, progress))
    }, report_step;
}

/// `POST /activities`.
pub(super) async fn create_activity(
    State(state): State<AcronisState>,
    Extension(caller): Asking,
    Lease(lease): Lease,
    Body(body): Body,
) -> Result<Response, Failure> {
    let new = bodies::NewActivity::parse(body)?;
    let (task, start) = (TaskRef::Id(new.task), new.start);
    let made = state.service.create_activity(&caller, task, lease, new.spec(Uuid::now_v7()), start).await;
    let view = made.map_err(|e| if e.field.as_deref() == Some("parent") { e.field("parentActivityId") } else { e })?;
    let tenant = tenant_of(&state, &caller, view.task.spec.tenant).await?;
    let shown = map::activity(&view, &tenant, Lod::Full, state.service.moment().up_since);
    let mut response = (StatusCode::CREATED, Json(shown)).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("{}/activities/{}", BASES[0], view.activity.id)) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

async fn report(state: &AcronisState, caller: &Caller, id: TaskRef, event: Event) -> Result<Response, Failure> {
    let task = state.service.report_task(caller, id, event).await?;
    status(state, caller, &task).await
}

async fn report_step(
    state: &AcronisState,
    caller: &Caller,
    id: ActivityRef,
    (lease, event): (LeaseToken, ActivityEvent),
) -> Result<Response, Failure> {
    let view: ActivityView = state.service.report_activity(caller, id, lease, event).await?;
    let tenant = tenant_of(state, caller, view.task.spec.tenant).await?;
    Ok(Json(map::activity_status(&view, &tenant)).into_response())
}

async fn status(state: &AcronisState, caller: &Caller, task: &Task) -> Result<Response, Failure> {
    let tenant = tenant_of(state, caller, task.spec.tenant).await?;
    Ok(Json(map::status(task, &tenant)).into_response())
}

/// The tenant of a task that the caller sees.
pub(super) async fn tenant_of(state: &AcronisState, caller: &Caller, id: Uuid) -> Result<Tenant, Failure> {
    let mut found = state.service.tenants_by_id(caller, [id]).await?;
    Ok(found.remove(&id).ok_or_else(|| Error::new(Code::Internal, "a task belongs to a tenant that does not exist"))?)
}
