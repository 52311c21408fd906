//! Telling what happened: each channel follows the ends of tasks in its tenant and below by their stamps, which strictly
//! increase, and is told what is news.
//!
//! What is durable is how far the telling is (`domain::channel::Delivery`): the stamp up to which everything was told, moved
//! only after a message was delivered, and the message that is next, written down before it is first tried. So nothing is
//! lost and a message that comes twice comes under the same id. What waits is kept in memory (`Tail`) and found anew after
//! a start.

mod message;
mod send;

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::channel::{Channel, Event, Meaning, Sending};
use domain::import::ImportRules;
use domain::query::{Direction, Filter, Order, Page, Pattern, Query, TaskField, Test, Value};
use domain::task::{ResultCode, Task, TaskId};
use domain::{Caller, Code, Result, Scope, SignedDuration, Timestamp, Uuid, if_found};
use ledger::{IndexProgress, Stored};
use tokio::sync::Notify;

use super::Service;
pub(super) use send::new_secret;

/// How much of what happened is kept for a channel at most; the rest is found when that is told.
const MOST_KEPT: usize = 1000;
/// How many ends of tasks are looked at for a channel in one go.
const MOST_LOOKED_AT: usize = 2000;
/// How many are asked for at once.
const PART: u32 = 500;
/// How far the stamp up to which there is nothing to tell may be ahead of the one that is written down: what a start looks
/// at again.
const UNWRITTEN: SignedDuration = SignedDuration::from_hours(1);

/// Results that mean that something did not happen as it should.
const BAD: [ResultCode; 3] = [ResultCode::Error, ResultCode::Abandoned, ResultCode::TimedOut];
/// Results that mean that all is well.
const GOOD: [ResultCode; 2] = [ResultCode::Ok, ResultCode::Warning];

/// What is known of what waits to be told.
#[derive(Default)]
pub(super) struct Notices {
    tails: Mutex<HashMap<Uuid, Tail>>,
    /// Tenants in which tasks ended since somebody asked.
    heard: Mutex<HashSet<Uuid>>,
    news: Notify,
    sender: send::Sender,
}

/// Something that is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// The stamp of the end.
    at: Timestamp,
    task: TaskId,
    event: Event,
}

/// What waits to be told to a channel.
#[derive(Debug, Clone)]
struct Tail {
    /// The stamp from which on it was looked for; the channel had told everything up to there.
    since: Timestamp,
    /// What was looked for.
    events: Vec<Event>,
    /// The stamp up to which everything is found.
    looked: Timestamp,
    /// What was found, the oldest first.
    found: Vec<Found>,
}

impl Tail {
    /// What is still known for this channel of what was found for it.
    fn carried_on(tail: Option<Tail>, channel: &Channel) -> Tail {
        let told = channel.delivery.told_until;
        match tail {
            Some(mut tail) if tail.since <= told && told <= tail.looked && tail.events == channel.events => {
                tail.since = told;
                tail.found.retain(|found| found.at > told);
                tail
            }
            _ => Tail { since: told, events: channel.events.clone(), looked: told, found: Vec::new() },
        }
    }
}

impl Notices {
    /// Delivers to what these rules admit.
    pub(super) fn within(rules: ImportRules) -> Notices {
        Notices { sender: send::Sender::within(rules), ..Notices::default() }
    }

    pub(super) fn rules(&self) -> &ImportRules {
        self.sender.rules()
    }

    /// A task ended in this tenant.
    pub(super) fn hear(&self, tenant: Uuid) {
        locked(&self.heard).insert(tenant);
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.news.notify_one();
    }

    /// How much is known to wait for this channel.
    pub(super) fn waiting(&self, channel: &Channel) -> usize {
        let told = channel.delivery.told_until;
        let waits = |tail: &Tail| tail.found.iter().filter(|f| channel.enabled && f.at > told).count();
        locked(&self.tails).get(&channel.id).map_or(0, waits)
    }

    /// Up to when it is known that nothing waits for this channel.
    pub(super) fn quiet_until(&self, channel: Uuid) -> Option<Timestamp> {
        locked(&self.tails).get(&channel).filter(|tail| tail.found.is_empty()).map(|tail| tail.looked)
    }

    fn tail(&self, channel: &Channel) -> Tail {
        Tail::carried_on(locked(&self.tails).get(&channel.id).cloned(), channel)
    }

