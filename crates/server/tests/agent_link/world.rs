//! A server over a ledger in memory, an agent, and between them a line that can be cut. The agent's children are a shell
//! script that plays prepared events and waits at gates, so nothing here depends on how fast anything is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::child::Program;
use agent::engine::{self, Outcome};
use agent::{AgentConfig, Retry};
use domain::agent::AGENT_QUEUE;
use domain::backup::Backup;
use domain::policy::Settings;
use domain::query::{Filter, Query};
use domain::repository::Repository;
use domain::task::{Named, Rules, State, Task, TaskId, TaskRef, TaskSpec, kind};
use domain::tenant::Tenant;
use domain::token::TokenKind;
use domain::work::BackupWork;
use domain::{Caller, Role, Scope, SignedDuration, Uuid};
use ledger::{Expect, Ledger, MemoryLedger, Write};
use serde_json::json;
use server::secrets::Sealer;
use server::{Service, agents};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Longer than anything takes; reached only when something is broken.
const LIMIT: Duration = Duration::from_secs(60);

/// What a child does with each job: notes it, plays `begin.N`, waits for the gate, plays `end.N`, says that it ended.
const SCRIPT: &str = r#"
cd "$0"
read -r request
printf '%s\n' "$request" >> requests
n=$(wc -l < requests)
[ -e "begin.$n" ] && cat "begin.$n"
[ -e gate ] && read -r _ < gate
cat "end.$n"
[ -e crash ] && kill -KILL $$
[ -e ended ] && echo > ended
exit 0
"#;

pub(crate) struct World {
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) service: Arc<Service>,
    pub(crate) line: Line,
    pub(crate) folder: TempDir,
    pub(crate) secret: String,
    server: Option<(CancellationToken, JoinHandle<()>)>,
    repository: Uuid,
}

impl World {
    pub(crate) async fn new() -> World {
        let ledger = Arc::new(MemoryLedger::new());
        let service = service(&ledger);
        let now = service.moment().now;
        let repository = Repository::new(
            Uuid::now_v7(),
            Uuid::nil(),
            "local",
            "/repository",
            service.seal("tape under the desk").expect("randomness"),
            now,
        );
        let id = repository.id;
        let writes = vec![
            Write::Put(Box::new(Tenant::root("root", "UTC", now).into()), Expect::New),
            Write::Put(Box::new(repository.into()), Expect::New),
        ];
        ledger.commit(&Scope::everything(), service.moment(), writes).await.expect("an empty ledger");
        let (by, everything, kind) = (Caller::server(), Scope::everything(), TokenKind::Agent);
        let issued = service.issue(&by, &everything, kind, "agent".into(), Role::Operator, None).await;
        let secret = issued.expect("a token").1;
        let folder = TempDir::new().expect("a folder");
        let mut world =
            World { ledger, service, line: Line::new().await, folder, secret, server: None, repository: id };
        world.start_server().await;
        world
    }

