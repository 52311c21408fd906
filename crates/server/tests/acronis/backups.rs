//! What issuers can say of known resources and policies, and of the backups that our own agents make (contract, D53, D67).

use axum::http::StatusCode;
use domain::policy::{Retention, Schedule, Settings};
use domain::repository::Repository;
use domain::resource::{ResourceKind, Sources};
use domain::token::TokenKind;
use domain::{Role, Scope, Uuid};
use ledger::{Expect, Write};
use serde_json::{Value, json};
use server::service::{AgentHello, AgentIdentity, NewPolicy, NewResource, Report, ReportEvent, ResourceChange};

use crate::history::{LOWER, UPPER};
use crate::shape::{API, as_refusal, refused};
use crate::world::World;
use crate::writing::Desk;

/// A resource of `acme` under a policy, and an agent that would make its backups.
struct Protected {
    resource: Uuid,
    policy: Uuid,
    agent: AgentIdentity,
}

async fn repository(world: &World, tenant: Uuid) {
    let now = world.service.moment().now;
    let repository = Repository::new(
        Uuid::now_v7(),
        tenant,
        "vault",
        "/srv/vault",
        world.service.seal("tape").expect("sealed"),
        now,
    );
    world.commit(vec![Write::Put(Box::new(repository.into()), Expect::New)]).await;
}

async fn resource(world: &World, tenant: Uuid, name: &str) -> Uuid {
    let new = NewResource {
        tenant: Some(tenant),
        instance_id: None,
        kind: ResourceKind::BareMetal,
        name: name.into(),
        agent: None,
        sources: Sources { paths: vec!["/home".into()], excludes: Vec::new() },
        metadata: Value::Null,
    };
    world.service.add_resource(&world.root, new).await.expect("a resource").resource.id
}

async fn policy(world: &World, name: &str, resource: Uuid) -> Uuid {
    let new = NewPolicy {
        tenant: Some(world.acme),
        name: name.into(),
        schedule: Schedule::Manual {},
        settings: Settings::default(),
        retention: Retention::default(),
        as_written: None,
        repository: None,
        enabled: true,
    };
    let policy = world.service.create_policy(&world.root, new).await.expect("a policy").id;
    world.service.apply_policy(&world.root, policy, resource).await.expect("applied");
    policy
}

async fn protected(world: &World) -> Protected {
    repository(world, world.acme).await;
    let acme = Scope::subtree(&world.tenant(world.acme).await);
    let issued = world.service.issue(&world.root, &acme, TokenKind::Agent, "agent".into(), Role::Operator, None).await;
    let hello =
        AgentHello { name: "srv-01".into(), os: "linux".into(), version: "0.1.0".into(), ..AgentHello::default() };
    let agent = world.service.agent_connected(&issued.expect("a token").1, hello).await.expect("connected").agent;
    let resource = resource(world, world.acme_east, "srv-01").await;
    let policy = policy(world, "Nightly", resource).await;
    Protected { resource, policy, agent }
}

