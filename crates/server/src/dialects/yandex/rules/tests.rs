//! Every declared rule of every request, each broken once: the violations must name the place, and nothing else.

use std::collections::BTreeSet;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

use super::super::methods;
use super::super::transcode::join;
use super::{Bound, Rules, SAFE, UNBOUNDED, check, declared};

/// Fields that a good request leaves out: texts in languages of their own, and what cannot stand beside something else.
const LEFT_OUT: &[&str] = &[
    "yandex.cloud.backup.v1.ListBackupsRequest.order_by",
    "yandex.cloud.backup.v1.ListBackupsRequest.filter",
    "yandex.cloud.backup.v1.DeleteArchiveRequest.policy_id",
];

/// A message with everything in it, and of each oneof the member of this number.
fn full(descriptor: &MessageDescriptor, member: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if field.name() == "page_token" || LEFT_OUT.contains(&field.full_name()) {
            continue;
        }
        if let Some(oneof) = field.containing_oneof() {
            let members: Vec<_> = oneof.fields().collect();
            if members[member % members.len()].number() != field.number() {
                continue;
            }
        }
        if let Some(value) = good(&field, member) {
            message.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
        }
    }
    message
}

/// A value that breaks no rule.
fn good(field: &FieldDescriptor, member: usize) -> Option<Value> {
    Some(match field.kind() {
        Kind::Message(inner) => Value::Message(full(&inner, member)),
        Kind::Enum(_) => Value::EnumNumber(1),
        Kind::Int64 => Value::I64(1),
        Kind::String => Value::String(
            match field.name() {
                "path" => "/srv/new",
                "source_id" | "source_ids" => "p.L2V0Yw",
                _ => "x",
            }
            .to_owned(),
        ),
        // A command that is enabled, or anything else that is on, has rules of its own.
        _ => return None,
    })
}

fn rules(field: &FieldDescriptor) -> Rules {
    declared().fields.get(field.full_name()).cloned().unwrap_or_default()
}

/// A way to break one rule at one place.
struct Break {
    /// Which rule, for telling whether all were broken.
    rule: String,
    /// The fields and indexes down to the message.
    down: Vec<(u32, Option<usize>)>,
    /// The path that must be named.
    path: String,
    /// What is done there.
    change: Change,
}

enum Change {
    Clear(Vec<FieldDescriptor>),
    Set(FieldDescriptor, Value),
}

fn breaks(message: &DynamicMessage, down: &[(u32, Option<usize>)], path: &str, all: &mut Vec<Break>) {
    for field in message.descriptor().fields() {
        let at = join(path, field.name());
        let rules = rules(&field);
        let mut add = |rule: &str, path: &str, change: Change| {
            let rule = format!("{} {rule}", field.full_name());
            all.push(Break { rule, down: down.to_vec(), path: path.to_owned(), change });
        };
        let chosen = field.containing_oneof().is_none() || message.has_field(&field);
        if rules.required && field.containing_oneof().is_none() {
            add("required", &at, Change::Clear(vec![field.clone()]));
        }
        if let (Some(Bound::AtMost(most)), true) = (rules.length, chosen) {
            let long = "\u{e9}".repeat(usize::try_from(most).expect("a length") + 1);
            add("length", &at, Change::Set(field.clone(), Value::String(long)));
        }
        match rules.value {
            Some(Bound::AtMost(most)) => add("value", &at, Change::Set(field.clone(), Value::I64(most + 1))),
            Some(Bound::Above(bound)) => {
                add("value", &at, Change::Set(field.clone(), Value::I64(bound)));
                add("value", &at, Change::Clear(vec![field.clone()]));
            }
            None => {}
        }
        if rules.size.is_some() {
            add("size", &at, Change::Clear(vec![field.clone()]));
        }
        if rules.unique {
            let twice = good(&field, 0).into_iter().cycle().take(2).collect();
            add("unique", &at, Change::Set(field.clone(), Value::List(twice)));
        }
        let scalar = |value: Value| if field.is_list() { Value::List(vec![value]) } else { value };
        let place = if field.is_list() { format!("{at}[0]") } else { at.clone() };
        match field.kind() {
            Kind::Enum(_) => add("known", &place, Change::Set(field.clone(), scalar(Value::EnumNumber(99)))),
            Kind::Int64 if chosen && field.full_name() != UNBOUNDED => {
                add("safe", &place, Change::Set(field.clone(), scalar(Value::I64(SAFE + 1))));
                add("safe", &place, Change::Set(field.clone(), scalar(Value::I64(-SAFE - 1))));
            }
            _ => {}
        }
        let value = message.get_field(&field);
        let inner: Vec<(Option<usize>, &DynamicMessage)> = match &*value {
            Value::Message(inner) if message.has_field(&field) => vec![(None, inner)],
            Value::List(items) => {
                items.iter().enumerate().filter_map(|(i, v)| Some((Some(i), v.as_message()?))).collect()
            }
            _ => Vec::new(),
        };
        for (index, inner) in inner {
            let at = index.map_or_else(|| at.clone(), |i| format!("{at}[{i}]"));
            breaks(inner, &[down, &[(field.number(), index)]].concat(), &at, all);
        }
    }
    for oneof in message.descriptor().oneofs() {
        if declared().exactly_one.iter().any(|name| name == oneof.full_name()) {
            let rule = format!("{} exactly one", oneof.full_name());
            let change = Change::Clear(oneof.fields().collect());
            all.push(Break { rule, down: down.to_vec(), path: join(path, oneof.name()), change });
        }
    }
}

