//! What is in a recovery point (section 13): its top paths as file systems, and their directories, read by an agent that
//! reaches the repository.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use domain::Code;
use domain::backup::{Backup, Filesystem};
use serde_json::{Value, json};

use super::call::{Call, Reply, Seconds, get};
use super::dispatch::Handlers;
use super::failure::{Cause, Failure};
use super::listing::{Listing, Pages};
use crate::service::FileEntry;

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("list-backup-filesystems", list_backup_filesystems);
    handlers.on("read-filesystem", read_filesystem);
    handlers.on("read-backup-filesystem-directory", read_backup_filesystem_directory);
}

/// The id of the directory at the top.
const ROOT: &str = "root";

/// How many entries of a directory are asked for at once, at most.
const AT_ONCE: u64 = 10_000;

async fn list_backup_filesystems(call: Call) -> Result<Reply, Failure> {
    let paging = call.params.paging(1000)?;
    let backup = backup_of(&call).await?;
    let count = tops(&backup).len();
    let total = count as u64;
    let places = paging.of((1..=count).collect());
    let items = places.into_iter().filter_map(|place| filesystem(&backup, place)).collect();
    Ok(call.list(Pages::Numbered, Listing { paging, items, total, filter_applied: None }))
}

async fn read_filesystem(call: Call) -> Result<Reply, Failure> {
    let backup = backup_of(&call).await?;
    let (place, _) = filesystem_of(&call, &backup)?;
    Ok(call.ok(filesystem(&backup, place).unwrap_or_default()))
}

async fn read_backup_filesystem_directory(call: Call) -> Result<Reply, Failure> {
    let paging = call.params.paging(1000)?;
    let backup = backup_of(&call).await?;
    let (place, top) = filesystem_of(&call, &backup)?;
    let id = call.variable("directory_id");
    let below = directory_of(id).ok_or_else(|| Failure::no_such("directory", id))?;
    let (first, wanted) = (paging.offset(), u64::from(paging.limit));
    let path = joined(&top, &below);
    // Pages are numbers (D22), and agents list from a name on: what lies before the page is listed and left out.
    let (mut entries, mut before, mut after, mut more) = (Vec::new(), 0, None, true);
    while more && (entries.len() as u64) < wanted {
        let missing = first.saturating_sub(before) + wanted - entries.len() as u64;
        let limit = u32::try_from(missing.min(AT_ONCE)).unwrap_or(u32::MAX);
        let part = match call.service().backup_files(&call.caller, backup.id, &path, after.take(), limit).await {
            // A recovery point of a single file: it is what lies at the top.
            Err(e) if e.code == Code::InvalidField && below.is_empty() => {
                entries.extend(single(&call, &backup, &top).await?.filter(|_| first == 0));
                more = false;
                break;
            }
            part => part.map_err(|e| unlisted(e, id))?,
        };
        more = part.more;
        after = part.entries.last().map(|entry| entry.name.clone());
        let skipped = usize::try_from(first.saturating_sub(before)).unwrap_or(usize::MAX).min(part.entries.len());
        before += part.entries.len() as u64;
        entries.extend(part.entries.into_iter().skip(skipped));
        if after.is_none() {
            break;
        }
    }
    let over = entries.len() as u64 > wanted;
    entries.truncate(paging.limit as usize);
    let shown = |entry: &FileEntry| {
        let directory = directory_id(&top, entry);
        let own = directory.as_ref().map(|d| json!({ "_self": get(&browse_path(&backup, place, d)) }));
        json!({
            "name": entry.name,
            "is_directory": directory.is_some(),
            "directory_id": directory,
            "modified_timestamp": entry.modified_at.map(Seconds),
            "size": entry.size,
            "_links": own.unwrap_or_else(|| json!({})),
        })
    };
    let items: Vec<Value> = entries.iter().map(shown).collect();
    // How many there are behind the page nobody counts; that there are some is all that a link needs.
    let total = first + items.len() as u64 + u64::from(more || over);
    Ok(call.list(Pages::Tokens, Listing { paging, items, total, filter_applied: None }))
}

pub(super) async fn backup_of(call: &Call) -> Result<Backup, Failure> {
    Ok(call.service().backup(&call.caller, call.uuid("backup_id", "backup")?).await?)
}

/// The place of the file system that the path names, and what it is mounted on.
fn filesystem_of(call: &Call, backup: &Backup) -> Result<(usize, String), Failure> {
    let id = call.variable("filesystem_id");
    mounted(backup, id).ok_or_else(|| Failure::no_such("filesystem", id))
}

/// The place of the file system with this id, and what it is mounted on.
pub(super) fn mounted(backup: &Backup, id: &str) -> Option<(usize, String)> {
    let place: usize = id.parse().ok().filter(|place: &usize| place.to_string() == id)?;
    Some((place, (*tops(backup).get(place.checked_sub(1)?)?).to_owned()))
}

/// Where browsing begins: the file systems of a volume that was indexed, else what was backed up.
fn tops(backup: &Backup) -> Vec<&str> {
    if backup.filesystems.is_empty() {
        return backup.paths.iter().map(String::as_str).collect();
    }
    backup.filesystems.iter().map(|found| found.path.as_str()).collect()
}

