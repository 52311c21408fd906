//! Conditions as the ledger is asked for them, where a list's field is one of its own.

use std::ops::Bound;

use domain::query::{self, Clause, Field, FieldKind, Pattern, Value};
use domain::{Result, Timestamp, Uuid};

use super::filter::{Condition, Kind, Operand, Test};

/// Ways to pass, each of them clauses that must all hold.
pub(super) type Ways<F> = Vec<Vec<Clause<F>>>;

impl<K> Condition<K> {
    /// The ways in which a field of the ledger passes the test, whatever `negated` says.
    ///
    /// # Errors
    /// Those of [`Clause::new`].
    pub(super) fn ways<F: Field>(&self, field: F) -> Result<Ways<F>> {
        let one = |test| Ok(vec![vec![Clause::new(field, test)?]]);
        match &self.test {
            Test::AnyOf(values) if self.kind == Kind::Time => {
                let second = |value: &Operand| match value {
                    Operand::Second(s) => between(field, Some(*s), s.checked_add(1)),
                    _ => Ok(Vec::new()),
                };
                values.iter().map(second).collect()
            }
            Test::AnyOf(values) => {
                let patterns: Vec<_> = values.iter().filter_map(|v| pattern(self.kind, field.kind(), v)).collect();
                if patterns.is_empty() { Ok(Vec::new()) } else { one(query::Test::AnyOf(patterns)) }
            }
            Test::All(values) => {
                let patterns = values.iter().map(|v| pattern(self.kind, field.kind(), v));
                let Some(patterns) = patterns.collect::<Option<Vec<_>>>() else { return Ok(Vec::new()) };
                let all = patterns.into_iter().map(|p| Clause::new(field, query::Test::AnyOf(vec![p])));
                Ok(vec![all.collect::<Result<_>>()?])
            }
            Test::Contains(part) => one(query::Test::AnyOf(vec![Pattern::Contains(part.clone())])),
            Test::BeginsWith(part) => one(query::Test::AnyOf(vec![Pattern::StartsWith(part.clone())])),
            Test::Between(from, to) => Ok(vec![between(field, *from, *to)?]),
        }
    }

    /// The filter with this condition on a field of the ledger.
    ///
    /// # Errors
    /// Those of [`Clause::new`].
    pub(super) fn narrow<F: Field>(&self, filter: query::Filter<F>, field: F) -> Result<query::Filter<F>> {
        let ways = self.ways(field)?;
        Ok(self.narrow_to(filter, ways))
    }

    /// The filter with this condition, which passes in these ways.
    pub(super) fn narrow_to<F: Field>(&self, filter: query::Filter<F>, ways: Ways<F>) -> query::Filter<F> {
        if self.negated { filter.and_none_of(ways) } else { filter.and_one_of(ways) }
    }
}

/// How a value is compared with one that is stored; none if nothing is like it.
fn pattern(kind: Kind, stored: FieldKind, value: &Operand) -> Option<Pattern> {
    Some(match (value, stored) {
        (Operand::Text(text), FieldKind::Uuid) => Pattern::Is(Value::Uuid(whole_uuid(text)?)),
        (Operand::Text(text), FieldKind::Int) => {
            // As it is shown: 7 is not 07.
            let n: i64 = text.parse().ok().filter(|n: &i64| n.to_string() == *text)?;
            Pattern::Is(Value::Int(n))
        }
        (Operand::Text(text), FieldKind::Text | FieldKind::Texts) if kind == Kind::Text => {
            Pattern::Is(Value::Text(text.clone()))
        }
        (Operand::Text(text), FieldKind::Text | FieldKind::Texts) => match whole_uuid(text) {
            Some(id) => Pattern::IsUuid(id),
            None => Pattern::Same(text.clone()),
        },
        (Operand::Number(n), FieldKind::Int) => Pattern::Is(Value::Int(*n)),
        (Operand::Bool(flag), FieldKind::Bool) => Pattern::Is(Value::Bool(*flag)),
        _ => return None,
    })
}

/// The uuid that is written like this in the usual form, in any case; other forms are other texts.
pub(super) fn whole_uuid(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    id.hyphenated().to_string().eq_ignore_ascii_case(text).then_some(id)
}

fn between<F: Field>(field: F, from: Option<i64>, to: Option<i64>) -> Result<Vec<Clause<F>>> {
    let value = |n: i64| match field.kind() {
        FieldKind::Time => Value::Time(second(n)),
        _ => Value::Int(n),
    };
    let mut clauses = Vec::new();
    // Apart, so that what ends before it begins is no mistake and lets nothing through.
    if let Some(from) = from {
        let from = Bound::Included(value(from));
        clauses.push(Clause::new(field, query::Test::Range { from, to: Bound::Unbounded })?);
    }
    if let Some(to) = to {
        let to = Bound::Excluded(value(to));
        clauses.push(Clause::new(field, query::Test::Range { from: Bound::Unbounded, to })?);
    }
    Ok(clauses)
}

/// The beginning of a second; what lies beyond all times is their end.
fn second(n: i64) -> Timestamp {
    let end = if n < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(n).unwrap_or(end)
}
