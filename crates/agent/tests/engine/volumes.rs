//! What is on volumes: file systems of real tools, found, listed and restored out of the repository without mounting anything.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use agent::engine::{
    Engine, EngineError, ErrorCode, FileKind, FileList, ListFilesJob, Overwrite, PackJob, RawPath, Reporter,
    RestoreJob, SurveyJob, SurveySummary,
};

use crate::{
    streams::{MIB, digest, image_job, stored, volume_job},
    support::{Bench, noise, odd_name},
};

/// Run a tool; it must succeed.
fn run(program: &str, args: &[&OsStr]) {
    run_with(program, args, "");
}

fn run_with(program: &str, args: &[&OsStr], input: &str) {
    // Administrators' tools are not in everybody's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let child = Command::new(program)
        .args(args)
        .env("PATH", path)
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("cannot start `{program}` ({error}); it is in e2fsprogs, dosfstools, mtools, fdisk or qemu-utils")
    });
    // It may not care for what it is told.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A folder with what file systems have to keep.
fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("etc/deep")).expect("folders");
    fs::write(folder.join("etc/hosts"), "127.0.0.1 localhost\n").expect("a file");
    fs::write(folder.join("etc/deep/large"), noise(5, 3 << 20)).expect("a file");
    fs::set_permissions(folder.join("etc/hosts"), fs::Permissions::from_mode(0o640)).expect("permissions");
    let sparse = File::create(folder.join("sparse")).expect("a file");
    sparse.set_len(2 * MIB).and_then(|()| sparse.write_all_at(b"end", 2 * MIB - 3)).expect("written");
    symlink("etc/hosts", folder.join("link")).expect("a link");
}

/// An image of `size` mebibytes with a file system of this type and with `folder` in it.
fn ext(kind: &str, image: &Path, folder: &Path, size: &str) {
    let args = ["-q", "-F", "-t", kind, "-L", "data", "-U", "3f2f1c3e-0a8e-4f3e-9a52-6d7f0a1b2c3d", "-d"];
    let mut args: Vec<&OsStr> = args.iter().map(OsStr::new).collect();
    args.extend([folder.as_os_str(), image.as_os_str(), OsStr::new(size)]);
    run("mke2fs", &args);
}

/// A FAT of 8 mebibytes with two files in it.
fn fat(bench: &Bench, image: &Path) {
    run(
        "mkfs.vfat",
        &["-n", "BOOT", "-i", "1234abcd", "-C"]
            .map(OsStr::new)
            .iter()
            .copied()
            .chain([image.as_os_str(), OsStr::new("8192")])
            .collect::<Vec<_>>(),
    );
    let text = bench.path("A long name.txt");
    fs::write(&text, "on a FAT").expect("a file");
    run("mmd", &["-i".as_ref(), image.as_os_str(), "::EFI".as_ref()]);
    run("mcopy", &["-i".as_ref(), image.as_os_str(), text.as_os_str(), "::EFI/".as_ref()]);
}

/// A disk with a table and these images in its partitions, each at its mebibyte.
fn disk(path: &Path, size: u64, table: &str, parts: &[(u64, &Path)]) {
    let disk = File::create_new(path).expect("a new file");
    disk.set_len(size * MIB).expect("a length");
    run_with("sfdisk", &["--quiet".as_ref(), path.as_os_str()], table);
    for (at, image) in parts {
        disk.write_all_at(&fs::read(image).expect("an image"), at * MIB).expect("written");
    }
}

fn survey(bench: &Bench, snapshot: &str) -> SurveySummary {
    let job = SurveyJob { snapshot: snapshot.to_owned() };
    bench.engine().survey(&job, &Reporter::silent()).expect("a survey")
}

fn list(bench: &Bench, snapshot: &str, path: &str) -> Result<FileList, EngineError> {
    bench.engine().list_files(&ListFilesJob {
        snapshot: snapshot.to_owned(),
        path: RawPath::from(path),
        ..ListFilesJob::default()
    })
}

fn names(bench: &Bench, snapshot: &str, path: &str) -> String {
    let names: Vec<String> =
        list(bench, snapshot, path).expect("a list").entries.iter().map(|entry| entry.name.to_string()).collect();
    names.join(" ")
}

fn files_job(snapshot: &str, target: &Path, paths: &[&str]) -> RestoreJob {
    let paths = paths.iter().map(|path| RawPath::from(*path)).collect();
    RestoreJob { snapshot: snapshot.to_owned(), target: target.into(), paths, ..RestoreJob::default() }
}

