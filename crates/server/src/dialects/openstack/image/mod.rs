//! The Image API v2: versions, tasks, the schemas that clients check them against, and images to look at.

mod create;
mod images;
mod list;
mod map;
mod schemas;
#[cfg(test)]
mod tests;
mod versions;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::task::TaskRef;
use domain::{Caller, Code, Right};

use super::params::Params;
use super::refusal::{Form, Refusal};
use super::{Asked, NEWEST_MINOR, Services, answers, segments, takes_id, uuid};
use crate::dialects::edge::Shape;

/// What is answered, below `/image` as without it: of what stands at a place, nothing else reaches a handler.
pub(super) const ROUTES: &[(&str, &str)] = &[
    ("get", "/versions"),
    ("get", "/v2/tasks"),
    ("post", "/v2/tasks"),
    ("get", "/v2/tasks/{id}"),
    ("get", "/v2/schemas/task"),
    ("get", "/v2/schemas/tasks"),
    ("get", "/v2/schemas/image"),
    ("get", "/v2/schemas/images"),
    ("get", "/v2/schemas/metadefs/namespace"),
    ("get", "/v2/schemas/metadefs/resource_type"),
    ("get", "/v2/images"),
    ("get", "/v2/images/{id}"),
];

const READ_ONLY: &str = "Images are only looked at here: a task of type 'import' makes one (POST /v2/tasks), and they go with \
                         their recovery points.";
const NO_DATA: &str = "Of images there is only the list here, and what it says of each: their data comes back with a restore of \
                       their recovery point (`backstay restore`).";
const NOT_DELETED: &str = "Tasks cannot be deleted: they expire by themselves some time after they have ended.";

/// What may be done with lists of versions.
const LISTS: &str = "GET, HEAD";

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tasks,
    Task(String),
    Schema(&'static str),
    Images,
    Image(String),
}

impl Place {
    fn of(segments: &[String]) -> Option<Place> {
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Some(match segments.as_slice() {
            ["tasks"] => Place::Tasks,
            ["tasks", id] if !id.is_empty() => Place::Task((*id).to_owned()),
            ["schemas", rest @ ..] => Place::Schema(schemas::NAMES.iter().find(|n| **n == rest.join("/"))?),
            ["images"] => Place::Images,
            ["images", id] if !id.is_empty() => Place::Image((*id).to_owned()),
            _ => return None,
        })
    }

    /// Its path, as `ROUTES` has it.
    fn route(&self) -> String {
        match self {
            Place::Tasks => "/v2/tasks".to_owned(),
            Place::Task(_) => "/v2/tasks/{id}".to_owned(),
            Place::Schema(name) => format!("/v2/schemas/{name}"),
            Place::Images => "/v2/images".to_owned(),
            Place::Image(_) => "/v2/images/{id}".to_owned(),
        }
    }

    /// Why a method is not possible there.
    fn refusal(&self, method: &str) -> Refusal {
        match (self, method) {
            (Place::Task(_), "DELETE") => Refusal::not_allowed(NOT_DELETED, "GET"),
            (Place::Images | Place::Image(_), method) if method != "HEAD" => {
                Refusal::not_allowed(READ_ONLY, self.allows())
            }
            (_, method) => Refusal::method_not_allowed(method, self.allows()),
        }
    }

    /// The methods that are named where one is not possible.
    fn allows(&self) -> &'static str {
        match self {
            Place::Tasks => "GET, POST",
            // The vendor names the deletion that it then refuses.
            Place::Task(_) => "GET, DELETE",
            Place::Schema(_) | Place::Images | Place::Image(_) => "GET",
        }
    }
}

/// Every request below `/v2`, `/image` and `/versions`.
pub(super) async fn answer(State(service): Services, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let asked = Asked::of(&service, &parts);
    match respond(&asked, &parts, body).await {
        Ok(response) => response,
        Err(refusal) => refusal.print(Form::wished(&parts.headers), &asked.base),
    }
}

