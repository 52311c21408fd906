//! Images to import, as streams: from an address, or from a file of this machine. Where a name leads is looked at when the
//! connection is made, because it may be elsewhere than it was when the import was wished; the same for redirects, and for
//! links on the way to a file. What should come, and does not, breaks the stream, so that nothing is stored of it.

use std::error::Error as StdError;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use domain::import::ImportRules;
use nix::libc;
use reqwest::Url;
use reqwest::blocking::{Client, Response};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::CONTENT_LENGTH;
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};

use super::stream::Stream;
use super::{EngineError, ErrorCode};

/// How long the other side may send nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(20);
/// How often one is sent elsewhere.
const REDIRECTS: usize = 10;

/// An image to fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Where it is: `http`, `https` or `file`.
    pub source: String,
    /// How many bytes it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The SHA-256 that it must have, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What may be reached beside the world.
    #[serde(default)]
    pub rules: ImportRules,
}

impl Image {
    /// Its bytes, to be stored under this path.
    pub(super) fn open(&self, path: PathBuf) -> Result<Stream, EngineError> {
        let source =
            Url::parse(&self.source).map_err(|e| invalid(format!("the location of the image is no address: {e}")))?;
        let (reader, size): (Box<dyn Read + Send>, _) = match source.scheme() {
            "http" | "https" => self.fetch(source)?,
            "file" => self.read_file(&source)?,
            other => return Err(invalid(format!("images cannot be fetched by '{other}'"))),
        };
        if let (Some(wanted), Some(size)) = (self.size, size)
            && wanted != size
        {
            let message = format!("the image has {size} bytes, and {wanted} were expected");
            return Err(EngineError::new(ErrorCode::SourceMismatch, message));
        }
        let reader: Box<dyn Read + Send> = match &self.sha256 {
            Some(wanted) => Box::new(Checked { reader, digest: Context::new(&SHA256), wanted: wanted.clone() }),
            None => reader,
        };
        Ok(Stream { path, size: self.size.or(size), modified: None, reader })
    }

    fn fetch(&self, source: Url) -> Result<(Box<dyn Read + Send>, Option<u64>), EngineError> {
        check(&self.rules, &source).map_err(|refused| invalid(refused.to_string()))?;
        let rules = self.rules.clone();
        let redirects = Policy::custom(move |attempt| match check(&rules, attempt.url()) {
            Err(refused) => attempt.error(refused),
            Ok(()) if attempt.previous().len() > REDIRECTS => attempt.error("there are too many redirects"),
            Ok(()) => attempt.follow(),
        });
        let client = Client::builder()
            .dns_resolver(Arc::new(Guarded(self.rules.clone())))
            .redirect(redirects)
            // A proxy would connect in our place, and look at nothing.
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            // Of each step, not of the whole.
            .timeout(SILENCE)
            .user_agent(concat!("backstay/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| EngineError::new(ErrorCode::Internal, format!("cannot make connections: {}", deepest(&e))))?;
        let missing = |from: &Url, why: String| {
            let message = format!("the image cannot be fetched from {}: {why}", place(from));
            EngineError::new(ErrorCode::SourceMissing, message)
        };
        // One may have been sent elsewhere.
        let unreachable = |e: reqwest::Error| missing(e.url().unwrap_or(&source), deepest(&e));
        let response = client.get(source.clone()).send().map_err(unreachable)?;
        let status = response.status();
        if status.is_redirection() {
            let why = format!("the server answers {status}, and sends to what is not fetched");
            return Err(missing(response.url(), why));
        }
        if !status.is_success() {
            return Err(missing(response.url(), format!("the server answers {status}")));
        }
        let length = response.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        Ok((Box::new(Body(response)), length))
    }

    fn read_file(&self, source: &Url) -> Result<(Box<dyn Read + Send>, Option<u64>), EngineError> {
        let not_allowed = || invalid("the file of the image does not lie in a folder that the operator allows".into());
        let named = source.to_file_path().map_err(|()| not_allowed())?;
        if !named.to_str().is_some_and(|path| self.rules.admit_file(path)) {
            return Err(not_allowed());
        }
        let shown = named.display();
        let unreadable = |e: &io::Error| match e.kind() {
            io::ErrorKind::NotFound => {
                EngineError::new(ErrorCode::SourceMissing, format!("there is no file {shown} on the agent's machine"))
            }
            _ => EngineError::io(&format!("cannot read the image {shown}"), e),
        };
        // Links may lead out of the folder.
        let real = named.canonicalize().map_err(|e| unreadable(&e))?;
        let inside = |root: &String| Path::new(root).canonicalize().is_ok_and(|root| real.starts_with(root));
        if !self.rules.roots.iter().any(inside) {
            return Err(not_allowed());
        }
        // Neither a link that is put there now is followed, nor does a pipe keep the job waiting for its other end.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&real).map_err(|e| unreadable(&e))?;
        let meta = file.metadata().map_err(|e| unreadable(&e))?;
        if !meta.is_file() {
            return Err(invalid(format!("the image {shown} is no regular file")));
        }
        Ok((Box::new(file), Some(meta.len())))
    }
}

fn invalid(message: String) -> EngineError {
    EngineError::new(ErrorCode::InvalidJob, message)
}

/// An address that is not to be reached.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Refused {}

impl Refused {
    fn internal(host: &str, address: IpAddr) -> Refused {
        let is = match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(_) => format!("{address} is an internal address"),
            Err(_) => format!("'{host}' is the internal address {address}"),
        };
        Refused(format!("{is}, which the operator does not allow"))
    }
}

/// Whether an address may be asked at all. Names are looked at once more when they are resolved; numbers never are.
fn check(rules: &ImportRules, url: &Url) -> Result<(), Refused> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refused(format!("the server sends to '{}', which is not fetched", url.scheme())));
    }
    let host = url.host_str().unwrap_or_default();
    let number = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    match number {
        Ok(address) if !rules.admit(address) => Err(Refused::internal(host, address)),
        _ => Ok(()),
    }
}

