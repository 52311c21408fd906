//! The fields of activities that can be asked for; some are their task's.

use super::field::fields;
use super::{Cell, Field, FieldKind, Read, TaskField};
use crate::activity::ActivityView;
use crate::task::{ResultCode, State};

fields! {
    /// A field of an activity.
    ActivityField {
        /// The integer id.
        Id = "id": FieldKind::Int,
        /// The uuid.
        Uuid = "uuid": FieldKind::Uuid,
        /// The task's id.
        TaskId = "task_id": FieldKind::Int,
        /// The activity above; absent on roots.
        Parent = "parent_id": FieldKind::Int,
        /// Whether it is its task's root.
        Root = "root": FieldKind::Bool,
        /// The step, in a word.
        Type = "type": FieldKind::Text,
        /// The state.
        State = "state": FieldKind::Enum(State::NAMES),
        /// The result's code; absent until completed.
        Result = "result": FieldKind::Enum(ResultCode::NAMES),
        /// Whether it survives its task's return to the queue.
        Sustainable = "sustainable": FieldKind::Bool,
        /// The labels.
        Tag = "tag": FieldKind::Texts,
        /// Its task's owner.
        Tenant = "tenant": FieldKind::Uuid,
        /// The person or program behind its task.
        StartedBy = "started_by": FieldKind::Text,
        /// Its task's policy's id.
        PolicyId = "policy_id": FieldKind::Text,
        /// Its task's policy's type.
        PolicyType = "policy_type": FieldKind::Text,
        /// Its task's policy's name.
        PolicyName = "policy_name": FieldKind::Text,
        /// Its task's resource's id.
        ResourceId = "resource_id": FieldKind::Text,
        /// Its task's resource's type.
        ResourceType = "resource_type": FieldKind::Text,
        /// Its task's resource's name.
        ResourceName = "resource_name": FieldKind::Text,
        /// Its task's workflow.
        WorkflowId = "workflow_id": FieldKind::Int,
        /// When it was made.
        CreatedAt = "created_at": FieldKind::Time,
        /// When it began.
        StartedAt = "started_at": FieldKind::Time,
        /// The last change.
        UpdatedAt = "updated_at": FieldKind::Time,
        /// When it ended.
        CompletedAt = "completed_at": FieldKind::Time,
        /// When its task was deleted.
        DeletedAt = "deleted_at": FieldKind::Time,
    }
}

impl ActivityField {
    /// The field of the task from which it is read, if it is the task's (contract for Acronis clients, D47).
    #[must_use]
    pub fn of_task(self) -> Option<TaskField> {
        Some(match self {
            ActivityField::Tenant => TaskField::Tenant,
            ActivityField::StartedBy => TaskField::StartedBy,
            ActivityField::PolicyId => TaskField::PolicyId,
            ActivityField::PolicyType => TaskField::PolicyType,
            ActivityField::PolicyName => TaskField::PolicyName,
            ActivityField::ResourceId => TaskField::ResourceId,
            ActivityField::ResourceType => TaskField::ResourceType,
            ActivityField::ResourceName => TaskField::ResourceName,
            ActivityField::WorkflowId => TaskField::WorkflowId,
            ActivityField::DeletedAt => TaskField::DeletedAt,
            _ => return None,
        })
    }
}

impl Field for ActivityField {
    type Row = ActivityView;
    const ALL: &'static [Self] = Self::EVERY;
    const ID: Self = ActivityField::Id;

    fn name(self) -> &'static str {
        self.about().0
    }

    fn kind(self) -> FieldKind {
        self.about().1
    }

    fn read(self, view: &ActivityView) -> Read<'_> {
        let activity = &view.activity;
        match self {
            ActivityField::Id => Read::One(Cell::Int(activity.id.0)),
            ActivityField::Uuid => Read::One(Cell::Uuid(activity.uuid)),
            ActivityField::TaskId => Read::One(Cell::Int(activity.task.0)),
            ActivityField::Parent => Read::opt(view.parent().map(|p| Cell::Int(p.0))),
            ActivityField::Root => Read::One(Cell::Bool(activity.is_root())),
            ActivityField::Type => Read::text(view.kind()),
            ActivityField::State => Read::One(Cell::Enum(view.state().ordinal())),
            ActivityField::Result => Read::opt(view.result().map(|r| Cell::Enum(r.code.ordinal()))),
            ActivityField::Sustainable => Read::One(Cell::Bool(view.sustainable())),
            ActivityField::Tag => {
                if view.tags().is_empty() {
                    Read::Absent
                } else {
                    Read::Many(view.tags())
                }
            }
            ActivityField::CreatedAt => Read::One(Cell::Time(activity.created_at)),
            ActivityField::StartedAt => Read::time(view.started_at()),
            ActivityField::UpdatedAt => Read::One(Cell::Time(view.updated_at())),
            ActivityField::CompletedAt => Read::time(view.completed_at()),
            // The rest are the task's.
            other => other.of_task().map_or(Read::Absent, |f| f.read(&view.task)),
        }
    }
}
