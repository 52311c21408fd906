//! Bodies that every part of the API uses: lists, errors, and what the server says of itself and of the caller.

use domain::{ActorKind, Caller, Role, Uuid};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::names::{ActorKindName, RoleName};

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The items, in the order that was asked for.
    pub items: Vec<T>,
    /// The cursor of the next part; absent when there is none. Opaque, and valid only with the same filter and order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many items match in all; there with `total=true` and with `page`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The number of this page, where `page` was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u64>,
    /// How many pages there are, where `page` was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<u64>,
}

/// The body of every refusal and failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorDetail {
    /// A stable code; each has a page in `docs/errors/`.
    #[schema(example = "not_found")]
    pub code: String,
    /// What was wrong, in one plain sentence.
    pub message: String,
    /// The field or parameter it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What would be right, or what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The id under which the server's log has the request; also in the header `x-request-id`.
    pub request_id: String,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The name that is shown as "started by".
    pub name: String,
    /// What sort of credential is behind the call.
    #[schema(value_type = ActorKindName)]
    pub kind: ActorKind,
    /// The id of the credential.
    pub id: Uuid,
    /// What the caller may do.
    #[schema(value_type = Vec<RoleName>)]
    pub roles: Vec<Role>,
    /// The tenant whose subtree the caller sees.
    pub tenant: Uuid,
}

impl From<&Caller> for Me {
    fn from(caller: &Caller) -> Me {
        Me {
            name: caller.name.clone(),
            kind: caller.actor.kind,
            id: caller.actor.id,
            roles: caller.roles().to_vec(),
            tenant: caller.tenant(),
        }
    }
}

/// Whether the server can work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`; anything else comes as an error.
    #[schema(example = "ok")]
    pub status: String,
    /// How much of the index of tasks is there, in percent. Below 100, after a start, lists and counts of tasks are not
    /// answered yet; everything else is.
    #[schema(example = 100)]
    pub index: u8,
}

/// Which server this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Always `backstay`.
    #[schema(example = "backstay")]
    pub name: String,
    /// The version of the server.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// The version of this API.
    #[schema(example = "v1")]
    pub api: String,
}
