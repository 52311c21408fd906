//! Request bodies of the write side as values of the domain (contract, section 11, D67 to D70). Shape and names are checked
//! here; what a task may be is the domain's to say, and its refusals are told in this dialect's names.
//!
//! Each body comes as parsed JSON; null stands for an empty one.

mod members;
#[cfg(test)]
mod tests;

use domain::activity::{ActivityId, ActivitySpec};
use domain::task::{
    Blocker, Bottleneck, Executor, Message, Named, Outcome, OutcomeCode, Priority, Progress, Rules, TaskError, TaskId,
    TaskSpec, limits,
};
use domain::tenant::{MAX_NAME, TenantRef};
use domain::{Error, SignedDuration, Text, Uuid};
use serde_json::{Map, Value};

use self::members::{Members, Shape};
use super::error::Failure;
use super::map::MAX_MESSAGE;
use super::names;

/// The most queues or types that one call names, as with the values of a filter (D2).
const MAX_WORDS: usize = 200;
/// The most tasks that one call takes (D68).
const MAX_TAKEN: u32 = 100;
/// The longest wait for a task (D68).
const MAX_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// A task that is asked for (D67).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NewTask {
    /// The owner, as the client names it; none = the token's.
    pub(super) tenant: Option<TenantRef>,
    /// Identity, if the client chose it: the same request again then finds the task.
    pub(super) uuid: Option<Uuid>,
    /// Everything else; uuid and tenant are nil.
    spec: TaskSpec,
}

impl NewTask {
    const SHAPE: Shape = Shape {
        sent: &[
            "uuid",
            "type",
            "queue",
            "priority",
            "tenant",
            "affinity",
            "policy",
            "resource",
            "startedByUser",
            "workflowId",
            "tags",
            "context",
            "argument",
            "cancellable",
            "sustainable",
            "maxAssignCount",
            "heartBeatInterval",
            "ackTimeout",
            "queueTimeout",
            "execTimeout",
            "lifeTime",
        ],
        made: &[
            "id",
            "idString",
            "state",
            "issuer",
            "executor",
            "progress",
            "result",
            "blockers",
            "cancelRequested",
            "assignCount",
            "enqueuedAt",
            "assignedAt",
            "startedAt",
            "completedAt",
            "updatedAt",
            "deletedAt",
            "debug",
            "lease",
        ],
    };

    /// Reads the body of `POST /tasks`.
    ///
    /// # Errors
    /// A refusal that names the member.
    pub(super) fn parse(body: Value) -> Result<NewTask, Failure> {
        let mut body = Members::of_body(body, &Self::SHAPE)?;
        let kind = body.need_text("type")?;
        let queue = body.need_text("queue")?;
        let mut spec = TaskSpec::new(Uuid::nil(), names::type_from_wire(&kind), &queue, Uuid::nil());
        spec.priority = priority(&mut body)?;
        if let Some(mut affinity) = body.object("affinity", &Shape::of(&["agentId", "clusterId"]))? {
            spec.affinity.agent = affinity.text("agentId")?.map(Text::from);
            spec.affinity.cluster = affinity.text("clusterId")?.map(Text::from);
        }
        spec.policy = named(&mut body, "policy")?;
        spec.resource = named(&mut body, "resource")?;
        spec.started_by = body.text("startedByUser")?.map(Text::from);
        spec.workflow_id = body.id("workflowId")?;
        spec.tags = body.texts("tags")?.unwrap_or_default();
        spec.context = body.any("context").into();
        spec.argument = body.any("argument").into();
        spec.rules = Rules {
            cancellable: body.flag("cancellable")?,
            sustainable: body.flag("sustainable")?,
            max_assign_count: body
                .within("maxAssignCount", 1..=Rules::MAX_ATTEMPTS)?
                .unwrap_or(Rules::default().max_assign_count),
            heartbeat_interval: body.duration("heartBeatInterval")?,
            ack_timeout: body.duration("ackTimeout")?.unwrap_or(Rules::DEFAULT_ACK),
            queue_timeout: body.duration("queueTimeout")?,
            exec_timeout: body.duration("execTimeout")?,
            life_time: body.duration("lifeTime")?,
        };
        spec.validate().map_err(in_dialect)?;
        Ok(NewTask { tenant: tenant(&mut body)?, uuid: body.uuid("uuid")?, spec })
    }

    /// The wish, for this tenant. `fresh` is the task's uuid where the client chose none. Who issued it, and who started it
    /// where the client does not say (D43, D44), is for the caller to add.
    pub(super) fn spec(self, tenant: Uuid, fresh: Uuid) -> TaskSpec {
        TaskSpec { uuid: self.uuid.unwrap_or(fresh), tenant, ..self.spec }
    }
}

