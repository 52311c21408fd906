//! Tags of resources as this API shows them (D8): each has an id that follows from its key and value.

use std::collections::BTreeMap;

use domain::Uuid;
use serde_json::{Value, json};

use crate::service::named_id;

/// The id of a tag.
pub(super) fn tag_id(key: &str, value: &str) -> Uuid {
    named_id(Uuid::nil(), format!("tag\0{key}\0{value}").as_bytes())
}

/// The id of all tags with this key.
pub(super) fn key_id(key: &str) -> Uuid {
    named_id(Uuid::nil(), format!("tag-key\0{key}").as_bytes())
}

/// Tags with their ids.
pub(super) fn with_ids(tags: &BTreeMap<String, String>) -> Vec<Value> {
    let tag = |(key, value): (&String, &String)| json!({ "id": tag_id(key, value), "key": key, "key_id": key_id(key), "value": value });
    tags.iter().map(tag).collect()
}

/// Tags as keys and values.
pub(super) fn plain(tags: &BTreeMap<String, String>) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}
