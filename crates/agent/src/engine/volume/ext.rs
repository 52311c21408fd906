//! ext2, ext3 and ext4.

use std::{
    ffi::OsStr,
    io::{self, Read},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use ext4_view::{Ext4, Ext4Error, Ext4Read, FileType, Metadata};

use super::{
    Entry, Facts, FileTree, Part, safe_name,
    table::{u16_at, u32_at},
};
use crate::engine::FileKind;

/// Where the superblock begins.
const SUPERBLOCK: u64 = 1024;

/// A file system of the family.
pub(super) struct ExtTree {
    part: Part,
    fs: Ext4,
}

impl ExtTree {
    pub(super) fn open(part: Part) -> io::Result<Self> {
        let fs = Ext4::load(Box::new(Reader(part.clone()))).map_err(failed)?;
        Ok(Self { part, fs })
    }
}

/// What the reader of the file system reads from.
struct Reader(Part);

impl Ext4Read for Reader {
    fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.read_exact_at(buffer, start)?)
    }
}

fn failed(error: Ext4Error) -> io::Error {
    let kind = if matches!(error, Ext4Error::NotFound) { io::ErrorKind::NotFound } else { io::ErrorKind::Other };
    io::Error::new(kind, error)
}

/// The path as the reader takes it.
fn inside(path: &Path) -> Vec<u8> {
    let mut inside = vec![b'/'];
    inside.extend_from_slice(path.as_os_str().as_bytes());
    inside
}

impl FileTree for ExtTree {
    fn facts(&self) -> io::Result<Facts> {
        let mut superblock = [0; 1024];
        self.part.read_exact_at(&mut superblock, SUPERBLOCK)?;
        let number = |low: usize, high: usize| {
            // The upper halves mean something only where blocks have wide numbers.
            let wide = u32_at(&superblock, 0x60) & 0x80 != 0;
            u64::from(u32_at(&superblock, low)) | if wide { u64::from(u32_at(&superblock, high)) << 32 } else { 0 }
        };
        let block = 1024u64.checked_shl(u32_at(&superblock, 0x18)).unwrap_or_default();
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            domain::path::text_of(&bytes[..end])
        };
        let (compatible, incompatible) = (u32_at(&superblock, 0x5c), u32_at(&superblock, 0x60));
        // Extents, wide numbers and flexible groups came with ext4, the journal with ext3.
        let kind = match (incompatible & 0x2c0 != 0, compatible & 0x4 != 0) {
            (true, _) => "ext4",
            (false, true) => "ext3",
            (false, false) => "ext2",
        };
        debug_assert_eq!(u16_at(&superblock, 0x38), 0xef53);
        Ok(Facts {
            kind: kind.to_owned(),
            native_id: self.fs.uuid().to_string(),
            label: text(&superblock[0x78..0x88]),
            mounted_at: text(&superblock[0x88..0xc8]),
            size: number(0x4, 0x150).saturating_mul(block),
            available: number(0xc, 0x158).saturating_mul(block),
        })
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let path = inside(directory);
        let mut entries = Vec::new();
        for found in self.fs.read_dir(path.as_slice()).map_err(failed)? {
            let found = found.map_err(failed)?;
            let name = found.file_name();
            let name: &[u8] = name.as_ref();
            if safe_name(name) {
                let meta = found.metadata().map_err(failed)?;
                entries.push(self.described(&directory.join(OsStr::from_bytes(name)), &meta)?);
            }
        }
        Ok(entries)
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        match self.fs.symlink_metadata(inside(path).as_slice()) {
            Ok(meta) => self.described(path, &meta).map(Some),
            Err(Ext4Error::NotFound | Ext4Error::NotADirectory) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn open<'a>(&'a self, file: &Path) -> io::Result<Box<dyn Read + 'a>> {
        Ok(Box::new(Content(self.fs.open(inside(file).as_slice()).map_err(failed)?)))
    }
}

impl ExtTree {
    fn described(&self, path: &Path, meta: &Metadata) -> io::Result<Entry> {
        let kind = match meta.file_type() {
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::Regular => FileKind::File,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::CharacterDevice => FileKind::CharDevice,
        };
        let link_target = match kind {
            FileKind::Symlink => {
                let target = self.fs.read_link(inside(path).as_slice()).map_err(failed)?;
                let bytes: &[u8] = target.as_ref();
                Some(PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec())))
            }
            _ => None,
        };
        let modified = meta.modified();
        let nanoseconds = i128::from(modified.seconds()) * 1_000_000_000 + i128::from(modified.nanoseconds());
        Ok(Entry {
            name: path.file_name().unwrap_or_default().to_owned(),
            kind,
            size: if kind == FileKind::File { meta.len() } else { 0 },
            mtime_ns: i64::try_from(nanoseconds).ok(),
            mode: Some(u32::from(meta.mode()) & 0o7777),
            uid: Some(meta.uid()),
            gid: Some(meta.gid()),
            link_target,
        })
    }
}

/// The content of a file.
struct Content(ext4_view::File);

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_bytes(buffer).map_err(failed)
    }
}
