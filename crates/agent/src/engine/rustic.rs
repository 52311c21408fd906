//! The real engine: rustic_core on repositories in restic's format. Every repository it writes can be
//! checked and restored by the `restic` program alone. Files appear in the repository complete or not at all, so a process
//! that is killed leaves at most unused data behind.

// long: the one implementation of the trait; what needs room of its own has a module.

mod attributes;
mod backend;
mod bars;
mod forget;
mod lock;
mod node;
mod pack;
mod placing;
mod reach;
mod remote;
mod restore;
mod sample;
mod selection;
mod snapshots;
mod source;
mod stream;
mod verify;
mod volume;
mod volume_pack;
mod walk;
mod write;

use std::{
    fmt, fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use domain::SignedDuration;
use domain::policy::settings::{Compression, Retry, When};
use domain::repository::Location;
use rustic_backend::LocalBackend;
use rustic_core::{
    BackupOptions, CheckOptions, ConfigOptions, Credentials, FileType, Id, IndexedTree, KeyOptions, OpenStatus,
    ParentOptions, ReadBackend, Repository, RepositoryBackends, RepositoryOptions, RusticError, SnapshotGroupCriterion,
    TreeId, WriteBackend,
    repofile::{Chunker, MasterKey, Node, SnapshotFile},
};

use self::{
    backend::{Meter, MeteredBackend},
    bars::Bars,
    lock::Held,
    remote::{Remote, Store, locks::Locks},
    snapshots::{all_snapshots, find_snapshot, info, new_snapshot, parent_of, paths_of, snapshot_of_task, summary},
    source::{Itself, Source, SourceReader},
};
use super::{
    BackupJob, BackupSummary, CheckJob, CheckSummary, CommandsJob, Engine, EngineError, ErrorCode, FileEntry, FileList,
    ForgetJob, ForgetSummary, InitSummary, ListFilesJob, PackJob, PackSummary, PruneSummary, RawPath, ReachSummary,
    Reporter, RepositorySpec, RestoreJob, RestoreSummary, SnapshotList, Step, SurveyJob, SurveySummary, VerifyJob,
    VerifySummary, error::io_cause, priority, run_commands, sliced, tries::try_again,
};

/// How long data that nobody needs stays marked before it is removed. No backup of ours runs while it is marked; this is for
/// those of others, who do not see that.
const KEEP_MARKED: SignedDuration = SignedDuration::from_hours(24);

/// The word for a notice about a copy of disks that there is not.
const NO_RAW_COPY: &str = "noRawCopy";

/// How rustic_core's word for "not at all" is written.
const NO_COMPRESSION: i32 = 0;

/// The level that restic calls "better", in zstd's numbers.
const BETTER: i32 = 9;

/// As hard as memory allows: the levels above need hundreds of megabytes for little more.
const HARDEST: i32 = 19;

/// How long somebody else is waited for who makes the same repository.
const MAKING: Retry = Retry { attempts: 10, interval: SignedDuration::from_secs(2) };

/// The engine on one repository.
pub struct RusticEngine {
    place: Place,
    credentials: Credentials,
    keep_marked: SignedDuration,
}

impl fmt::Debug for RusticEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The credentials would print the password.
        f.debug_struct("RusticEngine").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Where files are cut into pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grid {
    /// As the repository says: by what is in them.
    Content,
    /// At fixed distances.
    Fixed,
}

/// Where the repository is.
#[derive(Debug)]
enum Place {
    /// A folder of this machine.
    Folder(String),
    /// Anywhere else.
    Remote(Arc<dyn Store>),
}

impl Place {
    /// The place, for people.
    fn shown(&self) -> &str {
        match self {
            Place::Folder(path) => path,
            Place::Remote(store) => store.place(),
        }
    }

    /// Hold the repository together with others.
    fn together(&self, repository: &Repository<OpenStatus>, reporter: &Reporter) -> Result<Option<Held>, EngineError> {
        match self {
            Place::Folder(path) => lock::together(path, reporter),
            Place::Remote(store) => {
                let lock = Locks::new(Arc::clone(store), &repository.key()).together(reporter)?;
                Ok(Some(Held::Remote(lock)))
            }
        }
    }

    /// Hold the repository alone; nothing if somebody else uses it.
    fn alone(&self, repository: &Repository<OpenStatus>) -> Result<Option<Held>, EngineError> {
        match self {
            Place::Folder(path) => lock::alone(path),
            Place::Remote(store) => {
                let lock = Locks::new(Arc::clone(store), &repository.key()).alone()?;
                Ok(lock.map(Held::Remote))
            }
        }
    }
}

/// A repository whose password was right, and what watches over its writes.
struct Opened {
    repository: Repository<OpenStatus>,
    meter: Arc<Meter>,
}

impl RusticEngine {
    /// An engine on the repository at `spec`; it is not touched yet.
    pub fn new(spec: &RepositorySpec) -> Result<Self, EngineError> {
        let location = Location::parse(&spec.url).map_err(|error| {
            let message = format!("{}: {}", error.message, error.hint.unwrap_or_default());
            EngineError::new(ErrorCode::RepositoryUnsupported, message).with("url", &spec.url)
        })?;
        let place = match (location.clone(), remote::store(spec, location)?) {
            (_, Some(store)) => Place::Remote(store),
            (Location::Local(path), None) => Place::Folder(path),
            (_, None) => return Err(EngineError::new(ErrorCode::Internal, "nothing reaches this place")),
        };
        Ok(Self { place, credentials: Credentials::Password(spec.password.clone()), keep_marked: KEEP_MARKED })
    }

    /// Removes what nobody needs this long after it was marked, instead of a day.
    #[must_use]
    pub fn keeping_marked(self, keep_marked: SignedDuration) -> Self {
        Self { keep_marked, ..self }
    }

    fn backend(&self) -> Result<Arc<dyn WriteBackend>, EngineError> {
        Ok(match &self.place {
            Place::Folder(path) => {
                Arc::new(LocalBackend::new(path, []).map_err(|error| map_error(&error, ErrorCode::Internal))?)
            }
            Place::Remote(store) => Arc::new(Remote(Arc::clone(store))),
        })
    }

    fn metered(&self, meter: &Arc<Meter>) -> Result<MeteredBackend, EngineError> {
        let remote = matches!(self.place, Place::Remote(_));
        Ok(MeteredBackend::new(self.backend()?, remote, Arc::clone(meter)))
    }

    /// The repository before its password was tried.
    fn closed(&self, reporter: &Reporter) -> Result<(Repository<()>, Arc<Meter>), EngineError> {
        let meter = Arc::new(Meter::new(reporter.clone()));
        let backend = self.metered(&meter)?;
        Ok((Self::on(backend, reporter)?, meter))
    }

    fn on(backend: MeteredBackend, reporter: &Reporter) -> Result<Repository<()>, EngineError> {
        // The cache mirrors what is far away; a local repository is near.
        let options = RepositoryOptions::default().no_cache(true);
        let backends = RepositoryBackends::new(Arc::new(backend), None);
        Repository::new_with_progress(&options, &backends, Bars(reporter.clone()))
            .map_err(|error| map_error(&error, ErrorCode::Internal))
    }

    /// Open the repository for a backup, which may wait for it and compresses as the job says.
    fn open_for(&self, job: &BackupJob, grid: Grid, reporter: &Reporter) -> Result<Opened, EngineError> {
        let meter = Arc::new(Meter::new(reporter.clone()));
        let backend = self.metered(&meter)?;
        let open = || self.open_closed(Self::on(backend.clone(), reporter)?, &self.credentials);
        let mut repository = if job.may_be_new { open()? } else { wait_for(open, job.retries, reporter)? };
        let mut options = ConfigOptions::default();
        options.set_compression = level(job.compression);
        if grid == Grid::Fixed {
            options.set_chunker = Some(Chunker::FixedSize);
            options.set_chunk_size = stream::PIECE.parse().ok();
        }
        if options.set_compression.is_some() || options.set_chunker.is_some() {
            // These are settings of the repository. This run gets a config of its own, and the repository keeps what it has.
            backend.keep_config();
            let changed = repository.apply_config(&options).map_err(|error| map_error(&error, ErrorCode::Internal))?;
            if changed {
                let key = Credentials::Masterkey(repository.key());
                repository = self.open_closed(Self::on(backend, reporter)?, &key)?;
            }
        }
        meter.hold(self.place.together(&repository, reporter)?);
        meter.try_again(job.retries);
        Ok(Opened { repository, meter })
    }

    /// Open the repository to read what backups have left there: nobody gives its space back meanwhile.
    fn open_to_read(&self, reporter: &Reporter) -> Result<Opened, EngineError> {
        let opened = self.open(reporter)?;
        opened.meter.hold(self.place.together(&opened.repository, reporter)?);
        Ok(opened)
    }

    fn open(&self, reporter: &Reporter) -> Result<Opened, EngineError> {
        let (closed, meter) = self.closed(reporter)?;
        Ok(Opened { repository: self.open_closed(closed, &self.credentials)?, meter })
    }

    fn open_closed(
        &self,
        closed: Repository<()>,
        credentials: &Credentials,
    ) -> Result<Repository<OpenStatus>, EngineError> {
        let config = closed.config_id().map_err(|error| map_error(&error, ErrorCode::Io))?;
        if config.is_none() {
            // A directory that may not be read looks empty to rustic_core.
            let config = |path| fs::metadata(Path::new(path).join("config"));
            return Err(match &self.place {
                Place::Folder(path)
                    if let Err(error) = config(path)
                        && error.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    EngineError::io("cannot read the repository", &error)
                }
                _ => EngineError::new(ErrorCode::RepositoryMissing, "there is no repository"),
            }
            .with("repository", self.place.shown()));
        }
        closed.open(credentials).map_err(|error| {
            let error = map_error(&error, ErrorCode::RepositoryDamaged);
            match &self.place {
                // Elsewhere the config comes first, and the key a moment later.
                Place::Remote(store)
                    if error.code != ErrorCode::Io && store.list("keys").is_ok_and(|keys| keys.is_empty()) =>
                {
                    EngineError::new(
                        ErrorCode::RepositoryMissing,
                        "the repository has no key; it was not made to its end",
                    )
                }
                _ => error,
            }
            .with("repository", self.place.shown())
        })
    }

    /// Refuse to make a repository where one has lost a part that cannot be made again.
    fn check_empty(&self, lost: &str) -> Result<(), EngineError> {
        let backend = self.backend()?;
        for kept in [FileType::Snapshot, FileType::Index, FileType::Pack] {
            if !backend.list(kept).map_err(|error| map_error(&error, ErrorCode::Io))?.is_empty() {
                let message = format!("the repository has data but its {lost} is missing");
                let error = EngineError::new(ErrorCode::RepositoryDamaged, message);
                return Err(error.with("repository", self.place.shown()));
            }
        }
        Ok(())
    }

    /// Make a repository that others may be about to make too. The config comes first, and the place takes one only: whose
    /// that is makes the key.
    fn init_remote(&self, reporter: &Reporter) -> Result<InitSummary, EngineError> {
        let failed = |error: Box<RusticError>| map_error(&error, ErrorCode::Io).with("repository", self.place.shown());
        if self.closed(reporter)?.0.config_id().map_err(failed)?.is_none() {
            self.check_empty("config file")?;
            if let Some(repository) = self.init_config(reporter)? {
                return self.with_key(&repository);
            }
        }
        let missing = |error: &EngineError| error.code == ErrorCode::RepositoryMissing;
        match try_again(Some(MAKING), || self.open(reporter), missing) {
            Err(error) if missing(&error) => {}
            opened => {
                let repository = full(&opened?.repository.config().id);
                return Ok(InitSummary { repository, created: false });
            }
        }
        // Whoever began it is gone.
        self.check_empty("key")?;
        let backend = self.backend()?;
        if !backend.list(FileType::Key).map_err(failed)?.is_empty() {
            // It was only slow, or somebody began anew meanwhile.
            let repository = full(&self.open(reporter)?.repository.config().id);
            return Ok(InitSummary { repository, created: false });
        }
        backend.remove(FileType::Config, &Id::default(), false).map_err(failed)?;
        if let Some(repository) = self.init_config(reporter)? {
            return self.with_key(&repository);
        }
        let repository = full(&try_again(Some(MAKING), || self.open(reporter), missing)?.repository.config().id);
        Ok(InitSummary { repository, created: false })
    }

    /// Makes the config of a new repository; none if somebody else's is there by now.
    fn init_config(&self, reporter: &Reporter) -> Result<Option<Repository<OpenStatus>>, EngineError> {
        let master = Credentials::Masterkey(MasterKey::new());
        let (closed, _) = self.closed(reporter)?;
        match closed.init(&master, &KeyOptions::default(), &ConfigOptions::default()) {
            Ok(repository) => Ok(Some(repository)),
            // It looks before it writes, and the place takes no second one: each has an error of its own.
            Err(_) if self.closed(reporter)?.0.config_id().is_ok_and(|config| config.is_some()) => Ok(None),
            Err(error) => Err(map_error(&error, ErrorCode::Io).with("repository", self.place.shown())),
        }
    }

    fn with_key(&self, repository: &Repository<OpenStatus>) -> Result<InitSummary, EngineError> {
        if let Credentials::Password(password) = &self.credentials {
            let key = repository.add_key(password, &KeyOptions::default());
            key.map_err(|error| map_error(&error, ErrorCode::Io).with("repository", self.place.shown()))?;
        }
        Ok(InitSummary { repository: full(&repository.config().id), created: true })
    }

    /// Keys without a config are what an `init` left that was cut off; they would shadow the new key.
    fn remove_keys_of_broken_init(&self, path: &str) -> Result<(), EngineError> {
        let backend = self.backend()?;
        let failed = |error: Box<RusticError>| map_error(&error, ErrorCode::Io);
        if !Path::new(path).join("keys").exists() {
            return Ok(());
        }
        self.check_empty("config file")?;
        for key in backend.list(FileType::Key).map_err(failed)? {
            backend.remove(FileType::Key, &key, false).map_err(failed)?;
        }
        Ok(())
    }
}

