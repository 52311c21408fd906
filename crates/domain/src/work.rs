//! What the tasks of Backstay's own agents carry as their argument, and what they leave as their payload.

mod unread;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backup::{Filesystem, Root};
use crate::error::{Error, Result};
use crate::import::ImportRules;
use crate::policy::Settings;
use crate::policy::calendar::Interval;
use crate::policy::settings::is_default;
use crate::task::{TaskSpec, kind};
use crate::{Timestamp, Uuid, named_enum};

pub use unread::{MAX_LISTED, Unread};

/// The argument of a `backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupWork {
    /// The series it belongs to.
    pub archive: Uuid,
    /// Where it goes.
    pub repository: Uuid,
    /// What to read; empty = what is configured on the agent, by default its machine's local file systems.
    pub paths: Vec<String>,
    /// Whether to read everything and take nothing from earlier recovery points. What is stored is deduplicated all the same.
    #[serde(default, skip_serializing_if = "is_default")]
    pub full: bool,
    /// Whether the one path is a block device or a disk image, whose bytes are stored.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volume: bool,
    /// How it runs, with the resource's own excludes among the policy's.
    #[serde(flatten)]
    pub settings: Settings,
}

/// The argument of an `import`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportWork {
    /// The series that the recovery point begins.
    pub archive: Uuid,
    /// Where it goes.
    pub repository: Uuid,
    /// What is fetched: an address (`http`, `https`) or a file (`file`) on the agent's machine. In the ledger without its
    /// query, which may hold a secret.
    pub source: String,
    /// The query, sealed; the server puts it back when it hands the task out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_query: Option<String>,
    /// The name of the one file in the recovery point.
    pub name: String,
    /// How many bytes it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The SHA-256 that it must have, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What the operator allows, as it is when the task is handed out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rules: ImportRules,
}

named_enum! {
    /// Where a recovery puts things.
    #[derive(Default)]
    Layout {
        /// Below the folder, with their whole original path.
        #[default]
        Below = "below",
        /// Where they were.
        Original = "original",
        /// In the folder, each selected item under its own name with all below it. A selected top puts what is in it
        /// there; where two names are equal, all items keep their whole original path (contract for Yandex clients, Y72).
        Named = "named",
    }
}

named_enum! {
    /// What a recovery does with files that are there already.
    #[derive(Default)]
    Overwrite {
        /// Replace what differs in size or time; what is as it should be is not written again.
        #[default]
        IfChanged = "if_changed",
        /// Replace all.
        All = "all",
        /// Replace those that were last modified before the one in the backup was.
        Older = "older",
        /// Replace nothing; make what is missing.
        Nothing = "none",
    }
}

/// The argument of a `recovery` or `file_recovery`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryWork {
    /// The recovery point.
    pub backup: Uuid,
    /// Where it lies.
    pub repository: Uuid,
    /// Its restic snapshot id.
    pub snapshot: String,
    /// The folder to write to, on the agent's machine, in the agent's text form; made if it is missing. Empty with
    /// [`Layout::Original`].
    #[serde(default)]
    pub to: String,
    /// Only these paths of the backup, in the agent's text form; empty = everything.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Where things come to lie.
    #[serde(default, skip_serializing_if = "is_default")]
    pub layout: Layout,
    /// What becomes of files that are there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overwrite: Overwrite,
    /// Whether `to` is a block device that the whole volume is written over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub device: bool,
    /// Whether a restart of the machine was allowed. It is kept and never done (contract for Yandex clients, Y74).
    #[serde(default, skip_serializing_if = "is_default")]
    pub reboot_if_needed: bool,
    /// The folder to write to, instead of `to`, where the agent finds it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A folder of its own for what is restored. Nothing in it is overwritten: it is new, or empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The folder it is made in, which lies below one of the agent's restore roots; empty = the first of them.
    #[serde(default)]
    pub root: String,
    /// Its name: one component of a path. Where it is taken, the number of the task is appended.
    pub name: String,
    /// Whether the number of the task is part of the name anyway.
    #[serde(default, skip_serializing_if = "is_default")]
    pub numbered: bool,
}

/// The argument of a `file_recovery` whose files are handed to the server, to be fetched from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadWork {
    /// The recovery point.
    pub backup: Uuid,
    /// Where it lies.
    pub repository: Uuid,
    /// Its restic snapshot id.
    pub snapshot: String,
    /// Which paths of the backup, in the agent's text form.
    pub paths: Vec<String>,
    /// The restored file that comes of it.
    pub download: Uuid,
}

