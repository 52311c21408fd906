//! Tenants as organizational units: they are made, changed and deleted together with what moves in and out, and where that is
//! wished a task tells of it. Such a task lies in the tenant above, so that it is there also when its own is gone.

use std::collections::HashSet;

use domain::policy::Policy;
use domain::query::{Filter, Query, RecordField, TaskField, Test, Value};
use domain::resource::{Resource, ResourceKind};
use domain::task::{Entity, Task, kind};
use domain::tenant::Tenant;
use domain::{Caller, Code, Error, Result, Right, Scope, Timestamp, Uuid};
use ledger::{Committed, Expect, Stored, Write};

use super::asked::Asked;
use super::moving::Refused;
use super::server_tasks::{SERVER_QUEUE, server_task, told_by, untold};
use super::tenants::{deleted, number_taken};
use super::{NewTenant, Service, TenantChange};

/// The type under which a tenant stands on the tasks about it.
pub const UNIT: &str = "organizational_unit";

/// How often a commit is tried anew when somebody else came between.
const ATTEMPTS: usize = 10;

/// What becomes of a tenant and of resources.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UnitChange {
    /// Of the tenant itself.
    pub tenant: TenantChange,
    /// Resources that move into it, as the request names them in this order.
    pub add: Vec<Uuid>,
    /// Resources that move from it to the tenant above.
    pub remove: Vec<Uuid>,
    /// Only if it was last changed then.
    pub unchanged_since: Option<Timestamp>,
}

/// A tenant with what is below it and in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    /// The tenant.
    pub tenant: Tenant,
    /// How many tenants are directly below it.
    pub children: u64,
    /// All tenants below it, those above others first.
    pub descendants: Vec<Uuid>,
    /// The kinds of the resources in it.
    pub kinds: HashSet<ResourceKind>,
    /// Whether it can be deleted as it is.
    pub deletable: bool,
    /// The newest task about it that the caller can see.
    pub task: Option<Task>,
}

/// The tenants that a caller sees, those above others first.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitTree(Vec<Tenant>);

impl UnitTree {
    /// The tenants.
    #[must_use]
    pub fn tenants(&self) -> &[Tenant] {
        &self.0
    }

    /// All tenants below this one: they stand right behind it.
    fn below(&self, tenant: &Tenant) -> &[Tenant] {
        let Some(own) = self.0.iter().position(|t| t.id == tenant.id) else { return &[] };
        let scope = Scope::subtree(tenant);
        let behind = &self.0[own + 1..];
        &behind[..behind.iter().take_while(|t| scope.contains(&t.locator)).count()]
    }
}

