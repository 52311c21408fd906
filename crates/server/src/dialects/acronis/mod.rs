//! The Acronis Task Manager API v2 (`/api/task_manager/v2`), with the token and account endpoints that its clients call
//! first (`/api/2`, `/api/1`). The contract is the vendor's documentation where there is one, and what its real clients
//! send and read; its decisions are cited as D1 to D73.

/// Declares routes once, for two uses: the router, and the list of what it serves, so that a test of every route cannot
/// miss one.
macro_rules! routes {
    ($(#[$meta:meta])* $list:ident, $router:ident { $($path:literal: $($method:ident $handler:path),+;)+ }) => {
        $(#[$meta])*
        pub(super) const $list: &[(&str, &str)] = &[$($((stringify!($method), $path)),+),+];

        fn $router() -> axum::Router<$crate::dialects::acronis::AcronisState> {
            axum::Router::new()$(.route($path, axum::routing::MethodRouter::new()$(.$method($handler))+))+
        }
    };
}

mod accounts;
mod bodies;
mod cursor;
mod duration;
mod error;
mod extract;
mod filter;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod idp;
mod map;
mod names;
mod params;
mod read;
mod time;
mod write;

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use domain::{Caller, Code, Error};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;

use self::error::Failure;
use super::edge::{self, Shape};
use super::{bearer, body};
use crate::Service;

/// Where the task API is, and where the vendor's console looks for it (D1).
const BASES: [&str; 2] = ["/api/task_manager/v2", "/bc/api/task_manager/v2"];

/// What the handlers need.
#[derive(Clone)]
pub(super) struct AcronisState {
    service: Arc<Service>,
    /// Cancelled when the server stops: consumers that wait for work are answered.
    shutdown: CancellationToken,
    /// What cursors are authenticated with.
    cursors: hmac::Key,
}

/// Who asks; there only behind [`authenticate`].
type Asking = Extension<Caller>;

/// The API, to be merged with whatever else listens on the same port.
pub(super) fn router(service: Arc<Service>, shutdown: CancellationToken) -> Router {
    let state = AcronisState { cursors: service.mac_key("acronis cursors"), service, shutdown };
    let mut router = idp::routes().merge(accounts::routes());
    for base in BASES {
        let api = tasks()
            .route_layer(middleware::from_fn_with_state(state.clone(), authenticate))
            .fallback(error::unknown_route)
            .method_not_allowed_fallback(error::method_not_allowed)
            .layer(DefaultBodyLimit::max(body::MAX))
            .layer(CompressionLayer::new());
        // The base with a slash behind it is not among what is nested below it.
        let slash = Router::new().route(&format!("{base}/"), any(error::unknown_route));
        router = router.nest(base, edge::layers::<Acronis, _>(api)).merge(edge::layers::<Acronis, _>(slash));
    }
    router.with_state(state)
}

routes! {
    /// The task API, below each of the bases.
    ROUTES, tasks {
        "/tasks": get read::tasks, post write::create_task;
        "/tasks/assign": post write::assign;
        "/tasks/{id}": get read::task;
        "/tasks/{id}/cancel": put write::cancel;
        "/tasks/{id}/started": put write::started;
        "/tasks/{id}/heartbeat": put write::heartbeat;
        "/tasks/{id}/progress": put write::progress;
        "/tasks/{id}/paused": put write::paused;
        "/tasks/{id}/resumed": put write::resumed;
        "/tasks/{id}/completed": put write::completed;
        "/tasks/{id}/abandoned": put write::abandoned;
        "/tasks/{id}/blockers/{blocker}/solution": put write::solution;
        "/activities": get read::activities, post write::create_activity;
        "/activities/{id}": get read::activity;
        "/activities/{id}/started": put write::activity_started;
        "/activities/{id}/progress": put write::activity_progress;
        "/activities/{id}/paused": put write::activity_paused;
        "/activities/{id}/resumed": put write::activity_resumed;
        "/activities/{id}/completed": put write::activity_completed;
    }
}

/// Every route of the dialect as it is served: the method in small letters, and the path with its parameters in braces.
pub fn routes() -> impl Iterator<Item = (&'static str, String)> {
    let whole =
        [idp::ROUTES, accounts::ROUTES].into_iter().flatten().map(|(method, path)| (*method, (*path).to_owned()));
    let below = |base: &'static str| ROUTES.iter().map(move |(method, path)| (*method, format!("{base}{path}")));
    whole.chain(BASES.into_iter().flat_map(below))
}

/// Lets a request through if its token is valid (D10).
async fn authenticate(
    State(state): State<AcronisState>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let caller = state.service.authenticate(&bearer::token(request.headers())?).await?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// How this API ends its answers: whatever they are, nobody between shall keep them (D3).
enum Acronis {}

impl Shape for Acronis {
    const DIALECT: &str = "acronis";

    fn finish(mut response: Response, request_id: &str) -> Response {
        if let Some(failure) = response.extensions().get::<Failure>() {
            failure.log(request_id);
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn defect() -> Response {
        Failure::from(Error::new(Code::Internal, "the server has a defect and could not answer")).into_response()
    }
}
