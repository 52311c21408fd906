//! Agents against a ledger in memory, without a transport: connect, claim, report, and everything that comes twice, late
//! or never.

mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use domain::backup::{Backup, BackupKind};
use domain::policy::Settings;
use domain::query::{Filter, Query};
use domain::repository::Repository;
use domain::resource::{Registration, Resource, ResourceKind, Sources};
use domain::task::{Named, Phase, ResultCode, Rules, TaskSpec, kind};
use domain::tenant::Tenant;
use domain::token::TokenKind;
use domain::work::{BackupDone, BackupWork, Layout, Overwrite, RecoveryWork};
use domain::{Caller, Moment, Role, SignedDuration, Timestamp};
use ledger::{Ledger, MemoryLedger};
use serde_json::{Value as Json, json};

use super::*;
use crate::secrets::Sealer;

const PASSWORD: &str = "tape under the desk";

struct World {
    service: Service,
    ledger: Arc<MemoryLedger>,
    secret: String,
    token: Token,
    repository: Uuid,
    resource: Uuid,
}

impl World {
    async fn new() -> World {
        let ledger = Arc::new(MemoryLedger::new());
        let sealer = Sealer::new(&[7; 32]).expect("32 bytes");
        let sealed_password = sealer.seal(PASSWORD).expect("randomness");
        let service = Service::new(ledger.clone(), sealer);
        let now = service.moment().now;
        let (repository, resource) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let records: Vec<domain::record::Record> = vec![
            Tenant::root("root", "UTC", now).into(),
            Repository::new(repository, Uuid::nil(), "local", "/repository", sealed_password, now).into(),
            Resource {
                id: resource,
                tenant: Uuid::nil(),
                instance_id: "host".into(),
                kind: ResourceKind::BareMetal,
                name: "host".into(),
                agent: None,
                sources: Sources::default(),
                enabled: true,
                active: true,
                external: false,
                live_recovery: false,
                registration: Registration::Registered,
                registration_details: Json::Null,
                last_backup_at: None,
                metadata: Json::Null,
                created_at: now,
                updated_at: now,
                deleted_at: None,
            }
            .into(),
        ];
        let writes = records.into_iter().map(|r| Write::Put(Box::new(r), Expect::New)).collect();
        ledger.commit(&Scope::everything(), service.moment(), writes).await.expect("an empty ledger");
        let (by, everything, kind) = (Caller::server(), Scope::everything(), TokenKind::Agent);
        let issued = service.issue(&by, &everything, kind, "agent".into(), Role::Operator, None).await;
        let (token, secret) = issued.expect("a token");
        World { service, ledger, secret, token, repository, resource }
    }

    async fn connect(&self, running: &[&Assigned]) -> Connected {
        let running = running.iter().map(|a| Held { task: a.task.id, lease: a.lease.clone() }).collect();
        let hello = AgentHello {
            name: "host".into(),
            os: "Linux".into(),
            version: "1".into(),
            running,
            ..AgentHello::default()
        };
        self.service.agent_connected(&self.secret, hello).await.expect("a valid token")
    }

