//! What happens to every request of every dialect before and after its handler: its id, its line in the log, and an
//! answer even after a panic. How an error looks is the dialect's own.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use domain::error::Kind;
use domain::{Code, Uuid};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::{Level, Span};

use crate::telemetry;

/// How a dialect ends its answers.
pub(super) trait Shape: 'static {
    /// Its name in metrics.
    const DIALECT: &str;
    /// The answer as it leaves; a failure that needs the request id in its body gets it here.
    fn finish(response: Response, request_id: &str) -> Response;
    /// The answer after a panic.
    fn defect() -> Response;
    /// Whether an id that a caller gives to its request is taken over; it stands in our log.
    fn takes_id(id: &str) -> bool {
        sane(id)
    }
}

/// The HTTP status of a code, where a dialect has no other word for it.
pub(super) fn status(code: Code) -> StatusCode {
    match code.kind() {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_ID: usize = 64;

/// Wraps the routes; the last one added sees the request first.
pub(super) fn layers<D: Shape, S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .layer(CatchPanicLayer::custom(after_panic::<D>))
        // Within the span, so that what is logged of a failure has the request's id.
        .layer(middleware::from_fn(finished::<D>))
        .layer(TraceLayer::new_for_http().make_span_with(span).on_response(DefaultOnResponse::new().level(Level::INFO)))
        .layer(middleware::from_fn(request_id::<D>))
}

/// The id of a request on its way in, behind [`layers`].
pub(super) fn request_id_of(headers: &HeaderMap) -> &str {
    headers.get(REQUEST_ID).and_then(|v| v.to_str().ok()).unwrap_or_default()
}

/// Neither query nor headers: names of things may be private, and the token is.
fn span<B>(request: &axum::http::Request<B>) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("(no route)", MatchedPath::as_str);
    let id = request_id_of(request.headers());
    // Of the highest level, so that lines have it whatever is logged.
    tracing::error_span!("request", method = %request.method(), route, request_id = id)
}

async fn request_id<D: Shape>(mut request: Request, next: Next) -> Response {
    telemetry::answered_by(D::DIALECT);
    let id = match request.headers().get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(|id| D::takes_id(id)) {
        Some(id) => id.to_owned(),
        None => Uuid::now_v7().to_string(),
    };
    let header = HeaderValue::from_str(&id).ok();
    if let Some(header) = &header {
        request.headers_mut().insert(REQUEST_ID, header.clone());
    }
    let mut response = next.run(request).await;
    if let Some(header) = header {
        response.headers_mut().insert(REQUEST_ID, header);
    }
    response
}

async fn finished<D: Shape>(request: Request, next: Next) -> Response {
    let id = request_id_of(request.headers()).to_owned();
    D::finish(next.run(request).await, &id)
}

/// The text of a panic may hold anything, so it goes to the log only.
fn after_panic<D: Shape>(payload: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    tracing::error!("a handler panicked: {text}");
    D::defect()
}

/// Whether a stranger's id may stand in our log.
fn sane(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use tower::ServiceExt;

    use super::super::native::error::Native;
    use super::*;

    /// Held by whoever sends a request: the first one ever to come to the span decides for all threads whether anybody listens,
    /// and if it does so while another test begins to listen, that one hears nothing.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    async fn panics() -> &'static str {
        panic!("the secret is swordfish")
    }

    /// Answers as somebody who logs what went wrong.
    struct Logs;

    impl Shape for Logs {
        const DIALECT: &str = "logs";

        fn finish(mut response: Response, _: &str) -> Response {
            let span = Span::current().metadata().map_or("none", |span| span.name());
            response.headers_mut().insert("span", HeaderValue::from_static(span));
            response
        }

        fn defect() -> Response {
            Response::default()
        }
    }

    #[tokio::test]
    async fn what_is_logged_of_a_failure_is_within_the_requests_span() {
        let _turn = ONE_AT_A_TIME.lock().await;
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry());
        let router = layers::<Logs, _>(Router::new().route("/", get(async || StatusCode::INTERNAL_SERVER_ERROR)));
        let request = axum::http::Request::get("/").body(Body::empty());
        let response = router.oneshot(request.expect("a request")).await.expect("the router always answers");
        assert_eq!(response.headers()["span"], "request");
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_that_tells_nothing() {
        let _turn = ONE_AT_A_TIME.lock().await;
        let router = layers::<Native, _>(Router::new().route("/", get(panics)));
        let request = axum::http::Request::get("/").header("x-request-id", "r-1").body(Body::empty());
        let response = router.oneshot(request.expect("a request")).await.expect("the router always answers");
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/json");
        let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let body: api::ErrorBody = serde_json::from_slice(&body).expect("an error");
        assert_eq!((body.error.code.as_str(), body.error.request_id.as_str()), ("internal", "r-1"));
        assert_eq!(body.error.message, "the server has a defect and could not answer");
    }
}
