//! Histories and questions that nobody would think of, made from a list of numbers so that proptest can shrink them.

use std::ops::Bound;

use domain::activity::{ActivityEvent, ActivityId, ActivityRef, ActivitySpec};
use domain::query::{Clause, Direction, Field, FieldKind, Filter, Order, Page, Pattern, Query, Test, Value};
use domain::record::{Record, RecordKind};
use domain::task::{
    Affinity, Blocker, Entity, Event, Executor, LeaseToken, Message, Named, NotRun, Outcome, OutcomeCode, Priority,
    Progress, TaskId, TaskRef, TaskSpec,
};
use domain::{Scope, SignedDuration, Text, Timestamp, Uuid};

use super::records::one_of_each;
use super::world::{QUEUE, World, seconds};
use crate::{Claim, Committed, Expect, Rev, Stored, Write, Written};

/// Decides, by a list of numbers; zeros behind its end.
pub(super) struct Dice {
    numbers: std::vec::IntoIter<u32>,
}

impl Dice {
    pub(super) fn new(numbers: Vec<u32>) -> Dice {
        Dice { numbers: numbers.into_iter() }
    }

    /// A number below `n`.
    pub(super) fn roll(&mut self, n: usize) -> usize {
        self.numbers.next().unwrap_or(0) as usize % n.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.roll(n) == 1
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.roll(from.len())]
    }

    fn word(&mut self) -> Text {
        (*self.pick(&["a", "A", "ab", "Ärger", "ß", "İx", "z\u{0}y", "%_", "long name of something"])).into()
    }

    fn optional<T>(&mut self, f: impl FnOnce(&mut Dice) -> T) -> Option<T> {
        if self.one_in(2) { Some(f(self)) } else { None }
    }
}

/// What a history has brought forth so far.
#[derive(Default)]
pub(super) struct Known {
    specs: Vec<TaskSpec>,
    leases: Vec<(TaskId, LeaseToken)>,
    old_leases: Vec<(TaskId, LeaseToken)>,
    steps: i64,
    records: Vec<Stored<Record>>,
}

impl Known {
    /// Remembers what a commit gave.
    pub(super) fn note(&mut self, done: &Committed) {
        for written in &done.written {
            match written {
                Written::Task { task, .. } => {
                    if self.specs.iter().all(|s| s.uuid != task.spec.uuid) {
                        self.specs.push((*task.spec).clone());
                    }
                    if task.lease().is_none() {
                        self.old_leases.extend(self.leases.extract_if(.., |(id, _)| *id == task.id));
                    }
                }
                Written::Claimed(tasks) => {
                    self.leases.extend(tasks.iter().filter_map(|t| Some((t.id, t.lease()?.clone()))));
                }
                Written::Activity(view) => self.steps = self.steps.max(view.activity.id.0),
                Written::Record(stored) => {
                    self.records.retain(|r| r.value.id() != stored.value.id());
                    self.records.push((**stored).clone());
                }
                Written::Removed(_) => {}
            }
        }
    }
}

/// A scope of the world; mostly everything.
pub(super) fn scope(dice: &mut Dice, w: &World) -> Scope {
    match dice.roll(16) {
        1 => Scope::subtree(&w.acme),
        2 => Scope::subtree(&w.eu),
        3 => Scope::subtree(&w.other),
        _ => Scope::everything(),
    }
}

/// What resources are named by, where they are named by a uuid.
pub(super) fn resource(dice: &mut Dice) -> Uuid {
    Uuid::from_u128(0xabcd_ef00 + dice.roll(5) as u128)
}

fn resource_text(dice: &mut Dice) -> Text {
    let text = resource(dice).to_string();
    if dice.one_in(4) { text.to_uppercase().into() } else { text.into() }
}

