//! What only a store in a file can promise: that it is all there again, that a full disk or a damaged file is met with
//! plain words, and that callers who come together share one write to the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::archive::Archive;
use domain::backup::Backup;
use domain::identity::User;
use domain::query::{Direction, Filter, Order, Page, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::record::{Record, RecordKind};
use domain::task::{Event, TaskRef, TaskSpec};
use domain::tenant::Tenant;
use domain::{Code, Result, Role, Scope, Uuid};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::filter::{self, Builder, Reach};
use super::writer::Job;
use super::{SqliteLedger, queue, rows, schema};
use crate::contract::one_of_each;
use crate::contract::world::{World, everything, refusal, seconds};
use crate::{Expect, Ledger, Write};

pub(super) fn folder() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let path = dir.path().join("ledger.db");
    (dir, path)
}

pub(super) async fn world(path: &Path) -> (World, Arc<SqliteLedger>) {
    let ledger = Arc::new(SqliteLedger::open(path).expect("the ledger opens"));
    (World::over(ledger.clone()).await, ledger)
}

/// Lets a test do something in the writer, inside a group.
async fn hook(ledger: &SqliteLedger, f: fn(&Connection)) {
    ledger.jobs().expect("the ledger is open").send(Job::Hook(f)).await.expect("the writer lives");
}

/// Text that no packing makes much shorter.
fn noise(seed: u128, length: usize) -> String {
    let mut state = u64::try_from(seed).unwrap_or_default();
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap_or_default())
    };
    std::iter::repeat_with(next).filter(|c| !matches!(c, '"' | '\\')).take(length).collect()
}

#[tokio::test]
async fn a_word_that_was_taken_back_is_not_read_for_another() -> Result<()> {
    let (_dir, path) = folder();
    let (w, _ledger) = world(&path).await;
    let taken_back = w.spec("never-was");
    let uuid = taken_back.uuid;
    let writes = vec![
        Write::CreateTask(Box::new(taken_back)),
        // The writer reads the word here.
        Write::Task(TaskRef::Uuid(uuid), Event::Cancel { by: "operator".to_owned() }),
        Write::Settle(domain::task::TaskId(999)),
    ];
    assert_eq!(refusal(w.commit(writes).await), Code::NotFound);
    w.create(w.spec("is-there")).await?;
    // The same number stands for this word now, and the writer reads it again.
    let claimed = w.claimed(w.claim("a1", 1)).await?;
    assert_eq!(claimed[0].spec.kind, "is-there");
    w.finish().await;
    Ok(())
}

#[tokio::test]
async fn a_restart_takes_up_the_checkpoint_and_what_came_after_it() -> Result<()> {
    let (_dir, path) = folder();
    let (w, ledger) = world(&path).await;
    w.plain().await?;
    ledger.close().await?;
    let checkpoint = path.with_extension("index");
    let old = std::fs::read(&checkpoint).expect("it was written at the end");
    let listed = async |ledger: &SqliteLedger| -> Result<(usize, Option<u64>)> {
        let query = Query { total: true, ..Query::newest(Filter::all(), 10) };
        let slice = ledger.tasks(&everything(), &query).await?;
        Ok((slice.items.len(), slice.total))
    };

    let (w, ledger) = (w, SqliteLedger::open(&path)?);
    assert_eq!(listed(&ledger).await?, (1, Some(1)));
    let report = ledger.index_report().expect("there is an index");
    assert_eq!((report.tasks, report.checkpoint), (1, report.rev), "nothing had to be read from the record");
    ledger.commit(&everything(), w.moment, vec![Write::CreateTask(Box::new(w.spec("backup")))]).await?;
    ledger.close().await?;

    // As after a kill: the checkpoint is older than the record.
    std::fs::write(&checkpoint, &old).expect("written");
    let ledger = SqliteLedger::open(&path)?;
    assert_eq!(listed(&ledger).await?, (2, Some(2)));
    assert!(ledger.index_report().is_some_and(|r| r.checkpoint < r.rev));
    ledger.close().await?;

    std::fs::write(&checkpoint, &old[..old.len() / 2]).expect("written");
    let ledger = SqliteLedger::open(&path)?;
    assert_eq!(listed(&ledger).await?, (2, Some(2)));
    assert_eq!(ledger.index_report().map(|r| r.checkpoint.0), Some(0), "half a checkpoint was not used");
    assert_eq!(ledger.check(&everything()).await?, Vec::<String>::new());
    ledger.close().await
}

