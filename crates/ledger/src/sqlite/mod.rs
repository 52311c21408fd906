//! The ledger in one SQLite file: a writer thread that commits in groups, a few readers beside it, and tables that
//! `sqlite3` can read.

mod bind;
mod check;
mod credentials;
mod error;
mod feed;
mod filter;
#[cfg(test)]
mod layout;
mod lists;
mod load;
mod names;
mod pack;
mod queue;
mod read;
mod remembered;
mod rows;
mod scan;
mod schema;
mod steps;
#[cfg(test)]
mod tests;
mod tx;
mod words;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use domain::activity::{ActivityRef, ActivityView};
use domain::query::{ActivityField, Filter, Group, Query, RecordField, Slice, TaskField};
use domain::record::{Record, RecordKind};
use domain::task::{Task, TaskId, TaskRef};
use domain::{Code, Error, Moment, Result, Scope, Timestamp, Uuid};
use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, watch};

pub use self::load::Loader;

use self::credentials::{Asked, Credentials};
use self::error::{Sql, unavailable};
use self::words::{Db, Words};
use self::writer::{Job, Observer, Writer};
use crate::index::Follower;
use crate::{
    Changes, Committed, Head, IndexProgress, IndexReport, Ledger, Rev, Stored, Write, activity_not_found,
    newest_one_by_one, task_not_found,
};

/// How many questions are answered at the same time.
const READERS: u32 = 4;

/// What the name of a checkpoint of the index ends with, beside the ledger's.
const INDEX: &str = "index";
/// How long a list waits for the index before it is refused.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many commits may wait; more callers wait to be let in.
const WAITING: usize = 1024;

/// A ledger in an SQLite file.
pub struct SqliteLedger {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<Connection>>>,
    readers: Arc<Readers>,
    head: watch::Receiver<Head>,
    transactions: Arc<AtomicU64>,
    observer: Arc<OnceLock<Observer>>,
    credentials: Arc<Credentials>,
    /// What answers lists of tasks; none where the record does it itself.
    index: Option<Arc<Follower>>,
}

struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    words: Arc<Words>,
    /// Closed with the ledger.
    permits: Arc<Semaphore>,
}

impl SqliteLedger {
    /// Opens the file, makes it where there is none, and brings it to the present schema. Tasks can be read and changed
    /// at once; lists, totals and counts of tasks as soon as the index of them is there: see [`progress`](Self::progress).
    ///
    /// # Errors
    /// `ledger_damaged` when the file is no database or a damaged one, `invalid_field` when it belongs to another program
    /// or a newer version of this one, `unavailable` when it cannot be opened.
    pub fn open(path: &Path) -> Result<SqliteLedger> {
        let conn = schema::open_writer(path)?;
        let words = Arc::new(Words::default());
        let feed = feed::Feed { conn: schema::open_reader(path)?, words: words.clone(), scanner: Default::default() };
        let index = Follower::start(Box::new(feed), Some(path.with_extension(INDEX)))?;
        SqliteLedger::over(conn, path, words, Some(Arc::new(index)))
    }

