//! Tasks and activities as callers see them: list, read, count, watch, cancel, answer.

use domain::activity::{ActivityRef, ActivityView};
use domain::query::{ActivityField, Field, Filter, Group, Query, Slice, TaskField, Test};
use domain::task::{Event, Message, ResultCode, Task, TaskRef};
use domain::tenant::TenantRef;
use domain::{Caller, Code, Error, Result, Right, Scope, Timestamp, Uuid};
use ledger::{Changes, Rev, Write};

use super::Service;

/// What of the ledger a question looks at, within what the caller sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// Also what was deleted and is not purged yet.
    pub deleted: bool,
    /// Only this tenant and what is below it; nothing, if the caller does not see it.
    pub subtree: Option<TenantRef>,
}

impl View {
    fn shown<F: Field>(self, filter: &Filter<F>, deleted_at: F) -> Result<Filter<F>> {
        if self.deleted || filter.clauses().iter().any(|c| c.field() == deleted_at) {
            return Ok(filter.clone());
        }
        filter.clone().and(deleted_at, Test::Absent)
    }
}

/// Which blocker of a task is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockerRef {
    /// Its place among the task's blockers, from 1; it never changes.
    Place(u32),
    /// Its uuid.
    Uuid(Uuid),
}

impl Service {
    /// Tasks that match. Deleted ones are shown only to those who want them or filter by `deleted_at`.
    ///
    /// # Errors
    /// `forbidden`, and those of the ledger.
    pub async fn tasks(&self, caller: &Caller, query: &Query<TaskField>, view: View) -> Result<Slice<Task>> {
        let Some(scope) = self.viewed(caller, view).await? else { return Ok(nothing(query)) };
        let query = Query { filter: view.shown(&query.filter, TaskField::DeletedAt)?, ..query.clone() };
        let mut slice = self.ledger.tasks(&scope, &query).await?;
        slice.items.iter_mut().for_each(|task| self.progress.show(task));
        Ok(slice)
    }

    /// One task.
    ///
    /// # Errors
    /// `forbidden`, and `not_found` also for a deleted one, unless it is wanted.
    pub async fn task(&self, caller: &Caller, task: TaskRef, deleted: bool) -> Result<Task> {
        self.task_in(caller.may(Right::View)?, task, deleted).await
    }

    /// One task, for somebody who may cancel it.
    ///
    /// # Errors
    /// `forbidden`, and `not_found` also for a deleted one.
    pub async fn task_to_cancel(&self, caller: &Caller, task: TaskRef) -> Result<Task> {
        self.task_in(caller.may(Right::Issue)?, task, false).await
    }

    async fn task_in(&self, scope: &Scope, task: TaskRef, deleted: bool) -> Result<Task> {
        let mut found = self.ledger.task(scope, task).await?;
        self.progress.show(&mut found);
        if found.status.deleted_at.is_some() && !deleted {
            return Err(match task {
                TaskRef::Id(id) => Error::not_found("task", id),
                TaskRef::Uuid(uuid) => Error::not_found("task", uuid),
            });
        }
        Ok(found)
    }

    /// How many tasks match, grouped.
    ///
    /// # Errors
    /// `forbidden`, and `invalid_field` for more than two fields or one that cannot be grouped by.
    pub async fn task_counts(
        &self,
        caller: &Caller,
        filter: &Filter<TaskField>,
        by: &[TaskField],
        view: View,
    ) -> Result<Vec<Group>> {
        check_groups(by)?;
        let Some(scope) = self.viewed(caller, view).await? else { return Ok(no_groups(by)) };
        self.ledger.task_counts(&scope, &view.shown(filter, TaskField::DeletedAt)?, by).await
    }

    /// Cancels a task: at once if it waits, else by asking its executor to stop. To do so again, because the answer was
    /// lost, is no error, also if the task is cancelled by now.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `already_completed`, `not_cancellable`.
    pub async fn cancel_task(&self, caller: &Caller, task: TaskRef) -> Result<Task> {
        let event = Event::Cancel { by: caller.name.clone() };
        match self.decide(caller, task, event, "task.cancel").await {
            Err(e) if e.code == Code::AlreadyCompleted => {
                let found = self.ledger.task(caller.may(Right::Issue)?, task).await?;
                let as_asked = found.result().is_some_and(|r| r.code == ResultCode::Cancelled);
                if found.status.cancel_requested && as_asked { Ok(found) } else { Err(e) }
            }
            decided => decided,
        }
    }