#[tokio::test]
async fn everything_is_there_again() -> Result<()> {
    let (_dir, path) = folder();
    let (mut w, ledger) = world(&path).await;
    w.plain().await?;
    let (task, lease) = w.start("a1").await?;
    w.plain().await?;
    w.complete(task.id, &lease).await?;
    let (before, rev) = (w.dump().await, *ledger.head().borrow());
    ledger.close().await?;
    ledger.close().await?;
    assert_eq!(refusal(w.plain().await), Code::Unavailable);
    assert_eq!(refusal(w.task(task.id).await), Code::Unavailable);
    assert!(!path.with_extension("db-wal").exists(), "the log was folded into the file");

    let again = SqliteLedger::open(&path)?;
    assert_eq!(again.dump(&everything()).await?, before);
    assert_eq!(*again.head().borrow(), rev);
    again.close().await?;

    // Without a proper end, as after a crash: a copy of the files while the ledger is open.
    let (w, _ledger) = {
        let ledger = Arc::new(SqliteLedger::open(&path)?);
        w.ledger = ledger.clone();
        (w, ledger)
    };
    w.plain().await?;
    let (_dir, copy) = folder();
    for suffix in ["", "-wal"] {
        let name = |p: &Path| PathBuf::from(format!("{}{suffix}", p.display()));
        std::fs::copy(name(&path), name(&copy)).expect("the file can be copied");
    }
    assert_eq!(SqliteLedger::open(&copy)?.dump(&everything()).await?, w.dump().await);
    Ok(())
}

