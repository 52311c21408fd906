//! The ledger's own benchmark at a small size: every kind of question is answered as its definition says, and the same by
//! a database beside it; everything that is measured is there.

use std::time::Duration;

use bench::{Effort, LedgerOptions, LedgerSource, Load, Recipe, run_ledger};
use domain::Timestamp;

fn options(tasks: u64) -> LedgerOptions {
    let end = "2026-11-21T09:30:00Z".parse::<Timestamp>().expect("a time");
    LedgerOptions {
        source: LedgerSource::New(Recipe { tasks, seed: 11, end }, None),
        effort: Effort { repetitions: 5, time: Duration::from_secs(60) },
        only: None,
        load: None,
        postgres: None,
        sqlite: None,
        side_rows: None,
        rivals: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_question_is_answered_rightly() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = run_ledger(LedgerOptions { sqlite: Some(folder.path().join("side.db")), ..options(2000) }, |_| {});
    let report = report.await.expect("measured");
    assert_eq!(report.findings, Vec::<String>::new());
    assert!(report.queries.len() > 50, "{} kinds of questions", report.queries.len());
    for line in &report.queries {
        assert!(line.wall.count >= 1 && line.sqlite.is_some(), "'{}' of {}", line.query, line.whose);
    }
    // Most of them find something, or the constants are made up from nothing.
    let empty: Vec<_> = report.queries.iter().filter(|l| l.rows == 0.0).map(|l| &l.query).collect();
    assert!(empty.len() < 5, "{empty:?}");
    assert_eq!(report.figures.tasks, 2000);
    assert!(report.figures.file_bytes_per_task > 100.0);
    assert!(report.figures.restart_seconds.is_some());
    assert!(report.tables().iter().all(|t| t.rows.iter().all(|r| r.len() == t.header.len())));
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_measured_and_leave_nothing_open() {
    let load = Load { callers: 8, tasks: 100, time: Duration::from_secs(1) };
    let options = LedgerOptions { only: Some("one task".to_owned()), load: Some(load), ..options(500) };
    let report = run_ledger(options, |_| {}).await.expect("measured");
    assert_eq!(report.findings, Vec::<String>::new());
    let writes = report.writes.expect("written");
    assert!((1..=100).contains(&writes.tasks));
    let steps = [writes.enqueue, writes.claim, writes.start, writes.complete];
    assert!(steps.iter().all(|s| s.count as u64 == writes.tasks));
    assert!(writes.transactions >= 1 && writes.transactions <= writes.write.count as u64);
    assert!(writes.fsync.count >= 1 && writes.lists.busy.count >= 1 && writes.batches.claim.count >= 1);
}

#[tokio::test]
async fn rivals_without_a_place_for_them_are_refused() {
    let error = run_ledger(LedgerOptions { rivals: true, ..options(500) }, |_| {}).await.expect_err("refused");
    assert!(error.to_string().contains("--postgres"), "{error}");
}
