//! The native API as its clients meet it: requests against the router over a ledger in memory, no port, no waiting.

mod arbitrary;
#[path = "../common/changes.rs"]
mod changes;
mod coverage;
#[path = "../common/dice.rs"]
mod dice;
mod errors;
mod events;
mod identity;
mod journeys;
mod lists;
mod openapi;
mod repositories;
mod talk;
mod world;
