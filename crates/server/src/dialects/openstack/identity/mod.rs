//! Keystone v3, as far as clients need it: versions, signing in, tokens, the catalog, and names of projects and users
//! (contract, section 9). A project is a tenant, an application credential an API client, and a user either of the
//! identities of this server.

mod request;
mod show;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::query::{MAX_LIMIT, Page};
use domain::tenant::{Tenant, TenantRef};
use domain::{Code, Error};
use serde_json::json;

use super::params::Params;
use super::refusal::{Form, Refusal};
use super::{Asked, MAX_BODY, Services, answers, header, hex, segments, takes_id, uuid};
use crate::dialects::edge::Shape;
use crate::service::Account;

/// What is answered, below `/identity` as without it: of what stands at a place, nothing else reaches a handler. Whatever is
/// read may be asked for its headers alone; that of tokens is a call of its own, with which clients look whether one is valid.
pub(super) const ROUTES: &[(&str, &str)] = &[
    ("get", "/v3"),
    ("post", "/v3/auth/tokens"),
    ("get", "/v3/auth/tokens"),
    ("head", "/v3/auth/tokens"),
    ("delete", "/v3/auth/tokens"),
    ("get", "/v3/auth/catalog"),
    ("get", "/v3/auth/projects"),
    ("get", "/v3/auth/domains"),
    ("get", "/v3/projects"),
    ("get", "/v3/projects/{id}"),
    ("get", "/v3/users"),
    ("get", "/v3/users/{id}"),
    ("get", "/v3/users/{id}/projects"),
    ("get", "/v3/domains"),
    ("get", "/v3/domains/{id}"),
];

/// The one domain.
pub(super) const DOMAIN: (&str, &str) = ("default", "Default");

/// What is said where Keystone has something and this server has not.
const NOT_SERVED: &str = "Of Keystone there are only tokens, the catalog, and names of projects, users and domains here. \
                          Application credentials are made with `backstay client create`, users with `backstay user \
                          create`; roles stand with each of them.";

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Version,
    Tokens,
    Catalog,
    OwnProjects,
    OwnDomains,
    Projects,
    Project(String),
    Users,
    User(String),
    ProjectsOf(String),
    Domains,
    Domain(String),
}

impl Place {
    fn of(segments: &[String]) -> Option<Place> {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Some(match segments.as_slice() {
            [] | [""] => Place::Version,
            ["auth", "tokens"] => Place::Tokens,
            ["auth", "catalog"] => Place::Catalog,
            ["auth", "projects"] => Place::OwnProjects,
            ["auth", "domains"] => Place::OwnDomains,
            ["projects"] => Place::Projects,
            ["projects", id] if !id.is_empty() => Place::Project((*id).to_owned()),
            ["users"] => Place::Users,
            ["users", id, "projects"] if !id.is_empty() => Place::ProjectsOf((*id).to_owned()),
            ["users", id] if !id.is_empty() => Place::User((*id).to_owned()),
            ["domains"] => Place::Domains,
            ["domains", id] if !id.is_empty() => Place::Domain((*id).to_owned()),
            _ => return None,
        })
    }

    /// Its path, as `ROUTES` has it.
    fn route(&self) -> &'static str {
        match self {
            Place::Version => "/v3",
            Place::Tokens => "/v3/auth/tokens",
            Place::Catalog => "/v3/auth/catalog",
            Place::OwnProjects => "/v3/auth/projects",
            Place::OwnDomains => "/v3/auth/domains",
            Place::Projects => "/v3/projects",
            Place::Project(_) => "/v3/projects/{id}",
            Place::Users => "/v3/users",
            Place::User(_) => "/v3/users/{id}",
            Place::ProjectsOf(_) => "/v3/users/{id}/projects",
            Place::Domains => "/v3/domains",
            Place::Domain(_) => "/v3/domains/{id}",
        }
    }

    fn allows(&self) -> &'static str {
        match self {
            Place::Tokens => "GET, HEAD, POST, DELETE",
            _ => "GET, HEAD",
        }
    }
}

/// Every request below `/v3` and `/identity`.
pub(super) async fn answer(State(service): Services, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let asked = Asked::of(&service, &parts);
    let mut response = match respond(&asked, &parts, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.print(Form::Keystone, &asked.base),
    };
    // What is answered depends on the token; nobody between shall give it to somebody else.
    response.headers_mut().insert(VARY, HeaderValue::from_static("X-Auth-Token"));
    response
}

