//! Tokens of the form `t1.<nonce>.<sealed claims>` for clients of clouds that know no other (contract for Yandex clients,
//! section 7.2). They are not kept: what they say is sealed with the server's key, so that whoever sees one learns nothing of
//! its holder, and the credential that they were given for is looked at on each use, as with access tokens. Only what was
//! revoked before its time is on record.

use std::fmt;
use std::ops::Bound;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::identity::{ApiClient, ClientKey, Revocation};
use domain::query::{Filter, MAX_LIMIT, Order, Page, Query, RecordField, Test, Value};
use domain::record::RecordKind;
use domain::tenant::Tenant;
use domain::token::{Token, TokenKind};
use domain::{Caller, Code, Error, Result, Right, Scope, SignedDuration, Timestamp, Uuid, if_found};
use ledger::Write;

use super::assertion::{self, Assertion};
use super::grants::AccessClaims;
use super::{Service, check_alive};
use crate::auth::Holder;

/// How long a token is valid (Y22).
const LIFETIME: SignedDuration = SignedDuration::from_hours(12);
/// What every token begins with.
const PREFIX: &str = "t1.";
/// What the server's key is used for here.
const PURPOSE: &str = "sealed iam tokens";
/// The longest token.
const MAX_LEN: usize = 1024;

/// A token that was given.
#[derive(Clone, PartialEq, Eq)]
pub struct IamToken {
    /// Opens the APIs.
    pub token: String,
    /// From when on it is no longer accepted; whole seconds.
    pub expires_at: Timestamp,
}

impl fmt::Debug for IamToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IamToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Whether a secret has the form of such a token; no other secret has.
pub(crate) fn is_iam(secret: &str) -> bool {
    secret.starts_with(PREFIX) && secret.len() <= MAX_LEN && secret.bytes().filter(|b| *b == b'.').count() == 2
}

impl Service {
    /// A token for the secret of an API token (Y18). Nothing is written: some clients come every few seconds.
    ///
    /// # Errors
    /// `unauthenticated`.
    pub async fn iam_for_key(&self, secret: &str) -> Result<IamToken> {
        let refused = || Error::new(Code::Unauthenticated, "the key is not known, or no longer valid");
        let key: Token = match self.token_of(secret, TokenKind::Api).await {
            Ok(key) => key,
            Err(e) if e.code == Code::Unauthenticated => return Err(refused().hint("give the secret of an API token")),
            Err(e) => return Err(e),
        };
        let until = key.expires_at;
        let caller = self.caller_of(Holder::from(&key)).await?;
        self.iam(&caller, until, self.moment().now)
    }

    /// A token for what a program signed under one of its keys (Y19).
    ///
    /// # Errors
    /// `unauthenticated`, which says why: the clients show it to people.
    pub async fn iam_for_assertion(&self, jwt: &str) -> Result<IamToken> {
        self.iam_for_assertion_at(jwt, self.moment().now).await
    }

    pub(super) async fn iam_for_assertion_at(&self, jwt: &str, now: Timestamp) -> Result<IamToken> {
        let assertion = Assertion::read(jwt)?;
        let key = match Uuid::try_parse(assertion.kid()) {
            Ok(kid) => if_found(self.ledger.get::<ClientKey>(&Scope::everything(), kid).await)?,
            Err(_) => None,
        };
        let key = key.map(|k| k.value).filter(|k| k.revoked_at.is_none());
        let key = key.ok_or_else(|| assertion::refused("its key (kid) is not known here, or revoked"))?;
        assertion.verify(&key, &self.audiences(), now)?;
        let client = if_found(self.ledger.get::<ApiClient>(&Scope::everything(), key.client).await)?;
        let client = client.map(|c| c.value).filter(|c| c.revoked_at.is_none());
        let client = client.ok_or_else(|| assertion::refused("its service account is revoked"))?;
        let caller = self.caller_of(Holder::from(&client)).await?;
        self.iam(&caller, None, now)
    }

    /// A token for a program, given to one of its administrators (Y23).
    ///
    /// # Errors
    /// `not_found`, `forbidden` below admin, `state_conflict` for a program that is revoked.
    pub async fn iam_for_client(&self, caller: &Caller, client: Uuid) -> Result<IamToken> {
        let client = self.ledger.get::<ApiClient>(caller.scope(), client).await?.value;
        caller.may(Right::Administer)?;
        check_alive("service account", client.revoked_at.is_some())?;
        let holder = self.caller_of(Holder::from(&client)).await?;
        let entry = self.audit_entry(caller, "token.grant", client.tenant, client.id.to_string(), client.name.clone());
        self.ledger.commit(caller.scope(), self.moment(), vec![entry]).await?;
        self.iam(&holder, None, self.moment().now)
    }

