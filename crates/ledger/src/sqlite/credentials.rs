//! Who calls, and for which tenant: every request asks for these few records, and to read them costs more than most answers.
//! They are kept as long as no commit changes one of their kinds. Whoever changes one, and is told that it is durable, finds
//! that it holds from then on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::Uuid;
use domain::record::{Record, RecordKind};

use crate::Stored;

/// How many records are kept; beyond that all are forgotten.
const MOST: usize = 4096;

/// What a record is asked for by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    Id(RecordKind, Uuid),
    Key(RecordKind, String),
}

/// Records of these kinds as they are. Those that do not exist are not kept: whoever tries secrets fills no memory.
#[derive(Default)]
pub(super) struct Credentials {
    /// How often one of them was changed.
    epoch: AtomicU64,
    /// Each with the epoch in which it was read.
    kept: Mutex<HashMap<Asked, (u64, Stored<Record>)>>,
}

impl Credentials {
    /// Whether records of a kind are kept.
    pub(super) fn keep(kind: RecordKind) -> bool {
        matches!(kind, RecordKind::Token | RecordKind::Tenant | RecordKind::User | RecordKind::ApiClient)
    }

    /// Says that any of them may be another now. To be called when that is durable, and before anybody is told.
    pub(super) fn changed(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// What is to be given to [`put`](Self::put); to be asked for before a record is read.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// A record as it is now, if it is here.
    pub(super) fn get(&self, asked: &Asked) -> Option<Stored<Record>> {
        let now = self.epoch();
        self.kept().get(asked).filter(|(epoch, _)| *epoch == now).map(|(_, record)| record.clone())
    }

    /// Keeps a record that was read in an epoch.
    pub(super) fn put(&self, asked: Asked, epoch: u64, record: Stored<Record>) {
        let mut kept = self.kept();
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(asked, (epoch, record));
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Asked, (u64, Stored<Record>)>> {
        // A map is whole at every step, so a panic elsewhere does not spoil it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use domain::tenant::Tenant;

    use super::*;
    use crate::Rev;

    #[test]
    fn what_was_read_before_a_change_is_not_used_after_it() {
        let credentials = Credentials::default();
        let asked = Asked::Id(RecordKind::Tenant, Uuid::nil());
        let root = Record::from(Tenant::root("any", "UTC", Timestamp::UNIX_EPOCH));
        let stored = |rev| Stored { rev: Rev(rev), value: root.clone() };
        let before = credentials.epoch();
        credentials.put(asked.clone(), before, stored(1));
        assert_eq!(credentials.get(&asked), Some(stored(1)));
        credentials.changed();
        assert_eq!(credentials.get(&asked), None);
        credentials.put(asked.clone(), before, stored(1));
        assert_eq!(credentials.get(&asked), None, "it was read before");
        credentials.put(asked.clone(), credentials.epoch(), stored(2));
        assert_eq!(credentials.get(&asked), Some(stored(2)));
        for n in 0..MOST {
            credentials.put(Asked::Key(RecordKind::Token, n.to_string()), credentials.epoch(), stored(3));
        }
        assert!(credentials.kept().len() <= MOST);
    }
}
