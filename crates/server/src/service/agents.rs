//! What agents do: connect, take tasks, report. Each call after the first takes an [`AgentIdentity`] the way calls of
//! people take a `Caller`. No transport here: `crate::agents` brings the messages over.

mod claim;
mod complete;
mod needs;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use domain::activity::{ActivityEvent, ActivityRef, ActivitySpec};
use domain::agent::{AGENT_QUEUE, Agent, is_agent_queue};
use domain::error::Kind;
use domain::query::{Filter, MAX_LIMIT, Pattern, Query, TaskField, Test, Value};
use domain::task::{
    Effect, Event, Executor, LeaseToken, Outcome, OutcomeCode, Progress, State, Task, TaskError, TaskId, TaskRef,
};
use domain::tenant::{MAX_NAME, check_name};
use domain::token::Token;
use domain::work::ForgetDone;
use domain::{Code, Error, Result, Scope, Uuid};
use ledger::{Committed, Expect, Stored, Write, Written};
use serde_json::json;
use tokio::sync::mpsc;

use self::needs::Needs;
use super::{Command, RepositoryAccess, Service};
use crate::authority::ClientCertificate;
use crate::secrets::random_secret;

/// What an agent says of itself when it connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentHello {
    /// The host's name.
    pub name: String,
    /// Operating system and architecture.
    pub os: String,
    /// Its version.
    pub version: String,
    /// The family of its operating system: `linux`, `windows`, `macos`.
    pub system: String,
    /// The IANA name of its machine's time zone.
    pub time_zone: Option<String>,
    /// Whether it was started from rescue media.
    pub rescue: bool,
    /// The id by which its machine wishes to be known.
    pub instance_id: Option<String>,
    /// Whether its machine is a virtual one.
    pub virtual_machine: bool,
    /// The folders below which it restores to places of their own, the usual one first.
    pub restore_roots: Vec<String>,
    /// The tasks it has in its hands, also those whose end was not acknowledged yet.
    pub running: Vec<Held>,
    /// The certificate that it showed.
    pub certificate: Option<ClientCertificate>,
}

/// A task in an agent's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The task.
    pub task: TaskId,
    /// The lease.
    pub lease: LeaseToken,
}

/// An agent whose token was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentIdentity {
    id: Uuid,
    token: Uuid,
    cluster_id: String,
    scope: Scope,
}

impl AgentIdentity {
    /// The agent's identity; also the `executor.id` of its tasks.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    fn executor(&self) -> Executor {
        Executor { id: self.id.to_string().into(), cluster_id: self.cluster_id.as_str().into() }
    }

    /// A lease that tells whose it is, so that a void one finds its way to the agent after the task has left it.
    fn new_lease(&self) -> LeaseToken {
        LeaseToken(format!("{}.{}", self.id, random_secret()))
    }
}

/// Whose lease it is, if it is one of our agents'.
fn holder(lease: &LeaseToken) -> Option<Uuid> {
    lease.0.split_once('.').and_then(|(agent, _)| Uuid::parse_str(agent).ok())
}

/// An agent that is connected now.
#[derive(Debug)]
pub struct Connected {
    /// Who it is.
    pub agent: AgentIdentity,
    /// The number to give back to [`Service::agent_gone`].
    pub session: u64,
    /// What it is told. Ends when a newer session of the same agent takes its place.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// Leases it believes to have and has not.
    pub void: Vec<LeaseToken>,
    /// Tasks that were handed to it and never arrived there.
    pub again: Vec<Assigned>,
}

/// A task for an agent, with what it needs beside the task.
#[derive(Debug, Clone, PartialEq)]
pub struct Assigned {
    /// The task.
    pub task: Task,
    /// The lease it is given under.
    pub lease: LeaseToken,
    /// What to do: the task's argument, with what it only refers to.
    pub argument: serde_json::Value,
    /// Where the backups lie.
    pub repository: RepositoryAccess,
    /// Whether the repository may be made if it is not there.
    pub create_repository: bool,
}

/// What an agent reports on a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Which.
    pub task: TaskId,
    /// The lease it has on it.
    pub lease: LeaseToken,
    /// What happened.
    pub event: ReportEvent,
}

