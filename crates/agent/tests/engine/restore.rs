//! Restores into places where something is already, of parts of a snapshot, and where not all goes well.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
};

use agent::engine::{ErrorCode, Overwrite, RawPath, RestoreJob};

use crate::support::{Bench, assert_same, manifest, noise, within};

struct Case {
    bench: Bench,
    job: RestoreJob,
}

/// A backup of a small tree, restored once.
fn restored() -> Case {
    let bench = Bench::new();
    let source = bench.source();
    fs::create_dir(source.join("dir")).expect("a directory");
    fs::write(source.join("dir/a"), noise(1, 300_000)).expect("a file");
    fs::write(source.join("b"), "b").expect("a file");
    fs::hard_link(source.join("b"), source.join("dir/b too")).expect("a link");
    symlink("b", source.join("link")).expect("a link");
    let sparse = File::create(source.join("sparse")).expect("a file");
    sparse.set_len(3 << 20).expect("a length");
    sparse.write_all_at(b"x", 1 << 20).expect("data");
    let job = RestoreJob {
        snapshot: bench.good_backup().snapshot,
        target: bench.path("target").into(),
        ..RestoreJob::default()
    };
    let case = Case { bench, job };
    let first = case.restore(&case.job);
    assert_eq!((first.files, first.hardlinks, first.specials), (3, 1, 1));
    case
}

impl Case {
    fn restore(&self, job: &RestoreJob) -> agent::engine::RestoreSummary {
        let (summary, heard) = self.bench.restore(job);
        assert_eq!(heard.warnings(), []);
        let summary = summary.expect("a restore");
        assert_eq!(summary.failed, 0);
        summary
    }

    fn place(&self, name: &str) -> std::path::PathBuf {
        self.bench.restored(self.job.target.as_path()).join(name)
    }

    /// Change everything that can be changed.
    fn disturb(&self) {
        fs::write(self.place("dir/a"), noise(2, 300_000)).expect("a change");
        fs::remove_file(self.place("link")).expect("a link");
        symlink("elsewhere", self.place("link")).expect("a link");
        fs::remove_file(self.place("dir/b too")).expect("a link");
        fs::write(self.place("dir/b too"), "no link any more").expect("a file");
        // Data where the holes are.
        fs::write(self.place("sparse"), noise(3, 3 << 20)).expect("a change");
        fs::write(self.place("extra"), "extra").expect("a file");
    }

    fn assert_restored(&self) {
        assert_same(&self.bench.source(), &self.bench.restored(self.job.target.as_path()));
    }
}

#[test]
fn a_second_restore_writes_only_what_changed() {
    let case = restored();
    let again = case.restore(&case.job);
    // The second name of a file counts, too.
    assert_eq!((again.files, again.files_unchanged, again.hardlinks, again.bytes), (0, 4, 0, 0));
    case.assert_restored();

    case.disturb();
    let repaired = case.restore(&case.job);
    assert_eq!((repaired.files, repaired.files_unchanged, repaired.hardlinks, repaired.deleted), (2, 1, 1, 0));
    assert_eq!(fs::read_to_string(case.place("extra")).expect("still there"), "extra");
    fs::remove_file(case.place("extra")).expect("a file");
    case.restore(&case.job);
    case.assert_restored();
}

#[test]
fn delete_removes_what_the_backup_does_not_have_and_nothing_above() {
    let case = restored();
    case.disturb();
    fs::create_dir(case.place("dir/a dir")).expect("a directory");
    fs::write(case.place("dir/a dir/file"), "x").expect("a file");
    let above = case.job.target.as_path().join("unrelated");
    fs::write(&above, "unrelated").expect("a file");
    // A restore in place must not put the modes of an old snapshot on directories like `/tmp`.
    let lead = case.bench.restored(case.job.target.as_path());
    let lead = lead.parent().expect("a parent");
    fs::set_permissions(lead, fs::Permissions::from_mode(0o711)).expect("a mode");
    let summary = case.restore(&RestoreJob { delete: true, ..case.job.clone() });
    assert_eq!(summary.deleted, 2);
    assert!(above.exists());
    assert_eq!(fs::metadata(lead).expect("metadata").mode() & 0o777, 0o711);
    case.assert_restored();
}

