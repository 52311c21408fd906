//! The files on a volume, out of the snapshot of it: listed, counted, and written back.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
    process,
    rc::Rc,
    sync::Arc,
};

use nix::libc;
use rustic_core::{
    IndexedFull, IndexedFullStatus, Repository,
    jiff::Timestamp,
    repofile::{Metadata, Node, NodeType, SnapshotFile},
};

use super::{
    Opened, RusticEngine,
    attributes::{Attributes, Place},
    find_snapshot, map_error, node,
    restore::relative,
    stream::{StoredFile, is_stream, only_file},
    write::write_around_holes,
};
use crate::engine::{
    EngineError, ErrorCode, FileEntry, FileKind, FileList, ListFilesJob, Overwrite, RawPath, Reporter, RestoreJob,
    RestoreSummary, Step, SurveyJob, SurveySummary, sliced,
    volume::{Disk, Entry, FileTree, Volume, listed, not_found},
};

/// How much of a file is written at a time.
const BUFFER: usize = 1 << 20;

impl<S: IndexedFull> Disk for StoredFile<S> {
    fn size(&self) -> u64 {
        self.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Self::read_at(self, buffer, offset)
    }
}

impl RusticEngine {
    /// Find out what is on a volume.
    pub(super) fn look_at(&self, job: &SurveyJob, reporter: &Reporter) -> Result<SurveySummary, EngineError> {
        let Opened { repository, .. } = self.open_to_read(reporter)?;
        let snapshot = find_snapshot(&repository, &job.snapshot)?;
        if !is_stream(&snapshot) {
            let message = "only the backups of volumes are looked into for file systems";
            return Err(EngineError::new(ErrorCode::InvalidJob, message).with("snapshot", &job.snapshot));
        }
        reporter.step(Step::Survey);
        let repository = repository.to_indexed().map_err(|error| map_error(&error, ErrorCode::RepositoryDamaged))?;
        Ok(SurveySummary { filesystems: open(Arc::new(repository), &snapshot)?.survey(reporter) })
    }
}

/// What is on the volume of a snapshot.
pub(super) fn open(
    repository: Arc<Repository<IndexedFullStatus>>,
    snapshot: &SnapshotFile,
) -> Result<Volume, EngineError> {
    let file = only_file(&repository, snapshot)?;
    Volume::open(Rc::new(StoredFile::open(repository, &file.node)?))
}

/// List a directory on a volume.
pub(super) fn list(volume: &Volume, job: &ListFilesJob) -> Result<FileList, EngineError> {
    let path = Path::new("/").join(job.path.as_path());
    let unreadable = |error: io::Error| {
        EngineError::io("the folder cannot be read", &error).with("path", RawPath::from(path.as_path()))
    };
    let Some((tree, below)) = volume.locate(&path) else {
        // Above the file systems are their names.
        if path.parent().is_some() {
            return Err(not_found(&path));
        }
        let entries = volume.readable().map(|place| {
            let entry = Entry::folder(place.path.file_name().unwrap_or_default().to_owned());
            described(&entry, &place.path)
        });
        return Ok(sliced(entries.collect(), job));
    };
    match tree.entry(&below).map_err(unreadable)? {
        None => return Err(not_found(&path)),
        Some(entry) if entry.kind == FileKind::Directory => {}
        Some(_) => {
            return Err(EngineError::new(ErrorCode::NotADirectory, "this path is not a directory")
                .with("path", RawPath::from(path)));
        }
    }
    let entries = tree.list(&below).map_err(unreadable)?;
    let entries = entries.into_iter().map(|entry| described(&entry, &path.join(&entry.name))).collect();
    Ok(sliced(entries, job))
}

fn described(entry: &Entry, path: &Path) -> FileEntry {
    FileEntry {
        name: RawPath::from(entry.name.as_os_str()),
        path: RawPath::from(path),
        kind: entry.kind,
        size: entry.size,
        mtime_ns: entry.mtime_ns,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        user: None,
        group: None,
        link_target: entry.link_target.as_deref().map(RawPath::from),
    }
}