async fn respond(asked: &Asked<'_>, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    let rest = match asked.path {
        "" => {
            return match parts.method.as_str() {
                "GET" | "HEAD" => {
                    // Whoever asks at the root is told of where all of it is.
                    let prefix = if asked.prefix.is_empty() { "/identity" } else { asked.prefix };
                    let versions = json!({ "versions": { "values": [show::version(&asked.base, prefix)] } });
                    Ok((StatusCode::MULTIPLE_CHOICES, Json(versions)).into_response())
                }
                "OPTIONS" => Ok((StatusCode::OK, [(ALLOW, Place::Version.allows())]).into_response()),
                other => Err(Refusal::method_not_allowed(other, Place::Version.allows())),
            };
        }
        "v3" => "",
        other => other.strip_prefix("v3/").ok_or_else(Refusal::no_such_page)?,
    };
    let place = Place::of(&segments(rest)?).ok_or_else(|| Refusal::not_found(NOT_SERVED))?;
    // A GET without its body; the server leaves that out.
    let method = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
    if method == Method::OPTIONS {
        return Ok((StatusCode::OK, [(ALLOW, place.allows())]).into_response());
    }
    if !answers(ROUTES, &method, place.route()) {
        return Err(Refusal::method_not_allowed(method.as_str(), place.allows()));
    }
    match (place, method.as_str()) {
        (Place::Version, _) => Ok(Json(json!({ "version": show::version(&asked.base, asked.prefix) })).into_response()),
        (Place::Tokens, "POST") => open(asked, body).await,
        (Place::Tokens, "DELETE") => end(asked).await,
        (Place::Tokens, _) => validate(asked).await,
        (place, _) => read(asked, place).await,
    }
}

/// `POST /v3/auth/tokens`.
async fn open(asked: &Asked<'_>, body: Body) -> Result<Response, Refusal> {
    let params = asked.params()?;
    let bytes = to_bytes(body, MAX_BODY).await.map_err(|_| Refusal::too_large(MAX_BODY))?;
    let wish = request::Wish::read(&bytes)?;
    let session = asked.service.open_session(wish.shown, wish.reach, asked.from).await?;
    let secret = session.token.clone().unwrap_or_default();
    let body = show::token(asked, &session, params.get("nocatalog").is_none());
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    let secret = HeaderValue::from_str(&secret)
        .map_err(|_| Error::new(Code::Internal, "a token has signs that no header can have"))?;
    response.headers_mut().insert("x-subject-token", secret);
    Ok(response)
}

/// `GET` and `HEAD /v3/auth/tokens`.
async fn validate(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let caller = asked.caller().await?;
    let params = asked.params()?;
    let subject = subject(asked)?;
    let session = asked.service.session_behind(&caller, subject).await.map_err(unknown_token)?;
    let mut response = Json(show::token(asked, &session, params.get("nocatalog").is_none())).into_response();
    if let Ok(secret) = HeaderValue::from_str(subject) {
        response.headers_mut().insert("x-subject-token", secret);
    }
    Ok(response)
}

/// `DELETE /v3/auth/tokens`.
async fn end(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let caller = asked.caller().await?;
    let ended = asked.service.end_session(&caller, subject(asked)?).await;
    ended.map_err(unknown_token)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn subject<'r>(asked: &Asked<'r>) -> Result<&'r str, Refusal> {
    header(asked.headers, "x-subject-token")
        .ok_or_else(|| Refusal::bad("Expecting to find the header X-Subject-Token: the token that is meant."))
}

/// What became of a token that was asked about.
fn unknown_token(error: Error) -> Refusal {
    match error.code {
        Code::NotFound => Refusal::not_found("The token that is meant is not known, or no longer valid."),
        _ => error.into(),
    }
}

