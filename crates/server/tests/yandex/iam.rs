//! Tokens: from an API key, from what a service account signed, for a service account, and their end (section 7.2).

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use domain::{Role, Timestamp, Uuid};
use prost::Message;
use proto::google::rpc;
use proto::yandex::cloud::iam::v1::create_iam_token_request::Identity;
use proto::yandex::cloud::iam::v1::{
    CreateIamTokenForServiceAccountRequest, CreateIamTokenRequest, CreateIamTokenResponse, RevokeIamTokenRequest,
    RevokeIamTokenResponse,
};
use serde_json::{Value, json};
use server::service::NewClient;

use super::world::{PUBLIC, World, fields};

const SERVICE: &str = "/yandex.cloud.iam.v1.IamTokenService";
const VENDOR: &str = "https://iam.api.cloud.yandex.net/iam/v1/tokens";

/// A service account with its key.
struct Account {
    id: Uuid,
    kid: Uuid,
    pair: RsaKeyPair,
}

impl Account {
    async fn new(world: &World, tenant: Uuid) -> Account {
        let new =
            NewClient { tenant: Some(tenant), name: "terraform".into(), roles: vec![Role::Operator], executor: None };
        let (client, _) = world.service.create_client(&world.root, new).await.expect("a client");
        let (key, private) = world.service.create_client_key(&world.root, client.id).await.expect("a key");
        assert!(private.starts_with("-----BEGIN PRIVATE KEY-----\n") && private.lines().all(|l| l.len() <= 64));
        let body: String = private.lines().filter(|l| !l.starts_with('-')).collect();
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(body).expect("base64")).expect("PKCS#8");
        Account { id: client.id, kid: key.id, pair }
    }

    /// The claims of a good assertion.
    fn claims(&self) -> Value {
        let now = Timestamp::now().as_second();
        json!({"iss": self.id, "aud": VENDOR, "iat": now, "exp": now + 3600})
    }

    fn header(&self) -> Value {
        json!({"alg": "PS256", "typ": "JWT", "kid": self.kid})
    }

    fn sign(&self, header: &Value, claims: &Value, how: &'static dyn RsaEncoding) -> String {
        let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(how, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

async fn create(world: &World, identity: Identity) -> Result<CreateIamTokenResponse, rpc::Status> {
    let request = CreateIamTokenRequest { identity: Some(identity) }.encode_to_vec();
    let answer = world.grpc(&format!("{SERVICE}/Create"), "", &request).await;
    answer.map(|(_, m)| CreateIamTokenResponse::decode(&*m).expect("a token")).map_err(|(status, _)| status)
}

async fn by_key(world: &World, key: &str) -> String {
    let made = create(world, Identity::YandexPassportOauthToken(key.to_owned())).await.expect("a token");
    made.iam_token
}

/// Whether a token opens anything: tried on the native API, which takes whatever the server gave.
async fn opens(world: &World, token: &str) -> bool {
    world.rest(Method::GET, "/api/v1/me", token, Value::Null).await.0 == StatusCode::OK
}

#[tokio::test]
async fn an_api_key_is_exchanged() {
    let world = World::new().await;
    let key = world.token(world.acme, Role::Viewer).await;
    let made = create(&world, Identity::YandexPassportOauthToken(key.clone())).await.expect("a token");
    let token = made.iam_token;
    assert!(token.starts_with("t1.") && token.len() <= 1024 && token.matches('.').count() == 2, "{token}");
    assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)), "{token}");
    let lives = made.expires_at.expect("an end").seconds - Timestamp::now().as_second();
    assert!((12 * 3600 - 60..=12 * 3600).contains(&lives), "{lives}");
    assert!(opens(&world, &token).await);
    let (_, _, me) = world.rest(Method::GET, "/api/v1/me", &token, Value::Null).await;
    assert_eq!((&me["tenant"], me["roles"].to_string().contains("viewer")), (&json!(world.acme), true), "{me}");

    let body = json!({"yandexPassportOauthToken": key});
    let (status, _, answer) = world.rest(Method::POST, "/iam/v1/tokens", "", body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(opens(&world, answer["iamToken"].as_str().expect("a token")).await);
    assert!(answer["expiresAt"].as_str().is_some_and(|t| t.ends_with('Z')), "{answer}");
}

