//! What a request left in the ledger, for the tests of every endpoint: after a refusal it is what it was, and whatever did
//! change tells who changed it.

use std::collections::BTreeMap;

use domain::audit::AuditEntry;
use domain::{Caller, Scope};
use ledger::Ledger;
use serde_json::Value;

/// All that the ledger holds, line by line.
pub(crate) async fn held(ledger: &dyn Ledger) -> String {
    ledger.dump(&Scope::everything()).await.expect("the ledger prints itself")
}

/// Checks that whatever lies between two states of the ledger tells that this caller did it, and gives what audit entries say
/// was done. A task that is new or cancelled names him itself. Anything else has an entry about it, or belongs to something
/// that has: the activities of a task, the next run of an application whose policy was changed.
///
/// # Panics
/// When something changed and nothing tells by whom.
pub(crate) fn told(before: &str, after: &str, by: &Caller, what: &str) -> Vec<String> {
    let changes = changes(before, after);
    let entries: Vec<AuditEntry> = changes.iter().filter(|c| c.kind == "audit").map(|c| entry(c, by, what)).collect();
    for entry in &entries {
        let tenant = ("tenant", entry.tenant.to_string());
        assert!(after.lines().any(|line| key(line) == tenant), "{what}: of no tenant: {entry:?}");
    }
    let named = format!("\"{}\"", by.name);
    let mut known: Vec<&str> = entries.iter().map(|e| e.object.as_str()).collect();
    for task in changes.iter().filter(|c| c.kind == "task" && c.line.contains(&named)) {
        known.extend(task.line.split(" uuid=").nth(1).and_then(|rest| rest.split(' ').next()));
        known.push(&task.id);
    }
    for Change { kind, id, line } in &changes {
        let of_task = |number: &&str| line.contains(&format!(" of task {number} "));
        let told = match *kind {
            "audit" => true,
            "task" => known.contains(&id.as_str()),
            "activity" => known.iter().any(of_task),
            // Its own id, or that of what it belongs to.
            _ => {
                known.iter().any(|known| known.len() == UUID && line.contains(known))
                    || of_one_known(&changes, &known, id)
            }
        };
        assert!(told, "{what}: nothing tells who changed this:\n{line}\nThere are entries about {known:?}");
    }
    entries.into_iter().map(|entry| entry.action).collect()
}

/// How long a uuid is as text.
const UUID: usize = 36;

/// Whether something that is told of names this id.
fn of_one_known(changes: &[Change<'_>], known: &[&str], id: &str) -> bool {
    changes.iter().any(|c| c.kind != "audit" && known.contains(&c.id.as_str()) && c.line.contains(id))
}

/// The entry in a line, which has to be whole.
fn entry(change: &Change<'_>, by: &Caller, what: &str) -> AuditEntry {
    let value = record(change.line).unwrap_or_default();
    let entry: AuditEntry = serde_json::from_value(value).unwrap_or_else(|e| panic!("{what}: {e} in {}", change.line));
    assert_eq!((entry.actor_kind, entry.actor), (by.actor.kind, by.actor.id), "{what}: by somebody else: {entry:?}");
    let said = [&entry.actor_name, &entry.action, &entry.object];
    assert!(said.iter().all(|text| !text.is_empty()), "{what}: something is not said: {entry:?}");
    entry
}

/// Something that came, went or became another.
struct Change<'t> {
    kind: &'t str,
    id: String,
    /// As it is; as it was, if it went.
    line: &'t str,
}

fn changes<'t>(before: &'t str, after: &'t str) -> Vec<Change<'t>> {
    let rows = |text: &'t str| -> BTreeMap<(&'t str, String), &'t str> {
        let rows = text.lines().filter(|line| !line.is_empty() && !line.starts_with("ledger "));
        rows.map(|line| (key(line), line)).collect()
    };
    let (mut gone, mut new) = (rows(before), rows(after));
    new.retain(|key, line| gone.remove(key) != Some(*line));
    gone.into_iter().chain(new).map(|((kind, id), line)| Change { kind, id, line }).collect()
}

/// The kind and the id of a line: `task 7 ..`, `activity 7 of ..`, or `policy rev=3 {"id":"..", ..}`.
fn key(line: &str) -> (&str, String) {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let of_record = record(line).and_then(|r| r["id"].as_str().map(str::to_owned));
    (kind, of_record.unwrap_or_else(|| rest.split(' ').next().unwrap_or_default().to_owned()))
}

/// A record as its line tells it; none for tasks and activities.
fn record(line: &str) -> Option<Value> {
    let (_, rest) = line.split_once(" rev=")?;
    serde_json::from_str(rest.split_once(' ')?.1).ok()
}
