//! Retention follows a good backup, or goes before one, as its policy says. What goes is decided here, when the task for it
//! is made; the agent only carries it out.

use std::borrow::Cow;
use std::collections::HashSet;

use domain::agent::AGENT_QUEUE;
use domain::archive::Archive;
use domain::backup::Backup;
use domain::policy::retention::{Candidate, Frame, Verdict};
use domain::policy::{Application, Policy};
use domain::query::{Filter, MAX_LIMIT, Pattern, Query, RecordField, TaskField, Test, Value};
use domain::record::RecordKind;
use domain::resource::Resource;
use domain::task::{
    Affinity, Named, Outcome, OutcomeCode, Priority, ResultCode, State, Task, TaskError, TaskRef, TaskSpec, kind,
};
use domain::work::{ForgetWork, MAX_POINTS, Work};
use domain::{Moment, Result, Scope, Uuid, if_found};
use jiff::tz::TimeZone;
use ledger::{Expect, Stored, Write};
use serde_json::json;

use super::Service;
use super::queue::policy_type;
use super::runs::{BEFORE, own_rules, tasks_before};

/// For whom recovery points are looked at.
struct Owner {
    tenant: Uuid,
    resource: Named,
    affinity: Affinity,
}

impl Service {
    /// The retention that follows a good backup: its tasks, and why the others of the archive stay. The new one is not stored yet: why it
    /// stays is written into it.
    pub(super) async fn retention_after(
        &self,
        task: &Task,
        backup: &mut Backup,
        resource: Option<&Resource>,
    ) -> Result<Vec<Write>> {
        let Some(id) = backup.policy else { return Ok(Vec::new()) };
        let Some(policy) = if_found(self.ledger.get::<Policy>(&Scope::everything(), id).await)? else {
            return Ok(Vec::new());
        };
        let policy = policy.value;
        let named = task.spec.resource.clone().unwrap_or_default();
        let owner = Owner { tenant: task.spec.tenant, resource: named, affinity: task.spec.affinity.clone() };
        if policy.retention.rules.is_empty() || policy.retention.before_backup {
            return Ok(Vec::new());
        }
        let zone = match resource {
            Some(resource) => self.zone_of(&policy, resource).await?,
            None => TimeZone::UTC,
        };
        let archive = backup.archive;
        let (tasks, kept) = self.retention(&policy, &owner, archive, Some(backup), &zone, self.moment()).await?;
        let tasks = tasks.into_iter().map(|spec| Write::CreateTask(Box::new(spec)));
        Ok(tasks.chain(kept).collect())
    }

    /// The retention that goes before a backup, where the policy wants it so: its tasks, and why the others stay.
    pub(super) async fn retention_before(
        &self,
        app: &Application,
        policy: &Policy,
        resource: &Resource,
        zone: &TimeZone,
        moment: Moment,
    ) -> Result<(Vec<TaskSpec>, Vec<Write>)> {
        if policy.retention.rules.is_empty() || !policy.retention.before_backup {
            return Ok((Vec::new(), Vec::new()));
        }
        let owner = Owner {
            tenant: app.tenant,
            resource: super::runs::named_resource(resource),
            affinity: Affinity::to(resource.agent),
        };
        self.retention(policy, &owner, app.archive_id(), None, zone, moment).await
    }

    /// Judges an archive: a task for each repository that something goes from, or one with nothing to do, and why the
    /// others stay where that has changed.
    async fn retention(
        &self,
        policy: &Policy,
        owner: &Owner,
        archive: Uuid,
        new: Option<&mut Backup>,
        zone: &TimeZone,
        moment: Moment,
    ) -> Result<(Vec<TaskSpec>, Vec<Write>)> {
        let (stored, of_new) = self.judged(policy, archive, new.as_deref(), zone, moment, None).await?;
        let mut kept = Vec::new();
        let mut going: Vec<(Backup, Verdict)> = Vec::new();
        for (Stored { rev, value: mut backup }, verdict) in stored {
            if !verdict.stays() {
                going.push((backup, verdict));
            } else if verdict.because != backup.kept_because {
                backup.kept_because = verdict.because;
                kept.push(Write::Put(Box::new(backup.into()), Expect::Rev(rev)));
            }
        }
        if let (Some(new), Some(verdict)) = (new, of_new) {
            // It is the newest, or as good as: an older one that comes in late is looked at with the next backup.
            new.kept_because = verdict.because;
        }
        Ok((tasks(policy, owner, archive, going), kept))
    }

