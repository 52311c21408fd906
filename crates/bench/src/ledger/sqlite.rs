//! SQLite side by side: the tasks in one table with the indexes that these questions want. (The ledger's own record is an
//! SQLite file, too, but with few indexes, and it is not asked for lists.)

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use ledger::Ledger;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, ToSql, params_from_iter};

use super::ask::{Answer, Answered, Ask};
use super::clock::Clock;
use super::side::{Loaded, Tasks, closure, tenants};
use super::sql::{COLUMNS, Datum, Dialect, INDEXES, Sql, Statement, row, sql};

/// Kibibytes of pages that SQLite keeps, and bytes of the file that it maps.
const CACHE_KIB: i64 = 1024 * 1024;
const MAPPED: i64 = 8 << 30;

/// An open file that has the tasks.
pub(crate) struct Sqlite {
    conn: Connection,
}

impl Sqlite {
    /// Brings all tasks of a ledger into this file, which must not be there yet.
    pub(crate) async fn load(
        path: &Path,
        ledger: &dyn Ledger,
        say: &(dyn Fn(String) + Send + Sync),
    ) -> Result<(Sqlite, Loaded)> {
        anyhow::ensure!(!path.try_exists()?, "{} is there already; name a new file", path.display());
        let clock = Instant::now();
        let conn = Connection::open(path).with_context(|| format!("cannot make {}", path.display()))?;
        conn.set_prepared_statement_cache_capacity(128);
        let columns: Vec<_> = COLUMNS.iter().map(|(name, kind)| format!("{name} {}", affinity(name, kind))).collect();
        conn.execute_batch(&format!(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB};
             PRAGMA mmap_size = {MAPPED};
             CREATE TABLE tenant_closure (ancestor TEXT, descendant TEXT, PRIMARY KEY (ancestor, descendant))
                 WITHOUT ROWID;
             CREATE TABLE tasks ({});
             CREATE TABLE task_tags (tag TEXT, task INTEGER, PRIMARY KEY (tag, task)) WITHOUT ROWID;
             BEGIN;",
            columns.join(", ")
        ))?;
        for (ancestor, descendant) in closure(&tenants(ledger).await?) {
            conn.prepare_cached("INSERT INTO tenant_closure VALUES (?, ?)")?
                .execute([ancestor.to_string(), descendant.to_string()])?;
        }
        let marks = vec!["?"; COLUMNS.len()].join(", ");
        let insert = format!("INSERT INTO tasks VALUES ({marks})");
        let mut tasks = Tasks::of(ledger);
        let mut count = 0u64;
        loop {
            let some = tasks.next().await?;
            if some.is_empty() {
                break;
            }
            for (rev, task) in &some {
                conn.prepare_cached(&insert)?.execute(params_from_iter(row(*rev, task)))?;
                for tag in &task.spec.tags {
                    conn.prepare_cached("INSERT OR IGNORE INTO task_tags VALUES (?, ?)")?
                        .execute((tag.as_str(), task.id.0))?;
                }
            }
            if count / 500_000 != (count + some.len() as u64) / 500_000 {
                say(format!("SQLite: {} tasks are there", count + some.len() as u64));
            }
            count += some.len() as u64;
        }
        conn.execute_batch("COMMIT")?;
        for (name, of) in INDEXES {
            // SQLite has no place for absent values in an index but the one it has anyhow.
            conn.execute_batch(&format!("CREATE INDEX {name} ON tasks {}", of.replace(" NULLS LAST", "")))?;
        }
        conn.execute_batch("PRAGMA analysis_limit = 10000; ANALYZE")?;
        let version: String = conn.query_row("SELECT sqlite_version()", [], |r| r.get(0))?;
        let bytes = std::fs::metadata(path)?.len();
        let seconds = clock.elapsed().as_secs_f64();
        Ok((Sqlite { conn }, Loaded { name: "SQLite".to_owned(), version, tasks: count, seconds, bytes }))
    }

    pub(crate) fn ask(&mut self, ask: &Ask) -> Result<Answered> {
        match sql(Dialect::Sqlite, ask) {
            Sql::Rows(rows, count) => {
                let clock = Clock::start();
                let found = self.rows(&rows, COLUMNS.len())?;
                let total = match &count {
                    Some(count) => self.rows(count, 1)?.pop().and_then(|mut r| r.pop()),
                    None => None,
                };
                let cost = clock.stop();
                let ids = found.iter().map(|r| int(r.first())).collect();
                let total = total.as_ref().map(|v| int(Some(v)).unsigned_abs());
                Ok(Answered { answer: Answer { ids, total, ..Answer::default() }, cost })
            }
            Sql::Groups(statement, by) => {
                let clock = Clock::start();
                let found = self.rows(&statement, by + 1)?;
                let cost = clock.stop();
                let group = |mut row: Vec<Value>| {
                    let count = int(row.pop().as_ref()).unsigned_abs();
                    (row.iter().map(shown).collect::<Vec<_>>().join(" "), count)
                };
                Ok(Answered { answer: Answer::of_named(found.into_iter().map(group).collect()), cost })
            }
        }
    }

    /// All rows with all their values, as whoever shows them would read them.
    fn rows(&self, statement: &Statement, columns: usize) -> Result<Vec<Vec<Value>>> {
        let mut prepared = self.conn.prepare_cached(&statement.text).with_context(|| statement.text.clone())?;
        let rows = prepared.query_map(params_from_iter(&statement.values), |r| {
            (0..columns).map(|n| r.get::<_, Value>(n)).collect::<rusqlite::Result<Vec<_>>>()
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

fn affinity(name: &str, kind: &str) -> String {
    let plain = kind.split_whitespace().next().unwrap_or_default();
    let own = match plain {
        _ if name == "id" => return "INTEGER PRIMARY KEY".to_owned(),
        "bigint" | "smallint" | "integer" | "boolean" => "INTEGER",
        _ => "TEXT",
    };
    format!("{own}{}", if kind.ends_with("NOT NULL") { " NOT NULL" } else { "" })
}

fn int(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::Integer(n)) => *n,
        _ => 0,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Integer(n) => n.to_string(),
        Value::Text(s) => s.clone(),
        _ => "-".to_owned(),
    }
}

impl ToSql for Datum {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Datum::Null => ToSqlOutput::Owned(Value::Null),
            Datum::Int(n) => ToSqlOutput::Owned(Value::Integer(*n)),
            Datum::Bool(b) => ToSqlOutput::Owned(Value::Integer((*b).into())),
            Datum::Text(s) | Datum::Json(s) => ToSqlOutput::Borrowed(ValueRef::Text(s.as_bytes())),
            Datum::Uuid(u) => ToSqlOutput::Owned(Value::Text(u.to_string())),
            Datum::Texts(all) => ToSqlOutput::Owned(Value::Text(serde_json::Value::from(all.clone()).to_string())),
        })
    }
}