    fn backup(&self) -> TaskSpec {
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind::BACKUP, AGENT_QUEUE, Uuid::nil());
        spec.argument = json!(BackupWork {
            archive: Uuid::from_u128(3),
            repository: self.repository,
            paths: vec!["/home".into()],
            full: false,
            volume: false,
            settings: Settings::default(),
        })
        .into();
        spec.resource = Some(Named::ours(self.resource, "bare_metal", "host"));
        spec.rules = Rules {
            cancellable: true,
            max_assign_count: 3,
            heartbeat_interval: Some(SignedDuration::from_secs(10)),
            ack_timeout: SignedDuration::from_secs(60),
            ..Rules::default()
        };
        spec
    }

    async fn create(&self, spec: TaskSpec) -> TaskId {
        let write = Write::CreateTask(Box::new(spec));
        let committed = self.ledger.commit(&Scope::everything(), self.service.moment(), vec![write]).await;
        let committed = committed.expect("a new task");
        self.service.deliver(&committed);
        committed.task().expect("the task").id
    }

    async fn task(&self, id: TaskId) -> Task {
        self.ledger.task(&Scope::everything(), TaskRef::Id(id)).await.expect("the task")
    }

    async fn backups(&self) -> Vec<Backup> {
        let ledger: &dyn Ledger = &*self.ledger;
        let found = ledger.all::<Backup>(&Scope::everything(), Filter::all()).await.expect("backups");
        found.into_iter().map(|s| s.value).collect()
    }

    async fn resource(&self) -> Resource {
        let ledger: &dyn Ledger = &*self.ledger;
        ledger.get::<Resource>(&Scope::everything(), self.resource).await.expect("the resource").value
    }

    async fn claim_one(&self, agent: &AgentIdentity) -> Assigned {
        let mut claimed = self.service.claim(agent, 1).await.expect("a claim");
        assert_eq!(claimed.len(), 1);
        claimed.remove(0)
    }

    async fn report(&self, agent: &AgentIdentity, on: &Assigned, event: ReportEvent) -> Result<Reported> {
        self.service.report(agent, Report { task: on.task.id, lease: on.lease.clone(), event }).await
    }
}

fn done(snapshot: &str) -> BackupDone {
    BackupDone {
        snapshot: snapshot.to_owned(),
        created_at: Timestamp::from_second(1_800_000_000).expect("a time"),
        incremental: true,
        size: 100,
        added: 10,
        added_raw: 30,
        changed: 40,
        roots: Vec::new(),
        files: 3,
        files_new: 1,
        files_changed: 1,
        sha256: String::new(),
        unreadable: vec![],
        unreadable_total: 0,
    }
}

fn completed(code: OutcomeCode, payload: Json) -> ReportEvent {
    ReportEvent::Completed { outcome: Outcome { payload, ..Outcome::of(code) }, progress: None }
}

const DURABLE: Reported = Reported::Durable { cancel_requested: false };

#[tokio::test]
async fn an_agent_is_registered_once_and_known_again() {
    let world = World::new().await;
    let first = world.connect(&[]).await;
    let again = world.connect(&[]).await;
    assert_eq!(first.agent, again.agent);
    let ledger: &dyn Ledger = &*world.ledger;
    let agents = ledger.all::<Agent>(&Scope::everything(), Filter::all()).await.expect("agents");
    assert_eq!(agents.len(), 1);
    assert_eq!(agents[0].value.name, "host");
    assert!(agents[0].value.last_seen_at.is_some());

    assert!(first.commands.is_closed(), "the newer session has taken the older one's place");
    world.service.agent_gone(&again.agent, again.session).await.expect("a known agent");
    assert!(!world.service.hub().online(again.agent.id()));
}

