//! `backstay up` as a process: started, waited for by what it says, asked, and ended in every way there is.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use api::client::{Client, ListQuery};
use domain::Uuid;
use domain::task::State;
use futures::StreamExt;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::Deserialize;

use crate::{LIMIT, PACKS_OF_MUCH, Place, Said, is_root, until};

/// What the line begins with that says that everything runs.
const RUNNING: &str = "Backstay is running.";
/// What a line begins with that comes after the ready-file was written and before a first backup ends.
const ADDRESSES: &str = "tls ";

/// The user and group `nobody`.
const NOBODY: u32 = 65_534;
/// How long a server may take to stop: it gives agent and requests ten seconds each.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A server to start.
#[derive(Debug, Clone)]
pub struct Builder<'p> {
    place: &'p Place,
    verb: &'static str,
    args: Vec<OsString>,
    listen: SocketAddr,
    tls: SocketAddr,
    as_nobody: bool,
    log: Option<String>,
    trusted: Option<PathBuf>,
    memory: Option<u64>,
}

/// A server that was started.
#[derive(Debug)]
pub struct Up<'p> {
    place: &'p Place,
    child: Child,
    lines: Receiver<String>,
    heard: Arc<Heard>,
    readers: Vec<JoinHandle<()>>,
    ready: Option<Ready>,
}

/// Everything that was said so far.
#[derive(Debug, Default)]
struct Heard {
    out: Mutex<String>,
    err: Mutex<String>,
}

/// What the ready-file says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// The plain address.
    pub http: String,
    /// The TLS address.
    pub tls: String,
    /// The authority to trust.
    pub ca_file: PathBuf,
    /// The administrator's token.
    pub admin_token: String,
    /// The root tenant.
    pub tenant_id: Uuid,
}

impl<'p> Builder<'p> {
    pub(crate) fn new(place: &'p Place) -> Builder<'p> {
        Builder {
            place,
            verb: "up",
            args: Vec::new(),
            listen: ([127, 0, 0, 1], 0).into(),
            tls: ([127, 0, 0, 1], 0).into(),
            as_nobody: false,
            log: None,
            trusted: None,
            memory: None,
        }
    }

    /// Protects this path.
    #[must_use]
    pub fn protect(mut self, path: &Path) -> Builder<'p> {
        self.args.extend(["--protect".into(), path.into()]);
        self
    }

