//! Repositories: where backups lie, in restic's format.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::settings::is_default;
use crate::{Error, Result, Timestamp, Uuid};

/// The longest address.
const MAX_URL: usize = 2000;
/// The longest secret.
const MAX_SECRET: usize = 4096;

/// The slowest limit, in bytes a second: below it, one file of a repository takes longer than anybody waits.
const LEAST_LIMIT: u64 = 16 << 10;

/// How fast data may flow between each job and a repository, in bytes a second; 0 = no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// To the repository.
    #[serde(default)]
    pub upload: u64,
    /// From the repository.
    #[serde(default)]
    pub download: u64,
}

impl Limits {
    /// Refuses limits that cannot be kept to at this place.
    ///
    /// # Errors
    /// `invalid_field` for `upload_limit` or `download_limit`.
    pub fn check(self, location: &Location) -> Result<()> {
        for (field, limit) in [("upload_limit", self.upload), ("download_limit", self.download)] {
            if limit > 0 && matches!(location, Location::Local(_)) {
                let message = format!("'{field}' is for places that a network leads to, and this is a folder");
                return Err(Error::invalid(field, message).hint("0, or no limit at all"));
            }
            if limit > 0 && limit < LEAST_LIMIT {
                let message = format!("'{field}' is less than {LEAST_LIMIT} bytes a second");
                return Err(Error::invalid(field, message).hint("more, or 0 for no limit"));
            }
        }
        Ok(())
    }
}

/// Space that is to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruning {
    /// When.
    pub at: Timestamp,
    /// The agent that removed something last, so it reaches the repository.
    pub agent: Uuid,
}

/// A place for backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Identity.
    pub id: Uuid,
    /// The tenant it belongs to.
    pub tenant: Uuid,
    /// The name, unique on the server.
    pub name: String,
    /// Where it is, as restic writes it; see [`Location`].
    pub url: String,
    /// The repository password, encrypted under the server's key file (base64). Never leaves the server in the clear but
    /// over the agent link to the agent that runs a task.
    pub sealed_password: String,
    /// What else opens the way there, under the names that restic reads from its environment; each sealed as the password is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sealed_secrets: BTreeMap<String, String>,
    /// Whether agents may only add to it.
    pub append_only: bool,
    /// How fast data may flow to and from it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// When space is given back next; nothing was removed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruning: Option<Pruning>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

