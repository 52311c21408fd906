//! gRPC and REST on one port, over TLS and in the clear (Y1, Y2).

use domain::Role;
use proto::yandex::cloud::endpoint::ListApiEndpointsRequest;
use proto::yandex::cloud::endpoint::api_endpoint_service_client::ApiEndpointServiceClient;
use proto::yandex::cloud::iam::v1::CreateIamTokenRequest;
use proto::yandex::cloud::iam::v1::create_iam_token_request::Identity;
use proto::yandex::cloud::iam::v1::iam_token_service_client::IamTokenServiceClient;
use server::listen::{TlsListener, serve_plain, serve_tls};
use server::tls::CertFiles;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::world::World;

async fn bound() -> (TcpListener, u16) {
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = tcp.local_addr().expect("an address").port();
    (tcp, port)
}

/// What every client does first: discover, get a token, ask whether all is well.
async fn talk(world: &World, channel: Channel) {
    let list = ApiEndpointServiceClient::new(channel.clone()).list(ListApiEndpointsRequest::default()).await;
    let list = list.expect("a list");
    assert!(list.metadata().contains_key("x-request-id"));
    assert_eq!(list.into_inner().endpoints.len(), 6);
    let key = world.token(world.acme, Role::Viewer).await;
    let mut iam = IamTokenServiceClient::new(channel.clone());
    let request = |key| CreateIamTokenRequest { identity: Some(Identity::YandexPassportOauthToken(key)) };
    let token = iam.create(request(key)).await.expect("a token").into_inner();
    assert!(token.iam_token.starts_with("t1.") && token.expires_at.is_some());
    let refused = iam.create(request("nonsense".into())).await.expect_err("no key");
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    assert!(!refused.details().is_empty() && refused.metadata().contains_key("x-server-trace-id"));
    let health = HealthClient::new(channel).check(HealthCheckRequest::default()).await.expect("an answer");
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn over_tls_with_the_servers_own_authority() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let files = CertFiles::in_folder(folder.path());
    let certificates = files.serve(&["localhost".to_owned()], world.service.moment().now).expect("certificates");
    let config = certificates.server_config().expect("a configuration");
    let (tcp, port) = bound().await;
    let listener = TlsListener::new(tcp, config).expect("a listener");
    let serving = tokio::spawn(serve_tls(listener, world.router.clone(), world.shutdown.clone()));
    let ca = Certificate::from_pem(std::fs::read(&files.ca).expect("the authority's certificate"));
    let endpoint: Endpoint = format!("https://localhost:{port}").parse().expect("an address");
    let endpoint = endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca)).expect("a configuration");
    talk(&world, endpoint.connect().await.expect("a connection")).await;
    world.shutdown.cancel();
    serving.await.expect("it ends well");
}

#[tokio::test]
async fn in_the_clear_beside_rest() {
    let world = World::new().await;
    let (tcp, port) = bound().await;
    let serving = tokio::spawn(serve_plain(tcp, world.router.clone(), world.shutdown.clone()));
    let endpoint: Endpoint = format!("http://127.0.0.1:{port}").parse().expect("an address");
    talk(&world, endpoint.connect().await.expect("a connection")).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    stream.write_all(b"GET /endpoints HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.expect("it is heard");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""id":"cloudbackup""#), "{answer}");
    world.shutdown.cancel();
    serving.await.expect("it ends well");
}
