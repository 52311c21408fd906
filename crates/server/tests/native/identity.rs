//! People, programs, keys and the audit record: who is let in, with what, and what is on record of it.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use domain::{Role, Uuid};
use serde_json::{Value, json};
use server::service::{Credential, Wish};

use crate::talk::{Reply, Talk};
use crate::world::World;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn sign_in(name: &str, password: &str) -> Credential {
    Credential::User { login: name.to_owned(), password: password.to_owned() }
}

/// The access token that is given for a credential.
async fn access(world: &World, credential: Credential) -> String {
    let caller = world.service.sign_in(credential, None).await.expect("let in");
    world.service.grant(&caller, Wish::default()).await.expect("granted").access_token
}

/// A conversation as an administrator of the whole tree.
async fn root(world: &World) -> Talk {
    Talk::new(world.router.clone(), &world.token(Uuid::nil(), Role::Admin).await)
}

#[tokio::test]
async fn a_person_is_let_in_and_out_again() {
    let world = World::new().await;
    let mut talk = world.talk(Role::Admin).await;
    let new = json!({ "login": "Night@acme.example", "name": "Night shift", "roles": ["viewer", "issuer"] });
    let made = talk.post("/users", new).await;
    assert_eq!(made.headers["cache-control"], "no-store");
    let id = text(&made.body["user"]["id"]);
    let first = access(&world, sign_in("night@ACME.example", &text(&made.body["password"]))).await;
    let mut guest = Talk::new(world.router.clone(), &first);
    guest.get("/me").await;
    guest.get(&format!("/users/{id}")).await;
    guest.get("/users").await;

    let changed = talk.post(&format!("/users/{id}/password"), json!({ "password": "correct horse" })).await;
    assert_eq!(changed.headers["cache-control"], "no-store");
    access(&world, sign_in("night@acme.example", "correct horse")).await;
    let changed = talk.ask(Method::POST, &format!("/users/{id}/password"), None).await;
    access(&world, sign_in("night@acme.example", &text(&changed.body["password"]))).await;

    talk.delete(&format!("/users/{id}")).await;
    guest.get("/me").await;
    talk.post(&format!("/users/{id}/password"), json!({})).await;
    talk.get("/users?contains=NIGHT").await;
    talk.post("/users", json!({ "login": "NIGHT@acme.example", "roles": ["viewer"] })).await;
    insta::assert_snapshot!(format!("ADMINISTRATOR\n\n{}GUEST\n\n{}", talk.text(), guest.text()));
}

#[tokio::test]
async fn a_program_is_let_in_and_out_again() {
    let world = World::new().await;
    let mut talk = world.talk(Role::Admin).await;
    let new = json!({ "name": "mover", "roles": ["consumer"], "executor": "e-1" });
    let made = talk.post("/clients", new).await;
    assert_eq!(made.headers["cache-control"], "no-store");
    let id = text(&made.body["client"]["id"]);
    let secret = |reply: &Reply| Credential::Client { id: id.clone(), secret: text(&reply.body["secret"]) };
    let first = access(&world, secret(&made)).await;
    let mut guest = Talk::new(world.router.clone(), &first);
    guest.get("/me").await;
    guest.get(&format!("/clients/{id}")).await;
    guest.get("/tasks").await;

    let rotated = talk.ask(Method::POST, &format!("/clients/{id}/secret"), None).await;
    assert_eq!(rotated.headers["cache-control"], "no-store");
    world.service.sign_in(secret(&made), None).await.expect_err("replaced");
    access(&world, secret(&rotated)).await;

    talk.delete(&format!("/clients/{id}")).await;
    guest.get("/me").await;
    talk.ask(Method::POST, &format!("/clients/{id}/secret"), None).await;
    talk.get("/clients?name=mover").await;
    insta::assert_snapshot!(format!("ADMINISTRATOR\n\n{}GUEST\n\n{}", talk.text(), guest.text()));
}

#[tokio::test]
async fn what_cannot_be_let_in_is_said() {
    let world = World::new().await;
    let mut talk = world.talk(Role::Admin).await;
    for body in [
        json!({ "login": "ops", "roles": [] }),
        json!({ "login": "ops", "roles": ["viewer", "viewer"] }),
        json!({ "login": "ops", "roles": ["king"] }),
        json!({ "login": "o:ps", "roles": ["viewer"] }),
        json!({ "login": "ops", "roles": ["viewer"], "password": "short" }),
        json!({ "login": "ops", "roles": ["viewer"], "tenant": world.globex }),
    ] {
        talk.post("/users", body).await;
    }
    talk.post("/clients", json!({ "name": "", "roles": ["viewer"] })).await;
    talk.post("/clients", json!({ "name": "ci", "roles": ["viewer"], "executor": "" })).await;
    insta::assert_snapshot!(talk.text());
}

