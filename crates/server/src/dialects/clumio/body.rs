//! Bodies: JSON whatever their type says, and their members with one fault for each that is wrong (section 3, R1).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use domain::Uuid;
use serde_json::{Map, Value};

use super::failure::{Cause, Failure, Fault};
use super::query::shortened;
use crate::dialects::body::MAX;

/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bytes of a body.
///
/// # Errors
/// It is too large, too slow, or broke off.
pub(super) async fn read(request: Request) -> Result<Bytes, Failure> {
    read_within(PATIENCE, request).await
}

async fn read_within(patience: Duration, request: Request) -> Result<Bytes, Failure> {
    let read = tokio::time::timeout(patience, Bytes::from_request(request, &())).await;
    let slow = |_| Failure::new(Cause::SlowBody, format!("the body took longer than {} s", patience.as_secs()));
    read.map_err(slow)?.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Failure::new(Cause::LargeBody, format!("the body is larger than {} KiB", MAX / 1024))
        }
        _ => Failure::new(Cause::Body, "the body broke off"),
    })
}

/// A body that is an object, and what was found to be wrong in it.
///
/// Members are asked for one by one; what is wrong is collected, and [`Body::checked`] refuses the request with one entry
/// for each fault. Until then a missing value has a harmless stand-in.
pub(super) struct Body {
    root: Map<String, Value>,
    faults: Faults,
}

#[derive(Default)]
struct Faults(Mutex<Vec<Fault>>);

