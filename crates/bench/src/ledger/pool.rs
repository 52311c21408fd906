//! What questions are made up from: tenants, resources, words and times of the ledger that is asked, a different one each
//! time, so that no cache of answers is measured.

use anyhow::Result;
use domain::query::{Filter, Pattern, TaskField, Test, Value};
use domain::task::{ResultCode, State, TaskId, TaskRef};
use domain::tenant::Tenant;
use domain::{Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Ledger, Rev};
use std::ops::Bound;

use crate::generate::{Manifest, Needle};
use crate::life;
use crate::random::Random;
use crate::words::TAGS;

/// Whose tasks are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    All,
    Middle,
    Leaf,
}

impl Whose {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Whose::All => "all",
            Whose::Middle => "middle",
            Whose::Leaf => "leaf",
        }
    }
}

/// A ledger's constants.
pub(crate) struct Pool {
    random: Random,
    middles: Vec<Scope>,
    leaves: Vec<Scope>,
    resources: Vec<Uuid>,
    rare: Vec<Needle>,
    frequent: Vec<Needle>,
    tasks: Vec<(i64, Uuid)>,
    count: u64,
    end: Timestamp,
    head: Rev,
}

impl Pool {
    /// That of a ledger that was made up so.
    pub(crate) async fn of(ledger: &dyn Ledger, manifest: &Manifest) -> Result<Pool> {
        let mut scopes = [Vec::new(), Vec::new()];
        let samples = &manifest.samples;
        for (scopes, places) in scopes.iter_mut().zip([&samples.middles, &samples.leaves]) {
            for place in places {
                let tenant = ledger.get::<Tenant>(&Scope::everything(), place.tenant).await;
                scopes.push(Scope::subtree(&tenant.map_err(|e| anyhow::anyhow!(e.message))?.value));
            }
            if scopes.is_empty() {
                scopes.push(Scope::everything());
            }
        }
        let [middles, leaves] = scopes;
        Ok(Pool {
            random: Random::new(manifest.seed ^ 0x706f_6f6c),
            middles,
            leaves,
            resources: samples.resources.clone(),
            rare: samples.rare.clone(),
            frequent: samples.frequent.clone(),
            tasks: samples.tasks.clone(),
            count: manifest.tasks,
            end: manifest.end,
            head: ledger.head().borrow().rev,
        })
    }

    /// One of the tenants of this size, with all below it; a different one for each `n`, as far as there are some.
    pub(crate) fn scope(&self, whose: Whose, n: usize) -> Scope {
        match whose {
            Whose::All => Scope::everything(),
            Whose::Middle => self.middles[n % self.middles.len()].clone(),
            Whose::Leaf => self.leaves[n % self.leaves.len()].clone(),
        }
    }

    /// Only tasks of one tenant, without those of tenants below it.
    pub(crate) fn tenant(&self, n: usize) -> Filter<TaskField> {
        let id = self.scope(if n.is_multiple_of(2) { Whose::Leaf } else { Whose::Middle }, n / 2).tenant();
        is(TaskField::Tenant, vec![Value::Uuid(id)])
    }

    /// Only tasks of one resource.
    pub(crate) fn resource(&self, n: usize) -> Filter<TaskField> {
        match self.resources.get(n % self.resources.len().max(1)) {
            Some(id) => filter(TaskField::ResourceId, Test::AnyOf(vec![Pattern::IsUuid(*id)])),
            None => Filter::all(),
        }
    }

    /// Only tasks of one of so many types.
    pub(crate) fn types(&mut self, how_many: usize) -> Filter<TaskField> {
        let mut types: Vec<_> = life::types().collect();
        let chosen = (0..how_many.min(types.len())).map(|_| types.swap_remove(self.random.below(types.len())));
        is(TaskField::Type, chosen.map(|t| Value::Text(t.to_owned())).collect())
    }

