//! How a message gets out: as a signed request (Standard Webhooks) or by SMTP, to addresses of the world and what the
//! operator allows. Where a name leads is looked at when the connection is made, because it may be elsewhere than it was
//! when the channel was made. What goes wrong is told without secrets, and without the path of an address, in which there
//! may be one.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::channel::{Channel, Target};
use domain::import::ImportRules;
use domain::{Code, Error, Result, Timestamp};
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::OnceCell;
use url::{Host, Url};

use super::message::{Notice, one_line};
use crate::secrets::random_bytes;
use crate::service::Service;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the whole may take.
const WHOLE: Duration = Duration::from_secs(30);
/// What the secret of a webhook begins with.
const SECRET: &str = "whsec_";
/// How long words of the other side may be, in characters.
const LONGEST_WORDS: usize = 300;

/// A new secret of a webhook.
pub(in crate::service) fn new_secret() -> String {
    format!("{SECRET}{}", STANDARD.encode(random_bytes()))
}

/// What messages leave by.
#[derive(Default)]
pub(super) struct Sender {
    rules: Arc<ImportRules>,
    http: OnceCell<reqwest::Client>,
}

impl Sender {
    pub(super) fn within(rules: ImportRules) -> Sender {
        Sender { rules: Arc::new(rules), ..Sender::default() }
    }

    pub(super) fn rules(&self) -> &ImportRules {
        &self.rules
    }

    async fn http(&self) -> Result<&reqwest::Client> {
        let made = self.http.get_or_try_init(async || {
            reqwest::Client::builder()
                .dns_resolver(Arc::new(Guarded(self.rules.clone())))
                // Elsewhere nobody has agreed to take this.
                .redirect(reqwest::redirect::Policy::none())
                // A proxy would connect in our place, and look at nothing.
                .no_proxy()
                .referer(false)
                .connect_timeout(CONNECT)
                .timeout(WHOLE)
                .user_agent(concat!("backstay/", env!("CARGO_PKG_VERSION")))
                .build()
        });
        made.await.map_err(|e| Error::new(Code::Internal, format!("cannot make connections: {}", deepest(&e))))
    }
}

impl Service {
    /// Delivers a message; what went wrong, in words, if it was not delivered.
    ///
    /// # Errors
    /// `internal` when a secret cannot be opened.
    pub(super) async fn send(&self, channel: &Channel, notice: &Notice) -> Result<std::result::Result<(), String>> {
        match &channel.target {
            Target::Webhook { url, sealed_secret } => {
                let secret = self.sealer.open(sealed_secret)?;
                let sent = webhook(self.notices.sender.http().await?, self.notices.rules(), url, &secret, notice);
                Ok(sent.await)
            }
            Target::Email { server, user, sealed_password, from, to } => {
                let password = sealed_password.as_deref().map(|sealed| self.sealer.open(sealed)).transpose()?;
                let sign_in = user.clone().zip(password).map(|(user, password)| Credentials::new(user, password));
                let host = self.public.rsplit_once(':').map_or(self.public.as_str(), |(host, _)| host);
                let mail = mail(notice, from, to, host, self.moment().now);
                let sent = async { email(self.notices.rules(), server, sign_in, host, mail?).await };
                let sent = tokio::time::timeout(WHOLE, sent).await;
                Ok(sent.unwrap_or_else(|_| Err(format!("{} took too long", place(server)))))
            }
        }
    }
}

/// Any answer that says that all is well counts as delivered.
async fn webhook(
    http: &reqwest::Client,
    rules: &ImportRules,
    url: &str,
    secret: &str,
    notice: &Notice,
) -> std::result::Result<(), String> {
    let place = place(url);
    let url = Url::parse(url).map_err(|e| format!("the address is none: {e}"))?;
    // Numbers are never looked up.
    if let Some(address) = number(&url).filter(|address| !rules.admit(*address)) {
        return Err(refused(&address.to_string(), address));
    }
    // The time of the try, by which a receiver tells an old message that somebody sends again: a real clock's.
    let (id, now, body) = (format!("msg_{}", notice.id.simple()), Timestamp::now().as_second(), notice.body());
    let request = http
        .post(url)
        .header("content-type", "application/json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", now)
        .header("webhook-signature", signature(secret, &id, now, &body))
        .body(body);
    let response = request.send().await.map_err(|e| format!("{place} cannot be reached: {}", deepest(&e)))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let more = if status.is_redirection() { "; redirects are not followed" } else { "" };
    Err(format!("{place} answers {status}{more}"))
}

