//! The rows that pass some tests, found block by block as they are asked for.

use std::cell::OnceCell;

use domain::query::Field;

use super::Index;
use super::bits::{Bits, ROWS};
use super::block::Block;
use super::question::Sieve;

/// The rows of the index, or of others, that pass some tests.
pub(super) struct Rows<'a, F: Field> {
    pub(super) index: &'a Index<F>,
    among: Option<&'a Rows<'a, F>>,
    sieves: Vec<Sieve>,
    found: Vec<OnceCell<Option<Bits>>>,
    /// How many there are in a block, where that is known without looking.
    known: Vec<Option<u32>>,
}

impl<'a, F: Field> Rows<'a, F> {
    /// All rows that pass.
    pub(super) fn of(index: &'a Index<F>, sieves: Vec<Sieve>) -> Rows<'a, F> {
        let known = if sieves.is_empty() {
            index.blocks.iter().map(|b| Some(b.as_ref().map_or(0, |b| b.count as u32))).collect()
        } else {
            vec![None; index.blocks.len()]
        };
        Rows { index, among: None, sieves, found: vec![OnceCell::new(); index.blocks.len()], known }
    }

    /// Those of these rows that pass one more test.
    pub(super) fn also(&'a self, sieve: Sieve) -> Rows<'a, F> {
        let blocks = self.found.len();
        let index = self.index;
        Rows {
            index,
            among: Some(self),
            sieves: vec![sieve],
            found: vec![OnceCell::new(); blocks],
            known: vec![None; blocks],
        }
    }

    /// Takes over how many there are in some blocks.
    pub(super) fn know(&mut self, counts: impl Iterator<Item = Option<u32>>) {
        self.known.iter_mut().zip(counts).for_each(|(known, count)| *known = known.or(count));
    }

    pub(super) fn blocks(&self) -> usize {
        self.found.len()
    }

    pub(super) fn block(&self, number: usize) -> Option<&'a Block> {
        self.index.blocks[number].as_deref()
    }

    /// Those of a block; none if there are none.
    pub(super) fn bits(&self, number: usize) -> Option<&Bits> {
        self.found[number].get_or_init(|| self.look(number)).as_ref()
    }

    fn look(&self, number: usize) -> Option<Bits> {
        if self.known[number] == Some(0) {
            return None;
        }
        let block = self.block(number)?;
        let all = match self.among {
            Some(rows) => rows.bits(number)?,
            None => &block.live,
        };
        let tree = self.index.tree.ranks();
        if let Some(few) = self.sieves.iter().find_map(|sieve| sieve.find_few(block, tree)) {
            let passes =
                |row: &usize| all.has(*row) && self.sieves.iter().all(|sieve| sieve.passes(*row, number, block, tree));
            let mut rows = few.into_iter().map(usize::from).filter(passes).peekable();
            rows.peek()?;
            let mut bits = Bits::none();
            rows.for_each(|row| bits.insert(row));
            return Some(bits);
        }
        let mut bits = all.clone();
        for sieve in &self.sieves {
            if bits.is_empty() {
                return None;
            }
            sieve.keep(&mut bits, number, block, tree);
        }
        (!bits.is_empty()).then_some(bits)
    }

    /// How many there are in a block.
    pub(super) fn count(&self, number: usize) -> u64 {
        match self.known[number] {
            Some(count) => u64::from(count),
            None => self.bits(number).map_or(0, Bits::len) as u64,
        }
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        (0..self.blocks()).map(|number| self.count(number)).sum()
    }

    /// Every one.
    pub(super) fn each(&self, mut f: impl FnMut(usize, &'a Block, usize)) {
        for number in 0..self.blocks() {
            if let (Some(block), Some(bits)) = (self.block(number), self.bits(number)) {
                bits.iter().for_each(|row| f(number, block, row));
            }
        }
    }
}

/// The number of a row among all.
pub(super) fn id(block: usize, row: usize) -> i64 {
    (block * ROWS + row) as i64
}

/// The block and the row in it.
pub(super) fn split(id: i64) -> Option<(usize, usize)> {
    let id = usize::try_from(id).ok()?;
    Some((id / ROWS, id % ROWS))
}