#[test]
fn files_on_partitions_are_found_listed_and_restored() {
    let bench = Bench::new();
    let (ext_image, fat_image, folder) = (bench.path("ext"), bench.path("fat"), bench.path("folder"));
    fill(&folder);
    fs::write(folder.join(odd_name()), "odd").expect("a file");
    ext("ext4", &ext_image, &folder, "32M");
    fat(&bench, &fat_image);
    let foreign = bench.path("foreign");
    fs::write(&foreign, [b"XFSB".as_slice(), &noise(3, 4096)].concat()).expect("a file");
    let table = "label: gpt\nstart=1MiB,size=1MiB,type=21686148-6449-6E6F-744E-656564454649\nstart=2MiB,size=8MiB\n\
                 start=10MiB,size=32MiB\nstart=42MiB,size=4MiB\nstart=46MiB,size=1MiB\n";
    let path = bench.path("disk.img");
    disk(&path, 48, table, &[(2, &fat_image), (10, &ext_image), (42, &foreign)]);
    let snapshot = stored(&bench, &path).snapshot;
    // What follows reads the repository and nothing else.
    fs::remove_file(&path).expect("removed");

    let found = survey(&bench, &snapshot).filesystems;
    let kinds: Vec<_> = found.iter().map(|found| (found.path.as_str(), found.kind.as_str(), found.files)).collect();
    // lost+found, etc, etc/deep, two files in them, the sparse one, the odd one and the link.
    assert_eq!(kinds, [("/p2", "vfat", Some(2)), ("/p3", "ext4", Some(8)), ("/p4", "xfs", None)]);
    assert_eq!((found[0].native_id.as_str(), found[0].label.as_str()), ("1234-ABCD", "BOOT"));
    assert_eq!(found[1].native_id, "3f2f1c3e-0a8e-4f3e-9a52-6d7f0a1b2c3d");
    assert_eq!((found[1].label.as_str(), found[1].offset, found[1].size), ("data", 10 * MIB, 32 * MIB));
    let used = found[1].used.expect("known");
    assert!((3 * MIB..16 * MIB).contains(&used), "{used}");
    assert_eq!(found[2].failure, "what is in a file system of type 'xfs' cannot be listed here");

    assert_eq!(names(&bench, &snapshot, "/"), "p2 p3");
    assert_eq!(names(&bench, &snapshot, "/p2/EFI"), "A long name.txt");
    assert_eq!(names(&bench, &snapshot, "/p3/etc"), "deep hosts");
    let hosts = list(&bench, &snapshot, "/p3/etc").expect("a list").entries.pop().expect("an entry");
    assert_eq!((hosts.path.to_string().as_str(), hosts.kind, hosts.size), ("/p3/etc/hosts", FileKind::File, 20));
    assert_eq!(hosts.mode, Some(0o640));
    assert_eq!(list(&bench, &snapshot, "/p3/none").expect_err("an error").code, ErrorCode::PathNotInBackup);
    assert_eq!(list(&bench, &snapshot, "/p4").expect_err("an error").code, ErrorCode::PathNotInBackup);
    assert_eq!(list(&bench, &snapshot, "/p3/etc/hosts").expect_err("an error").code, ErrorCode::NotADirectory);

    let target = bench.path("target");
    let job = files_job(&snapshot, &target, &["/p3/etc", "/p3/link", "/p2/EFI/A long name.txt"]);
    let (restored, heard) = bench.restore(&job);
    assert_eq!(heard.warnings(), []);
    let restored = restored.expect("a restore");
    assert_eq!((restored.files, restored.specials, restored.directories), (3, 1, 2));
    assert!(fs::read(target.join("p3/etc/deep/large")).expect("a file") == noise(5, 3 << 20));
    assert_eq!(fs::read_link(target.join("p3/link")).expect("a link"), Path::new("etc/hosts"));
    assert_eq!(fs::read_to_string(target.join("p2/EFI/A long name.txt")).expect("a file"), "on a FAT");
    let [was, is] =
        [folder.join("etc/hosts"), target.join("p3/etc/hosts")].map(|path| fs::metadata(path).expect("metadata"));
    assert_eq!((is.mode(), is.mtime(), is.len()), (was.mode(), was.mtime(), was.len()));

    // Again: nothing is written; and by name, what was asked for lies there itself.
    assert_eq!(bench.restore(&job).0.expect("a restore").files_unchanged, 3);
    let named = bench.path("named");
    let job = RestoreJob { by_name: true, ..files_job(&snapshot, &named, &["/p3/sparse", "/p3/etc/deep"]) };
    bench.restore(&job).0.expect("a restore");
    let sparse = fs::metadata(named.join("sparse")).expect("metadata");
    assert!(sparse.len() == 2 * MIB && sparse.blocks() * 512 < MIB);
    assert!(named.join("deep/large").exists());
    // The root of a file system has no name.
    let rooted = bench.path("rooted");
    bench.restore(&RestoreJob { by_name: true, ..files_job(&snapshot, &rooted, &["/p3"]) }).0.expect("a restore");
    assert_eq!(fs::read(rooted.join(odd_name())).expect("a file"), b"odd");

    // One file is handed out as it is, several as an archive.
    let packed = bench.path("packed");
    let pack = |paths: &[&str]| {
        let paths = paths.iter().map(|path| RawPath::from(*path)).collect();
        let job = PackJob { snapshot: snapshot.clone(), paths, target: RawPath::from(&*packed) };
        bench.engine().pack(&job, &Reporter::silent()).expect("a file")
    };
    let made = pack(&["/p3/etc/hosts"]);
    assert_eq!((made.packed, made.bytes, fs::read(&packed).expect("a file").len()), (false, 20, 20));
    let made = pack(&["/p3/etc", "/p3/link", "/p2/EFI"]);
    assert_eq!((made.packed, made.files), (true, 4));
    let list = Command::new("tar").arg("-tzf").arg(&packed).output().expect("tar");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let mut list: Vec<&str> = list.lines().collect();
    list.sort_unstable();
    assert_eq!(list, ["EFI/", "EFI/A long name.txt", "etc/", "etc/deep/", "etc/deep/large", "etc/hosts", "link"]);

    // What stands in the way stays, as far as that was wished, and links are not followed.
    fs::write(named.join("hosts"), "mine").expect("a file");
    let job = files_job(&snapshot, &named, &["/p3/etc/hosts"]);
    let job = RestoreJob { by_name: true, overwrite: Overwrite::Never, ..job };
    assert_eq!(bench.restore(&job).0.expect("a restore").skipped, 1);
    assert_eq!(fs::read_to_string(named.join("hosts")).expect("a file"), "mine");
    let outside = bench.path("outside");
    fs::create_dir(&outside).and_then(|()| symlink(&outside, target.join("p3/etc/deep2"))).expect("a link");
    fs::remove_dir_all(target.join("p3/etc/deep"))
        .and_then(|()| symlink(&outside, target.join("p3/etc/deep")))
        .expect("a link");
    let (restored, heard) = bench.restore(&files_job(&snapshot, &target, &["/p3/etc/deep"]));
    assert!(restored.is_err() && heard.warnings().len() == 1);
    assert_eq!(fs::read_dir(&outside).expect("a folder").count(), 0);
    let error = bench.restore(&files_job(&snapshot, Path::new("/"), &["/p3/etc/hosts"])).0.expect_err("a refusal");
    assert_eq!(error.code, ErrorCode::InvalidJob);
}

