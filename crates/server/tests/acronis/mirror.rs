//! The promise of incremental mirrors (contract, section 12, D72): who polls by `updatedAt` while others write misses
//! nothing, sees nothing late and nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::http::StatusCode;
use domain::activity::{ActivityEvent, ActivityRef, ActivitySpec};
use domain::task::{Event, Executor, LeaseToken, Outcome, OutcomeCode, Progress, Rules, TaskId, TaskRef, TaskSpec};
use domain::{Code, Moment, Role, Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Claim, Write, Written};
use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::Value;
use tokio::sync::watch;

use crate::shape::API;
use crate::world::World;

/// Something a writer does; the number says to which of its things.
#[derive(Debug, Clone, Copy)]
enum Act {
    Create,
    Claim,
    Start,
    Progress,
    Step,
    StepDone,
    Pause,
    Resume,
    Complete,
    Abandon,
    Cancel,
    Delete,
    /// From now on its clock is off by so many minutes.
    Clock(i8),
}

fn act() -> impl Strategy<Value = (Act, u8)> {
    let act = prop_oneof![
        3 => Just(Act::Create),
        3 => Just(Act::Claim),
        3 => Just(Act::Start),
        3 => Just(Act::Progress),
        3 => Just(Act::Step),
        2 => Just(Act::StepDone),
        1 => Just(Act::Pause),
        1 => Just(Act::Resume),
        3 => Just(Act::Complete),
        1 => Just(Act::Abandon),
        1 => Just(Act::Cancel),
        2 => Just(Act::Delete),
        1 => (-60i8..=60).prop_map(Act::Clock),
    ];
    (act, any::<u8>())
}

/// One of the writers, and what it has in its hands.
struct Writer {
    world: Arc<World>,
    name: String,
    off: SignedDuration,
    made: Vec<TaskId>,
    held: Vec<(TaskId, LeaseToken)>,
    steps: Vec<(Uuid, LeaseToken)>,
}

fn pick<T: Clone>(of: &[T], which: u8) -> Option<T> {
    of.get(usize::from(which) % of.len().max(1)).cloned()
}

impl Writer {
    fn moment(&self) -> Moment {
        let moment = self.world.service.moment();
        Moment { now: moment.now.checked_add(self.off).expect("far from the end of time"), ..moment }
    }

    /// The write of an act, if there is anything to do it to.
    fn write(&mut self, act: Act, which: u8) -> Option<Write> {
        let held = |of: fn(LeaseToken) -> Event| {
            let (task, lease) = pick(&self.held, which)?;
            Some(Write::Task(TaskRef::Id(task), of(lease)))
        };
        match act {
            Act::Create => {
                let world = &self.world;
                let tenant = pick(&[world.acme, world.acme_east, world.globex], which)?;
                let mut spec = TaskSpec::new(Uuid::now_v7(), "index", "q", tenant);
                spec.rules = Rules {
                    cancellable: true,
                    sustainable: which.is_multiple_of(2),
                    max_assign_count: 2,
                    heartbeat_interval: Some(SignedDuration::from_mins(1)),
                    ..Rules::default()
                };
                Some(Write::CreateTask(Box::new(spec)))
            }
            Act::Claim => Some(Write::Claim(Claim {
                queues: vec!["q".into()],
                types: Vec::new(),
                executor: Executor { id: self.name.as_str().into(), ..Executor::default() },
                leases: (0..which % 3 + 1).map(|_| LeaseToken(Uuid::now_v7().to_string())).collect(),
            })),
            Act::Start => held(|lease| Event::Start { lease }),
            Act::Progress => {
                let (task, lease) = pick(&self.held, which)?;
                let progress = Progress { total: 255, current: which.into(), ..Progress::default() };
                Some(Write::Task(TaskRef::Id(task), Event::Report { lease, progress }))
            }
            Act::Step => {
                let (task, lease) = pick(&self.held, which)?;
                let mut spec = ActivitySpec::new(Uuid::now_v7(), "step");
                spec.sustainable = which.is_multiple_of(3);
                self.steps.push((spec.uuid, lease.clone()));
                let (task, spec) = (TaskRef::Id(task), Box::new(spec));
                Some(Write::CreateActivity { task, lease, spec, start: which.is_multiple_of(2) })
            }
            Act::StepDone => {
                let (step, lease) = pick(&self.steps, which)?;
                let event = ActivityEvent::Complete(Outcome::of(OutcomeCode::Ok), None);
                Some(Write::Activity { activity: ActivityRef::Uuid(step), lease, event })
            }
            Act::Pause => held(|lease| Event::Pause { lease, blockers: Vec::new() }),
            Act::Resume => held(|lease| Event::Resume { lease }),
            Act::Complete => {
                held(|lease| Event::Complete { lease, outcome: Outcome::of(OutcomeCode::Warning), progress: None })
            }
            Act::Abandon => held(|lease| Event::Abandon { lease, reason: "it stops.".into() }),
            Act::Cancel => {
                let task = pick(&self.made, which)?;
                Some(Write::Task(TaskRef::Id(task), Event::Cancel { by: self.name.clone() }))
            }
            Act::Delete => Some(Write::Task(TaskRef::Id(pick(&self.made, which)?), Event::Delete)),
            Act::Clock(minutes) => {
                self.off = SignedDuration::from_mins(minutes.into());
                None
            }
        }
    }

