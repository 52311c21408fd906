//! Who writes while the server lives: issuers, executors, one who cancels, one who keeps records; and beside them readers,
//! to whom everything that was acknowledged must be visible at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::client::{Error, ListQuery};
use domain::task::{ResultCode, State};
use domain::{Code, Timestamp, Uuid};
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::book::{KnownRecord, OpenClaim, QUEUES, Wish};
use super::calls::stamp;
use super::{Act, Answer, Book, Calls, Random};

/// How many ask for tasks at the same time.
const ISSUERS: usize = 3;
/// How many tasks one executor has at most.
const HANDS: usize = 6;

/// A round of writing.
#[derive(Debug, Clone)]
pub struct Round {
    /// The server.
    pub calls: Calls,
    /// What is known of it.
    pub book: Arc<Mutex<Book>>,
    /// Whose tasks are made.
    pub tenants: Vec<Uuid>,
    /// Whether it ends with a full disk: writers then stop when they are refused for it. Otherwise they stop when nobody
    /// answers any more.
    pub ends_full: bool,
}

/// An executor. It outlives the server, as real ones do, and goes on with what it has under the same leases.
#[derive(Debug, Clone)]
pub struct Worker {
    name: String,
    held: Vec<Held>,
}

/// A task in an executor's hands.
#[derive(Debug, Clone)]
struct Held {
    uuid: Uuid,
    id: i64,
    lease: String,
    state: State,
}

/// What the others of a round know.
#[derive(Debug)]
struct Common {
    round: Round,
    goal: u64,
    reached: Notify,
    /// Whether the end was begun.
    over: watch::Sender<bool>,
    /// Whether anybody was refused because the disk is full.
    full: AtomicBool,
    /// Whether all writers have stopped.
    still: watch::Sender<bool>,
}

/// Why somebody stops.
struct Stop;

impl Worker {
    /// An executor with empty hands.
    #[must_use]
    pub fn new(name: &str) -> Worker {
        Worker { name: name.to_owned(), held: Vec::new() }
    }

    /// Lets go of what it has no more, as it was found after a restart.
    fn look_again(&mut self, book: &Book) {
        self.held.retain_mut(|held| {
            let Some(known) = book.tasks.get(&held.uuid) else { return false };
            held.state = known.base.state;
            known.base.executor.as_ref() == Some(&self.name)
                && !matches!(held.state, State::Enqueued | State::Completed)
        });
    }
}

/// Lets everybody write until so many requests were acknowledged, then does `end`, and waits until all have stopped.
///
/// # Panics
/// When a request that must not be refused is, or something acknowledged is not visible.
pub async fn write_until(
    round: &Round,
    workers: &mut Vec<Worker>,
    random: &mut Random,
    acknowledged: u64,
    end: impl FnOnce(),
) {
    let goal = round.book().acknowledged + acknowledged;
    let common = Arc::new(Common {
        round: round.clone(),
        goal,
        reached: Notify::new(),
        over: watch::Sender::new(false),
        full: AtomicBool::new(false),
        still: watch::Sender::new(false),
    });
    let mut writers = JoinSet::new();
    let mut unheard = round.book().unheard();
    for _ in 0..ISSUERS {
        let (common, random, again) = (common.clone(), random.split(), std::mem::take(&mut unheard));
        writers.spawn(async move {
            let _ = common.issue(random, again).await;
            None
        });
    }
    for mut worker in workers.drain(..) {
        worker.look_again(&round.book());
        let (common, random) = (common.clone(), random.split());
        writers.spawn(async move {
            let _ = common.work(&mut worker, random).await;
            Some(worker)
        });
    }
    {
        let (common, random) = (common.clone(), random.split());
        writers.spawn(async move {
            let _ = common.cancel(random).await;
            None
        });
    }
    {
        let (common, random) = (common.clone(), random.split());
        writers.spawn(async move {
            let _ = common.keep_records(random).await;
            None
        });
    }
    let mut readers = JoinSet::new();
    {
        let (common, random) = (common.clone(), random.split());
        readers.spawn(async move {
            let _ = common.read(random).await;
        });
    }
    readers.spawn({
        let common = common.clone();
        async move { common.follow().await }
    });
    tokio::select! {
        () = common.reached.notified() => {}
        Some(ended) = writers.join_next() => panic!("a writer stopped before the end: {ended:?}"),
        Some(ended) = readers.join_next() => panic!("a reader stopped before the end: {ended:?}"),
    }
    common.over.send_replace(true);
    tokio::task::block_in_place(end);
    while let Some(writer) = writers.join_next().await {
        workers.extend(writer.expect("a writer that ends in order"));
    }
    common.still.send_replace(true);
    while let Some(reader) = readers.join_next().await {
        reader.expect("a reader that ends in order");
    }
    // Who joins first is chance; who is who is not.
    workers.sort_by(|a, b| a.name.cmp(&b.name));
}

