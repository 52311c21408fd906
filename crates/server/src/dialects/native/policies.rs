//! Policies, and their application to resources.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use domain::query::{Filter, RecordField, Value};
use domain::{Error, Uuid};
use utoipa::IntoParams;

use super::auth::Asking;
use super::error::Failure;
use super::extract::{Body, OptionalBody, Params, PathId, PathIds};
use super::lists::{APPLICATIONS, POLICIES};
use super::{Answer, ApiState, created, map};
use crate::service::{NewPolicy, PolicyChange, Previewed};

/// Policies that match.
#[utoipa::path(
    get,
    path = "/policies",
    tag = "policies",
    responses((status = 200, description = "A part of the list", body = api::List<api::Policy>))
)]
pub(super) async fn policies(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::Policy>> {
    let query = POLICIES.query(params, Filter::all())?;
    let slice = state.service.policies(&caller, &query).await?;
    map::list(&POLICIES, &query, slice, |p| p.into())
}

/// One policy.
#[utoipa::path(
    get,
    path = "/policies/{id}",
    tag = "policies",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The policy", body = api::Policy))
)]
pub(super) async fn policy(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::Policy> {
    Ok(Json((&state.service.policy(&caller, id).await?).into()))
}

/// Makes a policy.
#[utoipa::path(
    post,
    path = "/policies",
    tag = "policies",
    request_body = api::NewPolicy,
    responses((status = 201, description = "The policy, with its place in `Location`", body = api::Policy))
)]
pub(super) async fn create_policy(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    Body(body): Body<api::NewPolicy>,
) -> Result<Response, Failure> {
    let new = NewPolicy {
        tenant: body.tenant,
        name: body.name,
        schedule: body.schedule,
        settings: body.settings.into(),
        retention: body.retention,
        as_written: None,
        repository: body.repository,
        enabled: body.enabled,
    };
    let policy = api::Policy::from(&state.service.create_policy(&caller, new).await?);
    Ok(created("policies", policy.id, policy))
}

/// Changes a policy.
#[utoipa::path(
    patch,
    path = "/policies/{id}",
    tag = "policies",
    params(("id" = Uuid, Path, description = "The id")),
    request_body = api::PolicyChange,
    responses((status = 200, description = "The policy as it is now", body = api::Policy))
)]
pub(super) async fn change_policy(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    Body(body): Body<api::PolicyChange>,
) -> Answer<api::Policy> {
    Ok(Json((&state.service.change_policy(&caller, id, body.into()).await?).into()))
}

impl From<api::PolicyChange> for PolicyChange {
    fn from(body: api::PolicyChange) -> PolicyChange {
        let api::PolicyChange { name, enabled, schedule, retention, settings, repository } = body;
        let settings = settings.map(Into::into);
        PolicyChange { name, enabled, schedule, settings, retention, as_written: None, repository }
    }
}

/// How many runs are foreseen where nothing else is said.
const RUNS: u32 = 5;

/// What may be asked of a preview.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
struct PreviewQuery {
    /// Only for this resource
    resource: Option<Uuid>,
    /// So many runs of each resource, from 1 to 100; 5 where it is left out
    count: Option<u32>,
}

/// What a policy will do.
///
/// The next runs for each resource, and what retention would keep and remove now, with reasons.
#[utoipa::path(
    get,
    path = "/policies/{id}/preview",
    tag = "policies",
    params(("id" = Uuid, Path, description = "The id"), PreviewQuery),
    responses((status = 200, description = "What it will do", body = api::PolicyPreview))
)]
pub(super) async fn policy_preview(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    params: Params,
) -> Answer<api::PolicyPreview> {
    let asked = previewed(params, PolicyChange::default())?;
    Ok(Json(map::policy_preview(state.service.preview_policy(&caller, id, asked).await?)))
}

/// What a policy would do if it were changed.
///
/// Nothing is changed. A change that would be refused is refused here too.
#[utoipa::path(
    post,
    path = "/policies/{id}/preview",
    tag = "policies",
    params(("id" = Uuid, Path, description = "The id"), PreviewQuery),
    request_body = api::PolicyChange,
    responses((status = 200, description = "What it would do", body = api::PolicyPreview))
)]
pub(super) async fn preview_policy(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    params: Params,
    Body(body): Body<api::PolicyChange>,
) -> Answer<api::PolicyPreview> {
    let asked = previewed(params, body.into())?;
    Ok(Json(map::policy_preview(state.service.preview_policy(&caller, id, asked).await?)))
}

