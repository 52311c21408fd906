//! One job, one process. The parent writes the job as one line of JSON to the child's standard input
//! (secrets never stand in arguments or environment) and keeps that pipe open for as long as it wants
//! the job done; the child answers with one JSON event a line on standard output. When the parent is gone,
//! however it died, the pipe closes and the child ends itself. A child that dies is an error of its task.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{self, BufRead, Read, Write},
    os::unix::process::ExitStatusExt,
    panic,
    path::{Path, PathBuf},
    process::{self, ExitCode, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use nix::{
    libc,
    sys::signal::{Signal, killpg},
    unistd::{Pid, getpgrp, getpid},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{ChildStderr, ChildStdin, ChildStdout, Command},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::engine::{EngineError, ErrorCode, Event, Outcome, Reporter, Request};

/// Within this time [`Child::stop`] returns, whatever the child does.
pub const STOP_LIMIT: Duration = Duration::from_secs(5);

/// So many of the first lines and so many of the last lines that a child wrote to standard error are
/// quoted when it crashes: a panic says first what happened and then, at length, where.
const QUOTED_LINES: usize = 10;

/// A line of standard error longer than this is cut: it is quoted in reports.
const MAX_WORDS: usize = 2000;

/// What Rust's runtime says before it gives up because no memory is left.
const OUT_OF_MEMORY: &str = "memory allocation of ";

/// What it says in the same place of the stack of a thread.
const OUT_OF_STACK: &str = " has overflowed its stack";

/// How to start a child: a program that ends up in [`run_job_main`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

impl Program {
    /// The `backstay` program at `path`.
    pub fn backstay(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), args: vec!["run-job".into()] }
    }
}

impl From<&Path> for Program {
    fn from(path: &Path) -> Self {
        Self::backstay(path)
    }
}

/// A running job. Dropping it kills the child with all that it has started.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    /// Closing this ends the child.
    stdin: Option<ChildStdin>,
    events: Lines<BufReader<ChildStdout>>,
    last_words: Arc<Mutex<Words>>,
    listener: Option<JoinHandle<()>>,
    /// The last event, read but not handed out yet.
    last: Option<Event>,
    ended: bool,
}

impl Child {
    /// Start a child on `request`.
    ///
    /// # Errors
    ///
    /// Those of [`Child::wait_for_job`] and [`Child::begin`].
    pub async fn spawn(program: &Program, request: &Request) -> io::Result<Self> {
        let mut child = Self::wait_for_job(program)?;
        child.begin(request).await?;
        Ok(child)
    }

    /// Start a child that does nothing before [`Child::begin`], so that it can be noted down first who will.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn wait_for_job(program: &Program) -> io::Result<Self> {
        let mut process = Command::new(&program.path)
            .args(&program.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Where memory runs out while Rust's runtime writes a backtrace of that, it waits for itself for ever.
            .env("RUST_BACKTRACE", "0")
            // Ctrl-C at a terminal goes to the whole group of processes. It is meant for the parent, who decides what
            // becomes of the job.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("the child has no pipes");
        let stdin = process.stdin.take().ok_or_else(missing)?;
        let stdout = process.stdout.take().ok_or_else(missing)?;
        let stderr = process.stderr.take().ok_or_else(missing)?;

        let last_words = Arc::new(Mutex::new(Words::default()));
        let listener = tokio::spawn(listen(stderr, Arc::clone(&last_words)));
        Ok(Self {
            process,
            stdin: Some(stdin),
            events: BufReader::new(stdout).lines(),
            last_words,
            listener: Some(listener),
            last: None,
            ended: false,
        })
    }

