//! JSON bodies, as every dialect takes them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use domain::{Code, Error};

/// The largest body that is accepted.
pub(super) const MAX: usize = 1024 * 1024;

/// The bytes of a body that is marked as JSON and is not a list.
///
/// # Errors
/// `unsupported_media_type`, `body_too_large`, `invalid_body`.
pub(super) async fn json(request: Request) -> Result<Bytes, Error> {
    let marked = is_json(request.headers());
    check(bytes(request).await?, marked)
}

/// As `json`, or nothing where there is no body.
///
/// # Errors
/// Those of `json`.
pub(super) async fn optional_json(request: Request) -> Result<Option<Bytes>, Error> {
    let marked = is_json(request.headers());
    let bytes = bytes(request).await?;
    if bytes.is_empty() { Ok(None) } else { check(bytes, marked).map(Some) }
}

fn check(bytes: Bytes, marked: bool) -> Result<Bytes, Error> {
    if !marked {
        return Err(Error::new(Code::UnsupportedMediaType, "the body is not marked as JSON")
            .hint("send the header 'Content-Type: application/json'"));
    }
    // serde would take a list for an object, by position; nobody shall depend on that.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(Error::new(Code::InvalidBody, "the body is a list, and an object is expected"));
    }
    Ok(bytes)
}

async fn bytes(request: Request) -> Result<Bytes, Error> {
    Bytes::from_request(request, &()).await.map_err(|e| {
        if e.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Error::new(Code::BodyTooLarge, format!("the body is larger than {} KiB", MAX / 1024))
        } else {
            Error::new(Code::InvalidBody, "the body broke off")
        }
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(text)) = headers.get(CONTENT_TYPE).map(|v| v.to_str()) else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}
