//! Tenants that were shown lately. Each page of a list names the tenants of its rows, up to a thousand of them, and they
//! hardly ever change; a change through the services takes a tenant out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Uuid;
use domain::tenant::Tenant;

/// How many are remembered; beyond it all are forgotten, which costs one look each.
const MOST: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct KnownTenants(Mutex<HashMap<Uuid, Tenant>>);

impl KnownTenants {
    /// Those of these that are known.
    pub(super) fn known(&self, ids: &[Uuid]) -> HashMap<Uuid, Tenant> {
        let known = self.lock();
        ids.iter().filter_map(|id| known.get(id).map(|tenant| (*id, tenant.clone()))).collect()
    }

    pub(super) fn remember(&self, tenants: &[Tenant]) {
        let mut known = self.lock();
        if known.len() + tenants.len() > MOST {
            known.clear();
        }
        known.extend(tenants.iter().map(|tenant| (tenant.id, tenant.clone())));
    }

    /// To be called after every change of a tenant, before anybody is told of it.
    pub(super) fn forget(&self, id: Uuid) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Tenant>> {
        // A map is whole between two calls, and nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
