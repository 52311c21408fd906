//! Sample trees with one of everything that a file system can hold, and the comparison of two trees to the last bit.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::{is_root, noise};

/// A name that is no UTF-8.
#[must_use]
pub fn odd_name() -> &'static OsStr {
    OsStr::from_bytes(b"caf\xe9 \\ \"quoted\" \xff")
}

/// `target` with the whole of `path` below it, as a restore makes it.
///
/// # Panics
/// When the path is not absolute.
#[must_use]
pub fn within(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").expect("an absolute path"))
}

/// Fills a folder with one of everything. What only root may make is left out for others, and said so.
///
/// # Panics
/// When something cannot be made.
pub fn fill(root: &Path) {
    let write = |name: &str, bytes: &[u8]| fs::write(root.join(name), bytes).expect("a file");
    for folder in ["empty", "dir/deep/deeper", "日本語/ümläut", "readonly"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    write("plain", b"some text\n");
    write("nothing", b"");
    write("big", &noise(1, 5 << 20));
    write("big copy", &noise(1, 5 << 20));
    write("dir/deep/deeper/leaf", b"leaf");
    write("日本語/ümläut/ファイル", b"unicode");
    write("readonly/file", b"locked");
    fs::write(root.join(odd_name()), b"odd").expect("an odd file");
    let odd_folder = root.join("dir").join(odd_name());
    fs::create_dir(&odd_folder).expect("an odd folder");
    fs::write(odd_folder.join("in odd"), b"x").expect("a file");

    symlink("plain", root.join("link")).expect("a link");
    symlink("/nowhere/at all", root.join("dangling")).expect("a link");
    fs::hard_link(root.join("plain"), root.join("dir/plain too")).expect("a hard link");
    fs::hard_link(root.join("plain"), root.join("日本語/plain three")).expect("a hard link");
    mkfifo(&root.join("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).expect("a fifo");
    drop(UnixListener::bind(root.join("socket")).expect("a socket"));

    // Data in front, off the grid of blocks, and a hole at the end.
    let sparse = OpenOptions::new().write(true).create_new(true).open(root.join("sparse")).expect("a file");
    sparse.set_len(64 << 20).expect("a length");
    for (seed, offset) in [(2, 0), (3, (20 << 20) + 123), (4, 40 << 20)] {
        sparse.write_all_at(&noise(seed, 10_000), offset).expect("data");
    }

    for name in ["plain", "dir/deep", "empty"] {
        xattr::set(root.join(name), "user.backstay", b"value \xff\x00 of bytes").unwrap_or_else(|e| {
            panic!("{e}: the temporary folder must be on a file system with extended attributes; set TMPDIR")
        });
    }
    if is_root() {
        // Owners before modes: a change of owner clears the setuid bit.
        chown(root.join("nothing"), Some(12_345), Some(23_456)).expect("an owner");
        chown(root.join("dir"), Some(1001), Some(1002)).expect("an owner");
        lchown(root.join("link"), Some(111), Some(222)).expect("an owner");
    } else {
        eprintln!("NOT ROOT: files of other owners are not part of this run; run it as root to see them restored");
    }
    for (name, mode) in [("plain", 0o640), ("nothing", 0o4755), ("dir/deep", 0o2775), ("empty", 0o1777)] {
        fs::set_permissions(root.join(name), Permissions::from_mode(mode)).expect("a mode");
    }
    fs::set_permissions(root.join("readonly/file"), Permissions::from_mode(0o400)).expect("a mode");

    for (name, nanoseconds) in [("plain", 1), ("big", 999_999_999), ("sparse", 123_456_789), ("dir/deep/deeper", 10)] {
        age(&root.join(name), nanoseconds);
    }
    for (name, nanoseconds) in [("dir/deep", 11), ("dir", 12), ("empty", 13), (".", 123_456_780)] {
        age(&root.join(name), nanoseconds);
    }
    fs::set_permissions(root.join("readonly"), Permissions::from_mode(0o500)).expect("a mode");
}

/// Makes a file or folder as old as the year 2009, to the nanosecond.
fn age(path: &Path, nanoseconds: u32) {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, nanoseconds);
    let file = File::open(path).expect("a file or folder");
    file.set_times(FileTimes::new().set_modified(time)).expect("times");
}

/// What there is to know about a file, in a form that compares well and prints well.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    kind: &'static str,
    mode: String,
    owner: (u32, u32),
    size: u64,
    mtime: (i64, i64),
    link_target: Option<PathBuf>,
    attributes: BTreeMap<String, Vec<u8>>,
    /// The first of all names of the same file.
    same_as: PathBuf,
    has_holes: bool,
}

type Manifest = BTreeMap<PathBuf, Facts>;

/// What does not count in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum But {
    /// Everything counts.
    Nothing,
    /// Sockets, which `restic` does not keep, and holes, which it does not always make.
    WhatResticLeaves,
}

