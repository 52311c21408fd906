//! From what the engine counts to how far a task is: percent, speed as a moving average, time left; and how often that
//! is worth a report.

use std::time::Duration;

use domain::SignedDuration;
use domain::task::Progress;
use tokio::time::Instant;

use crate::engine::{self, Step};

/// The least time between two reports on a task's progress: each is a durable write on the server.
const TASK_EVERY: Duration = Duration::from_secs(1);
/// The same for a step.
const STEP_EVERY: Duration = Duration::from_secs(5);
/// The speed is averaged over about this time.
const AVERAGED_OVER: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// The numbers of the step that moves the data.
    data: engine::Progress,
    /// Whether a step after that one runs.
    finishing: bool,
    speed: Option<f64>,
    sample: Option<(Instant, u64)>,
    task_told: Option<Instant>,
    step_told: Option<Instant>,
}

impl Meter {
    /// A step begins.
    pub(crate) fn step(&mut self, step: Step) {
        self.finishing |= matches!(step, Step::Index | Step::Metadata);
        self.sample = None;
        self.step_told = None;
    }

    /// The engine has counted; says whether it was the work itself, and not what comes before and after it.
    pub(crate) fn count(&mut self, progress: &engine::Progress, now: Instant) -> bool {
        if !matches!(progress.step, Some(Step::Backup | Step::Restore | Step::Verify | Step::Pack)) {
            // The index is written to the repository too.
            self.data.bytes_added = self.data.bytes_added.max(progress.bytes_added);
            return false;
        }
        self.data = *progress;
        match self.sample {
            None => self.sample = Some((now, progress.bytes_done)),
            Some((then, bytes)) => {
                let passed = now.saturating_duration_since(then).as_secs_f64();
                if passed > 0.0 {
                    let latest = progress.bytes_done.saturating_sub(bytes) as f64 / passed;
                    // The longer ago the last sample, the less the average before it counts.
                    let weight = 1.0 - (-passed / AVERAGED_OVER.as_secs_f64()).exp();
                    self.speed = Some(self.speed.map_or(latest, |speed| speed + weight * (latest - speed)));
                    self.sample = Some((now, progress.bytes_done));
                }
            }
        }
        true
    }

    /// How far the task is.
    pub(crate) fn task(&self) -> Progress {
        let left = match (self.data.bytes_total, self.speed) {
            (Some(total), Some(speed)) if speed >= 1.0 && !self.finishing => {
                let seconds = total.saturating_sub(self.data.bytes_done) as f64 / speed;
                Some(SignedDuration::from_secs(seconds.min(f64::from(i32::MAX)) as i64))
            }
            _ => None,
        };
        // Not 100 before the end: what was counted may have grown, and the index is not written yet.
        let current = if self.finishing { 99 } else { percent(&self.data).unwrap_or(0).min(99) };
        Progress { current, total: 100, speed: self.speed, left, ..counted(&self.data) }
    }

    /// How far a task is that is done; with what was stored in the end, where that is known.
    pub(crate) fn done(&self, stored: Option<u64>) -> Progress {
        let bytes_saved = stored.unwrap_or(self.data.bytes_added);
        Progress { current: 100, total: 100, bytes_saved, left: None, ..self.task() }
    }

    /// Whether it is time to report on the task.
    pub(crate) fn task_due(&mut self, now: Instant) -> bool {
        due(&mut self.task_told, now, TASK_EVERY)
    }

    /// Whether it is time to report on the step.
    pub(crate) fn step_due(&mut self, now: Instant) -> bool {
        due(&mut self.step_told, now, STEP_EVERY)
    }
}

/// How far a step is.
pub(crate) fn of_step(progress: &engine::Progress) -> Progress {
    let (current, total) = percent(progress).map_or((0, 0), |p| (p, 100));
    Progress { current, total, ..counted(progress) }
}

/// How far a step is that is done.
pub(crate) fn of_finished_step(progress: &engine::Progress) -> Progress {
    Progress { current: 100, total: 100, ..counted(progress) }
}

fn counted(p: &engine::Progress) -> Progress {
    Progress {
        bytes_processed: p.bytes_done,
        bytes_total: p.bytes_total.unwrap_or(0),
        bytes_saved: p.bytes_added,
        files_processed: p.files_done,
        files_total: p.files_total.unwrap_or(0),
        ..Progress::default()
    }
}

/// By bytes, or by files where all of them are empty.
fn percent(p: &engine::Progress) -> Option<i64> {
    let part = |done: u64, total: u64| i64::try_from(u128::from(done) * 100 / u128::from(total)).unwrap_or(0).min(100);
    match (p.bytes_total, p.files_total) {
        (Some(total), _) if total > 0 => Some(part(p.bytes_done, total)),
        (Some(_), Some(total)) if total > 0 => Some(part(p.files_done, total)),
        _ => None,
    }
}

fn due(told: &mut Option<Instant>, now: Instant, every: Duration) -> bool {
    let due = told.is_none_or(|then| now.saturating_duration_since(then) >= every);
    if due {
        *told = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(bytes_done: u64) -> engine::Progress {
        engine::Progress { step: Some(Step::Backup), bytes_done, bytes_total: Some(1000), ..Default::default() }
    }

    #[test]
    fn percent_speed_and_time_left_follow_the_bytes() {
        let mut meter = Meter::default();
        let start = Instant::now();
        meter.step(Step::Scan);
        meter.count(&engine::Progress { step: Some(Step::Scan), bytes_done: 1000, ..Default::default() }, start);
        assert_eq!(meter.task(), Progress { total: 100, ..Progress::default() }, "a count is no work done");
        meter.step(Step::Backup);
        for second in 0..=4 {
            meter.count(&backup(second * 100), start + Duration::from_secs(second));
        }
        let progress = meter.task();
        assert_eq!((progress.current, progress.bytes_processed), (40, 400));
        assert_eq!(progress.speed.map(|s| s.round() as i64), Some(100));
        assert_eq!(progress.left, Some(SignedDuration::from_secs(6)));
        meter.count(&backup(1000), start + Duration::from_secs(5));
        assert_eq!(meter.task().current, 99);
        assert_eq!(meter.done(None).current, 100);
        assert!(meter.done(Some(7)).validate().is_ok());
        assert_eq!(meter.done(Some(7)).bytes_saved, 7);
    }

    #[test]
    fn reports_are_a_second_apart() {
        let mut meter = Meter::default();
        let start = Instant::now();
        let told = (0..12).filter(|i| meter.task_due(start + Duration::from_millis(250 * i))).count();
        assert_eq!(told, 3);
    }
}
