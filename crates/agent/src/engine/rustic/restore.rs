//! Brings snapshots back. Ours and not rustic_core's: that one panics when a disk is full, follows
//! links that lie in the target, cannot replace links or renew hard links, leaves old data in holes, and
//! knows holes only of the size of a whole blob.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fs::{self, File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink},
    path::{Component, Path, PathBuf},
    process,
    rc::Rc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use nix::{
    libc,
    sys::stat::{Mode, SFlag, mknod},
};
use rustic_core::{
    IndexedFull, Repository, TreeId,
    jiff::Timestamp,
    repofile::{Node, NodeType, SnapshotFile, Tree},
};

use super::{
    attributes::{Attributes, Place},
    node::safe_name,
    placing::Placing,
    selection::Selection,
    stream::layout,
    walk::{Visitor, walk},
    write::{NewFile, Queue, Tally, Writer},
};
use crate::engine::{EngineError, Overwrite, RawPath, Reporter, RestoreJob, RestoreSummary, Step};

/// Restore what `job` asks for from `snapshot`.
pub(super) fn restore<S: IndexedFull + Sync>(
    repository: &Repository<S>,
    snapshot: &SnapshotFile,
    job: &RestoreJob,
    reporter: &Reporter,
) -> Result<RestoreSummary, EngineError> {
    reporter.step(Step::Plan);
    let top = snapshot.tree;
    let sources: Vec<PathBuf> = snapshot.paths.iter().map(|path| relative(Path::new(path))).collect();
    let selected = selected(job, &sources);
    let selection = Selection::new(repository, top, &selected)?;
    let placing = Placing::new(repository, top, job, &selected, &sources)?;
    let mut count = Count::default();
    walk(repository, top, &selection, &mut count)?;

    fs::create_dir_all(&job.target).map_err(|error| target_error(job, &error))?;
    let attributes = Attributes::new(reporter.clone());
    let tally = Tally::default();
    let writer = Writer::new(repository, &attributes, &tally, reporter);
    let mut restorer = Restorer {
        writer: &writer,
        repository,
        attributes: &attributes,
        tally: &tally,
        reporter,
        job,
        target: fs::canonicalize(&job.target).map_err(|error| target_error(job, &error))?,
        placing,
        sources,
        untouched: HashSet::new(),
        linked: HashMap::new(),
        links: Vec::new(),
        temporaries: 0,
        summary: RestoreSummary::default(),
    };

    reporter.step(Step::Restore);
    reporter.progress(|progress| {
        (progress.files_total, progress.bytes_total) = (Some(count.files), Some(count.bytes));
    });
    restorer.restore_content(top, &selection)?;

    reporter.step(Step::Metadata);
    restorer.restore_links();
    let mut closing = Closing(&mut restorer);
    walk(repository, top, &selection, &mut closing)?;
    attributes.finish();

    let summary = RestoreSummary {
        files: tally.files.load(Ordering::Relaxed),
        bytes: tally.bytes.load(Ordering::Relaxed),
        failed: tally.failed.load(Ordering::Relaxed),
        ..restorer.summary
    };
    let restored = summary.files + summary.files_unchanged + summary.hardlinks + summary.specials + summary.skipped;
    match tally.first_failure() {
        // Warnings alone would make a restore that brought nothing back look like a success.
        Some(failure) if restored + summary.directories == 0 => Err(failure),
        _ => Ok(summary),
    }
}

fn target_error(job: &RestoreJob, error: &io::Error) -> EngineError {
    EngineError::io("cannot restore into this directory", error).with("target", &job.target)
}

/// The paths to restore; by their names, also those that nobody chose.
fn selected(job: &RestoreJob, sources: &[PathBuf]) -> Vec<RawPath> {
    if job.paths.is_empty() && job.by_name {
        return sources.iter().map(|source| RawPath::from(Path::new("/").join(source))).collect();
    }
    job.paths.clone()
}

pub(super) fn relative(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// When a file in a snapshot was last modified, if that is known.
type Modified = Option<Timestamp>;

/// When a file was last modified, in nanoseconds since 1970.
fn modified(meta: &fs::Metadata) -> i128 {
    i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())
}

/// Counts what there is to restore.
#[derive(Default)]
struct Count {
    files: u64,
    bytes: u64,
    linked: HashSet<LinkKey>,
}

impl Visitor for Count {
    fn enter(&mut self, _path: &Path, _node: &Node, _whole: bool) -> Result<bool, EngineError> {
        Ok(true)
    }

    fn entry(&mut self, _path: &Path, node: &Node) -> Result<(), EngineError> {
        self.files += 1;
        let again = LinkKey::of(node).is_some_and(|key| !self.linked.insert(key));
        if node.is_file() && !again {
            self.bytes += node.meta.size;
        }
        Ok(())
    }

