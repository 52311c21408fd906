//! Which version of a resource answers: read from the header `Accept` (D17).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::failure::{Cause, Failure};
use super::operations::{DISCOVERY, Resource};

/// The version of this resource that a request wants.
///
/// # Errors
/// One that is not served is asked for by the resource's name.
pub(super) fn wanted(headers: &HeaderMap, resource: &Resource) -> Result<u32, Failure> {
    let types = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let Some(entries) = types.map(entries).find(|entries| !entries.is_empty()) else { return Ok(resource.latest()) };
    let of = |name: &str| entries.iter().find(|(n, _)| *n == name).map(|(_, version)| *version);
    // Discovery answers under the name of all of them, so its own is never asked for.
    let own = if resource.name == DISCOVERY.name { None } else { of(resource.name) };
    match (own, of("*")) {
        (Some(version), _) if resource.versions.contains(&version) => Ok(version),
        (Some(version), _) => {
            let served: Vec<_> = resource.versions.iter().map(|v| format!("v{v}")).collect();
            let message = format!(
                "Accept: version v{version} of '{}' is not served; served are {}",
                resource.name,
                served.join(" and ")
            );
            Err(Failure::new(Cause::Version, message))
        }
        (None, Some(most)) => {
            let fitting = resource.versions.iter().copied().filter(|v| *v <= most).max();
            Ok(fitting.or(resource.versions.first().copied()).unwrap_or_else(|| resource.latest()))
        }
        (None, None) => Ok(resource.latest()),
    }
}

/// The names with versions in one media type, like `application/api.clumio.*=v2&tasks=v1+json`; none if it is another.
fn entries(media_type: &str) -> Vec<(&str, u32)> {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let list = essence.strip_prefix("application/").and_then(|rest| rest.strip_suffix("+json")).unwrap_or_default();
    let list = list.strip_prefix("api.clumio.").unwrap_or(list);
    list.split('&').filter_map(entry).collect()
}

fn entry(text: &str) -> Option<(&str, u32)> {
    let (name, version) = text.split_once('=')?;
    Some((name.trim(), version.trim().strip_prefix('v')?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    static TWO: Resource = Resource { name: "backups", versions: &[1, 2] };

    fn asked(accept: &str) -> Result<u32, Cause> {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(ACCEPT, accept.parse().expect("a header"));
        }
        wanted(&headers, &TWO).map_err(|f| f.cause())
    }

    #[test]
    fn the_name_goes_before_the_star_and_the_latest_is_the_default() {
        let cases = [
            ("", Ok(2)),
            ("*/*", Ok(2)),
            ("application/json", Ok(2)),
            ("application/vnd.other+json", Ok(2)),
            ("application/api.clumio.backups=v1+json", Ok(1)),
            ("application/api.clumio.*=v2&users=v3&backups=v1+json", Ok(1)),
            ("application/api.clumio.backups=v3+json", Err(Cause::Version)),
            ("application/api.clumio.*=v1+json", Ok(1)),
            ("application/api.clumio.*=v9+json", Ok(2)),
            ("application/api.clumio.*=v0+json", Ok(1)),
            ("application/api.clumio.users=v1+json", Ok(2)),
            ("application/backups=v1+json", Ok(1)),
            ("text/html, application/api.clumio.backups=v1+json;q=0.5, application/api.clumio.backups=v2+json", Ok(1)),
        ];
        for (accept, version) in cases {
            assert_eq!(asked(accept), version, "{accept}");
        }
    }
}
