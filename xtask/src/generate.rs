//! Generated code that is checked in: written here, or compared with what is there (`--check`).

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, bail};
use protox::Compiler;
use tonic_prost_build::Config;

/// The agent link, below `crates/proto/proto` like all files named here.
const LINK: &[&str] = &["backstay/agent/v1/link.proto"];

/// The API that the Yandex dialect speaks, and what may stand in its `Any` fields without being imported: whoever reads
/// the descriptors must find it there.
const YANDEX: &[&str] = &[
    "google/protobuf/empty.proto",
    "google/rpc/error_details.proto",
    "yandex/cloud/backup/v1/backup_service.proto",
    "yandex/cloud/backup/v1/policy_service.proto",
    "yandex/cloud/backup/v1/provider_service.proto",
    "yandex/cloud/backup/v1/resource_service.proto",
    "yandex/cloud/backup/v1/setup_service.proto",
    "yandex/cloud/endpoint/api_endpoint_service.proto",
    "yandex/cloud/iam/v1/iam_token_service.proto",
    "yandex/cloud/operation/operation_service.proto",
];

/// Packages of options. Their messages are read from the descriptors, nobody needs code for them.
const OPTIONS: &[&str] = &["google.api", "yandex.cloud", "yandex.cloud.api"];

/// Messages that hold a secret: their `Debug` is written by hand.
const SECRET: &[&str] = &[
    ".backstay.agent.v1.Repository",
    ".yandex.cloud.backup.v1.ActivateProviderRequest",
    ".yandex.cloud.backup.v1.GetAgentInstallCommandResponse",
    ".yandex.cloud.backup.v1.GetInstanceRegistrationTokenResponse",
    ".yandex.cloud.backup.v1.ListActivatedProvidersRequest",
    ".yandex.cloud.iam.v1.CreateIamTokenRequest",
    ".yandex.cloud.iam.v1.CreateIamTokenResponse",
    ".yandex.cloud.iam.v1.RevokeIamTokenRequest",
];

const HEADER: &str = "//! Generated from `crates/proto/proto` by `cargo xtask generate`; changes belong there.\n\n";

/// Generates the protobuf code of `crates/proto`. With `check`, nothing is written: a difference is an error.
pub(crate) fn proto(check: bool) -> anyhow::Result<()> {
    let root = root();
    let sources = root.join("crates/proto/proto");
    let scratch = root.join("target/xtask-proto");
    if let Err(error) = fs::remove_dir_all(&scratch)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot empty {}", scratch.display()));
    }
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;

    let generator = || tonic_prost_build::configure().out_dir(&scratch).emit_rerun_if_changed(false).skip_debug(SECRET);

    let link = compile(&sources, LINK)?;
    generator().compile_fds(link.file_descriptor_set()).context("no code can be made of the agent link")?;

    let mut yandex = compile(&sources, YANDEX)?;
    let mut files = yandex.file_descriptor_set();
    files.file.retain(|file| !OPTIONS.contains(&file.package()));
    let mut config = Config::new();
    // Without a domain the URLs in `Any` would begin with the slash, and clients would not know the types.
    config.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    generator().compile_fds_with_config(files, config).context("no code can be made of the Yandex API")?;
    // The code knows nothing of the options, so the descriptors lie beside it. They are encoded by the compiler because
    // its `FileDescriptorSet` has no place for options either.
    let descriptors = yandex.include_source_info(false).encode_file_descriptor_set();
    fs::write(scratch.join("yandex.bin"), descriptors)?;

    let mut differing = Vec::new();
    for entry in fs::read_dir(&scratch)? {
        let made = entry?.path();
        let target = root.join("crates/proto/src/generated").join(made.file_name().unwrap_or_default());
        let mut content = fs::read(&made)?;
        if made.extension().is_some_and(|e| e == "rs") {
            content = [HEADER.as_bytes(), &content].concat();
        }
        if fs::read(&target).is_ok_and(|current| current == content) {
            continue;
        }
        if check {
            differing.push(target.display().to_string());
        } else {
            fs::write(&target, content).with_context(|| format!("cannot write {}", target.display()))?;
            println!("wrote {}", target.display());
        }
    }
    if !differing.is_empty() {
        bail!("out of date: {}; run `cargo xtask generate`", differing.join(", "));
    }
    Ok(())
}

/// Compiles files with all that they import.
fn compile(sources: &Path, files: &[&str]) -> anyhow::Result<Compiler> {
    let mut compiler = Compiler::new([sources])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(files).context("the .proto files do not compile")?;
    Ok(compiler)
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