/// What is agreed for one backup alone, in the member [`OwnTerms::MEMBER`] of its argument.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnTerms {
    /// How long it stays, whatever its policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Interval>,
    /// Whether it belongs to the archive of what was backed up by hand to this repository, and to none of a policy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub apart: bool,
}

impl OwnTerms {
    /// Where they stand.
    pub const MEMBER: &str = "own_terms";

    /// The terms of a task; none in most.
    #[must_use]
    pub fn of(spec: &TaskSpec) -> OwnTerms {
        let given = spec.argument.get(Self::MEMBER);
        given.and_then(|terms| OwnTerms::deserialize(terms).ok()).unwrap_or_default()
    }
}

/// The argument of a `verification`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationWork {
    /// The recovery point.
    pub backup: Uuid,
    /// Where it lies.
    pub repository: Uuid,
    /// Its restic snapshot id.
    pub snapshot: String,
    /// Only a sample is read; none = all data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

/// The most files of a sample.
pub const MOST_SAMPLED: u32 = 1000;

/// Files to be picked at random. The same seed picks the same files of a recovery point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// How many, at most [`MOST_SAMPLED`].
    pub files: u32,
    /// What they are picked by; below 2^53, so that every program reads it.
    pub seed: u64,
}

/// The argument of an `indexing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexingWork {
    /// The recovery point, of a volume.
    pub backup: Uuid,
    /// Where it lies.
    pub repository: Uuid,
    /// Its restic snapshot id.
    pub snapshot: String,
}

/// A recovery point to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The recovery point.
    pub backup: Uuid,
    /// Its restic snapshot id.
    pub snapshot: String,
    /// Why it goes: places in [`ForgetWork::reasons`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<u8>,
}

/// The argument of a `backup_deletion`, an `archive_deletion` or a `retention`: what was decided to go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetWork {
    /// Where they lie.
    pub repository: Uuid,
    /// The archive they belong to.
    pub archive: Uuid,
    /// Which go, at most [`MAX_POINTS`]. Empty in an `archive_deletion` = all of the archive, as the ledger has them when the
    /// task is handed out: an archive may have more than fit into an argument.
    #[serde(default)]
    pub points: Vec<Point>,
    /// The reasons for which points go, each once; none where somebody wished it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// How many reasons are given for one recovery point.
const MOST_REASONS: usize = 8;

impl ForgetWork {
    /// Adds a point, with the first of the reasons for which it goes.
    pub fn add(&mut self, backup: Uuid, snapshot: String, because: &[String]) {
        let mut places = Vec::new();
        for reason in because.iter().take(MOST_REASONS) {
            let place = self.reasons.iter().position(|known| known == reason).unwrap_or_else(|| {
                self.reasons.push(reason.clone());
                self.reasons.len() - 1
            });
            // There are as many as there are rules, and those are at most 100.
            places.extend(u8::try_from(place));
        }
        self.points.push(Point { backup, snapshot, because: places });
    }

    /// Which points went and why, as many as a payload lists; empty where no reasons are known.
    #[must_use]
    pub fn told(&self) -> Vec<Gone> {
        if self.reasons.is_empty() {
            return Vec::new();
        }
        let reasons = |point: &Point| {
            point.because.iter().filter_map(|place| self.reasons.get(usize::from(*place)).cloned()).collect()
        };
        let gone = |point: &Point| Gone { backup: point.backup, because: reasons(point) };
        self.points.iter().take(MAX_LISTED).map(gone).collect()
    }
}

/// A recovery point that a retention removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Which.
    pub backup: Uuid,
    /// Why, in words.
    pub because: Vec<String>,
}

/// How many recovery points the argument of one task can list.
pub const MAX_POINTS: usize = 1500;

/// The argument of a `prune`: give back the space of what was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneWork {
    /// Where.
    pub repository: Uuid,
}

/// Work that our agents can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Read and store.
    Backup(BackupWork),
    /// Write back.
    Recovery(RecoveryWork),
    /// Hand over.
    Download(DownloadWork),
    /// Read again what was stored.
    Verification(VerificationWork),
    /// Look for file systems in what was stored.
    Indexing(IndexingWork),
    /// Remove.
    Forget(ForgetWork),
    /// Fetch and store.
    Import(ImportWork),
    /// Give space back.
    Prune(PruneWork),
}

