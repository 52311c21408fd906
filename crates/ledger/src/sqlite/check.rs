//! Looking for damage: that of the file, and rows that contradict each other.

use domain::record::RecordKind;
use domain::{Result, Scope};
use rusqlite::{Connection, params_from_iter};

use super::error::Sql;
use super::filter::{self, Builder};
use super::read;
use super::rows::{self, Columns};

/// What must never be found: each gives a sentence for a row that breaks a rule.
const RULES: &[&str] = &[
    "SELECT 'task ' || id || ' has no status' FROM tasks WHERE id NOT IN (SELECT id FROM task_status)",
    "SELECT 'the status ' || id || ' has no task' FROM task_status WHERE id NOT IN (SELECT id FROM tasks)",
    "SELECT 'task ' || t.id || ' stands otherwise in its queue than it was wished'
     FROM tasks t JOIN task_status s ON s.id = t.id
     WHERE s.queue <> t.queue OR s.priority <> t.priority OR s.affinity_agent IS NOT t.affinity_agent",
    "SELECT 'task ' || id || ' is completed and has no root activity' FROM task_status s
     WHERE state = 4 AND NOT EXISTS (SELECT 1 FROM activities WHERE task = s.id AND root = 1)",
    "SELECT 'activity ' || a.id || ' is open, but its task ' || a.task || ' is completed'
     FROM activities a JOIN task_status s ON s.id = a.task WHERE a.state < 4 AND s.state = 4",
    "SELECT 'activity ' || a.id || ' lies below one of another task'
     FROM activities a JOIN activities p ON p.id = a.parent WHERE p.task <> a.task",
    "SELECT 'activity ' || id || ' lies below one that does not exist'
     FROM activities WHERE parent IS NOT NULL AND parent NOT IN (SELECT id FROM activities)",
    "SELECT 'task ' || s.id || ' is newer than the ledger' FROM task_status s, counters c
     WHERE s.rev > c.rev OR s.updated_at > c.stamp OR s.id > c.last_task",
    "SELECT 'activity ' || a.id || ' is newer than the ledger' FROM activities a, counters c
     WHERE a.id > c.last_activity OR a.created_at > c.stamp",
    "SELECT 'the counters are missing' WHERE NOT EXISTS (SELECT 1 FROM counters)",
    "SELECT 'the tenant ' || n.id || ' does not stand where its locator says'
     FROM tenants n LEFT JOIN tenants p ON p.id = n.parent
     WHERE n.locator <> coalesce(p.locator, '/') || n.number || '/'",
];

/// How many findings of one sort are listed.
const SHOWN: usize = 100;

/// One sentence for each finding. The file and the rules are looked at as a whole; rows only within the scope.
pub(super) fn check(conn: &Connection, scope: &Scope) -> Result<Vec<String>> {
    let mut found =
        sentences(conn, "SELECT 'the file: ' || integrity_check FROM pragma_integrity_check", "the file: ok")?;
    let foreign = "SELECT 'a row of ' || \"table\" || ' refers to one of ' || parent || ' that does not exist'
                   FROM pragma_foreign_key_check";
    found.extend(sentences(conn, foreign, "")?);
    for rule in RULES {
        found.extend(sentences(conn, rule, "")?);
    }
    for kind in RecordKind::ALL {
        let newer = format!(
            "SELECT 'the {kind} ' || r.id || ' is newer than the ledger' FROM {} r, counters c WHERE r.rev > c.rev",
            rows::table(*kind)
        );
        found.extend(sentences(conn, &newer, "")?);
    }
    found.extend(unreadable(conn, scope)?);
    Ok(found)
}

fn sentences(conn: &Connection, sql: &str, fine: &str) -> Result<Vec<String>> {
    let mut statement = conn.prepare(sql).sql()?;
    let found = statement.query_map([], |r| r.get::<_, String>(0)).sql()?;
    found.filter(|s| !matches!(s, Ok(s) if s == fine)).take(SHOWN).collect::<rusqlite::Result<_>>().sql()
}

/// Rows that cannot be read as what they should be.
fn unreadable(conn: &Connection, scope: &Scope) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut look = |sql: String, params: &[rusqlite::types::Value], what: &str, read: Read| -> Result<()> {
        let mut statement = conn.prepare(&sql).sql()?;
        let mut rows = statement.query(params_from_iter(params)).sql()?;
        let mut shown = 0;
        while let Some(row) = rows.next().sql()? {
            let mut columns = Columns::of(row);
            let id: rusqlite::types::Value = columns.get().sql()?;
            if let Err(e) = read(&mut columns) {
                found.push(format!("the {what} {} cannot be read: {e}", plain(&id)));
                shown += 1;
            }
            if shown == SHOWN {
                break;
            }
        }
        Ok(())
    };
    let tasks = Builder::within(scope, filter::tasks());
    let sql = format!("SELECT t.id, {} {}", read::task_columns(), tasks.rows());
    look(sql, tasks.params(), "task", &|c| c.task().map(drop))?;
    let steps = Builder::within(scope, filter::activities());
    let sql = format!("SELECT a.id, {} {}", read::activity_columns(), steps.rows());
    look(sql, steps.params(), "activity", &|c| c.activity().map(drop))?;
    for kind in RecordKind::ALL {
        let records = Builder::within(scope, filter::records(*kind));
        let sql = format!("SELECT r.id, r.rev, r.body {}", records.rows());
        look(sql, records.params(), kind.name(), &|c| c.record(*kind).map(drop))?;
    }
    Ok(found)
}

type Read<'a> = &'a dyn Fn(&mut Columns<'_>) -> rusqlite::Result<()>;

fn plain(value: &rusqlite::types::Value) -> String {
    match value {
        rusqlite::types::Value::Integer(n) => n.to_string(),
        rusqlite::types::Value::Text(s) => s.clone(),
        other => format!("{other:?}"),
    }
}
