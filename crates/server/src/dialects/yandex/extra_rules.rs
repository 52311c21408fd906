//! Rules beyond those that the descriptors declare (Y7): what each message must keep by itself. What depends on the state
//! of things, such as whether an id is known, is not decided here.

use std::borrow::Cow;

use domain::policy::retention::MOST_RULES;
use domain::policy::sets::MOST_SETS;
use domain::policy::settings::MAX_COMMANDS;
use domain::policy::timetable::MOST_ENTRIES;
use prost_reflect::{DynamicMessage, ReflectMessage, Value};

use super::failure::Violation;
use super::transcode::join;
use super::{file_id, listing};

/// The longest interval, in days.
const MAX_DAYS: i128 = 9999;
/// The most masks of a policy, including and excluding together.
const MAX_MASKS: usize = 1000;
/// The longest mask, in characters.
const MAX_MASK: usize = 4096;
/// The longest name of an archive, in characters.
const MAX_ARCHIVE_NAME: usize = 255;
/// What the name of a new directory may not hold (Y66).
const NOT_IN_NAMES: &[char] = &['\\', '/', ':', '*', '?', '"', '\'', '<', '>', '|'];
/// The longest name of a provider, in characters.
const MAX_PROVIDER: usize = 50;

/// Adds what is wrong with this message by itself, at `path`.
pub(super) fn check(message: &DynamicMessage, path: &str, wrong: &mut Vec<Violation>) {
    let descriptor = message.descriptor();
    let Some(name) = descriptor.full_name().strip_prefix("yandex.cloud.backup.v1.") else { return };
    let mut fields = Fields { message, path, wrong };
    if fields.has("page_size") && fields.number("page_size") < 0 {
        fields.refuse("page_size", "Field must not be negative");
    }
    match name {
        "ListPoliciesRequest" => list_policies(&mut fields),
        "ListBackupsRequest" => list_backups(&mut fields),
        "ListBackupsRequest.InstancePolicy" => fields.need(&["compute_instance_id", "policy_id"]),
        "DeleteArchiveRequest" => delete_archive(&mut fields),
        "CreatePolicyRequest" => policy_name(&mut fields),
        "PolicySettings" => fields.at_most("pre_post_commands", MAX_COMMANDS),
        "PolicySettings.Retention" => fields.at_most("rules", MOST_RULES),
        "PolicySettings.TimeOfDay" => {
            fields.within("hour", 0, 23);
            fields.within("minute", 0, 59);
        }
        "PolicySettings.Scheduling.BackupSet.Time" => {
            fields.each_within("monthdays", 1, 31);
            fields.each_within("months", 1, 12);
            fields.each_specified("weekdays");
            for list in ["weekdays", "repeat_at", "monthdays", "months"] {
                fields.at_most(list, MOST_ENTRIES);
            }
        }
        "PolicySettings.Retention.RetentionRule" => {
            fields.each_specified("backup_set");
            if fields.has("max_count") && fields.number("max_count") < 1 {
                fields.refuse("max_count", "Field must be at least 1");
            }
        }
        "PolicySettings.Interval" => interval(&mut fields),
        "PolicySettings.Scheduling" => scheduling(&mut fields),
        "PolicySettings.ArchiveProperties" => archive_name(&mut fields),
        "PolicySettings.FileFilters" => masks(&mut fields),
        "PolicySettings.PrePostCommand" => command(&mut fields),
        "ActivateProviderRequest" => provider(&mut fields),
        "TargetPathCustom" | "CreateDirectoryRequest" => path_of(&mut fields, false),
        "ListDirectoryRequest" => path_of(&mut fields, true),
        "ListFilesRequest" => {
            let source = fields.text("source_id").into_owned();
            if !source.is_empty() && file_id::decode(&source).is_none() {
                fields.refuse("source_id", NOT_A_FILE);
            }
        }
        "StartFilesRecoveryRequest" => {
            fields.each("source_ids", |v| v.as_str().and_then(file_id::decode).is_none().then(|| NOT_A_FILE.to_owned()))
        }
        _ => {}
    }
}

const NOT_A_FILE: &str = "Field is not the id of a file, as ListFiles gives them";

/// A message whose fields are looked at by their names.
struct Fields<'a> {
    message: &'a DynamicMessage,
    path: &'a str,
    wrong: &'a mut Vec<Violation>,
}

