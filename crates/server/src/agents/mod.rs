//! The server's side of the agent link: gRPC in front of `service::agents`. Checks token and certificate, keeps one session per
//! agent, translates; what is done about a message is decided in the service.

mod session;
mod upload;
mod wire;

use std::sync::Arc;

use axum::middleware::{self, Next};
use proto::agent::MAX_MESSAGE;
use proto::agent::v1::agent_link_server::{self, AgentLinkServer};
use proto::agent::v1::{FromAgent, ToAgent, UploadPart, Uploaded};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::authority::ClientCertificate;
use crate::service::Service;
use crate::telemetry;

/// How many messages to an agent may wait for the network.
const OUTBOX: usize = 32;

/// The routes of the agent link, to be merged into a router that serves HTTP/2.
pub fn router(service: Arc<Service>, shutdown: CancellationToken) -> axum::Router {
    let link = AgentLinkServer::new(AgentLink { service, shutdown })
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    // Not tonic's own router: it comes with a fallback, and only one router of a listener can have one.
    let calls = async |request: axum::extract::Request, next: Next| {
        telemetry::answered_by("agents");
        next.run(request).await
    };
    axum::Router::new()
        .route_service(&format!("/{}/{{*method}}", agent_link_server::SERVICE_NAME), link)
        .layer(middleware::from_fn(calls))
}

struct AgentLink {
    service: Arc<Service>,
    shutdown: CancellationToken,
}

#[tonic::async_trait]
impl agent_link_server::AgentLink for AgentLink {
    type SessionStream = ReceiverStream<Result<ToAgent, Status>>;

    async fn session(&self, request: Request<Streaming<FromAgent>>) -> Result<Response<Self::SessionStream>, Status> {
        let secret = bearer(request.metadata())?.to_owned();
        let shown = request.extensions().get::<ClientCertificate>().copied();
        // Strangers get no stream; the service checks again when the agent says who it is.
        self.service.agent_token(&secret, shown).await.map_err(|e| wire::status(&e))?;
        let (out, messages) = mpsc::channel(OUTBOX);
        let (service, shutdown) = (self.service.clone(), self.shutdown.clone());
        tokio::spawn(session::run(service, (secret, shown), request.into_inner(), out, shutdown));
        Ok(Response::new(ReceiverStream::new(messages)))
    }

    async fn upload(&self, request: Request<Streaming<UploadPart>>) -> Result<Response<Uploaded>, Status> {
        let secret = bearer(request.metadata())?.to_owned();
        let shown = request.extensions().get::<ClientCertificate>().copied();
        tokio::select! {
            received = upload::receive(&self.service, (&secret, shown), request.into_inner()) => received.map(Response::new),
            () = self.shutdown.cancelled() => Err(Status::unavailable("the server is stopping")),
        }
    }
}

fn bearer(metadata: &MetadataMap) -> Result<&str, Status> {
    let value = metadata.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("");
    match value.split_once(' ') {
        Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => Ok(secret.trim()),
        _ => Err(Status::unauthenticated(
            "the agent gave no token; start it with an agent token, which an administrator can make",
        )),
    }
}
