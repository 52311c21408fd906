//! The fields of records - tenants, resources, policies and so on - that can be asked for. One list for all kinds; a
//! kind that lacks a field has it absent.

use super::field::fields;
use super::{Cell, Field, FieldKind, Read};
use crate::Uuid;
use crate::record::{Record, RecordKind};

fields! {
    /// A field of a record.
    RecordField {
        /// Identity.
        Id = "id": FieldKind::Uuid,
        /// The owner; a tenant's own id for tenants.
        Tenant = "tenant": FieldKind::Uuid,
        /// The name.
        Name = "name": FieldKind::Text,
        /// What sort of thing it is, by name.
        Kind = "kind": FieldKind::Text,
        /// The name that a machine or cloud gives a resource.
        InstanceId = "instance_id": FieldKind::Text,
        /// A tenant's number.
        Number = "number": FieldKind::Int,
        /// A tenant's parent.
        Parent = "parent": FieldKind::Uuid,
        /// The resource it belongs to.
        Resource = "resource": FieldKind::Uuid,
        /// The policy it belongs to.
        Policy = "policy": FieldKind::Uuid,
        /// The agent it belongs to.
        Agent = "agent": FieldKind::Uuid,
        /// The repository it belongs to.
        Repository = "repository": FieldKind::Uuid,
        /// The archive it belongs to.
        Archive = "archive": FieldKind::Uuid,
        /// What sort of thing a backup is of, by name.
        ResourceKind = "resource_kind": FieldKind::Text,
        /// Whether a machine joined from outside, with a registration token for such machines.
        External = "external": FieldKind::Bool,
        /// The task that made it.
        Task = "task": FieldKind::Int,
        /// When it is due next.
        NextRunAt = "next_run_at": FieldKind::Time,
        /// When it was made.
        CreatedAt = "created_at": FieldKind::Time,
        /// The last change.
        UpdatedAt = "updated_at": FieldKind::Time,
        /// When it ceased to count: a credential was revoked, a revoked token expires anyway, a tenant,
        /// resource, backup or archive was deleted.
        EndedAt = "ended_at": FieldKind::Time,
        /// When a backup with an end of its own, or a restored file, goes.
        ExpiresAt = "expires_at": FieldKind::Time,
        /// The credential behind it.
        Actor = "actor": FieldKind::Uuid,
        /// What was acted on.
        Object = "object": FieldKind::Text,
    }
}

impl RecordKind {
    /// The fields that records of this kind can have, beside `id`, `tenant`, `created_at` and `updated_at` which all have.
    #[must_use]
    pub fn own_fields(self) -> &'static [RecordField] {
        use RecordField as F;
        match self {
            RecordKind::Tenant => &[F::Name, F::Number, F::Parent, F::EndedAt],
            RecordKind::Resource => &[F::Name, F::Kind, F::InstanceId, F::Agent, F::External, F::EndedAt],
            RecordKind::Policy => &[F::Name, F::Kind, F::Repository],
            RecordKind::Application => &[F::Policy, F::Resource, F::NextRunAt],
            RecordKind::Agent => &[F::Name],
            RecordKind::Repository => &[F::Name],
            RecordKind::Backup => &[
                F::Name,
                F::Kind,
                F::Resource,
                F::ResourceKind,
                F::External,
                F::Policy,
                F::Archive,
                F::Repository,
                F::Task,
                F::EndedAt,
                F::Agent,
                F::ExpiresAt,
            ],
            RecordKind::RestoredFile => &[F::Name, F::Resource, F::ExpiresAt],
            RecordKind::Channel => &[F::Name, F::Kind],
            RecordKind::Archive => &[F::Name, F::Resource, F::Policy, F::Repository, F::EndedAt],
            RecordKind::Operation => &[F::Kind, F::Resource],
            RecordKind::Token => &[F::Name, F::Kind, F::EndedAt],
            RecordKind::User | RecordKind::ApiClient => &[F::Name, F::EndedAt],
            RecordKind::ClientKey => &[F::Actor, F::EndedAt],
            RecordKind::Revocation | RecordKind::SigningKey => &[F::EndedAt],
            RecordKind::AuditEntry => &[F::Name, F::Kind, F::Actor, F::Object],
        }
    }
}

impl Field for RecordField {
    type Row = Record;
    const ALL: &'static [Self] = Self::EVERY;
    const ID: Self = RecordField::Id;

