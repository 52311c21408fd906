//! Machines join, connect, are taken out and come back: over a ledger in memory, without a transport.

use std::sync::Arc;

use domain::audit::AuditEntry;
use domain::policy::{Application, Retention, Schedule, Settings};
use domain::query::{Filter, Query};
use domain::repository::Repository;
use domain::task::{ResultCode, State, TaskRef};
use ledger::{Ledger, MemoryLedger};

use super::*;
use crate::secrets::Sealer;
use crate::service::{AgentHello, Connected, NewPolicy, NewResource, PolicyChange, ResourceChange};

struct World {
    service: Service,
    ledger: Arc<MemoryLedger>,
    root: Caller,
}

impl World {
    async fn new() -> World {
        let ledger = Arc::new(MemoryLedger::new());
        let service = Service::new(ledger.clone(), Sealer::new(&[7; 32]).expect("32 bytes"));
        let now = service.moment().now;
        let repository = Repository::new(
            Uuid::now_v7(),
            Uuid::nil(),
            "local",
            "/repository",
            service.seal("tape under the desk").expect("randomness"),
            now,
        );
        let writes = vec![
            Write::Put(Box::new(Tenant::root("root", "UTC", now).into()), Expect::New),
            Write::Put(Box::new(repository.into()), Expect::New),
        ];
        ledger.commit(&Scope::everything(), service.moment(), writes).await.expect("an empty ledger");
        World { service, ledger, root: Caller::server() }
    }

    async fn tenant(&self, name: &str) -> Uuid {
        let new = super::super::NewTenant { parent: None, name: name.into(), description: String::new() };
        self.service.create_tenant(&self.root, new).await.expect("a tenant").id
    }

    async fn token(&self, tenant: Uuid, joins: Joins) -> String {
        self.service.registration_token(&self.root, tenant, joins).await.expect("a token").1
    }

    async fn policy(&self) -> Uuid {
        let new = NewPolicy {
            tenant: None,
            name: "daily".into(),
            schedule: Schedule::Manual {},
            settings: Settings::default(),
            retention: Retention::default(),
            as_written: None,
            repository: None,
            enabled: true,
        };
        self.service.create_policy(&self.root, new).await.expect("a policy").id
    }

    async fn join(&self, token: &str, wished: Option<&str>) -> Result<Joined> {
        self.service.join(token, machine(wished)).await
    }

    async fn connect(&self, secret: &str) -> Connected {
        let hello =
            AgentHello { name: "db".into(), system: "linux".into(), version: "1".into(), ..AgentHello::default() };
        self.service.agent_connected(secret, hello).await.expect("its token is valid")
    }

    async fn leave(&self, connected: Connected) {
        let Connected { agent, session, .. } = connected;
        self.service.agent_gone(&agent, session).await.expect("it is noted");
    }

    /// What the audit has from the machine's side, in time.
    async fn events(&self) -> Vec<String> {
        let ledger: &dyn Ledger = &*self.ledger;
        let mut entries = ledger.all::<AuditEntry>(&Scope::everything(), Filter::all()).await.expect("entries");
        entries.sort_by_key(|entry| entry.value.id);
        entries.into_iter().map(|entry| entry.value.action).filter(|action| action.ends_with("Resource")).collect()
    }

    async fn resource(&self, id: Uuid) -> Resource {
        let ledger: &dyn Ledger = &*self.ledger;
        ledger.get::<Resource>(&Scope::everything(), id).await.expect("it is known").value
    }
}

fn machine(wished: Option<&str>) -> Joining {
    Joining {
        name: "db".into(),
        os: "Linux".into(),
        system: "linux".into(),
        version: "1".into(),
        instance_id: wished.map(Into::into),
        virtual_machine: true,
        csr: None,
    }
}

