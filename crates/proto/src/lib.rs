//! The wires that are ours: `.proto` files under `proto/`, the code generated from them (`cargo xtask generate`),
//! and the way between their messages and the domain.

pub mod agent;
