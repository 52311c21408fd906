//! The one writer: a thread that takes what waits, carries it out inside one transaction, and answers when that is
//! durable. Callers that come together share one write to the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use domain::{Error, Moment, Result, Scope};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::credentials::Credentials;
use super::error::{Sql, unavailable};
use super::remembered::Remembered;
use super::tx::{SqlTx, counters, set_counters};
use crate::commit::commit;
use crate::index::Follower;
use crate::{Committed, Head, Write};

/// The most commits in one transaction: enough to hide the disk, few enough that nobody waits long.
const MAX_GROUP: usize = 256;

/// Told of each write to the disk: how many commits shared it, and how long it took.
pub(super) type Observer = Box<dyn Fn(usize, Duration) + Send + Sync>;

/// What the writer is asked for.
pub(super) enum Job {
    /// A commit of a caller.
    Commit {
        /// Whose tenants.
        scope: Scope,
        /// When.
        moment: Moment,
        /// What.
        writes: Vec<Write>,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Committed>>,
    },
    /// Something that a test does inside a group.
    #[cfg(test)]
    Hook(fn(&Connection)),
}

/// The writer's side.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) remembered: Remembered,
    pub(super) head: watch::Sender<Head>,
    /// How many transactions were made durable.
    pub(super) transactions: Arc<AtomicU64>,
    /// Who wants to know of each write to the disk.
    pub(super) observer: Arc<OnceLock<Observer>>,
    /// What is kept of who calls.
    pub(super) credentials: Arc<Credentials>,
    /// What learns of every commit; none where the record answers everything itself.
    pub(super) index: Option<Arc<Follower>>,
}