    fn keep(&self, channel: Uuid, tail: Tail) {
        locked(&self.tails).insert(channel, tail);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Waits until something happened that may have to be told.
    pub(crate) async fn news(&self) {
        self.notices.news.notified().await;
    }

    /// Looks for what is to be told, and gives the channels to which a message is to be delivered now. Those that are busy
    /// are left as they are. Without `all`, only channels are looked at in whose tenants a task was heard to end.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(crate) async fn look_for_news(&self, all: bool, busy: &HashSet<Uuid>) -> Result<Vec<Uuid>> {
        if !matches!(self.ledger.index_progress(), IndexProgress::Ready) {
            return Ok(Vec::new());
        }
        let everything = Scope::everything();
        let heard = std::mem::take(&mut *locked(&self.notices.heard));
        let channels = self.ledger.all::<Channel>(&everything, Filter::all()).await?;
        let ids: HashSet<Uuid> = channels.iter().map(|c| c.value.id).collect();
        locked(&self.notices.tails).retain(|id, _| ids.contains(id));
        let wanted = channels.iter().map(|c| c.value.tenant).chain(heard.iter().copied());
        let tenants = self.tenants_by_id(&Caller::server(), wanted).await?;
        let mut due = Vec::new();
        for Stored { value: channel, .. } in channels.into_iter().filter(|c| c.value.enabled) {
            let Some(tenant) = tenants.get(&channel.tenant).filter(|_| !busy.contains(&channel.id)) else {
                // What was heard while a message is delivered is looked for after that.
                locked(&self.notices.heard).insert(channel.tenant);
                continue;
            };
            let scope = Scope::subtree(tenant);
            let ended = |id: &Uuid| tenants.get(id).is_some_and(|t| scope.contains(&t.locator));
            let known = locked(&self.notices.tails).contains_key(&channel.id);
            if (all || !known || heard.iter().any(ended)) && !self.look_for(&channel, &scope).await? {
                // There is more: the next turn goes on.
                locked(&self.notices.heard).insert(channel.tenant);
            }
            let tail = self.notices.tail(&channel);
            let ready = match &channel.delivery.sending {
                Some(sending) => sending.next_at <= self.moment().now && sending.until <= tail.looked,
                None => channel.due(&tail.found.iter().map(|f| f.at).collect::<Vec<_>>(), self.moment().now).is_some(),
            };
            if ready {
                due.push(channel.id);
            }
        }
        Ok(due)
    }

    /// Looks for what a channel is to be told, up to what can be seen now; whether that was reached.
    async fn look_for(&self, channel: &Channel, scope: &Scope) -> Result<bool> {
        let horizon = self.head().borrow().horizon;
        let mut tail = self.notices.tail(channel);
        let results = [
            (&BAD[..], channel.tells(Event::Failure) || channel.tells(Event::Missed)),
            (&GOOD[..], channel.tells(Event::Recovery)),
        ];
        let results = results.iter().filter(|(_, wanted)| *wanted).flat_map(|(codes, _)| codes.iter());
        let results: Vec<Pattern> = results.map(|code| Pattern::Is(Value::Enum(code.ordinal()))).collect();
        let mut looked_at = 0;
        while tail.looked < horizon && tail.found.len() < MOST_KEPT && looked_at < MOST_LOOKED_AT {
            let ended = Test::Range {
                from: Bound::Excluded(Value::Time(tail.looked)),
                to: Bound::Included(Value::Time(horizon)),
            };
            let filter = Filter::all()
                .and(TaskField::Result, Test::AnyOf(results.clone()))?
                .and(TaskField::CompletedAt, ended)?;
            let order = Order::by(vec![(TaskField::CompletedAt, Direction::Asc)])?;
            let query = Query { filter, order, page: Page::first(PART), total: false };
            let slice = self.ledger.tasks(scope, &query).await?;
            looked_at += slice.items.len();
            let more = slice.next.is_some();
            for task in slice.items {
                let Some(at) = task.completed_at() else { continue };
                if let Some(event) = self.news_of(channel, &task).await? {
                    tail.found.push(Found { at, task: task.id, event });
                }
                tail.looked = at;
                if tail.found.len() >= MOST_KEPT {
                    break;
                }
            }
            if !more && tail.found.len() < MOST_KEPT {
                tail.looked = horizon;
            }
        }
        let (looked, nothing) = (tail.looked, tail.found.is_empty() && channel.delivery.sending.is_none());
        self.notices.keep(channel.id, tail);
        if nothing && looked.duration_since(channel.delivery.told_until) > UNWRITTEN {
            let everything = Scope::everything();
            let note = self.note::<Channel>(&everything, channel.id, |now| {
                // Whoever wishes something else by now has another look at it.
                if now.enabled && now.events == channel.events {
                    now.delivery.told_until = now.delivery.told_until.max(looked);
                }
                Ok(())
            });
            if_found(note.await)?;
        }
        Ok(looked >= horizon)
    }

    /// What an end of a task is to this channel.
    async fn news_of(&self, channel: &Channel, task: &Task) -> Result<Option<Event>> {
        let event = match task.result().map(Meaning::of) {
            Some(Meaning::Failed) => Event::Failure,
            Some(Meaning::Missed) => Event::Missed,
            Some(Meaning::Good) if channel.tells(Event::Recovery) && self.had_failed(task).await? => Event::Recovery,
            _ => return Ok(None),
        };
        Ok(Some(event).filter(|event| channel.tells(*event)))
    }

