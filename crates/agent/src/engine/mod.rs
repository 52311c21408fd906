//! The backup engine: what a job is, what it reports and what it answers, as plain data that crosses a
//! process boundary as JSON. [`rustic`] does the work; [`fake`] plays a script for tests and simulation.

// long: the words that parent and child exchange belong side by side.

pub mod commands;
pub mod error;
pub mod fake;
mod fetch;
mod freeze;
mod masks;
pub mod mounts;
pub mod path;
mod priority;
mod qcow;
pub mod report;
pub mod rustic;
pub mod stream;
mod tries;
mod volume;

use std::collections::BTreeMap;
use std::fmt;

use domain::{
    backup::{Filesystem, Root},
    policy::settings::{Command, Compression, Masks, Retry, When},
    repository::Limits,
    work::{Sample, Sampled, Unread},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::{
    error::{EngineError, ErrorCode},
    fetch::Image,
    path::RawPath,
    report::{Event, Progress, Reporter, Step, Warning},
};

/// Removes frozen copies of volumes that killed jobs have left behind.
pub(crate) fn remove_frozen_leftovers() {
    freeze::remove_leftovers();
}

/// What a job ended with.
pub type Outcome = Result<Output, EngineError>;

/// Where a repository lies and how it opens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositorySpec {
    /// Its place, as [`domain::repository::Location`] reads it.
    pub url: String,
    /// The password of one of its keys.
    pub password: String,
    /// What else opens the way there, under the names that restic reads from its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// How fast data may flow.
    #[serde(default)]
    pub limits: Limits,
}

impl From<proto::agent::v1::Repository> for RepositorySpec {
    fn from(given: proto::agent::v1::Repository) -> Self {
        let limits = Limits { upload: given.upload_limit, download: given.download_limit };
        Self { url: given.url, password: given.password, secrets: given.secrets.into_iter().collect(), limits }
    }
}

impl fmt::Debug for RepositorySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RepositorySpec").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Everything a child process needs to do one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The repository to work on.
    pub repository: RepositorySpec,
    /// The work.
    pub job: Job,
    /// Play this script instead of doing the work; for tests and simulation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fake: Option<fake::Script>,
}

impl Request {
    /// A request to the real engine.
    pub fn new(repository: RepositorySpec, job: Job) -> Self {
        Self { repository, job, fake: None }
    }

    /// Do the work in this process and block until it is done.
    pub fn run(&self, reporter: &Reporter) -> Outcome {
        match &self.fake {
            None => match &self.job {
                // They put right again what was stopped for a backup, also when nothing leads to the repository.
                Job::Commands(job) => run_commands(job, reporter).map(|()| Output::Commands),
                job => {
                    let outcome = rustic::RusticEngine::new(&self.repository)?.run(job, reporter);
                    outcome.map_err(EngineError::with_repair)
                }
            },
            Some(script) => fake::FakeEngine::new(script.clone()).run(&self.job, reporter),
        }
    }
}

/// One piece of work on a repository.
#[expect(clippy::large_enum_variant, reason = "there is one of them in a process")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Job {
    /// Create the repository if it is not there yet.
    Init,
    /// Find out whether a backup would find its way to the repository.
    Reach,
    /// Write a snapshot.
    Backup(BackupJob),
    /// Bring a snapshot back.
    Restore(RestoreJob),
    /// Put files of a snapshot into one file.
    Pack(PackJob),
    /// List one directory of a snapshot.
    ListFiles(ListFilesJob),
    /// List all snapshots.
    ListSnapshots,
    /// Verify the repository.
    Check(CheckJob),
    /// Read all data of one snapshot.
    Verify(VerifyJob),
    /// Find out what is on the volume of a snapshot.
    Survey(SurveyJob),
    /// Remove snapshots.
    Forget(ForgetJob),
    /// Give back the space of what no snapshot needs.
    Prune,
    /// Run the commands of a policy.
    Commands(CommandsJob),
}

