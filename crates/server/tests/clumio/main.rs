//! The Clumio dialect from outside, as its clients speak to it, over the services and a ledger.

mod assignments;
mod backups;
#[path = "../common/changes.rs"]
mod changes;
mod coverage;
mod demands;
#[path = "../common/dice.rs"]
mod dice;
mod estate;
mod files;
mod filters;
mod governance;
mod history;
mod organizational_units;
mod policies;
mod tasks;
mod transport;
mod volumes;
mod world;
