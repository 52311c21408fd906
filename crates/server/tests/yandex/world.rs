//! A server with two tenants beside each other, and ways to call it: REST through the router, gRPC through it by tonic.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use domain::tenant::Tenant;
use domain::token::TokenKind;
use domain::{Caller, Role, Scope, Uuid};
use ledger::{Expect, Ledger, MemoryLedger, Write};
use prost::Message;
use proto::google::rpc;
use serde_json::Value;
use server::Service;
use server::dialects::router;
use server::secrets::Sealer;
use server::service::NewTenant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Where the server says that it is reached.
pub(crate) const PUBLIC: &str = "backup.example.com:8443";

/// What REST answers; the body is null if there is none.
pub(crate) type Answer = (StatusCode, HeaderMap, Value);

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) service: Arc<Service>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) shutdown: CancellationToken,
    /// The server itself, for what no test is about.
    pub(crate) root: Caller,
    pub(crate) acme: Uuid,
    pub(crate) globex: Uuid,
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(|service| service).await
    }

    /// A server whose services are set up further.
    pub(crate) async fn with(set_up: impl FnOnce(Service) -> Service) -> World {
        World::over(Arc::new(MemoryLedger::new()), set_up).await
    }

    /// The same over a ledger of another kind.
    pub(crate) async fn over(ledger: Arc<dyn Ledger>, set_up: impl FnOnce(Service) -> Service) -> World {
        let sealer = Sealer::new(&[7; 32]).expect("32 bytes");
        let service = Arc::new(set_up(Service::new(ledger.clone(), sealer).reached_at(PUBLIC.to_owned())));
        let shutdown = CancellationToken::new();
        let router = router(service.clone(), shutdown.clone());
        let tenant = Tenant::root("root", "UTC", service.moment().now);
        let write = Write::Put(Box::new(tenant.into()), Expect::New);
        ledger.commit(&Scope::everything(), service.moment(), vec![write]).await.expect("a commit");
        let none = Uuid::nil();
        let mut world = World { router, service, ledger, shutdown, root: Caller::server(), acme: none, globex: none };
        world.acme = world.tenant_below(none, "acme").await;
        world.globex = world.tenant_below(none, "globex").await;
        world
    }

    pub(crate) async fn tenant_below(&self, parent: Uuid, name: &str) -> Uuid {
        let new = NewTenant { parent: Some(parent), name: name.into(), description: String::new() };
        self.service.create_tenant(&self.root, new).await.expect("a tenant").id
    }

    /// The secret of a new API token.
    pub(crate) async fn token(&self, tenant: Uuid, role: Role) -> String {
        let tenant = self.service.tenant(&self.root, tenant).await.expect("the tenant");
        let (scope, name) = (Scope::subtree(&tenant), format!("{role} of {}", tenant.name));
        let issued = self.service.issue(&self.root, &scope, TokenKind::Api, name, role, None).await;
        issued.expect("a token").1
    }

    /// A call over REST. An empty token is none, a null body is none.
    pub(crate) async fn rest(&self, method: Method, path: &str, token: &str, body: Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(with_token(Request::builder().method(method).uri(path), token).body(body).expect("a request")).await
    }

    /// Any request over REST.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => {
                serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{e} in {}", String::from_utf8_lossy(&bytes)))
            }
        };
        (parts.status, parts.headers, body)
    }

    /// A call over gRPC: the headers and the message, or the status with its headers.
    pub(crate) async fn grpc(
        &self,
        method: &str,
        token: &str,
        message: &[u8],
    ) -> Result<(HeaderMap, Vec<u8>), (rpc::Status, HeaderMap)> {
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).expect("a small message").to_be_bytes());
        frame.extend(message);
        let request = with_token(Request::post(method), token).header("content-type", "application/grpc");
        self.grpc_raw(request.body(Body::from(frame)).expect("a request")).await
    }

    /// Any gRPC request with one answer.
    pub(crate) async fn grpc_raw(
        &self,
        request: Request<Body>,
    ) -> Result<(HeaderMap, Vec<u8>), (rpc::Status, HeaderMap)> {
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        assert_eq!(response.status(), StatusCode::OK);
        let (parts, body) = response.into_parts();
        assert_eq!(parts.headers["content-type"], "application/grpc");
        if let Some(status) = tonic::Status::from_header_map(&parts.headers)
            && status.code() != tonic::Code::Ok
        {
            let details = rpc::Status::decode(status.details()).expect("details");
            assert_eq!((details.code, details.message.as_str()), (status.code() as i32, status.message()));
            return Err((details, parts.headers));
        }
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        Ok((parts.headers, bytes[5..].to_vec()))
    }
}

/// The fields that a REST answer complains about.
pub(crate) fn fields(body: &Value) -> Vec<String> {
    let violations = body["details"][0]["fieldViolations"].as_array().cloned().unwrap_or_default();
    violations.iter().map(|v| v["field"].as_str().unwrap_or_default().to_owned()).collect()
}

fn with_token(request: axum::http::request::Builder, token: &str) -> axum::http::request::Builder {
    if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) }
}
