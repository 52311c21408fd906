//! People who sign in with a login and a password, on the wire.

use std::fmt;

use domain::{Role, Timestamp, Uuid, identity};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::RoleName;

/// A person, without the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Identity.
    pub id: Uuid,
    /// The tenant whose subtree is open to the person.
    pub tenant: Uuid,
    /// The name for signing in, unique on the server without regard to case.
    pub login: String,
    /// The name to show; empty = the login.
    pub name: String,
    /// What the person may do.
    #[schema(value_type = Vec<RoleName>)]
    pub roles: Vec<Role>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// From when on the person is no longer let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl From<&identity::User> for User {
    fn from(u: &identity::User) -> User {
        User {
            id: u.id,
            tenant: u.tenant,
            login: u.login.clone(),
            name: u.name.clone(),
            roles: u.roles.clone(),
            created_at: u.created_at,
            updated_at: u.updated_at,
            revoked_at: u.revoked_at,
        }
    }
}

/// A person to let in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name for signing in, unique on the server without regard to case.
    pub login: String,
    /// The name to show; empty = the login.
    #[serde(default)]
    pub name: String,
    /// What the person may do: at least one role.
    #[schema(value_type = Vec<RoleName>)]
    pub roles: Vec<Role>,
    /// The tenant whose subtree is open to the person; the caller's own where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Uuid>,
    /// The password, of at least 10 characters; a random one is made where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("NewUser");
        debug.field("login", &self.login).field("name", &self.name).field("roles", &self.roles);
        debug.field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Another password.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// The password, of at least 10 characters; a random one is made where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewPassword").finish_non_exhaustive()
    }
}

/// A person whose password was just set.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserWithPassword {
    /// The person.
    pub user: User,
    /// The password that was made; it is shown this once and kept nowhere. Absent where one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

impl fmt::Debug for UserWithPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserWithPassword").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown_in_debug() {
        let secret = || Some("swordfish".to_owned());
        let (id, time) = (Uuid::nil(), Timestamp::UNIX_EPOCH);
        let roles = vec![Role::Viewer];
        let new = NewUser { login: "ops".into(), name: String::new(), roles, tenant: None, password: secret() };
        let user = User {
            id,
            tenant: id,
            login: "ops".into(),
            name: String::new(),
            roles: Vec::new(),
            created_at: time,
            updated_at: time,
            revoked_at: None,
        };
        let shown = UserWithPassword { user, password: secret() };
        let text = format!("{new:?} {:?} {shown:?}", NewPassword { password: secret() });
        assert!(text.contains("ops") && !text.contains("swordfish"), "{text}");
    }
}
