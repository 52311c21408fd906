//! Archives and recovery points (section 12.2): list them, look into them, write them back, delete them.

use std::collections::HashMap;
use std::ops::Bound;

use domain::backup::Backup;
use domain::query::{Filter, Key, Order, Query, RecordField, Test, Value};
use domain::work::Overwrite;
use domain::{Code, Error, Uuid};
use proto::yandex::cloud::backup::v1::backup_service_server::SERVICE_NAME;
use proto::yandex::cloud::backup::v1::{
    self as wire, DeleteArchiveRequest, DeleteBackupRequest, GetBackupRequest, ListArchivesRequest,
    ListArchivesResponse, ListBackupsRequest, ListBackupsResponse, ListFilesRequest, ListFilesResponse,
    StartFilesRecoveryRequest, StartRecoveryRequest, files_recovery_options, list_archives_request,
    list_backups_request,
};
use proto::yandex::cloud::operation::Operation;

use super::backup_map::{self, Around};
use super::call::Call;
use super::dispatch::Handlers;
use super::failure::Failure;
use super::listing::{self, Comparison, Term};
use super::operations::operation_message;
use super::{file_id, machine_map, pages};
use crate::service::FilesRecovery;

/// How many recovery points a page has where the caller does not say (Y43).
const PAGE: i64 = 1000;
/// How many entries of a directory an agent is asked for at a time.
const ENTRIES: u32 = 5000;

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on(SERVICE_NAME, "ListArchives", list_archives);
    handlers.on(SERVICE_NAME, "List", list);
    handlers.on(SERVICE_NAME, "ListFiles", list_files);
    handlers.on(SERVICE_NAME, "Get", get);
    handlers.on(SERVICE_NAME, "StartRecovery", start_recovery);
    handlers.on(SERVICE_NAME, "StartFilesRecovery", start_files_recovery);
    handlers.on(SERVICE_NAME, "Delete", delete);
    handlers.on(SERVICE_NAME, "DeleteArchive", delete_archive);
}

async fn list_archives(call: Call, request: ListArchivesRequest) -> Result<ListArchivesResponse, Failure> {
    use list_archives_request::Id;
    let (field, id) = match request.id.ok_or_else(no_id)? {
        Id::FolderId(id) => (RecordField::Tenant, call.folder(&id).await?.id),
        Id::ComputeInstanceId(id) => {
            (RecordField::Resource, call.service().known_instance(call.caller()?, &id).await?.id)
        }
    };
    let filter = Filter::all().is(field, Value::Uuid(id))?;
    let mut found = call.service().archives(call.caller()?, filter).await?;
    found.sort_by_key(|view| (view.archive.created_at, view.archive.id));
    let around = Around {
        resources: call.service().resources_by_id(call.caller()?, found.iter().map(|v| v.archive.resource)).await?,
        locations: call.service().locations(found.iter().map(|v| v.archive.repository)).await?,
        archives: HashMap::new(),
    };
    let archives = found.iter().map(|view| backup_map::archive(view, &around)).collect();
    pages::whole(ListArchivesResponse { archives }, "ask by machine, with compute_instance_id")
}

async fn list(call: Call, request: ListBackupsRequest) -> Result<ListBackupsResponse, Failure> {
    let resource_type = request.r#type();
    let direction = listing::order_by(&request.order_by).map_err(|right| Failure::field("order_by", right))?;
    let terms = listing::filter(&request.filter).map_err(|right| Failure::field("filter", right))?;
    let (filter, unpaged) = chosen(&call, request.id.ok_or_else(no_id)?).await?;
    let mut filter = created(filter, &terms)?;
    if let Some((kind, external)) = machine_map::of_type(resource_type) {
        filter = filter
            .is(RecordField::ResourceKind, Value::Text(kind.name().to_owned()))?
            .is(RecordField::External, Value::Bool(external))?;
    }
    let order = Order::by(vec![(RecordField::CreatedAt, direction)])?;
    if unpaged {
        let mut found = call.service().all_backups(call.caller()?, filter).await?;
        found.sort_by(|a, b| order.compare(&a.clone().into(), &b.clone().into()));
        let backups = shown(&call, &found).await?;
        let answer = ListBackupsResponse { backups, next_page_token: String::new() };
        return pages::whole(answer, "ask by machine and policy, with instance_policy");
    }
    let query = Query { filter, order, page: call.page(PAGE)?, total: false };
    let found = call.service().backups(call.caller()?, &query).await?.items;
    let place = |i: usize| Key(vec![Some(Value::Time(found[i].created_at)), Some(Value::Uuid(found[i].id))]);
    let (backups, next_page_token) = call.cut(shown(&call, &found).await?, PAGE, place)?;
    Ok(ListBackupsResponse { backups, next_page_token })
}

