//! The engine and its child process on real files and real repositories, checked with the `restic`
//! program. One binary: linking is the slow part.

mod backup;
mod cancel;
mod child;
mod commands;
mod mounts;
mod placing;
mod restore;
mod roundtrip;
mod settings;
mod space;
mod streams;
mod support;
mod volumes;
