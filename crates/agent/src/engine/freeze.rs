//! Frozen copies of volumes, so that a backup shows one moment: a file system on LVM is read from a snapshot of its volume, a
//! subvolume of btrfs from a snapshot of itself. What cannot be frozen is read live, and a notice says so (contract for Yandex
//! clients, Y91).

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
};

use domain::policy::settings::Retry;

use super::{
    Reporter,
    mounts::{self, Mount},
    tries::try_again,
};

/// The word for a notice about a volume that is read live.
const NOT_FROZEN: &str = "notFrozen";

/// How the kernel calls it.
const BTRFS: &str = "btrfs";

/// Before the process id in the names of snapshots and mount points.
const PREFIX: &str = "backstay";

/// The space for what changes on the volume while its snapshot lasts.
const EXTENTS: &str = "10%ORIGIN";

/// Where to find files while they are read. What is not frozen is found where it is.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    copies: Vec<Copy>,
    /// Everything that is mounted: a mount below a frozen one is not in the copy.
    mounts: Vec<Mount>,
    /// Subvolumes below frozen ones: they are not in the copy either.
    nested: Vec<PathBuf>,
}

/// A frozen copy. It goes when this is dropped.
#[derive(Debug)]
struct Copy {
    /// Where the file system is mounted that it is a copy of.
    point: PathBuf,
    /// Where that is in the copy.
    shown: PathBuf,
    /// Where the copy is.
    folder: PathBuf,
    /// What has to be removed.
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A snapshot of LVM, as `group/name`, mounted on the folder.
    Logical(String),
    /// A snapshot of btrfs: the folder itself.
    Subvolume,
}

impl Frozen {
    /// Freeze what lies below `roots` and can be frozen.
    pub(super) fn new(roots: &[PathBuf], retries: Option<Retry>, reporter: &Reporter) -> Self {
        remove_leftovers();
        let mounts = mounts::all();
        let mut frozen = Self::default();
        let mut wanted: Vec<&Mount> = roots.iter().filter_map(|root| mounts::under(&mounts, root)).collect();
        wanted.sort_by(|a, b| a.point.cmp(&b.point));
        wanted.dedup_by(|a, b| a.point == b.point);
        for (number, mount) in wanted.into_iter().enumerate() {
            if mount.kind == BTRFS {
                frozen.nested.extend(nested(mount, reporter));
            }
            match freeze(mount, number, retries) {
                Ok(copy) => frozen.copies.extend(copy),
                Err(why) => reporter.notice(
                    NOT_FROZEN,
                    format!("{} could not be frozen and is read as it is: {why}", mount.point.display()),
                ),
            }
        }
        frozen.mounts = mounts;
        frozen
    }

    /// Whether this is where a copy is mounted, which is nobody's data.
    pub(super) fn holds(&self, path: &Path) -> bool {
        self.copies.iter().any(|copy| copy.folder == path)
    }

