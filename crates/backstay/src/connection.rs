//! How a command finds the server: the address and token it was given, or the files that a local `backstay up` leaves
//! behind while it runs. `up` writes and removes them through this module, so both sides agree.
//!
//! Two files: `connection.json` in the data folder says where the server is and holds the administrator's token;
//! `local.json` in the user's state folder says which data folder was started last, so that commands work from anywhere.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use domain::{Code, Uuid};
use serde::{Deserialize, Serialize};
use server::config::DataFolder;
use server::secrets::write_private;

use crate::problem::{Exit, Problem};

/// How long the server that a ready-file names may take to accept a connection; it is on this machine.
const STALE_LIMIT: Duration = Duration::from_secs(1);

/// The data folder that `up` makes where none is named.
pub(crate) const DEFAULT_DATA: &str = "backstay-data";

/// Where a local server is reached, and with which token: `connection.json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Connection {
    /// The plain address, like `http://127.0.0.1:9280`.
    pub(crate) http: String,
    /// The TLS address, like `https://127.0.0.1:9281`.
    pub(crate) tls: String,
    /// The authority that certified the TLS address.
    pub(crate) ca_file: PathBuf,
    /// The local administrator's token.
    pub(crate) admin_token: String,
    /// The tenant that the token opens.
    pub(crate) tenant_id: Uuid,
}

/// The pointer to the data folder that was started last: `local.json`.
#[derive(Serialize, Deserialize)]
struct Pointer {
    data: PathBuf,
}

/// What was given on the command line and in the environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// `--server`.
    pub(crate) server: Option<String>,
    /// `--token`.
    pub(crate) token: Option<String>,
    /// `--ca-file`.
    pub(crate) ca_file: Option<PathBuf>,
    /// `--data`.
    pub(crate) data: Option<PathBuf>,
    /// Whether `--data` stands on the command line while `--server` comes from the environment.
    pub(crate) data_first: bool,
}

/// A server to talk to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Its address.
    pub(crate) url: String,
    /// The token to show.
    pub(crate) token: String,
    /// The authority to trust; none = the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// The data folder it was found by; none when it was named.
    pub(crate) local: Option<PathBuf>,
}

/// Takes away a ready-file that a killed server left behind, so that nobody takes the one that starts now for ready. One
/// whose server answers is that server's and stays.
pub(crate) fn remove_stale(file: &Path) {
    let is_file = fs::symlink_metadata(file).is_ok_and(|m| m.is_file());
    let named = fs::read(file).ok().and_then(|text| serde_json::from_slice::<Connection>(&text).ok());
    let address = named.and_then(|c| c.http.strip_prefix("http://")?.parse::<SocketAddr>().ok());
    let answers = address.is_some_and(|a| TcpStream::connect_timeout(&a, STALE_LIMIT).is_ok());
    if is_file && !answers {
        // What cannot be removed cannot be written either, and that is told then.
        let _ = fs::remove_file(file);
    }
}

/// Says where the server of this data folder is, for commands on this machine. Both files can be read by their owner only.
pub(crate) fn write(data: &Path, connection: &Connection) -> Result<()> {
    let data = std::path::absolute(data)?;
    write_file(&DataFolder::new(data.clone()).connection(), connection)?;
    if let Some(pointer) = pointer_path(|name| std::env::var_os(name)) {
        // A pointer is a convenience: a home that cannot be written must not keep a server from starting.
        if let Err(error) = write_pointer(&pointer, &data) {
            tracing::warn!(error = format!("{error:#}"), "commands will find this server only with --data");
        }
    }
    Ok(())
}

/// Writes the same to a file of the caller's choice.
pub(crate) fn write_file(path: &Path, connection: &Connection) -> Result<()> {
    write_private(path, &json(connection)?)
}

/// Takes back what [`write`] said. The pointer stays when another folder was started meanwhile. A file that cannot be
/// removed misleads nobody for long, since nothing listens there any more; it is only logged.
pub(crate) fn remove(data: &Path) {
    let removed = || -> Result<()> {
        let data = std::path::absolute(data)?;
        remove_file(&DataFolder::new(data.clone()).connection())?;
        match pointer_path(|name| std::env::var_os(name)) {
            Some(path) if matches!(read_json::<Pointer>(&path), Ok(Some(pointer)) if pointer.data == data) => {
                remove_file(&path)
            }
            _ => Ok(()),
        }
    };
    if let Err(error) = removed() {
        tracing::warn!(error = format!("{error:#}"), "a connection file could not be removed");
    }
}

