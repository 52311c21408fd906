//! The agent's side of the link: one session with the server after the other, for as long as the agent lives. What must
//! not be lost when a session breaks lies on the desk.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use domain::Timestamp;
use proto::agent::v1::agent_link_client::AgentLinkClient;
use proto::agent::v1::upload_part::Part;
use proto::agent::v1::{
    Alive, Assign, FromAgent, Hello, Leaving, Reply, ToAgent, UploadBegin, UploadPart, from_agent, stop, to_agent,
};
use proto::agent::{MAX_MESSAGE, time_of};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::certificate::{CertificateRequest, OwnCertificate};
use crate::child::Program;
use crate::desk::Desk;
use crate::engine::RawPath;
use crate::handover::{self, Handover};
use crate::host::{self, Host};
use crate::journal::Journal;
use crate::{listing, places, runner};

/// How long the server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long all may take until there is a session to ask for, TLS included.
const GREETING: Duration = Duration::from_secs(30);
/// How often the connection is probed, and how long the other side may take to answer.
const PROBE_EVERY: Duration = Duration::from_secs(20);
const PROBE_ANSWER: Duration = Duration::from_secs(10);
/// How often the server hears of us at least. It takes us for gone after four times as long.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// How long tasks may take to be given back when the agent ends: stopping takes less than five seconds.
const LEAVE: Duration = Duration::from_secs(8);
/// How many messages to the server may wait for the network. Few: what waits on the desk can still be replaced by
/// something newer.
const OUTBOX: usize = 8;
/// How long to wait before asking once more for a certificate that was not given.
const ASK_AGAIN: Duration = Duration::from_secs(3600);
/// How many questions about repositories are answered at a time; each is a process.
const LISTINGS: usize = 4;

/// What an agent needs to know.
#[derive(Clone)]
pub struct AgentConfig {
    /// Where the server is: `https://HOST:PORT`, or `http://` on the same machine.
    pub url: String,
    /// The authority that signed the server's certificate, as PEM; needed for `https`.
    pub ca_pem: Option<String>,
    /// The agent's token.
    pub token: String,
    /// The file where its certificate and key lie: it asks the server for one where there is none, and for the next in time.
    /// None = it goes without, which the server lets it as long as it had none.
    pub certificate: Option<PathBuf>,
    /// The folder in which it notes what must outlive a crash; none = nothing does.
    pub journal: Option<PathBuf>,
    /// The name under which the agent is shown: the host's.
    pub name: String,
    /// How many tasks are carried out at once.
    pub slots: u32,
    /// How to start a child process.
    pub program: Program,
    /// What is known and set about the machine.
    pub host: Host,
    /// How long to wait before connecting again.
    pub retry: Retry,
}

/// How long to wait before connecting again: twice as long after each failure, and a part of it at random, so that a
/// thousand agents do not come back in the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { first: Duration::from_millis(500), longest: Duration::from_secs(30) }
    }
}

impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token.
        let mut config = f.debug_struct("AgentConfig");
        config.field("url", &self.url).field("name", &self.name).field("slots", &self.slots);
        config.field("program", &self.program).finish_non_exhaustive()
    }
}

/// Runs the agent until `shutdown`. Then its tasks are stopped and given back to the server.
///
/// # Errors
/// When the configuration cannot be used, or the server refuses the agent for good: its token is not valid.
pub async fn run(config: AgentConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    // What can be told to be wrong before anything is tried.
    endpoint(&config)?;
    let authorization = authorization(&config)?;
    if let Some(spool) = &config.host.spool {
        handover::clean(spool);
    }
    let journal = Journal::in_folder(config.journal.clone());
    let unreported = journal.recover().await;
    let desk = Arc::new(Desk::new(journal));
    unreported.into_iter().for_each(|task| desk.left_over(task));
    let mut link = Link { config, authorization, desk: desk.clone(), runners: JoinSet::new(), welcomed: false };
    let leaving = async {
        shutdown.cancelled().await;
        desk.leave();
        if timeout(LEAVE, desk.clear()).await.is_err() {
            tracing::warn!("not every task could be given back; the server will find out by itself");
        }
    };
    let outcome = tokio::select! {
        () = leaving => Ok(()),
        refused = link.keep() => Err(refused),
    };
    desk.void_all();
    // Dropped runners kill their children.
    link.runners.shutdown().await;
    outcome
}

