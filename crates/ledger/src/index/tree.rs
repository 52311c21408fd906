//! Where tenants stand: a subtree is one run of ranks, and the order of two tenants never changes.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use domain::query::Cell;
use domain::{Scope, Uuid};

use super::dictionary::Dictionary;

/// The tenants by their locators. Below a locator are those that begin like it, so they lie side by side; a new tenant
/// comes between others, and none ever moves.
#[derive(Debug, Default)]
pub(super) struct Tree {
    by_locator: BTreeMap<String, Uuid>,
    locators: HashMap<Uuid, String>,
    /// The rank of each tenant, by its number in the dictionary.
    ranks: Vec<u32>,
    changed: bool,
}

impl Tree {
    pub(super) fn put(&mut self, tenant: Uuid, locator: String) {
        if self.locators.get(&tenant) == Some(&locator) {
            return;
        }
        self.by_locator.insert(locator.clone(), tenant);
        if let Some(before) = self.locators.insert(tenant, locator) {
            self.by_locator.remove(&before);
        }
        self.changed = true;
    }

    /// Brings the ranks up to date with the tenants and the dictionary.
    pub(super) fn refresh(&mut self, dictionary: &Dictionary) {
        if !self.changed && self.ranks.len() == dictionary.last() as usize + 1 {
            return;
        }
        self.ranks = vec![u32::MAX; dictionary.last() as usize + 1];
        for (rank, tenant) in (0..).zip(self.by_locator.values()) {
            if let Some(number) = dictionary.number(Cell::Uuid(*tenant)) {
                self.ranks[number as usize] = rank;
            }
        }
        self.changed = false;
    }

    pub(super) fn ranks(&self) -> &[u32] {
        &self.ranks
    }

    /// The ranks of the tenants in a scope; none for the scope that holds everything.
    pub(super) fn part(&self, scope: &Scope, dictionary: &Dictionary) -> Option<Range<u32>> {
        if scope.is_everything() {
            return None;
        }
        let inside = || self.by_locator.range(scope.locator().to_owned()..).take_while(|(l, _)| scope.contains(l));
        let rank = |tenant: &Uuid| {
            let number = dictionary.number(Cell::Uuid(*tenant))?;
            self.ranks.get(number as usize).copied()
        };
        let ranks: Vec<u32> = inside().filter_map(|(_, t)| rank(t)).collect();
        Some(match (ranks.first(), ranks.last()) {
            (Some(first), Some(last)) => *first..*last + 1,
            _ => 0..0,
        })
    }

    pub(super) fn tenants(&self) -> impl Iterator<Item = (&Uuid, &String)> {
        self.locators.iter()
    }

    pub(super) fn bytes(&self) -> usize {
        self.ranks.capacity() * 4 + self.locators.values().map(|l| 2 * l.len() + 160).sum::<usize>()
    }
}
