//! The past of a made-up ledger, in the order in which it happened: 180 days of tasks that came with the rhythm of day
//! and night, nearly all of them over, and a head of some that wait or run.

use std::collections::{BTreeMap, HashMap};

use domain::activity::{Activity, ActivityId, Body};
use domain::task::{Task, TaskId};
use domain::{Result, SignedDuration, Timestamp};
use ledger::Rev;

use crate::life::{Life, Made};
use crate::random::Random;
use crate::world::World;

/// How far back it reaches.
const DAYS: i64 = 180;
const HOUR: i64 = 3_600_000_000_000;
/// How many tasks come in an hour of the day, UTC, relative to each other: backups run at night.
const RHYTHM: [u64; 24] = [24, 24, 21, 15, 12, 9, 6, 5, 6, 9, 9, 9, 9, 9, 9, 9, 9, 9, 8, 8, 9, 12, 18, 21];
/// How much of a weekday's work is done on the last two days of seven, in percent.
const QUIET_DAYS: u64 = 70;
/// One in so many tasks is new enough to be open.
const HEAD: u64 = 2000;
/// Revisions for each task on the average: it is created, taken, started, reported on and completed.
const REVS_PER_TASK: i64 = 5;

/// A row of the past.
pub(crate) enum Item {
    Task(Box<Task>, Rev),
    Activity(Box<Activity>),
}

/// When a history begins that ends at this time.
pub(crate) fn begin(end: Timestamp) -> Timestamp {
    end - SignedDuration::from_hours(24 * DAYS) - SignedDuration::from_mins(1)
}

/// In which time so many of all tasks come, on the average.
pub(crate) fn time_for(some: u64, all: u64) -> SignedDuration {
    let nanos = i128::from(DAYS * 24 * HOUR) * i128::from(some) / i128::from(all.max(1));
    SignedDuration::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// The past, made as it is asked for.
pub(crate) struct History<'w> {
    life: Life<'w>,
    tasks: u64,
    made: u64,
    hours: Hours,
    begin: i64,
    last_created: i64,
    /// The first revision of a task.
    first_rev: i64,
    /// How long a revision lasts, in nanoseconds.
    rev_every: i64,
    /// Activities that begin later than the task that was made last, by that time: their numbers follow their times.
    later: BTreeMap<(Timestamp, u64), Later>,
    /// Counts them, so that those of one time keep their order.
    sequence: u64,
    /// The roots whose steps are still to come.
    roots: HashMap<TaskId, ActivityId>,
    activities: i64,
}

struct Later {
    activity: Activity,
    /// The last of its task.
    last: bool,
}

