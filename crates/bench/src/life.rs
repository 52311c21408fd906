//! The life of one task: what was wished, what became of it and when, and its activities. Tasks are led through their
//! states by the domain itself, so none of them is in a state that it could not be in.

use std::sync::Arc;

use domain::activity::{Activity, ActivityEvent, ActivityId, ActivitySpec};
use domain::policy::Settings;
use domain::task::{
    Affinity, Blocker, Bottleneck, Effect, Event, Executor, Issuer, LeaseToken, Message, Named, Outcome, OutcomeCode,
    Priority, Progress, Rules, Task, TaskError, TaskId, TaskSpec, Timer,
};
use domain::work::{BackupDone, BackupWork};
use domain::{Moment, Result, SignedDuration, Timestamp, Uuid};
use serde_json::{Value, json};

use crate::random::Random;
use crate::words::{ERRORS, TAGS, TEAMS, WARNINGS};
use crate::world::{Plan, Thing, World};

/// How uneven the work is that resources make; see [`Random::skewed`].
const RESOURCE_SKEW: i32 = 2;
/// Open tasks stay as they are while we measure, so their timers are long.
const FOR_EVER: SignedDuration = SignedDuration::from_hours(24 * 365 * 10);
const SECOND: i64 = 1_000_000_000;
/// How long tasks wait in their queue, where that is limited.
const QUEUE_SECONDS: i64 = 600;

/// The types of tasks, so many of a thousand.
const TYPES: &[(Kind, usize)] = &[
    (Kind { name: "backup", queue: "agents", under_policy: true }, 800),
    (Kind { name: "retention", queue: "maintenance", under_policy: true }, 60),
    (Kind { name: "verification", queue: "maintenance", under_policy: true }, 40),
    (Kind { name: "recovery", queue: "agents", under_policy: false }, 6),
    (Kind { name: "file_recovery", queue: "agents", under_policy: false }, 9),
    (Kind { name: "inventory_sync", queue: "inventory", under_policy: false }, 60),
    (Kind { name: "apply_policy", queue: "maintenance", under_policy: true }, 15),
    (Kind { name: "agent_update", queue: "maintenance", under_policy: false }, 10),
];

/// The names of all types, the most frequent first.
pub(crate) fn types() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|(kind, _)| kind.name)
}

/// How tasks end, so many of a thousand.
const ENDS: &[(End, usize)] = &[
    (End::Outcome(OutcomeCode::Ok), 920),
    (End::Outcome(OutcomeCode::Warning), 30),
    (End::Outcome(OutcomeCode::Error), 30),
    (End::Outcome(OutcomeCode::Cancelled), 4),
    (End::CancelledInQueue, 4),
    (End::Abandoned, 6),
    (End::QueueTimeout, 2),
    (End::ExecTimeout, 4),
];

/// Where the newest tasks are, so many of a hundred.
const HEADS: &[(End, usize)] =
    &[(End::Waits, 50), (End::Assigned, 4), (End::Runs, 36), (End::Paused, 5), (End::Outcome(OutcomeCode::Ok), 5)];

/// How many of a thousand tasks that were carried out have steps beside the root.
const WITH_STEPS: usize = 100;
/// How many of a thousand were given back once before.
const RETRIED: usize = 10;

#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    queue: &'static str,
    under_policy: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Waits,
    Assigned,
    Runs,
    Paused,
    Outcome(OutcomeCode),
    CancelledInQueue,
    Abandoned,
    QueueTimeout,
    ExecTimeout,
}

/// A task with its activities, the root first. Their numbers and parents are still to be filled in.
pub(crate) struct Made {
    pub(crate) task: Task,
    pub(crate) activities: Vec<Activity>,
}

/// Makes lives.
pub(crate) struct Life<'w> {
    world: &'w World,
    random: Random,
    /// Nothing happens later than this.
    end: i64,
}

