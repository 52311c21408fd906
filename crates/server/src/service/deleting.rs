//! Recovery points and archives are deleted: they vanish from lists at once, a task removes them from the repository, and
//! what could not be removed comes back.

use std::collections::HashSet;

use domain::agent::AGENT_QUEUE;
use domain::archive::Archive;
use domain::backup::Backup;
use domain::operation::{About, Idempotency, OperationKind};
use domain::query::{Filter, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::record::RecordKind;
use domain::resource::Resource;
use domain::task::{Affinity, Named, Priority, ResultCode, State, Task, TaskSpec, kind};
use domain::work::{ForgetWork, Point, Work};
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};
use ledger::{Expect, Stored, Write};
use serde_json::json;

use super::operations::Change;
use super::queue::MAINTENANCE;
use super::runs::own_rules;
use super::{OperationView, Service};

impl Service {
    /// Deletes one recovery point of a resource. The machine need not be connected: any agent that reaches the repository
    /// does it (contract for Yandex clients, Y75).
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `in_use`.
    pub async fn delete_backup_operation(
        &self,
        caller: &Caller,
        resource: Uuid,
        backup: Uuid,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        let scope = caller.may(Right::Edit)?;
        let made = self.operate(caller, scope, key, || async {
            let Stored { rev, value: mut found } = self.ledger.get::<Backup>(scope, backup).await?;
            if found.resource != resource || found.deleted_at.is_some() {
                return Err(Error::not_found("backup", backup));
            }
            self.check_unused(&HashSet::from([backup])).await?;
            let about = About { backup: Some(backup), ..self.about_backup(&found).await? };
            let object = (backup, found.resource_name.clone());
            let mut change = Change::new(OperationKind::DeleteBackup, found.tenant, about, object);
            let points = vec![Point { backup, snapshot: found.snapshot.clone(), because: Vec::new() }];
            let title = format!("Deleting a backup of '{}'", found.resource_name);
            let spec = self.deletion(caller, kind::BACKUP_DELETION, title, &found, points).await?;
            change.task = Some(spec.uuid);
            found.deleted_at = Some(self.moment().now);
            change.writes.push(Write::Put(Box::new(found.into()), Expect::Rev(rev)));
            change.writes.push(Write::CreateTask(Box::new(spec)));
            Ok(change)
        });
        made.await
    }

    /// Deletes an archive with all its recovery points. The next backup of its policy and resource begins a new one.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `in_use`.
    pub async fn delete_archive_operation(
        &self,
        caller: &Caller,
        archive: Uuid,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        let scope = caller.may(Right::Edit)?;
        let made = self.operate(caller, scope, key, || async {
            let Stored { rev, value: mut found } = self.ledger.get::<Archive>(scope, archive).await?;
            let mut backups = self.backups_in(archive).await?;
            backups.retain(|b| b.value.deleted_at.is_none());
            let Some(one) = backups.first().filter(|_| found.deleted_at.is_none()).map(|b| b.value.clone()) else {
                return Err(Error::not_found("archive", archive));
            };
            self.check_unused(&backups.iter().map(|b| b.value.id).collect()).await?;
            if let Some(app) = self.application(scope, found.policy, found.resource).await?
                && let Some(open) = self.open_task(&app.value).await?
                && open.state() != State::Enqueued
            {
                return Err(in_use(&open));
            }
            let about = About { archive: Some(archive), ..self.about_backup(&one).await? };
            let object = (archive, found.name.clone());
            let mut change = Change::new(OperationKind::DeleteArchive, found.tenant, about, object);
            let title = format!("Deleting the archive '{}'", found.name);
            let spec = self.deletion(caller, kind::ARCHIVE_DELETION, title, &one, Vec::new()).await?;
            change.task = Some(spec.uuid);
            let now = self.moment().now;
            change.writes.extend(self.begin_new_archive(found.policy, found.resource).await?);
            found.deleted_at = Some(now);
            change.writes.push(Write::Put(Box::new(found.into()), Expect::Rev(rev)));
            for Stored { rev, value: mut backup } in backups {
                backup.deleted_at = Some(now);
                change.writes.push(Write::Put(Box::new(backup.into()), Expect::Rev(rev)));
            }
            change.writes.push(Write::CreateTask(Box::new(spec)));
            Ok(change)
        });
        made.await
    }

    /// What an operation on a recovery point is about.
    pub(super) async fn about_backup(&self, backup: &Backup) -> Result<About> {
        let resource = if_found(self.ledger.get::<Resource>(&Scope::everything(), backup.resource).await)?;
        Ok(About {
            resource: Some(backup.resource),
            instance_id: resource.map(|r| r.value.instance_id).unwrap_or_default(),
            policy: backup.policy,
            ..About::default()
        })
    }

