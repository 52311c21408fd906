//! The book: what was wished, what was acknowledged, and what was attempted without an answer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use domain::task::Priority;
use domain::{Timestamp, Uuid};
use serde_json::{Value, json};

use super::shape::Acknowledged;
use super::{Act, Random, Said, Shape};

/// The queues that workers look into.
pub(super) const QUEUES: [&str; 3] = ["night", "day", "repair"];
pub(super) const KINDS: [&str; 5] = ["files", "mailbox", "replication", "validation", "antimalware-scan"];
pub(super) const TAGS: [&str; 5] = ["gold", "silver", "eu", "caf\u{e9}", "a,b"];
/// Parts of names in which letter case, commas and letters beyond ASCII matter to who searches them.
const NAMES: [&str; 8] =
    ["SRV-File", "srv-mail", "B\u{dc}RO", "b\u{fc}ro", "db, main", "\u{c9}quipe", "100%_x", "Laptop"];
const PEOPLE: [&str; 4] = ["ana", "Bo", "\u{c5}sa", "night shift"];

/// A task that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) uuid: Uuid,
    pub(super) kind: String,
    pub(super) queue: String,
    pub(super) priority: Priority,
    pub(super) tenant: Uuid,
    pub(super) resource: Option<(String, String)>,
    pub(super) policy: Option<(String, String)>,
    pub(super) started_by: Option<String>,
    pub(super) workflow: Option<i64>,
    pub(super) tags: Vec<String>,
    pub(super) cancellable: bool,
    pub(super) attempts: u32,
    pub(super) argument: Value,
}

impl Wish {
    pub(super) fn random(random: &mut Random, tenants: &[Uuid]) -> Wish {
        let named = |random: &mut Random, of: usize| {
            let number = random.below(of);
            (format!("id-{number}"), format!("{} {number:02}", NAMES[number % NAMES.len()]))
        };
        Wish {
            uuid: random.uuid(),
            kind: (*random.pick(&KINDS)).to_owned(),
            queue: (*random.pick(&QUEUES)).to_owned(),
            priority: *random.pick(Priority::ALL),
            tenant: *random.pick(tenants),
            resource: random.percent(85).then(|| named(random, 60)),
            policy: random.percent(60).then(|| named(random, 9)),
            started_by: random.percent(50).then(|| (*random.pick(&PEOPLE)).to_owned()),
            workflow: random.percent(30).then(|| random.below(20) as i64),
            tags: TAGS.iter().filter(|_| random.percent(25)).map(|t| (*t).to_owned()).collect(),
            cancellable: random.percent(50),
            attempts: 1 + random.below(3) as u32,
            argument: json!({ "nonce": random.draw().to_string(), "filler": "x".repeat(random.below(600)) }),
        }
    }

    /// What is sent to ask for it. No timer runs out while a test runs, however slow the machine is.
    pub(super) fn body(&self) -> Value {
        let wire = ["low", "belowNormal", "normal", "aboveNormal", "high"];
        let priority = usize::try_from(self.priority.ordinal()).expect("ordinals count from 0");
        let mut body = json!({
            "uuid": self.uuid, "type": self.kind, "queue": self.queue, "priority": wire[priority],
            "tenant": { "uuid": self.tenant }, "tags": self.tags, "cancellable": self.cancellable,
            "maxAssignCount": self.attempts, "ackTimeout": "100h", "heartBeatInterval": "100h",
            "argument": self.argument,
        });
        let named = |(id, name): &(String, String)| json!({ "id": id, "type": "machine", "name": name });
        if let Some(resource) = &self.resource {
            body["resource"] = named(resource);
        }
        if let Some(policy) = &self.policy {
            body["policy"] = named(policy);
        }
        if let Some(person) = &self.started_by {
            body["startedByUser"] = json!(person);
        }
        if let Some(workflow) = self.workflow {
            body["workflowId"] = json!(workflow);
        }
        body
    }

