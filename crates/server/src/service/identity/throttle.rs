//! Failed attempts to sign in slow down the next ones: by name and source address, and by source address alone. In memory
//! only, so a restart forgets; the clock is an argument.
//!
//! While attempts are free they may run side by side, as programs that start together do. Once they are not, each one
//! closes the door behind itself, so that many sent at once count as one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{ActorKind, SignedDuration, Timestamp};

/// Failures in a row that a name may have at one address before it has to wait.
const FREE_FOR_NAME: u32 = 5;
/// Failures that an address may have, whatever the names are.
const FREE_FOR_SOURCE: u32 = 50;
/// The longest wait.
const MAX_WAIT: SignedDuration = SignedDuration::from_secs(300);
/// After so long without a failure all is forgotten.
const QUIET: SignedDuration = SignedDuration::from_mins(15);
/// An address is forgiven one failure each so often: many may share it, and one program that keeps trying an old secret
/// must not shut out all the others for good.
const FORGIVEN_EACH: SignedDuration = SignedDuration::from_mins(1);
/// How many names and addresses are remembered; the oldest give way.
const MAX_ENTRIES: usize = 10_000;

/// Who tries, from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    name: Key,
    source: Key,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(ActorKind, String, Option<IpAddr>),
    Source(Option<IpAddr>),
}

impl Attempt {
    /// An attempt with this name, as names are compared, from this address.
    pub(super) fn new(kind: ActorKind, name: String, from: Option<IpAddr>) -> Attempt {
        let from = from.map(network);
        Attempt { name: Key::Name(kind, name, from), source: Key::Source(from) }
    }
}

/// The address as it is counted: one machine has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// What a failure led to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Throttled {
    /// The name has to wait from now on.
    pub(super) name: bool,
    /// The address has to wait from now on.
    pub(super) source: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    failures: u32,
    /// When the last one was.
    last: Timestamp,
    /// Up to when forgiving has been counted.
    forgiven_to: Timestamp,
    /// When the next attempt may come.
    open_at: Timestamp,
}

/// The failures that are remembered.
#[derive(Default)]
pub(super) struct Throttle {
    entries: Mutex<HashMap<Key, Entry>>,
}

impl Throttle {
    /// Whether the attempt may go on; if not, after how many seconds the next one may.
    pub(super) fn admit(&self, attempt: &Attempt, now: Timestamp) -> Result<(), u64> {
        let mut entries = self.entries();
        for key in [&attempt.name, &attempt.source] {
            let Some(entry) = entries.get_mut(key) else { continue };
            entry.forgive(key, now);
            let wait = entry.open_at.duration_since(now);
            // A wait beyond the longest means that the clock was set back.
            if wait.is_positive() && wait <= MAX_WAIT {
                let seconds = wait.as_secs() + i64::from(wait.subsec_nanos() > 0);
                return Err(seconds.unsigned_abs());
            }
        }
        for key in [&attempt.name, &attempt.source] {
            if let Some(entry) = entries.get_mut(key) {
                entry.close(key, now);
            }
        }
        Ok(())
    }

    /// Counts a failure.
    pub(super) fn failed(&self, attempt: &Attempt, now: Timestamp) -> Throttled {
        let mut entries = self.entries();
        let mut count = |key: &Key| {
            if !entries.contains_key(key) {
                make_room(&mut entries, now);
            }
            let new = Entry { failures: 0, last: now, forgiven_to: now, open_at: now };
            let entry = entries.entry(key.clone()).or_insert(new);
            entry.forgive(key, now);
            if entry.failures == 0 {
                entry.forgiven_to = now;
            }
            entry.failures = entry.failures.saturating_add(1);
            entry.last = now;
            entry.close(key, now);
            entry.failures == key.free()
        };
        Throttled { name: count(&attempt.name), source: count(&attempt.source) }
    }

