//! Volumes and other streams: stored as one file, with what did not change stored once, and brought back bit by bit.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Write as _},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use agent::{
    child::Child,
    engine::{
        BackupJob, BackupSummary, Engine, ErrorCode, Event, Job, Output, RawPath, Reporter, Request, RestoreJob, Step,
        stream::Stream,
    },
};
use uuid::Uuid;

use crate::support::{Bench, killed_half_way, noise, run_job};

pub(crate) const MIB: u64 = 1 << 20;

/// A disk of 64 MiB, of which 8 MiB hold something.
fn disk(path: &Path) -> File {
    let file = File::options().read(true).write(true).create_new(true).open(path).expect("a new file");
    file.set_len(64 * MIB).expect("a length");
    file.write_all_at(&noise(1, 4 << 20), MIB + 4096).expect("written");
    file.write_all_at(&noise(2, 4 << 20), 40 * MIB).expect("written");
    file
}

pub(crate) fn volume_job(path: &Path) -> BackupJob {
    BackupJob {
        task: Uuid::new_v4(),
        host: "bench".to_owned(),
        paths: vec![RawPath::from(path)],
        label: Some("series".to_owned()),
        volume: true,
        ..BackupJob::default()
    }
}

pub(crate) fn stored(bench: &Bench, path: &Path) -> BackupSummary {
    let (summary, heard) = bench.backup(&volume_job(path));
    assert_eq!(heard.warnings(), []);
    summary.expect("a backup")
}

/// The SHA-256 that the `sha256sum` program finds.
pub(crate) fn digest(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum of coreutils");
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().expect("a digest").to_owned()
}

pub(crate) fn image_job(summary: &BackupSummary, target: &Path) -> RestoreJob {
    RestoreJob { snapshot: summary.snapshot.clone(), target: target.into(), ..RestoreJob::default() }
}

#[test]
fn a_disk_comes_back_bit_by_bit_and_what_did_not_change_is_stored_once() {
    let bench = Bench::new();
    let path = bench.path("disk.img");
    let file = disk(&path);
    let first = stored(&bench, &path);
    assert_eq!((first.files, first.bytes, first.bytes_read), (1, 64 * MIB, 64 * MIB));
    assert_eq!((first.files_new, first.incremental), (1, false));
    assert_eq!(first.sha256.as_deref(), Some(&*digest(&path)));
    assert_eq!(first.roots[0].path, RawPath::from(&*path).to_string());
    assert_eq!(first.roots[0].size, 64 * MIB);
    // What is there touches 18 pieces of half a mebibyte; all emptiness is one piece.
    let added = first.bytes_added_files;
    assert!((8 * MIB..=10 * MIB).contains(&added), "{added} bytes added");
    let original = digest(&path);

    // A block in the middle changes.
    file.write_all_at(&noise(3, 4096), 42 * MIB).expect("written");
    let second = stored(&bench, &path);
    assert_eq!((second.files_changed, second.incremental), (1, true));
    assert_eq!(second.parent.as_deref(), Some(&*first.snapshot));
    assert_eq!(second.bytes_added_files, MIB / 2);
    let third = stored(&bench, &path);
    assert_eq!((third.files_unmodified, third.bytes_added_files), (1, 0));
    assert_eq!((&third.tree, &third.sha256), (&second.tree, &second.sha256));

    let target = bench.path("target");
    let (restored, heard) = bench.restore(&image_job(&first, &target));
    assert_eq!(heard.steps(), [Step::Plan, Step::Restore, Step::Metadata]);
    let restored = restored.expect("a restore");
    assert_eq!((restored.files, restored.bytes), (1, 64 * MIB));
    let image = target.join("disk.img");
    assert_eq!(digest(&image), original);
    let meta = fs::metadata(&image).expect("metadata");
    assert!(meta.blocks() * 512 <= 10 * MIB, "{} bytes allocated", meta.blocks() * 512);
    assert_eq!(meta.mode() & 0o777, 0o600);
    // What is there is left alone: right, and it counts as restored by a former try; other, and it is refused.
    assert_eq!(bench.restore(&image_job(&first, &target)).0.expect("nothing to do").files_unchanged, 1);
    let error = bench.restore(&image_job(&second, &target)).0.expect_err("a refusal");
    assert_eq!(error.code, ErrorCode::PathTaken);
    assert_eq!(digest(&image), original);
    assert_eq!(fs::read_dir(&target).expect("a folder").count(), 1);

    // Anybody's restic can read it.
    bench.restic_check();
    let mut dump = Command::new("restic")
        .args(["--no-cache", "--repo"])
        .arg(bench.path("repository"))
        .args([OsStr::new("dump"), OsStr::new(&first.snapshot), path.as_os_str()])
        .env("RESTIC_PASSWORD", crate::support::PASSWORD)
        .stdout(Stdio::piped())
        .spawn()
        .expect("restic");
    let dumped = bench.path("dumped");
    io::copy(&mut dump.stdout.take().expect("a pipe"), &mut File::create(&dumped).expect("a file")).expect("copied");
    assert!(dump.wait().expect("an end").success());
    assert_eq!(digest(&dumped), original);
}

