//! The Clumio dialect from outside, as its clients speak to it, over the services and a ledger.

#![expect(dead_code, reason = "what tests of further operations need stands before them")]

mod coverage;
mod transport;
mod world;
