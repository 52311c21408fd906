//! Activities: steps inside a task, in a tree. Each task has one root activity that the server owns; it shows the task
//! itself, so nothing of it but its identity is stored.

use crate::error::{Code, Error, Result};
use crate::task::{Executor, Outcome, Progress, ResultCode, State, Task, TaskId, TaskResult, limits};
use crate::{Document, Text, Timestamp, Uuid, named_enum};

/// The integer identity of an activity, in order of creation; numbered apart from tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivityId(pub i64);

impl std::fmt::Display for ActivityId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How a caller names an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityRef {
    /// The integer id.
    Id(ActivityId),
    /// The uuid.
    Uuid(Uuid),
}

/// What is fixed when an activity is made.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivitySpec {
    /// Identity across systems.
    pub uuid: Uuid,
    /// The step, in a word.
    pub kind: Text,
    /// The activity above; the root where none is named.
    pub parent: Option<ActivityId>,
    /// Whether it survives its task's return to the queue, if the task is sustainable too.
    pub sustainable: bool,
    /// Free labels.
    pub tags: Vec<Text>,
    /// What people want to know; null = nothing.
    pub context: Document,
}

impl ActivitySpec {
    /// A step with only what must be there.
    #[must_use]
    pub fn new(uuid: Uuid, kind: &str) -> ActivitySpec {
        ActivitySpec {
            uuid,
            kind: kind.into(),
            parent: None,
            sustainable: false,
            tags: Vec::new(),
            context: Document::default(),
        }
    }

    /// Checks lengths.
    ///
    /// # Errors
    /// `invalid_field`, naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.kind.is_empty() || self.kind.chars().count() > limits::WORD {
            return Err(Error::invalid("type", format!("'type' must have from 1 to {} characters", limits::WORD)));
        }
        if self.tags.len() > limits::TAGS || self.tags.iter().any(|t| t.is_empty() || t.chars().count() > limits::WORD)
        {
            return Err(Error::invalid("tags", "at most 32 tags of 1 to 64 characters"));
        }
        if !self.context.is_null() && self.context.to_string().len() > limits::JSON {
            return Err(Error::invalid("context", "'context' is larger than 256 KiB"));
        }
        Ok(())
    }
}

/// Where an activity is, with what exists only there.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Not begun, or to be begun again.
    Enqueued,
    /// In work.
    Started {
        /// Since when.
        started_at: Timestamp,
    },
    /// Waiting.
    Paused {
        /// Since when it was in work.
        started_at: Timestamp,
    },
    /// Over, for ever.
    Completed {
        /// When it began, if it did.
        started_at: Option<Timestamp>,
        /// When it ended.
        completed_at: Timestamp,
        /// How it ended.
        result: Box<TaskResult>,
    },
}

/// The part of an activity that changes.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityStatus {
    /// Where it is.
    pub step: Step,
    /// Who works on it.
    pub executor: Executor,
    /// How far it is.
    pub progress: Option<Progress>,
    /// The last change.
    pub updated_at: Timestamp,
}

/// What an activity shows: its own status, or its task's if it is the root.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all activities are steps; a box would cost each of them")]
pub enum Body {
    /// The root: type, state, progress, executor, result and context are the task's.
    Root,
    /// A step.
    Step(ActivitySpec, ActivityStatus),
}

/// A step inside a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// Identity.
    pub id: ActivityId,
    /// Identity across systems.
    pub uuid: Uuid,
    /// The task it belongs to.
    pub task: TaskId,
    /// When it was made.
    pub created_at: Timestamp,
    /// What it shows.
    pub body: Body,
}

named_enum! {
    /// What an executor reports on an activity.
    ActivityEventKind {
        /// It begins, or begins again.
        Start = "start",
        /// How far it is.
        Report = "report",
        /// It waits.
        Pause = "pause",
        /// It goes on.
        Resume = "resume",
        /// It is done.
        Complete = "complete",
    }
}

/// Something that happens to an activity.
#[derive(Debug, Clone, PartialEq)]
pub enum ActivityEvent {
    /// It begins, or begins again after its task returned to the queue.
    Start,
    /// How far it is.
    Report(Progress),
    /// It waits.
    Pause,
    /// It goes on.
    Resume,
    /// It is done.
    Complete(Outcome, Option<Progress>),
}

impl ActivityEvent {
    /// The event's name.
    #[must_use]
    pub fn kind(&self) -> ActivityEventKind {
        match self {
            ActivityEvent::Start => ActivityEventKind::Start,
            ActivityEvent::Report(_) => ActivityEventKind::Report,
            ActivityEvent::Pause => ActivityEventKind::Pause,
            ActivityEvent::Resume => ActivityEventKind::Resume,
            ActivityEvent::Complete(..) => ActivityEventKind::Complete,
        }
    }
}

