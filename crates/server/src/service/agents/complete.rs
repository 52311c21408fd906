//! The end of a task as its agent reports it: a good backup becomes a record in the same commit, so that there is never
//! one without the other.

use domain::agent::{AGENT_QUEUE, Agent};
use domain::archive::Archive;
use domain::backup::{Backup, BackupKind};
use domain::policy::Settings;
use domain::resource::Resource;
use domain::task::{
    Affinity, Event, LeaseToken, Outcome, OutcomeCode, Priority, Progress, Rules, State, Task, TaskError, TaskId,
    TaskRef, TaskSpec, kind,
};
use domain::work::{
    BackupDone, BackupWork, DownloadDone, DownloadWork, ForgetDone, ForgetWork, ImportDone, ImportWork, IndexingDone,
    IndexingWork, OwnTerms, PruneDone, PruneWork, VerificationDone, VerificationWork, Work,
};
use domain::{Code, Error, Result, Scope, Uuid, if_found};
use jiff::tz::TimeZone;
use ledger::{Committed, Expect, Stored, Write};
use serde_json::{Value, json};

use super::{ATTEMPTS, AgentIdentity, came_between};
use crate::service::Service;
use crate::service::runs::{RUN_KEYS, own_rules};
use crate::service::verifying::verification_of;

impl Service {
    /// Ends a task. The same report again finds the task completed under its lease and makes nothing twice.
    pub(super) async fn complete(
        &self,
        agent: &AgentIdentity,
        task: TaskId,
        lease: LeaseToken,
        outcome: Outcome,
        progress: Option<Progress>,
    ) -> Result<Committed> {
        let mut attempts = 0..ATTEMPTS;
        loop {
            let found = self.ledger.task(&agent.scope, TaskRef::Id(task)).await?;
            let (outcome, end) = self.arrived(judge(&found, outcome.clone())).await;
            let outcome = self.warned(&found, outcome).await?;
            let good = matches!(outcome.code, OutcomeCode::Ok | OutcomeCode::Warning);
            // A repository may belong to a tenant above the agent's; that the task is the agent's, its lease says.
            let everything = Scope::everything();
            let of_the_repository = matches!(end, End::Removed(..) | End::Pruned(..));
            let scope = if of_the_repository { &everything } else { &agent.scope };
            let event = Event::Complete { lease: lease.clone(), outcome, progress: progress.clone() };
            let mut writes = vec![Write::Task(TaskRef::Id(task), event)];
            if found.state() != State::Completed {
                writes.extend(self.consequences(agent, &found, end, good).await?);
            }
            match self.write_in(scope, writes).await {
                // Somebody else changed the resource, or this very report arrived twice.
                Err(e) if came_between(&e) && attempts.next().is_some() => {}
                other => return other,
            }
        }
    }

    /// The end as it is, where something was to be handed over: an agent that says so is not believed, the file is looked for.
    async fn arrived(&self, (outcome, end): (Outcome, End)) -> (Outcome, End) {
        let End::HandedOver(work, done) = &end else { return (outcome, end) };
        if self.has_arrived(work, done).await {
            return (outcome, end);
        }
        let error = Some(TaskError::server("fileMissing", "The file has not arrived on the server.".to_owned()));
        (Outcome { code: OutcomeCode::Error, error, ..outcome }, End::Nothing)
    }

    /// What the ledger is to keep of the end of a task beside the task.
    async fn consequences(&self, agent: &AgentIdentity, task: &Task, end: End, good: bool) -> Result<Vec<Write>> {
        match end {
            End::BackupMade(work, done) => {
                let made = Made { id: Uuid::now_v7(), work: *work, done: *done, facts: Value::Null };
                self.backup_made(agent, task, made, good).await
            }
            End::Imported(id, work, done) => {
                let facts = json!({ "size": done.backup.size, "sha256": done.sha256 });
                let paths = vec![format!("/{}", work.name)];
                let (archive, repository) = (work.archive, work.repository);
                let work =
                    BackupWork { archive, repository, paths, full: true, volume: false, settings: Settings::default() };
                self.backup_made(agent, task, Made { id, work, done: done.backup, facts }, good).await
            }
            End::Removed(work, done) => {
                // Deletions are settled however they ended, also by a timer or a person.
                let of_retention = task.spec.kind == kind::RETENTION;
                let mut writes = if of_retention { self.forgotten(&work).await? } else { Vec::new() };
                if done.removed > done.missing {
                    writes.extend(self.removed_from(work.repository, agent.id).await?);
                }
                Ok(writes)
            }
            End::Pruned(work, done) => Ok(self.pruned(&work, &done).await?.into_iter().collect()),
            End::Verified(work, done) => self.verified(&work, &done).await,
            End::HandedOver(work, done) => self.handed_over(task, &work, done).await,
            End::Indexed(work, found) => self.indexed(&work, found).await,
            End::Nothing => Ok(Vec::new()),
        }
    }

