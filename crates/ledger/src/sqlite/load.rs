//! Loading a whole history at once, into a file that is not there yet.
//!
//! A commit applies rules, takes a revision and waits for the disk. History that already happened - brought over from
//! another place, or made up for a benchmark - has its revisions and times, and nobody waits for its rows one by one:
//! ten million of them would take hours as commits. So they are stored as they are, in large transactions without a
//! journal, under another name; the file gets its own name when everything in it is on disk. A load that ends early
//! leaves nothing that could be taken for a ledger.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use domain::activity::{Activity, Body};
use domain::record::Record;
use domain::task::{State, Task};
use domain::{Code, Error, Result, Timestamp};
use rusqlite::Connection;

use super::error::Sql;
use super::remembered::Remembered;
use super::schema;
use super::tx::{SqlTx, set_counters};
use crate::Rev;
use crate::commit::{Counters, Tx, come_in};

/// Rows in one transaction.
const ROWS: u32 = 100_000;
/// Kibibytes of pages that are kept in memory meanwhile; sorting for an index uses as much.
const CACHE_KIB: i64 = 512 * 1024;

/// Writes a new ledger from rows that are known already.
///
/// What it is given must be a history as the ledger itself would have written it: owners before what they own, tasks
/// before their activities, each task a state that the domain can reach, each completed one with its root activity,
/// revisions and times of changes in the same order. References are checked here; `backstay ledger check` finds the
/// rest. After an error the load is lost.
pub struct Loader {
    conn: Connection,
    counters: Counters,
    remembered: Remembered,
    /// The indexes that are made at the end: sorting once is faster than finding a place for each row.
    indexes: Vec<String>,
    rows: u32,
    path: PathBuf,
    loading: PathBuf,
}

impl Loader {
    /// Begins a ledger that shall be at this path.
    ///
    /// # Errors
    /// `already_exists` when something is there, and those of the file.
    pub fn create(path: &Path) -> Result<Loader> {
        if path.try_exists().map_err(|e| disk(path, &e))? {
            return Err(Error::new(Code::AlreadyExists, format!("'{}' is there already", path.display()))
                .hint("history is loaded into a new ledger only"));
        }
        let loading = path.with_extension("loading");
        match fs::remove_file(&loading) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(disk(&loading, &e)),
            _ => {}
        }
        let conn = schema::open_writer(&loading)?;
        // If the machine stops now, the file is void anyhow.
        conn.pragma_update(None, "journal_mode", "OFF").sql()?;
        conn.pragma_update(None, "synchronous", "OFF").sql()?;
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE").sql()?;
        conn.pragma_update(None, "cache_size", -CACHE_KIB).sql()?;
        let indexes = drop_indexes(&conn)?;
        conn.execute_batch("BEGIN").sql()?;
        Ok(Loader {
            conn,
            counters: Counters::default(),
            remembered: Remembered::default(),
            indexes,
            rows: 0,
            path: path.to_owned(),
            loading,
        })
    }

    /// Stores a record with its times, changed last at this revision.
    ///
    /// # Errors
    /// Those of the file; `internal` when its owner is not there.
    pub fn put_record(&mut self, record: &Record, rev: Rev) -> Result<()> {
        self.tx().put_record(record, rev)?;
        self.saw(record.updated_at());
        self.stored(rev)
    }

    /// Stores a task as it is, changed last at this revision.
    ///
    /// # Errors
    /// Those of the file; `internal` when its tenant is not there, or a task with its number or uuid is.
    pub fn put_task(&mut self, task: &Task, rev: Rev) -> Result<()> {
        let mut tx = self.tx();
        tx.insert_task(task, rev)?;
        if task.state() == State::Enqueued {
            come_in(&mut tx, task)?;
        }
        self.counters.task = self.counters.task.max(task.id);
        self.saw(task.status.updated_at);
        self.stored(rev)
    }

    /// Stores an activity of a task that is there.
    ///
    /// # Errors
    /// Those of the file; `internal` when its task is not there, or an activity with its number or uuid is.
    pub fn put_activity(&mut self, activity: &Activity) -> Result<()> {
        self.tx().insert_activity(activity)?;
        self.counters.activity = self.counters.activity.max(activity.id);
        self.saw(match &activity.body {
            Body::Root => activity.created_at,
            Body::Step(_, status) => status.updated_at,
        });
        self.stored(Rev(0))
    }

    /// Makes the indexes, writes everything to the disk and gives the file its name. From then on it opens as a ledger
    /// in which all this has happened: what comes next has later numbers, revisions and times.
    ///
    /// # Errors
    /// Those of the file.
    pub fn finish(self) -> Result<()> {
        let Loader { conn, counters, indexes, path, loading, .. } = self;
        conn.execute_batch("COMMIT").sql()?;
        for index in indexes {
            conn.execute_batch(&index).sql()?;
        }
        set_counters(&conn, &counters)?;
        // What the first orderly end of a server would find out: without it the file is asked in other ways until then.
        conn.execute_batch("PRAGMA optimize = 0x10002").sql()?;
        conn.close().map_err(|(_, e)| e).sql()?;
        let publish = || {
            File::open(&loading)?.sync_all()?;
            fs::rename(&loading, &path)?;
            match path.parent().filter(|p| !p.as_os_str().is_empty()) {
                Some(folder) => File::open(folder)?.sync_all(),
                None => Ok(()),
            }
        };
        publish().map_err(|e: std::io::Error| disk(&path, &e))
    }

    fn tx(&self) -> SqlTx<'_> {
        SqlTx::new(&self.conn, self.counters, &self.remembered)
    }

    fn saw(&mut self, stamp: Timestamp) {
        self.counters.stamp = self.counters.stamp.max(stamp);
    }

    fn stored(&mut self, rev: Rev) -> Result<()> {
        self.counters.rev = self.counters.rev.max(rev);
        self.rows += 1;
        if self.rows == ROWS {
            self.rows = 0;
            self.conn.execute_batch("COMMIT; BEGIN").sql()?;
        }
        Ok(())
    }
}

