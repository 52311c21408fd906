//! Tenants that were shown lately. Each page of a list names the tenants of its rows, up to a thousand of them, and they
//! hardly ever change; a change through the services makes all be read anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Uuid;
use domain::tenant::Tenant;

/// How many are remembered; beyond it all are forgotten, which costs one look each.
const MOST: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct KnownTenants(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    changes: u64,
    known: HashMap<Uuid, Tenant>,
}

/// How often tenants had changed when somebody looked: what was read since is remembered only if none has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u64);

impl KnownTenants {
    /// Those of these that are known, and what to give back with those that are read then.
    pub(super) fn known(&self, ids: &[Uuid]) -> (HashMap<Uuid, Tenant>, Seen) {
        let state = self.lock();
        let known = ids.iter().filter_map(|id| state.known.get(id).map(|tenant| (*id, tenant.clone())));
        (known.collect(), Seen(state.changes))
    }

    pub(super) fn remember(&self, seen: Seen, tenants: &[Tenant]) {
        let mut state = self.lock();
        if Seen(state.changes) != seen {
            return;
        }
        if state.known.len() + tenants.len() > MOST {
            state.known.clear();
        }
        state.known.extend(tenants.iter().map(|tenant| (tenant.id, tenant.clone())));
    }

    /// To be called after every change of a tenant, before anybody is told of it.
    pub(super) fn changed(&self) {
        let mut state = self.lock();
        state.changes += 1;
        state.known.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A map is whole between two calls, and nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::*;

    #[test]
    fn what_was_read_before_a_change_is_not_remembered_after_it() {
        let (known, tenant) = (KnownTenants::default(), Tenant::root("root", "UTC", Timestamp::UNIX_EPOCH));
        let looked = |known: &KnownTenants| known.known(&[tenant.id]);
        let (found, before) = looked(&known);
        assert!(found.is_empty());
        known.changed();
        known.remember(before, std::slice::from_ref(&tenant));
        let (found, since) = looked(&known);
        assert!(found.is_empty(), "it may be the tenant as it was");
        known.remember(since, std::slice::from_ref(&tenant));
        assert_eq!(looked(&known).0.get(&tenant.id), Some(&tenant));
        known.changed();
        assert!(looked(&known).0.is_empty());
    }
}
