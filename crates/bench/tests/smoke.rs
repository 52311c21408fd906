//! A small ledger is made up, is sound, and is asked everything once.

use std::path::Path;
use std::time::Duration;

use bench::{Api, Limits, Manifest, Options, Recipe, Source, generate};
use domain::query::{Filter, Order, Page, Query, TaskField, Value};
use domain::task::State;
use domain::{Scope, Timestamp};
use ledger::{Ledger, Rev, SqliteLedger};

fn recipe(tasks: u64) -> Recipe {
    Recipe { tasks, seed: 11, end: "2026-11-21T09:30:00Z".parse::<Timestamp>().expect("a time") }
}

fn made(folder: &Path, tasks: u64) -> Manifest {
    generate(folder, recipe(tasks), &mut |_| {}).expect("a ledger")
}

#[tokio::test]
async fn what_is_made_up_is_a_sound_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = made(folder.path(), 3000);
    assert_eq!(Manifest::read(folder.path()).expect("readable"), Some(manifest.clone()));
    let ledger = SqliteLedger::open(&folder.path().join("ledger.db")).expect("opens");
    let everything = Scope::everything();
    assert_eq!(ledger.check(&everything).await.expect("looked at"), Vec::<String>::new());

    // Every change has its own stamp, and later stamps have later revisions.
    let changes = ledger.changes(&everything, Rev(0), 10_000).await.expect("changes").tasks;
    assert_eq!(changes.len(), 3000);
    assert!(changes.windows(2).all(|w| w[0].1.status.updated_at < w[1].1.status.updated_at));
    assert!(changes.iter().all(|(_, t)| t.status.updated_at <= manifest.end));

    // Numbers follow the times of creation, without gaps.
    let query =
        Query { filter: Filter::all(), order: Order::<TaskField>::oldest(), page: Page::first(1000), total: true };
    let tasks = ledger.tasks(&everything, &query).await.expect("tasks");
    assert_eq!(tasks.total, Some(3000));
    assert!(tasks.items.iter().zip(1..).all(|(t, id)| t.id.0 == id));
    assert!(tasks.items.windows(2).all(|w| w[0].created_at < w[1].created_at));

    let states = ledger.task_counts(&everything, &Filter::all(), &[TaskField::State, TaskField::Result]).await;
    let states = states.expect("counts");
    let over = Some(Value::Enum(State::Completed.ordinal()));
    assert!(states.iter().any(|g| g.values[0] != over), "some tasks are still open");
    assert!(states[0].count > 2600, "most of it went well");
    ledger.close().await.expect("closed");
}

#[test]
fn a_seed_gives_the_same_ledger() {
    let folders = [(), ()].map(|()| tempfile::tempdir().expect("a folder"));
    let [a, b] = folders.each_ref().map(|f| made(f.path(), 500));
    assert_eq!((a.activities, a.leaf, a.middle, a.resources), (b.activities, b.leaf, b.middle, b.resources));
    assert!(generate(folders[0].path(), recipe(500), &mut |_| {}).is_err(), "a ledger is never overwritten");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_asked_and_the_apis_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        source: Source::New(recipe(3000), Some(folder.path().to_owned())),
        apis: Api::ALL.to_vec(),
        callers: vec![1, 2],
        limits: Limits { requests: 1, time: Duration::from_secs(60) },
    };
    let report = bench::run(options, |_| {}).await.expect("measured");
    assert_eq!(report.lines.len(), 60);
    let mut of_acronis = 0;
    for line in &report.lines {
        let native = line.native.as_ref().expect("asked");
        let dialects = match (&line.acronis, &line.yandex_grpc, &line.yandex_rest, &line.clumio) {
            (None, None, None, None) => vec![&line.openstack.as_ref().expect("asked").stats],
            (Some(acronis), None, None, None) => {
                of_acronis += 1;
                vec![acronis]
            }
            (None, None, None, Some(clumio)) => {
                assert!(clumio.ratio_p50.is_some_and(|r| r > 0.0));
                vec![&clumio.stats]
            }
            (None, Some(grpc), Some(rest), None) => {
                assert!(grpc.ratio_p50.is_some_and(|r| r > 0.0) && rest.ratio_rate.is_some_and(|r| r > 0.0));
                assert!(grpc.stats.bytes < rest.stats.bytes, "a message is smaller than its JSON");
                vec![&grpc.stats, &rest.stats]
            }
            others => panic!("'{}' is asked of one dialect: {others:?}", line.question),
        };
        assert!(native.requests >= 1 && dialects.iter().all(|d| d.requests == native.requests));
        match &line.ready {
            Some(ready) => {
                assert!(ready.requests == native.requests && ready.bytes == native.bytes);
                assert!(line.share_of_ready.is_some_and(|share| share > 0.0));
            }
            None => assert!(line.question.contains("created"), "only what is new cannot be held ready"),
        }
        // Of so few tasks none may have failed on the last day, and none may run in one tenant.
        let found = line.rows > 0 || line.question.starts_with("failed") || line.token != "root";
        assert!(found, "'{}' as {} finds something", line.question, line.token);
    }
    assert_eq!(of_acronis, 24);
    // The APIs that have the question, and the bytes held ready, which what is created has not.
    assert_eq!(report.rows().len(), 24 * 3 + 4 * 3 + 16 * 4 + 14 * 3 + 2 * 2);
}
