//! Paths, tokens, contexts, versions, throttling, and errors of every layer (sections 3, 4 and 6).

use axum::body::Body;
use axum::http::{Method, Request};
use domain::{Role, Uuid};
use serde_json::{Value, json};
use server::service::Rate;

use crate::world::{World, request};

const CONTEXT: &str = "x-clumio-organizationalunit-context";

#[tokio::test]
async fn discovery_tells_every_resource_with_its_versions() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    for path in ["/", "/clumio", "/clumio/", "/api", "//clumio//api//"] {
        let answer = world.get(path, &token).await;
        assert_eq!(answer.header("content-type"), "application/api.clumio.*=v1+json", "{path}");
        let body = answer.ok();
        for (name, method, href) in server::dialects::clumio::operations() {
            let Some((_, versions)) =
                body.as_object().expect("an object").iter().find(|(_, r)| r["v1"][name].is_object())
            else {
                assert!(matches!(name, "discovery" | "read-restored-file"), "{name} is not told of");
                continue;
            };
            for version in versions["supported_versions"].as_array().expect("versions") {
                let told = &versions[version.as_str().expect("a version")][name];
                let templated = href.contains('{');
                assert_eq!(told, &json!({"href": href, "type": method.to_lowercase(), "templated": templated}));
            }
        }
    }
}

#[tokio::test]
async fn a_browser_is_told_what_this_is() {
    let world = World::new().await;
    let browser = Request::get("/").header("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
    let answer = world.send(browser.body(Body::empty()).expect("a request")).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(world.get("/", "").await.refused(), (401, vec![4010]), "programs need a token");
}

#[tokio::test]
async fn what_no_dialect_has_is_refused_in_this_ones_shape() {
    let world = World::new().await;
    for path in
        ["/nothing", "/connections/aws", "/api/tasks/1/2/3", "/tasks/%ff", "/clumio/api/v1/tasks", "/favicon.ico"]
    {
        assert_eq!(world.get(path, "").await.refused(), (404, vec![4040]), "{path}");
    }
    for path in ["/api/v1/nothing", "/api/2/nothing", "/api/task_manager/v2/nothing", "/backup/v1/nothing"] {
        assert!(world.get(path, "").await.body["errors"].is_null(), "{path}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_which_are_right() {
    let world = World::new().await;
    let answer = world.call(Method::POST, "/", "", json!({})).await;
    assert_eq!((answer.refused(), answer.header("allow")), ((405, vec![4050]), "GET, HEAD"));
    let head = world.call(Method::HEAD, "/", &world.token(world.acme, Role::Viewer).await, Value::Null).await;
    assert_eq!((head.status.as_u16(), head.body), (200, json!("")));
}

#[tokio::test]
async fn tokens_are_needed_in_any_case_of_letters() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let none = world.get("/", "").await;
    assert_eq!((none.refused(), none.header("www-authenticate")), ((401, vec![4010]), "Bearer"));
    assert_eq!(world.get("/", "nonsense").await.refused(), (401, vec![4011]));
    for scheme in ["bearer", "BEARER", "Bearer"] {
        let shown = Request::get("/").header("authorization", format!("{scheme} {token}"));
        assert_eq!(world.send(shown.body(Body::empty()).expect("a request")).await.status, 200);
    }
}

#[tokio::test]
async fn the_context_is_the_tokens_tenant_or_below() {
    let world = World::new().await;
    let below = world.tenant_below(world.acme, "below").await;
    let token = world.token(world.acme, Role::Viewer).await;
    let within = async |context: &str| {
        let asked = request(Method::GET, "/", &token).header(CONTEXT, context);
        world.send(asked.body(Body::empty()).expect("a request")).await
    };
    for inside in ["", &world.acme.to_string(), &below.to_string(), &below.to_string().to_uppercase()] {
        assert_eq!(within(inside).await.status, 200, "{inside}");
    }
    for outside in [world.globex, Uuid::nil(), Uuid::from_u128(7)] {
        assert_eq!(within(&outside.to_string()).await.refused(), (403, vec![4031]), "{outside}");
    }
    assert_eq!(within("acme").await.refused(), (400, vec![4000]));
}

#[tokio::test]
async fn too_much_is_refused_as_json() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let long = format!("/?x={}", "y".repeat(17 * 1024));
    assert_eq!(world.get(&long, &token).await.refused(), (414, vec![4140]));
    let large = request(Method::GET, "/", &token).header("x-large", "y".repeat(40 * 1024));
    assert_eq!(world.send(large.body(Body::empty()).expect("a request")).await.refused(), (431, vec![4310]));
}

#[tokio::test]
async fn throttling_counts_each_tenant_and_resource_and_says_when_to_come_back() {
    let world = World::with(|service| service.limiting(Some(Rate { per_second: 0.01, burst: 3.0 }))).await;
    let token = world.token(world.acme, Role::Viewer).await;
    let same = world.token(world.acme, Role::Admin).await;
    let other = world.token(world.globex, Role::Viewer).await;
    for token in [&token, &same, &token] {
        assert_eq!(world.get("/", token).await.status, 200);
    }
    let refused = world.get("/", &same).await;
    assert_eq!(refused.refused(), (429, vec![4290]));
    let wait: u64 = refused.header("retry-after").parse().expect("whole seconds");
    assert!((1..=100).contains(&wait), "{wait}");
    assert_eq!(world.get("/", &other).await.status, 200);
}

#[tokio::test]
async fn request_ids_are_taken_over_or_made() {
    let world = World::new().await;
    let own = request(Method::GET, "/nothing", "").header("x-request-id", "mine-1");
    assert_eq!(world.send(own.body(Body::empty()).expect("a request")).await.header("x-request-id"), "mine-1");
    assert!(Uuid::parse_str(world.get("/nothing", "").await.header("x-request-id")).is_ok());
}