    /// Starts a server over the same ledger; the line leads to it.
    pub(crate) async fn start_server(&mut self) {
        self.service = service(&self.ledger);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        self.line.lead_to(listener.local_addr().expect("an address").port());
        let shutdown = CancellationToken::new();
        let app = agents::router(self.service.clone(), shutdown.clone());
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move {
            let ended = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await }).await;
            ended.expect("it serves");
        });
        self.server = Some((shutdown, serving));
    }

    pub(crate) async fn stop_server(&mut self) {
        if let Some((shutdown, serving)) = self.server.take() {
            shutdown.cancel();
            limit("the server stops", serving).await.expect("it ends well");
        }
    }

    pub(crate) fn config(&self) -> AgentConfig {
        let script = ["-c", SCRIPT].map(Into::into);
        let args = script.into_iter().chain([self.folder.path().as_os_str().to_owned()]).collect();
        AgentConfig {
            url: format!("http://127.0.0.1:{}", self.line.port),
            ca_pem: None,
            token: self.secret.clone(),
            certificate: None,
            journal: Some(self.path("journal")),
            name: "host".into(),
            slots: 1,
            program: Program { path: PathBuf::from("/bin/sh"), args },
            host: agent::Host::default(),
            retry: Retry { first: Duration::from_millis(1), longest: Duration::from_millis(20) },
        }
    }

    pub(crate) fn start_agent(&self) -> Agent {
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(agent::run(self.config(), shutdown.clone()));
        Agent { shutdown, running }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the Nth child plays.
    pub(crate) fn play(&self, n: usize, begin: &[engine::Event], end: &[engine::Event], outcome: Outcome) {
        let ended = engine::Event::Ended { warnings: 0, outcome: Box::new(outcome) };
        let lines = |events: &[engine::Event]| -> String {
            events.iter().map(|e| format!("{}\n", serde_json::to_string(e).expect("plain data"))).collect()
        };
        let end = format!("{}{}", lines(end), lines(&[ended]));
        std::fs::write(self.path(&format!("begin.{n}")), lines(begin)).expect("it can be written");
        std::fs::write(self.path(&format!("end.{n}")), end).expect("it can be written");
    }

    /// Children wait at this gate (`gate`) or tell that they ended (`ended`).
    pub(crate) fn make_fifo(&self, name: &str) {
        let made = std::process::Command::new("mkfifo").arg(self.path(name)).status().expect("mkfifo runs");
        assert!(made.success());
    }

    /// Waits until so many children were given their jobs.
    pub(crate) async fn begun(&self, children: usize) {
        limit("a child begins", async {
            let begun = || std::fs::read_to_string(self.path("requests")).unwrap_or_default().lines().count();
            while begun() < children {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Lets the child that waits at the gate go on; waits for it to come there.
    pub(crate) async fn open_gate(&self) {
        limit("a child comes to the gate", tokio::fs::write(self.path("gate"), "go\n")).await.expect("it is open");
    }

    /// Waits for a child to end.
    pub(crate) async fn child_ended(&self) {
        limit("a child ends", tokio::fs::read(self.path("ended"))).await.expect("it can be read");
    }

    /// The jobs that children were given, as JSON.
    pub(crate) fn jobs(&self) -> Vec<serde_json::Value> {
        let requests = std::fs::read_to_string(self.path("requests")).unwrap_or_default();
        requests.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON")["job"].clone()).collect()
    }

    pub(crate) fn backup(&self) -> TaskSpec {
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind::BACKUP, AGENT_QUEUE, Uuid::nil());
        spec.argument = json!(BackupWork {
            archive: Uuid::from_u128(3),
            repository: self.repository,
            paths: vec!["/home".into()],
            full: false,
            volume: false,
            settings: Settings { excludes: vec!["*.tmp".into()], ..Settings::default() },
        })
        .into();
        spec.resource = Some(Named::ours(Uuid::from_u128(2), "", "host"));
        spec.rules = Rules {
            cancellable: true,
            max_assign_count: 3,
            heartbeat_interval: Some(SignedDuration::from_secs(600)),
            ack_timeout: SignedDuration::from_secs(600),
            ..Rules::default()
        };
        spec
    }

    /// Creates a task, and wakes the agents as the services do.
    pub(crate) async fn create(&self, spec: TaskSpec) -> TaskId {
        let write = Write::CreateTask(Box::new(spec));
        let committed = self.ledger.commit(&Scope::everything(), self.service.moment(), vec![write]).await;
        self.service.hub().wake_all();
        committed.expect("a new task").task().expect("the task").id
    }

    pub(crate) async fn cancel(&self, id: TaskId) {
        let mut operator = Caller::server();
        "operator".clone_into(&mut operator.name);
        self.service.cancel_task(&operator, TaskRef::Id(id)).await.expect("it is cancellable");
    }

    /// Waits until the task is as wished.
    pub(crate) async fn task_when(&self, id: TaskId, what: &str, ready: impl Fn(&Task) -> bool) -> Task {
        let mut head = self.ledger.head();
        limit(what, async {
            loop {
                head.borrow_and_update();
                let task = self.ledger.task(&Scope::everything(), TaskRef::Id(id)).await.expect("the task");
                if ready(&task) {
                    return task;
                }
                head.changed().await.expect("the ledger lives");
            }
        })
        .await
    }

    pub(crate) async fn completed(&self, id: TaskId) -> Task {
        self.task_when(id, "the task is completed", |t| t.state() == State::Completed).await
    }

    pub(crate) async fn backups(&self) -> Vec<Backup> {
        let ledger: &dyn Ledger = &*self.ledger;
        let found = ledger.all::<Backup>(&Scope::everything(), Filter::all()).await.expect("backups");
        found.into_iter().map(|s| s.value).collect()
    }

    /// The record of an agent.
    pub(crate) async fn agent(&self, id: Uuid) -> domain::agent::Agent {
        let ledger: &dyn Ledger = &*self.ledger;
        ledger.get::<domain::agent::Agent>(&Scope::everything(), id).await.expect("the agent").value
    }

    /// Waits until the one agent is connected; its id.
    pub(crate) async fn online_agent(&self) -> Uuid {
        let ledger: &dyn Ledger = &*self.ledger;
        let mut head = self.ledger.head();
        limit("the agent is connected", async {
            let id = loop {
                head.borrow_and_update();
                let found = ledger.all::<domain::agent::Agent>(&Scope::everything(), Filter::all()).await;
                if let Some(agent) = found.expect("agents").first() {
                    break agent.value.id;
                }
                head.changed().await.expect("the ledger lives");
            };
            // Its record comes a moment before its session.
            while !self.service.hub().online(id) {
                tokio::task::yield_now().await;
            }
            id
        })
        .await
    }

    /// The steps of a task: kind, state and result.
    pub(crate) async fn steps(&self) -> Vec<String> {
        let query = Query::newest(Filter::all(), 100);
        let found = self.ledger.activities(&Scope::everything(), &query).await.expect("activities").items;
        let mut steps: Vec<_> = found.iter().filter(|v| !v.activity.is_root()).collect();
        steps.sort_by_key(|v| v.activity.id);
        steps.iter().map(|v| format!("{} {}", v.kind(), v.result().map_or("open", |r| r.code.name()))).collect()
    }
}

fn service(ledger: &Arc<MemoryLedger>) -> Arc<Service> {
    Arc::new(Service::new(ledger.clone(), Sealer::new(&[7; 32]).expect("32 bytes")))
}

pub(crate) struct Agent {
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<anyhow::Result<()>>,
}

impl Agent {
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await.expect("it ends well");
    }

    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        limit("the agent ends", self.running).await.expect("it does not panic")
    }
}

/// Waits for something that comes, with a limit for the day when it does not.
pub(crate) async fn limit<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// What flows on a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Everything.
    Open,
    /// The agent is heard, and hears nothing.
    AgentIsDeaf,
    /// Nothing: connections are cut, and new ones too.
    Cut,
}

