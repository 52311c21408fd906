//! The one way of every call, by gRPC and by REST: authenticate, read, validate, hand over, in the order of Y8. What comes
//! after - folders, objects, levels, preconditions - is the handler's, who has the services for it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use domain::operation::Idempotency;
use domain::{Caller, Timestamp};
use futures::future::{BoxFuture, FutureExt};
use prost::{Message, Name};
use prost_reflect::DynamicMessage;
use proto::yandex::cloud::operation::Operation;
use tonic::Code as Grpc;
use tonic::codegen::Bytes;
use tracing::Instrument;

use super::call::{Call, idempotency, no_token};
use super::failure::{Failure, Violation};
use super::methods::{Access, Method};
use super::pages::Asked;
use super::rules;
use super::{Yandex, operations};
use crate::dialects::bearer;
use crate::service::hash_secret;
use crate::telemetry;

type Handler = Box<dyn Fn(Call, Bytes) -> BoxFuture<'static, Result<Vec<u8>, Failure>> + Send + Sync>;

/// Who answers which method.
#[derive(Default)]
pub(super) struct Handlers {
    by_name: HashMap<String, Handler>,
    /// The types that each takes and answers, for a test that compares them with the descriptors.
    types: Vec<(String, String, String)>,
}

impl Handlers {
    /// Makes `handler` answer the method `name` of a service.
    pub(super) fn on<Q, A, F>(
        &mut self,
        service: &str,
        name: &str,
        handler: impl Fn(Call, Q) -> F + Send + Sync + 'static,
    ) where
        Q: Message + Name + Default,
        A: Message + Name,
        F: Future<Output = Result<A, Failure>> + Send + 'static,
    {
        let name = format!("{service}.{name}");
        self.types.push((name.clone(), Q::full_name(), A::full_name()));
        let typed = move |call, request: Bytes| match Q::decode(request) {
            Ok(request) => handler(call, request).map(|answer| answer.map(|a| a.encode_to_vec())).boxed(),
            // It was read by the descriptors before.
            Err(error) => std::future::ready(Err(Failure::defect(error))).boxed(),
        };
        self.by_name.insert(name, Box::new(typed));
    }

    /// Whether any method of this service is answered.
    pub(super) fn has_service(&self, service: &str) -> bool {
        self.types.iter().any(|(name, ..)| name.rsplit_once('.').is_some_and(|(s, _)| s == service))
    }
}

/// An answer on its way out.
pub(super) struct Reply {
    /// The message, encoded.
    pub(super) message: Bytes,
    /// After how many seconds it is worth asking again (Y29).
    pub(super) poll_interval: Option<u8>,
}

/// Answers a call. `read` gives the request, by whichever way it came.
pub(super) async fn answer(
    yandex: &Arc<Yandex>,
    method: &'static Method,
    headers: &HeaderMap,
    request_id: &str,
    read: impl FnOnce() -> Result<DynamicMessage, Failure>,
) -> Result<Reply, Failure> {
    telemetry::this_is(&method.name);
    let handler = yandex.handlers.by_name.get(&method.name).ok_or_else(|| unimplemented(&method.name))?;
    let trace = headers.get("x-client-trace-id").and_then(|v| v.to_str().ok()).filter(|id| id.len() <= 128);
    let span = tracing::error_span!("call", rpc = %method.name, client_trace_id = trace);
    let handled = async {
        let caller = authenticate(yandex, method, headers).await?;
        let request = read();
        if caller.is_none() && method.access != Access::Open {
            // Only the token of a registration can stand in for the token; without one, nothing is said of the request.
            let id = request.as_ref().ok().and_then(|r| r.get_field_by_name("instance_registration_id"));
            if id.and_then(|v| v.as_str().map(str::is_empty)).unwrap_or(true) {
                return Err(no_token());
            }
        }
        let request = request?;
        let (asked, idempotency) = validate(yandex, method, headers, caller.as_ref(), &request)?;
        if let Some(key) = &idempotency
            && let Some(first) = yandex.service.repeated(key).await?
        {
            return Ok(operations::message(&first).encode_to_vec());
        }
        let (request_id, key) = (request_id.to_owned(), idempotency.clone());
        let call = Call { yandex: yandex.clone(), method, caller, request_id, idempotency, asked };
        let answered = handler(call, request.encode_to_vec().into()).await;
        if answered.is_err()
            && let Some(key) = &key
            && let Ok(Some(first)) = yandex.service.repeated(key).await
        {
            // The same call at the same time was quicker, and this one met what it had done.
            return Ok(operations::message(&first).encode_to_vec());
        }
        answered
    };
    let message: Bytes = handled.instrument(span).await?.into();
    let poll_interval = if method.name == POLLED { poll_interval(&message, Timestamp::now()) } else { None };
    Ok(Reply { message, poll_interval })
}