#[tokio::test]
async fn revoking_a_token_ends_the_session_that_came_with_it_and_one_that_is_just_beginning() {
    let world = World::new().await;
    let mut connected = world.connect(&[]).await;
    world.service.revoke_token(&Caller::server(), world.token.id).await.expect("revoked");
    let told = connected.commands.try_recv().expect("it is told at once");
    assert!(matches!(told, Command::Refused(e) if e.code == Code::Unauthenticated), "its session ends");

    // Revoked after its token was looked at, and before there was a session to end.
    let world = World::new().await;
    let (ledger, token, asked) = (world.ledger.clone(), world.token.clone(), AtomicUsize::new(0));
    let service = Service::new(world.ledger.clone(), Sealer::new(&[7; 32]).expect("32 bytes")).by_clock(move || {
        // The first time at the start, the second time to see whether the token has expired.
        if asked.fetch_add(1, Ordering::Relaxed) == 1 {
            let ledger: &dyn Ledger = &*ledger;
            let revoke = async {
                let found = ledger.get::<Token>(&Scope::everything(), token.id).await.expect("the token");
                let revoked = Token { revoked_at: Some(Timestamp::now()), ..found.value };
                let moment = Moment { now: Timestamp::now(), up_since: Timestamp::now() };
                let write = Write::Put(Box::new(revoked.into()), Expect::Rev(found.rev));
                ledger.commit(&Scope::everything(), moment, vec![write]).await.expect("revoked");
            };
            // A ledger in memory never waits.
            assert!(std::pin::pin!(revoke).poll(&mut Context::from_waker(Waker::noop())).is_ready());
        }
        Timestamp::now()
    });
    let hello = AgentHello { name: "host".into(), ..AgentHello::default() };
    let error = service.agent_connected(&world.secret, hello).await.expect_err("it was revoked meanwhile");
    assert_eq!(error.code, Code::Unauthenticated);
    let ledger: &dyn Ledger = &*world.ledger;
    let agents = ledger.all::<Agent>(&Scope::everything(), Filter::all()).await.expect("agents");
    assert!(!service.hub().online(agents[0].value.id));
}

