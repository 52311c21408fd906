//! The account endpoints (contract, section 2.3).

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{Role, Uuid};
use serde_json::{Value, json};
use server::dialects::acronis;
use server::listen::Via;

use crate::changes;
use crate::shape::BASES;
use crate::world::{Answer, ClientKey, PASSWORD, TOKEN, World, basic, bearer, request};

/// Checks that an answer is a refusal of the account API's form, and gives its status.
fn refused((status, headers, body): &Answer, what: &str) -> u16 {
    assert_eq!(headers["content-type"], "application/json", "{what}");
    assert_eq!(headers["cache-control"], "no-store", "{what}");
    let error = &body["error"];
    assert_eq!(body.as_object().map(|b| b.len()), Some(1), "{what}: {body}");
    assert_eq!(error["code"], status.as_u16(), "{what}: {body}");
    assert_eq!(error["domain"], "PlatformAccountServer", "{what}");
    for text in [&error["message"], &error["details"]["info"]] {
        assert!(text.as_str().is_some_and(|t| !t.is_empty()), "{what}: {body}");
    }
    if *status == StatusCode::UNAUTHORIZED {
        let challenges: Vec<_> = headers.get_all("www-authenticate").iter().collect();
        assert_eq!(challenges.len(), 2, "{what}");
        assert_eq!(challenges[0], "Bearer error=\"invalid_token\"", "{what}");
        assert!(challenges[1].to_str().expect("text").starts_with("Basic "), "{what}");
    }
    status.as_u16()
}

fn ok((status, _, body): Answer) -> Value {
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

/// The names of the tenants in a list.
fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().expect("a list").iter().map(|t| t["name"].as_str().expect("a name")).collect()
}

async fn server_url(world: &World, request: axum::http::request::Builder) -> Answer {
    world.send(request.body(Body::empty()).expect("a request")).await
}

