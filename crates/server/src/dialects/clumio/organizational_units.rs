//! Organizational units: tenants (section 15).

use axum::http::StatusCode;
use domain::resource::ResourceKind;
use domain::task::Task;
use domain::tenant::Tenant;
use domain::{Code, Error, Timestamp, Uuid};
use serde_json::{Value, json};

use super::Handlers;
use super::assignments::of_items;
use super::body::Members;
use super::call::{Call, Reply, etag, get, link};
use super::failure::{Cause, Failure};
use super::filter::{Fields, Filter, Kind, Shown};
use super::listing::{Listing, Pages};
use super::policies::name;
use super::policy_map::{ENTITIES, fits, misnamed};
use super::task_shown::ShownTask;
use crate::service::{NewTenant, Refused, TenantChange, Unit, UnitChange};

/// The most units of one page: a client asks for that many and reads one page (R19).
const MOST: u32 = 10_000;

/// What units can be asked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Id,
    Name,
    Parent,
}

const FIELDS: &Fields<Key> =
    &[("parent_id", Kind::Id, Key::Parent), ("name", Kind::Text, Key::Name), ("id", Kind::Id, Key::Id)];

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("list-organizational-units", list_units);
    handlers.on("read-organizational-unit", read_unit);
    handlers.on("create-organizational-unit", create_unit);
    handlers.on("patch-organizational-unit", patch_unit);
    handlers.on("delete-organizational-unit", delete_unit);
}

async fn list_units(call: Call) -> Result<Reply, Failure> {
    let paging = call.params.paging(MOST)?;
    let filter = Filter::read(call.params.filter()?, FIELDS)?;
    let tree = call.service().unit_tree(&call.caller).await?;
    let passes = |tenant: &&Tenant| {
        filter.matches(|key| match key {
            Key::Id => Shown::owned(tenant.id.to_string()),
            Key::Name => Shown::text(Some(&tenant.name)),
            Key::Parent => tenant.parent.map_or(Shown::Nothing, |id| Shown::owned(id.to_string())),
        })
    };
    let found: Vec<&Tenant> = tree.tenants().iter().filter(passes).collect();
    let total = found.len() as u64;
    let mut items = Vec::new();
    for tenant in paging.of(found) {
        let unit = call.service().unit(&call.caller, &tree, tenant).await?;
        items.push(shown(&call, &unit));
    }
    Ok(call.list(Pages::Numbered, Listing { paging, items, total, filter_applied: Some(filter.applied()) }))
}

async fn read_unit(call: Call) -> Result<Reply, Failure> {
    let id = call.uuid("id", "organizational unit")?;
    let tenant = known(&call, id).await?;
    let unit = looked_up(&call, &tenant).await?;
    Ok(call.ok(shown(&call, &unit)).etag(&etag(unit.tenant.updated_at)))
}

async fn create_unit(call: Call) -> Result<Reply, Failure> {
    let body = call.body()?;
    let members = body.members();
    let name = name(&members, true).unwrap_or_default();
    let description = members.text("description").unwrap_or_default();
    let parent = members.uuid("parent_id");
    no_users(&members);
    let mut moving = Moving::default();
    moving.list(&members, "entities");
    body.checked()?;
    moving.check(&call).await?;
    let new = NewTenant { parent, name: name.to_owned(), description: description.to_owned() };
    let asked = call.asked(Some(&body));
    let made = call.service().create_unit(&call.caller, new, &moving.add, &asked).await;
    let (tenant, task) = made.map_err(|refused| match refused {
        Refused::Whole(e) if e.code == Code::NotFound => {
            Failure::new(Cause::Member, "parent_id: no such organizational unit")
        }
        Refused::Whole(e) if e.code == Code::AlreadyExists => name_taken(name),
        other => of_items(other, |place| moving.name(place)),
    })?;
    answer(&call, &tenant, task.as_ref()).await
}

