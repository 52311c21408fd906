//! Errors as this dialect prints them: a `google.rpc.Status` with its details, in the trailers of gRPC or as the body of
//! REST (contract for Yandex clients, section 6). A failure travels in the response as data and gets its shape at the
//! edge, because only there the request id is known.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::error::Kind;
use domain::{Code, Error};
use prost_types::Any;
use proto::google::rpc;
use tonic::Code as Grpc;

/// A request that was refused or failed.
#[derive(Debug, Clone)]
pub(super) struct Failure(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Grpc,
    message: String,
    violations: Vec<Violation>,
    unmet: Option<(Unmet, String)>,
    quota: Option<String>,
    /// Whether it is the server's own fault, which its log shall tell.
    defect: bool,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// The path of the field by its names in the `.proto` files, like `settings.scheduling.backup_sets[0].time.type`.
    pub(super) field: String,
    /// What would be right.
    pub(super) text: String,
}

impl Violation {
    pub(super) fn new(field: impl Into<String>, text: impl Into<String>) -> Violation {
        Violation { field: field.into(), text: text.into() }
    }
}

/// Why the state of things forbids a call: the `type` of a `google.rpc.PreconditionFailure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmet {
    /// The policy is not applied to the machine.
    NotApplied,
    /// The policy is still being applied.
    ApplicationProcessing,
    /// Policy, application or machine is switched off.
    Disabled,
    /// The machine's registration failed.
    RegistrationFailed,
    /// The machine's agent is not connected.
    AgentOffline,
    /// The backup would be put back over the system that runs.
    LiveSystemRoot,
    /// The backup is of another family of systems.
    OsMismatch,
    /// A running task needs it.
    InUse,
    /// The policy belongs to a tenant that is not above the machine's.
    ForeignPolicy,
    /// The running task cannot be cancelled.
    NotCancellable,
    /// There is no installer for this system.
    NoInstaller,
    /// Something else about the present state.
    State,
}

impl Unmet {
    /// As it stands on the wire.
    fn name(self) -> &'static str {
        match self {
            Unmet::NotApplied => "NOT_APPLIED",
            Unmet::ApplicationProcessing => "APPLICATION_PROCESSING",
            Unmet::Disabled => "DISABLED",
            Unmet::RegistrationFailed => "REGISTRATION_FAILED",
            Unmet::AgentOffline => "AGENT_OFFLINE",
            Unmet::LiveSystemRoot => "LIVE_SYSTEM_ROOT",
            Unmet::OsMismatch => "OS_MISMATCH",
            Unmet::InUse => "IN_USE",
            Unmet::ForeignPolicy => "FOREIGN_POLICY",
            Unmet::NotCancellable => "NOT_CANCELLABLE",
            Unmet::NoInstaller => "NO_INSTALLER",
            Unmet::State => "STATE",
        }
    }
}

impl Failure {
    /// A failure with this code.
    pub(super) fn new(code: Grpc, message: impl Into<String>) -> Failure {
        let defect = matches!(code, Grpc::Internal | Grpc::DataLoss | Grpc::Unknown);
        let message = message.into();
        Failure(Box::new(Inner { code, message, violations: Vec::new(), unmet: None, quota: None, defect }))
    }

    /// A request that breaks the rules of its fields.
    pub(super) fn invalid(mut violations: Vec<Violation>) -> Failure {
        let left_out = violations.len().saturating_sub(MOST_SHOWN);
        violations.truncate(MOST_SHOWN);
        let mut pairs = String::new();
        for violation in &violations {
            let between = if pairs.is_empty() { "" } else { "; " };
            let colon = if violation.field.is_empty() { "" } else { ": " };
            let pair = format!("{between}{}{colon}{}", violation.field, violation.text);
            if pairs.len() + pair.len() > LONGEST_LIST {
                pairs.push_str("; ...");
                break;
            }
            pairs.push_str(&pair);
        }
        if left_out > 0 {
            pairs.push_str(&format!("; and {left_out} more"));
        }
        let mut failure = Failure::new(Grpc::InvalidArgument, format!("Request validation error: {pairs}"));
        failure.0.violations = violations;
        failure
    }

    /// A request with one wrong field.
    pub(super) fn field(field: impl Into<String>, text: impl Into<String>) -> Failure {
        Failure::invalid(vec![Violation::new(field, text)])
    }

    /// A request that does not fit the present state of the thing with the id `subject`.
    pub(super) fn unmet(unmet: Unmet, subject: impl Into<String>, message: impl Into<String>) -> Failure {
        let mut failure = Failure::new(Grpc::FailedPrecondition, message);
        failure.0.unmet = Some((unmet, subject.into()));
        failure
    }

