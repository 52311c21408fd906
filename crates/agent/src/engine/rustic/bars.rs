//! Shows how far rustic_core is.

use rustic_core::{Progress as RusticBar, ProgressBars, ProgressType, RusticProgress};

use crate::engine::{Reporter, Step};

/// Shows rustic_core's progress in bytes to the reporter and nothing else.
#[derive(Debug)]
pub(super) struct Bars(pub(super) Reporter);

impl ProgressBars for Bars {
    fn progress(&self, progress_type: ProgressType, _prefix: &str) -> RusticBar {
        match progress_type {
            ProgressType::Bytes => RusticBar::new(ByteBar(self.0.clone())),
            ProgressType::Spinner | ProgressType::Counter => RusticBar::hidden(),
        }
    }
}

#[derive(Debug)]
struct ByteBar(Reporter);

impl RusticProgress for ByteBar {
    fn is_hidden(&self) -> bool {
        false
    }

    fn set_length(&self, length: u64) {
        // A backup counts for itself.
        if self.0.current_step() == Some(Step::Check) {
            self.0.progress(|progress| progress.bytes_total = Some(length));
        }
    }

    fn set_title(&self, _title: &str) {}

    fn inc(&self, bytes: u64) {
        self.0.progress(|progress| progress.bytes_done += bytes);
    }

    fn finish(&self) {}
}