    /// Forgets the name's failures. The address's stay, or whoever has one right password could try others for ever; but
    /// the attempt that went well makes nobody wait.
    pub(super) fn succeeded(&self, attempt: &Attempt, now: Timestamp) {
        let mut entries = self.entries();
        entries.remove(&attempt.name);
        if let Some(entry) = entries.get_mut(&attempt.source) {
            entry.open_at = now;
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // Each change is whole by itself, so a panic elsewhere leaves nothing half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn free(&self) -> u32 {
        match self {
            Key::Name(..) => FREE_FOR_NAME,
            Key::Source(_) => FREE_FOR_SOURCE,
        }
    }
}

impl Entry {
    /// Forgets what is long enough ago.
    fn forgive(&mut self, key: &Key, now: Timestamp) {
        if now.duration_since(self.last) >= QUIET {
            self.failures = 0;
            return;
        }
        let Key::Source(_) = key else { return };
        let times = now.duration_since(self.forgiven_to).as_secs() / FORGIVEN_EACH.as_secs();
        if let Ok(times @ 1..) = u32::try_from(times) {
            self.failures = self.failures.saturating_sub(times);
            self.forgiven_to = self.forgiven_to.saturating_add(FORGIVEN_EACH * times.cast_signed()).unwrap_or(now);
        }
    }

