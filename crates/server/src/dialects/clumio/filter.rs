//! Filters (5.4): from the text to conditions of known fields, and whether something that is shown satisfies them. What
//! tables of fields there are, each list says; what the ledger can answer, `filter_ledger` asks it.

use std::borrow::Cow;

use domain::Timestamp;
use domain::query::fold;
use serde_json::{Map, Value, json};

use super::failure::{Cause, Failure};
use super::filter_time::{self, Bound};
use super::query::shortened;

/// The longest filter, in bytes.
const MAX_TEXT: usize = 16 * 1024;
/// The most conditions.
const MAX_CONDITIONS: usize = 32;
/// The most values in all conditions together.
const MAX_VALUES: usize = 1000;

/// What sort of values a field has; it says which operators fit, and how values are compared (D26).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ids: without regard to case, in parts too.
    Id,
    /// Text: exact, parts without regard to case.
    Text,
    /// One of some words, without regard to case; unknown ones match nothing.
    Enumeration,
    /// Several texts, without regard to case.
    List,
    /// Times, as they are shown: in whole seconds.
    Time,
    /// Whole numbers.
    Number,
    /// Yes or no.
    Bool,
}

/// The fields of a list: name, kind, and what the list knows it by.
pub(super) type Fields<F> = [(&'static str, Kind, F)];

/// A value that is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Text(String),
    Number(i64),
    Bool(bool),
    /// The whole second, since 1970.
    Second(i64),
}

/// What a field must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Test {
    /// One of these; of a list, one element is enough.
    AnyOf(Vec<Operand>),
    /// Text with this in it.
    Contains(String),
    /// Text that begins so.
    BeginsWith(String),
    /// A list with all of these.
    All(Vec<Operand>),
    /// A time or number from here, included, to there, excluded.
    Between(Option<i64>, Option<i64>),
}

/// One condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition<F> {
    pub(super) field: F,
    pub(super) kind: Kind,
    pub(super) test: Test,
    /// Whether the test must fail; nothing at all fails every test.
    pub(super) negated: bool,
}

/// Conditions that must all hold, and their text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter<F> {
    conditions: Vec<Condition<F>>,
    applied: Map<String, Value>,
}

/// What something shows in a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown<'a> {
    /// Null.
    Nothing,
    Text(Cow<'a, str>),
    Number(i64),
    Bool(bool),
    Time(Timestamp),
    List(Vec<Cow<'a, str>>),
}

impl<'a> Shown<'a> {
    /// Text, or null.
    pub(super) fn text(text: Option<&'a str>) -> Shown<'a> {
        text.map_or(Shown::Nothing, |t| Shown::Text(Cow::Borrowed(t)))
    }

    /// Text that was made for this.
    pub(super) fn owned(text: impl Into<String>) -> Shown<'a> {
        Shown::Text(Cow::Owned(text.into()))
    }

    /// A time, or null.
    pub(super) fn time(time: Option<Timestamp>) -> Shown<'a> {
        time.map_or(Shown::Nothing, Shown::Time)
    }
}

