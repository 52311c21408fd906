//! Questions to the index: a page of rows with its total, and counts.

use std::cmp::Reverse;
use std::sync::{Arc, PoisonError};

use domain::query::{Field, Filter, Group, Page, Query};
use domain::{Result, Scope, Uuid};
use hashbrown::HashMap;

use super::dictionary::Numbers;
use super::page::page;
use super::question::ByUuid;
use super::rows::{Rows, id as id_of};
use super::sorted::FEW_ASKED;
use super::{Index, Place};

/// How many questions' counts are kept.
const KEPT: usize = 256;

/// What is on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The rows, in their order.
    pub(crate) ids: Vec<i64>,
    /// Whether there are more behind them.
    pub(crate) more: bool,
    /// How many there are in all, where it was asked for.
    pub(crate) total: Option<u64>,
}

/// How many rows of each block passed a filter when it was asked, and at which version of the block. Blocks that are as
/// they were need not be looked at again.
#[derive(Debug)]
pub(super) struct Counted<F> {
    of: HashMap<(String, Filter<F>), Counts>,
    asked: u64,
}

/// A version of each block and how many of its rows passed then.
#[derive(Debug)]
struct Counts {
    /// When it was asked for last.
    asked: u64,
    blocks: Arc<[(u64, u32)]>,
}

impl<F> Default for Counted<F> {
    fn default() -> Self {
        Counted { of: HashMap::new(), asked: 0 }
    }
}

impl<F> Counted<F> {
    pub(super) fn bytes(&self) -> usize {
        self.of.values().map(|counts| counts.blocks.len() * 16 + 256).sum()
    }
}

impl<F: Field> Index<F> {
    /// A page of the rows that match; none if only the record can tell.
    ///
    /// # Errors
    /// Those of `by_uuid`.
    pub(crate) fn find(&self, scope: &Scope, query: &Query<F>, by_uuid: ByUuid<'_>) -> Result<Option<Found>> {
        let Query { filter, order, page: part, total } = query;
        let Some(terms) = self.terms(order.terms()) else { return Ok(None) };
        let Some(rows) = self.rows(scope, filter, by_uuid)? else { return Ok(None) };
        let total = (*total || matches!(part, Page::Number { .. })).then(|| self.total(scope, filter, &rows));
        let key = match part {
            Page::After { key, .. } => key.as_ref().map(|k| &k.0[..]),
            Page::Number { .. } => None,
        };
        let limit = part.limit() as usize;
        // One more than wanted tells whether there are more.
        let mut ids = page(&rows, &terms, key, part.offset(), limit + 1);
        let more = ids.len() > limit;
        ids.truncate(limit);
        Ok(Some(Found { ids, more, total }))
    }

    /// Of each uuid among the values of a field, the last of the rows that match; the last first. None if only the record
    /// can tell.
    ///
    /// # Errors
    /// Those of `by_uuid`.
    pub(crate) fn last_of_each(
        &self,
        scope: &Scope,
        filter: &Filter<F>,
        (field, values): (F, &[Uuid]),
        by_uuid: ByUuid<'_>,
    ) -> Result<Option<Found>> {
        let Place::Code(column) = self.place(field) else { return Ok(None) };
        let Some(rows) = self.rows(scope, filter, by_uuid)? else { return Ok(None) };
        // A uuid has more numbers than one where it was written in several ways.
        let numbers: Vec<Vec<u32>> = values.iter().map(|id| self.dictionaries[column].written(*id).collect()).collect();
        let mut open = Numbers::of(numbers.iter().flatten().copied().collect());
        let mut last: HashMap<u32, i64> = HashMap::new();
        for number in (0..rows.blocks()).rev() {
            if open.list().is_empty() {
                break;
            }
            let (Some(block), Some(found)) = (rows.block(number), rows.set(number)) else { continue };
            let (codes, before) = (&block.codes[column], last.len());
            let mut see = |row: usize| {
                let code = codes.get(row);
                if open.has(code) {
                    last.entry(code).and_modify(|id| *id = id_of(number, row).max(*id)).or_insert(id_of(number, row));
                }
            };
            match codes.find_few(block.len, &open, self.tree.ranks()) {
                Some(few) => few.into_iter().map(usize::from).filter(|row| found.has(*row)).for_each(see),
                None => found.each(&mut see),
            }
            if last.len() > before {
                open = Numbers::of(open.list().iter().copied().filter(|code| !last.contains_key(code)).collect());
            }
        }
        let newest = |numbers: &Vec<u32>| numbers.iter().filter_map(|code| last.get(code).copied()).max();
        let mut ids: Vec<i64> = numbers.iter().filter_map(newest).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
        Ok(Some(Found { ids, more: false, total: None }))
    }

    /// How many rows match, grouped; none if only the record can tell.
    ///
    /// # Errors
    /// Those of `by_uuid`.
    pub(crate) fn counts(
        &self,
        scope: &Scope,
        filter: &Filter<F>,
        by: &[F],
        by_uuid: ByUuid<'_>,
    ) -> Result<Option<Vec<Group>>> {
        let mut columns = Vec::new();
        for field in by {
            match self.place(*field) {
                Place::Code(column) => columns.push(column),
                _ => return Ok(None),
            }
        }
        let Some(rows) = self.rows(scope, filter, by_uuid)? else { return Ok(None) };
        Ok(match columns[..] {
            [] => Some(vec![Group { values: Vec::new(), count: self.total(scope, filter, &rows) }]),
            [column] => Some(self.grouped(&rows, column)),
            [a, b] => Some(self.grouped_by_two(&rows, a, b)),
            _ => None,
        })
    }

