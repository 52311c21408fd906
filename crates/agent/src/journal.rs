//! What outlives a crash of the agent: a small file for each task that it works on. While the work goes on, it says which
//! child does it, so that the next process can end a child that survived. When the work is over, it holds what the server
//! has not acknowledged yet, so that a finished task is reported after the crash instead of being done once more. A task
//! that was not over is not among those that the next process says it has, and so the server gives it out anew.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use prost::Message;
use proto::agent::v1::Report;
use proto::agent::v1::report::Event;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::durable::{self, Sync};
use crate::hex::hex;

/// How long a child that was killed may take to be gone: until the disk has done what it was told to.
const GONE: Duration = Duration::from_secs(60);

/// The folder of the files; none = nothing outlives a crash.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    folder: Option<PathBuf>,
}

/// A task that was over when the agent crashed, and what the server has to hear of it, in its order.
#[derive(Debug, PartialEq)]
pub(crate) struct Unreported {
    pub(crate) task: i64,
    pub(crate) lease: String,
    pub(crate) events: Vec<Event>,
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Page {
    task: i64,
    lease: String,
    /// The child that works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    child: Option<Process>,
    /// Reports as the link sends them, in base64. The last one ends the task; empty = the work is not over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reports: Vec<String>,
}

/// A process, told from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: i32,
    /// When it was started, in the kernel's ticks since the machine was.
    started: u64,
    /// Which start of the machine that was.
    boot: String,
}

impl Journal {
    /// Keeps files in this folder, which is made if it is not there.
    pub(crate) fn in_folder(folder: Option<PathBuf>) -> Journal {
        if let Some(folder) = &folder
            && let Err(error) = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
        {
            // Each task says so too, when it comes to it.
            tracing::error!(folder = %folder.display(), %error, "the journal's folder cannot be made");
        }
        Journal { folder }
    }

    fn file(&self, task: i64, lease: &str) -> Option<PathBuf> {
        let short = hex(&digest(&SHA256, lease.as_bytes()).as_ref()[..8]);
        self.folder.as_ref().map(|folder| folder.join(format!("{task}-{short}.json")))
    }

    /// Notes which child works on a task.
    ///
    /// # Errors
    /// In words for people.
    pub(crate) async fn works(&self, task: i64, lease: &str, pid: u32) -> Result<(), String> {
        let child = i32::try_from(pid).ok().and_then(Process::look);
        // After a crash of the whole machine there is no child to look for.
        self.write(Page { task, lease: lease.to_owned(), child, reports: Vec::new() }, Sync::Later).await
    }

    /// Notes how a task ended; on disk afterwards.
    ///
    /// # Errors
    /// In words for people.
    pub(crate) async fn ended(&self, task: i64, lease: &str, reports: &[Report]) -> Result<(), String> {
        let reports = reports.iter().map(|report| STANDARD.encode(report.encode_to_vec())).collect();
        self.write(Page { task, lease: lease.to_owned(), child: None, reports }, Sync::Now).await
    }

    async fn write(&self, page: Page, sync: Sync) -> Result<(), String> {
        let Some(file) = self.file(page.task, &page.lease) else { return Ok(()) };
        let shown = file.parent().unwrap_or(&file).display().to_string();
        let written = tokio::task::spawn_blocking(move || {
            let text = serde_json::to_vec(&page)?;
            durable::write(&file, &text, sync)
        });
        let written = written.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        written.map_err(|error| {
            format!(
                "the agent cannot write its journal in {shown}: {error}; the work goes on, but if the agent crashes before \
                 the server knows of it, it is done once more"
            )
        })
    }

    /// The server knows all of a task, or nobody wants to.
    pub(crate) fn forget(&self, task: i64, lease: &str) {
        if let Some(file) = self.file(task, lease) {
            // Should it come back with a crash, the server answers that it knows.
            let _ = fs::remove_file(file);
        }
    }

    /// What the process before this one left: its children are ended, and what it could not report any more is given.
    pub(crate) async fn recover(&self) -> Vec<Unreported> {
        let mut found = Vec::new();
        let Some(folder) = &self.folder else { return found };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let file = entry.path();
            if file.extension().is_none_or(|e| e != "json") {
                // Written and not yet in its place: nobody was told of it.
                let _ = fs::remove_file(&file);
                continue;
            }
            match read(&file) {
                Ok(Page { task, lease, reports, .. }) if !reports.is_empty() => match events(&reports) {
                    Some(events) => {
                        tracing::info!(task, "a task that ended before the agent did is reported now");
                        found.push(Unreported { task, lease, events });
                    }
                    None => unusable(&file, &"its reports cannot be read"),
                },
                Ok(Page { task, child, .. }) => {
                    if let Some(child) = child {
                        child.end(task).await;
                    }
                    let _ = fs::remove_file(&file);
                }
                Err(error) => unusable(&file, &error),
            }
        }
        found
    }
}

