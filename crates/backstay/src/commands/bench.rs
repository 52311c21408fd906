//! `backstay bench`: how fast this program is on this machine, on a ledger that is made up for it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bench::{Api, Limits, Options, Recipe, Report, Source};
use clap::{Args, Subcommand, ValueEnum};
use domain::Timestamp;

use super::done;
use crate::output::{Cell, Output, Tone};

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Ask a large ledger what clients ask all the time, through the native API and the Acronis dialect side by side
    ///
    /// Half a year of tasks is made up, a server is started on it that only this machine can reach, and every question is
    /// put to both APIs in turn, by one caller and by several at once. Both must give the same tasks.
    #[command(after_help = "Example: backstay bench api --tasks 100000 --keep /var/tmp/bench")]
    Api(ApiArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    /// How many tasks to make up; a million takes about 2 GB of disk
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..))]
    tasks: u64,
    /// What to make them up from: the same number gives the same ledger
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Keep the ledger in this new folder, to use it again with --ledger
    #[arg(long, value_name = "DIR", conflicts_with = "ledger")]
    keep: Option<PathBuf>,
    /// Take the ledger in this folder, which was kept before
    #[arg(long, value_name = "DIR", conflicts_with_all = ["tasks", "seed"])]
    ledger: Option<PathBuf>,
    /// Ask the server at this address, which runs on the folder of --ledger; none is started then
    #[arg(long, value_name = "URL", requires = "ledger")]
    url: Option<String>,
    /// Only this API
    #[arg(long, value_name = "API")]
    only: Option<ApiName>,
    /// How many ask at once, one number after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 8], value_parser = clap::value_parser!(u16).range(1..=512))]
    callers: Vec<u16>,
    /// Ask a question so often at most
    #[arg(long, value_name = "N", default_value_t = 200)]
    requests: usize,
    /// Ask a question so many seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u64,
    /// Write the figures as JSON to this file, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ApiName {
    Native,
    Acronis,
}

pub(crate) async fn run(command: BenchCommand, out: &Output) -> Result<ExitCode> {
    let BenchCommand::Api(args) = command;
    let source = match (args.ledger, args.url) {
        (Some(folder), Some(url)) => Source::Server(folder, url),
        (Some(folder), None) => Source::Folder(folder),
        (None, _) => {
            let recipe = Recipe { tasks: args.tasks, seed: args.seed, end: Timestamp::now() };
            Source::New(recipe, args.keep)
        }
    };
    let options = Options {
        source,
        apis: match args.only {
            None => Api::ALL.to_vec(),
            Some(ApiName::Native) => vec![Api::Native],
            Some(ApiName::Acronis) => vec![Api::Acronis],
        },
        callers: args.callers.into_iter().map(usize::from).collect(),
        limits: Limits { requests: args.requests, time: Duration::from_secs(args.seconds) },
    };
    let notes = out.clone();
    let report = bench::run(options, move |text| notes.note(text)).await?;
    if let Some(path) = args.report {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if out.json {
        out.json(&report)?;
        return done();
    }
    print(&report, out)?;
    done()
}

fn print(report: &Report, out: &Output) -> Result<()> {
    let rows = report.rows().into_iter().map(|row| row.into_iter().map(Cell::from).collect());
    out.table(&Report::HEADER, rows.collect(), "nothing was asked")?;
    let ledger = &report.ledger;
    out.coloured(&[Cell::toned(
        format!(
            "{} tasks in {} MB; {} processors. Ratios are the dialect's time divided by the native API's.",
            ledger.tasks,
            ledger.bytes / 1_000_000,
            report.processors
        ),
        Tone::Faint,
    )])?;
    if !report.optimised {
        out.note("This program was built without optimisation; its figures say little.");
    }
    Ok(())
}
