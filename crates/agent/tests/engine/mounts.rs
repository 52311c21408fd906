//! Jobs that meet other file systems: full ones, which end a job with `noSpace` because a person can do
//! something about that, and ones that are not to be backed up.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::Path,
    process::Command,
};

use agent::{
    child::{Child, Program},
    engine::{BackupJob, EngineError, ErrorCode, Job, Output, Request, RestoreJob},
};

use crate::support::{Bench, noise, run_job};

/// Runs the child where `small` is a file system of its own with 4 MB, after `prepare`. Only the child sees
/// it. `None` where the system does not allow that, as in some containers.
fn with_small_disk(small: &Path, prepare: &str) -> Option<Program> {
    let allowed = Command::new("unshare").args(["--mount", "--map-root-user", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no file system can be mounted here");
        return None;
    }
    let script = format!(r#"mount -t tmpfs -o size=4m tmpfs "$1" && {prepare} && exec "$2""#);
    let words = ["--mount", "--map-root-user", "sh", "-c", &script, "sh"].map(OsString::from);
    let places = [small.as_os_str(), run_job().path.as_os_str()].map(OsStr::to_owned);
    Some(Program { path: "unshare".into(), args: words.into_iter().chain(places).collect() })
}

async fn failure(program: &Program, request: &Request) -> EngineError {
    let mut child = Child::spawn(program, request).await.expect("a child");
    child.outcome().await.expect_err("a full disk")
}

#[tokio::test]
async fn a_full_repository_ends_a_backup() {
    let bench = Bench::new();
    for index in 0..20 {
        fs::write(bench.source().join(index.to_string()), noise(index, 1 << 20)).expect("a file");
    }
    let small = bench.path("small");
    fs::create_dir(&small).expect("a directory");
    let Some(program) = with_small_disk(&small, r#"cp -r "$1/../repository/." "$1""#) else { return };
    let mut spec = bench.spec();
    spec.url = small.display().to_string();
    let error = failure(&program, &Request::new(spec, Job::Backup(bench.backup_job()))).await;
    assert_eq!(error.code, ErrorCode::NoSpace, "{error:?}");
}

#[tokio::test]
async fn a_full_target_ends_a_restore() {
    let bench = Bench::new();
    fs::write(bench.source().join("big"), noise(1, 9 << 20)).expect("a file");
    fs::write(bench.source().join("small"), "small").expect("a file");
    let snapshot = bench.good_backup().snapshot;
    let target = bench.path("target");
    fs::create_dir(&target).expect("a directory");
    let Some(program) = with_small_disk(&target, "true") else { return };
    let job = RestoreJob { snapshot, target: target.into(), ..RestoreJob::default() };
    let error = failure(&program, &Request::new(bench.spec(), Job::Restore(job))).await;
    assert_eq!(error.code, ErrorCode::NoSpace, "{error:?}");
}

#[tokio::test]
async fn other_file_systems_are_left_out_on_request() {
    let bench = Bench::new();
    fs::write(bench.source().join("here"), "here").expect("a file");
    let other = bench.source().join("other");
    fs::create_dir(&other).expect("a directory");
    let Some(program) = with_small_disk(&other, r#"echo there > "$1/there""#) else { return };
    for (one_file_system, files) in [(false, 2), (true, 1)] {
        let job = BackupJob { one_file_system, ..bench.backup_job() };
        let request = Request::new(bench.spec(), Job::Backup(job));
        let mut child = Child::spawn(&program, &request).await.expect("a child");
        let Ok(Output::Backup(summary)) = child.outcome().await else { panic!("no backup") };
        assert_eq!(summary.files, files);
        // The mount point is kept: without it nothing could be mounted after a restore.
        let listing = bench.restic(&["ls".as_ref(), OsStr::new(&summary.snapshot)]);
        assert!(listing.lines().any(|line| Path::new(line) == other), "{listing}");
    }
}
