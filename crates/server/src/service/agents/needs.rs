//! What an agent needs for a task beside the task: access to the repository, and what the argument only refers to. What a
//! task may touch in a repository is checked here, because its argument may have come from anywhere.

use std::collections::HashMap;

use domain::backup::Backup;
use domain::policy::Policy;
use domain::query::{Filter, Query, RecordField, Value};
use domain::resource::Resource;
use domain::task::{Named, Task, kind};
use domain::tenant::Tenant;
use domain::work::{BackupWork, ForgetWork, Point, Work};
use domain::{Error, Result, Scope, Uuid, if_found};
use serde_json::json;

use crate::service::runs::settings_for;
use crate::service::{RepositoryAccess, Service};

/// See the module.
pub(super) struct Needs {
    /// Where the backups lie.
    pub(super) repository: RepositoryAccess,
    /// Whether the repository may be made if it is not there.
    pub(super) create_repository: bool,
    /// What to do.
    pub(super) argument: serde_json::Value,
}

impl Service {
    /// What the agent of this task needs.
    ///
    /// # Errors
    /// `invalid_field` for an argument that makes no sense or refers to what is not the task's, and those of the ledger.
    pub(super) async fn needs(&self, task: &Task) -> Result<Needs> {
        let work = Work::of(&task.spec)?;
        let id = work.repository();
        let repository = self.access(id).await?;
        let mut argument = task.spec.argument.clone().into_value();
        let mut create_repository = false;
        match work {
            Work::Backup(work) => {
                create_repository = self.is_new(id).await?;
                argument = json!(self.with_settings_of_now(task, work).await?);
            }
            Work::Recovery(work) => self.is_that_snapshot(work.backup, work.repository, &work.snapshot).await?,
            Work::Download(work) => self.is_that_snapshot(work.backup, work.repository, &work.snapshot).await?,
            Work::Verification(work) => self.is_that_snapshot(work.backup, work.repository, &work.snapshot).await?,
            Work::Indexing(work) => self.is_that_snapshot(work.backup, work.repository, &work.snapshot).await?,
            Work::Prune(_) => {}
            Work::Forget(work) => argument = json!(self.to_forget(task, work).await?),
            Work::Import(work) => {
                create_repository = self.is_new(id).await?;
                argument = json!(self.with_rules_of_now(work)?);
            }
        }
        Ok(Needs { repository, create_repository, argument })
    }

    /// A repository that holds backups and is not there is out of reach, not new: a disk may not be mounted.
    async fn is_new(&self, repository: Uuid) -> Result<bool> {
        let filter = Filter::all().is(RecordField::Repository, Value::Uuid(repository))?;
        let found = self.ledger.list::<Backup>(&Scope::everything(), &Query::newest(filter, 1)).await?;
        Ok(found.items.is_empty())
    }

    /// A backup runs with the settings that its policy has when it begins, however long it waited (contract for Yandex
    /// clients, Y78).
    async fn with_settings_of_now(&self, task: &Task, mut work: BackupWork) -> Result<BackupWork> {
        let everything = Scope::everything();
        let id = |named: &Option<Named>| named.as_ref().and_then(|n| Uuid::parse_str(&n.id).ok());
        let (Some(policy), Some(resource)) = (id(&task.spec.policy), id(&task.spec.resource)) else { return Ok(work) };
        let policy = if_found(self.ledger.get::<Policy>(&everything, policy).await)?;
        let resource = if_found(self.ledger.get::<Resource>(&everything, resource).await)?;
        if let (Some(policy), Some(resource)) = (policy, resource) {
            work.settings = settings_for(&policy.value, &resource.value);
        }
        Ok(work)
    }

    async fn is_that_snapshot(&self, backup: Uuid, repository: Uuid, snapshot: &str) -> Result<()> {
        let backup = self.ledger.get::<Backup>(&Scope::everything(), backup).await?.value;
        if backup.deleted_at.is_some() {
            return Err(Error::not_found("backup", backup.id));
        }
        if (backup.repository, backup.snapshot.as_str()) != (repository, snapshot) {
            return Err(Error::invalid("argument", format!("backup '{}' is not that snapshot", backup.id)));
        }
        Ok(())
    }

    /// The recovery points that go, as far as they are still known: one that is not was removed by an earlier attempt.
    async fn to_forget(&self, task: &Task, mut work: ForgetWork) -> Result<ForgetWork> {
        let everything = Scope::everything();
        let owner = self.ledger.get::<Tenant>(&everything, task.spec.tenant).await?.value;
        let filter = Filter::all().is(RecordField::Archive, Value::Uuid(work.archive))?;
        // What the owner of the task does not own is not there for it.
        let found = self.ledger.all::<Backup>(&Scope::subtree(&owner), filter).await?;
        let mut known: HashMap<Uuid, String> = found
            .into_iter()
            .map(|backup| backup.value)
            .filter(|backup| backup.repository == work.repository)
            .map(|backup| (backup.id, backup.snapshot))
            .collect();
        if work.points.is_empty() && task.spec.kind == kind::ARCHIVE_DELETION {
            work.points =
                known.into_iter().map(|(backup, snapshot)| Point { backup, snapshot, because: Vec::new() }).collect();
            work.points.sort_by_key(|point| point.backup);
        } else {
            work.points.retain_mut(|point| {
                let snapshot = known.remove(&point.backup);
                snapshot.is_some_and(|snapshot| {
                    point.snapshot = snapshot;
                    true
                })
            });
        }
        Ok(work)
    }
}