impl<'w> Life<'w> {
    pub(crate) fn new(world: &'w World, random: Random, end: i64) -> Life<'w> {
        Life { world, random, end: end - SECOND }
    }

    /// The times at which something can happen to this task.
    pub(crate) fn clock(&self, id: TaskId) -> Clock {
        Clock { unique: id.0 * 4, end: self.end }
    }

    /// The task with this number, created at this time; one of the head is probably still open.
    pub(crate) fn task(&mut self, id: TaskId, created: i64, head: bool) -> Result<Made> {
        let kind = self.random.weighted(TYPES);
        let end = self.random.weighted(if head { HEADS } else { ENDS });
        let thing = &self.world.things[self.random.skewed(self.world.things.len(), RESOURCE_SKEW)];
        let run = match kind.name {
            "inventory_sync" | "apply_policy" => self.random.nanos_between(0.2, 5.0),
            _ => self.random.nanos_between(2.0, 7200.0),
        };
        let wait = self.random.nanos_between(0.05, 30.0);
        let acknowledged = self.random.nanos_between(0.03, 0.6);
        let clock = self.clock(id);
        let assigned = clock.after(created, wait);
        let started = clock.after(assigned, acknowledged);
        // One that would not be over yet was quicker.
        let left = self.end - started;
        let run = if run < left { run } else { (left as f64 * self.random.unit()) as i64 };
        let ended = clock.after(started, run);

        let spec = self.spec(kind, end, thing, created, ended - started);
        let executor = Executor { id: thing.agent.as_str().into(), ..Executor::default() };
        let lease = LeaseToken(self.random.hex(32));
        let claim = |lease: &LeaseToken| Event::Claim { executor: executor.clone(), lease: lease.clone() };
        let mut life = Walk { task: Task::create(id, Arc::new(spec), time(created))?, root: None };
        match end {
            End::Waits => return Ok(life.made(Vec::new())),
            End::CancelledInQueue => {
                life.happens(Event::Cancel { by: (*self.random.pick(TEAMS)).to_owned() }, assigned)?;
                return Ok(life.made(Vec::new()));
            }
            End::QueueTimeout => {
                let over = clock.at(created + QUEUE_SECONDS * SECOND + Clock::OWN + 1);
                if over < self.end - Clock::OWN {
                    life.happens(Event::Expire { timer: Timer::Queue }, over)?;
                }
                return Ok(life.made(Vec::new()));
            }
            _ => {}
        }
        if life.task.spec.rules.max_assign_count > 1 && self.random.permille(RETRIED) {
            let former = LeaseToken(self.random.hex(32));
            life.happens(claim(&former), created)?;
            let reason = "The agent was restarted.".to_owned();
            life.happens(Event::Abandon { lease: former, reason }, created)?;
        }
        life.happens(claim(&lease), assigned)?;
        if end == End::Assigned {
            return Ok(life.made(Vec::new()));
        }
        life.happens(Event::Start { lease: lease.clone() }, started)?;
        let size = self.random.nanos_between(1e-3, 2000.0).unsigned_abs();
        let steps = match end {
            End::Outcome(_) if self.random.permille(WITH_STEPS) => self.steps(&life.task, clock, started, ended)?,
            _ => Vec::new(),
        };
        match end {
            End::Runs | End::Paused => {
                let share = self.random.below(99) as i64;
                let now = clock.after(started, (self.end - started) / 100 * share);
                let progress = self.progress(share, size, now - started);
                life.happens(Event::Report { lease: lease.clone(), progress }, now)?;
                if end == End::Paused {
                    let blockers = vec![blocker(self.random.uuid(time(now)))];
                    life.happens(Event::Pause { lease, blockers }, now)?;
                }
            }
            End::Abandoned => {
                life.happens(Event::Abandon { lease, reason: "It is shutting down.".to_owned() }, ended)?;
            }
            End::ExecTimeout => life.happens(Event::Expire { timer: Timer::Exec }, ended)?,
            End::Outcome(code) => {
                let outcome = self.outcome(code, kind, size, time(ended));
                let share = if code == OutcomeCode::Error { self.random.below(99) as i64 } else { 100 };
                let progress = Some(self.progress(share, size, ended - started));
                life.happens(Event::Complete { lease, outcome, progress }, ended)?;
            }
            End::Waits | End::Assigned | End::CancelledInQueue | End::QueueTimeout => {}
        }
        Ok(life.made(steps))
    }

    fn spec(&mut self, kind: Kind, end: End, thing: &Thing, created: i64, run: i64) -> TaskSpec {
        let world = self.world;
        let random = &mut self.random;
        let plan = kind.under_policy.then(|| &world.plans[thing.policy]);
        let mut spec = TaskSpec::new(random.uuid(time(created)), kind.name, kind.queue, world.tenants[thing.tenant].id);
        let manual = plan.is_none() || random.permille(80);
        spec.started_by = manual.then(|| format!("{}.{}", random.pick(TEAMS), random.pick(TEAMS)).into());
        spec.priority = random.weighted(&[
            (Priority::Normal, 80),
            (Priority::BelowNormal, 10),
            (Priority::Low, 5),
            (Priority::AboveNormal, 4),
            (Priority::High, 1),
        ]);
        if random.permille(300) {
            let first = random.below(TAGS.len() - 3);
            spec.tags = TAGS[first..=first + random.below(3)].iter().map(|t| (*t).into()).collect();
        }
        if random.permille(100) {
            spec.workflow_id = Some(random.below(1_000_000) as i64 + 1);
        }
        if random.permille(50) {
            spec.issuer = Issuer { id: format!("portal-{}", random.below(40)).into(), cluster_id: "".into() };
        }
        spec.resource = Some(Named::ours(thing.id, thing.kind.name(), &thing.name));
        // As the server itself names them: under the type `backup` stand the backups alone.
        let policy_kind = if kind.name == "backup" { "backup" } else { "policy.protection.total" };
        spec.policy = plan.map(|p| Named::ours(p.id, policy_kind, p.name));
        spec.affinity = Affinity { agent: Some(thing.agent.as_str().into()), cluster: None };
        spec.argument = argument(world, kind, thing, random).into();
        spec.context = context(kind, thing, plan, manual, random).into();
        spec.rules = rules(end, run);
        spec
    }

    /// One to three steps, one after the other, while the task ran.
    fn steps(&mut self, task: &Task, clock: Clock, started: i64, ended: i64) -> Result<Vec<Activity>> {
        let count = 1 + self.random.below(3) as i64;
        let length = (ended - started) / count;
        (0..count)
            .map(|n| {
                let clock = Clock { unique: clock.unique + 1 + n, ..clock };
                let (from, to) = (clock.at(started + n * length), clock.at(started + (n + 1) * length));
                let kind = ["snapshot", "transfer", "cleanup"][usize::try_from(n).unwrap_or_default()];
                let mut spec = ActivitySpec::new(self.random.uuid(time(from)), kind);
                spec.context = json!({ "part": n + 1, "of": count }).into();
                let step = Activity::create(ActivityId(0), task, spec, time(from))?;
                let step = step.apply(task, ActivityEvent::Start, time(from))?;
                let progress = Progress { current: 100, total: 100, ..Progress::default() };
                let end = ActivityEvent::Complete(Outcome::of(OutcomeCode::Ok), Some(progress));
                step.apply(task, end, time(to))
            })
            .collect()
    }

    fn progress(&mut self, share: i64, size: u64, run: i64) -> Progress {
        let bytes = size / 100 * share.unsigned_abs();
        let files = bytes / 70_000 + 1;
        Progress {
            current: share,
            total: 100,
            bytes_processed: bytes,
            bytes_total: size,
            bytes_saved: bytes / 23,
            files_processed: files,
            files_total: size / 70_000 + 1,
            speed: Some((bytes as f64 / (run as f64 / 1e9).max(1e-3)).round()),
            left: None,
            bottleneck: self.random.permille(500).then_some(Bottleneck { source: 60, destination: 30, processing: 10 }),
        }
    }

    fn outcome(&mut self, code: OutcomeCode, kind: Kind, size: u64, at: Timestamp) -> Outcome {
        let random = &mut self.random;
        let mut outcome = Outcome::of(code);
        match code {
            OutcomeCode::Error => {
                let (domain, code, message) = *random.pick(ERRORS);
                outcome.error = Some(TaskError {
                    domain: domain.to_owned(),
                    code: code.to_owned(),
                    message: message.to_owned(),
                    context: json!({ "attempt": 1, "host": format!("node-{}", random.below(500)) }),
                    ..TaskError::default()
                });
            }
            OutcomeCode::Warning => {
                let (code, message) = *random.pick(WARNINGS);
                outcome.warnings.push(TaskError {
                    domain: "Source".to_owned(),
                    code: code.to_owned(),
                    message: message.to_owned(),
                    ..TaskError::default()
                });
            }
            OutcomeCode::Ok | OutcomeCode::Cancelled => {}
        }
        if kind.name == "backup" && matches!(code, OutcomeCode::Ok | OutcomeCode::Warning) {
            let done = BackupDone {
                snapshot: random.hex(64),
                created_at: at,
                incremental: true,
                size,
                added: size / 23,
                files: size / 70_000 + 1,
                files_new: random.below(300) as u64,
                files_changed: random.below(3000) as u64,
                ..BackupDone::default()
            };
            outcome.payload = json!(done);
        }
        outcome
    }
}

/// A task on its way.
struct Walk {
    task: Task,
    root: Option<Activity>,
}

impl Walk {
    fn happens(&mut self, event: Event, at: i64) -> Result<()> {
        let moment = Moment { now: time(at), up_since: Timestamp::UNIX_EPOCH };
        let applied = self.task.apply(event, moment)?;
        self.task = applied.task;
        if self.root.is_none() && applied.effects.contains(&Effect::OpenRoot) {
            self.root = Some(Activity::root(ActivityId(0), &self.task, time(at)));
        }
        Ok(())
    }

