//! What the tests share: sample trees, comparison of trees, the engine, `restic`.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::Read,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent::{
    child::{Child, Program},
    engine::{
        BackupJob, BackupSummary, Engine, EngineError, Event, Job, RawPath, Reporter, RepositorySpec, Request,
        RestoreJob, RestoreSummary, Step, Warning, rustic::RusticEngine,
    },
};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) const PASSWORD: &str = "correct horse";

/// A place with a fresh repository.
pub(crate) struct Bench {
    dir: TempDir,
    /// Whether the engine reaches the repository as a place that is no folder.
    far: bool,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::at(false)
    }

    /// The same folder, reached through `rclone`.
    pub(crate) fn far() -> Self {
        Self::at(true)
    }

    fn at(far: bool) -> Self {
        let bench = Self { dir: tempfile::tempdir().expect("a temporary directory"), far };
        fs::create_dir(bench.source()).expect("a source directory");
        let made = bench.engine().init(&Reporter::silent()).expect("a new repository");
        assert!(made.created);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.path("source")
    }

    pub(crate) fn spec(&self) -> RepositorySpec {
        let path = self.path("repository").display().to_string();
        // A remote that is set up in the environment alone.
        let remote = [("RCLONE_CONFIG_FAR_TYPE".to_owned(), "local".to_owned())];
        RepositorySpec {
            url: if self.far { format!("rclone:far:{path}") } else { path },
            password: PASSWORD.to_owned(),
            secrets: if self.far { remote.into() } else { Default::default() },
            limits: Default::default(),
        }
    }

    pub(crate) fn engine(&self) -> RusticEngine {
        RusticEngine::new(&self.spec()).expect("a place that can be reached")
    }

    /// A job for the whole source, as a task of its own.
    pub(crate) fn backup_job(&self) -> BackupJob {
        BackupJob {
            task: Uuid::new_v4(),
            host: "bench".to_owned(),
            paths: vec![RawPath::from(self.source())],
            ..BackupJob::default()
        }
    }

    pub(crate) fn backup(&self, job: &BackupJob) -> (Result<BackupSummary, EngineError>, Heard) {
        let heard = Heard::default();
        (self.engine().backup(job, &heard.reporter()), heard)
    }

    /// A backup of the source that must go well.
    pub(crate) fn good_backup(&self) -> BackupSummary {
        let (summary, heard) = self.backup(&self.backup_job());
        assert_eq!(heard.warnings(), []);
        summary.expect("a backup")
    }

    pub(crate) fn restore(&self, job: &RestoreJob) -> (Result<RestoreSummary, EngineError>, Heard) {
        let heard = Heard::default();
        (self.engine().restore(job, &heard.reporter()), heard)
    }

    /// Where the source comes to lie in a restore into `target`.
    pub(crate) fn restored(&self, target: &Path) -> PathBuf {
        within(target, &self.source())
    }

    /// The files with data in the repository, and their sizes.
    pub(crate) fn packs(&self) -> Vec<(PathBuf, u64)> {
        let folder = self.path("repository/data");
        let packs = files_below(&folder).into_iter().map(|name| folder.join(name));
        packs.map(|path| (path.clone(), fs::metadata(&path).expect("metadata").len())).collect()
    }

    /// Run `restic` on the repository; it must succeed.
    pub(crate) fn restic(&self, args: &[&OsStr]) -> String {
        let output = Command::new("restic")
            .args(["--no-cache", "--repo"])
            .arg(self.path("repository"))
            .args(args)
            .env("RESTIC_PASSWORD", PASSWORD)
            .output()
            .unwrap_or_else(|error| {
                panic!("cannot start `restic` ({error}); install it, for example with `apt-get install restic`")
            });
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "restic {args:?} failed:\n{text}");
        text
    }

    /// The repository is in order, in the eyes of the `restic` program.
    pub(crate) fn restic_check(&self) {
        let text = self.restic(&["check".as_ref(), "--read-data".as_ref()]);
        assert!(text.contains("no errors were found"), "{text}");
    }
}

/// `target` with the whole of `path` below it.
pub(crate) fn within(target: &Path, path: &Path) -> PathBuf {
    target.join(path.strip_prefix("/").expect("an absolute path"))
}

/// Everything a job told.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<Event>>>);

impl Heard {
    pub(crate) fn reporter(&self) -> Reporter {
        let heard = self.clone();
        Reporter::new(move |event| heard.0.lock().expect("no panic while listening").push(event))
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().expect("no panic while listening").clone()
    }

    pub(crate) fn warnings(&self) -> Vec<Warning> {
        self.events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Warning(warning) => Some(warning),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.events()
            .into_iter()
            .filter_map(|event| match event {
                Event::StepStarted { step } => Some(step),
                _ => None,
            })
            .collect()
    }
}

/// The notices among what a job told: words and messages.
pub(crate) fn notices(heard: &Heard) -> Vec<(String, String)> {
    let notice = |event| if let Event::Notice { code, message } = event { Some((code, message)) } else { None };
    heard.events().into_iter().filter_map(notice).collect()
}

/// Everything but directories below `root`, by their paths from there.
pub(crate) fn files_below(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if fs::symlink_metadata(&path).expect("metadata").is_dir() {
                directories.push(path);
            } else {
                found.push(RawPath::from(path.strip_prefix(root).expect("below")).to_string());
            }
        }
    }
    found.sort();
    found
}

/// The files of a snapshot below the source, in one line.
pub(crate) fn restored_files(bench: &Bench, snapshot: &str) -> String {
    let target = tempfile::tempdir().expect("a temporary directory");
    let job = RestoreJob { snapshot: snapshot.to_owned(), target: target.path().into(), ..RestoreJob::default() };
    bench.restore(&job).0.expect("a restore");
    let source = bench.restored(target.path());
    if source.exists() { files_below(&source).join(" ") } else { String::new() }
}