    fn leave(&mut self, _path: &Path, _node: &Node, _tree: &Tree, _whole: bool) -> Result<(), EngineError> {
        Ok(())
    }

    fn broken(&mut self, _path: &Path, _error: EngineError) -> Result<(), EngineError> {
        Ok(())
    }
}

/// Nodes with the same key are names of one file. The content is part of it: an inode that was freed and
/// used again while the backup ran must not tie two files together.
#[derive(Clone, PartialEq, Eq, Hash)]
struct LinkKey {
    device: u64,
    inode: u64,
    content: u64,
}

impl LinkKey {
    fn of(node: &Node) -> Option<Self> {
        let meta = &node.meta;
        if !node.is_file() || meta.links < 2 || meta.inode == 0 {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        node.content.hash(&mut hasher);
        Some(Self { device: meta.device_id, inode: meta.inode, content: hasher.finish() })
    }
}

/// The first pass: makes directories and everything in them except further names of files.
struct Restorer<'a, S> {
    repository: &'a Repository<S>,
    writer: &'a Writer<'a, S>,
    attributes: &'a Attributes,
    tally: &'a Tally,
    reporter: &'a Reporter,
    job: &'a RestoreJob,
    target: PathBuf,
    placing: Placing,
    /// What was backed up; directories above only lead there.
    sources: Vec<PathBuf>,
    /// Directories whose attributes and content are none of our business.
    untouched: HashSet<PathBuf>,
    /// The first name of each file that has several.
    linked: HashMap<LinkKey, Rc<Path>>,
    /// Further names.
    links: Vec<Link>,
    temporaries: u64,
    summary: RestoreSummary,
}

/// A further name of a file. There may be as many as there are files, and what the file consists of is known by then.
struct Link {
    first: Rc<Path>,
    path: PathBuf,
    modified: Modified,
}

/// What stands where something is to be restored.
enum Obstacle {
    None,
    Kept,
    /// A regular file that will be replaced when its successor is complete.
    File,
}

