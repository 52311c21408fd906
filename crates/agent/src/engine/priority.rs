//! The lowest priority for processor and disk, for jobs that are to stay in the background.

use std::process::{self, Command, Stdio};

use rustix::process::setpriority_process;

/// Steps back behind everything else on the machine. Threads and commands that are started from here on inherit it, so this
/// comes first. It is best effort: a backup in the foreground is better than none.
pub(super) fn step_back() {
    // Positive values are open to everybody.
    let _ = setpriority_process(None, 19);
    // Where there is no such program, the kernel takes the priority for the disk from the one for the processor.
    let _ = Command::new("ionice")
        .args(["-c", "3", "-p", &process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}
