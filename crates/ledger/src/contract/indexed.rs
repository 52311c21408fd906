//! The index by itself, over more rows than fit into a block: whatever happened to them, it answers like the oracle.

use domain::Result;
use domain::query::{Field, Page, Query, TaskField};
use domain::task::{Task, TaskId};
use proptest::prelude::*;

use super::properties::{block_on, config};
use super::random::{self, Dice, Known};
use super::world::{World, all, everything, seconds};
use crate::index::Index;
use crate::{Rev, Write};

/// What an index that has followed the ledger so far shows.
struct Followed {
    index: Index<TaskField>,
    rev: Rev,
    known: Vec<TaskId>,
}

impl Followed {
    async fn new(w: &World) -> Result<Followed> {
        let mut index = Index::new();
        let tenants = w.ledger.list::<domain::tenant::Tenant>(&everything(), &all()).await?;
        tenants.items.into_iter().for_each(|t| index.put_tenant(t.value.id, t.value.locator));
        Ok(Followed { index, rev: Rev(0), known: Vec::new() })
    }

    async fn follow(&mut self, w: &World) -> Result<()> {
        let changes = w.ledger.changes(&everything(), self.rev, 1_000_000).await?;
        for (_, task) in &changes.tasks {
            self.index.put(task.id.0, |field| field.read(task));
        }
        self.rev = changes.until;
        let rows = w.ledger.tasks(&everything(), &all()).await?.items;
        let there: Vec<TaskId> = rows.iter().map(|t| t.id).collect();
        self.known.iter().filter(|id| !there.contains(id)).for_each(|id| self.index.remove(id.0));
        self.known = there;
        self.index.settle();
        Ok(())
    }

    /// Asks for a page and for counts.
    async fn ask(&self, w: &World, rows: &[Task], dice: &mut Dice) -> Result<()> {
        let by_uuid = |id| Ok(rows.iter().find(|t| t.spec.uuid == id).map(|t| t.id.0));
        let scope = random::scope(dice, w);
        let mut query: Query<TaskField> = random::query(dice, rows);
        if let Page::Number { number, size } = &mut query.page {
            *number = 1 + dice.roll(rows.len() / (*size).max(1) as usize + 2) as u64;
        }
        if let Ok(expected) = w.ledger.tasks(&scope, &query).await
            && let Some(found) = self.index.find(&scope, &query, &by_uuid)?
        {
            let ids: Vec<i64> = expected.items.iter().map(|t| t.id.0).collect();
            assert_eq!((found.ids, found.total), (ids, expected.total), "{query:#?}");
            assert_eq!(found.more && query.page.limit() > 0, expected.next.is_some(), "{query:#?}");
        }
        let resources: Vec<_> = (0..dice.roll(6)).map(|_| random::resource(dice)).collect();
        let (of, filter) = ((TaskField::ResourceId, &resources[..]), &query.filter);
        if let Ok(expected) = w.ledger.newest_of_each(&scope, &resources, filter).await
            && let Some(found) = self.index.last_of_each(&scope, filter, of, &by_uuid)?
        {
            let ids: Vec<i64> = expected.iter().map(|t| t.id.0).collect();
            assert_eq!(found.ids, ids, "{filter:#?} of {resources:?}");
        }
        let by: Vec<_> = random::order(dice, TaskField::ALL).terms().iter().map(|(f, _)| *f).collect();
        if let Ok(expected) = w.ledger.task_counts(&scope, &query.filter, &by).await
            && let Some(found) = self.index.counts(&scope, &query.filter, &by, &by_uuid)?
        {
            assert_eq!(found, expected, "{:#?} by {by:?}", query.filter);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: config().cases / 4, max_shrink_iters: 0, ..config() })]

    #[test]
    fn an_index_of_several_blocks_is_like_the_oracle(
        specs in prop::collection::vec(prop::collection::vec(any::<u32>(), 60), 40),
        history in prop::collection::vec(prop::collection::vec(any::<u32>(), 80), 60..120),
        questions in prop::collection::vec(prop::collection::vec(any::<u32>(), 60), 120),
        seed in any::<u32>(),
    ) {
        block_on(async {
            let dir = tempfile::tempdir().expect("a temporary folder can be made");
            let path = dir.path().join("ledger.index");
            let mut w = World::in_memory().await;
            let mut dice = Dice::new((0..4000u32).map(|n| seed.wrapping_mul(2_654_435_761).wrapping_add(n.wrapping_mul(40_503_029))).collect());
            let mut followed = Followed::new(&w).await?;
            // Enough tasks for three blocks, most of them like one of a few.
            for n in 0..9 {
                let mut specs: Vec<_> = (0..45)
                    .map(|i| random::spec(&mut Dice::new(specs[(n * 7 + i) % specs.len()].clone()), &w))
                    .collect();
                specs.iter_mut().enumerate().for_each(|(i, s)| s.uuid = domain::Uuid::from_u128((n * 100 + i) as u128 + 1));
                w.pass(seconds(dice.roll(40) as i64));
                w.commit(specs.into_iter().map(|s| Write::CreateTask(Box::new(s))).collect()).await?;
                if n % 3 == 0 {
                    followed.follow(&w).await?;
                }
            }
            // What nearly all tasks go through.
            for round in 0..6 {
                let claimed = w.claimed(w.claim(["a1", "a2", "a3"][round % 3], 40)).await?;
                w.pass(seconds(dice.roll(9) as i64));
                for task in claimed {
                    let lease = task.lease().cloned().expect("it was handed out");
                    if dice.roll(5) > 0 {
                        // Some have run out of time already.
                        let _ = w.event(task.id, domain::task::Event::Start { lease: lease.clone() }).await;
                    }
                    if dice.roll(4) > 0 {
                        w.pass(seconds(dice.roll(3) as i64));
                        // Some cannot end before they begin.
                        let _ = w.complete(task.id, &lease).await;
                    }
                }
                followed.follow(&w).await?;
            }
            let mut known = Known::default();
            for (n, numbers) in history.into_iter().enumerate() {
                w.pass(seconds(dice.roll(5) as i64));
                let mut dice = Dice::new(numbers);
                let write = random::write(&mut dice, &w, &known);
                if let Ok(done) = w.ledger.commit(&everything(), w.moment, vec![write]).await {
                    known.note(&done);
                }
                if n % 20 == 0 {
                    followed.follow(&w).await?;
                    followed.index.tidy(u64::MAX);
                }
            }
            followed.follow(&w).await?;
            let rows = w.ledger.tasks(&everything(), &all()).await?.items;
            for (n, numbers) in questions.into_iter().enumerate() {
                if n == 40 {
                    while followed.index.tidy(u64::MAX) {}
                }
                if n == 80 {
                    followed.index = followed.index.stored_and_loaded(&path);
                }
                followed.ask(&w, &rows, &mut Dice::new(numbers)).await?;
            }
            Ok(())
        });
    }
}