/// The header `webhook-signature`.
fn signature(secret: &str, id: &str, now: i64, body: &str) -> String {
    // What is sealed is a secret of ours; one that were not would only make a signature that nobody accepts.
    let key = STANDARD.decode(secret.trim_start_matches(SECRET)).unwrap_or_default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let tag = hmac::sign(&key, format!("{id}.{now}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

/// The letter.
fn mail(
    notice: &Notice,
    from: &str,
    to: &[String],
    host: &str,
    now: Timestamp,
) -> std::result::Result<Message, String> {
    let mailbox = |text: &str| {
        let address = text.parse::<Address>().map_err(|e| format!("'{text}' is no e-mail address: {e}"))?;
        Ok::<_, String>(lettre::message::Mailbox::new(Some("Backstay".to_owned()).filter(|_| text == from), address))
    };
    let mut letter = Message::builder()
        .from(mailbox(from)?)
        .date(SystemTime::from(now))
        .message_id(Some(format!("<{}@{host}>", notice.id.simple())))
        .subject(&notice.subject)
        // Nobody's absence is to be answered to us (RFC 3834).
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()))
        .header(ContentType::TEXT_PLAIN);
    for to in to {
        letter = letter.to(mailbox(to)?);
    }
    letter.body(notice.text.clone()).map_err(|e| format!("the e-mail cannot be made: {e}"))
}

async fn email(
    rules: &ImportRules,
    server: &str,
    sign_in: Option<Credentials>,
    own: &str,
    mail: Message,
) -> std::result::Result<(), String> {
    let place = place(server);
    let url = Url::parse(server).map_err(|e| format!("the server's address is none: {e}"))?;
    let inside = url.scheme() == "smtps";
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port().unwrap_or(if inside { 465 } else { 587 });
    let unreachable = |why: &dyn fmt::Display| format!("{place} cannot be reached: {why}");
    let found = tokio::net::lookup_host((host.as_str(), port)).await.map_err(|e| unreachable(&e))?;
    let found: Vec<SocketAddr> = found.collect();
    if let Some(address) = found.iter().map(SocketAddr::ip).find(|ip| !rules.admit(*ip)) {
        return Err(refused(&host, address));
    }
    let mut tls = TlsParameters::builder(host);
    if !inside && sign_in.is_none() {
        // Whoever stands between could leave STARTTLS out altogether, so a certificate would prove nothing here. With a
        // password, and with smtps, there is no way but a certificate that is trusted.
        tls = tls.dangerous_accept_invalid_certs(true);
    }
    let tls = tls.build().map_err(|e| format!("cannot set up TLS: {}", deepest(&e)))?;
    let tls = match (inside, sign_in.is_some()) {
        (true, _) => Tls::Wrapper(tls),
        (false, true) => Tls::Required(tls),
        (false, false) => Tls::Opportunistic(tls),
    };
    let own = own.trim_matches(['[', ']']);
    let hello = match own.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => ClientId::Ipv4(address),
        Ok(IpAddr::V6(address)) => ClientId::Ipv6(address),
        Err(_) => ClientId::Domain(own.to_owned()),
    };
    let mut failed = "the name leads nowhere".to_owned();
    // What was looked at is what is connected to.
    for address in found {
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
            .port(address.port())
            .tls(tls.clone())
            .hello_name(hello.clone())
            .timeout(Some(CONNECT));
        if let Some(sign_in) = &sign_in {
            transport = transport.credentials(sign_in.clone());
        }
        match transport.build().send(mail.clone()).await {
            Ok(_) => return Ok(()),
            Err(e) if e.status().is_some() => {
                return Err(format!("{place} refuses: {}", one_line(&e.to_string(), LONGEST_WORDS)));
            }
            Err(e) => failed = deepest(&e),
        }
    }
    Err(unreachable(&failed))
}

/// Looks names up, and gives only addresses that messages may go to. What is given is what is connected to.
struct Guarded(Arc<ImportRules>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            if let Some(address) = found.iter().map(SocketAddr::ip).find(|ip| !rules.admit(*ip)) {
                return Err(refused(host, address).into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn refused(host: &str, address: IpAddr) -> String {
    let is = match host.parse::<IpAddr>() {
        Ok(_) => format!("{address} is an internal address"),
        Err(_) => format!("'{host}' is the internal address {address}"),
    };
    format!("{is}, which the operator does not allow")
}

/// The address in a URL that has no name.
fn number(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// The machine and the port of an address: the rest of it may hold a secret.
fn place(url: &str) -> String {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or("the receiver");
    let port = url.as_ref().and_then(Url::port_or_known_default);
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// What is behind an error: the outer ones only say that something failed, and where.
fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        return if error.is_timeout() { "it took too long" } else { "the connection broke off" }.to_owned();
    }
    let text = error.to_string();
    // What the library says of one who answers in plain words.
    let text = if text.contains("InvalidContentType") { "it does not speak TLS at this port" } else { &text };
    one_line(text, LONGEST_WORDS)
}

#[cfg(test)]
mod tests {
    use domain::Uuid;
    use serde_json::Value;

    use super::*;

    #[test]
    fn messages_are_signed_as_the_standard_says() {
        // The example of the specification's own libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let body = r#"{"test": 2432232314}"#;
        let signed = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(new_secret().len(), SECRET.len() + 44);
    }

    #[test]
    fn a_letter_has_what_a_letter_must_have_and_nothing_that_a_name_slips_in() {
        let notice = Notice {
            id: Uuid::from_u128(7),
            kind: "task.failed",
            at: Timestamp::UNIX_EPOCH,
            data: Value::Null,
            subject: format!("[backstay] failed: backup of {}", one_line("web\r\nBcc: eve@example.com \u{e4}", 80)),
            text: "failed: backup of web-\u{e4}\n".into(),
        };
        let to = ["ada@example.com".to_owned(), "bob@example.com".to_owned()];
        let mail = mail(&notice, "backstay@example.com", &to, "backup.example", Timestamp::UNIX_EPOCH);
        let text = String::from_utf8(mail.expect("a letter").formatted()).expect("UTF-8");
        for line in [
            "From: Backstay <backstay@example.com>",
            "To: ada@example.com, bob@example.com",
            "Date: Thu, 01 Jan 1970 00:00:00 +0000",
            "Message-ID: <00000000000000000000000000000007@backup.example>",
            "Auto-Submitted: auto-generated",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(!text.lines().any(|l| l.starts_with("Bcc")), "{text}");
    }

    #[test]
    fn what_may_be_secret_is_not_in_the_place() {
        assert_eq!(place("https://hooks.example/services/T0/secret"), "hooks.example:443");
        assert_eq!(place("smtp://mail.example:2525"), "mail.example:2525");
    }
}
