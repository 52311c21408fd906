//! Runs the commands that a policy names around a backup. A command is started as it is, without a shell, in the process
//! group of the job, so that whoever ends the job ends it too; one that nobody waits for goes its own way.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    process::{Child, Command as Program, Stdio},
    thread,
};

use domain::policy::settings::{Command, When};

use super::{EngineError, ErrorCode, Reporter};

/// The word for a notice about a command that failed.
const FAILED: &str = "commandFailed";

/// So much of what a failed command said is quoted, in bytes; its end, because that is where the reason stands.
const QUOTED: usize = 2000;

/// Whether there is anything to do at this point of a run.
pub fn any(commands: &[Command], when: When) -> bool {
    commands.iter().any(|command| command.enabled && command.when == when)
}

/// Run the commands of one point of a run, in their order. Those whose failure is no reason to stop become notices.
/// With `allowed` false nothing is started, and each counts as failed.
pub(super) fn run(commands: &[Command], when: When, allowed: bool, reporter: &Reporter) -> Result<(), EngineError> {
    for command in commands.iter().filter(|command| command.enabled && command.when == when) {
        let done = if allowed {
            run_one(command)
        } else {
            Err(failed(command, "was not started: commands are turned off on this machine"))
        };
        if let Err(error) = done {
            if command.stop_on_error {
                return Err(error);
            }
            let said = error.context.get("output").map(|said| format!("; it said: {said}")).unwrap_or_default();
            reporter.notice(FAILED, format!("{}{said}", error.message));
        }
    }
    Ok(())
}

fn run_one(command: &Command) -> Result<(), EngineError> {
    let args = shell_words::split(&command.args)
        .map_err(|_| failed(command, "cannot be started: its arguments have a quote without its counterpart"))?;
    let mut program = Program::new(&command.cmd);
    program.args(args).stdin(Stdio::null());
    if !command.workdir.is_empty() {
        program.current_dir(&command.workdir);
    }
    let start = |program: &mut Program| {
        program.spawn().map_err(|error| failed(command, &format!("cannot be started: {error}")))
    };
    if !command.wait {
        // Nobody listens to it, and it outlives the job.
        start(program.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0))?;
        return Ok(());
    }
    let mut child = start(program.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let said = listen(&mut child);
    let status = child.wait().map_err(|error| failed(command, &format!("was lost: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let error = failed(command, &format!("ended with {status}"));
    let said = said.trim();
    Err(if said.is_empty() { error } else { error.with("output", said) })
}

/// The end of what a command writes, to whichever of its two outputs.
fn listen(child: &mut Child) -> String {
    let errors = child.stderr.take();
    thread::scope(|scope| {
        let errors = scope.spawn(|| errors.map(end_of).unwrap_or_default());
        let output = child.stdout.take().map(end_of).unwrap_or_default();
        [output, errors.join().unwrap_or_default()].join("\n")
    })
}

fn end_of(mut stream: impl Read) -> String {
    let mut end: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    // A pipe that cannot be read has nothing more to say.
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        end.extend_from_slice(&buffer[..read]);
        if end.len() > 2 * QUOTED {
            end.drain(..end.len() - QUOTED);
        }
    }
    let start = end.len().saturating_sub(QUOTED);
    String::from_utf8_lossy(&end[start..]).into_owned()
}

/// `why` goes on from "the command ..".
fn failed(command: &Command, why: &str) -> EngineError {
    let point = match command.when {
        When::Pre => "before the backup",
        When::Post => "after the backup",
        When::PreData => "before reading",
        When::PostData => "after reading",
    };
    EngineError::new(ErrorCode::CommandFailed, format!("the command '{}' {point} {why}", command.cmd))
        .with("command", &command.cmd)
}
