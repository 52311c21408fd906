//! Calls over REST: the route is found, the request put together, the answer printed as JSON (section 5).

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::Code;

use super::failure::{Failure, http_status};
use super::{MAX_MESSAGE, Yandex, dispatch, methods, routes, transcode};
use crate::dialects::edge::{self, Shape};

/// The routes of REST.
pub(super) fn router(yandex: Arc<Yandex>) -> Router {
    edge::layers::<Shaped, _>(Router::new().fallback(call).layer(DefaultBodyLimit::max(MAX_MESSAGE)).with_state(yandex))
}

async fn call(State(yandex): State<Arc<Yandex>>, request: Request) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    let nothing = || Failure::new(Code::NotFound, format!("there is nothing at '{} {}'", head.method, head.uri.path()));
    let found = routes::find(&head.method, head.uri.path()).ok_or_else(nothing)?;
    if !yandex.handlers.has_service(&found.method.service) {
        return Err(nothing());
    }
    let request = Request::from_parts(head.clone(), body);
    let body = if found.route.has_body() { read(request).await? } else { Bytes::new() };
    let id = edge::request_id_of(&head.headers);
    let request = || transcode::request(&found, &head.uri, &body);
    let reply = dispatch::answer(&yandex, found.method, &head.headers, id, request).await?;
    let message = DynamicMessage::decode(found.method.output.clone(), reply.message).map_err(Failure::defect)?;
    let mut response = json(StatusCode::OK, transcode::print(&message)?);
    if let Some(seconds) = reply.poll_interval {
        response.headers_mut().insert("x-operation-poll-interval", u32::from(seconds).into());
    }
    Ok(response)
}

async fn read(request: Request) -> Result<Bytes, Failure> {
    Bytes::from_request(request, &()).await.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => super::too_large(),
        _ => Failure::new(Code::InvalidArgument, "the body broke off"),
    })
}

fn json(status: StatusCode, text: String) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}

/// How answers of REST end.
enum Shaped {}

impl Shape for Shaped {
    const DIALECT: &str = "yandex";

    fn finish(mut response: Response, request_id: &str) -> Response {
        let Some(failure) = response.extensions_mut().remove::<Failure>() else { return response };
        failure.log(request_id);
        let status = failure.status(request_id);
        // The descriptors hold everything that a failure does; a test prints each.
        let text = methods::message("google.rpc.Status")
            .and_then(|m| DynamicMessage::decode(m, &*status.encode_to_vec()).ok())
            .and_then(|m| transcode::print(&m).ok())
            .unwrap_or_else(|| r#"{"code":13}"#.to_owned());
        let mut response = json(http_status(failure.code()), text);
        if failure.code() == Code::Unauthenticated {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }

    fn defect() -> Response {
        super::defect().into_response()
    }

    fn takes_id(id: &str) -> bool {
        super::takes_id(id)
    }
}
