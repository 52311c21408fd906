//! Handing out: the most urgent first, then by turns of the tenants, then the oldest, to those who may have it, and to one
//! of them only.

use std::collections::BTreeSet;

use domain::task::{Affinity, Executor, Priority, ResultCode, State, TaskId};
use domain::{Result, Scope, Text};
use tokio::task::JoinSet;

use super::world::{QUEUE, World, everything, seconds};
use crate::{Claim, Write, Written};

fn ids(tasks: &[domain::task::Task]) -> Vec<i64> {
    tasks.iter().map(|t| t.id.0).collect()
}

pub(super) async fn by_priority_then_by_age(w: &mut World) -> Result<()> {
    for priority in [Priority::Low, Priority::Normal, Priority::High, Priority::Normal, Priority::High] {
        let mut spec = w.spec("backup");
        spec.priority = priority;
        w.create(spec).await?;
    }
    let claim = w.claim("a1", 2);
    assert_eq!(ids(&w.claimed(claim).await?), [3, 5]);
    let claim = w.claim("a1", 2);
    let taken = w.claimed(claim.clone()).await?;
    assert_eq!(ids(&taken), [2, 4]);
    let leases: Vec<_> = taken.iter().filter_map(|t| t.lease().cloned()).collect();
    assert_eq!(leases, claim.leases, "each has its own lease");
    Ok(())
}

pub(super) async fn by_queue_and_type(w: &mut World) -> Result<()> {
    for (queue, kind) in [(QUEUE, "backup"), ("slow", "backup"), (QUEUE, "check"), ("slow", "check"), ("third", "x")] {
        let mut spec = w.spec(kind);
        spec.queue = queue.into();
        w.create(spec).await?;
    }
    let none = Claim { queues: vec![], ..w.claim("a1", 9) };
    assert!(w.claimed(none).await?.is_empty());
    let checks = Claim { types: vec!["check".into(), "nothing".into()], ..w.claim("a1", 9) };
    assert_eq!(ids(&w.claimed(checks).await?), [3]);
    let both = Claim { queues: vec!["slow".into(), QUEUE.into(), "slow".into()], ..w.claim("a1", 9) };
    assert_eq!(ids(&w.claimed(both).await?), [2, 1, 4], "a queue that is named twice is one");
    Ok(())
}

pub(super) async fn affinity_is_respected(w: &mut World) -> Result<()> {
    let only = |agent: Option<&str>, cluster: Option<&str>| Affinity {
        agent: agent.map(Text::from),
        cluster: cluster.map(Text::from),
    };
    for affinity in [only(Some("a2"), None), only(None, Some("c1")), only(Some("a1"), Some("c2")), only(None, None)] {
        let mut spec = w.spec("backup");
        spec.affinity = affinity;
        w.create(spec).await?;
    }
    let executor = |id: &str, cluster: &str| Executor { id: id.into(), cluster_id: cluster.into() };
    let one = Claim { executor: executor("a1", "c1"), ..w.claim("a1", 9) };
    assert_eq!(ids(&w.claimed(one).await?), [2, 4]);
    let two = Claim { executor: executor("a2", ""), ..w.claim("a2", 9) };
    assert_eq!(ids(&w.claimed(two).await?), [1]);
    let three = Claim { executor: executor("a1", "c2"), ..w.claim("a1", 9) };
    assert_eq!(ids(&w.claimed(three).await?), [3]);
    Ok(())
}

pub(super) async fn only_within_the_scope(w: &mut World) -> Result<()> {
    for tenant in [w.other.id, w.acme.id, w.eu.id, w.root.id] {
        let mut spec = w.spec("backup");
        spec.tenant = tenant;
        w.create(spec).await?;
    }
    let (scope, claim) = (Scope::subtree(&w.acme.clone()), w.claim("a1", 9));
    let done = w.ledger.commit(&scope, w.moment, vec![Write::Claim(claim)]).await?;
    let Written::Claimed(tasks) = &done.written[0] else { panic!("it was a claim") };
    assert_eq!(ids(tasks), [2, 3]);
    Ok(())
}

pub(super) async fn more_wanted_than_there_is(w: &mut World) -> Result<()> {
    let nothing = w.claim("a1", 3);
    assert!(w.claimed(nothing).await?.is_empty());
    w.plain().await?;
    let nobody = w.claim("a1", 0);
    assert!(w.claimed(nobody).await?.is_empty());
    let greedy = w.claim("a1", 3);
    assert_eq!(w.claimed(greedy).await?.len(), 1);
    Ok(())
}

pub(super) async fn two_claimers_never_get_the_same(w: &mut World) -> Result<()> {
    let specs: Vec<_> = (0..20).map(|_| Write::CreateTask(Box::new(w.spec("backup")))).collect();
    w.commit(specs).await?;
    let mut claimers = JoinSet::new();
    for n in 0..8 {
        let (ledger, moment, claim) = (w.ledger.clone(), w.moment, w.claim(&format!("a{n}"), 3));
        claimers.spawn(async move { ledger.commit(&everything(), moment, vec![Write::Claim(claim)]).await });
    }
    let mut taken = BTreeSet::new();
    while let Some(done) = claimers.join_next().await {
        let done = done.expect("no claimer breaks down")?;
        let Some(Written::Claimed(tasks)) = done.written.into_iter().next() else { panic!("it was a claim") };
        for task in tasks {
            assert!(taken.insert(task.id), "task {} was handed out twice", task.id);
        }
    }
    assert_eq!(taken.len(), 20);
    Ok(())
}

pub(super) async fn what_waited_too_long_is_not_handed_out(w: &mut World) -> Result<()> {
    for n in 0..6 {
        let mut spec = w.spec("backup");
        // The first four are over, and more than one page of the claim.
        spec.rules.queue_timeout = Some(seconds(if n < 4 { 10 } else { 1000 }));
        w.create(spec).await?;
    }
    w.pass(seconds(20));
    let done = w.commit(vec![Write::Claim(w.claim("a1", 2))]).await?;
    let [Written::Claimed(claimed)] = &done.written[..] else { panic!("a claim gave {:?}", done.written) };
    assert_eq!((ids(claimed), ids(&done.ended)), (vec![5, 6], vec![1, 2, 3, 4]));
    let over = w.task(TaskId(1)).await?;
    assert_eq!((over.state(), over.result().map(|r| r.code)), (State::Completed, Some(ResultCode::TimedOut)));
    Ok(())
}
