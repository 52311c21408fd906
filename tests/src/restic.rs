//! The `restic` program on the repository of a place, with the password as a person recovers it who has only the data
//! folder: out of the ledger, opened with `keys/server.key`.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use domain::Scope;
use domain::repository::Repository;
use ledger::{Ledger, SqliteLedger};
use server::config::DataFolder;
use server::secrets::Sealer;

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
    /// Recovers the password. A server may run meanwhile.
    ///
    /// # Panics
    /// When the data folder does not hold what is needed.
    pub async fn of(place: &'p Place) -> Restic<'p> {
        let folder = DataFolder::new(place.data());
        let sealer = Sealer::from_file(&folder.server_key()).expect("the server's key");
        let ledger = SqliteLedger::open(&folder.ledger()).expect("the ledger");
        let all: &dyn Ledger = &ledger;
        let found = all.find::<Repository>(&Scope::everything(), "local").await.expect("a ledger that can be read");
        let repository = found.expect("the local repository").value;
        ledger.close().await.expect("the ledger closes");
        let password = sealer.open(&repository.sealed_password).expect("a password sealed under this key");
        Restic { place, url: repository.url, password }
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
        let text = self.run(&["check", "--read-data"]);
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
