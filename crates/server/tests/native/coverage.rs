//! Every operation of the document against everybody who must not use it, after which nothing has changed, and once as it is
//! meant, after which whatever has changed tells by whom. An operation without an entry fails the test, and so does a route
//! without an operation: none can be forgotten.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use domain::{Caller, Right, Role, Uuid};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use crate::changes;
use crate::talk::Talk;
use crate::world::{Protected, World};

/// What the test must know of an operation that the document does not say.
pub(crate) struct Case {
    /// Who may.
    who: Who,
    /// The values of the path.
    pub(crate) path: Vec<String>,
    /// A body that is right.
    pub(crate) body: Option<Value>,
    /// A body that is right, but for what another tenant has.
    foreign: Option<Value>,
}

/// Who may use an operation.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    /// Everybody, without a token.
    Everybody,
    /// Every caller, whatever the roles are.
    Callers,
    /// Callers with this right.
    With(Right),
    /// Administrators of the whole tree.
    Owners,
}

impl Who {
    /// Whether this role is enough.
    fn admits(self, role: Role) -> bool {
        match self {
            Who::Everybody | Who::Callers => true,
            Who::With(right) => role.rights().contains(&right),
            Who::Owners => role == Role::Admin,
        }
    }

    /// A token that is just enough; none where none is needed.
    async fn token(self, world: &World) -> String {
        let role = Role::ALL.iter().copied().find(|r| self.admits(*r)).expect("some role is enough");
        match self {
            Who::Everybody => String::new(),
            Who::Callers | Who::With(_) => world.token(world.acme, role).await,
            Who::Owners => world.token(Uuid::nil(), role).await,
        }
    }
}