impl Work {
    /// The work a task asks for.
    ///
    /// # Errors
    /// `invalid_field` when the type is not one of ours or the argument does not fit it.
    pub fn of(spec: &TaskSpec) -> Result<Work> {
        match spec.kind.as_str() {
            kind::BACKUP => argument(&spec.argument).map(Work::Backup),
            kind::FILE_RECOVERY if spec.argument.get("download").is_some() => {
                argument(&spec.argument).map(Work::Download)
            }
            kind::RECOVERY | kind::FILE_RECOVERY => argument(&spec.argument).map(Work::Recovery),
            kind::VERIFICATION => argument(&spec.argument).map(Work::Verification),
            kind::INDEXING => argument(&spec.argument).map(Work::Indexing),
            kind::BACKUP_DELETION | kind::ARCHIVE_DELETION | kind::RETENTION => {
                argument(&spec.argument).map(Work::Forget)
            }
            kind::IMPORT => argument(&spec.argument).map(Work::Import),
            kind::PRUNE => argument(&spec.argument).map(Work::Prune),
            other => {
                Err(Error::invalid("type", format!("agents of Backstay do not carry out tasks of type '{other}'")))
            }
        }
    }

    /// The repository it needs.
    #[must_use]
    pub fn repository(&self) -> Uuid {
        match self {
            Work::Backup(w) => w.repository,
            Work::Recovery(w) => w.repository,
            Work::Download(w) => w.repository,
            Work::Verification(w) => w.repository,
            Work::Indexing(w) => w.repository,
            Work::Forget(w) => w.repository,
            Work::Import(w) => w.repository,
            Work::Prune(w) => w.repository,
        }
    }
}

fn argument<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T> {
    serde_json::from_value(value.clone()).map_err(|e| Error::invalid("argument", e.to_string()))
}

/// What a finished `backup` says of the recovery point it made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDone {
    /// The restic snapshot id.
    pub snapshot: String,
    /// When the data was read.
    pub created_at: Timestamp,
    /// Whether there was an earlier one to build on.
    pub incremental: bool,
    /// Bytes of all files.
    pub size: u64,
    /// Bytes newly stored: deduplicated, compressed, encrypted.
    pub added: u64,
    /// The same before compression.
    #[serde(default, skip_serializing_if = "is_default")]
    pub added_raw: u64,
    /// Bytes of the files that are new or have changed, before deduplication.
    #[serde(default, skip_serializing_if = "is_default")]
    pub changed: u64,
    /// Files in all.
    pub files: u64,
    /// Of them, not there before.
    pub files_new: u64,
    /// Of them, changed since the last time.
    pub files_changed: u64,
    /// What was read, as found by the agent where the work named nothing, with the file systems it lies on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<Root>,
    /// Of a volume, the SHA-256 of its bytes in hexadecimal digits; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// What could not be read, capped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unread>,
    /// How many could not be read in all.
    #[serde(default)]
    pub unreadable_total: u64,
}

/// What a finished `import` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportDone {
    /// The recovery point that it made.
    #[serde(flatten)]
    pub backup: BackupDone,
    /// The SHA-256 of the image, in hexadecimal.
    pub sha256: String,
}

/// What a finished recovery says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryDone {
    /// Files written back.
    pub files: u64,
    /// Bytes written back.
    pub bytes: u64,
    /// What could not be written back as it was, capped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwritten: Vec<Unread>,
    /// How many in all.
    #[serde(default)]
    pub unwritten_total: u64,
    /// The folder that was written to, where the agent found it itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
}

/// What a finished hand-over says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadDone {
    /// The name of the file that was handed over.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Files in it.
    pub files: u64,
    /// What could not be read, capped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
    /// How many in all.
    #[serde(default)]
    pub unread_total: u64,
}

/// What a `verification` says, also a failed one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationDone {
    /// Files that were read.
    pub files: u64,
    /// Bytes that were read, each piece once however many files share it.
    pub bytes: u64,
    /// What is damaged, capped. Damage ends the task as an error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<Unread>,
    /// How many in all.
    #[serde(default)]
    pub damaged_total: u64,
    /// What was picked, where a sample was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
}

