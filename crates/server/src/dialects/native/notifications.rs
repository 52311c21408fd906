//! Channels of notifications: who is told when something fails, is missed, or goes well again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::query::Filter;
use domain::{Error, SignedDuration};

use super::auth::Asking;
use super::error::Failure;
use super::extract::{Body, Params, PathId};
use super::identity::unstored;
use super::lists::CHANNELS;
use super::{Answer, ApiState, created, map};
use crate::service::{ChannelChange, ChannelView, NewChannel, NewTarget};

/// The path of the list.
const LIST: &str = "notification-channels";

/// Channels that match, and how far each is.
#[utoipa::path(
    get,
    path = "/notification-channels",
    tag = "notifications",
    responses((status = 200, description = "A part of the list", body = api::List<api::NotificationChannel>))
)]
pub(super) async fn notification_channels(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    params: Params,
) -> Answer<api::List<api::NotificationChannel>> {
    let query = CHANNELS.query(params, Filter::all())?;
    let slice = state.service.channels(&caller, &query).await?;
    map::list(&CHANNELS, &query, slice, shown)
}

/// One channel, and how far it is.
#[utoipa::path(
    get,
    path = "/notification-channels/{id}",
    tag = "notifications",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The channel", body = api::NotificationChannel))
)]
pub(super) async fn notification_channel(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::NotificationChannel> {
    Ok(Json(shown(&state.service.channel(&caller, id).await?)))
}

/// Makes a channel.
///
/// It tells what happens from now on. The secret that a webhook's messages are signed with is in this answer and nowhere
/// else.
#[utoipa::path(
    post,
    path = "/notification-channels",
    tag = "notifications",
    request_body = api::NewNotificationChannel,
    responses(
        (status = 201, description = "The channel, with its place in `Location`", body = api::NotificationChannelCreated)
    )
)]
pub(super) async fn create_notification_channel(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    Body(body): Body<api::NewNotificationChannel>,
) -> Result<Response, Failure> {
    let api::NewNotificationChannel { name, tenant, enabled, target, events, digest } = body;
    let digest = digest.as_deref().map(duration).transpose()?;
    let new = NewChannel { tenant, name, enabled, target: wanted(target), events, digest };
    let (view, secret) = state.service.create_channel(&caller, new).await?;
    let body = api::NotificationChannelCreated { channel: shown(&view), secret };
    Ok(unstored(created(LIST, view.channel.id, body)))
}

/// Changes a channel.
///
/// A message that could not be delivered is tried again at once.
#[utoipa::path(
    patch,
    path = "/notification-channels/{id}",
    tag = "notifications",
    params(("id" = Uuid, Path, description = "The id")),
    request_body = api::NotificationChannelChange,
    responses((status = 200, description = "The channel as it is now", body = api::NotificationChannel))
)]
pub(super) async fn change_notification_channel(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
    Body(body): Body<api::NotificationChannelChange>,
) -> Answer<api::NotificationChannel> {
    let api::NotificationChannelChange { name, enabled, target, events, digest } = body;
    let digest = digest.as_deref().map(duration).transpose()?;
    let change = ChannelChange { name, enabled, target: target.map(wanted), events, digest };
    Ok(Json(shown(&state.service.change_channel(&caller, id, change).await?)))
}

/// Removes a channel.
///
/// What waits to be told is told nobody.
#[utoipa::path(
    delete,
    path = "/notification-channels/{id}",
    tag = "notifications",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 204, description = "It is gone"))
)]
pub(super) async fn remove_notification_channel(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Result<StatusCode, Failure> {
    state.service.remove_channel(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a webhook another secret, in place of the one it had.
///
/// The secret is in this answer and nowhere else. Everything is signed with it from now on.
#[utoipa::path(
    post,
    path = "/notification-channels/{id}/secret",
    tag = "notifications",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "The channel with its new secret", body = api::NotificationChannelCreated))
)]
pub(super) async fn rotate_notification_secret(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Result<Response, Failure> {
    let (view, secret) = state.service.rotate_channel_secret(&caller, id).await?;
    let body = api::NotificationChannelCreated { channel: shown(&view), secret: Some(secret) };
    Ok(unstored(Json(body).into_response()))
}

/// Sends a message that says that it is a test, at once.
///
/// The answer says whether it was delivered, and why not. A channel that is not enabled is tested, too.
#[utoipa::path(
    post,
    path = "/notification-channels/{id}/test",
    tag = "notifications",
    params(("id" = Uuid, Path, description = "The id")),
    responses((status = 200, description = "How it fared", body = api::NotificationTest))
)]
pub(super) async fn test_notification_channel(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    PathId(id): PathId,
) -> Answer<api::NotificationTest> {
    let error = state.service.test_channel(&caller, id).await?.err();
    Ok(Json(api::NotificationTest { delivered: error.is_none(), error }))
}

fn shown(view: &ChannelView) -> api::NotificationChannel {
    (&view.channel, view.waiting).into()
}

fn wanted(target: api::NotificationTarget) -> NewTarget {
    match target {
        api::NotificationTarget::Webhook { url } => NewTarget::Webhook { url },
        api::NotificationTarget::Email { server, user, password, from, to } => {
            NewTarget::Email { server, user, password, from, to }
        }
    }
}

fn duration(text: &str) -> Result<SignedDuration, Error> {
    text.parse().map_err(|_| Error::invalid("digest", "'digest' is no duration").hint("like 30m, 1h or 24h"))
}
