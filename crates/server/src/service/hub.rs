//! The agents that are connected now, and a way to talk to each. No transport here: `agents` brings the messages over.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::repository::Limits;
use domain::task::{LeaseToken, TaskError, TaskId};
use domain::{Code, Error, Result, Uuid};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long an agent may take to answer about its machine (contract for Yandex clients, Y65).
const LIVE_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to test a repository: the agent tries for a minute.
const TEST_LIMIT: Duration = Duration::from_secs(90);

/// Something an agent is told or asked.
#[derive(Debug)]
pub enum Command {
    /// There may be a task for it.
    Wake,
    /// Somebody wants this work cancelled: stop and report how far it came.
    Stop {
        /// The task.
        task: TaskId,
        /// Only if it is under this lease.
        lease: LeaseToken,
    },
    /// The lease is void: stop and report nothing.
    Void {
        /// The task.
        task: TaskId,
        /// The void lease.
        lease: LeaseToken,
    },
    /// It is let in no longer; its session ends with these words.
    Refused(Error),
    /// A folder of a backup is to be listed.
    ListFiles {
        /// Which folder.
        request: ListFiles,
        /// Where the answer goes; dropped when the agent goes away.
        answer: oneshot::Sender<Result<FileList>>,
    },
    /// It is to be found out whether a backup would find its way to a repository, without changing anything there.
    TestRepository {
        /// Which.
        repository: RepositoryAccess,
        /// Where the answer goes; dropped when the agent goes away.
        answer: oneshot::Sender<Result<RepositoryTest>>,
    },
    /// A folder of the machine is to be listed.
    ListDirectory {
        /// Which, in the agent's text form; empty = the places to start.
        path: String,
        /// Where the answer goes; dropped when the agent goes away.
        answer: oneshot::Sender<Result<Vec<DirectoryEntry>>>,
    },
    /// A folder of the machine is to be made.
    CreateDirectory {
        /// Which, in the agent's text form.
        path: String,
        /// Where the answer goes; dropped when the agent goes away.
        answer: oneshot::Sender<Result<()>>,
    },
}

/// Something in a folder of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name in the agent's text form; of a volume, the path it is mounted on.
    pub name: String,
    /// Its whole path in the agent's text form.
    pub path: String,
    /// What it is.
    pub kind: DirectoryKind,
    /// Bytes of a file, else 0.
    pub size: u64,
}

/// What stands in a folder of a machine. A symbolic link is what it points to, and a file if that is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryKind {
    /// A mounted file system: a place to start.
    Volume,
    /// A folder.
    Directory,
    /// Anything else.
    File,
}

/// Which folder of which backup, and from where on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFiles {
    /// The repository as the agent needs it.
    pub repository: RepositoryAccess,
    /// The restic snapshot id.
    pub snapshot: String,
    /// The folder in the agent's text form of paths; `/` is the top.
    pub path: String,
    /// The name after which to go on.
    pub after: Option<String>,
    /// At most so many entries.
    pub limit: u32,
}

/// What an agent needs to open a repository.
#[derive(Clone, PartialEq, Eq)]
pub struct RepositoryAccess {
    /// Where it is.
    pub url: String,
    /// Its password, in the clear.
    pub password: String,
    /// What else opens the way there, in the clear, under the names that restic reads from its environment.
    pub secrets: BTreeMap<String, String>,
    /// How fast data may flow.
    pub limits: Limits,
}

impl std::fmt::Debug for RepositoryAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RepositoryAccess").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What an agent found at the place of a repository.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RepositoryTest {
    /// Whether there is one, which opens. If not, and nothing failed, the first backup makes it.
    pub found: bool,
    /// Why a backup there would fail.
    pub error: Option<TaskError>,
}

/// Entries of a folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileList {
    /// In the order of their names.
    pub entries: Vec<FileEntry>,
    /// Whether there are more behind the last.
    pub more: bool,
}

/// A file, folder or other entry in a backup.
#[derive(Debug, Clone, PartialEq)]
pub struct FileEntry {
    /// Its name in the agent's text form.
    pub name: String,
    /// Its whole path in the agent's text form.
    pub path: String,
    /// `file`, `dir`, `symlink`, `fifo`, `socket`, `chardev` or `dev`.
    pub kind: String,
    /// Bytes of a file.
    pub size: u64,
    /// Last modification.
    pub modified_at: Option<domain::Timestamp>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Where a symbolic link points, in the agent's text form.
    pub link_target: Option<String>,
}

/// The agents that are connected now.
#[derive(Debug, Default)]
pub struct Hub {
    sessions: Mutex<HashMap<Uuid, Session>>,
    /// The number of the newest session, of all agents: a late farewell never takes a newer session for its own.
    last: AtomicU64,
    /// How long an agent may take to answer, where it is not as usual.
    patience: Mutex<Option<Duration>>,
}

#[derive(Debug)]
struct Session {
    number: u64,
    commands: mpsc::UnboundedSender<Command>,
}

