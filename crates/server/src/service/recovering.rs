//! Recovery points are written back: whole to where they were, or chosen files to where somebody wants them.

use domain::agent::{AGENT_QUEUE, Agent};
use domain::backup::Backup;
use domain::operation::{About, Idempotency, OperationKind};
use domain::resource::{Registration, Resource};
use domain::task::{Affinity, Named, Priority, TaskSpec, kind};
use domain::work::{Layout, Overwrite, RecoveryWork};
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};
use ledger::Write;
use serde_json::json;

use super::operations::Change;
use super::places::check_absolute;
use super::queue::MAINTENANCE;
use super::runs::{named_resource, own_rules};
use super::{OperationView, Service};

/// What is written back, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct FilesRecovery {
    /// The recovery point.
    pub backup: Uuid,
    /// The machine to write to.
    pub resource: Uuid,
    /// The chosen files and folders, in the agent's text form of paths.
    pub paths: Vec<String>,
    /// The folder to write to; none = where they were.
    pub to: Option<String>,
    /// What becomes of files that are there.
    pub overwrite: Overwrite,
    /// Whether a restart of the machine was allowed; it is kept and never done.
    pub reboot_if_needed: bool,
    /// The chosen files as the caller named them.
    pub items: Vec<String>,
}

impl Service {
    /// Writes a whole recovery point back to where it was, on the machine it is of or on another one (contract for Yandex
    /// clients, Y69).
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `agent_offline`, `system_mismatch`, `live_system`.
    pub async fn start_recovery(
        &self,
        caller: &Caller,
        backup: Uuid,
        resource: Uuid,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        let scope = caller.may(Right::Edit)?;
        let made = self.operate(caller, scope, key, || async {
            let (backup, resource) = self.recoverable(scope, backup, resource).await?;
            check_has_place(&backup)?;
            let agent = self.reached(&resource).await?;
            check_system(&backup, &resource, &agent)?;
            let over_system = backup.paths.iter().any(|p| is_system_root(p)) || backup.roots.iter().any(|r| r.system);
            if over_system && !agent.rescue && !resource.live_recovery {
                let message = format!("the backup holds the root of a system, and '{}' runs on one", resource.name);
                return Err(Error::new(Code::LiveSystem, message).hint(
                    "restore files to another folder, start the machine from rescue media, or let an administrator allow \
                     'live_recovery' on the resource",
                ));
            }
            let work = RecoveryWork { layout: Layout::Original, ..work_on(&backup) };
            self.recovery(caller, OperationKind::StartRecovery, &backup, &resource, work, Vec::new()).await
        });
        made.await
    }

    /// Writes chosen files of a recovery point to a machine.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `agent_offline`, `system_mismatch`, `invalid_field` for a folder that cannot be
    /// one of the machine's.
    pub async fn start_files_recovery(
        &self,
        caller: &Caller,
        wish: FilesRecovery,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        let scope = caller.may(Right::Edit)?;
        let made = self.operate(caller, scope, key, || async {
            let (backup, resource) = self.recoverable(scope, wish.backup, wish.resource).await?;
            if wish.to.is_none() {
                check_has_place(&backup)?;
            }
            let agent = self.reached(&resource).await?;
            check_system(&backup, &resource, &agent)?;
            if let Some(to) = &wish.to {
                check_absolute(to, &agent.system).map_err(|e| e.field("to"))?;
            }
            let work = RecoveryWork {
                layout: if wish.to.is_some() { Layout::Named } else { Layout::Original },
                to: wish.to.clone().unwrap_or_default(),
                paths: wish.paths.clone(),
                overwrite: wish.overwrite,
                reboot_if_needed: wish.reboot_if_needed,
                ..work_on(&backup)
            };
            let kind = OperationKind::StartFilesRecovery;
            self.recovery(caller, kind, &backup, &resource, work, wish.items.clone()).await
        });
        made.await
    }

    async fn recoverable(&self, scope: &Scope, backup: Uuid, resource: Uuid) -> Result<(Backup, Resource)> {
        let found = self.ledger.get::<Backup>(scope, backup).await?.value;
        if found.deleted_at.is_some() {
            return Err(Error::not_found("backup", backup));
        }
        Ok((found, self.live_resource(scope, resource).await?))
    }

