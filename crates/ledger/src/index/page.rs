//! Which rows come at a place of an order. Nothing is sorted that is not shown: an order over few values goes value by
//! value, one over times walks along what each block has sorted already.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use domain::query::{Direction, Field, Value};

use super::dictionary::{self, Numbers};
use super::numbers::{self, Ranges};
use super::question::{Sieve, number};
use super::rows::{Rows, id};
use super::walk::Walk;
use super::{Index, Place};

/// Up to so many values are gone through one by one without counting which of them occur.
const FEW_VALUES: u32 = 64;
/// Up to so many rows are simply sorted.
const FEW_ROWS: u64 = if cfg!(all(test, debug_assertions)) { 10 } else { 32_768 };
/// A place in an order: a part of a [`domain::query::Key`].
type Key<'k> = Option<&'k [Option<Value>]>;

/// Fields to order by, as the index knows them.
pub(super) struct Terms {
    terms: Vec<Term>,
}

/// One of them.
pub(super) struct Term {
    place: Place,
    pub(super) descending: bool,
    /// The places of the values in their order.
    values: Option<Arc<[u32]>>,
}

impl<F: Field> Index<F> {
    /// The terms of an order; none if only the record knows it.
    pub(super) fn terms(&self, terms: &[(F, Direction)]) -> Option<Terms> {
        let until_id = terms.iter().position(|(f, _)| *f == F::ID).map_or(terms.len(), |i| i + 1);
        let term = |(field, direction): &(F, Direction)| {
            let place = self.place(*field);
            let values = match place {
                Place::Code(column) => Some(self.dictionaries[column].places()),
                Place::Elsewhere => return None,
                Place::Id | Place::Number(_) => None,
            };
            Some(Term { place, descending: *direction == Direction::Desc, values })
        };
        Some(Terms { terms: terms[..until_id].iter().map(term).collect::<Option<_>>()? })
    }
}

/// The rows at a place: behind a key, or behind so many others.
pub(super) fn page<F: Field>(rows: &Rows<'_, F>, terms: &Terms, key: Key<'_>, skip: u64, limit: usize) -> Vec<i64> {
    let mut page = Vec::with_capacity(limit.min(1 << 12));
    select(rows, &terms.terms, key, skip, limit, &mut page);
    page
}

fn select<F: Field>(rows: &Rows<'_, F>, terms: &[Term], key: Key<'_>, skip: u64, limit: usize, page: &mut Vec<i64>) {
    match terms.first() {
        // Every order ends with the id.
        None => {}
        Some(Term { place: Place::Code(column), .. }) => by_code(rows, *column, terms, key, skip, limit, page),
        Some(Term { place: Place::Number(column), .. }) => by_number(rows, *column, terms, key, skip, limit, page),
        Some(term) => by_id(rows, term.descending, key, skip, limit, page),
    }
}

fn by_id<F: Field>(rows: &Rows<'_, F>, down: bool, key: Key<'_>, mut skip: u64, limit: usize, page: &mut Vec<i64>) {
    let after = key.and_then(|k| k[0].as_ref()).map(number);
    let mut shown = Vec::new();
    for step in 0..rows.blocks() {
        if page.len() == limit {
            return;
        }
        let block = if down { rows.blocks() - 1 - step } else { step };
        let (first, end) = (id(block, 0), id(block + 1, 0));
        let found = match after {
            Some(after) if (down && after <= first) || (!down && after >= end - 1) => continue,
            Some(after) if (first..end).contains(&after) => {
                rows.set(block).map(|set| Cow::Owned(set.beside((after - first) as usize, down)))
            }
            _ => {
                if skip > 0 {
                    let count = rows.count(block);
                    if skip >= count {
                        skip -= count;
                        continue;
                    }
                }
                rows.set(block).map(Cow::Borrowed)
            }
        };
        let Some(found) = found else { continue };
        shown.clear();
        found.page(down, skip as usize, limit - page.len(), &mut shown);
        skip = 0;
        page.extend(shown.iter().map(|row| id(block, *row)));
    }
}

