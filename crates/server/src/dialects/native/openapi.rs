//! The finishing of the OpenAPI document: what the handlers' attributes cannot say because it stands in tables, and
//! what is the same for all.

use domain::query::{Field, FieldKind, MAX_LIMIT};
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;
use utoipa::openapi::OpenApi;

use super::filter::{DEFAULT_LIMIT, ListOf, Meaning};
use super::lists;

const ABOUT: &str = "The native API of Backstay. Times are RFC 3339 in UTC with up to nanoseconds; a field that is not \
set is absent, never null; durations are written like `1h 30m`. The API only grows: ignore fields you do not know.\n\n\
**Filters.** Values of one parameter are alternatives, separated by commas or by repeating the parameter (write \
`\\,` for a comma that belongs to a value); different parameters must all hold. A list comes in parts: `next` of one \
is the `cursor` of the next, or ask for `page` 1, 2, 3, which also gives exact totals.\n\n\
**Errors.** Every refusal has the same body with a stable `code`; `docs/errors/` has a page for each.";

const TAGS: [(&str, &str); 14] = [
    ("tasks", "One piece of work each, from wish to result."),
    ("activities", "The steps inside tasks."),
    ("resources", "What is protected."),
    ("policies", "When and how resources are backed up."),
    ("backups", "Recovery points."),
    ("agents", "The processes that move the data."),
    ("repositories", "Where backups lie."),
    ("notifications", "Who is told when something fails, is missed, or goes well again."),
    ("tenants", "The owners of everything, in a tree."),
    ("tokens", "What programs and people show to be let in, until it is revoked."),
    ("users", "People who sign in with a login and a password."),
    ("clients", "Programs that sign in with an id and a secret."),
    ("keys", "What the access tokens of users and clients are signed with."),
    ("audit", "Who did what."),
];

/// The document as text, always the same for the same routes.
pub(super) fn document(openapi: OpenApi) -> String {
    let mut document = serde_json::to_value(&openapi).unwrap_or_default();
    document["openapi"] = json!("3.1.0");
    document["info"] = json!({
        "title": "Backstay", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT,
        "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
    });
    document["servers"] = json!([{ "url": api::BASE_PATH }]);
    document["tags"] = TAGS.iter().map(|(name, about)| json!({ "name": name, "description": about })).collect();
    document["security"] = json!([{ "token": [] }]);
    document["components"]["securitySchemes"] = json!({
        "token": { "type": "http", "scheme": "bearer", "description": "An API token, as `POST /tokens` gives it, or the access token of a user or client." }
    });
    for (name, schema) in [("ErrorBody", api::ErrorBody::schema()), ("ErrorDetail", api::ErrorDetail::schema())] {
        document["components"]["schemas"][name] = serde_json::to_value(schema).unwrap_or_default();
    }
    let mut shared = Map::new();
    for operation in operations(&mut document) {
        operation["responses"]["default"] = json!({
            "description": "A refusal or failure",
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/ErrorBody" } } },
        });
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        add_parameters(operation, parameters_of(&id), &mut shared);
    }
    document["components"]["parameters"] = shared.into();
    without_null(&mut document);
    let mut text = serde_json::to_string_pretty(&sorted(document)).unwrap_or_default();
    text.push('\n');
    text
}

fn operations(document: &mut Value) -> Vec<&mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut).filter(|v| v["operationId"].is_string()).collect()
}

/// Adds parameters by reference: the many of the tasks' filter stand in several operations.
fn add_parameters(operation: &mut Value, (list, more): (&str, Vec<Value>), shared: &mut Map<String, Value>) {
    if more.is_empty() {
        return;
    }
    let Some(operation) = operation.as_object_mut() else { return };
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    let Some(parameters) = parameters.as_array_mut() else { return };
    for parameter in more {
        // One that the handler documents itself is another than the filter's of the same name.
        if parameters.iter().all(|p| p["name"] != parameter["name"]) {
            let name = format!("{list}.{}", parameter["name"].as_str().unwrap_or_default());
            parameters.push(json!({ "$ref": format!("#/components/parameters/{name}") }));
            shared.insert(name, parameter);
        }
    }
}

