//! After a restart: is everything there that was acknowledged, nothing twice, nothing that nobody asked for, and do lists
//! say the same as reading one by one?

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, resume_unwind};

use api::client::ListQuery;
use domain::{Code, Timestamp, Uuid};
use futures::stream::iter;
use futures::{FutureExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};

use super::book::{Known, OpenClaim, Wish};
use super::oracle::Asker;
use super::{Act, Answer, Book, Calls, Oracle, Question, Random, Said, Shape, may_become};
use crate::{LIMIT, until};

/// How many requests are under way at a time.
const AT_ONCE: usize = 8;
/// Of the tasks that nobody touched and the feed does not tell, every tenth is read again.
const SHARE: i64 = 10;
/// How many questions are made up beside the usual ones.
const MADE_UP: usize = 24;

/// What was compared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checked {
    /// Tasks that are there.
    pub tasks: usize,
    /// Tasks that were read one by one.
    pub read: usize,
    /// Acknowledged changes of tasks since the last time.
    pub acknowledged: usize,
    /// Attempts without an answer since the last time that had happened all the same.
    pub happened: usize,
    /// Changes that the feed told.
    pub told: usize,
    /// Questions to lists.
    pub questions: usize,
}

/// How to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// At everything that may have changed, and at a share of the rest.
    Usual,
    /// At everything.
    Thorough,
    /// At everything, on a server that cannot write now; the feed has no end to wait for then.
    WithoutWriting,
    /// At everything, on a server that can write again; what it has kept in memory until now it writes by itself.
    RoomAgain,
}

/// Compares a server at rest with the book, and brings the book up to date. `guest` sees only the tasks of some tenants.
///
/// # Panics
/// When they differ.
pub async fn verify(calls: &Calls, guest: &Asker, book: &mut Book, random: &mut Random, look: Look) -> Checked {
    let mut checked = Checked::default();
    if look == Look::RoomAgain {
        what_waits_is_written(calls, book).await;
    }
    let (marker, told) = if look == Look::WithoutWriting {
        (book.by_id.keys().last().copied().unwrap_or(0), Vec::new())
    } else {
        let marker = mark(calls, book, random).await;
        (marker, feed(calls, book, marker).await)
    };
    let found = read(calls, book, marker, look != Look::Usual, &told, &mut checked).await;
    for (id, task) in &found {
        // Also what nobody heard of may be there.
        if book.tasks.get(&task.uuid).is_some_and(|k| k.id.is_none()) {
            checked.happened += 1;
            book.numbered(task.uuid, *id);
        }
        assert_eq!(book.by_id.get(id), Some(&task.uuid), "task {id} is one that nobody asked for: {task:#?}");
    }
    for (id, uuid) in &book.by_id {
        assert!(found.contains_key(id), "task {id} is gone: {}", book.tasks[uuid].told());
    }
    if let Some((_, revision, stamp)) = told.last() {
        the_feed_is_right(book, &told, &found);
        book.read_up_to = (*revision, Some(*stamp));
        book.told.clear();
    }
    compare(book, &found, look, &mut checked);
    steps(calls, book).await;
    records(calls, book).await;
    checked.told = told.len();
    checked.tasks = found.len();
    checked.questions = match look {
        Look::WithoutWriting => questions_meanwhile(calls, guest, book, found, random).await,
        _ => questions(calls, guest, found, random).await,
    };
    checked
}

/// The questions to a server that cannot write now, but tries: on a full disk a small commit may fit where a larger one did
/// not, so progress that waits may be written between the reading and a question. Then it is asked again.
async fn questions_meanwhile(
    calls: &Calls,
    guest: &Asker,
    book: &Book,
    mut found: BTreeMap<i64, api::Task>,
    random: &mut Random,
) -> usize {
    let waits: Vec<i64> = book.tasks.values().filter(|k| k.said.waits).filter_map(|k| k.id).collect();
    loop {
        let asked = AssertUnwindSafe(questions(calls, guest, found.clone(), random)).catch_unwind().await;
        let difference = match asked {
            Ok(count) => return count,
            Err(difference) => difference,
        };
        let mut written = false;
        for id in &waits {
            let now = calls.native.task(*id).await.expect("a task");
            written |= found.insert(*id, now.clone()).as_ref() != Some(&now);
        }
        if !written {
            resume_unwind(difference);
        }
    }
}

