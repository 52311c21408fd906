//! The order that a request asks for (contract, section 5).

use domain::query::{Direction, Order};

use super::super::error::Failure;
use super::super::params::{self, Params, not_among};
use super::Listed;

/// The most terms of an order, the id that is added not counted (D27).
const MAX_TERMS: usize = 4;

/// The terms of an order: repeated parameters and comma lists, each a place in [`Listed::ORDERS`] and a direction (D27).
///
/// # Errors
/// `invalid_field` about `order`: a function or field that is not known, one that is not ordered by, too many, or one
/// that is named twice.
pub(super) fn parse<F: Listed>(params: &Params) -> Result<Vec<(u8, Direction)>, Failure> {
    let mut terms: Vec<(u8, Direction)> = Vec::new();
    for text in params.iter().filter(|(name, _)| name == "order").flat_map(|(_, value)| value.split(',')) {
        let (place, direction) = term::<F>(text)?;
        if terms.iter().any(|(p, _)| *p == place) {
            return Err(params::wrong("order", text, "names a field for the second time", "each field once"));
        }
        if terms.len() == MAX_TERMS {
            return Err(params::refused("order", "there are more than four terms", "at most four, the id is added"));
        }
        terms.push((place, direction));
    }
    Ok(terms)
}

/// `asc(field)`, `desc(field)`, or the bare field, which is `asc` (D27).
fn term<F: Listed>(text: &str) -> Result<(u8, Direction), Failure> {
    let call = text.strip_suffix(')').and_then(|t| t.split_once('('));
    let (direction, field) = match call {
        None => (Direction::Asc, text),
        Some((function, field)) => match Direction::parse(function) {
            Some(direction) => (direction, field),
            None => return Err(not_among("order", text, "is neither asc(..) nor desc(..)", Direction::NAMES)),
        },
    };
    if let Some(place) = (0..).zip(F::ORDERS).find_map(|(i, (name, _))| (*name == field).then_some(i)) {
        return Ok((place, direction));
    }
    let names: Vec<&str> = F::ORDERS.iter().map(|(name, _)| *name).collect();
    let known = F::FILTERS.iter().any(|f| f.name == field) || field == "tenant";
    let why = if known { "is no field to order by" } else { "names no field" };
    let failure = not_among("order", text, why, &names);
    // The field of the filter `startedBy` has a longer name here; a name that is not known may have been misspelt.
    let meant = if known { names.iter().copied().find(|n| n.starts_with(field)) } else { params::near(field, &names) };
    Err(match meant {
        Some(meant) => failure.with("suggestion", meant),
        None => failure,
    })
}

/// The order of these terms; none if they are none of this list's.
pub(super) fn build<F: Listed>(terms: &[(u8, Direction)]) -> Option<Order<F>> {
    let field = |place: u8| F::ORDERS.get(usize::from(place)).map(|(_, field)| *field);
    let terms = terms.iter().map(|(place, direction)| Some((field(*place)?, *direction)));
    Order::by(terms.collect::<Option<_>>()?).ok()
}