/// Which recovery points are asked for, and whether they come in one answer without pages (Y44). What once was and still has
/// recovery points is known.
async fn chosen(call: &Call, id: list_backups_request::Id) -> Result<(Filter<RecordField>, bool), Failure> {
    use list_backups_request::Id;
    let is = |field, id| Filter::all().is(field, Value::Uuid(id));
    let caller = call.caller()?;
    Ok(match id {
        Id::ComputeInstanceId(id) => {
            (is(RecordField::Resource, call.service().known_instance(caller, &id).await?.id)?, false)
        }
        Id::ResourceId(id) => (is(RecordField::Resource, known(call, "resource", &id).await?)?, false),
        Id::FolderId(id) => (is(RecordField::Tenant, call.folder(&id).await?.id)?, false),
        Id::PolicyId(id) => (is(RecordField::Policy, known(call, "policy", &id).await?)?, true),
        Id::InstancePolicy(pair) => {
            let resource = call.service().known_instance(caller, &pair.compute_instance_id).await?.id;
            let policy = known(call, "policy", &pair.policy_id).await?;
            (is(RecordField::Resource, resource)?.is(RecordField::Policy, Value::Uuid(policy))?, false)
        }
        Id::Archive(archive) => {
            let folder = call.folder(&archive.folder_id).await?;
            let id = parse("archive", &archive.archive_id)?;
            let found = call.service().archive_by_id(caller, id).await?;
            if found.tenant != folder.id {
                return Err(Failure::not_found("archive", &archive.archive_id));
            }
            (is(RecordField::Archive, id)?, false)
        }
        Id::Backup(backup) => {
            let found = in_folder(call, &backup.backup_id, &backup.folder_id).await?;
            (is(RecordField::Id, found.id)?, false)
        }
    })
}

/// The id of a policy or resource that is there, or that recovery points are still of.
async fn known(call: &Call, what: &str, text: &str) -> Result<Uuid, Failure> {
    let id = parse(what, text)?;
    let caller = call.caller()?;
    let (field, found) = match what {
        "policy" => (RecordField::Policy, call.service().visible_policy(caller, id).await.map(|policy| policy.id)),
        _ => (RecordField::Resource, call.service().known_instance(caller, text).await.map(|resource| resource.id)),
    };
    match found {
        Err(e) if e.code == Code::NotFound => {
            let query = Query::newest(Filter::all().is(field, Value::Uuid(id))?, 1);
            if call.service().backups(caller, &query).await?.items.is_empty() {
                return Err(Failure::not_found(what, text));
            }
            Ok(id)
        }
        // An instance may be named like another one's id; what was found counts.
        other => Ok(other?),
    }
}