/// A change that the feed told: the task, its revision, its stamp.
type Told = (i64, i64, Timestamp);

/// Makes a task that is the last of all, so that it is known where the feed and the numbers end.
async fn mark(calls: &Calls, book: &mut Book, random: &mut Random) -> i64 {
    let mut wish = Wish::random(random, &[Uuid::nil()]);
    wish.queue = "markers".to_owned();
    let (uuid, body) = (wish.uuid, wish.body());
    book.wished(wish);
    let answer = calls.enqueue(&body).await;
    let Answer::Done(made) = answer else { panic!("a server at rest does not write: {answer:?}") };
    let id = made["id"].as_i64().expect("a number");
    book.numbered(uuid, id);
    id
}

/// Progress that could not be written is, and then the server is at rest.
async fn what_waits_is_written(calls: &Calls, book: &Book) {
    for known in book.tasks.values().filter(|k| k.said.waits) {
        let id = known.id.expect("only what is known has an executor");
        let moved = async || Some(calls.native.task(id).await.expect("a task").updated_at) > known.stamp();
        until("progress is written", async || moved().await.then_some(())).await;
    }
}

/// Everything that the feed tells since the last time, up to the marker.
async fn feed(calls: &Calls, book: &Book, marker: i64) -> Vec<Told> {
    let listen = async {
        let mut events = calls.native.task_events(&ListQuery::new(), Some(book.read_up_to.0));
        let mut told = Vec::new();
        loop {
            let event = events.next().await.expect("the feed goes on").expect("an event");
            told.push((event.task.id, event.revision, event.task.updated_at));
            if event.task.id == marker {
                return told;
            }
        }
    };
    tokio::time::timeout(LIMIT, listen).await.expect("the feed comes to the newest task")
}

/// Reads the tasks one by one, each by its number; what nobody touched and was not told to have changed is read in shares.
async fn read(
    calls: &Calls,
    book: &Book,
    marker: i64,
    thorough: bool,
    told: &[Told],
    checked: &mut Checked,
) -> BTreeMap<i64, api::Task> {
    let changed: HashMap<i64, Timestamp> = told.iter().map(|(id, _, stamp)| (*id, *stamp)).collect();
    let share = i64::try_from(book.acknowledged).unwrap_or(0) % SHARE;
    let kept = |id: i64| {
        let known = &book.tasks[book.by_id.get(&id)?];
        let still = known.done.is_empty() && known.open.is_empty() && !changed.contains_key(&id);
        known.seen.clone().filter(|_| still && !thorough && id % SHARE != share)
    };
    let mut found: BTreeMap<i64, api::Task> = (1..=marker).filter_map(|id| Some((id, kept(id)?))).collect();
    // Numbers are given without gaps, so this is all there is, and the next one is not given yet.
    let anew = (1..=marker + 1).filter(|id| !found.contains_key(id)).collect::<Vec<_>>();
    let answers = iter(anew).map(|id| async move { (id, calls.native.task(id).await) }).buffer_unordered(AT_ONCE);
    for (id, answer) in answers.collect::<Vec<_>>().await {
        match answer {
            Ok(task) => {
                assert_eq!(task.id, id);
                checked.read += 1;
                found.insert(id, task);
            }
            Err(e) if e.is(Code::NotFound) => {
                assert!(book.purged.contains(&id) || id == marker + 1, "there is no task {id}");
            }
            Err(e) => panic!("task {id} cannot be read: {e:?}"),
        }
    }
    assert!(!found.contains_key(&(marker + 1)), "there is a task after the newest one");
    assert!(book.purged.iter().all(|id| !found.contains_key(id)), "a removed task is there again");
    found
}

