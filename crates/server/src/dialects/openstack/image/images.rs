//! `GET /v2/images` and `/v2/images/{id}`: what was imported, to look at (G10). A list answers what it was asked: a filter or
//! an order that is not served is refused by its name, since a client would take the answer for the right one.

use axum::Json;
use axum::response::{IntoResponse, Response};
use domain::query::{Direction, Filter, Order, Page, Pattern, Query, RecordField, Test, Value};
use domain::record::Record;
use domain::resource::Resource;
use domain::{Code, Right, Uuid};
use serde_json::{Map, Value as Shown, json};

use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::{hex, time, uuid};
use super::list::{limit, time_test};
use super::{Call, not_authorized};

/// What the vendor knows of the standing of an image; only the first two occur here.
const STATUSES: [&str; 9] =
    [ACTIVE, IMPORTING, "queued", "saving", "uploading", "killed", "deleted", "pending_delete", "deactivated"];
const ACTIVE: &str = "active";
const IMPORTING: &str = "importing";
/// The only form that images have here.
const CONTAINER: &str = "bare";
/// What an image whose maker did not say is written as.
const RAW: &str = "raw";
/// Parameters that say how the list is cut, and nothing of images.
const PAGING: [&str; 5] = ["limit", "marker", "sort", "sort_key", "sort_dir"];

/// What a list asks for, as far as the words alone tell.
struct Wish {
    limit: u32,
    order: Order<RecordField>,
    filter: Filter<RecordField>,
    /// Whether nothing can match.
    nothing: bool,
    facts: Facts,
}

/// What only the record itself says.
#[derive(Default)]
struct Facts {
    statuses: Option<Vec<String>>,
    disk_formats: Option<Vec<String>>,
    sha256: Option<String>,
    size_min: Option<u64>,
    size_max: Option<u64>,
}

/// A page of images; the newest first where nothing is said.
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Refusal> {
    call.caller.may(Right::View).map_err(|_| not_authorized("get_images"))?;
    let params = call.params()?;
    let wish = Wish::read(&params, call.asked.query)?;
    let service = call.asked.service;
    let key = match params.get("marker") {
        None => None,
        Some(text) => {
            let id = uuid(text).ok_or_else(|| Refusal::bad("Invalid marker format"))?;
            let unknown = || Refusal::bad(format!("Image with the given id {id} was not found"));
            let found = service.image(call.caller, id).await;
            let found = found.map_err(|e| if e.code == Code::NotFound { unknown() } else { e.into() })?;
            Some(wish.order.key(&Record::from(found)))
        }
    };
    let limit = wish.limit;
    let images = if limit == 0 || wish.nothing {
        Vec::new()
    } else {
        let query = Query { filter: wish.filter, order: wish.order, page: Page::After { key, limit }, total: false };
        service.images(call.caller, query, |image| wish.facts.hold(image)).await?
    };
    // As in the list of tasks.
    let path = "/v2/images";
    let mut body = json!({
        "images": images.iter().map(|found| image(found, call.prefix)).collect::<Vec<_>>(),
        "first": params.clone().without("marker").link(path),
        "schema": call.link("/v2/schemas/images"),
    });
    if let Some(last) = images.last().filter(|_| images.len() == limit as usize) {
        body["next"] = params.with("marker", &last.id.to_string()).link(path).into();
    }
    Ok(Json(body).into_response())
}

/// One image.
pub(super) async fn show(call: &Call<'_>, id: &str) -> Result<Response, Refusal> {
    call.caller.may(Right::View).map_err(|_| not_authorized("get_image"))?;
    let unknown = || Refusal::not_found(format!("No image found with ID {id}"));
    let uuid = uuid(id).ok_or_else(unknown)?;
    let found = call.asked.service.image(call.caller, uuid).await;
    let found = found.map_err(|e| if e.code == Code::NotFound { unknown() } else { e.into() })?;
    Ok(Json(image(&found, call.prefix)).into_response())
}

impl Wish {
    fn read(params: &Params, query: &str) -> Result<Wish, Refusal> {
        let limit = limit(params.get("limit"))?;
        let order = order(params, query)?;
        let mut wish = Wish { limit, order, filter: Filter::all(), nothing: false, facts: Facts::default() };
        for (name, value) in params.iter().filter(|(name, _)| !PAGING.contains(name)) {
            wish.narrow(name, value)?;
        }
        Ok(wish)
    }