    /// Lets it also restore to places of their own below this folder.
    #[must_use]
    pub fn restoring_below(mut self, path: &Path) -> Builder<'p> {
        self.args.extend(["--restore-root".into(), path.into()]);
        self
    }

    /// Starts it with these arguments too.
    #[must_use]
    pub fn also<S: AsRef<OsStr>>(mut self, args: &[S]) -> Builder<'p> {
        self.args.extend(args.iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Starts the server alone, without an agent.
    #[must_use]
    pub fn alone(mut self) -> Builder<'p> {
        self.verb = "serve";
        self
    }

    /// Answers plain HTTP at this address.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Builder<'p> {
        self.listen = address;
        self
    }

    /// Answers over TLS at this address.
    #[must_use]
    pub fn listen_tls(mut self, address: SocketAddr) -> Builder<'p> {
        self.tls = address;
        self
    }

    /// Lets it say of itself that it is reached over TLS as `localhost`, which is so on every machine.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn reached_as_localhost(mut self) -> Builder<'p> {
        self.tls.set_port(crate::free_port());
        self.args.extend(["--public".into(), format!("localhost:{}", self.tls.port()).into()]);
        self
    }

    /// Lets it log what this filter admits, like `debug`.
    #[must_use]
    pub fn logging(mut self, filter: &str) -> Builder<'p> {
        self.log = Some(filter.to_owned());
        self
    }

    /// Lets it trust this authority in place of the system's where it connects to others.
    #[must_use]
    pub fn trusting(mut self, authority: &Path) -> Builder<'p> {
        self.trusted = Some(authority.to_owned());
        self
    }

    /// Gives it, and each job that it starts, no more than so many bytes of memory, with the stacks of threads and what is set
    /// aside; and two processors, because each takes memory.
    #[must_use]
    pub fn with_memory(mut self, bytes: u64) -> Builder<'p> {
        self.memory = Some(bytes);
        self
    }

    /// Runs it as somebody who may not read everything: if the tests run as root, as the user `nobody`.
    #[must_use]
    pub fn as_nobody(mut self) -> Builder<'p> {
        self.as_nobody = true;
        self
    }

    /// Starts it and waits until everything runs; with something to protect that is after its first backup.
    ///
    /// # Panics
    /// When it ends before.
    #[must_use]
    pub fn start(&self) -> Up<'p> {
        let mut up = self.start_early();
        up.wait_for(RUNNING);
        up
    }

    /// Starts it and waits until everything answers: the first backup may only have begun.
    ///
    /// # Panics
    /// When it ends before.
    #[must_use]
    pub fn start_early(&self) -> Up<'p> {
        let mut up = self.spawn();
        up.wait_for(ADDRESSES);
        let text = std::fs::read_to_string(up.place.ready_file()).expect("a ready-file");
        up.ready = Some(serde_json::from_str(&text).expect("a ready-file with the promised fields"));
        up
    }

    /// Starts it, which fails, and gives what it said.
    ///
    /// # Panics
    /// When it runs.
    #[must_use]
    pub fn start_in_vain(&self) -> Said {
        self.spawn().ended(LIMIT)
    }

    fn spawn(&self) -> Up<'p> {
        let mut command = if self.as_nobody && is_root() {
            let mut command = self.place.command(self.place.open_to_nobody());
            command.uid(NOBODY).gid(NOBODY);
            command
        } else if let Some(bytes) = self.memory {
            // Both end up as the program, in the same process.
            let mut command = self.place.command("prlimit");
            command.arg(format!("--data={bytes}")).args(["taskset", "--cpu-list", &two_processors()]);
            command.arg(crate::program());
            command
        } else {
            self.place.command(crate::program())
        };
        if let Some(filter) = &self.log {
            command.env("RUST_LOG", filter);
        }
        if let Some(authority) = &self.trusted {
            command.env("SSL_CERT_FILE", authority);
        }
        command
            .arg(self.verb)
            .arg("--data")
            .arg(self.place.data())
            .arg("--listen")
            .arg(self.listen.to_string())
            .args(["--listen-tls", &self.tls.to_string(), "--ready-file"])
            .arg(self.place.ready_file())
            .args(&self.args)
            // A group of its own, as a terminal gives it, so that Ctrl-C can be sent to the whole group and to nobody else.
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let (sender, lines) = channel();
        let heard = Arc::new(Heard::default());
        let out = child.stdout.take().expect("piped");
        let err = child.stderr.take().expect("piped");
        let (for_out, for_err) = (heard.clone(), heard.clone());
        let readers = vec![
            std::thread::spawn(move || listen(out, &for_out.out, Some(&sender))),
            std::thread::spawn(move || listen(err, &for_err.err, None)),
        ];
        Up { place: self.place, child, lines, heard, readers, ready: None }
    }
}

