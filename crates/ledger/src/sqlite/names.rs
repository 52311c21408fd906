//! What is said again and again - types, queues, agents, rules, names of machines and policies - stands once in the
//! tables `words` and `named`, and rows carry its number.
//!
//! Nothing is ever changed or removed there, so a number that was made durable stands for the same words for ever, and
//! may be remembered. One that was given out in the running transaction may not: a rollback, of one caller's part or of
//! all, takes it back, and it stands for other words then. Such numbers are the ones behind the last that was there when
//! the transaction began; they are looked up each time until the next transaction.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use domain::Result;
use domain::task::Named;
use rusqlite::{Connection, OptionalExtension, Params};

use super::error::Sql;

/// How many are remembered; beyond that all are forgotten, and looked up again.
const REMEMBERED: usize = 1 << 17;

/// The numbers that a writer remembers from one transaction to the next.
#[derive(Default)]
pub(super) struct Names {
    known: RefCell<HashMap<Vec<u8>, i64>>,
    /// What was durable when somebody looked last. More of it may be by now, never less.
    durable: Cell<Option<Last>>,
}

/// The last numbers that were given out.
#[derive(Clone, Copy)]
struct Last {
    words: i64,
    named: i64,
}

impl Last {
    /// Where nothing is ever rolled back, every number is as good as durable.
    const CERTAIN: Last = Last { words: i64::MAX, named: i64::MAX };
}

impl Names {
    /// For a file that is given up after the first error.
    pub(super) fn certain() -> Names {
        Names { durable: Cell::new(Some(Last::CERTAIN)), ..Names::default() }
    }
}

/// Gives numbers inside one transaction.
pub(super) struct Numbers<'a> {
    conn: &'a Connection,
    names: &'a Names,
    /// What was durable when the transaction began.
    durable: Option<Last>,
    /// The key that is looked for.
    key: Vec<u8>,
}

impl<'a> Numbers<'a> {
    /// For a transaction that begins.
    pub(super) fn new(conn: &'a Connection, names: &'a Names) -> Numbers<'a> {
        Numbers { conn, names, durable: None, key: Vec::new() }
    }

    /// The number of a word; empty ones count as absent.
    pub(super) fn word(&mut self, word: &str) -> Result<Option<i64>> {
        if word.is_empty() {
            return Ok(None);
        }
        self.key.clear();
        self.key.push(b'w');
        self.key.extend_from_slice(word.as_bytes());
        let find = "SELECT id FROM words WHERE word = ?";
        self.number([word], find, "INSERT INTO words (word) VALUES (?)", |last| last.words).map(Some)
    }

    /// The number of a policy or resource as it is named.
    pub(super) fn named(&mut self, named: &Named) -> Result<i64> {
        let Named { id, kind, name } = named;
        self.key.clear();
        self.key.push(b'n');
        for part in [id, kind] {
            // With its length, so that no other parts make the same key.
            self.key.extend_from_slice(&part.len().to_le_bytes());
            self.key.extend_from_slice(part.as_bytes());
        }
        self.key.extend_from_slice(name.as_bytes());
        let find = "SELECT id FROM named WHERE ref = ? AND type = ? AND name = ?";
        let insert = "INSERT INTO named (ref, type, name) VALUES (?, ?, ?)";
        self.number([id, kind, name], find, insert, |last| last.named)
    }

    fn number(&mut self, parts: impl Params + Copy, find: &str, insert: &str, last: fn(Last) -> i64) -> Result<i64> {
        if let Some(id) = self.names.known.borrow().get(&self.key) {
            return Ok(*id);
        }
        let durable = self.durable()?;
        let found =
            self.conn.prepare_cached(find).and_then(|mut s| s.query_row(parts, |r| r.get(0)).optional()).sql()?;
        let id = match found {
            Some(id) => id,
            None => {
                self.conn.prepare_cached(insert).and_then(|mut s| s.execute(parts)).sql()?;
                if durable.words != i64::MAX {
                    self.names.durable.set(None);
                }
                self.conn.last_insert_rowid()
            }
        };
        if id <= last(durable) {
            let mut known = self.names.known.borrow_mut();
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(self.key.clone(), id);
        }
        Ok(id)
    }

    /// What was durable when the transaction began. It is asked for before the first number is given out.
    fn durable(&mut self) -> Result<Last> {
        if let Some(last) = self.durable {
            return Ok(last);
        }
        let last = match self.names.durable.get() {
            Some(last) => last,
            None => {
                let sql = "SELECT (SELECT max(id) FROM words), (SELECT max(id) FROM named)";
                let mut statement = self.conn.prepare_cached(sql).sql()?;
                let last = statement.query_row([], |r| {
                    let (words, named): (Option<i64>, Option<i64>) = (r.get(0)?, r.get(1)?);
                    Ok(Last { words: words.unwrap_or(0), named: named.unwrap_or(0) })
                });
                last.sql()?
            }
        };
        self.names.durable.set(Some(last));
        self.durable = Some(last);
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    fn named(id: &str, kind: &str, name: &str) -> Named {
        Named { id: id.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn equal_words_have_one_number_and_others_have_others() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let conn = schema::open_writer(&dir.path().join("ledger.db"))?;
        let names = Names::default();
        let mut first = Numbers::new(&conn, &names);
        let backup = first.word("backup")?;
        assert_eq!(first.word("backup")?, backup);
        assert_ne!(first.word("recovery")?, backup);
        assert_eq!(first.word("")?, None);
        let one = first.named(&named("ab", "c", ""))?;
        assert_ne!(first.named(&named("a", "bc", ""))?, one);
        assert_ne!(first.named(&named("ab", "", "c"))?, one);
        assert_eq!(Numbers::new(&conn, &Names::default()).named(&named("ab", "c", ""))?, one);
        assert_eq!(Numbers::new(&conn, &names).word("backup")?, backup);
        Ok(())
    }

    #[test]
    fn what_was_rolled_back_is_not_remembered() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let conn = schema::open_writer(&dir.path().join("ledger.db"))?;
        let word = |id: Option<i64>| -> Option<String> {
            conn.query_row("SELECT word FROM words WHERE id = ?", [id], |r| r.get(0))
                .optional()
                .expect("it can be read")
        };
        let names = Names::default();
        for end in ["COMMIT", "ROLLBACK"] {
            conn.execute_batch("BEGIN").sql()?;
            let mut numbers = Numbers::new(&conn, &names);
            conn.execute_batch("SAVEPOINT caller").sql()?;
            let refused = numbers.word(&format!("refused {end}"))?;
            conn.execute_batch("ROLLBACK TO caller; RELEASE caller").sql()?;
            let (other, again) = (numbers.word(&format!("other {end}"))?, numbers.word(&format!("refused {end}"))?);
            assert_eq!(other, refused, "the number went to the next");
            assert_eq!((word(other), word(again)), (Some(format!("other {end}")), Some(format!("refused {end}"))));
            conn.execute_batch(end).sql()?;
        }
        // After the rollback of all, the numbers go to others, and after a commit they stay.
        for text in ["new", "refused ROLLBACK", "other ROLLBACK", "refused COMMIT", "other COMMIT"] {
            let id = Numbers::new(&conn, &names).word(text)?;
            assert_eq!(word(id).as_deref(), Some(text));
            let known = Numbers::new(&conn, &names).word(text)?;
            assert_eq!(known, id);
        }
        Ok(())
    }
}
