//! Errors as this dialect prints them: the vendor's error object, unwrapped (contract, section 9, D56).

use axum::extract::OriginalUri;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::error::Kind;
use domain::{Code, Error};
use serde_json::{Map, Value, json};

use crate::dialects::edge;

/// A request that was refused or failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    error: Box<Error>,
    /// Members of the error's `context` beside what the error itself knows.
    context: Map<String, Value>,
    /// A status and a code that the domain has no word for.
    special: Option<(StatusCode, &'static str)>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure { error: Box::new(error), context: Map::new(), special: None }
    }
}

impl Failure {
    /// The same refusal with another member in its `context`.
    #[must_use]
    pub(super) fn with(mut self, key: &'static str, value: impl Into<Value>) -> Failure {
        self.context.insert(key.to_owned(), value.into());
        self
    }

    /// A member of a body that only the server makes.
    pub(super) fn read_only(field: &str) -> Failure {
        let error = Error::invalid(field, format!("'{field}' is made by the server")).hint("leave it out");
        Failure { special: Some((StatusCode::BAD_REQUEST, "readOnlyField")), ..error.into() }
    }

    /// The query is longer than is read (D2).
    pub(super) fn query_too_long(limit: usize) -> Failure {
        let error = Error::new(Code::InvalidField, format!("the query is longer than {limit} bytes"))
            .hint("ask for fewer values at a time");
        Failure { special: Some((StatusCode::URI_TOO_LONG, "uriTooLong")), ..error.into() }
    }

    fn status(&self) -> StatusCode {
        self.special.map_or_else(|| status(self.error.code), |(status, _)| status)
    }

    fn code(&self) -> &'static str {
        self.special.map_or_else(|| code(self.error.code), |(_, code)| code)
    }

    /// What is the server's own fault goes to its log, with the id under which the client knows the request.
    pub(super) fn log(&self, request_id: &str) {
        if matches!(self.error.code.kind(), Kind::Internal | Kind::StorageFull) {
            tracing::error!(code = self.error.code.name(), request_id, "a request failed: {}", self.error);
        }
    }

    /// The error object.
    #[must_use]
    pub(super) fn body(&self) -> Value {
        let Error { message, field, hint, .. } = &*self.error;
        let mut context = self.context.clone();
        if let Some(field) = field {
            context.entry("parameter").or_insert_with(|| field.as_str().into());
        }
        if let Some(hint) = hint {
            context.entry("hint").or_insert_with(|| hint.as_str().into());
        }
        let domain = match self.error.code.kind() {
            Kind::Unauthenticated | Kind::Forbidden => "Access",
            _ => domain::task::SERVER_DOMAIN,
        };
        let code = self.code();
        let mut body = json!({ "domain": domain, "code": code, "reason": code, "message": sentence(message) });
        if !context.is_empty() {
            body["context"] = Value::Object(context);
        }
        body
    }
}

/// The domain's messages have no final stop; people read these as sentences.
pub(super) fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    // A name of a field stands in quotes or begins small, and stays as it is.
    let first = if message.starts_with(|c: char| c.is_ascii_lowercase()) && !message.contains(": ") {
        first
    } else {
        message.chars().next().map(String::from).unwrap_or_default()
    };
    let stop = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, axum::Json(self.body())).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
        }
        let wait = self.error.retry_after.or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(5));
        if let Some(seconds) = wait {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// The status of a code.
pub(super) fn status(code: Code) -> StatusCode {
    match code.kind() {
        // The vendor has no word for a full disk; trying again later is right.
        Kind::StorageFull => StatusCode::SERVICE_UNAVAILABLE,
        _ => edge::status(code),
    }
}

/// The code as clients of this dialect know it.
fn code(code: Code) -> &'static str {
    match code {
        Code::InvalidField | Code::MissingField => "invalidParameter",
        Code::UnknownField => "unknownParameter",
        Code::InvalidBody => "invalidBody",
        Code::InvalidCursor => "invalidCursor",
        Code::Unauthenticated => "unauthorized",
        Code::Forbidden => "forbidden",
        Code::NotFound | Code::UnknownRoute => "notFound",
        Code::MethodNotAllowed => "methodNotAllowed",
        Code::AlreadyExists => "alreadyExists",
        Code::RevisionConflict
        | Code::InUse
        | Code::StateConflict
        | Code::AgentOffline
        | Code::PathUnusable
        | Code::NotApplied
        | Code::Processing
        | Code::Disabled
        | Code::RegistrationFailed
        | Code::LiveSystem
        | Code::SystemMismatch
        | Code::ForeignPolicy
        | Code::NoInstaller => "stateConflict",
        Code::AlreadyCompleted => "alreadyCompleted",
        Code::LeaseLost => "leaseLost",
        Code::NotCancellable => "notCancellable",
        Code::BodyTooLarge => "requestEntityTooLarge",
        Code::UnsupportedMediaType => "unsupportedMediaType",
        Code::TooManyAttempts => "tooManyRequests",
        Code::Unavailable | Code::AgentSilent | Code::StorageFull => "serviceUnavailable",
        Code::LedgerDamaged | Code::Internal => "internalError",
    }
}

/// The answer where no route is.
pub(super) async fn unknown_route(OriginalUri(uri): OriginalUri) -> Failure {
    Error::new(Code::UnknownRoute, format!("there is nothing at '{}'", uri.path())).into()
}

/// The answer where the route is known and the method is not; axum adds `Allow`.
pub(super) async fn method_not_allowed(method: Method) -> Failure {
    Error::new(Code::MethodNotAllowed, format!("{method} is not possible here"))
        .hint("the header 'Allow' says which methods are")
        .into()
}