#[tokio::test]
async fn callers_share_a_transaction() -> Result<()> {
    let (_dir, path) = folder();
    let (w, ledger) = world(&path).await;
    let before = ledger.transactions();
    let mut callers = JoinSet::new();
    for n in 0..300 {
        let (ledger, moment, tenant) = (ledger.clone(), w.moment, w.acme.id);
        callers.spawn(async move {
            // Every tenth is refused, alone.
            let kind = if n % 10 == 0 { "" } else { "backup" };
            let spec = TaskSpec::new(Uuid::from_u128(1000 + n), kind, "q", tenant);
            ledger.commit(&Scope::everything(), moment, vec![Write::CreateTask(Box::new(spec))]).await
        });
    }
    let mut revs = Vec::new();
    let mut refused = 0;
    while let Some(done) = callers.join_next().await {
        match done.expect("no caller breaks down") {
            Ok(done) => revs.push(done.rev.0),
            Err(e) => {
                assert_eq!(e.code, Code::InvalidField);
                refused += 1;
            }
        }
    }
    revs.sort_unstable();
    let first = revs[0];
    assert_eq!(revs, (first..first + 270).collect::<Vec<_>>(), "each has its own revision, and none is left out");
    assert_eq!(refused, 30);
    let transactions = ledger.transactions() - before;
    assert!(transactions < 270, "{transactions} transactions for 270 commits");
    let query = Query { filter: Filter::all(), order: Order::<TaskField>::oldest(), page: Page::first(1), total: true };
    ledger.close().await?;
    assert_eq!(SqliteLedger::open(&path)?.tasks(&everything(), &query).await?.total, Some(270));
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_said_plainly() -> Result<()> {
    let (_dir, path) = folder();
    let (w, ledger) = world(&path).await;
    let task = w.plain().await?;
    let before = w.dump().await;
    hook(&ledger, |conn| {
        let pages: i64 = conn.pragma_query_value(None, "page_count", |r| r.get(0)).expect("it can be counted");
        conn.pragma_update(None, "max_page_count", pages).expect("it can be limited");
    })
    .await;
    let mut callers = JoinSet::new();
    for n in 0..10 {
        let mut spec = TaskSpec::new(Uuid::from_u128(n), "backup", "q", w.acme.id);
        spec.argument = serde_json::Value::from(noise(n, 100_000)).into();
        let (ledger, moment) = (ledger.clone(), w.moment);
        callers.spawn(async move {
            ledger.commit(&Scope::everything(), moment, vec![Write::CreateTask(Box::new(spec))]).await
        });
    }
    while let Some(refused) = callers.join_next().await {
        let error = refused.expect("no caller breaks down").expect_err("there is no room");
        assert_eq!(error.code, Code::StorageFull, "{error:?}");
        assert!(error.hint.is_some());
    }
    assert_eq!(w.dump().await, before, "reading goes on, and nothing was written");
    hook(&ledger, |conn| {
        conn.pragma_update(None, "max_page_count", i32::MAX).expect("the limit can be lifted");
    })
    .await;
    w.event(task.id, Event::Cancel { by: "Jo".into() }).await?;
    w.finish().await;
    Ok(())
}

#[tokio::test]
async fn a_defect_hangs_nobody() -> Result<()> {
    let (_dir, path) = folder();
    let (w, ledger) = world(&path).await;
    let before = w.dump().await;
    // The callers are in the queue before the writer can look.
    let (open, gate) = std::sync::mpsc::channel();
    static GATE: std::sync::Mutex<Option<std::sync::mpsc::Receiver<()>>> = std::sync::Mutex::new(None);
    *GATE.lock().expect("nobody broke down") = Some(gate);
    hook(&ledger, |_| {
        let gate = GATE.lock().expect("nobody broke down").take();
        gate.expect("it is there").recv().expect("it opens");
    })
    .await;
    let spec = |n: u128| Write::CreateTask(Box::new(TaskSpec::new(Uuid::from_u128(n), "backup", "q", w.acme.id)));
    let (scope, moment) = (everything(), w.moment);
    let early = ledger.commit(&scope, moment, vec![spec(1)]);
    let defect = async {
        hook(&ledger, |_| panic!("a defect, as the test wants it")).await;
        open.send(()).expect("the writer waits");
        Ok(())
    };
    let (early, defect): (_, Result<()>) = tokio::join!(early, defect);
    defect?;
    assert_eq!(refusal(early), Code::Unavailable);
    assert_eq!(w.dump().await, before, "nothing of the group is there");
    w.plain().await?;
    w.finish().await;
    Ok(())
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let (dir, path) = folder();
    let open = |path: &Path| SqliteLedger::open(path).map(drop);
    assert_eq!(refusal(open(&dir.path().join("no/such/folder/ledger.db"))), Code::Unavailable);

    std::fs::write(&path, "This is a letter to somebody.\n".repeat(100)).expect("it can be written");
    let letter = open(&path).expect_err("it is no database");
    assert_eq!(letter.code, Code::LedgerDamaged);
    assert!(letter.message.contains("not an SQLite database"), "{letter}");

    let other = dir.path().join("other.db");
    let conn = Connection::open(&other).expect("it can be made");
    conn.execute_batch("CREATE TABLE photos (name TEXT)").expect("it can be written");
    let refused = open(&other).expect_err("it is another program's");
    assert_eq!((refused.code, refused.field.as_deref()), (Code::InvalidField, Some("ledger")));
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).expect("it can be read");
    assert_eq!(tables, 1);

    let newer = dir.path().join("newer.db");
    drop(SqliteLedger::open(&newer).expect("it can be made"));
    let conn = Connection::open(&newer).expect("it can be opened");
    conn.pragma_update(None, "user_version", 99).expect("it can be written");
    let refused = open(&newer).expect_err("it is newer");
    assert_eq!(refused.code, Code::InvalidField);
    assert!(refused.message.contains("schema version 99"), "{refused}");
}

#[tokio::test]
async fn a_look_changes_nothing() -> Result<()> {
    let (dir, path) = folder();
    assert_eq!(SqliteLedger::look(&path).expect_err("there is none").code, Code::Unavailable);
    assert!(!path.exists());
    SqliteLedger::open(&path)?.close().await?;
    assert_eq!(SqliteLedger::look(&path), Ok(0));
    let conn = Connection::open(&path).expect("it can be opened");
    conn.execute_batch(&format!("{BEFORE_ARCHIVES} PRAGMA user_version = 6;")).expect("it can be as it was before");
    drop(conn);
    let before = std::fs::read(&path).expect("readable");
    assert!(SqliteLedger::look(&path)? > 0, "a program of before can still open it");
    assert_eq!(std::fs::read(&path).expect("readable"), before);
    let other = dir.path().join("other.db");
    std::fs::write(&other, vec![7; 100_000]).expect("written");
    assert_eq!(SqliteLedger::look(&other).expect_err("no database").code, Code::LedgerDamaged);
    Ok(())
}

