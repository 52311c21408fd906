//! Channels of notifications, as administrators of tenants keep them: where messages go, and of what. How they are told is
//! in `notices`.

use domain::channel::{Channel, Delivery, Event, LONGEST_DIGEST, SHORTEST_DIGEST, Target};
use domain::import::ImportRules;
use domain::query::{Query, RecordField, Slice};
use domain::record::RecordKind;
use domain::repository::check_secret;
use domain::tenant::check_name;
use domain::{Caller, Error, Result, Right, SignedDuration, Uuid};
use ledger::Write;
use lettre::Address;
use url::Url;

use super::Service;
use super::imports::internal;
use super::notices::new_secret;

/// The longest address.
const LONGEST_URL: usize = 2000;
/// The most mailboxes of a channel.
const MOST_MAILBOXES: usize = 50;

/// Where messages are to go, with the secrets in the clear.
#[derive(Clone, PartialEq, Eq)]
pub enum NewTarget {
    /// An HTTP server that takes signed messages.
    Webhook {
        /// Its address.
        url: String,
    },
    /// People's mailboxes.
    Email {
        /// The SMTP server: `smtp://host:port` or `smtps://host:port`.
        server: String,
        /// Who signs in there.
        user: Option<String>,
        /// With what.
        password: Option<String>,
        /// The address that messages come from.
        from: String,
        /// The addresses that they go to.
        to: Vec<String>,
    },
}

/// A channel that is asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct NewChannel {
    /// The tenant in which and below which things happen; the caller's own by default.
    pub tenant: Option<Uuid>,
    /// The name, unique in the tenant.
    pub name: String,
    /// Whether it tells anything.
    pub enabled: bool,
    /// Where messages go.
    pub target: NewTarget,
    /// What it tells of.
    pub events: Vec<Event>,
    /// How long what happens is collected; zero or none = not at all.
    pub digest: Option<SignedDuration>,
}

/// A change of a channel; what is absent stays.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChannelChange {
    /// The name.
    pub name: Option<String>,
    /// Whether it tells anything. What happens while it does not is not told later.
    pub enabled: Option<bool>,
    /// Where messages go, of the same kind. Without a password, the one that is there stays if server and user do.
    pub target: Option<NewTarget>,
    /// What it tells of.
    pub events: Option<Vec<Event>>,
    /// How long what happens is collected; zero = not at all.
    pub digest: Option<SignedDuration>,
}

/// A channel, and what waits.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelView {
    /// The channel.
    pub channel: Channel,
    /// How much that happened is known to wait for being told; a thousand stands for more, too.
    pub waiting: usize,
}

