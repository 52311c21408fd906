//! `cargo xtask test`: installs what tests need beside Rust, then runs all of them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Programs that tests run, with the Debian package that brings each.
const PROGRAMS: &[(&str, &str)] = &[
    ("restic", "restic"),
    ("rclone", "rclone"),
    ("ssh", "openssh-client"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("cc", "gcc"),
    ("curl", "curl"),
    ("script", "bsdutils"),
    ("jq", "jq"),
    ("python3", "python3"),
    ("mke2fs", "e2fsprogs"),
    ("mkfs.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("sfdisk", "fdisk"),
    ("qemu-img", "qemu-utils"),
    ("promtool", "prometheus"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("faketime", "faketime"),
];

/// Where the packages of clients are installed, and which they are: Python's, Node itself among them, and Node's.
const CLIENTS: &str = "target/clients";
const REQUIREMENTS: [&str; 5] = [
    "tests/clients/acronis/requirements.txt",
    "tests/clients/yandex/requirements.txt",
    "tests/clients/openstack/requirements.txt",
    "tests/clients/storage/requirements.txt",
    "tests/clients/notifications/requirements.txt",
];
const NODE_PACKAGES: &str = "tests/clients/yandex/package.json";

/// Installs what is missing and runs `cargo test` over the whole project.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    install()?;
    install_clients()?;
    // The acceptance tests run the program itself. All targets at once, so that dependencies are built only once.
    super::cargo(&["build", "--locked", "--workspace", "--all-targets"])?;
    let mut all = vec!["test", "--locked", "--workspace"];
    all.extend(args);
    let line = format!("cargo {}", all.join(" "));
    eprintln!("$ {line}");
    let mut tests = Command::new("cargo").args(&all).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let mut total = Total::default();
    for line in BufReader::new(tests.stdout.take().context("cargo's output is not there")?).lines() {
        let line = line?;
        println!("{line}");
        total.add(&line);
    }
    let status = tests.wait()?;
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.ignored);
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// The sum of what the test programs say, because the last of them says little about all.
#[derive(Debug, Default, PartialEq, Eq)]
struct Total {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Total {
    /// Counts a line such as `test result: ok. 41 passed; 0 failed; 0 ignored; ...`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|l| l.split_once(". ")) else { return };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number: u64 = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
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

/// Puts the packages that the tests of clients need into an environment of their own, if it is not as it should be.
fn install_clients() -> Result<()> {
    let mut wanted = String::new();
    for file in REQUIREMENTS.iter().chain([&NODE_PACKAGES]) {
        wanted += &std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    }
    let installed = format!("{CLIENTS}/installed.txt");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(());
    }
    if !succeeds("python3", &["-c", "import ensurepip, venv"]) {
        apt(&["update"])?;
        apt(&["install", "--yes", "--no-install-recommends", "python3-venv"])?;
    }
    super::run(Command::new("python3").args(["-m", "venv", "--clear", CLIENTS]))?;
    let mut pip = vec!["-m", "pip", "--disable-pip-version-check", "install", "--quiet"];
    pip.extend(REQUIREMENTS.iter().flat_map(|file| ["--requirement", file]));
    super::run(Command::new(format!("{CLIENTS}/bin/python")).args(pip))?;
    let packages = format!("{CLIENTS}/package.json");
    std::fs::copy(NODE_PACKAGES, &packages).with_context(|| format!("cannot write {packages}"))?;
    // By its full path, because the working folder is another one.
    let npm = std::path::absolute(CLIENTS)?.join("bin/npm");
    let quietly = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    super::run(Command::new(npm).args(quietly).current_dir(CLIENTS))?;
    std::fs::write(&installed, wanted).with_context(|| format!("cannot write {installed}"))
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
    succeeds("sh", &["-c", &format!("command -v {program}")])
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|s| s.success())
}

#[cfg(test)]
mod tests {
    use super::Total;

    #[test]
    fn results_are_summed_and_other_lines_are_not() {
        let mut total = Total::default();
        total.add("test result: ok. 41 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.05s");
        total.add("test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.05s");
        total.add("test this_one ... ok");
        assert_eq!(total, Total { passed: 42, failed: 3, ignored: 2 });
    }
}
