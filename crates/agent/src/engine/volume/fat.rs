//! FAT with 12, 16 and 32 bits.

use std::{
    ffi::OsString,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Component, Path},
};

use fatfs::{DateTime, Dir, DirEntry, FileSystem, FsOptions};
use jiff::{civil, tz::TimeZone};

use super::{Entry, Facts, FileTree, Part, safe_name};
use crate::engine::FileKind;

/// More entries than the format allows in a directory: its list goes in circles.
const MAX_ENTRIES: usize = 1 << 17;

/// A FAT.
pub(super) struct FatTree {
    fs: FileSystem<Cursor>,
    size: u64,
}

impl FatTree {
    pub(super) fn open(part: Part) -> io::Result<Self> {
        let size = part.size;
        Ok(Self { fs: FileSystem::new(Cursor { part, position: 0 }, FsOptions::new())?, size })
    }

    fn directory(&self, path: &Path) -> io::Result<Dir<'_, Cursor>> {
        let text = text(path)?;
        let root = self.fs.root_dir();
        if text.is_empty() { Ok(root) } else { root.open_dir(&text) }
    }
}

/// What the file system is read from. It is never written to.
struct Cursor {
    part: Part,
    position: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.part.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Write for Cursor {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.part.size.checked_add_signed(by),
        };
        self.position = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// The path as the reader takes it: names are Unicode.
fn text(path: &Path) -> io::Result<String> {
    let names = path.components().filter_map(|part| if let Component::Normal(name) = part { Some(name) } else { None });
    let names: Option<Vec<&str>> = names.map(|name| name.to_str()).collect();
    names.map(|names| names.join("/")).ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn described(found: &DirEntry<'_, Cursor>) -> Entry {
    let kind = if found.is_dir() { FileKind::Directory } else { FileKind::File };
    Entry {
        name: OsString::from(found.file_name()),
        kind,
        size: if kind == FileKind::File { found.len() } else { 0 },
        mtime_ns: nanoseconds(&found.modified()),
        mode: None,
        uid: None,
        gid: None,
        link_target: None,
    }
}

/// FAT keeps what clocks showed and not in which zone; it is taken for UTC.
fn nanoseconds(time: &DateTime) -> Option<i64> {
    let small = |number: u16| i8::try_from(number).ok();
    let year = i16::try_from(time.date.year).ok()?;
    let date = civil::Date::new(year, small(time.date.month)?, small(time.date.day)?).ok()?;
    let clock = civil::Time::new(small(time.time.hour)?, small(time.time.min)?, small(time.time.sec)?, 0).ok()?;
    let moment = date.to_datetime(clock).to_zoned(TimeZone::UTC).ok()?.timestamp();
    i64::try_from(moment.as_nanosecond()).ok().map(|moment| moment + i64::from(time.time.millis) * 1_000_000)
}

impl FileTree for FatTree {
    fn facts(&self) -> io::Result<Facts> {
        let stats = self.fs.stats()?;
        let bytes = |clusters: u32| u64::from(clusters) * u64::from(stats.cluster_size());
        let serial = self.fs.volume_id();
        let label = self.fs.read_volume_label_from_root_dir()?.unwrap_or_else(|| self.fs.volume_label());
        let label = label.trim();
        Ok(Facts {
            kind: "vfat".to_owned(),
            native_id: format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff),
            label: if label == "NO NAME" { String::new() } else { label.to_owned() },
            mounted_at: String::new(),
            size: bytes(stats.total_clusters()).min(self.size),
            available: bytes(stats.free_clusters()),
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for found in self.directory(directory)?.iter() {
            let entry = described(&found?);
            if safe_name(entry.name.as_encoded_bytes()) {
                entries.push(entry);
            }
            if entries.len() > MAX_ENTRIES {
                return Err(io::Error::other("its list goes in circles"));
            }
        }
        Ok(entries)
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let Some(name) = path.file_name() else {
            return Ok(Some(Entry::folder(OsString::new())));
        };
        match self.list(path.parent().unwrap_or(Path::new(""))) {
            Ok(entries) => Ok(entries.into_iter().find(|entry| entry.name == name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open<'a>(&'a self, file: &Path) -> io::Result<Box<dyn Read + 'a>> {
        Ok(Box::new(self.fs.root_dir().open_file(&text(file)?)?))
    }
}
