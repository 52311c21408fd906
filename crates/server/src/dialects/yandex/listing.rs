//! The two little languages of lists of backups: `order_by` (Y46) and `filter` (Y47).

use domain::Timestamp;
use domain::query::Direction;

/// The longest filter that is read, in characters.
const MAX_FILTER: usize = 1000;

/// The direction of an `order_by`; backups are ordered by their creation only.
///
/// # Errors
/// What would be right.
pub(super) fn order_by(text: &str) -> Result<Direction, &'static str> {
    const RIGHT: &str = "Field is created_at or createdAt, with asc or desc behind it or nothing";
    let mut words = text.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Ok(Direction::Desc),
        (Some("createdAt" | "created_at"), None, _) => Ok(Direction::Asc),
        (Some("createdAt" | "created_at"), Some(word), None) if word.eq_ignore_ascii_case("asc") => Ok(Direction::Asc),
        (Some("createdAt" | "created_at"), Some(word), None) if word.eq_ignore_ascii_case("desc") => {
            Ok(Direction::Desc)
        }
        _ => Err(RIGHT),
    }
}

/// How a filter compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// One comparison of the time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Term {
    /// How it compares.
    pub(super) comparison: Comparison,
    /// What it compares with.
    pub(super) time: Timestamp,
}

/// The comparisons of a filter, all of which must hold.
///
/// # Errors
/// What would be right.
pub(super) fn filter(text: &str) -> Result<Vec<Term>, &'static str> {
    if text.chars().count() > MAX_FILTER {
        return Err("Field must have at most 1000 characters");
    }
    let mut terms = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (term, after) = term(rest)?;
        terms.push(term);
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
        // After a quoted value the word may follow at once.
        let (word, after) = split_at_byte(rest, 3).ok_or(JOINED)?;
        if !word.eq_ignore_ascii_case("and") || !after.starts_with(char::is_whitespace) {
            return Err(JOINED);
        }
        rest = after.trim_start();
        if rest.is_empty() {
            return Err(TERM);
        }
    }
    Ok(terms)
}

const TERM: &str = "Field is a comparison like created_at >= 2026-09-01T00:00:00Z, with one of = != < <= > >=, or several with AND between";
const JOINED: &str = "Comparisons are joined with AND only";
const TIME: &str = "created_at is compared with a time of RFC 3339 or a date";

/// Longer operators first: `<=` begins as `<` does.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

fn term(text: &str) -> Result<(Term, &str), &'static str> {
    let rest = text.strip_prefix("created_at").or_else(|| text.strip_prefix("createdAt")).ok_or(TERM)?.trim_start();
    let operator = COMPARISONS.iter().find_map(|(sign, c)| Some((*c, rest.strip_prefix(sign)?)));
    let (comparison, rest) = operator.ok_or(TERM)?;
    let rest = rest.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
    let (value, after) = match quote {
        Some(quote) => rest[1..].split_once(quote).ok_or("A quote is not closed")?,
        None => {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            rest.split_at(end)
        }
    };
    let time = time(value.trim()).ok_or(TIME)?;
    Ok((Term { comparison, time }, after))
}

/// A time with an offset, or a date, which begins at midnight UTC.
fn time(text: &str) -> Option<Timestamp> {
    if text.len() == 10 {
        return format!("{text}T00:00:00Z").parse().ok();
    }
    // jiff reads more than RFC 3339, such as a zone in brackets, no `T`, no separators or no seconds.
    let digits_for = |shape: &str, text: &[u8]| {
        shape.len() == text.len()
            && shape
                .bytes()
                .zip(text)
                .all(|(s, b)| if s == b'0' { b.is_ascii_digit() } else { s == b.to_ascii_uppercase() })
    };
    let (time, rest) = text.as_bytes().split_at_checked(19)?;
    let fraction = rest.strip_prefix(b".").map(|rest| rest.iter().take_while(|b| b.is_ascii_digit()).count());
    let zone = match fraction {
        Some(0) => return None,
        Some(digits) => &rest[1 + digits..],
        None => rest,
    };
    let offset = match zone {
        [b'+' | b'-', offset @ ..] => digits_for("00:00", offset),
        zone => digits_for("Z", zone),
    };
    (digits_for("0000-00-00T00:00:00", time) && offset).then(|| text.parse().ok()).flatten()
}

fn split_at_byte(text: &str, at: usize) -> Option<(&str, &str)> {
    text.is_char_boundary(at).then(|| text.split_at(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        for (text, wanted) in [
            ("", Direction::Desc),
            ("  ", Direction::Desc),
            ("createdAt", Direction::Asc),
            ("created_at", Direction::Asc),
            ("created_at  ASC", Direction::Asc),
            ("createdAt Desc", Direction::Desc),
            (" createdAt desc ", Direction::Desc),
        ] {
            assert_eq!(order_by(text), Ok(wanted), "{text:?}");
        }
        for text in
            ["name", "created_at,id", "created_at up", "created_at desc id", "desc", "CREATED_AT", "createdAtdesc"]
        {
            assert!(order_by(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn filters() {
        let at = |comparison, time: &str| Term { comparison, time: time.parse().expect("a time") };
        let day = "2026-09-01T00:00:00Z";
        assert_eq!(filter(""), Ok(vec![]));
        assert_eq!(filter("   "), Ok(vec![]));
        for text in
            ["created_at>=2026-09-01", "createdAt >= \"2026-09-01\"", " created_at  >='2026-09-01T03:00:00+03:00' "]
        {
            assert_eq!(filter(text), Ok(vec![at(Comparison::AtLeast, day)]), "{text}");
        }
        for (sign, comparison) in COMPARISONS {
            assert_eq!(filter(&format!("created_at{sign}{day}")), Ok(vec![at(comparison, day)]));
        }
        assert_eq!(
            filter(
                "created_at > 2026-09-01 and createdAt<\"2026-09-02T00:00:00.5Z\"AND created_at!=2026-09-01T12:00:00Z"
            ),
            Ok(vec![
                at(Comparison::Greater, day),
                at(Comparison::Less, "2026-09-02T00:00:00.5Z"),
                at(Comparison::NotEqual, "2026-09-01T12:00:00Z"),
            ])
        );
    }

    #[test]
    fn what_is_no_filter() {
        for text in [
            "name = x",
            "created_at",
            "created_at >",
            "created_at ~ 2026-09-01",
            "created_at > 2026-09-31",
            "created_at > yesterday",
            "created_at > 2026-09-01T00:00:00",
            "created_at > 20260901T000000Z",
            "created_at > 2026-09-01T00:00Z",
            "created_at > 2026-09-01T00:00:00.Z",
            "created_at > 2026-09-01T00:00:00+0300",
            "created_at > 2026-9-01T00:00:00Z00",
            "created_at > 2026-09-01 OR created_at < 2026-09-02",
            "created_at > 2026-09-01 AND",
            "created_at > 2026-09-01 created_at < 2026-09-02",
            "created_at > \"2026-09-01",
            "AND created_at > 2026-09-01",
            "created_at > 2026-09-01T00:00:00+03:00[Europe/Moscow]",
            "created_at > 2026-09-01 ANDcreated_at < 2026-09-02",
            "created_at > 2026-09-01 é",
        ] {
            assert!(filter(text).is_err(), "{text:?}");
        }
        let long = format!("created_at > {}2026-09-01", " ".repeat(1000));
        assert!(filter(&long).is_err());
    }
}