    /// What the ledger is to keep of a verification: whether the archive was found whole.
    async fn verified(&self, work: &VerificationWork, done: &VerificationDone) -> Result<Vec<Write>> {
        let everything = Scope::everything();
        let Some(backup) = if_found(self.ledger.get::<Backup>(&everything, work.backup).await)? else {
            return Ok(Vec::new());
        };
        let Some(Stored { rev, mut value }) =
            if_found(self.ledger.get::<Archive>(&everything, backup.value.archive).await)?
        else {
            return Ok(Vec::new());
        };
        // A sample that is whole says nothing of the rest.
        value.damaged = done.damaged_total > 0 || (value.damaged && done.sampled.is_some());
        let now = self.moment().now;
        if done.sampled.is_none() {
            // A machine whose clock was ahead is not left out until that time comes.
            value.all_verified = value.all_verified.max(Some(backup.value.created_at.min(now)));
        }
        value.last_seen_at = now;
        Ok(vec![Write::Put(Box::new(value.into()), Expect::Rev(rev))])
    }

    /// What the ledger is to keep of an indexing: what was found on the volume, or why nothing was.
    async fn indexed(
        &self,
        work: &IndexingWork,
        found: std::result::Result<IndexingDone, String>,
    ) -> Result<Vec<Write>> {
        // Removed meanwhile; then nobody browses it.
        let backup = if_found(self.ledger.get::<Backup>(&Scope::everything(), work.backup).await)?;
        let Some(Stored { rev, mut value }) = backup else { return Ok(Vec::new()) };
        match found {
            Ok(done) => value.index(done.filesystems),
            // What an earlier one found still holds.
            Err(_) if value.browsable => return Ok(Vec::new()),
            Err(reason) => value.browsing_failed = reason,
        }
        Ok(vec![Write::Put(Box::new(value.into()), Expect::Rev(rev))])
    }

    /// What the ledger is to keep of a backup that was made.
    async fn backup_made(&self, agent: &AgentIdentity, task: &Task, made: Made, good: bool) -> Result<Vec<Write>> {
        let Made { id, work, done, facts } = made;
        let scope = &agent.scope;
        let resource = task.spec.resource.clone().unwrap_or_default();
        let resource_id = Uuid::parse_str(&resource.id).unwrap_or_default();
        let mut writes = Vec::new();
        let (mut resource_kind, mut external) = (None, false);
        let mut known = None;
        match self.ledger.get::<Resource>(scope, resource_id).await {
            Ok(Stored { rev, mut value }) => {
                (resource_kind, external) = (Some(value.kind), value.external);
                value.last_backup_at = value.last_backup_at.max(Some(done.created_at));
                if let Value::Object(facts) = facts {
                    if !value.metadata.is_object() {
                        value.metadata = json!({});
                    }
                    value.metadata.as_object_mut().into_iter().for_each(|known| known.extend(facts.clone()));
                    // Who has stored it can write it back.
                    value.agent.get_or_insert(agent.id);
                }
                known = Some(value.clone());
                writes.push(Write::Put(Box::new(value.into()), Expect::Rev(rev)));
            }
            // Deleted while it was backed up; the backup stays all the same.
            Err(e) if e.code == Code::NotFound => {}
            Err(e) => return Err(e),
        }
        let terms = OwnTerms::of(&task.spec);
        let now = self.moment().now;
        let (archive, record) = self.archive_for(task, &work, &resource, now).await?;
        let all_verified = record.as_ref().and_then(|(archive, _)| archive.all_verified);
        writes.extend(record.map(|(archive, expect)| Write::Put(Box::new(archive.into()), expect)));
        let machine = if_found(self.ledger.get::<Agent>(scope, agent.id).await)?;
        let found = || done.roots.iter().map(|root| root.path.clone()).collect();
        let incremental = done.incremental && !work.full;
        let mut backup = Backup {
            id,
            // The resource may have moved to another one meanwhile.
            tenant: known.as_ref().map_or(task.spec.tenant, |resource| resource.tenant),
            resource: resource_id,
            resource_name: resource.name.into(),
            resource_kind,
            external,
            policy: task.spec.policy.as_ref().and_then(|p| Uuid::parse_str(&p.id).ok()),
            archive,
            repository: work.repository,
            kind: if incremental { BackupKind::Incremental } else { BackupKind::Full },
            task: task.id.0,
            paths: if work.paths.is_empty() { found() } else { work.paths },
            snapshot: done.snapshot,
            size: done.size,
            added: done.added,
            added_raw: done.added_raw,
            changed: done.changed,
            roots: done.roots,
            system: machine.map(|machine| machine.value.system).unwrap_or_default(),
            files: done.files,
            kept_because: Vec::new(),
            browsable: !work.volume,
            browsing_failed: if work.volume { NOT_INDEXED.to_owned() } else { String::new() },
            filesystems: Vec::new(),
            created_at: done.created_at,
            updated_at: now,
            deleted_at: None,
            agent: Some(agent.id),
            tags: known.as_ref().map(Resource::tags).unwrap_or_default(),
            location: known.as_ref().and_then(|r| r.location()).unwrap_or_default().to_owned(),
            expires_at: terms.keep.and_then(|keep| keep.after(done.created_at, &TimeZone::UTC)),
        };
        if let Some(keep) = terms.keep {
            backup.kept_because = vec![format!("it was asked for with an end of its own, after {keep}")];
        }
        if work.volume {
            writes.push(Write::CreateTask(Box::new(indexing(agent, task, &backup))));
        }
        if good && let Some(files) = self.verified_after(task, &work.settings, done.created_at, all_verified).await? {
            writes.push(Write::CreateTask(Box::new(verification(agent, task, &backup, files))));
        }
        // One with an end of its own is none of the policy's, and no occasion for it either.
        if good && terms.keep.is_none() {
            writes.extend(self.retention_after(task, &mut backup, known.as_ref()).await?);
        }
        writes.push(Write::Put(Box::new(backup.into()), Expect::New));
        Ok(writes)
    }
}

