//! The fields of tasks that can be asked for.

use super::field::fields;
use super::{Cell, Field, FieldKind, Read};
use crate::Text;
use crate::task::{Named, Priority, ResultCode, Standing, State, Task};

fields! {
    /// A field of a task.
    TaskField {
        /// The integer id.
        Id = "id": FieldKind::Int,
        /// The uuid.
        Uuid = "uuid": FieldKind::Uuid,
        /// The type.
        Type = "type": FieldKind::Text,
        /// The queue.
        Queue = "queue": FieldKind::Text,
        /// The priority.
        Priority = "priority": FieldKind::Enum(Priority::NAMES),
        /// The state.
        State = "state": FieldKind::Enum(State::NAMES),
        /// The result's code; absent until completed.
        Result = "result": FieldKind::Enum(ResultCode::NAMES),
        /// How it stands, in four words.
        Standing = "standing": FieldKind::Enum(Standing::NAMES),
        /// Whether it is over.
        Over = "over": FieldKind::Bool,
        /// Whether it is the first, full backup.
        Seeding = "seeding": FieldKind::Bool,
        /// The owner.
        Tenant = "tenant": FieldKind::Uuid,
        /// The issuing client's id.
        IssuerId = "issuer_id": FieldKind::Text,
        /// The person or program behind it.
        StartedBy = "started_by": FieldKind::Text,
        /// The policy's id.
        PolicyId = "policy_id": FieldKind::Text,
        /// The policy's type.
        PolicyType = "policy_type": FieldKind::Text,
        /// The policy's name.
        PolicyName = "policy_name": FieldKind::Text,
        /// The resource's id.
        ResourceId = "resource_id": FieldKind::Text,
        /// The resource's type.
        ResourceType = "resource_type": FieldKind::Text,
        /// The resource's name.
        ResourceName = "resource_name": FieldKind::Text,
        /// The id of what it hangs below in a vendor's model.
        ParentId = "parent_entity_id": FieldKind::Text,
        /// The type of that.
        ParentType = "parent_entity_type": FieldKind::Text,
        /// The value that goes with it.
        ParentValue = "parent_entity_value": FieldKind::Text,
        /// The executor's id.
        ExecutorId = "executor_id": FieldKind::Text,
        /// The agent that alone may take it.
        AffinityAgent = "affinity_agent": FieldKind::Text,
        /// The group of agents that alone may take it.
        AffinityCluster = "affinity_cluster": FieldKind::Text,
        /// The workflow.
        WorkflowId = "workflow_id": FieldKind::Int,
        /// The labels.
        Tag = "tag": FieldKind::Texts,
        /// Whether somebody wants it cancelled.
        CancelRequested = "cancel_requested": FieldKind::Bool,
        /// When it was created.
        CreatedAt = "created_at": FieldKind::Time,
        /// When it last entered the queue.
        EnqueuedAt = "enqueued_at": FieldKind::Time,
        /// When it was handed out.
        AssignedAt = "assigned_at": FieldKind::Time,
        /// When its executor began.
        StartedAt = "started_at": FieldKind::Time,
        /// The last change.
        UpdatedAt = "updated_at": FieldKind::Time,
        /// When it ended.
        CompletedAt = "completed_at": FieldKind::Time,
        /// When it was deleted.
        DeletedAt = "deleted_at": FieldKind::Time,
    }
}

impl Field for TaskField {
    type Row = Task;
    const ALL: &'static [Self] = Self::EVERY;
    const ID: Self = TaskField::Id;

    fn changes(self) -> bool {
        use TaskField as F;
        let of_wish = matches!(
            self,
            F::Id
                | F::Uuid
                | F::Type
                | F::Queue
                | F::Priority
                | F::Seeding
                | F::Tenant
                | F::IssuerId
                | F::StartedBy
                | F::PolicyId
                | F::PolicyType
                | F::PolicyName
                | F::ResourceId
                | F::ResourceType
                | F::ResourceName
                | F::ParentId
                | F::ParentType
                | F::ParentValue
                | F::AffinityAgent
                | F::AffinityCluster
                | F::WorkflowId
                | F::Tag
                | F::CreatedAt
        );
        !of_wish
    }

    fn name(self) -> &'static str {
        self.about().0
    }

    fn kind(self) -> FieldKind {
        self.about().1
    }

    fn read(self, task: &Task) -> Read<'_> {
        let (spec, status) = (&*task.spec, &task.status);
        match self {
            TaskField::Id => Read::One(Cell::Int(task.id.0)),
            TaskField::Uuid => Read::One(Cell::Uuid(spec.uuid)),
            TaskField::Type => Read::text(&spec.kind),
            TaskField::Queue => Read::text(&spec.queue),
            TaskField::Priority => Read::One(Cell::Enum(spec.priority.ordinal())),
            TaskField::State => Read::One(Cell::Enum(task.state().ordinal())),
            TaskField::Result => Read::opt(task.result().map(|r| Cell::Enum(r.code.ordinal()))),
            TaskField::Standing => Read::One(Cell::Enum(task.standing().ordinal())),
            TaskField::Over => Read::One(Cell::Bool(task.result().is_some())),
            TaskField::Seeding => Read::One(Cell::Bool(spec.seeding)),
            TaskField::Tenant => Read::One(Cell::Uuid(spec.tenant)),
            TaskField::IssuerId => Read::text(&spec.issuer.id),
            TaskField::StartedBy => Read::text(spec.started_by.as_deref().unwrap_or("")),
            TaskField::PolicyId => part(&spec.policy, |n| &n.id),
            TaskField::PolicyType => part(&spec.policy, |n| &n.kind),
            TaskField::PolicyName => part(&spec.policy, |n| &n.name),
            TaskField::ResourceId => part(&spec.resource, |n| &n.id),
            TaskField::ResourceType => part(&spec.resource, |n| &n.kind),
            TaskField::ResourceName => part(&spec.resource, |n| &n.name),
            TaskField::ParentId => Read::text(spec.parent_entity.as_ref().map_or("", |e| &e.id)),
            TaskField::ParentType => Read::text(spec.parent_entity.as_ref().map_or("", |e| &e.kind)),
            TaskField::ParentValue => Read::text(spec.parent_entity.as_ref().map_or("", |e| &e.value)),
            TaskField::ExecutorId => Read::text(task.executor().map_or("", |e| &e.id)),
            TaskField::AffinityAgent => Read::text(spec.affinity.agent.as_deref().unwrap_or("")),
            TaskField::AffinityCluster => Read::text(spec.affinity.cluster.as_deref().unwrap_or("")),
            TaskField::WorkflowId => Read::opt(spec.workflow_id.map(Cell::Int)),
            TaskField::Tag => {
                if spec.tags.is_empty() {
                    Read::Absent
                } else {
                    Read::Many(&spec.tags)
                }
            }
            TaskField::CancelRequested => Read::One(Cell::Bool(status.cancel_requested)),
            TaskField::CreatedAt => Read::One(Cell::Time(task.created_at)),
            TaskField::EnqueuedAt => Read::One(Cell::Time(status.enqueued_at)),
            TaskField::AssignedAt => Read::time(task.assigned_at()),
            TaskField::StartedAt => Read::time(task.started_at()),
            TaskField::UpdatedAt => Read::One(Cell::Time(status.updated_at)),
            TaskField::CompletedAt => Read::time(task.completed_at()),
            TaskField::DeletedAt => Read::time(status.deleted_at),
        }
    }
}

fn part(named: &Option<Named>, get: impl Fn(&Named) -> &Text) -> Read<'_> {
    Read::text(named.as_ref().map_or("", |n| get(n).as_str()))
}
