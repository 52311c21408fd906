//! Streams: bytes that become the only file of a snapshot, whether they come from a block device, a disk image or from
//! elsewhere. They are counted and their digest is taken while they are read; where the source knows of holes, those cost
//! no reading.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use aws_lc_rs::digest::{Context, SHA256};
use nix::libc;

use crate::hex::hex;

use super::{
    EngineError, ErrorCode, RawPath,
    qcow::{self, QcowReader},
};

/// How much is read at a time.
const BUFFER: usize = 1 << 20;

/// Bytes to be stored as one file.
pub struct Stream {
    /// Under which absolute path the snapshot has them.
    pub path: PathBuf,
    /// How many come, if that is known. More or fewer fail the job; where it is not known, all are read twice.
    pub size: Option<u64>,
    /// When they were last modified.
    pub modified: Option<SystemTime>,
    /// Where they come from. It is read from another thread, once, from start to end.
    pub reader: Box<dyn Read + Send>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Stream {
    /// The bytes of a block device or of a regular file, stored under its path. Of an image in the format qcow2 it is what
    /// the disk in it holds, stored under the path with `.raw` behind it.
    ///
    /// # Errors
    /// `sourceMissing` where there is none, `invalidJob` for anything else than a device or file, `toolMissing` where qcow2
    /// cannot be read, and those of the system.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let (file, size) = open_volume(path)?;
        let is_file = file.metadata().is_ok_and(|meta| meta.is_file());
        if is_file && qcow::is_qcow2(path, &file)? {
            let modified = file.metadata().and_then(|meta| meta.modified()).ok();
            let reader = QcowReader::open(path)?;
            let mut path = path.as_os_str().to_owned();
            path.push(".raw");
            return Ok(Self { path: path.into(), size: Some(reader.size()), modified, reader: Box::new(reader) });
        }
        let modified = file.metadata().ok().filter(std::fs::Metadata::is_file).and_then(|meta| meta.modified().ok());
        Ok(Self {
            path: path.to_path_buf(),
            size: Some(size),
            modified,
            reader: Box::new(SparseReader::new(file, size)),
        })
    }
}

/// Open a block device or regular file, and say how many bytes it has. Links are followed: `/dev/disk/by-id/` is made of
/// them.
pub(super) fn open_volume(path: &Path) -> Result<(File, u64), EngineError> {
    let named = |error: EngineError| error.with("path", RawPath::from(path));
    // A pipe must not keep the job waiting for its other end.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut file = file.map_err(|error| {
        named(match error.kind() {
            io::ErrorKind::NotFound => {
                EngineError::new(ErrorCode::SourceMissing, "there is no such block device or disk image")
            }
            _ => EngineError::io("cannot read the volume", &error),
        })
    })?;
    let unreadable = |error: io::Error| named(EngineError::io("cannot read the volume", &error));
    let meta = file.metadata().map_err(unreadable)?;
    if meta.is_file() {
        return Ok((file, meta.size()));
    }
    if !meta.file_type().is_block_device() {
        let message = "a volume is read from a block device or from the file of a disk image, and this is neither";
        return Err(named(EngineError::new(ErrorCode::InvalidJob, message)));
    }
    let size = file.seek(SeekFrom::End(0)).map_err(unreadable)?;
    Ok((file, size))
}

/// Reads a file and knows where it has holes, which it does not read.
#[derive(Debug)]
pub(super) struct SparseReader {
    file: File,
    position: u64,
    size: u64,
    /// Until where what lies at the position goes on, and whether it is a hole.
    run: (u64, bool),
}

impl SparseReader {
    pub(super) fn new(file: File, size: u64) -> Self {
        Self { file, position: 0, size, run: (0, false) }
    }

    /// What lies at the position. A system or device that does not tell has no holes.
    fn look(&self) -> (u64, bool) {
        use rustix::{
            fs::{SeekFrom, seek},
            io::Errno,
        };
        match seek(&self.file, SeekFrom::Data(self.position)) {
            Ok(data) if data > self.position => (data.min(self.size), true),
            Ok(_) => {
                let hole = seek(&self.file, SeekFrom::Hole(self.position)).unwrap_or(self.size);
                // One that claims to be here, where data is, would be looked at for ever.
                (if hole > self.position { hole.min(self.size) } else { self.size }, false)
            }
            // Nothing but a hole is left.
            Err(Errno::NXIO) => (self.size, true),
            Err(_) => (self.size, false),
        }
    }
}

impl Read for SparseReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size {
            return Ok(0);
        }
        if self.position >= self.run.0 {
            self.run = self.look();
        }
        let (end, hole) = self.run;
        let wanted = buffer.len().min(usize::try_from(end - self.position).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..wanted];
        let read = if hole {
            buffer.fill(0);
            wanted
        } else {
            self.file.read_at(buffer, self.position)?
        };
        self.position += read as u64;
        Ok(read)
    }
}

/// What became of a stream, shared with the one who waits for its end.
#[derive(Debug, Default)]
pub(super) struct Fate(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    /// It is being read.
    #[default]
    Open,
    /// It was read to its end.
    Read(Whole),
    /// It broke off.
    Failed(EngineError),
}

/// A stream that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    /// How many bytes came.
    pub(super) bytes: u64,
    /// Their SHA-256, in hexadecimal digits.
    pub(super) sha256: String,
}

