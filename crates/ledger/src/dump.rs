//! The whole state as text, one line a row, in an order that never varies. Types are taken apart without `..`, so a new
//! field does not compile until it is printed.

use std::fmt::{Display, Write as _};

use domain::activity::{Activity, ActivitySpec, ActivityStatus, Body, Step};
use domain::record::Record;
use domain::task::{Affinity, Assignment, Completion, Executor, Phase, Rules, Run, Status, Task, TaskResult, TaskSpec};
use domain::{Error, Result};
use serde::Serialize;

use crate::commit::Counters;
use crate::{Rev, Stored};

/// Everything a ledger holds, in any order.
pub(crate) struct State {
    /// Absent when only a part of the tree is shown: they count everybody's work.
    pub(crate) counters: Option<Counters>,
    pub(crate) records: Vec<Stored<Record>>,
    pub(crate) tasks: Vec<(Rev, Task)>,
    pub(crate) activities: Vec<Activity>,
}

/// Prints everything.
pub(crate) fn render(state: State) -> Result<String> {
    let State { counters, mut records, mut tasks, mut activities } = state;
    records.sort_by_key(|r| (r.value.kind(), r.value.id()));
    tasks.sort_by_key(|(_, t)| t.id);
    activities.sort_by_key(|a| a.id);
    let mut lines = Vec::new();
    if let Some(Counters { rev, stamp, task, activity }) = counters {
        lines.push(format!("ledger rev={rev} stamp={stamp} tasks={task} activities={activity}"));
    }
    for Stored { rev, value } in &records {
        // A record prints all its fields by itself.
        lines.push(format!("{} rev={rev} {}", value.kind(), json(value)?));
    }
    for (rev, task) in &tasks {
        lines.push(task_line(*rev, task)?);
    }
    for activity in &activities {
        lines.push(activity_line(activity)?);
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

fn task_line(rev: Rev, task: &Task) -> Result<String> {
    let Task { id, spec, created_at, status } = task;
    let TaskSpec {
        uuid,
        kind,
        seeding,
        queue,
        priority,
        argument,
        context,
        tags,
        workflow_id,
        tenant,
        issuer,
        started_by,
        policy,
        resource,
        parent_entity,
        affinity: Affinity { agent, cluster },
        rules,
    } = &**spec;
    let Rules {
        cancellable,
        sustainable,
        max_assign_count,
        heartbeat_interval,
        ack_timeout,
        queue_timeout,
        exec_timeout,
        life_time,
    } = rules;
    let Status {
        phase,
        assign_count,
        cancel_requested,
        cancelled_by,
        blockers,
        progress,
        enqueued_at,
        updated_at,
        deleted_at,
    } = &**status;
    let mut line = Line(format!("task {id} rev={rev} {}", phase.state()));
    match phase {
        Phase::Enqueued => {}
        Phase::Assigned(a) => line.assignment(a)?,
        Phase::Started(Run { assignment, started_at }) | Phase::Paused(Run { assignment, started_at }) => {
            line.assignment(assignment)?;
            line.add("started_at", started_at);
        }
        Phase::Completed(done) => {
            let Completion { executor, assigned_at, started_at, lease, completed_at, result } = &**done;
            line.result(result)?;
            line.json("executor", executor.as_ref())?;
            line.opt("lease", lease.as_ref().map(|l| &l.0));
            line.opt("assigned_at", *assigned_at);
            line.opt("started_at", *started_at);
            line.add("completed_at", completed_at);
        }
    }
    line.add("assign_count", assign_count);
    line.flag("cancel_requested", *cancel_requested);
    line.json("cancelled_by", cancelled_by.as_ref())?;
    line.json("blockers", (!blockers.is_empty()).then_some(blockers))?;
    line.json("progress", progress.as_ref())?;
    line.add("created_at", created_at);
    line.add("enqueued_at", enqueued_at);
    line.add("updated_at", updated_at);
    line.opt("deleted_at", *deleted_at);
    line.add("uuid", uuid);
    line.add("type", kind);
    line.flag("seeding", *seeding);
    line.add("queue", queue);
    line.add("priority", priority);
    line.json("argument", (!argument.is_null()).then_some(&**argument))?;
    line.json("context", (!context.is_null()).then_some(&**context))?;
    line.json("tags", (!tags.is_empty()).then_some(tags))?;
    line.opt("workflow", *workflow_id);
    line.add("tenant", tenant);
    line.json("issuer", (*issuer != Default::default()).then_some(issuer))?;
    line.json("started_by", started_by.as_ref())?;
    line.json("policy", policy.as_ref())?;
    line.json("resource", resource.as_ref())?;
    line.json("parent_entity", parent_entity.as_ref())?;
    line.json("affinity_agent", agent.as_ref())?;
    line.json("affinity_cluster", cluster.as_ref())?;
    line.flag("cancellable", *cancellable);
    line.flag("sustainable", *sustainable);
    line.add("max_assign_count", max_assign_count);
    for (name, duration) in [
        ("heartbeat_interval", *heartbeat_interval),
        ("ack_timeout", Some(*ack_timeout)),
        ("queue_timeout", *queue_timeout),
        ("exec_timeout", *exec_timeout),
        ("life_time", *life_time),
    ] {
        line.opt(name, duration.map(|d| format!("{d:#}").replace(' ', "")));
    }
    Ok(line.0)
}

fn activity_line(activity: &Activity) -> Result<String> {
    let Activity { id, uuid, task, created_at, body } = activity;
    let mut line = Line(format!("activity {id} of task {task}"));
    match body {
        Body::Root => line.flag("root", true),
        Body::Step(spec, status) => {
            let ActivitySpec { uuid: _, kind, parent, sustainable, tags, context } = spec;
            let ActivityStatus { step, executor, progress, updated_at } = status;
            line.add("state", status.state());
            match step {
                Step::Enqueued => {}
                Step::Started { started_at } | Step::Paused { started_at } => line.add("started_at", started_at),
                Step::Completed { started_at, completed_at, result } => {
                    line.opt("started_at", *started_at);
                    line.add("completed_at", completed_at);
                    line.result(result)?;
                }
            }
            line.json("executor", Some(executor))?;
            line.json("progress", progress.as_ref())?;
            line.add("updated_at", updated_at);
            line.add("type", kind);
            line.opt("parent", *parent);
            line.flag("sustainable", *sustainable);
            line.json("tags", (!tags.is_empty()).then_some(tags))?;
            line.json("context", (!context.is_null()).then_some(&**context))?;
        }
    }
    line.add("created_at", created_at);
    line.add("uuid", uuid);
    Ok(line.0)
}

/// A line that grows by `name=value`; what is not there is not printed.
struct Line(String);

impl Line {
    fn add(&mut self, name: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, " {name}={value}");
    }

    fn opt(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn flag(&mut self, name: &str, set: bool) {
        if set {
            let _ = write!(self.0, " {name}");
        }
    }

    fn json(&mut self, name: &str, value: Option<&impl Serialize>) -> Result<()> {
        if let Some(value) = value {
            self.add(name, json(value)?);
        }
        Ok(())
    }

    /// What it produced is shown as what it says: how it is written may be of another time.
    fn result(&mut self, result: &TaskResult) -> Result<()> {
        let payload = result.payload.clone().into_value().into();
        self.json("result", Some(&TaskResult { payload, ..result.clone() }))
    }

    fn assignment(&mut self, assignment: &Assignment) -> Result<()> {
        let Assignment { executor, lease, assigned_at, last_report_at } = assignment;
        let Executor { id: _, cluster_id: _ } = executor;
        self.json("executor", Some(executor))?;
        self.add("lease", &lease.0);
        self.add("assigned_at", assigned_at);
        self.add("last_report_at", last_report_at);
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(domain::Code::Internal, format!("a value cannot be printed: {e}")))
}
