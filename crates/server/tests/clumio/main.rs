//! The Clumio dialect from outside, as its clients speak to it, over the services and a ledger.

mod coverage;
mod filters;
mod history;
mod tasks;
mod transport;
mod world;
