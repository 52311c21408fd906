//! The keys that sign access tokens: made when the first token is granted, replaced once a month, kept in memory as they
//! are used. The ledger has them with the private part sealed.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use domain::identity::SigningKey;
use domain::query::{Filter, Query, RecordField, Slice, Test};
use domain::{Caller, Code, Error, Result, Right, Scope, SignedDuration, Timestamp, Uuid};
use serde_json::{Value, json};

use super::{LIFETIME, Service};
use crate::secrets::Sealer;

/// A key signs for so long; the next token is signed under a new one.
const SIGNS_FOR: SignedDuration = SignedDuration::from_hours(30 * 24);
/// How much longer than its last token a key that signs no more is published: clocks differ.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);
/// How often a token with an unknown key may make the server look into the ledger.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(1);

/// A key as it is used.
pub(super) struct Key {
    id: Uuid,
    created_at: Timestamp,
    x: String,
    y: String,
    public: ParsedPublicKey,
    sealed: String,
    /// Opened when it first signs: those that only verify never are.
    pair: OnceLock<EcdsaKeyPair>,
}

impl Key {
    fn read(record: &SigningKey) -> Option<Key> {
        let mut point = vec![4]; // SEC 1: uncompressed.
        for coordinate in [&record.x, &record.y] {
            point.extend(URL_SAFE_NO_PAD.decode(coordinate).ok().filter(|c| c.len() == 32)?);
        }
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        Some(Key {
            id: record.id,
            created_at: record.created_at,
            x: record.x.clone(),
            y: record.y.clone(),
            public,
            sealed: record.sealed_private_key.clone(),
            pair: OnceLock::new(),
        })
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn public(&self) -> &ParsedPublicKey {
        &self.public
    }

    /// The pair, to sign with.
    pub(super) fn pair(&self, sealer: &Sealer) -> Result<&EcdsaKeyPair> {
        if let Some(pair) = self.pair.get() {
            return Ok(pair);
        }
        let damaged = || Error::new(Code::LedgerDamaged, format!("the signing key '{}' cannot be read", self.id));
        let private = STANDARD.decode(sealer.open(&self.sealed)?).map_err(|_| damaged())?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private).map_err(|_| damaged())?;
        Ok(self.pair.get_or_init(|| pair))
    }

    /// The public key as a JSON Web Key (RFC 7517).
    fn jwk(&self) -> Value {
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": self.x, "y": self.y,
        })
    }
}

/// The keys that are not revoked, as far as they are known here.
#[derive(Default)]
pub(super) struct Keys {
    known: RwLock<Known>,
    /// Whoever reads keys from the ledger or makes one waits for the others, so that what is known is never overwritten
    /// by something older. Holds when the ledger was read last.
    turn: tokio::sync::Mutex<Option<Timestamp>>,
}

#[derive(Default)]
struct Known {
    /// Oldest first.
    keys: Vec<Arc<Key>>,
    /// Keys of which somebody said that they are revoked. Noted before the ledger is told, and never taken back: they are
    /// refused even where the answer of the ledger was not waited for.
    refused: HashSet<Uuid>,
}

impl Known {
    fn set(&mut self, mut keys: Vec<Arc<Key>>) {
        keys.sort_by_key(|k| (k.created_at, k.id));
        keys.retain(|k| !self.refused.contains(&k.id));
        self.keys = keys;
    }
}

impl Keys {
    fn known(&self) -> RwLockReadGuard<'_, Known> {
        // Each change is whole by itself, so a panic elsewhere leaves nothing half done.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, kid: Uuid) -> Option<Arc<Key>> {
        self.known().keys.iter().find(|k| k.id == kid).cloned()
    }

    fn newest(&self) -> Option<Arc<Key>> {
        self.known().keys.last().cloned()
    }

    /// The key that signs now, if there is one and it is young enough.
    fn signing(&self, now: Timestamp) -> Option<Arc<Key>> {
        self.newest().filter(|k| now.duration_since(k.created_at) < SIGNS_FOR)
    }
}

