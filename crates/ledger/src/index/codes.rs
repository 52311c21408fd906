//! A column of a block whose values stand in a dictionary: a number for each row, and beside it what finds the rows of a
//! value without looking at all of them - a set for each value where there are few values, an order where there are many.

use std::ops::Range;

use super::bits::Bits;
use super::dictionary::{ABSENT, Numbers};
use super::runs::Runs;
use super::set::Set;
use super::sorted::{FEW, Sorted};

/// Up to so many values in a block have a set each.
const MOST_SETS: usize = if cfg!(all(test, debug_assertions)) { 6 } else { 64 };
/// Up to so many values are looked up one by one in an order: as many machines as a page shows, and then some. That costs
/// less than looking at all rows.
const MOST_LOOKUPS: usize = 256;
/// To count what a set has in common with others takes as long as to ask so many rows for their number.
const EACH_SET: usize = if cfg!(all(test, debug_assertions)) { 2 } else { 256 };
/// Up to so many rows are looked at one by one where many values are wanted; to find the rows of these takes as long.
const MOST_ASKED: usize = if cfg!(all(test, debug_assertions)) { 20 } else { 8192 };

/// The numbers of the rows, as narrow as they fit. Rows behind the end have no value.
#[derive(Debug, Clone)]
pub(super) enum Packed {
    Bytes(Vec<u8>),
    Shorts(Vec<u16>),
    /// Three bytes each, the lowest first.
    Threes(Vec<[u8; 3]>),
    Words(Vec<u32>),
}

/// What finds the rows of a value.
#[derive(Debug, Clone)]
enum Finder {
    /// Values and their rows; "no value" is not among them.
    Sets(Vec<(u32, Set)>),
    /// The rows in the order of their numbers' ranks, and where each number's lie there.
    Order(Sorted, Box<Runs>),
    /// Nothing: there are too many values, and nobody asks for one of them often enough.
    Nothing,
}

/// How the rows of a column are ordered where there are many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ranking {
    /// Not at all.
    None,
    /// By number.
    Number,
    /// By the place of the tenant in the tree, so that a subtree is one run.
    Tree,
}

impl Finder {
    /// For a column of too many values for sets, of which so many rows are in order already.
    fn of_many(order: Sorted, ranking: Ranking, packed: &Packed) -> Finder {
        if ranking == Ranking::None {
            return Finder::Nothing;
        }
        let runs = Runs::of(&order, ranking == Ranking::Tree, |row| packed.get(row));
        Finder::Order(order, Box::new(runs))
    }
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct Codes {
    packed: Packed,
    finder: Finder,
    ranking: Ranking,
}

impl Codes {
    pub(super) fn new(ranking: Ranking) -> Codes {
        Codes { packed: Packed::Bytes(Vec::new()), finder: Finder::Sets(Vec::new()), ranking }
    }

    pub(super) fn get(&self, row: usize) -> u32 {
        self.packed.get(row)
    }

    /// Gives a row its number.
    pub(super) fn set(&mut self, row: usize, number: u32) {
        let before = self.get(row);
        if before == number {
            return;
        }
        self.packed.set(row, number);
        match &mut self.finder {
            Finder::Sets(sets) => {
                if let Some(i) = sets.iter().position(|(n, _)| *n == before) {
                    sets[i].1.remove(row);
                    if sets[i].1.len() == 0 {
                        sets.swap_remove(i);
                    }
                }
                match sets.iter().position(|(n, _)| *n == number) {
                    Some(i) => sets[i].1.insert(row),
                    None if number == ABSENT => {}
                    None if sets.len() < MOST_SETS => sets.push((number, Set::List(vec![row as u16]))),
                    None => self.finder = Finder::of_many(Sorted::default(), self.ranking, &self.packed),
                }
            }
            Finder::Order(sorted, _) => sorted.moves(row),
            Finder::Nothing => {}
        }
    }

