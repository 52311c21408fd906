//! How the index follows the record: it is loaded or built beside a server that answers already, learns of each commit
//! before anybody is told of it, and is written to disk from time to time.
//!
//! The writer of the record never waits for the index: it lays its changes down, and whoever asks next takes them up
//! first. So everyone reads their own writes, and what is read is the record as it was after one commit.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use domain::query::{Field, Read, TaskField};
use domain::task::{Task, TaskId};
use domain::{Code, Error, Result, Uuid};
use tokio::sync::watch;

use super::hot::Hot;
use super::{Change, Index, checkpoint};
use crate::Rev;

/// How often the index is looked after when nobody asks.
const CARE: Duration = Duration::from_secs(1);
/// Changes that wait for somebody to ask are taken up at the latest when there are so many.
const MOST_WAITING: usize = 4096;
/// Rows that are read at once while the index is built.
const PART: usize = 20_000;
/// A checkpoint is worth its writing after so many changes, or one for so many rows, and not more often than this.
const CHECKPOINT_CHANGES: u64 = 200_000;
const CHECKPOINT_SHARE: u64 = 20;
const CHECKPOINT_PAUSE: Duration = Duration::from_secs(300);

/// What a row of the record shows to the index.
pub(crate) type Shown<'a> = &'a dyn Fn(TaskField) -> Read<'a>;

/// The record as far as the index reads it; each call sees one state of it.
pub(crate) trait Record: Send {
    /// What tells this record from others.
    fn identity(&self) -> Result<String>;
    /// Makes ready what the first who ask would have to wait for.
    fn read_ahead(&self) -> Result<()>;
    /// The newest revision, and the newest task's number.
    fn newest(&self) -> Result<(Rev, i64)>;
    /// Every tenant with its locator.
    fn tenants(&self) -> Result<Vec<(Uuid, String)>>;
    /// At most `limit` tasks with numbers above `after`, in their order; gives the last number, if there was one.
    fn scan(&self, after: i64, limit: usize, f: &mut dyn FnMut(i64, Rev, Shown<'_>)) -> Result<Option<i64>>;
    /// All that happened after a revision, and the newest one.
    fn since(&self, rev: Rev, f: &mut dyn FnMut(Change)) -> Result<Rev>;
}

/// How far the index is.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// This share of it is built, from 0 to 1.
    Building(f64),
    /// Questions are answered.
    Ready,
    /// It could not be built; it is tried again.
    Failed(Error),
}

impl Progress {
    /// Whether there is nothing to wait for, for better or worse.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !matches!(self, Progress::Building(_))
    }
}

/// What is known of the index.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Report {
    /// How many tasks it holds.
    pub tasks: u64,
    /// About how many bytes of memory it takes.
    pub bytes: u64,
    /// The revision of the record that it shows.
    pub rev: Rev,
    /// The revision of the last checkpoint on disk; 0 if there is none.
    pub checkpoint: Rev,
}

/// The index of tasks and what brings it up to date.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    index: RwLock<Index<TaskField>>,
    /// Tasks as they are at the revision of the index.
    hot: Mutex<Hot>,
    waiting: Mutex<Waiting>,
    /// Wakes the one who cares.
    call: Condvar,
    progress: watch::Sender<Progress>,
    /// Held while a commit becomes visible, so that somebody can look at record and index at the same state.
    gate: Mutex<()>,
    /// Where checkpoints go.
    path: Option<PathBuf>,
    checkpoint: Mutex<Rev>,
}

#[derive(Default)]
struct Waiting {
    commits: Vec<(Rev, Vec<Change>)>,
    changes: usize,
    /// Something happened to the record that was not told.
    lost: bool,
    /// The index was found to be wrong.
    wrong: bool,
    closed: bool,
}

impl Follower {
    /// Begins to load or build the index; questions are answered when it is [`ready`](Follower::ready). Checkpoints are
    /// kept in the file at this path.
    ///
    /// # Errors
    /// `unavailable` when no thread can be started.
    pub(crate) fn start(record: Box<dyn Record>, path: Option<PathBuf>) -> Result<Follower> {
        let shared = Arc::new(Shared {
            index: RwLock::new(Index::new()),
            hot: Mutex::default(),
            waiting: Mutex::default(),
            call: Condvar::new(),
            progress: watch::channel(Progress::Building(0.0)).0,
            gate: Mutex::new(()),
            path,
            checkpoint: Mutex::default(),
        });
        let own = shared.clone();
        let thread = std::thread::Builder::new()
            .name("index".to_owned())
            .spawn(move || own.care_on(&*record))
            .map_err(|e| Error::new(Code::Unavailable, format!("the index's thread cannot be started: {e}")))?;
        Ok(Follower { shared, thread: Mutex::new(Some(thread)) })
    }

