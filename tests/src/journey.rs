//! Markdown that runs: the blocks marked `console` of a file are one session in one shell, and what it prints must be
//! what the file says.
//!
//! A line that begins with `$ ` is a command, lines with `> ` go on with it, and what follows is its output. `[..]` and a
//! word in capitals like `[ID]` stand for any text within a line, a line `...` for any lines, and spaces for any number of
//! spaces. A line `? N` at the end says that the exit code is N and not 0.
//!
//! `backstay up ...` runs in the background from its command on: its output is compared as soon as it says that it runs,
//! ports are chosen freely, and from then on the shell knows `$HTTP`, `$TLS`, `$CA` and `$TOKEN`, out of the ready-file.
//! The working folder is a fresh one, so that commands find the server by themselves.
//!
//! `JOURNEYS=overwrite` writes what came in place of what does not fit; read the difference before you commit it.
//!
//! The crate `trycmd` has the same idea, but runs each command by itself without a shell: no answer can be used in the
//! next command, and no server can run beside them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::{LIMIT, Place, Up};

/// A command of a file with the output it should have.
#[derive(Debug, Clone, Default)]
struct Step {
    /// The line of the file on which it stands, from 0.
    line: usize,
    command: String,
    code: i32,
    expected: Vec<String>,
    /// The lines of the file that hold the expected output.
    lines: std::ops::Range<usize>,
}

/// Runs a file.
///
/// # Panics
/// When something is not as the file says; every difference is shown.
pub fn run(file: &Path) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let steps = parse(&text);
    assert!(!steps.is_empty(), "{} has no commands", file.display());
    let place = Place::new();
    let mut shell = Shell::new(&place);
    let mut ups: Vec<Up<'_>> = Vec::new();
    let mut differences = String::new();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut overwritten = Vec::new();
    for step in &steps {
        let (actual, code) = match step.command.strip_prefix("backstay up") {
            Some(args) if step.code == 0 => {
                let up = start(&place, &mut shell, args);
                let out = up.out();
                ups.push(up);
                (out, 0)
            }
            _ => shell.run(&step.command),
        };
        let actual: Vec<String> = actual.lines().map(|l| place.redact(l.trim_end())).collect();
        if fits(&step.expected, &actual) && code == step.code {
            continue;
        }
        let _ = writeln!(
            differences,
            "{}:{}: $ {}\n--- expected ({})\n{}\n--- came ({code})\n{}\n",
            file.display(),
            step.line + 1,
            step.command,
            step.code,
            step.expected.join("\n"),
            actual.join("\n"),
        );
        overwritten.push((step.lines.clone(), actual, code));
    }
    if differences.is_empty() {
        return;
    }
    if std::env::var_os("JOURNEYS").is_some_and(|v| v == "overwrite") {
        for (range, mut actual, code) in overwritten.into_iter().rev() {
            if code != 0 {
                actual.push(format!("? {code}"));
            }
            lines.splice(range, actual);
        }
        std::fs::write(file, lines.join("\n") + "\n").expect("the file can be written");
    }
    let said: String = ups.iter().map(|up| format!("`up` had said on standard error:\n{}", up.err())).collect();
    panic!("{differences}{said}");
}

/// Starts a server in the background and tells the shell where it is.
fn start<'p>(place: &'p Place, shell: &mut Shell, args: &str) -> Up<'p> {
    let mut builder = place.up();
    let mut words = args.split_whitespace();
    while let Some(word) = words.next() {
        assert_eq!(word, "--protect", "a journey starts `backstay up` with --protect or nothing");
        builder = builder.protect(&place.path(words.next().expect("a folder")));
    }
    let up = builder.start();
    let ready = up.ready();
    let set = format!(
        "HTTP='{}' TLS='{}' CA='{}' TOKEN='{}'",
        ready.http,
        ready.tls,
        ready.ca_file.display(),
        ready.admin_token
    );
    assert_eq!(shell.run(&set).1, 0);
    up
}

/// The commands of a file.
fn parse(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    let mut open: Option<Step> = None;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = line == "```console";
            steps.extend(open.take());
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.extend(open.take());
            let lines = number + 1..number + 1;
            open = Some(Step { line: number, command: command.to_owned(), lines, ..Step::default() });
        } else if let Some(step) = &mut open {
            step.lines.end = number + 1;
            if let Some(more) = line.strip_prefix("> ").filter(|_| step.expected.is_empty()) {
                step.command.push('\n');
                step.command.push_str(more);
                step.lines.start = number + 1;
            } else if let Some(code) = line.strip_prefix("? ") {
                step.code = code.parse().expect("an exit code after '? '");
            } else {
                step.expected.push(line.trim_end().to_owned());
            }
        }
    }
    // A blank line between the output and the next command belongs to the reader.
    for step in &mut steps {
        while step.expected.last().is_some_and(String::is_empty) {
            step.expected.pop();
        }
    }
    steps
}

