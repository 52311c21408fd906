//! Discovery, reflection and health: what clients ask before anything else, without a token.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use domain::Role;
use ledger::SqliteLedger;
use prost::Message;
use prost_reflect::prost_types::FileDescriptorProto;
use proto::yandex::cloud::endpoint::{ApiEndpoint, GetApiEndpointRequest, ListApiEndpointsResponse};
use serde_json::{Value, json};
use tokio_stream::iter;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1alpha;

use super::world::{PUBLIC, World};

#[tokio::test]
async fn every_service_is_at_the_configured_address() {
    let world = World::new().await;
    let (headers, list) = world.grpc("/yandex.cloud.endpoint.ApiEndpointService/List", "", &[]).await.expect("a list");
    assert!(headers.contains_key("x-request-id") && headers.contains_key("x-server-trace-id"));
    let list = ListApiEndpointsResponse::decode(&*list).expect("a list");
    let ids: Vec<_> = list.endpoints.iter().map(|e| e.id.as_str()).collect();
    assert_eq!(ids, ["backup", "baas", "cloudbackup", "iam", "operation", "endpoint"]);
    assert!(list.endpoints.iter().all(|e| e.address == PUBLIC) && list.next_page_token.is_empty());
    let (status, headers, body) = world.rest(Method::GET, "/endpoints?pageSize=100", "", Value::Null).await;
    assert_eq!((status, body["endpoints"].as_array().map(Vec::len)), (StatusCode::OK, Some(6)));
    assert_eq!(headers["content-type"], "application/json");
    let (_, _, body) = world.rest(Method::GET, "/endpoints/iam", "", Value::Null).await;
    assert_eq!(body, json!({"id": "iam", "address": PUBLIC}));
    let (status, _, _) = world.rest(Method::GET, "/endpoints/compute", "", Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let get = GetApiEndpointRequest { api_endpoint_id: "iam".into() }.encode_to_vec();
    let (_, endpoint) = world.grpc("/yandex.cloud.endpoint.ApiEndpointService/Get", "", &get).await.expect("one");
    assert_eq!(ApiEndpoint::decode(&*endpoint).expect("one").address, PUBLIC);
}

async fn reflect(world: &World, requests: Vec<MessageRequest>) -> Vec<MessageResponse> {
    let mut client = ServerReflectionClient::new(world.router.clone());
    let request = |r| ServerReflectionRequest { host: String::new(), message_request: Some(r) };
    let requests: Vec<_> = requests.into_iter().map(request).collect();
    let mut answers = client.server_reflection_info(iter(requests)).await.expect("a stream").into_inner();
    let mut responses = Vec::new();
    while let Some(answer) = answers.message().await.expect("an answer") {
        responses.push(answer.message_response.expect("something"));
    }
    responses
}

#[tokio::test]
async fn reflection_lists_and_describes_what_is_served() {
    let world = World::new().await;
    let list = reflect(&world, vec![MessageRequest::ListServices(String::new())]).await;
    let [MessageResponse::ListServicesResponse(list)] = list.as_slice() else { panic!("{list:?}") };
    let names: Vec<_> = list.service.iter().map(|s| s.name.as_str()).collect();
    for name in [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "yandex.cloud.endpoint.ApiEndpointService",
    ] {
        assert!(names.contains(&name), "{name} is not listed");
    }
    assert!(names.iter().all(|n| n.starts_with("yandex.cloud.") || n.starts_with("grpc.")), "{names:?}");
    let asked = names.iter().map(|n| MessageRequest::FileContainingSymbol((*n).to_owned())).collect();
    for (name, answer) in names.iter().zip(reflect(&world, asked).await) {
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{name}: {answer:?}") };
        let files: Vec<_> =
            files.file_descriptor_proto.iter().map(|f| FileDescriptorProto::decode(f.as_slice())).collect();
        let files: Vec<_> = files.into_iter().map(|f| f.expect("a file")).collect();
        let known: Vec<_> = files.iter().map(|f| f.name()).collect();
        for import in files.iter().flat_map(|f| &f.dependency) {
            assert!(known.contains(&import.as_str()), "{name}: {import} is missing");
        }
    }
    let unknown = reflect(&world, vec![MessageRequest::FileByFilename("link.proto".into())]).await;
    assert!(matches!(&unknown[..], [MessageResponse::ErrorResponse(e)] if e.error_code == 5), "{unknown:?}");
}

#[tokio::test]
async fn the_older_reflection_answers_the_same() {
    use v1alpha::server_reflection_client::ServerReflectionClient as Client;
    use v1alpha::server_reflection_request::MessageRequest as Ask;
    let world = World::new().await;
    let ask = Ask::FileContainingSymbol("yandex.cloud.backup.v1.PolicyService".into());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(ask) };
    let mut client = Client::new(world.router.clone());
    let answer = client.server_reflection_info(iter([request])).await.expect("a stream").into_inner().message().await;
    let newer = MessageRequest::FileContainingSymbol("yandex.cloud.backup.v1.PolicyService".into());
    let newer = reflect(&world, vec![newer]).await;
    let Some(MessageResponse::FileDescriptorResponse(newer)) = newer.into_iter().next() else { panic!("no files") };
    let older = answer.expect("an answer").and_then(|a| a.message_response);
    let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(older)) = older else {
        panic!("no files");
    };
    assert_eq!(older.file_descriptor_proto, newer.file_descriptor_proto);
}

#[tokio::test]
async fn health_says_whether_calls_are_answered() {
    let world = World::new().await;
    let mut client = HealthClient::new(world.router.clone());
    let of = |service: &str| HealthCheckRequest { service: service.into() };
    for service in ["", "grpc.health.v1.Health", "yandex.cloud.endpoint.ApiEndpointService"] {
        let status = client.check(of(service)).await.expect("an answer").into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }
    let unknown = client.check(of("nothing.Here")).await.expect_err("unknown");
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    assert!(!unknown.details().is_empty(), "every error names its request");
    let mut unknown = client.watch(of("nothing.Here")).await.expect("a stream").into_inner();
    let told = unknown.message().await.expect("an answer").expect("a status");
    assert_eq!(told.status(), ServingStatus::ServiceUnknown);

    let mut watched = client.watch(of("")).await.expect("a stream").into_inner();
    assert_eq!(watched.message().await.expect("an answer").expect("a status").status(), ServingStatus::Serving);
    world.shutdown.cancel();
    assert_eq!(watched.message().await.expect("an answer").expect("a status").status(), ServingStatus::NotServing);
    assert!(watched.message().await.expect("an end").is_none(), "the stream ends with the server");
}

#[tokio::test]
async fn without_the_ledger_nothing_is_served_and_health_says_so() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let ledger = Arc::new(SqliteLedger::open(&folder.path().join("ledger.db")).expect("a ledger"));
    let world = World::over(ledger.clone(), |service| service).await;
    let token = world.token(world.acme, Role::Viewer).await;
    ledger.close().await.expect("it is closed");
    let mut client = HealthClient::new(world.router.clone());
    for (service, wanted) in [
        ("", ServingStatus::NotServing),
        ("yandex.cloud.backup.v1.BackupService", ServingStatus::NotServing),
        ("yandex.cloud.endpoint.ApiEndpointService", ServingStatus::Serving),
    ] {
        let asked = HealthCheckRequest { service: service.into() };
        let status = client.check(asked).await.expect("an answer").into_inner().status();
        assert_eq!(status, wanted, "{service:?}");
    }
    let path = format!("/backup/v1/resources?folderId={}", world.acme);
    let (status, _, body) = world.rest(Method::GET, &path, &token, Value::Null).await;
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(14)));
}
