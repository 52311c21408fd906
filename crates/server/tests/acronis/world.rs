//! A server with two tenants beside each other, each with one below it, and credentials of every sort for them.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use domain::tenant::Tenant;
use domain::token::TokenKind;
use domain::{Caller, Moment, Role, Scope, Timestamp, Uuid};
use ledger::{Committed, Expect, Ledger, MemoryLedger, SqliteLedger, Write};
use serde_json::Value;
use server::Service;
use server::dialects::router;
use server::secrets::Sealer;
use server::service::{NewClient, NewTenant, NewUser};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The token endpoint.
pub(crate) const TOKEN: &str = "/api/2/idp/token";
/// The password of every user.
pub(crate) const PASSWORD: &str = "tape under the desk";

/// What came back; the body is null if there is none.
pub(crate) type Answer = (StatusCode, HeaderMap, Value);

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) service: Arc<Service>,
    pub(crate) shutdown: CancellationToken,
    /// The server itself, for what no test is about.
    pub(crate) root: Caller,
    /// A tenant, and one below it.
    pub(crate) acme: Uuid,
    pub(crate) acme_east: Uuid,
    /// Another one beside it, and one below that.
    pub(crate) globex: Uuid,
    pub(crate) globex_west: Uuid,
    pub(crate) ledger: Arc<dyn Ledger>,
    /// Where the ledger is, if it is on disk; removed in the end.
    _folder: Option<TempDir>,
}

/// An API client with its secret.
#[derive(Clone)]
pub(crate) struct ClientKey {
    pub(crate) id: Uuid,
    pub(crate) secret: String,
}

impl ClientKey {
    /// The header by which it shows itself.
    pub(crate) fn basic(&self) -> String {
        basic(&self.id.to_string(), &self.secret)
    }
}

impl World {
    /// A world in memory.
    pub(crate) async fn new() -> World {
        World::over(Arc::new(MemoryLedger::new()), None, |service| service).await
    }

    /// A world in which no time passes.
    pub(crate) async fn whose_clock_stands() -> World {
        let now = Timestamp::now();
        World::over(Arc::new(MemoryLedger::new()), None, |service| service.by_clock(move || now)).await
    }

