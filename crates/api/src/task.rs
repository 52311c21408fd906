//! Tasks on the wire.

use std::collections::BTreeMap;

use domain::task::{self, Priority, ResultCode, State};
use domain::{Document, SignedDuration, Text, Timestamp, Uuid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::names::{PriorityName, ResultName, TaskState};

/// One piece of work, from wish to result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// The integer id: dense, in order of creation, at most 2^53 - 1.
    pub id: i64,
    /// The id across systems.
    pub uuid: Uuid,
    /// What sort of work; an open set. Known: `backup`, `recovery`, `file_recovery`.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Text,
    /// Where it is.
    #[schema(value_type = TaskState)]
    pub state: State,
    /// How it ended; there exactly when `state` is `completed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<TaskResult>,
    /// Whether somebody wants it cancelled: a fact beside the state.
    pub cancel_requested: bool,
    /// How far it is; absent before the first report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Why it cannot go on without a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
    /// The owner.
    pub tenant: Uuid,
    /// The policy it belongs to, as it was named when the task was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Named>,
    /// The resource it is about, as it was named when the task was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Named>,
    /// The thing it hangs below in another system's model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_entity: Option<ParentEntity>,
    /// The API client that created it; absent when the server did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Executor>,
    /// The person or program behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub started_by: Option<Text>,
    /// Who has it or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<Executor>,
    /// Who may take it; absent = anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// The queue it waits in.
    #[schema(value_type = String)]
    pub queue: Text,
    /// How urgent it is.
    #[schema(value_type = PriorityName)]
    pub priority: Priority,
    /// Free labels.
    #[schema(value_type = Vec<String>)]
    pub tags: Vec<Text>,
    /// The workflow it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<i64>,
    /// Whether it is the first, full backup of its archive.
    pub seeding: bool,
    /// What the executor needs to know.
    #[serde(default, skip_serializing_if = "Document::is_null")]
    #[schema(value_type = Value)]
    pub argument: Document,
    /// What people and dashboards want to know.
    #[serde(default, skip_serializing_if = "Document::is_null")]
    #[schema(value_type = Value)]
    pub context: Document,
    /// What limits its life.
    pub rules: Rules,
    /// How often it was handed out.
    pub assign_count: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last entered the queue.
    pub enqueued_at: Timestamp,
    /// When it was handed to its present or last executor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<Timestamp>,
    /// When that executor began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The last change.
    pub updated_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

impl From<&task::Task> for Task {
    fn from(task: &task::Task) -> Task {
        let (spec, status) = (&*task.spec, &task.status);
        Task {
            id: task.id.0,
            uuid: spec.uuid,
            kind: spec.kind.clone(),
            state: task.state(),
            result: task.result().map(TaskResult::from),
            cancel_requested: status.cancel_requested,
            progress: status.progress.as_ref().map(Progress::from),
            blockers: status.blockers.iter().map(Blocker::from).collect(),
            tenant: spec.tenant,
            policy: spec.policy.as_ref().map(Named::from),
            resource: spec.resource.as_ref().map(Named::from),
            parent_entity: spec.parent_entity.as_ref().map(ParentEntity::from),
            issuer: (!spec.issuer.id.is_empty())
                .then(|| Executor { id: spec.issuer.id.clone(), cluster_id: set(&spec.issuer.cluster_id) }),
            started_by: spec.started_by.clone(),
            executor: task.executor().map(Executor::from),
            affinity: Affinity::of(&spec.affinity),
            queue: spec.queue.clone(),
            priority: spec.priority,
            tags: spec.tags.clone(),
            workflow_id: spec.workflow_id,
            seeding: spec.seeding,
            argument: spec.argument.clone(),
            context: spec.context.clone(),
            rules: Rules::from(&spec.rules),
            assign_count: status.assign_count,
            created_at: task.created_at,
            enqueued_at: status.enqueued_at,
            assigned_at: task.assigned_at(),
            started_at: task.started_at(),
            updated_at: status.updated_at,
            completed_at: task.completed_at(),
            deleted_at: status.deleted_at,
        }
    }
}

/// How a task or activity ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskResult {
    /// In a word.
    #[schema(value_type = ResultName)]
    pub code: ResultCode,
    /// Why, where it did not go well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// What to look at though it went on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<TaskError>,
    /// What the work produced.
    #[serde(default, skip_serializing_if = "Document::is_null")]
    #[schema(value_type = Value)]
    pub payload: Document,
}

