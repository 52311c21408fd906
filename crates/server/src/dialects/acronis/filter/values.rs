//! What the values of filters mean: functions, literals, and how they are put together (contract, sections 4.3 and 4.4).

use std::ops::Bound;

use domain::query::{Clause, Filter, Pattern, Test, Value};
use domain::tenant::TenantRef;

use super::super::error::Failure;
use super::super::params::{self, Params, boolean, guid, not_among, refused, wrong};
use super::super::{names, time};
use super::fields::{Asks, Form};
use super::{Listed, Tenants};

/// The most values that the filters of one request may have, those inside `or(..)` counted each (D2).
const MAX_VALUES: usize = 200;

/// The longest text that is compared with, in bytes (D21).
const MAX_TEXT: usize = 256;

/// What a value asks of a field (D19).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Eq,
    Ne,
    Or,
    Lt,
    Le,
    Gt,
    Ge,
    Range,
    Like,
    HLike,
    TLike,
    IsNull,
    NotNull,
}

impl Function {
    const ALL: [(Function, &str); 13] = [
        (Function::Eq, "eq"),
        (Function::Ne, "ne"),
        (Function::Or, "or"),
        (Function::Lt, "lt"),
        (Function::Le, "le"),
        (Function::Gt, "gt"),
        (Function::Ge, "ge"),
        (Function::Range, "range"),
        (Function::Like, "like"),
        (Function::HLike, "hlike"),
        (Function::TLike, "tlike"),
        (Function::IsNull, "isnull"),
        (Function::NotNull, "notnull"),
    ];

    /// Whether values of this form have it: the table of D19.
    fn fits(self, form: Form) -> bool {
        match self {
            Function::Eq | Function::Ne => true,
            Function::Or => form != Form::Time,
            Function::Lt | Function::Le | Function::Gt | Function::Ge => {
                matches!(form, Form::Int | Form::Enum(_) | Form::Time)
            }
            Function::Range => form == Form::Time,
            Function::Like | Function::HLike | Function::TLike => form == Form::Search,
            Function::IsNull | Function::NotNull => false,
        }
    }

    fn asks_for_presence(self) -> bool {
        matches!(self, Function::IsNull | Function::NotNull)
    }
}

/// The function of a value and what it is applied to. A value is a call only if it reads `name(..)` to its very end with
/// a known name; all else is a literal, which is compared for equality (D20).
fn call(text: &str) -> (Function, &str) {
    let call = text.strip_suffix(')').and_then(|t| t.split_once('('));
    let known = |(name, argument)| {
        let (function, _) = Function::ALL.into_iter().find(|(_, n)| *n == name)?;
        Some((function, argument))
    };
    call.and_then(known).unwrap_or((Function::Eq, text))
}

/// The filters among the parameters: the place in [`Listed::FILTERS`] and the value, sorted, each once.
///
/// # Errors
/// `invalid_field` when they have more than 200 values (D2).
pub(super) fn given<F: Listed>(params: &Params) -> Result<Vec<(u8, String)>, Failure> {
    let mut given = Vec::new();
    let mut count = 0;
    for (name, text) in params {
        let Some(place) = (0..).zip(F::FILTERS).find_map(|(i, f)| (f.name == *name).then_some(i)) else { continue };
        count += match call(text) {
            (Function::Or, list) => list.split(',').count(),
            _ => 1,
        };
        if count > MAX_VALUES {
            let why = format!("the filters have more than {MAX_VALUES} values");
            return Err(refused(name, &why, "ask for fewer values at a time"));
        }
        given.push((place, text.clone()));
    }
    given.sort_unstable();
    given.dedup();
    Ok(given)
}

/// What filters mean.
#[derive(Debug)]
pub(super) struct Meaning<F> {
    /// Which rows; the tenant is not among it.
    pub(super) filter: Filter<F>,
    /// Of which tenants.
    pub(super) tenants: Tenants,
    /// Below which tenant.
    pub(super) subtree: Option<TenantRef>,
}