/// What to back up, and under which names.
///
/// # Globs
///
/// `includes` and `excludes` follow `.gitignore`: `*.tmp` matches a name anywhere; a pattern with a slash
/// in front or in the middle is matched against the whole absolute path (`/home/*/.cache`); `**/` in
/// front makes it match at any depth (`**/target/debug`); a slash at the end matches directories only;
/// among excludes a later `!pattern` takes a file back in. Nothing below an excluded directory is
/// visited. If there are includes, only files that match one of them, or that lie in a directory that
/// does, are backed up; directories are kept. Excludes win over includes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupJob {
    /// The task. Its snapshot carries the tag `backstay-task=<uuid>`; if there is one already, it is
    /// reported instead of backing up again.
    pub task: Uuid,
    /// The host name to store; with `paths` it decides which snapshot is the parent.
    pub host: String,
    /// Absolute paths of files and directories. A symbolic link is stored as link, and what it points to
    /// is backed up too. Empty = the local file systems of the machine, each as far as it goes.
    pub paths: Vec<RawPath>,
    /// The one path is a block device or a disk image, and what is stored is the stream of its bytes. Rules about files
    /// mean nothing then.
    pub volume: bool,
    /// An image is fetched, and what is stored under the one path is the stream of its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Back up only files that match; empty means everything.
    pub includes: Vec<String>,
    /// Leave these out.
    pub excludes: Vec<String>,
    /// Masks, beside the globs: what either leaves out is left out.
    pub masks: Masks,
    /// Stay on the file systems that the paths are on; mount points are kept as empty directories.
    pub one_file_system: bool,
    /// More tags for the snapshot.
    pub tags: Vec<String>,
    /// A label for the snapshot, the series it belongs to; other restic programs ignore it. The latest one with the same
    /// label is the parent; without one, the latest of the same host and paths.
    pub label: Option<String>,
    /// Read every file and take nothing from a parent.
    pub full: bool,
    /// Read every file, also those that look unchanged since the parent.
    pub read_all: bool,
    /// How hard to compress what is new.
    pub compression: Compression,
    /// Tries after errors of the storage.
    pub retries: Option<Retry>,
    /// A repository that is not there will be made by whoever asks: do not wait for it to come back.
    pub may_be_new: bool,
    /// Step back behind everything else on the machine.
    pub background: bool,
    /// Read from frozen copies of the volumes that allow it.
    pub freeze: bool,
    /// Tries of making such copies.
    pub freeze_retries: Option<Retry>,
    /// A raw copy of the disks was wished, which there is not.
    pub sector_by_sector: bool,
    /// What to run before and after freezing or reading; the others are not the backup's.
    pub commands: Vec<Command>,
    /// Run no commands: each counts as failed.
    pub no_commands: bool,
}

/// What to bring back, and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreJob {
    /// The snapshot's id, or a prefix of it that is unique.
    pub snapshot: String,
    /// The directory to restore into. Files come to lie at their full original path below it
    /// (`/home/a` at `TARGET/home/a`); `/` restores in place.
    pub target: RawPath,
    /// Instead, each of `paths` comes to lie in `target` under its own name. One that was backed up as a whole has no name:
    /// what is in it comes to lie there. Where two names are equal, all keep their full original path.
    pub by_name: bool,
    /// Restore only these paths of the snapshot, with everything below; empty means everything.
    pub paths: Vec<RawPath>,
    /// What to do with files that are there already.
    pub overwrite: Overwrite,
    /// Remove what is not in the snapshot from the restored directories. Directories above the
    /// backed-up (or selected) paths are never cleaned.
    pub delete: bool,
    /// Of a volume: write its bytes over this block device instead, which nobody may be using.
    pub device: Option<RawPath>,
}

/// What to put into one file, and where that lies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PackJob {
    /// The snapshot's id, or a prefix of it that is unique.
    pub snapshot: String,
    /// These paths of the snapshot, with everything below.
    pub paths: Vec<RawPath>,
    /// The file to write; what is there is replaced.
    pub target: RawPath,
}

/// What a restore does with files that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Overwrite {
    /// Keep the content of files with the right size and modification time, replace all others.
    #[default]
    IfChanged,
    /// Replace all files.
    Always,
    /// Replace files that were last modified before the one in the snapshot was.
    Older,
    /// Leave everything that exists as it is.
    Never,
}