/// What a query asks of the preview of a change.
fn previewed(mut params: Params, change: PolicyChange) -> domain::Result<Previewed> {
    let resource = params
        .take("resource")?
        .map(|r| Uuid::parse_str(&r).map_err(|_| Error::invalid("resource", format!("'{r}' is not an id"))));
    let query = PreviewQuery { resource: resource.transpose()?, count: params.take_number("count")? };
    params.no_more(&["resource", "count"])?;
    let count = usize::try_from(query.count.unwrap_or(RUNS)).unwrap_or(usize::MAX);
    Ok(Previewed { change, resource: query.resource, count })
}

/// Deletes a policy that is applied to nothing.
#[utoipa::path(
    delete,
    path = "/policies/{id}",
    tag = "policies",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 204, description = "It is gone"))
)]
pub(super) async fn delete_policy(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Result<StatusCode, Failure> {
    state.service.delete_policy(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs a policy now.
///
/// Without a body it runs for every resource it is applied to; those whose former run is not done are left out.
#[utoipa::path(
    post,
    path = "/policies/{id}/run",
    tag = "policies",
    params(("id" = Uuid, Path, description = "The id")),
    request_body = Option<api::PolicyRun>,
    responses((status = 202, description = "The tasks it made", body = api::List<api::Task>))
)]
pub(super) async fn run_policy(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    OptionalBody(body): OptionalBody<api::PolicyRun>,
) -> Result<(StatusCode, Json<api::List<api::Task>>), Failure> {
    let tasks = state.service.run_policy(&caller, id, body.resource).await?;
    Ok((StatusCode::ACCEPTED, Json(map::whole(&tasks, |t| t.into()))))
}

/// Which policies are applied to which resources.
#[utoipa::path(
    get,
    path = "/applications",
    tag = "policies",
    responses((status = 200, description = "A part of the list", body = api::List<api::Application>))
)]
pub(super) async fn applications(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::Application>> {
    let query = APPLICATIONS.query(params, Filter::all())?;
    let slice = state.service.applications(&caller, &query).await?;
    map::list(&APPLICATIONS, &query, slice, |a| a.into())
}

/// To which resources a policy is applied.
#[utoipa::path(
    get,
    path = "/policies/{id}/applications",
    tag = "policies",
    params(("id" = Uuid, Path, description = "The policy")),
    responses((status = 200, description = "A part of the list", body = api::List<api::Application>))
)]
pub(super) async fn policy_applications(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    params: Params,
) -> Answer<api::List<api::Application>> {
    // The policy is read first: one that is not there is an error, not an empty list.
    let policy = state.service.policy(&caller, id).await?;
    let query = APPLICATIONS.query(params, Filter::all().is(RecordField::Policy, Value::Uuid(policy.id))?)?;
    let slice = state.service.applications(&caller, &query).await?;
    map::list(&APPLICATIONS, &query, slice, |a| a.into())
}

/// Applies a policy to a resource.
///
/// Applying it again changes nothing.
#[utoipa::path(
    put,
    path = "/policies/{id}/applications/{resource}",
    tag = "policies",
    params(("id" = Uuid, Path, description = "The policy"), ("resource" = Uuid, Path, description = "The resource")),
    responses((status = 200, description = "The application", body = api::Application))
)]
pub(super) async fn apply_policy(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathIds(policy, resource): PathIds,
) -> Answer<api::Application> {
    Ok(Json((&state.service.apply_policy(&caller, policy, resource).await?).into()))
}

/// Takes a policy from a resource.
///
/// The backups it made stay.
#[utoipa::path(
    delete,
    path = "/policies/{id}/applications/{resource}",
    tag = "policies",
    params(("id" = Uuid, Path, description = "The policy"), ("resource" = Uuid, Path, description = "The resource")),
    responses((status = 204, description = "It is applied no more"))
)]
pub(super) async fn revoke_policy(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathIds(policy, resource): PathIds,
) -> Result<StatusCode, Failure> {
    state.service.revoke_policy(&caller, policy, resource).await?;
    Ok(StatusCode::NO_CONTENT)
}
