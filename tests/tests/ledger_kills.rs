//! The server is killed with `kill -9` while many write, again and again on one data folder: nothing that was acknowledged
//! is missing, nothing is there twice, and lists say what reading task by task says, whatever became of the files that are
//! derived from the ledger.
//!
//! `BACKSTAY_KILL_ROUNDS=100` runs a hundred rounds in place of a few, `BACKSTAY_KILL_SEED=7` other ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use acceptance::load::{Book, Calls, Look, Owners, Random, Round, Worker, verify, write_until};
use acceptance::{Place, number};
use domain::task::{Event, Executor, LeaseToken, Outcome, OutcomeCode, Task, TaskRef, TaskSpec};
use domain::tenant::Tenant;
use domain::{Moment, Scope, SignedDuration, Timestamp, Uuid};
use ledger::{Claim, Expect, Ledger, SqliteLedger, Write, Written};
use nix::sys::signal::Signal;
use server::config::DataFolder;

/// Rounds of an ordinary run: enough that each sort of harm is done once.
const ROUNDS: u64 = 5;
/// Tasks of long ago, which the server hides when it starts.
const OLD: usize = 40;

fn open(place: &Place) -> SqliteLedger {
    SqliteLedger::open(&DataFolder::new(place.data()).ledger()).expect("the ledger")
}

fn moment(now: Timestamp) -> Moment {
    Moment { now, up_since: now }
}

fn task_of(written: &Written) -> Task {
    match written {
        Written::Task { task, .. } => task.clone(),
        other => panic!("no task: {other:?}"),
    }
}

/// A ledger in which work was done a hundred days ago.
async fn with_a_past(place: &Place, random: &mut Random, book: &mut Book) {
    fs::create_dir_all(place.data()).expect("a data folder");
    let ledger = open(place);
    let (all, then) = (Scope::everything(), moment(Timestamp::now() - SignedDuration::from_hours(100 * 24)));
    let root = Tenant::root("root", "UTC", then.now);
    let mut writes = vec![Write::Put(Box::new(root.into()), Expect::New)];
    let spec = |_| Write::CreateTask(Box::new(TaskSpec::new(random.uuid(), "backup", "past", Uuid::nil())));
    writes.extend((0..OLD).map(spec));
    ledger.commit(&all, then, writes).await.expect("the past");
    let executor = Executor { id: "somebody".into(), ..Executor::default() };
    let leases: Vec<_> = (0..OLD).map(|n| LeaseToken(format!("past-{n}"))).collect();
    let claim = Claim { queues: vec!["past".to_owned()], types: Vec::new(), executor, leases };
    let taken = ledger.commit(&all, then, vec![Write::Claim(claim)]).await.expect("tasks");
    let Written::Claimed(taken) = &taken.written[0] else { panic!("no tasks: {taken:?}") };
    let end = |task: &Task| {
        let lease = task.lease().expect("it was taken").clone();
        let event = Event::Complete { lease, outcome: Outcome::of(OutcomeCode::Ok), progress: None };
        Write::Task(TaskRef::Id(task.id), event)
    };
    let ended = ledger.commit(&all, then, taken.iter().map(end).collect()).await.expect("their ends");
    assert_eq!(ended.written.len(), OLD);
    ended.written.iter().for_each(|w| book.found(&task_of(w), true));
    ledger.close().await.expect("closed");
}

/// Hides some tasks and sometimes removes all hidden ones, while no server runs: files beside the ledger do not know it.
async fn clean_up(place: &Place, random: &mut Random, book: &mut Book) {
    let ledger = open(place);
    let (all, now) = (Scope::everything(), moment(Timestamp::now()));
    let hide = |id| Write::Task(TaskRef::Id(domain::task::TaskId(id)), Event::Delete);
    let writes: Vec<_> = book.completed(random, 25).into_iter().map(hide).collect();
    let hidden = ledger.commit(&all, now, writes).await.expect("a commit");
    book.hidden(&hidden.written.iter().map(task_of).collect::<Vec<_>>());
    if random.percent(50) {
        let before = Timestamp::now() + SignedDuration::from_hours(24);
        ledger.commit(&all, now, vec![Write::Purge(before)]).await.expect("a commit");
        book.purged();
    }
    ledger.close().await.expect("closed");
}

/// What becomes of the files beside the ledger.
#[derive(Debug, Clone, Copy)]
enum Harm {
    None,
    Deleted,
    CutShort,
    OneByteTurned,
    OfLongAgo,
    Emptied,
}

const HARMS: [Harm; 6] =
    [Harm::None, Harm::Deleted, Harm::CutShort, Harm::OneByteTurned, Harm::OfLongAgo, Harm::Emptied];

/// The files that are derived from the ledger: all that lie beside it and are not SQLite's own.
fn derived(place: &Place) -> Vec<PathBuf> {
    fn files(path: PathBuf) -> Vec<PathBuf> {
        match fs::read_dir(&path) {
            Ok(entries) => entries.flat_map(|e| files(e.expect("an entry").path())).collect(),
            Err(_) => vec![path],
        }
    }
    let entries = fs::read_dir(place.data()).expect("the data folder").map(|e| e.expect("an entry").path());
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    let ours = |path: &PathBuf| {
        let name = name(path);
        let sqlite = ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal"].contains(&name.as_str());
        name.starts_with("ledger") && !sqlite
    };
    let mut found: Vec<_> = entries.filter(ours).flat_map(files).collect();
    found.sort();
    found
}