/// Which directory of a snapshot to list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListFilesJob {
    /// The snapshot's id, or a prefix of it that is unique.
    pub snapshot: String,
    /// The directory; empty or `/` is the top of the snapshot.
    pub path: RawPath,
    /// Start after the entry of this name.
    pub after: Option<RawPath>,
    /// At most so many entries.
    pub limit: Option<usize>,
}

/// How deep to verify a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckJob {
    /// Read all data, not only the structure.
    pub read_data: bool,
}

/// Which snapshot to read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VerifyJob {
    /// The snapshot's id, or a prefix of it that is unique.
    pub snapshot: String,
    /// Only these many files, picked at random, are read; none = all data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

/// Which snapshot of a volume to look into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SurveyJob {
    /// The snapshot's id, or a prefix of it that is unique.
    pub snapshot: String,
}

/// Which snapshots to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ForgetJob {
    /// Their whole ids. One that is not there is removed already.
    pub snapshots: Vec<String>,
}

/// Which commands to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CommandsJob {
    /// All of the policy's.
    pub commands: Vec<Command>,
    /// Those of these points of the run, in this order.
    pub when: Vec<When>,
    /// Run none: each counts as failed.
    pub no_commands: bool,
}

/// The answer to a job that succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Output {
    /// To [`Job::Init`].
    Init(InitSummary),
    /// To [`Job::Reach`].
    Reach(ReachSummary),
    /// To [`Job::Backup`].
    Backup(BackupSummary),
    /// To [`Job::Restore`].
    Restore(RestoreSummary),
    /// To [`Job::Pack`].
    Pack(PackSummary),
    /// To [`Job::ListFiles`].
    Files(FileList),
    /// To [`Job::ListSnapshots`].
    Snapshots(SnapshotList),
    /// To [`Job::Check`].
    Check(CheckSummary),
    /// To [`Job::Verify`].
    Verify(VerifySummary),
    /// To [`Job::Survey`].
    Survey(SurveySummary),
    /// To [`Job::Forget`].
    Forget(ForgetSummary),
    /// To [`Job::Prune`].
    Prune(PruneSummary),
    /// To [`Job::Commands`].
    Commands,
}

/// What `init` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitSummary {
    /// The repository's own id.
    pub repository: String,
    /// False if it was there already.
    pub created: bool,
}

/// What was found at the place of a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReachSummary {
    /// There is a repository, which opens; otherwise one can be made, as far as that is known without trying.
    pub found: bool,
}

/// What a backup did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupSummary {
    /// The snapshot's id (64 hexadecimal digits).
    pub snapshot: String,
    /// The id of its top directory; equal trees mean equal content.
    pub tree: String,
    /// The snapshot it was compared with; none for a first, seeding backup.
    pub parent: Option<String>,
    /// The snapshot was there already: an earlier attempt of the same task had finished it.
    pub already_done: bool,
    /// Files that the parent did not have.
    pub files_new: u64,
    /// Files that differ from the parent's.
    pub files_changed: u64,
    /// Files that were not read again.
    pub files_unmodified: u64,
    /// All files, links and special files in the snapshot.
    pub files: u64,
    /// All directories in the snapshot.
    pub directories: u64,
    /// The size of all files in the snapshot.
    pub bytes: u64,
    /// What was new in the repository, before compression.
    pub bytes_added: u64,
    /// What was written to the repository: new, compressed, encrypted.
    pub bytes_added_packed: u64,
    /// The part of `bytes_added` that is file content; the rest describes directories.
    pub bytes_added_files: u64,
    /// The size of the files that were read because they are new, have changed, or all are read.
    #[serde(default)]
    pub bytes_read: u64,
    /// Whether there was an earlier one of the same series and nobody wished to start anew.
    #[serde(default)]
    pub incremental: bool,
    /// Where it began to read.
    #[serde(default)]
    pub roots: Vec<Root>,
    /// Of a stream, its SHA-256 in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// A command after reading failed that the run depends on. The snapshot is there all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_command: Option<EngineError>,
    /// How long it took.
    pub duration_ms: u64,
}

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSummary {
    /// Regular files whose content was written.
    pub files: u64,
    /// Regular files that were right already.
    pub files_unchanged: u64,
    /// Hard links made to restored files.
    pub hardlinks: u64,
    /// Symbolic links, pipes, sockets and devices made.
    pub specials: u64,
    /// Directories made or brought up to date.
    pub directories: u64,
    /// Entries left alone because something was there and `overwrite` does not allow to replace it.
    pub skipped: u64,
    /// Entries that could not be restored; each is also a warning.
    pub failed: u64,
    /// Entries removed because the snapshot does not have them.
    pub deleted: u64,
    /// Content written, holes included.
    pub bytes: u64,
    /// How long it took.
    pub duration_ms: u64,
}

