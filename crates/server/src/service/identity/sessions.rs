//! Sessions: what clients of clouds sign in for. Somebody shows a password, a program's secret or another token, says which
//! tenant the session is about, and is given a token for an hour (contract for OpenStack clients, section 9). Of the token
//! nothing is kept, not even a hash: it is sealed as those in `iam` are, and its holder is looked at on each use; only what
//! is revoked before its time goes on record. The grant is in the audit log.

use std::fmt;
use std::net::IpAddr;

use domain::identity::{ApiClient, User};
use domain::query::{Filter, MAX_LIMIT, Order, Page, Query, RecordField, Value};
use domain::tenant::Tenant;
use domain::token::{Token, TokenKind};
use domain::{Actor, ActorKind, Caller, Code, Error, Result, Right, Scope, SignedDuration, Timestamp, Uuid, if_found};
use serde::{Deserialize, Serialize};

use super::grants::AccessClaims;
use super::sign_in::{Credential, cut};
use super::{Service, is_iam};
use crate::auth::Holder;

/// How long a session lasts (G11).
const LIFETIME: SignedDuration = SignedDuration::from_hours(1);
/// What stands in place of an end where there is none.
const FOR_EVER: &str = "9999-12-31T23:59:59Z";
/// Before a name that is nobody's: no login and no id has a control character, so the look takes its usual time.
const NOBODY: &str = "\u{1}";

/// Who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The person or program with this id.
    Id(Uuid),
    /// The person with this login.
    Login(String),
    /// Somebody who cannot be here, such as one of another domain.
    Nobody(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Id(id) => write!(f, "{id}"),
            Who::Login(login) => f.write_str(&User::login_key(login)),
            Who::Nobody(name) => write!(f, "{NOBODY}{name}"),
        }
    }
}

/// What somebody shows to be given a session.
#[derive(Clone)]
pub enum Shown {
    /// A password, or a program's secret beside its id.
    Password {
        /// Whose.
        who: Who,
        /// The password.
        password: String,
    },
    /// A program's secret.
    Client {
        /// The program, by its id.
        id: Option<Uuid>,
        /// The program by its name, and somebody of its tenant or itself.
        name: Option<(String, Who)>,
        /// The secret.
        secret: String,
    },
    /// A token of any kind that opens the APIs.
    Token(String),
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::Password { who, .. } => f.debug_struct("Password").field("who", who).finish_non_exhaustive(),
            Shown::Client { id, name, .. } => {
                f.debug_struct("Client").field("id", id).field("name", name).finish_non_exhaustive()
            }
            Shown::Token(_) => f.debug_tuple("Token").finish_non_exhaustive(),
        }
    }
}

/// What a session is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// The tenant of whoever signs in.
    Own,
    /// A tenant, by its id.
    Tenant(Uuid),
    /// A tenant, by its name: the own one, or the only one of that name that whoever signs in sees.
    Named(String),
    /// Nothing: it can only be exchanged for one that is about something.
    Nothing,
    /// The whole server, for administrators of all of it.
    System,
}

/// How a session came to be, as its token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// What was shown.
    method: String,
    /// Whether it can be exchanged for one about another tenant of its holder.
    #[serde(default)]
    free: bool,
    /// Whether it is about nothing.
    #[serde(default)]
    nothing: bool,
    /// Whether it is about the whole server.
    #[serde(default)]
    system: bool,
}

/// A session, or another token seen as one.
#[derive(Clone, PartialEq)]
pub struct Session {
    /// The token, where it was made just now.
    pub token: Option<String>,
    /// The token's own id.
    pub id: Uuid,
    /// Whom it stands for, as far as it goes.
    pub caller: Caller,
    /// The name by which the holder signs in.
    pub login: String,
    /// The tenant that it is about; none = nothing, or the whole server.
    pub tenant: Option<Tenant>,
    /// Whether it is about the whole server.
    pub system: bool,
    /// What was shown for it.
    pub method: String,
    /// Since when it is valid.
    pub issued_at: Timestamp,
    /// From when on it is no longer accepted.
    pub expires_at: Timestamp,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("caller", &self.caller).finish_non_exhaustive()
    }
}

