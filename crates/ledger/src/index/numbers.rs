//! A column of a block that holds times or whole numbers: the values, and the rows in their order.

use std::collections::BTreeMap;

use super::bits::Bits;
use super::sorted::Sorted;

/// What stands for "no value". No ledger holds so early a time.
pub(super) const ABSENT: i64 = i64::MIN;

/// Up to so many rows stand in a tree instead of a place each.
const MOST_LISTED: usize = if cfg!(all(test, debug_assertions)) { 8 } else { 4096 };

/// The values that the values of rows lie near to: when each was created.
pub(super) type Base<'a> = &'a [i64];

/// The values of the rows. Rows behind the end have none.
#[derive(Debug, Clone)]
pub(super) enum Values {
    /// A few rows have one.
    Few(BTreeMap<u16, i64>),
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

    /// Puts rows in their order if more than this lie outside it; whether it did.
    pub(super) fn tidy(&mut self, len: usize, most: usize, base: Base<'_>) -> bool {
        let is_listed = self.is_listed();
        match &mut self.order {
            Order::Sorted(sorted) if !is_listed && sorted.loose_len(len) > most => {
                sorted.put_in(len, |row| self.values.get(row, base));
                true
            }
            _ => false,
        }
    }

    fn is_listed(&self) -> bool {
        matches!(self.values, Values::Few(_))
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
            (values, Order::Sorted(sorted)) if wanted.ranges.len() <= 64 && sorted.upto() > 0 => {
                let end = sorted.rows().len();
                let mut runs = Vec::new();
                if wanted.absent {
                    runs.push((0, sorted.place(0, end, |row| values.get(row, base) == ABSENT)));
                }
                for (from, to) in &wanted.ranges {
                    let begin = sorted.place(0, end, |row| values.get(row, base) < *from);
                    runs.push((begin, sorted.place(begin, end, |row| values.get(row, base) <= *to)));
                }
                sorted.keep_runs(bits, len, &runs, passes);
            }
            _ => bits.keep_if(passes),
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
                Values::Few(rows) => tree(rows),
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
                if value == ABSENT {
                    rows.remove(&(row as u16));
                } else {
                    rows.insert(row as u16, value);
                }
                if rows.len() > MOST_LISTED {
                    let rows = std::mem::take(rows);
                    *self = Values::Near { low: Vec::new(), high: Vec::new(), far: BTreeMap::new() };
                    rows.into_iter().for_each(|(row, value)| self.set(usize::from(row), value, base));
                }
            }
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
                    let all = (0..low.len()).map(|row| self.get(row, base)).collect();
                    *self = Values::Wide(all);
                }
            }
        }
    }
}
