//! `GET /v2/tasks`: what is asked for, and the page with its links (contract, section 4).

use std::ops::Bound;

use domain::query::{Direction, Filter, MAX_LIMIT, Order, Page, Pattern, Query, TaskField, Test, Value};
use domain::task::{Standing, TaskRef, kind};
use domain::{Code, SignedDuration, Timestamp, Uuid};
use serde_json::{Map, json};

use super::super::params::Params;
use super::super::refusal::Refusal;
use super::super::{time, uuid};
use super::{Call, map};
use crate::service::View;

/// How many rows a page has where nothing is said.
const DEFAULT_LIMIT: u32 = 25;

/// What a list asks for, as far as the words alone tell.
#[derive(Debug, PartialEq)]
pub(super) struct Wish {
    pub(super) limit: u32,
    pub(super) marker: Option<Uuid>,
    pub(super) order: Order<TaskField>,
    pub(super) filter: Filter<TaskField>,
    /// Whether one of the values is nobody's, so that nothing can match.
    pub(super) nothing: bool,
    /// The types that are asked for.
    pub(super) types: Vec<String>,
}

/// A page of the list.
pub(super) async fn page(call: &Call<'_>) -> Result<serde_json::Value, Refusal> {
    let params = call.params()?;
    let wish = Wish::read(&params)?;
    let service = call.asked.service;
    // Whether a word is right must not rest on what the page happens to find.
    for name in &wish.types {
        check_type(call, name).await?;
    }
    let key = match wish.marker {
        None => None,
        Some(id) => {
            let unknown = || Refusal::bad(format!("Task with the given id {id} was not found"));
            let task = service.task(call.caller, TaskRef::Uuid(id), false).await;
            let task = task.map_err(|e| if e.code == Code::NotFound { unknown() } else { e.into() })?;
            Some(wish.order.key(&task))
        }
    };
    let tasks = if wish.limit == 0 || wish.nothing {
        Vec::new()
    } else {
        let page = Page::After { key, limit: wish.limit };
        let query = Query { filter: wish.filter, order: wish.order, page, total: false };
        service.tasks(call.caller, &query, View::default()).await?.items
    };
    // Without what stands before the version, whatever was called: clients put their endpoint before these links, and that
    // has the prefix.
    let path = "/v2/tasks";
    let mut body = Map::new();
    let shown = service.cloud().shown;
    let rows =
        tasks.iter().map(|task| serde_json::Value::from(map::listed(task, call.prefix, shown))).collect::<Vec<_>>();
    body.insert("tasks".to_owned(), rows.into());
    body.insert("first".to_owned(), params.clone().without("marker").link(path).into());
    if let Some(last) = tasks.last().filter(|_| tasks.len() == wish.limit as usize) {
        body.insert("next".to_owned(), params.with("marker", &last.spec.uuid.to_string()).link(path).into());
    }
    body.insert("schema".to_owned(), call.link("/v2/schemas/tasks").into());
    Ok(json!(body))
}

/// A type that is neither one of ours nor occurs among the tasks that the caller sees is refused (G9).
async fn check_type(call: &Call<'_>, name: &str) -> Result<(), Refusal> {
    let ours = [kind::IMPORT, kind::APPLY_POLICY, kind::REVOKE_POLICY, "api_image_import", "location_import"];
    if ours.contains(&name) || kind::ALL.contains(&name) {
        return Ok(());
    }
    let filter = Filter::all().is(TaskField::Type, Value::Text(name.to_owned()))?;
    let found = call.asked.service.tasks(call.caller, &Query::newest(filter, 1), View::default()).await?;
    if found.items.is_empty() { Err(Refusal::bad(format!("Invalid type value: {name}"))) } else { Ok(()) }
}

impl Wish {
    pub(super) fn read(params: &Params) -> Result<Wish, Refusal> {
        let limit = limit(params.get("limit"))?;
        let marker = match params.get("marker") {
            None => None,
            Some(text) => Some(uuid(text).ok_or_else(|| Refusal::bad("Invalid marker format"))?),
        };
        let direction = match params.get("sort_dir") {
            None => Direction::Desc,
            Some(text) => {
                Direction::parse(text).ok_or_else(|| Refusal::bad(format!("Invalid sort direction: {text}")))?
            }
        };
        let order = order(params.get("sort_key").unwrap_or("created_at"), direction)?;
        if params.get("info").is_some() {
            return Err(Refusal::bad("Tasks cannot be filtered by info."));
        }
        let mut wish = Wish { limit, marker, order, filter: Filter::all(), nothing: false, types: Vec::new() };
        wish.filters(params)?;
        Ok(wish)
    }

