//! Disk images in the format qcow2: `qemu-nbd` serves what the disk holds, over a socket, and it is read from there as it is
//! stored. So nothing is unpacked to a file first, which would need as much room as the disk has, and a chain of images is
//! read as the machine sees it. The program comes with QEMU; formats are its trade and not ours.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::unix::{
        fs::{DirBuilderExt, FileExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{EngineError, ErrorCode, RawPath};

/// What such an image begins with.
const MAGIC: [u8; 4] = *b"QFI\xfb";

/// The bit for data in a file beside the image.
const EXTERNAL_DATA: u64 = 1 << 2;

/// The program.
const SERVER: &str = "qemu-nbd";

/// How long the program may take until it serves.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much is asked for at a time.
const REQUEST: u32 = 1 << 20;

/// Words and numbers of the protocol.
mod nbd {
    pub(super) const GREETING: &[u8; 16] = b"NBDMAGICIHAVEOPT";
    pub(super) const OPTION: &[u8; 8] = b"IHAVEOPT";
    pub(super) const EXPORT_NAME: u32 = 1;
    /// Both sides speak the newer style, and leave out the zeros at the end of the greeting.
    pub(super) const FIXED_NO_ZEROES: u32 = 0b11;
    pub(super) const REQUEST: u32 = 0x2560_9513;
    pub(super) const REPLY: u32 = 0x6744_6698;
    pub(super) const READ: u16 = 0;
    pub(super) const DISCONNECT: u16 = 2;
}

/// Whether a file is such an image.
///
/// A disk that a machine writes to can begin with whatever the machine likes, also with the words of an image that refers to
/// other files of the host. So one that refers to others has to be named as what it is.
pub(super) fn is_qcow2(path: &Path, file: &File) -> Result<bool, EngineError> {
    let mut header = [0; 80];
    let read = file.read_at(&mut header, 0).map_err(|error| EngineError::io("cannot read the volume", &error))?;
    if read < header.len() || header[..4] != MAGIC {
        return Ok(false);
    }
    let number = |at: usize| header[at..at + 8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let version_3 = header[7] >= 3;
    let refers = number(8) != 0 || (version_3 && number(72) & EXTERNAL_DATA != 0);
    let named = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("qcow2"));
    if refers && !named {
        let message = "the file begins like an image in the format qcow2 that rests on another file; if that is what it is, \
                       its name must end in .qcow2";
        return Err(EngineError::new(ErrorCode::InvalidJob, message).with("path", RawPath::from(path)));
    }
    Ok(true)
}

/// What the disk in an image holds, from start to end.
#[derive(Debug)]
pub(super) struct QcowReader {
    server: Child,
    socket: UnixStream,
    size: u64,
    position: u64,
    /// What was read and not handed out yet.
    ready: Vec<u8>,
    taken: usize,
}

impl QcowReader {
    /// Have the image served and connect to it.
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let named = |error: EngineError| error.with("path", RawPath::from(path));
        let folder =
            Folder::new().map_err(|error| named(EngineError::io("cannot make a place for a socket", &error)))?;
        let place = folder.0.join("nbd");
        let server = Command::new(SERVER)
            .args(["--read-only", "--format=qcow2", "--shared=1", "--socket"])
            .arg(&place)
            .arg("--")
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut server = server.map_err(|error| {
            named(if error.kind() == io::ErrorKind::NotFound {
                let message = "the image is in the format qcow2, which the program qemu-nbd reads, and that is not \
                               installed; it is in the package qemu-utils (Debian, Ubuntu) or qemu-img (Fedora, SUSE)";
                EngineError::new(ErrorCode::ToolMissing, message)
            } else {
                EngineError::io("cannot start qemu-nbd", &error)
            })
        })?;
        let connected =
            connect(&mut server, &place).and_then(|mut socket| greet(&mut socket).map(|size| (socket, size)));
        match connected {
            Ok((socket, size)) => Ok(Self { server, socket, size, position: 0, ready: Vec::new(), taken: 0 }),
            Err(error) => {
                let _ = server.kill();
                let _ = server.wait();
                Err(named(EngineError::io("qemu-nbd does not serve the image", &error)))
            }
        }
    }

    /// How many bytes the disk has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    fn request(&mut self, kind: u16, length: u32) -> io::Result<()> {
        let mut request = Vec::with_capacity(28);
        request.extend_from_slice(&nbd::REQUEST.to_be_bytes());
        request.extend_from_slice(&0u16.to_be_bytes());
        request.extend_from_slice(&kind.to_be_bytes());
        // One at a time: the position tells them apart.
        request.extend_from_slice(&self.position.to_be_bytes());
        request.extend_from_slice(&self.position.to_be_bytes());
        request.extend_from_slice(&length.to_be_bytes());
        self.socket.write_all(&request)
    }
}

