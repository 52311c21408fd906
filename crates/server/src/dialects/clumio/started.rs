//! Calls that begin a task: what is kept of the request, and how they are answered.

use axum::http::StatusCode;
use domain::task::Task;
use domain::{Code, Error};
use serde_json::{Value, json};

use super::body::Body;
use super::call::{Call, Reply, get};
use super::failure::{Cause, Failure};
use super::tasks::task_json;
use crate::service::Asked;

/// Who issues the tasks of this API.
const ISSUER: &str = "clumio";

/// What of the request is kept with its task.
pub(super) fn asked(call: &Call, body: &Body) -> Asked {
    Asked {
        issuer: ISSUER.to_owned(),
        client: call.client().unwrap_or_default(),
        request: Value::Object(body.raw().clone()),
    }
}

/// The answer with the task's number; `more` are further members of it.
pub(super) async fn started(call: &Call, status: StatusCode, task: &Task, more: Value) -> Result<Reply, Failure> {
    let mut body = json!({
        "task_id": task.id.to_string(),
        "_links": { "_self": call.own_link(), "read-task": get(&format!("/tasks/{}", task.id)) },
        "_embedded": embedded_task(call, task),
    });
    if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
        body.extend(more);
    }
    Ok(call.answer(status, body))
}

/// The task where it is wished for.
fn embedded_task(call: &Call, task: &Task) -> Value {
    if !call.params.embeds("read-task") {
        return Value::Null;
    }
    json!({ "read-task": task_json(task) })
}

/// What a service refused of the member of this name: what does not exist is a wrong member (section 4).
pub(super) fn in_body(error: Error, member: &str, what: &str) -> Failure {
    match error.code {
        Code::NotFound => Failure::new(Cause::Member, format!("{member}: no such {what}")),
        Code::InvalidField | Code::MissingField => {
            let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            Failure::new(Cause::Member, format!("{member}: {}{hint}", error.message))
        }
        _ => error.into(),
    }
}
