//! The token endpoint (contract, section 2.1). It speaks RFC 6749: its requests are forms, and every refusal is
//! `{"error","error_description"}`.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use domain::error::Kind;
use domain::tenant::{Tenant, TenantRef};
use domain::{ActorKind, Caller, Code, Error, Role, Uuid};
use serde_json::{Map, Value, json};

use super::AcronisState;
use super::error::status;
use super::params::{guid, shown, unescaped};
use crate::Service;
use crate::dialects::body;
use crate::dialects::edge::{self, Shape};
use crate::service::{Credential, Grant, Wish};

/// Before the uuid of a tenant in `scope`.
const TENANT_URN: &str = "urn:acronis.com:tenant-id:";
/// Before the name of a role in `scope`.
const ROLE_URN: &str = "urn:acronis.com::task_manager::";
/// What the roles are for, in the claim `scope` (D9).
const RESOURCE_SERVER: &str = "task_manager";
/// The roles that the dialect knows; an operator is viewer and issuer (D11).
const ROLES: [Role; 4] = [Role::Viewer, Role::Issuer, Role::Consumer, Role::Admin];

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const GRANTS: [&str; 3] = ["client_credentials", "password", JWT_BEARER];

/// Base64 as clients send it: some leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

routes! {
    /// The endpoint, at its two places.
    ROUTES, served {
        "/api/2/idp/token": post token;
        "/bc/idp/token": post token;
    }
}

/// The endpoint.
pub(super) fn routes() -> Router<AcronisState> {
    let router = served().method_not_allowed_fallback(method_not_allowed).layer(DefaultBodyLimit::max(body::MAX));
    edge::layers::<TokenEndpoint, _>(router)
}

/// Grants an access token.
async fn token(State(state): State<AcronisState>, request: Request) -> Result<Response, Refusal> {
    let service = &*state.service;
    let from = peer(request.extensions());
    let shown = Shown::in_headers(request.headers())?;
    let form = Form::read(request).await?;
    let scope = Scope::parse(form.text("scope")?.unwrap_or_default())?;
    let caller = who(service, &form, shown, from).await?;
    let tenant = owner(service, &caller, scope.tenant).await?;
    let roles = scope.roles.clone();
    let claims = claims(service, &caller, &tenant, roles.as_deref().unwrap_or(caller.roles())).await?;
    let grant = service.grant(&caller, Wish { tenant: Some(tenant.id), roles, claims }).await?;
    Ok(answer(&grant, &scope))
}

/// The five members that are always there (D4), and what was narrowed.
fn answer(grant: &Grant, scope: &Scope) -> Response {
    let mut body = json!({
        "access_token": grant.access_token,
        "token_type": "bearer",
        "expires_on": grant.expires_at.as_second(),
        "expires_in": grant.lifetime.as_secs(),
        "id_token": grant.id_token,
    });
    if !scope.heeded.is_empty() {
        body["scope"] = scope.heeded.join(" ").into();
    }
    axum::Json(body).into_response()
}

/// Whoever asks: the client or the person behind what was shown. A client that shows itself beside another grant must be
/// right too (RFC 6749, 3.2.1).
async fn who(service: &Service, form: &Form, shown: Option<Shown>, from: Option<IpAddr>) -> Result<Caller, Refusal> {
    let grant = form.text("grant_type")?.ok_or_else(|| missing("grant_type"))?;
    if !GRANTS.contains(&grant) {
        let known = GRANTS.join(", ");
        let why = format!("there is no grant '{}' here; one of: {known}", self::shown(grant));
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", &why));
    }
    let client = match form.client(shown)? {
        Some(credential) => Some(service.sign_in(credential, from).await.map_err(bad_client)?),
        None => None,
    };
    match grant {
        "client_credentials" => client.ok_or_else(|| {
            bad_client(Error::new(Code::Unauthenticated, "there are no credentials of a client"))
                .hint("send the client id and secret by HTTP Basic")
        }),
        "password" => {
            let login = form.text("username")?.ok_or_else(|| missing("username"))?.to_owned();
            let password = form.text("password")?.ok_or_else(|| missing("password"))?.to_owned();
            service.sign_in(Credential::User { login, password }, from).await.map_err(bad_grant)
        }
        _ => {
            let assertion = form.text("assertion")?.ok_or_else(|| missing("assertion"))?;
            service.authenticate(assertion).await.map_err(bad_grant)
        }
    }
}

/// The tenant that the token shall open: the one that is asked for, or the caller's own.
async fn owner(service: &Service, caller: &Caller, wanted: Option<Uuid>) -> Result<Tenant, Refusal> {
    let id = wanted.unwrap_or(caller.tenant());
    let found = service.find_tenant(caller, TenantRef::Id(id)).await?;
    found.ok_or_else(|| invalid_scope(&format!("there is no tenant '{id}' within the caller's")))
}

