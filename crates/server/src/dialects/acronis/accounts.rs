//! The account endpoints that clients call before and beside the task API (contract, section 2.3): which server, who am I,
//! API clients, tenants. They answer and fail in the form of the vendor's account API, and are no copy of it beyond that.

use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, OriginalUri, Path, RawQuery, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::error::Kind;
use domain::identity::ApiClient;
use domain::query::{Key, MAX_LIMIT, Page, Value as Place};
use domain::{ActorKind, Caller, Code, Error, Uuid};
use serde_json::{Map, Value, json};

use super::AcronisState;
use super::error::{sentence, status};
use super::idp::{Basic, peer};
use super::params::{guid, shown, unescaped};
use crate::dialects::edge::{self, Shape};
use crate::dialects::{bearer, body};
use crate::listen::Via;
use crate::service::{Branch, Credential, NewClient, TenantNode};

/// What the vendor calls the service behind these endpoints.
const DOMAIN: &str = "PlatformAccountServer";
/// The only sort of client there is (D13).
const API_CLIENT: &str = "api_client";
/// How a client may show its secret; both work, and this one is the vendor's default.
const BY_HEADER: &str = "client_secret_basic";
const IN_BODY: &str = "client_secret_post";

routes! {
    /// The endpoints.
    ROUTES, served {
        "/api/1/accounts": get account;
        "/api/2/users/me": get me;
        "/api/2/clients": post create_client;
        "/api/2/clients/{id}": get client;
        "/api/2/tenants": get tenants;
        "/api/2/tenants/{id}": get tenant;
    }
}

/// The endpoints, and an answer in their form for everything else that the vendor has beside them.
pub(super) fn routes() -> Router<AcronisState> {
    let router = served()
        .method_not_allowed_fallback(method_not_allowed)
        .route("/api/1/{*rest}", any(unknown_route))
        .route("/api/2/{*rest}", any(unknown_route))
        .layer(DefaultBodyLimit::max(body::MAX));
    edge::layers::<Accounts, _>(router)
}

type Answer = Result<Json<Value>, Refusal>;

/// Which server is somebody's: this one, by the name it was asked under. Whether the login exists is not told.
async fn account(request: Request) -> Answer {
    let Some(host) = host(request.uri(), request.headers()) else {
        return Err(Error::invalid("Host", "the header 'Host' does not say under which name the server was asked")
            .hint("send it once, as <host> or <host>:<port>")
            .into());
    };
    let scheme = if request.extensions().get::<Via>().is_some_and(|via| via.tls) { "https" } else { "http" };
    Ok(Json(json!({ "server_url": format!("{scheme}://{host}") })))
}

/// Whoever asks. Programs, too: the vendor's own samples ask with a client's token.
async fn me(State(state): State<AcronisState>, Asking(caller): Asking) -> Answer {
    let id = caller.actor.id;
    let (login, tenant) = match caller.actor.kind {
        ActorKind::User => {
            let user = state.service.user(&caller, id).await?;
            (user.login, user.tenant)
        }
        ActorKind::Client => {
            let client = state.service.client(&caller, id).await?;
            (client.name, client.tenant)
        }
        ActorKind::Token | ActorKind::Server => (caller.name.clone(), caller.tenant()),
    };
    // Nobody has a tenant of their own beside the one they belong to.
    Ok(Json(json!({ "id": id, "login": login, "tenant_id": tenant, "personal_tenant_id": tenant })))
}

/// One API client.
async fn client(State(state): State<AcronisState>, Asking(caller): Asking, Id(id): Id) -> Answer {
    Ok(Json(client_object(&state.service.client(&caller, id).await?)))
}

/// Makes an API client that may do what its maker may.
async fn create_client(
    State(state): State<AcronisState>,
    Asking(caller): Asking,
    request: Request,
) -> Result<Response, Refusal> {
    let (tenant, name) = wanted_client(&body::json(request).await?)?;
    let new = NewClient { tenant, name, roles: caller.roles().to_vec(), executor: None };
    let (client, secret) = state.service.create_client(&caller, new).await.map_err(in_body)?;
    let mut body = client_object(&client);
    body["client_secret"] = secret.into();
    let place = format!("/api/2/clients/{}", client.id);
    Ok((StatusCode::CREATED, [(LOCATION, place)], Json(body)).into_response())
}

