//! From a token to a `Caller`: the one place where a secret is checked, for every dialect.

use domain::identity::{ApiClient, User};
use domain::record::Entity;
use domain::tenant::Tenant;
use domain::token::{Token, TokenKind};
use domain::{Actor, ActorKind, Caller, Code, Error, Result, Role, Scope, Timestamp, Uuid, if_found};

use crate::service::{AccessClaims, Service, hash_secret, is_iam};

/// Whom a credential stands for, as its record says.
pub(crate) struct Holder {
    pub(crate) actor: Actor,
    pub(crate) tenant: Uuid,
    name: String,
    roles: Vec<Role>,
    executor: Option<String>,
}

impl From<&User> for Holder {
    fn from(user: &User) -> Holder {
        let actor = Actor { kind: ActorKind::User, id: user.id };
        let (name, roles) = (user.shown().to_owned(), user.roles.clone());
        Holder { actor, tenant: user.tenant, name, roles, executor: None }
    }
}

impl From<&ApiClient> for Holder {
    fn from(client: &ApiClient) -> Holder {
        let actor = Actor { kind: ActorKind::Client, id: client.id };
        let (name, roles) = (client.name.clone(), client.roles.clone());
        Holder { actor, tenant: client.tenant, name, roles, executor: client.executor.clone() }
    }
}

impl From<&Token> for Holder {
    fn from(token: &Token) -> Holder {
        let actor = Actor { kind: ActorKind::Token, id: token.id };
        Holder { actor, tenant: token.tenant, name: token.name.clone(), roles: vec![token.role], executor: None }
    }
}

impl Service {
    /// The caller behind the secret of an API token, or behind a token that was granted for a credential.
    ///
    /// # Errors
    /// `unauthenticated` when it is unknown, revoked, expired, an agent's, or an access token whose holder is revoked or
    /// no longer sees its tenant.
    pub async fn authenticate(&self, secret: &str) -> Result<Caller> {
        self.authenticate_at(secret, self.moment().now).await
    }

    pub(crate) async fn authenticate_at(&self, secret: &str, now: Timestamp) -> Result<Caller> {
        // The secret of an API token has no stop in it, and every other token has two.
        if !secret.contains('.') {
            return self.caller_of(Holder::from(&self.token_of(secret, TokenKind::Api).await?)).await;
        }
        let claims = if is_iam(secret) {
            self.valid_iam_claims(secret, now).await?
        } else {
            self.access_claims(secret, now).await?
        };
        match claims {
            Some(claims) => self.granted(&claims, now).await?,
            None => None,
        }
        .ok_or_else(|| unknown().hint("sign in again"))
    }

    /// The token with this secret, if it is of this kind and valid now.
    ///
    /// # Errors
    /// `unauthenticated` otherwise; it does not say which of the reasons it was.
    pub async fn token_of(&self, secret: &str, kind: TokenKind) -> Result<Token> {
        // The secret is hashed before it is looked up, so neither the index nor the time it takes tells anything of it.
        let found = self.ledger().find::<Token>(&Scope::everything(), &hash_secret(secret)).await?;
        match found {
            Some(t) if t.value.kind == kind && t.value.valid_at(self.moment().now) => Ok(t.value),
            _ => Err(unknown()),
        }
    }

    /// The caller that a credential's record makes.
    pub(crate) async fn caller_of(&self, holder: Holder) -> Result<Caller> {
        let tenant = self.tenant_of_token(holder.tenant).await?;
        Ok(holder.caller(Scope::subtree(&tenant)))
    }

    /// The record of the credential that an access token was granted for, if it is still let in.
    async fn holder(&self, actor: Actor, now: Timestamp) -> Result<Option<Holder>> {
        let id = actor.id;
        Ok(match actor.kind {
            ActorKind::User => {
                self.present::<User>(id).await?.filter(|u| u.revoked_at.is_none()).map(|u| Holder::from(&u))
            }
            ActorKind::Client => {
                self.present::<ApiClient>(id).await?.filter(|c| c.revoked_at.is_none()).map(|c| Holder::from(&c))
            }
            ActorKind::Token => {
                let valid = |t: &Token| t.kind == TokenKind::Api && t.valid_at(now);
                self.present::<Token>(id).await?.filter(valid).map(|t| Holder::from(&t))
            }
            ActorKind::Server => None,
        })
    }

    async fn present<E: Entity>(&self, id: Uuid) -> Result<Option<E>> {
        Ok(if_found(self.ledger().get::<E>(&Scope::everything(), id).await)?.map(|s| s.value))
    }

    /// The caller as far as an access token goes, and no farther than its holder goes today; none if that is nowhere.
    async fn granted(&self, claims: &AccessClaims, now: Timestamp) -> Result<Option<Caller>> {
        let Some(mut holder) = self.holder(claims.actor(), now).await? else { return Ok(None) };
        let held = std::mem::take(&mut holder.roles);
        holder.roles = claims.roles.iter().copied().filter(|r| r.within(&held)).collect();
        let own = self.tenant_of_token(holder.tenant).await?;
        let scope = Scope::subtree(&own);
        if claims.tenant == own.id {
            return Ok(Some(holder.caller(scope)));
        }
        let below = if_found(self.ledger().get::<Tenant>(&scope, claims.tenant).await)?;
        let below = below.filter(|tenant| tenant.value.deleted_at.is_none());
        Ok(below.map(|tenant| holder.caller(Scope::subtree(&tenant.value))))
    }

    /// The tenant that a credential belongs to.
    ///
    /// # Errors
    /// `unauthenticated` when it was deleted: its credentials ended with it.
    pub(crate) async fn tenant_of_token(&self, tenant: Uuid) -> Result<Tenant> {
        let tenant = self.ledger().get::<Tenant>(&Scope::everything(), tenant).await?.value;
        if tenant.deleted_at.is_some() { Err(unknown()) } else { Ok(tenant) }
    }
}

impl Holder {
    fn caller(self, scope: Scope) -> Caller {
        Caller::new(self.name, self.actor, self.roles, scope).bound_to(self.executor)
    }
}

/// It is not said which of the reasons it was, so that nobody can try out tokens.
fn unknown() -> Error {
    Error::new(Code::Unauthenticated, "the token is not known, or no longer valid")
        .hint("create one with `backstay token create`")
}
