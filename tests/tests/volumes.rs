//! Volumes, from a disk image through a real server and agent and back: bit by bit, and file by file.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use acceptance::machine::{Machine, Wish, only_backup, result};
use acceptance::restic::Restic;
use acceptance::{Place, Up, noise};
use api::client::ListQuery;
use api::{Backup, NewResource, Sources, Task};
use domain::resource::ResourceKind;
use domain::task::ResultCode;

/// An image with a file system that holds two files.
fn image(place: &Place, name: &str) -> std::path::PathBuf {
    let (image, folder) = (place.path(name), place.folder("folder"));
    fs::create_dir_all(folder.join("etc")).expect("a folder");
    fs::write(folder.join("etc/hosts"), "127.0.0.1 localhost\n").expect("a file");
    fs::write(folder.join("large"), noise(1, 4 << 20)).expect("a file");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-d"])
        .args([folder.as_os_str(), image.as_os_str(), "32M".as_ref()])
        .env("PATH", path)
        .status()
        .expect("mke2fs, of e2fsprogs");
    assert!(made.success());
    image
}

async fn protect(up: &Up<'_>, path: &Path, name: &str) -> Machine {
    let wish = Wish { name: name.to_owned(), kind: Some(ResourceKind::Volume), ..Wish::default() };
    Machine::wished(up, path, wish).await
}

/// The indexing of a backup, once it is over, and the backup as it is then.
async fn indexed(up: &Up<'_>, backup: &Backup) -> (Task, Backup) {
    let query = ListQuery::new().filter("type", "indexing").filter("resource", backup.resource).order("-id");
    let task = up.client().tasks(&query).await.expect("tasks").items.remove(0);
    assert!(!task.rules.cancellable);
    let task = up.completed(task.id).await;
    (task, up.client().backup(backup.id).await.expect("the backup"))
}

fn same(left: &Path, right: &Path) -> bool {
    fs::read(left).expect("a file") == fs::read(right).expect("a file")
}

#[tokio::test]
async fn a_volume_comes_back_whole_or_file_by_file() {
    let place = Place::new();
    let image = image(&place, "disk.img");
    let up = place.start();
    let disk = protect(&up, &image, "disk").await;

    let first = disk.back_up(&up).await;
    assert_eq!((first.files, first.size, first.kind.name()), (1, 32 << 20, "full"));
    assert!(first.added < 6 << 20, "{first:#?}");
    let (task, first) = indexed(&up, &first).await;
    assert_eq!(result(&task), ResultCode::Ok, "{:#?}", task.result);
    assert!(first.browsable && first.browsing_failed.is_empty(), "{first:#?}");
    let [found] = first.filesystems.as_slice() else { panic!("one file system: {first:#?}") };
    // lost+found, etc, etc/hosts and the large one.
    assert_eq!((found.path.as_str(), found.kind.as_str(), found.files), ("/", "ext4", Some(4)));

    // A block changes that nothing uses.
    let changed = place.path("changed.img");
    fs::copy(&image, &changed).expect("a copy");
    let file = File::options().write(true).open(&image).expect("the image");
    file.write_all_at(&noise(2, 4096), 30 << 20).expect("written");
    let second = disk.back_up(&up).await;
    assert_eq!((second.kind.name(), second.archive), ("incremental", first.archive));
    assert!(second.added < 1 << 20, "{second:#?}");
    let (task, second) = indexed(&up, &second).await;
    assert_eq!(result(&task), ResultCode::Ok, "{:#?}", task.result);

    // Both come back bit by bit, and nothing is overwritten.
    for (backup, original) in [(&first, &changed), (&second, &image)] {
        let to = place.path(&format!("restored-{}", backup.id));
        let args = ["restore", &backup.id.to_string(), "--to", to.to_str().expect("UTF-8")].map(str::to_owned);
        let _said = place.cli(&args).good();
        assert!(same(&to.join("disk.img"), original));
        fs::write(to.join("disk.img"), "mine").expect("a file");
        let refused = place.cli(&args);
        assert!(refused.to_string().contains("a restored image replaces nothing"), "{refused}");
        assert_eq!(fs::read_to_string(to.join("disk.img")).expect("a file"), "mine");
    }

    // Files: listed and restored by their paths on the volume.
    let listed = up.client().backup_files(first.id, "/etc", None, None).await.expect("a list");
    let paths: Vec<&str> = listed.items.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/etc/hosts"]);
    let to = place.path("files");
    let args =
        ["restore", "latest:disk", "--path", "/etc/hosts", "--to", to.to_str().expect("UTF-8")].map(str::to_owned);
    let _said = place.cli(&args).good();
    assert_eq!(fs::read_to_string(to.join("etc/hosts")).expect("a file"), "127.0.0.1 localhost\n");
    assert!(!to.join("large").exists());
    let shown = place.cli(&["backup", "show", "latest:disk"]).good();
    assert!(shown.out.contains("/ (ext4, 32.0 MiB, 4 entries)"), "{shown}");

    // What is no device stays as it is.
    let plain = place.path("plain");
    fs::write(&plain, "mine").expect("a file");
    let args =
        ["restore", "latest:disk", "--overwrite-device", "--to", plain.to_str().expect("UTF-8")].map(str::to_owned);
    let refused = place.cli(&args);
    assert!(refused.to_string().contains("no block device"), "{refused}");
    assert_eq!(fs::read_to_string(&plain).expect("a file"), "mine");
    Restic::of(&place).check();
}

#[tokio::test]
async fn what_cannot_be_browsed_is_backed_up_all_the_same_and_says_so() {
    let place = Place::new();
    let image = place.path("disk.img");
    fs::write(&image, [b"XFSB".as_slice(), &noise(1, 2 << 20)].concat()).expect("an image");
    let up = place.start();
    let disk = protect(&up, &image, "disk").await;
    let backup = disk.back_up(&up).await;
    let (task, backup) = indexed(&up, &backup).await;
    assert_eq!(result(&task), ResultCode::Warning);
    let warning = &task.result.expect("a result").warnings[0];
    assert_eq!(warning.code, "unsupportedFilesystem");
    assert!(warning.message.contains("'xfs'"), "{}", warning.message);
    assert!(!backup.browsable && backup.browsing_failed.contains("'xfs'"), "{backup:#?}");
    assert_eq!((backup.filesystems[0].kind.as_str(), backup.filesystems[0].files), ("xfs", None));
    let to = place.path("restored");
    let args = ["restore", "latest:disk", "--to", to.to_str().expect("UTF-8")].map(str::to_owned);
    let _said = place.cli(&args).good();
    assert!(same(&to.join("disk.img"), &image));

    // A volume is one place, and what is none is an error of the backup.
    let paths = vec!["/images/../etc/shadow".to_owned()];
    let new = NewResource {
        tenant: None,
        instance_id: None,
        kind: ResourceKind::Volume,
        name: "climbing".to_owned(),
        agent: None,
        sources: Sources { paths, excludes: Vec::new() },
        metadata: serde_json::Value::Null,
    };
    let refused = up.client().add_resource(&new).await.expect_err("a refusal").to_string();
    assert!(refused.contains("cannot be a block device"), "{refused}");
    let folder = protect(&up, &place.folder("folder"), "folder").await;
    let task = up.completed(folder.run(&up).await.id).await;
    assert_eq!(result(&task), ResultCode::Error);
    assert!(only_backup(&up.client(), task.id).await.is_none());
}