/// A file or directory that somebody chose.
pub(super) struct Chosen<'a> {
    pub(super) tree: &'a dyn FileTree,
    /// From the root of its file system.
    pub(super) below: PathBuf,
    pub(super) entry: Entry,
    /// The path in the recovery point.
    path: PathBuf,
}

/// Write chosen files of a volume back.
pub(super) fn restore_files(
    volume: &Volume,
    job: &RestoreJob,
    reporter: &Reporter,
) -> Result<RestoreSummary, EngineError> {
    reporter.step(Step::Plan);
    let chosen = chosen(volume, &job.paths)?;
    let places = places(&chosen, job.by_name)?;
    let target_error =
        |error: io::Error| EngineError::io("cannot restore into this directory", &error).with("target", &job.target);
    fs::create_dir_all(&job.target).map_err(target_error)?;
    let attributes = Attributes::new(reporter.clone());
    let mut restorer = Restorer {
        target: fs::canonicalize(&job.target).map_err(target_error)?,
        attributes: &attributes,
        reporter,
        overwrite: job.overwrite,
        temporaries: 0,
        first_failure: None,
        summary: RestoreSummary::default(),
    };
    reporter.step(Step::Restore);
    for (chosen, place) in chosen.iter().zip(places) {
        restorer.lead(&place)?;
        let place = restorer.target.join(place);
        restorer.restore(chosen.tree, &chosen.below, &chosen.entry, &place, 0)?;
    }
    attributes.finish();
    let Restorer { summary, first_failure, .. } = restorer;
    let restored = summary.files + summary.files_unchanged + summary.specials + summary.skipped + summary.directories;
    match first_failure {
        // Warnings alone would make a restore that brought nothing back look like a success.
        Some(failure) if restored == 0 => Err(failure),
        _ => Ok(summary),
    }
}

/// Find what was chosen.
pub(super) fn chosen<'a>(volume: &'a Volume, paths: &[RawPath]) -> Result<Vec<Chosen<'a>>, EngineError> {
    let mut paths: Vec<PathBuf> = paths.iter().map(|path| relative(path.as_path())).collect();
    paths.sort();
    // An item inside another comes with that.
    paths.dedup_by(|inner, outer| inner.starts_with(outer));
    let mut chosen = Vec::new();
    for path in paths {
        let full = Path::new("/").join(&path);
        let Some((tree, below)) = volume.locate(&full) else {
            if !path.as_os_str().is_empty() {
                return Err(not_found(&full));
            }
            for place in volume.readable() {
                if let Some(tree) = place.tree.as_deref() {
                    let entry = Entry::folder(OsString::new());
                    chosen.push(Chosen { tree, below: PathBuf::new(), entry, path: relative(&place.path) });
                }
            }
            continue;
        };
        let entry = tree.entry(&below).map_err(|error| EngineError::io("the volume cannot be read", &error))?;
        let entry = entry.ok_or_else(|| not_found(&full))?;
        chosen.push(Chosen { tree, below, entry, path });
    }
    Ok(chosen)
}

/// Where each item comes to lie below the target: at its whole path, or under its own name as long as those differ. The root
/// of a file system has no name: what is in it comes to lie there.
pub(super) fn places(chosen: &[Chosen<'_>], by_name: bool) -> Result<Vec<PathBuf>, EngineError> {
    let whole = || chosen.iter().map(|item| item.path.clone()).collect();
    if !by_name {
        return Ok(whole());
    }
    let mut taken = HashSet::new();
    let mut places = Vec::new();
    for item in chosen {
        let (place, names): (PathBuf, Vec<OsString>) = match item.below.file_name() {
            Some(name) => (name.into(), vec![name.to_owned()]),
            None => {
                let inside = item.tree.list(Path::new(""));
                let inside = inside.map_err(|error| EngineError::io("the volume cannot be read", &error))?;
                (PathBuf::new(), inside.into_iter().map(|entry| entry.name).collect())
            }
        };
        if names.into_iter().any(|name| !taken.insert(name)) {
            return Ok(whole());
        }
        places.push(place);
    }
    Ok(places)
}

struct Restorer<'a> {
    target: PathBuf,
    attributes: &'a Attributes,
    reporter: &'a Reporter,
    overwrite: Overwrite,
    temporaries: u64,
    first_failure: Option<EngineError>,
    summary: RestoreSummary,
}

