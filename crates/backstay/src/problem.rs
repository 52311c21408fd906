//! What went wrong, for a person at a terminal, and the exit codes that programs match on. Commands return
//! `anyhow::Error`; a [`Problem`] inside it carries the code, field and hint, everything else exits with 1.

use std::fmt;
use std::io;
use std::process::ExitCode;

use domain::Code;
use domain::error::Kind;

/// How the program ends. The numbers are a contract: they stand in `--help` and in `docs/guides/command-line.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done; a task that was waited for ended with ok or a warning.
    Ok = 0,
    /// Something failed that has no number of its own.
    Failure = 1,
    /// The task that was waited for failed: error, abandoned or timedout.
    TaskFailed = 3,
    /// The task that was waited for was cancelled.
    TaskCancelled = 4,
    /// The time to wait for a task is over.
    WaitTimeout = 5,
    /// There is no such thing.
    NotFound = 6,
    /// The token is missing, not accepted, or does not allow it.
    Denied = 7,
    /// The server does not answer.
    Unreachable = 8,
    /// The waiting was ended with Ctrl-C; what was waited for goes on.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The exit code for a refusal of this sort.
    pub(crate) fn of(kind: Kind) -> Exit {
        match kind {
            Kind::NotFound => Exit::NotFound,
            Kind::Unauthenticated | Kind::Forbidden => Exit::Denied,
            Kind::Invalid
            | Kind::MethodNotAllowed
            | Kind::Conflict
            | Kind::TooLarge
            | Kind::UnsupportedMedia
            | Kind::TooMany
            | Kind::Unavailable
            | Kind::StorageFull
            | Kind::Internal => Exit::Failure,
        }
    }
}

/// A refusal or failure that a person can act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// What was wrong, in one plain sentence without a stop at its end.
    pub(crate) message: String,
    /// The field or parameter it is about, as the API names it.
    pub(crate) field: Option<String>,
    /// What would be right, or what to do.
    pub(crate) hint: Option<String>,
    /// The code whose page `backstay explain` shows.
    pub(crate) code: Option<String>,
    /// Under which id the server's log has it; told for the server's own defects only.
    pub(crate) request_id: Option<String>,
}

impl Problem {
    /// A problem with an exit code and a message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Problem {
        Problem { exit, message: message.into(), field: None, hint: None, code: None, request_id: None }
    }

    /// The same with a hint.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the code whose page explains it.
    #[must_use]
    pub(crate) fn code(mut self, code: Code) -> Problem {
        self.code = Some(code.name().to_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl From<domain::Error> for Problem {
    fn from(e: domain::Error) -> Problem {
        Problem {
            exit: Exit::of(e.code.kind()),
            message: e.message,
            field: e.field,
            hint: e.hint,
            code: Some(e.code.name().to_owned()),
            request_id: None,
        }
    }
}

impl From<api::client::Error> for Problem {
    fn from(e: api::client::Error) -> Problem {
        let message = e.to_string();
        let Some(refusal) = e.api() else {
            let exit = match e {
                api::client::Error::Transport { .. } | api::client::Error::Answer { .. } => Exit::Unreachable,
                api::client::Error::Api(_) | api::client::Error::Setup(_) => Exit::Failure,
            };
            return Problem::new(exit, message);
        };
        let kind = refusal.known_code().map(Code::kind);
        Problem {
            exit: kind.map_or(Exit::Failure, Exit::of),
            message,
            field: refusal.field.clone(),
            hint: refusal.hint.clone(),
            code: Some(refusal.code.clone()),
            // Other refusals explain themselves; a defect is found by its id in the server's log.
            request_id: (kind == Some(Kind::Internal)).then(|| refusal.request_id.clone()),
        }
    }
}

/// The lines that tell a person of an error, and how the program ends; none when nobody listens any more.
pub(crate) fn explain(error: &anyhow::Error) -> (Option<String>, Exit) {
    if is_closed_pipe(error) {
        // `backstay task list | head`: the reader has seen enough, and that is no failure.
        return (None, Exit::Ok);
    }
    let problem = match (error.downcast_ref::<Problem>(), error.downcast_ref::<api::client::Error>()) {
        (Some(problem), _) => problem.clone(),
        (None, Some(error)) => Problem::from(error.clone()),
        (None, None) => return (Some(format!("backstay: {error:#}")), Exit::Failure),
    };
    let mut lines = vec![format!("backstay: {}", crate::format::clean(&problem.message))];
    let mut add = |label: &str, text: &Option<String>| {
        if let Some(text) = text {
            lines.push(format!("  {label}: {}", crate::format::clean(text)));
        }
    };
    add("field", &problem.field);
    add("hint", &problem.hint);
    add("request id", &problem.request_id);
    if let Some(code) = problem.code.as_deref().and_then(Code::parse) {
        lines.push(format!("  see: backstay explain {}", code.name()));
    }
    (Some(lines.join("\n")), problem.exit)
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_lines() {
        let e = domain::Error::invalid("to", "'x' is no absolute path").hint("from the top, like /tmp/x");
        let (text, exit) = explain(&Problem::from(e).into());
        assert_eq!(
            text.as_deref(),
            Some(
                "backstay: 'x' is no absolute path\n  field: to\n  hint: from the top, like /tmp/x\n  \
                 see: backstay explain invalid_field"
            )
        );
        assert_eq!(exit, Exit::Failure);
    }

    #[test]
    fn other_errors_show_their_chain_and_a_closed_pipe_shows_nothing() {
        let (text, exit) = explain(&anyhow::anyhow!("no such file").context("cannot open x"));
        assert_eq!((text.as_deref(), exit), (Some("backstay: cannot open x: no such file"), Exit::Failure));
        let pipe = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot print");
        assert_eq!(explain(&pipe), (None, Exit::Ok));
    }

    #[test]
    fn refusals_have_their_exit_codes() {
        let exit = |code| Problem::from(domain::Error::new(code, "")).exit as u8;
        assert_eq!([Code::NotFound, Code::Forbidden, Code::Unauthenticated, Code::InUse].map(exit), [6, 7, 7, 1]);
    }
}
