//! The Yandex dialect from outside: gRPC and REST as clients speak them, over the services and a ledger.

mod backups;
#[path = "../common/changes.rs"]
mod changes;
mod coverage;
mod discovery;
mod errors;
mod estate;
mod iam;
mod listeners;
mod machines;
mod policies;
mod setup;
mod tasks;
mod world;
