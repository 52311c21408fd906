//! Requests whose answer matters in three ways: it was done, it was refused, or nobody answered.

use std::time::Duration;

use api::client::Client;
use domain::{Timestamp, Uuid};
use reqwest::Method;
use serde_json::{Value, json};

use super::Act;
use crate::LIMIT;

/// What came of a request that writes.
#[derive(Debug, Clone)]
pub enum Answer {
    /// It was done: the body.
    Done(Value),
    /// It was refused and therefore not done: the status and the body.
    Refused(u16, Value),
    /// There was no answer, so it may have been done or not.
    Silence,
}

/// Calls one server as one caller.
#[derive(Debug, Clone)]
pub struct Calls {
    /// The native API.
    pub native: Client,
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Calls {
    /// Calls the server at this address with this token.
    ///
    /// # Panics
    /// When that is no address.
    #[must_use]
    pub fn new(base: &str, token: &str) -> Calls {
        let http = reqwest::Client::builder()
            .timeout(LIMIT)
            // The server may be gone for good: to connect is quick or in vain.
            .connect_timeout(Duration::from_secs(30))
            .build();
        Calls {
            native: Client::new(base, token, None).expect("a client"),
            http: http.expect("an HTTP client"),
            base: base.to_owned(),
            token: token.to_owned(),
        }
    }

    /// Writes through the task queue of the Acronis dialect; reports carry a lease.
    pub async fn queue(&self, method: Method, path: &str, lease: Option<&str>, body: &Value) -> Answer {
        self.call(method, &format!("/api/task_manager/v2{path}"), lease, body).await
    }

    /// Writes through the native API.
    pub async fn write(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.call(method, &format!("/api/v1{path}"), None, body).await
    }

    /// Enqueues a task.
    pub async fn enqueue(&self, body: &Value) -> Answer {
        self.queue(Method::POST, "/tasks", None, body).await
    }

    /// Does this to a task as its executor, or as whoever wants it cancelled.
    ///
    /// # Panics
    /// For acts that are no single request about one task.
    pub async fn act(&self, id: i64, lease: &str, act: &Act, step: Uuid) -> Answer {
        let (word, body) = match act {
            Act::Start => ("started", Value::Null),
            Act::Progress(n) => ("progress", json!({ "current": n, "total": 1_000_000_000 })),
            Act::Pause => ("paused", Value::Null),
            Act::Resume => ("resumed", Value::Null),
            Act::Complete(code) => ("completed", json!({ "result": { "code": code.name() } })),
            Act::Abandon => ("abandoned", json!({ "reason": "given back" })),
            Act::Step => {
                let body = json!({ "taskId": id, "type": "copy", "uuid": step, "state": "started" });
                return self.queue(Method::POST, "/activities", Some(lease), &body).await;
            }
            Act::Cancel => return self.write(Method::POST, &format!("/tasks/{id}/cancel"), &json!({})).await,
            Act::Claim(_) | Act::Delete => panic!("{act:?} is no request about one task"),
        };
        self.queue(Method::PUT, &format!("/tasks/{id}/{word}"), Some(lease), &body).await
    }

    async fn call(&self, method: Method, path: &str, lease: Option<&str>, body: &Value) -> Answer {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if let Some(lease) = lease {
            request = request.header("Task-Lease", lease);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let Ok(answer) = request.send().await else { return Answer::Silence };
        let status = answer.status();
        // An answer of which only the beginning came: the status is not worth anything without its body.
        let Ok(bytes) = answer.bytes().await else { return Answer::Silence };
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() { Answer::Done(body) } else { Answer::Refused(status.as_u16(), body) }
    }
}

/// The stamp of a task in an answer of either dialect.
///
/// # Panics
/// When there is none.
pub(super) fn stamp(body: &Value) -> Timestamp {
    let text = body["updatedAt"].as_str().or(body["updated_at"].as_str());
    text.and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("an answer without a stamp: {body}"))
}