impl Activity {
    /// A new step of a task that is in work.
    ///
    /// # Errors
    /// `invalid_field`, or `state_conflict` when nobody works on the task.
    pub fn create(id: ActivityId, task: &Task, spec: ActivitySpec, now: Timestamp) -> Result<Activity> {
        spec.validate()?;
        check_open(task)?;
        let executor = task.executor().cloned().unwrap_or_default();
        let status = ActivityStatus { step: Step::Enqueued, executor, progress: None, updated_at: now };
        Ok(Activity { id, uuid: spec.uuid, task: task.id, created_at: now, body: Body::Step(spec, status) })
    }

    /// The root of a task. Its uuid follows from the task's, so that making it needs no randomness.
    #[must_use]
    pub fn root(id: ActivityId, task: &Task, now: Timestamp) -> Activity {
        Activity { id, uuid: Self::root_uuid(task.spec.uuid), task: task.id, created_at: now, body: Body::Root }
    }

    /// The uuid of the root of a task with this uuid. Version and variant say that it was made up, so those of the task's
    /// cannot be told from it; everything else can.
    #[must_use]
    pub fn root_uuid(task: Uuid) -> Uuid {
        let mut bytes = task.into_bytes();
        for (byte, mask) in bytes[8..].iter_mut().zip(b"rootroot") {
            *byte ^= mask;
        }
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// Whether it is its task's root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        matches!(self.body, Body::Root)
    }

    /// Whether it is not over. The root ends with its task, so it is never open by itself.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(&self.body, Body::Step(_, s) if !matches!(s.step, Step::Completed { .. }))
    }

    /// Lets an event happen to a step; an executor may report on it only while its task is started or paused.
    ///
    /// # Errors
    /// `forbidden` on the root, `already_completed`, `state_conflict` or `invalid_field`.
    pub fn apply(&self, task: &Task, event: ActivityEvent, now: Timestamp) -> Result<Activity> {
        let Body::Step(spec, status) = &self.body else {
            return Err(Error::new(Code::Forbidden, "the root activity is the server's; it follows its task"));
        };
        let kind = event.kind();
        let mut next = status.clone();
        next.executor = task.executor().cloned().unwrap_or_default();
        let repeated = matches!(
            (&status.step, &event),
            (Step::Started { .. }, ActivityEvent::Start | ActivityEvent::Resume)
                | (Step::Paused { .. }, ActivityEvent::Pause)
        ) || matches!((&status.step, &event), (Step::Completed { result, .. }, ActivityEvent::Complete(outcome, _))
                if **result == outcome.clone().into_result());
        if repeated {
            return Ok(self.clone());
        }
        if let Step::Completed { .. } = status.step {
            return Err(Error::new(
                Code::AlreadyCompleted,
                format!("activity {} is completed; '{kind}' is not possible", self.id),
            ));
        }
        check_open(task)?;
        match (status.step.clone(), event) {
            (Step::Enqueued, ActivityEvent::Start) => next.step = Step::Started { started_at: now },
            (Step::Started { .. } | Step::Paused { .. }, ActivityEvent::Report(progress)) => {
                progress.validate()?;
                next.progress = Some(progress);
            }
            (Step::Started { started_at }, ActivityEvent::Pause) => next.step = Step::Paused { started_at },
            (Step::Paused { started_at }, ActivityEvent::Resume) => next.step = Step::Started { started_at },
            (_, ActivityEvent::Complete(outcome, progress)) => {
                if let Some(progress) = progress {
                    progress.validate()?;
                    next.progress = Some(progress);
                }
                let started_at = Some(status.started_at().unwrap_or(now));
                next.step = Step::Completed { started_at, completed_at: now, result: Box::new(outcome.into_result()) };
            }
            _ => {
                let message = format!("activity {} is {}; '{kind}' is not possible", self.id, status.state());
                return Err(Error::new(Code::StateConflict, message));
            }
        }
        next.updated_at = now;
        Ok(Activity { body: Body::Step(spec.clone(), next), ..self.clone() })
    }

    /// The step after its task returned to the queue: it waits to be begun again if it and its task are sustainable, and
    /// is abandoned otherwise. Nothing for one that is over.
    #[must_use]
    pub fn after_return(&self, task_sustainable: bool, now: Timestamp) -> Option<Activity> {
        let Body::Step(spec, status) = &self.body else { return None };
        if !(task_sustainable && spec.sustainable) {
            return self.abandoned("Its task returned to the queue.", now);
        }
        if !self.is_open() || status.step == Step::Enqueued {
            return None;
        }
        let next = ActivityStatus { step: Step::Enqueued, updated_at: now, ..status.clone() };
        Some(Activity { body: Body::Step(spec.clone(), next), ..self.clone() })
    }

    /// The step stamped anew, because its task was deleted and it with it. Nothing for the root, which shows its task.
    #[must_use]
    pub fn stamped(&self, now: Timestamp) -> Option<Activity> {
        let Body::Step(spec, status) = &self.body else { return None };
        let next = ActivityStatus { updated_at: now, ..status.clone() };
        Some(Activity { body: Body::Step(spec.clone(), next), ..self.clone() })
    }

    /// The step after its task is over, or nothing for one that was over before.
    #[must_use]
    pub fn abandoned(&self, message: &str, now: Timestamp) -> Option<Activity> {
        let Body::Step(spec, status) = &self.body else { return None };
        if !self.is_open() {
            return None;
        }
        let result = TaskResult::server(ResultCode::Abandoned, "abandonedByExecutor", message.to_owned());
        let step = Step::Completed { started_at: status.started_at(), completed_at: now, result: Box::new(result) };
        let next = ActivityStatus { step, updated_at: now, ..status.clone() };
        Some(Activity { body: Body::Step(spec.clone(), next), ..self.clone() })
    }
}

