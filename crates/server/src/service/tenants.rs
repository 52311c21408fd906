//! Tenants: the tree of owners.

use std::collections::HashMap;

use domain::policy::Policy;
use domain::policy::sets::AGENT_ZONE;
use domain::query::{Filter, Pattern, Query, RecordField, Slice, Test, Value};
use domain::tenant::{Tenant, TenantRef};
use domain::{Caller, Code, Error, Result, Right, Scope, Uuid, if_found};

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
    /// The zone of schedules that came through another API without one; empty = UTC.
    pub schedule_time_zone: Option<String>,
}

impl Service {
    /// Tenants of the caller's subtree that match.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn tenants(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<Tenant>> {
        Ok(self.ledger.list::<Tenant>(caller.may(Right::View)?, query).await?.map(|s| s.value))
    }

    /// One tenant.
    ///
    /// # Errors
    /// `not_found`.
    pub async fn tenant(&self, caller: &Caller, id: Uuid) -> Result<Tenant> {
        Ok(self.ledger.get::<Tenant>(caller.may(Right::View)?, id).await?.value)
    }

    /// The tenants with these ids, of those that the caller sees.
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
        Ok(found.map(|t| t.value))
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
    /// `forbidden` below admin, `not_found` for the parent, `invalid_field`.
    pub async fn create_tenant(&self, caller: &Caller, new: NewTenant) -> Result<Tenant> {
        let scope = caller.may(Right::Administer)?;
        let parent = new.parent.unwrap_or(scope.tenant());
        let parent = self.ledger.get::<Tenant>(scope, parent).await.map_err(|e| e.field("parent"))?.value;
        loop {
            let number = self.next_tenant_number().await?;
            let mut tenant = parent.child(Uuid::now_v7(), number, &new.name, self.moment().now)?;
            tenant.description.clone_from(&new.description);
            match self.create(caller, scope, tenant).await {
                // Two tenants were made at once and this number is taken: take the next.
                Err(e) if e.code == Code::AlreadyExists => {}
                other => return other,
            }
        }
    }

    /// Changes a tenant; runs that its time zone decides on are planned anew.
    ///
    /// # Errors
    /// `forbidden` below admin, `not_found`, `invalid_field`.
    pub async fn change_tenant(&self, caller: &Caller, id: Uuid, change: TenantChange) -> Result<Tenant> {
        let scope = caller.may(Right::Administer)?;
        let Some(zone) = change.schedule_time_zone else {
            return Ok(self.ledger.get::<Tenant>(scope, id).await?.value);
        };
        if !matches!(zone.as_str(), "" | AGENT_ZONE) {
            time_zone(&zone).map_err(|e| e.field("schedule_time_zone"))?;
        }
        let zone = Some(zone).filter(|zone| !zone.is_empty());
        let tenant = self
            .edit::<Tenant>(caller, "change", scope, id, |t| {
                t.schedule_time_zone.clone_from(&zone);
                Ok(())
            })
            .await?;
        let filter = Filter::all().is(RecordField::Tenant, Value::Uuid(id))?;
        for policy in self.ledger.all::<Policy>(scope, filter).await? {
            self.replan(&policy.value).await?;
        }
        self.nudge();
        Ok(tenant)
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