/// What the access token tells clients of this dialect, beside what the server itself reads in it (D9).
async fn claims(
    service: &Service,
    caller: &Caller,
    tenant: &Tenant,
    roles: &[Role],
) -> Result<Map<String, Value>, Refusal> {
    let id = caller.actor.id;
    // The record's own tenant, which a narrowed token does not open.
    let owner = match caller.actor.kind {
        ActorKind::Client => service.client(caller, id).await?.tenant,
        ActorKind::User => service.user(caller, id).await?.tenant,
        ActorKind::Token | ActorKind::Server => caller.tenant(),
    };
    let policies = ROLES.iter().filter(|role| role.within(roles)).map(|role| {
        // The two that are empty would name a resource inside the tenant; without them the whole tenant is meant.
        json!({
            "tid": tenant.number.to_string(),
            "tuid": tenant.id,
            "rs": RESOURCE_SERVER,
            "rn": "",
            "rp": "",
            "role": role.name(),
        })
    });
    let sub_type = if caller.actor.kind == ActorKind::User { "user" } else { "api_client" };
    Ok(Map::from_iter([
        ("sub_type".to_owned(), sub_type.into()),
        ("owner_tuid".to_owned(), owner.to_string().into()),
        ("scope".to_owned(), policies.collect()),
    ]))
}

/// Where the request came from, as far as that is known.
pub(super) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

/// A name and a secret as HTTP Basic has them.
pub(super) struct Basic {
    pub(super) name: String,
    pub(super) secret: String,
}

impl Basic {
    /// Reads what stands behind the scheme. Clients that know no UTF-8 send Latin-1 (RFC 7617 leaves it open).
    pub(super) fn read(encoded: &str) -> Option<Basic> {
        let bytes = BASE64.decode(encoded.trim()).ok()?;
        let text = String::from_utf8(bytes).unwrap_or_else(|e| e.as_bytes().iter().copied().map(char::from).collect());
        let (name, secret) = text.split_once(':')?;
        Some(Basic { name: name.to_owned(), secret: secret.to_owned() })
    }
}

/// The client as it shows itself in a header. Has no `Debug`, so it cannot be logged.
struct Shown(Basic);

impl Shown {
    fn in_headers(headers: &HeaderMap) -> Result<Option<Shown>, Refusal> {
        let mut found = headers.get_all(AUTHORIZATION).iter();
        let Some(header) = found.next() else { return Ok(None) };
        if found.next().is_some() {
            return Err(invalid_request("there are several headers 'Authorization'"));
        }
        let unreadable = || {
            bad_client(Error::new(Code::Unauthenticated, "the header 'Authorization' is not readable"))
                .hint("send the client id and secret by HTTP Basic")
        };
        let (scheme, rest) = header.to_str().ok().and_then(|h| h.split_once(' ')).ok_or_else(unreadable)?;
        // The header comes with the grant of an assertion, which says the same once more.
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(unreadable());
        }
        let Basic { name, secret } = Basic::read(rest).ok_or_else(unreadable)?;
        // RFC 6749 encodes both before Basic does, and hardly any client knows. Neither ids nor secrets of ours have a
        // sign that would be encoded, so that both ways give the same.
        let plain = |text: String| unescaped(&text).unwrap_or(text);
        Ok(Some(Shown(Basic { name: plain(name), secret: plain(secret) })))
    }
}

/// The parameters of the body, decoded, in their order. Has no `Debug`, so it cannot be logged.
struct Form(Vec<(String, String)>);

impl Form {
    async fn read(request: Request) -> Result<Form, Refusal> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(invalid_request("the body is not marked as a form")
                .hint("send the header 'Content-Type: application/x-www-form-urlencoded'"));
        }
        let bytes = Bytes::from_request(request, &()).await.map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let why = format!("the body is larger than {} KiB", body::MAX / 1024);
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", &why)
            }
            _ => invalid_request("the body broke off"),
        })?;
        Form::parse(&bytes).ok_or_else(|| {
            invalid_request("the body is not readable").hint("percent-encode the values as UTF-8, like caf%C3%A9")
        })
    }

    fn parse(bytes: &[u8]) -> Option<Form> {
        let text = std::str::from_utf8(bytes).ok()?.trim_end_matches(['\r', '\n']);
        let parts = text.split('&').filter(|part| !part.is_empty());
        parts
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                Some((unescaped(name)?, unescaped(value)?))
            })
            .collect::<Option<_>>()
            .map(Form)
    }

    /// The value of a parameter; an empty one is none, and twice is wrong (RFC 6749, 3.2).
    fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let first = values.next();
        match values.next() {
            Some(_) => Err(invalid_request(&format!("'{name}' is given twice"))),
            None => Ok(first.filter(|value| !value.is_empty())),
        }
    }

    /// The client's credentials, by header or in the body (D7), but not by both.
    fn client(&self, shown: Option<Shown>) -> Result<Option<Credential>, Refusal> {
        let (id, secret) = (self.text("client_id")?, self.text("client_secret")?);
        match (shown, id, secret) {
            (Some(_), _, Some(_)) => Err(invalid_request("the client shows itself in the header and in the body")
                .hint("send its id and secret in one of them")),
            (Some(Shown(Basic { name, .. })), Some(id), None) if name != id => {
                Err(invalid_request("the header and the body name different clients"))
            }
            (Some(Shown(Basic { name, secret })), _, None) => Ok(Some(Credential::Client { id: name, secret })),
            (None, Some(id), Some(secret)) => {
                Ok(Some(Credential::Client { id: id.to_owned(), secret: secret.to_owned() }))
            }
            (None, None, Some(_)) => Err(missing("client_id")),
            // A mere name proves nothing, and nothing is asked of it.
            (None, _, None) => Ok(None),
        }
    }
}

