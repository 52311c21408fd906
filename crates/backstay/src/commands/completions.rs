//! `backstay completions`: what a shell needs to complete the command line.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::done;
use crate::cli::Cli;

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Example: backstay completions bash > ~/.local/share/bash-completion/completions/backstay")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<ExitCode> {
    // Into memory first: the generator panics when it cannot write, as with `| head`.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "backstay", &mut script);
    let mut out = std::io::stdout().lock();
    out.write_all(&script)?;
    out.flush()?;
    done()
}
