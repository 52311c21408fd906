//! Progress on its way to the ledger. However often an executor reports progress, its task costs one durable write a second:
//! what it says within a second of the last that was written is kept here, the newest of each kind, until that second is over.
//!
//! Only progress and signs of life are held back, and only what the ledger would take as it stands: a report is tried on
//! what the ledger has, and whatever does not go smoothly - a lease that is not the present one, a step that is over, a
//! timer that is about to run out - goes to the ledger, which says so. So a wrong lease is refused at once, and each
//! answer tells whether somebody wants the task cancelled. Any other word of the executor is written at once, in one
//! commit with the progress before it. Who asks for a task sees what is held back; only the feed of changes is later. If
//! the server dies, the last second of progress is lost, as the definition of progress allows.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::activity::{Activity, ActivityEvent, ActivityId, ActivityRef, ActivityView, Body};
use domain::task::{Event, LeaseToken, Phase, Progress, Run, Task, TaskId, TaskRef};
use domain::{Moment, Result, Scope, SignedDuration, Timestamp};
use ledger::{Committed, Write, Written};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Service, passing};

/// Between two durable writes of progress of one task.
const EVERY: SignedDuration = SignedDuration::from_secs(1);
/// Nothing is held back when a timer runs out this soon: what is held back is written long before.
const NEAR: SignedDuration = SignedDuration::from_secs(3);
/// Between two looks for what is due.
const LOOK: Duration = Duration::from_millis(100);

/// What is held back, by the lease of who said it.
#[derive(Default)]
pub(super) struct HeldBack {
    said: Mutex<HashMap<LeaseToken, Said>>,
    /// There is something.
    some: Notify,
}

/// What somebody said since progress was written, and no other word.
struct Said {
    scope: Scope,
    /// When the ledger was given anything of it last.
    written_at: Timestamp,
    held: Option<Held>,
    /// Counts what was held back, so that what came while the ledger wrote is told from what it wrote.
    version: u64,
}

/// The newest words; without any progress they are a sign of life.
#[derive(Clone)]
struct Held {
    task: TaskId,
    at: Timestamp,
    progress: Option<Progress>,
    steps: BTreeMap<ActivityId, Progress>,
}

impl Held {
    /// How they are written under a lease.
    fn writes(self, lease: &LeaseToken) -> Vec<Write> {
        let lease = || lease.clone();
        let step = |(id, progress)| Write::Activity {
            activity: ActivityRef::Id(id),
            lease: lease(),
            event: ActivityEvent::Report(progress),
        };
        let alive = self.steps.is_empty().then(|| Event::Heartbeat { lease: lease() });
        let event = self.progress.map(|progress| Event::Report { lease: lease(), progress }).or(alive);
        let task = event.map(|event| Write::Task(TaskRef::Id(self.task), event));
        task.into_iter().chain(self.steps.into_iter().map(step)).collect()
    }
}