    async fn act(&mut self, act: Act, which: u8) {
        let Some(write) = self.write(act, which) else { return };
        match self.world.ledger.commit(&Scope::everything(), self.moment(), vec![write]).await {
            Ok(committed) => {
                for written in committed.written {
                    match written {
                        Written::Task { task, .. } if !self.made.contains(&task.id) => self.made.push(task.id),
                        Written::Claimed(tasks) => {
                            self.held.extend(tasks.iter().filter_map(|t| Some((t.id, t.lease()?.clone()))));
                        }
                        _ => {}
                    }
                }
            }
            // Somebody was faster, or it is not the time for it.
            Err(e) => assert!(
                [Code::StateConflict, Code::LeaseLost, Code::AlreadyCompleted, Code::NotFound].contains(&e.code),
                "{act:?}: {e}"
            ),
        }
    }
}

/// A copy of a list, kept by the recipe of section 12.
struct Mirror {
    world: Arc<World>,
    auth: String,
    list: &'static str,
    /// Whether it goes on from the largest `updatedAt` it saw, and not from the first page's `timeStamp`.
    by_rows: bool,
    rows: BTreeMap<i64, Value>,
    from: Timestamp,
    newest: Timestamp,
}

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("{value} is no time"))
}

impl Mirror {
    async fn page(&self, query: &str) -> Value {
        let (status, _, body) = self.world.get(&format!("{API}/{}?{query}", self.list), &self.auth).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// One walk over all that changed.
    async fn poll(&mut self, limit: usize) {
        let from = self.from;
        let query = format!("updatedAt=gt({from})&order=asc(updatedAt)&allow_deleted=true&lod=full&limit={limit}");
        let mut page = self.page(&query).await;
        let horizon = time(&page["timeStamp"]);
        assert!(horizon >= from, "the horizon does not go back");
        let (mut met, mut last, seen_before) = (BTreeSet::new(), from, self.newest);
        loop {
            let items = page["items"].as_array().expect("a list").clone();
            for row in items {
                let (id, changed) = (row["id"].as_i64().expect("a number"), time(&row["updatedAt"]));
                assert!(met.insert(id), "{} {id} came twice in one walk", self.list);
                assert!(changed > last, "{} {id} is out of order", self.list);
                assert!(changed <= horizon, "{} {id} lies behind the horizon", self.list);
                assert!(changed > seen_before, "{} {id} came late: it changed at {changed}", self.list);
                last = changed;
                self.newest = self.newest.max(changed);
                self.rows.insert(id, row);
            }
            let Some(after) = page["paging"]["cursors"]["after"].as_str() else { break };
            page = self.page(&format!("limit={limit}&after={after}")).await;
        }
        self.from = if self.by_rows { self.newest.max(from) } else { horizon };
    }

    /// Polls until the writers are done, and once more.
    async fn keep(mut self, polls: Vec<(usize, u8)>, mut done: watch::Receiver<bool>) -> Mirror {
        let mut head = self.world.service.head();
        let mut polls = polls.into_iter().cycle();
        while !*done.borrow_and_update() {
            let (limit, commits) = polls.next().expect("it never ends");
            self.poll(limit).await;
            // The next one comes after so many commits more.
            for _ in 0..commits {
                tokio::select! {
                    changed = head.changed() => changed.expect("the ledger is open"),
                    _ = done.wait_for(|done| *done) => break,
                }
            }
        }
        self.poll(polls.next().expect("it never ends").0).await;
        self
    }

    /// What the copy must be.
    async fn truth(&self) -> BTreeMap<i64, Value> {
        let page = self.page("allow_deleted=true&lod=full&order=asc(id)&limit=1000").await;
        assert!(page["cursors"].get("after").is_none(), "it fits on one page");
        let items = page["items"].as_array().expect("a list");
        items.iter().map(|row| (row["id"].as_i64().expect("a number"), row.clone())).collect()
    }
}

#[derive(Debug, Clone)]
struct Story {
    writers: Vec<Vec<(Act, u8)>>,
    /// Page sizes, and after how many commits the next poll comes.
    polls: Vec<(usize, u8)>,
    by_rows: bool,
}

fn story() -> impl Strategy<Value = Story> {
    let writers = prop::collection::vec(prop::collection::vec(act(), 60..90), 3..=4);
    let polls = prop::collection::vec((prop_oneof![3 => 1usize..8, 1 => Just(1000)], 0u8..6), 1..8);
    (writers, polls, any::<bool>()).prop_map(|(writers, polls, by_rows)| Story { writers, polls, by_rows })
}

async fn tell(story: Story) {
    let world = Arc::new(World::on_disk().await);
    let (finished, done) = watch::channel(false);
    let mut mirrors = tokio::task::JoinSet::new();
    // A copy of everything, and one of a part of the tree.
    for tenant in [Uuid::nil(), world.acme] {
        for list in ["tasks", "activities"] {
            let mirror = Mirror {
                world: world.clone(),
                auth: world.bearer(tenant, Role::Viewer).await,
                list,
                by_rows: story.by_rows,
                rows: BTreeMap::new(),
                from: Timestamp::UNIX_EPOCH,
                newest: Timestamp::UNIX_EPOCH,
            };
            mirrors.spawn(mirror.keep(story.polls.clone(), done.clone()));
        }
    }
    let mut writers = tokio::task::JoinSet::new();
    for (i, acts) in story.writers.into_iter().enumerate() {
        let mut writer = Writer {
            world: world.clone(),
            name: format!("e-{i}"),
            off: SignedDuration::ZERO,
            made: Vec::new(),
            held: Vec::new(),
            steps: Vec::new(),
        };
        writers.spawn(async move {
            for (act, which) in acts {
                writer.act(act, which).await;
            }
        });
    }
    writers.join_all().await;
    finished.send(true).expect("mirrors listen");
    for mirror in mirrors.join_all().await {
        let truth = mirror.truth().await;
        assert!(!truth.is_empty(), "there is nothing to compare");
        assert_eq!(mirror.rows, truth, "the copy of {}", mirror.list);
    }
}

proptest! {
    // What is random here is the interleaving, which no shrinking brings back.
    #![proptest_config(Config { cases: 4, max_shrink_iters: 0, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_mirror_by_the_last_change_is_whole_and_nothing_comes_late(story in story()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
        runtime.expect("a runtime").block_on(tell(story));
    }
}
