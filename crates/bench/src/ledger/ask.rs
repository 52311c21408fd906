//! A question to the ledger and its answer, in a form that does not depend on who answers.

use std::cmp::Ordering;
use std::collections::HashMap;

use anyhow::Result;
use domain::query::{Field, Filter, Group, Key, Page, Query, Slice, TaskField, Value, nanos};
use domain::task::{Task, TaskRef};
use domain::{Scope, Uuid};
use ledger::{Changes, Ledger, Rev};

use super::clock::{Clock, Cost};

/// A question.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// A page of a list.
    Page(Scope, Query<TaskField>),
    /// How many there are, by these fields.
    Counts(Scope, Filter<TaskField>, Vec<TaskField>),
    /// What changed after a revision, at least so many.
    Changes(Rev, u32),
    /// One task.
    One(TaskRef),
}

/// What was answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    /// The numbers of the tasks, in their order.
    pub(crate) ids: Vec<i64>,
    /// How many there are in all, where that was asked.
    pub(crate) total: Option<u64>,
    /// Groups with their counts, sorted by their names.
    pub(crate) groups: Vec<(String, u64)>,
    /// Where the next page begins.
    pub(crate) next: Option<Key>,
}

/// An answer, and what it took.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) cost: Cost,
}

enum Raw {
    Page(Slice<Task>),
    Groups(Vec<Group>),
    Changes(Changes, u32),
    One(Box<Task>),
}

/// Asks a ledger. What is measured ends when the answer is there; reading it is the asker's own business.
pub(crate) async fn ask(ledger: &dyn Ledger, ask: &Ask) -> Result<Answered> {
    let everything = Scope::everything();
    let clock = Clock::start();
    let raw = match ask {
        Ask::Page(scope, query) => ledger.tasks(scope, query).await.map(Raw::Page),
        Ask::Counts(scope, filter, by) => ledger.task_counts(scope, filter, by).await.map(Raw::Groups),
        Ask::Changes(since, limit) => {
            ledger.changes(&everything, *since, *limit).await.map(|c| Raw::Changes(c, *limit))
        }
        Ask::One(task) => ledger.task(&everything, *task).await.map(|t| Raw::One(Box::new(t))),
    };
    let cost = clock.stop();
    let answer = match raw.map_err(|e| anyhow::anyhow!("{}", e.message))? {
        Raw::Page(slice) => Answer {
            ids: slice.items.iter().map(|t| t.id.0).collect(),
            total: slice.total,
            next: slice.next,
            ..Answer::default()
        },
        Raw::Groups(groups) => Answer::of_groups(&groups),
        // A revision is never cut in two, so there may be more than was asked for.
        Raw::Changes(changes, limit) => Answer {
            ids: changes.tasks.iter().take(limit as usize).map(|(_, t)| t.id.0).collect(),
            ..Answer::default()
        },
        Raw::One(task) => Answer { ids: vec![task.id.0], ..Answer::default() },
    };
    Ok(Answered { answer, cost })
}

impl Answer {
    /// Counts, whatever order they came in.
    pub(crate) fn of_groups(groups: &[Group]) -> Answer {
        let name = |g: &Group| g.values.iter().map(|v| text(v.as_ref())).collect::<Vec<_>>().join(" ");
        Answer::of_named(groups.iter().map(|g| (name(g), g.count)).collect())
    }

