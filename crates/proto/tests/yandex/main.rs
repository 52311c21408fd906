//! The descriptors of the Yandex API say what the tables beside this file say, and nothing else.
//!
//! The tables come from what the vendor publishes, not from our `.proto` files. A line without indent opens a file, a
//! message, an enum, a service or a set of extensions; an indented one belongs to what was opened last:
//!
//! - of a message: number, name, type, JSON name and rules of a field, or a oneof;
//! - of an enum: number and name of a value;
//! - of a service: a method, its request and answer, its route, and the two types that its operation holds;
//! - of extensions: number, name and type of one.
//!
//! Rules are `req`, `len`, `val`, `size` and `unique` for the options of `yandex/cloud/validation.proto`. Names of
//! types are short in their own package.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use prost::Name;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, FileDescriptor, Kind,
    MessageDescriptor, MethodDescriptor, ServiceDescriptor, Value,
};
use prost_types::Any;
use proto::google::rpc::{BadRequest, PreconditionFailure, QuotaFailure, RequestInfo};
use proto::yandex::DESCRIPTORS;
use proto::yandex::cloud::backup::v1::{
    ActivateProviderRequest, ExecuteMetadata, GetAgentInstallCommandResponse, GetInstanceRegistrationTokenResponse,
    ListActivatedProvidersRequest, Policy,
};
use proto::yandex::cloud::iam::v1::create_iam_token_request::Identity;
use proto::yandex::cloud::iam::v1::{CreateIamTokenRequest, CreateIamTokenResponse, RevokeIamTokenRequest};

/// What is said of each file, a line each.
type Lines = BTreeMap<String, BTreeSet<String>>;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTORS).expect("the descriptors are whole")
}