/// What a consumer is ready to take (D68).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assign {
    /// From which queues; at least one.
    pub(super) queues: Vec<String>,
    /// Who takes them.
    pub(super) consumer: Executor,
    /// Which types; empty = any.
    pub(super) types: Vec<String>,
    /// How many at most.
    pub(super) max: u32,
    /// How long to wait for the first one.
    pub(super) wait: SignedDuration,
}

impl Assign {
    const SHAPE: Shape = Shape::of(&["queues", "consumer", "types", "max", "wait"]);

    /// Reads the body of `POST /tasks/assign`.
    ///
    /// # Errors
    /// A refusal that names the member.
    pub(super) fn parse(body: Value) -> Result<Assign, Failure> {
        let mut body = Members::of_body(body, &Self::SHAPE)?;
        let queues = words(&mut body, "queues")?;
        let queues = body.need("queues", queues)?;
        let mut consumer = body.need_object("consumer", &Shape::of(&["id", "clusterId"]))?;
        let id = consumer.need_word("id", limits::WORD)?;
        let cluster_id = consumer.text("clusterId")?.unwrap_or_default();
        consumer.at_most("clusterId", &cluster_id, limits::WORD)?;
        let types = words(&mut body, "types")?.unwrap_or_default();
        let types = types.iter().map(|kind| names::type_from_wire(kind).to_owned()).collect();
        let max = body.within("max", 1..=MAX_TAKEN)?.unwrap_or(1);
        let wait = body.duration("wait")?.unwrap_or_default();
        if wait > MAX_WAIT {
            return Err(body.invalid("wait", "must be from 0s to 60s").into());
        }
        Ok(Assign { queues, consumer: Executor { id: id.into(), cluster_id: cluster_id.into() }, types, max, wait })
    }
}

/// A step that a consumer adds to its task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NewActivity {
    /// Its task.
    pub(super) task: TaskId,
    /// Identity, if the client chose it.
    pub(super) uuid: Option<Uuid>,
    /// Whether it begins at once.
    pub(super) start: bool,
    /// Everything else; the uuid is nil.
    spec: ActivitySpec,
}

impl NewActivity {
    const SHAPE: Shape = Shape {
        sent: &["taskId", "type", "uuid", "parentActivityId", "state", "sustainable", "tags", "context"],
        made: &[
            "id",
            "idString",
            "taskIdString",
            "parentActivityIdString",
            "tenant",
            "executor",
            "policy",
            "resource",
            "startedByUser",
            "workflowId",
            "progress",
            "result",
            "createdAt",
            "startedAt",
            "completedAt",
            "updatedAt",
            "deletedAt",
            "debug",
        ],
    };

    /// Reads the body of `POST /activities`.
    ///
    /// # Errors
    /// A refusal that names the member.
    pub(super) fn parse(body: Value) -> Result<NewActivity, Failure> {
        let mut body = Members::of_body(body, &Self::SHAPE)?;
        let task = body.id("taskId")?;
        let task = TaskId(body.need("taskId", task)?);
        let kind = body.need_text("type")?;
        let mut spec = ActivitySpec::new(Uuid::nil(), names::type_from_wire(&kind));
        spec.parent = body.id("parentActivityId")?.map(ActivityId);
        spec.sustainable = body.flag("sustainable")?;
        spec.tags = body.texts("tags")?.unwrap_or_default();
        spec.context = body.any("context").into();
        spec.validate().map_err(in_dialect)?;
        let start = match body.text("state")?.as_deref() {
            None | Some("enqueued") => false,
            Some("started") => true,
            Some(other) => return Err(body.not_among("state", other, &["enqueued", "started"])),
        };
        Ok(NewActivity { task, uuid: body.uuid("uuid")?, start, spec })
    }

    /// The step. `fresh` is its uuid where the client chose none.
    pub(super) fn spec(self, fresh: Uuid) -> ActivitySpec {
        ActivitySpec { uuid: self.uuid.unwrap_or(fresh), ..self.spec }
    }
}

/// Reads a body that says nothing: an empty one, or an object without members.
///
/// # Errors
/// `invalid_body` when it says something.
pub(super) fn nothing(body: Value) -> Result<(), Failure> {
    Members::of_optional_body(body, &Shape::of(&[])).map(|_| ())
}

/// Reads the body of `PUT ../progress`.
///
/// # Errors
/// A refusal that names the member.
pub(super) fn progress(body: Value) -> Result<Progress, Failure> {
    read_progress(Members::of_body(body, &PROGRESS)?)
}

