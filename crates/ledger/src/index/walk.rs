//! Walking along an order over times or numbers through all blocks at once: each block has its rows sorted already, and
//! most blocks lie wholly before or behind a place, so little of them is looked at.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use domain::query::{Field, Value};

use super::bits::Bits;
use super::block::{BASE, Block};
use super::numbers::{self, Lane};
use super::page::{Term, along, compare_rows, compare_to_key};
use super::question::number;
use super::rows::{Rows, id};
use super::set::Set;
use super::sorted::{FEW_ASKED, Sorted};

/// When so few rows may still be at a place, they are looked at one by one.
const NARROW: usize = if cfg!(all(test, debug_assertions)) { 6 } else { 2048 };

/// The wanted rows with a value in a number column, as several sorted runs.
pub(super) struct Walk<'r, 'i, F: Field> {
    rows: &'r Rows<'i, F>,
    terms: &'r [Term],
    runs: Vec<Run<'r, 'i, F>>,
}

/// Rows of one block in order; some of them may not be wanted. Most blocks lie wholly on one side of a place: the first and
/// the last value tell, and of these blocks nothing else is looked at, not even which of their rows are wanted.
struct Run<'r, 'i, F: Field> {
    rows: &'r Rows<'i, F>,
    number: usize,
    block: &'r Block,
    column: usize,
    descending: bool,
    entries: Entries<'r>,
    wanted: OnceCell<Option<Cow<'r, Bits>>>,
    first: i64,
    last: i64,
}

enum Entries<'r> {
    /// So many rows, as they lie.
    Natural(usize),
    /// Rows in order, but for those that have moved.
    Sorted(&'r Sorted, &'r [u16]),
    /// Wanted rows with their values along the direction, in order.
    Listed(Vec<(i64, u16)>),
}

/// Where a run is cut: the place, and how many wanted rows come before it.
#[derive(Clone, Copy)]
struct Cut {
    place: usize,
    before: u64,
}

impl<'r, 'i, F: Field> Walk<'r, 'i, F> {
    pub(super) fn new(rows: &'r Rows<'i, F>, column: usize, terms: &'r [Term]) -> Walk<'r, 'i, F> {
        let descending = terms[0].descending;
        let mut runs = Vec::new();
        for number in 0..rows.blocks() {
            let Some(block) = rows.block(number).filter(|_| rows.count(number) > 0) else { continue };
            let mut run = |entries| runs.extend(Run::new(rows, number, (block, column), descending, entries));
            match block.numbers[column].lane(block.len, block.numbers[BASE].wide()) {
                Lane::Natural(len) => run(Entries::Natural(len)),
                Lane::Sorted(sorted, begin) => {
                    run(Entries::Sorted(sorted, &sorted.rows()[begin..]));
                    run(listed(rows, (number, block, column), descending, sorted.loose(block.len)));
                }
                Lane::Loose(few) => run(listed(rows, (number, block, column), descending, few.into_iter())),
            }
        }
        Walk { rows, terms, runs }
    }

    /// Adds the rows behind a key, or behind so many others, and gives back how many are still to be skipped.
    pub(super) fn page(self, key: Option<&[Option<Value>]>, skip: u64, limit: usize, page: &mut Vec<i64>) -> u64 {
        let start = match key.and_then(|k| k[0].as_ref()) {
            Some(value) => {
                let at = along(number(value), self.terms[0].descending);
                self.start(at, 0, self.runs.iter().map(|run| (0, run.len())))
            }
            None if skip == 0 => Start { at: None, skip: 0, places: vec![0; self.runs.len()] },
            None => match self.find(skip) {
                Ok(start) => start,
                Err(all) => return skip - all,
            },
        };
        self.merge(start, key, limit, page);
        0
    }