/// Asks the server whether it would let this agent in, without a session: one that there is goes on.
///
/// # Errors
/// Why not, in words for people.
pub async fn knock(config: &AgentConfig) -> Result<(), String> {
    let authorization = authorization(config).map_err(|e| format!("{e:#}"))?;
    let endpoint = endpoint(config).map_err(|e| format!("{e:#}"))?;
    let channel = timeout(GREETING, endpoint.connect()).await.map_err(|_| "the server says nothing".to_owned())?;
    let mut client = AgentLinkClient::new(channel.map_err(|e| advised(causes(&e)))?);
    // Nobody has a task with this number: who is let in is told so.
    let part = Part::Begin(UploadBegin { task: 0, lease: String::new(), size: 0 });
    let mut request = Request::new(tokio_stream::once(UploadPart { part: Some(part) }));
    request.metadata_mut().insert("authorization", authorization);
    match timeout(GREETING, client.upload(request)).await {
        Ok(Err(status)) if status.code() == Code::FailedPrecondition => Ok(()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Ok(Ok(_)) | Err(_) => Err("the server does not answer as a server does".to_owned()),
    }
}

fn authorization(config: &AgentConfig) -> anyhow::Result<MetadataValue<Ascii>> {
    let bearer = format!("Bearer {}", config.token);
    let mut authorization: MetadataValue<Ascii> =
        bearer.parse().ok().context("the agent's token holds characters that no token has")?;
    authorization.set_sensitive(true);
    Ok(authorization)
}

fn endpoint(config: &AgentConfig) -> anyhow::Result<Endpoint> {
    let url = &config.url;
    let endpoint = Endpoint::from_shared(url.clone()).with_context(|| format!("'{url}' is no address of a server"))?;
    let endpoint = endpoint
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PROBE_EVERY)
        .keep_alive_timeout(PROBE_ANSWER)
        .keep_alive_while_idle(true);
    match (endpoint.uri().scheme_str(), &config.ca_pem) {
        (Some("http"), _) => Ok(endpoint),
        (Some("https"), Some(pem)) => {
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            if let Some(own) = own_certificate(config)? {
                tls = tls.identity(Identity::from_pem(own.certificate, own.key));
            }
            endpoint.tls_config(tls).context("the server's authority cannot be used")
        }
        (Some("https"), None) => bail!("a server at '{url}' needs the certificate of its authority (ca.pem)"),
        _ => bail!("'{url}' is no address of a server; it begins with https:// or http://"),
    }
}

/// Why a session ended.
enum End {
    /// The server could not be reached, or the connection broke.
    Lost(String),
    /// Another process uses the same token.
    Displaced(String),
    /// The server will never have us.
    Refused(String),
}

impl From<Status> for End {
    fn from(status: Status) -> End {
        let message = status.message().to_owned();
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => End::Refused(message),
            Code::Aborted => End::Displaced(message),
            code => End::Lost(if message.is_empty() { code.to_string() } else { message }),
        }
    }
}

struct Link {
    config: AgentConfig,
    authorization: MetadataValue<Ascii>,
    desk: Arc<Desk>,
    runners: JoinSet<()>,
    /// Whether the latest session got as far as Welcome.
    welcomed: bool,
}

impl Link {
    /// One session after the other, until the server refuses the agent for good.
    async fn keep(&mut self) -> anyhow::Error {
        let Retry { first, longest } = self.config.retry;
        let mut wait = first;
        loop {
            self.welcomed = false;
            let end = self.session().await;
            self.desk.disconnected();
            if self.welcomed {
                wait = first;
            }
            let reason = match end {
                End::Lost(reason) => reason,
                End::Displaced(reason) => {
                    wait = longest;
                    reason
                }
                End::Refused(reason) => return anyhow::anyhow!("the server refused this agent: {reason}"),
            };
            let pause = with_jitter(wait);
            tracing::warn!(server = %self.config.url, reason, retry_in_ms = pause.as_millis() as u64, "no link to the server");
            sleep(pause).await;
            wait = (wait * 2).min(longest);
        }
    }