/// Reads the body of `PUT ../paused`; it may be empty. `fresh` makes the uuids of blockers that come without one.
///
/// # Errors
/// A refusal that names the member.
pub(super) fn paused(body: Value, mut fresh: impl FnMut() -> Uuid) -> Result<Vec<Blocker>, Failure> {
    const BLOCKER: Shape = Shape {
        sent: &["uuid", "activityId", "issue", "possibleSolutions"],
        made: &["id", "taskId", "tenant", "solution"],
    };
    let mut body = Members::of_optional_body(body, &Shape::of(&["blockers"]))?;
    let read = |mut blocker: Members| {
        Ok(Blocker {
            id: blocker.uuid("uuid")?.unwrap_or_else(&mut fresh),
            activity: blocker.id("activityId")?,
            issue: word(blocker.need_object("issue", &WORD)?)?,
            possible_solutions: blocker
                .objects("possibleSolutions", &WORD)?
                .into_iter()
                .map(word)
                .collect::<Result<_, Failure>>()?,
            solution: None,
        })
    };
    body.objects("blockers", &BLOCKER)?.into_iter().map(read).collect()
}

/// Reads the body of `PUT ../completed`.
///
/// # Errors
/// A refusal that names the member.
pub(super) fn completed(body: Value) -> Result<(Outcome, Option<Progress>), Failure> {
    let mut body = Members::of_body(body, &Shape::of(&["result", "progress"]))?;
    let mut result = body.need_object("result", &Shape::of(&["code", "error", "warnings", "payload"]))?;
    let code = outcome_code(&mut result)?;
    let error = result.object("error", &ERROR)?.map(task_error).transpose()?;
    let warnings = result.objects("warnings", &ERROR)?.into_iter().map(task_error).collect::<Result<_, _>>()?;
    let payload = result.any("payload");
    if !matches!(payload, Value::Null | Value::String(_) | Value::Object(_)) {
        return Err(result.wrong("payload", "a string or an object", &payload));
    }
    let progress = body.object("progress", &PROGRESS)?.map(read_progress).transpose()?;
    Ok((Outcome { code, error, warnings, payload }, progress))
}

/// Reads the body of `PUT ../abandoned`; it may be empty. The reason comes as a sentence.
///
/// # Errors
/// A refusal that names the member.
pub(super) fn abandoned(body: Value) -> Result<String, Failure> {
    let mut body = Members::of_optional_body(body, &Shape::of(&["reason"]))?;
    let reason = body.text("reason")?.unwrap_or_else(|| "no reason was given".to_owned());
    body.at_most("reason", &reason, MAX_MESSAGE)?;
    let stop = if reason.ends_with(['.', '!', '?']) { "" } else { "." };
    Ok(reason + stop)
}

/// Reads the body of `PUT /tasks/{id}/blockers/{bid}/solution` (D64).
///
/// # Errors
/// A refusal that names the member.
pub(super) fn solution(body: Value) -> Result<Message, Failure> {
    word(Members::of_body(body, &WORD)?)
}

const NAMED: Shape = Shape::of(&["id", "type", "name"]);
const WORD: Shape = Shape::of(&["key", "context"]);
const PROGRESS: Shape =
    Shape::of(&["total", "current", "bytesProcessed", "bytesSaved", "processingSpeed", "leftTime", "bottleneck"]);
const ERROR: Shape = Shape::of(&["domain", "code", "reason", "message", "context", "kbLink", "debug"]);

fn priority(body: &mut Members) -> Result<Priority, Failure> {
    let Some(name) = body.text("priority")? else { return Ok(Priority::Normal) };
    names::priority_from_wire(&name).ok_or_else(|| body.not_among("priority", &name, names::PRIORITIES))
}

fn tenant(body: &mut Members) -> Result<Option<TenantRef>, Failure> {
    const TENANT: Shape = Shape { sent: &["uuid", "id"], made: &["name", "locator"] };
    let Some(mut tenant) = body.object("tenant", &TENANT)? else { return Ok(None) };
    match (tenant.uuid("uuid")?, tenant.id("id")?) {
        (Some(uuid), None) => Ok(Some(TenantRef::Id(uuid))),
        (None, Some(number)) => Ok(Some(TenantRef::Number(number))),
        _ => Err(body.invalid("tenant", "needs either 'uuid' or 'id'").into()),
    }
}

fn named(body: &mut Members, name: &str) -> Result<Option<Named>, Failure> {
    let Some(mut named) = body.object(name, &NAMED)? else { return Ok(None) };
    let id = named.need_word("id", limits::WORD)?;
    let kind = named.text("type")?.unwrap_or_default();
    named.at_most("type", &kind, limits::WORD)?;
    let shown = named.text("name")?.unwrap_or_default();
    named.at_most("name", &shown, MAX_NAME)?;
    Ok(Some(Named { id: id.into(), kind: kind.into(), name: shown.into() }))
}

