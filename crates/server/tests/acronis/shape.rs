//! What is true of every refusal of the task API.

use axum::http::StatusCode;

use crate::world::Answer;

/// Where the task API is.
pub(crate) const API: &str = "/api/task_manager/v2";
/// And where the vendor's console looks for it (D1).
pub(crate) const BASES: [&str; 2] = [API, "/bc/api/task_manager/v2"];

/// Checks that an answer is a refusal of this API's form (D56), and gives its status and code.
pub(crate) fn refused((status, headers, body): &Answer, what: &str) -> (u16, String) {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    assert_eq!(header("content-type"), "application/json", "{what}: {status} {body}");
    // D3
    assert_eq!(header("cache-control"), "no-store", "{what}: {status} {body}");
    assert_ne!(header("x-request-id"), "", "{what}: {status} {body}");
    let members = body.as_object().unwrap_or_else(|| panic!("{what}: {status} with {body}"));
    let known = ["domain", "code", "reason", "message", "context"];
    assert!(members.keys().all(|k| known.contains(&k.as_str())), "{what}: {body}");
    let access = matches!(status.as_u16(), 401 | 403);
    assert_eq!(body["domain"], if access { "Access" } else { "TaskManager" }, "{what}: {body}");
    let code = body["code"].as_str().unwrap_or_else(|| panic!("{what}: {body}"));
    assert!(!code.is_empty() && code.chars().all(|c| c.is_ascii_alphabetic()), "{what}: {body}");
    assert_eq!(body["reason"], code, "{what}: {body}");
    let message = body["message"].as_str().unwrap_or_else(|| panic!("{what}: {body}"));
    assert!(message.len() > 1 && message.ends_with(['.', '!', '?']), "{what}: {message}");
    assert!(message.chars().count() <= 500, "{what}: {message}");
    if let Some(context) = members.get("context") {
        let context = context.as_object().unwrap_or_else(|| panic!("{what}: {body}"));
        let known = ["parameter", "value", "allowed", "suggestion", "hint"];
        assert!(!context.is_empty() && context.keys().all(|k| known.contains(&k.as_str())), "{what}: {body}");
    }
    if *status == StatusCode::UNAUTHORIZED {
        assert_eq!(header("www-authenticate"), "Bearer error=\"invalid_token\"", "{what}");
    }
    (status.as_u16(), code.to_owned())
}

/// What a refusal is.
pub(crate) fn as_refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
