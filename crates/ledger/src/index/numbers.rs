//! A column of a block that holds times or whole numbers: the values, and the rows in their order.

use std::collections::BTreeMap;

use super::bits::Bits;
use super::sorted::{FEW, FEW_ASKED, Sorted};

/// What stands for "no value". No ledger holds so early a time.
pub(super) const ABSENT: i64 = i64::MIN;

/// Up to so many rows stand in a tree instead of a place each.
const MOST_LISTED: usize = if cfg!(all(test, debug_assertions)) { 8 } else { 4096 };

/// Up to so many ranges are looked up one by one in an order.
const MOST_RANGES: usize = 64;

/// The values that the values of rows lie near to: when each was created.
pub(super) type Base<'a> = &'a [i64];

/// The values of the rows. Rows behind the end have none.
#[derive(Debug, Clone)]
pub(super) enum Values {
    /// A few rows have one.
    Few(BTreeMap<u16, i64>),
    /// So many rows have that of their base, but for a few, which are listed: most tasks never come back to a queue.
    Same { rows: usize, far: BTreeMap<u16, i64> },
    /// From 0 on, and none so large as to need more than 32 bits; the largest number of these stands for no value.
    Small(Vec<u32>),
    /// Most rows have one, within 39 hours of their base: 48 bits of the distance in two parts. Those of a few rows that
    /// lie farther off are listed.
    Near { low: Vec<u32>, high: Vec<u16>, far: BTreeMap<u16, i64> },
    /// Anything.
    Wide(Vec<i64>),
}

/// In which order the rows lie.
#[derive(Debug, Clone)]
enum Order {
    /// As they are: each has a value, none smaller than the one before.
    Natural,
    Sorted(Sorted),
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct Numeric {
    values: Values,
    order: Order,
}

/// Which values are wanted: ranges, ends included, and whether no value is.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranges {
    pub(super) ranges: Vec<(i64, i64)>,
    pub(super) absent: bool,
}

impl Ranges {
    pub(super) fn has(&self, value: i64) -> bool {
        if value == ABSENT {
            return self.absent;
        }
        self.ranges.iter().any(|(from, to)| (*from..=*to).contains(&value))
    }
}

impl Numeric {
    /// A column in which nearly every row has a value near to its base.
    pub(super) fn new() -> Numeric {
        Numeric { values: Values::Few(BTreeMap::new()), order: Order::Natural }
    }

    /// The base itself.
    pub(super) fn base() -> Numeric {
        Numeric { values: Values::Wide(Vec::new()), order: Order::Natural }
    }

