//! Work that is stopped on purpose or by force: what is said of it afterwards is true, and the repository is in order.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use acceptance::machine::{Machine, only_backup, result};
use acceptance::restic::Restic;
use acceptance::{Place, add_endless, add_much, noise, until};
use api::client::ListQuery;
use domain::task::{ResultCode, State};
use nix::sys::signal::Signal;

/// Within this time of the wish a running task is cancelled, on a machine that is busy. By itself it would never end.
const CANCEL_LIMIT: Duration = Duration::from_secs(60);

fn much(place: &Place) -> PathBuf {
    let folder = place.folder("much");
    add_much(&folder);
    folder
}

#[tokio::test]
async fn a_running_backup_is_cancelled_within_seconds_and_the_next_one_is_good() {
    let place = Place::new();
    let source = much(&place);
    let endless = add_endless(&source);
    let up = place.start();
    let restic = Restic::of(&place);
    let machine = Machine::protect(&up, &source).await;
    let task = machine.run(&up).await.id;
    let job = up.job_in_the_middle(0).await;

    let said = place.cli(&["task", "cancel", &task.to_string()]).good();
    let wished = Instant::now();
    assert!(said.out.contains("asked to stop"), "{said}");
    let cancelled = up.completed(task).await;
    let took = wished.elapsed();
    assert!(took < CANCEL_LIMIT, "it took {took:?}");
    assert_eq!(result(&cancelled), ResultCode::Cancelled, "{cancelled:#?}");
    assert!(cancelled.cancel_requested);
    job.gone().await;
    assert_eq!(only_backup(&up.client(), task).await, None);
    let _ = place.cli(&["task", "wait", &task.to_string()]).failed(4);
    // Whoever did not hear the answer may ask again; nothing happens any more.
    let again = up.client().cancel_task(task).await.expect("it is as wished");
    assert_eq!(again, cancelled, "completed is final");
    let open = up.client().task_activities(task, &ListQuery::new()).await.expect("activities").items;
    assert!(open.iter().all(|a| a.state == State::Completed), "{open:#?}");
    restic.check();
    assert!(restic.snapshots_by_task().is_empty());

    fs::remove_file(endless).expect("a file");
    assert_eq!(machine.back_up(&up).await.files, 10);
    restic.check();
    assert_eq!(restic.snapshots_by_task().len(), 1);
}

#[tokio::test]
async fn kill_9_of_everything_in_the_middle_of_a_backup_costs_an_attempt_and_nothing_else() {
    let place = Place::new();
    let source = much(&place);
    let endless = add_endless(&source);
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    let task = machine.run(&up).await;
    let job = up.job_in_the_middle(0).await;
    let steps = ListQuery::new().order("id");
    until("the server knows how far it is", async || {
        let known = up.client().task_activities(task.id, &steps).await.ok()?.items;
        known.iter().any(|a| !a.root && a.kind == "backup").then_some(())
    })
    .await;
    up.kill9();
    // Its pipe to the parent closed; nobody has to look for it.
    job.gone().await;
    fs::remove_file(endless).expect("a file");

    let up = place.start();
    let done = up.completed(task.id).await;
    assert_eq!((result(&done), done.assign_count, done.uuid), (ResultCode::Ok, 2, task.uuid), "{done:#?}");
    let backup = only_backup(&up.client(), task.id).await.expect("a backup");
    assert_eq!(backup.files, 10);
    let restic = Restic::of(&place);
    restic.check();
    let snapshots = restic.snapshots_by_task();
    assert_eq!(snapshots.into_iter().collect::<Vec<_>>(), [(task.uuid.to_string(), 1)]);
    // The steps of the lost attempt are told from those of the good one.
    let steps = up.client().task_activities(task.id, &steps).await.expect("activities").items;
    let code = |r: &api::Activity| r.result.as_ref().map(|r| r.code);
    assert_eq!(code(&steps[0]), Some(ResultCode::Ok), "the root is the task");
    let backups: Vec<_> = steps.iter().filter(|a| !a.root && a.kind == "backup").map(code).collect();
    assert_eq!(backups, [Some(ResultCode::Abandoned), Some(ResultCode::Ok)], "{steps:#?}");
    assert!(place.cli(&["ledger", "check"]).good().out.contains("sound"));
}

