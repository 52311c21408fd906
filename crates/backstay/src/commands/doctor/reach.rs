//! Whether a server is reached, step by step: its name, its port, TLS with the authority that is trusted, an answer, and what
//! its clock says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use domain::{SignedDuration, Timestamp};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Findings, connection_time};

/// How long each step may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// So much an answer's head takes at most.
const MAX_HEAD: usize = 16 * 1024;
/// From here on, clocks that differ are worth a word.
const CLOCK_WARNING: SignedDuration = SignedDuration::from_secs(30);
/// From here on, times in records and certificates are wrong.
const CLOCK_BAD: SignedDuration = SignedDuration::from_secs(300);
/// A server's certificate with less time left should have been renewed.
const SERVER_CERTIFICATE_SOON: SignedDuration = SignedDuration::from_hours(24 * 60);

/// Looks whether the server at this address, `https://HOST:PORT`, is reached by who trusts this authority. False if not.
pub(super) async fn server(url: &str, ca_pem: Option<&str>, findings: &mut Findings) -> bool {
    let Some((secure, host, port)) = parts(url) else {
        let message = format!("'{url}' is no address of a server");
        findings.bad("server", message, "it begins with https:// and ends with a port");
        return false;
    };
    let found = match timeout(PATIENCE, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(found)) => found.collect::<Vec<SocketAddr>>(),
        Ok(Err(error)) => {
            let advice = "look at the name in the address and at this machine's resolver (/etc/resolv.conf)";
            findings.bad("name", format!("'{host}' is not found: {error}"), advice);
            return false;
        }
        Err(_) => {
            findings.bad("name", format!("nobody says what '{host}' is"), "look at this machine's resolver");
            return false;
        }
    };
    let tcp = match timeout(PATIENCE, TcpStream::connect(&*found)).await {
        Ok(Ok(tcp)) => tcp,
        failed => {
            let why =
                failed.map_or_else(|_| "no answer".to_owned(), |e| e.map_or_else(|e| e.to_string(), |_| String::new()));
            let advice = "look whether the server runs and a firewall lets TCP through; `backstay agent run --server` takes \
                          another address";
            findings.bad("connection", format!("{host} port {port} is not reached: {why}"), advice);
            return false;
        }
    };
    if !secure {
        return answer(tcp, host, findings).await;
    }
    let Some(config) = ca_pem.and_then(|pem| trusting(pem).ok()) else {
        findings.bad(
            "tls",
            "the authority to trust is not known here",
            "let the machine join anew (`backstay agent enroll`)",
        );
        return false;
    };
    let Ok(name) = ServerName::try_from(host.to_owned()) else {
        findings.bad("tls", format!("no certificate can name '{host}'"), "use another name of the server");
        return false;
    };
    match timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, tcp)).await {
        Ok(Ok(tls)) => {
            let shown = tls.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            if let Some(dates) = shown.and_then(|der| server::authority::dates(der)) {
                let advice = "the server renews it by itself while it runs; look at its log";
                findings.certificate("server's certificate", dates.expires_at, SERVER_CERTIFICATE_SOON, advice);
            }
            answer(tls, host, findings).await
        }
        Ok(Err(error)) => {
            let (message, advice) = refused(&error);
            findings.bad("tls", message, advice);
            false
        }
        Err(_) => {
            findings.bad(
                "tls",
                "the server does not answer the TLS handshake",
                "look whether another program has that port",
            );
            false
        }
    }
}

fn parts(url: &str) -> Option<(bool, &str, u16)> {
    let (secure, rest) = match url.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, url.strip_prefix("http://")?),
    };
    let (host, port) = server::config::host_and_port(rest.trim_end_matches('/')).ok()?;
    Some((secure, host, port))
}

fn trusting(ca_pem: &str) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).context("no certificate")?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What a handshake failed of, and what to do.
fn refused(error: &std::io::Error) -> (String, &'static str) {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                "the server's certificate has expired".to_owned(),
                "a running server renews it by itself: look at its log, and compare the clocks of both machines",
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ("the server's certificate is not valid yet".to_owned(), "compare the clocks of both machines")
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                "the server's certificate does not have the name that is used".to_owned(),
                "start the server with --public and that name",
            ),
            _ => (
                format!("the server's certificate is not of the authority that is trusted here: {error}"),
                "if the server was set up anew, let the machine join anew (`backstay agent enroll` prints the line for it)",
            ),
        },
        _ => (format!("no TLS: {error}"), "look whether another program has that port"),
    }
}

