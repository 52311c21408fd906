//! Resources move from one tenant to another: with what policies do for them, and with their backups. What was done for them
//! before stays where it was done.

use std::collections::HashSet;

use domain::agent::Agent;
use domain::archive::Archive;
use domain::backup::Backup;
use domain::policy::{Application, Policy};
use domain::query::{Filter, RecordField, Value};
use domain::repository::Repository;
use domain::resource::Resource;
use domain::tenant::Tenant;
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};
use ledger::{Expect, Stored, Write};

use super::agents::{ATTEMPTS, came_between};
use super::{ResourceView, Service};

/// What stands in the way of several things that are done together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub enum Refused {
    /// All of it.
    Whole(Error),
    /// Some of the things, by their places in the list.
    Items(Vec<(usize, Error)>),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused::Whole(error)
    }
}

impl Refused {
    /// Nothing, unless one of the things was refused.
    ///
    /// # Errors
    /// Those that were.
    pub(super) fn of(items: Vec<(usize, Error)>) -> Result<(), Refused> {
        if items.is_empty() { Ok(()) } else { Err(Refused::Items(items)) }
    }
}

impl Service {
    /// Moves a resource to another tenant.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`, `foreign_policy` while a policy protects it that does not reach there,
    /// `state_conflict` where its agent or a repository of its backups does not.
    pub async fn move_resource(&self, caller: &Caller, id: Uuid, to: Uuid) -> Result<ResourceView> {
        let scope = caller.may(Right::Administer)?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let to = self.live_tenant(scope, to).await.map_err(|e| e.field("tenant"))?;
            let found = self.registered(scope, id).await?;
            let resource = found.value.clone();
            let mut writes = self.moved(found, &to).await?;
            if writes.is_empty() {
                return self.resource_view(caller, resource).await;
            }
            writes.push(self.moving_entry(caller, &resource, &to));
            match self.ledger.commit(scope, self.moment(), writes).await {
                Err(e) if came_between(&e) && attempts.next().is_some() => {}
                other => {
                    other?;
                    return self.resource(caller, id).await;
                }
            }
        }
    }

    /// The audit entry of a move, for the tenant that the resource leaves.
    pub(super) fn moving_entry(&self, caller: &Caller, resource: &Resource, to: &Tenant) -> Write {
        let name = format!("{} to {}", resource.name, to.name);
        self.audit_entry(caller, "resource.move", resource.tenant, resource.id.to_string(), name)
    }

    /// What moving a resource writes; nothing if it is there already.
    ///
    /// # Errors
    /// `foreign_policy`, `state_conflict`: see [`Service::move_resource`].
    pub(super) async fn moved(&self, found: Stored<Resource>, to: &Tenant) -> Result<Vec<Write>> {
        let Stored { rev, value: resource } = found;
        if resource.tenant == to.id {
            return Ok(Vec::new());
        }
        self.check_agent_reaches(&resource, to).await?;
        let everything = Scope::everything();
        let of_resource = || Filter::all().is(RecordField::Resource, Value::Uuid(resource.id));
        let mut writes =
            vec![Write::Put(Box::new(Resource { tenant: to.id, ..resource.clone() }.into()), Expect::Rev(rev))];
        let mut repositories = HashSet::new();
        for Stored { rev, value } in self.ledger.all::<Application>(&everything, of_resource()?).await? {
            let policy = self.ledger.get::<Policy>(&everything, value.policy).await?.value;
            self.check_policy_reaches(&policy, &resource, to).await?;
            repositories.insert(policy.repository);
            writes.push(Write::Put(Box::new(Application { tenant: to.id, ..value }.into()), Expect::Rev(rev)));
        }
        for Stored { rev, value } in self.ledger.all::<Archive>(&everything, of_resource()?).await? {
            writes.push(Write::Put(Box::new(Archive { tenant: to.id, ..value }.into()), Expect::Rev(rev)));
        }
        for Stored { rev, value } in self.ledger.all::<Backup>(&everything, of_resource()?).await? {
            repositories.insert(value.repository);
            writes.push(Write::Put(Box::new(Backup { tenant: to.id, ..value }.into()), Expect::Rev(rev)));
        }
        for repository in repositories {
            self.check_repository_reaches(repository, &resource, to).await?;
        }
        Ok(writes)
    }

    async fn check_policy_reaches(&self, policy: &Policy, resource: &Resource, to: &Tenant) -> Result<()> {
        if self.reaches(policy.tenant, to).await? {
            return Ok(());
        }
        let message =
            format!("the policy '{}' protects '{}' and does not reach '{}'", policy.name, resource.name, to.name);
        Err(Error::new(Code::ForeignPolicy, message).hint("take the policy from it first"))
    }

    /// Nobody could back it up any more.
    async fn check_agent_reaches(&self, resource: &Resource, to: &Tenant) -> Result<()> {
        let Some(agent) = resource.agent else { return Ok(()) };
        let agent = if_found(self.ledger.get::<Agent>(&Scope::everything(), agent).await)?;
        let Some(agent) = agent.map(|a| a.value) else { return Ok(()) };
        if self.reaches(agent.tenant, to).await? {
            return Ok(());
        }
        let message = format!(
            "the agent '{}' of '{}' belongs to a tenant that '{}' is not below",
            agent.name, resource.name, to.name
        );
        Err(Error::new(Code::StateConflict, message)
            .hint("connect the machine with a token of that tenant, or of one above both"))
    }

    /// Its backups could not be restored any more.
    async fn check_repository_reaches(&self, id: Uuid, resource: &Resource, to: &Tenant) -> Result<()> {
        let found = if_found(self.ledger.get::<Repository>(&Scope::everything(), id).await)?;
        let Some(repository) = found.map(|r| r.value) else { return Ok(()) };
        let owner = self.ledger.get::<Tenant>(&Scope::everything(), repository.tenant).await?.value;
        let below = Scope::subtree(to).contains(&owner.locator);
        if below || Scope::subtree(&owner).contains(&to.locator) {
            return Ok(());
        }
        let message = format!(
            "backups of '{}' lie in the repository '{}', which '{}' cannot use",
            resource.name, repository.name, to.name
        );
        Err(Error::new(Code::StateConflict, message))
    }

    /// Whether a tenant is another one, or above it.
    async fn reaches(&self, owner: Uuid, to: &Tenant) -> Result<bool> {
        let owner = self.ledger.get::<Tenant>(&Scope::everything(), owner).await?.value;
        Ok(Scope::subtree(&owner).contains(&to.locator))
    }
}