    /// How many rows of a block of this length lie outside the order.
    pub(super) fn loose_len(&self, len: usize) -> usize {
        match &self.finder {
            Finder::Order(sorted, _) => sorted.loose_len(len),
            Finder::Sets(_) | Finder::Nothing => 0,
        }
    }

    /// Puts them in.
    pub(super) fn put_in(&mut self, len: usize, tree: &[u32]) {
        if let Finder::Order(sorted, runs) = &mut self.finder {
            match self.ranking {
                // Numbers without a place in the tree lie behind all others, each by itself.
                Ranking::Tree => sorted.put_in(len, |row| {
                    let number = self.packed.get(row);
                    (rank(tree, number), number)
                }),
                _ => sorted.put_in(len, |row| self.packed.get(row)),
            }
            **runs = Runs::of(sorted, self.ranking == Ranking::Tree, |row| self.packed.get(row));
        }
    }

    /// Keeps the rows whose number is among these.
    pub(super) fn keep(&self, bits: &mut Bits, len: usize, wanted: &Numbers, tree: &[u32]) {
        let passes = |row: usize| wanted.has(self.get(row));
        match &self.finder {
            Finder::Sets(sets) if wanted.has(ABSENT) => {
                sets.iter().filter(|(n, _)| !wanted.has(*n)).for_each(|(_, set)| set.drop_from(bits));
            }
            Finder::Sets(sets) => {
                let (wanted, others): (Vec<_>, Vec<_>) = sets.iter().partition(|(n, _)| wanted.has(*n));
                keep_sets(bits, len, &wanted, &others);
            }
            Finder::Order(sorted, runs) if wanted.list().len() <= MOST_LOOKUPS => {
                sorted.keep_runs(bits, len, &self.found(runs, wanted, tree), passes);
            }
            Finder::Order(sorted, runs) if bits.len() > MOST_ASKED => {
                sorted.keep_places(bits, len, &runs.many(wanted), passes);
            }
            Finder::Order(..) | Finder::Nothing => self.packed.keep(bits, wanted),
        }
    }

    /// Where the rows with these numbers lie in the order.
    fn found(&self, runs: &Runs, wanted: &Numbers, tree: &[u32]) -> Vec<(usize, usize)> {
        if self.ranking != Ranking::Tree {
            return runs.some(wanted.list());
        }
        let mut ranks: Vec<(u32, u32)> = wanted.list().iter().map(|n| (rank(tree, *n), *n)).collect();
        ranks.sort_unstable();
        let ranked = |number: u32| (rank(tree, number), number);
        ranks.into_iter().map(|one| runs.ranked(|n| ranked(n) < one, |n| ranked(n) == one)).collect()
    }

    /// The rows whose number is among these, if they are few and found without looking at others.
    pub(super) fn find_few(&self, len: usize, wanted: &Numbers, tree: &[u32]) -> Option<Vec<u16>> {
        match &self.finder {
            Finder::Sets(sets) if !wanted.has(ABSENT) => few_of(sets.iter().filter(|(n, _)| wanted.has(*n))),
            Finder::Order(sorted, runs) if wanted.list().len() <= MOST_LOOKUPS => {
                sorted.few(len, &self.found(runs, wanted, tree), |row| wanted.has(self.get(row)))
            }
            _ => None,
        }
    }

    /// The rows whose number is not among these, if they are few and found without looking at others.
    pub(super) fn few_others(&self, len: usize, wanted: &Numbers) -> Option<Vec<u16>> {
        let Finder::Sets(sets) = &self.finder else { return None };
        if with_a_number(sets) < len && !wanted.has(ABSENT) {
            return None;
        }
        few_of(sets.iter().filter(|(n, _)| !wanted.has(*n)))
    }

    /// The number of nearly all rows, and the rows that have another one; none where there is no such number.
    pub(super) fn all_but_few(&self, len: usize) -> Option<(u32, Vec<u16>)> {
        let Finder::Sets(sets) = &self.finder else { return None };
        let most = sets.iter().max_by_key(|(_, set)| set.len()).filter(|_| with_a_number(sets) == len);
        let most = most.map_or(ABSENT, |(most, _)| *most);
        few_of(sets.iter().filter(|(n, _)| *n != most)).map(|few| (most, few))
    }

