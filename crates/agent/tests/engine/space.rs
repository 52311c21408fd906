//! Space is given back: in two steps, beside nobody, and without harm.

use std::{
    fs::{self, File},
    path::Path,
    process::Command as Program,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use agent::engine::{BackupJob, CheckJob, Engine, Event, ForgetJob, Reporter, RestoreJob, Step};
use domain::SignedDuration;
use domain::policy::settings::{Command, When};

use crate::support::{Bench, noise, restored_files};

/// Longer than any step takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A repository with one recovery point left of two; what the other alone needed lies there still.
fn half_forgotten(bench: &Bench) -> String {
    fs::write(bench.source().join("old"), noise(3, 300_000)).expect("a file");
    let first = bench.good_backup();
    fs::remove_file(bench.source().join("old")).expect("it goes");
    fs::write(bench.source().join("new"), "new").expect("a file");
    let second = bench.good_backup();
    let job = ForgetJob { snapshots: vec![first.snapshot] };
    bench.engine().forget(&job, &Reporter::silent()).expect("forgotten");
    second.snapshot
}

fn stored(bench: &Bench) -> u64 {
    bench.packs().iter().map(|(_, size)| size).sum()
}

fn sound(bench: &Bench) {
    let found = bench.engine().check(&CheckJob { read_data: true }, &Reporter::silent()).expect("a check");
    assert!(found.ok, "{found:?}");
    bench.restic_check();
}

/// A reporter, and the steps that it hears of.
fn steps() -> (Reporter, Receiver<Step>) {
    let (sender, receiver) = mpsc::channel();
    let reporter = Reporter::new(move |event| {
        if let Event::StepStarted { step } = event {
            let _ = sender.send(step);
        }
    });
    (reporter, receiver)
}

fn wait_for(steps: &Receiver<Step>, wanted: Step) {
    while steps.recv_timeout(LIMIT).expect("the step comes") != wanted {}
}

#[test]
fn what_nobody_needs_is_marked_and_removed_later() {
    removed_later(&Bench::new());
}

#[test]
fn what_nobody_needs_far_away_is_marked_and_removed_later() {
    removed_later(&Bench::far());
}

fn removed_later(bench: &Bench) {
    let kept = half_forgotten(bench);
    let before = stored(bench);
    let marked = bench.engine().prune(&Reporter::silent()).expect("a clean-up");
    assert_eq!((marked.bytes_removed, marked.busy), (0, false));
    assert!(marked.bytes_marked > 290_000, "{marked:?}");
    assert!(stored(bench) >= before, "nothing is gone yet");
    sound(bench);
    let again = bench.engine().prune(&Reporter::silent()).expect("a clean-up");
    assert_eq!(again.bytes_removed, 0, "it was marked a moment ago");
    assert!(again.bytes_marked > 290_000, "it waits still: {again:?}");

    let removed = bench.engine().keeping_marked(SignedDuration::ZERO).prune(&Reporter::silent()).expect("a clean-up");
    assert!(removed.bytes_removed > 290_000, "{removed:?}");
    assert!(stored(bench) + 290_000 < before);
    sound(bench);
    assert_eq!(restored_files(bench, &kept), "new");
}

#[test]
fn what_is_marked_and_needed_again_is_stored_again() {
    let bench = Bench::new();
    let kept = half_forgotten(&bench);
    bench.engine().prune(&Reporter::silent()).expect("a clean-up");
    fs::write(bench.source().join("old"), noise(3, 300_000)).expect("the same file");
    let third = bench.good_backup();
    sound(&bench);
    bench.engine().keeping_marked(SignedDuration::ZERO).prune(&Reporter::silent()).expect("a clean-up");
    sound(&bench);
    assert_eq!(restored_files(&bench, &kept), "new");
    assert_eq!(restored_files(&bench, &third.snapshot), "new old");
}

#[test]
fn nobody_cleans_up_beside_a_backup() {
    nobody_cleans_up(&Bench::new());
}

#[test]
fn nobody_cleans_up_beside_a_backup_far_away() {
    nobody_cleans_up(&Bench::far());
}

fn nobody_cleans_up(bench: &Bench) {
    half_forgotten(bench);
    fs::write(bench.source().join("old"), noise(3, 300_000)).expect("the same file");
    let gate = bench.path("gate");
    assert!(Program::new("mkfifo").arg(&gate).status().expect("mkfifo runs").success());
    let held = Command {
        when: When::PreData,
        cmd: "cat".to_owned(),
        args: gate.display().to_string(),
        workdir: String::new(),
        enabled: true,
        stop_on_error: true,
        wait: true,
    };
    let job = BackupJob { commands: vec![held], ..bench.backup_job() };
    let (reporter, steps) = steps();
    let made = thread::scope(|scope| {
        let backup = scope.spawn(|| bench.engine().backup(&job, &reporter));
        wait_for(&steps, Step::PreDataCommands);
        let refused = bench.engine().keeping_marked(SignedDuration::ZERO).prune(&Reporter::silent());
        assert!(refused.expect("an answer").busy, "it counts on what lies there");
        drop(File::options().write(true).open(&gate).expect("the gate opens"));
        backup.join().expect("no panic").expect("a backup")
    });
    let done = bench.engine().keeping_marked(SignedDuration::ZERO).prune(&Reporter::silent()).expect("a clean-up");
    assert!(!done.busy);
    sound(bench);
    assert_eq!(restored_files(bench, &made.snapshot), "new old");
}

#[test]
fn a_backup_waits_for_a_clean_up() {
    let bench = Bench::new();
    let kept = half_forgotten(&bench);
    let config = File::open(bench.path("repository/config")).expect("it is there");
    config.lock().expect("nobody else holds it");
    let (reporter, steps) = steps();
    let made = thread::scope(|scope| {
        let backup = scope.spawn(|| bench.engine().backup(&bench.backup_job(), &reporter));
        wait_for(&steps, Step::Wait);
        assert!(!backup.is_finished());
        drop(config);
        backup.join().expect("no panic").expect("a backup")
    });
    assert_eq!(restored_files(&bench, &made.snapshot), "new");
    let target = bench.path("target");
    let job = RestoreJob { snapshot: kept, target: target.into(), ..RestoreJob::default() };
    bench.restore(&job).0.expect("a restore");
}

#[test]
fn a_lock_of_restic_is_heeded() {
    let bench = Bench::new();
    half_forgotten(&bench);
    let locks = bench.path("repository/locks");
    fs::create_dir_all(&locks).expect("a folder");
    let lock: &Path = &locks.join("0".repeat(64));
    fs::write(lock, "").expect("a lock");
    assert!(bench.engine().prune(&Reporter::silent()).expect("an answer").busy);
    fs::remove_file(lock).expect("it goes");
    assert!(!bench.engine().prune(&Reporter::silent()).expect("an answer").busy);
}
