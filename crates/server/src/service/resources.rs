//! Resources: what is protected. One whose registration was deleted stays known by its id, and is in no list.

use domain::agent::Agent;
use domain::query::{Filter, Query, RecordField, Slice, Test};
use domain::resource::{Registration, Resource, ResourceKind, Sources, check_instance_id};
use domain::tenant::check_name;
use domain::{Caller, Error, Result, Right, Scope, Uuid, if_found};
use ledger::{Expect, Write};

use super::agents::{ATTEMPTS, came_between};
use super::joining::issued_id;
use super::{ResourceView, Service};

/// A resource that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewResource {
    /// The owner; the caller's own tenant by default.
    pub tenant: Option<Uuid>,
    /// The name that the machine or cloud gives it; one is issued by default.
    pub instance_id: Option<String>,
    /// What sort of thing it is.
    pub kind: ResourceKind,
    /// The name people know.
    pub name: String,
    /// The agent that reaches it; the only one there is by default.
    pub agent: Option<Uuid>,
    /// What is read from it.
    pub sources: Sources,
    /// Free-form facts; null = none.
    pub metadata: serde_json::Value,
}

/// A change of a resource; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResourceChange {
    /// The name people know.
    pub name: Option<String>,
    /// Whether policies run for it.
    pub enabled: Option<bool>,
    /// What is read from it.
    pub sources: Option<Sources>,
    /// Free-form facts.
    pub metadata: Option<serde_json::Value>,
    /// Whether a whole recovery point may be written over the system that runs on it.
    pub live_recovery: Option<bool>,
}

