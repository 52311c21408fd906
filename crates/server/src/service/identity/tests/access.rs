//! Access tokens: what they open, how they are narrowed, and everything that is no access token.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::EcdsaKeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::identity::{ApiClient, User};
use domain::token::{Token, TokenKind};
use domain::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::super::jwt::{self, Type};
use super::*;
use crate::service::NewToken;

impl World {
    async fn signed_in(&self, credential: Credential) -> Caller {
        self.service.sign_in(credential, None).await.expect("the right secret")
    }

    async fn refused(&self, token: &str, why: &str) {
        let refused = self.service.authenticate(token).await.expect_err(why);
        assert_eq!(refused.code, Code::Unauthenticated, "{why}");
        assert_eq!(refused.message, "the token is not known, or no longer valid", "{why}");
    }

    async fn grant_for(&self, credential: Credential) -> Grant {
        let caller = self.signed_in(credential).await;
        self.service.grant(&caller, Wish::default()).await.expect("granted")
    }
}

fn part(token: &str, index: usize) -> Value {
    let text = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("base64url")).expect("JSON")
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn what_is_granted_opens_what_the_holder_may() {
    let world = World::new().await;
    for (id, credential) in
        [world.client(PARTNER, &[Role::Viewer, Role::Issuer]).await, world.user(PARTNER, &[Role::Operator]).await]
    {
        let caller = world.signed_in(credential).await;
        let grant = world.service.grant(&caller, Wish::default()).await.expect("granted");
        assert_eq!(grant.caller, caller);
        assert_eq!(world.service.authenticate(&grant.access_token).await.expect("valid"), caller);
        assert_eq!(grant.lifetime.as_secs(), 7200); // D5
        let audited = world.audited("token.grant").await;
        let (tenant, actor, object, _) = audited.last().expect("an entry");
        assert_eq!((*tenant, *actor), (PARTNER, Actor { kind: caller.actor.kind, id }));
        assert_eq!(object, part(&grant.access_token, 1)["jti"].as_str().expect("a jti"));
    }
}

#[tokio::test]
async fn a_token_says_who_where_and_until_when() {
    let world = World::new().await;
    let (id, credential) = world.client(PARTNER, &[Role::Viewer]).await;
    let caller = world.signed_in(credential).await;
    let claims = json!({ "owner_tuid": PARTNER, "sub": "somebody else", "exp": 99_999_999_999_i64 });
    let Value::Object(claims) = claims else { unreachable!() };
    let now: Timestamp = "2026-11-21T09:30:00.7Z".parse().expect("a time");
    let grant = world.service.grant_at(&caller, Wish { claims, ..Wish::default() }, now).await.expect("granted");
    assert_eq!(grant.expires_at, "2026-11-21T11:30:00Z".parse::<Timestamp>().expect("a time"));

    let header = part(&grant.access_token, 0);
    assert_eq!((&header["alg"], &header["typ"]), (&json!("ES256"), &json!("at+jwt")));
    let mut claims = part(&grant.access_token, 1);
    assert!(claims["jti"].take().is_string());
    let expected = json!({
        "iss": "backstay", "sub": id, "client_id": id, "kind": "client", "tenant": PARTNER, "roles": ["viewer"],
        "iat": 1_795_253_400, "exp": 1_795_260_600, "jti": null, "owner_tuid": PARTNER,
    });
    assert_eq!(claims, expected, "the server's own claims cannot be replaced");
    assert_eq!(part(&grant.id_token, 0)["typ"], "JWT");
    assert_eq!(part(&grant.id_token, 1)["aud"], json!(id));
}

