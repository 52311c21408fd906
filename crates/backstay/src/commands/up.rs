//! `backstay up`: server and agent on one machine, out of one folder; with `--protect`, the first backup at once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use agent::AgentConfig;
use agent::child::Program;
use anyhow::{Context, Result, bail};
use api::client::{Client, ListQuery};
use clap::Args;
use domain::Uuid;
use domain::policy::Schedule;
use domain::resource::ResourceKind;
use server::Running;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::serve::{ListenArgs, RUNNING, connection_to, note, say, this_machine};
use crate::connection::Connection;
use crate::log::LogArgs;
use crate::{format, progress};

/// The name of the policy that `--protect` makes.
const POLICY: &str = "daily";
/// When the daily policy runs, in this machine's time zone: at night, and not at the full hour when everybody does.
const DAILY_AT: jiff::civil::Time = jiff::civil::time(2, 17, 0, 0);
/// How long the local agent may take to connect; on a busy machine it may take a while.
const AGENT_READY: Duration = Duration::from_secs(60);
/// How many tasks the local agent works on at once.
const SLOTS: u32 = 2;

/// Run server and agent on this machine.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Protect this folder or file with a daily policy, and back it up now; can be given several times
    #[arg(long, value_name = "DIR")]
    protect: Vec<PathBuf>,
    #[command(flatten)]
    listening: ListenArgs,
    /// Also restore to places of their own below this folder; can be given several times
    #[arg(long, value_name = "DIR")]
    restore_root: Vec<PathBuf>,
}

impl UpArgs {
    /// How it logs.
    pub(crate) fn log(&self) -> LogArgs {
        self.listening.log()
    }
}

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: UpArgs, data: PathBuf) -> Result<ExitCode> {
    let data = std::path::absolute(data)?;
    let protect = args.protect.iter().map(|p| existing(p)).collect::<Result<Vec<_>>>()?;

    // Asked for before anything is started, so that an early Ctrl-C stops cleanly too.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let host = this_machine();
    let server = args.listening.start(data.clone()).await?;
    let connection = connection_to(&server);

    let stop_agent = CancellationToken::new();
    let agent_config = local_agent(&server, &connection, &host, agent_host(&data, &args.restore_root)?, &data)?;
    let mut agent = tokio::spawn(agent::run(agent_config, stop_agent.clone()));

    let up = async {
        let client = Client::new(&connection.http, &connection.admin_token, None)?;
        let agent = connected_agent(&client).await?;
        let mut tasks = Vec::new();
        if !protect.is_empty() {
            tasks = protect_paths(&client, agent, &host, &protect, &data).await?;
        }
        args.listening.answers(&data, &connection, server.admin_token_is_new)?;
        for task in tasks {
            show_backup(&client, task).await?;
        }
        say(RUNNING);
        std::future::pending::<Result<()>>().await
    };
    let outcome = tokio::select! {
        failed = up => failed,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        ended = &mut agent => match ended {
            Ok(Err(error)) => Err(error.context("the agent ended")),
            other => Err(anyhow::anyhow!("the agent ended: {other:?}")),
        },
    };

    note("stopping");
    // First the agent, which gives its tasks back while the server still listens.
    stop_agent.cancel();
    if !agent.is_finished() && tokio::time::timeout(Duration::from_secs(10), agent).await.is_err() {
        note("warning: the agent did not stop in time; its tasks are taken up again on the next start");
    }
    args.listening.answers_no_more(&data);
    server.stop().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

fn existing(path: &Path) -> Result<String> {
    let path = path.canonicalize().with_context(|| format!("cannot protect {}", path.display()))?;
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => bail!("the path {} is not UTF-8; protect the folder above it", path.display()),
    }
}

/// What is set about this machine for its agent.
fn agent_host(data: &Path, more_roots: &[PathBuf]) -> Result<agent::Host> {
    let usual = super::agent_process::restore_roots(data, more_roots)?;
    Ok(agent::Host { restore_roots: usual, spool: Some(super::agent_process::spool(data)?), ..agent::Host::default() })
}

fn local_agent(
    server: &Running,
    connection: &Connection,
    host: &str,
    about: agent::Host,
    data: &Path,
) -> Result<AgentConfig> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let ca = std::fs::read_to_string(&connection.ca_file).context("cannot read the certificate authority")?;
    Ok(AgentConfig {
        url: connection.tls.clone(),
        ca_pem: Some(ca),
        token: server.agent_token.clone(),
        // Token and authority lie in the same folder, so a certificate would protect from nobody.
        certificate: None,
        journal: Some(super::agent_process::journal(data)),
        name: host.to_owned(),
        slots: SLOTS,
        program: Program::backstay(program),
        host: about,
        retry: agent::Retry::default(),
    })
}