impl Service {
    /// Resources that match, with what goes on with each. Deleted ones are there only where `ended_at` is asked for.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn resources(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<ResourceView>> {
        let scope = caller.may(Right::View)?;
        let mut query = query.clone();
        if !query.filter.clauses().iter().any(|c| c.field() == RecordField::EndedAt) {
            query.filter = query.filter.and(RecordField::EndedAt, Test::Absent)?;
        }
        let Slice { items, next, total } = self.ledger.list::<Resource>(scope, &query).await?;
        let items = self.views(scope, items.into_iter().map(|s| s.value).collect()).await?;
        Ok(Slice { items, next, total })
    }

    /// One resource.
    ///
    /// # Errors
    /// `not_found`, also for a deleted one.
    pub async fn resource(&self, caller: &Caller, id: Uuid) -> Result<ResourceView> {
        let scope = caller.may(Right::View)?;
        let resource = self.live_resource(scope, id).await?;
        self.view(scope, resource).await
    }

    /// The resource that somebody names: by its `instance_id`, or else by its id. Deleted ones are known too.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn known_instance(&self, caller: &Caller, name: &str) -> Result<Resource> {
        let scope = caller.may(Right::View)?;
        if let Some(found) = self.ledger.find::<Resource>(scope, name).await? {
            return Ok(found.value);
        }
        let id = Uuid::try_parse(name).map_err(|_| Error::not_found("instance", name))?;
        let found = if_found(self.ledger.get::<Resource>(scope, id).await)?;
        Ok(found.ok_or_else(|| Error::not_found("instance", name))?.value)
    }

    /// As [`Service::known_instance`], for whoever acts on it.
    ///
    /// # Errors
    /// `not_found`, also for a deleted one.
    pub async fn instance(&self, caller: &Caller, name: &str) -> Result<Resource> {
        let found = self.known_instance(caller, name).await?;
        if found.deleted_at.is_some() { Err(Error::not_found("instance", name)) } else { Ok(found) }
    }

    /// How a resource stands that was found before.
    ///
    /// # Errors
    /// `forbidden`, and those of the ledger.
    pub async fn resource_view(&self, caller: &Caller, resource: Resource) -> Result<ResourceView> {
        self.view(caller.may(Right::View)?, resource).await
    }

    /// Registers a resource.
    ///
    /// # Errors
    /// `forbidden` below editor, `invalid_field`, `already_exists`, `not_found` for a tenant or agent.
    pub async fn add_resource(&self, caller: &Caller, new: NewResource) -> Result<ResourceView> {
        let scope = caller.may(Right::Edit)?;
        check_name("name", &new.name)?;
        let id = Uuid::now_v7();
        let instance_id = new.instance_id.unwrap_or_else(issued_id);
        check_instance_id(&instance_id)?;
        new.sources.check(new.kind)?;
        let tenant = new.tenant.unwrap_or(scope.tenant());
        let tenant = self.live_tenant(scope, tenant).await.map_err(|e| e.field("tenant"))?.id;
        let agent = match new.agent {
            Some(agent) => Some(self.ledger.get::<Agent>(scope, agent).await.map_err(|e| e.field("agent"))?.value.id),
            None => self.only_agent(scope).await?,
        };
        let moment = self.moment();
        let resource = Resource {
            id,
            tenant,
            instance_id,
            kind: new.kind,
            name: new.name,
            agent,
            sources: new.sources,
            enabled: true,
            active: true,
            external: false,
            live_recovery: false,
            registration: Registration::Registered,
            registration_details: serde_json::Value::Null,
            last_backup_at: None,
            metadata: new.metadata,
            created_at: moment.now,
            updated_at: moment.now,
            deleted_at: None,
        };
        let resource = self.create_or_revive(caller, scope, resource).await?;
        self.view(scope, resource).await
    }

    /// Writes a new resource, or makes it of the deleted one with the same `instance_id`, whose history goes on.
    async fn create_or_revive(&self, caller: &Caller, scope: &Scope, new: Resource) -> Result<Resource> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            let former = self.ledger.find::<Resource>(scope, &new.instance_id).await?;
            let deleted = former.filter(|f| f.value.deleted_at.is_some() && f.value.tenant == new.tenant);
            let Some(former) = deleted else { return self.create(caller, scope, new).await };
            let revived = new.clone().in_place_of(&former.value);
            let record = revived.into();
            let entry = self.audit(caller, "create", &record);
            let writes = vec![Write::Put(Box::new(record), Expect::Rev(former.rev)), entry];
            match self.ledger.commit(scope, self.moment(), writes).await {
                Err(e) if came_between(&e) && attempts.next().is_some() => {}
                Err(e) => return Err(e),
                Ok(committed) => return super::stamped(committed),
            }
        }
    }

    /// Changes a resource.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `invalid_field`.
    pub async fn change_resource(&self, caller: &Caller, id: Uuid, change: ResourceChange) -> Result<ResourceView> {
        let scope = caller.may(Right::Edit)?;
        if change.live_recovery.is_some() {
            caller.may(Right::Administer)?;
        }
        if let Some(name) = &change.name {
            check_name("name", name)?;
        }
        let resource = self
            .edit::<Resource>(caller, "change", scope, id, |r| {
                if r.deleted_at.is_some() {
                    return Err(Error::not_found("resource", id));
                }
                if let Some(sources) = &change.sources {
                    sources.check(r.kind)?;
                }
                let ResourceChange { name, enabled, sources, metadata, live_recovery } = change.clone();
                r.name = name.unwrap_or_else(|| r.name.clone());
                r.enabled = enabled.unwrap_or(r.enabled);
                r.sources = sources.unwrap_or_else(|| r.sources.clone());
                r.metadata = metadata.unwrap_or_else(|| r.metadata.clone());
                r.live_recovery = live_recovery.unwrap_or(r.live_recovery);
                Ok(())
            })
            .await?;
        if change.enabled.is_some() {
            self.replan_resource(&resource).await?;
        }
        self.view(scope, resource).await
    }

    pub(super) async fn only_agent(&self, scope: &Scope) -> Result<Option<Uuid>> {
        let agents = self.ledger.list::<Agent>(scope, &Query::newest(Filter::all(), 2)).await?.items;
        Ok(match agents.as_slice() {
            [only] => Some(only.value.id),
            _ => None,
        })
    }
}
