//! Whose turn it is: the order in which waiting tasks are handed out.
//!
//! Tasks that the same executors may take, with the same urgency, wait in one [`Lane`]. In a lane the tenants take turns:
//! a round gives each of them one task, its oldest. A tenant that had nothing waiting comes in at the beginning of the next
//! round, behind those who came before it, and keeps its seat in every round until nothing of it waits any more. So:
//!
//! - While two tenants wait, they are served alternately, however much each of them has.
//! - Nobody saves up turns by being idle, and nobody gains any by enqueuing one task at a time.
//! - Tenants with one task each are served in the order in which they came.
//!
//! When it comes in, a task is given its round for good, so a hand-out takes the first ones and looks at no other. Nothing
//! is kept about a tenant: its next round follows from the youngest of its tasks that wait. Where some executors take only
//! some types or tenants, the lane's clock follows the fastest of them; a tenant that comes in late among those that are
//! left behind then waits for what was there before it, and never for what comes after it.
//!
//! Lanes of one claim that are equally urgent - other queues, and what is bound to this executor - take turns, too.

use std::cmp::Reverse;
use std::collections::VecDeque;

use domain::task::{Priority, Task, TaskId, TaskSpec};
use domain::{Result, Text, Timestamp};

use super::Tx;

/// Where tasks wait that the same executors may take, with the same urgency.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lane {
    pub(crate) queue: Text,
    /// For this agent alone.
    pub(crate) agent: Option<Text>,
    /// For agents of this group alone.
    pub(crate) cluster: Option<Text>,
    pub(crate) priority: Priority,
}

impl Lane {
    /// Where a task with this wish waits.
    pub(crate) fn of(spec: &TaskSpec) -> Lane {
        Lane {
            queue: spec.queue.clone(),
            agent: spec.affinity.agent.clone(),
            cluster: spec.affinity.cluster.clone(),
            priority: spec.priority,
        }
    }

    /// Whether a task with this wish waits here.
    pub(crate) fn holds(&self, spec: &TaskSpec) -> bool {
        let Lane { queue, agent, cluster, priority } = self;
        (queue, agent, cluster, priority) == (&spec.queue, &spec.affinity.agent, &spec.affinity.cluster, &spec.priority)
    }
}

/// How far a lane has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The latest round in which a task was handed out.
    pub(crate) round: i64,
    /// When a task was handed out last.
    pub(crate) served: Option<Timestamp>,
}

/// A place in a lane; the smallest is the next. The places of one tenant are in the order of its tasks' numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The round in which the task is handed out.
    pub(crate) round: i64,
    /// The seat in the round: who came in later sits before who has been waiting for rounds.
    pub(crate) joined: Reverse<i64>,
    /// The task.
    pub(crate) task: TaskId,
}

/// What comes back was handed out before: it sits before everybody.
const FIRST_SEAT: Reverse<i64> = Reverse(i64::MAX);

/// Gives a new task its place.
pub(crate) fn come_in(tx: &mut dyn Tx, task: &Task) -> Result<()> {
    let lane = Lane::of(&task.spec);
    let clock = tx.clock(&lane)?;
    let last = tx.youngest(&lane, task.spec.tenant)?.filter(|last| last.round >= clock.round);
    let place = match last {
        Some(Place { round, joined, .. }) => {
            let round = round + 1;
            // Behind one that came back it is as if the tenant had just come.
            Place { round, joined: joined.max(Reverse(round)), task: task.id }
        }
        None => Place { round: clock.round + 1, joined: Reverse(clock.round + 1), task: task.id },
    };
    tx.enqueue(&lane, task, place)
}

/// Gives a task that was handed out and is back a place in the present round, or before its tenant's next younger one.
pub(crate) fn come_back(tx: &mut dyn Tx, task: &Task) -> Result<()> {
    let lane = Lane::of(&task.spec);
    let present = tx.clock(&lane)?.round;
    let next = tx.next_younger(&lane, task.spec.tenant, task.id)?;
    let round = next.map_or(present, |next| next.round.min(present));
    tx.enqueue(&lane, task, Place { round, joined: FIRST_SEAT, task: task.id })
}

/// A lane that a claim takes from.
pub(crate) struct Open {
    pub(crate) lane: Lane,
    pub(crate) clock: Clock,
    /// The next ones, as far as they were read.
    page: VecDeque<Place>,
    /// Whether there are more behind the page.
    more: bool,
    /// Whether anything was handed out of it.
    pub(crate) taken: bool,
}

impl Open {
    /// The lane before anything of it was read.
    pub(crate) fn new((lane, clock): (Lane, Clock)) -> Open {
        Open { lane, clock, page: VecDeque::new(), more: true, taken: false }
    }

    /// Takes the next one out of the lane that was served longest ago. `read` gives the first places of a lane, at most
    /// `wanted`; what was taken before is not in the lane any more when it is called again.
    pub(crate) fn next(
        lanes: &mut [Open],
        wanted: usize,
        mut read: impl FnMut(&Lane) -> Result<Vec<Place>>,
    ) -> Result<Option<(&mut Open, Place)>> {
        for open in lanes.iter_mut().filter(|o| o.page.is_empty() && o.more) {
            open.page = read(&open.lane)?.into();
            open.more = open.page.len() >= wanted;
        }
        let first = |o: &Open| o.page.front().map(|place| (o.clock.served, place.task));
        let open = lanes.iter_mut().filter(|o| !o.page.is_empty()).min_by_key(|o| first(o));
        Ok(open.and_then(|o| o.page.pop_front().map(|place| (o, place))))
    }

    /// The task at this place was handed out.
    pub(crate) fn served(&mut self, place: Place, now: Timestamp) {
        self.clock = Clock { round: self.clock.round.max(place.round), served: Some(now) };
        self.taken = true;
    }
}
