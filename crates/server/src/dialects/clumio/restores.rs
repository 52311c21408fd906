//! Recovery points are restored to environments (section 12, D33): a folder of its own on the machine of the environment's
//! agent.

use axum::http::StatusCode;
use domain::Code;
use serde_json::Value;

use super::call::{Call, Reply};
use super::disk;
use super::dispatch::Handlers;
use super::failure::{Cause, Failure};
use super::started::in_body;
use crate::service::{PlacedRestore, is_absolute};

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("restore-aws-ebs-volume", restore_aws_ebs_volume);
}

/// The most tags that are taken.
const MAX_TAGS: usize = 100;

async fn restore_aws_ebs_volume(call: Call) -> Result<Reply, Failure> {
    let body = call.body()?;
    let members = body.members();
    let backup = members.required_object("source").map(|source| source.required_uuid("backup_id"));
    let target = members.required_object("target");
    let environment = target.as_ref().map(|target| target.required_uuid("environment_id"));
    let (mut place, mut name) = (None, None);
    if let Some(target) = &target {
        disk::check_disk(target, &call.service().repository_names().await?);
        place = target.text("aws_az").map(str::to_owned);
        name = named(target);
    }
    body.checked()?;
    let (backup, environment) = (backup.unwrap_or_default(), environment.unwrap_or_default());
    let environment = call.service().environment(&call.caller, environment).await;
    let environment = environment.map_err(|e| in_body(e, "target.environment_id", "environment"))?;
    let wish = PlacedRestore {
        backup,
        agent: environment.agent.id,
        // Any other text is a label, which is kept with the task.
        root: place.filter(|place| is_absolute(place, &environment.agent.system)),
        name,
    };
    let task = call.service().restore_to_place(&call.caller, wish, call.asked(Some(&body))).await;
    let task = task.map_err(|e| match (e.code, e.field.as_deref()) {
        (Code::NotFound, _) => in_body(e, "source.backup_id", "backup"),
        (_, Some("root")) => in_body(e, "target.aws_az", "place"),
        (Code::SystemMismatch, _) => Failure::caused(Cause::Member, &e),
        _ => e.into(),
    })?;
    let status = if call.version == 1 { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(call.started(status, &task, Value::Null))
}

/// The name among the tags; a fault where they are no tags.
fn named(target: &super::body::Members<'_>) -> Option<String> {
    let tags = target.objects("tags")?;
    if tags.len() > MAX_TAGS {
        target.fault("tags", format!("there are more than {MAX_TAGS}"));
    }
    let mut name = None;
    for tag in tags {
        let key = tag.required_text("key");
        let value = tag.text_or_empty("value").unwrap_or_default();
        if key == domain::resource::NAME_TAG && name.is_none() && !value.is_empty() {
            name = Some(value.to_owned());
        }
    }
    name
}
