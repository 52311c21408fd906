//! Sets of rows inside one block.

use super::words;

/// Rows in a block. Small in tests, so that a few hundred tasks fill several.
pub(super) const ROWS: usize = if cfg!(all(test, debug_assertions)) { 128 } else { 1 << 16 };
const WORDS: usize = ROWS / 64;

/// A set of rows of one block, a bit for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits(Box<[u64; WORDS]>);

impl Bits {
    pub(super) fn none() -> Bits {
        Bits(Box::new([0; WORDS]))
    }

    /// These rows.
    pub(super) fn of(rows: &[u16]) -> Bits {
        let mut bits = Bits::none();
        rows.iter().for_each(|row| bits.insert(usize::from(*row)));
        bits
    }

    /// The rows before `end`.
    pub(super) fn before(end: usize) -> Bits {
        let mut bits = Bits::none();
        bits.0[..end / 64].fill(u64::MAX);
        if !end.is_multiple_of(64) {
            bits.0[end / 64] = (1 << (end % 64)) - 1;
        }
        bits
    }

    pub(super) fn from_words(words: &[u64]) -> Option<Bits> {
        Some(Bits(Box::new(words.try_into().ok()?)))
    }

    pub(super) fn words(&self) -> &[u64] {
        &*self.0
    }

    pub(super) fn words_mut(&mut self) -> &mut [u64] {
        &mut *self.0
    }

    /// Those from a row on, as the bits of one word.
    pub(super) fn window(&self, row: usize) -> u64 {
        let word = |n: usize| self.0.get(n).copied().unwrap_or_default();
        match row % 64 {
            0 => word(row / 64),
            by => word(row / 64) >> by | word(row / 64 + 1) << (64 - by),
        }
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.0[row / 64] >> (row % 64) & 1 == 1
    }

    pub(super) fn insert(&mut self, row: usize) {
        self.0[row / 64] |= 1 << (row % 64);
    }

    pub(super) fn remove(&mut self, row: usize) {
        self.0[row / 64] &= !(1 << (row % 64));
    }

    pub(super) fn len(&self) -> usize {
        words::count(&*self.0)
    }

    /// How many rows both have.
    pub(super) fn common(&self, other: &Bits) -> usize {
        words::common(&*self.0, &*other.0)
    }

    /// How many rows all three have.
    pub(super) fn common_of_three(&self, b: &Bits, c: &Bits) -> usize {
        words::common_of_three(&*self.0, &*b.0, &*c.0)
    }

    pub(super) fn keep(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&*other.0).for_each(|(a, b)| *a &= b);
    }

    pub(super) fn drop_all(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&*other.0).for_each(|(a, b)| *a &= !b);
    }

    pub(super) fn add(&mut self, other: &Bits) {
        self.0.iter_mut().zip(&*other.0).for_each(|(a, b)| *a |= b);
    }

    /// Keeps the rows that pass. All are asked when most are in the set, because asking is cheap then.
    pub(super) fn keep_if(&mut self, passes: impl Fn(usize) -> bool) {
        for (i, word) in self.0.iter_mut().enumerate().filter(|(_, w)| **w != 0) {
            let mut rest = *word;
            if rest.count_ones() > 16 {
                let all = (0..64).fold(0, |all, n| all | u64::from(passes(i * 64 + n)) << n);
                *word &= all;
                continue;
            }
            while rest != 0 {
                let n = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                if !passes(i * 64 + n) {
                    *word &= !(1 << n);
                }
            }
        }
    }

    /// The rows, first to last.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(i, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let n = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    i * 64 + n
                })
            })
        })
    }

    /// Some rows in a direction, `skip` of them passed over.
    pub(super) fn page(&self, descending: bool, mut skip: usize, limit: usize, out: &mut Vec<usize>) {
        let end = out.len() + limit;
        for step in 0..WORDS {
            if out.len() >= end {
                return;
            }
            let i = if descending { WORDS - 1 - step } else { step };
            let mut rest = self.0[i];
            let count = rest.count_ones() as usize;
            if skip >= count {
                skip -= count;
                continue;
            }
            while rest != 0 && out.len() < end {
                let n = if descending { 63 - rest.leading_zeros() } else { rest.trailing_zeros() } as usize;
                rest &= !(1 << n);
                match skip {
                    0 => out.push(i * 64 + n),
                    _ => skip -= 1,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_as_their_rows() {
        let rows = [0, 1, 5, 63, 64, 100, ROWS - 1];
        let mut bits = Bits::none();
        rows.iter().for_each(|r| bits.insert(*r));
        assert_eq!(bits.iter().collect::<Vec<_>>(), rows);
        assert_eq!((bits.len(), bits.common(&Bits::before(64))), (7, 4));
        assert_eq!(Bits::before(ROWS).len(), ROWS);
        let page = |descending, skip, limit| {
            let mut out = Vec::new();
            bits.page(descending, skip, limit, &mut out);
            out
        };
        assert_eq!(page(false, 2, 3), [5, 63, 64]);
        assert_eq!(page(true, 1, 3), [100, 64, 63]);
        assert_eq!(page(true, 6, 3), [0]);
        assert_eq!(page(true, 7, 3), [0; 0]);
        bits.keep_if(|r| r % 2 == 0);
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 64, 100]);
        let mut most = Bits::before(70);
        most.keep_if(|r| r % 3 == 0);
        assert_eq!(most.iter().collect::<Vec<_>>(), (0..70).step_by(3).collect::<Vec<_>>());
    }
}