impl Engine for RusticEngine {
    fn init(&self, reporter: &Reporter) -> Result<InitSummary, EngineError> {
        let Place::Folder(path) = &self.place else { return self.init_remote(reporter) };
        // Two that make it at the same time would each leave a key that does not fit the other's config.
        let _alone = lock::making(path)?;
        let (closed, _) = self.closed(reporter)?;
        let config = closed.config_id().map_err(|error| map_error(&error, ErrorCode::Io))?;
        let (repository, created) = if config.is_some() {
            (self.open(reporter)?.repository, false)
        } else {
            self.remove_keys_of_broken_init(path)?;
            let repository = closed
                .init(&self.credentials, &KeyOptions::default(), &ConfigOptions::default())
                .map_err(|error| map_error(&error, ErrorCode::Io).with("repository", path))?;
            (repository, true)
        };
        Ok(InitSummary { repository: full(&repository.config().id), created })
    }

    fn reach(&self, reporter: &Reporter) -> Result<ReachSummary, EngineError> {
        self.look(reporter)
    }

    fn backup(&self, job: &BackupJob, reporter: &Reporter) -> Result<BackupSummary, EngineError> {
        if job.volume {
            return self.backup_volume(job, reporter);
        }
        if let Some(image) = &job.image {
            return self.import(job, image, reporter);
        }
        let start = Instant::now();
        if job.background {
            priority::step_back();
        }
        if job.sector_by_sector {
            reporter.notice(NO_RAW_COPY, "a backup of the files was made, not a raw copy of all sectors as was wished");
        }
        let Opened { repository, meter } = self.open_for(job, Grid::Content, reporter)?;
        let before = all_snapshots(&repository)?;
        if let Some(done) = snapshot_of_task(&before, job.task) {
            // The series as it was before that attempt.
            let others: Vec<_> = before.iter().filter(|other| other.id != done.id).cloned().collect();
            let source = Source::new(job, None, &Reporter::silent())?;
            let incremental = !job.full && parent_of(&others, job, &done.hostname, &paths_of(done)).is_some();
            return Ok(BackupSummary { already_done: true, incremental, roots: source.roots(), ..summary(done) });
        }
        let snapshot = new_snapshot(job)?;
        let itself = match &self.place {
            Place::Folder(path) => Itself::at(Path::new(path)),
            Place::Remote(_) => None,
        };
        let mut source = Source::new(job, itself, reporter)?;
        let paths = source.paths().iter().map(|path| path.display().to_string()).collect();
        let earlier = if job.full { None } else { parent_of(&before, job, &snapshot.hostname, &paths) };
        drop(before);

        commands_of(job, When::PreData, reporter)?;
        if job.freeze {
            reporter.step(Step::Freeze);
            source.freeze(job, reporter);
            // The moment is taken: whatever was held back for it may go on.
            commands_of(job, When::PostData, reporter)?;
        }
        let written = read_and_write(repository, &meter, job, source, snapshot, earlier.as_deref(), reporter);
        let after = if job.freeze { Ok(()) } else { commands_of(job, When::PostData, reporter) };
        let summary = written?;
        Ok(BackupSummary {
            duration_ms: millis_since(start),
            incremental: earlier.is_some(),
            failed_command: after.err(),
            ..summary
        })
    }

