//! What a request says - path, query string, body - with errors in the shape of this API.

use axum::extract::{FromRequest, FromRequestParts, Path, RawQuery, Request};
use axum::http::request::Parts;
use domain::activity::{ActivityId, ActivityRef};
use domain::task::{TaskId, TaskRef};
use domain::{Code, Error, Uuid};
use serde::de::DeserializeOwned;

use super::error::Failure;
use crate::dialects::body;

/// The uuid in the path.
pub(super) struct PathId(pub(super) Uuid);

/// The two uuids in the path.
pub(super) struct PathIds(pub(super) Uuid, pub(super) Uuid);

/// The task in the path, by number or uuid.
pub(super) struct PathTask(pub(super) TaskRef);

/// The activity in the path, by number or uuid.
pub(super) struct PathActivity(pub(super) ActivityRef);

/// The parameters of the query string, decoded, in their order.
pub(super) struct Params(Vec<(String, String)>);

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// A JSON body that may be left out.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = path::<String, S>(parts, state).await?;
        Ok(PathId(uuid(&text)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathIds {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let (a, b) = path::<(String, String), S>(parts, state).await?;
        Ok(PathIds(uuid(&a)?, uuid(&b)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathTask {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = path::<String, S>(parts, state).await?;
        Ok(PathTask(match number_or_uuid(&text)? {
            Ok(number) => TaskRef::Id(TaskId(number)),
            Err(uuid) => TaskRef::Uuid(uuid),
        }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathActivity {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let text = path::<String, S>(parts, state).await?;
        Ok(PathActivity(match number_or_uuid(&text)? {
            Ok(number) => ActivityRef::Id(ActivityId(number)),
            Err(uuid) => ActivityRef::Uuid(uuid),
        }))
    }
}

async fn path<T: DeserializeOwned + Send, S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<T, Error> {
    match Path::<T>::from_request_parts(parts, state).await {
        Ok(Path(value)) => Ok(value),
        Err(_) => Err(Error::invalid("id", "the path is not readable").hint("percent-encode it as UTF-8")),
    }
}

fn uuid(text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| {
        Error::invalid("id", format!("'{text}' is no id")).hint("a uuid, like 7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d")
    })
}

fn number_or_uuid(text: &str) -> Result<Result<i64, Uuid>, Error> {
    if let Ok(number) = text.parse() {
        return Ok(Ok(number));
    }
    Uuid::parse_str(text).map(Err).map_err(|_| {
        Error::invalid("id", format!("'{text}' is no id"))
            .hint("a number, like 42, or a uuid, like 7a8b9c0d-1e2f-4a3b-9c4d-5e6f7a8b9c0d")
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let RawQuery(raw) = RawQuery::from_request_parts(parts, state).await.unwrap_or_else(|e| match e {});
        let raw = raw.unwrap_or_default();
        let broken = || {
            Error::invalid("query", "the query string is not readable")
                .hint("percent-encode it as UTF-8, like ?contains=caf%C3%A9")
        };
        if !well_encoded(raw.as_bytes()) {
            return Err(broken().into());
        }
        let axum::extract::Query(pairs) =
            axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|_| broken())?;
        // Decoding replaces bytes that are no UTF-8; nothing that is stored has this character, so it is a mistake.
        if pairs.iter().any(|(name, value)| name.contains('\u{fffd}') || value.contains('\u{fffd}')) {
            return Err(broken().into());
        }
        Ok(Params(pairs))
    }
}

/// Whether every percent sign begins a byte.
fn well_encoded(raw: &[u8]) -> bool {
    raw.iter()
        .enumerate()
        .filter(|(_, b)| **b == b'%')
        .all(|(i, _)| raw.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
}

impl Params {
    /// Takes out every value of a parameter.
    pub(super) fn take_all(&mut self, name: &str) -> Vec<String> {
        let (taken, rest) = std::mem::take(&mut self.0).into_iter().partition(|(n, _)| n == name);
        self.0 = rest;
        Vec::into_iter(taken).map(|(_, value)| value).collect()
    }

    /// Takes out the value of a parameter that may be given once.
    ///
    /// # Errors
    /// `invalid_field` when it is given twice.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Error> {
        let mut values = self.take_all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Error::invalid(name, format!("'{name}' is given twice"))),
        }
    }

    /// Takes out a number.
    ///
    /// # Errors
    /// `invalid_field` when it is none, or is given twice.
    pub(super) fn take_number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        let wrong =
            || Error::invalid(name, format!("'{text}' is no value for '{name}'")).hint("a whole number, like 42");
        text.parse().map(Some).map_err(|_| wrong())
    }

    /// What is left.
    pub(super) fn rest(self) -> Vec<(String, String)> {
        self.0
    }

    /// Refuses what is left, where a route knows no more parameters.
    ///
    /// # Errors
    /// `unknown_field`.
    pub(super) fn no_more(self, known: &[&str]) -> Result<(), Error> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(super::filter::unknown(name, known.iter().copied())),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let bytes = body::json(request).await?;
        Ok(Body(parse(&bytes)?))
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        match body::optional_json(request).await? {
            None => Ok(OptionalBody(T::default())),
            Some(bytes) => Ok(OptionalBody(parse(&bytes)?)),
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| misshapen(&e.path().to_string(), e.inner()))?;
    json.end().map_err(|e| misshapen(".", &e))?;
    Ok(value)
}

/// What is wrong with a body, out of where serde stopped (`.` = at the top) and what it says.
fn misshapen(path: &str, e: &serde_json::Error) -> Error {
    let text = e.to_string();
    let named = |prefix: &str| text.strip_prefix(prefix)?.split_once('`');
    // Of a missing field serde gives the object around it, of an unknown one the field itself.
    let around = |name: &str| match path.strip_suffix(name).unwrap_or(path).trim_end_matches('.') {
        "" => name.to_owned(),
        object => format!("{object}.{name}"),
    };
    if !e.is_data() {
        return Error::new(Code::InvalidBody, format!("the body is no JSON: {text}"));
    }
    if let Some((name, rest)) = named("unknown field `") {
        let known: Vec<_> = rest.split('`').skip(1).step_by(2).collect();
        return super::filter::unknown(name, known).field(around(name));
    }
    if let Some((name, _)) = named("missing field `") {
        return Error::missing(around(name));
    }
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    match path {
        "." => Error::new(Code::InvalidBody, format!("the body has not the expected shape: {what}")),
        field => Error::invalid(field, format!("'{field}' has a value that does not fit: {what}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_the_field_that_is_wrong() {
        let wrong = |text: &str| parse::<api::NewTenant>(text.as_bytes()).expect_err("wrong");
        let error = wrong(r#"{"name": "x", "parnet": 1}"#);
        assert_eq!((error.code, error.field.as_deref()), (Code::UnknownField, Some("parnet")));
        assert_eq!(error.hint.as_deref(), Some("did you mean 'parent'?"));
        let error = wrong("{}");
        assert_eq!((error.code, error.field.as_deref()), (Code::MissingField, Some("name")));
        let error = wrong(r#"{"name": 1}"#);
        assert_eq!((error.code, error.field.as_deref()), (Code::InvalidField, Some("name")));
        let schedule = r#"{"name": "x", "schedule": {"kind": "daily", "at": "25:00", "time_zone": "UTC"}}"#;
        let error = parse::<api::NewPolicy>(schedule.as_bytes()).expect_err("there is no such hour");
        assert_eq!((error.code, error.field.as_deref()), (Code::InvalidField, Some("schedule")));
        let sources = r#"{"name": "x", "kind": "bare_metal", "sources": {"paths": ["/a", 1]}}"#;
        let error = parse::<api::NewResource>(sources.as_bytes()).expect_err("a path is text");
        assert_eq!((error.code, error.field.as_deref()), (Code::InvalidField, Some("sources.paths[1]")));
        assert_eq!(wrong(r#"{"name": "x"} trailing"#).code, Code::InvalidBody);
        assert_eq!(wrong(r#"{"name": "#).code, Code::InvalidBody);
    }
}
