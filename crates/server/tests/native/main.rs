//! The native API as its clients meet it: requests against the router over a ledger in memory, no port, no waiting.

#[path = "../common/changes.rs"]
mod changes;
mod coverage;
mod errors;
mod events;
mod identity;
mod journeys;
mod lists;
mod openapi;
mod repositories;
mod talk;
mod world;
