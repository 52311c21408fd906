//! The server: listeners, dialects, services, scheduler and the agents' sessions, over one ledger.
//!
//! `dialects` translate, `service` decides, `ledger` keeps. `scheduler` and `agents` use the same services as everyone.

pub mod agents;
pub mod auth;
pub mod authority;
pub mod config;
pub mod dialects;
pub mod downloads;
pub mod installer;
pub mod listen;
pub mod run;
pub mod scheduler;
pub mod secrets;
pub mod service;
pub mod telemetry;
pub mod tls;

pub use config::Config;
pub use run::{Running, start};
pub use service::Service;
