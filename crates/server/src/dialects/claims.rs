//! What no route of a listener has: each path belongs to one dialect by its beginning, and what nobody claims is the Clumio
//! API's, which lies at the root (contract for Clumio, D14). A router can have only one fallback, so it is here.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

use super::{openstack, yandex};

/// The dialects that answer by a path's beginning.
#[derive(Clone)]
pub(super) struct Claims {
    pub(super) yandex: Router,
    pub(super) clumio: Router,
    pub(super) openstack: Router,
}

/// Beginnings of paths whose routes are told elsewhere: what is not among those is not there.
const ROUTED: &[&str] = &["/api/v1", "/api/1", "/api/2", "/api/task_manager", "/bc"];

/// The router of what no other route has.
pub(super) fn router(claims: Claims) -> Router {
    Router::new().fallback(answer).with_state(claims)
}

async fn answer(State(claims): State<Claims>, request: Request) -> Response {
    let path = request.uri().path();
    let dialect = if yandex::claims(path) {
        claims.yandex
    } else if openstack::claims(path, request.headers()) {
        claims.openstack
    } else if ROUTED.iter().any(|base| below(base, path)) {
        return StatusCode::NOT_FOUND.into_response();
    } else {
        claims.clumio
    };
    match dialect.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Whether a path is this one or below it.
pub(super) fn below(base: &str, path: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
