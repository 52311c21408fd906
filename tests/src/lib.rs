//! What the acceptance tests share: the built program in a place of its own, its command line, its API, the `restic`
//! program on its repository, sample trees and their comparison, and Markdown files that run.
//!
//! The tests start what a user starts and look at what a user sees. They wait for values with a limit, never for time to
//! pass, and end only processes that they started.

pub mod disk;
pub mod fleet;
pub mod journey;
pub mod load;
pub mod machine;
pub mod place;
pub mod restic;
pub mod run;
pub mod tree;

use std::fs::File;
use std::future::Future;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use machine::Machine;
pub use place::{Place, Said};
pub use run::{Ready, Up};

/// How long anything may take before a test gives up on it: long, because machines that run tests are slow.
pub const LIMIT: Duration = Duration::from_secs(180);

/// The program under test, as cargo built it beside these tests.
///
/// # Panics
/// When it is not built.
#[must_use]
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("a test lies in target/<profile>/deps");
    let program = profile.join("backstay");
    assert!(
        program.is_file(),
        "{} is not there: run `cargo build -p backstay{}` first",
        program.display(),
        if profile.ends_with("release") { " --release" } else { "" }
    );
    program
}

/// Waits until `look` gives a value.
///
/// # Panics
/// When that takes longer than [`LIMIT`].
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let wait = async {
        loop {
            if let Some(value) = look().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match tokio::time::timeout(LIMIT, wait).await {
        Ok(value) => value,
        Err(_) => panic!("waited {} s in vain until {what}", LIMIT.as_secs()),
    }
}

/// The number in this variable of the environment, by which a long run is asked for; otherwise this one.
///
/// # Panics
/// When it holds something else.
#[must_use]
pub fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => otherwise,
    }
}

/// A port of this machine that nobody uses and the system gives to nobody by itself, so that it is free still when it is
/// used a moment later, or again.
///
/// # Panics
/// When none is found.
#[must_use]
pub fn free_port() -> u16 {
    let start = std::process::id().wrapping_mul(2_654_435_761) ^ FREE.fetch_add(7919, Ordering::Relaxed);
    let ports = (0..2000).map(|n| 20_000 + ((start.wrapping_add(n)) % 10_000) as u16);
    let mut free = ports.filter(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a free port among 2000")
}

/// Lets each search for a port begin elsewhere.
static FREE: AtomicU32 = AtomicU32::new(0);

/// Whether the tests run as root, who may do what others may not.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// So many packs of data are full, and written, before the end of a backup of much: a pack has some 32 MiB.
pub const PACKS_OF_MUCH: usize = 2;

/// Adds a folder of files that no repository has yet, 80 MiB. Gives how many files there are.
///
/// # Panics
/// When they cannot be made.
pub fn add_much(folder: &Path) -> u64 {
    const FILES: u64 = 10;
    let folder = folder.join(format!("much-{}", std::fs::read_dir(folder).map_or(0, Iterator::count)));
    std::fs::create_dir_all(&folder).expect("a folder");
    for n in 0..FILES {
        let mut random = File::open("/dev/urandom").expect("random bytes").take(8 << 20);
        let mut file = File::create(folder.join(n.to_string())).expect("a file");
        std::io::copy(&mut random, &mut file).expect("random bytes");
    }
    FILES
}

/// Adds a file that no backup comes to the end of: a sparse one of 1 TiB. A backup of much is in its middle for as long as a
/// test wants, however busy the machine is. Gives where it is, to be removed before a backup that is to end.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn add_endless(folder: &Path) -> PathBuf {
    add_sparse(folder, "~endless", 1 << 40)
}

/// Adds a file of so many bytes, all of them zeros that take no space: a backup of it takes time and stores next to nothing.
/// Gives where it is.
///
/// # Panics
/// When it cannot be made.
pub fn add_sparse(folder: &Path, name: &str, bytes: u64) -> PathBuf {
    let path = folder.join(name);
    File::create(&path).and_then(|file| file.set_len(bytes)).expect("a sparse file");
    path
}

/// Bytes that do not compress and are the same for the same seed.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
