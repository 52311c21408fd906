//! What a server could answer at most: the same bytes, held in memory and given out by the same libraries, without a
//! question asked of anybody. Answers are measured as shares of this.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Result;
use axum::extract::{OriginalUri, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

type Answers = Arc<RwLock<HashMap<String, Bytes>>>;

/// A server on this machine that gives out what it was given.
pub(crate) struct Ready {
    answers: Answers,
    base: String,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Ready {
    pub(crate) async fn start() -> Result<Ready> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let base = format!("http://{}", listener.local_addr()?);
        let answers = Answers::default();
        let router = axum::Router::new().fallback(answer).with_state(answers.clone());
        let serving = tokio::spawn(axum::serve(listener, router).into_future());
        Ok(Ready { answers, base, serving })
    }

    /// Where it is.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What to answer at a path with its query from now on.
    pub(crate) fn put(&self, path: String, body: Bytes) {
        self.answers.write().unwrap_or_else(PoisonError::into_inner).insert(path, body);
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(answers): State<Answers>, OriginalUri(uri): OriginalUri) -> Response {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let body = answers.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
    match body {
        Some(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
