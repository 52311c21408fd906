//! A server with something in it: two tenants, and in the first an agent, a protected resource and a backup.

use std::sync::Arc;

use axum::Router;
use domain::activity::ActivitySpec;
use domain::identity::{ApiClient, ClientKey, User};
use domain::import::{ImportRules, Network};
use domain::record::Record;
use domain::repository::Repository;
use domain::task::{Outcome, OutcomeCode, Progress, TaskError, TaskSpec};
use domain::tenant::Tenant;
use domain::token::TokenKind;
use domain::work::BackupDone;
use domain::{Caller, Role, Scope, Timestamp, Uuid};
use ledger::{Expect, Ledger, MemoryLedger, Write};
use serde_json::json;
use server::Service;
use server::dialects::native::{ApiState, router};
use server::secrets::Sealer;
use server::service::{
    AgentHello, AgentIdentity, Assigned, Command, FileEntry, FileList, Installer, NewTenant, Report, ReportEvent,
    RepositoryTest,
};
use tokio_util::sync::CancellationToken;

use crate::talk::Talk;

pub(crate) struct World {
    pub(crate) router: Router,
    pub(crate) service: Arc<Service>,
    pub(crate) ledger: Arc<MemoryLedger>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) root: Caller,
    pub(crate) acme: Uuid,
    pub(crate) globex: Uuid,
}

/// What stands in a world after [`World::protected`].
pub(crate) struct Protected {
    pub(crate) resource: String,
    pub(crate) policy: String,
    pub(crate) repository: String,
    pub(crate) task: String,
    pub(crate) activity: String,
    pub(crate) backup: String,
    pub(crate) token: String,
    pub(crate) user: String,
    pub(crate) client: String,
    pub(crate) client_key: String,
    pub(crate) key: String,
    /// The secret of a registration token.
    pub(crate) registration: String,
    /// A repository that nothing uses.
    pub(crate) spare: String,
    /// A tenant with nothing in it.
    pub(crate) empty: String,
    pub(crate) agent: String,
    /// A channel of notifications that leads to a port of this machine where nobody listens.
    pub(crate) channel: String,
}

impl World {
    /// Two tenants, `acme` and `globex`, each with a repository.
    pub(crate) async fn new() -> World {
        let ledger = Arc::new(MemoryLedger::new());
        let sealer = Sealer::new(&[7; 32]).expect("32 bytes");
        let program = std::env::current_exe().expect("this program");
        let installer = Installer::new(program, "certificate".into(), "ab12".into());
        let service = Arc::new(Service::new(ledger.clone(), sealer).handing_out(installer).notifying(this_machine()));
        let everything = Scope::everything();
        let moment = service.moment();
        let tenant = Tenant::root("root", "UTC", moment.now);
        let write = Write::Put(Box::new(tenant.into()), Expect::New);
        ledger.commit(&everything, moment, vec![write]).await.expect("the root");
        let mut root = Caller::server();
        "root".clone_into(&mut root.name);
        let mut tenants = Vec::new();
        for name in ["acme", "globex"] {
            let new = NewTenant { parent: None, name: name.into(), description: String::new() };
            let tenant = service.create_tenant(&root, new).await.expect("a tenant");
            let repository = Repository::new(
                Uuid::now_v7(),
                tenant.id,
                format!("vault of {name}"),
                format!("/srv/{name}"),
                service.seal("tape").expect("sealed"),
                moment.now,
            );
            let write = Write::Put(Box::new(repository.into()), Expect::New);
            ledger.commit(&everything, service.moment(), vec![write]).await.expect("a repository");
            tenants.push(tenant.id);
        }
        let shutdown = CancellationToken::new();
        let router = router(ApiState::new(service.clone(), shutdown.clone()));
        World { router, service, ledger, shutdown, root, acme: tenants[0], globex: tenants[1] }
    }

    /// A task of somebody else's making.
    pub(crate) async fn create_task(&self, spec: TaskSpec) {
        self.create_tasks(vec![spec]).await;
    }

    /// Tasks that come into being at once.
    pub(crate) async fn create_tasks(&self, specs: Vec<TaskSpec>) {
        let writes = specs.into_iter().map(|spec| Write::CreateTask(Box::new(spec))).collect();
        self.ledger.commit(&Scope::everything(), self.service.moment(), writes).await.expect("tasks");
    }

