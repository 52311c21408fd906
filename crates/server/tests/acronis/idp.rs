//! The token endpoint (contract, sections 2.1 and 2.2): grants, narrowing, and how it refuses.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, StatusCode};
use domain::{Role, Uuid};
use serde_json::{Value, json};

use crate::changes;
use crate::world::{Answer, PASSWORD, TOKEN, World, basic, bearer, claims, request};

const CLIENT: (&str, &str) = ("grant_type", "client_credentials");
const BY_PASSWORD: (&str, &str) = ("grant_type", "password");
const BY_ASSERTION: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");

const FORM: &str = "application/x-www-form-urlencoded";

/// The client's address, as the listener tells it.
fn from(host: u8) -> ConnectInfo<SocketAddr> {
    ConnectInfo(SocketAddr::from(([192, 0, 2, host], 50_000)))
}

fn tenant_urn(id: Uuid) -> String {
    format!("urn:acronis.com:tenant-id:{id}")
}

fn role_urn(role: &str) -> String {
    format!("urn:acronis.com::task_manager::{role}")
}

/// The header with the token of an answer that must have one.
fn granted((status, headers, body): &Answer) -> String {
    assert_eq!(*status, StatusCode::OK, "{body}");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["pragma"], "no-cache");
    bearer(body["access_token"].as_str().expect("a token"))
}

/// Checks that an answer is a refusal of this form, and gives the word.
fn refused<'a>(answer: &'a Answer, what: &str) -> (u16, &'a str) {
    let (status, headers, body) = answer;
    assert_eq!(headers["content-type"], "application/json", "{what}");
    assert_eq!(headers["cache-control"], "no-store", "{what}");
    assert_eq!(headers["pragma"], "no-cache", "{what}");
    let members: Vec<_> = body.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["error", "error_description"], "{what}");
    let description = body["error_description"].as_str().expect("text");
    let allowed = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
    assert!(!description.is_empty() && description.chars().all(allowed), "{what}: {description}");
    if *status == StatusCode::UNAUTHORIZED {
        assert!(headers["www-authenticate"].to_str().expect("text").starts_with("Basic "), "{what}");
    }
    (status.as_u16(), body["error"].as_str().expect("a word"))
}

/// Whether the token sees these tenants.
async fn sees(world: &World, token: &str, tenants: &[Uuid]) -> Vec<bool> {
    let mut seen = Vec::new();
    for id in tenants {
        seen.push(world.get(&format!("/api/2/tenants/{id}"), token).await.0 == StatusCode::OK);
    }
    seen
}

#[tokio::test]
async fn every_grant_gives_a_token_that_opens_the_api() {
    let world = World::on_disk().await;
    let client = world.client(world.acme, &[Role::Operator]).await;
    let user = world.user(world.acme, "ops@example.com", &[Role::Viewer]).await;
    let id = client.id.to_string();
    let narrowed = tenant_urn(world.acme_east);
    let first = world.form(TOKEN, &client.basic(), &[CLIENT]).await;
    let token = granted(&first);
    let assertion = token.strip_prefix("Bearer ").expect("a bearer");
    let name = ("username", "Ops@Example.com");
    let cases = [
        ("by header", client.basic(), vec![CLIENT], "client"),
        ("narrowed", client.basic(), vec![CLIENT, ("scope", narrowed.as_str())], "client"),
        (
            "in the body, D7",
            String::new(),
            vec![CLIENT, ("client_id", id.as_str()), ("client_secret", client.secret.as_str())],
            "client",
        ),
        ("by header, and named again", client.basic(), vec![CLIENT, ("client_id", id.as_str())], "client"),
        ("with openid, D6", client.basic(), vec![CLIENT, ("scope", "openid")], "client"),
        (
            "password",
            String::new(),
            vec![BY_PASSWORD, name, ("password", PASSWORD), ("scope", "offline_access")],
            "user",
        ),
        ("password beside a right client", client.basic(), vec![BY_PASSWORD, name, ("password", PASSWORD)], "user"),
        (
            "assertion",
            token.clone(),
            vec![BY_ASSERTION, ("assertion", assertion), ("scope", narrowed.as_str())],
            "client",
        ),
        ("assertion without header", String::new(), vec![BY_ASSERTION, ("assertion", assertion)], "client"),
    ];
    for (what, auth, parameters, kind) in cases {
        for place in [TOKEN, "/bc/idp/token"] {
            let answer = world.form(place, &auth, &parameters).await;
            let token = granted(&answer);
            let body = &answer.2;
            // D4, D5
            assert_eq!(body["token_type"], "bearer", "{what}");
            assert_eq!(body["expires_in"], 7200, "{what}");
            let access = claims(&body["access_token"]);
            assert_eq!(body["expires_on"], access["exp"], "{what}");
            let now = world.service.moment().now.as_second();
            let expires_on = body["expires_on"].as_i64().expect("an integer");
            assert!((now..=now + 7200).contains(&expires_on), "{what}: {expires_on} at {now}");
            assert!(body["id_token"].as_str().is_some_and(|t| t.split('.').count() == 3), "{what}");
            let (status, _, me) = world.get("/api/2/users/me", &token).await;
            assert_eq!(status, StatusCode::OK, "{what}: {me}");
            let wanted = if kind == "user" { user.to_string() } else { id.clone() };
            assert_eq!(me["id"], wanted, "{what}");
        }
    }
}