    /// No such thing, as far as the caller can see.
    pub(super) fn not_found(what: &str, id: &str) -> Failure {
        Failure::new(Grpc::NotFound, format!("there is no {what} '{id}'"))
    }

    /// The folder is not within the caller's, or there is none of this id; it is not said which (Y9).
    pub(super) fn foreign_folder() -> Failure {
        Failure::new(Grpc::PermissionDenied, "there is no permission for this folder")
    }

    /// Nobody that we know is asking.
    pub(super) fn unauthenticated(message: impl Into<String>) -> Failure {
        Failure::new(Grpc::Unauthenticated, message)
    }

    /// More than the quota or limit on `subject` allows.
    pub(super) fn exhausted(subject: impl Into<String>, message: impl Into<String>) -> Failure {
        let mut failure = Failure::new(Grpc::ResourceExhausted, message);
        failure.0.quota = Some(subject.into());
        failure
    }

    /// A defect of the server; `cause` goes to its log only.
    pub(super) fn defect(cause: impl std::fmt::Display) -> Failure {
        tracing::error!("a request failed: {cause}");
        let mut failure = Failure::new(Grpc::Internal, DEFECT);
        failure.0.defect = false;
        failure
    }

    /// The same failure, where it is a matter of state, about the thing with this id.
    #[must_use]
    pub(super) fn about(mut self, id: impl Into<String>) -> Failure {
        if let Some((_, subject)) = &mut self.0.unmet {
            *subject = id.into();
        }
        self
    }

    /// Its code.
    pub(super) fn code(&self) -> Grpc {
        self.0.code
    }

    /// Its message.
    pub(super) fn message(&self) -> &str {
        &self.0.message
    }

    /// What is wrong with the fields, if that is what it is about.
    pub(super) fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// What is the server's own fault goes to its log, with the id under which the client knows the request.
    pub(super) fn log(&self, request_id: &str) {
        if self.0.defect {
            tracing::error!(code = ?self.0.code, request_id, "a request failed: {}", self.0.message);
        }
    }

    /// The failure on the wire (Y16).
    pub(super) fn status(&self, request_id: &str) -> rpc::Status {
        let mut details = Vec::new();
        if self.0.code == Grpc::InvalidArgument {
            let field_violations = self.0.violations.iter().map(|v| rpc::bad_request::FieldViolation {
                field: v.field.clone(),
                description: v.text.clone(),
                ..Default::default()
            });
            details.push(any(&rpc::BadRequest { field_violations: field_violations.collect() }));
        }
        if let Some((unmet, subject)) = &self.0.unmet {
            let violation = rpc::precondition_failure::Violation {
                r#type: unmet.name().to_owned(),
                subject: subject.clone(),
                description: self.0.message.clone(),
            };
            details.push(any(&rpc::PreconditionFailure { violations: vec![violation] }));
        }
        if let Some(subject) = &self.0.quota {
            let violation =
                rpc::quota_failure::Violation { subject: subject.clone(), description: self.0.message.clone() };
            details.push(any(&rpc::QuotaFailure { violations: vec![violation] }));
        }
        details.push(any(&rpc::RequestInfo { request_id: request_id.to_owned(), serving_data: String::new() }));
        rpc::Status { code: self.0.code as i32, message: self.0.message.clone(), details }
    }
}

/// How many violations an answer holds: it goes into the headers of gRPC, of which clients take 8 KiB.
const MOST_SHOWN: usize = 30;
/// How long the message gets by them, in bytes.
const LONGEST_LIST: usize = 1500;

/// What is said of a defect.
const DEFECT: &str = "the server has a defect and could not answer";