/// A repository in which the job that `prepare` wishes was killed in the middle: data was written, and the snapshot was not. One
/// that was over before the signal reached it - a fast disk, or a test that had to wait for a processor - is begun anew
/// elsewhere.
pub(crate) async fn killed_half_way(prepare: impl Fn(&Bench) -> BackupJob) -> (Bench, Request) {
    for _ in 0..20 {
        let bench = Bench::new();
        let request = Request::new(bench.spec(), Job::Backup(prepare(&bench)));
        let mut child = Child::spawn(&run_job(), &request).await.expect("a child");
        let in_the_middle = loop {
            match child.next_event().await.expect("more events") {
                Event::Progress(progress) if progress.step == Some(Step::Backup) && progress.bytes_added > 0 => {
                    break true;
                }
                Event::Ended { outcome, .. } => {
                    outcome.expect("a backup that nobody disturbs");
                    break false;
                }
                _ => {}
            }
        };
        let killed = in_the_middle && child.stop(Duration::ZERO).await.is_none();
        // Its last word may have been written when the signal came.
        if killed && bench.engine().list_snapshots().expect("a list").snapshots.is_empty() {
            return (bench, request);
        }
    }
    panic!("it is always over before it can be killed");
}

/// The child program of these tests.
pub(crate) fn run_job() -> Program {
    let tests = std::env::current_exe().expect("the path of this test");
    let path = tests.ancestors().nth(2).expect("target/debug").join("examples/run_job");
    assert!(path.exists(), "{} is missing: run `cargo build -p backstay-agent --examples`", path.display());
    Program { path, args: Vec::new() }
}

/// What there is to know about a file, in a form that compares well and prints well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) kind: &'static str,
    pub(crate) mode: String,
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    pub(crate) mtime: (i64, i64),
    pub(crate) device: u64,
    pub(crate) link_target: Option<RawPath>,
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
    /// The first of all names of the same file.
    pub(crate) same_as: RawPath,
    pub(crate) has_holes: bool,
}

pub(crate) type Manifest = BTreeMap<RawPath, Facts>;

/// The facts of everything below `root`, and of `root` itself.
pub(crate) fn manifest(root: &Path) -> Manifest {
    let mut manifest = Manifest::new();
    let mut names = BTreeMap::new();
    describe(root, root, &mut names, &mut manifest);
    manifest
}

fn describe(root: &Path, path: &Path, names: &mut BTreeMap<(u64, u64), RawPath>, manifest: &mut Manifest) {
    let meta = fs::symlink_metadata(path).expect("metadata");
    let kind = meta.file_type();
    let name = RawPath::from(path.strip_prefix(root).expect("below the root"));
    let same_as = names.entry((meta.dev(), meta.ino())).or_insert_with(|| name.clone()).clone();
    let attributes = xattr::list(path)
        .expect("extended attributes")
        .map(|key| {
            let value = xattr::get(path, &key).expect("an attribute").unwrap_or_default();
            (key.to_string_lossy().into_owned(), value)
        })
        .collect();
    let facts = Facts {
        kind: match kind {
            _ if kind.is_dir() => "directory",
            _ if kind.is_symlink() => "link",
            _ if kind.is_fifo() => "fifo",
            _ if kind.is_socket() => "socket",
            _ if kind.is_char_device() => "character device",
            _ if kind.is_block_device() => "block device",
            _ => "file",
        },
        mode: format!("{:o}", meta.mode()),
        owner: (meta.uid(), meta.gid()),
        size: if kind.is_dir() { 0 } else { meta.len() },
        mtime: (meta.mtime(), meta.mtime_nsec()),
        device: meta.rdev(),
        link_target: kind.is_symlink().then(|| RawPath::from(fs::read_link(path).expect("a link"))),
        attributes,
        same_as,
        // Small files may be stored in the inode.
        has_holes: kind.is_file() && meta.len() > 1 << 16 && meta.blocks() * 512 < meta.len(),
    };
    manifest.insert(name, facts);
    if kind.is_dir() {
        let mut below: Vec<_> =
            fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
        below.sort();
        for path in below {
            describe(root, &path, names, manifest);
        }
    }
}

/// Both trees have the same files with the same facts and the same bytes.
pub(crate) fn assert_same(left: &Path, right: &Path) {
    compare(left, right, manifest(left), manifest(right));
}

/// As [`assert_same`], but whether files have holes does not count: not every program makes them.
pub(crate) fn assert_same_but_for_holes(left: &Path, right: &Path) {
    let [left_facts, right_facts] = [left, right].map(|root| {
        let mut manifest = manifest(root);
        manifest.values_mut().for_each(|facts| facts.has_holes = false);
        manifest
    });
    compare(left, right, left_facts, right_facts);
}

fn compare(left: &Path, right: &Path, left_facts: Manifest, right_facts: Manifest) {
    let names = |manifest: &Manifest| manifest.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&left_facts), names(&right_facts));
    for (name, facts) in &left_facts {
        assert_eq!(Some(facts), right_facts.get(name), "{name}");
        if facts.kind == "file" {
            let [left, right] = [left, right].map(|root| join(root, name));
            assert!(same_bytes(&left, &right), "the content of {name} differs");
        }
    }
}

fn join(root: &Path, name: &RawPath) -> PathBuf {
    if name.as_path().as_os_str().is_empty() { root.to_path_buf() } else { root.join(name) }
}

fn same_bytes(left: &Path, right: &Path) -> bool {
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

/// Bytes that do not compress and are the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A name that is no UTF-8.
pub(crate) fn odd_name() -> &'static OsStr {
    OsStr::from_bytes(b"caf\xe9 \\ \"quoted\" \xff")
}