#[tokio::test]
async fn an_api_token_is_a_bearer_and_may_be_an_assertion() {
    let world = World::new().await;
    let token = world.bearer(world.acme, Role::Viewer).await;
    assert_eq!(sees(&world, &token, &[world.acme, world.globex]).await, [true, false]);
    let secret = token.strip_prefix("Bearer ").expect("a bearer");
    let scope = tenant_urn(world.acme_east);
    let answer = world.form(TOKEN, &token, &[BY_ASSERTION, ("assertion", secret), ("scope", &scope)]).await;
    let narrowed = granted(&answer);
    assert_eq!(sees(&world, &narrowed, &[world.acme_east, world.acme]).await, [true, false]);
    let said = claims(&answer.2["access_token"]);
    assert_eq!(
        (said["sub_type"].as_str(), said["owner_tuid"].as_str()),
        (Some("api_client"), Some(&*world.acme.to_string()))
    );
}

#[tokio::test]
async fn an_access_token_says_who_has_it_and_for_what() {
    let world = World::new().await;
    let roles_of = |said: &Value| -> Vec<String> {
        let policies = said["scope"].as_array().expect("a list").iter();
        policies.map(|p| p["role"].as_str().expect("a role").to_owned()).collect()
    };
    // D11: an operator is viewer and issuer.
    for (role, wanted) in [
        (Role::Viewer, vec!["viewer"]),
        (Role::Issuer, vec!["issuer"]),
        (Role::Consumer, vec!["consumer"]),
        (Role::Operator, vec!["viewer", "issuer"]),
        (Role::Admin, vec!["viewer", "issuer", "consumer", "admin"]),
    ] {
        let client = world.client(world.acme, &[role]).await;
        let body = world.form(TOKEN, &client.basic(), &[CLIENT]).await.2;
        let said = claims(&body["access_token"]);
        assert_eq!(roles_of(&said), wanted, "{role}");
        assert_eq!(said["client_id"], client.id.to_string());
        assert_eq!(said["sub_type"], "api_client");
    }
    let client = world.client(world.acme, &[Role::Viewer]).await;
    let scope = tenant_urn(world.acme_east);
    let body = world.form(TOKEN, &client.basic(), &[CLIENT, ("scope", &scope)]).await.2;
    assert_eq!(body["scope"], scope);
    let said = claims(&body["access_token"]);
    let east = world.tenant(world.acme_east).await;
    // D9
    let policy = json!({
        "tid": east.number.to_string(), "tuid": east.id, "rs": "task_manager", "rn": "", "rp": "", "role": "viewer",
    });
    assert_eq!(said["scope"], json!([policy]));
    assert_eq!(said["owner_tuid"], world.acme.to_string(), "the client's own tenant, whatever the token opens");
    world.user(world.globex, "operator", &[Role::Admin]).await;
    let parameters = [BY_PASSWORD, ("username", "operator"), ("password", PASSWORD)];
    let body = world.form(TOKEN, "", &parameters).await.2;
    let said = claims(&body["access_token"]);
    assert_eq!(
        (said["sub_type"].as_str(), said["owner_tuid"].as_str()),
        (Some("user"), Some(&*world.globex.to_string()))
    );
    assert!(body.get("scope").is_none(), "nothing was narrowed: {body}");
}