impl<S: IndexedFull + Sync> Restorer<'_, S> {
    fn restore_content(&mut self, top: TreeId, selection: &Selection) -> Result<(), EngineError> {
        let (writer, repository) = (self.writer, self.repository);
        writer.run(|queue| {
            let mut filling = Filling { restorer: self, queue };
            walk(repository, top, selection, &mut filling)
        })?;
        self.tally.check()
    }

    fn fail(&self, path: &Path, error: EngineError) -> Result<(), EngineError> {
        let place = self.place(path).unwrap_or_else(|| self.target.clone());
        self.tally.fail(self.reporter, &place, error);
        self.tally.check()
    }

    fn fail_io(&self, path: &Path, what: &str, error: &io::Error) -> Result<(), EngineError> {
        self.fail(path, EngineError::io(what, error))
    }

    /// Where something comes to lie; nothing where it only leads to what is restored by its name.
    fn place(&self, path: &Path) -> Option<PathBuf> {
        self.placing.place(path).map(|below| {
            // Joining nothing would put a separator at the end.
            if below.as_os_str().is_empty() { self.target.clone() } else { self.target.join(below) }
        })
    }

    /// Whether a directory was backed up itself, and does not only lead to what was.
    fn is_source(&self, path: &Path) -> bool {
        // Snapshots have the paths of their sources as Unicode.
        let path = PathBuf::from(path.to_string_lossy().into_owned());
        self.sources.iter().any(|source| path.starts_with(source))
    }

    /// Whether the job does not allow to replace what is there.
    fn is_kept(&self, there: &fs::Metadata, stored: Modified) -> bool {
        match self.job.overwrite {
            Overwrite::Never => true,
            // One whose time nobody knows is not older.
            Overwrite::Older => stored.is_none_or(|time| modified(there) >= time.as_nanosecond()),
            Overwrite::IfChanged | Overwrite::Always => false,
        }
    }

    fn enter_directory(&mut self, path: &Path, node: &Node, whole: bool) -> io::Result<bool> {
        // Nothing is made of what only leads there, and what has no name of its own goes straight into the target.
        let Some(place) = self.place(path).filter(|place| *place != self.target) else {
            self.untouched.insert(path.to_path_buf());
            return Ok(true);
        };
        match fs::symlink_metadata(&place) {
            Ok(meta) if meta.is_dir() => {
                let only_leads_there = !whole || !self.is_source(path);
                if only_leads_there || matches!(self.job.overwrite, Overwrite::Never | Overwrite::Older) {
                    self.untouched.insert(path.to_path_buf());
                }
                return Ok(true);
            }
            Ok(meta) if self.is_kept(&meta, node.meta.mtime) => {
                self.summary.skipped += 1;
                return Ok(false);
            }
            // Also a link to a directory: following it would write somewhere else.
            Ok(_) => fs::remove_file(&place)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::DirBuilder::new().mode(0o700).create(&place)?;
        Ok(true)
    }

    /// Make room for anything but a directory, as far as the job allows.
    fn clear(&mut self, place: &Path, stored: Modified) -> io::Result<Obstacle> {
        match fs::symlink_metadata(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Obstacle::None),
            Err(error) => Err(error),
            Ok(meta) if self.is_kept(&meta, stored) => {
                self.summary.skipped += 1;
                self.reporter.progress(|progress| progress.files_done += 1);
                Ok(Obstacle::Kept)
            }
            Ok(meta) if meta.is_file() => Ok(Obstacle::File),
            Ok(meta) if meta.is_dir() && !self.job.delete => Err(io::Error::other("a directory is in the way")),
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(place).map(|()| Obstacle::None),
            Ok(_) => fs::remove_file(place).map(|()| Obstacle::None),
        }
    }

    fn restore_file(&mut self, path: &Path, node: &Node, queue: &Queue) -> io::Result<()> {
        let key = LinkKey::of(node);
        if let Some(first) = key.as_ref().and_then(|key| self.linked.get(key)) {
            let first = Rc::clone(first);
            self.links.push(Link { first, path: path.to_path_buf(), modified: node.meta.mtime });
            return Ok(());
        }
        let Some(place) = self.place(path) else { return Ok(()) };
        let obstacle = self.clear(&place, node.meta.mtime)?;
        if matches!(obstacle, Obstacle::Kept) {
            return Ok(());
        }
        if let Some(key) = key {
            self.linked.insert(key, path.into());
        }
        let replaces = matches!(obstacle, Obstacle::File);
        if replaces && self.job.overwrite == Overwrite::IfChanged && self.is_unchanged(&place, node)? {
            return Ok(());
        }
        let (offsets, size) = layout(self.repository, node).map_err(io::Error::other)?;
        let temporary = replaces.then(|| {
            self.temporaries += 1;
            place.with_file_name(format!(".backstay-restore-{}-{}", process::id(), self.temporaries))
        });
        let now = temporary.as_ref().unwrap_or(&place);
        // `create_new` does not follow links either.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(now)?;
        if let Err(error) = file.set_len(size) {
            let _ = fs::remove_file(now);
            return Err(error);
        }
        let file = NewFile {
            file,
            temporary,
            path: place,
            node: node.clone(),
            blobs_left: AtomicUsize::new(offsets.len()),
            failed: AtomicBool::new(false),
        };
        self.writer.write(queue, file, &offsets);
        Ok(())
    }

    /// Whether the file has the right size and time; its attributes are set right then.
    fn is_unchanged(&mut self, place: &Path, node: &Node) -> io::Result<bool> {
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(place) {
            Ok(file) => file,
            Err(_) => return Ok(false),
        };
        let meta = file.metadata()?;
        let same =
            meta.len() == node.meta.size && node.meta.mtime.is_some_and(|time| time.as_nanosecond() == modified(&meta));
        if same {
            self.attributes.apply(Place::Open(&file), node, place);
            self.summary.files_unchanged += 1;
            self.reporter.progress(|progress| {
                progress.files_done += 1;
                progress.bytes_done += node.meta.size;
            });
        }
        Ok(same)
    }

    fn restore_special(&mut self, path: &Path, node: &Node) -> io::Result<()> {
        let Some(place) = self.place(path) else { return Ok(()) };
        match self.clear(&place, node.meta.mtime)? {
            Obstacle::Kept => return Ok(()),
            Obstacle::File => fs::remove_file(&place)?,
            Obstacle::None => {}
        }
        let make = |kind: SFlag, device: u64| mknod(&place, kind, Mode::S_IRUSR | Mode::S_IWUSR, device);
        match &node.node_type {
            NodeType::Symlink { .. } => symlink(node.node_type.to_link(), &place)?,
            NodeType::Fifo => make(SFlag::S_IFIFO, 0)?,
            NodeType::Socket => make(SFlag::S_IFSOCK, 0)?,
            NodeType::Dev { device } => make(SFlag::S_IFBLK, *device)?,
            NodeType::Chardev { device } => make(SFlag::S_IFCHR, *device)?,
            NodeType::File | NodeType::Dir => return Ok(()),
        }
        self.attributes.apply(Place::Special(&place), node, &place);
        self.summary.specials += 1;
        self.reporter.progress(|progress| progress.files_done += 1);
        Ok(())
    }

    /// Give files their further names.
    fn restore_links(&mut self) {
        for Link { first, path, modified } in std::mem::take(&mut self.links) {
            let (Some(original), Some(place)) = (self.place(&first), self.place(&path)) else { continue };
            match self.restore_link(&original, &place, modified) {
                Ok(()) => self.reporter.progress(|progress| progress.files_done += 1),
                Err(error) => {
                    let what = EngineError::io("cannot be linked", &error);
                    self.tally.fail(self.reporter, &place, what);
                }
            }
        }
    }

    fn restore_link(&mut self, original: &Path, place: &Path, stored: Modified) -> io::Result<()> {
        let wanted = fs::symlink_metadata(original)?;
        if fs::symlink_metadata(place).is_ok_and(|now| (now.dev(), now.ino()) == (wanted.dev(), wanted.ino())) {
            self.summary.files_unchanged += 1;
            return Ok(());
        }
        match self.clear(place, stored)? {
            Obstacle::Kept => return Ok(()),
            Obstacle::File => fs::remove_file(place)?,
            Obstacle::None => {}
        }
        fs::hard_link(original, place)?;
        self.summary.hardlinks += 1;
        Ok(())
    }

    /// Remove what the snapshot does not have.
    fn clean(&mut self, place: &Path, tree: &Tree) -> io::Result<()> {
        let keep: HashSet<OsString> = tree.nodes.iter().filter_map(safe_name).collect();
        for entry in fs::read_dir(place)? {
            let entry = entry?;
            if keep.contains(&entry.file_name()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
            self.summary.deleted += 1;
        }
        Ok(())
    }

    fn finish_directory(&mut self, path: &Path, node: &Node) -> io::Result<()> {
        let Some(place) = self.place(path) else { return Ok(()) };
        let directory: File =
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY).open(&place)?;
        if self.is_source(path) {
            self.attributes.apply(Place::Open(&directory), node, &place);
        } else {
            self.attributes.apply_to_lead(&directory, node, &place);
        }
        Ok(())
    }
}

