//! Puts chosen files of a volume into one file outside of it, as [`super::pack`] does it with those of other snapshots.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use tar::EntryType;

use super::{
    pack::{Archive, archive, header, packed, size, target, target_error},
    volume::{chosen, node_of, places},
};
use crate::engine::{
    EngineError, FileKind, PackJob, PackSummary, RawPath, Reporter, Step,
    volume::{Entry, FileTree, Volume, listed},
};

/// Pack what `job` asks for.
pub(super) fn pack(volume: &Volume, job: &PackJob, reporter: &Reporter) -> Result<PackSummary, EngineError> {
    reporter.step(Step::Pack);
    let chosen = chosen(volume, &job.paths)?;
    let mut file = target(job)?;
    if let [one] = chosen.as_slice()
        && one.entry.kind == FileKind::File
    {
        reporter.progress(|progress| {
            (progress.files_total, progress.bytes_total) = (Some(1), Some(one.entry.size));
        });
        let mut content = Content::new(one.tree, &one.below, &one.entry, reporter).map_err(|error| unread(&error))?;
        io::copy(&mut content, &mut file).and_then(|_| file.flush()).map_err(|error| target_error(job, &error))?;
        let name = RawPath::from(one.entry.name.as_os_str());
        return Ok(PackSummary { name, packed: false, files: 1, bytes: size(job)? });
    }
    let places = places(&chosen, true)?;
    let mut packing = Packing { job, reporter, archive: archive(file), files: 0 };
    for (one, place) in chosen.iter().zip(&places) {
        packing.add(one.tree, &one.below, &one.entry, place, 0)?;
    }
    packed(job, packing.archive, packing.files)
}

fn unread(error: &io::Error) -> EngineError {
    EngineError::io("the volume cannot be read", error)
}

struct Packing<'a> {
    job: &'a PackJob,
    reporter: &'a Reporter,
    archive: Archive,
    files: u64,
}

impl Packing<'_> {
    fn add(
        &mut self,
        tree: &dyn FileTree,
        below: &Path,
        entry: &Entry,
        place: &Path,
        depth: usize,
    ) -> Result<(), EngineError> {
        let node = node_of(entry);
        let done = match entry.kind {
            FileKind::Directory => return self.add_directory(tree, below, entry, place, depth),
            FileKind::File => {
                let mut content = match Content::new(tree, below, entry, self.reporter) {
                    Ok(content) => content,
                    Err(error) => return self.left_out(place, &error),
                };
                let mut header = header(&node, EntryType::Regular, 0o644);
                header.set_size(entry.size);
                self.archive.append_data(&mut header, place, &mut content)
            }
            FileKind::Symlink => {
                let target = entry.link_target.as_deref().unwrap_or(Path::new(""));
                self.archive.append_link(&mut header(&node, EntryType::Symlink, 0o777), place, target)
            }
            // They are of no use anywhere else.
            FileKind::Fifo | FileKind::Socket | FileKind::BlockDevice | FileKind::CharDevice => return Ok(()),
        };
        // Half of it may be written, which nobody can take back.
        done.map_err(|error| target_error(self.job, &error))?;
        self.files += 1;
        self.reporter.progress(|progress| progress.files_done += 1);
        Ok(())
    }

    fn add_directory(
        &mut self,
        tree: &dyn FileTree,
        below: &Path,
        entry: &Entry,
        place: &Path,
        depth: usize,
    ) -> Result<(), EngineError> {
        if !place.as_os_str().is_empty() {
            let mut header = header(&node_of(entry), EntryType::Directory, 0o755);
            // The slash at the end is how older programs know a directory.
            let done = self.archive.append_data(&mut header, place.join(""), io::empty());
            done.map_err(|error| target_error(self.job, &error))?;
        }
        match listed(tree, below, depth) {
            Ok(entries) => entries.iter().try_for_each(|entry| {
                self.add(tree, &below.join(&entry.name), entry, &place.join(&entry.name), depth + 1)
            }),
            Err(error) => self.left_out(place, &error),
        }
    }

    fn left_out(&self, place: &Path, error: &io::Error) -> Result<(), EngineError> {
        self.reporter.warn(Some(&Path::new("/").join(place)), format!("cannot be read: {error}"));
        Ok(())
    }
}

/// The content of a file, as long as it is said to be.
struct Content<'a> {
    content: Box<dyn Read + 'a>,
    left: u64,
    reporter: &'a Reporter,
}

impl<'a> Content<'a> {
    fn new(tree: &'a dyn FileTree, below: &Path, entry: &Entry, reporter: &'a Reporter) -> io::Result<Self> {
        Ok(Self { content: tree.open(below)?, left: entry.size, reporter })
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.content.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        self.reporter.progress(|progress| progress.bytes_done += read as u64);
        Ok(read)
    }
}
