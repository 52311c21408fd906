//! How rows lie in the file: what was written in former layouts is there in the present one, rows take few bytes, and
//! every way of reading them gives the same.

use std::path::Path;

use domain::query::{Field, TaskField};
use domain::task::{Event, Named, Outcome, OutcomeCode, Progress, Task, TaskId, TaskRef};
use domain::{Code, Result};
use rusqlite::Connection;
use serde_json::json;

use super::error::Sql;
use super::scan::Scanner;
use super::tests::{folder, world};
use super::words::{Db, Words};
use super::{SqliteLedger, bind, queue, read, schema};
use crate::contract::world::{everything, refusal, seconds};
use crate::{Ledger, Write, Written};

fn older(path: &Path) {
    let conn = Connection::open(path).expect("it can be made");
    conn.execute_batch(include_str!("fixtures/schema-3.sql")).expect("it can be written");
}

#[tokio::test]
async fn a_ledger_of_schema_3_is_brought_over() -> Result<()> {
    let (_dir, path) = folder();
    older(&path);
    let ledger = SqliteLedger::open(&path)?;
    let dump = ledger.dump(&everything()).await?;
    let expected = include_str!("fixtures/schema-3.txt");
    for (found, expected) in dump.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(dump.lines().count(), expected.lines().count());
    assert_eq!(ledger.check(&everything()).await?, Vec::<String>::new());
    ledger.close().await?;
    // Why something failed can be read without the program.
    let conn = Connection::open(&path).expect("it can be opened");
    let (all, told): (i64, i64) = conn
        .query_row("SELECT count(*), count(error) FROM task_list WHERE result = 'error'", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .expect("it can be read");
    assert!(all > 0 && told == all, "{told} of {all}");
    Ok(())
}

#[test]
fn a_scan_shows_what_reading_shows() -> Result<()> {
    let (_dir, path) = folder();
    older(&path);
    let conn = schema::open_writer(&path)?;
    let words = Words::default();
    let mut scanner = Scanner::default();
    let (mut after, mut seen) = (0, 0);
    // In parts, so that what was learned in one is used in the next.
    while let Some(last) = scanner.scan(Db { conn: &conn, words: &words }, after, 7, &mut |id, rev, shown| {
        let db = Db { conn: &conn, words: &Words::default() };
        let task = read::task(db, TaskRef::Id(TaskId(id))).expect("it can be read").expect("it is there");
        for field in TaskField::ALL {
            assert_eq!(shown(*field), field.read(&task), "{field:?} of task {id}");
        }
        let stored: i64 =
            conn.query_row("SELECT rev FROM task_status WHERE id = ?", [id], |r| r.get(0)).expect("it can be read");
        assert_eq!(rev.0, stored);
        seen += 1;
    })? {
        after = last;
    }
    let all: i64 = conn.query_row("SELECT count(*) FROM tasks", [], |r| r.get(0)).sql()?;
    assert_eq!((seen, seen > 7), (all, true));
    Ok(())
}

#[tokio::test]
async fn a_ledger_is_itself_for_ever() -> Result<()> {
    let (_dir, path) = folder();
    let (w, ledger) = world(&path).await;
    let identity = schema::identity(&schema::open_reader(&path)?)?;
    assert_eq!(identity.len(), 32);
    w.plain().await?;
    ledger.close().await?;
    let again = SqliteLedger::open(&path)?;
    assert_eq!(schema::identity(&schema::open_reader(&path)?)?, identity);
    again.close().await?;
    let (_dir, other) = folder();
    drop(schema::open_writer(&other)?);
    assert_ne!(schema::identity(&schema::open_reader(&other)?)?, identity);
    Ok(())
}

#[tokio::test]
async fn what_was_purged_is_known() -> Result<()> {
    let (_dir, path) = folder();
    let (mut w, ledger) = world(&path).await;
    let (first, kept, second) = (w.plain().await?, w.plain().await?, w.plain().await?);
    for task in [&first, &second] {
        w.event(task.id, Event::Cancel { by: "Jo".into() }).await?;
        w.event(task.id, Event::Delete).await?;
    }
    w.pass(seconds(3600));
    let committed = ledger.commit(&everything(), w.moment, vec![Write::Purge(w.moment.now)]).await?;
    assert_eq!(committed.written, [Written::Removed(2)]);
    let conn = schema::open_reader(&path)?;
    let mut statement = conn.prepare("SELECT rev, id FROM purged").sql()?;
    let purged = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).sql()?;
    let purged: Vec<(i64, i64)> = purged.collect::<rusqlite::Result<_>>().sql()?;
    assert_eq!(purged, [(committed.rev.0, first.id.0), (committed.rev.0, second.id.0)]);
    assert_eq!(w.task(kept.id).await?.id, kept.id);
    w.finish().await;
    Ok(())
}

