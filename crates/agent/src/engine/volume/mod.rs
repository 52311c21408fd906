//! What is on a volume: partitions, the file systems in them, and the files in those. Everything is read out of a recovery
//! point, never from the device that it is of, and nothing is ever mounted: what somebody else's disk holds is only data.

mod cache;
mod ext;
mod fat;
mod probe;
mod table;

use std::{
    ffi::OsString,
    fmt,
    io::{self, Read},
    path::{Component, Path, PathBuf},
    rc::Rc,
};

use domain::backup::Filesystem;

use self::{cache::Cached, probe::Found};
use super::{EngineError, ErrorCode, FileKind, RawPath, Reporter};

/// Bytes that can be read at any place.
pub(super) trait Disk {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fill `buffer` from `offset` on, as far as there is something; says how much that is.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// A part of a disk.
#[derive(Clone)]
struct Part {
    disk: Rc<dyn Disk>,
    offset: u64,
    size: u64,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("offset", &self.offset).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Part {
    /// As much as there is from `offset` on, at most all of `buffer`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX));
        let mut read = 0;
        while read < wanted {
            let more = self.disk.read_at(&mut buffer[read..wanted], self.offset + offset + read as u64)?;
            if more == 0 {
                break;
            }
            read += more;
        }
        Ok(read)
    }

    /// All of `buffer`, or an error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.read_at(buffer, offset)? == buffer.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The first bytes; zeros where there are not so many.
    fn start(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// A file system that can be read. Paths are relative to its root.
pub(super) trait FileTree {
    /// What it says about itself.
    fn facts(&self) -> io::Result<Facts>;

    /// What is in a directory, in no order, without `.` and `..`.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;

    /// What is at a path, or nothing. Links are not followed.
    fn entry(&self, path: &Path) -> io::Result<Option<Entry>>;

    /// The content of a regular file.
    fn open<'a>(&'a self, file: &Path) -> io::Result<Box<dyn Read + 'a>>;
}

/// What a file system says about itself.
#[derive(Debug, Default)]
pub(super) struct Facts {
    kind: String,
    native_id: String,
    label: String,
    mounted_at: String,
    size: u64,
    available: u64,
}

/// A file, directory or something else in a file system.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) kind: FileKind,
    pub(super) size: u64,
    /// Nanoseconds since 1970.
    pub(super) mtime_ns: Option<i64>,
    /// As `chmod` takes it.
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) link_target: Option<PathBuf>,
}

impl Entry {
    /// A folder of which nothing is known, such as the root of a file system.
    pub(super) fn folder(name: OsString) -> Entry {
        Entry {
            name,
            kind: FileKind::Directory,
            size: 0,
            mtime_ns: None,
            mode: None,
            uid: None,
            gid: None,
            link_target: None,
        }
    }
}

/// What is in a folder that lies so many folders deep.
pub(super) fn listed(tree: &dyn FileTree, folder: &Path, depth: usize) -> io::Result<Vec<Entry>> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other("the folders go in circles"));
    }
    tree.list(folder)
}

/// Something like a file system on a volume.
pub(super) struct Place {
    /// Under which path it is in the recovery point.
    pub(super) path: PathBuf,
    /// If it can be read.
    pub(super) tree: Option<Box<dyn FileTree>>,
    part: Part,
    kind: &'static str,
    failure: String,
}

/// A volume and what is on it.
pub(super) struct Volume {
    pub(super) places: Vec<Place>,
}

/// So deep may directories lie in one another; a tree that is deeper is a circle.
const MAX_DEPTH: usize = 256;

/// So many entries are counted in one file system, in case it goes in circles.
const MAX_ENTRIES: u64 = 200_000_000;

impl Volume {
    /// Look at what is on a disk.
    ///
    /// # Errors
    /// Where the disk cannot be read. What is on it may be anything.
    pub(super) fn open(disk: Rc<dyn Disk>) -> Result<Self, EngineError> {
        let unreadable = |error: io::Error| EngineError::io("the volume cannot be read from the repository", &error);
        let size = disk.size();
        let disk: Rc<dyn Disk> = Rc::new(Cached::new(disk));
        let whole = Part { disk, offset: 0, size };
        let partitions = table::partitions(&whole).map_err(unreadable)?;
        let mut places = Vec::new();
        match partitions {
            None => places.extend(Place::new("/".into(), whole).map_err(unreadable)?),
            Some(partitions) => {
                for partition in partitions {
                    let path = PathBuf::from(format!("/p{}", partition.number));
                    let part = Part { offset: partition.offset, size: partition.size, ..whole.clone() };
                    places.extend(Place::new(path, part).map_err(unreadable)?);
                }
            }
        }
        Ok(Self { places })
    }

