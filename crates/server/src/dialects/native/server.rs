//! What the server says of itself, and of the caller.

use axum::Json;
use axum::extract::State;
use domain::{Code, Error};

use super::auth::Asking;
use super::{Answer, ApiState};

/// Who is asking.
#[utoipa::path(
    get,
    path = "/me",
    tag = "server",
    responses((status = 200, description = "The caller", body = api::Me))
)]
pub(super) async fn me(Asking(caller): Asking) -> Json<api::Me> {
    Json((&caller).into())
}

/// Whether the server can work.
///
/// Needs no token. While the server stops, it answers `unavailable`, so that a balancer sends no more requests.
#[utoipa::path(
    get,
    path = "/health",
    tag = "server",
    security(()),
    responses((status = 200, description = "It can", body = api::Health))
)]
pub(super) async fn health(State(state): State<ApiState>) -> Answer<api::Health> {
    if state.shutdown.is_cancelled() {
        return Err(Error::new(Code::Unavailable, "the server is stopping").into());
    }
    Ok(Json(api::Health { status: "ok".to_owned(), index: state.service.index_percent() }))
}

/// Which server this is.
///
/// Needs no token.
#[utoipa::path(
    get,
    path = "/version",
    tag = "server",
    security(()),
    responses((status = 200, description = "The version", body = api::Version))
)]
pub(super) async fn version() -> Json<api::Version> {
    Json(api::Version {
        name: "backstay".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
    })
}