async fn patch_unit(call: Call) -> Result<Reply, Failure> {
    let id = call.uuid("id", "organizational unit")?;
    let before = known(&call, id).await?;
    let body = call.body()?;
    let members = body.members();
    let change = TenantChange {
        name: name(&members, false).map(str::to_owned),
        // "" clears it.
        description: members.text_or_empty("description").map(str::to_owned),
        schedule_time_zone: None,
    };
    no_users(&members);
    if members.value("protection_groups").is_some_and(|groups| !is_empty(groups)) {
        members.fault("protection_groups", "there are no protection groups here");
    }
    let mut moving = Moving::default();
    if let Some(entities) = members.object("entities") {
        moving.list(&entities, "add");
        moving.list(&entities, "remove");
    }
    body.checked()?;
    let unchanged_since = unchanged(&call, &before)?;
    moving.check(&call).await?;
    let asked = call.asked(Some(&body));
    let (add, remove) = (moving.add.clone(), moving.remove.clone());
    let change = UnitChange { tenant: change, add, remove, unchanged_since };
    let changed = call.service().change_unit(&call.caller, id, &change, &asked).await;
    let (tenant, task) = changed.map_err(|refused| match refused {
        Refused::Whole(e) if e.code == Code::RevisionConflict => changed_meanwhile(),
        Refused::Whole(e) if e.code == Code::AlreadyExists => {
            name_taken(change.tenant.name.as_deref().unwrap_or_default())
        }
        other => of_items(other, |place| moving.name(place)),
    })?;
    answer(&call, &tenant, task.as_ref()).await
}

async fn delete_unit(call: Call) -> Result<Reply, Failure> {
    let id = call.uuid("id", "organizational unit")?;
    let before = known(&call, id).await?;
    let unchanged_since = unchanged(&call, &before)?;
    let deleted = call.service().delete_unit(&call.caller, id, unchanged_since, &call.asked(None)).await;
    let task = deleted.map_err(|e| match e.code {
        Code::InUse => in_use(&call, &before),
        Code::RevisionConflict => changed_meanwhile(),
        _ => e.into(),
    })?;
    Ok(call.started(StatusCode::ACCEPTED, &task, Value::Null))
}

fn name_taken(name: &str) -> Failure {
    let message = format!("name: there is an organizational unit '{name}' below the same one; give another name");
    Failure::new(Cause::NameTaken, message)
}

fn changed_meanwhile() -> Failure {
    Failure::new(Cause::IfMatch, "If-Match: the organizational unit was changed meanwhile; read it again")
}

/// Why a unit cannot be deleted.
fn in_use(call: &Call, unit: &Tenant) -> Failure {
    let name = &unit.name;
    let message = match unit {
        unit if unit.parent.is_none() => "the Global OU cannot be deleted".to_owned(),
        unit if unit.id == call.caller.tenant() => {
            format!("the organizational unit '{name}' is the caller's own; use a token of one above it")
        }
        _ => format!(
            "the organizational unit '{name}' still has units below it, resources or policies; move or delete them first"
        ),
    };
    Failure::new(Cause::UnitInUse, message)
}

async fn known(call: &Call, id: Uuid) -> Result<Tenant, Failure> {
    call.service().tenant(&call.caller, id).await.map_err(|e| match e.code {
        Code::NotFound => Failure::no_such("organizational unit", &id.to_string()),
        _ => e.into(),
    })
}

/// When the unit was last changed, where that must not have been since (D18).
fn unchanged(call: &Call, unit: &Tenant) -> Result<Option<Timestamp>, Failure> {
    call.if_match(&etag(unit.updated_at))?;
    Ok(call.headers.contains_key(axum::http::header::IF_MATCH).then_some(unit.updated_at))
}

async fn looked_up(call: &Call, tenant: &Tenant) -> Result<Unit, Failure> {
    let tree = call.service().unit_tree(&call.caller).await?;
    Ok(call.service().unit(&call.caller, &tree, tenant).await?)
}