/// Reads filters: fields are put together by AND, the values of one field by the rule of D23.
///
/// # Errors
/// `invalid_field` about a value that is none, or a function that the field does not have.
pub(super) fn read<F: Listed>(given: &[(u8, String)]) -> Result<Meaning<F>, Failure> {
    let mut clauses = Vec::new();
    let (mut tenants, mut subtree) = (Tenants::default(), None);
    for values in given.chunk_by(|(a, _), (b, _)| a == b) {
        // Only a cursor of another version has a place that is none.
        let parameter = values.first().and_then(|(place, _)| F::FILTERS.get(usize::from(*place)));
        let parameter = parameter.ok_or_else(|| refused("filter", "there is no such filter", "start again"))?;
        let texts: Vec<&str> = values.iter().map(|(_, text)| text.as_str()).collect();
        match parameter.asks {
            Asks::Always(field, form) => {
                clauses.extend(made(parameter.name, field, compared(parameter.name, form, &texts, false)?)?);
            }
            Asks::Maybe(field, form) => {
                clauses.extend(made(parameter.name, field, compared(parameter.name, form, &texts, true)?)?);
            }
            Asks::Tenant => tenants = named_tenants(parameter.name, &texts)?,
            Asks::Subtree => subtree = named_subtree(parameter.name, &texts)?,
        }
    }
    Ok(Meaning { filter: Filter::of(clauses), tenants, subtree })
}

fn made<F: Listed>(name: &str, field: F, tests: Vec<Test>) -> Result<Vec<Clause<F>>, Failure> {
    let clause = |test| Clause::new(field, test).map_err(|e| Failure::from(e.field(name)).with("parameter", name));
    tests.into_iter().map(clause).collect()
}

/// The tests of one field, all of which must hold (D23): one of the positives if there are any, none of the negatives,
/// and each range. Ranges stay apart, since together they may leave nothing, which is no error.
fn compared(name: &str, form: Form, texts: &[&str], optional: bool) -> Result<Vec<Test>, Failure> {
    let (mut any, mut none, mut tests) = (Vec::new(), Vec::new(), Vec::new());
    for text in texts {
        let (function, argument) = call(text);
        if function.asks_for_presence() && optional {
            if texts.len() > 1 || !argument.is_empty() {
                let hint = "isnull() and notnull() take nothing and are a field's only value";
                return Err(wrong(name, text, "does not go with other values", hint));
            }
            tests.push(if function == Function::IsNull { Test::Absent } else { Test::Present });
            continue;
        }
        if !function.fits(form) {
            return Err(missing(name, form, text, optional));
        }
        match function {
            // A time is a single entry, so several are put together by AND, whatever they are (D26).
            Function::Eq if form == Form::Time => {
                let time = value(name, form, argument)?;
                tests.push(Test::Range { from: Bound::Included(time.clone()), to: Bound::Included(time) });
            }
            Function::Eq => any.extend(patterns(name, form, argument)?),
            Function::Or => {
                for argument in argument.split(',') {
                    any.extend(patterns(name, form, argument)?);
                }
            }
            Function::Ne => none.extend(patterns(name, form, argument)?),
            Function::Like => any.push(Pattern::Contains(literal(name, argument)?.to_owned())),
            Function::HLike => any.push(Pattern::StartsWith(literal(name, argument)?.to_owned())),
            Function::TLike => any.push(Pattern::EndsWith(literal(name, argument)?.to_owned())),
            Function::Gt => tests.push(from(Bound::Excluded(value(name, form, argument)?))),
            Function::Ge => tests.push(from(Bound::Included(value(name, form, argument)?))),
            Function::Lt => tests.push(to(Bound::Excluded(value(name, form, argument)?))),
            Function::Le => tests.push(to(Bound::Included(value(name, form, argument)?))),
            Function::Range => {
                let (a, b) = ends(argument).ok_or_else(|| {
                    let hint = format!("range(a,b), from a until before b, each of them {}", time::FORMATS);
                    wrong(name, argument, "is no pair of times", hint)
                })?;
                tests.extend([from(Bound::Included(a)), to(Bound::Excluded(b))]);
            }
            // No form has them.
            Function::IsNull | Function::NotNull => {}
        }
    }
    if !any.is_empty() {
        tests.push(Test::AnyOf(any));
    }
    if !none.is_empty() {
        tests.push(Test::NoneOf(none));
    }
    Ok(tests)
}

fn from(from: Bound<Value>) -> Test {
    Test::Range { from, to: Bound::Unbounded }
}

fn to(to: Bound<Value>) -> Test {
    Test::Range { from: Bound::Unbounded, to }
}