impl Writer {
    /// Works until nobody can send any more, and leaves a tidy file. The connection comes back, because the one that is
    /// closed last has to be one that may write: it removes the write-ahead log.
    pub(super) fn run(self, mut jobs: mpsc::Receiver<Job>) -> Connection {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = vec![first];
            while group.len() < MAX_GROUP
                && let Ok(job) = jobs.try_recv()
            {
                group.push(job);
            }
            self.group(group);
        }
        let tidy = self.conn.execute_batch("PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE);");
        if let Err(e) = tidy {
            tracing::warn!(error = %e, "the write-ahead log was not folded into the ledger; the next start does it");
        }
        self.conn
    }

    /// Carries out a group and answers every caller in it. A defect costs the group its answers, which its callers see
    /// as `unavailable`; the writer goes on from the state before.
    fn group(&self, group: Vec<Job>) {
        let (began, commits) = (Instant::now(), group.len());
        let before = self.transactions.load(Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(|| self.attempt(group)));
        let (answers, outcome) = match result {
            Ok(done) => done,
            Err(_) => {
                tracing::error!("the writer of the ledger met a defect; a group of commits was not carried out");
                self.roll_back();
                return;
            }
        };
        if self.transactions.load(Ordering::Relaxed) > before
            && let Some(observe) = self.observer.get()
        {
            observe(commits, began.elapsed());
        }
        if let Ok(head) = outcome {
            // Before the answers, so that a caller who looks finds its own revision.
            self.head.send_if_modified(|last| std::mem::replace(last, head) != head);
        }
        for (answer, result) in answers {
            let result = match &outcome {
                Ok(_) => result,
                Err(e) => Err(e.clone()),
            };
            // The caller may have gone; what it asked for is done all the same.
            let _ = answer.send(result);
        }
    }

    /// The transaction: what each caller gets if it is durable, and whether it is.
    fn attempt(&self, group: Vec<Job>) -> (Answers, Result<Head>) {
        let mut answers = Answers::with_capacity(group.len());
        let outcome = self.transaction(group, &mut answers);
        if outcome.is_err() {
            self.roll_back();
        }
        (answers, outcome)
    }

    fn transaction(&self, group: Vec<Job>, answers: &mut Answers) -> Result<Head> {
        let mut failed = self.conn.execute_batch("BEGIN IMMEDIATE").sql().err();
        // Read each time: another program, such as a repair, may have written meanwhile.
        let before = match failed {
            None => counters(&self.conn),
            Some(ref e) => Err(e.clone()),
        };
        let mark = self.remembered.mark();
        let mut tx = SqlTx::new(&self.conn, before.clone().unwrap_or_default(), &self.remembered);
        failed = failed.or(before.clone().err());
        if before.as_ref().is_ok_and(|before| before.rev != self.head.borrow().rev) {
            self.remembered.clear();
            self.credentials.changed();
            if let Some(index) = &self.index {
                index.lost_track();
            }
        }
        for job in group {
            match job {
                Job::Commit { scope, moment, writes, answer } => {
                    let result = match &failed {
                        Some(e) => Err(e.clone()),
                        None => self.savepoint(&mut tx, &scope, moment, writes, &mut failed),
                    };
                    answers.push((answer, result));
                }
                #[cfg(test)]
                Job::Hook(f) => f(&self.conn),
            }
        }
        if let Some(e) = failed {
            return Err(e);
        }
        if before.is_ok_and(|b| b != tx.counters) {
            set_counters(&self.conn, &tx.counters)?;
            // Whoever holds this sees record and index at the same revision.
            let gate = self.index.as_ref().map(|index| index.gate());
            self.conn.execute_batch("COMMIT").sql()?;
            if tx.credentials {
                self.credentials.changed();
            }
            if let Some(index) = &self.index {
                index.committed(tx.counters.rev, std::mem::take(&mut tx.changes));
            }
            drop(gate);
            self.transactions.fetch_add(1, Ordering::Relaxed);
        } else {
            // Nothing was changed, so nothing need reach the disk.
            self.conn.execute_batch("ROLLBACK").sql()?;
            self.remembered.rolled_back(mark, &tx.changes);
        }
        Ok(tx.counters.head())
    }

    /// One caller's commit: all of it or nothing, without regard to the others. `failed` says that the transaction as a
    /// whole cannot go on: SQLite ends it by itself when, for one, the disk is full.
    fn savepoint(
        &self,
        tx: &mut SqlTx<'_>,
        scope: &Scope,
        moment: Moment,
        writes: Vec<Write>,
        failed: &mut Option<Error>,
    ) -> Result<Committed> {
        let (before, changes, mark) = (tx.counters, tx.changes.len(), self.remembered.mark());
        let step = |sql: &str| self.conn.prepare_cached(sql).and_then(|mut s| s.execute([])).sql().map(drop);
        let result = step("SAVEPOINT caller").and_then(|()| commit(tx, scope, moment, writes));
        let end = match &result {
            Ok(_) => step("RELEASE caller"),
            // Ended already.
            Err(e) if self.conn.is_autocommit() => Err(e.clone()),
            Err(_) => step("ROLLBACK TO caller").and_then(|()| step("RELEASE caller")),
        };
        *failed = end.err();
        if result.is_err() {
            tx.counters = before;
            self.remembered.rolled_back(mark, &tx.changes[changes..]);
            tx.changes.truncate(changes);
        }
        result
    }

    fn roll_back(&self) {
        self.remembered.clear();
        // What could not be said to be durable may be so all the same.
        self.credentials.changed();
        if self.conn.is_autocommit() {
            return;
        }
        if let Err(e) = self.conn.execute_batch("ROLLBACK") {
            tracing::error!(error = %e, "a transaction of the ledger could not be rolled back");
        }
    }
}

type Answers = Vec<(oneshot::Sender<Result<Committed>>, Result<Committed>)>;

/// Sends a commit to the writer and waits until it is durable.
pub(super) async fn submit(
    jobs: &mpsc::Sender<Job>,
    scope: &Scope,
    moment: Moment,
    writes: Vec<Write>,
) -> Result<Committed> {
    let (answer, answered) = oneshot::channel();
    let job = Job::Commit { scope: scope.clone(), moment, writes, answer };
    jobs.send(job).await.map_err(|_| unavailable())?;
    answered.await.map_err(|_| unavailable())?
}
