//! Files are taken out of recovery points and fetched (section 13, D34).

use axum::body::Body as Bytes;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::IntoResponse;
use domain::query::{Direction, Filter, Order, Query, RecordField, Value as Wanted};
use domain::restored_file::RestoredFile;
use domain::{Code, Uuid};
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;

use super::body::Members;
use super::call::{Call, Reply, Seconds};
use super::dispatch::Handlers;
use super::failure::{Cause, Failure};
use super::filesystems::{joined, mounted};
use super::filter::{Fields, Filter as Conditions, Kind, Shown};
use super::listing::{Listing, Pages};
use super::query::encoded;
use super::started::in_body;
use crate::service::FilesWish;

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("list-restored-files", list_restored_files);
    handlers.on("restore-files", restore_files);
    handlers.on("read-restored-file", read_restored_file);
}

/// The most files of one call.
const MAX_FILES: usize = 1000;

/// A file system and a path in it.
type Chosen = (String, String);

async fn restore_files(call: Call) -> Result<Reply, Failure> {
    let body = call.body()?;
    let members = body.members();
    let source = members.required_object("source");
    let backup = source.as_ref().map(|source| source.required_uuid("backup_id")).unwrap_or_default();
    let chosen = source.as_ref().map(chosen).unwrap_or_default();
    if let Some(target) = members.object("target") {
        if target.value("email").is_some() {
            target.refuse("email", "files are not sent by mail here; leave it out and fetch them");
        }
        target.object("direct_download");
    }
    body.checked()?;
    let found = call.service().backup(&call.caller, backup).await;
    let found = found.map_err(|e| in_body(e, "source.backup_id", "backup"))?;
    let mut paths = Vec::with_capacity(chosen.len());
    for (place, (filesystem, path)) in chosen.iter().enumerate() {
        let Some((_, top)) = mounted(&found, filesystem) else {
            let message = format!("source.files[{place}].filesystem_id: no such filesystem in the backup");
            return Err(Failure::new(Cause::Member, message));
        };
        paths.push(joined(&top, path));
    }
    let wish = FilesWish { backup, paths };
    let (file, task) = match call.service().restore_files(&call.caller, wish, call.asked(Some(&body))).await {
        Err(e) if e.code == Code::NotFound => return Err(in_body(e, "source.backup_id", "backup")),
        Err(e) if e.code == Code::Disabled => return Err(Failure::caused(Cause::Unavailable, &e)),
        made => made?,
    };
    Ok(call.started(StatusCode::ACCEPTED, &task, json!({ "id": file.id, "passcode": null })))
}

/// The files of a request; a fault for each that is none.
fn chosen(source: &Members<'_>) -> Vec<Chosen> {
    let Some(files) = source.objects("files") else {
        if source.value("files").is_none() {
            source.fault("files", "it is missing");
        }
        return Vec::new();
    };
    if files.is_empty() || files.len() > MAX_FILES {
        source.fault("files", format!("1 to {MAX_FILES} files can be restored at once"));
        return Vec::new();
    }
    let read = |file: &Members<'_>| {
        let (filesystem, path) = (file.required_text("filesystem_id"), file.required_text("path"));
        if !path.is_empty() && !path.starts_with('/') {
            file.fault("path", format!("'{path}' does not begin with '/'"));
        } else if path.split('/').any(|part| part == "..") {
            file.fault("path", format!("'{path}' is no plain path"));
        }
        (filesystem.to_owned(), path.to_owned())
    };
    files.iter().map(read).collect()
}

/// The bytes, for whoever has the link.
async fn read_restored_file(call: Call) -> Result<Reply, Failure> {
    let id = call.uuid("id", "restored file")?;
    // One that cannot be read is a wrong one.
    let key = call.params.get("key").ok().flatten().unwrap_or_default();
    let (file, bytes) = call.service().fetch_restored_file(id, key).await?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_LENGTH, file.size.to_string()),
        (CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{}", encoded(&file.name))),
        // The link is a secret, and the bytes are somebody's.
        (CACHE_CONTROL, "private, no-store".to_owned()),
    ];
    Ok(Reply((headers, Bytes::from_stream(ReaderStream::new(bytes))).into_response()))
}

/// What can be asked for; both must be.
const FIELDS: &Fields<&'static str> = &[(ASSET_TYPE, Kind::Enumeration, ASSET_TYPE), (ASSET_ID, Kind::Id, ASSET_ID)];

const ASSET_TYPE: &str = "asset_type";
const ASSET_ID: &str = "asset_id";

/// What files are of, in the vendor's words.
const VOLUME: &str = "aws_ebs_volume";

async fn list_restored_files(call: Call) -> Result<Reply, Failure> {
    let paging = call.params.paging(1000)?;
    let filter = Conditions::read(call.params.filter()?, FIELDS)?;
    let required = |field: &'static str| {
        let missing = || Failure::new(Cause::Filter, format!("filter: '{field}' with $eq is required"));
        filter.equal_to(field).ok_or_else(missing)
    };
    let (kind, asset) = (required(ASSET_TYPE)?, required(ASSET_ID)?);
    let volume = Uuid::parse_str(asset).ok().filter(|_| kind.eq_ignore_ascii_case(VOLUME));
    // Whatever else is said of the two holds for all files of the volume, or for none.
    let volume = volume.filter(|volume| {
        filter.matches(|field| match field {
            ASSET_TYPE => Shown::text(Some(VOLUME)),
            _ => Shown::owned(volume.to_string()),
        })
    });
    let (page, total) = match volume {
        None => (Vec::new(), 0),
        Some(volume) => {
            let query = Query {
                filter: Filter::all().is(RecordField::Resource, Wanted::Uuid(volume))?,
                order: Order::by(vec![(RecordField::CreatedAt, Direction::Desc)])?,
                page: paging.page(),
                total: true,
            };
            let slice = call.service().restored_files(&call.caller, &query).await?;
            (slice.items, slice.total.unwrap_or_default())
        }
    };
    let items = page.iter().map(|file| shown(&call, file)).collect();
    Ok(call.list(Pages::TokensWithTotals, Listing { paging, items, total, filter_applied: None }))
}

fn shown(call: &Call, file: &RestoredFile) -> Value {
    let key = call.service().download_key(file);
    let link = format!("https://{}/restores/files/{}/_content?key={}", call.service().public(), file.id, encoded(&key));
    json!({
        "id": file.id,
        "name": file.name,
        "size": file.size,
        "backup_id": file.backup,
        "backup_timestamp": Seconds(file.backup_created_at),
        "expiration_timestamp": file.expires_at.map(Seconds),
        "task_id": file.task_number.map(|number| number.to_string()),
        "access_methods": [{
            "direct_download": { "download_link": link, "retrieved_by": file.asked_by },
            "email": null,
        }],
    })
}
