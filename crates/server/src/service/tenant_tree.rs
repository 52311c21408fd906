//! Parts of the tree of tenants, with what a tenant's own record does not say: whether there are others below it.

use std::collections::HashSet;

use domain::query::{Direction, Filter, Key, MAX_LIMIT, Order, Page, Pattern, Query, RecordField, Slice, Test, Value};
use domain::tenant::Tenant;
use domain::{Caller, Result, Scope, Uuid};

use super::Service;

/// A part of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// This tenant and everything below it.
    Subtree(Uuid),
    /// The tenants directly below this one.
    Children(Uuid),
}

/// A tenant in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantNode {
    /// The tenant.
    pub tenant: Tenant,
    /// Whether there are tenants below it.
    pub has_children: bool,
}

impl Service {
    /// A part of the tree, oldest first.
    ///
    /// # Errors
    /// `forbidden`, `not_found` when the caller does not see the tenant at its top.
    pub async fn tenant_branch(&self, caller: &Caller, branch: Branch, page: Page) -> Result<Slice<TenantNode>> {
        let (Branch::Subtree(top) | Branch::Children(top)) = branch;
        let top = self.tenant(caller, top).await?;
        let filter = match branch {
            Branch::Subtree(_) => Filter::all(),
            Branch::Children(_) => Filter::all().is(RecordField::Parent, Value::Uuid(top.id))?,
        };
        let filter = filter.and(RecordField::EndedAt, Test::Absent)?;
        let query = Query { filter, order: Order::oldest(), page, total: false };
        let scope = Scope::subtree(&top);
        let slice = self.ledger.list::<Tenant>(&scope, &query).await?;
        let parents = self.parents_among(&scope, slice.items.iter().map(|t| t.value.id).collect()).await?;
        Ok(slice.map(|t| TenantNode { has_children: parents.contains(&t.value.id), tenant: t.value }))
    }

    /// One tenant in its place.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn tenant_node(&self, caller: &Caller, id: Uuid) -> Result<TenantNode> {
        let tenant = self.tenant(caller, id).await?;
        let parents = self.parents_among(&Scope::subtree(&tenant), vec![id]).await?;
        Ok(TenantNode { has_children: !parents.is_empty(), tenant })
    }

    /// Which of these tenants have others below them. Does not read all those others: each answer names at least one
    /// parent more, and the rest of the last one's children is jumped over.
    async fn parents_among(&self, scope: &Scope, ids: Vec<Uuid>) -> Result<HashSet<Uuid>> {
        let mut parents = HashSet::new();
        for part in ids.chunks(domain::query::MAX_VALUES) {
            let wanted = part.iter().map(|id| Pattern::Is(Value::Uuid(*id))).collect();
            let mut query = Query {
                filter: Filter::all()
                    .and(RecordField::Parent, Test::AnyOf(wanted))?
                    .and(RecordField::EndedAt, Test::Absent)?,
                order: Order::by(vec![(RecordField::Parent, Direction::Asc)])?,
                page: Page::first(rows_for(part.len())),
                total: false,
            };
            loop {
                let slice = self.ledger.list::<Tenant>(scope, &query).await?;
                parents.extend(slice.items.iter().filter_map(|t| t.value.parent));
                let last = slice.items.last().and_then(|t| t.value.parent);
                let (Some(_), Some(last)) = (slice.next, last) else { break };
                // The largest id there can be: behind all children of that parent.
                let key = Key(vec![Some(Value::Uuid(last)), Some(Value::Uuid(Uuid::max()))]);
                query.page = Page::After { key: Some(key), limit: rows_for(part.len()) };
            }
        }
        Ok(parents)
    }
}

/// How many children are read at a time to learn about so many parents.
fn rows_for(parents: usize) -> u32 {
    u32::try_from(parents).unwrap_or(MAX_LIMIT).clamp(1, MAX_LIMIT)
}
