//! A set of rows, or of other small numbers, in which the place of each and the one at a place are found without counting from
//! the beginning.

use super::bits::{Bits, ROWS};
use super::words;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    bits: Bits,
    /// How many there are before each word.
    before: Box<[u16]>,
}

impl Marks {
    pub(super) fn of(bits: Bits) -> Marks {
        let mut count = 0;
        let each = |word: &u64| {
            let before = count as u16;
            count += word.count_ones();
            before
        };
        let before = bits.words().iter().map(each).collect();
        Marks { bits, before }
    }

    fn words(&self) -> &[u64] {
        self.bits.words()
    }

    /// The place of one of them: how many come before it.
    pub(super) fn place(&self, one: usize) -> Option<usize> {
        let below = self.words()[one / 64] & ones_below(one as u32 % 64);
        self.bits.has(one).then(|| self.before(one / 64) + below.count_ones() as usize)
    }

    /// Adds the places of the wanted ones, whose words these are, counted from `first`.
    pub(super) fn find(&self, wanted: &[u64], found: &mut Bits, first: usize) {
        words::places(self.words(), wanted, &self.before, found.words_mut(), first);
    }

    /// How many there are before a word.
    fn before(&self, word: usize) -> usize {
        usize::from(self.before[word])
    }

    /// The one at a place, from the first.
    pub(super) fn at(&self, place: usize) -> Option<usize> {
        let word = self.before.partition_point(|before| usize::from(*before) <= place) - 1;
        let (bits, rest) = (self.words()[word], place - self.before(word));
        (rest < bits.count_ones() as usize).then(|| word * 64 + nth(bits, rest))
    }

    /// From each of the chosen ones - by their places - up to the next one of all.
    pub(super) fn spread(&self, chosen: &Bits) -> Bits {
        let mut spread = Bits::none();
        // Whether the last one before a word was chosen.
        let mut open = 0;
        let words = self.words().iter().zip(&self.before).zip(spread.words_mut());
        for ((word, before), inside) in words {
            let all = ones_below(word.count_ones());
            let flags = chosen.window(usize::from(*before)) & all;
            // What is in or out turns at the ones whose flag is another than that of the one before.
            let turns = (flags ^ (flags << 1 | open)) & all;
            *inside = up_to_each(laid_on(turns, *word)) ^ open.wrapping_neg();
            open = *inside >> 63;
        }
        spread
    }

    pub(super) fn bytes(&self) -> usize {
        ROWS / 8 + self.before.len() * 2
    }
}

/// So many bits from the lowest.
fn ones_below(count: u32) -> u64 {
    u64::MAX.checked_shr(64 - count).unwrap_or_default()
}

/// The bits of a word that stand where these say: the first for the lowest one of it.
fn laid_on(mut which: u64, word: u64) -> u64 {
    let (mut rest, mut laid) = (word, 0);
    while which != 0 {
        let lowest = rest & rest.wrapping_neg();
        laid |= lowest & (which & 1).wrapping_neg();
        which >>= 1;
        rest ^= lowest;
    }
    laid
}

/// In each bit whether an odd number of bits is set in it and below.
fn up_to_each(word: u64) -> u64 {
    let mut all = word;
    for by in [1, 2, 4, 8, 16, 32] {
        all ^= all << by;
    }
    all
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
        assert_eq!(Marks::of(Bits::none()).at(0), None);
    }

    #[test]
    fn each_chosen_one_is_spread_up_to_the_next() {
        let all = [2, 3, 63, 64, 70, 71, 100, ROWS - 1];
        let mut bits = Bits::none();
        all.iter().for_each(|n| bits.insert(*n));
        let marks = Marks::of(bits);
        for choice in 0..1_u32 << all.len() {
            let is_chosen = |place: usize| choice >> place & 1 == 1;
            let mut chosen = Bits::none();
            (0..all.len()).filter(|place| is_chosen(*place)).for_each(|place| chosen.insert(place));
            let spread = marks.spread(&chosen);
            for n in 0..ROWS {
                let before = all.partition_point(|one| *one <= n);
                assert_eq!(spread.has(n), before > 0 && is_chosen(before - 1), "{n} of {choice:b}");
            }
        }
    }
}
