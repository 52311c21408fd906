//! Who uses a repository on a store, in the way of restic: a file in `locks`, which its owner writes anew every few minutes
//! and removes at the end. `restic` heeds ours and we heed its. What is older than half an hour belongs to nobody any more;
//! so does what an agent's process of this machine wrote that is gone. It is removed by whoever sees it. Long before that
//! age, an owner who could not write its lock anew writes nothing else either: somebody may have taken the repository for
//! free.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use aes256ctr_poly1305aes::aead::Aead;
use aes256ctr_poly1305aes::{Aes256CtrPoly1305Aes, Key, Nonce};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use domain::{SignedDuration, Timestamp};
use rustic_core::repofile::MasterKey;
use serde::{Deserialize, Serialize};

use super::{Store, steadily};
use crate::engine::{EngineError, Reporter, Step};
use crate::hex::hex;

/// How often a lock is written anew, as restic does it.
const REFRESHED: Duration = Duration::from_secs(5 * 60);
/// From this age on a lock is nobody's, as restic sees it.
const STALE: SignedDuration = SignedDuration::from_mins(30);
/// At this age a lock of ours counts as lost: what is being written then must be over before others see it as nobody's.
const LOST: SignedDuration = SignedDuration::from_mins(22);
/// How often is looked whether somebody has let go.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Where locks lie.
const FOLDER: &str = "locks";
/// What stands before compressed data in a repository of version 2.
const COMPRESSED: u8 = 2;
/// How long a lock may be when it is unpacked.
const MAX_LOCK: usize = 64 * 1024;
/// How long the number is with which a file is sealed.
const NONCE: usize = 16;

/// The part of a lock that restic and we read.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lock {
    time: Timestamp,
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: u32,
    /// Where that number means something: the start of the machine and the space of its processes. restic does not say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    processes: String,
}

impl Lock {
    fn own(exclusive: bool, now: Timestamp) -> Lock {
        let (username, pid) = ("backstay".to_owned(), std::process::id());
        Lock { time: now, exclusive, hostname: hostname(), username, pid, processes: processes() }
    }

    /// Whether nobody holds it any more. `processes` are those that can be seen from here.
    fn is_over(&self, now: Timestamp, processes: &str, lives: impl Fn(u32) -> bool) -> bool {
        let old = now.duration_since(self.time) > STALE;
        old || (!processes.is_empty() && self.processes == processes && !lives(self.pid))
    }
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Which processes can be seen from here; nothing where the system does not tell.
fn processes() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let space = std::fs::read_link("/proc/self/ns/pid");
    match (boot, space) {
        (Ok(boot), Ok(space)) => format!("{} {}", boot.trim(), space.display()),
        _ => String::new(),
    }
}

fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The locks of a repository, with what opens them.
#[derive(Clone)]
pub(in crate::engine::rustic) struct Locks {
    store: Arc<dyn Store>,
    cipher: Arc<Aes256CtrPoly1305Aes>,
}

/// A lock of ours, which goes with this value.
pub(in crate::engine::rustic) struct Held {
    done: Option<mpsc::Sender<()>>,
    refresher: Option<JoinHandle<()>>,
    written: Arc<Written>,
}

/// When a lock was written last, in seconds since 1970: the clock of the world, which goes on while a machine sleeps.
#[derive(Default)]
struct Written(AtomicI64);

impl Written {
    fn note(&self, now: Timestamp) {
        self.0.store(now.as_second(), Ordering::Relaxed);
    }

    fn is_lost(&self, now: Timestamp) -> bool {
        now.as_second() - self.0.load(Ordering::Relaxed) > LOST.as_secs()
    }
}

impl Held {
    /// Whether it could not be kept, so that somebody else may hold the repository by now.
    pub(in crate::engine::rustic) fn is_lost(&self) -> bool {
        self.written.is_lost(Timestamp::now())
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(refresher) = self.refresher.take() {
            let _ = refresher.join();
        }
    }
}

impl Locks {
    /// The locks of the repository that this key opens.
    pub(in crate::engine::rustic) fn new(store: Arc<dyn Store>, key: &MasterKey) -> Locks {
        let parts = [key.encrypt.as_slice(), key.mac.k.as_slice(), key.mac.r.as_slice()].concat();
        Locks { store, cipher: Arc::new(Aes256CtrPoly1305Aes::new(Key::from_slice(&parts))) }
    }

    /// Holds the repository together with others; waits while somebody holds it alone.
    pub(in crate::engine::rustic) fn together(&self, reporter: &Reporter) -> Result<Held, EngineError> {
        loop {
            if let Some(held) = self.hold(false).map_err(|error| self.failed(error))? {
                return Ok(held);
            }
            if reporter.current_step() != Some(Step::Wait) {
                reporter.step(Step::Wait);
            }
            pause(LOOK_AGAIN);
        }
    }

