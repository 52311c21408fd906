//! Where the rows of each value lie in the order of a column: so a value is found by a search through the values that occur in
//! the block, and many values by one look at each of these, instead of at each row.

use std::ops::Range;

use super::sorted::Sorted;

/// The values of an order, one behind the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs {
    numbers: Vec<u32>,
    /// The place of the last row of each; they count from 0, and a block has no more than these.
    lasts: Vec<u16>,
}

impl Runs {
    /// Those of an order, of which all rows of one number lie side by side.
    pub(super) fn of(sorted: &Sorted, number: impl Fn(usize) -> u32) -> Runs {
        let mut runs = Runs::default();
        for (place, row) in sorted.rows().iter().enumerate() {
            let number = number(usize::from(*row));
            match runs.lasts.last_mut() {
                Some(last) if runs.numbers.last() == Some(&number) => *last = place as u16,
                _ => {
                    runs.numbers.push(number);
                    runs.lasts.push(place as u16);
                }
            }
        }
        runs.numbers.shrink_to_fit();
        runs.lasts.shrink_to_fit();
        runs
    }

    /// The places between two places of the list of numbers.
    fn places(&self, numbers: Range<usize>) -> (usize, usize) {
        let end = |until: usize| until.checked_sub(1).map_or(0, |last| usize::from(self.lasts[last]) + 1);
        (end(numbers.start), end(numbers.end))
    }

    /// The run behind the numbers that come before it; those in it lie side by side.
    pub(super) fn part(&self, before: impl Fn(u32) -> bool, inside: impl Fn(u32) -> bool) -> (usize, usize) {
        let begin = self.numbers.partition_point(|n| before(*n));
        let len = self.numbers[begin..].partition_point(|n| inside(*n));
        self.places(begin..begin + len)
    }

    /// The runs of the rows whose number passes; runs side by side are one.
    pub(super) fn all(&self, passes: impl Fn(u32) -> bool) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut begin = None;
        for (i, number) in self.numbers.iter().enumerate() {
            match (passes(*number), begin) {
                (true, None) => begin = Some(i),
                (false, Some(from)) => {
                    found.push(self.places(from..i));
                    begin = None;
                }
                _ => {}
            }
        }
        found.extend(begin.map(|from| self.places(from..self.numbers.len())));
        found
    }

    pub(super) fn bytes(&self) -> usize {
        self.numbers.capacity() * 4 + self.lasts.capacity() * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_where_the_rows_are() {
        let numbers = [7, 3, 3, 9, 7, 12, 3, 40];
        let mut sorted = Sorted::default();
        sorted.put_in(numbers.len(), |row| numbers[row]);
        let runs = Runs::of(&sorted, |row| numbers[row]);
        let plain = |passes: &dyn Fn(u32) -> bool| -> Vec<u32> {
            let mut found: Vec<u32> = numbers.into_iter().filter(|n| passes(*n)).collect();
            found.sort_unstable();
            found
        };
        let rows = |found: &[(usize, usize)]| -> Vec<u32> {
            let places = found.iter().flat_map(|(from, to)| &sorted.rows()[*from..*to]);
            places.map(|row| numbers[usize::from(*row)]).collect()
        };
        for (from, to) in [(0, 100), (3, 4), (4, 12), (13, 40), (40, 41), (41, 50), (0, 3), (7, 7)] {
            let inside = |n: u32| (from..to).contains(&n);
            assert_eq!(rows(&[runs.part(|n| n < from, |n| n < to)]), plain(&inside), "{from} to {to}");
            assert_eq!(rows(&runs.all(inside)), plain(&inside), "{from} to {to}");
        }
        let odd = |n: u32| n % 2 == 1;
        assert_eq!(rows(&runs.all(odd)), plain(&odd));
        assert_eq!(runs.all(odd).len(), 1, "3, 7 and 9 lie side by side");
        assert_eq!(Runs::of(&Sorted::default(), |_| 0).part(|_| false, |_| true), (0, 0));
    }
}