impl Fate {
    /// The end of the stream; an error if it broke off or was not read to its end.
    pub(super) fn end(&self) -> Result<Whole, EngineError> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open => Err(EngineError::new(ErrorCode::Internal, "the stream was not read to its end")),
            State::Read(whole) => Ok(whole.clone()),
            State::Failed(error) => Err(error.clone()),
        }
    }

    fn settle(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// Reads a stream with large steps, counts it and takes its digest. What is promised must come.
pub(super) struct StreamReader {
    stream: Stream,
    fate: Arc<Fate>,
    ended: Box<dyn Fn() + Send>,
    given_up: Box<dyn Fn() -> bool + Send>,
    buffer: Vec<u8>,
    /// What of the buffer was not handed out yet.
    ready: std::ops::Range<usize>,
    read: u64,
    digest: Context,
    done: bool,
}

impl StreamReader {
    /// `ended` is called when all was read; where `given_up` says so, nobody needs the rest any more.
    pub(super) fn new(
        stream: Stream,
        fate: Arc<Fate>,
        ended: impl Fn() + Send + 'static,
        given_up: impl Fn() -> bool + Send + 'static,
    ) -> Self {
        Self {
            stream,
            fate,
            ended: Box::new(ended),
            given_up: Box::new(given_up),
            buffer: vec![0; BUFFER],
            ready: 0..0,
            read: 0,
            digest: Context::new(&SHA256),
            done: false,
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if (self.given_up)() {
            return Err(io::Error::other("nothing can be written any more"));
        }
        let read = loop {
            match self.stream.reader.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let read = read.map_err(|error| {
            // What came whole and is not what was wanted says so itself.
            let told = error.get_ref().and_then(|inner| inner.downcast_ref::<EngineError>()).cloned();
            let told = told.unwrap_or_else(|| EngineError::io("the stream broke off", &error));
            self.broken(told, error)
        })?;
        self.read += read as u64;
        let other_size = |this: &Self, what: &str| {
            let message =
                format!("the stream {what} the {} bytes it should have", this.stream.size.unwrap_or_default());
            this.broken(EngineError::new(ErrorCode::Io, message.clone()), io::Error::other(message))
        };
        match self.stream.size {
            Some(size) if self.read > size => return Err(other_size(self, "is longer than")),
            Some(size) if read == 0 && self.read < size => return Err(other_size(self, "ended before")),
            _ => {}
        }
        self.digest.update(&self.buffer[..read]);
        self.ready = 0..read;
        if read == 0 {
            self.done = true;
            let sha256 = hex(self.digest.clone().finish().as_ref());
            self.fate.settle(State::Read(Whole { bytes: self.read, sha256 }));
            (self.ended)();
        }
        Ok(())
    }

    /// Keeps the reason: the one who stores the stream only logs it.
    fn broken(&self, error: EngineError, io: io::Error) -> io::Error {
        self.fate.settle(State::Failed(error.with("path", RawPath::from(self.stream.path.as_path()))));
        io
    }
}

impl Read for StreamReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() && !self.done {
            self.fill()?;
        }
        let taken = buffer.len().min(self.ready.len());
        buffer[..taken].copy_from_slice(&self.buffer[self.ready.start..self.ready.start + taken]);
        self.ready.start += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(size: Option<u64>, reader: impl Read + Send + 'static) -> Result<Whole, EngineError> {
        let stream = Stream { path: "/stream".into(), size, modified: None, reader: Box::new(reader) };
        let fate = Arc::new(Fate::default());
        let _ = io::copy(&mut StreamReader::new(stream, Arc::clone(&fate), || {}, || false), &mut io::sink());
        fate.end()
    }

    #[test]
    fn what_was_promised_must_come() {
        let whole = read(Some(3), &b"abc"[..]).expect("whole");
        assert_eq!(whole.bytes, 3);
        // The example of FIPS 180-2.
        assert_eq!(whole.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(read(None, &b"abc"[..]), Ok(whole));
        let message = |size| read(Some(size), &b"abc"[..]).expect_err("an error").message;
        assert_eq!(message(2), "the stream is longer than the 2 bytes it should have");
        assert_eq!(message(4), "the stream ended before the 4 bytes it should have");
    }

    #[test]
    fn a_stream_that_breaks_off_says_why() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("sector 7 is unreadable"))
            }
        }
        let error = read(None, (&b"abc"[..]).chain(Broken)).expect_err("an error");
        assert_eq!(error.message, "the stream broke off: sector 7 is unreadable");
    }

    #[test]
    fn holes_are_seen_where_they_are() {
        let file = tempfile::tempfile().expect("a temporary file");
        let size = 8 << 20;
        file.set_len(size).expect("a length");
        for at in [0, 3 << 20, (5 << 20) + 123] {
            file.write_all_at(b"data", at).expect("written");
        }
        let mut plain = vec![0; usize::try_from(size).expect("fits")];
        file.read_exact_at(&mut plain, 0).expect("readable");
        let mut sparse = Vec::new();
        SparseReader::new(file.try_clone().expect("a handle"), size).read_to_end(&mut sparse).expect("readable");
        assert!(plain == sparse);
        let reader = SparseReader { position: 6 << 20, ..SparseReader::new(file, size) };
        // File systems that know no holes have only data.
        assert!(matches!(reader.look(), (end, _) if end == size));
    }
}