fn do_harm(place: &Place, harm: Harm, random: &mut Random) -> usize {
    let files = derived(place);
    for file in &files {
        let bytes = fs::read(file).expect("a file");
        match harm {
            Harm::None => {}
            Harm::Deleted => fs::remove_file(file).expect("it was there"),
            Harm::CutShort => fs::write(file, &bytes[..random.below(bytes.len())]).expect("a file"),
            Harm::Emptied => fs::write(file, b"").expect("a file"),
            Harm::OneByteTurned => {
                let mut bytes = bytes;
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
                fs::write(file, bytes).expect("a file");
            }
            Harm::OfLongAgo => {}
        }
    }
    if let (Harm::OfLongAgo, Ok(kept)) = (harm, fs::read_dir(place.path("kept"))) {
        for file in kept.map(|e| e.expect("an entry").path()) {
            fs::copy(&file, place.data().join(file.file_name().expect("a name"))).expect("a copy");
        }
    }
    files.len()
}

/// Keeps the derived files of now, unless some are kept already.
fn keep(place: &Place) {
    let kept = place.folder("kept");
    if fs::read_dir(&kept).is_ok_and(|mut e| e.next().is_none()) {
        for file in derived(place).into_iter().filter(|f| f.parent() == Some(place.data().as_path())) {
            fs::copy(&file, kept.join(file.file_name().expect("a name"))).expect("a copy");
        }
    }
}

fn is_sound(place: &Place) {
    let said = place.cli(&["ledger", "check"]).good();
    assert!(said.out.contains("sound"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_acknowledged_is_lost_by_kill_9_under_load() {
    let (rounds, seed) = (number("BACKSTAY_KILL_ROUNDS", ROUNDS), number("BACKSTAY_KILL_SEED", 1));
    eprintln!("{rounds} rounds with BACKSTAY_KILL_SEED={seed}");
    let mut random = Random::new(seed);
    let place = Place::new();
    let mut book = Book::default();
    with_a_past(&place, &mut random, &mut book).await;
    let book = Arc::new(Mutex::new(book));
    let mut workers: Vec<_> = (1..=4).map(|n| Worker::new(&format!("worker-{n}"))).collect();
    let first = place.start();
    let owners = Owners::make(&first.client()).await;
    let mut running = Some(first);

    for n in 0..rounds {
        let begun = Instant::now();
        let up = running.take().unwrap_or_else(|| place.start());
        let calls = Calls::new(&up.ready().http, &up.ready().admin_token);
        let round = Round { calls, book: book.clone(), tenants: owners.all.clone(), ends_full: false };
        let acknowledged = 30 + random.below(600) as u64;
        write_until(&round, &mut workers, &mut random, acknowledged, || up.kill9()).await;
        let wrote = begun.elapsed();

        // Taken out, so that nothing holds the lock while the server is asked.
        let mut known = std::mem::take(&mut *round.book());
        let harm = HARMS[(n as usize + 1) % HARMS.len()];
        let harmed = do_harm(&place, harm, &mut random);
        let check_first = n % 2 == 0;
        if check_first {
            is_sound(&place);
        }
        if n % 3 == 2 {
            clean_up(&place, &mut random, &mut known).await;
        }
        let up = place.start();
        let started = begun.elapsed() - wrote;
        let guest = owners.guest(&up);
        let calls = Calls::new(&up.ready().http, &up.ready().admin_token);
        let look = if n % 10 == 9 || n + 1 == rounds { Look::Thorough } else { Look::Usual };
        let checked = verify(&calls, &guest, &mut known, &mut random, look).await;
        eprintln!(
            "round {n}: {acknowledged} acknowledged, {harmed} files {harm:?}, {checked:?}; wrote for {wrote:?}, \
             restarted in {started:?}, {:?} in all",
            begun.elapsed()
        );
        *round.book() = known;
        if check_first {
            running = Some(up);
        } else {
            let _ = up.stop(Signal::SIGTERM).good();
            is_sound(&place);
            keep(&place);
            // What an orderly end has written may be harmed too.
            do_harm(&place, HARMS[random.below(HARMS.len())], &mut random);
        }
    }
    let book = book.lock().expect("nobody panicked");
    eprintln!("{} requests were acknowledged, {} were not answered", book.acknowledged, book.unanswered);
    assert!(book.acknowledged >= rounds * 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[should_panic(expected = "is the number of")]
async fn a_ledger_of_yesterday_does_not_pass() {
    // What finds nothing is worth nothing: this one must find something.
    let (place, mut random, book) = (Place::new(), Random::new(1), Arc::new(Mutex::new(Book::default())));
    let mut workers = vec![Worker::new("worker-1")];
    let up = place.start();
    let owners = Owners::make(&up.client()).await;
    let _ = up.stop(Signal::SIGTERM).good();
    let yesterday = place.folder("yesterday").join("ledger.db");
    fs::copy(place.data().join("ledger.db"), &yesterday).expect("a copy");
    let up = place.start();
    let calls = Calls::new(&up.ready().http, &up.ready().admin_token);
    let round = Round { calls, book: book.clone(), tenants: owners.all.clone(), ends_full: false };
    write_until(&round, &mut workers, &mut random, 50, || up.kill9()).await;
    let files =
        derived(&place).into_iter().chain(["-wal", "-shm"].map(|end| place.data().join(format!("ledger.db{end}"))));
    files.for_each(|file| drop(fs::remove_file(file)));
    fs::copy(&yesterday, place.data().join("ledger.db")).expect("a copy");
    let up = place.start();
    let calls = Calls::new(&up.ready().http, &up.ready().admin_token);
    let mut known = std::mem::take(&mut *round.book());
    verify(&calls, &owners.guest(&up), &mut known, &mut random, Look::Usual).await;
}