/// The parameters of an operation that asks for a list, out of the table that reads them, and the list's name.
fn parameters_of(operation: &str) -> (&'static str, Vec<Value>) {
    match operation {
        "tasks" => with_paging(&lists::TASKS),
        "task_counts" | "task_events" => (lists::TASKS.name, filter(&lists::TASKS)),
        "activities" | "task_activities" => with_paging(&lists::ACTIVITIES),
        "resources" => with_paging(&lists::RESOURCES),
        "policies" => with_paging(&lists::POLICIES),
        "applications" | "policy_applications" => with_paging(&lists::APPLICATIONS),
        "backups" => with_paging(&lists::BACKUPS),
        "agents" => with_paging(&lists::AGENTS),
        "repositories" => with_paging(&lists::REPOSITORIES),
        "notification_channels" => with_paging(&lists::CHANNELS),
        "tenants" => with_paging(&lists::TENANTS),
        "tokens" => with_paging(&lists::TOKENS),
        "users" => with_paging(&lists::USERS),
        "clients" => with_paging(&lists::CLIENTS),
        "client_keys" => with_paging(&lists::CLIENT_KEYS),
        "signing_keys" => with_paging(&lists::SIGNING_KEYS),
        "audit_log" => with_paging(&lists::AUDIT),
        _ => ("", Vec::new()),
    }
}

fn filter<F: Field>(list: &ListOf<F>) -> Vec<Value> {
    let parameter = |p: &super::filter::Parameter<F>| {
        let (many, mut item) = match p.meaning {
            Meaning::AnyOf(field) => (true, schema(field.kind())),
            Meaning::IdOrName(..) => (true, json!({ "type": "string" })),
            Meaning::Contains(_) => (false, json!({ "type": "string" })),
            Meaning::From(field) | Meaning::To(field) => (false, schema(field.kind())),
        };
        if let Some(names) = p.names {
            item["enum"] = json!(names);
        }
        let mut parameter = json!({ "name": p.name, "in": "query", "required": false, "description": p.about });
        if many {
            parameter["schema"] = json!({ "type": "array", "items": item });
            parameter["style"] = json!("form");
            parameter["explode"] = json!(false);
        } else {
            parameter["schema"] = item;
        }
        parameter
    };
    list.parameters.iter().map(parameter).collect()
}

fn with_paging<F: Field>(list: &ListOf<F>) -> (&'static str, Vec<Value>) {
    let fields: Vec<_> = list.sortable.iter().map(|(name, _)| format!("`{name}`")).collect();
    let order = format!(
        "In which order: up to four fields, each with a `-` before it for the other way round, like `-created_at,id`. \
         Items without a value come last. Fields: {}.",
        fields.join(", ")
    );
    let paging = [
        ("order", order.as_str(), json!({ "type": "string" })),
        (
            "limit",
            "At most so many items.",
            json!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT }),
        ),
        ("cursor", "`next` of the former part, with the same filter and order.", json!({ "type": "string" })),
        (
            "page",
            "The number of a page of `limit` items; gives exact totals.",
            json!({ "type": "integer", "minimum": 1 }),
        ),
        ("total", "Whether to count all items that match.", json!({ "type": "boolean", "default": false })),
    ];
    let mut parameters = filter(list);
    parameters.extend(paging.into_iter().map(|(name, about, schema)| {
        json!({ "name": name, "in": "query", "required": false, "description": about, "schema": schema })
    }));
    (list.name, parameters)
}

fn schema(kind: FieldKind) -> Value {
    match kind {
        FieldKind::Int => json!({ "type": "integer", "format": "int64" }),
        FieldKind::Text | FieldKind::Texts => json!({ "type": "string" }),
        FieldKind::Uuid => json!({ "type": "string", "format": "uuid" }),
        FieldKind::Time => json!({ "type": "string", "format": "date-time" }),
        FieldKind::Bool => json!({ "type": "boolean" }),
        FieldKind::Enum(names) => json!({ "type": "string", "enum": names }),
    }
}

/// An unset field is absent here, never null; the derived schemas say "or null" for every optional one.
fn without_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|t| t != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = map.get_mut("oneOf") {
                choices.retain(|c| c["type"] != "null");
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    map.remove("oneOf");
                    for (key, value) in only {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            map.values_mut().for_each(without_null);
        }
        _ => {}
    }
}

/// Keys in alphabetical order, whichever map the build of serde_json has.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            entries.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}
