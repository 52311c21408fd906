//! Calls over gRPC: framing by tonic, messages as bytes, everything else as in REST. The streams of reflection and health
//! stand beside it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, FutureExt};
use prost::Message;
use prost_reflect::DynamicMessage;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Bytes;
use tonic::codegen::http;
use tonic::metadata::MetadataMap;
use tonic::server::UnaryService;
use tonic::{Code, Status};

use super::dispatch::{self, unimplemented};
use super::failure::Failure;
use super::methods::{self, Method};
use super::{MAX_MESSAGE, Yandex, health, reflection};
use crate::dialects::edge::{self, Shape};

/// The routes of gRPC.
pub(super) fn router(yandex: Arc<Yandex>) -> Router {
    let calls = Router::new()
        .merge(reflection::routes(&yandex))
        .merge(health::routes(&yandex))
        .fallback(call)
        .with_state(yandex);
    edge::layers::<Shaped, _>(calls)
}

async fn call(State(yandex): State<Arc<Yandex>>, request: Request) -> Response {
    let path = request.uri().path();
    let Some(method) = methods::at(path) else {
        return unimplemented(path).into_response();
    };
    let headers = request.headers().clone();
    let limit = match headers.get("grpc-timeout").map(timeout) {
        None => Duration::MAX,
        Some(Some(limit)) => limit,
        Some(None) => {
            return Failure::new(Code::InvalidArgument, "the header 'grpc-timeout' is not readable").into_response();
        }
    };
    let unary = Unary { yandex, method, headers };
    let mut grpc = tonic::server::Grpc::new(RawCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(usize::MAX);
    match tokio::time::timeout(limit, grpc.unary(unary, request)).await {
        Ok(response) => response.map(Body::new),
        Err(_) => Failure::new(Code::DeadlineExceeded, "the time that the caller gave is over").into_response(),
    }
}

/// The time that a caller gives: digits and a unit.
fn timeout(header: &HeaderValue) -> Option<Duration> {
    let (digits, unit) = header.to_str().ok()?.split_at_checked(header.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// One call of a method with one request and one answer.
struct Unary {
    yandex: Arc<Yandex>,
    method: &'static Method,
    headers: HeaderMap,
}

impl UnaryService<Bytes> for Unary {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<tonic::Response<Bytes>, Status>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (yandex, method, headers) = (self.yandex.clone(), self.method, std::mem::take(&mut self.headers));
        async move {
            let id = edge::request_id_of(&headers);
            let bytes = request.into_inner();
            let read = || {
                DynamicMessage::decode(method.input.clone(), bytes).map_err(|e| {
                    Failure::new(Code::InvalidArgument, format!("the request is not a {}: {e}", method.input.name()))
                })
            };
            let reply = dispatch::answer(&yandex, method, &headers, id, read).await;
            let reply = reply.map_err(|failure| {
                failure.log(id);
                status(&failure, id, MetadataMap::new())
            })?;
            let mut response = tonic::Response::new(reply.message);
            if let Some(seconds) = reply.poll_interval {
                response.metadata_mut().insert("x-operation-poll-interval", u32::from(seconds).into());
            }
            Ok(response)
        }
        .boxed()
    }
}

fn status(failure: &Failure, request_id: &str, metadata: MetadataMap) -> Status {
    let details = failure.status(request_id).encode_to_vec();
    Status::with_details_and_metadata(failure.code(), failure.message(), details.into(), metadata)
}

/// How answers of gRPC end: whatever went wrong, the details name the request (Y16).
enum Shaped {}

impl Shape for Shaped {
    const DIALECT: &str = "yandex";

    fn finish(mut response: Response, request_id: &str) -> Response {
        let failure = match response.extensions_mut().remove::<Failure>() {
            Some(failure) => {
                failure.log(request_id);
                failure
            }
            // What tonic refused by itself.
            None => match Status::from_header_map(response.headers()) {
                Some(status) if status.code() != Code::Ok && status.details().is_empty() => refused(&status),
                _ => return response,
            },
        };
        let mut shaped: http::Response<Body> = status(&failure, request_id, MetadataMap::new()).into_http();
        *shaped.status_mut() = StatusCode::OK;
        shaped
    }

    fn defect() -> Response {
        super::defect().into_response()
    }

    fn takes_id(id: &str) -> bool {
        super::takes_id(id)
    }
}

fn refused(status: &Status) -> Failure {
    match status.code() {
        // tonic's words for a message that is too large; trying again would not help.
        Code::OutOfRange => super::too_large(),
        code => Failure::new(code, status.message()),
    }
}

/// Messages as they are: they are read and written by their descriptors elsewhere.
#[derive(Debug, Clone, Copy)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = RawCodec;
    type Decoder = RawCodec;

    fn encoder(&mut self) -> RawCodec {
        RawCodec
    }

    fn decoder(&mut self) -> RawCodec {
        RawCodec
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        use prost::bytes::BufMut;
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        use prost::bytes::Buf;
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let read = |text: &'static str| timeout(&HeaderValue::from_static(text));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("99999999M"), Some(Duration::from_secs(5_999_999_940)));
        assert_eq!(read("15S"), Some(Duration::from_secs(15)));
        assert_eq!(read("100m"), Some(Duration::from_millis(100)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        assert_eq!(read("0n"), Some(Duration::ZERO));
        for text in ["", "S", "15", "15s", "123456789S", "-1S", "1.5S", "1 S"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
