//! Assignments of policies: many at once, all or none (section 14, D38).

use domain::policy::Policy;
use domain::resource::Resource;
use domain::{Code, Error, Uuid};
use serde_json::json;

use super::Handlers;
use super::call::{Call, Reply};
use super::failure::{Cause, Failure, Fault};
use super::policy_map::{ENTITIES, fits, misnamed, types_of};
use crate::service::{Assignment, Refused};

/// The most items of a request.
const MOST: usize = 100;

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("set-policy-assignments", set_assignments);
}

async fn set_assignments(call: Call) -> Result<Reply, Failure> {
    let body = call.body()?;
    let members = body.members();
    let items = members.objects("items").unwrap_or_default();
    match members.value("items") {
        None => members.fault("items", "it is missing"),
        Some(serde_json::Value::Array(list)) if !(1..=MOST).contains(&list.len()) => {
            members.fault("items", format!("there must be from 1 to {MOST}"));
        }
        Some(_) => {}
    }
    let (mut wishes, mut entities) = (Vec::new(), Vec::new());
    for item in &items {
        item.required_text("action");
        let action = item.one_of("action", &["assign", "unassign"]);
        let (mut id, mut entity) = (Uuid::nil(), "");
        if let Some(named) = item.required_object("entity") {
            id = named.required_uuid("id");
            named.required_text("type");
            entity = named.one_of("type", &ENTITIES).unwrap_or_default();
        }
        if action == Some("unassign") && item.text("policy_id").is_some() {
            item.fault("policy_id", "'unassign' takes none");
        }
        let policy = (action == Some("assign")).then(|| item.required_uuid("policy_id"));
        wishes.push(Assignment { resource: id, policy });
        entities.push(entity);
    }
    body.checked()?;
    let check = |place: usize, resource: &Resource, policy: Option<&Policy>| suits(entities[place], resource, policy);
    let asked = call.asked(Some(&body));
    let task = call.service().assign_policies(&call.caller, &wishes, check, &asked).await;
    let task = task.map_err(|refused| of_items(refused, |place| format!("items[{place}]")))?;
    Ok(call.accepted(json!({ "task_id": task.id.to_string(), "_links": call.links_to(&task) })))
}

/// Refuses an entity that is something else, and a policy that has no operation for it.
fn suits(entity: &str, resource: &Resource, policy: Option<&Policy>) -> Result<(), Error> {
    let operations =
        fits(entity, resource.kind).ok_or_else(|| Error::invalid("entity.type", misnamed(resource, entity)))?;
    let Some(policy) = policy else { return Ok(()) };
    let types = types_of(policy);
    if types.iter().any(|kind| operations.contains(&kind.as_str())) {
        return Ok(());
    }
    let message = format!("the policy '{}' has no operation that fits it; one would be {}", policy.name, operations[0]);
    Err(Error::invalid("policy_id", message))
}

/// What stands in the way of several things, with one entry for each; `name` says what a place in the list is called.
pub(super) fn of_items(refused: Refused, name: impl Fn(usize) -> String) -> Failure {
    match refused {
        Refused::Whole(error) => error.into(),
        Refused::Items(items) => {
            let faults = items.into_iter().map(|(place, error)| {
                let about = match (error.field.as_deref(), error.code) {
                    (Some(field), _) => format!("{}.{field}", name(place)),
                    (None, Code::NotFound) => format!("{}.id", name(place)),
                    (None, _) => name(place),
                };
                let hint = error.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                Fault { cause: Cause::Member, message: format!("{about}: {}{hint}", error.message) }
            });
            match Failure::of(faults.collect()) {
                Err(failure) => failure,
                Ok(()) => Failure::defect("a request was refused for no reason"),
            }
        }
    }
}
