//! From the path as it was sent to an operation (D15): cleaned up, never redirected.

use axum::http::Method as Verb;

use super::Handlers;
use super::failure::{Cause, Failure};
use super::operations::{OPERATIONS, Operation};
use crate::dialects::percent;

/// The prefix under which this API is found too (D14).
const PREFIX: &str = "clumio";
/// What older SDKs put before every path.
const API: &str = "api";

/// The decoded segments of a path without mount prefix, `/api`, and slashes that say nothing; none if one of them is not
/// readable.
pub(super) fn segments(path: &str) -> Option<Vec<String>> {
    let mut parts: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    for dropped in [PREFIX, API] {
        if parts.first() == Some(&dropped) {
            parts.remove(0);
        }
    }
    parts.into_iter().map(percent::path).collect()
}

/// An operation, and what stands in its path's variables.
pub(super) struct Found {
    pub(super) operation: &'static Operation,
    pub(super) variables: Vec<(&'static str, String)>,
}

/// The operation that is asked for.
///
/// # Errors
/// No such path, or another method.
pub(super) fn find(handlers: &Handlers, verb: &Verb, path: &str) -> Result<Found, Failure> {
    let nothing = || Failure::new(Cause::Path, format!("there is nothing at '{path}'"));
    let segments = segments(path).ok_or_else(nothing)?;
    let verb = if *verb == Verb::HEAD { &Verb::GET } else { verb };
    let mut here: Vec<Found> = OPERATIONS
        .iter()
        .filter(|operation| handlers.has(operation.name))
        .filter_map(|operation| Some(Found { operation, variables: variables(operation, &segments)? }))
        .collect();
    // `/backups/aws/ebs-volumes` is no backup's list of something: what is written out goes before what is variable.
    let fewest = here.iter().map(|f| f.variables.len()).min().ok_or_else(nothing)?;
    here.retain(|f| f.variables.len() == fewest);
    let allow = || {
        let verbs = here.iter().map(|f| f.operation.verb.as_str());
        let head = here.iter().any(|f| f.operation.verb == Verb::GET).then_some("HEAD");
        verbs.chain(head).collect::<Vec<_>>().join(", ")
    };
    match here.iter().position(|f| f.operation.verb == *verb) {
        Some(place) => Ok(here.swap_remove(place)),
        None => Err(Failure::method(verb.as_str(), allow())),
    }
}

fn variables(operation: &Operation, segments: &[String]) -> Option<Vec<(&'static str, String)>> {
    if operation.segments().count() != segments.len() {
        return None;
    }
    let mut variables = Vec::new();
    for (pattern, segment) in operation.segments().zip(segments) {
        match pattern.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) => variables.push((name, segment.clone())),
            None if pattern == segment => {}
            None => return None,
        }
    }
    Some(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_up_before_they_are_looked_for() {
        for path in ["/tasks", "//api//tasks/", "/clumio/tasks", "//clumio//api/tasks///", "/api/tasks", "/%74asks"] {
            assert_eq!(segments(path).expect("a path"), ["tasks"], "{path}");
        }
        assert_eq!(segments("/api/api/tasks").expect("a path"), ["api", "tasks"], "one only");
        assert_eq!(segments("/tasks/a%2Fb").expect("a path"), ["tasks", "a/b"]);
        assert_eq!(segments("/tasks/%ff"), None);
        assert!(segments("/clumio").expect("a path").is_empty());
    }
}
