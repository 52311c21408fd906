//! Tasks as they change, as server-sent events. The stream follows the ledger's revisions, so that a client which comes
//! back with the last one it saw misses nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::Event;
use domain::query::{Filter, TaskField};
use domain::{Caller, Code, Error, Result, Right};
use futures::Stream;
use futures::stream::unfold;
use ledger::{Head, Rev};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::ApiState;
use super::auth::{Asking, Secret};
use super::error::Failure;
use super::extract::Params;
use super::lists::TASKS;

/// Between two heartbeats; they keep proxies from closing a silent connection and tell the client the position.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How many changes are read at once.
const BATCH: u32 = 500;

/// Tasks that match, as they change.
///
/// Server-sent events. First comes `ready` with the revision from which on changes are told, then a `task` for each
/// change, with the task in its latest state. `id:` is the revision: a client that comes back with it in
/// `Last-Event-ID` or `since` goes on from there, and may see the last tasks again. Takes the filter of the list, but
/// `since` is a revision here; for times there is `created_at_from`. The filter is asked of the latest state: a task
/// that does not match any more is not told.
#[utoipa::path(
    get,
    path = "/tasks/events",
    tag = "tasks",
    params(
        ("since" = Option<i64>, Query, description = "Changes after this revision; from now on where it is left out"),
        ("Last-Event-ID" = Option<i64>, Header, description = "As `since`, and before it; browsers send it themselves")
    ),
    responses((
        status = 200,
        description = "The events; the data of a `task` is a `TaskEvent`",
        body = api::TaskEvent,
        content_type = "text/event-stream"
    ))
)]
pub(super) async fn task_events(
    State(state): State<ApiState>,
    Asking(caller): Asking,
    secret: Secret,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    // The service is asked only when something changes; who may not see it is told so now.
    caller.may(Right::View)?;
    let since = params.take("since")?;
    let since = match headers.get("last-event-id") {
        Some(value) => Some(value.to_str().unwrap_or("(unreadable)").to_owned()),
        None => since,
    };
    let filter = TASKS.filter(params, &["since"])?;
    let head = state.service.head();
    let newest = head.borrow().rev;
    let position = match since {
        Some(text) => position(&text, newest)?,
        None => newest,
    };
    let mut heartbeat = interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ready = format!("{{\"revision\":{position}}}");
    let ready = VecDeque::from([Event::default().event("ready").id(position.to_string()).data(ready)]);
    let watch = Watch { state, caller, secret, filter, position, head, heartbeat, ready };
    Ok(Sse::new(unfold(watch, |mut watch| async move { watch.next().await.map(|event| (Ok(event), watch)) })))
}

fn position(text: &str, newest: Rev) -> Result<Rev> {
    let wrong = |message: String| Error::invalid("since", message);
    let since = text.parse::<i64>().ok().filter(|n| *n >= 0).map(Rev).ok_or_else(|| {
        wrong(format!("'{text}' is no revision"))
            .hint("the 'id' of the last event; for times there is 'created_at_from'")
    })?;
    // Silence would hide that changes were lost, for instance when the server was set back to an older copy.
    if since > newest {
        return Err(wrong(format!("revision {since} is yet to come; the newest is {newest}"))
            .hint("leave it out to go on from now, and read the list once"));
    }
    Ok(since)
}

struct Watch {
    state: ApiState,
    caller: Caller,
    secret: Secret,
    filter: Filter<TaskField>,
    position: Rev,
    head: watch::Receiver<Head>,
    heartbeat: Interval,
    ready: VecDeque<Event>,
}

impl Watch {
    /// The next event; none when the stream is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.state.shutdown.is_cancelled() {
                return None;
            }
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            // Marked as seen before the changes are read: one that is made meanwhile wakes us again.
            let newest = self.head.borrow_and_update().rev;
            if newest > self.position {
                match self.read().await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!("a stream of task events ends: {error}");
                        return None;
                    }
                }
            }
            tokio::select! {
                () = self.state.shutdown.cancelled() => return None,
                changed = self.head.changed() => changed.ok()?,
                _ = self.heartbeat.tick() => return self.beat().await,
            }
        }
    }

    /// Reads on; whether there was anything new.
    async fn read(&mut self) -> Result<bool> {
        let changes = self.state.service.task_changes(&self.caller, self.position, BATCH).await?;
        let mut tasks = changes.tasks.iter().filter(|(_, task)| self.filter.matches(task)).peekable();
        while let Some((rev, task)) = tasks.next() {
            let body = api::TaskEvent { revision: rev.0, task: task.into() };
            let data = serde_json::to_string(&body).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            let event = Event::default().event("task").data(data);
            // Only the last task of a revision moves the client's position: a connection that breaks between two of
            // them must not lose the second.
            let last = tasks.peek().is_none_or(|(next, _)| next != rev);
            self.ready.push_back(if last { event.id(rev.to_string()) } else { event });
        }
        let moved = changes.until > self.position;
        self.position = self.position.max(changes.until);
        Ok(moved)
    }

    /// A sign of life, unless the token was revoked or has expired meanwhile.
    async fn beat(&mut self) -> Option<Event> {
        match self.state.service.authenticate(&self.secret.0).await {
            Ok(caller) => self.caller = caller,
            Err(e) if e.code == Code::Unauthenticated => return None,
            // The ledger cannot say now; that is no reason to turn anybody away.
            Err(_) => {}
        }
        // Without data it is no event for browsers, but they keep the position.
        Some(Event::default().comment("still here").id(self.position.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::tenant::Tenant;
    use domain::token::TokenKind;
    use domain::{Role, Scope};
    use ledger::{Expect, Ledger, MemoryLedger, Write};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::Service;
    use crate::secrets::Sealer;

    #[tokio::test]
    async fn a_stream_does_not_outlive_its_token() {
        let ledger = Arc::new(MemoryLedger::new());
        let service = Arc::new(Service::new(ledger.clone(), Sealer::new(&[7; 32]).expect("32 bytes")));
        let (everything, moment) = (Scope::everything(), service.moment());
        let root = Write::Put(Box::new(Tenant::root("root", "UTC", moment.now).into()), Expect::New);
        ledger.commit(&everything, moment, vec![root]).await.expect("the root");
        let (by, kind) = (Caller::server(), TokenKind::Api);
        let issued = service.issue(&by, &everything, kind, "guest".into(), Role::Admin, None).await;
        let (token, secret) = issued.expect("a token");
        let caller = service.authenticate(&secret).await.expect("valid");
        let mut watch = Watch {
            state: ApiState::new(service.clone(), CancellationToken::new()),
            caller: caller.clone(),
            secret: Secret(secret),
            filter: Filter::all(),
            position: Rev(7),
            head: service.head(),
            heartbeat: tokio::time::interval(HEARTBEAT),
            ready: VecDeque::new(),
        };
        assert!(watch.beat().await.is_some());
        service.revoke_token(&caller, token.id).await.expect("revoked");
        assert!(watch.beat().await.is_none());
    }
}
