//! The tables of what can be asked of tasks and of activities (contract, sections 4.2, 5 and D39).

use domain::query::{ActivityField, Field, TaskField};
use domain::task::{ResultCode, State};

use super::super::names::PRIORITIES;

/// A parameter that filters.
#[derive(Debug)]
pub(in super::super) struct Parameter<F> {
    /// Its name.
    pub(super) name: &'static str,
    /// What it asks for.
    pub(super) asks: Asks<F>,
}

/// What a filter asks for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asks<F> {
    /// A field that every row has.
    Always(F, Form),
    /// A field that can be absent, for which `isnull()` and `notnull()` ask (D24).
    Maybe(F, Form),
    /// The tenant itself (D18).
    Tenant,
    /// The tenant or one above it (D18).
    Subtree,
}

/// What the values of a field look like, and so which functions it has (D19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A whole number.
    Int,
    /// A uuid.
    Uuid,
    /// Text.
    Text,
    /// Text, parts of which can be searched for.
    Search,
    /// A task type, which may have a name of the vendor's (D52).
    Type,
    /// A resource type, which may stand for several (D54).
    ResourceType,
    /// One of these names.
    Enum(&'static [&'static str]),
    /// A time.
    Time,
    /// Yes or no.
    Bool,
}

/// A field that a number of rows can be broken down by (D39).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum GroupKey {
    /// The tenant.
    Tenant,
    /// The state.
    State,
    /// The result's code.
    ResultCode,
    /// The type.
    Type,
    /// The policy's id.
    PolicyId,
    /// The resource's id.
    ResourceId,
}

impl GroupKey {
    /// All of them.
    pub(in super::super) const ALL: [GroupKey; 6] = [
        GroupKey::Tenant,
        GroupKey::State,
        GroupKey::ResultCode,
        GroupKey::Type,
        GroupKey::PolicyId,
        GroupKey::ResourceId,
    ];

    /// Its name on the wire.
    pub(in super::super) fn name(self) -> &'static str {
        match self {
            GroupKey::Tenant => "tenant",
            GroupKey::State => "state",
            GroupKey::ResultCode => "resultCode",
            GroupKey::Type => "type",
            GroupKey::PolicyId => "policyId",
            GroupKey::ResourceId => "resourceId",
        }
    }
}

/// A kind of rows that has a list.
pub(in super::super) trait Listed: Field {
    /// Which list, as cursors say it.
    const KIND: u8;
    /// What can be asked. Cursors name filters by their place here: add at the end, remove nothing.
    const FILTERS: &'static [Parameter<Self>];
    /// What rows can be ordered by. Cursors name these by their place, too.
    const ORDERS: &'static [(&'static str, Self)];
    /// The tenant.
    const TENANT: Self;
    /// The last change.
    const UPDATED: Self;

    /// The field to count by.
    fn group(key: GroupKey) -> Self;
}

const STATE: Form = Form::Enum(State::NAMES);
const RESULT: Form = Form::Enum(ResultCode::NAMES);

const fn always<F: Copy>(name: &'static str, field: F, form: Form) -> Parameter<F> {
    Parameter { name, asks: Asks::Always(field, form) }
}

const fn maybe<F: Copy>(name: &'static str, field: F, form: Form) -> Parameter<F> {
    Parameter { name, asks: Asks::Maybe(field, form) }
}

