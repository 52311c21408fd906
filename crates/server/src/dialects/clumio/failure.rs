//! Errors as this dialect prints them: a list of faults, each with a number of our own and a sentence (section 4, D19).

use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::error::Kind;
use domain::{Code, Error};
use serde_json::{Value, json};

/// After how many seconds it is worth trying again when the server cannot answer now.
const WAIT: u64 = 5;

/// What a request is refused for. The number is the vendor's status with a digit behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A value in the query.
    Query = 4000,
    /// The filter.
    Filter = 4001,
    /// The body is missing or no JSON object.
    Body = 4002,
    /// A member of the body is missing or wrong.
    Member = 4003,
    /// The version that is asked for is not served.
    Version = 4004,
    /// What is asked for is understood and not done here (D11).
    Refused = 4005,
    /// There is no token.
    NoToken = 4010,
    /// The token is unknown, expired or revoked.
    BadToken = 4011,
    /// The token's role does not allow it.
    Role = 4030,
    /// The context is outside the token's tenant.
    Context = 4031,
    /// There is no such path.
    Path = 4040,
    /// There is no such object in the effective organizational unit.
    Object = 4041,
    /// The path is not served with this method.
    Method = 4050,
    /// The body came too slowly.
    SlowBody = 4080,
    /// The name is taken.
    NameTaken = 4090,
    /// The task cannot be aborted.
    NotAbortable = 4120,
    /// The policy is being changed or deleted.
    PolicyLocked = 4121,
    /// The organizational unit is not empty, or the global one.
    UnitInUse = 4122,
    /// `If-Match` names another state.
    IfMatch = 4123,
    /// The volume cannot be used for this.
    VolumeUnusable = 4124,
    /// The body is too large.
    LargeBody = 4130,
    /// The request line is too long.
    LongLine = 4140,
    /// Too many requests.
    Throttled = 4290,
    /// The headers are too large.
    LargeHead = 4310,
    /// A defect or damage of the server's.
    Internal = 5000,
    /// The server cannot answer now.
    Unavailable = 5030,
}

impl Cause {
    fn status(self) -> StatusCode {
        StatusCode::from_u16(self as u16 / 10)
            .expect("each number is a status with a digit behind it; a test reads them")
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) cause: Cause,
    pub(super) message: String,
}

/// A request that was refused or failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// Never empty; the first one gives the status.
    faults: Vec<Fault>,
    allow: Option<String>,
    retry_after: Option<u64>,
}

impl Failure {
    /// A refusal for one reason.
    pub(super) fn new(cause: Cause, message: impl Into<String>) -> Failure {
        Failure { faults: vec![Fault { cause, message: message.into() }], allow: None, retry_after: None }
    }

    /// A refusal for several reasons; none if there are none.
    pub(super) fn of(faults: Vec<Fault>) -> Result<(), Failure> {
        if faults.is_empty() { Ok(()) } else { Err(Failure { faults, allow: None, retry_after: None }) }
    }

    /// What the domain refused, for a reason that the caller knows better.
    pub(super) fn caused(cause: Cause, error: &Error) -> Failure {
        Failure { retry_after: error.retry_after, ..Failure::new(cause, sentence(error)) }
    }

    /// The path does not name any object that can be seen here.
    pub(super) fn no_such(what: &str, id: &str) -> Failure {
        Failure::new(Cause::Object, format!("there is no {what} '{id}'"))
    }

    /// The path is served with these methods only.
    pub(super) fn method(asked: &str, allow: String) -> Failure {
        let message = format!("{asked} is not possible here; possible are {allow}");
        Failure { allow: Some(allow), ..Failure::new(Cause::Method, message) }
    }

    /// Too many requests; more are taken after so many seconds.
    pub(super) fn throttled(seconds: u64) -> Failure {
        let message = format!("too many requests; more are taken in {seconds} s");
        Failure { retry_after: Some(seconds), ..Failure::new(Cause::Throttled, message) }
    }

