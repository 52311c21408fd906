//! The command-line reference as Markdown, made from the same definitions that read the command line. The result is
//! committed as `docs/reference/cli.md`, and a test compares the two.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Arg, Command, CommandFactory as _};

use crate::cli::Cli;

/// The whole reference.
fn cli_reference() -> String {
    let mut root = Cli::command();
    root.build();
    let mut out = String::from(
        "# Command line reference\n\n<!-- Made from the program by its tests; see crates/backstay/src/reference.rs. Do not edit. -->\n\n",
    );
    command(&mut root, &mut out, true);
    out
}

fn command(c: &mut Command, out: &mut String, root: bool) {
    let name = c.get_bin_name().unwrap_or_else(|| c.get_name()).to_owned();
    let usage = c.render_usage().to_string();
    let about = c.get_about().map(ToString::to_string).unwrap_or_default();
    let level = "#".repeat((name.split(' ').count() + 1).min(4));
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{level} {name}\n\n{}\n", sentence(&about));
    let _ = writeln!(out, "```text\n{}\n```\n", usage.trim_start_matches("Usage: "));
    let own: Vec<_> = c.get_arguments().filter(|a| root || !a.is_global_set()).filter(|a| shown(a)).collect();
    if !own.is_empty() {
        let _ = writeln!(out, "| option | |\n|---|---|");
        for arg in own {
            let _ = writeln!(out, "| {} | {} |", flag(arg), help(arg));
        }
        out.push('\n');
    }
    if let Some(after) = c.get_after_help().map(ToString::to_string) {
        let (text, example) = match after.rsplit_once("Example: ") {
            Some((text, example)) => (text.trim(), Some(example.trim())),
            None => (after.trim(), None),
        };
        if !text.is_empty() {
            let _ = writeln!(out, "```text\n{text}\n```\n");
        }
        if let Some(example) = example {
            let _ = writeln!(out, "Example:\n\n```sh\n{example}\n```\n");
        }
    }
    for sub in c.get_subcommands_mut().filter(|s| !s.is_hide_set()) {
        command(sub, out, false);
    }
}

fn shown(arg: &Arg) -> bool {
    !arg.is_hide_set() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn flag(arg: &Arg) -> String {
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values());
    let value = value.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    match (arg.get_long(), value) {
        (Some(long), Some(value)) => format!("`--{long} {value}`"),
        (Some(long), None) => format!("`--{long}`"),
        (None, value) => format!("`{}`", value.unwrap_or_else(|| arg.get_id().to_string())),
    }
}

fn help(arg: &Arg) -> String {
    let mut text = sentence(&arg.get_help().map(ToString::to_string).unwrap_or_default());
    let takes = arg.get_action().takes_values();
    let names: Vec<_> = arg.get_possible_values().iter().map(|v| format!("`{}`", v.get_name())).collect();
    if takes && !names.is_empty() && !arg.is_hide_possible_values_set() {
        let _ = write!(text, " One of {}.", names.join(", "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|v| format!("`{}`", v.to_string_lossy())).collect();
    if takes && !defaults.is_empty() && !arg.is_hide_default_value_set() {
        let _ = write!(text, " Default: {}.", defaults.join(", "));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " Also in the environment as `{}`.", variable.to_string_lossy());
    }
    text.replace('|', "\\|")
}

/// The text as a sentence: clap shows none with a stop, prose has one.
fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    if text.is_empty() { String::new() } else { format!("{text}.") }
}

#[test]
fn cli_reference_is_committed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    let made = cli_reference();
    if std::env::var_os("BACKSTAY_UPDATE").is_some_and(|v| v == "1") {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
        std::fs::write(&path, &made).expect("the reference is written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == committed,
        "docs/reference/cli.md is not what the program says; run `cargo xtask generate` and commit it"
    );
}