impl Restorer<'_> {
    /// Make the directories that lead to a place below the target.
    fn lead(&mut self, place: &Path) -> Result<(), EngineError> {
        let mut at = self.target.clone();
        for name in place.parent().unwrap_or(Path::new("")).components() {
            at.push(name);
            make_directory(&at, 0o755).map_err(|error| {
                EngineError::io("cannot restore into this directory", &error).with("path", RawPath::from(at.as_path()))
            })?;
        }
        Ok(())
    }

    fn restore(
        &mut self,
        tree: &dyn FileTree,
        below: &Path,
        entry: &Entry,
        place: &Path,
        depth: usize,
    ) -> Result<(), EngineError> {
        let done = match entry.kind {
            FileKind::Directory => return self.directory(tree, below, entry, place, depth),
            FileKind::File => self.file(tree, below, entry, place),
            FileKind::Symlink => self.link(entry, place),
            FileKind::Fifo | FileKind::Socket | FileKind::BlockDevice | FileKind::CharDevice => {
                Err(io::Error::other("pipes, sockets and devices on a volume are not restored"))
            }
        };
        self.reporter.progress(|progress| progress.files_done += 1);
        match done {
            Ok(()) => Ok(()),
            Err(error) => self.fail(place, &error),
        }
    }

    /// One entry is lost; the restore goes on, unless there is no more space for anything.
    fn fail(&mut self, place: &Path, error: &io::Error) -> Result<(), EngineError> {
        let error = EngineError::io("cannot be restored", error).with("path", RawPath::from(place));
        if error.code == ErrorCode::NoSpace {
            return Err(error);
        }
        self.summary.failed += 1;
        self.reporter.warn(Some(place), error.message.clone());
        self.first_failure.get_or_insert(error);
        Ok(())
    }

    fn directory(
        &mut self,
        tree: &dyn FileTree,
        below: &Path,
        entry: &Entry,
        place: &Path,
        depth: usize,
    ) -> Result<(), EngineError> {
        // What is in the root of a file system may come to lie in the target itself.
        let own = place != self.target;
        if own && let Err(error) = make_directory(place, 0o700) {
            return self.fail(place, &error);
        }
        match listed(tree, below, depth) {
            Ok(entries) => {
                for entry in entries {
                    let (below, place) = (below.join(&entry.name), place.join(&entry.name));
                    self.restore(tree, &below, &entry, &place, depth + 1)?;
                }
            }
            Err(error) => self.fail(place, &error)?,
        }
        if own {
            self.summary.directories += 1;
            let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
            match OpenOptions::new().read(true).custom_flags(flags).open(place) {
                Ok(directory) => self.attributes.apply(Place::Open(&directory), &node_of(entry), place),
                Err(error) => self.fail(place, &error)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, tree: &dyn FileTree, below: &Path, entry: &Entry, place: &Path) -> io::Result<()> {
        if let Some(there) = self.obstacle(entry, place)? {
            let modified = i128::from(there.mtime()) * 1_000_000_000 + i128::from(there.mtime_nsec());
            let same = there.is_file() && there.len() == entry.size && entry.mtime_ns.map(i128::from) == Some(modified);
            if same && self.overwrite == Overwrite::IfChanged {
                self.summary.files_unchanged += 1;
                return Ok(());
            }
        } else if fs::symlink_metadata(place).is_ok() {
            self.summary.skipped += 1;
            return Ok(());
        }
        let temporary = self.temporary(place);
        let written = self.write(tree, below, entry, &temporary).and_then(|file| {
            self.attributes.apply(Place::Open(&file), &node_of(entry), place);
            fs::rename(&temporary, place)
        });
        if written.is_err() {
            // Half a file would pass for a whole one.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        self.summary.files += 1;
        self.summary.bytes += entry.size;
        Ok(())
    }

    fn write(&self, tree: &dyn FileTree, below: &Path, entry: &Entry, temporary: &Path) -> io::Result<File> {
        // `create_new` does not follow links either.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        file.set_len(entry.size)?;
        let mut content = tree.open(below)?;
        let mut buffer = vec![0; BUFFER];
        let mut at = 0;
        while at < entry.size {
            let mut filled = 0;
            while filled < buffer.len() {
                match content.read(&mut buffer[filled..])? {
                    0 => break,
                    read => filled += read,
                }
            }
            if filled == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            write_around_holes(&file, at, &buffer[..filled])?;
            at += filled as u64;
            self.reporter.progress(|progress| progress.bytes_done += filled as u64);
        }
        Ok(file)
    }

    fn link(&mut self, entry: &Entry, place: &Path) -> io::Result<()> {
        let target = entry.link_target.as_deref().ok_or(io::ErrorKind::InvalidData)?;
        if self.obstacle(entry, place)?.is_none() && fs::symlink_metadata(place).is_ok() {
            self.summary.skipped += 1;
            return Ok(());
        }
        let temporary = self.temporary(place);
        symlink(target, &temporary)?;
        self.attributes.apply(Place::Special(&temporary), &node_of(entry), place);
        if let Err(error) = fs::rename(&temporary, place) {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.summary.specials += 1;
        Ok(())
    }

    /// What stands at a place and is to be replaced; nothing where there is nothing, or where it is to stay.
    fn obstacle(&self, entry: &Entry, place: &Path) -> io::Result<Option<fs::Metadata>> {
        let there = match fs::symlink_metadata(place) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if there.is_dir() {
            return Err(io::Error::other("a folder stands there"));
        }
        let modified = there.mtime().saturating_mul(1_000_000_000).saturating_add(there.mtime_nsec());
        let kept = match self.overwrite {
            Overwrite::Never => true,
            Overwrite::Older => entry.mtime_ns.is_none_or(|time| modified >= time),
            Overwrite::IfChanged | Overwrite::Always => false,
        };
        Ok((!kept).then_some(there))
    }

    fn temporary(&mut self, place: &Path) -> PathBuf {
        self.temporaries += 1;
        place.with_file_name(format!(".backstay-restore-{}-{}", process::id(), self.temporaries))
    }
}

/// Make a directory, or find it there. A link in its place is not followed.
fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() {
                Ok(())
            } else {
                Err(io::ErrorKind::NotADirectory.into())
            }
        }
        other => other,
    }
}

/// What attributes an entry has, in the form of the repository.
pub(super) fn node_of(entry: &Entry) -> Node {
    let modified = entry.mtime_ns.and_then(|time| Timestamp::from_nanosecond(i128::from(time)).ok());
    let (kind, bits) = match entry.kind {
        FileKind::Directory => (NodeType::Dir, libc::S_IFDIR),
        FileKind::Symlink => {
            (NodeType::from_link(entry.link_target.as_deref().unwrap_or(Path::new(""))), libc::S_IFLNK)
        }
        _ => (NodeType::File, libc::S_IFREG),
    };
    // Where a file system knows no permissions, everybody may read, as when it is mounted.
    let usual = if entry.kind == FileKind::Directory { 0o755 } else { 0o644 };
    let details = Metadata {
        mode: Some(node::mode_to_go(bits | entry.mode.unwrap_or(usual))),
        mtime: modified,
        atime: modified,
        uid: entry.uid,
        gid: entry.gid,
        size: entry.size,
        ..Metadata::default()
    };
    Node::new_node(&entry.name, kind, details)
}
