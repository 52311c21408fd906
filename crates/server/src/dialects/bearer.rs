//! The header `Authorization: Bearer`, as every dialect reads it.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use domain::{Code, Error};

/// The bearer token of a request.
///
/// # Errors
/// `unauthenticated` when there is none, or more than one.
pub(super) fn token(headers: &HeaderMap) -> Result<String, Error> {
    let none = |message: &str| {
        Error::new(Code::Unauthenticated, message).hint("send the header 'Authorization: Bearer <token>'")
    };
    let mut found = headers.get_all(AUTHORIZATION).iter();
    let header = found.next().ok_or_else(|| none("there is no token"))?;
    if found.next().is_some() {
        return Err(none("there are several headers 'Authorization'"));
    }
    let text = header.to_str().map_err(|_| none("the header 'Authorization' is not readable"))?;
    match text.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") && !secret.trim().is_empty() => {
            Ok(secret.trim().to_owned())
        }
        _ => Err(none("the header 'Authorization' holds no bearer token")),
    }
}
