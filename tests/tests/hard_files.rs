//! Files that are hard: more of them, and larger ones, than memory holds, paths longer than the system takes, files that
//! change and go while they are read, and what may not be read. They come back as they were, or the task names them.
//!
//! `BACKSTAY_HARD_FILES=200000 BACKSTAY_HARD_MEGABYTES=2048` makes as many small files and one as large.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use acceptance::machine::{Machine, Wish, only_backup, result};
use acceptance::restic::Restic;
use acceptance::run::Process;
use acceptance::tree::{But, assert_same, fill, same_bytes, within};
use acceptance::{Place, Up, add_sparse, noise, number, until};
use api::Settings;
use domain::policy::settings::{self, When};
use domain::task::ResultCode;
use domain::work::{BackupDone, RecoveryDone, Unread};
use nix::fcntl::{OFlag, openat};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, mkdirat};

/// Files and megabytes of an ordinary run.
const FILES: u64 = 10_000;
const MEGABYTES: u64 = 2048;
/// So many files lie in a folder.
const IN_A_FOLDER: u64 = 500;
/// What each process has of memory, in bytes: of this, the derivation of the repository's key alone takes a quarter.
const MEMORY: u64 = 512 << 20;

/// Makes a file of so many megabytes: each sixteenth one is noise, the rest are zeros.
fn put_large(path: &Path, megabytes: u64) {
    let file = File::create(path).expect("a file");
    file.set_len(megabytes << 20).expect("a length");
    for n in (0..megabytes).step_by(16) {
        file.write_all_at(&noise(n, 1 << 20), n << 20).expect("data");
    }
}

/// Makes so many files, every tenth of them empty. Their paths are long: the list of them alone does not fit into memory.
fn put_many(root: &Path, files: u64) {
    let folder = (0..12).fold(root.to_owned(), |path, n| path.join(format!("{n:0>250}")));
    for n in 0..files {
        let folder = folder.join((n / IN_A_FOLDER).to_string());
        if n % IN_A_FOLDER == 0 {
            fs::create_dir_all(&folder).expect("a folder");
        }
        let mut file = File::create(folder.join(format!("file-{n}"))).expect("a file");
        if n % 10 != 0 {
            writeln!(file, "{n}").expect("some text");
        }
    }
}

/// Both folders hold the same, compared file by file: nothing is kept in memory. Gives how many files there are.
fn same_below(left: &Path, right: &Path) -> u64 {
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let here = names(left);
    assert!(here == names(right), "the names in {} differ", left.display());
    let mut files = 0;
    for name in here {
        let [left, right] = [left, right].map(|folder| folder.join(&name));
        let [a, b] = [&left, &right].map(|path| fs::symlink_metadata(path).expect("metadata"));
        let facts = |m: &fs::Metadata| (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec());
        assert_eq!(facts(&a), facts(&b), "{}", left.display());
        if a.is_dir() {
            files += same_below(&left, &right);
            continue;
        }
        files += 1;
        // Most are small.
        let same = a.len() == b.len() && (a.len() == 0 || same_bytes(&left, &right));
        assert!(same, "the content of {} differs", left.display());
    }
    files
}

/// What a backup says that was done.
fn done(task: &api::Task) -> BackupDone {
    let payload = task.result.as_ref().expect("a result").payload.clone();
    serde_json::from_value(payload.into_value()).expect("what a backup says")
}

/// Runs the policy of a machine by the command line, which waits for it however long it takes, and gives the task.
async fn run(up: &Up<'_>, machine: &Machine) -> api::Task {
    let task = machine.run(up).await.id;
    let _ = up.place().cli(&["task", "wait", &task.to_string()]).good();
    up.client().task(task).await.expect("the task")
}

