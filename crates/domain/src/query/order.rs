//! In which order: a sequence of fields with directions that always ends with the id, so every order is total.

use std::cmp::Ordering;

use super::value::compare;
use super::{Field, Key};
use crate::error::{Error, Result};
use crate::named_enum;

named_enum! {
    /// Which way.
    Direction {
        /// Smallest first.
        Asc = "asc",
        /// Largest first.
        Desc = "desc",
    }
}

/// A total order of rows. Absent values come last in both directions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Order<F> {
    terms: Vec<(F, Direction)>,
}

/// The most fields that can be named in an order, the id not counted.
pub(super) const MAX_TERMS: usize = 4;

impl<F: Field> Order<F> {
    /// By these fields; unless the id is among them it is added in the direction of the last.
    ///
    /// # Errors
    /// `invalid_field` for more than four fields, a field named twice, or one that has several values in a row.
    pub fn by(mut terms: Vec<(F, Direction)>) -> Result<Order<F>> {
        if terms.len() > MAX_TERMS {
            return Err(Error::invalid("order", format!("at most {MAX_TERMS} fields to order by")));
        }
        for (i, (field, _)) in terms.iter().enumerate() {
            let name = field.name();
            if !field.sortable() {
                return Err(Error::invalid(
                    "order",
                    format!("'{name}' has several values; rows cannot be ordered by it"),
                ));
            }
            if terms[..i].iter().any(|(f, _)| f == field) {
                return Err(Error::invalid("order", format!("'{name}' is named twice")));
            }
        }
        if terms.iter().all(|(f, _)| *f != F::ID) {
            let direction = terms.last().map_or(Direction::Desc, |(_, d)| *d);
            terms.push((F::ID, direction));
        }
        Ok(Order { terms })
    }

    /// Newest first, by id.
    #[must_use]
    pub fn newest() -> Order<F> {
        Order { terms: vec![(F::ID, Direction::Desc)] }
    }

    /// Oldest first, by id.
    #[must_use]
    pub fn oldest() -> Order<F> {
        Order { terms: vec![(F::ID, Direction::Asc)] }
    }

    /// The fields, the id among them.
    #[must_use]
    pub fn terms(&self) -> &[(F, Direction)] {
        &self.terms
    }

    /// Which of two rows comes first.
    #[must_use]
    pub fn compare(&self, a: &F::Row, b: &F::Row) -> Ordering {
        self.compare_by(|f| f.read(a).single(), |f| f.read(b).single())
    }

    /// The row's place in this order.
    #[must_use]
    pub fn key(&self, row: &F::Row) -> Key {
        Key(self.terms.iter().map(|(f, _)| f.read(row).single().map(|c| c.to_value())).collect())
    }

    /// Where the row stands relative to a place. A place of another order is before every row.
    #[must_use]
    pub fn compare_to_key(&self, row: &F::Row, key: &Key) -> Ordering {
        if key.0.len() != self.terms.len() {
            return Ordering::Greater;
        }
        let place = |field: F| {
            let i = self.terms.iter().position(|(f, _)| *f == field)?;
            key.0[i].as_ref().map(super::Value::cell)
        };
        self.compare_by(|f| f.read(row).single(), place)
    }

    /// Whether the place belongs to an order like this one.
    #[must_use]
    pub fn admits(&self, key: &Key) -> bool {
        key.0.len() == self.terms.len()
            && self.terms.iter().zip(&key.0).all(|((f, _), v)| v.as_ref().is_none_or(|v| f.kind().admits(v)))
            && key.0.iter().zip(&self.terms).all(|(v, (f, _))| *f != F::ID || v.is_some())
    }

    fn compare_by<'a>(
        &self,
        a: impl Fn(F) -> Option<super::Cell<'a>>,
        b: impl Fn(F) -> Option<super::Cell<'a>>,
    ) -> Ordering {
        self.terms
            .iter()
            .map(|(f, d)| compare(a(*f), b(*f), *d == Direction::Desc))
            .find(|o| *o != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    }
}
