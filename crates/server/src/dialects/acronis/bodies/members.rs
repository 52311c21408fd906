//! A JSON object of a body, read member by member. Every name is checked before anything is read (contract, section 11),
//! and every refusal names the member by its path, like `policy.id` or `blockers[0].issue.key`.

use std::ops::RangeInclusive;

use domain::{Code, Error, SignedDuration, Text, Uuid};
use serde_json::{Map, Value};

use crate::dialects::acronis::error::Failure;
use crate::dialects::acronis::{duration, params};

/// The names of an object's members.
pub(super) struct Shape {
    /// Those a client may send.
    pub(super) sent: &'static [&'static str],
    /// Those that only the server makes.
    pub(super) made: &'static [&'static str],
}

impl Shape {
    /// An object whose members all come from the client.
    pub(super) const fn of(sent: &'static [&'static str]) -> Shape {
        Shape { sent, made: &[] }
    }
}

/// The members of an object that have not been read yet.
#[derive(Debug)]
pub(super) struct Members {
    /// Where it stands in the body; empty for the body itself.
    path: String,
    rest: Map<String, Value>,
}

impl Members {
    /// The members of a body.
    ///
    /// # Errors
    /// `invalid_body` when it is no object or has an unknown member, `readOnlyField` for one that the server makes.
    pub(super) fn of_body(body: Value, shape: &Shape) -> Result<Members, Failure> {
        match body {
            Value::Object(members) => Members::new(String::new(), members, shape),
            Value::Null => Err(Error::new(Code::InvalidBody, "the body is missing").hint("a JSON object").into()),
            other => {
                let message = format!("the body must be a JSON object, not {}", sort(&other));
                Err(Error::new(Code::InvalidBody, message).into())
            }
        }
    }

    /// The members of a body that may be left out.
    ///
    /// # Errors
    /// As [`Members::of_body`], but for a missing one.
    pub(super) fn of_optional_body(body: Value, shape: &Shape) -> Result<Members, Failure> {
        Members::of_body(if body.is_null() { Value::Object(Map::new()) } else { body }, shape)
    }

    /// The members of a value at `path` inside a body.
    fn new(path: String, mut members: Map<String, Value>, shape: &Shape) -> Result<Members, Failure> {
        for name in members.keys() {
            if shape.made.contains(&name.as_str()) {
                return Err(Failure::read_only(&join(&path, name)));
            }
            if !shape.sent.contains(&name.as_str()) {
                return Err(unknown(&path, name, shape));
            }
        }
        // Many clients write what they leave out as null.
        members.retain(|_, value| !value.is_null());
        Ok(Members { path, rest: members })
    }

    /// The path of a member.
    pub(super) fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// A refusal of a member's value.
    pub(super) fn invalid(&self, name: &str, why: impl std::fmt::Display) -> Error {
        let path = self.path(name);
        let message = format!("'{path}' {why}");
        Error::invalid(path, message)
    }

    /// A refusal of a member's value where only some words are right.
    pub(super) fn not_among(&self, name: &str, value: &str, allowed: &[&str]) -> Failure {
        let error = self.invalid(name, format!("cannot be '{}'", params::shown(value)));
        Failure::from(error.hint(format!("one of: {}", allowed.join(", "))))
            .with("value", params::shown(value))
            .with("allowed", params::list(allowed))
    }

    /// The value of a member that must be there.
    pub(super) fn need<T>(&self, name: &str, value: Option<T>) -> Result<T, Failure> {
        value.ok_or_else(|| missing(&self.path(name)))
    }

    /// Whatever a member is; null where it is left out.
    pub(super) fn any(&mut self, name: &str) -> Value {
        self.rest.remove(name).unwrap_or_default()
    }

