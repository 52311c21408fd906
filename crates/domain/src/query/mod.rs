//! How things are asked for: a filter, an order and a page over the fields of a row type. `Filter::matches` and
//! `Order::compare` are the meaning; every index and every SQL text is an optimisation of them and tested against them.

mod activity_field;
mod field;
mod filter;
mod order;
mod page;
mod record_field;
mod task_field;
mod value;

pub use activity_field::ActivityField;
pub use field::{Field, FieldKind};
pub use filter::{Choice, Clause, Filter, MAX_VALUES, Pattern, Test};
pub use order::{Direction, Order};
pub use page::{Group, Key, MAX_LIMIT, Page, Slice};
pub use record_field::RecordField;
pub use task_field::TaskField;
pub use value::{Cell, Read, Value, fold, nanos};

/// A question: which rows, in which order, and which of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Query<F: Field> {
    /// Which rows.
    pub filter: Filter<F>,
    /// In which order.
    pub order: Order<F>,
    /// Which part of them.
    pub page: Page,
    /// Whether the exact number of matching rows is wanted; a page by number always has it.
    pub total: bool,
}

impl<F: Field> Query<F> {
    /// The first `limit` rows that match, newest first.
    #[must_use]
    pub fn newest(filter: Filter<F>, limit: u32) -> Query<F> {
        Query { filter, order: Order::newest(), page: Page::first(limit), total: false }
    }
}
