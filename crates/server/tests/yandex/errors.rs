//! Errors: one shape for whatever went wrong, over gRPC and over REST (section 6, Y12, Y15, Y16, Y28).

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use domain::Role;
use prost::Message;
use proto::google::rpc;
use serde_json::{Value, json};

use super::world::World;

const LIST: &str = "/yandex.cloud.endpoint.ApiEndpointService/List";

#[tokio::test]
async fn what_is_not_there_has_the_shape_of_an_error() {
    let world = World::new().await;
    for (method, path) in [
        (Method::GET, "/backup/v1"),
        (Method::GET, "/backup/v1/nothing"),
        (Method::PUT, "/endpoints"),
        (Method::POST, "/endpoints/iam:unknown"),
        (Method::GET, "/operations"),
        (Method::GET, "/yandex.cloud.endpoint.ApiEndpointService/List"),
    ] {
        let (status, headers, body) = world.rest(method.clone(), path, "", Value::Null).await;
        assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!(5)), "{method} {path}");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(body["details"][0]["@type"], "type.googleapis.com/google.rpc.RequestInfo");
        assert_eq!(body["details"][0]["requestId"], headers["x-request-id"].to_str().expect("text"));
        assert!(headers.contains_key("x-server-trace-id"));
    }
    for path in
        ["/yandex.cloud.backup.v1.PolicyService/Rename", "/yandex.cloud.compute.v1.DiskService/List", "/grpc.x/Y"]
    {
        let (status, headers) = world.grpc(path, "", &[]).await.expect_err("not there");
        assert_eq!(status.code, 12, "{path}");
        assert!(headers.contains_key("x-request-id") && headers.contains_key("x-server-trace-id"));
    }
    let (status, _, body) = world.rest(Method::GET, "/backup/v10", "", Value::Null).await;
    assert_eq!((status, body.get("code")), (StatusCode::NOT_FOUND, None), "not a path of this dialect");
}

#[tokio::test]
async fn the_callers_request_id_comes_back() {
    let world = World::new().await;
    let with =
        |id: &str| Request::get("/endpoints/none").header("x-request-id", id).body(Body::empty()).expect("a request");
    for id in ["0f9f3a4e-1d0c-4a52-8c7c-3b8c5a1e2d11", "a/b:c{}\"x", &"x".repeat(128)] {
        let (_, headers, body) = world.send(with(id)).await;
        assert_eq!(
            (headers["x-request-id"].to_str().expect("text"), &body["details"][0]["requestId"]),
            (id, &json!(id))
        );
    }
    for id in ["", "a b", &"x".repeat(129)] {
        let (_, headers, _) = world.send(with(id)).await;
        let made = headers["x-request-id"].to_str().expect("text");
        assert!(domain::Uuid::parse_str(made).is_ok(), "{made}");
    }
    let request = Request::post(LIST).header("content-type", "application/grpc").header("x-request-id", "mine");
    let (headers, _) = world.grpc_raw(request.body(Body::from(vec![0; 5])).expect("a request")).await.expect("a list");
    assert_eq!(headers["x-request-id"], "mine");
}

#[tokio::test]
async fn details_of_grpc_name_the_request() {
    let world = World::new().await;
    let request = proto::yandex::cloud::endpoint::GetApiEndpointRequest { api_endpoint_id: "none".into() };
    let path = "/yandex.cloud.endpoint.ApiEndpointService/Get";
    let (status, headers) = world.grpc(path, "", &request.encode_to_vec()).await.expect_err("no such endpoint");
    assert_eq!((status.code, status.message.as_str()), (5, "there is no endpoint 'none'"));
    let info = rpc::RequestInfo::decode(&*status.details[0].value).expect("a RequestInfo");
    assert_eq!(info.request_id, headers["x-request-id"].to_str().expect("text"));
}

#[tokio::test]
async fn broken_requests_are_refused() {
    let world = World::new().await;
    let path = "/yandex.cloud.endpoint.ApiEndpointService/Get";
    let (status, _) = world.grpc(path, "", &[0x0a, 0x05, b'x']).await.expect_err("cut off");
    assert_eq!(status.code, 3);
    let (status, _) = world.grpc(path, "", &[0x0a, 0x01, 0xff]).await.expect_err("no UTF-8");
    assert_eq!(status.code, 3);
    let (status, _) = world.grpc(path, "", &vec![0; 4 * 1024 * 1024 + 1]).await.expect_err("too large");
    assert_eq!(status.code, 3);
    assert!(status.message.contains("larger than 4194304 bytes"), "{}", status.message);
    let request = Request::post(LIST).header("content-type", "application/grpc").header("grpc-timeout", "soon");
    let (status, _) = world.grpc_raw(request.body(Body::empty()).expect("a request")).await.expect_err("no timeout");
    assert_eq!(status.code, 3);
    let request = Request::post(LIST).header("content-type", "application/grpc").header("grpc-timeout", "1n");
    let never = Body::from_stream(tokio_stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let (status, _) = world.grpc_raw(request.body(never).expect("a request")).await.expect_err("too late");
    assert_eq!(status.code, 4);
}

#[tokio::test]
async fn compressed_requests_are_read() {
    use std::io::Write;
    let world = World::new().await;
    let request = proto::yandex::cloud::endpoint::GetApiEndpointRequest { api_endpoint_id: "iam".into() };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&request.encode_to_vec()).expect("in memory");
    let packed = gzip.finish().expect("in memory");
    let mut frame = vec![1];
    frame.extend(u32::try_from(packed.len()).expect("small").to_be_bytes());
    frame.extend(packed);
    let request = Request::post("/yandex.cloud.endpoint.ApiEndpointService/Get")
        .header("content-type", "application/grpc+proto")
        .header("grpc-encoding", "gzip");
    assert!(world.grpc_raw(request.body(Body::from(frame)).expect("a request")).await.is_ok());
}

#[tokio::test]
async fn a_token_that_is_none_changes_nothing_on_open_calls() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    for token in ["", "nonsense", &token] {
        assert!(world.grpc(LIST, token, &[]).await.is_ok());
    }
}