#[test]
fn the_same_task_stores_once() {
    let bench = Bench::new();
    let path = bench.path("disk.img");
    disk(&path);
    let job = volume_job(&path);
    let first = bench.backup(&job).0.expect("a backup");
    let again = bench.backup(&job).0.expect("the same backup");
    assert!(!first.already_done && again.already_done);
    assert_eq!((again.snapshot, again.sha256), (first.snapshot, first.sha256));
    assert_eq!((again.bytes, again.roots), (first.bytes, first.roots));
}

#[test]
fn a_stream_of_unknown_length_is_described_as_it_is() {
    let bench = Bench::new();
    let data = noise(7, 3 << 20);
    let job = BackupJob { task: Uuid::new_v4(), host: "bench".to_owned(), ..BackupJob::default() };
    let open = || {
        let reader = Box::new(io::Cursor::new(data.clone()));
        Ok(Stream { path: "/images/a.raw".into(), size: None, modified: None, reader })
    };
    let summary = bench.engine().store_stream(&job, open, &Reporter::silent()).expect("stored");
    assert_eq!((summary.files, summary.bytes, summary.bytes_added_files), (1, 3 * MIB, 3 * MIB));
    let listed = bench.restic(&["ls".as_ref(), "--json".as_ref(), summary.snapshot.as_ref()]);
    assert!(listed.contains(&format!("\"size\":{}", 3 * MIB)), "{listed}");
    assert_eq!(bench.engine().list_snapshots().expect("a list").snapshots.len(), 1);
    bench.restic_check();

    let target = bench.path("target");
    bench.restore(&image_job(&summary, &target)).0.expect("a restore");
    assert!(fs::read(target.join("a.raw")).expect("an image") == data);
}

#[test]
fn a_stream_that_breaks_off_leaves_no_snapshot() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("sector 7 is unreadable"))
        }
    }
    let bench = Bench::new();
    let job = BackupJob { task: Uuid::new_v4(), host: "bench".to_owned(), ..BackupJob::default() };
    for size in [None, Some(64 * MIB)] {
        let reader = Box::new(io::Cursor::new(noise(1, 5 << 20)).chain(Broken));
        let open = || Ok(Stream { path: "/images/a.raw".into(), size, modified: None, reader });
        let error = bench.engine().store_stream(&job, open, &Reporter::silent()).expect_err("an error");
        assert_eq!(error.message, "the stream broke off: sector 7 is unreadable");
    }
    assert!(bench.engine().list_snapshots().expect("a list").snapshots.is_empty());
    bench.restic_check();
}

#[test]
fn what_is_no_volume_is_refused_by_name() {
    let bench = Bench::new();
    let error = |path: &Path| bench.backup(&volume_job(path)).0.expect_err("a refusal");
    assert_eq!(error(&bench.path("nothing")).code, ErrorCode::SourceMissing);
    assert_eq!(error(&bench.source()).code, ErrorCode::InvalidJob);
    assert_eq!(error(Path::new("/dev/null")).code, ErrorCode::InvalidJob);
    assert_eq!(error(Path::new("relative")).code, ErrorCode::InvalidJob);
}

