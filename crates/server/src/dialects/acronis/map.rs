//! Tasks and activities as this dialect shows them, by level of detail (contract, sections 7, 8 and 10.5, D38 to D55).
//! Nothing is decided here: what the ledger has is named and shaped.

mod context;
#[cfg(test)]
mod tests;
mod wire;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use domain::activity::{ActivityView, Body};
use domain::agent::is_agent_queue;
use domain::query::{Group, Value as Asked};
use domain::task::{self, LeaseToken, ResultCode, SCHEDULER_DOMAIN, SERVER_DOMAIN, State, TaskError, Timer};
use domain::{SignedDuration, Timestamp, Uuid, tenant};
use serde_json::{Map, Number, Value, json};

use self::context::Context;
pub(super) use self::wire::{Activity, Assigned, Task};
use super::filter::GroupKey;
use super::names::{self, Lod};
use super::{duration, time};

/// The longest message of an error object, in characters (D51).
pub(super) const MAX_MESSAGE: usize = 500;

/// A task. `up_since` is when the server started: deadlines of level `debug` count from there (D60).
pub(super) fn task<'a>(
    task: &'a task::Task,
    tenant: &'a tenant::Tenant,
    lod: Lod,
    up_since: Timestamp,
) -> wire::Task<'a> {
    let (spec, status) = (&*task.spec, &task.status);
    wire::Task {
        tiny: wire::Tiny {
            id: task.id.0,
            id_string: task.id.to_string(),
            uuid: spec.uuid,
            kind: names::type_to_wire(&spec.kind),
            state: names::state_to_wire(task.state()),
            updated_at: time::print(status.updated_at),
        },
        task_short: (lod >= Lod::Short).then(|| wire::TaskShort {
            queue: &spec.queue,
            priority: names::priority_to_wire(spec.priority),
            issuer: wire::Party { id: &spec.issuer.id, cluster_id: &spec.issuer.cluster_id },
            cancellable: spec.rules.cancellable,
            cancel_requested: status.cancel_requested,
            assign_count: status.assign_count,
            enqueued_at: time::print(status.enqueued_at),
            assigned_at: task.assigned_at().map(time::print),
        }),
        short: (lod >= Lod::Short).then(|| wire::Short {
            // Who has it: nobody before it is assigned (D40).
            executor: task.executor().map(party),
            progress: status.progress.as_ref().map(|p| progress(p, bytes(p))),
            started_at: task.started_at().map(time::print),
            completed_at: task.completed_at().map(time::print),
            ..of_task(task, tenant)
        }),
        long: (lod >= Lod::Long).then(|| wire::Long {
            context: Some(task_context(task)),
            tags: &spec.tags,
            workflow_id: spec.workflow_id,
        }),
        full: (lod >= Lod::Full).then_some(wire::Full { sustainable: spec.rules.sustainable }),
        task_full: (lod >= Lod::Full).then(|| task_full(task, tenant)),
        result: task.result().map(|r| result(r, task, lod)),
        debug: (lod >= Lod::Debug).then(|| wire::Debug {
            seeding: Some(spec.seeding),
            parent_entity: spec.parent_entity.as_ref().map(|e| wire::Entity {
                id: &e.id,
                kind: &e.kind,
                value: &e.value,
            }),
            ..running(task, task.created_at, up_since)
        }),
    }
}

/// A task that was just handed out: at level `full`, with the lease under which it is reported on (D68).
pub(super) fn assigned<'a>(
    handed_out: &'a task::Task,
    tenant: &'a tenant::Tenant,
    lease: &'a LeaseToken,
) -> wire::Assigned<'a> {
    // The start of the server matters to level `debug` alone.
    wire::Assigned { task: task(handed_out, tenant, Lod::Full, Timestamp::UNIX_EPOCH), lease: &lease.0 }
}