/// The feed tells each task that has changed once, in the order of revisions, and as late as it was told before the end.
fn the_feed_is_right(book: &Book, told: &[Told], found: &BTreeMap<i64, api::Task>) {
    let (_, before) = book.read_up_to;
    assert!(told.is_sorted_by_key(|(_, revision, _)| *revision), "revisions go back: {told:?}");
    let stamps: BTreeMap<i64, Timestamp> = told.iter().map(|(id, _, stamp)| (*id, *stamp)).collect();
    assert_eq!(stamps.len(), told.len(), "the feed tells a task at rest twice: {told:?}");
    let changed = found.values().filter(|t| before.is_none_or(|before| t.updated_at > before));
    assert_eq!(stamps, changed.map(|t| (t.id, t.updated_at)).collect(), "the feed (first) and what has changed");
    let revisions: HashMap<i64, i64> = told.iter().map(|(id, revision, _)| (*id, *revision)).collect();
    for (id, (revision, stamp)) in &book.told {
        let task = &found[id];
        assert!(task.updated_at >= *stamp, "task {id} was told to be at {stamp}, and is {task:#?}");
        if let Some(now) = revisions.get(id) {
            assert!(now >= revision, "task {id} was told at revision {revision}, and is at {now}");
            assert_eq!(now > revision, task.updated_at > *stamp, "revision and stamp of task {id} move together");
        }
    }
}

/// Each task is as acknowledged, or as it may have become by what was not answered.
fn compare(book: &mut Book, found: &BTreeMap<i64, api::Task>, look: Look, checked: &mut Checked) {
    let claims = std::mem::take(&mut book.claims);
    let mut taken: HashMap<&str, usize> = HashMap::new();
    for (id, task) in found {
        let known = book.tasks.get_mut(&task.uuid).expect("it was looked up before");
        let shape = Shape::of(task);
        if let Some(field) = known.wish.as_ref().and_then(|w| w.differs(task)) {
            panic!("'{field}' of task {id} is not as wished: {:?}\n{task:#?}", known.wish);
        }
        let executor = explain(known, &shape, &claims).unwrap_or_else(|| panic!("{}", contradiction(known, task)));
        if let Some(executor) = executor {
            *taken.entry(executor).or_default() += 1;
        }
        let current = task.progress.as_ref().map(|p| p.current);
        assert!(known.said.may_be(current), "{}", contradiction(known, task));
        let told = known.stamp();
        if look != Look::WithoutWriting {
            known.said = Said { sure: current, ..Said::default() };
        } else if told < Some(task.updated_at) {
            // There was just enough room for it.
            known.said.waits = false;
        }
        assert!(told <= Some(task.updated_at), "the stamp of task {id} goes back: {}", contradiction(known, task));
        if told < Some(task.updated_at) {
            checked.happened += 1;
        }
        if let Some(before) = &known.seen {
            let fixed = |t: &api::Task| (t.id, t.uuid, t.created_at, t.argument.clone(), t.context.clone());
            assert_eq!(fixed(before), fixed(task));
            assert!(before.enqueued_at <= task.enqueued_at && before.assign_count <= task.assign_count, "{task:#?}");
            if before.completed_at.is_some() {
                // Completed is final; it may only be hidden.
                let (deleted_at, updated_at) = (task.deleted_at, task.updated_at);
                let same = api::Task { deleted_at, updated_at, ..before.clone() };
                assert_eq!(&same, task, "a completed task has changed");
            }
        }
        checked.acknowledged += known.done.len();
        known.base = shape;
        known.base_stamp = Some(task.updated_at);
        known.done.clear();
        known.open.clear();
        known.seen = Some(task.clone());
    }
    for claim in &claims {
        let got = taken.get(claim.executor.as_str()).copied().unwrap_or(0);
        assert!(got <= claim.max, "{claim:?} was not answered, and {got} tasks were handed out for it");
    }
}

/// How a task came to look like this: with which claim that was not answered, if with any; none where it cannot have.
fn explain<'c>(known: &Known, shape: &Shape, claims: &'c [OpenClaim]) -> Option<Option<&'c str>> {
    let mut open = known.open.clone();
    if known.old && !known.base.deleted {
        open.push(Act::Delete);
    }
    if may_become(&known.base, &known.done, &open, known.attempts()).contains(shape) {
        return Some(None);
    }
    let queue = &known.wish.as_ref()?.queue;
    // Several calls may have been under way; one task was handed out for one of them at a time.
    for claim in claims.iter().filter(|c| c.queues.contains(queue)) {
        let open: Vec<_> = open.iter().cloned().chain([Act::Claim(claim.executor.clone())]).collect();
        if may_become(&known.base, &known.done, &open, known.attempts()).contains(shape) {
            return Some(Some(&claim.executor));
        }
    }
    None
}

