//! Who may ask: people, programs, and the keys that sign their access tokens. Signing in itself is not part of this API.

use axum::Json;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::query::Filter;

use super::auth::Asking;
use super::error::Failure;
use super::extract::{Body, OptionalBody, Params, PathId, PathIds};
use super::lists::{CLIENT_KEYS, CLIENTS, SIGNING_KEYS, USERS};
use super::{Answer, ApiState, created, map};
use crate::service::{NewClient, NewUser};

/// People who match, revoked ones too.
#[utoipa::path(
    get,
    path = "/users",
    tag = "users",
    responses((status = 200, description = "A part of the list", body = api::List<api::User>))
)]
pub(super) async fn users(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::User>> {
    let query = USERS.query(params, Filter::all())?;
    let slice = state.service.users(&caller, &query).await?;
    map::list(&USERS, &query, slice, |u| u.into())
}

/// One person.
///
/// People may read their own record, whatever their roles are.
#[utoipa::path(
    get,
    path = "/users/{id}",
    tag = "users",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The person", body = api::User))
)]
pub(super) async fn user(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::User> {
    Ok(Json((&state.service.user(&caller, id).await?).into()))
}

/// Lets a person in.
///
/// Without `password` a random one is made; it is in this answer and nowhere else.
#[utoipa::path(
    post,
    path = "/users",
    tag = "users",
    request_body = api::NewUser,
    responses((status = 201, description = "The person, with the place in `Location`", body = api::UserWithPassword))
)]
pub(super) async fn create_user(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    Body(body): Body<api::NewUser>,
) -> Result<Response, Failure> {
    let api::NewUser { login, name, roles, tenant, password } = body;
    let (user, password) = state.service.create_user(&caller, NewUser { tenant, login, name, roles, password }).await?;
    let body = api::UserWithPassword { user: (&user).into(), password };
    Ok(unstored(created("users", user.id, body)))
}

/// Gives a person another password.
///
/// Without `password` a random one is made; it is in this answer and nowhere else. Access tokens that were given out
/// before go on until they expire.
#[utoipa::path(
    post,
    path = "/users/{id}/password",
    tag = "users",
    params(("id" = Uuid, Path, description = "The id")),
    request_body = Option<api::NewPassword>,
    responses((status = 200, description = "The person as it is now", body = api::UserWithPassword))
)]
pub(super) async fn set_password(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    OptionalBody(body): OptionalBody<api::NewPassword>,
) -> Result<Response, Failure> {
    let (user, password) = state.service.set_password(&caller, id, body.password).await?;
    let body = api::UserWithPassword { user: (&user).into(), password };
    Ok(unstored(Json(body).into_response()))
}

/// Revokes a person's access: from now on neither the password nor access tokens are accepted.
#[utoipa::path(
    delete,
    path = "/users/{id}",
    tag = "users",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The person as it is now", body = api::User))
)]
pub(super) async fn revoke_user(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::User> {
    Ok(Json((&state.service.revoke_user(&caller, id).await?).into()))
}

/// Programs that match, revoked ones too.
#[utoipa::path(
    get,
    path = "/clients",
    tag = "clients",
    responses((status = 200, description = "A part of the list", body = api::List<api::ApiClient>))
)]
pub(super) async fn clients(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::ApiClient>> {
    let query = CLIENTS.query(params, Filter::all())?;
    let slice = state.service.clients(&caller, &query).await?;
    map::list(&CLIENTS, &query, slice, |c| c.into())
}

/// One program.
///
/// Programs may read their own record, whatever their roles are.
#[utoipa::path(
    get,
    path = "/clients/{id}",
    tag = "clients",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The program", body = api::ApiClient))
)]
pub(super) async fn client(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::ApiClient> {
    Ok(Json((&state.service.client(&caller, id).await?).into()))
}

/// Lets a program in.
///
/// The secret is in this answer and nowhere else.
#[utoipa::path(
    post,
    path = "/clients",
    tag = "clients",
    request_body = api::NewApiClient,
    responses((
        status = 201,
        description = "The program with its secret, and its place in `Location`",
        body = api::ApiClientWithSecret
    ))
)]
pub(super) async fn create_client(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    Body(body): Body<api::NewApiClient>,
) -> Result<Response, Failure> {
    let api::NewApiClient { name, roles, tenant, executor } = body;
    let (client, secret) = state.service.create_client(&caller, NewClient { tenant, name, roles, executor }).await?;
    let body = api::ApiClientWithSecret { client: (&client).into(), secret };
    Ok(unstored(created("clients", client.id, body)))
}

