//! A ledger with a past: some fifty tasks of four tenants in every state, with every result, with steps, and some deleted.
//! Nothing in it is random, and no two tasks are alike.

use domain::activity::{ActivityEvent, ActivityRef, ActivitySpec, ActivityView};
use domain::query::{Filter, Order, Page, Query};
use domain::task::{
    Affinity, Blocker, Bottleneck, Event, Executor, LeaseToken, Message, Named, Outcome, OutcomeCode, Priority,
    Progress, Rules, Task, TaskError, TaskRef, TaskSpec,
};
use domain::tenant::Tenant;
use domain::{Moment, Scope, SignedDuration, Text, Uuid};
use ledger::Write;
use serde_json::{Value, json};

use crate::world::World;

/// How many tasks there are.
const TASKS: usize = 52;

/// A resource that others write in the other letter case.
pub(crate) const LOWER: &str = "3b91ae0c-8d4b-4c52-9f0b-52f5d3a0e711";
pub(crate) const UPPER: &str = "3B91AE0C-8D4B-4C52-9F0B-52F5D3A0E711";
/// A type, as vendors have them.
pub(crate) const GUID_TYPE: &str = "9B6A4F1E-0C55-4A4E-8C22-0F4D5E6A7B8C";

/// What came of a task.
const FATES: [&str; 13] = [
    "ok",
    "waits",
    "assigned",
    "started",
    "paused",
    "error",
    "warning",
    "cancelled",
    "abandoned",
    "timedout",
    "deleted",
    "returned",
    "stopped",
];

/// A world and everything in it.
pub(crate) struct History {
    pub(crate) world: World,
    /// By id, the deleted ones too.
    pub(crate) tasks: Vec<Task>,
    /// By id, those of deleted tasks too.
    pub(crate) activities: Vec<ActivityView>,
    pub(crate) tenants: Vec<Tenant>,
}

impl History {
    /// A history over SQLite.
    pub(crate) async fn new() -> History {
        let world = World::on_disk().await;
        let mut clock = world.service.moment();
        for i in 0..TASKS {
            live(&world, &mut clock, i).await;
        }
        let (tasks, activities) = everything(&world).await;
        let mut tenants = Vec::new();
        for id in [Uuid::nil(), world.acme, world.acme_east, world.globex, world.globex_west] {
            tenants.push(world.tenant(id).await);
        }
        History { world, tasks, activities, tenants }
    }

    /// Whether a tenant lies in the subtree of another.
    pub(crate) fn below(&self, tenant: Uuid, top: Uuid) -> bool {
        let locator = |id: Uuid| &self.tenants.iter().find(|t| t.id == id).expect("a tenant").locator;
        locator(tenant).starts_with(locator(top))
    }

    /// The tasks that a token of this tenant sees.
    pub(crate) fn tasks_of(&self, tenant: Uuid) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(move |t| self.below(t.spec.tenant, tenant) && t.status.deleted_at.is_none())
    }

    /// The activities that a token of this tenant sees.
    pub(crate) fn activities_of(&self, tenant: Uuid) -> impl Iterator<Item = &ActivityView> {
        let seen =
            move |a: &&ActivityView| self.below(a.task.spec.tenant, tenant) && a.task.status.deleted_at.is_none();
        self.activities.iter().filter(seen)
    }
}

/// All tasks and activities there are, by id.
pub(crate) async fn everything(world: &World) -> (Vec<Task>, Vec<ActivityView>) {
    let scope = Scope::everything();
    let page = || Page::first(domain::query::MAX_LIMIT);
    let tasks = Query { filter: Filter::all(), order: Order::oldest(), page: page(), total: false };
    let tasks = world.ledger.tasks(&scope, &tasks).await.expect("tasks");
    let activities = Query { filter: Filter::all(), order: Order::oldest(), page: page(), total: false };
    let activities = world.ledger.activities(&scope, &activities).await.expect("activities");
    assert!(tasks.next.is_none() && activities.next.is_none(), "they fit on one page");
    (tasks.items, activities.items)
}

