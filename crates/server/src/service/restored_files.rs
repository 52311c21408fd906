//! Restored files: an agent takes files out of a backup and hands them over, and the server keeps them for a while to be
//! fetched. The record is made with the task; the bytes arrive while its lease holds, before the task is completed; what
//! has expired or belongs to a task that failed is removed by the scheduler. So nothing is left over whatever is cut off.

use std::ops::Bound;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use domain::agent::{AGENT_QUEUE, Agent};
use domain::backup::Backup;
use domain::query::{Filter, Query, RecordField, Slice, Test, Value};
use domain::record::RecordKind;
use domain::resource::Resource;
use domain::restored_file::{KEPT_FOR, RestoredFile};
use domain::task::{Affinity, Entity, LeaseToken, Named, State, Task, TaskId, TaskRef, TaskSpec, entity, kind};
use domain::tenant::Tenant;
use domain::work::{DownloadDone, DownloadWork, Work};
use domain::{Caller, Code, Error, Result, Right, Scope, Timestamp, Uuid, if_found};
use ledger::{Expect, Stored, Write};
use serde_json::json;
use tokio::fs::File;

use super::Service;
use super::asked::Asked;
use super::runs::{named_resource, own_rules};
use crate::authority::ClientCertificate;
use crate::downloads::{Downloads, Incoming};

/// What the keys of downloads are made for.
const PURPOSE: &str = "restored files";
/// The longest name of a file, in characters.
const MAX_NAME: usize = 255;

/// Files that are asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct FilesWish {
    /// The recovery point.
    pub backup: Uuid,
    /// Which paths of it, absolute and in the agent's text form.
    pub paths: Vec<String>,
}

impl Service {
    /// The same services, which keep files to be fetched.
    #[must_use]
    pub fn keeping(self, downloads: Downloads) -> Service {
        Service { downloads: Some(downloads), ..self }
    }

    /// Asks for files of a recovery point to be fetched: a task for the agent that can read it.
    ///
    /// # Errors
    /// `forbidden` below operator, `not_found`, `invalid_field` for a path, `disabled` when the server keeps no files.
    pub async fn restore_files(&self, caller: &Caller, wish: FilesWish, asked: Asked) -> Result<(RestoredFile, Task)> {
        let scope = caller.may(Right::Operate)?;
        if self.downloads.is_none() {
            return Err(Error::new(Code::Disabled, "this server keeps no files to be fetched"));
        }
        let backup = self.ledger.get::<Backup>(scope, wish.backup).await.map_err(|e| e.field("backup"))?.value;
        if backup.deleted_at.is_some() {
            return Err(Error::not_found("backup", backup.id).field("backup"));
        }
        if wish.paths.is_empty() {
            return Err(Error::missing("paths").hint("name at least one file or folder"));
        }
        if let Some(path) = wish.paths.iter().find(|path| !path.starts_with('/')) {
            return Err(Error::invalid("paths", format!("'{path}' is no absolute path")));
        }
        let resource = if_found(self.ledger.get::<Resource>(&Scope::everything(), backup.resource).await)?;
        let resource = resource.map(|r| r.value);
        let now = self.moment().now;
        let name = match &wish.paths[..] {
            [path] => plain_name(path),
            _ => None,
        };
        let mut file = RestoredFile {
            id: Uuid::now_v7(),
            tenant: resource.as_ref().map_or(backup.tenant, |r| r.tenant),
            resource: backup.resource,
            backup: backup.id,
            backup_created_at: backup.created_at,
            task: Uuid::now_v7(),
            task_number: None,
            name: name.unwrap_or_else(|| "files.tar.gz".to_owned()),
            size: 0,
            asked_by: caller.name.clone(),
            expires_at: None,
            created_at: now,
            updated_at: now,
        };
        if !scope.is_everything() && resource.as_ref().is_none_or(|r| r.tenant != backup.tenant) {
            // The resource may have gone to where the caller does not see it.
            let seen = if_found(self.ledger.get::<Tenant>(scope, file.tenant).await)?.is_some();
            file.tenant = if seen { file.tenant } else { backup.tenant };
        }
        let mut spec = TaskSpec::new(file.task, kind::FILE_RECOVERY, AGENT_QUEUE, file.tenant);
        spec.argument = json!(DownloadWork {
            backup: backup.id,
            repository: backup.repository,
            snapshot: backup.snapshot.clone(),
            paths: wish.paths,
            download: file.id,
        })
        .into();
        spec.context = json!({
            "title": format!("Fetching '{}' out of a backup of '{}'", file.name, backup.resource_name),
            "run_mode": "manual",
        })
        .into();
        let of_backup = || Named::ours(backup.resource, "", &backup.resource_name);
        spec.resource = Some(resource.as_ref().map_or_else(of_backup, named_resource));
        // What it is about beside the resource.
        spec.parent_entity = Some(Entity::ours(file.id, entity::RESTORED_FILE, &file.name));
        // Any agent will do where there is none of its own any more.
        let agent = resource.as_ref().and_then(|r| r.agent);
        spec.affinity = Affinity::to(agent);
        spec.started_by = Some(caller.name.as_str().into());
        spec.rules = own_rules();
        asked.write_into(&mut spec);
        let entry = self.audit(caller, "create", &file.clone().into());
        let writes =
            vec![Write::CreateTask(Box::new(spec)), Write::Put(Box::new(file.clone().into()), Expect::New), entry];
        let committed = self.ledger.commit(scope, self.moment(), writes).await?;
        self.deliver(&committed);
        let task = committed.task().cloned();
        Ok((file, task.ok_or_else(|| Error::new(Code::Internal, "the new task is not in the commit"))?))
    }

