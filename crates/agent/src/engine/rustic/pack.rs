//! Puts chosen files of a snapshot into one file outside of it: one plain file as it is, everything else as a compressed
//! tape archive, each chosen item in it under its own name.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use rustic_core::{
    IndexedFull, Repository, RusticError,
    repofile::{Node, NodeType, SnapshotFile, Tree},
    vfs::OpenFile,
};
use tar::{Builder, EntryType, Header};

use super::{
    Found, find_node, map_error, node,
    placing::Placing,
    restore::relative,
    selection::Selection,
    walk::{Visitor, walk},
};
use crate::engine::{EngineError, ErrorCode, PackJob, PackSummary, RawPath, Reporter, RestoreJob, Step};

/// So much of a file is read at a time.
const PIECE: usize = 1024 * 1024;

/// Pack what `job` asks for from `snapshot`.
pub(super) fn pack<S: IndexedFull>(
    repository: &Repository<S>,
    snapshot: &SnapshotFile,
    job: &PackJob,
    reporter: &Reporter,
) -> Result<PackSummary, EngineError> {
    reporter.step(Step::Pack);
    let mut file = target(job)?;
    if let [path] = &job.paths[..] {
        let path = Path::new("/").join(path.as_path());
        if let Found::Node(node) = find_node(repository, snapshot.tree, &path)?
            && node.is_file()
        {
            reporter.progress(|progress| {
                (progress.files_total, progress.bytes_total) = (Some(1), Some(node.meta.size));
            });
            let mut content = Content::new(repository, &node, reporter)?;
            io::copy(&mut content, &mut file).map_err(|error| cut_off(job, &content, &error))?;
            file.flush().map_err(|error| target_error(job, &error))?;
            let name = path.file_name().map(RawPath::from).unwrap_or_default();
            return Ok(PackSummary { name, packed: false, files: 1, bytes: size(job)? });
        }
    }
    let sources: Vec<PathBuf> = snapshot.paths.iter().map(|path| relative(Path::new(path))).collect();
    let selection = Selection::new(repository, snapshot.tree, &job.paths)?;
    let named = RestoreJob { by_name: true, ..RestoreJob::default() };
    let placing = Placing::new(repository, snapshot.tree, &named, &job.paths, &sources)?;
    let mut packing = Packing { repository, job, reporter, placing, archive: archive(file), files: 0 };
    walk(repository, snapshot.tree, &selection, &mut packing)?;
    packed(job, packing.archive, packing.files)
}

/// The file that everything is packed into, emptied.
pub(super) fn target(job: &PackJob) -> Result<BufWriter<File>, EngineError> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&job.target);
    file.map(BufWriter::new).map_err(|error| target_error(job, &error))
}

/// A compressed archive.
pub(super) type Archive = Builder<GzEncoder<BufWriter<File>>>;

/// An archive in this file.
pub(super) fn archive(file: BufWriter<File>) -> Archive {
    Builder::new(GzEncoder::new(file, Compression::default()))
}

/// Ends an archive with so many files in it.
pub(super) fn packed(job: &PackJob, archive: Archive, files: u64) -> Result<PackSummary, EngineError> {
    let done = archive.into_inner().and_then(GzEncoder::finish).and_then(|mut file| file.flush());
    done.map_err(|error| target_error(job, &error))?;
    let name = match &job.paths[..] {
        [path] => path.as_path().file_name().map(RawPath::from),
        _ => None,
    };
    Ok(PackSummary { name: name.unwrap_or_default(), packed: true, files, bytes: size(job)? })
}

pub(super) fn target_error(job: &PackJob, error: &io::Error) -> EngineError {
    EngineError::io("cannot write the file that is to be handed over", error).with("target", &job.target)
}

pub(super) fn size(job: &PackJob) -> Result<u64, EngineError> {
    fs::metadata(&job.target).map(|meta| meta.len()).map_err(|error| target_error(job, &error))
}

/// Whether the repository or the target is to blame.
fn cut_off<S>(job: &PackJob, content: &Content<'_, S>, error: &io::Error) -> EngineError {
    content.failure.clone().unwrap_or_else(|| target_error(job, error))
}

/// The content of a file in a snapshot.
struct Content<'a, S> {
    repository: &'a Repository<S>,
    reporter: &'a Reporter,
    file: OpenFile,
    /// How long the pieces of the content are together.
    size: u64,
    read: u64,
    piece: Bytes,
    failure: Option<EngineError>,
}

