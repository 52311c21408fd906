//! One agent's session, from its Hello to its end: reports in, one after the other and each answered when it is durable;
//! tasks and commands out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::task::LeaseToken;
use domain::{Code, Error, Result};
use proto::agent::v1::{self, FromAgent, ToAgent, from_agent, reply, stop, to_agent};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::wire;
use crate::authority::ClientCertificate;
use crate::service::{
    AgentHello, AgentIdentity, Assigned, Command, Connected, DirectoryEntry, FileList, RepositoryTest, Service, passing,
};

/// How often a session looks for work though nobody woke it. Waking is the usual way; this one makes up for every way in
/// which a wake-up can be lost.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// After this long without a word the agent is taken for gone: it gives a sign of life every fifteen seconds, and what it holds
/// is lost after thirty, so that nothing is handed to it after that.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a message may wait for an agent that does not read.
const SEND_LIMIT: Duration = Duration::from_secs(30);

type Out = mpsc::Sender<std::result::Result<ToAgent, Status>>;

/// Runs a session to its end. The end is told to the agent as the status of the stream.
pub(super) async fn run(
    service: Arc<Service>,
    (secret, shown): (String, Option<ClientCertificate>),
    mut incoming: Streaming<FromAgent>,
    out: Out,
    shutdown: CancellationToken,
) {
    let first = tokio::select! {
        first = timeout(SILENCE, incoming.message()) => first,
        () = shutdown.cancelled() => return,
    };
    let hello = match first {
        Ok(Ok(Some(FromAgent { message: Some(from_agent::Message::Hello(hello)) }))) => hello,
        Ok(Ok(Some(_))) => return drop(out.send(Err(Status::invalid_argument("an agent says Hello first"))).await),
        _ => return,
    };
    let slots = hello.slots as usize;
    let hello = AgentHello { certificate: shown, ..wire::hello(hello) };
    let held: HashSet<LeaseToken> = hello.running.iter().map(|h| h.lease.clone()).collect();
    let name = hello.name.clone();
    let connected = match service.agent_connected(&secret, hello).await {
        Ok(connected) => connected,
        Err(error) => {
            tracing::warn!(agent = name, %error, "an agent could not connect");
            return drop(out.send(Err(wire::status(&error))).await);
        }
    };
    drop(secret);
    let Connected { agent, session: number, commands, void, again } = connected;
    tracing::info!(agent = name, agent_id = %agent.id(), "agent connected");
    let mut session =
        Session { service: &service, agent: &agent, slots, held, asked: HashMap::new(), questions: 0, out };
    let end = match session.welcome(&void, &again).await {
        Ok(()) => session.serve(incoming, commands, &shutdown).await,
        Err(end) => end,
    };
    match &end {
        End::Gone => tracing::info!(agent = name, agent_id = %agent.id(), "agent disconnected"),
        End::Told(status) => {
            tracing::info!(agent = name, agent_id = %agent.id(), reason = status.message(), "agent session ended");
        }
    }
    if let End::Told(status) = end {
        // An agent that does not read finds the stream ended all the same.
        let _ = session.out.try_send(Err(status));
    }
    drop(session);
    if let Err(error) = service.agent_gone(&agent, number).await {
        tracing::debug!(agent = name, %error, "when the agent was last seen could not be noted");
    }
}

/// Why a session ends.
enum End {
    /// The agent went away.
    Gone,
    /// For a reason that the agent is told.
    Told(Status),
}

impl From<&Error> for End {
    fn from(error: &Error) -> End {
        End::Told(wire::status(error))
    }
}

struct Session<'a> {
    service: &'a Service,
    agent: &'a AgentIdentity,
    slots: usize,
    /// What fills the agent's slots.
    held: HashSet<LeaseToken>,
    /// Questions without an answer yet. Dropped with the session, which tells the askers.
    asked: HashMap<u64, Asker>,
    questions: u64,
    out: Out,
}

/// Who waits for an answer.
enum Asker {
    Files(oneshot::Sender<Result<FileList>>),
    Tested(oneshot::Sender<Result<RepositoryTest>>),
    Directory(oneshot::Sender<Result<Vec<DirectoryEntry>>>),
    Made(oneshot::Sender<Result<()>>),
}

impl Asker {
    /// Hands the answer over. The asker may have gone.
    fn answer(self, answer: Option<reply::Answer>) {
        match self {
            Asker::Files(asker) => drop(asker.send(wire::files(answer))),
            Asker::Tested(asker) => drop(asker.send(wire::tested(answer))),
            Asker::Directory(asker) => drop(asker.send(wire::directory(answer))),
            Asker::Made(asker) => drop(asker.send(wire::made(answer))),
        }
    }

    fn has_gone(&self) -> bool {
        match self {
            Asker::Files(asker) => asker.is_closed(),
            Asker::Tested(asker) => asker.is_closed(),
            Asker::Directory(asker) => asker.is_closed(),
            Asker::Made(asker) => asker.is_closed(),
        }
    }
}