async fn respond(asked: &Asked<'_>, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    let list = |status| match parts.method.as_str() {
        "GET" | "HEAD" => Ok((status, Json(versions::list(&asked.base, asked.prefix))).into_response()),
        "OPTIONS" => Ok((StatusCode::OK, [(ALLOW, LISTS)]).into_response()),
        other => Err(Refusal::method_not_allowed(other, LISTS)),
    };
    let (version, rest) = match asked.path.split_once('/') {
        Some((version, rest)) => (version, Some(rest)),
        None => (asked.path, None),
    };
    if version == "versions" {
        return if rest.is_none_or(str::is_empty) { list(StatusCode::OK) } else { Err(Refusal::no_such_page()) };
    }
    if !is_known(version) {
        return match asked.path {
            "" => list(StatusCode::MULTIPLE_CHOICES),
            _ => Ok((StatusCode::MULTIPLE_CHOICES, Json(versions::list(&asked.base, asked.prefix))).into_response()),
        };
    }
    // Neither says anything, so neither asks for a token: clients that look for Keystone there would wait for ever for one.
    let rest = match rest {
        None => {
            let to = asked.base.at(&format!("{}/", parts.uri.path()));
            let to = HeaderValue::from_str(&to).map_err(|_| Refusal::no_such_page())?;
            return Ok((StatusCode::FOUND, [(LOCATION, to)]).into_response());
        }
        Some("") => return Err(Refusal::no_such_page()),
        Some(rest) => rest,
    };
    let caller = asked.caller().await?;
    let segments = segments(rest)?;
    let place = Place::of(&segments).ok_or_else(|| match segments.first().map(String::as_str) {
        Some("images") if parts.method == Method::GET => Refusal::not_found(NO_DATA),
        Some("images") => Refusal::not_found(READ_ONLY),
        _ => Refusal::no_such_page(),
    })?;
    if parts.method == Method::OPTIONS {
        return Ok((StatusCode::OK, [(ALLOW, place.allows())]).into_response());
    }
    let call = Call { asked, caller: &caller, prefix: asked.prefix };
    if !answers(ROUTES, &parts.method, &place.route()) {
        return Err(place.refusal(parts.method.as_str()));
    }
    match place {
        Place::Tasks if parts.method == Method::POST => {
            call.may_write_tasks()?;
            create::create(&call, body).await
        }
        Place::Tasks => call.tasks().await,
        Place::Task(id) => call.task(&id).await,
        Place::Schema(name) => Ok(Json(schemas::document(name)).into_response()),
        Place::Images => images::list(&call).await,
        Place::Image(id) => images::show(&call, &id).await,
    }
}

/// Whether this is the version that is spoken, with any minor number.
fn is_known(version: &str) -> bool {
    match version.strip_prefix("v2") {
        Some("") => true,
        Some(minor) => minor.strip_prefix('.').and_then(|m| m.parse().ok()).is_some_and(|m: u32| m <= NEWEST_MINOR),
        None => false,
    }
}

/// A call by somebody who is known.
struct Call<'c> {
    asked: &'c Asked<'c>,
    caller: &'c Caller,
    /// What stands before the version in the request's path, and in links.
    prefix: &'static str,
}

impl Call<'_> {
    fn link(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    fn params(&self) -> Result<Params, Refusal> {
        self.asked.params()
    }

    /// Tasks may be looked at with the role `reader`, and made with `admin` alone (G4).
    fn may_read_tasks(&self, action: &str) -> Result<(), Refusal> {
        self.caller.may(Right::View).map(drop).map_err(|_| not_authorized(action))
    }

    fn may_write_tasks(&self) -> Result<(), Refusal> {
        self.caller.may(Right::Administer).map(drop).map_err(|_| not_authorized("add_task"))
    }

    async fn tasks(&self) -> Result<Response, Refusal> {
        self.may_read_tasks("get_tasks")?;
        let page = list::page(self).await?;
        Ok(Json(page).into_response())
    }

    async fn task(&self, id: &str) -> Result<Response, Refusal> {
        self.may_read_tasks("get_task")?;
        let unknown = || Refusal::not_found(format!("Could not find task {id}"));
        let uuid = uuid(id).ok_or_else(unknown)?;
        let task = self.asked.service.task(self.caller, TaskRef::Uuid(uuid), false).await;
        let task = task.map_err(|e| if e.code == Code::NotFound { unknown() } else { e.into() })?;
        let shown = self.asked.service.cloud().shown;
        Ok(Json(map::whole(&task, self.prefix, shown)).into_response())
    }
}

/// The role does not suffice.
fn not_authorized(action: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, format!("You are not authorized to complete {action} action."))
}

/// How this API ends its answers.
pub(super) enum Images {}

impl Shape for Images {
    const DIALECT: &str = "openstack";

    fn finish(response: Response, request_id: &str) -> Response {
        Refusal::finish(response, request_id)
    }

    fn defect() -> Response {
        Refusal::defect(Form::Json)
    }

    fn takes_id(id: &str) -> bool {
        takes_id(id)
    }
}