impl HeldBack {
    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseToken, Said>> {
        // Every change is whole before anything in it could panic.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a word under this lease was written within the last second.
    fn is_recent(&self, lease: &LeaseToken, now: Timestamp) -> bool {
        self.lock().get(lease).is_some_and(|said| is_lately(said.written_at, now))
    }

    /// Keeps what was said, unless the second is over by now.
    fn hold(&self, lease: &LeaseToken, task: TaskId, at: Timestamp, change: impl FnOnce(&mut Held)) -> bool {
        let mut all = self.lock();
        let Some(said) = all.get_mut(lease) else { return false };
        let held = said.held.get_or_insert_with(|| Held { task, at, progress: None, steps: BTreeMap::new() });
        held.at = at;
        change(held);
        said.version += 1;
        true
    }

    /// Something is about to be written under this lease: gives what was held back. From progress on, what comes next is
    /// held back.
    fn begin(&self, lease: &LeaseToken, scope: &Scope, now: Timestamp, word: Word) -> Option<(Held, u64)> {
        let mut all = self.lock();
        if word == Word::Progress && !all.contains_key(lease) {
            let new = Said { scope: scope.clone(), written_at: now, held: None, version: 0 };
            all.insert(lease.clone(), new);
            self.some.notify_one();
        }
        let said = all.get_mut(lease)?;
        said.written_at = now;
        let held = said.held.clone().map(|held| (held, said.version));
        if word == Word::Other && held.is_none() {
            all.remove(lease);
        }
        held
    }

    /// What was held back until then is written, or is of no use any more.
    fn done(&self, lease: &LeaseToken, version: u64, word: Word) {
        let mut all = self.lock();
        let Some(said) = all.get_mut(lease).filter(|said| said.version == version) else { return };
        said.held = None;
        if word == Word::Other {
            // The next progress is news again.
            all.remove(lease);
        }
    }

    /// What is due, each as it is to be written; those who said nothing more are forgotten.
    fn due(&self, now: Timestamp, all: bool) -> Vec<(LeaseToken, Scope, Held, u64)> {
        let mut due = Vec::new();
        self.lock().retain(|lease, said| {
            if !all && is_lately(said.written_at, now) {
                return true;
            }
            let Some(held) = &said.held else { return false };
            said.written_at = now;
            due.push((lease.clone(), said.scope.clone(), held.clone(), said.version));
            true
        });
        due
    }

    /// Waits until anything may be due.
    async fn wait(&self) {
        if self.lock().is_empty() {
            self.some.notified().await;
        }
        tokio::time::sleep(LOOK).await;
    }

    /// The task as its executor knows it.
    pub(super) fn show(&self, task: &mut Task) {
        let all = self.lock();
        let Some(held) = task.lease().and_then(|lease| all.get(lease)?.held.as_ref()) else { return };
        if let Some(progress) = &held.progress {
            task.status.progress = Some(progress.clone());
        }
        if let Phase::Assigned(assignment)
        | Phase::Started(Run { assignment, .. })
        | Phase::Paused(Run { assignment, .. }) = &mut task.status.phase
        {
            assignment.last_report_at = held.at;
        }
    }

    /// The activity as its executor knows it.
    pub(super) fn show_in(&self, view: &mut ActivityView) {
        self.show(&mut view.task);
        let all = self.lock();
        let held = view.task.lease().and_then(|lease| all.get(lease)?.held.as_ref());
        if let (Some(progress), Body::Step(_, status)) =
            (held.and_then(|held| held.steps.get(&view.activity.id)), &mut view.activity.body)
        {
            status.progress = Some(progress.clone());
        }
    }
}

/// Writes what was held back, each when its second is over, and all of it in the end.
pub(crate) async fn run(service: Arc<Service>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = service.progress.wait() => service.write_progress(service.moment(), false).await,
        }
    }
    service.write_progress(service.moment(), true).await;
}

impl Service {
    /// Carries out what an executor says; all writes carry the same lease. The caller delivers the commit.
    ///
    /// # Errors
    /// Those of the ledger.
    pub(super) async fn hear(&self, scope: &Scope, moment: Moment, writes: Vec<Write>) -> Result<Committed> {
        let Some(lease) = writes.first().and_then(lease_of).cloned() else {
            return self.ledger.commit(scope, moment, writes).await;
        };
        let word = if writes.len() == 1 { Word::of(&writes[0]) } else { Word::Other };
        if word != Word::Other
            && self.progress.is_recent(&lease, moment.now)
            && let Some(answer) = self.hold_back(scope, moment, &lease, &writes[0]).await
        {
            return Ok(answer);
        }
        let Some((held, version)) = self.progress.begin(&lease, scope, moment.now, word) else {
            return self.ledger.commit(scope, moment, writes).await;
        };
        let mut before = held.writes(&lease);
        before.retain(|old| !supersedes(&writes[0], old));
        let first = before.len();
        before.extend(writes.iter().cloned());
        match self.ledger.commit(scope, moment, before).await {
            Ok(mut committed) => {
                self.progress.done(&lease, version, word);
                committed.written.drain(..first);
                Ok(committed)
            }
            Err(error) if passing(&error) || first == 0 => Err(error),
            // It may be that only what was held back is of no use any more.
            Err(_) => self.ledger.commit(scope, moment, writes).await,
        }
    }

