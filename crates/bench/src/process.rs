//! Other programs, run to their ends, and what they took.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::Value;
use wait4::Wait4 as _;

/// What a program took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Taken {
    /// Seconds on the clock.
    pub wall_seconds: f64,
    /// Seconds of the processors, for the program and for the system on its behalf.
    pub cpu_seconds: f64,
    /// The most that it had in memory, in bytes.
    pub resident_bytes: u64,
}

/// Runs a program with this on its standard input, which stays open until it has ended; gives what it wrote.
pub(crate) fn run(command: &mut Command, input: &str) -> Result<(Taken, String)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let clock = Instant::now();
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("{name} cannot be started"))?;
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        bail!("{name} has no pipes")
    };
    let errors = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| text)
    });
    // One that has ended already says why by its status.
    let _ = stdin.write_all(input.as_bytes());
    let mut out = Vec::new();
    stdout.read_to_end(&mut out)?;
    let used = child.wait4()?;
    let wall_seconds = clock.elapsed().as_secs_f64();
    drop(stdin);
    let errors = errors.join().unwrap_or_else(|_| Ok(Vec::new()))?;
    if !used.status.success() {
        bail!("{name} ended with {}: {}", used.status, String::from_utf8_lossy(&errors).trim());
    }
    let cpu_seconds = (used.rusage.utime + used.rusage.stime).as_secs_f64();
    let taken = Taken { wall_seconds, cpu_seconds, resident_bytes: used.rusage.maxrss };
    Ok((taken, String::from_utf8_lossy(&out).into_owned()))
}

/// A server with its agent, `backstay up`, on a data folder of its own.
pub(crate) struct Up<'a> {
    program: &'a Path,
    data: &'a Path,
    child: std::process::Child,
}

impl<'a> Up<'a> {
    /// Starts it and waits until it runs.
    pub(crate) fn start(program: &'a Path, data: &'a Path) -> Result<Up<'a>> {
        let mut command = Command::new(program);
        command.args(["up", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--data"]).arg(data);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut up = Up { program, data, child: child.context("`backstay up` cannot be started")? };
        let out = up.child.stdout.take().context("`backstay up` has no output")?;
        let mut lines = BufReader::new(out).lines();
        for line in &mut lines {
            if line?.starts_with("Backstay is running.") {
                // What else it says is read, so that it is never kept from going on.
                thread::spawn(move || lines.for_each(drop));
                return Ok(up);
            }
        }
        bail!("`backstay up` ended before it ran; its data folder would be {}", data.display())
    }

    /// Runs the command line with these arguments.
    pub(crate) fn cli<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Duration> {
        let clock = Instant::now();
        let mut command = Command::new(self.program);
        run(command.args(args).arg("--data").arg(self.data), "")?;
        Ok(clock.elapsed())
    }

    /// Seconds of the processors so far: of its own, and of its children that have ended.
    pub(crate) fn cpu(&self) -> Result<(f64, f64)> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).context("no figures of processes")?;
        // The name in parentheses may hold anything.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let ticks: Vec<f64> = after.split_whitespace().skip(11).take(4).filter_map(|t| t.parse().ok()).collect();
        let [user, system, their_user, their_system] = ticks[..] else {
            bail!("figures of processes are unknown here")
        };
        let second = rustix::param::clock_ticks_per_second() as f64;
        Ok(((user + system) / second, (their_user + their_system) / second))
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// What a job of the engine came to, out of all that it told.
pub(crate) fn outcome(told: &str) -> Result<Value> {
    let last = told.lines().last().unwrap_or_default();
    let last: Value = serde_json::from_str(last).context("the engine told nothing that is understood")?;
    let outcome = &last["outcome"];
    if last["warnings"] != 0 || outcome["Ok"].is_null() {
        bail!("the engine's job did not go well: {last}");
    }
    Ok(outcome["Ok"].clone())
}