/// The filter with the comparisons of the time of creation.
fn created(mut filter: Filter<RecordField>, terms: &[Term]) -> Result<Filter<RecordField>, Error> {
    use domain::query::Pattern;
    for Term { comparison, time } in terms {
        let time = Value::Time(*time);
        let range = |from, to| Test::Range { from, to };
        let test = match comparison {
            Comparison::Equal => Test::AnyOf(vec![Pattern::Is(time)]),
            Comparison::NotEqual => Test::NoneOf(vec![Pattern::Is(time)]),
            Comparison::Less => range(Bound::Unbounded, Bound::Excluded(time)),
            Comparison::AtMost => range(Bound::Unbounded, Bound::Included(time)),
            Comparison::Greater => range(Bound::Excluded(time), Bound::Unbounded),
            Comparison::AtLeast => range(Bound::Included(time), Bound::Unbounded),
        };
        filter = filter.and(RecordField::CreatedAt, test)?;
    }
    Ok(filter)
}

/// The recovery points as they are shown.
async fn shown(call: &Call, backups: &[Backup]) -> Result<Vec<wire::Backup>, Failure> {
    let caller = call.caller()?;
    let around = Around {
        resources: call.service().resources_by_id(caller, backups.iter().map(|b| b.resource)).await?,
        locations: call.service().locations(backups.iter().map(|b| b.repository)).await?,
        archives: call.service().archives_by_id(caller, backups.iter().map(|b| b.archive)).await?,
    };
    Ok(backups.iter().map(|b| backup_map::backup(b, &around)).collect())
}

async fn get(call: Call, request: GetBackupRequest) -> Result<wire::Backup, Failure> {
    let found = in_folder(&call, &request.backup_id, &request.folder_id).await?;
    let mut shown = shown(&call, std::slice::from_ref(&found)).await?;
    shown.pop().ok_or_else(|| Failure::defect("one backup is shown as one"))
}

