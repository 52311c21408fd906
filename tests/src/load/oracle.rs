//! What lists must answer: questions put to the server, and to all tasks as they were read one by one.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use api::client::{Client, ListQuery};
use api::{NewTenant, NewToken};
use domain::query::{Cell, Direction, Field, FieldKind, Filter, Order, Pattern, TaskField, Test, Value};
use domain::task::{
    Affinity, Assignment, Completion, Executor, Issuer, LeaseToken, Named, Phase, Run, State, Status, Task, TaskId,
    TaskResult, TaskSpec,
};
use domain::{Code, Role, Shared, Timestamp, Uuid};

use super::Random;
use super::book::TAGS;
use crate::{Up, until};

/// Every task there is, read by its number.
#[derive(Debug)]
pub struct Oracle {
    rows: Vec<(Task, api::Task)>,
}

/// A question to the list of tasks.
#[derive(Debug, Clone)]
pub struct Question {
    query: ListQuery,
    filter: Filter<TaskField>,
    order: Order<TaskField>,
}

/// Who asks: with which client, and whose tasks are there for it; none = everybody's.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The client.
    pub client: Client,
    /// The owners within its scope.
    pub tenants: Option<HashSet<Uuid>>,
}

/// Owners in a tree, and somebody who sees a part of it.
#[derive(Debug, Clone)]
pub struct Owners {
    /// All of them, the root too.
    pub all: Vec<Uuid>,
    seen: HashSet<Uuid>,
    token: String,
}

impl Owners {
    /// Makes them.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn make(client: &Client) -> Owners {
        let make = async |name: &str, parent: Option<Uuid>| {
            let new = NewTenant { name: name.to_owned(), parent, description: String::new() };
            client.create_tenant(&new).await.expect("a tenant").id
        };
        let partner = make("partner", None).await;
        let below = [make("customer 1", Some(partner)).await, make("customer 2", Some(partner)).await];
        let other = make("other", None).await;
        let token = NewToken { name: "guest".to_owned(), role: Role::Viewer, tenant: Some(partner), expires_at: None };
        let token = client.create_token(&token).await.expect("a token").secret;
        let seen = HashSet::from([partner, below[0], below[1]]);
        Owners { all: vec![Uuid::nil(), partner, below[0], below[1], other], seen, token }
    }

    /// Who sees a part of them, on this server.
    #[must_use]
    pub fn guest(&self, up: &Up<'_>) -> Asker {
        Asker { client: up.client_as(&self.token), tenants: Some(self.seen.clone()) }
    }
}

impl Oracle {
    /// From all tasks, hidden ones too.
    #[must_use]
    pub fn new(tasks: impl IntoIterator<Item = api::Task>) -> Oracle {
        Oracle { rows: tasks.into_iter().map(|t| (in_domain(&t), t)).collect() }
    }

    /// The tasks that are not hidden.
    pub(super) fn shown(&self) -> impl Iterator<Item = &api::Task> {
        self.rows.iter().map(|(_, wire)| wire).filter(|t| t.deleted_at.is_none())
    }

    fn matching(&self, asker: &Asker, filter: &Filter<TaskField>) -> Vec<&(Task, api::Task)> {
        let sees = |t: &Task| asker.tenants.as_ref().is_none_or(|all| all.contains(&t.spec.tenant));
        self.rows.iter().filter(|(t, _)| sees(t) && filter.matches(t)).collect()
    }

    fn answer(&self, asker: &Asker, question: &Question) -> Vec<&api::Task> {
        let mut rows = self.matching(asker, &question.filter);
        rows.sort_by(|(a, _), (b, _)| question.order.compare(a, b));
        rows.into_iter().map(|(_, wire)| wire).collect()
    }

    /// Puts a question in one of the ways that there are, and compares: by page numbers, by reading on, or the counts.
    ///
    /// # Panics
    /// When the server answers otherwise, or not in time.
    pub async fn ask(&self, asker: &Asker, question: &Question, random: &mut Random) {
        match random.below(10) {
            0..4 => self.pages(asker, question, random).await,
            4..8 => self.walk(asker, question, random).await,
            _ => self.counts(asker, question, random).await,
        }
    }

    /// The first page, one in the middle, the last, and the one behind it.
    async fn pages(&self, asker: &Asker, question: &Question, random: &mut Random) {
        let right = self.answer(asker, question);
        let size = 1 + random.below(60);
        let pages = right.len().div_ceil(size) as u64;
        for number in [1, 1 + random.below(pages as usize) as u64, pages, pages + 1] {
            let query = question.query.clone().limit(size as u32).page(number.max(1));
            let got = listed(&asker.client, &query).await;
            let wanted = right.chunks(size).nth(number.max(1) as usize - 1).unwrap_or_default();
            assert_eq!(got.total, Some(right.len() as u64), "the total of {query:?}");
            same(&got.items, wanted, &query);
        }
    }

