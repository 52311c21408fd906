//! Tenants: the tree of owners.

use std::collections::HashMap;

use domain::policy::Policy;
use domain::policy::sets::AGENT_ZONE;
use domain::query::{Filter, Pattern, Query, RecordField, Slice, Test, Value};
use domain::tenant::{Tenant, TenantRef, check_name};
use domain::{Caller, Code, Error, Result, Right, Scope, Timestamp, Uuid, if_found};
use ledger::{Expect, Stored, Write};

use super::Service;
use super::zones::time_zone;

/// A tenant that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTenant {
    /// The tenant above; the caller's own by default.
    pub parent: Option<Uuid>,
    /// The name.
    pub name: String,
    /// Free text.
    pub description: String,
}

/// A change of a tenant; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TenantChange {
    /// The name.
    pub name: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// The zone of schedules that came through another API without one; empty = UTC.
    pub schedule_time_zone: Option<String>,
}

impl Service {
    /// Tenants of the caller's subtree that match. Deleted ones are there only where `ended_at` is asked for.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn tenants(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<Tenant>> {
        let mut query = query.clone();
        if !query.filter.clauses().iter().any(|c| c.field() == RecordField::EndedAt) {
            query.filter = query.filter.and(RecordField::EndedAt, Test::Absent)?;
        }
        Ok(self.ledger.list::<Tenant>(caller.may(Right::View)?, &query).await?.map(|s| s.value))
    }

    /// One tenant.
    ///
    /// # Errors
    /// `not_found`, also for a deleted one.
    pub async fn tenant(&self, caller: &Caller, id: Uuid) -> Result<Tenant> {
        self.live_tenant(caller.may(Right::View)?, id).await
    }

    /// A tenant that was not deleted.
    pub(super) async fn live_tenant(&self, scope: &Scope, id: Uuid) -> Result<Tenant> {
        Ok(self.stored_tenant(scope, id).await?.value)
    }

    pub(super) async fn stored_tenant(&self, scope: &Scope, id: Uuid) -> Result<Stored<Tenant>> {
        let found = self.ledger.get::<Tenant>(scope, id).await?;
        if found.value.deleted_at.is_some() { Err(Error::not_found("tenant", id)) } else { Ok(found) }
    }

    /// The tenants with these ids, of those that the caller sees; deleted ones too, because history names them.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn tenants_by_id(
        &self,
        caller: &Caller,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<HashMap<Uuid, Tenant>> {
        let scope = caller.scope();
        let mut ids: Vec<Uuid> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let (mut tenants, seen) = self.tenants.known(&ids);
        ids.retain(|id| !tenants.contains_key(id));
        for part in ids.chunks(domain::query::MAX_VALUES) {
            let wanted = part.iter().map(|id| Pattern::Is(Value::Uuid(*id))).collect();
            let filter = Filter::all().and(RecordField::Id, Test::AnyOf(wanted))?;
            let found = self.ledger.all::<Tenant>(scope, filter).await?;
            let found: Vec<Tenant> = found.into_iter().map(|t| t.value).collect();
            self.tenants.remember(seen, &found);
            tenants.extend(found.into_iter().map(|t| (t.id, t)));
        }
        tenants.retain(|_, tenant| scope.contains(&tenant.locator));
        Ok(tenants)
    }

    /// The tenant that is meant, if the caller sees it.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn find_tenant(&self, caller: &Caller, tenant: TenantRef) -> Result<Option<Tenant>> {
        let scope = caller.scope();
        let found = match tenant {
            TenantRef::Id(id) => if_found(self.ledger.get::<Tenant>(scope, id).await)?,
            TenantRef::Number(number) => self.ledger.find::<Tenant>(scope, &number.to_string()).await?,
        };
        Ok(found.map(|t| t.value).filter(|t| t.deleted_at.is_none()))
    }

    /// The same caller, looking at this tenant and what is below it only; none if he does not see it.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn acting_in(&self, caller: &Caller, tenant: Uuid) -> Result<Option<Caller>> {
        if tenant == caller.tenant() {
            return Ok(Some(caller.clone()));
        }
        let found = self.find_tenant(caller, TenantRef::Id(tenant)).await?;
        Ok(found.and_then(|tenant| caller.acting_in(&tenant)))
    }

    /// Makes a tenant below the caller's or another one in its subtree.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found` for the parent, `invalid_field`, `already_exists` for a name that another tenant
    /// below the same one has.
    pub async fn create_tenant(&self, caller: &Caller, new: NewTenant) -> Result<Tenant> {
        let scope = caller.may(Right::Administer)?;
        loop {
            let tenant = self.new_tenant(scope, &new).await?;
            match self.create(caller, scope, tenant).await {
                Err(e) if number_taken(&e) => {}
                other => return other,
            }
        }
    }

    /// The tenant that a wish makes; it is not stored yet. Another one may come to have its number first, see
    /// [`number_taken`].
    pub(super) async fn new_tenant(&self, scope: &Scope, new: &NewTenant) -> Result<Tenant> {
        let parent = new.parent.unwrap_or(scope.tenant());
        let parent = self.live_tenant(scope, parent).await.map_err(|e| e.field("parent"))?;
        let number = self.next_tenant_number().await?;
        let mut tenant = parent.child(Uuid::now_v7(), number, &new.name, self.moment().now)?;
        tenant.description.clone_from(&new.description);
        Ok(tenant)
    }

    /// Changes a tenant; runs that its time zone decides on are planned anew.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`, `invalid_field`, `already_exists` for a name that another tenant below the same
    /// one has.
    pub async fn change_tenant(&self, caller: &Caller, id: Uuid, change: TenantChange) -> Result<Tenant> {
        let scope = caller.may(Right::Administer)?;
        if change == TenantChange::default() {
            return self.live_tenant(scope, id).await;
        }
        change.check()?;
        let tenant = self
            .edit::<Tenant>(caller, "change", scope, id, |t| {
                if t.deleted_at.is_some() {
                    return Err(Error::not_found("tenant", id));
                }
                change.apply(t);
                Ok(())
            })
            .await?;
        if change.schedule_time_zone.is_some() {
            let filter = Filter::all().is(RecordField::Tenant, Value::Uuid(id))?;
            for policy in self.ledger.all::<Policy>(scope, filter).await? {
                self.replan(&policy.value).await?;
            }
            self.nudge();
        }
        Ok(tenant)
    }

    /// Deletes a tenant that has nothing below it, no resources and no policies. What happened in it stays known to those
    /// above, and its credentials are let in no longer.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`, `in_use`, also for the one that the caller itself belongs to.
    pub async fn delete_tenant(&self, caller: &Caller, id: Uuid) -> Result<()> {
        let scope = caller.may(Right::Administer)?;
        loop {
            let Stored { rev, value } = self.stored_tenant(scope, id).await?;
            let gone = deleted(caller, value, self.moment().now)?.into();
            let entry = self.audit(caller, "delete", &gone);
            // The entry belongs to the tenant above, which the caller sees because this one is not its own.
            let writes = vec![Write::Put(Box::new(gone), Expect::Rev(rev)), entry];
            let committed = self.ledger.commit(scope, self.moment(), writes).await;
            self.tenants.changed();
            match committed {
                Err(e) if e.code == Code::RevisionConflict => {}
                other => return other.map(drop),
            }
        }
    }

    async fn next_tenant_number(&self) -> Result<i64> {
        use domain::query::{Direction, Filter, Order, Page};
        let order = Order::by(vec![(RecordField::Number, Direction::Desc)])?;
        let query = Query { filter: Filter::all(), order, page: Page::first(1), total: false };
        // Numbers are the server's, so the largest one is looked for everywhere; nothing of its tenant is shown.
        let slice = self.ledger.list::<Tenant>(&Scope::everything(), &query).await?;
        let largest = slice.items.first().map_or(0, |t| t.value.number);
        largest.checked_add(1).ok_or_else(|| Error::new(Code::Internal, "tenant numbers are used up"))
    }
}

