//! A run of rows that stand together: some columns, and which rows there are.

use super::bits::Bits;
use super::codes::Codes;
use super::numbers::{self, Numeric};

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

    /// Makes one order anew in which more rows than this are loose; false if there is none.
    pub(super) fn tidy(&mut self, most: usize, tree: &[u32]) -> bool {
        let len = self.len;
        let (base, others) = self.numbers.split_at_mut(BASE + 1);
        let base = &mut base[BASE];
        let found = self.codes.iter_mut().any(|c| c.tidy(len, most, tree))
            || base.tidy(len, most, &[])
            || others.iter_mut().any(|c| c.tidy(len, most, base.wide()));
        self.untidy &= found || most > 0;
        found
    }

    /// Whether so many rows are loose that it must be tidied before more come.
    pub(super) fn is_loose(&self) -> bool {
        self.codes.iter().any(|c| c.is_loose(self.len)) || self.numbers.iter().any(|c| c.is_loose(self.len))
    }

    pub(super) fn bytes(&self) -> usize {
        let codes: usize = self.codes.iter().map(Codes::bytes).sum();
        let numbers: usize = self.numbers.iter().map(Numeric::bytes).sum();
        codes + numbers + self.live.words().len() * 8 + 512
    }
}