/// A list of queues or types, each a word; none where it is left out.
fn words(body: &mut Members, name: &str) -> Result<Option<Vec<String>>, Failure> {
    let Some(words) = body.texts(name)? else { return Ok(None) };
    if !(1..=MAX_WORDS).contains(&words.len()) {
        return Err(body.invalid(name, format!("must have from 1 to {MAX_WORDS} members")).into());
    }
    for (i, word) in words.iter().enumerate() {
        let name = format!("{name}[{i}]");
        if word.is_empty() {
            return Err(body.invalid(&name, "is empty").into());
        }
        body.at_most(&name, word, limits::WORD)?;
    }
    Ok(Some(words.into_iter().map(String::from).collect()))
}

fn word(mut word: Members) -> Result<Message, Failure> {
    Ok(Message { key: word.need_text("key")?, context: word.any("context") })
}

fn read_progress(mut read: Members) -> Result<Progress, Failure> {
    let total = read.count("total")?;
    let total = read.need("total", total)?;
    let current = read.count("current")?.unwrap_or(0);
    let speed = read.number("processingSpeed")?;
    if speed.is_some_and(|s| s < 0.0) {
        return Err(read.invalid("processingSpeed", "cannot be negative").into());
    }
    let bottleneck = read.object("bottleneck", &Shape::of(&["source", "destination", "processing"]))?;
    let progress = Progress {
        // Beyond what a row holds nothing is counted.
        total: i64::try_from(total).unwrap_or(i64::MAX),
        current: i64::try_from(current).unwrap_or(i64::MAX),
        bytes_processed: read.count("bytesProcessed")?.unwrap_or(0),
        bytes_saved: read.count("bytesSaved")?.unwrap_or(0),
        speed,
        left: read.duration("leftTime")?,
        bottleneck: bottleneck.map(read_bottleneck).transpose()?,
        ..Progress::default()
    };
    // The domain calls the whole `progress`, wherever it stands in a body.
    progress.validate().map_err(|error| {
        let field = error.field.as_deref().and_then(|f| f.strip_prefix("progress.")).map(|f| read.path(f));
        Error { field, ..error }
    })?;
    Ok(progress)
}

fn read_bottleneck(mut read: Members) -> Result<Bottleneck, Failure> {
    let mut score = |name| {
        let score = read.within(name, 0..=100)?;
        // It is at most 100, so it fits.
        read.need(name, score).map(|n| n as u8)
    };
    Ok(Bottleneck { source: score("source")?, destination: score("destination")?, processing: score("processing")? })
}

/// How the work ended; only the server says that it was abandoned or timed out (D58).
fn outcome_code(result: &mut Members) -> Result<OutcomeCode, Failure> {
    let name = result.need_text("code")?;
    OutcomeCode::parse(&name).ok_or_else(|| result.not_among("code", &name, OutcomeCode::NAMES))
}

/// An error object (8.4). `kbLink` and `debug` are kept as sent (D51).
fn task_error(mut error: Members) -> Result<TaskError, Failure> {
    const KB_LINK: [&str; 6] = ["lineTag", "serCode", "version", "build", "product", "os"];
    let domain = error.need_text("domain")?;
    let code = error.need_text("code")?;
    if error.text("reason")?.is_some_and(|reason| reason != code) {
        return Err(error.invalid("reason", "is not the code").hint("it is obsolete; leave it out").into());
    }
    let message = error.text("message")?.unwrap_or_default();
    error.at_most("message", &message, MAX_MESSAGE)?;
    let context = error.map("context")?.map_or(Value::Null, Value::Object);
    let mut extra = Map::new();
    if let Some(link) = error.map("kbLink")? {
        let mut read = error.inside("kbLink", link.clone(), &Shape::of(&KB_LINK))?;
        for name in KB_LINK {
            let there = if name == "build" { read.integer(name)?.is_some() } else { read.raw_text(name)?.is_some() };
            read.need(name, there.then_some(()))?;
        }
        extra.insert("kbLink".to_owned(), Value::Object(link));
    }
    extra.extend(error.map("debug")?.map(|debug| ("debug".to_owned(), Value::Object(debug))));
    Ok(TaskError { domain, code, message, context, cause: None, extra })
}

/// A refusal by the domain or a service in the names of this dialect.
pub(super) fn in_dialect(mut error: Error) -> Error {
    const NAMES: [(&str, &str); 9] = [
        ("started_by", "startedByUser"),
        ("max_assign_count", "maxAssignCount"),
        ("heartbeat_interval", "heartBeatInterval"),
        ("ack_timeout", "ackTimeout"),
        ("queue_timeout", "queueTimeout"),
        ("exec_timeout", "execTimeout"),
        ("life_time", "lifeTime"),
        ("affinity.agent", "affinity.agentId"),
        ("affinity.cluster", "affinity.clusterId"),
    ];
    fn renamed(text: &str) -> String {
        NAMES.iter().fold(text.to_owned(), |text, (ours, wire)| text.replace(ours, wire))
    }
    error.message = renamed(&error.message);
    error.field = error.field.as_deref().map(renamed);
    error.hint = error.hint.as_deref().map(renamed);
    error
}
