//! The agent: the process on a protected machine that moves data into repositories and back.
//! The engine runs in a child process of its own per task (`child`), so that cancelling, a crash
//! or a memory limit ends one task and never the agent.
//!
//! `link` keeps the session with the server, `desk` what must not be lost when it breaks, `runner`
//! carries one task out as `plan` says; `listing` and `places` answer questions about backups and about the machine,
//! `destination` finds the folder to restore to, and `handover` brings files to the server.

pub mod child;
mod desk;
mod destination;
pub mod engine;
mod handover;
mod host;
mod link;
mod listing;
mod meter;
mod places;
mod plan;
mod runner;

pub use host::{Facts, Host, facts};
pub use link::{AgentConfig, Retry, run};
