//! Carries one task out: a child process per job, its steps as activities, its end as the task's outcome. Everything is
//! said to the desk; whether a server is connected is of no concern here. What the jobs are is decided in `plan`.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use domain::backup::Filesystem;
use domain::policy::settings::When;
use domain::task::{Outcome, OutcomeCode, Progress, TaskError};
use domain::work::{
    BackupDone, DownloadDone, ForgetDone, IndexingDone, Live, PruneDone, RecoveryDone, Unread, VerificationDone,
};
use domain::{Timestamp, Uuid};
use proto::agent::v1::{self, Assign, report::Event};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::child::{Child, Program};
use crate::desk::{Desk, Order};
use crate::engine::{
    self, BackupSummary, EngineError, ErrorCode, Event as EngineEvent, Job, Output, PackSummary, Request, Step,
    SurveySummary, VerifySummary,
};
use crate::handover::Handover;
use crate::host::Host;
use crate::meter::{self, Meter};
use crate::plan::Plan;

/// The domain of errors that the agent itself makes.
const DOMAIN: &str = "agent";

/// How long a child may take to end by itself when it is asked to stop.
const GRACE: Duration = Duration::from_secs(3);

/// Carries the task out, to its last report or until its lease is void.
pub(crate) async fn run(
    desk: Arc<Desk>,
    program: Program,
    host: Host,
    handover: Handover,
    assign: Assign,
    orders: watch::Receiver<Order>,
) {
    let lease = assign.lease.clone();
    desk.report(&lease, Event::Started(v1::Started {}));
    let mut runner = Runner {
        desk: &desk,
        program: &program,
        handover: &handover,
        task: assign.task,
        lease: &lease,
        orders,
        heartbeat: heartbeat(assign.heartbeat_interval_ms),
        meter: Meter::default(),
        step: None,
        unread: Vec::new(),
        warnings: 0,
        notices: Vec::new(),
        unjournaled: false,
        data_is_held: false,
    };
    let end = match Plan::of(&assign, &host) {
        Ok(plan) => {
            let spooled = plan.hand_over.clone();
            let end = runner.carry_out(plan).await;
            if let Some(file) = spooled {
                // It may never have been made.
                let _ = std::fs::remove_file(file);
            }
            end
        }
        Err(error) => End::Over(Box::new(failed(*error)), None),
    };
    runner.end_step(&end);
    let event = match end {
        End::Over(outcome, progress) => completed(&outcome, progress.as_ref()),
        End::Cancelled => completed(&Outcome::of(OutcomeCode::Cancelled), Some(&runner.meter.task())),
        End::Left => Event::Abandoned(v1::Abandoned { reason: "the agent is shutting down.".to_owned() }),
        End::Void => return desk.forget(assign.task, &lease),
    };
    let mut reports = desk.unacknowledged(&lease);
    reports.push(v1::Report { seq: 0, task: assign.task, lease: lease.clone(), event: Some(event.clone()) });
    // Before it is said: between the two, nothing can be lost.
    if let Err(words) = desk.journal().ended(assign.task, &lease, &reports).await {
        tracing::error!(task = assign.task, "{words}");
    }
    if !desk.report(&lease, event) {
        desk.forget(assign.task, &lease);
    }
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
    handover: &'a Handover,
    task: i64,
    lease: &'a str,
    orders: watch::Receiver<Order>,
    heartbeat: Option<Interval>,
    meter: Meter,
    /// The step that runs, as an activity.
    step: Option<Uuid>,
    unread: Vec<Unread>,
    warnings: u64,
    /// What was done in another way than was wished.
    notices: Vec<TaskError>,
    /// It was said that the journal cannot be written.
    unjournaled: bool,
    /// The commands before reading have run, those after it have not.
    data_is_held: bool,
}

