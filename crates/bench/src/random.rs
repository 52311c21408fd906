//! Random numbers that are the same for the same seed, on every machine and in every version of this program.

use domain::{Timestamp, Uuid};

/// SplitMix64: one multiplication chain a number, and more than good enough to make up names and times.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to but without `n`; 0 where `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let product = u128::from(self.next()) * n as u128;
        usize::try_from(product >> 64).expect("it is less than n")
    }

    /// A number from 0 up to but without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True so often out of a thousand.
    pub(crate) fn permille(&mut self, n: usize) -> bool {
        self.below(1000) < n
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// One of these, each as often as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, of: &[(T, usize)]) -> T {
        let mut at = self.below(of.iter().map(|(_, weight)| weight).sum());
        for (value, weight) in of {
            if at < *weight {
                return *value;
            }
            at -= weight;
        }
        of[of.len() - 1].0
    }

    /// A number below `n` where small ones are frequent, as in Zipf's law: the k-th comes in proportion to
    /// `k^(1/power - 1)`.
    pub(crate) fn skewed(&mut self, n: usize, power: i32) -> usize {
        ((self.unit().powi(power) * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// A duration in nanoseconds between two in seconds, each order of magnitude as often as the next.
    pub(crate) fn nanos_between(&mut self, least: f64, most: f64) -> i64 {
        ((least.ln() + self.unit() * (most / least).ln()).exp() * 1e9) as i64
    }

    /// A uuid of version 7, as the server would have made it at this time.
    pub(crate) fn uuid(&mut self, at: Timestamp) -> Uuid {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes()[..2]);
        let millis = u64::try_from(at.as_millisecond()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }

    /// So many hexadecimal digits.
    pub(crate) fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            text.push_str(&format!("{:016x}", self.next()));
        }
        text.truncate(digits);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut random = Random::new(7);
        assert_eq!([random.next(), random.next()], [7191089600892374487, 309689372594955804]);
    }

    #[test]
    fn numbers_stay_in_their_bounds_and_small_ones_are_frequent() {
        let mut random = Random::new(1);
        let mut first_tenth = 0;
        for _ in 0..10_000 {
            assert!(random.below(7) < 7);
            assert!((0.0..1.0).contains(&random.unit()));
            let n = random.skewed(1000, 3);
            assert!(n < 1000);
            first_tenth += usize::from(n < 100);
            let nanos = random.nanos_between(2.0, 60.0);
            assert!((1_999_999_999..=60_000_000_001).contains(&nanos), "{nanos}");
        }
        assert!((4000..5300).contains(&first_tenth), "a tenth of them has {first_tenth} of 10,000");
        assert_eq!(random.hex(21).len(), 21);
    }
}
