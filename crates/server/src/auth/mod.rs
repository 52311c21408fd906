//! From a token to a `Caller`: the one place where a secret is checked, for every dialect.

use domain::token::{Token, TokenKind};
use domain::{Caller, Code, Error, Result, Scope};

use crate::service::{Service, hash_secret};

impl Service {
    /// The caller behind the secret of an API token.
    ///
    /// # Errors
    /// `unauthenticated` when the token is unknown, revoked, expired, or an agent's.
    pub async fn authenticate(&self, secret: &str) -> Result<Caller> {
        let token = self.token_of(secret, TokenKind::Api).await?;
        let tenant = self.ledger().get::<domain::tenant::Tenant>(&Scope::everything(), token.tenant).await?;
        Ok(Caller::new(token.name, token.id, token.role, Scope::subtree(&tenant.value)))
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
            _ => Err(Error::new(Code::Unauthenticated, "the token is not known, or no longer valid")
                .hint("create one with `backstay token create`")),
        }
    }
}