/// A wish with anything in it.
pub(super) fn spec(dice: &mut Dice, w: &World) -> TaskSpec {
    let tenant = *dice.pick(&[w.acme.id, w.eu.id, w.other.id, w.root.id]);
    let kind = *dice.pick(&["backup", "check", "Prüfung"]);
    let queue = *dice.pick(&[QUEUE, "slow"]);
    let mut spec = TaskSpec::new(w.id(), kind, queue, tenant);
    spec.seeding = dice.one_in(2);
    spec.priority = *dice.pick(Priority::ALL);
    spec.tags = (0..dice.roll(3)).map(|_| dice.word()).collect();
    spec.workflow_id = dice.optional(|d| *d.pick(&[-1, 0, 5]));
    spec.issuer.id = if dice.one_in(2) { dice.word() } else { Text::default() };
    spec.started_by = dice.optional(Dice::word);
    let named = |d: &mut Dice| Named {
        id: if d.one_in(4) { resource_text(d) } else { d.word() },
        kind: if d.one_in(2) { d.word() } else { Text::default() },
        name: if d.one_in(3) { Text::default() } else { d.word() },
    };
    spec.policy = dice.optional(named);
    spec.resource = dice.optional(named);
    spec.parent_entity = dice.optional(named).map(|n| Entity { id: n.id, kind: n.kind, value: n.name });
    spec.affinity = Affinity {
        agent: if dice.one_in(4) { Some((*dice.pick(&["a1", "a2"])).into()) } else { None },
        cluster: if dice.one_in(4) { Some("c1".into()) } else { None },
    };
    let timeout = |d: &mut Dice| if d.one_in(3) { Some(seconds(5 + d.roll(90) as i64)) } else { None };
    let rules = &mut spec.rules;
    rules.max_assign_count = 1 + dice.roll(3) as u32;
    rules.sustainable = dice.one_in(3);
    rules.heartbeat_interval = timeout(dice);
    rules.cancellable = rules.heartbeat_interval.is_some() && dice.one_in(2);
    rules.ack_timeout = seconds(5 + dice.roll(90) as i64);
    rules.queue_timeout = timeout(dice);
    rules.exec_timeout = timeout(dice);
    rules.life_time = timeout(dice);
    spec
}