/// The calls that only look.
async fn read(asked: &Asked<'_>, place: Place) -> Result<Response, Refusal> {
    let service = asked.service;
    let session = service.session(asked.token()?).await?;
    let caller = &session.caller;
    let params = asked.params()?;
    let unknown = |what: &str, id: &str| Refusal::not_found(format!("Could not find {what}: {id}."));
    let links =
        json!({ "next": null, "self": asked.base.at(&format!("{}/{}", asked.prefix, asked.path)), "previous": null });
    let answer = match place {
        Place::Catalog => json!({ "catalog": show::catalog(asked), "links": links }),
        Place::OwnProjects | Place::Projects => {
            let wish = ListWish::read(&params, &["parent_id"])?;
            let found = service.session_tenants(&session, params.get("name"), Page::first(MAX_LIMIT)).await?;
            // Above the first ones there is the domain alone.
            let below = |tenant: &Tenant| {
                params
                    .get("parent_id")
                    .is_none_or(|id| show::parent(tenant) == id.replace('-', "").to_ascii_lowercase())
            };
            let found = found.iter().filter(|tenant| wish.has_enabled() && below(tenant));
            let projects: Vec<_> = found.map(|tenant| show::project(asked, tenant)).collect();
            json!({ "projects": projects, "links": links })
        }
        Place::ProjectsOf(text) => {
            let wish = ListWish::read(&params, &[])?;
            let id = uuid(&text).ok_or_else(|| unknown("user", &text))?;
            let found = match service.account_tenants(&session, id, Page::first(MAX_LIMIT)).await {
                Err(e) if e.code == Code::NotFound => return Err(unknown("user", &text)),
                other => other?,
            };
            let found =
                found.iter().filter(|t| wish.has_enabled() && params.get("name").is_none_or(|name| name == t.name));
            let projects: Vec<_> = found.map(|tenant| show::project(asked, tenant)).collect();
            json!({ "projects": projects, "links": links })
        }
        Place::Users => {
            let wish = ListWish::read(&params, &[])?;
            let found = service.accounts(&session, params.get("name")).await?;
            let found =
                found.iter().filter(|account| !wish.nothing && wish.enabled.is_none_or(|e| e == account.enabled));
            json!({ "users": found.map(|account| user(asked, account)).collect::<Vec<_>>(), "links": links })
        }
        Place::Project(text) => {
            let id = uuid(&text).ok_or_else(|| unknown("project", &text))?;
            let found = service.find_tenant(caller, TenantRef::Id(id)).await?;
            let tenant = found.ok_or_else(|| unknown("project", &text))?;
            json!({ "project": show::project(asked, &tenant) })
        }
        Place::User(text) => {
            let id = uuid(&text).ok_or_else(|| unknown("user", &text))?;
            let account = match service.account(caller, id).await {
                Err(e) if e.code == Code::NotFound => return Err(unknown("user", &text)),
                other => other?,
            };
            json!({ "user": user(asked, &account) })
        }
        Place::OwnDomains | Place::Domains => {
            let wish = ListWish::read(&params, &[])?;
            let named = params.get("name").is_none_or(|name| name == DOMAIN.1) && wish.has_enabled();
            let domains: Vec<_> = named.then(|| show::domain(asked)).into_iter().collect();
            json!({ "domains": domains, "links": links })
        }
        Place::Domain(id) if id == DOMAIN.0 => json!({ "domain": show::domain(asked) }),
        Place::Domain(id) => return Err(unknown("domain", &id)),
        Place::Version | Place::Tokens => return Err(Refusal::no_such_page()),
    };
    Ok(Json(answer).into_response())
}

/// What a list narrows its rows by; what it is not known to narrow by is refused, since an answer with too much would be
/// taken for the right one.
struct ListWish {
    enabled: Option<bool>,
    /// Whether nothing can match.
    nothing: bool,
}

impl ListWish {
    fn read(params: &Params, more: &[&str]) -> Result<ListWish, Refusal> {
        let mut wish = ListWish { enabled: None, nothing: false };
        for (name, value) in params.iter() {
            let flag = || match value.to_ascii_lowercase().as_str() {
                // Named without a value, a flag is set.
                "true" | "1" | "" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(Refusal::bad(format!("Invalid input for {name}: '{value}' is neither true nor false."))),
            };
            match name {
                // All is on one page, and these change nothing of it.
                "name" | "limit" | "marker" | "sort_key" | "sort_dir" | "sort" => {}
                "domain_id" => wish.nothing |= value != DOMAIN.0,
                "enabled" => wish.enabled = Some(flag()?),
                "is_domain" => wish.nothing |= flag()?,
                other if more.contains(&other) => {}
                other => {
                    let known = ["name", "domain_id", "enabled"].iter().chain(more).copied().collect::<Vec<_>>();
                    let known = known.join(", ");
                    return Err(Refusal::bad(format!(
                        "This list cannot be narrowed by '{other}' here, but by {known}."
                    )));
                }
            }
        }
        Ok(wish)
    }

    /// Whether what is always enabled, as projects are, can be among it.
    fn has_enabled(&self) -> bool {
        !self.nothing && self.enabled != Some(false)
    }
}

fn user(asked: &Asked<'_>, account: &Account) -> serde_json::Value {
    json!({
        "id": hex(account.id),
        "name": account.name,
        "domain_id": DOMAIN.0,
        "default_project_id": hex(account.tenant),
        "enabled": account.enabled,
        "password_expires_at": null,
        "options": {},
        "links": { "self": show::at(asked, "users", &hex(account.id)) },
    })
}

/// How this API ends its answers.
pub(super) enum Identity {}

impl Shape for Identity {
    const DIALECT: &str = "openstack";

    fn finish(response: Response, request_id: &str) -> Response {
        Refusal::finish(response, request_id)
    }

    fn defect() -> Response {
        Refusal::defect(Form::Keystone)
    }

    fn takes_id(id: &str) -> bool {
        takes_id(id)
    }
}