impl Body {
    /// The object in these bytes; a byte-order mark before it is tolerated.
    ///
    /// # Errors
    /// There is nothing, no JSON, or no object.
    pub(super) fn parse(bytes: &[u8]) -> Result<Body, Failure> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.trim_ascii().is_empty() {
            return Err(Failure::new(Cause::Body, "the body is missing; a JSON object is expected"));
        }
        let value = serde_json::from_slice(bytes);
        match value.map_err(|e| Failure::new(Cause::Body, format!("the body is no JSON: {e}")))? {
            Value::Object(root) => Ok(Body { root, faults: Faults::default() }),
            _ => Err(Failure::new(Cause::Body, "the body is no JSON object")),
        }
    }

    /// The members.
    pub(super) fn members(&self) -> Members<'_> {
        Members { map: &self.root, path: String::new(), faults: &self.faults }
    }

    /// The body exactly as it was sent.
    pub(super) fn raw(&self) -> &Map<String, Value> {
        &self.root
    }

    /// Refuses the request if anything was found to be wrong.
    ///
    /// # Errors
    /// All that was.
    pub(super) fn checked(&self) -> Result<(), Failure> {
        Failure::of(std::mem::take(&mut *self.faults.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The members of an object in a body. A null is as good as nothing, and so is "" where text is optional.
#[derive(Clone)]
pub(super) struct Members<'b> {
    map: &'b Map<String, Value>,
    path: String,
    faults: &'b Faults,
}

impl<'b> Members<'b> {
    /// The whole name of a member, like `target.aws_az`.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Notes that a member is wrong; `message` says what is.
    pub(super) fn fault(&self, name: &str, message: impl std::fmt::Display) {
        self.note(Cause::Member, name, message);
    }

    /// Notes that a member asks for what is understood and not done here (D11).
    pub(super) fn refuse(&self, name: &str, message: impl std::fmt::Display) {
        self.note(Cause::Refused, name, message);
    }

    fn note(&self, cause: Cause, name: &str, message: impl std::fmt::Display) {
        let fault = Fault { cause, message: format!("{}: {message}", self.path(name)) };
        self.faults.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// The names that are given with a value.
    pub(super) fn names(&self) -> impl Iterator<Item = &'b str> {
        self.map.iter().filter(|(_, v)| !v.is_null()).map(|(name, _)| name.as_str())
    }

    /// A member of any type.
    pub(super) fn value(&self, name: &str) -> Option<&'b Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    /// A member of a type; another one is a fault.
    fn typed<T>(&self, name: &str, what: &str, read: impl FnOnce(&'b Value) -> Option<T>) -> Option<T> {
        let value = self.value(name)?;
        let read = read(value);
        if read.is_none() {
            self.fault(name, format!("{} is no {what}", shortened(&value.to_string())));
        }
        read
    }

    /// Optional text; "" is none.
    pub(super) fn text(&self, name: &str) -> Option<&'b str> {
        self.typed(name, "text", Value::as_str).filter(|t| !t.is_empty())
    }

    /// Optional text where "" says something.
    pub(super) fn text_or_empty(&self, name: &str) -> Option<&'b str> {
        self.typed(name, "text", Value::as_str)
    }

    /// Text that must be there.
    pub(super) fn required_text(&self, name: &str) -> &'b str {
        if matches!(self.value(name), None | Some(Value::String(_)))
            && self.text_or_empty(name).is_none_or(str::is_empty)
        {
            self.fault(name, "it is missing");
            return "";
        }
        self.text(name).unwrap_or_default()
    }

    /// A word out of these.
    pub(super) fn one_of(&self, name: &str, known: &[&str]) -> Option<&'b str> {
        let text = self.text(name)?;
        if known.contains(&text) {
            return Some(text);
        }
        self.fault(name, format!("'{}' is none of: {}", shortened(text), known.join(", ")));
        None
    }

    /// Yes or no.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.typed(name, "true or false", Value::as_bool)
    }

    /// A whole number.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.typed(name, "whole number", Value::as_i64)
    }

    /// An id.
    pub(super) fn uuid(&self, name: &str) -> Option<Uuid> {
        let text = self.text(name)?;
        let id = Uuid::parse_str(text).ok();
        if id.is_none() {
            self.fault(name, format!("'{}' is no uuid", shortened(text)));
        }
        id
    }

    /// An id that must be there; nil stands in for a missing one.
    pub(super) fn required_uuid(&self, name: &str) -> Uuid {
        if self.required_text(name).is_empty() {
            return Uuid::nil();
        }
        self.uuid(name).unwrap_or_default()
    }

    /// An object.
    pub(super) fn object(&self, name: &str) -> Option<Members<'b>> {
        let map = self.typed(name, "object", Value::as_object)?;
        Some(Members { map, path: self.path(name), faults: self.faults })
    }

    /// An object that must be there.
    pub(super) fn required_object(&self, name: &str) -> Option<Members<'b>> {
        if self.value(name).is_none() {
            self.fault(name, "it is missing");
        }
        self.object(name)
    }

    /// A list.
    pub(super) fn list(&self, name: &str) -> Option<&'b [Value]> {
        self.typed(name, "list", Value::as_array).map(Vec::as_slice)
    }

    /// A list of objects; none and an empty one are told apart.
    pub(super) fn objects(&self, name: &str) -> Option<Vec<Members<'b>>> {
        let list = self.list(name)?;
        let mut objects = Vec::new();
        for (place, value) in list.iter().enumerate() {
            let path = format!("{name}[{place}]");
            match value {
                Value::Object(map) => objects.push(Members { map, path: self.path(&path), faults: self.faults }),
                other => self.fault(&path, format!("{} is no object", shortened(&other.to_string()))),
            }
        }
        Some(objects)
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let endless = axum::body::Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let refused = read_within(Duration::ZERO, Request::new(endless)).await.expect_err("too slow");
        assert_eq!(refused.cause(), Cause::SlowBody);
        assert_eq!(refused.into_response().status(), StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn nulls_and_empty_texts_are_not_given() {
        let body = Body::parse(b"\xef\xbb\xbf{\"a\": null, \"b\": \"\", \"c\": {\"d\": 1}}").expect("a body");
        let members = body.members();
        assert_eq!((members.text("a"), members.text("b"), members.text("z")), (None, None, None));
        assert_eq!(members.text_or_empty("b"), Some(""));
        assert_eq!(members.object("c").and_then(|c| c.integer("d")), Some(1));
        assert!(body.checked().is_ok());
    }

    #[test]
    fn each_fault_is_told() {
        let body = Body::parse(br#"{"id": "x", "list": [{"n": "1"}, 2], "kind": "b"}"#).expect("a body");
        let members = body.members();
        members.required_uuid("id");
        members.required_text("name");
        members.one_of("kind", &["a", "c"]);
        let objects = members.objects("list").expect("a list");
        objects[0].integer("n");
        let failure = body.checked().expect_err("faults").finish("r");
        assert_eq!(failure.status(), 400);
        assert!(body.checked().is_ok(), "they are told once");
        let told = Body::parse(br#"{"list": [{"n": "1"}]}"#).expect("a body");
        told.members().objects("list").expect("a list")[0].integer("n");
        let faults = format!("{:?}", told.checked().expect_err("a fault"));
        assert!(faults.contains("list[0].n: \\\"1\\\" is no whole number"), "{faults}");
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["", "  ", "[]", "1", "{", "{\"a\": 1} x"] {
            assert_eq!(Body::parse(body.as_bytes()).map(|_| ()).map_err(|f| f.cause()), Err(Cause::Body), "{body}");
        }
    }
}