    /// How many rows have a number among these, those counted that were taken away, if that is known without looking.
    pub(super) fn count_of(&self, len: usize, wanted: &Numbers, tree: &[u32]) -> Option<usize> {
        match &self.finder {
            Finder::Sets(sets) => {
                let sum = |wants: bool| -> usize {
                    let some = sets.iter().filter(|(n, _)| wanted.has(*n) == wants);
                    some.map(|(_, set)| set.len()).sum()
                };
                Some(if wanted.has(ABSENT) { len - sum(false) } else { sum(true) })
            }
            Finder::Order(sorted, runs) if sorted.is_whole(len) && wanted.list().len() <= MOST_LOOKUPS => {
                Some(self.found(runs, wanted, tree).into_iter().map(|(from, to)| to - from).sum())
            }
            Finder::Order(..) | Finder::Nothing => None,
        }
    }

    /// How many rows have a tenant in this part of the tree, as [`Codes::count_of`] counts.
    pub(super) fn count_of_part(&self, len: usize, part: &Range<u32>, tree: &[u32]) -> Option<usize> {
        match &self.finder {
            Finder::Order(sorted, runs) if sorted.is_whole(len) => {
                let (from, to) = run_of(runs, part, tree);
                Some(to - from)
            }
            _ => None,
        }
    }

    /// The rows whose tenant lies in this part of the tree, if they are few.
    pub(super) fn find_few_of(&self, len: usize, part: &Range<u32>, tree: &[u32]) -> Option<Vec<u16>> {
        match &self.finder {
            Finder::Sets(sets) => few_of(sets.iter().filter(|(n, _)| part.contains(&rank(tree, *n)))),
            Finder::Order(sorted, runs) => {
                let run = run_of(runs, part, tree);
                sorted.few(len, &[run], |row| self.lies_in(row, part, tree))
            }
            Finder::Nothing => None,
        }
    }

    /// Whether a row's tenant lies in this part of the tree.
    pub(super) fn lies_in(&self, row: usize, part: &Range<u32>, tree: &[u32]) -> bool {
        part.contains(&rank(tree, self.get(row)))
    }

    /// Keeps the rows whose tenant lies in this part of the tree.
    pub(super) fn keep_subtree(&self, bits: &mut Bits, len: usize, part: Range<u32>, tree: &[u32]) {
        let passes = |row: usize| self.lies_in(row, &part, tree);
        match &self.finder {
            Finder::Sets(sets) => {
                let (inside, others): (Vec<_>, Vec<_>) = sets.iter().partition(|(n, _)| part.contains(&rank(tree, *n)));
                keep_sets(bits, len, &inside, &others);
            }
            Finder::Order(sorted, runs) => {
                sorted.keep_runs(bits, len, &[run_of(runs, &part, tree)], passes);
            }
            Finder::Nothing => bits.keep_if(passes),
        }
    }

    /// How many of the rows have each number, added to what is there.
    pub(super) fn count(&self, rows: &Set, counts: &mut [u64]) {
        match (&self.finder, rows) {
            // Few rows among many sets are asked one by one.
            (Finder::Sets(sets), Set::Bits(bits, len)) if *len > sets.len() * EACH_SET => {
                let mut rest = *len;
                for (number, set) in sets {
                    let common = set.common(bits);
                    counts[*number as usize] += common as u64;
                    rest -= common;
                }
                counts[ABSENT as usize] += rest as u64;
            }
            _ => rows.each(|row| counts[self.get(row) as usize] += 1),
        }
    }

