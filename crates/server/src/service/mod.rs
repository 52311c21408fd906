//! What can be asked of Backstay, once for every dialect: each function takes the caller first, checks the role, and
//! talks to the ledger within the caller's scope. Nothing here knows of HTTP, gRPC or any vendor.

mod agents;
mod backups;
mod hub;
mod policies;
mod resources;
mod tasks;
mod tenants;
mod tokens;

use std::sync::Arc;

use domain::agent::Agent;
use domain::query::{Query, RecordField, Slice};
use domain::record::Entity;
use domain::{Caller, Code, Error, Moment, Result, Scope, Timestamp, Uuid};
use ledger::{Committed, Expect, Ledger, Rev, Stored, Write, Written};
use tokio::sync::{Notify, watch};

pub use agents::*;
pub use backups::RestoreRequest;
pub use hub::{Command, FileEntry, FileList, Hub, ListFiles, RepositoryAccess};
pub use policies::{NewPolicy, PolicyChange};
pub use resources::{NewResource, ResourceChange, ResourceView};
pub use tenants::NewTenant;
pub use tokens::{NewToken, hash_secret};

use crate::secrets::Sealer;

/// An agent, and whether it is connected.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentView {
    /// The agent.
    pub agent: Agent,
    /// Whether it is connected now.
    pub online: bool,
}

/// The one way in for dialects, scheduler and agents' sessions.
pub struct Service {
    ledger: Arc<dyn Ledger>,
    sealer: Sealer,
    hub: Hub,
    up_since: Timestamp,
    /// Something changed that the scheduler should look at before its next turn.
    scheduler: Notify,
}

impl Service {
    /// The services over a ledger.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, sealer: Sealer) -> Service {
        Service { ledger, sealer, hub: Hub::default(), up_since: Timestamp::now(), scheduler: Notify::new() }
    }

    /// The time now.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment { now: Timestamp::now(), up_since: self.up_since }
    }

    /// The agents that are connected.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The newest revision, as it grows.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<Rev> {
        self.ledger.revision()
    }

    /// Waits until somebody nudges the scheduler.
    pub async fn nudged(&self) {
        self.scheduler.notified().await;
    }

    pub(crate) fn nudge(&self) {
        self.scheduler.notify_one();
    }

    /// Seals a secret that the ledger shall keep.
    ///
    /// # Errors
    /// `internal` when the system gives no randomness.
    pub fn seal(&self, plain: &str) -> Result<String> {
        self.sealer.seal(plain)
    }

    pub(crate) fn ledger(&self) -> &dyn Ledger {
        &*self.ledger
    }

    /// Agents that match, and whether each is connected.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn agents(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<AgentView>> {
        let slice = self.ledger.list::<Agent>(caller.scope(), query).await?;
        Ok(slice.map(|s| AgentView { online: self.hub.online(s.value.id), agent: s.value }))
    }

    /// Writes a new record, and gives it as the ledger stamped it.
    pub(crate) async fn create<E: Entity>(&self, scope: &Scope, value: E) -> Result<E> {
        let write = Write::Put(Box::new(value.into()), Expect::New);
        stamped(self.ledger.commit(scope, self.moment(), vec![write]).await?)
    }

    /// Reads a record, changes it and writes it back, again until nobody came between.
    pub(crate) async fn change<E: Entity>(
        &self,
        scope: &Scope,
        id: Uuid,
        mut change: impl FnMut(&mut E) -> Result<()>,
    ) -> Result<E> {
        loop {
            let Stored { rev, mut value } = self.ledger.get::<E>(scope, id).await?;
            change(&mut value)?;
            let write = Write::Put(Box::new(value.into()), Expect::Rev(rev));
            match self.ledger.commit(scope, self.moment(), vec![write]).await {
                Err(e) if e.code == Code::RevisionConflict => {}
                Err(e) => return Err(e),
                Ok(committed) => return stamped(committed),
            }
        }
    }
}

/// The record that a commit wrote first.
fn stamped<E: Entity>(committed: Committed) -> Result<E> {
    let record = committed.written.into_iter().find_map(|w| match w {
        Written::Record(stored) => Some(*stored),
        _ => None,
    });
    let record = record.ok_or_else(|| Error::new(Code::Internal, "the record is not in the commit"))?;
    Ok(ledger::typed::<E>(record)?.value)
}