#[tokio::test]
async fn what_memory_does_not_hold_is_backed_up_verified_and_comes_back() {
    let (files, megabytes) = (number("BACKSTAY_HARD_FILES", FILES), number("BACKSTAY_HARD_MEGABYTES", MEGABYTES));
    let place = Place::new();
    let source = place.folder("source");
    put_large(&source.join("large"), megabytes);
    put_many(&source, files);
    let up = place.up().with_memory(MEMORY).start();
    let machine = Machine::protect(&up, &source).await;

    let task = run(&up, &machine).await;
    assert_eq!(result(&task), ResultCode::Ok, "{task:#?}");
    let first = only_backup(&up.client(), task.id).await.expect("a backup");
    assert_eq!(first.files, files + 1);
    assert!(first.size >= megabytes << 20, "{first:#?}");

    // Nothing is read of what has not changed.
    let task = run(&up, &machine).await;
    assert_eq!(result(&task), ResultCode::Ok, "{task:#?}");
    let told = done(&task);
    assert_eq!((told.changed, told.files_new, told.files_changed), (0, 0, 0), "{told:#?}");
    assert!(told.added_raw < 64 << 10, "a few words about the folders above: {told:#?}");
    let second = only_backup(&up.client(), task.id).await.expect("a backup");
    assert_eq!((second.files, second.size), (first.files, first.size));

    let id = second.id.to_string();
    let verified = place.cli(&["backup", "verify", &id]).good();
    assert!(verified.out.contains("done"), "{verified}");
    let ours = place.path("ours");
    let restored = place.cli(&["restore", &id, "--to", &ours.display().to_string()]).good();
    assert!(restored.out.contains("done") && !restored.out.contains("warning"), "{restored}");
    assert_eq!(same_below(&source, &within(&ours, &source)), files + 1);
    let large = fs::metadata(within(&ours, &source).join("large")).expect("metadata");
    assert!(large.blocks() * 512 < large.len() / 8, "zeros take no space");

    let restic = Restic::of(&place);
    restic.check();
    let (large, theirs) = (source.join("large"), place.path("theirs"));
    let [text, to] = [&large, &theirs].map(|path| path.to_str().expect("UTF-8"));
    restic.run(&["restore", &second.snapshot, "--target", to, "--include", text]);
    assert!(same_bytes(&large, &within(&theirs, &large)), "the content differs");
}

#[tokio::test]
async fn memory_that_does_not_suffice_is_an_error_of_the_task_alone() {
    let place = Place::new();
    let source = place.folder("source");
    fill(&source);
    let up = place.up().with_memory(MEMORY).start();
    let limit = place.path("limit.sh");
    fs::write(&limit, "#!/bin/sh\nexec prlimit --pid \"$PPID\" --data=1048576\n").expect("a script");
    fs::set_permissions(&limit, fs::Permissions::from_mode(0o755)).expect("a mode");
    let starve = settings::Command {
        when: When::PreData,
        cmd: limit.to_str().expect("a plain name").to_owned(),
        args: String::new(),
        workdir: String::new(),
        enabled: true,
        stop_on_error: true,
        wait: true,
    };
    let settings = Settings { commands: vec![starve], ..Settings::default() };
    let starved = Machine::wished(&up, &source, Wish { name: "starved".into(), settings, ..Wish::default() }).await;
    let task = up.completed(starved.run(&up).await.id).await;
    assert_eq!((result(&task), task.assign_count), (ResultCode::Error, 1), "{task:#?}");
    let error = task.result.and_then(|r| r.error).expect("a reason");
    assert_eq!(error.code, "engineCrashed");
    // Threads take memory too.
    assert!(error.message.contains("memory") || error.message.contains("Resource temporarily"), "{}", error.message);

    // Server and agent are the same as before.
    let machine = Machine::protect(&up, &source).await;
    machine.back_up(&up).await;
    Restic::of(&place).check();
}

/// A folder that `rm` removes: what is in it lies too deep for others.
struct Deep(PathBuf);

impl Drop for Deep {
    fn drop(&mut self) {
        let _ = Command::new("rm").arg("-rf").arg(&self.0).status();
    }
}

/// Makes a folder in a folder, wherever that is.
fn folder_in(folder: &OwnedFd, name: &OsStr) -> OwnedFd {
    mkdirat(folder, name, Mode::S_IRWXU).expect("a folder");
    openat(folder, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).expect("a folder")
}

