//! A tenant with a repository, a machine and its agent, which does what a test says: nothing here waits for anything.

use axum::http::{Method, StatusCode};
use domain::repository::Repository;
use domain::resource::{ResourceKind, Sources};
use domain::task::{LeaseToken, Outcome, OutcomeCode, Progress, TaskError, TaskId};
use domain::token::TokenKind;
use domain::{Role, Scope, Timestamp, Uuid};
use ledger::{Expect, Write};
use serde_json::{Value, json};
use server::service::{AgentHello, AgentIdentity, Assigned, Connected, Installer, NewResource, Report, ReportEvent};

use super::world::World;

/// The name by which the machine is known.
pub(crate) const MACHINE: &str = "bst0000000000000srv01";

pub(crate) struct Estate {
    pub(crate) world: World,
    /// An administrator of the tenant.
    pub(crate) token: String,
    pub(crate) folder: String,
    pub(crate) resource: Uuid,
    secret: String,
}

/// A task in the hands of the agent.
pub(crate) struct Job {
    pub(crate) assigned: Assigned,
    agent: AgentIdentity,
}

impl Estate {
    pub(crate) async fn new() -> Estate {
        let program = std::env::current_exe().expect("this program");
        let installer = Installer::new(program, "certificate".into(), "ab12".into());
        let world = World::with(|service| service.handing_out(installer)).await;
        let now = world.service.moment().now;
        let repository = Repository::new(
            Uuid::now_v7(),
            Uuid::nil(),
            "local",
            "/repository",
            world.service.seal("tape under the desk").expect("randomness"),
            now,
        );
        let write = Write::Put(Box::new(repository.into()), Expect::New);
        world.ledger.commit(&Scope::everything(), world.service.moment(), vec![write]).await.expect("a commit");
        let token = world.token(world.acme, Role::Admin).await;
        let tenant = world.service.tenant(&world.root, world.acme).await.expect("the tenant");
        let (scope, kind) = (Scope::subtree(&tenant), TokenKind::Agent);
        let issued = world.service.issue(&world.root, &scope, kind, "agent".into(), Role::Operator, None).await;
        let secret = issued.expect("a token").1;
        let folder = world.acme.to_string();
        let mut estate = Estate { world, token, folder, resource: Uuid::nil(), secret };
        let agent = estate.connect(hello()).await;
        estate.resource = estate.machine(MACHINE, Some(agent.agent.id()), &["/srv"]).await;
        estate.disconnect(&agent).await;
        estate
    }

    pub(crate) async fn machine(&self, instance_id: &str, agent: Option<Uuid>, paths: &[&str]) -> Uuid {
        let new = NewResource {
            tenant: Some(self.world.acme),
            instance_id: Some(instance_id.to_owned()),
            kind: ResourceKind::BareMetal,
            name: "srv-01".into(),
            agent,
            sources: Sources { paths: paths.iter().map(|p| (*p).to_owned()).collect(), excludes: Vec::new() },
            metadata: Value::Null,
        };
        self.world.service.add_resource(&self.world.root, new).await.expect("a machine").resource.id
    }

    pub(crate) async fn connect(&self, hello: AgentHello) -> Connected {
        self.world.service.agent_connected(&self.secret, hello).await.expect("connected")
    }

    pub(crate) async fn disconnect(&self, connected: &Connected) {
        self.world.service.agent_gone(&connected.agent, connected.session).await.expect("gone");
    }

    /// The next task for the agent; it has begun.
    pub(crate) async fn next_job(&self, connected: &Connected) -> Option<Job> {
        let agent = connected.agent.clone();
        let assigned = self.world.service.claim(&agent, 1).await.expect("a claim").pop()?;
        let job = Job { assigned, agent };
        self.report(&job, ReportEvent::Started).await;
        Some(job)
    }

    pub(crate) async fn report(&self, job: &Job, event: ReportEvent) {
        let (task, lease): (TaskId, LeaseToken) = (job.assigned.task.id, job.assigned.lease.clone());
        self.world.service.report(&job.agent, Report { task, lease, event }).await.expect("reported");
    }

    pub(crate) async fn progress(&self, job: &Job, current: i64, total: i64) {
        self.report(job, ReportEvent::Progress(Progress { current, total, ..Progress::default() })).await;
    }

    /// Ends a task well, with what it leaves.
    pub(crate) async fn done(&self, job: &Job, payload: Value) {
        let outcome = Outcome { payload, ..Outcome::of(OutcomeCode::Ok) };
        self.report(job, ReportEvent::Completed { outcome, progress: None }).await;
        self.world.service.note_ends().await.expect("noted");
    }

    pub(crate) async fn failed(&self, job: &Job, code: &str, message: &str) {
        let error = TaskError::server(code, message);
        let outcome = Outcome { error: Some(error), ..Outcome::of(OutcomeCode::Error) };
        self.report(job, ReportEvent::Completed { outcome, progress: None }).await;
        self.world.service.note_ends().await.expect("noted");
    }

