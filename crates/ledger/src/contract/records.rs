//! Records: replaced whole, under a check of the revision, with keys that are unique on the server.

use domain::agent::{AGENT_QUEUE, Agent, CertificateDates, GATED_QUEUE};
use domain::archive::Archive;
use domain::audit::AuditEntry;
use domain::backup::{Backup, BackupKind, Root};
use domain::channel::{Channel, Delivery, Event, Sending, Target};
use domain::identity::{ApiClient, ClientKey, Revocation, SigningKey, User};
use domain::operation::{About, Ended, Idempotency, Operation, OperationKind};
use domain::policy::{Agenda, Application, AsWritten, Policy, Retention, Schedule, Settings};
use domain::query::{Filter, Order, Page, Pattern, Query, RecordField, Test, Value};
use domain::record::{Record, RecordKind};
use domain::repository::Repository;
use domain::restored_file::RestoredFile;
use domain::resource::{Registration, Resource, ResourceKind, Sources};
use domain::task::{self, Rules, TaskSpec, kind};
use domain::token::{Joins, Token, TokenKind};
use domain::work::PruneWork;
use domain::{ActorKind, Code, Result, Role, Timestamp, Uuid};
use serde_json::json;

use super::world::{World, everything, refusal, seconds};
use crate::{Expect, Rev, Stored, Write, Written};

pub(super) fn resource(w: &World, tenant: Uuid, instance: &str) -> Resource {
    Resource {
        id: w.id(),
        tenant,
        instance_id: instance.to_owned(),
        kind: ResourceKind::BareMetal,
        name: format!("Machine {instance}"),
        agent: None,
        sources: Sources::default(),
        enabled: true,
        active: true,
        external: false,
        live_recovery: false,
        registration: Registration::Registered,
        registration_details: serde_json::Value::Null,
        last_backup_at: None,
        metadata: json!({"tags": ["a"]}),
        created_at: w.moment.now,
        updated_at: w.moment.now,
        deleted_at: None,
    }
}