#[tokio::test]
async fn kill_9_of_the_job_alone_is_an_error_that_says_so() {
    let place = Place::new();
    let source = much(&place);
    let endless = add_endless(&source);
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    let task = machine.run(&up).await.id;
    up.job_in_the_middle(0).await.send(Signal::SIGKILL);

    let ended = up.completed(task).await;
    assert_eq!((result(&ended), ended.assign_count), (ResultCode::Error, 1), "{ended:#?}");
    let error = ended.result.as_ref().and_then(|r| r.error.clone()).expect("a reason");
    assert_eq!((error.domain.as_str(), error.code.as_str()), ("engine", "engineCrashed"));
    assert!(error.message.contains("SIGKILL"), "{}", error.message);
    let _ = place.cli(&["task", "wait", &task.to_string()]).failed(3);
    let restic = Restic::of(&place);
    restic.check();
    fs::remove_file(endless).expect("a file");
    machine.back_up(&up).await;
    restic.check();
}

/// Where to strike.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// As soon as the task is acknowledged to the caller.
    Acknowledged,
    /// As soon as the agent has it.
    Started,
    /// When so many packs of data are there.
    Packs(usize),
    /// When the snapshot is written and the server may not know it yet.
    Snapshot,
}

fn snapshots(place: &Place) -> usize {
    fs::read_dir(place.data().join("repository/snapshots")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn whenever_the_power_goes_what_was_acknowledged_ends_rightly_and_once() {
    // Another seed strikes at other points; the default makes a failure repeatable.
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7_u64);
    eprintln!("SEED={seed}");
    let random = noise(seed, 16);
    let packs = |n: usize| 1 + usize::from(random[n]) % 2;
    let points = [Point::Acknowledged, Point::Packs(packs(0)), Point::Snapshot, Point::Started, Point::Packs(packs(1))];

    let place = Place::new();
    let source = place.folder("source");
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    machine.back_up(&up).await;
    let mut up = Some(up);
    let mut acknowledged = BTreeSet::new();
    for point in points {
        add_much(&source);
        let running = up.take().expect("a server");
        let before = (place.packs(), snapshots(&place));
        let task = machine.run(&running).await;
        acknowledged.insert(task.id);
        match point {
            Point::Acknowledged => {}
            // Or over already: who listens is told of the newest state only.
            Point::Started => drop(
                running.task_until(task.id, "started", |t| matches!(t.state, State::Started | State::Completed)).await,
            ),
            Point::Packs(n) => {
                let there = async || (place.packs() >= before.0 + n).then_some(());
                until("packs are written", there).await;
            }
            Point::Snapshot => {
                let there = async || (snapshots(&place) > before.1).then_some(());
                until("the snapshot is written", there).await;
            }
        }
        running.kill9();

        let next = place.start();
        let ended = next.completed(task.id).await;
        assert_eq!(result(&ended), ResultCode::Ok, "after {point:?}: {ended:#?}");
        let backup = only_backup(&next.client(), task.id).await;
        assert!(backup.is_some(), "after {point:?} task {} has no backup", task.id);
        up = Some(next);
    }

    let up = up.expect("a server");
    let tasks = up.client().tasks(&ListQuery::new().limit(1000)).await.expect("tasks").items;
    let ids: BTreeSet<i64> = tasks.iter().map(|t| t.id).collect();
    assert!(acknowledged.is_subset(&ids), "{acknowledged:?} of {ids:?}");
    assert!(tasks.iter().all(|t| t.state == State::Completed), "{tasks:#?}");
    let backups = up.client().backups(&ListQuery::new().limit(1000)).await.expect("backups").items;
    assert_eq!(backups.len(), points.len() + 1, "one for each task");
    let restic = Restic::of(&place);
    let by_task = restic.snapshots_by_task();
    assert_eq!(by_task.len(), backups.len());
    assert!(by_task.values().all(|n| *n == 1), "{by_task:?}");
    restic.check();
    assert!(place.cli(&["ledger", "check"]).good().out.contains("sound"));
}
