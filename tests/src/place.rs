//! A place for one test: a temporary folder with a home, a data folder, and the program run in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use domain::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::run::{Builder, Up};

/// Tells a program another time than the machine's. `$LIB` is filled in by the loader, for whatever machine this is.
const FAKETIME: &str = "/usr/$LIB/faketime/libfaketime.so.1";

/// A temporary folder in which the program is at home. It outlives the servers that are started in it.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
}

/// What a command said.
#[derive(Debug, Clone)]
pub struct Said {
    /// The command, for messages.
    pub command: String,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Place {
    /// A fresh one.
    ///
    /// # Panics
    /// When no temporary folder can be made.
    #[must_use]
    pub fn new() -> Place {
        let dir = tempfile::Builder::new().prefix("backstay-").tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("home")).expect("a home");
        Place { dir }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new folder in it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("a folder");
        path
    }

    /// The data folder of the servers in this place.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.path("backstay-data")
    }

    /// The program, at home here and blind to what surrounds the test. A folder `bin` of the place is where programs are
    /// looked for first.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BACKSTAY_")) {
            command.env_remove(name);
        }
        let mut paths = self.path("bin").into_os_string();
        paths.push(":");
        paths.push(std::env::var_os("PATH").unwrap_or_default());
        command
            .env("PATH", paths)
            .env("HOME", self.path("home"))
            .env("XDG_STATE_HOME", self.path("home/state"))
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("http_proxy")
            .env_remove("https_proxy")
            .current_dir(self.root())
            .stdin(Stdio::null());
        if self.clock().exists() {
            command
                .env("LD_PRELOAD", FAKETIME)
                .env("FAKETIME_TIMESTAMP_FILE", self.clock())
                .env("FAKETIME_NO_CACHE", "1")
                // Only the wall clock is set: what measures how long something takes goes on, and files keep their times.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("NO_FAKE_STAT", "1");
        }
        command
    }

    /// Sets the clock of this place so far ahead of the machine's, for what is started from now on and for what was started
    /// since the first time.
    ///
    /// # Panics
    /// When it cannot be written down.
    pub fn set_clock(&self, ahead: SignedDuration) {
        let new = self.path("clock.new");
        std::fs::write(&new, format!("{:+}\n", ahead.as_secs())).expect("a file");
        // In one step: it is read all the time.
        std::fs::rename(new, self.clock()).expect("a file in its place");
    }

    /// The time by the clock of this place.
    ///
    /// # Panics
    /// When its file holds something else.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let ahead = std::fs::read_to_string(self.clock()).map_or(0, |text| text.trim().parse().expect("seconds"));
        Timestamp::now() + SignedDuration::from_secs(ahead)
    }

    fn clock(&self) -> PathBuf {
        self.path("clock")
    }

    /// Runs `backstay` with these arguments to its end.
    pub fn cli<S: AsRef<OsStr>>(&self, args: &[S]) -> Said {
        let mut command = self.command(crate::program());
        command.args(args);
        said(&mut command)
    }

    /// Runs `curl` quietly with these arguments to its end.
    pub fn curl<S: AsRef<OsStr>>(&self, args: &[S]) -> Said {
        let mut command = self.command("curl");
        command.args(["--silent", "--show-error", "--max-time", "120"]).args(args);
        said(&mut command)
    }

    /// A server to start here.
    #[must_use]
    pub fn up(&self) -> Builder<'_> {
        Builder::new(self)
    }

    /// A server that runs here, with nothing protected.
    #[must_use]
    pub fn start(&self) -> Up<'_> {
        self.up().start()
    }
}

impl Default for Place {
    fn default() -> Place {
        Place::new()
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn said(command: &mut Command) -> Said {
    let text = format!("{command:?}");
    let output = command.output().unwrap_or_else(|e| panic!("cannot start {text}: {e}"));
    Said::of(text, &output)
}

impl Said {
    pub(crate) fn of(command: String, output: &Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { command, code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// The same if it succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    #[track_caller]
    pub fn good(self) -> Said {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }

    /// The same if it ended with this exit code.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    #[track_caller]
    pub fn failed(self, code: i32) -> Said {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// The JSON on standard output.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("no JSON ({e}): {self}"))
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\nended with {:?}\n--- out\n{}\n--- err\n{}", self.command, self.code, self.out, self.err)
    }
}
