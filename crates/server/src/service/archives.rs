//! Archives: the backups of one resource under one policy, with what they take up. They come with their first backup.

use std::collections::HashMap;

use domain::archive::{Archive, expand_name};
use domain::backup::Backup;
use domain::query::{Filter, RecordField, Test, Value};
use domain::task::{Named, Task};
use domain::work::{BackupWork, OwnTerms};
use domain::{Caller, Result, Right, Scope, Timestamp, Uuid, if_found};
use ledger::{Expect, Stored, Write};

use super::Service;

/// An archive with what its backups take up.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchiveView {
    /// The archive.
    pub archive: Archive,
    /// Its newest backup.
    pub newest: Backup,
    /// Bytes that its backups added to the repository, deduplicated and compressed.
    pub added: u64,
    /// The same before compression.
    pub added_raw: u64,
    /// Bytes of all files of all its backups.
    pub size: u64,
}

impl Service {
    /// The archives that match and have a backup, oldest first.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn archives(&self, caller: &Caller, filter: Filter<RecordField>) -> Result<Vec<ArchiveView>> {
        let scope = caller.may(Right::View)?;
        let filter = filter.and(RecordField::EndedAt, Test::Absent)?;
        let archives = self.ledger.all::<Archive>(scope, filter.clone()).await?;
        // Archives and their backups have the same owner, resource and policy.
        let mut backups: HashMap<Uuid, Vec<Backup>> = HashMap::new();
        for backup in self.ledger.all::<Backup>(scope, filter).await? {
            backups.entry(backup.value.archive).or_default().push(backup.value);
        }
        let view = |Stored { value: archive, .. }: Stored<Archive>| {
            let backups = backups.remove(&archive.id)?;
            let sum = |of: fn(&Backup) -> u64| backups.iter().map(of).fold(0, u64::saturating_add);
            let (added, added_raw, size) = (sum(|b| b.added), sum(|b| b.added_raw), sum(|b| b.size));
            let newest = backups.into_iter().max_by_key(|b| (b.created_at, b.id))?;
            Some(ArchiveView { archive, newest, added, added_raw, size })
        };
        Ok(archives.into_iter().filter_map(view).collect())
    }

    /// One archive, also one whose backups are gone.
    ///
    /// # Errors
    /// `not_found`, also for one that is being deleted.
    pub async fn archive_by_id(&self, caller: &Caller, id: Uuid) -> Result<Archive> {
        let archive = self.ledger.get::<Archive>(caller.may(Right::View)?, id).await?.value;
        if archive.deleted_at.is_some() {
            return Err(domain::Error::not_found("archive", id));
        }
        Ok(archive)
    }

    /// The archive of a policy and a resource, if there is one.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn archive_of(&self, caller: &Caller, policy: Uuid, resource: Uuid) -> Result<Option<Archive>> {
        let scope = caller.may(Right::View)?;
        Ok(self.ledger.find::<Archive>(scope, &Archive::key_of(policy, resource)).await?.map(|a| a.value))
    }

    /// The archive that a backup goes to, as it is to be written with it: it is made with its first backup, and remembers
    /// when its repository was last reached.
    pub(super) async fn archive_for(
        &self,
        task: &Task,
        work: &BackupWork,
        resource: &Named,
        seen_at: Timestamp,
    ) -> Result<(Uuid, Option<(Archive, Expect)>)> {
        let apart = OwnTerms::of(&task.spec).apart;
        let policy = task.spec.policy.clone().filter(|_| !apart).unwrap_or_default();
        let policy_id = Uuid::parse_str(&policy.id).ok().or(apart.then(Uuid::nil));
        let (Some(policy_id), Ok(resource_id)) = (policy_id, Uuid::parse_str(&resource.id)) else {
            return Ok((work.archive, None));
        };
        let everything = Scope::everything();
        let key = match apart {
            true => Archive::key_by_hand(work.repository, resource_id),
            false => Archive::key_of(policy_id, resource_id),
        };
        // The one of the pair goes before the one that was meant when the task was made: that one may be gone.
        if let Some(Stored { rev, mut value }) = self.ledger.find::<Archive>(&everything, &key).await? {
            value.last_seen_at = value.last_seen_at.max(seen_at);
            // Its policy may have gone to another one in between, where nothing was read yet.
            value.all_verified = value.all_verified.filter(|_| value.repository == work.repository);
            value.repository = work.repository;
            return Ok((value.id, Some((value, Expect::Rev(rev)))));
        }
        let used = if_found(self.ledger.get::<Archive>(&everything, work.archive).await)?.is_some();
        let id = if used { Uuid::now_v7() } else { work.archive };
        let archive = Archive {
            id,
            tenant: task.spec.tenant,
            name: match apart {
                true => format!("{}-by hand-{id}A", resource.name),
                false => expand_name(&work.settings.archive_name, id, &resource.name, policy_id, &policy.name),
            },
            resource: resource_id,
            resource_name: resource.name.to_string(),
            policy: policy_id,
            policy_name: policy.name.into(),
            repository: work.repository,
            damaged: false,
            all_verified: None,
            last_seen_at: seen_at,
            created_at: seen_at,
            updated_at: seen_at,
            deleted_at: None,
        };
        Ok((id, Some((archive, Expect::New))))
    }

    /// The application's archive when the present one goes: the next backup begins a new one.
    pub(super) async fn begin_new_archive(&self, policy: Uuid, resource: Uuid) -> Result<Option<Write>> {
        let scope = Scope::everything();
        let Some(app) = self.application(&scope, policy, resource).await? else { return Ok(None) };
        let mut changed = app.value;
        changed.archive = Some(Uuid::now_v7());
        Ok(Some(Write::Put(Box::new(changed.into()), Expect::Rev(app.rev))))
    }

    /// The backups of an archive, whether or not they are being deleted.
    pub(super) async fn backups_in(&self, archive: Uuid) -> Result<Vec<Stored<Backup>>> {
        let filter = Filter::all().is(RecordField::Archive, Value::Uuid(archive))?;
        self.ledger.all::<Backup>(&Scope::everything(), filter).await
    }
}
