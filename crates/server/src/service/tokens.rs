//! API tokens: made once, shown once, kept as a hash.

use aws_lc_rs::digest::{SHA256, digest};
use domain::agent::Agent;
use domain::query::{Query, RecordField, Slice};
use domain::tenant::check_name;
use domain::token::{Token, TokenKind};
use domain::{Caller, Error, Result, Right, Role, Scope, Timestamp, Uuid};

use super::Service;
use super::identity::check_within;
use crate::secrets::random_secret;

/// A token that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What it allows; at most what the caller may do.
    pub role: Role,
    /// The tenant whose subtree it opens; the caller's own by default.
    pub tenant: Option<Uuid>,
    /// From when on it is no longer accepted.
    pub expires_at: Option<Timestamp>,
}

/// The hash under which a secret is kept.
#[must_use]
pub fn hash_secret(secret: &str) -> String {
    digest(&SHA256, secret.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

impl Service {
    /// Makes a token; the secret is given out here and never again.
    ///
    /// # Errors
    /// `forbidden` below admin or for a role above the caller's, `invalid_field`, `not_found` for a tenant out of scope.
    pub async fn create_token(&self, caller: &Caller, new: NewToken) -> Result<(Token, String)> {
        let scope = caller.may(Right::Administer)?;
        check_within(caller, &[new.role])?;
        check_name("name", &new.name)?;
        let now = self.moment().now;
        if new.expires_at.is_some_and(|t| t <= now) {
            return Err(Error::invalid("expires_at", "'expires_at' is in the past"));
        }
        let tenant = self.owner(scope, new.tenant).await?;
        self.issue(caller, &Scope::subtree(&tenant), TokenKind::Api, new.name, new.role, new.expires_at).await
    }

    /// Makes a token of any kind for the server's own use.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn issue(
        &self,
        by: &Caller,
        scope: &Scope,
        kind: TokenKind,
        name: String,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<(Token, String)> {
        let secret = match kind {
            TokenKind::Agent => format!("bsa_{}", random_secret()),
            TokenKind::Api => format!("bst_{}", random_secret()),
            // Clients take it for an id (contract for Yandex clients, Y67).
            TokenKind::Registration => Uuid::new_v4().to_string(),
        };
        let token = self.new_token(scope.tenant(), kind, name, role, &secret);
        Ok((self.create(by, scope, Token { expires_at, ..token }).await?, secret))
    }

    /// A token with this secret, not written yet.
    pub(super) fn new_token(&self, tenant: Uuid, kind: TokenKind, name: String, role: Role, secret: &str) -> Token {
        let now = self.moment().now;
        Token {
            id: Uuid::now_v7(),
            tenant,
            kind,
            name,
            role,
            hash: hash_secret(secret),
            created_at: now,
            updated_at: now,
            expires_at: None,
            revoked_at: None,
            joins: None,
            resource: None,
            certified: None,
        }
    }

    /// Tokens that match; the secrets are not among what is known of them.
    ///
    /// # Errors
    /// `forbidden` below admin.
    pub async fn tokens(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<Token>> {
        let scope = caller.may(Right::Administer)?;
        Ok(self.ledger.list::<Token>(scope, query).await?.map(|s| s.value))
    }

    /// Revokes a token: from now on it is not accepted. Revoking it again changes nothing.
    ///
    /// # Errors
    /// `forbidden` below admin or for a token with a role above the caller's, `not_found`.
    pub async fn revoke_token(&self, caller: &Caller, id: Uuid) -> Result<Token> {
        let scope = caller.may(Right::Administer)?;
        let found = self.ledger.get::<Token>(scope, id).await?.value;
        if found.revoked_at.is_some() {
            return Ok(found);
        }
        let now = self.moment().now;
        let revoked = self.edit::<Token>(caller, "revoke", scope, id, |token| {
            check_within(caller, &[token.role])?;
            token.revoked_at.get_or_insert(now);
            Ok(())
        });
        let revoked = revoked.await?;
        // An agent that is connected with it is not let in any more.
        if let Some(agent) = self.ledger.find::<Agent>(&Scope::everything(), &id.to_string()).await? {
            self.refuse(agent.value.id, "the agent's token was revoked");
        }
        Ok(revoked)
    }
}