    fn restore(&self, job: &RestoreJob, reporter: &Reporter) -> Result<RestoreSummary, EngineError> {
        let start = Instant::now();
        if job.device.is_none() && !job.target.as_path().is_absolute() {
            let message = "the directory to restore into must be an absolute path";
            return Err(EngineError::new(ErrorCode::InvalidJob, message).with("target", &job.target));
        }
        let Opened { repository, .. } = self.open_to_read(reporter)?;
        let snapshot = find_snapshot(&repository, &job.snapshot)?;
        let repository = repository.to_indexed().map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        if stream::is_stream(&snapshot) {
            let summary = if job.paths.is_empty() || job.device.is_some() {
                stream::restore(&repository, &snapshot, job, reporter)?
            } else {
                stream::check_target(job)?;
                volume::restore_files(&volume::open(Arc::new(repository), &snapshot)?, job, reporter)?
            };
            return Ok(RestoreSummary { duration_ms: millis_since(start), ..summary });
        }
        if job.device.is_some() {
            let message = "only what was backed up as a volume can be written over a device";
            return Err(EngineError::new(ErrorCode::InvalidJob, message).with("snapshot", &job.snapshot));
        }
        let summary = restore::restore(&repository, &snapshot, job, reporter)?;
        Ok(RestoreSummary { duration_ms: millis_since(start), ..summary })
    }