/// Why a volume cannot be browsed yet.
const NOT_INDEXED: &str = "the volume has not been indexed yet";

/// The task that looks for files in the new backup of a volume. Nobody cancels it (contract for Clumio clients, D31).
fn indexing(agent: &AgentIdentity, made_by: &Task, backup: &Backup) -> TaskSpec {
    let work = IndexingWork { backup: backup.id, repository: backup.repository, snapshot: backup.snapshot.clone() };
    let title = format!("Indexing the backup of '{}'", backup.resource_name);
    let spec = follow_up(agent, made_by, backup, kind::INDEXING, title, json!(work));
    TaskSpec { rules: Rules { cancellable: false, ..spec.rules }, ..spec }
}

/// The task that reads a new backup, or some files of it, where that is wished.
fn verification(agent: &AgentIdentity, made_by: &Task, backup: &Backup, files: u32) -> TaskSpec {
    let work = verification_of(backup, files, None);
    let title = format!("Verifying the backup of '{}'", backup.resource_name);
    follow_up(agent, made_by, backup, kind::VERIFICATION, title, json!(work))
}

/// A task that comes after a backup. It is for the agent that can reach the repository.
fn follow_up(
    agent: &AgentIdentity,
    made_by: &Task,
    backup: &Backup,
    kind: &str,
    title: String,
    argument: serde_json::Value,
) -> TaskSpec {
    TaskSpec {
        argument: argument.into(),
        context: json!({ RUN_KEYS[0]: title, RUN_KEYS[1]: "scheduled" }).into(),
        priority: Priority::BelowNormal,
        policy: made_by.spec.policy.clone(),
        resource: made_by.spec.resource.clone(),
        workflow_id: made_by.spec.workflow_id,
        affinity: Affinity::to(Some(agent.id)),
        rules: own_rules(),
        ..TaskSpec::new(Uuid::now_v7(), kind, AGENT_QUEUE, backup.tenant)
    }
}

/// A recovery point that was made.
struct Made {
    /// Its id.
    id: Uuid,
    work: BackupWork,
    done: BackupDone,
    /// What its resource shall say of itself from now on; null = what it said before.
    facts: Value,
}

