//! Telling people and programs: beside the scheduler's turns, because whoever is told may be slow or gone. A turn looks at the
//! ledger for what is to be told; deliveries run on their own, one at a time for each channel, so that a channel that
//! cannot be reached holds up nobody.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::Uuid;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::service::Service;

/// How often it looks when it hears nothing: digests fall due, and pauses end.
const TURN: Duration = Duration::from_millis(500);
/// How many turns lie between two looks for what nobody heard of.
const TURNS_PER_LOOK: u32 = 60;
/// How many channels are told something at once.
const AT_ONCE: usize = 32;

/// Deliveries that run.
#[derive(Debug, Default)]
pub struct UnderWay {
    running: JoinSet<()>,
    channels: HashMap<Id, Uuid>,
}

impl UnderWay {
    /// Waits until none runs.
    pub async fn end(&mut self) {
        while let Some(ended) = self.running.join_next_with_id().await {
            self.forget(ended);
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(broken) => {
                tracing::error!(error = %broken, "a delivery of notifications broke off");
                broken.id()
            }
        };
        self.channels.remove(&id);
    }
}

/// Runs until the token is cancelled; what is being delivered then is delivered again after the next start.
pub async fn run(service: Arc<Service>, shutdown: CancellationToken) {
    let mut under_way = UnderWay::default();
    for number in 0u32.. {
        turn(&service, &mut under_way, number).await;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = service.news() => {}
            () = tokio::time::sleep(TURN) => {}
        }
    }
}

/// One look at what is to be told, in the turn of this number; deliveries are begun and not waited for.
pub async fn turn(service: &Arc<Service>, under_way: &mut UnderWay, number: u32) {
    while let Some(ended) = under_way.running.try_join_next_with_id() {
        under_way.forget(ended);
    }
    let busy: HashSet<Uuid> = under_way.channels.values().copied().collect();
    let due = match service.look_for_news(number.is_multiple_of(TURNS_PER_LOOK), &busy).await {
        Ok(due) => due,
        Err(error) => {
            service.telemetry().step_failed("look for what is to be told");
            tracing::error!(%error, code = error.code.name(), "could not look for what is to be told");
            return;
        }
    };
    // Those that did not get a place are due in the next turn as well.
    for channel in due.into_iter().take(AT_ONCE.saturating_sub(busy.len())) {
        let service = service.clone();
        let handle = under_way.running.spawn(async move {
            if let Err(error) = service.tell_channel(channel).await {
                service.telemetry().step_failed("deliver notifications");
                tracing::error!(%channel, %error, code = error.code.name(), "could not deliver notifications");
            }
        });
        under_way.channels.insert(handle.id(), channel);
    }
}
