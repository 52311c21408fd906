//! What can be asked of each list: the tables behind the filters, from which the document is made too.

use std::sync::LazyLock;

use domain::backup::BackupKind;
use domain::query::{ActivityField, Direction, Field, FieldKind, Order, RecordField, TaskField};
use domain::record::RecordKind;
use domain::resource::ResourceKind;
use domain::token::TokenKind;

use super::filter::{ListOf, Meaning, Parameter};

pub(super) static TASKS: LazyLock<ListOf<TaskField>> = LazyLock::new(|| {
    use TaskField as F;
    let mut list = all_fields("tasks", Order::newest());
    list.also("resource", Meaning::IdOrName(F::ResourceId, F::ResourceName), "The resource, by id or by exact name");
    list.also("policy", Meaning::IdOrName(F::PolicyId, F::PolicyName), "The policy, by id or by exact name");
    list.also("executor", Meaning::AnyOf(F::ExecutorId), "Who has it or had it last, by id");
    list.also("contains", Meaning::Contains(F::ResourceName), "A text in the resource's name");
    list.also("since", Meaning::From(F::CreatedAt), "Created at this time or later");
    list.also("until", Meaning::To(F::CreatedAt), "Created before this time");
    list
});

pub(super) static ACTIVITIES: LazyLock<ListOf<ActivityField>> = LazyLock::new(|| {
    use ActivityField as F;
    let mut list = all_fields("activities", Order::newest());
    list.also("task", Meaning::AnyOf(F::TaskId), "The task, by number");
    list.also(
        "resource",
        Meaning::IdOrName(F::ResourceId, F::ResourceName),
        "The task's resource, by id or by exact name",
    );
    list.also("policy", Meaning::IdOrName(F::PolicyId, F::PolicyName), "The task's policy, by id or by exact name");
    list.also("contains", Meaning::Contains(F::ResourceName), "A text in the name of the task's resource");
    list.also("since", Meaning::From(F::CreatedAt), "Created at this time or later");
    list.also("until", Meaning::To(F::CreatedAt), "Created before this time");
    list
});

pub(super) static RESOURCES: Records = LazyLock::new(|| {
    let mut list = named("resources", RecordKind::Resource);
    list.only("kind", ResourceKind::NAMES);
    list
});
pub(super) static POLICIES: Records = LazyLock::new(|| named("policies", RecordKind::Policy));
pub(super) static APPLICATIONS: Records =
    LazyLock::new(|| records("applications", RecordKind::Application, Order::newest()));
pub(super) static BACKUPS: Records = LazyLock::new(|| {
    use RecordField as F;
    let mut list = records("backups", RecordKind::Backup, by(F::CreatedAt, Direction::Desc));
    list.only("kind", BackupKind::NAMES);
    list.parameters.retain(|p| p.name != "resource");
    list.also(
        "resource",
        Meaning::IdOrName(F::Resource, F::Name),
        "The resource, by id or by its exact name at that time",
    );
    list
});
pub(super) static AGENTS: Records = LazyLock::new(|| named("agents", RecordKind::Agent));
pub(super) static REPOSITORIES: Records = LazyLock::new(|| named("repositories", RecordKind::Repository));
pub(super) static CHANNELS: Records = LazyLock::new(|| {
    let mut list = named("notification_channels", RecordKind::Channel);
    list.only("kind", &["email", "webhook"]);
    list
});
pub(super) static TENANTS: Records = LazyLock::new(|| named("tenants", RecordKind::Tenant));
pub(super) static TOKENS: Records = LazyLock::new(|| {
    let mut list = named("tokens", RecordKind::Token);
    list.only("kind", TokenKind::NAMES);
    list
});

pub(super) static USERS: Records = LazyLock::new(|| {
    let mut list = named("users", RecordKind::User);
    list.called(RecordField::Name, "login", "The login");
    list.worded("contains", "A text in the login");
    list
});
pub(super) static CLIENTS: Records = LazyLock::new(|| named("clients", RecordKind::ApiClient));
pub(super) static CLIENT_KEYS: Records = LazyLock::new(|| {
    let order = by(RecordField::CreatedAt, Direction::Desc);
    let mut list = records("client_keys", RecordKind::ClientKey, order);
    // The program stands in the path.
    list.parameters.retain(|p| p.name != "actor");
    list.sortable.retain(|(name, _)| *name != "actor");
    list
});
pub(super) static SIGNING_KEYS: Records =
    LazyLock::new(|| records("signing_keys", RecordKind::SigningKey, by(RecordField::CreatedAt, Direction::Desc)));
