//! Turns: tenants whose tasks wait in the same place are served alternately, whoever has how many.

use std::collections::BTreeMap;

use domain::task::{Affinity, Event, Priority, Task, TaskSpec};
use domain::tenant::Tenant;
use domain::{Code, Result, Scope, Text, Uuid};
use proptest::prelude::*;

use super::properties::{block_on, config};
use super::world::{QUEUE, World, refusal, seconds};
use crate::{Claim, Expect, Write, Written};

fn ids(tasks: &[Task]) -> Vec<i64> {
    tasks.iter().map(|t| t.id.0).collect()
}

/// Enqueues tasks of a tenant, all at once.
async fn enqueue(w: &World, tenant: Uuid, n: usize, change: impl Fn(&mut TaskSpec)) -> Result<()> {
    let write = |_| {
        let mut spec = TaskSpec { tenant, ..w.spec("backup") };
        spec.rules.max_assign_count = 3;
        change(&mut spec);
        Write::CreateTask(Box::new(spec))
    };
    w.commit((0..n).map(write).collect()).await.map(drop)
}

async fn plain(w: &World, tenant: &Tenant, n: usize) -> Result<()> {
    enqueue(w, tenant.id, n, |_| {}).await
}

/// Takes so many tasks at once.
async fn batch(w: &World, n: usize) -> Result<Vec<i64>> {
    Ok(ids(&w.claimed(w.claim("a1", n)).await?))
}

/// Takes so many tasks, one by one.
async fn singly(w: &World, n: usize) -> Result<Vec<i64>> {
    let mut taken = Vec::new();
    for _ in 0..n {
        taken.extend(batch(w, 1).await?);
    }
    Ok(taken)
}

/// Takes so many tasks at once, within a scope.
async fn within(w: &World, scope: &Scope, n: usize) -> Result<Vec<i64>> {
    let done = w.ledger.commit(scope, w.moment, vec![Write::Claim(w.claim("a1", n))]).await?;
    match &done.written[0] {
        Written::Claimed(tasks) => Ok(ids(tasks)),
        other => panic!("a claim gave {other:?}"),
    }
}

pub(super) async fn tenants_take_turns(w: &mut World) -> Result<()> {
    plain(w, &w.acme, 4).await?;
    plain(w, &w.other, 2).await?;
    plain(w, &w.eu, 3).await?;
    assert_eq!(batch(w, 5).await?, [1, 5, 7, 2, 6]);
    assert_eq!(singly(w, 5).await?, [8, 3, 9, 4], "a batch is as many single ones");
    Ok(())
}

pub(super) async fn a_newcomer_does_not_wait_for_a_backlog(w: &mut World) -> Result<()> {
    plain(w, &w.acme, 10).await?;
    assert_eq!(singly(w, 3).await?, [1, 2, 3]);
    plain(w, &w.other, 3).await?;
    assert_eq!(singly(w, 6).await?, [11, 4, 12, 5, 13, 6], "one by one from now on");

    // Also in the middle of a round: each of those who wait has one turn before the newcomer's, or after it.
    plain(w, &w.other, 2).await?;
    assert_eq!(singly(w, 1).await?, [14]);
    plain(w, &w.eu, 2).await?;
    assert_eq!(singly(w, 5).await?, [7, 16, 15, 8, 17]);
    Ok(())
}

pub(super) async fn who_comes_first_is_served_first(w: &mut World) -> Result<()> {
    for tenant in [&w.other, &w.root, &w.eu, &w.acme] {
        plain(w, tenant, 1).await?;
    }
    assert_eq!(batch(w, 9).await?, [1, 2, 3, 4]);
    Ok(())
}

