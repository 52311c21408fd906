//! Who can ask for access: people with passwords (`User`) and programs with secrets (`ApiClient`). Both are given short-lived
//! access tokens, which the server signs with a `SigningKey`; a program can also ask with what it signed under a `ClientKey`.
//! API tokens that live until they are revoked are in `token`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::task::limits;
use crate::tenant::check_name;
use crate::{Role, Timestamp, Uuid};

/// The shortest password that is accepted, in characters.
pub const MIN_PASSWORD: usize = 10;
/// The longest password or secret that is looked at, in bytes; hashing longer ones would only cost time.
pub const MAX_SECRET: usize = 1024;

/// A person.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Identity.
    pub id: Uuid,
    /// The tenant whose subtree is open to the person.
    pub tenant: Uuid,
    /// The name for signing in, unique on the server without regard to case.
    pub login: String,
    /// The person's name, as shown; empty = the login.
    pub name: String,
    /// What the person may do.
    pub roles: Vec<Role>,
    /// Argon2id hash of the password, in PHC form.
    pub password_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// From when on the person is no longer let in.
    pub revoked_at: Option<Timestamp>,
}

/// A program that asks for access tokens with an id and a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiClient {
    /// Identity, the `client_id`.
    pub id: Uuid,
    /// The tenant whose subtree is open to the program.
    pub tenant: Uuid,
    /// What it is for, in people's words.
    pub name: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// The only executor it may act for when it takes tasks; none = any.
    pub executor: Option<String>,
    /// Argon2id hash of the secret, in PHC form.
    pub secret_hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// From when on it is no longer let in.
    pub revoked_at: Option<Timestamp>,
}

/// A key under which access tokens are signed (ES256). Its id is the `kid` of the tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// Identity, the `kid`.
    pub id: Uuid,
    /// Always the root.
    pub tenant: Uuid,
    /// The private key (PKCS#8, base64), sealed under the server's key.
    pub sealed_private_key: String,
    /// The public key's first coordinate, base64url.
    pub x: String,
    /// The public key's second coordinate, base64url.
    pub y: String,
    /// When it was made; the newest one that is not revoked signs.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// From when on nothing that was signed under it is accepted.
    pub revoked_at: Option<Timestamp>,
}

/// A key with which a program shows who it is without a secret that the server knows: it signs, and the server checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientKey {
    /// Identity, the `kid` of what is signed under it.
    pub id: Uuid,
    /// The program's tenant.
    pub tenant: Uuid,
    /// The program.
    pub client: Uuid,
    /// The public key (X.509 SubjectPublicKeyInfo), as PEM. The private one was given out when it was made.
    pub public_key: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// From when on nothing that was signed under it is accepted.
    pub revoked_at: Option<Timestamp>,
}

/// That a token without a record of its own is no longer accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The id of the token.
    pub id: Uuid,
    /// The tenant that the token opened.
    pub tenant: Uuid,
    /// When the token would have expired; afterwards this need not be known any more.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

// Hashes and sealed keys are no secrets themselves, but what a secret is guessed from; no log needs them.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("User");
        debug.field("id", &self.id).field("tenant", &self.tenant).field("login", &self.login);
        debug.field("name", &self.name).field("roles", &self.roles).field("revoked_at", &self.revoked_at);
        debug.finish_non_exhaustive()
    }
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ApiClient");
        debug.field("id", &self.id).field("tenant", &self.tenant).field("name", &self.name);
        debug.field("roles", &self.roles).field("executor", &self.executor).field("revoked_at", &self.revoked_at);
        debug.finish_non_exhaustive()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("SigningKey");
        debug.field("id", &self.id).field("created_at", &self.created_at).field("revoked_at", &self.revoked_at);
        debug.finish_non_exhaustive()
    }
}

impl User {
    /// The login as it is compared.
    #[must_use]
    pub fn login_key(login: &str) -> String {
        crate::query::fold(login.trim())
    }

    /// The name to show.
    #[must_use]
    pub fn shown(&self) -> &str {
        if self.name.is_empty() { &self.login } else { &self.name }
    }

    /// Checks what people gave.
    ///
    /// # Errors
    /// `invalid_field`.
    pub fn validate(&self) -> Result<()> {
        check_name("login", &self.login)?;
        if self.login.trim() != self.login || self.login.contains(':') {
            return Err(Error::invalid("login", "a login has no colon, and no blanks around it"));
        }
        if !self.name.is_empty() {
            check_name("name", &self.name)?;
        }
        check_roles(&self.roles)
    }
}

impl ApiClient {
    /// Checks what people gave.
    ///
    /// # Errors
    /// `invalid_field`.
    pub fn validate(&self) -> Result<()> {
        check_name("name", &self.name)?;
        if let Some(executor) = &self.executor
            && !(1..=limits::WORD).contains(&executor.chars().count())
        {
            return Err(Error::invalid(
                "executor",
                format!("'executor' must have from 1 to {} characters", limits::WORD),
            ));
        }
        check_roles(&self.roles)
    }
}

/// Checks a password that somebody chose.
///
/// # Errors
/// `invalid_field` when it is too short or too long.
pub fn check_password(password: &str) -> Result<()> {
    if password.chars().count() < MIN_PASSWORD {
        return Err(Error::invalid("password", format!("the password is shorter than {MIN_PASSWORD} characters")));
    }
    if password.len() > MAX_SECRET {
        return Err(Error::invalid("password", format!("the password is longer than {MAX_SECRET} bytes")));
    }
    Ok(())
}

fn check_roles(roles: &[Role]) -> Result<()> {
    let hint = || format!("any of: {}", Role::NAMES.join(", "));
    if roles.is_empty() {
        return Err(Error::invalid("roles", "no role is given").hint(hint()));
    }
    if roles.iter().enumerate().any(|(i, r)| roles[..i].contains(r)) {
        return Err(Error::invalid("roles", "a role is given twice").hint(hint()));
    }
    Ok(())
}
