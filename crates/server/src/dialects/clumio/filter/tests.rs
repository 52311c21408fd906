//! What filters are read as, refused for, and let through.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Key {
    Id,
    Name,
    Status,
    Tags,
    At,
    Size,
    Gone,
}

const FIELDS: &Fields<Key> = &[
    ("id", Kind::Id, Key::Id),
    ("entity.name", Kind::Text, Key::Name),
    ("status", Kind::Enumeration, Key::Status),
    ("tags.id", Kind::List, Key::Tags),
    ("at", Kind::Time, Key::At),
    ("size", Kind::Number, Key::Size),
    ("is_deleted", Kind::Bool, Key::Gone),
];

fn read(text: &str) -> Filter<Key> {
    Filter::read(Some(text), FIELDS).unwrap_or_else(|e| panic!("{text}: {e:?}"))
}

/// One thing: `AB-1`, `Straße 100%`, queued, tags x and y, at 08:00:00.7, 5 large, not gone.
fn show(key: Key) -> Shown<'static> {
    match key {
        Key::Id => Shown::text(Some("AB-1")),
        Key::Name => Shown::text(Some("Straße 100%_")),
        Key::Status => Shown::owned("queued"),
        Key::Tags => Shown::List(vec!["x".into(), "y".into()]),
        Key::At => Shown::time("2026-01-31T08:00:00.7Z".parse().ok()),
        Key::Size => Shown::Number(5),
        Key::Gone => Shown::Bool(false),
    }
}