    /// What a stored task has otherwise than it was wished.
    pub(super) fn differs(&self, task: &api::Task) -> Option<String> {
        let named = |n: &Option<api::Named>| {
            n.as_ref().map(|n| (n.id.to_string(), n.name.as_deref().unwrap_or_default().to_owned()))
        };
        let pairs = [
            ("uuid", task.uuid == self.uuid),
            ("type", task.kind == self.kind),
            ("queue", task.queue == self.queue),
            ("priority", task.priority == self.priority),
            ("tenant", task.tenant == self.tenant),
            ("resource", named(&task.resource) == self.resource),
            ("policy", named(&task.policy) == self.policy),
            ("started_by", self.started_by.is_none() || task.started_by.as_deref() == self.started_by.as_deref()),
            ("workflow_id", task.workflow_id == self.workflow),
            ("tags", task.tags == self.tags),
            ("cancellable", task.rules.cancellable == self.cancellable),
            ("max_assign_count", task.rules.max_assign_count == self.attempts),
            ("argument", task.argument == self.argument),
        ];
        pairs.iter().find(|(_, same)| !same).map(|(field, _)| (*field).to_owned())
    }
}

/// A task that the book knows.
#[derive(Debug, Clone)]
pub struct Known {
    /// What was asked for; none for one that somebody else put there.
    pub(super) wish: Option<Wish>,
    /// Its number, once it was acknowledged or found.
    pub(super) id: Option<i64>,
    /// How it was found when everything was last read, or how it was created.
    pub(super) base: Shape,
    /// Its stamp at that time.
    pub(super) base_stamp: Option<Timestamp>,
    /// What was acknowledged since.
    pub(super) done: Vec<Acknowledged>,
    /// What was attempted since without an answer.
    pub(super) open: Vec<Act>,
    /// How far it is said to be.
    pub(super) said: Said,
    /// It may be hidden by the server at any time, because it is old.
    pub(super) old: bool,
    /// As it was last read.
    pub(super) seen: Option<api::Task>,
}

impl Known {
    pub(super) fn attempts(&self) -> u32 {
        self.wish.as_ref().map_or(1, |w| w.attempts)
    }

    /// The largest stamp that anybody was told.
    pub(super) fn stamp(&self) -> Option<Timestamp> {
        self.done.iter().map(|(stamp, _)| *stamp).chain(self.base_stamp).max()
    }

    /// What was acknowledged of it, in order.
    pub(super) fn told(&self) -> String {
        format!(
            "at first {:?}, then acknowledged {:?}, without an answer {:?}, {:?}",
            self.base, self.done, self.open, self.said
        )
    }
}

/// A record that is there with this name, or is not.
pub(super) type RecordState = Option<String>;

/// A resource that the book knows.
#[derive(Debug, Clone)]
pub(super) struct KnownRecord {
    pub(super) id: Option<Uuid>,
    /// What was acknowledged last.
    pub(super) sure: RecordState,
    /// What was attempted after that without an answer.
    pub(super) maybe: Option<RecordState>,
}

/// A call for tasks that was not answered: who called, from which queues, and how many at most.
#[derive(Debug, Clone)]
pub(super) struct OpenClaim {
    pub(super) executor: String,
    pub(super) queues: Vec<String>,
    pub(super) max: usize,
}

/// Everything that is known of what a server holds.
#[derive(Debug, Default)]
pub struct Book {
    pub(super) tasks: HashMap<Uuid, Known>,
    pub(super) by_id: BTreeMap<i64, Uuid>,
    /// Tasks that were removed for good.
    pub(super) purged: BTreeSet<i64>,
    /// Steps that were acknowledged, with their task.
    pub(super) steps: Vec<(Uuid, i64)>,
    /// Resources by the name that their machine gives them.
    pub(super) records: BTreeMap<String, KnownRecord>,
    pub(super) claims: Vec<OpenClaim>,
    /// What the feed told of tasks: the revision and the stamp.
    pub(super) told: BTreeMap<i64, (i64, Timestamp)>,
    /// The revision and the stamp up to which everything was read and compared.
    pub(super) read_up_to: (i64, Option<Timestamp>),
    /// How many requests were acknowledged.
    pub acknowledged: u64,
    /// How many requests had no answer.
    pub unanswered: u64,
}

