//! Reads the files to back up: a walk in the order the repository wants, under the rules of the job.
//! Everything that cannot be read is a warning here, with its path; rustic_core would only log it.

// long: one walk, and the rules that it follows.

use std::{
    collections::{HashSet, VecDeque},
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    vec,
};

use domain::{Timestamp, backup::Root};
use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use nix::{libc, sys::statvfs::statvfs};
use rustic_core::{ErrorKind, ReadSource, ReadSourceEntry, ReadSourceOpen, RusticError, RusticResult};

use super::{backend::Meter, node::NodeMaker};
use crate::engine::{BackupJob, EngineError, ErrorCode, RawPath, Reporter, freeze::Frozen, masks::MaskSet, mounts};

/// What to back up: where to start and what to leave out.
#[derive(Debug)]
pub(super) struct Source {
    /// What the snapshot says was backed up: the job's paths, and where those lead that are links.
    paths: Vec<PathBuf>,
    /// Sorted the way trees are sorted, none inside another.
    roots: Vec<PathBuf>,
    /// Of them, what the job wished for; of links, where they lead.
    wanted: Vec<PathBuf>,
    excludes: Gitignore,
    includes: Option<Gitignore>,
    excluded_masks: MaskSet,
    included_masks: MaskSet,
    one_file_system: bool,
    /// Where the local file systems are mounted, if they are what is backed up.
    file_systems: HashSet<PathBuf>,
    /// Other mounts below them, which are left alone.
    foreign: HashSet<PathBuf>,
    repository: Option<Itself>,
    frozen: Frozen,
}

/// The repository: a backup must not back up itself, also where it is seen in a frozen copy.
#[derive(Debug)]
pub(super) struct Itself {
    /// Device and inode.
    id: (u64, u64),
    path: PathBuf,
}

impl Itself {
    /// The repository in this directory, if it is there.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self { id: (meta.dev(), meta.ino()), path: fs::canonicalize(path).ok()? })
    }
}

impl Source {
    /// Check the job's paths and rules. Paths that do not exist are warnings as long as one does.
    pub(super) fn new(job: &BackupJob, repository: Option<Itself>, reporter: &Reporter) -> Result<Self, EngineError> {
        let file_systems = if job.paths.is_empty() { mounts::local() } else { Vec::new() };
        let mut wanted = job.paths.iter().map(normalized).collect::<Result<Vec<_>, _>>()?;
        wanted.extend(file_systems.iter().cloned());
        if wanted.is_empty() {
            return Err(EngineError::new(
                ErrorCode::SourceMissing,
                "nothing to back up: no local file system is mounted",
            ));
        }
        let mut paths = wanted.clone();
        let mut roots = Vec::new();
        let mut problems = Vec::new();
        for wish in &mut wanted {
            let path = wish.clone();
            match fs::symlink_metadata(&path) {
                Ok(meta) => {
                    // Whoever names a link wants what is behind it; the link alone would be a backup
                    // that looks fine and holds nothing.
                    if meta.is_symlink() {
                        match fs::canonicalize(&path) {
                            Ok(target) => {
                                paths.push(target.clone());
                                wish.clone_from(&target);
                                roots.push(target);
                            }
                            Err(error) => reporter.warn(Some(&path), format!("cannot follow the link: {error}")),
                        }
                    }
                    roots.push(path);
                }
                Err(error) => problems.push((path, error)),
            }
        }
        if roots.is_empty() {
            return Err(unreachable_source(&problems));
        }
        for (path, error) in problems {
            reporter.warn(Some(&path), format!("cannot be backed up: {error}"));
        }
        let mut seen = HashSet::new();
        wanted.retain(|path| seen.insert(path.clone()));
        roots.sort();
        roots.dedup_by(|inner, outer| inner.starts_with(outer));
        let file_systems: HashSet<PathBuf> = file_systems.into_iter().collect();
        let mounted = if file_systems.is_empty() { Vec::new() } else { mounts::all() };
        let foreign =
            mounted.into_iter().map(|mount| mount.point).filter(|point| !file_systems.contains(point)).collect();
        Ok(Self {
            paths,
            roots,
            wanted,
            excludes: globs(&job.excludes)?,
            includes: if job.includes.is_empty() { None } else { Some(globs(&job.includes)?) },
            excluded_masks: MaskSet::new(&job.masks.exclude),
            included_masks: MaskSet::new(&job.masks.include),
            one_file_system: job.one_file_system,
            file_systems,
            foreign,
            repository,
            frozen: Frozen::default(),
        })
    }

