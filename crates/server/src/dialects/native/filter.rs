//! The query language of this API: parameters of the URL become a `Query`. Values of one parameter are alternatives,
//! separated by commas or by repeating the parameter; different parameters must all hold.

use std::collections::BTreeMap;
use std::ops::Bound;

use domain::query::{Direction, Field, FieldKind, Filter, Order, Page, Pattern, Query, Test, Value};
use domain::{Code, Error, Result, Uuid};

use super::cursor;
use crate::dialects::suggest::nearest;

/// How many items come where no limit is given.
pub(super) const DEFAULT_LIMIT: u32 = 100;
/// What every list takes beside its filter.
pub(super) const PAGING: [&str; 5] = ["order", "limit", "cursor", "page", "total"];

/// What a parameter asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meaning<F> {
    /// One of these values.
    AnyOf(F),
    /// One of these ids, or one of these exact names: uuids are taken as ids, anything else as names.
    IdOrName(F, F),
    /// This text is somewhere in it, without regard to case.
    Contains(F),
    /// At this time or later.
    From(F),
    /// Before this time.
    To(F),
}

/// A parameter of a list.
#[derive(Debug, Clone)]
pub(super) struct Parameter<F> {
    /// Its name in the URL.
    pub(super) name: String,
    /// What it asks.
    pub(super) meaning: Meaning<F>,
    /// What it asks, in words, for the document.
    pub(super) about: String,
    /// The only values it takes, where the field itself does not say.
    pub(super) names: Option<&'static [&'static str]>,
}

/// What can be asked of one list.
#[derive(Debug)]
pub(super) struct ListOf<F: Field> {
    /// The list's name; cursors of one list do not fit another.
    pub(super) name: &'static str,
    /// The filter's parameters.
    pub(super) parameters: Vec<Parameter<F>>,
    /// The fields that items can be ordered by, with their names in the URL.
    pub(super) sortable: Vec<(&'static str, F)>,
    /// The order where none is asked for.
    pub(super) order: Order<F>,
}

impl<F: Field> ListOf<F> {
    /// The question of a request. `also` is part of the filter that the route itself sets.
    ///
    /// # Errors
    /// `unknown_field`, `invalid_field`, `invalid_cursor`.
    pub(super) fn query(&self, mut params: super::extract::Params, also: Filter<F>) -> Result<Query<F>> {
        let order = match params.take("order")? {
            Some(text) => self.order(&text)?,
            None => self.order.clone(),
        };
        let limit = Page::check_limit("limit", params.take_number("limit")?.unwrap_or(DEFAULT_LIMIT))?;
        let number = params.take_number::<u64>("page")?;
        let cursor = params.take("cursor")?;
        let total = match params.take("total")?.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => {
                return Err(Error::invalid("total", format!("'{other}' is no value for 'total'")).hint("true or false"));
            }
        };
        let filter = self.read(params, also, &PAGING)?;
        let page = match (number, cursor) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("page", "'page' and 'cursor' do not go together")
                    .hint("a cursor for reading on, a page number for jumping"));
            }
            (Some(0), None) => return Err(Error::invalid("page", "pages are counted from 1")),
            (Some(number), None) => Page::Number { number, size: limit },
            (None, Some(text)) => {
                let key = cursor::decode(self.name, &filter, &order, &text)?;
                Page::After { key: Some(key), limit }
            }
            (None, None) => Page::first(limit),
        };
        Ok(Query { filter, order, page, total })
    }

    /// The filter of a request that takes no order and no page, but these other parameters, which are taken out before.
    ///
    /// # Errors
    /// `unknown_field`, `invalid_field`.
    pub(super) fn filter(&self, params: super::extract::Params, others: &[&str]) -> Result<Filter<F>> {
        self.read(params, Filter::all(), others)
    }

    /// `also` and what the parameters ask. `others` are known too, and were taken out before.
    fn read(&self, params: super::extract::Params, also: Filter<F>, others: &[&str]) -> Result<Filter<F>> {
        let mut values: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for (name, value) in params.rest() {
            let Some(place) = self.parameters.iter().position(|p| p.name == name) else {
                let known = self.parameters.iter().map(|p| p.name.as_str()).chain(others.iter().copied());
                return Err(unknown(&name, known));
            };
            values.entry(place).or_default().push(value);
        }
        let mut filter = also;
        let mut ranges: Vec<(F, Bound<Value>, Bound<Value>)> = Vec::new();
        for (place, texts) in values {
            let parameter = &self.parameters[place];
            match parameter.meaning {
                Meaning::AnyOf(field) => {
                    let values = parameter.values(field.kind(), &texts)?;
                    filter = filter.and(field, any_of(values)).map_err(|e| e.field(&parameter.name))?;
                }
                Meaning::IdOrName(id, name) => {
                    let (field, values) = parameter.ids_or_names(id, name, &texts)?;
                    filter = filter.and(field, any_of(values)).map_err(|e| e.field(&parameter.name))?;
                }
                Meaning::Contains(field) => {
                    // Taken as it is, commas included: it is a piece of somebody's name.
                    if texts.iter().any(String::is_empty) {
                        return Err(parameter.empty());
                    }
                    let patterns = texts.into_iter().map(Pattern::Contains).collect();
                    filter = filter.and(field, Test::AnyOf(patterns)).map_err(|e| e.field(&parameter.name))?;
                }
                Meaning::From(field) => bound(&mut ranges, field, parameter, &texts, true)?,
                Meaning::To(field) => bound(&mut ranges, field, parameter, &texts, false)?,
            }
        }
        for (field, from, to) in ranges {
            filter = filter.and(field, Test::Range { from, to })?;
        }
        Ok(filter)
    }

    /// An order like `-created_at,id`: a minus sign turns a field round.
    fn order(&self, text: &str) -> Result<Order<F>> {
        let mut terms = Vec::new();
        for term in text.split(',').map(str::trim) {
            let (name, direction) = match term.strip_prefix('-') {
                Some(name) => (name, Direction::Desc),
                None => (term, Direction::Asc),
            };
            let Some((_, field)) = self.sortable.iter().copied().find(|(n, _)| *n == name) else {
                let mut error = unknown(name, self.sortable.iter().map(|(n, _)| *n));
                error.message = format!("there is no field '{name}' to order by");
                return Err(error.field("order"));
            };
            terms.push((field, direction));
        }
        Order::by(terms)
    }
}

