//! Tasks as the Image API shows them (contract, section 7).

use domain::SignedDuration;
use domain::task::{Named, ResultCode, Standing, Task, TaskError, kind};
use serde_json::{Map, Value, json};

use super::super::{hex, time};

/// Where a task keeps what the Image API alone shows of it.
pub(super) const CONTEXT: &str = "image_api";

/// A task as it stands in lists: nothing is null, and what was asked for and came of it is left out (G6).
pub(super) fn listed(task: &Task, prefix: &str, shown: SignedDuration) -> Map<String, Value> {
    let spec = &*task.spec;
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| members.insert(name.to_owned(), value);
    add("id", spec.uuid.to_string().into());
    add("type", spec.kind.as_str().into());
    add("status", task.standing().name().into());
    add("owner", hex(spec.tenant).into());
    add("created_at", time::seconds(task.created_at).into());
    add("updated_at", time::seconds(task.status.updated_at).into());
    if let Some(expires_at) = task.completed_at().and_then(|t| t.checked_add(shown).ok()) {
        add("expires_at", time::seconds(expires_at).into());
    }
    if spec.kind == kind::IMPORT
        && let Some(image) = &spec.resource
    {
        add("image_id", image.id.as_str().into());
    }
    for name in ["request_id", "user_id"] {
        if let Some(value) = spec.context[CONTEXT][name].as_str() {
            add(name, value.into());
        }
    }
    if !spec.issuer.id.is_empty() && spec.context[CONTEXT]["user_id"].is_null() {
        add("user_id", spec.issuer.id.replace('-', "").into());
    }
    add("self", format!("{prefix}/v2/tasks/{}", spec.uuid).into());
    add("schema", format!("{prefix}/v2/schemas/task").into());
    members
}

/// A task with everything.
pub(super) fn whole(task: &Task, prefix: &str, shown: SignedDuration) -> Map<String, Value> {
    let mut members = listed(task, prefix, shown);
    members.insert("input".to_owned(), input(task));
    members.insert("result".to_owned(), result(task));
    members.insert("message".to_owned(), message(task).into());
    members
}

/// What was asked for: of an import as it was asked, of other work what it is about. Arguments of others are not shown,
/// because nobody knows what is in them.
fn input(task: &Task) -> Value {
    let spec = &*task.spec;
    let asked = &spec.context[CONTEXT]["input"];
    if asked.is_object() {
        return asked.clone();
    }
    let named = |n: &Named| json!({ "id": n.id, "type": n.kind, "name": n.name });
    let mut input = Map::new();
    if let Some(resource) = &spec.resource {
        input.insert("resource".to_owned(), named(resource));
    }
    if let Some(policy) = &spec.policy {
        input.insert("policy".to_owned(), named(policy));
    }
    if input.is_empty() { Value::Null } else { Value::Object(input) }
}

fn result(task: &Task) -> Value {
    match (task.standing(), task.result()) {
        (Standing::Success, Some(result)) => {
            let mut shown = match &*result.payload {
                Value::Object(members) => members.clone(),
                Value::Null => Map::new(),
                other => Map::from_iter([("payload".to_owned(), other.clone())]),
            };
            if !result.warnings.is_empty() {
                shown.insert("warnings".to_owned(), result.warnings.iter().map(told).collect());
            }
            if shown.is_empty() { Value::Null } else { Value::Object(shown) }
        }
        // G12
        (Standing::Processing, _) => match &task.status.progress {
            Some(p) => json!({ "progress": { "current": p.current, "total": p.total } }),
            None => Value::Null,
        },
        _ => Value::Null,
    }
}

fn message(task: &Task) -> String {
    let Some(result) = task.result() else { return String::new() };
    match task.standing() {
        Standing::Failure => match &result.error {
            Some(error) => told(error),
            None => ended(result.code).to_owned(),
        },
        _ => result.warnings.first().map(told).unwrap_or_default(),
    }
}

/// What there is to say of an end that nobody gave a reason for.
fn ended(code: ResultCode) -> &'static str {
    match code {
        ResultCode::Cancelled => "The task was cancelled while it ran.",
        ResultCode::Abandoned => "The task was given up: whoever worked on it was lost, and it is not tried again.",
        ResultCode::TimedOut => "The task was stopped: the time that it was given is over.",
        ResultCode::Error | ResultCode::Ok | ResultCode::Warning => "The task failed, and no reason was given.",
    }
}

/// An error with what led to it, as sentences.
fn told(error: &TaskError) -> String {
    let own = if error.message.is_empty() { &error.code } else { &error.message };
    match error.cause.as_deref() {
        Some(cause) => format!("{} {}", super::super::sentence(own), told(cause)),
        None => super::super::sentence(own),
    }
}