#[test]
fn never_overwrite_means_never() {
    let case = restored();
    case.disturb();
    fs::remove_file(case.place("b")).expect("a file");
    let before = manifest(&case.place("dir"));
    let summary = case.restore(&RestoreJob { overwrite: Overwrite::Never, ..case.job.clone() });
    assert_eq!((summary.files, summary.skipped), (1, 4));
    assert_eq!(manifest(&case.place("dir")), before);
    assert_eq!(fs::read(case.place("b")).expect("restored"), b"b");
}

#[test]
fn overwrite_always_does_not_trust_times() {
    let case = restored();
    let path = case.place("dir/a");
    let mtime = fs::metadata(&path).and_then(|meta| meta.modified()).expect("a time");
    fs::write(&path, noise(9, 300_000)).expect("a change");
    File::options().write(true).open(&path).and_then(|file| file.set_modified(mtime)).expect("a time");
    case.restore(&case.job);
    assert_eq!(fs::read(&path).expect("a file"), noise(9, 300_000), "time and size are right");
    case.restore(&RestoreJob { overwrite: Overwrite::Always, ..case.job.clone() });
    case.assert_restored();
}

#[test]
fn links_in_the_target_are_replaced_not_followed() {
    let case = restored();
    let outside = case.bench.path("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("a"), "precious").expect("a file");
    fs::remove_dir_all(case.place("dir")).expect("a directory");
    symlink(&outside, case.place("dir")).expect("a link");
    fs::remove_file(case.place("b")).expect("a file");
    symlink(outside.join("a"), case.place("b")).expect("a link");
    case.restore(&case.job);
    assert_eq!(fs::read_to_string(outside.join("a")).expect("still there"), "precious");
    case.assert_restored();
}

#[test]
fn paths_select_and_their_absence_is_an_error() {
    let case = restored();
    let source = case.bench.source();
    let part = |names: &[&str], target: &str| RestoreJob {
        paths: names.iter().map(|name| RawPath::from(source.join(name))).collect(),
        target: case.bench.path(target).into(),
        ..case.job.clone()
    };
    let some = part(&["dir", "link"], "some");
    case.restore(&some);
    let place = within(some.target.as_path(), &source);
    let names: Vec<String> = manifest(&place).keys().map(ToString::to_string).collect();
    assert_eq!(names, ["", "dir", "dir/a", "dir/b too", "link"]);
    assert_same(&source.join("dir"), &place.join("dir"));
    // What only leads there has its own attributes as well.
    assert_eq!(fs::metadata(&place).expect("there").mtime(), fs::metadata(&source).expect("there").mtime());

    let (refused, _) = case.bench.restore(&part(&["dir", "nothing"], "none"));
    let error = refused.expect_err("a refusal");
    assert_eq!(error.code, ErrorCode::PathNotInBackup);
    assert_eq!(error.context["path"], source.join("nothing").display().to_string());
    assert!(!case.bench.path("none").exists(), "nothing is done by halves");
}

#[test]
fn what_is_in_the_way_is_a_warning() {
    let case = restored();
    fs::remove_file(case.place("b")).expect("a file");
    fs::create_dir(case.place("b")).expect("a directory");
    let (summary, heard) = case.bench.restore(&case.job);
    let summary = summary.expect("the rest");
    // The file and its second name.
    assert_eq!((summary.failed, heard.warnings().len()), (1, 1), "{:?}", heard.warnings());
    assert_eq!(heard.warnings()[0].path, Some(case.place("b").into()));

    let blocked = RestoreJob { target: case.place("sparse").into(), ..case.job.clone() };
    assert!(case.bench.restore(&blocked).0.is_err(), "a file is no target");
}

#[test]
fn an_unknown_snapshot_is_an_error() {
    let case = restored();
    let missing = RestoreJob { snapshot: "f".repeat(64), ..case.job.clone() };
    assert_eq!(case.bench.restore(&missing).0.expect_err("no snapshot").code, ErrorCode::SnapshotNotFound);
}

#[test]
fn a_target_that_depends_on_where_the_agent_runs_is_refused() {
    let case = restored();
    let job = RestoreJob { target: "back".into(), ..case.job.clone() };
    assert_eq!(case.bench.restore(&job).0.expect_err("a refusal").code, ErrorCode::InvalidJob);
}
