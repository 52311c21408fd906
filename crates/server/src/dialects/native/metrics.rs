//! `GET /metrics`, for Prometheus: outside of the API, because its answer is no JSON and its place is a habit of many tools.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::error::Failure;
use crate::dialects::bearer;
use crate::telemetry::Exposition;

/// Where it is.
pub(super) const PATH: &str = "/metrics";

/// All metrics, for a token that may see the whole tree.
pub(super) async fn metrics(State(state): State<ApiState>, headers: HeaderMap) -> Result<Response, Failure> {
    let caller = state.service.authenticate(&bearer::token(&headers)?).await?;
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect::<Vec<_>>().join(",");
    let exposition = Exposition::wanted(&accepted);
    let text = state.service.metrics(&caller, exposition).await?;
    Ok(([(CONTENT_TYPE, exposition.content_type()), (CACHE_CONTROL, "no-store")], text).into_response())
}
