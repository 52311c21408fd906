//! Channels of notifications: who is told when something fails, is missed, or goes well again, and how far the telling is.

use serde::{Deserialize, Serialize};

use crate::task::{NotRun, ResultCode, SCHEDULER_DOMAIN, TaskResult};
use crate::{SignedDuration, Timestamp, Uuid, named_enum};

/// The shortest time for which what happens can be collected.
pub const SHORTEST_DIGEST: SignedDuration = SignedDuration::from_mins(5);
/// The longest.
pub const LONGEST_DIGEST: SignedDuration = SignedDuration::from_hours(7 * 24);
/// From this many on, what waits is told in one message even where each is to be told at once: after a long outage nobody
/// reads thousands.
pub const FLOOD: usize = 20;
/// The pause after the first try that fails; each further one is twice as long.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(15);
/// The longest pause between tries.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);

named_enum! {
    /// What a channel can tell of.
    Event {
        /// A task ended with an error, was abandoned, or ran out of time. What people cancel is none.
        Failure = "failure",
        /// A scheduled run did not happen.
        Missed = "missed",
        /// A task went well after the one before of the same kind, policy and resource had failed or was missed.
        Recovery = "recovery",
    }
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// An HTTP server that takes signed messages (Standard Webhooks).
    Webhook {
        /// Its address.
        url: String,
        /// What messages are signed with, `whsec_` and base64, encrypted under the server's key file.
        sealed_secret: String,
    },
    /// People's mailboxes.
    Email {
        /// The SMTP server: `smtp://host:port` (TLS by STARTTLS) or `smtps://host:port`.
        server: String,
        /// Who signs in there, if somebody must.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// With what, encrypted under the server's key file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sealed_password: Option<String>,
        /// The address that messages come from.
        from: String,
        /// The addresses that they go to.
        to: Vec<String>,
    },
}

impl Target {
    /// The kind in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Webhook { .. } => "webhook",
            Target::Email { .. } => "email",
        }
    }
}

/// A message that is not delivered yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// The message's identity, the same for every try.
    pub id: Uuid,
    /// It tells of everything after what was told, to what happened at this time.
    pub until: Timestamp,
    /// Since when it is being tried.
    pub since: Timestamp,
    /// How many tries have failed.
    pub tries: u32,
    /// Not to be tried before.
    pub next_at: Timestamp,
    /// Why the last try failed, in words without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far the telling is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// What happened at this time or before is told, or is not to be told: a stamp of the ledger.
    pub told_until: Timestamp,
    /// The message that is next; written down before it is first tried, so that it is the same one after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending: Option<Sending>,
    /// When a message was delivered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
}

impl Delivery {
    /// Nothing up to this stamp is to be told.
    #[must_use]
    pub fn from(told_until: Timestamp) -> Delivery {
        Delivery { told_until, sending: None, delivered_at: None }
    }

    /// The message of this id was delivered; whether that is news.
    pub fn delivered(&mut self, id: Uuid, now: Timestamp) -> bool {
        let Some(sending) = self.sending.take_if(|s| s.id == id) else { return false };
        self.told_until = self.told_until.max(sending.until);
        self.delivered_at = Some(now);
        true
    }

    /// A try of the message of this id failed.
    pub fn failed(&mut self, id: Uuid, error: String, now: Timestamp) {
        if let Some(sending) = self.sending.as_mut().filter(|s| s.id == id) {
            sending.tries = sending.tries.saturating_add(1);
            sending.error = Some(error);
            sending.next_at = now.saturating_add(pause(sending.tries)).unwrap_or(Timestamp::MAX);
        }
    }
}

/// How long to wait after so many tries that failed.
#[must_use]
pub fn pause(tries: u32) -> SignedDuration {
    let doubled = 1i32.checked_shl(tries.saturating_sub(1)).filter(|factor| *factor > 0);
    doubled.and_then(|factor| FIRST_PAUSE.checked_mul(factor)).unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

/// Whoever is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Identity.
    pub id: Uuid,
    /// The tenant it belongs to: what happens in it and below is told.
    pub tenant: Uuid,
    /// The name, unique in the tenant.
    pub name: String,
    /// Whether it tells anything.
    pub enabled: bool,
    /// Where messages go.
    pub target: Target,
    /// What it tells of.
    pub events: Vec<Event>,
    /// How long what happens is collected, from the first of it on, to be told in one message; none = each at once.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "crate::friendly_duration")]
    pub digest: Option<SignedDuration>,
    /// How far it is.
    pub delivery: Delivery,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change, of how far it is too.
    pub updated_at: Timestamp,
}