/// Half a file, of a crash of the machine: the server finds out by itself that nobody has its task.
fn unusable(file: &Path, error: &dyn std::fmt::Display) {
    tracing::warn!(file = %file.display(), %error, "a file of the journal is of no use and is removed");
    let _ = fs::remove_file(file);
}

fn read(file: &Path) -> io::Result<Page> {
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

fn events(reports: &[String]) -> Option<Vec<Event>> {
    let event = |text: &String| Report::decode(&*STANDARD.decode(text).ok()?).ok()?.event;
    reports.iter().map(event).collect()
}

impl Process {
    /// The process that has this number now. None where the system does not tell, or there is none.
    fn look(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything; what follows is numbers, and the start is the 22nd field.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let started = fields.get(19)?.parse().ok()?;
        // One that has ended and was not waited for does nothing any more.
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        Some(Process { pid, started, boot })
    }

    fn is_there(&self) -> bool {
        Process::look(self.pid).as_ref() == Some(self)
    }

    /// Ends it with all that it has started, if it is still this process.
    async fn end(&self, task: i64) {
        let until = Instant::now() + GONE;
        if self.is_there() {
            tracing::warn!(task, pid = self.pid, "a child of a former agent still runs and is ended");
        }
        while self.is_there() {
            if Instant::now() > until {
                tracing::error!(task, pid = self.pid, "a child of a former agent does not end");
                return;
            }
            // A child is the leader of its group; the commands that it runs are of it.
            let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    use proto::agent::v1::{Completed, Started};
    use tempfile::TempDir;

    use super::*;

    fn report(event: Event) -> Report {
        Report { seq: 7, task: 1, lease: "a.1".into(), event: Some(event) }
    }

    #[tokio::test]
    async fn what_was_over_comes_back_until_it_is_forgotten() {
        let folder = TempDir::new().expect("a folder");
        let journal = Journal::in_folder(Some(folder.path().join("journal")));
        journal.works(1, "a.1", std::process::id()).await.expect("written");
        let events = [Event::Started(Started {}), Event::Completed(Completed::default())];
        journal.ended(1, "a.1", &events.clone().map(report)).await.expect("written");
        let wanted = [Unreported { task: 1, lease: "a.1".into(), events: events.to_vec() }];
        assert_eq!(journal.recover().await, wanted);
        assert_eq!(journal.recover().await, wanted, "it is not forgotten by being read");
        journal.forget(1, "a.2");
        assert_eq!(journal.recover().await.len(), 1, "another lease");
        journal.forget(1, "a.1");
        assert!(journal.recover().await.is_empty());
    }

    #[tokio::test]
    async fn a_child_that_survived_is_ended_and_a_later_process_with_its_number_is_not() {
        let folder = TempDir::new().expect("a folder");
        let journal = Journal::in_folder(Some(folder.path().to_owned()));
        let start =
            || Command::new("sleep").arg("600").process_group(0).stdin(Stdio::null()).spawn().expect("a process");
        let (mut child, mut stranger) = (start(), start());
        journal.works(1, "a.1", child.id()).await.expect("written");
        journal.works(2, "a.2", stranger.id()).await.expect("written");
        // As if the number had been another process's.
        let file = journal.file(2, "a.2").expect("a folder");
        let mut page = read(&file).expect("a page");
        page.child.as_mut().expect("a child").started -= 1;
        fs::write(&file, serde_json::to_vec(&page).expect("JSON")).expect("written");

        assert!(journal.recover().await.is_empty(), "neither is over");
        let ended = child.wait().expect("it ended");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
        assert!(stranger.try_wait().expect("its state").is_none(), "it runs");
        stranger.kill().expect("it is ours");
        stranger.wait().expect("it ended");
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0, "nothing is left");
    }

    #[tokio::test]
    async fn half_a_file_is_removed_and_a_journal_that_cannot_be_written_says_where() {
        let folder = TempDir::new().expect("a folder");
        let journal = Journal::in_folder(Some(folder.path().to_owned()));
        fs::write(folder.path().join("1-0.json"), "{\"task\":1,").expect("written");
        fs::write(folder.path().join("1-0.new"), r#"{"task":1,"lease":"a","reports":[""]}"#).expect("written");
        fs::write(folder.path().join("2-0.json"), r#"{"task":2,"lease":"a","reports":["%"]}"#).expect("written");
        assert!(journal.recover().await.is_empty());
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);

        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let journal = Journal::in_folder(Some(file.clone()));
        let words = journal.works(1, "a.1", 1).await.expect_err("no folder");
        assert!(words.contains(file.to_str().expect("UTF-8")) && words.contains("the work goes on"), "{words}");
    }
}
