//! What somebody sends to be given a token. Has no `Debug`, so it cannot be logged.

use serde_json::{Map, Value};

use super::super::refusal::Refusal;
use super::super::uuid;
use super::DOMAIN;
use crate::service::{Reach, Shown, Who};

/// What is shown, and what the token shall be about.
pub(super) struct Wish {
    pub(super) shown: Shown,
    pub(super) reach: Reach,
}

type Object = Map<String, Value>;

impl Wish {
    pub(super) fn read(body: &[u8]) -> Result<Wish, Refusal> {
        if body.trim_ascii().is_empty() {
            return Err(missing("auth", "request body"));
        }
        let body: Value =
            serde_json::from_slice(body).map_err(|e| Refusal::bad(format!("The body is no JSON: {e}.")))?;
        let auth = object(&body, "auth", "request body")?;
        let identity = member(auth, "identity", "auth")?;
        let methods = identity.get("methods").and_then(Value::as_array);
        let methods = methods.ok_or_else(|| missing("methods", "identity"))?;
        let [method] = methods.as_slice() else {
            return Err(Refusal::bad(
                "Expecting to find one method in methods: password, token or application_credential.",
            ));
        };
        let shown = match method.as_str() {
            Some("password") => password(member(identity, "password", "identity")?)?,
            Some("token") => {
                let token = member(identity, "token", "identity")?;
                Shown::Token(text(token, "id", "token")?.to_owned())
            }
            Some("application_credential") => {
                application_credential(member(identity, "application_credential", "identity")?)?
            }
            // What the vendor's server answers to a method that is not switched on.
            _ => return Err(Refusal::unauthenticated()),
        };
        Ok(Wish { shown, reach: reach(auth.get("scope"))? })
    }
}

fn password(members: &Object) -> Result<Shown, Refusal> {
    let user = member(members, "user", "password")?;
    let password = text(user, "password", "user")?.to_owned();
    Ok(Shown::Password { who: who(user)?, password })
}

fn application_credential(members: &Object) -> Result<Shown, Refusal> {
    const WITHIN: &str = "application_credential";
    let secret = text(members, "secret", WITHIN)?.to_owned();
    if members.get("id").is_some() {
        // An id that is none is nobody's.
        return Ok(Shown::Client { id: uuid(text(members, "id", WITHIN)?), name: None, secret });
    }
    let name = text(members, "name", "application_credential, or id")?.to_owned();
    let user = member(members, "user", WITHIN)?;
    Ok(Shown::Client { id: None, name: Some((name, who(user)?)), secret })
}

/// Who is meant: by an id, or by a name and the domain that it belongs to.
fn who(user: &Object) -> Result<Who, Refusal> {
    if user.get("id").is_some() {
        let id = text(user, "id", "user")?;
        return Ok(uuid(id).map_or_else(|| Who::Nobody(id.to_owned()), Who::Id));
    }
    let name = text(user, "name", "user, or id")?.to_owned();
    Ok(if is_ours(member(user, "domain", "user")?)? { Who::Login(name) } else { Who::Nobody(name) })
}

/// Whether a domain is the one that there is.
fn is_ours(domain: &Object) -> Result<bool, Refusal> {
    if domain.get("id").is_some() {
        return Ok(text(domain, "id", "domain")? == DOMAIN.0);
    }
    Ok(text(domain, "name", "domain, or id")?.eq_ignore_ascii_case(DOMAIN.1))
}

fn reach(scope: Option<&Value>) -> Result<Reach, Refusal> {
    let scope = match scope {
        None | Some(Value::Null) => return Ok(Reach::Own),
        Some(Value::String(word)) if word == "unscoped" => return Ok(Reach::Nothing),
        Some(Value::Object(scope)) => scope,
        Some(_) => return Err(Refusal::bad("Expecting scope to be an object, or \"unscoped\".")),
    };
    if scope.get("unscoped").is_some() {
        return Ok(Reach::Nothing);
    }
    if let Some(system) = scope.get("system") {
        let all = system.get("all").and_then(Value::as_bool) == Some(true);
        return if all { Ok(Reach::System) } else { Err(missing("all", "system")) };
    }
    if scope.get("domain").is_some() || scope.get("OS-TRUST:trust").is_some() {
        // Nobody has a role on the domain, and there are no trusts.
        return Err(Refusal::unauthenticated());
    }
    let project = member(scope, "project", "scope")?;
    if project.get("id").is_some() {
        let id = text(project, "id", "project")?;
        return uuid(id).map(Reach::Tenant).ok_or_else(Refusal::unauthenticated);
    }
    let name = text(project, "name", "project, or id")?.to_owned();
    if is_ours(member(project, "domain", "project")?)? {
        Ok(Reach::Named(name))
    } else {
        Err(Refusal::unauthenticated())
    }
}

/// A member of the body is missing or of another type.
fn missing(member: &str, within: &str) -> Refusal {
    Refusal::bad(format!(
        "Expecting to find {member} in {within}. The server could not comply with the request since it is either \
         malformed or otherwise incorrect."
    ))
}

fn object<'v>(value: &'v Value, name: &str, within: &str) -> Result<&'v Object, Refusal> {
    let found = value.get(name).and_then(Value::as_object);
    found.ok_or_else(|| missing(name, within))
}

fn member<'v>(members: &'v Object, name: &str, within: &str) -> Result<&'v Object, Refusal> {
    let found = members.get(name).and_then(Value::as_object);
    found.ok_or_else(|| missing(name, within))
}

fn text<'v>(members: &'v Object, name: &str, within: &str) -> Result<&'v str, Refusal> {
    let found = members.get(name).and_then(Value::as_str);
    found.ok_or_else(|| missing(name, within))
}
