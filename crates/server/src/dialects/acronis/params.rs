//! The query string: from its text to names and values, and the refusals that name them (contract, sections 1 and 4.1).

use std::borrow::Cow;

use domain::activity::{ActivityId, ActivityRef};
use domain::task::{TaskId, TaskRef};
use domain::tenant::TenantRef;
use domain::{Code, Error, Uuid};
use serde_json::Value;

use super::error::Failure;
pub(super) use crate::dialects::percent::form as unescaped;
use crate::dialects::suggest;

/// The longest query that is read, decoded and without its cursor, in bytes (D2).
pub(super) const MAX_QUERY: usize = 8 * 1024;

/// The parameter that holds the cursor.
pub(super) const AFTER: &str = "after";

/// How much of a stranger's text is repeated to him, in characters: a message is at most 500 of them (D51).
const SHOWN: usize = 100;

/// Fields that have another name on the other list (8.3): the name in plain letters, and what stands in its place.
const TWINS: [(&str, &str); 2] = [("createdat", "enqueuedAt"), ("enqueuedat", "createdAt")];

/// Names that are no longer than this are near to everything, so they are offered only if they begin alike.
const SHORT: usize = 4;

/// The parameters of a query, decoded, in their order.
pub(super) type Params = Vec<(String, String)>;

/// Decodes a query string, the way forms are encoded: `%XX`, and `+` for a space; brackets and whatever else may stand as
/// it is. Parameters whose names begin with `_` are left out (D16).
///
/// # Errors
/// `invalid_field` about a parameter that is wrongly encoded or no UTF-8; a query that is too long (D2).
pub(super) fn decode(raw: &str) -> Result<Params, Failure> {
    let mut params = Params::new();
    let mut length = 0;
    for part in raw.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let unreadable = |name: &str| {
            let hint = "percent-encode it as UTF-8, like resourceName=caf%C3%A9; a percent sign itself is %25";
            refused(&shown(name), "this is not readable", hint)
        };
        let ignored = name.starts_with('_');
        let name = unescaped(name).or(ignored.then(|| name.to_owned())).ok_or_else(|| unreadable(name))?;
        let value = unescaped(value).ok_or_else(|| unreadable(&name));
        if name != AFTER {
            // The signs that stand before it, and between it and its value, count too.
            let value = value.as_ref().map_or(part.len(), String::len) + usize::from(part.contains('='));
            length += 1 + name.len() + value;
        }
        if !name.starts_with('_') {
            params.push((name, value?));
        }
    }
    // No sign stands before the first name.
    if length > MAX_QUERY + 1 {
        return Err(Failure::query_too_long(MAX_QUERY));
    }
    Ok(params)
}

/// What somebody sent, cut to a length that fits into an answer.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}\u{2026}", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The refusal of a value: `why` says what is wrong with it, `hint` what would be right.
pub(super) fn wrong(parameter: &str, value: &str, why: &str, hint: impl Into<String>) -> Failure {
    let error = Error::invalid(parameter, format!("{parameter}: '{}' {why}", shown(value))).hint(hint);
    Failure::from(error).with("parameter", parameter).with("value", shown(value))
}

/// The refusal of a value where only some words are right.
pub(super) fn not_among(parameter: &str, value: &str, why: &str, allowed: &[&str]) -> Failure {
    wrong(parameter, value, why, format!("one of: {}", allowed.join(", "))).with("allowed", list(allowed))
}

/// The refusal of a parameter as it stands, whatever its value is.
pub(super) fn refused(parameter: &str, why: &str, hint: impl Into<String>) -> Failure {
    Failure::from(Error::invalid(parameter, format!("{parameter}: {why}")).hint(hint)).with("parameter", parameter)
}

/// The refusal of a parameter that is not known here, with the one that was meant, if one is near (D16).
pub(super) fn unknown(name: &str, known: &[&str]) -> Failure {
    let error =
        Error::new(Code::UnknownField, format!("there is no parameter '{}' here", shown(name))).field(shown(name));
    let failure = |error: Error| Failure::from(error).with("parameter", shown(name));
    match near(name, known) {
        Some(meant) => failure(error.hint(format!("did you mean '{meant}'?"))).with("suggestion", meant),
        None if known.is_empty() => failure(error.hint("leave it out; there are no parameters here")),
        None => failure(error.hint(format!("one of: {}", known.join(", ")))).with("allowed", list(known)),
    }
}

