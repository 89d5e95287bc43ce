//! Behaviour through the real binaries and a real kube-apiserver: what a person who applies an EdgeNode sees.

#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

#[allow(dead_code, unused_imports)]
mod parts;

mod schema;
