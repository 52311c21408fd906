//! The ends of runs and imports: what must be known of them, however they came about - by a report, a timer, a person.
//!
//! Every commit that ends a task passes `deliver`, which writes its number down here; nothing rests on that: after a start,
//! and now and then, every application with an open run is looked at.

use std::sync::Mutex;

use domain::agent::is_agent_queue;
use domain::plan;
use domain::policy::{Application, Policy};
use domain::query::{Filter, RecordField, Value};
use domain::resource::Resource;
use domain::task::{Event, ResultCode, Task, TaskId, TaskRef, kind};
use domain::{Code, Moment, Result, Scope, Uuid, if_found};
use ledger::{Committed, Expect, Stored, Write};

use super::Service;

/// How often it is tried to write down an end before it is left to the next turn.
const ATTEMPTS: usize = 5;

/// Tasks that ended and were not looked at yet.
#[derive(Default)]
pub(super) struct Ends(Mutex<Vec<TaskId>>);

impl Ends {
    fn add(&self, tasks: impl IntoIterator<Item = TaskId>) {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(tasks);
    }

    fn take(&self) -> Vec<TaskId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Service {
    /// Counts the tasks that a commit ended, and writes down which are ours. Part of `deliver`.
    pub(super) fn hear_of_ends(&self, committed: &Committed) {
        for task in &committed.ended {
            let Some(result) = task.result() else { continue };
            self.telemetry.ended(task);
            self.notices.hear(task.spec.tenant);
            let resource = task.spec.resource.as_ref().map_or("", |resource| &resource.name);
            let result = result.code.name();
            tracing::info!(task = %task.id, uuid = %task.spec.uuid, kind = task.spec.kind.as_str(), resource, result, "a task ended");
        }
        let ours = committed.ended.iter().filter(|task| is_agent_queue(&task.spec.queue));
        let ours: Vec<TaskId> = ours.map(|task| task.id).collect();
        if !ours.is_empty() {
            self.ends.add(ours);
            self.nudge();
        }
    }

    /// Notes the ends of runs that were heard of: when the next run is, and whether a failed one is repeated.
    ///
    /// # Errors
    /// Those of the ledger; what was not noted is tried again.
    pub async fn note_ends(&self) -> Result<()> {
        self.note_ends_at(self.moment()).await
    }

    /// As `note_ends`, at this moment.
    pub(super) async fn note_ends_at(&self, moment: Moment) -> Result<()> {
        let ended = self.ends.take();
        let any = !ended.is_empty();
        let mut ended = ended.into_iter();
        while let Some(id) = ended.next() {
            if let Err(error) = self.note_end(id, moment).await {
                self.ends.add(ended.chain([id]));
                return Err(error);
            }
        }
        // What ended may have left a place to somebody else.
        if any { self.wake_for_the_gate().await } else { Ok(()) }
    }

    /// Looks at every application with an open run, and at every image that is not there yet, for ends that nobody heard of.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn look_for_ends(&self) -> Result<()> {
        let moment = self.moment();
        for app in self.ledger.all::<Application>(&Scope::everything(), Filter::all()).await? {
            for run in &app.value.agenda.open {
                let task = if_found(self.ledger.task(&Scope::everything(), TaskRef::Uuid(run.task)).await)?;
                match task {
                    Some(task) if task.result().is_none() => {
                        if let Some(until) = run.until {
                            self.closings.note(until, task.spec.uuid);
                        }
                    }
                    Some(task) => self.run_ended(app.value.id, &task, moment).await?,
                    // Purged: how it ended is not known any more, so nothing follows from it.
                    None => self.write_end(app.value.id, run.task, ResultCode::Cancelled, None, moment).await?,
                }
            }
        }
        self.look_for_ended_imports().await
    }

    async fn note_end(&self, id: TaskId, moment: Moment) -> Result<()> {
        let everything = Scope::everything();
        let Some(task) = if_found(self.ledger.task(&everything, TaskRef::Id(id)).await)? else { return Ok(()) };
        if super::deleting::deletes(&task) {
            return self.settle_deletion(&task).await;
        }
        if task.spec.kind == kind::IMPORT && is_agent_queue(&task.spec.queue) {
            return self.import_ended(&task).await;
        }
        if task.spec.kind != kind::BACKUP || !is_agent_queue(&task.spec.queue) {
            return Ok(());
        }
        self.end_what_went_before(&task, moment).await?;
        let resource = task.spec.resource.as_ref().and_then(|r| Uuid::parse_str(&r.id).ok());
        let Some(resource) = resource else { return Ok(()) };
        let filter = Filter::all().is(RecordField::Resource, Value::Uuid(resource))?;
        for app in self.ledger.all::<Application>(&everything, filter).await? {
            if app.value.agenda.open.iter().any(|run| run.task == task.spec.uuid) {
                self.run_ended(app.value.id, &task, moment).await?;
            }
        }
        Ok(())
    }

    /// A retention that waits to go before a run goes with it: without the backup, nothing is to be removed.
    async fn end_what_went_before(&self, run: &Task, moment: Moment) -> Result<()> {
        for task in self.waiting_before(run).await? {
            let event = Event::Cancel { by: format!("the end of task {}", run.id) };
            match self.ledger.commit(&Scope::everything(), moment, vec![Write::Task(TaskRef::Id(task.id), event)]).await
            {
                // It was handed out or ended in between.
                Err(e) if matches!(e.code, Code::AlreadyCompleted | Code::NotCancellable) => {}
                other => self.deliver(&other?),
            }
        }
        Ok(())
    }

    async fn run_ended(&self, app: Uuid, task: &Task, moment: Moment) -> Result<()> {
        let Some(code) = task.result().map(|r| r.code) else { return Ok(()) };
        self.write_end(app, task.spec.uuid, code, task.completed_at(), moment).await
    }

    async fn write_end(
        &self,
        app: Uuid,
        task: Uuid,
        code: ResultCode,
        ended_at: Option<domain::Timestamp>,
        moment: Moment,
    ) -> Result<()> {
        let everything = Scope::everything();
        let mut attempts = 0..ATTEMPTS;
        loop {
            // What was deleted meanwhile needs to know nothing.
            let Some(Stored { rev, value: mut app }) =
                if_found(self.ledger.get::<Application>(&everything, app).await)?
            else {
                return Ok(());
            };
            let Some(policy) = if_found(self.ledger.get::<Policy>(&everything, app.policy).await)? else {
                return Ok(());
            };
            let resource = if_found(self.ledger.get::<Resource>(&everything, app.resource).await)?;
            let Some(resource) = resource else { return Ok(()) };
            let planning = self.planning(&app, &policy.value, &resource.value, moment).await?;
            plan::end(&mut app, &policy.value, task, code, ended_at.unwrap_or(moment.now), &planning.around());
            let write = Write::Put(Box::new(app.into()), Expect::Rev(rev));
            match self.ledger.commit(&everything, moment, vec![write]).await {
                Err(e) if e.code == Code::RevisionConflict && attempts.next().is_some() => {}
                other => return other.map(drop),
            }
        }
    }
}