pub(crate) fn case(operation: &str, world: &World, made: &Protected) -> Option<Case> {
    use Right::{Administer, Edit, Issue, Operate, View};
    let Protected {
        resource,
        policy,
        repository,
        task,
        activity,
        backup,
        token,
        user,
        client,
        client_key,
        key,
        registration,
        spare,
        empty,
        agent,
        channel,
    } = made;
    let acme = world.acme.to_string();
    let new = |right, path: &[&String], body: Option<Value>, foreign: Option<Value>| {
        let path = path.iter().map(|s| (*s).clone()).collect();
        Some(Case { who: Who::With(right), path, body, foreign })
    };
    let read = |path: &[&String]| new(View, path, None, None);
    let of = |who, path: Vec<String>| Some(Case { who, path, body: None, foreign: None });
    match operation {
        "health" | "version" | "jwks" => of(Who::Everybody, Vec::new()),
        "join" => {
            let body = json!({
                "registration_token": registration, "name": "db-7", "os": "Linux", "system": "linux", "version": "1",
            });
            let mut foreign = body.clone();
            foreign["registration_token"] = json!("nobody's");
            Some(Case { who: Who::Everybody, path: Vec::new(), body: Some(body), foreign: Some(foreign) })
        }
        "enrol" => new(Operate, &[], Some(json!({ "policies": [policy] })), Some(json!({ "tenant": acme }))),
        "me" => of(Who::Callers, Vec::new()),
        "signing_keys" | "rotate_signing_key" => of(Who::Owners, Vec::new()),
        "revoke_signing_key" => of(Who::Owners, vec![key.clone()]),
        "users" | "clients" | "audit_log" => new(Administer, &[], None, None),
        "user" | "revoke_user" => new(Administer, &[user], None, None),
        "create_user" => {
            let body = json!({ "login": "night@acme.example", "roles": ["viewer"] });
            let mut foreign = body.clone();
            foreign["tenant"] = json!(acme);
            new(Administer, &[], Some(body), Some(foreign))
        }
        "set_password" => new(Administer, &[user], Some(json!({ "password": "correct horse" })), None),
        "client" | "revoke_client" | "rotate_client_secret" | "client_keys" | "create_client_key" => {
            new(Administer, &[client], None, None)
        }
        "revoke_client_key" => new(Administer, &[client, client_key], None, None),
        "create_client" => {
            let body = json!({ "name": "ci", "roles": ["issuer", "viewer"], "executor": "e-7" });
            let mut foreign = body.clone();
            foreign["tenant"] = json!(acme);
            new(Administer, &[], Some(body), Some(foreign))
        }
        "tasks" | "task_counts" | "task_events" | "activities" | "resources" | "policies" | "applications"
        | "backups" | "agents" | "repositories" | "tenants" => read(&[]),
        "task" | "task_activities" => read(&[task]),
        "activity" => read(&[activity]),
        "resource" => read(&[resource]),
        "policy" | "policy_applications" | "policy_preview" => read(&[policy]),
        "backup" | "backup_files" => read(&[backup]),
        "repository" => read(&[repository]),
        "add_repository" => {
            let secrets = json!({ "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key" });
            let body = json!({ "name": "cold", "url": "s3:https://s3.example/cold", "secrets": secrets });
            let mut foreign = body.clone();
            foreign["tenant"] = json!(acme);
            new(Administer, &[], Some(body), Some(foreign))
        }
        "change_repository" => new(Administer, &[repository], Some(json!({ "name": "warm" })), None),
        "remove_repository" => new(Administer, &[spare], None, None),
        "test_repository" => new(Operate, &[repository], Some(json!({ "agent": agent })), None),
        "export_repository_key" => new(Administer, &[repository], None, None),
        "notification_channels" => new(Administer, &[], None, None),
        "notification_channel" | "remove_notification_channel" => new(Administer, &[channel], None, None),
        "rotate_notification_secret" => new(Administer, &[channel], None, None),
        // It fails: nobody listens there.
        "test_notification_channel" => new(Administer, &[channel], None, None),
        "create_notification_channel" => {
            let target = json!({ "kind": "email", "server": "smtp://127.0.0.1:1", "from": "b@acme.example",
                "to": ["ops@acme.example"] });
            let body = json!({ "name": "mail", "target": target, "events": ["failure"], "digest": "1h" });
            let mut foreign = body.clone();
            foreign["tenant"] = json!(acme);
            new(Administer, &[], Some(body), Some(foreign))
        }
        "change_notification_channel" => new(Administer, &[channel], Some(json!({ "enabled": false })), None),
        "tenant" => read(&[&acme]),
        "change_tenant" => new(Administer, &[&acme], Some(json!({ "schedule_time_zone": "Europe/Berlin" })), None),
        "delete_tenant" => new(Administer, &[empty], None, None),
        "cancel_task" => new(Issue, &[task], None, None),
        "add_resource" => {
            let body = json!({ "name": "db-1", "kind": "compute_vm", "sources": { "paths": ["/srv"] } });
            let mut foreign = body.clone();
            foreign["tenant"] = json!(acme);
            new(Edit, &[], Some(body), Some(foreign))
        }
        "change_resource" => new(Edit, &[resource], Some(json!({ "enabled": false })), None),
        "delete_resource" => new(Edit, &[resource], None, None),
        "create_policy" => {
            let body = json!({ "name": "hourly", "schedule": { "kind": "interval", "every": "1h" } });
            let mut foreign = body.clone();
            foreign["repository"] = json!(repository);
            new(Edit, &[], Some(body), Some(foreign))
        }
        "preview_policy" => {
            let wanted = json!({ "schedule": { "kind": "interval", "every": "1h" }, "name": "hourly" });
            new(View, &[policy], Some(wanted), None)
        }
        "change_policy" => new(Edit, &[policy], Some(json!({ "enabled": false })), None),
        "delete_policy" => new(Edit, &[policy], None, None),
        "apply_policy" | "revoke_policy" => new(Operate, &[policy, resource], None, None),
        "run_policy" => new(Operate, &[policy], Some(json!({ "resource": resource })), None),
        "verify_backup" => new(Operate, &[backup], Some(json!({ "files": 3 })), None),
        "restore" => new(Operate, &[backup], Some(json!({ "to": "/tmp/back" })), None),
        "create_tenant" => {
            new(Administer, &[], Some(json!({ "name": "branch" })), Some(json!({ "name": "branch", "parent": acme })))
        }
        "tokens" => new(Administer, &[], None, None),
        "create_token" => {
            let body = json!({ "name": "ci", "role": "viewer" });
            new(Administer, &[], Some(body.clone()), Some(json!({ "name": "ci", "role": "viewer", "tenant": acme })))
        }
        "revoke_token" => new(Administer, &[token], None, None),
        "revoke_agent" => new(Administer, &[agent], None, None),
        _ => None,
    }
}

pub(crate) fn document() -> Value {
    serde_json::from_str(&server::dialects::native::openapi()).expect("JSON")
}

/// Every operation: its path, method, id, and what the document says of it.
pub(crate) fn operations(document: &Value) -> Vec<(&str, &str, &str, &Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let id = operation["operationId"].as_str().expect("an operation id");
            operations.push((path.as_str(), method.as_str(), id, operation));
        }
    }
    assert!(operations.len() > 30, "{} operations", operations.len());
    operations
}

