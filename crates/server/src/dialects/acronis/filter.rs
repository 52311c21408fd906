//! What a request asks of a list or of one object: its parameters become a `domain::query::Query` (contract, sections 4
//! to 6). `fields.rs` has the tables of what can be asked, `values.rs` what a value means, `order.rs` the order.

mod fields;
mod order;
#[cfg(test)]
mod tests;
mod values;

use std::collections::HashMap;
use std::ops::Bound;

use aws_lc_rs::hmac;
use domain::query::{Direction, Filter, Key, MAX_LIMIT, Order, Page, Pattern, Query, Test, Value};
use domain::tenant::TenantRef;
use domain::{Error, Timestamp, Uuid};

use super::cursor::{self, Place};
use super::error::Failure;
use super::names::Lod;
use super::params::{self, AFTER, Params};
use values::Meaning;

pub(super) use fields::{GroupKey, Listed};

/// The parameter that lets deleted rows be seen; the only name in snake case.
const DELETED: &str = "allow_deleted";
/// What lists take beside filters (4.1).
const CONTROLS: [&str; 6] = ["lod", "limit", AFTER, "order", DELETED, "groupBy"];
/// What one object takes (4.1).
const SINGLE: [&str; 2] = ["lod", DELETED];
/// The level of detail that is none: only the number is wanted (D39).
const COUNT: &str = "count";

/// Who asks, and when: what cursors are bound to.
pub(super) struct Asker<'a> {
    /// The tenant of the token.
    pub(super) tenant: Uuid,
    /// What cursors are signed with.
    pub(super) key: &'a hmac::Key,
    /// How far the ledger had come before the question is put to it (12.2).
    pub(super) horizon: Timestamp,
}

/// What a request wants to see of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Want {
    /// The rows.
    Rows(Lod),
    /// Only how many there are, for each value of these (D39).
    Count(Vec<GroupKey>),
}

/// The part of a request that goes on with its cursor: which rows, and in which order (D35).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Question {
    /// Filters: the place in [`Listed::FILTERS`], and the value as it was sent. Sorted, and each once.
    pub(super) filters: Vec<(u8, String)>,
    /// The terms as they were asked for: the place in [`Listed::ORDERS`], and which way.
    pub(super) order: Vec<(u8, Direction)>,
    /// Whether deleted rows are shown too.
    pub(super) deleted: bool,
}

/// What a request asks of a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked<F> {
    /// What is shown of the rows.
    pub(super) want: Want,
    /// Whether deleted rows are shown too.
    pub(super) deleted: bool,
    /// Only this tenant and what is below it (D18).
    pub(super) subtree: Option<TenantRef>,
    limit: u32,
    filter: Filter<F>,
    order: Order<F>,
    tenants: Tenants,
    question: Question,
    after: Option<Key>,
    /// Only rows that were changed up to here: the horizon of the walk's first page (12.3).
    bound: Option<Timestamp>,
}

/// The tenants that `tenantId` names.
#[derive(Debug, Clone, Default, PartialEq)]
struct Tenants {
    /// One of them, if any are named.
    any: Vec<TenantRef>,
    /// And none of them.
    none: Vec<TenantRef>,
}

/// What a request asks of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Single {
    /// What is shown of it.
    pub(super) lod: Lod,
    /// Whether it is shown although it was deleted.
    pub(super) deleted: bool,
}

impl Single {
    /// Reads the parameters of one object.
    ///
    /// # Errors
    /// `unknown_field`, `invalid_field`.
    pub(super) fn parse(params: &Params) -> Result<Single, Failure> {
        params::check(params, &SINGLE)?;
        let lod = match params::once(params, "lod")? {
            Some(text) => Lod::parse(text).ok_or_else(|| no_lod(text, &[]))?,
            None => Lod::Full,
        };
        Ok(Single { lod, deleted: deleted(params)? })
    }
}

impl<F: Listed> Asked<F> {
    /// Reads the parameters of a list.
    ///
    /// # Errors
    /// `unknown_field`, `invalid_field`, `invalid_cursor`, each with the parameter in its context.
    pub(super) fn parse(params: &Params, asker: &Asker<'_>) -> Result<Asked<F>, Failure> {
        let known: Vec<&str> = F::FILTERS.iter().map(|f| f.name).chain(CONTROLS).collect();
        params::check(params, &known)?;
        let limit = params::once(params, "limit")?.map(limit).transpose()?;
        let want = want(params)?;
        // Given twice it is refused, but beside a cursor its value is not looked at.
        params::once(params, DELETED)?;
        if let Some(text) = params::once(params, AFTER)? {
            return Asked::continued(cursor::decode(text, F::KIND, asker)?, limit, want);
        }
        let (filters, order) = (values::given::<F>(params)?, order::parse::<F>(params)?);
        let question = Question { filters, order, deleted: deleted(params)? };
        let asked = Asked::of(question, limit.unwrap_or(MAX_LIMIT), want.unwrap_or(Want::Rows(Lod::Long)))?;
        let bound = asked.order.terms().first().is_some_and(|(field, _)| *field == F::UPDATED);
        Ok(Asked { bound: bound.then_some(asker.horizon), ..asked })
    }

