//! Access tokens: what a client or user is given after signing in, signed, for two hours.

use std::fmt;

use domain::tenant::Tenant;
use domain::{Actor, ActorKind, Caller, Code, Error, Result, Role, Scope, SignedDuration, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::jwt::{self, Type, Unverified};
use super::{Service, check_within};

/// How long an access token is valid (Acronis D5).
pub(super) const LIFETIME: SignedDuration = SignedDuration::from_hours(2);

/// So far ahead a token may have been given: a clock that was set back by less cuts nobody off.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Who signs. The key says which server it was; its id is unique.
const ISSUER: &str = "backstay";

/// What is asked for: everything that the caller may, or less.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// A tenant within the caller's scope; the caller's own by default.
    pub tenant: Option<Uuid>,
    /// Roles within the caller's; all of them by default.
    pub roles: Option<Vec<Role>>,
    /// More claims that the access token shall carry. Those of the server itself cannot be replaced.
    pub claims: Map<String, Value>,
}

/// What was granted.
#[derive(Clone, PartialEq)]
pub struct Grant {
    /// Opens the APIs.
    pub access_token: String,
    /// Tells the client who signed in, and opens nothing.
    pub id_token: String,
    /// From when on the access token is no longer accepted; whole seconds.
    pub expires_at: Timestamp,
    /// How long that is.
    pub lifetime: SignedDuration,
    /// Whom the access token stands for, as narrowed.
    pub caller: Caller,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Grant");
        debug.field("expires_at", &self.expires_at).field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccessClaims {
    iss: String,
    sub: Uuid,
    client_id: Uuid,
    kind: ActorKind,
    /// The tenant whose subtree it opens.
    pub(crate) tenant: Uuid,
    /// What it lets do, as long as its holder may.
    pub(crate) roles: Vec<Role>,
    iat: i64,
    exp: i64,
    jti: Uuid,
    /// How its session came to be; only in the tokens of sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<super::sessions::Origin>,
}

impl AccessClaims {
    /// The claims of a caller as it is, until this second.
    pub(super) fn of(caller: &Caller, now: Timestamp, exp: i64) -> AccessClaims {
        AccessClaims {
            iss: ISSUER.to_owned(),
            sub: caller.actor.id,
            client_id: caller.actor.id,
            kind: caller.actor.kind,
            tenant: caller.tenant(),
            roles: caller.roles().to_vec(),
            iat: now.as_second(),
            exp,
            jti: Uuid::now_v7(),
            session: None,
        }
    }

    /// When it was given.
    pub(super) fn issued_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.iat).ok()
    }

    /// The token's own id.
    pub(super) fn id(&self) -> Uuid {
        self.jti
    }

    /// Whether it is from here, and has not expired. One that was given long after now was given by a clock that was wrong, and
    /// would otherwise be accepted until that time has come.
    pub(super) fn is_alive(&self, now: Timestamp) -> bool {
        let now = now.as_second();
        self.iss == ISSUER && now < self.exp && self.iat <= now.saturating_add(AHEAD.as_secs())
    }

    /// From when on it is no longer accepted.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.exp).ok()
    }

    /// The credential that it was granted for.
    pub(crate) fn actor(&self) -> Actor {
        Actor { kind: self.kind, id: self.sub }
    }
}

#[derive(Serialize)]
struct AccessToken<'a> {
    #[serde(flatten)]
    more: &'a Map<String, Value>,
    #[serde(flatten)]
    claims: &'a AccessClaims,
}

#[derive(Serialize)]
struct IdToken<'a> {
    iss: &'a str,
    sub: Uuid,
    aud: Uuid,
    iat: i64,
    exp: i64,
    jti: Uuid,
    name: &'a str,
}

impl Service {
    /// Grants an access token to somebody who signed in, or has an access token already: then never for more than that one.
    ///
    /// # Errors
    /// `invalid_field` about `scope` when the wish goes beyond what the caller may, `forbidden` for the server itself.
    pub async fn grant(&self, caller: &Caller, wish: Wish) -> Result<Grant> {
        self.grant_at(caller, wish, self.moment().now).await
    }