/// The first pass as a visitor.
struct Filling<'a, 'b, S> {
    restorer: &'a mut Restorer<'b, S>,
    queue: &'a Queue,
}

impl<S: IndexedFull + Sync> Visitor for Filling<'_, '_, S> {
    fn enter(&mut self, path: &Path, node: &Node, whole: bool) -> Result<bool, EngineError> {
        match self.restorer.enter_directory(path, node, whole) {
            Ok(entered) => Ok(entered),
            Err(error) => {
                self.restorer.fail_io(path, "cannot make the directory", &error)?;
                Ok(false)
            }
        }
    }

    fn entry(&mut self, path: &Path, node: &Node) -> Result<(), EngineError> {
        self.restorer.tally.check()?;
        let made = if node.is_file() {
            self.restorer.restore_file(path, node, self.queue)
        } else {
            self.restorer.restore_special(path, node)
        };
        made.or_else(|error| self.restorer.fail_io(path, "cannot be restored", &error))
    }

    fn leave(&mut self, _path: &Path, _node: &Node, _tree: &Tree, _whole: bool) -> Result<(), EngineError> {
        Ok(())
    }

    fn broken(&mut self, path: &Path, error: EngineError) -> Result<(), EngineError> {
        self.restorer.fail(path, error)
    }
}

/// The last pass: directories get their attributes once nothing in them changes any more.
struct Closing<'a, 'b, S>(&'a mut Restorer<'b, S>);

impl<S: IndexedFull + Sync> Visitor for Closing<'_, '_, S> {
    fn enter(&mut self, path: &Path, _node: &Node, _whole: bool) -> Result<bool, EngineError> {
        // Not there: the first pass said why.
        Ok(self.0.place(path).is_none_or(|place| fs::symlink_metadata(place).is_ok_and(|meta| meta.is_dir())))
    }

    fn entry(&mut self, _path: &Path, _node: &Node) -> Result<(), EngineError> {
        Ok(())
    }

    fn leave(&mut self, path: &Path, node: &Node, tree: &Tree, whole: bool) -> Result<(), EngineError> {
        if self.0.job.delete
            && whole
            && self.0.is_source(path)
            && let Some(place) = self.0.place(path)
            && let Err(error) = self.0.clean(&place, tree)
        {
            self.0.reporter.warn(Some(&place), format!("cannot remove what is not in the backup: {error}"));
        }
        if self.0.untouched.contains(path) {
            return Ok(());
        }
        match self.0.finish_directory(path, node) {
            Ok(()) => {
                self.0.summary.directories += 1;
                Ok(())
            }
            Err(error) => self.0.fail_io(path, "cannot restore the directory's attributes", &error),
        }
    }

    fn broken(&mut self, _path: &Path, _error: EngineError) -> Result<(), EngineError> {
        Ok(())
    }
}