    /// Looks at a file as quickly as each opening does, and changes nothing: the number of steps by which its schema is behind
    /// this program's.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn look(path: &Path) -> Result<usize> {
        schema::look_only(path)
    }

    /// A ledger that answers everything from the record itself: what the index is compared with.
    #[cfg(test)]
    pub(crate) fn open_without_index(path: &Path) -> Result<SqliteLedger> {
        SqliteLedger::over(schema::open_writer(path)?, path, Arc::default(), None)
    }

    fn over(conn: Connection, path: &Path, words: Arc<Words>, index: Option<Arc<Follower>>) -> Result<SqliteLedger> {
        let (head, newest) = watch::channel(tx::counters(&conn)?.head());
        let transactions = Arc::new(AtomicU64::new(0));
        let observer = Arc::new(OnceLock::new());
        let (jobs, queue) = mpsc::channel(WAITING);
        let credentials = Arc::new(Credentials::default());
        let writer = Writer {
            conn,
            remembered: Default::default(),
            credentials: credentials.clone(),
            head,
            transactions: transactions.clone(),
            observer: observer.clone(),
            index: index.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|e| Error::new(Code::Unavailable, format!("the ledger's thread cannot be started: {e}")))?;
        Ok(SqliteLedger {
            jobs: Mutex::new(Some(jobs)),
            writer: Mutex::new(Some(thread)),
            readers: Arc::new(Readers {
                path: path.to_owned(),
                idle: Mutex::default(),
                words,
                permits: Arc::new(Semaphore::new(READERS as usize)),
            }),
            head: newest,
            transactions,
            observer,
            credentials,
            index,
        })
    }

    /// How far the index of tasks is, as it goes on. Lists wait for it for a moment, and then are refused as
    /// `unavailable`.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<IndexProgress> {
        self.index.as_ref().map_or_else(|| watch::channel(IndexProgress::Ready).1, |index| index.progress())
    }

    /// Refuses new calls, waits for those under way, and closes the file.
    ///
    /// # Errors
    /// `internal` when the writer had broken down.
    pub async fn close(&self) -> Result<()> {
        drop(locked(&self.jobs).take());
        self.credentials.changed();
        if let Ok(all) = self.readers.permits.acquire_many(READERS).await {
            all.forget();
            self.readers.permits.close();
            locked(&self.readers.idle).clear();
        }
        let Some(thread) = locked(&self.writer).take() else { return Ok(()) };
        let index = self.index.clone();
        let end = move || {
            let end = thread.join();
            // After the writer, so that the last checkpoint holds everything; before its connection.
            if let Some(index) = index {
                index.close();
            }
            end.map(drop)
        };
        match tokio::task::spawn_blocking(end).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Error::new(Code::Internal, "the ledger's writer broke down")),
        }
    }

    /// How many transactions were made durable since opening: fewer than commits where callers came together.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Lets `observe` be told of each durable write: how many commits shared it, and how long it took. It is called on the
    /// thread that writes, so it must be quick. Only the first observer is taken.
    pub fn observe(&self, observe: impl Fn(usize, Duration) + Send + Sync + 'static) {
        // Whoever comes second learns nothing; one server has one ledger.
        let _ = self.observer.set(Box::new(observe));
    }

    fn jobs(&self) -> Result<mpsc::Sender<Job>> {
        locked(&self.jobs).clone().ok_or_else(unavailable)
    }

    /// The index; the wait for it is short, for a list that comes later is better than none.
    async fn following(&self) -> Option<Arc<Follower>> {
        let index = self.index.clone()?;
        let mut progress = index.progress();
        if !progress.borrow().is_settled() {
            // If it takes longer, the question itself says so.
            let _ = tokio::time::timeout(PATIENCE, progress.wait_for(IndexProgress::is_settled)).await;
        }
        Some(index)
    }

    /// A record, if it is there and in the scope.
    async fn asked_for(&self, scope: &Scope, asked: Asked) -> Result<Option<Stored<Record>>> {
        let (Asked::Id(kind, _) | Asked::Key(kind, _)) = asked;
        // Who calls is asked for before there is a scope.
        let kept = Credentials::keep(kind) && scope.is_everything();
        if kept && let Some(known) = self.credentials.get(&asked) {
            return Ok(Some(known));
        }
        let (column, value) = match &asked {
            Asked::Id(_, id) => ("id", rows::uuid(*id)),
            Asked::Key(_, key) => ("\"key\"", rusqlite::types::Value::Text(key.clone())),
        };
        let (scope, epoch) = (scope.clone(), self.credentials.epoch());
        let read = self.read(move |db| match read::record(&db, kind, column, &value)? {
            Some(found) if read::sees(&db, &scope, found.value.tenant())? => Ok(Some(found)),
            _ => Ok(None),
        });
        let found = read.await?;
        if let Some(found) = found.as_ref().filter(|_| kept) {
            self.credentials.put(asked, epoch, found.clone());
        }
        Ok(found)
    }

    /// Reads on a thread that may block, inside one snapshot.
    async fn read<T: Send + 'static>(&self, f: impl FnOnce(Db<'_>) -> Result<T> + Send + 'static) -> Result<T> {
        self.blocking(move |readers| readers.read(f)).await
    }

    /// Reads on a thread that may block.
    async fn blocking<T: Send + 'static>(&self, f: impl FnOnce(&Readers) -> Result<T> + Send + 'static) -> Result<T> {
        let permit = self.readers.permits.clone().acquire_owned().await.map_err(|_| unavailable())?;
        let readers = self.readers.clone();
        let read = move || {
            // Held until the connection is back, even when nobody waits for the answer any more.
            let _permit = permit;
            f(&readers)
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| unavailable())?
    }
}

