//! Signing in: from an id and a secret, or a login and a password, to the caller behind them.

use std::fmt;
use std::net::IpAddr;

use domain::identity::{ApiClient, MAX_SECRET, User};
use domain::tenant::MAX_NAME;
use domain::{ActorKind, Caller, Code, Error, Result, Scope, Timestamp, Uuid, if_found};

use super::Service;
use super::throttle::{Attempt, Throttled};
use crate::auth::Holder;

/// What somebody shows to be let in.
#[derive(Clone)]
pub enum Credential {
    /// A program's.
    Client {
        /// The `client_id`.
        id: String,
        /// Its secret.
        secret: String,
    },
    /// A person's.
    User {
        /// The login, in any letter case.
        login: String,
        /// The password.
        password: String,
    },
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Client { id, .. } => f.debug_struct("Client").field("id", id).finish_non_exhaustive(),
            Credential::User { login, .. } => f.debug_struct("User").field("login", login).finish_non_exhaustive(),
        }
    }
}

impl Credential {
    fn kind(&self) -> ActorKind {
        match self {
            Credential::Client { .. } => ActorKind::Client,
            Credential::User { .. } => ActorKind::User,
        }
    }

    /// The name as it is compared. At most so long, since it is remembered; longer ones are nobody's.
    fn name(&self) -> String {
        match self {
            Credential::Client { id, .. } => Uuid::parse_str(id).map_or_else(|_| cut(id), |id| id.to_string()),
            Credential::User { login, .. } => User::login_key(&cut(login)),
        }
    }

    fn secret(&self) -> &str {
        match self {
            Credential::Client { secret, .. } => secret,
            Credential::User { password, .. } => password,
        }
    }

    /// The same answer for an unknown name, a wrong secret, and one who is revoked.
    fn refusal(&self) -> Error {
        let message = match self {
            Credential::Client { .. } => "the client id or secret is wrong",
            Credential::User { .. } => "the login or password is wrong",
        };
        Error::new(Code::Unauthenticated, message).hint("an administrator can make a new one")
    }
}

/// At most so much of a name is remembered; what is longer is nobody's.
pub(super) fn cut(name: &str) -> String {
    name.chars().take(MAX_NAME + 1).collect()
}

/// What is known of a name.
struct Found {
    holder: Holder,
    hash: String,
    revoked: bool,
}

impl Service {
    /// The caller behind a credential. `from` is the address that it came from, for slowing down who guesses.
    ///
    /// # Errors
    /// `unauthenticated` when it is wrong or revoked, `too_many_attempts` after too many of those, `unavailable` when too
    /// many sign in at once.
    pub async fn sign_in(&self, credential: Credential, from: Option<IpAddr>) -> Result<Caller> {
        self.sign_in_at(credential, from, self.moment().now).await
    }

    pub(super) async fn sign_in_at(
        &self,
        credential: Credential,
        from: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Caller> {
        let counted = credential.name();
        self.sign_in_counted(credential, counted, from, now).await
    }

    /// As `sign_in_at`, where failures are counted under another name than the one that is looked up.
    pub(super) async fn sign_in_counted(
        &self,
        credential: Credential,
        counted: String,
        from: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Caller> {
        let throttle = &self.identity.throttle;
        let name = credential.name();
        let attempt = Attempt::new(credential.kind(), counted, from);
        throttle.admit(&attempt, now).map_err(|seconds| {
            let wait = if seconds == 1 { "in a second".to_owned() } else { format!("in {seconds} seconds") };
            Error::new(Code::TooManyAttempts, "signing in failed too often")
                .hint(format!("check the password or secret, and try again {wait}"))
                .retry_after(seconds)
        })?;
        let secret = credential.secret();
        // What can be nobody's secret is not worth hashing. This tells nothing: it goes before the name is looked up.
        let possible = (1..=MAX_SECRET).contains(&secret.len());
        let found = self.found(credential.kind(), &name).await?;
        let hash = found.as_ref().map(|f| f.hash.clone());
        let right = possible && self.identity.passwords.verify(secret.to_owned(), hash).await?;
        match found {
            Some(found) if right && !found.revoked => {
                throttle.succeeded(&attempt, now);
                self.caller_of(found.holder).await
            }
            found => {
                let throttled = throttle.failed(&attempt, now);
                self.tell(throttled, found.as_ref(), &name, from).await;
                Err(credential.refusal())
            }
        }
    }

    async fn found(&self, kind: ActorKind, name: &str) -> Result<Option<Found>> {
        let everything = Scope::everything();
        if kind == ActorKind::User {
            let user = self.ledger.find::<User>(&everything, name).await?.map(|s| s.value);
            let found =
                |u: User| Found { holder: Holder::from(&u), revoked: u.revoked_at.is_some(), hash: u.password_hash };
            return Ok(user.map(found));
        }
        let Ok(id) = Uuid::parse_str(name) else { return Ok(None) };
        let client = if_found(self.ledger.get::<ApiClient>(&everything, id).await)?.map(|s| s.value);
        let found =
            |c: ApiClient| Found { holder: Holder::from(&c), revoked: c.revoked_at.is_some(), hash: c.secret_hash };
        Ok(client.map(found))
    }

    /// Tells the log and the audit record of who has to wait from now on.
    async fn tell(&self, throttled: Throttled, found: Option<&Found>, name: &str, from: Option<IpAddr>) {
        let from = from.map_or_else(|| "an unknown address".to_owned(), |a| a.to_string());
        if throttled.source {
            tracing::warn!(from, "signing in from this address failed too often and is slowed down");
        }
        if !throttled.name {
            return;
        }
        tracing::warn!(name = ?name, from, "signing in with this name failed too often and is slowed down");
        let (tenant, object) =
            found.map_or((Uuid::nil(), String::new()), |f| (f.holder.tenant, f.holder.actor.id.to_string()));
        let entry = self.audit_entry(&Caller::server(), "sign_in.throttled", tenant, object, name.to_owned());
        // The answer is a refusal anyway; the log has it even if the ledger takes nothing more.
        if let Err(error) = self.ledger.commit(&Scope::everything(), self.moment(), vec![entry]).await {
            tracing::error!(%error, "the audit record could not be written");
        }
    }
}
