//! `backstay ledger`: look into the durable record of a server on this machine, also when no server runs.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use ::ledger::{IndexProgress, Ledger, SqliteLedger};
use anyhow::{Context as _, Result};
use api::client::Client;
use clap::Subcommand;
use domain::repository::Repository;
use domain::{Error, Scope};
use serde_json::json;
use server::config::DataFolder;
use server::secrets::Sealer;

use super::done;
use crate::connection::{self, Wanted};
use crate::format;
use crate::output::Output;
use crate::problem::{Exit, Problem};

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Look for damage; the exit code is 1 if there is any
    #[command(after_help = "Example: backstay ledger check --data /srv/backstay-data")]
    Check,
    /// Print what the index takes that lists of tasks are answered from; builds it if need be
    #[command(after_help = "Example: backstay ledger index --data /srv/backstay-data")]
    Index,
    /// Print everything as text, a line for each task, step and record
    #[command(after_help = "Example: backstay ledger dump --data /srv/backstay-data")]
    Dump,
    /// Print the password of a repository, for the `restic` program; needs only the data folder, no server
    #[command(after_help = "Example: backstay ledger repository-password --data /srv/backstay-data")]
    RepositoryPassword {
        /// The repository's name
        #[arg(value_name = "REPOSITORY", default_value = "local")]
        repository: String,
    },
}

pub(crate) async fn run(command: LedgerCommand, wanted: &Wanted, out: &Output) -> Result<ExitCode> {
    let data = DataFolder::new(connection::data_folder(wanted.data.as_deref())?);
    // Held until the end, so that no server starts and changes the schema below us.
    let _lock = lock(&data).await?;
    let path = data.ledger();
    let ledger = tokio::task::spawn_blocking(move || SqliteLedger::open(&path)).await?.map_err(Problem::from)?;
    let outcome = match command {
        LedgerCommand::Check => check(&ledger, data.path(), out).await,
        LedgerCommand::Index => index(&ledger, out).await,
        LedgerCommand::Dump => dump(&ledger, out).await,
        LedgerCommand::RepositoryPassword { repository } => password(&ledger, &data, &repository, out).await,
    };
    ledger.close().await.map_err(Problem::from)?;
    outcome
}

async fn check(ledger: &SqliteLedger, data: &Path, out: &Output) -> Result<ExitCode> {
    let findings = ledger.check(&Scope::everything()).await.map_err(Problem::from)?;
    if out.json {
        out.json(&json!({ "findings": findings }))?;
    } else if findings.is_empty() {
        out.line(format!("the ledger in {} is sound", data.display()))?;
    } else {
        for finding in &findings {
            out.line(format::clean_line(finding))?;
        }
    }
    if findings.is_empty() { done() } else { Ok(Exit::Failure.into()) }
}

async fn index(ledger: &SqliteLedger, out: &Output) -> Result<ExitCode> {
    let progress = ledger.progress().wait_for(IndexProgress::is_settled).await?.clone();
    if let IndexProgress::Failed(why) = progress {
        return Err(Problem::from(why).into());
    }
    let report = ledger.index_report().unwrap_or_default();
    let (per_task, rev) = (report.bytes / report.tasks.max(1), report.rev.0);
    if out.json {
        out.json(&json!({ "tasks": report.tasks, "bytes": report.bytes, "bytes_per_task": per_task, "rev": rev }))?;
    } else {
        let size = format::size(report.bytes);
        out.line(format!("{} tasks take {size} of memory, {per_task} bytes each, at revision {rev}", report.tasks))?;
    }
    done()
}

async fn dump(ledger: &SqliteLedger, out: &Output) -> Result<ExitCode> {
    let text = ledger.dump(&Scope::everything()).await.map_err(Problem::from)?;
    out.line(text.trim_end())?;
    done()
}

async fn password(ledger: &SqliteLedger, data: &DataFolder, name: &str, out: &Output) -> Result<ExitCode> {
    let ledger: &dyn Ledger = ledger;
    let found = ledger.find::<Repository>(&Scope::everything(), name).await.map_err(Problem::from)?;
    let Some(repository) = found else {
        return Err(Problem::from(Error::not_found("repository", name).hint("see `backstay repository list`")).into());
    };
    let sealer = Sealer::read(&data.server_key())?;
    let password = sealer.open(&repository.value.sealed_password).map_err(Problem::from)?;
    if out.json {
        out.json(&json!({ "repository": name, "url": repository.value.url, "password": password }))?;
    } else {
        out.line(password)?;
    }
    done()
}

/// The folder's lock; none while a server holds it. SQLite lets us read beside that server, but opening a ledger brings it
/// to our schema, so a server of another version must be stopped first.
async fn lock(data: &DataFolder) -> Result<Option<fs::File>> {
    let path = data.lock();
    let opened = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = opened.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => {
            if server_version(data).await.as_deref() == Some(env!("CARGO_PKG_VERSION")) {
                return Ok(None);
            }
            let message = format!("a server uses {}, and it is not known to be of this version", data.path().display());
            Err(Problem::new(Exit::Failure, message).hint("stop the server first, or use its own program").into())
        }
        Err(fs::TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
    }
}

async fn server_version(data: &DataFolder) -> Option<String> {
    let wanted = Wanted { data: Some(data.path().to_owned()), ..Wanted::default() };
    let endpoint = connection::find(&wanted).ok()?;
    let client = Client::new(&endpoint.url, "", None).ok()?;
    client.version().await.ok().map(|v| v.version)
}