fn broken(request: &DynamicMessage, how: &Break) -> DynamicMessage {
    let mut request = request.clone();
    let mut at = &mut request;
    for (number, index) in &how.down {
        let value = at.get_field_by_number_mut(*number).expect("the way was walked before");
        let value = match index {
            Some(i) => &mut value.as_list_mut().expect("a list")[*i],
            None => value,
        };
        at = value.as_message_mut().expect("a message");
    }
    match &how.change {
        Change::Clear(fields) => fields.iter().for_each(|f| at.clear_field(f)),
        Change::Set(field, value) => at.set_field(field, value.clone()),
    }
    request
}

/// The rules of all fields that can stand in a request, as the descriptors declare them.
fn all_rules() -> BTreeSet<String> {
    fn collect(message: &MessageDescriptor, found: &mut BTreeSet<String>) {
        for field in message.fields() {
            let Rules { required, unique, length, value, size } = rules(&field);
            let kinds = [
                ("required", required),
                ("unique", unique),
                ("length", length.is_some()),
                ("value", value.is_some()),
                ("size", size.is_some()),
            ];
            let name = field.full_name();
            found.extend(kinds.into_iter().filter(|(_, there)| *there).map(|(kind, _)| format!("{name} {kind}")));
            if let Kind::Message(inner) = field.kind() {
                collect(&inner, found);
            }
        }
        let needed = message.oneofs().filter(|o| declared().exactly_one.iter().any(|n| n == o.full_name()));
        found.extend(needed.map(|o| format!("{} exactly one", o.full_name())));
    }
    let mut found = BTreeSet::new();
    methods::all().iter().for_each(|m| collect(&m.input, &mut found));
    found
}

#[test]
fn every_declared_rule_is_kept() {
    let mut tried = BTreeSet::new();
    for method in methods::all() {
        for member in 0..7 {
            let request = full(&method.input, member);
            assert_eq!(check(&request), [], "{} {member}", method.name);
            let mut all = Vec::new();
            breaks(&request, &[], "", &mut all);
            for how in all {
                let found = check(&broken(&request, &how));
                assert!(!found.is_empty(), "{}: {} was not missed at {}", method.name, how.rule, how.path);
                // With the left out field there are too many.
                let beside = LEFT_OUT.iter().any(|f| how.rule.starts_with(f)) && method.name.ends_with("DeleteArchive");
                let right = |field: &str| field == how.path || (beside && field == "archive_id");
                assert!(found.iter().all(|v| right(&v.field)), "{}: {} {found:?}", method.name, how.path);
                assert!(found.iter().any(|v| v.field == how.path), "{}: {} {found:?}", method.name, how.path);
                tried.insert(how.rule);
            }
        }
    }
    let missed: Vec<_> = all_rules().difference(&tried).cloned().collect();
    assert!(missed.is_empty(), "rules that no request here breaks: {missed:?}");
}

#[test]
fn two_mistakes_are_two_violations() {
    let create = methods::at("/yandex.cloud.backup.v1.PolicyService/Create").expect("a method");
    let mut request = full(&create.input, 0);
    request.clear_field_by_name("folder_id");
    let settings = request.get_field_by_name_mut("settings").and_then(Value::as_message_mut).expect("settings");
    settings.set_field_by_name("compression", Value::EnumNumber(77));
    let scheduling = settings.get_field_by_name_mut("scheduling").and_then(Value::as_message_mut).expect("scheduling");
    let sets = scheduling.get_field_by_name_mut("backup_sets").and_then(Value::as_list_mut).expect("sets");
    let time = sets[0].as_message_mut().and_then(|s| s.get_field_by_name_mut("time")).expect("a time");
    time.as_message_mut().expect("a time").clear_field_by_name("type");
    let fields: Vec<_> = check(&request).into_iter().map(|v| v.field).collect();
    assert_eq!(fields, ["folder_id", "settings.compression", "settings.scheduling.backup_sets[0].time.type"]);
}

