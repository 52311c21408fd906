//! The APIs as they stand on the wire, one folder each. A dialect parses, calls one service function, and prints; see
//! `README.md` beside this file for what each of them must do.

pub mod acronis;
mod bearer;
mod body;
mod claims;
pub mod clumio;
mod edge;
pub mod native;
pub mod openstack;
mod percent;
mod suggest;
pub mod yandex;

use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::Service;

/// Every dialect on one router, each at its own paths.
pub fn router(service: Arc<Service>, shutdown: CancellationToken) -> Router {
    let acronis = acronis::router(service.clone(), shutdown.clone());
    let yandex = yandex::router(service.clone(), shutdown.clone());
    let clumio = clumio::router(service.clone(), shutdown.clone());
    let openstack = openstack::router(service.clone());
    let elsewhere = openstack::elsewhere(service.clone());
    let claims = claims::router(claims::Claims { yandex, clumio, openstack: elsewhere });
    native::router(native::ApiState::new(service, shutdown)).merge(acronis).merge(openstack).merge(claims)
}