#[tokio::test]
async fn a_refused_commit_leaves_no_word_behind() -> Result<()> {
    let (_dir, path) = folder();
    let (w, _ledger) = world(&path).await;
    let mut spec = w.spec("never seen before");
    spec.resource = Some(Named { id: "r1".into(), kind: "machine".into(), name: "Web".into() });
    let mut invalid = w.spec("");
    invalid.queue = "".into();
    let writes = [spec.clone(), invalid].map(|spec| Write::CreateTask(Box::new(spec)));
    assert_eq!(refusal(w.commit(writes.into()).await), Code::InvalidField);
    // The numbers of the words that were taken back go to others.
    let other = w.spec("quite another");
    let (first, second) = (w.create(other.clone()).await?, w.create(spec.clone()).await?);
    assert_eq!((&*w.task(first.id).await?.spec, &*w.task(second.id).await?.spec), (&other, &spec));
    let again = w.spec("never seen before");
    let third = w.create(again.clone()).await?;
    assert_eq!(*w.task(third.id).await?.spec, again);
    w.finish().await;
    Ok(())
}

#[test]
fn half_a_file_is_refused() {
    let (_dir, path) = folder();
    older(&path);
    drop(schema::open_writer(&path).expect("it can be brought over"));
    let bytes = std::fs::read(&path).expect("it can be read");
    for rest in [bytes.len() / 2, 4096, 100] {
        std::fs::write(&path, &bytes[..rest]).expect("it can be written");
        assert_eq!(refusal(SqliteLedger::open(&path).map(drop)), Code::LedgerDamaged, "{rest} bytes");
    }
    let mut zeros = bytes.clone();
    zeros[8192..].fill(0);
    std::fs::write(&path, zeros).expect("it can be written");
    assert_eq!(refusal(SqliteLedger::open(&path).map(drop)), Code::LedgerDamaged);
}

#[test]
fn writing_a_row_makes_no_table_of_its_own() -> Result<()> {
    let (_dir, path) = folder();
    older(&path);
    let conn = schema::open_writer(&path)?;
    let all = [bind::INSERT_TASK, bind::INSERT_STATUS, bind::UPDATE_STATUS, bind::INSERT_STEP, bind::UPDATE_STEP];
    for sql in all.iter().chain(queue::EVERY_TIME) {
        let mut steps = conn.prepare(&format!("EXPLAIN {sql}")).sql()?;
        let mut rows = steps.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().sql()? {
            steps.push(row.get::<_, String>(1).sql()?);
        }
        assert!(!steps.iter().any(|step| step == "OpenEphemeral" || step == "SorterOpen"), "{sql}: {steps:?}");
    }
    // The rules are as they were.
    for wrong in ["state = 1", "state = 5", "state = 0", "completed_at = NULL"] {
        let refused = conn.execute(&format!("UPDATE task_status SET {wrong} WHERE state = 4"), []);
        assert!(refused.is_err_and(|e| e.to_string().contains("CHECK")), "{wrong}");
    }
    assert!(conn.execute("UPDATE steps SET state = 1", []).is_err_and(|e| e.to_string().contains("CHECK")));
    Ok(())
}

#[tokio::test]
async fn a_task_takes_few_bytes() -> Result<()> {
    const TASKS: u64 = 500;
    let (_dir, path) = folder();
    let (w, ledger) = world(&path).await;
    let spec = |n: u64| {
        let mut spec = w.spec("backup");
        spec.argument = json!({
            "archive": spec.uuid, "paths": ["/home", "/srv/data"], "includes": [], "excludes": ["*.tmp"],
            "repository": w.acme.id,
        })
        .into();
        spec.context = json!({ "title": format!("Running backup of 'machine-{n}'"), "run_mode": "scheduled" }).into();
        spec.resource = Some(Named {
            id: format!("01900000-0000-7000-8000-{:012}", n % 20).into(),
            kind: "machine".into(),
            name: format!("machine-{}", n % 20).into(),
        });
        Write::CreateTask(Box::new(spec))
    };
    w.commit((0..TASKS).map(spec).collect()).await?;
    let taken = w.claimed(w.claim("a1", 500)).await?;
    let lease = |task: &Task| task.lease().cloned().expect("it is in somebody's hands");
    let start = |task: &Task| Write::Task(TaskRef::Id(task.id), Event::Start { lease: lease(task) });
    w.commit(taken.iter().map(start).collect()).await?;
    let end = |(n, task): (u64, &Task)| {
        let progress = Progress {
            current: 100,
            total: 100,
            bytes_total: n << 20,
            bytes_processed: n << 20,
            ..Progress::default()
        };
        let outcome = Outcome {
            payload: json!({ "size": n << 20, "added": n << 10, "files": n, "incremental": true }),
            ..Outcome::of(OutcomeCode::Ok)
        };
        let end = Event::Complete { lease: lease(task), outcome, progress: Some(progress) };
        Write::Task(TaskRef::Id(task.id), end)
    };
    w.commit((0..TASKS).zip(&taken).map(end).collect()).await?;
    w.finish().await;
    ledger.close().await?;
    let bytes = std::fs::metadata(&path).expect("it is there").len();
    // What lies there before the first task is counted, too.
    assert!(bytes / TASKS < 1250, "{} bytes a task", bytes / TASKS);
    Ok(())
}
