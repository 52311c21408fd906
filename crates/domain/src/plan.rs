//! What the scheduler does about an application of a policy: decided here, purely; carried out by the server. The rules for
//! schedules of several sets are those of the contract for Yandex clients, section 14.4.

use jiff::tz::TimeZone;

use crate::policy::agenda::{Attempt, OpenRun, Repeat};
use crate::policy::sets::{Due, Past, RunSets};
use crate::policy::{Application, Policy, Schedule};
use crate::task::ResultCode;
use crate::{SignedDuration, Timestamp, Uuid};

/// How long a run waits for its machine, where it does not wait without limit.
const PATIENCE: SignedDuration = SignedDuration::from_hours(1);

/// From here on, times that were dealt with lie too far ahead: the clock was wrong.
const FAR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How far runs that are left out are counted.
pub const MOST_COUNTED: usize = 100_000;

/// Where and when it is planned.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// Now.
    pub now: Timestamp,
    /// When the server started or its clock was set: what was due before was missed.
    pub up_since: Timestamp,
    /// Where clocks show the times of the schedule.
    pub zone: &'a TimeZone,
    /// Whether runs are made for the resource at all.
    pub active: bool,
    /// Whether a task that was made for the application before is not done.
    pub open: bool,
    /// Whether the resource's machine is there to take it.
    pub reachable: bool,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is due.
    Wait,
    /// A run is due: make a task.
    Run(Run),
    /// Something was due, and no run is made for it; the plan says why in `left_out`.
    Pass,
}

/// Why runs are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The run before is not done.
    Busy,
    /// Their time passed without anybody looking: the server was not running, its machine slept, or its clock was set.
    Late,
    /// The window in which it would have had to be over was closed when somebody looked.
    Closed,
}

/// Runs that do not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut {
    /// Why.
    pub why: Why,
    /// How many, up to [`MOST_COUNTED`].
    pub count: u64,
    /// The moment of the first.
    pub first: Timestamp,
    /// The moment of the last.
    pub last: Timestamp,
}

/// A run to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The moment it is for.
    pub at: Timestamp,
    /// Whether everything is read.
    pub full: bool,
    /// Whether it waits for its machine without limit.
    pub run_later: bool,
    /// How long it may wait to be taken; none = without limit.
    pub queue_timeout: Option<SignedDuration>,
    /// When it is stopped if it is not over by then: its window closes. None = it may go on.
    pub until: Option<Timestamp>,
    /// The attempt it is, if it repeats one that failed.
    pub repeats: Option<Attempt>,
}

/// What is due for an application, and the application as it is afterwards.
///
/// However many runs were missed while the server was down, at most one is made up for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to do now.
    pub decision: Decision,
    /// What was due and does not happen, also beside a run that is made.
    pub left_out: Option<LeftOut>,
    /// With the next run and what is remembered; a run that is made is still to be noted with [`begin`].
    pub app: Application,
}

/// Plans an application.
#[must_use]
pub fn plan(app: &Application, policy: &Policy, around: &Around<'_>) -> Plan {
    match &policy.schedule {
        Schedule::Sets(sets) => plan_sets(app, policy, sets, around),
        _ => plan_simple(app, policy, around),
    }
}

