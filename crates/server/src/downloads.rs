//! The folder with files that agents handed over to be fetched: one file each, under the id of its record. What is there
//! under that name arrived as a whole and is durable; what arrives has another name until then.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use domain::{Code, Error, Result, Uuid};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncWriteExt, BufWriter};

/// How many bytes all files together may take, unless it is set: 10 GiB.
pub const LIMIT: u64 = 10 << 30;
/// How much of the disk stays free for everything else.
const RESERVE: u64 = 256 << 20;
/// What the names of files end with that are not whole.
const PART: &str = "part";

/// See the module.
#[derive(Debug)]
pub struct Downloads {
    folder: PathBuf,
    limit: u64,
    /// What is arriving, with the bytes that are kept free for it.
    arriving: Arc<Mutex<HashMap<Uuid, u64>>>,
}

impl Downloads {
    /// The files in this folder, which is made if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn in_folder(folder: PathBuf, limit: u64) -> io::Result<Downloads> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Downloads { folder, limit, arriving: Arc::default() })
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.folder.join(id.to_string())
    }

    /// Makes room for a file of this size.
    ///
    /// # Errors
    /// `storage_full` when it does not fit into what is allowed or what the disk has; `state_conflict` while the same one
    /// is arriving already.
    pub async fn begin(&self, id: Uuid, size: u64) -> Result<Incoming> {
        let there: u64 = self.all().await?.into_iter().filter(|file| file.id != id).map(|file| file.size).sum();
        let free = free(&self.folder).map_err(|e| failed("the free space of the disk cannot be found out", &e))?;
        {
            let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
            let coming: u64 = arriving.values().sum();
            if arriving.contains_key(&id) {
                return Err(Error::new(Code::Unavailable, "the file is being handed over already"));
            }
            if there.saturating_add(coming).saturating_add(size) > self.limit {
                let message = format!(
                    "a file of {size} bytes does not fit: files to be fetched may take {} bytes, and {} are taken",
                    self.limit,
                    there + coming
                );
                return Err(Error::new(Code::StorageFull, message)
                    .hint("choose fewer files, wait until others expire, or let the server keep more"));
            }
            if coming.saturating_add(size).saturating_add(RESERVE) > free {
                let message =
                    format!("a file of {size} bytes does not fit on the server's disk, of which {free} are free");
                return Err(
                    Error::new(Code::StorageFull, message).hint("choose fewer files, or make room on the server")
                );
            }
            arriving.insert(id, size);
        }
        let place = Reserved { id, arriving: self.arriving.clone() };
        let part = self.path(id).with_extension(PART);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part).await;
        let file = file.map_err(|e| failed("the file cannot be made", &e))?;
        let (folder, path) = (self.folder.clone(), self.path(id));
        Ok(Incoming { file: BufWriter::new(file), part, path, folder, size, arrived: 0, _place: place })
    }

    /// The bytes of a file, if it is there as a whole.
    pub async fn size(&self, id: Uuid) -> Option<u64> {
        fs::metadata(self.path(id)).await.ok().map(|meta| meta.len())
    }

    /// A file, to be read.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn open(&self, id: Uuid) -> Result<File> {
        File::open(self.path(id)).await.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::not_found("restored file", id),
            _ => failed("the file cannot be read", &e),
        })
    }

    /// Removes a file, also a part of one that nobody is writing.
    ///
    /// # Errors
    /// `unavailable` when it cannot be removed.
    pub async fn remove(&self, id: Uuid) -> Result<()> {
        let busy = self.arriving.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id);
        let part = (!busy).then(|| self.path(id).with_extension(PART));
        for path in [self.path(id)].into_iter().chain(part) {
            match fs::remove_file(&path).await {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("the file cannot be removed", &e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// What lies there, also parts.
    ///
    /// # Errors
    /// `unavailable` when the folder cannot be read.
    pub async fn all(&self) -> Result<Vec<Lying>> {
        let unreadable = |e| failed("the folder of files to be fetched cannot be read", &e);
        let mut entries = fs::read_dir(&self.folder).await.map_err(unreadable)?;
        let mut found: Vec<Lying> = Vec::new();
        while let Some(entry) = entries.next_entry().await.map_err(unreadable)? {
            let path = entry.path();
            let id = path.file_stem().and_then(|stem| Uuid::parse_str(stem.to_str()?).ok());
            // One that vanishes meanwhile takes no room.
            let size = entry.metadata().await.map_or(0, |meta| meta.len());
            let arriving = |id| self.arriving.lock().unwrap_or_else(PoisonError::into_inner).contains_key(id);
            // What arrives is counted with all that it will take.
            let counted = path.extension().is_none_or(|end| end != PART) || id.as_ref().is_some_and(|id| !arriving(id));
            found.extend(id.filter(|_| counted).map(|id| Lying { id, size }));
        }
        Ok(found)
    }
}

/// A file in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lying {
    /// Whose.
    pub id: Uuid,
    /// Its bytes.
    pub size: u64,
}

/// Room that is kept for a file; given back when it is dropped.
#[derive(Debug)]
struct Reserved {
    id: Uuid,
    arriving: Arc<Mutex<HashMap<Uuid, u64>>>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// A file that is arriving. Dropped, it never arrived.
#[derive(Debug)]
pub struct Incoming {
    file: BufWriter<File>,
    part: PathBuf,
    path: PathBuf,
    folder: PathBuf,
    size: u64,
    arrived: u64,
    _place: Reserved,
}

impl Incoming {
    /// Takes what comes next.
    ///
    /// # Errors
    /// `invalid_field` when it is more than was announced, `storage_full`, `unavailable`.
    pub async fn write(&mut self, data: &[u8]) -> Result<()> {
        self.arrived += data.len() as u64;
        if self.arrived > self.size {
            return Err(Error::invalid(
                "data",
                format!("more than the {} bytes that were announced arrived", self.size),
            ));
        }
        self.file.write_all(data).await.map_err(|e| failed("the file cannot be written", &e))
    }

    /// Makes the file durable under its name.
    ///
    /// # Errors
    /// `invalid_field` when it is less than was announced, `storage_full`, `unavailable`.
    pub async fn finish(mut self) -> Result<u64> {
        if self.arrived != self.size {
            let (arrived, size) = (self.arrived, self.size);
            return Err(Error::invalid("data", format!("only {arrived} of the {size} announced bytes arrived")));
        }
        let unwritable = |e| failed("the file cannot be written", &e);
        self.file.flush().await.map_err(unwritable)?;
        self.file.get_ref().sync_all().await.map_err(unwritable)?;
        fs::rename(&self.part, &self.path).await.map_err(unwritable)?;
        let folder = File::open(&self.folder).await.map_err(unwritable)?;
        folder.sync_all().await.map_err(unwritable)?;
        Ok(self.size)
    }
}

fn free(folder: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(folder)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

fn failed(what: &str, error: &io::Error) -> Error {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let code = if full { Code::StorageFull } else { Code::Unavailable };
    Error::new(code, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn arrive(downloads: &Downloads, id: Uuid, data: &[u8]) -> Result<u64> {
        let mut incoming = downloads.begin(id, data.len() as u64).await?;
        incoming.write(data).await?;
        incoming.finish().await
    }

    #[tokio::test]
    async fn only_what_is_whole_is_there() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let downloads = Downloads::in_folder(dir.path().join("downloads"), 100).expect("it can be made");
        let id = Uuid::from_u128(1);
        let mut half = downloads.begin(id, 8).await?;
        half.write(b"1234").await?;
        assert_eq!(half.finish().await.map_err(|e| e.code), Err(Code::InvalidField));
        assert_eq!(downloads.size(id).await, None);
        let mut much = downloads.begin(id, 2).await?;
        assert_eq!(much.write(b"123").await.map_err(|e| e.code), Err(Code::InvalidField));
        drop(much);
        assert_eq!(arrive(&downloads, id, b"12345").await, Ok(5));
        assert_eq!(downloads.size(id).await, Some(5));
        // Once more, after a lost answer.
        assert_eq!(arrive(&downloads, id, b"12345").await, Ok(5));
        downloads.remove(id).await?;
        downloads.remove(id).await?;
        assert_eq!(downloads.all().await, Ok(Vec::new()));
        Ok(())
    }

    #[tokio::test]
    async fn what_arrives_counts_from_its_beginning() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let downloads = Downloads::in_folder(dir.path().to_owned(), 10).expect("it can be made");
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let code = |begun: Result<Incoming>| begun.map(drop).map_err(|e| e.code);
        assert_eq!(code(downloads.begin(one, 11).await), Err(Code::StorageFull));
        let first = downloads.begin(one, 6).await?;
        assert_eq!(code(downloads.begin(one, 6).await), Err(Code::Unavailable), "it is arriving");
        assert_eq!(code(downloads.begin(two, 5).await), Err(Code::StorageFull));
        drop(first);
        arrive(&downloads, one, b"123456").await?;
        assert_eq!(code(downloads.begin(two, 5).await), Err(Code::StorageFull));
        assert_eq!(code(downloads.begin(two, 4).await), Ok(()));
        // The same one takes the place of what was there.
        assert_eq!(code(downloads.begin(one, 10).await), Ok(()));
        let more_than_any_disk = Downloads::in_folder(dir.path().to_owned(), u64::MAX).expect("it can be made");
        assert_eq!(code(more_than_any_disk.begin(two, u64::MAX / 2).await), Err(Code::StorageFull));
        Ok(())
    }
}