impl Round {
    /// The book.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Common {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.round.book()
    }

    /// What was done, or nothing where it was refused for a reason that is not the end of the round.
    fn heard(&self, answer: Answer, may_be_refused: &[u16]) -> Result<Option<Value>, Stop> {
        match answer {
            Answer::Done(body) => {
                let mut book = self.book();
                book.acknowledged += 1;
                if book.acknowledged == self.goal {
                    self.reached.notify_one();
                }
                Ok(Some(body))
            }
            Answer::Silence => {
                self.book().unanswered += 1;
                assert!(*self.over.borrow() && !self.round.ends_full, "the server fell silent by itself");
                Err(Stop)
            }
            Answer::Refused(status, body) if self.round.ends_full && is_full(status, &body) => {
                assert!(*self.over.borrow(), "the disk is full too early");
                self.full.store(true, Ordering::Relaxed);
                Err(Stop)
            }
            Answer::Refused(status, body) => {
                assert!(may_be_refused.contains(&status), "refused with {status}: {body}");
                self.nothing_to_do()
            }
        }
    }

    /// Nothing was written: once the disk is full that may stay so, and whoever is not refused stops here.
    fn nothing_to_do<T>(&self) -> Result<Option<T>, Stop> {
        if self.full.load(Ordering::Relaxed) { Err(Stop) } else { Ok(None) }
    }

    async fn issue(&self, mut random: Random, again: Vec<Wish>) -> Result<(), Stop> {
        let mut again = again.into_iter();
        loop {
            let wish = again.next().unwrap_or_else(|| Wish::random(&mut random, &self.round.tenants));
            let (uuid, body) = (wish.uuid, wish.body());
            self.book().wished(wish);
            // Sometimes again, as one who did not hear the answer.
            for _ in 0..if random.percent(10) { 2 } else { 1 } {
                let Some(made) = self.heard(self.round.calls.enqueue(&body).await, &[])? else { continue };
                assert_eq!(made["uuid"], json!(uuid), "{made}");
                let mut book = self.book();
                book.numbered(uuid, made["id"].as_i64().expect("a number"));
                let known = book.tasks.get_mut(&uuid).expect("it was wished");
                let seen = stamp(&made);
                known.base_stamp = Some(known.base_stamp.map_or(seen, |s| s.max(seen)));
            }
        }
    }

    async fn work(&self, worker: &mut Worker, mut random: Random) -> Result<(), Stop> {
        loop {
            if worker.held.is_empty() || (worker.held.len() < HANDS && random.percent(15)) {
                self.take(worker, &mut random).await?;
                continue;
            }
            let at = random.below(worker.held.len());
            let held = worker.held[at].clone();
            let act = next(&held, &mut random);
            let Some(state) = self.act(&held, &act, &mut random).await? else {
                // Somebody cancelled it before it began.
                assert_eq!(
                    held.state,
                    State::Assigned,
                    "a report under the present lease was refused: {act:?} on {held:?}"
                );
                drop(worker.held.swap_remove(at));
                continue;
            };
            match act {
                Act::Complete(_) | Act::Abandon => drop(worker.held.swap_remove(at)),
                Act::Step => {}
                _ => worker.held[at].state = state,
            }
        }
    }

    async fn take(&self, worker: &mut Worker, random: &mut Random) -> Result<(), Stop> {
        let first = random.below(QUEUES.len());
        let queues = [QUEUES[first], QUEUES[(first + 1) % QUEUES.len()]];
        let max = 1 + random.below(HANDS - worker.held.len());
        let open = OpenClaim { executor: worker.name.clone(), queues: queues.map(str::to_owned).to_vec(), max };
        self.book().claims.push(open);
        // Whoever has nothing else to do waits for work.
        let wait = if worker.held.is_empty() { "1s" } else { "0s" };
        let wish = json!({ "queues": queues, "consumer": { "id": worker.name }, "max": max, "wait": wait });
        let answer = self.round.calls.queue(Method::POST, "/tasks/assign", None, &wish).await;
        let answered = !matches!(answer, Answer::Silence);
        let mut book = self.book();
        if answered {
            let at = book.claims.iter().position(|c| c.executor == worker.name).expect("it was noted");
            book.claims.swap_remove(at);
        }
        drop(book);
        let Some(taken) = self.heard(answer, &[])? else { return Ok(()) };
        let items = taken["items"].as_array().expect("a list");
        if items.is_empty() && worker.held.is_empty() {
            self.nothing_to_do::<()>()?;
        }
        for item in items {
            let uuid: Uuid = item["uuid"].as_str().and_then(|u| u.parse().ok()).expect("a uuid");
            let (id, lease) = (item["id"].as_i64().expect("a number"), item["lease"].as_str().expect("a lease"));
            let mut book = self.book();
            // It may be handed out before the one who asked for it hears its number.
            book.numbered(uuid, id);
            let known = book.tasks.get_mut(&uuid).expect("only what was wished is handed out");
            known.done.push((stamp(item), Act::Claim(worker.name.clone())));
            worker.held.push(Held { uuid, id, lease: lease.to_owned(), state: State::Assigned });
        }
        Ok(())
    }

    /// Does it and notes it: the state that was answered, or nothing where it was refused.
    async fn act(&self, held: &Held, act: &Act, random: &mut Random) -> Result<Option<State>, Stop> {
        let step = random.uuid();
        self.attempted(held.uuid, act);
        let answer = self.round.calls.act(held.id, &held.lease, act, step).await;
        self.answered(held.uuid, act, &answer);
        let refusable: &[u16] = if *act == Act::Cancel || held.state == State::Assigned { &[409] } else { &[] };
        let Some(body) = self.heard(answer, refusable)? else { return Ok(None) };
        if *act == Act::Step {
            // It was answered with the step, and the task is where it was.
            self.book().steps.push((step, held.id));
            return Ok(Some(held.state));
        }
        let state = body["state"].as_str().and_then(State::parse).expect("a state");
        let fits = match act {
            Act::Start | Act::Resume => state == State::Started,
            Act::Pause => state == State::Paused,
            Act::Complete(_) => state == State::Completed,
            Act::Abandon => matches!(state, State::Enqueued | State::Completed),
            Act::Cancel => body["cancel_requested"] == json!(true),
            _ => state == held.state,
        };
        assert!(fits, "{act:?} on {held:?} was answered with {body}");
        Ok(Some(state))
    }

    fn attempted(&self, task: Uuid, act: &Act) {
        let mut book = self.book();
        let known = book.tasks.get_mut(&task).expect("a known task");
        known.open.push(act.clone());
        if let Act::Progress(n) = act {
            known.said.since.push(*n);
        }
    }

    fn answered(&self, task: Uuid, act: &Act, answer: &Answer) {
        let mut book = self.book();
        let known = book.tasks.get_mut(&task).expect("a known task");
        let open = known.open.iter().position(|open| open == act).expect("it was noted");
        match (answer, act) {
            (Answer::Silence, _) => return,
            (Answer::Done(body), Act::Progress(_)) => {
                let now = stamp(body);
                known.said.waits = known.base_stamp == Some(now) || known.done.iter().any(|(then, _)| *then == now);
                known.done.push((now, act.clone()));
            }
            (Answer::Done(_), Act::Step) => known.said.settle(),
            (Answer::Done(body), _) => {
                known.done.push((stamp(body), act.clone()));
                // Who cancels is not the executor.
                if *act != Act::Cancel {
                    known.said.settle();
                }
            }
            (Answer::Refused(..), Act::Progress(n)) => known.said.since.retain(|said| said != n),
            (Answer::Refused(..), _) => {}
        }
        known.open.swap_remove(open);
    }

    async fn cancel(&self, mut random: Random) -> Result<(), Stop> {
        loop {
            let Some((uuid, id)) = self.any(&mut random) else {
                tokio::task::yield_now().await;
                continue;
            };
            // Most of the time it only looks: what was acknowledged to anybody is there for everybody.
            for _ in 0..random.below(8) {
                let before = self.stamp_of(uuid);
                let found = self.asked(self.round.calls.native.task(id).await)?;
                if let Some(found) = found {
                    assert!(Some(found.updated_at) >= before, "task {id} went back: {found:#?}");
                }
            }
            let held = Held { uuid, id, lease: String::new(), state: State::Enqueued };
            self.act(&held, &Act::Cancel, &mut random).await?;
        }
    }

    /// A task that was acknowledged, rather a young one.
    fn any(&self, random: &mut Random) -> Option<(Uuid, i64)> {
        let book = self.book();
        let from = if random.percent(80) { book.by_id.len().saturating_sub(60) } else { 0 };
        let at = from + random.below(book.by_id.len() - from);
        let (id, uuid) = book.by_id.iter().nth(at)?;
        (!book.tasks.get(uuid)?.old).then_some((*uuid, *id))
    }

    fn stamp_of(&self, uuid: Uuid) -> Option<Timestamp> {
        self.book().tasks.get(&uuid)?.stamp()
    }

    /// What a reader was answered; nothing while lists are not ready yet.
    fn asked<T>(&self, answer: api::client::Result<T>) -> Result<Option<T>, Stop> {
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(e) if e.is(Code::Unavailable) => Ok(None),
            Err(Error::Transport { .. }) if *self.over.borrow() && !self.round.ends_full => Err(Stop),
            Err(e) => panic!("a reader was refused: {e:?}"),
        }
    }

    async fn keep_records(&self, mut random: Random) -> Result<(), Stop> {
        for n in 0.. {
            let name = format!("{} {n}", random.pick(&["desk", "B\u{fc}ro"]));
            let there: Vec<_> = {
                let book = self.book();
                let there = book.records.iter().filter(|(_, r)| r.sure.is_some());
                there.map(|(key, r)| (key.clone(), r.id)).collect()
            };
            let old = (!there.is_empty() && random.percent(50)).then(|| random.pick(&there).clone());
            let (key, (method, path, body), next) = match old {
                None => {
                    let key = random.uuid().to_string();
                    let body = json!({ "name": name, "kind": "bare_metal", "instance_id": key });
                    (key, (Method::POST, "/resources".to_owned(), body), Some(name))
                }
                Some((key, id)) => {
                    let path = format!("/resources/{}", id.expect("an acknowledged record has an id"));
                    if random.percent(40) {
                        (key, (Method::DELETE, path, Value::Null), None)
                    } else {
                        (key, (Method::PATCH, path, json!({ "name": name })), Some(name))
                    }
                }
            };
            let unknown = KnownRecord { id: None, sure: None, maybe: None };
            self.book().records.entry(key.clone()).or_insert(unknown).maybe = Some(next.clone());
            let answer = self.round.calls.write(method, &path, &body).await;
            if !matches!(answer, Answer::Silence) {
                self.book().records.get_mut(&key).expect("it was noted").maybe = None;
            }
            let Some(answered) = self.heard(answer, &[])? else { continue };
            let mut book = self.book();
            let known = book.records.get_mut(&key).expect("it was noted");
            known.sure = next;
            if let Some(id) = answered["id"].as_str().and_then(|id| id.parse().ok()) {
                assert!(known.id.is_none_or(|before| before == id), "{answered}");
                known.id = Some(id);
            }
        }
        Ok(())
    }

    /// Lists, part by part: whatever was acknowledged before is in them, once, in order.
    async fn read(&self, mut random: Random) -> Result<(), Stop> {
        while !*self.still.borrow() {
            let queue = *random.pick(&QUEUES);
            let there: Vec<i64> = {
                let book = self.book();
                let shown = |uuid: &Uuid| {
                    let known = &book.tasks[uuid];
                    !known.base.deleted && known.wish.as_ref().is_some_and(|w| w.queue == queue)
                };
                book.by_id.iter().filter(|(_, uuid)| shown(uuid)).map(|(id, _)| *id).collect()
            };
            let query = ListQuery::new().filter("queue", queue).limit(1 + random.below(100) as u32).total();
            let (mut next, mut to_the_end): (Option<String>, bool) = (None, false);
            let mut met: Vec<i64> = Vec::new();
            for _ in 0..5 {
                let part = match &next {
                    None => query.clone(),
                    Some(next) => query.clone().cursor(next),
                };
                let Some(page) = self.asked(self.round.calls.native.tasks(&part).await)? else { break };
                assert!(page.total.is_some_and(|n| n >= there.len() as u64), "{:?} of {}", page.total, there.len());
                met.extend(page.items.iter().map(|t| t.id));
                assert!(page.items.iter().all(|t| t.queue == queue), "{query:?}");
                next = page.next;
                to_the_end = next.is_none();
                if to_the_end {
                    break;
                }
            }
            assert!(met.is_sorted_by(|a, b| a > b), "newest first, and no task twice: {met:?}");
            let least = if to_the_end { 0 } else { met.last().copied().unwrap_or(i64::MAX) };
            for id in there.iter().filter(|id| **id >= least) {
                assert!(
                    met.binary_search_by(|m| id.cmp(m)).is_ok(),
                    "task {id} is missing in the list of {queue}: {met:?}"
                );
            }
        }
        Ok(())
    }

    /// The feed: what it told once is as good as acknowledged.
    async fn follow(&self) {
        let mut over = self.over.subscribe();
        let mut events = self.round.calls.native.task_events(&ListQuery::new(), None);
        let mut last = 0;
        loop {
            tokio::select! {
                event = events.next() => {
                    let Some(Ok(event)) = event else { return assert!(*self.over.borrow(), "the feed ended: {event:?}") };
                    assert!(event.revision >= last, "revisions go back: {} after {last}", event.revision);
                    last = event.revision;
                    self.book().told.insert(event.task.id, (event.revision, event.task.updated_at));
                }
                _ = over.wait_for(|over| *over) => return,
            }
        }
    }
}

/// What an executor does next with a task.
fn next(held: &Held, random: &mut Random) -> Act {
    let outcomes = [ResultCode::Ok, ResultCode::Ok, ResultCode::Warning, ResultCode::Error, ResultCode::Cancelled];
    match (held.state, random.below(100)) {
        (State::Assigned, 0..90) => Act::Start,
        (State::Assigned, _) => Act::Abandon,
        (State::Paused, 0..70) => Act::Resume,
        (_, 0..30) => Act::Progress(random.below(1_000_000_000) as i64),
        (State::Started, 30..40) => Act::Pause,
        (_, 30..50) => Act::Step,
        (_, 50..57) => Act::Abandon,
        _ => Act::Complete(*random.pick(&outcomes)),
    }
}

/// Whether a refusal says that the disk is full, in the words of the dialect.
fn is_full(status: u16, body: &Value) -> bool {
    let says = |text: &Value| text.as_str().is_some_and(|t| t.contains("full"));
    match status {
        507 => {
            body["error"]["code"] == "storage_full"
                && says(&body["error"]["message"])
                && body["error"]["hint"].is_string()
        }
        // The vendor has no word for it.
        503 => body["code"] == "serviceUnavailable" && says(&body["message"]),
        _ => false,
    }
}
