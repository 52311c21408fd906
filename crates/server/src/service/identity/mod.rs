//! Who may ask: people and programs with their secrets (`users`, `clients`), signing in (`sign_in`), the access tokens that
//! are granted then (`grants`), and the keys that sign them (`keys`). Programs can also sign in with keys of their own
//! (`client_keys`, `assertion`), and there are tokens in the form that clients of clouds know (`iam`). Every dialect uses these; see docs/decisions/identity.md.

mod assertion;
mod client_keys;
mod clients;
mod grants;
mod iam;
mod jwt;
mod keys;
mod passwords;
mod sessions;
mod sign_in;
#[cfg(test)]
mod tests;
mod throttle;
mod users;

use domain::audit::AuditEntry;
use domain::identity::check_password;
use domain::query::{Query, RecordField, Slice};
use domain::tenant::Tenant;
use domain::{Caller, Code, Error, Result, Right, Role, Scope, Uuid};

pub use clients::NewClient;
pub(crate) use grants::AccessClaims;
use grants::LIFETIME;
pub use grants::{Grant, Wish};
pub use iam::IamToken;
pub(crate) use iam::is_iam;
pub use sessions::{Account, Reach, Session, Shown, Who};
pub use sign_in::Credential;
pub use users::NewUser;

use super::Service;
use crate::secrets::random_secret;

/// What the server remembers of signing in, beside the ledger.
#[derive(Default)]
pub(super) struct Identity {
    passwords: passwords::Passwords,
    keys: keys::Keys,
    throttle: throttle::Throttle,
}

impl Service {
    /// Who did what.
    ///
    /// # Errors
    /// `forbidden` below admin.
    pub async fn audit_log(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<AuditEntry>> {
        let scope = caller.may(Right::Administer)?;
        Ok(self.ledger.list::<AuditEntry>(scope, query).await?.map(|s| s.value))
    }

    /// The tenant that something new shall belong to: the caller's own by default.
    pub(super) async fn owner(&self, scope: &Scope, wanted: Option<Uuid>) -> Result<Tenant> {
        let tenant = wanted.unwrap_or(scope.tenant());
        self.live_tenant(scope, tenant).await.map_err(|e| e.field("tenant"))
    }
}

/// Nobody makes, changes or ends a credential that may do more than they may themselves.
pub(super) fn check_within(caller: &Caller, roles: &[Role]) -> Result<()> {
    match roles.iter().find(|r| !r.within(caller.roles())) {
        None => Ok(()),
        Some(role) => Err(Error::new(Code::Forbidden, format!("the role {role} may do more than the caller"))
            .hint("ask somebody who has this role")
            .field("roles")),
    }
}

/// The password that was given, or a random one that must be shown once.
fn chosen(password: Option<String>) -> Result<(String, Option<String>)> {
    match password {
        Some(given) => {
            check_password(&given)?;
            Ok((given, None))
        }
        None => {
            let made = random_secret();
            Ok((made.clone(), Some(made)))
        }
    }
}

/// A revoked credential stays so; a new secret would only look as if it helped.
fn check_alive(what: &str, revoked: bool) -> Result<()> {
    if revoked {
        return Err(Error::new(Code::StateConflict, format!("the {what} is revoked")).hint("make a new one"));
    }
    Ok(())
}
