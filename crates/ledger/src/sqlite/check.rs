//! Looking for damage: that of the file, and rows that contradict each other.

use domain::record::RecordKind;
use domain::{Result, Scope};
use rusqlite::{Connection, params_from_iter};

use super::error::Sql;
use super::filter::{self, Builder};
use super::rows::{self, ACTIVITY_COLUMNS, Columns, TASK_COLUMNS};
use super::words::Db;

/// What must never be found: each gives a sentence for a row that breaks a rule.
const RULES: &[&str] = &[
    "SELECT 'task ' || id || ' has no status' FROM tasks WHERE id NOT IN (SELECT id FROM task_status)",
    "SELECT 'the status ' || id || ' has no task' FROM task_status WHERE id NOT IN (SELECT id FROM tasks)",
    "SELECT 'task ' || id || ' waits and has no place in its queue' FROM task_status
     WHERE state = 0 AND id NOT IN (SELECT id FROM waiting)",
    "SELECT 'task ' || w.id || ' has a place in a queue where it does not wait'
     FROM waiting w LEFT JOIN lanes l ON l.id = w.lane LEFT JOIN tasks t ON t.id = w.id
     LEFT JOIN task_status s ON s.id = w.id
     WHERE s.state IS NOT 0 OR (SELECT word FROM words WHERE id = t.type) IS NOT w.type
        OR (SELECT id FROM tenants WHERE number = t.tenant) IS NOT w.tenant OR l.priority IS NOT t.priority
        OR (SELECT word FROM words WHERE id = t.queue) IS NOT l.queue
        OR coalesce((SELECT word FROM words WHERE id = t.affinity_agent), '') IS NOT l.agent
        OR coalesce((SELECT word FROM words WHERE id = t.affinity_cluster), '') IS NOT l.cluster",
    "SELECT 'task ' || t.id || ' has a word that does not exist' FROM tasks t JOIN task_status s ON s.id = t.id
     WHERE EXISTS (SELECT 1 FROM (SELECT t.type AS word UNION ALL SELECT t.queue UNION ALL SELECT t.rules
         UNION ALL SELECT t.tags UNION ALL SELECT t.issuer_id UNION ALL SELECT t.issuer_cluster_id
         UNION ALL SELECT t.started_by UNION ALL SELECT t.affinity_agent UNION ALL SELECT t.affinity_cluster
         UNION ALL SELECT s.executor_id UNION ALL SELECT s.executor_cluster_id) w
         WHERE w.word IS NOT NULL AND w.word NOT IN (SELECT id FROM words))",
    "SELECT 'task ' || id || ' has a policy or resource that does not exist' FROM tasks
     WHERE (policy IS NOT NULL AND policy NOT IN (SELECT id FROM named))
        OR (resource IS NOT NULL AND resource NOT IN (SELECT id FROM named))",
    "SELECT 'activity ' || id || ' has a word that does not exist' FROM steps a
     WHERE EXISTS (SELECT 1 FROM (SELECT a.type AS word UNION ALL SELECT a.tags UNION ALL SELECT a.executor_id
         UNION ALL SELECT a.executor_cluster_id) w WHERE w.word IS NOT NULL AND w.word NOT IN (SELECT id FROM words))",
    "SELECT 'task ' || id || ' is completed and has no root activity' FROM task_status
     WHERE state = 4 AND root_id IS NULL",
    "SELECT 'activity ' || a.id || ' is a root and a step' FROM steps a JOIN task_status s ON s.root_id = a.id",
    "SELECT 'activity ' || a.id || ' is open, but its task ' || a.task || ' is completed'
     FROM steps a JOIN task_status s ON s.id = a.task WHERE a.state < 4 AND s.state = 4",
    "SELECT 'activity ' || a.id || ' lies below one of another task'
     FROM steps a JOIN steps p ON p.id = a.parent WHERE p.task <> a.task",
    "SELECT 'activity ' || a.id || ' lies below one of another task'
     FROM steps a JOIN task_status p ON p.root_id = a.parent WHERE p.id <> a.task",
    "SELECT 'activity ' || id || ' lies below one that does not exist' FROM steps WHERE parent IS NOT NULL
       AND parent NOT IN (SELECT id FROM steps UNION ALL SELECT root_id FROM task_status WHERE root_id IS NOT NULL)",
    "SELECT 'task ' || s.id || ' is newer than the ledger' FROM task_status s, counters c
     WHERE s.rev > c.rev OR s.updated_at > c.stamp OR s.id > c.last_task",
    "SELECT 'activity ' || a.id || ' is newer than the ledger'
     FROM (SELECT id, created_at FROM steps UNION ALL SELECT root_id, root_at FROM task_status) a, counters c
     WHERE a.id > c.last_activity OR a.created_at > c.stamp",
    "SELECT 'task ' || p.id || ' was purged and is there' FROM purged p JOIN tasks t ON t.id = p.id",
    "SELECT 'the counters are missing' WHERE NOT EXISTS (SELECT 1 FROM counters)",
    "SELECT 'the tenant ' || n.id || ' does not stand where its locator says'
     FROM tenants n LEFT JOIN tenants p ON p.id = n.parent
     WHERE n.locator <> coalesce(p.locator, '/') || n.number || '/'",
];

/// How many findings of one sort are listed.
const SHOWN: usize = 100;

/// One sentence for each finding. The file and the rules are looked at as a whole; rows only within the scope.
pub(super) fn check(db: Db<'_>, scope: &Scope) -> Result<Vec<String>> {
    let mut found =
        sentences(&db, "SELECT 'the file: ' || integrity_check FROM pragma_integrity_check", "the file: ok")?;
    let foreign = "SELECT 'a row of ' || \"table\" || ' refers to one of ' || parent || ' that does not exist'
                   FROM pragma_foreign_key_check";
    found.extend(sentences(&db, foreign, "")?);
    for rule in RULES {
        found.extend(sentences(&db, rule, "")?);
    }
    for kind in RecordKind::ALL {
        let newer = format!(
            "SELECT 'the {kind} ' || r.id || ' is newer than the ledger' FROM {} r, counters c WHERE r.rev > c.rev",
            rows::table(*kind)
        );
        found.extend(sentences(&db, &newer, "")?);
    }
    found.extend(unreadable(db, scope)?);
    Ok(found)
}

fn sentences(conn: &Connection, sql: &str, fine: &str) -> Result<Vec<String>> {
    let mut statement = conn.prepare(sql).sql()?;
    let found = statement.query_map([], |r| r.get::<_, String>(0)).sql()?;
    found.filter(|s| !matches!(s, Ok(s) if s == fine)).take(SHOWN).collect::<rusqlite::Result<_>>().sql()
}

/// Rows that cannot be read as what they should be.
fn unreadable(db: Db<'_>, scope: &Scope) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut look = |sql: String, params: &[rusqlite::types::Value], what: &str, read: Read| -> Result<()> {
        let mut statement = db.prepare(&sql).sql()?;
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
    let sql = format!("SELECT t.id, {} {}", TASK_COLUMNS, tasks.rows());
    look(sql, tasks.params(), "task", &|c| c.task(db).map(drop))?;
    let steps = Builder::within(scope, filter::activities());
    let sql = format!("SELECT a.id, {} {}", ACTIVITY_COLUMNS, steps.rows());
    look(sql, steps.params(), "activity", &|c| c.activity(db).map(drop))?;
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