#[tokio::test]
async fn damage_is_found() -> Result<()> {
    let (_dir, path) = folder();
    let (w, ledger) = world(&path).await;
    let many: Vec<_> = (0..200).map(|_| Write::CreateTask(Box::new(w.spec("backup")))).collect();
    w.commit(many).await?;
    let task = w.plain().await?;
    w.event(task.id, Event::Cancel { by: "Jo".into() }).await?;

    // Rows that contradict each other, written by somebody else.
    let conn = Connection::open(&path).expect("it can be opened");
    conn.execute_batch(
        "UPDATE tasks SET wish = 'no JSON' WHERE id = 7;
         UPDATE task_status SET root_id = NULL, root_at = NULL;
         UPDATE task_status SET rev = 1000000 WHERE id = 9;
         DELETE FROM task_status WHERE id = 3;
         DELETE FROM waiting WHERE id = 5;
         UPDATE waiting SET type = 'other' WHERE id = 6;
         UPDATE tenants SET locator = '/1/4711/' WHERE number = 7;",
    )
    .expect("it can be written");
    let found = w.ledger.check(&everything()).await?.join("\n");
    for part in [
        "task 3 has no status",
        "task 5 waits and has no place in its queue",
        "task 6 has a place in a queue where it does not wait",
        "task 9 is newer than the ledger",
        "task 201 is completed and has no root activity",
        "the task 7 cannot be read",
        "does not stand where its locator says",
    ] {
        assert!(found.contains(part), "'{part}' is missing in: {found}");
    }
    assert_eq!(refusal(w.ledger.task(&everything(), TaskRef::Id(domain::task::TaskId(7))).await), Code::LedgerDamaged);
    drop(conn);
    ledger.close().await?;

    // Rubbish in the middle of the file.
    let mut bytes = std::fs::read(&path).expect("it can be read");
    let half = bytes.len() / 2;
    bytes[4096..half].fill(0xa5);
    std::fs::write(&path, bytes).expect("it can be written");
    let refused = SqliteLedger::open(&path).map(drop).expect_err("it is damaged");
    assert_eq!(refused.code, Code::LedgerDamaged);
    assert!(refused.hint.is_some_and(|h| h.contains("restore")), "it says what to do");
    Ok(())
}

#[tokio::test]
async fn people_can_read_it() -> Result<()> {
    let (_dir, path) = folder();
    let (w, _ledger) = world(&path).await;
    let task = w.plain().await?;
    w.event(task.id, Event::Cancel { by: "Jo".into() }).await?;
    let conn = Connection::open(&path).expect("it can be opened");
    let row: (String, String, String, String, String) = conn
        .query_row("SELECT state, result, error, tenant, created_at FROM task_list", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
        })
        .expect("it can be read");
    let expected =
        ("completed", "cancelled", "Cancelled by Jo before it was handed out.", "Acme", "2026-11-21 09:01:00");
    assert_eq!((&*row.0, &*row.1, &*row.2, &*row.3, &*row.4), expected);
    Ok(())
}

#[tokio::test]
async fn the_names_in_the_view_are_those_of_the_domain() {
    use domain::task::{Priority, ResultCode, State};
    let sql = include_str!("migrations/0004_layout.sql");
    let listed = |names: &[&str]| {
        for (i, name) in names.iter().enumerate() {
            assert!(
                sql.contains(&format!("WHEN {i} THEN '{name}'")) || sql.contains(&format!("ELSE '{name}'")),
                "{name}"
            );
        }
    };
    listed(State::NAMES);
    listed(ResultCode::NAMES);
    listed(Priority::NAMES);
}

