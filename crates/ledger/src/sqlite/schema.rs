//! Opening the file: whose it is, whether it is sound, and bringing it to the present schema.

use std::path::Path;
use std::time::Duration;

use domain::activity::Activity;
use domain::query::fold;
use domain::task::{Entity, LeaseToken};
use domain::{Code, Error, Result, Uuid};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::error::{Sql, damaged, refused};
use super::{pack, rows};

/// "BkSt": what tells our files from others'.
const APPLICATION_ID: i32 = 0x426b_5374;

/// The schema, step by step; `user_version` says how many of them a file has seen. Never change one that was released.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_init.sql"),
    include_str!("migrations/0002_identity.sql"),
    include_str!("migrations/0003_lists.sql"),
    include_str!("migrations/0004_layout.sql"),
    include_str!("migrations/0005_turns.sql"),
    include_str!("migrations/0006_checks.sql"),
    include_str!("migrations/0007_archives.sql"),
    include_str!("migrations/0008_client_keys.sql"),
    include_str!("migrations/0009_restored_files.sql"),
    include_str!("migrations/0010_parent_entities.sql"),
    include_str!("migrations/0011_tenants.sql"),
    include_str!("migrations/0012_channels.sql"),
    include_str!("migrations/0013_resource_lists.sql"),
];

/// Kibibytes of pages that the writer keeps: what changes lies near the end of every table, and fits.
const WRITER_CACHE_KIB: i64 = 64 * 1024;

/// Kibibytes of pages that each reader keeps: the inner pages of the tables of a very large ledger.
const READER_CACHE_KIB: i64 = 32 * 1024;

/// How long a connection waits for another program before it gives up.
const BUSY: Duration = Duration::from_secs(5);

/// Opens the file for writing, and makes it when there is none.
pub(super) fn open_writer(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = connect(path, flags)?;
    let version = identify(&conn, path)?;
    if version > 0 {
        look(&conn)?;
    }
    conn.pragma_update(None, "journal_mode", "WAL").sql()?;
    conn.pragma_update(None, "synchronous", "FULL").sql()?;
    conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB).sql()?;
    migrate(&mut conn, version)?;
    conn.pragma_update(None, "foreign_keys", true).sql()?;
    Ok(conn)
}

/// Opens the file for reading only.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE_KIB).sql()?;
    Ok(conn)
}

/// Looks at the file as `open_writer` does, without writing: how many migrations are still to come.
pub(super) fn look_only(path: &Path) -> Result<usize> {
    let conn = open_reader(path)?;
    let version = identify(&conn, path)?;
    look(&conn)?;
    Ok(MIGRATIONS.len() - version)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let conn = Connection::open_with_flags(path, flags).map_err(|e| {
        Error::new(Code::Unavailable, format!("the ledger '{}' cannot be opened: {e}", path.display()))
            .hint("the folder must exist, and the server must be allowed to write in it")
    })?;
    conn.busy_timeout(BUSY).sql()?;
    conn.set_prepared_statement_cache_capacity(128);
    // Otherwise a statement whose plan could be another one for another value is compiled again each time a value is
    // bound, which took most of the time of every small read and write.
    conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).sql()?;
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

/// How many places of each table are looked at.
const PLACES: i64 = 64;

/// Looks at the beginning, the end and some places in between of every table, which takes no longer in a large file. What
/// is damaged elsewhere is met when it is read; `check` looks everywhere.
fn look(conn: &Connection) -> Result<()> {
    let mut tables = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0").sql()?;
    let tables = tables.query_map([], |r| r.get::<_, String>(0)).sql()?;
    for table in tables.collect::<rusqlite::Result<Vec<_>>>().sql()? {
        let any = format!("SELECT * FROM \"{table}\" ");
        let read = |end: &str, place: Option<i64>| -> rusqlite::Result<()> {
            let mut statement = conn.prepare_cached(&[&*any, end].concat())?;
            let mut rows = statement.query(params_from_iter(place))?;
            rows.next().map(drop)
        };
        let last = conn.query_row(&format!("SELECT max(rowid) FROM \"{table}\""), [], |r| r.get::<_, Option<i64>>(0));
        let Ok(last) = last else {
            // Without numbers of rows, or damaged, which shows.
            read("LIMIT 1", None).sql()?;
            continue;
        };
        let last = last.unwrap_or(0);
        for n in 0..=PLACES {
            let place = i128::from(last) * i128::from(n) / i128::from(PLACES);
            read("WHERE rowid >= ? LIMIT 1", i64::try_from(place).ok()).sql()?;
        }
    }
    Ok(())
}

fn migrate(conn: &mut Connection, from: usize) -> Result<()> {
    if from == MIGRATIONS.len() {
        return Ok(());
    }
    add_packers(conn).sql()?;
    // Tables that refer to each other are made anew under other names first.
    conn.pragma_update(None, "foreign_keys", false).sql()?;
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

/// Which ledger this is: made up once, when the file was made, and the same for ever. A copy of the file is the same
/// ledger.
pub(super) fn identity(conn: &Connection) -> Result<String> {
    conn.query_row("SELECT identity FROM ledger", [], |r| r.get(0)).sql()
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
    add("folded_is", |text, part| text == part)?;
    add("folded_starts", |text, part| text.starts_with(part))?;
    add("folded_ends", |text, part| text.ends_with(part))?;
    conn.create_scalar_function("root_uuid", 1, flags, |c| {
        let task: Vec<u8> = c.get(0)?;
        let task = Uuid::from_slice(&task).map_err(|e| rusqlite::Error::UserFunctionError(e.into()))?;
        Ok(Activity::root_uuid(task).into_bytes())
    })
}

/// What migrations bring old rows over with.
fn add_packers(conn: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DIRECTONLY;
    let wrong = |e: Error| rusqlite::Error::UserFunctionError(e.into());
    conn.create_scalar_function("packed", 1, flags, move |c| {
        let json: Option<String> = c.get(0)?;
        json.map_or(Ok(Value::Null), pack::pack).map_err(wrong)
    })?;
    conn.create_scalar_function("parent_entity", 1, flags, move |c| {
        let read =
            |json: &str| serde_json::from_str::<rows::Wish<serde_json::Value, Entity>>(json).map_err(|e| e.to_string());
        let wish = pack::unpack(c.get_raw(0), read).map_err(|e| wrong(damaged(e)))?;
        let entity = wish.and_then(|w| w.parent_entity).map(|e| serde_json::to_string(&e));
        entity.transpose().map_err(|e| wrong(rows::unprintable(e)))
    })?;
    conn.create_scalar_function("packed_lease", 1, flags, |c| {
        let token: Option<String> = c.get(0)?;
        Ok(token.map_or(Value::Null, |token| pack::lease(&LeaseToken(token))))
    })
}