/// One record of every kind but tenants, each as full as it can be.
pub(crate) fn one_of_each(w: &World) -> Vec<Record> {
    let (tenant, created_at, updated_at) = (w.acme.id, w.moment.now, w.moment.now);
    let machine = Resource {
        kind: ResourceKind::Volume,
        agent: Some(w.id()),
        sources: Sources { paths: vec!["/home".into()], excludes: vec!["*.tmp".into()] },
        external: true,
        registration_details: json!({"step": "agent"}),
        last_backup_at: Some(Timestamp::MAX),
        deleted_at: Some(w.moment.now),
        ..resource(w, tenant, "m-1")
    };
    let repository = Repository {
        sealed_secrets: [("AWS_SECRET_ACCESS_KEY".to_owned(), "sealed too".to_owned())].into(),
        append_only: true,
        limits: domain::repository::Limits { upload: 1 << 20, download: 0 },
        pruning: Some(domain::repository::Pruning { at: w.moment.now, agent: w.id() }),
        updated_at,
        ..Repository::new(w.id(), tenant, "main", "/backups", "c2VjcmV0".into(), created_at)
    };
    let policy = Policy {
        id: w.id(),
        tenant,
        name: "Daily".into(),
        kind: "backup".into(),
        enabled: true,
        schedule: Schedule::Daily { at: jiff::civil::time(2, 30, 0, 0), time_zone: "Europe/Berlin".into() },
        settings: Settings { includes: vec!["*".into()], ..Settings::default() },
        retention: Retention::default(),
        as_written: Some(AsWritten {
            text: "c2V0dGluZ3M=".into(),
            schedule: Schedule::Manual {},
            retention: Retention::default(),
        }),
        repository: repository.id,
        created_at,
        updated_at,
    };
    let application = Application {
        id: w.id(),
        tenant,
        policy: policy.id,
        resource: machine.id,
        archive: Some(w.id()),
        next_run_at: Some(w.moment.now + seconds(10)),
        last_run_at: Some(w.moment.now),
        last_task: Some(w.id()),
        agenda: Agenda::default(),
        created_at,
        updated_at,
    };
    let token = Token {
        id: w.id(),
        tenant,
        kind: TokenKind::Agent,
        name: "agent token".into(),
        role: Role::Operator,
        hash: "ab".repeat(32),
        created_at,
        updated_at,
        expires_at: Some(w.moment.now + seconds(9)),
        revoked_at: Some(w.moment.now + seconds(8)),
        resource: Some(machine.id),
        certified: Some(w.id()),
        joins: Some(Joins { kind: Some(ResourceKind::ComputeVm), external: true, policies: vec![policy.id] }),
    };
    let agent = Agent {
        id: w.id(),
        tenant,
        cluster_id: "c1".into(),
        name: "host".into(),
        os: "linux".into(),
        system: "linux".into(),
        time_zone: Some("Europe/Berlin".into()),
        rescue: false,
        version: "0.1.0".into(),
        restore_roots: vec!["/var/lib/backstay/restored".into()],
        queues: vec!["agents".into()],
        last_seen_at: Some(w.moment.now),
        token: token.id,
        certificate: Some(CertificateDates { issued_at: created_at, expires_at: updated_at }),
        revoked_at: Some(updated_at),
        created_at,
        updated_at,
    };
    let backup = Backup {
        id: w.id(),
        tenant,
        resource: machine.id,
        resource_name: "Machine".into(),
        resource_kind: Some(ResourceKind::Volume),
        external: true,
        policy: None,
        archive: application.id,
        repository: repository.id,
        snapshot: "0f".repeat(32),
        kind: BackupKind::Incremental,
        task: 1,
        paths: vec!["/home".into()],
        size: u64::MAX,
        added: 1,
        added_raw: 2,
        changed: 3,
        roots: vec![Root { path: "/home".into(), size: 9, free: 4, ..Root::default() }],
        system: "linux".into(),
        files: 2,
        kept_because: vec!["last".into()],
        browsable: true,
        browsing_failed: String::new(),
        filesystems: Vec::new(),
        created_at,
        updated_at,
        deleted_at: Some(w.moment.now),
        agent: Some(agent.id),
        tags: [("Name".to_owned(), "Machine".to_owned())].into(),
        location: "attic".into(),
        expires_at: Some(w.moment.now + seconds(7)),
    };
    let restored_file = RestoredFile {
        id: w.id(),
        tenant,
        resource: machine.id,
        backup: backup.id,
        backup_created_at: created_at,
        task: w.id(),
        task_number: Some(7),
        name: "letter.txt".into(),
        size: 9,
        asked_by: "Operations".into(),
        expires_at: Some(w.moment.now + seconds(6)),
        created_at,
        updated_at,
    };
    let archive = Archive {
        id: application.id,
        tenant,
        name: "srv-01".into(),
        resource: machine.id,
        resource_name: machine.name.clone(),
        policy: policy.id,
        policy_name: policy.name.clone(),
        repository: repository.id,
        all_verified: Some(w.moment.now),
        damaged: true,
        last_seen_at: w.moment.now,
        created_at,
        updated_at,
        deleted_at: None,
    };
    let channel = Channel {
        id: w.id(),
        tenant,
        name: "ops".into(),
        enabled: true,
        target: Target::Email {
            server: "smtps://mail.example".into(),
            user: Some("ops".into()),
            sealed_password: Some("sealed".into()),
            from: "backstay@mail.example".into(),
            to: vec!["ada@mail.example".into()],
        },
        events: Event::ALL.to_vec(),
        digest: Some(seconds(3600)),
        delivery: Delivery {
            told_until: created_at,
            sending: Some(Sending {
                id: w.id(),
                until: w.moment.now,
                since: w.moment.now,
                tries: 3,
                next_at: w.moment.now + seconds(60),
                error: Some("the receiver answers 500".into()),
            }),
            delivered_at: Some(w.moment.now),
        },
        created_at,
        updated_at,
    };
    let operation = Operation {
        id: w.id(),
        tenant,
        kind: OperationKind::ExecutePolicy,
        created_by: token.id.to_string(),
        about: About { policy: Some(policy.id), resource: Some(machine.id), ..About::default() },
        task: Some(w.id()),
        ended: Some(Ended::Failed { code: Code::NotFound, message: "It is gone.".into() }),
        idempotency: Some(Idempotency { key: "ops/execute/1".into(), request: "ab".into() }),
        created_at,
        updated_at,
    };
    let user = User {
        id: w.id(),
        tenant,
        login: "Ops@Example.com".into(),
        name: "Operations".into(),
        roles: vec![Role::Viewer, Role::Issuer],
        password_hash: "$argon2id$x".into(),
        created_at,
        updated_at,
        revoked_at: None,
    };
    let client = ApiClient {
        id: w.id(),
        tenant,
        name: "dashboard".into(),
        roles: vec![Role::Consumer],
        executor: Some("worker-1".into()),
        secret_hash: "$argon2id$y".into(),
        created_at,
        updated_at,
        revoked_at: Some(w.moment.now),
    };
    let key = SigningKey {
        id: w.id(),
        tenant,
        sealed_private_key: "sealed".into(),
        x: "x".into(),
        y: "y".into(),
        created_at,
        updated_at,
        revoked_at: None,
    };
    let client_key = ClientKey {
        id: w.id(),
        tenant,
        client: client.id,
        public_key: "a public key".into(),
        created_at,
        updated_at,
        revoked_at: Some(w.moment.now),
    };
    let revocation = Revocation { id: w.id(), tenant, expires_at: Timestamp::MAX, created_at, updated_at };
    let entry = AuditEntry {
        id: w.id(),
        tenant,
        actor_kind: ActorKind::User,
        actor: user.id,
        actor_name: "Operations".into(),
        action: "token.create".into(),
        object: token.id.to_string(),
        object_name: "monitor".into(),
        detail: serde_json::json!({ "before": 1 }),
        created_at,
        updated_at,
    };
    vec![
        user.into(),
        client.into(),
        key.into(),
        client_key.into(),
        revocation.into(),
        entry.into(),
        machine.into(),
        repository.into(),
        policy.into(),
        application.into(),
        token.into(),
        agent.into(),
        backup.into(),
        archive.into(),
        restored_file.into(),
        channel.into(),
        operation.into(),
    ]
}

