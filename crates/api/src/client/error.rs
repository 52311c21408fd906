//! What can go wrong with a request: the server refused it, or it did not come through.

use domain::Code;

use crate::ErrorBody;

/// A result of the client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request failed. `Display` is one sentence that a person can act on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The server answered with a refusal.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// The server was not reached, or the connection broke.
    #[error("{message}")]
    Transport {
        /// What happened.
        message: String,
    },
    /// Something answered, but not as this API does.
    #[error("{message}")]
    Answer {
        /// What was odd.
        message: String,
    },
    /// The client cannot be set up like this.
    #[error("{0}")]
    Setup(String),
}

/// A refusal, as the server put it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: u16,
    /// The stable code, as text: a newer server may have codes that this program does not know.
    pub code: String,
    /// What was wrong, in one plain sentence.
    pub message: String,
    /// The field or parameter it is about.
    pub field: Option<String>,
    /// What would be right, or what to do.
    pub hint: Option<String>,
    /// The id under which the server's log has the request.
    pub request_id: String,
}

impl ApiError {
    /// The code, if this program knows it.
    #[must_use]
    pub fn known_code(&self) -> Option<Code> {
        Code::parse(&self.code)
    }
}

impl Error {
    /// The refusal, if it is one.
    #[must_use]
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Error::Api(e) => Some(e),
            _ => None,
        }
    }

    /// Whether the server refused it with this code.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.api().is_some_and(|e| e.code == code.name())
    }
}

/// The error of an answer that is no success.
pub(super) fn refusal(status: u16, body: &[u8], base: &str) -> Error {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { error }) => Error::Api(Box::new(ApiError {
            status,
            code: error.code,
            message: error.message,
            field: error.field,
            hint: error.hint,
            request_id: error.request_id,
        })),
        Err(_) => Error::Answer {
            message: format!("{base} answered with status {status}, and not as Backstay does; is the address right?"),
        },
    }
}

/// The error of a request that did not come through.
pub(super) fn transport(e: &reqwest::Error, base: &str) -> Error {
    let cause = root_cause(e);
    let lower = cause.to_lowercase();
    let message = if lower.contains("certificate expired") {
        format!(
            "the certificate of {base} has expired ({cause}); a server renews its own while it runs: look at its log, and \
             compare the clocks of both machines"
        )
    } else if lower.contains("certificate not valid yet") {
        format!("the certificate of {base} is not valid yet ({cause}); compare the clocks of both machines")
    } else if lower.contains("certificate") || lower.contains("unknownissuer") {
        format!("the certificate of {base} is not trusted ({cause}); give the CA of the server, or check the address")
    } else if e.is_connect() && e.is_timeout() {
        format!("{base} does not answer; check the address and the network")
    } else if e.is_connect() && lower.contains("refused") {
        format!("nothing listens at {base}; is the server running?")
    } else if e.is_connect() {
        format!("cannot connect to {base}: {cause}")
    } else if e.is_timeout() {
        format!("{base} took too long to answer")
    } else {
        format!("the connection to {base} broke: {cause}")
    };
    Error::Transport { message }
}

/// The innermost cause: reqwest's own text only says "error sending request".
pub(super) fn root_cause(e: &dyn std::error::Error) -> String {
    let mut cause = e;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_everything_the_server_said() {
        let body =
            br#"{"error":{"code":"unknown_field","message":"m","field":"f","hint":"h","request_id":"r","new":1}}"#;
        let error = refusal(400, body, "http://x");
        assert!(error.is(Code::UnknownField));
        assert_eq!(error.api().map(|e| e.request_id.as_str()), Some("r"));
        assert_eq!(error.to_string(), "m");
    }

    #[test]
    fn a_stranger_is_recognised() {
        let error = refusal(502, b"<html>bad gateway</html>", "http://x");
        assert_eq!(
            error.to_string(),
            "http://x answered with status 502, and not as Backstay does; is the address right?"
        );
    }
}
