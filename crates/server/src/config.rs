//! What a server is started with, and the layout of its data folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::scheduler::History;

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The folder with everything the server keeps.
    pub data: DataFolder,
    /// Where plain HTTP is answered; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where TLS is answered: HTTP/1.1, HTTP/2 and the agent link.
    pub listen_tls: SocketAddr,
    /// This machine's name, for the certificate.
    pub host: String,
    /// How long history stays.
    pub history: History,
}

/// The folder with everything a server keeps.
#[derive(Debug, Clone)]
pub struct DataFolder(PathBuf);

impl DataFolder {
    /// This folder.
    #[must_use]
    pub fn new(path: PathBuf) -> DataFolder {
        DataFolder(path)
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The SQLite ledger.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger.db")
    }

    /// The local repository.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.0.join("repository")
    }

    /// Keys and certificates.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// The key under which secrets in the ledger are sealed.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.keys().join("server.key")
    }

    /// The local administrator's token, so that commands on this machine need none.
    #[must_use]
    pub fn admin_token(&self) -> PathBuf {
        self.keys().join("admin.token")
    }

    /// The local agent's token.
    #[must_use]
    pub fn agent_token(&self) -> PathBuf {
        self.keys().join("agent.token")
    }

    /// Held while a server uses the folder; names its process.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Where the running server is reached, for commands on this machine.
    #[must_use]
    pub fn connection(&self) -> PathBuf {
        self.0.join("connection.json")
    }
}
