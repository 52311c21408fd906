//! How often clients may ask: a bucket of tokens for each tenant and thing that is asked for, refilled all the time. In memory
//! only, so a restart fills all of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::{Caller, Uuid};
use tokio::time::Instant;

use super::Service;

/// How many buckets are kept before those that are full again are forgotten.
const MANY: usize = 4096;

/// How often clients may ask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// How many requests a second, in the long run.
    pub per_second: f64,
    /// How many at once.
    pub burst: f64,
}

impl Default for Rate {
    /// What the vendor of the Clumio API documents, with room for two seconds of it at once (contract for Clumio, D20).
    fn default() -> Self {
        Rate { per_second: 100.0, burst: 200.0 }
    }
}

impl Rate {
    /// So many requests a second, and twice as many at once; none for 0.
    #[must_use]
    pub fn per_second(n: u32) -> Option<Rate> {
        let per_second = f64::from(n);
        (n > 0).then_some(Rate { per_second, burst: per_second * 2.0 })
    }
}

struct Bucket {
    left: f64,
    at: Instant,
}

/// The buckets of all tenants.
pub(super) struct Rates {
    rate: Option<Rate>,
    buckets: Mutex<HashMap<(Uuid, &'static str), Bucket>>,
}

impl Rates {
    pub(super) fn new(rate: Option<Rate>) -> Rates {
        Rates { rate, buckets: Mutex::default() }
    }

    /// Takes a token, or says how long it takes until there is one.
    fn take(&self, tenant: Uuid, thing: &'static str, now: Instant) -> Result<(), Duration> {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = |b: &Bucket| {
            let since = now.saturating_duration_since(b.at).as_secs_f64();
            (b.left + since * rate.per_second).min(rate.burst)
        };
        if buckets.len() >= MANY && !buckets.contains_key(&(tenant, thing)) {
            buckets.retain(|_, b| filled(b) < rate.burst);
        }
        let bucket = buckets.entry((tenant, thing)).or_insert(Bucket { left: rate.burst, at: now });
        let left = filled(bucket);
        *bucket = Bucket { left: if left >= 1.0 { left - 1.0 } else { left }, at: now };
        if left >= 1.0 { Ok(()) } else { Err(Duration::from_secs_f64((1.0 - left) / rate.per_second)) }
    }
}

impl Service {
    /// Counts a request for one thing against what the caller's tenant may ask for.
    ///
    /// # Errors
    /// In how many whole seconds, at least 1, it is worth asking again.
    pub fn count_request(&self, caller: &Caller, thing: &'static str) -> Result<(), u64> {
        let taken = self.rates.take(caller.tenant(), thing, Instant::now());
        taken.map_err(|wait| wait.as_secs_f64().ceil().max(1.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let rates = Rates::new(Rate::per_second(10));
        let (tenant, other, start) = (Uuid::from_u128(1), Uuid::from_u128(2), Instant::now());
        let many = |n: usize, at| (0..n).filter(|_| rates.take(tenant, "tasks", at).is_ok()).count();
        assert_eq!(many(30, start), 20);
        let wait = rates.take(tenant, "tasks", start).expect_err("nothing is left");
        assert!(wait <= Duration::from_millis(100) && wait > Duration::from_millis(99), "{wait:?}");
        assert_eq!(rates.take(tenant, "policies", start), Ok(()), "each thing has its own");
        assert_eq!(rates.take(other, "tasks", start), Ok(()), "each tenant has its own");
        assert_eq!(many(30, start + Duration::from_millis(500)), 5);
        assert_eq!(many(30, start + Duration::from_secs(60)), 20, "never more than a burst");
    }

    #[test]
    fn it_can_be_switched_off() {
        let rates = Rates::new(Rate::per_second(0));
        let now = Instant::now();
        assert!((0..1000).all(|_| rates.take(Uuid::nil(), "tasks", now).is_ok()));
    }
}