/// The known name that is near to this one, however its words are put together.
pub(super) fn near<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let wanted = plain(name);
    if let Some((_, twin)) = TWINS.iter().find(|(other, _)| *other == wanted) {
        return known.iter().find(|k| *k == twin).copied();
    }
    let candidates: Vec<(String, &str)> = known
        .iter()
        .map(|k| (plain(k), *k))
        .filter(|(k, _)| k.len() > SHORT || k.chars().next() == wanted.chars().next())
        .collect();
    let nearest = suggest::nearest(&wanted, candidates.iter().map(|(k, _)| k.as_str()))?;
    candidates.iter().find(|(k, _)| k == nearest).map(|(_, k)| *k)
}

/// A name without capitals and without what stands between its words.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Names as a member of an error's context.
pub(super) fn list(names: &[&str]) -> Value {
    names.iter().copied().collect()
}

/// A yes or no: `true false 1 0` in any case, since Python sends `True` (D17).
pub(super) fn boolean(parameter: &str, text: &str) -> Result<bool, Failure> {
    match text {
        "1" => Ok(true),
        "0" => Ok(false),
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(not_among(parameter, text, "is neither yes nor no", &["true", "false", "1", "0"])),
    }
}

/// The uuid of a text in its usual form with hyphens, in any letter case.
pub(super) fn guid(text: &str) -> Option<Uuid> {
    (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::parse_str(text).ok()).flatten()
}

/// A decimal number without a sign; one beyond 64 bits is the largest there is, which names nothing.
pub(super) fn decimal(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(i64::MAX))
}

/// The tenant that is meant: its uuid or its number (4.2).
pub(super) fn tenant(text: &str) -> Option<TenantRef> {
    decimal(text).map(TenantRef::Number).or_else(|| guid(text).map(TenantRef::Id))
}

/// The task in a path (D14).
///
/// # Errors
/// `invalid_field` for what is neither a decimal id nor a uuid.
pub(super) fn task(id: &str) -> Result<TaskRef, Failure> {
    let number = decimal(id).map(|n| TaskRef::Id(TaskId(n)));
    number.or_else(|| guid(id).map(TaskRef::Uuid)).ok_or_else(|| no_id(id))
}

/// The activity in a path (D14).
///
/// # Errors
/// `invalid_field` for what is neither a decimal id nor a uuid.
pub(super) fn activity(id: &str) -> Result<ActivityRef, Failure> {
    let number = decimal(id).map(|n| ActivityRef::Id(ActivityId(n)));
    number.or_else(|| guid(id).map(ActivityRef::Uuid)).ok_or_else(|| no_id(id))
}

fn no_id(text: &str) -> Failure {
    wrong("id", text, "is no id", "a number, like 48214, or a uuid, like 019a1c5e-7d0a-7c3e-9b1f-5a2f6c1d8e90")
}

/// The only value of a parameter that may be given once.
///
/// # Errors
/// `invalid_field` when it is given twice (D17).
pub(super) fn once<'a>(params: &'a Params, name: &str) -> Result<Option<&'a str>, Failure> {
    let mut values = params.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let first = values.next();
    match values.next() {
        Some(_) => Err(refused(name, "this is given twice", "give it once")),
        None => Ok(first),
    }
}

