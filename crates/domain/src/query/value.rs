//! Values of fields: owned ones in questions, borrowed ones read from rows.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::{Text, Timestamp, Uuid};

/// A value in a question or in a paging key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Value {
    /// A whole number.
    #[serde(rename = "i")]
    Int(i64),
    /// Text.
    #[serde(rename = "s")]
    Text(String),
    /// A uuid.
    #[serde(rename = "u")]
    Uuid(Uuid),
    /// A time, UTC.
    #[serde(rename = "t")]
    Time(Timestamp),
    /// Yes or no.
    #[serde(rename = "b")]
    Bool(bool),
    /// A name out of a fixed list, by its place in it.
    #[serde(rename = "e")]
    Enum(i64),
}

/// A value read from a row. Values of one field are always of one variant, so the order between variants never matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell<'a> {
    /// A whole number.
    Int(i64),
    /// Text, compared by bytes.
    Text(&'a str),
    /// A uuid, compared by bytes.
    Uuid(Uuid),
    /// A time, compared to the nanosecond.
    Time(Timestamp),
    /// Yes or no; no comes first.
    Bool(bool),
    /// A name out of a fixed list, compared by its place in it.
    Enum(i64),
}

/// What a row has in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read<'a> {
    /// Nothing.
    Absent,
    /// One value.
    One(Cell<'a>),
    /// Several texts, such as tags; never empty.
    Many(&'a [Text]),
}

impl Value {
    /// The value, borrowed.
    #[must_use]
    pub fn cell(&self) -> Cell<'_> {
        match self {
            Value::Int(n) => Cell::Int(*n),
            Value::Text(s) => Cell::Text(s),
            Value::Uuid(u) => Cell::Uuid(*u),
            Value::Time(t) => Cell::Time(*t),
            Value::Bool(b) => Cell::Bool(*b),
            Value::Enum(n) => Cell::Enum(*n),
        }
    }
}

impl Cell<'_> {
    /// The value, owned.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Cell::Int(n) => Value::Int(n),
            Cell::Text(s) => Value::Text(s.to_owned()),
            Cell::Uuid(u) => Value::Uuid(u),
            Cell::Time(t) => Value::Time(t),
            Cell::Bool(b) => Value::Bool(b),
            Cell::Enum(n) => Value::Enum(n),
        }
    }
}

impl<'a> Read<'a> {
    /// An optional value.
    #[must_use]
    pub fn opt(cell: Option<Cell<'a>>) -> Read<'a> {
        cell.map_or(Read::Absent, Read::One)
    }

    /// Optional text; empty text counts as absent.
    #[must_use]
    pub fn text(text: &'a str) -> Read<'a> {
        if text.is_empty() { Read::Absent } else { Read::One(Cell::Text(text)) }
    }

    /// An optional time.
    #[must_use]
    pub fn time(time: Option<Timestamp>) -> Read<'a> {
        Read::opt(time.map(Cell::Time))
    }

    /// The single value, if there is exactly one; fields with several are never sorted by.
    #[must_use]
    pub fn single(self) -> Option<Cell<'a>> {
        match self {
            Read::One(cell) => Some(cell),
            Read::Absent | Read::Many(_) => None,
        }
    }
}

/// Compares two optional values in a direction; an absent one comes last in both.
pub(super) fn compare(a: Option<Cell<'_>>, b: Option<Cell<'_>>, descending: bool) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) if descending => b.cmp(&a),
        (Some(a), Some(b)) => a.cmp(&b),
    }
}

/// Text without regard to case, as "contains", "starts with" and "ends with" compare it (Unicode lower-casing).
#[must_use]
pub fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// A time as nanoseconds since 1970, clamped to what 64 bits hold (the years 1677 to 2262).
#[must_use]
pub fn nanos(time: Timestamp) -> i64 {
    let n = time.as_nanosecond();
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}