impl Place {
    /// Gives the place to nobody, with a copy of the program that he can reach.
    fn open_to_nobody(&self) -> PathBuf {
        let program = self.path("backstay");
        // By another process: a program that is open for writing here, and in whatever is just being started, does not start.
        let copied = Command::new("cp").arg(crate::program()).arg(&program).status();
        assert!(copied.is_ok_and(|status| status.success()), "a copy of the program");
        std::fs::set_permissions(self.root(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        for path in [self.root().to_owned(), self.path("home")] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("an owner");
        }
        program
    }

    /// How many packs of data its local repository has. One that is being written is none yet.
    #[must_use]
    pub fn packs(&self) -> usize {
        let Ok(folders) = std::fs::read_dir(self.data().join("repository/data")) else { return 0 };
        let files = folders.flatten().filter_map(|f| std::fs::read_dir(f.path()).ok()).flatten().flatten();
        files.filter(|file| !file.file_name().to_string_lossy().ends_with("-tmp-")).count()
    }

    /// Where servers in this place write that they are ready.
    #[must_use]
    pub fn ready_file(&self) -> PathBuf {
        self.path("ready.json")
    }
}

/// Two of the processors that this process may use, or the one that it has, as `taskset` takes them.
fn two_processors() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("processors").trim();
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let ranges = list.split(',').map(|range| range.split_once('-').unwrap_or((range, range)));
    let allowed = ranges.flat_map(|(first, last)| number(first)..=number(last));
    allowed.take(2).map(|n| n.to_string()).collect::<Vec<_>>().join(",")
}

fn listen(stream: impl Read, heard: &Mutex<String>, lines: Option<&Sender<String>>) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        let mut all = heard.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_str(&line);
        all.push('\n');
        drop(all);
        if let Some(lines) = lines {
            // Nobody waits for lines any more; what was heard is kept all the same.
            let _ = lines.send(line);
        }
    }
}

impl Up<'_> {
    /// Waits for a line on standard output that begins like this.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for(&mut self, beginning: &str) -> String {
        let limit = Instant::now() + LIMIT;
        loop {
            match self.lines.recv_timeout(limit.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(beginning) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("'{beginning}' did not come\n{}", self.said_so_far()),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait();
                    panic!("`up` ended ({status:?}) before it said '{beginning}'\n{}", self.said_so_far())
                }
            }
        }
    }

    /// Waits until everything runs, after [`Builder::start_early`].
    ///
    /// # Panics
    /// When it ends before.
    pub fn wait_until_running(&mut self) {
        self.wait_for(RUNNING);
    }

    /// What the ready-file said.
    ///
    /// # Panics
    /// Never after a start.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        self.ready.as_ref().expect("it was ready")
    }

    /// Where it runs.
    #[must_use]
    pub fn place(&self) -> &Place {
        self.place
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said on standard output so far.
    #[must_use]
    pub fn out(&self) -> String {
        self.heard.out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it said on standard error so far.
    #[must_use]
    pub fn err(&self) -> String {
        self.heard.err.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn said_so_far(&self) -> String {
        format!("--- out\n{}\n--- err\n{}", self.out(), self.err())
    }

    /// A client with the administrator's token, over plain HTTP.
    ///
    /// # Panics
    /// When it cannot be set up.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_as(&self.ready().admin_token)
    }

    /// A client with this token, over plain HTTP.
    ///
    /// # Panics
    /// When it cannot be set up.
    #[must_use]
    pub fn client_as(&self, token: &str) -> Client {
        Client::new(&self.ready().http, token, None).expect("a client")
    }

    /// Waits until a task is so, by listening to its changes.
    ///
    /// # Panics
    /// When it takes too long, or the task is completed before.
    pub async fn task_until(&self, id: i64, what: &str, so: impl Fn(&api::Task) -> bool) -> api::Task {
        let listen = async {
            let mut events = self.client().task_events(&ListQuery::new().filter("id", id), Some(0));
            loop {
                let event = events.next().await.expect("the stream goes on").expect("an event");
                if so(&event.task) {
                    return event.task;
                }
                let over = event.task.state == State::Completed;
                assert!(!over, "task {id} ended before it was {what}: {:#?}", event.task.result);
            }
        };
        match tokio::time::timeout(LIMIT, listen).await {
            Ok(task) => task,
            Err(_) => {
                panic!("task {id} is not {what} after {} s: {:#?}", LIMIT.as_secs(), self.client().task(id).await)
            }
        }
    }

    /// Waits until a task is completed.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn completed(&self, id: i64) -> api::Task {
        self.task_until(id, "completed", |t| t.state == State::Completed).await
    }

    /// The process that does a job, as soon as there is one.
    ///
    /// # Panics
    /// When none comes.
    pub async fn job(&self) -> Process {
        until("a job runs", async || Process::children_of(self.pid()).pop()).await
    }

    /// Waits until a backup of much and of something endless is in its middle, where there were so many packs before it. What
    /// was to be written is written: a process that waits for a disk cannot even be killed. Gives the process that does it.
    ///
    /// # Panics
    /// When it does not come that far.
    pub async fn job_in_the_middle(&self, before: usize) -> Process {
        until("data is written", async || (self.place.packs() >= before + PACKS_OF_MUCH).then_some(())).await;
        self.job().await
    }

    /// Ctrl-C, which a terminal sends to the whole group of processes, and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn interrupt(self) -> Said {
        let group = Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        killpg(group, Signal::SIGINT).expect("the processes are there");
        self.ended(STOP_LIMIT)
    }

    /// Asks it to stop with this signal, and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn stop(self, signal: Signal) -> Said {
        self.signal(signal);
        self.ended(STOP_LIMIT)
    }

    /// Ends this one process with `kill -9`, and nothing else, and waits for its end.
    pub fn kill9(mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        // It was not waited for yet, so the number is still its own.
        kill(pid, signal).expect("the process is there");
    }

    /// Waits for its end and gives what it said in all.
    fn ended(mut self, limit: Duration) -> Said {
        let limit = Instant::now() + limit;
        // Its output ends with it.
        while let Err(RecvTimeoutError::Timeout) | Ok(_) =
            self.lines.recv_timeout(limit.saturating_duration_since(Instant::now()))
        {
            assert!(Instant::now() < limit, "`up` does not end\n{}", self.said_so_far());
        }
        let status: ExitStatus = self.child.wait().expect("a child");
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Said { command: "backstay up".to_owned(), code: status.code(), out: self.out(), err: self.err() }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("`backstay up` had said:\n{}", self.said_so_far());
        }
    }
}