    /// Makes a token invalid at once, and says whom it stood for.
    ///
    /// # Errors
    /// `not_found` for what is no token of this server, has expired, or is of a tenant that the caller does not see;
    /// `forbidden` below admin for the token of somebody else.
    pub async fn revoke_iam(&self, caller: &Caller, token: &str) -> Result<Uuid> {
        let unknown = || Error::new(Code::NotFound, "there is no such token");
        let now = self.moment().now;
        let claims = self.iam_claims(token, now).ok_or_else(unknown)?;
        let own = claims.actor() == caller.actor;
        let everything = Scope::everything();
        let tenant = if_found(self.ledger.get::<Tenant>(&everything, claims.tenant).await)?;
        let tenant = tenant.map(|t| t.value).ok_or_else(unknown)?;
        if !own {
            if !caller.scope().contains(&tenant.locator) {
                return Err(unknown());
            }
            caller.may(Right::Administer)?;
        }
        let expires_at = claims.expires_at().ok_or_else(unknown)?;
        let revocation =
            Revocation { id: claims.id(), tenant: tenant.id, expires_at, created_at: now, updated_at: now };
        match self.create(caller, &Scope::subtree(&tenant), revocation).await {
            // Revoked before.
            Err(e) if e.code == Code::AlreadyExists || e.code == Code::RevisionConflict => Ok(claims.actor().id),
            Err(e) => Err(e),
            Ok(_) => Ok(claims.actor().id),
        }
    }

    /// What a token says, if it is one of ours, has not expired, and was not revoked.
    pub(crate) async fn valid_iam_claims(&self, token: &str, now: Timestamp) -> Result<Option<AccessClaims>> {
        let Some(claims) = self.iam_claims(token, now) else { return Ok(None) };
        let revoked = if_found(self.ledger.get::<Revocation>(&Scope::everything(), claims.id()).await)?;
        Ok(revoked.is_none().then_some(claims))
    }

    /// Forgets revocations of tokens that have expired by now anyway.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn forget_revocations(&self) -> Result<()> {
        let (everything, moment) = (Scope::everything(), self.moment());
        let over = Test::Range { from: Bound::Unbounded, to: Bound::Excluded(Value::Time(moment.now)) };
        let filter = Filter::all().and(RecordField::EndedAt, over)?;
        let query = Query { filter, order: Order::oldest(), page: Page::first(MAX_LIMIT), total: false };
        loop {
            // Each round removes what it found, so the first page is always the next one.
            let found = self.ledger.list::<Revocation>(&everything, &query).await?.items;
            if found.is_empty() {
                return Ok(());
            }
            let writes = found.iter().map(|r| Write::Remove(RecordKind::Revocation, r.value.id)).collect();
            self.ledger.commit(&everything, moment, writes).await?;
        }
    }

    fn iam_claims(&self, token: &str, now: Timestamp) -> Option<AccessClaims> {
        let (nonce, sealed) = token.strip_prefix(PREFIX).filter(|_| is_iam(token))?.split_once('.')?;
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let claims = self.sealer.open_for(PURPOSE, &URL_SAFE_NO_PAD.decode(nonce).ok()?, sealed)?;
        let claims: AccessClaims = serde_json::from_slice(&claims).ok()?;
        claims.is_alive(now).then_some(claims)
    }

    fn iam(&self, holder: &Caller, until: Option<Timestamp>, now: Timestamp) -> Result<IamToken> {
        let late = || Error::new(Code::Internal, "the clock has reached the end of time");
        let end = now.checked_add(LIFETIME).map_err(|_| late())?;
        let end = until.map_or(end, |until| end.min(until)).as_second();
        let token = self.sealed_claims(&AccessClaims::of(holder, now, end))?;
        Ok(IamToken { token, expires_at: Timestamp::from_second(end).map_err(|_| late())? })
    }

    /// A token that says this.
    pub(super) fn sealed_claims(&self, claims: &AccessClaims) -> Result<String> {
        let claims = serde_json::to_vec(claims)
            .map_err(|e| Error::new(Code::Internal, format!("a claim cannot be written: {e}")))?;
        let (nonce, sealed) = self.sealer.seal_for(PURPOSE, claims)?;
        let token = format!("{PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(nonce), URL_SAFE_NO_PAD.encode(sealed));
        if token.len() > MAX_LEN {
            return Err(Error::new(Code::Internal, "the claims of a token are too long"));
        }
        Ok(token)
    }
}