fn plan_simple(app: &Application, policy: &Policy, around: &Around<'_>) -> Plan {
    let runs = policy.enabled && around.active;
    let next = if runs { policy.schedule.next_after(around.now, around.zone) } else { None };
    let mut app = app.clone();
    let (decision, left_out) = match app.next_run_at {
        Some(due) if runs && due <= around.now => {
            let following = |at: &Timestamp| policy.schedule.next_after(*at, around.zone);
            let moments = std::iter::successors(Some(due), following).take_while(|at| *at <= around.now);
            let mut moments: Vec<Timestamp> = moments.take(MOST_COUNTED).collect();
            // The last of them is the one that a run is made for; the others have passed.
            let at = if around.open { None } else { moments.pop() };
            let run = |at| Run { at, full: false, run_later: true, queue_timeout: None, until: None, repeats: None };
            // With a run under way none of them would have been made, whoever looked.
            let left_out = left_out(if around.open { Why::Busy } else { Why::Late }, &moments);
            (at.map_or(Decision::Pass, |at| Decision::Run(run(at))), left_out)
        }
        // Not due yet: keep the time, unless the policy no longer runs by itself.
        Some(due) if next.is_some() => {
            app.next_run_at = Some(due);
            return Plan { decision: Decision::Wait, left_out: None, app };
        }
        _ => (Decision::Wait, None),
    };
    app.next_run_at = next;
    app.agenda.skipped += left_out.map_or(0, |l| l.count);
    Plan { decision, left_out, app }
}

/// What is left out of these moments, which are in their order.
fn left_out(why: Why, moments: &[Timestamp]) -> Option<LeftOut> {
    let (first, last) = (*moments.first()?, *moments.last()?);
    Some(LeftOut { why, count: u64::try_from(moments.len()).unwrap_or(u64::MAX), first, last })
}

fn plan_sets(app: &Application, policy: &Policy, sets: &RunSets, around: &Around<'_>) -> Plan {
    let mut app = app.clone();
    let (decision, left_out) = match (runs_by_itself(policy, sets, around), app.agenda.due, app.agenda.repeat) {
        (true, Some(first), _) if start(sets, first, &app, policy, around) <= around.now => {
            let due = latest(sets, first, &app, policy, around);
            let missed = start(sets, due, &app, policy, around) < around.up_since && !due.run_later;
            app.agenda.seen_until = Some(due.at);
            // The next moment has come: the one before is not repeated any more.
            app.agenda.repeat = None;
            let full = sets.is_full(due.full, due.at, app.agenda.last_due_at, around.zone);
            let until = sets.until(due.at, &past(&app, policy, around));
            let run = Run { at: due.at, full, run_later: due.run_later, queue_timeout: None, until, repeats: None };
            let closed = until.is_some_and(|until| until <= around.now);
            let mut moments = sets.moments(first.at, due.at, &past(&app, policy, around), MOST_COUNTED);
            let why = match moments.len() {
                // With a run under way none of them would have been made, whoever looked.
                _ if around.open => Why::Busy,
                1 if closed => Why::Closed,
                _ => Why::Late,
            };
            if missed || closed || around.open {
                (Decision::Pass, self::left_out(why, &moments))
            } else {
                moments.pop();
                (Decision::Run(run), self::left_out(Why::Late, &moments))
            }
        }
        (true, _, Some(Repeat { at, attempt })) if at <= around.now => {
            app.agenda.repeat = None;
            let Attempt { full, run_later, .. } = attempt;
            let until = sets.until(at, &past(&app, policy, around));
            let run = Run { at, full, run_later, queue_timeout: None, until, repeats: Some(attempt) };
            match around.open {
                true => (Decision::Pass, self::left_out(Why::Busy, &[at])),
                false => (Decision::Run(run), None),
            }
        }
        _ => (Decision::Wait, None),
    };
    let open = around.open || matches!(decision, Decision::Run(_));
    reschedule(&mut app, policy, &Around { open, ..*around });
    let decision = match decision {
        Decision::Run(run) => Decision::Run(Run { queue_timeout: patience(run, sets, &app, around), ..run }),
        other => other,
    };
    app.agenda.skipped += left_out.map_or(0, |l| l.count);
    Plan { decision, left_out, app }
}