/// Both trees have the same files with the same facts and the same bytes.
///
/// # Panics
/// When they do not.
#[track_caller]
pub fn assert_same(left: &Path, right: &Path, but: But) {
    let [left_facts, right_facts] = [left, right].map(|root| manifest(root, but));
    let names = |manifest: &Manifest| manifest.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left_facts), names(&right_facts));
    for (name, facts) in &left_facts {
        assert_eq!(Some(facts), right_facts.get(name), "{}", name.display());
        if facts.kind == "file" {
            assert!(same_bytes(&left.join(name), &right.join(name)), "the content of {} differs", name.display());
        }
    }
}

fn manifest(root: &Path, but: But) -> Manifest {
    let mut manifest = Manifest::new();
    describe(root, root, &mut HashMap::new(), &mut manifest);
    if but == But::WhatResticLeaves {
        manifest.retain(|_, facts| facts.kind != "socket");
        manifest.values_mut().for_each(|facts| facts.has_holes = false);
    }
    manifest
}

fn describe(root: &Path, path: &Path, names: &mut HashMap<(u64, u64), PathBuf>, manifest: &mut Manifest) {
    let meta = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let kind = meta.file_type();
    let name = path.strip_prefix(root).expect("below the root").to_owned();
    let same_as = names.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone()).clone();
    let value = |key: &OsStr| xattr::get(path, key).expect("an attribute").unwrap_or_default();
    let facts = Facts {
        kind: match kind {
            _ if kind.is_dir() => "folder",
            _ if kind.is_symlink() => "link",
            _ if kind.is_fifo() => "fifo",
            _ if kind.is_socket() => "socket",
            _ if kind.is_file() => "file",
            _ => "device",
        },
        mode: format!("{:o}", meta.mode()),
        owner: (meta.uid(), meta.gid()),
        size: if kind.is_dir() { 0 } else { meta.len() },
        mtime: (meta.mtime(), meta.mtime_nsec()),
        link_target: kind.is_symlink().then(|| fs::read_link(path).expect("a link")),
        attributes: xattr::list(path)
            .expect("extended attributes")
            .map(|key| (key.to_string_lossy().into_owned(), value(&key)))
            .collect(),
        same_as,
        // Small files may be stored in the inode.
        has_holes: kind.is_file() && meta.len() > 1 << 16 && meta.blocks() * 512 < meta.len(),
    };
    manifest.insert(name, facts);
    if kind.is_dir() {
        let entries = fs::read_dir(path).expect("a folder");
        let mut below: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        below.sort();
        for path in below {
            describe(root, &path, names, manifest);
        }
    }
}

/// Whether two files have the same content.
///
/// # Panics
/// When one cannot be read.
#[must_use]
pub fn same_bytes(left: &Path, right: &Path) -> bool {
    let [mut left, mut right] = [left, right].map(|path| File::open(path).expect("a file"));
    let (mut a, mut b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = left.read(&mut a).expect("readable");
        if read == 0 {
            return right.read(&mut b).expect("readable") == 0;
        }
        if right.read_exact(&mut b[..read]).is_err() || a[..read] != b[..read] {
            return false;
        }
    }
}
