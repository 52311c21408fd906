//! What is mounted on the machine: which file systems are local ones that hold somebody's data, and which are views into the
//! kernel, lie on other machines, or show again what is mounted elsewhere.

use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// Local and worth keeping though no disk stands behind them directly.
const LOCAL_WITHOUT_DEVICE: &[&str] = &["zfs", "btrfs", "bcachefs", "ubifs"];

/// On a disk, and nobody's data: images of programs, read-only media.
const IMAGES: &[&str] = &["squashfs", "erofs", "cramfs", "romfs", "iso9660", "udf"];

/// One line of the kernel's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Which part of the file system is shown there; `/` = all of it.
    pub root: PathBuf,
    /// The kernel's number of the device, `major:minor`.
    pub device: String,
    /// What kind of file system it is.
    pub kind: String,
    /// The device or other source that it was mounted from.
    pub source: String,
}

/// Everything that is mounted and can be reached: what was mounted over is not in the list.
#[must_use]
pub fn all() -> Vec<Mount> {
    parse(&fs::read("/proc/self/mountinfo").unwrap_or_default())
}

/// The mount points of the local file systems, in the order of their paths.
#[must_use]
pub fn local() -> Vec<PathBuf> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let mut points: Vec<PathBuf> = local_of(&all(), &known).into_iter().map(|mount| mount.point).collect();
    // A file may be mounted on a file, as containers do with their host's.
    points.retain(|point| fs::metadata(point).is_ok_and(|meta| meta.is_dir()));
    points
}

/// The mount that `path` lies on.
#[must_use]
pub fn under<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    above.max_by_key(|mount| mount.point.components().count())
}

fn parse(mountinfo: &[u8]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in mountinfo.split(|byte| *byte == b'\n').filter_map(line) {
        // What comes later lies on top.
        mounts.retain(|before| before.point != mount.point);
        mounts.push(mount);
    }
    mounts
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda1 rw`
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = fields.nth(2)?;
    let root = fields.next()?;
    let point = fields.next()?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    Some(Mount {
        point: unescaped(point).into(),
        root: unescaped(root).into(),
        device: text(device),
        kind: text(rest.next()?),
        source: unescaped(rest.next()?).to_string_lossy().into_owned(),
    })
}

/// Blanks, tabs, line ends and backslashes are written as three octal digits.
fn unescaped(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if byte == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// The local file systems among `mounts`, each part of one once. `known` is the kernel's list of file systems, which says of
/// each whether it needs a device.
fn local_of(mounts: &[Mount], known: &str) -> Vec<Mount> {
    let without_device: HashSet<&str> = known.lines().filter_map(|line| line.strip_prefix("nodev\t")).collect();
    let mut found: Vec<&Mount> = mounts
        .iter()
        .filter(|mount| {
            let kind = mount.kind.as_str();
            // The top of a container is an overlay; below the top they are other containers' tops.
            let is_top = mount.point == Path::new("/");
            is_top
                || LOCAL_WITHOUT_DEVICE.contains(&kind)
                || !(without_device.contains(kind) || IMAGES.contains(&kind) || kind.starts_with("fuse."))
        })
        .collect();
    // The same part of the same file system is wanted once: where most of it is shown, and there where it was mounted first.
    found.sort_by_key(|mount| mount.root.components().count());
    let mut chosen: Vec<Mount> = Vec::new();
    for mount in found {
        if !chosen.iter().any(|other| other.device == mount.device && mount.root.starts_with(&other.root)) {
            chosen.push(mount.clone());
        }
    }
    chosen.sort_by(|a, b| a.point.cmp(&b.point));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str =
        "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\toverlay\nnodev\tnfs4\n\text4\n\tsquashfs\n\tvfat\n";

    fn points(mountinfo: &str) -> Vec<String> {
        local_of(&parse(mountinfo.as_bytes()), KNOWN).iter().map(|m| m.point.display().to_string()).collect()
    }

    #[test]
    fn local_file_systems_are_told_from_the_rest() {
        let machine = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw shared:2 - proc proc rw
24 22 0:6 / /run rw shared:3 - tmpfs tmpfs rw
25 22 8:2 / /boot/efi rw shared:4 - vfat /dev/sda2 rw
26 22 253:0 / /srv/my\\040data rw - ext4 /dev/mapper/vg-data rw
27 22 0:44 / /mnt/far rw shared:9 - nfs4 server:/export rw
28 22 7:0 / /snap/core/1 ro - squashfs /dev/loop0 ro
29 22 0:50 / /home rw - btrfs /dev/sdb rw
30 22 0:60 / /mnt/ssh rw - fuse.sshfs me@there: rw
31 22 0:70 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
";
        assert_eq!(points(machine), ["/", "/boot/efi", "/home", "/srv/my data"]);
    }

    #[test]
    fn what_is_shown_twice_is_taken_once() {
        let binds = "\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 8:1 /srv/www /var/www rw - ext4 /dev/sda1 rw
24 22 0:40 /@ /data rw - btrfs /dev/sdb rw
25 22 0:40 /@old /data/old rw - btrfs /dev/sdb rw
26 22 0:40 /@ /again rw - btrfs /dev/sdb rw
27 22 8:9 / /over rw - ext4 /dev/sdc rw
28 27 0:9 / /over rw - tmpfs tmpfs rw
";
        assert_eq!(points(binds), ["/", "/data", "/data/old"]);
    }

    #[test]
    fn a_container_has_its_top_at_least() {
        let container = "\
1 0 0:98 / / rw - overlay overlay rw
2 1 0:99 / /proc rw - proc proc rw
3 1 8:1 /hosts /etc/hosts rw - ext4 /dev/sda1 rw
";
        // That the second is a file is for the caller to see.
        assert_eq!(points(container), ["/", "/etc/hosts"]);
    }

    #[test]
    fn a_path_lies_on_the_deepest_mount() {
        let mounts = parse(b"1 0 8:1 / / rw - ext4 a rw\n2 1 8:2 / /home rw - ext4 b rw\n");
        assert_eq!(under(&mounts, Path::new("/home/x")).map(|m| m.source.as_str()), Some("b"));
        assert_eq!(under(&mounts, Path::new("/homes")).map(|m| m.source.as_str()), Some("a"));
    }
}
