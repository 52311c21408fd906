//! The native REST API under `/api/v1`: the one whose words are the domain's own. Bodies are the types of the crate
//! `api`; every route is mounted and documented in one stroke, and `docs/openapi.json` is the result.

mod activities;
mod agents;
mod audit;
mod auth;
mod backups;
mod cursor;
pub(super) mod error;
mod events;
mod extract;
mod filter;
mod identity;
mod lists;
mod map;
mod metrics;
mod notifications;
mod openapi;
mod policies;
mod repositories;
mod resources;
mod server;
mod tasks;
mod tenants;
mod written;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{body, edge};
use crate::Service;
use error::Failure;
use written::Written;

/// What the handlers need.
#[derive(Clone)]
pub struct ApiState {
    /// What they ask.
    pub service: Arc<Service>,
    /// Cancelled when the server stops: streams end, and `health` says so.
    pub shutdown: CancellationToken,
    written: Arc<Written>,
}

impl ApiState {
    /// Over this service, until it is cancelled.
    #[must_use]
    pub fn new(service: Arc<Service>, shutdown: CancellationToken) -> Self {
        Self { service, shutdown, written: Arc::default() }
    }
}

/// The answer of a handler.
type Answer<T> = Result<Json<T>, Failure>;

/// The API, to be merged with whatever else listens on the same port.
pub fn router(state: ApiState) -> Router {
    let (open, _) = open_routes().split_for_parts();
    let (protected, _) = protected_routes().split_for_parts();
    let protected = protected.route_layer(middleware::from_fn_with_state(state.clone(), auth::authenticate));
    let document: Arc<str> = openapi().into();
    let api = open
        .merge(protected)
        .route(
            "/openapi.json",
            get(move || async move { ([(CONTENT_TYPE, "application/json")], document.to_string()) }),
        )
        .fallback(error::unknown_route)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(DefaultBodyLimit::max(body::MAX));
    let (root, _) = root_routes().split_for_parts();
    let root = root.route(metrics::PATH, get(metrics::metrics)).method_not_allowed_fallback(error::method_not_allowed);
    Router::new()
        .nest(api::BASE_PATH, edge::layers::<error::Native, _>(api).with_state(state.clone()))
        .merge(edge::layers::<error::Native, _>(root).with_state(state))
}

/// The OpenAPI document, as it is served and as it is committed in `docs/openapi.json`.
#[must_use]
pub fn openapi() -> String {
    openapi::document(root_routes().merge(open_routes()).merge(protected_routes()).into_openapi())
}

/// What anybody may ask, at a place that others than this API look at; not below `api::BASE_PATH`.
fn root_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(identity::jwks))
}

/// What anybody may ask.
fn open_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(server::health)).routes(routes!(server::version)).routes(routes!(agents::join))
}

/// What needs a token. A new route goes here: with `routes!` it is mounted and documented at once, and the coverage
/// test then asks for an entry that says who may use it.
fn protected_routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(server::me))
        .routes(routes!(tasks::tasks))
        .routes(routes!(tasks::task))
        .routes(routes!(tasks::cancel_task))
        .routes(routes!(tasks::task_counts))
        .routes(routes!(events::task_events))
        .routes(routes!(activities::task_activities))
        .routes(routes!(activities::activities))
        .routes(routes!(activities::activity))
        .routes(routes!(resources::resources, resources::add_resource))
        .routes(routes!(resources::resource, resources::change_resource, resources::delete_resource))
        .routes(routes!(policies::policies, policies::create_policy))
        .routes(routes!(policies::policy, policies::change_policy, policies::delete_policy))
        .routes(routes!(policies::policy_preview, policies::preview_policy))
        .routes(routes!(policies::policy_applications))
        .routes(routes!(policies::apply_policy, policies::revoke_policy))
        .routes(routes!(policies::run_policy))
        .routes(routes!(policies::applications))
        .routes(routes!(backups::backups))
        .routes(routes!(backups::backup))
        .routes(routes!(backups::backup_files))
        .routes(routes!(backups::restore))
        .routes(routes!(backups::verify_backup))
        .routes(routes!(agents::agents))
        .routes(routes!(agents::revoke_agent))
        .routes(routes!(agents::enrol))
        .routes(routes!(repositories::repositories, repositories::add_repository))
        .routes(routes!(repositories::repository, repositories::change_repository, repositories::remove_repository))
        .routes(routes!(repositories::test_repository))
        .routes(routes!(repositories::export_repository_key))
        .routes(routes!(notifications::notification_channels, notifications::create_notification_channel))
        .routes(routes!(
            notifications::notification_channel,
            notifications::change_notification_channel,
            notifications::remove_notification_channel
        ))
        .routes(routes!(notifications::rotate_notification_secret))
        .routes(routes!(notifications::test_notification_channel))
        .routes(routes!(tenants::tenants, tenants::create_tenant))
        .routes(routes!(tenants::tenant, tenants::change_tenant, tenants::delete_tenant))
        .routes(routes!(tenants::tokens, tenants::create_token))
        .routes(routes!(tenants::revoke_token))
        .routes(routes!(identity::users, identity::create_user))
        .routes(routes!(identity::user, identity::revoke_user))
        .routes(routes!(identity::set_password))
        .routes(routes!(identity::clients, identity::create_client))
        .routes(routes!(identity::client, identity::revoke_client))
        .routes(routes!(identity::rotate_client_secret))
        .routes(routes!(identity::client_keys, identity::create_client_key))
        .routes(routes!(identity::revoke_client_key))
        .routes(routes!(identity::signing_keys, identity::rotate_signing_key))
        .routes(routes!(identity::revoke_signing_key))
        .routes(routes!(audit::audit_log))
}

/// The answer to a request that made something, with its place.
fn created<T: Serialize>(list: &str, id: impl std::fmt::Display, body: T) -> Response {
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("{}/{list}/{id}", api::BASE_PATH)) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}