fn pick<T: Clone>(of: &[T], i: usize, step: usize) -> T {
    of[(i * step + i / of.len()) % of.len()].clone()
}

fn named(id: &str, kind: &str, name: &str) -> Option<Named> {
    Some(Named { id: id.into(), kind: kind.into(), name: name.into() })
}

fn wish(world: &World, i: usize) -> TaskSpec {
    let tenant = pick(&[world.acme, world.acme_east, world.globex, world.globex_west, world.acme_east], i, 2);
    let kind = pick(&["backup", "recovery", "apply_policy", GUID_TYPE, "index"], i, 3);
    let mut spec = TaskSpec::new(Uuid::now_v7(), kind, pick(&["q-a", "q-b", "agents"], i, 1), tenant);
    spec.priority = pick(Priority::ALL, i, 3);
    let tags: [&[&str]; 4] = [&[], &["nightly"], &["nightly", "a+b"], &["caf\u{e9}", "a b"]];
    spec.tags = pick(&tags, i, 1).iter().map(|t| (*t).into()).collect();
    spec.workflow_id = pick(&[None, Some(7), Some(8)], i, 2);
    let people = [None, Some("cinema"), Some("Night 100%"), Some("client x (1)"), Some("\u{c9}quipe")];
    spec.started_by = pick(&people, i, 2).map(Text::from);
    spec.policy = pick(
        &[
            None,
            named("p-1", "backup", "Nightly"),
            named("7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d", "backup", "nightly (EU)"),
            named("p-1", "policy.protection.total", "Nightly"),
        ],
        i,
        3,
    );
    spec.resource = pick(
        &[
            named(LOWER, "compute_vm", "srv-01"),
            named(UPPER, "bare_metal", "SRV-01 (copy)"),
            None,
            named("r-1", "machine", "B\u{fc}ro_1"),
            named("r-2", "mailbox", "100%"),
        ],
        i,
        1,
    );
    spec.affinity = Affinity {
        agent: pick(&[None, Some("e-1".into()), None], i, 2),
        cluster: pick(&[None, None, Some("c-1".into()), None], i, 1),
    };
    spec.context = pick(
        &[Value::Null.into(), json!({ "suite": "o365", "n": i }).into(), json!({ "title": "as sent" }).into()],
        i,
        2,
    );
    spec.argument = pick(&[Value::Null.into(), json!([1, null, ""]).into()], i, 1);
    spec.rules = Rules {
        cancellable: true,
        sustainable: i.is_multiple_of(2),
        max_assign_count: 2,
        heartbeat_interval: Some(SignedDuration::from_hours(100)),
        ack_timeout: SignedDuration::from_hours(100),
        queue_timeout: Some(SignedDuration::from_hours(100)),
        exec_timeout: pick(&[None, Some(SignedDuration::from_hours(1000))], i, 1),
        life_time: None,
    };
    spec
}

fn progress(current: i64) -> Progress {
    Progress {
        total: 100,
        current,
        bytes_processed: 7_340_032,
        bytes_saved: 1_048_576,
        speed: Some(1.5),
        left: Some(SignedDuration::from_secs(90)),
        bottleneck: Some(Bottleneck { source: 10, destination: 20, processing: 70 }),
        ..Progress::default()
    }
}

