//! Scopes: outside one's part of the tree nothing exists, not even as a number in a total.

use domain::activity::{ActivityEvent, ActivityRef, ActivitySpec};
use domain::query::{Filter, TaskField, Value};
use domain::record::RecordKind;
use domain::task::{Event, TaskRef};
use domain::tenant::Tenant;
use domain::{Code, Result, Scope};

use super::records::resource;
use super::world::{World, all, everything, refusal};
use crate::{Expect, Rev, Write, Written};

pub(super) async fn foreigners_see_nothing(w: &mut World) -> Result<()> {
    let task = w.plain().await?;
    let (_, lease) = w.start("a1").await?;
    let spec = ActivitySpec::new(w.id(), "read");
    let step = w.step(task.id, &lease, spec).await?;
    let machine = w.put(resource(w, w.acme.id, "m1"), Expect::New).await?.value;
    let scope = Scope::subtree(&w.other.clone());
    let ledger = w.ledger.clone();
    assert_eq!(refusal(ledger.task(&scope, TaskRef::Id(task.id)).await), Code::NotFound);
    assert_eq!(refusal(ledger.task(&scope, TaskRef::Uuid(task.spec.uuid)).await), Code::NotFound);
    assert_eq!(refusal(ledger.activity(&scope, ActivityRef::Id(step.activity.id)).await), Code::NotFound);
    assert_eq!(refusal(ledger.record(&scope, RecordKind::Resource, machine.id).await), Code::NotFound);
    assert_eq!(refusal(ledger.record(&scope, RecordKind::Tenant, w.acme.id).await), Code::NotFound);
    assert_eq!(ledger.record_by_key(&scope, RecordKind::Resource, "m1").await?, None);
    let tasks = ledger.tasks(&scope, &all()).await?;
    assert_eq!((tasks.items, tasks.total), (vec![], Some(0)));
    let steps = ledger.activities(&scope, &all()).await?;
    assert_eq!((steps.items, steps.total), (vec![], Some(0)));
    let machines = ledger.records(&scope, RecordKind::Resource, &all()).await?;
    assert_eq!((machines.items, machines.total), (vec![], Some(0)));
    assert_eq!(ledger.task_counts(&scope, &Filter::all(), &[TaskField::State]).await?, vec![]);
    assert_eq!(ledger.task_counts(&scope, &Filter::all(), &[]).await?[0].count, 0);
    assert_eq!(ledger.changes(&scope, Rev(0), 100).await?.tasks, vec![]);
    let text = ledger.dump(&scope).await?;
    assert_eq!(text.lines().count(), 1, "only its own tenant: {text}");
    Ok(())
}

pub(super) async fn foreigners_change_nothing(w: &mut World) -> Result<()> {
    let task = w.plain().await?;
    let (_, lease) = w.start("a1").await?;
    let spec = ActivitySpec::new(w.id(), "read");
    let step = w.step(task.id, &lease, spec).await?;
    let machine = w.put(resource(w, w.acme.id, "m1"), Expect::New).await?;
    let before = w.dump().await;
    let scope = Scope::subtree(&w.other.clone());
    let new = ActivitySpec::new(w.id(), "read");
    let mut moved = machine.value.clone();
    moved.tenant = w.other.id;
    let mut root = w.root.clone();
    root.name = "mine".into();
    let refused = [
        (Write::Task(TaskRef::Id(task.id), Event::Heartbeat { lease: lease.clone() }), Code::NotFound),
        (Write::Settle(task.id), Code::NotFound),
        (Write::CreateTask(Box::new(w.spec("backup"))), Code::NotFound),
        (Write::CreateTask(Box::new((*task.spec).clone())), Code::NotFound),
        (
            Write::CreateActivity {
                task: TaskRef::Id(task.id),
                lease: lease.clone(),
                spec: Box::new(new),
                start: true,
            },
            Code::NotFound,
        ),
        (
            Write::Activity { activity: ActivityRef::Id(step.activity.id), lease, event: ActivityEvent::Pause },
            Code::NotFound,
        ),
        (Write::Put(Box::new(resource(w, w.acme.id, "m2").into()), Expect::New), Code::NotFound),
        (Write::Put(Box::new(machine.value.clone().into()), Expect::Rev(machine.rev)), Code::NotFound),
        (Write::Put(Box::new(moved.into()), Expect::Rev(machine.rev)), Code::NotFound),
        (Write::Put(Box::new(machine.value.clone().into()), Expect::Rev(Rev(0))), Code::NotFound),
        (Write::Put(Box::new(root.into()), Expect::Rev(Rev(1))), Code::NotFound),
        (Write::Put(Box::new(w.acme.child(w.id(), 99, "x", w.moment.now)?.into()), Expect::New), Code::NotFound),
    ];
    for (write, code) in refused {
        let shown = format!("{write:?}");
        assert_eq!(refusal(w.ledger.commit(&scope, w.moment, vec![write]).await), code, "{shown}");
    }
    let removed = w.ledger.commit(&scope, w.moment, vec![Write::Remove(RecordKind::Resource, machine.value.id)]).await?;
    assert_eq!(removed.written, vec![Written::Removed(0)]);
    assert_eq!(w.dump().await, before);
    Ok(())
}