/// Tenants: one and all below it, or those directly below one.
async fn tenants(State(state): State<AcronisState>, Asking(caller): Asking, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    let (branch, after) = match parameter(&query, "after")? {
        Some(cursor) => {
            let (branch, after) = read_cursor(&cursor)?;
            (branch, Some(after))
        }
        None => (wanted_branch(&query)?, None),
    };
    let limit = match parameter(&query, "limit")? {
        Some(text) => {
            let number = text.parse().ok().and_then(|n| Page::check_limit("limit", n).ok());
            number.ok_or_else(|| unfit("limit", &text, &format!("a number from 1 to {MAX_LIMIT}")))?
        }
        None => MAX_LIMIT,
    };
    let key = after.map(|id| Key(vec![Some(Place::Uuid(id))]));
    let slice = state.service.tenant_branch(&caller, branch, Page::After { key, limit }).await?;
    let cursors = match (&slice.next, slice.items.last()) {
        (Some(_), Some(last)) => json!({ "after": cursor(branch, last.tenant.id) }),
        _ => json!({}),
    };
    let items: Vec<Value> = slice.items.iter().map(tenant_object).collect();
    Ok(Json(json!({ "items": items, "paging": { "cursors": cursors } })))
}

/// One tenant.
async fn tenant(State(state): State<AcronisState>, Asking(caller): Asking, Id(id): Id) -> Answer {
    Ok(Json(tenant_object(&state.service.tenant_node(&caller, id).await?)))
}

fn client_object(client: &ApiClient) -> Value {
    json!({
        "client_id": client.id,
        "tenant_id": client.tenant,
        "type": API_CLIENT,
        "token_endpoint_auth_method": BY_HEADER,
        "data": { "client_name": client.name },
        "status": if client.revoked_at.is_some() { "disabled" } else { "enabled" },
        "created_at": client.created_at.to_string(),
        // Never, as in RFC 7591.
        "client_secret_expires_at": 0,
    })
}

/// D13. The tenant above may lie outside what the caller sees; its id tells nothing of it.
fn tenant_object(node: &TenantNode) -> Value {
    let kind = if node.has_children { "partner" } else { "customer" };
    let mut object = json!({ "id": node.tenant.id, "name": node.tenant.name, "kind": kind });
    if let Some(parent) = node.tenant.parent {
        object["parent_id"] = parent.to_string().into();
    }
    object
}

/// The name under which the server was asked. HTTP/2 has it in the address, HTTP/1.1 in a header.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let mut named = headers.get_all(HOST).iter();
    let host = match (uri.authority(), named.next(), named.next()) {
        (Some(authority), _, _) => authority.clone(),
        (None, Some(header), None) => Authority::try_from(header.as_bytes()).ok()?,
        _ => return None,
    };
    let port = host.as_str().strip_prefix(host.host())?;
    let known = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    (known && !host.host().is_empty()).then_some(host)
}

/// Whoever asks, by a token or by login and password. No handler gets a `Caller` in another way.
struct Asking(Caller);

impl FromRequestParts<AcronisState> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AcronisState) -> Result<Asking, Refusal> {
        Ok(Asking(match basic(&parts.headers)? {
            Some(credential) => state.service.sign_in(credential, peer(&parts.extensions)).await?,
            None => state.service.authenticate(&bearer::token(&parts.headers)?).await?,
        }))
    }
}

