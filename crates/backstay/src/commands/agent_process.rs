//! `backstay agent join` and `backstay agent run`: an agent as a process of its own, on a machine that joined a server with
//! a registration token. What it needs to come back lies in its data folder.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent::child::Program;
use agent::{AgentConfig, CertificateRequest, Host, Retry};
use anyhow::{Context as _, Result, bail};
use api::client::{Client, untrusted_authority};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::connection::Wanted;
use crate::log::LogArgs;

pub(crate) const JOIN_EXAMPLE: &str = "Example: backstay agent join --server https://backup.example:9281 \
     --ca-fingerprint 6f3a.. --instance-registration-token 0f9f3a4e-1d0c-4a52-8c7c-3b8c5a1e2d11";
pub(crate) const RUN_EXAMPLE: &str = "Example: backstay agent run --data /var/lib/backstay-agent";

/// Where an agent keeps what it needs, unless it is told otherwise.
pub(crate) const DATA: &str = "/var/lib/backstay-agent";
/// How many tasks it works on at once.
const SLOTS: u32 = 2;

/// Let this machine join a server, and keep what its agent needs
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The SHA-256 of the certificate of the server's authority, in hexadecimal
    #[arg(long, value_name = "HEX", requires = "instance_registration_token")]
    ca_fingerprint: Option<String>,
    /// The registration token; good for a day, and for any number of machines
    #[arg(long, value_name = "ID", env = "BACKSTAY_REGISTRATION_TOKEN", hide_env_values = true)]
    instance_registration_token: Option<String>,
    /// The id by which the machine wishes to be known, like its id in a cloud; the server gives one where none is wished
    #[arg(long, value_name = "ID")]
    instance_id: Option<String>,
}

/// Run the agent of this machine until Ctrl-C or SIGTERM; with a registration token, it joins first if it has not yet
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    join: JoinArgs,
    /// What to back up where a policy names nothing; can be given several times. The local file systems by default
    #[arg(long, value_name = "DIR")]
    root: Vec<PathBuf>,
    /// Run no commands that policies name
    #[arg(long)]
    no_commands: bool,
    /// Also restore to places of their own below this folder; can be given several times
    #[arg(long, value_name = "DIR")]
    restore_root: Vec<PathBuf>,
    /// Where the machine's own system is mounted, if this is rescue media
    #[arg(long, value_name = "DIR")]
    rescue: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

impl RunArgs {
    /// How it logs.
    pub(crate) fn log(&self) -> LogArgs {
        self.log
    }
}

/// What an agent must not forget.
#[derive(Serialize, Deserialize)]
pub(crate) struct Membership {
    /// Where the server is.
    pub(crate) server: String,
    /// The authority that it trusts.
    pub(crate) ca_pem: Option<String>,
    /// The agent's token.
    token: String,
    /// By which id the machine is known there.
    instance_id: String,
}

pub(crate) async fn join(args: JoinArgs, wanted: &Wanted) -> Result<ExitCode> {
    let data = folder(wanted)?;
    let former = Membership::read(&data)?;
    let membership = join_server(&args, wanted, &data, former.as_ref()).await?;
    println!("joined {} as {}", membership.server, membership.instance_id);
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn run(args: RunArgs, wanted: &Wanted) -> Result<ExitCode> {
    // Asked for before anything is started, so that an early Ctrl-C stops cleanly too.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let data = folder(wanted)?;
    let _lock = lock(&data)?;
    let mut membership = match Membership::read(&data)? {
        Some(mut known) => {
            // The server has moved.
            if let Some(server) = wanted.server.as_ref().filter(|server| **server != known.server) {
                known.server.clone_from(server);
                known.write(&data)?;
            }
            known
        }
        None => join_server(&args.join, wanted, &data, None).await?,
    };
    let mut joined_again = false;
    loop {
        let stop = CancellationToken::new();
        let mut agent = tokio::spawn(agent::run(membership.config(&args, &data)?, stop.clone()));
        let ended = tokio::select! {
            ended = &mut agent => ended,
            _ = interrupt.recv() => { stop.cancel(); agent.await }
            _ = terminate.recv() => { stop.cancel(); agent.await }
        };
        match ended.context("the agent has a defect")? {
            Ok(()) => return Ok(ExitCode::SUCCESS),
            // The registration was deleted meanwhile; a new token says that the machine shall come back.
            Err(refused) if args.join.instance_registration_token.is_some() && !joined_again => {
                tracing::warn!(%refused, "joining anew");
                membership = join_server(&args.join, wanted, &data, Some(&membership)).await.context(refused)?;
                joined_again = true;
            }
            Err(refused) => return Err(refused),
        }
    }
}

/// The agent's data folder, which only its owner can enter.
fn folder(wanted: &Wanted) -> Result<PathBuf> {
    let data = std::path::absolute(wanted.data.clone().unwrap_or_else(|| DATA.into()))?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&data);
    made.with_context(|| format!("cannot make the folder {}", data.display()))?;
    Ok(data)
}

