//! What the numbers in rows stand for: words and names that stand once in the file (see [`names`](super::names)) are kept
//! in memory as what they are made into, so that a row is read without looking up twenty of them.

use std::sync::{PoisonError, RwLock};

use domain::task::{Named, Rules};
use hashbrown::HashMap;
use rusqlite::{Connection, Result, Row, ToSql};

/// How many of each sort are kept; beyond that all are forgotten, and read again. The machines of the largest ledgers that
/// we mean to serve fit; they take some 100 MB then, beside a gigabyte of index.
const KEPT: usize = 1 << 19;

/// What is known of the numbers of one file. Nothing is ever changed or removed there, so what was durable once may be
/// remembered by everybody. What the running transaction gave out is taken back with it: the writer forgets all then.
#[derive(Default)]
pub(super) struct Words {
    texts: Known<String>,
    tags: Known<Vec<String>>,
    rules: Known<Rules>,
    named: Known<Named>,
}

impl Words {
    /// Forgets all.
    pub(super) fn clear(&self) {
        self.texts.clear();
        self.tags.clear();
        self.rules.clear();
        self.named.clear();
    }
}

/// A connection, and what is known of the numbers that are read there.
#[derive(Clone, Copy)]
pub(super) struct Db<'a> {
    pub(super) conn: &'a Connection,
    pub(super) words: &'a Words,
}

impl std::ops::Deref for Db<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

impl Db<'_> {
    /// The word with this number.
    pub(super) fn text(&self, id: i64) -> Result<String> {
        self.words.texts.get(id, || self.word(id, |r| r.get(0)))
    }

    /// The list of tags with this number.
    pub(super) fn tags(&self, id: i64, read: impl FnOnce(&str) -> Result<Vec<String>>) -> Result<Vec<String>> {
        self.words.tags.get(id, || self.word(id, |r| read(r.get_ref(0)?.as_str()?)))
    }

    /// The rules with this number.
    pub(super) fn rules(&self, id: i64, read: impl FnOnce(&str) -> Result<Rules>) -> Result<Rules> {
        self.words.rules.get(id, || self.word(id, |r| read(r.get_ref(0)?.as_str()?)))
    }

    /// The policy or resource with this number.
    pub(super) fn named(&self, id: i64) -> Result<Named> {
        self.words.named.get(id, || {
            let sql = "SELECT ref, type, name FROM named WHERE id = ?";
            self.row(sql, id, |r| Ok(Named { id: r.get(0)?, kind: r.get(1)?, name: r.get(2)? }))
        })
    }

    fn word<T>(&self, id: i64, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<T> {
        self.row("SELECT word FROM words WHERE id = ?", id, read)
    }

    fn row<T>(&self, sql: &str, id: impl ToSql, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<T> {
        self.conn.prepare_cached(sql)?.query_row([id], read)
    }
}

/// What numbers of one sort stand for.
struct Known<T>(RwLock<HashMap<i64, T>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known(RwLock::default())
    }
}

impl<T: Clone> Known<T> {
    fn get(&self, id: i64, read: impl FnOnce() -> Result<T>) -> Result<T> {
        // A map is whole at every step, so a panic elsewhere does not spoil it.
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(known.clone());
        }
        let found = read()?;
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(id, found.clone());
        Ok(found)
    }

    fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