pub(super) async fn put_and_get_every_kind(w: &mut World) -> Result<()> {
    let records = one_of_each(w);
    w.pass(seconds(1));
    assert_eq!(records.len() + 1, RecordKind::ALL.len(), "a new kind is missing in this story");
    for mut record in records {
        let (kind, id, key) = (record.kind(), record.id(), record.key());
        let done = w.commit(vec![Write::Put(Box::new(record.clone()), Expect::New)]).await?;
        let Written::Record(written) = &done.written[0] else { panic!("a record was put") };
        assert!(written.value.updated_at() >= w.moment.now, "the ledger stamps it");
        record.touch(written.value.updated_at());
        assert_eq!(**written, Stored { rev: done.rev, value: record });
        assert_eq!(w.ledger.record(&everything(), kind, id).await?, **written);
        if let Some(key) = key {
            assert_eq!(w.ledger.record_by_key(&everything(), kind, &key).await?.as_ref(), Some(&**written));
        }
    }
    let acme: Stored<domain::tenant::Tenant> = w.ledger.get(&everything(), w.acme.id).await?;
    assert_eq!(acme.value.locator, "/1/66/");
    Ok(())
}

pub(super) async fn the_revision_guards(w: &mut World) -> Result<()> {
    let machine = resource(w, w.acme.id, "m1");
    assert_eq!(refusal(w.put(machine.clone(), Expect::Rev(Rev(1))).await), Code::NotFound);
    let first = w.put(machine.clone(), Expect::New).await?;
    assert_eq!(refusal(w.put(machine.clone(), Expect::New).await), Code::AlreadyExists);
    let mut renamed = first.value.clone();
    renamed.name = String::new();
    let second = w.put(renamed, Expect::Rev(first.rev)).await?;
    assert!(second.rev > first.rev && second.value.updated_at > first.value.updated_at);
    assert_eq!(refusal(w.put(machine, Expect::Rev(first.rev)).await), Code::RevisionConflict);
    assert_eq!(w.ledger.get::<Resource>(&everything(), second.value.id).await?, second);
    Ok(())
}