    /// The recovery points of an archive and what the policy's rules say of them at this moment, and of a new one that is not
    /// stored yet. `in_use` are the [`Service::points_in_use`], where whoever asks knows them already.
    pub(super) async fn judged(
        &self,
        policy: &Policy,
        archive: Uuid,
        new: Option<&Backup>,
        zone: &TimeZone,
        moment: Moment,
        in_use: Option<&HashSet<Uuid>>,
    ) -> Result<(Vec<(Stored<Backup>, Verdict)>, Option<Verdict>)> {
        let stored = self.ledger.all::<Backup>(&Scope::everything(), of_archive(archive)?).await?;
        let mut candidates: Vec<Candidate> = stored.iter().map(|s| candidate(&s.value)).collect();
        candidates.extend(new.map(candidate));
        let frame = Frame { zone, week: policy.schedule.week_starts_on(), now: moment.now };
        let mut verdicts = policy.retention.judge(&candidates, frame);
        let in_use = match in_use {
            Some(in_use) => Cow::Borrowed(in_use),
            None if verdicts.iter().all(Verdict::stays) => Cow::default(),
            None => Cow::Owned(self.points_in_use().await?),
        };
        for verdict in verdicts.iter_mut().filter(|v| !v.stays() && in_use.contains(&v.id)) {
            verdict.because = vec!["a task that is not done needs it".to_owned()];
        }
        let of_new = if verdicts.len() > stored.len() { verdicts.pop() } else { None };
        Ok((stored.into_iter().zip(verdicts).collect(), of_new))
    }

    /// Whether a retention that waited to go before a backup would remove what is to stay by now: the backup is over, nothing
    /// is applied any more, or the rules have changed. Nothing is removed then; the next one is judged anew.
    pub(super) async fn is_outdated(&self, task: &Task) -> Result<bool> {
        let everything = Scope::everything();
        let Ok(Work::Forget(work)) = Work::of(&task.spec) else { return Ok(false) };
        // One that was handed out before may have removed something already, and is carried through.
        if task.spec.kind != kind::RETENTION || work.points.is_empty() || task.status.assign_count > 1 {
            return Ok(false);
        }
        let backup = task.spec.context.get(BEFORE).and_then(|id| Uuid::parse_str(id.as_str()?).ok());
        let Some(backup) = backup else { return Ok(false) };
        let backup = if_found(self.ledger.task(&everything, TaskRef::Uuid(backup)).await)?;
        if backup.is_none_or(|t| t.state() == State::Completed) {
            return Ok(true);
        }
        let id = |named: &Option<Named>| named.as_ref().and_then(|n| Uuid::parse_str(&n.id).ok());
        let (Some(policy), Some(resource)) = (id(&task.spec.policy), id(&task.spec.resource)) else { return Ok(true) };
        let Some(resource) = if_found(self.ledger.get::<Resource>(&everything, resource).await)? else {
            return Ok(true);
        };
        if self.application(&everything, policy, resource.value.id).await?.is_none() {
            return Ok(true);
        }
        let Some(policy) = if_found(self.ledger.get::<Policy>(&everything, policy).await)? else { return Ok(true) };
        let policy = policy.value;
        let zone = self.zone_of(&policy, &resource.value).await?;
        let (judged, _) = self.judged(&policy, work.archive, None, &zone, self.moment(), None).await?;
        let stays: HashSet<Uuid> = judged.iter().filter(|(_, v)| v.stays()).map(|(_, v)| v.id).collect();
        Ok(work.points.iter().any(|point| stays.contains(&point.backup)))
    }

    /// The recovery points that tasks which are not done write back or read again.
    pub(super) async fn points_in_use(&self) -> Result<HashSet<Uuid>> {
        let types = [kind::RECOVERY, kind::FILE_RECOVERY, kind::VERIFICATION];
        let types = types.map(|k| Pattern::Is(Value::Text(k.to_owned()))).to_vec();
        let filter = Filter::all()
            .and(TaskField::Type, Test::AnyOf(types))?
            .and(TaskField::State, Test::NoneOf(vec![Pattern::Is(Value::Enum(State::Completed.ordinal()))]))?;
        let open = self.ledger.tasks(&Scope::everything(), &Query::newest(filter, MAX_LIMIT)).await?.items;
        let point = |task: &Task| match Work::of(&task.spec) {
            Ok(Work::Recovery(work)) => Some(work.backup),
            Ok(Work::Download(work)) => Some(work.backup),
            Ok(Work::Verification(work)) => Some(work.backup),
            _ => None,
        };
        Ok(open.iter().filter_map(point).collect())
    }