/// Held while an agent works in this folder: what it finds there is of an agent that is gone.
fn lock(data: &Path) -> Result<fs::File> {
    let path = data.join("lock");
    let opened = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!(
            "another agent runs in {}; stop it (`systemctl stop backstay-agent`), or name another folder with --data",
            data.display()
        ),
        Err(fs::TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// The folders below which places of their own are made for what is restored: one in the data folder, and those named.
pub(crate) fn restore_roots(data: &Path, more: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut roots = vec![data.join("restored")];
    for root in more {
        roots.push(std::path::absolute(root).with_context(|| format!("cannot use the folder {}", root.display()))?);
    }
    Ok(roots)
}

/// Where the agent notes what must outlive a crash.
pub(crate) fn journal(data: &Path) -> PathBuf {
    data.join("journal")
}

/// Where files lie that are on their way to the server.
pub(crate) fn spool(data: &Path) -> Result<PathBuf> {
    let spool = data.join("spool");
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&spool);
    made.with_context(|| format!("cannot make the folder {}", spool.display()))?;
    Ok(spool)
}

/// Lets the machine join, and keeps what its agent needs.
async fn join_server(args: &JoinArgs, wanted: &Wanted, data: &Path, former: Option<&Membership>) -> Result<Membership> {
    let Some(token) = &args.instance_registration_token else {
        bail!("this machine has not joined a server; give --server, --ca-fingerprint and --instance-registration-token")
    };
    let Some(server) = wanted.server.clone().or_else(|| former.map(|f| f.server.clone())) else {
        bail!("name the server to join with --server https://HOST:PORT")
    };
    let ca_pem = match &args.ca_fingerprint {
        Some(fingerprint) => Some(authority(&server, fingerprint).await?),
        None => former.and_then(|f| f.ca_pem.clone()),
    };
    if ca_pem.is_none() && server.starts_with("https:") {
        bail!("say with --ca-fingerprint which authority '{server}' has its certificate from")
    }
    let client = Client::new(&server, "", ca_pem.as_deref().map(str::as_bytes))?;
    let known_here = former.filter(|f| f.server == server).map(|f| f.instance_id.clone());
    let facts = agent::facts();
    // Shown over TLS, and nowhere else.
    let request = server.starts_with("https:").then(CertificateRequest::new).transpose()?;
    let join = api::Join {
        registration_token: token.clone(),
        name: gethostname::gethostname().to_string_lossy().into_owned(),
        os: facts.os,
        system: std::env::consts::OS.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance_id: args.instance_id.clone().or(known_here),
        virtual_machine: facts.virtual_machine,
        csr: request.as_ref().map(|request| request.csr().to_owned()),
    };
    let joined = client.join(&join).await?;
    // First the certificate: without it, the token is of no use.
    if let (Some(request), Some(api::Certificate { pem, issued_at, expires_at })) = (request, joined.certificate) {
        request.answered(pem, issued_at, expires_at).write(&certificate(data))?;
    }
    let membership = Membership { server, ca_pem, token: joined.agent_token, instance_id: joined.instance_id };
    membership.write(data)?;
    Ok(membership)
}

/// Where the agent's certificate lies.
pub(crate) fn certificate(data: &Path) -> PathBuf {
    data.join("certificate.json")
}

/// The certificate of the server's authority, if it is the one with this digest.
async fn authority(server: &str, fingerprint: &str) -> Result<String> {
    let pem = untrusted_authority(server).await?;
    let found = server::tls::fingerprint(&pem).with_context(|| format!("{server} sent no certificate"))?;
    let wanted: String = fingerprint.chars().filter(|c| *c != ':').collect();
    if !found.eq_ignore_ascii_case(&wanted) {
        bail!("the authority of '{server}' has the fingerprint {found}, and not the one that was given");
    }
    Ok(pem)
}

impl Membership {
    pub(crate) fn path(data: &Path) -> PathBuf {
        data.join("agent.json")
    }

    /// What was kept, if this machine has joined.
    pub(crate) fn read(data: &Path) -> Result<Option<Membership>> {
        let path = Membership::path(data);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let read = serde_json::from_str(&text);
                read.map(Some)
                    .with_context(|| format!("{} cannot be understood; delete it and join anew", path.display()))
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    fn write(&self, data: &Path) -> Result<()> {
        server::secrets::write_private(&Membership::path(data), &serde_json::to_string_pretty(self)?)
    }

    fn config(&self, args: &RunArgs, data: &Path) -> Result<AgentConfig> {
        let program = std::env::current_exe().context("cannot tell where this program lies")?;
        Ok(AgentConfig {
            program: Program::backstay(program),
            journal: Some(journal(data)),
            host: Host {
                instance_id: Some(self.instance_id.clone()),
                roots: args.root.clone(),
                rescue: args.rescue.clone(),
                no_commands: args.no_commands,
                restore_roots: restore_roots(data, &args.restore_root)?,
                spool: Some(spool(data)?),
            },
            ..self.at_the_door(data)
        })
    }

    /// What is needed to be let in, and nothing to work with.
    pub(crate) fn at_the_door(&self, data: &Path) -> AgentConfig {
        AgentConfig {
            url: self.server.clone(),
            ca_pem: self.ca_pem.clone(),
            token: self.token.clone(),
            certificate: Some(certificate(data)),
            journal: None,
            name: gethostname::gethostname().to_string_lossy().into_owned(),
            slots: SLOTS,
            program: Program::backstay(PathBuf::new()),
            host: Host::default(),
            retry: Retry::default(),
        }
    }
}
