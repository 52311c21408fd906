//! `POST /v2/tasks` (contract, section 6).

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::task::kind;
use domain::{Code, Error};
use serde_json::{Map, Value, json};

use super::super::refusal::Refusal;
use super::super::{MAX_BODY, hex, uuid};
use super::{Call, map};
use crate::service::NewImport;

/// What the schema knows beside `type` and `input`; it is accepted, and has no effect.
const IGNORED: [&str; 12] = [
    "id",
    "status",
    "owner",
    "message",
    "result",
    "image_id",
    "request_id",
    "user_id",
    "expires_at",
    "created_at",
    "updated_at",
    "self",
];
/// What is kept of an input to be shown again, and of the properties in it. Anything else may be a secret, and does nothing.
const SHOWN: [&str; 5] = ["import_from", "import_from_format", "image_properties", "size", "sha256"];
const SHOWN_PROPERTIES: [&str; 7] =
    ["name", "disk_format", "container_format", "min_disk", "min_ram", "protected", "visibility"];
/// The types that the vendor's schema accepts.
const TYPES: [&str; 3] = [kind::IMPORT, "api_image_import", "location_import"];

/// Makes a task out of a body.
pub(super) async fn create(call: &Call<'_>, body: Body) -> Result<Response, Refusal> {
    let bytes = to_bytes(body, MAX_BODY).await.map_err(|_| Refusal::too_large(MAX_BODY))?;
    let members = read(&bytes)?;
    let (kind, input) = task(&members)?;
    if kind != kind::IMPORT {
        return Err(Refusal::bad(format!("Tasks of type {kind} are not supported here: create one of type import.")));
    }
    let source = match input.get("import_from") {
        None | Some(Value::Null) => return Err(Refusal::bad("Invalid location: None")),
        Some(Value::String(text)) if !text.trim().is_empty() => text.trim().to_owned(),
        Some(other) => return Err(Refusal::bad(format!("Invalid location: {other}"))),
    };
    let properties = match input.get("image_properties") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(properties)) => properties.clone(),
        Some(_) => return Err(not_of_type("image_properties", "be an object")),
    };
    let context = json!({
        "input": shown(input),
        "request_id": format!("req-{}", call.asked.id),
        "user_id": hex(call.caller.actor.id),
    });
    let new = NewImport {
        source,
        name: text(&properties, "image_properties.", "name")?,
        format: match text(&properties, "image_properties.", "disk_format")? {
            Some(format) => Some(format),
            None => text(input, "", "import_from_format")?,
        },
        size: match input.get("size") {
            None | Some(Value::Null) => None,
            Some(size) => {
                let wrong = || not_of_type("size", "be a whole number of bytes, 0 or more");
                Some(size.as_u64().ok_or_else(wrong)?)
            }
        },
        sha256: text(input, "", "sha256")?,
        context: (map::CONTEXT.to_owned(), context),
    };
    let service = call.asked.service;
    let task = service.import_image(call.caller, new).await?;
    let shown = service.cloud().shown;
    let place = call.asked.base.at(&call.link(&format!("/v2/tasks/{}", task.spec.uuid)));
    let mut response = (StatusCode::CREATED, Json(map::whole(&task, call.prefix, shown))).into_response();
    let place = HeaderValue::from_str(&place)
        .map_err(|_| Error::new(Code::Internal, "a link has signs that no header can have"))?;
    response.headers_mut().insert(LOCATION, place);
    Ok(response)
}

/// The members of the body. What it is marked as is not looked at.
fn read(bytes: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if bytes.trim_ascii().is_empty() {
        return Err(Refusal::bad("Body expected in request."));
    }
    match serde_json::from_slice(bytes) {
        Err(_) => Err(Refusal::bad("Malformed JSON in request body.")),
        Ok(Value::Object(members)) => Ok(members),
        Ok(Value::Array(_)) => {
            Err(Refusal::bad("Provided object does not match schema 'task': a list is not of type 'object'"))
        }
        Ok(_) => Err(Refusal::bad("Unexpected body type. Expected list/dict.")),
    }
}

/// What is asked for, once it fits the schema.
fn task(members: &Map<String, Value>) -> Result<(&str, &Map<String, Value>), Refusal> {
    let mismatch = |what: String| Refusal::bad(format!("Provided object does not match schema 'task': {what}"));
    if let Some(name) = members
        .keys()
        .find(|name| !["type", "input", "schema"].contains(&name.as_str()) && !IGNORED.contains(&name.as_str()))
    {
        return Err(mismatch(format!("Additional properties are not allowed ('{name}' was unexpected)")));
    }
    if let Some(id) = members.get("id").filter(|id| id.as_str().is_none_or(|id| uuid(id).is_none())) {
        return Err(mismatch(format!("'id' is no uuid: {id}")));
    }
    let kind = match members.get("type") {
        None | Some(Value::Null) => return Err(Refusal::bad("Task 'type' is required")),
        Some(Value::String(kind)) if TYPES.contains(&kind.as_str()) => kind.as_str(),
        Some(other) => {
            let other = other.as_str().map_or_else(|| other.to_string(), |text| format!("'{text}'"));
            return Err(mismatch(format!("{other} is not one of {}", TYPES.join(", "))));
        }
    };
    match members.get("input") {
        None | Some(Value::Null) => Err(Refusal::bad("Task 'input' is required")),
        Some(Value::Object(input)) => Ok((kind, input)),
        Some(_) => Err(mismatch("'input' is not of type 'object'".to_owned())),
    }
}

/// The input as it is kept to be shown: what stands behind the question mark of an address may be a secret.
fn shown(input: &Map<String, Value>) -> Value {
    let mut input = input.clone();
    input.retain(|name, _| SHOWN.contains(&name.as_str()));
    if let Some(Value::Object(properties)) = input.get_mut("image_properties") {
        properties
            .retain(|name, value| SHOWN_PROPERTIES.contains(&name.as_str()) && !value.is_object() && !value.is_array());
    }
    if let Some(Value::String(source)) = input.get_mut("import_from") {
        // What stands behind `#` is not fetched either.
        let fetched = source.split('#').next().unwrap_or_default().trim();
        *source = match fetched.split_once('?') {
            Some((place, _)) => format!("{place}?..."),
            None => fetched.to_owned(),
        };
    }
    Value::Object(input)
}

/// A member that is text, and what stands before its name to say where it is.
fn text(members: &Map<String, Value>, within: &str, name: &str) -> Result<Option<String>, Refusal> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(not_of_type(&format!("{within}{name}"), "be text")),
    }
}

fn not_of_type(name: &str, wanted: &str) -> Refusal {
    Refusal::bad(format!("Invalid input: '{name}' must {wanted}."))
}