impl Session<'_> {
    async fn welcome(&mut self, void: &[LeaseToken], again: &[Assigned]) -> std::result::Result<(), End> {
        for lease in void {
            self.held.remove(lease);
        }
        let void = void.iter().map(|l| l.0.clone()).collect();
        let agent_id = self.agent.id().to_string();
        self.send(to_agent::Message::Welcome(v1::Welcome { agent_id, void }).into()).await?;
        self.hand_over(again).await
    }

    async fn serve(
        &mut self,
        mut incoming: Streaming<FromAgent>,
        mut commands: mpsc::UnboundedReceiver<Command>,
        shutdown: &CancellationToken,
    ) -> End {
        let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = Box::pin(tokio::time::sleep(SILENCE));
        let mut wanted = true;
        loop {
            // However many wake-ups came together, one look answers them all.
            if wanted && commands.is_empty() {
                wanted = false;
                if let Err(end) = self.look_for_work().await {
                    return end;
                }
            }
            let done = tokio::select! {
                () = shutdown.cancelled() => return End::Told(Status::unavailable("the server is stopping")),
                message = incoming.message() => {
                    silent.as_mut().reset(Instant::now() + SILENCE);
                    match message {
                        Ok(Some(FromAgent { message })) => self.heard(message).await,
                        Ok(None) | Err(_) => return End::Gone,
                    }
                }
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => {
                        return End::Told(Status::aborted(
                            "another session of the same agent took its place; does another machine use the same token?",
                        ));
                    }
                },
                _ = look.tick() => Ok(true),
                () = &mut silent => return End::Told(Status::deadline_exceeded("the agent was silent for too long")),
            };
            match done {
                Ok(freed) => wanted |= freed,
                Err(end) => return end,
            }
        }
    }

    /// Deals with a message. True if there may be work to hand out after it.
    async fn heard(&mut self, message: Option<from_agent::Message>) -> std::result::Result<bool, End> {
        match message {
            Some(from_agent::Message::Report(report)) => self.report(report).await,
            Some(from_agent::Message::Reply(v1::Reply { request_id, answer })) => {
                if let Some(asker) = self.asked.remove(&request_id) {
                    asker.answer(answer);
                }
                Ok(false)
            }
            Some(from_agent::Message::Leaving(v1::Leaving {})) => {
                // What it gives back must not be handed to it again.
                self.slots = 0;
                Ok(false)
            }
            Some(from_agent::Message::CertificateRequest(v1::CertificateRequest { csr_pem })) => {
                let signed = self.service.renew_certificate(self.agent, &csr_pem).await;
                self.send(wire::certificate(signed)).await.map(|()| false)
            }
            // A message of a newer agent is none of our business.
            Some(from_agent::Message::Alive(v1::Alive {})) | None => Ok(false),
            Some(from_agent::Message::Hello(_)) => Err(End::Told(Status::invalid_argument("an agent says Hello once"))),
        }
    }

    async fn report(&mut self, report: v1::Report) -> std::result::Result<bool, End> {
        let seq = report.seq;
        let report = match wire::report(report) {
            Ok(report) => report,
            Err(error) => {
                self.send(wire::refused(seq, Code::InvalidBody, error.to_string())).await?;
                return Ok(false);
            }
        };
        let (task, lease, last) = (report.task, report.lease.clone(), report.event.is_last());
        let (ack, over) = match self.service.report(self.agent, report).await {
            Ok(reported) => (wire::acked(seq, reported), last || reported == crate::service::Reported::Void),
            // Not acknowledged: the agent keeps it and comes back with it.
            Err(error) if passing(&error) => return Err(End::from(&error)),
            Err(error) => {
                tracing::warn!(%task, %error, "a report of an agent was refused");
                (wire::refused(seq, error.code, error.message), last)
            }
        };
        let freed = over && self.held.remove(&lease);
        self.send(ack).await?;
        Ok(freed)
    }

    async fn command(&mut self, command: Command) -> std::result::Result<bool, End> {
        match command {
            Command::Wake => Ok(true),
            Command::Stop { task, lease } => {
                if self.held.contains(&lease) {
                    self.send(wire::stop(task, &lease, stop::Reason::Cancel)).await?;
                }
                Ok(false)
            }
            Command::Void { task, lease } => {
                let had = self.held.remove(&lease);
                if had {
                    self.send(wire::stop(task, &lease, stop::Reason::Void)).await?;
                }
                Ok(had)
            }
            Command::Refused(error) => Err(End::from(&error)),
            Command::ListFiles { request, answer } => {
                let id = self.question(Asker::Files(answer));
                self.send(wire::list_files(id, request)).await.map(|()| false)
            }
            Command::TestRepository { repository, answer } => {
                let id = self.question(Asker::Tested(answer));
                self.send(wire::test_repository(id, &repository)).await.map(|()| false)
            }
            Command::ListDirectory { path, answer } => {
                let id = self.question(Asker::Directory(answer));
                self.send(wire::list_directory(id, path)).await.map(|()| false)
            }
            Command::CreateDirectory { path, answer } => {
                let id = self.question(Asker::Made(answer));
                self.send(wire::create_directory(id, path)).await.map(|()| false)
            }
        }
    }

    /// The number of a new question, whose answer this asker gets.
    fn question(&mut self, asker: Asker) -> u64 {
        self.questions += 1;
        self.asked.retain(|_, asker| !asker.has_gone());
        self.asked.insert(self.questions, asker);
        self.questions
    }

    async fn look_for_work(&mut self) -> std::result::Result<(), End> {
        // Without a free slot nothing is handed out, but whether it is still let in is looked at.
        let free = self.slots.saturating_sub(self.held.len());
        match self.service.claim(self.agent, free).await {
            Ok(assigned) => self.hand_over(&assigned).await,
            Err(error) if error.code == Code::Unauthenticated => Err(End::from(&error)),
            Err(error) => {
                // The session is of use without new work too, and the next look may go better.
                tracing::warn!(agent_id = %self.agent.id(), %error, "no work could be handed out");
                Ok(())
            }
        }
    }

    async fn hand_over(&mut self, assigned: &[Assigned]) -> std::result::Result<(), End> {
        for one in assigned {
            self.held.insert(one.lease.clone());
            self.send(wire::assign(one)).await?;
        }
        Ok(())
    }

    async fn send(&self, message: ToAgent) -> std::result::Result<(), End> {
        match timeout(SEND_LIMIT, self.out.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Told(Status::deadline_exceeded("the agent does not read what it is told"))),
        }
    }
}