    /// A text, as it is.
    pub(super) fn raw_text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.rest.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", &other)),
        }
    }

    /// A text; an empty one says as much as none (8.1).
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        Ok(self.raw_text(name)?.filter(|text| !text.is_empty()))
    }

    /// A text that must be there and not be empty.
    pub(super) fn need_text(&mut self, name: &str) -> Result<String, Failure> {
        let text = self.raw_text(name)?;
        let text = self.need(name, text)?;
        if text.is_empty() { Err(self.invalid(name, "is empty").into()) } else { Ok(text) }
    }

    /// A text that must be there, of a limited length.
    pub(super) fn need_word(&mut self, name: &str, max: usize) -> Result<String, Failure> {
        let text = self.need_text(name)?;
        self.at_most(name, &text, max)?;
        Ok(text)
    }

    /// Refuses a text that is too long.
    pub(super) fn at_most(&self, name: &str, text: &str, max: usize) -> Result<(), Failure> {
        if text.chars().count() > max {
            return Err(self.invalid(name, format!("is longer than {max} characters")).into());
        }
        Ok(())
    }

    /// Yes or no; no where it is left out.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Failure> {
        match self.rest.remove(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    /// A whole number.
    pub(super) fn integer(&mut self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(value) = self.rest.remove(name) else { return Ok(None) };
        value.as_i64().map(Some).ok_or_else(|| self.wrong(name, "a whole number", &value))
    }

    /// A whole number of this range.
    pub(super) fn within(&mut self, name: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, Failure> {
        let Some(number) = self.integer(name)? else { return Ok(None) };
        match u32::try_from(number).ok().filter(|n| range.contains(n)) {
            Some(n) => Ok(Some(n)),
            None => Err(self.invalid(name, format!("must be from {} to {}", range.start(), range.end())).into()),
        }
    }

    /// A count: a whole number that is not negative.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(value) = self.rest.remove(name) else { return Ok(None) };
        if value.as_i64().is_some_and(|n| n < 0) {
            return Err(self.invalid(name, "cannot be negative").into());
        }
        value.as_u64().map(Some).ok_or_else(|| self.wrong(name, "a whole number", &value))
    }

    /// A number.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, Failure> {
        let Some(value) = self.rest.remove(name) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.wrong(name, "a number", &value))
    }

    /// An integer id, as a number or as its decimal text.
    pub(super) fn id(&mut self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(value) = self.rest.remove(name) else { return Ok(None) };
        let id = value.as_str().map_or_else(|| value.as_i64(), params::decimal);
        id.map(Some).ok_or_else(|| self.wrong(name, "a whole number or its decimal text", &value))
    }

    /// A uuid, in any letter case.
    pub(super) fn uuid(&mut self, name: &str) -> Result<Option<Uuid>, Failure> {
        let Some(text) = self.raw_text(name)? else { return Ok(None) };
        let error = || self.invalid(name, "must be a uuid").hint("like 7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d");
        params::guid(&text).map(Some).ok_or_else(|| error().into())
    }

    /// A duration; one of no length says as much as none (D41).
    pub(super) fn duration(&mut self, name: &str) -> Result<Option<SignedDuration>, Failure> {
        let Some(text) = self.raw_text(name)? else { return Ok(None) };
        let duration = duration::parse(&self.path(name), &text)?;
        Ok(Some(duration).filter(|d| !d.is_zero()))
    }

    /// Texts in an array; none where it is left out.
    pub(super) fn texts(&mut self, name: &str) -> Result<Option<Vec<Text>>, Failure> {
        let Some(items) = self.array(name, "an array of strings")? else { return Ok(None) };
        let text = |(i, item)| match item {
            Value::String(text) => Ok(text.into()),
            other => Err(self.wrong(&format!("{name}[{i}]"), "a string", &other)),
        };
        items.into_iter().enumerate().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// An object.
    pub(super) fn object(&mut self, name: &str, shape: &Shape) -> Result<Option<Members>, Failure> {
        let Some(members) = self.map(name)? else { return Ok(None) };
        self.inside(name, members, shape).map(Some)
    }

    /// The members of an object that was taken as it is.
    pub(super) fn inside(&self, name: &str, members: Map<String, Value>, shape: &Shape) -> Result<Members, Failure> {
        Members::new(self.path(name), members, shape)
    }

    /// An object that must be there.
    pub(super) fn need_object(&mut self, name: &str, shape: &Shape) -> Result<Members, Failure> {
        let members = self.object(name, shape)?;
        self.need(name, members)
    }

    /// Objects in an array; none where it is left out.
    pub(super) fn objects(&mut self, name: &str, shape: &Shape) -> Result<Vec<Members>, Failure> {
        let items = self.array(name, "an array of objects")?.unwrap_or_default();
        let members = |(i, item)| match item {
            Value::Object(members) => Members::new(self.path(&format!("{name}[{i}]")), members, shape),
            other => Err(self.wrong(&format!("{name}[{i}]"), "an object", &other)),
        };
        items.into_iter().enumerate().map(members).collect()
    }

    /// An object of any members.
    pub(super) fn map(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Failure> {
        match self.rest.remove(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(self.wrong(name, "an object", &other)),
        }
    }

    fn array(&mut self, name: &str, what: &str) -> Result<Option<Vec<Value>>, Failure> {
        match self.rest.remove(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.wrong(name, what, &other)),
        }
    }

    /// A refusal of a member's JSON type.
    pub(super) fn wrong(&self, name: &str, right: &str, value: &Value) -> Failure {
        let path = self.path(name);
        let message = format!("'{path}' must be {right}, not {}", sort(value));
        Error::new(Code::InvalidBody, message).field(path).into()
    }
}

/// The refusal of a member that must be there.
fn missing(path: &str) -> Failure {
    Error { code: Code::InvalidBody, ..Error::missing(path) }.into()
}

/// The refusal of a member that is not known, with the one that was meant, if one is near.
fn unknown(path: &str, name: &str, shape: &Shape) -> Failure {
    let at = join(path, &params::shown(name));
    let error = Error::new(Code::InvalidBody, format!("there is no member '{at}' here")).field(at);
    match params::near(name, shape.sent) {
        Some(meant) => Failure::from(error.hint(format!("did you mean '{meant}'?"))).with("suggestion", meant),
        None if shape.sent.is_empty() => error.hint("leave the body empty").into(),
        None => Failure::from(error.hint(format!("one of: {}", shape.sent.join(", "))))
            .with("allowed", params::list(shape.sent)),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The sort of a JSON value, in words.
fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(n) if n.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
