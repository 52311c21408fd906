//! Repositories: who may use which, what is told of them, and what is never told but to an administrator who asks for it.

use axum::http::StatusCode;
use domain::{Role, Uuid};
use serde_json::{Value, json};
use server::service::{Asked, BackupWish};

use crate::talk::Talk;
use crate::world::World;

const KEY: &str = "tape under the desk";

fn id(body: &Value) -> String {
    body["id"].as_str().unwrap_or_else(|| panic!("no id in {body}")).to_owned()
}

fn bucket(name: &str) -> Value {
    let secrets = json!({ "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": KEY });
    json!({ "name": name, "url": "s3:https://s3.example/cold", "secrets": secrets })
}

#[tokio::test]
async fn secrets_are_told_only_to_an_administrator_who_asks_and_is_on_record() {
    let world = World::new().await;
    let mut admin = world.talk(Role::Admin).await;
    let made = admin.post("/repositories", bucket("cold")).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!(made.body["secrets"], json!(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]));
    let cold = id(&made.body);
    let change = json!({ "name": "colder", "secrets": { "AWS_SECRET_ACCESS_KEY": format!("{KEY}, moved") } });
    assert_eq!(admin.patch(&format!("/repositories/{cold}"), change).await.body["name"], "colder");
    let wrong = json!({ "secrets": { "LD_PRELOAD": KEY } });
    assert_eq!(admin.patch(&format!("/repositories/{cold}"), wrong).await.code(), "invalid_field");
    for path in ["/repositories", &format!("/repositories/{cold}"), "/audit"] {
        let shown = admin.get(path).await.body.to_string();
        assert!(!shown.contains("tape"), "{path}: {shown}");
    }

    let mut editor = world.talk(Role::Editor).await;
    assert_eq!(editor.post(&format!("/repositories/{cold}/key"), json!({})).await.code(), "forbidden");
    let before = exports(&mut admin).await;
    let key = admin.post(&format!("/repositories/{cold}/key"), json!({})).await;
    assert_eq!(key.headers["cache-control"], "no-store");
    assert_eq!(key.body["secrets"]["AWS_SECRET_ACCESS_KEY"], format!("{KEY}, moved"));
    assert!(key.body["password"].as_str().is_some_and(|p| p.len() >= 32), "a password of its own");
    assert_eq!(exports(&mut admin).await, before + 1);

    let taken = json!({ "secrets": { "AWS_ACCESS_KEY_ID": null, "AWS_SECRET_ACCESS_KEY": null } });
    assert_eq!(admin.patch(&format!("/repositories/{cold}"), taken).await.body["secrets"], json!([]));
}

async fn exports(admin: &mut Talk) -> usize {
    let log = admin.get("/audit").await.body;
    let items = log["items"].as_array().expect("a list").clone();
    items.iter().filter(|entry| entry["action"] == "repository.export_key").count()
}

#[tokio::test]
async fn an_agent_says_whether_it_reaches_a_repository_and_nobody_elses_gets_the_password() {
    let world = World::new().await;
    let mut operator = world.talk(Role::Operator).await;
    let vault = id(&operator.get("/repositories").await.body["items"][0]);
    let place = format!("/repositories/{vault}/test");
    assert_eq!(operator.post(&place, json!({})).await.code(), "agent_offline");

    let agent = world.agent().await.id();
    let test = operator.post(&place, json!({})).await;
    assert_eq!(test.body, json!({ "agent": agent, "agent_name": "web-1", "found": true }), "any will do");
    let own = id(&world.talk(Role::Admin).await.post("/repositories", bucket("cold")).await.body);
    let other = operator.post(&format!("/repositories/{own}/test"), json!({ "agent": agent })).await.body;
    assert_eq!((&other["found"], &other["error"]["code"]), (&json!(false), &json!("wrongPassword")), "{other}");

    // Somebody who sees both has no password of one tenant handed to another's agent.
    let mut root = Talk::new(world.router.clone(), &world.token(Uuid::nil(), Role::Admin).await);
    let of_globex = root.get("/repositories?name=vault%20of%20globex").await.body;
    let place = format!("/repositories/{}/test", id(&of_globex["items"][0]));
    assert_eq!(root.post(&place, json!({})).await.code(), "agent_offline");
    let refused = root.post(&place, json!({ "agent": agent })).await;
    assert_eq!((refused.code(), &refused.body["error"]["field"]), ("not_found", &json!("agent")));
    let shared = id(&root.post("/repositories", json!({ "name": "shared", "url": "/srv/shared" })).await.body);
    let below = root.post(&format!("/repositories/{shared}/test"), json!({ "agent": agent })).await;
    assert_eq!(below.status, StatusCode::OK, "what is above serves all below: {}", below.body);
}

