//! What must hold after every step, whatever was lost, repeated, set or died. Each rule is a function that is named after it;
//! it sees how things are, how they were one step before, and what the world knows beside the ledger.

use std::collections::{BTreeMap, BTreeSet};

use domain::Uuid;
use domain::agent::is_agent_queue;
use domain::backup::Backup;
use domain::policy::Application;
use domain::task::{ResultCode, State, Task, TaskId, kind};

use crate::agent::Snapshots;

/// How things are at one moment.
#[derive(Default)]
pub(crate) struct Sight {
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) backups: BTreeMap<Uuid, Backup>,
    pub(crate) applications: Vec<Application>,
    /// What the server has said it made.
    pub(crate) acknowledged: BTreeSet<TaskId>,
    pub(crate) snapshots: Snapshots,
}

/// Looks at all of them.
pub(crate) fn hold(before: &Sight, now: &Sight) {
    what_was_acknowledged_is_there(now);
    what_was_there_is_there(before, now);
    completed_is_final(before, now);
    attempts_are_counted_and_bounded(before, now);
    only_whom_it_is_bound_to_has_it(now);
    stamps_go_forward(before, now);
    good_backups_have_one_recovery_point_and_others_none(before, now);
    recovery_points_have_their_snapshot(now);
    runs_of_an_application_do_not_overlap(now);
    applications_know_their_open_runs(now);
}

/// At the end, when nothing is lost any more and time was given.
pub(crate) fn all_is_over(now: &Sight) {
    let open: Vec<_> = now.tasks.values().filter(|task| task.state() != State::Completed).collect();
    assert!(open.is_empty(), "is stuck: {open:#?}");
    for app in &now.applications {
        assert!(app.agenda.open.is_empty(), "takes a run for open that is over: {app:#?}");
    }
}

fn what_was_acknowledged_is_there(now: &Sight) {
    let lost: Vec<_> = now.acknowledged.iter().filter(|id| !now.tasks.contains_key(id)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

fn what_was_there_is_there(before: &Sight, now: &Sight) {
    let lost: Vec<_> = before.tasks.keys().filter(|id| !now.tasks.contains_key(id)).collect();
    assert!(lost.is_empty(), "was there and is not: {lost:?}");
    let uuids: BTreeSet<Uuid> = now.tasks.values().map(|task| task.spec.uuid).collect();
    assert_eq!(uuids.len(), now.tasks.len(), "a task is there twice");
    let dense = now.tasks.keys().zip(1..).all(|(id, n)| id.0 == n);
    assert!(dense, "numbers are left out: {:?}", now.tasks.keys());
}

fn completed_is_final(before: &Sight, now: &Sight) {
    for (id, was) in before.tasks.iter().filter(|(_, task)| task.state() == State::Completed) {
        let is = &now.tasks[id];
        assert_eq!((is.result(), is.completed_at()), (was.result(), was.completed_at()), "task {id} ended twice");
    }
}

fn attempts_are_counted_and_bounded(before: &Sight, now: &Sight) {
    for (id, task) in &now.tasks {
        let count = task.status.assign_count;
        assert!(count <= task.spec.rules.max_assign_count, "task {id} was handed out too often: {task:#?}");
        if let Some(was) = before.tasks.get(id) {
            assert!(count >= was.status.assign_count, "task {id} was handed out less often than before");
        }
    }
}

fn only_whom_it_is_bound_to_has_it(now: &Sight) {
    let mut leases = BTreeSet::new();
    for (id, task) in &now.tasks {
        if let Some(executor) = task.executor() {
            assert!(task.spec.affinity.admits(executor), "task {id} is with another agent: {task:#?}");
        }
        if let Some(lease) = task.lease() {
            assert!(leases.insert(&lease.0), "two tasks have one lease");
            let holder = task.executor().map(|executor| executor.id.as_str()).unwrap_or_default();
            assert!(!is_agent_queue(&task.spec.queue) || lease.0.starts_with(holder), "a lease is somebody else's");
        }
    }
}

fn stamps_go_forward(before: &Sight, now: &Sight) {
    // That its holder gave a sign of life is no change of a task.
    let told = |task: &Task| {
        let Task { status, .. } = task;
        (task.state(), status.assign_count, status.cancel_requested, task.result().cloned())
    };
    for (id, was) in &before.tasks {
        let is = &now.tasks[id];
        let (then, since) = (was.status.updated_at, is.status.updated_at);
        assert!(
            since > then || since == then && told(is) == told(was),
            "task {id} changed at {then}, {since}: {is:#?}"
        );
    }
}

fn good_backups_have_one_recovery_point_and_others_none(before: &Sight, now: &Sight) {
    let mut points = BTreeMap::<i64, usize>::new();
    for backup in now.backups.values() {
        *points.entry(backup.task).or_default() += 1;
    }
    for (id, task) in now.tasks.iter().filter(|(_, task)| task.spec.kind == kind::BACKUP) {
        let count = points.remove(&id.0).unwrap_or_default();
        let good = task.result().is_some_and(|r| matches!(r.code, ResultCode::Ok | ResultCode::Warning));
        let is_new = before.tasks.get(id).is_none_or(|was| was.result().is_none());
        // Retention may have removed it later.
        let right = if good && is_new {
            count == 1
        } else if good {
            count <= 1
        } else {
            count == 0
        };
        assert!(right, "task {id} has {count} recovery points: {task:#?}");
    }
    assert!(points.is_empty(), "recovery points of nothing: {points:?}");
}

fn recovery_points_have_their_snapshot(now: &Sight) {
    // What is being removed may be gone from the repository before the ledger hears of it.
    let going: BTreeSet<&str> = now
        .tasks
        .values()
        .filter(|task| task.spec.kind == kind::RETENTION)
        .filter_map(|task| task.spec.argument["points"].as_array())
        .flatten()
        .filter_map(|point| point["snapshot"].as_str())
        .collect();
    for backup in now.backups.values() {
        let there = now.snapshots.contains_key(&backup.snapshot) || going.contains(backup.snapshot.as_str());
        assert!(there, "a recovery point has no snapshot: {backup:#?}");
    }
}

fn runs_of_an_application_do_not_overlap(now: &Sight) {
    let mut at_work = BTreeMap::<(&str, &str), Vec<TaskId>>::new();
    for (id, task) in now.tasks.iter().filter(|(_, task)| task.spec.kind == kind::BACKUP) {
        let scheduled = task.spec.context["run_mode"] == "scheduled" && task.state() != State::Completed;
        if let (true, Some(policy), Some(resource)) = (scheduled, &task.spec.policy, &task.spec.resource) {
            at_work.entry((&policy.id, &resource.id)).or_default().push(*id);
        }
    }
    let twice: Vec<_> = at_work.values().filter(|runs| runs.len() > 1).collect();
    assert!(twice.is_empty(), "the schedule began a run while the one before was not over: {twice:?}");
}

fn applications_know_their_open_runs(now: &Sight) {
    let open: BTreeSet<Uuid> = now.applications.iter().flat_map(|app| &app.agenda.open).map(|run| run.task).collect();
    for task in now.tasks.values().filter(|task| task.spec.kind == kind::BACKUP && task.state() != State::Completed) {
        let policy = task.spec.policy.as_ref().is_some();
        assert!(!policy || open.contains(&task.spec.uuid), "no application knows of its run: {task:#?}");
    }
}
