//! The Acronis dialect as its clients meet it: requests against the whole router, no port, no waiting.

mod accounts;
mod backups;
#[path = "../common/changes.rs"]
mod changes;
mod consuming;
mod coverage;
mod edges;
mod filters;
mod history;
mod idp;
mod losing;
mod mirror;
mod objects;
mod reading;
mod shape;
mod taking;
mod world;
mod writing;
