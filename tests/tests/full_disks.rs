//! The disk of the repository or of an agent's journal is full: the task says so and what to do, everything else goes on, and
//! as soon as there is room the next backup goes well by itself.

use std::fs;

use acceptance::disk::{SmallDisk, inside};
use acceptance::machine::{Machine, result};
use acceptance::restic::Restic;
use acceptance::tree::within;
use acceptance::{Place, noise};
use domain::task::ResultCode;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_repository_is_told_and_works_again_with_room() {
    if !inside("a_full_repository_is_told_and_works_again_with_room") {
        return;
    }
    let place = Place::new();
    let source = place.folder("source");
    let disk = SmallDisk::over(&place.folder("backstay-data/repository"), "64m");
    fs::write(source.join("first"), noise(1, 5 << 20)).expect("a file");
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    let first = machine.back_up(&up).await;

    disk.fill_but(64 << 10);
    fs::write(source.join("second"), noise(2, 20 << 20)).expect("a file");
    let failed = up.completed(machine.run(&up).await.id).await;
    assert_eq!(result(&failed), ResultCode::Error, "{failed:#?}");
    let error = failed.result.and_then(|r| r.error).expect("a reason");
    assert_eq!(error.code, "noSpace");
    assert!(error.message.contains("is full; make room there and run it again"), "{}", error.message);
    // What is there can be read, by everybody.
    up.client().health().await.expect("it works as far as it can");
    let to = place.path("restored");
    let _ = place.cli(&["restore", &first.id.to_string(), "--to", &to.display().to_string()]).good();
    let restored = fs::read(within(&to, &source).join("first")).expect("a file");
    assert!(restored == noise(1, 5 << 20), "it came back as it was");

    disk.make_room(50 << 20);
    let second = machine.back_up(&up).await;
    assert_eq!(second.files, 2);
    let restic = Restic::of(&place);
    restic.check();
    assert_eq!(restic.snapshots_by_task().len(), 2, "nothing of the failed run passes for a backup");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_journal_costs_no_backup_and_is_told() {
    if !inside("a_full_journal_costs_no_backup_and_is_told") {
        return;
    }
    let place = Place::new();
    let source = place.folder("source");
    let disk = SmallDisk::over(&place.folder("backstay-data/journal"), "1m");
    fs::write(source.join("file"), noise(1, 1 << 20)).expect("a file");
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    disk.fill_but(0);
    let done = up.completed(machine.run(&up).await.id).await;
    assert_eq!(result(&done), ResultCode::Warning, "{done:#?}");
    let warnings = done.result.map(|r| r.warnings).expect("a result");
    let told = warnings.iter().find(|w| w.code == "journalUnwritable").expect("the word for it");
    let folder = place.path("backstay-data/journal").display().to_string();
    assert!(told.message.contains(&folder) && told.message.contains("the work goes on"), "{}", told.message);

    disk.make_room(512 << 10);
    machine.back_up(&up).await;
}