/// A method that is not there, or not answered.
pub(super) fn unimplemented(name: &str) -> Failure {
    Failure::new(Grpc::Unimplemented, format!("there is no method '{name}'"))
}

/// The caller, or nobody on calls that can do without.
async fn authenticate(yandex: &Yandex, method: &Method, headers: &HeaderMap) -> Result<Option<Caller>, Failure> {
    match method.access {
        Access::Open => return Ok(None),
        Access::NeedsOrRegistration(_) if !headers.contains_key(AUTHORIZATION) => return Ok(None),
        Access::Needs(_) | Access::NeedsOrRegistration(_) | Access::Token => {}
    }
    Ok(Some(yandex.service.authenticate(&bearer::token(headers)?).await?))
}

fn validate(
    yandex: &Yandex,
    method: &Method,
    headers: &HeaderMap,
    caller: Option<&Caller>,
    request: &DynamicMessage,
) -> Result<(Option<Asked>, Option<Idempotency>), Failure> {
    let mut wrong = rules::check(request);
    let mut asked = None;
    if has_pages(method) {
        asked = Asked::read(&yandex.tokens, &method.name, request);
        if asked.is_none() && !wrong.iter().any(|v| v.field == "page_token") {
            wrong.push(Violation::new("page_token", "Field is not a token that this list gave"));
        }
    }
    let mut key = None;
    if method.operation.is_some() {
        match idempotency(method, &subject(caller, request), headers, request) {
            Ok(read) => key = read,
            Err(violation) => wrong.push(violation),
        }
    }
    if wrong.is_empty() { Ok((asked, key)) } else { Err(Failure::invalid(wrong)) }
}

/// Who asks, as one word: a credential, or the token of a registration, which is a secret and stands here as its hash.
fn subject(caller: Option<&Caller>, request: &DynamicMessage) -> String {
    if let Some(caller) = caller {
        return format!("{}:{}", caller.actor.kind.name(), caller.actor.id);
    }
    let id = request.get_field_by_name("instance_registration_id");
    format!("registration:{}", hash_secret(id.as_ref().and_then(|v| v.as_str()).unwrap_or_default()))
}

/// Whether a list comes in pages. That of endpoints has the fields, and ignores them.
fn has_pages(method: &Method) -> bool {
    method.service.starts_with("yandex.cloud.backup.") && method.input.get_field_by_name("page_token").is_some()
}

/// The one method whose answers are asked for again and again.
const POLLED: &str = "yandex.cloud.operation.OperationService.Get";

/// After how many seconds to ask for an operation again that is not done (Y29).
fn poll_interval(operation: &[u8], now: Timestamp) -> Option<u8> {
    let operation = Operation::decode(operation).ok().filter(|o| !o.done)?;
    let age = now.as_second() - operation.created_at?.seconds;
    Some(match age {
        ..10 => 1,
        10..60 => 2,
        _ => 5,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{handlers, methods};
    use super::*;

    #[test]
    fn services_that_are_answered_are_answered_whole() {
        let handlers = handlers();
        for method in methods::all().iter().filter(|m| handlers.has_service(&m.service)) {
            assert!(handlers.by_name.contains_key(&method.name), "{} has no handler", method.name);
        }
    }

    #[test]
    fn handlers_take_and_answer_what_the_descriptors_say() {
        for (name, takes, answers) in &handlers().types {
            let method = methods::all().iter().find(|m| m.name == *name);
            let method = method.unwrap_or_else(|| panic!("{name} is no method"));
            assert_eq!(
                (takes.as_str(), answers.as_str()),
                (method.input.full_name(), method.output.full_name()),
                "{name}"
            );
        }
    }

    #[test]
    fn young_operations_are_asked_for_more_often() {
        let after = |age: i64, done: bool| {
            let created_at = Some(prost_types::Timestamp { seconds: 1000, nanos: 0 });
            let operation = Operation { created_at, done, ..Default::default() };
            poll_interval(&operation.encode_to_vec(), Timestamp::from_second(1000 + age).expect("a time"))
        };
        let intervals = [-5, 0, 9, 10, 59, 60, 86_400].map(|age| after(age, false).expect("not done"));
        assert_eq!(intervals, [1, 1, 1, 2, 2, 5, 5]);
        assert_eq!(after(0, true), None);
    }
}