/// What `scope` asks for (D6).
#[derive(Debug, Default, PartialEq, Eq)]
struct Scope {
    tenant: Option<Uuid>,
    roles: Option<Vec<Role>>,
    /// The words that were understood.
    heeded: Vec<String>,
}

impl Scope {
    /// Words of other services are ignored. One that means to narrow and cannot be understood is refused: ignoring it
    /// would give more than was asked for.
    fn parse(text: &str) -> Result<Scope, Refusal> {
        let mut scope = Scope::default();
        for word in text.split_ascii_whitespace() {
            if let Some(id) = word.strip_prefix(TENANT_URN) {
                let id = guid(id).ok_or_else(|| invalid_scope(&format!("'{}' names no tenant", shown(word))))?;
                if scope.tenant.replace(id).is_some_and(|other| other != id) {
                    return Err(invalid_scope("a token opens one tenant, and several are asked for"));
                }
            } else if let Some(name) = word.strip_prefix(ROLE_URN) {
                let role = ROLES.iter().find(|role| role.name() == name);
                let role = role.ok_or_else(|| invalid_scope(&format!("there is no role '{}'", shown(name))))?;
                let roles = scope.roles.get_or_insert_default();
                if !roles.contains(role) {
                    roles.push(*role);
                }
            } else {
                continue;
            }
            scope.heeded.push(word.to_owned());
        }
        Ok(scope)
    }
}

/// A refusal as RFC 6749, 5.2 has it.
#[derive(Debug, Clone)]
struct Refusal {
    status: StatusCode,
    error: &'static str,
    description: String,
    retry_after: Option<u64>,
    /// What lies behind it, where it is the server's own fault.
    fault: Option<Box<Error>>,
}

impl Refusal {
    fn new(status: StatusCode, error: &'static str, description: &str) -> Refusal {
        Refusal { status, error, description: printable(description), retry_after: None, fault: None }
    }

    fn hint(mut self, hint: &str) -> Refusal {
        self.description = format!("{}; {}", self.description, printable(hint));
        self
    }

    /// A domain error, where whoever is not known is told so by this status and word.
    fn of(error: Error, unknown: (StatusCode, &'static str)) -> Refusal {
        let (status, word) = match error.code.kind() {
            Kind::Unauthenticated => unknown,
            // All that the service refuses of a request that was readable is about the wish.
            Kind::Invalid | Kind::Forbidden | Kind::NotFound => (StatusCode::BAD_REQUEST, "invalid_scope"),
            // RFC 6749 has no word for too many attempts; this one makes clients wait.
            Kind::TooMany | Kind::Unavailable | Kind::StorageFull => (status(error.code), "temporarily_unavailable"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        let mut refusal = Refusal::new(status, word, &error.message);
        // How tokens of our own are made is no help to a client of this endpoint.
        if let Some(hint) = error.hint.as_deref().filter(|_| error.code.kind() != Kind::Unauthenticated) {
            refusal = refusal.hint(hint);
        }
        refusal.retry_after = error.retry_after.or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(5));
        if matches!(error.code.kind(), Kind::Internal | Kind::StorageFull) {
            refusal.fault = Some(Box::new(error));
        }
        refusal
    }
}

/// For what can only fail in the server itself, or about the wish.
impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::of(error, (StatusCode::BAD_REQUEST, "invalid_grant"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "error_description": self.description });
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"backstay\", charset=\"UTF-8\""));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

fn bad_client(error: Error) -> Refusal {
    Refusal::of(error, (StatusCode::UNAUTHORIZED, "invalid_client"))
}

fn bad_grant(error: Error) -> Refusal {
    Refusal::of(error, (StatusCode::BAD_REQUEST, "invalid_grant"))
}

