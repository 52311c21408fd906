//! The context of tasks and root activities (contract, 8.5, D55): what the issuer gave, and the keys that dashboards read
//! where the issuer left them out. They are worked out when shown, from what was copied into the task when it was made,
//! so they never change; nothing that was given is overwritten.

use domain::task::{Named, State, Task, kind};
use domain::{Text, Uuid};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value, json};

use super::wire::Bytes;

/// The canonical key of what this dialect calls `runMode`.
const RUN_MODE: &str = "run_mode";

/// A context as it is shown.
#[derive(Debug)]
pub(in crate::dialects::acronis) enum Context<'a> {
    /// Whatever was given.
    AsGiven(&'a Value),
    /// An object, with what was left out.
    Filled {
        /// What was given; none = nothing.
        given: Option<&'a Map<String, Value>>,
        /// A key of `given` that is shown under another name.
        hidden: Option<&'static str>,
        /// What was left out.
        added: Vec<(&'static str, Value)>,
    },
}

impl<'a> Context<'a> {
    /// A step's own context: nothing is filled in.
    pub(super) fn own(given: &'a Value) -> Option<Context<'a>> {
        (!given.is_null()).then_some(Context::AsGiven(given))
    }

    /// The context of a task and of its root activity.
    pub(super) fn filled(task: &'a Task, bytes: Option<Bytes>) -> Context<'a> {
        let given = match &*task.spec.context {
            Value::Null => None,
            Value::Object(given) => Some(given),
            other => return Context::AsGiven(other),
        };
        let has = |key: &str| given.is_some_and(|g| g.contains_key(key));
        let mut run_mode = given.and_then(|g| g.get(RUN_MODE)).filter(|mode| mode.is_string());
        if has("runMode") {
            // The issuer uses the word of this dialect, so the other is the issuer's own affair.
            run_mode = None;
        }
        let hidden = run_mode.map(|_| RUN_MODE);
        let mut added = left_out(task, run_mode, bytes);
        added.retain(|(key, _)| !has(key));
        Context::Filled { given, hidden, added }
    }
}

impl Serialize for Context<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Context::AsGiven(value) => value.serialize(s),
            Context::Filled { given, hidden, added } => {
                let mut map = s.serialize_map(None)?;
                for (key, value) in given.iter().flat_map(|g| g.iter()).filter(|(k, _)| Some(k.as_str()) != *hidden) {
                    map.serialize_entry(key, value)?;
                }
                for (key, value) in added {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// Every key that the server knows a value for, whether it was given or not.
fn left_out(task: &Task, run_mode: Option<&Value>, bytes: Option<Bytes>) -> Vec<(&'static str, Value)> {
    let spec = &task.spec;
    let part = |named: &Option<Named>, get: fn(&Named) -> &Text| {
        named.as_ref().map(get).filter(|text| !text.is_empty()).map(|text| json!(text))
    };
    let machine = part(&spec.resource, |n| &n.name);
    let plan = part(&spec.policy, |n| &n.name);
    let by_hand = if spec.started_by.is_some() { "manual" } else { "scheduled" };
    let mut keys = vec![
        ("title", Some(json!(title(task)))),
        ("IsProcessRoot", Some(json!(true))),
        ("runMode", Some(run_mode.cloned().unwrap_or_else(|| json!(by_hand)))),
        ("MachineName", machine.clone()),
        ("PlanName", plan.clone()),
    ];
    if spec.kind == kind::BACKUP {
        let mut persistent = Map::new();
        persistent.extend(part(&spec.resource, |n| &n.id).map(|id| ("ID".to_owned(), id)));
        persistent.extend(machine.map(|name| ("Name".to_owned(), name)));
        keys.extend([
            ("BackupPlanID", part(&spec.policy, |n| &n.id)),
            ("BackupPlanName", plan),
            ("ArchiveName", archive(spec.resource.as_ref(), spec.policy.as_ref()).map(Value::String)),
            ("UserName", spec.started_by.as_deref().filter(|name| !name.is_empty()).map(|name| json!(name))),
            ("Persistent", (!persistent.is_empty()).then_some(Value::Object(persistent))),
        ]);
    }
    if task.state() == State::Completed {
        keys.push(("_runtime", bytes.map(|b| json!(b))));
    }
    keys.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// What the task does, in a sentence. Parts that are not known are left out.
fn title(task: &Task) -> String {
    let spec = &task.spec;
    let name = |named: &Option<Named>, before: &str| match named {
        Some(n) if !n.name.is_empty() => format!("{before} '{}'", n.name),
        _ => String::new(),
    };
    match spec.kind.as_str() {
        kind::BACKUP => {
            format!("Running backup{}{}", name(&spec.resource, " of"), name(&spec.policy, " by plan"))
        }
        "apply_policy" => format!("Applying plan{}{}", name(&spec.policy, ""), name(&spec.resource, " to")),
        "revoke_policy" => format!("Revoking plan{}{}", name(&spec.policy, ""), name(&spec.resource, " from")),
        // Vendors use GUIDs as types, which tell people nothing.
        guid if Uuid::try_parse(guid).is_ok() => format!("Running task{}", name(&spec.resource, " of")),
        other => format!("Running {}{}", other.replace('_', " "), name(&spec.resource, " of")),
    }
}

/// The name of the series of backups: that of the resource, and of the policy if there is one.
fn archive(resource: Option<&Named>, policy: Option<&Named>) -> Option<String> {
    let name = |named: Option<&Named>| named.map(|n| n.name.clone()).filter(|name| !name.is_empty());
    match (name(resource)?, name(policy)) {
        (resource, Some(policy)) => Some(format!("{resource} - {policy}")),
        (resource, None) => Some(resource.into()),
    }
}
