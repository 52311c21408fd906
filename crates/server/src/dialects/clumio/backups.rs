//! Recovery points of volumes, and backups that are asked for (section 11).

use axum::http::StatusCode;
use domain::Code;
use domain::backup::Backup;
use domain::policy::calendar::{Interval, Unit};
use domain::query::{Direction, Filter, Order, Page, Pattern, Query, RecordField, Test, Value as Wanted};
use domain::resource::ResourceKind;
use serde_json::Value;

use super::backup_map::{Around, TYPE, backup};
use super::body::Members;
use super::call::{Call, Reply};
use super::disk;
use super::dispatch::Handlers;
use super::failure::{Cause, Failure};
use super::filter::{Fields, Filter as Conditions, Kind, Shown};
use super::listing::{Listing, Pages};
use super::query::{Paging, shortened};
use super::started::in_body;
use super::stored::{Condition, passes, split};
use crate::service::BackupWish;

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("list-backup-aws-ebs-volumes", list_backup_aws_ebs_volumes);
    handlers.on("read-backup-aws-ebs-volume", read_backup_aws_ebs_volume);
    handlers.on("create-backup-aws-ebs-volume", create_backup_aws_ebs_volume);
}

const FIELDS: &Fields<&'static str> = &[
    ("id", Kind::Id, "id"),
    ("volume_id", Kind::Id, "volume_id"),
    ("start_timestamp", Kind::Time, "start_timestamp"),
    ("aws_region", Kind::Text, "aws_region"),
    ("account_native_id", Kind::Id, "account_native_id"),
];

/// How a list may be sorted.
const SORTS: [&str; 2] = ["start_timestamp", "-start_timestamp"];

/// How long backups can be kept: the units of requests.
const UNITS: [&str; 4] = ["days", "weeks", "months", "years"];

async fn list_backup_aws_ebs_volumes(call: Call) -> Result<Reply, Failure> {
    let paging = call.params.paging(1000)?;
    let direction = match call.params.get("sort")? {
        Some("start_timestamp") => Direction::Asc,
        None | Some("-start_timestamp") => Direction::Desc,
        Some(other) => {
            let message = format!("sort: '{}' is none of: {}", shortened(other), SORTS.join(", "));
            return Err(Failure::new(Cause::Query, message));
        }
    };
    let filter = Conditions::read(call.params.filter()?, FIELDS)?;
    let filter_applied = Some(filter.applied());
    let (stored, left) = split(&filter, |field| match field {
        "id" => Some(RecordField::Id),
        "volume_id" => Some(RecordField::Resource),
        "start_timestamp" => Some(RecordField::CreatedAt),
        "account_native_id" => Some(RecordField::Agent),
        _ => None,
    })?;
    let (page, total) = found(&call, stored, left, direction, paging).await?;
    let items = shown(&call, &page).await?;
    Ok(call.list(Pages::Numbered, Listing { paging, items, total, filter_applied }))
}

/// A page of the recovery points of volumes, and how many there are.
async fn found(
    call: &Call,
    stored: Filter<RecordField>,
    left: Vec<Condition>,
    direction: Direction,
    paging: Paging,
) -> Result<(Vec<Backup>, u64), Failure> {
    let mut stored = volumes_only(stored)?;
    // Who has which name is known for all repositories, so a condition on names is one on repositories.
    let (of_region, left): (Vec<Condition>, Vec<Condition>) = left.into_iter().partition(|c| c.field == "aws_region");
    if !of_region.is_empty() {
        let named = call.service().repository_names().await?;
        let fits = |name: &String| passes(&of_region, |_| Shown::text(Some(name)));
        let ids = named.iter().filter(|(_, name)| fits(name)).map(|(id, _)| Pattern::Is(Wanted::Uuid(*id)));
        let ids: Vec<Pattern> = ids.collect();
        if ids.is_empty() {
            return Ok((Vec::new(), 0));
        }
        stored = stored.and(RecordField::Repository, Test::AnyOf(ids))?;
    }
    let order = Order::by(vec![(RecordField::CreatedAt, direction)])?;
    if left.is_empty() {
        let query = Query { filter: stored, order, page: paging.page(), total: true };
        let slice = call.service().backups(&call.caller, &query).await?;
        return Ok((slice.items, slice.total.unwrap_or_default()));
    }
    let mut all = call.service().all_backups(&call.caller, stored).await?;
    all.retain(|backup| {
        passes(&left, |field| match field {
            "id" => Shown::owned((backup.id).to_string()),
            "volume_id" => Shown::owned((backup.resource).to_string()),
            "start_timestamp" => Shown::Time(backup.created_at),
            "account_native_id" => Shown::owned((backup.agent.unwrap_or_default()).to_string()),
            _ => Shown::Nothing,
        })
    });
    if direction == Direction::Desc {
        all.reverse();
    }
    let total = all.len() as u64;
    Ok((paging.of(all), total))
}

