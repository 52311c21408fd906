//! Which rows: clauses that must all hold. `Filter::matches` is the definition for every store.

use std::ops::Bound;

use super::value::{fold, nanos};
use super::{Cell, Field, FieldKind, Read, Value};
use crate::error::{Error, Result};
use crate::{Timestamp, Uuid};

/// The most values in one clause.
pub const MAX_VALUES: usize = 1000;

/// What a value may be compared with positively.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// Equal.
    Is(Value),
    /// Text that is this uuid, in any letter case: one machine occurs as `3b91..` and as `3B91..` (Acronis D21).
    IsUuid(Uuid),
    /// Equal, without regard to case.
    Same(String),
    /// Holds this text, without regard to case; a whole number is taken as its digits.
    Contains(String),
    /// Begins with this text, without regard to case; a whole number is taken as its digits.
    StartsWith(String),
    /// Ends with this text, without regard to case.
    EndsWith(String),
}

/// A test of one field. An absent value satisfies none of them but `Absent`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Test {
    /// At least one pattern holds; of several texts in a row, one is enough.
    AnyOf(Vec<Pattern>),
    /// There is a value, and none of these patterns holds.
    NoneOf(Vec<Pattern>),
    /// The value lies between.
    Range {
        /// Not before.
        from: Bound<Value>,
        /// Not after.
        to: Bound<Value>,
    },
    /// There is a value.
    Present,
    /// There is none.
    Absent,
}

/// A field and a test that fits it; cannot be built otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Clause<F> {
    field: F,
    test: Test,
}

impl<F: Field> Clause<F> {
    /// A test of a field.
    ///
    /// # Errors
    /// `invalid_field` when the test does not fit the field: a value of another type, a text pattern on something that is
    /// no text, a range without bounds or the wrong way round, no values or too many.
    pub fn new(field: F, test: Test) -> Result<Clause<F>> {
        let kind = field.kind();
        let name = field.name();
        let wrong = |message: String| Err(Error::invalid(name, message));
        let test = match test {
            Test::AnyOf(patterns) => Test::AnyOf(checked(name, kind, patterns)?),
            Test::NoneOf(patterns) => Test::NoneOf(checked(name, kind, patterns)?),
            Test::Range { from, to } => {
                if kind == FieldKind::Texts {
                    return wrong(format!("'{name}' has several values; ranges do not fit it"));
                }
                for bound in [&from, &to] {
                    if value_of(bound).is_some_and(|v| !kind.admits(v)) {
                        return wrong(format!("'{name}' has no such values"));
                    }
                }
                match (value_of(&from), value_of(&to)) {
                    (None, None) => return wrong(format!("the range of '{name}' has no bounds")),
                    (Some(a), Some(b)) if a.cell() > b.cell() => {
                        return wrong(format!("the range of '{name}' ends before it begins"));
                    }
                    _ => {}
                }
                Test::Range { from: from.map(clamped), to: to.map(clamped) }
            }
            test @ (Test::Present | Test::Absent) => test,
        };
        Ok(Clause { field, test })
    }

    /// The field that is tested.
    #[must_use]
    pub fn field(&self) -> F {
        self.field
    }

    /// The test.
    #[must_use]
    pub fn test(&self) -> &Test {
        &self.test
    }

    /// Whether the row passes.
    #[must_use]
    pub fn matches(&self, row: &F::Row) -> bool {
        self.admits(self.field.read(row))
    }

    /// Whether a row that has this in the field passes.
    #[must_use]
    pub fn admits(&self, read: Read<'_>) -> bool {
        match (&self.test, read) {
            (Test::Absent, read) => read == Read::Absent,
            (_, Read::Absent) => false,
            (Test::Present, _) => true,
            (test, Read::One(cell)) => test.holds(cell),
            (Test::AnyOf(_), Read::Many(texts)) => texts.iter().any(|t| self.test.holds(Cell::Text(t))),
            (_, Read::Many(texts)) => texts.iter().all(|t| self.test.holds(Cell::Text(t))),
        }
    }
}

impl Test {
    fn holds(&self, cell: Cell<'_>) -> bool {
        match self {
            Test::AnyOf(patterns) => patterns.iter().any(|p| p.holds(cell)),
            Test::NoneOf(patterns) => !patterns.iter().any(|p| p.holds(cell)),
            Test::Range { from, to } => {
                let above = match from {
                    Bound::Included(v) => cell >= v.cell(),
                    Bound::Excluded(v) => cell > v.cell(),
                    Bound::Unbounded => true,
                };
                let below = match to {
                    Bound::Included(v) => cell <= v.cell(),
                    Bound::Excluded(v) => cell < v.cell(),
                    Bound::Unbounded => true,
                };
                above && below
            }
            Test::Present => true,
            Test::Absent => false,
        }
    }
}

impl Pattern {
    fn holds(&self, cell: Cell<'_>) -> bool {
        match (self, cell) {
            (Pattern::Is(v), cell) => v.cell() == cell,
            (Pattern::IsUuid(id), Cell::Text(t)) => {
                let mut buffer = Uuid::encode_buffer();
                t.eq_ignore_ascii_case(id.hyphenated().encode_lower(&mut buffer))
            }
            // The needle was folded when the clause was built.
            (Pattern::Same(s), Cell::Text(t)) => fold(t) == *s,
            (Pattern::Contains(s), Cell::Int(n)) => n.to_string().contains(s.as_str()),
            (Pattern::StartsWith(s), Cell::Int(n)) => n.to_string().starts_with(s.as_str()),
            (Pattern::Contains(s), Cell::Text(t)) => fold(t).contains(s.as_str()),
            (Pattern::StartsWith(s), Cell::Text(t)) => fold(t).starts_with(s.as_str()),
            (Pattern::EndsWith(s), Cell::Text(t)) => fold(t).ends_with(s.as_str()),
            _ => false,
        }
    }
}

