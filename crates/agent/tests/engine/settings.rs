//! The settings of a policy: each makes the engine do something differently, on real files.

use std::{fs, path::Path, thread};

use agent::engine::{
    BackupJob, BackupSummary, Engine, ErrorCode, Event, Reporter, Step, VerifySummary, rustic::RusticEngine,
};
use domain::SignedDuration;
use domain::policy::settings::{Compression, Masks, Retry};
use domain::work::{Live, Sample};

use crate::support::{Bench, notices, restored_files};

fn put(bench: &Bench, names: &[&str]) {
    for name in names {
        let path = bench.source().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, name).expect("a file");
    }
}

#[test]
fn masks_choose_the_files() {
    let bench = Bench::new();
    put(&bench, &["a.TMP", "b.txt", "cache/deep/c.txt", "docs/d.txt", "docs/e.md"]);
    let picked = |include: &[&str], exclude: &[&str]| {
        let owned = |masks: &[&str]| masks.iter().map(|mask| (*mask).to_owned()).collect();
        let masks = Masks { include: owned(include), exclude: owned(exclude) };
        let summary = bench.backup(&BackupJob { masks, ..bench.backup_job() }).0.expect("a backup");
        restored_files(&bench, &summary.snapshot)
    };
    let whole = |mask: &str| bench.source().join(mask).display().to_string();
    assert_eq!(picked(&[], &[]), "a.TMP b.txt cache/deep/c.txt docs/d.txt docs/e.md");
    // A match on a directory covers all below it, whatever the case.
    assert_eq!(picked(&[], &["*.tmp", "CACHE"]), "b.txt docs/d.txt docs/e.md");
    assert_eq!(picked(&["*.txt"], &[]), "b.txt cache/deep/c.txt docs/d.txt");
    assert_eq!(picked(&["docs"], &["*.md"]), "docs/d.txt");
    assert_eq!(picked(&[&whole("**/*.txt")], &[&whole("docs/*")]), "b.txt cache/deep/c.txt");
    // Leaving out beats taking; masks and globs both have a say.
    assert_eq!(picked(&["*.txt"], &[&whole("").to_uppercase()]), "");
    let both = BackupJob {
        excludes: vec!["docs/".to_owned()],
        masks: Masks { exclude: vec!["cache".to_owned()], include: Vec::new() },
        ..bench.backup_job()
    };
    let both = bench.backup(&both).0.expect("a backup");
    assert_eq!(restored_files(&bench, &both.snapshot), "a.TMP b.txt");
}

/// Text that compresses, and compresses better the harder one tries.
fn text(seed: usize) -> String {
    let words = ["alpha", "backup", "copy", "disk", "engine", "folder", "garden", "house", "index", "journal"];
    let mut state = seed;
    let mut text = String::new();
    while text.len() < 400_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(words[(state >> 33) % words.len()]);
        text.push(if state >> 60 == 0 { '\n' } else { ' ' });
    }
    text
}

#[test]
fn new_data_is_compressed_as_wished_and_the_repository_keeps_its_own_way() {
    let bench = Bench::new();
    let config = fs::read(bench.path("repository/config")).expect("a config");
    let ratio = |seed: usize, compression: Compression| {
        fs::write(bench.source().join("text"), text(seed)).expect("a file");
        let job = BackupJob { compression, ..bench.backup_job() };
        let made = bench.backup(&job).0.expect("a backup");
        made.bytes_added_packed as f64 / made.bytes_added as f64
    };
    let [auto, better, max, off] =
        [(1, Compression::Auto), (2, Compression::Better), (3, Compression::Max), (4, Compression::Off)]
            .map(|(seed, compression)| ratio(seed, compression));
    assert!(off > 0.99, "{off} of everything was stored without compression");
    assert!(max < better && better < auto && auto < 0.6, "{max} {better} {auto}");
    let again = ratio(5, Compression::Auto);
    assert!((again - auto).abs() < 0.01, "{again} as before: {auto}");
    assert_eq!(fs::read(bench.path("repository/config")).expect("a config"), config);
    bench.restic_check();
}

#[test]
fn a_full_backup_and_one_that_trusts_nothing_read_what_looks_unchanged() {
    let bench = Bench::new();
    put(&bench, &["a", "bb"]);
    let first = bench.good_backup();
    assert_eq!((first.incremental, first.bytes_read), (false, 3));
    let run = |full, read_all| bench.backup(&BackupJob { full, read_all, ..bench.backup_job() }).0.expect("a backup");
    let facts = |made: &BackupSummary| (made.incremental, made.parent.is_some(), made.bytes_read);
    assert_eq!(facts(&run(false, false)), (true, true, 0));
    // A touch of anything but the content does not count.
    let (file, away) = (bench.source().join("a"), bench.source().join("away"));
    fs::rename(&file, &away).and_then(|()| fs::rename(&away, &file)).expect("it has its name again");
    assert_eq!(facts(&run(false, false)), (true, true, 0));
    assert_eq!(facts(&run(false, true)), (true, false, 3));
    let full = run(true, false);
    assert_eq!(facts(&full), (false, false, 3));
    assert_eq!(full.bytes_added_files, 0, "what is there is not stored twice");
}