/// Level by level: the roots, or what is in a directory (Y68).
async fn list_files(call: Call, request: ListFilesRequest) -> Result<ListFilesResponse, Failure> {
    let backup = in_folder(&call, &request.backup_id, &request.folder_id).await?;
    if request.source_id.is_empty() {
        let files = backup_map::tops(&backup).iter().map(|root| backup_map::root(&backup, root)).collect();
        return pages::whole(ListFilesResponse { files }, WHOLE);
    }
    let path = file_id::decode(&request.source_id).ok_or_else(|| Failure::field("source_id", "Field is not an id"))?;
    let path = domain::path::text_of(&path);
    let mut answer = ListFilesResponse::default();
    let mut after = None;
    loop {
        let list = call.service().backup_files(call.caller()?, backup.id, &path, after, ENTRIES).await;
        let list = list.map_err(|error| match error.code {
            Code::NotFound => Failure::not_found("source item", &request.source_id),
            Code::InvalidField => Failure::field("source_id", "Field is not the id of a directory"),
            _ => Failure::from(error).about(request.backup_id.as_str()),
        })?;
        after = list.entries.last().map(|e| e.name.clone());
        answer.files.extend(list.entries.iter().map(|e| backup_map::file(e, &request.source_id)));
        answer = pages::whole(answer, WHOLE)?;
        if !list.more || after.is_none() {
            break;
        }
    }
    let directory = wire::backup_file::Type::Dir as i32;
    let name = |f: &wire::BackupFile| file_id::decode(&f.id);
    answer.files.sort_by_key(|file| (file.r#type != directory, name(file)));
    Ok(answer)
}

const WHOLE: &str = "the directory can be recovered as a whole by its own id";

async fn start_recovery(call: Call, request: StartRecoveryRequest) -> Result<Operation, Failure> {
    let resource = call.service().instance(call.caller()?, &request.compute_instance_id).await?;
    let backup = call.service().backup(call.caller()?, parse("backup", &request.backup_id)?).await?;
    call.check_level()?;
    let key = call.idempotency.clone();
    let done = call.service().start_recovery(call.caller()?, backup.id, resource.id, key).await;
    Ok(operation_message(&call, &done.map_err(|e| Failure::from(e).about(request.compute_instance_id))?))
}

async fn start_files_recovery(call: Call, request: StartFilesRecoveryRequest) -> Result<Operation, Failure> {
    use files_recovery_options::Overwrite as Theirs;
    let resource = call.service().instance(call.caller()?, &request.compute_instance_id).await?;
    let backup = call.service().backup(call.caller()?, parse("backup", &request.backup_id)?).await?;
    call.check_level()?;
    let opts = request.opts.unwrap_or_default();
    let overwrite = match opts.overwrite() {
        Theirs::Unspecified | Theirs::All => Overwrite::All,
        Theirs::Older => Overwrite::Older,
        Theirs::None => Overwrite::Nothing,
    };
    let to = match opts.r#type {
        Some(files_recovery_options::Type::Custom(custom)) => Some(domain::path::text_of(custom.path.as_bytes())),
        Some(files_recovery_options::Type::Original(_)) | None => None,
    };
    let paths = request.source_ids.iter().filter_map(|id| file_id::decode(id));
    let wish = FilesRecovery {
        backup: backup.id,
        resource: resource.id,
        paths: paths.map(|path| domain::path::text_of(&path)).collect(),
        to,
        overwrite,
        reboot_if_needed: opts.reboot_if_needed,
        items: request.source_ids,
    };
    let done = call.service().start_files_recovery(call.caller()?, wish, call.idempotency.clone()).await;
    let done = done.map_err(|error| match error.field.as_deref() {
        Some("to") => Failure::field("opts.custom.path", error.message),
        _ => Failure::from(error).about(request.compute_instance_id),
    })?;
    Ok(operation_message(&call, &done))
}

async fn delete(call: Call, request: DeleteBackupRequest) -> Result<Operation, Failure> {
    let resource = call.service().known_instance(call.caller()?, &request.compute_instance_id).await?;
    let backup = call.service().backup(call.caller()?, parse("backup", &request.backup_id)?).await?;
    if backup.resource != resource.id {
        return Err(Failure::not_found("backup", &request.backup_id));
    }
    call.check_level()?;
    let key = call.idempotency.clone();
    let done = call.service().delete_backup_operation(call.caller()?, resource.id, backup.id, key).await;
    Ok(operation_message(&call, &done.map_err(|e| Failure::from(e).about(request.backup_id))?))
}

/// An archive by its id, or that of a policy and a machine; whatever else is given must fit (Y76).
async fn delete_archive(call: Call, request: DeleteArchiveRequest) -> Result<Operation, Failure> {
    let folder = match request.folder_id.as_str() {
        "" => None,
        id => Some(call.folder(id).await?.id),
    };
    let caller = call.caller()?;
    let instance = match request.instance_id.as_str() {
        "" => None,
        id => Some(call.service().known_instance(caller, id).await?.id),
    };
    let none = || Failure::not_found("archive", &request.archive_id);
    let found = if request.archive_id.is_empty() {
        let resource = instance.ok_or_else(|| Failure::field("archive_id", "Field is required"))?;
        let policy = parse("policy", &request.policy_id)?;
        call.service().archive_of(caller, policy, resource).await?.ok_or_else(none)?
    } else {
        call.service().archive_by_id(caller, parse("archive", &request.archive_id)?).await?
    };
    if folder.is_some_and(|f| f != found.tenant) || instance.is_some_and(|i| i != found.resource) {
        return Err(none());
    }
    call.check_level()?;
    let done = call.service().delete_archive_operation(caller, found.id, call.idempotency.clone()).await;
    Ok(operation_message(&call, &done.map_err(|e| Failure::from(e).about(found.id.to_string()))?))
}

/// A recovery point of this very folder.
async fn in_folder(call: &Call, backup: &str, folder: &str) -> Result<Backup, Failure> {
    let folder = call.folder(folder).await?;
    let found = call.service().backup(call.caller()?, parse("backup", backup)?).await?;
    if found.tenant == folder.id { Ok(found) } else { Err(Failure::not_found("backup", backup)) }
}

fn parse(what: &str, id: &str) -> Result<Uuid, Failure> {
    Uuid::try_parse(id).map_err(|_| Failure::not_found(what, id))
}

fn no_id() -> Failure {
    Failure::field("id", "Field is required")
}
