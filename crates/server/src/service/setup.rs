//! How an agent comes to a machine: this server's own program, a script that fetches and starts it, and the one line that
//! fetches the script. The line names the script's digest and the script that of the program, so neither depends on what
//! the connection can be trusted with (contract for Yandex clients, Y86).

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, digest};
use domain::token::Joins;
use domain::{Caller, Code, Error, Result, Right, Uuid};
use tokio::sync::OnceCell;

use super::Service;

/// The script, with places for what differs.
const SCRIPT: &str = include_str!("setup/agent.sh");
/// The service that the script installs.
const AGENT_UNIT: &str = include_str!("../../../../packaging/systemd/backstay-agent.service");
/// Where the script is fetched.
pub const SCRIPT_PATH: &str = "/install/agent.sh";

/// What is handed out to machines that get an agent.
#[derive(Debug)]
pub struct Installer {
    /// The program, as it lies on this machine.
    program: PathBuf,
    /// The certificate of the authority that signed the server's, as PEM, and the SHA-256 of its DER in hexadecimal.
    ca: (String, String),
    script: OnceCell<Arc<Script>>,
}

/// The script and its digest.
#[derive(Debug)]
pub struct Script {
    /// POSIX shell.
    pub text: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

impl Installer {
    /// Hands out this program, for machines of the system that it runs on.
    #[must_use]
    pub fn new(program: PathBuf, ca_pem: String, ca_fingerprint: String) -> Installer {
        Installer { program, ca: (ca_pem, ca_fingerprint), script: OnceCell::new() }
    }

    /// Where the program is fetched.
    #[must_use]
    pub fn program_path() -> String {
        format!("/install/backstay-{}-{}", std::env::consts::OS, std::env::consts::ARCH)
    }

    /// The certificate of the server's authority, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca.0
    }

    /// The program, opened to be read.
    ///
    /// # Errors
    /// `no_installer` when it cannot be.
    pub fn program(&self) -> Result<File> {
        File::open(&self.program).map_err(|e| {
            tracing::error!(program = %self.program.display(), error = %e, "the program for agents cannot be read");
            Error::new(Code::NoInstaller, "this server cannot read its own program")
        })
    }

    /// The script; what it says of the program is found out at the first question.
    ///
    /// # Errors
    /// As [`Installer::program`].
    pub async fn script(&self) -> Result<Arc<Script>> {
        let made = self.script.get_or_try_init(|| async {
            let program = self.program()?;
            let sum = tokio::task::spawn_blocking(move || sum(program)).await;
            let sum = sum.map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            let sum =
                sum.map_err(|e| Error::new(Code::NoInstaller, format!("this server cannot read its program: {e}")))?;
            // As `uname` says it.
            let system = if cfg!(target_os = "macos") { "Darwin" } else { "Linux" };
            let machine =
                if cfg!(all(target_os = "macos", target_arch = "aarch64")) { "arm64" } else { std::env::consts::ARCH };
            let text = SCRIPT
                .replace("@SYSTEM@", system)
                .replace("@MACHINE@", machine)
                .replace("@UNIT@", AGENT_UNIT.trim_end())
                .replace("@PATH@", &Installer::program_path())
                .replace("@SHA256@", &sum);
            let sha256 = hex(digest(&SHA256, text.as_bytes()).as_ref());
            Ok(Arc::new(Script { text, sha256 }))
        });
        made.await.cloned()
    }
}

impl Service {
    /// The same services, handing out agents.
    #[must_use]
    pub fn handing_out(self, installer: Installer) -> Service {
        Service { installer: Some(installer), ..self }
    }

    /// What is handed out to machines that get an agent, if this server does.
    #[must_use]
    pub fn installer(&self) -> Option<&Installer> {
        self.installer.as_ref()
    }

    /// One line for a shell that installs an agent on a machine, which joins this tenant then, or the caller's own. It holds
    /// a registration token, and is good as long as that.
    ///
    /// # Errors
    /// `no_installer` where this server hands out no agents, and those of [`Service::registration_token`].
    pub async fn install_command(&self, caller: &Caller, tenant: Option<Uuid>, joins: Joins) -> Result<String> {
        let tenant = tenant.unwrap_or(caller.may(Right::Operate)?.tenant());
        let installer =
            self.installer().ok_or_else(|| Error::new(Code::NoInstaller, "this server hands out no agents"))?;
        let script = installer.script().await?;
        let (_, token) = self.registration_token(caller, tenant, joins).await?;
        let server = format!("https://{}", self.public());
        let url = format!("{server}{SCRIPT_PATH}");
        // The digest says whether it is the right script, so it does not matter who signed the server's certificate.
        Ok(format!(
            "f=$(mktemp) && {{ curl -fsSk -o \"$f\" '{url}' || wget -q --no-check-certificate -O \"$f\" '{url}'; }} \
             && echo \"{sum}  $f\" | sha256sum -c - >/dev/null \
             && sudo sh \"$f\" --server='{server}' --ca-fingerprint={ca} --instance-registration-token={token}",
            sum = script.sha256,
            ca = installer.ca.1,
        ))
    }
}

fn sum(mut program: File) -> std::io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match program.read(&mut buffer)? {
            0 => return Ok(hex(context.finish().as_ref())),
            n => context.update(&buffer[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