#[test]
fn a_series_goes_on_when_its_sources_change() {
    let bench = Bench::new();
    put(&bench, &["a/x", "b/y"]);
    let run = |label: &str, paths: &[&str]| {
        let paths = paths.iter().map(|path| bench.source().join(path).into()).collect();
        bench.backup(&BackupJob { label: Some(label.to_owned()), paths, ..bench.backup_job() }).0.expect("a backup")
    };
    let first = run("one", &["a"]);
    assert_eq!(first.parent, None);
    let other = run("other", &["b"]);
    assert_eq!(other.parent, None);
    let second = run("one", &["a", "b"]);
    assert_eq!((second.parent, second.bytes_read), (Some(first.snapshot), 3));
}

#[test]
fn a_second_attempt_says_the_same_of_the_first() {
    let bench = Bench::new();
    put(&bench, &["a"]);
    bench.good_backup();
    let job = bench.backup_job();
    let first = bench.backup(&job).0.expect("a backup");
    let second = bench.backup(&job).0.expect("a report");
    assert!(second.already_done && second.incremental);
    let paths = |made: &BackupSummary| made.roots.iter().map(|root| root.path.clone()).collect::<Vec<_>>();
    assert_eq!((paths(&second), second.snapshot), (paths(&first), first.snapshot));
}

#[test]
fn a_backup_says_on_what_file_systems_it_was() {
    let bench = Bench::new();
    put(&bench, &["a"]);
    let made = bench.good_backup();
    let [root] = &made.roots[..] else { panic!("one root: {:?}", made.roots) };
    assert_eq!(Path::new(&root.path), bench.source());
    assert!(root.size >= root.free && root.size > 0 && !root.system, "{root:?}");
}

#[test]
fn a_repository_that_is_away_is_waited_for() {
    let bench = Bench::new();
    put(&bench, &["a"]);
    let (there, away) = (bench.path("repository"), bench.path("away"));
    fs::rename(&there, &away).expect("it goes away");
    let job = |attempts| BackupJob {
        retries: Some(Retry { attempts, interval: SignedDuration::from_millis(1) }),
        ..bench.backup_job()
    };
    let gone = bench.backup(&job(2)).0.expect_err("it does not come back");
    assert_eq!(gone.code, ErrorCode::RepositoryMissing);
    let (hurried, heard) = bench.backup(&BackupJob { may_be_new: true, ..job(u32::MAX) });
    assert_eq!(hurried.expect_err("it may have to be made").code, ErrorCode::RepositoryMissing);
    assert_eq!(heard.steps(), []);

    let (tell, waits) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let reporter = Reporter::new(move |event| {
        if event == (Event::StepStarted { step: Step::Wait }) {
            tell.lock().expect("no panic").send(()).expect("somebody listens");
        }
    });
    let engine = RusticEngine::new(&bench.spec()).expect("a local path");
    let job = job(u32::MAX);
    let run = thread::spawn(move || engine.backup(&job, &reporter));
    waits.recv().expect("it waits");
    fs::rename(&away, &there).expect("it comes back");
    assert_eq!(run.join().expect("no panic").expect("a backup").files, 1);
}

#[test]
fn a_wish_for_a_raw_copy_is_answered_with_a_word() {
    let bench = Bench::new();
    put(&bench, &["a"]);
    let (made, heard) = bench.backup(&BackupJob { sector_by_sector: true, ..bench.backup_job() });
    assert_eq!(made.expect("a backup of the files").files, 1);
    assert_eq!(notices(&heard).iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>(), ["noRawCopy"]);
    assert_eq!(heard.warnings(), []);
}

#[test]
fn a_verification_reads_one_snapshot_and_names_what_is_damaged() {
    let bench = Bench::new();
    fs::write(bench.source().join("kept"), crate::support::noise(1, 200_000)).expect("a file");
    let first = bench.good_backup();
    fs::write(bench.source().join("later"), crate::support::noise(2, 200_000)).expect("a file");
    fs::hard_link(bench.source().join("later"), bench.source().join("again")).expect("a link");
    let packs = bench.packs();
    let second = bench.good_backup();
    let verify = |made: &BackupSummary| {
        let job = agent::engine::VerifyJob { snapshot: made.snapshot.clone(), sample: None };
        bench.engine().verify(&job, &Reporter::silent()).expect("an answer")
    };
    let whole = verify(&second);
    assert_eq!((whole.files, whole.bytes, whole.damaged_total), (3, 400_000, 0));

    // Damage in what the second one added.
    let new = bench.packs().into_iter().filter(|(path, _)| !packs.iter().any(|(old, _)| old == path));
    let (pack, _) = new.max_by_key(|(_, size)| *size).expect("a new pack");
    let mut bytes = fs::read(&pack).expect("a pack");
    bytes[1000] ^= 1;
    fs::write(&pack, bytes).expect("damage");
    let found = verify(&second);
    // The file under one of its names: the data is one.
    assert_eq!(found.damaged_total, 1);
    assert_eq!(found.damaged.len(), 1);
    assert_eq!(found.damaged[0].path, bench.source().join("again").display().to_string());
    assert_eq!(verify(&first).damaged_total, 0, "the first one does not need it");
}