    fn pack(&self, job: &PackJob, reporter: &Reporter) -> Result<PackSummary, EngineError> {
        let Opened { repository, .. } = self.open_to_read(reporter)?;
        let snapshot = find_snapshot(&repository, &job.snapshot)?;
        let repository = repository.to_indexed().map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        if stream::is_stream(&snapshot) {
            return volume_pack::pack(&volume::open(Arc::new(repository), &snapshot)?, job, reporter);
        }
        pack::pack(&repository, &snapshot, job, reporter)
    }

    fn list_files(&self, job: &ListFilesJob) -> Result<FileList, EngineError> {
        let Opened { repository, .. } = self.open(&Reporter::silent())?;
        let snapshot = find_snapshot(&repository, &job.snapshot)?;
        if stream::is_stream(&snapshot) {
            let repository =
                repository.to_indexed().map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
            return volume::list(&volume::open(Arc::new(repository), &snapshot)?, job);
        }
        let repository =
            repository.to_indexed_ids().map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        let path = Path::new("/").join(job.path.as_path());
        let tree = match find_node(&repository, snapshot.tree, &path)? {
            Found::Top => snapshot.tree,
            Found::Node(node) if node.is_dir() => node.subtree.unwrap_or_default(),
            Found::Node(_) => {
                return Err(EngineError::new(ErrorCode::NotADirectory, "this path is not a directory")
                    .with("path", RawPath::from(path)));
            }
            Found::Nothing => return Err(path_not_in_backup(&path)),
        };
        let tree = repository.get_tree(&tree).map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        Ok(sliced(tree.nodes.iter().map(|node| entry(&path, node)).collect(), job))
    }