/// Finds out anew when an application runs next, after anything it depends on has changed.
pub fn reschedule(app: &mut Application, policy: &Policy, around: &Around<'_>) {
    let Schedule::Sets(sets) = &policy.schedule else {
        app.agenda.due = None;
        app.agenda.repeat = None;
        let next = || policy.schedule.next_after(around.now, around.zone);
        app.next_run_at = if policy.enabled && around.active { next() } else { None };
        return;
    };
    if !runs_by_itself(policy, sets, around) {
        app.agenda.due = None;
        app.agenda.repeat = None;
        app.next_run_at = None;
        return;
    }
    app.agenda.due = upcoming(sets, app, policy, around);
    let start = app.agenda.due.map(|due| start(sets, due, app, policy, around));
    if let (Some(repeat), Some(due)) = (app.agenda.repeat, app.agenda.due)
        && due.at <= repeat.at
    {
        // It would come too late.
        app.agenda.repeat = None;
    }
    if sets.again.is_none() {
        app.agenda.repeat = None;
    }
    app.next_run_at = start.into_iter().chain(app.agenda.repeat.map(|r| r.at)).min();
}

/// Whether an application runs too late because the clock was set back since its next run was planned. What is measured from
/// the run before is measured from now. Times of a day that were dealt with stay so, and no run is made for them twice - unless
/// they lie so far ahead that the clock must have been wrong.
#[must_use]
pub fn is_astray(app: &Application, policy: &Policy, now: Timestamp) -> bool {
    let later = |time: Option<Timestamp>, by| time > Some(now.checked_add(by).unwrap_or(Timestamp::MAX));
    let far = later(app.agenda.seen_until.max(app.agenda.last_due_at), FAR);
    match &policy.schedule {
        Schedule::Interval { every } => later(app.next_run_at, *every),
        Schedule::Daily { .. } | Schedule::Manual {} => far,
        Schedule::Sets(_) => far || later(app.agenda.ended_at, SignedDuration::ZERO),
    }
}

/// Plans such an application anew, by the clock as it is.
pub fn set_back(app: &mut Application, policy: &Policy, around: &Around<'_>) {
    let near = |time: &Timestamp| around.now.duration_until(*time) <= FAR;
    app.agenda.seen_until = app.agenda.seen_until.filter(near);
    app.agenda.last_due_at = app.agenda.last_due_at.filter(near);
    app.agenda.ended_at = app.agenda.ended_at.map(|ended| ended.min(around.now));
    reschedule(app, policy, around);
}

/// The run that somebody asks for now: of the kind that would be due now. It waits for its machine without limit.
#[must_use]
pub fn asked(app: &Application, policy: &Policy, around: &Around<'_>) -> Run {
    let full = match &policy.schedule {
        Schedule::Sets(sets) => sets.is_full(sets.asked_full(), around.now, app.agenda.last_due_at, around.zone),
        _ => false,
    };
    Run { at: around.now, full, run_later: true, queue_timeout: None, until: None, repeats: None }
}

/// Notes that a task was made for a run, by the schedule or by a person, and when the next one is due.
pub fn begin(app: &mut Application, policy: &Policy, run: &Run, task: Uuid, scheduled: bool, around: &Around<'_>) {
    let attempt = run.repeats.unwrap_or(Attempt { first: task, number: 1, full: run.full, run_later: run.run_later });
    app.agenda.open.push(OpenRun { task, scheduled, until: run.until, attempt });
    app.agenda.last_due_at = Some(run.at);
    app.last_run_at = Some(around.now);
    app.last_task = Some(task);
    // What follows the last run waits for the end of this one. Other schedules do not care who asked for a run.
    if matches!(policy.schedule, Schedule::Sets(_)) {
        reschedule(app, policy, &Around { open: true, ..*around });
    }
}

