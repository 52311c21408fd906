//! `GET /v2/images` and `/v2/images/{id}`: what was imported, to look at (G10).

use axum::Json;
use axum::response::{IntoResponse, Response};
use domain::query::{Direction, Filter, Order, Page, Query, RecordField, Value};
use domain::record::Record;
use domain::resource::{Resource, ResourceKind};
use domain::{Code, Right};
use serde_json::{Map, Value as Shown, json};

use super::super::refusal::Refusal;
use super::super::{hex, time, uuid};
use super::list::limit;
use super::{Call, not_authorized};

/// A page of images, the newest first. What clients ask for beside the name and the status narrows nothing: there is one
/// sort of image.
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Refusal> {
    call.caller.may(Right::View).map_err(|_| not_authorized("get_images"))?;
    let params = call.params()?;
    let limit = limit(params.get("limit"))?;
    let order = Order::by(vec![(RecordField::CreatedAt, Direction::Desc)])?;
    let service = call.asked.service;
    let kind = Value::Text(ResourceKind::Image.name().to_owned());
    let mut filter = Filter::all().is(RecordField::Kind, kind)?;
    if let Some(name) = params.get("name") {
        filter = filter.is(RecordField::Name, Value::Text(name.to_owned()))?;
    }
    if let Some(id) = params.get("id").and_then(uuid) {
        filter = filter.is(RecordField::Id, Value::Uuid(id))?;
    }
    let key = match params.get("marker") {
        None => None,
        Some(text) => {
            let id = uuid(text).ok_or_else(|| Refusal::bad("Invalid marker format"))?;
            let unknown = || Refusal::bad(format!("Image with the given id {id} was not found"));
            let found = service.resource(call.caller, id).await;
            let found = found.map_err(|e| if e.code == Code::NotFound { unknown() } else { e.into() })?;
            Some(order.key(&Record::from(found.resource)))
        }
    };
    let other = |name: &str, only: &str| params.get(name).is_some_and(|v| !v.eq_ignore_ascii_case(only));
    let nothing = limit == 0 || other("visibility", "private") || other("os_hidden", "false");
    let images = if nothing {
        Vec::new()
    } else {
        let query = Query { filter, order, page: Page::After { key, limit }, total: false };
        service.resources(call.caller, &query).await?.items
    };
    // As in the list of tasks.
    let path = "/v2/images";
    let wanted = params.get("status");
    let shown = images.iter().map(|view| image(&view.resource, call.prefix));
    let shown: Vec<_> = shown.filter(|i| wanted.is_none_or(|w| i["status"] == w)).collect();
    let mut body = json!({
        "images": shown,
        "first": params.clone().without("marker").link(path),
        "schema": call.link("/v2/schemas/images"),
    });
    if let Some(last) = images.last().filter(|_| images.len() == limit as usize) {
        body["next"] = params.with("marker", &last.resource.id.to_string()).link(path).into();
    }
    Ok(Json(body).into_response())
}

/// One image.
pub(super) async fn show(call: &Call<'_>, id: &str) -> Result<Response, Refusal> {
    call.caller.may(Right::View).map_err(|_| not_authorized("get_image"))?;
    let unknown = || Refusal::not_found(format!("No image found with ID {id}"));
    let uuid = uuid(id).ok_or_else(unknown)?;
    let found = call.asked.service.resource(call.caller, uuid).await;
    let found = found.map_err(|e| if e.code == Code::NotFound { unknown() } else { e.into() })?;
    if found.resource.kind != ResourceKind::Image {
        return Err(unknown());
    }
    Ok(Json(image(&found.resource, call.prefix)).into_response())
}

fn image(resource: &Resource, prefix: &str) -> Map<String, Shown> {
    let facts = &resource.metadata;
    let there = resource.last_backup_at.is_some();
    let sha256 = facts["sha256"].as_str();
    let mut image = json!({
        "id": resource.id.to_string(),
        "name": resource.name,
        "status": if there { "active" } else { "importing" },
        "visibility": "private",
        "protected": false,
        "os_hidden": false,
        "owner": hex(resource.tenant),
        "size": facts["size"].as_u64(),
        "virtual_size": null,
        "container_format": "bare",
        "disk_format": facts["disk_format"].as_str().unwrap_or("raw"),
        "min_disk": 0,
        "min_ram": 0,
        "checksum": null,
        "os_hash_algo": sha256.map(|_| "sha256"),
        "os_hash_value": sha256,
        "tags": [],
        "created_at": time::seconds(resource.created_at),
        "updated_at": time::seconds(resource.updated_at),
        "self": format!("{prefix}/v2/images/{}", resource.id),
        "file": format!("{prefix}/v2/images/{}/file", resource.id),
        "schema": format!("{prefix}/v2/schemas/image"),
    });
    image.as_object_mut().map(std::mem::take).unwrap_or_default()
}