#[test]
fn a_file_system_may_fill_the_volume_or_lie_in_a_logical_partition() {
    let bench = Bench::new();
    let folder = bench.path("folder");
    fill(&folder);
    for kind in ["ext2", "ext3", "ext4"] {
        let image = bench.path(kind);
        ext(kind, &image, &folder, "16M");
        let snapshot = stored(&bench, &image).snapshot;
        let found = survey(&bench, &snapshot).filesystems;
        assert_eq!((found.len(), found[0].path.as_str(), found[0].kind.as_str()), (1, "/", kind));
        assert_eq!(found[0].files, Some(7));
        assert_eq!(names(&bench, &snapshot, "/"), "etc link lost+found sparse");
    }
    let fat_image = bench.path("fat");
    fat(&bench, &fat_image);
    let snapshot = stored(&bench, &fat_image).snapshot;
    assert_eq!(survey(&bench, &snapshot).filesystems[0].path, "/");
    assert_eq!(names(&bench, &snapshot, "/EFI"), "A long name.txt");

    let path = bench.path("disk.img");
    let table = "label: dos\nstart=1MiB,size=8MiB,type=c\nstart=9MiB,type=5\nstart=10MiB,size=16MiB,type=83\n";
    // The second entry is the chain, and the first in the chain has the number 5.
    let table = table.replace("start=10MiB", "5 : start=10MiB").replace("start=9MiB", "2 : start=9MiB");
    disk(&path, 32, &table.replace("start=1MiB", "1 : start=1MiB"), &[(1, &fat_image), (10, &bench.path("ext4"))]);
    let snapshot = stored(&bench, &path).snapshot;
    let found = survey(&bench, &snapshot).filesystems;
    let kinds: Vec<_> = found.iter().map(|found| (found.path.as_str(), found.kind.as_str())).collect();
    assert_eq!(kinds, [("/p1", "vfat"), ("/p5", "ext4")]);
}

