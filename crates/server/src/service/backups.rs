//! Backups: list them, look into them, get them back.

use std::collections::HashMap;

use domain::agent::{AGENT_QUEUE, Agent};
use domain::archive::Archive;
use domain::backup::Backup;
use domain::policy::Policy;
use domain::query::{Filter, Query, RecordField, Slice, Test};
use domain::repository::Repository;
use domain::resource::Resource;
use domain::task::{Affinity, Named, Task, TaskSpec, kind};
use domain::tenant::Tenant;
use domain::work::{Layout, Overwrite, RecoveryWork};
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid};
use ledger::Write;
use serde_json::json;

use super::queue::MAINTENANCE;
use super::runs::{named_resource, own_rules};
use super::{FileList, ListFiles, Service};

/// A recovery that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreRequest {
    /// The recovery point.
    pub backup: Uuid,
    /// The folder to write to, on the machine of the resource's agent.
    pub to: String,
    /// Whether `to` is a block device that the whole volume is written over.
    pub overwrite_device: bool,
    /// Only these paths of the backup; empty = everything.
    pub paths: Vec<String>,
    /// The resource on whose machine to write; the one that was backed up by default.
    pub resource: Option<Uuid>,
}

impl Service {
    /// Backups that match.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn backups(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<Backup>> {
        let mut query = query.clone();
        // What is being deleted is no longer there.
        query.filter = query.filter.and(RecordField::EndedAt, Test::Absent)?;
        Ok(self.ledger.list::<Backup>(caller.may(Right::View)?, &query).await?.map(|s| s.value))
    }

    /// One backup.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn backup(&self, caller: &Caller, id: Uuid) -> Result<Backup> {
        let backup = self.ledger.get::<Backup>(caller.may(Right::View)?, id).await?.value;
        if backup.deleted_at.is_some() {
            return Err(Error::not_found("backup", id));
        }
        Ok(backup)
    }

    /// All backups that match, in the order of their creation.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn all_backups(&self, caller: &Caller, filter: Filter<RecordField>) -> Result<Vec<Backup>> {
        let filter = filter.and(RecordField::EndedAt, Test::Absent)?;
        let found = self.ledger.all::<Backup>(caller.may(Right::View)?, filter).await?;
        let mut found: Vec<Backup> = found.into_iter().map(|s| s.value).collect();
        found.sort_by_key(|b| (b.created_at, b.id));
        Ok(found)
    }

    /// What backups are of, by their ids, also what is deleted.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn resources_by_id(
        &self,
        caller: &Caller,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<HashMap<Uuid, Resource>> {
        self.by_id(caller.may(Right::View)?, ids).await
    }

    /// The archives that backups are in, by their ids.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn archives_by_id(
        &self,
        caller: &Caller,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<HashMap<Uuid, Archive>> {
        self.by_id(caller.may(Right::View)?, ids).await
    }

    /// The entries of a folder in a backup, as the agent that reaches the repository reads them.
    ///
    /// # Errors
    /// `not_found` for the backup or the folder, `agent_offline`.
    pub async fn backup_files(
        &self,
        caller: &Caller,
        id: Uuid,
        path: &str,
        after: Option<String>,
        limit: u32,
    ) -> Result<FileList> {
        let scope = caller.may(Right::View)?;
        let backup = self.backup(caller, id).await?;
        let agent = match self.ledger.get::<Resource>(scope, backup.resource).await {
            // Any other one will do while its own is away.
            Ok(resource) => resource.value.agent.filter(|agent| self.hub.online(*agent)),
            // The resource is gone; any agent that reaches the repository may look.
            Err(e) if e.code == Code::NotFound => None,
            Err(e) => return Err(e),
        };
        let agent = match agent {
            Some(agent) => agent,
            None => self.any_agent_for(&backup).await?,
        };
        let repository = self.access(backup.repository).await?;
        let path = path.to_owned();
        self.hub.list_files(agent, ListFiles { repository, snapshot: backup.snapshot, path, after, limit }).await
    }

    /// Asks for a recovery: a task for the agent of the machine to write to.
    ///
    /// # Errors
    /// `forbidden` below operator, and below editor where a device is written over; `not_found`, `invalid_field`.
    pub async fn restore(&self, caller: &Caller, request: RestoreRequest) -> Result<Task> {
        let scope = caller.may(if request.overwrite_device { Right::Edit } else { Right::Operate })?;
        let backup = self.backup(caller, request.backup).await.map_err(|e| e.field("backup"))?;
        if !request.to.starts_with('/') {
            return Err(Error::invalid("to", format!("'{}' is no absolute path", request.to))
                .hint("the folder to write to on the machine, from the top, like /tmp/restored"));
        }
        if let Some(path) = request.paths.iter().find(|p| !p.starts_with('/')) {
            return Err(Error::invalid("paths", format!("'{path}' is no absolute path"))
                .hint("a path as `backup files` shows it, from the top"));
        }
        if request.overwrite_device {
            check_device(&backup, &request)?;
        }
        let resource = request.resource.unwrap_or(backup.resource);
        let resource = self
            .live_resource(scope, resource)
            .await
            .map_err(|e| e.field("resource").hint("name a resource whose machine shall receive the files"))?;
        let (kind, what) = match request.paths.len() {
            0 => (kind::RECOVERY, "everything".to_owned()),
            1 => (kind::FILE_RECOVERY, request.paths[0].clone()),
            n => (kind::FILE_RECOVERY, format!("{n} paths")),
        };
        let mut spec = TaskSpec::new(Uuid::now_v7(), kind, AGENT_QUEUE, resource.tenant);
        spec.context = json!({
            "title": format!("Restoring {what} of '{}' to '{}'", backup.resource_name, request.to),
            "run_mode": "manual",
        })
        .into();
        spec.argument = json!(RecoveryWork {
            backup: backup.id,
            repository: backup.repository,
            snapshot: backup.snapshot,
            to: request.to,
            paths: request.paths,
            layout: Layout::Below,
            overwrite: Overwrite::IfChanged,
            device: request.overwrite_device,
            reboot_if_needed: false,
            place: None,
        })
        .into();
        self.begin_for(caller, scope, spec, backup.policy, &resource).await
    }

    /// Creates a task that somebody asks for about a backup of this policy, for the machine of this resource.
    pub(super) async fn begin_for(
        &self,
        caller: &Caller,
        scope: &Scope,
        mut spec: TaskSpec,
        policy: Option<Uuid>,
        resource: &Resource,
    ) -> Result<Task> {
        spec.resource = Some(named_resource(resource));
        if let Some(id) = policy {
            let name = self.ledger.get::<Policy>(scope, id).await.map(|p| p.value.name).unwrap_or_default();
            spec.policy = Some(Named::ours(id, MAINTENANCE, &name));
        }
        spec.started_by = Some(caller.name.as_str().into());
        spec.issuer.id = caller.issuer_id().into();
        spec.affinity = Affinity::to(resource.agent);
        spec.rules = own_rules();
        let committed = self.ledger.commit(scope, self.moment(), vec![Write::CreateTask(Box::new(spec))]).await?;
        self.deliver(&committed);
        committed.task().cloned().ok_or_else(|| Error::new(Code::Internal, "the new task is not in the commit"))
    }

    /// An agent that is connected and reaches the repository of a backup: one of its owner's, or else of whoever shares the
    /// repository. It only reads names for the caller, who may see them.
    async fn any_agent_for(&self, backup: &Backup) -> Result<Uuid> {
        let owner = self.ledger.get::<Repository>(&Scope::everything(), backup.repository).await?.value.tenant;
        for tenant in [backup.tenant, owner] {
            if let Some(agent) = self.any_agent(tenant).await? {
                return Ok(agent.id);
            }
        }
        let message = format!("no agent that could read the backup '{}' is connected", backup.id);
        Err(Error::new(Code::AgentOffline, message))
    }

    /// An agent of a tenant, or of one below it, that is connected.
    pub(super) async fn any_agent(&self, tenant: Uuid) -> Result<Option<Agent>> {
        let tenant = self.ledger.get::<Tenant>(&Scope::everything(), tenant).await?.value;
        let agents = self.ledger.all::<Agent>(&Scope::subtree(&tenant), Filter::all()).await?;
        Ok(agents.into_iter().map(|a| a.value).find(|a| self.hub.online(a.id)))
    }
}

/// Refuses to write over a device what is no whole volume.
fn check_device(backup: &Backup, request: &RestoreRequest) -> Result<()> {
    if !backup.is_stream() {
        let message = format!("the backup of '{}' is not of a volume", backup.resource_name);
        return Err(Error::invalid("overwrite_device", message).hint("restore its files into a folder"));
    }
    if !request.paths.is_empty() {
        return Err(Error::invalid("paths", "a device is written over with the whole volume")
            .hint("restore chosen files into a folder, or leave the paths away"));
    }
    Ok(())
}