fn by_code<F: Field>(
    rows: &Rows<'_, F>,
    column: usize,
    terms: &[Term],
    key: Key<'_>,
    mut skip: u64,
    limit: usize,
    page: &mut Vec<i64>,
) {
    let term = &terms[0];
    let dictionary = &rows.index.dictionaries[column];
    let counts = (skip > 0 || dictionary.last() > FEW_VALUES).then(|| rows.index.count_codes(rows, column));
    let mut values: Vec<u32> = match &counts {
        Some(counts) => (0..).zip(counts).filter(|(_, count)| **count > 0).map(|(number, _)| number).collect(),
        None => (0..=dictionary.last()).collect(),
    };
    let place = |number: &u32| term.value_place(*number);
    values.sort_unstable_by_key(place);
    if let Some(at) = key {
        let compared = |n: u32| dictionary.with(n, |read| compare(read.single(), at[0].as_ref(), term.descending));
        values.retain(|n| compared(*n) != Ordering::Less);
        if let Some(first) = values.first().copied().filter(|n| compared(*n) == Ordering::Equal) {
            let own = rows.also(Sieve::Codes(column, Numbers::only(first)));
            select(&own, &terms[1..], Some(&at[1..]), 0, limit, page);
            values.remove(0);
        }
    }
    // Values of few rows are taken together: sorting their rows costs less than asking for each value.
    let (mut some, mut rows_of_some) = (Vec::new(), 0);
    for number in values {
        if page.len() + rows_of_some >= limit.saturating_add(skip as usize) {
            break;
        }
        let count = counts.as_ref().map(|c| c[number as usize]);
        if let Some(count) = count.filter(|c| *c <= FEW_ROWS) {
            if some.is_empty() && skip >= count {
                skip -= count;
            } else {
                some.push(number);
                rows_of_some += count as usize;
            }
            continue;
        }
        sort_some(rows, column, terms, std::mem::take(&mut some), &mut skip, limit, page);
        rows_of_some = 0;
        let own = rows.also(Sieve::Codes(column, Numbers::only(number)));
        if skip > 0 {
            let count = count.unwrap_or_else(|| own.total());
            if skip >= count {
                skip -= count;
                continue;
            }
        }
        select(&own, &terms[1..], None, std::mem::take(&mut skip), limit, page);
    }
    sort_some(rows, column, terms, some, &mut skip, limit, page);
}

/// Adds the rows with some values of a column, sorted.
fn sort_some<F: Field>(
    rows: &Rows<'_, F>,
    column: usize,
    terms: &[Term],
    values: Vec<u32>,
    skip: &mut u64,
    limit: usize,
    page: &mut Vec<i64>,
) {
    if values.is_empty() || page.len() >= limit {
        return;
    }
    let own = rows.also(Sieve::Codes(column, Numbers::of(values)));
    let mut found = Vec::new();
    own.each(|block, _, row| found.push(id(block, row)));
    found.sort_unstable_by(|a, b| compare_rows(rows.index, terms, *a, *b));
    let rest = limit - page.len();
    page.extend(found.iter().skip(*skip as usize).take(rest));
    *skip = skip.saturating_sub(found.len() as u64);
}

fn by_number<F: Field>(
    rows: &Rows<'_, F>,
    column: usize,
    terms: &[Term],
    key: Key<'_>,
    mut skip: u64,
    limit: usize,
    page: &mut Vec<i64>,
) {
    // Behind a row without a value there are only others without.
    if key.is_none_or(|k| k[0].is_some()) {
        let few = rows.total() <= FEW_ROWS;
        skip = if few {
            few_by_number(rows, column, terms, key, skip, limit, page)
        } else {
            Walk::new(rows, column, terms).page(key, skip, limit, page)
        };
        if page.len() >= limit {
            return;
        }
    }
    let without = rows.also(Sieve::Numbers(column, Ranges { ranges: Vec::new(), absent: true }));
    let key = key.filter(|k| k[0].is_none()).map(|k| &k[1..]);
    select(&without, &terms[1..], key, skip, limit, page);
}