fn contradiction(known: &Known, task: &api::Task) -> String {
    format!("task {} cannot look like this: {}\n{task:#?}", task.id, known.told())
}

/// Steps that were acknowledged are there, below their task.
async fn steps(calls: &Calls, book: &mut Book) {
    let steps = std::mem::take(&mut book.steps);
    let look = iter(steps).map(|(uuid, task)| async move {
        let step = calls.native.activity(uuid).await.unwrap_or_else(|e| panic!("the step {uuid} is gone: {e:?}"));
        assert_eq!((step.uuid, step.task_id, step.root), (uuid, task, false));
    });
    look.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
}

/// Records are as acknowledged, or as was attempted last; and there are no others.
async fn records(calls: &Calls, book: &mut Book) {
    let (mut listed, mut next) = (BTreeMap::new(), None);
    loop {
        let query = ListQuery::new().limit(1000);
        let query = next.iter().fold(query, |q, cursor: &String| q.cursor(cursor));
        let page = calls.native.resources(&query).await.expect("resources");
        listed.extend(page.items.into_iter().map(|r| (r.instance_id.clone(), r)));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    for (key, known) in &mut book.records {
        let found = listed.remove(key);
        let state = found.as_ref().map(|r| r.name.clone());
        let may_be = known.sure == state || known.maybe.as_ref() == Some(&state);
        assert!(may_be, "the resource {key} is {state:?}, and that was never acknowledged nor attempted: {known:?}");
        if let (Some(id), Some(found)) = (known.id, &found) {
            assert_eq!(found.id, id);
        }
        if let Some(found) = found {
            known.id = Some(found.id);
        }
        (known.sure, known.maybe) = (state, None);
    }
    assert!(listed.is_empty(), "nobody asked for {listed:?}");
    book.records.retain(|_, known| known.sure.is_some());
}

/// Asks lists in every way, and compares with what was read one by one.
async fn questions(calls: &Calls, guest: &Asker, found: BTreeMap<i64, api::Task>, random: &mut Random) -> usize {
    let owner = Asker { client: calls.native.clone(), tenants: None };
    let oracle = Oracle::new(found.into_values());
    let mut all = Question::usual(&oracle);
    all.extend((0..MADE_UP).map(|_| Question::random(&oracle, random)));
    let asked = all.iter().map(|question| {
        let mut random = random.split();
        let asker = if random.percent(25) { guest } else { &owner };
        let oracle = &oracle;
        async move { oracle.ask(asker, question, &mut random).await }
    });
    let asked: Vec<_> = asked.collect();
    iter(asked).buffer_unordered(4).collect::<Vec<_>>().await;
    parts_of_names(calls, &oracle).await;
    all.len()
}

/// Whether a question means a task.
type Means<'a> = &'a dyn Fn(&api::Task) -> bool;

/// What only the Acronis dialect can ask: how names begin and end, negations, subtrees.
async fn parts_of_names(calls: &Calls, oracle: &Oracle) {
    let name = |t: &api::Task| t.resource.as_ref().and_then(|r| r.name.clone()).map(|n| n.to_lowercase());
    let is = |t: &api::Task, f: &dyn Fn(&str) -> bool| name(t).is_some_and(|n| f(&n));
    let questions: [(&str, Means<'_>); 4] = [
        ("resourceName=hlike(SRV)", &|t| is(t, &|n| n.starts_with("srv"))),
        ("resourceName=tlike(%201)", &|t| is(t, &|n| n.ends_with(" 1"))),
        ("state=ne(completed)", &|t| t.state != domain::task::State::Completed),
        ("tag=isnull()", &|t| t.tags.is_empty()),
    ];
    for (query, means) in questions {
        let right = oracle.shown().filter(|t| means(t)).count();
        let path = format!("/tasks?{query}&lod=count");
        let counted = async || match calls.queue(Method::GET, &path, None, &Value::Null).await {
            Answer::Done(body) => Some(body),
            Answer::Refused(503, _) => None,
            other => panic!("{path}: {other:?}"),
        };
        let got = until("the list is ready", counted).await;
        assert_eq!(got["count"], json!(right), "{path}: {got}");
    }
}
