//! A set of rows, or of other small numbers, in which the place of each and the one at a place are found without counting from
//! the beginning.

use super::bits::{Bits, ROWS};

/// Words of which one count stands for all before them.
const STEP: usize = if cfg!(all(test, debug_assertions)) { 1 } else { 16 };

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    bits: Bits,
    /// How many there are before each step.
    before: Box<[u16]>,
}

impl Marks {
    pub(super) fn of(bits: Bits) -> Marks {
        let mut count = 0;
        let each = |words: &[u64]| {
            let before = count as u16;
            count += ones(words);
            before
        };
        let before = bits.words().chunks(STEP).map(each).collect();
        Marks { bits, before }
    }

    pub(super) fn words(&self) -> &[u64] {
        self.bits.words()
    }

    /// The place of one of them: how many come before it.
    pub(super) fn place(&self, one: usize) -> Option<usize> {
        let (word, step) = (one / 64, one / 64 / STEP);
        let words = &self.words()[step * STEP..word];
        let below = self.words()[word] & ((1 << (one % 64)) - 1);
        self.bits.has(one).then(|| usize::from(self.before[step]) + ones(words) + below.count_ones() as usize)
    }

    /// The one at a place, from the first.
    pub(super) fn at(&self, place: usize) -> Option<usize> {
        let step = self.before.partition_point(|before| usize::from(*before) <= place) - 1;
        let mut rest = place - usize::from(self.before[step]);
        for (i, word) in self.words().iter().enumerate().skip(step * STEP) {
            match rest.checked_sub(word.count_ones() as usize) {
                Some(further) => rest = further,
                None => return Some(i * 64 + nth(*word, rest)),
            }
        }
        None
    }

    /// Those at some places, which go up.
    pub(super) fn at_all(&self, places: impl Iterator<Item = usize>, mut found: impl FnMut(usize)) {
        let mut words = self.words().iter().zip((0..).step_by(64));
        // The word in which the last one was, and how many come before it and in it.
        let (mut word, mut first, mut before, mut inside) = (0, 0, 0, 0);
        for place in places {
            while place - before >= inside {
                let Some((next, at)) = words.next() else { return };
                before += inside;
                (word, first, inside) = (*next, at, next.count_ones() as usize);
            }
            found(first + nth(word, place - before));
        }
    }

    pub(super) fn bytes(&self) -> usize {
        ROWS / 8 + self.before.len() * 2
    }
}

fn ones(words: &[u64]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}

/// Which bit of a word is the one behind `n` others; there are more than so many.
fn nth(word: u64, n: usize) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = EACH << 7;
    let pairs = word - ((word >> 1) & (EACH * 0x55));
    let fours = (pairs & (EACH * 0x33)) + ((pairs >> 2) & (EACH * 0x33));
    // In each byte how many bits are set in it and in those below.
    let counts = ((fours + (fours >> 4)) & (EACH * 0x0f)).wrapping_mul(EACH);
    // The bytes in which no more than `n` are: the one that is looked for is in the next.
    let passed = (((n as u64 * EACH) | HIGH) - counts) & HIGH;
    let byte = passed.count_ones() as usize;
    let before = (counts << 8) >> (byte * 8) & 0xff;
    let mut rest = word >> (byte * 8);
    (before..n as u64).for_each(|_| rest &= rest - 1);
    byte * 8 + rest.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_word_is_found() {
        for word in [1, u64::MAX, 1 << 63, 0xf0f0_0000_1234_8001, 0x8000_0000_0000_0001, 0xff << 56, 0x5555 << 20] {
            let all: Vec<usize> = (0..64).filter(|bit| word >> bit & 1 == 1).collect();
            let found: Vec<usize> = (0..all.len()).map(|n| nth(word, n)).collect();
            assert_eq!(found, all, "{word:x}");
        }
    }

    #[test]
    fn each_is_found_at_its_place() {
        let all = [0, 1, 63, 64, 70, 100, ROWS - 1];
        let mut bits = Bits::none();
        all.iter().for_each(|n| bits.insert(*n));
        let marks = Marks::of(bits);
        for (place, one) in all.iter().enumerate() {
            assert_eq!((marks.place(*one), marks.at(place)), (Some(place), Some(*one)));
        }
        assert_eq!((marks.place(2), marks.at(all.len())), (None, None));
        let mut found = Vec::new();
        marks.at_all([0, 2, 2, 5, 6, 7].into_iter(), |one| found.push(one));
        assert_eq!(found, [0, 63, 63, 100, ROWS - 1]);
        assert_eq!(Marks::of(Bits::none()).at(0), None);
    }
}
