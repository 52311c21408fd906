//! What a task looks like to somebody outside, what each act makes of it, and what it may look like when of some acts it is
//! not known whether they happened. Written anew from the table of states in docs/concepts/states.md, so that the machine
//! under test is not its own judge.

use std::collections::HashSet;

use domain::Timestamp;
use domain::task::{ResultCode, State};

/// What changes of a task, as far as the acts of this load change it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Where it is.
    pub state: State,
    /// How it ended.
    pub result: Option<ResultCode>,
    /// Whether somebody wants it cancelled.
    pub cancel_requested: bool,
    /// How often it was handed out.
    pub assign_count: u32,
    /// Who has it or had it last.
    pub executor: Option<String>,
    /// Whether it is hidden.
    pub deleted: bool,
}

/// What somebody does to a task.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Act {
    /// An executor takes it.
    Claim(String),
    /// Its executor begins.
    Start,
    /// Its executor says how far it is. [`Said`] keeps what; here it changes nothing.
    Progress(i64),
    /// Its executor cannot go on.
    Pause,
    /// Its executor goes on.
    Resume,
    /// Its executor adds a step, which is a report and changes nothing of the task.
    Step,
    /// Its executor ends it.
    Complete(ResultCode),
    /// Its executor gives it back.
    Abandon,
    /// Somebody wants it cancelled.
    Cancel,
    /// It is hidden.
    Delete,
}

/// An act that was acknowledged, with the task's stamp after it.
pub type Acknowledged = (Timestamp, Act);

/// How far a task is, as its executor said. Of all that is acknowledged, this alone may be lost when the server dies: what
/// was said last, until the next word of the executor, with which it is written.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// What is durable.
    pub sure: Option<i64>,
    /// What was said, or attempted, after that.
    pub since: Vec<i64>,
    /// Whether the newest word is still to be written: it has not moved the task's stamp.
    pub waits: bool,
}

impl Said {
    /// The executor did something else, and was heard.
    pub fn settle(&mut self) {
        self.sure = self.since.last().copied().or(self.sure);
        self.since.clear();
        self.waits = false;
    }

    /// Whether a task may be this far.
    #[must_use]
    pub fn may_be(&self, current: Option<i64>) -> bool {
        current == self.sure || current.is_some_and(|n| self.since.contains(&n))
    }
}

impl Shape {
    /// A task that was just created.
    #[must_use]
    pub fn created() -> Shape {
        Shape {
            state: State::Enqueued,
            result: None,
            cancel_requested: false,
            assign_count: 0,
            executor: None,
            deleted: false,
        }
    }

    /// What the API shows of it.
    #[must_use]
    pub fn of(task: &api::Task) -> Shape {
        Shape {
            state: task.state,
            result: task.result.as_ref().map(|r| r.code),
            cancel_requested: task.cancel_requested,
            assign_count: task.assign_count,
            executor: task.executor.as_ref().map(|e| e.id.to_string()),
            deleted: task.deleted_at.is_some(),
        }
    }

    /// The task after an act; none where the act is refused. `attempts` is how often it may be handed out.
    #[must_use]
    pub fn after(&self, act: &Act, attempts: u32) -> Option<Shape> {
        let mut next = self.clone();
        let held = matches!(self.state, State::Assigned | State::Started | State::Paused);
        match (act, self.state) {
            (Act::Claim(executor), State::Enqueued) => {
                next.state = State::Assigned;
                next.assign_count += 1;
                next.executor = Some(executor.clone());
            }
            (Act::Start, State::Assigned | State::Started) | (Act::Resume, State::Started | State::Paused) => {
                next.state = State::Started;
            }
            (Act::Pause, State::Started | State::Paused) => next.state = State::Paused,
            (Act::Progress(_) | Act::Step, _) if held => {}
            (Act::Complete(code), _) if held => next.end(*code),
            (Act::Abandon, _) if held => {
                if self.cancel_requested {
                    next.end(ResultCode::Cancelled);
                } else if self.assign_count >= attempts {
                    next.end(ResultCode::Abandoned);
                } else {
                    next.state = State::Enqueued;
                    next.executor = None;
                }
            }
            // Whoever was given it has not begun.
            (Act::Cancel, State::Enqueued | State::Assigned) => {
                next.cancel_requested = true;
                next.end(ResultCode::Cancelled);
            }
            (Act::Cancel, _) if held => next.cancel_requested = true,
            // To ask again is no error.
            (Act::Cancel, State::Completed) if self.cancel_requested && self.result == Some(ResultCode::Cancelled) => {}
            (Act::Delete, State::Completed) => next.deleted = true,
            _ => return None,
        }
        Some(next)
    }

