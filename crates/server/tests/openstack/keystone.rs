//! Signing in as OpenStack's clients do, and what becomes of the tokens.

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{Role, Uuid};
use serde_json::{Value, json};

use crate::world::{Answer, PASSWORD, TOKENS, World, request};

fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

fn by_name(login: &str, password: &str) -> Value {
    let user = json!({ "name": login, "domain": { "id": "default" }, "password": password });
    json!({ "methods": ["password"], "password": { "user": user } })
}

fn of_project(id: Uuid) -> Value {
    json!({ "project": { "id": hex(id) } })
}

fn refused_as_ever(answer: Answer) {
    let body = answer.expect(401);
    let expected = json!({ "error": {
        "code": 401,
        "message": "The request you have made requires authentication.",
        "title": "Unauthorized",
    }});
    assert_eq!(body, expected);
    let uri = answer.header("www-authenticate");
    assert_eq!(uri, "Keystone uri=\"http://cloud.example.com:8774/identity\"");
}

#[tokio::test]
async fn versions_lead_to_where_tokens_are() {
    let world = World::new().await;
    for path in ["/identity", "/identity/"] {
        let list = world.get(path, "").await.expect(300);
        let version = &list["versions"]["values"][0];
        assert_eq!((&version["id"], &version["status"]), (&json!("v3.14"), &json!("stable")));
        assert_eq!(version["links"][0]["href"], json!("http://cloud.example.com:8774/identity/v3/"));
    }
    for (path, href) in [("/v3", "/v3/"), ("/v3/", "/v3/"), ("/identity/v3", "/identity/v3/")] {
        let one = world.get(path, "").await.expect(200);
        assert_eq!(one["version"]["links"][0]["href"], json!(format!("http://cloud.example.com:8774{href}")));
    }
}