    fn name(self) -> &'static str {
        self.about().0
    }

    fn kind(self) -> FieldKind {
        self.about().1
    }

    fn read(self, record: &Record) -> Read<'_> {
        use RecordField as F;
        let uuid = |id: Uuid| Read::One(Cell::Uuid(id));
        match (self, record) {
            (F::Id, r) => uuid(r.id()),
            (F::Tenant, r) => uuid(r.tenant()),
            (F::CreatedAt, r) => Read::One(Cell::Time(r.created_at())),
            (F::UpdatedAt, r) => Read::One(Cell::Time(r.updated_at())),
            (F::Name, Record::Tenant(v)) => Read::text(&v.name),
            (F::Name, Record::Resource(v)) => Read::text(&v.name),
            (F::Name, Record::Policy(v)) => Read::text(&v.name),
            (F::Name, Record::Agent(v)) => Read::text(&v.name),
            (F::Name, Record::Repository(v)) => Read::text(&v.name),
            (F::Name, Record::Backup(v)) => Read::text(&v.resource_name),
            (F::Name, Record::Archive(v)) => Read::text(&v.name),
            (F::Name, Record::RestoredFile(v)) => Read::text(&v.name),
            (F::Name, Record::Channel(v)) => Read::text(&v.name),
            (F::Name, Record::Token(v)) => Read::text(&v.name),
            (F::Name, Record::User(v)) => Read::text(&v.login),
            (F::Name, Record::ApiClient(v)) => Read::text(&v.name),
            (F::Name, Record::AuditEntry(v)) => Read::text(&v.actor_name),
            (F::Kind, Record::Resource(v)) => Read::text(v.kind.name()),
            (F::Kind, Record::Policy(v)) => Read::text(&v.kind),
            (F::Kind, Record::Backup(v)) => Read::text(v.kind.name()),
            (F::Kind, Record::Channel(v)) => Read::text(v.target.kind()),
            (F::Kind, Record::Operation(v)) => Read::text(v.kind.name()),
            (F::Kind, Record::Token(v)) => Read::text(v.kind.name()),
            (F::Kind, Record::AuditEntry(v)) => Read::text(&v.action),
            (F::InstanceId, Record::Resource(v)) => Read::text(&v.instance_id),
            (F::Number, Record::Tenant(v)) => Read::One(Cell::Int(v.number)),
            (F::Parent, Record::Tenant(v)) => Read::opt(v.parent.map(Cell::Uuid)),
            (F::Resource, Record::Application(v)) => uuid(v.resource),
            (F::Resource, Record::Backup(v)) => uuid(v.resource),
            (F::Resource, Record::Archive(v)) => uuid(v.resource),
            (F::Resource, Record::RestoredFile(v)) => uuid(v.resource),
            (F::Resource, Record::Operation(v)) => Read::opt(v.about.resource.map(Cell::Uuid)),
            (F::Policy, Record::Application(v)) => uuid(v.policy),
            (F::Policy, Record::Archive(v)) => uuid(v.policy),
            (F::Policy, Record::Backup(v)) => Read::opt(v.policy.map(Cell::Uuid)),
            (F::Agent, Record::Resource(v)) => Read::opt(v.agent.map(Cell::Uuid)),
            (F::Agent, Record::Backup(v)) => Read::opt(v.agent.map(Cell::Uuid)),
            (F::Repository, Record::Policy(v)) => uuid(v.repository),
            (F::Repository, Record::Backup(v)) => uuid(v.repository),
            (F::Repository, Record::Archive(v)) => uuid(v.repository),
            (F::Archive, Record::Backup(v)) => uuid(v.archive),
            (F::ResourceKind, Record::Backup(v)) => Read::opt(v.resource_kind.map(|k| Cell::Text(k.name()))),
            (F::External, Record::Backup(v)) => Read::One(Cell::Bool(v.external)),
            (F::External, Record::Resource(v)) => Read::One(Cell::Bool(v.external)),
            (F::Task, Record::Backup(v)) => Read::One(Cell::Int(v.task)),
            (F::NextRunAt, Record::Application(v)) => Read::time(v.next_run_at),
            (F::ExpiresAt, Record::Backup(v)) => Read::time(v.expires_at),
            (F::ExpiresAt, Record::RestoredFile(v)) => Read::time(v.expires_at),
            (F::EndedAt, Record::Tenant(v)) => Read::time(v.deleted_at),
            (F::EndedAt, Record::Resource(v)) => Read::time(v.deleted_at),
            (F::EndedAt, Record::Backup(v)) => Read::time(v.deleted_at),
            (F::EndedAt, Record::Archive(v)) => Read::time(v.deleted_at),
            (F::EndedAt, Record::Token(v)) => Read::time(v.revoked_at),
            (F::EndedAt, Record::User(v)) => Read::time(v.revoked_at),
            (F::EndedAt, Record::ApiClient(v)) => Read::time(v.revoked_at),
            (F::EndedAt, Record::ClientKey(v)) => Read::time(v.revoked_at),
            (F::EndedAt, Record::Revocation(v)) => Read::One(Cell::Time(v.expires_at)),
            (F::EndedAt, Record::SigningKey(v)) => Read::time(v.revoked_at),
            (F::Actor, Record::ClientKey(v)) => uuid(v.client),
            (F::Actor, Record::AuditEntry(v)) => uuid(v.actor),
            (F::Object, Record::AuditEntry(v)) => Read::text(&v.object),
            _ => Read::Absent,
        }
    }
}