    /// Tell the child what to do.
    ///
    /// # Errors
    ///
    /// When that cannot be written. A child that dies before it read the request is not an error here:
    /// [`Child::next_event`] tells.
    pub async fn begin(&mut self, request: &Request) -> io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let Some(stdin) = &mut self.stdin else { return Ok(()) };
        let written = match stdin.write_all(&line).await {
            Ok(()) => stdin.flush().await,
            Err(error) => Err(error),
        };
        // A child that died at once breaks the pipe; its status says more than that.
        written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
    }

    /// The child's process id, while it lives.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The next event; `None` after [`Event::Ended`]. If the child dies without a result, that is an
    /// [`Event::Ended`] with the code `engineCrashed`.
    ///
    /// Cancel safe: no event is lost when the future is dropped.
    pub async fn next_event(&mut self) -> Option<Event> {
        while !self.ended {
            // `last` is kept in the handle until it is handed out: everything awaited here may be
            // dropped half-way and is taken up again by the next call.
            if self.last.is_some() {
                self.reap().await;
                self.ended = true;
                return self.last.take();
            }
            match self.events.next_line().await {
                Ok(Some(line)) => match serde_json::from_str::<Event>(&line) {
                    Ok(event @ Event::Ended { .. }) => self.last = Some(event),
                    Ok(event) => return Some(event),
                    // Something in the child printed what is not an event. It may explain a crash.
                    Err(_) => remember(&self.last_words, line),
                },
                Ok(None) | Err(_) => {
                    // What it says ends with it, and its status is settled by then.
                    self.kill_group();
                    let status = self.process.wait().await;
                    if let Some(listener) = &mut self.listener {
                        // Ends with the pipe, so the last words are complete.
                        let _ = listener.await;
                        self.listener = None;
                    }
                    self.last = Some(Event::Ended { warnings: 0, outcome: Box::new(Err(self.crash(status))) });
                }
            }
        }
        None
    }

    /// Skip to the end and return what came of the job.
    pub async fn outcome(&mut self) -> Outcome {
        while let Some(event) = self.next_event().await {
            if let Event::Ended { outcome, .. } = event {
                return *outcome;
            }
        }
        Err(EngineError::new(ErrorCode::Internal, "the outcome was taken before"))
    }

    /// End the job: ask politely, and after `grace` without asking. Returns within [`STOP_LIMIT`], even
    /// if the system does not let go of the process.
    ///
    /// `Some` is the outcome of a job that had ended before it could be stopped and whose
    /// [`Event::Ended`] was not read yet. A stopped job leaves the repository valid.
    pub async fn stop(&mut self, grace: Duration) -> Option<Outcome> {
        let start = Instant::now();
        let last_chance = start + STOP_LIMIT - Duration::from_millis(500);
        self.signal_group(Signal::SIGTERM);
        let mut outcome = timeout_at((start + grace).min(last_chance), self.drain()).await.ok().flatten();
        if !self.ended {
            self.kill_group();
            outcome = timeout_at(start + STOP_LIMIT, self.drain()).await.ok().flatten();
        }
        self.ended = true;
        self.stdin = None;
        outcome
    }

    /// Read what is left; the outcome, if the child gave one.
    async fn drain(&mut self) -> Option<Outcome> {
        while let Some(event) = self.next_event().await {
            if let Event::Ended { outcome, .. } = event {
                let crashed = matches!(&*outcome, Err(error) if error.code == ErrorCode::EngineCrashed);
                return (!crashed).then_some(*outcome);
            }
        }
        None
    }

    /// Let the process end after its last event, and collect it.
    async fn reap(&mut self) {
        self.stdin = None;
        let limit = Instant::now() + STOP_LIMIT;
        if timeout_at(limit, self.process.wait()).await.is_err() {
            self.kill_group();
        }
    }

    /// Ends the process and what it has started and could not end: a command of the policy that somebody waits for, `rclone`.
    fn kill_group(&self) {
        self.signal_group(Signal::SIGKILL);
    }

    fn signal_group(&self, signal: Signal) {
        // Until it is waited for, the number is still its own.
        if let Some(group) = self.process.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }

    fn crash(&self, status: io::Result<ExitStatus>) -> EngineError {
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let mut error = match status {
            Err(error) => EngineError::new(ErrorCode::EngineCrashed, format!("the engine process was lost: {error}")),
            Ok(status) => match (status.signal(), status.code()) {
                (Some(signal), _) => {
                    let name = Signal::try_from(signal).map_or("unknown signal", Signal::as_str);
                    let mut message = format!("the engine process was ended by signal {signal} ({name})");
                    if signal == libc::SIGKILL {
                        // Whoever is ended so cannot say why.
                        message += "; if nobody did that, the machine or the service ran out of memory";
                    }
                    EngineError::new(ErrorCode::EngineCrashed, message + &words.reason()).with("signal", signal)
                }
                (None, code) => {
                    let code = code.unwrap_or(-1);
                    let message = format!("the engine process ended with status {code} and without a result");
                    EngineError::new(ErrorCode::EngineCrashed, message + &words.reason()).with("status", code)
                }
            },
        };
        if !words.first.is_empty() {
            error = error.with("stderr", words.quote());
        }
        error
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_group();
    }
}

