//! Gives restored files their owner, extended attributes, permissions and times back, in this order:
//! a change of owner clears setuid bits, and a file without write permission takes no attributes.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, fchown, lchown},
    },
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::{
    fcntl::AT_FDCWD,
    libc,
    sys::{
        stat::{UtimensatFlags, futimens, utimensat},
        time::TimeSpec,
    },
    unistd::Uid,
};
use rustic_core::{jiff::Timestamp, repofile::Node};
use xattr::FileExt;

use super::node;
use crate::engine::Reporter;

/// Where attributes go. Files and directories are held open, so that nobody can put a link in their place
/// between writing and `chmod`.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// A file or directory.
    Open(&'a File),
    /// A symbolic link, pipe, socket or device, which cannot be opened without consequences.
    Special(&'a Path),
}

/// Sets attributes; what fails is a warning.
pub(super) struct Attributes {
    reporter: Reporter,
    is_root: bool,
    /// Entries that kept the restoring user as owner because only root may give files away.
    not_given_away: AtomicU64,
}

impl Attributes {
    pub(super) fn new(reporter: Reporter) -> Self {
        Self { reporter, is_root: Uid::effective().is_root(), not_given_away: AtomicU64::new(0) }
    }

    /// Give what is at `place` the attributes of `node`. `path` is for warnings.
    pub(super) fn apply(&self, place: Place<'_>, node: &Node, path: &Path) {
        self.apply_all(place, node, path, true);
    }

    /// The same for a directory that only leads to what is restored. It is no loss if that stays with
    /// the restoring user: directories like `/home` belong to root, and anyone may restore below a copy.
    pub(super) fn apply_to_lead(&self, directory: &File, node: &Node, path: &Path) {
        self.apply_all(Place::Open(directory), node, path, false);
    }

    fn apply_all(&self, place: Place<'_>, node: &Node, path: &Path, owner_matters: bool) {
        let warn = |what: &str, error: io::Error| {
            self.reporter.warn(Some(path), format!("cannot restore the {what}: {error}"));
        };
        let mut may_keep_setuid = true;
        if let Err(error) = set_owner(place, node) {
            may_keep_setuid = false;
            if error.kind() == io::ErrorKind::PermissionDenied && !self.is_root {
                self.not_given_away.fetch_add(u64::from(owner_matters), Ordering::Relaxed);
            } else {
                warn("owner", error);
            }
        }
        for attribute in &node.meta.extended_attributes {
            let value = attribute.value.as_deref().unwrap_or_default();
            let set = match place {
                Place::Open(file) => file.set_xattr(&attribute.name, value),
                Place::Special(path) => xattr::set(path, &attribute.name, value),
            };
            if let Err(error) = set {
                warn(&format!("extended attribute {}", attribute.name), error);
            }
        }
        if let Some(mode) = node.meta.mode
            && !node.is_symlink()
        {
            let mut mode = node::permissions(mode);
            if !may_keep_setuid {
                // It would lend the rights of the wrong owner.
                mode &= !0o6000;
            }
            let set = match place {
                Place::Open(file) => file.set_permissions(Permissions::from_mode(mode)),
                Place::Special(path) => fs::set_permissions(path, Permissions::from_mode(mode)),
            };
            if let Err(error) = set {
                warn("permissions", error);
            }
        }
        if let Err(error) = set_times(place, node) {
            warn("modification time", error);
        }
    }

    /// Say once what would otherwise be said for each file.
    pub(super) fn finish(&self) {
        let count = self.not_given_away.load(Ordering::Relaxed);
        if count > 0 {
            self.reporter
                .warn(None, format!("{count} files could not be given to their owner or group: only root may do that"));
        }
    }
}

/// The owner goes by number, as restic has it: names may mean someone else on another machine.
fn set_owner(place: Place<'_>, node: &Node) -> io::Result<()> {
    let (uid, gid) = (node.meta.uid, node.meta.gid);
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    let now = match place {
        Place::Open(file) => file.metadata()?,
        Place::Special(path) => fs::symlink_metadata(path)?,
    };
    if uid.is_none_or(|uid| uid == now.uid()) && gid.is_none_or(|gid| gid == now.gid()) {
        return Ok(());
    }
    match place {
        Place::Open(file) => fchown(file, uid, gid),
        Place::Special(path) => lchown(path, uid, gid),
    }
}

fn set_times(place: Place<'_>, node: &Node) -> io::Result<()> {
    let Some(mtime) = node.meta.mtime else { return Ok(()) };
    let (atime, mtime) = (time_spec(node.meta.atime.unwrap_or(mtime)), time_spec(mtime));
    match place {
        Place::Open(file) => futimens(file, &atime, &mtime)?,
        Place::Special(path) => {
            utimensat(AT_FDCWD, path.as_os_str().as_bytes(), &atime, &mtime, UtimensatFlags::NoFollowSymlink)?;
        }
    }
    Ok(())
}

/// Seconds rounded down and nanoseconds that count upwards, also before 1970.
fn time_spec(time: Timestamp) -> TimeSpec {
    let nanoseconds = time.as_nanosecond();
    let second = i128::from(1_000_000_000);
    let seconds = libc::time_t::try_from(nanoseconds.div_euclid(second)).unwrap_or(libc::time_t::MAX);
    let rest = libc::c_long::try_from(nanoseconds.rem_euclid(second)).unwrap_or(0);
    TimeSpec::new(seconds, rest)
}