/// What happened to a task or to one of its steps.
#[derive(Debug, Clone, PartialEq)]
pub enum ReportEvent {
    /// The work has begun.
    Started,
    /// The work goes on.
    Heartbeat,
    /// How far it is.
    Progress(Progress),
    /// The work is over.
    Completed {
        /// How it ended.
        outcome: Outcome,
        /// The last word on how far it came.
        progress: Option<Progress>,
    },
    /// The work is given up.
    Abandoned {
        /// Why, in a sentence.
        reason: String,
    },
    /// A step has begun.
    ActivityCreated(ActivitySpec),
    /// How far a step is.
    ActivityProgress {
        /// Which step.
        activity: Uuid,
        /// How far.
        progress: Progress,
    },
    /// A step is over.
    ActivityCompleted {
        /// Which step.
        activity: Uuid,
        /// How it ended.
        outcome: Outcome,
        /// The last word on how far it came.
        progress: Option<Progress>,
    },
}

impl ReportEvent {
    /// Whether the agent is done with the task after it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, ReportEvent::Completed { .. } | ReportEvent::Abandoned { .. })
    }

    fn is_about_a_step(&self) -> bool {
        matches!(
            self,
            ReportEvent::ActivityCreated(_)
                | ReportEvent::ActivityProgress { .. }
                | ReportEvent::ActivityCompleted { .. }
        )
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// It is durable, or it is progress, which may lose its last second.
    Durable {
        /// Whether somebody wants the task cancelled.
        cancel_requested: bool,
    },
    /// The work is no longer the agent's: it must stop, and report nothing more of it.
    Void,
}

/// So many restore roots of an agent are kept.
const MAX_ROOTS: usize = 100;

/// How often a commit is tried anew when somebody else came between.
pub(super) const ATTEMPTS: usize = 10;

impl Service {
    /// Lets an agent in: its record is made or brought up to date, it can be told things from now on, and what it has in
    /// its hands is compared with what the ledger says. A task that it no longer has is given up for it; one that it was
    /// given and that never arrived is given to it again under the same lease, which costs no attempt.
    ///
    /// # Errors
    /// `unauthenticated`, `invalid_field`, and those of the ledger.
    pub async fn agent_connected(&self, secret: &str, hello: AgentHello) -> Result<Connected> {
        let token = self.agent_token(secret, hello.certificate).await?;
        let tenant = self.tenant_of_token(token.tenant).await?;
        let scope = Scope::subtree(&tenant);
        let record = self.register(&token, &scope, &hello).await?;
        self.bind(&token, &record, hello.certificate).await?;
        let cluster_id = record.cluster_id.clone();
        let agent = AgentIdentity { id: record.id, token: token.id, cluster_id, scope };
        // From here on it hears of cancellations; whatever happened before is seen in the comparison.
        let (session, commands) = self.hub.join(agent.id);
        let begun = async {
            // Whoever revoked it before it joined found no session to end.
            self.check_token(&agent).await?;
            let compared = self.compare(&agent, &hello.running).await?;
            self.complete_registration(&token, &record).await?;
            Ok(compared)
        };
        match begun.await {
            Ok((void, again)) => Ok(Connected { agent, session, commands, void, again }),
            Err(error) => {
                self.hub.leave(agent.id, session);
                Err(error)
            }
        }
    }

