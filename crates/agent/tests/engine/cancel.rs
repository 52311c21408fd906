//! A backup that is killed half-way leaves a repository that is in order, and the next one succeeds.

use std::{ffi::OsStr, fs};

use agent::{child::Child, engine::Output};

use crate::support::{assert_same, killed_half_way, noise, run_job};

const FILES: u64 = 64;
const FILE_SIZE: usize = 5 << 20;

#[tokio::test]
async fn a_killed_backup_does_no_harm() {
    let (bench, request) = killed_half_way(|bench| {
        for index in 0..FILES {
            let directory = bench.source().join(format!("{}", index % 8));
            fs::create_dir_all(&directory).expect("a directory");
            fs::write(directory.join(format!("{index}")), noise(index, FILE_SIZE)).expect("a file");
        }
        bench.backup_job()
    })
    .await;
    bench.restic_check();

    let mut child = Child::spawn(&run_job(), &request).await.expect("a child");
    let outcome = child.outcome().await.expect("a backup");
    let Output::Backup(summary) = outcome else { panic!("a backup, not {outcome:?}") };
    assert!(!summary.already_done);
    assert_eq!((summary.files, summary.bytes), (FILES, FILES * FILE_SIZE as u64));

    bench.restic_check();
    let target = bench.path("target");
    bench.restic(&["restore".as_ref(), OsStr::new(&summary.snapshot), "--target".as_ref(), target.as_os_str()]);
    assert_same(&bench.source(), &bench.restored(&target));
}