impl<F: Field> Parameter<F> {
    fn values(&self, kind: FieldKind, texts: &[String]) -> Result<Vec<Value>> {
        let parse = |text: String| {
            if let Some(names) = self.names.filter(|names| !names.contains(&text.as_str())) {
                let message = format!("'{text}' is no value for '{}'", self.name);
                return Err(Error::invalid(&self.name, message).hint(format!("one of: {}", names.join(", "))));
            }
            kind.parse(&self.name, &text)
        };
        self.alternatives(texts)?.into_iter().map(parse).collect()
    }

    fn ids_or_names(&self, id: F, name: F, texts: &[String]) -> Result<(F, Vec<Value>)> {
        let texts = self.alternatives(texts)?;
        let ids: Vec<Uuid> = texts.iter().filter_map(|t| Uuid::parse_str(t).ok()).collect();
        if ids.is_empty() {
            return Ok((name, texts.into_iter().map(Value::Text).collect()));
        }
        if ids.len() < texts.len() {
            return Err(Error::invalid(&self.name, format!("'{}' has ids and names at once", self.name))
                .hint("give either ids or names"));
        }
        let value = |uuid: Uuid| match id.kind() {
            FieldKind::Uuid => Value::Uuid(uuid),
            _ => Value::Text(uuid.to_string()),
        };
        Ok((id, ids.into_iter().map(value).collect()))
    }

    /// The values of a parameter, split at commas; `\,` is a comma that belongs to a value.
    fn alternatives(&self, texts: &[String]) -> Result<Vec<String>> {
        let mut values = Vec::new();
        for text in texts {
            let mut value = String::new();
            let mut rest = text.as_str();
            while let Some(c) = rest.chars().next() {
                if let Some(after) = rest.strip_prefix("\\,") {
                    value.push(',');
                    rest = after;
                } else {
                    if c == ',' {
                        values.push(std::mem::take(&mut value));
                    } else {
                        value.push(c);
                    }
                    rest = &rest[c.len_utf8()..];
                }
            }
            values.push(value);
        }
        if values.iter().any(String::is_empty) {
            return Err(self.empty());
        }
        Ok(values)
    }

    fn empty(&self) -> Error {
        Error::invalid(&self.name, format!("'{}' has an empty value", self.name))
            .hint("leave the parameter out to ask for everything")
    }
}

fn any_of(values: Vec<Value>) -> Test {
    Test::AnyOf(values.into_iter().map(Pattern::Is).collect())
}

/// Sets one end of a field's range.
fn bound<F: Field>(
    ranges: &mut Vec<(F, Bound<Value>, Bound<Value>)>,
    field: F,
    parameter: &Parameter<F>,
    texts: &[String],
    from: bool,
) -> Result<()> {
    let name = &parameter.name;
    let place = match ranges.iter().position(|(f, ..)| *f == field) {
        Some(place) => place,
        None => {
            ranges.push((field, Bound::Unbounded, Bound::Unbounded));
            ranges.len() - 1
        }
    };
    let end = if from { &mut ranges[place].1 } else { &mut ranges[place].2 };
    let ([text], Bound::Unbounded) = (texts, &*end) else {
        return Err(Error::invalid(name, format!("this end of the range of '{}' is given twice", field.name())));
    };
    let value = field.kind().parse(name, text)?;
    *end = if from { Bound::Included(value) } else { Bound::Excluded(value) };
    Ok(())
}

/// The refusal of a name that is not known, with the nearest one that is.
pub(super) fn unknown<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let known: Vec<_> = known.into_iter().collect();
    let hint = match nearest(name, known.iter().copied()) {
        Some(k) => format!("did you mean '{k}'?"),
        _ if known.is_empty() => "there are none here".to_owned(),
        _ => format!("one of: {}", known.join(", ")),
    };
    Error::new(Code::UnknownField, format!("'{name}' is not known here")).field(name).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered() {
        let hint = |name: &str| unknown(name, ["state", "result", "resource"]).hint.unwrap_or_default();
        assert_eq!(hint("stat"), "did you mean 'state'?");
        assert_eq!(hint("resuorce"), "did you mean 'resource'?");
        assert_eq!(hint("colour"), "one of: state, result, resource");
    }
}