/// What was put into one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackSummary {
    /// The name of the one path that was chosen; empty if there were several, or it has none.
    pub name: RawPath,
    /// Whether it is a compressed archive, and not one file as it is.
    pub packed: bool,
    /// Files in it.
    pub files: u64,
    /// The bytes of the file that was written.
    pub bytes: u64,
}

/// Part of a directory listing, in the order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileList {
    /// The entries.
    pub entries: Vec<FileEntry>,
    /// There are more after the last one.
    pub more: bool,
}

/// One entry of a directory in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// The name in its directory.
    pub name: RawPath,
    /// The full path in the snapshot.
    pub path: RawPath,
    /// What it is.
    pub kind: FileKind,
    /// The size in bytes; 0 for anything but files.
    pub size: u64,
    /// The modification time in nanoseconds since 1970.
    pub mtime_ns: Option<i64>,
    /// Permission, setuid, setgid and sticky bits, as `chmod` takes them.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The owner's name when it was backed up.
    pub user: Option<String>,
    /// The group's name when it was backed up.
    pub group: Option<String>,
    /// Where a symbolic link points.
    pub link_target: Option<RawPath>,
}

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
}

/// All snapshots, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotList {
    /// The snapshots.
    pub snapshots: Vec<SnapshotInfo>,
}

/// What a snapshot says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotInfo {
    /// The snapshot's id (64 hexadecimal digits).
    pub id: String,
    /// The id of its top directory.
    pub tree: String,
    /// The snapshot it was compared with.
    pub parent: Option<String>,
    /// When it was started, in nanoseconds since 1970.
    pub time_ns: i64,
    /// The host it is from.
    pub host: String,
    /// The paths that were backed up, as the repository has them: not lossless.
    pub paths: Vec<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// The Backstay task that wrote it, if one did.
    pub task: Option<Uuid>,
    /// Number of files, if the program that wrote it kept it.
    pub files: Option<u64>,
    /// The size of all files, likewise.
    pub bytes: Option<u64>,
    /// What was written to the repository for it, likewise.
    pub bytes_added_packed: Option<u64>,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckSummary {
    /// Nothing is wrong; there may still be notes.
    pub ok: bool,
    /// What is damaged.
    pub errors: Vec<String>,
    /// What is unusual but harmless, such as data of an interrupted backup.
    pub notes: Vec<String>,
    /// How long it took.
    pub duration_ms: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifySummary {
    /// Files that were read.
    pub files: u64,
    /// Bytes that were read, each piece once.
    pub bytes: u64,
    /// What is damaged, the first thousand.
    pub damaged: Vec<Unread>,
    /// How much is damaged in all.
    pub damaged_total: u64,
    /// What was picked, where a sample was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
}

/// What is on a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SurveySummary {
    /// File systems and what looks like them, in the order of their partitions.
    pub filesystems: Vec<Filesystem>,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ForgetSummary {
    /// Snapshots that are not there any more.
    pub removed: u64,
    /// Of them, those that were not there before.
    pub missing: u64,
}

/// What a clean-up did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneSummary {
    /// Somebody else uses the repository, so nothing was done.
    pub busy: bool,
    /// Bytes given back now: marked by an earlier clean-up, long enough ago.
    pub bytes_removed: u64,
    /// Bytes that a later clean-up gives back if nobody needs them until then.
    pub bytes_marked: u64,
}

/// The part of a directory that was asked for: in the order of names, after the last one that is known, up to the limit.
fn sliced(mut entries: Vec<FileEntry>, job: &ListFilesJob) -> FileList {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(after) = &job.after {
        entries.drain(..entries.partition_point(|entry| entry.name <= *after));
    }
    let limit = job.limit.unwrap_or(usize::MAX);
    let more = entries.len() > limit;
    entries.truncate(limit);
    FileList { entries, more }
}

