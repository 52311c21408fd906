//! Validation by the rules that the descriptors declare (section 4.1): all violations are collected, recursively, with the
//! paths of their fields. What goes beyond the declared rules is in `extra_rules`.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, OneofDescriptor, ReflectMessage, Value};

use super::extra_rules;
use super::failure::Violation;
use super::methods::{self, extension};
use super::transcode::join;

/// The largest whole number that every client can read (Y6).
const SAFE: i64 = (1 << 53) - 1;
/// The one field beyond it: Terraform fills it with the largest number of 64 bits.
const UNBOUNDED: &str = "yandex.cloud.backup.v1.PolicySettings.Splitting.size";

/// How many mistakes are looked for; nobody reads more.
pub(super) const ENOUGH: usize = 100;

/// All that is wrong with a request.
pub(super) fn check(request: &DynamicMessage) -> Vec<Violation> {
    let mut wrong = Vec::new();
    check_message(request, "", &mut wrong);
    wrong
}

/// The rules that the options of a field declare.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Rules {
    required: bool,
    unique: bool,
    length: Option<Bound>,
    value: Option<Bound>,
    size: Option<Bound>,
}

/// A bound as options write it: `<=50`, `>0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    AtMost(i64),
    Above(i64),
}

impl Bound {
    fn parse(text: &str) -> Option<Bound> {
        let most = text.strip_prefix("<=").and_then(|n| n.parse().ok()).map(Bound::AtMost);
        most.or_else(|| text.strip_prefix('>').and_then(|n| n.parse().ok()).map(Bound::Above))
    }

    fn holds(self, number: i64) -> bool {
        match self {
            Bound::AtMost(most) => number <= most,
            Bound::Above(bound) => number > bound,
        }
    }

    fn words(self) -> String {
        match self {
            Bound::AtMost(most) => format!("at most {most}"),
            Bound::Above(bound) => format!("more than {bound}"),
        }
    }
}

/// The rules of all fields of all requests, and which oneofs need a member, by full names.
struct Declared {
    fields: HashMap<String, Rules>,
    exactly_one: Vec<String>,
}

fn declared() -> &'static Declared {
    static DECLARED: LazyLock<Declared> = LazyLock::new(|| {
        let mut declared = Declared { fields: HashMap::new(), exactly_one: Vec::new() };
        for message in methods::pool().all_messages().filter(|m| m.package_name().starts_with("yandex.cloud.")) {
            declared.fields.extend(message.fields().map(|f| (f.full_name().to_owned(), read(&f))));
            let exactly_one = extension("yandex.cloud.exactly_one");
            let needed = message.oneofs().filter(|o| o.options().get_extension(&exactly_one).as_bool() == Some(true));
            declared.exactly_one.extend(needed.map(|o| o.full_name().to_owned()));
        }
        declared
    });
    &DECLARED
}

fn read(field: &FieldDescriptor) -> Rules {
    let options = field.options();
    let flag = |name: &str| options.get_extension(&extension(name)).as_bool() == Some(true);
    let bound = |name: &str| {
        let text = options.get_extension(&extension(name));
        text.as_str().filter(|t| !t.is_empty()).map(|t| {
            Bound::parse(t).unwrap_or_else(|| panic!("{} has the rule {t}, which nobody reads", field.full_name()))
        })
    };
    Rules {
        required: flag("yandex.cloud.required"),
        unique: flag("yandex.cloud.unique"),
        length: bound("yandex.cloud.length"),
        value: bound("yandex.cloud.value"),
        size: bound("yandex.cloud.size"),
    }
}

fn check_message(message: &DynamicMessage, path: &str, wrong: &mut Vec<Violation>) {
    let descriptor = message.descriptor();
    for field in descriptor.fields() {
        check_field(message, &field, &join(path, field.name()), wrong);
    }
    for oneof in descriptor.oneofs() {
        check_oneof(message, &oneof, path, wrong);
    }
    extra_rules::check(message, path, wrong);
}

fn check_field(message: &DynamicMessage, field: &FieldDescriptor, path: &str, wrong: &mut Vec<Violation>) {
    let rules = declared().fields.get(field.full_name()).cloned().unwrap_or_default();
    let present = message.has_field(field);
    // A member of a oneof that is not chosen has no value to check.
    if !present && (field.containing_oneof().is_some() || rules.required) {
        if rules.required {
            wrong.push(Violation::new(path, "Field is required"));
        }
        return;
    }
    let value = message.get_field(field);
    let mut refuse = |text: String| wrong.push(Violation::new(path, text));
    if let (Some(bound), Some(text)) = (rules.length, value.as_str())
        && !bound.holds(i64::try_from(text.chars().count()).unwrap_or(i64::MAX))
    {
        refuse(format!("Field must have {} characters", bound.words()));
    }
    if let (Some(bound), Some(number)) = (rules.value, value.as_i64())
        && !bound.holds(number)
    {
        refuse(format!("Field must be {}", bound.words()));
    }
    if let (Some(bound), Some(items)) = (rules.size, value.as_list())
        && !bound.holds(i64::try_from(items.len()).unwrap_or(i64::MAX))
    {
        refuse(format!("Field must have {} elements", bound.words()));
    }
    if let (true, Some(items)) = (rules.unique, value.as_list())
        && has_equal(items)
    {
        refuse("Field must not have equal elements".to_owned());
    }
    match &*value {
        Value::List(items) => {
            for (i, item) in items.iter().enumerate() {
                if wrong.len() >= ENOUGH {
                    break;
                }
                check_value(item, field, &format!("{path}[{i}]"), wrong);
            }
        }
        value if present => check_value(value, field, path, wrong),
        _ => {}
    }
}

/// Whether two elements are equal; only numbers are asked so.
fn has_equal(items: &[Value]) -> bool {
    let number = |v: &Value| v.as_i64().or_else(|| v.as_enum_number().map(i64::from));
    let mut numbers: Vec<_> = items.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.windows(2).any(|pair| pair[0] == pair[1])
}

fn check_value(value: &Value, field: &FieldDescriptor, path: &str, wrong: &mut Vec<Violation>) {
    match (value, field.kind()) {
        (Value::Message(inner), _) => check_message(inner, path, wrong),
        (Value::EnumNumber(number), Kind::Enum(names)) if names.get_value(*number).is_none() => {
            wrong.push(Violation::new(path, format!("There is no value {number}")));
        }
        (Value::I64(number), _) if field.full_name() != UNBOUNDED && !(-SAFE..=SAFE).contains(number) => {
            wrong.push(Violation::new(path, format!("Field must be between -{SAFE} and {SAFE}")));
        }
        _ => {}
    }
}

fn check_oneof(message: &DynamicMessage, oneof: &OneofDescriptor, path: &str, wrong: &mut Vec<Violation>) {
    if !declared().exactly_one.iter().any(|name| name == oneof.full_name()) {
        return;
    }
    // A text that is empty counts as missing.
    let given = |f: &FieldDescriptor| message.has_field(f) && message.get_field(f).as_str() != Some("");
    if !oneof.fields().any(|f| given(&f)) {
        let members: Vec<_> = oneof.fields().map(|f| f.name().to_owned()).collect();
        wrong.push(Violation::new(
            join(path, oneof.name()),
            format!("Exactly one of {} is required", members.join(", ")),
        ));
    }
}

#[cfg(test)]
mod tests;