    /// Restored files that are there and have not expired.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn restored_files(&self, caller: &Caller, query: &Query<RecordField>) -> Result<Slice<RestoredFile>> {
        let from = Bound::Excluded(Value::Time(self.moment().now));
        let mut query = query.clone();
        query.filter = query.filter.and(RecordField::ExpiresAt, Test::Range { from, to: Bound::Unbounded })?;
        Ok(self.ledger.list::<RestoredFile>(caller.may(Right::View)?, &query).await?.map(|s| s.value))
    }

    /// Restored files by their ids, also those that are not there yet.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn restored_file(&self, caller: &Caller, id: Uuid) -> Result<RestoredFile> {
        Ok(self.ledger.get::<RestoredFile>(caller.may(Right::View)?, id).await?.value)
    }

    /// What lets anybody fetch this file until it expires.
    #[must_use]
    pub fn download_key(&self, file: &RestoredFile) -> String {
        let until = file.expires_at.map_or(0, Timestamp::as_second);
        let tag = hmac::sign(&self.mac_key(PURPOSE), signed(file.id, until).as_bytes());
        format!("{until}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag.as_ref()))
    }

    /// A restored file and its bytes, for whoever has its key.
    ///
    /// # Errors
    /// `not_found` for a wrong key as for what is not there, so that nothing can be found out by trying.
    pub async fn fetch_restored_file(&self, id: Uuid, key: &str) -> Result<(RestoredFile, File)> {
        let none = || Error::not_found("restored file", id);
        let (until, tag) = key.split_once('.').ok_or_else(none)?;
        let until: i64 = until.parse().map_err(|_| none())?;
        let tag = BASE64_URL_SAFE_NO_PAD.decode(tag).map_err(|_| none())?;
        hmac::verify(&self.mac_key(PURPOSE), signed(id, until).as_bytes(), &tag).map_err(|_| none())?;
        let file = self.ledger.get::<RestoredFile>(&Scope::everything(), id).await?.value;
        if file.expires_at.is_none_or(|end| end <= self.moment().now || end.as_second() != until) {
            return Err(none());
        }
        let bytes = self.downloads.as_ref().ok_or_else(none)?.open(id).await?;
        Ok((file, bytes))
    }

    /// Makes room for the file of a task that an agent holds under this lease.
    ///
    /// # Errors
    /// `unauthenticated`, `lease_lost`, `storage_full`.
    pub async fn begin_upload(
        &self,
        (secret, shown): (&str, Option<ClientCertificate>),
        task: TaskId,
        lease: LeaseToken,
        size: u64,
    ) -> Result<Incoming> {
        let token = self.agent_token(secret, shown).await?;
        let lost = || Error::new(Code::LeaseLost, format!("task {task} is not this agent's any more"));
        let found = if_found(self.ledger.task(&Scope::everything(), TaskRef::Id(task)).await)?.ok_or_else(lost)?;
        let agent = self.ledger.find::<Agent>(&Scope::everything(), &token.id.to_string()).await?.ok_or_else(lost)?;
        let holder = found.executor().map(|e| &*e.id);
        if found.lease() != Some(&lease) || holder != Some(&*agent.value.id.to_string()) {
            return Err(lost());
        }
        let Ok(Work::Download(work)) = Work::of(&found.spec) else {
            return Err(Error::invalid("task", format!("task {task} hands over no file")));
        };
        let downloads = self.downloads.as_ref();
        downloads
            .ok_or_else(|| Error::new(Code::Disabled, "this server keeps no files"))?
            .begin(work.download, size)
            .await
    }

    /// Whether what an agent says it handed over is there.
    pub(super) async fn has_arrived(&self, work: &DownloadWork, done: &DownloadDone) -> bool {
        match &self.downloads {
            Some(downloads) => downloads.size(work.download).await == Some(done.size),
            None => false,
        }
    }

    /// What the ledger is to keep of a file that was handed over.
    pub(super) async fn handed_over(&self, task: &Task, work: &DownloadWork, done: DownloadDone) -> Result<Vec<Write>> {
        let found = if_found(self.ledger.get::<RestoredFile>(&Scope::everything(), work.download).await)?;
        let Some(Stored { rev, value: mut file }) = found else { return Ok(Vec::new()) };
        if let Some(name) = plain_name(&done.name) {
            file.name = name;
        }
        file.size = done.size;
        file.task_number = Some(task.id.0);
        file.expires_at = self.moment().now.checked_add(KEPT_FOR).ok();
        Ok(vec![Write::Put(Box::new(file.into()), Expect::Rev(rev))])
    }

    /// Removes restored files that have expired or whose task did not bring them, and bytes that belong to none.
    ///
    /// # Errors
    /// Those of the ledger and of the folder; what was done before one stays.
    pub async fn clean_downloads(&self) -> Result<()> {
        let Some(downloads) = &self.downloads else { return Ok(()) };
        let everything = Scope::everything();
        let now = self.moment().now;
        let to = Bound::Included(Value::Time(now));
        let expired = Filter::all().and(RecordField::ExpiresAt, Test::Range { from: Bound::Unbounded, to })?;
        let mut gone: Vec<Uuid> = Vec::new();
        for file in self.ledger.all::<RestoredFile>(&everything, expired).await? {
            gone.push(file.value.id);
        }
        let awaited = Filter::all().and(RecordField::ExpiresAt, Test::Absent)?;
        for file in self.ledger.all::<RestoredFile>(&everything, awaited).await? {
            let task = if_found(self.ledger.task(&everything, TaskRef::Uuid(file.value.task)).await)?;
            // One that ended well has an end of its own, written in the same commit.
            if task.is_none_or(|task| task.state() == State::Completed) {
                let now = if_found(self.ledger.get::<RestoredFile>(&everything, file.value.id).await)?;
                gone.extend(now.filter(|f| f.value.expires_at.is_none()).map(|f| f.value.id));
            }
        }
        for id in gone {
            // First the bytes: without a record nobody would know of them but the look below.
            downloads.remove(id).await?;
            self.ledger.commit(&everything, self.moment(), vec![Write::Remove(RecordKind::RestoredFile, id)]).await?;
        }
        for lying in downloads.all().await? {
            if if_found(self.ledger.get::<RestoredFile>(&everything, lying.id).await)?.is_none() {
                downloads.remove(lying.id).await?;
            }
        }
        Ok(())
    }
}

fn signed(id: Uuid, until: i64) -> String {
    format!("{id}/{until}")
}

/// The last part of a path, as a name for a file on anybody's disk.
fn plain_name(path: &str) -> Option<String> {
    let last = path.rsplit(['/', '\\']).find(|part| !part.is_empty())?;
    let name: String = last.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    (!name.is_empty() && name != "." && name != "..").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn names_are_one_part_of_a_path() {
        for (path, name) in [
            ("/home/jo/letter.txt", Some("letter.txt")),
            ("/home/jo/", Some("jo")),
            ("/", None),
            ("", None),
            ("/..", None),
            ("a\\b\n.txt", Some("b.txt")),
        ] {
            assert_eq!(plain_name(path).as_deref(), name, "{path}");
        }
    }
}