impl Book {
    /// Notes a task that somebody put there before: as it is, and whether it is so old that the server hides it.
    pub fn found(&mut self, task: &domain::task::Task, old: bool) {
        let uuid = task.spec.uuid;
        let base = Shape {
            state: task.state(),
            result: task.result().map(|r| r.code),
            cancel_requested: task.status.cancel_requested,
            assign_count: task.status.assign_count,
            executor: task.executor().map(|e| e.id.to_string()),
            deleted: task.status.deleted_at.is_some(),
        };
        let (done, open) = (Vec::new(), Vec::new());
        let base_stamp = Some(task.status.updated_at);
        let known = Known {
            wish: None,
            id: Some(task.id.0),
            base,
            base_stamp,
            done,
            open,
            said: Said::default(),
            old,
            seen: None,
        };
        self.tasks.insert(uuid, known);
        self.by_id.insert(task.id.0, uuid);
    }

    /// Notes that these tasks were hidden.
    ///
    /// # Panics
    /// When one is not known.
    pub fn hidden(&mut self, tasks: &[domain::task::Task]) {
        for task in tasks {
            let known = self.tasks.get_mut(&task.spec.uuid).expect("a known task");
            known.done.push((task.status.updated_at, Act::Delete));
        }
    }

    /// Notes that every hidden task was removed for good.
    pub fn purged(&mut self) {
        let gone = |k: &Known| k.base.deleted || k.done.iter().any(|(_, act)| *act == Act::Delete);
        let gone: Vec<_> = self.tasks.iter().filter(|(_, k)| gone(k)).map(|(uuid, k)| (*uuid, k.id)).collect();
        for (uuid, id) in gone {
            self.tasks.remove(&uuid);
            let id = id.expect("only what was found is hidden");
            self.by_id.remove(&id);
            self.told.remove(&id);
            self.purged.insert(id);
        }
        let purged = &self.purged;
        self.steps.retain(|(_, task)| !purged.contains(task));
    }

    /// Completed tasks that are shown, as they were last read: at most so many, drawn at random.
    pub fn completed(&self, random: &mut Random, most: usize) -> Vec<i64> {
        let completed = |k: &&Known| k.base.result.is_some() && !k.base.deleted && !k.old;
        let mut ids: Vec<i64> =
            self.by_id.values().map(|u| &self.tasks[u]).filter(completed).filter_map(|k| k.id).collect();
        while ids.len() > most {
            ids.swap_remove(random.below(ids.len()));
        }
        ids
    }

    pub(super) fn wished(&mut self, wish: Wish) {
        let known = Known {
            base: Shape::created(),
            wish: Some(wish.clone()),
            id: None,
            base_stamp: None,
            done: Vec::new(),
            open: Vec::new(),
            said: Said::default(),
            old: false,
            seen: None,
        };
        self.tasks.entry(wish.uuid).or_insert(known);
    }

    /// Notes the number of a task.
    pub(super) fn numbered(&mut self, uuid: Uuid, id: i64) {
        let known = self.tasks.get_mut(&uuid).expect("only known tasks are numbered");
        let before = known.id.replace(id);
        assert!(before.is_none_or(|b| b == id), "the task {uuid} was number {before:?} and is {id} now");
        let other = self.by_id.insert(id, uuid);
        assert!(other.is_none_or(|o| o == uuid), "{id} is the number of {other:?} and of {uuid}");
    }

    /// Wishes of which nobody knows whether they were heard.
    pub(super) fn unheard(&self) -> Vec<Wish> {
        self.tasks.values().filter(|k| k.id.is_none()).filter_map(|k| k.wish.clone()).collect()
    }
}