    fn filters(&mut self, params: &Params) -> Result<(), Refusal> {
        if let Some(text) = params.get("status") {
            let standings = words(text)
                .into_iter()
                .filter(|w| !w.is_empty())
                .map(|word| Standing::parse(word).ok_or_else(|| Refusal::bad(format!("Invalid status value: {word}"))));
            let standings: Vec<Standing> = standings.collect::<Result<_, _>>()?;
            self.any_of(TaskField::Standing, standings.iter().map(|s| Value::Enum(s.ordinal())).collect())?;
        }
        if let Some(text) = params.get("type") {
            self.types = words(text).into_iter().filter(|w| !w.is_empty()).map(str::to_owned).collect();
            self.any_of(TaskField::Type, self.types.iter().cloned().map(Value::Text).collect())?;
        }
        for (name, field) in [("owner", TaskField::Tenant), ("id", TaskField::Uuid)] {
            if let Some(text) = params.get(name) {
                self.any_of(field, uuid(text).map(Value::Uuid).into_iter().collect())?;
            }
        }
        for (name, field) in [("created_at", TaskField::CreatedAt), ("updated_at", TaskField::UpdatedAt)] {
            if let Some(text) = params.get(name) {
                let filter = std::mem::replace(&mut self.filter, Filter::all());
                self.filter = filter.and(field, time_test(name, text)?)?;
            }
        }
        Ok(())
    }

    fn any_of(&mut self, field: TaskField, values: Vec<Value>) -> Result<(), Refusal> {
        if values.is_empty() {
            self.nothing = true;
            return Ok(());
        }
        let test = Test::AnyOf(values.into_iter().map(Pattern::Is).collect());
        self.filter = std::mem::replace(&mut self.filter, Filter::all()).and(field, test)?;
        Ok(())
    }
}

/// Times are shown in whole seconds, and compared as they are shown.
pub(super) fn time_test(name: &str, text: &str) -> Result<Test, Refusal> {
    let (operator, text) = match text.split_once(':') {
        Some((operator @ ("gt" | "gte" | "lt" | "lte" | "eq"), rest)) => (operator, rest),
        _ => ("eq", text),
    };
    let wrong = || {
        let why = match text.trim_end_matches('Z').parse::<jiff::civil::DateTime>() {
            // What is written well and still is no time lies behind the last one.
            Ok(_) if text.contains('T') => "lies too far away; the last year is 9999, up to its 30 December",
            _ => {
                "is not of the form YYYY-MM-DDTHH:MM:SS, with a Z or without (and a + as %2B), nor that behind one of gt:, \
                 gte:, lt:, lte:"
            }
        };
        Refusal::bad(format!("Invalid value for {name}: {text} {why}"))
    };
    let from = time::read(text).ok_or_else(wrong)?;
    let from = Timestamp::from_second(from.as_second()).map_err(|_| wrong())?;
    let to = from.checked_add(SignedDuration::from_secs(1)).map_err(|_| wrong())?;
    let (from, to) = (Value::Time(from), Value::Time(to));
    let (from, to) = match operator {
        "gt" => (Bound::Included(to), Bound::Unbounded),
        "gte" => (Bound::Included(from), Bound::Unbounded),
        "lt" => (Bound::Unbounded, Bound::Excluded(from)),
        "lte" => (Bound::Unbounded, Bound::Excluded(to)),
        _ => (Bound::Included(from), Bound::Excluded(to)),
    };
    Ok(Test::Range { from, to })
}

/// One value, or several behind `in:`.
pub(super) fn words(text: &str) -> Vec<&str> {
    text.strip_prefix("in:").map_or_else(|| vec![text], |list| list.split(',').map(str::trim).collect())
}

pub(super) fn limit(text: Option<&str>) -> Result<u32, Refusal> {
    let Some(text) = text.map(str::trim) else { return Ok(DEFAULT_LIMIT) };
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refusal::bad("limit param must be an integer"));
    }
    let zero = digits.bytes().all(|b| b == b'0');
    if negative && !zero {
        return Err(Refusal::bad("limit param must be positive"));
    }
    // What is too large for a number is cut as any other.
    Ok(digits.parse().map_or(MAX_LIMIT, |n: u32| n.min(MAX_LIMIT)))
}

/// Ties are broken by `created_at`, then by id: the number of a task says both, since numbers and times of creation are
/// given out together and each only once.
fn order(key: &str, direction: Direction) -> Result<Order<TaskField>, Refusal> {
    use TaskField as F;
    let field = match key {
        "created_at" => F::Id,
        "updated_at" => F::UpdatedAt,
        // It lies the same time behind the end for all; none comes before every other.
        "expires_at" => F::CompletedAt,
        "id" => F::Uuid,
        "type" => F::Type,
        "status" => F::Standing,
        "owner" => F::Tenant,
        _ => return Err(Refusal::bad("Sort key supplied was not valid.")),
    };
    let mut terms = vec![(field, direction)];
    if field == F::CompletedAt && direction == Direction::Asc {
        terms.insert(0, (F::Over, Direction::Asc));
    }
    Ok(Order::by(terms)?)
}
