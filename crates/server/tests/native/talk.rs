//! A conversation with the API, written down as it goes: what changes from run to run is replaced, each thing always by
//! the same word, so that the text shows what belongs together.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use domain::{Timestamp, Uuid};
use serde_json::Value;
use tower::ServiceExt;

/// The headers of an answer that are part of the contract.
const HEADERS: [&str; 4] = ["allow", "location", "retry-after", "www-authenticate"];

/// Fields whose values differ from run to run and are no ids.
const RANDOM: [&str; 7] = ["next", "request_id", "secret", "password", "snapshot", "x", "y"];

pub(crate) struct Talk {
    router: Router,
    token: String,
    text: String,
    ids: Vec<String>,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    /// The code of an error.
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("(no error)")
    }
}

impl Talk {
    /// A conversation with this token; an empty one is none.
    pub(crate) fn new(router: Router, token: &str) -> Talk {
        Talk { router, token: token.to_owned(), text: String::new(), ids: Vec::new() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: Value) -> Reply {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn patch(&mut self, path: &str, body: Value) -> Reply {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn put(&mut self, path: &str) -> Reply {
        self.ask(Method::PUT, path, None).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Reply {
        self.ask(Method::DELETE, path, None).await
    }

    /// The public keys, which do not stand below the API.
    pub(crate) async fn keys(&mut self) -> Reply {
        let request = Request::get(api::KEYS_PATH).body(Body::empty()).expect("a request");
        self.send(&format!("GET {}", api::KEYS_PATH), request).await
    }

    /// A request with a JSON body or none.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, body: Option<Value>) -> Reply {
        let mut request = Request::builder().method(&method).uri(format!("/api/v1{path}"));
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let asked = body.as_ref().map(|b| format!(" {b}")).unwrap_or_default();
        let body = body.map_or_else(Body::empty, |b| Body::from(b.to_string()));
        self.send(&format!("{method} {path}{asked}"), request.body(body).expect("a request")).await
    }

    /// Any request; `asked` is how the conversation puts it.
    pub(crate) async fn send(&mut self, asked: &str, mut request: Request<Body>) -> Reply {
        if !self.token.is_empty() && !request.headers().contains_key("authorization") {
            let bearer = format!("Bearer {}", self.token).parse().expect("a header");
            request.headers_mut().insert("authorization", bearer);
        }
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        let body: Value = match bytes.is_empty() {
            true => Value::Null,
            false => {
                serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e} in {}", String::from_utf8_lossy(&bytes)))
            }
        };
        self.note(asked, parts.status, &parts.headers, &body);
        Reply { status: parts.status, headers: parts.headers, body }
    }

    fn note(&mut self, asked: &str, status: StatusCode, headers: &HeaderMap, body: &Value) {
        let asked = self.text_without_ids(asked);
        let _ = writeln!(self.text, "> {asked}\n{}", status.as_u16());
        for name in HEADERS {
            for value in headers.get_all(name) {
                let value = self.text_without_ids(value.to_str().expect("text"));
                let _ = writeln!(self.text, "{name}: {value}");
            }
        }
        if !body.is_null() {
            let body = self.steady(body.clone(), "");
            let _ = writeln!(self.text, "{}", serde_json::to_string_pretty(&body).expect("prints"));
        }
        self.text.push('\n');
    }

    /// The conversation so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn steady(&mut self, value: Value, key: &str) -> Value {
        match value {
            Value::String(_) if RANDOM.contains(&key) => format!("<{key}>").into(),
            // One that the server issued.
            Value::String(s) if key == "instance_id" && s.len() == 20 && s.starts_with("bst") => "<instance>".into(),
            Value::String(s) if s.parse::<Timestamp>().is_ok() => "<time>".into(),
            Value::String(s) => self.text_without_ids(&s).into(),
            Value::Array(items) => items.into_iter().map(|v| self.steady(v, key)).collect(),
            // Sorted, whichever map the build of serde_json has.
            Value::Object(map) => {
                let map: BTreeMap<_, _> = map.into_iter().collect();
                map.into_iter().map(|(k, v)| (k.clone(), self.steady(v, &k))).collect()
            }
            other => other,
        }
    }

    /// Replaces uuids, with and without hyphens, by numbers in the order in which they came up.
    fn text_without_ids(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        'text: while let Some(c) = rest.chars().next() {
            for length in [36, 32] {
                let Some(uuid) = rest.get(..length).and_then(|s| Uuid::parse_str(s).ok()) else { continue };
                if !uuid.is_nil() {
                    let uuid = uuid.to_string();
                    let place = self.ids.iter().position(|id| *id == uuid).unwrap_or_else(|| {
                        self.ids.push(uuid);
                        self.ids.len() - 1
                    });
                    let _ = write!(out, "<id {}>", place + 1);
                    rest = &rest[length..];
                    continue 'text;
                }
            }
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
        out
    }
}
