//! Signing keys: made when needed, replaced after a month, published while their tokens live, dead when revoked.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::identity::SigningKey;
use domain::{SignedDuration, Timestamp};
use serde_json::Value;

use super::*;

impl World {
    async fn holder(&self) -> Caller {
        let (_, credential) = self.client(PARTNER, &[Role::Viewer]).await;
        self.service.sign_in(credential, None).await.expect("the right secret")
    }

    async fn stored_keys(&self) -> Vec<SigningKey> {
        self.service.signing_keys(&Caller::server(), &all()).await.expect("the keys").items
    }

    /// The ids in the published set, in their order.
    async fn published(&self, now: Timestamp) -> Vec<Uuid> {
        let set = self.service.jwks_at(now).await.expect("the set");
        let keys = set["keys"].as_array().expect("a list").clone();
        keys.iter().map(|k| k["kid"].as_str().and_then(|k| k.parse().ok()).expect("an id")).collect()
    }
}

/// Verifies a token the way a stranger would: from the published set alone. Gives its key's id.
fn verified_by_stranger(token: &str, set: &Value) -> Uuid {
    let parts: Vec<_> = token.split('.').collect();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let header: Value = serde_json::from_slice(&decode(parts[0])).expect("JSON");
    let key = set["keys"].as_array().expect("a list").iter().find(|k| k["kid"] == header["kid"]).expect("published");
    for (member, value) in [("kty", "EC"), ("crv", "P-256"), ("use", "sig"), ("alg", "ES256")] {
        assert_eq!(key[member], value);
    }
    let coordinate = |name: &str| decode(key[name].as_str().expect("text"));
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    let text = format!("{}.{}", parts[0], parts[1]);
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    public.verify(text.as_bytes(), &decode(parts[2])).expect("the signature is right");
    header["kid"].as_str().and_then(|k| k.parse().ok()).expect("an id")
}

#[tokio::test]
async fn a_stranger_verifies_tokens_with_the_published_keys() {
    let world = World::new().await;
    assert_eq!(world.service.jwks().await.expect("a set"), serde_json::json!({ "keys": [] }), "none is needed yet");
    let grant = world.service.grant(&world.holder().await, Wish::default()).await.expect("granted");
    let set = world.service.jwks().await.expect("a set");
    verified_by_stranger(&grant.access_token, &set);
    verified_by_stranger(&grant.id_token, &set);
    assert!(!set.to_string().contains("\"d\""), "nothing private");
}

#[tokio::test]
async fn first_grants_at_the_same_time_make_one_key() {
    let world = World::new().await;
    let caller = world.holder().await;
    let grant = || world.service.grant(&caller, Wish::default());
    let (a, b, c) = tokio::join!(grant(), grant(), grant());
    for grant in [a, b, c] {
        world.service.authenticate(&grant.expect("granted").access_token).await.expect("valid");
    }
    assert_eq!(world.stored_keys().await.len(), 1);
}

#[tokio::test]
async fn a_key_is_replaced_after_thirty_days_and_its_tokens_live_on() {
    let world = World::new().await;
    let service = &world.service;
    let caller = world.holder().await;
    let start = service.moment().now;
    let grant = async |at| service.grant_at(&caller, Wish::default(), at).await.expect("granted").access_token;
    let kid = |token: &str, set: &Value| verified_by_stranger(token, set);
    let days = |n: i64| start + SignedDuration::from_hours(24 * n);
    let second = SignedDuration::from_secs(1);

    let first = kid(&grant(start).await, &service.jwks_at(start).await.expect("a set"));
    let last_of_first = grant(days(30) - second).await;
    assert_eq!(kid(&last_of_first, &service.jwks_at(days(30)).await.expect("a set")), first);
    let of_second = grant(days(30)).await;
    let second_key = kid(&of_second, &service.jwks_at(days(30)).await.expect("a set"));
    assert_ne!(first, second_key);
    assert_eq!(world.stored_keys().await.len(), 2);

    for token in [&last_of_first, &of_second] {
        service.authenticate_at(token, days(30) + second).await.expect("both live");
    }
    let until = days(30) + SignedDuration::from_hours(2);
    assert_eq!(world.published(until).await, [first, second_key], "its last token may have lived until just now");
    assert_eq!(world.published(until + SignedDuration::from_mins(10)).await, [second_key]);
    assert_eq!(world.audited("signing_key.create").await.len(), 2);
}