impl<F: Copy + PartialEq + 'static> Filter<F> {
    /// The filter in a query's parameter. Absent, `null` and `{}` let everything through (D24).
    ///
    /// # Errors
    /// What D25 refuses, saying where.
    pub(super) fn read(text: Option<&str>, fields: &Fields<F>) -> Result<Filter<F>, Failure> {
        let mut filter = Filter { conditions: Vec::new(), applied: Map::new() };
        let Some(text) = text.filter(|t| !t.trim().is_empty()) else { return Ok(filter) };
        if text.len() > MAX_TEXT {
            return Err(refused(format!("it is longer than {} KiB", MAX_TEXT / 1024)));
        }
        let value: Value = serde_json::from_str(text).map_err(|e| refused(format!("it is no JSON: {e}")))?;
        let members = match value {
            Value::Null => return Ok(filter),
            Value::Object(members) => members,
            _ => return Err(refused("it is no JSON object, like {\"status\": {\"$in\": [\"queued\"]}}")),
        };
        let mut reader = Reader { fields, filter: &mut filter, values: 0 };
        for (name, value) in &members {
            reader.member(name, value)?;
        }
        Ok(filter)
    }

    /// Also this condition, which the server adds: at least this time.
    pub(super) fn add_since(&mut self, field: F, name: &str, since: Timestamp) {
        let second = Bound::of(since).ceiling();
        self.conditions.push(Condition {
            field,
            kind: Kind::Time,
            test: Test::Between(Some(second), None),
            negated: false,
        });
        self.note(name, "$gte", since.to_string().into());
    }

    /// Also this condition, which the server adds: one of these words.
    pub(super) fn add_any_of(&mut self, field: F, kind: Kind, name: &str, words: &[&str]) {
        let test = Test::AnyOf(words.iter().map(|w| Operand::Text((*w).to_owned())).collect());
        self.conditions.push(Condition { field, kind, test, negated: false });
        self.note(name, "$in", json!(words));
    }

    /// Asks for a word of a field by another one, which means the same.
    pub(super) fn reword(&mut self, field: F, from: &str, to: &str) {
        for condition in self.conditions.iter_mut().filter(|c| c.field == field) {
            let (Test::AnyOf(values) | Test::All(values)) = &mut condition.test else { continue };
            for value in values {
                if matches!(value, Operand::Text(text) if text.eq_ignore_ascii_case(from)) {
                    *value = Operand::Text(to.to_owned());
                }
            }
        }
    }

    /// Notes what is applied; false if that operator of the field is noted already.
    fn note(&mut self, name: &str, operator: &str, value: Value) -> bool {
        let of_field = self.applied.entry(name).or_insert_with(|| json!({}));
        if of_field.get(operator).is_some() {
            return false;
        }
        of_field[operator] = value;
        true
    }

    /// The conditions.
    pub(super) fn conditions(&self) -> &[Condition<F>] {
        &self.conditions
    }

    /// Whether a field is asked for.
    pub(super) fn names(&self, field: F) -> bool {
        self.conditions.iter().any(|c| c.field == field)
    }

    /// The one value that a field must be equal to, where the filter says so.
    pub(super) fn equal_to(&self, field: F) -> Option<&str> {
        self.conditions.iter().filter(|c| c.field == field && !c.negated).find_map(|c| match &c.test {
            Test::AnyOf(values) => match &values[..] {
                [Operand::Text(text)] => Some(text.as_str()),
                _ => None,
            },
            _ => None,
        })
    }

    /// The text of what was applied, `{}` if nothing.
    pub(super) fn applied(&self) -> String {
        Value::Object(self.applied.clone()).to_string()
    }

    /// Whether something passes, by what it shows.
    pub(super) fn matches<'a>(&self, show: impl Fn(F) -> Shown<'a>) -> bool {
        self.conditions.iter().all(|c| c.admits(&show(c.field)))
    }
}

impl<F> Condition<F> {
    /// Whether this may be shown in the field.
    pub(super) fn admits(&self, shown: &Shown<'_>) -> bool {
        self.holds(shown) != self.negated
    }

    fn holds(&self, shown: &Shown<'_>) -> bool {
        let second = match shown {
            Shown::Nothing => return false,
            Shown::Time(time) => Some(Bound::of(*time).floor()),
            Shown::Number(n) => Some(*n),
            _ => None,
        };
        match (&self.test, shown) {
            (Test::AnyOf(values), Shown::List(list)) => list.iter().any(|t| values.iter().any(|v| self.is(t, v))),
            (Test::All(values), Shown::List(list)) => values.iter().all(|v| list.iter().any(|t| self.is(t, v))),
            (Test::AnyOf(values), Shown::Text(text)) => values.iter().any(|v| self.is(text, v)),
            (Test::AnyOf(values), Shown::Bool(flag)) => values.contains(&Operand::Bool(*flag)),
            (Test::AnyOf(values), Shown::Number(n)) => values.contains(&Operand::Number(*n)),
            (Test::AnyOf(values), Shown::Time(_)) => {
                values.iter().any(|v| matches!(v, Operand::Second(s) if Some(*s) == second))
            }
            (Test::Contains(part), Shown::Text(text)) => fold(text).contains(&fold(part)),
            (Test::BeginsWith(part), Shown::Text(text)) => fold(text).starts_with(&fold(part)),
            (Test::Between(from, to), Shown::Time(_) | Shown::Number(_)) => {
                second.is_some_and(|s| from.is_none_or(|from| s >= from) && to.is_none_or(|to| s < to))
            }
            _ => false,
        }
    }

