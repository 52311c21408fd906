//! What must be true of any text that a stranger sends as a query, as functions of bytes: for the targets in `fuzz/`, and
//! for the tests below, which put the same corpus and thousands of variations of it to them. Not built otherwise.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::hmac;
use domain::activity::{Activity, ActivityId, ActivityView};
use domain::query::{ActivityField, FieldKind, Key, Page, Query, TaskField, Value};
use domain::task::{Task, TaskId, TaskSpec};
use domain::{Timestamp, Uuid};

use super::error::Failure;
use super::filter::{Asked, Asker, Listed, Single, Want};
use super::{cursor, duration, params, time};

/// Puts a query to a list or to one object. The first byte says to which: `a` = activities, `s` = one object, any other =
/// tasks; the rest is the query string.
///
/// # Panics
/// When the query breaks a promise.
pub fn query(data: &[u8]) {
    let Some((kind, raw)) = data.split_first() else { return };
    let raw = String::from_utf8_lossy(raw);
    let task = task();
    match kind {
        b's' => single(&raw),
        b'a' => {
            let activity = Activity::root(ActivityId(8), &task, Timestamp::UNIX_EPOCH);
            list::<ActivityField>(&raw, &ActivityView { activity, task });
        }
        _ => list::<TaskField>(&raw, &task),
    }
}

/// Reads a text as a time and as a duration.
///
/// # Panics
/// When what is printed does not read as it was.
pub fn time(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(at) = time::parse(&text) {
        assert_eq!(time::parse(&time::print(at)), Some(at), "{text}");
    }
    if let Ok(long) = duration::parse("text", &text) {
        assert_eq!(duration::parse("text", &duration::print(long)), Ok(long), "{text}");
    }
}

fn single(raw: &str) {
    match params::decode(raw).and_then(|params| Single::parse(&params)) {
        Ok(_) => {}
        Err(failure) => check_refusal(&failure),
    }
}

/// A question that is understood is put without an error, and its cursor asks the same, alone or beside what it repeats.
fn list<F: Listed>(raw: &str, row: &F::Row) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"fuzz");
    let asker = Asker { tenant: Uuid::from_u128(66), key: &key, horizon: Timestamp::UNIX_EPOCH };
    let ask = |raw: &str| params::decode(raw).and_then(|params| Asked::<F>::parse(&params, &asker));
    let asked = match ask(raw) {
        Ok(asked) => asked,
        Err(failure) => return check_refusal(&failure),
    };
    let query = put(&asked);
    let place = place(&query, raw.as_bytes());
    let text = asked.cursor(place.clone(), &asker);
    assert!(text.len() <= cursor::MAX, "a cursor of {} characters", text.len());
    let repeated = format!("{raw}&after={text}");
    let alone = format!("after={text}");
    let given =
        raw.split('&').any(|part| params::decode(part).is_ok_and(|p| p.iter().any(|(n, _)| n == params::AFTER)));
    for raw in [&alone, &repeated].into_iter().take(if given { 1 } else { 2 }) {
        let again = ask(raw).unwrap_or_else(|f| panic!("a cursor is refused: {f:?}"));
        assert_eq!((again.deleted, again.subtree), (asked.deleted, asked.subtree));
        assert_eq!(again.cursor(place.clone(), &asker), text);
        let Query { filter, order, page, .. } = put(&again);
        assert_eq!(order, query.order);
        assert_eq!(page.limit(), query.page.limit());
        if let (Want::Rows(_), Want::Rows(_)) = (&again.want, &asked.want) {
            assert_eq!((again.want, &filter), (asked.want.clone(), &query.filter));
            assert_eq!(filter.matches(row), query.filter.matches(row));
            assert_eq!(page, Page::After { key: Some(place.clone()), limit: page.limit() });
        }
    }
}

fn put<F: Listed>(asked: &Asked<F>) -> Query<F> {
    let tenants: HashMap<i64, Uuid> = asked.numbers().map(|n| (n, Uuid::from_u128(n.unsigned_abs().into()))).collect();
    let found = asked.query(&tenants).and_then(|_| asked.query(&HashMap::new()).and(asked.query(&tenants)));
    found.unwrap_or_else(|e| panic!("a question that was understood is refused: {e:?}"))
}