impl Service {
    /// Signing keys that match, revoked ones too.
    ///
    /// # Errors
    /// `forbidden` for all but administrators of the whole server.
    pub async fn signing_keys(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<SigningKey>> {
        let scope = whole_server(caller)?;
        Ok(self.ledger.list::<SigningKey>(scope, query).await?.map(|s| s.value))
    }

    /// Makes a new key, which signs from now on. Tokens that are signed under older ones live on.
    ///
    /// # Errors
    /// `forbidden` for all but administrators of the whole server.
    pub async fn rotate_signing_key(&self, caller: &Caller) -> Result<SigningKey> {
        self.rotate_signing_key_at(caller, self.moment().now).await
    }

    pub(super) async fn rotate_signing_key_at(&self, caller: &Caller, now: Timestamp) -> Result<SigningKey> {
        whole_server(caller)?;
        let mut turn = self.identity.keys.turn.lock().await;
        self.read_keys_once(&mut turn, now).await?;
        let made = self.make_key(caller, now).await?;
        Ok(made)
    }

    /// Revokes a key: no token that was signed under it is accepted any more. If it was the newest, the next newest signs.
    /// Revoking again changes nothing.
    ///
    /// # Errors
    /// `forbidden` for all but administrators of the whole server, `not_found`.
    pub async fn revoke_signing_key(&self, caller: &Caller, id: Uuid) -> Result<SigningKey> {
        let scope = whole_server(caller)?;
        let found = self.ledger.get::<SigningKey>(scope, id).await?.value;
        if found.revoked_at.is_some() {
            return Ok(found);
        }
        {
            let mut known = self.identity.keys.known_mut();
            known.refused.insert(id);
            known.keys.retain(|k| k.id != id);
        }
        let now = self.moment().now;
        self.edit::<SigningKey>(caller, "revoke", scope, id, |key| {
            key.revoked_at.get_or_insert(now);
            Ok(())
        })
        .await
    }

    /// The public keys under which access tokens may be signed that are still valid, as a JSON Web Key Set (RFC 7517).
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn jwks(&self) -> Result<Value> {
        self.jwks_at(self.moment().now).await
    }

    pub(super) async fn jwks_at(&self, now: Timestamp) -> Result<Value> {
        let keys = &self.identity.keys;
        self.read_keys_once(&mut *keys.turn.lock().await, now).await?;
        let known = keys.known();
        let published = known.keys.iter().enumerate().filter(|(i, _)| match known.keys.get(i + 1) {
            None => true,
            Some(next) => now.duration_since(next.created_at) < LIFETIME + MARGIN,
        });
        Ok(json!({ "keys": published.map(|(_, k)| k.jwk()).collect::<Vec<_>>() }))
    }

    /// The key to sign with, made if there is none or the newest is too old.
    pub(super) async fn signing_key(&self, now: Timestamp) -> Result<Arc<Key>> {
        let keys = &self.identity.keys;
        if let Some(key) = keys.signing(now) {
            return Ok(key);
        }
        let mut turn = keys.turn.lock().await;
        self.read_keys_once(&mut turn, now).await?;
        if let Some(key) = keys.signing(now) {
            return Ok(key);
        }
        let made = self.make_key(&Caller::server(), now).await?;
        keys.find(made.id).ok_or_else(|| Error::new(Code::Internal, "the signing key just made cannot be read"))
    }

    /// The key of this id, unless it is revoked or there is none.
    pub(super) async fn verifying_key(&self, kid: Uuid, now: Timestamp) -> Result<Option<Arc<Key>>> {
        let keys = &self.identity.keys;
        if let Some(key) = keys.find(kid) {
            return Ok(Some(key));
        }
        let mut turn = keys.turn.lock().await;
        // Anybody can send unknown ids; they must not keep the ledger busy.
        let recently = |last: Timestamp| last <= now && now.duration_since(last) < LOOK_AGAIN;
        if !turn.is_some_and(recently) {
            self.read_keys(&mut turn, now).await?;
        }
        Ok(keys.find(kid))
    }

    async fn read_keys_once(&self, turn: &mut Option<Timestamp>, now: Timestamp) -> Result<()> {
        if turn.is_none() { self.read_keys(turn, now).await } else { Ok(()) }
    }

    async fn read_keys(&self, turn: &mut Option<Timestamp>, now: Timestamp) -> Result<()> {
        let filter = Filter::all().and(RecordField::EndedAt, Test::Absent)?;
        let stored = self.ledger.all::<SigningKey>(&Scope::everything(), filter).await?;
        let read = stored.iter().filter_map(|s| {
            let key = Key::read(&s.value);
            if key.is_none() {
                tracing::error!(kid = %s.value.id, "a signing key in the ledger is damaged; its tokens are refused");
            }
            key.map(Arc::new)
        });
        self.identity.keys.known_mut().set(read.collect());
        *turn = Some(now);
        Ok(())
    }

    /// Makes a key, the newest by its time even if the clock was set back. Only in one's turn.
    async fn make_key(&self, by: &Caller, now: Timestamp) -> Result<SigningKey> {
        let failed = |_| Error::new(Code::Internal, "the system gives no new signing key");
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let private = pair.to_pkcs8v1().map_err(failed)?;
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let after = |k: Arc<Key>| k.created_at.saturating_add(SignedDuration::from_nanos(1)).unwrap_or(now);
        let created_at = self.identity.keys.newest().map_or(now, |k| now.max(after(k)));
        let record = SigningKey {
            id: Uuid::now_v7(),
            tenant: Uuid::nil(),
            sealed_private_key: self.sealer.seal(&STANDARD.encode(private.as_ref()))?,
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
            created_at,
            updated_at: created_at,
            revoked_at: None,
        };
        let made = self.create(by, &Scope::everything(), record).await?;
        if let Some(key) = Key::read(&made) {
            let mut known = self.identity.keys.known_mut();
            let keys = known.keys.iter().cloned().chain([Arc::new(key)]).collect();
            known.set(keys);
        }
        Ok(made)
    }
}

/// Keys open every tenant, so only who administers all of them may touch one.
fn whole_server(caller: &Caller) -> Result<&Scope> {
    let scope = caller.may(Right::Administer)?;
    if scope.is_everything() {
        return Ok(scope);
    }
    Err(Error::new(Code::Forbidden, "signing keys belong to the whole server")
        .hint("use the credential of an administrator of the root tenant"))
}
