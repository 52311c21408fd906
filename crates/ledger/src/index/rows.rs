//! The rows that pass some tests, found block by block as they are asked for.

use std::cell::OnceCell;

use domain::query::Field;

use super::Index;
use super::bits::ROWS;
use super::block::Block;
use super::question::Sieve;
use super::set::Set;

/// The rows of the index, or of others, that pass some tests.
pub(super) struct Rows<'a, F: Field> {
    pub(super) index: &'a Index<F>,
    among: Option<&'a Rows<'a, F>>,
    sieves: Vec<Sieve>,
    found: Vec<OnceCell<Option<Set>>>,
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
    pub(super) fn set(&self, number: usize) -> Option<&Set> {
        self.found[number].get_or_init(|| self.look(number)).as_ref()
    }

    fn look(&self, number: usize) -> Option<Set> {
        if self.known[number] == Some(0) {
            return None;
        }
        let block = self.block(number)?;
        let among = match self.among {
            Some(rows) => Some(rows.set(number)?),
            None => None,
        };
        let tree = self.index.tree.ranks();
        let few = match among {
            Some(Set::List(rows)) => Some(rows.clone()),
            _ => self.sieves.iter().find_map(|sieve| sieve.find_few(block, tree)),
        };
        if let Some(mut few) = few {
            let is_there = |row| among.map_or_else(|| block.live.has(row), |set| set.has(row));
            few.retain(|row| {
                let row = usize::from(*row);
                is_there(row) && self.sieves.iter().all(|sieve| sieve.passes(row, number, block, tree))
            });
            few.sort_unstable();
            return (!few.is_empty()).then_some(Set::List(few));
        }
        let mut bits = match among {
            Some(Set::Bits(bits, _)) => bits.clone(),
            _ => block.live.clone(),
        };
        for sieve in &self.sieves {
            sieve.keep(&mut bits, number, block, tree);
        }
        Set::some(bits)
    }

    /// How many there are in a block.
    pub(super) fn count(&self, number: usize) -> u64 {
        match self.known[number] {
            Some(count) => u64::from(count),
            None => self.set(number).map_or(0, Set::len) as u64,
        }
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        (0..self.blocks()).map(|number| self.count(number)).sum()
    }

    /// Every one.
    pub(super) fn each(&self, mut f: impl FnMut(usize, &'a Block, usize)) {
        for number in 0..self.blocks() {
            if let (Some(block), Some(set)) = (self.block(number), self.set(number)) {
                set.each(|row| f(number, block, row));
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