/// Makes a file in a folder, wherever that is.
fn file_in(folder: &OwnedFd, name: &OsStr) {
    let file = openat(folder, name, OFlag::O_WRONLY | OFlag::O_CREAT, Mode::S_IRUSR | Mode::S_IWUSR).expect("a file");
    File::from(file).write_all(b"deep").expect("some text");
}

/// The longest path that the system takes.
const LONGEST: usize = 4095;

/// The path so many levels below a folder.
fn below(folder: &Path, levels: usize) -> PathBuf {
    let mut path = folder.to_owned();
    path.extend(std::iter::repeat_n("d", levels));
    path
}

#[tokio::test]
async fn folders_are_backed_up_as_deep_as_a_path_reaches_and_the_first_beyond_is_named() {
    let place = Place::new();
    let _guard = Deep(place.root().to_owned());
    let source = place.folder("source");
    let target = place.path("ours");
    // The last folder that a path reaches, here and where it is restored to.
    let reached = (LONGEST - source.as_os_str().len()) / 2;
    let restored = (LONGEST - within(&target, &source).as_os_str().len()) / 2;
    let leaf = OsStr::new("~leaf");
    let mut folder = OwnedFd::from(File::open(&source).expect("a folder"));
    for level in 1..=reached + 500 {
        folder = folder_in(&folder, OsStr::new("d"));
        if [10, restored - 10, reached + 500].contains(&level) {
            file_in(&folder, leaf);
        }
    }
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    let task = up.completed(machine.run(&up).await.id).await;
    assert_eq!(result(&task), ResultCode::Warning, "{task:#?}");
    let told = done(&task);
    let first_beyond = Unread {
        path: below(&source, reached + 1).display().to_string(),
        message: "was not backed up, with all below it: its path is longer than the system takes".to_owned(),
    };
    assert_eq!((told.unreadable, told.unreadable_total, told.files), (vec![first_beyond], 1, 2));

    let backup = only_backup(&up.client(), task.id).await.expect("a backup");
    let id = backup.id.to_string();
    let verified = place.cli(&["backup", "verify", &id]).good();
    assert!(verified.out.contains("done"), "{verified}");
    let said = place.cli(&["restore", &id, "--to", &target.display().to_string(), "--json"]).good();
    let task: api::Task = serde_json::from_str(&said.out).expect("the task");
    let made: RecoveryDone =
        serde_json::from_value(task.result.expect("a result").payload.into_value()).expect("what it says");
    // Of what lies deeper there than here, one folder is named.
    let unwritten: Vec<_> = made.unwritten.iter().map(|unread| unread.path.clone()).collect();
    assert_eq!(unwritten, [below(&within(&target, &source), restored + 1).display().to_string()]);
    for level in [10, restored - 10] {
        let path = below(&within(&target, &source), level).join(leaf);
        assert_eq!(fs::read(path).expect("a file"), b"deep", "at level {level}");
    }
    // One of them alone, by its path.
    let (one, path) = (place.path("one"), below(&source, restored - 10).join(leaf));
    let _ =
        place.cli(&["restore", &id, "--to", &one.display().to_string(), "--path", &path.display().to_string()]).good();
    assert_eq!(fs::read(within(&one, &path)).expect("a file"), b"deep");
    Restic::of(&place).check();
}

