//! Time on the clock and time of the processors, and how many measurements of them are spread.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// What something took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// On the clock.
    pub(crate) wall: Duration,
    /// Of the processors, all threads of this process together.
    pub(crate) cpu: Duration,
}

/// A measurement that has begun.
pub(crate) struct Clock {
    wall: Instant,
    cpu: Duration,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { cpu: cpu(), wall: Instant::now() }
    }

    pub(crate) fn stop(self) -> Cost {
        let wall = self.wall.elapsed();
        Cost { wall, cpu: cpu().saturating_sub(self.cpu) }
    }
}

/// What the processors have done for this process so far.
pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How many measurements are spread, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Spread {
    /// How many.
    pub count: usize,
    /// Half of them are not longer.
    pub p50_ms: f64,
    /// 99 of 100 are not longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Spread {
    /// That of these.
    pub(crate) fn of(times: impl IntoIterator<Item = Duration>) -> Spread {
        let mut sorted: Vec<_> = times.into_iter().collect();
        sorted.sort_unstable();
        let count = sorted.len();
        // The smallest that so many hundredths do not exceed.
        let quantile = |percent: usize| {
            let place = (count * percent).div_ceil(100).clamp(1, count.max(1)) - 1;
            sorted.get(place).map_or(0.0, |t| t.as_secs_f64() * 1e3)
        };
        Spread { count, p50_ms: quantile(50), p99_ms: quantile(99), max_ms: quantile(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measurements() {
        let spread = Spread::of((1..=200).rev().map(Duration::from_millis));
        assert_eq!(spread, Spread { count: 200, p50_ms: 100.0, p99_ms: 198.0, max_ms: 200.0 });
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn work_takes_time_of_the_processor() {
        let clock = Clock::start();
        let mut sum = 0u64;
        while clock.wall.elapsed() < Duration::from_millis(5) {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        assert!(clock.stop().cpu > Duration::ZERO, "{sum}");
    }
}
