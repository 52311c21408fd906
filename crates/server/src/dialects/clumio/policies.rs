//! Policies: list, read, create, change, delete (section 14).

use domain::{Code, Error, Uuid};
use serde_json::{Value, json};

use super::Handlers;
use super::body::{Body, Members};
use super::call::{Call, Reply};
use super::failure::{Cause, Failure};
use super::filter::{Fields, Filter, Kind, Shown};
use super::policy_map::{self, Meaning};
use crate::service::{NewPolicy, PolicyChange};

/// The member of an operation that names a repository.
const REGION: &str = "backup_aws_region";

/// The longest name, in characters.
const MAX_NAME: usize = 255;

/// What policies can be asked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Id,
    Name,
    Types,
    Activation,
    Unit,
}

const FIELDS: &Fields<Key> = &[
    ("name", Kind::Text, Key::Name),
    ("operations.type", Kind::List, Key::Types),
    ("activation_status", Kind::Enumeration, Key::Activation),
    ("id", Kind::Id, Key::Id),
    ("organizational_unit_id", Kind::Id, Key::Unit),
];

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("list-policy-definitions", list_policies);
    handlers.on("read-policy-definition", read_policy);
    handlers.on("create-policy-definition", create_policy);
    handlers.on("update-policy-definition", update_policy);
    handlers.on("delete-policy-definition", delete_policy);
}

async fn list_policies(call: Call) -> Result<Reply, Failure> {
    let filter = Filter::read(call.params.filter()?, FIELDS)?;
    let mut views = call.service().policy_views(&call.caller).await?;
    views.retain(|view| {
        filter.matches(|key| match key {
            Key::Id => Shown::owned(view.policy.id.to_string()),
            Key::Name => Shown::owned(view.policy.name.clone()),
            Key::Types => Shown::List(policy_map::types(view).into_iter().map(Into::into).collect()),
            Key::Activation => Shown::text(Some(policy_map::activation(&view.policy))),
            Key::Unit => Shown::owned(view.policy.tenant.to_string()),
        })
    });
    let items = views.iter().map(policy_map::policy).collect();
    let create = [("create-policy-definition", "/policies/definitions", "post")];
    Ok(call.whole_list(items, filter.applied(), &create))
}

async fn read_policy(call: Call) -> Result<Reply, Failure> {
    let view = call.service().policy_view(&call.caller, call.uuid("policy_id", "policy")?).await?;
    Ok(call.ok(policy_map::policy(&view)))
}

async fn create_policy(call: Call) -> Result<Reply, Failure> {
    let body = call.body()?;
    let members = body.members();
    let Meaning { schedule, retention, repository } = policy_map::read(&members);
    let name = name(&members, true).unwrap_or_default();
    let enabled = activation(&members);
    let tenant = members.uuid("organizational_unit_id");
    let named = repository_named(&call, &body, tenant, repository.as_deref()).await?;
    body.checked()?;
    let repository = match named {
        Some(id) => id,
        None => call.service().usual_repository(&call.caller, tenant).await.map_err(about_unit)?,
    };
    let new = NewPolicy {
        tenant,
        name: name.to_owned(),
        schedule,
        settings: domain::policy::Settings::default(),
        retention,
        as_written: Some(policy_map::as_written(body.raw())),
        repository: Some(repository),
        enabled: enabled.unwrap_or(true),
    };
    let made = call.service().create_policy(&call.caller, new).await.map_err(about_unit)?;
    let view = call.service().policy_view(&call.caller, made.id).await?;
    let mut answer = policy_map::policy(&view);
    answer["_links"]["_self"] = call.own_link();
    Ok(call.ok(answer))
}