/// A person or a program, as far as others may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: Uuid,
    /// The name by which it signs in.
    pub name: String,
    /// The tenant that it belongs to.
    pub tenant: Uuid,
    /// Whether it is let in.
    pub enabled: bool,
}

impl Account {
    /// Of a token that is nobody's but its own.
    fn of(caller: &Caller) -> Account {
        Account { id: caller.actor.id, name: caller.name.clone(), tenant: caller.tenant(), enabled: true }
    }
}

impl From<User> for Account {
    fn from(user: User) -> Account {
        Account { id: user.id, name: user.login, tenant: user.tenant, enabled: user.revoked_at.is_none() }
    }
}

impl From<ApiClient> for Account {
    fn from(client: ApiClient) -> Account {
        Account { id: client.id, name: client.name, tenant: client.tenant, enabled: client.revoked_at.is_none() }
    }
}

/// The same answer for an unknown name, a wrong secret, one who is revoked, and a tenant that there is not.
fn refused() -> Error {
    Error::new(Code::Unauthenticated, "the credential is wrong, or does not open what was asked for")
}

/// Whom a session may be made for, and how far.
struct Base {
    caller: Caller,
    method: &'static str,
    free: bool,
    /// When what was shown ends by itself.
    until: Option<Timestamp>,
}

impl Service {
    /// A session for what somebody shows. `from` is the address that it came from, for slowing down who guesses.
    ///
    /// # Errors
    /// `unauthenticated` when anything of it is wrong, `invalid_field` for a program that asks for another tenant than its
    /// own, `too_many_attempts` and `unavailable` as for signing in.
    pub async fn open_session(&self, shown: Shown, reach: Reach, from: Option<IpAddr>) -> Result<Session> {
        let now = self.moment().now;
        let base = self.base(shown, &reach, from, now).await?;
        let Base { caller, method, free, until } = base;
        let mut origin = Origin { method: method.to_owned(), free, nothing: false, system: false };
        let tenant = match &reach {
            Reach::Own => self.session_tenant(&caller, caller.tenant()).await?,
            Reach::Tenant(id) => self.session_tenant(&caller, *id).await?,
            Reach::Named(name) => self.session_tenant_named(&caller, name).await?,
            Reach::Nothing => {
                origin.nothing = true;
                self.session_tenant(&caller, caller.tenant()).await?
            }
            Reach::System => {
                if !caller.scope().is_everything() || caller.may(Right::Administer).is_err() {
                    return Err(refused());
                }
                origin.system = true;
                self.session_tenant(&caller, Uuid::nil()).await?
            }
        };
        let roles = if origin.nothing { Vec::new() } else { caller.roles().to_vec() };
        let narrowed = Caller::new(caller.name.clone(), caller.actor, roles, Scope::subtree(&tenant));
        let narrowed = narrowed.bound_to(caller.executor.clone());
        let late = || Error::new(Code::Internal, "the clock has reached the end of time");
        let end = now.checked_add(LIFETIME).map_err(|_| late())?;
        let end = until.map_or(end, |until| end.min(until)).as_second();
        let mut claims = AccessClaims::of(&narrowed, now, end);
        claims.session = Some(origin);
        let token = self.sealed_claims(&claims)?;
        // Given out only after it is on record.
        let entry = self.audit_entry(&caller, "token.grant", tenant.id, claims.id().to_string(), caller.name.clone());
        match self.ledger.commit(&Scope::subtree(&tenant), self.moment(), vec![entry]).await {
            // On a full disk reads go on, and who reads needs a token.
            Err(e) if e.code == Code::StorageFull => {
                tracing::warn!(holder = %caller.actor.id, "a session is granted, and the disk is too full to record it");
            }
            other => drop(other?),
        }
        let mut session = self.session_of(narrowed, Some(&claims)).await?;
        session.token = Some(token);
        Ok(session)
    }

