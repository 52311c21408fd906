//! The `restic` program on the repository of a place, with the password as a person gets it who has only the data folder:
//! `backstay ledger repository-password`.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use crate::Place;
use crate::place::said;

/// The repository of a place, for `restic`.
#[derive(Debug)]
pub struct Restic<'p> {
    place: &'p Place,
    url: String,
    password: String,
}

impl<'p> Restic<'p> {
    /// Asks for the password. A server may run meanwhile.
    ///
    /// # Panics
    /// When the data folder does not hold what is needed.
    #[must_use]
    pub fn of(place: &'p Place) -> Restic<'p> {
        let data = place.data();
        let said =
            place.cli(&[OsStr::new("ledger"), "repository-password".as_ref(), "--data".as_ref(), data.as_ref()]).good();
        let url = data.join("repository").to_str().expect("the place has a plain name").to_owned();
        Restic { place, url, password: said.out.trim().to_owned() }
    }

    /// The password, to see where it does not stand.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Runs `restic` with these arguments; it must succeed.
    ///
    /// # Panics
    /// When it does not, or is not installed.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        let installed = std::process::Command::new("restic").arg("version").output().is_ok();
        assert!(installed, "`restic` is not installed; `cargo xtask test` installs it, or `apt-get install restic`");
        let mut command = self.place.command("restic");
        command.args(["--no-cache", "--repo", &self.url]).args(args).env("RESTIC_PASSWORD", &self.password);
        let said = said(&mut command).good();
        format!("{}{}", said.out, said.err)
    }

    /// The repository is in order to the last byte, and unlocked.
    ///
    /// # Panics
    /// When it is not.
    pub fn check(&self) {
        self.check_with(&["check", "--read-data"]);
    }

    /// The repository is in order as far as its index tells, and unlocked.
    ///
    /// # Panics
    /// When it is not.
    pub fn check_structure(&self) {
        self.check_with(&["check"]);
    }

    fn check_with(&self, args: &[&str]) {
        let text = self.run(args);
        assert!(text.contains("no errors were found"), "{text}");
        let locks = self.run(&["--no-lock", "list", "locks"]);
        assert_eq!(locks.trim(), "", "a lock was left behind");
    }

    /// How many snapshots each task has, by the task's uuid.
    ///
    /// # Panics
    /// When a snapshot is none of ours.
    #[must_use]
    pub fn snapshots_by_task(&self) -> BTreeMap<String, usize> {
        let text = self.run(&["--no-lock", "snapshots", "--json"]);
        let list: Vec<serde_json::Value> = serde_json::from_str(text.trim()).expect("a list of snapshots");
        let mut counts = BTreeMap::new();
        for snapshot in list {
            let tags = snapshot["tags"].as_array().expect("tags").iter().filter_map(|t| t.as_str());
            let task = tags.filter_map(|t| t.strip_prefix("backstay-task=")).next().expect("the task's uuid");
            *counts.entry(task.to_owned()).or_default() += 1;
        }
        counts
    }
}
