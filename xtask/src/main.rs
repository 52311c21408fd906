//! The project's own chores: `cargo xtask ci|test|tidy|generate`. The same commands run locally and in CI.

mod generate;
mod states;
mod test;
mod tidy;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask <what>

  ci                   format, lints, generated files, tidy, all tests
  test [ARGS]          all tests; installs what they need first. ARGS go to `cargo test`
  tidy                 what no compiler checks: layers, file headers, error pages, paths in documents
  generate [--check]   writes (or compares) everything that is generated and committed";

fn main() -> ExitCode {
    match chore() {
        Ok(code) => code,
        // Without a backtrace: what failed is outside this program.
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore() -> Result<ExitCode> {
    // So that the chores work from any folder of the project.
    std::env::set_current_dir(root()).context("the project's folder is gone")?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["ci"] => ci()?,
        ["test", rest @ ..] => test::run(rest)?,
        ["tidy"] => tidy::run()?,
        ["generate"] => generate(false)?,
        ["generate", "--check"] => generate(true)?,
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ci() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    tidy::run()?;
    generate(true)?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    // All that fails is told at once: the next run is far away.
    test::run(&["--no-fail-fast"])
}

/// Everything that is derived from one truth, written or compared.
fn generate(check: bool) -> Result<()> {
    generate::proto(check)?;
    generate::file(Path::new("docs/concepts/states.md"), &states::page(), check)?;
    if check {
        // The other two are compared by ordinary tests of the crates that hold their truth.
        return Ok(());
    }
    // Only the two targets that hold those tests, built with the features of the whole workspace.
    let targets = ["test", "--workspace", "--locked", "--test", "native", "--bin", "backstay"];
    let tests = ["--", "openapi_is_committed", "cli_reference_is_committed"];
    run(Command::new("cargo").args(targets).args(tests).env("BACKSTAY_UPDATE", "1"))
}

fn cargo(args: &[&str]) -> Result<()> {
    run(Command::new("cargo").args(args))
}

/// Runs a command and shows it, so that a reader of the output can repeat it.
fn run(command: &mut Command) -> Result<()> {
    let line: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let line = line.iter().map(|s| s.to_string_lossy()).collect::<Vec<_>>().join(" ");
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the project's folder")
}