impl Runner<'_> {
    async fn carry_out(&mut self, plan: Plan) -> End {
        let mut end = match self.commands(&plan, &[When::Pre], Heed::Orders).await {
            Some(end) => end,
            None => self.work(&plan).await,
        };
        self.end_step(&end);
        // Whatever became of the work: what was stopped for it on the machine shall go on.
        let closing: &[When] = if self.data_is_held { &[When::PostData, When::Post] } else { &[When::Post] };
        let closed = self.commands(&plan, closing, Heed::Nothing).await;
        if let End::Over(outcome, _) = &mut end {
            if let Some(End::Over(failure, _)) = closed {
                match outcome.code {
                    OutcomeCode::Ok | OutcomeCode::Warning => {
                        (outcome.code, outcome.error) = (OutcomeCode::Error, failure.error);
                    }
                    // The first error is the one that counts.
                    OutcomeCode::Error | OutcomeCode::Cancelled => outcome.warnings.extend(failure.error),
                }
            }
            outcome.warnings.append(&mut self.notices);
            if outcome.code == OutcomeCode::Ok && !outcome.warnings.is_empty() {
                outcome.code = OutcomeCode::Warning;
            }
        }
        end
    }

    /// Runs commands of the policy; says how the task ends if they did not all go well.
    async fn commands(&mut self, plan: &Plan, when: &[When], heed: Heed) -> Option<End> {
        if !when.iter().any(|when| engine::commands::any(&plan.commands, *when)) {
            return None;
        }
        match self.job(&plan.commands_at(when), heed).await {
            JobEnd::Stopped(end) => Some(end),
            JobEnd::Done(Ok(_)) => None,
            JobEnd::Done(Err(error)) => Some(End::Over(Box::new(failed(task_error(error))), None)),
        }
    }

    async fn work(&mut self, plan: &Plan) -> End {
        let started_at = Timestamp::now();
        let Plan { request, create, .. } = plan;
        let missing = |end: &JobEnd| matches!(end, JobEnd::Done(Err(e)) if e.code == ErrorCode::RepositoryMissing);
        let mut end = self.job(request, Heed::Orders).await;
        // The first backup of a repository makes it. Asking first would cost every other backup a process.
        if *create && missing(&end) {
            end = self.job(&Request { job: Job::Init, ..request.clone() }, Heed::Orders).await;
            if matches!(end, JobEnd::Done(Ok(_))) {
                end = self.job(request, Heed::Orders).await;
            }
        }
        if !matches!(end, JobEnd::Done(Ok(_))) && matches!(&request.job, Job::Backup(job) if job.freeze) {
            // A process that was killed has left its frozen copies behind.
            let _ = tokio::task::spawn_blocking(engine::remove_frozen_leftovers).await;
        }
        match end {
            JobEnd::Stopped(end) => end,
            JobEnd::Done(Ok(output)) => {
                if let Some(file) = &plan.hand_over
                    && let Some(end) = self.hand_over(file).await
                {
                    return end;
                }
                let stored = if let Output::Backup(made) = &output { Some(made.bytes_added_packed) } else { None };
                let outcome = self.succeeded(output, started_at, &plan.place);
                End::Over(Box::new(outcome), Some(self.meter.done(stored)))
            }
            JobEnd::Done(Err(error)) => End::Over(Box::new(failed(task_error(error))), Some(self.meter.task())),
        }
    }

    /// One child process, from start to end.
    async fn job(&mut self, request: &Request, heed: Heed) -> JobEnd {
        let unstarted = |error: io::Error| {
            let message = format!("cannot start the engine process {}: {error}", self.program.path.display());
            JobEnd::Done(Err(EngineError::new(ErrorCode::of_io(&error), message)))
        };
        let mut child = match Child::wait_for_job(self.program) {
            Ok(child) => child,
            Err(error) => return unstarted(error),
        };
        // Before it begins: one that nobody knows of could still be at work when the next agent gives its task out anew.
        if let Some(pid) = child.id()
            && let Err(words) = self.desk.journal().works(self.task, self.lease, pid).await
            && !self.unjournaled
        {
            tracing::error!(task = self.task, "{words}");
            self.notices.push(agent_error("journalUnwritable", words));
            self.unjournaled = true;
        }
        if let Err(error) = child.begin(request).await {
            return unstarted(error);
        }
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
                order = ordered(&mut self.orders), if heed == Heed::Orders => return stop(child, order).await,
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
                let path = warning.path.map(|p| p.to_string()).unwrap_or_default();
                Unread { path, message: warning.message }.note(&mut self.unread);
            }
            EngineEvent::Notice { code, message } => {
                let error = EngineError::new(ErrorCode::Internal, message);
                self.notices.push(TaskError { code, ..task_error(error) });
            }
            // Taken by the caller.
            EngineEvent::Ended { .. } => {}
        }
    }

    fn begin_step(&mut self, step: Step) {
        match step {
            Step::PreDataCommands => self.data_is_held = true,
            Step::PostDataCommands => self.data_is_held = false,
            _ => {}
        }
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
    fn end_step(&mut self, end: &End) {
        let outcome = match end {
            // The payload is the task's.
            End::Over(outcome, _) => Outcome { payload: Value::Null, ..(**outcome).clone() },
            End::Cancelled => Outcome::of(OutcomeCode::Cancelled),
            End::Left | End::Void => return,
        };
        if let Some(uuid) = self.step.take() {
            self.report(step_completed(uuid, &outcome, None));
        }
    }

    fn succeeded(&mut self, output: Output, started_at: Timestamp, place: &str) -> Outcome {
        let (listed, total) = (std::mem::take(&mut self.unread), self.warnings);
        let (payload, what) = match output {
            Output::Backup(mut made) => {
                let (stopped, sha256) = (made.failed_command.take(), made.sha256.take());
                let done = backup_done(made, started_at, listed, total);
                if let Some(error) = stopped {
                    // The backup is there all the same, and the server shall know it.
                    return Outcome { payload: json!(done), ..failed(task_error(error)) };
                }
                let mut payload = json!(done);
                if let Some(sha256) = sha256 {
                    payload["sha256"] = sha256.into();
                }
                (payload, "backed up")
            }
            Output::Restore(made) => {
                let done = RecoveryDone {
                    files: made.files,
                    bytes: made.bytes,
                    unwritten: listed,
                    unwritten_total: total,
                    to: place.to_owned(),
                };
                (json!(done), "restored")
            }
            Output::Pack(made) => {
                let done = DownloadDone {
                    name: named(&made),
                    size: made.bytes,
                    files: made.files,
                    unread: listed,
                    unread_total: total,
                };
                (json!(done), "packed")
            }
            Output::Verify(found) => return verified(found),
            Output::Survey(found) => return surveyed(found),
            Output::Forget(made) => {
                let done = ForgetDone { removed: made.removed, missing: made.missing, gone: Vec::new() };
                (json!(done), "removed")
            }
            Output::Prune(made) => {
                let done = PruneDone { freed: made.bytes_removed, marked: made.bytes_marked, busy: made.busy };
                (json!(done), "cleaned up")
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

    /// Brings the file to the server; says how the task ends if that did not go well.
    async fn hand_over(&mut self, file: &Path) -> Option<End> {
        self.begin_step(Step::HandOver);
        let handover = self.handover.clone();
        let mut giving = Box::pin(handover.give(self.task, self.lease, file));
        loop {
            tokio::select! {
                given = &mut giving => match given {
                    Ok(()) => {
                        if let Some(uuid) = self.step.take() {
                            self.report(step_completed(uuid, &Outcome::of(OutcomeCode::Ok), None));
                        }
                        return None;
                    }
                    Err(reason) => {
                        let message = format!("the file could not be handed over to the server: {reason}");
                        let failure = failed(agent_error("handOverFailed", message));
                        return Some(End::Over(Box::new(failure), Some(self.meter.task())));
                    }
                },
                order = ordered(&mut self.orders) => return Some(match order {
                    None => End::Void,
                    Some(Order::Leave) => End::Left,
                    Some(Order::Work | Order::Cancel) => End::Cancelled,
                }),
                () = beat(&mut self.heartbeat) => self.report(Event::Heartbeat(v1::Heartbeat {})),
            }
        }
    }

    fn report(&self, event: Event) {
        self.desk.report(self.lease, event);
    }
}

/// The name of the file that was made, for people.
fn named(made: &PackSummary) -> String {
    let name = domain::path::shown(made.name.as_path().as_os_str().as_bytes());
    match (name.as_str(), made.packed) {
        ("", _) => "files.tar.gz".to_owned(),
        (name, true) => format!("{name}.tar.gz"),
        (name, false) => name.to_owned(),
    }
}

/// What a job may be interrupted by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heed {
    /// Whatever the runner is told.
    Orders,
    /// Nothing: the work was stopped already, and this is what comes after it.
    Nothing,
}

fn backup_done(made: BackupSummary, started_at: Timestamp, listed: Vec<Unread>, total: u64) -> BackupDone {
    BackupDone {
        snapshot: made.snapshot,
        created_at: started_at,
        incremental: made.incremental,
        size: made.bytes,
        added: made.bytes_added_packed,
        added_raw: made.bytes_added,
        changed: made.bytes_read,
        files: made.files,
        files_new: made.files_new,
        files_changed: made.files_changed,
        roots: made.roots,
        sha256: made.sha256.unwrap_or_default(),
        unreadable: listed,
        unreadable_total: total,
    }
}

/// Damage is what the verification was for, and the end of the task all the same.
fn verified(found: VerifySummary) -> Outcome {
    let total = found.damaged_total;
    let differing = found.sampled.iter().flat_map(|s| &s.picked).filter(|file| file.live == Live::Different);
    let warnings: Vec<TaskError> = differing.map(|file| differs(&file.path)).collect();
    let VerifySummary { files, bytes, damaged, damaged_total, sampled } = found;
    let done = VerificationDone { files, bytes, damaged, damaged_total, sampled };
    let outcome = if total == 0 {
        let code = if warnings.is_empty() { OutcomeCode::Ok } else { OutcomeCode::Warning };
        Outcome { warnings, ..Outcome::of(code) }
    } else {
        let pieces = if total == 1 { "one piece of data is".to_owned() } else { format!("{total} pieces of data are") };
        let message = format!("{pieces} damaged or missing; the payload lists the files that cannot be restored");
        failed(task_error(EngineError::new(ErrorCode::RepositoryDamaged, message).with_repair()))
    };
    Outcome { payload: json!(done), ..outcome }
}

/// The backup is whole; which of the two contents is the right one, nobody here can know.
fn differs(path: &str) -> TaskError {
    TaskError {
        domain: crate::engine::error::DOMAIN.to_owned(),
        code: "sourceDiffers".to_owned(),
        message: sentence(&format!(
            "{path}: the file on the machine has another content than in the backup, though its size and time are the same"
        )),
        context: json!({ "path": path }),
        ..TaskError::default()
    }
}

/// What cannot be read is said, and the task has done what it could.
fn surveyed(found: SurveySummary) -> Outcome {
    let warning = |filesystem: &Filesystem| TaskError {
        domain: crate::engine::error::DOMAIN.to_owned(),
        code: if filesystem.files.is_some() { "incomplete" } else { "unsupportedFilesystem" }.to_owned(),
        message: sentence(&format!("{}: {}", filesystem.path, filesystem.failure)),
        context: json!({ "path": filesystem.path, "type": filesystem.kind, "offset": filesystem.offset }),
        ..TaskError::default()
    };
    let warnings: Vec<TaskError> =
        found.filesystems.iter().filter(|found| !found.failure.is_empty()).map(warning).collect();
    let code = if warnings.is_empty() { OutcomeCode::Ok } else { OutcomeCode::Warning };
    Outcome { warnings, payload: json!(IndexingDone { filesystems: found.filesystems }), ..Outcome::of(code) }
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

pub(crate) fn agent_error(code: &str, message: String) -> TaskError {
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