impl ActivityStatus {
    /// The state's name; activities are never `assigned`.
    #[must_use]
    pub fn state(&self) -> State {
        match self.step {
            Step::Enqueued => State::Enqueued,
            Step::Started { .. } => State::Started,
            Step::Paused { .. } => State::Paused,
            Step::Completed { .. } => State::Completed,
        }
    }

    /// When it began.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        match self.step {
            Step::Enqueued => None,
            Step::Started { started_at } | Step::Paused { started_at } => Some(started_at),
            Step::Completed { started_at, .. } => started_at,
        }
    }
}

fn check_open(task: &Task) -> Result<()> {
    match task.state() {
        State::Started | State::Paused => Ok(()),
        state => Err(Error::new(
            if state == State::Completed { Code::AlreadyCompleted } else { Code::StateConflict },
            format!(
                "task {} is {state}; its activities can be reported on only while it is started or paused",
                task.id
            ),
        )),
    }
}

/// An activity with its task, as it is shown and queried: what the root and all steps take from the task is read there.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityView {
    /// The activity.
    pub activity: Activity,
    /// Its task.
    pub task: Task,
}

impl ActivityView {
    /// The step, in a word; the root has its task's type.
    #[must_use]
    pub fn kind(&self) -> &str {
        match &self.activity.body {
            Body::Root => &self.task.spec.kind,
            Body::Step(spec, _) => &spec.kind,
        }
    }

    /// The state's name.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.activity.body {
            Body::Root => self.task.state(),
            Body::Step(_, status) => status.state(),
        }
    }

    /// How it ended.
    #[must_use]
    pub fn result(&self) -> Option<&TaskResult> {
        match &self.activity.body {
            Body::Root => self.task.result(),
            Body::Step(_, ActivityStatus { step: Step::Completed { result, .. }, .. }) => Some(result),
            Body::Step(..) => None,
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Option<&Progress> {
        match &self.activity.body {
            Body::Root => self.task.status.progress.as_ref(),
            Body::Step(_, status) => status.progress.as_ref(),
        }
    }

    /// Who works on it.
    #[must_use]
    pub fn executor(&self) -> Option<&Executor> {
        match &self.activity.body {
            Body::Root => self.task.executor(),
            Body::Step(_, status) => Some(&status.executor),
        }
    }

    /// The activity above; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<ActivityId> {
        match &self.activity.body {
            Body::Root => None,
            Body::Step(spec, _) => spec.parent,
        }
    }

    /// Whether it survives its task's return to the queue.
    #[must_use]
    pub fn sustainable(&self) -> bool {
        match &self.activity.body {
            Body::Root => self.task.spec.rules.sustainable,
            Body::Step(spec, _) => spec.sustainable,
        }
    }

    /// Free labels; the root has its task's.
    #[must_use]
    pub fn tags(&self) -> &[Text] {
        match &self.activity.body {
            Body::Root => &self.task.spec.tags,
            Body::Step(spec, _) => &spec.tags,
        }
    }

    /// What people want to know; the root has its task's.
    #[must_use]
    pub fn context(&self) -> &Document {
        match &self.activity.body {
            Body::Root => &self.task.spec.context,
            Body::Step(spec, _) => &spec.context,
        }
    }

    /// When it began.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        match &self.activity.body {
            Body::Root => self.task.started_at(),
            Body::Step(_, status) => status.started_at(),
        }
    }

    /// When it ended.
    #[must_use]
    pub fn completed_at(&self) -> Option<Timestamp> {
        match &self.activity.body {
            Body::Root => self.task.completed_at(),
            Body::Step(_, ActivityStatus { step: Step::Completed { completed_at, .. }, .. }) => Some(*completed_at),
            Body::Step(..) => None,
        }
    }

    /// The last change.
    #[must_use]
    pub fn updated_at(&self) -> Timestamp {
        match &self.activity.body {
            Body::Root => self.task.status.updated_at,
            Body::Step(_, status) => status.updated_at,
        }
    }
}