impl Fields<'_> {
    fn refuse(&mut self, field: &str, text: impl Into<String>) {
        self.wrong.push(Violation::new(join(self.path, field), text));
    }

    fn value(&self, field: &str) -> Option<Cow<'_, Value>> {
        self.message.get_field_by_name(field)
    }

    /// Whether it is given; for fields without presence, whether it is not the default.
    fn has(&self, field: &str) -> bool {
        self.message.has_field_by_name(field)
    }

    fn text(&self, field: &str) -> Cow<'_, str> {
        match self.value(field) {
            Some(Cow::Borrowed(Value::String(text))) => Cow::Borrowed(text),
            Some(Cow::Owned(Value::String(text))) => Cow::Owned(text),
            _ => Cow::Borrowed(""),
        }
    }

    fn number(&self, field: &str) -> i64 {
        self.value(field).and_then(|v| number(&v)).unwrap_or_default()
    }

    fn need(&mut self, names: &[&str]) {
        for name in names {
            if self.text(name).is_empty() {
                self.refuse(name, "Field is required");
            }
        }
    }

    fn within(&mut self, field: &str, least: i64, most: i64) {
        if !(least..=most).contains(&self.number(field)) {
            self.refuse(field, format!("Field must be between {least} and {most}"));
        }
    }

    /// Refuses elements of a list for which there is something to say.
    fn each(&mut self, field: &str, say: impl Fn(&Value) -> Option<String>) {
        let items = match self.value(field).map(Cow::into_owned) {
            Some(Value::List(items)) => items,
            _ => return,
        };
        for (i, item) in items.iter().enumerate() {
            if let Some(text) = say(item) {
                self.refuse(&format!("{field}[{i}]"), text);
                if self.wrong.len() >= super::rules::ENOUGH {
                    return;
                }
            }
        }
    }

    /// Refuses a list with more elements than a policy can have here.
    fn at_most(&mut self, field: &str, most: usize) {
        if self.value(field).is_some_and(|v| v.as_list().is_some_and(|items| items.len() > most)) {
            self.refuse(field, format!("Field must have at most {most} elements"));
        }
    }

    fn each_within(&mut self, field: &str, least: i64, most: i64) {
        self.each(field, |v| {
            let right = number(v).is_some_and(|n| (least..=most).contains(&n));
            (!right).then(|| format!("Field must be between {least} and {most}"))
        });
    }

    fn each_specified(&mut self, field: &str) {
        self.each(field, |v| (number(v) == Some(0)).then(|| "Field must be specified".to_owned()));
    }
}

fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_enum_number().map(i64::from))
}

fn list_policies(fields: &mut Fields<'_>) {
    if !fields.has("folder_id") && !fields.has("compute_instance_id") {
        fields.refuse("folder_id", "One of folder_id, compute_instance_id is required");
    }
}

fn list_backups(fields: &mut Fields<'_>) {
    if fields.has("policy_id") && fields.has("page_token") {
        fields.refuse("page_token", "Field must be empty in a list by policy_id, which is one page");
    }
    if let Err(text) = listing::order_by(&fields.text("order_by")) {
        fields.refuse("order_by", text);
    }
    if let Err(text) = listing::filter(&fields.text("filter")) {
        fields.refuse("filter", text);
    }
}

/// The sets of arguments that name one archive (Y76).
fn delete_archive(fields: &mut Fields<'_>) {
    let given = ["archive_id", "folder_id", "instance_id", "policy_id"].map(|f| fields.has(f));
    if !matches!(given, [true, _, _, false] | [false, false, true, true]) {
        fields.refuse(
            "archive_id",
            "Either archive_id, with folder_id and instance_id or without, or policy_id and instance_id are required",
        );
    }
}

fn policy_name(fields: &mut Fields<'_>) {
    let name = fields.text("name").into_owned();
    if !name.is_empty() && (name.trim().is_empty() || name.contains(char::is_control)) {
        fields.refuse("name", "Field must not be blank, and have no control characters");
    }
}

