//! What the writer remembers from one transaction to the next, so that it need not read what it wrote a moment ago: the
//! numbers of words, words by their numbers, and tasks as they are. It is what a reading inside the running transaction
//! would give; so what a rollback takes back is forgotten.

use std::cell::RefCell;

use domain::task::{Task, TaskId};
use rusqlite::Connection;

use super::names::{Names, Numbers};
use super::words::{Db, Words};
use crate::index::{Change, Hot};

/// See the module.
#[derive(Default)]
pub(super) struct Remembered {
    names: Names,
    words: Words,
    tasks: RefCell<Hot>,
}

/// Where a transaction, or a caller's part of it, began.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    given: u64,
}

impl Remembered {
    /// For a part that begins.
    pub(super) fn mark(&self) -> Mark {
        Mark { given: self.names.given() }
    }

    /// After a part was rolled back, in which these changes were made.
    pub(super) fn rolled_back(&self, mark: Mark, changes: &[Change]) {
        // The number of a tenant goes to the next one, too.
        if self.names.given() != mark.given || changes.iter().any(|c| matches!(c, Change::Tenant(..))) {
            self.names.clear();
            self.words.clear();
        }
        for change in changes {
            match change {
                Change::Task(task) => self.forget(task.id),
                Change::Reported(task) | Change::Gone(task) => self.forget(*task),
                Change::Tenant(..) => {}
            }
        }
    }

    /// After anything may have happened to the file.
    pub(super) fn clear(&self) {
        self.names.clear();
        self.words.clear();
        self.tasks.borrow_mut().clear();
    }

    /// A task as it is now, if it is remembered.
    pub(super) fn task(&self, id: TaskId) -> Option<Task> {
        self.tasks.borrow_mut().get(id)
    }

    /// Remembers a task as it is now.
    pub(super) fn keep(&self, task: Task) {
        self.tasks.borrow_mut().put(task);
    }

    /// A task is no more as it was.
    pub(super) fn forget(&self, id: TaskId) {
        self.tasks.borrow_mut().forget(id);
    }

    /// What is known of the numbers that are read on the writer's connection.
    pub(super) fn db<'a>(&'a self, conn: &'a Connection) -> Db<'a> {
        Db { conn, words: &self.words }
    }

    /// What gives numbers on the writer's connection.
    pub(super) fn numbers<'a>(&'a self, conn: &'a Connection) -> Numbers<'a> {
        self.names.at(conn)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::task::TaskSpec;
    use domain::{Result, Timestamp, Uuid};
    use rusqlite::OptionalExtension;

    use super::*;
    use crate::sqlite::error::Sql;
    use crate::sqlite::schema;

    #[test]
    fn what_was_rolled_back_is_not_remembered() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let conn = schema::open_writer(&dir.path().join("ledger.db"))?;
        let word = |id: Option<i64>| -> Option<String> {
            let sql = "SELECT word FROM words WHERE id = ?";
            conn.query_row(sql, [id], |r| r.get(0)).optional().expect("it can be read")
        };
        let remembered = Remembered::default();
        let (numbers, db) = (remembered.numbers(&conn), remembered.db(&conn));
        for end in ["COMMIT", "ROLLBACK"] {
            conn.execute_batch("BEGIN").sql()?;
            let all = remembered.mark();
            conn.execute_batch("SAVEPOINT caller").sql()?;
            let part = remembered.mark();
            let refused = numbers.word(&format!("refused {end}"))?;
            assert_eq!(refused.map(|id| db.text(id).expect("it is there")), Some(format!("refused {end}").into()));
            conn.execute_batch("ROLLBACK TO caller; RELEASE caller").sql()?;
            remembered.rolled_back(part, &[]);
            let (other, again) = (numbers.word(&format!("other {end}"))?, numbers.word(&format!("refused {end}"))?);
            assert_eq!(other, refused, "the number went to the next");
            for (id, expected) in [(other, format!("other {end}")), (again, format!("refused {end}"))] {
                assert_eq!(
                    (word(id), id.map(|id| db.text(id).expect("it is there"))),
                    (Some(expected.clone()), Some(expected.into()))
                );
            }
            conn.execute_batch(end).sql()?;
            if end == "ROLLBACK" {
                remembered.rolled_back(all, &[]);
            }
        }
        // After the rollback of all, the numbers go to others, and after a commit they stay.
        for text in ["new", "refused ROLLBACK", "other ROLLBACK", "refused COMMIT", "other COMMIT"] {
            let id = numbers.word(text)?;
            assert_eq!(word(id).as_deref(), Some(text));
            assert_eq!(id.map(|id| db.text(id).expect("it is there")).as_deref(), Some(text));
        }
        Ok(())
    }

    #[test]
    fn the_number_of_a_tenant_that_was_rolled_back_is_read_anew() -> Result<()> {
        let dir = tempfile::tempdir().expect("a folder");
        let conn = schema::open_writer(&dir.path().join("ledger.db"))?;
        let remembered = Remembered::default();
        for id in [Uuid::from_u128(1), Uuid::from_u128(2)] {
            let mark = remembered.mark();
            let sql = "INSERT INTO tenants (id, tenant, created_at, updated_at, rev, number, locator, body)
                       VALUES (?1, ?1, 0, 0, 1, 2, '/1/2/', '{}')";
            conn.execute_batch("BEGIN").sql()?;
            conn.execute(sql, [id.to_string()]).sql()?;
            assert_eq!(remembered.db(&conn).tenant(2), Ok(id));
            conn.execute_batch("ROLLBACK").sql()?;
            remembered.rolled_back(mark, &[Change::Tenant(id, "/1/2/".to_owned())]);
        }
        assert!(remembered.db(&conn).tenant(2).is_err(), "there is none");
        Ok(())
    }

    #[test]
    fn a_task_is_as_it_was_before_what_was_rolled_back() {
        let remembered = Remembered::default();
        let spec = TaskSpec::new(Uuid::from_u128(1), "backup", "agents", Uuid::nil());
        let task = Task::create(TaskId(1), Arc::new(spec), Timestamp::UNIX_EPOCH).expect("a task");
        for changes in [vec![Change::Task(task.clone())], vec![Change::Reported(task.id)], vec![Change::Gone(task.id)]]
        {
            let mark = remembered.mark();
            remembered.keep(task.clone());
            assert_eq!(remembered.task(task.id).as_ref(), Some(&task));
            remembered.rolled_back(mark, &changes);
            assert_eq!(remembered.task(task.id), None, "it has to be read anew");
        }
    }
}
