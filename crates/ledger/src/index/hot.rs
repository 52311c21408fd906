//! Tasks as they are now, of those that were changed lately or are shown again and again: what lists show most, and what
//! the writer is going to change next, is not read from the disk and decoded again each time.

use std::collections::{HashMap, VecDeque};

use domain::task::{Task, TaskId};

/// How many tasks are kept at most.
const MOST: usize = if cfg!(all(test, debug_assertions)) { 64 } else { 16_384 };

/// No task has this number.
const NOBODY: TaskId = TaskId(i64::MIN);

/// Tasks by their ids. Where there is no room, the longest kept one goes, unless it was asked for since its last turn. One
/// goes at a time: letting go of thousands would make somebody wait.
#[derive(Debug, Default)]
pub(crate) struct Hot {
    tasks: HashMap<TaskId, Kept>,
    /// Those that were put in, the longest kept first.
    turns: VecDeque<TaskId>,
    /// Those that were read lately and not kept, each at the place that its number gives it.
    read: Vec<TaskId>,
}

#[derive(Debug)]
struct Kept {
    /// None when it is no more as it was; the turn stays, because finding it would cost more than its room.
    task: Option<Task>,
    asked: bool,
}

impl Hot {
    /// A task as it is now, if it is here.
    pub(crate) fn get(&mut self, id: TaskId) -> Option<Task> {
        let kept = self.tasks.get_mut(&id)?;
        kept.asked = true;
        kept.task.clone()
    }

    /// Takes a task in as it is now.
    pub(crate) fn put(&mut self, task: Task) {
        if let Some(kept) = self.tasks.get_mut(&task.id) {
            kept.task = Some(task);
            return;
        }
        while self.turns.len() >= MOST {
            let Some(id) = self.turns.pop_front() else { break };
            match self.tasks.get_mut(&id) {
                Some(kept) if kept.asked => {
                    kept.asked = false;
                    self.turns.push_back(id);
                }
                _ => drop(self.tasks.remove(&id)),
            }
        }
        self.turns.push_back(task.id);
        self.tasks.insert(task.id, Kept { task: Some(task), asked: false });
    }

    /// Takes a task in that was read, if it was not the first time lately: whoever reads everything once shall not make
    /// what is shown all the time go.
    pub(crate) fn put_if_read_again(&mut self, task: &Task) {
        self.read.resize(MOST, NOBODY);
        let place = &mut self.read[task.id.0.unsigned_abs() as usize % MOST];
        if std::mem::replace(place, task.id) == task.id {
            self.put(task.clone());
        }
    }

    /// Lets go of a task that is no more as it was.
    pub(crate) fn forget(&mut self, id: TaskId) {
        if let Some(kept) = self.tasks.get_mut(&id) {
            kept.task = None;
        }
    }

    /// Lets go of all.
    pub(crate) fn clear(&mut self) {
        *self = Hot::default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::task::TaskSpec;
    use domain::{Timestamp, Uuid};

    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_goes() {
        let task = |n: usize| {
            let spec = TaskSpec::new(Uuid::from_u128(n as u128), "backup", "agents", Uuid::nil());
            Task::create(TaskId(n as i64), Arc::new(spec), Timestamp::UNIX_EPOCH).expect("a task")
        };
        let mut hot = Hot::default();
        for n in 0..4 * MOST {
            hot.put(task(n));
            assert!(hot.get(TaskId(0)).is_some(), "it is asked for all the time");
        }
        assert_eq!(hot.get(TaskId(1)), None);
        assert_eq!((hot.tasks.len(), hot.turns.len()), (MOST, MOST));
        hot.forget(TaskId(0));
        assert_eq!(hot.get(TaskId(0)), None);
        hot.put_if_read_again(&task(0));
        for n in 1..MOST {
            hot.put_if_read_again(&task(n));
        }
        assert!((0..MOST).all(|n| hot.get(TaskId(n as i64)).is_none()), "each was read once");
        hot.put_if_read_again(&task(0));
        assert!(hot.get(TaskId(0)).is_some(), "and this one twice");
        assert_eq!((hot.tasks.len(), hot.turns.len()), (MOST, MOST));
    }
}