/// At most 9999 days, months counted as 30.
fn interval(fields: &mut Fields<'_>) {
    const DAY: i128 = 86_400;
    let unit = match fields.number("type") {
        1 => 1,
        2 => 60,
        3 => 3600,
        4 => DAY,
        5 => 7 * DAY,
        6 => 30 * DAY,
        // Refused by the declared rules.
        _ => return,
    };
    if i128::from(fields.number("count")) * unit > MAX_DAYS * DAY {
        fields.refuse("count", format!("Interval must be at most {MAX_DAYS} days"));
    }
}

fn scheduling(fields: &mut Fields<'_>) {
    fields.at_most("backup_sets", MOST_SETS);
    const CUSTOM: i64 = 6;
    const CDP: i64 = 7;
    match fields.number("scheme") {
        CDP => fields.refuse("scheme", "Continuous protection is not supported here; choose another scheme"),
        CUSTOM => fields.each("backup_sets", |set| {
            let kind = set.as_message().and_then(|m| m.get_field_by_name("type").and_then(|v| number(&v)));
            (kind == Some(0)).then(|| "type is required with the scheme CUSTOM".to_owned())
        }),
        _ => {}
    }
}

fn archive_name(fields: &mut Fields<'_>) {
    let name = fields.text("name").into_owned();
    if name.chars().count() > MAX_ARCHIVE_NAME || name.contains(char::is_control) {
        fields.refuse(
            "name",
            format!("Field must have at most {MAX_ARCHIVE_NAME} characters, and no control characters"),
        );
    }
}

fn masks(fields: &mut Fields<'_>) {
    let mut total = 0;
    for list in ["exclusion_masks", "inclusion_masks"] {
        total += fields.value(list).and_then(|v| v.as_list().map(<[Value]>::len)).unwrap_or_default();
        fields.each(list, |v| {
            let length = v.as_str().map_or(0, |text| text.chars().count());
            (!(1..=MAX_MASK).contains(&length)).then(|| format!("Field must have 1 to {MAX_MASK} characters"))
        });
    }
    if total > MAX_MASKS {
        fields.refuse("exclusion_masks", format!("There may be at most {MAX_MASKS} masks in total"));
    }
}

fn command(fields: &mut Fields<'_>) {
    if !fields.has("enabled") {
        return;
    }
    if !fields.has("type") {
        fields.refuse("type", "Field is required in a command that is enabled");
    }
    if fields.text("cmd").trim().is_empty() {
        fields.refuse("cmd", "Field is required in a command that is enabled");
    }
}

/// Any name is accepted (Y84); an empty one is refused by the declared rules.
fn provider(fields: &mut Fields<'_>) {
    let name = fields.text("name").into_owned();
    let right = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.is_empty() && (name.chars().count() > MAX_PROVIDER || !name.chars().all(right)) {
        fields
            .refuse("name", format!("Field must have 1 to {MAX_PROVIDER} characters of A-Z, a-z, 0-9, '.', '_', '-'"));
    }
}

/// An absolute path without `..`, in the form of either family of systems; whether it is the target's is seen later.
fn path_of(fields: &mut Fields<'_>, may_be_empty: bool) {
    let path = fields.text("path").into_owned();
    if path.is_empty() {
        // CreateDirectory declares that it is required.
        if !may_be_empty && fields.message.descriptor().name() == "TargetPathCustom" {
            fields.refuse("path", "Field is required");
        }
        return;
    }
    let windows = is_windows(&path);
    if !windows && !path.starts_with('/') {
        fields.refuse("path", "Field must be an absolute path");
    }
    let separators: &[char] = if windows { &['/', '\\'] } else { &['/'] };
    if path.split(separators).any(|element| element == "..") {
        fields.refuse("path", "Field must not have an element '..'");
    }
    if fields.message.descriptor().name() == "CreateDirectoryRequest" {
        let new = path.trim_end_matches(separators).rsplit(separators).next().unwrap_or_default();
        if new.contains(NOT_IN_NAMES) {
            fields.refuse("path", "The name of a new directory must not have any of \\ / : * ? \" ' < > |");
        }
    }
    if path.contains('\0') {
        fields.refuse("path", "Field must not have a zero character");
    }
}

/// Whether an absolute path is one of Windows: `C:\` or `\\server`.
fn is_windows(path: &str) -> bool {
    let bytes = path.as_bytes();
    let drive = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.get(1) == Some(&b':')
        && matches!(bytes.get(2), None | Some(b'\\' | b'/'));
    drive || path.starts_with("\\\\")
}
