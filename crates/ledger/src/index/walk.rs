//! Walking along an order over times or numbers through all blocks at once: each block has its rows sorted already, and
//! most blocks lie wholly before or behind a place, so little of them is looked at.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use domain::query::{Field, Value};

use super::bits::Bits;
use super::block::{BASE, Block};
use super::numbers::{self, Lane};
use super::page::{Term, along, compare_rows, compare_to_key};
use super::question::number;
use super::rows::{Rows, id};
use super::sorted::Sorted;

/// When so few rows may still be at a place, they are looked at one by one.
const NARROW: usize = if cfg!(all(test, debug_assertions)) { 6 } else { 2048 };

/// The wanted rows with a value in a number column, as several sorted runs.
pub(super) struct Walk<'r, 'i, F: Field> {
    rows: &'r Rows<'i, F>,
    terms: &'r [Term],
    runs: Vec<Run<'r>>,
}

/// Rows of one block in order; some of them may not be wanted.
struct Run<'r> {
    number: usize,
    block: &'r Block,
    column: usize,
    descending: bool,
    wanted: &'r Bits,
    entries: Entries<'r>,
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
            if rows.count(number) == 0 {
                continue;
            }
            let (Some(block), Some(wanted)) = (rows.block(number), rows.bits(number)) else { continue };
            let lane = block.numbers[column].lane(block.len, block.numbers[BASE].wide());
            let mut run = |entries| runs.push(Run { number, block, column, descending, wanted, entries });
            match lane {
                Lane::Natural(len) => run(Entries::Natural(len)),
                Lane::Sorted(sorted, begin) => {
                    run(Entries::Sorted(sorted, &sorted.rows()[begin..]));
                    run(listed(block, column, descending, wanted, sorted.loose(block.len)));
                }
                Lane::Loose(rows) => run(listed(block, column, descending, wanted, rows.into_iter())),
            }
        }
        runs.retain(|run| run.len() > 0);
        Walk { rows, terms, runs }
    }

    /// Adds the rows behind a key, or behind so many others, and gives back how many are still to be skipped.
    pub(super) fn page(self, key: Option<&[Option<Value>]>, skip: u64, limit: usize, page: &mut Vec<i64>) -> u64 {
        let start = match key.and_then(|k| k[0].as_ref()) {
            Some(value) => Start { at: Some(along(number(value), self.terms[0].descending)), skip: 0 },
            None if skip == 0 => Start { at: None, skip: 0 },
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
                return Ok(Start { at: Some(*at), skip: equal as u64 });
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
            let cut_behind = self.cuts(&low, &high, |value| value <= pivot);
            let through: u64 = cut_behind.iter().map(|c| c.before).sum();
            if through > skip {
                let before: u64 = cut_before.iter().map(|c| c.before).sum();
                return Ok(Start { at: Some(pivot), skip: skip - before });
            }
            low = cut_behind;
        }
    }

    fn cuts(&self, low: &[Cut], high: &[Cut], less: impl Fn(i64) -> bool) -> Vec<Cut> {
        let cut = |(run, (low, high)): (&Run<'_>, (&Cut, &Cut))| run.cut(*low, *high, &less);
        self.runs.iter().zip(low.iter().zip(high)).map(cut).collect()
    }

    /// Adds the rows from a value on, in order.
    fn merge(&self, start: Start, key: Option<&[Option<Value>]>, limit: usize, page: &mut Vec<i64>) {
        let mut heap = BinaryHeap::new();
        for (i, run) in self.runs.iter().enumerate() {
            let place = start.at.map_or(0, |at| run.place(0, run.len(), |value| value < at));
            run.push(&mut heap, i, place);
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

/// Where a page begins: at a value, or at the first; and how many of the rows there come before it.
struct Start {
    at: Option<i64>,
    skip: u64,
}

fn listed<'r>(
    block: &Block,
    column: usize,
    descending: bool,
    wanted: &Bits,
    rows: impl Iterator<Item = usize>,
) -> Entries<'r> {
    let value = |row: usize| (along(block.number(column, row), descending), row as u16);
    let present = |row: &usize| block.number(column, *row) != numbers::ABSENT;
    let mut rows: Vec<_> = rows.filter(|row| wanted.has(*row)).filter(present).map(value).collect();
    rows.sort_unstable();
    Entries::Listed(rows)
}

impl Run<'_> {
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
            _ => self.wanted.has(self.row(place)) && self.holds(place),
        }
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
        let wanted = match &self.entries {
            Entries::Listed(rows) => rows.len(),
            Entries::Natural(_) => self.wanted.len(),
            Entries::Sorted(sorted, rows) => {
                // All but those that lie outside the order, and those without a value at its beginning.
                let begin = sorted.rows().len() - rows.len();
                let mut inside = self.wanted.clone();
                sorted.loose(self.block.len).for_each(|row| inside.remove(row));
                sorted.rows()[..begin].iter().for_each(|row| inside.remove(usize::from(*row)));
                inside.len()
            }
        };
        wanted as u64
    }

    /// Cuts between two cuts, counting on the shorter side.
    fn cut(&self, low: Cut, high: Cut, less: impl Fn(i64) -> bool) -> Cut {
        let place = self.place(low.place, high.place, less);
        let wanted = |from: usize, to: usize| (from..to).filter(|p| self.is_wanted(*p)).count() as u64;
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
        let place = self.next(place);
        if place < self.len() {
            heap.push(Reverse((self.value(place), number, place)));
        }
    }
}
