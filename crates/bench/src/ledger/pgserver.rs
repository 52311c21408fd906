//! A PostgreSQL for one run: made in a folder of its own beside the ledger, reached through a socket there, stopped by its
//! process id at the end and removed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

/// Where distributions put the programs of PostgreSQL 15.
const PLACES: &[&str] = &["/usr/lib/postgresql/15/bin", "/usr/pgsql-15/bin", "/opt/homebrew/opt/postgresql@15/bin"];
/// The user that PostgreSQL runs as where we are root, as which it refuses to run.
const USER: &str = "postgres";
/// How long it may take to answer first, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs.
pub(crate) struct PgServer {
    child: Child,
    socket: PathBuf,
    /// Removed with the value.
    _folder: TempDir,
}

impl PgServer {
    /// Makes and starts one in a new folder below this one, on the same disk as what it is compared with.
    pub(crate) async fn start(below: &Path) -> Result<PgServer> {
        let Some(bin) = PLACES.iter().map(Path::new).find(|p| p.join("postgres").exists()) else {
            bail!(
                "PostgreSQL 15 is not installed in {}; install it (Debian: apt install postgresql-15) or name a server \
                 with --postgres",
                PLACES.join(", ")
            );
        };
        let folder = tempfile::Builder::new().prefix("backstay-bench-pg-").tempdir_in(below)?;
        // Others' programs run in it, and its path must not be too long for a socket.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let user = unprivileged()?;
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid))?;
        }
        let command = |program: &str| {
            let mut command = Command::new(bin.join(program));
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command.current_dir(folder.path()).stdin(Stdio::null());
            command
        };
        let data = folder.path().join("data");
        let made = command("initdb")
            .arg("-D")
            .arg(&data)
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--username", USER, "--no-instructions"])
            .output()
            .context("initdb cannot be started")?;
        if !made.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&made.stderr).trim());
        }
        let log = fs::File::create(folder.path().join("log"))?;
        let mut server = command("postgres");
        server.arg("-D").arg(&data).stdout(log.try_clone()?).stderr(log);
        let socket = folder.path().to_owned();
        server.arg("-c").arg(format!("unix_socket_directories={}", socket.display()));
        for setting in settings() {
            server.args(["-c", &setting]);
        }
        let child = server.spawn().context("postgres cannot be started")?;
        let mut server = PgServer { child, socket, _folder: folder };
        server.wait().await?;
        Ok(server)
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://{USER}@/postgres?host={}", self.socket.display())
    }

    async fn wait(&mut self) -> Result<()> {
        let clock = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            if super::postgres::connect(&self.url()).await.is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let log = fs::read_to_string(self.socket.join("log")).unwrap_or_default();
                bail!("PostgreSQL ended with {status}: {}", log.trim());
            }
            if clock.elapsed() > PATIENCE {
                bail!("PostgreSQL did not answer within {} s", PATIENCE.as_secs());
            }
        }
    }

    /// Stops it: politely, and after a while less so.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.interrupt();
        let clock = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while self.child.try_wait()?.is_none() {
            ticks.tick().await;
            if clock.elapsed() > PATIENCE {
                self.child.kill()?;
            }
        }
        Ok(())
    }

    /// SIGINT: its fast shutdown, which ends every connection and leaves nothing behind.
    fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // One that has ended by itself is no problem.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.interrupt();
            // The folder goes next, so it must be over.
            let _ = self.child.wait();
        }
    }
}

/// What somebody sets who gives a machine to this database.
fn settings() -> Vec<String> {
    let memory = super::figures::memory_bytes().unwrap_or(4 << 30);
    let mb = |bytes: u64| format!("{}MB", (bytes >> 20).max(128));
    vec![
        "listen_addresses=".to_owned(),
        "max_connections=220".to_owned(),
        format!("shared_buffers={}", mb((memory / 4).min(8 << 30))),
        format!("effective_cache_size={}", mb(memory / 2)),
        "work_mem=64MB".to_owned(),
        format!("maintenance_work_mem={}", mb((memory / 16).min(2 << 30))),
        "max_wal_size=8GB".to_owned(),
        "checkpoint_timeout=15min".to_owned(),
        "random_page_cost=1.1".to_owned(),
        "effective_io_concurrency=200".to_owned(),
        "jit=off".to_owned(),
        "wal_compression=on".to_owned(),
        "synchronous_commit=on".to_owned(),
        "fsync=on".to_owned(),
        "full_page_writes=on".to_owned(),
    ]
}

/// The user and group to run as, where we are root.
fn unprivileged() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let found = users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        let (uid, gid) = (parts.nth(1)?.parse().ok()?, parts.next()?.parse().ok()?);
        (name == USER).then_some((uid, gid))
    });
    match found {
        Some(user) => Ok(Some(user)),
        None => bail!("PostgreSQL does not run as root, and there is no user '{USER}'"),
    }
}
