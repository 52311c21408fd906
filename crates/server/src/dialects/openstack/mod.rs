//! OpenStack: the tasks of the Image API v2 (`/v2`, `/image/v2`), and as much of Keystone v3 (`/v3`, `/identity/v3`) as its
//! clients need to get there. The contract is the vendor's documentation and its published server and clients; its decisions
//! are cited as G1 to G12.
//!
//! A path is taken apart here and not by a router, because what is behind a wrong one depends on how it is wrong: another
//! version answers with the list of versions, a slash at the end with 404, another method with what is allowed instead.

mod base;
mod identity;
mod image;
mod params;
mod refusal;
mod time;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{AUTHORIZATION, USER_AGENT};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::routing::any;
use domain::{Caller, Code, Error, Uuid};

use self::base::Base;
use self::params::Params;
use self::refusal::Refusal;
use super::edge;
use super::percent;
use crate::Service;

/// The newest minor version of the Image API; all from 0 on are taken for the same.
const NEWEST_MINOR: u32 = 17;
/// The largest body that is read.
const MAX_BODY: usize = 1024 * 1024;

/// The API, to be merged with whatever else listens on the same port.
pub(super) fn router(service: Arc<Service>) -> Router {
    let mut images = Router::new();
    let minors = (0..=NEWEST_MINOR).map(|minor| format!("/v2.{minor}"));
    for base in ["/v2", "/image", "/versions"].into_iter().map(str::to_owned).chain(minors) {
        images = below(images, &base, any(image::answer));
    }
    let mut identity = Router::new();
    for base in ["/v3", "/identity"] {
        identity = below(identity, base, any(identity::answer));
    }
    let images = edge::layers::<image::Images, _>(images);
    images.merge(edge::layers::<identity::Identity, _>(identity)).with_state(service)
}

/// What lies beside those paths, where `claims` says so.
pub(super) fn elsewhere(service: Arc<Service>) -> Router {
    let images = Router::new().fallback(any(image::answer));
    let root = Router::new().route("/", any(identity::answer));
    let images = edge::layers::<image::Images, _>(images);
    edge::layers::<identity::Identity, _>(root).merge(images).with_state(service)
}

/// Whether a path that no route has is for this API: a minor version that there is not, and the root for clients who look for
/// Keystone there. Those are known by their library and by having nothing to show yet: refused for that, as the API at the root
/// would, they wait for themselves for ever.
pub(super) fn claims(path: &str, headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match path {
        "/" => agent.contains("keystoneauth1") && !headers.contains_key(AUTHORIZATION),
        _ => path.starts_with("/v2."),
    }
}

/// A path, with a slash behind it, and with anything behind that.
fn below(
    router: Router<Arc<Service>>,
    base: &str,
    route: axum::routing::MethodRouter<Arc<Service>>,
) -> Router<Arc<Service>> {
    let (slash, rest) = (format!("{base}/"), format!("{base}/{{*rest}}"));
    router.route(base, route.clone()).route(&slash, route.clone()).route(&rest, route)
}

/// Every call that is answered by more than a refusal: the method in small letters, and the path behind `/image` or
/// `/identity` with its parameters in braces.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    image::ROUTES.iter().chain(identity::ROUTES).copied()
}

/// Whether a method at a path is one of these.
fn answers(routes: &[(&str, &str)], method: &Method, path: &str) -> bool {
    routes.iter().any(|(verb, of)| *of == path && verb.to_ascii_uppercase() == method.as_str())
}

/// What every call needs to know of its request.
struct Asked<'r> {
    service: &'r Service,
    headers: &'r HeaderMap,
    /// What stands before the version in the request's path, and in links.
    prefix: &'static str,
    /// The path behind that.
    path: &'r str,
    /// Where clients reach this server, as links say it.
    base: Base,
    /// The part of the query behind `?`.
    query: &'r str,
    /// Where the request came from, as far as that is known.
    from: Option<IpAddr>,
    /// The request's own id.
    id: Uuid,
}

impl<'r> Asked<'r> {
    fn of(service: &'r Service, parts: &'r axum::http::request::Parts) -> Asked<'r> {
        let headers = &parts.headers;
        let path = parts.uri.path();
        let prefixes = ["/image", "/identity"].into_iter();
        let (prefix, path) = prefixes.filter_map(|p| Some((p, path.strip_prefix(p)?))).next().unwrap_or(("", path));
        Asked {
            service,
            headers,
            prefix,
            path: path.strip_prefix('/').unwrap_or(path),
            base: Base::of(service.cloud(), parts),
            query: parts.uri.query().unwrap_or_default(),
            from: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()),
            id: Uuid::parse_str(edge::request_id_of(headers)).unwrap_or_default(),
        }
    }

    /// The parameters of the query.
    fn params(&self) -> Result<Params, Refusal> {
        Params::read(self.query).map_err(|_| Refusal::bad("The query is not readable: encode it as UTF-8."))
    }

    /// The token that the request is made with.
    fn token(&self) -> Result<&'r str, Error> {
        header(self.headers, "x-auth-token")
            .ok_or_else(|| Error::new(Code::Unauthenticated, "there is no header 'X-Auth-Token'"))
    }

    /// Who asks.
    async fn caller(&self) -> Result<Caller, Error> {
        self.service.authenticate(self.token()?).await
    }
}

/// A header that is there once and not empty.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut found = headers.get_all(name).iter();
    let first = found.next()?.to_str().ok()?.trim();
    if first.is_empty() || found.next().is_some() { None } else { Some(first) }
}

/// The parts of a path between its slashes, decoded.
fn segments(path: &str) -> Result<Vec<String>, Refusal> {
    let segments = path.split('/').map(percent::path).collect::<Option<_>>();
    segments.ok_or_else(|| Refusal::bad("The path is not readable: percent-encode it as UTF-8."))
}

/// The header under which clients know a request (they log it, and people quote it).
fn finish(mut response: Response, id: &str) -> Response {
    if let Ok(value) = format!("req-{id}").parse() {
        response.headers_mut().insert("x-openstack-request-id", value);
    }
    response
}

/// An id as OpenStack writes those of projects and users: without dashes.
fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

/// An id with dashes or without, in any letter case.
fn uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| matches!(text.len(), 32 | 36))
}

/// Whether an id that a caller gives to its request is taken over: only one of the form of ours.
fn takes_id(id: &str) -> bool {
    id.len() == 36 && Uuid::try_parse(id).is_ok()
}

/// The state that handlers get.
type Services = State<Arc<Service>>;

/// The domain's messages have no final stop; people read these as sentences.
fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>()).unwrap_or_default();
    let stop = if message.is_empty() || message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}
