//! Refusals as Keystone prints them.

use axum::Json;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::error::Kind;
use domain::{Code, Error};
use serde_json::json;

use super::super::base::Base;
use super::super::sentence;
use crate::dialects::edge;

/// The one text for whoever is not let in, for whatever reason: nobody shall learn which names there are.
const UNAUTHENTICATED: &str = "The request you have made requires authentication.";

/// A request that was refused or failed.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    allow: Option<&'static str>,
    retry_after: Option<u64>,
    /// What lies behind it, where it is the server's own fault.
    fault: Option<Box<Error>>,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), allow: None, retry_after: None, fault: None }
    }

    pub(super) fn bad(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn no_such_page() -> Refusal {
        Refusal::not_found("The resource could not be found.")
    }

    pub(super) fn unauthenticated() -> Refusal {
        Refusal::new(StatusCode::UNAUTHORIZED, UNAUTHENTICATED)
    }

    pub(super) fn too_large(limit: usize) -> Refusal {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("The body is larger than {} KiB.", limit / 1024))
    }

    pub(super) fn method_not_allowed(method: &str, allow: &'static str) -> Refusal {
        let message = format!("The method {method} is not allowed for this resource.");
        Refusal { allow: Some(allow), ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }

    /// A member of the body that is missing or of another type.
    pub(super) fn missing(member: &str, within: &str) -> Refusal {
        Refusal::bad(format!(
            "Expecting to find {member} in {within}. The server could not comply with the request since it is either \
             malformed or otherwise incorrect."
        ))
    }

    /// A token that was asked about.
    pub(super) fn unknown_token(error: &Error) -> Refusal {
        match error.code {
            Code::NotFound => Refusal::not_found("The token that is meant is not known, or no longer valid."),
            _ => error.clone().into(),
        }
    }

    /// What is the server's own fault goes to its log, with the id under which the client knows the request.
    pub(super) fn log(&self, request_id: &str) {
        if let Some(fault) = &self.fault {
            tracing::error!(code = fault.code.name(), request_id, "a request failed: {fault}");
        }
    }

    /// The answer.
    pub(super) fn print(self, base: &Base) -> Response {
        let mut response = self.body();
        let headers = response.headers_mut();
        let identity = format!("Keystone uri=\"{}\"", base.at("/identity"));
        if self.status == StatusCode::UNAUTHORIZED
            && let Ok(value) = HeaderValue::from_str(&identity)
        {
            headers.insert(WWW_AUTHENTICATE, value);
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = self.retry_after.or((self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(5)) {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }

    /// The answer where nothing is known of the request.
    pub(super) fn plain(self) -> Response {
        self.body()
    }

    fn body(&self) -> Response {
        let title = match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
            other => other.canonical_reason().unwrap_or("Error"),
        };
        let body = json!({ "error": { "code": self.status.as_u16(), "message": self.message, "title": title } });
        (self.status, Json(body)).into_response()
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        if error.code.kind() == Kind::Unauthenticated {
            return Refusal::unauthenticated();
        }
        let mut message = sentence(&error.message);
        if let Some(hint) = &error.hint {
            message = format!("{message} {}", sentence(hint));
        }
        let status = match error.code.kind() {
            Kind::StorageFull => StatusCode::SERVICE_UNAVAILABLE,
            _ => edge::status(error.code),
        };
        let mut refusal = Refusal::new(status, message);
        refusal.retry_after = error.retry_after;
        if matches!(error.code.kind(), Kind::Internal | Kind::StorageFull) {
            refusal.fault = Some(Box::new(error));
        }
        refusal
    }
}