#[tokio::test]
async fn known_things_lend_their_type_and_name() {
    // D67, D53
    let desk = Desk::new().await;
    let Protected { resource, policy, .. } = protected(&desk.world).await;
    let wish =
        |kind: &str| json!({ "type": kind, "queue": "q", "resource": { "id": resource }, "policy": { "id": policy } });
    let shown = desk.create(wish("backup")).await;
    // D54: on the wire all machines are machines.
    assert_eq!(shown["resource"], json!({ "id": resource, "type": "machine", "name": "srv-01" }));
    assert_eq!(shown["policy"], json!({ "id": policy, "type": "backup", "name": "Nightly" }));
    assert_eq!(shown["context"]["title"], "Running backup of 'srv-01' by plan 'Nightly'");
    let shown = desk.create(wish("policy.apply")).await;
    assert_eq!(shown["policy"]["type"], "policy.protection.total");
    // What is said stays, in whatever case the id comes.
    let upper = resource.to_string().to_uppercase();
    let mut said = wish("index");
    said["resource"] = json!({ "id": upper, "name": "my machine" });
    said["policy"]["type"] = json!("as.sent");
    let shown = desk.create(said).await;
    assert_eq!(shown["resource"], json!({ "id": upper, "type": "machine", "name": "my machine" }));
    assert_eq!(shown["policy"]["type"], "as.sent");
    // What nobody knows, or another tenant has, stays as it is.
    let foreign = self::resource(&desk.world, desk.world.globex, "secret").await;
    for id in [foreign.to_string(), LOWER.to_owned(), UPPER.to_owned(), "r-1".to_owned()] {
        let shown = desk.create(json!({ "type": "index", "queue": "q", "resource": { "id": id } })).await;
        assert_eq!(shown["resource"], json!({ "id": id }));
    }
    // Types that our agents execute need one that is known.
    for kind in ["backup", "recovery", "file_recovery"] {
        for named in [Value::Null, json!({ "id": foreign }), json!({ "id": "r-1" }), json!({ "id": LOWER })] {
            let answer = desk.post(json!({ "type": kind, "queue": "q", "resource": named })).await;
            assert_eq!(refused(&answer, kind), as_refusal(400, "invalidParameter"), "{kind} of {named}");
            let parameter = if named.is_null() { "resource" } else { "resource.id" };
            assert_eq!(answer.2["context"]["parameter"], parameter, "{kind} of {named}");
        }
    }
    // The same wish again, after the thing got another name.
    let mut again = wish("scan");
    again["uuid"] = json!(Uuid::now_v7());
    let first = desk.create(again.clone()).await;
    let change = ResourceChange { name: Some("renamed".into()), ..ResourceChange::default() };
    desk.world.service.change_resource(&desk.world.root, resource, change).await.expect("renamed");
    let (status, _, shown) = desk.post(again).await;
    assert_eq!((status, shown), (StatusCode::OK, first));
}

#[tokio::test]
async fn a_backup_in_the_queue_of_our_agents_is_a_run_of_its_policy() {
    // D67
    let desk = Desk::new().await;
    let Protected { resource, policy, agent } = protected(&desk.world).await;
    let wish = json!({
        "uuid": Uuid::now_v7(), "type": "backup", "queue": "agents", "priority": "high", "tags": ["before update"],
        "workflowId": 7, "startedByUser": "cinema", "context": { "ticket": 4711, "runMode": "by hand" },
        "resource": { "id": resource.to_string().to_uppercase() }, "lifeTime": "8h",
    });
    let first = desk.create(wish.clone()).await;
    for name in ["uuid", "type", "queue", "priority", "tags", "workflowId", "startedByUser", "lifeTime"] {
        assert_eq!(first[name], wish[name], "{name}");
    }
    assert_eq!(first["resource"], json!({ "id": resource, "type": "machine", "name": "srv-01" }));
    assert_eq!(first["policy"], json!({ "id": policy, "type": "backup", "name": "Nightly" }));
    assert_eq!(first["tenant"]["uuid"], json!(desk.world.acme_east), "a backup belongs where its resource does");
    assert_eq!(first["affinity"], json!({ "agentId": agent.id() }));
    assert_eq!(first["argument"]["paths"], json!(["/home"]));
    assert_eq!((&first["context"]["ticket"], &first["context"]["runMode"]), (&json!(4711), &json!("by hand")));
    assert_eq!(first["context"]["title"], "Running backup of 'srv-01' by plan 'Nightly'");
    // What is left out is as with all our backups.
    assert_eq!((&first["cancellable"], &first["maxAssignCount"]), (&json!(true), &json!(3)));
    assert_eq!((&first["heartBeatInterval"], &first["ackTimeout"]), (&json!("10s"), &json!("1m")));
    // Again: by a client that names the same things otherwise, too.
    let mut same = wish.clone();
    same["resource"] = json!({ "id": resource, "name": "srv-01" });
    same["policy"] = json!({ "id": policy.to_string().to_uppercase() });
    same["tenant"] = json!({ "uuid": desk.world.acme_east });
    for again in [wish.clone(), same] {
        let (status, _, shown) = desk.post(again).await;
        assert_eq!((status, &shown), (StatusCode::OK, &first));
    }
    for (name, value) in [
        ("priority", json!("low")),
        ("tags", json!([])),
        ("workflowId", json!(8)),
        ("startedByUser", json!("bob")),
        ("lifeTime", json!("9h")),
        ("maxAssignCount", json!(5)),
        ("context", json!({ "ticket": 4711 })),
        ("context", json!({ "ticket": 4711, "runMode": "by hand", "more": 1 })),
    ] {
        let mut other = wish.clone();
        other[name] = value;
        let answer = desk.post(other).await;
        assert_eq!(refused(&answer, name), as_refusal(409, "alreadyExists"), "{name}");
    }
    // While it is not done there is no second one.
    let mut second = wish.clone();
    second["uuid"] = json!(Uuid::now_v7());
    assert_eq!(refused(&desk.post(second.clone()).await, "too soon"), as_refusal(409, "stateConflict"));
    // The agent gets it, and no consumer does.
    let answer = desk
        .world
        .post(
            &format!("{API}/tasks/assign"),
            &desk.consumer,
            json!({ "queues": ["q", "agents"], "consumer": { "id": "e" } }),
        )
        .await;
    assert_eq!(refused(&answer, "the agents' queue"), as_refusal(400, "invalidParameter"));
    assert_eq!(answer.2["context"]["parameter"], "queues");
    let work = desk.world.service.claim(&agent, 1).await.expect("claimed").pop().expect("a task waits");
    assert_eq!(json!(work.task.id.0), first["id"]);
    assert_eq!(json!(work.task.spec.uuid), first["uuid"]);
    let (status, _, shown) = desk.post(wish).await;
    assert_eq!((status, &shown["state"]), (StatusCode::OK, &json!("assigned")));
    desk.decide(&first["id"], "cancel", Value::Null).await;
    let abandoned = ReportEvent::Abandoned { reason: "it stops.".into() };
    let report = Report { task: work.task.id, lease: work.lease, event: abandoned };
    desk.world.service.report(&agent, report).await.expect("reported");
    desk.create(second).await;
}