    fn is(&self, text: &str, value: &Operand) -> bool {
        match (value, self.kind) {
            (Operand::Text(wanted), Kind::Text) => text == wanted,
            (Operand::Text(wanted), _) => fold(text) == fold(wanted),
            _ => false,
        }
    }
}

/// A filter while it is read.
struct Reader<'r, F: 'static> {
    fields: &'r Fields<F>,
    filter: &'r mut Filter<F>,
    values: usize,
}

impl<F: Copy + PartialEq + 'static> Reader<'_, F> {
    fn member(&mut self, name: &str, value: &Value) -> Result<(), Failure> {
        let Some((name, kind, field)) = self.fields.iter().find(|(n, ..)| *n == name) else {
            return self.prefix(name, value);
        };
        match value {
            Value::Null => Ok(()),
            Value::Object(operators) => {
                operators.iter().try_for_each(|(op, value)| self.condition(name, *kind, *field, op, value))
            }
            Value::Array(_) => self.condition(name, *kind, *field, "$in", value),
            scalar => self.condition(name, *kind, *field, "$eq", scalar),
        }
    }

    /// What is no field can be the first part of dotted ones.
    fn prefix(&mut self, name: &str, value: &Value) -> Result<(), Failure> {
        let below = format!("{name}.");
        if !self.fields.iter().any(|(n, ..)| n.starts_with(&below)) {
            let known: Vec<_> = self.fields.iter().map(|(n, ..)| *n).collect();
            let message = format!("there is no field '{}'; known are: {}", shortened(name), known.join(", "));
            return Err(refused(message));
        }
        match value {
            Value::Null => Ok(()),
            Value::Object(members) => {
                members.iter().try_for_each(|(rest, value)| self.member(&format!("{below}{rest}"), value))
            }
            _ => Err(refused(format!("'{}' is no field by itself", shortened(name)))),
        }
    }