#[tokio::test]
async fn a_volume_that_is_killed_half_way_does_no_harm() {
    let (bench, request) = killed_half_way(|bench| {
        let path = bench.path("disk.img");
        let mut file = File::create_new(&path).expect("a new file");
        for seed in 0..24 {
            file.write_all(&noise(seed, 4 << 20)).expect("written");
        }
        volume_job(&path)
    })
    .await;
    let path = bench.path("disk.img");
    bench.restic_check();
    assert!(bench.engine().list_snapshots().expect("a list").snapshots.is_empty());

    let mut child = Child::spawn(&run_job(), &request).await.expect("a child");
    let outcome = child.outcome().await.expect("a backup");
    let Output::Backup(summary) = outcome else { panic!("a backup, not {outcome:?}") };
    assert_eq!(summary.sha256.as_deref(), Some(&*digest(&path)));

    // A restore that is killed leaves nothing that passes for an image, and another one begins anew.
    let target = bench.path("target");
    let request = Request::new(bench.spec(), Job::Restore(image_job(&summary, &target)));
    let mut killed = false;
    for _ in 0..20 {
        let mut child = Child::spawn(&run_job(), &request).await.expect("a child");
        let begun = loop {
            match child.next_event().await.expect("more events") {
                Event::Progress(progress) if progress.step == Some(Step::Restore) => break true,
                Event::Ended { .. } => break false,
                _ => {}
            }
        };
        let stopped = begun && child.stop(Duration::ZERO).await.is_none();
        killed = stopped && !target.join("disk.img").exists();
        if killed {
            break;
        }
        // It was over before the signal reached it: a fast disk, or a test that had to wait for a processor.
        fs::remove_dir_all(&target).expect("restored");
    }
    assert!(killed, "it is always over before it can be killed");
    let mut child = Child::spawn(&run_job(), &request).await.expect("a child");
    child.outcome().await.expect("a restore");
    assert_eq!(digest(&target.join("disk.img")), digest(&path));
    assert_eq!(fs::read_dir(&target).expect("a folder").count(), 1);
}

/// Loop devices, as far as the machine that tests has them.
struct Loop(String);

impl Loop {
    fn over(file: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && Path::new(&name).exists()).then_some(Self(name))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn a_device_is_written_only_when_it_is_large_enough_and_nobody_uses_it() {
    let bench = Bench::new();
    let path = bench.path("disk.img");
    disk(&path);
    let summary = stored(&bench, &path);
    let over = |device: &Path| {
        let device = Some(RawPath::from(device));
        bench.restore(&RestoreJob { device, ..image_job(&summary, Path::new("/")) }).0
    };
    let plain = bench.path("plain");
    fs::write(&plain, b"mine").expect("a file");
    assert_eq!(over(&plain).expect_err("a refusal").code, ErrorCode::InvalidJob);
    assert_eq!(fs::read(&plain).expect("a file"), b"mine");

    let (small, large) = (bench.path("small"), bench.path("large"));
    for (file, size) in [(&small, 32 * MIB), (&large, 65 * MIB)] {
        File::create_new(file).and_then(|file| file.set_len(size)).expect("a file");
    }
    fs::write(bench.path("filled"), noise(9, 65 << 20)).expect("a file");
    let (Some(small), Some(large)) = (Loop::over(&small), Loop::over(&bench.path("filled"))) else {
        eprintln!("no loop devices here: restoring over a device was not tested");
        return;
    };
    assert_eq!(over(Path::new(&small.0)).expect_err("a refusal").code, ErrorCode::NoSpace);
    let restored = over(Path::new(&large.0)).expect("a restore");
    assert_eq!(restored.bytes, 64 * MIB);
    let mut written = File::open(&large.0).expect("a device").take(64 * MIB);
    let mut original = File::open(&path).expect("a file");
    let (mut a, mut b) = (Vec::new(), Vec::new());
    written.read_to_end(&mut a).and(original.read_to_end(&mut b)).expect("readable");
    assert!(a == b);

    // A device is a volume too.
    let from_device = stored(&bench, Path::new(&large.0));
    assert_eq!(from_device.bytes, 65 * MIB);
}
