//! The Clumio dialect from outside, as its clients speak to it, over the services and a ledger.

mod backups;
mod coverage;
mod estate;
mod files;
mod filters;
mod history;
mod tasks;
mod transport;
mod volumes;
mod world;