#[tokio::test]
async fn every_operation_refuses_whom_and_what_it_must_and_changes_nothing() {
    let document = document();
    // One for all, since it stays as it is.
    let world = World::new().await;
    let made = world.protected().await;
    for (path, method, id, operation) in operations(&document) {
        let case = case(id, &world, &made)
            .unwrap_or_else(|| panic!("say in `case` of coverage.rs who may use the operation '{id}'"));
        let check = Check::new(&document, &world, id, method, path, operation, case);
        check.strangers(&made).await;
        check.broken().await;
    }
}

#[tokio::test]
async fn every_operation_does_what_it_says_and_its_change_tells_by_whom() {
    let document = document();
    let looked_at = World::new().await;
    let made_there = looked_at.protected().await;
    for (path, method, id, operation) in operations(&document) {
        let (mut world, mut made) = (&looked_at, &made_there);
        let (new, new_made);
        if method != "get" {
            new = World::new().await;
            new_made = new.protected().await;
            (world, made) = (&new, &new_made);
        }
        let case = case(id, world, made).expect("an entry");
        Check::new(&document, world, id, method, path, operation, case).success(made).await;
    }
}

#[tokio::test]
async fn metrics_are_for_whoever_sees_the_whole_tree() {
    let world = World::new().await;
    let acme = world.token(world.acme, Role::Admin).await;
    let root = world.token(Uuid::nil(), Role::Viewer).await;
    let blind = world.token(Uuid::nil(), Role::Issuer).await;
    for (token, status) in [("", 401), ("bst_nonsense", 401), (&acme, 403), (&blind, 403), (&root, 200)] {
        let request = Request::get("/metrics").header("authorization", format!("Bearer {token}"));
        let before = changes::held(&*world.ledger).await;
        let answer = world.router.clone().oneshot(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(answer.expect("an answer").status(), status, "with '{token}'");
        assert_eq!(changes::held(&*world.ledger).await, before);
    }
}

/// What is served and stands in no document: the document itself, and what Prometheus asks for.
const UNDOCUMENTED: [(&str, &str); 2] = [("get", "/api/v1/openapi.json"), ("get", "/metrics")];

#[tokio::test]
async fn every_route_is_an_operation_of_the_document() {
    let document = document();
    let mut known: BTreeSet<(String, String)> =
        UNDOCUMENTED.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    for (path, method, _, operation) in operations(&document) {
        let base = operation["servers"][0]["url"].as_str().unwrap_or(api::BASE_PATH).trim_end_matches('/');
        known.insert((method.to_owned(), format!("{base}{path}")));
    }
    let world = World::new().await;
    let mut served = BTreeSet::new();
    // The router tells its paths in its debug text alone, and the methods of each to whoever asks with another.
    let text = format!("{:?}", world.router);
    let routes = text.split("fallback_router").next().unwrap_or_default();
    for path in routes.split("): \"").skip(1).filter_map(|rest| rest.split('"').next()) {
        let filled = path.replace("{id}", "1").replace("{resource}", "1").replace("{key}", "1");
        let asked = Request::builder().method("PROPFIND").uri(filled).body(Body::empty()).expect("a request");
        let reply = Talk::new(world.router.clone(), "").send("", asked).await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = reply.headers["allow"].to_str().expect("text").to_lowercase();
        // Whoever may read may read the headers alone.
        served.extend(allowed.split(',').filter(|m| *m != "head").map(|m| (m.to_owned(), path.to_owned())));
    }
    assert_eq!(served, known, "what is served beside what the document and `UNDOCUMENTED` say");
}

struct Check<'a> {
    document: &'a Value,
    world: &'a World,
    id: &'a str,
    method: Method,
    path: String,
    operation: &'a Value,
    case: Case,
}