    /// Answers a blocker of a task.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, `invalid_field` for an answer that is none of those offered, `state_conflict` when there
    /// is another answer already.
    pub async fn solve(&self, caller: &Caller, task: TaskRef, blocker: BlockerRef, solution: Message) -> Result<Task> {
        let blocker = match blocker {
            BlockerRef::Uuid(uuid) => uuid,
            BlockerRef::Place(place) => {
                let found = self.ledger.task(caller.may(Right::Issue)?, task).await?;
                let index = place.checked_sub(1).and_then(|i| usize::try_from(i).ok());
                let blocker = index.and_then(|i| found.status.blockers.get(i));
                blocker.ok_or_else(|| Error::not_found("blocker", place))?.id
            }
        };
        self.decide(caller, task, Event::Solve { blocker, solution }, "task.solve").await
    }

    /// Lets a person's decision happen to a task, with its audit entry.
    async fn decide(&self, caller: &Caller, task: TaskRef, event: Event, action: &str) -> Result<Task> {
        let scope = caller.may(Right::Issue)?;
        let found = self.ledger.task(scope, task).await?;
        let name = found.spec.resource.as_ref().map(|r| r.name.clone()).unwrap_or_default();
        let entry = self.audit_entry(caller, action, found.spec.tenant, found.id.to_string(), name.into());
        let undone = match event {
            Event::Cancel { .. } => self.undone_with(&found).await?,
            _ => None,
        };
        let mut writes = vec![Write::Task(TaskRef::Id(found.id), event), entry];
        writes.extend(undone);
        let committed = self.ledger.commit(scope, self.moment(), writes).await?;
        self.deliver(&committed);
        committed.task().cloned().ok_or_else(|| Error::new(Code::Internal, "the task is not in the commit"))
    }

    /// Tasks that changed after a revision.
    ///
    /// # Errors
    /// `forbidden`, and those of the ledger.
    pub async fn task_changes(&self, caller: &Caller, since: Rev, limit: u32) -> Result<Changes> {
        self.ledger.changes(caller.may(Right::View)?, since, limit).await
    }

    /// Activities that match; those of deleted tasks only for those who want them or filter by `deleted_at`.
    ///
    /// # Errors
    /// `forbidden`, and those of the ledger.
    pub async fn activities(
        &self,
        caller: &Caller,
        query: &Query<ActivityField>,
        view: View,
    ) -> Result<Slice<ActivityView>> {
        let Some(scope) = self.viewed(caller, view).await? else { return Ok(nothing(query)) };
        let query = Query { filter: view.shown(&query.filter, ActivityField::DeletedAt)?, ..query.clone() };
        let mut slice = self.ledger.activities(&scope, &query).await?;
        slice.items.iter_mut().for_each(|view| self.progress.show_in(view));
        Ok(slice)
    }

    /// How many activities match, grouped.
    ///
    /// # Errors
    /// Those of `task_counts`.
    pub async fn activity_counts(
        &self,
        caller: &Caller,
        filter: &Filter<ActivityField>,
        by: &[ActivityField],
        view: View,
    ) -> Result<Vec<Group>> {
        check_groups(by)?;
        let Some(scope) = self.viewed(caller, view).await? else { return Ok(no_groups(by)) };
        self.ledger.activity_counts(&scope, &view.shown(filter, ActivityField::DeletedAt)?, by).await
    }

    /// One activity.
    ///
    /// # Errors
    /// `forbidden`, and `not_found` also for one of a deleted task, unless it is wanted.
    pub async fn activity(&self, caller: &Caller, activity: ActivityRef, deleted: bool) -> Result<ActivityView> {
        let mut found = self.ledger.activity(caller.may(Right::View)?, activity).await?;
        self.progress.show_in(&mut found);
        if found.task.status.deleted_at.is_some() && !deleted {
            return Err(match activity {
                ActivityRef::Id(id) => Error::not_found("activity", id),
                ActivityRef::Uuid(uuid) => Error::not_found("activity", uuid),
            });
        }
        Ok(found)
    }

    /// Everything that changed up to this time can be seen now; what changes later is stamped later.
    #[must_use]
    pub fn horizon(&self) -> Timestamp {
        self.ledger.head().borrow().horizon
    }

    /// The scope of a question; none if there is nothing in it that the caller sees.
    async fn viewed(&self, caller: &Caller, view: View) -> Result<Option<Scope>> {
        let scope = caller.may(Right::View)?;
        match view.subtree {
            None => Ok(Some(scope.clone())),
            Some(tenant) => Ok(self.find_tenant(caller, tenant).await?.map(|t| Scope::subtree(&t))),
        }
    }
}

fn check_groups<F: Field>(by: &[F]) -> Result<()> {
    if by.len() > 2 || by.iter().any(|f| !f.sortable()) {
        return Err(Error::invalid("by", "rows can be counted by at most two fields, and not by 'tag'"));
    }
    Ok(())
}

fn nothing<F: Field, T>(query: &Query<F>) -> Slice<T> {
    Slice { items: Vec::new(), next: None, total: query.total.then_some(0) }
}

fn no_groups<F>(by: &[F]) -> Vec<Group> {
    if by.is_empty() { vec![Group { values: Vec::new(), count: 0 }] } else { Vec::new() }
}
