//! Where restored things come to lie, and what becomes of what is there already.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use agent::engine::{Overwrite, RawPath, RestoreJob, RestoreSummary};

use crate::support::{Bench, files_below, odd_name, within};

fn put(bench: &Bench, names: &[&str]) {
    for name in names {
        let path = bench.source().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, name).expect("a file");
    }
}

fn restore(bench: &Bench, snapshot: &str, target: &str, paths: &[&Path]) -> RestoreSummary {
    let job = RestoreJob {
        snapshot: snapshot.to_owned(),
        target: bench.path(target).into(),
        by_name: true,
        paths: paths.iter().map(|path| RawPath::from(bench.source().join(path))).collect(),
        ..RestoreJob::default()
    };
    let (restored, heard) = bench.restore(&job);
    assert_eq!(heard.warnings(), []);
    restored.expect("a restore")
}

#[test]
fn each_item_comes_under_its_own_name() {
    let bench = Bench::new();
    put(&bench, &["a/deep/x", "a/deep/y", "b/z", "c"]);
    fs::write(bench.source().join("b").join(odd_name()), "odd").expect("a file");
    fs::hard_link(bench.source().join("a/deep/x"), bench.source().join("b/x too")).expect("a link");
    let snapshot = bench.good_backup().snapshot;
    let odd = Path::new("b").join(odd_name());
    restore(&bench, &snapshot, "target", &[Path::new("a/deep"), &odd, Path::new("b/x too"), Path::new("c")]);
    let target = bench.path("target");
    let odd_text = RawPath::from(odd_name()).to_string();
    let mut wanted = vec!["c".to_owned(), "deep/x".to_owned(), "deep/y".to_owned(), "x too".to_owned(), odd_text];
    wanted.sort();
    assert_eq!(files_below(&target), wanted);
    assert_eq!(fs::read(target.join("deep/y")).expect("a file"), b"a/deep/y");
    // An item inside another comes once, with that.
    restore(&bench, &snapshot, "nested", &[Path::new("a/deep/x"), Path::new("a")]);
    assert_eq!(files_below(&bench.path("nested")), ["a/deep/x", "a/deep/y"]);
}

#[test]
fn what_was_backed_up_as_a_whole_has_no_name() {
    let bench = Bench::new();
    put(&bench, &["a/x", "b"]);
    let snapshot = bench.good_backup().snapshot;
    let target = bench.path("target");
    fs::create_dir(&target).expect("a directory");
    fs::write(target.join("mine"), "mine").expect("a file");
    let before = fs::metadata(&target).expect("metadata").permissions();
    restore(&bench, &snapshot, "target", &[Path::new("")]);
    assert_eq!(files_below(&target), ["a/x", "b", "mine"]);
    assert_eq!(fs::metadata(&target).expect("metadata").permissions(), before, "the target is nobody's copy");
    restore(&bench, &snapshot, "all", &[]);
    assert_eq!(files_below(&bench.path("all")), ["a/x", "b"]);
}

#[test]
fn equal_names_keep_their_whole_paths_and_so_do_all_others() {
    let bench = Bench::new();
    put(&bench, &["a/same", "b/same", "c"]);
    let snapshot = bench.good_backup().snapshot;
    restore(&bench, &snapshot, "target", &[Path::new("a/same"), Path::new("b/same"), Path::new("c")]);
    assert_eq!(files_below(&within(&bench.path("target"), &bench.source())), ["a/same", "b/same", "c"]);
}

#[test]
fn only_what_is_older_is_replaced() {
    let bench = Bench::new();
    put(&bench, &["older", "same", "newer", "missing", "in the way"]);
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let date = |path: &Path, time: SystemTime| {
        File::options().write(true).open(path).expect("a file").set_modified(time).expect("a time");
    };
    for name in ["older", "same", "newer", "missing", "in the way"] {
        date(&bench.source().join(name), then);
    }
    let snapshot = bench.good_backup().snapshot;
    let target = bench.path("target");
    fs::create_dir(&target).expect("a directory");
    let second = Duration::from_secs(1);
    for (name, time) in [("older", then - second), ("same", then), ("newer", then + second)] {
        fs::write(target.join(name), "mine").expect("a file");
        date(&target.join(name), time);
    }
    std::os::unix::fs::symlink("nowhere", target.join("in the way")).expect("a link");
    let job = RestoreJob {
        snapshot,
        target: target.clone().into(),
        by_name: true,
        overwrite: Overwrite::Older,
        ..RestoreJob::default()
    };
    let restored = bench.restore(&job).0.expect("a restore");
    let content = |name: &str| fs::read_to_string(target.join(name)).unwrap_or_default();
    assert_eq!([content("older"), content("same"), content("newer")], ["older", "mine", "mine"]);
    assert_eq!(content("missing"), "missing");
    // The link is of today.
    assert!(target.join("in the way").is_symlink());
    assert_eq!((restored.files, restored.skipped), (2, 3));
}
