//! How a policy backs up: what to leave out, how hard to compress, how often to try again, what to run around it. Words of
//! the field, without a vendor's: dialects translate theirs into these. Everything has a default, so that what was stored
//! before a setting existed still reads.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::calendar::Interval;
use crate::error::{Error, Result};
use crate::work::MOST_SAMPLED;
use crate::{SignedDuration, Timestamp, named_enum};

/// The most masks and globs of one policy, together (contract for Yandex clients, Y7: 1000; globs come on top).
pub const MAX_MASKS: usize = 2000;
/// The longest mask, in characters.
pub const MAX_MASK: usize = 4096;
/// The most commands of one policy.
pub const MAX_COMMANDS: usize = 100;

named_enum! {
    /// How hard new data is compressed. Data that is there already stays as it is.
    #[derive(Default)]
    Compression {
        /// As the repository says; a good balance.
        #[default]
        Auto = "auto",
        /// Smaller and slower.
        Better = "better",
        /// As small as is sensible, whatever the time.
        Max = "max",
        /// Not at all.
        Off = "off",
    }
}

named_enum! {
    /// At which point of a run a command is run.
    When {
        /// Before anything else.
        Pre = "pre",
        /// At the end, also after a failed run.
        Post = "post",
        /// Right before volumes are frozen; without freezing, before reading.
        PreData = "pre_data",
        /// Right after volumes are frozen; without freezing, after reading.
        PostData = "post_data",
    }
}

/// More tries of what failed and may go well later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How many more tries; 0 = none.
    pub attempts: u32,
    /// The time between two tries.
    #[serde(serialize_with = "crate::friendly_duration")]
    pub interval: SignedDuration,
}

/// Names to leave out and names to take, with `*`, `**` and `?`, whatever the case. A mask without a separator is about the
/// last element of a path, one with a separator about the whole; a match on a folder covers all below it; leaving out wins
/// (contract for Yandex clients, Y90).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masks {
    /// What to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// What to take and nothing else; empty = everything.
    #[serde(default)]
    pub include: Vec<String>,
}

/// A program to run around a backup. It is started as it is, without a shell, with the rights of the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// When.
    pub when: When,
    /// The program.
    pub cmd: String,
    /// Its arguments in one line, split by the quoting rules of a shell and expanded in no way.
    #[serde(default)]
    pub args: String,
    /// The folder to run it in; empty = the agent's own.
    #[serde(default)]
    pub workdir: String,
    /// Whether it is run at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether its failure ends the run as an error; otherwise as a warning.
    #[serde(default)]
    pub stop_on_error: bool,
    /// Whether to wait for its end; otherwise it is started and not watched.
    #[serde(default = "yes")]
    pub wait: bool,
}

fn yes() -> bool {
    true
}

