//! `GET /`: what there is (section 6), read from the table of operations; and a page for people who come with a browser.

use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::Handlers;
use super::call::{Call, Reply};
use super::failure::Failure;
use super::operations::OPERATIONS;

/// What a browser is shown.
const PAGE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Backstay</title></head>\
    <body><h1>Backstay</h1><p>This is a backup server. It has no web pages; programs talk to it, and so does the command \
    <code>backstay</code>. Its API is described at <a href=\"/api/v1/openapi.json\">/api/v1/openapi.json</a>.</p></body>\
    </html>\n";

/// Whether a person looks at `/` with a browser. Clients of this API never ask for HTML.
pub(super) fn is_for_people(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|media_type| media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html"))
}

/// The page for people.
pub(super) fn page() -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("discovery", discovery);
}

async fn discovery(call: Call) -> Result<Reply, Failure> {
    let mut resources = Map::new();
    for operation in OPERATIONS.iter().filter(|o| o.is_listed() && call.clumio.handlers.has(o.name)) {
        let versions: Vec<_> = operation.resource.versions.iter().map(|v| format!("v{v}")).collect();
        let resource =
            resources.entry(operation.resource.name).or_insert_with(|| json!({ "supported_versions": versions }));
        for version in versions {
            resource[version][operation.name] = json!({
                "href": operation.path,
                "type": operation.verb.as_str().to_ascii_lowercase(),
                "templated": operation.path.contains('{'),
            });
        }
    }
    Ok(call.ok(Value::Object(resources)))
}