// D6
#[tokio::test]
async fn scope_narrows_the_tenant() {
    let world = World::new().await;
    let client = world.client(world.acme, &[Role::Viewer]).await;
    let all = [world.acme, world.acme_east, world.globex, world.globex_west];
    let ask = async |scope: &str| world.form(TOKEN, &client.basic(), &[CLIENT, ("scope", scope)]).await;
    let own = granted(&ask(&tenant_urn(world.acme)).await);
    assert_eq!(sees(&world, &own, &all).await, [true, true, false, false]);
    let east = granted(&ask(&format!("openid {}", tenant_urn(world.acme_east))).await);
    assert_eq!(sees(&world, &east, &all).await, [false, true, false, false]);
    let capitals = format!("urn:acronis.com:tenant-id:{}", world.acme_east.to_string().to_uppercase());
    granted(&ask(&capitals).await);
    for outside in [world.globex, world.globex_west, Uuid::nil(), Uuid::from_u128(7)] {
        let answer = ask(&tenant_urn(outside)).await;
        assert_eq!(refused(&answer, "a tenant outside"), (400, "invalid_scope"));
    }
    for broken in ["urn:acronis.com:tenant-id:", "urn:acronis.com:tenant-id:66"] {
        assert_eq!(refused(&ask(broken).await, broken), (400, "invalid_scope"));
    }
    let both = format!("{} {}", tenant_urn(world.acme), tenant_urn(world.acme_east));
    assert_eq!(refused(&ask(&both).await, "two tenants"), (400, "invalid_scope"));
    // What was narrowed stays so.
    let assertion = east.strip_prefix("Bearer ").expect("a bearer");
    let again = granted(&world.form(TOKEN, &east, &[BY_ASSERTION, ("assertion", assertion)]).await);
    assert_eq!(sees(&world, &again, &all).await, [false, true, false, false]);
    let scope = tenant_urn(world.acme);
    let wider = world.form(TOKEN, &east, &[BY_ASSERTION, ("assertion", assertion), ("scope", &scope)]).await;
    assert_eq!(refused(&wider, "wider than the assertion"), (400, "invalid_scope"));
}

// D6, D11
#[tokio::test]
async fn scope_narrows_the_roles() {
    let world = World::new().await;
    let operator = world.client(world.acme, &[Role::Operator]).await;
    let ask = async |scope: &str| world.form(TOKEN, &operator.basic(), &[CLIENT, ("scope", scope)]).await;
    let tenants = format!("/api/2/tenants/{}", world.acme);
    let viewer = granted(&ask(&role_urn("viewer")).await);
    assert_eq!(world.get(&tenants, &viewer).await.0, StatusCode::OK);
    let issuer = granted(&ask(&role_urn("issuer")).await);
    assert_eq!(world.get(&tenants, &issuer).await.0, StatusCode::FORBIDDEN);
    let both = format!("{} {}", role_urn("viewer"), role_urn("issuer"));
    assert_eq!(world.get(&tenants, &granted(&ask(&both).await)).await.0, StatusCode::OK);
    for lacking in ["consumer", "admin", "operator", ""] {
        assert_eq!(refused(&ask(&role_urn(lacking)).await, lacking), (400, "invalid_scope"));
    }
    // What was narrowed stays so.
    let assertion = issuer.strip_prefix("Bearer ").expect("a bearer");
    let scope = role_urn("viewer");
    let wider = world.form(TOKEN, "", &[BY_ASSERTION, ("assertion", assertion), ("scope", &scope)]).await;
    assert_eq!(refused(&wider, "wider than the assertion"), (400, "invalid_scope"));
}