/// Drops the indexes that no constraint needs, and gives what makes them again.
fn drop_indexes(conn: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL
                 AND tbl_name IN ('tasks', 'task_status', 'steps') ORDER BY rowid";
    let mut statement = conn.prepare(sql).sql()?;
    let found = statement.query_map([], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?))).sql()?;
    let found: Vec<_> = found.collect::<rusqlite::Result<_>>().sql()?;
    for (name, _) in &found {
        conn.execute_batch(&format!("DROP INDEX \"{name}\"")).sql()?;
    }
    Ok(found.into_iter().map(|(_, sql)| sql).collect())
}

fn disk(path: &Path, e: &std::io::Error) -> Error {
    match e.kind() {
        std::io::ErrorKind::StorageFull => Error::new(Code::StorageFull, "the disk of the ledger is full"),
        _ => Error::new(Code::Unavailable, format!("the ledger '{}' cannot be written: {e}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::activity::ActivityId;
    use domain::task::{Event, Executor, LeaseToken, Outcome, OutcomeCode, TaskId, TaskSpec};
    use domain::tenant::Tenant;
    use domain::{Moment, Scope, SignedDuration, Uuid};

    use super::*;
    use crate::{Ledger, SqliteLedger, Write};

    fn at(seconds: i64) -> Moment {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + seconds);
        Moment { now, up_since: Timestamp::UNIX_EPOCH }
    }

    fn root() -> Tenant {
        Tenant::root("root", "UTC", at(0).now)
    }

    fn spec(tenant: Uuid, n: u128) -> Arc<TaskSpec> {
        Arc::new(TaskSpec::new(Uuid::from_u128(n), "backup", "agents", tenant))
    }

    /// A task that was carried out, and its root activity.
    fn done(id: i64, tenant: Uuid) -> (Task, Activity) {
        let lease = LeaseToken("l".to_owned());
        let claim =
            Event::Claim { executor: Executor { id: "a1".into(), ..Executor::default() }, lease: lease.clone() };
        let task = Task::create(TaskId(id), spec(tenant, 7), at(10).now).expect("a task");
        let task = task.apply(claim, at(11)).expect("claimed").task;
        let task = task.apply(Event::Start { lease: lease.clone() }, at(12)).expect("started").task;
        let activity = Activity::root(ActivityId(5), &task, at(12).now);
        let end = Event::Complete { lease, outcome: Outcome::of(OutcomeCode::Ok), progress: None };
        (task.apply(end, at(20)).expect("completed").task, activity)
    }

    #[tokio::test]
    async fn a_loaded_ledger_is_sound_and_goes_on() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.db");
        let (tenant, everything) = (root(), Scope::everything());
        let (task, activity) = done(3, tenant.id);
        let waiting = Task::create(TaskId(4), spec(tenant.id, 8), at(15).now)?;

        let mut loader = Loader::create(&path)?;
        loader.put_record(&tenant.clone().into(), Rev(1))?;
        loader.put_task(&task, Rev(9))?;
        loader.put_activity(&activity)?;
        loader.put_task(&waiting, Rev(6))?;
        assert!(!path.exists(), "nothing is there before the end");
        loader.finish()?;

        let ledger = SqliteLedger::open(&path)?;
        assert_eq!(ledger.check(&everything).await?, Vec::<String>::new());
        let head = *ledger.head().borrow();
        assert_eq!((head.rev, head.horizon), (Rev(9), at(20).now));
        assert_eq!(ledger.task(&everything, domain::task::TaskRef::Id(TaskId(3))).await?, task);

        // The clock has stood still meanwhile.
        let write = Write::CreateTask(Box::new((*spec(tenant.id, 9)).clone()));
        let committed = ledger.commit(&everything, at(0), vec![write]).await?;
        let next = committed.task().expect("a task");
        assert_eq!((committed.rev, next.id), (Rev(10), TaskId(5)));
        assert_eq!(next.created_at, at(20).now + SignedDuration::from_nanos(1), "no stamp is given out twice");
        ledger.close().await
    }

    #[test]
    fn indexes_are_those_of_the_schema() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let names = |path: &Path| -> Result<Vec<String>> {
            let conn = schema::open_reader(path)?;
            let mut statement = conn
                .prepare("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name")
                .sql()?;
            statement.query_map([], |r| r.get(0)).sql()?.collect::<rusqlite::Result<_>>().sql()
        };
        let (loaded, made) = (dir.path().join("loaded.db"), dir.path().join("made.db"));
        Loader::create(&loaded)?.finish()?;
        drop(schema::open_writer(&made)?);
        assert_eq!(names(&loaded)?, names(&made)?);
        Ok(())
    }

    #[test]
    fn what_is_there_is_not_touched_and_what_is_wrong_is_refused() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ledger.db");
        fs::write(&path, "mine").expect("written");
        let refused = Loader::create(&path).err().expect("refused");
        assert_eq!(refused.code, Code::AlreadyExists);

        let path = dir.path().join("other.db");
        let mut loader = Loader::create(&path)?;
        let (task, activity) = done(1, Uuid::from_u128(99));
        assert!(loader.put_activity(&activity).is_err(), "a step of a task that is not there");
        assert!(loader.put_task(&task, Rev(1)).is_err(), "a task of a tenant that is not there");
        drop(loader);
        assert!(!path.exists());
        // A load that ended early is in nobody's way.
        Loader::create(&path)?.finish()
    }
}
