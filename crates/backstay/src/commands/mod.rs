//! The commands, one file a noun. Each defines what it takes and does what it says with a [`Context`].

pub(crate) mod activity;
pub(crate) mod agent;
pub(crate) mod agent_process;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod client;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod key;
pub(crate) mod ledger;
pub(crate) mod notify;
pub(crate) mod policy;
mod policy_preview;
pub(crate) mod repository;
pub(crate) mod repository_check;
mod repository_test;
pub(crate) mod resource;
pub(crate) mod restore;
pub(crate) mod serve;
pub(crate) mod task;
pub(crate) mod tenant;
pub(crate) mod token;
pub(crate) mod up;
pub(crate) mod user;

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use api::Task;
use api::client::Client;
use domain::{Role, Timestamp};
use serde::Serialize;

use crate::connection::{self, Wanted};
use crate::output::{Cell, Output, Tone, footer};
use crate::problem::Exit;
use crate::{format, progress};

/// What every command that talks to a server has.
pub(crate) struct Context {
    /// The server.
    pub(crate) client: Client,
    /// How to print.
    pub(crate) out: Output,
    /// Whether the server is the one on this machine, so that relative paths mean something to it.
    pub(crate) local: bool,
    /// The authority that the server's certificate must come from; none = the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Context {
    /// For the server that was named or found.
    pub(crate) fn connect(wanted: &Wanted, json: bool) -> Result<Context> {
        let endpoint = connection::find(wanted)?;
        let read = |path: &std::path::PathBuf| {
            std::fs::read(path).with_context(|| format!("cannot read the CA file {}", path.display()))
        };
        let ca = endpoint.ca_file.as_ref().map(read).transpose()?;
        let client = Client::new(&endpoint.url, &endpoint.token, ca.as_deref())?;
        let local = endpoint.local.is_some();
        Ok(Context { client, out: Output::new(json), local, ca_file: endpoint.ca_file })
    }

    /// Prints a page of a list: JSON, or a table with what it leaves out.
    fn list<T: Serialize>(
        &self,
        list: &api::List<T>,
        (one, many): (&str, &str),
        header: &[&str],
        rows: Vec<Vec<Cell>>,
    ) -> Result<ExitCode> {
        if self.out.json {
            self.out.json(list)?;
            return done();
        }
        self.out.table(header, rows, &format!("no {many}"))?;
        if let Some(text) = footer(list, one, many) {
            self.out.line(text)?;
        }
        done()
    }

    /// The text as an absolute path on the machine of the server, if that is this one; a remote machine's folders are
    /// not ours to complete, so the server says what is wrong with them.
    fn path(&self, text: &str) -> Result<String> {
        if !self.local || text.is_empty() {
            return Ok(text.to_owned());
        }
        let path = std::path::absolute(Path::new(text))?;
        Ok(path.to_str().map_or_else(|| text.to_owned(), str::to_owned))
    }

    /// Waits for a task and tells how it ended. Ctrl-C ends the waiting, not the task.
    async fn wait_for(&self, id: &str, limit: Option<Duration>) -> Result<(Option<Task>, Exit)> {
        let follow = progress::follow(&self.client, id, self.out.json);
        let limit = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            task = follow => Ok(task?),
            () = limit => Err(("is not completed yet", Exit::WaitTimeout)),
            _ = tokio::signal::ctrl_c() => Err(("goes on", Exit::Interrupted)),
        };
        match outcome {
            Ok(task) => {
                let exit = progress::exit_of(&task);
                Ok((Some(task), exit))
            }
            Err((how, exit)) => {
                let look = format!("look again with `backstay task watch {id}`");
                self.out.note(format!("task {id} {how}; {look}, stop it with `backstay task cancel {id}`"));
                Ok((None, exit))
            }
        }
    }

    /// The same, and prints the task when it is completed.
    async fn wait_and_print(&self, id: &str, limit: Option<Duration>) -> Result<ExitCode> {
        let (task, exit) = self.wait_for(id, limit).await?;
        match task {
            Some(task) if self.out.json => self.out.json(&task)?,
            Some(task) => self.out.line(format::finished_task(&task))?,
            None => {}
        }
        Ok(exit.into())
    }
}

/// The usual end.
fn done() -> Result<ExitCode> {
    Ok(Exit::Ok.into())
}

/// A role, for clap.
fn roles() -> impl clap::builder::TypedValueParser<Value = Role> {
    use clap::builder::TypedValueParser as _;
    let names = clap::builder::PossibleValuesParser::new(Role::NAMES);
    names.try_map(|name| Role::parse(&name).ok_or("no such role"))
}

/// Roles on one line.
fn joined_roles(roles: &[Role]) -> String {
    roles.iter().map(|r| r.name()).collect::<Vec<_>>().join(", ")
}

/// Whether something that can be revoked still counts.
fn access_cell(revoked_at: Option<Timestamp>) -> Cell {
    match revoked_at {
        None => Cell::toned("valid", Tone::Good),
        Some(_) => Cell::toned("revoked", Tone::Faint),
    }
}

/// Several values in one cell.
fn joined(texts: &[impl Borrow<str>]) -> Option<Cell> {
    (!texts.is_empty()).then(|| Cell::from(texts.join(", ")))
}
