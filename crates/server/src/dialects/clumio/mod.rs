//! The Clumio REST API. The contract is the vendor's documentation and what its public clients send and read; its decisions
//! are cited as D1 to D40, what those clients demand as R1 to R19.
//!
//! `operations` is the one table of what there is: routing, discovery, versions, rights and throttling are read from it.
//! `dispatch` is the one way of every call. To add operations:
//!
//! 1. Rows in `operations::OPERATIONS` (all of the contract's are there). A row without a handler is not served.
//! 2. A file with `pub(super) fn register(handlers: &mut Handlers)` that says `handlers.on("list-things", list_things)`, and
//!    a line in [`handlers`] below.
//! 3. A handler is `async fn list_things(call: Call) -> Result<Reply, Failure>`. When it runs, the caller is authenticated,
//!    stands in the effective organizational unit (`call.caller`, to be given to services), and has the row's right;
//!    `call.version` is the version to answer in.
//!    * Path: `call.uuid("volume_id", "volume")?` (404 for what is no uuid), `call.variable("..")`.
//!    * Query: `call.params.paging(1000)?`, `.get("sort")`, `.embeds("read-task")`, `.number("lookback_days")?`.
//!    * Body: `let body = call.body()?; let m = body.members();` then `m.required_uuid("volume_id")`, `m.text("type")`,
//!      `m.object("settings")`, `m.fault("name", "..")`, `m.refuse("type", "..")` (D11), and `body.checked()?` once all is
//!      read: one entry for each fault. Null is not given, "" neither where text is optional; `body.raw()` is as sent.
//!    * Filter: `Filter::read(call.params.filter()?, FIELDS)?` with a table `(name, Kind, key)` of the list; then
//!      `filter.matches(|key| Shown::text(..))` for what is at hand, or `condition.narrow(filter, RecordField::Name)?` for what
//!      the ledger can answer; `filter.applied()` for `filter_applied`, `.names(key)`, `.equal_to(key)`.
//!    * Tasks: `ShownTask::of(&task)` shows one; what a task is about beside resource and policy, see `task_entities`.
//!    * Answer: `call.ok(json!(..))`, `call.accepted(..)`, `.etag(..)`; `call.list(Pages::Numbered, Listing { .. })`;
//!      `paging.page()` for the ledger, `paging.of(all)` for what is at hand. `link`, `get`, `time`, `etag` are in `call`.
//!    * Errors: `?` on a service's error (not found = 404 4041, forbidden = 403, invalid = 400 4003, see `failure`), or
//!      `Failure::caused(Cause::VolumeUnusable, &error)`, or `Failure::new(Cause::Query, "sort: ..")`.
//! 4. A row in `tests/clumio/coverage.rs` for each operation; without one that test fails.

#![expect(dead_code, reason = "what handlers of further operations need stands before them")]

mod assignments;
mod backup_map;
mod backups;
mod body;
mod call;
mod discovery;
mod disk;
mod dispatch;
mod environments;
mod failure;
mod filesystems;
mod filter;
mod filter_ledger;
mod filter_time;
mod listing;
mod operations;
mod organizational_units;
mod policies;
mod policy_map;
mod query;
mod restored_files;
mod restores;
mod routes;
mod started;
mod stored;
mod tags;
mod task_entities;
mod task_shown;
mod task_types;
mod tasks;
mod versions;
mod volume_map;
mod volumes;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tokio_util::sync::CancellationToken;

use self::dispatch::{Handlers, Shaped};
use super::{body as bodies, edge};
use crate::Service;

/// What the handlers need.
pub(super) struct Clumio {
    service: Arc<Service>,
    /// Cancelled when the server stops.
    shutdown: CancellationToken,
    handlers: Handlers,
}

/// Everything that is answered.
fn handlers() -> Handlers {
    let mut handlers = Handlers::default();
    discovery::register(&mut handlers);
    tasks::register(&mut handlers);
    environments::register(&mut handlers);
    volumes::register(&mut handlers);
    backups::register(&mut handlers);
    restores::register(&mut handlers);
    filesystems::register(&mut handlers);
    restored_files::register(&mut handlers);
    policies::register(&mut handlers);
    assignments::register(&mut handlers);
    organizational_units::register(&mut handlers);
    handlers
}

/// The API. It answers every path that comes to it (D14), so it is for those that no other dialect has.
pub(super) fn router(service: Arc<Service>, shutdown: CancellationToken) -> Router {
    let clumio = Arc::new(Clumio { service, shutdown, handlers: handlers() });
    let api = Router::new().fallback(dispatch::answer).layer(DefaultBodyLimit::max(bodies::MAX));
    edge::layers::<Shaped, _>(api).with_state(clumio)
}

/// Every operation that is served: its name, method and path with variables in braces, for a test of every one of them.
pub fn operations() -> Vec<(&'static str, &'static str, &'static str)> {
    let handlers = handlers();
    let served = operations::OPERATIONS.iter().filter(|o| handlers.has(o.name));
    served.map(|o| (o.name, o.verb.as_str(), o.path)).collect()
}