#[tokio::test]
async fn keys_are_replaced_and_revoked() {
    let world = World::new().await;
    let made = world.protected().await;
    let mut talk = root(&world).await;
    let secret = talk.ask(Method::POST, &format!("/clients/{}/secret", made.client), None).await;
    let credential = Credential::Client { id: made.client.clone(), secret: text(&secret.body["secret"]) };
    let token = access(&world, credential).await;
    let mut guest = Talk::new(world.router.clone(), &token);
    talk.ask(Method::POST, "/signing-keys", None).await;
    assert_eq!(guest.get("/me").await.status, StatusCode::OK, "what was signed before is still accepted");
    talk.get("/signing-keys").await;
    talk.keys().await;
    talk.delete(&format!("/signing-keys/{}", made.key)).await;
    assert_eq!(guest.get("/me").await.code(), "unauthenticated");
    talk.keys().await;
    talk.get("/signing-keys?ended_at_from=2000-01-01T00:00:00Z").await;
    insta::assert_snapshot!(talk.text());
}

#[tokio::test]
async fn the_public_keys_stand_outside_the_api_and_answer_as_it_does() {
    let world = World::new().await;
    let mut talk = Talk::new(world.router.clone(), "");
    assert_eq!(talk.keys().await.headers["cache-control"], "no-cache");
    let request = Request::post(api::KEYS_PATH).body(Body::empty()).expect("a request");
    let reply = talk.send("POST", request).await;
    assert_eq!((reply.status, reply.code()), (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
    assert_eq!(reply.headers["x-request-id"], text(&reply.body["error"]["request_id"]).as_str());
    assert_eq!(talk.get("/.well-known/jwks.json").await.code(), "unknown_route", "there is one place only");
}

#[tokio::test]
async fn nothing_private_leaves() {
    let world = World::new().await;
    let made = world.protected().await;
    let mut talk = root(&world).await;
    let paths = ["/users", "/clients", "/signing-keys", "/audit"].map(str::to_owned);
    let one = [format!("/users/{}", made.user), format!("/clients/{}", made.client)];
    for path in paths.into_iter().chain(one) {
        let body = talk.get(&path).await.body.to_string();
        for word in ["argon2", "hash", "sealed", "private", "\"d\""] {
            assert!(!body.contains(word), "{path} shows '{word}': {body}");
        }
    }
    let keys = talk.keys().await.body.to_string();
    assert!(keys.contains("\"x\"") && !keys.contains("\"d\""), "{keys}");
}

#[tokio::test]
async fn the_audit_record_says_who_did_what() {
    let world = World::new().await;
    let mut admin = world.talk(Role::Admin).await;
    let roles = json!(["viewer"]);
    let user = text(&admin.post("/users", json!({ "login": "ops", "roles": roles })).await.body["user"]["id"]);
    let client = admin.post("/clients", json!({ "name": "reports", "roles": roles })).await.body;
    let client = text(&client["client"]["id"]);
    let mut root = root(&world).await;
    root.delete(&format!("/clients/{client}")).await;
    let me = text(&root.get("/me").await.body["id"]);
    let mut asked = async |query: &str| {
        let reply = admin.get(&format!("/audit?{query}")).await;
        let items = reply.body["items"].as_array().unwrap_or_else(|| panic!("no list: {}", reply.body)).clone();
        items.iter().map(|e| format!("{} {}", text(&e["action"]), text(&e["object_name"]))).collect::<Vec<_>>()
    };
    let (in_, out) = ("client.create reports", "client.revoke reports");
    assert_eq!(asked("limit=1").await, [out], "newest first");
    assert_eq!(asked("action=client.create,user.create").await, [in_, "user.create ops"]);
    assert_eq!(asked("action=client.create,user.create&order=created_at&limit=1").await, ["user.create ops"]);
    assert_eq!(asked(&format!("actor={me}")).await, [out]);
    assert_eq!(asked("actor_name=admin%20of%20acme&action=client.create").await, [in_]);
    assert_eq!(asked("contains=OF%20ROOT&action=client.revoke").await, [out]);
    assert_eq!(asked(&format!("object={client}")).await, [out, in_]);
    assert_eq!(asked(&format!("object={}", client.to_uppercase())).await, [out, in_], "in any letter case");
    assert_eq!(asked(&format!("object={user}")).await, ["user.create ops"]);
    assert_eq!(asked("until=2000-01-01T00:00:00Z").await, Vec::<String>::new());
    assert_eq!(asked(&format!("order=action&object={client}")).await, [in_, out], "by the names that the bodies have");
}