// D8
#[tokio::test]
async fn refusals_follow_rfc_6749() {
    let world = World::new().await;
    let client = world.client(world.acme, &[Role::Viewer]).await;
    world.user(world.acme, "operator", &[Role::Viewer]).await;
    let id = client.id.to_string();
    let good = client.basic();
    let encoded = good.strip_prefix("Basic ").expect("basic");
    let id_token = world.form(TOKEN, &good, &[CLIENT]).await.2["id_token"].as_str().expect("a token").to_owned();
    let stranger = Uuid::from_u128(7).to_string();
    let cases: Vec<(&str, String, String, (u16, &str))> = [
        ("a wrong secret", basic(&id, "x"), "grant_type=client_credentials".to_owned(), (401, "invalid_client")),
        ("an unknown client", basic(&stranger, "x"), "grant_type=client_credentials".into(), (401, "invalid_client")),
        ("an id that is none", basic("me", "x"), "grant_type=client_credentials".into(), (401, "invalid_client")),
        ("no secret", basic(&id, ""), "grant_type=client_credentials".into(), (401, "invalid_client")),
        ("nothing shown", String::new(), "grant_type=client_credentials".into(), (401, "invalid_client")),
        (
            "a name alone",
            String::new(),
            format!("grant_type=client_credentials&client_id={id}"),
            (401, "invalid_client"),
        ),
        ("no colon", "Basic YQ==".into(), "grant_type=client_credentials".into(), (401, "invalid_client")),
        ("no base64", "Basic ???".into(), "grant_type=client_credentials".into(), (401, "invalid_client")),
        ("a scheme alone", "Basic".into(), "grant_type=client_credentials".into(), (401, "invalid_client")),
        (
            "another scheme",
            format!("Digest {encoded}"),
            "grant_type=client_credentials".into(),
            (401, "invalid_client"),
        ),
        (
            "a user as a client",
            basic("operator", PASSWORD),
            "grant_type=client_credentials".into(),
            (401, "invalid_client"),
        ),
        (
            "a wrong secret in the body",
            String::new(),
            format!("grant_type=client_credentials&client_id={id}&client_secret=x"),
            (401, "invalid_client"),
        ),
        (
            "a secret without a name",
            String::new(),
            "grant_type=client_credentials&client_secret=x".into(),
            (400, "invalid_request"),
        ),
        (
            "two ways at once",
            good.clone(),
            format!("grant_type=client_credentials&client_id={id}&client_secret=x"),
            (400, "invalid_request"),
        ),
        (
            "two names",
            good.clone(),
            format!("grant_type=client_credentials&client_id={stranger}"),
            (400, "invalid_request"),
        ),
        (
            "a wrong client beside a right user",
            basic(&id, "x"),
            "grant_type=password&username=operator&password=tape+under+the+desk".into(),
            (401, "invalid_client"),
        ),
        (
            "a wrong password",
            String::new(),
            "grant_type=password&username=operator&password=x".into(),
            (400, "invalid_grant"),
        ),
        (
            "an unknown user",
            String::new(),
            "grant_type=password&username=nobody&password=x".into(),
            (400, "invalid_grant"),
        ),
        ("no username", String::new(), "grant_type=password&password=x".into(), (400, "invalid_request")),
        (
            "no password",
            String::new(),
            "grant_type=password&username=operator&password=".into(),
            (400, "invalid_request"),
        ),
        ("no assertion", String::new(), format!("grant_type={}", BY_ASSERTION.1), (400, "invalid_request")),
        (
            "an assertion of nothing",
            String::new(),
            format!("grant_type={}&assertion=x", BY_ASSERTION.1),
            (400, "invalid_grant"),
        ),
        (
            "an identity token as an assertion",
            String::new(),
            format!("grant_type={}&assertion={id_token}", BY_ASSERTION.1),
            (400, "invalid_grant"),
        ),
        ("no grant", good.clone(), String::new(), (400, "invalid_request")),
        ("an empty grant", good.clone(), "grant_type=".into(), (400, "invalid_request")),
        // D7; also there are no refresh tokens (D5).
        ("another grant", good.clone(), "grant_type=authorization_code".into(), (400, "unsupported_grant_type")),
        ("a refresh", good.clone(), "grant_type=refresh_token&refresh_token=x".into(), (400, "unsupported_grant_type")),
        ("an odd grant", good.clone(), "grant_type=%22%5C%C3%BC%0A".into(), (400, "unsupported_grant_type")),
        (
            "twice",
            good.clone(),
            "grant_type=client_credentials&grant_type=client_credentials".into(),
            (400, "invalid_request"),
        ),
        ("two scopes", good.clone(), "grant_type=client_credentials&scope=a&scope=b".into(), (400, "invalid_request")),
        ("a broken escape", good.clone(), "grant_type=client_credentials%".into(), (400, "invalid_request")),
        ("no UTF-8", good.clone(), "grant_type=client_credentials&x=%ff".into(), (400, "invalid_request")),
    ]
    .into();
    let before = changes::held(&*world.ledger).await;
    for (n, (what, auth, body, wanted)) in (1..).zip(cases) {
        // Each from another address, so that failures do not slow down the next case.
        let request = request(Method::POST, TOKEN, &auth).header("content-type", FORM).extension(from(n));
        let answer = world.send(request.body(Body::from(body)).expect("a request")).await;
        assert_eq!(refused(&answer, what), wanted, "{what}");
    }
    assert_eq!(changes::held(&*world.ledger).await, before, "a refusal changed something");
}

