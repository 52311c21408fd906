//! From the header `Authorization` to the caller, in one place: without it no handler gets the `Caller` that every
//! service function asks for.

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use domain::{Caller, Code, Error};

use super::ApiState;
use super::error::Failure;
use crate::dialects::bearer;

/// Who asks; there only behind [`authenticate`].
#[derive(Clone)]
pub(super) struct Asking(pub(super) Caller);

/// The secret that was shown, for streams that outlive their token. Has no `Debug`, so it cannot be logged.
#[derive(Clone)]
pub(super) struct Secret(pub(super) String);

/// Lets a request through if its token is valid.
pub(super) async fn authenticate(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let secret = bearer::token(request.headers())?;
    let caller = state.service.authenticate(&secret).await?;
    request.extensions_mut().insert(Asking(caller));
    request.extensions_mut().insert(Secret(secret));
    Ok(next.run(request).await)
}

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        extension(parts)
    }
}

impl<S: Sync> FromRequestParts<S> for Secret {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        extension(parts)
    }
}

fn extension<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, Failure> {
    let unprotected = || Error::new(Code::Internal, "this route is not behind the check of tokens");
    Ok(parts.extensions.get::<T>().cloned().ok_or_else(unprotected)?)
}