/// An activity. What it takes from its task is read there (D47); the root takes everything (D48).
pub(super) fn activity<'a>(
    view: &'a ActivityView,
    tenant: &'a tenant::Tenant,
    lod: Lod,
    up_since: Timestamp,
) -> wire::Activity<'a> {
    let (activity, task) = (&view.activity, &view.task);
    let root = activity.is_root();
    wire::Activity {
        tiny: wire::Tiny {
            id: activity.id.0,
            id_string: activity.id.to_string(),
            uuid: activity.uuid,
            kind: names::type_to_wire(view.kind()),
            state: names::state_to_wire(view.state()),
            updated_at: time::print(view.updated_at()),
        },
        of: task_ids(task),
        activity_short: (lod >= Lod::Short).then(|| wire::ActivityShort {
            parent_activity_id: view.parent().map(|p| p.0),
            parent_activity_id_string: view.parent().map(|p| p.to_string()),
            created_at: time::print(activity.created_at),
        }),
        short: (lod >= Lod::Short).then(|| wire::Short {
            executor: Some(view.executor().map_or_else(wire::Party::default, party)),
            // Reports sum the byte counts over all activities, so they stand on the root alone (D49).
            progress: view.progress().map(|p| progress(p, if root { bytes(p) } else { None })),
            started_at: view.started_at().map(time::print),
            completed_at: view.completed_at().map(time::print),
            ..of_task(task, tenant)
        }),
        long: (lod >= Lod::Long).then(|| wire::Long {
            context: match &activity.body {
                Body::Root => Some(task_context(task)),
                Body::Step(spec, _) => Context::own(&spec.context),
            },
            tags: view.tags(),
            workflow_id: task.spec.workflow_id,
        }),
        full: (lod >= Lod::Full).then(|| wire::Full { sustainable: view.sustainable() }),
        result: view.result().map(|r| result(r, task, lod)),
        debug: (lod >= Lod::Debug).then(|| match activity.body {
            Body::Root => running(task, activity.created_at, up_since),
            Body::Step(..) => wire::Debug {
                created_at: time::print(activity.created_at),
                last_report_at: None,
                deadlines: BTreeMap::new(),
                seeding: None,
                parent_entity: None,
            },
        }),
    }
}

/// What a consumer gets back for a report on a task (D69).
pub(super) fn status<'a>(task: &'a task::Task, tenant: &'a tenant::Tenant) -> wire::Status<'a> {
    wire::Status {
        id: task.id.0,
        id_string: task.id.to_string(),
        of: None,
        state: names::state_to_wire(task.state()),
        cancel_requested: task.status.cancel_requested,
        assign_count: task.status.assign_count,
        updated_at: time::print(task.status.updated_at),
        blockers: blockers(task, tenant),
    }
}

/// What a consumer gets back for a report on an activity: the wish to cancel, the count and the blockers are its task's.
pub(super) fn activity_status<'a>(view: &'a ActivityView, tenant: &'a tenant::Tenant) -> wire::Status<'a> {
    wire::Status {
        id: view.activity.id.0,
        id_string: view.activity.id.to_string(),
        of: Some(task_ids(&view.task)),
        state: names::state_to_wire(view.state()),
        updated_at: time::print(view.updated_at()),
        ..status(&view.task, tenant)
    }
}

/// Counts (D39): one member for each key that the rows of the group have, and how many there are. `tenants` has the
/// tenants that occur; a group whose tenant is not in it has no tenant.
pub(super) fn groups(keys: &[GroupKey], groups: &[Group], tenants: &HashMap<Uuid, tenant::Tenant>) -> Vec<Value> {
    let shown = |group: &Group| {
        let members = keys.iter().zip(&group.values);
        let members =
            members.filter_map(|(key, v)| Some((key.name().to_owned(), group_value(*key, v.as_ref()?, tenants)?)));
        let mut members: Map<String, Value> = members.collect();
        members.insert("count".to_owned(), json!(group.count));
        Value::Object(members)
    };
    groups.iter().map(shown).collect()
}

fn group_value(key: GroupKey, value: &Asked, tenants: &HashMap<Uuid, tenant::Tenant>) -> Option<Value> {
    Some(match (key, value) {
        (GroupKey::Tenant, Asked::Uuid(id)) => json!(tenant_object(tenants.get(id)?)),
        (GroupKey::State, Asked::Enum(n)) => json!(names::state_to_wire(State::from_ordinal(*n)?)),
        (GroupKey::ResultCode, Asked::Enum(n)) => json!(names::result_to_wire(ResultCode::from_ordinal(*n)?)),
        (GroupKey::Type, Asked::Text(kind)) => json!(names::type_to_wire(kind)),
        (GroupKey::PolicyId | GroupKey::ResourceId, Asked::Text(id)) => json!(id),
        // A key is counted by its own field, which has values of this type only.
        _ => return None,
    })
}

