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
    engine::{BackupJob, BackupSummary, EngineError, ErrorCode, Event, Job, Output, Request, RestoreJob},
};
use domain::{
    SignedDuration,
    policy::settings::{Masks, Retry},
};

use crate::support::{Bench, noise, run_job};

/// Runs the child where `small` is a file system of its own with 4 MB, after `prepare`. Only the child sees
/// it. `None` where the system does not allow that, as in some containers.
fn with_small_disk(small: &Path, prepare: &str) -> Option<Program> {
    in_own_mounts(small, &format!(r#"mount -t tmpfs -o size=4m tmpfs "$1" && {prepare} && exec "$2""#))
}

/// Runs a script with the path of `place` and of the child's program, where mounts are seen by nobody else. `None` where the
/// system does not allow that.
fn in_own_mounts(place: &Path, script: &str) -> Option<Program> {
    let allowed = Command::new("unshare").args(["--mount", "--map-root-user", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no file system can be mounted here");
        return None;
    }
    let words = ["--mount", "--map-root-user", "sh", "-c", script, "sh"].map(OsString::from);
    let places = [place.as_os_str(), run_job().path.as_os_str()].map(OsStr::to_owned);
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

/// A machine of its own: a file system with something on it, others mounted below.
const SMALL_MACHINE: &str = r#"
mount -t tmpfs tmpfs "$1" && cd "$1" || exit 9
mkdir usr lib lib64 bin proc data run repository tmp job
for system in usr lib lib64 bin proc; do
    if [ -e /$system ]; then mount --rbind /$system $system || exit 9; fi
done
echo mine > data/file
mount -t tmpfs tmpfs run && echo fleeting > run/file
mount --bind "$3" repository
touch job/run && mount --bind "$2" job/run
exec chroot . /job/run
"#;

#[tokio::test]
async fn without_paths_the_local_file_systems_are_backed_up() {
    let bench = Bench::new();
    let machine = bench.path("machine");
    fs::create_dir(&machine).expect("a directory");
    let Some(mut program) = in_own_mounts(&machine, SMALL_MACHINE) else { return };
    program.args.push(bench.path("repository").into());
    let mut spec = bench.spec();
    spec.url = "/repository".to_owned();
    // The programs of the machine that the tests run on; whether they count as local depends on it.
    let exclude = ["/usr", "/lib", "/lib64", "/bin", "/job"].map(str::to_owned).to_vec();
    let masks = Masks { exclude, include: Vec::new() };
    let job = BackupJob { paths: Vec::new(), masks, ..bench.backup_job() };
    let mut child = Child::spawn(&program, &Request::new(spec, Job::Backup(job))).await.expect("a child");
    let outcome = child.outcome().await;
    let Ok(Output::Backup(summary)) = outcome else { panic!("no backup: {outcome:?}") };

    let listing = bench.restic(&["ls".as_ref(), OsStr::new(&summary.snapshot)]);
    let has = |path: &str| listing.lines().any(|line| line == path);
    assert!(has("/data/file") && has("/run") && has("/proc"), "{listing}");
    assert!(!has("/run/file") && !has("/proc/self") && !has("/repository/config"), "{listing}");
    let top = summary.roots.iter().find(|root| root.path == "/").expect("the top");
    assert!(top.system);
}

/// Programs in the place of those of LVM: a volume is copied by copying its files.
const TOOLS: [(&str, &str); 5] = [
    ("lvs", r#"for last; do :; done; case "$last" in /dev/mapper/*) echo "  group/volume";; esac"#),
    (
        "lvcreate",
        r#"echo lvcreate "$@" >> log; [ -e broken ] && { echo "no space" >&2; exit 5; }
        cp -a source/. frozen && echo after > source/file"#,
    ),
    ("mount", r#"for last; do :; done; echo mount "$1" "$2" >> log; cp -a frozen/. "$last""#),
    ("umount", r#"echo umount >> log; rm -r "$1"/*"#),
    ("lvremove", r#"echo lvremove >> log"#),
];

/// A backup of a source that lies on LVM, with its notices and what the tools were told.
async fn frozen_backup(bench: &Bench) -> Option<(BackupSummary, Vec<String>, String)> {
    use std::os::unix::fs::PermissionsExt;
    let tools = bench.path("tools");
    fs::create_dir_all(&tools).expect("a directory");
    fs::create_dir_all(bench.path("frozen")).expect("a directory");
    for (name, script) in TOOLS {
        let path = tools.join(name);
        fs::write(&path, format!("#!/bin/sh\ncd '{}'\n{script}\n", bench.path("").display())).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let script =
        r#"mount -t tmpfs /dev/mapper/group-volume "$1" && echo before > "$1"/file && PATH="$3:$PATH" exec "$2""#;
    let mut program = in_own_mounts(&bench.source(), script)?;
    program.args.push(tools.into());
    let retry = Retry { attempts: 2, interval: SignedDuration::ZERO };
    let job = BackupJob { freeze: true, freeze_retries: Some(retry), ..bench.backup_job() };
    let mut child = Child::spawn(&program, &Request::new(bench.spec(), Job::Backup(job))).await.expect("a child");
    let mut notices = Vec::new();
    loop {
        match child.next_event().await.expect("more events") {
            Event::Notice { code, .. } => notices.push(code),
            Event::Ended { outcome, .. } => {
                let Ok(Output::Backup(summary)) = *outcome else { panic!("no backup: {outcome:?}") };
                return Some((summary, notices, fs::read_to_string(bench.path("log")).unwrap_or_default()));
            }
            _ => {}
        }
    }
}

fn stored(bench: &Bench, summary: &BackupSummary) -> String {
    let file = bench.source().join("file");
    bench.restic(&["dump".as_ref(), OsStr::new(&summary.snapshot), file.as_os_str()])
}

#[tokio::test]
async fn a_volume_is_read_as_it_was_when_it_was_frozen() {
    let bench = Bench::new();
    let Some((summary, notices, log)) = frozen_backup(&bench).await else { return };
    assert_eq!(notices, [""; 0]);
    assert!(stored(&bench, &summary).contains("before"));
    let told: Vec<&str> = log.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(told, ["lvcreate", "mount", "umount", "lvremove"], "{log}");
    assert!(log.contains("--snapshot") && log.contains("group/volume"), "{log}");
}

#[tokio::test]
async fn a_volume_that_cannot_be_frozen_is_read_live_with_a_word() {
    let bench = Bench::new();
    fs::write(bench.path("broken"), "").expect("a file");
    let Some((summary, notices, log)) = frozen_backup(&bench).await else { return };
    assert_eq!(notices, ["notFrozen"]);
    assert!(stored(&bench, &summary).contains("before"), "nothing has changed it");
    assert_eq!(log.matches("lvcreate").count(), 3, "it was tried as often as allowed: {log}");
}

/// A subvolume with another one in it, on a disk in a file; what changes after the snapshot is changed by the program that
/// makes it.
const BTRFS: &str = r#"
truncate -s 128m "$3/disk" && mkfs.btrfs -q "$3/disk" || exit 9
mount -o loop "$3/disk" "$1" || exit 9
btrfs -q subvolume create "$1/inner" || exit 9
echo before > "$1/file" && echo inner > "$1/inner/file" || exit 9
PATH="$3/tools:$PATH" "$2"; btrfs subvolume list "$1" > "$3/left" && umount "$1"
"#;

#[tokio::test]
async fn a_subvolume_of_btrfs_is_read_as_it_was_and_one_below_it_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let tools = bench.path("tools");
    fs::create_dir_all(&tools).expect("a directory");
    let real = Command::new("sh").args(["-c", "command -v btrfs"]).output().expect("a shell").stdout;
    let real = String::from_utf8(real).expect("a path");
    if !nix::unistd::Uid::effective().is_root() || !Path::new("/dev/loop-control").exists() {
        eprintln!("skipped: only root can mount a disk in a file, where the system has such disks");
        return;
    }
    let script = format!(
        "#!/bin/sh\n{} \"$@\" || exit $?\ncase \"$1 $2\" in \"subvolume snapshot\") echo after > \"$4/file\";; esac\n",
        real.trim()
    );
    fs::write(tools.join("btrfs"), script).expect("a script");
    fs::set_permissions(tools.join("btrfs"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let words = ["--mount", "sh", "-c", BTRFS, "sh"].map(OsString::from);
    let places = [bench.source(), run_job().path, bench.path("")].map(OsString::from);
    let program = Program { path: "unshare".into(), args: words.into_iter().chain(places).collect() };
    let job = BackupJob { freeze: true, ..bench.backup_job() };
    let mut child = Child::spawn(&program, &Request::new(bench.spec(), Job::Backup(job))).await.expect("a child");
    let mut notices = Vec::new();
    let summary = loop {
        match child.next_event().await.expect("more events") {
            Event::Notice { code, message } => notices.push((code, message)),
            Event::Ended { outcome, .. } => match *outcome {
                Ok(Output::Backup(summary)) => break summary,
                other => panic!("no backup: {other:?}"),
            },
            _ => {}
        }
    };
    let dump = |name: &str| {
        let file = bench.source().join(name);
        bench.restic(&["dump".as_ref(), OsStr::new(&summary.snapshot), file.as_os_str()])
    };
    assert_eq!((dump("file").trim(), dump("inner/file").trim()), ("before", "inner"));
    let [(code, message)] = notices.as_slice() else { panic!("{notices:?}") };
    assert!(code == "notFrozen" && message.contains("inner is a subvolume below"), "{message}");
    assert_eq!(summary.files, 2, "the snapshot is not in the backup");
    let left = fs::read_to_string(bench.path("left")).expect("the list of subvolumes");
    assert!(left.lines().count() == 1 && left.contains("inner"), "the snapshot is gone: {left}");
}