    /// Makes the next attempt wait, if there were too many failures.
    fn close(&mut self, key: &Key, now: Timestamp) {
        let Some(over) = self.failures.checked_sub(key.free()) else { return };
        let wait = SignedDuration::from_secs(1 << over.min(9)).min(MAX_WAIT);
        self.open_at = now.saturating_add(wait).unwrap_or(now);
    }
}

/// Room for one more: first what is forgotten anyway goes, then the oldest.
fn make_room(entries: &mut HashMap<Key, Entry>, now: Timestamp) {
    if entries.len() < MAX_ENTRIES {
        return;
    }
    entries.retain(|_, e| now.duration_since(e.last) < QUIET);
    while entries.len() >= MAX_ENTRIES {
        let Some(oldest) = entries.iter().min_by_key(|(_, e)| e.last).map(|(k, _)| k.clone()) else { return };
        entries.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn at(seconds: i64) -> Timestamp {
        START + SignedDuration::from_secs(seconds)
    }

    fn attempt(name: &str, from: &str) -> Attempt {
        Attempt::new(ActorKind::User, name.to_owned(), Some(from.parse().expect("an address")))
    }

    #[test]
    fn after_five_failures_the_wait_doubles_up_to_five_minutes() {
        let throttle = Throttle::default();
        let ops = attempt("ops", "192.0.2.1");
        for _ in 0..4 {
            throttle.admit(&ops, START).expect("free");
            assert_eq!(throttle.failed(&ops, START), Throttled::default());
        }
        throttle.admit(&ops, START).expect("the fifth is free, too");
        assert_eq!(throttle.failed(&ops, START), Throttled { name: true, source: false });
        let mut now = START;
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300] {
            assert_eq!(throttle.admit(&ops, now), Err(wait));
            now += SignedDuration::from_secs(wait.cast_signed());
            throttle.admit(&ops, now).expect("waited for");
            assert_eq!(throttle.failed(&ops, now), Throttled::default(), "told once");
        }
    }

    #[test]
    fn names_kinds_and_addresses_are_counted_apart() {
        let throttle = Throttle::default();
        for _ in 0..5 {
            throttle.failed(&attempt("ops", "2001:db8::1"), START);
        }
        throttle.admit(&attempt("ops", "2001:db8::ffff:2"), START).expect_err("the same /64");
        throttle.admit(&attempt("ops", "2001:db8:0:1::1"), START).expect("another /64");
        throttle.admit(&attempt("other", "2001:db8::1"), START).expect("another name");
        throttle.admit(&Attempt::new(ActorKind::User, "ops".into(), None), START).expect("no address");
        let from = Some("2001:db8::1".parse().expect("an address"));
        throttle.admit(&Attempt::new(ActorKind::Client, "ops".into(), from), START).expect("another kind");
        assert_eq!(attempt("ops", "::ffff:192.0.2.1"), attempt("ops", "192.0.2.1"), "one IPv4 address, written twice");
    }

    #[test]
    fn after_fifty_failures_an_address_waits_whatever_the_name() {
        let throttle = Throttle::default();
        for n in 0..49 {
            throttle.failed(&attempt(&n.to_string(), "192.0.2.1"), START);
        }
        throttle.admit(&attempt("ops", "192.0.2.1"), START).expect("free");
        let last = throttle.failed(&attempt("49", "192.0.2.1"), START);
        assert_eq!(last, Throttled { name: false, source: true });
        assert_eq!(throttle.admit(&attempt("ops", "192.0.2.1"), START), Err(1));
        throttle.admit(&attempt("ops", "192.0.2.2"), START).expect("another address");

        // A success forgets the name, and not what else came from there.
        throttle.admit(&attempt("ops", "192.0.2.1"), at(1)).expect("waited for");
        throttle.succeeded(&attempt("ops", "192.0.2.1"), at(1));
        throttle.admit(&attempt("ops", "192.0.2.1"), at(1)).expect("the success makes nobody wait");
        throttle.failed(&attempt("50", "192.0.2.1"), at(1));
        assert_eq!(throttle.admit(&attempt("ops", "192.0.2.1"), at(1)), Err(2));
    }

    #[test]
    fn one_program_that_keeps_failing_does_not_shut_out_its_neighbours() {
        let throttle = Throttle::default();
        let (stale, neighbour) = (attempt("stale", "192.0.2.1"), attempt("ops", "192.0.2.1"));
        for minutes in (0..48 * 60).step_by(5) {
            throttle.admit(&neighbour, at(minutes * 60)).expect("not affected");
            if throttle.admit(&stale, at(minutes * 60)).is_ok() {
                throttle.failed(&stale, at(minutes * 60));
            }
        }
    }

    #[test]
    fn attempts_at_the_same_time_count_as_one_once_they_are_not_free() {
        let throttle = Throttle::default();
        let ops = attempt("ops", "192.0.2.1");
        for _ in 0..5 {
            throttle.admit(&ops, START).expect("free, side by side");
        }
        for _ in 0..5 {
            throttle.failed(&ops, START);
        }
        throttle.admit(&ops, at(1)).expect("one may");
        throttle.admit(&ops, at(1)).expect_err("the next waits until that one is judged");
        throttle.succeeded(&ops, at(1));
        throttle.admit(&ops, at(1)).expect("it was right");
    }

    #[test]
    fn a_quarter_of_an_hour_of_quiet_forgets() {
        let throttle = Throttle::default();
        let ops = attempt("ops", "192.0.2.1");
        for _ in 0..5 {
            throttle.failed(&ops, START);
        }
        for _ in 0..4 {
            throttle.admit(&ops, at(900)).expect("forgotten");
            throttle.failed(&ops, at(900));
        }
        throttle.admit(&ops, at(900)).expect("four failures only");
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let throttle = Throttle::default();
        let ops = attempt("ops", "192.0.2.1");
        for _ in 0..6 {
            throttle.failed(&ops, at(1_000_000));
        }
        throttle.admit(&ops, START).expect("no wait is that long");
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_give_way() {
        let throttle = Throttle::default();
        for _ in 0..5 {
            throttle.failed(&attempt("first", "192.0.2.1"), START);
        }
        for n in 0..MAX_ENTRIES {
            throttle.failed(&attempt(&n.to_string(), "192.0.2.2"), at(1));
        }
        assert_eq!(throttle.entries().len(), MAX_ENTRIES);
        throttle.admit(&attempt("first", "192.0.2.1"), START).expect("forgotten for its age");
    }
}