/// Refuses parameters that are not known, and those without a value (D16, D17).
///
/// # Errors
/// `unknown_field`, `invalid_field`.
pub(super) fn check(params: &Params, known: &[&str]) -> Result<(), Failure> {
    for (name, value) in params {
        if !known.contains(&name.as_str()) {
            return Err(unknown(name, known));
        }
        if value.is_empty() {
            return Err(refused(name, "the value is empty", "leave the parameter out to ask for everything"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(raw: &str) -> Option<Vec<(String, String)>> {
        decode(raw).ok()
    }

    fn one(name: &str, value: &str) -> Option<Vec<(String, String)>> {
        Some(vec![(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn encoded_and_raw_brackets_are_the_same() {
        // Section 1: official Python and bash.
        let time = "gt(2026-11-14T00:00:00Z)";
        assert_eq!(pairs("completedAt=gt%282026-11-14T00%3A00%3A00Z%29"), one("completedAt", time));
        assert_eq!(pairs("completedAt=gt(2026-11-14T00:00:00Z)"), one("completedAt", time));
        assert_eq!(pairs("resourceName=caf%C3%A9+1%2B1%3d2%26"), one("resourceName", "caf\u{e9} 1+1=2&"));
        assert_eq!(pairs("allow%5fdeleted=1"), one("allow_deleted", "1"));
        assert_eq!(pairs("a=b=c"), one("a", "b=c"));
        assert_eq!(pairs("a"), one("a", ""));
        assert_eq!(pairs("&&a=1&&"), one("a", "1"));
        assert_eq!((pairs(""), pairs("&")), (Some(Vec::new()), Some(Vec::new())));
        let repeated = pairs("state=started&id=1&state=paused").unwrap_or_default();
        assert_eq!(
            repeated.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>(),
            ["started", "1", "paused"],
            "in order"
        );
    }

    #[test]
    fn what_is_not_readable_is_refused_by_name() {
        for value in ["%", "%e", "%zz", "%E9", "%FF", "a%C3", "%+1", "%\u{e9}1", "100%"] {
            let body = decode(&format!("id=1&resourceName={value}")).expect_err(value).body();
            assert_eq!(
                (&body["code"], &body["context"]["parameter"]),
                (&"invalidParameter".into(), &"resourceName".into())
            );
        }
        assert_eq!(decode("%zz=1").expect_err("a name").body()["context"]["parameter"], "%zz");
    }

    #[test]
    fn names_with_an_underscore_before_them_are_ignored() {
        // D16
        assert_eq!(pairs("_=1&_x=%zz&%5fy=2&_%zz&a=1"), one("a", "1"));
    }

    #[test]
    fn a_query_has_at_most_8_kib_beside_its_cursor() {
        // D2: decoded, and without `after`.
        let value = |n: usize| format!("tag={}", "a".repeat(n - 4));
        let too_long = |raw: &str| decode(raw).err().map(|f| f.body()["code"].clone()) == Some("uriTooLong".into());
        assert!(!too_long(&value(MAX_QUERY)));
        assert!(too_long(&value(MAX_QUERY + 1)));
        assert!(!too_long(&format!("{}&after={}", value(MAX_QUERY), "A".repeat(20_000))));
        assert!(!too_long(&format!("after={}&{}", "A".repeat(20_000), value(MAX_QUERY))));
        assert!(too_long(&format!("{}&id=1", value(MAX_QUERY - 4))));
        assert!(!too_long(&format!("{}&id=1", value(MAX_QUERY - 5))));
        assert!(!too_long(&format!("tag={}", "%41".repeat(MAX_QUERY - 4))), "24 KiB as they are sent");
        assert!(too_long(&format!("tag={}", "%41".repeat(MAX_QUERY - 3))));
        assert!(too_long(&format!("_={}", "a".repeat(MAX_QUERY))), "what is ignored was sent, too");
    }

    #[test]
    fn an_id_is_a_number_or_a_uuid() {
        // D14
        assert_eq!(task("48214").ok(), Some(TaskRef::Id(TaskId(48214))));
        assert_eq!(activity("7").ok(), Some(ActivityRef::Id(ActivityId(7))));
        let uuid = Uuid::parse_str("019a1c5e-7d0a-7c3e-9b1f-5a2f6c1d8e90").expect("a uuid");
        for text in ["019a1c5e-7d0a-7c3e-9b1f-5a2f6c1d8e90", "019A1C5E-7D0A-7C3E-9B1F-5A2F6C1D8E90"] {
            assert_eq!(task(text).ok(), Some(TaskRef::Uuid(uuid)));
            assert_eq!(activity(text).ok(), Some(ActivityRef::Uuid(uuid)));
        }
        assert_eq!(
            task("99999999999999999999").ok(),
            Some(TaskRef::Id(TaskId(i64::MAX))),
            "a number that none has: 404"
        );
        for text in [
            "",
            "x",
            "-1",
            "+1",
            "1.0",
            "0x1",
            " 1",
            "{019a1c5e-7d0a-7c3e-9b1f-5a2f6c1d8e90}",
            "019a1c5e7d0a7c3e9b1f5a2f6c1d8e90",
            "\u{662}",
        ] {
            let body = task(text).expect_err(text).body();
            assert_eq!((&body["code"], &body["context"]["parameter"]), (&"invalidParameter".into(), &"id".into()));
            assert!(activity(text).is_err());
        }
    }

    #[test]
    fn a_strangers_text_is_repeated_only_in_part() {
        // D51: a message has at most 500 characters.
        let long = "\u{e9}".repeat(4000);
        assert_eq!(shown(&long).chars().count(), SHOWN + 1);
        for failure in [wrong("p", &long, "is wrong", ""), unknown(&long, &["state"]), task(&long).expect_err("no id")]
        {
            let body = failure.body();
            assert!(body["message"].as_str().is_some_and(|m| m.chars().count() <= 500));
            assert!(body.to_string().len() < 2000, "{body}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_reads_as_it_was(pairs in prop::collection::vec(("[a-z]\\PC{0,8}", "\\PC{0,20}"), 0..6)) {
            let hex = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
            let raw: Vec<_> = pairs.iter().map(|(name, value)| format!("{}={}", hex(name), hex(value))).collect();
            prop_assert_eq!(decode(&raw.join("&")).ok(), Some(pairs));
        }

        #[test]
        fn no_text_makes_it_panic(raw in "[a-z%&=+_A-F0-9\\PC]{0,60}") {
            drop(decode(&raw));
        }
    }
}
