//! What is said again and again - types, queues, agents, rules, names of machines and policies - stands once in the
//! tables `words` and `named`, and rows carry its number.
//!
//! Nothing is ever changed or removed there, so a number stands for the same words for ever, and is remembered - unless
//! the transaction that gave it out is rolled back, of one caller's part or of all: then it goes to other words.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use domain::Result;
use domain::task::Named;
use rusqlite::{Connection, OptionalExtension, Params};

use super::error::Sql;

/// How many are remembered; beyond that all are forgotten, and looked up again.
const REMEMBERED: usize = 1 << 17;

/// The numbers that a writer remembers.
#[derive(Default)]
pub(super) struct Names {
    known: RefCell<HashMap<Vec<u8>, i64>>,
    given: Cell<u64>,
    /// The key that is looked for.
    key: RefCell<Vec<u8>>,
}

impl Names {
    /// How many numbers were given out so far: if a transaction that gave some out is rolled back, all is to be
    /// [forgotten](Self::clear).
    pub(super) fn given(&self) -> u64 {
        self.given.get()
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.known.borrow_mut().clear();
    }

    /// What gives numbers on the writer's connection.
    pub(super) fn at<'a>(&'a self, conn: &'a Connection) -> Numbers<'a> {
        Numbers { conn, names: self }
    }
}

/// Gives numbers inside the transaction that is open on the connection.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a> {
    conn: &'a Connection,
    names: &'a Names,
}

impl Numbers<'_> {
    /// The number of a word; empty ones count as absent.
    pub(super) fn word(&self, word: &str) -> Result<Option<i64>> {
        if word.is_empty() {
            return Ok(None);
        }
        let mut key = self.names.key.borrow_mut();
        key.clear();
        key.push(b'w');
        key.extend_from_slice(word.as_bytes());
        let find = "SELECT id FROM words WHERE word = ?";
        self.number(&key, [word], find, "INSERT INTO words (word) VALUES (?)").map(Some)
    }

    /// The number of a policy or resource as it is named.
    pub(super) fn named(&self, named: &Named) -> Result<i64> {
        let [id, kind, name] = [&*named.id, &*named.kind, &*named.name];
        let mut key = self.names.key.borrow_mut();
        key.clear();
        key.push(b'n');
        for part in [id, kind] {
            // With its length, so that no other parts make the same key.
            key.extend_from_slice(&part.len().to_le_bytes());
            key.extend_from_slice(part.as_bytes());
        }
        key.extend_from_slice(name.as_bytes());
        let find = "SELECT id FROM named WHERE ref = ? AND type = ? AND name = ?";
        self.number(&key, [id, kind, name], find, "INSERT INTO named (ref, type, name) VALUES (?, ?, ?)")
    }

    fn number(&self, key: &[u8], parts: impl Params + Copy, find: &str, insert: &str) -> Result<i64> {
        if let Some(id) = self.names.known.borrow().get(key) {
            return Ok(*id);
        }
        let found =
            self.conn.prepare_cached(find).and_then(|mut s| s.query_row(parts, |r| r.get(0)).optional()).sql()?;
        let id = match found {
            Some(id) => id,
            None => {
                self.conn.prepare_cached(insert).and_then(|mut s| s.execute(parts)).sql()?;
                self.names.given.set(self.names.given.get() + 1);
                self.conn.last_insert_rowid()
            }
        };
        let mut known = self.names.known.borrow_mut();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key.to_vec(), id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    fn named(id: &str, kind: &str, name: &str) -> Named {
        Named { id: id.into(), kind: kind.into(), name: name.into() }
    }

    #[test]
    fn equal_words_have_one_number_and_others_have_others() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let conn = schema::open_writer(&dir.path().join("ledger.db"))?;
        let names = Names::default();
        let backup = names.at(&conn).word("backup")?;
        assert_eq!(names.at(&conn).word("backup")?, backup);
        assert_ne!(names.at(&conn).word("recovery")?, backup);
        assert_eq!(names.at(&conn).word("")?, None);
        let one = names.at(&conn).named(&named("ab", "c", ""))?;
        assert_ne!(names.at(&conn).named(&named("a", "bc", ""))?, one);
        assert_ne!(names.at(&conn).named(&named("ab", "", "c"))?, one);
        assert_eq!(names.given(), 5);
        let others = Names::default();
        assert_eq!(others.at(&conn).named(&named("ab", "c", ""))?, one);
        assert_eq!((others.at(&conn).word("backup")?, others.given()), (backup, 0));
        Ok(())
    }
}