#[tokio::test]
async fn the_server_of_an_account_is_this_one_under_the_name_it_was_asked() {
    let world = World::new().await;
    world.user(world.acme, "operator", &[Role::Viewer]).await;
    let plain = || Request::get("/api/1/accounts?login=operator");
    for (host, wanted) in [
        ("backup.example.com", "http://backup.example.com"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:80", "http://127.0.0.1:80"),
        ("[::1]:8000", "http://[::1]:8000"),
    ] {
        let body = ok(server_url(&world, plain().header("host", host)).await);
        assert_eq!(body, json!({ "server_url": wanted }));
    }
    let secure = plain().header("host", "backup.example.com").extension(Via { tls: true });
    assert_eq!(ok(server_url(&world, secure).await)["server_url"], "https://backup.example.com");
    // HTTP/2 has the name in the address.
    let second = Request::get("https://backup.example.com:8443/api/1/accounts?login=x").extension(Via { tls: true });
    assert_eq!(ok(server_url(&world, second).await)["server_url"], "https://backup.example.com:8443");
    // The answer does not tell whether the login exists, or is there at all.
    for query in ["?login=operator", "?login=nobody", ""] {
        let asked = Request::get(format!("/api/1/accounts{query}")).header("host", "a");
        assert_eq!(ok(server_url(&world, asked).await), json!({ "server_url": "http://a" }));
    }
    for odd in ["", "a b", "user@a", "a:port", "a:", "a/b", ":80", "a:65536"] {
        assert_eq!(refused(&server_url(&world, plain().header("host", odd)).await, odd), 400);
    }
    assert_eq!(refused(&server_url(&world, plain()).await, "no host"), 400);
    let twice = plain().header("host", "a").header("host", "b");
    assert_eq!(refused(&server_url(&world, twice).await, "two hosts"), 400);
}

#[tokio::test]
async fn everyone_may_ask_who_they_are() {
    let world = World::new().await;
    let me = |id: Uuid, login: &str| {
        let tenant = world.acme;
        json!({ "id": id, "login": login, "tenant_id": tenant, "personal_tenant_id": tenant })
    };
    let user = world.user(world.acme, "Ops@Example.com", &[Role::Issuer]).await;
    let by_password = basic("ops@example.com", PASSWORD);
    assert_eq!(ok(world.get("/api/2/users/me", &by_password).await), me(user, "Ops@Example.com"));
    let parameters = [("grant_type", "password"), ("username", "ops@example.com"), ("password", PASSWORD)];
    let token = ok(world.form(TOKEN, "", &parameters).await)["access_token"].as_str().map(bearer).expect("a token");
    assert_eq!(ok(world.get("/api/2/users/me", &token).await), me(user, "Ops@Example.com"));
    let client = world.client(world.acme, &[Role::Consumer]).await;
    assert_eq!(
        ok(world.get("/api/2/users/me", &access(&world, &client, "").await).await),
        me(client.id, "nightly reports")
    );
    let token = world.bearer(world.acme, Role::Viewer).await;
    let body = ok(world.get("/api/2/users/me", &token).await);
    let id = body["id"].as_str().and_then(|id| Uuid::parse_str(id).ok()).expect("an id");
    assert_eq!(body, me(id, "viewer of acme"));
}

#[tokio::test]
async fn passwords_come_in_either_encoding() {
    let world = World::new().await;
    let id = world.user(world.acme, "operator", &[Role::Viewer]).await;
    let password = "Bänder unterm Tisch 100%+";
    world.service.set_password(&world.root, id, Some(password.into())).await.expect("set");
    ok(world.get("/api/2/users/me", &basic("operator", password)).await);
    let latin: Vec<u8> = format!("operator:{password}").chars().map(|c| c as u8).collect();
    ok(world.get("/api/2/users/me", &format!("basic {}", STANDARD.encode(latin))).await);
}

/// The header with an access token of a client.
async fn access(world: &World, client: &ClientKey, scope: &str) -> String {
    let parameters = [("grant_type", "client_credentials"), ("scope", scope)];
    ok(world.form(TOKEN, &client.basic(), &parameters).await)["access_token"].as_str().map(bearer).expect("a token")
}

#[tokio::test]
async fn a_client_is_read_by_itself_and_by_administrators_above_it() {
    let world = World::new().await;
    let client = world.client(world.acme_east, &[Role::Issuer]).await;
    let path = format!("/api/2/clients/{}", client.id);
    let own = ok(world.get(&path, &access(&world, &client, "").await).await);
    assert_eq!(own["client_id"], client.id.to_string());
    assert_eq!(own["tenant_id"], world.acme_east.to_string());
    assert_eq!(own["type"], "api_client");
    assert_eq!(own["data"], json!({ "client_name": "nightly reports" }));
    assert_eq!(own["status"], "enabled");
    assert!(own["created_at"].as_str().is_some_and(|t| t.parse::<domain::Timestamp>().is_ok()));
    assert!(!own.to_string().contains(&client.secret) && own.get("client_secret").is_none(), "{own}");
    let admin = world.bearer(world.acme, Role::Admin).await;
    assert_eq!(ok(world.get(&path, &admin).await), own);
    world.service.revoke_client(&world.root, client.id).await.expect("revoked");
    assert_eq!(ok(world.get(&path, &admin).await)["status"], "disabled");
    let other = world.client(world.acme_east, &[Role::Operator]).await;
    assert_eq!(refused(&world.get(&path, &access(&world, &other, "").await).await, "a client beside it"), 403);
}

/// The body that the vendor's scripts send.
fn wanted(tenant: Uuid) -> Value {
    json!({
        "type": "api_client",
        "tenant_id": tenant,
        "token_endpoint_auth_method": "client_secret_basic",
        "data": { "client_name": "Python.Client" },
    })
}

#[tokio::test]
async fn an_administrator_makes_clients_with_login_and_password() {
    let world = World::on_disk().await;
    world.user(world.acme, "operator", &[Role::Admin]).await;
    let me = ok(world.get("/api/2/users/me", &basic("operator", PASSWORD)).await);
    let tenant = Uuid::parse_str(me["tenant_id"].as_str().expect("text")).expect("a uuid");
    let (status, headers, made) = world.post("/api/2/clients", &basic("operator", PASSWORD), wanted(tenant)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(made["tenant_id"], world.acme.to_string());
    assert_eq!(made["data"]["client_name"], "Python.Client");
    let id = Uuid::parse_str(made["client_id"].as_str().expect("text")).expect("a uuid");
    let client = ClientKey { id, secret: made["client_secret"].as_str().expect("a secret").to_owned() };
    // What it can do is what its maker can.
    let token = access(&world, &client, "").await;
    let place = headers["location"].to_str().expect("text");
    let mut read = ok(world.get(place, &token).await);
    read["client_secret"] = client.secret.clone().into();
    assert_eq!(read, made);
    let below = world.post("/api/2/clients", &token, wanted(world.acme_east)).await;
    assert_eq!(below.0, StatusCode::CREATED, "{}", below.2);
    let shortest = world.post("/api/2/clients", &token, json!({ "data": { "client_name": "x" } })).await;
    assert_eq!((shortest.0, &shortest.2["tenant_id"]), (StatusCode::CREATED, &json!(world.acme)), "{}", shortest.2);
}

#[tokio::test]
async fn a_client_that_cannot_be_made_is_refused_by_name() {
    let world = World::new().await;
    let admin = world.bearer(world.acme, Role::Admin).await;
    let broken = |member: &str, value: Value| {
        let mut body = wanted(world.acme);
        body[member] = value;
        body
    };
    for (body, parameter) in [
        (broken("type", json!("agent")), "type"),
        (broken("type", json!(1)), "type"),
        (broken("tenant_id", json!("acme")), "tenant_id"),
        (broken("token_endpoint_auth_method", json!("none")), "token_endpoint_auth_method"),
        (broken("data", json!({})), "data.client_name"),
        (broken("data", Value::Null), "data.client_name"),
        (broken("data", json!({ "client_name": " " })), "data.client_name"),
        (broken("data", json!({ "client_name": "x", "colour": "red" })), "data.colour"),
        (broken("redirect_uris", json!(["https://example.com"])), "redirect_uris"),
    ] {
        let answer = world.post("/api/2/clients", &admin, body.clone()).await;
        assert_eq!(refused(&answer, &body.to_string()), 400);
        assert_eq!(answer.2["error"]["context"]["parameter"], parameter, "{body}");
    }
    for body in [json!([]), json!("x"), broken("data", json!([]))] {
        assert_eq!(refused(&world.post("/api/2/clients", &admin, body.clone()).await, &body.to_string()), 400);
    }
    // D12: a body that names a foreign tenant.
    for tenant in [world.globex, Uuid::nil(), Uuid::from_u128(7)] {
        let answer = world.post("/api/2/clients", &admin, wanted(tenant)).await;
        assert_eq!(refused(&answer, "a foreign tenant"), 403);
        assert_eq!(answer.2["error"]["context"]["parameter"], "tenant_id");
    }
    for (kind, body, status) in [
        ("application/json", "{".to_owned(), 400),
        ("application/json", String::new(), 400),
        ("text/plain", wanted(world.acme).to_string(), 415),
        ("application/json", " ".repeat(1024 * 1024 + 1), 413),
    ] {
        let request = request(Method::POST, "/api/2/clients", &admin).header("content-type", kind);
        let answer = world.send(request.body(Body::from(body)).expect("a request")).await;
        assert_eq!(refused(&answer, kind), status);
    }
}

// D13
#[tokio::test]
async fn tenants_are_partners_if_they_have_children() {
    for world in [World::new().await, World::on_disk().await] {
        let office = world.tenant_below(world.acme_east, "office").await;
        let viewer = world.access(world.acme, &[Role::Viewer]).await;
        let one = ok(world.get(&format!("/api/2/tenants/{}", world.acme), &viewer).await);
        // The tenant above lies outside, and is named all the same.
        assert_eq!(one, json!({ "id": world.acme, "name": "acme", "kind": "partner", "parent_id": Uuid::nil() }));
        let leaf = ok(world.get(&format!("/api/2/tenants/{office}"), &viewer).await);
        let wanted = json!({ "id": office, "name": "office", "kind": "customer", "parent_id": world.acme_east });
        assert_eq!(leaf, wanted);
        let all = ok(world.get(&format!("/api/2/tenants?subtree_root_id={}", world.acme), &viewer).await);
        assert_eq!(names(&all), ["acme", "acme east", "office"]);
        assert_eq!((&all["items"][0], &all["items"][2]), (&one, &leaf));
        assert_eq!(all["paging"], json!({ "cursors": {} }));
        let below = ok(world.get(&format!("/api/2/tenants?parent_id={}&lod=basic", world.acme), &viewer).await);
        assert_eq!(names(&below), ["acme east"]);
        let none = ok(world.get(&format!("/api/2/tenants?parent_id={office}"), &viewer).await);
        assert_eq!(none["items"], json!([]));
        let root = world.bearer(Uuid::nil(), Role::Admin).await;
        let all = ok(world.get(&format!("/api/2/tenants?subtree_root_id={}", Uuid::nil()), &root).await);
        assert_eq!(names(&all).len(), 6);
        assert_eq!(
            all["items"][0],
            json!({ "id": Uuid::nil(), "name": "root", "kind": "partner" }),
            "nothing is above"
        );
    }
}

#[tokio::test]
async fn long_lists_of_tenants_come_in_pages() {
    for world in [World::new().await, World::on_disk().await] {
        // More children than are looked at once, so that those of one parent are jumped over.
        for n in 1..=5 {
            let unit = world.tenant_below(world.acme, &format!("unit {n}")).await;
            for m in 0..n % 3 {
                world.tenant_below(unit, &format!("desk {n}.{m}")).await;
            }
        }
        let viewer = world.bearer(world.acme, Role::Viewer).await;
        let whole = ok(world.get(&format!("/api/2/tenants?subtree_root_id={}", world.acme), &viewer).await);
        assert_eq!(names(&whole).len(), 13);
        let kinds: Vec<_> = whole["items"].as_array().expect("a list").iter().map(|t| &t["kind"]).collect();
        assert_eq!(kinds.iter().filter(|k| **k == "partner").count(), 5, "acme and four units: {whole}");
        for limit in [1, 2, 3, 12, 13] {
            for start in [format!("subtree_root_id={}", world.acme), format!("parent_id={}", world.acme)] {
                let wanted = ok(world.get(&format!("/api/2/tenants?{start}"), &viewer).await)["items"].clone();
                let mut items = Vec::new();
                let mut query = format!("{start}&limit={limit}");
                loop {
                    let page = ok(world.get(&format!("/api/2/tenants?{query}"), &viewer).await);
                    let part = page["items"].as_array().expect("a list").clone();
                    assert!(part.len() <= limit, "{page}");
                    items.extend(part);
                    // Some clients send everything again, others the cursor alone.
                    let Some(after) = page["paging"]["cursors"]["after"].as_str() else { break };
                    query = if limit == 2 {
                        format!("limit=2&after={after}")
                    } else {
                        format!("{start}&limit={limit}&after={after}")
                    };
                }
                assert_eq!(Value::from(items), wanted, "by {limit} from {start}");
            }
        }
        // A cursor opens nothing.
        let query = format!("/api/2/tenants?subtree_root_id={}&limit=1", world.acme);
        let after =
            ok(world.get(&query, &viewer).await)["paging"]["cursors"]["after"].as_str().expect("more").to_owned();
        let stranger = world.bearer(world.globex, Role::Admin).await;
        let answer = world.get(&format!("/api/2/tenants?after={after}"), &stranger).await;
        assert_eq!(refused(&answer, "another tenant's cursor"), 404);
        for query in ["after=x", "after=", &format!("after={}", "A".repeat(45)), "limit=0", "limit=1001", "limit=many"]
        {
            let query = if query.starts_with("limit") {
                format!("subtree_root_id={}&{query}", world.acme)
            } else {
                query.into()
            };
            assert_eq!(refused(&world.get(&format!("/api/2/tenants?{query}"), &viewer).await, &query), 400);
        }
    }
}

#[tokio::test]
async fn tenants_are_asked_for_by_uuid() {
    let world = World::new().await;
    let viewer = world.bearer(world.acme, Role::Viewer).await;
    let acme = world.acme;
    for query in [
        String::new(),
        "?uuids=x".to_owned(),
        "?subtree_root_id=".to_owned(),
        "?subtree_root_id=66".to_owned(),
        "?parent_id=acme".to_owned(),
        "?parent_id=%ff".to_owned(),
        format!("?parent_id={acme}&parent_id={acme}"),
        format!("?parent_id={acme}&subtree_root_id={acme}"),
        "/acme".to_owned(),
        "/66".to_owned(),
        "/%ff".to_owned(),
    ] {
        assert_eq!(refused(&world.get(&format!("/api/2/tenants{query}"), &viewer).await, &query), 400);
    }
    let capitals = acme.to_string().to_uppercase();
    ok(world.get(&format!("/api/2/tenants/{capitals}"), &viewer).await);
}

/// Those of the dialect's routes beside the task API that ask for no caller: the tests of each say what they refuse.
const OPEN: [(&str, &str); 3] = [("get", "/api/1/accounts"), ("post", "/api/2/idp/token"), ("post", "/bc/idp/token")];

/// Every protected endpoint against no token, a role that is too low, another tenant, and a body that is none; nothing has
/// changed after that. A route that has no entry fails the test.
#[tokio::test]
async fn what_is_protected_is_protected() {
    struct Case {
        route: (&'static str, &'static str),
        path: String,
        body: Value,
        /// Those who may not, though they are let in.
        too_low: &'static [Role],
        /// What somebody of another tenant is told; none = the question is about nobody's tenant.
        stranger: Option<u16>,
    }
    let world = World::new().await;
    let client = world.client(world.acme, &[Role::Viewer]).await;
    let get = |route: &'static str, path: String, too_low, stranger| Case {
        route: ("get", route),
        path,
        body: Value::Null,
        too_low,
        stranger,
    };
    const BLIND: &[Role] = &[Role::Issuer, Role::Consumer];
    const BELOW_ADMIN: &[Role] = &[Role::Viewer, Role::Issuer, Role::Consumer, Role::Operator, Role::Editor];
    let cases = [
        get("/api/2/users/me", "/api/2/users/me".into(), &[], None),
        get("/api/2/clients/{id}", format!("/api/2/clients/{}", client.id), BELOW_ADMIN, Some(404)),
        get("/api/2/tenants/{id}", format!("/api/2/tenants/{}", world.acme), BLIND, Some(404)),
        get("/api/2/tenants", format!("/api/2/tenants?subtree_root_id={}", world.acme), BLIND, Some(404)),
        get("/api/2/tenants", format!("/api/2/tenants?parent_id={}", world.acme), BLIND, Some(404)),
        Case {
            route: ("post", "/api/2/clients"),
            path: "/api/2/clients".into(),
            body: wanted(world.acme),
            too_low: BELOW_ADMIN,
            stranger: Some(403),
        },
    ];
    let known: BTreeSet<_> = cases.iter().map(|c| c.route).chain(OPEN).collect();
    let routes: Vec<_> =
        acronis::routes().filter(|(_, path)| !BASES.iter().any(|base| path.starts_with(base))).collect();
    assert_eq!(known, routes.iter().map(|(method, path)| (*method, path.as_str())).collect(), "each has an entry here");
    let stranger = world.bearer(world.globex, Role::Admin).await;
    let admin = world.bearer(world.acme, Role::Admin).await;
    for Case { route: (method, _), path, body, too_low, stranger: told } in cases {
        let ask = async |auth: &str| -> Answer {
            let before = changes::held(&*world.ledger).await;
            let answer = match method {
                "post" => world.post(&path, auth, body.clone()).await,
                _ => world.get(&path, auth).await,
            };
            assert_eq!(changes::held(&*world.ledger).await, before, "{path} changed something");
            answer
        };
        for auth in ["", "Bearer", "Bearer ", "Bearer nonsense", "Bearer a.b.c", "Digest x", "Basic x", "Basic YQ=="] {
            assert_eq!(refused(&ask(auth).await, &format!("{path} with '{auth}'")), 401, "{path} with '{auth}'");
        }
        // Somebody else each time, or the failures would slow down the next case.
        let wrong = basic(&path, PASSWORD);
        assert_eq!(refused(&ask(&wrong).await, &path), 401, "{path} with a wrong login");
        for role in too_low {
            let auth = world.bearer(world.acme, *role).await;
            assert_eq!(refused(&ask(&auth).await, &path), 403, "{path} as {role}");
        }
        if let Some(told) = told {
            let answer = ask(&stranger).await;
            assert_eq!(refused(&answer, &path), told, "{path} of another tenant");
            assert!(!answer.2.to_string().contains("acme"), "{}", answer.2);
        }
        let before = changes::held(&*world.ledger).await;
        for (text, status) in [("{", 400), ("[]", 400), ("", 400), (&" ".repeat(1024 * 1024 + 1), 413)] {
            if method == "post" {
                let asked = request(Method::POST, &path, &admin).header("content-type", "application/json");
                let answer = world.send(asked.body(Body::from(text.to_owned())).expect("a request")).await;
                assert_eq!(refused(&answer, &path), status, "{path} with a body of {} signs", text.len());
            }
        }
        assert_eq!(changes::held(&*world.ledger).await, before, "{path} changed something");
    }
    // What is not there looks as what is not theirs.
    for list in ["clients", "tenants"] {
        let path = format!("/api/2/{list}/{}", Uuid::from_u128(7));
        assert_eq!(refused(&world.get(&path, &admin).await, &path), 404);
    }
}

#[tokio::test]
async fn who_guesses_a_password_has_to_wait() {
    let world = World::new().await;
    world.user(world.acme, "operator", &[Role::Viewer]).await;
    let mut tries = 0;
    let answer = loop {
        let answer = world.get("/api/2/users/me", &basic("operator", "guess")).await;
        if answer.0 != StatusCode::UNAUTHORIZED {
            break answer;
        }
        tries += 1;
        assert!(tries < 20, "one may guess for ever");
    };
    assert_eq!(refused(&answer, "too many"), 429);
    let wait: u64 = answer.1["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!(wait >= 1);
}

#[tokio::test]
async fn what_else_the_vendor_has_is_refused_in_its_form() {
    let world = World::new().await;
    let admin = world.bearer(world.acme, Role::Admin).await;
    for path in [
        "/api/2/idp/authorize".to_owned(),
        "/api/2/users".to_owned(),
        "/api/2/clients/a/b".to_owned(),
        format!("/api/2/tenants/{}/children", world.acme),
        "/api/1/version".to_owned(),
    ] {
        assert_eq!(refused(&world.get(&path, &admin).await, &path), 404);
        assert_eq!(refused(&world.put(&path, "", json!({})).await, &path), 404);
    }
    let allow = |headers: &HeaderMap| headers["allow"].to_str().expect("text").to_owned();
    for (method, path, allowed) in [
        (Method::POST, "/api/1/accounts", "GET,HEAD"),
        (Method::POST, "/api/2/users/me", "GET,HEAD"),
        (Method::GET, "/api/2/clients", "POST"),
        (Method::DELETE, "/api/2/clients/7", "GET,HEAD"),
        (Method::POST, "/api/2/tenants", "GET,HEAD"),
        (Method::PUT, "/api/2/tenants/7", "GET,HEAD"),
    ] {
        let answer = world.send(request(method.clone(), path, &admin).body(Body::empty()).expect("a request")).await;
        assert_eq!(refused(&answer, path), 405, "{method} {path}");
        assert_eq!(allow(&answer.1), allowed, "{method} {path}");
    }
}