/// Run commands of a policy. Needs no repository.
fn run_commands(job: &CommandsJob, reporter: &Reporter) -> Result<(), EngineError> {
    for when in &job.when {
        if commands::any(&job.commands, *when) {
            reporter.step(match when {
                When::Pre => Step::PreCommands,
                When::Post => Step::PostCommands,
                When::PreData => Step::PreDataCommands,
                When::PostData => Step::PostDataCommands,
            });
            commands::run(&job.commands, *when, !job.no_commands, reporter)?;
        }
    }
    Ok(())
}

/// What does the jobs. Calls block; they run in a process of their own, and the way to cancel one is to
/// end that process: no call may leave a repository invalid when it is cut off at any point.
pub trait Engine {
    /// Create the repository if it is not there yet; the password must fit if it is.
    fn init(&self, reporter: &Reporter) -> Result<InitSummary, EngineError>;

    /// Find out whether a backup would find its way to the repository. Nothing is made, locked or changed.
    fn reach(&self, reporter: &Reporter) -> Result<ReachSummary, EngineError>;

    /// Write a snapshot. Files that cannot be read are warnings.
    fn backup(&self, job: &BackupJob, reporter: &Reporter) -> Result<BackupSummary, EngineError>;

    /// Bring a snapshot back. Files that cannot be written are warnings.
    fn restore(&self, job: &RestoreJob, reporter: &Reporter) -> Result<RestoreSummary, EngineError>;

    /// Put files of a snapshot into one file. What cannot be read from the repository as a whole is a warning.
    fn pack(&self, job: &PackJob, reporter: &Reporter) -> Result<PackSummary, EngineError>;

    /// List one directory of a snapshot.
    fn list_files(&self, job: &ListFilesJob) -> Result<FileList, EngineError>;

    /// List all snapshots.
    fn list_snapshots(&self) -> Result<SnapshotList, EngineError>;

    /// Verify the repository.
    fn check(&self, job: &CheckJob, reporter: &Reporter) -> Result<CheckSummary, EngineError>;

    /// Read all data of one snapshot. Damage is an answer and no error.
    fn verify(&self, job: &VerifyJob, reporter: &Reporter) -> Result<VerifySummary, EngineError>;

    /// Find out what is on the volume of a snapshot. What cannot be read is an answer and no error.
    fn survey(&self, job: &SurveyJob, reporter: &Reporter) -> Result<SurveySummary, EngineError>;

    /// Remove snapshots. What is not there is removed already.
    fn forget(&self, job: &ForgetJob, reporter: &Reporter) -> Result<ForgetSummary, EngineError>;

    /// Give back the space of what no snapshot needs. Safe beside backups that run: what is not needed is marked first, and
    /// removed by another clean-up a day later if it is not needed then either.
    fn prune(&self, reporter: &Reporter) -> Result<PruneSummary, EngineError>;

    /// Do any job.
    fn run(&self, job: &Job, reporter: &Reporter) -> Outcome {
        match job {
            Job::Init => self.init(reporter).map(Output::Init),
            Job::Reach => self.reach(reporter).map(Output::Reach),
            Job::Backup(job) => self.backup(job, reporter).map(Output::Backup),
            Job::Restore(job) => self.restore(job, reporter).map(Output::Restore),
            Job::Pack(job) => self.pack(job, reporter).map(Output::Pack),
            Job::ListFiles(job) => self.list_files(job).map(Output::Files),
            Job::ListSnapshots => self.list_snapshots().map(Output::Snapshots),
            Job::Check(job) => self.check(job, reporter).map(Output::Check),
            Job::Verify(job) => self.verify(job, reporter).map(Output::Verify),
            Job::Survey(job) => self.survey(job, reporter).map(Output::Survey),
            Job::Forget(job) => self.forget(job, reporter).map(Output::Forget),
            Job::Prune => self.prune(reporter).map(Output::Prune),
            Job::Commands(job) => run_commands(job, reporter).map(|()| Output::Commands),
        }
    }
}