    /// A world in SQLite, for what depends on the store.
    pub(crate) async fn on_disk() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = SqliteLedger::open(&folder.path().join("ledger.db")).expect("a ledger");
        World::over(Arc::new(ledger), Some(folder), |service| service).await
    }

    async fn over(ledger: Arc<dyn Ledger>, folder: Option<TempDir>, set_up: impl FnOnce(Service) -> Service) -> World {
        let sealer = Sealer::new(&[7; 32]).expect("32 bytes");
        let service = Arc::new(set_up(Service::new(ledger.clone(), sealer)));
        let shutdown = CancellationToken::new();
        let router = router(service.clone(), shutdown.clone());
        let none = Uuid::nil();
        let mut world = World {
            router,
            service,
            shutdown,
            root: Caller::server(),
            acme: none,
            acme_east: none,
            globex: none,
            globex_west: none,
            ledger,
            _folder: folder,
        };
        let root = Tenant::root("root", "UTC", world.service.moment().now);
        world.commit(vec![Write::Put(Box::new(root.into()), Expect::New)]).await;
        world.acme = world.tenant_below(none, "acme").await;
        world.acme_east = world.tenant_below(world.acme, "acme east").await;
        world.globex = world.tenant_below(none, "globex").await;
        world.globex_west = world.tenant_below(world.globex, "globex west").await;
        world
    }

    /// Another tenant.
    pub(crate) async fn tenant_below(&self, parent: Uuid, name: &str) -> Uuid {
        let new = NewTenant { parent: Some(parent), name: name.into(), description: String::new() };
        self.service.create_tenant(&self.root, new).await.expect("a tenant").id
    }

    /// A tenant's record.
    pub(crate) async fn tenant(&self, id: Uuid) -> Tenant {
        self.service.tenant(&self.root, id).await.expect("the tenant")
    }

    /// Writes to the ledger what no service writes.
    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Committed {
        self.commit_at(self.service.moment(), writes).await
    }

    /// As `commit`, at a time of the test's choice.
    pub(crate) async fn commit_at(&self, moment: Moment, writes: Vec<Write>) -> Committed {
        self.ledger.commit(&Scope::everything(), moment, writes).await.expect("a commit")
    }

    /// The header with a new API token.
    pub(crate) async fn bearer(&self, tenant: Uuid, role: Role) -> String {
        let tenant = self.tenant(tenant).await;
        let name = format!("{role} of {}", tenant.name);
        let scope = Scope::subtree(&tenant);
        let issued = self.service.issue(&self.root, &scope, TokenKind::Api, name, role, None).await;
        bearer(&issued.expect("a token").1)
    }

    /// A new API client.
    pub(crate) async fn client(&self, tenant: Uuid, roles: &[Role]) -> ClientKey {
        let name = "nightly reports".to_owned();
        let new = NewClient { tenant: Some(tenant), name, roles: roles.to_vec(), executor: None };
        let (client, secret) = self.service.create_client(&self.root, new).await.expect("a client");
        ClientKey { id: client.id, secret }
    }

    /// A new user with the password [`PASSWORD`].
    pub(crate) async fn user(&self, tenant: Uuid, login: &str, roles: &[Role]) -> Uuid {
        let new = NewUser {
            tenant: Some(tenant),
            login: login.into(),
            name: String::new(),
            roles: roles.to_vec(),
            password: Some(PASSWORD.into()),
        };
        self.service.create_user(&self.root, new).await.expect("a user").0.id
    }

    /// The header with an access token of a new API client, as most callers of this dialect come.
    pub(crate) async fn access(&self, tenant: Uuid, roles: &[Role]) -> String {
        let client = self.client(tenant, roles).await;
        let (status, _, body) = self.form(TOKEN, &client.basic(), &[("grant_type", "client_credentials")]).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        bearer(body["access_token"].as_str().expect("a token"))
    }

    /// A GET. `auth` is the header `Authorization`; an empty one is none.
    pub(crate) async fn get(&self, path: &str, auth: &str) -> Answer {
        self.send(request(Method::GET, path, auth).body(Body::empty()).expect("a request")).await
    }

    /// A POST with a JSON body; null is none.
    pub(crate) async fn post(&self, path: &str, auth: &str, body: Value) -> Answer {
        self.json(Method::POST, path, auth, body).await
    }

    /// A PUT with a JSON body; null is none.
    pub(crate) async fn put(&self, path: &str, auth: &str, body: Value) -> Answer {
        self.json(Method::PUT, path, auth, body).await
    }

    async fn json(&self, method: Method, path: &str, auth: &str, body: Value) -> Answer {
        let request = request(method, path, auth);
        let request = if body.is_null() {
            request.body(Body::empty())
        } else {
            request.header("content-type", "application/json").body(Body::from(body.to_string()))
        };
        self.send(request.expect("a request")).await
    }

    /// A POST with a form.
    pub(crate) async fn form(&self, path: &str, auth: &str, parameters: &[(&str, &str)]) -> Answer {
        let pairs: Vec<String> = parameters.iter().map(|(n, v)| format!("{}={}", escaped(n), escaped(v))).collect();
        self.raw_form(path, auth, &pairs.join("&")).await
    }

    /// A POST with the text of a form as it stands.
    pub(crate) async fn raw_form(&self, path: &str, auth: &str, text: &str) -> Answer {
        let request = request(Method::POST, path, auth).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(text.to_owned())).expect("a request")).await
    }

    /// Any request.
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
}

/// The beginning of a request.
pub(crate) fn request(method: Method, path: &str, auth: &str) -> axum::http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    if auth.is_empty() { request } else { request.header("authorization", auth) }
}

/// The header with a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The header with a name and a secret.
pub(crate) fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))
}

/// What a token says, as clients read it that check no signature.
pub(crate) fn claims(token: &Value) -> Value {
    let claims = token.as_str().and_then(|t| t.split('.').nth(1)).expect("a token in three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("JSON")
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b' ' => "+".to_owned(),
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}
