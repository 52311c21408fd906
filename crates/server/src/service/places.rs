//! Questions about a machine that its agent answers at once, while somebody waits (contract for Yandex clients, Y65, Y66).

use domain::agent::Agent;
use domain::operation::{About, Idempotency, OperationKind};
use domain::resource::Resource;
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};

use super::hub::DirectoryEntry;
use super::operations::{Change, OperationView};
use super::{Hub, Service};

impl Service {
    /// What is in a folder of a machine now; with an empty path, the file systems to start from.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found` for the resource or folder, `invalid_field` for a path that cannot be one of
    /// the machine's, `agent_offline`, `agent_silent`, and `path_unusable` for what is no folder or cannot be read.
    pub async fn list_directory(&self, caller: &Caller, resource: Uuid, path: String) -> Result<Vec<DirectoryEntry>> {
        let scope = caller.may(Right::Edit)?;
        let resource = self.live_resource(scope, resource).await?;
        let agent = self.agent_for(&resource, &path).await?;
        self.hub.list_directory(agent, path).await
    }

    /// Makes a folder on a machine; its parents must exist. That it is there already is success. A call that is repeated
    /// with its key asks the machine only once.
    ///
    /// # Errors
    /// As [`Service::list_directory`]; `path_unusable` when something else stands there.
    pub async fn create_directory(
        &self,
        caller: &Caller,
        resource: Uuid,
        path: String,
        key: Option<Idempotency>,
    ) -> Result<OperationView> {
        let scope = caller.may(Right::Edit)?;
        let resource = self.live_resource(scope, resource).await?;
        let agent = self.agent_for(&resource, &path).await?;
        self.hub.create_directory(agent, path.clone()).await?;
        let Resource { id, tenant, instance_id, name, .. } = resource;
        let about = About { resource: Some(id), instance_id, path, ..About::default() };
        self.operate(caller, scope, key, || async {
            Ok(Change::new(OperationKind::CreateDirectory, tenant, about.clone(), (id, name.clone())))
        })
        .await
    }

    /// The agent of a machine, on which a path of this form can be.
    async fn agent_for(&self, resource: &Resource, path: &str) -> Result<Uuid> {
        let agent = resource.agent.filter(|agent| self.hub.online(*agent)).ok_or_else(Hub::offline)?;
        let known = if_found(self.ledger.get::<Agent>(&Scope::everything(), agent).await)?;
        if !path.is_empty() {
            check_absolute(path, known.as_ref().map_or("", |a| &a.value.system)).map_err(|e| e.field("path"))?;
        }
        Ok(agent)
    }
}

/// Refuses a path that is no absolute one on machines of this family of systems.
///
/// # Errors
/// `invalid_field`, which field is for the caller to say.
pub(super) fn check_absolute(path: &str, system: &str) -> Result<()> {
    if (system == "windows") != path.starts_with('/') {
        return Ok(());
    }
    Err(Error::new(Code::InvalidField, format!("'{path}' is no absolute path on this machine")))
}
