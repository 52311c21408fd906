//! What no compiler checks: the layers, a first line in each file that says what it is for, a page for each error code,
//! and that paths named in documents exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use domain::Code;

/// Which of our crates each crate may use: the table of ARCHITECTURE.md.
const CRATES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("cdc", &[]),
    ("ledger", &["domain"]),
    ("proto", &["domain"]),
    ("api", &["domain"]),
    ("server", &["domain", "ledger", "proto", "api"]),
    ("agent", &["domain", "proto"]),
    ("bench", &["domain", "ledger", "proto", "server"]),
    ("backstay", &["domain", "ledger", "api", "server", "agent", "bench"]),
];

/// What no file below a folder may name, with the reason.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("crates/server/src/service", &["axum", "tonic", "crate::dialects", "crate::agents"], "services know no transport"),
    (
        "crates/server/src/dialects",
        &["ledger::Sqlite", "ledger::Memory", "rusqlite", "crate::scheduler"],
        "dialects translate, they never decide",
    ),
    ("crates/server/src/scheduler", &["crate::dialects", "axum", "tonic"], "the scheduler uses services"),
    ("crates/server/src", &["rusqlite", "SELECT ", "INSERT INTO"], "SQL stands only in the ledger"),
    ("crates/backstay/src", &["rusqlite", "axum::", "tonic::"], "the program puts parts together"),
    ("crates/agent/src", &["SELECT ", "axum"], "the agent moves data"),
    ("crates/bench/src", &["server::dialects"], "benchmarks use what everybody uses"),
];

/// Crates that must not be built, with the reason.
const BANNED: &[(&str, &str)] = &[
    ("ring", "aws-lc-rs is the one crypto provider"),
    ("openssl-sys", "aws-lc-rs is the one crypto provider"),
    ("chrono", "jiff is the one time library"),
    ("async-std", "tokio is the one async runtime"),
];

/// A file longer than this wants a reason, written as a line `// long: <reason>`.
const MAX_LINES: usize = 600;

pub(crate) fn run() -> Result<()> {
    let mut findings = Vec::new();
    let files = sources(Path::new("."))?;
    for file in &files {
        check_file(file, &mut findings)?;
    }
    check_crates(&mut findings)?;
    check_layers(&files, &mut findings)?;
    check_error_pages(&mut findings)?;
    check_documents(&mut findings)?;
    check_banned(&mut findings)?;
    if findings.is_empty() {
        eprintln!("tidy: {} source files, nothing to say", files.len());
        return Ok(());
    }
    bail!("tidy has {} findings:\n  {}", findings.len(), findings.join("\n  "))
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && name != "generated" && !name.starts_with('.') {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn check_file(file: &Path, findings: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("//! ") || first.len() < 20 {
        findings.push(format!("{}: begin with a `//!` line that says what the file is for", file.display()));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && !text.contains("// long: ") {
        findings
            .push(format!("{}: {lines} lines; split it, or say why not in a line `// long: <reason>`", file.display()));
    }
    for (number, line) in text.lines().enumerate() {
        if line.contains("#[allow(") && !line.contains("contains(") {
            findings.push(format!("{}:{}: use #[expect(.., reason = \"..\")]", file.display(), number + 1));
        }
    }
    Ok(())
}

fn check_crates(findings: &mut Vec<String>) -> Result<()> {
    let ours: BTreeSet<_> = CRATES.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in CRATES {
        let manifest = fs::read_to_string(format!("crates/{name}/Cargo.toml"))?;
        // Only what is built into the crate counts, not what its tests use.
        let built = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        for line in built.lines() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if ours.contains(dependency) && !allowed.contains(&dependency) {
                findings.push(format!("crates/{name} must not use crates/{dependency}"));
            }
        }
    }
    Ok(())
}

fn check_layers(files: &[PathBuf], findings: &mut Vec<String>) -> Result<()> {
    for file in files {
        let path = file.strip_prefix("./").unwrap_or(file);
        for (folder, words, reason) in FORBIDDEN {
            if !path.starts_with(folder) {
                continue;
            }
            let text = fs::read_to_string(file)?;
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for word in words.iter().filter(|w| code.contains(**w)) {
                    findings.push(format!("{}:{}: '{word}' here: {reason}", path.display(), number + 1));
                }
            }
        }
    }
    Ok(())
}

fn check_error_pages(findings: &mut Vec<String>) -> Result<()> {
    let pages: BTreeSet<_> = fs::read_dir("docs/errors")
        .context("docs/errors is missing")?
        .filter_map(|e| e.ok()?.path().file_stem().map(|s| s.to_string_lossy().into_owned()))
        .filter(|name| name != "README")
        .collect();
    let codes: BTreeSet<_> = Code::ALL.iter().map(|c| c.name().to_owned()).collect();
    for code in codes.difference(&pages) {
        findings.push(format!("docs/errors/{code}.md is missing"));
    }
    for page in pages.difference(&codes) {
        findings.push(format!("docs/errors/{page}.md is about no error code"));
    }
    Ok(())
}

/// Paths in backticks, and targets of relative links, must exist.
fn check_documents(findings: &mut Vec<String>) -> Result<()> {
    let mut documents: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(PathBuf::from).into();
    for folder in ["docs/concepts", "docs/guides", "docs/decisions"] {
        if let Ok(entries) = fs::read_dir(folder) {
            documents.extend(
                entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "md")),
            );
        }
    }
    for document in documents {
        let text = fs::read_to_string(&document).with_context(|| format!("{} is missing", document.display()))?;
        let quoted = text.split('`').skip(1).step_by(2);
        let paths =
            quoted.filter(|q| ["crates/", "docs/", "tests/", "xtask/", ".ci/"].iter().any(|p| q.starts_with(p)));
        for path in paths.filter(|p| !p.contains(['*', '<', '{', ' ', '\n'])) {
            if !Path::new(path.split(':').next().unwrap_or(path)).exists() {
                findings.push(format!("{}: `{path}` does not exist", document.display()));
            }
        }
        for target in text.split("](").skip(1).filter_map(|t| t.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            let folder = document.parent().unwrap_or(Path::new("."));
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                findings.push(format!("{}: the link to {target} leads nowhere", document.display()));
            }
        }
    }
    Ok(())
}

fn check_banned(findings: &mut Vec<String>) -> Result<()> {
    let tree = Command::new("cargo")
        .args(["tree", "--workspace", "--locked", "--prefix", "none", "--format", "{p}"])
        .output()?;
    let tree = String::from_utf8(tree.stdout)?;
    for (name, reason) in BANNED {
        if tree.lines().any(|l| l.split(' ').next() == Some(name)) {
            findings.push(format!("the crate {name} is built: {reason}"));
        }
    }
    Ok(())
}