pub(super) static AUDIT: Records = LazyLock::new(|| {
    use RecordField as F;
    let mut list = records("audit", RecordKind::AuditEntry, by(F::CreatedAt, Direction::Desc));
    list.called(F::Kind, "action", "What was done, like `token.create`");
    list.called(F::Name, "actor_name", "The exact name that the credential had then");
    list.worded("actor", "The credential, by id");
    list.parameters.retain(|p| p.name != "object");
    // Not all ids are uuids, but those that are may be written in capitals.
    let either = Meaning::IdOrName(F::Object, F::Object);
    list.also("object", either, "What was acted on, by id; a task by number");
    list.worded("contains", "A text in the name that the credential had then");
    list
});

type Records = LazyLock<ListOf<RecordField>>;

impl<F: Field> ListOf<F> {
    fn also(&mut self, name: &str, meaning: Meaning<F>, about: &str) {
        self.parameters.push(Parameter { name: name.to_owned(), meaning, about: format!("{about}."), names: None });
    }

    /// A field that has another name in the bodies of this list's items, and so in its parameters.
    fn called(&mut self, field: F, name: &'static str, about: &str) {
        for parameter in self.parameters.iter_mut().filter(|p| p.name == field.name()) {
            name.clone_into(&mut parameter.name);
        }
        for sortable in self.sortable.iter_mut().filter(|(_, f)| *f == field) {
            sortable.0 = name;
        }
        self.worded(name, about);
    }

    /// A parameter that says more than its field's name.
    fn worded(&mut self, name: &str, about: &str) {
        for parameter in self.parameters.iter_mut().filter(|p| p.name == name) {
            parameter.about = format!("{about}.");
        }
    }

    /// A parameter with a fixed list of values.
    fn only(&mut self, name: &str, names: &'static [&'static str]) {
        for parameter in self.parameters.iter_mut().filter(|p| p.name == name) {
            parameter.names = Some(names);
        }
    }

    /// The parameters of a field: its values, or for times `_from` and `_to`.
    fn field(&mut self, field: F) {
        let name = field.name();
        let words = name.replace('_', " ");
        match field.kind() {
            FieldKind::Time => {
                self.also(&format!("{name}_from"), Meaning::From(field), &format!("`{name}` is this time or later"));
                self.also(&format!("{name}_to"), Meaning::To(field), &format!("`{name}` is before this time"));
            }
            _ => self.also(name, Meaning::AnyOf(field), &format!("The {words}")),
        }
        if field.sortable() {
            self.sortable.push((name, field));
        }
    }
}

/// A list that can be asked for every field.
fn all_fields<F: Field>(name: &'static str, order: Order<F>) -> ListOf<F> {
    let mut list = ListOf { name, parameters: Vec::new(), sortable: Vec::new(), order };
    F::ALL.iter().for_each(|f| list.field(*f));
    list
}

/// A list of records that have names.
fn named(name: &'static str, kind: RecordKind) -> ListOf<RecordField> {
    records(name, kind, by(RecordField::Name, Direction::Asc))
}

fn records(name: &'static str, kind: RecordKind, order: Order<RecordField>) -> ListOf<RecordField> {
    use RecordField as F;
    let mut list = ListOf { name, parameters: Vec::new(), sortable: Vec::new(), order };
    let own = kind.own_fields();
    let common = [F::CreatedAt, F::UpdatedAt];
    [F::Id, F::Tenant].iter().chain(own).chain(&common).for_each(|f| list.field(*f));
    if own.contains(&F::Name) {
        list.also("contains", Meaning::Contains(F::Name), "A text in the name");
    }
    list.also("since", Meaning::From(F::CreatedAt), "Made at this time or later");
    list.also("until", Meaning::To(F::CreatedAt), "Made before this time");
    list
}

fn by(field: RecordField, direction: Direction) -> Order<RecordField> {
    // Refused only for fields with several values, of which records have none.
    Order::by(vec![(field, direction)]).unwrap_or_else(|_| Order::newest())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_parameter_stands_twice() {
        fn check<F: Field>(list: &ListOf<F>) {
            let names: Vec<_> =
                list.parameters.iter().map(|p| p.name.as_str()).chain(super::super::filter::PAGING).collect();
            for (i, name) in names.iter().enumerate() {
                assert!(!names[..i].contains(name), "'{name}' of {} stands twice", list.name);
            }
        }
        check(&TASKS);
        check(&ACTIVITIES);
        let records =
            [&CHANNELS, &RESOURCES, &POLICIES, &APPLICATIONS, &BACKUPS, &AGENTS, &REPOSITORIES, &TENANTS, &TOKENS];
        for list in records.into_iter().chain([&USERS, &CLIENTS, &CLIENT_KEYS, &SIGNING_KEYS, &AUDIT]) {
            check(list);
            assert!(list.order.terms().len() == 2 || list.name == "applications", "{} has its own order", list.name);
        }
    }
}
