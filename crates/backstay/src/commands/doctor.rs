//! `backstay doctor`: looks at a server's or an agent's machine and says in a line each what is wrong and what to do. It
//! changes nothing, but for a file that it makes beside an agent's journal to see whether it can and removes again, and needs
//! no server that runs.

mod agent_host;
mod files;
mod reach;
mod server_host;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use domain::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;

use super::{agent_process, done};
use crate::connection::{self, Wanted};
use crate::output::{Cell, Output, Tone};
use crate::problem::{Exit, Problem};

pub(crate) const EXAMPLE: &str = "Example: backstay doctor --data /var/lib/backstay";

/// Say what is wrong with the server or agent of this machine, and what to do; the exit code is 1 if something is bad
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// How many GiB must be free where ledger, repository, downloads and journal lie
    #[arg(long, value_name = "GIB", default_value_t = 1)]
    min_free: u64,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    Warning,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// How it stands.
    state: State,
    /// What was looked at.
    subject: String,
    /// What was found.
    message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// What was found so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, subject: &str, message: impl Into<String>) {
        self.add(State::Good, subject, message.into(), None);
    }

    fn warning(&mut self, subject: &str, message: impl Into<String>, advice: impl Into<String>) {
        self.add(State::Warning, subject, message.into(), Some(advice.into()));
    }

    fn bad(&mut self, subject: &str, message: impl Into<String>, advice: impl Into<String>) {
        self.add(State::Bad, subject, message.into(), Some(advice.into()));
    }

    fn add(&mut self, state: State, subject: &str, message: String, advice: Option<String>) {
        self.0.push(Finding { state, subject: subject.to_owned(), message, advice });
    }

    /// How long a certificate is valid; `soon` is when somebody should have renewed it, and `advice` what to do then.
    fn certificate(&mut self, subject: &str, expires_at: Timestamp, soon: SignedDuration, advice: &str) {
        let left = Timestamp::now().duration_until(expires_at);
        let until = connection_time(expires_at);
        if left.is_negative() || left.is_zero() {
            self.bad(subject, format!("expired at {until}"), advice);
        } else if left < soon {
            self.warning(subject, format!("expires at {until}, in {} days", left.as_hours() / 24), advice);
        } else {
            self.good(subject, format!("valid until {until}"));
        }
    }
}

/// A time for people, to the second.
fn connection_time(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

pub(crate) async fn run(args: DoctorArgs, wanted: &Wanted, out: &Output) -> Result<ExitCode> {
    let places = places(wanted)?;
    let mut findings = Findings::default();
    let min_free = args.min_free.saturating_mul(1 << 30);
    for place in &places {
        match place {
            Place::Server(data) => server_host::examine(data, min_free, &mut findings).await,
            Place::Agent(data) => agent_host::examine(data, min_free, &mut findings).await,
        }
    }
    let bad = findings.0.iter().any(|f| f.state == State::Bad);
    if out.json {
        out.json(&json!({ "findings": findings.0 }))?;
    } else {
        for Finding { state, subject, message, advice } in &findings.0 {
            let mut state = match state {
                State::Good => Cell::toned("good", Tone::Good),
                State::Warning => Cell::toned("warning", Tone::Warn),
                State::Bad => Cell::toned("bad", Tone::Bad),
            };
            state.pad("warning".len());
            let text = match advice {
                Some(advice) => format!("{subject}: {message}; {advice}"),
                None => format!("{subject}: {message}"),
            };
            out.coloured(&[state, Cell::from(text)])?;
        }
    }
    if bad { Ok(Exit::Failure.into()) } else { done() }
}

/// What there is to look at.
enum Place {
    Server(PathBuf),
    Agent(PathBuf),
}

/// The folder that was named, or those of a server and an agent that are found here.
fn places(wanted: &Wanted) -> Result<Vec<Place>> {
    let folders = match &wanted.data {
        Some(data) => vec![std::path::absolute(data)?],
        None => {
            let usual = ["/var/lib/backstay", agent_process::DATA].map(PathBuf::from);
            connection::data_folder(None).ok().into_iter().chain(usual).collect()
        }
    };
    let mut places = Vec::new();
    for folder in &folders {
        if is_servers(folder) {
            places.push(Place::Server(folder.clone()));
        }
        if agent_process::Membership::path(folder).exists() {
            places.push(Place::Agent(folder.clone()));
        }
    }
    if places.is_empty() {
        let looked: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
        return Err(Problem::new(
            Exit::NotFound,
            format!("there is no data folder of a server or an agent in {}", looked.join(" and ")),
        )
        .hint("name it with --data; it may need the rights of its owner to be seen (sudo)")
        .into());
    }
    Ok(places)
}

fn is_servers(folder: &Path) -> bool {
    let data = server::config::DataFolder::new(folder.to_owned());
    data.ledger().exists() || data.keys().exists()
}
