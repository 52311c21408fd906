//! Properties: whatever happened and whatever is asked, every store gives the answer of the oracle, and walking through
//! an answer page by page gives each row once.

use std::collections::BTreeSet;

use domain::Result;
use domain::query::{ActivityField, Filter, Order, Page, Query, RecordField, TaskField};
use domain::record::Record;
use domain::task::TaskId;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::random::{self, Dice, Known};
use super::world::{World, all, everything, seconds};
use crate::{Rev, Write};

/// The oracle and two stores that must be like it, with the same history: one answers lists through its index, the other
/// from its record.
struct Trio {
    oracle: World,
    store: World,
    record: World,
    known: Known,
}

impl Trio {
    async fn new(folder: &std::path::Path) -> Trio {
        Trio {
            oracle: World::in_memory().await,
            store: World::in_file(&folder.join("ledger.db")).await,
            record: World::in_record(&folder.join("record.db")).await,
            known: Known::default(),
        }
    }

    /// Lets the same happen to both, and compares all they say.
    async fn happen(&mut self, dice: &mut Dice) {
        let jump = if dice.roll(10) == 1 { 60 } else { 4 };
        self.oracle.pass(seconds(dice.roll(jump) as i64 - 1));
        let scope = random::scope(dice, &self.oracle);
        let count = if dice.roll(8) == 1 { 3 } else { 1 };
        let due = self.oracle.ledger.due(&scope, self.oracle.moment.now).await.expect("it can be asked");
        let writes: Vec<Write> = match dice.roll(3) {
            // As the server does it again and again.
            1 if !due.is_empty() => due.into_iter().map(Write::Settle).collect(),
            _ => (0..count).map(|_| random::write(dice, &self.oracle, &self.known)).collect(),
        };
        let moment = self.oracle.moment;
        let expected = self.oracle.ledger.commit(&scope, moment, writes.clone()).await;
        let given = self.store.ledger.commit(&scope, moment, writes.clone()).await;
        assert_eq!(given, expected, "{writes:#?}");
        assert_eq!(self.record.ledger.commit(&scope, moment, writes.clone()).await, expected, "{writes:#?}");
        if let Ok(done) = given {
            self.known.note(&done);
        }
    }

    /// Asks both the same, and compares the answers.
    async fn ask(&self, dice: &mut Dice) -> Result<()> {
        let (oracle, store, record) = (&self.oracle.ledger, &self.store.ledger, &self.record.ledger);
        let scope = random::scope(dice, &self.oracle);
        match dice.roll(8) {
            0 | 1 => {
                let rows = oracle.tasks(&everything(), &all()).await?.items;
                let query = random::query::<TaskField>(dice, &rows);
                let expected = oracle.tasks(&scope, &query).await;
                assert_eq!(store.tasks(&scope, &query).await, expected, "{query:#?}");
                assert_eq!(record.tasks(&scope, &query).await, expected, "{query:#?}");
            }
            2 => {
                let rows = oracle.activities(&everything(), &all()).await?.items;
                let query = random::query::<ActivityField>(dice, &rows);
                let (given, expected) = (store.activities(&scope, &query), oracle.activities(&scope, &query));
                assert_eq!(given.await, expected.await, "{query:#?}");
            }
            3 => {
                let kind = random::kind(dice);
                let rows = oracle.records(&everything(), kind, &all()).await?.items;
                let rows: Vec<Record> = rows.into_iter().map(|r| r.value).collect();
                let query = random::query::<RecordField>(dice, &rows);
                let (given, expected) = (store.records(&scope, kind, &query), oracle.records(&scope, kind, &query));
                assert_eq!(given.await, expected.await, "{query:#?}");
            }
            5 => {
                let rows = oracle.activities(&everything(), &all()).await?.items;
                let filter = random::filter::<ActivityField>(dice, &rows);
                let fields = random::order(dice, <ActivityField as domain::query::Field>::ALL);
                let by: Vec<_> = fields.terms().iter().map(|(f, _)| *f).filter(|f| *f != ActivityField::Id).collect();
                let (given, expected) =
                    (store.activity_counts(&scope, &filter, &by), oracle.activity_counts(&scope, &filter, &by));
                assert_eq!(given.await, expected.await, "{filter:#?} by {by:?}");
            }
            4 => {
                let rows = oracle.tasks(&everything(), &all()).await?.items;
                let filter = random::filter::<TaskField>(dice, &rows);
                let fields = random::order(dice, <TaskField as domain::query::Field>::ALL);
                let by: Vec<_> = fields.terms().iter().map(|(f, _)| *f).filter(|f| *f != TaskField::Id).collect();
                let expected = oracle.task_counts(&scope, &filter, &by).await;
                assert_eq!(store.task_counts(&scope, &filter, &by).await, expected, "{filter:#?} by {by:?}");
                assert_eq!(record.task_counts(&scope, &filter, &by).await, expected, "{filter:#?} by {by:?}");
            }
            6 => {
                let rows = oracle.tasks(&everything(), &all()).await?.items;
                let filter = random::filter::<TaskField>(dice, &rows);
                let resources: Vec<_> = (0..dice.roll(6)).map(|_| random::resource(dice)).collect();
                let expected = oracle.newest_of_each(&scope, &resources, &filter).await;
                let given = store.newest_of_each(&scope, &resources, &filter).await;
                assert_eq!(given, expected, "{filter:#?} of {resources:?}");
            }
            _ => {
                let (since, limit) = (Rev(dice.roll(30) as i64), dice.roll(5) as u32);
                let (given, expected) = (store.changes(&scope, since, limit), oracle.changes(&scope, since, limit));
                assert_eq!(given.await, expected.await, "since {since}, {limit}");
                let by = self.oracle.moment.now + seconds(dice.roll(60) as i64);
                assert_eq!(store.due(&scope, by).await, oracle.due(&scope, by).await, "by {by}");
            }
        }
        Ok(())
    }
}

