//! `backstay bench`: how fast this program is on this machine, on a ledger or a tree of files that is made up for it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bench::{
    Api, BackupOptions, Effort, LedgerOptions, LedgerReport, LedgerSource, Limits, Load, Options, PostgresAt, Recipe,
    Report, Source,
};
use clap::{Args, Subcommand, ValueEnum};
use domain::Timestamp;
use serde::Serialize;

use super::done;
use crate::output::{Cell, Output, Tone};

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Ask a large ledger what clients ask all the time, through the native API and the dialects side by side
    ///
    /// Half a year of tasks is made up, a server is started on it that only this machine can reach, and every question is
    /// put in turn to the APIs that have it, by one caller and by several at once. All must give the same rows.
    #[command(after_help = "Example: backstay bench api --tasks 100000 --keep /var/tmp/bench")]
    Api(ApiArgs),
    /// Ask and write a large ledger itself, without a server, and other databases and task queues beside it
    ///
    /// Half a year of tasks is made up. Then come: every kind of question, each with other values every time; writes by
    /// many callers at once; how much disk and memory it takes; how long a restart lasts. Small ledgers have every answer
    /// checked against its definition, and whoever is asked beside the ledger must answer the same.
    #[command(after_help = "Examples:\n  backstay bench ledger --tasks 100000 --json figures.json\n  \
                            backstay bench ledger --tasks 1000000 --keep /var/tmp/bench --own-postgres --rivals")]
    Ledger(Box<LedgerArgs>),
    /// Back up and restore a tree of files, with `restic` beside it on the same files
    ///
    /// Text, noise, many small files and a few large ones are made up. In each round the engine of the agent and `restic`
    /// take turns: first backup, nothing changed, 1 % changed, restore. Then a whole `backstay up` makes the first two.
    #[command(after_help = "Example: backstay bench backup --megabytes 300 --rounds 3")]
    Backup(BackupArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// How large the tree is; four times as much is needed on the disk
    #[arg(long, value_name = "MB", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    megabytes: u64,
    /// What to make the tree up from: the same number gives the same files
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How often to do everything; figures are medians
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Work in a new folder below this one, and remove that at the end
    #[arg(long, value_name = "DIR")]
    below: Option<PathBuf>,
    /// The `restic` to compare with
    #[arg(long, value_name = "FILE", default_value = "restic")]
    restic: PathBuf,
}

/// The ledger that is measured.
#[derive(Debug, Args)]
struct MadeUp {
    /// How many tasks to make up; a million takes about 0.6 GB of disk
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..))]
    tasks: u64,
    /// What to make them up from: the same number gives the same ledger
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Keep the ledger in this new folder, to use it again with --ledger
    #[arg(long, value_name = "DIR", conflicts_with = "ledger")]
    keep: Option<PathBuf>,
    /// Take the ledger in this folder, which was kept before; what is written stays in it
    #[arg(long, value_name = "DIR", conflicts_with_all = ["tasks", "seed"])]
    ledger: Option<PathBuf>,
}

