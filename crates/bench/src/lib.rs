//! Benchmarks: a ledger that looks like a provider's after half a year; the questions that clients ask all the time,
//! through HTTP, to the native API and to the dialects side by side; the ledger itself, beside other databases; and backups
//! and restores, beside `restic`.
//!
//! They stand on the ledger and the server as anybody else would use them; nothing in the product knows of them.

mod answer;
mod api;
mod backup;
mod drive;
mod generate;
mod history;
mod ledger;
mod life;
mod needles;
mod process;
mod question;
mod random;
mod ready;
mod report;
mod tree;
mod words;
mod world;
mod yandex;

pub use answer::Api;
pub use api::{Options, Source, run};
pub use backup::{BackupLine, BackupOptions, BackupReport, BackupStep, run_backup};
pub use drive::Limits;
pub use generate::{Manifest, Needle, Place, Recipe, Samples, generate};
pub use ledger::{
    Effort, LedgerOptions, LedgerReport, LedgerSource, Line as LedgerLine, Load, PostgresAt, Rival, SideReport, Spread,
    Table, Writes, run_ledger,
};
pub use process::Taken;
pub use report::{Beside, Line, Report, Stats};
pub use tree::SourceTree;