/// The sample of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampled {
    /// How it was picked; the same again picks the same files.
    #[serde(flatten)]
    pub sample: Sample,
    /// How many files there were to pick from. The list of every folder was read, and every piece of each file is in the index.
    pub of: u64,
    /// The picked files, in the order of their paths.
    pub picked: Vec<SampledFile>,
}

/// A file that was restored as a test.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampledFile {
    /// Its path.
    pub path: String,
    /// The bytes of it that came back.
    pub bytes: u64,
    /// The SHA-256 of what came back, in hexadecimal; empty where it did not come back whole.
    pub sha256: String,
    /// What the file on the machine says to it.
    pub live: Live,
}

named_enum! {
    /// How a file that was restored as a test compares to the one on the machine.
    #[derive(Default)]
    Live {
        /// It was not compared: there is none, it has changed since, or it cannot be read.
        #[default]
        NotCompared = "not_compared",
        /// It has the same content.
        Same = "same",
        /// It has another content, though size and time of change are the same.
        Different = "different",
    }
}

/// What an `indexing` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexingDone {
    /// What there is on the volume, in the order of the disk.
    pub filesystems: Vec<Filesystem>,
}

/// What a finished deletion or retention says. What was gone already counts as removed: the wish is fulfilled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetDone {
    /// Recovery points that are not in the repository any more.
    pub removed: u64,
    /// Of them, those that were gone before.
    pub missing: u64,
    /// Which, and why, capped; the server adds it to what the agent says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Gone>,
}

/// What a finished `prune` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneDone {
    /// Bytes that were given back.
    pub freed: u64,
    /// Bytes that are given back in a day if nobody needs them until then.
    pub marked: u64,
    /// Whether somebody else used the repository, so that nothing was done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub busy: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::settings::Compression;

    fn spec(kind: &str, argument: Value) -> TaskSpec {
        TaskSpec { argument: argument.into(), ..TaskSpec::new(Uuid::nil(), kind, "agents", Uuid::nil()) }
    }

    #[test]
    fn arguments_of_before_read_as_ever() {
        let before = json!({ "archive": Uuid::nil(), "repository": Uuid::nil(), "paths": ["/a"], "includes": [],
            "excludes": ["*.tmp"] });
        let Ok(Work::Backup(work)) = Work::of(&spec(kind::BACKUP, before.clone())) else { panic!("readable") };
        let settings = Settings { excludes: vec!["*.tmp".into()], ..Settings::default() };
        assert_eq!((&work.settings, work.full), (&settings, false));
        assert_eq!(json!(work), before);

        let before =
            json!({ "backup": Uuid::nil(), "repository": Uuid::nil(), "snapshot": "ab", "to": "/b", "paths": [] });
        let Ok(Work::Recovery(work)) = Work::of(&spec(kind::RECOVERY, before.clone())) else { panic!("readable") };
        assert_eq!((work.layout, work.overwrite), (Layout::Below, Overwrite::IfChanged));
        assert_eq!(json!(work), before);
    }

    #[test]
    fn settings_stand_beside_the_rest_of_the_argument() {
        let work = BackupWork {
            archive: Uuid::nil(),
            repository: Uuid::nil(),
            paths: Vec::new(),
            full: true,
            volume: false,
            settings: Settings { compression: Compression::Off, read_all: true, ..Settings::default() },
        };
        let argument = json!(work);
        assert_eq!((&argument["compression"], &argument["read_all"]), (&json!("off"), &json!(true)));
        assert_eq!(Work::of(&spec(kind::BACKUP, argument)), Ok(Work::Backup(work)));
    }

    #[test]
    fn a_full_list_of_points_fits_into_an_argument() {
        let mut work = ForgetWork { repository: Uuid::max(), archive: Uuid::max(), ..ForgetWork::default() };
        let rules = 0..crate::policy::retention::MOST_RULES;
        let reasons: Vec<String> = rules.map(|n| format!("it is not one of the newest {n} weekly ones")).collect();
        for n in 0..MAX_POINTS {
            work.add(Uuid::max(), "f".repeat(64), &reasons[n % 90..]);
        }
        assert_eq!(work.told()[95].because, reasons[5..13]);
        let spec = spec(kind::RETENTION, json!(work));
        assert_eq!(spec.validate(), Ok(()));
        assert_eq!(Work::of(&spec), Ok(Work::Forget(work)));
    }
}
