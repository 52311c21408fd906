//! A filter finds exactly the tasks whose shown values satisfy it, and pages of a list are disjoint and complete
//! (acceptance 4).

use std::collections::BTreeSet;

use domain::{Role, Timestamp};
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::history;
use crate::world::World;

/// Fields that are compared as ids or enumerations, as text, and as times.
const WORDS: &[&str] = &["type", "category", "genre", "status", "primary_entity.type", "parent_entity.type"];
const IDS: &[&str] = &["id", "primary_entity.id", "parent_entity.id", "organizational_unit_id"];
const TEXTS: &[&str] = &["primary_entity.value", "parent_entity.value"];
const TIMES: &[&str] = &["created_timestamp", "start_timestamp", "end_timestamp"];

/// What a task shows in a field.
fn shown(task: &Value, field: &str) -> Option<String> {
    let value = match field.split_once('.') {
        Some((entity, member)) => &task[entity][if member == "type" { "type" } else { member }],
        None if field == "organizational_unit_id" => {
            let href = task["_links"]["read-organizational-unit"]["href"].as_str().expect("a link");
            return Some(href.trim_start_matches("/organizational-units/").to_owned());
        }
        None => &task[field],
    };
    value.as_str().map(str::to_owned)
}

/// Whether a shown value satisfies an operator, in plain words of the contract.
fn satisfies(field: &str, shown: Option<&str>, op: &str, value: &Value) -> bool {
    let values: Vec<&str> = match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        single => single.as_str().into_iter().collect(),
    };
    if TIMES.contains(&field) {
        let Some(shown) = shown else { return false };
        let (shown, bound): (Timestamp, Timestamp) =
            (shown.parse().expect("a time"), values[0].parse().expect("a time"));
        return match op {
            "$gte" => shown >= bound,
            "$gt" => shown > bound,
            "$lte" => shown <= bound,
            _ => shown < bound,
        };
    }
    let exact = TEXTS.contains(&field);
    let equal = |a: &str, b: &str| if exact { a == b } else { a.to_lowercase() == b.to_lowercase() };
    let any = shown.is_some_and(|s| values.iter().any(|v| equal(s, v)));
    let has = |f: fn(&str, &str) -> bool| shown.is_some_and(|s| f(&s.to_lowercase(), &values[0].to_lowercase()));
    match op {
        "$eq" | "$in" => any,
        "$neq" | "$not_in" => !any,
        "$contains" => has(|s, v| s.contains(v)),
        "$not_contains" => !has(|s, v| s.contains(v)),
        _ => has(|s, v| s.starts_with(v)),
    }
}

