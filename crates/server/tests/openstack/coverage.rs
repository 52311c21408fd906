//! Every call of the dialect against everybody and everything that it must refuse, after which nothing has changed, and those
//! that change something once as they are meant, after which the change tells by whom. A call without an entry fails the
//! test, so none can be forgotten.

use axum::body::Body;
use axum::http::{Method, Request};
use domain::import::ImportRules;
use domain::{Right, Role, Uuid};
use serde_json::{Value, json};
use server::dialects::openstack;

use crate::changes;
use crate::imports;
use crate::world::{Answer, PASSWORD, TOKENS, World, request};

/// What the test must know of a call.
enum Case {
    /// Everybody may make it.
    Open,
    /// Whoever has a token may.
    Known,
    /// It needs this right.
    Needs(Right),
}

fn case(method: &str, path: &str) -> Option<Case> {
    Some(match (method, path) {
        ("get", "/versions" | "/v3") | ("post", "/v3/auth/tokens") => Case::Open,
        ("get" | "head" | "delete", "/v3/auth/tokens") => Case::Known,
        ("get", path) if path.starts_with("/v2/schemas/") || path.starts_with("/v3/") => Case::Known,
        ("get", "/v2/tasks" | "/v2/tasks/{id}" | "/v2/images" | "/v2/images/{id}") => Case::Needs(Right::View),
        ("post", "/v2/tasks") => Case::Needs(Right::Administer),
        _ => return None,
    })
}

/// What `acme` has.
struct Made {
    world: World,
    task: String,
    image: String,
    user: String,
    /// The secret of an administrator's token.
    admin: String,
    /// And another one, which calls on tokens are about.
    subject: String,
}

impl Made {
    async fn new() -> Made {
        let (world, admin) = imports::world(ImportRules::default()).await;
        let text = |body: &Value, name: &str| body[name].as_str().expect("text").to_owned();
        let made = world.post("/v2/tasks", &admin, wish()).await.expect(201);
        let user = world.user(world.acme, "ada", Role::Admin).await.simple().to_string();
        let subject = world.sign_in(ada(), Value::Null).await.ok().expect("a token").0;
        Made { task: text(&made, "id"), image: text(&made, "image_id"), user, admin, subject, world }
    }

    /// Every call, with `acme`'s things in its path, with and without the prefix.
    fn calls(&self) -> Vec<(Method, &'static str, [String; 2], Case)> {
        let calls = openstack::routes().map(|(method, path)| {
            let case = case(method, path).unwrap_or_else(|| panic!("{method} {path} has no entry"));
            let id = match path {
                path if path.starts_with("/v2/tasks/") => self.task.clone(),
                path if path.starts_with("/v2/images/") => self.image.clone(),
                path if path.starts_with("/v3/users/") => self.user.clone(),
                path if path.starts_with("/v3/domains/") => "default".to_owned(),
                _ => self.world.acme.simple().to_string(),
            };
            let own = path.replace("{id}", &id);
            let prefix = if path.starts_with("/v3") { "/identity" } else { "/image" };
            let verb = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            (verb, path, [own.clone(), format!("{prefix}{own}")], case)
        });
        calls.collect()
    }

    /// A call as it is meant.
    fn request(&self, method: &Method, path: &str, token: &str) -> Request<Body> {
        let request = request(method.clone(), path, token).header("accept", "application/json");
        let body = match (method.as_str(), path.ends_with("/auth/tokens")) {
            ("POST", true) => Body::from(json!({ "auth": { "identity": ada() } }).to_string()),
            ("POST", false) => Body::from(wish().to_string()),
            (_, true) => {
                return request.header("x-subject-token", &self.subject).body(Body::empty()).expect("a request");
            }
            _ => Body::empty(),
        };
        request.body(body).expect("a request")
    }

    /// A call that must leave everything as it is.
    async fn harmless(&self, request: Request<Body>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        let before = changes::held(&*self.world.ledger).await;
        let answer = self.world.send(request).await;
        let after = changes::held(&*self.world.ledger).await;
        assert_eq!(after, before, "{what} answered with {} and changed something", answer.status);
        answer
    }
}

fn wish() -> Value {
    json!({ "type": "import", "input": { "import_from": "https://1.1.1.1/x", "image_properties": { "name": "debian" } } })
}

fn ada() -> Value {
    let user = json!({ "name": "ada", "domain": { "id": "default" }, "password": PASSWORD });
    json!({ "methods": ["password"], "password": { "user": user } })
}