impl<'w> History<'w> {
    /// So many tasks in a world whose records took the revisions before.
    pub(crate) fn new(world: &'w World, tasks: u64, random: Random, end: Timestamp) -> History<'w> {
        let begin = nanos(begin(end));
        let span = DAYS * 24 * HOUR;
        let revs = i64::try_from(tasks).unwrap_or(i64::MAX).saturating_mul(REVS_PER_TASK).max(1);
        History {
            life: Life::new(world, random, nanos(end)),
            tasks,
            made: 0,
            hours: Hours::new(tasks, begin),
            begin,
            last_created: begin,
            first_rev: world.len() as i64 + 1,
            rev_every: (span / revs).max(1),
            later: BTreeMap::new(),
            sequence: 0,
            roots: HashMap::new(),
            activities: 0,
        }
    }

    /// The next task, with the activities that began before it; nothing but the remaining activities at the end.
    ///
    /// # Errors
    /// Those of the domain, which mean a defect here.
    pub(crate) fn next(&mut self, items: &mut Vec<Item>) -> Result<bool> {
        let Some(offset) = self.hours.next() else {
            self.begun_before(Timestamp::MAX, items);
            return Ok(false);
        };
        self.made += 1;
        let head = self.tasks - self.made < (self.tasks / HEAD).max(8);
        let id = TaskId(i64::try_from(self.made).unwrap_or(i64::MAX));
        let created = self.life.clock(id).at(self.begin + offset).max(self.last_created + 1);
        self.last_created = created;
        let Made { task, activities } = self.life.task(id, created, head)?;
        self.begun_before(task.created_at, items);
        let rev = self.rev(task.status.updated_at);
        items.push(Item::Task(Box::new(task), rev));
        let count = activities.len();
        for (n, activity) in activities.into_iter().enumerate() {
            self.sequence += 1;
            let last = n + 1 == count;
            self.later.insert((activity.created_at, self.sequence), Later { activity, last });
        }
        Ok(true)
    }

    /// The revision of a change at this time. A later change has a later one; what came together may share it, as in a
    /// commit of several writes.
    fn rev(&self, at: Timestamp) -> Rev {
        Rev(self.first_rev + (nanos(at) - self.begin).max(0) / self.rev_every)
    }

    fn begun_before(&mut self, time: Timestamp, items: &mut Vec<Item>) {
        while let Some(first) = self.later.first_entry()
            && first.key().0 < time
        {
            let Later { mut activity, last } = first.remove();
            self.activities += 1;
            let number = ActivityId(self.activities);
            activity.id = number;
            match &mut activity.body {
                Body::Root if last => {}
                Body::Root => drop(self.roots.insert(activity.task, number)),
                Body::Step(spec, _) => {
                    spec.parent = self.roots.get(&activity.task).copied();
                    if last {
                        self.roots.remove(&activity.task);
                    }
                }
            }
            items.push(Item::Activity(Box::new(activity)));
        }
    }
}

/// When tasks come, in nanoseconds since the beginning.
struct Hours {
    tasks: u64,
    /// The hour of the day, UTC, in which it begins.
    first: i64,
    weight: u64,
    total: u64,
    hour: i64,
    /// How many came before this hour, up to now, and up to its end.
    before: u64,
    given: u64,
    until: u64,
}

impl Hours {
    fn new(tasks: u64, begin: i64) -> Hours {
        let first = (begin / HOUR).rem_euclid(24);
        let total = (0..DAYS * 24).map(|hour| weight(first + hour)).sum();
        Hours { tasks, first, weight: 0, total, hour: -1, before: 0, given: 0, until: 0 }
    }
}

impl Iterator for Hours {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        while self.given == self.until {
            self.hour += 1;
            if self.hour == DAYS * 24 {
                return None;
            }
            self.weight += weight(self.first + self.hour);
            self.before = self.until;
            let until = u128::from(self.tasks) * u128::from(self.weight) / u128::from(self.total);
            self.until = u64::try_from(until).unwrap_or(u64::MAX);
        }
        let (place, count) = (self.given - self.before, self.until - self.before);
        self.given += 1;
        let within = i128::from(HOUR) * i128::from(place) / i128::from(count);
        Some(self.hour * HOUR + i64::try_from(within).expect("less than an hour"))
    }
}

fn weight(hour: i64) -> u64 {
    let (day, hour) = (hour / 24, usize::try_from(hour % 24).unwrap_or_default());
    RHYTHM[hour] * if day % 7 < 5 { 100 } else { QUIET_DAYS }
}

/// Nanoseconds since 1970.
pub(crate) fn nanos(t: Timestamp) -> i64 {
    domain::query::nanos(t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_come_in_order_and_more_of_them_at_night() {
        let times: Vec<_> = Hours::new(100_000, 5 * HOUR).collect();
        assert_eq!(times.len(), 100_000);
        assert!(times.is_sorted());
        assert!(times.iter().all(|t| (0..DAYS * 24 * HOUR).contains(t)));
        let at = |hour: i64| times.iter().filter(|t| (5 + *t / HOUR) % 24 == hour).count();
        assert!(at(0) > 3 * at(12) / 2 && at(0) > 3 * at(7));
        assert_eq!(Hours::new(3, 0).count(), 3);
    }
}
