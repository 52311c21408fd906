//! Tenants: the owners of everything, in a tree.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::{Timestamp, Uuid};

/// The locator of the root tenant.
pub const ROOT_LOCATOR: &str = "/1/";

/// The deepest tree that is accepted; deeper ones are refused when a tenant is created.
pub const MAX_DEPTH: usize = 32;

/// An owner of things. The root has the nil UUID and the number 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Identity; nil for the root.
    pub id: Uuid,
    /// A short number for people and for vendors' integer ids; 1 for the root.
    pub number: i64,
    /// The tenant above; none for the root.
    pub parent: Option<Uuid>,
    /// The path of numbers from the root down to this tenant, like `/1/66/`.
    pub locator: String,
    /// The name, unique among its siblings.
    pub name: String,
    /// Free text.
    pub description: String,
    /// IANA time zone for schedules that name none.
    pub time_zone: String,
    /// The zone of schedules that vendors' policies bring without one: an IANA name, or `agent` for the machine's own;
    /// none = UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_time_zone: Option<String>,
    /// The names of providers that were activated for it, in that order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
    /// When it was deleted. Its number and its place in the tree are never given to another, and what happened in it stays
    /// known to those above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

/// How a caller names a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantRef {
    /// The id.
    Id(Uuid),
    /// The number.
    Number(i64),
}

impl Tenant {
    /// The root of the tree.
    #[must_use]
    pub fn root(name: &str, time_zone: &str, now: Timestamp) -> Tenant {
        Tenant {
            id: Uuid::nil(),
            number: 1,
            parent: None,
            locator: ROOT_LOCATOR.to_owned(),
            name: name.to_owned(),
            description: String::new(),
            time_zone: time_zone.to_owned(),
            schedule_time_zone: None,
            providers: Vec::new(),
            created_at: now,
            updated_at: now,
            deleted_at: None,
        }
    }

    /// A tenant below this one.
    ///
    /// # Errors
    /// `invalid_field` for an empty or over-long name, or when the tree would become too deep.
    pub fn child(&self, id: Uuid, number: i64, name: &str, now: Timestamp) -> Result<Tenant> {
        check_name("name", name)?;
        if self.locator.matches('/').count() > MAX_DEPTH {
            return Err(Error::invalid("parent", format!("the tree of tenants may be at most {MAX_DEPTH} deep")));
        }
        Ok(Tenant {
            id,
            number,
            parent: Some(self.id),
            locator: format!("{}{number}/", self.locator),
            name: name.to_owned(),
            description: String::new(),
            time_zone: self.time_zone.clone(),
            schedule_time_zone: self.schedule_time_zone.clone(),
            providers: Vec::new(),
            created_at: now,
            updated_at: now,
            deleted_at: None,
        })
    }
}

/// The longest name of anything, in characters (Acronis: 256, the largest of the vendors' limits).
pub const MAX_NAME: usize = 256;

/// Checks a name that people gave.
///
/// # Errors
/// `invalid_field` when it is empty, longer than [`MAX_NAME`], or holds control characters.
pub fn check_name(field: &str, name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::invalid(field, format!("'{field}' is empty")).hint("give a name"));
    }
    if name.chars().count() > MAX_NAME {
        return Err(Error::invalid(field, format!("'{field}' is longer than {MAX_NAME} characters")));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(field, format!("'{field}' holds a control character")));
    }
    Ok(())
}