impl Listed for TaskField {
    const KIND: u8 = b't';
    const FILTERS: &'static [Parameter<Self>] = &[
        always("id", TaskField::Id, Form::Int),
        maybe("workflowId", TaskField::WorkflowId, Form::Int),
        always("uuid", TaskField::Uuid, Form::Uuid),
        always("type", TaskField::Type, Form::Type),
        maybe("policyId", TaskField::PolicyId, Form::Text),
        maybe("policyType", TaskField::PolicyType, Form::Text),
        maybe("policyName", TaskField::PolicyName, Form::Search),
        maybe("resourceId", TaskField::ResourceId, Form::Text),
        maybe("resourceType", TaskField::ResourceType, Form::ResourceType),
        maybe("resourceName", TaskField::ResourceName, Form::Search),
        maybe("startedBy", TaskField::StartedBy, Form::Search),
        maybe("tag", TaskField::Tag, Form::Text),
        always("queue", TaskField::Queue, Form::Text),
        maybe("executorId", TaskField::ExecutorId, Form::Text),
        maybe("affinityAgentId", TaskField::AffinityAgent, Form::Text),
        maybe("affinityClusterId", TaskField::AffinityCluster, Form::Text),
        always("priority", TaskField::Priority, Form::Enum(PRIORITIES)),
        always("state", TaskField::State, STATE),
        maybe("resultCode", TaskField::Result, RESULT),
        always("enqueuedAt", TaskField::EnqueuedAt, Form::Time),
        maybe("assignedAt", TaskField::AssignedAt, Form::Time),
        maybe("startedAt", TaskField::StartedAt, Form::Time),
        always("updatedAt", TaskField::UpdatedAt, Form::Time),
        maybe("completedAt", TaskField::CompletedAt, Form::Time),
        Parameter { name: "tenantId", asks: Asks::Tenant },
        Parameter { name: "tenantSubtreeId", asks: Asks::Subtree },
    ];
    const ORDERS: &'static [(&'static str, Self)] = &[
        ("id", TaskField::Id),
        ("uuid", TaskField::Uuid),
        ("type", TaskField::Type),
        ("priority", TaskField::Priority),
        ("startedByUser", TaskField::StartedBy),
        ("state", TaskField::State),
        ("enqueuedAt", TaskField::EnqueuedAt),
        ("assignedAt", TaskField::AssignedAt),
        ("startedAt", TaskField::StartedAt),
        ("updatedAt", TaskField::UpdatedAt),
        ("completedAt", TaskField::CompletedAt),
    ];
    const TENANT: Self = TaskField::Tenant;
    const UPDATED: Self = TaskField::UpdatedAt;

    fn group(key: GroupKey) -> Self {
        match key {
            GroupKey::Tenant => TaskField::Tenant,
            GroupKey::State => TaskField::State,
            GroupKey::ResultCode => TaskField::Result,
            GroupKey::Type => TaskField::Type,
            GroupKey::PolicyId => TaskField::PolicyId,
            GroupKey::ResourceId => TaskField::ResourceId,
        }
    }
}

impl Listed for ActivityField {
    const KIND: u8 = b'a';
    const FILTERS: &'static [Parameter<Self>] = &[
        always("id", ActivityField::Id, Form::Int),
        maybe("workflowId", ActivityField::WorkflowId, Form::Int),
        always("taskId", ActivityField::TaskId, Form::Int),
        maybe("parentActivityId", ActivityField::Parent, Form::Int),
        always("uuid", ActivityField::Uuid, Form::Uuid),
        always("type", ActivityField::Type, Form::Type),
        maybe("policyId", ActivityField::PolicyId, Form::Text),
        maybe("policyType", ActivityField::PolicyType, Form::Text),
        maybe("policyName", ActivityField::PolicyName, Form::Search),
        maybe("resourceId", ActivityField::ResourceId, Form::Text),
        maybe("resourceType", ActivityField::ResourceType, Form::ResourceType),
        maybe("resourceName", ActivityField::ResourceName, Form::Search),
        maybe("startedBy", ActivityField::StartedBy, Form::Search),
        maybe("tag", ActivityField::Tag, Form::Text),
        always("state", ActivityField::State, STATE),
        maybe("resultCode", ActivityField::Result, RESULT),
        always("createdAt", ActivityField::CreatedAt, Form::Time),
        maybe("startedAt", ActivityField::StartedAt, Form::Time),
        always("updatedAt", ActivityField::UpdatedAt, Form::Time),
        maybe("completedAt", ActivityField::CompletedAt, Form::Time),
        always("sustainable", ActivityField::Sustainable, Form::Bool),
        Parameter { name: "tenantId", asks: Asks::Tenant },
        Parameter { name: "tenantSubtreeId", asks: Asks::Subtree },
    ];
    const ORDERS: &'static [(&'static str, Self)] = &[
        ("id", ActivityField::Id),
        ("uuid", ActivityField::Uuid),
        ("type", ActivityField::Type),
        ("startedByUser", ActivityField::StartedBy),
        ("state", ActivityField::State),
        ("createdAt", ActivityField::CreatedAt),
        ("startedAt", ActivityField::StartedAt),
        ("updatedAt", ActivityField::UpdatedAt),
        ("completedAt", ActivityField::CompletedAt),
    ];
    const TENANT: Self = ActivityField::Tenant;
    const UPDATED: Self = ActivityField::UpdatedAt;

    fn group(key: GroupKey) -> Self {
        match key {
            GroupKey::Tenant => ActivityField::Tenant,
            GroupKey::State => ActivityField::State,
            GroupKey::ResultCode => ActivityField::Result,
            GroupKey::Type => ActivityField::Type,
            GroupKey::PolicyId => ActivityField::PolicyId,
            GroupKey::ResourceId => ActivityField::ResourceId,
        }
    }
}