/// What a value equals that is like this text.
fn patterns(name: &str, form: Form, text: &str) -> Result<Vec<Pattern>, Failure> {
    match form {
        Form::Text | Form::Search => Ok(vec![same(literal(name, text)?)]),
        Form::Type => Ok(vec![same(names::type_from_wire(literal(name, text)?))]),
        Form::ResourceType => Ok(names::resource_types_from_wire(literal(name, text)?).into_iter().map(same).collect()),
        Form::Int | Form::Uuid | Form::Enum(_) | Form::Time | Form::Bool => {
            Ok(vec![Pattern::Is(value(name, form, text)?)])
        }
    }
}

/// Equality of text: exact, but without regard to case where it has the shape of a GUID (D21).
fn same(text: &str) -> Pattern {
    guid(text).map_or_else(|| Pattern::Is(Value::Text(text.to_owned())), Pattern::IsUuid)
}

/// A literal of this form.
fn value(name: &str, form: Form, text: &str) -> Result<Value, Failure> {
    let text = literal(name, text)?;
    match form {
        Form::Int => text.parse().map(Value::Int).map_err(|_| wrong(name, text, "is no whole number", "like 42")),
        Form::Uuid => guid(text)
            .map(Value::Uuid)
            .ok_or_else(|| wrong(name, text, "is no uuid", "like 7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d")),
        Form::Enum(names) => (0..)
            .zip(names)
            .find_map(|(ordinal, n)| (*n == text).then_some(Value::Enum(ordinal)))
            .ok_or_else(|| not_among(name, text, "is none of its values", names)),
        Form::Time => time::parse(text)
            .map(Value::Time)
            .ok_or_else(|| wrong(name, text, "is in none of the known time formats", time::FORMATS)),
        Form::Bool => boolean(name, text).map(Value::Bool),
        Form::Text | Form::Search | Form::Type | Form::ResourceType => Ok(Value::Text(text.to_owned())),
    }
}

/// The ends of a range of times. Some formats have commas of their own, so each comma is tried as the one between them.
fn ends(argument: &str) -> Option<(Value, Value)> {
    let end = |text: &str| Some(text).filter(|t| t.len() <= MAX_TEXT).and_then(time::parse).map(Value::Time);
    argument.match_indices(',').find_map(|(comma, _)| Some((end(&argument[..comma])?, end(&argument[comma + 1..])?)))
}

/// A text to compare with.
fn literal<'a>(name: &str, text: &'a str) -> Result<&'a str, Failure> {
    if text.is_empty() {
        return Err(refused(
            name,
            "the value is empty",
            "isnull() finds what has no value, where a field can be without",
        ));
    }
    if text.len() > MAX_TEXT {
        let why = format!("is longer than {MAX_TEXT} bytes");
        return Err(wrong(name, text, &why, format!("at most {MAX_TEXT} bytes of UTF-8")));
    }
    Ok(text)
}

/// The refusal of a function that values of this form do not have (D20).
fn missing(name: &str, form: Form, text: &str, optional: bool) -> Failure {
    let has = |f: Function| f.fits(form) || optional && f.asks_for_presence();
    let allowed: Vec<&str> = Function::ALL.into_iter().filter(|(f, _)| has(*f)).map(|(_, name)| name).collect();
    not_among(name, text, "asks with a function that does not fit here", &allowed)
}

/// The tenants that a filter names (D18).
fn named_tenants(name: &str, texts: &[&str]) -> Result<Tenants, Failure> {
    let mut tenants = Tenants::default();
    for text in texts {
        match call(text) {
            (Function::Eq, text) => tenants.any.push(tenant(name, text)?),
            (Function::Ne, text) => tenants.none.push(tenant(name, text)?),
            (Function::Or, list) => {
                for text in list.split(',') {
                    tenants.any.push(tenant(name, text)?);
                }
            }
            _ => return Err(missing(name, Form::Uuid, text, false)),
        }
    }
    Ok(tenants)
}

/// The one tenant that a filter names (D18).
fn named_subtree(name: &str, texts: &[&str]) -> Result<Option<TenantRef>, Failure> {
    let mut found = None;
    for text in texts {
        let (Function::Eq, text) = call(text) else {
            return Err(not_among(name, text, "asks with a function that does not fit here", &["eq"]));
        };
        let tenant = tenant(name, text)?;
        if found.is_some_and(|f| f != tenant) {
            return Err(refused(name, "this names several tenants", "name one; tenantId takes several"));
        }
        found = Some(tenant);
    }
    Ok(found)
}

fn tenant(name: &str, text: &str) -> Result<TenantRef, Failure> {
    params::tenant(literal(name, text)?)
        .ok_or_else(|| wrong(name, text, "is no tenant", "its uuid, or its number, like 67"))
}