impl From<&task::TaskResult> for TaskResult {
    fn from(result: &task::TaskResult) -> TaskResult {
        TaskResult {
            code: result.code,
            error: result.error.as_ref().map(TaskError::from),
            warnings: result.warnings.iter().map(TaskError::from).collect(),
            payload: result.payload.clone(),
        }
    }
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskError {
    /// The part of the system it comes from.
    pub domain: String,
    /// A stable word within the domain.
    pub code: String,
    /// One plain sentence.
    #[serde(default)]
    pub message: String,
    /// Details for programs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub context: Value,
    /// What led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub cause: Option<Box<TaskError>>,
    /// What else the executor sent with it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl From<&task::TaskError> for TaskError {
    fn from(error: &task::TaskError) -> TaskError {
        TaskError {
            domain: error.domain.clone(),
            code: error.code.clone(),
            message: error.message.clone(),
            context: error.context.clone(),
            cause: error.cause.as_deref().map(|c| Box::new(c.into())),
            extra: error.extra.clone(),
        }
    }
}

/// How far the work is. Agents of Backstay report `total` 100, so `current` is a percentage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Progress {
    /// Units done.
    pub current: i64,
    /// Units in all; 0 = unknown.
    pub total: i64,
    /// Bytes read so far.
    pub bytes_processed: u64,
    /// Bytes to read in all; 0 = unknown.
    pub bytes_total: u64,
    /// Bytes newly stored.
    pub bytes_saved: u64,
    /// Files done so far.
    pub files_processed: u64,
    /// Files in all; 0 = unknown.
    pub files_total: u64,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// Estimated time left, like `3m 20s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// What holds it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<Bottleneck>,
}

impl From<&task::Progress> for Progress {
    fn from(p: &task::Progress) -> Progress {
        Progress {
            current: p.current,
            total: p.total,
            bytes_processed: p.bytes_processed,
            bytes_total: p.bytes_total,
            bytes_saved: p.bytes_saved,
            files_processed: p.files_processed,
            files_total: p.files_total,
            speed: p.speed,
            left: p.left.map(friendly),
            bottleneck: p.bottleneck.map(|b| Bottleneck {
                source: b.source,
                destination: b.destination,
                processing: b.processing,
            }),
        }
    }
}

/// Which side holds the work up, as scores from 0 to 100 that add up to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bottleneck {
    /// Reading.
    pub source: u8,
    /// Writing.
    pub destination: u8,
    /// Working on the data between.
    pub processing: u8,
}

/// A reason why a task cannot go on without a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Blocker {
    /// Identity.
    pub id: Uuid,
    /// The activity that is held up, if it is not the whole task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<i64>,
    /// What is wrong.
    pub issue: BlockerMessage,
    /// What a person may answer; absent = anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub possible_solutions: Vec<BlockerMessage>,
    /// What a person answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution: Option<BlockerMessage>,
}

impl From<&task::Blocker> for Blocker {
    fn from(blocker: &task::Blocker) -> Blocker {
        Blocker {
            id: blocker.id,
            activity: blocker.activity,
            issue: (&blocker.issue).into(),
            possible_solutions: blocker.possible_solutions.iter().map(Into::into).collect(),
            solution: blocker.solution.as_ref().map(Into::into),
        }
    }
}

/// A word for programs, with details.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BlockerMessage {
    /// The word.
    pub key: String,
    /// The details.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub context: Value,
}

