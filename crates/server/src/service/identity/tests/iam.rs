//! Tokens that are not kept: they end with their time and with their credential, and revocations are forgotten then.

use domain::SignedDuration;
use domain::identity::Revocation;

use super::*;
use crate::service::{NewToken, Reach, Shown};

#[tokio::test]
async fn a_token_ends_after_twelve_hours_or_with_its_key() {
    let world = World::new().await;
    let now = world.service.moment().now;
    let root = Caller::server();
    let hours = SignedDuration::from_hours;
    let new = |expires_at| NewToken { name: "ci".into(), role: Role::Viewer, tenant: Some(PARTNER), expires_at };
    let (key, secret) = world.service.create_token(&root, new(None)).await.expect("a token");
    let long = world.service.iam_for_key(&secret).await.expect("a token");
    let lives_at = async |token: &str, at| world.service.authenticate_at(token, at).await.is_ok();
    assert!(lives_at(&long.token, now + hours(11)).await);
    assert!(!lives_at(&long.token, long.expires_at).await);
    let (_, secret) = world.service.create_token(&root, new(Some(now + hours(2)))).await.expect("a token");
    let short = world.service.iam_for_key(&secret).await.expect("a token");
    assert!(short.expires_at <= now + hours(2) && long.expires_at > now + hours(11));
    world.service.revoke_token(&root, key.id).await.expect("revoked");
    assert!(!lives_at(&long.token, now + hours(1)).await);
}

#[tokio::test]
async fn a_session_ends_after_an_hour() {
    let world = World::new().await;
    let (client, shown) = world.client(PARTNER, &[Role::Viewer]).await;
    let Credential::Client { secret, .. } = shown else { panic!("a client") };
    let shown = Shown::Client { id: Some(client), name: None, secret };
    let session = world.service.open_session(shown, Reach::Own, None).await.expect("a session");
    let token = session.token.expect("a token");
    assert_eq!(session.expires_at.duration_since(session.issued_at), SignedDuration::from_hours(1));
    let second = SignedDuration::from_secs(1);
    world.service.authenticate_at(&token, session.expires_at - second).await.expect("in time");
    let late = world.service.authenticate_at(&token, session.expires_at).await.expect_err("late");
    assert_eq!(late.code, Code::Unauthenticated);
}

#[tokio::test]
async fn revocations_are_forgotten_when_the_token_would_have_expired() {
    let world = World::new().await;
    let (_, secret) = {
        let new = NewToken { name: "ci".into(), role: Role::Admin, tenant: Some(PARTNER), expires_at: None };
        world.service.create_token(&Caller::server(), new).await.expect("a token")
    };
    let token = world.service.iam_for_key(&secret).await.expect("a token").token;
    let caller = world.service.authenticate(&token).await.expect("a caller");
    world.service.revoke_iam(&caller, &token).await.expect("revoked");
    let now = world.service.moment().now;
    let old = Revocation { id: Uuid::now_v7(), tenant: PARTNER, expires_at: now, created_at: now, updated_at: now };
    world.put(old.into()).await;
    world.service.forget_revocations().await.expect("forgotten");
    let ledger: &dyn Ledger = &*world.ledger;
    let kept = ledger.all::<Revocation>(&Scope::everything(), Filter::all()).await.expect("a list");
    assert_eq!(kept.len(), 1, "the one that still counts");
    assert!(world.service.authenticate(&token).await.is_err());
    assert_eq!(world.audited("revocation.create").await.len(), 1, "who revoked it is on record");
}

#[tokio::test]
async fn keys_are_made_and_revoked_by_administrators() {
    let world = World::new().await;
    let (client, _) = world.client(PARTNER, &[Role::Operator]).await;
    let service = &world.service;
    let admin = world.caller(PARTNER, &[Role::Admin]).await;
    let (key, private) = service.create_client_key(&admin, client).await.expect("a key");
    assert!(
        private.starts_with("-----BEGIN PRIVATE KEY-----") && key.public_key.starts_with("-----BEGIN PUBLIC KEY-----")
    );
    for (who, code) in [
        (world.caller(PARTNER, &[Role::Editor]).await, Code::Forbidden),
        (world.caller(STRANGER, &[Role::Admin]).await, Code::NotFound),
    ] {
        assert_eq!(service.create_client_key(&who, client).await.expect_err("refused").code, code);
        assert_eq!(service.client_keys(&who, client, &all()).await.expect_err("refused").code, code);
        assert_eq!(service.revoke_client_key(&who, client, key.id).await.expect_err("refused").code, code);
    }
    let (other, _) = world.client(PARTNER, &[Role::Viewer]).await;
    let foreign = service.revoke_client_key(&admin, other, key.id).await.expect_err("another's key");
    assert_eq!(foreign.code, Code::NotFound);
    assert!(service.client_keys(&admin, other, &all()).await.expect("a list").items.is_empty());
    for _ in 0..2 {
        let revoked = service.revoke_client_key(&admin, client, key.id).await.expect("revoked, also once more");
        assert!(revoked.revoked_at.is_some());
    }
    assert_eq!(service.client_keys(&admin, client, &all()).await.expect("a list").items.len(), 1);
    service.revoke_client(&admin, client).await.expect("revoked");
    let late = service.create_client_key(&admin, client).await.expect_err("revoked");
    assert_eq!(late.code, Code::StateConflict);
}