/// Asks whether it is well, and compares clocks.
async fn answer<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, host: &str, findings: &mut Findings) -> bool {
    let asked = Timestamp::now();
    let head = timeout(PATIENCE, async {
        let request = format!("GET {}/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", api::BASE_PATH);
        io.write_all(request.as_bytes()).await?;
        let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
        while head.len() < MAX_HEAD && !head.windows(4).any(|w| w == b"\r\n\r\n") {
            match io.read(&mut buffer).await? {
                0 => break,
                n => head.extend_from_slice(&buffer[..n]),
            }
        }
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&head).into_owned())
    });
    let head = match head.await {
        Ok(Ok(head)) if head.starts_with("HTTP/1.1 ") => head,
        _ => {
            findings.bad(
                "server",
                "it does not answer",
                "look whether another program has that port, and at the server's log",
            );
            return false;
        }
    };
    let mut lines = head.lines();
    let status = lines.next().unwrap_or_default().split_whitespace().nth(1).unwrap_or_default().to_owned();
    if status == "200" {
        findings.good("server", format!("{host} answers"));
    } else {
        findings.bad("server", format!("it answers with status {status}"), "look at the server's log");
    }
    let date = lines.find_map(|line| line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("date")));
    let date = date.and_then(|(_, date)| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date.trim()).ok());
    if let Some(theirs) = date {
        clock(asked, theirs, findings);
    }
    true
}

fn clock(ours: Timestamp, theirs: Timestamp, findings: &mut Findings) {
    let offset = theirs.duration_until(ours);
    let message = format!("this machine has {} and the server {}", connection_time(ours), connection_time(theirs));
    let advice = "set the clocks by time servers (systemd-timesyncd, chrony)";
    if offset.abs() >= CLOCK_BAD {
        findings.bad("clock", message, advice);
    } else if offset.abs() >= CLOCK_WARNING {
        findings.warning("clock", message, advice);
    } else {
        findings.good("clock", "this machine and the server have the same time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::State;

    fn state_of(difference: i64) -> State {
        let mut findings = Findings::default();
        clock(Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + SignedDuration::from_secs(difference), &mut findings);
        findings.0[0].state
    }

    #[test]
    fn clocks_may_differ_a_little_either_way() {
        assert_eq!([0, 29, -29].map(state_of), [State::Good; 3]);
        assert_eq!([30, -30, 299].map(state_of), [State::Warning; 3]);
        assert_eq!([300, -300, 86_400].map(state_of), [State::Bad; 3]);
    }

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(parts("https://backup.example:9281"), Some((true, "backup.example", 9281)));
        assert_eq!(parts("http://[::1]:9280/"), Some((false, "::1", 9280)));
        assert_eq!(parts("backup.example:9281"), None);
    }

    /// What is said of a server whose certificate was made so many days ago, by who trusts its authority or another one.
    async fn said_of(days: i64, its_own: bool) -> Vec<String> {
        let folder = tempfile::TempDir::new().expect("a folder");
        let files = server::tls::CertFiles::in_folder(folder.path());
        let made = Timestamp::now() - SignedDuration::from_hours(24 * days);
        let certificates = files.serve(&["127.0.0.1".to_owned()], made).expect("certificates");
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}", tcp.local_addr().expect("an address"));
        let acceptor = tokio_rustls::TlsAcceptor::from(certificates.server_config().expect("a configuration"));
        let serving = tokio::spawn(async move {
            let (tcp, _) = tcp.accept().await.expect("somebody comes");
            let Ok(mut tls) = acceptor.accept(tcp).await else { return };
            let answer = "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
            tls.write_all(answer.as_bytes()).await.expect("it listens");
        });
        let ca = if its_own {
            std::fs::read_to_string(&files.ca).expect("a certificate")
        } else {
            let folder = tempfile::TempDir::new().expect("a folder");
            let other = server::tls::CertFiles::in_folder(folder.path());
            other.serve(&["127.0.0.1".to_owned()], Timestamp::now()).expect("certificates");
            std::fs::read_to_string(&other.ca).expect("a certificate")
        };
        let mut findings = Findings::default();
        super::server(&url, Some(&ca), &mut findings).await;
        serving.await.expect("no panic");
        findings.0.iter().map(|f| format!("{:?} {}: {}", f.state, f.subject, f.message)).collect()
    }

    #[tokio::test]
    async fn a_server_is_judged_by_its_certificate_and_its_clock() {
        let good = said_of(0, true).await;
        assert!(good[0].starts_with("Good server's certificate: valid until"), "{good:?}");
        assert_eq!(good[1], "Good server: 127.0.0.1 answers");
        assert!(good[2].starts_with("Bad clock: this machine has"), "{good:?}");
        assert!(said_of(350, true).await[0].starts_with("Warning server's certificate: expires at"));
        assert_eq!(said_of(400, true).await, ["Bad tls: the server's certificate has expired"]);
        let stranger = said_of(0, false).await;
        assert!(stranger[0].starts_with("Bad tls: the server's certificate is not of the authority"), "{stranger:?}");
    }
}
