//! How far a task or activity is. Not a state change: the last second of it may be lost in a crash.

use serde::{Deserialize, Serialize};

use crate::SignedDuration;
use crate::error::{Error, Result};

/// Which side holds the work up, as scores from 0 to 100 that add up to 100.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// Reading.
    pub source: u8,
    /// Writing.
    pub destination: u8,
    /// Working on the data between.
    pub processing: u8,
}

/// How far the work is. Our agents report `total` 100, so `current` is a percentage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Progress {
    /// Units done.
    pub current: i64,
    /// Units in all; 0 = unknown.
    pub total: i64,
    /// Bytes read so far.
    pub bytes_processed: u64,
    /// Bytes to read in all; 0 = unknown.
    pub bytes_total: u64,
    /// Bytes newly stored.
    pub bytes_saved: u64,
    /// Files done so far.
    pub files_processed: u64,
    /// Files in all; 0 = unknown.
    pub files_total: u64,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// Estimated time left.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::friendly_duration")]
    pub left: Option<SignedDuration>,
    /// What holds it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<Bottleneck>,
}

impl Progress {
    /// Checks a report.
    ///
    /// # Errors
    /// `invalid_field` when `current` exceeds a known `total`, a number is negative, or the bottleneck does not add up.
    pub fn validate(&self) -> Result<()> {
        if self.current < 0 || self.total < 0 {
            return Err(Error::invalid("progress", "progress cannot be negative"));
        }
        if self.total > 0 && self.current > self.total {
            return Err(Error::invalid("progress.current", "'current' is larger than 'total'"));
        }
        if self.speed.is_some_and(|s| !s.is_finite() || s < 0.0) {
            return Err(Error::invalid("progress.speed", "'speed' must be a number of bytes a second"));
        }
        if let Some(b) = self.bottleneck {
            let sum = u32::from(b.source) + u32::from(b.destination) + u32::from(b.processing);
            if sum != 100 {
                return Err(Error::invalid("progress.bottleneck", format!("the scores add up to {sum}, not to 100")));
            }
        }
        Ok(())
    }
}
