//! The disk of the ledger is full: writing is refused with the reason, reading goes on, nothing acknowledged is lost, and
//! as soon as there is room writing goes on by itself. And a ledger whose file is damaged says so.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use acceptance::disk::{SmallDisk, inside};
use acceptance::load::{Book, Calls, Look, Owners, Random, Round, Worker, verify, write_until};
use acceptance::{Place, Up, noise};
use nix::sys::signal::Signal;

/// How large the disk is.
const DISK: &str = "64m";
/// Room for a server to start in, and for nothing else.
const A_LITTLE: u64 = 128 << 10;
/// So much is free when a disk counts as one with room.
const ROOM: u64 = 20 << 20;

fn is_sound(place: &Place) {
    let said = place.cli(&["ledger", "check"]).good();
    assert!(said.out.contains("sound"), "{said}");
}

/// Somebody who writes and reads, and remembers.
struct Story {
    owners: Owners,
    book: Arc<Mutex<Book>>,
    workers: Vec<Worker>,
    random: Random,
}

impl Story {
    async fn begin(up: &Up<'_>) -> Story {
        let workers = (1..=3).map(|n| Worker::new(&format!("worker-{n}"))).collect();
        let owners = Owners::make(&up.client()).await;
        Story { owners, book: Arc::default(), workers, random: Random::new(1) }
    }

    fn calls(up: &Up<'_>) -> Calls {
        Calls::new(&up.ready().http, &up.ready().admin_token)
    }

    /// Writes, then fills the disk, and goes on until everybody was refused for it.
    async fn write_until_full(&mut self, up: &Up<'_>, disk: &SmallDisk, acknowledged: u64) {
        let round = Round { ends_full: true, ..self.round(up) };
        write_until(&round, &mut self.workers, &mut self.random, acknowledged, || disk.fill_but(0)).await;
    }

    fn round(&self, up: &Up<'_>) -> Round {
        let (book, tenants) = (self.book.clone(), self.owners.all.clone());
        Round { calls: Story::calls(up), book, tenants, ends_full: false }
    }

    /// Reads everything in every way.
    async fn compare(&mut self, up: &Up<'_>, look: Look) {
        let mut known = std::mem::take(&mut *self.book.lock().expect("nobody panicked"));
        let guest = self.owners.guest(up);
        let checked = verify(&Story::calls(up), &guest, &mut known, &mut self.random, look).await;
        eprintln!("{look:?}: {checked:?}");
        *self.book.lock().expect("nobody panicked") = known;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_refuses_writers_and_nobody_else() {
    if !inside("a_full_disk_refuses_writers_and_nobody_else") {
        return;
    }
    let place = &Place::new();
    let disk = SmallDisk::over(&place.folder("backstay-data"), DISK);
    let up = place.start();
    let mut story = Story::begin(&up).await;
    // Early, late, and in between: the log grows, is folded into the ledger, and is used again from its start.
    for acknowledged in [150, 700, 20] {
        story.write_until_full(&up, &disk, acknowledged).await;
        up.client().health().await.expect("it works as far as it can");
        story.compare(&up, Look::WithoutWriting).await;
        disk.make_room(ROOM);
        // By itself, without a word to the server.
        story.compare(&up, Look::RoomAgain).await;
    }
    let _ = up.stop(Signal::SIGTERM).good();
    is_sound(place);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_ends_and_starts_on_a_full_disk() {
    if !inside("a_server_ends_and_starts_on_a_full_disk") {
        return;
    }
    let place = &Place::new();
    let disk = SmallDisk::over(&place.folder("backstay-data"), DISK);
    let mut up = place.start();
    let mut story = Story::begin(&up).await;
    for (round, acknowledged) in [300, 60].into_iter().enumerate() {
        story.write_until_full(&up, &disk, acknowledged).await;
        if round % 2 == 0 {
            let _ = up.stop(Signal::SIGTERM).good();
        } else {
            up.kill9();
        }
        // What came to its end makes no room for what comes next.
        disk.fill_but(0);
        is_sound(place);
        disk.fill_but(A_LITTLE);
        up = place.start();
        // Nor is there any for what it wants to save while it runs.
        disk.fill_but(0);
        story.compare(&up, Look::WithoutWriting).await;
        let _ = up.stop(Signal::SIGTERM).good();
        disk.make_room(ROOM);
        up = place.start();
        story.compare(&up, Look::Thorough).await;
    }
    let _ = up.stop(Signal::SIGTERM).good();
    is_sound(place);
}

/// Bytes of nobody's making in place of a part of a file.
fn spoil(file: &Path, from: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(file).expect("a file");
    file.seek(SeekFrom::Start(from)).and_then(|_| file.write_all(bytes)).expect("a spoilt file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_damaged_ledger_says_so() {
    let place = Place::new();
    let up = place.start();
    let mut story = Story::begin(&up).await;
    let round = story.round(&up);
    write_until(&round, &mut story.workers, &mut story.random, 250, || up.kill9()).await;
    is_sound(&place);
    let (ledger, whole) = (place.data().join("ledger.db"), place.path("whole.db"));
    fs::copy(&ledger, &whole).expect("a copy");
    let length = fs::metadata(&whole).expect("a length").len();
    let page = 4096;
    assert!(length > 50 * page, "there are pages to spoil");

    let restore = || assert!(fs::copy(&whole, &ledger).is_ok(), "a copy");
    let random = &mut story.random;
    for n in 0..16 {
        restore();
        let what = match n {
            0 => {
                File::options().write(true).open(&ledger).and_then(|f| f.set_len(length / 2)).expect("a shorter file");
                "cut in the middle".to_owned()
            }
            1 => {
                let file = File::options().write(true).open(&ledger);
                file.and_then(|f| f.set_len(length / 2 / page * page)).expect("a shorter file");
                "cut between two pages".to_owned()
            }
            2 => {
                spoil(&ledger, 0, &noise(7, 100));
                "without its head".to_owned()
            }
            3 => {
                let from = length / page / 3 * page;
                spoil(&ledger, from, &vec![0; (length - from) as usize]);
                "empty from a third on".to_owned()
            }
            _ => {
                let at = 1 + random.below((length / page) as usize - 1) as u64;
                spoil(&ledger, at * page, &noise(random.draw(), page as usize));
                format!("with noise in page {at}")
            }
        };
        let said = place.cli(&["ledger", "check"]).failed(1);
        // Where it cannot even be opened that is an error with its code; otherwise what is wrong is listed.
        let clear = said.err.contains("ledger_damaged") || said.out.lines().count() > 0;
        assert!(clear && !said.err.contains("panicked"), "{what}: {said}");
        if n < 4 {
            let said = place.up().start_in_vain().failed(1);
            let clear = said.err.contains("the ledger is damaged") && said.err.contains("restore the file from a copy");
            assert!(clear && !said.err.contains("panicked"), "{what}: {said}");
        }
    }
    restore();
    is_sound(&place);
}