fn condition(dice: &mut Dice, tasks: &[Value]) -> (&'static str, &'static str, Value) {
    let (fields, ops): (&[&str], &[&str]) = match dice.roll(5) {
        0 | 1 => (WORDS, &["$eq", "$in", "$neq", "$not_in"]),
        2 => (IDS, &["$eq", "$in", "$neq", "$not_in", "$contains", "$not_contains", "$begins_with"]),
        3 => (TEXTS, &["$eq", "$in", "$neq", "$not_in", "$contains", "$not_contains", "$begins_with"]),
        _ => (TIMES, &["$gte", "$gt", "$lte", "$lt"]),
    };
    let (field, op) = (dice.pick(fields), dice.pick(ops));
    let mut value = || {
        let some = shown(&tasks[dice.roll(tasks.len())], field).unwrap_or_else(|| "2026-01-31T08:00:00Z".to_owned());
        if TIMES.contains(&field) {
            return some;
        }
        let chars: Vec<char> = some.chars().collect();
        match op {
            "$contains" | "$not_contains" => chars[dice.roll(chars.len().max(1))..].iter().take(3).collect(),
            "$begins_with" => chars.iter().take(dice.roll(4)).collect(),
            _ if dice.roll(4) == 0 => some.to_uppercase(),
            _ if dice.roll(8) == 0 => format!("{some}x"),
            _ => some,
        }
    };
    let value = match op {
        "$in" | "$not_in" => json!([value(), value()]),
        _ => json!(value()),
    };
    (field, op, value)
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

fn ids(tasks: &[Value]) -> Vec<String> {
    tasks.iter().map(|t| t["id"].as_str().expect("an id").to_owned()).collect()
}

fn items(body: &Value) -> Vec<Value> {
    body["_embedded"]["items"].as_array().expect("items").clone()
}

/// Everything that is listed without a filter beside this.
const ALL: &str = r#"{"created_timestamp":{"$gte":"2000-01-01"}}"#;

#[tokio::test]
async fn a_filter_finds_exactly_what_satisfies_it() {
    let begin = history::begin();
    let (world, below) = World::since(begin).await;
    history::fill(&world, begin, &[world.acme, below, world.globex], 240, 1).await;
    let token = world.token(world.acme, Role::Viewer).await;
    let all = items(&world.get(&format!("/tasks?limit=1000&filter={}", encoded(ALL)), &token).await.ok());
    assert!(all.len() > 120 && all.len() < 220, "{}", all.len());
    let mut dice = Dice::new(7);
    let mut found_some = 0;
    for _ in 0..400 {
        let mut filter = json!({"created_timestamp": {"$gte": "2000-01-01T00:00:00Z"}});
        let mut conditions = Vec::new();
        for _ in 0..1 + dice.roll(3) {
            let (field, op, value) = condition(&mut dice, &all);
            if filter[field][op].is_null() {
                filter[field][op] = value.clone();
                conditions.push((field, op, value));
            }
        }
        let passes = |task: &&Value| {
            conditions.iter().all(|(field, op, value)| satisfies(field, shown(task, field).as_deref(), op, value))
        };
        let expected = ids(&all.iter().filter(passes).cloned().collect::<Vec<_>>());
        let body = world.get(&format!("/tasks?limit=1000&filter={}", encoded(&filter.to_string())), &token).await.ok();
        assert_eq!(ids(&items(&body)), expected, "{filter}");
        assert_eq!(body["total_count"], expected.len());
        found_some += usize::from(!expected.is_empty());
        let applied: Value = serde_json::from_str(body["filter_applied"].as_str().expect("text")).expect("JSON");
        assert_eq!(applied, filter);
    }
    assert!(found_some > 100, "most filters find nothing: {found_some}");
}

#[tokio::test]
async fn pages_are_disjoint_and_complete_and_links_lead_through_them() {
    let begin = history::begin();
    let (world, _) = World::since(begin).await;
    history::fill(&world, begin, &[world.acme], 53, 2).await;
    let token = world.token(world.acme, Role::Viewer).await;
    let filter =
        encoded(r#"{"genre":{"$in":["operational","administrative"]},"created_timestamp":{"$gte":"2000-01-01"}}"#);
    let mut next = Some(format!("/tasks?filter={filter}&limit=10"));
    let (mut seen, mut page) = (Vec::new(), 0);
    while let Some(href) = next {
        page += 1;
        let body = world.get(&href, &token).await.ok();
        let (items, links) = (items(&body), &body["_links"]);
        assert_eq!((&body["total_count"], &body["total_pages_count"]), (&json!(53), &json!(6)));
        assert_eq!((&body["start"], &body["limit"]), (&json!(page.to_string()), &json!(10)));
        assert_eq!(body["current_count"], items.len());
        let link = |page: u64| json!({"href": format!("/tasks?start={page}&filter={filter}&limit=10"), "templated": false, "type": "get"});
        assert_eq!((&links["_self"], &links["_first"], &links["_last"]), (&link(page), &link(1), &link(6)));
        assert_eq!(links["_prev"].is_object(), page > 1);
        next = links["_next"]["href"].as_str().map(str::to_owned);
        assert_eq!(links.get("_next").is_some(), page < 6, "R5: no null");
        seen.extend(ids(&items));
    }
    let numbers: Vec<i64> = seen.iter().map(|id| id.parse().expect("a number")).collect();
    assert!(numbers.is_sorted_by(|a, b| a > b), "newest first");
    assert_eq!((seen.iter().collect::<BTreeSet<_>>().len(), page), (53, 6));
    let beyond = world.get(&format!("/tasks?start=99&limit=10&filter={filter}"), &token).await.ok();
    assert_eq!((items(&beyond).len(), &beyond["total_count"]), (0, &json!(53)));
    assert_eq!(beyond["_links"]["_prev"], beyond["_links"]["_last"]);
}
