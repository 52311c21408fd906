//! Which part of the rows: after a place (stable under insertion), or page number N (with exact totals).

use serde::{Deserialize, Serialize};

use super::Value;
use crate::error::{Error, Result};

/// The most rows in one answer.
pub const MAX_LIMIT: u32 = 1000;

/// A place in an order: the values of its fields, the id among them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub Vec<Option<Value>>);

/// Which part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// The rows behind a place.
    After {
        /// The place; none = from the start.
        key: Option<Key>,
        /// How many, at most [`MAX_LIMIT`].
        limit: u32,
    },
    /// The Nth run of `size` rows.
    Number {
        /// Counted from 1.
        number: u64,
        /// How many, at most [`MAX_LIMIT`].
        size: u32,
    },
}

impl Page {
    /// The first rows.
    #[must_use]
    pub fn first(limit: u32) -> Page {
        Page::After { key: None, limit }
    }

    /// A number of rows, checked.
    ///
    /// # Errors
    /// `invalid_field` when it is not from 1 to [`MAX_LIMIT`].
    pub fn check_limit(field: &str, limit: u32) -> Result<u32> {
        if (1..=MAX_LIMIT).contains(&limit) {
            return Ok(limit);
        }
        Err(Error::invalid(field, format!("'{field}' must be from 1 to {MAX_LIMIT}")))
    }

    /// How many rows are wanted.
    #[must_use]
    pub fn limit(&self) -> u32 {
        match self {
            Page::After { limit, .. } => *limit,
            Page::Number { size, .. } => *size,
        }
    }

    /// How many rows come before it, for a page by number.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match self {
            Page::After { .. } => 0,
            Page::Number { number, size } => number.saturating_sub(1).saturating_mul(u64::from(*size)),
        }
    }
}

/// Rows of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice<T> {
    /// The rows.
    pub items: Vec<T>,
    /// The place of the last row, if there are more behind it.
    pub next: Option<Key>,
    /// How many rows match in all, where it was asked for.
    pub total: Option<u64>,
}

impl<T> Slice<T> {
    /// The same answer with other rows in place of these.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Slice<U> {
        Slice { items: self.items.into_iter().map(f).collect(), next: self.next, total: self.total }
    }
}

/// How many rows have these values in the fields that were counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// One value for each field; none where it is absent.
    pub values: Vec<Option<Value>>,
    /// How many rows.
    pub count: u64,
}