impl From<&task::Message> for BlockerMessage {
    fn from(message: &task::Message) -> BlockerMessage {
        BlockerMessage { key: message.key.clone(), context: message.context.clone() }
    }
}

/// A policy or resource as it was named when the task was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Named {
    /// Its id: a uuid for Backstay's own objects, free text for others'.
    #[schema(value_type = String)]
    pub id: Text,
    /// Its type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<Text>,
    /// Its name at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<Text>,
}

impl From<&task::Named> for Named {
    fn from(named: &task::Named) -> Named {
        Named { id: named.id.clone(), kind: set(&named.kind), name: set(&named.name) }
    }
}

/// The thing a task hangs below in another system's model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ParentEntity {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text,
    /// Its type.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Text,
    /// A value that goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub value: Option<Text>,
}

impl From<&task::Entity> for ParentEntity {
    fn from(entity: &task::Entity) -> ParentEntity {
        ParentEntity { id: entity.id.clone(), kind: entity.kind.clone(), value: set(&entity.value) }
    }
}

/// An agent or another client, with its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Executor {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Text,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cluster_id: Option<Text>,
}

impl From<&task::Executor> for Executor {
    fn from(executor: &task::Executor) -> Executor {
        Executor { id: executor.id.clone(), cluster_id: set(&executor.cluster_id) }
    }
}

/// Who may take a task; an absent part is no restriction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Affinity {
    /// Only this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent: Option<Text>,
    /// Only agents of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub cluster: Option<Text>,
}

impl Affinity {
    fn of(affinity: &task::Affinity) -> Option<Affinity> {
        let wire = Affinity { agent: affinity.agent.clone(), cluster: affinity.cluster.clone() };
        (wire.agent.is_some() || wire.cluster.is_some()).then_some(wire)
    }
}

/// What limits a task's life. Durations are written like `1h 30m`; an absent one is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rules {
    /// Whether it can be cancelled while it runs.
    pub cancellable: bool,
    /// Whether its sustainable activities survive a return to the queue.
    pub sustainable: bool,
    /// How often it may be handed out.
    pub max_assign_count: u32,
    /// Between two reports of its executor; three missed ones lose the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval: Option<String>,
    /// From hand-out to acknowledgement.
    #[schema(example = "5s")]
    pub ack_timeout: String,
    /// How long it may wait in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<String>,
    /// How long it may run, pauses included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec_timeout: Option<String>,
    /// How long it may be open at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_time: Option<String>,
}

impl From<&task::Rules> for Rules {
    fn from(rules: &task::Rules) -> Rules {
        Rules {
            cancellable: rules.cancellable,
            sustainable: rules.sustainable,
            max_assign_count: rules.max_assign_count,
            heartbeat_interval: rules.heartbeat_interval.map(friendly),
            ack_timeout: friendly(rules.ack_timeout),
            queue_timeout: rules.queue_timeout.map(friendly),
            exec_timeout: rules.exec_timeout.map(friendly),
            life_time: rules.life_time.map(friendly),
        }
    }
}

/// How many tasks match, by the values of some fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskCounts {
    /// The fields that were counted by, as asked.
    pub by: Vec<String>,
    /// One entry for each combination of values that occurs, largest count first.
    pub groups: Vec<TaskCount>,
    /// How many tasks match in all.
    pub total: u64,
}

/// How many tasks have these values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskCount {
    /// The value of each field, in the text form in which the filter takes it; a field without a value is absent.
    #[schema(value_type = BTreeMap<String, String>)]
    pub values: BTreeMap<Text, Text>,
    /// How many tasks.
    pub count: u64,
}

/// A task that changed, in its latest state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TaskEvent {
    /// The revision of the change.
    pub revision: i64,
    /// The task as it is now.
    pub task: Task,
}

pub(crate) fn friendly(duration: SignedDuration) -> String {
    format!("{duration:#}")
}

fn set(text: &Text) -> Option<Text> {
    (!text.is_empty()).then(|| text.clone())
}
