//! The table of all states x events, found by trying the machine itself: the source of `docs/concepts/states.md`.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    Event, EventKind, Executor, LeaseToken, Message, NotRun, Outcome, OutcomeCode, Progress, Rules, State, Task,
    TaskId, TaskSpec, Timer, state::Blocker,
};
use crate::error::Code;
use crate::{Moment, SignedDuration, Timestamp, Uuid};

/// One cell of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The state before.
    pub from: State,
    /// What happens.
    pub event: EventKind,
    /// The states it can lead to, over all combinations of the rules that matter.
    pub to: BTreeSet<State>,
    /// The codes with which it can be refused.
    pub refused: BTreeSet<&'static str>,
}

/// Every state with every event, in their order.
#[must_use]
pub fn transition_table() -> Vec<Row> {
    let mut rows = Vec::new();
    for &from in State::ALL {
        for &event in EventKind::ALL {
            let mut row = Row { from, event, to: BTreeSet::new(), refused: BTreeSet::new() };
            for variant in Variant::all() {
                let task = variant.task_in(from);
                for (event, moment) in variant.events(event, &task) {
                    match task.apply(event, moment) {
                        Ok(applied) => {
                            row.to.insert(applied.task.state());
                        }
                        Err(e) => {
                            row.refused.insert(Code::name(e.code));
                        }
                    }
                }
            }
            rows.push(row);
        }
    }
    rows
}

/// A combination of the rules on which transitions depend.
#[derive(Clone, Copy)]
struct Variant {
    attempts_left: bool,
    cancellable: bool,
    cancel_requested: bool,
    sustainable: bool,
}

const LEASE: &str = "lease";

impl Variant {
    fn all() -> impl Iterator<Item = Variant> {
        (0..16u8).map(|bits| Variant {
            attempts_left: bits & 1 != 0,
            cancellable: bits & 2 != 0,
            cancel_requested: bits & 4 != 0,
            sustainable: bits & 8 != 0,
        })
    }

    fn task_in(self, state: State) -> Task {
        let mut spec = TaskSpec::new(Uuid::nil(), "backup", "agents", Uuid::nil());
        spec.rules = Rules {
            cancellable: true,
            sustainable: self.sustainable,
            max_assign_count: if self.attempts_left { 2 } else { 1 },
            heartbeat_interval: Some(SignedDuration::from_secs(10)),
            queue_timeout: Some(SignedDuration::from_secs(60)),
            exec_timeout: Some(SignedDuration::from_secs(3600)),
            life_time: Some(SignedDuration::from_secs(7200)),
            ..Rules::default()
        };
        let t0 = start();
        let created = Task::create(TaskId(1), Arc::new(spec), t0.now);
        let mut task = created.expect("the variant's wish is valid");
        let steps: &[EventKind] = match state {
            State::Enqueued => &[],
            State::Assigned => &[EventKind::Claim],
            State::Started => &[EventKind::Claim, EventKind::Start],
            State::Paused => &[EventKind::Claim, EventKind::Start, EventKind::Pause],
            State::Completed => &[EventKind::Claim, EventKind::Start, EventKind::Complete],
        };
        for &step in steps {
            if let Some((event, moment)) = self.events(step, &task).next() {
                task = task.apply(event, moment).expect("the way to each state is open").task;
            }
        }
        task.status.cancel_requested = self.cancel_requested && state != State::Enqueued;
        let mut spec = (*task.spec).clone();
        spec.rules.cancellable = self.cancellable;
        task.spec = Arc::new(spec);
        task
    }

    /// The event with the right lease, and where it matters with a wrong one.
    fn events(self, kind: EventKind, task: &Task) -> impl Iterator<Item = (Event, Moment)> + use<> {
        let t = start();
        let lease = LeaseToken(LEASE.to_owned());
        let stale = LeaseToken("stale".to_owned());
        let blocker = Blocker {
            id: Uuid::nil(),
            activity: None,
            issue: Message { key: "tape".into(), context: serde_json::Value::Null },
            possible_solutions: vec![],
            solution: None,
        };
        let answer = Message { key: "inserted".into(), context: serde_json::Value::Null };
        let reported = |lease: LeaseToken| match kind {
            EventKind::Start => Event::Start { lease },
            EventKind::Heartbeat => Event::Heartbeat { lease },
            EventKind::Report => Event::Report { lease, progress: Progress::default() },
            EventKind::Pause => Event::Pause { lease, blockers: vec![blocker.clone()] },
            EventKind::Resume => Event::Resume { lease },
            EventKind::Complete => Event::Complete { lease, outcome: Outcome::of(OutcomeCode::Ok), progress: None },
            EventKind::Abandon => Event::Abandon { lease, reason: "restarted".into() },
            EventKind::Claim => Event::Claim { executor: Executor { id: "a".into(), ..Executor::default() }, lease },
            EventKind::Cancel => Event::Cancel { by: "operator".into() },
            EventKind::Solve => Event::Solve { blocker: Uuid::nil(), solution: answer.clone() },
            EventKind::Skip => Event::Skip {
                why: NotRun::Skipped,
                reason: "the former run is not done".into(),
                context: serde_json::Value::Null,
            },
            EventKind::Delete => Event::Delete,
            EventKind::Expire => Event::Expire { timer: Timer::Life },
        };
        let events: Vec<(Event, Moment)> = match kind {
            EventKind::Expire => {
                let timers: Vec<_> = task.deadlines(t.up_since).collect();
                match timers.is_empty() {
                    true => vec![(reported(lease), t.at(Timestamp::MAX))],
                    // Each timer at its own deadline: only the first one to run out may fire.
                    false => timers.into_iter().map(|(timer, at)| (Event::Expire { timer }, t.at(at))).collect(),
                }
            }
            EventKind::Claim | EventKind::Cancel | EventKind::Solve | EventKind::Skip | EventKind::Delete => {
                vec![(reported(lease), t)]
            }
            _ => vec![(reported(lease), t), (reported(stale), t)],
        };
        events.into_iter()
    }
}

fn start() -> Moment {
    Moment { now: Timestamp::UNIX_EPOCH, up_since: Timestamp::UNIX_EPOCH }
}
