//! Carries one task out: a child process per job, its steps as activities, its end as the task's outcome. Everything is
//! said to the desk; whether a server is connected is of no concern here.

use std::sync::Arc;
use std::time::Duration;

use domain::task::{Outcome, OutcomeCode, Progress, TaskError, TaskSpec};
use domain::work::{BackupDone, BackupWork, MAX_LISTED, RecoveryDone, RecoveryWork, Unread, Work};
use domain::{Timestamp, Uuid};
use proto::agent::v1::{self, Assign, report::Event};
use proto::agent::{json_of, uuid_of};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::child::{Child, Program};
use crate::desk::{Desk, Order};
use crate::engine::{
    BackupJob, EngineError, ErrorCode, Event as EngineEvent, Job, Output, RawPath, RepositorySpec, Request, RestoreJob,
    Step,
};
use crate::meter::{self, Meter};

/// The domain of errors that the agent itself makes.
const DOMAIN: &str = "agent";

/// How long a child may take to end by itself when it is asked to stop.
const GRACE: Duration = Duration::from_secs(3);

/// Carries the task out, to its last report or until its lease is void.
pub(crate) async fn run(desk: Arc<Desk>, program: Program, assign: Assign, orders: watch::Receiver<Order>) {
    let lease = assign.lease.clone();
    desk.report(&lease, Event::Started(v1::Started {}));
    let mut runner = Runner {
        desk: &desk,
        program: &program,
        lease: &lease,
        orders,
        heartbeat: heartbeat(assign.heartbeat_interval_ms),
        meter: Meter::default(),
        step: None,
        unread: Vec::new(),
        warnings: 0,
    };
    let end = match Plan::of(&assign) {
        Ok(plan) => runner.carry_out(plan).await,
        Err(error) => End::Over(Box::new(failed(*error)), None),
    };
    let event = match end {
        End::Over(outcome, progress) => {
            runner.end_step(&outcome);
            completed(&outcome, progress.as_ref())
        }
        End::Cancelled => {
            let outcome = Outcome::of(OutcomeCode::Cancelled);
            runner.end_step(&outcome);
            completed(&outcome, Some(&runner.meter.task()))
        }
        End::Left => Event::Abandoned(v1::Abandoned { reason: "the agent is shutting down.".to_owned() }),
        End::Void => return,
    };
    desk.report(&lease, event);
}

/// What is to be done.
struct Plan {
    request: Request,
    /// Whether the repository may be made if it is not there.
    create: bool,
}

