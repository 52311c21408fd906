//! Activities on the wire: the steps inside a task.

use domain::activity::ActivityView;
use domain::task::State;
use domain::{Document, Text, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::ActivityState;
use crate::task::{Executor, Progress, TaskResult};

/// A step inside a task. Each task has one root activity that shows the task itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Activity {
    /// The integer id, numbered apart from tasks.
    pub id: i64,
    /// The id across systems.
    pub uuid: Uuid,
    /// The task it belongs to.
    pub task_id: i64,
    /// The activity above; absent on the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<i64>,
    /// Whether it is its task's root.
    pub root: bool,
    /// The step, in a word.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is.
    #[schema(value_type = ActivityState)]
    pub state: State,
    /// How it ended; there exactly when `state` is `completed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskResult>,
    /// How far it is; absent before the first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<Executor>,
    /// Whether it survives its task's return to the queue.
    pub sustainable: bool,
    /// Free labels.
    #[schema(value_type = Vec<String>)]
    pub tags: Vec<Text>,
    /// What people and dashboards want to know.
    #[serde(default, skip_serializing_if = "Document::is_null")]
    #[schema(value_type = Value)]
    pub context: Document,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The last change.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

impl From<&ActivityView> for Activity {
    fn from(view: &ActivityView) -> Activity {
        let activity = &view.activity;
        Activity {
            id: activity.id.0,
            uuid: activity.uuid,
            task_id: activity.task.0,
            parent_id: view.parent().map(|p| p.0),
            root: activity.is_root(),
            kind: view.kind().to_owned(),
            state: view.state(),
            result: view.result().map(TaskResult::from),
            progress: view.progress().map(Progress::from),
            executor: view.executor().filter(|e| !e.id.is_empty()).map(Executor::from),
            sustainable: view.sustainable(),
            tags: view.tags().to_vec(),
            context: view.context().clone(),
            created_at: activity.created_at,
            started_at: view.started_at(),
            updated_at: view.updated_at(),
            completed_at: view.completed_at(),
        }
    }
}