    async fn session(&mut self) -> End {
        match self.try_session().await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn try_session(&mut self) -> Result<End, End> {
        // Made anew each time: with the certificate as it is now, and the name looked up anew.
        let endpoint = endpoint(&self.config).map_err(|e| End::Lost(format!("{e:#}")))?;
        let channel = timeout(GREETING, endpoint.connect()).await;
        let channel = channel.map_err(|_| End::Lost("the server accepts a connection and says nothing".to_owned()))?;
        let channel = channel.map_err(|e| End::Lost(advised(causes(&e))))?;
        let mut client =
            AgentLinkClient::new(channel).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE);

        let (out, messages) = mpsc::channel::<FromAgent>(OUTBOX);
        // Said before the first task is given back, or the server would hand it to us again.
        let mut leaving = self.desk.is_leaving();
        let hello = Hello {
            name: self.config.name.clone(),
            os: host::os(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: if leaving { 0 } else { self.config.slots },
            running: self.desk.begin_session(),
            time_zone: host::time_zone().unwrap_or_default(),
            system: std::env::consts::OS.to_owned(),
            rescue: self.config.host.rescue.is_some(),
            instance_id: self.config.host.instance_id.clone().unwrap_or_default(),
            virtual_machine: host::is_virtual(),
            restore_roots: self
                .config
                .host
                .restore_roots
                .iter()
                .map(|r| RawPath::from(r.as_path()).to_string())
                .collect(),
        };
        // It is empty, so there is a place.
        out.try_send(from_agent::Message::Hello(hello).into()).map_err(|_| closed())?;
        let mut request = Request::new(ReceiverStream::new(messages));
        request.metadata_mut().insert("authorization", self.authorization.clone());
        let mut incoming = client.session(request).await?.into_inner();

        let mut answers = VecDeque::new();
        // Ends with the session: nobody waits for the answers after it.
        let mut listings: JoinSet<Reply> = JoinSet::new();
        let room = Arc::new(Semaphore::new(LISTINGS));
        let mut alive = interval_at(Instant::now() + ALIVE_EVERY, ALIVE_EVERY);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let desk = self.desk.clone();
        let mut wish = Wish::default();
        loop {
            // First a place, then the report: what is still on the desk can be replaced by something newer. Nothing here
            // waits for a place without listening too.
            let place = async {
                if answers.is_empty() {
                    desk.unsent(leaving).await;
                }
                out.reserve().await
            };
            tokio::select! {
                place = place, if self.welcomed => {
                    let place = place.map_err(|_| closed())?;
                    if !leaving && desk.is_leaving() {
                        leaving = true;
                        place.send(from_agent::Message::Leaving(Leaving {}).into());
                    } else if let Some(reply) = answers.pop_front() {
                        place.send(from_agent::Message::Reply(reply).into());
                    } else if let Some(report) = desk.next() {
                        place.send(from_agent::Message::Report(report).into());
                    }
                }
                message = incoming.message() => {
                    let Some(ToAgent { message }) = message? else { return Ok(closed()) };
                    match message {
                        Some(to_agent::Message::Welcome(welcome)) => {
                            tracing::info!(server = %self.config.url, agent_id = welcome.agent_id, "connected");
                            for lease in &welcome.void {
                                desk.void(lease);
                            }
                            desk.welcomed();
                            self.welcomed = true;
                            wish.ask_in_time(&self.config, &out);
                        }
                        Some(to_agent::Message::Assign(assign)) => self.begin(assign, &endpoint),
                        Some(to_agent::Message::Certificate(answer)) => wish.answered(&self.config, answer),
                        Some(to_agent::Message::Stop(order)) => match order.reason() {
                            stop::Reason::Cancel => desk.cancel(&order.lease),
                            stop::Reason::Void | stop::Reason::Unspecified => desk.void(&order.lease),
                        },
                        Some(to_agent::Message::Ack(ack)) => desk.acknowledged(&ack),
                        Some(to_agent::Message::ListFiles(question)) => {
                            let (program, room) = (self.config.program.clone(), room.clone());
                            listings.spawn(async move {
                                // The semaphore is never closed.
                                let _room = room.acquire().await;
                                listing::list(&program, question).await
                            });
                        }
                        Some(to_agent::Message::TestRepository(question)) => {
                            let (program, room) = (self.config.program.clone(), room.clone());
                            listings.spawn(async move {
                                let _room = room.acquire().await;
                                listing::test(&program, question).await
                            });
                        }
                        // Not among the listings: somebody waits, and each is a matter of moments.
                        Some(to_agent::Message::ListDirectory(question)) => {
                            listings.spawn(async move { places::list(question).await });
                        }
                        Some(to_agent::Message::CreateDirectory(question)) => {
                            listings.spawn(async move { places::create(question).await });
                        }
                        // Of a newer server, which will not count on it.
                        None => {}
                    }
                }
                // One that was lost to a fault leaves the asker to the server's patience.
                Some(listed) = listings.join_next() => answers.extend(listed.ok()),
                _ = alive.tick() => {
                    // If there is no place, the server has enough to hear.
                    let _ = out.try_send(from_agent::Message::Alive(Alive {}).into());
                    if self.welcomed {
                        wish.ask_in_time(&self.config, &out);
                    }
                }
            }
        }
    }

    fn begin(&mut self, assign: Assign, endpoint: &Endpoint) {
        while let Some(ended) = self.runners.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "the work on a task ended in a fault of the agent");
            }
        }
        if let Some(orders) = self.desk.take_on(&assign) {
            tracing::info!(task = assign.task, kind = assign.r#type, "task begins");
            // Of the highest level, so that lines of the task have it whatever is logged.
            let span = tracing::error_span!("task", task = assign.task, uuid = assign.uuid);
            let run = runner::run(
                self.desk.clone(),
                self.config.program.clone(),
                self.config.host.clone(),
                Handover { endpoint: endpoint.clone(), authorization: self.authorization.clone() },
                assign,
                orders,
            );
            self.runners.spawn(run.instrument(span));
        }
    }
}

