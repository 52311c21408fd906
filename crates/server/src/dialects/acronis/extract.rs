//! What a request of this dialect says in its path, headers and body.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use domain::activity::ActivityRef;
use domain::task::{LeaseToken, TaskRef};
use domain::{Code, Error};
use serde_json::Value;

use super::error::Failure;
use super::params;
use crate::dialects::body;
use crate::service::BlockerRef;

/// The header with the lease under which a task is reported on (D69).
const LEASE: &str = "task-lease";
/// The longest lease that can be one of ours (D69).
const MAX_LEASE: usize = 64;

/// The JSON body of a write; null where there is none. A query says nothing to a write, so nothing may stand in it (D16).
pub(super) struct Body(pub(super) Value);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Body, Failure> {
        params::check(&params::decode(request.uri().query().unwrap_or_default())?, &[])?;
        let Some(bytes) = body::optional_json(request).await? else { return Ok(Body(Value::Null)) };
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Body).map_err(|e| Error::new(Code::InvalidBody, format!("the body is no JSON: {e}")).into())
    }
}

/// The lease in the header.
pub(super) struct Lease(pub(super) LeaseToken);

impl<S: Send + Sync> FromRequestParts<S> for Lease {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Lease, Failure> {
        let text = parts.headers.get(LEASE).and_then(|v| v.to_str().ok()).filter(|t| !t.is_empty());
        let text = text.ok_or_else(|| {
            Error::new(Code::MissingField, "the header 'Task-Lease' is missing")
                .field("Task-Lease")
                .hint("send the 'lease' that came with the task")
        })?;
        if text.len() > MAX_LEASE {
            return Err(Error::invalid("Task-Lease", "the header 'Task-Lease' is longer than any lease").into());
        }
        Ok(Lease(LeaseToken(text.to_owned())))
    }
}

/// The task in the path.
pub(super) struct TaskPath(pub(super) TaskRef);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<TaskPath, Failure> {
        let Path(text) = path::<String>(parts).await?;
        Ok(TaskPath(params::task(&text)?))
    }
}

/// The activity in the path.
pub(super) struct ActivityPath(pub(super) ActivityRef);

impl<S: Send + Sync> FromRequestParts<S> for ActivityPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<ActivityPath, Failure> {
        let Path(text) = path::<String>(parts).await?;
        Ok(ActivityPath(params::activity(&text)?))
    }
}

/// A task and a blocker of it.
pub(super) struct BlockerPath(pub(super) TaskRef, pub(super) BlockerRef);

impl<S: Send + Sync> FromRequestParts<S> for BlockerPath {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<BlockerPath, Failure> {
        let Path((task, blocker)) = path::<(String, String)>(parts).await?;
        // A number that is too large is the place of none.
        let place = params::decimal(&blocker).map(|n| BlockerRef::Place(u32::try_from(n).unwrap_or(u32::MAX)));
        let blocker = place
            .or_else(|| params::guid(&blocker).map(BlockerRef::Uuid))
            .ok_or_else(|| params::wrong("id", &blocker, "is no id of a blocker", "its number, like 1, or its uuid"))?;
        Ok(BlockerPath(params::task(&task)?, blocker))
    }
}

async fn path<T: serde::de::DeserializeOwned + Send>(parts: &mut Parts) -> Result<Path<T>, Failure> {
    let unreadable = |_| Error::invalid("id", "the path is not readable").hint("percent-encode it as UTF-8");
    Ok(Path::from_request_parts(parts, &()).await.map_err(unreadable)?)
}