    /// The rows that match, not looked for yet.
    fn rows(&self, scope: &Scope, filter: &Filter<F>, by_uuid: ByUuid<'_>) -> Result<Option<Rows<'_, F>>> {
        let Some(sieves) = self.sieves(scope, filter, by_uuid)? else { return Ok(None) };
        let mut rows = Rows::of(self, sieves);
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = counted.of.get(&(scope.locator().to_owned(), filter.clone())) {
            let same = |(block, (version, count)): (&Option<Box<super::Block>>, &(u64, u32))| {
                (block.as_ref().map_or(0, |b| b.version) == *version).then_some(*count)
            };
            rows.know(self.blocks.iter().zip(counts.blocks.iter()).map(same));
        }
        drop(counted);
        Ok(Some(rows))
    }

    fn total(&self, scope: &Scope, filter: &Filter<F>, rows: &Rows<'_, F>) -> u64 {
        let version = |number: usize| self.blocks[number].as_ref().map_or(0, |b| b.version);
        let blocks: Arc<[(u64, u32)]> =
            (0..rows.blocks()).map(|number| (version(number), rows.count(number) as u32)).collect();
        let total = blocks.iter().map(|(_, count)| u64::from(*count)).sum();
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.asked += 1;
        let asked = counted.asked;
        if counted.of.len() >= KEPT {
            // Half of them, the longest not asked for.
            counted.of.retain(|_, counts| counts.asked + (KEPT as u64) / 2 > asked);
        }
        counted.of.insert((scope.locator().to_owned(), filter.clone()), Counts { asked, blocks });
        total
    }

    /// How many of the rows have each number of a column.
    pub(super) fn count_codes(&self, rows: &Rows<'_, F>, column: usize) -> Vec<u64> {
        let mut counts = vec![0; self.dictionaries[column].last() as usize + 1];
        for number in 0..rows.blocks() {
            let Some(block) = rows.block(number) else { continue };
            let codes = &block.codes[column];
            if let Some((most, few)) = codes.all_but_few(block.len).filter(|(_, few)| few.len() <= FEW_ASKED) {
                // Nearly all have one number, so the others tell how many of the rows have it.
                let all = rows.count(number);
                let others = few.into_iter().map(usize::from).filter(|row| all > 0 && rows.has(number, *row));
                let others = others.map(|row| counts[codes.get(row) as usize] += 1).count() as u64;
                counts[most as usize] += all - others;
            } else if let Some(found) = rows.set(number) {
                codes.count(found, &mut counts);
            }
        }
        counts
    }

    fn grouped(&self, rows: &Rows<'_, F>, column: usize) -> Vec<Group> {
        let dictionary = &self.dictionaries[column];
        let some = (0..).zip(self.count_codes(rows, column)).filter(|(_, count)| *count > 0);
        // As `counted_groups` has it. Thousands of groups are put in order before they are made into values.
        let mut groups: Vec<_> =
            some.map(|(number, count)| (Reverse(count), dictionary.sorted_by(number), number)).collect();
        groups.sort_unstable();
        let group = |(Reverse(count), _, number)| Group { values: vec![dictionary.value(number)], count };
        groups.into_iter().map(group).collect()
    }

    fn grouped_by_two(&self, rows: &Rows<'_, F>, a: usize, b: usize) -> Vec<Group> {
        let (first, second) = (&self.dictionaries[a], &self.dictionaries[b]);
        let mut pairs = Pairs::of(first.last() as usize + 1, second.last() as usize + 1);
        for number in 0..rows.blocks() {
            if let (Some(block), Some(found)) = (rows.block(number), rows.set(number)) {
                block.codes[a].count_with(&block.codes[b], found, &mut |x, y, count| pairs.add(x, y, count));
            }
        }
        let mut groups = Vec::new();
        pairs.each(|x, y, count| groups.push((Reverse(count), (first.sorted_by(x), x), (second.sorted_by(y), y))));
        groups.sort_unstable();
        let group = |(Reverse(count), (_, x), (_, y))| Group { values: vec![first.value(x), second.value(y)], count };
        groups.into_iter().map(group).collect()
    }
}

/// So many pairs at most have a place each.
const PLACES: usize = if cfg!(test) { 64 } else { 1 << 18 };

/// Counts of pairs of numbers.
enum Pairs {
    /// A place for each pair that there may be, those of one first number side by side.
    Places(Vec<u64>, usize),
    /// Those that occurred.
    Found(HashMap<(u32, u32), u64>),
}

impl Pairs {
    /// Nothing counted yet, of so many first and second numbers.
    fn of(firsts: usize, seconds: usize) -> Pairs {
        match firsts.checked_mul(seconds) {
            Some(all) if all <= PLACES => Pairs::Places(vec![0; all], seconds),
            _ => Pairs::Found(HashMap::new()),
        }
    }

    fn add(&mut self, first: u32, second: u32, count: u64) {
        match self {
            Pairs::Places(counts, seconds) => counts[first as usize * *seconds + second as usize] += count,
            Pairs::Found(counts) => *counts.entry((first, second)).or_default() += count,
        }
    }

    /// Shows each pair that occurred.
    fn each(self, mut f: impl FnMut(u32, u32, u64)) {
        match self {
            Pairs::Places(counts, seconds) => {
                for (first, counts) in (0..).zip(counts.chunks(seconds)) {
                    let some = (0..).zip(counts).filter(|(_, count)| **count > 0);
                    some.for_each(|(second, count)| f(first, second, *count));
                }
            }
            Pairs::Found(counts) => counts.into_iter().for_each(|((first, second), count)| f(first, second, count)),
        }
    }
}
