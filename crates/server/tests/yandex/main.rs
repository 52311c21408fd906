//! The Yandex dialect from outside: gRPC and REST as clients speak them, over the services and a ledger.

mod discovery;
mod errors;
mod iam;
mod listeners;
mod world;