impl TenantChange {
    /// Checks what it says.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(name) = &self.name {
            check_name("name", name)?;
        }
        match self.schedule_time_zone.as_deref() {
            None | Some("" | AGENT_ZONE) => Ok(()),
            Some(zone) => time_zone(zone).map(drop).map_err(|e| e.field("schedule_time_zone")),
        }
    }

    /// The change itself.
    pub(super) fn apply(&self, tenant: &mut Tenant) {
        let TenantChange { name, description, schedule_time_zone: zone } = self.clone();
        tenant.name = name.unwrap_or_else(|| tenant.name.clone());
        tenant.description = description.unwrap_or_else(|| tenant.description.clone());
        if let Some(zone) = zone {
            tenant.schedule_time_zone = Some(zone).filter(|zone| !zone.is_empty());
        }
    }
}

/// The tenant as it is when it was deleted. That it holds nothing is seen to by the ledger.
///
/// # Errors
/// `in_use` for the tenant that the caller belongs to.
pub(super) fn deleted(caller: &Caller, tenant: Tenant, now: Timestamp) -> Result<Tenant> {
    if tenant.parent.is_none() {
        return Err(Error::new(Code::InUse, "the tenant at the top cannot be deleted"));
    }
    if tenant.id == caller.tenant() {
        let message = format!("the tenant '{}' is the caller's own", tenant.name);
        return Err(Error::new(Code::InUse, message).hint("use a credential of a tenant above it"));
    }
    Ok(Tenant { deleted_at: Some(now), ..tenant })
}

/// Whether two tenants were made at once and a number is taken: the next one is to be tried.
pub(super) fn number_taken(error: &Error) -> bool {
    error.code == Code::AlreadyExists && error.field.is_none()
}