impl<'a> Check<'a> {
    fn new(
        document: &'a Value,
        world: &'a World,
        id: &'a str,
        method: &str,
        path: &str,
        operation: &'a Value,
        case: Case,
    ) -> Check<'a> {
        let mut path = path.to_owned();
        for value in &case.path {
            let (from, to) = (path.find('{').expect("a place"), path.find('}').expect("its end"));
            path.replace_range(from..=to, value);
        }
        assert!(!path.contains('{'), "{id}: too few values for {path}");
        let method = method.to_uppercase().parse().expect("a method");
        Check { document, world, id, method, path, operation, case }
    }

    /// A request that must leave everything as it is; its answer.
    async fn ask(&self, token: &str, path: &str, body: Option<Value>) -> (StatusCode, String) {
        let before = changes::held(&*self.world.ledger).await;
        let reply = Talk::new(self.world.router.clone(), token).ask(self.method.clone(), path, body).await;
        assert_eq!(changes::held(&*self.world.ledger).await, before, "{} was refused and changed something", self.id);
        if let Some(error) = reply.body.get("error") {
            self.fits(error, &json!({ "$ref": "#/components/schemas/ErrorDetail" }), "error");
            assert_eq!(reply.headers["x-request-id"], error["request_id"].as_str().expect("an id"), "{}", self.id);
        }
        (reply.status, reply.code().to_owned())
    }

    async fn strangers(&self, made: &Protected) {
        let (id, world) = (self.id, self.world);
        let who = self.case.who;
        let refused = |status: u16, code: &str| (StatusCode::from_u16(status).expect("a status"), code.to_owned());
        if who == Who::Everybody {
            if let Some(body) = &self.case.foreign {
                let reply = self.ask("", &self.path, Some(body.clone())).await;
                assert_eq!(reply, refused(401, "unauthenticated"), "{id} with a secret that nobody has");
            }
            return;
        }
        for token in ["", "bst_nonsense"] {
            let reply = self.ask(token, &self.path, self.case.body.clone()).await;
            assert_eq!(reply, refused(401, "unauthenticated"), "{id} with the token '{token}'");
        }
        for below in Role::ALL.iter().filter(|r| !who.admits(**r)) {
            let token = world.token(world.acme, *below).await;
            let reply = self.ask(&token, &self.path, self.case.body.clone()).await;
            assert_eq!(reply, refused(403, "forbidden"), "{id} as {below}");
        }
        let stranger = world.token(world.globex, Role::Admin).await;
        if who == Who::Owners {
            let reply = self.ask(&stranger, &self.path, self.case.body.clone()).await;
            assert_eq!(reply, refused(403, "forbidden"), "{id} as an administrator of one tenant");
        } else if self.case.path.is_empty() {
            if let Some(body) = &self.case.foreign {
                let reply = self.ask(&stranger, &self.path, Some(body.clone())).await;
                assert_eq!(reply, refused(404, "not_found"), "{id} for another tenant's things");
            } else if self.method == Method::GET && id != "task_events" {
                let mut talk = Talk::new(world.router.clone(), &stranger);
                let body = talk.get(&self.path).await.body.to_string();
                let acme = world.acme.to_string();
                let things = [&made.resource, &made.policy, &made.repository, &made.backup, &made.user, &made.client];
                for secret in things.into_iter().chain([&acme]) {
                    assert!(!body.contains(secret.as_str()), "{id} shows another tenant's things: {body}");
                }
            } else {
                assert!(self.case.body.is_none(), "{id}: say in `foreign` how another tenant's things are asked for");
            }
        } else {
            let reply = self.ask(&stranger, &self.path, self.case.body.clone()).await;
            assert_eq!(reply, refused(404, "not_found"), "{id} of another tenant");
        }
    }

    /// Bodies and parameters that cannot be read.
    async fn broken(&self) {
        let (id, world) = (self.id, self.world);
        let refused = |status: u16, code: &str| (StatusCode::from_u16(status).expect("a status"), code.to_owned());
        let token = self.case.who.token(world).await;
        if self.operation["requestBody"].is_object() {
            assert!(self.case.body.is_some(), "{id} has a body and the test has none");
            for (kind, body, wanted) in [
                ("application/json", "{".to_owned(), refused(400, "invalid_body")),
                ("application/json", "[]".to_owned(), refused(400, "invalid_body")),
                ("application/json", "{\"no such field\": 1}".to_owned(), refused(400, "unknown_field")),
                ("text/plain", "{}".to_owned(), refused(415, "unsupported_media_type")),
                ("application/json", " ".repeat(1024 * 1024 + 1), refused(413, "body_too_large")),
            ] {
                let request = Request::builder().method(&self.method).uri(format!("{}{}", api::BASE_PATH, self.path));
                let request = request.header("content-type", kind).body(Body::from(body.clone())).expect("a request");
                let before = changes::held(&*world.ledger).await;
                let reply = Talk::new(world.router.clone(), &token).send("", request).await;
                let start: String = body.chars().take(30).collect();
                assert_eq!((reply.status, reply.code().to_owned()), wanted, "{id} with the body {start}");
                assert_eq!(changes::held(&*world.ledger).await, before, "{id} with the body {start} changed something");
            }
        }
        let parameters = self.operation["parameters"].as_array();
        let takes_filter = parameters.is_some_and(|p| p.iter().any(|p| p["in"] == "query" || p["$ref"].is_string()));
        if takes_filter {
            let path = format!("{}?no_such_parameter=1", self.path);
            let reply = self.ask(&token, &path, self.case.body.clone()).await;
            assert_eq!(reply, refused(400, "unknown_field"), "{id} with an unknown parameter");
        }
    }

    /// The operation as it is meant: the status is the documented one, and the body has the documented shape.
    async fn success(&self, made: &Protected) {
        let (id, world) = (self.id, self.world);
        let mut admin = world.talk(Role::Admin).await;
        let mut path = self.path.clone();
        // Some need another state than the one all begin with.
        match id {
            "cancel_task" => {
                admin.post(&format!("/policies/{}/run", made.policy), json!({})).await;
                "/tasks/2/cancel".clone_into(&mut path);
            }
            "delete_policy" | "apply_policy" => {
                admin.delete(&format!("/policies/{}/applications/{}", made.policy, made.resource)).await;
            }
            _ => {}
        }
        let token = self.case.who.token(world).await;
        // Most stand below the server of the document; some name another one.
        let base = self.operation["servers"][0]["url"].as_str().unwrap_or("/api/v1").trim_end_matches('/');
        let mut request = Request::builder().method(&self.method).uri(format!("{base}{path}"));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match &self.case.body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        let before = changes::held(&*world.ledger).await;
        let response = world.router.clone().oneshot(request.body(body).expect("a request")).await.expect("answers");
        let after = changes::held(&*world.ledger).await;
        // Who joins shows a secret of the server's own making.
        let by = match token.is_empty() {
            true => Caller::server(),
            false => world.service.authenticate(&token).await.expect("it was let in"),
        };
        let told = changes::told(&before, &after, &by, id);
        let reads = self.method == Method::GET || ["preview_policy", "test_repository"].contains(&id);
        assert_eq!(before == after, reads, "{id}: a change that is none, or one that should not be; told of: {told:?}");
        let status = response.status().as_str().to_owned();
        let documented = &self.operation["responses"][&status];
        assert!(documented.is_object(), "{id} answered with {status}, which is not documented");
        let content = documented["content"].as_object().cloned().unwrap_or_default();
        let (parts, body) = response.into_parts();
        match content.iter().next() {
            None => assert_eq!(status, "204", "{id}"),
            Some((kind, content)) => {
                assert_eq!(parts.headers["content-type"], kind.as_str(), "{id}");
                if kind == "application/json" {
                    let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
                    let body: Value = serde_json::from_slice(&bytes).expect("JSON");
                    self.fits(&body, &content["schema"], id);
                    if id.ends_with('s') && body["items"].is_array() {
                        assert!(!body["items"].as_array().is_none_or(Vec::is_empty), "{id}: there is nothing to check");
                    }
                }
            }
        }
    }

    /// Whether a value has the shape of a schema, and nothing that is not documented.
    fn fits(&self, value: &Value, schema: &Value, place: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let schema = self.document.pointer(&reference[1..]).expect("the reference leads somewhere");
            return self.fits(value, schema, place);
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            let kind = |s: &Value| s.pointer("/properties/kind/enum/0").cloned();
            let choice = choices.iter().find(|s| kind(s) == value.get("kind").cloned());
            return self.fits(value, choice.unwrap_or_else(|| panic!("{place}: no variant for {value}")), place);
        }
        if let Some(names) = schema["enum"].as_array() {
            assert!(names.contains(value), "{place}: {value} is none of {names:?}");
        }
        match (schema["type"].as_str(), value) {
            (Some("object"), Value::Object(map)) => {
                let none = Map::new();
                let known = schema["properties"].as_object().unwrap_or(&none);
                for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    assert!(map.contains_key(name), "{place}: '{name}' is missing");
                }
                for (name, value) in map {
                    let place = format!("{place}.{name}");
                    match known.get(name) {
                        Some(schema) => self.fits(value, schema, &place),
                        None => assert!(schema["additionalProperties"].is_object(), "{place} is not documented"),
                    }
                }
            }
            (Some("array"), Value::Array(items)) => {
                items.iter().enumerate().for_each(|(i, v)| self.fits(v, &schema["items"], &format!("{place}[{i}]")));
            }
            (Some("string"), Value::String(_))
            | (Some("integer"), Value::Number(_))
            | (Some("number"), Value::Number(_))
            | (Some("boolean"), Value::Bool(_))
            | (None, _) => {}
            (kind, value) => panic!("{place}: {value} is no {kind:?}"),
        }
    }
}