impl MadeUp {
    /// What is made up if no ledger is there.
    fn recipe(&self) -> Recipe {
        Recipe { tasks: self.tasks, seed: self.seed, end: Timestamp::now() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    #[command(flatten)]
    made_up: MadeUp,
    /// Ask the server at this address, which runs on the folder of --ledger; none is started then
    #[arg(long, value_name = "URL", requires = "ledger")]
    url: Option<String>,
    /// Only these APIs, and of a dialect's questions only those that it has
    #[arg(long, value_name = "API", value_delimiter = ',')]
    only: Vec<ApiName>,
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

#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    /// With --json: write the JSON to this file, and print the tables
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    made_up: MadeUp,
    /// Ask a kind of question so often at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    repetitions: usize,
    /// Ask a kind of question so many seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u64,
    /// Only kinds of questions with this in their names, and no restarts
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How many write at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    callers: u16,
    /// Write so many tasks at most; 0 = none
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    write_tasks: u64,
    /// Write so many seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    write_seconds: u64,
    /// Load the same tasks into this PostgreSQL, and ask it, too; its tables tasks and tenant_closure are replaced
    #[arg(long, value_name = "URL", conflicts_with = "own_postgres")]
    postgres: Option<String>,
    /// The same with a PostgreSQL 15 that is started for this and thrown away
    #[arg(long)]
    own_postgres: bool,
    /// Load the same tasks into this new SQLite file, and ask it, too
    #[arg(long, value_name = "FILE")]
    sqlite: Option<PathBuf>,
    /// Ask side by side with a ledger of so many tasks, made up for this, instead of the whole one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..))]
    side_rows: Option<u64>,
    /// Run graphile-worker and pg-boss on that PostgreSQL under the same load; needs Node.js, npm and a network
    #[arg(long)]
    rivals: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ApiName {
    Native,
    Acronis,
    Yandex,
    Clumio,
    Openstack,
}

impl ApiName {
    /// The name of the one that an API is, or is a way into.
    fn of(api: Api) -> ApiName {
        match api {
            Api::Native => ApiName::Native,
            Api::Acronis => ApiName::Acronis,
            Api::Grpc | Api::Rest => ApiName::Yandex,
            Api::Clumio => ApiName::Clumio,
            Api::OpenStack => ApiName::Openstack,
        }
    }
}

pub(crate) async fn run(command: BenchCommand, out: &Output) -> Result<ExitCode> {
    match command {
        BenchCommand::Api(args) => run_api(args, out).await,
        BenchCommand::Ledger(args) => run_ledger(*args, out).await,
        BenchCommand::Backup(args) => run_backup(args, out).await,
    }
}

async fn run_api(args: ApiArgs, out: &Output) -> Result<ExitCode> {
    let recipe = args.made_up.recipe();
    let source = match (args.made_up.ledger, args.url) {
        (Some(folder), Some(url)) => Source::Server(folder, url),
        (Some(folder), None) => Source::Folder(folder),
        (None, _) => Source::New(recipe, args.made_up.keep),
    };
    let options = Options {
        source,
        apis: Api::ALL.into_iter().filter(|a| args.only.is_empty() || args.only.contains(&ApiName::of(*a))).collect(),
        callers: args.callers.into_iter().map(usize::from).collect(),
        limits: Limits { requests: args.requests, time: Duration::from_secs(args.seconds) },
    };
    let notes = out.clone();
    let report = bench::run(options, move |text| notes.note(text)).await?;
    if let Some(path) = &args.report {
        write_json(path, &report)?;
    }
    if out.json {
        out.json(&report)?;
        return done();
    }
    print(&report, out)?;
    done()
}

async fn run_ledger(args: LedgerArgs, out: &Output) -> Result<ExitCode> {
    let recipe = args.made_up.recipe();
    let load =
        Load { callers: args.callers.into(), tasks: args.write_tasks, time: Duration::from_secs(args.write_seconds) };
    let options = LedgerOptions {
        source: match args.made_up.ledger {
            Some(folder) => LedgerSource::Folder(folder),
            None => LedgerSource::New(recipe, args.made_up.keep),
        },
        effort: Effort { repetitions: args.repetitions, time: Duration::from_secs(args.seconds) },
        only: args.only,
        load: (args.write_tasks > 0).then_some(load),
        postgres: match (args.postgres, args.own_postgres) {
            (Some(url), _) => Some(PostgresAt::Url(url)),
            (None, true) => Some(PostgresAt::Own),
            (None, false) => None,
        },
        sqlite: args.sqlite,
        side_rows: args.side_rows,
        rivals: args.rivals,
    };
    let notes = out.clone();
    let report = bench::run_ledger(options, move |text| notes.note(text)).await?;
    if let Some(path) = &args.file {
        write_json(path, &report)?;
    }
    if out.json && args.file.is_none() {
        out.json(&report)?;
    } else {
        print_ledger(&report, out)?;
    }
    for finding in &report.findings {
        out.note(format!("wrong: {finding}"));
    }
    if report.findings.is_empty() { done() } else { Ok(ExitCode::FAILURE) }
}

async fn run_backup(args: BackupArgs, out: &Output) -> Result<ExitCode> {
    let options = BackupOptions {
        program: std::env::current_exe().context("cannot tell where this program lies")?,
        restic: args.restic,
        bytes: args.megabytes * 1_000_000,
        seed: args.seed,
        rounds: args.rounds.into(),
        folder: args.below,
    };
    let notes = out.clone();
    let report = tokio::task::spawn_blocking(move || bench::run_backup(&options, |text| notes.note(text))).await??;
    if out.json {
        out.json(&report)?;
        return done();
    }
    out.line(report.markdown())?;
    out.coloured(&[Cell::toned(
        format!(
            "{} files, {} MB, {} rounds; {}; {} of {}.",
            report.tree.files,
            report.tree.bytes / 1_000_000,
            args.rounds,
            report.restic,
            report.processors,
            report.processor.as_deref().unwrap_or("processor unknown")
        ),
        Tone::Faint,
    )])?;
    if !report.optimised {
        out.note(UNOPTIMISED);
    }
    done()
}

fn write_json(path: &Path, report: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

fn print_ledger(report: &LedgerReport, out: &Output) -> Result<()> {
    for table in report.tables() {
        out.coloured(&[Cell::toned(&table.title, Tone::Live)])?;
        let rows = table.rows.into_iter().map(|row| row.into_iter().map(Cell::from).collect());
        out.table(&table.header, rows.collect(), "nothing was asked")?;
        out.line("")?;
    }
    let processor = report.processor.as_deref().unwrap_or("processor unknown");
    out.coloured(&[Cell::toned(format!("{} of {processor}.", report.processors), Tone::Faint)])?;
    if !report.optimised {
        out.note(UNOPTIMISED);
    }
    Ok(())
}

const UNOPTIMISED: &str = "This program was built without optimisation; its figures say little.";

fn print(report: &Report, out: &Output) -> Result<()> {
    let rows = report.rows().into_iter().map(|row| row.into_iter().map(Cell::from).collect());
    out.table(&Report::HEADER, rows.collect(), "nothing was asked")?;
    let ledger = &report.ledger;
    out.coloured(&[Cell::toned(
        format!(
            "{} tasks in {} MB; {} processors. Ratios are the dialect's time divided by the native API's; OF READY is the \
             native API's rate divided by that of the same bytes held in memory.",
            ledger.tasks,
            ledger.bytes / 1_000_000,
            report.processors
        ),
        Tone::Faint,
    )])?;
    if !report.optimised {
        out.note(UNOPTIMISED);
    }
    Ok(())
}
