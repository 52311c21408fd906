//! Calls that begin a task: what is kept of the request, and how they are answered.

use axum::http::StatusCode;
use domain::task::Task;
use domain::{Code, Error};
use serde_json::{Value, json};

use super::body::Body;
use super::call::{Call, Reply, get};
use super::failure::{Cause, Failure};
use super::task_shown::ShownTask;
use crate::service::Asked;

/// Who issues the tasks of this API.
const ISSUER: &str = "clumio";

impl Call {
    /// What of the request is kept with its task; `body` as it was sent, where there is one.
    pub(super) fn asked(&self, body: Option<&Body>) -> Asked {
        Asked {
            issuer: ISSUER.to_owned(),
            client: self.client().unwrap_or_default(),
            request: body.map_or(Value::Null, |body| Value::Object(body.raw().clone())),
        }
    }

    /// The links of an answer that a task follows.
    pub(super) fn links_to(&self, task: &Task) -> Value {
        json!({ "_self": self.own_link(), "read-task": get(&format!("/tasks/{}", task.id)) })
    }

    /// The task itself, where it is asked for (5.3).
    pub(super) fn embedded(&self, task: &Task) -> Value {
        if self.params.embeds("read-task") { json!({ "read-task": ShownTask::of(task) }) } else { Value::Null }
    }

    /// The answer with the task's number; `more` are further members of it.
    pub(super) fn started(&self, status: StatusCode, task: &Task, more: Value) -> Reply {
        let mut body = json!({
            "task_id": task.id.to_string(), "_links": self.links_to(task), "_embedded": self.embedded(task),
        });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, more) {
            body.extend(more);
        }
        self.answer(status, body)
    }
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
