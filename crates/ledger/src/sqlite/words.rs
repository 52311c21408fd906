//! What the numbers in rows stand for: words and names that stand once in the file (see [`names`](super::names)), and
//! tenants, are kept in memory as what they are made into, so that a row is read without looking up twenty of them.

use std::sync::{PoisonError, RwLock};

use domain::task::{Named, Rules};
use domain::{Text, Uuid};
use hashbrown::HashMap;
use rusqlite::{Connection, Result, Row, ToSql};

use super::rows::Columns;

/// How many of each sort are kept; beyond that all are forgotten, and read again. The machines of the largest ledgers that
/// we mean to serve fit; they take some 100 MB then, beside a gigabyte of index.
const KEPT: usize = 1 << 19;
/// How many of each sort are read ahead, and how many of them at a time.
const READ_AHEAD: i64 = KEPT as i64 / 4 * 3;
const PART: usize = 1000;

/// What is known of the numbers of one file. Nothing is ever changed or removed there, so what was durable once may be
/// remembered by everybody. What the running transaction gave out is taken back with it: the writer forgets all then.
#[derive(Default)]
pub(super) struct Words {
    texts: Known<Text>,
    tags: Known<Vec<Text>>,
    rules: Known<Rules>,
    named: Known<Named>,
    tenants: Known<Uuid>,
}

impl Words {
    /// Forgets all.
    pub(super) fn clear(&self) {
        self.texts.clear();
        self.tags.clear();
        self.rules.clear();
        self.named.clear();
        self.tenants.clear();
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
    pub(super) fn text(&self, id: i64) -> Result<Text> {
        self.words.texts.get(id, || self.word(id, |r| text(r, 0)))
    }

    /// The list of tags with this number.
    pub(super) fn tags(&self, id: i64, read: impl FnOnce(&str) -> Result<Vec<Text>>) -> Result<Vec<Text>> {
        self.words.tags.get(id, || self.word(id, |r| read(r.get_ref(0)?.as_str()?)))
    }

    /// The rules with this number.
    pub(super) fn rules(&self, id: i64, read: impl FnOnce(&str) -> Result<Rules>) -> Result<Rules> {
        self.words.rules.get(id, || self.word(id, |r| read(r.get_ref(0)?.as_str()?)))
    }

    /// The policy or resource with this number.
    pub(super) fn named(&self, id: i64) -> Result<Named> {
        self.words.named.get(id, || {
            self.row("SELECT id, ref, type, name FROM named WHERE id = ?", id, numbered).map(|(_, named)| named)
        })
    }

    /// The id of the tenant with this number.
    pub(super) fn tenant(&self, number: i64) -> Result<Uuid> {
        self.words
            .tenants
            .get(number, || self.row("SELECT id FROM tenants WHERE number = ?", number, |r| Columns::of(r).uuid()))
    }

    /// Reads the words and names that came last before anybody asks: after a restart each would be looked up by itself, which
    /// takes longer than all else about a row.
    pub(super) fn read_ahead(&self) -> Result<()> {
        let mut words = self.conn.prepare("SELECT id, word FROM words ORDER BY id DESC LIMIT ?")?;
        let found = words.query_map([READ_AHEAD], |r| Ok((r.get(0)?, text(r, 1)?)))?;
        self.words.texts.fill(found)?;
        let mut names = self.conn.prepare("SELECT id, ref, type, name FROM named ORDER BY id DESC LIMIT ?")?;
        self.words.named.fill(names.query_map([READ_AHEAD], numbered)?)
    }

    fn word<T>(&self, id: i64, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<T> {
        self.row("SELECT word FROM words WHERE id = ?", id, read)
    }

    fn row<T>(&self, sql: &str, id: impl ToSql, read: impl FnOnce(&Row<'_>) -> Result<T>) -> Result<T> {
        self.conn.prepare_cached(sql)?.query_row([id], read)
    }
}

/// A policy or resource with its number, from the columns id, ref, type, name.
fn numbered(row: &Row<'_>) -> Result<(i64, Named)> {
    Ok((row.get(0)?, Named { id: text(row, 1)?, kind: text(row, 2)?, name: text(row, 3)? }))
}

/// The text in a column.
pub(super) fn text(row: &Row<'_>, column: usize) -> Result<Text> {
    Ok(row.get_ref(column)?.as_str()?.into())
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

    /// Takes many in, a part at a time, so that nobody waits for all of them.
    fn fill(&self, mut found: impl Iterator<Item = Result<(i64, T)>>) -> Result<()> {
        loop {
            let part: Vec<_> = found.by_ref().take(PART).collect::<Result<_>>()?;
            if part.is_empty() {
                return Ok(());
            }
            self.0.write().unwrap_or_else(PoisonError::into_inner).extend(part);
        }
    }

    fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn what_was_read_ahead_is_not_looked_up() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let conn = schema::open_writer(&dir.path().join("ledger.db")).expect("a ledger");
        let words = Words::default();
        let db = Db { conn: &conn, words: &words };
        let count = 2 * PART as i64 + 1;
        conn.execute_batch("BEGIN")?;
        for n in 1..=count {
            conn.execute("INSERT INTO words (id, word) VALUES (?1, 'word ' || ?1)", [n])?;
            conn.execute("INSERT INTO named (id, ref, type, name) VALUES (?1, 'r' || ?1, 'host', 'n' || ?1)", [n])?;
        }
        db.read_ahead()?;
        conn.execute_batch("ROLLBACK")?;
        for n in 1..=count {
            let named = Named { id: format!("r{n}").into(), kind: "host".into(), name: format!("n{n}").into() };
            assert_eq!((db.text(n)?, db.named(n)?), (format!("word {n}").into(), named));
        }
        assert!(db.text(count + 1).is_err(), "it was never there");
        Ok(())
    }
}
