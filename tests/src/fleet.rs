//! Agents as processes of their own, each with its own data folder, beside a server that is alone: started, ended in every
//! way, started again.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};

use api::NewEnrolment;
use api::client::ListQuery;
use domain::Uuid;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::run::Process;
use crate::{PACKS_OF_MUCH, Place, Up, until};

/// An agent of a place. It ends with the test.
#[derive(Debug)]
pub struct Agent<'p> {
    place: &'p Place,
    name: String,
    /// The process, while one was started and not ended by us.
    process: Option<Child>,
    /// Who it is to the server.
    pub id: Uuid,
}

impl<'p> Agent<'p> {
    /// Lets a machine join that is known by this name, with the words of the line that is typed, and starts its agent.
    ///
    /// # Panics
    /// When it does not join.
    pub async fn join(place: &'p Place, up: &Up<'_>, name: &str) -> Agent<'p> {
        let client = up.client();
        let line = client.enrol(&NewEnrolment::default()).await.expect("a line to install an agent").command;
        let options = ["--server", "--ca-fingerprint", "--instance-registration-token"];
        let mut joining: Vec<_> = options.map(|option| option_in(&line, option)).into();
        joining.push(format!("--instance-id={name}"));
        let mut agent = Agent { place, name: name.to_owned(), process: None, id: Uuid::nil() };
        let data = format!("--data={}", agent.data().display());
        let _ = place.cli(&[&["agent".to_owned(), "join".to_owned(), data][..], &joining].concat()).good();
        agent.start();
        agent.id = until("the machine has joined", async || {
            let found = client.resources(&ListQuery::new()).await.ok()?.items;
            found.into_iter().find(|machine| machine.instance_id == name)?.agent
        })
        .await;
        agent
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.place.path(&self.name)
    }

    /// Starts it, unless it runs.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts it with these arguments too, unless it runs.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_with(&mut self, args: &[&str]) {
        if self.process.is_some() {
            return;
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log()).expect("a file for what it says");
        let mut command = self.place.command(crate::program());
        command.args(["agent", "run", "--data"]).arg(self.data()).args(args);
        command.stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("the program can be started"));
    }

    /// Ends it with `kill -9`, and nothing else.
    ///
    /// # Panics
    /// When it ended by itself before.
    pub fn kill9(&mut self) {
        let mut process = self.process.take().expect("it was started");
        let ended = process.try_wait().expect("a child");
        assert!(ended.is_none(), "the agent ended by itself: {ended:?}\n{}", self.said());
        process.kill().expect("it runs");
        let _ = process.wait();
    }

    /// Asks it to end, which it does in order.
    ///
    /// # Panics
    /// When it does not.
    pub fn stop(&mut self) {
        let pid = self.process.as_ref().expect("it was started").id();
        // It was not waited for yet, so the number is still its own.
        kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), Signal::SIGTERM).expect("the process is there");
        assert!(self.ended().success(), "{}", self.said());
    }

    /// Waits for its end, which it finds by itself.
    ///
    /// # Panics
    /// When it was not started.
    pub fn ended(&mut self) -> ExitStatus {
        self.process.take().expect("it was started").wait().expect("a child")
    }

    /// The processes that do its jobs now.
    #[must_use]
    pub fn jobs(&self) -> Vec<Process> {
        self.process.as_ref().map(|process| Process::children_of(process.id())).unwrap_or_default()
    }

    /// The process that does a first backup of much and of something endless, once much is written.
    ///
    /// # Panics
    /// When none comes.
    pub async fn job_in_the_middle(&self) -> Process {
        until("data is written", async || (self.place.packs() >= PACKS_OF_MUCH).then_some(())).await;
        until("a job runs", async || self.jobs().pop()).await
    }

    /// What it said so far, of all its lives.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn log(&self) -> PathBuf {
        self.place.path(&format!("{}.log", self.name))
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("`backstay agent run` of {} had said:\n{}", self.name, self.said());
        }
    }
}

/// An option with its value, as it stands in a line for a shell.
fn option_in(line: &str, option: &str) -> String {
    let mut words = line.split_whitespace().map(|word| word.replace('\'', ""));
    words.find(|word| word.starts_with(&format!("{option}="))).unwrap_or_else(|| panic!("no {option} in: {line}"))
}