#[tokio::test]
async fn clients_who_look_for_keystone_at_the_root_find_it() {
    let world = World::new().await;
    let ask = async |agent: &'static str, authorization: Option<String>| {
        let mut asked = request(Method::GET, "/", "").header("accept", "application/json").header("user-agent", agent);
        if let Some(authorization) = authorization {
            asked = asked.header("authorization", authorization);
        }
        world.send(asked.body(axum::body::Body::empty()).expect("a request")).await
    };
    let library = "osc-lib/4.5.0 keystoneauth1/5.18.1 python-requests/2.34.2 CPython/3.12.3";
    let found = ask(library, None).await;
    assert!(found.header("x-openstack-request-id").starts_with("req-"));
    let list = found.expect(300);
    let href = &list["versions"]["values"][0]["links"][0]["href"];
    assert_eq!(*href, json!("http://cloud.example.com:8774/identity/v3/"));
    // The root is another API's.
    assert_eq!(ask("curl/8.5.0", None).await.status, StatusCode::UNAUTHORIZED);
    let token = world.token(world.acme, Role::Viewer).await;
    assert_eq!(ask(library, Some(format!("Bearer {token}"))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn people_sign_in_by_name_or_id_for_a_project() {
    let world = World::new().await;
    let ada = world.user(world.acme, "ada", Role::Admin).await;
    let (token, said) = world.sign_in(by_name("Ada", PASSWORD), Value::Null).await.ok().expect("a token");
    assert_eq!(said["methods"], json!(["password"]));
    assert_eq!(said["user"]["id"], json!(hex(ada)));
    assert_eq!(said["user"]["name"], json!("ada"));
    assert_eq!(said["user"]["domain"], json!({ "id": "default", "name": "Default" }));
    assert_eq!(said["project"]["id"], json!(hex(world.acme)), "the user's own");
    let roles: Vec<&str> =
        said["roles"].as_array().expect("roles").iter().map(|r| r["name"].as_str().expect("a name")).collect();
    assert_eq!(roles, ["admin", "member", "reader"]);
    let image = said["catalog"].as_array().expect("a catalog").iter().find(|s| s["type"] == "image").expect("images");
    assert_eq!(image["endpoints"][0]["url"], json!("http://cloud.example.com:8774/image"));
    assert_eq!(image["endpoints"][0]["region_id"], json!("RegionOne"));
    let issued: domain::Timestamp = said["issued_at"].as_str().expect("a time").parse().expect("a time");
    let expires: domain::Timestamp = said["expires_at"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(expires.duration_since(issued).as_secs(), 3600);
    assert!(said["expires_at"].as_str().is_some_and(|t| t.ends_with(".000000Z")), "{said}");
    world.get("/v2/tasks", &token).await.expect(200);

    let by_id = json!({ "methods": ["password"], "password": { "user": { "id": hex(ada), "password": PASSWORD } } });
    for scope in
        [of_project(world.acme_east), json!({ "project": { "name": "acme east", "domain": { "name": "Default" } } })]
    {
        let (_, said) = world.sign_in(by_id.clone(), scope).await.ok().expect("a token");
        assert_eq!(said["project"]["name"], json!("acme east"));
    }
    let (_, said) = world.sign_in(by_id, json!("unscoped")).await.ok().expect("a token");
    assert_eq!((&said["project"], &said["catalog"], &said["roles"]), (&Value::Null, &Value::Null, &Value::Null));
}

#[tokio::test]
async fn programs_sign_in_for_their_own_project_alone() {
    let world = World::new().await;
    let (id, secret) = world.client(world.acme, "nightly", Role::Viewer).await;
    let ada = world.user(world.acme, "ada", Role::Admin).await;
    let credential =
        |members: Value| json!({ "methods": ["application_credential"], "application_credential": members });
    let ways = [
        json!({ "id": hex(id), "secret": secret }),
        json!({ "id": id.to_string(), "secret": secret }),
        json!({ "name": "nightly", "secret": secret, "user": { "id": hex(ada) } }),
        json!({ "name": "nightly", "secret": secret, "user": { "name": "ada", "domain": { "id": "default" } } }),
    ];
    for way in ways {
        let (token, said) = world.sign_in(credential(way), Value::Null).await.ok().expect("a token");
        assert_eq!((&said["user"]["id"], &said["project"]["id"]), (&json!(hex(id)), &json!(hex(world.acme))));
        assert_eq!(said["roles"].as_array().map(Vec::len), Some(1));
        // Neither can its token be exchanged for more than it is.
        let exchange = json!({ "methods": ["token"], "token": { "id": token } });
        world.sign_in(exchange.clone(), of_project(world.acme_east)).await.ok().expect("what lies below");
        refused_as_ever(world.sign_in(exchange, of_project(world.globex)).await.expect_err("another tenant"));
    }
    let mine = json!({ "id": hex(id), "secret": secret });
    let scoped = world.sign_in(credential(mine), of_project(world.acme)).await.expect_err("a scope");
    assert!(scoped.expect(400)["error"]["message"].as_str().is_some_and(|m| m.contains("scope")));
    for wrong in [
        json!({ "id": hex(id), "secret": "wrong" }),
        json!({ "id": "none", "secret": secret }),
        json!({ "name": "daily", "secret": secret, "user": { "id": hex(ada) } }),
        json!({ "name": "nightly", "secret": secret, "user": { "id": hex(world.acme) } }),
        json!({ "name": "nightly", "secret": secret, "user": { "name": "ada", "domain": { "id": "other" } } }),
    ] {
        refused_as_ever(world.sign_in(credential(wrong), Value::Null).await.expect_err("wrong"));
    }
}

#[tokio::test]
async fn nobody_learns_why_they_are_not_let_in() {
    let world = World::new().await;
    let gone = world.user(world.acme, "gone", Role::Admin).await;
    world.service.revoke_user(&world.root, gone).await.expect("revoked");
    world.user(world.acme, "ada", Role::Admin).await;
    let elsewhere = json!({ "methods": ["password"], "password": { "user": {
        "name": "ada", "domain": { "name": "other" }, "password": PASSWORD } } });
    let attempts = [
        (by_name("ada", "wrong"), Value::Null),
        (by_name("nobody", PASSWORD), Value::Null),
        (by_name("gone", PASSWORD), Value::Null),
        (elsewhere, Value::Null),
        (by_name("ada", PASSWORD), of_project(world.globex)),
        (by_name("ada", PASSWORD), of_project(Uuid::from_u128(7))),
        (by_name("ada", PASSWORD), json!({ "project": { "id": "none" } })),
        (by_name("ada", PASSWORD), json!({ "project": { "name": "globex", "domain": { "id": "default" } } })),
        (by_name("ada", PASSWORD), json!({ "system": { "all": true } })),
        (by_name("ada", PASSWORD), json!({ "domain": { "id": "default" } })),
        (json!({ "methods": ["totp"], "totp": {} }), Value::Null),
        (json!({ "methods": ["token"], "token": { "id": "no token" } }), Value::Null),
    ];
    for (identity, scope) in attempts {
        refused_as_ever(world.sign_in(identity, scope).await.expect_err("not let in"));
    }
}

#[tokio::test]
async fn who_guesses_has_to_wait() {
    let world = World::whose_clock_stands().await;
    for _ in 0..5 {
        world.sign_in(by_name("ada", "wrong"), Value::Null).await.expect_err("wrong");
    }
    let answer = world.sign_in(by_name("ada", "wrong"), Value::Null).await.expect_err("too often");
    let body = answer.expect(429);
    assert_eq!((&body["error"]["code"], &body["error"]["title"]), (&json!(429), &json!("Too Many Requests")));
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|s| s > 0));
}

#[tokio::test]
async fn who_has_to_wait_learns_of_no_name() {
    let credential = |name: &str, who: &str| {
        let user = json!({ "name": who, "domain": { "id": "default" } });
        let members = json!({ "name": name, "secret": "wrong", "user": user });
        json!({ "methods": ["application_credential"], "application_credential": members })
    };
    for (name, who) in [("nightly", "ada"), ("weekly", "ada"), ("nightly", "bob"), ("nightly", "gus")] {
        let world = World::whose_clock_stands().await;
        world.user(world.acme, "ada", Role::Admin).await;
        world.user(world.globex, "gus", Role::Admin).await;
        world.client(world.acme, "nightly", Role::Viewer).await;
        for i in 0..8 {
            let other = format!("other {i}");
            refused_as_ever(world.sign_in(credential(&other, "ada"), Value::Null).await.expect_err("no such name"));
        }
        for _ in 0..5 {
            refused_as_ever(world.sign_in(credential(name, who), Value::Null).await.expect_err("wrong"));
        }
        let late = world.sign_in(credential(name, who), Value::Null).await.expect_err("too often");
        assert_eq!(late.status, StatusCode::TOO_MANY_REQUESTS, "{name} of {who}");
    }
}

#[tokio::test]
async fn tokens_say_nothing_of_their_holder() {
    let world = World::new().await;
    world.user(world.acme, "ada", Role::Admin).await;
    let (token, _) = world.sign_in(by_name("ada", PASSWORD), Value::Null).await.ok().expect("a token");
    let parts: Vec<_> = token.split('.').collect();
    assert_eq!((parts.len(), parts[0]), (3, "t1"));
    assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{token}");
    for part in &parts[1..] {
        let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!text.contains("admin") && !text.contains(&world.acme.to_string()), "{text}");
    }
    let mut changed = token.into_bytes();
    let last = changed.len() - 2;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).expect("text");
    assert_eq!(world.get("/v2/tasks", &changed).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_malformed_is_told_by_name() {
    let world = World::new().await;
    let told = async |body: Value| {
        let answer = world.post(TOKENS, "", body).await;
        answer.expect(400)["error"]["message"].as_str().expect("a message").to_owned()
    };
    for (body, member) in [
        (Value::Null, "auth in request body"),
        (json!({}), "auth in request body"),
        (json!({ "auth": {} }), "identity in auth"),
        (json!({ "auth": { "identity": {} } }), "methods in identity"),
        (json!({ "auth": { "identity": { "methods": ["password"] } } }), "password in identity"),
        (json!({ "auth": { "identity": { "methods": ["password"], "password": {} } } }), "user in password"),
        (
            json!({ "auth": { "identity": { "methods": ["password"], "password": { "user": { "name": "ada" } } } } }),
            "password in user",
        ),
        (
            json!({ "auth": { "identity": { "methods": ["password"],
                "password": { "user": { "name": "ada", "password": "x" } } } } }),
            "domain in user",
        ),
        (json!({ "auth": { "identity": { "methods": ["token"], "token": {} } } }), "id in token"),
    ] {
        let message = told(body).await;
        assert!(message.contains(member), "{message}");
    }
    let broken = world.send(request(Method::POST, TOKENS, "").body("{".into()).expect("a request")).await;
    assert!(broken.expect(400)["error"]["message"].as_str().is_some_and(|m| m.contains("JSON")));
}

#[tokio::test]
async fn tokens_are_looked_at_and_revoked() {
    let world = World::new().await;
    world.user(world.acme, "ada", Role::Admin).await;
    world.user(world.acme, "bob", Role::Viewer).await;
    let sign_in =
        async |login: &str| world.sign_in(by_name(login, PASSWORD), Value::Null).await.ok().expect("a token").0;
    let (ada, bob) = (sign_in("ada").await, sign_in("bob").await);
    let stranger = world.token(world.globex, Role::Admin).await;
    let of = async |method: Method, token: &str, subject: &str| {
        let request = request(method, TOKENS, token).header("x-subject-token", subject);
        world.send(request.body(axum::body::Body::empty()).expect("a request")).await
    };
    let said = of(Method::GET, &bob, &bob).await;
    assert_eq!(said.header("x-subject-token"), bob);
    assert_eq!(said.expect(200)["token"]["user"]["name"], json!("bob"));
    assert_eq!(of(Method::GET, &ada, &bob).await.expect(200)["token"]["user"]["name"], json!("bob"));
    assert_eq!(of(Method::HEAD, &ada, &bob).await.status, StatusCode::OK);
    for (token, subject) in [(&bob, &ada), (&stranger, &bob), (&ada, &"no-token".to_owned())] {
        assert_eq!(of(Method::GET, token, subject).await.status, StatusCode::NOT_FOUND);
        assert_eq!(of(Method::DELETE, token, subject).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(of(Method::GET, "no-token", &bob).await.status, StatusCode::UNAUTHORIZED);

    assert_eq!(of(Method::DELETE, &bob, &bob).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.get("/v2/tasks", &bob).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(of(Method::GET, &ada, &bob).await.status, StatusCode::NOT_FOUND);
    assert_eq!(of(Method::DELETE, &ada, &bob).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn tokens_of_both_sides_open_both_sides() {
    let world = World::new().await;
    world.user(world.acme, "ada", Role::Admin).await;
    let (session, _) = world.sign_in(by_name("ada", PASSWORD), Value::Null).await.ok().expect("a token");
    let native = axum::http::Request::get("/api/v1/tasks").header("authorization", format!("Bearer {session}"));
    let answer = world.send(native.body(axum::body::Body::empty()).expect("a request")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);

    let api = world.token(world.acme, Role::Viewer).await;
    world.get("/v2/tasks", &api).await.expect(200);
    let exchange = json!({ "methods": ["token"], "token": { "id": api } });
    let (_, said) = world.sign_in(exchange, Value::Null).await.ok().expect("a token");
    assert_eq!((&said["methods"], &said["roles"][0]["name"]), (&json!(["token"]), &json!("reader")));
}

#[tokio::test]
async fn an_exchange_goes_no_farther_and_lasts_no_longer() {
    let world = World::new().await;
    world.user(world.acme, "ada", Role::Admin).await;
    let (unscoped, before) = world.sign_in(by_name("ada", PASSWORD), json!("unscoped")).await.ok().expect("a token");
    assert_eq!(world.get("/v2/tasks", &unscoped).await.status, StatusCode::FORBIDDEN);
    let projects = world.get("/v3/auth/projects", &unscoped).await.expect(200);
    let names: Vec<_> = projects["projects"].as_array().expect("projects").iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, ["acme", "acme east"]);
    let exchange = |token: &str| json!({ "methods": ["token"], "token": { "id": token } });
    let (east, said) = world.sign_in(exchange(&unscoped), of_project(world.acme_east)).await.ok().expect("a token");
    assert_eq!(said["project"]["name"], json!("acme east"));
    assert_eq!(said["expires_at"], before["expires_at"]);
    let (_, said) = world.sign_in(exchange(&east), of_project(world.acme)).await.ok().expect("her own again");
    assert_eq!(said["project"]["name"], json!("acme"));
    refused_as_ever(world.sign_in(exchange(&east), of_project(world.globex)).await.expect_err("another tenant"));
}

#[tokio::test]
async fn names_are_looked_up_among_what_the_caller_sees() {
    let world = World::new().await;
    let ada = world.user(world.acme, "ada", Role::Admin).await;
    let bob = world.user(world.acme, "bob", Role::Viewer).await;
    let (token, _) = world.sign_in(by_name("bob", PASSWORD), Value::Null).await.ok().expect("a token");
    let found = world.get("/identity/v3/projects?name=acme%20east", &token).await.expect(200);
    assert_eq!(found["projects"][0]["id"], json!(hex(world.acme_east)));
    assert_eq!(world.get("/v3/projects?name=globex", &token).await.expect(200)["projects"], json!([]));
    let one = world.get(&format!("/v3/projects/{}", hex(world.acme)), &token).await.expect(200);
    assert_eq!(one["project"]["name"], json!("acme"));
    world.get(&format!("/v3/projects/{}", hex(world.globex)), &token).await.expect(404);
    assert_eq!(world.get(&format!("/v3/users/{}", hex(bob)), &token).await.expect(200)["user"]["name"], json!("bob"));
    world.get(&format!("/v3/users/{}", hex(ada)), &token).await.expect(404);
    // Below an administrator, everybody knows of themselves alone.
    let users = async |token: &str, query: &str| {
        let list = world.get(&format!("/v3/users{query}"), token).await.expect(200);
        let users = list["users"].as_array().expect("users").clone();
        users.iter().map(|u| u["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(users(&token, "").await, ["bob"]);
    assert_eq!(users(&token, "?name=ada").await, [""; 0]);
    let (chief, _) = world.sign_in(by_name("ada", PASSWORD), Value::Null).await.ok().expect("a token");
    world.client(world.acme_east, "nightly", Role::Viewer).await;
    world.user(world.globex, "gus", Role::Viewer).await;
    assert_eq!(users(&chief, "").await, ["ada", "bob", "nightly"]);
    assert_eq!(users(&chief, "?name=Bob&domain_id=default&enabled=true").await, ["bob"]);
    for query in ["?name=gus", "?domain_id=other", "?enabled=false"] {
        assert_eq!(users(&chief, query).await, [""; 0], "{query}");
    }
    world.service.revoke_user(&world.root, bob).await.expect("revoked");
    let gone = world.get(&format!("/v3/users/{}", hex(bob)), &chief).await.expect(200);
    assert_eq!(gone["user"]["enabled"], json!(false));
    assert_eq!(users(&chief, "?enabled=false").await, ["bob"]);
    let (token, _) = world.sign_in(by_name("ada", PASSWORD), Value::Null).await.ok().expect("a token");
    let projects = async |path: String| {
        let list = world.get(&path, &token).await.expect(200);
        assert_eq!(
            list["links"]["self"],
            json!(format!("http://cloud.example.com:8774{}", path.split('?').next().expect("a path")))
        );
        let projects = list["projects"].as_array().expect("projects").clone();
        projects.iter().map(|p| p["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(projects(format!("/v3/users/{}/projects", hex(ada))).await, ["acme", "acme east"]);
    assert_eq!(projects(format!("/v3/users/{}/projects", hex(bob))).await, ["acme", "acme east"]);
    assert_eq!(projects(format!("/v3/projects?parent_id={}", hex(world.acme))).await, ["acme east"]);
    for query in ["enabled=false", "is_domain=true", "domain_id=other"] {
        assert_eq!(projects(format!("/identity/v3/projects?{query}")).await, [""; 0], "{query}");
    }
    let refused = world.get("/v3/projects?tags=x", &token).await.expect(400);
    assert!(refused["error"]["message"].as_str().is_some_and(|m| m.contains("'tags'")), "{refused}");
    let missing = world.get("/v3/role_assignments", &token).await.expect(404);
    assert!(missing["error"]["message"].as_str().is_some_and(|m| m.contains("backstay client create")), "{missing}");
    for (path, what) in [
        (format!("/v3/projects/{}", hex(world.acme)), "project"),
        (format!("/identity/v3/users/{}", hex(ada)), "user"),
        ("/v3/domains/default".to_owned(), "domain"),
    ] {
        let one = world.get(&path, &token).await.expect(200);
        assert_eq!(one[what]["links"]["self"], json!(format!("http://cloud.example.com:8774{path}")));
    }
    let catalog = world.get("/v3/auth/catalog", &token).await.expect(200);
    assert_eq!(catalog["catalog"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn the_whole_server_is_for_its_administrators() {
    let world = World::new().await;
    world.user(Uuid::nil(), "chief", Role::Admin).await;
    let (token, said) =
        world.sign_in(by_name("chief", PASSWORD), json!({ "system": { "all": true } })).await.ok().expect("a token");
    assert_eq!((&said["system"], &said["project"]), (&json!({ "all": true }), &Value::Null));
    world.waiting(world.globex, "import").await;
    assert_eq!(world.get("/v2/tasks", &token).await.expect(200)["tasks"].as_array().map(Vec::len), Some(1));
}