/// The server that the user wants or, if they named none, the local one.
pub(crate) fn find(wanted: &Wanted) -> Result<Endpoint> {
    let here = std::env::current_dir().ok();
    find_from(wanted, here.as_deref(), pointer_path(|name| std::env::var_os(name)).as_deref())
}

fn find_from(wanted: &Wanted, here: Option<&Path>, pointer: Option<&Path>) -> Result<Endpoint> {
    if let Some(url) = &wanted.server
        && !(wanted.data_first && wanted.data.is_some())
    {
        let Some(token) = wanted.token.clone() else {
            return Err(Problem::new(Exit::Denied, format!("no token for {url}"))
                .hint("give one with --token or in the environment as BACKSTAY_TOKEN")
                .code(Code::Unauthenticated)
                .into());
        };
        return Ok(Endpoint { url: url.clone(), token, ca_file: wanted.ca_file.clone(), local: None });
    }
    let (data, connection) = match &wanted.data {
        Some(data) => match read(data)? {
            Some(connection) => (data.clone(), connection),
            None => return Err(nobody_runs(data).into()),
        },
        None => match search(here, pointer)? {
            Some(found) => found,
            None => return Err(nothing_found().into()),
        },
    };
    Ok(Endpoint {
        url: connection.http,
        token: wanted.token.clone().unwrap_or(connection.admin_token),
        ca_file: wanted.ca_file.clone(),
        local: Some(data),
    })
}

/// The data folder that the user wants or, if they named none, the local one, whether or not a server runs in it.
pub(crate) fn data_folder(wanted: Option<&Path>) -> Result<PathBuf> {
    let holds_ledger = |data: &Path| DataFolder::new(data.to_owned()).ledger().is_file();
    if let Some(data) = wanted {
        if holds_ledger(data) {
            return Ok(data.to_owned());
        }
        return Err(Problem::new(Exit::NotFound, format!("there is no ledger in {}", data.display()))
            .hint("name the data folder of a server with --data")
            .into());
    }
    let here = std::env::current_dir().ok();
    let near = ancestors(here.as_deref()).find(|data| holds_ledger(data));
    let pointed = || {
        let pointer = pointer_path(|name| std::env::var_os(name))?;
        read_json::<Pointer>(&pointer).ok().flatten().map(|p| p.data).filter(|data| holds_ledger(data))
    };
    near.or_else(pointed).ok_or_else(|| {
        Problem::new(Exit::NotFound, "there is no data folder here")
            .hint("name the data folder of a server with --data")
            .into()
    })
}

fn search(here: Option<&Path>, pointer: Option<&Path>) -> Result<Option<(PathBuf, Connection)>> {
    for data in ancestors(here) {
        if let Some(connection) = read(&data)? {
            return Ok(Some((data, connection)));
        }
    }
    let Some(pointer) = pointer else { return Ok(None) };
    match read_json::<Pointer>(pointer)? {
        Some(Pointer { data }) => Ok(read(&data)?.map(|connection| (data, connection))),
        None => Ok(None),
    }
}

/// `backstay-data` in this folder and in those above it.
fn ancestors(here: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    here.into_iter().flat_map(Path::ancestors).map(|folder| folder.join(DEFAULT_DATA))
}

pub(crate) fn read(data: &Path) -> Result<Option<Connection>> {
    read_json(&DataFolder::new(data.to_owned()).connection())
}

/// Reads a file that only its owner may read. A file that others can write could send commands, and a token from the
/// environment with them, to a server of their choice; folders above the working folder may be anybody's.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    use std::io::{ErrorKind, Read as _};
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied) => {
            return Ok(None);
        }
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    };
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(Problem::new(Exit::Failure, format!("{} can be read or written by others", path.display()))
            .hint("if it is yours, close it to others with `chmod 600` and renew the tokens in it")
            .into());
    }
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    // Parse errors of serde_json quote nothing of the content, which may be a token.
    serde_json::from_str(&text).map(Some).with_context(|| format!("{} is damaged", path.display()))
}