    /// The values as others' base.
    pub(super) fn wide(&self) -> Base<'_> {
        match &self.values {
            Values::Wide(values) => values,
            _ => &[],
        }
    }

    pub(super) fn get(&self, row: usize, base: Base<'_>) -> i64 {
        self.values.get(row, base)
    }

    /// Gives a row its value; `len` rows were there before.
    pub(super) fn set(&mut self, row: usize, value: i64, len: usize, base: Base<'_>) {
        let before = self.get(row, base);
        if let Order::Natural = self.order {
            let last = row.checked_sub(1).map_or(ABSENT, |last| self.get(last, base));
            let goes_on = row == len && value != ABSENT && value >= last && (row == 0 || last != ABSENT);
            if !goes_on && (row >= len || before != value) {
                self.order = Order::Sorted(Sorted::default());
            }
        }
        if before == value {
            return;
        }
        self.values.set(row, value, base);
        if let Order::Sorted(sorted) = &mut self.order {
            sorted.moves(row);
        }
    }

    /// How many rows of a block of this length lie outside the order.
    pub(super) fn loose_len(&self, len: usize) -> usize {
        match (&self.values, &self.order) {
            (Values::Few(_), _) | (_, Order::Natural) => 0,
            (_, Order::Sorted(sorted)) => sorted.loose_len(len),
        }
    }

    /// Puts them in.
    pub(super) fn put_in(&mut self, len: usize, base: Base<'_>) {
        if let Order::Sorted(sorted) = &mut self.order {
            sorted.put_in(len, |row| self.values.get(row, base));
        }
    }

    /// Keeps the rows whose value is wanted.
    pub(super) fn keep(&self, bits: &mut Bits, len: usize, wanted: &Ranges, base: Base<'_>) {
        let passes = |row: usize| wanted.has(self.get(row, base));
        match (&self.values, &self.order) {
            (Values::Few(rows), _) => {
                let hits = rows.iter().filter(|(_, value)| wanted.has(**value) != wanted.absent);
                if wanted.absent {
                    hits.for_each(|(row, _)| bits.remove(usize::from(*row)));
                } else {
                    let mut kept = Bits::none();
                    hits.for_each(|(row, _)| kept.insert(usize::from(*row)));
                    bits.keep(&kept);
                }
            }
            (values, Order::Natural) => {
                let mut kept = Bits::none();
                for (from, to) in &wanted.ranges {
                    let begin = lowest(len, |row| values.get(row, base) < *from);
                    let mut run = Bits::before(lowest(len, |row| values.get(row, base) <= *to));
                    run.drop_all(&Bits::before(begin));
                    kept.add(&run);
                }
                bits.keep(&kept);
            }
            (_, Order::Sorted(sorted)) if wanted.ranges.len() <= MOST_RANGES && sorted.upto() > 0 => {
                sorted.keep_runs(bits, len, &self.runs(sorted, wanted, base), passes);
            }
            _ => bits.keep_if(passes),
        }
    }

    /// Where the wanted rows lie in the order.
    fn runs(&self, sorted: &Sorted, wanted: &Ranges, base: Base<'_>) -> Vec<(usize, usize)> {
        let (values, end) = (&self.values, sorted.rows().len());
        let mut runs = Vec::new();
        if wanted.absent {
            runs.push((0, sorted.place(0, end, |row| values.get(row, base) == ABSENT)));
        }
        for (from, to) in &wanted.ranges {
            let begin = sorted.place(0, end, |row| values.get(row, base) < *from);
            runs.push((begin, sorted.place(begin, end, |row| values.get(row, base) <= *to)));
        }
        runs
    }

    /// The rows whose value is wanted, if they are few and found without looking at others.
    pub(super) fn find_few(&self, len: usize, wanted: &Ranges, base: Base<'_>) -> Option<Vec<u16>> {
        match (&self.values, &self.order) {
            (Values::Few(rows), _) if !wanted.absent && rows.len() <= FEW => {
                Some(rows.iter().filter(|(_, value)| wanted.has(**value)).map(|(row, _)| *row).collect())
            }
            (Values::Few(_), _) | (_, Order::Natural) => None,
            (_, Order::Sorted(sorted)) if wanted.ranges.len() <= MOST_RANGES && sorted.upto() > 0 => {
                sorted.few(len, &self.runs(sorted, wanted, base), |row| wanted.has(self.get(row, base)))
            }
            _ => None,
        }
    }

    /// The rows whose value is not wanted, if they are few and found without looking at others.
    pub(super) fn few_others(&self, len: usize, wanted: &Ranges, base: Base<'_>) -> Option<Vec<u16>> {
        let get = |row: usize| self.values.get(row, base);
        let together = |a: i64, b: i64| wanted.ranges.iter().any(|(from, to)| (*from..=*to).contains(&a) && b <= *to);
        match (&self.values, &self.order) {
            (Values::Few(rows), _) if wanted.absent && rows.len() <= FEW => {
                Some(rows.iter().filter(|(_, value)| !wanted.has(**value)).map(|(row, _)| *row).collect())
            }
            (Values::Few(_), _) => None,
            (_, Order::Natural) => (len == 0 || together(get(0), get(len - 1))).then(Vec::new),
            (_, Order::Sorted(sorted)) if sorted.is_whole(len) => {
                let rows = sorted.rows();
                // Rows without a value come first.
                let without =
                    rows.iter().take(FEW_ASKED + 1).take_while(|row| get(usize::from(**row)) == ABSENT).count();
                let (first, last) = (rows.get(without)?, rows.last()?);
                let rest_is_wanted =
                    without <= FEW_ASKED && together(get(usize::from(*first)), get(usize::from(*last)));
                rest_is_wanted.then(|| if wanted.absent { Vec::new() } else { rows[..without].to_vec() })
            }
            (_, Order::Sorted(_)) => None,
        }
    }

    /// How many rows have a wanted value, those counted that were taken away, if that is known without looking at them.
    pub(super) fn count_of(&self, len: usize, wanted: &Ranges, base: Base<'_>) -> Option<usize> {
        match (&self.values, &self.order) {
            (Values::Few(rows), _) => {
                let some = rows.values().filter(|value| wanted.has(**value)).count();
                Some(if wanted.absent { len - rows.len() + some } else { some })
            }
            (_, Order::Sorted(sorted)) if wanted.ranges.len() <= MOST_RANGES && sorted.is_whole(len) => {
                Some(self.runs(sorted, wanted, base).into_iter().map(|(from, to)| to - from).sum())
            }
            (_, Order::Natural | Order::Sorted(_)) => None,
        }
    }

    /// The rows with a value in their order, for those who walk along it.
    pub(super) fn lane(&self, len: usize, base: Base<'_>) -> Lane<'_> {
        match (&self.values, &self.order) {
            (Values::Few(rows), _) => Lane::Loose(rows.keys().map(|r| usize::from(*r)).collect()),
            (_, Order::Natural) => Lane::Natural(len),
            (values, Order::Sorted(sorted)) => {
                let begin = sorted.place(0, sorted.rows().len(), |row| values.get(row, base) == ABSENT);
                Lane::Sorted(sorted, begin)
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let tree = |rows: &BTreeMap<u16, i64>| rows.len() * 16;
        let order = match &self.order {
            Order::Natural => 0,
            Order::Sorted(sorted) => sorted.bytes(),
        };
        order
            + match &self.values {
                Values::Few(rows) | Values::Same { far: rows, .. } => tree(rows),
                Values::Small(rows) => rows.capacity() * 4,
                Values::Near { low, high, far } => low.capacity() * 4 + high.capacity() * 2 + tree(far),
                Values::Wide(rows) => rows.capacity() * 8,
            }
    }

    /// What is stored of it.
    pub(super) fn parts(&self) -> (&Values, Option<&[u16]>) {
        match &self.order {
            Order::Natural => (&self.values, None),
            Order::Sorted(sorted) => (&self.values, Some(if sorted.loose_len(0) == 0 { sorted.rows() } else { &[] })),
        }
    }

    /// The column from what was stored.
    pub(super) fn from_parts(values: Values, order: Option<Sorted>) -> Numeric {
        Numeric { values, order: order.map_or(Order::Natural, Order::Sorted) }
    }
}

/// The rows of a column that have a value, in its order.
pub(super) enum Lane<'a> {
    /// So many, as they lie.
    Natural(usize),
    /// From this place on; and the loose ones by themselves.
    Sorted(&'a Sorted, usize),
    /// These, in no order.
    Loose(Vec<usize>),
}

/// The first of `len` rows that is not `less`.
fn lowest(len: usize, less: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if less(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

const MIDDLE: i64 = 1 << 47;
const NONE: (u32, u16) = (u32::MAX, u16::MAX);
const FAR: (u32, u16) = (u32::MAX - 1, u16::MAX);

impl Values {
    fn get(&self, row: usize, base: Base<'_>) -> i64 {
        match self {
            Values::Few(rows) => rows.get(&(row as u16)).copied().unwrap_or(ABSENT),
            Values::Same { rows, .. } if row >= *rows => ABSENT,
            Values::Same { far, .. } if far.is_empty() => base[row],
            Values::Same { far, .. } => far.get(&(row as u16)).copied().unwrap_or(base[row]),
            Values::Small(rows) => rows.get(row).filter(|n| **n != u32::MAX).map_or(ABSENT, |n| i64::from(*n)),
            Values::Wide(rows) => rows.get(row).copied().unwrap_or(ABSENT),
            Values::Near { low, high, far } => {
                let (Some(low), Some(high)) = (low.get(row), high.get(row)) else { return ABSENT };
                match (*low, *high) {
                    NONE => ABSENT,
                    FAR => far.get(&(row as u16)).copied().unwrap_or(ABSENT),
                    (low, high) => base[row].wrapping_add((i64::from(high) << 32 | i64::from(low)) - MIDDLE),
                }
            }
        }
    }

    fn set(&mut self, row: usize, value: i64, base: Base<'_>) {
        match self {
            Values::Few(rows) => {
                // The first row shows what kind of column it is.
                if rows.is_empty() && row < MOST_LISTED && base.get(row) == Some(&value) {
                    *self = Values::Same { rows: 0, far: BTreeMap::new() };
                    return self.set(row, value, base);
                }
                if value == ABSENT {
                    rows.remove(&(row as u16));
                } else {
                    rows.insert(row as u16, value);
                }
                if rows.len() > MOST_LISTED {
                    let rows = std::mem::take(rows);
                    let narrow = rows.values().all(|value| small(*value).is_some());
                    *self = if narrow { Values::Small(Vec::new()) } else { Values::near() };
                    rows.into_iter().for_each(|(row, value)| self.set(usize::from(row), value, base));
                }
            }
            Values::Same { rows, far } => {
                for between in *rows..row {
                    far.insert(between as u16, ABSENT);
                }
                *rows = (*rows).max(row + 1);
                if base.get(row) == Some(&value) {
                    far.remove(&(row as u16));
                } else {
                    far.insert(row as u16, value);
                }
                if far.len() > MOST_LISTED {
                    self.become_one(Values::near(), base);
                }
            }
            Values::Small(rows) => match small(value) {
                Some(value) => {
                    if row >= rows.len() {
                        rows.resize(row + 1, u32::MAX);
                    }
                    rows[row] = value;
                }
                None => {
                    self.become_one(Values::Wide(Vec::new()), base);
                    self.set(row, value, base);
                }
            },
            Values::Wide(rows) => {
                if row >= rows.len() {
                    rows.resize(row + 1, ABSENT);
                }
                rows[row] = value;
            }
            Values::Near { low, high, far } => {
                if row >= low.len() {
                    low.resize(row + 1, NONE.0);
                    high.resize(row + 1, NONE.1);
                }
                far.remove(&(row as u16));
                let near = base.get(row).and_then(|base| value.checked_sub(*base)).and_then(|d| d.checked_add(MIDDLE));
                let parts = match near {
                    _ if value == ABSENT => NONE,
                    Some(near) if (0..0xffff << 32).contains(&near) => (near as u32, (near >> 32) as u16),
                    _ => {
                        far.insert(row as u16, value);
                        FAR
                    }
                };
                (low[row], high[row]) = parts;
                if far.len() > MOST_LISTED {
                    self.become_one(Values::Wide(Vec::new()), base);
                }
            }
        }
    }

    fn near() -> Values {
        Values::Near { low: Vec::new(), high: Vec::new(), far: BTreeMap::new() }
    }

    /// How many rows may have a value.
    pub(super) fn len(&self) -> usize {
        match self {
            Values::Few(rows) => rows.last_key_value().map_or(0, |(row, _)| usize::from(*row) + 1),
            Values::Same { rows, .. } => *rows,
            Values::Small(rows) => rows.len(),
            Values::Near { low, .. } => low.len(),
            Values::Wide(rows) => rows.len(),
        }
    }

    /// Holds the same values in another way.
    fn become_one(&mut self, mut other: Values, base: Base<'_>) {
        (0..self.len()).for_each(|row| other.set(row, self.get(row, base), base));
        *self = other;
    }
}

/// A value as a small one, if it is that or none.
fn small(value: i64) -> Option<u32> {
    match value {
        ABSENT => Some(u32::MAX),
        value => u32::try_from(value).ok().filter(|n| *n != u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns as tasks have them, and one of everything: each row's value by its row and base.
    const COLUMNS: [fn(usize, i64) -> i64; 6] = [
        |_, base| base,
        |row, base| if row.is_multiple_of(20) { base + 5 } else { base },
        |row, base| if row.is_multiple_of(3) { ABSENT } else { base + row as i64 * 1000 },
        |row, _| (row as i64 * 7919) % 1000,
        |row, _| if row == 90 { i64::MAX } else { row as i64 },
        |row, base| [base, ABSENT, 3, i64::MAX, -5, base - 7][row % 6],
    ];

    #[test]
    fn values_come_back_however_they_are_held() {
        let base: Vec<i64> = (0..120).map(|row| 1_700_000_000_000_000_000 + row * 1_000_000_007).collect();
        let mut seen = [false; 5];
        for (n, value) in COLUMNS.iter().enumerate() {
            let mut values = Values::Few(BTreeMap::new());
            let mut model = vec![ABSENT; base.len()];
            // Once as they come, and once more with others.
            for (other, value) in [*value, COLUMNS[(n + 1) % COLUMNS.len()]].into_iter().enumerate() {
                for row in (0..base.len()).filter(|row| row % 50 != 7) {
                    model[row] = value(row, base[row]);
                    values.set(row, model[row], &base);
                    let held = match &values {
                        Values::Few(_) => 0,
                        Values::Same { .. } => 1,
                        Values::Small(_) => 2,
                        Values::Near { .. } => 3,
                        Values::Wide(_) => 4,
                    };
                    seen[held] = true;
                }
                let found: Vec<i64> = (0..base.len()).map(|row| values.get(row, &base)).collect();
                assert_eq!(found, model, "column {n}, {other}: {values:?}");
            }
        }
        assert_eq!(seen, [true; 5]);
    }

    #[test]
    fn who_does_not_pass_and_how_many_do_is_as_each_row_says() {
        const LEN: usize = 100;
        let base: Vec<i64> = (0..LEN as i64).map(|row| 1_700_000_000_000_000_000 + row * 1_000_000_007).collect();
        let few_have_none = |row, base| if row % 30 == 4 { ABSENT } else { base + 9 };
        let few_have_one = |row, base| if row % 30 == 4 { base + 9 } else { ABSENT };
        let mut told = [0; 4];
        for value in COLUMNS.into_iter().chain([few_have_none, few_have_one]) {
            let mut column = Numeric::new();
            for (row, base_of_row) in base.iter().enumerate() {
                column.set(row, value(row, *base_of_row), row, &base);
            }
            for tidy in [false, true] {
                if tidy {
                    column.put_in(LEN, &base);
                }
                let mut values: Vec<i64> = (0..LEN).map(|row| column.get(row, &base)).collect();
                let get = values.clone();
                values.retain(|value| *value != ABSENT);
                values.sort_unstable();
                let ends =
                    [0, 1, values.len() / 2, values.len() - 1].map(|n| values.get(n).copied().unwrap_or_default());
                let ranges = ends.iter().flat_map(|from| ends.map(|to| vec![(*from, to)])).chain([Vec::new()]);
                for (ranges, absent) in ranges.flat_map(|ranges| [(ranges.clone(), false), (ranges, true)]) {
                    let wanted = Ranges { ranges, absent };
                    let others: Vec<u16> = (0..LEN as u16).filter(|row| !wanted.has(get[usize::from(*row)])).collect();
                    if let Some(mut found) = column.few_others(LEN, &wanted, &base) {
                        found.sort_unstable();
                        assert_eq!(found, others, "{wanted:?} of {column:?}");
                        told[usize::from(found.is_empty())] += 1;
                    }
                    if let Some(count) = column.count_of(LEN, &wanted, &base) {
                        assert_eq!(count, LEN - others.len(), "{wanted:?} of {column:?}");
                        told[2 + usize::from(tidy)] += 1;
                    }
                }
            }
        }
        assert!(told.iter().all(|told| *told > 0), "{told:?}");
    }
}
