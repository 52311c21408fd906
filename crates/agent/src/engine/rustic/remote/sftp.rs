//! Folders that `ssh` reaches. The system's own `ssh` logs in and starts the server's SFTP; this speaks its version 3 over
//! the pipe, as restic does. Keys, known hosts and everything else are those of `ssh` on this machine. Each call has a
//! connection to itself, so that the threads of a backup do not wait for each other.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::Store;
use super::pace::{Pace, Paces};

/// The version of the protocol that all servers speak.
const VERSION: u32 = 3;
/// How much is asked for or sent at once; servers take no more than 32 KiB for sure.
const PIECE: usize = 32 * 1024;
/// How many pieces are under way at once: a line with a long way is to be filled.
const UNDER_WAY: usize = 64;
/// The longest answer.
const MAX_PACKET: usize = 256 * 1024;
/// So many bytes of what `ssh` says are kept.
const KEPT_WORDS: u64 = 4096;

const INIT: u8 = 1;
const VERSION_ANSWER: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;

/// Open to read.
const FOR_READING: u32 = 0x01;
/// Open to write a file that must not be there.
const NEW_FOR_WRITING: u32 = 0x02 | 0x08 | 0x20;

/// A folder on another machine.
#[derive(Debug)]
pub(super) struct Sftp {
    place: String,
    host: String,
    port: Option<u16>,
    folder: String,
    /// Connections that nobody uses at the moment.
    idle: Mutex<Vec<Session>>,
    paces: Paces,
}

impl Sftp {
    pub(super) fn new(place: String, host: String, port: Option<u16>, folder: String, paces: Paces) -> Sftp {
        Sftp { place, host, port, folder, idle: Mutex::default(), paces }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder.trim_end_matches('/'))
    }

    /// Does something over a connection, which is used again unless it broke.
    fn with<T>(&self, work: impl FnOnce(&mut Session) -> io::Result<T>) -> io::Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut session = match idle {
            Some(session) => session,
            None => Session::start(&self.host, self.port)?,
        };
        let done = work(&mut session);
        let lost = done.as_ref().is_err_and(super::may_pass);
        if lost {
            return done.map_err(|error| session.explained(error));
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        done
    }
}

impl Store for Sftp {
    fn place(&self) -> &str {
        &self.place
    }

    fn prepare(&self) -> io::Result<()> {
        self.with(|session| {
            let mut folder = String::new();
            for part in self.folder.split('/') {
                folder.push_str(part);
                if !part.is_empty() {
                    session.make_folder(&folder)?;
                }
                folder.push('/');
            }
            for kind in ["data", "index", "keys", "locks", "snapshots"] {
                session.make_folder(&self.path(kind))?;
            }
            Ok(())
        })
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.with(|session| {
            let mut found = Vec::new();
            let mut folders = vec![self.path(folder)];
            while let Some(folder) = folders.pop() {
                for entry in session.list(&folder)? {
                    match entry.is_folder {
                        true => folders.push(format!("{folder}/{}", entry.name)),
                        false => found.push((entry.name, entry.size)),
                    }
                }
            }
            Ok(found)
        })
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        self.with(|session| session.size(&self.path(name)))
    }

    fn read(&self, name: &str, part: Option<(u32, u32)>) -> io::Result<Bytes> {
        let path = self.path(name);
        self.with(|session| {
            let (offset, length) = match part {
                Some((offset, length)) => (offset.into(), length.into()),
                None => (0, session.size(&path)?.ok_or(io::ErrorKind::NotFound)?),
            };
            session.read(&path, offset, length, &self.paces.down)
        })
    }

