//! Server, agents and the processes that do the work are killed with `kill -9` at points nobody chose, while several agents
//! back up and others write. Whatever died: nothing that was acknowledged is lost, no task is stuck, nothing runs twice at
//! once, no backup is there twice, and repository and ledger are in order.
//!
//! `BACKSTAY_KILL_ROUNDS=200` runs two hundred rounds in place of a few, `BACKSTAY_KILL_SEED=7` other ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use acceptance::fleet::Agent;
use acceptance::load::{Answer, Calls, Random};
use acceptance::machine::{Wish, result};
use acceptance::restic::Restic;
use acceptance::{Machine, Place, Up, noise, number, until};
use api::client::{Client, ListQuery};
use api::{List, Settings, Task};
use domain::Uuid;
use domain::policy::settings::{Command, When};
use domain::task::{ResultCode, State};
use nix::sys::signal::Signal;
use serde_json::json;

/// Rounds of an ordinary run: each sort of victim dies once.
const ROUNDS: u64 = 5;
/// How many agents there are.
const AGENTS: usize = 2;
/// How many folders each of them backs up.
const FOLDERS: usize = 2;
/// The queue of work that nobody takes, beside the backups.
const ELSEWHERE: &str = "elsewhere";
/// How much of each folder is new in each round, in bytes.
const NEW: usize = 4 << 20;
/// A strike comes within this time. It is drawn, not waited for: some come before anything happened, some in the middle of a
/// backup, some when all is done.
const STRIKE_WITHIN: Duration = Duration::from_millis(2500);

/// Run by each backup before it reads: looks whether the process that last worked on this folder is still alive. A process is
/// known by its number and by when it was started.
const WATCH: &str = r#"#!/bin/sh
seen="$1"
born() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }
state() { cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null; }
read -r pid birth < "$seen"
if [ -n "$pid" ] && [ "$pid" != "$PPID" ] && [ "$(born "$pid")" = "$birth" ] && [ "$(state "$pid")" != Z ]; then
    echo "$PPID began while $pid was at work" >> "$seen.twice"
fi
echo "$PPID $(born "$PPID")" > "$seen"
"#;

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Server,
    Agent(usize),
    /// One process that does a job of this agent, if it has one just then.
    Job(usize),
    ServerAndAgent(usize),
    All,
}

impl Victim {
    fn of_round(round: u64, random: &mut Random) -> Victim {
        let agent = random.below(AGENTS);
        match round % 5 {
            0 => Victim::Agent(agent),
            1 => Victim::Server,
            2 => Victim::Job(agent),
            3 => Victim::ServerAndAgent(agent),
            _ => Victim::All,
        }
    }

    fn server_dies(self) -> bool {
        matches!(self, Victim::Server | Victim::ServerAndAgent(_) | Victim::All)
    }

    fn agents(self) -> Vec<usize> {
        match self {
            Victim::Server | Victim::Job(_) => Vec::new(),
            Victim::Agent(n) | Victim::ServerAndAgent(n) => vec![n],
            Victim::All => (0..AGENTS).collect(),
        }
    }
}

/// What the server has acknowledged, and what it may have done without an answer.
#[derive(Debug, Default)]
struct Book {
    /// Backups, by the number of their task.
    runs: BTreeSet<i64>,
    /// Other tasks.
    others: BTreeSet<Uuid>,
    /// Other tasks whose wish was not answered.
    open: BTreeSet<Uuid>,
}

impl Book {
    /// How many runs and how many other tasks were acknowledged.
    fn counts(&self) -> (usize, usize) {
        (self.runs.len(), self.others.len())
    }
}

type Shared = Arc<Mutex<Book>>;

fn held(book: &Shared) -> std::sync::MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder that an agent backs up.
struct Folder {
    path: PathBuf,
    machine: Machine,
    seen: PathBuf,
}

impl Folder {
    async fn protect(up: &Up<'_>, place: &Place, agent: &Agent<'_>, name: &str) -> Folder {
        let path = place.folder(name);
        let seen = place.path(&format!("{name}.seen"));
        fs::write(&seen, "").expect("a file");
        let watch = Command {
            when: When::PreData,
            // Read by a shell, not run: a program cannot be run while anybody has it open for writing.
            cmd: "sh".to_owned(),
            args: format!("{} {}", place.path("watch.sh").display(), seen.display()),
            workdir: String::new(),
            enabled: true,
            stop_on_error: true,
            wait: true,
        };
        let settings = Settings { commands: vec![watch], ..Settings::default() };
        let wish = Wish { name: name.to_owned(), agent: Some(agent.id), settings, ..Wish::default() };
        Folder { machine: Machine::wished(up, &path, wish).await, path, seen }
    }

    /// Puts new content in place of the former.
    fn change(&self, random: &mut Random) {
        for file in 0..4 {
            fs::write(self.path.join(file.to_string()), noise(random.draw(), NEW / 4)).expect("a file");
        }
    }
}

