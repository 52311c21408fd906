//! From what the services answer to the bodies of the API, where a plain `From` in the crate `api` cannot see both.

use axum::Json;
use domain::backup::Backup;
use domain::foresee::Foreseen;
use domain::policy::retention::Verdict;
use domain::query::{Field, FieldKind, Group, Page, Query, Slice, TaskField, Value};
use domain::{Text, Uuid};
use jiff::tz::TimeZone;

use super::Answer;
use super::cursor;
use super::filter::ListOf;
use crate::service::{AgentView, ApplicationPreview, FileList, PolicyPreview, ResourceView};

/// A part of a list, with the way to the next one.
pub(super) fn list<F: Field, R, T>(
    of: &ListOf<F>,
    query: &Query<F>,
    slice: Slice<R>,
    item: impl FnMut(&R) -> T,
) -> Answer<api::List<T>> {
    let items = slice.items.iter().map(item).collect();
    let list = match query.page {
        Page::After { .. } => {
            let next = slice.next.map(|key| cursor::encode(of.name, &query.filter, &query.order, &key)).transpose()?;
            api::List { items, next, total: slice.total, page: None, pages: None }
        }
        Page::Number { number, size } => {
            let pages = slice.total.map(|total| total.div_ceil(u64::from(size)));
            api::List { items, next: None, total: slice.total, page: Some(number), pages }
        }
    };
    Ok(Json(list))
}

/// A resource with what is derived.
pub(super) fn resource(view: &ResourceView) -> api::Resource {
    let live = api::ResourceLive {
        status: view.status,
        status_progress: view.status_progress,
        next_backup_at: view.next_backup_at,
        online: view.online,
    };
    (&view.resource, live).into()
}

/// An agent, and whether it is there.
pub(super) fn agent(view: &AgentView) -> api::Agent {
    (&view.agent, view.online).into()
}

/// A folder of a backup.
pub(super) fn files(list: FileList) -> api::FileList {
    let next = list.entries.last().filter(|_| list.more).map(|e| e.name.clone());
    let items = list.entries.into_iter().map(|e| api::File {
        name: e.name,
        path: e.path,
        kind: e.kind,
        size: e.size,
        modified_at: e.modified_at,
        mode: e.mode,
        uid: e.uid,
        gid: e.gid,
        link_target: e.link_target,
    });
    api::FileList { items: items.collect(), next }
}

/// Counts by some fields.
pub(super) fn counts(by: &[TaskField], groups: Vec<Group>) -> api::TaskCounts {
    let total = groups.iter().map(|g| g.count).sum();
    let groups = groups.into_iter().map(|group| {
        let values = by.iter().zip(group.values);
        let values = values.filter_map(|(f, v)| Some((Text::new_static(f.name()), text(*f, v?)))).collect();
        api::TaskCount { values, count: group.count }
    });
    api::TaskCounts { by: by.iter().map(|f| f.name().to_owned()).collect(), groups: groups.collect(), total }
}

/// A value as the filter takes it.
fn text(field: TaskField, value: Value) -> Text {
    match value {
        Value::Int(n) => n.to_string().into(),
        Value::Text(s) => s.into(),
        Value::Uuid(u) => Text::from(&*u.hyphenated().encode_lower(&mut Uuid::encode_buffer())),
        Value::Time(t) => t.to_string().into(),
        Value::Bool(b) => b.to_string().into(),
        Value::Enum(n) => match field.kind() {
            FieldKind::Enum(names) => {
                let name = usize::try_from(n).ok().and_then(|n| names.get(n));
                name.map_or_else(|| n.to_string().into(), |name| Text::new_static(name))
            }
            _ => n.to_string().into(),
        },
    }
}

/// A list that is there as a whole.
pub(super) fn whole<R, T>(items: &[R], item: impl FnMut(&R) -> T) -> api::List<T> {
    api::List { items: items.iter().map(item).collect(), next: None, total: None, page: None, pages: None }
}

/// What a policy will do.
pub(super) fn policy_preview(preview: PolicyPreview) -> api::PolicyPreview {
    let PolicyPreview { policy, applications } = preview;
    let application = |a: ApplicationPreview| api::ApplicationPreview {
        resource: a.resource.id,
        resource_name: a.resource.name,
        time_zone: a.zone.iana_name().unwrap_or("UTC").to_owned(),
        running: a.open,
        runs: a.runs.iter().map(|run| foreseen(run, &a.zone)).collect(),
        nothing_because: a.nothing_because.map(str::to_owned),
        verifies_all_from: a.verifies_all_from,
        backups: a.backups.into_iter().map(|(backup, verdict)| judged(&backup, verdict)).collect(),
    };
    let applications = applications.into_iter().map(application).collect();
    api::PolicyPreview { policy: policy.id, name: policy.name, applications }
}

fn foreseen(run: &Foreseen, zone: &TimeZone) -> api::RunPreview {
    api::RunPreview {
        at: run.at,
        local: run.at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        starts_at: run.starts_at,
        latest_start: run.latest_start,
        until: run.until,
        full: run.full,
        repeats: run.repeats,
    }
}

fn judged(backup: &Backup, verdict: Verdict) -> api::BackupPreview {
    let stays = verdict.stays();
    let because = if stays { verdict.because } else { verdict.against };
    api::BackupPreview { backup: backup.id, created_at: backup.created_at, stays, because }
}