    /// The secret of a new token.
    pub(crate) async fn token(&self, tenant: Uuid, role: Role) -> String {
        let tenant = self.service.tenant(&self.root, tenant).await.expect("the tenant");
        let name = format!("{role} of {}", tenant.name);
        let scope = Scope::subtree(&tenant);
        self.service.issue(&self.root, &scope, TokenKind::Api, name, role, None).await.expect("a token").1
    }

    /// A conversation as somebody of `acme`.
    pub(crate) async fn talk(&self, role: Role) -> Talk {
        Talk::new(self.router.clone(), &self.token(self.acme, role).await)
    }

    /// An agent of `acme` that is connected, shows one file in every folder and opens every repository whose password is `tape`.
    pub(crate) async fn agent(&self) -> AgentIdentity {
        let acme = self.service.tenant(&self.root, self.acme).await.expect("the tenant");
        let scope = Scope::subtree(&acme);
        let kind = TokenKind::Agent;
        let issued = self.service.issue(&self.root, &scope, kind, "agent".into(), Role::Operator, None).await;
        let (_, secret) = issued.expect("a token");
        let hello = AgentHello {
            name: "web-1".into(),
            os: "linux x86_64".into(),
            version: "0.1.0".into(),
            ..AgentHello::default()
        };
        let mut connected = self.service.agent_connected(&secret, hello).await.expect("connected");
        tokio::spawn(async move {
            while let Some(command) = connected.commands.recv().await {
                let (request, answer) = match command {
                    Command::ListFiles { request, answer } => (request, answer),
                    Command::TestRepository { repository, answer } => {
                        let error = (repository.password != "tape").then(|| TaskError::server("wrongPassword", "no"));
                        let _ = answer.send(Ok(RepositoryTest { found: error.is_none(), error }));
                        continue;
                    }
                    _ => continue,
                };
                let entry = FileEntry {
                    name: "index.html".into(),
                    path: format!("{}/index.html", request.path.trim_end_matches('/')),
                    kind: "file".into(),
                    size: 11,
                    modified_at: Some(Timestamp::UNIX_EPOCH),
                    mode: Some(0o644),
                    uid: Some(1000),
                    gid: Some(1000),
                    link_target: None,
                };
                let _ = answer.send(Ok(FileList { entries: vec![entry], more: request.after.is_none() }));
            }
        });
        connected.agent
    }

    /// Hands the next task to the agent.
    pub(crate) async fn claim(&self, agent: &AgentIdentity) -> Assigned {
        self.service.claim(agent, 1).await.expect("claimed").pop().expect("a task waits")
    }

    /// Lets the agent report.
    pub(crate) async fn report(&self, agent: &AgentIdentity, work: &Assigned, event: ReportEvent) {
        let report = Report { task: work.task.id, lease: work.lease.clone(), event };
        self.service.report(agent, report).await.expect("reported");
    }

    /// Lets the agent carry a backup out.
    pub(crate) async fn carry_out(&self, agent: &AgentIdentity, work: &Assigned) {
        let progress = |current| Progress { current, total: 100, bytes_processed: 11, ..Progress::default() };
        self.report(agent, work, ReportEvent::Started).await;
        let step = ActivitySpec::new(Uuid::now_v7(), "scan");
        let activity = step.uuid;
        self.report(agent, work, ReportEvent::ActivityCreated(step)).await;
        let outcome = Outcome::of(OutcomeCode::Ok);
        self.report(agent, work, ReportEvent::ActivityCompleted { activity, outcome, progress: None }).await;
        self.report(agent, work, ReportEvent::Progress(progress(40))).await;
        let done = BackupDone {
            snapshot: "5f".repeat(32),
            created_at: self.service.moment().now,
            incremental: false,
            size: 11,
            added: 7,
            files: 1,
            files_new: 1,
            files_changed: 0,
            ..BackupDone::default()
        };
        let outcome = Outcome { payload: json!(done), ..Outcome::of(OutcomeCode::Ok) };
        self.report(agent, work, ReportEvent::Completed { outcome, progress: Some(progress(100)) }).await;
    }

