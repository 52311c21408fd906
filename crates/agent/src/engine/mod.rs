//! The backup engine: what a job is, what it reports and what it answers, as plain data that crosses a
//! process boundary as JSON. [`rustic`] does the work; [`fake`] plays a script for tests and simulation.

pub mod error;
pub mod fake;
pub mod mounts;
pub mod path;
pub mod report;
pub mod rustic;

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::{
    error::{EngineError, ErrorCode},
    path::RawPath,
    report::{Event, Progress, Reporter, Step, Warning},
};

/// What a job ended with.
pub type Outcome = Result<Output, EngineError>;

/// Where a repository lies and how it opens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepositorySpec {
    /// A local directory, as `/path` or `local:/path`.
    pub url: String,
    /// The password of one of its keys.
    pub password: String,
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
            None => rustic::RusticEngine::new(&self.repository)?.run(&self.job, reporter),
            Some(script) => fake::FakeEngine::new(script.clone()).run(&self.job, reporter),
        }
    }
}

/// One piece of work on a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Job {
    /// Create the repository if it is not there yet.
    Init,
    /// Write a snapshot.
    Backup(BackupJob),
    /// Bring a snapshot back.
    Restore(RestoreJob),
    /// List one directory of a snapshot.
    ListFiles(ListFilesJob),
    /// List all snapshots.
    ListSnapshots,
    /// Verify the repository.
    Check(CheckJob),
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
    /// is backed up too.
    pub paths: Vec<RawPath>,
    /// Back up only files that match; empty means everything.
    pub includes: Vec<String>,
    /// Leave these out.
    pub excludes: Vec<String>,
    /// Stay on the file systems that the paths are on; mount points are kept as empty directories.
    pub one_file_system: bool,
    /// More tags for the snapshot.
    pub tags: Vec<String>,
    /// A label for the snapshot; other restic programs ignore it.
    pub label: Option<String>,
    /// Read every file, also those that look unchanged since the parent snapshot.
    pub force: bool,
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
    /// Restore only these paths of the snapshot, with everything below; empty means everything.
    pub paths: Vec<RawPath>,
    /// What to do with files that are there already.
    pub overwrite: Overwrite,
    /// Remove what is not in the snapshot from the restored directories. Directories above the
    /// backed-up (or selected) paths are never cleaned.
    pub delete: bool,
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

/// The answer to a job that succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Output {
    /// To [`Job::Init`].
    Init(InitSummary),
    /// To [`Job::Backup`].
    Backup(BackupSummary),
    /// To [`Job::Restore`].
    Restore(RestoreSummary),
    /// To [`Job::ListFiles`].
    Files(FileList),
    /// To [`Job::ListSnapshots`].
    Snapshots(SnapshotList),
    /// To [`Job::Check`].
    Check(CheckSummary),
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
    /// Entries left alone because something was there and `overwrite` is `never`.
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

/// What does the jobs. Calls block; they run in a process of their own, and the way to cancel one is to
/// end that process: no call may leave a repository invalid when it is cut off at any point.
pub trait Engine {
    /// Create the repository if it is not there yet; the password must fit if it is.
    fn init(&self, reporter: &Reporter) -> Result<InitSummary, EngineError>;

    /// Write a snapshot. Files that cannot be read are warnings.
    fn backup(&self, job: &BackupJob, reporter: &Reporter) -> Result<BackupSummary, EngineError>;

    /// Bring a snapshot back. Files that cannot be written are warnings.
    fn restore(&self, job: &RestoreJob, reporter: &Reporter) -> Result<RestoreSummary, EngineError>;

    /// List one directory of a snapshot.
    fn list_files(&self, job: &ListFilesJob) -> Result<FileList, EngineError>;

    /// List all snapshots.
    fn list_snapshots(&self) -> Result<SnapshotList, EngineError>;

    /// Verify the repository.
    fn check(&self, job: &CheckJob, reporter: &Reporter) -> Result<CheckSummary, EngineError>;

    /// Do any job.
    fn run(&self, job: &Job, reporter: &Reporter) -> Outcome {
        match job {
            Job::Init => self.init(reporter).map(Output::Init),
            Job::Backup(job) => self.backup(job, reporter).map(Output::Backup),
            Job::Restore(job) => self.restore(job, reporter).map(Output::Restore),
            Job::ListFiles(job) => self.list_files(job).map(Output::Files),
            Job::ListSnapshots => self.list_snapshots().map(Output::Snapshots),
            Job::Check(job) => self.check(job, reporter).map(Output::Check),
        }
    }
}
