//! Environments and the tags of what is in them (section 9). An environment is an agent together with a repository.

use std::collections::BTreeSet;

use domain::Uuid;
use domain::query::{Filter, RecordField, Test, Value as Wanted};
use serde_json::{Value, json};

use super::call::{Call, Reply, get};
use super::dispatch::Handlers;
use super::failure::Failure;
use super::filter::{Fields, Filter as Conditions, Kind, Shown};
use super::listing::{Listing, Pages};
use super::tags;
use super::volume_map::{CONNECTED, SERVICE, connection_status, environment};
use crate::service::{Around, Environment};

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("list-aws-environments", list_aws_environments);
    handlers.on("read-aws-environment", read_aws_environment);
    handlers.on("list-aws-environment-tags", list_aws_environment_tags);
    handlers.on("read-aws-environment-tag", read_aws_environment_tag);
}

const FIELDS: &Fields<&'static str> = &[
    ("account_native_id", Kind::Id, "account_native_id"),
    ("account_name", Kind::Text, "account_name"),
    ("aws_region", Kind::Text, "aws_region"),
    ("connection_status", Kind::Enumeration, "connection_status"),
    ("services_enabled", Kind::List, "services_enabled"),
    ("organizational_unit_id", Kind::Id, "organizational_unit_id"),
];

const TAG_FIELDS: &Fields<&'static str> = &[
    ("id", Kind::Id, "id"),
    ("key", Kind::Text, "key"),
    ("key_id", Kind::Id, "key_id"),
    ("value", Kind::Text, "value"),
    ("protection_status", Kind::Enumeration, "protection_status"),
    ("protection_info.policy_id", Kind::Id, "protection_info.policy_id"),
];

/// No policy is applied to tags here.
const UNPROTECTED: &str = "unprotected";

async fn list_aws_environments(call: Call) -> Result<Reply, Failure> {
    let paging = call.params.paging(1000)?;
    let mut filter = Conditions::read(call.params.filter()?, FIELDS)?;
    // The vendor's example asks for `installed` and means what can be used.
    filter.reword("connection_status", "installed", CONNECTED);
    // Whoever names an agent is spared looking at all of them.
    let mut found = match filter.equal_to("account_native_id").map(Uuid::parse_str) {
        Some(Ok(agent)) => call.service().environments(&call.caller, Some(agent)).await?,
        Some(Err(_)) => Vec::new(),
        None => call.service().environments(&call.caller, None).await?,
    };
    found.retain(|environment| filter.matches(|field| shown(environment, field)));
    let total = found.len() as u64;
    let items = paging.of(found).iter().map(environment).collect();
    Ok(call.list(Pages::Tokens, Listing { paging, items, total, filter_applied: None }))
}

async fn read_aws_environment(call: Call) -> Result<Reply, Failure> {
    let id = call.uuid("environment_id", "environment")?;
    Ok(call.ok(environment(&call.service().environment(&call.caller, id).await?)))
}

fn shown(of: &Environment, field: &'static str) -> Shown<'static> {
    match field {
        "account_native_id" => Shown::owned((of.agent.id).to_string()),
        "account_name" => Shown::owned(of.agent.name.to_string()),
        "aws_region" => Shown::owned(of.repository_name.to_string()),
        "connection_status" => Shown::owned((connection_status(of)).to_string()),
        "services_enabled" => Shown::List(vec![SERVICE.into()]),
        "organizational_unit_id" => Shown::owned((of.agent.tenant).to_string()),
        _ => Shown::Nothing,
    }
}

async fn list_aws_environment_tags(call: Call) -> Result<Reply, Failure> {
    let paging = call.params.paging(1000)?;
    let filter = Conditions::read(call.params.filter()?, TAG_FIELDS)?;
    let mut found = tags_of(&call).await?;
    found.retain(|(key, value)| {
        filter.matches(|field| match field {
            "id" => Shown::owned((tags::tag_id(key, value)).to_string()),
            "key" => Shown::owned((key).to_string()),
            "key_id" => Shown::owned((tags::key_id(key)).to_string()),
            "value" => Shown::owned((value).to_string()),
            "protection_status" => Shown::owned((UNPROTECTED).to_string()),
            _ => Shown::Nothing,
        })
    });
    let total = found.len() as u64;
    let items = paging.of(found).iter().map(|tag| shown_tag(&call, tag)).collect();
    let filter_applied = Some(filter.applied());
    Ok(call.list(Pages::Numbered, Listing { paging, items, total, filter_applied }))
}

async fn read_aws_environment_tag(call: Call) -> Result<Reply, Failure> {
    let id = call.variable("tag_id");
    let wanted = Uuid::parse_str(id).ok();
    let found = tags_of(&call).await?.into_iter().find(|(key, value)| wanted == Some(tags::tag_id(key, value)));
    let found = found.ok_or_else(|| Failure::no_such("tag", id))?;
    Ok(call.ok(shown_tag(&call, &found)))
}

/// The distinct tags of what is in the environment, by key and id.
async fn tags_of(call: &Call) -> Result<Vec<(String, String)>, Failure> {
    let id = call.uuid("environment_id", "environment")?;
    let environment = call.service().environment(&call.caller, id).await?;
    let of_agent = Filter::all()
        .is(RecordField::Agent, Wanted::Uuid(environment.agent.id))?
        .and(RecordField::EndedAt, Test::Absent)?;
    let volumes = call.service().all_volumes(&call.caller, of_agent).await?;
    let around = Around { place: true, ..Around::default() };
    let volumes = call.service().volume_views(&call.caller, volumes, around).await?;
    let inside = volumes.iter().filter(|v| v.stored_in.as_ref().is_some_and(|s| s.environment == id));
    let distinct: BTreeSet<(String, String)> = inside.flat_map(|v| v.resource.tags()).collect();
    let mut distinct: Vec<_> = distinct.into_iter().collect();
    distinct.sort_by_cached_key(|(key, value)| (key.clone(), tags::tag_id(key, value)));
    Ok(distinct)
}

fn shown_tag(call: &Call, (key, value): &(String, String)) -> Value {
    let id = tags::tag_id(key, value);
    let environment = call.variable("environment_id");
    json!({
        "id": id,
        "key": key,
        "key_id": tags::key_id(key),
        "value": value,
        "organizational_unit_id": call.caller.tenant(),
        "protection_info": null,
        "protection_status": UNPROTECTED,
        "_embedded": null,
        "_links": { "_self": get(&format!("/datasources/aws/environments/{environment}/tags/{id}")) },
    })
}
