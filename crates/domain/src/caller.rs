//! Who asks (`Caller`), what they may do (`Role`), and what part of the tenant tree they may see (`Scope`).

use crate::error::{Code, Error, Result};
use crate::tenant::Tenant;
use crate::{Uuid, named_enum};

named_enum! {
    /// What a caller may do. Each role may do all that the ones before it may.
    Role {
        /// Sees everything in its subtree.
        Viewer = "viewer",
        /// Also runs, cancels and restores.
        Operator = "operator",
        /// Also changes resources, policies, agents, tenants and tokens.
        Admin = "admin",
    }
}

/// A part of the tenant tree: one tenant and everything below it. Every ledger call takes one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    tenant: Uuid,
    locator: String,
}

impl Scope {
    /// The whole tree. For the server's own work, never for a caller's request.
    #[must_use]
    pub fn everything() -> Scope {
        Scope { tenant: Uuid::nil(), locator: crate::tenant::ROOT_LOCATOR.to_owned() }
    }

    /// This tenant and everything below it.
    #[must_use]
    pub fn subtree(tenant: &Tenant) -> Scope {
        Scope { tenant: tenant.id, locator: tenant.locator.clone() }
    }

    /// The tenant at the top of the scope.
    #[must_use]
    pub fn tenant(&self) -> Uuid {
        self.tenant
    }

    /// The path of tenant numbers down to the top of the scope, like `/1/66/`.
    #[must_use]
    pub fn locator(&self) -> &str {
        &self.locator
    }

    /// Whether the scope is the whole tree.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.tenant.is_nil()
    }

    /// Whether a tenant with this locator lies within. Locators end in `/`, so `/1/6/` does not contain `/1/66/`.
    #[must_use]
    pub fn contains(&self, locator: &str) -> bool {
        locator.starts_with(&self.locator)
    }
}

/// Who asks: made from a token in one place, and required by every service call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name to show as "started by".
    pub name: String,
    /// The token behind the call.
    pub token: Uuid,
    /// What the caller may do.
    pub role: Role,
    scope: Scope,
}

impl Caller {
    /// The caller behind a token that was checked.
    #[must_use]
    pub fn new(name: String, token: Uuid, role: Role, scope: Scope) -> Caller {
        Caller { name, token, role, scope }
    }

    /// The part of the tenant tree the caller may see and change.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The scope, if the caller has at least this role.
    ///
    /// # Errors
    /// `forbidden`, naming the role that is needed.
    pub fn at_least(&self, role: Role) -> Result<&Scope> {
        if self.role >= role {
            return Ok(&self.scope);
        }
        Err(Error::new(Code::Forbidden, format!("this needs the role {role}; the token has the role {}", self.role))
            .hint(format!("use a token with the role {role}, or ask an administrator for one")))
    }
}
