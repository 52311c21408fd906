//! Small disks that can be filled: a file system of its own below a folder of a place, in a name space in which nobody else
//! sees it.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set where a test runs in its own name space.
const INSIDE: &str = "BACKSTAY_TEST_INSIDE";

/// Whether this is the name space of the test with this name; otherwise runs the test there, or says that it is skipped where
/// the system does not allow that, as in some containers.
///
/// # Panics
/// When the test fails there.
#[must_use]
pub fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let own = ["--mount", "--map-root-user"];
    let mut allowed = Command::new("unshare");
    allowed.args(own).args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).stderr(Stdio::null());
    if !allowed.status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no file system can be mounted here");
        return false;
    }
    let mut command = Command::new("unshare");
    command.args(own).arg(std::env::current_exe().expect("the path of this test"));
    let output =
        command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output().expect("unshare can be started");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{said}");
    assert!(output.status.success() && said.contains("1 passed"), "it failed in its name space");
    false
}

/// A disk of its own below a folder. It goes with this value.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one over an empty folder; the size is like `48m`.
    ///
    /// # Panics
    /// When it cannot be mounted, which [`inside`] has tried.
    #[must_use]
    pub fn over(folder: &Path, size: &str) -> SmallDisk {
        let size = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).status();
        assert!(mounted.is_ok_and(|status| status.success()), "it could be mounted a moment ago");
        SmallDisk(folder.to_owned())
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Fills the disk to its last byte, and then frees so much again.
    ///
    /// # Panics
    /// When writing fails for another reason than a full disk.
    pub fn fill_but(&self, free: u64) {
        let mut file = File::options().create(true).append(true).open(self.ballast()).expect("a file");
        for piece in [vec![0; 1 << 20], vec![0; 4096], vec![0; 1]] {
            loop {
                match file.write_all(&piece) {
                    Ok(()) => {}
                    Err(e) if e.kind() == ErrorKind::StorageFull => break,
                    Err(e) => panic!("the ballast cannot be written: {e}"),
                }
            }
        }
        drop(file);
        self.make_room(free);
    }

    /// Frees so much.
    ///
    /// # Panics
    /// When the disk was not filled before.
    pub fn make_room(&self, free: u64) {
        let file = File::options().write(true).open(self.ballast()).expect("a file");
        let length = file.metadata().expect("a length").len();
        file.set_len(length.saturating_sub(free)).expect("a shorter file");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Nobody can remove a folder on which something is mounted. The disk itself goes with its last user.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