    /// To be held by the writer from before a commit until its changes are laid down.
    pub(crate) fn gate(&self) -> MutexGuard<'_, ()> {
        locked(&self.shared.gate)
    }

    /// Lays down what a commit did.
    pub(crate) fn committed(&self, rev: Rev, changes: Vec<Change>) {
        let mut waiting = locked(&self.shared.waiting);
        waiting.changes += changes.len();
        waiting.commits.push((rev, changes));
        if waiting.changes > MOST_WAITING {
            self.shared.call.notify_one();
        }
    }

    /// Says that the record was changed by somebody else: the index has to look for itself.
    pub(crate) fn lost_track(&self) {
        locked(&self.shared.waiting).lost = true;
        self.shared.progress.send_replace(Progress::Building(0.0));
        self.shared.call.notify_one();
    }

    /// Says that the index is wrong: it is built anew from the record.
    pub(crate) fn distrust(&self) {
        self.shared.distrust("differs from the record");
    }

    /// How far it is, as it goes on.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// Asks the index, which shows everything that is durable by now.
    ///
    /// # Errors
    /// `unavailable` while it is not ready.
    pub(crate) fn ask<T>(&self, f: impl FnOnce(&Index<TaskField>) -> Result<T>) -> Result<T> {
        match &*self.shared.progress.borrow() {
            Progress::Ready => {}
            Progress::Building(built) => return Err(being_built(*built)),
            Progress::Failed(why) => return Err(why.clone()),
        }
        self.shared.take_up();
        f(&self.shared.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those of some tasks that are at hand, as they are at the revision of the index that is asked.
    pub(crate) fn at_hand(&self, _index: &Index<TaskField>, ids: &[i64]) -> Vec<Option<Task>> {
        let mut hot = locked(&self.shared.hot);
        ids.iter().map(|id| hot.get(TaskId(*id))).collect()
    }

    /// Keeps tasks at hand that were read from the record, if the index is still at the revision for which they were.
    pub(crate) fn keep_at_hand(&self, rev: Rev, tasks: &[Task]) {
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        if index.rev() == rev && locked(&self.shared.waiting).commits.is_empty() {
            let mut hot = locked(&self.shared.hot);
            tasks.iter().for_each(|task| hot.put_if_read_again(task));
        }
    }

    pub(crate) fn report(&self) -> Report {
        let index = self.shared.index.read().unwrap_or_else(PoisonError::into_inner);
        Report {
            tasks: index.len(),
            bytes: index.bytes() as u64,
            rev: index.rev(),
            checkpoint: *locked(&self.shared.checkpoint),
        }
    }

    /// Stops caring; writes a last checkpoint if there is something new in it.
    pub(crate) fn close(&self) {
        locked(&self.shared.waiting).closed = true;
        self.shared.call.notify_one();
        if let Some(thread) = locked(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the query index broke down");
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.close();
    }
}

/// The answer to a question that comes too early.
fn being_built(built: f64) -> Error {
    let percent = (built * 100.0).floor();
    Error::new(Code::Unavailable, format!("the index of tasks is being built, {percent} % are done"))
        .hint("single tasks can be read and changed meanwhile; lists are answered when it is ready")
}

fn defect() -> Error {
    Error::new(Code::Internal, "the index of tasks met a defect")
        .hint("it is being built anew; the server's log says more")
}

impl Shared {
    /// Cares until the end, whatever happens: a defect must not leave questions waiting for ever.
    fn care_on(&self, record: &dyn Record) {
        while catch_unwind(AssertUnwindSafe(|| self.care(record))).is_err() {
            tracing::error!("the index of tasks met a defect; it is built anew");
            self.progress.send_replace(Progress::Failed(defect()));
            let waiting = locked(&self.waiting);
            let closed = |waiting: &mut Waiting| !waiting.closed;
            let Ok((waiting, _)) = self.call.wait_timeout_while(waiting, CARE, closed) else { return };
            if waiting.closed {
                return;
            }
        }
    }

    fn care(&self, record: &dyn Record) {
        let mut last_checkpoint = Instant::now();
        let mut quiet = 0;
        let mut built = self.build(record, true);
        if built && let Err(e) = record.read_ahead() {
            tracing::debug!(error = %e, "nothing was read ahead");
        }
        loop {
            let mut waiting = locked(&self.waiting);
            let calm = !waiting.lost && !waiting.wrong && waiting.changes <= MOST_WAITING;
            // What failed is not tried again without a pause.
            if !waiting.closed && (calm || !built) {
                waiting =
                    self.call.wait_timeout(waiting, CARE).map_or_else(|e| e.into_inner().0, |(waiting, _)| waiting);
            }
            let (lost, wrong) = (std::mem::take(&mut waiting.lost), std::mem::take(&mut waiting.wrong));
            let closed = waiting.closed;
            drop(waiting);
            if closed {
                if built && !lost && !wrong {
                    self.take_up();
                    self.save(record, true);
                }
                return;
            }
            if wrong || !built {
                built = self.build(record, !wrong);
            } else if lost {
                built = self.catch_up(record);
            } else {
                self.take_up();
                quiet = self.tidy(quiet);
                if last_checkpoint.elapsed() >= CHECKPOINT_PAUSE {
                    last_checkpoint = Instant::now();
                    self.save(record, false);
                }
            }
        }
    }

    /// Applies what waits.
    fn take_up(&self) {
        if locked(&self.waiting).commits.is_empty() {
            return;
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        // Taken while the index is locked: whoever finds nothing waiting waits for this to be applied.
        let commits = {
            let mut waiting = locked(&self.waiting);
            waiting.changes = 0;
            std::mem::take(&mut waiting.commits)
        };
        let applied = catch_unwind(AssertUnwindSafe(|| self.apply_all(&mut index, commits)));
        drop(index);
        if applied.is_err() {
            self.distrust("met a defect");
        }
    }

    fn apply_all(&self, index: &mut Index<TaskField>, commits: Vec<(Rev, Vec<Change>)>) {
        // Nobody sees what lies between the first and the last of them, so a task is brought up to date once.
        let mut last = HashMap::new();
        for (n, change) in commits.iter().flat_map(|(_, changes)| changes).enumerate() {
            if let Change::Task(task) = change {
                last.insert(task.id, n);
            }
        }
        let (mut n, mut hot) = (0, locked(&self.hot));
        for (rev, changes) in commits {
            for change in changes {
                let is_over = matches!(&change, Change::Task(task) if last[&task.id] != n);
                n += 1;
                if !is_over && rev > index.rev() {
                    apply(index, &mut hot, change);
                }
            }
            if rev > index.rev() {
                index.set_rev(rev);
            }
        }
        index.settle();
    }

    /// Has the index built anew.
    fn distrust(&self, why: &str) {
        tracing::error!("the index of tasks {why}; it is built anew");
        locked(&self.waiting).wrong = true;
        self.progress.send_replace(Progress::Building(0.0));
        self.call.notify_one();
    }

    /// Loads the checkpoint, or reads the whole record; false if that failed, to be tried again.
    fn build(&self, record: &dyn Record, trusting: bool) -> bool {
        let loaded = if trusting { self.load(record) } else { Ok(None) };
        let result = loaded.and_then(|loaded| match loaded {
            Some(index) => Ok(index),
            None => self.read_all(record),
        });
        match result {
            Ok(index) => {
                *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
                self.catch_up(record)
            }
            Err(e) if locked(&self.waiting).closed => {
                tracing::debug!(error = %e, "the index was not built before the end");
                false
            }
            Err(e) => {
                tracing::error!(error = %e, "the index of tasks cannot be built; it is tried again");
                self.progress.send_replace(Progress::Failed(e));
                false
            }
        }
    }

    fn load(&self, record: &dyn Record) -> Result<Option<Index<TaskField>>> {
        let Some(path) = &self.path else { return Ok(None) };
        let identity = record.identity()?;
        let started = Instant::now();
        match checkpoint::load(path, &identity) {
            Ok(Some(index)) => {
                // One that is ahead of the record belongs to a later state of it than this copy.
                if index.rev() > record.newest()?.0 {
                    tracing::warn!("the checkpoint of the index is newer than the ledger; the index is built anew");
                    return Ok(None);
                }
                *locked(&self.checkpoint) = index.rev();
                tracing::info!(tasks = index.len(), seconds = started.elapsed().as_secs_f64(), "the index was loaded");
                Ok(Some(index))
            }
            Ok(None) => Ok(None),
            Err(why) => {
                tracing::warn!(%why, "the checkpoint of the index cannot be used; the index is built anew");
                Ok(None)
            }
        }
    }

    fn read_all(&self, record: &dyn Record) -> Result<Index<TaskField>> {
        let mut index = Index::new();
        index.loading = true;
        let (rev, last) = record.newest()?;
        for (tenant, locator) in record.tenants()? {
            index.put_tenant(tenant, locator);
        }
        index.settle();
        let (mut after, mut said) = (0, Instant::now());
        while let Some(until) = record.scan(after, PART, &mut |id, _, shown| index.put(id, shown))? {
            after = until;
            if locked(&self.waiting).closed {
                return Err(Error::new(Code::Unavailable, "the ledger is being closed"));
            }
            let built = (after as f64 / last.max(1) as f64).min(0.99);
            self.progress.send_replace(Progress::Building(built));
            if said.elapsed() > Duration::from_secs(5) {
                said = Instant::now();
                tracing::info!(tasks = index.len(), percent = (built * 100.0).floor(), "the index is being built");
            }
        }
        // What changed since is read once more.
        index.set_rev(rev);
        index.loading = false;
        while index.tidy(u64::MAX) {}
        Ok(index)
    }

    /// Reads what happened since the index was right, and lets questions in.
    fn catch_up(&self, record: &dyn Record) -> bool {
        // Nobody is let in meanwhile, so it may be held for as long as it takes.
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let mut hot = locked(&self.hot);
        hot.clear();
        let since = index.rev();
        let result = record.since(since, &mut |change| apply(&mut index, &mut hot, change));
        drop(hot);
        match result {
            Ok(rev) => {
                index.set_rev(rev);
                index.settle();
                drop(index);
                self.progress.send_replace(Progress::Ready);
                true
            }
            Err(e) => {
                drop(index);
                tracing::error!(error = %e, "the index of tasks cannot catch up with the record; it is built anew");
                self.progress.send_replace(Progress::Failed(e));
                false
            }
        }
    }

    /// Puts in order what has come to rest since it was looked at last, at that version; gives the present one.
    fn tidy(&self, since: u64) -> u64 {
        loop {
            // One column of a block at a time: nobody waits longer than for that.
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            if !index.tidy(since) || locked(&self.waiting).closed {
                return index.version();
            }
        }
    }

    fn save(&self, record: &dyn Record, closing: bool) {
        let Some(path) = &self.path else { return };
        let (rev, tasks) = {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            (index.rev(), index.len())
        };
        let new = rev.0.saturating_sub(locked(&self.checkpoint).0).unsigned_abs();
        if new == 0 || (!closing && new < CHECKPOINT_CHANGES.min(tasks / CHECKPOINT_SHARE + 1000)) {
            return;
        }
        let saved = record.identity().map_err(|e| e.to_string()).and_then(|identity| {
            checkpoint::save(path, &identity, rev, || self.index.read().unwrap_or_else(PoisonError::into_inner))
                .map_err(|e| e.to_string())
        });
        match saved {
            Ok(()) => *locked(&self.checkpoint) = rev,
            // The one before is still there; at worst the next start reads more.
            Err(why) => tracing::warn!(%why, "no checkpoint of the index was written"),
        }
    }
}

fn apply(index: &mut Index<TaskField>, hot: &mut Hot, change: Change) {
    match change {
        Change::Task(task) => {
            index.put(task.id.0, |field| field.read(&task));
            hot.put(task);
        }
        Change::Reported(id) => hot.forget(id),
        Change::Gone(id) => {
            index.remove(id.0);
            hot.forget(id);
        }
        Change::Tenant(id, locator) => index.put_tenant(id, locator),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use domain::Scope;
    use domain::query::Filter;

    use super::*;

    /// A record with nothing in it, which cannot be read at first, and not before somebody has seen that.
    #[derive(Default)]
    struct Trouble {
        asked: AtomicU32,
        seen: Arc<AtomicBool>,
    }

    impl Record for Trouble {
        fn identity(&self) -> Result<String> {
            Ok("none".to_owned())
        }

        fn read_ahead(&self) -> Result<()> {
            Ok(())
        }

        fn newest(&self) -> Result<(Rev, i64)> {
            Ok((Rev(0), 0))
        }

        fn tenants(&self) -> Result<Vec<(Uuid, String)>> {
            Ok(Vec::new())
        }

        fn scan(&self, _: i64, _: usize, _: &mut dyn FnMut(i64, Rev, Shown<'_>)) -> Result<Option<i64>> {
            match self.asked.fetch_add(1, Ordering::Relaxed) {
                0 => panic!("a defect"),
                _ if self.seen.load(Ordering::Relaxed) => Ok(None),
                _ => Err(Error::new(Code::Unavailable, "not now")),
            }
        }

        fn since(&self, rev: Rev, _: &mut dyn FnMut(Change)) -> Result<Rev> {
            Ok(rev)
        }
    }

    #[tokio::test]
    async fn a_defect_and_an_error_end_in_an_index() -> Result<()> {
        let trouble = Trouble::default();
        let was_seen = trouble.seen.clone();
        let follower = Follower::start(Box::new(trouble), None)?;
        let mut seen = follower.progress();
        let failed = seen.wait_for(|p| matches!(p, Progress::Failed(_))).await.expect("it is told").clone();
        was_seen.store(true, Ordering::Relaxed);
        assert!(matches!(failed, Progress::Failed(e) if [Code::Internal, Code::Unavailable].contains(&e.code)));
        seen.wait_for(|p| *p == Progress::Ready).await.expect("it is told");
        let counts = follower.ask(|index| index.counts(&Scope::everything(), &Filter::all(), &[], &|_| Ok(None)))?;
        assert_eq!(counts.expect("it answers")[0].count, 0);
        follower.close();
        Ok(())
    }
}