    /// Keeps progress or a sign of life, and answers as the ledger would; nothing if the ledger has to decide.
    async fn hold_back(&self, scope: &Scope, moment: Moment, lease: &LeaseToken, write: &Write) -> Option<Committed> {
        let (task, step) = match write {
            Write::Task(task, event) => {
                let task = self.ledger.task(scope, *task).await.ok()?;
                let next = tried(&task, event.clone(), moment)?;
                let said = if let Event::Report { progress, .. } = event { Some(progress.clone()) } else { None };
                self.progress
                    .hold(lease, task.id, moment.now, |held| held.progress = said.or(held.progress.take()))
                    .then_some(())?;
                (next, None)
            }
            Write::Activity { activity, event: ActivityEvent::Report(progress), .. } => {
                let view = self.ledger.activity(scope, *activity).await.ok()?;
                let next = tried(&view.task, Event::Heartbeat { lease: lease.clone() }, moment)?;
                let step = view.activity.apply(&next, ActivityEvent::Report(progress.clone()), moment.now).ok()?;
                let (id, said) = (step.id, progress.clone());
                self.progress.hold(lease, next.id, moment.now, |held| _ = held.steps.insert(id, said)).then_some(())?;
                (next, Some(unstamped(step, &view.activity)))
            }
            _ => return None,
        };
        let written = match step {
            None => {
                let mut task = task;
                self.progress.show(&mut task);
                Written::Task { task, changed: false }
            }
            Some(activity) => {
                let mut view = ActivityView { activity, task };
                self.progress.show_in(&mut view);
                Written::Activity(Box::new(view))
            }
        };
        let rev = self.ledger.head().borrow().rev;
        Some(Committed { rev, written: vec![written], effects: Vec::new(), ended: Vec::new() })
    }

    /// Writes what is due, or all there is.
    async fn write_progress(&self, moment: Moment, all: bool) {
        let due = self.progress.due(moment.now, all);
        // All at once, so that they share a write to the disk.
        let write = async |(lease, scope, held, version): (LeaseToken, Scope, Held, u64)| {
            match self.ledger.commit(&scope, moment, held.writes(&lease)).await {
                Ok(committed) => {
                    self.deliver(&committed);
                    self.progress.done(&lease, version, Word::Progress);
                }
                // The next look tries again.
                Err(error) if passing(&error) => tracing::warn!(%error, "progress could not be written"),
                // Its executor lost the task meanwhile.
                Err(_) => self.progress.done(&lease, version, Word::Progress),
            }
        };
        futures::future::join_all(due.into_iter().map(write)).await;
    }
}

/// Whether it was less than a second ago, also by a clock that was put back.
fn is_lately(then: Timestamp, now: Timestamp) -> bool {
    now.duration_since(then).abs() < EVERY
}

/// The task after a report, if nothing stands against holding the report back.
fn tried(task: &Task, event: Event, moment: Moment) -> Option<Task> {
    let near = moment.now.checked_add(NEAR).unwrap_or(Timestamp::MAX);
    if task.next_deadline(moment.up_since).is_some_and(|deadline| deadline <= near) {
        return None;
    }
    let mut applied = task.apply(event, moment).ok()?;
    let plain = applied.effects.is_empty() && applied.task.state() == task.state() && task.lease().is_some();
    // The stamp of a change is the ledger's to give.
    applied.task.status.updated_at = task.status.updated_at;
    plain.then_some(applied.task)
}

fn unstamped(mut step: Activity, before: &Activity) -> Activity {
    if let (Body::Step(_, next), Body::Step(_, before)) = (&mut step.body, &before.body) {
        next.updated_at = before.updated_at;
    }
    step
}

fn lease_of(write: &Write) -> Option<&LeaseToken> {
    match write {
        Write::Task(_, event) => event.lease(),
        Write::CreateActivity { lease, .. } | Write::Activity { lease, .. } => Some(lease),
        _ => None,
    }
}

/// What an executor says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// How far it is.
    Progress,
    /// That it is alive.
    Alive,
    /// Anything else.
    Other,
}

impl Word {
    fn of(write: &Write) -> Word {
        match write {
            Write::Task(_, Event::Report { .. }) | Write::Activity { event: ActivityEvent::Report(_), .. } => {
                Word::Progress
            }
            Write::Task(_, Event::Heartbeat { .. }) => Word::Alive,
            _ => Word::Other,
        }
    }
}

/// Whether the old word need not be written when the new one is.
fn supersedes(new: &Write, old: &Write) -> bool {
    match (new, old) {
        (_, Write::Task(_, Event::Heartbeat { .. })) => true,
        (Write::Task(_, Event::Report { .. }), Write::Task(_, Event::Report { .. })) => true,
        (
            Write::Activity { activity: new, event: ActivityEvent::Report(_), .. },
            Write::Activity { activity: old, .. },
        ) => new == old,
        _ => false,
    }
}