    /// Only tasks with one of so many tags.
    pub(crate) fn tags(&mut self, how_many: usize) -> Filter<TaskField> {
        let mut tags = TAGS.to_vec();
        let chosen = (0..how_many.min(tags.len())).map(|_| tags.swap_remove(self.random.below(tags.len())));
        is(TaskField::Tag, chosen.map(|t| Value::Text(t.to_owned())).collect())
    }

    /// Only tasks that ended so.
    pub(crate) fn result(&mut self) -> Filter<TaskField> {
        let code = *self.random.pick(ResultCode::ALL);
        is(TaskField::Result, vec![Value::Enum(code.ordinal())])
    }

    /// Only tasks about resources with a part in their names that few tasks have, or many.
    pub(crate) fn named(&self, rare: bool, n: usize) -> Filter<TaskField> {
        let needles = if rare { &self.rare } else { &self.frequent };
        let text = needles.get(n % needles.len().max(1)).map_or("a", |n| &n.text);
        contains(text)
    }

    /// A time so many hours before the end, a little sooner or later each time.
    pub(crate) fn ago(&mut self, hours: i64) -> Timestamp {
        let most = hours * 3_600_000_000_000;
        let least = most / 2;
        let nanos = least + (self.random.unit() * (most - least) as f64) as i64;
        self.end - SignedDuration::from_nanos(nanos)
    }

    /// A task.
    pub(crate) fn task(&mut self, by_uuid: bool) -> TaskRef {
        match self.tasks.get(self.random.below(self.tasks.len())) {
            Some((_, uuid)) if by_uuid => TaskRef::Uuid(*uuid),
            _ => TaskRef::Id(self.id()),
        }
    }

    /// The number of a task.
    pub(crate) fn id(&mut self) -> TaskId {
        TaskId(1 + self.random.below(usize::try_from(self.count).unwrap_or(usize::MAX)) as i64)
    }

    /// A revision so many tasks before the newest, about.
    pub(crate) fn rev(&mut self, tasks: usize) -> Rev {
        // Five revisions a task; see the history.
        Rev((self.head.0 - 5 * (tasks / 2 + self.random.below(tasks / 2 + 1)) as i64).max(0))
    }
}

/// Only rows with one of these values.
pub(crate) fn is(field: TaskField, values: Vec<Value>) -> Filter<TaskField> {
    filter(field, Test::AnyOf(values.into_iter().map(Pattern::Is).collect()))
}

/// Only tasks that are in this state.
pub(crate) fn state(state: State) -> Filter<TaskField> {
    is(TaskField::State, vec![Value::Enum(state.ordinal())])
}

/// Only tasks that went wrong.
pub(crate) fn failed() -> Filter<TaskField> {
    let codes = [ResultCode::Error, ResultCode::Abandoned, ResultCode::TimedOut];
    is(TaskField::Result, codes.map(|c| Value::Enum(c.ordinal())).into())
}

/// Only tasks with a time from this one on.
pub(crate) fn since(field: TaskField, from: Timestamp) -> Filter<TaskField> {
    filter(field, Test::Range { from: Bound::Included(Value::Time(from)), to: Bound::Unbounded })
}

/// Only tasks about resources with this in their names.
pub(crate) fn contains(text: &str) -> Filter<TaskField> {
    filter(TaskField::ResourceName, Test::AnyOf(vec![Pattern::Contains(text.to_owned())]))
}

/// Only tasks behind this number.
pub(crate) fn behind(id: TaskId) -> Filter<TaskField> {
    filter(TaskField::Id, Test::Range { from: Bound::Excluded(Value::Int(id.0)), to: Bound::Unbounded })
}

fn filter(field: TaskField, test: Test) -> Filter<TaskField> {
    Filter::all().and(field, test).expect("the test is made for the field")
}

/// What passes both.
pub(crate) fn both(a: Filter<TaskField>, b: &Filter<TaskField>) -> Filter<TaskField> {
    Filter::of(a.clauses().iter().chain(b.clauses()).cloned().collect())
}
