//! What machines fetch that get an agent: the script, the program, and the certificate to trust. Needs no token: none of
//! it is a secret, and whoever fetches it compares it with a digest that came another way.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::io::ReaderStream;

use crate::service::{Installer, SCRIPT_PATH, Service};

/// The routes, to be merged with whatever else listens on the same port.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route(SCRIPT_PATH, get(script))
        .route(api::CA_PATH, get(ca))
        .route(&Installer::program_path(), get(program))
        .with_state(service)
}

async fn script(State(service): State<Arc<Service>>) -> Response {
    let Some(installer) = service.installer() else { return StatusCode::NOT_FOUND.into_response() };
    match installer.script().await {
        Ok(script) => ([(CONTENT_TYPE, "text/x-shellscript; charset=utf-8")], script.text.clone()).into_response(),
        Err(error) => unreadable(&error),
    }
}

async fn ca(State(service): State<Arc<Service>>) -> Response {
    match service.installer() {
        Some(installer) => ([(CONTENT_TYPE, "application/x-pem-file")], installer.ca_pem().to_owned()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn program(State(service): State<Arc<Service>>) -> Response {
    let Some(installer) = service.installer() else { return StatusCode::NOT_FOUND.into_response() };
    let file = match installer.program() {
        Ok(file) => file,
        Err(error) => return unreadable(&error),
    };
    let length = file.metadata().ok().map(|m| m.len());
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(file), 1 << 16);
    let mut response = ([(CONTENT_TYPE, "application/octet-stream")], Body::from_stream(stream)).into_response();
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

fn unreadable(error: &domain::Error) -> Response {
    tracing::error!(%error, "the agent's program cannot be handed out");
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}