#[tokio::test]
async fn a_machine_is_registering_until_its_agent_connects() {
    let world = World::new().await;
    let policy = world.policy().await;
    let joins = Joins { kind: Some(ResourceKind::BareMetal), external: true, policies: vec![policy] };
    let token = world.token(Uuid::nil(), joins).await;
    let joined = world.join(&token, Some("db-1")).await.expect("a valid token");
    let resource = world.resource(joined.resource.id).await;
    assert_eq!(
        (resource.registration, resource.kind, resource.external),
        (Registration::Registering, ResourceKind::BareMetal, true)
    );
    assert_eq!(resource.registration_details["agent_version"], "1");
    let connected = world.connect(&joined.agent_token).await;
    let resource = world.resource(joined.resource.id).await;
    assert_eq!((resource.registration, resource.agent), (Registration::Registered, Some(connected.agent.id())));
    let ledger: &dyn Ledger = &*world.ledger;
    let applied = ledger.all::<Application>(&Scope::everything(), Filter::all()).await.expect("applications");
    assert_eq!(applied.iter().map(|a| (a.value.policy, a.value.resource)).collect::<Vec<_>>(), [(policy, resource.id)]);
    // The token is good for more machines, and each gets an id of its own.
    let another = world.join(&token, None).await.expect("a valid token").resource;
    assert!(another.instance_id.starts_with("bst") && another.instance_id.len() == 20, "{}", another.instance_id);
    assert!(another.instance_id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
}

#[tokio::test]
async fn without_a_type_the_agents_findings_decide() {
    let world = World::new().await;
    let token = world.token(Uuid::nil(), Joins::default()).await;
    let found = world.join(&token, None).await.expect("a valid token").resource;
    assert_eq!((found.kind, found.external), (ResourceKind::ComputeVm, false));
}

#[tokio::test]
async fn an_id_that_is_not_free_or_none_is_replaced() {
    let world = World::new().await;
    let (acme, globex) = (world.tenant("acme").await, world.tenant("globex").await);
    let (of_acme, of_globex) = (world.token(acme, Joins::default()).await, world.token(globex, Joins::default()).await);
    world.join(&of_acme, Some("db-1")).await.expect("free");
    let stranger = world.join(&of_globex, Some("db-1")).await.expect("another tenant's machine").resource;
    assert!(stranger.instance_id.starts_with("bst") && stranger.tenant == globex);
    let odd = world.join(&of_globex, Some("a b")).await.expect("no id").resource;
    assert!(odd.instance_id.starts_with("bst"));
}

#[tokio::test]
async fn another_agent_takes_over_only_while_the_first_is_away() {
    let world = World::new().await;
    let token = world.token(Uuid::nil(), Joins::default()).await;
    let first = world.join(&token, Some("db-1")).await.expect("free");
    let connected = world.connect(&first.agent_token).await;
    let agent = connected.agent.id();
    let refused = world.join(&token, Some("db-1")).await.expect_err("its agent is there");
    assert_eq!(refused.code, Code::StateConflict);
    world.leave(connected).await;
    let second = world.join(&token, Some("db-1")).await.expect("nobody is there");
    assert_eq!(second.resource.id, first.resource.id);
    let former = world.service.agent_token(&first.agent_token, None).await.expect_err("it is cut off");
    assert_eq!(former.code, Code::Unauthenticated);
    let connected = world.connect(&second.agent_token).await;
    assert_eq!(connected.agent.id(), agent, "what waits for the agent finds it");
}

#[tokio::test]
async fn a_machine_that_was_taken_out_comes_back_as_the_same() {
    let world = World::new().await;
    let policy = world.policy().await;
    let token = world.token(Uuid::nil(), Joins { policies: vec![policy], ..Joins::default() }).await;
    let joined = world.join(&token, Some("db-1")).await.expect("free");
    let connected = world.connect(&joined.agent_token).await;
    world.leave(connected).await;
    let id = joined.resource.id;
    let waiting = world.service.run_policy(&world.root, policy, Some(id)).await.expect("a run").remove(0);

    world.service.unregister(&world.root, id, None).await.expect("it is there");
    let resource = world.resource(id).await;
    assert_eq!((resource.registration, resource.enabled, resource.active), (Registration::Deleted, false, false));
    let task = world.ledger.task(&Scope::everything(), TaskRef::Id(waiting.id)).await.expect("the task");
    assert_eq!((task.state(), task.result().map(|r| r.code)), (State::Completed, Some(ResultCode::Cancelled)));
    assert!(world.service.agent_token(&joined.agent_token, None).await.is_err(), "its agent is let in no longer");
    let listed = world.service.resources(&world.root, &Query::newest(Filter::all(), 10)).await.expect("a list");
    assert!(listed.items.is_empty());
    assert_eq!(world.service.resource(&world.root, id).await.expect_err("gone").code, Code::NotFound);
    assert_eq!(world.service.instance(&world.root, "db-1").await.expect_err("gone").code, Code::NotFound);
    assert_eq!(world.service.known_instance(&world.root, "db-1").await.expect("known").id, id);
    assert_eq!(world.service.unregister(&world.root, id, None).await.expect_err("gone").code, Code::NotFound);

    let again = world.join(&token, Some("db-1")).await.expect("its own id");
    assert_eq!((again.resource.id, again.resource.created_at), (id, joined.resource.created_at));
    world.connect(&again.agent_token).await;
    let resource = world.resource(id).await;
    assert_eq!((resource.registration, resource.deleted_at), (Registration::Registered, None));
    let events = ["InitResource", "RegisterResource", "DeleteResource", "InitResource", "RegisterResource"];
    assert_eq!(world.events().await, events);
}

#[tokio::test]
async fn a_machine_that_joins_again_goes_on_with_its_schedule_and_with_what_people_said() {
    let world = World::new().await;
    let policy = world.policy().await;
    let every = |hours| Some(Schedule::Interval { every: SignedDuration::from_hours(hours) });
    let change = |schedule| PolicyChange { schedule, ..PolicyChange::default() };
    world.service.change_policy(&world.root, policy, change(every(6))).await.expect("changed");
    let token = world.token(Uuid::nil(), Joins { policies: vec![policy], ..Joins::default() }).await;
    let joined = world.join(&token, Some("m-5")).await.expect("free");
    let id = joined.resource.id;
    world.leave(world.connect(&joined.agent_token).await).await;
    let said = ResourceChange { name: Some("ours".into()), live_recovery: Some(true), ..ResourceChange::default() };
    world.service.change_resource(&world.root, id, said).await.expect("changed");
    let next = async || {
        let ledger: &dyn Ledger = &*world.ledger;
        let found = ledger.all::<Application>(&Scope::everything(), Filter::all()).await.expect("applications");
        found[0].value.next_run_at
    };
    assert!(next().await.is_some());

    let again = world.join(&token, Some("m-5")).await.expect("nobody is there");
    world.service.change_policy(&world.root, policy, change(every(7))).await.expect("changed");
    assert_eq!(next().await, None, "it is not registered");
    world.leave(world.connect(&again.agent_token).await).await;
    assert!(next().await.is_some());
    let resource = world.resource(id).await;
    assert_eq!((resource.name.as_str(), resource.live_recovery, resource.enabled), ("ours", true, true));
    let events = ["InitResource", "RegisterResource", "UpdateResource", "RegisterResource"];
    assert_eq!(world.events().await, events);

    // One that is switched off stays so, and shows no run to come.
    let off = ResourceChange { enabled: Some(false), ..ResourceChange::default() };
    world.service.change_resource(&world.root, id, off).await.expect("changed");
    assert_eq!(next().await, None);
    let again = world.join(&token, Some("m-5")).await.expect("nobody is there");
    world.leave(world.connect(&again.agent_token).await).await;
    assert!(!world.resource(id).await.enabled);
    assert_eq!(next().await, None);
    let on = ResourceChange { enabled: Some(true), ..ResourceChange::default() };
    world.service.change_resource(&world.root, id, on).await.expect("changed");
    assert!(next().await.is_some());
}

#[tokio::test]
async fn a_policy_whose_applying_is_cancelled_is_not_applied() {
    let world = World::new().await;
    let policy = world.policy().await;
    let token = world.token(Uuid::nil(), Joins::default()).await;
    let joined = world.join(&token, Some("db-1")).await.expect("free");
    let applying = world.service.apply_policy_operation(&world.root, policy, joined.resource.id, None).await;
    let applying = applying.expect("accepted").operation.id;
    let ledger: &dyn Ledger = &*world.ledger;
    let applied = async || ledger.all::<Application>(&Scope::everything(), Filter::all()).await.expect("a list").len();
    assert_eq!(applied().await, 1);
    let cancelled = world.service.cancel_operation(&world.root, applying).await.expect("it waits");
    assert_eq!(cancelled.task.and_then(|t| t.result().map(|r| r.code)), Some(ResultCode::Cancelled));
    assert_eq!(applied().await, 0);
    world.connect(&joined.agent_token).await;
    assert_eq!(applied().await, 0);
}

#[tokio::test]
async fn a_resource_that_is_made_again_by_hand_is_the_same_too() {
    let world = World::new().await;
    let new = |name: &str| NewResource {
        tenant: None,
        instance_id: Some("db-1".into()),
        kind: ResourceKind::BareMetal,
        name: name.into(),
        agent: None,
        sources: Sources::default(),
        metadata: serde_json::Value::Null,
    };
    let nameless = NewResource { instance_id: None, ..new("zero") };
    let issued = world.service.add_resource(&world.root, nameless).await.expect("made").resource.instance_id;
    assert!(issued.starts_with("bst") && issued.len() == 20, "{issued}");
    let first = world.service.add_resource(&world.root, new("one")).await.expect("free").resource;
    let taken = world.service.add_resource(&world.root, new("two")).await.expect_err("taken");
    assert_eq!(taken.code, Code::AlreadyExists);
    world.service.delete_resource(&world.root, first.id).await.expect("nothing is open");
    let second = world.service.add_resource(&world.root, new("two")).await.expect("free again").resource;
    assert_eq!((second.id, second.name.as_str(), second.deleted_at), (first.id, "two", None));
}

#[tokio::test]
async fn a_system_without_an_agent_fails_to_register_and_says_why() {
    let world = World::new().await;
    let token = world.token(Uuid::nil(), Joins::default()).await;
    let joining = Joining { system: "plan9".into(), ..machine(Some("db-1")) };
    let refused = world.service.join(&token, joining).await.expect_err("no agent for it");
    assert_eq!(refused.code, Code::RegistrationFailed);
    let known = world.service.instance(&world.root, "db-1").await.expect("it is shown");
    assert_eq!(known.registration, Registration::Failed);
    assert_eq!(known.registration_details["reason"], "there is no agent for the system 'plan9'");
}

#[tokio::test]
async fn registration_tokens_open_nothing_else_and_end() {
    let world = World::new().await;
    let (token, secret) =
        world.service.registration_token(&world.root, Uuid::nil(), Joins::default()).await.expect("a token");
    assert_eq!(Uuid::parse_str(&secret).map(|u| u.get_version_num()), Ok(4));
    assert_eq!(token.expires_at, token.created_at.checked_add(VALID).ok());
    assert!(world.service.authenticate(&secret).await.is_err());
    assert!(world.service.agent_token(&secret, None).await.is_err());
    assert_eq!(
        world.service.registrar(&secret.to_uppercase()).await.expect("letter case is free").name,
        "registration"
    );
    world.service.revoke_token(&world.root, token.id).await.expect("it is there");
    for refused in [world.join(&secret, None).await, world.join("nonsense", None).await] {
        assert_eq!(refused.expect_err("no such token").code, Code::Unauthenticated);
    }
}

#[tokio::test]
async fn policies_of_a_token_must_fit_its_machines() {
    let world = World::new().await;
    let acme = world.tenant("acme").await;
    let of_root = world.policy().await;
    let joins = |policy| Joins { policies: vec![policy], ..Joins::default() };
    world.token(acme, joins(of_root)).await;
    let none = world.service.registration_token(&world.root, acme, joins(Uuid::nil())).await.expect_err("none such");
    assert_eq!(none.code, Code::NotFound);
}
