//! A filter as the index carries it out: tests of columns, the cheapest first.

use std::ops::{Bound, Range};

use domain::query::{Clause, Field, Filter, Pattern, Read, Test, Value, nanos};
use domain::{Scope, Uuid};

use super::bits::{Bits, ROWS};
use super::block::{BASE, Block};
use super::dictionary::Numbers;
use super::numbers::{ABSENT, Ranges};
use super::{Index, Place};

/// A test of the rows of a block.
#[derive(Debug, Clone)]
pub(super) enum Sieve {
    /// The value has one of these numbers.
    Codes(usize, Numbers),
    /// The value lies in these ranges.
    Numbers(usize, Ranges),
    /// The tenant lies in this part of the tree.
    Tenants(usize, Range<u32>),
    /// The row is among these, in order; or not among them.
    Rows(Vec<u64>, bool),
    /// The row's number lies in these ranges, ends included.
    RowRanges(Vec<(u64, u64)>),
    /// The row passes all tests of one of these ways; or of none of them.
    Ways(Vec<Vec<Sieve>>, bool),
    /// No row passes.
    Nothing,
}

/// How the ids of rows are found by uuid, which the index does not hold.
pub(crate) type ByUuid<'a> = &'a dyn Fn(Uuid) -> domain::Result<Option<i64>>;

impl<F: Field> Index<F> {
    /// The tests of a filter; none if only the record can answer it.
    pub(super) fn sieves(
        &self,
        scope: &Scope,
        filter: &Filter<F>,
        by_uuid: ByUuid<'_>,
    ) -> domain::Result<Option<Vec<Sieve>>> {
        let mut sieves = Vec::new();
        if let Some((column, part)) = self.part(scope) {
            sieves.push(Sieve::Tenants(column, part));
        }
        let Some(plain) = self.tests(filter.clauses(), by_uuid)? else { return Ok(None) };
        sieves.extend(plain);
        for choice in filter.choices() {
            let ways = choice.ways().iter().map(|way| self.tests(way, by_uuid));
            let Some(ways) = ways.collect::<domain::Result<Option<Vec<_>>>>()? else { return Ok(None) };
            sieves.push(Sieve::Ways(ways, choice.wanted()));
        }
        sieves.sort_by_key(|s| self.cost(s));
        Ok(Some(sieves))
    }

    /// The tests of clauses, the cheapest first; none if only the record can answer one.
    fn tests(&self, clauses: &[Clause<F>], by_uuid: ByUuid<'_>) -> domain::Result<Option<Vec<Sieve>>> {
        let mut sieves = Vec::new();
        for clause in clauses {
            match self.place(clause.field()) {
                Place::Number(_) | Place::Id if has_digits(clause) => return Ok(None),
                Place::Code(column) => sieves.push(Sieve::Codes(column, self.dictionaries[column].matching(clause))),
                Place::Number(column) => sieves.push(Sieve::Numbers(column, ranges(clause))),
                Place::Id => {
                    let Ranges { ranges, .. } = ranges(clause);
                    let row = |n: i64| u64::try_from(n).unwrap_or_default();
                    sieves.push(match clause.test() {
                        Test::Absent => Sieve::Nothing,
                        Test::AnyOf(_) => {
                            Sieve::Rows(ordered(ranges.iter().filter(|r| r.0 >= 0).map(|r| row(r.0)).collect()), true)
                        }
                        _ => Sieve::RowRanges(
                            ranges.iter().filter(|r| r.1 >= 0).map(|(a, b)| (row(*a), row(*b))).collect(),
                        ),
                    });
                }
                Place::Elsewhere => match clause.test() {
                    Test::AnyOf(patterns) => sieves.push(Sieve::Rows(found(patterns, by_uuid)?, true)),
                    Test::NoneOf(patterns) => sieves.push(Sieve::Rows(found(patterns, by_uuid)?, false)),
                    Test::Present => {}
                    Test::Absent => sieves.push(Sieve::Nothing),
                    Test::Range { .. } => return Ok(None),
                },
            }
        }
        sieves.sort_by_key(|s| self.cost(s));
        Ok(Some(sieves))
    }

