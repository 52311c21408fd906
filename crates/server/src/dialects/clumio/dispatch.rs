//! The one way of every call: found, let in, placed in an organizational unit, counted, versioned, read, handed over.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use domain::{Caller, Code, Scope, Uuid};
use futures::future::{BoxFuture, FutureExt};
use tracing::Instrument;

use super::call::{Call, Reply};
use super::failure::{Cause, Failure};
use super::operations::{self, Access, Operation};
use super::query::Params;
use super::{Clumio, body, discovery, routes, versions};
use crate::dialects::bearer;
use crate::dialects::edge::Shape;
use crate::telemetry;

/// How long a request line may be, in bytes.
const MAX_LINE: usize = 16 * 1024;
/// How large all headers together may be, in bytes; what is larger still, the listener refuses.
const MAX_HEADERS: usize = 32 * 1024;
/// The header that says in which organizational unit a call acts.
const CONTEXT: &str = "x-clumio-organizationalunit-context";

type Handler = Box<dyn Fn(Call) -> BoxFuture<'static, Result<Reply, Failure>> + Send + Sync>;

/// Who answers which operation.
#[derive(Default)]
pub(super) struct Handlers(HashMap<&'static str, Handler>);

impl Handlers {
    /// Makes `handler` answer the operation of this name; a name that the table does not have is answered by nobody.
    pub(super) fn on<F>(&mut self, name: &'static str, handler: impl Fn(Call) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Reply, Failure>> + Send + 'static,
    {
        debug_assert!(operations::named(name).is_some(), "'{name}' is not in the table of operations");
        self.0.insert(name, Box::new(move |call| handler(call).boxed()));
    }

    /// Whether somebody answers it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Answers a request.
pub(super) async fn answer(State(clumio): State<Arc<Clumio>>, request: Request) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    let line = head.uri.path_and_query().map_or(0, |p| p.as_str().len());
    if line > MAX_LINE {
        return Err(Failure::new(Cause::LongLine, format!("the request line is longer than {} KiB", MAX_LINE / 1024)));
    }
    if head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() > MAX_HEADERS {
        return Err(Failure::new(Cause::LargeHead, format!("the headers are larger than {} KiB", MAX_HEADERS / 1024)));
    }
    let found = routes::find(&clumio.handlers, &head.method, head.uri.path())?;
    let operation = found.operation;
    telemetry::this_is(operation.name);
    if operation.name == "discovery" && discovery::is_for_people(&head.headers) {
        return Ok(discovery::page());
    }
    let caller = admitted(&clumio, operation, &head).await?;
    let version = versions::wanted(&head.headers, operation.resource)?;
    if let Access::Needs(right) = operation.access {
        caller.may(right)?;
    }
    let params = Params::read(head.uri.query().unwrap_or_default());
    let body = match operation.has_body() {
        true => body::read(Request::from_parts(head.clone(), body)).await?,
        false => Bytes::new(),
    };
    let variables = found.variables;
    let call =
        Call { clumio: clumio.clone(), caller, operation, version, params, headers: head.headers, variables, body };
    let span = tracing::error_span!("call", operation = operation.name, client = call.client());
    let handler = clumio.handlers.0.get(operation.name).ok_or_else(|| Failure::defect("a route without handler"))?;
    Ok(handler(call).instrument(span).await?.0)
}

/// Who asks, within the organizational unit that the call acts in, if his tenant has not asked too often.
async fn admitted(clumio: &Clumio, operation: &'static Operation, head: &Parts) -> Result<Caller, Failure> {
    if operation.access == Access::Open {
        let Caller { name, actor, .. } = Caller::server();
        return Ok(Caller::new(name, actor, Vec::new(), Scope::everything()));
    }
    let secret = bearer::token(&head.headers).map_err(|e| Failure::caused(Cause::NoToken, &e))?;
    let caller = clumio.service.authenticate(&secret).await.map_err(|e| match e.code {
        Code::Unauthenticated => Failure::caused(Cause::BadToken, &e),
        _ => e.into(),
    })?;
    clumio.service.count_request(&caller, operation.resource.name).map_err(Failure::throttled)?;
    let context = head.headers.get(CONTEXT).map(|v| v.to_str().unwrap_or("?").trim()).filter(|v| !v.is_empty());
    let Some(context) = context else { return Ok(caller) };
    let unit = Uuid::parse_str(context)
        .map_err(|_| Failure::new(Cause::Query, format!("{CONTEXT}: it is no uuid of an organizational unit")))?;
    let outside =
        || Failure::new(Cause::Context, format!("{CONTEXT}: the organizational unit is not one of the token's"));
    clumio.service.acting_in(&caller, unit).await?.ok_or_else(outside)
}

/// How the answers of this dialect end.
pub(super) enum Shaped {}

impl Shape for Shaped {
    const DIALECT: &str = "clumio";

    fn finish(mut response: Response, request_id: &str) -> Response {
        match response.extensions_mut().remove::<Failure>() {
            Some(failure) => failure.finish(request_id),
            None => response,
        }
    }

    fn defect() -> Response {
        Failure::defect("a handler panicked").into_response()
    }
}