    /// How many of the rows have each number together with each of another column.
    pub(super) fn count_with(&self, other: &Codes, rows: &Set, count: &mut impl FnMut(u32, u32, u64)) {
        let (Finder::Sets(own), Finder::Sets(others), Set::Bits(bits, len)) = (&self.finder, &other.finder, rows)
        else {
            return rows.each(|row| count(self.get(row), other.get(row), 1));
        };
        let mut rest = *len;
        for (number, set) in own {
            match set {
                Set::List(rows) => {
                    for row in rows.iter().map(|row| usize::from(*row)).filter(|row| bits.has(*row)) {
                        rest -= 1;
                        count(*number, other.get(row), 1);
                    }
                }
                Set::Bits(rows, _) => {
                    let all = rows.common(bits);
                    rest -= all;
                    if all > 0 {
                        count_sets(*number, others, &[rows, bits], all, count);
                    }
                }
            }
        }
        if rest > 0 {
            let mut without = bits.clone();
            own.iter().for_each(|(_, set)| set.drop_from(&mut without));
            count_sets(ABSENT, others, &[&without, bits], rest, count);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let finder = match &self.finder {
            Finder::Sets(sets) => sets.iter().map(|(_, set)| 40 + set.bytes()).sum(),
            Finder::Order(sorted, runs) => sorted.bytes() + runs.bytes(),
            Finder::Nothing => 0,
        };
        finder + self.packed.bytes()
    }

    /// What is stored of it; the rest is made from this.
    pub(super) fn packed(&self) -> &Packed {
        &self.packed
    }

    /// The order, where there is one and nothing lies outside it.
    pub(super) fn order(&self) -> Option<&[u16]> {
        match &self.finder {
            Finder::Order(sorted, _) if sorted.loose_len(0) == 0 => Some(sorted.rows()),
            _ => None,
        }
    }

    /// The largest number in it.
    pub(super) fn largest(&self) -> u32 {
        (0..self.packed.len()).map(|row| self.packed.get(row)).max().unwrap_or(ABSENT)
    }

    /// The column from what was stored.
    pub(super) fn from_packed(packed: Packed, ranking: Ranking, order: Option<Sorted>) -> Codes {
        let mut codes = Codes::new(ranking);
        let mut sets: Vec<(u32, Vec<u16>)> = Vec::new();
        let mut last = usize::MAX;
        for row in 0..packed.len() {
            let number = packed.get(row);
            if number == ABSENT {
                continue;
            }
            if sets.get(last).is_none_or(|(n, _)| *n != number) {
                last = match sets.iter().position(|(n, _)| *n == number) {
                    Some(i) => i,
                    None if sets.len() == MOST_SETS => {
                        codes.finder = Finder::of_many(order.unwrap_or_default(), ranking, &packed);
                        codes.packed = packed;
                        return codes;
                    }
                    None => {
                        sets.push((number, Vec::new()));
                        sets.len() - 1
                    }
                };
            }
            sets[last].1.push(row as u16);
        }
        let set = |(n, rows): (u32, Vec<u16>)| (n, Set::of(rows));
        codes.finder = Finder::Sets(sets.into_iter().map(set).collect());
        codes.packed = packed;
        codes
    }
}

/// Where the rows of a part of the tree lie.
fn run_of(runs: &Runs, part: &Range<u32>, tree: &[u32]) -> (usize, usize) {
    runs.ranked(|number| rank(tree, number) < part.start, |number| rank(tree, number) < part.end)
}

/// The place of a tenant in the tree; "no tenant" lies behind all.
fn rank(tree: &[u32], number: u32) -> u32 {
    tree.get(number as usize).copied().unwrap_or(u32::MAX)
}

/// How many rows have a number.
fn with_a_number(sets: &[(u32, Set)]) -> usize {
    sets.iter().map(|(_, set)| set.len()).sum()
}

/// The rows of these sets, if they are few.
fn few_of<'s>(sets: impl Iterator<Item = &'s (u32, Set)>) -> Option<Vec<u16>> {
    let mut rows = Vec::new();
    for (_, set) in sets {
        match set {
            Set::List(list) if rows.len() + list.len() <= FEW => rows.extend_from_slice(list),
            _ => return None,
        }
    }
    Some(rows)
}

/// Keeps the rows of the wanted sets: by taking the others away where these are fewer.
fn keep_sets(bits: &mut Bits, len: usize, wanted: &[&(u32, Set)], others: &[&(u32, Set)]) {
    let inside: usize = wanted.iter().map(|(_, set)| set.len()).sum();
    let outside: usize = others.iter().map(|(_, set)| set.len()).sum();
    if inside == len {
        return;
    }
    if inside + outside == len && others.len() < wanted.len() {
        others.iter().for_each(|(_, set)| set.drop_from(bits));
        return;
    }
    match wanted {
        [(_, Set::Bits(only, _))] => bits.keep(only),
        _ => {
            let mut kept = Bits::none();
            wanted.iter().for_each(|(_, set)| set.add_to(&mut kept));
            bits.keep(&kept);
        }
    }
}

/// Counts the `all` rows that two sets have in common by these sets; what no set has, has no value.
fn count_sets(
    number: u32,
    sets: &[(u32, Set)],
    [a, b]: &[&Bits; 2],
    all: usize,
    count: &mut impl FnMut(u32, u32, u64),
) {
    let mut rest = all;
    for (other, set) in sets {
        let common = match set {
            Set::List(rows) => rows.iter().map(|r| usize::from(*r)).filter(|r| a.has(*r) && b.has(*r)).count(),
            Set::Bits(own, _) => own.common_of_three(a, b),
        };
        if common > 0 {
            rest -= common;
            count(number, *other, common as u64);
        }
    }
    if rest > 0 {
        count(number, ABSENT, rest as u64);
    }
}

impl Packed {
    pub(super) fn len(&self) -> usize {
        match self {
            Packed::Bytes(v) => v.len(),
            Packed::Shorts(v) => v.len(),
            Packed::Threes(v) => v.len(),
            Packed::Words(v) => v.len(),
        }
    }