/// A process that may end at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it was started, in the kernel's count: tells it from a later one with the same number.
    started: u64,
    /// The group it is in: what a terminal sends goes to all of a group.
    pub group: u32,
}

impl Process {
    /// The children of a process.
    ///
    /// # Panics
    /// Without `/proc`.
    #[must_use]
    pub fn children_of(parent: u32) -> Vec<Process> {
        let entries = std::fs::read_dir("/proc").expect("/proc");
        let pids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Stat::of(pid).filter(|s| s.alive && s.parent == parent))
            .map(|s| Process { pid: s.pid, started: s.started, group: s.group })
            .collect()
    }

    /// Whether it still runs. One that waits to be collected does not.
    #[must_use]
    pub fn runs(&self) -> bool {
        Stat::of(self.pid).is_some_and(|s| s.alive && s.started == self.started)
    }

    /// Waits until it is gone.
    ///
    /// # Panics
    /// When it stays.
    pub async fn gone(&self) {
        until("the job is gone", async || (!self.runs()).then_some(())).await;
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is not there any more.
    pub fn send(&self, signal: Signal) {
        assert!(self.strike(signal), "the process ended too early");
    }

    /// Sends it a signal if it still runs; whether it was sent.
    ///
    /// # Panics
    /// Never: numbers of processes fit.
    #[must_use]
    pub fn strike(&self, signal: Signal) -> bool {
        self.runs() && kill(Pid::from_raw(i32::try_from(self.pid).expect("a pid")), signal).is_ok()
    }
}

/// What `/proc` knows of a process.
struct Stat {
    pid: u32,
    parent: u32,
    group: u32,
    alive: bool,
    started: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Stat> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let alive = !matches!(*fields.first()?, "Z" | "X");
        let number = |n: usize| fields.get(n)?.parse().ok();
        let (parent, group) = (u32::try_from(number(1)?).ok()?, u32::try_from(number(2)?).ok()?);
        Some(Stat { pid, parent, group, alive, started: number(19)? })
    }
}
