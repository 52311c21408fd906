//! Deleting a resource: its registration ends, and everything that is done for it. Its backups stay, and whoever registers
//! it again goes on where it was (contract for Yandex clients, Y63 and Y64).

use domain::agent::Agent;
use domain::operation::{About, Idempotency, OperationKind};
use domain::policy::Application;
use domain::query::{Filter, MAX_LIMIT, Order, Page, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::record::RecordKind;
use domain::resource::Resource;
use domain::task::{Event, State, Task, TaskRef, kind};
use domain::token::Token;
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};
use ledger::{Expect, Stored, Write};

use super::agents::{ATTEMPTS, came_between};
use super::operations::{Change, OperationView};
use super::resource_views::of_resources;
use super::{Command, Service};

impl Service {
    /// Deletes a resource and what policies do for it; its backups stay.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, `in_use` while a task of it is open.
    pub async fn delete_resource(&self, caller: &Caller, id: Uuid) -> Result<()> {
        let scope = caller.may(Right::Edit)?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let found = self.registered(scope, id).await?;
            if let Some(task) = self.open_tasks(scope, id).await?.first() {
                return Err(Error::new(Code::InUse, format!("task {} of this resource is not done", task.id))
                    .hint("wait for it or cancel it first"));
            }
            let entry = self.audit(caller, "delete", &found.value.clone().into());
            let mut writes = self.unregistration(caller, scope, found).await?;
            writes.push(entry);
            match self.ledger.commit(scope, self.moment(), writes).await {
                Err(e) if came_between(&e) && attempts.next().is_some() => {}
                other => return other.map(|_| ()),
            }
        }
    }

    /// Takes a resource out, whatever is done with it: what waits is cancelled, and what runs is asked to stop.
    ///
    /// # Errors
    /// `forbidden` below editor, `not_found`, also for a deleted one.
    pub async fn unregister(&self, caller: &Caller, id: Uuid, key: Option<Idempotency>) -> Result<OperationView> {
        let scope = caller.may(Right::Edit)?;
        let agent = self.registered(scope, id).await?.value.agent;
        let done = self.operate(caller, scope, key, || async {
            let found = self.registered(scope, id).await?;
            let Resource { tenant, instance_id, name, .. } = found.value.clone();
            let about = About { resource: Some(id), instance_id, ..About::default() };
            let mut change = Change::new(OperationKind::DeleteResource, tenant, about, (id, name));
            change.writes = self.unregistration(caller, scope, found).await?;
            Ok(change)
        });
        let done = done.await?;
        // An agent that has something to stop is cut off a little later, so that it can still say that it did.
        if let Some(agent) = agent
            && self.open_tasks(scope, id).await?.is_empty()
        {
            self.hub.tell(agent, Command::Wake);
        }
        Ok(done)
    }

    /// A resource that takes part, with its revision.
    pub(super) async fn registered(&self, scope: &Scope, id: Uuid) -> Result<Stored<Resource>> {
        let found = self.ledger.get::<Resource>(scope, id).await?;
        if found.value.deleted_at.is_some() { Err(Error::not_found("resource", id)) } else { Ok(found) }
    }

    /// What is to be written for a resource to be deleted.
    async fn unregistration(&self, caller: &Caller, scope: &Scope, found: Stored<Resource>) -> Result<Vec<Write>> {
        let Stored { rev, value: resource } = found;
        let id = resource.id;
        let mut writes = self.cutting_off(&resource).await?;
        let deleted = resource.unregistered(self.moment().now);
        writes.insert(0, Write::Put(Box::new(deleted.into()), Expect::Rev(rev)));
        let filter = Filter::all().is(RecordField::Resource, Value::Uuid(id))?;
        for application in self.ledger.all::<Application>(scope, filter).await? {
            writes.push(Write::Remove(RecordKind::Application, application.value.id));
        }
        for task in self.open_tasks(scope, id).await? {
            // Deleting backups needs no machine, and somebody wanted it.
            let of_backups = matches!(task.spec.kind.as_str(), kind::BACKUP_DELETION | kind::ARCHIVE_DELETION);
            let can_be = task.state() == State::Enqueued || task.spec.rules.cancellable;
            if can_be && !of_backups {
                writes.push(Write::Task(TaskRef::Id(task.id), Event::Cancel { by: caller.name.clone() }));
            }
        }
        Ok(writes)
    }

    /// What is to be written for the agent of a machine that joined: it is let in no longer, unless it reaches others too.
    async fn cutting_off(&self, resource: &Resource) -> Result<Vec<Write>> {
        let everything = Scope::everything();
        let Some(agent) = resource.agent else { return Ok(Vec::new()) };
        let Some(agent) = if_found(self.ledger.get::<Agent>(&everything, agent).await)? else { return Ok(Vec::new()) };
        let Some(Stored { rev, value: mut token }) =
            if_found(self.ledger.get::<Token>(&everything, agent.value.token).await)?
        else {
            return Ok(Vec::new());
        };
        let reaches = Filter::all()
            .is(RecordField::Agent, Value::Uuid(agent.value.id))?
            .and(RecordField::EndedAt, Test::Absent)?;
        let reached = self.ledger.list::<Resource>(&everything, &Query::newest(reaches, 2)).await?.items;
        if token.resource != Some(resource.id) || reached.iter().any(|r| r.value.id != resource.id) {
            return Ok(Vec::new());
        }
        token.revoked_at.get_or_insert(self.moment().now);
        Ok(vec![Write::Put(Box::new(token.into()), Expect::Rev(rev)), Write::Remove(RecordKind::Agent, agent.value.id)])
    }

    /// The tasks of a resource that are not completed, newest first.
    async fn open_tasks(&self, scope: &Scope, resource: Uuid) -> Result<Vec<Task>> {
        let open = Test::NoneOf(vec![Pattern::Is(Value::Enum(State::Completed.ordinal()))]);
        let filter = of_resources(&[resource])?.and(TaskField::State, open)?;
        let mut query = Query { filter, order: Order::newest(), page: Page::first(MAX_LIMIT), total: false };
        let mut tasks = Vec::new();
        loop {
            let slice = self.ledger.tasks(scope, &query).await?;
            tasks.extend(slice.items);
            match slice.next {
                Some(key) => query.page = Page::After { key: Some(key), limit: MAX_LIMIT },
                None => return Ok(tasks),
            }
        }
    }
}