    fn create(&self, name: &str, content: Bytes) -> io::Result<()> {
        let path = self.path(name);
        let (folder, _) = path.rsplit_once('/').unwrap_or_default();
        // A name that no list takes for a file of the repository.
        let new = format!("{path}.{:016x}.new", unique()?);
        self.with(|session| {
            if let Err(error) = session.write(&new, &content, &self.paces.up) {
                if error.kind() != io::ErrorKind::NotFound {
                    return Err(error);
                }
                session.make_folder(folder)?;
                session.write(&new, &content, &self.paces.up)?;
            }
            // Where something is already, the server refuses it.
            let renamed = session.rename(&new, &path);
            if renamed.is_err() {
                let _ = session.remove(&new);
                if session.size(&path)?.is_some() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
            }
            renamed
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match self.with(|session| session.remove(&self.path(name))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

fn unique() -> io::Result<u64> {
    use aws_lc_rs::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| io::Error::other("the system gives no randomness"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Something in a folder.
struct Entry {
    name: String,
    size: u64,
    is_folder: bool,
}

/// A running `ssh` with SFTP at its other end.
#[derive(Debug)]
struct Session {
    process: Child,
    to: ChildStdin,
    from: ChildStdout,
    last: u32,
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Session {
    fn start(host: &str, port: Option<u16>) -> io::Result<Session> {
        let mut command = Command::new("ssh");
        // Nobody is there to be asked.
        command.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=30"]);
        if let Some(port) = port {
            command.args(["-p", &port.to_string()]);
        }
        command.args(["-s", "--", host, "sftp"]);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|error| {
                let what = match error.kind() {
                    io::ErrorKind::NotFound => "ssh is not installed on this machine, or not in the agent's PATH",
                    _ => "cannot start ssh",
                };
                io::Error::other(what)
            })?;
        let missing = || io::Error::other("ssh has no pipes");
        let to = process.stdin.take().ok_or_else(missing)?;
        let from = process.stdout.take().ok_or_else(missing)?;
        let mut session = Session { process, to, from, last: 0 };
        let greeted = session.send(INIT, &[&VERSION.to_be_bytes()]).and_then(|()| session.receive());
        match greeted {
            Ok((VERSION_ANSWER, _)) => Ok(session),
            Ok(_) => Err(io::Error::other("what answers is no SFTP server")),
            Err(error) => Err(session.explained(error)),
        }
    }

    /// Why a connection broke, in the words of `ssh`. It is over.
    fn explained(&mut self, error: io::Error) -> io::Error {
        let _ = self.process.kill();
        let mut words = String::new();
        if let Some(pipe) = self.process.stderr.take() {
            let _ = pipe.take(KEPT_WORDS).read_to_string(&mut words);
        }
        let last = words.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        let refused = ["Permission denied", "Host key verification failed", "Could not resolve"];
        match refused.iter().any(|refusal| last.contains(refusal)) {
            true => io::Error::new(io::ErrorKind::PermissionDenied, format!("ssh says: {last}")),
            false if last.is_empty() => io::Error::new(error.kind(), format!("the connection of ssh broke: {error}")),
            false => io::Error::new(error.kind(), format!("ssh says: {last}")),
        }
    }

    fn send(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
        let mut packet = Vec::with_capacity(4 + length);
        packet.extend(u32::try_from(length).map_err(io::Error::other)?.to_be_bytes());
        packet.push(kind);
        parts.iter().for_each(|part| packet.extend_from_slice(part));
        self.to.write_all(&packet)
    }

    fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length == 0 || length > MAX_PACKET {
            return Err(io::Error::other("what answers is no SFTP server"));
        }
        let mut packet = vec![0; length];
        self.from.read_exact(&mut packet)?;
        let kind = packet.remove(0);
        Ok((kind, packet))
    }

    /// Sends a request under a number of its own.
    fn request(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<u32> {
        self.last = self.last.wrapping_add(1);
        let id = self.last.to_be_bytes();
        let parts: Vec<&[u8]> = std::iter::once(id.as_slice()).chain(parts.iter().copied()).collect();
        self.send(kind, &parts)?;
        Ok(self.last)
    }

    /// The next answer: the request it is to, its kind and what is in it.
    fn answer(&mut self) -> io::Result<(u32, u8, Fields)> {
        let (kind, packet) = self.receive()?;
        let mut fields = Fields(packet.into());
        Ok((fields.number()?, kind, fields))
    }

    /// The answer to one request, when no other is under way.
    fn ask(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<(u8, Fields)> {
        let id = self.request(kind, parts)?;
        let (to, kind, fields) = self.answer()?;
        if to != id {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "an answer came to another question"));
        }
        Ok((kind, fields))
    }

    /// A request that is answered with a status.
    fn order(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        match self.ask(kind, parts)? {
            (STATUS, fields) => status(fields),
            _ => Err(odd()),
        }
    }

    fn make_folder(&mut self, path: &str) -> io::Result<()> {
        if self.size(path)?.is_some() {
            return Ok(());
        }
        match self.order(MKDIR, &[&text(path), &0_u32.to_be_bytes()]) {
            // Somebody else was quicker.
            Err(_) if self.size(path)?.is_some() => Ok(()),
            other => other,
        }
    }

    fn size(&mut self, path: &str) -> io::Result<Option<u64>> {
        match self.ask(STAT, &[&text(path)])? {
            (ATTRS, mut fields) => Ok(Some(fields.attributes()?.0)),
            (STATUS, fields) => match status(fields) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
                Ok(()) => Err(odd()),
            },
            _ => Err(odd()),
        }
    }

    fn remove(&mut self, path: &str) -> io::Result<()> {
        self.order(REMOVE, &[&text(path)])
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.order(RENAME, &[&text(from), &text(to)])
    }

    fn opened(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
        match self.ask(kind, parts)? {
            (HANDLE, mut fields) => Ok(text_of(&fields.text()?)),
            (STATUS, fields) => Err(status(fields).err().unwrap_or_else(odd)),
            _ => Err(odd()),
        }
    }

    fn list(&mut self, folder: &str) -> io::Result<Vec<Entry>> {
        let handle = match self.opened(OPENDIR, &[&text(folder)]) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut found = Vec::new();
        loop {
            match self.ask(READDIR, &[&handle])? {
                (NAME, mut fields) => {
                    for _ in 0..fields.number()? {
                        let name = String::from_utf8_lossy(&fields.text()?).into_owned();
                        fields.text()?;
                        let (size, mode) = fields.attributes()?;
                        let is_folder = mode & 0o170_000 == 0o040_000;
                        if name != "." && name != ".." {
                            found.push(Entry { name, size, is_folder });
                        }
                    }
                }
                (STATUS, fields) => {
                    let end = status(fields);
                    self.order(CLOSE, &[&handle])?;
                    return match end {
                        Err(error) if error.kind() == io::ErrorKind::WriteZero => Ok(found),
                        Err(error) => Err(error),
                        Ok(()) => Err(odd()),
                    };
                }
                _ => return Err(odd()),
            }
        }
    }

    /// `length` bytes of a file from `offset` on; fewer where it ends before.
    fn read(&mut self, path: &str, offset: u64, length: u64, pace: &Pace) -> io::Result<Bytes> {
        let handle = self.opened(OPEN, &[&text(path), &FOR_READING.to_be_bytes(), &0_u32.to_be_bytes()])?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut read = vec![0; length];
        let mut ends = length;
        // What is still to be asked for, and what is under way: number, place, length.
        let mut open: Vec<(usize, usize)> = (0..length).step_by(PIECE).map(|at| (at, PIECE.min(length - at))).collect();
        open.reverse();
        let mut under_way: Vec<(u32, usize, usize)> = Vec::new();
        let mut failed = None;
        while !open.is_empty() || !under_way.is_empty() {
            while under_way.len() < UNDER_WAY
                && let Some((at, wanted)) = open.pop()
            {
                pace.wait(wanted);
                let from = (offset + at as u64).to_be_bytes();
                let id =
                    self.request(READ, &[&handle, &from, &u32::try_from(wanted).unwrap_or(u32::MAX).to_be_bytes()])?;
                under_way.push((id, at, wanted));
            }
            let (to, kind, mut fields) = self.answer()?;
            let Some(known) = under_way.iter().position(|(id, ..)| *id == to) else { return Err(broken()) };
            let (_, at, wanted) = under_way.swap_remove(known);
            match kind {
                DATA => {
                    let data = fields.text()?;
                    if data.is_empty() || data.len() > wanted {
                        return Err(broken());
                    }
                    read[at..at + data.len()].copy_from_slice(&data);
                    if data.len() < wanted {
                        open.push((at + data.len(), wanted - data.len()));
                    }
                }
                STATUS => match status(fields) {
                    Err(error) if error.kind() == io::ErrorKind::WriteZero => ends = ends.min(at),
                    Err(error) => failed = Some(error),
                    Ok(()) => return Err(broken()),
                },
                _ => return Err(broken()),
            }
            if failed.is_some() {
                // What is under way is answered all the same.
                open.clear();
            }
        }
        self.order(CLOSE, &[&handle])?;
        read.truncate(ends);
        failed.map_or_else(|| Ok(read.into()), Err)
    }

    fn write(&mut self, path: &str, content: &[u8], pace: &Pace) -> io::Result<()> {
        let handle = self.opened(OPEN, &[&text(path), &NEW_FOR_WRITING.to_be_bytes(), &0_u32.to_be_bytes()])?;
        let mut under_way = 0;
        let mut failed = None;
        let mut pieces = content.chunks(PIECE);
        let mut at = 0_u64;
        loop {
            while under_way < UNDER_WAY
                && failed.is_none()
                && let Some(piece) = pieces.next()
            {
                pace.wait(piece.len());
                self.request(WRITE, &[&handle, &at.to_be_bytes(), &length_of(piece), piece])?;
                at += piece.len() as u64;
                under_way += 1;
            }
            if under_way == 0 {
                break;
            }
            let (_, kind, fields) = self.answer()?;
            under_way -= 1;
            match kind {
                STATUS => failed = failed.or(status(fields).err()),
                _ => return Err(broken()),
            }
        }
        let closed = self.order(CLOSE, &[&handle]);
        match failed {
            None => closed,
            Some(error) => {
                let _ = self.remove(path);
                Err(error)
            }
        }
    }
}

/// What is in an answer, from front to back.
struct Fields(Bytes);

impl Fields {
    fn take(&mut self, length: usize) -> io::Result<Bytes> {
        if length > self.0.len() {
            return Err(broken());
        }
        Ok(self.0.split_to(length))
    }

    fn number(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes(bytes.as_ref().try_into().map_err(io::Error::other)?))
    }

    fn text(&mut self) -> io::Result<Bytes> {
        let length = self.number()?;
        self.take(length as usize)
    }

    /// Size and mode out of attributes.
    fn attributes(&mut self) -> io::Result<(u64, u32)> {
        let flags = self.number()?;
        let size = if flags & 0x1 != 0 { (u64::from(self.number()?) << 32) | u64::from(self.number()?) } else { 0 };
        if flags & 0x2 != 0 {
            self.take(8)?;
        }
        let mode = if flags & 0x4 != 0 { self.number()? } else { 0 };
        if flags & 0x8 != 0 {
            self.take(8)?;
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Ok((size, mode))
    }
}

/// A text as the protocol writes it.
fn text(text: &str) -> Vec<u8> {
    text_of(text.as_bytes())
}

fn text_of(bytes: &[u8]) -> Vec<u8> {
    [length_of(bytes).as_slice(), bytes].concat()
}

fn length_of(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// What a status means; the end of a file or folder is `WriteZero`, which nothing else here is.
fn status(mut fields: Fields) -> io::Result<()> {
    let code = fields.number()?;
    let words = fields.text().map(|words| String::from_utf8_lossy(&words).into_owned()).unwrap_or_default();
    let (kind, told) = match code {
        0 => return Ok(()),
        1 => (io::ErrorKind::WriteZero, "the end was reached"),
        2 => (io::ErrorKind::NotFound, "there is no such file"),
        3 => (io::ErrorKind::PermissionDenied, "the server does not allow that here"),
        _ => return Err(io::Error::other(format!("the server says: {words}"))),
    };
    Err(io::Error::new(kind, told))
}

fn odd() -> io::Error {
    io::Error::other("the server gave an answer of another kind")
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the server gave an answer that makes no sense")
}