#[test]
fn a_sample_is_picked_by_its_seed_and_compared_with_the_machine() {
    let bench = Bench::new();
    for n in 0..30 {
        fs::write(bench.source().join(format!("file{n:02}")), crate::support::noise(n, 3000)).expect("a file");
    }
    std::os::unix::fs::symlink("file00", bench.source().join("link")).expect("a link");
    let made = bench.good_backup();
    let verify = |files, seed| {
        let job = agent::engine::VerifyJob { snapshot: made.snapshot.clone(), sample: Some(Sample { files, seed }) };
        bench.engine().verify(&job, &Reporter::silent()).expect("an answer")
    };
    let paths = |found: &VerifySummary| {
        let sampled = found.sampled.clone().expect("a sample");
        sampled.picked.into_iter().map(|file| file.path).collect::<Vec<_>>()
    };
    let found = verify(5, 7);
    let sampled = found.sampled.clone().expect("a sample");
    assert_eq!((sampled.sample, sampled.of), (Sample { files: 5, seed: 7 }, 30), "links are not restored as a test");
    assert_eq!((found.files, found.bytes, found.damaged_total), (5, 15_000, 0));
    assert!(sampled.picked.iter().all(|file| file.live == Live::Same && file.sha256.len() == 64));
    // The same seed picks the same files, and some other ones pick others.
    assert_eq!(paths(&verify(5, 7)), paths(&found));
    assert!((8..12).any(|seed| paths(&verify(5, seed)) != paths(&found)));
    assert_eq!(verify(1000, 7).files, 30, "more than there are is all there are");

    // One has another content under the same size and time, one was changed since, and one is gone.
    let [rotten, changed, gone] = [0, 1, 2].map(|n| bench.source().join(format!("file{n:02}")));
    let before = fs::metadata(&rotten).and_then(|meta| meta.modified()).expect("a time");
    fs::write(&rotten, crate::support::noise(99, 3000)).expect("other content");
    let file = fs::File::options().write(true).open(&rotten).expect("the file");
    file.set_modified(before).expect("its former time");
    fs::write(&changed, "changed").expect("a change");
    fs::remove_file(&gone).expect("removed");
    let found = verify(1000, 7);
    let live = |path: &Path| {
        let picked = &found.sampled.as_ref().expect("a sample").picked;
        picked.iter().find(|file| file.path == path.display().to_string()).expect("picked").live
    };
    assert_eq!([live(&rotten), live(&changed), live(&gone)], [Live::Different, Live::NotCompared, Live::NotCompared]);
    assert_eq!(found.damaged_total, 0, "the backup is whole");
}

#[test]
fn a_sample_finds_damage_in_what_it_picks() {
    let bench = Bench::new();
    fs::write(bench.source().join("only"), crate::support::noise(1, 200_000)).expect("a file");
    let made = bench.good_backup();
    let verify = |files| {
        let sample = Some(Sample { files, seed: 1 });
        let job = agent::engine::VerifyJob { snapshot: made.snapshot.clone(), sample };
        bench.engine().verify(&job, &Reporter::silent()).expect("an answer")
    };
    let (pack, _) = bench.packs().into_iter().max_by_key(|(_, size)| *size).expect("a pack");
    let mut bytes = fs::read(&pack).expect("a pack");
    bytes[1000] ^= 1;
    fs::write(&pack, bytes).expect("damage");
    let found = verify(1);
    assert_eq!((found.damaged_total, found.damaged.len()), (1, 1));
    assert_eq!(found.damaged[0].path, bench.source().join("only").display().to_string());
    assert_eq!(found.sampled.expect("a sample").picked[0].sha256, "", "it did not come back");
}

#[test]
fn snapshots_are_forgotten_once_and_the_others_stay_whole() {
    let bench = Bench::new();
    put(&bench, &["a"]);
    let first = bench.good_backup();
    put(&bench, &["b"]);
    let second = bench.good_backup();
    let forget = |snapshots: &[&str]| {
        let snapshots = snapshots.iter().map(|id| (*id).to_owned()).collect();
        let done = bench.engine().forget(&agent::engine::ForgetJob { snapshots }, &Reporter::silent());
        done.map(|done| (done.removed, done.missing))
    };
    assert_eq!(forget(&[&first.snapshot, &first.snapshot]), Ok((1, 0)));
    assert_eq!(forget(&[&first.snapshot, "0123"]), Ok((2, 2)));
    // A prefix names nothing: what goes is named in full.
    assert_eq!(forget(&[&second.snapshot[..8]]), Ok((1, 1)));
    let left = bench.engine().list_snapshots().expect("a list").snapshots;
    assert_eq!(left.iter().map(|info| &info.id).collect::<Vec<_>>(), [&second.snapshot]);
    bench.restic_check();
    assert_eq!(restored_files(&bench, &second.snapshot), "a b");
}