    /// Make frozen copies of the volumes below that allow it; from here on the files are read from there.
    pub(super) fn freeze(&mut self, job: &BackupJob, reporter: &Reporter) {
        let roots: Vec<PathBuf> = self.roots.iter().chain(&self.file_systems).cloned().collect();
        self.frozen = Frozen::new(&roots, job.freeze_retries, reporter);
    }

    /// What the job wished for, with the file systems it lies on.
    pub(super) fn roots(&self) -> Vec<Root> {
        let root = |path: &PathBuf| {
            let space = statvfs(path).ok();
            let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
            let meta = self.metadata(path).ok();
            let modified = meta.as_ref().and_then(|meta| meta.modified().ok());
            Root {
                path: RawPath::from(path.as_path()).to_string(),
                size: space.map_or(0, |s| bytes(s.blocks(), s.fragment_size())),
                free: space.map_or(0, |s| bytes(s.blocks_available(), s.fragment_size())),
                system: path.parent().is_none(),
                file: meta.is_some_and(|meta| !meta.is_dir()),
                modified_at: modified.and_then(|time| Timestamp::try_from(time).ok()),
            }
        };
        self.wanted.iter().map(root).collect()
    }

    /// What the snapshot says was backed up. The format has room for Unicode only; these are names to
    /// group snapshots by, the files themselves are stored exactly.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.paths.iter().map(|path| path.to_string_lossy().into_owned().into()).collect()
    }

    /// Number and total size of the files there are; `count` is told of each.
    pub(super) fn count(self: &Arc<Self>, mut count: impl FnMut(u64)) {
        // What cannot be read is reported when it is backed up, not twice.
        for found in Walk::new(Arc::clone(self)).flatten() {
            if !found.meta.is_dir() {
                count(if found.meta.is_file() { found.meta.len() } else { 0 });
            }
        }
    }

    fn is_excluded(&self, path: &Path, is_dir: bool) -> bool {
        self.excludes.matched(path, is_dir).is_ignore() || self.excluded_masks.matches(path)
    }

    /// Whether the includes want `path`, given whether they want the directory it is in.
    fn is_included(&self, path: &Path, is_dir: bool, parent: Included) -> Included {
        let globs = match &self.includes {
            None => true,
            Some(includes) => match includes.matched(path, is_dir) {
                Match::Ignore(_) => true,
                Match::Whitelist(_) => false,
                Match::None => parent.globs,
            },
        };
        let masks = self.included_masks.is_empty() || parent.masks || self.included_masks.matches(path);
        Included { globs, masks }
    }

    fn is_repository(&self, path: &Path, meta: &fs::Metadata) -> bool {
        self.repository.as_ref().is_some_and(|it| it.id == (meta.dev(), meta.ino()) || it.path == path)
    }

    /// Whether to look into the directory at `path`, which lies in one on `parent`.
    fn is_entered(&self, path: &Path, device: u64, parent: u64) -> bool {
        if self.frozen.holds(path) {
            return false;
        }
        if self.file_systems.is_empty() {
            return !self.one_file_system || device == parent;
        }
        self.file_systems.contains(path) || (device == parent && !self.foreign.contains(path))
    }

    /// What there is at `path`, which may be read elsewhere.
    fn metadata(&self, path: &Path) -> io::Result<fs::Metadata> {
        fs::symlink_metadata(self.frozen.place(path))
    }
}

/// Whether something is wanted: by both kinds of includes, or by nobody's leave.
#[derive(Clone, Copy, Debug, Default)]
struct Included {
    globs: bool,
    masks: bool,
}

impl Included {
    fn wanted(self) -> bool {
        self.globs && self.masks
    }
}

