//! What can be told from files: who may read them, how much room there is, and whether somebody holds a lock.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::Findings;
use crate::format;

/// Looks whether only the owner gets at these, folders and files; what is not there is left out.
pub(super) fn private(paths: &[&Path], findings: &mut Findings) {
    let before = findings.0.len();
    for path in paths {
        let mode = match fs::metadata(path) {
            Ok(about) => about.permissions().mode() & 0o7777,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                let advice = "look at it as its owner (sudo)";
                findings.bad("permissions", format!("{} cannot be looked at: {error}", path.display()), advice);
                continue;
            }
        };
        if mode & 0o077 != 0 {
            let message = format!("{} has mode {mode:04o}, so that others get at it", path.display());
            findings.bad("permissions", message, format!("chmod go= {}", path.display()));
        }
    }
    if findings.0.len() == before {
        findings.good("permissions", "keys and tokens are readable for their owner only");
    }
}

/// Looks how much is free where these lie; several on one disk are one finding.
pub(super) fn room(folders: &[(&str, &Path)], min_free: u64, findings: &mut Findings) {
    let mut disks: Vec<(u64, Vec<&str>, u64, u64)> = Vec::new();
    for (name, folder) in folders.iter().filter(|(_, folder)| folder.exists()) {
        let looked = fs::metadata(folder).and_then(|meta| Ok((meta.dev(), rustix::fs::statvfs(*folder)?)));
        match looked {
            Ok((disk, about)) => {
                let free = about.f_bavail.saturating_mul(about.f_frsize);
                let size = about.f_blocks.saturating_mul(about.f_frsize);
                match disks.iter_mut().find(|known| known.0 == disk) {
                    Some(known) => known.1.push(name),
                    None => disks.push((disk, vec![name], free, size)),
                }
            }
            Err(error) => {
                findings.bad("disk", format!("{}: {error}", folder.display()), "look whether it is mounted");
            }
        }
    }
    for (_, names, free, size) in disks {
        let message = format!("{} free for {}", format::size(free), names.join(", "));
        if free < min_free {
            let advice = format!("make room: {} are the least", format::size(min_free));
            findings.bad("disk", message, advice);
        } else if free < size / 20 {
            findings.warning("disk", format!("{message}, less than a twentieth"), "make room before it is full");
        } else {
            findings.good("disk", message);
        }
    }
}

/// Whether somebody holds a lock.
pub(super) enum Lock {
    /// A running server or agent.
    Held,
    /// Nobody.
    Free,
    /// It cannot be told.
    Unknown,
}

/// Looks at the lock of this file.
pub(super) fn lock(file: &Path) -> Lock {
    let file = match fs::File::open(file) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Lock::Free,
        Err(_) => return Lock::Unknown,
    };
    match file.try_lock() {
        Ok(()) => Lock::Free,
        Err(fs::TryLockError::WouldBlock) => Lock::Held,
        Err(fs::TryLockError::Error(_)) => Lock::Unknown,
    }
}