/// What the end of a task means beside the task.
enum End {
    /// There is a new recovery point.
    BackupMade(Box<BackupWork>, Box<BackupDone>),
    /// There is a new image, and this is the id of its recovery point.
    Imported(Uuid, Box<ImportWork>, Box<ImportDone>),
    /// A recovery point was read.
    Verified(VerificationWork, VerificationDone),
    /// A file was handed over.
    HandedOver(DownloadWork, DownloadDone),
    /// A volume was looked into, or it failed.
    Indexed(IndexingWork, std::result::Result<IndexingDone, String>),
    /// Recovery points were removed.
    Removed(ForgetWork, ForgetDone),
    /// Space was given back.
    Pruned(PruneWork, PruneDone),
    /// Nothing, or nothing here.
    Nothing,
}

/// The outcome to keep, and what it means. An agent that says "done" and not what it made is not believed; one that says
/// what it made though something failed is.
fn judge(task: &Task, outcome: Outcome) -> (Outcome, End) {
    let good = matches!(outcome.code, OutcomeCode::Ok | OutcomeCode::Warning);
    match Work::of(&task.spec) {
        Ok(Work::Backup(work)) => {
            let done = serde_json::from_value::<BackupDone>(outcome.payload.clone())
                .map_err(|e| Error::invalid("payload", e.to_string()))
                .and_then(|done| if done.snapshot.is_empty() { Err(Error::missing("snapshot")) } else { Ok(done) });
            match done {
                Ok(done) => (outcome, End::BackupMade(Box::new(work), Box::new(done))),
                Err(_) if !good => (outcome, End::Nothing),
                Err(error) => {
                    let message = format!("The agent reported a finished backup, but not which: {error}.");
                    let error = Some(TaskError::server("unreadableReport", message));
                    (Outcome { code: OutcomeCode::Error, error, ..outcome }, End::Nothing)
                }
            }
        }
        Ok(Work::Import(work)) if good => {
            let done = serde_json::from_value::<ImportDone>(outcome.payload.clone());
            match done.ok().filter(|done| !done.backup.snapshot.is_empty()) {
                Some(done) => imported(task, outcome, work, done),
                None => {
                    let message = "The agent reported a finished import, but not of which image.";
                    let error = Some(TaskError::server("unreadableReport", message));
                    (Outcome { code: OutcomeCode::Error, error, ..outcome }, End::Nothing)
                }
            }
        }
        // Damage is an error of the task, and what was found is in its payload.
        Ok(Work::Verification(work)) => match serde_json::from_value(outcome.payload.clone()) {
            Ok(done) => (outcome, End::Verified(work, done)),
            Err(_) => (outcome, End::Nothing),
        },
        Ok(Work::Indexing(work)) => {
            let found = match (good, serde_json::from_value::<IndexingDone>(outcome.payload.clone())) {
                (true, Ok(done)) => Ok(done),
                _ => Err(outcome.error.as_ref().map_or_else(|| NOT_INDEXED.to_owned(), |e| e.message.clone())),
            };
            (outcome, End::Indexed(work, found))
        }
        Ok(Work::Forget(work)) if good => {
            // What it says of numbers is for people; that it went well is what counts.
            let mut done: ForgetDone = serde_json::from_value(outcome.payload.clone()).unwrap_or_default();
            done.gone = work.told();
            let payload = if done.gone.is_empty() { outcome.payload } else { json!(done) };
            (Outcome { payload, ..outcome }, End::Removed(work, done))
        }
        Ok(Work::Prune(work)) if good => match serde_json::from_value(outcome.payload.clone()) {
            Ok(done) => (outcome, End::Pruned(work, done)),
            Err(_) => (outcome, End::Nothing),
        },
        Ok(Work::Download(work)) if good => match serde_json::from_value(outcome.payload.clone()) {
            Ok(done) => (outcome, End::HandedOver(work, done)),
            Err(_) => (outcome, End::HandedOver(work, DownloadDone::default())),
        },
        Ok(Work::Recovery(_) | Work::Download(_) | Work::Forget(_) | Work::Import(_) | Work::Prune(_)) | Err(_) => {
            (outcome, End::Nothing)
        }
    }
}

/// What the client is told of an import: where the image is, and what it is (contract for OpenStack clients, section 6).
fn imported(task: &Task, outcome: Outcome, work: ImportWork, done: ImportDone) -> (Outcome, End) {
    let id = Uuid::now_v7();
    let image = task.spec.resource.as_ref().map(|image| image.id.clone());
    let payload = json!({ "image_id": image, "backup_id": id, "size": done.backup.size, "sha256": done.sha256 });
    (Outcome { payload, ..outcome }, End::Imported(id, Box::new(work), Box::new(done)))
}
