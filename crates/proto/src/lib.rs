//! The wires that are protobuf: `.proto` files under `proto/`, the code generated from them (`cargo xtask generate`),
//! and, for the one that is ours, the way between its messages and the domain.

pub mod agent;
pub mod google;
pub mod yandex;