    pub(crate) async fn grant_at(&self, caller: &Caller, wish: Wish, now: Timestamp) -> Result<Grant> {
        if caller.actor.kind == ActorKind::Server {
            return Err(Error::new(Code::Forbidden, "the server itself needs no access token"));
        }
        let roles = narrowed_roles(caller, wish.roles)?;
        let tenant = self.narrowed_tenant(caller, wish.tenant).await?;
        let narrowed = Caller::new(caller.name.clone(), caller.actor, roles, Scope::subtree(&tenant));
        let narrowed = narrowed.bound_to(caller.executor.clone());
        let claims = AccessClaims::of(&narrowed, now, now.as_second().saturating_add(LIFETIME.as_secs()));
        let key = self.signing_key(now).await?;
        let pair = key.pair(&self.sealer)?;
        let mut more = wish.claims;
        more.retain(|name, _| !OWN_CLAIMS.contains(&name.as_str()));
        let access = AccessToken { more: &more, claims: &claims };
        let id = IdToken {
            iss: ISSUER,
            sub: claims.sub,
            aud: claims.client_id,
            iat: claims.iat,
            exp: claims.exp,
            jti: Uuid::now_v7(),
            name: &narrowed.name,
        };
        let expires_at = Timestamp::from_second(claims.exp);
        let expires_at = expires_at.map_err(|_| Error::new(Code::Internal, "the clock has reached the end of time"))?;
        let grant = Grant {
            access_token: jwt::sign(pair, key.id(), Type::Access, &access)?,
            id_token: jwt::sign(pair, key.id(), Type::Identity, &id)?,
            expires_at,
            lifetime: LIFETIME,
            caller: narrowed,
        };
        // Given out only after it is on record.
        let entry = self.audit_entry(caller, "token.grant", tenant.id, claims.jti.to_string(), caller.name.clone());
        match self.ledger.commit(&Scope::subtree(&tenant), self.moment(), vec![entry]).await {
            // On a full disk reads go on, and who reads needs a token.
            Err(e) if e.code == Code::StorageFull => {
                tracing::warn!(client = %caller.actor.id, "an access token is granted, and the disk is too full to record it");
            }
            other => drop(other?),
        }
        Ok(grant)
    }

    async fn narrowed_tenant(&self, caller: &Caller, wanted: Option<Uuid>) -> Result<Tenant> {
        let own = self.ledger.get::<Tenant>(&Scope::everything(), caller.tenant()).await?.value;
        let Some(wanted) = wanted.filter(|id| *id != own.id) else { return Ok(own) };
        match self.ledger.get::<Tenant>(&Scope::subtree(&own), wanted).await {
            Ok(found) if found.value.deleted_at.is_none() => Ok(found.value),
            Ok(_) => Err(Error::invalid("scope", format!("there is no tenant '{wanted}' within the caller's"))),
            Err(e) if e.code == Code::NotFound => {
                Err(Error::invalid("scope", format!("there is no tenant '{wanted}' within the caller's")))
            }
            Err(e) => Err(e),
        }
    }

    /// What an access token says, if it is one of ours, its key is not revoked, and it has not expired.
    pub(crate) async fn access_claims(&self, token: &str, now: Timestamp) -> Result<Option<AccessClaims>> {
        let Some(token) = Unverified::read(token).filter(|t| t.typ == Type::Access) else { return Ok(None) };
        let Some(key) = self.verifying_key(token.kid, now).await? else { return Ok(None) };
        let claims = token.verify::<AccessClaims>(key.public());
        Ok(claims.filter(|c| c.is_alive(now)))
    }
}

/// The names in `AccessClaims`, and those that a reader of tokens would take for the server's word.
const OWN_CLAIMS: &[&str] = &["iss", "sub", "client_id", "kind", "tenant", "roles", "iat", "exp", "nbf", "jti"];

fn narrowed_roles(caller: &Caller, wanted: Option<Vec<Role>>) -> Result<Vec<Role>> {
    let Some(mut roles) = wanted else { return Ok(caller.roles().to_vec()) };
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        return Err(Error::invalid("scope", "no role is asked for"));
    }
    check_within(caller, &roles).map_err(|e| Error::invalid("scope", e.message))?;
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_claim_of_the_server_can_be_replaced() {
        let (sub, jti) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let kind = ActorKind::Client;
        let claims = AccessClaims {
            iss: ISSUER.into(),
            sub,
            client_id: sub,
            kind,
            tenant: Uuid::nil(),
            roles: vec![],
            iat: 0,
            exp: 0,
            jti,
            session: None,
        };
        let value = serde_json::to_value(&claims).expect("plain claims");
        for name in value.as_object().expect("an object").keys() {
            assert!(OWN_CLAIMS.contains(&name.as_str()), "'{name}' is missing in OWN_CLAIMS");
        }
    }
}