/// Asks for a backup of each, while somebody answers.
async fn run_all(client: Client, machines: Vec<Machine>, book: Shared) {
    for machine in machines {
        let Ok(made) = client.run_policy(machine.policy, Some(machine.resource)).await else { return };
        held(&book).runs.extend(made.items.iter().map(|task| task.id));
    }
}

/// Enqueues other tasks until nobody answers or it is stopped.
async fn keep_enqueueing(calls: Calls, mut random: Random, book: Shared) {
    loop {
        let uuid = random.uuid();
        held(&book).open.insert(uuid);
        let wish = json!({ "uuid": uuid, "type": "report", "queue": ELSEWHERE, "priority": "normal" });
        match calls.enqueue(&wish).await {
            Answer::Done(_) => {
                let mut book = held(&book);
                book.open.remove(&uuid);
                book.others.insert(uuid);
            }
            Answer::Refused(status, body) => panic!("a task was refused with {status}: {body}"),
            Answer::Silence => return,
        }
    }
}

/// Everything that a list has, page by page.
async fn whole<T>(query: ListQuery, ask: impl AsyncFn(ListQuery) -> api::client::Result<List<T>>) -> Vec<T> {
    let query = query.limit(1000);
    let mut page = ask(query.clone()).await.expect("a list");
    let mut items = Vec::new();
    loop {
        items.append(&mut page.items);
        let Some(next) = page.next else { return items };
        page = ask(query.clone().cursor(&next)).await.expect("a list");
    }
}

/// Whether this end of a backup may be, when this was killed.
fn is_explained(task: &Task, job_was_killed: bool) -> bool {
    match result(task) {
        ResultCode::Ok => true,
        // Whoever does the work and is ended by somebody is an error of the task, which says so.
        ResultCode::Error => {
            let code = task.result.as_ref().and_then(|r| r.error.as_ref()).map(|e| e.code.as_str());
            job_was_killed && code == Some("engineCrashed")
        }
        _ => false,
    }
}

/// Looks at everything after a round, when all is done.
async fn check(
    client: &Client,
    place: &Place,
    book: &Shared,
    folders: &[Folder],
    crashed: &mut BTreeSet<i64>,
    killed: bool,
) {
    let backups =
        whole(ListQuery::new().filter("type", "backup").order("id"), async |query| client.tasks(&query).await).await;
    let known: BTreeSet<i64> = backups.iter().map(|task| task.id).collect();
    let lost: Vec<_> = held(book).runs.difference(&known).copied().collect();
    assert!(lost.is_empty(), "runs were acknowledged and are not there: {lost:?}");
    let mut good = BTreeMap::new();
    for task in &backups {
        assert_eq!(task.state, State::Completed, "{task:#?}");
        if result(task) == ResultCode::Ok {
            good.insert(task.uuid.to_string(), task.id);
        } else if crashed.insert(task.id) {
            assert!(is_explained(task, killed), "task {} ended otherwise: {task:#?}", task.id);
        }
    }

    // One recovery point and one snapshot for each good run. A run whose process was killed right behind its snapshot has
    // one too, and none of them has two.
    let mut points = BTreeMap::<i64, usize>::new();
    for backup in whole(ListQuery::new(), async |query| client.backups(&query).await).await {
        *points.entry(backup.task).or_default() += 1;
    }
    assert_eq!(points, good.values().map(|id| (*id, 1)).collect(), "recovery points by task");
    let restic = Restic::of(place);
    let snapshots = restic.snapshots_by_task();
    assert!(snapshots.values().all(|n| *n == 1), "{snapshots:?}");
    assert!(good.keys().all(|uuid| snapshots.contains_key(uuid)), "a recovery point has no snapshot");
    restic.check_structure();

    for folder in folders {
        let twice = folder.seen.with_extension("seen.twice");
        assert!(!twice.exists(), "{}", fs::read_to_string(&twice).unwrap_or_default());
    }
}

/// Every other task that was acknowledged is there, once, and none that nobody wished.
async fn check_others(client: &Client, book: &Shared) {
    let found = whole(ListQuery::new().filter("queue", ELSEWHERE), async |query| client.tasks(&query).await).await;
    let uuids: BTreeSet<Uuid> = found.iter().map(|task| task.uuid).collect();
    assert_eq!(uuids.len(), found.len(), "a task is there twice");
    let mut book = held(book);
    assert!(book.others.is_subset(&uuids), "acknowledged and lost: {:?}", book.others.difference(&uuids));
    for uuid in uuids.difference(&book.others.clone()) {
        assert!(book.open.contains(uuid), "nobody wished {uuid}");
    }
    // What is there is known from now on, whether or not it was answered. What is not may still come: whoever was stopped while
    // it waited for an answer does not know.
    book.open.retain(|uuid| !uuids.contains(uuid));
    book.others = uuids;
}