#[test]
fn what_nobody_knows_is_said_and_what_is_empty_is_nothing() {
    let bench = Bench::new();
    let unknown = bench.path("unknown");
    fs::write(&unknown, noise(1, 1 << 20)).expect("a file");
    let snapshot = stored(&bench, &unknown).snapshot;
    let found = survey(&bench, &snapshot).filesystems;
    assert_eq!((found[0].kind.as_str(), found[0].files), ("unknown", None));
    assert_eq!(found[0].failure, "there is no file system that is known here");
    assert_eq!(names(&bench, &snapshot, "/"), "");

    let empty = bench.path("empty");
    File::create_new(&empty).and_then(|file| file.set_len(MIB)).expect("a file");
    let snapshot = stored(&bench, &empty).snapshot;
    assert_eq!(survey(&bench, &snapshot).filesystems, []);

    // A file system that is damaged in its middle is read as far as it goes.
    let (image, folder) = (bench.path("image"), bench.path("folder"));
    fill(&folder);
    ext("ext4", &image, &folder, "16M");
    let file = File::options().write(true).open(&image).expect("an image");
    file.write_all_at(&[0xff; 200], 1024).expect("written");
    file.write_all_at(&[0x53, 0xef], 1080).expect("written");
    let snapshot = stored(&bench, &image).snapshot;
    let found = survey(&bench, &snapshot).filesystems;
    assert_eq!(found[0].files, None);
    assert!(found[0].failure.starts_with("the ext file system cannot be read: "), "{}", found[0].failure);
}

#[test]
fn a_changed_file_costs_little_more_than_itself() {
    let bench = Bench::new();
    let (image, folder) = (bench.path("image"), bench.path("folder"));
    fs::create_dir(&folder).expect("a folder");
    for number in 0..12 {
        fs::write(folder.join(format!("{number}")), noise(number, 4 << 20)).expect("a file");
    }
    ext("ext4", &image, &folder, "128M");
    let first = stored(&bench, &image);
    let text = bench.path("new");
    fs::write(&text, noise(99, 1 << 20)).expect("a file");
    let write = format!("write {} new", text.display());
    run(
        "debugfs",
        &["-w", "-R", &write].map(OsStr::new).iter().copied().chain([image.as_os_str()]).collect::<Vec<_>>(),
    );
    let second = stored(&bench, &image);
    println!("first {} new, then {} new for one file of 1 MiB", first.bytes_added_files, second.bytes_added_files);
    assert!(second.bytes_added_files <= 5 * MIB, "{} bytes for a file of one mebibyte", second.bytes_added_files);
}

fn qemu_img(args: &[&OsStr]) {
    run("qemu-img", args);
}

#[test]
fn an_image_of_qcow2_is_stored_as_the_disk_that_it_holds() {
    let bench = Bench::new();
    let (raw, folder) = (bench.path("raw"), bench.path("folder"));
    fill(&folder);
    ext("ext4", &raw, &folder, "24M");
    let image: PathBuf = bench.path("disk.qcow2");
    let to_qcow2 = ["convert", "-c", "-f", "raw", "-O", "qcow2"].map(OsStr::new);
    qemu_img(&to_qcow2.iter().copied().chain([raw.as_os_str(), image.as_os_str()]).collect::<Vec<_>>());
    let summary = stored(&bench, &image);
    assert_eq!((summary.bytes, summary.sha256.as_deref()), (24 * MIB, Some(&*digest(&raw))));
    // The same disk, raw: nothing is new.
    assert_eq!(stored(&bench, &raw).bytes_added_files, 0);
    assert_eq!(names(&bench, &summary.snapshot, "/etc"), "deep hosts");
    let target = bench.path("target");
    bench.restore(&image_job(&summary, &target)).0.expect("a restore");
    assert_eq!(digest(&target.join("disk.qcow2.raw")), digest(&raw));

    // One that rests on another shows that, and passes for what it is only under its own name.
    let overlay = bench.path("overlay.qcow2");
    let create = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"].map(OsStr::new);
    qemu_img(&create.iter().copied().chain([image.as_os_str(), overlay.as_os_str()]).collect::<Vec<_>>());
    assert_eq!(stored(&bench, &overlay).sha256, summary.sha256);
    let hidden = bench.path("hidden.img");
    fs::rename(&overlay, &hidden).expect("renamed");
    let error = bench.backup(&volume_job(&hidden)).0.expect_err("a refusal");
    assert_eq!(error.code, ErrorCode::InvalidJob);

    // What is no image though it begins like one.
    let broken = bench.path("broken.qcow2");
    fs::write(&broken, [b"QFI\xfb\0\0\0\x03".as_slice(), &[0; 4096]].concat()).expect("a file");
    let error = bench.backup(&volume_job(&broken)).0.expect_err("an error");
    assert!(error.message.starts_with("qemu-nbd does not serve the image: "), "{}", error.message);
}
