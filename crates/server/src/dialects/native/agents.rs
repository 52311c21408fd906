//! Agents: the processes that move data, and how machines join.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::query::Filter;
use domain::token::Joins;

use super::auth::Asking;
use super::error::Failure;
use super::extract::{Body, Params, PathId};
use super::identity::unstored;
use super::lists::AGENTS;
use super::{Answer, ApiState, map};
use crate::authority::Signed;
use crate::service::{Joined, Joining};

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

/// Revokes an agent: its session ends, and neither its token nor its certificate is accepted any more.
///
/// A machine whose agent was revoked can join anew.
#[utoipa::path(
    delete,
    path = "/agents/{id}",
    tag = "agents",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The agent, which is let in no longer", body = api::Agent))
)]
pub(super) async fn revoke_agent(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::Agent> {
    Ok(Json(map::agent(&state.service.revoke_agent(&caller, id).await?)))
}

/// Lets a machine join: it becomes a resource, and its agent gets a token.
///
/// Needs no token but that of a registration, which is in the body. The answer holds the agent's token, once.
#[utoipa::path(
    post,
    path = "/agents/join",
    tag = "agents",
    security(()),
    request_body = api::Join,
    responses((status = 201, description = "The machine, with the token of its agent", body = api::Joined))
)]
pub(super) async fn join(State(state): State<ApiState>, Body(body): Body<api::Join>) -> Result<Response, Failure> {
    let api::Join { registration_token, name, os, system, version, instance_id, virtual_machine, csr } = body;
    let joining = Joining { name, os, system, version, instance_id, virtual_machine, csr };
    let Joined { resource, agent_token, certificate } = state.service.join(&registration_token, joining).await?;
    let certificate = certificate.map(|Signed { pem, dates }| api::Certificate {
        pem,
        issued_at: dates.issued_at,
        expires_at: dates.expires_at,
    });
    let joined = api::Joined { resource: resource.id, instance_id: resource.instance_id, agent_token, certificate };
    Ok(unstored((StatusCode::CREATED, Json(joined)).into_response()))
}

/// The one line that installs an agent on a machine, which joins then.
///
/// It holds a registration token that is good for a day.
#[utoipa::path(
    post,
    path = "/agents/enrolments",
    tag = "agents",
    request_body = api::NewEnrolment,
    responses((status = 201, description = "The line", body = api::Enrolment))
)]
pub(super) async fn enrol(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    Body(body): Body<api::NewEnrolment>,
) -> Result<Response, Failure> {
    let joins = Joins { kind: body.kind, external: false, policies: body.policies };
    let command = state.service.install_command(&caller, body.tenant, joins).await?;
    Ok(unstored((StatusCode::CREATED, Json(api::Enrolment { command })).into_response()))
}
