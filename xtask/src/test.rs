//! `cargo xtask test`: installs what tests need beside Rust, then runs all of them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Programs that tests run, with the Debian package that brings each.
const PROGRAMS: &[(&str, &str)] = &[("restic", "restic"), ("cc", "gcc"), ("curl", "curl"), ("script", "bsdutils")];

/// Installs what is missing and runs `cargo test` over the whole project.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    install()?;
    // The acceptance tests run the program itself. All targets at once, so that dependencies are built only once.
    super::cargo(&["build", "--locked", "--workspace", "--all-targets"])?;
    let mut all = vec!["test", "--locked", "--workspace"];
    all.extend(args);
    super::cargo(&all)
}

fn install() -> Result<()> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !is_there(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    eprintln!("tests need these Debian packages, which are not installed: {}", packages.join(", "));
    if !is_there("apt-get") {
        bail!("install these programs with your system's package manager: {}", packages.join(", "));
    }
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages.as_slice()].concat())
}

fn apt(args: &[&str]) -> Result<()> {
    let root = Command::new("id").arg("-u").output().context("cannot run `id`")?.stdout == b"0\n";
    let mut command = if root {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("apt-get");
        sudo
    };
    super::run(command.args(args).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_there(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    found.is_ok_and(|s| s.success())
}
