//! What was refused or failed, in each form in which these APIs say it (G2). The Image API writes JSON for who names it,
//! text, or else a small page: its own command line asks for anything, shows what is left of a page without its marks, and
//! breaks on JSON. Keystone has one form of JSON.

use axum::Json;
use axum::http::header::{ACCEPT, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::error::Kind;
use domain::{Code, Error};
use serde_json::json;

use super::base::Base;
use super::{finish, sentence};
use crate::dialects::edge;

/// How a refusal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Keystone's JSON.
    Keystone,
    /// The Image API's JSON.
    Json,
    /// The Image API's text.
    Text,
    /// The Image API's page.
    Page,
}

impl Form {
    /// What a client of the Image API names; that it takes anything names nothing.
    pub(super) fn wished(headers: &HeaderMap) -> Form {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
        let (mut text, mut page) = (false, false);
        for range in accepted {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let kind = parts.next().unwrap_or_default();
            let unwanted = parts.any(|p| p.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
            match kind.as_str() {
                _ if unwanted => {}
                "application/json" => return Form::Json,
                "text/html" => page = true,
                "text/plain" => text = true,
                _ => {}
            }
        }
        if text && !page { Form::Text } else { Form::Page }
    }

    /// The one text for whoever is not let in, for whatever reason: nobody shall learn which names there are.
    fn unauthenticated(self) -> &'static str {
        match self {
            Form::Keystone => "The request you have made requires authentication.",
            Form::Json | Form::Text | Form::Page => {
                "This server could not verify that you are authorized to access the document you requested. Send a \
                 valid token in the header 'X-Auth-Token'."
            }
        }
    }

    fn body(self, status: StatusCode, message: &str) -> Response {
        let title = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "Request Entity Too Large",
            other => other.canonical_reason().unwrap_or("Error"),
        };
        let message = if status == StatusCode::UNAUTHORIZED { self.unauthenticated() } else { message };
        let code = format!("{} {title}", status.as_u16());
        match self {
            Form::Keystone => {
                let body = json!({ "error": { "code": status.as_u16(), "message": message, "title": title } });
                (status, Json(body)).into_response()
            }
            Form::Json => (status, Json(json!({ "message": message, "code": code, "title": title }))).into_response(),
            Form::Text => {
                let content = [(CONTENT_TYPE, "text/plain; charset=UTF-8")];
                (status, content, format!("{code}\n\n{message}\n")).into_response()
            }
            Form::Page => {
                let content = [(CONTENT_TYPE, "text/html; charset=UTF-8")];
                let message = escaped(message);
                let page = format!(
                    "<html>\n <head>\n  <title>{code}</title>\n </head>\n <body>\n  <h1>{code}</h1>\n  {message}<br />\n </body>\n</html>\n"
                );
                (status, content, page).into_response()
            }
        }
    }
}

/// A request that was refused or failed.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    allow: Option<&'static str>,
    retry_after: Option<u64>,
    /// What lies behind it, where it is the server's own fault.
    fault: Option<Box<Error>>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), allow: None, retry_after: None, fault: None }
    }

    pub(super) fn bad(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn no_such_page() -> Refusal {
        Refusal::not_found("The resource could not be found.")
    }

    pub(super) fn unauthenticated() -> Refusal {
        Refusal::new(StatusCode::UNAUTHORIZED, "")
    }

    pub(super) fn too_large(limit: usize) -> Refusal {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("The body is larger than {} KiB.", limit / 1024))
    }

    pub(super) fn method_not_allowed(method: &str, allow: &'static str) -> Refusal {
        Refusal::not_allowed(format!("The method {method} is not allowed for this resource."), allow)
    }

    /// A method is not taken, for this reason.
    pub(super) fn not_allowed(message: impl Into<String>, allow: &'static str) -> Refusal {
        Refusal { allow: Some(allow), ..Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message) }
    }

    /// The answer.
    pub(super) fn print(self, form: Form, base: &Base) -> Response {
        let mut response = form.body(self.status, &self.message);
        let headers = response.headers_mut();
        let identity = format!("Keystone uri=\"{}\"", base.at("/identity"));
        if self.status == StatusCode::UNAUTHORIZED
            && let Ok(value) = HeaderValue::from_str(&identity)
        {
            headers.insert(WWW_AUTHENTICATE, value);
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = self.retry_after.or((self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(5)) {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }

    /// The answer to a request that hit a defect, of which nothing is known.
    pub(super) fn defect(form: Form) -> Response {
        let refusal = Refusal::from(Error::new(Code::Internal, "the server has a defect and could not answer"));
        form.body(refusal.status, &refusal.message)
    }

    /// Ends an answer. What is the server's own fault goes to its log, with the id under which the client knows the request.
    pub(super) fn finish(response: Response, request_id: &str) -> Response {
        if let Some(fault) = response.extensions().get::<Refusal>().and_then(|refusal| refusal.fault.as_ref()) {
            tracing::error!(code = fault.code.name(), request_id, "a request failed: {fault}");
        }
        finish(response, request_id)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let mut message = sentence(&error.message);
        if let Some(hint) = &error.hint {
            message = format!("{message} {}", sentence(hint));
        }
        let status = match error.code.kind() {
            Kind::StorageFull => StatusCode::SERVICE_UNAVAILABLE,
            _ => edge::status(error.code),
        };
        let mut refusal = Refusal::new(status, message);
        refusal.retry_after = error.retry_after;
        if matches!(error.code.kind(), Kind::Internal | Kind::StorageFull) {
            refusal.fault = Some(Box::new(error));
        }
        refusal
    }
}

/// The text as it stands between marks. Quotes may stay there: the command line shows what it finds as it is.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            other => safe.push(other),
        }
    }
    safe
}
