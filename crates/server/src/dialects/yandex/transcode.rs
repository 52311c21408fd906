//! Between REST and the messages of the API: the proto3 JSON mapping with the rules of section 5.1. Reading is done here
//! and not by the reflection library, because unknown members are ignored while unknown enum names are not (Y5, Y11), and
//! because every mistake is reported with the path of its field (Y12).

use axum::http::Uri;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor, ReflectMessage, SerializeOptions, Value,
};
use serde_json::{Map, Value as Json};

use super::failure::{Failure, Violation};
use super::routes::Found;
use super::rules::ENOUGH;
use crate::dialects::percent;

/// How deep a body may be nested; the messages are nowhere deeper than ten.
const MAX_DEPTH: usize = 32;
/// The URL of an Any that holds nothing.
const EMPTY: &str = "type.googleapis.com/google.protobuf.Empty";

/// The request behind a REST call.
///
/// # Errors
/// What cannot be read, every mistake with its field.
pub(super) fn request(found: &Found, uri: &Uri, body: &[u8]) -> Result<DynamicMessage, Failure> {
    let mut wrong = Vec::new();
    let mut message = DynamicMessage::new(found.method.input.clone());
    if found.route.has_body() {
        read_body(&mut message, body, &mut wrong)?;
    } else {
        read_query(&mut message, uri.query().unwrap_or_default(), &mut wrong);
    }
    for (name, value) in &found.variables {
        let Some(field) = message.descriptor().get_field_by_name(name) else { continue };
        match value {
            Some(text) => set_text(&mut message, &field, "", text, &mut wrong),
            None => wrong.push(Violation::new(*name, NOT_READABLE)),
        }
    }
    if wrong.is_empty() { Ok(message) } else { Err(Failure::invalid(wrong)) }
}

/// An answer as JSON text: without fields that have their default value (Y10), and an `Any` of nothing without a `value`.
///
/// # Errors
/// When a message holds what its descriptors do not know, which is a defect.
pub(super) fn print(message: &DynamicMessage) -> Result<String, Failure> {
    let json = message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new());
    let mut json = json.map_err(Failure::defect)?;
    without_empty_values(&mut json);
    Ok(json.to_string())
}

fn without_empty_values(json: &mut Json) {
    match json {
        Json::Object(members) => {
            if members.get("@type").is_some_and(|t| t == EMPTY) {
                members.remove("value");
            }
            members.values_mut().for_each(without_empty_values);
        }
        Json::Array(items) => items.iter_mut().for_each(without_empty_values),
        _ => {}
    }
}

const NOT_READABLE: &str = "Field is not readable; percent-encode it as UTF-8";

fn read_body(message: &mut DynamicMessage, body: &[u8], wrong: &mut Vec<Violation>) -> Result<(), Failure> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let json: Json = serde_json::from_slice(body)
        .map_err(|e| Failure::field("", format!("The body is not JSON: line {}, column {}", e.line(), e.column())))?;
    match json {
        Json::Object(members) => set_members(message, &members, "", 0, wrong),
        _ => wrong.push(Violation::new("", "The body is not a JSON object")),
    }
    Ok(())
}

fn set_members(
    message: &mut DynamicMessage,
    members: &Map<String, Json>,
    path: &str,
    depth: usize,
    wrong: &mut Vec<Violation>,
) {
    if depth > MAX_DEPTH {
        wrong.push(Violation::new(path, "The body is nested too deeply"));
        return;
    }
    let descriptor = message.descriptor();
    let mut seen = Vec::new();
    for (name, value) in members {
        let Some(field) = named(&descriptor, name).filter(|_| !value.is_null()) else { continue };
        let at = join(path, field.name());
        if seen.contains(&field.number()) {
            wrong.push(Violation::new(at, "Field is given twice, in both spellings of its name"));
            continue;
        }
        seen.push(field.number());
        if let Some(oneof) = taken(message, &field) {
            wrong.push(several(path, &oneof));
            continue;
        }
        if let Some(value) = from_json(&field, value, &at, depth, wrong) {
            message.set_field(&field, value);
        }
    }
}

/// A field by either spelling of its name.
fn named(descriptor: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name))
}

