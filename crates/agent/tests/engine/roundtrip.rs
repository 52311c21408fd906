//! Whatever a file system can hold comes back as it was, through our restore and through restic's.

use std::{
    ffi::OsStr,
    fs::{self, File, FileTimes, OpenOptions, Permissions},
    os::unix::{
        fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink},
        net::UnixListener,
    },
    path::Path,
    time::{Duration, SystemTime},
};

use agent::engine::{RawPath, RestoreJob, Step};
use nix::{
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::{Uid, mkfifo},
};

use crate::support::{Bench, assert_same, assert_same_but_for_holes, manifest, noise, odd_name};

const AGE_OF_ROOT: u32 = 123_456_780;

fn age(path: &Path, nanoseconds: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, nanoseconds);
    let file = File::open(path).expect("a file or directory");
    file.set_times(FileTimes::new().set_modified(time)).expect("times");
}

/// One of everything. What only root may make is left out for others.
fn fill(root: &Path) {
    let is_root = Uid::effective().is_root();
    let write = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).expect("a file");
    for directory in ["empty", "dir/deep/deeper", "日本語/ümläut", "readonly"] {
        fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    write("plain", b"some text\n");
    write("nothing", b"");
    write("big", &noise(1, 9 << 20));
    write("big copy", &noise(1, 9 << 20));
    write("dir/deep/deeper/leaf", b"leaf");
    write("日本語/ümläut/ファイル", b"unicode");
    write("readonly/file", b"locked");
    write("old", b"from before 1970");
    fs::write(root.join(odd_name()), b"odd").expect("an odd file");
    let odd_directory = root.join("dir").join(odd_name());
    fs::create_dir(&odd_directory).expect("an odd directory");
    fs::write(odd_directory.join("in odd"), b"x").expect("a file");

    for (name, mode) in [("plain", 0o640), ("nothing", 0o4755), ("dir/deep", 0o2775), ("empty", 0o1777)] {
        if is_root && name == "nothing" {
            chown(root.join(name), Some(12345), Some(23456)).expect("an owner");
        }
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).expect("a mode");
    }

    symlink("plain", root.join("link")).expect("a link");
    symlink("/nowhere/at all", root.join("dangling")).expect("a link");
    symlink(odd_name(), root.join("odd link")).expect("a link");
    fs::hard_link(root.join("plain"), root.join("dir/plain too")).expect("a hard link");
    fs::hard_link(root.join("plain"), root.join("日本語/plain three")).expect("a hard link");
    mkfifo(&root.join("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).expect("a fifo");
    drop(UnixListener::bind(root.join("socket")).expect("a socket"));

    // Data in front, in the middle, off the grid of blocks, and a hole at the end.
    let sparse = OpenOptions::new().write(true).create_new(true).open(root.join("sparse")).expect("a file");
    sparse.set_len(64 << 20).expect("a length");
    for (seed, offset) in [(2, 0), (3, (20 << 20) + 123), (4, 40 << 20)] {
        sparse.write_all_at(&noise(seed, 10_000), offset).expect("data");
    }
    File::create(root.join("all hole")).and_then(|file| file.set_len(5 << 20)).expect("a hole");

    for name in ["plain", "dir/deep", "empty"] {
        xattr::set(root.join(name), "user.backstay", b"value \xff\x00 of bytes").unwrap_or_else(|error| {
            panic!("{error}: the temporary directory must be on a file system with extended attributes")
        });
    }
    xattr::set(root.join("plain"), "user.empty", b"").expect("an attribute");
    if is_root {
        lchown(root.join("link"), Some(111), Some(222)).expect("an owner");
        chown(root.join("dir"), Some(1001), Some(1002)).expect("an owner");
        xattr::set(root.join("dangling"), "trusted.of_a_link", b"1").expect("an attribute");
        // Devices need a right that containers may lack; the null device is harmless, and no driver has the other number.
        let mode = Mode::S_IRUSR;
        let _ = mknod(&root.join("null"), SFlag::S_IFCHR, mode, makedev(1, 3));
        let _ = mknod(&root.join("disk"), SFlag::S_IFBLK, mode, makedev(120, 7));
    }
    fs::set_permissions(root.join("readonly/file"), Permissions::from_mode(0o400)).expect("a mode");

    age(&root.join("old"), 0);
    let before_1970 = SystemTime::UNIX_EPOCH - Duration::new(86_400, 250);
    let old = OpenOptions::new().write(true).open(root.join("old")).expect("a file");
    old.set_times(FileTimes::new().set_modified(before_1970)).expect("times");
    for (name, nanoseconds) in [("plain", 1), ("big", 999_999_999), ("sparse", 123_456_789), ("dir/deep/deeper", 10)] {
        age(&root.join(name), nanoseconds);
    }
    for (name, nanoseconds) in [("dir/deep", 11), ("dir", 12), ("empty", 13), (".", AGE_OF_ROOT)] {
        age(&root.join(name), nanoseconds);
    }
    fs::set_permissions(root.join("readonly"), Permissions::from_mode(0o500)).expect("a mode");
}

/// Remove what the restic program does not keep: sockets, and in versions that are still around the
/// extended attributes of links and link targets that are not UTF-8.
fn reduce_to_what_restic_keeps(root: &Path) {
    for name in ["socket", "odd link"] {
        let _ = fs::remove_file(root.join(name));
    }
    let _ = xattr::remove(root.join("dangling"), "trusted.of_a_link");
    age(root, AGE_OF_ROOT);
}

#[test]
fn everything_comes_back_through_us_and_through_restic() {
    let bench = Bench::new();
    fill(&bench.source());
    let before = manifest(&bench.source());
    assert!(before[&RawPath::from("sparse")].has_holes, "the file system makes holes");

    let (summary, heard) = bench.backup(&bench.backup_job());
    let summary = summary.expect("a backup");
    assert_eq!(heard.warnings(), []);
    assert_eq!(heard.steps(), [Step::Scan, Step::Backup, Step::Index]);
    assert_eq!(summary.parent, None);
    let files = before.values().filter(|facts| facts.kind != "directory").count() as u64;
    assert_eq!(summary.files, files);
    assert_eq!(summary.files_new, files);

    let target = bench.path("target");
    let job = RestoreJob { snapshot: summary.snapshot.clone(), target: target.clone().into(), ..RestoreJob::default() };
    let (restored, heard) = bench.restore(&job);
    let restored = restored.expect("a restore");
    assert_eq!(heard.warnings(), []);
    assert_eq!(heard.steps(), [Step::Plan, Step::Restore, Step::Metadata]);
    assert_eq!(restored.failed, 0);
    assert_eq!(restored.hardlinks, 2);
    assert_same(&bench.source(), &bench.restored(&target));
    // The directories that lead there come back as well.
    let above = |root: &Path| {
        let meta = fs::metadata(root.parent().expect("a parent")).expect("metadata");
        (meta.mode(), meta.uid(), meta.mtime(), meta.mtime_nsec())
    };
    // Its time changed when the target was made; the rest is as it was.
    let (mode, uid, ..) = above(&bench.restored(&target));
    assert_eq!((mode, uid), (above(&bench.source()).0, above(&bench.source()).1));

    bench.restic_check();
    let theirs = bench.path("theirs");
    bench.restic(&["restore".as_ref(), OsStr::new(&summary.snapshot), "--target".as_ref(), theirs.as_os_str()]);
    let (ours, theirs) = (bench.restored(&target), bench.restored(&theirs));
    reduce_to_what_restic_keeps(&ours);
    reduce_to_what_restic_keeps(&theirs);
    assert_same_but_for_holes(&ours, &theirs);
}

#[test]
fn an_unchanged_source_adds_no_data() {
    let bench = Bench::new();
    fill(&bench.source());
    let first = bench.good_backup();
    let second = bench.good_backup();

    assert_eq!(second.parent, Some(first.snapshot.clone()));
    assert_eq!(second.files_unmodified, first.files);
    assert_eq!((second.files_new, second.files_changed, second.bytes_added_files), (0, 0, 0));
    assert_ne!(second.snapshot, first.snapshot);

    fs::write(bench.source().join("plain"), b"other text\n").expect("a change");
    fs::write(bench.source().join("new"), b"new\n").expect("a new file");
    let third = bench.good_backup();
    // The changed file has three names.
    assert_eq!((third.files_new, third.files_changed), (1, 3));
    assert_eq!(third.bytes_added_files, 11 + 4);
    bench.restic_check();
}

#[test]
fn what_restic_wrote_can_be_listed_and_restored() {
    let bench = Bench::new();
    fill(&bench.source());
    bench.restic(&["backup".as_ref(), "--host".as_ref(), "elsewhere".as_ref(), bench.source().as_os_str()]);

    let engine = bench.engine();
    let snapshots = agent::engine::Engine::list_snapshots(&engine).expect("a list").snapshots;
    assert_eq!(snapshots.len(), 1);
    assert_eq!((snapshots[0].host.as_str(), snapshots[0].task), ("elsewhere", None));

    let target = bench.path("target");
    let job = RestoreJob { snapshot: snapshots[0].id.clone(), target: target.clone().into(), ..RestoreJob::default() };
    let (restored, heard) = bench.restore(&job);
    assert_eq!(heard.warnings(), []);
    assert_eq!(restored.expect("a restore").failed, 0);
    let (source, restored) = (bench.source(), bench.restored(&target));
    reduce_to_what_restic_keeps(&source);
    reduce_to_what_restic_keeps(&restored);
    assert_same(&source, &restored);
}

/// Whoever moves from `restic` to us, or goes back, stores nothing twice.
#[test]
fn files_are_cut_where_restic_cuts_them() {
    let bench = Bench::new();
    // Some twenty pieces, and a copy that lies otherwise behind its first bytes.
    let long = noise(1, 24 << 20);
    fs::write(bench.source().join("long"), &long).expect("a file");
    fs::write(bench.source().join("moved"), [b"more", long.as_slice()].concat()).expect("a file");
    fs::write(bench.source().join("short"), noise(2, 3_000)).expect("a file");
    let first = bench.good_backup();
    assert!(first.bytes_added_files < 30 << 20, "the moved copy was not cut at the same contents: {first:?}");

    let told = bench.restic(&["backup".as_ref(), "--json".as_ref(), "--force".as_ref(), bench.source().as_os_str()]);
    let summary = told.lines().find(|line| line.contains(r#""message_type":"summary""#)).expect("a summary");
    assert!(summary.contains(r#""data_blobs":0,"#), "{summary}");
}
