//! The record as the query index reads it: whole, and from a revision on.

use std::cell::RefCell;
use std::sync::Arc;

use domain::task::TaskId;
use domain::{Result, Uuid};
use rusqlite::Connection;

use super::error::Sql;
use super::rows::{Columns, TASK_COLUMNS};
use super::scan::Scanner;
use super::words::{Db, Words};
use super::{schema, tx};
use crate::Rev;
use crate::index::{Change, Record, Shown};

/// A connection of the index's own.
pub(super) struct Feed {
    pub(super) conn: Connection,
    pub(super) words: Arc<Words>,
    pub(super) scanner: RefCell<Scanner>,
}

impl Record for Feed {
    fn identity(&self) -> Result<String> {
        schema::identity(&self.conn)
    }

    fn read_ahead(&self) -> Result<()> {
        Db { conn: &self.conn, words: &self.words }.read_ahead().sql()
    }

    fn newest(&self) -> Result<(Rev, i64)> {
        let counters = tx::counters(&self.conn)?;
        Ok((counters.rev, counters.task.0))
    }

    fn tenants(&self) -> Result<Vec<(Uuid, String)>> {
        tenants(&self.conn, Rev(0))
    }

    fn scan(&self, after: i64, limit: usize, f: &mut dyn FnMut(i64, Rev, Shown<'_>)) -> Result<Option<i64>> {
        // One scan at a time, as the connection.
        let db = Db { conn: &self.conn, words: &self.words };
        self.scanner.borrow_mut().scan(db, after, limit, f)
    }

    fn since(&self, rev: Rev, f: &mut dyn FnMut(Change)) -> Result<Rev> {
        let snapshot = self.conn.unchecked_transaction().sql()?;
        let newest = tx::counters(&snapshot)?.rev;
        for (tenant, locator) in tenants(&snapshot, rev)? {
            f(Change::Tenant(tenant, locator));
        }
        let db = Db { conn: &snapshot, words: &self.words };
        let sql = format!("SELECT {TASK_COLUMNS} FROM task_status s JOIN tasks t ON t.id = s.id WHERE s.rev > ?");
        let mut statement = snapshot.prepare_cached(&sql).sql()?;
        for task in statement.query_map([rev.0], |r| Columns::of(r).task(db)).sql()? {
            f(Change::Task(task.sql()?));
        }
        let mut statement = snapshot.prepare_cached("SELECT id FROM purged WHERE rev > ?").sql()?;
        for id in statement.query_map([rev.0], |r| r.get(0)).sql()? {
            f(Change::Gone(TaskId(id.sql()?)));
        }
        Ok(newest)
    }
}

fn tenants(conn: &Connection, since: Rev) -> Result<Vec<(Uuid, String)>> {
    let mut statement = conn.prepare_cached("SELECT id, locator FROM tenants WHERE rev > ?").sql()?;
    let found = statement.query_map([since.0], |r| {
        let mut columns = Columns::of(r);
        Ok((columns.uuid()?, columns.get()?))
    });
    found.sql()?.collect::<rusqlite::Result<_>>().sql()
}