/// The answer to a change: at once, or with the task that moves things.
async fn answer(call: &Call, tenant: &Tenant, task: Option<&Task>) -> Result<Reply, Failure> {
    let unit = Unit { task: task.cloned(), ..looked_up(call, tenant).await? };
    let mut answer = shown(call, &unit);
    answer["_links"]["_self"] = call.own_link();
    if task.is_some() {
        return Ok(call.accepted(answer));
    }
    if let Value::Object(members) = &mut answer {
        members.remove("task_id");
    }
    Ok(call.ok(answer))
}

/// A unit as this API shows it.
fn shown(call: &Call, unit: &Unit) -> Value {
    let tenant = &unit.tenant;
    let path = format!("/organizational-units/{}", tenant.id);
    let mut links = json!({ "_self": get(&path), "patch-organizational-unit": link(&path, "patch") });
    if unit.deletable {
        links["delete-organizational-unit"] = link(&path, "delete");
    }
    if let Some(task) = &unit.task {
        links["read-task"] = get(&format!("/tasks/{}", task.id));
    }
    let embedded = unit.task.as_ref().filter(|_| call.params.embeds("read-task"));
    let volumes = [ResourceKind::Volume, ResourceKind::ComputeVm, ResourceKind::BareMetal];
    let mut sources = Vec::new();
    if volumes.iter().any(|kind| unit.kinds.contains(kind)) {
        sources.push("aws");
    }
    if unit.kinds.contains(&ResourceKind::Mailbox) {
        sources.push("microsoft365");
    }
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "description": tenant.description,
        "parent_id": tenant.parent,
        "children_count": unit.children,
        "descendant_ids": unit.descendants,
        "user_count": 0,
        "users": [],
        "configured_datasource_types": sources,
        "task_id": unit.task.as_ref().map(|task| task.id.to_string()),
        "_etag": etag(tenant.updated_at),
        "_embedded": embedded.map(|task| json!({ "read-task": ShownTask::of(task) })),
        "_links": links,
    })
}

/// Users are not assigned here (D10): whatever names one is refused, and an empty list is nothing.
fn no_users(members: &Members<'_>) {
    if members.value("users").is_some_and(|users| !is_empty(users)) {
        members.refuse("users", "users are not assigned to organizational units here");
    }
}

/// Whether nothing is in a value: neither in it nor in what it holds.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(members) => members.values().all(is_empty),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What moves in and out, as a body names it.
#[derive(Default)]
struct Moving {
    add: Vec<Uuid>,
    remove: Vec<Uuid>,
    /// The name and the type of each, those that move in first.
    named: Vec<(String, String)>,
}

impl Moving {
    /// Reads a list of entities.
    fn list(&mut self, members: &Members<'_>, list: &str) {
        for (place, entity) in members.objects(list).unwrap_or_default().iter().enumerate() {
            let Some(primary) = entity.required_object("primary_entity") else { continue };
            let id = primary.required_uuid("id");
            primary.required_text("type");
            let kind = primary.one_of("type", &ENTITIES).unwrap_or_default();
            if list == "remove" {
                self.remove.push(id)
            } else {
                self.add.push(id)
            }
            self.named.push((members.path(&format!("{list}[{place}].primary_entity")), kind.to_owned()));
        }
    }

    /// What a place among all of them is called.
    fn name(&self, place: usize) -> String {
        self.named.get(place).map_or_else(|| format!("entities[{place}]"), |(name, _)| name.clone())
    }

    /// Refuses what is something else than it is said to be, and what is not there.
    async fn check(&self, call: &Call) -> Result<(), Failure> {
        let mut items = Vec::new();
        for (place, (id, (_, entity))) in self.add.iter().chain(&self.remove).zip(&self.named).enumerate() {
            match call.service().resource(&call.caller, *id).await {
                Ok(found) if fits(entity, found.resource.kind).is_none() => {
                    items.push((place, Error::invalid("type", misnamed(&found.resource, entity))));
                }
                Ok(_) => {}
                Err(e) if e.code == Code::NotFound => items.push((place, e)),
                Err(e) => return Err(e.into()),
            }
        }
        if items.is_empty() {
            return Ok(());
        }
        Err(of_items(Refused::Items(items), |place| self.name(place)))
    }
}