impl Read for QcowReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.ready.len() {
            let left = self.size - self.position;
            if left == 0 {
                return Ok(0);
            }
            let length = u32::try_from(left).unwrap_or(REQUEST).min(REQUEST);
            self.request(nbd::READ, length)?;
            let [magic, error] = [u32_of(&mut self.socket)?, u32_of(&mut self.socket)?];
            let handle = u64_of(&mut self.socket)?;
            if magic != nbd::REPLY || handle != self.position {
                return Err(io::Error::other("qemu-nbd does not answer as it should"));
            }
            if error != 0 {
                return Err(io::Error::from_raw_os_error(i32::try_from(error).unwrap_or(nix::libc::EIO)));
            }
            self.ready.resize(length as usize, 0);
            self.socket.read_exact(&mut self.ready)?;
            self.taken = 0;
            self.position += u64::from(length);
        }
        let ready = &self.ready[self.taken..];
        let read = ready.len().min(buffer.len());
        buffer[..read].copy_from_slice(&ready[..read]);
        self.taken += read;
        Ok(read)
    }
}

impl Drop for QcowReader {
    fn drop(&mut self) {
        // It ends when its only reader has left; also when that was killed.
        let _ = self.request(nbd::DISCONNECT, 0);
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Wait until the program serves.
#[expect(clippy::disallowed_methods, reason = "the program says nothing when its socket is there")]
fn connect(server: &mut Child, place: &Path) -> io::Result<UnixStream> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(place) {
            Ok(socket) => return Ok(socket),
            Err(error) if start.elapsed() > PATIENCE => return Err(error),
            Err(_) => {}
        }
        if server.try_wait()?.is_some() {
            let mut words = String::new();
            if let Some(said) = &mut server.stderr {
                said.take(4096).read_to_string(&mut words)?;
            }
            return Err(io::Error::other(words.trim().to_owned()));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Say hello and learn how large the disk is.
fn greet(socket: &mut UnixStream) -> io::Result<u64> {
    let mut greeting = [0; 18];
    socket.read_exact(&mut greeting)?;
    if greeting[..16] != *nbd::GREETING {
        return Err(io::Error::other("it does not speak the protocol NBD"));
    }
    socket.write_all(&nbd::FIXED_NO_ZEROES.to_be_bytes())?;
    socket.write_all(nbd::OPTION)?;
    socket.write_all(&nbd::EXPORT_NAME.to_be_bytes())?;
    socket.write_all(&0u32.to_be_bytes())?;
    let size = u64_of(socket)?;
    let mut flags = [0; 2];
    socket.read_exact(&mut flags)?;
    Ok(size)
}

fn u32_of(socket: &mut UnixStream) -> io::Result<u32> {
    let mut bytes = [0; 4];
    socket.read_exact(&mut bytes)?;
    Ok(u32::from_be_bytes(bytes))
}

fn u64_of(socket: &mut UnixStream) -> io::Result<u64> {
    let mut bytes = [0; 8];
    socket.read_exact(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes))
}

/// A folder for a socket that nobody else can reach. It is gone as soon as there is a connection.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("backstay-{}", Uuid::new_v4().simple()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
