//! Where the rows of each value lie in the order of a column: so a value is found by a search through the values that occur in
//! the block, and many values by one look at each of these, instead of at each row.

use super::bits::{Bits, ROWS};
use super::dictionary::Numbers;
use super::marks::Marks;
use super::sorted::Sorted;

/// Of so many numbers side by side, more than this are held as bits.
const MOST_LISTED: usize = if cfg!(all(test, debug_assertions)) { 4 } else { 4096 };
const WORDS: usize = ROWS / 64;

/// The values of an order, one behind the other.
#[derive(Debug, Clone)]
pub(super) struct Runs {
    values: Values,
    /// Where each begins.
    begins: Marks,
    /// How many rows there are.
    len: usize,
}

#[derive(Debug, Clone)]
enum Values {
    /// In the order of the tree.
    Ranked(Vec<u32>),
    /// Numbers that go up, in parts of as many as a block has rows.
    Numbered(Vec<Part>),
}

/// The numbers that begin alike.
#[derive(Debug, Clone)]
struct Part {
    /// Which part it is.
    of: u32,
    /// How many numbers there are in those before.
    before: usize,
    numbers: Lows,
}

#[derive(Debug, Clone)]
enum Lows {
    List(Vec<u16>),
    Marks(Marks),
}

impl Runs {
    /// Those of an order, of which all rows of one number lie side by side; in the order of numbers, or of the tree.
    pub(super) fn of(sorted: &Sorted, is_ranked: bool, number: impl Fn(usize) -> u32) -> Runs {
        let (mut numbers, mut begins) = (Vec::new(), Bits::none());
        for (place, row) in sorted.rows().iter().enumerate() {
            let number = number(usize::from(*row));
            if numbers.last() != Some(&number) {
                numbers.push(number);
                begins.insert(place);
            }
        }
        let values = if is_ranked {
            numbers.shrink_to_fit();
            Values::Ranked(numbers)
        } else {
            Values::Numbered(parts(&numbers))
        };
        Runs { values, begins: Marks::of(begins), len: sorted.rows().len() }
    }

    /// The places of the values between two.
    fn places(&self, from: usize, to: usize) -> (usize, usize) {
        let begin = |value: usize| self.begins.at(value).unwrap_or(self.len);
        (begin(from), begin(to))
    }

    /// The run behind the values that come before it; those in it lie side by side. For the order of the tree.
    pub(super) fn ranked(&self, before: impl Fn(u32) -> bool, inside: impl Fn(u32) -> bool) -> (usize, usize) {
        let Values::Ranked(numbers) = &self.values else { panic!("an order of numbers has no parts of the tree") };
        let from = numbers.partition_point(|n| before(*n));
        let len = numbers[from..].partition_point(|n| inside(*n));
        if len == 0 { (0, 0) } else { self.places(from, from + len) }
    }

    /// The runs of some numbers, in an order of numbers.
    pub(super) fn some(&self, wanted: &[u32]) -> Vec<(usize, usize)> {
        let Values::Numbered(parts) = &self.values else { panic!("in the order of the tree numbers lie by rank") };
        let run = |number: &u32| {
            let (of, low) = (number / ROWS as u32, *number as usize % ROWS);
            let part = &parts[parts.binary_search_by_key(&of, |part| part.of).ok()?];
            let place = part.before + part.numbers.place(low)?;
            Some(self.places(place, place + 1))
        };
        wanted.iter().filter_map(run).collect()
    }

    /// The places of the rows of many numbers.
    pub(super) fn many(&self, wanted: &Numbers) -> Bits {
        let mut values = Bits::none();
        match &self.values {
            Values::Ranked(numbers) => {
                let hits = numbers.iter().enumerate().filter(|(_, number)| wanted.has(**number));
                hits.for_each(|(value, _)| values.insert(value));
            }
            Values::Numbered(parts) => parts.iter().for_each(|part| part.find(wanted, &mut values)),
        }
        let mut places = self.begins.spread(&values);
        places.keep(&Bits::before(self.len));
        places
    }

    pub(super) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Ranked(numbers) => numbers.capacity() * 4,
            Values::Numbered(parts) => parts.iter().map(Part::bytes).sum(),
        };
        values + self.begins.bytes()
    }
}

fn parts(numbers: &[u32]) -> Vec<Part> {
    let mut before = 0;
    let part = |numbers: &[u32]| {
        let lows: Vec<u16> = numbers.iter().map(|n| (*n as usize % ROWS) as u16).collect();
        let part = Part { of: numbers[0] / ROWS as u32, before, numbers: Lows::of(lows) };
        before += numbers.len();
        part
    };
    numbers.chunk_by(|a, b| a / ROWS as u32 == b / ROWS as u32).map(part).collect()
}

