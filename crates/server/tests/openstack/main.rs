//! The OpenStack dialect from outside: the Image API's tasks and Keystone, over the services and a ledger.

#[path = "../common/changes.rs"]
mod changes;
mod coverage;
mod errors;
mod imports;
mod keystone;
mod lists;
mod tasks;
mod world;
