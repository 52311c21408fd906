//! What gRPC errors are made of: `google.rpc.Status` and what may stand in its details.

#[rustfmt::skip]
#[path = "generated/google.rpc.rs"]
pub mod rpc;
