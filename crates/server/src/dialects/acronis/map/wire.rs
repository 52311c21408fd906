//! The objects of this dialect as they stand on the wire (contract, sections 7 and 8). A task or an activity is made of
//! its levels of detail: a level that is not asked for is not there, and an unset member is absent, never null (8.1).

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::{Document, Text, Uuid};
use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::context::Context;

/// A task.
#[derive(Debug, Serialize)]
pub(in crate::dialects::acronis) struct Task<'a> {
    #[serde(flatten)]
    pub(super) tiny: Tiny<'a>,
    #[serde(flatten)]
    pub(super) task_short: Option<TaskShort<'a>>,
    #[serde(flatten)]
    pub(super) short: Option<Short<'a>>,
    #[serde(flatten)]
    pub(super) long: Option<Long<'a>>,
    #[serde(flatten)]
    pub(super) full: Option<Full>,
    #[serde(flatten)]
    pub(super) task_full: Option<TaskFull<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<TaskResult<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) debug: Option<Debug<'a>>,
}

/// A task that was just handed out (D68).
#[derive(Debug, Serialize)]
pub(in crate::dialects::acronis) struct Assigned<'a> {
    #[serde(flatten)]
    pub(super) task: Task<'a>,
    pub(super) lease: &'a str,
}

/// An activity.
#[derive(Debug, Serialize)]
pub(in crate::dialects::acronis) struct Activity<'a> {
    #[serde(flatten)]
    pub(super) tiny: Tiny<'a>,
    #[serde(flatten)]
    pub(super) of: TaskIds,
    #[serde(flatten)]
    pub(super) activity_short: Option<ActivityShort>,
    #[serde(flatten)]
    pub(super) short: Option<Short<'a>>,
    #[serde(flatten)]
    pub(super) long: Option<Long<'a>>,
    #[serde(flatten)]
    pub(super) full: Option<Full>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<TaskResult<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) debug: Option<Debug<'a>>,
}

/// What a consumer gets back for a report (D69).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::dialects::acronis) struct Status<'a> {
    pub(super) id: i64,
    pub(super) id_string: String,
    /// On activities only.
    #[serde(flatten)]
    pub(super) of: Option<TaskIds>,
    pub(super) state: &'static str,
    pub(super) cancel_requested: bool,
    pub(super) assign_count: u32,
    pub(super) updated_at: String,
    /// Always there, so that an executor need not tell "none" from "not said".
    pub(super) blockers: Vec<Blocker<'a>>,
}

/// Level `tiny`, but for the result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tiny<'a> {
    pub(super) id: i64,
    pub(super) id_string: String,
    pub(super) uuid: Uuid,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    pub(super) state: &'static str,
    pub(super) updated_at: String,
}

/// The task of an activity, with its twin.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskIds {
    pub(super) task_id: i64,
    pub(super) task_id_string: String,
}

/// Level `short`, as far as tasks and activities have it in common.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Short<'a> {
    pub(super) tenant: Tenant<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) executor: Option<Party<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resource: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started_by_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deleted_at: Option<String>,
}

/// What tasks alone have from level `short` on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskShort<'a> {
    pub(super) queue: &'a str,
    pub(super) priority: &'static str,
    pub(super) issuer: Party<'a>,
    pub(super) cancellable: bool,
    pub(super) cancel_requested: bool,
    pub(super) assign_count: u32,
    pub(super) enqueued_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) assigned_at: Option<String>,
}

/// What activities alone have from level `short` on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActivityShort {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_activity_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_activity_id_string: Option<String>,
    pub(super) created_at: String,
}

/// Level `long`, but for the rest of the result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Long<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<Context<'a>>,
    #[serde(skip_serializing_if = "<[Text]>::is_empty")]
    pub(super) tags: &'a [Text],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workflow_id: Option<i64>,
}

/// Level `full`, as far as tasks and activities have it in common.
#[derive(Debug, Serialize)]
pub(super) struct Full {
    pub(super) sustainable: bool,
}

/// What tasks alone have from level `full` on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TaskFull<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) argument: Option<&'a Document>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) affinity: Option<Affinity<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) blockers: Vec<Blocker<'a>>,
    pub(super) max_assign_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) heart_beat_interval: Option<String>,
    pub(super) ack_timeout: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exec_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) life_time: Option<String>,
}

/// Level `debug`: what has no public name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Debug<'a> {
    pub(super) created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_report_at: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) deadlines: BTreeMap<&'static str, String>,
    /// On tasks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seeding: Option<bool>,
    /// On tasks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_entity: Option<Entity<'a>>,
}

/// An owner: all four members are always sent (8.4).
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Tenant<'a> {
    #[serde(serialize_with = "as_text")]
    pub(super) id: i64,
    pub(super) uuid: Uuid,
    pub(super) name: &'a str,
    pub(super) locator: &'a str,
}

/// An issuer or executor; both members are there even where they are empty (8.1).
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Party<'a> {
    pub(super) id: &'a str,
    pub(super) cluster_id: &'a str,
}

/// Who may take a task.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Affinity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) agent_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cluster_id: Option<&'a str>,
}

/// A policy or resource.
#[derive(Debug, Serialize)]
pub(super) struct Named<'a> {
    pub(super) id: &'a str,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    pub(super) kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) name: &'a str,
}

/// The thing a task hangs below in a vendor's model.
#[derive(Debug, Serialize)]
pub(super) struct Entity<'a> {
    pub(super) id: &'a str,
    #[serde(rename = "type", skip_serializing_if = "str::is_empty")]
    pub(super) kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) value: &'a str,
}

/// How far it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Progress {
    pub(super) current: i64,
    /// Always there; 0 = unknown.
    pub(super) total: i64,
    #[serde(flatten)]
    pub(super) bytes: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) processing_speed: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bottleneck: Option<Bottleneck>,
}

/// What was read and what was newly stored.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bytes {
    pub(super) bytes_processed: u64,
    pub(super) bytes_saved: u64,
}

/// What holds the work up; the scores add up to 100.
#[derive(Debug, Serialize)]
pub(super) struct Bottleneck {
    pub(super) source: u8,
    pub(super) destination: u8,
    pub(super) processing: u8,
}

/// How it ended: the code alone at level `tiny`, the error in short at `short`, everything from `long` on.
#[derive(Debug, Serialize)]
pub(super) struct TaskResult<'a> {
    pub(super) code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<ErrorObject<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<ErrorObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<&'a Document>,
}

/// Why something failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorObject<'a> {
    pub(super) domain: &'a str,
    pub(super) code: &'a str,
    /// Obsolete; equals the code.
    pub(super) reason: &'a str,
    pub(super) message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<Cow<'a, Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kb_link: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) debug: Option<&'a Value>,
}

/// Why a task cannot go on without a person.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blocker<'a> {
    /// Its place among the task's blockers, counted from 1.
    pub(super) id: usize,
    pub(super) uuid: Uuid,
    pub(super) task_id: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) activity_id: Option<i64>,
    pub(super) tenant: Tenant<'a>,
    pub(super) issue: Message<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) possible_solutions: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) solution: Option<Message<'a>>,
}

/// A word for programs, with details.
#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub(super) key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context: Option<&'a Value>,
}

/// Writes a number as text: the tenant's id is a string of digits (8.4).
fn as_text<S: serde::Serializer>(number: &i64, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(number)
}
