//! Following a task to its end: a bar on a terminal, a line now and then elsewhere, both on standard error.
//!
//! It asks again and again instead of listening: a question is cheap, and a server that restarts meanwhile needs no
//! special care.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;
use api::Task;
use api::client::{Client, Error};
use domain::task::{ResultCode, State};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::format;
use crate::problem::Exit;

/// Between two questions: short at first, because many tasks are; longer as one goes on.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Between two lines where no bar can be drawn, unless something else happens.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How long a server that was there may be away, to be restarted for instance.
const PATIENCE: Duration = Duration::from_secs(60);
/// The length of the bar, in steps that nobody sees.
const STEPS: u64 = 10_000;

/// Shows the progress of a task until it is completed.
///
/// # Errors
/// When the server refuses, or does not answer for a minute.
pub(crate) async fn follow_task(client: &Client, id: impl std::fmt::Display) -> Result<Task> {
    follow(client, id, false).await
}

/// Waits until a task is completed; shows its progress unless `quiet`.
///
/// # Errors
/// When the server refuses, or does not answer for a minute.
pub(crate) async fn follow(client: &Client, id: impl std::fmt::Display, quiet: bool) -> Result<Task> {
    let mut display = Display::new(quiet);
    let mut pause = FIRST_PAUSE;
    let mut seen = None;
    loop {
        match client.task(&id).await {
            Ok(task) if task.state == State::Completed => {
                display.end();
                return Ok(task);
            }
            Ok(task) => {
                display.show(&task);
                seen = Some(Instant::now());
            }
            // One that never answered is reported at once; one that did may come back.
            Err(Error::Transport { .. }) if seen.is_some_and(|t| t.elapsed() < PATIENCE) => display.waiting(),
            Err(error) => {
                display.end();
                return Err(error.into());
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// How the program ends when it waited for this task.
pub(crate) fn exit_of(task: &Task) -> Exit {
    match task.result.as_ref().map(|r| r.code) {
        None | Some(ResultCode::Ok | ResultCode::Warning) => Exit::Ok,
        Some(ResultCode::Cancelled) => Exit::TaskCancelled,
        Some(ResultCode::Error | ResultCode::Abandoned | ResultCode::TimedOut) => Exit::TaskFailed,
    }
}

enum Display {
    Nothing,
    Bar(ProgressBar),
    Lines(Lines),
}

/// What was said last, and when.
#[derive(Default)]
struct Lines {
    standing: String,
    at: Option<Instant>,
}

impl Display {
    fn new(quiet: bool) -> Display {
        if quiet {
            Display::Nothing
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(spinner());
            Display::Bar(bar)
        } else {
            Display::Lines(Lines::default())
        }
    }

    fn show(&mut self, task: &Task) {
        match self {
            Display::Nothing => {}
            Display::Bar(bar) => draw(bar, task),
            Display::Lines(lines) => {
                if let Some(line) = lines.line(task, Instant::now()) {
                    tell(&line);
                }
            }
        }
    }

    fn waiting(&mut self) {
        match self {
            Display::Nothing => {}
            Display::Bar(bar) => bar.set_message("the server does not answer; trying again"),
            Display::Lines(lines) => {
                if lines.news("away", Instant::now()) {
                    tell("the server does not answer; trying again");
                }
            }
        }
    }

    /// Takes the bar away; what came of the task is for the caller to say.
    fn end(&mut self) {
        if let Display::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Display {
    /// A wait that is cut short must not leave half a bar on the terminal.
    fn drop(&mut self) {
        self.end();
    }
}

impl Lines {
    /// The next line, when something happened or enough time has passed.
    fn line(&mut self, task: &Task, now: Instant) -> Option<String> {
        let standing = format::standing(task);
        if !self.news(&standing, now) {
            return None;
        }
        let far = task.progress.as_ref().filter(|_| task.state == State::Started);
        let percent = far.and_then(format::fraction).map(|f| format!(", {:.0} %", f * 100.0)).unwrap_or_default();
        let words = far.map(format::progress).filter(|w| !w.is_empty()).map(|w| format!(", {w}")).unwrap_or_default();
        Some(format!("{}: {standing}{percent}{words}", format::title(task)))
    }

    fn news(&mut self, standing: &str, now: Instant) -> bool {
        if self.standing == standing && self.at.is_some_and(|at| now.duration_since(at) < LINE_EVERY) {
            return false;
        }
        standing.clone_into(&mut self.standing);
        self.at = Some(now);
        true
    }
}

fn draw(bar: &ProgressBar, task: &Task) {
    let far = task.progress.as_ref().filter(|_| task.state == State::Started && !task.cancel_requested);
    let first = bar.prefix().is_empty();
    match far.and_then(format::fraction) {
        Some(fraction) => {
            bar.set_length(STEPS);
            bar.set_style(steps());
            // Short, so that speed and time left have room on a narrow terminal.
            bar.set_prefix(format!("task {}", task.id));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction from 0 to 1")]
            #[expect(clippy::cast_precision_loss, reason = "a small constant")]
            bar.set_position((fraction * STEPS as f64) as u64);
        }
        None => {
            bar.set_style(spinner());
            bar.set_prefix(format::title(task));
        }
    }
    let words = far.map(format::progress).filter(|w| !w.is_empty());
    bar.set_message(words.unwrap_or_else(|| format::standing(task)));
    if first {
        // Not before there is something to draw.
        bar.enable_steady_tick(Duration::from_millis(120));
    }
}

fn spinner() -> ProgressStyle {
    style("{spinner} {prefix}: {wide_msg}")
}

fn steps() -> ProgressStyle {
    style("{prefix} [{bar:16}] {percent:>3} % {wide_msg}").progress_chars("=> ")
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants that a test tries.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn tell(line: &str) {
    // Whoever closed standard error does not want to know.
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_sound() {
        for template in ["{spinner} {prefix}: {wide_msg}", "{prefix} [{bar:16}] {percent:>3} % {wide_msg}"] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_line_comes_with_news_or_after_a_while() {
        let mut lines = Lines::default();
        let start = Instant::now();
        assert!(lines.news("running", start));
        assert!(!lines.news("running", start + LINE_EVERY / 2));
        assert!(lines.news("paused", start + LINE_EVERY / 2));
        assert!(lines.news("paused", start + LINE_EVERY * 2));
    }
}