#[tokio::test]
async fn names_are_bytes_and_what_is_beyond_a_path_with_them_ends_no_backup() {
    let place = Place::new();
    let _guard = Deep(place.root().to_owned());
    let source = place.folder("source");
    let longest = OsStr::from_bytes(&[0xfe; 255]);
    let names = source.join("names");
    fs::create_dir(&names).expect("a folder");
    let all: [&[u8]; 9] = [
        b"line\nbreak",
        b"tab\there",
        b"\x1b[31mred",
        b"-rf",
        b" ",
        b"back\\slash",
        b"\\xfe",
        "日本語".as_bytes(),
        b"*?[]",
    ];
    for name in all.into_iter().map(OsStr::from_bytes).chain([longest]) {
        fs::write(names.join(name), name.as_bytes()).expect("a file");
    }
    let longest_text = "é".repeat(127);
    fs::create_dir(names.join(&longest_text)).expect("a folder");
    fs::write(names.join(&longest_text).join("file"), "in it").expect("a file");
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    let backup = machine.back_up(&up).await;
    assert_eq!(backup.files, 11);
    let ours = place.path("ours");
    let _ = place.cli(&["restore", &backup.id.to_string(), "--to", &ours.display().to_string()]).good();
    assert_same(&source, &within(&ours, &source), But::Nothing);
    let listed = place.cli(&["backup", "files", &backup.id.to_string(), &names.display().to_string()]).good();
    assert!(!listed.out.contains('\u{1b}') && listed.out.contains("back\\\\slash"), "{listed}");
    let restic = Restic::of(&place);
    restic.check();
    let theirs = place.path("theirs");
    restic.run(&["restore", &backup.snapshot, "--target", theirs.to_str().expect("UTF-8")]);
    assert_same(&source, &within(&theirs, &source), But::WhatResticLeaves);

    // More of what cannot be read than is listed, under names that take much room in a list.
    let beyond = source.join("beyond");
    fs::create_dir(&beyond).expect("a folder");
    let mut folder = OwnedFd::from(File::open(&beyond).expect("a folder"));
    for _ in 0..(LONGEST - beyond.as_os_str().len()) / 256 {
        folder = folder_in(&folder, longest);
    }
    for n in 0..1200 {
        let mut name = [0xfe; 255];
        name[..4].copy_from_slice(format!("{n:04}").as_bytes());
        file_in(&folder, OsStr::from_bytes(&name));
    }
    let task = up.completed(machine.run(&up).await.id).await;
    assert_eq!(result(&task), ResultCode::Warning, "{:?}", task.result.map(|r| r.error));
    let told = done(&task);
    assert_eq!((told.unreadable_total, told.files), (1200, 11));
    assert!((50..1000).contains(&told.unreadable.len()), "{} are listed", told.unreadable.len());
}

/// How far a process has read a file; nothing if it does not have it open.
fn position(process: &Process, file: &Path) -> Option<u64> {
    let fds = fs::read_dir(format!("/proc/{}/fd", process.pid)).ok()?;
    let number = fds.flatten().find(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == file))?.file_name();
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/{}", process.pid, number.to_str()?)).ok()?;
    info.lines().find_map(|line| line.strip_prefix("pos:"))?.trim().parse().ok()
}

/// Begins a backup and stops the process that does it when it is in the middle of this file; once more if that was too late.
async fn caught_reading(up: &Up<'_>, machine: &Machine, file: &Path) -> (i64, Process) {
    let size = fs::metadata(file).expect("a file").len();
    loop {
        // What was read already is not read again.
        let touched = File::options().append(true).open(file).and_then(|file| file.set_modified(SystemTime::now()));
        touched.expect("a time");
        let task = machine.run(up).await.id;
        let caught = until("the file is read, or all is over", async || {
            if up.client().task(task).await.is_ok_and(|task| task.result.is_some()) {
                return Some(None);
            }
            let job = Process::children_of(up.pid()).pop()?;
            position(&job, file).filter(|read| *read > 0)?;
            if !job.strike(Signal::SIGSTOP) {
                return None;
            }
            let stat = format!("/proc/{}/stat", job.pid);
            until("it stands still", async || {
                fs::read_to_string(&stat).map_or(Some(()), |stat| stat.contains(") T ").then_some(()))
            })
            .await;
            if position(&job, file).is_some_and(|read| read > 0 && read < size) {
                return Some(Some(job));
            }
            let _ = job.strike(Signal::SIGCONT);
            None
        })
        .await;
        match caught {
            Some(job) => return (task, job),
            None => drop(up.completed(task).await),
        }
    }
}