    /// The question of a cursor, seen from its place; what is repeated beside a cursor is not looked at (D35).
    fn continued(place: Place, limit: Option<u32>, want: Option<Want>) -> Result<Asked<F>, Failure> {
        let Place { question, lod, limit: old, key, bound } = place;
        let asked = Asked::of(question, limit.unwrap_or(old), want.unwrap_or(Want::Rows(lod)));
        // What was understood once is always understood, unless another version had written it.
        let asked = asked.map_err(|_| cursor::refused())?;
        if !asked.order.admits(&key) {
            return Err(cursor::refused());
        }
        Ok(Asked { after: Some(key), bound, ..asked })
    }

    /// A question as it stands at its beginning.
    fn of(question: Question, limit: u32, want: Want) -> Result<Asked<F>, Failure> {
        let Meaning { filter, tenants, subtree } = values::read(&question.filters)?;
        let order = order::build(&question.order).ok_or_else(cursor::refused)?;
        let deleted = question.deleted;
        Ok(Asked { want, deleted, subtree, limit, filter, order, tenants, question, after: None, bound: None })
    }

    /// The numbers of tenants that must be looked up before the question can be put.
    pub(super) fn numbers(&self) -> impl Iterator<Item = i64> {
        self.tenants.any.iter().chain(&self.tenants.none).filter_map(|tenant| match tenant {
            TenantRef::Number(number) => Some(*number),
            TenantRef::Id(_) => None,
        })
    }

    /// The question for the ledger: the whole of it where only the number is wanted (D39). `tenants` are those of the
    /// [`numbers`](Self::numbers) that the caller sees; rows of a tenant that he does not see are none (D18).
    ///
    /// # Errors
    /// None in practice: the filter's own are found while it is read.
    pub(super) fn query(&self, tenants: &HashMap<i64, Uuid>) -> Result<Query<F>, Error> {
        let mut filter = self.filter.clone();
        let patterns = |named: &[TenantRef]| -> Vec<Pattern> {
            let id = |tenant: &TenantRef| match tenant {
                TenantRef::Id(id) => Some(*id),
                TenantRef::Number(number) => tenants.get(number).copied(),
            };
            named.iter().filter_map(id).map(|id| Pattern::Is(Value::Uuid(id))).collect()
        };
        let (any, none) = (patterns(&self.tenants.any), patterns(&self.tenants.none));
        if !any.is_empty() {
            filter = filter.and(F::TENANT, Test::AnyOf(any))?;
        } else if !self.tenants.any.is_empty() {
            // Every row has a tenant, so this finds nothing.
            filter = filter.and(F::TENANT, Test::Absent)?;
        }
        if !none.is_empty() {
            filter = filter.and(F::TENANT, Test::NoneOf(none))?;
        }
        let mut key = None;
        if let Want::Rows(_) = self.want {
            key = self.after.clone();
            if let Some(horizon) = self.bound {
                let to = Bound::Included(Value::Time(horizon));
                filter = filter.and(F::UPDATED, Test::Range { from: Bound::Unbounded, to })?;
            }
        }
        Ok(Query { filter, order: self.order.clone(), page: Page::After { key, limit: self.limit }, total: false })
    }

    /// The cursor of the page behind the row with this key (D36).
    pub(super) fn cursor(&self, last: Key, asker: &Asker<'_>) -> String {
        let lod = match self.want {
            Want::Rows(lod) => lod,
            // Has no pages.
            Want::Count(_) => Lod::Long,
        };
        let question = self.question.clone();
        let place = Place { question, lod, limit: self.limit, key: last, bound: self.bound };
        cursor::encode(&place, F::KIND, asker)
    }
}

/// The page size (D34).
fn limit(text: &str) -> Result<u32, Failure> {
    let number = params::decimal(text).and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=MAX_LIMIT).contains(n));
    number.ok_or_else(|| {
        let hint = format!("a whole number from 1 to {MAX_LIMIT}");
        params::wrong("limit", text, "is no number of rows for a page", hint)
    })
}

/// What `lod` and `groupBy` want, if they are there.
fn want(params: &Params) -> Result<Option<Want>, Failure> {
    let group_by = params::once(params, "groupBy")?;
    let lod = match params::once(params, "lod")? {
        Some(COUNT) => return Ok(Some(Want::Count(group_by.map(groups).transpose()?.unwrap_or_default()))),
        Some(text) => Some(Lod::parse(text).ok_or_else(|| no_lod(text, &[COUNT]))?),
        None => None,
    };
    if group_by.is_some() {
        return Err(params::refused("groupBy", "this needs lod=count", "send lod=count with it"));
    }
    Ok(lod.map(Want::Rows))
}

/// The keys of `groupBy`: one or two (D39).
fn groups(text: &str) -> Result<Vec<GroupKey>, Failure> {
    let mut keys = Vec::new();
    for name in text.split(',') {
        let key = GroupKey::ALL.into_iter().find(|key| key.name() == name);
        let names = GroupKey::ALL.map(GroupKey::name);
        let key = key.ok_or_else(|| params::not_among("groupBy", name, "is nothing to count by", &names))?;
        if keys.contains(&key) || keys.len() == 2 {
            return Err(params::wrong(
                "groupBy",
                text,
                "names a key twice, or more than two",
                "one or two keys, with a comma between",
            ));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Whether deleted rows are wanted too.
fn deleted(params: &Params) -> Result<bool, Failure> {
    let text = params::once(params, DELETED)?;
    text.map_or(Ok(false), |text| params::boolean(DELETED, text))
}

fn no_lod(text: &str, also: &[&str]) -> Failure {
    let names: Vec<&str> = Lod::ALL.iter().map(|lod| lod.name()).chain(also.iter().copied()).collect();
    params::not_among("lod", text, "is no level of detail here", &names)
}