    /// What there is to say of the session or other token behind a secret.
    ///
    /// # Errors
    /// `unauthenticated` as for [`Service::authenticate`].
    pub async fn session(&self, secret: &str) -> Result<Session> {
        let now = self.moment().now;
        let caller = self.authenticate_at(secret, now).await?;
        let claims = self.claims_in(secret, now).await?;
        self.session_of(caller, claims.as_ref()).await
    }

    /// What there is to say of another one's token: everybody may look at their own, administrators at those of their
    /// tenants.
    ///
    /// # Errors
    /// `not_found` for a token that is not valid, or that the caller may not know of.
    pub async fn session_behind(&self, caller: &Caller, secret: &str) -> Result<Session> {
        let unknown = || Error::new(Code::NotFound, "there is no such token");
        let session = match self.session(secret).await {
            Err(e) if e.code == Code::Unauthenticated => return Err(unknown()),
            other => other?,
        };
        let within = caller.scope().contains(session.caller.scope().locator());
        if session.caller.actor == caller.actor || (within && caller.may(Right::Administer).is_ok()) {
            return Ok(session);
        }
        Err(unknown())
    }

    /// Ends a token before its time.
    ///
    /// # Errors
    /// `not_found` as for [`Service::session_behind`]; `forbidden` for an API token below admin, and for an access token,
    /// which ends with its holder or by itself.
    pub async fn end_session(&self, caller: &Caller, secret: &str) -> Result<()> {
        let session = self.session_behind(caller, secret).await?;
        if is_iam(secret) {
            return self.revoke_iam(caller, secret).await.map(drop);
        }
        if secret.contains('.') {
            return Err(Error::new(Code::Forbidden, "an access token ends by itself, or with its holder")
                .hint("revoke the client or the user"));
        }
        self.revoke_token(caller, session.id).await.map(drop)
    }

