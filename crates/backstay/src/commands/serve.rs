//! `backstay serve`: the server alone, for agents on other machines; and what it shares with `up`, which adds an agent.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use domain::Uuid;
use domain::import::{ImportRules, Network};
use server::config::DataFolder;
use server::service::Rate;
use server::{Config, Running};
use tokio::signal::unix::{SignalKind, signal};

use crate::connection::{self, Connection};
use crate::log::LogArgs;

pub(crate) const EXAMPLE: &str = "Example: backstay serve --data /var/lib/backstay --listen-tls 0.0.0.0:9281 \
     --public backup.example:9281";

/// What is said when everything answers.
pub(crate) const RUNNING: &str = "Backstay is running. Ctrl-C stops it; started again in this folder, it continues.";
/// The unit of limits.
const GIB: u64 = 1 << 30;

/// Run the server alone; agents connect from other machines
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    listening: ListenArgs,
}

impl ServeArgs {
    /// How it logs.
    pub(crate) fn log(&self) -> LogArgs {
        self.listening.log()
    }
}

/// Where a server answers and under which name, and what it allows.
#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Where plain HTTP is answered; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9280")]
    listen: SocketAddr,
    /// Where TLS is answered, and agents connect; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9281")]
    listen_tls: SocketAddr,
    /// Where programs elsewhere reach this server over TLS: clients are told so, and the certificate has its name; by default
    /// this machine's name with the port of --listen-tls
    #[arg(long, value_name = "HOST:PORT", env = "BACKSTAY_PUBLIC", value_parser = public)]
    public: Option<String>,
    /// Also take what programs sign for this audience (`aud`) to get a token; can be given several times
    #[arg(long = "jwt-audience", value_name = "URL")]
    audiences: Vec<String>,
    /// How many requests a second a tenant's clients may send to each resource of the Clumio API, twice as many in a burst;
    /// 0 = as many as they like
    #[arg(long, value_name = "N", default_value_t = 100)]
    rate_limit: u32,
    /// How many GiB files that were taken out of backups to be fetched may take together
    #[arg(long, value_name = "GIB", default_value_t = 10)]
    downloads_limit: u64,
    /// Images may also be imported from these internal addresses; can be given several times
    #[arg(long = "import-network", value_name = "NETWORK", value_parser = network)]
    import_networks: Vec<Network>,
    /// Images may also be imported from files in this folder, on machines of agents; can be given several times
    #[arg(long = "import-folder", value_name = "DIR")]
    import_folders: Vec<PathBuf>,
    /// Notifications may also be delivered to these internal addresses, like that of a mail server; can be given several
    /// times
    #[arg(long = "notify-network", value_name = "NETWORK", value_parser = network)]
    notify_networks: Vec<Network>,
    #[command(flatten)]
    log: LogArgs,
    /// The region that OpenStack clients are told; by default RegionOne
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Write the addresses and an admin token here as JSON (mode 0600) when everything answers
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// Runs until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: ServeArgs, data: PathBuf) -> Result<ExitCode> {
    let data = std::path::absolute(data)?;
    // Asked for before anything is started, so that an early Ctrl-C stops cleanly too.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let server = args.listening.start(data.clone()).await?;
    args.listening.answers(&data, &connection_to(&server), server.admin_token_is_new)?;
    say(RUNNING);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    note("stopping");
    args.listening.answers_no_more(&data);
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

impl ListenArgs {
    /// How it logs.
    pub(crate) fn log(&self) -> LogArgs {
        self.log
    }

    /// Starts the server out of this folder.
    pub(crate) async fn start(&self, data: PathBuf) -> Result<Running> {
        let roots = self.import_folders.iter().map(|p| folder_of_images(p)).collect::<Result<Vec<_>>>()?;
        if !self.listen.ip().is_loopback() {
            note(format!("warning: plain HTTP on {} can be read by others on the network; use TLS there", self.listen));
        }
        if let Some(file) = &self.ready_file {
            connection::remove_stale(file);
        }
        server::start(Config {
            data: DataFolder::new(data),
            listen: self.listen,
            listen_tls: self.listen_tls,
            host: this_machine(),
            public: self.public.clone(),
            audiences: self.audiences.clone(),
            rate: Rate::per_second(self.rate_limit),
            downloads: self.downloads_limit.saturating_mul(GIB),
            history: Default::default(),
            region: self.region.clone(),
            notify_networks: self.notify_networks.clone(),
            imports: ImportRules { networks: self.import_networks.clone(), roots },
        })
        .await
    }

    /// Tells programs and people where everything answers now.
    pub(crate) fn answers(&self, data: &Path, connection: &Connection, token_is_new: bool) -> Result<()> {
        connection::write(data, connection)?;
        if let Some(file) = &self.ready_file {
            connection::write_file(file, connection)?;
        }
        say(format!("data     {}", data.display()));
        say(format!("http     {}", connection.http));
        say(format!("tls      {} (authority: {})", connection.tls, connection.ca_file.display()));
        if token_is_new {
            say(format!("admin    {}", connection.admin_token));
            say("         shown once; commands on this machine find it by themselves");
        }
        say("");
        Ok(())
    }

    /// Takes back what `answers` told programs.
    pub(crate) fn answers_no_more(&self, data: &Path) {
        connection::remove(data);
        if let Some(file) = &self.ready_file {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// How commands on this machine reach the server.
pub(crate) fn connection_to(server: &Running) -> Connection {
    Connection {
        http: format!("http://{}", reachable(server.http)),
        // By address and not by name: the certificate names both, and no resolver is needed.
        tls: format!("https://{}", reachable(server.tls)),
        ca_file: server.ca_file.clone(),
        admin_token: server.admin_token.clone(),
        tenant_id: Uuid::nil(),
    }
}

/// The address to connect to for one that is listened on: "everywhere" is reached on this machine.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let mut address = listening;
    if listening.ip().is_unspecified() {
        address.set_ip(if listening.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

/// What this machine is called.
pub(crate) fn this_machine() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}

fn network(text: &str) -> Result<Network, String> {
    Network::parse(text).map_err(|e| e.hint.map_or(e.message.clone(), |hint| format!("{}; {hint}", e.message)))
}

/// A folder as agents compare it: with its whole path.
fn folder_of_images(folder: &Path) -> Result<String> {
    let whole = std::path::absolute(folder)?;
    let text = whole.to_str().with_context(|| format!("the path {} is not UTF-8", whole.display()))?;
    anyhow::ensure!(text != "/", "images cannot be imported from everywhere; name a folder");
    Ok(text.to_owned())
}

fn public(text: &str) -> Result<String, String> {
    server::config::host_and_port(text).map(|_| text.to_owned())
}

/// A line on standard output. Whoever closed it does not want to know; serving goes on.
pub(crate) fn say(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", line.as_ref());
}

/// A line on standard error, likewise.
pub(crate) fn note(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", line.as_ref());
}