#[tokio::test]
async fn every_call_refuses_whom_it_must() {
    let made = Made::new().await;
    let world = &made.world;
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((*role, world.token(world.acme, *role).await));
    }
    for (method, route, paths, case) in made.calls() {
        for path in paths {
            if matches!(case, Case::Open) {
                let nothing = request(method.clone(), &path, "").body(Body::empty()).expect("a request");
                assert!([200, 400].contains(&made.harmless(nothing).await.status.as_u16()), "{method} {path}");
                continue;
            }
            for token in ["", "unknown", "t1.x.y", "a.b.c"] {
                let answer = made.harmless(made.request(&method, &path, token)).await;
                assert_eq!(answer.status.as_u16(), 401, "{method} {path} with '{token}'");
                assert!(answer.header("www-authenticate").starts_with("Keystone uri="), "{method} {path}");
            }
            for (role, token) in &tokens {
                let may = match case {
                    Case::Needs(right) => role.rights().contains(&right),
                    _ => true,
                };
                let of_token = route == "/v3/auth/tokens";
                // These would do it.
                if may && (method == Method::POST || of_token && *role == Role::Admin) {
                    continue;
                }
                let status = made.harmless(made.request(&method, &path, token)).await.status;
                // Also before the body is looked at.
                assert_eq!(status == 403, !may, "{method} {path} as {role}");
                // Of another one's token, whoever may not know of it is told that there is none.
                assert!(!of_token || status == 404, "{method} {path} as {role}");
            }
        }
    }
}

#[tokio::test]
async fn what_another_tenant_has_is_not_there() {
    let made = Made::new().await;
    let world = &made.world;
    let stranger = world.token(world.globex, Role::Admin).await;
    let acme = world.acme.simple().to_string();
    for (method, route, paths, case) in made.calls() {
        if matches!(case, Case::Open) || method == Method::POST || route == "/v3/domains/{id}" {
            continue;
        }
        for path in paths {
            let answer = made.harmless(made.request(&method, &path, &stranger)).await;
            if route.contains("{id}") || route == "/v3/auth/tokens" {
                assert_eq!(answer.status.as_u16(), 404, "{method} {path}: {}", answer.text);
            } else {
                assert_eq!(answer.status.as_u16(), 200, "{method} {path}: {}", answer.text);
                for secret in [&made.task, &made.image, &made.user, &acme] {
                    assert!(!answer.text.contains(secret.as_str()), "{method} {path}: {}", answer.text);
                }
            }
        }
    }
}

#[tokio::test]
async fn broken_bodies_are_refused() {
    let made = Made::new().await;
    let large = json!({ "type": "import", "input": { "import_from": "x".repeat(1024 * 1024) } }).to_string();
    for (method, _, paths, _) in made.calls().into_iter().filter(|(method, ..)| *method == Method::POST) {
        for path in paths {
            for (body, status) in
                [("", 400), ("{", 400), ("[]", 400), ("3", 400), ("\u{7f}", 400), ("{}", 400), (&large, 413)]
            {
                let asked = request(method.clone(), &path, &made.admin).header("accept", "application/json");
                let answer = made.harmless(asked.body(Body::from(body.to_owned())).expect("a request")).await;
                if path.ends_with(TOKENS) || path == "/v3/auth/tokens" {
                    assert_eq!(answer.expect(status)["error"]["code"], json!(status), "{path} {body:.20}");
                } else {
                    answer.refused(status);
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_changed_tells_by_whom() {
    let made = Made::new().await;
    let world = &made.world;
    let (ada, admin) = (Uuid::parse_str(&made.user).expect("a uuid"), &made.admin);
    for (method, route, [path, _], _) in made.calls() {
        if method == Method::GET || method == Method::HEAD {
            continue;
        }
        let mut by = world.service.authenticate(admin).await.expect("it was let in");
        if (method.as_str(), route) == ("POST", "/v3/auth/tokens") {
            // Who signs in is who shows the password.
            by = world.service.authenticate(&made.subject).await.expect("it was let in");
            assert_eq!(by.actor.id, ada);
        }
        let before = changes::held(&*world.ledger).await;
        let answer = world.send(made.request(&method, &path, admin)).await;
        let after = changes::held(&*world.ledger).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        assert_ne!(before, after, "{method} {path} changed nothing");
        changes::told(&before, &after, &by, &path);
    }
}