/// What tasks and activities alike take from the task, and nothing else yet.
fn of_task<'a>(task: &'a task::Task, tenant: &'a tenant::Tenant) -> wire::Short<'a> {
    let spec = &*task.spec;
    wire::Short {
        tenant: tenant_object(tenant),
        executor: None,
        policy: spec.policy.as_ref().map(|p| wire::Named { id: &p.id, kind: &p.kind, name: &p.name }),
        resource: spec.resource.as_ref().map(|r| wire::Named {
            id: &r.id,
            kind: names::resource_type_to_wire(&r.kind),
            name: &r.name,
        }),
        started_by_user: spec.started_by.as_deref().filter(|name| !name.is_empty()),
        progress: None,
        started_at: None,
        completed_at: None,
        deleted_at: task.status.deleted_at.map(time::print),
    }
}

fn task_full<'a>(task: &'a task::Task, tenant: &'a tenant::Tenant) -> wire::TaskFull<'a> {
    let (spec, rules) = (&*task.spec, &task.spec.rules);
    let affinity = wire::Affinity {
        agent_id: spec.affinity.agent.as_deref().filter(|id| !id.is_empty()),
        cluster_id: spec.affinity.cluster.as_deref().filter(|id| !id.is_empty()),
    };
    wire::TaskFull {
        argument: (!spec.argument.is_null()).then_some(&spec.argument),
        affinity: (affinity.agent_id.is_some() || affinity.cluster_id.is_some()).then_some(affinity),
        blockers: blockers(task, tenant),
        max_assign_count: rules.max_assign_count,
        heart_beat_interval: rules.heartbeat_interval.map(duration::print),
        ack_timeout: duration::print(rules.ack_timeout),
        queue_timeout: rules.queue_timeout.map(duration::print),
        exec_timeout: rules.exec_timeout.map(duration::print),
        life_time: rules.life_time.map(duration::print),
    }
}

/// The times of level `debug` of a task and of its root.
fn running(task: &task::Task, created_at: Timestamp, up_since: Timestamp) -> wire::Debug<'_> {
    wire::Debug {
        created_at: time::print(created_at),
        last_report_at: task.status.phase.assignment().map(|a| time::print(a.last_report_at)),
        deadlines: task.deadlines(up_since).map(|(timer, at)| (timer_name(timer), time::print(at))).collect(),
        seeding: None,
        parent_entity: None,
    }
}

/// A timer by the member that sets it (10.3).
fn timer_name(timer: Timer) -> &'static str {
    match timer {
        Timer::Ack => "ackTimeout",
        Timer::Heartbeat => "heartBeatInterval",
        Timer::Queue => "queueTimeout",
        Timer::Exec => "execTimeout",
        Timer::Life => "lifeTime",
    }
}

fn task_ids(task: &task::Task) -> wire::TaskIds {
    wire::TaskIds { task_id: task.id.0, task_id_string: task.id.to_string() }
}

fn task_context(task: &task::Task) -> Context<'_> {
    Context::filled(task, task.status.progress.as_ref().and_then(bytes))
}

fn tenant_object(tenant: &tenant::Tenant) -> wire::Tenant<'_> {
    wire::Tenant { id: tenant.number, uuid: tenant.id, name: &tenant.name, locator: &tenant.locator }
}

fn party(executor: &task::Executor) -> wire::Party<'_> {
    wire::Party { id: &executor.id, cluster_id: &executor.cluster_id }
}

fn progress(progress: &task::Progress, bytes: Option<wire::Bytes>) -> wire::Progress {
    wire::Progress {
        current: progress.current,
        total: progress.total,
        bytes,
        processing_speed: progress.speed.and_then(number),
        left_time: progress.left.filter(SignedDuration::is_positive).map(duration::print),
        bottleneck: progress.bottleneck.map(|b| wire::Bottleneck {
            source: b.source,
            destination: b.destination,
            processing: b.processing,
        }),
    }
}

/// The byte counts, where any were reported: that nothing had to be stored of what was read is worth to be told.
fn bytes(progress: &task::Progress) -> Option<wire::Bytes> {
    let counted = progress.bytes_processed > 0 || progress.bytes_saved > 0 || progress.bytes_total > 0;
    counted.then_some(wire::Bytes { bytes_processed: progress.bytes_processed, bytes_saved: progress.bytes_saved })
}

