//! Frozen copies of volumes: a file system on LVM is read from a snapshot of its volume, so that the backup shows one moment.
//! What cannot be frozen is read live, and a notice says so (contract for Yandex clients, Y91).

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
}

/// A frozen copy. It goes when this is dropped.
#[derive(Debug)]
struct Copy {
    /// Where the file system is mounted that it is a copy of.
    point: PathBuf,
    /// Where that is in the copy.
    shown: PathBuf,
    /// Where the copy is mounted.
    folder: PathBuf,
    /// The snapshot, as `group/name`.
    volume: String,
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
        for (program, args) in [("umount", vec![folder.as_str()]), ("lvremove", vec!["--force", &self.volume])] {
            if let Err(why) = run(program, &args) {
                // The next run removes what is left.
                eprintln!("{}: {why}", self.volume);
            }
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

/// A copy of the file system, or none if it does not lie on LVM.
fn freeze(mount: &Mount, number: usize, retries: Option<Retry>) -> Result<Option<Copy>, String> {
    let Some(volume) = logical_volume(mount)? else { return Ok(None) };
    try_again(retries, || copy_of(mount, &volume, number), |_| true).map(Some)
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
    let name = format!("{PREFIX}-{}-{number}", process::id());
    let group = volume.split_once('/').map_or(volume, |(group, _)| group);
    run("lvcreate", &["--snapshot", "--extents", EXTENTS, "--name", &name, volume])?;
    let folder = std::env::temp_dir().join(&name);
    let shown = match mount.root.strip_prefix("/") {
        Ok(below) if !below.as_os_str().is_empty() => folder.join(below),
        _ => folder.clone(),
    };
    // From here on, dropping it cleans up.
    let copy = Copy { point: mount.point.clone(), shown, folder, volume: format!("{group}/{name}") };
    private_folder(&copy.folder).map_err(|error| format!("{}: {error}", copy.folder.display()))?;
    // Two file systems with one id are not mounted beside each other by XFS unless it is told to.
    let options = if mount.kind == "xfs" { "ro,nouuid" } else { "ro" };
    let device = format!("/dev/{}", copy.volume);
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
    let Ok(list) = output("lvs", &["--noheadings", "--separator", "/", "--options", "vg_name,lv_name"]) else { return };
    for volume in list.lines().map(str::trim) {
        let Some((_, name)) = volume.split_once('/') else { continue };
        let Some(pid) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')?.split('-').next()) else {
            continue;
        };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            let folder = std::env::temp_dir().join(name);
            drop(Copy { point: PathBuf::new(), shown: PathBuf::new(), folder, volume: volume.to_owned() });
        }
    }
}

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
