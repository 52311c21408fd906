//! The audit record: who did what.

use axum::extract::State;
use domain::query::Filter;

use super::auth::Asking;
use super::extract::Params;
use super::lists::AUDIT;
use super::{Answer, ApiState, map};

/// What was done, newest first.
///
/// Tasks are not in it when they are created or worked on: a task itself says by whom.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "audit",
    responses((status = 200, description = "A part of the record", body = api::List<api::AuditEntry>))
)]
pub(super) async fn audit_log(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::AuditEntry>> {
    let query = AUDIT.query(params, Filter::all())?;
    let slice = state.service.audit_log(&caller, &query).await?;
    map::list(&AUDIT, &query, slice, |e| e.into())
}