#[test]
fn bounds_themselves_are_right() {
    let list = methods::at("/yandex.cloud.backup.v1.ResourceService/List").expect("a method");
    let mut request = full(&list.input, 0);
    request.set_field_by_name("page_size", Value::I64(1000));
    request.set_field_by_name("folder_id", Value::String("\u{e9}".repeat(50)));
    assert_eq!(check(&request), []);
    let update = methods::at("/yandex.cloud.backup.v1.PolicyService/Update").expect("a method");
    let mut request = full(&update.input, 0);
    let settings = request.get_field_by_name_mut("settings").and_then(Value::as_message_mut).expect("settings");
    let splitting = settings.get_field_by_name_mut("splitting").and_then(Value::as_message_mut).expect("splitting");
    splitting.set_field_by_name("size", Value::I64(i64::MAX));
    assert_eq!(check(&request), [], "what Terraform sends");
}

/// What is wrong with a request of this method, given as JSON.
fn wrong(method: &str, body: serde_json::Value) -> Vec<String> {
    let method = methods::at(method).expect("a method");
    let request = DynamicMessage::deserialize(method.input.clone(), body).expect("a request");
    check(&request).into_iter().map(|v| v.field).collect()
}

#[test]
fn the_extra_rules_are_kept() {
    use serde_json::json;
    let policy = |settings: serde_json::Value| {
        let wrong =
            wrong("/yandex.cloud.backup.v1.PolicyService/Update", json!({"policyId": "p", "settings": settings}));
        // The rest of the settings is missing, and not what this is about.
        wrong.into_iter().filter(|f| f.matches('.').count() > 1 || f.contains('[')).collect::<Vec<_>>()
    };
    let set = |time: serde_json::Value| {
        policy(json!({"scheduling": {
            "randMaxDelay": {"type": "SECONDS", "count": "1"}, "scheme": "SIMPLE", "weeklyBackupDay": "MONDAY",
            "backupSets": [{"time": time}]
        }}))
    };
    let at = |field: &str| vec![format!("settings.scheduling.backup_sets[0].time.{field}")];
    assert_eq!(set(json!({"type": "DAILY", "repeatAt": [{"hour": 23, "minute": 59}]})), [""; 0]);
    assert_eq!(set(json!({"type": "DAILY", "repeatAt": [{"hour": 24}]})), at("repeat_at[0].hour"));
    assert_eq!(set(json!({"type": "DAILY", "timeFrom": {"minute": -1}})), at("time_from.minute"));
    assert_eq!(set(json!({"type": "DAILY", "monthdays": [1, 32]})), at("monthdays[1]"));
    assert_eq!(set(json!({"type": "DAILY", "months": [0]})), at("months[0]"));
    assert_eq!(set(json!({"type": "DAILY", "weekdays": ["DAY_UNSPECIFIED"]})), at("weekdays[0]"));
    assert_eq!(
        set(json!({"type": "DAILY", "repeatEvery": {"type": "MONTHS", "count": 334}})),
        at("repeat_every.count")
    );
    assert_eq!(set(json!({"type": "DAILY", "repeatEvery": {"type": "MONTHS", "count": 333}})), [""; 0]);

    let rule = |rule: serde_json::Value| policy(json!({"retention": {"rules": [rule]}}));
    assert_eq!(rule(json!({"maxCount": 1})), [""; 0]);
    assert_eq!(rule(json!({"maxCount": 0})), ["settings.retention.rules[0].max_count"]);
    assert_eq!(
        rule(json!({"maxCount": 1, "backupSet": ["REPEATE_PERIOD_UNSPECIFIED"]})),
        ["settings.retention.rules[0].backup_set[0]"]
    );
    let scheme = |scheme: &str, kind: &str| {
        policy(json!({"scheduling": {
            "randMaxDelay": {"type": "SECONDS", "count": "1"}, "scheme": scheme, "weeklyBackupDay": "MONDAY",
            "backupSets": [{"time": {"type": "DAILY"}, "type": kind}]
        }}))
    };
    assert_eq!(scheme("CDP", "TYPE_AUTO"), ["settings.scheduling.scheme"]);
    assert_eq!(scheme("CUSTOM", "TYPE_UNSPECIFIED"), ["settings.scheduling.backup_sets[0]"]);
    assert_eq!(scheme("CUSTOM", "TYPE_FULL"), [""; 0]);
    assert_eq!(policy(json!({"archive": {"name": "a\u{7}"}})), ["settings.archive.name"]);
    assert_eq!(policy(json!({"archive": {"name": "x".repeat(256)}})), ["settings.archive.name"]);
    assert_eq!(policy(json!({"fileFilters": {"inclusionMasks": [""]}})), ["settings.file_filters.inclusion_masks[0]"]);
    let many = vec!["x"; 501];
    assert_eq!(
        policy(json!({"fileFilters": {"inclusionMasks": many, "exclusionMasks": vec!["x"; 500]}})),
        ["settings.file_filters.exclusion_masks"]
    );
    let command = |c: serde_json::Value| policy(json!({"prePostCommands": [c]}));
    assert_eq!(command(json!({"enabled": false})), [""; 0]);
    assert_eq!(
        command(json!({"enabled": true})),
        ["settings.pre_post_commands[0].type", "settings.pre_post_commands[0].cmd"]
    );

    let files = |target: serde_json::Value, ids: &[&str]| {
        let body = json!({"computeInstanceId": "m", "backupId": "b", "opts": target, "sourceIds": ids});
        wrong("/yandex.cloud.backup.v1.BackupService/StartFilesRecovery", body)
    };
    let good = &["p.L2V0Yw"][..];
    for path in ["/srv/back", "C:\\back", "C:/back", "\\\\server\\share", "/"] {
        assert_eq!(files(json!({"custom": {"path": path}}), good), [""; 0], "{path}");
    }
    for path in ["", "srv", "/srv/../etc", "C:\\a\\..\\b", "C:back"] {
        assert_eq!(files(json!({"custom": {"path": path}}), good), ["opts.custom.path"], "{path}");
    }
    assert_eq!(files(json!({"original": {}}), &["p.L2V0Yw", "p."]), ["source_ids[1]"]);
    assert_eq!(files(json!({}), good), ["opts.type"]);

    let directory = |path: &str| {
        let body = json!({"folderId": "f", "computeInstanceId": "m", "path": path});
        wrong("/yandex.cloud.backup.v1.ResourceService/CreateDirectory", body)
    };
    assert_eq!(directory("/srv/new one"), [""; 0]);
    assert_eq!(directory("C:\\srv\\new"), [""; 0]);
    for path in ["", "new", "/srv/a:b", "/srv/what?", "C:\\srv\\a|b"] {
        assert_eq!(directory(path), ["path"], "{path}");
    }
    let archive = |body: serde_json::Value| wrong("/yandex.cloud.backup.v1.BackupService/DeleteArchive", body);
    for body in [
        json!({"archiveId": "a"}),
        json!({"archiveId": "a", "folderId": "f"}),
        json!({"archiveId": "a", "instanceId": "i"}),
        json!({"archiveId": "a", "folderId": "f", "instanceId": "i"}),
        json!({"policyId": "p", "instanceId": "i"}),
    ] {
        assert_eq!(archive(body.clone()), [""; 0], "{body}");
    }
    for body in [
        json!({}),
        json!({"folderId": "f"}),
        json!({"policyId": "p"}),
        json!({"instanceId": "i"}),
        json!({"archiveId": "a", "policyId": "p"}),
        json!({"policyId": "p", "instanceId": "i", "folderId": "f"}),
    ] {
        assert_eq!(archive(body.clone()), ["archive_id"], "{body}");
    }
    let backups = |body: serde_json::Value| wrong("/yandex.cloud.backup.v1.BackupService/List", body);
    assert_eq!(backups(json!({"policyId": "p", "pageToken": "x"})), ["page_token"]);
    assert_eq!(backups(json!({"folderId": "f", "orderBy": "size", "filter": "size > 1"})), ["order_by", "filter"]);
    assert_eq!(
        backups(json!({"instancePolicy": {"policyId": "p"}, "pageSize": -1})),
        ["page_size", "instance_policy.compute_instance_id"].into_iter().rev().collect::<Vec<_>>()
    );
    assert_eq!(wrong("/yandex.cloud.backup.v1.PolicyService/List", json!({})), ["folder_id"]);
    let provider =
        |name: &str| wrong("/yandex.cloud.backup.v1.ProviderService/Activate", json!({"folderId": "f", "name": name}));
    assert_eq!(provider("cloud-backup_1.x"), [""; 0]);
    for name in ["", "a b", "é", &"x".repeat(51)] {
        assert_eq!(provider(name), ["name"], "{name}");
    }
    let name =
        |name: &str| wrong("/yandex.cloud.backup.v1.PolicyService/Create", json!({"folderId": "f", "name": name}));
    assert_eq!(name("Nightly"), ["settings"]);
    assert!(name("  ").contains(&"name".to_owned()) && name("a\nb").contains(&"name".to_owned()));
}