    fn list_snapshots(&self) -> Result<SnapshotList, EngineError> {
        let Opened { repository, .. } = self.open(&Reporter::silent())?;
        let mut snapshots = all_snapshots(&repository)?;
        snapshots.sort_by_key(|snapshot| (snapshot.time.timestamp(), snapshot.id));
        Ok(SnapshotList { snapshots: snapshots.iter().map(info).collect() })
    }

    fn check(&self, job: &CheckJob, reporter: &Reporter) -> Result<CheckSummary, EngineError> {
        let start = Instant::now();
        let Opened { repository, .. } = self.open_to_read(reporter)?;
        reporter.step(Step::Check);
        let results = repository
            .check(CheckOptions::default().read_data(job.read_data))
            .map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        let ok = results.is_ok().is_ok();
        let mut summary = CheckSummary { ok, duration_ms: millis_since(start), ..CheckSummary::default() };
        for (level, finding) in &results.0 {
            // rustic_core does not export the type of the level.
            let list = if format!("{level:?}") == "Error" { &mut summary.errors } else { &mut summary.notes };
            list.push(finding.to_string());
        }
        Ok(summary)
    }

    fn verify(&self, job: &VerifyJob, reporter: &Reporter) -> Result<VerifySummary, EngineError> {
        let Opened { repository, .. } = self.open_to_read(reporter)?;
        let snapshot = find_snapshot(&repository, &job.snapshot)?;
        let repository = repository.to_indexed().map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        match job.sample {
            None => verify::verify(&repository, &snapshot, reporter),
            Some(sample) => sample::verify(&repository, &snapshot, sample, reporter),
        }
    }

