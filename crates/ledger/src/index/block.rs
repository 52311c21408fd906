//! A run of rows that stand together: some columns, and which rows there are.

use super::bits::Bits;
use super::codes::Codes;
use super::numbers::{self, Numeric};
use super::sorted::MOST_LOOSE;

/// The number column that the others lie near to.
pub(super) const BASE: usize = 0;

/// Rows and their columns. Which column holds which field is for the whole index to say.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Rows from here on were never there.
    pub(super) len: usize,
    /// Those that are there.
    pub(super) live: Bits,
    pub(super) count: usize,
    pub(super) codes: Vec<Codes>,
    pub(super) numbers: Vec<Numeric>,
    /// Another one after each change, in all the time of the index.
    pub(super) version: u64,
    /// Whether rows may lie outside the orders.
    pub(super) untidy: bool,
}

impl Block {
    pub(super) fn new(codes: Vec<Codes>, numbers: usize) -> Block {
        let numbers = (0..numbers).map(|n| if n == BASE { Numeric::base() } else { Numeric::new() }).collect();
        Block { len: 0, live: Bits::none(), count: 0, codes, numbers, version: 0, untidy: false }
    }

    /// Gives a row all its values.
    pub(super) fn set(&mut self, row: usize, codes: &[u32], numbers: &[i64]) {
        self.untidy = true;
        if !self.live.has(row) {
            self.live.insert(row);
            self.count += 1;
        }
        for (column, number) in self.codes.iter_mut().zip(codes) {
            column.set(row, *number);
        }
        let (base, others) = self.numbers.split_at_mut(BASE + 1);
        let base = &mut base[BASE];
        if base.get(row, &[]) != numbers[BASE] {
            // The others are told by their distance from it.
            let before: Vec<i64> = others.iter().map(|c| c.get(row, base.wide())).collect();
            let far: Vec<usize> = (0..others.len()).filter(|n| before[*n] != numbers::ABSENT).collect();
            far.iter().for_each(|n| others[*n].set(row, numbers::ABSENT, self.len, base.wide()));
            base.set(row, numbers[BASE], self.len, &[]);
        }
        for (column, value) in others.iter_mut().zip(&numbers[BASE + 1..]) {
            column.set(row, *value, self.len, base.wide());
        }
        self.len = self.len.max(row + 1);
    }

    /// Gives a row that is there another value in one column.
    pub(super) fn set_code(&mut self, column: usize, row: usize, number: u32) {
        self.codes[column].set(row, number);
    }

    /// Gives a row that is there another value in one column; not in the one that the others lie near to.
    pub(super) fn set_number(&mut self, column: usize, row: usize, value: i64) {
        debug_assert_ne!(column, BASE);
        let (base, others) = self.numbers.split_at_mut(BASE + 1);
        others[column - BASE - 1].set(row, value, self.len, base[BASE].wide());
    }

    /// Takes a row away. What it held stays in the columns and is never asked for again.
    pub(super) fn remove(&mut self, row: usize) {
        if self.live.has(row) {
            self.live.remove(row);
            self.count -= 1;
        }
    }

    pub(super) fn number(&self, column: usize, row: usize) -> i64 {
        self.numbers[column].get(row, self.numbers[BASE].wide())
    }

    /// Puts rows that lie loose in one order; false if there are none.
    pub(super) fn tidy(&mut self, tree: &[u32]) -> bool {
        let found = self.looser_than(|_, _| 0);
        if let Some(column) = found {
            self.put_in(column, tree);
        }
        self.untidy &= found.is_some();
        found.is_some()
    }

    /// A column outside of whose order too many rows lie. The columns take turns, so that whoever puts them in has to do
    /// with one of them.
    pub(super) fn overdue(&self) -> Option<usize> {
        self.looser_than(|column, columns| MOST_LOOSE / 2 + MOST_LOOSE / 2 * column / columns)
    }

    /// The first column outside of whose order more rows lie than this.
    fn looser_than(&self, most: impl Fn(usize, usize) -> usize) -> Option<usize> {
        let columns = self.codes.len() + self.numbers.len();
        let numbers = self.numbers.iter().map(|c| c.loose_len(self.len));
        let mut loose = self.codes.iter().map(|c| c.loose_len(self.len)).chain(numbers).enumerate();
        loose.find(|(column, loose)| *loose > most(*column, columns)).map(|(column, _)| column)
    }

    /// Puts the rows that lie loose in the order of a column, the numbers counted behind the codes.
    pub(super) fn put_in(&mut self, column: usize, tree: &[u32]) {
        let Some(number) = column.checked_sub(self.codes.len()) else {
            return self.codes[column].put_in(self.len, tree);
        };
        let (base, others) = self.numbers.split_at_mut(BASE + 1);
        match number.checked_sub(BASE + 1) {
            None => base[BASE].put_in(self.len, &[]),
            Some(other) => others[other].put_in(self.len, base[BASE].wide()),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let codes: usize = self.codes.iter().map(Codes::bytes).sum();
        let numbers: usize = self.numbers.iter().map(Numeric::bytes).sum();
        codes + numbers + self.live.words().len() * 8 + 512
    }
}
