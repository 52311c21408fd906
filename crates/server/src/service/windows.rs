//! Windows of runs close: what was begun in one and is not over by then is stopped, and what still waits was missed.
//!
//! When that is stands in the application, with the run. What is remembered here only says where to look; after a start,
//! and now and then, every application is looked at for it (`look_for_ends`).

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::task::TaskRef;
use domain::{Code, Moment, Result, Scope, Timestamp, Uuid};
use ledger::Write;

use super::Service;

/// Who is said to have stopped it.
const CLOSED: &str = "the end of the backup window";

/// Runs by when they have to be over.
#[derive(Default)]
pub(super) struct Closings(Mutex<BTreeSet<(Timestamp, Uuid)>>);

impl Closings {
    /// Remembers that a task has to be over by then.
    pub(super) fn note(&self, until: Timestamp, task: Uuid) {
        self.lock().insert((until, task));
    }

    fn next(&self, now: Timestamp) -> Option<(Timestamp, Uuid)> {
        self.lock().first().copied().filter(|(until, _)| *until <= now)
    }

    fn forget(&self, closing: (Timestamp, Uuid)) {
        self.lock().remove(&closing);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(Timestamp, Uuid)>> {
        // A set is whole between two calls, and nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// Stops the runs whose window has closed.
    ///
    /// # Errors
    /// Those of the ledger; what was not stopped is tried again.
    pub async fn close_windows(&self) -> Result<()> {
        self.close_windows_at(self.moment()).await
    }

    /// As `close_windows`, at this moment.
    pub(super) async fn close_windows_at(&self, moment: Moment) -> Result<()> {
        while let Some(closing) = self.closings.next(moment.now) {
            let stop = Write::Task(TaskRef::Uuid(closing.1), self.stop_at_the_end(closing.1, CLOSED).await?);
            match self.ledger.commit(&Scope::everything(), moment, vec![stop]).await {
                Ok(committed) => self.deliver(&committed),
                // It was handed out this moment.
                Err(e) if e.code == Code::StateConflict => continue,
                // It was over before, or is not kept any more.
                Err(e) if matches!(e.code, Code::AlreadyCompleted | Code::NotCancellable | Code::NotFound) => {}
                Err(e) => return Err(e),
            }
            self.closings.forget(closing);
        }
        Ok(())
    }
}