pub(super) async fn keys_are_unique(w: &mut World) -> Result<()> {
    let one = w.put(resource(w, w.acme.id, "m1"), Expect::New).await?;
    let other = resource(w, w.other.id, "m1");
    assert_eq!(refusal(w.put(other, Expect::New).await), Code::AlreadyExists, "on the whole server");
    let two = w.put(resource(w, w.acme.id, "m2"), Expect::New).await?;
    let mut taken = two.value.clone();
    taken.instance_id = "m1".into();
    assert_eq!(refusal(w.put(taken, Expect::Rev(two.rev)).await), Code::AlreadyExists);
    // A key that was given up is free.
    let mut renamed = one.value.clone();
    renamed.instance_id = "m3".into();
    w.put(renamed, Expect::Rev(one.rev)).await?;
    w.put(resource(w, w.acme.id, "m1"), Expect::New).await?;
    assert_eq!(w.ledger.find::<Resource>(&everything(), "m3").await?.map(|r| r.value.id), Some(one.value.id));
    assert_eq!(w.ledger.find::<Resource>(&everything(), "m").await?, None);
    Ok(())
}

pub(super) async fn removing(w: &mut World) -> Result<()> {
    let machine = w.put(resource(w, w.acme.id, "m1"), Expect::New).await?.value;
    let remove = Write::Remove(RecordKind::Resource, machine.id);
    let other_kind = Write::Remove(RecordKind::Policy, machine.id);
    let done = w.commit(vec![other_kind, remove.clone(), remove]).await?;
    assert_eq!(done.written, vec![Written::Removed(0), Written::Removed(1), Written::Removed(0)]);
    assert_eq!(refusal(w.ledger.record(&everything(), RecordKind::Resource, machine.id).await), Code::NotFound);
    w.put(machine, Expect::New).await?;
    Ok(())
}

pub(super) async fn a_repository_stays_while_anything_needs_it(w: &mut World) -> Result<()> {
    let records = one_of_each(w);
    let place = w.id();
    let remove = || vec![Write::Remove(RecordKind::Repository, place)];
    let now = w.moment.now;
    let repository = Repository::new(place, w.acme.id, "cold", "/cold", "c2VjcmV0".into(), now);
    w.put(repository, Expect::New).await?;
    for record in records {
        let of_it: Record = match record {
            Record::Policy(policy) => Policy { repository: place, ..policy }.into(),
            // Whoever wished for its deletion may be disappointed yet: then it comes back.
            Record::Backup(backup) if backup.deleted_at.is_some() => Backup { repository: place, ..backup }.into(),
            _ => continue,
        };
        let gone = Write::Remove(of_it.kind(), of_it.id());
        w.commit(vec![Write::Put(Box::new(of_it), Expect::New)]).await?;
        assert_eq!(refusal(w.commit(remove()).await), Code::InUse);
        w.commit(vec![gone]).await?;
    }
    // What a task stores comes with its end, so the place may not go before.
    for queue in [AGENT_QUEUE, GATED_QUEUE] {
        let rules = Rules { heartbeat_interval: Some(seconds(10)), cancellable: true, ..Rules::default() };
        let argument = json!(PruneWork { repository: place });
        let spec = TaskSpec { queue: queue.into(), argument: argument.into(), rules, ..w.spec(kind::PRUNE) };
        let task = w.create(spec).await?;
        assert_eq!(refusal(w.commit(remove()).await), Code::InUse, "it waits");
        let mut claim = w.claim("agent", 1);
        claim.queues = vec![queue.into()];
        let handed_out = w.claimed(claim).await?.remove(0);
        assert_eq!(refusal(w.commit(remove()).await), Code::InUse, "it was handed out");
        let lease = handed_out.lease().expect("it was handed out").clone();
        w.event(task.id, task::Event::Start { lease: lease.clone() }).await?;
        assert_eq!(refusal(w.commit(remove()).await), Code::InUse, "it is under way");
        w.complete(task.id, &lease).await?;
    }
    // Somebody else's executors may speak of it as they like, and other repositories do not count.
    let argument = json!(PruneWork { repository: place });
    w.create(TaskSpec { queue: "theirs".into(), argument: argument.into(), ..w.spec(kind::PRUNE) }).await?;
    w.create(TaskSpec { argument: json!(PruneWork { repository: w.id() }).into(), ..w.spec(kind::PRUNE) }).await?;
    assert_eq!(w.commit(remove()).await?.written, vec![Written::Removed(1)]);
    Ok(())
}