/// Looks names up, and gives only addresses that may be reached. What is given is what is connected to.
struct Guarded(ImportRules);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            if let Some(refused) = found.iter().find(|a| !rules.admit(a.ip())) {
                return Err(Refused::internal(host, refused.ip()).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// What a server sends. Its errors say what was the matter without the address, in which there may be a secret.
struct Body(Response);

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).map_err(|e| match e.get_ref() {
            Some(inner) => io::Error::new(e.kind(), deepest(inner)),
            None => e,
        })
    }
}

/// Breaks off at the end of what has another digest.
struct Checked {
    reader: Box<dyn Read + Send>,
    digest: Context,
    wanted: String,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            self.digest.update(&buffer[..read]);
            return Ok(read);
        }
        let found = crate::hex::hex(self.digest.clone().finish().as_ref());
        if found.eq_ignore_ascii_case(&self.wanted) {
            return Ok(0);
        }
        let message = format!("the image is another one: its SHA-256 is {found}, and {} was expected", self.wanted);
        Err(io::Error::other(EngineError::new(ErrorCode::SourceMismatch, message)))
    }
}

/// What is behind an error: the outer ones only say that something failed, and where.
fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        return match (error.is_timeout(), error.is_connect()) {
            (true, _) => "the server sent nothing for a minute".to_owned(),
            (_, true) => "the server cannot be reached".to_owned(),
            _ => "the connection broke off".to_owned(),
        };
    }
    let text = error.to_string();
    // What the library says of one who answers in plain words.
    if text.contains("InvalidContentType") { "the server does not speak TLS at this port".to_owned() } else { text }
}

/// The machine and the port of an address: the rest of it may hold a secret.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use domain::import::Network;

    use super::*;

    fn image(source: &str, sha256: Option<&str>, root: &Path) -> Image {
        let networks = vec![Network::parse("127.0.0.0/8").expect("a network")];
        let rules = ImportRules { networks, roots: vec![root.to_str().expect("UTF-8").to_owned()] };
        Image { source: source.to_owned(), size: None, sha256: sha256.map(str::to_owned), rules }
    }

    fn refused(image: &Image) -> EngineError {
        let Err(error) = image.open(PathBuf::from("/x")) else { panic!("a refusal") };
        error
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let none = format!("file://{}/none.raw", folder.path().display());
        let told = refused(&image(&none, None, folder.path()));
        assert!(told.message.contains(&format!("{}/none.raw", folder.path().display())), "{told}");
        // Nobody listens at port 1; what stands behind the port may be a secret.
        let told = refused(&image("http://127.0.0.1:1/x?secret", None, folder.path()));
        assert!(told.message.starts_with("the image cannot be fetched from 127.0.0.1:1: "), "{told}");
        assert!(!told.message.contains("secret"), "{told}");
        let told = refused(&image("http://10.0.0.1/x", None, folder.path()));
        assert_eq!(told.message, "10.0.0.1 is an internal address, which the operator does not allow");
    }

    #[test]
    fn another_image_than_was_wanted_is_no_broken_stream() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.raw"), "data").expect("a file");
        let source = format!("file://{}/a.raw", folder.path().display());
        let stream = image(&source, Some(&"0".repeat(64)), folder.path()).open(PathBuf::from("/a.raw"));
        let mut stream = stream.expect("a stream");
        let error = stream.reader.read_to_end(&mut Vec::new()).expect_err("another one");
        let told = error.get_ref().and_then(|e| e.downcast_ref::<EngineError>()).expect("an error of the engine");
        assert_eq!(told.code, ErrorCode::SourceMismatch);
        assert!(told.message.starts_with("the image is another one: its SHA-256 is "), "{told}");
    }
}