#[tokio::test]
async fn a_file_that_changes_or_goes_while_it_is_read_is_whole_or_named() {
    const SIZE: u64 = 512 << 20;
    let place = Place::new();
    let source = place.folder("source");
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    let file = add_sparse(&source, "sparse", SIZE);
    let open = || File::options().write(true).open(&file).expect("a file");
    open().write_all_at(b"the beginning", 0).expect("some text");

    // It grows: it is stored as it was, and the rest with the next backup.
    let (task, job) = caught_reading(&up, &machine, &file).await;
    open().write_all_at(b"the end", SIZE).expect("some text");
    job.send(Signal::SIGCONT);
    let task = up.completed(task).await;
    assert_eq!(result(&task), ResultCode::Ok, "{task:#?}");
    assert_eq!((done(&task).files, done(&task).size), (1, SIZE));
    assert_eq!(machine.back_up(&up).await.size, SIZE + 7);

    // It becomes shorter: what is missing is told.
    let (task, job) = caught_reading(&up, &machine, &file).await;
    open().set_len(13).expect("a length");
    job.send(Signal::SIGCONT);
    let task = up.completed(task).await;
    assert_eq!(result(&task), ResultCode::Warning, "{task:#?}");
    let [unread] = &done(&task).unreadable[..] else { panic!("{task:#?}") };
    assert_eq!(Path::new(&unread.path), file);
    assert!(unread.message.contains("bytes shorter while it was read; they are stored as zeros"), "{unread:?}");
    let id = only_backup(&up.client(), task.id).await.expect("a backup").id.to_string();
    let ours = place.path("ours");
    let _ = place.cli(&["restore", &id, "--to", &ours.display().to_string()]).good();
    let restored = File::open(within(&ours, &file)).expect("a file");
    let mut beginning = [0; 13];
    restored.read_exact_at(&mut beginning, 0).expect("readable");
    assert_eq!((&beginning[..], restored.metadata().expect("metadata").len()), (&b"the beginning"[..], SIZE + 7));

    // It goes: whoever has it open reads it to its end.
    open().set_len(SIZE).expect("a length");
    let (task, job) = caught_reading(&up, &machine, &file).await;
    fs::remove_file(&file).expect("it goes");
    job.send(Signal::SIGCONT);
    let task = up.completed(task).await;
    assert_eq!(result(&task), ResultCode::Ok, "{task:#?}");
    assert_eq!((done(&task).files, done(&task).size), (1, SIZE));
    Restic::of(&place).check();
}

#[tokio::test]
async fn folders_that_may_not_be_read_are_named_and_nothing_waits_for_a_pipe() {
    let place = Place::new();
    let source = place.folder("source");
    fill(&source);
    let mode = |name: &str, mode: u32| {
        fs::set_permissions(source.join(name), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    for name in ["closed", "listed"] {
        fs::create_dir(source.join(name)).expect("a folder");
        fs::write(source.join(name).join("file"), name).expect("a file");
    }
    // Nobody may look into the one, and at what is in the other.
    for (name, bits) in [("closed", 0o000), ("listed", 0o444), ("fifo", 0o000), ("readonly", 0o555)] {
        mode(name, bits);
    }
    mode("readonly/file", 0o444);
    mode("plain", 0o644);
    // Root may read everything, so the server is somebody else.
    let up = place.up().as_nobody().start();
    let machine = Machine::protect(&up, &source).await;
    let task = up.completed(machine.run(&up).await.id).await;
    assert_eq!(result(&task), ResultCode::Warning, "{task:#?}");
    let told = done(&task);
    let mut paths: Vec<_> = told.unreadable.iter().map(|unread| PathBuf::from(&unread.path)).collect();
    paths.sort();
    assert_eq!(paths, [source.join("closed"), source.join("listed/file")], "{:#?}", told.unreadable);
    assert!(
        told.unreadable.iter().all(|unread| unread.message.contains("Permission denied")),
        "{:#?}",
        told.unreadable
    );
    assert_eq!(told.files, 16, "all others, with pipe and socket");
    for name in ["closed", "listed"] {
        mode(name, 0o755);
    }
}
