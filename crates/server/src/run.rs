//! Starting and stopping a server: take the data folder, open the ledger, make what a first start needs, listen.

use std::fs;
use std::io::{Read, Seek, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use axum::middleware;
use domain::import::ImportRules;
use domain::repository::Repository;
use domain::tenant::Tenant;
use domain::token::TokenKind;
use domain::{Caller, Code, Moment, Role, Scope, Uuid};
use ledger::{Expect, Ledger, SqliteLedger, Stored, Write};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DataFolder};
use crate::downloads::Downloads;
use crate::secrets::{Sealer, random_secret, write_private};
use crate::service::{Cloud, Installer, LOCAL_REPOSITORY, Service, write_progress};
use crate::{agents, dialects, installer, listen, scheduler, telemetry, tls};

/// A server that runs.
pub struct Running {
    /// The services, for parts in the same process.
    pub service: Arc<Service>,
    /// Where plain HTTP is answered.
    pub http: SocketAddr,
    /// Where TLS is answered.
    pub tls: SocketAddr,
    /// The authority that clients must trust.
    pub ca_file: PathBuf,
    /// The local administrator's token.
    pub admin_token: String,
    /// Whether that token was made just now, so that nobody has seen it yet.
    pub admin_token_is_new: bool,
    /// The local agent's token.
    pub agent_token: String,
    ledger: Arc<SqliteLedger>,
    shutdown: CancellationToken,
    parts: JoinSet<()>,
    /// Held until the end, so that nobody else takes the folder.
    lock: FolderLock,
}

/// Starts a server.
///
/// # Errors
/// When the folder is held by another server, something in it is damaged, or an address cannot be bound.
pub async fn start(config: Config) -> Result<Running> {
    let Config {
        data,
        listen,
        listen_tls,
        host,
        public,
        audiences,
        rate,
        downloads,
        history,
        region,
        imports,
        notify_networks,
    } = config;
    make_folder(data.path())?;
    let lock = FolderLock::take(&data)?;
    // Before anything is made: a first start that fails for its address must not use up the one showing of the token.
    // Who connects already waits until everything is there.
    let http = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let tls = TcpListener::bind(listen_tls).await.with_context(|| format!("cannot listen on {listen_tls}"))?;
    let (http_address, tls_address) = (http.local_addr()?, tls.local_addr()?);

    make_folder(&data.keys())?;
    let ledger_path = data.ledger();
    // Opening runs migrations and an integrity check, which block.
    let ledger = tokio::task::spawn_blocking(move || SqliteLedger::open(&ledger_path)).await?.map_err(explain)?;
    let ledger = Arc::new(ledger);
    // What is there since the first start is sealed under its key; another one would open nothing.
    let record: &dyn Ledger = &*ledger;
    let sealed = record.find::<Repository>(&Scope::everything(), LOCAL_REPOSITORY).await.map_err(explain)?;
    let sealer = match sealed {
        Some(_) => Sealer::read(&data.server_key())?,
        None => Sealer::from_file(&data.server_key())?,
    };
    let cloud = Cloud {
        url: public.as_ref().map(|public| format!("https://{public}")),
        shown: history.shown,
        imports,
        ..Cloud::default()
    };
    let cloud = Cloud { region: region.unwrap_or(cloud.region), ..cloud };
    let public = public.unwrap_or_else(|| {
        let own = format!("{host}:{}", tls_address.port());
        // A machine can have a name that is none on a network.
        let usable = crate::config::host_and_port(&own).is_ok();
        if usable { own } else { format!("localhost:{}", tls_address.port()) }
    });
    let (public_host, _) = crate::config::host_and_port(&public).map_err(anyhow::Error::msg)?;
    let mut names = tls::host_names(tls_address.ip(), &host);
    if !names.iter().any(|name| name == public_host) {
        names.push(public_host.to_owned());
    }
    let service =
        Service::new(ledger.clone(), sealer).reached_at(public).accepting(audiences).limiting(rate).as_cloud(cloud);
    let notify = ImportRules { networks: notify_networks, roots: Vec::new() };
    let service = service.in_folder(data.path().to_owned()).notifying(notify);
    let telemetry = service.telemetry().clone();
    ledger.observe({
        let telemetry = telemetry.clone();
        move |commits, took| telemetry.wrote(commits, took)
    });

    let files = tls::CertFiles::in_folder(&data.keys());
    let certificates = files.serve(&names, service.moment().now)?;
    let tls = listen::TlsListener::new(tls, certificates.server_config()?)?;
    files.tell(&telemetry)?;
    let ca = fs::read_to_string(&files.ca).context("cannot read the certificate authority")?;
    let fingerprint = tls::fingerprint(&ca)?;
    let downloads =
        Downloads::in_folder(data.downloads(), downloads).context("cannot make the folder of files to be fetched")?;
    let service = service.keeping(downloads).certifying(files.authority()?);
    let service = Arc::new(service.handing_out(Installer::new(own_program()?, ca, fingerprint)));

    let first = FirstStart { service: &service, data: &data };
    first.root_tenant().await.map_err(explain)?;
    first.local_repository().await?;
    let (admin_token, admin_token_is_new) =
        first.token(&data.admin_token(), TokenKind::Api, "local administrator", Role::Admin).await?;
    let (agent_token, _) = first.token(&data.agent_token(), TokenKind::Agent, "local agent", Role::Operator).await?;

    let shutdown = CancellationToken::new();
    let app = dialects::router(service.clone(), shutdown.clone())
        .merge(agents::router(service.clone(), shutdown.clone()))
        .merge(installer::router(service.clone()))
        .layer(middleware::from_fn_with_state(telemetry.clone(), telemetry::count_calls));
    let mut parts = JoinSet::new();
    parts.spawn(listen::serve_plain(http, app.clone(), shutdown.clone()));
    parts.spawn(listen::serve_tls(tls, app, shutdown.clone()));
    parts.spawn(scheduler::run(service.clone(), history, shutdown.clone()));
    parts.spawn(scheduler::notify::run(service.clone(), shutdown.clone()));
    parts.spawn(write_progress(service.clone(), shutdown.clone()));
    parts.spawn(tls::keep_fresh(certificates, telemetry, service.clock(), shutdown.clone()));

    let running = Running {
        service,
        http: http_address,
        tls: tls_address,
        ca_file: files.ca.clone(),
        admin_token,
        admin_token_is_new,
        agent_token,
        ledger,
        shutdown,
        parts,
        lock,
    };
    running.lock_says_where()?;
    Ok(running)
}