#[tokio::test]
async fn what_waits_in_an_older_file_takes_turns() -> Result<()> {
    let (_dir, path) = folder();
    let (mut w, ledger) = world(&path).await;
    for tenant in [w.acme.id, w.acme.id, w.acme.id, w.other.id, w.other.id] {
        let mut spec = w.spec("backup");
        spec.tenant = tenant;
        spec.rules.max_assign_count = 2;
        w.create(spec).await?;
    }
    let (task, lease) = w.start("a1").await?;
    ledger.close().await?;
    let conn = Connection::open(&path).expect("it can be opened");
    conn.execute_batch(&format!("{BEFORE_ARCHIVES} DROP TABLE lanes; DROP TABLE waiting; PRAGMA user_version = 4;"))
        .expect("it can be as it was before");
    drop(conn);

    w.ledger = Arc::new(SqliteLedger::open(&path)?);
    w.finish().await;
    w.event(task.id, Event::Abandon { lease, reason: "tired".into() }).await?;
    let taken = w.claimed(w.claim("a1", 5)).await?;
    assert_eq!(taken.iter().map(|t| t.id.0).collect::<Vec<_>>(), [1, 2, 4, 3, 5]);
    w.finish().await;
    Ok(())
}

/// Takes back what 0007 and those after it made.
const BEFORE_ARCHIVES: &str =
    "DROP TABLE channels; ALTER TABLE tenants DROP COLUMN ended_at; ALTER TABLE tasks DROP COLUMN parent;
    DROP TABLE restored_files; DROP INDEX backups_by_end; DROP INDEX backups_by_time;
    ALTER TABLE backups DROP COLUMN agent; ALTER TABLE backups DROP COLUMN expires_at;
    DROP TABLE client_keys; DROP TABLE revocations; DROP TABLE archives; DROP TABLE operations;
    DROP INDEX resources_of_tenant; ALTER TABLE resources DROP COLUMN external;
    ALTER TABLE resources DROP COLUMN ended_at; DROP INDEX backups_of_archive; DROP INDEX backups_of_policy;
    ALTER TABLE backups DROP COLUMN resource_kind; ALTER TABLE backups DROP COLUMN external;
    ALTER TABLE backups DROP COLUMN archive; ALTER TABLE backups DROP COLUMN ended_at;";

#[tokio::test]
async fn backups_of_an_older_file_are_archives_by_policy_and_resource() -> Result<()> {
    let (_dir, path) = folder();
    let (mut w, ledger) = world(&path).await;
    let (policy, resource, other) = (w.id(), w.id(), w.id());
    let [first, second, alone] = [w.id(), w.id(), w.id()];
    let mut made = Vec::new();
    for (n, (resource, archive)) in
        [(resource, first), (resource, first), (resource, second), (other, alone)].into_iter().enumerate()
    {
        w.pass(seconds(1));
        let Some(Record::Backup(backup)) = one_of_each(&w).into_iter().find(|r| r.kind() == RecordKind::Backup) else {
            panic!("there is one of each");
        };
        let backup = Backup { resource, archive, policy: Some(policy), task: n as i64, deleted_at: None, ..backup };
        made.push(backup.id);
        w.commit(vec![Write::Put(Box::new(backup.into()), Expect::New)]).await?;
    }
    ledger.close().await?;
    let conn = Connection::open(&path).expect("it can be opened");
    conn.execute_batch(&format!("{BEFORE_ARCHIVES} PRAGMA user_version = 6;")).expect("it can be as it was before");
    drop(conn);

    w.ledger = Arc::new(SqliteLedger::open(&path)?);
    let (ledger, everything) = (&w.ledger, everything());
    for (id, archive) in made.iter().zip([second, second, second, alone]) {
        assert_eq!(ledger.get::<Backup>(&everything, *id).await?.value.archive, archive);
    }
    let archives = ledger.all::<Archive>(&everything, Filter::all()).await?;
    assert_eq!(archives.len(), 2);
    let found =
        ledger.find::<Archive>(&everything, &Archive::key_of(policy, resource)).await?.expect("it is there").value;
    let oldest = ledger.get::<Backup>(&everything, made[0]).await?.value;
    assert_eq!((found.id, found.created_at), (second, oldest.created_at));
    assert_eq!(found.name, format!("Machine-{policy}-{second}A"));
    assert!(ledger.find::<Archive>(&everything, &Archive::key_of(policy, other)).await?.is_some());
    w.finish().await;
    Ok(())
}