/// A certificate that is wished for.
#[derive(Default)]
struct Wish {
    request: Option<CertificateRequest>,
    asked_at: Option<Instant>,
}

impl Wish {
    /// Asks for a certificate if there is none or it is old, but not too often.
    fn ask_in_time(&mut self, config: &AgentConfig, out: &mpsc::Sender<FromAgent>) {
        // The key would be shown to nobody over plain HTTP.
        if config.certificate.is_none()
            || config.ca_pem.is_none()
            || self.asked_at.is_some_and(|t| t.elapsed() < ASK_AGAIN)
        {
            return;
        }
        let due = match own_certificate(config) {
            Ok(own) => own.is_none_or(|own| own.is_due(Timestamp::now())),
            Err(error) => return tracing::warn!(error = format!("{error:#}"), "the agent's certificate is of no use"),
        };
        if !due {
            return;
        }
        match CertificateRequest::new() {
            Ok(request) => {
                let message = proto::agent::v1::CertificateRequest { csr_pem: request.csr().to_owned() };
                // If there is no place, the next sign of life asks.
                if out.try_send(from_agent::Message::CertificateRequest(message).into()).is_ok() {
                    (self.request, self.asked_at) = (Some(request), Some(Instant::now()));
                }
            }
            Err(error) => tracing::warn!(error = format!("{error:#}"), "no certificate can be asked for"),
        }
    }

    /// Keeps the certificate that was asked for; it is shown from the next connection on.
    fn answered(&mut self, config: &AgentConfig, answer: proto::agent::v1::Certificate) {
        let (Some(request), Some(file)) = (self.request.take(), &config.certificate) else { return };
        if answer.pem.is_empty() {
            return tracing::warn!(reason = answer.refusal, "the server gives no certificate");
        }
        let own = request.answered(answer.pem, time_of(answer.issued_at_ns), time_of(answer.expires_at_ns));
        match own.write(file) {
            Ok(()) => tracing::info!(expires_at = %own.expires_at, "the agent has a new certificate"),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the new certificate cannot be kept"),
        }
    }
}

fn own_certificate(config: &AgentConfig) -> anyhow::Result<Option<OwnCertificate>> {
    config.certificate.as_deref().map_or(Ok(None), OwnCertificate::read)
}

/// What a connection failed of, with what to do about it where that is known.
fn advised(reason: String) -> String {
    let advice = if reason.contains("certificate expired") {
        "the server renews its certificate by itself: look at its log, and compare the clocks of both machines"
    } else if reason.contains("certificate not valid yet") {
        "compare the clocks of both machines"
    } else if reason.contains("UnknownIssuer") || reason.contains("BadSignature") {
        "the server has another authority than when this machine joined: if it was set up anew, let the machine join anew \
         (`backstay agent enroll` prints the line for it)"
    } else if reason.contains("not valid for name") || reason.contains("NotValidForName") {
        "start the server with --public and the name that agents use"
    } else {
        return reason;
    };
    format!("{reason}; {advice}")
}

fn closed() -> End {
    End::Lost("the server closed the link".to_owned())
}

/// An error with its causes: transport errors say nothing by themselves.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        words = format!("{words}: {cause}");
        next = cause.source();
    }
    words
}

/// Between half and all of it.
fn with_jitter(wait: Duration) -> Duration {
    // A random uuid is at hand, and good enough for this.
    let random = (Uuid::new_v4().as_u128() % 1000) as u32;
    wait / 2 + wait / 2 * random / 1000
}