    fn made(self, steps: Vec<Activity>) -> Made {
        Made { task: self.task, activities: self.root.into_iter().chain(steps).collect() }
    }
}

/// Times that no other task and no other step has, so that all changes have different stamps, as the ledger gives them:
/// the last 17 milliseconds of each say whose it is.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    unique: i64,
    end: i64,
}

impl Clock {
    const OWN: i64 = (1 << 24) - 1;

    pub(crate) fn at(self, nanos: i64) -> i64 {
        (nanos.min(self.end) & !Self::OWN) | (self.unique & Self::OWN)
    }

    /// So much after another time, if it is not too late for that.
    fn after(self, from: i64, nanos: i64) -> i64 {
        self.at(from.saturating_add(nanos)).max(from)
    }
}

fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanos.into()).expect("the library's times reach further")
}

fn rules(end: End, run: i64) -> Rules {
    let own = Rules {
        cancellable: true,
        max_assign_count: 3,
        heartbeat_interval: Some(SignedDuration::from_secs(30)),
        ack_timeout: SignedDuration::from_secs(30),
        ..Rules::default()
    };
    match end {
        End::Waits | End::Assigned | End::Runs | End::Paused => {
            Rules { heartbeat_interval: Some(FOR_EVER), ack_timeout: FOR_EVER, ..own }
        }
        End::Abandoned => Rules { max_assign_count: 1, ..own },
        End::QueueTimeout => Rules { queue_timeout: Some(SignedDuration::from_secs(QUEUE_SECONDS)), ..own },
        End::ExecTimeout => Rules {
            exec_timeout: Some(SignedDuration::from_nanos(if run < SECOND { run } else { run - run % SECOND })),
            cancellable: false,
            heartbeat_interval: None,
            ..own
        },
        End::Outcome(_) | End::CancelledInQueue => own,
    }
}