    fn survey(&self, job: &SurveyJob, reporter: &Reporter) -> Result<SurveySummary, EngineError> {
        self.look_at(job, reporter)
    }

    fn forget(&self, job: &ForgetJob, reporter: &Reporter) -> Result<ForgetSummary, EngineError> {
        forget::forget(&self.open(reporter)?.repository, job, reporter)
    }

    fn prune(&self, reporter: &Reporter) -> Result<PruneSummary, EngineError> {
        let Opened { repository, meter } = self.open(reporter)?;
        // A backup that runs may count on what no recovery point needs, and whoever reads on the index as it was.
        let Some(held) = self.place.alone(&repository)? else {
            return Ok(PruneSummary { busy: true, ..PruneSummary::default() });
        };
        meter.hold(Some(held));
        forget::prune(&repository, self.keep_marked, reporter)
    }
}

/// Read what there is to back up, and write a snapshot of it.
fn read_and_write(
    repository: Repository<OpenStatus>,
    meter: &Arc<Meter>,
    job: &BackupJob,
    source: Source,
    snapshot: SnapshotFile,
    earlier: Option<&str>,
    reporter: &Reporter,
) -> Result<BackupSummary, EngineError> {
    let source = Arc::new(source);
    reporter.step(Step::Scan);
    let (mut files, mut bytes) = (0, 0);
    source.count(|size| {
        files += 1;
        bytes += size;
        reporter.progress(|progress| (progress.files_done, progress.bytes_done) = (files, bytes));
    });

    reporter.step(Step::Backup);
    reporter.progress(|progress| (progress.files_total, progress.bytes_total) = (Some(files), Some(bytes)));
    let repository = repository.to_indexed_ids().map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
    // Which one is the parent was decided already.
    let parent = match earlier.filter(|_| !job.read_all) {
        // A file is as before when its size and the time of its last change are; its other times move with every touch.
        Some(id) => ParentOptions::default()
            .group_by(SnapshotGroupCriterion::new())
            .parents(vec![id.to_owned()])
            .ignore_ctime(true),
        None => ParentOptions::default().force(true),
    };
    let options = BackupOptions::default().no_scan(true).parent_opts(parent);
    let (paths, roots, read) = (source.paths(), source.roots(), Arc::new(AtomicU64::new(0)));
    let reader = SourceReader { source, meter: Arc::clone(meter), reporter: reporter.clone(), read: Arc::clone(&read) };
    let written = repository
        .archive(&options, &reader, snapshot, &paths)
        // What the storage said is the cause; what rustic_core says may be its consequence.
        .map_err(|error| meter.take_failure().unwrap_or_else(|| map_error(&error, ErrorCode::Internal)))?;
    if let Some(failure) = meter.take_failure() {
        return Err(failure);
    }
    Ok(BackupSummary { bytes_read: read.load(Ordering::Relaxed), roots, ..summary(&written) })
}

/// Try to open a repository until it is there, as often as the job allows.
fn wait_for<T>(
    open: impl Fn() -> Result<T, EngineError>,
    retries: Option<Retry>,
    reporter: &Reporter,
) -> Result<T, EngineError> {
    try_again(retries, open, |error| {
        let may_come_back = matches!(error.code, ErrorCode::RepositoryMissing | ErrorCode::Io);
        if may_come_back && reporter.current_step() != Some(Step::Wait) {
            reporter.step(Step::Wait);
        }
        may_come_back
    })
}

/// The level of zstd; nothing where the repository decides.
fn level(compression: Compression) -> Option<i32> {
    match compression {
        Compression::Auto => None,
        Compression::Better => Some(BETTER),
        Compression::Max => Some(HARDEST),
        Compression::Off => Some(NO_COMPRESSION),
    }
}

/// The end of a search in a snapshot.
enum Found {
    /// The top directory, which has no node of its own.
    Top,
    /// A node below it.
    Node(Box<Node>),
    /// There is no such path.
    Nothing,
}