    /// Holds the repository alone; nothing if anybody else uses it.
    pub(in crate::engine::rustic) fn alone(&self) -> Result<Option<Held>, EngineError> {
        self.hold(true).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> EngineError {
        EngineError::io(&format!("cannot lock the repository {}", self.store.place()), &error)
    }

    fn hold(&self, exclusive: bool) -> io::Result<Option<Held>> {
        if self.is_barred(exclusive, None)? {
            return Ok(None);
        }
        let written = Arc::new(Written::default());
        let name = self.write(exclusive, &written)?;
        // Somebody else may have looked at the same time and seen as little.
        match self.is_barred(exclusive, Some(&name)) {
            Ok(false) => {}
            other => {
                self.remove(&name);
                return other.map(|_| None);
            }
        }
        let (done, told) = mpsc::channel();
        let (locks, noted) = (self.clone(), Arc::clone(&written));
        let refresher = std::thread::spawn(move || locks.refresh(exclusive, name, &noted, &told));
        Ok(Some(Held { done: Some(done), refresher: Some(refresher), written }))
    }

    /// Whether a lock of somebody else keeps us out.
    fn is_barred(&self, exclusive: bool, own: Option<&str>) -> io::Result<bool> {
        let (now, processes) = (Timestamp::now(), processes());
        for (name, _) in steadily(|| self.store.list(FOLDER))? {
            // What is not written to its end is no lock yet.
            if own == Some(name.as_str()) || name.contains('.') {
                continue;
            }
            let sealed = match steadily(|| self.store.read(&format!("{FOLDER}/{name}"), None)) {
                // It was let go of since.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            let bars = match self.open(&sealed) {
                // `restic` would heed it for ever.
                Some(lock) if lock.is_over(now, &processes, lives) => {
                    self.remove(&name);
                    false
                }
                Some(lock) => exclusive || lock.exclusive,
                // Whose it is cannot be told, so nobody is alone here.
                None => exclusive,
            };
            if bars {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a lock anew until it is no longer needed, and removes it then.
    fn refresh(&self, exclusive: bool, mut name: String, written: &Written, told: &mpsc::Receiver<()>) {
        while let Err(mpsc::RecvTimeoutError::Timeout) = told.recv_timeout(REFRESHED) {
            // The old one holds for a while yet; the next turn tries again.
            if let Ok(next) = self.write(exclusive, written) {
                self.remove(&name);
                name = next;
            }
        }
        self.remove(&name);
    }

    fn write(&self, exclusive: bool, written: &Written) -> io::Result<String> {
        let now = Timestamp::now();
        let lock = Lock::own(exclusive, now);
        let sealed = self.seal(&serde_json::to_vec(&lock)?)?;
        let name = hex(digest(&SHA256, &sealed).as_ref());
        let made = steadily(|| self.store.create(&format!("{FOLDER}/{name}"), sealed.clone().into()));
        match made {
            // An earlier try did it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        written.note(now);
        Ok(name)
    }

    fn remove(&self, name: &str) {
        // One that stays is nobody's in half an hour.
        let _ = steadily(|| self.store.remove(&format!("{FOLDER}/{name}")));
    }

    fn seal(&self, plain: &[u8]) -> io::Result<Vec<u8>> {
        let failed = || io::Error::other("the lock cannot be sealed");
        let mut nonce = [0; NONCE];
        SystemRandom::new().fill(&mut nonce).map_err(|_| failed())?;
        let sealed = self.cipher.encrypt(Nonce::from_slice(&nonce), plain).map_err(|_| failed())?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Option<Lock> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        let plain = self.cipher.decrypt(Nonce::from_slice(nonce), sealed).ok()?;
        let plain = match plain.split_first()? {
            (&COMPRESSED, packed) => zstd::bulk::decompress(packed, MAX_LOCK).ok()?,
            _ => plain,
        };
        serde_json::from_slice(&plain).ok()
    }
}

#[expect(clippy::disallowed_methods, reason = "nobody tells that a lock is let go of")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    use bytes::Bytes;

    use super::*;

    /// Files in memory.
    #[derive(Debug, Default)]
    struct Memory(Mutex<BTreeMap<String, Bytes>>);

    impl Memory {
        fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Bytes>> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Store for Memory {
        fn place(&self) -> &str {
            "memory"
        }
        fn prepare(&self) -> io::Result<()> {
            Ok(())
        }
        fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
            let below = |name: &String| name.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
            Ok(self.files().iter().filter_map(|(name, file)| Some((below(name)?, file.len() as u64))).collect())
        }
        fn size(&self, name: &str) -> io::Result<Option<u64>> {
            Ok(self.files().get(name).map(|file| file.len() as u64))
        }
        fn read(&self, name: &str, _: Option<(u32, u32)>) -> io::Result<Bytes> {
            self.files().get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
        fn create(&self, name: &str, content: Bytes) -> io::Result<()> {
            self.files().insert(name.to_owned(), content);
            Ok(())
        }
        fn remove(&self, name: &str) -> io::Result<()> {
            self.files().remove(name);
            Ok(())
        }
    }

    fn locks(store: &Arc<Memory>) -> Locks {
        let key = serde_json::json!({
            "mac": { "k": "AAAAAAAAAAAAAAAAAAAAAA==", "r": "AQAAAAAAAAAAAAAAAAAAAA==" },
            "encrypt": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        });
        Locks::new(store.clone(), &serde_json::from_value(key).expect("a key"))
    }

    #[test]
    fn many_use_a_repository_together_and_one_alone() {
        let store = Arc::new(Memory::default());
        let locks = locks(&store);
        let one = locks.hold(false).expect("a store").expect("nobody is there");
        let two = locks.hold(false).expect("a store").expect("others do not matter");
        assert!(locks.hold(true).expect("a store").is_none(), "there are two");
        assert_eq!(store.files().len(), 2, "who was refused leaves nothing");
        drop((one, two));
        assert!(store.files().is_empty());
        let alone = locks.hold(true).expect("a store").expect("nobody is there");
        assert!(locks.hold(false).expect("a store").is_none());
        assert!(locks.hold(true).expect("a store").is_none());
        drop(alone);
        assert!(store.files().is_empty());
    }

    #[test]
    fn what_nobody_holds_any_more_keeps_nobody_out() {
        let now = Timestamp::now();
        let lock = |age: i64, processes: &str| Lock {
            time: now - SignedDuration::from_mins(age),
            processes: processes.into(),
            ..Lock::own(true, now)
        };
        let over = |lock: &Lock, lives: bool| lock.is_over(now, "here", |_| lives);
        assert!(!over(&lock(29, "there"), false), "whether it lives elsewhere cannot be seen");
        assert!(!over(&lock(29, ""), false), "restic's are known by their age alone, whatever the machine is called");
        assert!(over(&lock(31, "there"), true));
        assert!(!over(&lock(0, "here"), true));
        assert!(over(&lock(0, "here"), false));
        assert!(!processes().is_empty(), "they can be told on Linux");
    }

    #[test]
    fn what_nobody_holds_any_more_is_removed_by_whoever_sees_it() {
        let store = Arc::new(Memory::default());
        let locks = locks(&store);
        let old = Lock { time: Timestamp::now() - SignedDuration::from_mins(31), ..Lock::own(true, Timestamp::now()) };
        let sealed = locks.seal(&serde_json::to_vec(&old).expect("JSON")).expect("sealed");
        store.create("locks/ab", sealed.into()).expect("memory");
        drop(locks.hold(false).expect("a store").expect("nobody is there"));
        assert!(store.files().is_empty(), "the next `restic prune` would not begin otherwise");
    }

    #[test]
    fn a_lock_that_was_not_written_for_long_is_lost_before_others_take_it_for_nobodys() {
        let (written, now) = (Written::default(), Timestamp::now());
        written.note(now);
        assert!(!written.is_lost(now) && !written.is_lost(now + SignedDuration::from_mins(22)));
        assert!(written.is_lost(now + SignedDuration::from_mins(23)));
        assert!(LOST < STALE);
        let held = locks(&Arc::default()).hold(false).expect("a store").expect("nobody is there");
        assert!(!held.is_lost());
        held.written.note(now - SignedDuration::from_mins(23));
        assert!(held.is_lost());
    }

    #[test]
    fn a_lock_that_cannot_be_read_keeps_out_whoever_wants_to_be_alone() {
        let store = Arc::new(Memory::default());
        let locks = locks(&store);
        store.create("locks/ab", Bytes::from_static(b"not ours")).expect("memory");
        assert!(locks.hold(true).expect("a store").is_none());
        assert!(locks.hold(false).expect("a store").is_some());
    }

    #[test]
    fn locks_that_restic_packed_are_read() {
        let locks = locks(&Arc::default());
        let text = br#"{"time":"2026-11-22T09:00:00.5+01:00","exclusive":true,"hostname":"web","username":"root","pid":7,"uid":0}"#;
        let packed = [&[COMPRESSED], zstd::bulk::compress(text, 3).expect("packs").as_slice()].concat();
        for plain in [text.to_vec(), packed] {
            let lock = locks.open(&locks.seal(&plain).expect("sealed")).expect("a lock");
            assert!(lock.exclusive && lock.pid == 7 && lock.hostname == "web", "{lock:?}");
        }
        assert!(locks.open(b"short").is_none());
    }
}
