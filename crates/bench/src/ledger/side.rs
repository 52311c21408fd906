//! Who is asked side by side with the ledger, and how the ledger's tasks get there.

use std::time::Duration;

use anyhow::Result;
use domain::query::{Filter, Order, Page, Query, RecordField};
use domain::record::{Record, RecordKind};
use domain::task::Task;
use domain::tenant::Tenant;
use domain::{Scope, Uuid};
use ledger::{Ledger, Rev};
use serde::Serialize;

use super::ask::{Answered, Ask};
use super::postgres::Postgres;
use super::sqlite::Sqlite;

/// Tasks that are read at once.
const HEAP: u32 = 2000;

/// Somebody who answers the same questions.
pub(crate) enum Side {
    Postgres(Box<Postgres>),
    Sqlite(Box<Sqlite>),
}

/// What it took to bring the tasks there.
#[derive(Debug, Clone, Serialize)]
pub struct Loaded {
    /// Who.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Rows of tasks.
    pub tasks: u64,
    /// How long the rows and indexes took, in seconds.
    pub seconds: f64,
    /// The size of the table and its indexes in bytes.
    pub bytes: u64,
}

impl Side {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Side::Postgres(_) => "PostgreSQL",
            Side::Sqlite(_) => "SQLite",
        }
    }

    /// Asks; what takes too long has no answer, only the time that was waited.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Result<Result<Answered, Duration>> {
        match self {
            Side::Postgres(side) => side.ask(ask).await,
            Side::Sqlite(side) => side.ask(ask).map(Ok),
        }
    }
}

/// The tasks of a ledger, some at a time, in the order of their changes.
pub(crate) struct Tasks<'l> {
    ledger: &'l dyn Ledger,
    since: Rev,
}

impl<'l> Tasks<'l> {
    pub(crate) fn of(ledger: &'l dyn Ledger) -> Tasks<'l> {
        Tasks { ledger, since: Rev(0) }
    }

    /// The next ones; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Vec<(Rev, Task)>> {
        let changes = self.ledger.changes(&Scope::everything(), self.since, HEAP).await.map_err(plain)?;
        self.since = changes.until;
        Ok(changes.tasks)
    }
}

/// All tenants.
pub(crate) async fn tenants(ledger: &dyn Ledger) -> Result<Vec<Tenant>> {
    let mut tenants = Vec::new();
    let mut page = Page::first(domain::query::MAX_LIMIT);
    loop {
        let query =
            Query::<RecordField> { filter: Filter::all(), order: Order::oldest(), page: page.clone(), total: false };
        let slice = ledger.records(&Scope::everything(), RecordKind::Tenant, &query).await.map_err(plain)?;
        tenants.extend(slice.items.into_iter().filter_map(|stored| match stored.value {
            Record::Tenant(tenant) => Some(tenant),
            _ => None,
        }));
        match slice.next {
            Some(key) => page = Page::After { key: Some(key), limit: domain::query::MAX_LIMIT },
            None => return Ok(tenants),
        }
    }
}

/// Who stands below whom, each below itself, too.
pub(crate) fn closure(tenants: &[Tenant]) -> Vec<(Uuid, Uuid)> {
    let parents: std::collections::HashMap<_, _> = tenants.iter().map(|t| (t.id, t.parent)).collect();
    let mut pairs = Vec::new();
    for tenant in tenants {
        let mut above = Some(tenant.id);
        while let Some(ancestor) = above {
            pairs.push((ancestor, tenant.id));
            above = parents.get(&ancestor).copied().flatten();
        }
    }
    pairs
}

fn plain(error: domain::Error) -> anyhow::Error {
    anyhow::anyhow!(error.message)
}