/// Login and password, if the header has them.
fn basic(headers: &HeaderMap) -> Result<Option<Credential>, Error> {
    let mut found = headers.get_all(AUTHORIZATION).iter();
    let (Some(header), None) = (found.next(), found.next()) else { return Ok(None) };
    let Some((scheme, encoded)) = header.to_str().ok().and_then(|h| h.split_once(' ')) else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let Basic { name, secret } = Basic::read(encoded).ok_or_else(|| {
        Error::new(Code::Unauthenticated, "the header 'Authorization' is not readable")
            .hint("behind 'Basic' stands <login>:<password> in base64")
    })?;
    Ok(Some(Credential::User { login: name, password: secret }))
}

/// The uuid in the path.
struct Id(Uuid);

impl FromRequestParts<AcronisState> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &AcronisState) -> Result<Id, Refusal> {
        let text: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let Path(text) = text.map_err(|_| Error::invalid("id", "the path is not readable"))?;
        Ok(Id(uuid("id", &text)?))
    }
}

fn uuid(name: &str, text: &str) -> Result<Uuid, Error> {
    guid(text).ok_or_else(|| unfit(name, text, "a uuid, like 7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d"))
}

fn unfit(name: &str, text: &str, right: &str) -> Error {
    Error::invalid(name, format!("'{}' is no value for '{name}'", shown(text))).hint(right)
}

/// The value of a parameter that may be given once. Others are not looked at: clients send more than is known here.
fn parameter(query: &str, name: &str) -> Result<Option<String>, Error> {
    let mut found = None;
    for part in query.split('&') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if unescaped(key).is_none_or(|key| key != name) {
            continue;
        }
        let value = unescaped(value).ok_or_else(|| Error::invalid(name, format!("'{name}' is not readable")))?;
        if found.replace(value).is_some() {
            return Err(Error::invalid(name, format!("'{name}' is given twice")));
        }
    }
    Ok(found)
}

fn wanted_branch(query: &str) -> Result<Branch, Error> {
    const ROOT: &str = "subtree_root_id";
    const PARENT: &str = "parent_id";
    match (parameter(query, ROOT)?, parameter(query, PARENT)?) {
        (Some(root), None) => Ok(Branch::Subtree(uuid(ROOT, &root)?)),
        (None, Some(parent)) => Ok(Branch::Children(uuid(PARENT, &parent)?)),
        (None, None) => Err(Error::missing(ROOT).hint(format!("say which tenants, by '{ROOT}' or '{PARENT}'"))),
        (Some(_), Some(_)) => Err(Error::invalid(PARENT, format!("'{ROOT}' and '{PARENT}' do not go together"))),
    }
}

/// The place behind this tenant. It holds no secret and opens nothing: who comes with it is asked for a token as before.
fn cursor(branch: Branch, last: Uuid) -> String {
    let (sort, Branch::Subtree(top) | Branch::Children(top)) =
        (u8::from(matches!(branch, Branch::Children(_))), branch);
    let bytes: Vec<u8> = [sort].into_iter().chain(top.into_bytes()).chain(last.into_bytes()).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read_cursor(text: &str) -> Result<(Branch, Uuid), Error> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (sort, ids) = bytes.split_first()?;
        let (top, last) = ids.split_at_checked(16)?;
        let (top, last) = (Uuid::from_slice(top).ok()?, Uuid::from_slice(last).ok()?);
        match sort {
            0 => Some((Branch::Subtree(top), last)),
            1 => Some((Branch::Children(top), last)),
            _ => None,
        }
    };
    read().ok_or_else(|| {
        Error::new(Code::InvalidCursor, "the cursor is damaged")
            .field("after")
            .hint("send 'after' as the last answer had it, or leave it out to begin again")
    })
}

