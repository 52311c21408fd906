//! Types, categories, genres and statuses of tasks as the vendor names them (7.2, section 8), and back again: what the
//! ledger has to be asked for to find tasks that are shown under a name.

use domain::query::{Clause, Pattern, TaskField as F, Test, Value};
use domain::resource::ResourceKind;
use domain::task::{ResultCode, State, Task, kind};
use domain::{Code, Error, Result};

use super::filter::{Condition, Operand, Shown};
use super::filter_ledger::Ways;

/// A step after a backup that makes its contents known.
const INDEXING: &str = "indexing";
/// What lies in a place is looked up.
const INVENTORY: &str = "inventory_sync";
/// Backups that were made elsewhere are taken over.
const IMPORT: &str = "import";

/// Canonical types that this API shows under other names or in another category than `system`.
const KNOWN: &[&str] = &[
    kind::BACKUP,
    kind::RECOVERY,
    kind::FILE_RECOVERY,
    INDEXING,
    kind::RETENTION,
    kind::VERIFICATION,
    INVENTORY,
    IMPORT,
    kind::APPLY_POLICY,
    kind::REVOKE_POLICY,
    "policy_update",
    "policy_delete",
    "organizational_unit_create",
    "organizational_unit_update",
    "organizational_unit_delete",
];

/// What the vendor calls things of this kind.
pub(super) fn entity(kind: ResourceKind) -> &'static str {
    match kind {
        ResourceKind::Volume => "aws_ebs_volume",
        ResourceKind::ComputeVm => "aws_ec2_instance",
        ResourceKind::BareMetal => "machine",
        ResourceKind::Image => "image",
        ResourceKind::Mailbox => "microsoft365_mailbox",
    }
}

/// The kind of the resource that a task is about, if it is one of ours.
fn resource_kind(task: &Task) -> Option<ResourceKind> {
    task.spec.resource.as_ref().and_then(|r| ResourceKind::parse(&r.kind))
}

/// The type of a task.
pub(super) fn type_of(task: &Task) -> String {
    shown_type(&task.spec.kind, resource_kind(task), task.spec.seeding)
}

/// The category of a task.
pub(super) fn category_of(task: &Task) -> &'static str {
    category(&task.spec.kind)
}

/// The genre of a category.
pub(super) fn genre(category: &str) -> &'static str {
    match category {
        "backup" | "restore" | "snapshot" | "snapshot_restore" => "operational",
        _ => "administrative",
    }
}

/// Whether tasks of this type can be aborted at all (D31).
pub(super) fn is_abortable_type(task: &Task) -> bool {
    !matches!(task.spec.kind.as_str(), INDEXING | INVENTORY)
}

fn shown_type(kind: &str, of: Option<ResourceKind>, seeding: bool) -> String {
    let mailbox = of == Some(ResourceKind::Mailbox);
    let named = |behind: &str, without: &str| match of {
        Some(of) => format!("{}_{behind}", entity(of)),
        None => without.to_owned(),
    };
    match kind {
        kind::BACKUP if mailbox => named(if seeding { "seeding" } else { "backup" }, kind),
        kind::BACKUP => named(if seeding { "backup_seeding" } else { "incremental_backup" }, kind),
        kind::RECOVERY | kind::FILE_RECOVERY if mailbox => "microsoft365_mail_restore".to_owned(),
        kind::RECOVERY => named("restore", kind),
        kind::FILE_RECOVERY => named("file_restore", kind),
        INDEXING => named("backup_indexing", kind),
        kind::RETENTION => named("backup_retention", "repository_backup_retention"),
        kind::VERIFICATION => named("backup_verification", "repository_backup_verification"),
        INVENTORY if mailbox => "microsoft365_inventory_sync".to_owned(),
        INVENTORY => named("inventory_sync", "aws_environment_inventory_sync"),
        IMPORT => named("import", "repository_import"),
        kind::APPLY_POLICY => "policy_assign".to_owned(),
        kind::REVOKE_POLICY => "policy_unassign".to_owned(),
        other => other.to_owned(),
    }
}

fn category(kind: &str) -> &'static str {
    match kind {
        kind::BACKUP => "backup",
        kind::RECOVERY | kind::FILE_RECOVERY => "restore",
        IMPORT
        | kind::APPLY_POLICY
        | kind::REVOKE_POLICY
        | "policy_update"
        | "policy_delete"
        | "organizational_unit_create"
        | "organizational_unit_update"
        | "organizational_unit_delete" => "management",
        _ => "system",
    }
}

/// The status of a task.
pub(super) fn status_of(task: &Task) -> &'static str {
    match (task.state(), task.result().map(|r| r.code)) {
        (_, Some(ResultCode::Ok | ResultCode::Warning)) => "completed",
        (_, Some(ResultCode::Cancelled)) => "aborted",
        (_, Some(ResultCode::Error | ResultCode::TimedOut | ResultCode::Abandoned)) => "failed",
        _ if task.status.cancel_requested => "aborting",
        (State::Enqueued | State::Assigned, None) => "queued",
        (State::Started | State::Paused | State::Completed, None) => "in_progress",
    }
}

/// The clause that a field has one of these values.
pub(super) fn any_of(field: F, values: impl IntoIterator<Item = Value>) -> Result<Clause<F>> {
    Clause::new(field, Test::AnyOf(values.into_iter().map(Pattern::Is).collect()))
}