    /// The value of the row behind `skip` others, and how many of them have the same; or how many there are in all.
    fn find(&self, skip: u64) -> Result<Start, u64> {
        let mut low: Vec<Cut> = self.runs.iter().map(|_| Cut { place: 0, before: 0 }).collect();
        let mut high: Vec<Cut> = self.runs.iter().map(|r| Cut { place: r.len(), before: r.wanted_len() }).collect();
        let all = high.iter().map(|c| c.before).sum();
        if skip >= all {
            return Err(all);
        }
        loop {
            let open = |i: &usize| low[*i].place < high[*i].place;
            let width: usize = low.iter().zip(&high).map(|(l, h)| h.place - l.place).sum();
            if width <= NARROW {
                let mut values = Vec::new();
                for i in (0..self.runs.len()).filter(open) {
                    let run = &self.runs[i];
                    let wanted = (low[i].place..high[i].place).filter(|place| run.is_wanted(*place));
                    values.extend(wanted.map(|place| run.value(place)));
                }
                let before: u64 = low.iter().map(|c| c.before).sum();
                let nth = (skip - before) as usize;
                let (less, at, _) = values.select_nth_unstable(nth);
                let equal = less.iter().filter(|v| *v == at).count();
                let between = low.iter().zip(&high).map(|(low, high)| (low.place, high.place));
                return Ok(self.start(*at, equal as u64, between));
            }
            // The middle of the middles, weighed: about half of what is open lies on each side of it.
            let mut middles: Vec<(i64, usize)> = (0..self.runs.len())
                .filter(open)
                .map(|i| {
                    let (from, to) = (low[i].place, high[i].place);
                    (self.runs[i].value_near(from + (to - from) / 2, to), to - from)
                })
                .collect();
            middles.sort_unstable();
            let mut weight = 0;
            let middle = middles.iter().find(|(_, w)| {
                weight += w;
                weight * 2 >= width
            });
            let Some((pivot, _)) = middle.copied() else { return Err(all) };
            let cut_before = self.cuts(&low, &high, |value| value < pivot);
            if cut_before.iter().map(|c| c.before).sum::<u64>() > skip {
                high = cut_before;
                continue;
            }
            let cut_behind = self.cuts(&cut_before, &high, |value| value <= pivot);
            let through: u64 = cut_behind.iter().map(|c| c.before).sum();
            if through > skip {
                let before: u64 = cut_before.iter().map(|c| c.before).sum();
                let places = cut_before.iter().map(|cut| cut.place).collect();
                return Ok(Start { at: Some(pivot), skip: skip - before, places });
            }
            low = cut_behind;
        }
    }

    /// The start at a value, which each run has between two places or nowhere.
    fn start(&self, at: i64, skip: u64, between: impl Iterator<Item = (usize, usize)>) -> Start {
        let place = |(run, (from, to)): (&Run<'_, '_, F>, (usize, usize))| run.place(from, to, |value| value < at);
        Start { at: Some(at), skip, places: self.runs.iter().zip(between).map(place).collect() }
    }

    fn cuts(&self, low: &[Cut], high: &[Cut], less: impl Fn(i64) -> bool) -> Vec<Cut> {
        let cut = |(run, (low, high)): (&Run<'_, '_, F>, (&Cut, &Cut))| run.cut(*low, *high, &less);
        self.runs.iter().zip(low.iter().zip(high)).map(cut).collect()
    }

    /// Adds the rows from a value on, in order.
    fn merge(&self, start: Start, key: Option<&[Option<Value>]>, limit: usize, page: &mut Vec<i64>) {
        let mut heap = BinaryHeap::new();
        for (i, (run, place)) in self.runs.iter().zip(&start.places).enumerate() {
            run.push(&mut heap, i, *place);
        }
        // Rows of one value, which the other terms bring in order.
        let mut equal = Equal { value: i64::MIN, rows: Vec::new(), skip: start.skip as usize };
        while let Some(Reverse((mut value, i, mut place))) = heap.pop() {
            let run = &self.runs[i];
            let others = heap.peek().map_or(i64::MAX, |Reverse((value, ..))| *value);
            // As long as no other run is before it, this one goes on.
            while value <= others {
                if run.is_wanted(place) {
                    if equal.value != value {
                        self.give(&mut equal, start.at, key, limit, page);
                        if page.len() >= limit {
                            return;
                        }
                        equal.value = value;
                    }
                    equal.rows.push(run.id(place));
                }
                place = run.next(place + 1);
                if place == run.len() {
                    break;
                }
                value = run.value(place);
            }
            run.push(&mut heap, i, place);
        }
        self.give(&mut equal, start.at, key, limit, page);
    }