/// Ways to pass, each of them clauses that must all hold: at least one way must be open, or none may be. For what a vendor
/// shows as one value and we keep in several fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Choice<F> {
    ways: Vec<Vec<Clause<F>>>,
    wanted: bool,
}

impl<F: Field> Choice<F> {
    /// The ways.
    #[must_use]
    pub fn ways(&self) -> &[Vec<Clause<F>>] {
        &self.ways
    }

    /// Whether one must be open; otherwise none may be.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.wanted
    }

    /// Whether the row passes.
    #[must_use]
    pub fn matches(&self, row: &F::Row) -> bool {
        self.ways.iter().any(|way| way.iter().all(|c| c.matches(row))) == self.wanted
    }
}

/// Clauses and choices that must all hold; none = every row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter<F> {
    clauses: Vec<Clause<F>>,
    choices: Vec<Choice<F>>,
}

impl<F: Field> Filter<F> {
    /// Every row.
    #[must_use]
    pub fn all() -> Filter<F> {
        Filter { clauses: Vec::new(), choices: Vec::new() }
    }

    /// Rows that pass every clause.
    #[must_use]
    pub fn of(clauses: Vec<Clause<F>>) -> Filter<F> {
        Filter { clauses, choices: Vec::new() }
    }

    /// Also this clause.
    ///
    /// # Errors
    /// Those of [`Clause::new`].
    pub fn and(mut self, field: F, test: Test) -> Result<Filter<F>> {
        self.clauses.push(Clause::new(field, test)?);
        Ok(self)
    }

    /// Also: the field equals this value.
    ///
    /// # Errors
    /// Those of [`Clause::new`].
    pub fn is(self, field: F, value: Value) -> Result<Filter<F>> {
        self.and(field, Test::AnyOf(vec![Pattern::Is(value)]))
    }

    /// Also: all clauses of at least one of these ways hold; with no way at all, no row passes.
    #[must_use]
    pub fn and_one_of(mut self, mut ways: Vec<Vec<Clause<F>>>) -> Filter<F> {
        if ways.len() == 1 {
            self.clauses.extend(ways.remove(0));
        } else {
            self.choices.push(Choice { ways, wanted: true });
        }
        self
    }

    /// Also: of none of these ways all clauses hold.
    #[must_use]
    pub fn and_none_of(mut self, ways: Vec<Vec<Clause<F>>>) -> Filter<F> {
        if !ways.is_empty() {
            self.choices.push(Choice { ways, wanted: false });
        }
        self
    }

    /// The choices.
    #[must_use]
    pub fn choices(&self) -> &[Choice<F>] {
        &self.choices
    }

    /// Every clause, those of the choices among them.
    pub fn all_clauses(&self) -> impl Iterator<Item = &Clause<F>> {
        self.clauses.iter().chain(self.choices.iter().flat_map(|c| c.ways.iter().flatten()))
    }

    /// The clauses that must all hold, beside the choices.
    #[must_use]
    pub fn clauses(&self) -> &[Clause<F>] {
        &self.clauses
    }

    /// Whether the row passes: the definition of what a filter means.
    #[must_use]
    pub fn matches(&self, row: &F::Row) -> bool {
        self.clauses.iter().all(|c| c.matches(row)) && self.choices.iter().all(|c| c.matches(row))
    }
}

/// Patterns that fit the field, as they are compared.
fn checked(name: &str, kind: FieldKind, patterns: Vec<Pattern>) -> Result<Vec<Pattern>> {
    count(name, patterns.len())?;
    let textual = matches!(kind, FieldKind::Text | FieldKind::Texts);
    for pattern in &patterns {
        match pattern {
            Pattern::Is(value) if !kind.admits(value) => {
                return Err(Error::invalid(name, format!("'{name}' has no such values")));
            }
            Pattern::Is(_) => {}
            Pattern::Contains(_) | Pattern::StartsWith(_) if kind == FieldKind::Int => {}
            _ if textual => {}
            _ => return Err(Error::invalid(name, format!("'{name}' is no text; parts of it cannot be searched"))),
        }
    }
    Ok(patterns.into_iter().map(folded).collect())
}

fn count(name: &str, n: usize) -> Result<()> {
    match n {
        0 => Err(Error::invalid(name, format!("'{name}' is given without a value"))),
        1..=MAX_VALUES => Ok(()),
        _ => Err(Error::invalid(name, format!("'{name}' has more than {MAX_VALUES} values"))),
    }
}

fn value_of(bound: &Bound<Value>) -> Option<&Value> {
    match bound {
        Bound::Included(v) | Bound::Excluded(v) => Some(v),
        Bound::Unbounded => None,
    }
}

fn folded(pattern: Pattern) -> Pattern {
    match pattern {
        Pattern::Is(v) => Pattern::Is(clamped(v)),
        Pattern::IsUuid(id) => Pattern::IsUuid(id),
        Pattern::Same(s) => Pattern::Same(fold(&s)),
        Pattern::Contains(s) => Pattern::Contains(fold(&s)),
        Pattern::StartsWith(s) => Pattern::StartsWith(fold(&s)),
        Pattern::EndsWith(s) => Pattern::EndsWith(fold(&s)),
    }
}

/// Times beyond what is stored are taken as the ends of the storable range.
fn clamped(value: Value) -> Value {
    match value {
        Value::Time(t) => Value::Time(Timestamp::from_nanosecond(i128::from(nanos(t))).unwrap_or(t)),
        other => other,
    }
}
