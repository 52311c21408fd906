//! Remotes of rclone: the system's own `rclone` serves one to this process alone, in restic's REST protocol. What opens the
//! remote is in rclone's configuration on this machine.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use bytes::Bytes;

use super::Store;
use super::pace::Paces;
use super::rest::Rest;
use crate::engine::{EngineError, ErrorCode};
use crate::hex::hex;

/// What rclone says before the address it serves at.
const SERVING: &str = "Serving restic REST API on ";
/// How long it may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(60);
/// So many lines of what rclone said last are kept for when something fails.
const KEPT_LINES: usize = 5;

/// An `rclone` that ends with this value.
pub(super) struct Rclone {
    rest: Rest,
    process: Child,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl std::fmt::Debug for Rclone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rclone").field("rest", &self.rest).finish_non_exhaustive()
    }
}

impl Rclone {
    /// Starts `rclone` on a folder of a remote, and waits until it serves.
    pub(super) fn start(
        place: String,
        remote: &str,
        path: &str,
        secrets: &BTreeMap<String, String>,
        paces: Paces,
    ) -> Result<Rclone, EngineError> {
        let failed = |code, message: String| EngineError::new(code, message).with("repository", &place);
        let (name, password) = (random(), random());
        let process = Command::new("rclone")
            .args(["serve", "restic", "--addr", "127.0.0.1:0", &format!("{remote}:{path}")])
            // In the environment, which others cannot read; a command line they can.
            .envs(secrets)
            .env("RCLONE_USER", &name)
            .env("RCLONE_PASS", &password)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = process.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let message = "rclone is not installed on this machine, or not in the agent's PATH";
                failed(ErrorCode::ToolMissing, message.to_owned())
            }
            _ => failed(ErrorCode::Io, format!("cannot start rclone: {error}")),
        })?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let (found, address) = mpsc::channel();
        let (words, lines) = (Arc::clone(&said), process.stderr.take().map(|pipe| BufReader::new(pipe).lines()));
        // It ends when rclone does, and rclone would stop if nobody read what it says.
        std::thread::spawn(move || {
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                match line.split_once(SERVING) {
                    // Nobody listens any more if it came too late.
                    Some((_, address)) => drop(found.send(address.trim().trim_matches(['[', ']']).to_owned())),
                    None => keep(&words, line),
                }
            }
        });
        let address = match address.recv_timeout(START_LIMIT) {
            Ok(address) => address,
            Err(why) => {
                end(&mut process);
                let last = said.lock().unwrap_or_else(PoisonError::into_inner).back().cloned().unwrap_or_default();
                let what = match why {
                    RecvTimeoutError::Disconnected => "ended before it served the remote",
                    RecvTimeoutError::Timeout => "did not serve the remote within a minute",
                };
                return Err(failed(ErrorCode::Io, format!("rclone {what}: {last}")));
            }
        };
        let account = [("RESTIC_REST_USERNAME".to_owned(), name), ("RESTIC_REST_PASSWORD".to_owned(), password)];
        let address = format!("{}/", address.trim_end_matches('/'));
        match Rest::new(place.clone(), &address, &account.into(), paces) {
            Ok(rest) => Ok(Rclone { rest, process, said }),
            Err(error) => {
                end(&mut process);
                Err(error)
            }
        }
    }

    /// A failure with what rclone said about it, which the server's answer leaves out.
    fn explained<T>(&self, answer: io::Result<T>) -> io::Result<T> {
        answer.map_err(|error| {
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let last = said.iter().rev().find(|line| line.contains("ERROR") || line.contains("CRITICAL"));
            match last {
                Some(last) => io::Error::new(error.kind(), format!("{error}; rclone says: {last}")),
                None => error,
            }
        })
    }
}

impl Drop for Rclone {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    // One that has ended already cannot be ended again.
    let _ = process.kill();
    let _ = process.wait();
}

fn keep(said: &Mutex<VecDeque<String>>, line: String) {
    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
    said.push_back(line);
    if said.len() > KEPT_LINES {
        said.pop_front();
    }
}

/// 128 bits that nobody guesses.
fn random() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives randomness");
    hex(&bytes)
}

impl Store for Rclone {
    fn place(&self) -> &str {
        self.rest.place()
    }

    fn prepare(&self) -> io::Result<()> {
        self.explained(self.rest.prepare())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.explained(self.rest.list(folder))
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        self.explained(self.rest.size(name))
    }

    fn read(&self, name: &str, part: Option<(u32, u32)>) -> io::Result<Bytes> {
        self.explained(self.rest.read(name, part))
    }

    fn create(&self, name: &str, content: Bytes) -> io::Result<()> {
        self.explained(self.rest.create(name, content))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.explained(self.rest.remove(name))
    }

    fn spreads_data(&self) -> bool {
        self.rest.spreads_data()
    }
}
