//! What of a filter the ledger can answer: conditions on what is stored become its question, and only the others are
//! compared with what is shown.

use domain::query::{self, RecordField};

use super::filter::{self, Filter, Kind, Shown, Test};

/// A condition of a list that knows its fields by their names.
pub(super) type Condition = filter::Condition<&'static str>;

/// Parts a filter in what the ledger is asked and what is left; `column` says where a field is stored as it is shown.
///
/// # Errors
/// Those of the domain for a question that makes no sense.
pub(super) fn split(
    filter: &Filter<&'static str>,
    column: impl Fn(&str) -> Option<RecordField>,
) -> domain::Result<(query::Filter<RecordField>, Vec<Condition>)> {
    let mut stored = query::Filter::all();
    let mut left = Vec::new();
    for condition in filter.conditions() {
        // Parts of ids are no question to the ledger.
        let whole = condition.kind != Kind::Id || matches!(condition.test, Test::AnyOf(_));
        match column(condition.field) {
            Some(field) if whole => stored = condition.narrow(stored, field)?,
            _ => left.push(condition.clone()),
        }
    }
    Ok((stored, left))
}

/// Whether something passes all conditions, by what it shows.
pub(super) fn passes<'a>(conditions: &[Condition], show: impl Fn(&str) -> Shown<'a>) -> bool {
    conditions.iter().all(|condition| condition.admits(&show(condition.field)))
}

/// Text that was made for this, or null.
pub(super) fn maybe<'a>(text: Option<impl ToString>) -> Shown<'a> {
    text.map_or(Shown::Nothing, |text| Shown::owned(text.to_string()))
}