    /// The file system in which a path of the recovery point lies, and the path from its root.
    pub(super) fn locate(&self, path: &Path) -> Option<(&dyn FileTree, PathBuf)> {
        let normal: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let path = Path::new("/").join(normal);
        self.places.iter().find_map(|place| {
            let below = path.strip_prefix(&place.path).ok()?;
            Some((&**place.tree.as_ref()?, below.to_path_buf()))
        })
    }

    /// The file systems that can be read.
    pub(super) fn readable(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| place.tree.is_some())
    }

    /// Go through all files and say what there is.
    pub(super) fn survey(&self, reporter: &Reporter) -> Vec<Filesystem> {
        self.places.iter().map(|place| place.survey(reporter)).collect()
    }
}

impl Place {
    /// What is in a part of a disk; nothing where it is empty or not meant for files.
    fn new(path: PathBuf, part: Part) -> io::Result<Option<Self>> {
        let place = |tree, kind, failure| Self { path, tree, part: part.clone(), kind, failure };
        Ok(Some(match probe::probe(&part)? {
            Found::Nothing => return Ok(None),
            Found::Ext => match ext::ExtTree::open(part.clone()) {
                Ok(tree) => place(Some(Box::new(tree) as Box<dyn FileTree>), "ext4", String::new()),
                Err(error) => place(None, "ext4", format!("the ext file system cannot be read: {error}")),
            },
            Found::Fat => match fat::FatTree::open(part.clone()) {
                Ok(tree) => place(Some(Box::new(tree) as Box<dyn FileTree>), "vfat", String::new()),
                Err(error) => place(None, "vfat", format!("the FAT file system cannot be read: {error}")),
            },
            Found::Other(kind) => {
                place(None, kind, format!("what is in a file system of type '{kind}' cannot be listed here"))
            }
            Found::Unknown => place(None, "unknown", "there is no file system that is known here".to_owned()),
        }))
    }

    fn survey(&self, reporter: &Reporter) -> Filesystem {
        let path = RawPath::from(self.path.as_path()).to_string();
        let found = Filesystem {
            path,
            kind: self.kind.to_owned(),
            offset: self.part.offset,
            size: self.part.size,
            failure: self.failure.clone(),
            ..Filesystem::default()
        };
        let Some(tree) = &self.tree else { return found };
        let facts = match tree.facts() {
            Ok(facts) => facts,
            Err(error) => return Filesystem { failure: format!("it cannot be read: {error}"), ..found },
        };
        let mut count = Count { reporter, entries: 0, unread: 0, first: None };
        count.directory(&**tree, Path::new(""), 0);
        let failure = match (count.unread, count.first) {
            (0, _) | (_, None) => String::new(),
            (1, Some(first)) => first,
            (several, Some(first)) => format!("{several} folders cannot be read; the first: {first}"),
        };
        Filesystem {
            kind: facts.kind,
            native_id: facts.native_id,
            label: facts.label,
            mounted_at: facts.mounted_at,
            size: facts.size,
            used: Some(facts.size.saturating_sub(facts.available)),
            available: Some(facts.available),
            // What has not even a root that could be read has no files.
            files: (count.unread == 0 || count.entries > 0).then_some(count.entries),
            failure,
            ..found
        }
    }
}

/// Counts what is in a file system.
struct Count<'a> {
    reporter: &'a Reporter,
    entries: u64,
    unread: u64,
    first: Option<String>,
}

impl Count<'_> {
    fn directory(&mut self, tree: &dyn FileTree, path: &Path, depth: usize) {
        // Among so many, it is as if they lay too deep.
        let depth = if self.entries > MAX_ENTRIES { usize::MAX } else { depth };
        let entries = match listed(tree, path, depth) {
            Ok(entries) => entries,
            Err(error) => {
                self.unread += 1;
                let path = RawPath::from(Path::new("/").join(path));
                self.first.get_or_insert_with(|| format!("the folder '{path}' cannot be read: {error}"));
                return;
            }
        };
        self.entries += entries.len() as u64;
        let found = self.entries;
        self.reporter.progress(|progress| progress.files_done = found);
        for entry in entries.iter().filter(|entry| entry.kind == FileKind::Directory) {
            self.directory(tree, &path.join(&entry.name), depth + 1);
        }
    }
}

/// A name that came off a disk, if it is one: it must not name `..` or `a/b`.
fn safe_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

/// There is no such path, in the engine's words.
pub(super) fn not_found(path: &Path) -> EngineError {
    EngineError::new(ErrorCode::PathNotInBackup, "the backup does not contain this path")
        .with("path", RawPath::from(path))
}