/// The oneof of a field, if another member of it is set already.
fn taken(message: &DynamicMessage, field: &FieldDescriptor) -> Option<OneofDescriptor> {
    let oneof = field.containing_oneof()?;
    let other = oneof.fields().any(|f| f.number() != field.number() && message.has_field(&f));
    other.then_some(oneof)
}

fn several(path: &str, oneof: &OneofDescriptor) -> Violation {
    let members: Vec<_> = oneof.fields().map(|f| f.name().to_owned()).collect();
    Violation::new(join(path, oneof.name()), format!("Only one of {} may be given", members.join(", ")))
}

fn from_json(
    field: &FieldDescriptor,
    json: &Json,
    path: &str,
    depth: usize,
    wrong: &mut Vec<Violation>,
) -> Option<Value> {
    if !field.is_list() {
        return one_from_json(&field.kind(), json, path, depth, wrong);
    }
    let Json::Array(items) = json else {
        wrong.push(Violation::new(path, "Field is a list"));
        return None;
    };
    let items = items.iter().enumerate();
    let mut read = Vec::new();
    for (i, item) in items {
        if wrong.len() >= ENOUGH {
            break;
        }
        read.extend(one_from_json(&field.kind(), item, &format!("{path}[{i}]"), depth, wrong));
    }
    Some(Value::List(read))
}

fn one_from_json(kind: &Kind, json: &Json, path: &str, depth: usize, wrong: &mut Vec<Violation>) -> Option<Value> {
    let value = match (kind, json) {
        (Kind::Message(inner), Json::Object(members)) => {
            let mut message = DynamicMessage::new(inner.clone());
            set_members(&mut message, members, path, depth + 1, wrong);
            return Some(Value::Message(message));
        }
        (Kind::Bool, Json::Bool(b)) => Some(Value::Bool(*b)),
        (Kind::String, Json::String(text)) => Some(Value::String(text.clone())),
        (Kind::Int64, Json::Number(n)) => whole(n).map(Value::I64),
        (Kind::Enum(_), Json::Number(n)) => whole(n).and_then(|n| i32::try_from(n).ok()).map(Value::EnumNumber),
        (Kind::Int64 | Kind::Enum(_), Json::String(text)) => from_text(kind, text),
        _ => None,
    };
    if value.is_none() {
        wrong.push(Violation::new(path, expected(kind)));
    }
    value
}

/// A JSON number without a fraction; 5.0 is 5.
fn whole(number: &serde_json::Number) -> Option<i64> {
    // Beyond this not every whole number has a double of its own.
    const EXACT: f64 = 9_007_199_254_740_991.0;
    let double = || number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= EXACT).map(|n| n as i64);
    number.as_i64().or_else(double)
}

/// A value from the text of a query, a path or a JSON string.
fn from_text(kind: &Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::String => Some(Value::String(text.to_owned())),
        Kind::Bool => text.parse().ok().map(Value::Bool),
        Kind::Int64 => text.parse().ok().map(Value::I64),
        Kind::Enum(names) => {
            let named = names.get_value_by_name(text).map(|v| v.number());
            named.or_else(|| text.parse().ok()).map(Value::EnumNumber)
        }
        _ => None,
    }
}

fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Message(_) => "Field is an object".to_owned(),
        Kind::Bool => "Field is true or false".to_owned(),
        Kind::Int64 => "Field is a whole number of 64 bits".to_owned(),
        Kind::Enum(names) => {
            let names: Vec<_> = names.values().map(|v| v.name().to_owned()).collect();
            format!("Field is one of {}", names.join(", "))
        }
        _ => "Field is a text".to_owned(),
    }
}

fn read_query(message: &mut DynamicMessage, query: &str, wrong: &mut Vec<Violation>) {
    for part in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let Some(name) = percent::form(name) else { continue };
        if !is_known(&message.descriptor(), &name) {
            continue;
        }
        set_parameter(message, &name, percent::form(value).as_deref(), "", wrong);
    }
}

/// Whether a parameter like `archive.folderId` names a field that can stand in a query: an unknown one is ignored, with
/// whatever it would be part of.
fn is_known(message: &MessageDescriptor, name: &str) -> bool {
    let Some((first, rest)) = name.split_once('.') else { return named(message, name).is_some() };
    let field = named(message, first).filter(|field| !field.is_list());
    field.is_some_and(|field| field.kind().as_message().is_some_and(|inner| is_known(inner, rest)))
}