    fn narrow(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let wrong = |words: &str| Refusal::bad(format!("Invalid value for {name}: '{value}' is none of {words}"));
        match name {
            "name" => self.any_of(RecordField::Name, values(value).into_iter().map(Value::Text).collect())?,
            "id" => self.any_of(RecordField::Id, uuids(value))?,
            "owner" => self.any_of(RecordField::Tenant, uuid(value).map(Value::Uuid).into_iter().collect())?,
            "created_at" => self.and(RecordField::CreatedAt, time_test(name, value)?)?,
            "updated_at" => self.and(RecordField::UpdatedAt, time_test(name, value)?)?,
            "status" => {
                let statuses = values(value);
                if let Some(unknown) = statuses.iter().find(|s| !STATUSES.contains(&s.as_str())) {
                    return Err(Refusal::bad(format!("Invalid status value: {unknown}")));
                }
                self.facts.statuses = Some(statuses);
            }
            "disk_format" => self.facts.disk_formats = Some(values(value)),
            "container_format" => self.nothing |= !values(value).iter().any(|v| v == CONTAINER),
            "os_hash_value" => self.facts.sha256 = Some(value.to_ascii_lowercase()),
            "os_hash_algo" => self.nothing |= value != "sha256",
            "size_min" => self.facts.size_min = Some(bytes(name, value)?),
            "size_max" => self.facts.size_max = Some(bytes(name, value)?),
            "min_disk" | "min_ram" => self.nothing |= bytes(name, value)? != 0,
            // Every image is its project's own.
            "visibility" => match value {
                "all" | "private" => {}
                "public" | "shared" | "community" => self.nothing = true,
                _ => return Err(wrong("all, private, public, shared, community")),
            },
            "protected" | "os_hidden" => match value.to_ascii_lowercase().as_str() {
                "false" => {}
                "true" => self.nothing = true,
                _ => return Err(wrong("true, false")),
            },
            // Of images that are shared, and of those there are none.
            "member_status" => match value {
                "all" | "accepted" | "pending" | "rejected" => {}
                _ => return Err(wrong("all, accepted, pending, rejected")),
            },
            // No image has one, nor the sum that is not made here.
            "tag" | "checksum" => self.nothing = true,
            _ => {
                return Err(Refusal::bad(format!(
                    "Images cannot be filtered by '{name}' here: leave it out, or use name, id, owner, status, visibility, \
                     disk_format, container_format, size_min, size_max, created_at or updated_at."
                )));
            }
        }
        Ok(())
    }

    fn any_of(&mut self, field: RecordField, values: Vec<Value>) -> Result<(), Refusal> {
        if values.is_empty() {
            self.nothing = true;
            return Ok(());
        }
        self.and(field, Test::AnyOf(values.into_iter().map(Pattern::Is).collect()))
    }

    fn and(&mut self, field: RecordField, test: Test) -> Result<(), Refusal> {
        self.filter = std::mem::replace(&mut self.filter, Filter::all()).and(field, test)?;
        Ok(())
    }
}

impl Facts {
    fn hold(&self, image: &Resource) -> bool {
        let among = |words: &Option<Vec<String>>, own: &str| words.as_ref().is_none_or(|w| w.iter().any(|w| w == own));
        let size = image.metadata["size"].as_u64();
        among(&self.statuses, status(image))
            && among(&self.disk_formats, disk_format(image))
            && self.sha256.as_ref().is_none_or(|hash| image.metadata["sha256"].as_str() == Some(hash))
            && self.size_min.is_none_or(|least| size.is_some_and(|size| size >= least))
            && self.size_max.is_none_or(|most| size.is_some_and(|size| size <= most))
    }
}