    /// Lets the agent make a backup that waits, of which it says this.
    pub(crate) async fn make_backup(&self, connected: &Connected, snapshot: &str, at: &str) {
        let job = self.next_job(connected).await.expect("a backup waits");
        assert_eq!(job.assigned.task.spec.kind, "backup");
        let at: Timestamp = at.parse().expect("a time");
        let roots = json!([{ "path": "/srv", "size": 1000, "free": 400, "system": false }]);
        let done = json!({
            "snapshot": snapshot, "created_at": at, "incremental": true, "size": 100, "added": 10, "added_raw": 20,
            "changed": 30, "files": 4, "files_new": 1, "files_changed": 1, "roots": roots,
        });
        self.done(&job, done).await;
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, _, body) = self.world.rest(Method::GET, path, &self.token, Value::Null).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, _, body) = self.world.rest(method, path, &self.token, body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// The code and the `type` of the violated precondition, if it is one.
    pub(crate) async fn refused(&self, method: Method, path: &str, body: Value) -> (i64, String) {
        let (status, _, body) = self.world.rest(method, path, &self.token, body).await;
        assert_ne!(status, StatusCode::OK, "{path}: {body}");
        let unmet = body["details"][0]["violations"][0]["type"].as_str().unwrap_or_default();
        (body["code"].as_i64().expect("a code"), unmet.to_owned())
    }

    /// A policy with the settings of the contract's example, as it was made.
    pub(crate) async fn policy(&self, name: &str) -> String {
        let made = self.send(Method::POST, "/backup/v1/policies", self.wish(name, settings())).await;
        made["metadata"]["policyId"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn wish(&self, name: &str, settings: Value) -> Value {
        json!({ "folderId": self.folder, "name": name, "settings": settings })
    }

    pub(crate) async fn apply(&self, policy: &str) -> Value {
        self.send(Method::POST, &format!("/backup/v1/policies/{policy}:apply"), json!({ "computeInstanceId": MACHINE }))
            .await
    }

    pub(crate) async fn execute(&self, policy: &str) -> Value {
        let path = format!("/backup/v1/policies/{policy}:execute");
        self.send(Method::POST, &path, json!({ "computeInstanceId": MACHINE })).await
    }

    pub(crate) async fn operation(&self, operation: &Value) -> Value {
        self.get(&format!("/operations/{}", operation["id"].as_str().expect("an id"))).await
    }
}

/// How the agent of the machine introduces itself.
pub(crate) fn hello() -> AgentHello {
    AgentHello {
        name: "srv-01".into(),
        os: "linux x86_64".into(),
        version: "0.1.0".into(),
        system: "linux".into(),
        ..AgentHello::default()
    }
}

/// The settings of the contract's example (Y93), which never run by themselves.
pub(crate) fn settings() -> Value {
    json!({
        "compression": "HIGH", "format": "AUTO", "silentModeEnabled": true, "fastBackupEnabled": true,
        "cbt": "DO_NOT_USE",
        "reattempts": {"enabled": true, "interval": {"type": "SECONDS", "count": "60"}, "maxAttempts": "5"},
        "vmSnapshotReattempts": {"enabled": true, "interval": {"type": "MINUTES", "count": "2"}, "maxAttempts": "3"},
        "splitting": {"size": "9223372036854775807"}, "vss": {"enabled": true, "provider": "NATIVE"},
        "performanceWindow": {}, "archive": {"name": "[Machine Name]-[Plan Name]"},
        "retention": {"rules": [
            {"maxAge": {"type": "DAYS", "count": "30"}}, {"backupSet": ["MONTHLY"], "maxCount": "12"}
        ]},
        "scheduling": {
            "backupSets": [
                {"type": "TYPE_INCREMENTAL", "time": {
                    "type": "DAILY", "repeatAt": [{"hour": "1", "minute": "30"}, {"minute": "15"}], "runLater": true
                }},
                {"type": "TYPE_FULL", "time": {
                    "type": "MONTHLY", "months": ["1", "7"], "monthdays": ["1"], "includeLastDayOfMonth": true
                }}
            ],
            "maxParallelBackups": "4", "randMaxDelay": {"type": "MINUTES", "count": "20"},
            "scheme": "CUSTOM", "weeklyBackupDay": "SUNDAY",
            "taskFailure": {"enabled": true, "interval": {"type": "MINUTES", "count": "10"}, "maxAttempts": "2"}
        },
        "fileFilters": {"exclusionMasks": ["*.tmp"]},
        "prePostCommands": [{
            "cmd": "fsfreeze-check", "args": "--quick 'data set'", "enabled": true, "stopOnError": true,
            "type": "PRE_COMMAND", "wait": true
        }]
    })
}
