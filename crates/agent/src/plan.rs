//! What jobs a task consists of: from the words of the task to those of the engine.

use std::path::PathBuf;

use domain::Uuid;
use domain::policy::settings::{Command, When};
use domain::task::{TaskError, TaskSpec};
use domain::work::{BackupWork, ImportWork, Layout, Overwrite, RecoveryWork, Work};
use proto::agent::v1::Assign;
use proto::agent::{json_of, uuid_of};

use crate::destination;
use crate::engine::{
    self, BackupJob, CommandsJob, ForgetJob, Image, Job, PackJob, RawPath, RepositorySpec, Request, RestoreJob,
    SurveyJob, VerifyJob,
};
use crate::handover::spooled;
use crate::host::Host;
use crate::runner::agent_error;

/// What is to be done.
pub(crate) struct Plan {
    /// The work itself.
    pub(crate) request: Request,
    /// Whether the repository may be made if it is not there.
    pub(crate) create: bool,
    /// What to run around it.
    pub(crate) commands: Vec<Command>,
    /// The file that the server wants to have afterwards.
    pub(crate) hand_over: Option<PathBuf>,
    /// The folder that was made for what is restored, in its text form; empty where it was named.
    pub(crate) place: String,
    no_commands: bool,
}

impl Plan {
    /// The plan of a task for an agent on this machine.
    pub(crate) fn of(assign: &Assign, host: &Host) -> Result<Plan, Box<TaskError>> {
        let invalid = |why: String| Box::new(agent_error("invalidTask", why));
        let argument = json_of("work", &assign.work_json).map_err(|e| invalid(e.to_string()))?;
        let uuid = uuid_of("uuid", &assign.uuid).map_err(|e| invalid(e.to_string()))?;
        let spec = TaskSpec { argument: argument.into(), ..TaskSpec::new(uuid, &assign.r#type, "", Uuid::nil()) };
        let create = assign.create_repository;
        let mut commands = Vec::new();
        let (mut hand_over, mut place) = (None, String::new());
        let job = match Work::of(&spec).map_err(|e| invalid(e.message))? {
            Work::Backup(work) => {
                commands.clone_from(&work.settings.commands);
                Job::Backup(backup_job(uuid, assign, host, work))
            }
            Work::Recovery(work) => {
                let mut job = restore_job(host, work.clone());
                if let Some(wanted) = &work.place {
                    job.target = destination::make(host, wanted, assign.task)?.into();
                    place = job.target.to_string();
                }
                Job::Restore(job)
            }
            Work::Download(work) => {
                let target = spooled(&host.spool(), &assign.uuid);
                hand_over = Some(target.clone());
                Job::Pack(PackJob { snapshot: work.snapshot, paths: paths(&work.paths), target: target.into() })
            }
            Work::Verification(work) => Job::Verify(VerifyJob { snapshot: work.snapshot, sample: work.sample }),
            Work::Import(work) => Job::Backup(import_job(uuid, assign, work)),
            Work::Indexing(work) => Job::Survey(SurveyJob { snapshot: work.snapshot }),
            Work::Prune(_) => Job::Prune,
            Work::Forget(work) => {
                Job::Forget(ForgetJob { snapshots: work.points.into_iter().map(|point| point.snapshot).collect() })
            }
        };
        let repository = RepositorySpec::from(assign.repository.clone().unwrap_or_default());
        Ok(Plan {
            request: Request::new(repository, job),
            create,
            commands,
            hand_over,
            place,
            no_commands: host.no_commands,
        })
    }

    /// The commands of these points of the run, as a job of their own.
    pub(crate) fn commands_at(&self, when: &[When]) -> Request {
        let job = CommandsJob { commands: self.commands.clone(), when: when.to_vec(), no_commands: self.no_commands };
        Request { job: Job::Commands(job), ..self.request.clone() }
    }
}

fn backup_job(task: Uuid, assign: &Assign, host: &Host, work: BackupWork) -> BackupJob {
    let settings = work.settings;
    let of_the_data = |command: &Command| matches!(command.when, When::PreData | When::PostData);
    let own = host.roots.iter().map(|root| RawPath::from(root.as_path()));
    BackupJob {
        task,
        host: assign.host.clone(),
        paths: if work.paths.is_empty() { own.collect() } else { paths(&work.paths) },
        includes: settings.includes,
        excludes: settings.excludes,
        masks: settings.masks,
        label: Some(work.archive.to_string()),
        full: work.full,
        read_all: settings.read_all,
        compression: settings.compression,
        retries: settings.retries,
        may_be_new: assign.create_repository,
        background: settings.background,
        freeze: settings.freeze,
        freeze_retries: settings.snapshot_retries,
        sector_by_sector: settings.sector_by_sector,
        commands: settings.commands.into_iter().filter(of_the_data).collect(),
        no_commands: host.no_commands,
        volume: work.volume,
        image: None,
        one_file_system: settings.one_file_system,
        tags: Vec::new(),
    }
}

fn import_job(task: Uuid, assign: &Assign, work: ImportWork) -> BackupJob {
    BackupJob {
        task,
        host: assign.host.clone(),
        paths: vec![RawPath::from(format!("/{}", work.name).as_str())],
        image: Some(Image { source: work.source, size: work.size, sha256: work.sha256, rules: work.rules }),
        label: Some(work.archive.to_string()),
        full: true,
        may_be_new: assign.create_repository,
        ..BackupJob::default()
    }
}

fn restore_job(host: &Host, work: RecoveryWork) -> RestoreJob {
    let original = || host.rescue.as_deref().map_or_else(|| RawPath::from("/"), RawPath::from);
    RestoreJob {
        snapshot: work.snapshot,
        target: match work.layout {
            Layout::Original => original(),
            Layout::Below | Layout::Named => RawPath::from(work.to.as_str()),
        },
        by_name: work.layout == Layout::Named,
        paths: paths(&work.paths),
        overwrite: match work.overwrite {
            Overwrite::IfChanged => engine::Overwrite::IfChanged,
            Overwrite::All => engine::Overwrite::Always,
            Overwrite::Older => engine::Overwrite::Older,
            Overwrite::Nothing => engine::Overwrite::Never,
        },
        delete: false,
        device: work.device.then(|| RawPath::from(work.to.as_str())),
    }
}

fn paths(texts: &[String]) -> Vec<RawPath> {
    texts.iter().map(|t| RawPath::from(t.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use domain::policy::Settings;
    use domain::task::kind;
    use serde_json::{Value, json};

    use super::*;

    fn job(kind: &str, work: &Value, host: &Host) -> Job {
        let assign = Assign {
            uuid: Uuid::nil().to_string(),
            r#type: kind.to_owned(),
            work_json: work.to_string(),
            ..Assign::default()
        };
        Plan::of(&assign, host).expect("a plan").request.job
    }

    #[test]
    fn what_no_policy_names_is_set_on_the_agent_or_found_by_the_engine() {
        let work = |paths: &[&str]| {
            json!(BackupWork {
                archive: Uuid::nil(),
                repository: Uuid::nil(),
                paths: paths.iter().map(|p| (*p).to_owned()).collect(),
                full: false,
                volume: false,
                settings: Settings::default(),
            })
        };
        let planned = |paths: &[&str], host: &Host| match job(kind::BACKUP, &work(paths), host) {
            Job::Backup(job) => job.paths,
            other => panic!("a backup, not {other:?}"),
        };
        let own = Host { roots: vec![PathBuf::from("/own")], ..Host::default() };
        assert_eq!(planned(&["/named"], &own), [RawPath::from("/named")]);
        assert_eq!(planned(&[], &own), [RawPath::from("/own")]);
        assert_eq!(planned(&[], &Host::default()), []);
    }

    #[test]
    fn the_original_place_is_on_the_system_that_is_rescued() {
        let work = json!({ "backup": Uuid::nil(), "repository": Uuid::nil(), "snapshot": "a", "layout": "original" });
        let target = |host: &Host| match job(kind::RECOVERY, &work, host) {
            Job::Restore(job) => job.target,
            other => panic!("a restore, not {other:?}"),
        };
        assert_eq!(target(&Host::default()), RawPath::from("/"));
        let rescued = Host { rescue: Some(PathBuf::from("/mnt/system")), ..Host::default() };
        assert_eq!(target(&rescued), RawPath::from("/mnt/system"));
    }

    #[test]
    fn overwrite_modes_keep_their_meaning() {
        let planned = |mode: Overwrite| {
            let work = json!({ "backup": Uuid::nil(), "repository": Uuid::nil(), "snapshot": "a", "to": "/t",
                "layout": "named", "overwrite": mode });
            match job(kind::FILE_RECOVERY, &work, &Host::default()) {
                Job::Restore(job) => (job.overwrite, job.by_name, job.target),
                other => panic!("a restore, not {other:?}"),
            }
        };
        let modes = Overwrite::ALL.iter().map(|mode| planned(*mode).0).collect::<Vec<_>>();
        let [changed, always, older, never] = modes[..] else { panic!("four modes") };
        assert_eq!((changed, always), (engine::Overwrite::IfChanged, engine::Overwrite::Always));
        assert_eq!((older, never), (engine::Overwrite::Older, engine::Overwrite::Never));
        assert!(planned(Overwrite::All).1);
    }
}