    /// The tenants that whoever has a session may ask for, oldest first.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn session_tenants(&self, session: &Session, name: Option<&str>, page: Page) -> Result<Vec<Tenant>> {
        let scope = session.caller.scope();
        let filter = match name {
            Some(name) => Filter::all().is(RecordField::Name, Value::Text(name.to_owned()))?,
            None => Filter::all(),
        };
        let query = Query { filter, order: Order::oldest(), page, total: false };
        let found = self.ledger.list::<Tenant>(scope, &query).await?.items;
        Ok(found.into_iter().map(|t| t.value).collect())
    }

    /// The person or program with this id: everybody sees themselves, administrators all of their tenants.
    ///
    /// # Errors
    /// `not_found`, also for one that the caller may not see.
    pub async fn account(&self, caller: &Caller, id: Uuid) -> Result<Account> {
        match self.user(caller, id).await {
            Ok(user) => return Ok(user.into()),
            Err(e) if matches!(e.code, Code::NotFound | Code::Forbidden) => {}
            Err(e) => return Err(e),
        }
        match self.client(caller, id).await {
            Ok(client) => Ok(client.into()),
            Err(e) if matches!(e.code, Code::NotFound | Code::Forbidden) => {
                if caller.actor.id == id {
                    Ok(Account::of(caller))
                } else {
                    Err(Error::not_found("user", id))
                }
            }
            Err(e) => Err(e),
        }
    }

    /// The people and programs of this name, or of any, that whoever has a session may know of: as [`Service::account`].
    /// People come first; at most a page of each.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn accounts(&self, session: &Session, name: Option<&str>) -> Result<Vec<Account>> {
        let caller = &session.caller;
        if caller.may(Right::Administer).is_err() {
            let own = self.account(caller, caller.actor.id).await?;
            let asked = name.is_none_or(|name| own.name == name || User::login_key(name) == own.name);
            return Ok(asked.then_some(own).into_iter().collect());
        }
        let query = |name: Option<String>| -> Result<Query<RecordField>> {
            let filter = match name {
                Some(name) => Filter::all().is(RecordField::Name, Value::Text(name))?,
                None => Filter::all(),
            };
            Ok(Query { filter, order: Order::oldest(), page: Page::first(MAX_LIMIT), total: false })
        };
        let users = self.users(caller, &query(name.map(User::login_key))?).await?.items;
        let clients = self.clients(caller, &query(name.map(str::to_owned))?).await?.items;
        Ok(users.into_iter().map(Account::from).chain(clients.into_iter().map(Account::from)).collect())
    }

    /// The tenants that a person or program may ask for, oldest first.
    ///
    /// # Errors
    /// `not_found` as for [`Service::account`].
    pub async fn account_tenants(&self, session: &Session, id: Uuid, page: Page) -> Result<Vec<Tenant>> {
        if session.caller.actor.id == id {
            return self.session_tenants(session, None, page).await;
        }
        let account = self.account(&session.caller, id).await?;
        let own = self.ledger.get::<Tenant>(session.caller.scope(), account.tenant).await?.value;
        let query = Query { filter: Filter::all(), order: Order::oldest(), page, total: false };
        let found = self.ledger.list::<Tenant>(&Scope::subtree(&own), &query).await?.items;
        Ok(found.into_iter().map(|t| t.value).collect())
    }

    /// Whom the session may be made for.
    async fn base(&self, shown: Shown, reach: &Reach, from: Option<IpAddr>, now: Timestamp) -> Result<Base> {
        match shown {
            Shown::Password { who, password } => {
                let credential = self.credential(who, password).await?;
                let caller = self.sign_in_at(credential, from, now).await?;
                Ok(Base { caller, method: "password", free: true, until: None })
            }
            Shown::Client { id, name, secret } => {
                if *reach != Reach::Own {
                    let message = "an application credential opens its own project, and no scope can be asked for";
                    return Err(Error::invalid("scope", message).hint("leave 'scope' out"));
                }
                let written = |id: Option<Uuid>| id.map_or_else(|| NOBODY.to_owned(), |id| id.to_string());
                let caller = match (id, name) {
                    (None, Some((name, who))) => {
                        // Whether there is one of this name is not to be learned from who has to wait, so failures are
                        // counted by what was asked for and not by what was found.
                        let counted = format!("{NOBODY}{} of {}", cut(&name), cut(&who.to_string()));
                        let id = written(self.client_named(&name, who).await?);
                        self.sign_in_counted(Credential::Client { id, secret }, counted, from, now).await?
                    }
                    (id, _) => self.sign_in_at(Credential::Client { id: written(id), secret }, from, now).await?,
                };
                Ok(Base { caller, method: "application_credential", free: false, until: None })
            }
            Shown::Token(secret) => {
                let caller = self.authenticate_at(&secret, now).await.map_err(|e| match e.code {
                    Code::Unauthenticated => refused(),
                    _ => e,
                })?;
                let claims = self.claims_in(&secret, now).await?;
                let until = match &claims {
                    Some(claims) => claims.expires_at(),
                    None => self.token_of(&secret, TokenKind::Api).await?.expires_at,
                };
                let free = claims.is_some_and(|c| c.session.is_some_and(|s| s.free));
                // A session that its holder signed in for goes as far as its holder does; any other token no farther than
                // it does itself.
                let caller = if free { self.holder_of(caller.actor).await? } else { caller };
                Ok(Base { caller, method: "token", free, until })
            }
        }
    }

    /// What is compared with a password: a person's, or of a program with this id its secret.
    async fn credential(&self, who: Who, password: String) -> Result<Credential> {
        let everything = Scope::everything();
        Ok(match who {
            Who::Login(login) => Credential::User { login, password },
            Who::Nobody(name) => Credential::User { login: format!("{NOBODY}{name}"), password },
            Who::Id(id) => match if_found(self.ledger.get::<User>(&everything, id).await)? {
                Some(user) => Credential::User { login: user.value.login, password },
                None => Credential::Client { id: id.to_string(), secret: password },
            },
        })
    }

    /// The program of this name in somebody's tenant, or that somebody itself; none if there is none, or more than one.
    async fn client_named(&self, name: &str, who: Who) -> Result<Option<Uuid>> {
        let everything = Scope::everything();
        let user = match who {
            Who::Id(id) => {
                if let Some(client) = if_found(self.ledger.get::<ApiClient>(&everything, id).await)? {
                    return Ok(Some(id).filter(|_| client.value.name == name));
                }
                if_found(self.ledger.get::<User>(&everything, id).await)?
            }
            Who::Login(login) => self.ledger.find::<User>(&everything, &User::login_key(&login)).await?,
            Who::Nobody(_) => None,
        };
        let Some(user) = user else { return Ok(None) };
        let filter = Filter::all().is(RecordField::Name, Value::Text(name.to_owned()))?;
        let filter = filter.is(RecordField::Tenant, Value::Uuid(user.value.tenant))?;
        let found = self.ledger.all::<ApiClient>(&everything, filter).await?;
        let mut alive = found.into_iter().filter(|c| c.value.revoked_at.is_none());
        Ok(match (alive.next(), alive.next()) {
            (Some(only), None) => Some(only.value.id),
            _ => None,
        })
    }

    async fn holder_of(&self, actor: Actor) -> Result<Caller> {
        let everything = Scope::everything();
        match actor.kind {
            ActorKind::User => {
                let user = self.ledger.get::<User>(&everything, actor.id).await?.value;
                self.caller_of(Holder::from(&user)).await
            }
            ActorKind::Client => {
                let client = self.ledger.get::<ApiClient>(&everything, actor.id).await?.value;
                self.caller_of(Holder::from(&client)).await
            }
            ActorKind::Token | ActorKind::Server => Err(refused()),
        }
    }

    async fn session_tenant(&self, caller: &Caller, id: Uuid) -> Result<Tenant> {
        let found = if_found(self.ledger.get::<Tenant>(caller.scope(), id).await)?;
        Ok(found.ok_or_else(refused)?.value)
    }

    async fn session_tenant_named(&self, caller: &Caller, name: &str) -> Result<Tenant> {
        let own = self.session_tenant(caller, caller.tenant()).await?;
        if own.name == name {
            return Ok(own);
        }
        let filter = Filter::all().is(RecordField::Name, Value::Text(name.to_owned()))?;
        let query = Query { filter, order: Order::oldest(), page: Page::first(2), total: false };
        let mut found = self.ledger.list::<Tenant>(caller.scope(), &query).await?.items.into_iter();
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only.value),
            _ => Err(refused()),
        }
    }

    /// What a token says of itself, where it says anything.
    async fn claims_in(&self, secret: &str, now: Timestamp) -> Result<Option<AccessClaims>> {
        if is_iam(secret) {
            return self.valid_iam_claims(secret, now).await;
        }
        if secret.contains('.') { self.access_claims(secret, now).await } else { Ok(None) }
    }

    async fn session_of(&self, caller: Caller, claims: Option<&AccessClaims>) -> Result<Session> {
        let everything = Scope::everything();
        let origin = claims.and_then(|c| c.session.clone());
        let for_ever = FOR_EVER.parse().unwrap_or(Timestamp::MAX);
        let (id, issued_at, expires_at) = match claims {
            Some(c) => (c.id(), c.issued_at().unwrap_or_default(), c.expires_at().unwrap_or(for_ever)),
            None => {
                let token = self.ledger.get::<Token>(&everything, caller.actor.id).await?.value;
                (token.id, token.created_at, token.expires_at.unwrap_or(for_ever))
            }
        };
        let login = match caller.actor.kind {
            ActorKind::User => self.ledger.get::<User>(&everything, caller.actor.id).await?.value.login,
            ActorKind::Client | ActorKind::Token | ActorKind::Server => caller.name.clone(),
        };
        let (nothing, system) = origin.as_ref().map_or((false, false), |o| (o.nothing, o.system));
        let tenant = match nothing || system {
            true => None,
            false => Some(self.ledger.get::<Tenant>(&everything, caller.tenant()).await?.value),
        };
        let method = origin.map_or_else(|| "token".to_owned(), |o| o.method);
        Ok(Session { token: None, id, caller, login, tenant, system, method, issued_at, expires_at })
    }
}