impl Repository {
    /// One that needs no secrets and has no limits.
    #[must_use]
    pub fn new(
        id: Uuid,
        tenant: Uuid,
        name: impl Into<String>,
        url: impl Into<String>,
        sealed_password: String,
        now: Timestamp,
    ) -> Repository {
        Repository {
            id,
            tenant,
            name: name.into(),
            url: url.into(),
            sealed_password,
            sealed_secrets: BTreeMap::new(),
            append_only: false,
            limits: Limits::default(),
            pruning: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// The address without a name and password in it.
    #[must_use]
    pub fn shown_url(&self) -> String {
        let url = &self.url;
        let Some((scheme, rest)) = url.split_once("://") else { return url.clone() };
        let end = rest.find('/').unwrap_or(rest.len());
        let host = rest[..end].rsplit_once('@').filter(|_| !url.starts_with("sftp:"));
        let host = host.map_or(&rest[..end], |(_, host)| host);
        format!("{scheme}://{host}{}", &rest[end..])
    }
}

/// Where a repository is, read from the way restic writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder of the agent's machine: `/path` or `local:/path`.
    Local(String),
    /// A bucket: `s3:https://host:port/bucket/prefix`, or `s3:host/bucket` for HTTPS.
    S3 {
        /// The server, as a URL without a path.
        endpoint: String,
        /// The bucket.
        bucket: String,
        /// The folder in it, without slashes around it; empty = its top.
        prefix: String,
    },
    /// A REST server: `rest:https://host:port/path/`, the URL with a slash at its end.
    Rest(String),
    /// A folder that `ssh` reaches: `sftp:user@host:path` or `sftp://user@host:port/path`.
    Sftp {
        /// What `ssh` is given: `host` or `user@host`.
        host: String,
        /// The port, unless the configuration of `ssh` says it.
        port: Option<u16>,
        /// The folder, absolute or from the one where a session begins.
        path: String,
    },
    /// A folder of a remote that rclone knows on the agent's machine: `rclone:remote:path`.
    Rclone {
        /// The name of the remote.
        remote: String,
        /// The folder in it.
        path: String,
    },
}

impl Location {
    /// Reads an address.
    ///
    /// # Errors
    /// `invalid_field` for `url` when it is none that Backstay can reach, or holds a secret.
    pub fn parse(url: &str) -> Result<Location> {
        let invalid = |message: &str, hint: &str| Err(Error::invalid("url", message.to_owned()).hint(hint.to_owned()));
        if url.len() > MAX_URL || url.chars().any(char::is_control) {
            return invalid("'url' is too long or holds a control character", "an address of at most 2000 characters");
        }
        if url.starts_with('/') {
            return Ok(Location::Local(url.to_owned()));
        }
        let (scheme, rest) = url.split_once(':').unwrap_or_default();
        match scheme {
            "local" if rest.starts_with('/') => Ok(Location::Local(rest.to_owned())),
            "s3" => {
                let hint = "like s3:https://s3.example/bucket/folder";
                let server = match rest.strip_prefix("//") {
                    Some(rest) => format!("https://{rest}"),
                    None if rest.starts_with("https://") || rest.starts_with("http://") => rest.to_owned(),
                    None => format!("https://{rest}"),
                };
                let Some((scheme, host, path)) = web_address(&server) else {
                    return invalid("'url' names no server, or holds more than a server and a path", hint);
                };
                let (bucket, prefix) = path.trim_matches('/').split_once('/').unwrap_or((path.trim_matches('/'), ""));
                if bucket.is_empty() {
                    return invalid("'url' names no bucket", hint);
                }
                Ok(Location::S3 {
                    endpoint: format!("{scheme}://{host}"),
                    bucket: bucket.to_owned(),
                    prefix: prefix.trim_matches('/').to_owned(),
                })
            }
            "rest" => match web_address(rest) {
                Some((scheme, host, path)) => {
                    let path = path.trim_matches('/');
                    let end = if path.is_empty() { "" } else { "/" };
                    Ok(Location::Rest(format!("{scheme}://{host}/{path}{end}")))
                }
                None => invalid(
                    "'url' is no address of a REST server, or holds a name and password",
                    "like rest:https://host:8000/folder; name and password go into the secrets RESTIC_REST_USERNAME and \
                     RESTIC_REST_PASSWORD",
                ),
            },
            "sftp" => match sftp_address(rest) {
                Some(found) => Ok(found),
                None => invalid("'url' is no address for sftp", "like sftp:user@host:/srv/backup"),
            },
            "rclone" => {
                let plain = |c: char| c.is_ascii_alphanumeric() || "_-. +@".contains(c);
                let fits = |name: &str| !name.is_empty() && !name.starts_with(['-', ' ']) && name.chars().all(plain);
                match rest.split_once(':') {
                    Some((remote, path)) if fits(remote) => {
                        Ok(Location::Rclone { remote: remote.to_owned(), path: path.to_owned() })
                    }
                    // What can be written there beside a name can make rclone run a program.
                    _ => invalid(
                        "'url' names no remote of rclone",
                        "like rclone:remote:folder, with a remote that `rclone config` made on the agent's machine",
                    ),
                }
            }
            _ => invalid(
                "'url' is of no kind that Backstay can reach",
                "a path like /srv/backup, or an address that begins with s3:, rest:, sftp: or rclone:",
            ),
        }
    }

    /// The names of the secrets that mean something for this place.
    #[must_use]
    pub fn secrets(&self) -> &'static [&'static str] {
        match self {
            Location::Local(_) | Location::Sftp { .. } => &[],
            Location::S3 { .. } => {
                &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"]
            }
            Location::Rest(_) => &["RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"],
            Location::Rclone { .. } => &["RCLONE_CONFIG_PASS"],
        }
    }

    /// Refuses secrets that mean nothing here, or that nothing could be done with.
    ///
    /// # Errors
    /// `invalid_field` for `secrets`; the message never holds a value.
    pub fn check_secrets<'a>(&self, secrets: impl Iterator<Item = (&'a String, &'a String)>) -> Result<()> {
        for (name, value) in secrets {
            if !self.secrets().contains(&name.as_str()) {
                let message = format!("the secret '{name}' means nothing for this kind of repository");
                let known = match self.secrets() {
                    [] => "this kind takes none; what it needs is set up on the agent's machine".to_owned(),
                    known => format!("one of {}", known.join(", ")),
                };
                return Err(Error::invalid("secrets", message).hint(known));
            }
            check_secret("secrets", value).map_err(|e| e.hint(format!("give another value for '{name}'")))?;
        }
        Ok(())
    }
}

/// Refuses a secret that cannot be handed on in an environment.
///
/// # Errors
/// `invalid_field`; the message never holds the value.
pub fn check_secret(field: &str, value: &str) -> Result<()> {
    if value.is_empty() || value.len() > MAX_SECRET || value.chars().any(char::is_control) {
        let message = format!("'{field}' is empty, longer than {MAX_SECRET} bytes, or holds a control character");
        return Err(Error::invalid(field, message));
    }
    Ok(())
}

/// Scheme, host with port, and path of a web address without a name, a query and a fragment.
fn web_address(text: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = text.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    let plain = !path.contains(['?', '#', '%', '\\', ' ']) && !path.split('/').any(|part| part == ".." || part == ".");
    (!host.is_empty() && host.chars().all(fits) && plain).then_some((scheme, host, path))
}