async fn update_policy(call: Call) -> Result<Reply, Failure> {
    let id = call.uuid("policy_id", "policy")?;
    let before = call.service().policy(&call.caller, id).await?;
    let body = call.body()?;
    let members = body.members();
    let Meaning { schedule, retention, repository } = policy_map::read(&members);
    let name = name(&members, true).unwrap_or_default();
    let enabled = activation(&members);
    if members.uuid("organizational_unit_id").is_some_and(|unit| unit != before.tenant) {
        members.fault("organizational_unit_id", format!("a policy stays where it is: '{}'", before.tenant));
    }
    let named = repository_named(&call, &body, Some(before.tenant), repository.as_deref()).await?;
    body.checked()?;
    let repository = match named {
        Some(id) => id,
        None => call.service().usual_repository(&call.caller, Some(before.tenant)).await.map_err(about_unit)?,
    };
    // What another API said in its own words stays so when it comes back as it is shown here, where there are fewer.
    let same =
        policy_map::is_what_is_shown(&call.service().policy_view(&call.caller, id).await?, &schedule, &retention);
    let change = PolicyChange {
        name: Some(name.to_owned()),
        enabled,
        schedule: (!same).then_some(schedule),
        settings: None,
        retention: (!same).then_some(retention),
        as_written: Some(policy_map::as_written(body.raw())),
        repository: Some(repository),
    };
    let asked = call.asked(Some(&body));
    let changed = call.service().change_policy_by_task(&call.caller, id, &change, &asked).await;
    let (_, task) = changed.map_err(locked)?;
    let view = call.service().policy_view(&call.caller, id).await?;
    let mut answer = policy_map::policy(&view);
    answer["task_id"] = task.id.to_string().into();
    answer["_links"] = call.links_to(&task);
    answer["_embedded"] = call.embedded(&task);
    Ok(call.accepted(answer))
}

async fn delete_policy(call: Call) -> Result<Reply, Failure> {
    let id = call.uuid("policy_id", "policy")?;
    let asked = call.asked(None);
    let task = call.service().delete_policy_by_task(&call.caller, id, &asked).await.map_err(locked)?;
    Ok(call.accepted(json!({ "task_id": task.id.to_string(), "_links": call.links_to(&task) })))
}

/// The name that a body gives.
pub(super) fn name<'b>(members: &Members<'b>, required: bool) -> Option<&'b str> {
    let name = if required { Some(members.required_text("name")) } else { members.text("name") };
    let name = name.filter(|name| !name.is_empty())?;
    if name.chars().count() > MAX_NAME {
        members.fault("name", format!("it is longer than {MAX_NAME} characters"));
    }
    Some(name)
}

fn activation(members: &Members<'_>) -> Option<bool> {
    Some(members.one_of("activation_status", &["activated", "deactivated"])? == "activated")
}

/// The repository that the operations of a body name (D5); a fault where the policy's owner has no such one.
async fn repository_named(
    call: &Call,
    body: &Body,
    owner: Option<Uuid>,
    name: Option<&str>,
) -> Result<Option<Uuid>, Failure> {
    let Some(name) = name else { return Ok(None) };
    match call.service().usable_repository(&call.caller, owner, name).await {
        Ok(id) => Ok(Some(id)),
        // Of the owner the next question tells.
        Err(e) if e.code == Code::NotFound && e.field.is_some() => Ok(None),
        Err(e) if e.code == Code::NotFound => {
            let operations = body.raw().get("operations").and_then(Value::as_array);
            let place = operations.and_then(|all| all.iter().position(|one| one[REGION] == name)).unwrap_or_default();
            let message = format!("there is no repository '{name}'; the name of one, or null for the usual one");
            body.members().fault(&format!("operations[{place}].{REGION}"), message);
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

/// What a body names and nobody sees is a wrong member.
fn about_unit(error: Error) -> Failure {
    match error.code {
        Code::NotFound => Failure::new(Cause::Member, "organizational_unit_id: no such organizational unit"),
        _ => error.into(),
    }
}

fn locked(error: Error) -> Failure {
    match error.code {
        Code::Processing => Failure::caused(Cause::PolicyLocked, &error),
        _ => error.into(),
    }
}