    fn give(
        &self,
        equal: &mut Equal,
        at: Option<i64>,
        key: Option<&[Option<Value>]>,
        limit: usize,
        page: &mut Vec<i64>,
    ) {
        let index = self.rows.index;
        if let Some(key) = key.filter(|_| at == Some(equal.value)) {
            equal.rows.retain(|row| compare_to_key(index, &self.terms[1..], *row, &key[1..]) == Ordering::Greater);
        }
        equal.rows.sort_unstable_by(|a, b| compare_rows(index, &self.terms[1..], *a, *b));
        let skipped = equal.skip.min(equal.rows.len());
        equal.skip -= skipped;
        page.extend(equal.rows.drain(..).skip(skipped).take(limit - page.len()));
    }
}

/// Rows that have one value, and how many of them are to be skipped.
struct Equal {
    value: i64,
    rows: Vec<i64>,
    skip: usize,
}

/// Where a page begins: at a value, or at the first, and at which place of each run; and how many of the rows there come
/// before it.
struct Start {
    at: Option<i64>,
    skip: u64,
    places: Vec<usize>,
}

/// The wanted ones among rows that lie outside an order.
fn listed<'r, F: Field>(
    rows: &Rows<'_, F>,
    (number, block, column): (usize, &Block, usize),
    descending: bool,
    loose: impl Iterator<Item = usize>,
) -> Entries<'r> {
    let mut loose = loose.filter(|row| block.number(column, *row) != numbers::ABSENT).peekable();
    let wanted = loose.peek().and_then(|_| rows.set(number));
    let value = |row: usize| (along(block.number(column, row), descending), row as u16);
    let mut rows: Vec<_> = loose.filter(|row| wanted.is_some_and(|w| w.has(*row))).map(value).collect();
    rows.sort_unstable();
    Entries::Listed(rows)
}