/// `user@host:path`, or `//user@host:port/path` with a path from where a session begins unless a second slash follows.
fn sftp_address(rest: &str) -> Option<Location> {
    let (host, port, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (host, path) = rest.split_once('/')?;
            match host.rsplit_once(':') {
                Some((host, port)) => (host, Some(port.parse().ok().filter(|port| *port > 0)?), path),
                None => (host, None, path),
            }
        }
        None => {
            let (host, path) = rest.split_once(':')?;
            (host, None, path)
        }
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    // A host that begins like an option would be one for `ssh`.
    let good = !host.is_empty() && !host.starts_with(['-', '@']) && host.chars().all(fits) && !path.is_empty();
    good.then(|| Location::Sftp { host: host.to_owned(), port, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_restic_writes_them() {
        let s3 = |endpoint: &str, bucket: &str, prefix: &str| Location::S3 {
            endpoint: endpoint.into(),
            bucket: bucket.into(),
            prefix: prefix.into(),
        };
        let sftp = |host: &str, port, path: &str| Location::Sftp { host: host.into(), port, path: path.into() };
        for (url, location) in [
            ("/srv/backup", Location::Local("/srv/backup".into())),
            ("local:/srv/backup", Location::Local("/srv/backup".into())),
            ("s3:s3.example/b", s3("https://s3.example", "b", "")),
            ("s3://s3.example/b/a/c/", s3("https://s3.example", "b", "a/c")),
            ("s3:http://127.0.0.1:9000/b/a", s3("http://127.0.0.1:9000", "b", "a")),
            ("rest:https://host:8000", Location::Rest("https://host:8000/".into())),
            ("rest:http://[::1]:8000/a/b/", Location::Rest("http://[::1]:8000/a/b/".into())),
            ("sftp:ops@host:/srv/b/", sftp("ops@host", None, "/srv/b")),
            ("sftp://ops@host:2222//srv/b", sftp("ops@host", Some(2222), "/srv/b")),
            ("sftp://host/b", sftp("host", None, "b")),
            ("rclone:cold store:b/c", Location::Rclone { remote: "cold store".into(), path: "b/c".into() }),
        ] {
            assert_eq!(Location::parse(url).expect(url), location, "{url}");
        }
    }

    #[test]
    fn what_is_no_address_or_holds_a_secret_is_refused() {
        for url in [
            "",
            "srv",
            "local:srv",
            "s3:",
            "s3:https://host",
            "s3:https://key:secret@host/b",
            "s3:host/b?x=1",
            "rest:host/x",
            "rest:https://ops:secret@host/",
            "rest:https://host/../x",
            "sftp:host",
            "sftp:-oProxyCommand=x:/b",
            "sftp://host:0/b",
            "rclone:",
            "rclone::sftp,ssh=rm:b",
            "rclone:a,b=c:d",
            "rclone:-x:d",
            "ftp://host/b",
            "a\nb:",
        ] {
            let error = Location::parse(url).expect_err(url);
            assert_eq!(error.field.as_deref(), Some("url"), "{url}");
            assert!(error.hint.is_some() && !error.to_string().contains("secret@"), "{url}: {error}");
        }
    }

    #[test]
    fn limits_are_for_places_far_away_and_not_too_slow() {
        let far = Location::parse("sftp:host:/b").expect("an address");
        let near = Location::parse("/b").expect("an address");
        let refused = |limits: Limits, place| limits.check(place).expect_err("refused").field;
        assert_eq!(Limits::default().check(&near), Ok(()));
        assert_eq!(Limits { upload: LEAST_LIMIT, download: 0 }.check(&far), Ok(()));
        let slow = Limits { upload: 0, download: LEAST_LIMIT - 1 };
        assert_eq!(refused(slow, &far).as_deref(), Some("download_limit"));
        assert_eq!(refused(Limits { upload: 1 << 30, download: 0 }, &near).as_deref(), Some("upload_limit"));
    }

    #[test]
    fn secrets_are_checked_and_never_told() {
        let secrets = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let s3 = Location::parse("s3:host/b").expect("an address");
        assert!(s3.check_secrets(secrets("AWS_SECRET_ACCESS_KEY", "tape").iter()).is_ok());
        for (name, value) in
            [("LD_PRELOAD", "tape"), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_SECRET_ACCESS_KEY", "ta\npe")]
        {
            let error = s3.check_secrets(secrets(name, value).iter()).expect_err(name);
            assert_eq!(error.field.as_deref(), Some("secrets"));
            assert!(!format!("{error:?}").contains("tape"), "{error:?}");
        }
    }

    #[test]
    fn an_address_of_before_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("/srv/backup@home", "/srv/backup@home"),
            ("rest:https://u:p@ss@host:8000/a@b", "rest:https://host:8000/a@b"),
            ("rest:https://u:p@host", "rest:https://host"),
            ("sftp://ops@host:22/b", "sftp://ops@host:22/b"),
        ] {
            let repository = Repository::new(Uuid::nil(), Uuid::nil(), "", url, String::new(), Timestamp::UNIX_EPOCH);
            assert_eq!(repository.shown_url(), shown);
        }
    }
}