#[tokio::test]
async fn what_is_no_key_is_not() {
    let world = World::new().await;
    let token = by_key(&world, &world.token(world.acme, Role::Viewer).await).await;
    for key in ["nonsense", "bst_nonsense", &token, &"x".repeat(4000)] {
        let status = create(&world, Identity::YandexPassportOauthToken(key.to_owned())).await.expect_err("no key");
        assert_eq!(status.code, 16, "{key}");
    }
    let (status, headers, body) = world.rest(Method::POST, "/iam/v1/tokens", "", Value::Null).await;
    assert_eq!((status, fields(&body)), (StatusCode::BAD_REQUEST, vec!["identity".to_owned()]));
    assert!(!headers.contains_key("www-authenticate"));
    let both = json!({"yandexPassportOauthToken": "a", "jwt": "b"});
    let (_, _, body) = world.rest(Method::POST, "/iam/v1/tokens", "", both).await;
    assert_eq!(fields(&body), ["identity"]);
    let long = json!({"yandexPassportOauthToken": "x".repeat(4001)});
    let (_, _, body) = world.rest(Method::POST, "/iam/v1/tokens", "", long).await;
    assert_eq!(fields(&body), ["yandex_passport_oauth_token"]);
    let (status, headers, body) = world.rest(Method::POST, "/iam/v1/tokens", "", json!({"jwt": "a.b"})).await;
    assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!(16)));
    assert_eq!(headers["www-authenticate"], "Bearer");
}

#[tokio::test]
async fn service_accounts_sign_for_every_name_of_this_server() {
    let world = World::new().await;
    let account = Account::new(&world, world.acme).await;
    let host = PUBLIC.split(':').next().expect("a host");
    for aud in [
        json!(VENDOR),
        json!(format!("https://iam.{PUBLIC}/iam/v1/tokens")),
        json!(format!("https://iam.{host}/iam/v1/tokens")),
        json!(format!("https://{PUBLIC}/iam/v1/tokens")),
        json!(["somebody else", VENDOR]),
    ] {
        let mut claims = account.claims();
        claims["aud"] = aud.clone();
        let jwt = account.sign(&account.header(), &claims, &RSA_PSS_SHA256);
        let made = create(&world, Identity::Jwt(jwt)).await.unwrap_or_else(|s| panic!("{aud}: {}", s.message));
        assert!(opens(&world, &made.iam_token).await);
    }
    let (_, _, me) = {
        let jwt = account.sign(&json!({"alg": "PS256", "kid": account.kid}), &account.claims(), &RSA_PSS_SHA256);
        let token = create(&world, Identity::Jwt(jwt)).await.expect("no typ is right too").iam_token;
        world.rest(Method::GET, "/api/v1/me", &token, Value::Null).await
    };
    assert_eq!((&me["name"], &me["tenant"]), (&json!("terraform"), &json!(world.acme)), "{me}");
}

#[tokio::test]
async fn assertions_that_are_not_right_are_refused_and_told_why() {
    let world = World::new().await;
    let account = Account::new(&world, world.acme).await;
    let other = Account::new(&world, world.acme).await;
    let now = Timestamp::now().as_second();
    let header = |name: &str, value: Value| {
        let mut header = account.header();
        header[name] = value;
        account.sign(&header, &account.claims(), &RSA_PSS_SHA256)
    };
    let claim = |pairs: &[(&str, Value)]| {
        let mut claims = account.claims();
        for (name, value) in pairs {
            claims[*name] = value.clone();
        }
        account.sign(&account.header(), &claims, &RSA_PSS_SHA256)
    };
    let unsigned = {
        let part = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        format!("{}.{}.", part(&json!({"alg": "none", "kid": account.kid})), part(&account.claims()))
    };
    let mut rs256 = account.header();
    rs256["alg"] = json!("RS256");
    for (what, jwt, why) in [
        ("RS256", account.sign(&rs256, &account.claims(), &RSA_PKCS1_SHA256), "alg"),
        ("none", unsigned, "alg"),
        ("another signature", account.sign(&account.header(), &account.claims(), &RSA_PKCS1_SHA256), "signature"),
        ("another type", header("typ", json!("at+jwt")), "typ"),
        ("critical members", header("crit", json!(["b64"])), "crit"),
        ("no key", header("kid", Value::Null), "kid"),
        ("unknown key", header("kid", json!(Uuid::now_v7())), "kid"),
        ("key of another", header("kid", json!(other.kid)), "signature"),
        ("another issuer", claim(&[("iss", json!(other.id))]), "iss"),
        ("another audience", claim(&[("aud", json!("https://example.com"))]), "aud"),
        ("no audience", claim(&[("aud", Value::Null)]), "aud"),
        ("too long", claim(&[("exp", json!(now + 3601)), ("iat", json!(now))]), "exp - iat"),
        ("expired", claim(&[("iat", json!(now - 3600)), ("exp", json!(now - 120))]), "exp"),
        ("from the future", claim(&[("iat", json!(now + 120)), ("exp", json!(now + 600))]), "iat"),
        ("no times", claim(&[("iat", Value::Null)]), "times"),
        ("texts as times", claim(&[("exp", json!("soon"))]), "claims"),
        ("rubbish", "a.b.c".to_owned(), "readable"),
    ] {
        let status = create(&world, Identity::Jwt(jwt)).await.expect_err(what);
        assert!(status.code == 16 && status.message.contains(why), "{what}: {} {}", status.code, status.message);
    }
    let good = account.sign(&account.header(), &account.claims(), &RSA_PSS_SHA256);
    let token = create(&world, Identity::Jwt(good.clone())).await.expect("a token").iam_token;
    world.service.revoke_client_key(&world.root, account.id, account.kid).await.expect("revoked");
    assert_eq!(create(&world, Identity::Jwt(good)).await.expect_err("revoked").code, 16);
    assert!(opens(&world, &token).await, "what was given before lives on");
    world.service.revoke_client(&world.root, account.id).await.expect("revoked");
    assert!(!opens(&world, &token).await, "and ends with its account");
}

