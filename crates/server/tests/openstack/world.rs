//! A server with two tenants beside each other and one below, credentials for them, and tasks in every state.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use domain::task::{Event, Executor, LeaseToken, Outcome, OutcomeCode, Rules, Task, TaskRef, TaskSpec};
use domain::tenant::Tenant;
use domain::token::TokenKind;
use domain::{Caller, Role, Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Claim, Committed, Expect, Ledger, MemoryLedger, Write, Written};
use serde_json::{Value, json};
use server::Service;
use server::dialects::router;
use server::secrets::Sealer;
use server::service::{NewClient, NewTenant, NewUser};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The password of every user.
pub(crate) const PASSWORD: &str = "tape under the desk";
/// Where tokens are got.
pub(crate) const TOKENS: &str = "/identity/v3/auth/tokens";

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e} in {}", self.text))
    }

    /// The body, after this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// The text of a refusal of the Image API, after this status.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16) -> String {
        let body = self.expect(status);
        assert!(body["code"].as_str().is_some_and(|c| c.starts_with(&status.to_string())), "{body}");
        assert_eq!(body["title"], body["code"].as_str().expect("a code")[4..], "{body}");
        body["message"].as_str().expect("a message").to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().expect("text"))
    }
}

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) service: Arc<Service>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) root: Caller,
    pub(crate) acme: Uuid,
    pub(crate) acme_east: Uuid,
    pub(crate) globex: Uuid,
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(|service| service).await
    }

    /// A server for which no time passes.
    pub(crate) async fn whose_clock_stands() -> World {
        let now = Timestamp::now();
        World::with(|service| service.by_clock(move || now)).await
    }

    /// A server whose services are set up further.
    pub(crate) async fn with(set_up: impl FnOnce(Service) -> Service) -> World {
        let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new());
        let sealer = Sealer::new(&[7; 32]).expect("32 bytes");
        let service = Arc::new(set_up(Service::new(ledger.clone(), sealer)));
        let router = router(service.clone(), CancellationToken::new());
        let none = Uuid::nil();
        let mut world =
            World { router, service, ledger, root: Caller::server(), acme: none, acme_east: none, globex: none };
        let root = Tenant::root("root", "UTC", world.service.moment().now);
        world.commit(vec![Write::Put(Box::new(root.into()), Expect::New)]).await;
        world.acme = world.tenant_below(none, "acme").await;
        world.acme_east = world.tenant_below(world.acme, "acme east").await;
        world.globex = world.tenant_below(none, "globex").await;
        world
    }

    async fn tenant_below(&self, parent: Uuid, name: &str) -> Uuid {
        let new = NewTenant { parent: Some(parent), name: name.into(), description: String::new() };
        self.service.create_tenant(&self.root, new).await.expect("a tenant").id
    }

    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Committed {
        self.ledger.commit(&Scope::everything(), self.service.moment(), writes).await.expect("a commit")
    }

    /// The secret of a new API token.
    pub(crate) async fn token(&self, tenant: Uuid, role: Role) -> String {
        let tenant = self.service.tenant(&self.root, tenant).await.expect("the tenant");
        let (scope, name) = (Scope::subtree(&tenant), format!("{role} of {}", tenant.name));
        let issued = self.service.issue(&self.root, &scope, TokenKind::Api, name, role, None).await;
        issued.expect("a token").1
    }

    pub(crate) async fn user(&self, tenant: Uuid, login: &str, role: Role) -> Uuid {
        let new = NewUser {
            tenant: Some(tenant),
            login: login.into(),
            name: String::new(),
            roles: vec![role],
            password: Some(PASSWORD.into()),
        };
        self.service.create_user(&self.root, new).await.expect("a user").0.id
    }

    /// The id and the secret of a new API client.
    pub(crate) async fn client(&self, tenant: Uuid, name: &str, role: Role) -> (Uuid, String) {
        let new = NewClient { tenant: Some(tenant), name: name.into(), roles: vec![role], executor: None };
        let (client, secret) = self.service.create_client(&self.root, new).await.expect("a client");
        (client.id, secret)
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.call(Method::GET, path, token, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call(Method::POST, path, token, body).await
    }

    /// A call by a client that wants JSON. An empty token is none, a null body is none.
    pub(crate) async fn call(&self, method: Method, path: &str, token: &str, body: Value) -> Answer {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(request(method, path, token).header("accept", "application/json").body(body).expect("a request"))
            .await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router always answers");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// Signs in, and gives the token and what is said of it.
    pub(crate) async fn sign_in(&self, identity: Value, scope: Value) -> Result<(String, Value), Answer> {
        let mut auth = json!({ "identity": identity });
        if !scope.is_null() {
            auth["scope"] = scope;
        }
        let answer = self.post(TOKENS, "", json!({ "auth": auth })).await;
        if answer.status != StatusCode::CREATED {
            return Err(answer);
        }
        Ok((answer.header("x-subject-token").to_owned(), answer.json()["token"].clone()))
    }

    /// A task that waits.
    pub(crate) async fn waiting(&self, tenant: Uuid, kind: &str) -> Task {
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind, "others", tenant);
        let heartbeat_interval = Some(SignedDuration::from_hours(1));
        let ack_timeout = SignedDuration::from_hours(1);
        spec.rules = Rules { cancellable: true, heartbeat_interval, ack_timeout, ..Rules::default() };
        task(self.commit(vec![Write::CreateTask(Box::new(spec))]).await)
    }

    /// A task in work. No other one may wait.
    pub(crate) async fn started(&self, tenant: Uuid, kind: &str) -> Task {
        self.waiting(tenant, kind).await;
        let claim = Claim {
            queues: vec!["others".into()],
            types: vec![kind.into()],
            executor: Executor { id: "e-1".into(), ..Executor::default() },
            leases: vec![LeaseToken(Uuid::now_v7().to_string())],
        };
        let committed = self.commit(vec![Write::Claim(claim)]).await;
        let claimed = committed.written.into_iter().find_map(|w| match w {
            Written::Claimed(tasks) => tasks.into_iter().next(),
            _ => None,
        });
        let claimed = claimed.expect("a task");
        let lease = claimed.lease().expect("a lease").clone();
        task(self.commit(vec![Write::Task(TaskRef::Id(claimed.id), Event::Start { lease })]).await)
    }

    /// A task that has ended.
    pub(crate) async fn ended(&self, tenant: Uuid, kind: &str, outcome: Outcome) -> Task {
        let started = self.started(tenant, kind).await;
        let lease = started.lease().expect("a lease").clone();
        let event = Event::Complete { lease, outcome, progress: None };
        task(self.commit(vec![Write::Task(TaskRef::Id(started.id), event)]).await)
    }

    pub(crate) async fn done(&self, tenant: Uuid, kind: &str) -> Task {
        self.ended(tenant, kind, Outcome::of(OutcomeCode::Ok)).await
    }
}

fn task(committed: Committed) -> Task {
    committed.task().cloned().expect("a task")
}

pub(crate) fn request(method: Method, path: &str, token: &str) -> axum::http::request::Builder {
    let request = Request::builder().method(method).uri(path).header("host", "cloud.example.com:8774");
    if token.is_empty() { request } else { request.header("x-auth-token", token) }
}

/// The ids in a list, in its order.
pub(crate) fn ids(page: &Value) -> Vec<String> {
    page["tasks"].as_array().expect("tasks").iter().map(|t| t["id"].as_str().expect("an id").to_owned()).collect()
}
