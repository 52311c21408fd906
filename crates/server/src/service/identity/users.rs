//! People who sign in with a login and a password.

use std::fmt;

use domain::identity::User;
use domain::query::{Query, RecordField, Slice};
use domain::{Actor, ActorKind, Caller, Code, Result, Right, Role, Scope, Uuid};

use super::{Service, check_alive, check_within, chosen};

/// A person to be let in.
#[derive(Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The tenant whose subtree is open to the person; the caller's own by default.
    pub tenant: Option<Uuid>,
    /// The name for signing in.
    pub login: String,
    /// The name to show; empty = the login.
    pub name: String,
    /// What the person may do; at most what the caller may.
    pub roles: Vec<Role>,
    /// The password; none = a random one is made.
    pub password: Option<String>,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("NewUser");
        debug.field("tenant", &self.tenant).field("login", &self.login).field("name", &self.name);
        debug.field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl Service {
    /// Lets a person in. With no password given, the one that was made stands in the answer and nowhere else.
    ///
    /// # Errors
    /// `forbidden` below admin or for a role above the caller's, `invalid_field`, `not_found` for a tenant out of scope,
    /// `already_exists` when the login is taken, `unavailable` when too many passwords wait to be hashed.
    pub async fn create_user(&self, caller: &Caller, new: NewUser) -> Result<(User, Option<String>)> {
        let scope = caller.may(Right::Administer)?;
        check_within(caller, &new.roles)?;
        let tenant = self.owner(scope, new.tenant).await?;
        let (password, made) = chosen(new.password)?;
        let now = self.moment().now;
        let mut user = User {
            id: Uuid::now_v7(),
            tenant: tenant.id,
            login: new.login,
            name: new.name,
            roles: new.roles,
            password_hash: String::new(),
            created_at: now,
            updated_at: now,
            revoked_at: None,
        };
        user.validate()?;
        user.password_hash = self.identity.passwords.hash(password).await?;
        let created = self.create(caller, scope, user).await;
        let taken = |e: domain::Error| if e.code == Code::AlreadyExists { e.field("login") } else { e };
        Ok((created.map_err(taken)?, made))
    }

    /// People who match; revoked ones too.
    ///
    /// # Errors
    /// `forbidden` below admin.
    pub async fn users(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<User>> {
        let scope = caller.may(Right::Administer)?;
        Ok(self.ledger.list::<User>(scope, query).await?.map(|s| s.value))
    }

    /// One person. Everyone may read their own record, whatever their roles are.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`.
    pub async fn user(&self, caller: &Caller, id: Uuid) -> Result<User> {
        let own = caller.actor == Actor { kind: ActorKind::User, id };
        let everything = Scope::everything();
        let scope = if own { &everything } else { caller.may(Right::Administer)? };
        Ok(self.ledger.get::<User>(scope, id).await?.value)
    }

    /// Gives a person another password. Access tokens that were granted under the old one live on to their end.
    ///
    /// # Errors
    /// `forbidden` below admin or for a person with a role above the caller's, `not_found`, `invalid_field`,
    /// `state_conflict` for one who is revoked, `unavailable` as for [`Service::create_user`].
    pub async fn set_password(
        &self,
        caller: &Caller,
        id: Uuid,
        password: Option<String>,
    ) -> Result<(User, Option<String>)> {
        let scope = caller.may(Right::Administer)?;
        let (password, made) = chosen(password)?;
        let check = |user: &User| {
            check_within(caller, &user.roles)?;
            check_alive("user", user.revoked_at.is_some())
        };
        // Also before the hash is made, which costs more than the look.
        check(&self.ledger.get::<User>(scope, id).await?.value)?;
        let hash = self.identity.passwords.hash(password).await?;
        let user = self.edit::<User>(caller, "set_password", scope, id, |user| {
            check(user)?;
            user.password_hash.clone_from(&hash);
            Ok(())
        });
        Ok((user.await?, made))
    }

    /// Lets a person in no longer; access tokens end with it. Revoking again changes nothing.
    ///
    /// # Errors
    /// `forbidden` below admin or for a person with a role above the caller's, `not_found`.
    pub async fn revoke_user(&self, caller: &Caller, id: Uuid) -> Result<User> {
        let scope = caller.may(Right::Administer)?;
        let found = self.ledger.get::<User>(scope, id).await?.value;
        if found.revoked_at.is_some() {
            return Ok(found);
        }
        let now = self.moment().now;
        self.edit::<User>(caller, "revoke", scope, id, |user| {
            check_within(caller, &user.roles)?;
            user.revoked_at.get_or_insert(now);
            Ok(())
        })
        .await
    }
}