pub(super) async fn a_policy_stores_in_what_is_there(w: &mut World) -> Result<()> {
    let (place, now) = (w.id(), w.moment.now);
    let policy = one_of_each(w).into_iter().find_map(|r| if let Record::Policy(p) = r { Some(p) } else { None });
    let mut policy = policy.expect("there is one of each");
    let refused = |done: Result<Stored<Policy>>| {
        let error = done.expect_err("refused");
        (error.code, error.field)
    };
    let nowhere = (Code::NotFound, Some("repository".to_owned()));
    // Removed between the look at it and the commit.
    assert_eq!(refused(w.put(policy.clone(), Expect::New).await), nowhere);
    w.put(Repository::new(place, w.acme.id, "cold", "/cold", "c2VjcmV0".into(), now), Expect::New).await?;
    policy.repository = place;
    let stored = w.put(policy.clone(), Expect::New).await?;
    policy.repository = w.id();
    assert_eq!(refused(w.put(policy.clone(), Expect::Rev(stored.rev)).await), nowhere);
    assert_eq!(w.ledger.get::<Policy>(&everything(), policy.id).await?, stored);
    Ok(())
}

pub(super) async fn tenants_keep_their_place(w: &mut World) -> Result<()> {
    let mut lying = w.acme.child(w.id(), 99, "x", w.moment.now)?;
    lying.locator = "/1/99/".into();
    assert_eq!(refusal(w.put(lying, Expect::New).await), Code::InvalidField);
    let mut orphan = w.acme.child(w.id(), 99, "x", w.moment.now)?;
    orphan.parent = None;
    assert_eq!(refusal(w.put(orphan, Expect::New).await), Code::MissingField);
    let eu = w.ledger.get::<domain::tenant::Tenant>(&everything(), w.eu.id).await?;
    let mut moved = w.other.child(eu.value.id, eu.value.number, "x", w.moment.now)?;
    assert_eq!(refusal(w.put(moved.clone(), Expect::Rev(eu.rev)).await), Code::InvalidField);
    moved = eu.value.clone();
    moved.name = "Renamed".into();
    // From within, where its parent is out of reach.
    let write = Write::Put(Box::new(moved.into()), Expect::Rev(eu.rev));
    w.ledger.commit(&domain::Scope::subtree(&w.eu), w.moment, vec![write]).await?;
    let mut same_number = w.other.child(w.id(), 7, "x", w.moment.now)?;
    assert_eq!(refusal(w.put(same_number.clone(), Expect::New).await), Code::AlreadyExists);
    same_number.number = 8;
    assert_eq!(refusal(w.put(same_number, Expect::New).await), Code::InvalidField);

    let gone = vec![Write::Remove(RecordKind::Tenant, w.eu.id)];
    assert_eq!(refusal(w.commit(gone).await), Code::InvalidField, "its number is in the rows of tasks");
    w.ledger.get::<domain::tenant::Tenant>(&everything(), w.eu.id).await?;
    Ok(())
}

pub(super) async fn asked_for_by_their_own_fields(w: &mut World) -> Result<()> {
    let due = w.moment.now + seconds(10);
    for record in one_of_each(w) {
        w.commit(vec![Write::Put(Box::new(record), Expect::New)]).await?;
    }
    let to = std::ops::Bound::Included(Value::Time(due));
    let due = Filter::all().and(RecordField::NextRunAt, Test::Range { from: std::ops::Bound::Unbounded, to })?;
    assert_eq!(w.ledger.all::<Application>(&everything(), due.clone()).await?.len(), 1);
    assert!(w.ledger.all::<Policy>(&everything(), due).await?.is_empty(), "a field that a kind lacks is absent");
    let absent = Filter::all().and(RecordField::NextRunAt, Test::Absent)?;
    assert_eq!(w.ledger.all::<Policy>(&everything(), absent).await?.len(), 1);
    let named = Pattern::StartsWith("MACH".into());
    let named = Filter::all().and(RecordField::Name, Test::AnyOf(vec![named]))?;
    assert_eq!(w.ledger.all::<Resource>(&everything(), named).await?.len(), 1);

    let order = Order::by(vec![(RecordField::Number, domain::query::Direction::Desc)])?;
    let query = Query { filter: Filter::all(), order, page: Page::first(2), total: true };
    let tenants = w.ledger.list::<domain::tenant::Tenant>(&everything(), &query).await?;
    assert_eq!(tenants.items.iter().map(|t| t.value.number).collect::<Vec<_>>(), [66, 7]);
    assert_eq!(tenants.total, Some(4));
    Ok(())
}
