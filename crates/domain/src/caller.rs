//! Who asks (`Caller`), what they may do (`Role`, `Right`), and what part of the tenant tree they may see (`Scope`).

use crate::error::{Code, Error, Result};
use crate::tenant::Tenant;
use crate::{Uuid, named_enum};

named_enum! {
    /// What a caller is let to do, as it is granted. A caller may have several.
    Role {
        /// Sees everything in its subtree.
        Viewer = "viewer",
        /// Creates tasks, cancels them and answers their blockers; sees nothing else (Acronis: `issuer`).
        Issuer = "issuer",
        /// Takes tasks from queues and reports on them; sees nothing else (Acronis: `consumer`).
        Consumer = "consumer",
        /// Sees everything, creates and cancels tasks, runs policies, restores.
        Operator = "operator",
        /// As an operator, and also changes resources, policies and backups.
        Editor = "editor",
        /// May do everything in its subtree.
        Admin = "admin",
    }
}

named_enum! {
    /// What a call needs.
    Right {
        /// See tasks, activities and everything else.
        View = "view",
        /// Create and cancel tasks, answer blockers.
        Issue = "issue",
        /// Take tasks and report on them.
        Consume = "consume",
        /// Run policies, apply and revoke them, restore.
        Operate = "operate",
        /// Change resources and policies, delete backups.
        Edit = "edit",
        /// Change agents, tenants, and whom they are open to.
        Administer = "administer",
    }
}

impl Role {
    /// What it lets a caller do.
    #[must_use]
    pub fn rights(self) -> &'static [Right] {
        match self {
            Role::Viewer => &[Right::View],
            Role::Issuer => &[Right::Issue],
            Role::Consumer => &[Right::Consume],
            Role::Operator => &[Right::View, Right::Issue, Right::Operate],
            Role::Editor => &[Right::View, Right::Issue, Right::Operate, Right::Edit],
            Role::Admin => Right::ALL,
        }
    }

    /// Whether whoever has these roles may do all that this one lets do.
    #[must_use]
    pub fn within(self, roles: &[Role]) -> bool {
        self.rights().iter().all(|right| roles.iter().any(|r| r.rights().contains(right)))
    }
}

named_enum! {
    /// What sort of credential is behind a call.
    ActorKind {
        /// An API token.
        Token = "token",
        /// An API client.
        Client = "client",
        /// A person.
        User = "user",
        /// The server itself.
        Server = "server",
    }
}

/// The credential behind a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// What sort.
    pub kind: ActorKind,
    /// Its record; nil for the server.
    pub id: Uuid,
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

/// Who asks: made from a credential in one place, and required by every service call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name to show as "started by".
    pub name: String,
    /// The credential behind the call.
    pub actor: Actor,
    /// The only executor that the caller may act for, where it is bound to one.
    pub executor: Option<String>,
    roles: Vec<Role>,
    scope: Scope,
}

impl Caller {
    /// The caller behind a credential that was checked.
    #[must_use]
    pub fn new(name: String, actor: Actor, roles: Vec<Role>, scope: Scope) -> Caller {
        Caller { name, actor, executor: None, roles, scope }
    }

    /// The same caller, bound to an executor.
    #[must_use]
    pub fn bound_to(self, executor: Option<String>) -> Caller {
        Caller { executor, ..self }
    }

    /// The server itself, for what nobody asked for.
    #[must_use]
    pub fn server() -> Caller {
        let actor = Actor { kind: ActorKind::Server, id: Uuid::nil() };
        Caller::new("the server".to_owned(), actor, vec![Role::Admin], Scope::everything())
    }

    /// The same caller, who looks at this tenant and what is below it only; none if he does not see it.
    #[must_use]
    pub fn acting_in(&self, tenant: &Tenant) -> Option<Caller> {
        self.scope.contains(&tenant.locator).then(|| Caller { scope: Scope::subtree(tenant), ..self.clone() })
    }

    /// What was granted.
    #[must_use]
    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// The tenant at the top of what the caller can see.
    #[must_use]
    pub fn tenant(&self) -> Uuid {
        self.scope.tenant
    }

    /// The id under which the caller issues tasks: an API client's own, nothing for everybody else (Acronis D43).
    #[must_use]
    pub fn issuer_id(&self) -> String {
        match self.actor.kind {
            ActorKind::Client => self.actor.id.to_string(),
            ActorKind::Token | ActorKind::User | ActorKind::Server => String::new(),
        }
    }

    /// The scope, whatever the caller may do in it: for naming tenants, which whoever is let in may see.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The scope, if the caller has this right. What was not checked must not reach the ledger.
    ///
    /// # Errors
    /// `forbidden`, naming the roles that would do.
    pub fn may(&self, right: Right) -> Result<&Scope> {
        if self.roles.iter().any(|r| r.rights().contains(&right)) {
            return Ok(&self.scope);
        }
        let enough: Vec<_> = Role::ALL.iter().filter(|r| r.rights().contains(&right)).map(|r| r.name()).collect();
        let enough = enough.join(" or ");
        let has: Vec<_> = self.roles.iter().map(|r| r.name()).collect();
        let has = if has.is_empty() { "none".to_owned() } else { has.join(", ") };
        Err(Error::new(Code::Forbidden, format!("this needs the role {enough}; the caller's roles: {has}"))
            .hint("use a credential with such a role, or ask an administrator for one"))
    }
}