/// The tenant and the name of the client that a body asks for. What is not known is refused, so that nobody believes in a
/// client with settings that it does not have.
fn wanted_client(bytes: &[u8]) -> Result<(Option<Uuid>, String), Error> {
    let broken = |e| Error::new(Code::InvalidBody, format!("the body is no JSON: {e}"));
    let body: Value = serde_json::from_slice(bytes).map_err(broken)?;
    let mut body = object("the body", body)?;
    let kind = text(&mut body, "type")?;
    if let Some(kind) = kind.filter(|kind| kind != API_CLIENT) {
        return Err(unfit("type", &kind, API_CLIENT));
    }
    let method = text(&mut body, "token_endpoint_auth_method")?;
    if let Some(method) = method.filter(|method| ![BY_HEADER, IN_BODY].contains(&method.as_str())) {
        return Err(unfit("token_endpoint_auth_method", &method, &format!("{BY_HEADER} or {IN_BODY}")));
    }
    let tenant = text(&mut body, "tenant_id")?.map(|id| uuid("tenant_id", &id)).transpose()?;
    let mut data = match body.remove("data") {
        None | Some(Value::Null) => Map::new(),
        Some(data) => object("data", data)?,
    };
    let name = text(&mut data, "client_name")?.ok_or_else(|| Error::missing("data.client_name"))?;
    match body.keys().next().cloned().or_else(|| data.keys().next().map(|name| format!("data.{name}"))) {
        Some(name) => Err(Error::new(Code::UnknownField, format!("'{}' is not known here", shown(&name)))
            .field(shown(&name))
            .hint("a client has: type, tenant_id, token_endpoint_auth_method, data.client_name")),
        None => Ok((tenant, name)),
    }
}

fn object(name: &str, value: Value) -> Result<Map<String, Value>, Error> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(Error::new(Code::InvalidBody, format!("{name} is no JSON object"))),
    }
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Error::invalid(name, format!("'{name}' is no text"))),
    }
}

/// What the service refuses of a new client, in the words of the body. A tenant that the caller does not see is forbidden
/// there (D12).
fn in_body(error: Error) -> Error {
    match (error.code, error.field.as_deref()) {
        (Code::NotFound, Some("tenant")) => {
            Error::new(Code::Forbidden, "the tenant is not one of the caller's").field("tenant_id")
        }
        (_, Some("tenant")) => error.field("tenant_id"),
        (_, Some("name")) => {
            Error { message: error.message.replace("'name'", "'client_name'"), ..error }.field("data.client_name")
        }
        _ => error,
    }
}

/// A request that was refused or failed, as the account API tells it.
#[derive(Debug, Clone)]
struct Refusal(Box<Error>);

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal(Box::new(error))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Error { code, message, field, hint, retry_after } = &*self.0;
        let status = status(*code);
        let message = sentence(message);
        let info = hint.as_ref().map_or_else(|| message.clone(), |hint| sentence(hint));
        let mut context = Map::new();
        if let Some(field) = field {
            context.insert("parameter".to_owned(), field.as_str().into());
        }
        // The vendor's code is one of its own numbers or the status; `details` is what its samples print.
        let body = json!({ "error": {
            "code": status.as_u16(),
            "message": message,
            "domain": DOMAIN,
            "context": context,
            "details": { "info": info },
        }});
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"invalid_token\""));
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"backstay\", charset=\"UTF-8\""));
        }
        if let Some(seconds) = retry_after.or((status == StatusCode::SERVICE_UNAVAILABLE).then_some(5)) {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

async fn unknown_route(OriginalUri(uri): OriginalUri) -> Refusal {
    Error::new(Code::UnknownRoute, format!("there is nothing at '{}'", uri.path())).into()
}

async fn method_not_allowed(method: Method) -> Refusal {
    Error::new(Code::MethodNotAllowed, format!("{method} is not possible here"))
        .hint("the header 'Allow' says which methods are")
        .into()
}

/// How these endpoints end their answers: whatever they are, nobody between shall keep them.
enum Accounts {}

impl Shape for Accounts {
    const DIALECT: &str = "acronis";

    fn finish(mut response: Response, request_id: &str) -> Response {
        if let Some(Refusal(error)) = response.extensions().get::<Refusal>()
            && matches!(error.code.kind(), Kind::Internal | Kind::StorageFull)
        {
            tracing::error!(code = error.code.name(), request_id, "a request failed: {error}");
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn defect() -> Response {
        Refusal::from(Error::new(Code::Internal, "the server has a defect and could not answer")).into_response()
    }
}