    /// Whether the task of the same kind, policy and resource that ended before this one had failed or was missed.
    async fn had_failed(&self, task: &Task) -> Result<bool> {
        let (Some(policy), Some(resource), Some(at)) = (&task.spec.policy, &task.spec.resource, task.completed_at())
        else {
            return Ok(false);
        };
        let results = BAD.iter().chain(&GOOD).map(|code| Pattern::Is(Value::Enum(code.ordinal()))).collect();
        let before = Test::Range { from: Bound::Unbounded, to: Bound::Excluded(Value::Time(at)) };
        let filter = Filter::all()
            .is(TaskField::ResourceId, Value::Text(resource.id.to_string()))?
            .is(TaskField::PolicyId, Value::Text(policy.id.to_string()))?
            .is(TaskField::Type, Value::Text(task.spec.kind.to_string()))?
            .is(TaskField::Tenant, Value::Uuid(task.spec.tenant))?
            .and(TaskField::Result, Test::AnyOf(results))?
            .and(TaskField::CompletedAt, before)?;
        let order = Order::by(vec![(TaskField::CompletedAt, Direction::Desc)])?;
        let query = Query { filter, order, page: Page::first(1), total: false };
        let former = self.ledger.tasks(&Scope::everything(), &query).await?.items;
        let meaning = former.first().and_then(|t| t.result()).map(Meaning::of);
        Ok(matches!(meaning, Some(Meaning::Failed | Meaning::Missed)))
    }

    /// Delivers to a channel what is due, message by message, until nothing is or a try fails.
    ///
    /// # Errors
    /// Those of the ledger; a message that cannot be delivered is none.
    pub(crate) async fn tell_channel(&self, channel: Uuid) -> Result<()> {
        while self.tell_next(channel).await? {}
        Ok(())
    }

    /// One try of the message that is next; whether it was delivered.
    async fn tell_next(&self, id: Uuid) -> Result<bool> {
        let everything = Scope::everything();
        let Some(channel) = if_found(self.ledger.get::<Channel>(&everything, id).await)? else { return Ok(false) };
        let Some((channel, sending)) = self.next_message(channel.value).await? else { return Ok(false) };
        let tail = self.notices.tail(&channel);
        let found: Vec<Found> = tail.found.into_iter().filter(|found| found.at <= sending.until).collect();
        let outcome = match self.notice(&channel, &sending, &found).await? {
            Some(notice) => {
                let outcome = self.send(&channel, &notice).await?;
                self.telemetry.told(channel.target.kind(), outcome.is_ok());
                outcome
            }
            // What it was about was removed from the history meanwhile.
            None => Ok(()),
        };
        let now = self.moment().now;
        if let Err(error) = &outcome {
            let tries = sending.tries.saturating_add(1);
            tracing::warn!(channel = %id, name = channel.name, tries, error, "a notification was not delivered");
        }
        let mut moved = false;
        let noted = self.note::<Channel>(&everything, id, |channel| {
            match &outcome {
                Ok(()) => moved = channel.delivery.delivered(sending.id, now),
                Err(error) => channel.delivery.failed(sending.id, error.clone(), now),
            }
            Ok(())
        });
        // Where it was changed or removed in between, the next turn looks what is to be told.
        Ok(if_found(noted.await)?.is_some() && moved)
    }

    /// The message that is next, if one is to be tried now; it is written down before it is given.
    async fn next_message(&self, channel: Channel) -> Result<Option<(Channel, Sending)>> {
        let now = self.moment().now;
        let tail = self.notices.tail(&channel);
        if !channel.enabled {
            return Ok(None);
        }
        if let Some(sending) = channel.delivery.sending.clone() {
            return Ok((sending.next_at <= now && sending.until <= tail.looked).then_some((channel, sending)));
        }
        let times: Vec<Timestamp> = tail.found.iter().map(|found| found.at).collect();
        let Some(until) = channel.due(&times, now) else { return Ok(None) };
        let sending = Sending { id: Uuid::now_v7(), until, since: now, tries: 0, next_at: now, error: None };
        let (seen, everything) = (channel, Scope::everything());
        let noted = self.note::<Channel>(&everything, seen.id, |channel| {
            // Somebody may have changed it in between; then the next turn looks what it is to be told.
            let same = channel.delivery == seen.delivery && channel.events == seen.events;
            if same && channel.enabled && channel.digest == seen.digest {
                channel.delivery.sending = Some(sending.clone());
            }
            Ok(())
        });
        let noted = match noted.await {
            Err(e) if e.code == Code::NotFound => return Ok(None),
            other => other?,
        };
        Ok((noted.delivery.sending.as_ref() == Some(&sending)).then_some((noted, sending)))
    }

    /// Delivers a message that says that it is a test.
    pub(super) async fn tell_test(&self, channel: &Channel) -> Result<std::result::Result<(), String>> {
        let notice = self.test_notice(channel).await?;
        let outcome = self.send(channel, &notice).await?;
        self.telemetry.told(channel.target.kind(), outcome.is_ok());
        Ok(outcome)
    }
}
