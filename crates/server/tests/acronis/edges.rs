//! Methods, paths and tokens that are not right, and every account and token endpoint against what it must refuse. A route
//! without an entry fails the test.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{Method, StatusCode};
use domain::{Role, Uuid};
use serde_json::{Value, json};
use server::dialects::acronis;

use crate::coverage::{method, no_callers};
use crate::shape::{BASES, as_refusal, refused};
use crate::world::{Answer, ClientKey, TOKEN, World, basic, bearer, request};

#[tokio::test]
async fn every_path_refuses_other_methods_and_says_which_it_has() {
    let world = World::new().await;
    let auth = world.bearer(world.acme, Role::Admin).await;
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path) in acronis::routes() {
        let has = paths.entry(path).or_default();
        has.insert(method.to_ascii_uppercase());
        if method == "get" {
            has.insert("HEAD".to_owned());
        }
    }
    for (path, has) in paths {
        let path = path.replace("{id}", "1").replace("{blocker}", "1");
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            if has.contains(method) {
                continue;
            }
            let what = format!("{method} {path}");
            let method: Method = method.parse().expect("a method");
            let answer =
                world.send(request(method.clone(), &path, &auth).body(Body::empty()).expect("a request")).await;
            assert_eq!(answer.0, StatusCode::METHOD_NOT_ALLOWED, "{what}");
            let allow = answer.1["allow"].to_str().expect("text");
            assert_eq!(allow.split(',').map(|m| m.trim().to_owned()).collect::<BTreeSet<_>>(), has, "{what}");
            if path.contains("/task_manager/") && method != Method::HEAD {
                assert_eq!(refused(&answer, &what), as_refusal(405, "methodNotAllowed"), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn where_nothing_is_the_answer_has_the_same_form() {
    let world = World::new().await;
    let auth = world.bearer(world.acme, Role::Admin).await;
    for base in BASES {
        for rest in ["", "/", "/task", "/tasks/", "/tasks/1/", "/tasks/1/delete", "/tasks/1/blockers/1", "/Tasks"] {
            for auth in ["", &auth] {
                let path = format!("{base}{rest}");
                let answer = world.get(&path, auth).await;
                assert_eq!(refused(&answer, &path), as_refusal(404, "notFound"), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_bearer_is_read_in_any_case_and_with_padding() {
    // D10
    let world = World::new().await;
    let header = world.bearer(world.acme, Role::Viewer).await;
    let token = header.strip_prefix("Bearer ").expect("a bearer");
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let (status, ..) = world.get(&format!("{}/tasks", BASES[0]), &format!("{scheme} {token}")).await;
        assert_eq!(status, StatusCode::OK, "{scheme}");
    }
    let twice = request(Method::GET, &format!("{}/tasks", BASES[0]), &header).header("authorization", &header);
    let answer = world.send(twice.body(Body::empty()).expect("a request")).await;
    assert_eq!(refused(&answer, "two headers"), as_refusal(401, "unauthorized"));
}

#[tokio::test]
async fn an_access_token_is_worth_what_was_asked_for_and_no_longer_than_its_client() {
    let world = World::new().await;
    let client = world.client(world.acme, &[Role::Admin]).await;
    let tasks = format!("{}/tasks", BASES[0]);
    let access = async |client: &ClientKey, scope: &str| {
        let parameters = [("grant_type", "client_credentials"), ("scope", scope)];
        let (status, _, body) = world.form(TOKEN, &client.basic(), &parameters).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    };
    let token = |body: &Value, name: &str| bearer(body[name].as_str().expect("a token"));
    // D11: one scope for each role; only two of them see.
    for (role, status) in [("viewer", 200), ("issuer", 403), ("consumer", 403), ("admin", 200)] {
        let body = access(&client, &format!("urn:acronis.com::task_manager::{role}")).await;
        for list in ["tasks", "activities"] {
            let answer = world.get(&format!("{}/{list}", BASES[0]), &token(&body, "access_token")).await;
            assert_eq!(answer.0, status, "{role}");
            if status == 403 {
                assert_eq!(refused(&answer, role), as_refusal(403, "forbidden"));
            }
        }
    }
    let body = access(&client, "").await;
    let good = token(&body, "access_token");
    assert_eq!(world.get(&tasks, &good).await.0, StatusCode::OK);
    let answer = world.get(&tasks, &token(&body, "id_token")).await;
    assert_eq!(refused(&answer, "an id token"), as_refusal(401, "unauthorized"));
    // With another signature, and with none.
    let (signed, signature) = good.rsplit_once('.').expect("a signature");
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    for changed in [format!("{signed}.{other}{}", &signature[1..]), format!("{signed}."), signed.to_owned()] {
        let answer = world.get(&tasks, &changed).await;
        assert_eq!(refused(&answer, "a changed token"), as_refusal(401, "unauthorized"));
    }
    world.service.revoke_client(&world.root, client.id).await.expect("revoked");
    let answer = world.get(&tasks, &good).await;
    assert_eq!(refused(&answer, "a revoked client"), as_refusal(401, "unauthorized"));
}

/// What the test must know of a route of the account endpoints.
struct Account {
    /// Who may; nobody is asked if there is none.
    who: Option<&'static [Role]>,
    query: String,
    id: Option<Uuid>,
    body: Option<Value>,
    /// What another tenant's administrator gets.
    foreign: u16,
    status: u16,
}

fn account(method: &str, path: &str, world: &World, client: Uuid) -> Option<Account> {
    const SEEING: &[Role] = &[Role::Viewer, Role::Operator, Role::Editor, Role::Admin];
    let of = |who| Account { who, query: String::new(), id: None, body: None, foreign: 200, status: 200 };
    match (method, path) {
        ("get", "/api/1/accounts") => Some(Account { query: "?login=operator".into(), ..of(None) }),
        ("get", "/api/2/users/me") => Some(of(Some(Role::ALL))),
        ("post", "/api/2/clients") => {
            let body = json!({
                "type": "api_client",
                "tenant_id": world.acme,
                "token_endpoint_auth_method": "client_secret_basic",
                "data": { "client_name": "reports" },
            });
            Some(Account { body: Some(body), foreign: 403, status: 201, ..of(Some(&[Role::Admin])) })
        }
        ("get", "/api/2/clients/{id}") => Some(Account { id: Some(client), foreign: 404, ..of(Some(&[Role::Admin])) }),
        ("get", "/api/2/tenants") => {
            Some(Account { query: format!("?subtree_root_id={}", world.acme), foreign: 404, ..of(Some(SEEING)) })
        }
        ("get", "/api/2/tenants/{id}") => Some(Account { id: Some(world.acme), foreign: 404, ..of(Some(SEEING)) }),
        _ => None,
    }
}

#[tokio::test]
async fn every_account_endpoint_refuses_what_it_must() {
    let world = World::new().await;
    let client = world.client(world.acme, &[Role::Viewer]).await.id;
    let strangers = no_callers(&world).await;
    let shape = |(status, headers, body): &Answer, what: &str| {
        assert_eq!(headers["content-type"], "application/json", "{what}");
        assert_eq!(body["error"]["code"], status.as_u16(), "{what}: {body}");
        for text in ["message", "domain"] {
            assert!(body["error"][text].as_str().is_some_and(|t| !t.is_empty()), "{what}: {body}");
        }
        status.as_u16()
    };
    let others: Vec<_> = acronis::routes().filter(|(_, p)| !BASES.iter().any(|b| p.starts_with(b))).collect();
    for (verb, path) in others.into_iter().filter(|(_, path)| !path.ends_with("/token")) {
        let name = format!("{verb} {path}");
        let case = account(verb, &path, &world, client);
        let case = case.unwrap_or_else(|| panic!("the route {name} has no entry in this test"));
        let path = path.replace("{id}", &case.id.unwrap_or_default().to_string()) + &case.query;
        let ask = async |auth: &str, body: Option<(&str, &str)>| {
            let mut request = request(method(verb), &path, auth).header("host", "localhost");
            if let Some((kind, _)) = body {
                request = request.header("content-type", kind);
            }
            let body = body.map_or_else(Body::empty, |(_, text)| Body::from(text.to_owned()));
            world.send(request.body(body).expect("a request")).await
        };
        let text = case.body.as_ref().map(Value::to_string);
        let right = text.as_deref().map(|text| ("application/json", text));
        let Some(who) = case.who else {
            assert_eq!(ask("", right).await.0.as_u16(), case.status, "{name}");
            continue;
        };
        for (what, auth) in &strangers {
            // A name and a password are let in here, if they are right.
            assert_eq!(shape(&ask(auth, right).await, &name), 401, "{name} with {what}");
        }
        for role in Role::ALL {
            let answer = ask(&world.bearer(world.acme, *role).await, right).await;
            match who.contains(role) {
                true => assert_eq!(answer.0.as_u16(), case.status, "{name} as {role}: {}", answer.2),
                false => assert_eq!(shape(&answer, &name), 403, "{name} as {role}"),
            }
        }
        let answer = ask(&world.bearer(world.globex, Role::Admin).await, right).await;
        assert_eq!(answer.0.as_u16(), case.foreign, "{name} of another tenant");
        if case.body.is_some() {
            let auth = world.bearer(world.acme, Role::Admin).await;
            let big = " ".repeat(1024 * 1024 + 1);
            for (kind, text, status) in [
                ("application/json", "{", 400),
                ("application/json", "{}", 400),
                ("application/json", "[]", 400),
                ("text/plain", "{}", 415),
                ("application/json", &big, 413),
            ] {
                let start: String = text.chars().take(30).collect();
                let answer = ask(&auth, Some((kind, text))).await;
                assert_eq!(shape(&answer, &name), status, "{name} with the {kind} body {start}");
            }
        }
    }
}

#[tokio::test]
async fn every_token_endpoint_refuses_what_it_must() {
    // D8
    let world = World::new().await;
    let client = world.client(world.acme, &[Role::Viewer]).await;
    let places: Vec<_> = acronis::routes().filter(|(_, path)| path.ends_with("/token")).collect();
    assert_eq!(places.len(), 2);
    let form = "application/x-www-form-urlencoded";
    let big = format!("a={}", "x".repeat(1024 * 1024));
    for (verb, path) in places {
        for (auth, kind, text, status, word) in [
            ("", form, "grant_type=client_credentials", 401, "invalid_client"),
            (&*basic("somebody", "tape"), form, "grant_type=client_credentials", 401, "invalid_client"),
            (&client.basic(), form, "grant_type=implicit", 400, "unsupported_grant_type"),
            (&client.basic(), form, "", 400, "invalid_request"),
            (&client.basic(), form, "grant_type=%zz", 400, "invalid_request"),
            (&client.basic(), "application/json", "{}", 400, "invalid_request"),
            (&client.basic(), form, &big, 413, "invalid_request"),
            (
                &client.basic(),
                form,
                "grant_type=client_credentials&scope=urn:acronis.com:tenant-id:x",
                400,
                "invalid_scope",
            ),
        ] {
            let request = request(method(verb), &path, auth).header("content-type", kind);
            let (got, headers, body) = world.send(request.body(Body::from(text.to_owned())).expect("a request")).await;
            let start: String = text.chars().take(40).collect();
            assert_eq!((got.as_u16(), &body["error"]), (status, &json!(word)), "{path} with {start}");
            assert!(body["error_description"].as_str().is_some_and(|t| !t.is_empty()), "{path} with {start}");
            assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{path} with {start}");
        }
        let answer = world.form(&path, &client.basic(), &[("grant_type", "client_credentials")]).await;
        assert_eq!(answer.0, StatusCode::OK);
    }
}
