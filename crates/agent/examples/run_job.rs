//! The child process by itself, as `backstay run-job` is it: reads a job from standard input and does it.
//! The tests of this crate start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    agent::child::run_job_main()
}