    /// Something of the server's is broken; the text goes to the log only.
    pub(super) fn defect(text: impl std::fmt::Display) -> Failure {
        Failure::new(Cause::Internal, text.to_string())
    }

    /// What it is refused for first.
    pub(super) fn cause(&self) -> Cause {
        self.faults.first().map_or(Cause::Internal, |f| f.cause)
    }

    /// The answer as it leaves. What is the server's own fault goes to its log, and the client is told the id under which
    /// it stands there.
    pub(super) fn finish(&self, request_id: &str) -> Response {
        let status = self.cause().status();
        let errors: Vec<Value> = self.faults.iter().map(|f| print(f, request_id)).collect();
        let mut response = (status, axum::Json(json!({ "errors": errors }))).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow.as_deref().and_then(|a| HeaderValue::from_str(a).ok()) {
            headers.insert(ALLOW, allow);
        }
        if let Some(seconds) = self.retry_after.or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(WAIT)) {
            headers.insert(RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}

fn print(fault: &Fault, request_id: &str) -> Value {
    let message = if fault.cause == Cause::Internal {
        tracing::error!(request_id, "a request failed: {}", fault.message);
        format!("the server has a defect and could not answer request {request_id}")
    } else {
        fault.message.clone()
    };
    json!({ "error_code": fault.cause as u32, "error_message": message })
}

/// The domain's message, with the member it is about in front and what would be right behind it.
fn sentence(error: &Error) -> String {
    let about = error.field.as_deref().filter(|field| !error.message.contains(*field));
    let about = about.map(|field| format!("{field}: ")).unwrap_or_default();
    let hint = error.hint.as_deref().map(|hint| format!("; {hint}")).unwrap_or_default();
    format!("{about}{}{hint}", error.message)
}

/// What a service refused. Callers that know the reason better use [`Failure::caused`]: this takes what is invalid to be
/// a member of the body, and a conflict to be about the volume.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let cause = match error.code.kind() {
            Kind::Invalid | Kind::UnsupportedMedia => match error.code {
                Code::InvalidBody => Cause::Body,
                _ => Cause::Member,
            },
            Kind::Unauthenticated => Cause::BadToken,
            Kind::Forbidden => Cause::Role,
            Kind::NotFound => match error.code {
                Code::UnknownRoute => Cause::Path,
                _ => Cause::Object,
            },
            Kind::MethodNotAllowed => Cause::Method,
            Kind::Conflict => match error.code {
                Code::AlreadyExists => Cause::NameTaken,
                Code::AlreadyCompleted | Code::NotCancellable => Cause::NotAbortable,
                Code::InUse => Cause::UnitInUse,
                _ => Cause::VolumeUnusable,
            },
            Kind::TooLarge => Cause::LargeBody,
            Kind::TooMany => Cause::Throttled,
            Kind::Unavailable | Kind::StorageFull => Cause::Unavailable,
            Kind::Internal => Cause::Internal,
        };
        Failure::caused(cause, &error)
    }
}

/// On its way to where the request id is known, a failure travels as an extension.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.cause().status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_domain_has_a_status_that_the_contract_knows() {
        let known = [400, 401, 403, 404, 405, 408, 409, 412, 413, 414, 429, 431, 500, 503];
        for code in Domain::ALL {
            let failure = Failure::from(Error::new(*code, "it is so"));
            assert!(known.contains(&failure.cause().status().as_u16()), "{}", code.name());
        }
    }

    use domain::Code as Domain;

    #[test]
    fn messages_name_the_member_and_what_is_right() {
        let error = Error::invalid("limit", "it is too small").hint("at least 1");
        assert_eq!(sentence(&error), "limit: it is too small; at least 1");
        assert_eq!(sentence(&Error::missing("name")), "'name' is missing");
    }

    #[test]
    fn a_defect_tells_nothing_but_the_request() {
        let failure = Failure::defect("the secret is swordfish");
        let printed = print(&failure.faults[0], "r-1").to_string();
        assert!(printed.contains("r-1") && !printed.contains("swordfish"), "{printed}");
    }
}