pub(super) async fn idling_gives_no_credit(w: &mut World) -> Result<()> {
    plain(w, &w.other, 1).await?;
    plain(w, &w.acme, 20).await?;
    assert_eq!(batch(w, 9).await?, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    plain(w, &w.other, 4).await?;
    assert_eq!(batch(w, 4).await?, [22, 10, 23, 11], "nothing is made up for");
    Ok(())
}

pub(super) async fn enqueuing_one_by_one_gains_nothing(w: &mut World) -> Result<()> {
    plain(w, &w.acme, 20).await?;
    let mut of_other = 0;
    for _ in 0..10 {
        let waits = w.claimed(w.claim("a1", 1)).await?;
        if waits[0].spec.tenant == w.other.id || of_other == 0 {
            of_other += 1;
            plain(w, &w.other, 1).await?;
        }
    }
    assert_eq!(of_other, 6, "every second one");
    Ok(())
}

pub(super) async fn urgency_comes_before_turns(w: &mut World) -> Result<()> {
    plain(w, &w.other, 2).await?;
    enqueue(w, w.acme.id, 3, |spec| spec.priority = Priority::High).await?;
    enqueue(w, w.eu.id, 1, |spec| spec.priority = Priority::High).await?;
    assert_eq!(batch(w, 9).await?, [3, 6, 4, 5, 1, 2]);
    Ok(())
}

pub(super) async fn queues_take_turns(w: &mut World) -> Result<()> {
    plain(w, &w.acme, 3).await?;
    enqueue(w, w.acme.id, 3, |spec| spec.queue = "slow".into()).await?;
    let both = |n| Claim { queues: vec![QUEUE.into(), "slow".into()], ..w.claim("a1", n) };
    assert_eq!(ids(&w.claimed(both(3)).await?), [1, 4, 2]);
    assert_eq!(ids(&w.claimed(both(1)).await?), [5], "also from one claim to the next");
    assert_eq!(batch(w, 1).await?, [3]);
    assert_eq!(ids(&w.claimed(both(9)).await?), [6]);
    Ok(())
}

pub(super) async fn what_is_bound_takes_turns_with_the_rest(w: &mut World) -> Result<()> {
    let only = |agent: Option<&str>, cluster: Option<&str>| Affinity {
        agent: agent.map(Text::from),
        cluster: cluster.map(Text::from),
    };
    enqueue(w, w.acme.id, 3, |spec| spec.affinity = only(Some("a1"), None)).await?;
    plain(w, &w.acme, 3).await?;
    enqueue(w, w.acme.id, 2, |spec| spec.affinity = only(None, Some("c1"))).await?;
    enqueue(w, w.other.id, 1, |spec| spec.affinity = only(Some("a1"), None)).await?;
    let mut claim = w.claim("a1", 7);
    claim.executor.cluster_id = "c1".into();
    assert_eq!(ids(&w.claimed(claim).await?), [1, 4, 7, 9, 5, 8, 2]);
    assert_eq!(ids(&w.claimed(w.claim("a2", 9)).await?), [6]);
    assert_eq!(batch(w, 9).await?, [3]);
    Ok(())
}

pub(super) async fn what_comes_back_is_next(w: &mut World) -> Result<()> {
    plain(w, &w.acme, 5).await?;
    plain(w, &w.other, 2).await?;
    let taken = w.claimed(w.claim("a1", 5)).await?;
    assert_eq!(ids(&taken), [1, 6, 2, 7, 3]);
    for n in [2, 0, 1] {
        let (task, lease) = (taken[n].id, taken[n].lease().expect("it was handed out").clone());
        w.event(task, Event::Abandon { lease, reason: "tired".into() }).await?;
    }
    plain(w, &w.eu, 2).await?;
    assert_eq!(singly(w, 9).await?, [1, 2, 6, 8, 4, 9, 5]);
    Ok(())
}

pub(super) async fn types_and_subtrees_take_their_own(w: &mut World) -> Result<()> {
    plain(w, &w.acme, 2).await?;
    enqueue(w, w.acme.id, 3, |spec| spec.kind = "check".into()).await?;
    enqueue(w, w.other.id, 2, |spec| spec.kind = "check".into()).await?;
    plain(w, &w.other, 1).await?;
    let checks = |n| Claim { types: vec!["check".into(), "none".into(), "check".into()], ..w.claim("a1", n) };
    assert_eq!(ids(&w.claimed(checks(3)).await?), [6, 7, 3]);
    assert_eq!(within(w, &Scope::subtree(&w.acme), 2).await?, [1, 2]);
    assert_eq!(batch(w, 9).await?, [8, 4, 5]);
    Ok(())
}

pub(super) async fn a_subtree_finds_its_own_behind_many_others(w: &mut World) -> Result<()> {
    let mut children = Vec::new();
    for n in 0..40 {
        let child = w.acme.child(Uuid::from_u128(0xc000 + n), 1000 + n as i64, &format!("Child {n}"), w.moment.now)?;
        children.push(w.put(child, Expect::New).await?.value);
    }
    plain(w, &w.other, 1200).await?;
    plain(w, &children[7], 1).await?;
    plain(w, &children[3], 1200).await?;
    let (child, subtree) = (Scope::subtree(&children[3]), Scope::subtree(&w.acme));
    assert_eq!(within(w, &child, 1).await?, [1202]);
    assert_eq!(within(w, &subtree, 2).await?, [1201, 1203]);
    // The lane comes far, and leaves behind what is not taken: much more than anybody would pass over.
    assert_eq!(within(w, &child, 1198).await?.len(), 1198);
    plain(w, &children[0], 1).await?;
    assert_eq!(within(w, &subtree, 2).await?, [2402]);
    assert_eq!(within(w, &subtree, 1).await?, [0; 0]);
    Ok(())
}

pub(super) async fn a_refused_commit_uses_no_turn(w: &mut World) -> Result<()> {
    plain(w, &w.acme, 3).await?;
    plain(w, &w.other, 3).await?;
    let new = TaskSpec { tenant: w.eu.id, ..w.spec("backup") };
    let wrong = TaskSpec { kind: "".into(), ..w.spec("backup") };
    let [new, wrong] = [new, wrong].map(|spec| Write::CreateTask(Box::new(spec)));
    let writes = vec![new, Write::Claim(w.claim("a1", 3)), wrong];
    assert_eq!(refusal(w.commit(writes).await), Code::InvalidField);
    w.finish().await;
    assert_eq!(singly(w, 6).await?, [1, 4, 2, 5, 3, 6]);
    Ok(())
}

pub(super) async fn an_empty_lane_is_forgotten(w: &mut World) -> Result<()> {
    plain(w, &w.acme, 3).await?;
    let mut taken = w.claimed(w.claim("a1", 3)).await?;
    let old = w.create(TaskSpec { queue: "slow".into(), ..w.spec("backup") }).await?;
    w.event(old.id, Event::Cancel { by: "Jo".into() }).await?;
    w.event(old.id, Event::Delete).await?;
    w.pass(seconds(1));
    assert_eq!(w.commit(vec![Write::Purge(w.moment.now)]).await?.written, [Written::Removed(1)]);
    plain(w, &w.acme, 2).await?;
    plain(w, &w.other, 1).await?;
    let back = taken.remove(1);
    let lease = back.lease().expect("it was handed out").clone();
    w.event(back.id, Event::Abandon { lease, reason: "tired".into() }).await?;
    assert_eq!(singly(w, 9).await?, [2, 5, 7, 6]);
    Ok(())
}

/// Something that happens in a queue.
#[derive(Debug, Clone)]
enum Step {
    /// A tenant enqueues so many.
    Arrive(usize, usize),
    /// So many are taken.
    Take(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let arrive = (0..4_usize, 1..6_usize).prop_map(|(tenant, n)| Step::Arrive(tenant, n));
    prop::collection::vec(prop_oneof![arrive, (1..6_usize).prop_map(Step::Take)], 1..40)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn two_tenants_that_wait_are_served_alternately(steps in steps(), in_memory in any::<bool>()) {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        block_on(async {
            let path = dir.path().join("ledger.db");
            let w = if in_memory { World::in_memory().await } else { World::in_file(&path).await };
            let tenants = [w.acme.id, w.other.id, w.eu.id, w.root.id];
            let mut waiting: BTreeMap<Uuid, usize> = tenants.iter().map(|t| (*t, 0)).collect();
            // How often the first of two was served more than the second since both wait.
            let mut ahead: BTreeMap<(Uuid, Uuid), i64> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Arrive(tenant, n) => {
                        enqueue(&w, tenants[tenant], n, |_| {}).await?;
                        *waiting.entry(tenants[tenant]).or_default() += n;
                    }
                    Step::Take(n) => {
                        for task in w.claimed(w.claim("a1", n)).await? {
                            let served = task.spec.tenant;
                            for other in tenants.into_iter().filter(|t| *t != served) {
                                let both = waiting[&other] > 0;
                                for (pair, change) in [((served, other), 1), ((other, served), -1)] {
                                    let ahead = ahead.entry(pair).or_default();
                                    *ahead = if both { *ahead + change } else { 0 };
                                    assert!(ahead.abs() <= 1, "{served} was served twice while {other} waited");
                                }
                            }
                            let left = waiting.entry(served).or_default();
                            *left -= 1;
                            if *left == 0 {
                                ahead.retain(|(a, b), _| *a != served && *b != served);
                            }
                        }
                    }
                }
            }
            Ok(())
        });
    }
}