/// Gives a program another secret, in place of the one it had.
///
/// The secret is in this answer and nowhere else. Access tokens that were given out before go on until they expire.
#[utoipa::path(
    post,
    path = "/clients/{id}/secret",
    tag = "clients",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The program with its new secret", body = api::ApiClientWithSecret))
)]
pub(super) async fn rotate_client_secret(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Result<Response, Failure> {
    let (client, secret) = state.service.rotate_client_secret(&caller, id).await?;
    let body = api::ApiClientWithSecret { client: (&client).into(), secret };
    Ok(unstored(Json(body).into_response()))
}

/// Revokes a program's access: from now on neither its secret nor access tokens are accepted.
#[utoipa::path(
    delete,
    path = "/clients/{id}",
    tag = "clients",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The program as it is now", body = api::ApiClient))
)]
pub(super) async fn revoke_client(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::ApiClient> {
    Ok(Json((&state.service.revoke_client(&caller, id).await?).into()))
}

/// Keys under which a program signs to show who it is, newest first, revoked ones too.
#[utoipa::path(
    get,
    path = "/clients/{id}/keys",
    tag = "clients",
    params(("id" = Uuid, Path, description = "The program")),
    responses((status = 200, description = "A part of the list", body = api::List<api::ClientKey>))
)]
pub(super) async fn client_keys(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    params: Params,
) -> Answer<api::List<api::ClientKey>> {
    let query = CLIENT_KEYS.query(params, Filter::all())?;
    let slice = state.service.client_keys(&caller, id, &query).await?;
    map::list(&CLIENT_KEYS, &query, slice, |k| k.into())
}

/// Makes a key for a program, with which it gets tokens without a secret that this server knows.
///
/// The answer is the file that clients of clouds read. The private key is in it and nowhere else.
#[utoipa::path(
    post,
    path = "/clients/{id}/keys",
    tag = "clients",
    params(("id" = Uuid, Path, description = "The program")),
    responses((status = 201, description = "The key", body = api::ClientKeyFile))
)]
pub(super) async fn create_client_key(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Result<Response, Failure> {
    let (key, private) = state.service.create_client_key(&caller, id).await?;
    let file = api::ClientKeyFile::new(&key, private);
    Ok(unstored((StatusCode::CREATED, Json(file)).into_response()))
}

/// Revokes a key of a program: from now on nothing that is signed under it is accepted.
///
/// Tokens that the program got for it before go on until they expire.
#[utoipa::path(
    delete,
    path = "/clients/{id}/keys/{key}",
    tag = "clients",
    params(("id" = Uuid, Path, description = "The program"), ("key" = Uuid, Path, description = "The key")),
    responses((status = 200, description = "The key as it is now", body = api::ClientKey))
)]
pub(super) async fn revoke_client_key(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathIds(client, key): PathIds,
) -> Answer<api::ClientKey> {
    Ok(Json((&state.service.revoke_client_key(&caller, client, key).await?).into()))
}

/// Keys under which access tokens are signed, newest first; only for administrators of the whole tree.
#[utoipa::path(
    get,
    path = "/signing-keys",
    tag = "keys",
    responses((status = 200, description = "A part of the list", body = api::List<api::SigningKey>))
)]
pub(super) async fn signing_keys(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::SigningKey>> {
    let query = SIGNING_KEYS.query(params, Filter::all())?;
    let slice = state.service.signing_keys(&caller, &query).await?;
    map::list(&SIGNING_KEYS, &query, slice, |k| k.into())
}

/// Makes a key that signs from now on; what was signed before is still accepted.
///
/// Only for administrators of the whole tree.
#[utoipa::path(
    post,
    path = "/signing-keys",
    tag = "keys",
    responses((status = 201, description = "The key", body = api::SigningKey))
)]
pub(super) async fn rotate_signing_key(
    State(state): State<ApiState>,
    Asking(caller): Asking,
) -> Result<(StatusCode, Json<api::SigningKey>), Failure> {
    Ok((StatusCode::CREATED, Json((&state.service.rotate_signing_key(&caller).await?).into())))
}

/// Revokes a key: from now on no access token that was signed under it is accepted.
///
/// Only for administrators of the whole tree.
#[utoipa::path(
    delete,
    path = "/signing-keys/{id}",
    tag = "keys",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The key as it is now", body = api::SigningKey))
)]
pub(super) async fn revoke_signing_key(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::SigningKey> {
    Ok(Json((&state.service.revoke_signing_key(&caller, id).await?).into()))
}

/// The public keys with which access tokens can be checked without asking this server.
///
/// Needs no token.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "keys",
    security(()),
    servers((url = "/")),
    responses((status = 200, description = "The keys of all tokens that are still valid", body = api::KeySet))
)]
pub(super) async fn jwks(State(state): State<ApiState>) -> Result<Response, Failure> {
    let keys = state.service.jwks().await?;
    // A key that was revoked must not be taken for good because somebody kept the answer.
    Ok(([(CACHE_CONTROL, "no-cache"), (CONTENT_TYPE, "application/json")], keys.to_string()).into_response())
}

/// The same answer, which holds a secret: nothing on its way may keep it.
pub(super) fn unstored(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