/// A line between agent and server.
pub(crate) struct Line {
    pub(crate) port: u16,
    target: Arc<Mutex<u16>>,
    /// What flows, and how often it was cut.
    flow: watch::Sender<(Flow, u64)>,
    carrying: JoinHandle<()>,
}

impl Line {
    async fn new() -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let target = Arc::new(Mutex::new(0));
        let flow = watch::Sender::new((Flow::Open, 0));
        let carrying = tokio::spawn(carry(listener, target.clone(), flow.subscribe()));
        Line { port, target, flow, carrying }
    }

    fn lead_to(&self, port: u16) {
        *self.target.lock().expect("no panic under the lock") = port;
    }

    pub(crate) fn set(&self, flow: Flow) {
        self.flow.send_modify(|(current, cuts)| {
            *current = flow;
            *cuts += u64::from(flow == Flow::Cut);
        });
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

async fn carry(listener: TcpListener, target: Arc<Mutex<u16>>, flow: watch::Receiver<(Flow, u64)>) {
    let mut connections = JoinSet::new();
    loop {
        let (near, _) = listener.accept().await.expect("it listens");
        let port = *target.lock().expect("no panic under the lock");
        let mut flow = flow.clone();
        connections.spawn(async move {
            let (first, cuts) = *flow.borrow();
            if first == Flow::Cut {
                return;
            }
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
            let hears = flow.clone();
            let to_agent = async {
                let mut buffer = vec![0; 1 << 16];
                loop {
                    let n = tokio::io::AsyncReadExt::read(&mut far_in, &mut buffer).await.unwrap_or(0);
                    if n == 0 {
                        return;
                    }
                    if hears.borrow().0 == Flow::Open {
                        let _ = tokio::io::AsyncWriteExt::write_all(&mut near_out, &buffer[..n]).await;
                    }
                }
            };
            tokio::select! {
                _ = flow.wait_for(|(_, now)| *now != cuts) => {}
                _ = tokio::io::copy(&mut near_in, &mut far_out) => {}
                () = to_agent => {}
            }
        });
    }
}