impl Part {
    /// Adds the places of those numbers that are wanted.
    fn find(&self, wanted: &Numbers, found: &mut Bits) {
        let words = wanted.words(self.of as usize * WORDS, WORDS);
        let is_wanted = |low: usize| words.get(low / 64).is_some_and(|word| word >> (low % 64) & 1 == 1);
        match &self.numbers {
            Lows::List(lows) => {
                let hits = lows.iter().enumerate().filter(|(_, low)| is_wanted(usize::from(**low)));
                hits.for_each(|(place, _)| found.insert(self.before + place));
            }
            Lows::Marks(marks) => {
                marks.find(words, found, self.before);
            }
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Part>()
            + match &self.numbers {
                Lows::List(lows) => lows.capacity() * 2,
                Lows::Marks(marks) => marks.bytes(),
            }
    }
}

impl Lows {
    fn of(lows: Vec<u16>) -> Lows {
        if lows.len() <= MOST_LISTED {
            return Lows::List(lows);
        }
        Lows::Marks(Marks::of(Bits::of(&lows)))
    }

    fn place(&self, low: usize) -> Option<usize> {
        match self {
            Lows::List(lows) => lows.binary_search(&(low as u16)).ok(),
            Lows::Marks(marks) => marks.place(low),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few and many numbers that begin alike, a gap, and several rows of one number.
    fn numbers() -> Vec<u32> {
        let rows = ROWS as u32;
        let few = [3 * rows + 1, 3 * rows + 9, 5 * rows, 5 * rows + 1];
        let many = (0..20).flat_map(|n| [n * 3, n * 3, rows + n * n % 50]);
        many.chain(few).chain([7, 7, few[0]]).collect()
    }

    fn runs(numbers: &[u32], is_ranked: bool, rank: impl Fn(u32) -> u32) -> (Sorted, Runs) {
        let mut sorted = Sorted::default();
        sorted.put_in(numbers.len(), |row| (rank(numbers[row]), numbers[row]));
        let runs = Runs::of(&sorted, is_ranked, |row| numbers[row]);
        (sorted, runs)
    }

    fn rows(numbers: &[u32], sorted: &Sorted, found: &[(usize, usize)]) -> Vec<u32> {
        let places = found.iter().flat_map(|(from, to)| &sorted.rows()[*from..*to]);
        places.map(|row| numbers[usize::from(*row)]).collect()
    }

    fn many(runs: &Runs, wanted: &Numbers) -> Vec<(usize, usize)> {
        runs.many(wanted).iter().map(|place| (place, place + 1)).collect()
    }

    fn plain(numbers: &[u32], passes: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut found: Vec<u32> = numbers.iter().copied().filter(|n| passes(*n)).collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn numbers_are_where_their_rows_are() {
        let numbers = numbers();
        let (sorted, runs) = runs(&numbers, false, |n| n);
        let last = *numbers.iter().max().expect("some");
        for number in 0..=last + 1 {
            let found = rows(&numbers, &sorted, &runs.some(&[number]));
            assert_eq!(found, plain(&numbers, |n| n == number), "{number}");
        }
        for step in 1..=last {
            let wanted = Numbers::of((0..=last).filter(|n| n % step == 0).collect());
            let right = plain(&numbers, |n| wanted.has(n));
            assert_eq!(rows(&numbers, &sorted, &runs.some(wanted.list())), right, "{step}");
            assert_eq!(rows(&numbers, &sorted, &many(&runs, &wanted)), right, "{step}");
        }
        let none = Runs::of(&Sorted::default(), false, |_| 0);
        assert_eq!((none.some(&[0]), none.many(&Numbers::only(0)).len()), (vec![], 0));
    }

    #[test]
    fn parts_of_the_tree_are_where_their_rows_are() {
        let numbers = numbers();
        let rank = |n: u32| 10_000 - n;
        let (sorted, runs) = runs(&numbers, true, rank);
        for (from, to) in [(0, 10_001), (9_000, 9_900), (9_993, 9_994), (9_950, 10_001), (4, 5)] {
            let run = runs.ranked(|n| rank(n) < from, |n| rank(n) < to);
            let mut found = rows(&numbers, &sorted, &[run]);
            found.reverse();
            assert_eq!(found, plain(&numbers, |n| (from..to).contains(&rank(n))), "{from} to {to}");
        }
        let wanted = Numbers::of(vec![3, 7, 9, 5 * ROWS as u32]);
        let mut found = rows(&numbers, &sorted, &many(&runs, &wanted));
        found.reverse();
        assert_eq!(found, plain(&numbers, |n| wanted.has(n)));
    }
}