/// The path as it is stored: absolute, without `.` and without a slash at the end.
fn normalized(path: &RawPath) -> Result<PathBuf, EngineError> {
    let path = path.as_path();
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if !path.is_absolute() || climbs {
        return Err(EngineError::new(ErrorCode::InvalidJob, "paths to back up must be absolute and without `..`")
            .with("path", RawPath::from(path)));
    }
    Ok(path.components().collect())
}

fn globs(patterns: &[String]) -> Result<Gitignore, EngineError> {
    let invalid = |error: ignore::Error| EngineError::new(ErrorCode::InvalidJob, format!("invalid glob: {error}"));
    let mut builder = GitignoreBuilder::new("/");
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(|error| invalid(error).with("glob", pattern))?;
    }
    builder.build().map_err(invalid)
}

fn unreachable_source(problems: &[(PathBuf, io::Error)]) -> EngineError {
    let denied = problems.iter().find(|(_, error)| error.kind() != io::ErrorKind::NotFound);
    let paths: Vec<String> = problems.iter().map(|(path, _)| RawPath::from(path.as_path()).to_string()).collect();
    match denied {
        None => {
            let missing = match paths.as_slice() {
                [one] => format!("{one} does not exist"),
                [first, others @ ..] => format!("{first} and {} more do not exist", others.len()),
                [] => "no path was named".to_owned(),
            };
            EngineError::new(ErrorCode::SourceMissing, format!("nothing to back up: {missing}"))
        }
        Some((path, error)) => EngineError::io(&format!("nothing to back up: cannot read {}", path.display()), error),
    }
    .with("paths", paths.join("\n"))
}

/// A file the walk came by.
struct Found {
    path: PathBuf,
    meta: fs::Metadata,
}

/// A file the walk could not look at.
struct Lost {
    path: PathBuf,
    error: io::Error,
}

/// Depth first; names in the order of their bytes, each directory before what is in it. The directories
/// above the roots come too, so that their owners and permissions can be restored.
struct Walk {
    source: Arc<Source>,
    next_root: usize,
    levels: Vec<Level>,
    pending: VecDeque<Result<Found, Lost>>,
}

/// A directory the walk is in.
struct Level {
    path: PathBuf,
    names: vec::IntoIter<OsString>,
    device: u64,
    included: Included,
}

impl Walk {
    fn new(source: Arc<Source>) -> Self {
        Self { source, next_root: 0, levels: Vec::new(), pending: VecDeque::new() }
    }

    /// Queue a root and the directories above it that an earlier root did not have.
    fn start_root(&mut self) {
        let source = Arc::clone(&self.source);
        let root = &source.roots[self.next_root];
        let before = self.next_root.checked_sub(1).map(|index| &source.roots[index]);
        self.next_root += 1;

        let mut above: Vec<&Path> = root.ancestors().skip(1).collect();
        above.reverse();
        let mut included = Included::default();
        let mut excluded = false;
        for path in above {
            included = source.is_included(path, true, included);
            // A mask covers what is below; globs are about what is found on the way down.
            excluded |= source.excluded_masks.matches(path);
            let is_top = path.parent().is_none();
            if is_top || before.is_some_and(|before| before.starts_with(path)) {
                continue;
            }
            // A link on the way to a root is stored as the directory it leads to.
            self.pending.push_back(match fs::metadata(path) {
                Ok(meta) => Ok(Found { path: path.to_path_buf(), meta }),
                Err(error) => Err(Lost { path: path.to_path_buf(), error }),
            });
        }
        if excluded || source.excluded_masks.matches(root) {
            return;
        }
        match source.metadata(root) {
            Ok(meta) => {
                included = source.is_included(root, meta.is_dir(), included);
                let device = meta.dev();
                self.visit(root.clone(), meta, device, included);
            }
            Err(error) => self.pending.push_back(Err(Lost { path: root.clone(), error })),
        }
    }