#[tokio::test]
async fn requests_that_are_no_form_are_refused_in_the_same_way() {
    let world = World::new().await;
    let client = world.client(world.acme, &[Role::Viewer]).await;
    let send = async |method: Method, kind: &str, body: String| {
        let request = request(method, TOKEN, &client.basic()).header("content-type", kind);
        world.send(request.body(Body::from(body)).expect("a request")).await
    };
    let right = || "grant_type=client_credentials".to_owned();
    granted(&send(Method::POST, "Application/X-WWW-Form-Urlencoded; charset=utf-8", right()).await);
    for kind in ["application/json", "text/plain", "multipart/form-data; boundary=x", ""] {
        assert_eq!(refused(&send(Method::POST, kind, right()).await, kind), (400, "invalid_request"));
    }
    let unmarked = request(Method::POST, TOKEN, &client.basic()).body(Body::from(right())).expect("a request");
    assert_eq!(refused(&world.send(unmarked).await, "unmarked"), (400, "invalid_request"));
    let large = format!("{}&x={}", right(), "a".repeat(1024 * 1024));
    assert_eq!(refused(&send(Method::POST, FORM, large).await, "large"), (413, "invalid_request"));
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let answer = send(method.clone(), FORM, right()).await;
        assert_eq!(refused(&answer, method.as_str()), (405, "invalid_request"));
        assert_eq!(answer.1["allow"], "POST");
    }
    let request = request(Method::POST, TOKEN, &client.basic()).header("authorization", client.basic());
    let request = request.header("content-type", FORM).body(Body::from(right())).expect("a request");
    assert_eq!(refused(&world.send(request).await, "two headers"), (400, "invalid_request"));
}

#[tokio::test]
async fn who_is_revoked_is_not_let_in() {
    let world = World::new().await;
    let client = world.client(world.acme, &[Role::Viewer]).await;
    let user = world.user(world.acme, "operator", &[Role::Viewer]).await;
    let by_password = [BY_PASSWORD, ("username", "operator"), ("password", PASSWORD)];
    let tokens = [
        granted(&world.form(TOKEN, &client.basic(), &[CLIENT]).await),
        granted(&world.form(TOKEN, "", &by_password).await),
    ];
    world.service.revoke_client(&world.root, client.id).await.expect("revoked");
    world.service.revoke_user(&world.root, user).await.expect("revoked");
    let answer = world.form(TOKEN, &client.basic(), &[CLIENT]).await;
    assert_eq!(refused(&answer, "a revoked client"), (401, "invalid_client"));
    assert_eq!(refused(&world.form(TOKEN, "", &by_password).await, "a revoked user"), (400, "invalid_grant"));
    for token in tokens {
        assert_eq!(world.get("/api/2/users/me", &token).await.0, StatusCode::UNAUTHORIZED);
        let assertion = token.strip_prefix("Bearer ").expect("a bearer");
        let answer = world.form(TOKEN, &token, &[BY_ASSERTION, ("assertion", assertion)]).await;
        assert_eq!(refused(&answer, "an assertion of somebody revoked"), (400, "invalid_grant"));
    }
}

#[tokio::test]
async fn who_guesses_has_to_wait() {
    let world = World::whose_clock_stands().await;
    let client = world.client(world.acme, &[Role::Viewer]).await;
    world.user(world.acme, "operator", &[Role::Viewer]).await;
    let wrong_client = basic(&client.id.to_string(), "guess");
    for (what, auth, parameters) in [
        ("a user", "", vec![BY_PASSWORD, ("username", "operator"), ("password", "guess")]),
        ("a client", wrong_client.as_str(), vec![CLIENT]),
    ] {
        let mut tries = 0;
        let answer = loop {
            let answer = world.form(TOKEN, auth, &parameters).await;
            if answer.0 == StatusCode::TOO_MANY_REQUESTS {
                break answer;
            }
            tries += 1;
            assert!(tries < 20, "{what} may guess for ever");
        };
        assert_eq!(refused(&answer, what), (429, "temporarily_unavailable"));
        let wait: u64 = answer.1["retry-after"].to_str().expect("text").parse().expect("seconds");
        assert!(wait >= 1, "{what}");
    }
    // The right secret does not help now, and others are let in.
    let answer = world.form(TOKEN, &client.basic(), &[CLIENT]).await;
    assert_eq!(refused(&answer, "the right secret, too late"), (429, "temporarily_unavailable"));
    let other = world.client(world.acme, &[Role::Viewer]).await;
    granted(&world.form(TOKEN, &other.basic(), &[CLIENT]).await);
    // Who comes from elsewhere does not suffer for it.
    let request = request(Method::POST, TOKEN, &client.basic()).header("content-type", FORM).extension(from(1));
    granted(&world.send(request.body(Body::from("grant_type=client_credentials")).expect("a request")).await);
}
