//! How refusals look: one shape, a stable code, and a hint that helps.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use domain::Role;
use serde_json::json;

use crate::talk::Talk;
use crate::world::World;

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).expect("a request")
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn routes_and_methods() {
    let world = World::new().await;
    let mut talk = world.talk(Role::Viewer).await;
    talk.get("/nothing").await;
    talk.get("").await;
    talk.delete("/tasks").await;
    talk.ask(Method::PUT, "/resources/7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d", None).await;
    talk.get("/tasks/seven").await;
    talk.get("/tasks/7").await;
    talk.get("/resources/%FF").await;
    insta::assert_snapshot!(talk.text());
}

#[tokio::test]
async fn tokens() {
    let world = World::new().await;
    let mut talk = Talk::new(world.router.clone(), "");
    talk.get("/me").await;
    for header in ["Basic dXNlcjpwYXNz", "Bearer ", "Bearer nonsense"] {
        talk.send(&format!("GET /me with '{header}'"), request(Method::GET, "/me", &[("authorization", header)], ""))
            .await;
    }
    // Where no route is, nobody is asked for a token, and nothing is learnt.
    talk.get("/nothing").await;
    talk.get("/health").await;
    world.shutdown.cancel();
    talk.get("/health").await;
    insta::assert_snapshot!(talk.text());
}

#[tokio::test]
async fn query_strings() {
    let world = World::new().await;
    let mut talk = world.talk(Role::Viewer).await;
    for query in [
        "stat=started",
        "colour=red",
        "state=begun",
        "state=",
        "state=started,,paused",
        "since=yesterday",
        "since=2026-11-21T00:00:00Z&until=2026-11-20T00:00:00Z",
        "since=2026-11-21T00:00:00Z&created_at_from=2026-11-20T00:00:00Z",
        "limit=0",
        "limit=1001",
        "limit=many",
        "limit=1&limit=2",
        "page=0",
        "page=1&cursor=x",
        "cursor=x",
        "order=colour",
        "order=tag",
        "order=id,-id",
        "resource=web-1,7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d",
        "total=perhaps",
        "contains=%zz",
        "contains=%ff",
        "contains=",
    ] {
        let reply = talk.get(&format!("/tasks?{query}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{query}");
    }
    talk.get("/tasks/counts?by=colour").await;
    talk.get("/tasks/counts?by=state,result,type").await;
    talk.get("/tasks/counts?limit=5").await;
    talk.get("/resources?kind=toaster").await;
    talk.get("/tasks/events?since=2026-11-21T00:00:00Z").await;
    talk.get("/tasks/events?since=1000000").await;
    insta::assert_snapshot!(talk.text());
}

#[tokio::test]
async fn bodies() {
    let world = World::new().await;
    let mut talk = world.talk(Role::Admin).await;
    for body in [
        "{",
        "[]",
        "{\"name\": 1}",
        "{\"name\": \"a\", \"name\": \"b\"}",
        "{\"name\": \"a\", \"descripton\": \"b\"}",
        "{}",
        "\u{feff}{}",
        "",
    ] {
        talk.send(&format!("POST /tenants {body:?}"), request(Method::POST, "/tenants", &[JSON], body)).await;
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let body = "{\"name\": \"a\"}";
        let refused = request(Method::POST, "/tenants", &[("content-type", kind)], body);
        talk.send(&format!("POST /tenants as {kind}"), refused).await;
    }
    let large = format!("{{\"name\": \"{}\"}}", "a".repeat(1024 * 1024));
    talk.send("POST /tenants with more than 1 MiB", request(Method::POST, "/tenants", &[JSON], large)).await;
    talk.post("/tokens", json!({ "name": "a", "role": "king" })).await;
    talk.post("/policies", json!({ "name": "a", "schedule": { "kind": "interval", "every": "1s" } })).await;
    talk.post("/policies", json!({ "name": "a", "schedule": { "kind": "hourly" } })).await;
    insta::assert_snapshot!(talk.text());
}

#[tokio::test]
async fn a_request_id_is_kept_if_it_is_sane() {
    let world = World::new().await;
    let mut talk = world.talk(Role::Viewer).await;
    let mut id = async |sent: &str| {
        let reply = talk.send("GET /nothing", request(Method::GET, "/nothing", &[("x-request-id", sent)], "")).await;
        let header = reply.headers["x-request-id"].to_str().expect("text").to_owned();
        assert_eq!(reply.body["error"]["request_id"], header.as_str(), "the body has the id of the header");
        header
    };
    assert_eq!(id("abc-1.2_3").await, "abc-1.2_3");
    for odd in ["", "a b", "a\tb", "<script>", &"a".repeat(65)] {
        let made = id(odd).await;
        assert_ne!(made, odd);
        assert!(domain::Uuid::parse_str(&made).is_ok(), "{made}");
    }
    // Answers that are no errors have one, too.
    let reply = talk.get("/me").await;
    assert!(reply.headers.contains_key("x-request-id"));
}
