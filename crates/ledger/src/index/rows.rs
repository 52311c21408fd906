//! The rows that pass some tests, found block by block as they are asked for.

use std::cell::OnceCell;
use std::rc::Rc;

use domain::query::Field;

use super::Index;
use super::bits::ROWS;
use super::block::Block;
use super::question::Sieve;
use super::set::Set;
use super::sorted::FEW_ASKED;

/// The rows of the index, or of others, that pass some tests.
pub(super) struct Rows<'a, F: Field> {
    pub(super) index: &'a Index<F>,
    among: Option<&'a Rows<'a, F>>,
    /// All tests, those of the rows that these are among first.
    sieves: Vec<Rc<Sieve>>,
    found: Vec<OnceCell<Option<Set>>>,
    /// How many there are in a block, where that is known without looking.
    known: Vec<Option<u32>>,
}

impl<'a, F: Field> Rows<'a, F> {
    /// All rows that pass.
    pub(super) fn of(index: &'a Index<F>, sieves: Vec<Sieve>) -> Rows<'a, F> {
        Rows::new(index, None, sieves.into_iter().map(Rc::new).collect())
    }

    /// Those of these rows that pass one more test.
    pub(super) fn also(&'a self, sieve: Sieve) -> Rows<'a, F> {
        let sieves = self.sieves.iter().cloned().chain([Rc::new(sieve)]).collect();
        Rows::new(self.index, Some(self), sieves)
    }

    fn new(index: &'a Index<F>, among: Option<&'a Rows<'a, F>>, sieves: Vec<Rc<Sieve>>) -> Rows<'a, F> {
        let blocks = index.blocks.len();
        Rows { index, among, sieves, found: vec![OnceCell::new(); blocks], known: vec![None; blocks] }
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
        let tree = self.index.tree.ranks();
        let (of_others, own) = self.tests();
        let few = match self.seen_among(number) {
            Some(set) => match set? {
                Set::List(rows) => Some(rows.clone()),
                Set::Bits(..) => own.iter().find_map(|sieve| sieve.find_few(block, tree)),
            },
            None => own.iter().chain(of_others).find_map(|sieve| sieve.find_few(block, tree)),
        };
        if let Some(mut few) = few {
            few.retain(|row| self.passes(number, block, usize::from(*row)));
            few.sort_unstable();
            return (!few.is_empty()).then_some(Set::List(few));
        }
        let mut bits = match self.among {
            Some(rows) => match rows.set(number)? {
                Set::Bits(bits, _) => bits.clone(),
                // Those that it is among were looked at for the first time.
                Set::List(_) => return self.look(number),
            },
            None => block.live.clone(),
        };
        own.iter().for_each(|sieve| sieve.keep(&mut bits, number, block, tree));
        Set::some(bits)
    }

    /// The tests of the rows that these are among, and those that these pass besides.
    fn tests(&self) -> (&[Rc<Sieve>], &[Rc<Sieve>]) {
        self.sieves.split_at(self.among.map_or(0, |rows| rows.sieves.len()))
    }

    /// What there is in a block of the rows that these are among, if that was looked for.
    fn seen_among(&self, number: usize) -> Option<Option<&Set>> {
        self.among?.found[number].get().map(Option::as_ref)
    }

    /// Whether a row of a block is one of them, which is asked of the row alone.
    fn passes(&self, number: usize, block: &Block, row: usize) -> bool {
        let tree = self.index.tree.ranks();
        let all = |sieves: &[Rc<Sieve>]| sieves.iter().all(|sieve| sieve.passes(row, number, block, tree));
        match self.seen_among(number) {
            Some(set) => set.is_some_and(|set| set.has(row)) && all(self.tests().1),
            None => block.live.has(row) && all(&self.sieves),
        }
    }

    /// Whether a row of a block is one of them.
    pub(super) fn has(&self, number: usize, row: usize) -> bool {
        match self.found[number].get() {
            Some(set) => set.as_ref().is_some_and(|set| set.has(row)),
            None => self.block(number).is_some_and(|block| self.passes(number, block, row)),
        }
    }

    /// How many there are in a block.
    pub(super) fn count(&self, number: usize) -> u64 {
        let known = self.known[number].map(u64::from).or_else(|| match self.found[number].get() {
            Some(set) => Some(set.as_ref().map_or(0, Set::len) as u64),
            None => self.block(number).map_or(Some(0), |block| self.count_unseen(number, block)),
        });
        known.unwrap_or_else(|| self.set(number).map_or(0, Set::len) as u64)
    }

    /// How many there are in a block, where no test but one keeps more than a few rows out, and that one can count.
    fn count_unseen(&self, number: usize, block: &Block) -> Option<u64> {
        let (mut out, mut open) = (Vec::new(), None);
        for sieve in &self.sieves {
            match sieve.few_others(number, block) {
                Some(few) => out.extend(few),
                None if open.is_some() => return None,
                None => open = Some(sieve),
            }
        }
        let tree = self.index.tree.ranks();
        let all = match open {
            None => block.count,
            Some(_) if block.count < block.len || out.len() > FEW_ASKED => return None,
            Some(sieve) => sieve.count(block, tree)?,
        };
        out.sort_unstable();
        out.dedup();
        let counted = |row: &u16| {
            let row = usize::from(*row);
            block.live.has(row) && open.is_none_or(|sieve| sieve.passes(row, number, block, tree))
        };
        Some((all - out.iter().filter(|row| counted(row)).count()) as u64)
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