/// What the backup does besides reading everything below the sources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Globs as in `.gitignore`: only what matches is kept. Empty = everything.
    #[serde(default)]
    pub includes: Vec<String>,
    /// Globs as in `.gitignore` of what to leave out.
    #[serde(default)]
    pub excludes: Vec<String>,
    /// Masks, beside the globs: what either leaves out is left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub masks: Masks,
    /// How hard new data is compressed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compression: Compression,
    /// More tries after errors of the storage or the connection to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: Option<Retry>,
    /// More tries of freezing a volume.
    #[serde(default, skip_serializing_if = "is_default")]
    pub snapshot_retries: Option<Retry>,
    /// Whether to run with the lowest priority for processor and disk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub background: bool,
    /// Whether to read every file; otherwise those whose size and times are as before are not read again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_all: bool,
    /// Whether other file systems below the paths are left out; the folder on which one is mounted is kept, empty.
    #[serde(default, skip_serializing_if = "is_default")]
    pub one_file_system: bool,
    /// Whether each good backup is verified afterwards by reading all of its data.
    #[serde(default, skip_serializing_if = "is_default")]
    pub verify: bool,
    /// Where that is wished: only so many files, picked at random, are restored as a test; 0 = all data is read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub verify_files: u32,
    /// Whether all data of a backup is read after it now and then: when that was last done so long ago, or never.
    #[serde(default, skip_serializing_if = "is_default")]
    pub verify_all_every: Option<Interval>,
    /// Whether to read from frozen copies of the volumes where the system can make them (LVM, btrfs).
    #[serde(default, skip_serializing_if = "is_default")]
    pub freeze: bool,
    /// The template of the names of archives; empty = the usual one. See [`crate::archive::expand_name`].
    #[serde(default, skip_serializing_if = "is_default")]
    pub archive_name: String,
    /// Whether a raw copy of the disks was wished. There is none: each such run says so in a warning.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sector_by_sector: bool,
    /// What to run around the backup, in this order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub commands: Vec<Command>,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Settings {
    /// Checks what the types cannot. That globs and masks can be read is found out by the agent.
    ///
    /// # Errors
    /// `invalid_field`, naming the field.
    pub fn validate(&self) -> Result<()> {
        let patterns = [
            ("settings.includes", &self.includes),
            ("settings.excludes", &self.excludes),
            ("settings.masks.include", &self.masks.include),
            ("settings.masks.exclude", &self.masks.exclude),
        ];
        if patterns.iter().map(|(_, list)| list.len()).sum::<usize>() > MAX_MASKS {
            return Err(Error::invalid("settings.masks", format!("there are more than {MAX_MASKS} masks and globs")));
        }
        for (field, list) in patterns {
            if list.iter().any(|mask| mask.chars().count() > MAX_MASK) {
                return Err(Error::invalid(field, format!("one is longer than {MAX_MASK} characters")));
            }
        }
        if self.commands.len() > MAX_COMMANDS {
            return Err(Error::invalid("settings.commands", format!("there are more than {MAX_COMMANDS} commands")));
        }
        if self.commands.iter().any(|c| c.enabled && c.cmd.trim().is_empty()) {
            return Err(
                Error::invalid("settings.commands", "a command has no program").hint("name the program in 'cmd'")
            );
        }
        if self.verify_files > MOST_SAMPLED {
            return Err(Error::invalid("settings.verify_files", format!("there are more than {MOST_SAMPLED} files"))
                .hint("0 reads all data"));
        }
        self.verify_all_every.map_or(Ok(()), |every| every.check("settings.verify_all_every"))?;
        let retries = [("settings.retries", self.retries), ("settings.snapshot_retries", self.snapshot_retries)];
        for (field, retry) in retries {
            if retry.is_some_and(|r| r.interval.is_negative()) {
                return Err(Error::invalid(field, "the time between two tries is negative"));
            }
        }
        Ok(())
    }

    /// From when on all data of a backup is read after it because it is time again; none = never for that reason. `last` is the
    /// time of the newest backup that was read so. Months are those of UTC.
    #[must_use]
    pub fn verifies_all_from(&self, last: Option<Timestamp>) -> Option<Timestamp> {
        let every = self.verify_all_every?;
        last.map_or(Some(Timestamp::MIN), |last| every.after(last, &TimeZone::UTC))
    }

    /// How many files of a backup of this time are verified after it, with `last` as in [`Settings::verifies_all_from`]: 0 = all
    /// data is read, none = nothing is verified.
    #[must_use]
    pub fn verifies(&self, made_at: Timestamp, last: Option<Timestamp>) -> Option<u32> {
        match self.verifies_all_from(last) {
            Some(from) if from <= made_at => Some(0),
            _ => self.verify.then_some(self.verify_files),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::calendar::Unit;

    #[test]
    fn settings_of_before_read_as_ever_and_write_as_ever() {
        let before = json!({ "includes": ["*.txt"], "excludes": [] });
        let read: Settings = serde_json::from_value(before.clone()).expect("readable");
        assert_eq!(read, Settings { includes: vec!["*.txt".into()], ..Settings::default() });
        assert_eq!(json!(read), before);
    }

    #[test]
    fn everything_survives_json() {
        let retry = Some(Retry { attempts: 3, interval: SignedDuration::from_secs(30) });
        let all = Settings {
            includes: vec!["a".into()],
            excludes: vec!["b".into()],
            masks: Masks { exclude: vec!["*.TMP".into()], include: vec!["/home/**".into()] },
            compression: Compression::Max,
            retries: retry,
            snapshot_retries: retry,
            background: true,
            read_all: true,
            one_file_system: true,
            verify: true,
            verify_files: 10,
            verify_all_every: Some(Interval::of(1, Unit::Months)),
            freeze: true,
            archive_name: "[Plan Name]".into(),
            sector_by_sector: true,
            commands: vec![Command {
                when: When::PostData,
                cmd: "sync".into(),
                args: "--data 'a b'".into(),
                workdir: "/tmp".into(),
                enabled: true,
                stop_on_error: true,
                wait: false,
            }],
        };
        assert_eq!(all.validate(), Ok(()));
        assert_eq!(serde_json::from_value::<Settings>(json!(all)).expect("readable"), all);
    }

    #[test]
    fn all_data_is_read_when_it_is_time_again_and_what_follows_anyway_does_not_come_beside_it() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let monthly = Some(Interval::of(1, Unit::Months));
        for verify in [false, true] {
            let settings = Settings { verify, verify_files: 20, verify_all_every: monthly, ..Settings::default() };
            let usual = verify.then_some(20);
            let last = Some(at("2026-01-31T02:30:00Z"));
            for (made_at, last, verified) in [
                ("2026-01-31T02:30:00Z", None, Some(0)),
                ("2026-02-01T02:30:00Z", last, usual),
                ("2026-02-28T02:29:59Z", last, usual),
                ("2026-02-28T02:30:00Z", last, Some(0)),
                ("2027-01-01T00:00:00Z", last, Some(0)),
                // Read late: a newer one was read meanwhile.
                ("2026-01-01T00:00:00Z", last, usual),
            ] {
                assert_eq!(settings.verifies(at(made_at), last), verified, "{made_at}");
            }
            let without = Settings { verify_all_every: None, ..settings };
            assert_eq!(without.verifies(at("2027-01-01T00:00:00Z"), None), usual);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let command: Command = serde_json::from_value(json!({ "when": "pre", "cmd": " " })).expect("readable");
        assert!(command.enabled && command.wait);
        let refused = |settings: Settings| settings.validate().expect_err("refused").field;
        assert_eq!(
            refused(Settings { commands: vec![command.clone()], ..Settings::default() }).as_deref(),
            Some("settings.commands")
        );
        let off = Command { enabled: false, ..command };
        assert_eq!(Settings { commands: vec![off], ..Settings::default() }.validate(), Ok(()));
        assert_eq!(
            refused(Settings { verify_files: MOST_SAMPLED + 1, ..Settings::default() }).as_deref(),
            Some("settings.verify_files")
        );
        let never = Some(Interval::of(0, Unit::Days));
        assert_eq!(
            refused(Settings { verify_all_every: never, ..Settings::default() }).as_deref(),
            Some("settings.verify_all_every")
        );
        let long = Masks { exclude: vec!["x".repeat(MAX_MASK + 1)], include: Vec::new() };
        assert_eq!(refused(Settings { masks: long, ..Settings::default() }).as_deref(), Some("settings.masks.exclude"));
    }
}