impl Readers {
    fn read<T>(&self, f: impl FnOnce(Db<'_>) -> Result<T>) -> Result<T> {
        let idle = locked(&self.idle).pop();
        let conn = match idle {
            Some(conn) => conn,
            None => schema::open_reader(&self.path)?,
        };
        let snapshot = conn.unchecked_transaction().sql()?;
        let result = f(Db { conn: &snapshot, words: &self.words });
        drop(snapshot);
        locked(&self.idle).push(conn);
        result
    }
}

/// What these locks guard is whole at every step, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn commit(&self, scope: &Scope, moment: Moment, writes: Vec<Write>) -> Result<Committed> {
        writer::submit(&self.jobs()?, scope, moment, writes).await
    }

    async fn task(&self, scope: &Scope, task: TaskRef) -> Result<Task> {
        let scope = scope.clone();
        self.read(move |db| match read::task(db, task)? {
            Some(found) if read::sees(&db, &scope, found.spec.tenant)? => Ok(found),
            _ => Err(task_not_found(task)),
        })
        .await
    }

    async fn tasks(&self, scope: &Scope, query: &Query<TaskField>) -> Result<Slice<Task>> {
        let (scope, query) = (scope.clone(), query.clone());
        let Some(index) = self.following().await else {
            return self.read(move |db| read::tasks(db, &scope, &query)).await;
        };
        self.blocking(move |readers| lists::tasks(readers, &index, &scope, &query)).await
    }

    async fn newest_of_each(&self, scope: &Scope, resources: &[Uuid], filter: &Filter<TaskField>) -> Result<Vec<Task>> {
        if let Some(index) = self.following().await {
            let (scope, resources, filter) = (scope.clone(), resources.to_vec(), filter.clone());
            let ask = move |readers: &Readers| lists::newest_of_each(readers, &index, &scope, &resources, &filter);
            if let Some(newest) = self.blocking(ask).await? {
                return Ok(newest);
            }
        }
        newest_one_by_one(self, scope, resources, filter).await
    }

    async fn task_counts(&self, scope: &Scope, filter: &Filter<TaskField>, by: &[TaskField]) -> Result<Vec<Group>> {
        let (scope, filter, by) = (scope.clone(), filter.clone(), by.to_vec());
        let Some(index) = self.following().await else {
            return self.read(move |db| read::counts(&db, &scope, &filter, &by, filter::tasks())).await;
        };
        self.blocking(move |readers| lists::counts(readers, &index, &scope, &filter, &by)).await
    }

    async fn activity(&self, scope: &Scope, activity: ActivityRef) -> Result<ActivityView> {
        let scope = scope.clone();
        self.read(move |db| match read::activity(db, activity)? {
            Some(found) if read::sees(&db, &scope, found.task.spec.tenant)? => Ok(found),
            _ => Err(activity_not_found(activity)),
        })
        .await
    }

    async fn activities(&self, scope: &Scope, query: &Query<ActivityField>) -> Result<Slice<ActivityView>> {
        let (scope, query) = (scope.clone(), query.clone());
        self.read(move |db| read::activities(db, &scope, &query)).await
    }

    async fn activity_counts(
        &self,
        scope: &Scope,
        filter: &Filter<ActivityField>,
        by: &[ActivityField],
    ) -> Result<Vec<Group>> {
        let (scope, filter, by) = (scope.clone(), filter.clone(), by.to_vec());
        self.read(move |db| read::counts(&db, &scope, &filter, &by, filter::activities())).await
    }

    async fn record(&self, scope: &Scope, kind: RecordKind, id: Uuid) -> Result<Stored<Record>> {
        let found = self.asked_for(scope, Asked::Id(kind, id)).await?;
        found.ok_or_else(|| Error::not_found(kind.name(), id))
    }

    async fn record_by_key(&self, scope: &Scope, kind: RecordKind, key: &str) -> Result<Option<Stored<Record>>> {
        self.asked_for(scope, Asked::Key(kind, key.to_owned())).await
    }

    async fn records(
        &self,
        scope: &Scope,
        kind: RecordKind,
        query: &Query<RecordField>,
    ) -> Result<Slice<Stored<Record>>> {
        let (scope, query) = (scope.clone(), query.clone());
        self.read(move |db| read::records(&db, &scope, kind, &query)).await
    }

    async fn changes(&self, scope: &Scope, since: Rev, limit: u32) -> Result<Changes> {
        let scope = scope.clone();
        self.read(move |db| read::changes(db, &scope, since, limit)).await
    }

    async fn due(&self, scope: &Scope, by: Timestamp) -> Result<Vec<TaskId>> {
        let scope = scope.clone();
        self.read(move |db| read::due(&db, &scope, by)).await
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }

    fn index_progress(&self) -> IndexProgress {
        self.progress().borrow().clone()
    }

    fn index_report(&self) -> Option<IndexReport> {
        self.index.as_ref().map(|index| index.report())
    }

    async fn check(&self, scope: &Scope) -> Result<Vec<String>> {
        let scope = scope.clone();
        let of_record = scope.clone();
        let mut found = self.read(move |db| check::check(db, &of_record)).await?;
        if let Some(index) = self.following().await.filter(|_| scope.is_everything()) {
            // However long it takes to build: whoever looks for damage has the time.
            let _ = index.progress().wait_for(IndexProgress::is_settled).await;
            found.extend(self.blocking(move |readers| lists::differences(readers, &index)).await?);
        }
        Ok(found)
    }

    async fn dump(&self, scope: &Scope) -> Result<String> {
        let scope = scope.clone();
        self.read(move |db| read::dump(db, &scope)).await
    }
}
