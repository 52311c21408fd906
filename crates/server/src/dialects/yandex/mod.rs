//! The Yandex Cloud Backup API (`yandex.cloud.backup.v1`) over gRPC and REST, with what its clients need beside it:
//! operations, tokens, discovery, reflection, health. The contract is the vendor's `.proto` files and what its real clients
//! send and read; its decisions are cited as Y1 to Y108.
//!
//! `methods` is the one table of what there is, read from the descriptors. `grpc` and `rest` are two ways to `dispatch`,
//! which checks a call and gives it to a handler; handlers stand in a file for each service.

#![expect(dead_code, reason = "what handlers of the backup services need stands before them")]

mod backup_map;
mod backups;
mod call;
mod dispatch;
mod endpoints;
mod extra_rules;
mod failure;
mod file_id;
mod grpc;
mod health;
mod iam;
mod listing;
mod machine_map;
mod methods;
mod operations;
mod pages;
mod policies;
mod policy_map;
mod providers;
mod reflection;
mod resources;
mod rest;
mod routes;
mod rules;
mod settings_map;
mod setup;
mod task_map;
mod transcode;

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use domain::Uuid;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tower::ServiceExt;
use tracing::Instrument;

use self::dispatch::Handlers;
use self::failure::Failure;
use super::claims::below;
use crate::Service;

/// The largest request, in bytes.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// The longest request id that is taken over, in characters (Y28).
const LONGEST_ID: usize = 128;

/// What the handlers need.
pub(super) struct Yandex {
    service: Arc<Service>,
    /// Cancelled when the server stops.
    shutdown: CancellationToken,
    handlers: Handlers,
    /// What page tokens are authenticated with.
    tokens: hmac::Key,
}

/// Everything that is answered; a service is served when its handlers stand here.
fn handlers() -> Handlers {
    let mut handlers = Handlers::default();
    endpoints::register(&mut handlers);
    iam::register(&mut handlers);
    operations::register(&mut handlers);
    policies::register(&mut handlers);
    backups::register(&mut handlers);
    resources::register(&mut handlers);
    providers::register(&mut handlers);
    setup::register(&mut handlers);
    handlers
}

/// The API, for the paths that it claims.
pub(super) fn router(service: Arc<Service>, shutdown: CancellationToken) -> Router {
    let tokens = service.mac_key("yandex page tokens");
    let yandex = Arc::new(Yandex { service, shutdown, handlers: handlers(), tokens });
    let ways = Ways { grpc: grpc::router(yandex.clone()), rest: rest::router(yandex) };
    Router::new().fallback(answer).with_state(ways)
}

/// Every method that is served, for a test of every one of them: its full name, and where REST finds it, which is the HTTP
/// method and the path with its variables in braces.
pub fn methods() -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let handlers = handlers();
    let served = methods::all().iter().filter(|m| handlers.has_service(&m.service));
    served.map(|m| (m.name.as_str(), m.routes.iter().map(|r| (r.verb.as_str(), r.to_string())).collect())).collect()
}

#[derive(Clone)]
struct Ways {
    grpc: Router,
    rest: Router,
}

async fn answer(State(ways): State<Ways>, request: Request) -> Response {
    let content = request.headers().get(CONTENT_TYPE);
    let grpc = content.is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    let way = if grpc { ways.grpc } else { ways.rest };
    let trace = Uuid::now_v7().to_string();
    let span = tracing::error_span!("trace", trace_id = %trace);
    let mut response = match way.oneshot(request).instrument(span).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if let Ok(trace) = HeaderValue::from_str(&trace) {
        response.headers_mut().insert("x-server-trace-id", trace);
    }
    response
}

/// Whether a path is this dialect's: it claims them by their beginnings (Y1).
pub(super) fn claims(path: &str) -> bool {
    path.starts_with("/yandex.cloud.")
        || path.starts_with("/grpc.")
        || ["/backup/v1", "/iam/v1", "/operations", "/endpoints"].into_iter().any(|base| below(base, path))
}

/// Whether an id that a caller gives to its request is taken over (Y28).
fn takes_id(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

/// The failure after a panic.
fn defect() -> Failure {
    Failure::new(Code::Internal, "the server has a defect and could not answer")
}

/// The failure of a request that is too large.
fn too_large() -> Failure {
    Failure::new(Code::InvalidArgument, format!("the request is larger than {MAX_MESSAGE} bytes"))
}
