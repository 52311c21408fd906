//! The health service of gRPC (Y49): the server as a whole and each service by its name.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{Yandex, reflection};

/// How often those who watch are looked for.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn routes(yandex: &Arc<Yandex>) -> Router<Arc<Yandex>> {
    let health = HealthServer::new(Health { yandex: yandex.clone() });
    Router::new().route_service(&format!("/{}/{{*method}}", health_server::SERVICE_NAME), health)
}

struct Health {
    yandex: Arc<Yandex>,
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match status(&self.yandex, &request.get_ref().service).await {
            ServingStatus::ServiceUnknown => {
                Err(Status::not_found(format!("there is no service '{}'", request.get_ref().service)))
            }
            status => Ok(Response::new(response(status))),
        }
    }

    /// The status now, and each other one after it, until the server stops.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (yandex, service) = (self.yandex.clone(), request.into_inner().service);
        let changes = stream::unfold(None, move |told: Option<ServingStatus>| {
            let (yandex, service) = (yandex.clone(), service.clone());
            async move {
                loop {
                    let stopping = yandex.shutdown.is_cancelled();
                    let status = status(&yandex, &service).await;
                    if told != Some(status) {
                        return Some((Ok(response(status)), Some(status)));
                    }
                    if stopping {
                        return None;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(LOOK) => {}
                        () = yandex.shutdown.cancelled() => {}
                    }
                }
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

async fn status(yandex: &Yandex, service: &str) -> ServingStatus {
    if !service.is_empty() && !reflection::services(yandex).iter().any(|s| s == service) {
        return ServingStatus::ServiceUnknown;
    }
    let needs_ledger = service.is_empty() || service.starts_with("yandex.cloud.backup.");
    if needs_ledger && (yandex.shutdown.is_cancelled() || !yandex.service.is_reachable().await) {
        return ServingStatus::NotServing;
    }
    ServingStatus::Serving
}