#[tokio::test]
async fn a_token_that_is_not_an_agents_or_no_longer_valid_is_refused() {
    let world = World::new().await;
    let (by, everything, kind) = (Caller::server(), Scope::everything(), TokenKind::Api);
    let api = world.service.issue(&by, &everything, kind, "person".into(), Role::Admin, None).await;
    for secret in ["nonsense", &api.expect("a token").1] {
        let hello = AgentHello { name: "host".into(), ..AgentHello::default() };
        let error = world.service.agent_connected(secret, hello).await.expect_err("no agent's token");
        assert_eq!(error.code, Code::Unauthenticated);
        assert!(error.hint.is_some());
    }
    let connected = world.connect(&[]).await;
    let revoked = Token { revoked_at: Some(world.service.moment().now), ..world.token.clone() };
    world
        .service
        .note::<Token>(&Scope::everything(), world.token.id, |t| {
            *t = revoked.clone();
            Ok(())
        })
        .await
        .expect("the token");
    let error = world.service.claim(&connected.agent, 1).await.expect_err("the token is revoked");
    assert_eq!(error.code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_backup_that_is_reported_twice_is_one_backup() {
    let world = World::new().await;
    let id = world.create(world.backup()).await;
    let Connected { agent, .. } = world.connect(&[]).await;
    let work = world.claim_one(&agent).await;
    assert_eq!(work.repository.password, PASSWORD);
    assert!(work.create_repository, "no backup lies in it yet");
    assert!(!format!("{work:?}").contains(PASSWORD));

    assert_eq!(world.report(&agent, &work, ReportEvent::Started).await, Ok(DURABLE));
    assert_eq!(world.report(&agent, &work, ReportEvent::Started).await, Ok(DURABLE));
    let event = completed(OutcomeCode::Ok, json!(done("abc")));
    assert_eq!(world.report(&agent, &work, event.clone()).await, Ok(DURABLE));
    assert_eq!(world.report(&agent, &work, event).await, Ok(DURABLE));

    let backups = world.backups().await;
    assert_eq!(backups.len(), 1);
    let backup = &backups[0];
    assert_eq!((backup.task, backup.snapshot.as_str(), backup.resource), (id.0, "abc", world.resource));
    assert_eq!((backup.kind, backup.size, backup.added, backup.files), (BackupKind::Incremental, 100, 10, 3));
    assert_eq!(world.resource().await.last_backup_at, Some(done("abc").created_at));
    assert_eq!(world.task(id).await.result().expect("it is over").code, ResultCode::Ok);

    // Another end of the same task comes too late, and heartbeats find that it is over.
    let other = completed(OutcomeCode::Ok, json!(done("def")));
    assert_eq!(world.report(&agent, &work, other).await, Ok(Reported::Void));
    assert_eq!(world.report(&agent, &work, ReportEvent::Heartbeat).await, Ok(Reported::Void));

    world.create(world.backup()).await;
    assert!(!world.claim_one(&agent).await.create_repository, "one backup lies in it");
}

#[tokio::test]
async fn a_finished_backup_without_a_snapshot_is_an_error() {
    let world = World::new().await;
    let id = world.create(world.backup()).await;
    let Connected { agent, .. } = world.connect(&[]).await;
    let work = world.claim_one(&agent).await;
    for _ in 0..2 {
        let event = completed(OutcomeCode::Ok, json!({"bytes": 1}));
        assert_eq!(world.report(&agent, &work, event).await, Ok(DURABLE));
    }
    let task = world.task(id).await;
    let result = task.result().expect("it is over");
    assert_eq!(result.code, ResultCode::Error);
    assert_eq!(result.error.as_ref().expect("a reason").code, "unreadableReport");
    assert!(world.backups().await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_carried_out_ends_and_leaves_its_slot() {
    let world = World::new().await;
    let mut lost = world.backup();
    lost.argument["repository"] = json!(Uuid::from_u128(99));
    let lost = world.create(lost).await;
    let mut broken = world.backup();
    broken.argument = json!("nonsense").into();
    let broken = world.create(broken).await;
    let mut gone = world.backup();
    gone.kind = kind::RECOVERY.into();
    gone.argument = json!(RecoveryWork {
        backup: Uuid::from_u128(98),
        repository: world.repository,
        snapshot: "abc".into(),
        to: "/tmp".into(),
        paths: vec![],
        layout: Layout::Below,
        overwrite: Overwrite::IfChanged,
        device: false,
        reboot_if_needed: false,
        place: None,
    })
    .into();
    let gone = world.create(gone).await;
    let good = world.create(world.backup()).await;

    let Connected { agent, .. } = world.connect(&[]).await;
    assert_eq!(world.claim_one(&agent).await.task.id, good);
    for (id, code) in [(lost, "not_found"), (broken, "invalid_field"), (gone, "not_found")] {
        let task = world.task(id).await;
        let result = task.result().expect("it is over");
        assert_eq!(result.code, ResultCode::Error);
        assert_eq!(result.error.as_ref().expect("a reason").code, code);
    }
}

#[tokio::test]
async fn tasks_that_an_agent_lost_return_to_the_queue_and_undelivered_ones_are_delivered_again() {
    let world = World::new().await;
    let Connected { agent, .. } = world.connect(&[]).await;
    for _ in 0..3 {
        world.create(world.backup()).await;
    }
    let work = world.service.claim(&agent, 3).await.expect("a claim");
    let [kept, lost, undelivered] = work.as_slice() else { panic!("three tasks: {work:?}") };
    assert_eq!(world.report(&agent, kept, ReportEvent::Started).await, Ok(DURABLE));
    assert_eq!(world.report(&agent, lost, ReportEvent::Started).await, Ok(DURABLE));
    let stale = Assigned { lease: LeaseToken("of yesterday".into()), ..lost.clone() };

    let back = world.connect(&[kept, &stale]).await;
    assert_eq!(back.void, std::slice::from_ref(&stale.lease));
    assert_eq!(
        back.again.iter().map(|a| (a.task.id, &a.lease)).collect::<Vec<_>>(),
        [(undelivered.task.id, &undelivered.lease)]
    );
    let lost_now = world.task(lost.task.id).await;
    assert_eq!((lost_now.state(), lost_now.status.assign_count), (State::Enqueued, 1));
    assert_eq!(world.task(kept.task.id).await.state(), State::Started);
    assert_eq!(world.report(&agent, lost, ReportEvent::Heartbeat).await, Ok(Reported::Void));

    let again = world.claim_one(&back.agent).await;
    assert_eq!(again.task.id, lost.task.id);
    assert_ne!(again.lease, lost.lease);
}

#[tokio::test]
async fn a_cancellation_reaches_the_agent_both_ways() {
    let world = World::new().await;
    let id = world.create(world.backup()).await;
    let Connected { agent, mut commands, .. } = world.connect(&[]).await;
    let work = world.claim_one(&agent).await;
    assert_eq!(world.report(&agent, &work, ReportEvent::Started).await, Ok(DURABLE));

    let mut root = Caller::server();
    "operator".clone_into(&mut root.name);
    world.service.cancel_task(&root, TaskRef::Id(id)).await.expect("it is cancellable");
    match commands.try_recv() {
        Ok(Command::Stop { task, lease }) => assert_eq!((task, lease), (id, work.lease.clone())),
        other => panic!("no order to stop: {other:?}"),
    }
    let told = world.report(&agent, &work, ReportEvent::Heartbeat).await;
    assert_eq!(told, Ok(Reported::Durable { cancel_requested: true }));
    let end = world.report(&agent, &work, completed(OutcomeCode::Cancelled, Json::Null)).await;
    assert!(matches!(end, Ok(Reported::Durable { .. })));
    assert_eq!(world.task(id).await.result().expect("it is over").code, ResultCode::Cancelled);
}

#[tokio::test]
async fn an_agent_that_was_silent_too_long_is_told_that_its_lease_is_void() {
    let world = World::new().await;
    let id = world.create(world.backup()).await;
    let Connected { agent, mut commands, .. } = world.connect(&[]).await;
    let work = world.claim_one(&agent).await;
    assert_eq!(world.report(&agent, &work, ReportEvent::Started).await, Ok(DURABLE));

    let moment = world.service.moment();
    let later = Moment { now: moment.now + SignedDuration::from_hours(1), ..moment };
    let settled = world.ledger.commit(&Scope::everything(), later, vec![Write::Settle(id)]).await.expect("a commit");
    world.service.deliver(&settled);
    assert!(matches!(world.task(id).await.status.phase, Phase::Enqueued));
    match commands.try_recv() {
        Ok(Command::Void { task, lease }) => assert_eq!((task, lease), (id, work.lease)),
        other => panic!("not told that the lease is void: {other:?}"),
    }
    assert!(matches!(commands.try_recv(), Ok(Command::Wake)), "the task waits again");
}

#[tokio::test]
async fn an_agent_sees_nothing_outside_its_tenant() {
    let world = World::new().await;
    let everything = Scope::everything();
    let ledger: &dyn Ledger = &*world.ledger;
    let now = world.service.moment().now;
    let root = ledger.get::<Tenant>(&everything, Uuid::nil()).await.expect("the root").value;
    let child = root.child(Uuid::from_u128(50), 2, "child", now).expect("a tenant");
    let write = Write::Put(Box::new(child.clone().into()), Expect::New);
    ledger.commit(&everything, world.service.moment(), vec![write]).await.expect("a new tenant");
    let scope = Scope::subtree(&child);
    let (by, kind) = (Caller::server(), TokenKind::Agent);
    let issued = world.service.issue(&by, &scope, kind, "child's".into(), Role::Operator, None).await;
    let hello = AgentHello { name: "other".into(), ..AgentHello::default() };
    let connected = world.service.agent_connected(&issued.expect("a token").1, hello).await.expect("a valid token");

    let roots = world.create(world.backup()).await;
    assert_eq!(world.service.claim(&connected.agent, 1).await, Ok(vec![]));
    let forged = LeaseToken("anything".into());
    let report = Report { task: roots, lease: forged, event: ReportEvent::Heartbeat };
    assert_eq!(world.service.report(&connected.agent, report).await, Ok(Reported::Void));

    let childs = world.create(TaskSpec { tenant: child.id, ..world.backup() }).await;
    assert_eq!(world.claim_one(&connected.agent).await.task.id, childs);
    let query = Query::newest(Filter::all(), 10);
    let seen = ledger.tasks(&scope, &query).await.expect("tasks").items;
    assert_eq!(seen.len(), 1);
}
