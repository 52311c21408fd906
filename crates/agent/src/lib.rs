//! The agent: the process on a protected machine that moves data into repositories and back.
//! The engine runs in a child process of its own per task (`child`), so that cancelling, a crash
//! or a memory limit ends one task and never the agent.
//!
//! `link` keeps the session with the server, `desk` what must not be lost when it breaks and `journal`
//! what must not be lost when the agent crashes, `runner` carries one task out as `plan` says; `listing` and `places` answer questions about backups and about the machine,
//! `destination` finds the folder to restore to, `handover` brings files to the server, and `certificate` is what the agent shows
//! it.

mod certificate;
pub mod child;
mod desk;
mod destination;
mod durable;
pub mod engine;
mod handover;
mod hex;
mod host;
mod journal;
mod link;
mod listing;
mod meter;
mod places;
mod plan;
mod runner;

pub use certificate::{CertificateRequest, OwnCertificate};
pub use host::{Facts, Host, facts};
pub use link::{AgentConfig, Retry, knock, run};