impl Channel {
    /// Whether it tells of this.
    #[must_use]
    pub fn tells(&self, event: Event) -> bool {
        self.enabled && self.events.contains(&event)
    }

    /// Up to when what waits - the times at which it happened, the oldest first - is to be told in one message, if it is
    /// time.
    #[must_use]
    pub fn due(&self, waiting: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
        let (first, last) = (*waiting.first()?, *waiting.last()?);
        match self.digest {
            Some(digest) => first.checked_add(digest).is_ok_and(|due| due <= now).then_some(last),
            None if waiting.len() > FLOOD => Some(last),
            None => Some(first),
        }
    }
}

/// What an end of a task means, as far as it can be told from the result alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It failed.
    Failed,
    /// It is a run that did not happen.
    Missed,
    /// It went well, which is news only where the one before had not.
    Good,
    /// Nobody needs to know.
    Nothing,
}

impl Meaning {
    /// What this result means.
    #[must_use]
    pub fn of(result: &TaskResult) -> Meaning {
        let missed = |e: &crate::task::TaskError| e.domain == SCHEDULER_DOMAIN && e.code == NotRun::Missed.name();
        match result.code {
            ResultCode::Ok | ResultCode::Warning => Meaning::Good,
            ResultCode::Cancelled => Meaning::Nothing,
            _ if result.error.as_ref().is_some_and(missed) => Meaning::Missed,
            ResultCode::Error | ResultCode::Abandoned | ResultCode::TimedOut => Meaning::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time")
    }

    fn channel(digest: Option<SignedDuration>) -> Channel {
        Channel {
            id: Uuid::nil(),
            tenant: Uuid::nil(),
            name: "ops".into(),
            enabled: true,
            target: Target::Webhook { url: "https://example.com".into(), sealed_secret: "x".into() },
            events: vec![Event::Failure],
            digest,
            delivery: Delivery::from(at(0)),
            created_at: at(0),
            updated_at: at(0),
        }
    }

    #[test]
    fn pauses_grow_to_an_hour() {
        let pauses: Vec<_> = [1, 2, 3, 8, 9, 40, u32::MAX].into_iter().map(|n| pause(n).as_secs()).collect();
        assert_eq!(pauses, [15, 30, 60, 1920, 3600, 3600, 3600]);
    }

    #[test]
    fn what_waits_is_told_one_by_one_in_a_flood_at_once_and_in_a_digest_when_it_is_time() {
        let some: Vec<_> = (1..=FLOOD as i64).map(at).collect();
        let flood: Vec<_> = (1..=FLOOD as i64 + 1).map(at).collect();
        let plain = channel(None);
        assert_eq!(plain.due(&[], at(100)), None);
        assert_eq!(plain.due(&some, at(100)), Some(at(1)));
        assert_eq!(plain.due(&flood, at(100)), Some(at(21)));
        let hourly = channel(Some(SignedDuration::from_hours(1)));
        assert_eq!(hourly.due(&flood, at(3600)), None);
        assert_eq!(hourly.due(&flood, at(3601)), Some(at(21)));
    }

    #[test]
    fn only_the_message_that_is_next_moves_the_place() {
        let sending =
            Sending { id: Uuid::from_u128(1), until: at(9), since: at(10), tries: 0, next_at: at(10), error: None };
        let mut delivery = Delivery { sending: Some(sending), ..Delivery::from(at(5)) };
        assert!(!delivery.delivered(Uuid::from_u128(2), at(11)));
        delivery.failed(Uuid::from_u128(1), "no".into(), at(11));
        let tried = delivery.sending.clone().expect("it goes on");
        assert_eq!((tried.tries, tried.next_at, tried.error.as_deref()), (1, at(26), Some("no")));
        assert!(delivery.delivered(Uuid::from_u128(1), at(30)));
        assert_eq!(delivery, Delivery { delivered_at: Some(at(30)), ..Delivery::from(at(9)) });
    }

    #[test]
    fn a_channel_is_read_as_it_was_written() {
        let channel = channel(Some(SignedDuration::from_hours(24)));
        let text = serde_json::to_string(&channel).expect("JSON");
        assert_eq!(serde_json::from_str::<Channel>(&text).expect("the same"), channel);
    }
}
