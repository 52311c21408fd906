//! Opening the file: whose it is, whether it is sound, and bringing it to the present schema.

use std::path::Path;
use std::time::Duration;

use domain::query::fold;
use domain::{Code, Error, Result};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::{Connection, OpenFlags};

use super::error::{Sql, damaged, refused};

/// "BkSt": what tells our files from others'.
const APPLICATION_ID: i32 = 0x426b_5374;

/// The schema, step by step; `user_version` says how many of them a file has seen. Never change one that was released.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_init.sql"),
    include_str!("migrations/0002_identity.sql"),
    include_str!("migrations/0003_lists.sql"),
];

/// How long a connection waits for another program before it gives up.
const BUSY: Duration = Duration::from_secs(5);

/// Opens the file for writing, and makes it when there is none.
pub(super) fn open_writer(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = connect(path, flags)?;
    let version = identify(&conn, path)?;
    if version > 0 {
        quick_check(&conn)?;
    }
    conn.pragma_update(None, "journal_mode", "WAL").sql()?;
    conn.pragma_update(None, "synchronous", "FULL").sql()?;
    conn.pragma_update(None, "foreign_keys", true).sql()?;
    migrate(&mut conn, version)?;
    Ok(conn)
}

/// Opens the file for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let conn = Connection::open_with_flags(path, flags).map_err(|e| {
        Error::new(Code::Unavailable, format!("the ledger '{}' cannot be opened: {e}", path.display()))
            .hint("the folder must exist, and the server must be allowed to write in it")
    })?;
    conn.busy_timeout(BUSY).sql()?;
    conn.set_prepared_statement_cache_capacity(128);
    add_functions(&conn).sql()?;
    Ok(conn)
}

/// Whose file it is, by its schema version: 0 for one that is empty.
fn identify(conn: &Connection, path: &Path) -> Result<usize> {
    let number = |pragma: &str| conn.pragma_query_value(None, pragma, |r| r.get::<_, i32>(0));
    let id = match number("application_id") {
        Err(rusqlite::Error::SqliteFailure(e, _)) if e.code == rusqlite::ErrorCode::NotADatabase => {
            return Err(damaged(format!("'{}' is not an SQLite database", path.display())));
        }
        other => other.sql()?,
    };
    let version = usize::try_from(number("user_version").sql()?).unwrap_or(usize::MAX);
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).sql()?;
    match (id, version, tables) {
        (0, 0, 0) => Ok(0),
        (APPLICATION_ID, 1.., _) if version <= MIGRATIONS.len() => Ok(version),
        (APPLICATION_ID, 1.., _) => {
            let known = MIGRATIONS.len();
            let why = format!("has schema version {version}, and this program knows versions up to {known}");
            Err(refused(path, &why).hint("use the newer Backstay that wrote it, or a copy from before the upgrade"))
        }
        _ => Err(refused(path, "is the database of another program").hint("choose another file for the ledger")),
    }
}

fn quick_check(conn: &Connection) -> Result<()> {
    let answer: String = conn.pragma_query_value(None, "quick_check", |r| r.get(0)).sql()?;
    if answer == "ok" { Ok(()) } else { Err(damaged(answer)) }
}

fn migrate(conn: &mut Connection, from: usize) -> Result<()> {
    for (i, step) in MIGRATIONS.iter().enumerate().skip(from) {
        let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).sql()?;
        tx.execute_batch(step).sql()?;
        tx.pragma_update(None, "application_id", APPLICATION_ID).sql()?;
        tx.pragma_update(None, "user_version", i as i64 + 1).sql()?;
        tx.commit().sql()?;
        tracing::info!(version = i + 1, "the ledger's schema was brought up to date");
    }
    Ok(())
}

/// Text patterns as the domain compares them; SQLite's own ones fold only ASCII.
fn add_functions(conn: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    let add = |name: &str, holds: fn(&str, &str) -> bool| {
        conn.create_scalar_function(name, 2, flags, move |c: &Context<'_>| {
            let (text, folded): (Option<String>, String) = (c.get(0)?, c.get(1)?);
            Ok(text.map(|t| holds(&fold(&t), &folded)))
        })
    };
    add("folded_contains", |text, part| text.contains(part))?;
    add("folded_starts", |text, part| text.starts_with(part))?;
    add("folded_ends", |text, part| text.ends_with(part))
}
