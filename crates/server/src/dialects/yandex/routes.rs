//! Where REST finds the methods: paths with variables and verbs behind a colon (section 5.2).

use std::fmt;

use axum::http::Method as Verb;

use super::methods::{self, Method};
use crate::dialects::percent;

/// A path under which REST finds a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) verb: Verb,
    segments: Vec<Segment>,
    /// What stands behind the colon of the last segment, like `apply`.
    custom: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Variable(String),
}

impl Route {
    /// The route of a path as options write it: `/backup/v1/policies/{policy_id}:apply`.
    pub(super) fn new(verb: Verb, path: &str) -> Route {
        let (path, custom) = match path.rsplit_once(':') {
            Some((path, custom)) => (path, Some(custom.to_owned())),
            None => (path, None),
        };
        let segments = path.trim_start_matches('/').split('/').map(|segment| {
            match segment.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                Some(name) => Segment::Variable(name.to_owned()),
                None => Segment::Literal(segment.to_owned()),
            }
        });
        Route { verb, segments: segments.collect(), custom }
    }

    /// The fields that stand in the path.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|s| match s {
            Segment::Variable(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// Whether the request is in the body, and not in the query.
    pub(super) fn has_body(&self) -> bool {
        self.verb == Verb::POST || self.verb == Verb::PATCH
    }

    /// What stands in the places of the variables, not decoded; none if the path is another one.
    fn captures<'p>(&self, verb: &Verb, path: &[&'p str], custom: Option<&str>) -> Option<Vec<(&str, &'p str)>> {
        if self.verb != *verb || self.custom.as_deref() != custom || self.segments.len() != path.len() {
            return None;
        }
        let mut captured = Vec::new();
        for (segment, text) in self.segments.iter().zip(path) {
            match segment {
                Segment::Literal(wanted) if wanted == text => {}
                Segment::Literal(_) => return None,
                Segment::Variable(name) => captured.push((name.as_str(), *text)),
            }
        }
        Some(captured)
    }
}

/// As options write it.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Variable(name) => write!(f, "/{{{name}}}")?,
            }
        }
        self.custom.iter().try_for_each(|custom| write!(f, ":{custom}"))
    }
}

/// Where a request leads.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) method: &'static Method,
    pub(super) route: &'static Route,
    /// The fields of the path; none in place of a value that cannot be decoded.
    pub(super) variables: Vec<(&'static str, Option<String>)>,
}

/// The method behind a path, if there is one (Y15).
pub(super) fn find(verb: &Verb, path: &str) -> Option<Found> {
    let mut segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    // Only the last segment has a verb, and what precedes the last colon belongs to the id.
    let mut custom = None;
    if let Some(last) = segments.last_mut()
        && let Some((id, verb)) = last.rsplit_once(':')
    {
        (*last, custom) = (id, Some(verb));
    }
    let routes = methods::all().iter().flat_map(|m| m.routes.iter().map(move |r| (m, r)));
    // Where two fit, the one that takes less for granted: `archives` before any id.
    let (method, route, captured) = routes
        .filter_map(|(m, r)| Some((m, r, r.captures(verb, &segments, custom)?)))
        .min_by_key(|(_, _, captured)| captured.len())?;
    let variables = captured.into_iter().map(|(name, text)| (name, percent::path(text))).collect();
    Some(Found { method, route, variables })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(verb: Verb, path: &str) -> Option<(String, Vec<String>)> {
        let found = find(&verb, path)?;
        let values = found.variables.into_iter().map(|(_, v)| v.unwrap_or_else(|| "?".into()));
        Some((found.method.name.rsplit_once(".v1.").map_or("", |(_, n)| n).to_owned(), values.collect()))
    }

    #[test]
    fn paths_lead_to_methods() {
        let cases = [
            (Verb::GET, "/backup/v1/resources", "ResourceService.List", &[][..]),
            (Verb::GET, "/backup/v1/resources/a.b-c", "ResourceService.Get", &["a.b-c"]),
            (Verb::GET, "/backup/v1/resources/", "ResourceService.Get", &[""]),
            (Verb::GET, "/backup/v1/resources/m/tasks", "ResourceService.ListTasks", &["m"]),
            (Verb::GET, "/backup/v1/backups/m/archives", "BackupService.ListArchives", &["m"]),
            (Verb::GET, "/backup/v1/backups/b/files", "BackupService.ListFiles", &["b"]),
            (Verb::DELETE, "/backup/v1/backups/m/b", "BackupService.Delete", &["m", "b"]),
            (Verb::DELETE, "/backup/v1/archives", "BackupService.DeleteArchive", &[]),
            (Verb::DELETE, "/backup/v1/archives/a", "BackupService.DeleteArchive", &["a"]),
            (Verb::POST, "/backup/v1/policies/p:apply", "PolicyService.Apply", &["p"]),
            (Verb::POST, "/backup/v1/policies/a%3Ab%2Fc%20:execute", "PolicyService.Execute", &["a:b/c "]),
            (Verb::POST, "/backup/v1/policies/a:b:execute", "PolicyService.Execute", &["a:b"]),
            (Verb::GET, "/backup/v1/resources/a+b", "ResourceService.Get", &["a+b"]),
            (Verb::GET, "/backup/v1/resources/%zz", "ResourceService.Get", &["?"]),
            (Verb::POST, "/iam/v1/tokens:revoke", "IamTokenService.Revoke", &[]),
        ];
        for (verb, path, method, values) in cases {
            let found = found(verb.clone(), path).unwrap_or_else(|| panic!("{verb} {path} leads nowhere"));
            assert_eq!(
                (found.0.as_str(), found.1.as_slice()),
                (method, &*values.iter().map(ToString::to_string).collect::<Vec<_>>()),
                "{path}"
            );
        }
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for (verb, path) in [
            (Verb::GET, "/backup/v1"),
            (Verb::GET, "/backup/v1/policies/p:apply"),
            (Verb::POST, "/backup/v1/policies/p:unknown"),
            (Verb::GET, "/backup/v1/resources/a:b"),
            (Verb::PUT, "/backup/v1/resources"),
            (Verb::GET, "/backup/v1/resources/a/b/c"),
            (Verb::GET, "/backup/v2/resources"),
        ] {
            assert!(find(&verb, path).is_none(), "{verb} {path}");
        }
    }
}