#[tokio::test]
async fn a_token_ends_after_two_hours() {
    let world = World::new().await;
    let (_, credential) = world.client(PARTNER, &[Role::Viewer]).await;
    let caller = world.signed_in(credential).await;
    let now = world.service.moment().now;
    let grant = world.service.grant_at(&caller, Wish::default(), now).await.expect("granted");
    let second = SignedDuration::from_secs(1);
    world.service.authenticate_at(&grant.access_token, grant.expires_at - second).await.expect("in time");
    let late = world.service.authenticate_at(&grant.access_token, grant.expires_at).await.expect_err("late");
    assert_eq!(late.code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_grant_narrows_and_never_widens() {
    let world = World::new().await;
    let service = &world.service;
    let (_, credential) = world.client(PARTNER, &[Role::Admin]).await;
    let caller = world.signed_in(credential).await;
    let wish = |tenant, roles: &[Role]| Wish { tenant: Some(tenant), roles: Some(roles.to_vec()), claims: Map::new() };

    let narrow = service.grant(&caller, wish(CUSTOMER, &[Role::Viewer, Role::Viewer])).await.expect("less");
    let narrowed = service.authenticate(&narrow.access_token).await.expect("valid");
    assert_eq!(narrowed, narrow.caller);
    assert_eq!((narrowed.tenant(), narrowed.roles()), (CUSTOMER, [Role::Viewer].as_slice()));

    // With the narrow token: the same again, for another two hours, and nothing beyond it.
    let later = service.moment().now + SignedDuration::from_mins(90);
    let again = service.grant_at(&narrowed, Wish::default(), later).await.expect("the same");
    assert_eq!(again.caller, narrowed);
    assert!(again.expires_at > narrow.expires_at);
    let too_much = [
        (&narrowed, wish(PARTNER, &[Role::Viewer])),
        (&narrowed, wish(CUSTOMER, &[Role::Issuer])),
        (&narrowed, wish(CUSTOMER, &[])),
        (&caller, wish(STRANGER, &[Role::Viewer])),
        (&caller, wish(ROOT, &[Role::Viewer])),
        (&caller, wish(Uuid::from_u128(1234), &[Role::Viewer])),
    ];
    for (caller, wish) in too_much {
        let refused = service.grant(caller, wish).await.expect_err("too much");
        assert_eq!((refused.code, refused.field.as_deref()), (Code::InvalidField, Some("scope")));
    }
    let server = service.grant(&Caller::server(), Wish::default()).await.expect_err("the server itself");
    assert_eq!(server.code, Code::Forbidden);
}

#[tokio::test]
async fn whoever_is_revoked_loses_living_tokens_at_once() {
    let world = World::new().await;
    let service = &world.service;
    let root = Caller::server();
    let (client, credential) = world.client(PARTNER, &[Role::Viewer]).await;
    let of_client = world.grant_for(credential).await.access_token;
    let (user, credential) = world.user(PARTNER, &[Role::Viewer]).await;
    let of_user = world.grant_for(credential).await.access_token;
    let everything = Scope::everything();
    let issue = |kind| service.issue(&root, &everything, kind, "t".into(), Role::Viewer, None);
    let (token, secret) = issue(TokenKind::Api).await.expect("a token");
    let caller = service.authenticate(&secret).await.expect("valid");
    let of_token = service.grant(&caller, Wish::default()).await.expect("granted").access_token;
    assert_eq!(service.authenticate(&of_token).await.expect("valid"), caller);

    for token in [&of_client, &of_user, &of_token] {
        service.authenticate(token).await.expect("not revoked yet");
    }
    service.revoke_client(&root, client).await.expect("revoked");
    world.refused(&of_client, "a revoked client").await;
    service.revoke_user(&root, user).await.expect("revoked");
    world.refused(&of_user, "a revoked user").await;
    service.revoke_token(&root, token.id).await.expect("revoked");
    world.refused(&of_token, "a revoked API token").await;
    world.refused(&secret, "a revoked API token").await;
    let (_, agents) = issue(TokenKind::Agent).await.expect("a token");
    world.refused(&agents, "an agent's token").await;
}

#[tokio::test]
async fn an_access_token_of_an_api_token_ends_with_it() {
    let world = World::new().await;
    let service = &world.service;
    let expires_at = service.moment().now + SignedDuration::from_mins(10);
    let root = world.caller(ROOT, &[Role::Admin]).await;
    let new = NewToken { name: "t".into(), role: Role::Viewer, tenant: None, expires_at: Some(expires_at) };
    let (_, secret) = service.create_token(&root, new).await.expect("a token");
    let caller = service.authenticate(&secret).await.expect("valid");
    let access = service.grant(&caller, Wish::default()).await.expect("granted").access_token;
    service.authenticate_at(&access, expires_at - SignedDuration::from_secs(1)).await.expect("in time");
    service.authenticate_at(&access, expires_at).await.expect_err("the API token has expired");
}

#[tokio::test]
async fn what_the_holder_loses_the_token_loses() {
    let world = World::new().await;
    let service = &world.service;
    let root = Caller::server();
    let everything = Scope::everything();
    let (id, credential) = world.client(PARTNER, &[Role::Viewer, Role::Issuer]).await;
    let token = world.grant_for(credential).await.access_token;
    let change = service.edit::<ApiClient>(&root, "change", &everything, id, |client| {
        client.roles = vec![Role::Issuer, Role::Consumer];
        client.executor = Some("agent-7".into());
        Ok(())
    });
    change.await.expect("changed");
    let caller = service.authenticate(&token).await.expect("still somebody");
    assert_eq!(caller.roles(), [Role::Issuer], "one role was taken away, and a new one needs a new token");
    assert_eq!(caller.executor.as_deref(), Some("agent-7"));

    let move_to = |tenant| {
        service.edit::<ApiClient>(&root, "move", &everything, id, move |client| {
            client.tenant = tenant;
            Ok(())
        })
    };
    move_to(CUSTOMER).await.expect("moved");
    world.refused(&token, "the token's tenant is above its holder's now").await;
    move_to(ROOT).await.expect("moved");
    assert_eq!(service.authenticate(&token).await.expect("within again").tenant(), PARTNER);

    let (id, credential) = world.user(PARTNER, &[Role::Viewer]).await;
    let token = world.grant_for(credential).await.access_token;
    let change = service.edit::<User>(&root, "change", &everything, id, |user| {
        user.roles = vec![Role::Admin];
        Ok(())
    });
    change.await.expect("changed");
    assert_eq!(service.authenticate(&token).await.expect("valid").roles(), [Role::Viewer], "more needs a new token");
}

#[tokio::test]
async fn nothing_else_passes_for_an_access_token() {
    let world = World::new().await;
    let (_, credential) = world.client(PARTNER, &[Role::Viewer]).await;
    let grant = world.grant_for(credential).await;
    let token = grant.access_token.as_str();
    let (header, claims) = (part(token, 0), part(token, 1));
    let kid = header["kid"].as_str().and_then(|k| Uuid::parse_str(k).ok()).expect("a key's id");
    let key = world.service.verifying_key(kid, world.service.moment().now).await.expect("known").expect("known");
    let pair = key.pair(&world.service.sealer).expect("its private part");
    let signed = token.rsplit_once('.').expect("three parts");

    // The same claims signed by the test are good, so what is refused below is refused for its one difference.
    let again = jwt::sign(pair, kid, Type::Access, &claims).expect("signed");
    world.service.authenticate(&again).await.expect("right in every way");

    world.refused(&grant.id_token, "an id token").await;
    let mut more = claims.clone();
    more["roles"] = json!(["admin"]);
    world.refused(&format!("{}.{}.{}", encode(&header), encode(&more), signed.1), "tampered claims").await;

    let none = json!({ "alg": "none", "typ": "at+jwt", "kid": kid });
    world.refused(&format!("{}.{}.", encode(&none), encode(&more)), "no algorithm").await;
    world.refused(&format!("{}.{}.{}", encode(&none), encode(&more), signed.1), "no algorithm").await;

    let jwk = world.service.jwks().await.expect("keys")["keys"][0].clone();
    let mut point = vec![4];
    for coordinate in ["x", "y"] {
        point.extend(URL_SAFE_NO_PAD.decode(jwk[coordinate].as_str().expect("text")).expect("base64url"));
    }
    let hs256 = json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid });
    let text = format!("{}.{}", encode(&hs256), encode(&more));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &point), text.as_bytes());
    world.refused(&format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag)), "the public key as a secret").await;

    let other = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING).expect("a pair");
    let forged = jwt::sign(&other, kid, Type::Access, &more).expect("signed");
    world.refused(&forged, "signed under another key").await;
    let forged = jwt::sign(&other, Uuid::from_u128(5), Type::Access, &more).expect("signed");
    world.refused(&forged, "an unknown key").await;

    for (member, value) in [("crit", json!(["exp"])), ("jwk", jwk.clone()), ("typ", json!("JWT"))] {
        let mut changed = header.clone();
        changed[member] = value;
        let text = format!("{}.{}", encode(&changed), encode(&claims));
        let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), text.as_bytes()).expect("signed");
        world.refused(&format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)), member).await;
    }
    for (claim, value) in [
        ("iss", json!("another")),
        ("exp", json!(1)),
        ("exp", Value::Null),
        ("kind", json!("server")),
        ("kind", json!("user")),
        ("sub", json!(Uuid::from_u128(6))),
        ("tenant", json!(STRANGER)),
        ("tenant", json!(ROOT)),
    ] {
        let mut changed = claims.clone();
        changed[claim] = value;
        let changed = jwt::sign(pair, kid, Type::Access, &changed).expect("signed");
        world.refused(&changed, claim).await;
    }
    let long = format!("{}.{}.{}", encode(&header), "A".repeat(20_000), signed.1);
    let broken = ["", ".", "..", "...", "a.b", "a.b.c", &long];
    for text in broken.into_iter().map(str::to_owned).chain([
        signed.0.to_owned(),
        format!("{token}."),
        format!("{token}.{}", signed.1),
        format!("{token}="),
        format!(" {token}"),
        token[..token.len() - 2].to_owned(),
    ]) {
        world.refused(&text, &text).await;
    }
}