/// A refusal says what is wrong in one sentence, and with what (D51, D56).
fn check_refusal(failure: &Failure) {
    let body = failure.body();
    let message = body["message"].as_str().unwrap_or_default();
    assert!((2..=500).contains(&message.chars().count()), "{body}");
    assert!(body["context"]["parameter"].is_string() || body["code"] == "uriTooLong", "{body}");
}

/// A place in the order of a question, made of some bytes.
fn place<F: Listed>(query: &Query<F>, bytes: &[u8]) -> Key {
    let byte = |i: usize| bytes.get(i % bytes.len().max(1)).copied().unwrap_or_default();
    let number = |i: usize| i64::from_be_bytes(std::array::from_fn(|n| byte(i + n)));
    let value = |(i, (field, _)): (usize, &(F, _))| {
        if *field != F::ID && byte(i).is_multiple_of(3) {
            return None;
        }
        Some(match field.kind() {
            FieldKind::Int => Value::Int(number(i)),
            FieldKind::Text | FieldKind::Texts => {
                let text = String::from_utf8_lossy(bytes);
                Value::Text(text.chars().chain("\u{1f600}\u{10ffff}".chars()).rev().take(64).collect())
            }
            FieldKind::Uuid => Value::Uuid(Uuid::from_u64_pair(number(i).unsigned_abs(), 7)),
            FieldKind::Time => {
                Value::Time(Timestamp::from_nanosecond(number(i).into()).unwrap_or(Timestamp::UNIX_EPOCH))
            }
            FieldKind::Bool => Value::Bool(byte(i) > 9),
            FieldKind::Enum(names) => Value::Enum(i64::from(byte(i)) % names.len() as i64),
        })
    };
    Key(query.order.terms().iter().enumerate().map(value).collect())
}

fn task() -> Task {
    let spec = TaskSpec::new(Uuid::from_u128(7), "backup", "agents", Uuid::from_u128(66));
    Task::create(TaskId(7), Arc::new(spec), Timestamp::UNIX_EPOCH).expect("a plain task is allowed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(folder).expect("the corpus is committed");
        let texts: Vec<_> = files.map(|f| std::fs::read(f.expect("listed").path()).expect("readable")).collect();
        assert!(texts.len() >= 10);
        texts
    }

    /// Bytes like those of the corpus: pieces of it put together, with some changed.
    fn variations(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
        let seeds = corpus(target);
        let piece = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
        let change = (any::<prop::sample::Index>(), any::<u8>(), 0..3u8);
        (prop::collection::vec(piece, 1..4), prop::collection::vec(change, 0..6)).prop_map(move |(pieces, changes)| {
            let mut bytes = Vec::new();
            for (seed, from, to) in pieces {
                let seed = seed.get(&seeds);
                let (from, to) = (from.index(seed.len() + 1), to.index(seed.len() + 1));
                bytes.extend(&seed[if bytes.is_empty() { 0 } else { from.min(to) }..from.max(to)]);
            }
            for (at, byte, how) in changes {
                let at = at.index(bytes.len() + 1);
                match how {
                    0 => bytes.insert(at, byte),
                    _ if at == bytes.len() => {}
                    1 => bytes[at] = byte,
                    _ => drop(bytes.remove(at)),
                }
            }
            bytes
        })
    }

    #[test]
    fn the_corpus_keeps_every_promise() {
        for (target, promise) in [("acronis_query", query as fn(&[u8])), ("acronis_time", time)] {
            for text in corpus(target) {
                // Shown by the test's runner if this one breaks a promise.
                println!("{target}: {}", String::from_utf8_lossy(&text));
                promise(&text);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn whatever_is_like_a_query_keeps_every_promise(data in variations("acronis_query")) {
            query(&data);
        }

        #[test]
        fn whatever_is_like_a_time_keeps_every_promise(data in variations("acronis_time")) {
            time(&data);
        }
    }
}