fn write_pointer(path: &Path, data: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    write_private(path, &json(&Pointer { data: data.to_owned() })?)
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// `$XDG_STATE_HOME/backstay/local.json`, below `~/.local/state` where that is not set.
fn pointer_path(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Option<PathBuf> {
    let folder = |name| variable(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| folder("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("backstay").join("local.json"))
}

fn json(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn nobody_runs(data: &Path) -> Problem {
    Problem::new(Exit::Unreachable, format!("no server runs with the data folder {}", data.display()))
        .hint(format!("start it with `backstay up --data {}`", data.display()))
}

fn nothing_found() -> Problem {
    Problem::new(Exit::Unreachable, "no server was named and none runs here").hint(
        "start one with `backstay up`, or name one with --server URL and --token TOKEN (BACKSTAY_SERVER, BACKSTAY_TOKEN)",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A folder of its own under the system's, removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            let path = std::env::temp_dir().join(format!("backstay-{}", Uuid::now_v7()));
            fs::create_dir_all(&path).expect("a temporary folder");
            Folder(path)
        }

        fn data(&self, name: &str, token: &str) -> PathBuf {
            let data = self.0.join(name);
            fs::create_dir_all(&data).expect("a folder");
            let connection = Connection {
                http: "http://127.0.0.1:9280".into(),
                tls: "https://127.0.0.1:9281".into(),
                ca_file: data.join("keys/ca.pem"),
                admin_token: token.into(),
                tenant_id: Uuid::nil(),
            };
            let text = json(&connection).expect("serialises");
            write_private(&data.join("connection.json"), &text).expect("written");
            data
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn exit(result: Result<Endpoint>) -> Option<Exit> {
        result.err()?.downcast_ref::<Problem>().map(|p| p.exit)
    }

    #[test]
    fn a_named_server_needs_a_token() {
        let mut wanted = Wanted { server: Some("https://b.example".into()), ..Wanted::default() };
        assert_eq!(exit(find_from(&wanted, None, None)), Some(Exit::Denied));
        wanted.token = Some("t".into());
        let found = find_from(&wanted, None, None).expect("found");
        assert_eq!((found.url.as_str(), found.token.as_str(), found.local), ("https://b.example", "t", None));
    }

    #[test]
    fn the_local_server_is_found_here_above_and_by_the_pointer() {
        let folder = Folder::new();
        let data = folder.data("backstay-data", "near");
        let below = folder.0.join("a/b");
        fs::create_dir_all(&below).expect("folders");
        let found = find_from(&Wanted::default(), Some(&below), None).expect("found");
        assert_eq!((found.token.as_str(), found.local.as_deref()), ("near", Some(data.as_path())));

        let elsewhere = Folder::new();
        let pointed = elsewhere.data("pointed", "far");
        let pointer = elsewhere.0.join("state/backstay/local.json");
        write_pointer(&pointer, &pointed).expect("written");
        let nowhere = Folder::new();
        let found = find_from(&Wanted::default(), Some(&nowhere.0), Some(&pointer)).expect("found");
        assert_eq!((found.token.as_str(), found.url.as_str()), ("far", "http://127.0.0.1:9280"));
        let found = find_from(&Wanted::default(), Some(&below), Some(&pointer)).expect("found");
        assert_eq!(found.token, "near", "the working folder comes before the pointer");

        fs::remove_file(pointed.join("connection.json")).expect("removed");
        assert_eq!(exit(find_from(&Wanted::default(), Some(&nowhere.0), Some(&pointer))), Some(Exit::Unreachable));
    }

    #[test]
    fn a_named_folder_is_the_only_one_looked_into() {
        let folder = Folder::new();
        folder.data("backstay-data", "near");
        let other = folder.data("other", "other");
        let mut wanted = Wanted { data: Some(other.clone()), token: Some("mine".into()), ..Wanted::default() };
        assert_eq!(find_from(&wanted, Some(&folder.0), None).expect("found").token, "mine");
        wanted.data = Some(folder.0.join("none"));
        assert_eq!(exit(find_from(&wanted, Some(&folder.0), None)), Some(Exit::Unreachable));

        // --data on the command line beats BACKSTAY_SERVER, and --server beats BACKSTAY_DATA.
        let mut wanted =
            Wanted { server: Some("https://b.example".into()), token: Some("t".into()), ..Wanted::default() };
        wanted.data = Some(other);
        assert_eq!(find_from(&wanted, None, None).expect("found").local, None);
        wanted.data_first = true;
        assert!(find_from(&wanted, None, None).expect("found").local.is_some());
    }

    #[test]
    fn a_file_that_others_can_change_is_not_trusted() {
        let folder = Folder::new();
        let data = folder.data("backstay-data", "near");
        let file = data.join("connection.json");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("changed");
        assert_eq!(exit(find_from(&Wanted::default(), Some(&folder.0), None)), Some(Exit::Failure));
    }

    #[test]
    fn the_pointer_lies_in_the_state_folder() {
        let path = |state: Option<&str>, home: Option<&str>| {
            pointer_path(|name| if name == "HOME" { home } else { state }.map(Into::into))
        };
        assert_eq!(path(Some("/s"), Some("/h")), Some("/s/backstay/local.json".into()));
        assert_eq!(path(Some("relative"), Some("/h")), Some("/h/.local/state/backstay/local.json".into()));
        assert_eq!(path(None, None), None);
    }
}
