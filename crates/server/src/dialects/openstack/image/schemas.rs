//! The schema documents. Clients fetch them and check each task against them, so members that have no value are left out
//! of tasks instead of being null (G6), and `type` is any text (G9).

use serde_json::{Map, Value, json};

/// The documents, as the path behind `/v2/schemas/` names them.
pub(super) const NAMES: &[&str] = &["task", "tasks", "image", "images", "metadefs/namespace", "metadefs/resource_type"];

/// A document.
pub(super) fn document(name: &str) -> Value {
    match name {
        "task" => json!({ "name": "task", "properties": task(true) }),
        "tasks" => json!({
            "name": "tasks",
            "properties": {
                "tasks": { "type": "array", "items": { "name": "task", "properties": task(false) } },
                "schema": { "type": "string" },
            },
            "links": [{ "rel": "describedby", "href": "{schema}" }],
        }),
        "image" => json!({ "name": "image", "properties": image(), "additionalProperties": { "type": "string" } }),
        "images" => json!({
            "name": "images",
            "properties": {
                "images": {
                    "type": "array",
                    "items": { "name": "image", "properties": image(), "additionalProperties": { "type": "string" } },
                },
                "schema": { "type": "string" },
                "next": { "type": "string" },
                "first": { "type": "string" },
            },
            "links": [
                { "rel": "first", "href": "{first}" },
                { "rel": "next", "href": "{next}" },
                { "rel": "describedby", "href": "{schema}" },
            ],
        }),
        "metadefs/namespace" => json!({
            "name": "namespace",
            "required": ["namespace"],
            "properties": { "namespace": text("The name, which no other has."), "schema": read_only(SCHEMA) },
        }),
        _ => json!({
            "name": "resource_type",
            "required": ["name"],
            "properties": { "name": text("The name, as the service that has such things calls them.") },
        }),
    }
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn read_only(description: &str) -> Value {
    json!({ "type": "string", "readOnly": true, "description": description })
}

/// Where a thing is, and what describes it.
const OWN: &str = "Where it is itself.";
const SCHEMA: &str = "Where the schema is that describes it.";

fn maybe(kind: &str, description: &str) -> Value {
    json!({ "type": ["null", kind], "description": description })
}

/// The members of a task, whole or as it stands in lists.
fn task(whole: bool) -> Value {
    let pattern = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$";
    let mut members = Map::new();
    let mut add = |name: &str, schema: Value| members.insert(name.to_owned(), schema);
    add("id", json!({ "type": "string", "pattern": pattern, "description": "The identity of the task." }));
    add("type", text("What sort of work it is."));
    let names = domain::task::Standing::NAMES;
    add("status", json!({ "type": "string", "enum": names, "description": "Where the work is." }));
    add("owner", text("The project that it belongs to."));
    add("created_at", text("When it was wished, in UTC."));
    add("updated_at", text("When it changed last, in UTC."));
    add("expires_at", maybe("string", "Until when it is shown after it has ended, in UTC."));
    add("image_id", text("The image that it makes."));
    add("request_id", text("The request that made it."));
    add("user_id", text("Whoever made it."));
    add("self", read_only(OWN));
    add("schema", read_only(SCHEMA));
    if whole {
        add("input", maybe("object", "What was asked for."));
        add("result", maybe("object", "What came of it, or how far it is."));
        add("message", text("Why it failed, or what there is to say of it."));
    }
    Value::Object(members)
}

fn image() -> Value {
    json!({
        "id": text("The identity of the image."),
        "name": maybe("string", "The name."),
        "status": text("Whether its data is there."),
        "visibility": text("Who may see it."),
        "protected": { "type": "boolean", "description": "Whether it cannot be deleted." },
        "os_hidden": { "type": "boolean", "description": "Whether it is left out of lists." },
        "owner": maybe("string", "The project that it belongs to."),
        "size": maybe("integer", "How many bytes it has."),
        "virtual_size": maybe("integer", "How large the disk in it is, where that is known."),
        "checksum": maybe("string", "Its MD5, which is not made here."),
        "container_format": maybe("string", "What is around the disk."),
        "disk_format": maybe("string", "How the disk is written."),
        "min_disk": { "type": "integer", "description": "The smallest disk that it fits on, in GB." },
        "min_ram": { "type": "integer", "description": "The least memory that it needs, in MB." },
        "os_hash_algo": maybe("string", "How its hash is made."),
        "os_hash_value": maybe("string", "Its hash."),
        "tags": { "type": "array", "items": { "type": "string" }, "description": "Labels." },
        "created_at": text("When it was made, in UTC."),
        "updated_at": text("When it changed last, in UTC."),
        "self": read_only(OWN),
        "file": read_only("Where other servers have its data; here it comes back with a restore."),
        "schema": read_only(SCHEMA),
    })
}