    /// Queue a file, and go into it if it is a directory.
    fn visit(&mut self, path: PathBuf, meta: fs::Metadata, device: u64, included: Included) {
        if !meta.is_dir() {
            if included.wanted() {
                self.pending.push_back(Ok(Found { path, meta }));
            }
            return;
        }
        if self.source.is_repository(&path, &meta) {
            return;
        }
        let enter = self.source.is_entered(&path, meta.dev(), device);
        let device = meta.dev();
        if path.parent().is_some() {
            self.pending.push_back(Ok(Found { path: path.clone(), meta }));
        }
        if !enter {
            return;
        }
        match names_in(&self.source.frozen.place(&path)) {
            Ok(names) => self.levels.push(Level { path, names: names.into_iter(), device, included }),
            Err(error) => self.pending.push_back(Err(Lost { path, error })),
        }
    }

    /// Look at the next name of the deepest directory.
    fn step(&mut self, level: usize) {
        let here = &mut self.levels[level];
        let Some(name) = here.names.next() else {
            self.levels.pop();
            return;
        };
        let path = here.path.join(name);
        let (device, parent_included) = (here.device, here.included);
        match self.source.metadata(&path) {
            Ok(meta) => {
                let is_dir = meta.is_dir();
                if !self.source.is_excluded(&path, is_dir) {
                    let included = self.source.is_included(&path, is_dir, parent_included);
                    self.visit(path, meta, device, included);
                }
            }
            Err(error) => {
                if !self.source.is_excluded(&path, false) && !self.source.is_excluded(&path, true) {
                    self.pending.push_back(Err(Lost { path, error }));
                }
            }
        }
    }
}

impl Iterator for Walk {
    type Item = Result<Found, Lost>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.pending.pop_front() {
                return Some(item);
            }
            if let Some(level) = self.levels.len().checked_sub(1) {
                self.step(level);
            } else if self.next_root < self.source.roots.len() {
                self.start_root();
            } else {
                return None;
            }
        }
    }
}

fn names_in(path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "vanished while it was backed up".to_owned(),
        io::ErrorKind::InvalidFilename => {
            "was not backed up, with all below it: its path is longer than the system takes".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}

/// A [`Source`] in the form rustic_core takes.
pub(super) struct SourceReader {
    pub(super) source: Arc<Source>,
    pub(super) meter: Arc<Meter>,
    pub(super) reporter: Reporter,
    /// Bytes of the files that had to be read.
    pub(super) read: Arc<AtomicU64>,
}

impl ReadSource for SourceReader {
    type Open = SourceFile;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Entries {
        Entries {
            walk: Walk::new(Arc::clone(&self.source)),
            maker: NodeMaker::default(),
            meter: Arc::clone(&self.meter),
            reporter: self.reporter.clone(),
            read: Arc::clone(&self.read),
        }
    }
}

/// All entries of a source, with their nodes.
pub(super) struct Entries {
    walk: Walk,
    maker: NodeMaker,
    meter: Arc<Meter>,
    reporter: Reporter,
    read: Arc<AtomicU64>,
}

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<SourceFile>>;

    fn next(&mut self) -> Option<Self::Item> {
        // When nothing can be written any more there is no use in reading on.
        while !self.meter.has_failed() {
            let Some(item) = self.walk.next() else { break };
            let found = item.and_then(|Found { path, meta }| {
                let place = self.walk.source.frozen.place(&path);
                match self.maker.node(&path, &place, &meta, &self.reporter) {
                    Ok(node) => Ok((path, place, meta, node)),
                    Err(error) => Err(Lost { path, error }),
                }
            });
            match found {
                Ok((path, place, meta, node)) => {
                    if !meta.is_dir() {
                        self.reporter.progress(|progress| progress.files_done += 1);
                    }
                    let open = meta.is_file().then(|| SourceFile {
                        path: path.clone(),
                        place,
                        size: meta.len(),
                        reporter: self.reporter.clone(),
                        read: Arc::clone(&self.read),
                    });
                    return Some(Ok(ReadSourceEntry { path, node, open }));
                }
                Err(Lost { path, error }) => self.reporter.warn(Some(&path), describe(&error)),
            }
        }
        self.meter.source_was_read();
        None
    }
}