#[tokio::test]
async fn a_repository_goes_when_nothing_uses_it() {
    let world = World::new().await;
    let made = world.protected().await;
    let mut admin = world.talk(Role::Admin).await;
    let used = admin.delete(&format!("/repositories/{}", made.repository)).await;
    assert_eq!((used.status, used.code()), (StatusCode::CONFLICT, "in_use"));

    let cold = id(&admin.post("/repositories", bucket("cold")).await.body);
    let twice = admin.post("/repositories", bucket("cold")).await;
    assert_eq!(twice.code(), "already_exists");
    let policy = json!({ "repository": cold });
    let moved = admin.patch(&format!("/policies/{}", made.policy), policy).await;
    assert_eq!(moved.body["repository"], cold.as_str(), "a policy goes to another one");
    assert_eq!(admin.delete(&format!("/repositories/{cold}")).await.code(), "in_use");
    let back = json!({ "repository": made.repository });
    admin.patch(&format!("/policies/{}", made.policy), back).await;
    assert_eq!(admin.delete(&format!("/repositories/{cold}")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(admin.get(&format!("/repositories/{cold}")).await.code(), "not_found");
}

#[tokio::test]
async fn a_policy_stores_at_its_own_tenant_before_those_above_and_never_elsewhere() {
    let world = World::new().await;
    let mut root = Talk::new(world.router.clone(), &world.token(Uuid::nil(), Role::Admin).await);
    let shared = id(&root.post("/repositories", json!({ "name": "shared", "url": "/srv/shared" })).await.body);
    let branch = id(&root.post("/tenants", json!({ "name": "branch" })).await.body);
    let policy = |name: &str| json!({ "name": name, "schedule": { "kind": "manual" } });
    let mut of_branch = policy("of the branch");
    of_branch["tenant"] = json!(branch);
    assert_eq!(root.post("/policies", of_branch).await.body["repository"], shared.as_str());

    let mut acme = world.talk(Role::Admin).await;
    let own = acme.post("/policies", policy("own")).await.body;
    assert_ne!(own["repository"], shared.as_str(), "acme has one of its own");
    let mut named = policy("shared");
    named["repository"] = json!(shared);
    assert_eq!(acme.post("/policies", named).await.status, StatusCode::CREATED, "what is above serves all below");
    let globex =
        Talk::new(world.router.clone(), &world.token(world.globex, Role::Admin).await).get("/repositories").await.body
            ["items"][0]["id"]
            .clone();
    let mut foreign = policy("foreign");
    foreign["repository"] = globex.clone();
    assert_eq!(acme.post("/policies", foreign.clone()).await.code(), "not_found");
    // Nor does anybody who sees both give one tenant's agents the password of another's.
    foreign["tenant"] = json!(world.acme);
    assert_eq!(root.post("/policies", foreign).await.code(), "not_found");
    let place = format!("/policies/{}", id(&own));
    let moved = root.patch(&place, json!({ "repository": globex })).await;
    assert_eq!((moved.code(), &moved.body["error"]["field"]), ("not_found", &json!("repository")));
    assert_eq!(root.post(&format!("{place}/preview"), json!({ "repository": globex })).await.code(), "not_found");
    let below = root.patch(&place, json!({ "repository": shared })).await;
    assert_eq!(below.status, StatusCode::OK, "{}", below.body);
    assert_eq!(acme.delete(&format!("/repositories/{shared}")).await.code(), "not_found");
}

#[tokio::test]
async fn a_backup_that_is_asked_for_lies_at_its_resources_tenant_or_above() {
    let world = World::new().await;
    let made = world.protected().await;
    let mut root = Talk::new(world.router.clone(), &world.token(Uuid::nil(), Role::Admin).await);
    root.patch(&format!("/resources/{}", made.resource), json!({ "agent": made.agent })).await;
    root.post("/repositories", json!({ "name": "shared", "url": "/srv/shared" })).await;
    let resource = Uuid::parse_str(&made.resource).expect("an id");
    let back_up = |repository: &str| {
        let wish = BackupWish { resource, repository: Some(repository.to_owned()), keep: None };
        world.service.back_up(&world.root, wish, Asked::default())
    };
    assert_eq!(back_up("vault of globex").await.expect_err("another's").field.as_deref(), Some("repository"));
    for name in ["vault of acme", "shared"] {
        back_up(name).await.expect("a task");
    }
}

#[tokio::test]
async fn what_cannot_be_reached_or_is_the_servers_own_is_refused_by_name() {
    let world = World::new().await;
    let mut admin = world.talk(Role::Admin).await;
    for (body, field) in [
        (json!({ "name": "x", "url": "ftp://host/x" }), "url"),
        (json!({ "name": "x", "url": "rest:https://ops:tape@host/" }), "url"),
        (json!({ "name": "x", "url": "/srv/x", "secrets": { "AWS_ACCESS_KEY_ID": "tape" } }), "secrets"),
        (json!({ "name": "x", "url": "/srv/x", "password": "" }), "password"),
        (json!({ "name": "local", "url": "/srv/x" }), "name"),
        (json!({ "name": " ", "url": "/srv/x" }), "name"),
    ] {
        let refused = admin.post("/repositories", body.clone()).await;
        assert_eq!((refused.code(), &refused.body["error"]["field"]), ("invalid_field", &json!(field)), "{body}");
        assert!(!refused.body.to_string().contains("tape"), "{}", refused.body);
    }
}