    /// What a retention that went well changes: what it removed is forgotten, and the repository was reached.
    pub(super) async fn forgotten(&self, work: &ForgetWork) -> Result<Vec<Write>> {
        let gone = work.points.iter().map(|point| Write::Remove(RecordKind::Backup, point.backup));
        let archive = if_found(self.ledger.get::<Archive>(&Scope::everything(), work.archive).await)?;
        let seen = archive.map(|Stored { rev, mut value }| {
            value.last_seen_at = value.last_seen_at.max(self.moment().now);
            Write::Put(Box::new(value.into()), Expect::Rev(rev))
        });
        Ok(gone.chain(seen).collect())
    }

    /// A good backup with a warning more where the retention before it did not go well.
    pub(super) async fn warned(&self, task: &Task, mut outcome: Outcome) -> Result<Outcome> {
        if !matches!(outcome.code, OutcomeCode::Ok | OutcomeCode::Warning) {
            return Ok(outcome);
        }
        for before in tasks_before(task) {
            let before = if_found(self.ledger.task(&Scope::everything(), TaskRef::Uuid(before)).await)?;
            let Some(before) = before.filter(|t| t.spec.kind == kind::RETENTION) else { continue };
            let code = before.result().map(|r| r.code);
            if !matches!(code, Some(ResultCode::Ok | ResultCode::Warning)) {
                let message = format!("The retention before this backup, task {}, did not go well.", before.id);
                outcome.code = OutcomeCode::Warning;
                outcome.warnings.push(TaskError::server("retentionFailed", message));
            }
        }
        Ok(outcome)
    }
}

/// The recovery points of an archive that are not being deleted. What has an end of its own is none of the policy's.
fn of_archive(archive: Uuid) -> Result<Filter<RecordField>> {
    let archive = Filter::all().is(RecordField::Archive, Value::Uuid(archive))?;
    archive.and(RecordField::EndedAt, Test::Absent)?.and(RecordField::ExpiresAt, Test::Absent)
}

fn candidate(backup: &Backup) -> Candidate {
    Candidate { id: backup.id, created_at: backup.created_at }
}

/// One task for each repository, because the policy may have gone to another one in between.
fn tasks(policy: &Policy, owner: &Owner, archive: Uuid, mut going: Vec<(Backup, Verdict)>) -> Vec<TaskSpec> {
    going.sort_by_key(|(b, _)| (b.repository != policy.repository, b.repository, b.created_at));
    let group = |repository| ForgetWork { repository, archive, ..ForgetWork::default() };
    let mut groups = vec![group(policy.repository)];
    for (backup, verdict) in going {
        if groups.last().is_none_or(|work| work.repository != backup.repository) {
            groups.push(group(backup.repository));
        }
        // What is too much for one argument goes with the next retention, the oldest first.
        if let Some(work) = groups.last_mut().filter(|work| work.points.len() < MAX_POINTS) {
            work.add(backup.id, backup.snapshot, &verdict.against);
        }
    }
    if groups.len() > 1 && groups[0].points.is_empty() {
        groups.remove(0);
    }
    let title = format!("Removing old backups of '{}' by plan '{}'", owner.resource.name, policy.name);
    groups.iter().map(|work| removal(title.clone(), work, policy, owner)).collect()
}

/// The task for the agent that makes the backups.
fn removal(title: String, work: &ForgetWork, policy: &Policy, owner: &Owner) -> TaskSpec {
    let mut spec = TaskSpec::new(Uuid::now_v7(), kind::RETENTION, AGENT_QUEUE, owner.tenant);
    spec.argument = json!(work).into();
    spec.context = json!({ "title": title, "run_mode": "scheduled" }).into();
    spec.priority = Priority::BelowNormal;
    let type_ = policy_type(policy, kind::RETENTION).to_owned();
    spec.policy = Some(Named::ours(policy.id, &type_, &policy.name));
    spec.resource = Some(owner.resource.clone());
    spec.affinity = owner.affinity.clone();
    spec.rules = own_rules();
    spec
}
