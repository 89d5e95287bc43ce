//! Both ends of the tunnel against each other: real TLS and WebSockets, over loopback TCP or a line in memory.
//! The operator's directory and registrar are in memory; how they do with a real API server is tests/behaviour's.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod ends;
mod hostile;
mod inner;
#[path = "../inspector/mod.rs"]
mod inspector;
mod line;
mod road;
mod signed;
