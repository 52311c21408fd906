//! Resources: what is protected, and how it stands with them.

use domain::agent::Agent;
use domain::policy::Application;
use domain::query::{Direction, Filter, Order, Page, Pattern, Query, RecordField, Slice, TaskField, Test, Value};
use domain::resource::{MAX_INSTANCE_ID, Registration, Resource, ResourceKind, ResourceStatus, Sources};
use domain::task::{ResultCode, State, Task, kind};
use domain::tenant::{Tenant, check_name};
use domain::{Caller, Code, Error, Result, Right, Scope, Timestamp, Uuid};
use ledger::Write;

use super::Service;

/// A resource that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewResource {
    /// The owner; the caller's own tenant by default.
    pub tenant: Option<Uuid>,
    /// The name that the machine or cloud gives it; made from a uuid by default.
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
}

/// A resource with what is derived from its tasks, policies and agent.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceView {
    /// The resource.
    pub resource: Resource,
    /// What is going on with it.
    pub status: ResourceStatus,
    /// How far the running task is, in percent.
    pub status_progress: Option<u8>,
    /// When a policy backs it up next.
    pub next_backup_at: Option<Timestamp>,
    /// Whether its agent is connected.
    pub online: bool,
}

impl Service {
    /// Resources that match, with what goes on with each.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn resources(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<ResourceView>> {
        let slice = self.ledger.list::<Resource>(caller.may(Right::View)?, query).await?;
        let (next, total) = (slice.next, slice.total);
        let mut items = Vec::with_capacity(slice.items.len());
        for stored in slice.items {
            items.push(self.view(caller.may(Right::View)?, stored.value).await?);
        }
        Ok(Slice { items, next, total })
    }

    /// One resource.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn resource(&self, caller: &Caller, id: Uuid) -> Result<ResourceView> {
        let resource = self.ledger.get::<Resource>(caller.may(Right::View)?, id).await?.value;
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
        let instance_id = new.instance_id.unwrap_or_else(|| id.simple().to_string());
        if instance_id.is_empty() || instance_id.chars().count() > MAX_INSTANCE_ID {
            let message = format!("'instance_id' must have from 1 to {MAX_INSTANCE_ID} characters");
            return Err(Error::invalid("instance_id", message));
        }
        check_sources(&new.sources)?;
        let tenant = new.tenant.unwrap_or(scope.tenant());
        let tenant = self.ledger.get::<Tenant>(scope, tenant).await.map_err(|e| e.field("tenant"))?.value.id;
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
        let resource = self.create(caller, scope, resource).await?;
        self.view(scope, resource).await
    }

    /// Changes a resource.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `invalid_field`.
    pub async fn change_resource(&self, caller: &Caller, id: Uuid, change: ResourceChange) -> Result<ResourceView> {
        let scope = caller.may(Right::Edit)?;
        if let Some(name) = &change.name {
            check_name("name", name)?;
        }
        if let Some(sources) = &change.sources {
            check_sources(sources)?;
        }
        let resource = self
            .edit::<Resource>(caller, "change", scope, id, |r| {
                let ResourceChange { name, enabled, sources, metadata } = change.clone();
                r.name = name.unwrap_or_else(|| r.name.clone());
                r.enabled = enabled.unwrap_or(r.enabled);
                r.sources = sources.unwrap_or_else(|| r.sources.clone());
                r.metadata = metadata.unwrap_or_else(|| r.metadata.clone());
                Ok(())
            })
            .await?;
        self.view(scope, resource).await
    }

    /// Deletes a resource and what policies do for it; its backups stay.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `in_use` while a task of it is open.
    pub async fn delete_resource(&self, caller: &Caller, id: Uuid) -> Result<()> {
        let scope = caller.may(Right::Edit)?;
        let resource = self.ledger.get::<Resource>(scope, id).await?.value;
        if let Some(task) = self.live_tasks(scope, id).await?.first() {
            return Err(Error::new(Code::InUse, format!("task {} of this resource is not done", task.id))
                .hint("wait for it or cancel it first"));
        }
        let filter = Filter::all().is(RecordField::Resource, Value::Uuid(id))?;
        let applications = self.ledger.all::<Application>(scope, filter).await?;
        let mut writes: Vec<_> =
            applications.iter().map(|a| Write::Remove(domain::record::RecordKind::Application, a.value.id)).collect();
        writes.push(Write::Remove(domain::record::RecordKind::Resource, id));
        writes.push(self.audit(caller, "delete", &resource.into()));
        self.ledger.commit(scope, self.moment(), writes).await?;
        Ok(())
    }

    async fn only_agent(&self, scope: &Scope) -> Result<Option<Uuid>> {
        let agents = self.ledger.list::<Agent>(scope, &Query::newest(Filter::all(), 2)).await?.items;
        Ok(match agents.as_slice() {
            [only] => Some(only.value.id),
            _ => None,
        })
    }

    async fn live_tasks(&self, scope: &Scope, resource: Uuid) -> Result<Vec<Task>> {
        let filter = of_resource(resource)?
            .and(TaskField::State, Test::NoneOf(vec![Pattern::Is(Value::Enum(State::Completed.ordinal()))]))?;
        Ok(self.ledger.tasks(scope, &Query::newest(filter, 100)).await?.items)
    }

    async fn view(&self, scope: &Scope, resource: Resource) -> Result<ResourceView> {
        let live = self.live_tasks(scope, resource.id).await?;
        let status = match live.iter().map(|t| t.spec.kind.as_str()).next() {
            Some(kind::BACKUP) => ResourceStatus::BackingUp,
            Some(kind::RECOVERY | kind::FILE_RECOVERY) => ResourceStatus::Recovering,
            Some(_) => ResourceStatus::Other,
            None if self.last_backup_failed(scope, resource.id).await? => ResourceStatus::Failed,
            None => ResourceStatus::Idle,
        };
        let percent = |t: &Task| {
            let p = t.status.progress.as_ref().filter(|p| p.total > 0)?;
            u8::try_from(p.current.saturating_mul(100) / p.total).ok()
        };
        Ok(ResourceView {
            status,
            status_progress: live.first().and_then(percent),
            next_backup_at: self.next_backup_at(scope, resource.id).await?,
            online: resource.agent.is_some_and(|a| self.hub.online(a)),
            resource,
        })
    }

    async fn last_backup_failed(&self, scope: &Scope, resource: Uuid) -> Result<bool> {
        let filter = of_resource(resource)?.is(TaskField::Type, Value::Text(kind::BACKUP.into()))?;
        let last = self.ledger.tasks(scope, &Query::newest(filter, 1)).await?.items;
        let code = last.first().and_then(Task::result).map(|r| r.code);
        Ok(matches!(code, Some(ResultCode::Error | ResultCode::Abandoned | ResultCode::TimedOut)))
    }

    async fn next_backup_at(&self, scope: &Scope, resource: Uuid) -> Result<Option<Timestamp>> {
        let filter = Filter::all()
            .is(RecordField::Resource, Value::Uuid(resource))?
            .and(RecordField::NextRunAt, Test::Present)?;
        let order = Order::by(vec![(RecordField::NextRunAt, Direction::Asc)])?;
        let query = Query { filter, order, page: Page::first(1), total: false };
        let first = self.ledger.list::<Application>(scope, &query).await?.items.into_iter().next();
        Ok(first.and_then(|a| a.value.next_run_at))
    }
}

fn of_resource(id: Uuid) -> Result<Filter<TaskField>> {
    Filter::all().and(TaskField::ResourceId, Test::AnyOf(vec![Pattern::IsUuid(id)]))
}

fn check_sources(sources: &Sources) -> Result<()> {
    for path in &sources.paths {
        if !path.starts_with('/') {
            return Err(Error::invalid("sources.paths", format!("'{path}' is no absolute path"))
                .hint("write the path from the top, like /home"));
        }
    }
    Ok(())
}