fn argument(world: &World, kind: Kind, thing: &Thing, random: &mut Random) -> Value {
    let archive = Uuid::from_u128(thing.id.as_u128() ^ 1);
    match kind.name {
        "backup" => json!(BackupWork {
            archive,
            repository: world.repository,
            paths: vec!["/home".to_owned(), "/srv/data".to_owned()],
            full: false,
            volume: false,
            settings: Settings {
                excludes: vec!["*.tmp".to_owned(), "/home/*/.cache".to_owned()],
                ..Settings::default()
            },
        }),
        "recovery" | "file_recovery" => json!({
            "backup": archive,
            "repository": world.repository,
            "snapshot": random.hex(64),
            "to": "/var/restored",
        }),
        "retention" => json!({ "archive": archive, "keep": { "daily": 7, "weekly": 4, "monthly": 12 } }),
        _ => json!({ "resource": thing.id, "deep": random.permille(100) }),
    }
}

fn context(kind: Kind, thing: &Thing, plan: Option<&Plan>, manual: bool, random: &mut Random) -> Value {
    let title = match (kind.name, plan) {
        ("backup", Some(plan)) => format!("Running backup of '{}' by plan '{}'", thing.name, plan.name),
        (name, _) => format!("Running {} of '{}'", name.replace('_', " "), thing.name),
    };
    let mode = if manual { "manual" } else { "scheduled" };
    let mut context = json!({ "title": title, "run_mode": mode });
    if random.permille(500) {
        context["Specific"] = json!("Business");
        context["CommandID"] = json!(format!("8F01AC13-F59E-4851-9204-{}", random.hex(12)));
        context["HasChildren"] = json!(false);
    }
    context
}

fn blocker(id: Uuid) -> Blocker {
    let word = |key: &str| Message { key: key.to_owned(), context: Value::Null };
    Blocker {
        id,
        activity: None,
        issue: word("mediaMissing"),
        possible_solutions: vec![word("retry"), word("cancel")],
        solution: None,
    }
}