    fn cost(&self, sieve: &Sieve) -> u8 {
        match sieve {
            Sieve::Nothing | Sieve::Rows(_, true) | Sieve::RowRanges(_) => 0,
            Sieve::Tenants(..) => 1,
            Sieve::Codes(column, wanted) if self.is_ordered(*column) && wanted.list().len() <= 8 => 1,
            Sieve::Codes(column, _) if self.dictionaries[*column].last() <= 64 => 2,
            Sieve::Numbers(..) | Sieve::Rows(..) => 3,
            Sieve::Codes(..) => 4,
            Sieve::Ways(..) => 5,
        }
    }
}

/// Whether a clause looks at parts of whole numbers, which no column is ordered by.
fn has_digits<F: Field>(clause: &Clause<F>) -> bool {
    matches!(clause.test(), Test::AnyOf(patterns) | Test::NoneOf(patterns)
        if patterns.iter().any(|p| !matches!(p, Pattern::Is(_))))
}

fn found(patterns: &[Pattern], by_uuid: ByUuid<'_>) -> domain::Result<Vec<u64>> {
    let mut rows = Vec::new();
    for pattern in patterns {
        if let Pattern::Is(Value::Uuid(id)) = pattern
            && let Some(id) = by_uuid(*id)?
        {
            rows.push(u64::try_from(id).unwrap_or_default());
        }
    }
    Ok(ordered(rows))
}

