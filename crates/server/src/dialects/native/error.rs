//! Domain errors as this API prints them. A handler's failure travels as data in the response; `edge` gives it its
//! body, because only there the request id is known.

use axum::Json;
use axum::extract::OriginalUri;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use domain::error::Kind;
use domain::{Code, Error};

use crate::dialects::edge::{Shape, status};

/// A request that was refused or failed.
#[derive(Debug, Clone)]
pub(super) struct Failure(Box<Error>);

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure(Box::new(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = status(self.0.code).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives a failure its body; other responses stay as they are.
fn render(mut response: Response, request_id: &str) -> Response {
    let Some(Failure(error)) = response.extensions_mut().remove::<Failure>() else { return response };
    if matches!(error.code.kind(), Kind::Internal | Kind::StorageFull) {
        tracing::error!(code = error.code.name(), request_id, "a request failed: {error}");
    }
    let code = error.code;
    let Error { message, field, hint, retry_after, .. } = *error;
    let detail =
        api::ErrorDetail { code: code.name().to_owned(), message, field, hint, request_id: request_id.to_owned() };
    let mut rendered = (status(code), Json(api::ErrorBody { error: detail })).into_response();
    // What was set on the way here, such as `Allow`, stays; type and length are those of the new body.
    for (name, value) in response.headers() {
        if !rendered.headers().contains_key(name) && name != axum::http::header::CONTENT_LENGTH {
            rendered.headers_mut().append(name, value.clone());
        }
    }
    if code == Code::Unauthenticated {
        rendered.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"backstay\""));
    }
    if let Some(seconds) = retry_after.or((code == Code::Unavailable).then_some(5)) {
        rendered.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    rendered
}

/// The answer where no route is.
pub(super) async fn unknown_route(OriginalUri(uri): OriginalUri) -> Failure {
    Error::new(Code::UnknownRoute, format!("there is nothing at '{}'", uri.path()))
        .hint(format!("{}/openapi.json lists all there is", api::BASE_PATH))
        .into()
}

/// The answer where the route is known and the method is not; axum adds `Allow`.
pub(super) async fn method_not_allowed(method: Method) -> Failure {
    Error::new(Code::MethodNotAllowed, format!("{method} is not possible here"))
        .hint("the header 'Allow' says which methods are")
        .into()
}

/// How this API ends its answers.
pub(in crate::dialects) enum Native {}

impl Shape for Native {
    const DIALECT: &str = "native";

    fn finish(response: Response, request_id: &str) -> Response {
        render(response, request_id)
    }

    fn defect() -> Response {
        Failure::from(Error::new(Code::Internal, "the server has a defect and could not answer")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_passes_says_when_to_come_again() {
        let after = |error: Error| {
            let response = render(Failure::from(error).into_response(), "the request's id");
            let after = response.headers().get(RETRY_AFTER).map(|v| v.to_str().expect("digits").to_owned());
            (response.status().as_u16(), after)
        };
        let throttled = Error::new(Code::TooManyAttempts, "signing in failed too often").retry_after(4);
        assert_eq!(after(throttled), (429, Some("4".into())));
        assert_eq!(after(Error::new(Code::Unavailable, "the server is stopping")), (503, Some("5".into())));
        assert_eq!(after(Error::new(Code::Unavailable, "too much to do").retry_after(2)), (503, Some("2".into())));
        assert_eq!(after(Error::new(Code::Forbidden, "no")), (403, None));
    }
}
