//! The versions that clients choose from.

use serde_json::{Value, json};

use super::super::base::Base;

/// The versions that are named, the newest first. There are no others between them that a client would miss.
const VERSIONS: [&str; 16] = [
    "v2.17", "v2.15", "v2.13", "v2.12", "v2.11", "v2.10", "v2.9", "v2.8", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3",
    "v2.2", "v2.1", "v2.0",
];

/// The list, with links that begin as the request's path did.
pub(super) fn list(base: &Base, prefix: &str) -> Value {
    let href = base.at(&format!("{prefix}/v2/"));
    let version = |(i, id): (usize, &&str)| {
        let status = if i == 0 { "CURRENT" } else { "SUPPORTED" };
        json!({ "id": id, "status": status, "links": [{ "rel": "self", "href": href }] })
    };
    json!({ "versions": VERSIONS.iter().enumerate().map(version).collect::<Vec<_>>() })
}