    /// The task that removes recovery points from their repository: all of the archive where none are named.
    async fn deletion(
        &self,
        caller: &Caller,
        kind: &str,
        title: String,
        one: &Backup,
        points: Vec<Point>,
    ) -> Result<TaskSpec> {
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind, AGENT_QUEUE, one.tenant);
        spec.argument =
            json!(ForgetWork { repository: one.repository, archive: one.archive, points, reasons: Vec::new() }).into();
        spec.context = json!({ "title": title, "run_mode": "manual" }).into();
        spec.priority = Priority::BelowNormal;
        spec.rules = own_rules();
        spec.started_by = Some(caller.name.as_str().into());
        spec.issuer.id = caller.issuer_id().into();
        spec.resource = Some(Named::ours(one.resource, "", &one.resource_name));
        let resource = if_found(self.ledger.get::<Resource>(&Scope::everything(), one.resource).await)?;
        if let Some(resource) = &resource {
            spec.resource = Some(super::runs::named_resource(&resource.value));
        }
        if let Some(policy) = one.policy {
            let found = if_found(self.ledger.get::<domain::policy::Policy>(&Scope::everything(), policy).await)?;
            let name = found.map(|p| p.value.name).unwrap_or_default();
            spec.policy = Some(Named::ours(policy, MAINTENANCE, &name));
        }
        // The machine's own agent where it is there, since it certainly reaches the repository; else whoever does.
        let agent = resource.and_then(|r| r.value.agent).filter(|agent| self.hub.online(*agent));
        spec.affinity = Affinity::to(agent);
        Ok(spec)
    }

    /// Refuses to delete what a task that is under way reads or removes. One that waits finds it gone when its turn comes.
    async fn check_unused(&self, backups: &HashSet<Uuid>) -> Result<()> {
        let types = [kind::RECOVERY, kind::FILE_RECOVERY, kind::VERIFICATION, kind::RETENTION];
        let types = types.map(|k| Pattern::Is(Value::Text(k.to_owned()))).to_vec();
        let states = [State::Assigned, State::Started, State::Paused];
        let states = states.map(|s| Pattern::Is(Value::Enum(s.ordinal()))).to_vec();
        let filter =
            Filter::all().and(TaskField::Type, Test::AnyOf(types))?.and(TaskField::State, Test::AnyOf(states))?;
        let query = Query::newest(filter, domain::query::MAX_LIMIT);
        for task in self.ledger.tasks(&Scope::everything(), &query).await?.items {
            let uses = match Work::of(&task.spec) {
                Ok(Work::Recovery(work)) => backups.contains(&work.backup),
                Ok(Work::Download(work)) => backups.contains(&work.backup),
                Ok(Work::Verification(work)) => backups.contains(&work.backup),
                Ok(Work::Forget(work)) => work.points.iter().any(|p| backups.contains(&p.backup)),
                // An index of what is gone is of no use to anybody.
                Ok(Work::Backup(_) | Work::Import(_) | Work::Indexing(_) | Work::Prune(_)) | Err(_) => false,
            };
            if uses {
                return Err(in_use(&task));
            }
        }
        Ok(())
    }

    /// Follows the end of a deletion: what was removed is forgotten, what was not comes back.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(super) async fn settle_deletion(&self, task: &Task) -> Result<()> {
        let Some(result) = task.result() else { return Ok(()) };
        let Ok(Work::Forget(work)) = Work::of(&task.spec) else { return Ok(()) };
        let named: HashSet<Uuid> = work.points.iter().map(|p| p.backup).collect();
        let removed = matches!(result.code, ResultCode::Ok | ResultCode::Warning);
        loop {
            let mut backups = self.backups_in(work.archive).await?;
            backups.retain(|b| b.value.deleted_at.is_some() && (named.contains(&b.value.id) || named.is_empty()));
            let mut writes = Vec::new();
            for Stored { rev, value: mut backup } in backups {
                if removed {
                    writes.push(Write::Remove(RecordKind::Backup, backup.id));
                } else {
                    backup.deleted_at = None;
                    writes.push(Write::Put(Box::new(backup.into()), Expect::Rev(rev)));
                }
            }
            if named.is_empty() && !removed {
                writes.extend(self.archive_back(work.archive).await?);
            }
            if writes.is_empty() {
                return Ok(());
            }
            match self.ledger.commit(&Scope::everything(), self.moment(), writes).await {
                Err(e) if e.code == Code::RevisionConflict => {}
                other => return other.map(drop),
            }
        }
    }

    /// An archive that could not be deleted comes back, unless another one took its place meanwhile.
    async fn archive_back(&self, archive: Uuid) -> Result<Option<Write>> {
        let everything = Scope::everything();
        let Some(Stored { rev, value: mut archive }) =
            if_found(self.ledger.get::<Archive>(&everything, archive).await)?.filter(|a| a.value.deleted_at.is_some())
        else {
            return Ok(None);
        };
        if self.ledger.find::<Archive>(&everything, &archive.key()).await?.is_some() {
            return Ok(None);
        }
        archive.deleted_at = None;
        Ok(Some(Write::Put(Box::new(archive.into()), Expect::Rev(rev))))
    }

    /// Looks for deletions that ended without anybody following their end, because the server stopped in between.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn look_for_deletions(&self) -> Result<()> {
        let everything = Scope::everything();
        let marked = Filter::all().and(RecordField::EndedAt, Test::Present)?;
        let marked = self.ledger.all::<Backup>(&everything, marked).await?;
        let resources: HashSet<Uuid> = marked.iter().map(|b| b.value.resource).collect();
        for resource in resources {
            let types = [kind::BACKUP_DELETION, kind::ARCHIVE_DELETION];
            let types = types.map(|k| Pattern::Is(Value::Text(k.to_owned()))).to_vec();
            let filter = Filter::all()
                .and(TaskField::ResourceId, Test::AnyOf(vec![Pattern::IsUuid(resource)]))?
                .and(TaskField::Type, Test::AnyOf(types))?
                .is(TaskField::State, Value::Enum(State::Completed.ordinal()))?;
            let query = Query::newest(filter, domain::query::MAX_LIMIT);
            for task in self.ledger.tasks(&everything, &query).await?.items {
                self.settle_deletion(&task).await?;
            }
        }
        Ok(())
    }
}

fn in_use(task: &Task) -> Error {
    Error::new(Code::InUse, format!("task {} needs it and is not done", task.id)).hint("wait for it or cancel it first")
}

/// Whether a task deletes recovery points because somebody asked for it.
pub(super) fn deletes(task: &Task) -> bool {
    matches!(task.spec.kind.as_str(), kind::BACKUP_DELETION | kind::ARCHIVE_DELETION)
}