/// A message of a known type in an `Any`.
pub(super) fn any<M: prost::Message + prost::Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = match &error.hint {
            Some(hint) => format!("{}; {hint}", error.message),
            None => error.message.clone(),
        };
        let unmet = |unmet| Failure::unmet(unmet, "", message.clone());
        match error.code {
            Code::InvalidCursor => Failure::field("page_token", error.message),
            Code::InUse => unmet(Unmet::InUse),
            Code::NotCancellable => unmet(Unmet::NotCancellable),
            Code::AgentOffline => unmet(Unmet::AgentOffline),
            Code::NotApplied => unmet(Unmet::NotApplied),
            Code::Processing => unmet(Unmet::ApplicationProcessing),
            Code::Disabled => unmet(Unmet::Disabled),
            Code::RegistrationFailed => unmet(Unmet::RegistrationFailed),
            Code::LiveSystem => unmet(Unmet::LiveSystemRoot),
            Code::SystemMismatch => unmet(Unmet::OsMismatch),
            Code::ForeignPolicy => unmet(Unmet::ForeignPolicy),
            Code::NoInstaller => unmet(Unmet::NoInstaller),
            Code::AgentSilent => Failure::new(Grpc::DeadlineExceeded, message),
            Code::AlreadyExists => Failure::new(Grpc::AlreadyExists, message),
            Code::RevisionConflict | Code::LeaseLost => Failure::new(Grpc::Aborted, message),
            Code::TooManyAttempts => Failure::exhausted("sign in", message),
            Code::LedgerDamaged => Failure::new(Grpc::DataLoss, message),
            code => match code.kind() {
                Kind::Invalid => match error.field {
                    Some(field) => Failure::field(field, error.message),
                    None => Failure::new(Grpc::InvalidArgument, message),
                },
                Kind::Unauthenticated => Failure::unauthenticated(message),
                Kind::Forbidden => Failure::new(Grpc::PermissionDenied, message),
                Kind::NotFound | Kind::MethodNotAllowed => Failure::new(Grpc::NotFound, message),
                Kind::Conflict => unmet(Unmet::State),
                Kind::TooLarge | Kind::UnsupportedMedia => Failure::new(Grpc::InvalidArgument, message),
                Kind::TooMany => Failure::new(Grpc::ResourceExhausted, message),
                Kind::Unavailable | Kind::StorageFull => Failure::new(Grpc::Unavailable, message),
                Kind::Internal => Failure::new(Grpc::Internal, message),
            },
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = http_status(self.code()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The HTTP status of a gRPC code (section 6).
pub(super) fn http_status(code: Grpc) -> StatusCode {
    match code {
        Grpc::Ok => StatusCode::OK,
        Grpc::Cancelled => StatusCode::from_u16(499).expect("three digits are a status"),
        Grpc::Unknown | Grpc::Internal | Grpc::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
        Grpc::InvalidArgument | Grpc::FailedPrecondition | Grpc::OutOfRange => StatusCode::BAD_REQUEST,
        Grpc::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Grpc::NotFound => StatusCode::NOT_FOUND,
        Grpc::AlreadyExists | Grpc::Aborted => StatusCode::CONFLICT,
        Grpc::PermissionDenied => StatusCode::FORBIDDEN,
        Grpc::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Grpc::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Grpc::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Grpc::Unauthenticated => StatusCode::UNAUTHORIZED,
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn every_code_of_the_domain_has_its_word() {
        let of = |code: Code| Failure::from(Error::new(code, "so it is")).code();
        for (code, wanted) in [
            (Code::InvalidField, Grpc::InvalidArgument),
            (Code::InvalidCursor, Grpc::InvalidArgument),
            (Code::Unauthenticated, Grpc::Unauthenticated),
            (Code::Forbidden, Grpc::PermissionDenied),
            (Code::NotFound, Grpc::NotFound),
            (Code::AlreadyExists, Grpc::AlreadyExists),
            (Code::RevisionConflict, Grpc::Aborted),
            (Code::InUse, Grpc::FailedPrecondition),
            (Code::NotCancellable, Grpc::FailedPrecondition),
            (Code::AgentOffline, Grpc::FailedPrecondition),
            (Code::AgentSilent, Grpc::DeadlineExceeded),
            (Code::PathUnusable, Grpc::FailedPrecondition),
            (Code::StateConflict, Grpc::FailedPrecondition),
            (Code::TooManyAttempts, Grpc::ResourceExhausted),
            (Code::Unavailable, Grpc::Unavailable),
            (Code::StorageFull, Grpc::Unavailable),
            (Code::Internal, Grpc::Internal),
        ] {
            assert_eq!(of(code), wanted, "{code:?}");
        }
        for code in Code::ALL {
            assert_ne!(of(*code), Grpc::Ok, "{code:?}");
        }
    }

    #[test]
    fn a_failure_of_state_names_its_type_and_subject() {
        let failure = Failure::from(Error::new(Code::AgentOffline, "the agent is away")).about("m-1");
        let status = failure.status("r-1");
        assert_eq!(status.code, 9);
        assert_eq!(status.details[0].type_url, "type.googleapis.com/google.rpc.PreconditionFailure");
        let detail = rpc::PreconditionFailure::decode(&*status.details[0].value).expect("what was put in");
        assert_eq!((&*detail.violations[0].r#type, &*detail.violations[0].subject), ("AGENT_OFFLINE", "m-1"));
        let info = rpc::RequestInfo::decode(&*status.details[1].value).expect("what was put in");
        assert_eq!(info.request_id, "r-1");
    }
}