    /// The agent of a resource, if it is connected now.
    async fn reached(&self, resource: &Resource) -> Result<Agent> {
        if resource.registration == Registration::Failed {
            return Err(super::applying::registration_failed(resource));
        }
        let agent = match resource.agent.filter(|agent| self.hub.online(*agent)) {
            Some(agent) => if_found(self.ledger.get::<Agent>(&Scope::everything(), agent).await)?,
            None => None,
        };
        agent.map(|a| a.value).ok_or_else(|| {
            Error::new(Code::AgentOffline, format!("the agent of '{}' is not connected", resource.instance_id))
                .hint("see `backstay agent list`; start the agent and try again")
        })
    }

    async fn recovery(
        &self,
        caller: &Caller,
        kind: OperationKind,
        backup: &Backup,
        resource: &Resource,
        work: RecoveryWork,
        items: Vec<String>,
    ) -> Result<Change> {
        let (task, what) = match work.paths.as_slice() {
            [] => (kind::RECOVERY, "everything".to_owned()),
            [one] => (kind::FILE_RECOVERY, one.clone()),
            several => (kind::FILE_RECOVERY, format!("{} paths", several.len())),
        };
        let whither = if work.to.is_empty() { "where it was" } else { &work.to };
        let mut spec = TaskSpec::new(Uuid::now_v7(), task, AGENT_QUEUE, resource.tenant);
        spec.context = json!({
            "title": format!("Restoring {what} of '{}' to {whither} on '{}'", backup.resource_name, resource.name),
            "run_mode": "manual",
        })
        .into();
        spec.argument = json!(work).into();
        spec.priority = Priority::AboveNormal;
        spec.resource = Some(named_resource(resource));
        if let Some(id) = backup.policy {
            let found = if_found(self.ledger.get::<domain::policy::Policy>(&Scope::everything(), id).await)?;
            let name = found.map(|p| p.value.name).unwrap_or_default();
            spec.policy = Some(Named::ours(id, MAINTENANCE, &name));
        }
        spec.started_by = Some(caller.name.as_str().into());
        spec.issuer.id = caller.issuer_id().into();
        spec.affinity = Affinity::to(resource.agent);
        spec.rules = own_rules();
        let about = About {
            backup: Some(backup.id),
            resource: Some(resource.id),
            instance_id: resource.instance_id.clone(),
            items,
            ..About::default()
        };
        let mut change = Change::new(kind, resource.tenant, about, (backup.id, backup.resource_name.clone()));
        change.task = Some(spec.uuid);
        change.writes.push(Write::CreateTask(Box::new(spec)));
        Ok(change)
    }
}

pub(super) fn work_on(backup: &Backup) -> RecoveryWork {
    RecoveryWork {
        backup: backup.id,
        repository: backup.repository,
        snapshot: backup.snapshot.clone(),
        to: String::new(),
        paths: Vec::new(),
        layout: Layout::default(),
        overwrite: Overwrite::default(),
        device: false,
        reboot_if_needed: false,
        place: None,
    }
}

/// A volume does not go back to where it was: that may be a device in use, and its files are on no machine's tree.
fn check_has_place(backup: &Backup) -> Result<()> {
    if !backup.is_stream() {
        return Ok(());
    }
    let message = format!("the volume '{}' is not written back to where it was", backup.resource_name);
    Err(Error::new(Code::InvalidField, message).field("to").hint("name a folder to restore to"))
}

/// Files go back to the family of systems that they are of (contract for Yandex clients, Y71).
fn check_system(backup: &Backup, resource: &Resource, agent: &Agent) -> Result<()> {
    check_system_of(backup, agent, &resource.name)
}

/// As [`check_system`], for a machine of this name.
pub(super) fn check_system_of(backup: &Backup, agent: &Agent, name: &str) -> Result<()> {
    let (of, to) = (&backup.system, &agent.system);
    if of.is_empty() || to.is_empty() || of == to {
        return Ok(());
    }
    Err(Error::new(Code::SystemMismatch, format!("the backup is of {of}, and '{name}' runs {to}"))
        .hint(format!("choose a machine that runs {of}")))
}

/// Whether a path is the root of a system: `/`, or the usual system drive of Windows.
fn is_system_root(path: &str) -> bool {
    path == "/" || matches!(path.trim_end_matches(['\\', '/']), "C:" | "c:")
}