impl Running {
    /// Stops listening, lets requests end, and closes the ledger. Gives up on what does not end in ten seconds.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let all = async { while self.parts.join_next().await.is_some() {} };
        if tokio::time::timeout(std::time::Duration::from_secs(10), all).await.is_err() {
            tracing::warn!("some requests did not end and are cut off");
            self.parts.abort_all();
        }
        if let Err(error) = self.ledger.close().await {
            tracing::error!(%error, "the ledger was not closed cleanly; the next start puts it right");
        }
    }

    fn lock_says_where(&self) -> Result<()> {
        self.lock.write(&format!("process {} at http://{} and https://{}", std::process::id(), self.http, self.tls))
    }
}

/// The lock on a data folder: held as long as its file is locked, which ends with the process whatever happens.
struct FolderLock {
    file: fs::File,
}

impl FolderLock {
    fn take(data: &DataFolder) -> Result<FolderLock> {
        let path = data.lock();
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {
                let lock = FolderLock { file };
                lock.write(&format!("process {}", std::process::id()))?;
                Ok(lock)
            }
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
                bail!(
                    "{} is in use by {holder}; stop that one, or start with another --data folder",
                    data.path().display()
                )
            }
            Err(fs::TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    fn write(&self, holder: &str) -> Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{holder}")?;
        Ok(())
    }
}

/// Where this very program can be read, also after another one was put in its place.
fn own_program() -> Result<PathBuf> {
    let itself = Path::new("/proc/self/exe");
    if itself.exists() {
        return Ok(itself.to_owned());
    }
    std::env::current_exe().context("cannot tell where this program lies")
}

/// Makes a folder that only its owner can enter; an existing one is closed to others too.
fn make_folder(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))?;
    let closed = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    closed.with_context(|| format!("cannot close the folder {} to others", path.display()))
}

/// What a first start makes; on later starts everything is found and nothing happens.
struct FirstStart<'a> {
    service: &'a Service,
    data: &'a DataFolder,
}

impl FirstStart<'_> {
    fn ledger(&self) -> &dyn Ledger {
        self.service.ledger()
    }

    async fn root_tenant(&self) -> domain::Result<()> {
        let everything = Scope::everything();
        match self.ledger().get::<Tenant>(&everything, Uuid::nil()).await {
            Err(e) if e.code == Code::NotFound => {}
            other => return other.map(|_| ()),
        }
        let moment = self.service.moment();
        let zone = jiff::tz::TimeZone::system();
        let tenant = Tenant::root("root", zone.iana_name().unwrap_or("UTC"), moment.now);
        self.put(moment, tenant.into(), Expect::New).await
    }

    async fn local_repository(&self) -> Result<()> {
        let path = std::path::absolute(self.data.repository())?;
        let url = path.to_str().context("the data folder's path is not UTF-8; choose another one")?.to_owned();
        let moment = self.service.moment();
        let everything = Scope::everything();
        let found = self.ledger().find::<Repository>(&everything, LOCAL_REPOSITORY).await.map_err(explain)?;
        match found {
            Some(Stored { value, .. }) if value.url == url => Ok(()),
            // The folder was moved, and the repository with it.
            Some(Stored { rev, value }) => {
                self.put(moment, Repository { url, ..value }.into(), Expect::Rev(rev)).await.map_err(explain)
            }
            None => {
                let repository = Repository::new(
                    Uuid::now_v7(),
                    Uuid::nil(),
                    LOCAL_REPOSITORY,
                    url,
                    self.service.seal(&random_secret()).map_err(explain)?,
                    moment.now,
                );
                self.put(moment, repository.into(), Expect::New).await.map_err(explain)
            }
        }
    }

    /// The token in this file, or a new one if there is none or it is no longer accepted; and whether it is new.
    async fn token(&self, path: &Path, kind: TokenKind, name: &str, role: Role) -> Result<(String, bool)> {
        if let Ok(text) = fs::read_to_string(path) {
            let secret = text.trim();
            match self.service.token_of(secret, kind).await {
                Ok(_) => return Ok((secret.to_owned(), false)),
                Err(e) if e.code == Code::Unauthenticated => {}
                Err(e) => return Err(explain(e)),
            }
        }
        let issued =
            self.service.issue(&Caller::server(), &Scope::everything(), kind, name.to_owned(), role, None).await;
        let (_, secret) = issued.map_err(explain)?;
        write_private(path, &format!("{secret}\n"))?;
        Ok((secret, true))
    }

    async fn put(&self, moment: Moment, record: domain::record::Record, expect: Expect) -> domain::Result<()> {
        self.ledger().commit(&Scope::everything(), moment, vec![Write::Put(Box::new(record), expect)]).await.map(|_| ())
    }
}

/// A domain error with its hint, for people at a terminal.
fn explain(error: domain::Error) -> anyhow::Error {
    match &error.hint {
        Some(hint) => anyhow::anyhow!("{}; {hint}", error.message),
        None => anyhow::anyhow!("{}", error.message),
    }
}