    fn condition(&mut self, name: &str, kind: Kind, field: F, op: &str, value: &Value) -> Result<(), Failure> {
        let wrong = |what: String| refused(format!("{name}: {what}"));
        if self.filter.conditions.len() == MAX_CONDITIONS {
            return Err(refused(format!("it has more than {MAX_CONDITIONS} conditions")));
        }
        let listed = match value {
            Value::Array(values) => values.as_slice(),
            single => std::slice::from_ref(single),
        };
        self.values += listed.len();
        if self.values > MAX_VALUES {
            return Err(refused(format!("it has more than {MAX_VALUES} values")));
        }
        let plain = op.strip_prefix('$').unwrap_or(op);
        let unfit = || {
            let fitting = operators(kind).join(", ");
            wrong(format!("the operator '{}' does not fit it; those that do are {fitting}", shortened(op)))
        };
        let single = || if value.is_array() { Err(wrong(format!("'{op}' takes one value"))) } else { Ok(value) };
        let operand = |value: &Value| operand(kind, value).map_err(wrong);
        let operands = || listed.iter().map(operand).collect::<Result<Vec<_>, _>>();
        let part = || match operand(single()?)? {
            Operand::Text(text) => Ok(text),
            _ => Err(unfit()),
        };
        let bound = || match kind {
            Kind::Time => time(single()?).map_err(wrong),
            _ => match operand(single()?)? {
                Operand::Number(n) => Ok(Bound::whole(n)),
                _ => Err(unfit()),
            },
        };
        let in_parts = matches!(kind, Kind::Id | Kind::Text);
        let in_order = matches!(kind, Kind::Time | Kind::Number);
        let (name_of_op, test, negated) = match plain {
            "eq" => ("$eq", Test::AnyOf(vec![operand(single()?)?]), false),
            "neq" | "not_eq" => ("$neq", Test::AnyOf(vec![operand(single()?)?]), true),
            "in" => ("$in", Test::AnyOf(operands()?), false),
            "not_in" => ("$not_in", Test::AnyOf(operands()?), true),
            "contains" | "co" if kind == Kind::List => ("$contains", Test::AnyOf(vec![operand(single()?)?]), false),
            "not_contains" if kind == Kind::List => ("$not_contains", Test::AnyOf(vec![operand(single()?)?]), true),
            "all" if kind == Kind::List => ("$all", Test::All(operands()?), false),
            "contains" | "co" if in_parts => ("$contains", Test::Contains(part()?), false),
            "not_contains" if in_parts => ("$not_contains", Test::Contains(part()?), true),
            "begins_with" if in_parts => ("$begins_with", Test::BeginsWith(part()?), false),
            "gte" if in_order => ("$gte", Test::Between(Some(bound()?.ceiling()), None), false),
            "gt" if in_order => ("$gt", Test::Between(Some(bound()?.floor().saturating_add(1)), None), false),
            "lte" if in_order => ("$lte", Test::Between(None, Some(bound()?.floor().saturating_add(1))), false),
            "lt" if in_order => ("$lt", Test::Between(None, Some(bound()?.ceiling())), false),
            _ => return Err(unfit()),
        };
        self.filter.conditions.push(Condition { field, kind, test, negated });
        let told = if matches!(name_of_op, "$in" | "$not_in" | "$all") { json!(listed) } else { value.clone() };
        // In other spellings, or as a nested object: only one of them could be told in `filter_applied`.
        if !self.filter.note(name, name_of_op, told) {
            return Err(wrong(format!("'{name_of_op}' is there more than once; once is enough for each field")));
        }
        Ok(())
    }
}

/// The operators that fit a kind.
fn operators(kind: Kind) -> Vec<&'static str> {
    let more: &[&str] = match kind {
        Kind::Id | Kind::Text => &["$contains", "$not_contains", "$begins_with"],
        Kind::List => &["$contains", "$not_contains", "$all"],
        Kind::Time | Kind::Number => &["$gt", "$gte", "$lt", "$lte"],
        Kind::Enumeration | Kind::Bool => &[],
    };
    ["$eq", "$neq", "$in", "$not_in"].into_iter().chain(more.iter().copied()).collect()
}

/// A value of this kind; numbers and booleans may come as text, and the other way round.
fn operand(kind: Kind, value: &Value) -> Result<Operand, String> {
    let unfit = || format!("{} is no value for it", shortened(&value.to_string()));
    match (kind, value) {
        (_, Value::Null | Value::Array(_) | Value::Object(_)) => Err(unfit()),
        (Kind::Time, value) => time(value).map(|b| Operand::Second(b.floor())),
        (Kind::Number, Value::Number(n)) => n.as_i64().map(Operand::Number).ok_or_else(unfit),
        (Kind::Number, Value::String(text)) => text.trim().parse().map(Operand::Number).map_err(|_| unfit()),
        (Kind::Bool, Value::Bool(flag)) => Ok(Operand::Bool(*flag)),
        (Kind::Bool, Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(Operand::Bool(true)),
            "false" => Ok(Operand::Bool(false)),
            _ => Err(unfit()),
        },
        (Kind::Number | Kind::Bool, _) => Err(unfit()),
        (_, Value::String(text)) => Ok(Operand::Text(text.clone())),
        (_, other) => Ok(Operand::Text(other.to_string())),
    }
}

fn time(value: &Value) -> Result<Bound, String> {
    let read = value.as_str().and_then(filter_time::read);
    read.ok_or_else(|| format!("{} is no time, like 2026-01-31T08:00:00Z or 2026-01-31", shortened(&value.to_string())))
}

fn refused(what: impl std::fmt::Display) -> Failure {
    Failure::new(Cause::Filter, format!("filter: {what}"))
}

#[cfg(test)]
mod tests;