fn invalid_request(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", why)
}

fn invalid_scope(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_scope", why)
}

fn missing(name: &str) -> Refusal {
    invalid_request(&format!("'{name}' is missing"))
}

/// The signs that a description may have (RFC 6749, 5.2).
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => '\'',
            ' '..='~' if c != '\\' => c,
            _ => '?',
        })
        .collect()
}

async fn method_not_allowed(method: Method) -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", &format!("{method} is not possible here"))
        .hint("send a POST")
}

/// How the endpoint ends its answers: whatever they are, nobody between shall keep them.
enum TokenEndpoint {}

impl Shape for TokenEndpoint {
    const DIALECT: &str = "acronis";

    fn finish(mut response: Response, request_id: &str) -> Response {
        if let Some(fault) = response.extensions().get::<Refusal>().and_then(|r| r.fault.as_ref()) {
            tracing::error!(code = fault.code.name(), request_id, "a request failed: {fault}");
        }
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        response
    }

    fn defect() -> Response {
        Refusal::from(Error::new(Code::Internal, "the server has a defect and could not answer")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Result<Scope, &'static str> {
        Scope::parse(text).map_err(|refusal| refusal.error)
    }

    #[test]
    fn scope_words_narrow_or_are_ignored() {
        let id = "5d0c9c1a-2f4e-4b7e-8a53-0d3c1b7f6e21";
        assert_eq!(scope(""), Ok(Scope::default()));
        // D6
        assert_eq!(scope("openid offline_access  urn:acronis.com::account_server::viewer"), Ok(Scope::default()));
        let tenant = format!("urn:acronis.com:tenant-id:{id}");
        let narrowed = scope(&format!("openid {tenant} {tenant}")).expect("one tenant");
        assert_eq!(narrowed.tenant, Uuid::parse_str(id).ok());
        assert_eq!(narrowed.roles, None);
        let roles = "urn:acronis.com::task_manager::viewer urn:acronis.com::task_manager::issuer";
        let narrowed = scope(roles).expect("two roles");
        assert_eq!(narrowed.roles, Some(vec![Role::Viewer, Role::Issuer]));
        assert_eq!(narrowed.heeded.join(" "), roles);
        for wrong in [
            "urn:acronis.com:tenant-id:",
            "urn:acronis.com:tenant-id:66",
            "urn:acronis.com:tenant-id:5d0c9c1a-2f4e-4b7e-8a53-0d3c1b7f6e21:backup_agent_admin",
            "urn:acronis.com::task_manager::operator",
            "urn:acronis.com::task_manager::",
            &format!("{tenant} urn:acronis.com:tenant-id:019a1c5e-7d0a-7c3e-9b1f-5a2f6c1d8e90"),
        ] {
            assert_eq!(scope(wrong), Err("invalid_scope"), "{wrong}");
        }
    }

    #[test]
    fn basic_credentials_in_every_spelling() {
        let read = |encoded: &str| Basic::read(encoded).map(|b| (b.name, b.secret));
        let pair = |name: &str, secret: &str| Some((name.to_owned(), secret.to_owned()));
        assert_eq!(read("YTpi"), pair("a", "b"));
        assert_eq!(read("YTpiYw=="), pair("a", "bc"));
        assert_eq!(read("YTpiYw"), pair("a", "bc"), "without padding");
        assert_eq!(read("YTpiOmM="), pair("a", "b:c"), "the first colon ends the name");
        assert_eq!(read("YTrDvA=="), pair("a", "\u{fc}"), "UTF-8");
        assert_eq!(read("YTr8"), pair("a", "\u{fc}"), "Latin-1");
        assert_eq!(read("YQ=="), None, "no colon");
        assert_eq!(read("a b"), None);
    }

    #[test]
    fn forms_are_decoded_and_empty_values_are_none() {
        let form = Form::parse(b"a=b+c%2Bd&e=&&f&g=h=i\n").expect("a form");
        let text = |name: &str| form.text(name).expect("given once").map(str::to_owned);
        assert_eq!(text("a").as_deref(), Some("b c+d"));
        assert_eq!((text("e"), text("f"), text("x")), (None, None, None));
        assert_eq!(text("g").as_deref(), Some("h=i"));
        for broken in [&b"a=%"[..], b"a=%zz", b"a=%ff", b"\xff=a"] {
            assert!(Form::parse(broken).is_none());
        }
        let twice = Form::parse(b"a=&a=b").expect("a form");
        assert_eq!(twice.text("a").err().map(|e| e.error), Some("invalid_request"));
    }

    #[test]
    fn descriptions_have_only_the_signs_that_the_rfc_allows() {
        assert_eq!(printable("a \"b\" \\ \u{fc}\n~"), "a 'b' ? ??~");
    }
}
