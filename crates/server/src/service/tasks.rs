//! Tasks and activities as callers see them: list, read, count, watch, cancel.

use domain::activity::{ActivityRef, ActivityView};
use domain::query::{ActivityField, Field, Filter, Group, Query, Slice, TaskField, Test};
use domain::task::{Event, Task, TaskRef};
use domain::{Caller, Code, Error, Result, Role};
use ledger::{Changes, Rev, Write};

use super::Service;

impl Service {
    /// Tasks that match. Deleted ones are shown only to those who filter by `deleted_at`.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn tasks(&self, caller: &Caller, query: &Query<TaskField>) -> Result<Slice<Task>> {
        let query = Query { filter: undeleted(&query.filter, TaskField::DeletedAt)?, ..query.clone() };
        self.ledger.tasks(caller.scope(), &query).await
    }

    /// One task.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn task(&self, caller: &Caller, task: TaskRef) -> Result<Task> {
        self.ledger.task(caller.scope(), task).await
    }

    /// How many tasks match, grouped.
    ///
    /// # Errors
    /// `invalid_field` for more than two fields or one that cannot be grouped by.
    pub async fn task_counts(
        &self,
        caller: &Caller,
        filter: &Filter<TaskField>,
        by: &[TaskField],
    ) -> Result<Vec<Group>> {
        if by.len() > 2 || by.iter().any(|f| !f.sortable()) {
            return Err(Error::invalid("by", "tasks can be counted by at most two fields, and not by 'tag'"));
        }
        self.ledger.task_counts(caller.scope(), &undeleted(filter, TaskField::DeletedAt)?, by).await
    }

    /// Cancels a task: at once if it waits, else by asking its executor to stop.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found`, `already_completed`, `not_cancellable`.
    pub async fn cancel_task(&self, caller: &Caller, task: TaskRef) -> Result<Task> {
        let scope = caller.at_least(Role::Operator)?;
        let event = Event::Cancel { by: caller.name.clone() };
        let committed = self.ledger.commit(scope, self.moment(), vec![Write::Task(task, event)]).await?;
        self.deliver(&committed);
        let cancelled = committed.task().cloned();
        cancelled.ok_or_else(|| Error::new(Code::Internal, "the cancelled task is not in the commit"))
    }

    /// Tasks that changed after a revision.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn task_changes(&self, caller: &Caller, since: Rev, limit: u32) -> Result<Changes> {
        self.ledger.changes(caller.scope(), since, limit).await
    }

    /// Activities that match; those of deleted tasks only for those who filter by `deleted_at`.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn activities(&self, caller: &Caller, query: &Query<ActivityField>) -> Result<Slice<ActivityView>> {
        let query = Query { filter: undeleted(&query.filter, ActivityField::DeletedAt)?, ..query.clone() };
        self.ledger.activities(caller.scope(), &query).await
    }

    /// One activity.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn activity(&self, caller: &Caller, activity: ActivityRef) -> Result<ActivityView> {
        self.ledger.activity(caller.scope(), activity).await
    }
}

fn undeleted<F: Field>(filter: &Filter<F>, deleted_at: F) -> Result<Filter<F>> {
    if filter.clauses().iter().any(|c| c.field() == deleted_at) {
        return Ok(filter.clone());
    }
    filter.clone().and(deleted_at, Test::Absent)
}
