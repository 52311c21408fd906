//! Volumes (section 10): what is stored of them is asked of the ledger, and only what follows from other things is looked at
//! here, for those that are left.

use std::collections::HashMap;

use domain::query::{Filter, RecordField, Test, Value as Wanted};
use domain::resource::Resource;
use domain::{Caller, Code, Uuid};
use serde_json::{Value, json};

use super::call::{Call, Reply};
use super::dispatch::Handlers;
use super::failure::Failure;
use super::filter::{Fields, Filter as Conditions, Kind, Operand, Shown, Test as Wish};
use super::listing::{Listing, Pages};
use super::policy_map;
use super::stored::{Condition, maybe, passes, split};
use super::tags;
use super::volume_map::{backup_status, is_deleted, protection_status, volume};
use crate::Service;
use crate::service::{Around, PolicyView, VolumeView};

pub(super) fn register(handlers: &mut Handlers) {
    handlers.on("list-aws-ebs-volumes", list_aws_ebs_volumes);
    handlers.on("read-aws-ebs-volume", read_aws_ebs_volume);
}

const FIELDS: &Fields<&'static str> = &[
    ("id", Kind::Id, "id"),
    ("name", Kind::Text, "name"),
    ("volume_native_id", Kind::Text, "volume_native_id"),
    ("organizational_unit_id", Kind::Id, "organizational_unit_id"),
    ("environment_id", Kind::Id, "environment_id"),
    ("account_native_id", Kind::Id, "account_native_id"),
    ("aws_region", Kind::Text, "aws_region"),
    ("protection_status", Kind::Enumeration, "protection_status"),
    ("protection_info.policy_id", Kind::Id, "protection_info.policy_id"),
    ("deactivated", Kind::Bool, "deactivated"),
    (STATUS, Kind::Enumeration, STATUS),
    ("tags.id", Kind::List, "tags.id"),
    (DELETED, Kind::Bool, DELETED),
];

const DELETED: &str = "is_deleted";
const STATUS: &str = "backup_status";

/// How far back a filter on how backups went looks where nobody says (D32), and the furthest that can be said.
const MOST_DAYS: u32 = 60;

async fn list_aws_ebs_volumes(call: Call) -> Result<Reply, Failure> {
    let paging = call.params.paging(1000)?;
    let days = lookback_days(&call)?;
    let filter = Conditions::read(call.params.filter()?, FIELDS)?;
    // Whoever asks how backups went is shown what his question was answered by (D32).
    let days = days.or(filter.names(STATUS).then_some(MOST_DAYS));
    let (service, caller) = (call.service(), &call.caller);
    let (mut stored, left) = split(&filter, |field| match field {
        "id" => Some(RecordField::Id),
        "name" => Some(RecordField::Name),
        "volume_native_id" => Some(RecordField::InstanceId),
        "organizational_unit_id" => Some(RecordField::Tenant),
        _ => None,
    })?;
    if !filter.names(DELETED) {
        stored = stored.and(RecordField::EndedAt, Test::Absent)?;
    }
    let (page, total) = match narrowed(service, caller, stored, left).await? {
        None => (Vec::new(), 0),
        Some((stored, left)) if left.is_empty() => {
            let slice = service.volumes(caller, stored, paging.page()).await?;
            (slice.items, slice.total.unwrap_or_default())
        }
        Some((stored, left)) => {
            let all = service.all_volumes(caller, stored).await?;
            let fitting = fitting(service, caller, all, &left, days).await?;
            let total = fitting.len() as u64;
            (paging.of(fitting), total)
        }
    };
    let views = service.volume_views(caller, page, Around::all(days)).await?;
    let policies = policies_of(&call, &views).await?;
    let items = views.iter().map(|view| shown(&call, view, &policies)).collect();
    Ok(call.list(Pages::Numbered, Listing { paging, items, total, filter_applied: None }))
}

async fn read_aws_ebs_volume(call: Call) -> Result<Reply, Failure> {
    let id = call.uuid("volume_id", "volume")?;
    let around = Around::all(lookback_days(&call)?);
    let view = call.service().volume(&call.caller, id, around).await.map_err(|e| match e.code {
        Code::NotFound => Failure::no_such("volume", &id.to_string()),
        _ => e.into(),
    })?;
    let policies = policies_of(&call, std::slice::from_ref(&view)).await?;
    Ok(call.ok(shown(&call, &view, &policies)))
}

/// The days that are looked back, cut to what there is.
fn lookback_days(call: &Call) -> Result<Option<u32>, Failure> {
    let days = call.params.number("lookback_days")?;
    Ok(days.map(|days| u32::try_from(days.clamp(1, i64::from(MOST_DAYS))).unwrap_or(MOST_DAYS)))
}

/// The policies of volumes, each looked up once. One that belongs to a unit above the caller's is not among them.
async fn policies_of(call: &Call, views: &[VolumeView]) -> Result<HashMap<Uuid, PolicyView>, Failure> {
    let ids = views.iter().filter_map(|view| view.policy.as_ref()).map(|policy| policy.id).collect();
    Ok(call.service().policy_views_by_id(&call.caller, ids).await?)
}