impl Plan {
    fn of(assign: &Assign) -> Result<Plan, Box<TaskError>> {
        let invalid = |why: String| Box::new(agent_error("invalidTask", why));
        let argument = json_of("work", &assign.work_json).map_err(|e| invalid(e.to_string()))?;
        let uuid = uuid_of("uuid", &assign.uuid).map_err(|e| invalid(e.to_string()))?;
        let spec = TaskSpec { argument, ..TaskSpec::new(uuid, &assign.r#type, "", Uuid::nil()) };
        let job = match Work::of(&spec).map_err(|e| invalid(e.message))? {
            Work::Backup(work) => Job::Backup(backup_job(uuid, &assign.host, work)),
            Work::Recovery(work) => Job::Restore(restore_job(work)),
            Work::Verification(_) | Work::Forget(_) => {
                return Err(invalid(format!("this agent does not know tasks of type '{}' yet", assign.r#type)));
            }
        };
        let repository = assign.repository.clone().unwrap_or_default();
        let repository = RepositorySpec { url: repository.url, password: repository.password };
        Ok(Plan { request: Request::new(repository, job), create: assign.create_repository })
    }
}

fn backup_job(task: Uuid, host: &str, work: BackupWork) -> BackupJob {
    BackupJob {
        task,
        host: host.to_owned(),
        paths: paths(&work.paths),
        includes: work.settings.includes,
        excludes: work.settings.excludes,
        ..BackupJob::default()
    }
}

fn restore_job(work: RecoveryWork) -> RestoreJob {
    RestoreJob {
        snapshot: work.snapshot,
        target: RawPath::from(work.to.as_str()),
        paths: paths(&work.paths),
        ..RestoreJob::default()
    }
}

fn paths(texts: &[String]) -> Vec<RawPath> {
    texts.iter().map(|t| RawPath::from(t.as_str())).collect()
}

fn heartbeat(interval_ms: u64) -> Option<Interval> {
    let every = Duration::from_millis(interval_ms);
    (!every.is_zero()).then(|| {
        let mut interval = interval_at(Instant::now() + every, every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval
    })
}

async fn beat(heartbeat: &mut Option<Interval>) {
    match heartbeat {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// How the work came to its end.
enum End {
    Over(Box<Outcome>, Option<Progress>),
    Cancelled,
    Left,
    Void,
}

/// How a job came to its end.
enum JobEnd {
    Done(Result<Output, EngineError>),
    Stopped(End),
}

struct Runner<'a> {
    desk: &'a Desk,
    program: &'a Program,
    lease: &'a str,
    orders: watch::Receiver<Order>,
    heartbeat: Option<Interval>,
    meter: Meter,
    /// The step that runs, as an activity.
    step: Option<Uuid>,
    unread: Vec<Unread>,
    warnings: u64,
}

impl Runner<'_> {
    async fn carry_out(&mut self, plan: Plan) -> End {
        let started_at = Timestamp::now();
        let Plan { request, create } = plan;
        let missing = |end: &JobEnd| matches!(end, JobEnd::Done(Err(e)) if e.code == ErrorCode::RepositoryMissing);
        let mut end = self.job(&request).await;
        // The first backup of a repository makes it. Asking first would cost every other backup a process.
        if create && missing(&end) {
            end = self.job(&Request { job: Job::Init, ..request.clone() }).await;
            if matches!(end, JobEnd::Done(Ok(_))) {
                end = self.job(&request).await;
            }
        }
        match end {
            JobEnd::Stopped(end) => end,
            JobEnd::Done(Ok(output)) => {
                let stored = if let Output::Backup(made) = &output { Some(made.bytes_added_packed) } else { None };
                let outcome = self.succeeded(output, started_at);
                End::Over(Box::new(outcome), Some(self.meter.done(stored)))
            }
            JobEnd::Done(Err(error)) => End::Over(Box::new(failed(task_error(error))), Some(self.meter.task())),
        }
    }

    /// One child process, from start to end.
    async fn job(&mut self, request: &Request) -> JobEnd {
        let mut child = match Child::spawn(self.program, request).await {
            Ok(child) => child,
            Err(error) => {
                let message = format!("cannot start the engine process {}: {error}", self.program.path.display());
                return JobEnd::Done(Err(EngineError::new(ErrorCode::of_io(&error), message)));
            }
        };
        loop {
            tokio::select! {
                event = child.next_event() => match event {
                    Some(EngineEvent::Ended { warnings, outcome }) => {
                        self.warnings = warnings.max(self.warnings);
                        return JobEnd::Done(*outcome);
                    }
                    Some(event) => self.told(event),
                    None => {
                        let message = "the engine process ended without a result";
                        return JobEnd::Done(Err(EngineError::new(ErrorCode::EngineCrashed, message)));
                    }
                },
                order = ordered(&mut self.orders) => return stop(child, order).await,
                () = beat(&mut self.heartbeat) => self.report(Event::Heartbeat(v1::Heartbeat {})),
            }
        }
    }

    fn told(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::StepStarted { step } => self.begin_step(step),
            EngineEvent::StepFinished { progress, .. } => {
                self.meter.count(&progress, Instant::now());
                if let Some(uuid) = self.step.take() {
                    let progress = meter::of_finished_step(&progress);
                    self.report(step_completed(uuid, &Outcome::of(OutcomeCode::Ok), Some(&progress)));
                }
            }
            EngineEvent::Progress(progress) => {
                let now = Instant::now();
                // Not at the scan: its report would be empty and keep the first one of the work waiting.
                if self.meter.count(&progress, now) && self.meter.task_due(now) {
                    self.report(Event::Progress((&self.meter.task()).into()));
                }
                if let Some(uuid) = self.step
                    && self.meter.step_due(now)
                {
                    let progress = Some((&meter::of_step(&progress)).into());
                    self.report(Event::ActivityProgress(v1::ActivityProgress { uuid: uuid.to_string(), progress }));
                }
            }
            EngineEvent::Warning(warning) => {
                self.warnings += 1;
                if self.unread.len() < MAX_LISTED {
                    let path = warning.path.map(|p| p.to_string()).unwrap_or_default();
                    self.unread.push(Unread { path, message: warning.message });
                }
            }
            // Taken by the caller.
            EngineEvent::Ended { .. } => {}
        }
    }

    fn begin_step(&mut self, step: Step) {
        self.meter.step(step);
        let uuid = Uuid::now_v7();
        self.step = Some(uuid);
        self.report(Event::ActivityCreated(v1::ActivityCreated {
            uuid: uuid.to_string(),
            r#type: step.as_str().to_owned(),
            context_json: String::new(),
        }));
    }

    /// Ends the step in which the work ended.
    fn end_step(&mut self, outcome: &Outcome) {
        if let Some(uuid) = self.step.take() {
            // The payload is the task's.
            let outcome = Outcome { payload: Value::Null, ..outcome.clone() };
            self.report(step_completed(uuid, &outcome, None));
        }
    }

    fn succeeded(&mut self, output: Output, started_at: Timestamp) -> Outcome {
        let (listed, total) = (std::mem::take(&mut self.unread), self.warnings);
        let (payload, what) = match output {
            Output::Backup(made) => {
                let done = BackupDone {
                    snapshot: made.snapshot,
                    created_at: started_at,
                    incremental: made.parent.is_some(),
                    size: made.bytes,
                    added: made.bytes_added_packed,
                    added_raw: made.bytes_added,
                    changed: 0,
                    roots: Vec::new(),
                    files: made.files,
                    files_new: made.files_new,
                    files_changed: made.files_changed,
                    unreadable: listed,
                    unreadable_total: total,
                };
                (json!(done), "backed up")
            }
            Output::Restore(made) => {
                let done =
                    RecoveryDone { files: made.files, bytes: made.bytes, unwritten: listed, unwritten_total: total };
                (json!(done), "restored")
            }
            _ => {
                let message = "the engine answered with the result of another job".to_owned();
                return failed(agent_error("engineConfused", message));
            }
        };
        if total == 0 {
            return Outcome { payload, ..Outcome::of(OutcomeCode::Ok) };
        }
        let entries = if total == 1 { "One entry was".to_owned() } else { format!("{total} entries were") };
        let warning = TaskError {
            domain: crate::engine::error::DOMAIN.to_owned(),
            code: "incomplete".to_owned(),
            message: format!("{entries} not {what}, or not as it should be; the payload lists them."),
            ..TaskError::default()
        };
        Outcome { warnings: vec![warning], payload, ..Outcome::of(OutcomeCode::Warning) }
    }

    fn report(&self, event: Event) {
        self.desk.report(self.lease, event);
    }
}

/// Waits for an order to stop; nothing when the lease is void.
async fn ordered(orders: &mut watch::Receiver<Order>) -> Option<Order> {
    orders.wait_for(|o| *o != Order::Work).await.ok().map(|o| *o)
}

/// Stops a child. If it was done before, that is what counts: the data is there.
async fn stop(mut child: Child, order: Option<Order>) -> JobEnd {
    // Work that nobody waits for need not end politely; the repository is valid at any point.
    let grace = if order == Some(Order::Cancel) { GRACE } else { Duration::ZERO };
    match (child.stop(grace).await, order) {
        (_, None) => JobEnd::Stopped(End::Void),
        (Some(Ok(output)), Some(_)) => JobEnd::Done(Ok(output)),
        (_, Some(Order::Leave)) => JobEnd::Stopped(End::Left),
        (_, Some(Order::Work | Order::Cancel)) => JobEnd::Stopped(End::Cancelled),
    }
}

fn completed(outcome: &Outcome, progress: Option<&Progress>) -> Event {
    Event::Completed(v1::Completed { outcome: Some(outcome.into()), progress: progress.map(Into::into) })
}

fn step_completed(uuid: Uuid, outcome: &Outcome, progress: Option<&Progress>) -> Event {
    Event::ActivityCompleted(v1::ActivityCompleted {
        uuid: uuid.to_string(),
        outcome: Some(outcome.into()),
        progress: progress.map(Into::into),
    })
}

fn failed(error: TaskError) -> Outcome {
    Outcome { error: Some(error), ..Outcome::of(OutcomeCode::Error) }
}

fn agent_error(code: &str, message: String) -> TaskError {
    TaskError { domain: DOMAIN.to_owned(), code: code.to_owned(), message: sentence(&message), ..TaskError::default() }
}

fn task_error(error: EngineError) -> TaskError {
    let context = if error.context.is_empty() { Value::Null } else { json!(error.context) };
    TaskError {
        domain: error.domain,
        code: error.code.as_str().to_owned(),
        message: sentence(&error.message),
        context,
        ..TaskError::default()
    }
}

/// The engine's words as a sentence for people.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    let Some(first) = chars.next() else { return String::new() };
    let end = if words.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{}{end}", first.to_uppercase(), chars.as_str())
}