/// Few cases, so that the suite stays quick; `PROPTEST_CASES` asks for more: an eighth of it is tried.
pub(super) fn config() -> ProptestConfig {
    let cases = ProptestConfig::default().cases / 8;
    let failure_persistence = Some(Box::new(FileFailurePersistence::Off) as Box<_>);
    ProptestConfig { cases, failure_persistence, max_shrink_iters: 200, ..ProptestConfig::default() }
}

pub(super) fn block_on(story: impl Future<Output = Result<()>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built");
    runtime.block_on(story).expect("the story goes through");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_store_is_like_the_oracle(
        history in prop::collection::vec(prop::collection::vec(any::<u32>(), 80), 20..100),
        questions in prop::collection::vec(prop::collection::vec(any::<u32>(), 40), 60),
    ) {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        block_on(async {
            let mut trio = Trio::new(dir.path()).await;
            for numbers in history {
                trio.happen(&mut Dice::new(numbers)).await;
            }
            assert_eq!(trio.store.dump().await, trio.oracle.dump().await);
            for numbers in questions {
                trio.ask(&mut Dice::new(numbers)).await?;
            }
            trio.oracle.finish().await;
            trio.store.finish().await;
            trio.record.finish().await;
            Ok(())
        });
    }
}

/// Fields of tasks that never change, so that a walk by them has a meaning while other things go on.
const FIXED: &[TaskField] =
    &[TaskField::CreatedAt, TaskField::Priority, TaskField::PolicyName, TaskField::WorkflowId, TaskField::Id];

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_walk_meets_every_row_once(
        tasks in prop::collection::vec(prop::collection::vec(any::<u32>(), 60), 1..14),
        newcomers in prop::collection::vec(prop::collection::vec(any::<u32>(), 60), 20),
        choice in prop::collection::vec(any::<u32>(), 20),
        in_memory in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        block_on(async {
            let path = dir.path().join("ledger.db");
            let w = if in_memory { World::in_memory().await } else { World::in_file(&path).await };
            let specs: Vec<_> = tasks.into_iter().map(|n| random::spec(&mut Dice::new(n), &w)).collect();
            w.commit(specs.into_iter().map(|s| Write::CreateTask(Box::new(s))).collect()).await?;
            let at_start: BTreeSet<TaskId> =
                w.ledger.tasks(&everything(), &all()).await?.items.iter().map(|t| t.id).collect();

            let mut dice = Dice::new(choice);
            let order: Order<TaskField> = random::order(&mut dice, FIXED);
            let limit = 1 + dice.roll(4) as u32;
            let mut query = Query { filter: Filter::all(), order: order.clone(), page: Page::first(limit), total: false };
            let mut newcomers = newcomers.into_iter();
            let mut walked = Vec::new();
            loop {
                let slice = w.ledger.tasks(&everything(), &query).await?;
                walked.extend(slice.items);
                if let Some(numbers) = newcomers.next() {
                    let spec = random::spec(&mut Dice::new(numbers), &w);
                    w.create(spec).await?;
                }
                let Some(key) = slice.next else { break };
                query.page = Page::After { key: Some(key), limit };
            }
            assert!(walked.is_sorted_by(|a, b| order.compare(a, b).is_lt()), "in order, and nothing twice");
            let walked: BTreeSet<TaskId> = walked.iter().map(|t| t.id).collect();
            assert!(at_start.is_subset(&walked), "{at_start:?} is not within {walked:?}");
            Ok(())
        });
    }
}
