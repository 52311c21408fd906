//! Files that were damaged: the repository's, the server's key, the index's checkpoint. What needs them is refused with what
//! to do, and what does not goes on.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use acceptance::machine::{Machine, result};
use acceptance::tree::within;
use acceptance::{Place, Up, noise};
use domain::task::ResultCode;
use nix::sys::signal::Signal;

/// The largest file below a folder.
fn largest(folder: &Path) -> PathBuf {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            match entry.metadata().expect("an entry") {
                meta if meta.is_dir() => folders.push(entry.path()),
                meta => files.push((meta.len(), entry.path())),
            }
        }
    }
    files.into_iter().max().expect("a file").1
}

/// Does something while a file is damaged; it is whole again afterwards.
async fn while_damaged<T>(file: &Path, damage: impl FnOnce(&File, u64), then: impl AsyncFnOnce() -> T) -> T {
    let whole = fs::read(file).expect("a file");
    let mode = fs::metadata(file).expect("a file").permissions();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("a mode");
    damage(&File::options().write(true).open(file).expect("a file"), whole.len() as u64);
    let came = then().await;
    fs::write(file, whole).expect("whole again");
    fs::set_permissions(file, mode).expect("a mode");
    came
}

fn cut(file: &File, length: u64) {
    file.set_len(length / 2).expect("a shorter file");
}

/// How a run of the policy fails.
async fn failure(up: &Up<'_>, machine: &Machine) -> (String, String) {
    let ended = up.completed(machine.run(up).await.id).await;
    assert_eq!(result(&ended), ResultCode::Error, "{ended:#?}");
    let error = ended.result.and_then(|r| r.error).expect("a reason");
    (error.code, error.message)
}

#[tokio::test]
async fn a_damaged_repository_is_told_and_what_is_whole_comes_back() {
    let place = Place::new();
    let source = place.folder("source");
    fs::write(source.join("large"), noise(1, 40 << 20)).expect("a file");
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    machine.back_up(&up).await;
    // In a pack of its own.
    fs::write(source.join("small"), noise(2, 1 << 10)).expect("a file");
    let backup = machine.back_up(&up).await;
    let repository = place.data().join("repository");
    let id = backup.id.to_string();
    let restored = place.path("restored");

    while_damaged(&largest(&repository.join("data")), cut, async || {
        let verified = place.cli(&["backup", "verify", &id, "--wait"]).failed(3);
        assert!(verified.to_string().contains("large") && !verified.to_string().contains("/small"), "{verified}");
        let said = place.cli(&["restore", &id, "--to", &restored.display().to_string()]);
        assert!(said.to_string().contains("large"), "{said}");
        let small = fs::read(within(&restored, &source).join("small")).expect("a whole file");
        assert!(small == noise(2, 1 << 10));
        assert!(!within(&restored, &source).join("large").exists() || said.code != Some(0), "{said}");
    })
    .await;

    for kind in ["config", "keys", "index", "snapshots"] {
        let file = match kind {
            "config" => repository.join("config"),
            kind => largest(&repository.join(kind)),
        };
        let (code, message) = while_damaged(&file, cut, async || failure(&up, &machine).await).await;
        eprintln!("{kind}: {message}");
        assert_eq!(code, "repositoryDamaged", "{kind}: {message}");
        assert!(message.contains("docs/guides/repositories.md says how to mend it"), "{kind}: {message}");
    }
    let whole = place.cli(&["backup", "verify", &id, "--wait"]).good();
    assert!(!whole.to_string().contains("large"), "{whole}");
    machine.back_up(&up).await;
}

#[tokio::test]
async fn a_server_without_its_key_does_not_start() {
    let place = Place::new();
    let source = place.folder("source");
    fs::write(source.join("file"), "text").expect("a file");
    let up = place.start();
    let machine = Machine::protect(&up, &source).await;
    machine.back_up(&up).await;
    let _ = up.stop(Signal::SIGTERM).good();

    let key = place.data().join("keys/server.key");
    let told = while_damaged(&key, cut, async || place.up().start_in_vain().failed(1)).await;
    assert!(told.err.contains("holds no server key") && told.err.contains("restore it from a copy"), "{told}");
    fs::rename(&key, place.path("aside")).expect("moved");
    let told = place.up().start_in_vain().failed(1);
    eprintln!("{told}");
    assert!(told.err.contains("server.key") && told.err.contains("restore it from a copy"), "{told}");
    assert!(!key.exists(), "a new one would open nothing");
    fs::rename(place.path("aside"), &key).expect("moved back");
    let up = place.start();
    machine.back_up(&up).await;
}