pub(super) async fn a_number_is_no_prefix(w: &mut World) -> Result<()> {
    // `/1/6/` and `/1/66/`, and what a text comparison might take for below: `/1/6` followed by anything.
    let sixty = w.root.child(w.id(), 60, "Sixty", w.moment.now)?;
    w.put(sixty.clone(), Expect::New).await?;
    for tenant in [w.other.id, w.acme.id, sixty.id] {
        let mut spec = w.spec("backup");
        spec.tenant = tenant;
        w.create(spec).await?;
    }
    for tenant in [w.other.clone(), w.acme.clone(), sixty] {
        let found = w.ledger.tasks(&Scope::subtree(&tenant), &all()).await?;
        assert_eq!(found.items.iter().map(|t| t.spec.tenant).collect::<Vec<_>>(), vec![tenant.id]);
    }
    Ok(())
}

pub(super) async fn everything_below_is_seen(w: &mut World) -> Result<()> {
    for tenant in [w.eu.id, w.acme.id, w.root.id, w.other.id] {
        let mut spec = w.spec("backup");
        spec.tenant = tenant;
        w.create(spec).await?;
        w.put(resource(w, tenant, &tenant.to_string()), Expect::New).await?;
    }
    let cases: [(&Tenant, u64); 4] = [(&w.eu, 1), (&w.acme, 2), (&w.other, 1), (&w.root, 4)];
    for (tenant, count) in cases {
        let scope = Scope::subtree(tenant);
        assert_eq!(w.ledger.tasks(&scope, &all()).await?.total, Some(count));
        assert_eq!(w.ledger.records(&scope, RecordKind::Resource, &all()).await?.total, Some(count));
        assert_eq!(w.ledger.records(&scope, RecordKind::Tenant, &all()).await?.total, Some(count));
    }
    assert_eq!(w.ledger.tasks(&everything(), &all()).await?.total, Some(4));
    // A clause about the tenant narrows the scope and never widens it.
    let foreign = Filter::all().is(TaskField::Tenant, Value::Uuid(w.other.id))?;
    let groups = w.ledger.task_counts(&Scope::subtree(&w.acme), &foreign, &[]).await?;
    assert_eq!(groups[0].count, 0);
    Ok(())
}

pub(super) async fn siblings_have_different_names(w: &mut World) -> Result<()> {
    let child = |w: &World, parent: &Tenant, number, name: &str| parent.child(w.id(), number, name, w.moment.now);
    let again = child(w, &w.root, 60, "Acme")?;
    let error = w.put(again, Expect::New).await.expect_err("it must be refused");
    assert_eq!((error.code, error.field.as_deref()), (Code::AlreadyExists, Some("name")));
    let below = w.put(child(w, &w.acme, 61, "Acme")?, Expect::New).await?;
    let renamed = Tenant { name: w.eu.name.clone(), ..below.value.clone() };
    assert_eq!(refusal(w.put(renamed, Expect::Rev(below.rev)).await), Code::AlreadyExists);
    // A name that stays is no new one, and one that was given up is free.
    let described = Tenant { description: "below".into(), ..below.value };
    let below = w.put(described, Expect::Rev(below.rev)).await?;
    let gone = Tenant { deleted_at: Some(w.moment.now), ..below.value };
    w.put(gone, Expect::Rev(below.rev)).await?;
    w.put(child(w, &w.acme, 62, "Acme")?, Expect::New).await?;
    Ok(())
}

pub(super) async fn only_what_holds_nothing_is_deleted(w: &mut World) -> Result<()> {
    let deleted = |w: &World, t: &Tenant| Tenant { deleted_at: Some(w.moment.now), ..t.clone() };
    let stored = |w: &World, id| {
        let ledger = w.ledger.clone();
        async move { ledger.get::<Tenant>(&everything(), id).await }
    };
    let (eu, acme) = (stored(w, w.eu.id).await?, stored(w, w.acme.id).await?);
    assert_eq!(refusal(w.put(deleted(w, &w.acme), Expect::Rev(acme.rev)).await), Code::InUse, "one is below it");
    let machine = w.put(resource(w, w.eu.id, "srv-01"), Expect::New).await?;
    assert_eq!(refusal(w.put(deleted(w, &w.eu), Expect::Rev(eu.rev)).await), Code::InUse);
    let mut spec = w.spec("backup");
    spec.tenant = w.eu.id;
    let task = w.create(spec).await?;
    let gone = domain::resource::Resource { deleted_at: Some(w.moment.now), ..machine.value };
    let machine = w.put(gone, Expect::Rev(machine.rev)).await?;
    w.put(deleted(w, &w.eu), Expect::Rev(eu.rev)).await?;
    // Nothing new comes into it; what was there can be written on, and is seen from above.
    assert_eq!(refusal(w.put(resource(w, w.eu.id, "srv-02"), Expect::New).await), Code::NotFound);
    let below = w.eu.child(w.id(), 63, "Below", w.moment.now)?;
    assert_eq!(refusal(w.put(below, Expect::New).await), Code::NotFound);
    w.put(machine.value, Expect::Rev(machine.rev)).await?;
    assert_eq!(w.ledger.tasks(&Scope::subtree(&w.acme), &all()).await?.items[0].id, task.id);
    let acme = stored(w, w.acme.id).await?;
    w.put(deleted(w, &w.acme), Expect::Rev(acme.rev)).await?;
    let root = stored(w, w.root.id).await?;
    assert_eq!(refusal(w.put(deleted(w, &w.root), Expect::Rev(root.rev)).await), Code::InUse, "the top stays");
    Ok(())
}
