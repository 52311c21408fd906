//! The two documented lists and the two documented reads (contract, sections 3 to 7).

use std::collections::HashMap;
use std::future::Future;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::activity::ActivityView;
use domain::query::{ActivityField, Filter, Group, Query, Slice, TaskField};
use domain::task::Task;
use domain::tenant::{Tenant, TenantRef};
use domain::{Caller, Code, Error, Result, Right, Timestamp, Uuid};
use serde::Serialize;
use serde_json::Value;

use super::error::Failure;
use super::extract::{ActivityPath, TaskPath};
use super::filter::{Asked, Asker, GroupKey, Listed, Single, Want};
use super::names::Lod;
use super::write::tenant_of;
use super::{AcronisState, Asking, map, params, time};
use crate::Service;
use crate::service::View;

/// The most groups in one answer (D39).
const MAX_GROUPS: usize = 1000;

/// What is listed: where it comes from, and how it is shown.
trait Shown: Listed {
    /// A row on the wire.
    type Wire<'a>: Serialize;

    fn rows(
        service: &Service,
        caller: &Caller,
        query: &Query<Self>,
        view: View,
    ) -> impl Future<Output = Result<Slice<Self::Row>>> + Send;

    fn counts(
        service: &Service,
        caller: &Caller,
        filter: &Filter<Self>,
        by: &[Self],
        view: View,
    ) -> impl Future<Output = Result<Vec<Group>>> + Send;

    fn tenant(row: &Self::Row) -> Uuid;

    fn show<'a>(row: &'a Self::Row, tenant: &'a Tenant, lod: Lod, up_since: Timestamp) -> Self::Wire<'a>;
}

impl Shown for TaskField {
    type Wire<'a> = map::Task<'a>;

    async fn rows(service: &Service, caller: &Caller, query: &Query<Self>, view: View) -> Result<Slice<Task>> {
        service.tasks(caller, query, view).await
    }

    async fn counts(
        service: &Service,
        caller: &Caller,
        filter: &Filter<Self>,
        by: &[Self],
        view: View,
    ) -> Result<Vec<Group>> {
        service.task_counts(caller, filter, by, view).await
    }

    fn tenant(row: &Task) -> Uuid {
        row.spec.tenant
    }

    fn show<'a>(row: &'a Task, tenant: &'a Tenant, lod: Lod, up_since: Timestamp) -> map::Task<'a> {
        map::task(row, tenant, lod, up_since)
    }
}

impl Shown for ActivityField {
    type Wire<'a> = map::Activity<'a>;

    async fn rows(service: &Service, caller: &Caller, query: &Query<Self>, view: View) -> Result<Slice<ActivityView>> {
        service.activities(caller, query, view).await
    }

    async fn counts(
        service: &Service,
        caller: &Caller,
        filter: &Filter<Self>,
        by: &[Self],
        view: View,
    ) -> Result<Vec<Group>> {
        service.activity_counts(caller, filter, by, view).await
    }

    fn tenant(row: &ActivityView) -> Uuid {
        row.task.spec.tenant
    }

    fn show<'a>(row: &'a ActivityView, tenant: &'a Tenant, lod: Lod, up_since: Timestamp) -> map::Activity<'a> {
        map::activity(row, tenant, lod, up_since)
    }
}

/// The way to the next page; nothing on the last one (D31).
#[derive(Serialize, Clone)]
struct Cursors {
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

#[derive(Serialize)]
struct Paging {
    cursors: Cursors,
}

/// A page of a list. The cursors stand twice, where the vendor's guide and where its reference has them (D30).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listing<T> {
    items: Vec<T>,
    size: u64,
    time_stamp: String,
    paging: Paging,
    cursors: Cursors,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    groups_truncated: bool,
}

impl<T> Listing<T> {
    fn of(items: Vec<T>, horizon: Timestamp, after: Option<String>) -> Listing<T> {
        let cursors = Cursors { after };
        Listing {
            size: items.len() as u64,
            items,
            time_stamp: time::print(horizon),
            paging: Paging { cursors: cursors.clone() },
            cursors,
            count: None,
            groups: None,
            groups_truncated: false,
        }
    }
}

/// `GET /tasks`.
pub(super) async fn tasks(
    State(state): State<AcronisState>,
    Extension(caller): Asking,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    list::<TaskField>(&state, &caller, raw).await
}

/// `GET /activities`.
pub(super) async fn activities(
    State(state): State<AcronisState>,
    Extension(caller): Asking,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    list::<ActivityField>(&state, &caller, raw).await
}

