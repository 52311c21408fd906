//! Channels of notifications as the API shows them.

use std::fmt;

use domain::channel::{Channel, Event, Target};
use domain::{Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::NotificationEventName;

/// Where notifications go.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum NotificationTarget {
    /// An HTTP server that takes messages signed as Standard Webhooks says.
    Webhook {
        /// Its address, `https` or `http`.
        #[schema(example = "https://hooks.example/backstay")]
        url: String,
    },
    /// People's mailboxes.
    Email {
        /// The SMTP server: `smtp://host:port`, where TLS begins with STARTTLS (port 587 by default; a must where there is a
        /// password), or `smtps://host:port` (465).
        #[schema(example = "smtp://mail.example:587")]
        server: String,
        /// Who signs in there, if somebody must.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// With what; never shown. A change without it keeps the one that is there, if server and user stay.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<String>,
        /// The address that messages come from.
        from: String,
        /// The addresses that they go to.
        to: Vec<String>,
    },
}

/// Whoever is told when something happens in a tenant and below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationChannel {
    /// Identity.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant: Uuid,
    /// The name, unique in the tenant.
    pub name: String,
    /// Whether it tells anything.
    pub enabled: bool,
    /// Where messages go.
    pub target: NotificationTarget,
    /// What it tells of.
    #[schema(value_type = Vec<NotificationEventName>)]
    pub events: Vec<Event>,
    /// How long what happens is collected, to be told in one message; absent = each at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "1h")]
    pub digest: Option<String>,
    /// How far it is.
    pub status: ChannelStatus,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change, of how far it is too.
    pub updated_at: Timestamp,
}

/// How far a channel of notifications is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelStatus {
    /// What happened at this time or before is told, or is not to be told.
    pub told_until: Timestamp,
    /// How much that happened is known to wait for being told; 1000 stands for more, too.
    pub waiting: u64,
    /// When a message was delivered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// How often the message that is next was tried in vain.
    #[serde(default)]
    pub tries: u32,
    /// Since when it is tried; absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trying_since: Option<Timestamp>,
    /// When it is tried next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Timestamp>,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<(&Channel, usize)> for NotificationChannel {
    fn from((c, waiting): (&Channel, usize)) -> NotificationChannel {
        let target = match &c.target {
            Target::Webhook { url, .. } => NotificationTarget::Webhook { url: url.clone() },
            Target::Email { server, user, from, to, .. } => NotificationTarget::Email {
                server: server.clone(),
                user: user.clone(),
                password: None,
                from: from.clone(),
                to: to.clone(),
            },
        };
        let sending = c.delivery.sending.as_ref();
        let status = ChannelStatus {
            told_until: c.delivery.told_until,
            waiting: waiting as u64,
            delivered_at: c.delivery.delivered_at,
            tries: sending.map_or(0, |s| s.tries),
            trying_since: sending.map(|s| s.since),
            next_try_at: sending.map(|s| s.next_at),
            error: sending.and_then(|s| s.error.clone()),
        };
        NotificationChannel {
            id: c.id,
            tenant: c.tenant,
            name: c.name.clone(),
            enabled: c.enabled,
            target,
            events: c.events.clone(),
            digest: c.digest.map(|d| format!("{d:#}")),
            status,
            created_at: c.created_at,
            updated_at: c.updated_at,
        }
    }
}

/// A channel of notifications to be made. It tells what happens from then on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNotificationChannel {
    /// The name, unique in the tenant.
    pub name: String,
    /// The tenant in which and below which things happen; the caller's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Uuid>,
    /// Whether it tells anything; it does by default.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Where messages go.
    pub target: NotificationTarget,
    /// What it tells of; everything by default.
    #[serde(default = "all")]
    #[schema(value_type = Vec<NotificationEventName>)]
    pub events: Vec<Event>,
    /// How long what happens is collected, from the first of it on, to be told in one message: from five minutes to a week.
    /// Without it, or with `0s`, each is told at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "1h")]
    pub digest: Option<String>,
}

/// A change of a channel of notifications; what is absent stays.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NotificationChannelChange {
    /// The name, unique in the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it tells anything. What happens while it does not is not told later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Where messages go; the kind stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<NotificationTarget>,
    /// What it tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<NotificationEventName>>)]
    pub events: Option<Vec<Event>>,
    /// How long what happens is collected; `0s` = each is told at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "1h")]
    pub digest: Option<String>,
}

/// A channel whose secret may just have been made. The secret is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationChannelCreated {
    /// The channel.
    pub channel: NotificationChannel,
    /// What the messages of a webhook are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")]
    pub secret: Option<String>,
}

/// How a test message fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotificationTest {
    /// Whether it was delivered.
    pub delivered: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn yes() -> bool {
    true
}

fn all() -> Vec<Event> {
    Event::ALL.to_vec()
}

impl fmt::Debug for NotificationTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            NotificationTarget::Webhook { .. } => "Webhook",
            NotificationTarget::Email { .. } => "Email",
        };
        f.debug_struct(name).finish_non_exhaustive()
    }
}

impl fmt::Debug for NewNotificationChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewNotificationChannel").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for NotificationChannelChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotificationChannelChange").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for NotificationChannelCreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotificationChannelCreated").field("channel", &self.channel).finish_non_exhaustive()
    }
}