    /// The number of a row; of those behind the last that has one it is that of nothing.
    fn get(&self, row: usize) -> u32 {
        let found = match self {
            Packed::Bytes(v) => v.get(row).copied().map(u32::from),
            Packed::Shorts(v) => v.get(row).copied().map(u32::from),
            Packed::Threes(v) => v.get(row).map(|[low, middle, high]| u32::from_le_bytes([*low, *middle, *high, 0])),
            Packed::Words(v) => v.get(row).copied(),
        };
        found.unwrap_or(ABSENT)
    }

    /// Keeps the rows whose number is wanted, looking at each.
    fn keep(&self, bits: &mut Bits, wanted: &Numbers) {
        fn each<T>(bits: &mut Bits, rows: &[T], wanted: &Numbers, number: impl Fn(&T) -> u32) {
            let absent = wanted.has(ABSENT);
            bits.keep_if(|row| rows.get(row).map_or(absent, |n| wanted.has(number(n))));
        }
        match self {
            Packed::Bytes(v) => each(bits, v, wanted, |n| u32::from(*n)),
            Packed::Shorts(v) => each(bits, v, wanted, |n| u32::from(*n)),
            Packed::Threes(v) => {
                each(bits, v, wanted, |[low, middle, high]| u32::from_le_bytes([*low, *middle, *high, 0]))
            }
            Packed::Words(v) => each(bits, v, wanted, |n| *n),
        }
    }