fn find_node<S: IndexedTree>(repository: &Repository<S>, top: TreeId, path: &Path) -> Result<Found, EngineError> {
    let mut found = Found::Top;
    for part in path.components() {
        let name = match part {
            std::path::Component::Normal(name) => name,
            std::path::Component::RootDir | std::path::Component::CurDir => continue,
            _ => return Ok(Found::Nothing),
        };
        let tree = match &found {
            Found::Top => top,
            Found::Node(node) => match node.subtree {
                Some(tree) => tree,
                None => return Ok(Found::Nothing),
            },
            Found::Nothing => return Ok(Found::Nothing),
        };
        let tree = repository.get_tree(&tree).map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        match tree.nodes.into_iter().find(|node| node.name() == name) {
            Some(node) => found = Found::Node(Box::new(node)),
            None => return Ok(Found::Nothing),
        }
    }
    Ok(found)
}

fn path_not_in_backup(path: &Path) -> EngineError {
    let path = RawPath::from(path);
    EngineError::new(ErrorCode::PathNotInBackup, format!("the backup does not contain '{path}'")).with("path", path)
}

/// Run the commands of one point of a backup.
fn commands_of(job: &BackupJob, when: When, reporter: &Reporter) -> Result<(), EngineError> {
    let commands = job.commands.clone();
    run_commands(&CommandsJob { commands, when: vec![when], no_commands: job.no_commands }, reporter)
}

/// All 64 digits; the ids print only the first eight by themselves.
fn full(id: &Id) -> String {
    id.to_hex().to_string()
}

fn entry(directory: &Path, node: &Node) -> FileEntry {
    let name = node.name().into_owned();
    FileEntry {
        path: RawPath::from(directory.join(&name)),
        name: RawPath::from(name.as_os_str()),
        kind: node::kind(node),
        size: if node.is_file() { node.meta.size } else { 0 },
        mtime_ns: node.meta.mtime.and_then(|time| i64::try_from(time.as_nanosecond()).ok()),
        mode: node.meta.mode.map(node::permissions),
        uid: node.meta.uid,
        gid: node.meta.gid,
        user: node.meta.user.clone(),
        group: node.meta.group.clone(),
        link_target: node.is_symlink().then(|| RawPath::from(node.node_type.to_link())),
    }
}

fn millis_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What rustic_core's error means to us; `otherwise` if it does not tell.
fn map_error(error: &RusticError, otherwise: ErrorCode) -> EngineError {
    let code = if error.is_incorrect_password() {
        ErrorCode::WrongPassword
    } else {
        match io_cause(error).map(|cause| (cause.kind(), ErrorCode::of_io(cause))) {
            // The line is down, whatever it was needed for.
            Some((std::io::ErrorKind::NotConnected | std::io::ErrorKind::TimedOut, _)) => ErrorCode::Io,
            Some((_, ErrorCode::Io)) | None => otherwise,
            Some((_, code)) => code,
        }
    };
    match code {
        ErrorCode::WrongPassword => EngineError::new(code, "the password does not open the repository"),
        code => EngineError::new(code, told(error)),
    }
}

/// What an error and its causes say, in one line. rustic_core's own words about itself, where to report it and what to
/// attach, are left out: they stand around every message, and around that of every cause.
fn told(error: &RusticError) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let boxed = || error.downcast_ref::<Box<RusticError>>().map(AsRef::as_ref);
        let text = match error.downcast_ref::<RusticError>().or_else(boxed) {
            Some(rustic) => {
                let text = rustic.display_log();
                let text = text.strip_prefix("Error: ").unwrap_or(&text);
                text.split(" (kind: related to ").next().unwrap_or(text).to_owned()
            }
            None => error.to_string(),
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = text.trim_end_matches('.').to_owned();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustic_core::{ErrorKind, RusticError};

    use super::told;

    #[test]
    fn an_error_of_the_engine_is_one_line_with_its_causes() {
        let disk = io::Error::other("device not ready");
        let inner = RusticError::with_source(ErrorKind::InputOutput, "Failed to read the file `{path}`.", disk);
        let inner = inner.attach_context("path", "/srv/repository/index/ab");
        let outer = RusticError::with_source(ErrorKind::Repository, "Failed to read the index.\nTry again.", inner);
        let message = told(&outer);
        assert_eq!(
            message,
            "Failed to read the index. Try again: Failed to read the file `/srv/repository/index/ab`: device not ready"
        );
    }
}
