//! One call on its way to a handler: who asks, where, for what; and the answers that handlers give.

use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::{Caller, Timestamp, Uuid};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Clumio;
use super::body::Body;
use super::failure::{Cause, Failure};
use super::operations::Operation;
use super::query::{Params, encoded};
use crate::Service;

/// The longest that is kept of what a client says of itself, in characters.
const CLIENT: usize = 64;

/// One call.
pub(super) struct Call {
    pub(super) clumio: Arc<Clumio>,
    /// Who asks, looking at the effective organizational unit and what is below it (D16). The server's own with no right at
    /// all where nobody needs a token.
    pub(super) caller: Caller,
    pub(super) operation: &'static Operation,
    /// The version of the resource that answers (D17).
    pub(super) version: u32,
    pub(super) params: Params,
    pub(super) headers: HeaderMap,
    /// The values of the path's variables.
    pub(super) variables: Vec<(&'static str, String)>,
    /// Empty where the operation has none.
    pub(super) body: Bytes,
}

impl Call {
    /// The services.
    pub(super) fn service(&self) -> &Service {
        &self.clumio.service
    }

    /// Cancelled when the server stops.
    pub(super) fn shutdown(&self) -> &CancellationToken {
        &self.clumio.shutdown
    }

    /// What stands in a variable of the path.
    pub(super) fn variable(&self, name: &str) -> &str {
        self.variables.iter().find(|(n, _)| *n == name).map_or("", |(_, value)| value)
    }

    /// The uuid in a variable of the path; `what` says what has such ids.
    ///
    /// # Errors
    /// What is no uuid does not exist.
    pub(super) fn uuid(&self, name: &str, what: &str) -> Result<Uuid, Failure> {
        let text = self.variable(name);
        Uuid::parse_str(text).map_err(|_| Failure::no_such(what, text))
    }

    /// The body as an object.
    ///
    /// # Errors
    /// There is none, or something else.
    pub(super) fn body(&self) -> Result<Body, Failure> {
        Body::parse(&self.body)
    }

    /// The path that was called, as links name it.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.operation.segments() {
            let value = segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')).map(|name| self.variable(name));
            path.push('/');
            path.push_str(&value.map_or_else(|| segment.to_owned(), encoded));
        }
        if path.is_empty() { "/".to_owned() } else { path }
    }

    /// The link to what was called, with its method.
    pub(super) fn own_link(&self) -> Value {
        link(&self.path(), &self.operation.verb.as_str().to_ascii_lowercase())
    }

    /// Which client calls, as it says itself: kept with the tasks that come of it, never required.
    pub(super) fn client(&self) -> Option<String> {
        let text = |name: &str| self.headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty());
        let parts = ["x-clumio-api-client", "x-clumio-sdk-version", "clumio_terraform_provider_version"];
        let said: Vec<_> = parts.into_iter().filter_map(text).collect();
        (!said.is_empty()).then(|| said.join(" ").chars().filter(|c| !c.is_control()).take(CLIENT).collect())
    }

    /// Refuses a change when `If-Match` names another state than this one (D18).
    ///
    /// # Errors
    /// It does.
    pub(super) fn if_match(&self, etag: &str) -> Result<(), Failure> {
        let wanted: Vec<_> = self.headers.get_all(IF_MATCH).iter().filter_map(|v| v.to_str().ok()).collect();
        let fits = |one: &str| one == "*" || one.trim_start_matches("W/").trim_matches('"') == etag;
        if wanted.is_empty() || wanted.iter().flat_map(|v| v.split(',')).any(|one| fits(one.trim())) {
            return Ok(());
        }
        Err(Failure::new(Cause::IfMatch, format!("If-Match: the object was changed; its _etag is {etag}")))
    }

    /// A JSON answer with status 200.
    pub(super) fn ok(&self, body: impl Serialize) -> Reply {
        self.answer(StatusCode::OK, body)
    }

    /// The answer 202: a task does the rest.
    pub(super) fn accepted(&self, body: impl Serialize) -> Reply {
        self.answer(StatusCode::ACCEPTED, body)
    }

    pub(super) fn answer(&self, status: StatusCode, body: impl Serialize) -> Reply {
        let content = format!("application/api.clumio.{}=v{}+json", self.operation.resource.name, self.version);
        let content = HeaderValue::from_str(&content).unwrap_or_else(|_| HeaderValue::from_static("application/json"));
        Reply(match serde_json::to_vec(&body) {
            Ok(body) => (status, [(CONTENT_TYPE, content)], body).into_response(),
            Err(e) => Failure::defect(format!("an answer cannot be written: {e}")).into_response(),
        })
    }
}

/// An answer on its way out.
pub(super) struct Reply(pub(super) Response);

impl Reply {
    /// The same answer with the header `ETag`, for single objects that have an `_etag`.
    pub(super) fn etag(mut self, etag: &str) -> Reply {
        if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
            self.0.headers_mut().insert(ETAG, value);
        }
        self
    }
}

/// A link (5.2).
#[derive(Serialize)]
pub(super) struct Link {
    href: String,
    templated: bool,
    #[serde(rename = "type")]
    method: &'static str,
}

impl Link {
    /// To what lies at `href` below the API, with the method in small letters.
    pub(super) fn new(href: String, method: &'static str) -> Link {
        Link { href, templated: false, method }
    }
}

/// As [`Link`], as a value.
pub(super) fn link(href: &str, method: &str) -> Value {
    json!({ "href": href, "templated": false, "type": method })
}

/// A link that is read.
pub(super) fn get(href: &str) -> Value {
    link(href, "get")
}

/// What is written as text though it is none.
pub(super) struct Plain<T>(pub(super) T);

impl<T: fmt::Display> Serialize for Plain<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A time as this API prints it (D13): whole seconds, fractions cut off.
pub(super) struct Seconds(pub(super) Timestamp);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = self.0.as_nanosecond().div_euclid(1_000_000_000);
        let whole = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok()).unwrap_or(self.0);
        serializer.collect_str(&whole)
    }
}

/// The `_etag` of what was changed then (D18).
pub(super) fn etag(updated_at: Timestamp) -> String {
    format!("{:x}", domain::query::nanos(updated_at))
}
