//! Every call of the dialect against everybody whom it must refuse. A call without an entry fails the test, so none can be
//! forgotten.

use axum::http::Method;
use domain::{Right, Role};
use serde_json::{Value, json};
use server::dialects::openstack;

use crate::world::World;

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

#[tokio::test]
async fn every_call_refuses_whom_it_must() {
    let world = World::new().await;
    let id = world.waiting(world.acme, "import").await.spec.uuid.to_string();
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((*role, world.token(world.acme, *role).await));
    }
    for (method, path) in openstack::routes() {
        let case = case(method, path).unwrap_or_else(|| panic!("{method} {path} has no entry"));
        let own = path.replace("{id}", &id);
        let verb = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let prefix = if path.starts_with("/v3") { "/identity" } else { "/image" };
        for path in [own.clone(), format!("{prefix}{own}")] {
            let call = async |token: &str| world.call(verb.clone(), &path, token, Value::Null).await;
            let status = async |token: &str| call(token).await.status.as_u16();
            if matches!(case, Case::Open) {
                assert!([200, 400].contains(&status("").await), "{method} {path}");
                continue;
            }
            for token in ["", "unknown", "t1.x.y", "a.b.c"] {
                let answer = call(token).await;
                assert_eq!(answer.status.as_u16(), 401, "{method} {path} with '{token}'");
                assert!(answer.header("www-authenticate").starts_with("Keystone uri="), "{method} {path}");
            }
            for (role, token) in &tokens {
                let may = match case {
                    Case::Needs(right) => role.rights().contains(&right),
                    _ => true,
                };
                // Also before the body is looked at.
                assert_eq!(status(token).await == 403, !may, "{method} {path} as {role}");
            }
        }
    }
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let world = World::new().await;
    let token = world.token(world.acme, Role::Admin).await;
    let large = json!({ "type": "import", "input": { "import_from": "x".repeat(1024 * 1024) } });
    world.post("/v2/tasks", &token, large.clone()).await.refused(413);
    assert_eq!(world.post("/v3/auth/tokens", "", large).await.expect(413)["error"]["code"], json!(413));
}
