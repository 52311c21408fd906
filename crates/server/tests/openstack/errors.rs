//! Refusals of the Image API: what they look like to whom, and each that is documented.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use domain::Role;
use serde_json::{Value, json};

use crate::world::{World, request};

#[tokio::test]
async fn refusals_follow_what_the_client_names() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    let path = "/v2/tasks?status=%3Cb%3E";
    let of = async |accept: &str| {
        let request = request(Method::GET, path, &token).header("accept", accept.to_owned());
        world.send(request.body(Body::empty()).expect("a request")).await
    };
    let json = of("application/json").await;
    assert_eq!(json.header("content-type"), "application/json");
    let expected = json!({ "message": "Invalid status value: <b>", "code": "400 Bad Request", "title": "Bad Request" });
    assert_eq!(json.expect(400), expected);
    let page = of("*/*").await;
    assert_eq!(page.header("content-type"), "text/html; charset=UTF-8");
    assert!(page.text.contains("<title>400 Bad Request</title>"), "{}", page.text);
    assert!(page.text.contains("Invalid status value: &lt;b&gt;"), "{}", page.text);
    let text = of("text/plain").await;
    assert_eq!(text.text, "400 Bad Request\n\nInvalid status value: <b>\n");
}

#[tokio::test]
async fn each_wrong_word_of_a_list_is_told() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Viewer).await;
    for (query, message) in [
        ("limit=-1", "limit param must be positive"),
        ("limit=x", "limit param must be an integer"),
        ("limit=", "limit param must be an integer"),
        ("marker=x", "Invalid marker format"),
        ("sort_key=info", "Sort key supplied was not valid."),
        ("sort_key=", "Sort key supplied was not valid."),
        ("sort_dir=up", "Invalid sort direction: up"),
        ("sort_dir=ASC", "Invalid sort direction: ASC"),
        ("type=none", "Invalid type value: none"),
        ("type=in:import,none&limit=0", "Invalid type value: none"),
        ("status=PENDING", "Invalid status value: PENDING"),
        ("info=1", "Tasks cannot be filtered by info."),
    ] {
        assert_eq!(world.get(&format!("/v2/tasks?{query}"), &token).await.refused(400), message, "{query}");
    }
    let early = world.waiting(world.acme, "import").await;
    assert_eq!(early.spec.kind, "import");
    let found = world.get("/v2/tasks?type=in:import,none", &token).await.refused(400);
    assert_eq!(found, "Invalid type value: none", "whatever else is found");
    for (query, told) in [
        ("created_at=lt:9999-12-31T23:59:59Z", "lies too far away"),
        ("created_at=neq:2026-11-21T09:30:00", "gt:, gte:, lt:, lte:"),
        ("updated_at=2026-11-21T09:30:00+01:00", "%2B"),
    ] {
        let message = world.get(&format!("/v2/tasks?{query}"), &token).await.refused(400);
        assert!(message.contains(told), "{message}");
    }
    for query in ["x=%ff", "created_at=yesterday"] {
        world.get(&format!("/v2/tasks?{query}"), &token).await.refused(400);
    }
    // A type of somebody else's that the caller sees is known.
    world.waiting(world.acme, "others_work").await;
    assert_eq!(world.get("/v2/tasks?type=others_work", &token).await.status, StatusCode::OK);
    world.waiting(world.globex, "secret_work").await;
    world.get("/v2/tasks?type=secret_work", &token).await.refused(400);
}

#[tokio::test]
async fn methods_that_are_not_there() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Admin).await;
    let id = world.waiting(world.acme, "import").await.spec.uuid;
    let task = format!("/v2/tasks/{id}");
    for (method, path, allow) in [
        (Method::HEAD, "/v2/tasks", "GET, POST"),
        (Method::DELETE, "/v2/tasks", "GET, POST"),
        (Method::PUT, task.as_str(), "GET, DELETE"),
        (Method::PATCH, task.as_str(), "GET, DELETE"),
        (Method::DELETE, task.as_str(), "GET"),
        (Method::POST, "/v2/images", "GET"),
        (Method::DELETE, "/v2/images/x", "GET"),
        (Method::PUT, "/v2/schemas/task", "GET"),
        (Method::POST, "/versions", "GET, HEAD"),
        (Method::DELETE, "/image", "GET, HEAD"),
        (Method::POST, "/identity", "GET, HEAD"),
    ] {
        let answer = world.call(method.clone(), path, &token, Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, allow), "{method} {path}");
    }
    for (method, path) in [(Method::POST, "/v2/images"), (Method::PATCH, "/v2/images/x")] {
        let told = world.call(method, path, &token, Value::Null).await.refused(405);
        assert!(told.contains("a task of type 'import'"), "{told}");
    }
    assert!(world.get("/v2/images/x/file", &token).await.refused(404).contains("backstay restore"));
    world.get("/v2//tasks", &token).await.refused(404);
    world.get("/v3//projects", &token).await.expect(404);
    let expire = world.call(Method::DELETE, &task, &token, Value::Null).await.refused(405);
    assert!(expire.contains("expire"), "{expire}");
    let options = world.call(Method::OPTIONS, "/v2/tasks", &token, Value::Null).await;
    assert_eq!((options.status.as_u16(), options.text.as_str(), options.header("allow")), (200, "", "GET, POST"));
}

#[tokio::test]
async fn what_others_own_is_not_there() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Admin).await;
    let foreign = world.waiting(world.globex, "import").await.spec.uuid;
    for id in [foreign.to_string(), domain::Uuid::from_u128(3).to_string(), "x".to_owned()] {
        let message = world.get(&format!("/v2/tasks/{id}"), &token).await.refused(404);
        assert_eq!(message, format!("Could not find task {id}"));
    }
}

#[tokio::test]
async fn bodies_that_are_no_tasks() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Admin).await;
    let raw = async |body: &str| {
        let request = request(Method::POST, "/v2/tasks", &token).header("accept", "application/json");
        world.send(request.body(Body::from(body.to_owned())).expect("a request")).await.refused(400)
    };
    assert_eq!(raw("").await, "Body expected in request.");
    assert_eq!(raw("{").await, "Malformed JSON in request body.");
    assert_eq!(raw("3").await, "Unexpected body type. Expected list/dict.");
    assert_eq!(raw("{}").await, "Task 'type' is required");
    assert_eq!(raw(r#"{"type": "import"}"#).await, "Task 'input' is required");
    assert_eq!(raw(r#"{"type": "import", "input": null}"#).await, "Task 'input' is required");
    for (body, named) in [
        (r#"{"type": "export", "input": {}}"#, "'export'"),
        (r#"{"type": "clone", "input": {}}"#, "'clone'"),
        (r#"{"type": "import", "input": {}, "colour": 1}"#, "'colour'"),
        (r#"{"type": "import", "input": 3}"#, "'input'"),
        (r#"{"type": "import", "input": {}, "id": "x"}"#, "'id'"),
    ] {
        let message = raw(body).await;
        assert!(message.starts_with("Provided object does not match schema 'task': "), "{message}");
        assert!(message.contains(named), "{message}");
    }
    for kind in ["api_image_import", "location_import"] {
        let message = raw(&format!(r#"{{"type": "{kind}", "input": {{}}}}"#)).await;
        assert!(message.contains("not supported here"), "{message}");
    }
    assert_eq!(raw(r#"{"type": "import", "input": {}}"#).await, "Invalid location: None");
}