impl<'a, S: IndexedFull> Content<'a, S> {
    fn new(repository: &'a Repository<S>, node: &Node, reporter: &'a Reporter) -> Result<Self, EngineError> {
        let damaged = |error: Box<RusticError>| map_error(&error, ErrorCode::RepositoryDamaged);
        let mut size = 0;
        for blob in node.content.iter().flatten() {
            size += u64::from(repository.get_index_entry(blob).map_err(damaged)?.data_length());
        }
        let file = repository.open_file(node).map_err(damaged)?;
        Ok(Self { repository, reporter, file, size, read: 0, piece: Bytes::new(), failure: None })
    }
}

impl<S: IndexedFull> Read for Content<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && self.read < self.size {
            let offset = usize::try_from(self.read).map_err(io::Error::other)?;
            match self.repository.read_file_at(&self.file, offset, PIECE) {
                Ok(piece) if !piece.is_empty() => {
                    self.read += piece.len() as u64;
                    self.reporter.progress(|progress| progress.bytes_done += piece.len() as u64);
                    self.piece = piece;
                }
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) => {
                    self.failure = Some(map_error(&error, ErrorCode::RepositoryDamaged));
                    return Err(io::Error::other("the repository gives no content"));
                }
            }
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

/// What is written to an archive while a tree is walked through.
struct Packing<'a, S> {
    repository: &'a Repository<S>,
    job: &'a PackJob,
    reporter: &'a Reporter,
    placing: Placing,
    archive: Archive,
    files: u64,
}

impl<S: IndexedFull> Packing<'_, S> {
    /// Where an item comes to lie in the archive; nothing where it only leads to one.
    fn place(&self, path: &Path) -> Option<PathBuf> {
        self.placing.place(path).filter(|place| !place.as_os_str().is_empty())
    }

    fn written(&self, done: io::Result<()>) -> Result<(), EngineError> {
        done.map_err(|error| target_error(self.job, &error))
    }
}

impl<S: IndexedFull> Visitor for Packing<'_, S> {
    fn enter(&mut self, path: &Path, node: &Node, whole: bool) -> Result<bool, EngineError> {
        if let Some(place) = self.place(path).filter(|_| whole) {
            let mut header = header(node, EntryType::Directory, 0o755);
            // The slash at the end is how older programs know a directory.
            let done = self.archive.append_data(&mut header, place.join(""), io::empty());
            self.written(done)?;
        }
        Ok(true)
    }

    fn entry(&mut self, path: &Path, node: &Node) -> Result<(), EngineError> {
        let Some(place) = self.place(path) else { return Ok(()) };
        let done = match &node.node_type {
            NodeType::File => {
                let mut content = match Content::new(self.repository, node, self.reporter) {
                    Ok(content) => content,
                    Err(error) => return self.broken(path, error),
                };
                let mut header = header(node, EntryType::Regular, 0o644);
                header.set_size(content.size);
                let done = self.archive.append_data(&mut header, place, &mut content);
                if let Some(failure) = content.failure {
                    // Half of it is written, which nobody can take back.
                    return Err(failure);
                }
                done
            }
            NodeType::Symlink { .. } => {
                let mut header = header(node, EntryType::Symlink, 0o777);
                self.archive.append_link(&mut header, place, node.node_type.to_link())
            }
            NodeType::Fifo => self.archive.append_data(&mut header(node, EntryType::Fifo, 0o644), place, io::empty()),
            // Devices and sockets are of no use anywhere else.
            NodeType::Dir | NodeType::Dev { .. } | NodeType::Chardev { .. } | NodeType::Socket => return Ok(()),
        };
        self.written(done)?;
        self.files += 1;
        self.reporter.progress(|progress| progress.files_done += 1);
        Ok(())
    }

    fn leave(&mut self, _path: &Path, _node: &Node, _tree: &Tree, _whole: bool) -> Result<(), EngineError> {
        Ok(())
    }

    fn broken(&mut self, path: &Path, error: EngineError) -> Result<(), EngineError> {
        self.reporter.warn(Some(&Path::new("/").join(path)), error.message);
        Ok(())
    }
}

pub(super) fn header(node: &Node, kind: EntryType, usual: u32) -> Header {
    let meta = &node.meta;
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(meta.mode.map_or(usual, node::permissions));
    header.set_uid(meta.uid.unwrap_or(0).into());
    header.set_gid(meta.gid.unwrap_or(0).into());
    let seconds = meta.mtime.map_or(0, |time| time.as_second());
    header.set_mtime(u64::try_from(seconds).unwrap_or(0));
    // A name that is too long for its place is left out: the number is there.
    let fits = |name: &&String| name.len() < 32;
    if let Some(name) = meta.user.as_ref().filter(fits) {
        let _ = header.set_username(name);
    }
    if let Some(name) = meta.group.as_ref().filter(fits) {
        let _ = header.set_groupname(name);
    }
    header
}
