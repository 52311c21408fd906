//! Benchmarks: a ledger that looks like a provider's after half a year, and the questions that clients ask all the time,
//! through HTTP, to the native API and to the Acronis dialect side by side.
//!
//! They stand on the ledger and the server as anybody else would use them; nothing in the product knows of them.

mod answer;
mod api;
mod drive;
mod generate;
mod history;
mod life;
mod question;
mod random;
mod report;
mod words;
mod world;

pub use answer::Api;
pub use api::{Options, Source, run};
pub use drive::Limits;
pub use generate::{Manifest, Place, Recipe, generate};
pub use report::{Line, Report, Stats};