/// How SQLite carries a statement out.
fn plan(conn: &Connection, sql: &str) -> String {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it can be planned");
    let count = statement.parameter_count();
    let rows = statement
        .query_map(rusqlite::params_from_iter(vec![rusqlite::types::Null; count]), |r| r.get::<_, String>(3))
        .expect("it can be planned");
    rows.collect::<rusqlite::Result<Vec<_>>>().expect("it can be read").join("\n")
}

#[tokio::test]
async fn a_page_of_machines_is_read_without_the_others() -> Result<()> {
    let (_dir, path) = folder();
    let (w, _ledger) = world(&path).await;
    let conn = schema::open_reader(&path)?;
    let kinds = ["bare_metal", "compute_vm"].map(|kind| Pattern::Is(Value::Text(kind.to_owned())));
    let filter =
        Filter::all().and(RecordField::Kind, Test::AnyOf(kinds.into()))?.and(RecordField::EndedAt, Test::Absent)?;
    let tenant = rows::uuid(w.acme.id);
    let builder = Builder::by(Reach::One(tenant), filter::records(RecordKind::Resource)).matching(&filter);
    let count = plan(&conn, &format!("SELECT count(*) {}", builder.rows()));
    assert!(count.contains("COVERING INDEX resources_of_tenant"), "{count}");
    let order = Order::by(vec![(RecordField::CreatedAt, Direction::Asc)])?;
    let page = plan(&conn, &format!("SELECT r.body {} {} LIMIT 100", builder.rows(), builder.sorted(&order)));
    assert!(page.contains("INDEX resources_of_tenant") && !page.contains("TEMP B-TREE"), "{page}");
    Ok(())
}

#[tokio::test]
async fn a_long_queue_is_not_read_to_its_end() {
    let (_dir, path) = folder();
    let (_w, _ledger) = world(&path).await;
    let conn = schema::open_reader(&path).expect("it can be opened");
    let plan = |sql: &str| plan(&conn, sql);
    for (sql, index) in [
        (queue::IN_ORDER, "USING PRIMARY KEY (lane=? AND type=?)"),
        (queue::OF_TENANT, "waiting_of_tenant (lane=? AND tenant=?)"),
        (queue::PLACE, "waiting_of_tenant (lane=? AND tenant=? AND id=?)"),
    ] {
        let plan = plan(sql);
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
    let due = plan("SELECT id FROM task_status s WHERE s.deadline <= ?1 ORDER BY s.deadline, s.id");
    assert!(due.contains("task_status_deadline") && !due.contains("TEMP B-TREE FOR ORDER BY"), "{due}");
}

#[tokio::test]
async fn who_calls_is_known_as_they_are_now() -> Result<()> {
    let (_dir, path) = folder();
    let (w, ledger) = world(&path).await;
    let user = User {
        id: w.id(),
        tenant: w.acme.id,
        login: "ops@example.com".into(),
        name: "New".into(),
        roles: vec![Role::Viewer],
        password_hash: "$argon2id$x".into(),
        created_at: w.moment.now,
        updated_at: w.moment.now,
        revoked_at: None,
    };
    let all = everything();
    let read = || w.ledger.get::<User>(&all, user.id);
    assert_eq!(refusal(read().await), Code::NotFound);
    w.commit(vec![Write::Put(Box::new(user.clone().into()), Expect::New)]).await?;
    for name in ["One", "Two", "Three"] {
        let found = read().await?;
        let renamed = |expect| {
            let user = User { name: name.to_owned(), ..found.value.clone() };
            vec![Write::Put(Box::new(user.into()), expect)]
        };
        assert_eq!(refusal(w.commit(renamed(Expect::New)).await), Code::AlreadyExists);
        assert_eq!(read().await?, found, "what is refused changes nothing");
        w.commit(renamed(Expect::Rev(found.rev))).await?;
        // Once from the file and once from memory.
        for _ in 0..2 {
            assert_eq!(read().await?.value.name, name);
        }
    }
    w.commit(vec![Write::Remove(RecordKind::User, user.id)]).await?;
    assert_eq!(refusal(read().await), Code::NotFound);
    ledger.close().await?;
    assert_eq!(refusal(w.ledger.get::<Tenant>(&everything(), Uuid::nil()).await), Code::Unavailable);
    Ok(())
}
