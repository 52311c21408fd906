//! Between the messages of the agent link and the domain. What is absent on the wire is absent there.

use std::fmt;

use domain::task::{Outcome, OutcomeCode, Progress, TaskError};
use domain::{SignedDuration, Timestamp, Uuid};
use serde_json::Value;

use super::v1;

/// A message that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

impl Malformed {
    /// A message in which this is missing.
    #[must_use]
    pub fn missing(what: &str) -> Malformed {
        Malformed(format!("'{what}' is missing"))
    }
}

/// A uuid out of its text.
///
/// # Errors
/// When it is none.
pub fn uuid_of(what: &str, text: &str) -> Result<Uuid, Malformed> {
    Uuid::parse_str(text).map_err(|_| Malformed(format!("'{what}' is no uuid")))
}

/// A time out of its nanoseconds.
#[must_use]
pub fn time_of(nanoseconds: i64) -> Timestamp {
    // 64 bits of nanoseconds end long before the calendar does.
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The nanoseconds of a time.
#[must_use]
pub fn nanoseconds_of(time: Timestamp) -> i64 {
    // Until the year 2262.
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// JSON out of its text; empty = null.
///
/// # Errors
/// When it is none.
pub fn json_of(what: &str, text: &str) -> Result<Value, Malformed> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|e| Malformed(format!("'{what}' is no JSON: {e}")))
}

/// The text of JSON; null = empty.
#[must_use]
pub fn json_text(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

impl From<&Progress> for v1::Progress {
    fn from(p: &Progress) -> Self {
        v1::Progress {
            current: p.current,
            total: p.total,
            bytes_processed: p.bytes_processed,
            bytes_total: p.bytes_total,
            bytes_saved: p.bytes_saved,
            files_processed: p.files_processed,
            files_total: p.files_total,
            speed: p.speed,
            left_seconds: p.left.map(|d| d.as_secs()),
        }
    }
}

impl From<v1::Progress> for Progress {
    fn from(p: v1::Progress) -> Self {
        Progress {
            current: p.current,
            total: p.total,
            bytes_processed: p.bytes_processed,
            bytes_total: p.bytes_total,
            bytes_saved: p.bytes_saved,
            files_processed: p.files_processed,
            files_total: p.files_total,
            speed: p.speed,
            left: p.left_seconds.map(SignedDuration::from_secs),
            bottleneck: None,
        }
    }
}

impl From<&TaskError> for v1::TaskError {
    fn from(e: &TaskError) -> Self {
        v1::TaskError {
            domain: e.domain.clone(),
            code: e.code.clone(),
            message: e.message.clone(),
            context_json: json_text(&e.context),
            cause: e.cause.as_deref().map(|c| Box::new(c.into())),
        }
    }
}

impl TryFrom<v1::TaskError> for TaskError {
    type Error = Malformed;

    fn try_from(e: v1::TaskError) -> Result<Self, Malformed> {
        Ok(TaskError {
            domain: e.domain,
            code: e.code,
            message: e.message,
            context: json_of("context", &e.context_json)?,
            cause: e.cause.map(|c| TaskError::try_from(*c)).transpose()?.map(Box::new),
            extra: serde_json::Map::new(),
        })
    }
}

impl From<&Outcome> for v1::Outcome {
    fn from(o: &Outcome) -> Self {
        let code = match o.code {
            OutcomeCode::Ok => v1::outcome::Code::Ok,
            OutcomeCode::Error => v1::outcome::Code::Error,
            OutcomeCode::Warning => v1::outcome::Code::Warning,
            OutcomeCode::Cancelled => v1::outcome::Code::Cancelled,
        };
        v1::Outcome {
            code: code.into(),
            error: o.error.as_ref().map(Into::into),
            warnings: o.warnings.iter().map(Into::into).collect(),
            payload_json: json_text(&o.payload),
        }
    }
}

impl TryFrom<v1::Outcome> for Outcome {
    type Error = Malformed;

    fn try_from(o: v1::Outcome) -> Result<Self, Malformed> {
        let code = match o.code() {
            v1::outcome::Code::Ok => OutcomeCode::Ok,
            v1::outcome::Code::Error | v1::outcome::Code::Unspecified => OutcomeCode::Error,
            v1::outcome::Code::Warning => OutcomeCode::Warning,
            v1::outcome::Code::Cancelled => OutcomeCode::Cancelled,
        };
        Ok(Outcome {
            code,
            error: o.error.map(TaskError::try_from).transpose()?,
            warnings: o.warnings.into_iter().map(TaskError::try_from).collect::<Result<_, _>>()?,
            payload: json_of("payload", &o.payload_json)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_survives_the_way_there_and_back() {
        let outcome = Outcome {
            code: OutcomeCode::Warning,
            error: Some(TaskError {
                cause: Some(Box::new(TaskError::server("inner", "why"))),
                ..TaskError::server("outer", "what")
            }),
            warnings: vec![TaskError {
                context: serde_json::json!({"path": "/a"}),
                ..TaskError::server("unread", "no")
            }],
            payload: serde_json::json!({"files": 3}),
        };
        assert_eq!(Outcome::try_from(v1::Outcome::from(&outcome)).expect("well-formed"), outcome);
        let plain = Outcome::of(OutcomeCode::Cancelled);
        assert_eq!(Outcome::try_from(v1::Outcome::from(&plain)).expect("well-formed"), plain);
    }

    #[test]
    fn a_password_is_not_in_the_debug_text_of_any_message() {
        let secrets = [("AWS_SECRET_ACCESS_KEY".to_owned(), "tape in the cupboard".to_owned())].into();
        let repository =
            v1::Repository { url: "/r".into(), password: "tape under the desk".into(), secrets, ..Default::default() };
        let assign = v1::Assign { repository: Some(repository), ..Default::default() };
        let message = v1::ToAgent::from(v1::to_agent::Message::Assign(assign));
        assert!(!format!("{message:?}").contains("tape"));
    }
}