/// The order that is asked for: `sort=key:dir,..`, or `sort_key` with `sort_dir`, each of which may come several times.
fn order(params: &Params, query: &str) -> Result<Order<RecordField>, Refusal> {
    let direction =
        |word: &str| Direction::parse(word).ok_or_else(|| Refusal::bad(format!("Invalid sort direction: {word}")));
    let mut terms = Vec::new();
    if let Some(sort) = params.get("sort") {
        if params.get("sort_key").is_some() || params.get("sort_dir").is_some() {
            return Err(Refusal::bad("Old and new sorting syntax cannot be combined: use 'sort', or 'sort_key'."));
        }
        for term in sort.split(',') {
            let (key, word) = term.split_once(':').unwrap_or((term, "desc"));
            terms.push((sort_field(key.trim())?, direction(word.trim())?));
        }
    } else {
        let words = |name: &str| Params::all(query, name).unwrap_or_default();
        let (keys, directions) = (words("sort_key"), words("sort_dir"));
        if directions.len() > 1 && directions.len() != keys.len() {
            return Err(Refusal::bad("Number of sort dirs does not match the number of sort keys"));
        }
        let directions = directions.iter().map(|word| direction(word)).collect::<Result<Vec<_>, _>>()?;
        for (i, key) in keys.iter().enumerate() {
            let direction = directions.get(i).or(directions.first()).copied().unwrap_or(Direction::Desc);
            terms.push((sort_field(key)?, direction));
        }
        if keys.is_empty() {
            terms.push((Some(RecordField::CreatedAt), directions.first().copied().unwrap_or(Direction::Desc)));
        }
    }
    // What every image has alike puts none before another.
    let mut terms: Vec<_> = terms.into_iter().filter_map(|(field, direction)| Some((field?, direction))).collect();
    let last = terms.last().map_or(Direction::Desc, |(_, direction)| *direction);
    if terms.iter().all(|(field, _)| !matches!(field, RecordField::CreatedAt | RecordField::Id)) {
        terms.push((RecordField::CreatedAt, last));
    }
    Ok(Order::by(terms)?)
}

/// What a key orders by; none for what all images have alike.
fn sort_field(key: &str) -> Result<Option<RecordField>, Refusal> {
    Ok(Some(match key {
        "created_at" => RecordField::CreatedAt,
        "updated_at" => RecordField::UpdatedAt,
        "name" => RecordField::Name,
        "id" => RecordField::Id,
        "container_format" => return Ok(None),
        _ => {
            return Err(Refusal::bad(format!(
                "Invalid sort key: {key}. It must be one of created_at, updated_at, name, id, container_format."
            )));
        }
    }))
}

/// One value, or several behind `in:`, of which each may stand in quotes.
fn values(text: &str) -> Vec<String> {
    let Some(list) = text.strip_prefix("in:") else { return vec![text.to_owned()] };
    let (mut values, mut quoted) = (vec![String::new()], false);
    for c in list.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => values.push(String::new()),
            other => values.last_mut().into_iter().for_each(|value| value.push(other)),
        }
    }
    values
}

/// What of it is an id; anything else is nobody's.
fn uuids(text: &str) -> Vec<Value> {
    values(text).iter().filter_map(|id| uuid(id.trim())).map(Value::Uuid).collect()
}

fn bytes(name: &str, text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::bad(format!("Invalid value for {name}: '{text}' is no whole number, 0 or more")))
}

fn status(image: &Resource) -> &'static str {
    if image.last_backup_at.is_some() { ACTIVE } else { IMPORTING }
}

fn disk_format(image: &Resource) -> &str {
    image.metadata["disk_format"].as_str().unwrap_or(RAW)
}

fn image(resource: &Resource, prefix: &str) -> Map<String, Shown> {
    let facts = &resource.metadata;
    let sha256 = facts["sha256"].as_str();
    let at = |id: Uuid| format!("{prefix}/v2/images/{id}");
    let mut image = json!({
        "id": resource.id.to_string(),
        "name": resource.name,
        "status": status(resource),
        "visibility": "private",
        "protected": false,
        "os_hidden": false,
        "owner": hex(resource.tenant),
        "size": facts["size"].as_u64(),
        "virtual_size": null,
        "container_format": CONTAINER,
        "disk_format": disk_format(resource),
        "min_disk": 0,
        "min_ram": 0,
        "checksum": null,
        "os_hash_algo": sha256.map(|_| "sha256"),
        "os_hash_value": sha256,
        "tags": [],
        "created_at": time::seconds(resource.created_at),
        "updated_at": time::seconds(resource.updated_at),
        "self": at(resource.id),
        "file": format!("{}/file", at(resource.id)),
        "schema": format!("{prefix}/v2/schemas/image"),
    });
    image.as_object_mut().map(std::mem::take).unwrap_or_default()
}