/// `GET /tasks/{id}`.
pub(super) async fn task(
    State(state): State<AcronisState>,
    Extension(caller): Asking,
    TaskPath(id): TaskPath,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let wanted = Single::parse(&params::decode(&raw.unwrap_or_default())?)?;
    let task = state.service.task(&caller, id, wanted.deleted).await?;
    let tenant = tenant_of(&state, &caller, task.spec.tenant).await?;
    Ok(Json(map::task(&task, &tenant, wanted.lod, state.service.moment().up_since)).into_response())
}

/// `GET /activities/{id}`.
pub(super) async fn activity(
    State(state): State<AcronisState>,
    Extension(caller): Asking,
    ActivityPath(id): ActivityPath,
    RawQuery(raw): RawQuery,
) -> Result<Response, Failure> {
    let wanted = Single::parse(&params::decode(&raw.unwrap_or_default())?)?;
    let view = state.service.activity(&caller, id, wanted.deleted).await?;
    let tenant = tenant_of(&state, &caller, view.task.spec.tenant).await?;
    Ok(Json(map::activity(&view, &tenant, wanted.lod, state.service.moment().up_since)).into_response())
}

async fn list<F: Shown>(state: &AcronisState, caller: &Caller, raw: Option<String>) -> Result<Response, Failure> {
    // Who may not see is told so before anything else.
    caller.may(Right::View)?;
    let service = &*state.service;
    // Taken before the rows are read: everything up to it can be seen in them (12.2).
    let horizon = service.horizon();
    let asker = Asker { tenant: caller.tenant(), key: &state.cursors, horizon };
    let asked = Asked::<F>::parse(&params::decode(&raw.unwrap_or_default())?, &asker)?;
    let query = asked.query(&numbered(service, caller, asked.numbers()).await?)?;
    let view = View { deleted: asked.deleted, subtree: asked.subtree };
    let lod = match &asked.want {
        Want::Rows(lod) => *lod,
        Want::Count(by) => {
            let counted = count::<F>(service, caller, &query.filter, by, view).await?;
            return Ok(Json(counted.listing(horizon)).into_response());
        }
    };
    let slice = F::rows(service, caller, &query, view).await?;
    let tenants = service.tenants_by_id(caller, slice.items.iter().map(F::tenant)).await?;
    let up_since = service.moment().up_since;
    let show = |row| Some(F::show(row, tenants.get(&F::tenant(row))?, lod, up_since));
    let items: Option<Vec<_>> = slice.items.iter().map(show).collect();
    let items = items.ok_or_else(|| Error::new(Code::Internal, "a task belongs to a tenant that does not exist"))?;
    let after = slice.next.map(|key| asked.cursor(key, &asker));
    Ok(Json(Listing::of(items, horizon, after)).into_response())
}

/// How many rows there are, and of what.
struct Counted {
    total: u64,
    groups: Option<Vec<Value>>,
    truncated: bool,
}

impl Counted {
    fn listing(self, horizon: Timestamp) -> Listing<Value> {
        Listing {
            size: self.total,
            count: Some(self.total),
            groups: self.groups,
            groups_truncated: self.truncated,
            ..Listing::of(Vec::new(), horizon, None)
        }
    }
}

async fn count<F: Shown>(
    service: &Service,
    caller: &Caller,
    filter: &Filter<F>,
    by: &[GroupKey],
    view: View,
) -> Result<Counted, Failure> {
    let fields: Vec<F> = by.iter().map(|key| F::group(*key)).collect();
    let mut groups = F::counts(service, caller, filter, &fields, view).await?;
    let total = groups.iter().map(|g| g.count).sum();
    if by.is_empty() {
        return Ok(Counted { total, groups: None, truncated: false });
    }
    let truncated = groups.len() > MAX_GROUPS;
    groups.truncate(MAX_GROUPS);
    let tenants = groups.iter().flat_map(|g| &g.values).filter_map(|value| match value {
        Some(domain::query::Value::Uuid(id)) => Some(*id),
        _ => None,
    });
    let tenants = service.tenants_by_id(caller, tenants).await?;
    Ok(Counted { total, groups: Some(map::groups(by, &groups, &tenants)), truncated })
}

/// The tenants with these numbers, of those that the caller sees.
async fn numbered(
    service: &Service,
    caller: &Caller,
    numbers: impl Iterator<Item = i64>,
) -> Result<HashMap<i64, Uuid>, Failure> {
    let mut found = HashMap::new();
    for number in numbers {
        if let Some(tenant) = service.find_tenant(caller, TenantRef::Number(number)).await? {
            found.insert(number, tenant.id);
        }
    }
    Ok(found)
}
