//! The services over a ledger in memory, with agents that lose messages, say things twice and die, a server that dies too, and
//! clocks that jump: all of it drawn from a seed. After each step the invariants are looked at (`invariants.rs`); at the end
//! everything is put right, and then all work must come to its end.
//!
//! `BACKSTAY_SIM_SEEDS=100000` plays so many seeds in place of a thousand; `BACKSTAY_SIM_SEED=7` plays the one and tells what
//! happened.

mod agent;
mod invariants;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use world::World;

/// Seeds of an ordinary run.
const SEEDS: u64 = 1000;
/// Steps of one seed before everything is put right.
const STEPS: usize = 150;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// What happened in a seed.
fn play(seed: u64, told: bool) -> world::Tally {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(seed, told).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        world.put_right().await;
        world.tally()
    })
}

#[test]
fn whatever_is_lost_repeated_or_dies_the_invariants_hold() {
    if let Some(seed) = number("BACKSTAY_SIM_SEED") {
        eprintln!("{:?}", play(seed, true));
        return;
    }
    let seeds = number("BACKSTAY_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let work = || {
        let mut all = world::Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return all;
            }
            match catch_unwind(AssertUnwindSafe(|| play(seed, false))) {
                Ok(tally) => all.add(tally),
                Err(_) => panic!("seed {seed}: BACKSTAY_SIM_SEED={seed} tells what happened"),
            }
        }
    };
    let all = std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        let mut all = world::Tally::default();
        workers.into_iter().for_each(|worker| all.add(worker.join().expect("a seed failed")));
        all
    });
    eprintln!("{seeds} seeds: {all:?}");
    // What nothing happens to shows nothing.
    all.saw_everything();
}
