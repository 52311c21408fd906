//! Backups: what they take, what they leave out, what they say, and what happens on a second try.

use std::{fs, os::unix::fs::symlink, path::Path};

use agent::engine::{
    BackupJob, CheckJob, Engine, ErrorCode, FileKind, ListFilesJob, RawPath, Reporter, RepositorySpec, RestoreJob,
    rustic::RusticEngine,
};

use crate::support::{Bench, PASSWORD, files_below, noise, odd_name, within};

fn put(bench: &Bench, names: &[&str]) {
    for name in names {
        let path = bench.source().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, name).expect("a file");
    }
}

/// All files of a snapshot, relative to the source.
fn files(bench: &Bench, snapshot: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![RawPath::from(bench.source())];
    while let Some(path) = directories.pop() {
        let job = ListFilesJob { snapshot: snapshot.to_owned(), path, ..ListFilesJob::default() };
        for entry in bench.engine().list_files(&job).expect("a list").entries {
            match entry.kind {
                FileKind::Directory => directories.push(entry.path),
                _ => found
                    .push(RawPath::from(entry.path.as_path().strip_prefix(bench.source()).expect("below")).to_string()),
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_second_attempt_of_a_task_reports_the_first() {
    let bench = Bench::new();
    put(&bench, &["a", "b/c"]);
    let job = bench.backup_job();
    let (first, _) = bench.backup(&job);
    let first = first.expect("a backup");
    put(&bench, &["more"]);
    let (second, heard) = bench.backup(&job);
    let second = second.expect("a report");

    assert!(!first.already_done && second.already_done);
    assert_eq!((&second.snapshot, second.files, second.bytes), (&first.snapshot, 2, first.bytes));
    assert_eq!(heard.steps(), []);
    assert_eq!((first.snapshot.len(), first.tree.len()), (64, 64));
    let snapshots = bench.engine().list_snapshots().expect("a list").snapshots;
    assert_eq!(snapshots.iter().map(|snapshot| snapshot.task).collect::<Vec<_>>(), [Some(job.task)]);
    assert!(bench.restic(&["snapshots".as_ref()]).contains(&format!("backstay-task={}", job.task)));
}

#[test]
fn globs_choose_the_files() {
    let bench = Bench::new();
    put(&bench, &["a.txt", "b.log", "cache/x.txt", "docs/c.txt", "docs/cache", "docs/d.md", "docs/keep.log"]);
    let picked = |includes: &[&str], excludes: &[&str]| {
        let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect();
        let (includes, excludes) = (owned(includes), owned(excludes));
        let (summary, heard) = bench.backup(&BackupJob { includes, excludes, ..bench.backup_job() });
        assert_eq!(heard.warnings(), []);
        files(&bench, &summary.expect("a backup").snapshot).join(" ")
    };
    let everything = "a.txt b.log cache/x.txt docs/c.txt docs/cache docs/d.md docs/keep.log";
    assert_eq!(picked(&[], &[]), everything);
    assert_eq!(picked(&[], &["*.log"]), "a.txt cache/x.txt docs/c.txt docs/cache docs/d.md");
    assert_eq!(picked(&[], &["cache/"]), "a.txt b.log docs/c.txt docs/cache docs/d.md docs/keep.log");
    assert_eq!(picked(&[], &["*.log", "!keep.log"]), "a.txt cache/x.txt docs/c.txt docs/cache docs/d.md docs/keep.log");
    // Patterns with a slash are about the whole path.
    let absolute = bench.source().join("docs/*.md").display().to_string();
    assert_eq!(picked(&[], &[&absolute]), "a.txt b.log cache/x.txt docs/c.txt docs/cache docs/keep.log");
    assert_eq!(picked(&[], &["docs/*.md"]), everything);
    assert_eq!(picked(&[], &["**/docs/*.md"]), "a.txt b.log cache/x.txt docs/c.txt docs/cache docs/keep.log");
    assert_eq!(picked(&["*.txt"], &[]), "a.txt cache/x.txt docs/c.txt");
    assert_eq!(picked(&["*.txt", "**/docs/"], &["cache"]), "a.txt docs/c.txt docs/d.md docs/keep.log");
}

#[test]
fn a_broken_glob_is_refused() {
    let bench = Bench::new();
    let (refused, _) = bench.backup(&BackupJob { excludes: vec!["a{b".to_owned()], ..bench.backup_job() });
    let error = refused.expect_err("a refusal");
    assert_eq!((error.code, error.context["glob"].as_str()), (ErrorCode::InvalidJob, "a{b"));
}

#[test]
fn missing_sources_are_an_error_only_if_all_are() {
    let bench = Bench::new();
    put(&bench, &["a"]);
    let gone = RawPath::from(bench.path("gone"));
    let (all, _) = bench.backup(&BackupJob { paths: vec![gone.clone()], ..bench.backup_job() });
    let error = all.expect_err("nothing to back up");
    assert_eq!((error.code, &error.context["paths"]), (ErrorCode::SourceMissing, &gone.to_string()));
    assert_eq!(error.message, format!("nothing to back up: {gone} does not exist"));

    let (some, heard) =
        bench.backup(&BackupJob { paths: vec![gone.clone(), bench.source().into()], ..bench.backup_job() });
    assert_eq!(some.expect("a backup").files, 1);
    assert_eq!(heard.warnings().iter().map(|warning| warning.path.clone()).collect::<Vec<_>>(), [Some(gone)]);

    let (relative, _) = bench.backup(&BackupJob { paths: vec!["a".into()], ..bench.backup_job() });
    assert_eq!(relative.expect_err("a refusal").code, ErrorCode::InvalidJob);
}

#[test]
fn sources_may_overlap_be_links_be_files_and_have_odd_names() {
    let bench = Bench::new();
    let odd = bench.path("z").join(odd_name());
    fs::create_dir_all(&odd).expect("a directory");
    fs::write(odd.join("x"), "x").expect("a file");
    put(&bench, &["a/b", "a/c", "a.b", "d"]);
    symlink(&odd, bench.path("link")).expect("a link");
    let paths = ["source/d", "source/a.b", "source/a/c", "source/a", "link"].map(|name| bench.path(name).into());
    let (summary, heard) = bench.backup(&BackupJob { paths: paths.to_vec(), ..bench.backup_job() });
    assert_eq!(heard.warnings(), []);
    let summary = summary.expect("a backup");
    assert_eq!(files(&bench, &summary.snapshot), ["a.b", "a/b", "a/c", "d"]);
    // Of a link, what is behind it: there the files lie, and by that name they are found again.
    let roots: Vec<_> = summary.roots.iter().map(|root| (root.path.clone(), root.file)).collect();
    let wanted = [("source/d", true), ("source/a.b", true), ("source/a/c", true), ("source/a", false)];
    let text = |path: &Path| RawPath::from(path).to_string();
    let mut wanted: Vec<_> = wanted.map(|(name, file)| (text(&bench.path(name)), file)).to_vec();
    wanted.push((text(&odd), false));
    assert_eq!(roots, wanted);
    assert!(summary.roots.iter().all(|root| root.modified_at.is_some()));

    let target = bench.path("target");
    let job = RestoreJob { snapshot: summary.snapshot, target: target.clone().into(), ..RestoreJob::default() };
    bench.restore(&job).0.expect("a restore");
    assert_eq!(fs::read_link(within(&target, &bench.path("link"))).expect("a link"), odd);
    assert_eq!(fs::read(within(&target, &odd.join("x"))).expect("a file"), b"x");
    bench.restic_check();
}

#[test]
fn a_repository_inside_the_source_is_left_out() {
    let bench = Bench::new();
    put(&bench, &["a"]);
    let root = bench.source().parent().expect("a parent").to_path_buf();
    let (summary, _) = bench.backup(&BackupJob { paths: vec![root.into()], ..bench.backup_job() });
    assert_eq!(summary.expect("a backup").files, 1);
}

#[test]
fn repositories_open_only_as_they_should() {
    let bench = Bench::new();
    let again = bench.engine().init(&Reporter::silent()).expect("still there");
    assert!(!again.created);

    let at = |url: String, password: &str| RepositorySpec { url, password: password.to_owned(), ..bench.spec() };
    let init = |spec: &RepositorySpec| RusticEngine::new(spec).and_then(|engine| engine.list_snapshots());
    let wrong = at(bench.spec().url, "wrong");
    assert_eq!(init(&wrong).expect_err("refused").code, ErrorCode::WrongPassword);
    let refused = RusticEngine::new(&wrong).and_then(|engine| engine.init(&Reporter::silent()));
    assert_eq!(refused.expect_err("refused").code, ErrorCode::WrongPassword);
    let missing = at(format!("local:{}", bench.path("nowhere").display()), "x");
    assert_eq!(init(&missing).expect_err("refused").code, ErrorCode::RepositoryMissing);
    let far = at("b2:bucket:folder".to_owned(), "x");
    assert_eq!(init(&far).expect_err("refused").code, ErrorCode::RepositoryUnsupported);
    assert!(!format!("{:?} {:?}", wrong, RusticEngine::new(&wrong)).contains("wrong"));
}

#[test]
fn what_a_backup_would_meet_is_told_and_nothing_is_touched() {
    let bench = Bench::far();
    let reach = |url: &str, password: &str| {
        let spec = RepositorySpec { url: url.to_owned(), password: password.to_owned(), ..bench.spec() };
        let before = files_below(&bench.path("."));
        let found = RusticEngine::new(&spec).and_then(|engine| engine.reach(&Reporter::silent()));
        assert_eq!(files_below(&bench.path(".")), before, "something was made");
        found.map(|reached| reached.found).map_err(|error| (error.code, error.message))
    };
    let there = bench.path("repository").display().to_string();
    let code = |found: Result<bool, (ErrorCode, String)>| found.expect_err("refused").0;
    for url in [there.clone(), bench.spec().url] {
        assert_eq!(reach(&url, PASSWORD), Ok(true), "{url}");
    }
    assert_eq!(code(reach(&there, "wrong")), ErrorCode::WrongPassword);
    let nowhere = bench.path("nowhere");
    for url in [nowhere.display().to_string(), format!("rclone:far:{}", nowhere.display())] {
        assert_eq!(reach(&url, "x"), Ok(false), "the first backup makes it: {url}");
    }
    assert!(!nowhere.exists());
    assert_eq!(code(reach("rclone:near:x", "x")), ErrorCode::Io);

    fs::write(bench.path("file"), "").expect("a file");
    let below = bench.path("file/below").display().to_string();
    assert!(reach(&below, "x").expect_err("refused").1.ends_with("/file: not a directory"));
    bench.good_backup();
    fs::rename(bench.path("repository/config"), bench.path("config")).expect("moved");
    assert_eq!(code(reach(&there, PASSWORD)), ErrorCode::RepositoryDamaged);
}

#[test]
fn several_who_make_a_repository_at_once_make_one() {
    let bench = Bench::new();
    let spec = RepositorySpec { url: bench.path("new/repository").display().to_string(), ..bench.spec() };
    let start = std::sync::Barrier::new(4);
    let make = || {
        start.wait();
        RusticEngine::new(&spec).expect("a local path").init(&Reporter::silent()).expect("a repository")
    };
    let made: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..4).map(|_| scope.spawn(make)).collect();
        makers.into_iter().map(|maker| maker.join().expect("nobody panics")).collect()
    });
    assert_eq!(made.iter().filter(|one| one.created).count(), 1, "{made:?}");
    assert!(made.iter().all(|one| one.repository == made[0].repository), "{made:?}");
    let keys = fs::read_dir(bench.path("new/repository/keys")).expect("a directory").count();
    assert_eq!(keys, 1, "another key would not open it");
}

#[test]
fn an_init_that_was_cut_off_can_be_repeated() {
    let bench = Bench::new();
    // The config is written last; without it there is only a key.
    fs::remove_file(bench.path("repository/config")).expect("a config");
    assert!(bench.engine().init(&Reporter::silent()).expect("a new start").created);
    put(&bench, &["a"]);
    bench.good_backup();
    bench.restic_check();

    fs::remove_file(bench.path("repository/config")).expect("a config");
    let refused = bench.engine().init(&Reporter::silent()).expect_err("there is data");
    assert_eq!(refused.code, ErrorCode::RepositoryDamaged);
}

#[test]
fn listings_come_in_pages() {
    let bench = Bench::new();
    put(&bench, &["b", "a", "c/x", "e", "d"]);
    fs::write(bench.source().join(odd_name()), b"odd").expect("a file");
    let snapshot = bench.good_backup().snapshot;
    let list = |path: RawPath, after: Option<RawPath>, limit| {
        let job = ListFilesJob { snapshot: snapshot[..8].to_owned(), path, after, limit: Some(limit) };
        bench.engine().list_files(&job)
    };
    let mut names = Vec::new();
    loop {
        let page = list(bench.source().into(), names.last().cloned(), 4).expect("a page");
        names.extend(page.entries.into_iter().map(|entry| entry.name));
        if !page.more {
            break;
        }
    }
    assert_eq!(
        names,
        ["a", "b", "c"]
            .map(RawPath::from)
            .into_iter()
            .chain([odd_name().into()])
            .chain(["d", "e"].map(RawPath::from))
            .collect::<Vec<_>>()
    );
    let top = bench.source().components().nth(1).map(|part| RawPath::from(part.as_os_str()));
    assert_eq!(list("/".into(), None, 9).expect("the top").entries.first().map(|entry| entry.name.clone()), top);

    let code = |path: &str| list(bench.source().join(path).into(), None, 9).expect_err("no listing").code;
    assert_eq!(code("a"), ErrorCode::NotADirectory);
    assert_eq!(code("z"), ErrorCode::PathNotInBackup);
    let unknown = ListFilesJob { snapshot: "0123abcd".to_owned(), ..ListFilesJob::default() };
    assert_eq!(bench.engine().list_files(&unknown).expect_err("no snapshot").code, ErrorCode::SnapshotNotFound);
}

#[test]
fn check_finds_damage() {
    let bench = Bench::new();
    fs::write(bench.source().join("a"), noise(5, 100_000)).expect("a file");
    bench.good_backup();
    let check = || bench.engine().check(&CheckJob { read_data: true }, &Reporter::silent()).expect("a check");
    assert!(check().ok);

    let pack = walk_files(&bench.path("repository/data")).into_iter().max_by_key(|(size, _)| *size).expect("a pack").1;
    let mut bytes = fs::read(&pack).expect("a pack");
    bytes[1000] ^= 1;
    fs::write(&pack, bytes).expect("damage");
    let found = check();
    assert!(!found.ok && !found.errors.is_empty(), "{found:?}");

    let snapshot = bench.engine().list_snapshots().expect("a list").snapshots.remove(0).id;
    let job = RestoreJob { snapshot, target: bench.path("target").into(), ..RestoreJob::default() };
    let (restored, heard) = bench.restore(&job);
    assert_eq!(restored.expect("the rest").failed, 1);
    assert_eq!(heard.warnings().len(), 1);
    // Half a file would pass for a whole one.
    assert!(!bench.restored(&bench.path("target")).join("a").exists());
}

fn walk_files(directory: &std::path::Path) -> Vec<(u64, std::path::PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let meta = entry.metadata().expect("metadata");
        if meta.is_dir() { found.extend(walk_files(&entry.path())) } else { found.push((meta.len(), entry.path())) }
    }
    found
}