#[tokio::test]
async fn an_administrator_of_all_rotates_and_revokes() {
    let world = World::new().await;
    let service = &world.service;
    let root = world.caller(ROOT, &[Role::Admin]).await;
    let caller = world.holder().await;
    let grant = async || service.grant(&caller, Wish::default()).await.expect("granted").access_token;
    let old = grant().await;
    let new_key = service.rotate_signing_key(&root).await.expect("a new key");
    let new = grant().await;
    let set = service.jwks().await.expect("a set");
    assert_eq!(verified_by_stranger(&new, &set), new_key.id);
    let old_key = verified_by_stranger(&old, &set);
    for token in [&old, &new] {
        service.authenticate(token).await.expect("both live");
    }

    let revoked = service.revoke_signing_key(&root, new_key.id).await.expect("revoked");
    assert!(revoked.revoked_at.is_some());
    assert_eq!(service.revoke_signing_key(&root, new_key.id).await.expect("revoked before"), revoked);
    assert_eq!(service.authenticate(&new).await.expect_err("dead at once").code, Code::Unauthenticated);
    service.authenticate(&old).await.expect("another key's tokens live on");
    assert_eq!(world.published(service.moment().now).await, [old_key]);
    assert_eq!(verified_by_stranger(&grant().await, &service.jwks().await.expect("a set")), old_key);

    service.revoke_signing_key(&root, old_key).await.expect("revoked");
    assert_eq!(service.authenticate(&old).await.expect_err("dead at once").code, Code::Unauthenticated);
    let fresh = grant().await;
    service.authenticate(&fresh).await.expect("under a key that was made for it");
    assert_eq!(world.stored_keys().await.len(), 3);
    let missing = service.revoke_signing_key(&root, Uuid::from_u128(5)).await.expect_err("no such key");
    assert_eq!(missing.code, Code::NotFound);

    // After a restart the ledger says the same.
    let restarted = super::service(world.ledger.clone());
    restarted.authenticate(&fresh).await.expect("a live key");
    for token in [&old, &new] {
        assert_eq!(restarted.authenticate(token).await.expect_err("revoked").code, Code::Unauthenticated);
    }
}

#[tokio::test]
async fn keys_are_for_administrators_of_the_whole_server() {
    let world = World::new().await;
    let service = &world.service;
    for caller in [world.caller(PARTNER, &[Role::Admin]).await, world.caller(ROOT, &[Role::Operator]).await] {
        let refusals = [
            service.signing_keys(&caller, &all()).await.map(drop),
            service.rotate_signing_key(&caller).await.map(drop),
            service.revoke_signing_key(&caller, Uuid::from_u128(5)).await.map(drop),
        ];
        for refusal in refusals {
            assert_eq!(refusal.expect_err("not theirs").code, Code::Forbidden);
        }
    }
}

#[tokio::test]
async fn a_new_key_is_the_newest_even_if_the_clock_was_set_back() {
    let world = World::new().await;
    let service = &world.service;
    let root = Caller::server();
    let now = service.moment().now;
    let first = service.rotate_signing_key_at(&root, now).await.expect("a key");
    let second = service.rotate_signing_key_at(&root, now - SignedDuration::from_hours(1)).await.expect("a key");
    assert!(second.created_at > first.created_at);
    assert_eq!(service.signing_key(now).await.expect("the newest").id(), second.id);
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_a_second() {
    let world = World::new().await;
    let caller = world.holder().await;
    let now = world.service.moment().now;
    let grant = async || world.service.grant_at(&caller, Wish::default(), now).await.expect("granted").access_token;
    let first = grant().await;
    let other = super::service(world.ledger.clone());
    other.authenticate_at(&first, now).await.expect("read from the ledger");
    world.service.rotate_signing_key_at(&Caller::server(), now).await.expect("a key");
    let second = grant().await;
    let soon = now + SignedDuration::from_millis(999);
    other.authenticate_at(&second, soon).await.expect_err("not looked for again so soon");
    other.authenticate_at(&second, now + SignedDuration::from_secs(1)).await.expect("found");
}

#[tokio::test]
async fn a_private_key_opens_under_the_servers_key_only() {
    let world = World::new().await;
    let caller = world.holder().await;
    let grant = world.service.grant(&caller, Wish::default()).await.expect("granted");
    let other = Service::new(world.ledger.clone(), Sealer::new(&[8; 32]).expect("32 bytes"));
    other.authenticate(&grant.access_token).await.expect("verifying needs the public part only");
    let failed = other.grant(&caller, Wish::default()).await.expect_err("signing needs the private part");
    assert_eq!(failed.code, Code::Internal);
}
