//! A tenant with two repositories, a machine and its agent, which does what a test says: nothing here waits for anything.

use axum::http::Method;
use domain::repository::Repository;
use domain::resource::{ResourceKind, Sources};
use domain::task::{LeaseToken, Outcome, OutcomeCode, TaskError, TaskId};
use domain::token::TokenKind;
use domain::{Role, Scope, Timestamp, Uuid};
use ledger::{Expect, Write};
use serde_json::{Value, json};
use server::downloads::Downloads;
use server::service::{AgentHello, AgentIdentity, Assigned, Connected, NewResource, Report, ReportEvent};

use crate::world::{Answer, World};

pub(crate) struct Estate {
    pub(crate) world: World,
    /// An administrator of the tenant.
    pub(crate) token: String,
    pub(crate) agent: Connected,
    /// A machine of the agent.
    pub(crate) machine: Uuid,
    /// The usual repository, and another one.
    pub(crate) local: Uuid,
    pub(crate) remote: Uuid,
    pub(crate) secret: String,
    _downloads: tempfile::TempDir,
}

/// A task in the hands of the agent.
pub(crate) struct Job {
    pub(crate) assigned: Assigned,
    agent: AgentIdentity,
}

/// The folders that the agent restores to.
pub(crate) const ROOTS: [&str; 2] = ["/var/lib/backstay/restored", "/srv/restores"];

impl Estate {
    pub(crate) async fn new() -> Estate {
        let folder = tempfile::tempdir().expect("a folder");
        let downloads = Downloads::in_folder(folder.path().to_owned(), 1 << 20).expect("it can be made");
        let world = World::with(|service| service.keeping(downloads)).await;
        let mut made = Vec::new();
        for name in ["local", "remote"] {
            let now = world.service.moment().now;
            let repository = Repository::new(
                Uuid::now_v7(),
                Uuid::nil(),
                name,
                format!("/{name}"),
                world.service.seal("tape under the desk").expect("randomness"),
                now,
            );
            made.push(repository.id);
            world.commit(vec![Write::Put(Box::new(repository.into()), Expect::New)]).await;
        }
        let token = world.token(world.acme, Role::Admin).await;
        let tenant = world.service.tenant(&world.root, world.acme).await.expect("the tenant");
        let (scope, kind) = (Scope::subtree(&tenant), TokenKind::Agent);
        let issued = world.service.issue(&world.root, &scope, kind, "agent".into(), Role::Operator, None).await;
        let secret = issued.expect("a token").1;
        let hello = AgentHello {
            name: "srv-01".into(),
            os: "linux x86_64".into(),
            version: "0.1.0".into(),
            system: "linux".into(),
            restore_roots: ROOTS.map(str::to_owned).to_vec(),
            ..AgentHello::default()
        };
        let agent = world.service.agent_connected(&secret, hello).await.expect("connected");
        let (local, remote) = (made[0], made[1]);
        let none = Uuid::nil();
        let mut estate = Estate { world, token, agent, machine: none, local, remote, secret, _downloads: folder };
        let metadata = json!({ "tags": { "env": "prod", "count": 3 }, "location": "attic", "encrypted": true });
        estate.machine = estate.resource("db01", "db01 data", ResourceKind::BareMetal, metadata).await;
        estate
    }

    pub(crate) async fn resource(&self, instance: &str, name: &str, kind: ResourceKind, metadata: Value) -> Uuid {
        let new = NewResource {
            tenant: Some(self.world.acme),
            instance_id: Some(instance.to_owned()),
            kind,
            name: name.to_owned(),
            agent: Some(self.agent.agent.id()),
            sources: Sources { paths: vec!["/srv".into(), "/home".into()], excludes: Vec::new() },
            metadata,
        };
        self.world.service.add_resource(&self.world.root, new).await.expect("a resource").resource.id
    }

    /// The next task for the agent; it has begun.
    pub(crate) async fn next_job(&self) -> Job {
        let agent = self.agent.agent.clone();
        let assigned = self.world.service.claim(&agent, 1).await.expect("a claim").pop().expect("a task waits");
        let job = Job { assigned, agent };
        self.report(&job, ReportEvent::Started).await;
        job
    }

    pub(crate) async fn report(&self, job: &Job, event: ReportEvent) {
        let (task, lease): (TaskId, LeaseToken) = (job.assigned.task.id, job.assigned.lease.clone());
        self.world.service.report(&job.agent, Report { task, lease, event }).await.expect("reported");
    }

    pub(crate) async fn done(&self, job: &Job, payload: Value) {
        let outcome = Outcome { payload, ..Outcome::of(OutcomeCode::Ok) };
        self.report(job, ReportEvent::Completed { outcome, progress: None }).await;
    }

    pub(crate) async fn failed(&self, job: &Job, message: &str) {
        let error = Some(TaskError::server("broken", message.to_owned()));
        let outcome = Outcome { error, ..Outcome::of(OutcomeCode::Error) };
        self.report(job, ReportEvent::Completed { outcome, progress: None }).await;
    }

    /// Asks for a backup and lets the agent make it; the id of the recovery point.
    pub(crate) async fn backup(&self, volume: Uuid, region: Option<&str>, at: &str) -> Uuid {
        let body = json!({ "volume_id": volume, "settings": { "backup_aws_region": region } });
        let asked = self.post("/backups/aws/ebs-volumes", body).await;
        assert_eq!(asked.status, 202, "{asked:?}");
        self.make_backup(at).await
    }

    /// Lets the agent make the backup that waits.
    pub(crate) async fn make_backup(&self, at: &str) -> Uuid {
        let job = self.next_job().await;
        assert_eq!(job.assigned.task.spec.kind, "backup");
        let at: Timestamp = at.parse().expect("a time");
        let roots = json!([{ "path": "/srv", "size": 1000, "free": 400, "system": false }]);
        let done = json!({
            "snapshot": Uuid::now_v7().simple().to_string().repeat(2), "created_at": at, "incremental": true,
            "size": (1u64 << 30) + 1, "added": 10, "files": 4, "files_new": 1, "files_changed": 1, "roots": roots,
        });
        self.done(&job, done).await;
        let task = job.assigned.task.id.0;
        let all = self.world.service.all_backups(&self.world.root, domain::query::Filter::all()).await.expect("a list");
        all.iter().find(|b| b.task == task).expect("it is there").id
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.world.get(path, &self.token).await.ok()
    }

    pub(crate) async fn refused(&self, path: &str) -> (u16, Vec<u64>) {
        self.world.get(path, &self.token).await.refused()
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.world.call(Method::POST, path, &self.token, body).await
    }

    /// A list with a filter.
    pub(crate) async fn list(&self, path: &str, filter: &Value) -> Value {
        self.get(&format!("{path}?filter={}", encoded(&filter.to_string()))).await
    }

    /// What a list shows in this member, with a filter.
    pub(crate) async fn shown(&self, path: &str, filter: &Value, member: &str) -> Vec<Value> {
        let list = self.list(path, filter).await;
        let items = items(&list);
        assert_eq!(list["current_count"], items.len());
        items.iter().map(|item| item[member].clone()).collect()
    }
}

pub(crate) fn items(list: &Value) -> Vec<Value> {
    list["_embedded"]["items"].as_array().expect("items").clone()
}

pub(crate) fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