/// A file system of a volume, as its indexing found it.
fn indexed(backup: &Backup, found: &Filesystem, place: usize) -> Value {
    let own = format!("/backups/{}/filesystems/{place}", backup.id);
    let readable = found.files.is_some();
    json!({
        "id": place.to_string(),
        "mount_path": found.path,
        "filesystem_native_id": (!found.native_id.is_empty()).then_some(&found.native_id),
        "type": found.kind,
        "available": found.available,
        "used": found.used,
        "size": found.size,
        "num_files_indexed": found.files,
        "is_encrypted": false,
        "is_indexed": readable,
        "indexing_failed_reason": (!readable).then_some(&found.failure),
        "_links": {
            "_self": get(&own),
            "read-backup-filesystem-directory": get(&browse_path(backup, place, ROOT)),
        },
    })
}

fn filesystem(backup: &Backup, place: usize) -> Option<Value> {
    if let Some(found) = backup.filesystems.get(place.checked_sub(1)?) {
        return Some(indexed(backup, found, place));
    }
    let path = backup.paths.get(place.checked_sub(1)?)?;
    let root = backup.roots.iter().find(|root| root.path == *path && root.size > 0);
    let files = (backup.paths.len() == 1).then_some(backup.files);
    let own = format!("/backups/{}/filesystems/{place}", backup.id);
    Some(json!({
        "id": place.to_string(),
        "mount_path": path,
        "filesystem_native_id": null,
        "type": null,
        "available": root.map(|r| r.free),
        "used": root.map(|r| r.size.saturating_sub(r.free)),
        "size": root.map(|r| r.size),
        "num_files_indexed": files,
        "is_encrypted": false,
        "is_indexed": true,
        "indexing_failed_reason": null,
        "_links": {
            "_self": get(&own),
            "read-backup-filesystem-directory": get(&browse_path(backup, place, ROOT)),
        },
    }))
}

fn browse_path(backup: &Backup, place: usize, directory: &str) -> String {
    format!("/backups/{}/filesystems/{place}/directories/{directory}/browse", backup.id)
}

/// The path below the file system that an id of a directory stands for.
fn directory_of(id: &str) -> Option<String> {
    if id == ROOT {
        return Some(String::new());
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(id).ok()?;
    String::from_utf8(bytes).ok().filter(|path| !path.split('/').any(|part| part == ".."))
}

/// The id of what an entry is, if it is a directory.
fn directory_id(top: &str, entry: &FileEntry) -> Option<String> {
    let below = entry.path.strip_prefix(top.trim_end_matches('/')).unwrap_or(&entry.path);
    (entry.kind == "dir").then(|| BASE64_URL_SAFE_NO_PAD.encode(below.trim_start_matches('/')))
}

/// A path below the path of a file system.
pub(super) fn joined(top: &str, below: &str) -> String {
    let below = below.trim_matches('/');
    if below.is_empty() { top.to_owned() } else { format!("{}/{below}", top.trim_end_matches('/')) }
}

/// The entry of a top path that is a file.
async fn single(call: &Call, backup: &Backup, top: &str) -> Result<Option<FileEntry>, Failure> {
    let Some((parent, name)) = top.rsplit_once('/') else { return Ok(None) };
    let parent = if parent.is_empty() { "/" } else { parent };
    let mut after = None;
    loop {
        let limit = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        let part = call.service().backup_files(&call.caller, backup.id, parent, after, limit).await?;
        after = part.entries.last().map(|entry| entry.name.clone());
        if let Some(found) = part.entries.into_iter().find(|entry| entry.name == name) {
            return Ok(Some(found));
        }
        if !part.more || after.is_none() {
            return Ok(None);
        }
    }
}

/// Why a directory could not be listed.
fn unlisted(error: domain::Error, id: &str) -> Failure {
    match error.code {
        Code::NotFound | Code::InvalidField => Failure::no_such("directory", id),
        Code::AgentOffline | Code::AgentSilent => Failure::caused(Cause::Unavailable, &error),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_directories_lead_back_to_them() {
        let entry = |path: &str, kind: &str| FileEntry {
            name: String::new(),
            path: path.into(),
            kind: kind.into(),
            size: 0,
            modified_at: None,
            mode: None,
            uid: None,
            gid: None,
            link_target: None,
        };
        for (top, path, below) in [("/home", "/home/jo/ü", "jo/ü"), ("/", "/etc", "etc"), ("/home/", "/home/a", "a")]
        {
            let id = directory_id(top, &entry(path, "dir")).expect("a directory");
            assert_eq!(directory_of(&id).as_deref(), Some(below));
            assert_eq!(joined(top, below), path);
        }
        assert_eq!(directory_id("/home", &entry("/home/a", "file")), None);
        assert_eq!(directory_of(ROOT).as_deref(), Some(""));
        assert_eq!(directory_of("!"), None);
        assert_eq!(directory_of(&BASE64_URL_SAFE_NO_PAD.encode("a/../../b")), None);
    }
}
