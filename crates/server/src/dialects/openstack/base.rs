//! Where clients reach this server, for links and the catalog.

use axum::http::HeaderMap;
use axum::http::header::HOST;
use axum::http::request::Parts;

use crate::listen::Via;
use crate::service::Cloud;

/// The address of this server without a slash behind it, like `https://backup.example.com`.
#[derive(Debug, Clone)]
pub(super) struct Base(String);

impl Base {
    /// What the operator says, or else what the request itself names: whoever asks came that way.
    pub(super) fn of(cloud: &Cloud, parts: &Parts) -> Base {
        if let Some(url) = &cloud.url {
            return Base(url.trim_end_matches('/').to_owned());
        }
        let tls = parts.extensions.get::<Via>().is_some_and(|via| via.tls);
        let scheme = if tls { "https" } else { "http" };
        // HTTP/2 names the host in the address of the request.
        let authority = parts.uri.authority().map(|a| a.as_str());
        let host = named(&parts.headers).or(authority).filter(|host| is_host(host)).unwrap_or("localhost");
        Base(format!("{scheme}://{host}"))
    }

    /// The address of a path, which begins with a slash.
    pub(super) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

fn named(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST).and_then(|v| v.to_str().ok()).filter(|h| !h.is_empty())
}

/// Whether this can stand in an address: it comes back in answers, where nothing else may come of it.
fn is_host(host: &str) -> bool {
    host.len() <= 255 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}
