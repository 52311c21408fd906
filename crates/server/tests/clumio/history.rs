//! Tasks of every sort in every state, spread over most of a year.

use domain::task::{
    Entity, Event, Executor, LeaseToken, Named, Outcome, OutcomeCode, Progress, Rules, TaskError, TaskRef, TaskSpec,
};
use domain::{Moment, Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Claim, Committed, Write, Written};

use crate::dice::Dice;
use crate::world::World;

const KINDS: &[&str] = &[
    "backup",
    "backup",
    "recovery",
    "file_recovery",
    "indexing",
    "retention",
    "verification",
    "inventory_sync",
    "import",
    "apply_policy",
    "revoke_policy",
    "policy_update",
    "organizational_unit_delete",
    "agent_update",
    "Odd One",
];
const RESOURCES: &[&str] = &["volume", "volume", "compute_vm", "bare_metal", "mailbox", "image", "", "resource.odd"];
const PARENTS: &[&str] = &["", "restored_file", "organizational_unit", "repository", "aws_environment", "vm_group"];
const NAMES: &[&str] = &["db01 data", "DB02", "100%_sure", "Straße", ""];

/// The task as a wish.
pub(crate) fn wish(tenant: Uuid, kind: &str, queue: &str) -> TaskSpec {
    let mut spec = TaskSpec::new(Uuid::now_v7(), kind, queue, tenant);
    let hour = SignedDuration::from_hours(1);
    spec.rules = Rules { cancellable: true, heartbeat_interval: Some(hour), ack_timeout: hour, ..Rules::default() };
    spec
}

fn random(dice: &mut Dice, tenant: Uuid, queue: &str) -> TaskSpec {
    let kind = dice.pick(KINDS);
    let mut spec = wish(tenant, kind, queue);
    spec.seeding = dice.roll(2) == 0;
    spec.rules.cancellable = dice.roll(4) > 0;
    let id = |dice: &mut Dice| match dice.roll(4) {
        0 => format!("VM-{}", dice.roll(3)),
        n => Uuid::from_u128(n as u128 * 0xabcd_ef01 + dice.roll(2) as u128).to_string(),
    };
    if dice.roll(4) > 0 {
        spec.resource =
            Some(Named { id: id(dice).into(), kind: dice.pick(RESOURCES).into(), name: dice.pick(NAMES).into() });
    }
    if dice.roll(2) > 0 {
        spec.policy = Some(Named { id: id(dice).into(), kind: "backup".into(), name: dice.pick(NAMES).into() });
    }
    if dice.roll(2) > 0 {
        let value = dice.pick(NAMES).to_owned();
        spec.parent_entity = Some(Entity { id: id(dice).into(), kind: dice.pick(PARENTS).into(), value: value.into() });
    }
    spec
}

/// At this moment.
pub(crate) async fn at(world: &World, now: Timestamp, writes: Vec<Write>) -> Committed {
    let moment = Moment { now, up_since: Timestamp::UNIX_EPOCH };
    world.ledger.commit(&Scope::everything(), moment, writes).await.expect("a commit")
}

/// Hands the only task of a queue to an agent.
pub(crate) async fn hand_out(world: &World, now: Timestamp, queue: &str) -> (TaskRef, LeaseToken) {
    let lease = LeaseToken(format!("the lease of {queue}"));
    let claim = Claim {
        queues: vec![queue.to_owned()],
        types: Vec::new(),
        executor: Executor { id: "agent-1".into(), ..Executor::default() },
        leases: vec![lease.clone()],
    };
    let written = at(world, now, vec![Write::Claim(claim)]).await.written;
    match &written[..] {
        [Written::Claimed(tasks)] => (TaskRef::Id(tasks.first().expect("a task").id), lease),
        other => panic!("no claim in {other:?}"),
    }
}

/// What a task goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Waits,
    Assigned,
    Runs,
    Paused,
    Stopping,
    Skipped,
    Ends(OutcomeCode),
    Lost,
}

pub(crate) const FATES: &[Fate] = &[
    Fate::Waits,
    Fate::Assigned,
    Fate::Runs,
    Fate::Paused,
    Fate::Stopping,
    Fate::Skipped,
    Fate::Ends(OutcomeCode::Ok),
    Fate::Ends(OutcomeCode::Warning),
    Fate::Ends(OutcomeCode::Error),
    Fate::Ends(OutcomeCode::Cancelled),
    Fate::Lost,
];

/// Makes a task and lets this happen to it; gives its number.
pub(crate) async fn make(world: &World, now: Timestamp, spec: TaskSpec, fate: Fate) -> i64 {
    let (queue, cancellable) = (spec.queue.clone(), spec.rules.cancellable);
    let made = at(world, now, vec![Write::CreateTask(Box::new(spec))]).await;
    let id = made.task().expect("a task").id;
    let waiting = TaskRef::Id(id);
    let later = |n: i64| now + SignedDuration::from_millis(1_300 * n);
    match fate {
        Fate::Waits => return id.0,
        Fate::Skipped => {
            at(world, later(1), vec![Write::Task(waiting, Event::Cancel { by: "somebody".into() })]).await;
            return id.0;
        }
        _ => {}
    }
    let (task, lease) = hand_out(world, later(1), &queue).await;
    if fate == Fate::Assigned {
        return id.0;
    }
    let progress = Progress { current: 40, total: 100, bytes_processed: 4_000, ..Progress::default() };
    at(world, later(2), vec![Write::Task(task, Event::Start { lease: lease.clone() })]).await;
    at(world, later(3), vec![Write::Task(task, Event::Report { lease: lease.clone(), progress })]).await;
    let last = match fate {
        Fate::Paused => Event::Pause { lease, blockers: Vec::new() },
        Fate::Stopping if cancellable => Event::Cancel { by: "somebody".into() },
        Fate::Lost => Event::Abandon { lease, reason: "The machine was switched off.".into() },
        Fate::Ends(code) => {
            let error = TaskError::server("locked", "The repository is locked.");
            let outcome = Outcome { error: (code == OutcomeCode::Error).then_some(error), ..Outcome::of(code) };
            Event::Complete { lease, outcome, progress: None }
        }
        _ => return id.0,
    };
    at(world, later(4), vec![Write::Task(task, last)]).await;
    id.0
}

/// When the history begins: 300 days ago.
pub(crate) fn begin() -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(24 * 300)
}

/// So many tasks of these tenants, one after the other over 299 days from there.
pub(crate) async fn fill(world: &World, begin: Timestamp, tenants: &[Uuid], count: usize, seed: u64) {
    let mut dice = Dice::new(seed);
    let step = SignedDuration::from_hours(24 * 299) / i32::try_from(count).expect("a small number");
    for n in 0..count {
        let tenant = dice.pick(tenants);
        let spec = random(&mut dice, tenant, &format!("queue-{seed}-{n}"));
        let now = begin + step * i32::try_from(n).expect("a small number");
        make(world, now, spec, dice.pick(FATES)).await;
    }
}