/// Sets what a parameter like `archive.folderId` names.
fn set_parameter(
    message: &mut DynamicMessage,
    name: &str,
    value: Option<&str>,
    path: &str,
    wrong: &mut Vec<Violation>,
) {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let Some(field) = named(&message.descriptor(), first) else { return };
    let Some(rest) = rest else {
        match value {
            Some(text) => set_text(message, &field, path, text, wrong),
            None => wrong.push(Violation::new(join(path, field.name()), NOT_READABLE)),
        }
        return;
    };
    if field.is_list() || field.kind().as_message().is_none() {
        return;
    }
    if let Some(oneof) = taken(message, &field) {
        wrong.push(several(path, &oneof));
        return;
    }
    let at = join(path, field.name());
    if let Some(inner) = message.get_field_mut(&field).as_message_mut() {
        set_parameter(inner, rest, value, &at, wrong);
    }
}

fn set_text(message: &mut DynamicMessage, field: &FieldDescriptor, path: &str, text: &str, wrong: &mut Vec<Violation>) {
    if let Some(oneof) = taken(message, field) {
        wrong.push(several(path, &oneof));
        return;
    }
    match from_text(&field.kind(), text) {
        Some(value) if field.is_list() => {
            if let Some(items) = message.get_field_mut(field).as_list_mut() {
                items.push(value);
            }
        }
        Some(value) => message.set_field(field, value),
        None => wrong.push(Violation::new(join(path, field.name()), expected(&field.kind()))),
    }
}