    /// From the start on, as far as twelve requests go; now and then that is to the end.
    async fn walk(&self, asker: &Asker, question: &Question, random: &mut Random) {
        let right = self.answer(asker, question);
        let to_the_end = if random.percent(10) { right.len() / 12 } else { 0 };
        let size = (1 + random.below(100)).max(to_the_end);
        let first = question.query.clone().limit(size.min(1000) as u32).total();
        let (mut query, mut met) = (first.clone(), Vec::new());
        for _ in 0..14 {
            let got = listed(&asker.client, &query).await;
            assert_eq!(got.total, Some(right.len() as u64), "the total of {query:?}");
            met.extend(got.items);
            let Some(next) = got.next else {
                // Then that was all, and not a row more or less.
                same(&met, &right, &first);
                return;
            };
            query = first.clone().cursor(&next);
        }
        same(&met, &right[..met.len().min(right.len())], &first);
    }

    async fn counts(&self, asker: &Asker, question: &Question, random: &mut Random) {
        const BY: [TaskField; 7] = [
            TaskField::State,
            TaskField::Result,
            TaskField::Type,
            TaskField::Tenant,
            TaskField::Queue,
            TaskField::Priority,
            TaskField::ResourceName,
        ];
        let first = random.below(BY.len());
        let by: Vec<_> =
            [Some(BY[first]), random.percent(50).then(|| BY[(first + 1 + random.below(BY.len() - 1)) % BY.len()])]
                .into_iter()
                .flatten()
                .collect();
        let rows = self.matching(asker, &question.filter);
        let mut right: BTreeMap<BTreeMap<String, String>, u64> = BTreeMap::new();
        for (task, _) in &rows {
            let value = |f: &TaskField| Some((f.name().to_owned(), plain(*f, f.read(task).single()?)));
            *right.entry(by.iter().filter_map(value).collect()).or_default() += 1;
        }
        let names: Vec<_> = by.iter().map(|f| f.name()).collect();
        // An order says nothing to a count.
        let pairs = question.query.pairs().iter().filter(|(name, _)| name != "order");
        let query = pairs.fold(ListQuery::new(), |q, (name, value)| q.filter(name, value));
        let asked = async || ready(asker.client.task_counts(&query, &names).await);
        let got = until("counts are answered", asked).await;
        assert_eq!(got.total, rows.len() as u64, "the total of {names:?} of {query:?}");
        assert!(got.groups.is_sorted_by(|a, b| a.count >= b.count), "{got:?}");
        let values = |group: &api::TaskCount| {
            group.values.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        let groups: BTreeMap<BTreeMap<_, _>, _> = got.groups.iter().map(|g| (values(g), g.count)).collect();
        assert_eq!(groups.len(), got.groups.len(), "a group stands twice: {got:?}");
        assert_eq!(groups, right, "{names:?} of {query:?}");
    }
}

impl Question {
    /// Questions that people ask all the time.
    #[must_use]
    pub fn usual(oracle: &Oracle) -> Vec<Question> {
        let ended: Vec<_> = oracle.rows.iter().filter_map(|(t, _)| t.completed_at()).collect();
        let since = ended.get(ended.len() / 2).copied().unwrap_or(Timestamp::UNIX_EPOCH);
        let bad = [("result", "error,abandoned,timedout".to_owned()), ("completed_at_from", since.to_string())];
        let simple: &[&[(&str, &str)]] = &[
            &[],
            &[("order", "id")],
            &[("order", "-updated_at")],
            &[("order", "completed_at")],
            &[("order", "priority,type")],
            &[("state", "enqueued")],
            &[("state", "assigned,started,paused")],
            &[("state", "completed"), ("order", "-completed_at")],
            &[("result", "ok"), ("type", "files,mailbox")],
            &[("contains", "b\u{fc}ro")],
            &[("contains", "SRV"), ("state", "completed")],
            &[("contains", "b, m")],
            &[("tag", "gold,silver,a\\,b"), ("result", "ok")],
            &[("cancel_requested", "true")],
            &[("deleted_at_from", "2000-01-01T00:00:00Z"), ("order", "-deleted_at")],
        ];
        let mut all: Vec<Vec<(&str, String)>> =
            simple.iter().map(|pairs| pairs.iter().map(|(n, v)| (*n, (*v).to_owned())).collect()).collect();
        all.push(bad.to_vec());
        all.into_iter().map(|pairs| Question::of(pairs.into_iter().map(|(n, v)| (n.to_owned(), v)).collect())).collect()
    }