#[tokio::test]
async fn an_api_token_lets_do_no_more_than_who_made_it() {
    let world = World::new().await;
    let service = &world.service;
    let admin = world.caller(PARTNER, &[Role::Admin]).await;
    let new = |tenant| NewToken { name: "t".into(), role: Role::Viewer, tenant, expires_at: None };
    let (token, secret) = service.create_token(&admin, new(None)).await.expect("a token");
    let caller = service.authenticate(&secret).await.expect("valid");
    assert_eq!(caller.actor, Actor { kind: ActorKind::Token, id: token.id });
    assert_eq!((caller.tenant(), caller.roles()), (PARTNER, [Role::Viewer].as_slice()));
    let outside = service.create_token(&admin, new(Some(STRANGER))).await.expect_err("out of scope");
    assert_eq!((outside.code, outside.field.as_deref()), (Code::NotFound, Some("tenant")));
    let operator = world.caller(PARTNER, &[Role::Operator]).await;
    assert_eq!(service.create_token(&operator, new(None)).await.expect_err("no admin").code, Code::Forbidden);

    let revoked = service.revoke_token(&admin, token.id).await.expect("revoked");
    let again = service.revoke_token(&admin, token.id).await.expect("revoked before");
    assert_eq!(again, revoked, "revoking again changes nothing");
    assert_eq!(world.audited("token.revoke").await.len(), 1);
    let stored = service.ledger().get::<Token>(&Scope::everything(), token.id).await.expect("the token");
    assert!(stored.value.revoked_at.is_some());
}