fn shown(call: &Call, view: &VolumeView, policies: &HashMap<Uuid, PolicyView>) -> Value {
    let policy = view.policy.as_ref();
    let known = policy.and_then(|policy| policies.get(&policy.id));
    let operations = match (known, policy) {
        (Some(known), _) => policy_map::types(known),
        (None, Some(policy)) => policy_map::types_on_volume(policy),
        (None, None) => Vec::new(),
    };
    let embedded = known.filter(|_| call.params.embeds("read-policy-definition"));
    let embedded = embedded.map(|known| json!({ "read-policy-definition": policy_map::policy(known) }));
    volume(view, &operations, known.is_some(), embedded.unwrap_or_default())
}

/// The question with what else the ledger can answer, and what is left then; none if nothing can match.
async fn narrowed(
    service: &Service,
    caller: &Caller,
    mut stored: Filter<RecordField>,
    conditions: Vec<Condition>,
) -> Result<Option<(Filter<RecordField>, Vec<Condition>)>, Failure> {
    let mut left: Vec<Condition> = Vec::new();
    for condition in conditions {
        if condition.field == DELETED {
            let admits = |deleted: bool| condition.admits(&Shown::Bool(deleted));
            match (admits(true), admits(false)) {
                (true, true) => {}
                (true, false) => stored = stored.and(RecordField::EndedAt, Test::Present)?,
                (false, true) => stored = stored.and(RecordField::EndedAt, Test::Absent)?,
                (false, false) => return Ok(None),
            }
            continue;
        }
        let one = match &condition.test {
            Wish::AnyOf(values) if !condition.negated => match &values[..] {
                [Operand::Text(one)] => Some(Uuid::parse_str(one).ok()),
                _ => None,
            },
            _ => None,
        };
        let agent = match (condition.field, one) {
            ("account_native_id" | "environment_id", Some(None)) => return Ok(None),
            ("account_native_id", Some(agent)) => agent,
            ("environment_id", Some(Some(id))) => match service.environment(caller, id).await {
                Ok(environment) => Some(environment.agent.id),
                Err(e) if e.code == Code::NotFound => return Ok(None),
                Err(e) => return Err(e.into()),
            },
            _ => None,
        };
        if let Some(agent) = agent {
            stored = stored.is(RecordField::Agent, Wanted::Uuid(agent))?;
        }
        // What is shown depends on where it is stored, too.
        left.push(condition);
    }
    Ok(Some((stored, left)))
}

/// Those that show what is asked for. What has to be found out for that is found out for what is left by then: first what
/// costs nothing.
async fn fitting(
    service: &Service,
    caller: &Caller,
    all: Vec<Resource>,
    rest: &[Condition],
    days: Option<u32>,
) -> Result<Vec<Resource>, Failure> {
    let stages: [(&[&str], Around); 4] = [
        (&["tags.id", "id", "organizational_unit_id"], Around::default()),
        (
            &["protection_status", "protection_info.policy_id", "deactivated"],
            Around { policy: true, ..Around::default() },
        ),
        (&["environment_id", "account_native_id", "aws_region"], Around { place: true, ..Around::default() }),
        (&[STATUS], Around { runs: Some(days.unwrap_or(MOST_DAYS)), ..Around::default() }),
    ];
    let mut left = all;
    for (fields, around) in stages {
        let conditions: Vec<Condition> = rest.iter().filter(|c| fields.contains(&c.field)).cloned().collect();
        if conditions.is_empty() {
            continue;
        }
        let views = service.volume_views(caller, left, around).await?;
        let fits = |view: &VolumeView| passes(&conditions, |field| value_of(view, field));
        left = views.into_iter().filter(fits).map(|view| view.resource).collect();
    }
    Ok(left)
}

fn value_of(view: &VolumeView, field: &str) -> Shown<'static> {
    let stored_in = view.stored_in.as_ref();
    match field {
        // Parts of ids; the ledger answers for whole ones.
        "id" => Shown::owned(view.resource.id.to_string()),
        "organizational_unit_id" => Shown::owned(view.resource.tenant.to_string()),
        "tags.id" => {
            Shown::List(view.resource.tags().iter().map(|(k, v)| tags::tag_id(k, v).to_string().into()).collect())
        }
        "is_deleted" => Shown::Bool(is_deleted(&view.resource)),
        "protection_status" => maybe(protection_status(view)),
        "protection_info.policy_id" => maybe(view.policy.as_ref().map(|p| p.id)),
        "deactivated" => Shown::Bool(protection_status(view) == Some("deactivated")),
        "environment_id" => maybe(stored_in.map(|s| s.environment)),
        "account_native_id" => maybe(stored_in.and(view.resource.agent)),
        "aws_region" => maybe(stored_in.map(|s| &s.repository_name)),
        STATUS => Shown::owned((backup_status(view.went)).to_string()),
        _ => Shown::Nothing,
    }
}