async fn listen(stderr: ChildStderr, last_words: Arc<Mutex<Words>>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match stderr.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => remember(&last_words, String::from_utf8_lossy(&line).trim_end().to_owned()),
        }
    }
}

fn remember(last_words: &Mutex<Words>, mut line: String) {
    if let Some((end, _)) = line.char_indices().nth(MAX_WORDS) {
        line.truncate(end);
    }
    let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
    words.push(line);
}

/// What a child wrote to standard error, without the middle if it was much.
#[derive(Debug, Default)]
struct Words {
    first: Vec<String>,
    last: VecDeque<String>,
    left_out: usize,
}

impl Words {
    fn push(&mut self, line: String) {
        if self.first.len() < QUOTED_LINES {
            self.first.push(line);
            return;
        }
        if self.last.len() == QUOTED_LINES {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(line);
    }

    /// Why it gave up, as Rust's runtime says it, to stand behind a message: what a panic said and not where, that memory or
    /// the stack ran out. Empty where nothing of that was heard.
    fn reason(&self) -> String {
        let mut lines = self.first.iter().chain(&self.last);
        while let Some(line) = lines.next() {
            let said = if line.contains(" panicked at ") { lines.next() } else { Some(line) };
            match said {
                Some(said) if line.starts_with(OUT_OF_MEMORY) => return format!(": out of memory, {said}"),
                Some(said) if line.contains(" panicked at ") || line.contains(OUT_OF_STACK) => {
                    return format!(": {said}");
                }
                _ => {}
            }
        }
        String::new()
    }

    fn quote(&self) -> String {
        let gap = (self.left_out > 0).then(|| format!("[{} lines]", self.left_out));
        self.first.iter().chain(&gap).chain(&self.last).map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// The child's side: read one [`Request`] from standard input, do it, tell [`Event`]s on standard output.
///
/// Ends the whole process when standard input closes: then nobody wants the job any more.
pub fn run_job_main() -> ExitCode {
    let mut line = String::new();
    if let Err(error) = io::stdin().lock().read_line(&mut line) {
        eprintln!("cannot read the job: {error}");
        return ExitCode::from(2);
    }
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            // The line holds a password: only the parser's words may be shown.
            eprintln!("cannot understand the job: {error}");
            return ExitCode::from(2);
        }
    };
    drop(line);
    thread::spawn(|| {
        let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
        kill_own_group();
        // Not `abort`: a parent that went away is no reason for a core dump.
        process::exit(3);
    });

    let reporter = Reporter::new(|event| {
        if let Err(error) = tell(&event) {
            eprintln!("cannot report: {error}");
            process::exit(3);
        }
    });
    // A panic in any thread is the end: others may wait for it. The parent quotes it from standard error.
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        print(panic);
        process::exit(101);
    }));
    reporter.end(request.run(&reporter));
    // A thread may still hold what would end a program that the job uses: nothing outlives the job.
    kill_own_group();
    ExitCode::SUCCESS
}

/// Ends this process with all that it has started, if it is a job that an agent started.
fn kill_own_group() {
    if getpgrp() == getpid() {
        let _ = killpg(getpgrp(), Signal::SIGKILL);
    }
}

fn tell(event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}