/// The path of a field below another one.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use axum::http::Method as Verb;
    use prost::Message as _;
    use proto::yandex::cloud::backup::v1;
    use proto::yandex::cloud::operation::Operation;

    use super::super::{failure, methods, routes};
    use super::*;

    fn read(verb: Verb, address: &str, body: &str) -> Result<DynamicMessage, Vec<(String, String)>> {
        let uri: Uri = address.parse().expect("an address");
        let found = routes::find(&verb, uri.path()).expect("a route");
        let pairs = |f: Failure| f.violations().iter().map(|v| (v.field.clone(), v.text.clone())).collect();
        request(&found, &uri, body.as_bytes()).map_err(pairs)
    }

    fn fields(wrong: Result<DynamicMessage, Vec<(String, String)>>) -> Vec<String> {
        wrong.expect_err("refused").into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn only_kinds_that_are_read_stand_in_requests() {
        fn check(message: &MessageDescriptor, depth: usize) {
            assert!(depth < 10);
            for field in message.fields() {
                match field.kind() {
                    Kind::Message(inner) => check(&inner, depth + 1),
                    Kind::Bool | Kind::String | Kind::Int64 | Kind::Enum(_) => {}
                    other => panic!("{} is a {other:?}", field.full_name()),
                }
            }
        }
        for method in methods::all() {
            check(&method.input, 0);
        }
    }

    #[test]
    fn spellings_are_the_same() {
        let list = |query: &str| read(Verb::GET, &format!("/backup/v1/resources?{query}"), "").expect("read");
        let wanted = list("folderId=f&pageSize=10&type=BMS");
        assert_eq!(list("folder_id=f&page_size=10&type=2"), wanted);
        let backups = |query: &str| read(Verb::GET, &format!("/backup/v1/backups?{query}"), "").expect("read");
        assert_eq!(backups("folderId=f&archive.unknown=1&backup.folderId.more=2"), backups("folderId=f"));
        assert_eq!(list("unknown=1&folderId=e&folderId=f&pageSize=10&type=BMS&also.unknown=%zz"), wanted);
        let create = |body: &str| read(Verb::POST, "/backup/v1/policies", body).expect("read");
        let wanted =
            create(r#"{"folderId":"f","settings":{"splitting":{"size":"9223372036854775807"},"compression":"HIGH"}}"#);
        let other = r#"{"folder_id":"f","more":[1],"name":null,"settings":{"splitting":{"size":9223372036854775807,"x":{}},"compression":2.0}}"#;
        assert_eq!(create(other), wanted);
    }

    #[test]
    fn a_body_fills_in_what_the_path_leaves_open() {
        let message = read(Verb::POST, "/backup/v1/policies/p:execute", r#"{"computeInstanceId":"m","policyId":"q"}"#);
        let read_back = v1::ExecuteRequest::decode(&*message.expect("read").encode_to_vec()).expect("the same message");
        assert_eq!((&*read_back.policy_id, &*read_back.compute_instance_id), ("p", "m"));
        assert!(read(Verb::POST, "/backup/v1/policies/p:execute", " ").is_ok());
    }

    #[test]
    fn nested_parameters_have_dots() {
        let message =
            read(Verb::GET, "/backup/v1/backups?archive.archiveId=a+b&archive.folder_id=f", "").expect("read");
        let request = v1::ListBackupsRequest::decode(&*message.encode_to_vec()).expect("the same message");
        let Some(v1::list_backups_request::Id::Archive(archive)) = request.id else { panic!("no archive") };
        assert_eq!((&*archive.archive_id, &*archive.folder_id), ("a b", "f"));
    }

    #[test]
    fn mistakes_name_their_fields() {
        let get = |address: &str| fields(read(Verb::GET, address, ""));
        assert_eq!(get("/backup/v1/resources?pageSize=ten&type=VM"), ["page_size", "type"]);
        assert_eq!(get("/backup/v1/resources?folderId=%ff"), ["folder_id"]);
        assert_eq!(get("/backup/v1/backups?folderId=f&policyId=p"), ["id"]);
        assert_eq!(get("/backup/v1/backups?folderId=f&archive.folderId=p"), ["id"]);
        assert_eq!(get("/backup/v1/backups/m/archives?folderId=f"), ["id"]);
        let post = |body: &str| fields(read(Verb::POST, "/backup/v1/policies", body));
        assert_eq!(post("{"), [""]);
        assert_eq!(post("[]"), [""]);
        assert_eq!(post(r#"{"name":1,"settings":[]}"#), ["name", "settings"]);
        assert_eq!(
            post(r#"{"settings":{"scheduling":{"backupSets":[{"type":"TYPE_FULL"},{"type":"HALF"}],"scheme":1.5}}}"#),
            ["settings.scheduling.backup_sets[1].type", "settings.scheduling.scheme"]
        );
        assert_eq!(post(r#"{"folderId":"a","folder_id":"b"}"#), ["folder_id"]);
        assert_eq!(
            post(r#"{"settings":{"retention":{"rules":[{"maxCount":1,"maxAge":{}}]}}}"#),
            ["settings.retention.rules[0].condition"]
        );
    }

    #[test]
    fn answers_leave_out_what_is_default() {
        let print = |name: &str, bytes: Vec<u8>| {
            let message = methods::message(name).expect("described");
            print(&DynamicMessage::decode(message, &*bytes).expect("whole")).expect("printed")
        };
        let operation = Operation {
            id: "o".into(),
            metadata: Some(failure::any(&v1::ExecuteMetadata { policy_id: "p".into(), ..Default::default() })),
            result: Some(proto::yandex::cloud::operation::operation::Result::Response(failure::any(&()))),
            created_at: Some(prost_types::Timestamp { seconds: 1, nanos: 120_000_000 }),
            ..Default::default()
        };
        assert_eq!(
            serde_json::from_str::<Json>(&print("yandex.cloud.operation.Operation", operation.encode_to_vec()))
                .expect("JSON"),
            serde_json::json!({
                "id": "o", "createdAt": "1970-01-01T00:00:01.120Z",
                "metadata": {"@type": "type.googleapis.com/yandex.cloud.backup.v1.ExecuteMetadata", "policyId": "p"},
                "response": {"@type": EMPTY}
            })
        );
        let list = v1::ListResourcesResponse::default();
        assert_eq!(print("yandex.cloud.backup.v1.ListResourcesResponse", list.encode_to_vec()), "{}");
        let settings = v1::PolicySettings { performance_window: Some(Default::default()), ..Default::default() };
        assert_eq!(
            print("yandex.cloud.backup.v1.PolicySettings", settings.encode_to_vec()),
            r#"{"performanceWindow":{}}"#
        );
    }
}
