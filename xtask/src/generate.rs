//! Generated code that is checked in: written here, or compared with what is there (`--check`).

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, bail};

/// The files of our own writing, below `crates/proto/proto`.
const PROTOS: &[&str] = &["backstay/agent/v1/link.proto"];

const HEADER: &str = "//! Generated from `crates/proto/proto` by `cargo xtask generate`; changes belong there.\n\n";

/// Generates the protobuf code of `crates/proto`. With `check`, nothing is written: a difference is an error.
pub(crate) fn proto(check: bool) -> anyhow::Result<()> {
    let root = root();
    let sources = root.join("crates/proto/proto");
    let descriptors = protox::compile(PROTOS, [&sources]).context("the .proto files do not compile")?;

    let scratch = root.join("target/xtask-proto");
    if let Err(error) = fs::remove_dir_all(&scratch)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot empty {}", scratch.display()));
    }
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    tonic_prost_build::configure()
        .out_dir(&scratch)
        .emit_rerun_if_changed(false)
        // Holds a password: its `Debug` is written by hand.
        .skip_debug([".backstay.agent.v1.Repository"])
        .compile_fds(descriptors)
        .context("no code can be made of the .proto files")?;

    let mut differing = Vec::new();
    for entry in fs::read_dir(&scratch)? {
        let entry = entry?;
        let target = root.join("crates/proto/src/generated").join(entry.file_name());
        let code = fs::read_to_string(entry.path())?;
        let code = format!("{HEADER}{code}");
        if fs::read_to_string(&target).is_ok_and(|current| current == code) {
            continue;
        }
        if check {
            differing.push(target.display().to_string());
        } else {
            fs::write(&target, code).with_context(|| format!("cannot write {}", target.display()))?;
            println!("wrote {}", target.display());
        }
    }
    if !differing.is_empty() {
        bail!("out of date: {}; run `cargo xtask generate`", differing.join(", "));
    }
    Ok(())
}

/// Writes a generated page, or with `check` compares it with the one that is there.
pub(crate) fn file(path: &Path, text: &str, check: bool) -> anyhow::Result<()> {
    if fs::read_to_string(path).is_ok_and(|current| current == text) {
        return Ok(());
    }
    if check {
        bail!("out of date: {}; run `cargo xtask generate`", path.display());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

/// The top of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