    fn end(&mut self, code: ResultCode) {
        self.state = State::Completed;
        self.result = Some(code);
    }
}

/// Everything that a task may look like after all that was acknowledged, in the order of its stamps, and any of what was
/// only attempted, anywhere between.
///
/// Nothing is possible when the acknowledged acts themselves contradict each other.
#[must_use]
pub fn may_become(from: &Shape, done: &[Acknowledged], open: &[Act], attempts: u32) -> HashSet<Shape> {
    let mut done = done.to_vec();
    done.sort_by_key(|(stamp, _)| *stamp);
    let mut search = Search { done: &done, open, attempts, seen: HashSet::new(), found: HashSet::new() };
    search.from(from.clone(), 0, 0);
    search.found
}

struct Search<'a> {
    done: &'a [Acknowledged],
    open: &'a [Act],
    attempts: u32,
    seen: HashSet<(Shape, u64, u64)>,
    found: HashSet<Shape>,
}

impl Search<'_> {
    /// Goes on from here. The masks say what has happened, of the acknowledged acts and of the others.
    fn from(&mut self, shape: Shape, done: u64, open: u64) {
        assert!(self.done.len() < 64 && self.open.len() < 64, "no task has so many acts in one round");
        if !self.seen.insert((shape.clone(), done, open)) {
            return;
        }
        let next = (0..self.done.len()).find(|i| done & 1 << i == 0);
        if let Some(next) = next {
            // Acts that left the stamp alone share it with the one before, and may stand in either order.
            let stamp = self.done[next].0;
            let same = (next..self.done.len()).take_while(|i| self.done[*i].0 == stamp);
            for i in same.filter(|i| done & 1 << i == 0).collect::<Vec<_>>() {
                if let Some(after) = shape.after(&self.done[i].1, self.attempts) {
                    self.from(after, done | 1 << i, open);
                }
            }
        }
        for i in (0..self.open.len()).filter(|i| open & 1 << i == 0) {
            if let Some(after) = shape.after(&self.open[i], self.attempts) {
                self.from(after, done, open | 1 << i);
            }
        }
        if next.is_none() {
            self.found.insert(shape);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: i64) -> Timestamp {
        Timestamp::from_second(n).expect("in range")
    }

    #[test]
    fn what_was_acknowledged_is_all_there_and_in_its_order() {
        let done = [(at(3), Act::Progress(7)), (at(1), Act::Claim("w".to_owned())), (at(2), Act::Start)];
        let found = may_become(&Shape::created(), &done, &[], 1);
        let only = found.iter().next().expect("one way");
        assert_eq!((found.len(), only.state, only.assign_count), (1, State::Started, 1));
    }

    #[test]
    fn progress_is_sure_from_the_next_word_on() {
        let mut said = Said { sure: Some(1), since: vec![2, 3], waits: false };
        assert!([Some(1), Some(2), Some(3)].into_iter().all(|n| said.may_be(n)) && !said.may_be(None));
        said.settle();
        assert!(said.may_be(Some(3)) && !said.may_be(Some(2)) && !said.may_be(Some(1)));
    }

    #[test]
    fn what_was_only_attempted_may_have_happened_anywhere() {
        let done = [(at(1), Act::Claim("w".to_owned())), (at(2), Act::Start)];
        let open = [Act::Complete(ResultCode::Ok), Act::Cancel];
        let found = may_become(&Shape::created(), &done, &open, 1);
        let seen: HashSet<_> = found.iter().map(|s| (s.state, s.cancel_requested)).collect();
        let all =
            [(State::Started, false), (State::Started, true), (State::Completed, false), (State::Completed, true)];
        assert_eq!(seen, HashSet::from(all), "nothing, either, or both; but never less than what was acknowledged");
    }

    #[test]
    fn acknowledged_acts_that_contradict_each_other_leave_nothing() {
        let done = [(at(1), Act::Start)];
        assert!(may_become(&Shape::created(), &done, &[], 1).is_empty());
        // Unless something that was not answered explains it.
        assert_eq!(may_become(&Shape::created(), &done, &[Act::Claim("w".to_owned())], 1).len(), 1);
    }
}