    /// Counts with the names of their groups.
    pub(crate) fn of_named(mut groups: Vec<(String, u64)>) -> Answer {
        groups.sort_unstable();
        Answer { groups, ..Answer::default() }
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> usize {
        self.ids.len() + self.groups.len()
    }

    /// Says how another answer to the same question differs, if it does. Where the next page begins follows from the
    /// rows, and not everybody says it.
    pub(crate) fn difference(&self, other: &Answer) -> Option<String> {
        if self.total != other.total && other.total.is_some() {
            return Some(format!("{:?} in all against {:?}", self.total, other.total));
        }
        if self.ids.len() != other.ids.len() || self.groups.len() != other.groups.len() {
            return Some(format!("{} rows against {}", self.rows(), other.rows()));
        }
        if let Some(place) = self.ids.iter().zip(&other.ids).position(|(a, b)| a != b) {
            return Some(format!("row {} is task {} against {}", place + 1, self.ids[place], other.ids[place]));
        }
        let place = self.groups.iter().zip(&other.groups).position(|(a, b)| a != b)?;
        Some(format!("group {:?} against {:?}", self.groups[place], other.groups[place]))
    }
}

/// A value as groups are named by it.
pub(crate) fn text(value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(Value::Int(n) | Value::Enum(n)) => n.to_string(),
        Some(Value::Text(s)) => s.clone(),
        Some(Value::Uuid(u)) => u.to_string(),
        Some(Value::Time(t)) => nanos(*t).to_string(),
        Some(Value::Bool(b)) => b.to_string(),
    }
}

/// All tasks of a small ledger, which answers by the definitions alone: `Filter::matches` and `Order::compare`.
pub(crate) struct Oracle {
    tasks: Vec<(Rev, Task)>,
    locators: HashMap<Uuid, String>,
}

impl Oracle {
    /// The tasks, with the revisions that changed them last, and where their tenants stand in the tree.
    pub(crate) fn new(tasks: Vec<(Rev, Task)>, locators: HashMap<Uuid, String>) -> Oracle {
        Oracle { tasks, locators }
    }

    /// What the answer must be.
    pub(crate) fn ask(&self, ask: &Ask) -> Answer {
        match ask {
            Ask::Page(scope, query) => self.page(scope, query),
            Ask::Counts(scope, filter, by) => {
                let mut groups: HashMap<String, u64> = HashMap::new();
                for task in self.matching(scope, filter) {
                    let value = |f: &TaskField| text(f.read(task).single().map(|c| c.to_value()).as_ref());
                    *groups.entry(by.iter().map(value).collect::<Vec<_>>().join(" ")).or_default() += 1;
                }
                Answer::of_named(groups.into_iter().collect())
            }
            Ask::Changes(since, limit) => {
                let mut changed: Vec<_> = self.tasks.iter().filter(|(rev, _)| rev > since).collect();
                changed.sort_by_key(|(rev, task)| (*rev, task.status.updated_at));
                let ids = changed.into_iter().take(*limit as usize).map(|(_, t)| t.id.0).collect();
                Answer { ids, ..Answer::default() }
            }
            Ask::One(wanted) => {
                let is = |t: &&(Rev, Task)| match wanted {
                    TaskRef::Id(id) => t.1.id == *id,
                    TaskRef::Uuid(uuid) => t.1.spec.uuid == *uuid,
                };
                Answer { ids: self.tasks.iter().filter(is).map(|(_, t)| t.id.0).collect(), ..Answer::default() }
            }
        }
    }

    fn page(&self, scope: &Scope, query: &Query<TaskField>) -> Answer {
        let Query { filter, order, page, total } = query;
        let mut found: Vec<_> = self.matching(scope, filter).collect();
        found.sort_by(|a, b| order.compare(a, b));
        let total = (*total || matches!(page, Page::Number { .. })).then_some(found.len() as u64);
        if let Page::After { key: Some(key), .. } = page {
            found.retain(|t| order.compare_to_key(t, key) == Ordering::Greater);
        }
        let skip = usize::try_from(page.offset()).unwrap_or(usize::MAX);
        let limit = page.limit() as usize;
        let more = found.len() > skip.saturating_add(limit);
        let shown: Vec<_> = found.into_iter().skip(skip).take(limit).collect();
        let next = shown.last().filter(|_| more).map(|t| order.key(t));
        Answer { ids: shown.iter().map(|t| t.id.0).collect(), total, next, ..Answer::default() }
    }

    fn matching<'a>(&'a self, scope: &'a Scope, filter: &'a Filter<TaskField>) -> impl Iterator<Item = &'a Task> {
        let inside = move |t: &Task| self.locators.get(&t.spec.tenant).is_some_and(|l| scope.contains(l));
        self.tasks.iter().map(|(_, t)| t).filter(move |t| inside(t) && filter.matches(t))
    }
}