fn ordered(mut rows: Vec<u64>) -> Vec<u64> {
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// A value of a question as number columns hold it.
pub(super) fn number(value: &Value) -> i64 {
    match value {
        Value::Int(n) | Value::Enum(n) => *n,
        Value::Time(t) => nanos(*t),
        _ => 0,
    }
    .max(ABSENT + 1)
}

/// What a row shows in a field as number columns hold it.
pub(super) fn shown(read: Read<'_>) -> i64 {
    read.single().map_or(ABSENT, |cell| number(&cell.to_value()))
}

/// What a clause about numbers or times lets through.
fn ranges<F: Field>(clause: &Clause<F>) -> Ranges {
    let points = |patterns: &[Pattern]| {
        let mut points: Vec<i64> = patterns
            .iter()
            .filter_map(|p| match p {
                Pattern::Is(value) => Some(number(value)),
                _ => None,
            })
            .collect();
        points.sort_unstable();
        points.dedup();
        points
    };
    let least = ABSENT + 1;
    let ranges = match clause.test() {
        Test::AnyOf(patterns) => points(patterns).into_iter().map(|p| (p, p)).collect(),
        Test::NoneOf(patterns) => {
            let mut ranges = Vec::new();
            let mut from = Some(least);
            for point in points(patterns) {
                if let Some(from) = from
                    && from < point
                {
                    ranges.push((from, point - 1));
                }
                from = point.checked_add(1);
            }
            ranges.extend(from.map(|from| (from, i64::MAX)));
            ranges
        }
        Test::Range { from, to } => {
            let from = match from {
                Bound::Included(v) => Some(number(v)),
                Bound::Excluded(v) => number(v).checked_add(1),
                Bound::Unbounded => Some(least),
            };
            let to = match to {
                Bound::Included(v) => Some(number(v)),
                Bound::Excluded(v) => Some(number(v) - 1),
                Bound::Unbounded => Some(i64::MAX),
            };
            from.zip(to).filter(|(from, to)| from <= to).into_iter().collect()
        }
        Test::Present => vec![(least, i64::MAX)],
        Test::Absent => return Ranges { ranges: Vec::new(), absent: true },
    };
    Ranges { ranges, absent: false }
}

impl Sieve {
    /// The rows of a block that pass, if they are few and found without looking at others.
    pub(super) fn find_few(&self, block: &Block, tree: &[u32]) -> Option<Vec<u16>> {
        match self {
            Sieve::Codes(column, wanted) => block.codes[*column].find_few(block.len, wanted, tree),
            Sieve::Numbers(column, wanted) => {
                block.numbers[*column].find_few(block.len, wanted, block.numbers[BASE].wide())
            }
            Sieve::Tenants(column, part) => block.codes[*column].find_few_of(block.len, part, tree),
            Sieve::Nothing => Some(Vec::new()),
            Sieve::Rows(..) | Sieve::RowRanges(_) | Sieve::Ways(..) => None,
        }
    }

    /// The rows of a block that do not pass, if they are few and found without looking at others. Rows that were taken away
    /// may be among them.
    pub(super) fn few_others(&self, number: usize, block: &Block) -> Option<Vec<u16>> {
        match self {
            Sieve::Codes(column, wanted) => block.codes[*column].few_others(block.len, wanted),
            Sieve::Numbers(column, wanted) => {
                block.numbers[*column].few_others(block.len, wanted, block.numbers[BASE].wide())
            }
            Sieve::RowRanges(ranges) => {
                let (first, last) = ends(number);
                ranges.iter().any(|(from, to)| *from <= first && last <= *to).then(Vec::new)
            }
            Sieve::Tenants(..) | Sieve::Rows(..) | Sieve::Ways(..) | Sieve::Nothing => None,
        }
    }

    /// How many rows of a block pass, those counted that were taken away, if that is known without looking at them.
    pub(super) fn count(&self, block: &Block, tree: &[u32]) -> Option<usize> {
        match self {
            Sieve::Codes(column, wanted) => block.codes[*column].count_of(block.len, wanted, tree),
            Sieve::Numbers(column, wanted) => {
                block.numbers[*column].count_of(block.len, wanted, block.numbers[BASE].wide())
            }
            Sieve::Tenants(column, part) => block.codes[*column].count_of_part(block.len, part, tree),
            Sieve::Rows(..) | Sieve::RowRanges(_) | Sieve::Ways(..) | Sieve::Nothing => None,
        }
    }

    /// Whether a row of a block passes.
    pub(super) fn passes(&self, row: usize, number: usize, block: &Block, tree: &[u32]) -> bool {
        let all = (number * ROWS + row) as u64;
        match self {
            Sieve::Codes(column, wanted) => wanted.has(block.codes[*column].get(row)),
            Sieve::Numbers(column, wanted) => wanted.has(block.number(*column, row)),
            Sieve::Tenants(column, part) => block.codes[*column].lies_in(row, part, tree),
            Sieve::Rows(rows, wanted) => rows.binary_search(&all).is_ok() == *wanted,
            Sieve::RowRanges(ranges) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&all)),
            Sieve::Ways(ways, wanted) => {
                let open = |way: &Vec<Sieve>| way.iter().all(|sieve| sieve.passes(row, number, block, tree));
                ways.iter().any(open) == *wanted
            }
            Sieve::Nothing => false,
        }
    }

    /// Keeps the rows of a block that pass. `block` is which one, for rows are numbered through all of them.
    pub(super) fn keep(&self, bits: &mut Bits, number: usize, block: &Block, tree: &[u32]) {
        if let Some(few) = self.few_others(number, block) {
            return few.into_iter().for_each(|row| bits.remove(usize::from(row)));
        }
        let (first, last) = ends(number);
        match self {
            Sieve::Codes(column, wanted) => block.codes[*column].keep(bits, block.len, wanted, tree),
            Sieve::Numbers(column, wanted) => {
                block.numbers[*column].keep(bits, block.len, wanted, block.numbers[BASE].wide());
            }
            Sieve::Tenants(column, part) => block.codes[*column].keep_subtree(bits, block.len, part.clone(), tree),
            Sieve::Rows(rows, wanted) => {
                let from = rows.partition_point(|r| *r < first);
                let to = rows.partition_point(|r| *r <= last);
                let mut named = Bits::none();
                rows[from..to].iter().for_each(|r| named.insert((r - first) as usize));
                if *wanted { bits.keep(&named) } else { bits.drop_all(&named) }
            }
            Sieve::RowRanges(ranges) => {
                let mut kept = Bits::none();
                for (from, to) in ranges.iter().filter(|(from, to)| *from <= last && *to >= first) {
                    let mut run = Bits::before((to.min(&last) - first) as usize + 1);
                    run.drop_all(&Bits::before(from.saturating_sub(first) as usize));
                    kept.add(&run);
                }
                bits.keep(&kept);
            }
            Sieve::Ways(ways, wanted) => {
                // What one way let through, the next need not look at.
                let (mut rest, mut passed) = (bits.clone(), Bits::none());
                for way in ways {
                    let mut open = rest.clone();
                    way.iter().for_each(|sieve| sieve.keep(&mut open, number, block, tree));
                    rest.drop_all(&open);
                    passed.add(&open);
                }
                *bits = if *wanted { passed } else { rest };
            }
            Sieve::Nothing => *bits = Bits::none(),
        }
    }
}

/// The numbers of the first and the last row of a block, among all.
fn ends(number: usize) -> (u64, u64) {
    let first = (number * ROWS) as u64;
    (first, first + ROWS as u64 - 1)
}