/// The clause that a field has some other value than these.
pub(super) fn none_of(field: F, values: impl IntoIterator<Item = Value>) -> Result<Clause<F>> {
    Clause::new(field, Test::NoneOf(values.into_iter().map(Pattern::Is).collect()))
}

pub(super) fn texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<Value> {
    texts.into_iter().map(|t| Value::Text(t.to_owned())).collect()
}

/// The words that a condition on one of some words lets through, whatever `negated` says.
pub(super) fn wanted<K>(condition: &Condition<K>) -> Result<impl Fn(&str) -> bool> {
    match &condition.test {
        super::filter::Test::AnyOf(_) => {
            Ok(|shown: &str| condition.admits(&Shown::text(Some(shown))) != condition.negated)
        }
        _ => Err(Error::new(Code::Internal, "an enumeration was filtered by something else than its words")),
    }
}

/// In which ways a task comes to be shown with one of these statuses.
pub(super) fn of_status<K>(condition: &Condition<K>) -> Result<Ways<F>> {
    let is = wanted(condition)?;
    let mut ways = Vec::new();
    let states = |states: &[State], cancelled: bool| {
        let states = any_of(F::State, states.iter().map(|s| Value::Enum(s.ordinal())))?;
        Ok::<_, Error>(vec![states, any_of(F::CancelRequested, [Value::Bool(cancelled)])?])
    };
    if is("queued") {
        ways.push(states(&[State::Enqueued, State::Assigned], false)?);
    }
    if is("in_progress") {
        ways.push(states(&[State::Started, State::Paused], false)?);
    }
    if is("aborting") {
        ways.push(states(&[State::Enqueued, State::Assigned, State::Started, State::Paused], true)?);
    }
    let ended: [(&str, &[ResultCode]); 3] = [
        ("completed", &[ResultCode::Ok, ResultCode::Warning]),
        ("failed", &[ResultCode::Error, ResultCode::TimedOut, ResultCode::Abandoned]),
        ("aborted", &[ResultCode::Cancelled]),
    ];
    let results: Vec<_> = ended.into_iter().filter(|(status, _)| is(status)).flat_map(|(_, codes)| codes).collect();
    if !results.is_empty() {
        ways.push(vec![any_of(F::Result, results.into_iter().map(|r| Value::Enum(r.ordinal())))?]);
    }
    Ok(ways)
}

/// In which ways a task comes to be shown with one of these categories; `of` makes a genre of it, or leaves it.
pub(super) fn of_category<K>(condition: &Condition<K>, of: fn(&'static str) -> &'static str) -> Result<Ways<F>> {
    let is = wanted(condition)?;
    let known: Vec<_> = KNOWN.iter().copied().filter(|k| is(of(category(k)))).collect();
    let mut ways = Vec::new();
    match (is(of("system")), known.len()) {
        // All that this API does not know by another name is of the system.
        (true, _) => {
            let others: Vec<_> = KNOWN.iter().copied().filter(|k| !known.contains(k)).collect();
            ways.push(if others.is_empty() { Vec::new() } else { vec![none_of(F::Type, texts(others))?] });
        }
        (false, 0) => {}
        (false, _) => ways.push(vec![any_of(F::Type, texts(known))?]),
    }
    Ok(ways)
}

/// In which ways a task comes to be shown with one of these types.
pub(super) fn of_type<K>(condition: &Condition<K>) -> Result<Ways<F>> {
    let is = wanted(condition)?;
    let mut ways = Vec::new();
    let mut whole = Vec::new();
    for kind in KNOWN.iter().copied() {
        let both = |of| [true, false].map(|seeding| is(&shown_type(kind, of, seeding)));
        let of_kinds: Vec<_> = ResourceKind::ALL.iter().map(|k| (*k, both(Some(*k)))).collect();
        let without = both(None);
        if without == [true; 2] && of_kinds.iter().all(|(_, b)| *b == [true; 2]) {
            whole.push(kind);
            continue;
        }
        for seedings in [[true, true], [true, false], [false, true]] {
            let mut way = vec![any_of(F::Type, texts([kind]))?];
            if seedings != [true; 2] {
                way.push(any_of(F::Seeding, [Value::Bool(seedings[0])])?);
            }
            let with = |more: Clause<F>| way.iter().cloned().chain([more]).collect::<Vec<_>>();
            let kinds: Vec<_> = of_kinds.iter().filter(|(_, b)| *b == seedings).map(|(k, _)| k.name()).collect();
            if !kinds.is_empty() {
                ways.push(with(any_of(F::ResourceType, texts(kinds))?));
            }
            if without == seedings {
                ways.push(with(Clause::new(F::ResourceType, Test::Absent)?));
                ways.push(with(none_of(F::ResourceType, texts(ResourceKind::NAMES.iter().copied()))?));
            }
        }
    }
    if !whole.is_empty() {
        ways.push(vec![any_of(F::Type, texts(whole))?]);
    }
    if let super::filter::Test::AnyOf(values) = &condition.test {
        let same = values.iter().filter_map(|v| match v {
            Operand::Text(text) => Some(Pattern::Same(text.clone())),
            _ => None,
        });
        let same: Vec<_> = same.collect();
        if !same.is_empty() {
            ways.push(vec![Clause::new(F::Type, Test::AnyOf(same))?, none_of(F::Type, texts(KNOWN.iter().copied()))?]);
        }
    }
    Ok(ways)
}
