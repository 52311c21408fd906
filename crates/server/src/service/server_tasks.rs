//! Tasks that the server carries out itself, in the commit that makes the change they tell of: so it is in the history like
//! everything else, and no agent has to be there.

use domain::policy::Policy;
use domain::task::{Event, Executor, LeaseToken, Named, Outcome, OutcomeCode, Task, TaskRef, TaskSpec};
use domain::{Caller, Uuid};
use ledger::{Committed, Write, Written};
use serde_json::json;

use super::Service;
use super::asked::Asked;
use super::queue::MAINTENANCE;

/// The queue of what the server does itself; nobody takes from it.
pub(super) const SERVER_QUEUE: &str = "server";
/// The server as an executor.
const SERVER: &str = "server";

/// A task that the server carries out itself; people know it by its title.
pub(super) fn server_task(caller: &Caller, kind: &str, tenant: Uuid, title: &str) -> TaskSpec {
    let mut spec = TaskSpec::new(Uuid::now_v7(), kind, SERVER_QUEUE, tenant);
    spec.context = json!({ "title": title, "run_mode": "manual" }).into();
    spec.started_by = Some(caller.name.as_str().into());
    spec.issuer.id = caller.issuer_id().into();
    spec
}

/// A policy as it stands on tasks about it, which are no runs of it.
pub(super) fn named_policy(policy: &Policy) -> Named {
    Named::ours(policy.id, MAINTENANCE, &policy.name)
}

/// Such a task that a vendor's API asks for, done with the commit that makes it.
pub(super) fn told_by(mut spec: TaskSpec, asked: &Asked) -> impl Iterator<Item = Write> {
    spec.argument = json!({}).into();
    asked.clone().write_into(&mut spec);
    done(spec)
}

/// A task that is done with the commit that makes it.
pub(super) fn done(spec: TaskSpec) -> impl Iterator<Item = Write> {
    let uuid = spec.uuid;
    std::iter::once(Write::CreateTask(Box::new(spec))).chain(carried_out(uuid, Outcome::of(OutcomeCode::Ok)))
}

/// What happens to a task of the server's from its queue to its end.
pub(super) fn carried_out(task: Uuid, outcome: Outcome) -> [Write; 3] {
    let task = TaskRef::Uuid(task);
    let lease = LeaseToken(format!("{SERVER}.{}", Uuid::now_v7()));
    let executor = Executor { id: SERVER.into(), ..Executor::default() };
    [
        Write::Task(task, Event::Claim { executor, lease: lease.clone() }),
        Write::Task(task, Event::Start { lease: lease.clone() }),
        Write::Task(task, Event::Complete { lease, outcome, progress: None }),
    ]
}

impl Service {
    /// The task by which a commit is told, where it is, as it was left; whoever waits for what was committed hears of it.
    pub(super) fn told(&self, committed: &Committed) -> Option<Task> {
        self.deliver(committed);
        self.nudge();
        committed.written.iter().rev().find_map(|written| match written {
            Written::Task { task, .. } => Some(task.clone()),
            _ => None,
        })
    }
}

/// What is answered where a task must be in a commit.
pub(super) fn untold() -> domain::Error {
    domain::Error::new(domain::Code::Internal, "the task is not in the commit")
}
