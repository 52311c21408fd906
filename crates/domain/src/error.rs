//! The one table of error codes, and the error that carries them. Every dialect prints this error in its own
//! shape; the native API prints it as it is. Each code has a page in `docs/errors/`.

/// What sort of refusal a code is; dialects derive their HTTP or gRPC status from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is wrong and would be wrong at any time.
    Invalid,
    /// Nobody, or nobody we know, is asking.
    Unauthenticated,
    /// The caller is known and may not do this.
    Forbidden,
    /// There is no such thing in the caller's scope.
    NotFound,
    /// The route exists, but not with this method.
    MethodNotAllowed,
    /// The request is right but does not fit the present state.
    Conflict,
    /// The request is larger than allowed.
    TooLarge,
    /// The body is of a type that is not understood.
    UnsupportedMedia,
    /// It was tried too often; trying again later is right.
    TooMany,
    /// The server cannot do it now; trying again later may help.
    Unavailable,
    /// There is no room to store what was asked.
    StorageFull,
    /// A defect or damage on the server's side.
    Internal,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident, $name:literal, $kind:ident;)+) => {
        /// A stable error code. Clients match on it; its name and meaning never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$meta])* $variant,)+ }

        impl Code {
            /// All codes, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// The code as clients see it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),+ }
            }

            /// What sort of refusal it is.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $(Code::$variant => Kind::$kind),+ }
            }

            /// The code of this name, if there is one.
            #[must_use]
            pub fn parse(name: &str) -> Option<Code> {
                Code::ALL.iter().copied().find(|c| c.name() == name)
            }
        }
    };
}

// To add a code: add a line here and a page docs/errors/<code>.md; `cargo xtask tidy` compares the two.
codes! {
    /// A value is not allowed for its field.
    InvalidField, "invalid_field", Invalid;
    /// A field or parameter that must be given is missing.
    MissingField, "missing_field", Invalid;
    /// A field or parameter is not known here.
    UnknownField, "unknown_field", Invalid;
    /// The body is not readable JSON of the expected shape.
    InvalidBody, "invalid_body", Invalid;
    /// A paging cursor is damaged or belongs to another query.
    InvalidCursor, "invalid_cursor", Invalid;
    /// No token or secret, or one that is not known or no longer valid.
    Unauthenticated, "unauthenticated", Unauthenticated;
    /// The caller's role does not allow this.
    Forbidden, "forbidden", Forbidden;
    /// No such object in the caller's scope.
    NotFound, "not_found", NotFound;
    /// No such route.
    UnknownRoute, "unknown_route", NotFound;
    /// The route does not take this method.
    MethodNotAllowed, "method_not_allowed", MethodNotAllowed;
    /// An object with this identity exists already and is different.
    AlreadyExists, "already_exists", Conflict;
    /// The object was changed by somebody else meanwhile.
    RevisionConflict, "revision_conflict", Conflict;
    /// The object is used by another and cannot go.
    InUse, "in_use", Conflict;
    /// The event does not fit the task's or activity's state.
    StateConflict, "state_conflict", Conflict;
    /// The task or activity is completed; completed is final.
    AlreadyCompleted, "already_completed", Conflict;
    /// The lease is not the current one: the work was given to somebody else or ended.
    LeaseLost, "lease_lost", Conflict;
    /// The running task does not allow to be cancelled.
    NotCancellable, "not_cancellable", Conflict;
    /// The machine's agent is not connected, and the request needs it now.
    AgentOffline, "agent_offline", Conflict;
    /// A path on the machine is not what the request needs: no folder, not readable, or taken by a file.
    PathUnusable, "path_unusable", Conflict;
    /// The policy is not applied to the resource, and the request needs it.
    NotApplied, "not_applied", Conflict;
    /// The object is still being made ready, and the request has to wait for it.
    Processing, "processing", Conflict;
    /// The object is disabled, and the request needs it enabled.
    Disabled, "disabled", Conflict;
    /// The machine could not be registered, and the request needs it.
    RegistrationFailed, "registration_failed", Conflict;
    /// The recovery would write over the system that runs on the machine.
    LiveSystem, "live_system", Conflict;
    /// The recovery point is of another family of operating systems than the machine.
    SystemMismatch, "system_mismatch", Conflict;
    /// The policy belongs to a tenant that the resource is not below.
    ForeignPolicy, "foreign_policy", Conflict;
    /// There is no installer of the agent for this system.
    NoInstaller, "no_installer", Conflict;
    /// The body is larger than the limit.
    BodyTooLarge, "body_too_large", TooLarge;
    /// The body's media type is not JSON.
    UnsupportedMediaType, "unsupported_media_type", UnsupportedMedia;
    /// Signing in failed too often with this name or from this address; the next attempt has to wait.
    TooManyAttempts, "too_many_attempts", TooMany;
    /// The server is starting or stopping, or has too much to do.
    Unavailable, "unavailable", Unavailable;
    /// The machine's agent is connected and did not answer in time.
    AgentSilent, "agent_silent", Unavailable;
    /// The disk of the ledger is full; reads go on, writes are refused.
    StorageFull, "storage_full", StorageFull;
    /// The stored data is damaged.
    LedgerDamaged, "ledger_damaged", Internal;
    /// A defect in the server; the log has the details under the request id.
    Internal, "internal", Internal;
}

/// A refusal or failure that a person can act on.
///
/// `message` is one plain sentence without a final stop that names what was wrong; `hint` says what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The stable code.
    pub code: Code,
    /// What was wrong, in one plain sentence.
    pub message: String,
    /// The field or parameter it is about, in the dialect-neutral name.
    pub field: Option<String>,
    /// What would be right, or what to do.
    pub hint: Option<String>,
    /// After how many seconds it is worth trying again, where that is known.
    pub retry_after: Option<u64>,
}

/// A result with the domain's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with a code and a message.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), field: None, hint: None, retry_after: None }
    }

    /// A value that is not allowed for `field`.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Error {
        Error { field: Some(field.into()), ..Error::new(Code::InvalidField, message) }
    }

    /// A missing field.
    pub fn missing(field: impl Into<String>) -> Error {
        let field = field.into();
        Error { message: format!("'{field}' is missing"), field: Some(field), ..Error::new(Code::MissingField, "") }
    }

    /// No such object of this sort.
    pub fn not_found(what: &str, id: impl std::fmt::Display) -> Error {
        Error::new(Code::NotFound, format!("there is no {what} '{id}'"))
    }

    /// The same error about this field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Error {
        self.field = Some(field.into());
        self
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with the seconds after which it is worth trying again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Error {
        self.retry_after = Some(seconds);
        self
    }
}

/// What was looked for, or nothing where there is no such thing; other errors stay errors.
///
/// # Errors
/// Those of the search, but for `not_found`.
pub fn if_found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.code == Code::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