    /// Where the file at `path` is to be read.
    pub(super) fn place(&self, path: &Path) -> PathBuf {
        if !self.copies.is_empty()
            && !self.nested.iter().any(|nested| path.starts_with(nested))
            && let Some(mount) = mounts::under(&self.mounts, path)
            && let Some(copy) = self.copies.iter().find(|copy| copy.point == mount.point)
            && let Ok(below) = path.strip_prefix(&copy.point)
        {
            // Joining nothing would put a separator at the end.
            return if below.as_os_str().is_empty() { copy.shown.clone() } else { copy.shown.join(below) };
        }
        path.to_path_buf()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let folder = self.folder.display().to_string();
        let steps = match &self.kind {
            Kind::Logical(volume) => {
                vec![("umount", vec![folder.as_str()]), ("lvremove", vec!["--force", volume])]
            }
            Kind::Subvolume => vec![("btrfs", vec!["subvolume", "delete", &folder])],
        };
        for (program, args) in steps {
            if let Err(why) = run(program, &args) {
                // The next run removes what is left.
                eprintln!("{folder}: {why}");
            }
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

/// A copy of the file system, or none if it is of no kind that can be frozen.
fn freeze(mount: &Mount, number: usize, retries: Option<Retry>) -> Result<Option<Copy>, String> {
    if mount.kind == BTRFS {
        return try_again(retries, || snapshot_of(mount, number), |_| true).map(Some);
    }
    let Some(volume) = logical_volume(mount)? else { return Ok(None) };
    try_again(retries, || copy_of(mount, &volume, number), |_| true).map(Some)
}

/// A snapshot of a subvolume, in itself: nowhere else could it be made. It is not in itself.
fn snapshot_of(mount: &Mount, number: usize) -> Result<Copy, String> {
    let folder = mount.point.join(format!(".{}", name(number)));
    let args = [&mount.point, &folder].map(|path| path.display().to_string());
    run("btrfs", &["subvolume", "snapshot", "-r", &args[0], &args[1]])?;
    Ok(Copy { point: mount.point.clone(), shown: folder.clone(), folder, kind: Kind::Subvolume })
}

/// The subvolumes below one, which its snapshot leaves out.
fn nested(mount: &Mount, reporter: &Reporter) -> Vec<PathBuf> {
    let point = mount.point.display().to_string();
    // Without the tools it is not frozen, which is told then.
    let Ok(list) = output("btrfs", &["subvolume", "list", "-o", &point]) else { return Vec::new() };
    let within = mount.root.strip_prefix("/").unwrap_or(&mount.root);
    // `ID 257 gen 9 top level 256 path data/inner`: the path from the top of the file system.
    let paths = list.lines().filter_map(|line| Path::new(line.split_once(" path ")?.1).strip_prefix(within).ok());
    let found: Vec<_> = paths.map(|below| mount.point.join(below)).collect();
    for path in &found {
        let told = format!("{} is a subvolume below {point} and is read as it is", path.display());
        reporter.notice(NOT_FROZEN, told);
    }
    found
}

/// The name of a copy, by which a later process knows that its maker is gone.
fn name(number: usize) -> String {
    format!("{PREFIX}-{}-{number}", process::id())
}

/// Whether this is the name of a copy whose maker is gone.
fn is_left_over(name: &str) -> bool {
    let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')?.split('-').next());
    pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
}

/// The logical volume that a file system lies on, as `group/name`.
fn logical_volume(mount: &Mount) -> Result<Option<String>, String> {
    if !mount.source.starts_with('/') {
        return Ok(None);
    }
    let args = ["--noheadings", "--separator", "/", "--options", "vg_name,lv_name", &mount.source];
    match output("lvs", &args) {
        Ok(name) => Ok(Some(name.trim().to_owned()).filter(|name| name.contains('/'))),
        // Without the tools, the kernel still knows; then they are what is missing.
        Err(Trouble::NoProgram(why)) if is_logical(mount) => Err(why),
        Err(_) => Ok(None),
    }
}

fn is_logical(mount: &Mount) -> bool {
    fs::read_to_string(format!("/sys/dev/block/{}/dm/uuid", mount.device)).is_ok_and(|uuid| uuid.starts_with("LVM-"))
}

fn copy_of(mount: &Mount, volume: &str, number: usize) -> Result<Copy, String> {
    let name = name(number);
    let group = volume.split_once('/').map_or(volume, |(group, _)| group);
    run("lvcreate", &["--snapshot", "--extents", EXTENTS, "--name", &name, volume])?;
    let folder = std::env::temp_dir().join(&name);
    let shown = match mount.root.strip_prefix("/") {
        Ok(below) if !below.as_os_str().is_empty() => folder.join(below),
        _ => folder.clone(),
    };
    // From here on, dropping it cleans up.
    let snapshot = format!("{group}/{name}");
    let device = format!("/dev/{snapshot}");
    let copy = Copy { point: mount.point.clone(), shown, folder, kind: Kind::Logical(snapshot) };
    private_folder(&copy.folder).map_err(|error| format!("{}: {error}", copy.folder.display()))?;
    // Two file systems with one id are not mounted beside each other by XFS unless it is told to.
    let options = if mount.kind == "xfs" { "ro,nouuid" } else { "ro" };
    run("mount", &["-t", &mount.kind, "-o", options, &device, &copy.folder.display().to_string()])?;
    Ok(copy)
}

/// A new folder that only the agent can look into.
fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// Removes copies of processes that did not live to do it.
pub(super) fn remove_leftovers() {
    let remove = |folder, kind| drop(Copy { point: PathBuf::new(), shown: PathBuf::new(), folder, kind });
    let list = output("lvs", &["--noheadings", "--separator", "/", "--options", "vg_name,lv_name"]).unwrap_or_default();
    for volume in list.lines().map(str::trim) {
        if let Some((_, name)) = volume.split_once('/')
            && is_left_over(name)
        {
            remove(std::env::temp_dir().join(name), Kind::Logical(volume.to_owned()));
        }
    }
    for mount in mounts::all().iter().filter(|mount| mount.kind == BTRFS) {
        for entry in fs::read_dir(&mount.point).into_iter().flatten().flatten() {
            if entry.file_name().to_str().and_then(|name| name.strip_prefix('.')).is_some_and(is_left_over) {
                remove(entry.path(), Kind::Subvolume);
            }
        }
    }
}

#[derive(Debug)]
enum Trouble {
    NoProgram(String),
    Failed(String),
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    match output(program, args) {
        Ok(_) => Ok(()),
        Err(Trouble::NoProgram(why) | Trouble::Failed(why)) => Err(why),
    }
}

fn output(program: &str, args: &[&str]) -> Result<String, Trouble> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| Trouble::NoProgram(format!("`{program}` cannot be started: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    Err(Trouble::Failed(format!("`{program}` ended with {}: {said}", output.status)))
}