#[test]
fn the_descriptors_are_the_tables() {
    let tables = tables();
    // Files of protobuf itself are not ours to say.
    let descriptors: Lines = pool()
        .files()
        .filter(|file| !file.name().starts_with("google/protobuf/"))
        .map(|file| (file.name().to_owned(), lines_of(&file)))
        .collect();

    let nothing = BTreeSet::new();
    let mut differences = String::new();
    for file in tables.keys().chain(descriptors.keys()).collect::<BTreeSet<_>>() {
        let table = tables.get(file).unwrap_or(&nothing);
        let descriptor = descriptors.get(file).unwrap_or(&nothing);
        for line in table.difference(descriptor) {
            writeln!(differences, "{file}: only in the table: {line}").expect("a string takes everything");
        }
        for line in descriptor.difference(table) {
            writeln!(differences, "{file}: only in the descriptor: {line}").expect("a string takes everything");
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

#[test]
fn there_are_as_many_fields_and_methods_as_the_vendor_has() {
    let packages = ["yandex.cloud.backup.v1", "yandex.cloud.endpoint", "yandex.cloud.iam.v1", "yandex.cloud.operation"];
    let pool = pool();
    let fields: usize =
        pool.all_messages().filter(|m| packages.contains(&m.package_name())).map(|m| m.fields().len()).sum();
    assert_eq!(fields, 349);

    let mut methods: Vec<_> = pool.services().map(|s| format!("{} {}", s.name(), s.methods().len())).collect();
    methods.sort_unstable();
    assert_eq!(
        methods,
        [
            "ApiEndpointService 2",
            "BackupService 8",
            "IamTokenService 3",
            "OperationService 2",
            "PolicyService 9",
            "ProviderService 2",
            "ResourceService 8",
            "SetupService 1",
        ]
    );
}

#[test]
fn what_operations_hold_is_described() {
    let pool = pool();
    let mut named = 0;
    for method in pool.services().flat_map(|s| s.methods().collect::<Vec<_>>()) {
        let Some(operation) = extension(&method.options(), "yandex.cloud.api.operation") else { continue };
        let operation = operation.as_message().expect("a message").clone();
        for field in ["metadata", "response"] {
            let name = operation.get_field_by_name(field).expect("declared");
            let name = name.as_str().expect("a text");
            let package = method.parent_service().package_name();
            let full = if name.contains('.') { name.to_owned() } else { format!("{package}.{name}") };
            assert!(pool.get_message_by_name(&full).is_some(), "{}: {field} is {full}", method.full_name());
        }
        named += 1;
    }
    assert_eq!(named, 13);
}

#[test]
fn an_any_names_its_type_as_clients_expect() {
    let any = Any::from_msg(&ExecuteMetadata::default()).expect("a message fits into memory");
    assert_eq!(any.type_url, "type.googleapis.com/yandex.cloud.backup.v1.ExecuteMetadata");
    assert_eq!(<()>::type_url(), "type.googleapis.com/google.protobuf.Empty");

    let pool = pool();
    for url in [
        Policy::type_url(),
        <()>::type_url(),
        BadRequest::type_url(),
        RequestInfo::type_url(),
        PreconditionFailure::type_url(),
        QuotaFailure::type_url(),
    ] {
        let name = url.strip_prefix("type.googleapis.com/").expect("the one domain");
        assert!(pool.get_message_by_name(name).is_some(), "{name} is not described");
    }
}

#[test]
fn debug_shows_no_secret() {
    let secret = || "hush".to_owned();
    let jwt = CreateIamTokenRequest { identity: Some(Identity::Jwt(secret())) };
    let key = CreateIamTokenRequest { identity: Some(Identity::YandexPassportOauthToken(secret())) };
    let token = CreateIamTokenResponse { iam_token: secret(), expires_at: None };
    let activate =
        ActivateProviderRequest { name: "backstay".into(), instance_registration_id: secret(), ..Default::default() };
    let shown = [
        format!("{jwt:?}"),
        format!("{key:?}"),
        format!("{token:?}"),
        format!("{:?}", RevokeIamTokenRequest { iam_token: secret() }),
        format!("{activate:?}"),
        format!("{:?}", ListActivatedProvidersRequest { instance_registration_id: secret(), ..Default::default() }),
        format!("{:?}", GetInstanceRegistrationTokenResponse { instance_registration_id: secret(), expired_at: None }),
        format!("{:?}", GetAgentInstallCommandResponse { command: secret() }),
    ];
    for text in &shown {
        assert!(!text.contains("hush"), "{text}");
    }
    assert_eq!(shown[0], "CreateIamTokenRequest { identity: Some(Jwt(..)), .. }");
    assert!(shown[4].contains("backstay"), "{}", shown[4]);
}

/// The lines of all tables.
fn tables() -> Lines {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/yandex");
    let mut tables = Lines::new();
    for entry in fs::read_dir(folder).expect("the tables are there") {
        let path = entry.expect("the tables can be listed").path();
        if path.extension().is_some_and(|e| e == "txt") {
            read_table(&fs::read_to_string(&path).expect("a table is text"), &mut tables);
        }
    }
    tables
}

fn read_table(text: &str, tables: &mut Lines) {
    let (mut file, mut owner) = (String::new(), String::new());
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let words: Vec<_> = line.split_whitespace().collect();
        let mut said = words.join(" ");
        if line.starts_with(' ') {
            said = format!("{owner}: {said}");
        } else if words[0] == "file" {
            file = words[1].to_owned();
            assert!(!tables.contains_key(&file), "{file} has two tables");
        } else if ["message", "enum", "service", "extend"].contains(&words[0]) {
            owner = words[..2].join(" ");
        }
        let new = tables.entry(file.clone()).or_default().insert(said.clone());
        assert!(new, "{file} says twice: {said}");
    }
}

/// The same lines out of a descriptor.
fn lines_of(file: &FileDescriptor) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    lines.insert(format!("file {}", file.name()));
    lines.insert(format!("package {}", file.package_name()));
    lines.insert(format!("syntax {:?}", file.syntax()));
    lines.extend(words_of(&file.options(), |_| None).into_iter().map(|option| format!("option {option}")));
    lines.extend(file.dependencies().map(|import| format!("import {}", import.name())));
    file.messages().for_each(|message| message_lines(&message, &mut lines));
    file.enums().for_each(|of| enum_lines(&of, &mut lines));
    file.services().for_each(|service| service_lines(&service, &mut lines));
    for extension in file.extensions() {
        let owner = format!("extend {}", extension.containing_message().full_name());
        lines.insert(format!("{owner}: {}", extension_line(&extension)));
        lines.insert(owner);
    }
    lines
}

fn message_lines(message: &MessageDescriptor, lines: &mut BTreeSet<String>) {
    let owner = format!("message {}", short(message.full_name(), message.package_name()));
    let reserved: Vec<_> = message
        .reserved_ranges()
        // In a descriptor the end is not part of the range.
        .map(|r| if r.end - r.start == 1 { r.start.to_string() } else { format!("{}..{}", r.start, r.end - 1) })
        .chain(message.reserved_names().map(str::to_owned))
        .collect();
    let mut line = vec![owner.clone()];
    if !reserved.is_empty() {
        line.push(format!("reserved {}", reserved.join(",")));
    }
    line.extend(words_of(&message.options(), |_| None));
    lines.insert(line.join(" "));

    for oneof in message.oneofs() {
        let rules = words_of(&oneof.options(), |option| match option {
            ("exactly_one", Value::Bool(true)) => Some("exactly_one".to_owned()),
            _ => None,
        });
        lines.insert([vec![format!("{owner}: oneof {}", oneof.name())], rules].concat().join(" "));
    }
    for field in message.fields() {
        lines.insert(format!("{owner}: {}", field_line(&field)));
    }
    message.child_messages().for_each(|child| message_lines(&child, lines));
    message.child_enums().for_each(|child| enum_lines(&child, lines));
}

fn field_line(field: &FieldDescriptor) -> String {
    let message = field.parent_message();
    let mut words = vec![field.number().to_string(), field.name().to_owned()];
    if field.is_list() {
        words.push("repeated".to_owned());
    }
    if field.field_descriptor_proto().proto3_optional() {
        words.push("optional".to_owned());
    }
    words.push(type_name(&field.kind(), message.package_name()));
    words.push(field.json_name().to_owned());
    words.extend(field.containing_oneof().map(|oneof| format!("oneof={}", oneof.name())));
    words.extend(words_of(&field.options(), |option| match option {
        ("required", Value::Bool(true)) => Some("req".to_owned()),
        ("length", Value::String(bounds)) => Some(format!("len{bounds}")),
        ("value", Value::String(bounds)) => Some(format!("val{bounds}")),
        ("size", Value::String(bounds)) => Some(format!("size{bounds}")),
        ("unique", Value::Bool(true)) => Some("unique".to_owned()),
        ("deprecated", Value::Bool(true)) => Some("deprecated".to_owned()),
        _ => None,
    }));
    words.join(" ")
}

fn extension_line(extension: &ExtensionDescriptor) -> String {
    let mut words = vec![extension.number().to_string(), extension.name().to_owned()];
    if extension.is_list() {
        words.push("repeated".to_owned());
    }
    words.push(type_name(&extension.kind(), extension.package_name()));
    words.join(" ")
}

fn enum_lines(of: &EnumDescriptor, lines: &mut BTreeSet<String>) {
    let owner = format!("enum {}", short(of.full_name(), of.package_name()));
    lines.insert([vec![owner.clone()], words_of(&of.options(), |_| None)].concat().join(" "));
    for value in of.values() {
        let line = format!("{owner}: {} {}", value.number(), value.name());
        lines.insert([vec![line], words_of(&value.options(), |_| None)].concat().join(" "));
    }
}

fn service_lines(service: &ServiceDescriptor, lines: &mut BTreeSet<String>) {
    let owner = format!("service {}", service.name());
    for method in service.methods() {
        lines.insert(format!("{owner}: {}", method_line(&method)));
    }
    lines.insert([vec![owner], words_of(&service.options(), |_| None)].concat().join(" "));
}

fn method_line(method: &MethodDescriptor) -> String {
    let (input, output) = (method.input(), method.output());
    let service = method.parent_service();
    let package = service.package_name();
    let stream = |is| if is { "stream " } else { "" };
    let call = format!(
        "{} {}{} -> {}{}",
        method.name(),
        stream(method.is_client_streaming()),
        short(input.full_name(), package),
        stream(method.is_server_streaming()),
        short(output.full_name(), package),
    );
    let options = words_of(&method.options(), |option| match option {
        ("http", Value::Message(rule)) => Some(route(rule)),
        ("operation", Value::Message(operation)) => {
            let name = |field| operation.get_field_by_name(field).and_then(|v| v.as_str().map(str::to_owned));
            Some(format!("operation {} -> {}", name("metadata")?, name("response")?))
        }
        _ => None,
    });
    [vec![call], options].concat().join("; ")
}

/// A route as `VERB path body=..`.
fn route(rule: &DynamicMessage) -> String {
    let words = words_of(rule, |option| match option {
        (verb @ ("get" | "put" | "post" | "delete" | "patch"), Value::String(path)) => {
            Some(format!("{} {path}", verb.to_uppercase()))
        }
        ("body", Value::String(body)) => Some(format!("body={body}")),
        _ => None,
    });
    words.join(" ")
}

/// What is set in a message of options, in the order in which the tables have it: in the words that `word` has for it,
/// or else with name and value, so that nothing goes unseen.
fn words_of(options: &DynamicMessage, word: impl Fn((&str, &Value)) -> Option<String>) -> Vec<String> {
    const ORDER: &[&str] =
        &["get", "put", "post", "delete", "patch", "body", "http", "operation", "required", "length"];
    let set = options.fields().map(|(field, value)| (field.name().to_owned(), value));
    let set = set.chain(options.extensions().map(|(extension, value)| (extension.name().to_owned(), value)));
    let mut words: Vec<_> = set
        .map(|(name, value)| {
            let place = ORDER.iter().position(|n| *n == name).unwrap_or(ORDER.len());
            let word = word((name.as_str(), value)).unwrap_or_else(|| match value {
                Value::String(text) => format!("{name}={text}"),
                Value::Bool(is) => format!("{name}={is}"),
                other => format!("{name}={other:?}"),
            });
            (place, word)
        })
        .collect();
    words.extend(options.unknown_fields().map(|field| (ORDER.len(), format!("unknown option {}", field.number()))));
    words.sort();
    words.into_iter().map(|(_, word)| word).collect()
}

fn extension(options: &DynamicMessage, name: &str) -> Option<Value> {
    options.extensions().find(|(extension, _)| extension.full_name() == name).map(|(_, value)| value.clone())
}

fn type_name(kind: &Kind, package: &str) -> String {
    // `Debug` of a kind is its name in a `.proto` file.
    short(&format!("{kind:?}"), package).to_owned()
}

/// A name without the package, where it is of the package.
fn short<'a>(name: &'a str, package: &str) -> &'a str {
    name.strip_prefix(package).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name)
}
