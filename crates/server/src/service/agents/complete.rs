//! The end of a task as its agent reports it: a good backup becomes a record in the same commit, so that there is never
//! one without the other.

use domain::backup::{Backup, BackupKind};
use domain::resource::Resource;
use domain::task::{Event, LeaseToken, Outcome, OutcomeCode, Progress, State, Task, TaskError, TaskId, TaskRef};
use domain::work::{BackupDone, BackupWork, Work};
use domain::{Code, Error, Result, Scope, Uuid};
use ledger::{Committed, Expect, Stored, Write};

use super::{ATTEMPTS, AgentIdentity, came_between};
use crate::service::Service;

impl Service {
    /// Ends a task. The same report again finds the task completed under its lease and makes nothing twice.
    pub(super) async fn complete(
        &self,
        agent: &AgentIdentity,
        task: TaskId,
        lease: LeaseToken,
        outcome: Outcome,
        progress: Option<Progress>,
    ) -> Result<Committed> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            let found = self.ledger.task(&agent.scope, TaskRef::Id(task)).await?;
            let (outcome, made) = judge(&found, outcome.clone());
            let event = Event::Complete { lease: lease.clone(), outcome, progress: progress.clone() };
            let mut writes = vec![Write::Task(TaskRef::Id(task), event)];
            if let Some((work, done)) = made
                && found.state() != State::Completed
            {
                writes.extend(self.backup_made(&agent.scope, &found, work, done).await?);
            }
            match self.write(agent, writes).await {
                // Somebody else changed the resource, or this very report arrived twice.
                Err(e) if came_between(&e) && attempts.next().is_some() => {}
                other => return other,
            }
        }
    }

    /// What the ledger is to keep of a good backup beside the task.
    async fn backup_made(&self, scope: &Scope, task: &Task, work: BackupWork, done: BackupDone) -> Result<Vec<Write>> {
        let resource = task.spec.resource.clone().unwrap_or_default();
        let resource_id = Uuid::parse_str(&resource.id).unwrap_or_default();
        let mut writes = Vec::new();
        match self.ledger.get::<Resource>(scope, resource_id).await {
            Ok(Stored { rev, mut value }) => {
                value.last_backup_at = value.last_backup_at.max(Some(done.created_at));
                writes.push(Write::Put(Box::new(value.into()), Expect::Rev(rev)));
            }
            // Deleted while it was backed up; the backup stays all the same.
            Err(e) if e.code == Code::NotFound => {}
            Err(e) => return Err(e),
        }
        let now = self.moment().now;
        let (archive, write) = self.archive_for(task, &work, &resource, done.created_at).await?;
        writes.extend(write);
        let backup = Backup {
            id: Uuid::now_v7(),
            tenant: task.spec.tenant,
            resource: resource_id,
            resource_name: resource.name,
            policy: task.spec.policy.as_ref().and_then(|p| Uuid::parse_str(&p.id).ok()),
            archive,
            repository: work.repository,
            snapshot: done.snapshot,
            kind: if done.incremental { BackupKind::Incremental } else { BackupKind::Full },
            task: task.id.0,
            paths: work.paths,
            size: done.size,
            added: done.added,
            added_raw: 0,
            changed: 0,
            roots: Vec::new(),
            system: String::new(),
            files: done.files,
            kept_because: Vec::new(),
            browsable: true,
            created_at: done.created_at,
            updated_at: now,
            deleted_at: None,
        };
        writes.push(Write::Put(Box::new(backup.into()), Expect::New));
        Ok(writes)
    }
}

/// The outcome to keep, and the backup that was made if there is one. An agent that says "done" and not what it made is
/// not believed.
fn judge(task: &Task, outcome: Outcome) -> (Outcome, Option<(BackupWork, BackupDone)>) {
    if !matches!(outcome.code, OutcomeCode::Ok | OutcomeCode::Warning) {
        return (outcome, None);
    }
    let work = match Work::of(&task.spec) {
        Ok(Work::Backup(work)) => work,
        Ok(_) | Err(_) => return (outcome, None),
    };
    let done = serde_json::from_value::<BackupDone>(outcome.payload.clone())
        .map_err(|e| Error::invalid("payload", e.to_string()))
        .and_then(|done| if done.snapshot.is_empty() { Err(Error::missing("snapshot")) } else { Ok(done) });
    match done {
        Ok(done) => (outcome, Some((work, done))),
        Err(error) => {
            let message = format!("The agent reported a finished backup, but not which: {error}.");
            let error = Some(TaskError::server("unreadableReport", message));
            (Outcome { code: OutcomeCode::Error, error, ..outcome }, None)
        }
    }
}