fn put_watch(place: &Place) -> PathBuf {
    let watch = place.path("watch.sh");
    fs::write(&watch, WATCH).expect("a script");
    watch
}

#[test]
fn the_watch_sees_two_at_once_and_not_one_after_the_other() {
    let place = Place::new();
    let (watch, seen) = (put_watch(&place), place.path("seen"));
    fs::write(&seen, "").expect("a file");
    // A shell that runs the watch as its child and stays until its input ends.
    let work = || {
        let mut shell = place.command("sh");
        shell.args(["-c", "sh \"$0\" \"$1\" && echo begun && read -r over"]).arg(&watch).arg(&seen);
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut begun = [0; 6];
        child.stdout.take().expect("piped").read_exact(&mut begun).expect("it begins");
        child
    };
    let end = |mut child: Child| {
        drop(child.stdin.take());
        let _ = child.wait().expect("it ends");
    };
    let twice = seen.with_extension("twice");
    end(work());
    let first = work();
    assert!(!twice.exists(), "one after the other");
    let second = work();
    assert!(twice.exists(), "two at once");
    end(first);
    end(second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_killed_nothing_acknowledged_is_lost_stuck_or_done_twice() {
    let (rounds, seed) = (number("BACKSTAY_KILL_ROUNDS", ROUNDS), number("BACKSTAY_KILL_SEED", 1));
    eprintln!("{rounds} rounds with BACKSTAY_KILL_SEED={seed}");
    let mut random = Random::new(seed);
    let place = Place::new();
    put_watch(&place);

    // The same address in all its lives, where the agents find it again.
    let server = place.up().alone().reached_as_localhost();
    let mut up = server.start();
    let mut agents = Vec::new();
    let mut folders = Vec::new();
    for n in 0..AGENTS {
        let agent = Agent::join(&place, &up, &format!("agent-{n}")).await;
        for m in 0..FOLDERS {
            folders.push(Folder::protect(&up, &place, &agent, &format!("folder-{n}-{m}")).await);
        }
        agents.push(agent);
    }
    let book = Shared::default();
    let mut crashed = BTreeSet::new();
    let mut strikes = BTreeMap::<&str, usize>::new();

    for round in 0..rounds {
        let begun = Instant::now();
        let victim = Victim::of_round(round, &mut random);
        folders.iter().for_each(|folder| folder.change(&mut random));
        let client = up.client();
        let calls = Calls::new(&up.ready().http, &up.ready().admin_token);
        let machines = folders.iter().map(|folder| folder.machine.clone()).collect();
        let runs = tokio::spawn(run_all(client.clone(), machines, book.clone()));
        let others = tokio::spawn(keep_enqueueing(calls, random.split(), book.clone()));

        let strike = STRIKE_WITHIN.mul_f64(random.below(1000) as f64 / 1000.0);
        tokio::time::sleep(strike).await;
        let at_work = agents.iter().map(|agent| agent.jobs().len()).sum::<usize>();
        let mut killed_job = false;
        if let Victim::Job(n) = victim {
            let jobs = agents[n].jobs();
            killed_job = !jobs.is_empty() && random.pick(&jobs).strike(Signal::SIGKILL);
        }
        victim.agents().into_iter().for_each(|n| agents[n].kill9());
        if victim.server_dies() {
            up.kill9();
            let enqueued = others.await;
            enqueued.expect("whoever enqueues ends in order");
            up = server.start();
        } else {
            others.abort();
        }
        // Whoever asks for backups has asked for all of them, or asks in vain now.
        runs.await.expect("whoever asks for backups ends in order");
        agents.iter_mut().for_each(Agent::start);

        let client = up.client();
        until("all backups are over", async || {
            let open = ListQuery::new().filter("type", "backup").filter("state", "enqueued,assigned,started,paused");
            (client.tasks(&open.total()).await.ok()?.total == Some(0)).then_some(())
        })
        .await;
        check(&client, &place, &book, &folders, &mut crashed, killed_job).await;
        check_others(&client, &book).await;
        *strikes.entry(if at_work > 0 { "at work" } else { "between" }).or_default() += 1;
        let (all_runs, all_others) = held(&book).counts();
        eprintln!(
            "round {round}: {victim:?} after {strike:?}, {at_work} jobs at work; {all_runs} runs and {all_others} others \
             acknowledged in all; {:?}",
            begun.elapsed()
        );
    }
    eprintln!("strikes: {strikes:?}; {} runs ended as crashed", crashed.len());
    let (all_runs, all_others) = held(&book).counts();
    assert!(all_runs > 0 && all_others > 0, "there was no load");
    drop(agents);
    let _ = up.stop(Signal::SIGTERM).good();
    assert!(place.cli(&["ledger", "check"]).good().out.contains("sound"));
    Restic::of(&place).check();
}
