//! The change feed: whoever follows it, in whatever steps, ends with the state that is there.

use std::collections::BTreeMap;

use domain::Result;
use domain::task::{Event, TaskId, TaskRef};

use super::world::{World, all, everything, seconds};
use crate::{Rev, Write};

pub(super) async fn every_final_state_once(w: &mut World) -> Result<()> {
    let mut seen: BTreeMap<TaskId, (Rev, domain::task::Task)> = BTreeMap::new();
    let mut since = Rev(0);
    for round in 0..6 {
        w.plain().await?;
        w.plain().await?;
        let (task, lease) = w.start("a1").await?;
        if round % 2 == 0 {
            w.complete(task.id, &lease).await?;
        }
        // Two tasks at a time, and not always to the end.
        for _ in 0..round {
            let changes = w.ledger.changes(&everything(), since, 2).await?;
            let mut last = since;
            for (rev, task) in changes.tasks {
                assert!(rev >= last && rev > since && rev <= changes.until, "in the order of the changes");
                let before = seen.insert(task.id, (rev, task));
                assert!(before.is_none_or(|(before, _)| before < rev), "never the same change twice");
                last = rev;
            }
            assert!(changes.until >= since);
            since = changes.until;
        }
    }
    loop {
        let changes = w.ledger.changes(&everything(), since, 1).await?;
        if changes.tasks.is_empty() {
            break;
        }
        seen.extend(changes.tasks.into_iter().map(|(rev, t)| (t.id, (rev, t))));
        since = changes.until;
    }
    let stored = w.ledger.tasks(&everything(), &all()).await?.items;
    assert_eq!(seen.into_values().map(|(_, t)| t).collect::<Vec<_>>(), stored);
    Ok(())
}

pub(super) async fn a_revision_is_never_cut(w: &mut World) -> Result<()> {
    let three = |w: &mut World| (0..3).map(|_| Write::CreateTask(Box::new(w.spec("backup")))).collect();
    let writes = three(w);
    let first = w.commit(writes).await?.rev;
    let writes = three(w);
    let second = w.commit(writes).await?.rev;
    let changes = w.ledger.changes(&everything(), Rev(0), 2).await?;
    assert_eq!((changes.tasks.len(), changes.until), (3, first));
    let changes = w.ledger.changes(&everything(), first, 4).await?;
    assert_eq!((changes.tasks.len(), changes.until), (3, second));
    let end = w.ledger.changes(&everything(), second, 4).await?;
    assert_eq!((end.tasks.len(), end.until), (0, second));
    let scope = domain::Scope::subtree(&w.other.clone());
    let foreign = w.ledger.changes(&scope, Rev(0), 4).await?;
    assert_eq!((foreign.tasks.len(), foreign.until), (0, second), "there is nothing more to wait for");
    Ok(())
}

pub(super) async fn only_changes_take_a_revision(w: &mut World) -> Result<()> {
    let task = w.plain().await?;
    let spec = (*task.spec).clone();
    let last = w.commit(vec![]).await?.rev;
    let idle = vec![
        Write::CreateTask(Box::new(spec)),
        Write::Settle(task.id),
        Write::Purge(w.moment.now),
        Write::Remove(domain::record::RecordKind::Policy, w.acme.id),
    ];
    let before = w.dump().await;
    assert_eq!(w.commit(idle).await?.rev, last);
    assert_eq!(w.dump().await, before);
    w.pass(seconds(1));
    let cancel = Write::Task(TaskRef::Id(task.id), Event::Cancel { by: "Jo".into() });
    assert_eq!(w.commit(vec![cancel]).await?.rev, Rev(last.0 + 1));
    Ok(())
}

pub(super) async fn the_newest_revision_is_announced(w: &mut World) -> Result<()> {
    let mut newest = w.ledger.head();
    let start = newest.borrow_and_update().rev;
    let task = w.plain().await?;
    assert_eq!(newest.borrow_and_update().rev, Rev(start.0 + 1), "before the answer");
    super::world::refusal(w.event(TaskId(99), Event::Delete).await);
    w.settle(task.id).await?;
    assert!(!newest.has_changed().expect("the ledger is open"), "nothing happened");
    Ok(())
}

/// Who remembers the horizon and asks for what is stamped later misses nothing and meets nothing twice.
pub(super) async fn nothing_appears_behind_the_horizon(w: &mut World) -> Result<()> {
    let mut horizon = w.ledger.head().borrow().horizon;
    for round in 0..6 {
        if round == 3 {
            // The clock was set back; the stamps are not.
            w.pass(domain::SignedDuration::from_secs(-3600));
        }
        let mut changed = vec![w.plain().await?.id];
        let (task, lease) = w.start("a1").await?;
        changed.push(task.id);
        if round % 2 == 0 {
            w.complete(task.id, &lease).await?;
        }
        changed.sort();
        changed.dedup();
        let later = domain::query::Test::Range {
            from: std::ops::Bound::Excluded(domain::query::Value::Time(horizon)),
            to: std::ops::Bound::Unbounded,
        };
        let query = domain::query::Query {
            filter: domain::query::Filter::all().and(domain::query::TaskField::UpdatedAt, later)?,
            order: domain::query::Order::oldest(),
            ..all()
        };
        let seen = w.ledger.tasks(&everything(), &query).await?.items;
        assert_eq!(seen.iter().map(|t| t.id).collect::<Vec<_>>(), changed);
        horizon = w.ledger.head().borrow().horizon;
        assert!(seen.iter().all(|t| t.status.updated_at <= horizon), "what can be seen is within the horizon");
    }
    Ok(())
}