#[test]
fn what_says_nothing_lets_everything_through() {
    for text in [None, Some(""), Some(" "), Some("null"), Some("{}"), Some(r#"{"id": null}"#), Some(r#"{"id": {}}"#)] {
        let filter = Filter::read(text, FIELDS).expect("it is a filter");
        assert!(filter.conditions().is_empty() && filter.applied() == "{}", "{text:?}");
    }
}

#[test]
fn conditions_hold_by_what_is_shown() {
    let cases = [
        (r#"{"id": "ab-1"}"#, true),
        (r#"{"id": ["x", "ab-1"]}"#, true),
        (r#"{"id": {"eq": "ab"}}"#, false),
        (r#"{"id": {"$contains": "b-"}}"#, true),
        (r#"{"id": {"$in": []}}"#, false),
        (r#"{"id": {"$not_in": []}}"#, true),
        (r#"{"id": {"$in": "ab-1"}}"#, true),
        (r#"{"id": {"$neq": "ab-1"}}"#, false),
        (r#"{"id": {"not_eq": "x"}}"#, true),
        (r#"{"entity.name": {"$eq": "straße 100%_"}}"#, false),
        (r#"{"entity.name": "Straße 100%_"}"#, true),
        (r#"{"entity": {"name": {"$co": "STRASSE"}}}"#, false),
        (r#"{"entity": {"name": {"$co": "STRAßE"}}}"#, true),
        (r#"{"entity.name": {"$contains": "100%_"}}"#, true),
        (r#"{"entity.name": {"$contains": "1%0"}}"#, false),
        (r#"{"entity.name": {"$begins_with": "str", "$not_contains": "x"}}"#, true),
        (r#"{"status": "QUEUED", "size": "5"}"#, true),
        (r#"{"status": {"$in": ["never heard of"]}}"#, false),
        (r#"{"tags.id": {"$all": ["X", "y"]}}"#, true),
        (r#"{"tags.id": {"$all": "x"}}"#, true),
        (r#"{"tags.id": {"$all": ["x", "z"]}}"#, false),
        (r#"{"tags.id": {"$contains": "y"}}"#, true),
        (r#"{"tags.id": {"$not_contains": "y"}}"#, false),
        (r#"{"at": {"$eq": "2026-01-31T08:00:00Z"}}"#, true),
        (r#"{"at": {"$gte": "2026-01-31T08:00:00Z", "$lte": "2026-01-31T08:00:00Z"}}"#, true),
        (r#"{"at": {"$gte": "2026-01-31T08:00:00.5Z"}}"#, false),
        (r#"{"at": {"$gt": "2026-01-31T08:00:00Z"}}"#, false),
        (r#"{"at": {"$gt": "2026-01-31T07:59:59.9Z"}}"#, true),
        (r#"{"at": {"$lt": "2026-01-31T08:00:00Z"}}"#, false),
        (r#"{"at": {"$lt": "2026-01-31T08:00:00.1Z"}}"#, true),
        (r#"{"at": {"$lt": "2026-02-01"}}"#, true),
        (r#"{"size": {"$gte": 5, "$lt": 6}}"#, true),
        (r#"{"size": {"$gt": 5}}"#, false),
        (r#"{"is_deleted": "False"}"#, true),
        (r#"{"is_deleted": {"$in": ["true"]}}"#, false),
    ];
    for (text, passes) in cases {
        assert_eq!(read(text).matches(show), passes, "{text}");
    }
}

#[test]
fn nothing_is_equal_to_nothing() {
    for (text, passes) in [
        (r#"{"id": {"$neq": "x"}}"#, true),
        (r#"{"id": {"$not_in": ["x"]}}"#, true),
        (r#"{"id": {"$not_contains": "x"}}"#, true),
        (r#"{"id": {"$eq": ""}}"#, false),
        (r#"{"id": {"$contains": ""}}"#, false),
        (r#"{"at": {"$lte": "2099-01-01"}}"#, false),
    ] {
        assert_eq!(read(text).matches(|_| Shown::Nothing), passes, "{text}");
    }
}

#[test]
fn what_was_applied_is_told_with_whole_names() {
    let filter =
        read(r#"{"entity": {"name": {"co": "x"}}, "status": ["queued"], "id": 7, "at": {"gte": "2026-01-31"}}"#);
    let applied: Value = serde_json::from_str(&filter.applied()).expect("JSON");
    let expected = json!({
        "entity.name": {"$contains": "x"}, "status": {"$in": ["queued"]}, "id": {"$eq": 7}, "at": {"$gte": "2026-01-31"},
    });
    assert_eq!(applied, expected);
    let mut filter = read("{}");
    filter.add_since(Key::At, "at", "2026-01-31T00:00:00Z".parse().expect("a time"));
    assert_eq!(filter.applied(), r#"{"at":{"$gte":"2026-01-31T00:00:00Z"}}"#);
    assert!(filter.matches(show));
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    let many = format!("{{\"id\": {{\"$in\": [{}]}}}}", vec!["1"; 1001].join(","));
    let long = format!("{{\"id\": \"{}\"}}", "x".repeat(17 * 1024));
    let cases = [
        (r#"{"id": "a"b"}"#, "line 1 column 11"),
        ("[]", "no JSON object"),
        ("7", "no JSON object"),
        (r#"{"nothing": 1}"#, "there is no field 'nothing'"),
        (r#"{"entity": 1}"#, "no field by itself"),
        (r#"{"entity": {"age": 1}}"#, "there is no field 'entity.age'"),
        (r#"{"id": {"$like": 1}}"#, "id: the operator '$like'"),
        (r#"{"status": {"$contains": "q"}}"#, "status: the operator '$contains'"),
        (r#"{"id": {"$gt": 1}}"#, "id: the operator '$gt'"),
        (r#"{"at": {"$gte": 7}}"#, "at: 7 is no time"),
        (r#"{"at": {"$gte": "soon"}}"#, "is no time"),
        (r#"{"size": "much"}"#, "size: "),
        (r#"{"size": 1.5}"#, "size: "),
        (r#"{"is_deleted": "maybe"}"#, "is_deleted: "),
        (r#"{"id": {"$eq": ["a"]}}"#, "takes one value"),
        (r#"{"id": {"$eq": null}}"#, "id: null"),
        (&many, "more than 1000 values"),
        (&long, "longer than 16 KiB"),
    ];
    for (text, part) in cases {
        let failure = Filter::read(Some(text), FIELDS).expect_err(text);
        assert_eq!(failure.cause(), Cause::Filter);
        assert!(format!("{failure:?}").contains(part), "{text}: {failure:?}");
    }
}