impl<'r, 'i, F: Field> Run<'r, 'i, F> {
    /// None if there is nothing in it.
    fn new(
        rows: &'r Rows<'i, F>,
        number: usize,
        (block, column): (&'r Block, usize),
        descending: bool,
        entries: Entries<'r>,
    ) -> Option<Self> {
        let mut run =
            Run { rows, number, block, column, descending, entries, wanted: OnceCell::new(), first: 0, last: 0 };
        let held = |place: &usize| run.holds(*place);
        let (first, last) = ((0..run.len()).find(held)?, (0..run.len()).rev().find(held)?);
        (run.first, run.last) = (run.value(first), run.value(last));
        Some(run)
    }

    fn len(&self) -> usize {
        match &self.entries {
            Entries::Natural(len) => *len,
            Entries::Sorted(_, rows) => rows.len(),
            Entries::Listed(rows) => rows.len(),
        }
    }

    fn row(&self, place: usize) -> usize {
        let backwards = |len: usize| if self.descending { len - 1 - place } else { place };
        match &self.entries {
            Entries::Natural(len) => backwards(*len),
            Entries::Sorted(_, rows) => usize::from(rows[backwards(rows.len())]),
            Entries::Listed(rows) => usize::from(rows[place].1),
        }
    }

    fn id(&self, place: usize) -> i64 {
        id(self.number, self.row(place))
    }

    fn value(&self, place: usize) -> i64 {
        match &self.entries {
            Entries::Listed(rows) => rows[place].0,
            _ => along(self.block.number(self.column, self.row(place)), self.descending),
        }
    }

    /// Whether what lies there is in its place.
    fn holds(&self, place: usize) -> bool {
        match &self.entries {
            Entries::Sorted(sorted, _) => !sorted.has_moved(self.row(place)),
            _ => true,
        }
    }

    fn is_wanted(&self, place: usize) -> bool {
        match &self.entries {
            Entries::Listed(_) => true,
            _ => self.wanted().is_some_and(|w| w.has(self.row(place))) && self.holds(place),
        }
    }

    /// How many wanted ones lie between two places.
    fn count(&self, from: usize, to: usize) -> u64 {
        if from == to {
            return 0;
        }
        let wanted = match (&self.entries, self.wanted()) {
            (Entries::Listed(_), _) => to - from,
            (_, None) => 0,
            (Entries::Natural(_), Some(wanted)) => (from..to).filter(|p| wanted.has(self.row(*p))).count(),
            (Entries::Sorted(sorted, rows), Some(wanted)) => {
                let (from, to) = if self.descending { (rows.len() - to, rows.len() - from) } else { (from, to) };
                let rows = rows[from..to].iter().map(|row| usize::from(*row));
                rows.filter(|row| wanted.has(*row) && !sorted.has_moved(*row)).count()
            }
        };
        wanted as u64
    }

    fn wanted(&self) -> Option<&Bits> {
        self.wanted.get_or_init(|| self.rows.set(self.number).map(Set::bits)).as_deref()
    }

    /// The first place from here on where something is in its place.
    fn next(&self, mut place: usize) -> usize {
        while place < self.len() && !self.holds(place) {
            place += 1;
        }
        place
    }

    /// A value near to a place and before `to`.
    fn value_near(&self, place: usize, to: usize) -> i64 {
        let near = self.next(place);
        if near < to {
            return self.value(near);
        }
        (0..place).rev().find(|p| self.holds(*p)).map_or(i64::MIN, |p| self.value(p))
    }

    /// The first place whose value is not `less`.
    fn place(&self, from: usize, to: usize, less: impl Fn(i64) -> bool) -> usize {
        if from == to || !less(self.first) {
            return from;
        }
        if less(self.last) {
            return to;
        }
        // Often nothing lies between two places that are looked for one after the other.
        let next = self.next(from);
        if next < to && !less(self.value(next)) {
            return from;
        }
        let (mut low, mut high) = (from, to);
        while low < high {
            let middle = low + (high - low) / 2;
            let probe = self.next(middle);
            if probe < high && less(self.value(probe)) {
                low = probe + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How many rows are wanted.
    fn wanted_len(&self) -> u64 {
        match &self.entries {
            Entries::Listed(rows) => rows.len() as u64,
            Entries::Natural(_) => self.rows.count(self.number),
            Entries::Sorted(sorted, rows) => {
                // All but those that lie outside the order, and those without a value at its beginning.
                let begin = sorted.rows().len() - rows.len();
                let mut outside: Vec<usize> = sorted.rows()[..begin].iter().map(|row| usize::from(*row)).collect();
                outside.retain(|row| !sorted.has_moved(*row));
                outside.extend(sorted.loose(self.block.len));
                // Many of them are worth looking for the wanted rows of the whole block.
                let wanted = if outside.len() > FEW_ASKED { self.wanted() } else { None };
                let is_wanted = |row: usize| wanted.map_or_else(|| self.rows.has(self.number, row), |w| w.has(row));
                let outside = outside.into_iter().filter(|row| is_wanted(*row)).count();
                self.rows.count(self.number) - outside as u64
            }
        }
    }

    /// Cuts between two cuts, counting on the shorter side.
    fn cut(&self, low: Cut, high: Cut, less: impl Fn(i64) -> bool) -> Cut {
        let place = self.place(low.place, high.place, less);
        let wanted = |from: usize, to: usize| self.count(from, to);
        let before = if place == high.place {
            high.before
        } else if place - low.place <= high.place - place {
            low.before + wanted(low.place, place)
        } else {
            high.before - wanted(place, high.place)
        };
        Cut { place, before }
    }

    fn push(&self, heap: &mut BinaryHeap<Reverse<(i64, usize, usize)>>, number: usize, place: usize) {
        let next = self.next(place);
        if next < self.len() {
            heap.push(Reverse((if place == 0 { self.first } else { self.value(next) }, number, next)));
        }
    }
}