/// Something that might happen next, possible or not.
pub(super) fn write(dice: &mut Dice, w: &World, known: &Known) -> Write {
    let task = TaskId(1 + dice.roll(known.specs.len() + 1) as i64);
    let leases = if dice.one_in(8) { &known.old_leases } else { &known.leases };
    let (held, lease) = match leases.len() {
        0 => (task, LeaseToken("none".into())),
        n => leases[dice.roll(n)].clone(),
    };
    let report = |event| Write::Task(TaskRef::Id(held), event);
    // Nobody can report before somebody has something.
    match dice.roll(if known.leases.is_empty() { 9 } else { 38 }) {
        0..=4 => Write::CreateTask(Box::new(spec(dice, w))),
        5 if !known.specs.is_empty() => Write::CreateTask(Box::new(dice.pick(&known.specs).clone())),
        5..=8 => {
            // Mostly somebody who may take nearly everything, so that there is something to report on.
            let choosy = dice.one_in(3);
            let pick = |dice: &mut Dice, from: &[&'static str]| from[if choosy { dice.roll(from.len()) } else { 0 }];
            let executor = pick(dice, &["a1", "a2", ""]);
            let executor = Executor { id: executor.into(), cluster_id: pick(dice, &["c1", "c2", ""]).into() };
            let queues = if choosy { vec!["slow".to_owned()] } else { vec!["slow".to_owned(), QUEUE.to_owned()] };
            let types = if choosy { vec!["check".to_owned(), "Prüfung".to_owned()] } else { vec![] };
            let n = 1 + dice.roll(3);
            Write::Claim(Claim { queues, types, executor, ..w.claim("", n) })
        }
        9..=11 | 30..=33 => report(Event::Start { lease }),
        12 => report(Event::Heartbeat { lease }),
        13 => report(Event::Report { lease, progress: progress(dice) }),
        14 => report(Event::Pause { lease, blockers: blockers(dice) }),
        15 => report(Event::Resume { lease }),
        16 | 17 => report(Event::Complete { lease, outcome: outcome(dice), progress: dice.optional(progress) }),
        18 => report(Event::Abandon { lease, reason: "tired".into() }),
        19 => Write::Task(TaskRef::Id(task), Event::Cancel { by: "Jo".into() }),
        20 => Write::Task(
            TaskRef::Id(task),
            Event::Skip { why: *dice.pick(NotRun::ALL), reason: "busy".into(), context: serde_json::Value::Null },
        ),
        21 => Write::Task(TaskRef::Id(task), Event::Delete),
        22 => Write::Settle(task),
        23 | 24 | 34 | 35 => {
            let parent = if dice.one_in(5) { Some(step(dice, known)) } else { None };
            let (sustainable, tags) = (dice.one_in(2), vec![dice.word()]);
            let kind = *dice.pick(&["read", "Write", "Ärger"]);
            let spec = ActivitySpec { parent, sustainable, tags, ..ActivitySpec::new(w.id(), kind) };
            let start = dice.one_in(2);
            Write::CreateActivity { task: TaskRef::Id(held), lease, spec: Box::new(spec), start }
        }
        25 | 36 | 37 => {
            let event = match dice.roll(5) {
                0 => ActivityEvent::Start,
                1 => ActivityEvent::Report(progress(dice)),
                2 => ActivityEvent::Pause,
                3 => ActivityEvent::Resume,
                _ => ActivityEvent::Complete(outcome(dice), None),
            };
            Write::Activity { activity: ActivityRef::Id(step(dice, known)), lease, event }
        }
        26 => Write::Purge(w.moment.now - seconds(dice.roll(40) as i64)),
        27 if !known.records.is_empty() => {
            let old = dice.pick(&known.records);
            Write::Remove(old.value.kind(), old.value.id())
        }
        28 if !known.records.is_empty() => {
            let old = dice.pick(&known.records);
            let rev = if dice.one_in(5) { Rev(1) } else { old.rev };
            Write::Put(Box::new(renamed(dice, old.value.clone())), Expect::Rev(rev))
        }
        _ => {
            let mut all = one_of_each(w);
            let mut record = all.swap_remove(dice.roll(all.len()));
            let places: Vec<Uuid> = known.records.iter().filter_map(|r| repository(&r.value)).collect();
            if let (Record::Policy(policy), false) = (&mut record, places.is_empty()) {
                // One that was removed meanwhile is refused.
                policy.repository = *dice.pick(&places);
            }
            Write::Put(Box::new(renamed(dice, record)), Expect::New)
        }
    }
}

fn repository(record: &Record) -> Option<Uuid> {
    if let Record::Repository(repository) = record { Some(repository.id) } else { None }
}

fn step(dice: &mut Dice, known: &Known) -> ActivityId {
    ActivityId(1 + dice.roll(known.steps.unsigned_abs() as usize + 1) as i64)
}

fn progress(dice: &mut Dice) -> Progress {
    Progress {
        current: dice.roll(5) as i64,
        total: dice.roll(2) as i64 * 4,
        speed: dice.optional(|d| d.roll(100) as f64 / 7.0),
        left: dice.optional(|d| SignedDuration::from_millis(d.roll(1_000_000) as i64)),
        ..Default::default()
    }
}

fn outcome(dice: &mut Dice) -> Outcome {
    Outcome::of(*dice.pick(OutcomeCode::ALL))
}

fn blockers(dice: &mut Dice) -> Vec<Blocker> {
    let blocker = |n: usize| Blocker {
        id: Uuid::from_u128(n as u128),
        activity: None,
        issue: Message { key: "full".into(), context: serde_json::Value::Null },
        possible_solutions: Vec::new(),
        solution: None,
    };
    (0..dice.roll(3)).map(blocker).collect()
}

/// The record with another name and key, which may be taken.
fn renamed(dice: &mut Dice, mut record: Record) -> Record {
    let word: String = if dice.one_in(5) { String::new() } else { dice.word().into() };
    match &mut record {
        Record::Tenant(v) => v.name = word,
        Record::Resource(v) => (v.name, v.instance_id) = (word.clone(), word),
        Record::Policy(v) => v.name = word,
        Record::Application(v) => v.next_run_at = v.next_run_at.filter(|_| dice.one_in(2)),
        Record::Agent(v) => v.name = word,
        Record::Repository(v) => v.name = word,
        Record::Backup(v) => (v.resource_name, v.task) = (word, dice.roll(5) as i64),
        Record::Archive(v) => v.name = word,
        Record::RestoredFile(v) => v.name = word,
        Record::Channel(v) => v.name = word,
        Record::Operation(v) => v.created_by = word,
        Record::User(v) => v.login = word,
        Record::ApiClient(v) => v.name = word,
        Record::ClientKey(v) => v.public_key = word,
        Record::Revocation(v) => v.expires_at = v.created_at,
        Record::SigningKey(v) => v.revoked_at = v.revoked_at.filter(|_| dice.one_in(2)),
        Record::AuditEntry(v) => v.object = word,
        Record::Token(v) => (v.hash, v.revoked_at) = (word, v.revoked_at.filter(|_| dice.one_in(2))),
    }
    record
}

/// A question with values that rows have, values like them, and others.
pub(super) fn query<F: Field>(dice: &mut Dice, rows: &[F::Row]) -> Query<F> {
    let order = order(dice, F::ALL);
    let limit = dice.roll(6) as u32;
    let page = match dice.roll(5) {
        0 | 1 => Page::first(limit),
        2 => Page::Number { number: dice.roll(5) as u64, size: limit },
        _ if rows.is_empty() => Page::first(limit),
        _ => Page::After { key: Some(order.key(dice.pick(rows))), limit },
    };
    Query { filter: filter(dice, rows), order, page, total: dice.one_in(2) }
}

/// An order by some of these fields.
pub(super) fn order<F: Field>(dice: &mut Dice, fields: &[F]) -> Order<F> {
    let mut terms = Vec::new();
    for _ in 0..dice.roll(4) {
        let term = (*dice.pick(fields), *dice.pick(Direction::ALL));
        if term.0.sortable() && terms.iter().all(|(f, _)| *f != term.0) {
            terms.push(term);
        }
    }
    Order::by(terms).expect("the fields can be sorted by and are named once")
}

/// Clauses, each of which may hold.
pub(super) fn filter<F: Field>(dice: &mut Dice, rows: &[F::Row]) -> Filter<F> {
    let some = dice.roll(4);
    let mut filter = Filter::of(clauses(dice, rows, some));
    if dice.one_in(4) {
        let ways = (0..dice.roll(4)).map(|_| {
            let some = dice.roll(3);
            clauses(dice, rows, some)
        });
        let ways = ways.collect();
        filter = if dice.one_in(2) { filter.and_one_of(ways) } else { filter.and_none_of(ways) };
    }
    filter
}

fn clauses<F: Field>(dice: &mut Dice, rows: &[F::Row], some: usize) -> Vec<Clause<F>> {
    let clauses = (0..some).filter_map(|_| {
        let field = *dice.pick(F::ALL);
        let test = match dice.roll(6) {
            0 => Test::Present,
            1 => Test::Absent,
            2 => Test::NoneOf((0..1 + dice.roll(2)).map(|_| pattern(dice, field, rows)).collect()),
            3 => Test::Range { from: bound(dice, field, rows), to: bound(dice, field, rows) },
            _ => Test::AnyOf((0..1 + dice.roll(3)).map(|_| pattern(dice, field, rows)).collect()),
        };
        // Ranges the wrong way round and the like cannot be asked.
        Clause::new(field, test).ok()
    });
    clauses.collect()
}

fn bound<F: Field>(dice: &mut Dice, field: F, rows: &[F::Row]) -> Bound<Value> {
    match dice.roll(3) {
        0 => Bound::Unbounded,
        1 => Bound::Included(value(dice, field, rows)),
        _ => Bound::Excluded(value(dice, field, rows)),
    }
}

fn pattern<F: Field>(dice: &mut Dice, field: F, rows: &[F::Row]) -> Pattern {
    let value = value(dice, field, rows);
    if let (Value::Int(n), true) = (&value, dice.one_in(4)) {
        let part = n.to_string().chars().take(2).collect();
        return if dice.one_in(2) { Pattern::Contains(part) } else { Pattern::StartsWith(part) };
    }
    let Value::Text(text) = value else { return Pattern::Is(value) };
    let chars: Vec<char> = text.chars().collect();
    let part = |from: usize, to: usize| chars[from.min(to)..to].iter().collect::<String>().to_uppercase();
    if let (Ok(id), true) = (Uuid::parse_str(&text), dice.one_in(2)) {
        return Pattern::IsUuid(id);
    }
    match dice.roll(5) {
        4 => Pattern::Same(part(0, chars.len())),
        0 => Pattern::Contains(part(dice.roll(3), chars.len())),
        1 => Pattern::StartsWith(part(0, dice.roll(chars.len() + 1))),
        2 => Pattern::EndsWith(part(dice.roll(chars.len() + 1), chars.len())),
        _ => Pattern::Is(Value::Text(text)),
    }
}

fn value<F: Field>(dice: &mut Dice, field: F, rows: &[F::Row]) -> Value {
    if !rows.is_empty() && !dice.one_in(4) {
        let row = dice.pick(rows);
        match field.read(row) {
            domain::query::Read::One(cell) => return cell.to_value(),
            domain::query::Read::Many(texts) => return Value::Text(dice.pick(texts).to_string()),
            domain::query::Read::Absent => {}
        }
    }
    match field.kind() {
        FieldKind::Int => Value::Int(dice.roll(8) as i64 - 2),
        FieldKind::Text | FieldKind::Texts => {
            Value::Text(if dice.one_in(4) { String::new() } else { dice.word().into() })
        }
        FieldKind::Uuid => Value::Uuid(Uuid::from_u128(dice.roll(5) as u128)),
        FieldKind::Time => Value::Time(*dice.pick(&[Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX])),
        FieldKind::Bool => Value::Bool(dice.one_in(2)),
        FieldKind::Enum(names) => Value::Enum(dice.roll(names.len()) as i64),
    }
}

/// The kind of records to ask about.
pub(super) fn kind(dice: &mut Dice) -> RecordKind {
    *dice.pick(RecordKind::ALL)
}