    fn set(&mut self, row: usize, number: u32) {
        match (&mut *self, number) {
            (Packed::Bytes(v), 0..=0xff) => put(v, row, number as u8),
            (Packed::Shorts(v), 0..=0xffff) => put(v, row, number as u16),
            (Packed::Threes(v), 0..=0xff_ffff) => put(v, row, three(number)),
            (Packed::Words(v), _) => put(v, row, number),
            (Packed::Bytes(v), 0..=0xffff) => {
                *self = Packed::Shorts(v.iter().map(|n| u16::from(*n)).collect());
                self.set(row, number);
            }
            (narrow @ (Packed::Bytes(_) | Packed::Shorts(_)), 0..=0xff_ffff) => {
                *self = Packed::Threes((0..narrow.len()).map(|row| three(narrow.get(row))).collect());
                self.set(row, number);
            }
            (narrow, _) => {
                *self = Packed::Words((0..narrow.len()).map(|row| narrow.get(row)).collect());
                self.set(row, number);
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Packed::Bytes(v) => v.capacity(),
            Packed::Shorts(v) => v.capacity() * 2,
            Packed::Threes(v) => v.capacity() * 3,
            Packed::Words(v) => v.capacity() * 4,
        }
    }
}

fn three(number: u32) -> [u8; 3] {
    let [low, middle, high, _] = number.to_le_bytes();
    [low, middle, high]
}

fn put<T: Copy + Default>(rows: &mut Vec<T>, row: usize, value: T) {
    if row >= rows.len() {
        rows.resize(row + 1, T::default());
    }
    rows[row] = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_come_back() {
        let mut codes = Codes::new(Ranking::None);
        let mut model = Vec::new();
        for (row, number) in [0, 1, 255, 256, 65_535, 65_536, 1 << 24, u32::MAX, 7, 1 << 23].into_iter().enumerate() {
            codes.set(row, number);
            model.push(number);
            let found: Vec<u32> = (0..model.len()).map(|row| codes.get(row)).collect();
            assert_eq!(found, model);
            assert_eq!(codes.largest(), *model.iter().max().expect("there is one"));
            let stored = Codes::from_packed(codes.packed().clone(), Ranking::None, None);
            assert!((0..model.len()).all(|row| stored.get(row) == model[row]));
        }
        assert_eq!(codes.get(model.len()), ABSENT);
    }

    #[test]
    fn who_does_not_pass_and_how_many_do_is_as_each_row_says() {
        const LEN: usize = 100;
        // Ranks as in a tree, the other way round.
        let tree: Vec<u32> = (0..200).map(|number| if number == 0 { u32::MAX } else { 300 - number }).collect();
        let columns: [fn(u32) -> u32; 5] = [
            |row| if row % 30 == 4 { 2 } else { 1 },
            |row| if row % 30 == 4 { 2 } else { ABSENT },
            |row| row % 3,
            |row| row % 90 + 1,
            |row| row % 80,
        ];
        let wishes = [vec![], vec![ABSENT], vec![1], vec![2], vec![1, 2], vec![ABSENT, 1, 2], vec![3, 17, 29]];
        let mut told = [0; 4];
        for (number, ranking) in columns.iter().flat_map(|f| [(f, Ranking::Number), (f, Ranking::Tree)]) {
            let mut codes = Codes::new(ranking);
            (0..LEN).for_each(|row| codes.set(row, number(row as u32)));
            for tidy in [false, true] {
                if tidy {
                    codes.put_in(LEN, &tree);
                }
                for wanted in wishes.clone().map(Numbers::of) {
                    let others: Vec<u16> =
                        (0..LEN as u16).filter(|r| !wanted.has(codes.get(usize::from(*r)))).collect();
                    if let Some(mut found) = codes.few_others(LEN, &wanted) {
                        found.sort_unstable();
                        assert_eq!(found, others, "{wanted:?}");
                        told[0] += 1;
                    }
                    if let Some(count) = codes.count_of(LEN, &wanted, &tree) {
                        assert_eq!(count, LEN - others.len(), "{wanted:?}");
                        told[1] += 1;
                    }
                }
                for part in [280..290, 0..1000, 299..300, 5..6].into_iter().filter(|_| ranking == Ranking::Tree) {
                    let inside = (0..LEN).filter(|row| codes.lies_in(*row, &part, &tree)).count();
                    if let Some(count) = codes.count_of_part(LEN, &part, &tree) {
                        assert_eq!(count, inside);
                        told[2] += 1;
                    }
                }
                if let Some((most, mut few)) = codes.all_but_few(LEN) {
                    few.sort_unstable();
                    let others = (0..LEN as u16).filter(|row| codes.get(usize::from(*row)) != most);
                    assert_eq!(few, others.collect::<Vec<_>>());
                    told[3] += 1;
                }
            }
        }
        assert!(told.iter().all(|told| *told > 0), "{told:?}");
    }
}