#[tokio::test]
async fn administrators_get_tokens_for_service_accounts() {
    let world = World::new().await;
    let account = Account::new(&world, world.acme).await;
    let request = |id: &str| CreateIamTokenForServiceAccountRequest { service_account_id: id.into() }.encode_to_vec();
    let method = format!("{SERVICE}/CreateForServiceAccount");
    let id = account.id.to_string();
    for (token, id, code) in [
        (String::new(), id.as_str(), 16),
        (world.token(world.acme, Role::Viewer).await, &id, 7),
        (world.token(world.acme, Role::Editor).await, &id, 7),
        (world.token(world.globex, Role::Admin).await, &id, 5),
        (world.token(world.acme, Role::Admin).await, "somebody", 5),
        (world.token(world.acme, Role::Admin).await, "", 3),
    ] {
        let (status, _) = world.grpc(&method, &token, &request(id)).await.expect_err("refused");
        assert_eq!(status.code, code, "{id}: {}", status.message);
    }
    let admin = by_key(&world, &world.token(world.acme, Role::Admin).await).await;
    let (_, answer) = world.grpc(&method, &admin, &request(&id)).await.expect("a token");
    let token = CreateIamTokenResponse::decode(&*answer).expect("a token").iam_token;
    assert!(opens(&world, &token).await);
    let body = json!({"serviceAccountId": id});
    let (status, _, answer) = world.rest(Method::POST, "/iam/v1/tokens:createForServiceAccount", &admin, body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test]
async fn a_revoked_token_opens_nothing() {
    let world = World::new().await;
    let account = Account::new(&world, world.acme).await;
    let key = world.token(world.acme, Role::Viewer).await;
    let (token, other) = (by_key(&world, &key).await, by_key(&world, &key).await);
    let revoke = |token: &str| RevokeIamTokenRequest { iam_token: token.into() }.encode_to_vec();
    let method = format!("{SERVICE}/Revoke");
    let (_, answer) = world.grpc(&method, &token, &revoke(&token)).await.expect("one's own");
    let subject = RevokeIamTokenResponse::decode(&*answer).expect("a subject").subject_id;
    assert!(Uuid::parse_str(&subject).is_ok());
    assert!(!opens(&world, &token).await && opens(&world, &other).await, "this one only");
    let (status, headers, body) = world.rest(Method::POST, "/iam/v1/tokens:revoke", &token, json!({})).await;
    assert_eq!((status, &headers["www-authenticate"].to_str().expect("text")), (StatusCode::UNAUTHORIZED, &"Bearer"));
    let info = &body["details"][0];
    assert_eq!(info["@type"], "type.googleapis.com/google.rpc.RequestInfo");
    assert_eq!(info["requestId"], headers["x-request-id"].to_str().expect("text"));

    let jwt = account.sign(&account.header(), &account.claims(), &RSA_PSS_SHA256);
    let theirs = create(&world, Identity::Jwt(jwt)).await.expect("a token").iam_token;
    let mut altered = theirs.clone();
    altered.replace_range(10..11, if &theirs[10..11] == "A" { "B" } else { "A" });
    for (who, token, code) in [
        (&other, &theirs, 7),
        (&world.token(world.globex, Role::Admin).await, &theirs, 5),
        (&other, &"t1.a.b".to_owned(), 5),
        (&other, &altered, 5),
        (&other, &key, 5),
    ] {
        let (status, _) = world.grpc(&method, who, &revoke(token)).await.expect_err("refused");
        assert_eq!(status.code, code, "{}", status.message);
    }
    assert!(!opens(&world, &altered).await);
    assert!(opens(&world, &theirs).await);
    let admin = world.token(world.acme, Role::Admin).await;
    for _ in 0..2 {
        let (_, answer) = world.grpc(&method, &admin, &revoke(&theirs)).await.expect("revoked, also once more");
        let subject = RevokeIamTokenResponse::decode(&*answer).expect("a subject").subject_id;
        assert_eq!(subject, account.id.to_string());
    }
    assert!(!opens(&world, &theirs).await);
}
