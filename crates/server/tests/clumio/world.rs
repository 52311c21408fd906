//! A server with two tenants beside each other, and ways to call it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use domain::tenant::Tenant;
use domain::token::TokenKind;
use domain::{Caller, Moment, Role, Scope, Timestamp, Uuid};
use ledger::{Committed, Expect, Ledger, MemoryLedger, Write};
use serde_json::{Value, json};
use server::Service;
use server::dialects::router;
use server::secrets::Sealer;
use server::service::NewTenant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// What is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// A header; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// Status and the number of each fault; checks that the body has the shape of errors and nothing else (section 4).
    pub(crate) fn refused(&self) -> (u16, Vec<u64>) {
        assert!(self.status.as_u16() >= 400, "{self:?}");
        assert_eq!(self.header("content-type"), "application/json");
        assert!(!self.header("x-request-id").is_empty(), "{self:?}");
        let errors = self.body["errors"].as_array().unwrap_or_else(|| panic!("no errors in {self:?}"));
        assert_eq!(self.body, json!({ "errors": errors }));
        let code = |e: &Value| {
            assert!(e["error_message"].as_str().is_some_and(|m| !m.is_empty()), "{e}");
            e["error_code"].as_u64().expect("a number")
        };
        (self.status.as_u16(), errors.iter().map(code).collect())
    }

    /// The texts of the faults.
    pub(crate) fn messages(&self) -> String {
        let errors = self.body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().filter_map(|e| e["error_message"].as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The body of an answer that is none of an error.
    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        assert!(self.header("content-type").starts_with("application/api.clumio."), "{self:?}");
        assert!(self.body.is_object(), "R8: {self:?}");
        self.body
    }
}

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
        World::empty(Arc::new(MemoryLedger::new()), set_up).with_tenants().await
    }

    /// A server over another ledger.
    pub(crate) async fn over(ledger: Arc<dyn Ledger>) -> World {
        World::empty(ledger, |service| service).with_tenants().await
    }

    async fn with_tenants(mut self) -> World {
        let world = &mut self;
        let tenant = Tenant::root("root", "UTC", world.service.moment().now);
        world.commit(vec![Write::Put(Box::new(tenant.into()), Expect::New)]).await;
        world.acme = world.tenant_below(Uuid::nil(), "acme").await;
        world.globex = world.tenant_below(Uuid::nil(), "globex").await;
        self
    }

    /// A server whose tenants were made at this time, and that has one below `acme`: time goes on from there, for a ledger
    /// never goes back.
    pub(crate) async fn since(begin: Timestamp) -> (World, Uuid) {
        let mut world = World::empty(Arc::new(MemoryLedger::new()), |service| service);
        let root = Tenant::root("root", "UTC", begin);
        let child = |of: &Tenant, number, name| of.child(Uuid::now_v7(), number, name, begin).expect("a tenant");
        let (acme, globex) = (child(&root, 2, "acme"), child(&root, 3, "globex"));
        let below = child(&acme, 4, "below");
        (world.acme, world.globex) = (acme.id, globex.id);
        let id = below.id;
        let writes = [root, acme, globex, below].map(|t| Write::Put(Box::new(t.into()), Expect::New));
        let moment = Moment { now: begin, up_since: begin };
        world.ledger.commit(&Scope::everything(), moment, writes.into()).await.expect("a commit");
        (world, id)
    }

    fn empty(ledger: Arc<dyn Ledger>, set_up: impl FnOnce(Service) -> Service) -> World {
        let sealer = Sealer::new(&[7; 32]).expect("32 bytes");
        let service = Arc::new(set_up(Service::new(ledger.clone(), sealer).limiting(None)));
        let shutdown = CancellationToken::new();
        let router = router(service.clone(), shutdown.clone());
        let none = Uuid::nil();
        World { router, service, ledger, shutdown, root: Caller::server(), acme: none, globex: none }
    }

    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Committed {
        self.ledger.commit(&Scope::everything(), self.service.moment(), writes).await.expect("a commit")
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

    /// A call. An empty token is none, a null body is none.
    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(request(method, path, token).body(body).expect("a request")).await
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, Value::Null).await
    }

    /// Any request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(text()));
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

/// A request with this token; an empty one is none.
pub(crate) fn request(method: Method, path: &str, token: &str) -> Builder {
    let request = Request::builder().method(method).uri(path);
    if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) }
}
