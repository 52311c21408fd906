//! Requests as they pass the listeners: how long each took and how it ended. Which dialect answered, and as which operation,
//! only that dialect knows; it says so here while it answers.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request as HttpRequest, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::{Request, Telemetry};

/// The route of what is at no route.
const NOWHERE: &str = "(none)";

#[derive(Clone, Copy, Default)]
struct Call {
    dialect: Option<&'static str>,
    operation: Option<&'static str>,
}

tokio::task_local! {
    static CALL: Cell<Call>;
}

/// The request at hand is answered by this dialect.
pub(crate) fn answered_by(dialect: &'static str) {
    change(|call| call.dialect = Some(dialect));
}

/// The request at hand calls this operation, where its path does not tell.
pub(crate) fn this_is(operation: &'static str) {
    change(|call| call.operation = Some(operation));
}

fn change(change: impl FnOnce(&mut Call)) {
    // Outside of a listener, as in tests of one dialect, nobody counts.
    let _ = CALL.try_with(|cell| {
        let mut call = cell.get();
        change(&mut call);
        cell.set(call);
    });
}

/// The layer around everything that the listeners answer.
pub(crate) async fn count_calls(State(telemetry): State<Arc<Telemetry>>, request: HttpRequest, next: Next) -> Response {
    let began = Instant::now();
    let method = method(request.method());
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let answer = async {
        let response = next.run(request).await;
        (response, CALL.with(Cell::get))
    };
    let (response, call) = CALL.scope(Cell::default(), answer).await;
    let route = call.operation.map(str::to_owned).or(path).unwrap_or_else(|| NOWHERE.to_owned());
    let status = status(response.status(), response.headers());
    telemetry.answered(Request { dialect: call.dialect.unwrap_or("other"), method, route, status }, began.elapsed());
    response
}

/// Anybody may invent methods.
fn method(method: &Method) -> &'static str {
    let usual = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    usual.into_iter().find(|name| *name == method.as_str()).unwrap_or("other")
}

/// What an answer was, in a word. gRPC answers 200 whatever happened; what it means stands in a header, unless a stream
/// has begun.
fn status(status: StatusCode, headers: &HeaderMap) -> &'static str {
    let grpc = headers.get("grpc-status").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u8>().ok());
    match (status.as_u16() / 100, grpc) {
        (2, None | Some(0)) => "2xx",
        // Unknown, unimplemented by mistake, internal, unavailable, data loss: the server's own.
        (2, Some(2 | 13 | 14 | 15)) | (5, _) => "5xx",
        (2, Some(_)) | (4, _) => "4xx",
        (3, _) => "3xx",
        _ => "1xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_call_is_judged_by_its_own_status() {
        let of = |code: u16, grpc: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(grpc) = grpc {
                headers.insert("grpc-status", grpc.parse().expect("a header"));
            }
            status(StatusCode::from_u16(code).expect("a status"), &headers)
        };
        assert_eq!([of(200, None), of(204, None), of(200, Some("0"))], ["2xx"; 3]);
        assert_eq!([of(200, Some("5")), of(200, Some("16")), of(404, None)], ["4xx"; 3]);
        assert_eq!([of(200, Some("13")), of(500, None), of(503, Some("0"))], ["5xx"; 3]);
        assert_eq!((of(304, None), of(101, None)), ("3xx", "1xx"));
    }

    #[test]
    fn methods_are_few() {
        assert_eq!(method(&Method::PATCH), "PATCH");
        assert_eq!(method(&Method::from_bytes(b"BREW").expect("a method")), "other");
    }
}