    /// A user and a client of `acme` who cannot sign in, and a key of the client that none fits: hashing secrets and finding
    /// keys take a while, and few tests need it.
    async fn user_and_client(&self) -> (Uuid, Uuid, Uuid) {
        let (tenant, roles, now) = (self.acme, vec![Role::Operator], self.service.moment().now);
        let user = User {
            id: Uuid::now_v7(),
            tenant,
            login: "ops@acme.example".into(),
            name: "Operations".into(),
            roles: roles.clone(),
            password_hash: "$argon2id$".into(),
            created_at: now,
            updated_at: now,
            revoked_at: None,
        };
        let client = ApiClient {
            id: Uuid::now_v7(),
            tenant,
            name: "reports".into(),
            roles,
            executor: Some("e-1".into()),
            secret_hash: "$argon2id$".into(),
            created_at: now,
            updated_at: now,
            revoked_at: None,
        };
        let key = ClientKey {
            id: Uuid::now_v7(),
            tenant,
            client: client.id,
            public_key: "-----BEGIN PUBLIC KEY-----\n".into(),
            created_at: now,
            updated_at: now,
            revoked_at: None,
        };
        let ids = (user.id, client.id, key.id);
        let records: [Record; 3] = [user.into(), client.into(), key.into()];
        let writes = records.into_iter().map(|record| Write::Put(Box::new(record), Expect::New)).collect();
        self.ledger.commit(&Scope::everything(), self.service.moment(), writes).await.expect("new records");
        ids
    }

    /// A resource of `acme` under a policy, with one backup; and a user and a client of `acme`.
    pub(crate) async fn protected(&self) -> Protected {
        let agent = self.agent().await;
        let mut talk = self.talk(Role::Admin).await;
        let body = json!({ "name": "web-1", "kind": "bare_metal", "sources": { "paths": ["/var/www"] } });
        let resource = id(&talk.post("/resources", body).await.body);
        let policy =
            id(&talk.post("/policies", json!({ "name": "by hand", "schedule": { "kind": "manual" } })).await.body);
        talk.put(&format!("/policies/{policy}/applications/{resource}")).await;
        let tasks = talk.post(&format!("/policies/{policy}/run"), json!({})).await.body;
        let task = tasks["items"][0]["id"].to_string();
        let work = self.claim(&agent).await;
        self.carry_out(&agent, &work).await;
        let first = |list: &serde_json::Value| id(&list["items"][0]);
        let (user, client, client_key) = self.user_and_client().await;
        let key = self.service.rotate_signing_key(&self.root).await.expect("a key");
        let joins = domain::token::Joins::default();
        let registration = self.service.registration_token(&self.root, self.acme, joins).await.expect("a token").1;
        let new = NewTenant { parent: Some(self.acme), name: "empty".into(), description: String::new() };
        let empty = self.service.create_tenant(&self.root, new).await.expect("a tenant").id.to_string();
        let first_repository = first(&talk.get("/repositories").await.body);
        let spare = id(&talk.post("/repositories", json!({ "name": "spare", "url": "/srv/spare" })).await.body);
        let channel = json!({ "name": "ops", "target": { "kind": "webhook", "url": "http://127.0.0.1:1/" } });
        let channel = id(&talk.post("/notification-channels", channel).await.body["channel"]);
        Protected {
            channel,
            empty,
            agent: agent.id().to_string(),
            spare,
            registration,
            backup: first(&talk.get("/backups").await.body),
            activity: talk.get(&format!("/tasks/{task}/activities")).await.body["items"][0]["id"].to_string(),
            repository: first_repository,
            token: first(&talk.get("/tokens?kind=api").await.body),
            user: user.to_string(),
            client: client.to_string(),
            client_key: client_key.to_string(),
            key: key.id.to_string(),
            resource,
            policy,
            task,
        }
    }
}

/// Tests reach nothing but this machine.
fn this_machine() -> ImportRules {
    ImportRules { networks: vec![Network::parse("127.0.0.0/8").expect("a network")], roots: Vec::new() }
}

fn id(body: &serde_json::Value) -> String {
    body["id"].as_str().unwrap_or_else(|| panic!("no id in {body}")).to_owned()
}
