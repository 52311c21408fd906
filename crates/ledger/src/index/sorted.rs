//! The rows of a block in the order of one column. What changes later is taken out and looked at by itself, so that a
//! change costs nothing here; when there is much of it, it is put in again.

use super::bits::{Bits, ROWS};

/// How many rows may lie outside the order before they are put in at once; a quiet moment does it earlier.
pub(super) const MOST_LOOSE: usize = if cfg!(all(test, debug_assertions)) { 12 } else { 8192 };

/// Up to so many rows of a block are looked at one by one; more are held as bits.
pub(super) const FEW: usize = if cfg!(all(test, debug_assertions)) { 10 } else { 512 };

/// Up to so many rows of a block are asked by themselves whether they pass, where that saves looking for all that do: each may
/// wait for memory as long as it takes to read a thousand rows of a set.
pub(super) const FEW_ASKED: usize = if cfg!(all(test, debug_assertions)) { 8 } else { 48 };

/// Rows in order, and those that are outside it.
#[derive(Debug, Clone, Default)]
pub(super) struct Sorted {
    rows: Vec<u16>,
    /// Rows that changed since; they still lie in `rows`, where they do not count.
    moved: Vec<u16>,
    is_moved: Option<Bits>,
    /// Rows from here on came since.
    upto: usize,
}

impl Sorted {
    /// Puts what lies outside the order where it belongs, of the first `len` rows.
    pub(super) fn put_in<K: Ord>(&mut self, len: usize, key: impl Fn(usize) -> K) {
        debug_assert!(len <= ROWS);
        // Reading a key costs more than comparing it.
        let mut loose: Vec<(K, u16)> = self.loose(len).map(|row| (key(row), row as u16)).collect();
        loose.sort_unstable();
        let mut loose = loose.into_iter().peekable();
        let mut rows = Vec::with_capacity(len);
        for row in self.rows.iter().copied().filter(|row| !self.has_moved(usize::from(*row))) {
            if loose.peek().is_some() {
                let next = (key(usize::from(row)), row);
                while let Some((_, before)) = loose.next_if(|before| *before < next) {
                    rows.push(before);
                }
            }
            rows.push(row);
        }
        rows.extend(loose.map(|(_, row)| row));
        *self = Sorted { rows, moved: Vec::new(), is_moved: None, upto: len };
    }

    /// An order that was stored; none if it is not one of `len` rows.
    pub(super) fn from_rows(rows: Vec<u16>, len: usize) -> Option<Sorted> {
        let mut seen = Bits::none();
        rows.iter().filter(|r| usize::from(**r) < len).for_each(|r| seen.insert(usize::from(*r)));
        let upto = rows.len();
        (seen.len() == upto && seen == Bits::before(upto)).then_some(Sorted {
            rows,
            moved: Vec::new(),
            is_moved: None,
            upto,
        })
    }

    pub(super) fn rows(&self) -> &[u16] {
        &self.rows
    }

    /// Takes a row out of the order, because its value changes.
    pub(super) fn moves(&mut self, row: usize) {
        if row >= self.upto || self.has_moved(row) {
            return;
        }
        self.is_moved.get_or_insert_with(Bits::none).insert(row);
        self.moved.push(row as u16);
    }

    /// Whether a row that lies in the order does not count there.
    pub(super) fn has_moved(&self, row: usize) -> bool {
        self.is_moved.as_ref().is_some_and(|m| m.has(row))
    }

    /// How many rows of a block of this length lie outside the order.
    pub(super) fn loose_len(&self, len: usize) -> usize {
        self.moved.len() + len - self.upto.min(len)
    }

    /// Whether it holds all rows of a block of this length as they are.
    pub(super) fn is_whole(&self, len: usize) -> bool {
        self.loose_len(len) == 0 && self.upto == len
    }

    /// The rows outside the order.
    pub(super) fn loose(&self, len: usize) -> impl Iterator<Item = usize> + '_ {
        self.moved.iter().map(|r| usize::from(*r)).chain(self.upto..len)
    }

    /// Rows from here on are loose.
    pub(super) fn upto(&self) -> usize {
        self.upto
    }

    /// The first place from which on rows are not `less`. Moved rows are stepped over: what they say is no more true.
    pub(super) fn place(&self, from: usize, to: usize, less: impl Fn(usize) -> bool) -> usize {
        let held = |place: usize, end: usize| (place..end).find(|p| !self.has_moved(usize::from(self.rows[*p])));
        // Often nothing comes before: most blocks have a value in every row, or lie wholly behind what is looked for.
        if held(from, to).is_some_and(|first| !less(usize::from(self.rows[first]))) {
            return from;
        }
        let (mut low, mut high) = (from, to);
        while low < high {
            let middle = low + (high - low) / 2;
            if let Some(probe) = held(middle, high)
                && less(usize::from(self.rows[probe]))
            {
                low = probe + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The rows in some runs of the order and the loose ones that pass, if they are few.
    pub(super) fn few(&self, len: usize, runs: &[(usize, usize)], passes: impl Fn(usize) -> bool) -> Option<Vec<u16>> {
        if runs.iter().map(|(from, to)| to - from).sum::<usize>() > FEW {
            return None;
        }
        let inside = runs.iter().flat_map(|(from, to)| &self.rows[*from..*to]).copied();
        let mut rows: Vec<u16> = inside.filter(|row| !self.has_moved(usize::from(*row))).collect();
        for row in self.loose(len).filter(|row| passes(*row)) {
            if rows.len() > FEW {
                return None;
            }
            rows.push(row as u16);
        }
        Some(rows)
    }

    /// Of these rows, keeps those in some runs of the order and the loose ones that pass.
    pub(super) fn keep_runs(
        &self,
        bits: &mut Bits,
        len: usize,
        runs: &[(usize, usize)],
        passes: impl Fn(usize) -> bool,
    ) {
        let inside: usize = runs.iter().map(|(from, to)| to - from).sum();
        let mut kept;
        if inside <= self.rows.len() / 2 {
            kept = Bits::none();
            for (from, to) in runs {
                self.rows[*from..*to].iter().for_each(|r| kept.insert(usize::from(*r)));
            }
        } else {
            kept = Bits::before(self.upto);
            let mut at = 0;
            for (from, to) in runs.iter().chain(&[(self.rows.len(), self.rows.len())]) {
                self.rows[at..*from].iter().for_each(|r| kept.remove(usize::from(*r)));
                at = *to;
            }
        }
        self.keep_held(bits, len, kept, passes);
    }

    /// Of these rows, keeps those at some places of the order and the loose ones that pass.
    pub(super) fn keep_places(&self, bits: &mut Bits, len: usize, places: &Bits, passes: impl Fn(usize) -> bool) {
        let mut kept = Bits::none();
        places.iter().for_each(|place| kept.insert(usize::from(self.rows[place])));
        self.keep_held(bits, len, kept, passes);
    }

    /// Of these rows, keeps those that the order holds and names, and the loose ones that pass.
    fn keep_held(&self, bits: &mut Bits, len: usize, mut kept: Bits, passes: impl Fn(usize) -> bool) {
        if let Some(moved) = &self.is_moved {
            kept.drop_all(moved);
        }
        self.loose(len).filter(|r| passes(*r)).for_each(|r| kept.insert(r));
        bits.keep(&kept);
    }

    pub(super) fn bytes(&self) -> usize {
        (self.rows.capacity() + self.moved.capacity()) * 2 + self.is_moved.as_ref().map_or(0, |_| ROWS / 8)
    }
}
