//! What a server is started with, and the layout of its data folder.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use domain::import::{ImportRules, Network};

use crate::scheduler::History;
use crate::service::Rate;

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
    /// Where programs elsewhere reach this server over TLS, `host:port`; by default this machine's name and the port that
    /// TLS is answered at. Clients are told so, and the certificate has its name.
    pub public: Option<String>,
    /// What assertions of programs may be meant for (`aud`), beside what follows from `public`.
    pub audiences: Vec<String>,
    /// How often each tenant's clients may ask where an API limits that; none = as often as they like.
    pub rate: Option<Rate>,
    /// How many bytes files that were taken out of backups to be fetched may take together.
    pub downloads: u64,
    /// How long history stays.
    pub history: History,
    /// The name of the region that clients of clouds are told; none = `RegionOne`.
    pub region: Option<String>,
    /// What images may be imported from beside what is public.
    pub imports: ImportRules,
    /// Networks that notifications may be delivered to though they are internal.
    pub notify_networks: Vec<Network>,
}

/// The host and port of `host:port`; brackets around an IPv6 address are left out.
///
/// # Errors
/// What would be right.
pub fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("'{text}' is not of the form HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
        None if host.parse::<std::net::Ipv4Addr>().is_ok() || is_name(host) => host,
        _ => return Err(wrong()),
    };
    Ok((host, port))
}

fn is_name(host: &str) -> bool {
    let right = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    host.len() <= 253 && host.split('.').all(right)
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

    /// Files that were taken out of backups to be fetched.
    #[must_use]
    pub fn downloads(&self) -> PathBuf {
        self.0.join("downloads")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_have_a_host_and_a_port() {
        assert_eq!(host_and_port("backup.example.com:443"), Ok(("backup.example.com", 443)));
        assert_eq!(host_and_port("10.0.0.7:9281"), Ok(("10.0.0.7", 9281)));
        assert_eq!(host_and_port("[::1]:9281"), Ok(("::1", 9281)));
        for text in
            ["", "backup", ":443", "backup:", "backup:0", "backup:70000", "::1:443", "https://backup:443", "a b:1"]
        {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }
}
