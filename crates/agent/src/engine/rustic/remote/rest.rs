//! Servers of restic's REST protocol, version 2: `rest-server`, and `rclone serve restic`.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use reqwest::Url;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{ACCEPT, RANGE};
use serde::Deserialize;

use super::pace::Paces;
use super::s3::range;
use super::{Store, http_client, refusal, unreachable};
use crate::engine::{EngineError, ErrorCode};

/// Lists with sizes.
const VERSION_2: &str = "application/vnd.x.restic.rest.v2";

/// A repository of a REST server.
pub(super) struct Rest {
    place: String,
    url: Url,
    account: Option<(String, String)>,
    client: Client,
    paces: Paces,
}

impl std::fmt::Debug for Rest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the account.
        f.debug_struct("Rest").field("place", &self.place).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    size: u64,
}

impl Rest {
    /// The server at a URL with a slash at its end.
    pub(super) fn new(
        place: String,
        url: &str,
        secrets: &BTreeMap<String, String>,
        paces: Paces,
    ) -> Result<Rest, EngineError> {
        let account = secrets
            .get("RESTIC_REST_USERNAME")
            .map(|name| (name.clone(), secrets.get("RESTIC_REST_PASSWORD").cloned().unwrap_or_default()));
        let url = url.parse().map_err(|error| {
            EngineError::new(ErrorCode::RepositoryUnsupported, format!("{place} is no address: {error}"))
        })?;
        Ok(Rest { place, url, account, client: http_client(&paces)?, paces })
    }

    fn ask(&self, name: &str, request: impl FnOnce(&Client, Url) -> RequestBuilder) -> io::Result<Response> {
        let url = self.url.join(name).map_err(|error| io::Error::other(error.to_string()))?;
        let request = request(&self.client, url);
        let request = match &self.account {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        };
        let response = request.send().map_err(unreachable)?;
        let status = response.status();
        match status.as_u16() {
            _ if status.is_success() => Ok(response),
            401 => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the server does not accept the name and password; check RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD",
            )),
            403 => Err(io::Error::new(io::ErrorKind::PermissionDenied, "the server does not allow that here")),
            _ => Err(refusal(status, &String::from_utf8_lossy(&self.paces.received(response)?))),
        }
    }
}

/// What is not there is no failure.
fn if_there<T>(answer: io::Result<T>) -> io::Result<Option<T>> {
    match answer {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

impl Store for Rest {
    fn place(&self) -> &str {
        &self.place
    }

    fn prepare(&self) -> io::Result<()> {
        self.ask("?create=true", |client, url| client.post(url)).map(drop)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let answer = self.ask(&format!("{folder}/"), |client, url| client.get(url).header(ACCEPT, VERSION_2));
        let Some(answer) = if_there(answer)? else { return Ok(Vec::new()) };
        let listed: Option<Vec<Listed>> = serde_json::from_slice(&self.paces.received(answer)?)
            .map_err(|error| io::Error::other(format!("the list of files makes no sense: {error}")))?;
        Ok(listed.unwrap_or_default().into_iter().map(|file| (file.name, file.size)).collect())
    }

    fn size(&self, name: &str) -> io::Result<Option<u64>> {
        let answer = if_there(self.ask(name, |client, url| client.head(url)))?;
        Ok(answer.map(|answer| {
            let length = answer.headers().get(reqwest::header::CONTENT_LENGTH);
            length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or_default()
        }))
    }

    fn read(&self, name: &str, part: Option<(u32, u32)>) -> io::Result<Bytes> {
        let answer = self.ask(name, |client, url| match part {
            Some((offset, length)) => client.get(url).header(RANGE, range(offset, length)),
            None => client.get(url),
        });
        self.paces.received(answer?)
    }

    fn create(&self, name: &str, content: Bytes) -> io::Result<()> {
        let size = content.len() as u64;
        match self.ask(name, |client, url| client.post(url).body(self.paces.sent(content))) {
            // A server that never writes over a file says that it does not allow it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => match self.size(name) {
                Ok(Some(found)) if found == size || name == "config" => {
                    Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file is there already"))
                }
                _ => Err(error),
            },
            other => other.map(drop),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if_there(self.ask(name, |client, url| client.delete(url))).map(drop)
    }

    fn spreads_data(&self) -> bool {
        false
    }
}