    /// Any question that the API takes, with values that occur.
    pub fn random(oracle: &Oracle, random: &mut Random) -> Question {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for _ in 0..random.below(4) {
            let field = *random.pick(TaskField::ALL);
            if pairs.iter().any(|(name, _)| name.starts_with(field.name())) {
                continue;
            }
            match field.kind() {
                FieldKind::Time => {
                    let mut ends: Vec<_> = (0..2).filter_map(|_| oracle.value(field, random)).collect();
                    // As times: as texts, a fraction of a second would come before the whole one.
                    ends.sort_by_key(|text| text.parse::<Timestamp>().expect("a time"));
                    match (ends.len(), random.below(3)) {
                        (2, 0) => pairs.push((format!("{}_from", field.name()), ends[0].clone())),
                        (2, 1) => pairs.push((format!("{}_to", field.name()), ends[1].clone())),
                        (2, _) => {
                            pairs.push((format!("{}_from", field.name()), ends[0].clone()));
                            pairs.push((format!("{}_to", field.name()), ends[1].clone()));
                        }
                        _ => {}
                    }
                }
                FieldKind::Texts => {
                    let values: Vec<_> = TAGS.iter().filter(|_| random.percent(40)).map(|t| escaped(t)).collect();
                    if !values.is_empty() {
                        pairs.push((field.name().to_owned(), values.join(",")));
                    }
                }
                _ => {
                    let values: Vec<_> = (0..1 + random.below(4)).filter_map(|_| oracle.value(field, random)).collect();
                    if !values.is_empty() {
                        pairs.push((field.name().to_owned(), values.join(",")));
                    }
                }
            }
        }
        if random.percent(20) && pairs.iter().all(|(name, _)| !name.starts_with("resource_name")) {
            let pieces = ["SRV", "srv-m", "\u{fc}", "B\u{dc}R", " 1", "%", "_x", "o 0", "nowhere", ", "];
            pairs.push(("contains".to_owned(), (*random.pick(&pieces)).to_owned()));
        }
        if random.percent(70) {
            let mut fields: Vec<TaskField> = TaskField::ALL.iter().copied().filter(|f| f.sortable()).collect();
            let terms: Vec<_> = (0..1 + random.below(2))
                .map(|_| {
                    let field = fields.swap_remove(random.below(fields.len()));
                    format!("{}{}", if random.percent(50) { "-" } else { "" }, field.name())
                })
                .collect();
            pairs.push(("order".to_owned(), terms.join(",")));
        }
        Question::of(pairs)
    }