/// Notes that a run is over, whether it is to be repeated, and when the next one is due. `around.open` is about the others.
pub fn end(
    app: &mut Application,
    policy: &Policy,
    task: Uuid,
    code: ResultCode,
    ended_at: Timestamp,
    around: &Around<'_>,
) {
    let Some(place) = app.agenda.open.iter().position(|run| run.task == task) else { return };
    let run = app.agenda.open.remove(place);
    app.agenda.ended_at = app.agenda.ended_at.max(Some(ended_at));
    let Schedule::Sets(sets) = &policy.schedule else { return };
    let failed = matches!(code, ResultCode::Error | ResultCode::TimedOut | ResultCode::Abandoned);
    if let Some(again) = sets.again
        && run.scheduled
        && failed
        && run.attempt.number <= again.attempts
        // What its window left no time for has none for another attempt.
        && run.until.is_none_or(|until| ended_at < until)
    {
        let attempt = Attempt { number: run.attempt.number + 1, ..run.attempt };
        app.agenda.repeat = again.interval.after(ended_at, around.zone).map(|at| Repeat { at, attempt });
    }
    let pending = app.agenda.due.filter(|due| start(sets, *due, app, policy, around) <= around.now);
    reschedule(app, policy, around);
    if let (Some(due), Some(_)) = (pending, app.agenda.due) {
        // One that has come and was not looked at yet is still to be planned.
        app.agenda.due = Some(due);
        app.agenda.repeat = None;
        app.next_run_at = Some(start(sets, due, app, policy, around));
    }
}

fn runs_by_itself(policy: &Policy, sets: &RunSets, around: &Around<'_>) -> bool {
    policy.enabled && sets.enabled && around.active
}

pub(crate) fn past<'a>(app: &Application, policy: &Policy, around: &Around<'a>) -> Past<'a> {
    Past {
        zone: around.zone,
        since: policy.created_at,
        applied: app.created_at,
        ended: app.agenda.ended_at,
        open: around.open,
    }
}

fn start(sets: &RunSets, due: Due, app: &Application, policy: &Policy, around: &Around<'_>) -> Timestamp {
    sets.start(due, app.id, &past(app, policy, around))
}

/// The moment of the next run: one that has passed and whose start is still to come, or one to come.
fn upcoming(sets: &RunSets, app: &Application, policy: &Policy, around: &Around<'_>) -> Option<Due> {
    let past = past(app, policy, around);
    let begun = sets.max_delay.map_or(around.now, |d| {
        // A start is delayed by no more than this.
        around.now.checked_sub(d.length()).unwrap_or(Timestamp::MIN)
    });
    let seen = begun.max(app.created_at).max(app.agenda.seen_until.unwrap_or(Timestamp::MIN));
    let delayed = sets.last_within(seen, around.now, &past);
    let delayed = delayed.filter(|due| sets.start(*due, app.id, &past) > around.now);
    let next = sets.next_after(around.now.max(seen), &past);
    delayed.into_iter().chain(next).min_by_key(|due| due.at)
}

/// The last moment whose start has come: of those that were missed, only one is looked at.
fn latest(sets: &RunSets, due: Due, app: &Application, policy: &Policy, around: &Around<'_>) -> Due {
    let past = past(app, policy, around);
    let instant = SignedDuration::from_nanos(1);
    let before = |t: Timestamp| t.checked_sub(instant).unwrap_or(Timestamp::MIN);
    let from = before(due.at);
    let last = sets.last_within(from, around.now, &past);
    let begun = |d: &Due| sets.start(*d, app.id, &past) <= around.now;
    // A delay is less than the way to the next moment, so at most one has passed and not begun.
    last.filter(begun).or_else(|| sets.last_within(from, before(last?.at), &past).filter(begun)).unwrap_or(due)
}

/// How long a run may wait to be taken: an hour, or until the next one. Where its machine is there and runs at one time are
/// limited, it waits for its place, which is no miss; then only the next run ends it.
fn patience(run: Run, sets: &RunSets, app: &Application, around: &Around<'_>) -> Option<SignedDuration> {
    if run.run_later {
        return None;
    }
    let until_next = app.next_run_at.map(|next| next.duration_since(around.now));
    let hour = (sets.max_parallel == 0 || !around.reachable).then_some(PATIENCE);
    until_next.into_iter().chain(hour).min()
}