impl Service {
    /// Channels that match.
    ///
    /// # Errors
    /// `forbidden` below admin, and those of the ledger.
    pub async fn channels(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<ChannelView>> {
        let slice = self.ledger.list::<Channel>(caller.may(Right::Administer)?, query).await?;
        Ok(slice.map(|s| self.channel_view(s.value)))
    }

    /// One channel.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`.
    pub async fn channel(&self, caller: &Caller, id: Uuid) -> Result<ChannelView> {
        Ok(self.channel_view(self.ledger.get::<Channel>(caller.may(Right::Administer)?, id).await?.value))
    }

    /// Makes a channel. It tells what happens from now on. For a webhook, what its messages are signed with comes along,
    /// this once.
    ///
    /// # Errors
    /// `forbidden` below admin, `invalid_field`, `missing_field`, `not_found` for the tenant, `already_exists` for the name.
    pub async fn create_channel(&self, caller: &Caller, new: NewChannel) -> Result<(ChannelView, Option<String>)> {
        let scope = caller.may(Right::Administer)?;
        let NewChannel { tenant, name, enabled, target, events, digest } = new;
        check_name("name", &name)?;
        check_target(&target, self.notices.rules()).await?;
        let (events, digest) = (checked_events(events)?, digest.map(checked_digest).transpose()?.flatten());
        let tenant = self.owner(scope, tenant).await?;
        let secret = matches!(target, NewTarget::Webhook { .. }).then(new_secret);
        let target = match target {
            NewTarget::Webhook { url } => {
                Target::Webhook { url, sealed_secret: self.seal(secret.as_deref().unwrap_or_default())? }
            }
            NewTarget::Email { server, user, password, from, to } => {
                check_sign_in(user.as_deref(), password.is_some())?;
                let sealed_password = password.map(|p| self.seal(&p)).transpose()?;
                Target::Email { server, user, sealed_password, from, to }
            }
        };
        let now = self.moment().now;
        let channel = Channel {
            id: Uuid::now_v7(),
            tenant: tenant.id,
            name,
            enabled,
            target,
            events,
            digest,
            delivery: Delivery::from(self.head().borrow().horizon),
            created_at: now,
            updated_at: now,
        };
        Ok((self.channel_view(self.create(caller, scope, channel).await?), secret))
    }

    /// Changes a channel. A message that could not be delivered is tried anew.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`, `invalid_field`, `missing_field`, `already_exists` for the name.
    pub async fn change_channel(&self, caller: &Caller, id: Uuid, change: ChannelChange) -> Result<ChannelView> {
        let scope = caller.may(Right::Administer)?;
        let ChannelChange { name, enabled, target, events, digest } = change;
        if let Some(name) = &name {
            check_name("name", name)?;
        }
        let mut sealed = None;
        if let Some(target) = &target {
            check_target(target, self.notices.rules()).await?;
            if let NewTarget::Email { password: Some(password), .. } = target {
                sealed = Some(self.seal(password)?);
            }
        }
        let events = events.map(checked_events).transpose()?;
        let digest = digest.map(checked_digest).transpose()?;
        let (horizon, now) = (self.head().borrow().horizon, self.moment().now);
        let anew = enabled.is_some() || target.is_some() || events.is_some() || digest.is_some();
        let edit = |channel: &mut Channel| {
            let delivery = &mut channel.delivery;
            if enabled == Some(true) && !channel.enabled {
                delivery.told_until = delivery.told_until.max(horizon);
            } else if events.is_some() && delivery.sending.is_none() {
                // What is wished now is not told of what was passed by before.
                let quiet = self.notices.quiet_until(channel.id);
                delivery.told_until = quiet.map_or(delivery.told_until, |looked| delivery.told_until.max(looked));
            }
            if anew {
                // Another message, or to somebody else: not the same as the one that was tried.
                delivery.sending = None;
            } else if let Some(sending) = &mut delivery.sending {
                sending.next_at = sending.next_at.min(now);
            }
            channel.name = name.clone().unwrap_or_else(|| channel.name.clone());
            channel.enabled = enabled.unwrap_or(channel.enabled);
            channel.events = events.clone().unwrap_or_else(|| channel.events.clone());
            channel.digest = digest.unwrap_or(channel.digest);
            if let Some(target) = &target {
                channel.target = changed_target(&channel.target, target, sealed.clone())?;
            }
            Ok(())
        };
        let channel = self.edit(caller, "change", scope, id, edit).await?;
        self.notices.wake();
        Ok(self.channel_view(channel))
    }

    /// Gives a webhook another secret, which all messages are signed with from now on.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`, `invalid_field` for a channel that has none.
    pub async fn rotate_channel_secret(&self, caller: &Caller, id: Uuid) -> Result<(ChannelView, String)> {
        let scope = caller.may(Right::Administer)?;
        let secret = new_secret();
        let sealed = self.seal(&secret)?;
        let edit = |channel: &mut Channel| match &mut channel.target {
            Target::Webhook { sealed_secret, .. } => {
                sealed_secret.clone_from(&sealed);
                Ok(())
            }
            Target::Email { .. } => Err(Error::invalid("kind", "only messages to webhooks are signed with a secret")
                .hint("the password of an SMTP server is changed with the target")),
        };
        let channel = self.edit(caller, "rotate_secret", scope, id, edit).await?;
        Ok((self.channel_view(channel), secret))
    }

    /// Removes a channel; what waits is told nobody.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`.
    pub async fn remove_channel(&self, caller: &Caller, id: Uuid) -> Result<()> {
        let scope = caller.may(Right::Administer)?;
        let channel = self.ledger.get::<Channel>(scope, id).await?.value;
        let entry = self.audit(caller, "delete", &channel.into());
        self.ledger.commit(scope, self.moment(), vec![Write::Remove(RecordKind::Channel, id), entry]).await?;
        Ok(())
    }

    /// Sends a message that says that it is a test, whether the channel is enabled or not; the words of the failure if it
    /// was not delivered.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`, and those of the ledger.
    pub async fn test_channel(&self, caller: &Caller, id: Uuid) -> Result<std::result::Result<(), String>> {
        let scope = caller.may(Right::Administer)?;
        let channel = self.ledger.get::<Channel>(scope, id).await?.value;
        let entry = self.audit(caller, "test", &channel.clone().into());
        self.ledger.commit(scope, self.moment(), vec![entry]).await?;
        self.tell_test(&channel).await
    }

    fn channel_view(&self, channel: Channel) -> ChannelView {
        ChannelView { waiting: self.notices.waiting(&channel), channel }
    }
}

/// The target that a channel has after a change.
fn changed_target(now: &Target, wanted: &NewTarget, sealed: Option<String>) -> Result<Target> {
    match (now, wanted) {
        (Target::Webhook { sealed_secret, .. }, NewTarget::Webhook { url }) => {
            Ok(Target::Webhook { url: url.clone(), sealed_secret: sealed_secret.clone() })
        }
        (
            Target::Email { server: old_server, user: old_user, sealed_password, .. },
            NewTarget::Email { server, user, from, to, .. },
        ) => {
            let kept = sealed_password.clone().filter(|_| old_server == server && old_user == user);
            let sealed_password = sealed.or(kept);
            // A password is shown to no other server than the one it was given for.
            check_sign_in(user.as_deref(), sealed_password.is_some())?;
            let (server, user, from, to) = (server.clone(), user.clone(), from.clone(), to.clone());
            Ok(Target::Email { server, user, sealed_password, from, to })
        }
        _ => Err(Error::invalid("target.kind", "the kind of a channel does not change").hint("make another channel")),
    }
}

fn checked_events(mut events: Vec<Event>) -> Result<Vec<Event>> {
    if events.is_empty() {
        return Err(Error::invalid("events", "'events' is empty; the channel would tell nothing")
            .hint(format!("some of {}; `enabled` turns a channel off", Event::NAMES.join(", "))));
    }
    events.sort_unstable();
    events.dedup();
    Ok(events)
}

fn checked_digest(digest: SignedDuration) -> Result<Option<SignedDuration>> {
    if digest.is_zero() {
        return Ok(None);
    }
    if (SHORTEST_DIGEST..=LONGEST_DIGEST).contains(&digest) {
        return Ok(Some(digest));
    }
    let message = format!("'digest' must be from {SHORTEST_DIGEST:#} to {LONGEST_DIGEST:#}, or 0s for each at once");
    Err(Error::invalid("digest", message))
}

fn check_sign_in(user: Option<&str>, password: bool) -> Result<()> {
    match (user, password) {
        (Some(_), true) | (None, false) => Ok(()),
        (Some(_), false) => Err(Error::missing("target.password")
            .hint("a user signs in with a password; it is given again when the server or the user changes")),
        (None, true) => Err(Error::missing("target.user").hint("a password needs a user")),
    }
}

async fn check_target(target: &NewTarget, rules: &ImportRules) -> Result<()> {
    match target {
        NewTarget::Webhook { url } => {
            let example = "an address like https://hooks.example/backstay";
            check_address("target.url", url, &["https", "http"], example, rules).await.map(drop)
        }
        NewTarget::Email { server, user, password, from, to } => {
            let example = "a server like smtp://mail.example:587 or smtps://mail.example";
            let url = check_address("target.server", server, &["smtp", "smtps"], example, rules).await?;
            if !matches!(url.path(), "" | "/") || url.query().is_some() {
                return Err(
                    Error::invalid("target.server", "'target.server' has more than a host and a port").hint(example)
                );
            }
            for (field, secret) in [("target.user", user), ("target.password", password)] {
                if let Some(secret) = secret {
                    check_secret(field, secret)?;
                }
            }
            if to.is_empty() || to.len() > MOST_MAILBOXES {
                let message = format!("'target.to' must have from 1 to {MOST_MAILBOXES} addresses");
                return Err(Error::invalid("target.to", message));
            }
            for (field, mailbox) in [("target.from", from)].into_iter().chain(to.iter().map(|to| ("target.to", to))) {
                let valid = mailbox.parse::<Address>();
                valid.map_err(|e| Error::invalid(field, format!("'{mailbox}' is no e-mail address: {e}")))?;
            }
            Ok(())
        }
    }
}

/// The URL in a text, if it has one of these schemes and leads to where messages may go. It is asked again when a message
/// is delivered; here it is so that whoever gives it learns of it.
async fn check_address(field: &str, text: &str, schemes: &[&str], example: &str, rules: &ImportRules) -> Result<Url> {
    let wrong = |message: String| Error::invalid(field, message).hint(example.to_owned());
    if text.len() > LONGEST_URL {
        return Err(wrong(format!("'{field}' is longer than {LONGEST_URL} bytes")));
    }
    let url = Url::parse(text).map_err(|e| wrong(format!("'{field}' is no address: {e}")))?;
    if !schemes.contains(&url.scheme()) {
        return Err(wrong(format!("'{field}' must begin with {}://", schemes.join(":// or "))));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong(format!("'{field}' names no host")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(format!("'{field}' has a name or a password in it")));
    }
    if let Some(is) = internal(&url, rules).await {
        let message = format!("'{field}' leads to where notifications may not go: {is}");
        return Err(Error::invalid(field, message).hint("the operator can allow networks with --notify-network"));
    }
    Ok(url)
}