#[tokio::test]
async fn what_our_agents_do_is_not_the_issuers_to_say() {
    let desk = Desk::new().await;
    let Protected { resource, policy, .. } = protected(&desk.world).await;
    let right = json!({ "type": "backup", "queue": "agents", "resource": { "id": resource } });
    let (other, foreign) = (
        self::resource(&desk.world, desk.world.acme, "srv-02").await,
        self::resource(&desk.world, desk.world.globex, "srv-03").await,
    );
    for (name, value, parameter) in [
        ("type", json!("recovery"), "queue"),
        ("type", json!("index"), "queue"),
        ("argument", json!({ "paths": ["/etc"] }), "argument"),
        ("affinity", json!({ "agentId": "e-1" }), "affinity"),
        ("context", json!("text"), "context"),
        ("tenant", json!({ "uuid": desk.world.acme }), "tenant"),
        ("resource", json!({ "id": other }), "policy"),
        ("resource", json!({ "id": foreign }), "resource.id"),
        ("policy", json!({ "id": "p-1" }), "policy.id"),
        ("policy", json!({ "id": Uuid::now_v7() }), "policy.id"),
    ] {
        let mut body = right.clone();
        body[name] = value;
        let what = body.to_string();
        let answer = desk.post(body).await;
        assert_eq!(refused(&answer, &what), as_refusal(400, "invalidParameter"), "{what}");
        assert_eq!(answer.2["context"]["parameter"], parameter, "{what}");
    }
    // Of several policies one must be named.
    let second = self::policy(&desk.world, "Weekly", resource).await;
    let answer = desk.post(right.clone()).await;
    assert_eq!(refused(&answer, "several policies"), as_refusal(400, "invalidParameter"));
    for (id, name) in [(policy, "Nightly"), (second, "Weekly")] {
        let mut body = right.clone();
        body["policy"] = json!({ "id": id });
        assert_eq!(desk.create(body).await["policy"]["name"], name);
    }
    // Asked for twice at the same time it is made once.
    let third = self::resource(&desk.world, desk.world.acme, "srv-04").await;
    self::policy(&desk.world, "Hourly", third).await;
    let body = json!({ "uuid": Uuid::now_v7(), "type": "backup", "queue": "agents", "resource": { "id": third } });
    let (a, b, c) = tokio::join!(desk.post(body.clone()), desk.post(body.clone()), desk.post(body));
    let mut answers = [a.0.as_u16(), b.0.as_u16(), c.0.as_u16()];
    answers.sort_unstable();
    assert_eq!(answers, [200, 200, 201]);
}