async fn connected_agent(client: &Client) -> Result<Uuid> {
    let online = async {
        loop {
            let agents = client.agents(&ListQuery::new()).await?.items;
            if let Some(agent) = agents.into_iter().find(|a| a.online) {
                return Ok::<_, anyhow::Error>(agent.id);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(AGENT_READY, online).await {
        Ok(agent) => agent,
        Err(_) => bail!("the agent did not connect within {} s", AGENT_READY.as_secs()),
    }
}

/// Registers this machine, protects the paths with the daily policy, and gives the tasks to look at: a first backup, one
/// of paths that are new, or one that an earlier run did not finish.
async fn protect_paths(client: &Client, agent: Uuid, host: &str, paths: &[String], data: &Path) -> Result<Vec<i64>> {
    let machine = machine_id(host);
    let known = client.resources(&ListQuery::new().exact("instance_id", &machine)).await?.items.into_iter().next();
    let mut changed = false;
    let resource = match known {
        None => {
            changed = true;
            let sources = api::Sources { paths: paths.to_vec(), excludes: excludes(paths, data) };
            let new = api::NewResource {
                tenant: None,
                instance_id: Some(machine),
                kind: ResourceKind::BareMetal,
                name: host.to_owned(),
                agent: Some(agent),
                sources,
                metadata: serde_json::Value::Null,
            };
            client.add_resource(&new).await?
        }
        Some(resource) => {
            let mut sources = resource.sources.clone();
            for path in paths.iter().filter(|p| !resource.sources.paths.contains(p)) {
                changed = true;
                sources.paths.push(path.clone());
            }
            if changed {
                sources.excludes.extend(excludes(paths, data));
                sources.excludes.sort();
                sources.excludes.dedup();
                let change = api::ResourceChange { sources: Some(sources), ..Default::default() };
                client.change_resource(resource.id, &change).await?
            } else {
                resource
            }
        }
    };
    let policies = client.policies(&ListQuery::new().exact("name", POLICY)).await?.items;
    let policy = match policies.into_iter().next() {
        Some(policy) => policy,
        None => {
            let zone = jiff::tz::TimeZone::system().iana_name().unwrap_or("UTC").to_owned();
            let new = api::NewPolicy {
                tenant: None,
                name: POLICY.to_owned(),
                schedule: Schedule::Daily { at: DAILY_AT, time_zone: zone },
                retention: Default::default(),
                settings: api::Settings::default(),
                repository: None,
                enabled: true,
            };
            client.create_policy(&new).await?
        }
    };
    client.apply_policy(policy.id, resource.id).await?;

    let open = ListQuery::new()
        .filter("resource", resource.id)
        .filter("type", "backup")
        .filter("state", "enqueued,assigned,started,paused");
    let open = client.tasks(&open).await?.items;
    if !open.is_empty() {
        return Ok(open.into_iter().map(|t| t.id).collect());
    }
    if changed || resource.last_backup_at.is_none() {
        let started = client.run_policy(policy.id, Some(resource.id)).await?;
        return Ok(started.items.into_iter().map(|t| t.id).collect());
    }
    Ok(Vec::new())
}

/// What the machine calls itself, stable over restarts and renaming.
fn machine_id(host: &str) -> String {
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let id = if id.trim().is_empty() { host } else { id.trim() };
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    id.chars().map(plain).take(domain::resource::MAX_INSTANCE_ID).collect()
}

/// Backstay's own folder is not backed up into itself.
fn excludes(paths: &[String], data: &Path) -> Vec<String> {
    let data = data.canonicalize().unwrap_or_else(|_| data.to_owned());
    let inside = paths.iter().any(|p| data.starts_with(p));
    data.to_str().filter(|_| inside).map(format::literal_glob).into_iter().collect()
}

async fn show_backup(client: &Client, task: i64) -> Result<()> {
    let task = progress::follow_task(client, task).await?;
    say(format::finished_task(&task));
    let backups = client.backups(&ListQuery::new().filter("task", task.id)).await?.items;
    if let Some(backup) = backups.first() {
        say(format::recovery_point(backup));
    }
    Ok(())
}