/// A whole number is written as one, as it was sent.
fn number(value: f64) -> Option<Number> {
    /// Up to here every whole number has its own `f64`.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        return Some(Number::from(value as i64));
    }
    Number::from_f64(value)
}

fn result<'a>(result: &'a task::TaskResult, task: &task::Task, lod: Lod) -> wire::TaskResult<'a> {
    // What our agents report is for the server, which makes a recovery point of it (D50).
    let ours = is_agent_queue(&task.spec.queue);
    let whole = lod >= Lod::Long;
    wire::TaskResult {
        code: names::result_to_wire(result.code),
        error: result.error.as_ref().filter(|_| lod >= Lod::Short).map(|e| error_object(e, whole)),
        warnings: result.warnings.iter().filter(|_| whole).map(|w| error_object(w, true)).collect(),
        payload: Some(&result.payload).filter(|p| whole && !ours && !p.is_null()),
    }
}

/// An error object; in short it is `domain`, `code`, `reason` and `message` (D38).
fn error_object(error: &TaskError, whole: bool) -> wire::ErrorObject<'_> {
    let extra = |key: &str| error.extra.get(key).filter(|_| whole);
    wire::ErrorObject {
        // What the server itself makes of a task has one domain (D58).
        domain: if error.domain == SCHEDULER_DOMAIN { SERVER_DOMAIN } else { &error.domain },
        code: &error.code,
        reason: &error.code,
        message: message(error),
        context: if whole { error_context(error) } else { None },
        kb_link: extra("kbLink"),
        debug: extra("debug"),
    }
}

/// The context of an error: always an object (8.4). What led to the error stands in it as `cause`, unless the executor
/// uses that key itself.
fn error_context(error: &TaskError) -> Option<Cow<'_, Map<String, Value>>> {
    let given = match &error.context {
        Value::Null => None,
        Value::Object(given) => Some(Cow::Borrowed(given)),
        // Other dialects take any JSON; clients of this one read members.
        other => Some(Cow::Owned(Map::from_iter([("value".to_owned(), other.clone())]))),
    };
    let Some(cause) = &error.cause else { return given };
    let mut context = given.unwrap_or_default().into_owned();
    context.entry("cause").or_insert_with(|| json!(error_object(cause, true)));
    Some(Cow::Owned(context))
}

/// The one sentence that people look for first: never empty, at most [`MAX_MESSAGE`] characters (D51).
fn message(error: &TaskError) -> Cow<'_, str> {
    let text = |from: &Value, key: &str| match from.get(key) {
        Some(Value::String(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        _ => None,
    };
    let given = error.message.trim();
    if !given.is_empty() {
        return clip(given.into());
    }
    let parts: Vec<_> =
        ["cause_str", "effect_str"].into_iter().filter_map(|key| text(&error.context, key)).map(sentence).collect();
    if !parts.is_empty() {
        return clip(parts.join(" ").into());
    }
    let debug = error.extra.get("debug").and_then(|debug| text(debug, "msg")).map(sentence);
    clip(debug.unwrap_or_else(|| format!("{}/{}", error.domain, error.code)).into())
}

fn sentence(mut text: String) -> String {
    if !text.ends_with(['.', '!', '?']) {
        text.push('.');
    }
    text
}

fn clip(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.chars().count() <= MAX_MESSAGE {
        return text;
    }
    text.chars().take(MAX_MESSAGE - 1).chain(['…']).collect::<String>().into()
}

/// The blockers of a task; they are listed until it completes (D64).
fn blockers<'a>(task: &'a task::Task, tenant: &'a tenant::Tenant) -> Vec<wire::Blocker<'a>> {
    if task.state() == State::Completed {
        return Vec::new();
    }
    let shown = |(place, blocker): (usize, &'a task::Blocker)| wire::Blocker {
        id: place + 1,
        uuid: blocker.id,
        task_id: task.id.0,
        activity_id: blocker.activity,
        tenant: tenant_object(tenant),
        issue: word(&blocker.issue),
        possible_solutions: blocker.possible_solutions.iter().map(word).collect(),
        solution: blocker.solution.as_ref().map(word),
    };
    task.status.blockers.iter().enumerate().map(shown).collect()
}

fn word(message: &task::Message) -> wire::Message<'_> {
    wire::Message { key: &message.key, context: Some(&message.context).filter(|c| !c.is_null()) }
}
