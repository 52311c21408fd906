//! The disk of the ledger is full: writing is refused with the reason, reading goes on, nothing acknowledged is lost, and
//! as soon as there is room writing goes on by itself. And a ledger whose file is damaged says so.
//!
//! Each of the first tests runs in a name space of its own, where a small file system can be mounted without anybody else
//! seeing it. Where the system does not allow that, as in some containers, they are skipped and say so.

use std::fs::{self, File};
use std::io::{ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use acceptance::load::{Book, Calls, Look, Owners, Random, Round, Worker, verify, write_until};
use acceptance::{Place, Up, noise};
use nix::sys::signal::Signal;

/// Set where a test runs in its own name space.
const INSIDE: &str = "BACKSTAY_TEST_INSIDE";
/// How large the disk is.
const DISK: &str = "size=48m";
/// Room for a server to start in, and for nothing else.
const A_LITTLE: u64 = 128 << 10;
/// So much is free when a disk counts as one with room.
const ROOM: u64 = 8 << 20;

/// Whether this is the name space of the test with this name; otherwise runs the test there, or says that it is skipped.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let own = ["--mount", "--map-root-user"];
    let mut allowed = Command::new("unshare");
    allowed.args(own).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stderr(Stdio::null());
    if !allowed.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no file system can be mounted here");
        return false;
    }
    let mut command = Command::new("unshare");
    command.args(own).arg(std::env::current_exe().expect("the path of this test"));
    let output =
        command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output().expect("unshare can be started");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{said}");
    assert!(output.status.success() && said.contains("1 passed"), "it failed in its name space");
    false
}

/// A place whose data folder is a small disk.
struct SmallDisk(Place);

impl SmallDisk {
    fn new() -> SmallDisk {
        let place = Place::new();
        let data = place.folder("backstay-data");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(data).status();
        assert!(mounted.is_ok_and(|status| status.success()), "it could be mounted a moment ago");
        SmallDisk(place)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nobody can remove a folder on which something is mounted. The disk itself goes with its last user.
        let _ = Command::new("umount").arg("--lazy").arg(self.0.data()).status();
    }
}

fn ballast(place: &Place) -> PathBuf {
    place.data().join("ballast")
}

/// Fills the disk to its last byte, and then frees so much again.
fn fill_but(place: &Place, free: u64) {
    let path = ballast(place);
    let mut file = File::options().create(true).append(true).open(&path).expect("a file");
    for piece in [vec![0; 1 << 20], vec![0; 4096], vec![0; 1]] {
        loop {
            match file.write_all(&piece) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::StorageFull => break,
                Err(e) => panic!("the ballast cannot be written: {e}"),
            }
        }
    }
    let length = file.metadata().expect("a length").len();
    file.set_len(length.saturating_sub(free)).expect("a shorter file");
}

fn make_room(place: &Place) {
    let file = File::options().write(true).open(ballast(place)).expect("a file");
    let length = file.metadata().expect("a length").len();
    file.set_len(length.saturating_sub(ROOM)).expect("a shorter file");
}

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
    async fn write_until_full(&mut self, up: &Up<'_>, acknowledged: u64) {
        let round = Round { ends_full: true, ..self.round(up) };
        write_until(&round, &mut self.workers, &mut self.random, acknowledged, || fill_but(up.place(), 0)).await;
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
    let disk = SmallDisk::new();
    let place = &disk.0;
    let up = place.start();
    let mut story = Story::begin(&up).await;
    // Early, late, and in between: the log grows, is folded into the ledger, and is used again from its start.
    for acknowledged in [150, 700, 20] {
        story.write_until_full(&up, acknowledged).await;
        up.client().health().await.expect("it works as far as it can");
        story.compare(&up, Look::WithoutWriting).await;
        make_room(place);
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
    let disk = SmallDisk::new();
    let place = &disk.0;
    let mut up = place.start();
    let mut story = Story::begin(&up).await;
    for (round, acknowledged) in [300, 60].into_iter().enumerate() {
        story.write_until_full(&up, acknowledged).await;
        if round % 2 == 0 {
            let _ = up.stop(Signal::SIGTERM).good();
        } else {
            up.kill9();
        }
        // What came to its end makes no room for what comes next.
        fill_but(place, 0);
        is_sound(place);
        fill_but(place, A_LITTLE);
        up = place.start();
        // Nor is there any for what it wants to save while it runs.
        fill_but(place, 0);
        story.compare(&up, Look::WithoutWriting).await;
        let _ = up.stop(Signal::SIGTERM).good();
        make_room(place);
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
