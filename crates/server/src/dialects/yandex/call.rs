//! What a handler is told of a call beside its request, and the checks that many handlers share.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderMap;
use domain::operation::Idempotency;
use domain::query::{Key, Page};
use domain::tenant::Tenant;
use domain::{Caller, Right, Uuid};
use prost::Message;
use prost_reflect::DynamicMessage;

use super::Yandex;
use super::failure::{Failure, Violation};
use super::methods::{Access, Method};
use super::pages::Asked;
use crate::Service;

/// One call, authenticated and validated.
pub(super) struct Call {
    pub(super) yandex: Arc<Yandex>,
    pub(super) method: &'static Method,
    /// Who asks. None for open methods, and where the token of a registration shall stand in for it (Y26).
    pub(super) caller: Option<Caller>,
    /// Under which id the client and the log know the request.
    pub(super) request_id: String,
    /// What makes a repeat of this call the same call; only on calls that make operations (Y30).
    pub(super) idempotency: Option<Idempotency>,
    /// Which page is asked for, in lists with pages.
    pub(super) asked: Option<Asked>,
}

/// The header with the key by which a repeated call is known.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest such key, in characters.
const LONGEST_KEY: usize = 100;

/// What makes a repeat of this call the same call, if its caller wants that. `subject` is who asks: the same key of
/// somebody else is another one, as it is on another method.
pub(super) fn idempotency(
    method: &Method,
    subject: &str,
    headers: &HeaderMap,
    request: &DynamicMessage,
) -> Result<Option<Idempotency>, Violation> {
    let Some(header) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let right = (1..=LONGEST_KEY).contains(&header.len()) && header.as_bytes().iter().all(u8::is_ascii_graphic);
    let Some(key) = header.to_str().ok().filter(|_| right) else {
        let text = format!("Header must have 1 to {LONGEST_KEY} visible ASCII characters");
        return Err(Violation::new(IDEMPOTENCY_KEY, text));
    };
    let mut known = request.clone();
    known.take_unknown_fields().for_each(drop);
    let request = digest(&SHA256, &known.encode_to_vec()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Ok(Some(Idempotency { key: format!("{subject} {} {key}", method.name), request }))
}

/// The refusal of a key that stood for another request before (Y30).
pub(super) fn reused_key() -> Failure {
    Failure::field(IDEMPOTENCY_KEY, "The key was used for another request before; take a new one")
}

impl Call {
    /// The services.
    pub(super) fn service(&self) -> &Service {
        &self.yandex.service
    }

    /// Who asks.
    ///
    /// # Errors
    /// UNAUTHENTICATED where nobody does.
    pub(super) fn caller(&self) -> Result<&Caller, Failure> {
        self.caller.as_ref().ok_or_else(no_token)
    }

    /// The right that the method needs (Y25); `view` where it depends.
    pub(super) fn right(&self) -> Right {
        match self.method.access {
            Access::Needs(right) | Access::NeedsOrRegistration(right) => right,
            Access::Open | Access::Token => Right::View,
        }
    }

    /// Refuses a caller without the right that the method needs. To be asked after the object was found (Y8).
    ///
    /// # Errors
    /// PERMISSION_DENIED.
    pub(super) fn check_level(&self) -> Result<(), Failure> {
        self.caller()?.may(self.right())?;
        Ok(())
    }

    /// The folder that a request names, if it is within the caller's and the caller has the right that the method needs.
    ///
    /// # Errors
    /// PERMISSION_DENIED with one and the same text for a folder of others and for none at all (Y9).
    pub(super) async fn folder(&self, id: &str) -> Result<Tenant, Failure> {
        let caller = self.caller()?;
        let id = Uuid::try_parse(id).map_err(|_| Failure::foreign_folder())?;
        let found = self.service().tenants_by_id(caller, [id]).await?.remove(&id);
        let tenant = found.ok_or_else(Failure::foreign_folder)?;
        self.check_level()?;
        Ok(tenant)
    }

    /// The page that is asked for, as the ledger is asked for it: with one row more than is shown. `default` is its size
    /// where the caller does not say one: [`pages::DEFAULT_SIZE`] everywhere but in Backup.List (Y43).
    ///
    /// # Errors
    /// A defect in a method without pages.
    pub(super) fn page(&self, default: i64) -> Result<Page, Failure> {
        Ok(self.asked()?.page(default))
    }

    /// What is shown of the rows that were found for [`Call::page`], and the token of the next page, empty if there is
    /// none. `place` is where the row of this index stands in the order of the list.
    ///
    /// # Errors
    /// A defect in a method without pages, or of a place with values that tokens do not hold.
    pub(super) fn cut<M: Message>(
        &self,
        rows: Vec<M>,
        default: i64,
        place: impl Fn(usize) -> Key,
    ) -> Result<(Vec<M>, String), Failure> {
        self.asked()?.cut(&self.yandex.tokens, rows, default, place)
    }

    fn asked(&self) -> Result<&Asked, Failure> {
        self.asked.as_ref().ok_or_else(|| Failure::defect(format!("{} has no pages", self.method.name)))
    }
}

/// The refusal of a call without a token.
pub(super) fn no_token() -> Failure {
    Failure::unauthenticated("there is no token; send 'authorization: Bearer <token>'")
}