    /// Notes that an agent's session is over.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn agent_gone(&self, agent: &AgentIdentity, session: u64) -> Result<()> {
        self.hub.leave(agent.id, session);
        let now = self.moment().now;
        self.note::<Agent>(&agent.scope, agent.id, |a| {
            a.last_seen_at = Some(now);
            Ok(())
        })
        .await
        .map(|_| ())
    }

    async fn register(&self, token: &Token, scope: &Scope, hello: &AgentHello) -> Result<Agent> {
        check_name("name", &hello.name)?;
        let mut attempts = 0..ATTEMPTS;
        loop {
            let moment = self.moment();
            let found = self.ledger.find::<Agent>(scope, &token.id.to_string()).await?;
            let (mut agent, expect) = match found {
                Some(Stored { rev, value }) => (value, Expect::Rev(rev)),
                None => {
                    let agent = Agent {
                        id: token.certified.unwrap_or_else(Uuid::now_v7),
                        tenant: token.tenant,
                        cluster_id: String::new(),
                        name: String::new(),
                        os: String::new(),
                        system: String::new(),
                        time_zone: None,
                        rescue: false,
                        version: String::new(),
                        restore_roots: Vec::new(),
                        queues: vec![AGENT_QUEUE.to_owned()],
                        last_seen_at: None,
                        token: token.id,
                        certificate: None,
                        revoked_at: None,
                        created_at: moment.now,
                        updated_at: moment.now,
                    };
                    (agent, Expect::New)
                }
            };
            agent.name.clone_from(&hello.name);
            agent.os = hello.os.chars().take(MAX_NAME).collect();
            agent.version = hello.version.chars().take(MAX_NAME).collect();
            agent.system = hello.system.chars().take(MAX_NAME).collect();
            // A zone that nobody knows would stop the schedules that follow it.
            agent.time_zone = hello.time_zone.clone().filter(|zone| jiff::tz::TimeZone::get(zone).is_ok());
            agent.rescue = hello.rescue;
            agent.restore_roots = hello.restore_roots.iter().take(MAX_ROOTS).cloned().collect();
            agent.last_seen_at = Some(moment.now);
            agent.certificate = hello.certificate.map(|shown| shown.dates);
            let write = Write::Put(Box::new(agent.clone().into()), expect);
            match self.ledger.commit(scope, moment, vec![write]).await {
                Ok(_) => return Ok(agent),
                Err(e) if came_between(&e) && attempts.next().is_some() => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The leases that are void, and the tasks that never arrived.
    async fn compare(&self, agent: &AgentIdentity, running: &[Held]) -> Result<(Vec<LeaseToken>, Vec<Assigned>)> {
        let held: HashSet<&LeaseToken> = running.iter().map(|h| &h.lease).collect();
        let mut current = HashSet::new();
        let mut again = Vec::new();
        for task in self.open_tasks_of(agent).await? {
            let Some(lease) = task.lease().cloned() else { continue };
            if held.contains(&lease) {
                current.insert(lease);
            } else if task.state() == State::Assigned {
                again.extend(self.assigned(agent, task).await?);
            } else {
                let reason = "it was started again and no longer has the task.".to_owned();
                match self.event(agent, task.id, Event::Abandon { lease, reason }).await {
                    // Somebody else changed it just now.
                    Err(e) if matches!(e.code, Code::LeaseLost | Code::AlreadyCompleted | Code::NotFound) => {}
                    other => other.map(|_| ())?,
                }
            }
        }
        let void = running.iter().filter(|h| !current.contains(&h.lease)).map(|h| h.lease.clone()).collect();
        Ok((void, again))
    }

    async fn open_tasks_of(&self, agent: &AgentIdentity) -> Result<Vec<Task>> {
        let open = [State::Assigned, State::Started, State::Paused];
        let open = open.iter().map(|s| Pattern::Is(Value::Enum(s.ordinal()))).collect();
        let filter = Filter::all()
            .is(TaskField::ExecutorId, Value::Text(agent.id.to_string()))?
            .and(TaskField::State, Test::AnyOf(open))?;
        // An agent has as many tasks as it has slots, so one page is all of them.
        Ok(self.ledger.tasks(&agent.scope, &Query::newest(filter, MAX_LIMIT)).await?.items)
    }

    /// The task with what its agent needs, or nothing when it cannot be carried out and was completed for that.
    async fn assigned(&self, agent: &AgentIdentity, task: Task) -> Result<Option<Assigned>> {
        let Some(lease) = task.lease().cloned() else { return Ok(None) };
        if self.is_outdated(&task).await? {
            let outcome = Outcome { payload: json!(ForgetDone::default()), ..Outcome::of(OutcomeCode::Ok) };
            self.event(agent, task.id, Event::Complete { lease, outcome, progress: None }).await?;
            return Ok(None);
        }
        match self.needs(&task).await {
            Ok(Needs { repository, create_repository, argument }) => {
                Ok(Some(Assigned { task, lease, argument, repository, create_repository }))
            }
            Err(e) if passing(&e) => Err(e),
            Err(error) => {
                let message = match error.hint {
                    Some(hint) => format!("{}; {hint}.", error.message),
                    None => format!("{}.", error.message),
                };
                let outcome = Outcome {
                    error: Some(TaskError::server(error.code.name(), message)),
                    ..Outcome::of(OutcomeCode::Error)
                };
                self.event(agent, task.id, Event::Complete { lease, outcome, progress: None }).await?;
                Ok(None)
            }
        }
    }

    /// Carries out what an agent reports. The same report again, because its answer was lost, is answered like the first.
    ///
    /// # Errors
    /// Those of the domain for a report that does not fit, and those of the ledger.
    pub async fn report(&self, agent: &AgentIdentity, report: Report) -> Result<Reported> {
        let Report { task, lease, event } = report;
        let about_a_step = event.is_about_a_step();
        let done = match event {
            ReportEvent::Started => self.event(agent, task, Event::Start { lease }).await,
            ReportEvent::Heartbeat => self.event(agent, task, Event::Heartbeat { lease }).await,
            ReportEvent::Progress(progress) => self.event(agent, task, Event::Report { lease, progress }).await,
            ReportEvent::Abandoned { reason } => self.event(agent, task, Event::Abandon { lease, reason }).await,
            ReportEvent::Completed { outcome, progress } => self.complete(agent, task, lease, outcome, progress).await,
            ReportEvent::ActivityCreated(spec) => {
                let task = TaskRef::Id(task);
                self.write(agent, vec![Write::CreateActivity { task, lease, spec: Box::new(spec), start: true }]).await
            }
            ReportEvent::ActivityProgress { activity, progress } => {
                let (activity, event) = (ActivityRef::Uuid(activity), ActivityEvent::Report(progress));
                self.write(agent, vec![Write::Activity { activity, lease, event }]).await
            }
            ReportEvent::ActivityCompleted { activity, outcome, progress } => {
                let (activity, event) = (ActivityRef::Uuid(activity), ActivityEvent::Complete(outcome, progress));
                self.write(agent, vec![Write::Activity { activity, lease, event }]).await
            }
        };
        match done {
            Ok(committed) => Ok(Reported::Durable { cancel_requested: cancel_requested(&committed) }),
            Err(e) if e.code == Code::LeaseLost => Ok(Reported::Void),
            // Of a step it means that the step is over; of the task, that the task is.
            Err(e) if !about_a_step && matches!(e.code, Code::AlreadyCompleted | Code::NotFound) => Ok(Reported::Void),
            Err(e) => Err(e),
        }
    }

    /// Tells agents and waiting consumers what a commit means for them. To be called after every commit that changes tasks.
    pub(crate) fn deliver(&self, committed: &Committed) {
        for (task, effect) in &committed.effects {
            let (lease, command): (_, fn(TaskId, LeaseToken) -> Command) = match effect {
                Effect::StopRequested(lease) => (lease, |task, lease| Command::Stop { task, lease }),
                Effect::LeaseVoid(lease) => (lease, |task, lease| Command::Void { task, lease }),
                Effect::OpenRoot
                | Effect::ReturnActivities { .. }
                | Effect::CloseActivities
                | Effect::StampActivities => continue,
            };
            if let Some(agent) = holder(lease) {
                self.hub.tell(agent, command(*task, lease.clone()));
            }
        }
        self.queues.announce(committed);
        self.hear_of_ends(committed);
        let waiting = committed.written.iter().filter_map(|w| match w {
            Written::Task { task, changed: true } if waits_for_agent(task) => Some(task),
            _ => None,
        });
        for task in waiting {
            match task.spec.affinity.agent.as_deref().and_then(|a| Uuid::parse_str(a).ok()) {
                Some(agent) => self.hub.tell(agent, Command::Wake),
                None => return self.hub.wake_all(),
            }
        }
    }

    pub(super) async fn event(&self, agent: &AgentIdentity, task: TaskId, event: Event) -> Result<Committed> {
        self.write(agent, vec![Write::Task(TaskRef::Id(task), event)]).await
    }

    pub(super) async fn write(&self, agent: &AgentIdentity, writes: Vec<Write>) -> Result<Committed> {
        self.write_in(&agent.scope, writes).await
    }

    /// As `write`, also about what lies outside the agent's scope.
    pub(super) async fn write_in(&self, scope: &Scope, writes: Vec<Write>) -> Result<Committed> {
        let committed = self.hear(scope, self.moment(), writes).await?;
        self.deliver(&committed);
        Ok(committed)
    }
}

fn waits_for_agent(task: &Task) -> bool {
    task.state() == State::Enqueued && is_agent_queue(&task.spec.queue)
}

fn cancel_requested(committed: &Committed) -> bool {
    committed.written.iter().any(|w| match w {
        Written::Task { task, .. } => task.status.cancel_requested,
        Written::Activity(view) => view.task.status.cancel_requested,
        _ => false,
    })
}

/// Whether the same may go well in a while, without anybody changing anything about it.
#[must_use]
pub fn passing(error: &Error) -> bool {
    matches!(error.code.kind(), Kind::Unavailable | Kind::StorageFull)
}

/// Whether somebody else's commit came between reading and writing.
pub(super) fn came_between(error: &Error) -> bool {
    matches!(error.code, Code::RevisionConflict | Code::AlreadyExists)
}