async fn read_backup_aws_ebs_volume(call: Call) -> Result<Reply, Failure> {
    let id = call.uuid("backup_id", "backup")?;
    let query = Query {
        filter: volumes_only(Filter::all().is(RecordField::Id, Wanted::Uuid(id))?)?,
        order: Order::newest(),
        page: Page::first(1),
        total: false,
    };
    let found = call.service().backups(&call.caller, &query).await?.items;
    let shown = shown(&call, &found).await?.pop();
    Ok(call.ok(shown.ok_or_else(|| Failure::no_such("backup", &id.to_string()))?))
}

/// Only recovery points of volumes.
fn volumes_only(filter: Filter<RecordField>) -> domain::Result<Filter<RecordField>> {
    let kinds = [ResourceKind::Volume, ResourceKind::ComputeVm, ResourceKind::BareMetal];
    let kinds = kinds.map(|kind| Pattern::Is(Wanted::Text(kind.name().to_owned()))).to_vec();
    filter.and(RecordField::ResourceKind, Test::AnyOf(kinds))
}

async fn shown(call: &Call, backups: &[Backup]) -> Result<Vec<Value>, Failure> {
    let around = Around {
        resources: call.service().instances_of(backups).await?,
        repositories: call.service().repository_names().await?,
        ends: call.service().ends_of(backups).await?,
    };
    Ok(backups.iter().map(|one| backup(one, &around, call.version)).collect())
}

async fn create_backup_aws_ebs_volume(call: Call) -> Result<Reply, Failure> {
    let body = call.body()?;
    let members = body.members();
    let resource = members.required_uuid("volume_id");
    if call.version > 1 && members.text("type") == Some("aws_snapshot") {
        members.refuse("type", "there are no snapshots here, only backups; leave it out");
    } else if call.version > 1 {
        members.one_of("type", &[TYPE]);
    }
    let (mut keep, mut repository) = (None, None);
    if let Some(settings) = members.object("settings") {
        keep = settings.object("retention_duration").and_then(|duration| interval(&duration));
        repository = settings.text("backup_aws_region").map(str::to_owned);
        if let Some(advanced) = settings.object("advanced_settings") {
            disk::check_advanced(&advanced);
        }
    }
    body.checked()?;
    // A mailbox is no volume, though it can be backed up.
    let volume = call.service().volume(&call.caller, resource, crate::service::Around::default()).await;
    volume.map_err(|e| in_body(e, "volume_id", "volume"))?;
    let wish = BackupWish { resource, repository, keep };
    let task = call.service().back_up(&call.caller, wish, call.asked(Some(&body))).await;
    let task = task.map_err(|e| match (e.code, e.field.as_deref()) {
        (Code::Disabled, _) => Failure::caused(Cause::VolumeUnusable, &e.field("volume_id")),
        (Code::NotFound, _) => in_body(e, "volume_id", "volume"),
        (_, Some("repository")) => in_body(e, "settings.backup_aws_region", "repository"),
        (_, Some("keep")) => in_body(e, "settings.retention_duration", "duration"),
        _ => e.into(),
    })?;
    Ok(call.started(StatusCode::ACCEPTED, &task, Value::Null))
}

/// A span of time; faults where it is none.
fn interval(duration: &Members<'_>) -> Option<Interval> {
    if duration.required_text("unit").is_empty() {
        return None;
    }
    let unit = duration.one_of("unit", &UNITS);
    if duration.value("value").is_none() {
        duration.fault("value", "it is missing");
    }
    let value = duration.integer("value")?;
    let Some(count) = u64::try_from(value).ok().filter(|count| *count > 0) else {
        duration.fault("value", format!("{value} is less than 1"));
        return None;
    };
    let interval = match unit? {
        "days" => Interval::of(count, Unit::Days),
        "weeks" => Interval::of(count, Unit::Weeks),
        "months" => Interval::of(count, Unit::Months),
        _ => Interval::of(count.saturating_mul(12), Unit::Months),
    };
    if let Err(error) = interval.check("value") {
        duration.fault("value", error.message);
        return None;
    }
    Some(interval)
}