/// The rows with a value, where there are few: gives back how many are still to be skipped.
fn few_by_number<F: Field>(
    rows: &Rows<'_, F>,
    column: usize,
    terms: &[Term],
    key: Key<'_>,
    skip: u64,
    limit: usize,
    page: &mut Vec<i64>,
) -> u64 {
    let index = rows.index;
    let mut found = Vec::new();
    rows.each(|block, columns, row| {
        let value = columns.number(column, row);
        if value != numbers::ABSENT {
            found.push((along(value, terms[0].descending), id(block, row)));
        }
    });
    if let Some(key) = key {
        let at = key[0].as_ref().map_or(i64::MAX, |v| along(number(v), terms[0].descending));
        found.retain(|(value, row)| {
            *value > at || (*value == at && compare_to_key(index, &terms[1..], *row, &key[1..]) == Ordering::Greater)
        });
    }
    let skipped = usize::try_from(skip).unwrap_or(usize::MAX);
    if skipped >= found.len() {
        return skip - found.len() as u64;
    }
    let compare =
        |a: &(i64, i64), b: &(i64, i64)| a.0.cmp(&b.0).then_with(|| compare_rows(index, &terms[1..], a.1, b.1));
    if skipped > 0 {
        found.select_nth_unstable_by(skipped, compare);
    }
    let mut rest = &mut found[skipped..];
    let wanted = limit - page.len();
    if wanted < rest.len() {
        rest.select_nth_unstable_by(wanted, compare);
        rest = &mut rest[..wanted];
    }
    rest.sort_unstable_by(compare);
    page.extend(rest.iter().map(|(_, row)| *row));
    0
}

/// A value so that smaller ones come first in the direction.
pub(super) fn along(value: i64, descending: bool) -> i64 {
    if descending { !value } else { value }
}

impl Term {
    /// Where a value of a dictionary comes in the direction; no value comes last.
    fn value_place(&self, number: u32) -> (bool, u32) {
        let place = self.values.as_ref().and_then(|v| v.get(number as usize)).copied().unwrap_or(u32::MAX);
        (number == dictionary::ABSENT, if self.descending { !place } else { place })
    }

    fn number_place(&self, value: i64) -> (bool, i64) {
        match value {
            numbers::ABSENT => (true, 0),
            value => (false, along(value, self.descending)),
        }
    }
}

/// Compares two optional values in a direction; an absent one comes last in both.
fn compare(a: Option<domain::query::Cell<'_>>, b: Option<&Value>, descending: bool) -> Ordering {
    match (a, b.map(Value::cell)) {
        (Some(a), Some(b)) if descending => b.cmp(&a),
        (Some(a), Some(b)) => a.cmp(&b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

pub(super) fn compare_rows<F: Field>(index: &Index<F>, terms: &[Term], a: i64, b: i64) -> Ordering {
    let compare = |term: &Term| match term.place {
        Place::Code(column) => term.value_place(index.code(a, column)).cmp(&term.value_place(index.code(b, column))),
        Place::Number(column) => {
            term.number_place(index.number(a, column)).cmp(&term.number_place(index.number(b, column)))
        }
        Place::Id | Place::Elsewhere => along(a, term.descending).cmp(&along(b, term.descending)),
    };
    terms.iter().map(compare).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

pub(super) fn compare_to_key<F: Field>(index: &Index<F>, terms: &[Term], row: i64, key: &[Option<Value>]) -> Ordering {
    let compare = |(term, at): (&Term, &Option<Value>)| match term.place {
        Place::Code(column) => index.dictionaries[column]
            .with(index.code(row, column), |read| compare(read.single(), at.as_ref(), term.descending)),
        Place::Number(column) => term
            .number_place(index.number(row, column))
            .cmp(&term.number_place(at.as_ref().map_or(numbers::ABSENT, number))),
        Place::Id | Place::Elsewhere => {
            along(row, term.descending).cmp(&along(at.as_ref().map_or(0, number), term.descending))
        }
    };
    terms.iter().zip(key).map(compare).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}