impl Service {
    /// All tenants that the caller sees.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn unit_tree(&self, caller: &Caller) -> Result<UnitTree> {
        let live = Filter::all().and(RecordField::EndedAt, Test::Absent)?;
        let found = self.ledger.all::<Tenant>(caller.may(Right::View)?, live).await?;
        let mut tenants: Vec<Tenant> = found.into_iter().map(|t| t.value).collect();
        tenants.sort_by_cached_key(place);
        Ok(UnitTree(tenants))
    }

    /// A tenant of the tree with what is below it and in it.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn unit(&self, caller: &Caller, tree: &UnitTree, tenant: &Tenant) -> Result<Unit> {
        let scope = caller.may(Right::View)?;
        let below = tree.below(tenant);
        let of_tenant = Filter::all().is(RecordField::Tenant, Value::Uuid(tenant.id))?;
        let mut kinds = HashSet::new();
        for kind in ResourceKind::ALL {
            let filter = of_tenant
                .clone()
                .is(RecordField::Kind, Value::Text(kind.name().to_owned()))?
                .and(RecordField::EndedAt, Test::Absent)?;
            if !self.ledger.list::<Resource>(scope, &Query::newest(filter, 1)).await?.items.is_empty() {
                kinds.insert(*kind);
            }
        }
        let policies = self.ledger.list::<Policy>(scope, &Query::newest(of_tenant, 1)).await?.items;
        let empty = below.is_empty() && kinds.is_empty() && policies.is_empty();
        let told = Filter::all()
            .is(TaskField::Tag, Value::Text(tag(tenant.id)))?
            .is(TaskField::Queue, Value::Text(SERVER_QUEUE.to_owned()))?
            .and(TaskField::DeletedAt, Test::Absent)?;
        Ok(Unit {
            children: below.iter().filter(|t| t.parent == Some(tenant.id)).count() as u64,
            descendants: below.iter().map(|t| t.id).collect(),
            deletable: empty && tenant.parent.is_some() && tenant.id != caller.tenant(),
            kinds,
            task: self.ledger.tasks(scope, &Query::newest(told, 1)).await?.items.pop(),
            tenant: tenant.clone(),
        })
    }

    /// Makes a tenant and moves resources into it, and tells of the moves by a task.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found` for the parent, `invalid_field`, `already_exists` for a name that another tenant
    /// below the same one has; for a resource `not_found` and what [`Service::move_resource`] refuses.
    pub async fn create_unit(
        &self,
        caller: &Caller,
        new: NewTenant,
        add: &[Uuid],
        asked: &Asked,
    ) -> Result<(Tenant, Option<Task>), Refused> {
        let scope = caller.may(Right::Administer)?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let tenant = self.new_tenant(scope, &new).await?;
            let record = tenant.clone().into();
            let entry = self.audit(caller, "create", &record);
            let mut writes = vec![Write::Put(Box::new(record), Expect::New), entry];
            writes.extend(self.moves(caller, scope, &tenant, add, &[]).await?);
            if !add.is_empty() {
                let kind = kind::ORGANIZATIONAL_UNIT_CREATE;
                writes.extend(self.unit_task(caller, kind, "Creating", &tenant, asked).await?);
            }
            let committed = self.ledger.commit(scope, self.moment(), writes).await;
            self.tenants.changed();
            match committed {
                Err(e) if (number_taken(&e) || e.code == Code::RevisionConflict) && attempts.next().is_some() => {}
                Err(e) => return Err(e.into()),
                Ok(committed) => return Ok(self.unit_changed(committed)?),
            }
        }
    }

    /// Changes a tenant and moves resources in and out, and tells of the moves by a task.
    ///
    /// # Errors
    /// As [`Service::create_unit`]; `revision_conflict` when it was changed since.
    pub async fn change_unit(
        &self,
        caller: &Caller,
        id: Uuid,
        change: &UnitChange,
        asked: &Asked,
    ) -> Result<(Tenant, Option<Task>), Refused> {
        let scope = caller.may(Right::Administer)?;
        change.tenant.check()?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let Stored { rev, value: mut tenant } = self.stored_tenant(scope, id).await?;
            check_unchanged(&tenant, change.unchanged_since)?;
            let before = tenant.clone();
            change.tenant.apply(&mut tenant);
            if tenant == before && change.add.is_empty() && change.remove.is_empty() {
                // Whoever looked at it before need not look again.
                return Ok((tenant, None));
            }
            let record = tenant.clone().into();
            let entry = self.audit(caller, "change", &record);
            let mut writes = vec![Write::Put(Box::new(record), Expect::Rev(rev)), entry];
            writes.extend(self.moves(caller, scope, &tenant, &change.add, &change.remove).await?);
            if !change.add.is_empty() || !change.remove.is_empty() {
                let kind = kind::ORGANIZATIONAL_UNIT_UPDATE;
                writes.extend(self.unit_task(caller, kind, "Changing", &tenant, asked).await?);
            }
            let committed = self.ledger.commit(scope, self.moment(), writes).await;
            self.tenants.changed();
            match committed {
                Err(e) if e.code == Code::RevisionConflict && attempts.next().is_some() => {}
                Err(e) => return Err(e.into()),
                Ok(committed) => return Ok(self.unit_changed(committed)?),
            }
        }
    }

    /// Deletes a tenant, and tells of it by a task.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`, `in_use`, `revision_conflict` when it was changed since.
    pub async fn delete_unit(
        &self,
        caller: &Caller,
        id: Uuid,
        unchanged_since: Option<Timestamp>,
        asked: &Asked,
    ) -> Result<Task> {
        let scope = caller.may(Right::Administer)?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let Stored { rev, value: tenant } = self.stored_tenant(scope, id).await?;
            check_unchanged(&tenant, unchanged_since)?;
            let gone = deleted(caller, tenant.clone(), self.moment().now)?.into();
            let entry = self.audit(caller, "delete", &gone);
            let mut writes = vec![Write::Put(Box::new(gone), Expect::Rev(rev)), entry];
            let kind = kind::ORGANIZATIONAL_UNIT_DELETE;
            writes.extend(self.unit_task(caller, kind, "Deleting", &tenant, asked).await?);
            let committed = self.ledger.commit(scope, self.moment(), writes).await;
            self.tenants.changed();
            match committed {
                Err(e) if e.code == Code::RevisionConflict && attempts.next().is_some() => {}
                Err(e) => return Err(e),
                Ok(committed) => {
                    let (_, task) = self.unit_changed(committed)?;
                    return task.ok_or_else(untold);
                }
            }
        }
    }

    /// What moving resources into a tenant and out of it writes: all, or what stands in the way of each.
    async fn moves(
        &self,
        caller: &Caller,
        scope: &Scope,
        tenant: &Tenant,
        add: &[Uuid],
        remove: &[Uuid],
    ) -> Result<Vec<Write>, Refused> {
        let above = match tenant.parent {
            Some(parent) if !remove.is_empty() => domain::if_found(self.stored_tenant(scope, parent).await)?,
            _ => None,
        };
        let (mut writes, mut refused, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        let wanted = add.iter().map(|id| (id, true)).chain(remove.iter().map(|id| (id, false)));
        for (place, (id, inwards)) in wanted.enumerate() {
            if !seen.insert(*id) {
                refused.push((place, Error::invalid("id", format!("the resource '{id}' is named twice"))));
                continue;
            }
            let to = if inwards { Some(tenant) } else { above.as_ref().map(|t| &t.value) };
            let done = async {
                let found = self.registered(scope, *id).await?;
                let resource = found.value.clone();
                if !inwards && resource.tenant != tenant.id {
                    let message = format!("the resource '{}' is not in '{}'", resource.name, tenant.name);
                    return Err(Error::new(Code::StateConflict, message));
                }
                let Some(to) = to else {
                    let message =
                        format!("there is no tenant above '{}' that '{}' could move to", tenant.name, resource.name);
                    return Err(Error::new(Code::StateConflict, message));
                };
                let mut moved = self.moved(found, to).await?;
                if !moved.is_empty() {
                    moved.push(self.moving_entry(caller, &resource, to));
                }
                Ok(moved)
            };
            match done.await {
                Ok(moved) => writes.extend(moved),
                Err(e) if e.code.kind() == domain::error::Kind::Internal => return Err(e.into()),
                Err(e) => refused.push((place, e)),
            }
        }
        Refused::of(refused)?;
        Ok(writes)
    }

    /// The task about a tenant, done with the commit that makes it.
    async fn unit_task(
        &self,
        caller: &Caller,
        kind: &str,
        doing: &str,
        tenant: &Tenant,
        asked: &Asked,
    ) -> Result<impl Iterator<Item = Write>> {
        let above = match tenant.parent {
            Some(parent) => domain::if_found(self.live_tenant(caller.scope(), parent).await)?,
            None => None,
        };
        let lies_in = above.map_or(tenant.id, |t| t.id);
        let mut spec = server_task(caller, kind, lies_in, &format!("{doing} '{}'", tenant.name));
        spec.parent_entity = Some(Entity::ours(tenant.id, UNIT, &tenant.name));
        spec.tags = vec![tag(tenant.id).into()];
        Ok(told_by(spec, asked))
    }

    /// The tenant and the task as a commit left them.
    fn unit_changed(&self, committed: Committed) -> Result<(Tenant, Option<Task>)> {
        let task = self.told(&committed);
        Ok((super::stamped(committed)?, task))
    }
}

/// The label by which the tasks about a tenant are found.
fn tag(tenant: Uuid) -> String {
    format!("{UNIT}:{tenant}")
}

/// Where a tenant stands in the tree, for an order with parents first: the numbers on the way down to it.
fn place(tenant: &Tenant) -> Vec<i64> {
    tenant.locator.split('/').filter_map(|n| n.parse().ok()).collect()
}

fn check_unchanged(tenant: &Tenant, since: Option<Timestamp>) -> Result<()> {
    match since {
        Some(since) if since != tenant.updated_at => {
            Err(Error::new(Code::RevisionConflict, "the tenant was changed by somebody else meanwhile"))
        }
        _ => Ok(()),
    }
}