fn fits(expected: &[String], actual: &[String]) -> bool {
    let actual = match actual {
        [rest @ .., last] if last.is_empty() => rest,
        all => all,
    };
    match expected {
        [] => actual.is_empty(),
        [any, rest @ ..] if any == "..." => (0..=actual.len()).any(|skip| fits(rest, &actual[skip..])),
        [line, rest @ ..] => actual.first().is_some_and(|a| line_fits(line, a)) && fits(rest, &actual[1..]),
    }
}

fn line_fits(expected: &str, actual: &str) -> bool {
    // The columns of a table are as wide as what stands in them.
    let narrow = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text_fits(&narrow(expected), &narrow(actual))
}

fn text_fits(expected: &str, actual: &str) -> bool {
    let Some((before, after)) = split_at_placeholder(expected) else { return expected == actual };
    let Some(rest) = actual.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| text_fits(after, &rest[at..]))
}

/// What stands before and after the first placeholder.
fn split_at_placeholder(text: &str) -> Option<(&str, &str)> {
    text.match_indices('[').find_map(|(start, _)| {
        let (word, after) = text[start + 1..].split_once(']')?;
        let name = !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase());
        (name || word == "..").then_some((&text[..start], after))
    })
}

impl Place {
    /// A line without the name of the temporary folder.
    fn redact(&self, line: &str) -> String {
        line.replace(&self.root().display().to_string(), "[DIR]")
    }
}

/// A shell that runs one command after the other and keeps its variables.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    mark: String,
}

impl Shell {
    fn new(place: &Place) -> Shell {
        let program = crate::program();
        let mut path = program.parent().expect("a folder").as_os_str().to_owned();
        if let Some(more) = std::env::var_os("PATH") {
            path.push(":");
            path.push(more);
        }
        let mut command = place.command("sh");
        // A group of its own, so that what a journey leaves in the background ends with it.
        command.process_group(0).env("PATH", path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a shell");
        let mut input = child.stdin.take().expect("piped");
        let out = child.stdout.take().expect("piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        // One stream for both, so that the order is that of a terminal. Quiet curl, because its meter is nobody's output.
        writeln!(input, "exec 2>&1; umask 022; curl() {{ command curl -sS \"$@\"; }}").expect("the shell listens");
        Shell { child, input, lines, mark: format!("end-of-command-{}", std::process::id()) }
    }

    /// What a command prints, and how it ends.
    fn run(&mut self, command: &str) -> (String, i32) {
        writeln!(self.input, "{{ {command}\n}} </dev/null\nprintf '\\n%s %d\\n' {} $?", self.mark)
            .expect("the shell listens");
        let mut out = String::new();
        loop {
            let line =
                self.lines.recv_timeout(LIMIT).unwrap_or_else(|e| panic!("`{command}` does not end ({e})\n{out}"));
            if let Some(code) = line.strip_prefix(&self.mark) {
                // The line break in front of the mark is ours.
                out.pop();
                return (out, code.trim().parse().expect("an exit code"));
            }
            out.push_str(&line);
            out.push('\n');
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_commands_with_their_outputs() {
        let steps = parse("# x\n```sh\n$ no\n```\n```console\n$ a \\\n> b\none\n\n$ c\n? 6\n```\n");
        let seen: Vec<_> = steps.iter().map(|s| (s.command.as_str(), s.code, s.expected.join("|"))).collect();
        assert_eq!(seen, [("a \\\nb", 0, "one".to_owned()), ("c", 6, String::new())]);
    }

    #[test]
    fn elisions_stand_for_what_differs() {
        let fits = |e: &str, a: &str| {
            let lines = |t: &str| t.lines().map(str::to_owned).collect::<Vec<_>>();
            fits(&lines(e), &lines(a))
        };
        assert!(fits("a\n...\nd", "a\nb\nc\nd") && fits("a\n...", "a") && !fits("a\n...\nd", "a\nb"));
        assert!(fits("id [..] of [ID].", "id 12 of 13.") && !fits("id [ID].", "id 12"));
        assert!(fits("[]  [a] [ID]", "[] [a]   x") && !fits("[a]", "b"), "only capitals are placeholders");
    }
}