impl Hub {
    /// A new session of an agent; one that it had before is cut off. Give the number back to `leave`.
    pub fn join(&self, agent: Uuid) -> (u64, mpsc::UnboundedReceiver<Command>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock().insert(agent, Session { number, commands });
        (number, receiver)
    }

    /// The session is over, unless a newer one has taken its place.
    pub fn leave(&self, agent: Uuid, number: u64) {
        let mut sessions = self.lock();
        if sessions.get(&agent).is_some_and(|s| s.number == number) {
            sessions.remove(&agent);
        }
    }

    /// Lets agents take so long to answer about their machines. For tests of what happens when they do not.
    pub fn wait_for_answers(&self, limit: Duration) {
        *self.patience.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
    }

    fn limit(&self, usual: Duration) -> Duration {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(usual)
    }

    /// Whether the agent is connected now.
    #[must_use]
    pub fn online(&self, agent: Uuid) -> bool {
        self.lock().contains_key(&agent)
    }

    /// Tells an agent something. One that is not connected learns it from its leases when it is back.
    pub fn tell(&self, agent: Uuid, command: Command) {
        if let Some(session) = self.lock().get(&agent) {
            // A session that ends right now has dropped its receiver; the agent will come back.
            let _ = session.commands.send(command);
        }
    }

    /// Tells every agent that there may be work.
    pub fn wake_all(&self) {
        for session in self.lock().values() {
            let _ = session.commands.send(Command::Wake);
        }
    }

    /// Asks an agent for a folder of a backup.
    ///
    /// # Errors
    /// `agent_offline` when it is not connected or goes away, and what the agent answers.
    pub async fn list_files(&self, agent: Uuid, request: ListFiles) -> Result<FileList> {
        let (answer, answered) = oneshot::channel();
        self.tell(agent, Command::ListFiles { request, answer });
        answered.await.unwrap_or_else(|_| {
            Err(Error::new(Code::AgentOffline, "the agent that reaches the repository is not connected")
                .hint("see `backstay agent list`; start the agent and try again"))
        })
    }

    /// Has an agent find out whether a backup would find its way to a repository. That it would not is an answer and no error.
    ///
    /// # Errors
    /// `agent_offline` when the agent is not connected or goes away, `agent_silent` when it does not answer in time.
    pub async fn test_repository(&self, agent: Uuid, repository: RepositoryAccess) -> Result<RepositoryTest> {
        self.ask(agent, self.limit(TEST_LIMIT), |answer| Command::TestRepository { repository, answer }).await
    }

    /// What is in a folder of an agent's machine now, or where to start with an empty path.
    ///
    /// # Errors
    /// `agent_offline` when the agent is not connected or goes away, `agent_silent` when it does not answer in time,
    /// `not_found`, and `path_unusable` when the path is no folder or cannot be read.
    pub async fn list_directory(&self, agent: Uuid, path: String) -> Result<Vec<DirectoryEntry>> {
        self.ask(agent, self.limit(LIVE_LIMIT), |answer| Command::ListDirectory { path, answer }).await
    }

    /// Makes a folder on an agent's machine; its parents must exist. That it is there already is success.
    ///
    /// # Errors
    /// `agent_offline` when the agent is not connected or goes away, `agent_silent` when it does not answer in time,
    /// `not_found` when there is no parent, and `path_unusable` when something else stands there or the agent may not.
    pub async fn create_directory(&self, agent: Uuid, path: String) -> Result<()> {
        self.ask(agent, self.limit(LIVE_LIMIT), |answer| Command::CreateDirectory { path, answer }).await
    }

    /// The refusal of what needs an agent that is not connected.
    pub(super) fn offline() -> Error {
        Error::new(Code::AgentOffline, "the machine's agent is not connected")
            .hint("see `backstay agent list`; start the agent and try again")
    }

    async fn ask<T>(
        &self,
        agent: Uuid,
        limit: Duration,
        question: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.tell(agent, question(answer));
        match timeout(limit, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Hub::offline()),
            Err(_) => {
                let message = format!("the agent did not answer within {} s", limit.as_secs());
                Err(Error::new(Code::AgentSilent, message).hint("try again; if it does not pass, look at the machine"))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Session>> {
        // Nothing panics while it is held, and a map is whole between two calls.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_agent_that_does_not_answer_is_told_from_one_that_is_not_there() {
        let (hub, agent) = (Hub::default(), Uuid::now_v7());
        let ask = |limit| {
            let question = |answer| Command::ListDirectory { path: "/".into(), answer };
            let asked = hub.ask(agent, limit, question);
            async move { asked.await.expect_err("no answer").code }
        };
        assert_eq!(ask(LIVE_LIMIT).await, Code::AgentOffline);

        let (number, mut commands) = hub.join(agent);
        assert_eq!(ask(Duration::ZERO).await, Code::AgentSilent);
        assert!(matches!(commands.recv().await, Some(Command::ListDirectory { path, .. }) if path == "/"));

        let gone = async {
            // With the question in it: its asker learns that nobody will answer.
            drop(commands.recv().await);
            hub.leave(agent, number);
        };
        assert_eq!(tokio::join!(ask(LIVE_LIMIT), gone).0, Code::AgentOffline);
    }
}