/// A file to be read.
pub(super) struct SourceFile {
    path: PathBuf,
    /// Where it is read.
    place: PathBuf,
    /// As in its node: exactly so many bytes must come.
    size: u64,
    reporter: Reporter,
    read: Arc<AtomicU64>,
}

impl ReadSourceOpen for SourceFile {
    type Reader = SourceFileReader;

    fn open(self) -> RusticResult<SourceFileReader> {
        // It may have become something else since it was looked at: do not follow a link, do not wait
        // for the other end of a pipe.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&self.place);
        let file = file.and_then(|file| match file.metadata()? {
            meta if meta.is_file() => Ok(file),
            _ => Err(io::Error::other("it is no regular file any more")),
        });
        match file {
            Ok(file) => {
                self.read.fetch_add(self.size, Ordering::Relaxed);
                Ok(SourceFileReader { left: self.size, file: Some(file), source: self })
            }
            Err(error) => {
                self.reporter.warn(Some(&self.path), describe(&error));
                Err(RusticError::with_source(ErrorKind::InputOutput, "the file was left out", error))
            }
        }
    }
}

/// Reads a file as it was when it was looked at: what was appended since is left for the next backup,
/// what was cut off is filled with zeros, with a warning, because the node has promised the size.
pub(super) struct SourceFileReader {
    source: SourceFile,
    /// None once the file has ended early.
    file: Option<File>,
    left: u64,
}

impl Read for SourceFileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        if wanted == 0 {
            return Ok(0);
        }
        let read = match &mut self.file {
            Some(file) => match file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    self.source.reporter.warn(Some(&self.source.path), describe(&error));
                    return Err(error);
                }
                Ok(read) => read,
            },
            None => 0,
        };
        let read = if read == 0 {
            if self.file.take().is_some() {
                self.source.reporter.warn(
                    Some(&self.source.path),
                    format!("became {} bytes shorter while it was read; they are stored as zeros", self.left),
                );
            }
            buffer.fill(0);
            wanted
        } else {
            read
        };
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::engine::Event;

    /// Reads a file of `content` that is believed to have `size` bytes.
    fn read(content: Option<&[u8]>, size: u64) -> (Option<Vec<u8>>, Vec<String>) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("file");
        if let Some(content) = content {
            fs::write(&path, content).expect("a file");
        }
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let reporter = Reporter::new({
            let warnings = Arc::clone(&warnings);
            move |event| {
                if let Event::Warning(warning) = event {
                    warnings.lock().expect("no panic").push(warning.message);
                }
            }
        });
        let bytes = SourceFile { place: path.clone(), path, size, reporter, read: Arc::default() }.open().ok().map(
            |mut reader| {
                let mut bytes = Vec::new();
                reader.read_to_end(&mut bytes).expect("readable");
                bytes
            },
        );
        let warnings = std::mem::take(&mut *warnings.lock().expect("no panic"));
        (bytes, warnings)
    }

    #[test]
    fn a_file_is_read_as_long_as_it_was_when_it_was_seen() {
        assert_eq!(read(Some(b"same"), 4), (Some(b"same".to_vec()), vec![]));
        assert_eq!(read(Some(b"it grew"), 2), (Some(b"it".to_vec()), vec![]));
        let warning = "became 3 bytes shorter while it was read; they are stored as zeros".to_owned();
        assert_eq!(read(Some(b"cut"), 6), (Some(b"cut\0\0\0".to_vec()), vec![warning]));
        assert_eq!(read(None, 1), (None, vec!["vanished while it was backed up".to_owned()]));
    }

    #[test]
    fn what_has_become_something_else_is_neither_followed_nor_waited_for() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [pipe, link, folder] = ["pipe", "link", "folder"].map(|name| directory.path().join(name));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        std::os::unix::fs::symlink("/etc/passwd", &link).expect("a link");
        fs::create_dir(&folder).expect("a directory");
        for place in [pipe, link, folder] {
            let (path, reporter) = (place.clone(), Reporter::silent());
            let opened = SourceFile { path, place, size: 1, reporter, read: Arc::default() }.open();
            assert!(opened.is_err(), "it was a file");
        }
    }
}