/// The life of one task, some seconds after the one before.
async fn live(world: &World, clock: &mut Moment, i: usize) {
    let spec = wish(world, i);
    let task = TaskRef::Uuid(spec.uuid);
    let fate = FATES[i % FATES.len()];
    let lease = LeaseToken(format!("lease {i}"));
    let executor = Executor {
        id: spec.affinity.agent.clone().unwrap_or_else(|| format!("E-{}", i % 4).into()),
        cluster_id: spec.affinity.cluster.clone().unwrap_or_default(),
    };
    // What happens at once is still stamped one after the other.
    let mut happens = async |writes: Vec<Write>, after: SignedDuration| {
        clock.now = clock.now.checked_add(after).expect("far from the end of time");
        world.commit_at(*clock, writes).await;
    };
    let second = SignedDuration::from_secs(1);
    let event = |event| Write::Task(task, event);
    let claim = || event(Event::Claim { executor: executor.clone(), lease: lease.clone() });
    let abandon = || event(Event::Abandon { lease: lease.clone(), reason: "the worker stops.".into() });
    let cancel = || event(Event::Cancel { by: "cinema".into() });
    happens(vec![Write::CreateTask(Box::new(spec))], second).await;
    let begun = || {
        let lease = || lease.clone();
        vec![
            claim(),
            event(Event::Start { lease: lease() }),
            event(Event::Report { lease: lease(), progress: progress(40) }),
        ]
    };
    match fate {
        "waits" => return,
        "cancelled" => return happens(vec![cancel()], second).await,
        "assigned" => return happens(vec![claim()], second).await,
        "timedout" => {
            // Alone among all it sees a time when its own has run out; what is stamped later comes later.
            let id = world.ledger.task(&Scope::everything(), task).await.expect("the task").id;
            return happens(vec![Write::Settle(id)], SignedDuration::from_hours(101)).await;
        }
        _ => happens(begun(), second).await,
    }
    if i.is_multiple_of(3) {
        let mut scan = ActivitySpec::new(Uuid::now_v7(), "scan");
        scan.tags = vec![format!("step {}", i % 2).into()];
        scan.context = json!({ "HasChildren": true }).into();
        let step = ActivityRef::Uuid(scan.uuid);
        let create = |spec: ActivitySpec, start| Write::CreateActivity {
            task,
            lease: lease.clone(),
            spec: Box::new(spec),
            start,
        };
        happens(vec![create(scan, true)], second).await;
        let parent = world.ledger.activity(&Scope::everything(), step).await.expect("the step").activity.id;
        let copy = ActivitySpec { sustainable: true, ..ActivitySpec::new(Uuid::now_v7(), "copy") };
        let below = ActivitySpec { parent: Some(parent), ..ActivitySpec::new(Uuid::now_v7(), "scan") };
        let done = ActivityEvent::Complete(Outcome::of(OutcomeCode::Ok), Some(progress(100)));
        let done = Write::Activity { activity: step, lease: lease.clone(), event: done };
        happens(vec![create(copy, i.is_multiple_of(2)), create(below, true), done], second).await;
    }
    let complete =
        |outcome: Outcome| event(Event::Complete { lease: lease.clone(), outcome, progress: Some(progress(100)) });
    let error = TaskError {
        domain: "Storage".into(),
        code: "quotaExceeded".into(),
        message: "The repository 'main' is full.".into(),
        context: json!({ "quota": 2 }),
        ..TaskError::default()
    };
    let ok = || complete(Outcome { payload: json!({ "n": i }), ..Outcome::of(OutcomeCode::Ok) });
    let writes = match fate {
        "paused" => {
            let word = |key: &str| Message { key: key.into(), context: json!({ "n": i }) };
            let blocker = Blocker {
                id: Uuid::now_v7(),
                activity: None,
                issue: word("no.space"),
                possible_solutions: vec![word("retry"), word("ignore")],
                solution: None,
            };
            vec![event(Event::Pause { lease: lease.clone(), blockers: vec![blocker] })]
        }
        "ok" => vec![ok()],
        "deleted" => vec![ok(), event(Event::Delete)],
        "error" => vec![complete(Outcome { error: Some(error), ..Outcome::of(OutcomeCode::Error) })],
        "warning" => vec![complete(Outcome { warnings: vec![error], ..Outcome::of(OutcomeCode::Warning) })],
        "stopped" => vec![cancel(), complete(Outcome::of(OutcomeCode::Cancelled))],
        "returned" => vec![abandon()],
        // The attempts are used up, but for a sustainable task, which uses none.
        "abandoned" => vec![abandon(), claim(), abandon()],
        _ => return,
    };
    happens(writes, second).await;
}