    /// The question of these parameters, read anew here.
    fn of(pairs: Vec<(String, String)>) -> Question {
        let (mut filter, mut order) = (Filter::all(), Order::newest());
        let mut ranges: BTreeMap<&str, (Bound<Value>, Bound<Value>)> = BTreeMap::new();
        for (name, value) in &pairs {
            if name == "order" {
                let term = |text: &str| {
                    let (name, direction) = match text.strip_prefix('-') {
                        Some(name) => (name, Direction::Desc),
                        None => (text, Direction::Asc),
                    };
                    (TaskField::parse(name).expect("a field"), direction)
                };
                order = Order::by(value.split(',').map(term).collect()).expect("an order");
            } else if name == "contains" {
                let test = Test::AnyOf(vec![Pattern::Contains(value.clone())]);
                filter = filter.and(TaskField::ResourceName, test).expect("a filter");
            } else if let Some(name) = name.strip_suffix("_from") {
                let range = ranges.entry(name).or_insert((Bound::Unbounded, Bound::Unbounded));
                range.0 = Bound::Included(Value::Time(value.parse().expect("a time")));
            } else if let Some(name) = name.strip_suffix("_to") {
                let range = ranges.entry(name).or_insert((Bound::Unbounded, Bound::Unbounded));
                range.1 = Bound::Excluded(Value::Time(value.parse().expect("a time")));
            } else {
                let field = TaskField::parse(name).expect("a field");
                // The mark stands for a comma that belongs to a value.
                let values = value.replace("\\,", "\u{0}");
                let parse = |v: &str| field.kind().parse(name, &v.replace('\u{0}', ",")).expect("a value");
                let patterns = values.split(',').map(|v| Pattern::Is(parse(v))).collect();
                filter = filter.and(field, Test::AnyOf(patterns)).expect("a filter");
            }
        }
        for (name, (from, to)) in ranges {
            let field = TaskField::parse(name).expect("a field");
            filter = filter.and(field, Test::Range { from, to }).expect("a range");
        }
        if !filter.clauses().iter().any(|c| c.field() == TaskField::DeletedAt) {
            filter = filter.and(TaskField::DeletedAt, Test::Absent).expect("a filter");
        }
        let query = pairs.iter().fold(ListQuery::new(), |q, (name, value)| q.filter(name, value));
        Question { query, filter, order }
    }
}

impl Oracle {
    /// A value that occurs, as the parameter takes it.
    fn value(&self, field: TaskField, random: &mut Random) -> Option<String> {
        // Rare fields are worth several looks.
        (0..8).find_map(|_| {
            let (task, _) = self.rows.get(random.below(self.rows.len()))?;
            field.read(task).single().map(|cell| escaped(&plain(field, cell)))
        })
    }
}

/// A value in the text form of the API.
fn plain(field: TaskField, cell: Cell<'_>) -> String {
    match (cell, field.kind()) {
        (Cell::Int(n), _) => n.to_string(),
        (Cell::Text(text), _) => text.to_owned(),
        (Cell::Uuid(uuid), _) => uuid.to_string(),
        (Cell::Time(time), _) => time.to_string(),
        (Cell::Bool(yes), _) => yes.to_string(),
        (Cell::Enum(n), FieldKind::Enum(names)) => names[usize::try_from(n).expect("an ordinal")].to_owned(),
        (Cell::Enum(n), kind) => panic!("{n} in a field of {kind:?}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace(',', "\\,")
}

/// The answer, or nothing while lists are not ready.
fn ready<T>(answer: api::client::Result<T>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(e) if e.is(Code::Unavailable) => None,
        Err(e) => panic!("a question was refused: {e:?}"),
    }
}

async fn listed(client: &Client, query: &ListQuery) -> api::List<api::Task> {
    until("the list is ready", async || ready(client.tasks(query).await)).await
}

fn same(got: &[api::Task], wanted: &[&api::Task], query: &ListQuery) {
    let ids = |tasks: &mut dyn Iterator<Item = i64>| tasks.collect::<Vec<_>>();
    let (mine, theirs) = (ids(&mut wanted.iter().map(|t| t.id)), ids(&mut got.iter().map(|t| t.id)));
    assert_eq!(theirs, mine, "the tasks (first as listed, then as read one by one) of {query:?}");
    for (got, wanted) in got.iter().zip(wanted) {
        assert_eq!(&got, wanted, "a task in the list of {query:?}");
    }
}

/// A task as the domain sees it, as far as it can be asked for.
fn in_domain(task: &api::Task) -> Task {
    let named = |n: &Option<api::Named>| {
        n.as_ref().map(|n| Named {
            id: n.id.clone(),
            kind: n.kind.clone().unwrap_or_default(),
            name: n.name.clone().unwrap_or_default(),
        })
    };
    let executor = task.executor.as_ref().map(|e| Executor { id: e.id.clone(), ..Executor::default() });
    let lease = LeaseToken(String::new());
    let assignment = || Assignment {
        executor: executor.clone().expect("somebody has it"),
        lease: lease.clone(),
        assigned_at: task.assigned_at.expect("it was handed out"),
        last_report_at: task.updated_at,
    };
    let run = || Run { assignment: assignment(), started_at: task.started_at.expect("it was started") };
    let phase = match task.state {
        State::Enqueued => Phase::Enqueued,
        State::Assigned => Phase::Assigned(assignment()),
        State::Started => Phase::Started(run()),
        State::Paused => Phase::Paused(run()),
        State::Completed => Phase::Completed(Box::new(Completion {
            executor: executor.clone(),
            assigned_at: task.assigned_at,
            started_at: task.started_at,
            lease: None,
            completed_at: task.completed_at.expect("it is over"),
            result: TaskResult {
                code: task.result.as_ref().expect("what is over has a result").code,
                error: None,
                warnings: Vec::new(),
                payload: domain::Document::default(),
            },
        })),
    };
    let mut spec = TaskSpec::new(task.uuid, &task.kind, &task.queue, task.tenant);
    spec.seeding = task.seeding;
    spec.priority = task.priority;
    spec.tags = task.tags.clone();
    spec.workflow_id = task.workflow_id;
    spec.issuer = Issuer { id: task.issuer.as_ref().map_or("".into(), |i| i.id.clone()), ..Issuer::default() };
    spec.started_by = task.started_by.clone();
    spec.policy = named(&task.policy);
    spec.resource = named(&task.resource);
    if let Some(affinity) = &task.affinity {
        spec.affinity = Affinity { agent: affinity.agent.clone(), cluster: affinity.cluster.clone() };
    }
    Task {
        id: TaskId(task.id),
        spec: Arc::new(spec),
        created_at: task.created_at,
        status: Shared::new(Status {
            phase,
            assign_count: task.assign_count,
            cancel_requested: task.cancel_requested,
            cancelled_by: None,
            blockers: Vec::new(),
            progress: None,
            enqueued_at: task.enqueued_at,
            updated_at: task.updated_at,
            deleted_at: task.deleted_at,
        }),
    }
}
